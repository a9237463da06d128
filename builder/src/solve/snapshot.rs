//! Where a step writes, and how what it has written becomes a layer.
//!
//! The upper directory of an overlay is in the form that overlayfs wants of a lower one. It is read once, for its diff id, and moved to the
//! layers: no archive is written, and nothing is unpacked again.
//!
//! May not: know what a step does.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use image::assemble;
use image::mount::{self, Upper};
use image::registry::Cancel;
use image::store::{Form, Layer, Lease, Store};
use image::{Context, Result};

/// A place to write to. What was written into one that became no layer goes with the lease.
pub struct Snapshot<'s> {
    store: &'s Store,
    lease: &'s Lease<'s>,
    below: Vec<mount::Layer>,
    /// Becomes the directory of the layer.
    directory: PathBuf,
    work: PathBuf,
}

impl<'s> Snapshot<'s> {
    /// On top of layers, the lowest first.
    ///
    /// # Errors
    /// Directories cannot be made.
    pub fn on(store: &'s Store, lease: &'s Lease<'s>, below: &[Layer], name: &str) -> Result<Snapshot<'s>> {
        let directory = lease.directory().join(format!("step-{name}"));
        let snapshot = Snapshot {
            store,
            lease,
            below: store.mountable(below),
            work: lease.directory().join(format!("work-{name}")),
            directory,
        };
        let upper = snapshot.upper();
        let failed = || format!("failed to make {}", upper.upper.display());
        fs::create_dir_all(&upper.upper).context(failed())?;
        fs::create_dir_all(&upper.work).context(failed())?;
        // What the root looks like if nothing says otherwise, whatever our umask is.
        fs::set_permissions(&upper.upper, fs::Permissions::from_mode(0o755)).context(failed())?;
        Ok(snapshot)
    }

    /// The layers below it.
    pub fn below(&self) -> &[mount::Layer] {
        &self.below
    }

    /// Where changes go.
    pub fn upper(&self) -> Upper {
        Upper {
            upper: self.directory.join(Form::Tree.file_name()),
            work: self.work.clone(),
        }
    }

    /// The root, to be written to. It is mounted nowhere and gone with the descriptor.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn open(&self) -> Result<OwnedFd> {
        root(&self.below, Some(self.upper()), self.lease)
    }

    /// What was written, as a layer of the store; none, if nothing was. With `epoch`, in seconds, nothing in it is younger. Nobody may have it mounted any more.
    ///
    /// # Errors
    /// It cannot be read, or the store cannot be written.
    pub fn finish(self, epoch: Option<i64>, cancel: &Cancel) -> Result<Option<Layer>> {
        if let Some(epoch) = epoch {
            let upper = sys::fs::open(&self.upper().upper, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
            super::clamp::clamp(upper.as_fd(), epoch)?;
        }
        let lower = match self.below.as_slice() {
            [] => None,
            below => Some(root(below, None, self.lease)?),
        };
        let lower = lower.as_ref().map(|fd| fd.as_fd());
        assemble::keep_upper(self.store, self.lease, &self.directory, lower, cancel)
    }
}

/// What of layers is mounted to read it. Of none it is a directory with nothing in it: `FROM scratch` is a root, too.
///
/// # Errors
/// That directory cannot be made.
pub fn readable(store: &Store, layers: &[Layer], lease: &Lease<'_>) -> Result<Vec<mount::Layer>> {
    let found = store.mountable(layers);
    if !found.is_empty() {
        return Ok(found);
    }
    let nothing = lease.directory().join("nothing");
    let failed = || format!("failed to make {}", nothing.display());
    fs::create_dir_all(&nothing).context(failed())?;
    fs::set_permissions(&nothing, fs::Permissions::from_mode(0o755)).context(failed())?;
    Ok(vec![mount::Layer::Tree(nothing)])
}

/// A root out of layers, without a place.
///
/// # Errors
/// It cannot be mounted.
pub fn root(layers: &[mount::Layer], upper: Option<Upper>, lease: &Lease<'_>) -> Result<OwnedFd> {
    let spec = mount::Spec {
        layers: layers.to_vec(),
        upper,
        scratch: Some(lease.directory()),
        options: mount::Options {
            volatile: true,
            ..mount::Options::default()
        },
    };
    Ok(mount::detached(&spec)?.0)
}
