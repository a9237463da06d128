//! Resource limits by their names.
//!
//! Pure. The parent sets them on the child by prlimit(2), before the child gives up its rights.

use crate::config;
use crate::problems::Problems;
use serde::Serialize;

/// One limit of getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// RLIMIT_* number; the same on every CPU that we build for.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

const NAMES: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Reads `rlimits`: unknown names, duplicates and a soft limit above the hard one are problems.
pub fn plan_rlimits(list: &[config::Rlimit], place: &str, problems: &mut Problems) -> Vec<Rlimit> {
    let mut out: Vec<Rlimit> = Vec::with_capacity(list.len());
    for (n, r) in list.iter().enumerate() {
        let here = format!("{place}/rlimits/{n}");
        let Some(resource) = NAMES.iter().position(|name| *name == r.kind) else {
            problems.add(format!("{here}/type"), format!("wrong rlimit value: {}", r.kind));
            continue;
        };
        if out.iter().any(|o| o.resource == resource as u32) {
            problems.add(here, format!("rlimit {} is given twice", r.kind));
        } else if r.soft > r.hard {
            problems.add(
                here,
                format!(
                    "rlimit {}: soft limit {} is above the hard limit {}",
                    r.kind, r.soft, r.hard
                ),
            );
        } else {
            out.push(Rlimit {
                resource: resource as u32,
                soft: r.soft,
                hard: r.hard,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(NAMES[libc::RLIMIT_NOFILE as usize], "RLIMIT_NOFILE");
        assert_eq!(NAMES[libc::RLIMIT_RTTIME as usize], "RLIMIT_RTTIME");
    }

    #[test]
    fn duplicates_strangers_and_inversions_are_problems() {
        let r = |kind: &str, soft, hard| config::Rlimit {
            kind: kind.into(),
            soft,
            hard,
        };
        let mut p = Problems::default();
        let list = [
            r("RLIMIT_NOFILE", 1, 2),
            r("RLIMIT_NOFILE", 1, 2),
            r("RLIMIT_X", 1, 1),
            r("RLIMIT_CPU", 3, 2),
        ];
        assert_eq!(plan_rlimits(&list, "/process", &mut p).len(), 1);
        assert_eq!(p.iter().count(), 3);
    }
}
