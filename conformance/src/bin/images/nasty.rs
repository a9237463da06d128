//! Layers that no tool would write, and every tool must read: generated, from a seed.
//!
//! May not: ask for what the tools are known to do differently. So a parent is always a directory that the layer itself has
//! (before or behind what lies in it), a link points at a file of the same layer, and nothing comes where the layer has a
//! whiteout.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Entry, Kind};
use conformance::seed::Numbers;

/// What stands where, as far as the generator has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Directory,
    File,
    Other,
}

/// Whether a layer may say twice what stands at a path. Docker refuses such layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    Allowed,
    Never,
}

struct World {
    repeats: Repeats,
    /// Below all layers so far.
    all: BTreeMap<String, Stands>,
    /// In this layer alone.
    here: BTreeMap<String, Stands>,
    /// Where this layer has whiteouts.
    closed: BTreeSet<String>,
    /// Parents that this layer names last.
    late: Vec<String>,
}

impl World {
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.all.get(path) == Some(&Stands::Directory)
    }

    fn put(&mut self, path: &str, stands: Stands) {
        if stands != Stands::Directory {
            self.forget_below(path);
        }
        self.all.insert(path.to_owned(), stands);
        self.here.insert(path.to_owned(), stands);
    }

    fn forget_below(&mut self, path: &str) {
        let below = format!("{path}/");
        self.all.retain(|other, _| !other.starts_with(&below));
        self.here.retain(|other, _| !other.starts_with(&below));
    }

    /// Something of lower layers that this one has not touched, at or below.
    fn is_untouched(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self
            .here
            .keys()
            .any(|other| other == path || other.starts_with(&below))
    }
}

/// The entries of so many layers.
pub fn layers(numbers: &mut Numbers, count: usize, repeats: Repeats) -> Vec<Vec<Entry>> {
    let mut world = World {
        repeats,
        all: BTreeMap::new(),
        here: BTreeMap::new(),
        closed: BTreeSet::new(),
        late: Vec::new(),
    };
    (0..count)
        .map(|_| {
            world.here.clear();
            world.closed.clear();
            let mut entries = Vec::new();
            for _ in 0..8 + numbers.below(24) {
                add(numbers, &mut world, &mut entries);
            }
            for path in std::mem::take(&mut world.late) {
                if world.here.get(&path) == Some(&Stands::Directory) {
                    put_directory(numbers, &mut world, &mut entries, &path);
                }
            }
            entries
        })
        .collect()
}

fn add(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>) {
    match numbers.below(12) {
        0 | 1 => whiteout(numbers, world, entries),
        2 => opaque(numbers, world, entries),
        3 | 4 => {
            let path = place(numbers, world, entries);
            put_directory(numbers, world, entries, &path);
        }
        5 => hardlink(numbers, world, entries),
        6 => {
            let path = place(numbers, world, entries);
            let target = numbers
                .pick(&["a", "../b", "/c/d", "no/where", "."])
                .copied()
                .unwrap_or("a");
            let target = if numbers.chance(10) {
                "t/".repeat(80)
            } else {
                target.to_owned()
            };
            push(
                numbers,
                world,
                entries,
                Entry::symlink(&path, &target),
                Stands::Other,
            );
        }
        7 => {
            let path = place(numbers, world, entries);
            let (major, minor) = (numbers.below(300) as u32 + 1, numbers.below(70_000) as u32);
            let kind = match numbers.below(3) {
                0 => Kind::Character(major, minor),
                1 => Kind::Block(major, minor),
                _ => Kind::Fifo,
            };
            push(numbers, world, entries, Entry::new(&path, kind), Stands::Other);
        }
        8 => {
            let path = place(numbers, world, entries);
            let start = numbers.below(5000) as u64;
            let count = numbers.below(3000);
            let piece = numbers.bytes(count);
            let end = start + piece.len() as u64 + numbers.below(100_000) as u64;
            let kind = Kind::Sparse(
                end,
                if piece.is_empty() {
                    Vec::new()
                } else {
                    vec![(start, piece)]
                },
            );
            push(numbers, world, entries, Entry::new(&path, kind), Stands::File);
        }
        _ => {
            let path = place(numbers, world, entries);
            let count = numbers
                .pick(&[0, 1, 511, 512, 513, 5000, 70_000])
                .copied()
                .unwrap_or(0);
            let content = numbers.bytes(count);
            push(
                numbers,
                world,
                entries,
                Entry::file(&path, &content),
                Stands::File,
            );
        }
    }
}

/// A path whose parents are directories of this layer.
fn place(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>) -> String {
    let mut path = String::new();
    for _ in 0..numbers.below(3) {
        path = free(numbers, world, &path, Use::Parent);
        if world.here.get(&path) == Some(&Stands::Directory) {
            continue;
        }
        if world.is_directory(&path) && numbers.chance(30) {
            world.late.push(path.clone());
            world.put(&path, Stands::Directory);
        } else {
            put_directory(numbers, world, entries, &path);
        }
    }
    free(numbers, world, &path, Use::Entry)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Parent,
    Entry,
}

/// A name in a directory where this layer may have something.
fn free(numbers: &mut Numbers, world: &World, parent: &str, wanted: Use) -> String {
    loop {
        let path = join(parent, &name(numbers));
        let may_repeat = match world.here.get(&path) {
            None => true,
            Some(Stands::Directory) if wanted == Use::Parent => true,
            Some(_) => world.repeats == Repeats::Allowed,
        };
        if may_repeat && !world.closed.contains(&path) {
            return path;
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

fn name(numbers: &mut Numbers) -> String {
    match numbers.below(40) {
        0 => "n".repeat(101 + numbers.below(150)),
        1 => "größe".to_owned(),
        2 => " ".to_owned(),
        3 => "line\nbreak".to_owned(),
        4 => "...".to_owned(),
        n => ["a", "b", "c", "d", "e"][n % 5].to_owned(),
    }
}

fn put_directory(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>, path: &str) {
    push(numbers, world, entries, Entry::directory(path), Stands::Directory);
}

/// Dresses an entry up and takes note of it.
fn push(
    numbers: &mut Numbers,
    world: &mut World,
    entries: &mut Vec<Entry>,
    mut entry: Entry,
    stands: Stands,
) {
    world.put(&entry.path.clone(), stands);
    let modes = [0o644, 0o755, 0o600, 0, 0o4755, 0o2711, 0o1777, 0o7777];
    if !matches!(entry.kind, Kind::Symlink(_) | Kind::Hardlink(_)) && numbers.chance(60) {
        entry.mode = numbers.pick(&modes).copied().unwrap_or(0o644);
    }
    let ids = [0, 1, 1000, 65534, 2_097_151, 2_097_152, 4_000_000_000];
    let id = |numbers: &mut Numbers| numbers.pick(&ids).copied().unwrap_or(0);
    entry.owner = (id(numbers), id(numbers));
    entry.mtime = (numbers.below(2_000_000_000) as u64, 0);
    // Of GNU's own sparse files neither Docker nor umoci knows.
    if numbers.chance(30) && !matches!(entry.kind, Kind::Sparse(..)) {
        entry = entry.gnu();
    } else {
        if numbers.chance(30) {
            entry.mtime.1 = numbers.below(1_000_000_000) as u32;
        }
        if numbers.chance(20) && matches!(entry.kind, Kind::File(_) | Kind::Directory | Kind::Sparse(..)) {
            let count = numbers.below(300);
            let value = numbers.bytes(count);
            entry = entry.attribute("user.generated", &value);
        }
    }
    if numbers.chance(10) {
        entry.path = format!("./{}", entry.path);
    }
    entries.push(entry);
}

/// A second name for a file of this layer.
fn hardlink(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>) {
    let files: Vec<String> = world
        .here
        .iter()
        .filter(|(_, stands)| **stands == Stands::File)
        .map(|(path, _)| path.clone())
        .collect();
    let Some(target) = numbers.pick(&files).cloned() else {
        return;
    };
    let path = place(numbers, world, entries);
    // Making room for it may have taken the target away.
    if path == target
        || target.starts_with(&format!("{path}/"))
        || world.here.get(&target) != Some(&Stands::File)
    {
        return;
    }
    world.put(&path, Stands::File);
    // A link says again what the file is: with other words the tools differ on whose count.
    let of_target = entries
        .iter()
        .rev()
        .find(|entry| entry.path.trim_start_matches("./") == target)
        .cloned();
    if let Some(of_target) = of_target {
        let mut link = of_target.clone();
        link.path = path;
        link.kind = Kind::Hardlink(target);
        entries.push(link);
    }
}

fn whiteout(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>) {
    let lower: Vec<String> = world
        .all
        .keys()
        .filter(|path| world.is_untouched(path))
        .cloned()
        .collect();
    let Some(path) = numbers.pick(&lower).cloned() else {
        return;
    };
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let marker = join(parent, &format!(".wh.{name}"));
    if name.len() > 250 {
        return;
    }
    bring_parents(numbers, world, entries, &path);
    world.forget_below(&path);
    world.all.remove(&path);
    world.closed.insert(path.clone());
    entries.push(Entry::file(&marker, b""));
}

fn opaque(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>) {
    let lower: Vec<String> = world
        .all
        .iter()
        .filter(|(path, stands)| **stands == Stands::Directory && world.is_untouched(path))
        .map(|(path, _)| path.clone())
        .collect();
    let Some(path) = numbers.pick(&lower).cloned() else {
        return;
    };
    bring_parents(numbers, world, entries, &path);
    world.forget_below(&path);
    put_directory(numbers, world, entries, &path);
    entries.push(Entry::file(&join(&path, ".wh..wh..opq"), b""));
    if numbers.chance(70) {
        let inside = join(&path, &name(numbers));
        push(
            numbers,
            world,
            entries,
            Entry::file(&inside, b"new"),
            Stands::File,
        );
    }
}

/// Directories above a path of lower layers, as far as this layer does not have them yet.
fn bring_parents(numbers: &mut Numbers, world: &mut World, entries: &mut Vec<Entry>, path: &str) {
    for (at, _) in path.match_indices('/') {
        let parent = &path[..at];
        if !world.here.contains_key(parent) {
            put_directory(numbers, world, entries, parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_layers_again() {
        let text = |seed| format!("{:?}", layers(&mut Numbers::from(seed), 10, Repeats::Allowed));
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }

    #[test]
    fn nothing_is_said_twice_where_that_is_refused() {
        for layer in (1..20).flat_map(|seed| layers(&mut Numbers::from(seed), 10, Repeats::Never)) {
            let paths: BTreeSet<&str> = layer.iter().map(|e| e.path.trim_start_matches("./")).collect();
            assert_eq!(paths.len(), layer.len(), "{layer:?}");
        }
    }

    #[test]
    fn every_kind_comes_up() {
        let all: Vec<Entry> = (1..20)
            .flat_map(|seed| layers(&mut Numbers::from(seed), 10, Repeats::Allowed))
            .flatten()
            .collect();
        let some = |check: fn(&Entry) -> bool| all.iter().any(check);
        assert!(some(|e| e.path.contains(".wh.a")));
        assert!(some(|e| e.path.ends_with(".wh..wh..opq")));
        assert!(some(|e| matches!(e.kind, Kind::Hardlink(_))));
        assert!(some(|e| matches!(&e.kind, Kind::Sparse(size, _) if *size > 0)));
        assert!(some(|e| e.path.len() > 200));
    }
}
