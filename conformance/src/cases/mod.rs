//! The cases, one module for each area. Each case is a sentence; what it needs to say it stands in `world`.

mod caps;
mod cgroup;
mod cgroup2;
mod cli;
mod cve;
mod devices;
mod errors;
mod exec;
mod faults;
mod hooks;
mod lifecycle;
mod limits;
mod mounts;
mod namespaces;
mod notify;
mod process;
mod rootless;
mod seccomp;
mod systemd;
mod terminal;
mod update;

use crate::case::Case;

/// All cases, in the order in which they run.
#[must_use]
pub fn all() -> Vec<&'static Case> {
    let areas: [&'static [Case]; 23] = [
        process::CASES,
        caps::CASES,
        mounts::CASES,
        devices::CASES,
        namespaces::CASES,
        cgroup::CASES,
        cgroup2::CASES,
        limits::CASES,
        hooks::CASES,
        seccomp::CASES,
        exec::CASES,
        update::CASES,
        terminal::CASES,
        cli::CASES,
        notify::CASES,
        errors::CASES,
        lifecycle::CASES,
        rootless::CASES,
        faults::CASES,
        cve::CASES,
        systemd::CASES,
        limits::WITH_BFQ,
        limits::FAILED_UPDATES,
    ];
    areas.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_every_case_has_a_clause() {
        let mut seen = BTreeSet::new();
        for c in super::all() {
            assert!(seen.insert(c.id), "{} twice", c.id);
            assert!(c.id.contains('.') && !c.clause.is_empty(), "{}", c.id);
        }
    }
}
