//! Doing what a graph says: the stages that the target needs, side by side, each instruction once.
//!
//! A stage waits for another only when an instruction of it comes to need that. The first failure calls everything off.
//!
//! May not: read a Dockerfile, or know what becomes of the result.

mod agent;
mod ahead;
pub mod bases;
mod clamp;
mod key;
mod names;
mod run;
pub mod snapshot;
mod stage;
pub mod state;
mod transfer;

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use build::lint::Report;
use build::scope::Scope;
use build::source::Source;
use build::stages::{Graph, Origin};
use image::platform::Platform;
use image::store::Lease;
use image::{Context as _, Error, Kind, Result};

use crate::cache::import::Imports;
use crate::cache::notes::Notes;
use crate::failure::Failure;
use crate::make::Means;
use crate::request::Request;
use crate::sources::Sources;
use crate::telling::{Counter, Event};

use bases::Bases;
use state::State;

/// How a stage has ended: what it came to, and the scope behind it.
#[derive(Clone)]
pub struct Ended {
    pub state: State,
    scope: Scope,
    /// Its files are not there: it was not built, because nobody was expected to need them.
    is_hollow: bool,
}

/// Everything that is known before the first instruction.
pub struct Solver<'s> {
    pub means: &'s Means<'s>,
    pub request: &'s Request,
    pub lease: &'s Lease<'s>,
    pub source: &'s Source,
    pub graph: &'s Graph,
    pub sources: &'s Sources<'s>,
    pub bases: &'s Bases,
    pub platform: &'s Platform,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub epoch: Option<i64>,
    /// Of all platforms of a build.
    pub counter: &'s Counter,
    /// What other stores have made.
    pub imports: &'s Imports<'s>,
    /// What is to be sent to others.
    pub notes: &'s Notes,
    /// All stages are wanted, not only what the target needs.
    pub keeps_all: bool,
}

/// What the stages have come to so far.
#[derive(Default)]
struct Progress {
    ended: Vec<Option<Ended>>,
    failed: Option<Failure>,
    /// How many may still work at the same time.
    free: usize,
}

/// What threads share.
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
    report: Mutex<Report>,
    /// Of hollow stages: one thread builds such a stage when many want its files.
    turns: Vec<Mutex<()>>,
    /// Nothing is done: we only look what is known.
    is_ahead: bool,
}

impl Shared {
    fn new(stages: usize, free: usize, report: Report, is_ahead: bool) -> Shared {
        Shared {
            progress: Mutex::new(Progress {
                ended: vec![None; stages],
                failed: None,
                free,
            }),
            changed: Condvar::new(),
            report: Mutex::new(report),
            turns: (0..stages).map(|_| Mutex::new(())).collect(),
            is_ahead,
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Solver<'_> {
    /// Builds the target.
    ///
    /// # Errors
    /// An instruction cannot be done.
    pub fn solve(&self, report: Report) -> Result<(Ended, Report), Failure> {
        let stages = &self.graph.stages;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let free = self.request.at_once.unwrap_or(processors).max(1);
        let shared = Shared::new(stages.len(), free, report, false);
        let mut hollow = self.hollow();
        std::thread::scope(|scope| {
            for (index, stage) in stages.iter().enumerate() {
                if !stage.is_needed {
                    continue;
                }
                let shared = &shared;
                let hollow = hollow.get_mut(index).and_then(Option::take);
                scope.spawn(move || {
                    let ended = match hollow {
                        Some(ended) => self.pass_over(index, ended, shared),
                        None => self.stage(index, shared),
                    };
                    let mut progress = shared.progress();
                    match ended {
                        Ok(ended) => {
                            if let Some(place) = progress.ended.get_mut(index) {
                                *place = Some(ended);
                            }
                        }
                        // What was called off because of another is not why.
                        Err(failure) if progress.failed.is_none() => {
                            progress.failed = Some(failure);
                            self.means.maker.cancel.call();
                        }
                        Err(_) => {}
                    }
                    shared.changed.notify_all();
                });
            }
        });
        let report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut progress = shared
            .progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mut failure) = progress.failed.take() {
            if let Failure::Step { report: told, .. } | Failure::Dockerfile { report: told, .. } =
                &mut failure
            {
                *told = report;
            }
            return Err(failure);
        }
        let target = progress.ended.get_mut(self.graph.target).and_then(Option::take);
        match target {
            Some(ended) => Ok((ended, report)),
            None => Err(Failure::Other(Error::new("the target was not built"))),
        }
    }

    /// Waits for another stage.
    fn wait_for(&self, index: usize, shared: &Shared) -> Result<Ended> {
        let mut progress = shared.progress();
        loop {
            if progress.failed.is_some() {
                return Err(Error::of(Kind::Cancelled, "context canceled"));
            }
            if let Some(Some(ended)) = progress.ended.get(index) {
                return Ok(ended.clone());
            }
            if shared.is_ahead {
                return Err(Error::of(Kind::Incomplete, "a stage before it depends on files"));
            }
            // Whoever ends tells; a stage that waits for nothing ends, or its own waits do.
            progress = shared
                .changed
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does something that takes a processor's time, when it is its turn.
    fn in_turn<T>(&self, shared: &Shared, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut progress = shared.progress();
        while progress.free == 0 {
            if progress.failed.is_some() {
                return Err(Error::of(Kind::Cancelled, "context canceled"));
            }
            progress = shared
                .changed
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
        progress.free -= 1;
        drop(progress);
        let done = work();
        shared.progress().free += 1;
        shared.changed.notify_all();
        done
    }

    fn tell(&self, event: &Event<'_>) {
        (self.means.listener)(event);
    }

    /// The state that something is taken from: a stage, an image. The build context is none.
    fn state_of(&self, origin: &Origin, shared: &Shared) -> Result<State> {
        self.state_on(self.platform, origin, shared)
    }

    /// The same, if it is an image, for this platform.
    fn state_on(&self, platform: &Platform, origin: &Origin, shared: &Shared) -> Result<State> {
        match origin {
            Origin::Scratch => Ok(State::scratch(self.platform)),
            Origin::Stage(index) => Ok(self.wait_for(*index, shared)?.state),
            Origin::Image(name) => self.bases.state(self.means, self.lease, name, platform),
            Origin::Named(name) => self
                .bases
                .state(self.means, self.lease, name, platform)
                .context(format!("failed to use build context {name}")),
        }
    }

    /// What a stage runs on.
    fn platform_of(&self, index: usize) -> &Platform {
        self.bases.platform(index).unwrap_or(self.platform)
    }

    /// The same with its files.
    fn files_of(&self, origin: &Origin, shared: &Shared) -> Result<State> {
        match origin {
            Origin::Stage(index) => Ok(self.solid(*index, shared)?.state),
            origin => self.state_of(origin, shared),
        }
    }

    /// Values of build arguments, in order of their names.
    fn build_args(&self) -> &BTreeMap<String, String> {
        &self.request.build_args
    }
}
