//! Making the directories of a planned cgroup.
//!
//! May not: write limits or move processes. Whatever was made is removed again when a later part fails.

use super::file;
use super::paths::{CgroupPaths, Dir, Hierarchy};
use super::plan::{CgroupPlan, Phase, Policy, Write};
use super::{Cgroup, freeze, processes};
use crate::error::{Doing, Error, Result};
use std::path::{Path, PathBuf};

/// runc's words, which people look for.
const ROOTLESS_NEEDS: &str =
    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";

/// Refuses cgroups that exist and are in use: by processes, or by somebody who has frozen them. [`create`] checks the
/// same; callers check BEFORE they record the paths too, so that a record never names a cgroup whose processes belong
/// to somebody else (whoever cleans up after a killed runtime kills what the record names).
///
/// # Errors
/// `container's cgroup is not empty: N process(es) found`, `container's cgroup unexpectedly frozen`.
pub fn refuse_used(paths: &CgroupPaths) -> Result<()> {
    for dir in paths.dirs() {
        let path = dir.path();
        if path.exists() {
            refuse_used_dir(&path)?;
        }
    }
    Ok(())
}

fn refuse_used_dir(path: &Path) -> Result<()> {
    let pids = processes::in_tree(path)?;
    if !pids.is_empty() {
        return Err(Error::new(format!(
            "container's cgroup is not empty: {} process(es) found",
            pids.len()
        )));
    }
    if freeze::is_dir_frozen(path)? {
        return Err(Error::new("container's cgroup unexpectedly frozen"));
    }
    Ok(())
}

/// Directories made so far, in order.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn undo(&self) -> Result<()> {
        for path in self.0.iter().rev() {
            match sys::fs::unlinkat(sys::fs::cwd(), path, libc::AT_REMOVEDIR) {
                // Somebody else uses a parent by now.
                Err(e) if e.is(libc::EBUSY) || e.is(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// mkdir(2) 0755. `false` when the directory was there.
    fn make(&mut self, path: &Path) -> sys::Result<bool> {
        match sys::fs::mkdirat(sys::fs::cwd(), path, 0o755) {
            Ok(()) => {
                self.0.push(path.to_path_buf());
                Ok(true)
            }
            Err(e) if e.is(libc::EEXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The same with parents. A parent that vanishes meanwhile (its owner removes it) is made again.
    fn make_with_parents(&mut self, dir: &Dir) -> sys::Result<bool> {
        let path = dir.path();
        let mut tries = 0;
        loop {
            match self.make(&path) {
                Err(e) if e.is(libc::ENOENT) && tries < 8 => tries += 1,
                other => return other,
            }
            for ancestor in ancestors(dir) {
                match self.make(&ancestor) {
                    Err(e) if e.is(libc::ENOENT) => break,
                    other => other?,
                };
            }
        }
    }
}

/// The directories between the mount point and the container's own, top down, both excluded.
fn ancestors(dir: &Dir) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = dir
        .below
        .ancestors()
        .skip(1)
        .filter(|p| !p.as_os_str().is_empty())
        .map(|p| dir.mountpoint.join(p))
        .collect();
    out.reverse();
    out
}

/// Makes the cgroup. An ordinary user without rights over cgroups gets a [`Cgroup`] without those directories, as
/// long as neither a path nor a limit was asked for.
///
/// # Errors
/// Besides failed system calls those of [`refuse_used`]; nothing is left behind then.
pub fn create(plan: &CgroupPlan) -> Result<Cgroup> {
    if let Some(unit) = &plan.unit {
        // systemd makes it, around a process that does not exist yet.
        return Ok(Cgroup::of_unit(plan.paths.clone(), Some(unit.unit.clone())));
    }
    let mut made = Made::default();
    let created = match &plan.paths {
        CgroupPaths::None => Ok(CgroupPaths::None),
        CgroupPaths::Unified { dir } => create_unified(dir, plan, &mut made),
        CgroupPaths::Legacy { hierarchies, unified } => {
            create_legacy(hierarchies, unified.as_ref(), plan, &mut made)
        }
    };
    match created {
        Ok(paths) => Ok(Cgroup::open(paths)),
        Err(e) => Err(e.and_also(made.undo())),
    }
}

/// After systemd has made the unit and put the process there: what it did not make (v1 hierarchies that it does not use) and did not
/// enable (controllers that it does not know).
///
/// # Errors
/// When the unit's cgroup is not where it has to be: then nothing would be limited.
pub fn complete(plan: &CgroupPlan) -> Result<()> {
    match &plan.paths {
        CgroupPaths::None => Ok(()),
        CgroupPaths::Unified { dir } => complete_v2(dir, plan),
        CgroupPaths::Legacy { hierarchies, unified } => {
            let mut made = Made::default();
            let completed = hierarchies
                .iter()
                .try_for_each(|h| complete_v1(h, &mut made))
                .and_then(|()| match unified {
                    Some(dir) => made.make_with_parents(dir).map(drop).map_err(Error::from),
                    None => Ok(()),
                });
            completed.map_err(|e| e.and_also(made.undo()))
        }
    }
}

fn complete_v1(h: &Hierarchy, made: &mut Made) -> Result<()> {
    made.make_with_parents(&h.dir)
        .map_err(Error::from)
        .and_then(|_| {
            if h.has("cpuset") {
                seed_cpusets(&h.dir)
            } else {
                Ok(())
            }
        })
        .doing(|| format!("unable to create the {} cgroup", h.controllers.join(",")))
}

fn complete_v2(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    let path = dir.path();
    if !path.exists() {
        return Err(Error::new(format!(
            "systemd has made the unit, but not the cgroup {}",
            path.display()
        )));
    }
    enable_above(dir, plan)
}

/// Lack of rights that a rootless runtime lives with.
fn is_denied(e: &Error) -> bool {
    e.is(libc::EACCES) || e.is(libc::EPERM) || e.is(libc::EROFS)
}

fn create_legacy(
    hierarchies: &[Hierarchy],
    unified: Option<&Dir>,
    plan: &CgroupPlan,
    made: &mut Made,
) -> Result<CgroupPaths> {
    let mut there = Vec::new();
    for h in hierarchies {
        match create_v1(h, made) {
            Ok(()) => there.push(h.clone()),
            Err(e) if plan.rootless && !plan.explicit_path && is_denied(&e) => {
                // A limit in this hierarchy fails with its own words when it is due.
            }
            Err(e) => {
                return Err(e).doing(|| format!("unable to create the {} cgroup", h.controllers.join(",")));
            }
        }
    }
    let mut v2 = None;
    if let Some(dir) = unified {
        match create_bare(dir, made) {
            Ok(()) => v2 = Some(dir.clone()),
            // The bare tree only helps with killing and freezing; v1 knows how to do without.
            Err(e) if plan.rootless && is_denied(&e) => {}
            Err(e) => return Err(e).doing(|| "unable to create the cgroup beside the v1 hierarchies"),
        }
    }
    if there.is_empty() && v2.is_none() && !plan.writes.is_empty() {
        return Err(Error::new(ROOTLESS_NEEDS));
    }
    Ok(CgroupPaths::Legacy {
        hierarchies: there,
        unified: v2,
    })
}

fn create_bare(dir: &Dir, made: &mut Made) -> Result<()> {
    if !made.make_with_parents(dir)? {
        refuse_used_dir(&dir.path())?;
    }
    Ok(())
}

fn create_v1(h: &Hierarchy, made: &mut Made) -> Result<()> {
    create_bare(&h.dir, made)?;
    if h.has("cpuset") {
        seed_cpusets(&h.dir)?;
    }
    Ok(())
}

fn seed_cpusets(dir: &Dir) -> Result<()> {
    ancestors(dir)
        .iter()
        .chain([&dir.path()])
        .try_for_each(|path| seed_cpuset(path))
}

/// A fresh v1 cpuset is empty and nobody can enter it: it gets what its parent has.
fn seed_cpuset(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if file::read(path, name)?.trim().is_empty() {
            let inherited = file::read(parent, name)?;
            file::write(path, name, inherited.trim())?;
        }
    }
    Ok(())
}

fn create_unified(dir: &Dir, plan: &CgroupPlan, made: &mut Made) -> Result<CgroupPaths> {
    match create_v2(dir, plan, made) {
        Ok(()) => Ok(CgroupPaths::Unified { dir: dir.clone() }),
        Err(e) if plan.rootless && is_denied(&e) && !plan.explicit_path && plan.writes.is_empty() => {
            Ok(CgroupPaths::None)
        }
        Err(e) if plan.rootless && is_denied(&e) && !plan.explicit_path => Err(e).doing(|| ROOTLESS_NEEDS),
        Err(e) => Err(e),
    }
}

fn create_v2(dir: &Dir, plan: &CgroupPlan, made: &mut Made) -> Result<()> {
    if !made.make_with_parents(dir)? {
        refuse_used_dir(&dir.path())?;
    }
    enable_above(dir, plan)
}

/// Gives the cgroup every controller, and makes sure that it is of a kind that can use them.
fn enable_above(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    let above = ancestors(dir);
    let path = dir.path();
    // Nearly always the parent has everything already: then its own file is all that is read.
    let parent = above.last().unwrap_or(&dir.mountpoint);
    if !missing_below(parent, &plan.controllers)?.is_empty() {
        enable(&dir.mountpoint, &plan.controllers)?;
        for ancestor in &above {
            check_type(ancestor, plan)?;
            enable(ancestor, &plan.controllers)?;
        }
    }
    // A child of the root is of the normal kind.
    if above.is_empty() {
        return Ok(());
    }
    check_type(&path, plan)
}

/// Controllers of `available` that the children of `path` do not have.
fn missing_below<'a>(path: &Path, available: &'a [String]) -> Result<Vec<&'a str>> {
    let enabled = file::read(path, "cgroup.subtree_control")?;
    let enabled: Vec<&str> = enabled.split_whitespace().collect();
    let missing = available.iter().map(String::as_str);
    Ok(missing.filter(|c| !enabled.contains(c)).collect())
}

/// Gives the children of `path` every controller, one at a time, as far as the kernel lets us: `+cpu` is refused
/// while real-time processes are about, all of them below a cgroup with processes of its own, some where the cgroup
/// was delegated to us. Who needs a missing one learns it when its file is not there.
fn enable(path: &Path, available: &[String]) -> Result<()> {
    for controller in missing_below(path, available)? {
        match file::write(path, "cgroup.subtree_control", &format!("+{controller}")) {
            Err(e) if e.errno().is_none() => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Controllers that cannot work in a threaded cgroup.
fn needs_domain(writes: &[Write]) -> bool {
    writes
        .iter()
        .any(|w| matches!(w.controller, "memory" | "io" | "hugetlb" | "rdma") && w.policy != Policy::IfThere)
}

fn check_type(path: &Path, plan: &CgroupPlan) -> Result<()> {
    let kind = file::read_if_there(path, "cgroup.type")?.unwrap_or_default();
    let kind = kind.trim();
    if !matches!(kind, "domain invalid" | "domain threaded" | "threaded") {
        return Ok(());
    }
    if needs_domain(&plan.writes) {
        return Err(Error::new(match kind {
            "domain invalid" => format!(
                "cannot enter cgroupv2 {:?} with domain controllers -- it is in an invalid state",
                path.display().to_string()
            ),
            _ => format!(
                "cannot enter cgroupv2 {:?} with domain controllers -- it is in {kind} mode",
                path.display().to_string()
            ),
        }));
    }
    if kind == "domain invalid" {
        // Below a cgroup that has both processes and thread-aware controllers only a threaded one can be entered.
        file::write(path, "cgroup.type", "threaded")?;
    }
    Ok(())
}

impl CgroupPlan {
    /// The writes of one phase, in order.
    pub fn writes_of(&self, phase: Phase) -> Vec<&Write> {
        self.writes.iter().filter(|w| w.phase == phase).collect()
    }
}
