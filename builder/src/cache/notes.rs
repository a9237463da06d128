//! What the steps of a build came to, in order to be sent elsewhere: those that were done and those that were known.
//!
//! May not: pack a layer.

use std::collections::BTreeMap;
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
    /// It has written something that is not here.
    pub is_absent: bool,
}

impl Note {
    /// As a record, with the layer's number, if it is sent.
    pub fn record(&self, layer: Option<usize>) -> Record {
        Record {
            of: self.of.clone(),
            layer,
            is_absent: layer.is_none() && (self.is_absent || self.layer.is_some()),
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
        for key in [&note.of, key] {
            let is_less = |there: &Note| note.is_absent && !there.is_absent;
            if !notes.get(key).is_some_and(is_less) {
                notes.insert(key.clone(), note.clone());
            }
        }
    }

    /// All of them, by their keys.
    pub fn all(&self) -> BTreeMap<Digest, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
