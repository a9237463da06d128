//! The files of the result, in a directory or an archive.
//!
//! May not: follow a link of the result while it writes; `image::tree` does not.

use std::fs;
use std::io::BufWriter;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use image::layer::tar::{Entry, Time};
use image::mount;
use image::tree::pack::Packer;
use image::tree::place::{Owners, Placer};
use image::tree::walk::{self, Attributes};
use image::tree::{Contents, Sink};
use image::{Context as _, Error, Result};

use super::archive::Destination;
use super::{Exported, Product, Work, attest};
use crate::request::OutputKind;

pub fn put(work: &Work<'_>) -> Result<Exported> {
    let is_split = work.options.split.unwrap_or(work.is_multi());
    if work.products.len() > 1 && !is_split && work.output.kind == OutputKind::Tar {
        return Err(Error::invalid(
            "several platforms in one archive need platform-split=true",
        ));
    }
    match work.output.kind {
        OutputKind::Tar => tar(work, is_split)?,
        _ => local(work, is_split)?,
    }
    Ok(Exported::default())
}

fn directory_of(product: &Product) -> String {
    product.platform.to_string().replace('/', "_")
}

/// The root of a product; none, if it has no files at all.
pub(super) fn root(work: &Work<'_>, product: &Product) -> Result<Option<OwnedFd>> {
    let store = work.means.maker.store;
    if product.layers.is_empty() {
        return Ok(None);
    }
    let spec = mount::Spec {
        layers: store.mountable(&product.layers),
        scratch: Some(work.lease.directory()),
        ..mount::Spec::default()
    };
    Ok(Some(
        mount::detached(&spec).context("failed to open the result")?.0,
    ))
}

fn tar(work: &Work<'_>, is_split: bool) -> Result<()> {
    let to = Destination::open(work.output.destination.as_deref())?;
    let mut packer = Packer::new(BufWriter::with_capacity(256 << 10, to));
    for product in work.products {
        let prefix = match is_split {
            true => directory_of(product),
            false => String::new(),
        };
        copy(work, product, prefix.as_bytes(), &mut packer).context("failed to write the archive")?;
    }
    let to = packer.finish()?.into_inner().map_err(|e| e.into_error());
    to.context("failed to write the archive")?.finish()
}

fn local(work: &Work<'_>, is_split: bool) -> Result<()> {
    let at = work
        .output
        .destination
        .as_deref()
        .ok_or_else(|| Error::invalid("output directory is required for local exporter"))?;
    let failed = |at: &Path| format!("failed to write to {}", at.display());
    fs::create_dir_all(at).context(failed(at))?;
    if work.options.delete {
        empty(at)?;
    }
    for product in work.products {
        let own: PathBuf = match is_split {
            true => at.join(directory_of(product)),
            false => at.to_owned(),
        };
        fs::create_dir_all(&own).context(failed(&own))?;
        let target = sys::fs::open(&own, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        let (uid, gid) = sys::process::effective_ids();
        // What an image says of owners is nothing to this machine.
        let mut placer = Placer::new(target.as_fd(), Owners::All(uid, gid));
        copy(work, product, b"", &mut placer).context(failed(&own))?;
        placer.finish().context(failed(&own))?;
        for (name, bytes) in attest::files(work, product)? {
            fs::write(own.join(name), bytes).context(failed(&own))?;
        }
    }
    Ok(())
}

fn empty(at: &Path) -> Result<()> {
    for entry in fs::read_dir(at)? {
        image::layer::remove_path(&entry?.path())?;
    }
    Ok(())
}

fn copy(work: &Work<'_>, product: &Product, name: &[u8], sink: &mut dyn Sink) -> Result<()> {
    let Some(root) = root(work, product)? else {
        return Ok(());
    };
    let options = walk::Options {
        attributes: Attributes::All,
        closed: Vec::new(),
        target: None,
        cancel: work.means.maker.cancel,
    };
    let mut dated = Dated {
        sink,
        time: work.story.epoch,
    };
    walk::walk(root.as_fd(), name, &options, &mut dated)
}

/// All files at one time, where that was asked for.
struct Dated<'d> {
    sink: &'d mut dyn Sink,
    time: Option<i64>,
}

impl Sink for Dated<'_> {
    fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        match self.time {
            None => self.sink.take(entry, contents),
            Some(seconds) => {
                let mtime = Time {
                    seconds,
                    nanoseconds: 0,
                };
                let entry = Entry {
                    mtime,
                    ..entry.clone()
                };
                self.sink.take(&entry, contents)
            }
        }
    }
}
