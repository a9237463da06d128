//! Looking ahead: which stages nobody needs the files of.
//!
//! A cache inside an image has the layers of that image and no others, but the keys of all steps. Where everything that the image copies
//! from a stage is known by that stage's key, the stage need not be built: it is *hollow*, a key without layers. So before anything is done,
//! the keys of all stages are gone through. What has to be done after all, because a layer turns out to be damaged, is done when its files
//! are asked for.
//!
//! Only of use with `--cache-from`: our own cache keeps all stages.
//!
//! May not: fetch a layer, run anything, or tell anybody.

use std::collections::BTreeSet;

use build::lint::Report;
use build::stages::Origin;
use image::{Digest, Error, Kind, Result};

use super::stage::{Broken, Doing, Made, made_of};
use super::{Ended, Shared, Solver, names};
use crate::cache::notes::Note;
use crate::failure::Failure;
use crate::make::Means;
use crate::telling::{self, Counter, Event};

/// What is known of a step before it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// All that it made can be had.
    Whole,
    /// It was done somewhere, but what it made stayed there.
    Hollow,
    #[default]
    Unknown,
}

/// What is known of a stage.
struct View {
    /// What it comes to, without layers; None: that depends on files that only its steps make.
    ended: Option<Ended>,
    /// Stages whose files its steps need, if it is to be built.
    takes: BTreeSet<usize>,
}

impl Solver<'_> {
    /// The stages that need not be built, as what they come to; by their numbers.
    pub(super) fn hollow(&self) -> Vec<Option<Ended>> {
        let stages = &self.graph.stages;
        let needed = stages.iter().filter(|stage| stage.is_needed).count();
        if self.imports.is_empty() || self.request.no_cache || self.keeps_all || needed < 2 {
            return vec![None; stages.len()];
        }
        let means = Means {
            listener: &telling::silent,
            ..*self.means
        };
        let counter = Counter::default();
        let solver = Solver {
            means: &means,
            counter: &counter,
            ..*self
        };
        let mut views = solver.views();
        let built = self.built(&views);
        let is_hollow =
            |index: usize| stages.get(index).is_some_and(|stage| stage.is_needed) && !built.contains(&index);
        (0..stages.len())
            .map(|index| {
                views
                    .get_mut(index)
                    .and_then(|view| view.ended.take())
                    .filter(|_| is_hollow(index))
            })
            .collect()
    }

    /// Of each stage; one names only those before it.
    fn views(&self) -> Vec<View> {
        let shared = Shared::new(self.graph.stages.len(), 1, Report::default(), true);
        let mut views = Vec::new();
        for (index, stage) in self.graph.stages.iter().enumerate() {
            let mut view = View {
                ended: None,
                takes: BTreeSet::new(),
            };
            if stage.is_needed {
                view.ended = self.view(index, &shared, &mut view.takes);
                if let Some(place) = shared.progress().ended.get_mut(index) {
                    place.clone_from(&view.ended);
                }
            }
            views.push(view);
        }
        views
    }

    fn view(&self, index: usize, shared: &Shared, takes: &mut BTreeSet<usize>) -> Option<Ended> {
        let stage = self.graph.stages.get(index)?;
        let mut at = 0;
        let ended = self.go_through(index, shared, &mut |step, seen| {
            at += 1;
            if seen != Seen::Whole {
                takes.extend(stages_of(&step.origins));
            }
        });
        if ended.is_err() {
            // From where it is not known any more.
            let rest = stage.steps.get(at..).unwrap_or_default();
            takes.extend(rest.iter().flat_map(|step| stages_of(&step.origins)));
        }
        let mut ended = ended.ok()?;
        ended.is_hollow = true;
        Some(ended)
    }

    /// The target, and whatever has to be there for it.
    fn built(&self, views: &[View]) -> BTreeSet<usize> {
        let mut built = BTreeSet::new();
        let mut left = vec![self.graph.target];
        // What does not even have a key, and what is to be done again whatever is known.
        let stages = self.graph.stages.iter().zip(views).enumerate();
        let wanted = stages
            .filter(|(_, (stage, view))| stage.is_needed && (view.ended.is_none() || !self.may_ask(stage)));
        left.extend(wanted.map(|(index, _)| index));
        while let Some(index) = left.pop() {
            if !built.insert(index) {
                continue;
            }
            if let Some(Origin::Stage(base)) = self.graph.stages.get(index).map(|stage| &stage.base) {
                left.push(*base);
            }
            left.extend(
                views
                    .get(index)
                    .iter()
                    .flat_map(|view| view.takes.iter().copied()),
            );
        }
        built
    }

    /// In the place of doing a step: what is known of it, and whether anything is. What is noted of it here is only its key: whoever builds it
    /// notes it again, with its layer.
    pub(super) fn peek(&self, doing: &Doing<'_>, key: &Digest) -> Result<(Made, bool)> {
        let nothing = Made {
            layer: None,
            created: String::new(),
            key: key.clone(),
        };
        if !self.may_ask(doing.stage) {
            return Ok((nothing, false));
        }
        let (made, has_layer) = match self.means.maker.store.cached(key)? {
            Some(found) => {
                doing.seen.set(Seen::Whole);
                let made = made_of(key, found)?;
                let has_layer = made.layer.is_some();
                (made, has_layer)
            }
            None => {
                let Some(peeked) = self.imports.peek(key)? else {
                    return Ok((nothing, false));
                };
                doing.seen.set(match peeked.is_absent {
                    true => Seen::Hollow,
                    false => Seen::Whole,
                });
                let made = Made {
                    layer: None,
                    created: peeked.created,
                    key: peeked.of,
                };
                (made, peeked.has_layer)
            }
        };
        let note = Note {
            of: made.key.clone(),
            created: made.created.clone(),
            layer: None,
            below: Vec::new(),
            is_absent: has_layer,
        };
        self.notes.add(key, note);
        Ok((made, true))
    }

    /// A stage that is not built: what is said in it is looked at all the same, and its steps are told to be done.
    pub(super) fn pass_over(&self, index: usize, ended: Ended, shared: &Shared) -> Result<Ended, Failure> {
        let stage = &self.graph.stages[index];
        let (_, mut scope) = self.begin(index, shared, false)?;
        let context = self.context();
        let mut seen = 1;
        for step in &stage.steps {
            let applied = {
                let mut report = shared.report();
                scope.apply(&context, stage, step, &mut report)
            };
            applied.map_err(|problem| self.wrong(problem))?;
            if names::is_seen(step) {
                seen += 1;
                let text = &step.instruction.text;
                let name = names::of_step(self.graph, stage, seen, text, self.shown_platform().as_deref());
                let vertex = self.counter.next();
                self.tell(&Event::Begun { vertex, name: &name });
                self.tell(&Event::Cached { vertex });
            }
        }
        Ok(ended)
    }

    /// A stage with its layers: a hollow one is built now.
    pub(super) fn solid(&self, index: usize, shared: &Shared) -> Result<Ended> {
        let ended = self.wait_for(index, shared)?;
        if !ended.is_hollow || shared.is_ahead {
            return Ok(ended);
        }
        let turns = shared.turns.get(index);
        let _turn = turns.map(|turn| turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let ended = self.wait_for(index, shared)?;
        if !ended.is_hollow {
            return Ok(ended);
        }
        let built = self.stage(index, shared).map_err(|failure| match failure {
            Failure::Step { error, name, .. } => error.context(name),
            Failure::Other(error) => error,
            Failure::Dockerfile { .. } => Error::invalid("the Dockerfile is wrong"),
        })?;
        if let Some(place) = shared.progress().ended.get_mut(index) {
            *place = Some(built.clone());
        }
        Ok(built)
    }
}

/// What only files can tell.
pub(super) fn depends_on_files() -> Broken {
    Error::of(Kind::Incomplete, "its key depends on files").into()
}

fn stages_of(origins: &[Option<Origin>]) -> impl Iterator<Item = usize> {
    origins.iter().flatten().filter_map(|origin| match origin {
        Origin::Stage(index) => Some(*index),
        _ => None,
    })
}
