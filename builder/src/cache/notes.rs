//! What the steps of a build came to, in order to be sent elsewhere: those that were done and those that were known.
//!
//! May not: pack a layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use image::Digest;
use image::store::Layer;

use super::record::Record;

/// One step, under one of its keys.
#[derive(Clone, Debug)]
pub struct Note {
    pub of: Digest,
    pub created: String,
    /// What it has written; None: nothing.
    pub layer: Option<Layer>,
    /// What that lies on, the lowest first.
    pub below: Vec<Layer>,
}

impl Note {
    /// As a record, with the layer's number.
    pub fn record(&self, layer: Option<usize>) -> Record {
        Record {
            of: self.of.clone(),
            layer,
            created: self.created.clone(),
        }
    }
}

/// Of all stages and platforms.
#[derive(Debug, Default)]
pub struct Notes(Mutex<BTreeMap<Digest, Note>>);

impl Notes {
    /// One step more. What it is another name of is there as well then.
    pub fn add(&self, key: &Digest, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if note.of != *key {
            notes.entry(note.of.clone()).or_insert_with(|| note.clone());
        }
        notes.insert(key.clone(), note);
    }

    /// Those of some steps; None: all.
    pub fn of(&self, steps: Option<&BTreeSet<Digest>>) -> BTreeMap<Digest, Note> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |note: &Note| steps.is_none_or(|steps| steps.contains(&note.of));
        let meant = notes.iter().filter(|(_, note)| is_meant(note));
        meant.map(|(key, note)| (key.clone(), note.clone())).collect()
    }
}
