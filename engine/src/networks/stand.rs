//! A network whose bridge is made: by `network create`, or when the first container comes to one whose bridge went with the last boot, or
//! never was.
//!
//! Several stores may be on one machine, and know nothing of each other but what the kernel shows: bridges with their addresses. So a
//! name or a block that a store has chosen counts only when the bridge is there. Until then another store may take it, and then
//! something else is chosen. What a user has asked for stays as it was asked for.
//!
//! May not: make devices; the crate network does.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use image::Result;

use super::{Alone, Networks, Record, attach, ground, make, own_bits, routes};
use crate::containers::{Containers, Durable, write};

/// Held by whoever of root chooses and makes a bridge, whatever the store.
const LOCK: &str = "/run/brig-networks.lock";

/// No other store on this machine chooses meanwhile.
#[derive(Debug)]
pub(super) struct Claim(#[allow(dead_code)] Option<File>);

/// To be called by who has the store's networks alone. An ordinary user's bridges are where no other store has any.
pub(super) fn claim(_: &Alone) -> Claim {
    if ground::is_needed() {
        return Claim(None);
    }
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let locked = options.open(LOCK).and_then(|file| file.lock().map(|()| file));
    // Without a /run that can be written to, two who choose in the same millisecond are not kept apart.
    Claim(locked.ok())
}

impl Networks {
    /// The network of this id, or else of this name, has its bridge when this returns. To be called before any is held: whoever removes one
    /// waits for those that are held.
    ///
    /// # Errors
    /// There is no such network, or its device is somebody else's.
    pub fn stand(&self, containers: &Containers, id: &str, name: &str) -> Result<()> {
        if ground::is_needed() {
            return Ok(());
        }
        let record = match self.load(id) {
            Ok(Some(record)) if !id.is_empty() => record,
            _ => self.find(name)?,
        };
        if record.driver != "bridge" || self.stands(&record)? {
            return Ok(());
        }
        let alone = self.alone()?;
        let _claim = claim(&alone);
        let Some(mut record) = self.load(&record.id)? else {
            return Ok(());
        };
        if self.stands(&record)? {
            return Ok(());
        }
        // Somebody has removed the bridge of those who are in it: they keep their addresses.
        if self.users(containers, &record.id)?.is_empty() {
            let mut others = self.records()?;
            others.retain(|other| other.id != record.id);
            if make::choose_anew(&mut record, &others, &taken(), own_bits(&self.roots.root))? {
                self.rewrite(&record)?;
            }
        }
        let made = attach::machine(&self.roots).ensure(&record.of_kernel()?);
        made.map_err(attach::refusal)
    }

    fn stands(&self, record: &Record) -> Result<bool> {
        let is_there = attach::machine(&self.roots).has(&record.of_kernel()?);
        is_there.map_err(attach::refusal)
    }

    fn rewrite(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|e| image::Error::new(e.to_string()))?;
        write(&self.file(&record.id), &bytes, Durable::Yes)
    }
}

/// What devices of the machine have.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub devices: Vec<String>,
    pub blocks: Vec<network::pool::Subnet>,
}

fn taken() -> Taken {
    Taken {
        devices: routes::devices(),
        blocks: routes::connected(),
    }
}
