//! `linux.sysctl`: which are a container's own, and writing them.
//!
//! May not: write one that belongs to the host. Only what the kernel keeps per namespace is allowed, and only with a
//! namespace of that kind.

use crate::error::{Doing, Error, Kind, Result};
use crate::namespaces::{self, Namespaces, Ns};
use crate::problems::Problems;
use crate::procfs::Procfs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// The sysctls to write, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SysctlPlan {
    entries: Vec<Sysctl>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// With dots as separators: `net.ipv4.ip_forward`.
    pub name: String,
    /// Below /proc/sys: `net/ipv4/ip_forward`.
    pub path: String,
    /// What is written.
    pub value: String,
}

/// Kept per ipc namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Reads `linux.sysctl`.
pub fn plan_sysctl(map: &BTreeMap<String, String>, ns: &Namespaces, problems: &mut Problems) -> SysctlPlan {
    let mut entries = Vec::with_capacity(map.len());
    for (key, value) in map {
        let place = format!("/linux/sysctl/{}", key.replace('~', "~0").replace('/', "~1"));
        let name = with_dots(key);
        match judge(&name, ns) {
            Some(text) => problems.add(place, text),
            None => entries.push(Sysctl {
                path: swap(&name),
                name,
                value: value.clone(),
            }),
        }
    }
    SysctlPlan { entries }
}

/// What is wrong with this name, if anything.
fn judge(name: &str, ns: &Namespaces) -> Option<String> {
    let needs = |kind: Ns, text: &str| (!ns.owns(kind)).then(|| format!("sysctl {name:?} {text}"));
    // Below /proc/sys nothing leads upwards, and an empty component would be skipped unseen.
    if swap(name).split('/').any(|part| matches!(part, "" | "." | "..")) || name.contains('\0') {
        return Some(format!("sysctl {name:?} is not a name"));
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return needs(Ns::Ipc, "is not allowed in the hosts ipc namespace");
    }
    if name.starts_with("net.") {
        return needs(Ns::Network, "not allowed in host network namespace");
    }
    if name.starts_with("user.") {
        return needs(Ns::User, "is not allowed in the hosts user namespace");
    }
    if ns.owns(Ns::Uts) && name == "kernel.domainname" {
        return None;
    }
    if ns.owns(Ns::Uts) && name == "kernel.hostname" {
        return Some(format!(
            "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
        ));
    }
    Some(format!("sysctl {name:?} is not in a separate kernel namespace"))
}

/// sysctl.d(5): whichever separator comes first is the separator; the other one is part of a name (a network
/// interface `eth0.1` is written `net/ipv4/conf/eth0.1/forwarding` or `net.ipv4.conf.eth0/1.forwarding`).
fn with_dots(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => swap(key),
        _ => key.to_string(),
    }
}

fn swap(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

impl SysctlPlan {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Refuses `net.*` when the network namespace that is joined is the runtime's own. In the parent, before anything is
    /// created. By the descriptor that will be joined: its path may be a process's, which can change its namespace.
    pub fn check_joined_network(&self, joined: Option<BorrowedFd<'_>>) -> Result<()> {
        let Some(net) = self.entries.iter().find(|s| s.name.starts_with("net.")) else {
            return Ok(());
        };
        match joined {
            Some(fd) if namespaces::is_of_process(fd, Ns::Network, "self")? => {
                let text = format!("sysctl {:?} not allowed in host network namespace", net.name);
                Err(Error::of(Kind::Config, text))
            }
            _ => Ok(()),
        }
    }
}

/// Writes them, in the child, in its namespaces.
pub fn apply_sysctl(proc: &Procfs, plan: &SysctlPlan) -> Result<()> {
    for s in &plan.entries {
        proc.write_sysctl(&s.path, &s.value)
            .doing(|| format!("write sysctl key {}", s.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::NsSource;

    fn plan(key: &str, own: &[Ns]) -> std::result::Result<String, String> {
        let mut ns = Namespaces::default();
        for kind in own {
            ns.set(*kind, NsSource::New);
        }
        let mut problems = Problems::default();
        let plan = plan_sysctl(
            &BTreeMap::from([(key.to_string(), "1".to_string())]),
            &ns,
            &mut problems,
        );
        match problems.iter().next() {
            Some(p) => Err(p.text.clone()),
            None => Ok(plan.entries[0].path.clone()),
        }
    }

    #[test]
    fn only_what_a_namespace_owns() {
        for (key, own, ok) in [
            ("kernel.shmmax", &[Ns::Ipc][..], true),
            ("kernel.shmmax", &[], false),
            ("fs.mqueue.msg_max", &[Ns::Ipc], true),
            ("net.ipv4.ip_forward", &[Ns::Network], true),
            ("net.ipv4.ip_forward", &[Ns::Ipc], false),
            ("user.max_user_namespaces", &[Ns::User], true),
            ("user.max_user_namespaces", &[], false),
            ("kernel.domainname", &[Ns::Uts], true),
            ("kernel.domainname", &[], false),
            ("kernel.hostname", &[Ns::Uts], false),
            ("kernel.core_pattern", &Ns::ALL, false),
            ("vm.overcommit_memory", &Ns::ALL, false),
            ("net.../kernel/core_pattern", &Ns::ALL, false),
            ("net/../kernel/core_pattern", &Ns::ALL, false),
            ("net.//.kernel.core_pattern", &Ns::ALL, false),
            ("net.", &Ns::ALL, false),
            ("", &Ns::ALL, false),
        ] {
            let got = plan(key, own);
            assert_eq!(got.is_ok(), ok, "{key} {own:?}: {got:?}");
        }
    }

    #[test]
    fn either_separator() {
        for (key, path) in [
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ] {
            assert_eq!(plan(key, &[Ns::Network]).as_deref(), Ok(path), "{key}");
        }
    }

    #[test]
    fn the_words_of_runc() {
        assert_eq!(
            plan("kernel.hostname", &[Ns::Uts]).unwrap_err(),
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field"
        );
        assert_eq!(
            plan("vm.swappiness", &[]).unwrap_err(),
            "sysctl \"vm.swappiness\" is not in a separate kernel namespace"
        );
    }
}
