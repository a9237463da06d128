//! The memory of a process that runs. Starts nothing.

use std::fs;

/// What a shim with one container may have, in KiB.
pub const LIMITS: Limits = Limits {
    anonymous: 400,
    resident: 3 << 10,
};

pub struct Limits {
    pub anonymous: u64,
    pub resident: u64,
}

/// What the kernel counts, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub anonymous: u64,
    pub resident: u64,
    /// A page that several processes have counts for each of them as a part.
    pub proportional: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.anonymous += other.anonymous;
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.threads += other.threads;
        self.descriptors += other.descriptors;
    }
}

/// The figures of a process.
pub fn of(pid: u32) -> Result<Figures, String> {
    let rollup = read(pid, "smaps_rollup")?;
    let status = read(pid, "status")?;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|e| format!("the files of {pid}: {e}"))?;
    Ok(Figures {
        anonymous: number(&rollup, "Anonymous:")?,
        resident: number(&rollup, "Rss:")?,
        proportional: number(&rollup, "Pss:")?,
        threads: number(&status, "Threads:")?,
        descriptors: open.count() as u64,
    })
}

/// The name of a process's program.
pub fn name(pid: u32) -> String {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name().unwrap_or_default().display().to_string()
}

fn read(pid: u32, file: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
}

fn number(text: &str, key: &str) -> Result<u64, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .ok_or(format!("the kernel does not say {key}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_a_number_by_its_whole_name() {
        let text = "00400000-7ffd rw-p [rollup]\nRss:   1796 kB\nPss:   1610 kB\nPss_Anon:   88 kB\nAnonymous:   88 kB\n";
        assert_eq!(number(text, "Pss:"), Ok(1610));
        assert_eq!(number(text, "Anonymous:"), Ok(88));
        assert!(number(text, "Swap:").is_err());
    }

    #[test]
    fn every_process_has_figures() {
        let own = of(std::process::id()).unwrap();
        assert!(own.resident >= own.anonymous && own.threads > 0 && own.descriptors > 2);
    }
}
