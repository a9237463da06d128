//! System calls by name, for filters that make them fail. Loads nothing.

/// Numbers on x86-64, and in the generic table that aarch64 and riscv64 share.
const CALLS: [(&str, u32, u32); 18] = [
    ("clone3", 435, 435),
    ("openat2", 437, 437),
    ("fsopen", 430, 430),
    ("fsconfig", 431, 431),
    ("fsmount", 432, 432),
    ("open_tree", 428, 428),
    ("move_mount", 429, 429),
    ("mount_setattr", 442, 442),
    ("close_range", 436, 436),
    ("pidfd_open", 434, 434),
    ("pidfd_send_signal", 424, 424),
    ("memfd_create", 319, 279),
    ("statx", 332, 291),
    ("seccomp", 317, 277),
    ("keyctl", 250, 219),
    ("add_key", 248, 217),
    ("execveat", 322, 281),
    ("bpf", 321, 280),
];

/// The number of a system call given by name or number; None for a stranger.
#[must_use]
pub fn parse_call(name: &str) -> Option<u32> {
    if let Ok(n) = name.parse() {
        return Some(n);
    }
    let found = CALLS.iter().find(|(n, _, _)| *n == name);
    found.map(|(_, x86, generic)| {
        if cfg!(target_arch = "x86_64") {
            *x86
        } else {
            *generic
        }
    })
}

/// The kernel's audit value for this CPU; None where it is not known.
#[must_use]
pub fn audit_arch() -> Option<u32> {
    match std::env::consts::ARCH {
        "x86_64" => Some(0xc000_003e),
        "aarch64" => Some(0xc000_00b7),
        "riscv64" => Some(0xc000_00f3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_name_and_number() {
        assert_eq!(parse_call("clone3"), Some(435));
        assert_eq!(parse_call("77"), Some(77));
        assert_eq!(parse_call("fantasy"), None);
    }
}
