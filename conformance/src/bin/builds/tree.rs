//! A file tree as text, one line a path, for comparing what two tools made of the same layers.
//!
//! May not: follow a link, or look at times that a build gives by its own clock: only what is older than every build has a time here.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::hash::Hasher;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use conformance::kernel;

/// What is younger than this got its time from the clock of a build.
const FIRST_BUILD: i64 = 1_767_225_600;

/// What stands at each path, as a line.
pub struct Tree(BTreeMap<OsString, String>);

impl Tree {
    /// Reads a whole tree.
    pub fn read(root: &Path) -> Result<Tree, String> {
        let mut reader = Reader::default();
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
}

struct Node {
    line: String,
    /// Device and inode of what has more than one name.
    identity: Option<(u64, u64)>,
}

#[derive(Default)]
struct Reader {
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
                line: describe(&full, &metadata)?,
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

fn describe(path: &Path, metadata: &Metadata) -> Result<String, String> {
    let text = |e: std::io::Error| format!("{}: {e}", path.display());
    let kind = metadata.file_type();
    let mut line = format!(
        "{} {:04o} {}:{}",
        name_of(kind),
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid()
    );
    if !kind.is_dir() && metadata.mtime() < FIRST_BUILD {
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
    fn sees_links_modes_and_old_times() {
        let dir = std::env::temp_dir().join(format!("builds-tree-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        for side in [&one, &two] {
            std::fs::create_dir_all(side).unwrap();
            std::fs::write(side.join("a"), "text").unwrap();
            std::fs::hard_link(side.join("a"), side.join("b")).unwrap();
        }
        let same = Tree::read(&one).unwrap();
        assert_eq!(same.differences(&Tree::read(&two).unwrap()), [""; 0]);
        std::fs::remove_file(two.join("b")).unwrap();
        std::fs::write(two.join("b"), "text").unwrap();
        assert_eq!(same.differences(&Tree::read(&two).unwrap()).len(), 2);
        let old = std::fs::File::open(two.join("b")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        let told = same.differences(&Tree::read(&two).unwrap());
        assert!(
            told.iter().any(|line| line.contains("at 0.000000000")),
            "{told:?}"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
