//! Bind sources that the parent opens: where the container's user namespace could not reach them, and for id-mapped
//! mounts. Before the fork, but for a source inside the container's own root: an earlier mount may be what is to be bound,
//! so that one is opened when it is asked for, by a helper in the container's mount namespace.
//!
//! May not: leave anything mounted. A source is a detached copy of a tree; it disappears with its descriptor.

use super::mounts::{bind_options, invalid_rootfs, source_error};
use super::options::Depth;
use super::plan::{IdmapIds, MountKind, MountPlan, RootfsPlan, SourceSide};
use super::tree::{is_refused, set_detached_flags};
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::fs;
use sys::mount::{self, Change, FdNumber, LastLink, Reach};
use sys::process::{self, Forked};
use sys::socket;
use sys::wait::Deadline;

/// The opened sources, one slot per mount of the plan.
#[derive(Debug, Default)]
pub struct Sources {
    opened: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// Every descriptor that is still here.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.opened.iter().flatten().map(AsFd::as_fd)
    }

    /// Takes the source of the mount at this place of [`RootfsPlan::mounts`], if the parent opened one.
    pub fn take(&mut self, position: usize) -> Option<OwnedFd> {
        self.opened.get_mut(position).and_then(Option::take)
    }
}

/// Looks at the root directory, and opens in the host's mount namespace what the child could not.
pub fn open_sources(plan: &RootfsPlan) -> Result<Sources> {
    check_root(plan)?;
    if !plan.mounts.iter().any(|m| is_for_parent(plan, m)) {
        return Ok(Sources::default());
    }
    let mut opened = Vec::with_capacity(plan.mounts.len());
    for m in &plan.mounts {
        opened.push(match is_for_parent(plan, m) && !is_inside(plan, m) {
            true => open_source(m, plan.sources).map_err(|e| name_mount(m, e))?,
            false => None,
        });
    }
    Ok(Sources { opened })
}

/// Whether the child has to ask for the source of this mount when its turn has come.
pub fn is_asked_for(plan: &RootfsPlan, position: usize) -> bool {
    let mount = plan.mounts.get(position);
    mount.is_some_and(|m| is_for_parent(plan, m) && is_inside(plan, m))
}

fn is_for_parent(plan: &RootfsPlan, m: &MountPlan) -> bool {
    let bind = matches!(m.kind, MountKind::Bind { .. });
    bind && (m.idmap.is_some() || plan.sources == SourceSide::Parent)
}

/// By text: who names the root by another way gets what was there before the mounts.
fn is_inside(plan: &RootfsPlan, m: &MountPlan) -> bool {
    match &m.kind {
        MountKind::Bind { from, .. } => from.as_path().starts_with(plan.path.as_path()),
        _ => false,
    }
}

fn name_mount(m: &MountPlan, e: Error) -> Error {
    e.doing(format!(
        "error mounting {:?} to rootfs at {:?}",
        m.source.to_string_lossy(),
        m.destination.to_string()
    ))
}

/// Parent: opens the source of one mount as it is now in the mount namespace of `init`.
///
/// A helper goes there, because the runtime's own namespaces are never changed. It has the rights of the runtime, which
/// the init has not, and it hands over a detached tree.
pub fn open_source_inside(plan: &RootfsPlan, position: usize, init: i32) -> Result<OwnedFd> {
    let mount = plan
        .mounts
        .get(position)
        .filter(|_| is_asked_for(plan, position))
        .ok_or_else(|| Error::new("a source was asked for that the plan does not have"))?;
    let namespace = crate::procfs::Procfs::open()?.open_pid(init, "ns/mnt", libc::O_RDONLY)?;
    let (ours, theirs) = socket::seqpacket_pair()?;
    match process::fork(0, None)? {
        Forked::Child => {
            drop(ours);
            let opened = process::setns(namespace.as_fd(), libc::CLONE_NEWNS as u64)
                .doing(|| "join the container's mount namespace")
                .and_then(|()| open_source(mount, plan.sources));
            process::exit_now(hand_over(theirs.as_fd(), opened).map_or(1, |()| 0))
        }
        Forked::Parent { pid, .. } => {
            drop(theirs);
            let answer = receive_source(ours.as_fd());
            end_helper(pid, answer.is_ok())?;
            answer.map_err(|e| name_mount(mount, e))
        }
    }
}

/// One that did not answer in time cannot be waited for: it hangs in the kernel, and dies when it comes back.
fn end_helper(pid: i32, answered: bool) -> Result<()> {
    let block = if answered {
        process::Block::Yes
    } else {
        // Our own child cannot be reaped by anybody else, so its pid is not reused.
        process::pidfd_send_signal(process::pidfd_open(pid)?.as_fd(), libc::SIGKILL)?;
        process::Block::No
    };
    process::wait_pid(pid, block)?;
    Ok(())
}

/// The errno in four bytes, then a text; with the tree, if there is one.
fn hand_over(socket: BorrowedFd<'_>, opened: Result<Option<OwnedFd>>) -> sys::Result<()> {
    let failed = match opened {
        Ok(Some(tree)) => return socket::send(socket, &[0; 4], &[tree.as_fd()]).map(drop),
        Ok(None) => Error::new("the system calls for it are filtered"),
        Err(e) => e,
    };
    let mut bytes = failed.errno().map_or(0, |n| n.0).to_le_bytes().to_vec();
    bytes.extend(failed.to_string().bytes().take(LONGEST - bytes.len()));
    socket::send(socket, &bytes, &[]).map(drop)
}

/// The longest message of a helper.
const LONGEST: usize = 4096;

fn receive_source(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    // A mount that answers late is all that can keep the helper.
    sys::wait::readable(socket, Deadline::after(Duration::from_secs(100)))
        .doing(|| "waiting for a bind source")?;
    let mut bytes = [0u8; LONGEST];
    let (n, mut fds) = socket::receive(socket, &mut bytes)?;
    if let Some(tree) = fds.pop() {
        return Ok(tree);
    }
    let Some((errno, text)) = bytes[..n].split_first_chunk() else {
        return Err(Error::new("the helper that opens a bind source died"));
    };
    Err(Error::received(
        String::from_utf8_lossy(text).into_owned(),
        i32::from_le_bytes(*errno),
    ))
}

/// A missing root is told before anything was created.
fn check_root(plan: &RootfsPlan) -> Result<()> {
    let stat = fs::fstatat(fs::cwd(), plan.path.as_path(), libc::AT_SYMLINK_NOFOLLOW)
        .map_err(|e| invalid_rootfs(&plan.path, e))?;
    if stat.is_symlink() {
        return Err(Error::new("invalid rootfs: not an absolute path, or a symlink"));
    }
    if !stat.is_dir() {
        return Err(Error::new(format!(
            "invalid rootfs: {} is not a directory",
            plan.path
        )));
    }
    Ok(())
}

/// `None` when the calls are filtered and the child can try the classic way.
fn open_source(plan: &MountPlan, side: SourceSide) -> Result<Option<OwnedFd>> {
    let MountKind::Bind { from, depth } = &plan.kind else {
        return Ok(None);
    };
    let tree = match mount::clone_tree_at(fs::cwd(), from.as_c(), (*depth).into(), LastLink::Follow) {
        Ok(tree) => tree,
        Err(e) if is_refused(&e) && plan.idmap.is_none() => return Ok(None),
        Err(e) => return Err(source_error(from, e)),
    };
    let slave = Change {
        propagation: libc::MS_SLAVE,
        ..Change::default()
    };
    // A copy of a shared mount is its peer: what the container mounts below it would appear on the host.
    mount::mount_setattr(tree.as_fd(), Reach::Recursive, &slave).doing(|| "make the source a slave")?;
    if let Some(idmap) = &plan.idmap {
        let user_namespace = match &idmap.ids {
            IdmapIds::Lines(uids, gids) => open_user_namespace(uids, gids)?,
            IdmapIds::Namespace(path) => fs::open(path.as_path(), libc::O_RDONLY, 0)?,
        };
        map_ids(tree.as_fd(), idmap.depth, user_namespace.as_fd())?;
    }
    finish_source(plan, tree.as_fd(), side)?;
    Ok(Some(tree))
}

fn finish_source(plan: &MountPlan, tree: BorrowedFd<'_>, side: SourceSide) -> Result<()> {
    let options = bind_options(plan);
    if options.changes_bind() {
        set_detached_flags(tree, &options, side)?;
    }
    let (set, clear) = (options.deep_set.0, options.deep_clear.0);
    if set != 0 || clear != 0 {
        let change = Change {
            set,
            clear,
            ..Change::default()
        };
        mount::mount_setattr(tree, Reach::Recursive, &change)
            .doing(|| "failed to set recursive mount attributes")?;
    }
    Ok(())
}

fn map_ids(tree: BorrowedFd<'_>, depth: Depth, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let change = Change {
        set: mount::ATTR_IDMAP,
        user_namespace: Some(FdNumber(user_namespace)),
        ..Change::default()
    };
    mount::mount_setattr(tree, depth.into(), &change).doing(|| "failed to set idmap attributes")
}

/// A user namespace with this mapping, held by nobody but its descriptor.
fn open_user_namespace(uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let holder = Holder::start().doing(|| "make a user namespace for an id-mapped mount")?;
    let made = holder.map(uid_map, gid_map);
    match (made, holder.end()) {
        (Ok(fd), Ok(())) => Ok(fd),
        (Ok(_), Err(e)) => Err(e),
        (Err(e), ended) => Err(e.and_also(ended)),
    }
}

/// A process that does nothing but hold a fresh user namespace. It ends when its leash is let go, so also when its
/// owner dies.
struct Holder {
    pid: i32,
    leash: OwnedFd,
}

impl Holder {
    fn start() -> Result<Holder> {
        let (wait, leash) = fs::pipe()?;
        match process::fork(libc::CLONE_NEWUSER as u64, None)? {
            Forked::Child => {
                drop(leash);
                let ended = fs::read(wait.as_fd(), &mut [0u8; 1]);
                process::exit_now(ended.map_or(1, |_| 0))
            }
            Forked::Parent { pid, .. } => Ok(Holder { pid, leash }),
        }
    }

    fn map(&self, uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
        let proc = crate::procfs::Procfs::open()?;
        proc.write_pid(self.pid, "uid_map", uid_map.as_bytes())?;
        proc.write_pid(self.pid, "gid_map", gid_map.as_bytes())?;
        proc.open_pid(self.pid, "ns/user", libc::O_RDONLY)
    }

    fn end(self) -> Result<()> {
        drop(self.leash);
        process::wait_pid(self.pid, process::Block::Yes)?;
        Ok(())
    }
}
