//! Bind sources that the parent opens before the fork: where the container's user namespace could not reach them, and
//! for id-mapped mounts.
//!
//! May not: leave anything mounted. A source is a detached copy of a tree; it disappears with its descriptor.

use super::mounts::{bind_options, invalid_rootfs, source_error};
use super::options::Depth;
use super::plan::{IdmapIds, MountKind, MountPlan, RootfsPlan, SourceSide};
use super::tree::{is_refused, set_detached_flags};
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::fs;
use sys::mount::{self, Change, FdNumber, LastLink, Reach};
use sys::process::{self, Forked};

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
    let needed = |m: &MountPlan| m.idmap.is_some() || plan.sources == SourceSide::Parent;
    if !plan.mounts.iter().any(needed) {
        return Ok(Sources::default());
    }
    let mut opened = Vec::with_capacity(plan.mounts.len());
    for m in &plan.mounts {
        let source = match &m.kind {
            MountKind::Bind { .. } if needed(m) => open_source(m, plan.sources).map_err(|e| {
                e.doing(format!(
                    "error mounting {:?} to rootfs at {:?}",
                    m.source.to_string_lossy(),
                    m.destination.to_string()
                ))
            })?,
            _ => None,
        };
        opened.push(source);
    }
    Ok(Sources { opened })
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
