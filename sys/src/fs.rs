//! Files and directories by descriptor: openat2(2), the *at family, stat, extended attributes of mounts.
//!
//! May not: follow policy. Which resolve flags a path deserves is the caller's decision.

use crate::errno::{Result, check, check_restart};
use crate::xattr::Time;
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `struct open_how` of openat2(2).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// openat2(2): treat the directory as the root for absolute paths, `..` and absolute symlinks.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// openat2(2): fail with EXDEV when the path leaves the directory.
pub const RESOLVE_BENEATH: u64 = 0x08;
/// openat2(2): fail with ELOOP on any symlink.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// openat2(2): fail with ELOOP on /proc-style magic links.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// openat2(2): fail with EXDEV when a mount point would be crossed.
pub const RESOLVE_NO_XDEV: u64 = 0x01;

/// The working directory as a directory descriptor (AT_FDCWD).
pub fn cwd() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is a constant that the *at calls accept; it is never closed.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// Borrows a descriptor by number. The caller promises that it stays open for `'static`
/// use: only for 0, 1, 2 and descriptors handed over by a parent process.
pub fn inherited(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: a number that is not open only yields EBADF from the kernel; it is not owned here, so never closed twice.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes ownership of an inherited descriptor number.
///
/// Only for descriptors that a parent left to this process and that nothing else in it owns.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: documented contract above; the caller is the only owner in this process.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A path as a C string; a NUL inside gives EINVAL as the kernel would.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| crate::Error::new("open", path.display().to_string(), crate::Errno(libc::EINVAL)))
}

fn own(ret: i64) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(ret as RawFd) }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// openat2(2). `O_CLOEXEC` is always added. EAGAIN (a rename raced) is tried again a bounded number of times.
pub fn openat2(dir: BorrowedFd<'_>, path: &Path, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let c = c_path(path)?;
    let how = OpenHow {
        flags: (flags | libc::O_CLOEXEC) as u32 as u64,
        mode: mode as u64,
        resolve,
    };
    let mut tries = 0;
    loop {
        // SAFETY: `c` and `how` outlive the call and the size given is that of `how`.
        let r = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                c.as_ptr(),
                &how as *const OpenHow,
                size_of::<OpenHow>(),
            )
        };
        match check(r, "openat2", || show(path)) {
            Ok(fd) => return Ok(own(fd)),
            Err(e) if (e.is(libc::EAGAIN) || e.is(libc::EINTR)) && tries < 128 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

/// openat(2) with `O_CLOEXEC`. For paths that the administrator controls, or single components.
pub fn openat(dir: BorrowedFd<'_>, path: &Path, flags: i32, mode: u32) -> Result<OwnedFd> {
    let c = c_path(path)?;
    let r = check_restart(
        // SAFETY: `c` outlives the call.
        || unsafe { libc::openat(dir.as_raw_fd(), c.as_ptr(), flags | libc::O_CLOEXEC, mode) as i64 },
        "open",
        || show(path),
    )?;
    Ok(own(r))
}

/// open(2) with `O_CLOEXEC` on a path of the administrator.
pub fn open(path: &Path, flags: i32, mode: u32) -> Result<OwnedFd> {
    openat(cwd(), path, flags, mode)
}

/// mkdirat(2).
pub fn mkdirat(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    let c = c_path(name)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::mkdirat(dir.as_raw_fd(), c.as_ptr(), mode) };
    check(r as i64, "mkdir", || show(name)).map(drop)
}

/// mknodat(2).
pub fn mknodat(dir: BorrowedFd<'_>, name: &Path, mode: u32, dev: u64) -> Result<()> {
    let c = c_path(name)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::mknodat(dir.as_raw_fd(), c.as_ptr(), mode, dev) };
    check(r as i64, "mknod", || show(name)).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &Path, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let (t, n) = (c_path(target)?, c_path(name)?);
    // SAFETY: both strings outlive the call.
    let r = unsafe { libc::symlinkat(t.as_ptr(), dir.as_raw_fd(), n.as_ptr()) };
    check(r as i64, "symlink", || show(name)).map(drop)
}

/// unlinkat(2); `flags` may be `AT_REMOVEDIR`.
pub fn unlinkat(dir: BorrowedFd<'_>, name: &Path, flags: i32) -> Result<()> {
    let c = c_path(name)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::unlinkat(dir.as_raw_fd(), c.as_ptr(), flags) };
    check(
        r as i64,
        if flags & libc::AT_REMOVEDIR != 0 {
            "rmdir"
        } else {
            "unlink"
        },
        || show(name),
    )
    .map(drop)
}

/// renameat(2).
pub fn renameat(from: BorrowedFd<'_>, old: &Path, to: BorrowedFd<'_>, new: &Path) -> Result<()> {
    let (o, n) = (c_path(old)?, c_path(new)?);
    // SAFETY: both strings outlive the call.
    let r = unsafe { libc::renameat(from.as_raw_fd(), o.as_ptr(), to.as_raw_fd(), n.as_ptr()) };
    check(r as i64, "rename", || show(old)).map(drop)
}

/// linkat(2).
pub fn linkat(from: BorrowedFd<'_>, old: &Path, to: BorrowedFd<'_>, new: &Path, flags: i32) -> Result<()> {
    let (o, n) = (c_path(old)?, c_path(new)?);
    // SAFETY: both strings outlive the call.
    let r = unsafe { libc::linkat(from.as_raw_fd(), o.as_ptr(), to.as_raw_fd(), n.as_ptr(), flags) };
    check(r as i64, "link", || show(new)).map(drop)
}

/// readlinkat(2); an empty `name` reads the link that an `O_PATH|O_NOFOLLOW` descriptor names.
pub fn readlinkat(dir: BorrowedFd<'_>, name: &Path) -> Result<PathBuf> {
    let c = c_path(name)?;
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: `buf` is writable for its whole length.
    let r = unsafe { libc::readlinkat(dir.as_raw_fd(), c.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let n = check(r as i64, "readlink", || show(name))?;
    buf.truncate(n as usize);
    Ok(PathBuf::from(OsString::from_vec(buf)))
}

/// renameat2(2) with RENAME_EXCHANGE: both names exist before and after.
pub fn exchange(from: BorrowedFd<'_>, a: &Path, to: BorrowedFd<'_>, b: &Path) -> Result<()> {
    let (ca, cb) = (c_path(a)?, c_path(b)?);
    // SAFETY: both strings outlive the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.as_raw_fd(),
            ca.as_ptr(),
            to.as_raw_fd(),
            cb.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    check(r, "renameat2", || show(a)).map(drop)
}

/// fchownat(2) without following; an empty `name` changes the descriptor itself (AT_EMPTY_PATH).
pub fn fchownat(dir: BorrowedFd<'_>, name: &Path, uid: u32, gid: u32) -> Result<()> {
    let c = c_path(name)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::fchownat(dir.as_raw_fd(), c.as_ptr(), uid, gid, flags) };
    check(r as i64, "chown", || show(name)).map(drop)
}

/// setxattr(2), following links: for `/proc/self/fd/N`, as an `O_PATH` descriptor takes no fsetxattr(2).
pub fn set_xattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: the strings outlive the call and `value` is readable for its length.
    let r = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(r as i64, "setxattr", || name.to_string_lossy().into_owned()).map(drop)
}

/// fchmod(2); the descriptor may not be `O_PATH`.
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::fchmod(fd.as_raw_fd(), mode) };
    check(r as i64, "chmod", || "").map(drop)
}

/// fchmodat(2) of one component (follows a symlink: check first where the container controls it).
pub fn fchmodat(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    let c = c_path(name)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::fchmodat(dir.as_raw_fd(), c.as_ptr(), mode, 0) };
    check(r as i64, "chmod", || show(name)).map(drop)
}

/// What stat(2) tells, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Number of hard links.
    pub nlink: u64,
}

impl Stat {
    /// The file type bits (`S_IFMT`).
    pub fn file_type(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
    /// True for directories.
    pub fn is_dir(&self) -> bool {
        self.file_type() == libc::S_IFDIR
    }
    /// True for symbolic links.
    pub fn is_symlink(&self) -> bool {
        self.file_type() == libc::S_IFLNK
    }
    /// True for a character device with this number.
    pub fn is_char_device(&self, major: u32, minor: u32) -> bool {
        self.file_type() == libc::S_IFCHR && self.rdev == libc::makedev(major, minor)
    }
}

fn to_stat(s: &libc::stat) -> Stat {
    Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        mode: s.st_mode,
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        size: s.st_size as u64,
        #[allow(clippy::unnecessary_cast)] // u32 on aarch64
        nlink: s.st_nlink as u64,
    }
}

/// fstatat(2). `flags`: `AT_SYMLINK_NOFOLLOW`, `AT_EMPTY_PATH`.
pub fn fstatat(dir: BorrowedFd<'_>, name: &Path, flags: i32) -> Result<Stat> {
    let c = c_path(name)?;
    // SAFETY: an all-zero stat is valid and the kernel fills it.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `c` and `s` outlive the call.
    let r = unsafe { libc::fstatat(dir.as_raw_fd(), c.as_ptr(), &mut s, flags) };
    check(r as i64, "stat", || show(name))?;
    Ok(to_stat(&s))
}

/// What stat(2) tells, with the two times that say whether a file is still the one that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    pub stat: Stat,
    /// When its contents were changed, as far as its owner lets anybody know.
    pub mtime: Time,
    /// When anything of it was changed. Nobody can set it.
    pub ctime: Time,
}

/// fstatat(2) with times. `flags` as above.
pub fn dated(dir: BorrowedFd<'_>, name: &Path, flags: i32) -> Result<Dated> {
    let c = c_path(name)?;
    // SAFETY: an all-zero stat is valid and the kernel fills it.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `c` and `s` outlive the call.
    let r = unsafe { libc::fstatat(dir.as_raw_fd(), c.as_ptr(), &mut s, flags) };
    check(r as i64, "stat", || show(name))?;
    #[allow(clippy::unnecessary_cast)] // the fields' types differ between CPUs
    let time = |seconds, nanoseconds| Time {
        seconds: seconds as i64,
        nanoseconds: nanoseconds as u32,
    };
    Ok(Dated {
        stat: to_stat(&s),
        mtime: time(s.st_mtime as i64, s.st_mtime_nsec as i64),
        ctime: time(s.st_ctime as i64, s.st_ctime_nsec as i64),
    })
}

/// fstat(2), `O_PATH` descriptors included.
pub fn fstat(fd: BorrowedFd<'_>) -> Result<Stat> {
    fstatat(fd, Path::new(""), libc::AT_EMPTY_PATH)
}

/// The magic number of the file system (`f_type` of fstatfs(2)).
pub fn fs_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    // SAFETY: an all-zero statfs is valid and the kernel fills it.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `s` outlives the call.
    let r = unsafe { libc::fstatfs(fd.as_raw_fd(), &mut s) };
    check(r as i64, "statfs", || "")?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between libcs and CPUs
    Ok(s.f_type as i64)
}

/// What fstatfs(2) tells about a mount.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// `f_type`, e.g. `PROC_SUPER_MAGIC`.
    pub magic: i64,
    /// `ST_*` mount flags (the same bits as MS_ for ro, nosuid, nodev, noexec; atime bits differ).
    pub flags: u64,
    /// Bytes that anybody may still write.
    pub available: u64,
    /// Bytes of all of it.
    pub size: u64,
}

/// fstatfs(2).
pub fn fstatfs(fd: BorrowedFd<'_>) -> Result<StatFs> {
    // libc's statfs has no flags field for glibc; statvfs(3) carries them on both libcs.
    // SAFETY: an all-zero statvfs is valid and libc fills it.
    let mut v: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `v` outlives the call.
    let r = unsafe { libc::fstatvfs(fd.as_raw_fd(), &mut v) };
    check(r as i64, "statvfs", || "")?;
    #[allow(clippy::unnecessary_cast)] // field types differ between libcs and CPUs
    Ok(StatFs {
        magic: fs_magic(fd)?,
        flags: v.f_flag as u64,
        available: (v.f_bavail as u64).saturating_mul(v.f_frsize as u64),
        size: (v.f_blocks as u64).saturating_mul(v.f_frsize as u64),
    })
}

/// statx(2) mount id (`STATX_MNT_ID`, kernel 5.8) and whether the descriptor is the root of a mount.
pub fn mount_id(fd: BorrowedFd<'_>) -> Result<(u64, bool)> {
    // SAFETY: an all-zero statx is valid and the kernel fills it.
    let mut s: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the empty string and `s` outlive the call.
    let r = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            &mut s,
        )
    };
    check(r as i64, "statx", || "")?;
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    Ok((s.stx_mnt_id, s.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0))
}

/// fchdir(2).
pub fn fchdir(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fchdir(fd.as_raw_fd()) } as i64, "fchdir", || "").map(drop)
}

/// chdir(2).
pub fn chdir(path: &Path) -> Result<()> {
    let c = c_path(path)?;
    // SAFETY: `c` outlives the call.
    check(unsafe { libc::chdir(c.as_ptr()) } as i64, "chdir", || show(path)).map(drop)
}

/// getcwd(2) as the kernel says it: outside the root it begins with `(unreachable)`.
pub fn getcwd_raw() -> Result<PathBuf> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: `buf` is writable for its length. The raw call is used because libc hides unreachable results.
    let r = unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) };
    let n = check(r, "getcwd", || "")?;
    buf.truncate((n as usize).saturating_sub(1));
    Ok(PathBuf::from(OsString::from_vec(buf)))
}

/// chroot(2).
pub fn chroot(path: &Path) -> Result<()> {
    let c = c_path(path)?;
    // SAFETY: `c` outlives the call.
    check(unsafe { libc::chroot(c.as_ptr()) } as i64, "chroot", || {
        show(path)
    })
    .map(drop)
}

/// access(2) as execve will see it: effective ids and capabilities (AT_EACCESS of faccessat2, Linux 5.8). Where that call
/// is missing or filtered the real ids decide. (libc's own fallback would fork a helper process.)
pub fn access(path: &Path, mode: i32) -> Result<()> {
    let c = c_path(path)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            libc::AT_FDCWD,
            c.as_ptr(),
            mode,
            libc::AT_EACCESS,
        )
    };
    match check(r, "access", || show(path)) {
        Err(e) if e.is_unavailable() => {
            // SAFETY: as above.
            let r = unsafe { libc::faccessat(libc::AT_FDCWD, c.as_ptr(), mode, 0) };
            check(r as i64, "access", || show(path)).map(drop)
        }
        other => other.map(drop),
    }
}

/// umask(2); returns the old one.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no pointers; cannot fail.
    unsafe { libc::umask(mask) }
}

/// flock(2). `op`: `LOCK_SH`, `LOCK_EX`, `LOCK_UN`, `| LOCK_NB`.
pub fn flock(fd: BorrowedFd<'_>, op: i32) -> Result<()> {
    check_restart(
        // SAFETY: no pointers.
        || unsafe { libc::flock(fd.as_raw_fd(), op) } as i64,
        "flock",
        || "",
    )
    .map(drop)
}

/// write(2) of the whole buffer in ONE call; a short write is EIO. For /proc and cgroup files, where the
/// kernel takes a value by a single write.
pub fn write_once(fd: BorrowedFd<'_>, data: &[u8]) -> Result<()> {
    // SAFETY: `data` is readable for its length.
    let r = check_restart(
        || unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) } as i64,
        "write",
        || "",
    )?;
    if r as usize == data.len() {
        Ok(())
    } else {
        Err(crate::Error::new("write", "", crate::Errno(libc::EIO)))
    }
}

/// read(2) once into `buf`; returns the number of bytes, 0 at the end.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: `buf` is writable for its length.
    let r = check_restart(
        || unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) } as i64,
        "read",
        || "",
    )?;
    Ok(r as usize)
}

/// pread(2) once into `buf`; the file position stays.
pub fn read_at(fd: BorrowedFd<'_>, buf: &mut [u8], offset: i64) -> Result<usize> {
    let r = check_restart(
        // SAFETY: `buf` is writable for its length.
        || unsafe { libc::pread64(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), offset) } as i64,
        "read",
        || "",
    )?;
    Ok(r as usize)
}

/// write(2) once; returns the number of bytes written.
pub fn write(fd: BorrowedFd<'_>, data: &[u8]) -> Result<usize> {
    // SAFETY: `data` is readable for its length.
    let r = check_restart(
        || unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) } as i64,
        "write",
        || "",
    )?;
    Ok(r as usize)
}

/// Reads to the end, at most `limit` bytes.
pub fn read_all(fd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut buf = [0u8; 4096];
    while out.len() < limit {
        let n = read(fd, &mut buf)?;
        if n == 0 {
            break;
        }
        out.extend_from_slice(&buf[..n.min(limit - out.len())]);
    }
    Ok(out)
}

/// Names in a directory, without `.` and `..`, in the kernel's order.
pub fn entries(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let own = openat(dir, Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut names = Vec::new();
    let mut buf = [0u64; 512];
    loop {
        // SAFETY: `buf` is writable for its size and aligned for linux_dirent64.
        let r = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                own.as_raw_fd(),
                buf.as_mut_ptr(),
                size_of_val(&buf),
            )
        };
        let n = check(r, "getdents64", || "")? as usize;
        if n == 0 {
            return Ok(names);
        }
        // SAFETY: the kernel initialised the first `n` bytes of `buf`.
        let bytes = unsafe { std::slice::from_raw_parts(buf.as_ptr().cast::<u8>(), n) };
        parse_dirents(bytes, &mut names);
    }
}

/// linux_dirent64: ino u64, off u64, reclen u16, type u8, name NUL-terminated.
fn parse_dirents(mut bytes: &[u8], names: &mut Vec<OsString>) {
    while bytes.len() > 19 {
        let reclen = u16::from_ne_bytes([bytes[16], bytes[17]]) as usize;
        if reclen < 19 || reclen > bytes.len() {
            return;
        }
        let name = &bytes[19..reclen];
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        if !matches!(&name[..end], b"." | b"..") {
            names.push(OsString::from_vec(name[..end].to_vec()));
        }
        bytes = &bytes[reclen..];
    }
}

/// mkfifoat(2).
pub fn mkfifoat(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    let c = c_path(name)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::mkfifoat(dir.as_raw_fd(), c.as_ptr(), mode) };
    check(r as i64, "mkfifo", || show(name)).map(drop)
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC on every descriptor from `first` on; a loop over the descriptor
/// table where the call is missing (kernel < 5.11) or filtered.
pub fn cloexec_from(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no pointers; only flags change.
    let r = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    match check(r, "close_range", || "") {
        Ok(_) => Ok(()),
        Err(e) if e.is_unavailable() || e.is(libc::EINVAL) => cloexec_each(first),
        Err(e) => Err(e),
    }
}

/// Closes every descriptor from `first` on that is not in `keep`. For a process that was just forked and never returns to
/// the frames that own the others. What stayed open would stay so until the exec, which may be days away: a copy of a
/// lock keeps it locked. Where close_range(2) is missing or filtered, each descriptor is closed by itself.
pub fn close_all_but(first: u32, keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut from = first;
    let mut done = true;
    for fd in keep.iter().filter_map(|fd| u32::try_from(*fd).ok()) {
        if fd > from {
            done &= close_range(from, fd - 1);
        }
        from = from.max(fd + 1);
    }
    done &= close_range(from, u32::MAX);
    if !done {
        close_each_but(first, keep);
    }
}

fn close_range(first: u32, last: u32) -> bool {
    // SAFETY: no pointers; the caller's contract says that nobody uses these descriptors any more.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// Without a /proc every number that the process can have is tried.
fn close_each_but(first: u32, keep: &[RawFd]) {
    let close = |fd: RawFd| {
        if fd >= first as RawFd && !keep.contains(&fd) {
            // SAFETY: as in `close_range`; EBADF is fine.
            unsafe { libc::close(fd) };
        }
    };
    let listed = open(Path::new("/proc/self/fd"), libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .and_then(|dir| entries(dir.as_fd()));
    match listed {
        Ok(names) => names
            .iter()
            .filter_map(|n| n.to_str()?.parse().ok())
            .for_each(close),
        Err(_) => {
            // SAFETY: no pointers.
            let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
            (first as RawFd..most.clamp(1024, 1 << 20) as RawFd).for_each(close);
        }
    }
}

fn cloexec_each(first: u32) -> Result<()> {
    let dir = open(Path::new("/proc/self/fd"), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    for name in entries(dir.as_fd())? {
        let Some(fd) = name.to_str().and_then(|s| s.parse::<u32>().ok()) else {
            continue;
        };
        if fd >= first {
            set_cloexec(inherited(fd as RawFd), true)
                .or_else(|e| if e.is(libc::EBADF) { Ok(()) } else { Err(e) })?;
        }
    }
    Ok(())
}

/// Sets or clears FD_CLOEXEC.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flag = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flag) };
    check(r as i64, "fcntl", || "F_SETFD").map(drop)
}

/// F_GETFD: EBADF tells that a descriptor is not open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// True when the descriptor is open and came through our exec: ours all carry FD_CLOEXEC, which no exec survives.
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Status flags (F_GETFL): access mode, O_NONBLOCK, O_PATH, ...
pub fn status_flags(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    check(r as i64, "fcntl", || "F_GETFL").map(|v| v as i32)
}

/// Sets or clears O_NONBLOCK.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let old = status_flags(fd)?;
    let new = if on {
        old | libc::O_NONBLOCK
    } else {
        old & !libc::O_NONBLOCK
    };
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, new) };
    check(r as i64, "fcntl", || "F_SETFL").map(drop)
}

/// dup3(2) onto a number, close-on-exec clear unless `cloexec`.
pub fn dup_onto(fd: BorrowedFd<'_>, number: RawFd, cloexec: bool) -> Result<()> {
    if fd.as_raw_fd() == number {
        return set_cloexec(fd, cloexec);
    }
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: no pointers; whatever `number` was is replaced on purpose.
    let r = unsafe { libc::dup3(fd.as_raw_fd(), number, flags) };
    check(r as i64, "dup3", || number.to_string()).map(drop)
}

/// A copy of the descriptor at `at_least` or above, close-on-exec.
pub fn dup_above(fd: BorrowedFd<'_>, at_least: RawFd) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, at_least) };
    Ok(own(check(r as i64, "fcntl", || "F_DUPFD_CLOEXEC")?))
}

/// pipe2(2) with O_CLOEXEC: (read end, write end).
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0 as RawFd; 2];
    // SAFETY: `fds` is writable for two descriptors.
    let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    check(r as i64, "pipe2", || "")?;
    Ok((own(fds[0] as i64), own(fds[1] as i64)))
}

/// splice(2): moves up to `most` bytes between two pipes, or a pipe and a socket, without copying and without waiting; 0 at the end of `from`.
///
/// # Errors
/// EAGAIN when `from` is empty or `to` is full.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> Result<usize> {
    let r = check_restart(
        // SAFETY: null offsets: none of them has a position.
        || unsafe {
            libc::splice(
                from.as_raw_fd(),
                std::ptr::null_mut(),
                to.as_raw_fd(),
                std::ptr::null_mut(),
                most,
                libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
            )
        } as i64,
        "splice",
        || "",
    )?;
    Ok(r as usize)
}

/// memfd_create(2) with MFD_CLOEXEC, sealable. MFD_EXEC is asked first: with sysctl vm.memfd_noexec set,
/// a memfd without it is not executable (kernel 6.3); older kernels answer EINVAL to the flag.
pub fn memfd_executable(name: &CStr) -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let base = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` outlives the call.
    let r = unsafe { libc::memfd_create(name.as_ptr(), base | MFD_EXEC) };
    match check(r as i64, "memfd_create", || "") {
        Ok(fd) => Ok(own(fd)),
        Err(e) if e.is(libc::EINVAL) => {
            // SAFETY: as above.
            check(
                unsafe { libc::memfd_create(name.as_ptr(), base) } as i64,
                "memfd_create",
                || "",
            )
            .map(own)
        }
        Err(e) => Err(e),
    }
}

/// Adds every seal that makes a memfd immutable (F_ADD_SEALS).
pub fn seal(fd: BorrowedFd<'_>) -> Result<()> {
    let all = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, all) };
    check(r as i64, "fcntl", || "F_ADD_SEALS").map(drop)
}

/// True when the descriptor is a memfd sealed against every change.
pub fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    let all = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers; EINVAL (not a memfd) is the answer no.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    r >= 0 && r & all == all
}

/// sendfile(2) of the whole file `from` into `to`.
pub fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: u64) -> Result<()> {
    let mut left = len;
    while left > 0 {
        // SAFETY: no pointers (the offset is null: the file position is used).
        let r = unsafe {
            libc::sendfile(
                to.as_raw_fd(),
                from.as_raw_fd(),
                std::ptr::null_mut(),
                left.min(1 << 30) as usize,
            )
        };
        match check(r as i64, "sendfile", || "")? {
            0 => break,
            n => left -= n as u64,
        }
    }
    Ok(())
}

/// fsync(2).
pub fn fsync(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fsync(fd.as_raw_fd()) } as i64, "fsync", || "").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_at_an_offset_leaves_the_position() {
        let fd = open(Path::new("/proc/self/comm"), libc::O_RDONLY, 0).unwrap();
        let (mut a, mut b) = ([0u8; 2], [0u8; 3]);
        assert_eq!(read_at(fd.as_fd(), &mut a, 1).unwrap(), 2);
        assert_eq!(read(fd.as_fd(), &mut b).unwrap(), 3);
        assert_eq!(a, b[1..]);
    }

    #[test]
    fn descriptors_close_one_by_one_too() {
        use std::os::fd::IntoRawFd;
        let null = open(Path::new("/dev/null"), libc::O_RDONLY, 0).unwrap();
        let kept = dup_above(null.as_fd(), 700).unwrap();
        let closed = dup_above(null.as_fd(), 700).unwrap().into_raw_fd();
        close_each_but(700, &[kept.as_raw_fd()]);
        assert!(is_open(kept.as_raw_fd()));
        assert!(!is_open(closed));
        assert!(is_open(null.as_raw_fd()));
    }
}
