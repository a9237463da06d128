//! What is really there: a directory on a file system, as a [`Tree`].

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::model::{Node, Tree};

pub fn scan(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut inodes: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    let mut pending = vec![String::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        // Overlay lists whiteouts of a directory that only one layer has; they are names of nothing.
        if std::fs::symlink_metadata(&full).is_err() {
            continue;
        }
        let node = look(&full);
        if node.kind == 'd' {
            for child in std::fs::read_dir(&full).unwrap() {
                let name = child.unwrap().file_name().into_string().unwrap();
                pending.push(if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                });
            }
        } else if node.kind != 'w' {
            let meta = std::fs::symlink_metadata(&full).unwrap();
            inodes
                .entry((meta.dev(), meta.ino()))
                .or_default()
                .push(path.clone());
        }
        tree.insert(path, node);
    }
    for names in inodes.values() {
        for name in names {
            tree.get_mut(name).unwrap().names = names.iter().cloned().collect();
        }
    }
    tree
}

fn look(full: &Path) -> Node {
    let meta = std::fs::symlink_metadata(full).unwrap();
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR if meta.rdev() == 0 => {
            return Node {
                kind: 'w',
                ..Node::default()
            };
        }
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        _ => 'f',
    };
    let parent = std::fs::File::open(full.parent().unwrap()).unwrap();
    let name = Path::new(full.file_name().unwrap());
    let xattrs = sys::xattr::all(parent.as_fd(), name).unwrap();
    Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec() as u32),
        device: (libc::major(meta.rdev()), libc::minor(meta.rdev())),
        content: match kind {
            'f' => std::fs::read(full).unwrap(),
            'l' => std::fs::read_link(full).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        },
        xattrs: xattrs
            .into_iter()
            .map(|(n, v)| (n.into_string().unwrap(), v))
            .collect(),
        names: Default::default(),
    }
}

/// Fails with the first differences, not with two whole trees.
pub fn compare(what: &str, found: &Tree, expected: &Tree) {
    let mut wrong = Vec::new();
    for path in found
        .keys()
        .chain(expected.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (f, e) = (found.get(path), expected.get(path));
        if f != e {
            wrong.push(format!("{path:?}\n   found {}\nexpected {}", show(f), show(e)));
        }
    }
    let n = wrong.len();
    wrong.truncate(8);
    assert!(n == 0, "{what}: {n} differences\n{}", wrong.join("\n"));
}

fn show(node: Option<&Node>) -> String {
    let Some(n) = node else {
        return "nothing".to_owned();
    };
    let content = if n.kind == 'l' {
        String::from_utf8_lossy(&n.content).into_owned()
    } else {
        format!(
            "{} bytes of {}",
            n.content.len(),
            image::Digest::of(&n.content).short()
        )
    };
    format!(
        "{} {:o} {}:{} {:?} {:?} {content} {:?} {:?}",
        n.kind, n.mode, n.uid, n.gid, n.mtime, n.device, n.xattrs, n.names
    )
}
