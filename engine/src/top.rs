//! `top`: the host's `ps`, of which the lines about a container's processes are kept.
//!
//! May not: run anything of the container, or guess which processes are its own: its cgroup says so.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use image::{Context, Error, Result};
use shim::cgroup::{Cgroup, Mounts};

/// What `ps` says, by columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Runs `ps` with these words (`-ef`, where there are none) and keeps the lines about `pids`.
///
/// # Errors
/// `ps` is not here or does not like its words; its output has no column PID.
pub fn top(pids: &BTreeSet<i32>, words: &[String]) -> Result<Table> {
    check(words)?;
    let words: Vec<&str> = match words {
        [] => vec!["-ef"],
        words => words.iter().flat_map(|w| w.split(' ')).collect(),
    };
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let chosen = format!("-q{}", list.join(","));
    // Some words cannot be together with -q; then all processes of the host are listed.
    let output = match ps(words.iter().copied().chain([chosen.as_str()])) {
        Ok(output) => output,
        Err(_) => ps(words.iter().copied())?,
    };
    parse(&output, pids)
}

fn ps<'w>(words: impl Iterator<Item = &'w str>) -> Result<String> {
    let output = Command::new("ps").args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found("exec: \"ps\": executable file not found in $PATH"),
        _ => Error::from(e).context("failed to run ps"),
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().next().filter(|line| !line.is_empty());
        return Err(Error::new(line.map_or_else(
            || format!("ps: {}", output.status),
            |line| format!("ps: {line}"),
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Another column that is called PID (`-o user=PID`) would be taken for it.
fn check(words: &[String]) -> Result<()> {
    let text = words.join(" ");
    let mut words = text.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        let value = match value {
            "" => words.peek().copied().unwrap_or_default(),
            value => value,
        };
        if value.starts_with("PID") && key != "pid" {
            return Err(Error::invalid(format!(
                "specifying \"{key}={value}\" is not allowed"
            )));
        }
    }
    Ok(())
}

fn parse(output: &str, pids: &BTreeSet<i32>) -> Result<Table> {
    let mut lines = output.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::new("Couldn't find PID field in ps output"))?;
    let mut rows = Vec::new();
    // Threads stand below their process, with a dash for its number.
    let mut is_its_own = false;
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some(field) = fields.get(column) else {
            continue;
        };
        if *field != "-" {
            let pid: i32 = field
                .parse()
                .map_err(|e| Error::new(format!("Unexpected pid '{field}': {e}")))?;
            is_its_own = pids.contains(&pid);
        }
        if is_its_own {
            let (own, rest) = fields.split_at((titles.len() - 1).min(fields.len()));
            let mut row: Vec<String> = own.iter().map(ToString::to_string).collect();
            row.push(rest.join(" "));
            rows.push(row);
        }
    }
    Ok(Table { titles, rows })
}

/// The processes in the cgroup of this one, and below. A container that could have no cgroup of its own (an ordinary user's on version 1)
/// is in one with everything else: then they are the processes that come from its init.
///
/// # Errors
/// The cgroup cannot be found or read: the process has ended.
pub fn pids(init: i32, id: &str) -> Result<BTreeSet<i32>> {
    let failed = || format!("failed to find the processes of {init}");
    let cgroup = Cgroup::of(init, &mut Mounts::default())
        .map_err(|e| Error::new(e.to_string()))
        .context(failed())?;
    // Any controller has them; not every host has all.
    let names = ["pids", "memory", "cpu", "devices", "freezer"];
    let directory = names
        .iter()
        .find_map(|name| cgroup.dir_of(name))
        .ok_or_else(|| Error::not_found("it has no cgroup"))
        .context(failed())?;
    if !directory.to_string_lossy().contains(id) {
        return descendants(init).context(failed());
    }
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // A cgroup that goes meanwhile has no processes.
        if let Ok(text) = std::fs::read_to_string(directory.join("cgroup.procs")) {
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        directories.extend(below(&directory));
    }
    Ok(found)
}

/// The process and all whose parents lead to it. Orphans of a pid namespace are its init's, so none gets lost.
fn descendants(init: i32) -> Result<BTreeSet<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // It has ended since it was listed.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name stands in parentheses and may have any of these in it.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = BTreeSet::from([init]);
    let mut open = vec![init];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    Ok(found)
}

fn below(directory: &Path) -> Vec<std::path::PathBuf> {
    let names = sys::fs::open(directory, libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .and_then(|fd| sys::fs::entries(fd.as_fd()))
        .unwrap_or_default();
    let paths = names.into_iter().map(|name| directory.join(name));
    paths.filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_the_container_are_kept() {
        let output = "UID          PID    PPID  C CMD\nroot           1       0  0 /sbin/init splash\nwww           23       1  0 nginx: worker  process\n   -  - - - thread\nroot          24       1  0 sh\n   - - - - other\n";
        let pids = BTreeSet::from([23]);
        let table = parse(output, &pids).unwrap();
        assert_eq!(table.titles, ["UID", "PID", "PPID", "C", "CMD"]);
        assert_eq!(
            table.rows,
            [
                ["www", "23", "1", "0", "nginx: worker process"],
                ["-", "-", "-", "-", "thread"]
            ]
        );
        assert_eq!(
            parse("USER CMD\nroot x\n", &pids).unwrap_err().to_string(),
            "Couldn't find PID field in ps output"
        );
        assert_eq!(
            parse("PID CMD\nx y\n", &pids).unwrap_err().to_string(),
            "Unexpected pid 'x': invalid digit found in string"
        );
    }

    #[test]
    fn no_other_column_is_called_pid() {
        let words = |text: &str| check(&[text.to_owned()]).map_err(|e| e.to_string());
        assert!(words("-o pid,cmd=X").is_ok());
        assert!(words("-o pid=PID,cmd").is_ok());
        assert_eq!(
            words("-o user=PID,pid").unwrap_err(),
            "specifying \"user=PID,pid\" is not allowed"
        );
    }

    #[test]
    fn ps_is_asked() {
        let own = i32::try_from(std::process::id()).unwrap();
        let pids = BTreeSet::from([own]);
        let table = top(&pids, &[]).unwrap();
        assert_eq!(table.rows.len(), 1);
        // `f` cannot be together with -q.
        let table = top(&pids, &["axf".into(), "-o pid,cmd".into()]).unwrap();
        assert_eq!(table.rows[0][0], own.to_string());
        assert!(top(&pids, &["-o nonsense".into()]).is_err());
    }
}
