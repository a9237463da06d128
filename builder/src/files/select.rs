//! Which files the sources of a COPY or ADD mean.
//!
//! | source | means |
//! |---|---|
//! | a name | that; links on the way and at its end are followed inside of the tree |
//! | wildcards of Go's `filepath.Match` | everything that they match; nothing is nothing, and no error |
//! | with `--parents` | what the pattern behind `/./` matches (ignore-file wildcards, so `**` too), with the directories above it |
//! | a directory | what is in it |
//!
//! May not: open a file. What is found is a list of names with what stat(2) says of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use build::ignore::glob::{Glob, has_wildcards};
use build::ignore::{Above, Matcher};
use build::scope::File;
use build::source::quoted;
use engine::tree::{as_path, walk::is_kernels_own};
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use sys::fs::{self, Dated};

use super::descent::{Held, Opener};
use super::paths::{self, Components};

/// More than this is a mistake, or meant to fill the memory.
const MOST_NODES: usize = 50_000_000;

/// What an instruction asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'s> {
    pub sources: &'s [String],
    /// `--exclude`.
    pub exclude: &'s [String],
    pub parents: bool,
}

/// Files that were found.
#[derive(Debug, Default)]
pub struct Selected {
    pub(super) tops: Vec<Top>,
    has_changed: AtomicBool,
}

/// What one source, or one match of its wildcards, has come to.
#[derive(Debug)]
pub(super) enum Top {
    Inline {
        name: String,
        text: String,
    },
    Found {
        /// What it is called in a directory that it is put into.
        name: Vec<u8>,
        /// Where it is in the tree.
        path: Components,
        /// It and everything in it, parents first, by name in each directory. Never empty.
        nodes: Vec<Node>,
        is_foreign: bool,
    },
}

/// A file of whatever kind.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Empty in the first one.
    pub name: Box<[u8]>,
    pub parent: u32,
    /// Where the nodes are that are in it.
    pub first: u32,
    pub count: u32,
    pub found: Dated,
    /// Some directories are there only until it is clear that nothing in them is meant.
    pub is_meant: bool,
}

impl Node {
    fn of(name: Vec<u8>, parent: u32, found: Dated, is_meant: bool) -> Node {
        Node {
            name: name.into_boxed_slice(),
            parent,
            first: 0,
            count: 0,
            found,
            is_meant,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.found.stat.is_dir()
    }

    pub fn children(&self) -> std::ops::Range<usize> {
        let first = self.first as usize;
        first..first + self.count as usize
    }
}

/// The path of a node from its top.
pub(super) fn path_of(nodes: &[Node], mut at: usize) -> Components {
    let mut path = Components::new();
    while at != 0 {
        let Some(node) = nodes.get(at) else { break };
        path.push(node.name.to_vec());
        at = node.parent as usize;
    }
    path.reverse();
    path
}

impl Selected {
    pub(super) fn inline(files: &[File]) -> Selected {
        let top = |file: &File| Top::Inline {
            name: file.name.clone(),
            text: file.text.clone(),
        };
        Selected {
            tops: files.iter().map(top).collect(),
            has_changed: AtomicBool::new(false),
        }
    }

    /// Whether a file was found to be another one when it was copied than when it was selected: what was put is not what the digest
    /// says then.
    pub fn has_changed(&self) -> bool {
        self.has_changed.load(Ordering::Relaxed)
    }

    pub(super) fn change(&self) {
        self.has_changed.store(true, Ordering::Relaxed);
    }

    /// How many sources it comes to; wildcards may match nothing.
    pub fn is_empty(&self) -> bool {
        self.tops.is_empty()
    }
}

/// Looks for files in a tree.
pub(super) struct Finder<'f> {
    pub root: BorrowedFd<'f>,
    pub ignore: Option<&'f Matcher>,
    pub is_foreign: bool,
    pub cancel: &'f Cancel,
}

impl Finder<'_> {
    pub fn select(&self, selection: &Selection<'_>) -> Result<Selected> {
        let exclude = matcher(selection.exclude)?;
        let mut selected = Selected::default();
        for source in selection.sources {
            let (base, include) = match selection.parents {
                true => split_pivot(source),
                false => (source.as_str(), None),
            };
            let is_needed = !has_wildcards(base) && !include.as_deref().is_some_and(has_wildcards);
            let before = selected.tops.len();
            for (name, path) in self.bases(base)? {
                // The patterns are for what is in a directory; a file that a wildcard has found is measured by its name.
                let is_found = has_wildcards(base);
                let wanted = Wanted {
                    include: include.as_ref().map(|i| matcher(&[i])).transpose()?.flatten(),
                    exclude: exclude.as_ref(),
                };
                let top = self.top(name, path, &wanted, is_found)?;
                selected.tops.extend(top);
            }
            let is_there = selected.tops.iter().skip(before).any(|top| match top {
                Top::Found { nodes, .. } => include.is_none() || nodes.len() > 1,
                Top::Inline { .. } => true,
            });
            if is_needed && !is_there {
                let path = match &include {
                    Some(include) => format!("{base}/{include}"),
                    None => base.to_owned(),
                };
                let path = paths::shown(&paths::components(path.as_bytes()));
                return Err(Error::not_found(format!("{}: not found", quoted(&path))));
            }
        }
        Ok(selected)
    }

    /// The names that a source stands for, and where they lead.
    fn bases(&self, source: &str) -> Result<Vec<(Vec<u8>, Components)>> {
        let written = paths::components(source.as_bytes());
        let wild = written.iter().position(|part| is_wild(part));
        let Some(wild) = wild else {
            let name = written.last().cloned().unwrap_or_default();
            let path = self.resolve(&written)?;
            return Ok(vec![(name, path)]);
        };
        let (above, pattern) = written.split_at(wild);
        let depth = pattern.len();
        let text = String::from_utf8_lossy(&pattern.join(&b'/')).into_owned();
        let glob =
            Glob::of_path(&text).ok_or_else(|| Error::invalid(format!("syntax error in pattern: {text}")))?;
        let mut found = Vec::new();
        let base = self.resolve(above)?;
        let start = (base, Vec::new());
        self.matches(start, &glob, depth, &mut found)?;
        found.into_iter().map(|path| self.found(path)).collect()
    }

    /// A match, with the link followed that it may be.
    fn found(&self, path: Components) -> Result<(Vec<u8>, Components)> {
        let name = path.last().cloned().unwrap_or_default();
        Ok((name, self.resolve(&path)?))
    }

    /// Everything below a directory that a pattern of so many components matches. What matches is not looked into.
    fn matches(
        &self,
        start: (Components, Components),
        glob: &Glob,
        depth: usize,
        found: &mut Vec<Components>,
    ) -> Result<()> {
        let mut pending = vec![start];
        while let Some((base, below)) = pending.pop() {
            self.cancel.check()?;
            let here = [base.as_slice(), &below].concat();
            let directory = match paths::open_directory(self.root, &here) {
                Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) || e.is(libc::ELOOP) => continue,
                other => other?,
            };
            let mut deeper = Vec::new();
            for name in sorted(directory.as_fd())? {
                let mut rest = below.clone();
                rest.push(name.clone());
                let mut path = base.clone();
                path.extend(rest.iter().cloned());
                let Ok(stat) = fs::fstatat(directory.as_fd(), as_path(&name), libc::AT_SYMLINK_NOFOLLOW)
                else {
                    continue;
                };
                if !self.is_visible(&path, stat.is_dir()) {
                    continue;
                }
                let text = String::from_utf8_lossy(&rest.join(&b'/')).into_owned();
                if glob.matches(&text, false) {
                    found.push(path);
                } else if stat.is_dir() && rest.len() < depth {
                    deeper.push((base.clone(), rest));
                }
            }
            pending.extend(deeper.into_iter().rev());
        }
        found.sort();
        Ok(())
    }

    fn resolve(&self, path: &[Vec<u8>]) -> Result<Components> {
        let seen = |path: &[u8]| match self.ignore {
            Some(ignore) => !ignore.ignores(&String::from_utf8_lossy(path)),
            None => true,
        };
        paths::resolve(self.root, &path.join(&b'/'), &seen)
    }

    /// Whether a file is in the tree as those see it who build. A directory that is left out may have something in it that is not.
    fn is_visible(&self, path: &[Vec<u8>], is_dir: bool) -> bool {
        let Some(ignore) = self.ignore else { return true };
        let text = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        path.is_empty() || !ignore.ignores(&text) || (is_dir && ignore.may_take_back_below(&text))
    }

    /// A file and everything in it; `None` if it is not there.
    fn top(
        &self,
        name: Vec<u8>,
        path: Components,
        wanted: &Wanted<'_>,
        is_found: bool,
    ) -> Result<Option<Top>> {
        let above = paths::open_directory(self.root, path.split_last().map_or(&[], |(_, above)| above));
        let last = path.last().map_or(b".".as_slice(), Vec::as_slice);
        let found =
            above.and_then(|above| fs::dated(above.as_fd(), as_path(last), libc::AT_SYMLINK_NOFOLLOW));
        let found = match found {
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) || e.is(libc::ENAMETOOLONG) => {
                return Ok(None);
            }
            other => other?,
        };
        let shown = String::from_utf8_lossy(&name).into_owned();
        let is_excluded = is_found && wanted.exclude.is_some_and(|e| e.ignores(&shown));
        let is_dir = found.stat.is_dir();
        if !self.is_visible(&path, is_dir) || (is_excluded && !is_dir) {
            return Ok(None);
        }
        let mut nodes = vec![Node::of(Vec::new(), 0, found, true)];
        if is_dir {
            let text = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
            let is_ignored = self.ignore.is_some_and(|i| !text.is_empty() && i.ignores(&text));
            self.walk(&path, wanted, &mut nodes)
                .context(format!("failed to read {}", paths::shown(&path)))?;
            // Only what is taken back makes it be there.
            if is_ignored && nodes.len() == 1 {
                return Ok(None);
            }
        }
        Ok(Some(Top::Found {
            name,
            path,
            nodes,
            is_foreign: self.is_foreign,
        }))
    }

    /// Everything below the first of `nodes`.
    fn walk(&self, path: &[Vec<u8>], wanted: &Wanted<'_>, nodes: &mut Vec<Node>) -> Result<()> {
        let opener = Opener::new(paths::open_directory(self.root, path)?);
        let mut pending = vec![Pending {
            node: 0,
            parent: None,
            above: self.above(path, wanted),
        }];
        while let Some(next) = pending.pop() {
            self.cancel.check()?;
            self.directory(&opener, next, wanted, nodes, &mut pending)?;
        }
        prune(nodes);
        Ok(())
    }

    /// What the patterns say of a top, for what is in it.
    fn above(&self, path: &[Vec<u8>], wanted: &Wanted<'_>) -> Patterns {
        let text = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        Patterns {
            ignore: self
                .ignore
                .filter(|_| !text.is_empty())
                .map(|ignore| ignore.enter(None, &text).1),
            tree: text,
            top: String::new(),
            ..Patterns::default()
        }
        .without(wanted)
    }

    fn directory(
        &self,
        opener: &Opener,
        next: Pending,
        wanted: &Wanted<'_>,
        nodes: &mut Vec<Node>,
        pending: &mut Vec<Pending>,
    ) -> Result<()> {
        let opened = match next.node {
            0 => opener.top(),
            node => opener.child(next.parent.as_ref(), nodes, node),
        };
        let directory = match opened {
            // It was removed meanwhile, or is something else now.
            Err(e) if next.node != 0 && (e.is(libc::ENOENT) || e.is(libc::ENOTDIR)) => return Ok(()),
            other => other?,
        };
        let dev = nodes[next.node].found.stat.dev;
        let parent = nodes[next.node].parent as usize;
        if nodes[parent].found.stat.dev != dev && is_kernels_own(directory.fd())? {
            return Ok(());
        }
        let first = nodes.len();
        let mut deeper = Vec::new();
        for name in sorted(directory.fd())? {
            let found = match fs::dated(directory.fd(), as_path(&name), libc::AT_SYMLINK_NOFOLLOW) {
                Err(e) if e.is(libc::ENOENT) => continue,
                other => other?,
            };
            let (verdict, above) = self.judge(&next.above, &name, found.stat.is_dir(), wanted);
            if verdict == Verdict::No {
                continue;
            }
            if found.stat.is_dir() {
                deeper.push((nodes.len(), above));
            }
            let parent = u32::try_from(next.node).unwrap_or(u32::MAX);
            nodes.push(Node::of(name, parent, found, verdict == Verdict::Yes));
            if nodes.len() > MOST_NODES {
                return Err(Error::invalid(format!("there are more than {MOST_NODES} files")));
            }
        }
        let count = nodes.len() - first;
        let node = &mut nodes[next.node];
        (node.first, node.count) = (narrow(first), narrow(count));
        let held = opener.hold(directory, !deeper.is_empty());
        pending.extend(deeper.into_iter().rev().map(|(node, above)| Pending {
            node,
            parent: held.clone(),
            above,
        }));
        Ok(())
    }

    /// Whether a name is meant, and what the patterns say of it for what is below.
    fn judge(&self, above: &Patterns, name: &[u8], is_dir: bool, wanted: &Wanted<'_>) -> (Verdict, Patterns) {
        if self.ignore.is_none() && wanted.include.is_none() && wanted.exclude.is_none() {
            return (Verdict::Yes, Patterns::default());
        }
        let name = String::from_utf8_lossy(name);
        let tree = joined(&above.tree, &name);
        let top = joined(&above.top, &name);
        let ask = |matcher: Option<&Matcher>, above: &Option<Above>, path: &str| match matcher {
            Some(matcher) => {
                let (says, here) = matcher.enter(above.as_ref(), path);
                (says, Some(here))
            }
            None => (false, None),
        };
        let (is_ignored, ignore) = ask(self.ignore, &above.ignore, &tree);
        let (is_excluded, exclude) = ask(wanted.exclude, &above.exclude, &top);
        let (is_included, include) = ask(wanted.include.as_ref(), &above.include, &top);
        let is_included = is_included || wanted.include.is_none();
        let back =
            |matcher: Option<&Matcher>, path: &str| matcher.is_some_and(|m| m.may_take_back_below(path));
        let below = |matcher: Option<&Matcher>| matcher.is_some_and(|m| m.may_match_below(&top));
        let verdict = match () {
            () if !is_ignored && !is_excluded && is_included => Verdict::Yes,
            () if !is_dir => Verdict::No,
            () if is_ignored && !back(self.ignore, &tree) => Verdict::No,
            () if is_excluded && !back(wanted.exclude, &top) => Verdict::No,
            () if !is_included && !below(wanted.include.as_ref()) => Verdict::No,
            () => Verdict::Perhaps,
        };
        let here = Patterns {
            tree,
            top,
            ignore,
            exclude,
            include,
        };
        (verdict, here)
    }
}

/// Patterns of an instruction.
struct Wanted<'w> {
    include: Option<Matcher>,
    exclude: Option<&'w Matcher>,
}

/// A directory that has not been read.
struct Pending {
    node: usize,
    parent: Option<Arc<Held>>,
    above: Patterns,
}

/// What the patterns have said of a directory, and its paths as they see them.
#[derive(Default)]
struct Patterns {
    /// From the root of the tree.
    tree: String,
    /// From the source.
    top: String,
    ignore: Option<Above>,
    exclude: Option<Above>,
    include: Option<Above>,
}

impl Patterns {
    /// Nothing was asked: no path is needed.
    fn without(self, wanted: &Wanted<'_>) -> Patterns {
        match self.tree.is_empty() && wanted.include.is_none() && wanted.exclude.is_none() {
            true => Patterns::default(),
            false => self,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Yes,
    /// A directory in which there may be something.
    Perhaps,
    No,
}

/// Directories in which nothing was meant go, those with something are meant too. Parents stand before what is in them.
fn prune(nodes: &mut Vec<Node>) {
    if nodes.iter().all(|node| node.is_meant) {
        return;
    }
    for at in (1..nodes.len()).rev() {
        if nodes[at].is_meant {
            let parent = nodes[at].parent as usize;
            nodes[parent].is_meant = true;
        }
    }
    let mut places = vec![0u32; nodes.len()];
    let mut kept: Vec<Node> = Vec::new();
    for (at, node) in nodes.drain(..).enumerate() {
        places[at] = narrow(kept.len());
        if node.is_meant {
            kept.push(node);
        }
    }
    for node in &mut kept {
        node.parent = places[node.parent as usize];
        (node.first, node.count) = (0, 0);
    }
    for at in 1..kept.len() {
        let parent = kept[at].parent as usize;
        if kept[parent].count == 0 {
            kept[parent].first = narrow(at);
        }
        kept[parent].count += 1;
    }
    *nodes = kept;
}

/// `/a/./b` is `b` as seen from `/a`; without a pivot everything is seen from the root.
fn split_pivot(source: &str) -> (&str, Option<String>) {
    let (base, pattern) = source.split_once("/./").unwrap_or(("/", source));
    let parts = paths::components(pattern.as_bytes());
    let pattern = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
    // All of it.
    (base, Some(pattern).filter(|p| !p.is_empty()))
}

fn matcher<S: AsRef<str>>(patterns: &[S]) -> Result<Option<Matcher>> {
    match patterns {
        [] => Ok(None),
        patterns => Matcher::of(patterns)
            .map(Some)
            .map_err(|e| Error::of(Kind::Invalid, e)),
    }
}

fn is_wild(part: &[u8]) -> bool {
    has_wildcards(&String::from_utf8_lossy(part))
}

fn joined(above: &str, name: &str) -> String {
    match above.is_empty() {
        true => name.to_owned(),
        false => format!("{above}/{name}"),
    }
}

/// There are fewer than [`MOST_NODES`].
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn sorted(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let names = fs::entries(directory)?;
    let mut names: Vec<Vec<u8>> = names.into_iter().map(OsStringExt::into_vec).collect();
    names.sort_unstable();
    Ok(names)
}
