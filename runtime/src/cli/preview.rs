//! `plan` and `check`: what `create` would do with a bundle, and whether it could.
//!
//! May not: change anything, neither the host nor the bundle.

use super::{Invocation, json};
use crate::container::create::Planned;
use crate::error::{Doing, Result};
use crate::facts::{CgroupMode, HostFacts};
use crate::plan::{Keyring, Options, Plan};
use crate::problems::Problems;
use crate::rootfs::Pivot;
use crate::steps::{self, Parking};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Older kernels lack calls that have no fallback here.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

#[derive(Serialize)]
struct Preview<'a> {
    host: &'a HostFacts,
    plan: &'a Plan,
    /// What init does, in this order.
    steps: Vec<String>,
}

/// `plan`: the host as it was found, the plan, and the steps of init, as JSON.
///
/// # Errors
/// All problems of the configuration.
pub fn plan(invocation: &Invocation, bundle: Option<&Path>) -> Result<String> {
    let planned = load(invocation, bundle)?;
    let steps = steps::init_steps(&planned.plan, Parking::ForStart);
    let preview = Preview {
        host: &planned.facts,
        plan: &planned.plan,
        steps: steps.iter().map(|step| format!("{step:?}")).collect(),
    };
    Ok(json::indented(&preview, "  ")? + "\n")
}

/// `check`: a line for what is ignored, and one that says that all is well.
///
/// # Errors
/// All problems of the configuration, or all that the host lacks for it.
pub fn check(invocation: &Invocation, bundle: Option<&Path>) -> Result<String> {
    let planned = load(invocation, bundle)?;
    let mut problems = Problems::default();
    check_host(&planned.facts, &mut problems);
    check_files(&planned.plan, &mut problems);
    problems.into_result()?;
    let mut out: String = planned
        .plan
        .warnings
        .iter()
        .map(|w| format!("warning: {w}\n"))
        .collect();
    out.push_str(&format!(
        "{}: nothing stands against it\n",
        planned.plan.options.bundle.display()
    ));
    Ok(out)
}

fn check_host(facts: &HostFacts, problems: &mut Problems) {
    let (major, minor) = facts.kernel;
    if facts.kernel < OLDEST_KERNEL {
        let (want_major, want_minor) = OLDEST_KERNEL;
        problems.add(
            "/proc/sys/kernel/osrelease",
            format!("Linux {major}.{minor} is older than {want_major}.{want_minor}"),
        );
    }
    if facts.cgroup_mode == CgroupMode::None {
        problems.add("/sys/fs/cgroup", "no cgroup file system is mounted");
    }
}

/// What only the file system knows. Paths of the host alone: those of the container are resolved when it is made.
fn check_files(plan: &Plan, problems: &mut Problems) {
    let root = PathBuf::from(plan.rootfs.path.to_string());
    match std::fs::symlink_metadata(&root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => problems.add("/root/path", format!("{} is not a directory", root.display())),
        Err(e) => problems.add("/root/path", sys::Error::io("stat", root.to_string_lossy(), &e)),
    }
}

fn load(invocation: &Invocation, bundle: Option<&Path>) -> Result<Planned> {
    let bundle = std::path::absolute(bundle.unwrap_or(Path::new(".")))
        .map_err(|e| sys::Error::io("getcwd", "", &e))
        .doing(|| "the bundle")?;
    Planned::load(&invocation.global, &bundle, |bundle| {
        Ok(Options {
            // No container is made; where the id would stand one sees from which bundle it comes.
            id: bundle
                .file_name()
                .map_or("container".into(), |name| name.to_string_lossy().into_owned()),
            tool: invocation.identity.name(),
            bundle: bundle.to_path_buf(),
            pivot: Pivot::PivotRoot,
            keyring: Keyring::New,
            preserve_fds: 0,
            listen_fds: 0,
            notify_dir: None,
        })
    })
}
