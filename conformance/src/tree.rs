//! A file tree as text, one line a path, for comparing what two tools made of the same layers, or of the same Dockerfile.
//!
//! May not: follow a link, or look at times of directories: a tool may make one that an archive implies, and its time is
//! then that of the work.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::hash::Hasher;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::kernel;

/// What stands at each path, as a line.
pub struct Tree(BTreeMap<OsString, String>);

impl Tree {
    /// Reads a whole tree.
    ///
    /// # Errors
    /// A part of it cannot be read.
    pub fn read(root: &Path) -> Result<Tree, String> {
        Tree::read_with_times(root, i64::MAX)
    }

    /// The same; what was changed at that time or later has none, for it got it from the clock of the work.
    ///
    /// # Errors
    /// A part of it cannot be read.
    pub fn read_with_times(root: &Path, before: i64) -> Result<Tree, String> {
        let mut reader = Reader {
            before,
            found: BTreeMap::new(),
        };
        reader.visit(root, Path::new("."))?;
        let firsts = reader.first_names();
        let lines = reader.found.into_iter().map(|(path, mut node)| {
            if let Some(first) = node.identity.and_then(|id| firsts.get(&id)) {
                node.line += &format!(" linked with {}", Path::new(first).display());
            }
            (path, node.line)
        });
        Ok(Tree(lines.collect()))
    }

    /// How many paths it has.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// What stands at a path.
    pub fn line(&self, path: &str) -> Option<&str> {
        self.0.get(&OsString::from(path)).map(String::as_str)
    }

    /// How this tree differs from another one, a line for each path.
    pub fn differences(&self, other: &Tree) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, mine) in &self.0 {
            match other.0.get(path) {
                Some(theirs) if theirs == mine => {}
                Some(theirs) => lines.push(format!("{}: {mine}, there {theirs}", path.display())),
                None => lines.push(format!("{}: {mine}, there nothing", path.display())),
            }
        }
        for (path, theirs) in other.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            lines.push(format!("{}: nothing, there {theirs}", path.display()));
        }
        lines
    }

    /// The same in a few lines, with the name of the other one; None when it does not differ.
    pub fn difference(&self, other: &Tree, name: &str) -> Option<String> {
        const SHOWN: usize = 12;
        let lines = self.differences(other);
        let shown: Vec<&str> = lines.iter().take(SHOWN).map(String::as_str).collect();
        (!lines.is_empty()).then(|| {
            format!(
                "{} of {} paths differ from {name}:\n{}",
                lines.len(),
                self.0.len(),
                shown.join("\n")
            )
        })
    }
}

struct Node {
    line: String,
    /// Device and inode of what has more than one name.
    identity: Option<(u64, u64)>,
}

struct Reader {
    /// Later times are left out: seconds since 1970.
    before: i64,
    found: BTreeMap<OsString, Node>,
}

impl Reader {
    fn visit(&mut self, root: &Path, path: &Path) -> Result<(), String> {
        let full = root.join(path);
        let text = |e: std::io::Error| format!("{}: {e}", full.display());
        let metadata = std::fs::symlink_metadata(&full).map_err(text)?;
        let kind = metadata.file_type();
        self.found.insert(
            path.as_os_str().to_owned(),
            Node {
                line: describe(&full, &metadata, self.before)?,
                identity: (!kind.is_dir() && metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())),
            },
        );
        if kind.is_dir() {
            for entry in std::fs::read_dir(&full).map_err(text)? {
                let name = entry.map_err(text)?.file_name();
                self.visit(root, &path.join(name))?;
            }
        }
        Ok(())
    }

    /// The first name of each file that has more than one here. A link from outside, a store's own say, counts for nothing.
    fn first_names(&self) -> BTreeMap<(u64, u64), OsString> {
        let mut names: BTreeMap<(u64, u64), Vec<&OsString>> = BTreeMap::new();
        for (path, node) in &self.found {
            if let Some(identity) = node.identity {
                names.entry(identity).or_default().push(path);
            }
        }
        names
            .into_iter()
            .filter(|(_, paths)| paths.len() > 1)
            .filter_map(|(identity, paths)| paths.first().map(|first| (identity, (*first).clone())))
            .collect()
    }
}

fn describe(path: &Path, metadata: &Metadata, before: i64) -> Result<String, String> {
    let text = |e: std::io::Error| format!("{}: {e}", path.display());
    let kind = metadata.file_type();
    let mut line = format!(
        "{} {:04o} {}:{}",
        name_of(kind),
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid()
    );
    if !kind.is_dir() && metadata.mtime() < before {
        line += &format!(" at {}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    }
    if kind.is_char_device() || kind.is_block_device() {
        line += &format!(" device {:x}", metadata.rdev());
    } else if kind.is_symlink() {
        line += &format!(" to {:?}", std::fs::read_link(path).map_err(text)?);
    } else if kind.is_file() {
        line += &format!(" {} bytes {:016x}", metadata.len(), content(path).map_err(text)?);
    }
    for (name, value) in kernel::attributes(path).map_err(text)? {
        // What an overlay keeps for itself, and what the machine's policy adds.
        if !name.contains(".overlay.") && name != "security.selinux" {
            line += &format!(" {name}={:?}", String::from_utf8_lossy(&value));
        }
    }
    Ok(line)
}

fn name_of(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "character",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    }
}

fn content(path: &Path) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.write(buffer.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sees_links_modes_content_and_old_times() {
        let dir = std::env::temp_dir().join(format!("tree-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        for side in [&one, &two] {
            std::fs::create_dir_all(side).unwrap();
            std::fs::write(side.join("a"), "text").unwrap();
            std::fs::hard_link(side.join("a"), side.join("b")).unwrap();
        }
        let read = |dir: &Path| Tree::read_with_times(dir, 1_767_225_600).unwrap();
        let same = read(&one);
        assert_eq!(same.differences(&read(&two)), [""; 0]);
        assert_eq!(same.difference(&read(&two), "two"), None);
        assert!(same.line("./b").unwrap().ends_with("linked with ./a"));
        std::fs::remove_file(two.join("b")).unwrap();
        std::fs::write(two.join("b"), "text").unwrap();
        assert_eq!(same.differences(&read(&two)).len(), 2);
        let told = same.difference(&read(&two), "two").unwrap();
        assert!(told.starts_with("2 of 3 paths differ from two"), "{told}");
        let old = std::fs::File::open(two.join("b")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        let told = same.differences(&read(&two));
        assert!(
            told.iter().any(|line| line.contains("at 0.000000000")),
            "{told:?}"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
