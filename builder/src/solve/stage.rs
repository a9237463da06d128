//! One stage, from its FROM to its last instruction.
//!
//! May not: know how a RUN or a COPY is done.

use std::cell::Cell;
use std::time::SystemTime;

use build::scope::{self, Action, Base, Scope};
use build::source::Problem;
use build::stages::{Origin, Stage, Step};
use image::layer::Owners;
use image::oci::History;
use image::store::{Layer, cache};
use image::{Digest, Error, Kind, Result};
use serde_json::{Value, json};

use super::ahead::Seen;
use super::state::State;
use super::{Ended, Shared, Solver, key, names};
use crate::cache::import::Asking;
use crate::cache::notes::Note;
use crate::failure::Failure;
use crate::files::{self, Selection, Tree};
use crate::telling::{Event, Vertex};

/// A step on its way.
pub(super) struct Doing<'d> {
    pub index: usize,
    pub stage: &'d Stage,
    pub step: &'d Step,
    pub scope: &'d Scope,
    pub vertex: Vertex,
    pub shared: &'d Shared,
    /// Somebody was told that it goes on.
    pub is_told: Cell<bool>,
    /// The next build may have what came of it.
    pub is_lasting: Cell<bool>,
    /// What is known of it, where nothing is done.
    pub seen: Cell<Seen>,
}

/// What makes a layer.
pub(super) struct Made {
    /// None: it has changed nothing.
    pub layer: Option<Layer>,
    pub created: String,
    /// What steps on top of it know it by: the same by whichever key it was found.
    pub key: Digest,
}

/// Why a step came to nothing.
pub(super) struct Broken {
    pub error: Error,
    pub exit_code: Option<i32>,
}

/// A record as the result that it is of.
pub(super) fn made_of(key: &Digest, found: cache::Cached) -> Result<Made> {
    let malformed = || Error::corrupt(format!("the build cache has a malformed record {key}"));
    let value: Value = serde_json::from_str(&found.value).map_err(|_| malformed())?;
    let text = |name: &str| value[name].as_str().ok_or_else(malformed);
    Ok(Made {
        layer: found.layer,
        created: text("created")?.to_owned(),
        key: text("key")?.parse()?,
    })
}

/// At the beginning of a stage.
fn scope_of(state: &State) -> Scope {
    let config = &state.config.config;
    Scope::of_image(&Base {
        env: config.env.clone().unwrap_or_default(),
        workdir: config.working_dir.clone().unwrap_or_default(),
        user: config.user.clone().unwrap_or_default(),
        shell: config.shell.clone().unwrap_or_default(),
        is_unknown: false,
    })
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken {
            error,
            exit_code: None,
        }
    }
}

impl Solver<'_> {
    pub(super) fn stage(&self, index: usize, shared: &Shared) -> Result<Ended, Failure> {
        self.go_through(index, shared, &mut |_, _| ())
    }

    pub(super) fn context(&self) -> scope::Context<'_> {
        scope::Context {
            escape: self.graph.escape,
            globals: &self.graph.globals,
            build_args: self.build_args(),
            ignore: self.sources.ignore(),
        }
    }

    /// All instructions of a stage. `watch` hears of each when it is over.
    pub(super) fn go_through(
        &self,
        index: usize,
        shared: &Shared,
        watch: &mut dyn FnMut(&Step, Seen),
    ) -> Result<Ended, Failure> {
        let stage = &self.graph.stages[index];
        let (mut state, mut scope) = self.begin(index, shared, true)?;
        let context = self.context();
        let mut seen = 1;
        for step in &stage.steps {
            let action = {
                let mut report = shared.report();
                scope.apply(&context, stage, step, &mut report)
            };
            let action = action.map_err(|problem| self.wrong(problem))?;
            if !names::is_seen(step) {
                state.describe(&action, &scope, None);
                watch(step, Seen::Whole);
                continue;
            }
            seen += 1;
            let name = names::of_step(
                self.graph,
                stage,
                seen,
                &step.instruction.text,
                self.shown_platform().as_deref(),
            );
            let vertex = self.counter.next();
            let doing = Doing {
                index,
                stage,
                step,
                scope: &scope,
                vertex,
                shared,
                is_told: Cell::new(false),
                is_lasting: Cell::new(true),
                seen: Cell::default(),
            };
            match self.step(&doing, &action, &mut state, &name) {
                Ok(()) => watch(step, doing.seen.get()),
                Err(broken) => {
                    self.tell_begun(&doing, &name);
                    return Err(self.failed(step.instruction.span, name, vertex, broken));
                }
            }
        }
        Ok(Ended {
            state,
            scope,
            is_hollow: false,
        })
    }

    /// Where there are several.
    pub(super) fn shown_platform(&self) -> Option<String> {
        (self.request.platforms.len() > 1).then(|| self.platform.to_string())
    }

    /// Where the stage begins; with files, if something is to be put on top of them.
    pub(super) fn begin(
        &self,
        index: usize,
        shared: &Shared,
        has_files: bool,
    ) -> Result<(State, Scope), Failure> {
        let stage = &self.graph.stages[index];
        match &stage.base {
            Origin::Stage(other) => {
                let ended = match has_files {
                    true => self.solid(*other, shared)?,
                    false => self.wait_for(*other, shared)?,
                };
                Ok((ended.state.of_stage(), ended.scope.of_stage()))
            }
            origin => {
                let name = names::of_base(self.graph, stage, self.shown_platform().as_deref());
                let vertex = self.counter.next();
                if !matches!(origin, Origin::Scratch) {
                    self.tell(&Event::Begun { vertex, name: &name });
                }
                let begun = match self.sources.tree(Some(origin)) {
                    Some(tree) if has_files => self.files_as_base(index, &tree, shared, (&name, vertex)),
                    Some(_) => Ok((State::scratch(self.platform), true)),
                    None => self
                        .state_on(self.platform_of(index), origin, shared)
                        .map(|state| (state, true))
                        .map_err(Broken::from),
                };
                let (state, is_cached) = match begun {
                    Ok(begun) => begun,
                    Err(broken) => return Err(self.failed(stage.from.span, name, vertex, broken)),
                };
                match is_cached {
                    _ if matches!(origin, Origin::Scratch) => {}
                    true => self.tell(&Event::Cached { vertex }),
                    false => self.tell(&Event::Done { vertex }),
                }
                let scope = scope_of(&state);
                Ok((state, scope))
            }
        }
    }

    /// FROM a context that is files: they are the root, and the configuration is as empty as that of scratch. It is a step like any other.
    fn files_as_base(
        &self,
        index: usize,
        tree: &Tree,
        shared: &Shared,
        (name, vertex): (&str, Vertex),
    ) -> Result<(State, bool), Broken> {
        let stage = &self.graph.stages[index];
        let cancel = self.means.maker.cancel;
        let mut state = State::scratch(self.platform);
        let step = Step {
            instruction: stage.from.clone(),
            is_trigger: false,
            origins: Vec::new(),
        };
        let scope = scope_of(&state);
        let doing = Doing {
            index,
            stage,
            step: &step,
            scope: &scope,
            vertex,
            shared,
            is_told: Cell::new(true),
            is_lasting: Cell::new(true),
            seen: Cell::default(),
        };
        let selected = tree.select(
            &Selection {
                sources: &[".".to_owned()],
                ..Selection::default()
            },
            cancel,
        )?;
        let definition = json!({"files": tree.digest(&selected, cancel)?});
        let (made, is_cached) = self.once(&doing, &definition, &state, name, || {
            let snapshot = self.snapshot(&doing, &state)?;
            files::put_into(tree, &selected, &snapshot.upper().upper, cancel)?;
            if selected.has_changed() {
                doing.is_lasting.set(false);
            }
            Ok(snapshot.finish(self.epoch, cancel)?)
        })?;
        state.config.history.push(History {
            created: Some(made.created),
            created_by: Some(stage.from.text.clone()),
            author: None,
            comment: Some(build::history::COMMENT.to_owned()),
            empty_layer: made.layer.is_none(),
        });
        state.add_layer(made.key, made.layer);
        Ok((state, is_cached))
    }

    pub(super) fn wrong(&self, problem: Problem) -> Failure {
        Failure::Dockerfile {
            source: self.source.clone(),
            problems: vec![problem],
            report: build::lint::Report::default(),
        }
    }

    /// Once.
    pub(super) fn tell_begun(&self, doing: &Doing<'_>, name: &str) {
        if !doing.is_told.replace(true) {
            self.tell(&Event::Begun {
                vertex: doing.vertex,
                name,
            });
        }
    }

    fn failed(&self, span: build::source::Span, name: String, vertex: Vertex, broken: Broken) -> Failure {
        match broken.error.kind() {
            Kind::Cancelled => self.tell(&Event::Cancelled { vertex }),
            _ => self.tell(&Event::Failed {
                vertex,
                why: &broken.error.to_string(),
            }),
        }
        Failure::Step {
            source: self.source.clone(),
            span,
            name,
            error: broken.error,
            exit_code: broken.exit_code,
            report: build::lint::Report::default(),
        }
    }

    /// One instruction that makes files.
    fn step(&self, doing: &Doing<'_>, action: &Action, state: &mut State, name: &str) -> Result<(), Broken> {
        self.means.maker.cancel.check()?;
        if let Action::Workdir(path) = action
            && path == "/"
        {
            state.describe(action, doing.scope, None);
            return Ok(());
        }
        let vertex = doing.vertex;
        let made = match action {
            Action::Run(run) => self.run(doing, run, state, name)?,
            Action::Copy(copy) => self.transfer(doing, copy, state, name)?,
            Action::Workdir(path) => self.workdir(doing, path, state, name)?,
            _ => return Ok(()),
        };
        let (made, is_cached) = made;
        let is_empty = made.layer.is_none();
        state.add_layer(made.key, made.layer);
        state.describe(action, doing.scope, Some((&made.created, is_empty)));
        self.tell(&match is_cached {
            true => Event::Cached { vertex },
            false => Event::Done { vertex },
        });
        Ok(())
    }

    /// What was done before under this key, or is done now. `look` is told the name first.
    pub(super) fn once(
        &self,
        doing: &Doing<'_>,
        definition: &Value,
        state: &State,
        name: &str,
        work: impl FnOnce() -> Result<Option<Layer>, Broken>,
    ) -> Result<(Made, bool), Broken> {
        let key = self.key_of(&state.key, definition);
        self.once_by_key(doing, key, state, name, work)
    }

    /// A reproducible build has layers of its own.
    pub(super) fn key_of(&self, below: &Digest, definition: &Value) -> Digest {
        match self.epoch {
            Some(epoch) => key::of_step(Some(below), &json!({"epoch": epoch, "of": definition})),
            None => key::of_step(Some(below), definition),
        }
    }

    /// The same for a step whose key does not depend on what is below it.
    pub(super) fn once_by_key(
        &self,
        doing: &Doing<'_>,
        key: Digest,
        below: &State,
        name: &str,
        work: impl FnOnce() -> Result<Option<Layer>, Broken>,
    ) -> Result<(Made, bool), Broken> {
        if doing.shared.is_ahead {
            return Ok(self.peek(doing, &key)?);
        }
        let store = self.means.maker.store;
        let cancel = self.means.maker.cancel;
        if let Some(made) = self.known(doing, &key, below, name)? {
            self.tell_begun(doing, name);
            return Ok((made, true));
        }
        // Another build may be at the same step: what it makes is ours too.
        let lock = store.lock(&format!("build-{}", key.hex()), || (), || cancel.is_called())?;
        if let Some(made) = self.known(doing, &key, below, name)? {
            self.tell_begun(doing, name);
            return Ok((made, true));
        }
        self.tell_begun(doing, name);
        // Before it is our turn: who builds what we need has to have one.
        for origin in doing.step.origins.iter().flatten() {
            if let Origin::Stage(index) = origin {
                self.solid(*index, doing.shared)?;
            }
        }
        let mut done = Err(Broken::from(Error::new("not done")));
        self.in_turn(doing.shared, || {
            done = work();
            Ok(())
        })?;
        let layer = done?;
        let made = Made {
            layer,
            created: sys::time::rfc3339_nano(SystemTime::now()),
            key: key.clone(),
        };
        if doing.is_lasting.get() {
            self.keep(&key, below, &made, name)?;
        }
        drop(lock);
        Ok((made, false))
    }

    /// Whether what was done before is of interest.
    pub(super) fn may_ask(&self, stage: &Stage) -> bool {
        !self.request.no_cache && !self.request.no_cache_filter.contains(&stage.name)
    }

    /// What the cache has of a step, ours or one of others, if it may be asked.
    pub(super) fn known(
        &self,
        doing: &Doing<'_>,
        key: &Digest,
        below: &State,
        name: &str,
    ) -> Result<Option<Made>> {
        if !self.may_ask(doing.stage) {
            return Ok(None);
        }
        let mut made = self.found(key)?;
        if made.is_none() && self.brought(doing, key, below, name)? {
            made = self.found(key)?;
        }
        if let Some(made) = &made {
            self.note(key, made, below);
        }
        Ok(made)
    }

    /// Whether another store had it, so that ours has it now.
    fn brought(&self, doing: &Doing<'_>, key: &Digest, below: &State, name: &str) -> Result<bool> {
        let asking = Asking {
            means: self.means,
            lease: self.lease,
            vertex: doing.vertex,
            name,
            below: &below.key,
            begin: &|| self.tell_begun(doing, name),
        };
        self.imports.bring(&asking, key)
    }

    fn note(&self, key: &Digest, made: &Made, below: &State) {
        let note = Note {
            of: made.key.clone(),
            created: made.created.clone(),
            layer: made.layer.clone(),
            below: below.layers.clone(),
            is_absent: false,
        };
        self.notes.add(key, note);
    }

    /// What our own cache has.
    fn found(&self, key: &Digest) -> Result<Option<Made>> {
        let store = self.means.maker.store;
        let Some(found) = store.cached(key)? else {
            return Ok(None);
        };
        if let Some(layer) = &found.layer {
            self.lease.hold_layer(layer.key.as_str())?;
        }
        // It may have been collected before we held it.
        let found = store.cached(key)?;
        found.map(|found| made_of(key, found)).transpose()
    }

    /// Writes down what became of a step.
    pub(super) fn keep(&self, key: &Digest, below: &State, made: &Made, name: &str) -> Result<()> {
        self.note(key, made, below);
        self.means.maker.store.keep_cached(&cache::Step {
            key,
            layer: made.layer.as_ref(),
            description: name,
            kind: "regular",
            value: &json!({"created": made.created, "key": made.key}).to_string(),
            parents: std::slice::from_ref(&below.key),
        })
    }

    /// WORKDIR: the directory is there afterwards, and belongs to who works in it.
    fn workdir(
        &self,
        doing: &Doing<'_>,
        path: &str,
        state: &State,
        name: &str,
    ) -> Result<(Made, bool), Broken> {
        let user = doing.scope.user.clone();
        let definition = json!({"workdir": path, "user": user});
        self.once(doing, &definition, state, name, || {
            let snapshot = self.snapshot(doing, state)?;
            let root = snapshot.open()?;
            let owner = match self.means.maker.means.owners {
                // As BuildKit: by the rules of --chown, where a number is the group, too.
                Owners::Keep => {
                    self.tell_unknown(crate::files::owner(std::os::fd::AsFd::as_fd(&root), &user)?)
                }
                // As in images that are pulled.
                Owners::Caller => (0, 0),
            };
            crate::files::make_directory(std::os::fd::AsFd::as_fd(&root), path, owner)?;
            drop(root);
            Ok(snapshot.finish(self.epoch, self.means.maker.cancel)?)
        })
    }

    pub(super) fn snapshot(&self, doing: &Doing<'_>, state: &State) -> Result<super::snapshot::Snapshot<'_>> {
        let name = format!("{}-{}", doing.index, doing.vertex);
        super::snapshot::Snapshot::on(self.means.maker.store, self.lease, &state.layers, &name)
    }
}
