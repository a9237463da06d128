//! A file tree as text, one line a path, for comparing what two tools made of the same layers.
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

use conformance::kernel;

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

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What stands at a path.
    pub fn line(&self, path: &str) -> Option<&str> {
        self.0.get(&OsString::from(path)).map(String::as_str)
    }

    /// How this tree differs from another one; None when it does not.
    pub fn differences(&self, other: &Tree, name: &str) -> Option<String> {
        const SHOWN: usize = 12;
        let mut lines = Vec::new();
        for (path, mine) in &self.0 {
            match other.0.get(path) {
                Some(theirs) if theirs == mine => {}
                Some(theirs) => lines.push(format!("{path:?}\n  here: {mine}\n  {name}: {theirs}")),
                None => lines.push(format!("{path:?}\n  here: {mine}\n  {name}: nothing")),
            }
        }
        for (path, theirs) in other.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            lines.push(format!("{path:?}\n  here: nothing\n  {name}: {theirs}"));
        }
        let count = lines.len();
        lines.truncate(SHOWN);
        (count > 0).then(|| {
            format!(
                "{count} of {} paths differ from {name}:\n{}",
                self.len(),
                lines.join("\n")
            )
        })
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
    if !kind.is_dir() {
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
    fn sees_links_modes_and_content() {
        let dir = std::env::temp_dir().join(format!("images-tree-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        for side in [&one, &two] {
            std::fs::create_dir_all(side).unwrap();
            std::fs::write(side.join("a"), "text").unwrap();
            std::fs::hard_link(side.join("a"), side.join("b")).unwrap();
            std::fs::File::open(side.join("a"))
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH)
                .unwrap();
        }
        let same = Tree::read(&one).unwrap();
        assert_eq!(same.differences(&Tree::read(&two).unwrap(), "two"), None);
        assert!(same.line("./b").unwrap().ends_with("linked with ./a"));
        std::fs::remove_file(two.join("b")).unwrap();
        std::fs::write(two.join("b"), "text").unwrap();
        let told = same.differences(&Tree::read(&two).unwrap(), "two").unwrap();
        assert!(told.starts_with("2 of 3 paths differ"), "{told}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
