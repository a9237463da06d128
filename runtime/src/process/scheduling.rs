//! Scheduler, I/O priority, CPU affinity, memory policy and personality by their names.
//!
//! Pure; what a value does to the kernel is applied by the step of the same name.

use crate::config;
use crate::problems::Problems;
use serde::Serialize;

/// sched_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// SCHED_*
    pub policy: u32,
    /// OTHER and BATCH
    pub nice: i32,
    /// FIFO and RR
    pub priority: u32,
    /// SCHED_FLAG_*
    pub flags: u64,
    /// DEADLINE, ns
    pub runtime: u64,
    /// DEADLINE, ns
    pub deadline: u64,
    /// DEADLINE, ns
    pub period: u64,
}

/// ioprio_set(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IoPriority {
    /// 1 RT, 2 BE, 3 IDLE
    pub class: u32,
    /// 0 (highest) to 7
    pub level: u32,
}

/// CPUs before and after joining the cgroup; bit n of word n/64 is CPU n. Any number of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Affinity {
    /// Before.
    pub initial: Option<Vec<u64>>,
    /// After.
    pub last: Option<Vec<u64>>,
}

/// set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// MPOL_* with MPOL_F_*
    pub mode: i32,
    /// Nodes as a bit mask.
    pub nodes: Vec<u64>,
}

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const SCHED_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(w, _)| *w == word).map(|(_, v)| *v)
}

/// Reads `process.scheduler`.
pub fn plan_scheduler(
    s: Option<&config::Scheduler>,
    place: &str,
    problems: &mut Problems,
) -> Option<Scheduler> {
    let s = s?;
    let here = format!("{place}/scheduler");
    if s.policy.is_empty() {
        problems.add(format!("{here}/policy"), "scheduler policy is required");
        return None;
    }
    let Some(policy) = find(&POLICIES, &s.policy) else {
        problems.add(
            format!("{here}/policy"),
            format!("invalid scheduler policy: {}", s.policy),
        );
        return None;
    };
    let (realtime, deadline) = (matches!(policy, 1 | 2), policy == 6);
    let nice = s.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        problems.add(
            format!("{here}/nice"),
            format!(
                "invalid scheduler.nice: {nice} when scheduler.policy is {}",
                s.policy
            ),
        );
    }
    let priority = s.priority.unwrap_or(0);
    if priority != 0 && !realtime {
        problems.add(
            format!("{here}/priority"),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        );
    } else if !(0..=99).contains(&priority) {
        problems.add(
            format!("{here}/priority"),
            format!("invalid scheduler.priority: {priority}"),
        );
    }
    if !deadline && (s.runtime.unwrap_or(0) | s.deadline.unwrap_or(0) | s.period.unwrap_or(0)) != 0 {
        problems.add(
            here.clone(),
            "scheduler runtime/deadline/period can only be specified for SCHED_DEADLINE policy",
        );
    }
    let mut flags = 0;
    for (n, word) in s.flags.iter().enumerate() {
        match find(&SCHED_FLAGS, word) {
            Some(bit) => flags |= bit,
            None => problems.add(
                format!("{here}/flags/{n}"),
                format!("invalid scheduler flag: {word}"),
            ),
        }
    }
    Some(Scheduler {
        policy,
        nice,
        priority: priority.max(0) as u32,
        flags,
        runtime: s.runtime.unwrap_or(0),
        deadline: s.deadline.unwrap_or(0),
        period: s.period.unwrap_or(0),
    })
}

/// Reads `process.ioPriority`.
pub fn plan_io_priority(
    p: Option<&config::IoPriority>,
    place: &str,
    problems: &mut Problems,
) -> Option<IoPriority> {
    let p = p?;
    let classes = [
        ("IOPRIO_CLASS_RT", 1),
        ("IOPRIO_CLASS_BE", 2),
        ("IOPRIO_CLASS_IDLE", 3),
    ];
    let Some(class) = find(&classes, &p.class) else {
        problems.add(
            format!("{place}/ioPriority/class"),
            format!("invalid ioPriority.Class: {:?}", p.class),
        );
        return None;
    };
    if !(0..=7).contains(&p.priority) {
        problems.add(
            format!("{place}/ioPriority/priority"),
            format!("invalid ioPriority.Priority: {}", p.priority),
        );
    }
    Some(IoPriority {
        class,
        level: p.priority.clamp(0, 7) as u32,
    })
}

/// Reads `process.execCPUAffinity`.
pub fn plan_affinity(a: Option<&config::ExecCpuAffinity>, place: &str, problems: &mut Problems) -> Affinity {
    let Some(a) = a else { return Affinity::default() };
    let mut read = |field: &str, name: &str, text: &str| {
        if text.is_empty() {
            return None;
        }
        let mask = parse_list(text).map_err(|e| format!("bad CPUAffinity.{name}: {e}"));
        problems.keep(&format!("{place}/execCPUAffinity/{field}"), mask)
    };
    Affinity {
        initial: read("initial", "Initial", &a.initial),
        last: read("final", "Final", &a.last),
    }
}

/// The largest CPU or node number that a list may name; keeps a mask within 8 KiB.
const MAX_NUMBER: usize = 65535;

/// Parses `0-3,7` (cpuset(7) list format) into a bit mask.
pub fn parse_list(text: &str) -> Result<Vec<u64>, String> {
    let bad = || format!("invalid list {text:?}");
    let number = |s: &str| {
        s.trim()
            .parse::<usize>()
            .ok()
            .filter(|n| *n <= MAX_NUMBER)
            .ok_or_else(bad)
    };
    let mut mask = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (from, to) = match part.split_once('-') {
            Some((a, b)) => (number(a)?, number(b)?),
            None => (number(part)?, number(part)?),
        };
        if from > to {
            return Err(bad());
        }
        for n in from..=to {
            if mask.len() <= n / 64 {
                mask.resize(n / 64 + 1, 0u64);
            }
            mask[n / 64] |= 1 << (n % 64);
        }
    }
    if mask.is_empty() { Err(bad()) } else { Ok(mask) }
}

/// A mask as one hexadecimal number, as debug messages show it.
pub fn mask_text(mask: &[u64]) -> String {
    let mut words = mask.iter().rev().skip_while(|word| **word == 0);
    let first = words.next().copied().unwrap_or(0);
    let rest: String = words.map(|word| format!("{word:016x}")).collect();
    format!("{first:#x}{rest}")
}

/// Reads `linux.memoryPolicy`. The words "invalid memory policy" are matched by callers.
pub fn plan_memory_policy(p: Option<&config::MemoryPolicy>, problems: &mut Problems) -> Option<MemoryPolicy> {
    let p = p?;
    let place = "/linux/memoryPolicy";
    let modes = [
        ("MPOL_DEFAULT", 0),
        ("MPOL_PREFERRED", 1),
        ("MPOL_BIND", 2),
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_LOCAL", 4),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    let Some(mode) = find(&modes, &p.mode) else {
        problems.add(
            format!("{place}/mode"),
            format!("invalid memory policy mode {:?}", p.mode),
        );
        return None;
    };
    let mut bits = mode;
    let flags = [
        ("MPOL_F_STATIC_NODES", 1 << 15),
        ("MPOL_F_RELATIVE_NODES", 1 << 14),
        ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ];
    for (n, word) in p.flags.iter().enumerate() {
        match find(&flags, word) {
            Some(f) => bits |= f,
            None => problems.add(
                format!("{place}/flags/{n}"),
                format!("invalid memory policy flag {word:?}"),
            ),
        }
    }
    let nodes = match p.nodes.as_str() {
        "" => Vec::new(),
        text => match parse_list(text) {
            Ok(mask) => mask,
            Err(e) => {
                problems.add(
                    format!("{place}/nodes"),
                    format!("invalid memory policy node: {e}"),
                );
                return None;
            }
        },
    };
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    if matches!(mode, 0 | 4) && !nodes.is_empty() {
        problems.add(
            format!("{place}/nodes"),
            format!("invalid memory policy: mode requires 0 nodes but got {count}"),
        );
    } else if matches!(mode, 2 | 3 | 5 | 6) && nodes.is_empty() {
        problems.add(
            format!("{place}/nodes"),
            "invalid memory policy: mode requires at least one node but got 0",
        );
    }
    Some(MemoryPolicy { mode: bits, nodes })
}

/// Reads `linux.personality`. Flags are reserved by the spec and ignored.
pub fn plan_personality(p: Option<&config::Personality>, problems: &mut Problems) -> Option<u64> {
    match p?.domain.as_str() {
        "LINUX" => Some(0),
        "LINUX32" => Some(8),
        other => {
            problems.add(
                "/linux/personality/domain",
                format!("invalid personality domain {other}"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-1,65").unwrap(), [3, 2]);
        for bad in ["", "a", "3-1", "-1", "99999999", "1-"] {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn masks_as_text() {
        for (list, text) in [("1", "0x2"), ("0-1", "0x3"), ("65", "0x20000000000000000")] {
            assert_eq!(mask_text(&parse_list(list).unwrap()), text);
        }
    }

    #[test]
    fn scheduler_rules() {
        let mut p = Problems::default();
        let s = config::Scheduler {
            policy: "SCHED_FIFO".into(),
            priority: Some(5),
            ..Default::default()
        };
        assert_eq!(plan_scheduler(Some(&s), "/process", &mut p).unwrap().priority, 5);
        assert!(p.is_empty());
        let s = config::Scheduler {
            policy: "SCHED_OTHER".into(),
            priority: Some(5),
            nice: Some(40),
            ..Default::default()
        };
        plan_scheduler(Some(&s), "/process", &mut p);
        assert_eq!(p.iter().count(), 2);
    }

    #[test]
    fn memory_policy_rules() {
        let policy = |mode: &str, nodes: &str| config::MemoryPolicy {
            mode: mode.into(),
            nodes: nodes.into(),
            flags: vec![],
        };
        let mut p = Problems::default();
        assert_eq!(
            plan_memory_policy(Some(&policy("MPOL_BIND", "0")), &mut p)
                .unwrap()
                .nodes,
            [1]
        );
        assert!(p.is_empty());
        plan_memory_policy(Some(&policy("MPOL_BIND", "")), &mut p);
        plan_memory_policy(Some(&policy("MPOL_LOCAL", "0")), &mut p);
        plan_memory_policy(Some(&policy("MPOL_X", "0")), &mut p);
        assert_eq!(p.iter().count(), 3);
        assert!(p.iter().all(|x| x.text.starts_with("invalid memory policy")));
    }
}
