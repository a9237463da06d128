//! overlay, told to the kernel in one of three ways, the newest first.
//!
//! May not: follow redirects or use metadata-only copies. A layer comes from a registry; what it says about other layers is not
//! believed. An index is of no use either: layers are shared by many mounts, and the index would tie them to one.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::mount::FSCONFIG_STRING_MAX;

use super::{Built, Layer, Spec, Upper, attributes, classic_flags, erofs, fd_path};
use crate::{Context, Error, Kind, Result};

/// How many lower layers the kernel takes (OVL_MAX_STACK since Linux 4.0).
pub const MAX_LAYERS: usize = 500;

/// How layers are told to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As descriptors (Linux 6.13).
    Descriptors,
    /// As one string each (`lowerdir+`, Linux 6.7).
    Strings,
    /// As one line of mount(2), which has to fit into a page.
    Line,
}

const WAYS: [Way; 3] = [Way::Descriptors, Way::Strings, Way::Line];

pub(super) fn build(spec: &Spec, layers: &[&Layer], place: Option<BorrowedFd<'_>>) -> Result<(Built, Way)> {
    let ways = match &spec.options.way {
        Some(way) => std::slice::from_ref(way),
        None => &WAYS[..],
    };
    let mut first: Option<Failure> = None;
    for way in ways {
        // An attempt that failed has left its mark as well.
        if spec.options.volatile {
            forget_volatile(spec)?;
        }
        let done = match (way, place) {
            (Way::Descriptors, _) => by_descriptors(spec, layers),
            (Way::Strings, _) => by_strings(spec, layers),
            (Way::Line, Some(place)) => by_line(spec, layers, place),
            (Way::Line, None) => continue,
        };
        match done {
            Ok(built) => return Ok((built, *way)),
            // The kernel's own words about the layers, if it had any, are in the first failure that is not about the way.
            Err(e) => {
                let is_more_telling = first.as_ref().is_none_or(|f| {
                    (f.is_about_the_way && !e.is_about_the_way) || e.error.kind() == Kind::Unsupported
                });
                let ends = !e.is_about_the_way && !e.may_be_about_the_way;
                if is_more_telling {
                    first = Some(e);
                }
                if ends {
                    break;
                }
            }
        }
    }
    Err(match first {
        Some(f) if f.is_about_the_way => f.error.kind_is(Kind::Unsupported),
        Some(f) => f.error,
        None => Error::of(Kind::Unsupported, "this kernel has no mounts without a place"),
    })
}

/// A failure of one way.
struct Failure {
    error: Error,
    /// The call or the parameter is not there: another way may do.
    is_about_the_way: bool,
    /// EINVAL, which stands for everything.
    may_be_about_the_way: bool,
}

impl From<sys::Error> for Failure {
    fn from(e: sys::Error) -> Failure {
        Failure {
            // EOPNOTSUPP: overlay takes no descriptors at all before Linux 6.5, whose vfs says so itself.
            is_about_the_way: e.is_unavailable() || e.is(libc::EBADF) || e.is(libc::EOPNOTSUPP),
            may_be_about_the_way: e.is(libc::EINVAL),
            error: e.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            error,
            is_about_the_way: false,
            may_be_about_the_way: false,
        }
    }
}

type Attempt<T> = std::result::Result<T, Failure>;

fn by_descriptors(spec: &Spec, layers: &[&Layer]) -> Attempt<Built> {
    let context = sys::mount::fsopen(c"overlay")?;
    if let Some(Upper { upper, work }) = &spec.upper {
        for (key, path) in [(c"upperdir", upper), (c"workdir", work)] {
            sys::mount::fsconfig_set_fd(context.as_fd(), key, open_readable(path)?.as_fd())?;
        }
    }
    // A mount without a place is dissolved with its descriptor, and overlay takes no layer that is mounted nowhere.
    let mut trees = Vec::new();
    for layer in layers.iter().rev() {
        // Not O_PATH: the kernel takes such descriptors only since 6.15.
        let fd = match layer {
            Layer::Tree(path) => open_readable(path)?,
            Layer::Erofs(file) => {
                let tree = erofs::mount(file, 0)?;
                let root = root_of(tree.as_fd())?;
                trees.push(tree);
                root
            }
            Layer::Open(open) => root_of(open.tree())?,
        };
        sys::mount::fsconfig_set_fd(context.as_fd(), c"lowerdir+", fd.as_fd())?;
    }
    finish(spec, context)
}

fn root_of(tree: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    sys::fs::openat(tree, Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

fn by_strings(spec: &Spec, layers: &[&Layer]) -> Attempt<Built> {
    let context = sys::mount::fsopen(c"overlay")?;
    let seats = Seats::take(spec, layers)?;
    let set = |key, path: &Path| -> Attempt<()> {
        let (_open, text) = short(path)?;
        Ok(sys::mount::fsconfig_set(context.as_fd(), key, Some(&text))?)
    };
    if let Some(Upper { upper, work }) = &spec.upper {
        set(c"upperdir", upper)?;
        set(c"workdir", work)?;
    }
    for path in seats.paths.iter().rev() {
        set(c"lowerdir+", path)?;
    }
    finish(spec, context)
}

/// A path as the kernel takes it, and what must stay open until then.
fn short(path: &Path) -> Result<(Option<OwnedFd>, CString)> {
    let text = sys::fs::c_path(path)?;
    // A backslash would be taken for an escape, in some releases and some parameters.
    if text.as_bytes().len() <= FSCONFIG_STRING_MAX && !text.as_bytes().contains(&b'\\') {
        return Ok((None, text));
    }
    let fd = open_readable(path)?;
    let text = fd_path(fd.as_fd())?;
    Ok((Some(fd), text))
}

fn finish(spec: &Spec, context: OwnedFd) -> Attempt<Built> {
    sys::mount::fsconfig_set(context.as_fd(), c"source", Some(c"overlay"))?;
    for (key, value) in parameters(spec) {
        let (key, value) = (sys::fs::c_path(Path::new(key))?, value.map(Path::new));
        let value = value.map(sys::fs::c_path).transpose()?;
        sys::mount::fsconfig_set(context.as_fd(), &key, value.as_deref())?;
    }
    sys::mount::fsconfig_create(context.as_fd())?;
    let tree = sys::mount::fsmount(context.as_fd(), attributes(spec))?;
    Ok(Built::Detached(tree))
}

fn parameters(spec: &Spec) -> Vec<(&'static str, Option<&'static str>)> {
    let mut out = vec![
        ("index", Some("off")),
        ("metacopy", Some("off")),
        // Not `off`: a kernel may be built to follow all the same.
        ("redirect_dir", Some("nofollow")),
        ("xino", Some("off")),
    ];
    if super::in_user_namespace() {
        out.push(("userxattr", None));
    }
    if spec.options.volatile && spec.upper.is_some() {
        out.push(("volatile", None));
    }
    out
}

/// mount(2). Where the paths do not fit, all that is told are the numbers of descriptors, seen from /proc/self/fd: five bytes a
/// layer, so 500 of them always fit. (Others keep a directory of short links for it; it has to be kept in order, and
/// its names in /proc/mounts say as little.)
fn by_line(spec: &Spec, layers: &[&Layer], place: BorrowedFd<'_>) -> Attempt<Built> {
    let seats = Seats::take(spec, layers)?;
    let flags = classic_flags(attributes(spec));
    let target = fd_path(place)?;
    let full = line(spec, &seats.paths, |path| Ok(escaped(path)))?;
    if full.as_bytes().len() < sys::memory::page_size() {
        sys::mount::mount(c"overlay", &target, c"overlay", flags, &full)?;
        return Ok(Built::Attached);
    }
    let mut open = Vec::with_capacity(seats.paths.len() + 2);
    let numbers = line(spec, &seats.paths, |path| {
        let fd = sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        let number = fd.as_raw_fd().to_string();
        open.push(fd);
        Ok(number.into_bytes())
    })?;
    in_directory("/proc/self/fd".into(), move || {
        sys::mount::mount(c"overlay", &target, c"overlay", flags, &numbers)
    })?;
    drop(open);
    Ok(Built::Attached)
}

fn line(
    spec: &Spec,
    lower: &[PathBuf],
    mut name: impl FnMut(&Path) -> sys::Result<Vec<u8>>,
) -> sys::Result<CString> {
    let mut text = b"lowerdir=".to_vec();
    for (n, path) in lower.iter().rev().enumerate() {
        if n > 0 {
            text.push(b':');
        }
        text.extend(name(path)?);
    }
    if let Some(Upper { upper, work }) = &spec.upper {
        text.extend(b",upperdir=");
        text.extend(name(upper)?);
        text.extend(b",workdir=");
        text.extend(name(work)?);
    }
    for (key, value) in parameters(spec) {
        text.extend(format!(",{key}{}", value.map_or(String::new(), |v| format!("={v}"))).bytes());
    }
    CString::new(text).map_err(|_| sys::Error::new("mount", "a NUL in a path", sys::Errno(libc::EINVAL)))
}

fn escaped(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b',' | b':') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// Runs `act` in a working directory that is nobody else's: a thread may have its own, so that no child has to be forked
/// from a program with threads, and nobody sees the change.
fn in_directory(
    directory: PathBuf,
    act: impl FnOnce() -> sys::Result<()> + Send,
) -> std::result::Result<(), Failure> {
    let acted = std::thread::scope(|scope| {
        let aside = scope.spawn(move || -> sys::Result<()> {
            sys::process::unshare(libc::CLONE_FS as u64)?;
            sys::fs::chdir(&directory)?;
            act()
        });
        aside.join()
    });
    match acted {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::new("the thread that mounts has ended").into()),
    }
}

/// Layers as paths. EROFS images have none until they are mounted; their places are taken away again at the end, which the
/// overlay does not notice: it has mounts of its own.
struct Seats {
    paths: Vec<PathBuf>,
    mounted: Vec<PathBuf>,
}

impl Seats {
    fn take(spec: &Spec, layers: &[&Layer]) -> Result<Seats> {
        let mut seats = Seats {
            paths: Vec::with_capacity(layers.len()),
            mounted: Vec::new(),
        };
        for layer in layers {
            let path = match layer {
                Layer::Tree(path) => path.clone(),
                // One that is open already may be others', too, who do not want it at a place.
                Layer::Erofs(_) | Layer::Open(_) => seats.mount(spec, layer.path())?,
            };
            seats.paths.push(path);
        }
        Ok(seats)
    }

    fn mount(&mut self, spec: &Spec, file: &Path) -> Result<PathBuf> {
        let scratch = spec
            .scratch
            .as_deref()
            .ok_or_else(|| Error::of(Kind::Unsupported, "this kernel needs a place for EROFS layers"))?;
        let tree = erofs::mount(file, 0)?;
        let path = scratch.join(format!("layer-{}", self.mounted.len()));
        match std::fs::create_dir(&path) {
            // Of somebody who was killed.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.context(format_args!("failed to make {}", path.display()))?,
        }
        let place = super::open_directory(&path)?;
        sys::mount::move_mount(tree.as_fd(), place.as_fd())?;
        self.mounted.push(path.clone());
        Ok(path)
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        for path in &self.mounted {
            // What stays is found by whoever unmounts below the scratch directory.
            let gone = sys::fs::c_path(path).and_then(|p| sys::mount::umount(&p, libc::MNT_DETACH));
            if gone.is_ok() {
                let _ = std::fs::remove_dir(path);
            }
        }
    }
}

fn open_readable(path: &Path) -> Result<OwnedFd> {
    sys::fs::open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(Error::from)
}

/// A volatile overlay leaves a mark, so that nobody takes an upper directory for sound after a crash. Who says volatile
/// again does not care.
fn forget_volatile(spec: &Spec) -> Result<()> {
    let Some(Upper { work, .. }) = &spec.upper else {
        return Ok(());
    };
    match std::fs::remove_dir_all(work.join("work/incompat")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.context("failed to remove the mark of a volatile overlay"),
    }
}

/// Mounts an overlay of nothing, attached nowhere, whose upper directory is a new one in `directory`.
pub(super) fn can_have_upper_at(directory: &Path) -> Result<()> {
    let room = directory.join(super::passing_name("overlay"));
    let made = std::fs::create_dir(&room);
    made.map_err(|e| {
        let kind = match e.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Denied,
        };
        Error::from(e).kind_is(kind)
    })
    .context(format_args!("failed to make {}", room.display()))?;
    let tried = try_upper_in(&room);
    let removed = std::fs::remove_dir_all(&room).context(format_args!("failed to remove {}", room.display()));
    match tried {
        Ok(()) => removed,
        Err(e) => Err(e.and_also(removed)),
    }
}

fn try_upper_in(room: &Path) -> Result<()> {
    for name in ["lower", "upper", "work", "target"] {
        std::fs::create_dir(room.join(name))?;
    }
    let spec = Spec {
        upper: Some(Upper {
            upper: room.join("upper"),
            work: room.join("work"),
        }),
        ..Spec::default()
    };
    let lower = Layer::Tree(room.join("lower"));
    let place = super::open_directory(&room.join("target"))?;
    let (built, _) = build(&spec, &[&lower], Some(place.as_fd()))?;
    if let Built::Attached = built {
        let target = sys::fs::c_path(&room.join("target"))?;
        sys::mount::umount(&target, libc::MNT_DETACH)?;
    }
    Ok(())
}

/// Why there is no overlay at all for us, if so.
pub(super) fn is_missing() -> Option<String> {
    match sys::mount::fsopen(c"overlay") {
        Ok(_) => None,
        Err(e) if e.is(libc::ENODEV) => Some("this kernel has no overlay".into()),
        Err(e) if e.is(libc::EPERM) && !may_mount() => Some("we may not mount anything here".into()),
        // Perhaps filtered, while mount(2) is not.
        Err(_) => None,
    }
}

fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    sys::cred::capabilities().is_ok_and(|sets| sets.effective & CAP_SYS_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_topmost_first_and_escapes() {
        let spec = Spec {
            upper: Some(Upper {
                upper: "/u,p".into(),
                work: "/w".into(),
            }),
            ..Spec::default()
        };
        let lower = ["/a".into(), "/b:c\\".into()];
        let text = line(&spec, &lower, |p| Ok(escaped(p))).unwrap();
        let text = text.to_str().unwrap();
        assert!(text.starts_with(r"lowerdir=/b\:c\\:/a,upperdir=/u\,p,workdir=/w,index=off,"));
    }

    #[test]
    fn what_an_older_kernel_does_not_take_is_no_word_about_the_layers() {
        let goes_on = |errno| {
            let failure = Failure::from(sys::Error::new("fsconfig", "lowerdir+", sys::Errno(errno)));
            failure.is_about_the_way || failure.may_be_about_the_way
        };
        // Filtered or missing; no such parameter; no descriptors (Linux before 6.5); only some descriptors (before 6.15).
        for errno in [
            libc::ENOSYS,
            libc::EPERM,
            libc::EINVAL,
            libc::EOPNOTSUPP,
            libc::EBADF,
        ] {
            assert!(goes_on(errno), "{errno}");
        }
        assert!(!goes_on(libc::EROFS) && !goes_on(libc::ELOOP));
    }

    #[test]
    fn a_thread_has_its_own_directory() {
        let before = std::env::current_dir().unwrap();
        let mut seen = None;
        in_directory("/proc/self/fd".into(), || {
            seen = sys::fs::getcwd_raw().ok();
            Ok(())
        })
        .unwrap_or_else(|_| unreachable!());
        assert_eq!(
            seen.unwrap(),
            Path::new(&format!("/proc/{}/fd", std::process::id()))
        );
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
