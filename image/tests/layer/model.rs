//! What a layer should look like, said once more in the simplest words: a map from paths to nodes. Slow, and independent of the
//! library on purpose.

use std::collections::{BTreeMap, BTreeSet};

use crate::forge::Item;

/// One file of a layer, however it was found out about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    /// As in `find -printf %y`, or `w` for a whiteout.
    pub kind: char,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    /// Contents of a file, target of a symlink.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// All names of the same file.
    pub names: BTreeSet<String>,
}

/// Paths without a slash at the beginning; the root is empty.
pub type Tree = BTreeMap<String, Node>;

#[derive(Clone)]
pub struct Model {
    pub paths: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

/// The library must fail as well.
#[derive(Debug)]
pub struct Refused;

impl Model {
    pub fn new() -> Model {
        Model {
            paths: BTreeMap::from([(String::new(), 0)]),
            nodes: vec![Node {
                kind: 'd',
                mode: 0o755,
                ..Node::default()
            }],
        }
    }

    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let is_opaque = |path: &str| {
            let key = "trusted.overlay.opaque";
            self.nodes[self.paths[path]].xattrs.contains_key(key)
        };
        for (path, id) in &self.paths {
            let mut node = self.nodes[*id].clone();
            let mut parents = path.match_indices('/').map(|(i, _)| &path[..i]);
            if node.kind == 'w' && (is_opaque("") || parents.any(is_opaque)) {
                continue;
            }
            if !matches!(node.kind, 'd' | 'w') {
                node.names = self
                    .paths
                    .iter()
                    .filter(|(_, other)| *other == id)
                    .map(|(p, _)| p.clone())
                    .collect();
            }
            tree.insert(path.clone(), node);
        }
        tree
    }

    pub fn apply(&mut self, item: &Item) -> Result<(), Refused> {
        let clean = clean(&item.path)?;
        if clean.is_empty() {
            if item.flag != b'5' {
                return Err(Refused);
            }
            self.become_directory("", item);
            return Ok(());
        }
        let (parent, base) = clean.rsplit_once('/').unwrap_or(("", &clean));
        if clean.split('/').any(|c| c.starts_with(".wh..wh.")) && base != ".wh..wh..opq" {
            return Ok(());
        }
        if parent.split('/').any(|c| c.starts_with(".wh.")) {
            return Err(Refused);
        }
        if matches!(base, ".wh." | ".wh.." | ".wh...") {
            return Err(Refused);
        }
        let parent = self.directory(parent, true)?.ok_or(Refused)?;
        if base == ".wh..wh..opq" {
            self.opaque(&parent);
            return Ok(());
        }
        if let Some(hidden) = base.strip_prefix(".wh.") {
            self.whiteout(&join(&parent, hidden));
            return Ok(());
        }
        let path = join(&parent, base);
        match item.flag {
            b'5' => {
                let old = self.paths.get(&path).map(|id| self.nodes[*id].kind);
                if old != Some('d') {
                    self.remove(&path);
                    self.insert(
                        &path,
                        Node {
                            kind: 'd',
                            ..Node::default()
                        },
                    );
                    if old.is_some() {
                        self.opaque(&path);
                    }
                }
                self.become_directory(&path, item);
            }
            b'1' => return self.hardlink(&path, item),
            b'3' if (item.major, item.minor) == (0, 0) => self.whiteout(&path),
            _ => {
                self.remove(&path);
                let node = node_of(item);
                self.insert(&path, node);
            }
        }
        Ok(())
    }

    /// All parents of a path are directories, and no links to some.
    pub fn is_plain(&self, path: &str) -> bool {
        path.match_indices('/').all(|(i, _)| {
            self.paths
                .get(&path[..i])
                .is_some_and(|id| self.nodes[*id].kind == 'd')
        })
    }

    fn hardlink(&mut self, path: &str, item: &Item) -> Result<(), Refused> {
        let link = clean(&item.link)?;
        if link.is_empty() || link.split('/').any(|c| c.starts_with(".wh.")) {
            return Err(Refused);
        }
        let (parent, base) = link.rsplit_once('/').unwrap_or(("", &link));
        let find = |model: &mut Model| -> Result<Option<String>, Refused> {
            let directory = model.directory(parent, false)?;
            Ok(directory
                .map(|d| join(&d, base))
                .filter(|p| model.paths.get(p).is_some_and(|id| model.nodes[*id].kind != 'w')))
        };
        if let Some(target) = find(self)?
            && self.paths.get(&target) == self.paths.get(path)
        {
            return Ok(());
        }
        self.remove(path);
        let target = find(self)?.ok_or(Refused)?;
        let id = self.paths[&target];
        if self.nodes[id].kind == 'd' {
            return Err(Refused);
        }
        self.paths.insert(path.to_owned(), id);
        Ok(())
    }

    /// Resolves a directory as a process with this root would, or makes it.
    fn directory(&mut self, path: &str, make: bool) -> Result<Option<String>, Refused> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at = String::new();
        let mut links = 0;
        while let Some(component) = todo.pop() {
            match component.as_str() {
                "" | "." => continue,
                ".." => {
                    at = at
                        .rsplit_once('/')
                        .map(|(up, _)| up.to_owned())
                        .unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &component);
            let kind = self.paths.get(&next).map(|id| self.nodes[*id].kind);
            match kind {
                Some('d') => at = next,
                Some('l') => {
                    links += 1;
                    if links > 40 {
                        return Err(Refused);
                    }
                    let target = String::from_utf8(self.nodes[self.paths[&next]].content.clone()).unwrap();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                None | Some('w') if !make => return Ok(None),
                None | Some('w') => {
                    if component.starts_with(".wh.") {
                        return Err(Refused);
                    }
                    self.remove(&next);
                    self.insert(
                        &next,
                        Node {
                            kind: 'd',
                            mode: 0o755,
                            ..Node::default()
                        },
                    );
                    if kind.is_some() {
                        self.opaque(&next);
                    }
                    at = next;
                }
                Some(_) => return Err(Refused),
            }
        }
        Ok(Some(at))
    }

    fn whiteout(&mut self, path: &str) {
        match self.paths.get(path).map(|id| self.nodes[*id].kind) {
            None => self.insert(
                path,
                Node {
                    kind: 'w',
                    ..Node::default()
                },
            ),
            Some('d') => self.opaque(path),
            Some(_) => {}
        }
    }

    fn opaque(&mut self, path: &str) {
        let id = self.paths[path];
        let key = "trusted.overlay.opaque".to_owned();
        self.nodes[id].xattrs.insert(key, b"y".to_vec());
    }

    fn become_directory(&mut self, path: &str, item: &Item) {
        let id = self.paths[path];
        let opaque = self.nodes[id].xattrs.remove("trusted.overlay.opaque");
        self.nodes[id] = Node {
            kind: 'd',
            ..node_of(item)
        };
        if opaque.is_some() {
            self.opaque(path);
        }
    }

    fn insert(&mut self, path: &str, node: Node) {
        self.nodes.push(node);
        self.paths.insert(path.to_owned(), self.nodes.len() - 1);
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.paths.retain(|p, _| p != path && !p.starts_with(&below));
    }
}

fn node_of(item: &Item) -> Node {
    let kind = match item.flag {
        b'5' => 'd',
        b'2' => 'l',
        b'3' => 'c',
        b'4' => 'b',
        b'6' => 'p',
        _ => 'f',
    };
    let kept = |name: &str| {
        !name.starts_with("trusted.overlay.")
            && !name.starts_with("user.overlay.")
            && (!name.starts_with("user.") || matches!(kind, 'f' | 'd'))
    };
    Node {
        kind,
        mode: if kind == 'l' { 0o777 } else { item.mode },
        uid: item.uid,
        gid: item.gid,
        mtime: item.mtime,
        device: (item.major, item.minor),
        content: match kind {
            'f' => item.content.clone(),
            'l' => item.link.clone().into_bytes(),
            _ => Vec::new(),
        },
        xattrs: item.xattrs.iter().filter(|(n, _)| kept(n)).cloned().collect(),
        names: BTreeSet::new(),
    }
}

pub fn clean(path: &str) -> Result<String, Refused> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or(Refused)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}
