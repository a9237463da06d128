//! What is done to the machine's networking for a store: the order in which devices and rules come and go.
//!
//! May not: know the messages of the kernel.

use std::path::{Path, PathBuf};

use crate::attachment::{Attachment, Network};
use crate::error::{Error, Result};
use crate::space::Space;

/// The networking of the network namespace we are in, as far as it belongs to the store with this RUN.
#[derive(Debug, Clone)]
pub struct Machine {
    run: PathBuf,
}

impl Machine {
    /// Of the store whose RUN this is: `/run/brig` has the table `brig`, others have names of their own.
    pub fn of(run: &Path) -> Machine {
        Machine { run: run.to_owned() }
    }

    /// Makes what carries the network, and its place in the rules; quick when it is all there.
    ///
    /// # Errors
    /// `Kind::Taken` when a device of that name belongs to somebody else.
    pub fn ensure(&self, _network: &Network) -> Result<()> {
        Err(Error::new(format!("not made yet: {}", self.run.display())))
    }

    /// Undoes it. Not there is no error.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn remove(&self, _network: &Network) -> Result<()> {
        Err(Error::new("not made yet"))
    }

    /// Gives a namespace all that the record says. The record is on the disk already.
    ///
    /// # Errors
    /// Of the kernel, with what was being done. Nothing is undone: the caller calls [`Machine::detach`].
    pub fn attach(&self, _space: &Space, _attachment: &Attachment) -> Result<()> {
        Err(Error::new("not made yet"))
    }

    /// From one record to another, for a container that runs: endpoints are told by their ids; ports may go to another address.
    /// Meanwhile the record on the disk has the endpoints of both.
    ///
    /// # Errors
    /// As [`Machine::attach`].
    pub fn change(&self, _space: &Space, _old: &Attachment, _new: &Attachment) -> Result<()> {
        Err(Error::new("not made yet"))
    }

    /// Undoes all of a record, also what is only there in part. Leases and names go, too.
    ///
    /// # Errors
    /// What could not be undone; the rest is.
    pub fn detach(&self, _attachment: &Attachment) -> Result<()> {
        Err(Error::new("not made yet"))
    }

    /// What is missing of the rules, in sentences; empty when they are whole.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn check(&self) -> Result<Vec<String>> {
        Err(Error::new("not made yet"))
    }

    /// Installs all rules once more: those of every record in RUN.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn restore(&self) -> Result<()> {
        Err(Error::new("not made yet"))
    }

    /// In the container's namespace, what goes to 127.0.0.11:53 goes to these ports of 127.0.0.11 instead.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn redirect_names(_space: &Space, _udp: u16, _tcp: u16) -> Result<()> {
        Err(Error::new("not made yet"))
    }
}
