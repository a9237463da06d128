//! The one way to /proc: every write of labels, sysctls, id maps, oom scores and time offsets goes through here.
//!
//! May not: open a path below /proc by name. What is mounted on /proc, or below it, may be the work of an image: a write
//! that goes astray there disables a security module or reaches the host (CVE-2019-16884, CVE-2025-52881). A procfs that
//! is attached nowhere cannot be mounted over; where the kernel refuses one, /proc is used with a look at what it is, and
//! no resolution may leave it for another mount.

use crate::error::{Doing, Error, Result};
use crate::rootfs::{Links, Root, RootPath};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use sys::fs::{self, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV};
use sys::mount;

/// Filtered by a seccomp profile, or denied by AppArmor.
fn is_refused(e: &sys::Error) -> bool {
    e.is_unavailable() || e.is(libc::EACCES)
}

const PROC_MAGIC: i64 = 0x9fa0;

/// Inode number of the top of every procfs.
const PROC_ROOT_INO: u64 = 1;

/// The top of a procfs.
#[derive(Debug)]
pub struct Procfs {
    top: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Attached nowhere. AppArmor has no name for files in there and denies them (EACCES) to a runtime that it
    /// confines, as in LXC; the other one, or /proc, serves then.
    Detached(Option<OwnedFd>),
    /// Attached, and looked at.
    Attached,
}

impl Procfs {
    /// A procfs of its own where that is allowed, else the one at /proc. It shows the pid namespace of the caller's
    /// children.
    pub fn open() -> Result<Procfs> {
        match Procfs::open_detached() {
            Err(e) if is_refused(&e) => Procfs::open_checked(),
            other => Procfs::detached(other?, None),
        }
    }

    /// The same for a container whose mounts are made and not yet masked: where a procfs of its own is not allowed, the
    /// container's is the better choice, as the one at /proc may belong to an outer container, with parts that are
    /// read-only.
    pub fn open_for(root: &Root) -> Result<Procfs> {
        let path = RootPath::new("proc").map_err(Error::new)?;
        let inside = root.open_path(&path, Links::Refuse).map_err(Error::from);
        let inside = inside.and_then(Procfs::check);
        match Procfs::open_detached() {
            Err(e) if is_refused(&e) => inside.or_else(|_| Procfs::open_checked()),
            other => Procfs::detached(other?, inside.ok().map(|p| p.top)),
        }
    }

    fn detached(top: OwnedFd, instead: Option<OwnedFd>) -> Result<Procfs> {
        let kind = Kind::Detached(instead);
        Ok(Procfs { top, kind })
    }

    /// In a user namespace the kernel refuses this (EPERM) when parts of every visible /proc are covered, as they are
    /// in a container; hence the fallback (nested runtimes failed without it).
    fn open_detached() -> sys::Result<OwnedFd> {
        let context = mount::fsopen(c"proc")?;
        mount::fsconfig_create(context.as_fd())?;
        let attrs = mount::ATTR_NOSUID | mount::ATTR_NODEV | mount::ATTR_NOEXEC;
        mount::fsmount(context.as_fd(), attrs)
    }

    /// The host's /proc, for the runtime's own process: it shows our pid namespace, and nothing of a container is
    /// mounted there.
    pub fn host() -> Result<Procfs> {
        Procfs::open_checked()
    }

    fn open_checked() -> Result<Procfs> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        Procfs::check(fs::open(Path::new("/proc"), flags, 0)?)
    }

    fn check(top: OwnedFd) -> Result<Procfs> {
        if fs::fs_magic(top.as_fd())? != PROC_MAGIC || fs::fstat(top.as_fd())?.ino != PROC_ROOT_INO {
            return Err(Error::new("what is mounted at /proc is not the top of a procfs"));
        }
        let kind = Kind::Attached;
        Ok(Procfs { top, kind })
    }

    /// The descriptor of the top.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Writes a file of the calling process: `attr/exec`, `oom_score_adj`.
    pub fn write_self(&self, name: &str, data: &[u8]) -> Result<()> {
        self.write(&format!("self/{name}"), data)
    }

    /// Writes a file of another process: `uid_map`, `setgroups`, `timens_offsets`.
    pub fn write_pid(&self, pid: i32, name: &str, data: &[u8]) -> Result<()> {
        self.write(&format!("{pid}/{name}"), data)
    }

    /// Writes a sysctl given with slashes: `net/ipv4/ip_forward`.
    pub fn write_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.write(&format!("sys/{name}"), value.as_bytes())
    }

    /// Opens a file of a process. Namespaces (`ns/user`) are magic links, whose jump is the point.
    pub fn open_pid(&self, pid: i32, name: &str, flags: i32) -> Result<OwnedFd> {
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        let path = if dir.is_empty() {
            pid.to_string()
        } else {
            format!("{pid}/{dir}")
        };
        let dir = self.open_at(&path, libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(fs::openat(dir.as_fd(), Path::new(last), flags, 0)?)
    }

    /// Reads a file of the calling process, at most `limit` bytes.
    pub fn read_self(&self, name: &str, limit: usize) -> Result<Vec<u8>> {
        let fd = self.open_at(&format!("self/{name}"), libc::O_RDONLY)?;
        Ok(fs::read_all(fd.as_fd(), limit)?)
    }

    /// Reads a small text file: `PID/stat`, `sys/kernel/random/boot_id`. Other mounts may be crossed: inside an outer
    /// container /proc/sys is one. What is only read, by the runtime about itself, cannot be led astray by an image.
    pub fn read(&self, path: &str) -> Result<String> {
        const LARGEST: usize = 64 << 10;
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
        let opened = match fs::openat2(self.as_fd(), Path::new(path), libc::O_RDONLY, 0, resolve) {
            Err(e) if e.is_unavailable() => fs::openat(self.as_fd(), Path::new(path), libc::O_RDONLY, 0),
            other => other,
        };
        let fd = opened.map_err(|e| sys::Error::new("open", format!("/proc/{path}"), e.errno()))?;
        Ok(String::from_utf8_lossy(&fs::read_all(fd.as_fd(), LARGEST)?).into_owned())
    }

    fn write(&self, path: &str, data: &[u8]) -> Result<()> {
        let fd = self.open_at(path, libc::O_WRONLY)?;
        fs::write_once(fd.as_fd(), data)
            // The full name is part of the message: engines look for "/proc/.../attr/" in it.
            .map_err(|e| sys::Error::new("write", format!("/proc/{path}"), e.errno()).into())
    }

    /// Opens a file that lies in this very procfs, or in the one that stands in for it.
    fn open_at(&self, path: &str, flags: i32) -> Result<OwnedFd> {
        match (self.open_here(path, flags), &self.kind) {
            (Err(e), Kind::Detached(instead)) if e.is(libc::EACCES) => {
                let other = match instead {
                    Some(top) => Procfs::check(fs::dup_above(top.as_fd(), 3)?),
                    None => Procfs::open_checked(),
                };
                // Two denials are one: this file is really not ours to write.
                other.and_then(|p| p.open_here(path, flags)).map_err(|_| e)
            }
            (opened, _) => opened,
        }
    }

    fn open_here(&self, path: &str, flags: i32) -> Result<OwnedFd> {
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
        let opened = match fs::openat2(self.as_fd(), Path::new(path), flags, 0, resolve) {
            Err(e) if e.is_unavailable() => self.open_by_walking(path, flags),
            other => other,
        };
        match opened {
            Err(e) if e.is(libc::EXDEV) => Err(Error::new(format!(
                "open /proc/{path}: something is mounted over it"
            ))),
            Err(e) => Err(sys::Error::new("open", format!("/proc/{path}"), e.errno()).into()),
            Ok(fd) => Ok(fd),
        }
    }

    /// The same without openat2: no component may be a link (but `self`, which is read), and none may lie on
    /// another mount.
    fn open_by_walking(&self, path: &str, flags: i32) -> sys::Result<OwnedFd> {
        let mount = fs::mount_id(self.as_fd())?.0;
        let path = match path.strip_prefix("self/") {
            Some(rest) => fs::readlinkat(self.as_fd(), Path::new("self"))?.join(rest),
            None => PathBuf::from(path),
        };
        let mut at = fs::dup_above(self.as_fd(), 3)?;
        let mut names = path.components().peekable();
        while let Some(component) = names.next() {
            let Component::Normal(name) = component else {
                return Err(sys::Error::new(
                    "open",
                    path.display().to_string(),
                    sys::Errno(libc::EXDEV),
                ));
            };
            let how = match names.peek() {
                Some(_) => libc::O_PATH | libc::O_DIRECTORY,
                None => flags,
            };
            at = fs::openat(at.as_fd(), Path::new(name), how | libc::O_NOFOLLOW, 0)?;
            if fs::mount_id(at.as_fd())?.0 != mount {
                return Err(sys::Error::new(
                    "open",
                    path.display().to_string(),
                    sys::Errno(libc::EXDEV),
                ));
            }
        }
        Ok(at)
    }
}

/// Which security module a label is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// A profile of AppArmor.
    AppArmor,
    /// A context of SELinux.
    SeLinux,
}

/// Sets the label that the next execve(2) gives to this process.
pub fn apply_exec_label(proc: &Procfs, kind: LabelKind, label: &str) -> Result<()> {
    match kind {
        LabelKind::SeLinux => proc
            .write_self("attr/exec", label.as_bytes())
            .doing(|| format!("can't set process label {label:?}")),
        LabelKind::AppArmor => {
            let text = format!("exec {label}");
            // The old name is shared by all modules; the one of AppArmor alone exists since Linux 5.8.
            match proc.write_self("attr/apparmor/exec", text.as_bytes()) {
                Err(e) if e.is(libc::ENOENT) => proc.write_self("attr/exec", text.as_bytes()),
                other => other,
            }
            .doing(|| format!("unable to apply apparmor profile {label:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_open_the_same_files_and_nothing_else() {
        let proc = Procfs::open_checked().unwrap();
        let by_call = proc.open_at("self/status", libc::O_RDONLY).unwrap();
        let by_walk = proc.open_by_walking("self/status", libc::O_RDONLY).unwrap();
        let (a, b) = (
            fs::fstat(by_call.as_fd()).unwrap(),
            fs::fstat(by_walk.as_fd()).unwrap(),
        );
        assert_eq!(a.ino, b.ino);
        for bad in [
            "self/exe",
            "self/root/etc/passwd",
            "self/cwd/x",
            "../etc/passwd",
            "self/fd/0",
        ] {
            assert!(proc.open_at(bad, libc::O_RDONLY).is_err(), "{bad}");
            assert!(proc.open_by_walking(bad, libc::O_RDONLY).is_err(), "{bad}");
        }
    }

    /// Stands for AppArmor: a device node on a file system without devices is denied in the same way.
    #[test]
    fn a_denied_detached_procfs_gives_way_to_proc() {
        if sys::process::effective_ids().0 != 0 {
            println!("skip procfs.denied: needs root");
            return;
        }
        // A thread of its own takes its mount namespace with it.
        std::thread::spawn(|| {
            sys::process::unshare(libc::CLONE_NEWNS as u64).unwrap();
            mount::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"").unwrap();
            mount::mount(c"tmpfs", c"/mnt", c"tmpfs", libc::MS_NODEV, c"").unwrap();
            let node = Path::new("/mnt/version");
            fs::mknodat(fs::cwd(), node, libc::S_IFCHR | 0o666, libc::makedev(1, 3)).unwrap();
            assert!(fs::open(node, libc::O_RDONLY, 0).unwrap_err().is(libc::EACCES));
            let top = fs::open(Path::new("/mnt"), libc::O_PATH, 0).unwrap();
            let proc = Procfs::detached(top, None).unwrap();
            let opened = proc.open_at("version", libc::O_RDONLY).unwrap();
            assert_eq!(fs::fs_magic(opened.as_fd()).unwrap(), PROC_MAGIC);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_detached_procfs_serves_as_well() {
        let Ok(top) = Procfs::open_detached() else {
            println!("skip procfs.detached: not allowed here");
            return;
        };
        let proc = Procfs::detached(top, None).unwrap();
        assert!(!proc.read_self("status", 1 << 16).unwrap().is_empty());
        let e = proc.write_self("attr/nothing", b"x").unwrap_err();
        assert!(e.to_string().contains("/proc/self/attr/nothing"), "{e}");
        assert!(e.is(libc::ENOENT));
    }
}
