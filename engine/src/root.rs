//! The root directory of a container, as a descriptor from which everything in it is reached.
//!
//! May not: run or load anything of the container (CVE-2019-14271), enter its root, or mount where the host would see it. A path
//! inside is resolved by the kernel with the descriptor as its root (openat2(2), RESOLVE_IN_ROOT), so that no link of
//! the container leads out, whatever it changes meanwhile (CVE-2018-15664).
//!
//! * Of a container that runs it is the root of its init, with everything that is mounted in it: volumes, too.
//! * Of one that does not, its layers and its volumes are mounted by a thread in a mount namespace of its own. The namespace goes
//!   with the descriptor that holds it, at the latest with us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use image::mount::{self, Layer, Spec, Upper};
use image::provide::Maker;
use image::store::{Image, Lease, Store};
use image::{Context, Digest, Error, Kind, Result, standing};
use monitor::state::Process;
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};
use sys::mount::{ATTR_RDONLY, Change, Reach};

use crate::containers::{Container, Containers, Lock};
use crate::volumes::{self, Words, attach};

/// An open root.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Keeps what is mounted.
    _namespace: Option<OwnedFd>,
}

/// Something of the host that is to be seen in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    /// Of the source only this, which must not lead out of it.
    pub part: Option<String>,
    /// Options of the volume that is mounted on the source first, if it is not mounted.
    pub options: Option<Words>,
    /// In the container.
    pub target: PathBuf,
    pub is_read_only: bool,
}

/// What happens to a link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Follow,
    Keep,
}

impl Root {
    /// A directory that is one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(path: &Path) -> Result<Root> {
        let fd = sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)
            .context(format!("failed to open {}", path.display()))?;
        Ok(Root { fd, _namespace: None })
    }

    /// Of a container that runs, as its init sees it.
    ///
    /// # Errors
    /// The process has ended ([`Kind::NotFound`]).
    pub fn of_process(init: &Process) -> Result<Root> {
        let fd = open_in_process(init, Path::new("root"), libc::O_PATH)?;
        Ok(Root { fd, _namespace: None })
    }

    /// The same without what is mounted in it: volumes, /proc, /dev.
    ///
    /// # Errors
    /// The process has ended; or its mounts belong to a user namespace of its own and cannot be taken apart.
    pub fn bare(init: &Process) -> Result<Root> {
        let root = open_in_process(init, Path::new("root"), libc::O_PATH)?;
        let namespace = open_in_process(init, Path::new("ns/mnt"), libc::O_RDONLY)?;
        // A mount is copied only by who is in its namespace. The thread does nothing else there.
        let tree = std::thread::scope(|scope| {
            let aside = scope.spawn(|| {
                sys::process::unshare(libc::CLONE_FS as u64)?;
                sys::process::setns(namespace.as_fd(), libc::CLONE_NEWNS as u64)?;
                sys::mount::clone_tree(root.as_fd(), Reach::Single)
            });
            aside.join()
        });
        let tree = tree.map_err(|_| Error::new("a thread of ours has failed"))?;
        Ok(Root {
            fd: tree.context("failed to copy the mount of the root")?,
            _namespace: None,
        })
    }

    /// A directory as another process sees it: the root of a container in the namespace of its monitor, where nothing is
    /// mounted below it.
    ///
    /// # Errors
    /// The process has ended, or there is no such directory.
    pub fn seen_by(process: &Process, path: &Path) -> Result<Root> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let fd = open_in_process(process, &Path::new("root").join(below), libc::O_PATH)?;
        Ok(Root { fd, _namespace: None })
    }

    /// Of a container that does not run: mounted at `place`, an empty directory, where only we see it. The caller has the container's
    /// lock: an upper directory that two overlays have is undefined (Documentation/filesystems/overlayfs.rst).
    ///
    /// # Errors
    /// As [`mount::mount`]; or something of the host that is to be seen is not there.
    pub fn mounted(spec: &Spec, place: &Path, binds: &[Bind]) -> Result<Root> {
        crate::mounts::apart(place, || mount_here(spec, place, binds))
    }

    /// The descriptor, an `O_PATH` one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens what a path names inside, as `O_PATH` and `flags`.
    ///
    /// # Errors
    /// The kernel's: what is not there is [`Kind::NotFound`].
    pub fn open(&self, path: &Path, last: Last, flags: i32) -> Result<OwnedFd> {
        open_in_root(self.fd.as_fd(), path, last, flags | libc::O_PATH).map_err(Error::from)
    }
}

/// Resolves `path` with `root` as its root.
pub(crate) fn open_in_root(
    root: BorrowedFd<'_>,
    path: &Path,
    last: Last,
    flags: i32,
) -> sys::Result<OwnedFd> {
    let flags = match last {
        Last::Follow => flags,
        Last::Keep => flags | libc::O_NOFOLLOW,
    };
    let path = match path.as_os_str().is_empty() {
        true => Path::new("/"),
        false => path,
    };
    // No way around it: without openat2(2) (Linux 5.6) a container that runs could win every race.
    sys::fs::openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens something below /proc/PID. That it is the process which was meant is told by its start time afterwards: had the pid
/// been given to another one before, that would be another.
fn open_in_process(process: &Process, path: &Path, flags: i32) -> Result<OwnedFd> {
    let gone = || Error::not_found(format!("process {} has ended", process.pid));
    let directory = PathBuf::from(format!("/proc/{}", process.pid));
    let opened = sys::fs::open(&directory.join(path), flags, 0);
    if !process.is_alive() {
        return Err(gone());
    }
    opened.map_err(|e| match e.errno().0 {
        // A zombie has no root.
        libc::ENOENT | libc::ESRCH if path == Path::new("root") => gone(),
        _ => e.into(),
    })
}

fn mount_here(spec: &Spec, place: &Path, binds: &[Bind]) -> Result<Root> {
    mount::mount(spec, place)?;
    let root = Root::at(place)?;
    for bind in binds {
        show(&root, bind, place).context(format!("failed to show {}", bind.target.display()))?;
    }
    let namespace = sys::fs::open(Path::new("/proc/thread-self/ns/mnt"), libc::O_RDONLY, 0)
        .context("failed to hold the mount namespace")?;
    Ok(Root {
        _namespace: Some(namespace),
        ..root
    })
}

/// Where a volume with options is mounted: here, where only we see it, unless a container that runs has it mounted already.
fn volume_with_options(options: &Words, data: &Path, place: &Path) -> Result<PathBuf> {
    let id = |path: &Path| -> Result<u64> {
        let fd = sys::fs::open(path, libc::O_PATH, 0)?;
        Ok(sys::fs::mount_id(fd.as_fd())?.0)
    };
    let around = data.parent().unwrap_or(data);
    if id(data)? != id(around)? {
        return Ok(data.to_owned());
    }
    let volume = around.file_name().unwrap_or_default();
    let at = place.with_file_name("volumes").join(volume);
    std::fs::create_dir_all(&at).context(format!("failed to make {}", at.display()))?;
    volumes::options::mount(options, &at)?;
    Ok(at)
}

fn show(root: &Root, bind: &Bind, place: &Path) -> Result<()> {
    let source = match &bind.options {
        Some(options) => volume_with_options(options, &bind.source, place)?,
        None => bind.source.clone(),
    };
    let opened = match &bind.part {
        Some(part) => attach::open_part(&source, part),
        None => sys::fs::open(&source, libc::O_PATH, 0).map_err(Error::from),
    };
    let source = match opened {
        // Gone since; the container has the place where it was.
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let target = match root.open(&bind.target, Last::Follow, 0) {
        // Before its first start.
        Err(e) if e.kind() == Kind::NotFound => {
            let is_directory = sys::fs::fstat(source.as_fd())?.is_dir();
            make_place(root, &bind.target, is_directory)?
        }
        other => other?,
    };
    let tree = sys::mount::clone_tree(source.as_fd(), Reach::Recursive)?;
    if bind.is_read_only {
        let change = Change {
            set: ATTR_RDONLY,
            ..Change::default()
        };
        sys::mount::mount_setattr(tree.as_fd(), Reach::Recursive, &change)?;
    }
    Ok(sys::mount::move_mount(tree.as_fd(), target.as_fd())?)
}

/// A place to mount on, as the runtime makes it.
fn make_place(root: &Root, path: &Path, is_directory: bool) -> Result<OwnedFd> {
    let mut directory = root.open(Path::new("/"), Last::Follow, 0)?;
    let mut at = PathBuf::from("/");
    let mut names = path.components().skip(1).peekable();
    while let Some(name) = names.next() {
        let name: &Path = name.as_ref();
        at.push(name);
        directory = match root.open(&at, Last::Follow, 0) {
            Err(e) if e.kind() == Kind::NotFound => {
                if is_directory || names.peek().is_some() {
                    sys::fs::mkdirat(directory.as_fd(), name, 0o755)?;
                } else {
                    sys::fs::mknodat(directory.as_fd(), name, libc::S_IFREG | 0o644, 0)?;
                }
                root.open(&at, Last::Keep, 0)?
            }
            other => other?,
        };
    }
    Ok(directory)
}

/// A container's root, however it is to be had.
pub struct Opened<'s> {
    pub root: Root,
    /// Nobody starts it meanwhile.
    _lock: Option<Lock>,
    /// What is mounted has its place in a directory of the lease.
    _lease: Option<Lease<'s>>,
}

/// What is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything that its processes see, volumes included; to be changed.
    Whole,
    /// Its own files; to be read.
    Own,
}

/// Opens the root of a container, whether it runs or not.
///
/// # Errors
/// It is gone; its layers cannot be made or mounted.
pub fn open<'s>(
    containers: &Containers,
    maker: &Maker<'s>,
    container: &Container,
    view: View,
) -> Result<Opened<'s>> {
    let id = container.id();
    let free = |root| Opened {
        root,
        _lock: None,
        _lease: None,
    };
    if let Some(root) = of_running(containers, container, view)? {
        return Ok(free(root));
    }
    let lock = containers.lock(id)?;
    let container = containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
    // Started while we waited for the lock.
    if let Some(root) = of_running(containers, &container, view)? {
        return Ok(free(root));
    }
    let lease = maker.store.lease()?;
    let place = lease.directory().join("root");
    std::fs::create_dir(&place).context(format!("failed to make {}", place.display()))?;
    let spec = spec(containers, maker, &lease, &container, view)?;
    let binds = match view {
        View::Whole => binds(containers, &container)?,
        View::Own => Vec::new(),
    };
    let root = Root::mounted(&spec, &place, &binds)?;
    Ok(Opened {
        root,
        _lock: Some(lock),
        _lease: Some(lease),
    })
}

fn of_running(containers: &Containers, container: &Container, view: View) -> Result<Option<Root>> {
    let Some(init) = container.state.init.as_ref().filter(|_| container.is_running()) else {
        return Ok(None);
    };
    let root = match view {
        View::Whole => Root::of_process(init),
        View::Own => {
            let rootfs = containers.place(container.id()).rootfs();
            let monitor = container.state.monitor.as_ref();
            match monitor.map(|monitor| Root::seen_by(monitor, &rootfs)) {
                Some(Ok(root)) => Ok(root),
                // A monitor that was killed has taken its namespace with it.
                _ => Root::bare(init),
            }
        }
    };
    match root {
        // Ended since it was looked at.
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        root => root.map(Some),
    }
}

/// The layers of a container's image, the lowest first.
///
/// # Errors
/// A layer has to be made again, and cannot.
pub fn layers(maker: &Maker<'_>, lease: &Lease<'_>, container: &Container) -> Result<Vec<Layer>> {
    let image = image(maker.store, container)?;
    if let Some(layers) = standing::ready_layers(maker.store, &image.manifest)? {
        return Ok(layers);
    }
    standing::layers(maker, lease, &image)
}

/// The image that a container stands on.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn image(store: &Store, container: &Container) -> Result<Image> {
    let id: Digest = container.definition.image.parse()?;
    if let Some(image) = store.image(&id)? {
        return Ok(image);
    }
    // Removed by force while the container stood on it: what it is made of is still there.
    Ok(Image {
        id,
        manifest: container.definition.manifest.parse()?,
        size: 0,
        added: 0,
        used: 0,
        parent: None,
    })
}

/// The layers below what a container has changed, mounted: its image.
///
/// # Errors
/// A layer has to be made again, and cannot; or they cannot be mounted.
pub fn below(maker: &Maker<'_>, lease: &Lease<'_>, container: &Container) -> Result<Root> {
    let place = lease.directory().join("below");
    std::fs::create_dir_all(&place).context(format!("failed to make {}", place.display()))?;
    let spec = Spec {
        layers: layers(maker, lease, container)?,
        scratch: Some(lease.directory()),
        ..Spec::default()
    };
    Root::mounted(&spec, &place, &[])
}

/// The root user of a container, as we see it: what its user namespace maps 0 to.
///
/// # Errors
/// It cannot be read, though the process is there.
pub fn owner(container: &Container) -> Result<(u32, u32)> {
    let Some(init) = container.state.init.as_ref().filter(|_| container.is_running()) else {
        return Ok((0, 0));
    };
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let own = namespace("self");
    // In the same namespace the file would say what its parent calls our ids (user_namespaces(7)).
    if own.is_some() && own == namespace(&init.pid.to_string()) {
        return Ok((0, 0));
    }
    let outside = |name: &str| -> Result<u32> {
        let path = format!("/proc/{}/{name}", init.pid);
        let map = std::fs::read_to_string(&path).context(format!("failed to read {path}"))?;
        let lines = map.lines().filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
            Some((numbers.next()??, numbers.next()??))
        });
        Ok(lines
            .into_iter()
            .find(|(inside, _)| *inside == 0)
            .map_or(0, |(_, outside)| outside))
    };
    Ok((outside("uid_map")?, outside("gid_map")?))
}

fn spec(
    containers: &Containers,
    maker: &Maker<'_>,
    lease: &Lease<'_>,
    container: &Container,
    view: View,
) -> Result<Spec> {
    let place = containers.place(container.id());
    let mut layers = layers(maker, lease, container)?;
    let (upper, work) = (place.upper(), place.work());
    let upper = match view {
        View::Whole => {
            for directory in [&upper, &work] {
                make_upper(directory)?;
            }
            Some(Upper { upper, work })
        }
        View::Own => {
            // As one layer more it is not written to, and the work directory is left alone.
            if upper.exists() {
                layers.push(Layer::Tree(upper));
            }
            None
        }
    };
    Ok(Spec {
        layers,
        upper,
        scratch: Some(lease.directory()),
        ..Spec::default()
    })
}

/// Where changes go, before the first start has made it. The mode is that of the root directory in the container.
fn make_upper(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .context(format!("failed to make {}", path.display()))
}

fn binds(containers: &Containers, container: &Container) -> Result<Vec<Bind>> {
    let mounts = container.definition.mounts.iter();
    let of_host =
        mounts.filter(|mount| matches!(mount.kind.as_str(), "bind" | "volume") && !mount.source.is_empty());
    of_host
        .map(|mount| {
            let options = match mount.kind.as_str() {
                "volume" => match volumes::get(containers, &mount.name) {
                    Err(e) if e.kind() == Kind::NotFound => None,
                    found => found?.1.options,
                },
                _ => None,
            };
            Ok(Bind {
                source: mount.source.as_str().into(),
                part: mount.subpath().map(str::to_owned),
                options,
                target: mount.destination.as_str().into(),
                is_read_only: !mount.rw,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let process = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(Root::of_process(&process).is_ok());
        let other = Process {
            start: process.start + 1,
            ..process
        };
        assert_eq!(Root::of_process(&other).unwrap_err().kind(), Kind::NotFound);
    }
}
