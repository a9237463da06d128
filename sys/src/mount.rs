//! Mounts by descriptor (fsopen(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2)) and the classic
//! mount(2) family beside them.
//!
//! May not: choose between the two ways or resolve a path. The numbers of the calls are the same on every
//! architecture since Linux 5.1, so they stand here and not in a table per CPU.

use crate::errno::{Errno, Error, Result, check};
use crate::fs::read;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const SYS_OPEN_TREE: libc::c_long = 428;
const SYS_MOVE_MOUNT: libc::c_long = 429;
const SYS_FSOPEN: libc::c_long = 430;
const SYS_FSCONFIG: libc::c_long = 431;
const SYS_FSMOUNT: libc::c_long = 432;
const SYS_FSPICK: libc::c_long = 433;
const SYS_MOUNT_SETATTR: libc::c_long = 442;

/// mount_setattr(2): the mount is read-only.
pub const ATTR_RDONLY: u64 = 0x1;
/// mount_setattr(2): set-user-id bits and file capabilities are ignored.
pub const ATTR_NOSUID: u64 = 0x2;
/// mount_setattr(2): device nodes cannot be opened.
pub const ATTR_NODEV: u64 = 0x4;
/// mount_setattr(2): nothing can be executed.
pub const ATTR_NOEXEC: u64 = 0x8;
/// mount_setattr(2): the field of access time policies; its values are not single bits, so a change has to
/// clear the whole field.
pub const ATTR_ATIME: u64 = 0x70;
/// A value of [`ATTR_ATIME`]: never.
pub const ATTR_NOATIME: u64 = 0x10;
/// A value of [`ATTR_ATIME`]: always. (Relative is the value 0.)
pub const ATTR_STRICTATIME: u64 = 0x20;
/// mount_setattr(2): no access times on directories.
pub const ATTR_NODIRATIME: u64 = 0x80;
/// mount_setattr(2): ids are mapped through the user namespace given.
pub const ATTR_IDMAP: u64 = 0x0010_0000;
/// mount_setattr(2): symbolic links are not followed (kernel 5.14).
pub const ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// Whether a call covers one mount or everything mounted below it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only the mount itself.
    Single,
    /// The mount and all mounts below it.
    Recursive,
}

impl Reach {
    fn at_flag(self) -> u32 {
        const AT_RECURSIVE: u32 = 0x8000;
        match self {
            Reach::Single => 0,
            Reach::Recursive => AT_RECURSIVE,
        }
    }
}

/// Whether a symbolic link as last component is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed.
    Follow,
    /// It is taken as it is.
    NoFollow,
}

fn own(ret: i64) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(ret as RawFd) }
}

fn text(s: &CStr) -> String {
    s.to_string_lossy().into_owned()
}

/// fsopen(2): a context for a new file system of this type.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    // SAFETY: `fstype` outlives the call.
    let r = unsafe { libc::syscall(SYS_FSOPEN, fstype.as_ptr(), FSOPEN_CLOEXEC) };
    check(r, "fsopen", || text(fstype)).map(own)
}

/// fspick(2) on a descriptor: a context for changing the file system that it lies on.
pub fn fspick(target: BorrowedFd<'_>) -> Result<OwnedFd> {
    const FSPICK_CLOEXEC: u32 = 1;
    const FSPICK_EMPTY_PATH: u32 = 8;
    // SAFETY: the empty string is static.
    let r = unsafe {
        libc::syscall(
            SYS_FSPICK,
            target.as_raw_fd(),
            c"".as_ptr(),
            FSPICK_CLOEXEC | FSPICK_EMPTY_PATH,
        )
    };
    check(r, "fspick", || "").map(own)
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> std::result::Result<(), Errno> {
    let key = key.map_or(std::ptr::null(), CStr::as_ptr);
    let value = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both strings, where given, outlive the call; null is allowed where a command takes none.
    let r = unsafe { libc::syscall(SYS_FSCONFIG, context.as_raw_fd(), command, key, value, 0) };
    if r < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The longest value that fsconfig(2) takes as a string, in bytes.
pub const FSCONFIG_STRING_MAX: usize = 255;

/// fsconfig(2): a parameter, with a value or as a flag. The error carries the kernel's sentence from the
/// context's log, which names the offending parameter.
pub fn fsconfig_set(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    const FSCONFIG_SET_FLAG: u32 = 0;
    const FSCONFIG_SET_STRING: u32 = 1;
    let command = if value.is_some() {
        FSCONFIG_SET_STRING
    } else {
        FSCONFIG_SET_FLAG
    };
    fsconfig(context, command, Some(key), value).map_err(|errno| {
        let what = match value {
            Some(v) => format!("{}={}", text(key), text(v)),
            None => text(key),
        };
        Error::new("fsconfig", with_log(what, context), errno)
    })
}

/// fsconfig(2): a parameter whose value is what a descriptor names. overlay takes its layers so since Linux 6.13, from
/// `O_PATH` descriptors and from mounts without a place since 6.15.
pub fn fsconfig_set_fd(context: BorrowedFd<'_>, key: &CStr, value: BorrowedFd<'_>) -> Result<()> {
    const FSCONFIG_SET_FD: u32 = 5;
    // SAFETY: `key` outlives the call; the command takes no value.
    let r = unsafe {
        libc::syscall(
            SYS_FSCONFIG,
            context.as_raw_fd(),
            FSCONFIG_SET_FD,
            key.as_ptr(),
            std::ptr::null::<libc::c_char>(),
            value.as_raw_fd(),
        )
    };
    if r < 0 {
        let errno = Errno::last();
        return Err(Error::new("fsconfig", with_log(text(key), context), errno));
    }
    Ok(())
}

/// fsconfig(2): makes the superblock out of the parameters given so far.
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    fsconfig(context, FSCONFIG_CMD_CREATE, None, None)
        .map_err(|errno| Error::new("fsconfig", with_log("create".into(), context), errno))
}

/// fsconfig(2): applies the parameters to the superblock that [`fspick`] chose.
pub fn fsconfig_reconfigure(context: BorrowedFd<'_>) -> Result<()> {
    const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
    fsconfig(context, FSCONFIG_CMD_RECONFIGURE, None, None)
        .map_err(|errno| Error::new("fsconfig", with_log("reconfigure".into(), context), errno))
}

/// What the kernel wrote into the log of the context, one message a read, each `e text`, `w text` or `i text`.
fn with_log(what: String, context: BorrowedFd<'_>) -> String {
    let mut out = what;
    let mut buf = [0u8; 512];
    // Bounded: the log holds at most eight messages.
    for _ in 0..8 {
        let Ok(n @ 1..) = read(context, &mut buf) else {
            break;
        };
        let line = String::from_utf8_lossy(&buf[..n]);
        let line = line.trim_end();
        out.push_str(" (");
        out.push_str(
            line.strip_prefix("e ")
                .or(line.strip_prefix("w "))
                .unwrap_or(line),
        );
        out.push(')');
    }
    out
}

/// fsmount(2): a mount of the context's superblock that is attached nowhere yet. `attrs`: `ATTR_*`.
pub fn fsmount(context: BorrowedFd<'_>, attrs: u64) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: no pointers.
    let r = unsafe { libc::syscall(SYS_FSMOUNT, context.as_raw_fd(), FSMOUNT_CLOEXEC, attrs as u32) };
    if r < 0 {
        let errno = Errno::last();
        return Err(Error::new("fsmount", with_log(String::new(), context), errno));
    }
    Ok(own(r))
}

/// open_tree(2) with OPEN_TREE_CLONE on a path: a copy of the mount, attached nowhere, whose root is the path.
pub fn clone_tree_at(dir: BorrowedFd<'_>, path: &CStr, reach: Reach, last: LastLink) -> Result<OwnedFd> {
    let follow = match last {
        LastLink::Follow => 0,
        LastLink::NoFollow => libc::AT_SYMLINK_NOFOLLOW as u32,
    };
    open_tree(dir, path, reach.at_flag() | follow)
}

/// open_tree(2) with OPEN_TREE_CLONE on what a descriptor names.
pub fn clone_tree(fd: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd> {
    open_tree(fd, c"", reach.at_flag() | libc::AT_EMPTY_PATH as u32)
}

fn open_tree(dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: u32 = 1;
    let flags = flags | OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    // SAFETY: `path` outlives the call.
    let r = unsafe { libc::syscall(SYS_OPEN_TREE, dir.as_raw_fd(), path.as_ptr(), flags) };
    check(r, "open_tree", || text(path)).map(own)
}

/// move_mount(2): attaches the mount that `tree` names on what `target` names. Afterwards `tree` names the
/// attached mount.
pub fn move_mount(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: the empty strings are static.
    let r = unsafe {
        libc::syscall(
            SYS_MOVE_MOUNT,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    check(r, "move_mount", || "").map(drop)
}

/// `struct mount_attr` of mount_setattr(2): what to change of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'fd> {
    /// `ATTR_*` to set.
    pub set: u64,
    /// `ATTR_*` to clear; [`ATTR_ATIME`] as a whole when an access time policy is set.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave the propagation alone.
    pub propagation: u64,
    /// The user namespace of [`ATTR_IDMAP`].
    pub user_namespace: Option<FdNumber<'fd>>,
}

/// A borrowed descriptor that compares by number.
#[derive(Clone, Copy, Debug)]
pub struct FdNumber<'fd>(pub BorrowedFd<'fd>);

impl PartialEq for FdNumber<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_raw_fd() == other.0.as_raw_fd()
    }
}

impl Eq for FdNumber<'_> {}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on the mount that a descriptor names; the descriptor must be the root of the mount.
pub fn mount_setattr(fd: BorrowedFd<'_>, reach: Reach, change: &Change<'_>) -> Result<()> {
    setattr(fd, c"", reach.at_flag() | libc::AT_EMPTY_PATH as u32, change)
}

/// mount_setattr(2) on a path of the administrator.
pub fn mount_setattr_at(path: &CStr, reach: Reach, change: &Change<'_>) -> Result<()> {
    setattr(crate::fs::cwd(), path, reach.at_flag(), change)
}

fn setattr(dir: BorrowedFd<'_>, path: &CStr, flags: u32, change: &Change<'_>) -> Result<()> {
    let attr = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.user_namespace.map_or(0, |fd| fd.0.as_raw_fd() as u64),
    };
    // SAFETY: `path` and `attr` outlive the call and the size given is that of `attr`.
    let r = unsafe {
        libc::syscall(
            SYS_MOUNT_SETATTR,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &attr as *const MountAttr,
            size_of::<MountAttr>(),
        )
    };
    check(r, "mount_setattr", || text(path)).map(drop)
}

/// mount(2). Empty strings stand for the arguments that a kind of call ignores.
pub fn mount(source: &CStr, target: &CStr, fstype: &CStr, flags: u64, data: &CStr) -> Result<()> {
    // SAFETY: all strings outlive the call.
    let r = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            fstype.as_ptr(),
            flags as libc::c_ulong,
            data.as_ptr().cast(),
        )
    };
    check(r as i64, "mount", || text(source)).map(drop)
}

/// umount2(2). `flags`: `MNT_DETACH`, `UMOUNT_NOFOLLOW`.
pub fn umount(target: &CStr, flags: i32) -> Result<()> {
    // SAFETY: `target` outlives the call.
    check(
        unsafe { libc::umount2(target.as_ptr(), flags) } as i64,
        "umount",
        || text(target),
    )
    .map(drop)
}

/// pivot_root(2).
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    // SAFETY: both strings outlive the call.
    let r = unsafe { libc::syscall(libc::SYS_pivot_root, new_root.as_ptr(), put_old.as_ptr()) };
    check(r, "pivot_root", || text(new_root)).map(drop)
}
