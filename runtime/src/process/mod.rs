//! What `process` of config.json asks of the kernel, for the container's init and for `exec` alike.
//!
//! Pure, except [`lookup`] which runs inside the container and [`credentials`] which applies.

pub mod capabilities;
pub mod credentials;
pub mod limits;
pub mod lookup;
pub mod scheduling;

use crate::config;
use crate::facts::HostFacts;
use crate::problems::Problems;
use crate::seccomp::Filter;
use capabilities::CapabilityPlan;
use limits::Rlimit;
use scheduling::{Affinity, IoPriority, MemoryPolicy, Scheduler};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether the process may gain privileges by execve (PR_SET_NO_NEW_PRIVS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NoNewPrivileges {
    /// Set.
    On,
    /// Left alone.
    Off,
}

/// Whether the process gets a pseudo-terminal as its stdio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Terminal {
    /// It does, of this size (rows, columns) when one was given.
    Yes(Option<(u16, u16)>),
    /// It keeps the runtime's stdio.
    No,
}

/// uid, gid and groups inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserPlan {
    /// setresuid(2)
    pub uid: u32,
    /// setresgid(2)
    pub gid: u32,
    /// setgroups(2)
    pub groups: Vec<u32>,
    /// umask(2)
    pub umask: u32,
}

/// Everything about one process, checked, with nothing optional that has a default.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessPlan {
    /// argv; not empty.
    pub args: Vec<String>,
    /// `K=V`, the last of duplicates, in order of first appearance. HOME is added in the container.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    /// Pseudo-terminal.
    pub terminal: Terminal,
    /// Ids.
    pub user: UserPlan,
    /// The five sets, or `None` to keep what is inherited.
    pub capabilities: Option<CapabilityPlan>,
    /// Set by the parent.
    pub rlimits: Vec<Rlimit>,
    /// Decides also the place of the seccomp filter.
    pub no_new_privileges: NoNewPrivileges,
    /// `None`: unchanged.
    pub oom_score_adj: Option<i32>,
    /// AppArmor profile for the program.
    pub apparmor: Option<String>,
    /// SELinux label for the program.
    pub selinux: Option<String>,
    /// ioprio_set(2)
    pub io_priority: Option<IoPriority>,
    /// sched_setattr(2)
    pub scheduler: Option<Scheduler>,
    /// CPUs, for exec only.
    pub affinity: Affinity,
    /// set_mempolicy(2)
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2)
    pub personality: Option<u64>,
    /// BPF.
    pub seccomp: Option<Filter>,
}

/// Reads `process`; `place` is its JSON pointer (`/process`, or empty for a process.json).
pub fn plan_process(
    p: &config::Process,
    linux: &config::Linux,
    place: &str,
    facts: &HostFacts,
    problems: &mut Problems,
) -> ProcessPlan {
    if p.args.is_empty() {
        problems.add(format!("{place}/args"), "args must not be empty");
    }
    for (n, arg) in p.args.iter().enumerate() {
        no_nul(arg, || format!("{place}/args/{n}"), problems);
    }
    if p.cwd.is_empty() {
        problems.add(format!("{place}/cwd"), "Cwd property must not be empty");
    } else if !p.cwd.starts_with('/') {
        problems.add(format!("{place}/cwd"), "Cwd must be an absolute path");
    }
    no_nul(&p.cwd, || format!("{place}/cwd"), problems);
    if !p.apparmor_profile.is_empty() && !facts.apparmor {
        problems.add(
            format!("{place}/apparmorProfile"),
            "apparmor is not enabled on this host",
        );
    }
    if !p.selinux_label.is_empty() && !facts.selinux {
        problems.add(
            format!("{place}/selinuxLabel"),
            "selinux label is specified in config, but selinux is disabled or not supported",
        );
    }
    ProcessPlan {
        args: p.args.clone(),
        env: plan_env(&p.env, place, problems),
        cwd: p.cwd.clone(),
        terminal: plan_terminal(p),
        user: plan_user(&p.user, place, problems),
        capabilities: p
            .capabilities
            .as_ref()
            .map(|c| capabilities::plan_capabilities(c, facts.last_capability)),
        rlimits: limits::plan_rlimits(&p.rlimits, place, problems),
        no_new_privileges: if p.no_new_privileges {
            NoNewPrivileges::On
        } else {
            NoNewPrivileges::Off
        },
        oom_score_adj: plan_oom(p.oom_score_adj, place, problems),
        apparmor: (!p.apparmor_profile.is_empty()).then(|| p.apparmor_profile.clone()),
        selinux: (!p.selinux_label.is_empty()).then(|| p.selinux_label.clone()),
        io_priority: scheduling::plan_io_priority(p.io_priority.as_ref(), place, problems),
        scheduler: scheduling::plan_scheduler(p.scheduler.as_ref(), place, problems),
        affinity: scheduling::plan_affinity(p.exec_cpu_affinity.as_ref(), place, problems),
        memory_policy: scheduling::plan_memory_policy(linux.memory_policy.as_ref(), problems),
        personality: scheduling::plan_personality(linux.personality.as_ref(), problems),
        seccomp: None,
    }
}

/// A string that ends up in a C interface may not hold a NUL (and a path would silently be cut).
fn no_nul(text: &str, place: impl FnOnce() -> String, problems: &mut Problems) {
    if text.contains('\0') {
        problems.add(place(), "contains a NUL byte");
    }
}

/// The largest id: 2^32-1 means "no change" to the kernel (CVE-2026-46680 mapped an overflow to root).
pub const MAX_ID: u32 = u32::MAX - 1;

fn plan_user(u: &config::User, place: &str, problems: &mut Problems) -> UserPlan {
    for (field, id) in [("uid", u.uid), ("gid", u.gid)] {
        if id > MAX_ID {
            problems.add(
                format!("{place}/user/{field}"),
                format!("id {id} is out of range"),
            );
        }
    }
    for (n, id) in u.additional_gids.iter().enumerate() {
        if *id > MAX_ID {
            problems.add(
                format!("{place}/user/additionalGids/{n}"),
                format!("id {id} is out of range"),
            );
        }
    }
    // runc's default; the caller's own umask must not leak into the container.
    let umask = u.umask.unwrap_or(0o022);
    if umask > 0o777 {
        problems.add(
            format!("{place}/user/umask"),
            format!("umask {umask} is out of range"),
        );
    }
    UserPlan {
        uid: u.uid,
        gid: u.gid,
        groups: u.additional_gids.clone(),
        umask,
    }
}

fn plan_terminal(p: &config::Process) -> Terminal {
    if !p.terminal {
        return Terminal::No;
    }
    let clamp = |v: u32| v.min(u16::MAX as u32) as u16;
    Terminal::Yes(p.console_size.as_ref().map(|s| (clamp(s.height), clamp(s.width))))
}

fn plan_oom(v: Option<i32>, place: &str, problems: &mut Problems) -> Option<i32> {
    if let Some(n) = v
        && !(-1000..=1000).contains(&n)
    {
        problems.add(
            format!("{place}/oomScoreAdj"),
            format!("oom_score_adj {n} is outside -1000..1000"),
        );
    }
    v
}

/// Of duplicates only the last is left, at its place. An image may bring as many as it likes, so that none is looked for by
/// walking over all others.
pub fn plan_env(env: &[String], place: &str, problems: &mut Problems) -> Vec<String> {
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, entry) in env.iter().enumerate() {
        if let Some(key) = problems.keep(&format!("{place}/env/{n}"), env_key(entry)) {
            last.insert(key, n);
        }
    }
    let is_last = |n: usize, entry: &str| {
        entry
            .split_once('=')
            .is_some_and(|(key, _)| last.get(key) == Some(&n))
    };
    (env.iter().enumerate())
        .filter(|(n, entry)| is_last(*n, entry))
        .map(|(_, entry)| entry.clone())
        .collect()
}

/// The name in a `K=V` entry, or runc's words for what is wrong with it.
pub fn env_key(entry: &str) -> Result<&str, String> {
    let bad = "invalid environment variable";
    match entry.split_once('=') {
        None => Err(format!("{bad}: missing '='")),
        Some(("", _)) => Err(format!("{bad}: name cannot be empty")),
        Some((key, _)) if entry.contains('\0') => Err(format!("{bad} {key:?}: contains nul byte (\\x00)")),
        Some((key, _)) => Ok(key),
    }
}

/// The value of a variable in a `K=V` list.
pub fn env_value<'a>(env: &'a [String], key: &str) -> Option<&'a str> {
    env.iter()
        .find_map(|e| e.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_keeps_the_last_and_refuses_nonsense() {
        let mut p = Problems::default();
        let env: Vec<String> = ["A=1", "B=2", "A=3", "C", "=x", "D=", "E=\0"]
            .map(String::from)
            .to_vec();
        assert_eq!(plan_env(&env, "/process", &mut p), ["B=2", "A=3", "D="]);
        let places: Vec<_> = p.iter().map(|x| x.place.clone()).collect();
        assert_eq!(places, ["/process/env/3", "/process/env/4", "/process/env/6"]);
    }

    #[test]
    fn a_large_environment_is_no_burden() {
        let good: Vec<String> = (0..50_000).map(|n| format!("A{n}=x")).collect();
        let bad: Vec<String> = (0..20_000).map(|n| format!("=x{n}")).collect();
        let mut p = Problems::default();
        assert_eq!(plan_env(&good, "/process", &mut p).len(), good.len());
        plan_env(&bad, "/process", &mut p);
        assert_eq!(p.iter().count(), bad.len());
    }

    #[test]
    fn every_bad_field_is_named() {
        let mut p = Problems::default();
        let process = config::Process {
            cwd: "rel".into(),
            oom_score_adj: Some(2000),
            user: config::User {
                uid: u32::MAX,
                umask: Some(0o1777),
                ..Default::default()
            },
            apparmor_profile: "x".into(),
            ..Default::default()
        };
        plan_process(
            &process,
            &config::Linux::default(),
            "/process",
            &HostFacts::default(),
            &mut p,
        );
        let places: Vec<_> = p.iter().map(|x| x.place.clone()).collect();
        for want in [
            "/process/args",
            "/process/cwd",
            "/process/oomScoreAdj",
            "/process/user/uid",
            "/process/user/umask",
            "/process/apparmorProfile",
        ] {
            assert!(places.iter().any(|x| x == want), "{want} not in {places:?}");
        }
    }
}
