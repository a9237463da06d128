//! A root file system out of layers: an overlay, the layer itself where one is enough, or a copy where nothing else is possible.
//!
//! May not: know what an image is, where layers are kept, or leave anything mounted that [`unmount`] does not find below the
//! target and the scratch directory.
//!
//! The driver is chosen by trying: what a file system can carry depends on the kernel, the namespace and the mounts below it, and
//! no table knows that as well as the kernel. Only when an overlay fails is the place of its work directory asked whether
//! any overlay can live there; if one can, the failure was about the layers and is returned.

mod copy;
mod erofs;
mod overlay;
mod unmount;

pub use erofs::takes_files;
pub use overlay::{MAX_LAYERS, Way};
pub use unmount::{Busy, Unmounted, mounts_below, unmount};

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sys::mount::{ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, Change, Reach};

use crate::{Context, Error, Kind, Result};

/// A layer in overlay form: whiteouts are character devices 0/0, opaque directories carry an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A directory.
    Tree(PathBuf),
    /// A file with an EROFS in it.
    Erofs(PathBuf),
    /// The same, mounted already.
    Open(OpenLayer),
}

impl Layer {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        match self {
            Layer::Tree(path) | Layer::Erofs(path) => path,
            Layer::Open(open) => &open.file,
        }
    }
}

/// An EROFS image with a mount of it that has no place.
#[derive(Clone, Debug)]
pub struct OpenLayer {
    file: PathBuf,
    tree: Arc<OwnedFd>,
}

impl OpenLayer {
    /// Mounts it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(file: &Path) -> Result<OpenLayer> {
        Ok(OpenLayer::of(file, erofs::mount(file, 0)?))
    }

    /// It is mounted: `tree`.
    pub fn of(file: &Path, tree: OwnedFd) -> OpenLayer {
        OpenLayer {
            file: file.to_owned(),
            tree: Arc::new(tree),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }
}

impl PartialEq for OpenLayer {
    fn eq(&self, other: &OpenLayer) -> bool {
        self.file == other.file
    }
}

impl Eq for OpenLayer {}

/// Where changes go. Both lie on one file system; the work directory is the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// What is to be mounted.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The lowest first. A layer that occurs twice counts where it occurs last: what it says there hides what it said before.
    pub layers: Vec<Layer>,
    /// `None`: read-only.
    pub upper: Option<Upper>,
    /// A directory of ours. Linux before 6.15 wants the EROFS layers of an overlay to have a place, which they get here for
    /// a moment.
    pub scratch: Option<PathBuf>,
    pub options: Options,
}

/// How it is to be mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub nosuid: bool,
    pub nodev: bool,
    /// The upper directory is thrown away after use: nothing of it is ever synced, and after a power cut it is worthless.
    pub volatile: bool,
    /// Never an overlay, for who cannot keep a mount.
    pub copy: bool,
    /// The only way to be tried to tell the kernel what an overlay is made of. For tests.
    pub way: Option<Way>,
}

/// What carries the root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// An overlay, by which way it was described to the kernel.
    Overlay(Way),
    /// The only directory there is, mounted once more.
    Bind,
    /// The only layer, which is a file system itself.
    Erofs,
    /// The layers were copied, one over the other, into the target directory. Nothing is mounted.
    Copy,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::Overlay(_) => "overlay",
            Driver::Bind => "bind",
            Driver::Erofs => "erofs",
            Driver::Copy => "copy",
        })
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Mounted {
    pub driver: Driver,
    /// For [`Driver::Copy`]: why no overlay. A phrase.
    pub why: Option<String>,
}

/// Mounts on `target`, a directory; where only copying is possible, an empty one.
///
/// # Errors
/// What the kernel says of the layers; too many of them; no way to copy them. Nothing is mounted then, but a copy may be
/// there in part.
pub fn mount(spec: &Spec, target: &Path) -> Result<Mounted> {
    attach(spec, target).context(format_args!("failed to mount on {}", target.display()))
}

fn attach(spec: &Spec, target: &Path) -> Result<Mounted> {
    let layers = effective(&spec.layers)?;
    if spec.options.copy {
        return flatten(&layers, target, "an overlay was not asked for");
    }
    let place = open_directory(target)?;
    let failure = match build(spec, &layers, Some(place.as_fd())) {
        Ok((Built::Detached(tree), driver)) => {
            sys::mount::move_mount(tree.as_fd(), place.as_fd())?;
            return Ok(Mounted { driver, why: None });
        }
        Ok((Built::Attached, driver)) => return Ok(Mounted { driver, why: None }),
        Err(e) => e,
    };
    // Only what the kernel refused may succeed elsewhere.
    if failure.kind() == Kind::NotFound {
        return Err(failure);
    }
    match why_no_overlay(spec) {
        Some(why) => flatten(&layers, target, &why),
        None => Err(failure),
    }
}

/// The same as a mount without a place. It can be attached, or lives as long as the descriptor.
///
/// # Errors
/// As [`mount`], and on kernels without detached mounts. Nothing is ever copied.
pub fn detached(spec: &Spec) -> Result<(OwnedFd, Driver)> {
    let layers = effective(&spec.layers)?;
    match build(spec, &layers, None)? {
        (Built::Detached(tree), driver) => Ok((tree, driver)),
        (Built::Attached, _) => Err(Error::of(
            Kind::Unsupported,
            "this kernel has no mounts without a place",
        )),
    }
}

enum Built {
    Detached(OwnedFd),
    /// At the place that was given.
    Attached,
}

fn build(spec: &Spec, layers: &[&Layer], place: Option<BorrowedFd<'_>>) -> Result<(Built, Driver)> {
    let only = match (layers, &spec.upper) {
        ([], Some(Upper { upper, .. })) => Some(upper),
        ([Layer::Tree(path)], None) => Some(path),
        ([Layer::Erofs(file) | Layer::Open(OpenLayer { file, .. })], None) => {
            let tree = erofs::mount(file, attributes(spec))?;
            return Ok((Built::Detached(tree), Driver::Erofs));
        }
        ([], None) => return Err(Error::invalid("there are no layers to mount")),
        _ => None,
    };
    match only {
        Some(path) => Ok((bind(path, attributes(spec), place)?, Driver::Bind)),
        None => {
            let (built, way) = overlay::build(spec, layers, place)?;
            Ok((built, Driver::Overlay(way)))
        }
    }
}

fn attributes(spec: &Spec) -> u64 {
    let of = |on: bool, attribute| if on { attribute } else { 0 };
    of(spec.upper.is_none(), ATTR_RDONLY)
        | of(spec.options.nosuid, ATTR_NOSUID)
        | of(spec.options.nodev, ATTR_NODEV)
}

/// What MS_ flags say the same; their numbers are those of the attributes as far as these three go.
fn classic_flags(attributes: u64) -> u64 {
    attributes & (libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV)
}

/// A second mount of a directory. It neither sends nor receives what is mounted below the first.
fn bind(path: &Path, attributes: u64, place: Option<BorrowedFd<'_>>) -> Result<Built> {
    let from = open_directory(path)?;
    let private = Change {
        set: attributes,
        propagation: libc::MS_PRIVATE,
        ..Change::default()
    };
    let tree = sys::mount::clone_tree(from.as_fd(), Reach::Single).and_then(|tree| {
        sys::mount::mount_setattr(tree.as_fd(), Reach::Single, &private)?;
        Ok(tree)
    });
    match (tree, place) {
        (Ok(tree), _) => Ok(Built::Detached(tree)),
        // mount_setattr(2) came with Linux 5.12, open_tree(2) with 5.2.
        (Err(e), Some(place)) if e.is_unavailable() => {
            bind_classic(from.as_fd(), attributes, place)?;
            Ok(Built::Attached)
        }
        (Err(e), _) => Err(e.into()),
    }
}

fn bind_classic(from: BorrowedFd<'_>, attributes: u64, place: BorrowedFd<'_>) -> Result<()> {
    sys::mount::mount(&fd_path(from)?, &fd_path(place)?, c"", libc::MS_BIND, c"")?;
    // The descriptor of the place still names what lies below the mount; its path leads to the top.
    let path = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let top = open_directory(&path)?;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | classic_flags(attributes);
    let done = sys::mount::mount(c"", &fd_path(top.as_fd())?, c"", libc::MS_PRIVATE, c"")
        .and_then(|()| sys::mount::mount(c"", &sys::fs::c_path(&path)?, c"", flags, c""));
    if let Err(e) = done {
        let undone = sys::mount::umount(&sys::fs::c_path(&path)?, libc::MNT_DETACH);
        return Err(Error::from(e).and_also(undone.map_err(Error::from)));
    }
    Ok(())
}

/// Why no overlay can be mounted where the upper directory is, or, read-only, anywhere. `None`: one can be.
fn why_no_overlay(spec: &Spec) -> Option<String> {
    let tried = match &spec.upper {
        Some(upper) => overlay::can_have_upper_at(&upper.work),
        None => return overlay::is_missing(),
    };
    let Err(e) = tried else {
        return None;
    };
    Some(match overlay::is_missing() {
        Some(why) => why,
        None => e.to_string(),
    })
}

fn flatten(layers: &[&Layer], target: &Path, why: &str) -> Result<Mounted> {
    copy::flatten(layers, target).map_err(|e| e.context(format_args!("{why}; failed to copy the layers")))?;
    Ok(Mounted {
        driver: Driver::Copy,
        why: Some(why.to_owned()),
    })
}

/// Whether an overlay can have its upper directory somewhere in `directory`, and if not, why.
///
/// # Errors
/// It cannot be tried: the directory is not there or not ours.
pub fn probe(directory: &Path) -> Result<std::result::Result<(), String>> {
    match overlay::can_have_upper_at(directory) {
        Ok(()) => Ok(Ok(())),
        Err(e) if e.kind() == Kind::NotFound || e.kind() == Kind::Denied => Err(e),
        Err(e) => Ok(Err(overlay::is_missing().unwrap_or_else(|| e.to_string()))),
    }
}

/// Without those that occur again further up. The kernel would refuse them: ELOOP, `conflicting lowerdir path`. (Images repeat
/// the empty layer.)
fn effective(layers: &[Layer]) -> Result<Vec<&Layer>> {
    let mut seen = std::collections::HashSet::new();
    let mut out: Vec<&Layer> = layers
        .iter()
        .rev()
        .filter(|layer| seen.insert(layer.path()))
        .collect();
    out.reverse();
    if out.len() > MAX_LAYERS {
        return Err(Error::of(
            Kind::Unsupported,
            format!(
                "the image has {} layers, and the kernel's overlay takes {MAX_LAYERS}",
                out.len()
            ),
        ));
    }
    Ok(out)
}

/// A directory as a descriptor that cannot be read; no link.
fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    sys::fs::open(path, flags, 0).map_err(Error::from)
}

/// What a descriptor names, for calls that take only paths. The kernel goes from it straight to the file.
fn fd_path(fd: BorrowedFd<'_>) -> sys::Result<std::ffi::CString> {
    sys::fs::c_path(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())))
}

/// A name for something that is there for a moment, that no other thread or process uses for the same.
fn passing_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".{what}-{}-{n}", std::process::id())
}

/// Whether we are in a user namespace that maps less than everything: there an overlay may not have attributes below
/// `trusted.`, and EROFS cannot be mounted.
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_layers_count_where_they_occur_last() {
        let [a, b, c] = ["/a", "/b", "/c"].map(|p| Layer::Tree(p.into()));
        let layers = [a.clone(), b.clone(), a.clone(), c.clone(), b.clone()];
        assert_eq!(effective(&layers).unwrap(), [&a, &c, &b]);
    }

    #[test]
    fn more_layers_than_the_kernel_takes_are_refused_in_one_sentence() {
        let layers: Vec<Layer> = (0..501).map(|n| Layer::Tree(format!("/{n}").into())).collect();
        let error = effective(&layers).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image has 501 layers, and the kernel's overlay takes 500"
        );
        assert!(effective(&layers[1..]).is_ok());
    }

    #[test]
    fn attributes_are_flags_of_mount_too() {
        assert_eq!(
            classic_flags(ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV),
            libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV
        );
    }
}
