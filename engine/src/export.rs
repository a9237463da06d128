//! `export`: all files of a container as one archive, without those of its volumes.
//!
//! May not: stop or pause it; what changes meanwhile is in the archive as it was found.

use std::io::Write;

use image::Result;
use image::registry::Cancel;

use crate::root::Root;
use crate::tree::pack::Packer;
use crate::tree::walk::{self, Attributes};

/// Writes the archive. The root has no entry of its own, as in Docker's.
///
/// # Errors
/// A file cannot be read, or the archive not be written.
pub fn export(root: &Root, to: impl Write, cancel: &Cancel) -> Result<()> {
    let mut packer = Packer::new(to);
    let options = walk::Options {
        attributes: Attributes::All,
        closed: Vec::new(),
        target: None,
        cancel,
    };
    walk::walk(root.fd(), b"", &options, &mut packer)?;
    packer.finish()?;
    Ok(())
}
