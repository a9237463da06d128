//! Leases: what a living process is working with is not collected, and what a dead one left is.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::params;

use super::lock::KeyLock;
use super::{Store, make_private};
use crate::layer;
use crate::{Context, Digest, Result};

/// Held while a process works. Dropped or dead, its holds and its directory are cleared, at the latest by the next one.
pub struct Lease<'s> {
    store: &'s Store,
    id: String,
    /// What was written down already: nobody else takes that back while we live.
    held: Mutex<HashSet<(&'static str, String)>>,
    // Declared last but one: the lock goes when the directory and the rows are gone.
    _lock: KeyLock,
}

impl Store {
    /// A new lease. Clears what dead processes have left.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn lease(&self) -> Result<Lease<'_>> {
        let (id, lock) = loop {
            let id = random_name()?;
            // Somebody who looks for dead leases may lock the file before we do, for it looks dead until then; and then removes it.
            if let Some(lock) = KeyLock::attempt(&self.path("leases").join(&id))? {
                break (id, lock);
            }
        };
        make_private(&self.path("tmp").join(&id))?;
        self.clear_dead_leases()?;
        Ok(Lease {
            store: self,
            id,
            held: Mutex::default(),
            _lock: lock,
        })
    }

    /// Whether any process is working on the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_leased(&self) -> Result<bool> {
        for id in names_in(&self.path("leases"))? {
            if KeyLock::attempt(&self.path("leases").join(&id))?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what the dead have left: rows, unfinished layers, trash. How many there were.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear_dead_leases(&self) -> Result<usize> {
        let mut cleared = 0;
        for id in names_in(&self.path("leases"))? {
            // Whoever lives has it locked.
            let Some(_lock) = KeyLock::attempt(&self.path("leases").join(&id))? else {
                continue;
            };
            self.forget_lease(&id)?;
            cleared += 1;
        }
        // A directory without a lease: killed between the removal of the one and the other.
        for id in names_in(&self.path("tmp"))? {
            if !self.path("leases").join(&id).exists() {
                self.forget_lease(&id)?;
                cleared += 1;
            }
        }
        self.empty_trash()?;
        Ok(cleared)
    }

    fn forget_lease(&self, id: &str) -> Result<()> {
        let directory = self.path("tmp").join(id);
        if directory.exists() {
            layer::remove_path(&directory).context(format!("failed to remove {}", directory.display()))?;
        }
        self.write_passing(|db| {
            db.execute("DELETE FROM hold WHERE lease = ?", params![id])?;
            Ok(())
        })
    }
}

impl Lease<'_> {
    /// A directory of its own, on the file system of the store.
    pub fn directory(&self) -> PathBuf {
        self.store.path("tmp").join(&self.id)
    }

    /// This blob stays, whether it is there yet or not.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn hold_blob(&self, digest: &Digest) -> Result<()> {
        self.hold("blob", [digest.to_string()])
    }

    /// These stay, in one transaction.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn hold_blobs<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<()> {
        self.hold("blob", digests.into_iter().map(Digest::to_string))
    }

    /// This layer stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn hold_layer(&self, key: &str) -> Result<()> {
        self.hold("layer", [key.to_owned()])
    }

    /// These stay, in one transaction.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn hold_layers<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Result<()> {
        self.hold("layer", keys.into_iter().map(str::to_owned))
    }

    fn hold(&self, kind: &'static str, keys: impl IntoIterator<Item = String>) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<(&str, String)> = keys.into_iter().map(|key| (kind, key)).collect();
        new.retain(|hold| !held.contains(hold));
        if new.is_empty() {
            return Ok(());
        }
        self.store.write_passing(|db| {
            let mut insert =
                db.prepare_cached("INSERT OR IGNORE INTO hold (lease, kind, key) VALUES (?, ?, ?)")?;
            for (kind, key) in &new {
                insert.execute(params![self.id, kind, key])?;
            }
            Ok(())
        })?;
        held.extend(new);
        Ok(())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What fails here is done by the next lease, which finds this one dead.
        drop(self.store.forget_lease(&self.id));
    }
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = || format!("failed to list {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).context(failed())? {
        // Our own names are ASCII.
        if let Ok(name) = entry.context(failed())?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// 128 random bits.
pub(super) fn random_name() -> Result<String> {
    let bytes: [u8; 16] = sys::random::bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
