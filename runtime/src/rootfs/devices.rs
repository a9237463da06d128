//! The nodes, links and the console in `/dev`.
//!
//! May not: make or remove anything by a path that leads through the image. `/dev` is opened once, has to be a real
//! directory inside the root, and everything happens by that descriptor (CVE-2026-41579, CVE-2026-88264). What was
//! made or found is looked at afterwards, not before.

use super::paths::RootPath;
use super::plan::{DevicePlan, DeviceWay, DevicesPlan};
use super::root::{Links, Root, with_open_umask};
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::fs;

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Fills `/dev`: device nodes, `ptmx`, and the customary links.
pub fn apply_devices(root: &mut Root, plan: &DevicesPlan) -> Result<()> {
    let dev = open_dev(root)?;
    with_open_umask(|| make_nodes(root, dev.as_fd(), plan))?;
    make_ptmx(dev.as_fd()).doing(|| "error setting up ptmx")?;
    make_links(dev.as_fd()).doing(|| "error setting up /dev symlinks")?;
    replace_null_streams(root).doing(|| "error reopening /dev/null inside container")
}

/// Standard streams that lead to the host's null device lead to the container's from now on. Both are judged by type
/// and number, and nothing is chowned (CVE-2026-88265).
fn replace_null_streams(root: &Root) -> Result<()> {
    for number in 0..3 {
        if !fs::is_open(number) || !fs::fstat(fs::inherited(number))?.is_char_device(1, 3) {
            continue;
        }
        fs::dup_onto(open_null(root)?.as_fd(), number, false)?;
    }
    Ok(())
}

fn make_nodes(root: &mut Root, dev: BorrowedFd<'_>, plan: &DevicesPlan) -> Result<()> {
    for node in &plan.nodes {
        make_node(root, dev, node, plan.way)
            .doing(|| format!("error creating device nodes: {}", node.path))?;
    }
    Ok(())
}

/// `/dev` itself: a link there is refused.
fn open_dev(root: &Root) -> Result<OwnedFd> {
    let path = RootPath::new("dev").map_err(Error::new)?;
    root.make_dir(&path, Links::Refuse)
        .doing(|| "/dev of the container must be an ordinary directory")
}

fn make_node(root: &mut Root, dev: BorrowedFd<'_>, node: &DevicePlan, way: DeviceWay) -> Result<()> {
    let parent;
    let (dir, name) = match node.name_in_dev() {
        Some(name) => (dev, name),
        None => {
            let (dir, name) = open_parent(root, &node.path)?;
            parent = dir;
            (parent.as_fd(), name)
        }
    };
    let name = Path::new(&name);
    if way == DeviceWay::Bind {
        return bind_node(root, dir, name, node);
    }
    let dev_number = libc::makedev(node.major, node.minor);
    match fs::mknodat(dir, name, node.file_type | node.mode, dev_number) {
        Ok(()) => {
            if (node.uid, node.gid) != (0, 0) {
                fs::fchownat(dir, name, node.uid, node.gid)?;
            }
            verify(dir, name, node)
        }
        // Something the image or a mount brought: it has to be what it says it is.
        Err(e) if e.is(libc::EEXIST) => verify(dir, name, node),
        // Forbidden for this device, perhaps by a cgroup of an outer container; not for every one.
        Err(e) if e.is(libc::EPERM) || e.is(libc::EACCES) => bind_node(root, dir, name, node),
        Err(e) => Err(e.into()),
    }
}

/// The directory of a node that does not lie directly in `/dev`.
fn open_parent(root: &Root, path: &RootPath) -> Result<(OwnedFd, std::ffi::OsString)> {
    let (parent, name) = path.split();
    let dir = root.make_dir(&parent, Links::Follow)?;
    Ok((dir, name))
}

/// Looks at what is there, without following, and checks type and number. Devices only count with both: a regular
/// file has an rdev of 0, and a block device may have the number of a character device (CVE-2026-88265).
fn verify(dir: BorrowedFd<'_>, name: &Path, node: &DevicePlan) -> Result<()> {
    check_node(&fs::fstatat(dir, name, libc::AT_SYMLINK_NOFOLLOW)?, node)
}

fn check_node(stat: &fs::Stat, node: &DevicePlan) -> Result<()> {
    let same_number = node.file_type == libc::S_IFIFO || stat.rdev == libc::makedev(node.major, node.minor);
    if stat.file_type() == node.file_type && same_number {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} is there and is not the device {}:{}",
        node.path, node.major, node.minor
    )))
}

fn bind_node(root: &mut Root, dir: BorrowedFd<'_>, name: &Path, node: &DevicePlan) -> Result<()> {
    if node.file_type == libc::S_IFIFO {
        return match fs::mkfifoat(dir, name, node.mode) {
            Err(e) if !e.is(libc::EEXIST) => Err(e.into()),
            _ => verify(dir, name, node),
        };
    }
    let target = open_file(dir, name)?;
    let host = fs::open(node.host.as_path(), libc::O_PATH, 0)?;
    check_node(&fs::fstat(host.as_fd())?, node)?;
    root.bind_fd(host.as_fd(), target.as_fd())
}

/// A file to mount on, in a directory that is open: made when it is missing, never through a link.
fn open_file(dir: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
    match with_open_umask(|| fs::openat(dir, name, flags, 0o644)) {
        Err(e) if e.is(libc::EEXIST) => {}
        other => return Ok(other?),
    }
    let fd = fs::openat(dir, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = fs::fstat(fd.as_fd())?;
    if stat.is_symlink() || stat.is_dir() {
        return Err(Error::new(format!("{} is a link or a directory", name.display())));
    }
    Ok(fd)
}

/// `ptmx` leads to the container's own terminals, whatever the image has there.
fn make_ptmx(dev: BorrowedFd<'_>) -> Result<()> {
    let (name, target) = (Path::new("ptmx"), Path::new("pts/ptmx"));
    match fs::symlinkat(target, dev, name) {
        Err(e) if e.is(libc::EEXIST) => {}
        other => return Ok(other?),
    }
    fs::unlinkat(dev, name, 0)?;
    Ok(fs::symlinkat(target, dev, name)?)
}

fn make_links(dev: BorrowedFd<'_>) -> Result<()> {
    for (name, target) in LINKS {
        make_link(dev, name, target)?;
    }
    // The host's /proc is asked: whether the kernel has kcore is the same question inside.
    if fs::access(Path::new("/proc/kcore"), libc::F_OK).is_ok() {
        make_link(dev, "core", "/proc/kcore")?;
    }
    Ok(())
}

fn make_link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<()> {
    match fs::symlinkat(Path::new(target), dev, Path::new(name)) {
        Err(e) if e.is(libc::EEXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// statfs(2) magic of devpts.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Opens a new terminal of the container's own devpts: (master, slave). The slave is opened from its master, so that no
/// name in `/dev/pts` matters; both belong to the container's mounts, as [`apply_console`] needs it.
pub fn open_terminal(root: &Root) -> Result<(OwnedFd, OwnedFd)> {
    // With a /dev of the host, pts/ptmx may be closed to an ordinary user, and the node beside it open.
    let master = open_master(root, "dev/pts/ptmx")
        .or_else(|_| open_master(root, "dev/ptmx"))
        .doing(|| "open a terminal of the container")?;
    let slave = sys::tty::open_slave(master.as_fd())?;
    check_terminal(slave.as_fd())?;
    Ok((master, slave))
}

fn open_master(root: &Root, path: &str) -> Result<OwnedFd> {
    let path = RootPath::new(path).map_err(Error::new)?;
    // Looked at before it is opened for use: opening a device of the image could have any effect.
    let seen = fs::fstat(root.open_path(&path, Links::Follow)?.as_fd())?;
    if !seen.is_char_device(5, 2) {
        return Err(Error::new(format!("{path} is not a terminal multiplexer")));
    }
    let master = root.open(&path, libc::O_RDWR | libc::O_NOCTTY, Links::Follow)?;
    let opened = fs::fstat(master.as_fd())?;
    if (seen.dev, seen.ino, seen.rdev) != (opened.dev, opened.ino, opened.rdev) {
        return Err(Error::new(format!("{path} was exchanged")));
    }
    Ok(master)
}

/// Binds the terminal `slave`, opened in the container's mount namespace, on `/dev/console`. It has to be a terminal of
/// devpts, opened by TIOCGPTPEER from its master and not by name (CVE-2025-52565); the file under it is made without following a link (CVE-2026-88264).
pub fn apply_console(root: &mut Root, slave: BorrowedFd<'_>) -> Result<()> {
    check_terminal(slave)?;
    let dev = open_dev(root)?;
    let target = open_file(dev.as_fd(), Path::new("console"))?;
    root.bind_fd(slave, target.as_fd()).doing(|| "mount the console")
}

fn check_terminal(slave: BorrowedFd<'_>) -> Result<()> {
    let stat = fs::fstat(slave)?;
    let major = libc::major(stat.rdev);
    // 136 to 143 are the Unix98 slaves.
    let is_slave = stat.file_type() == libc::S_IFCHR && (136..=143).contains(&major);
    if is_slave && fs::fs_magic(slave)? == DEVPTS_MAGIC {
        return Ok(());
    }
    Err(Error::new("the console is not a terminal of devpts"))
}

/// Opens the container's `/dev/null` for reading and writing, verified.
fn open_null(root: &Root) -> Result<OwnedFd> {
    let null = open_null_path(root)?;
    // The node itself is reopened through the directory, not through the path.
    let dev = open_dev(root)?;
    let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let fd = fs::openat(dev.as_fd(), Path::new("null"), flags, 0)?;
    let (seen, opened) = (fs::fstat(null.as_fd())?, fs::fstat(fd.as_fd())?);
    if seen != opened || !opened.is_char_device(1, 3) {
        return Err(Error::new("/dev/null of the container is not the null device"));
    }
    Ok(fd)
}

/// An `O_PATH` descriptor of the container's `/dev/null`, verified after it was opened (CVE-2025-31133).
pub(super) fn open_null_path(root: &Root) -> Result<OwnedFd> {
    let path = RootPath::new("dev/null").map_err(Error::new)?;
    let fd = root.open_path(&path, Links::Refuse)?;
    if fs::fstat(fd.as_fd())?.is_char_device(1, 3) {
        return Ok(fd);
    }
    Err(Error::new("/dev/null of the container is not the null device"))
}
