//! Layers against the real kernel: trees on the disk, EROFS images mounted, both compared with a model and with other programs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod forge;
mod model;
mod scan;

use forge::{Chance, Item};
use image::layer::{self, Options, Target, Unpacked};
use model::{Model, Tree};
use scan::{compare, scan};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory that is gone when the test ends; nobody else can reach into it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn fresh(&self, name: &str) -> PathBuf {
        let parent = File::open(&self.0).unwrap();
        layer::remove(parent.as_fd(), Path::new(name)).unwrap();
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let parent = File::open(self.0.parent().unwrap()).unwrap();
        let name = self.0.file_name().unwrap();
        let _ = layer::remove(parent.as_fd(), Path::new(name));
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Mounts of this thread that the host does not see; false without the rights to make them.
fn own_mounts() -> bool {
    if sys::process::effective_ids().0 != 0 {
        println!("skipped: needs root");
        return false;
    }
    sys::process::unshare((libc::CLONE_NEWNS | libc::CLONE_FS) as u64).unwrap();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    sys::mount::mount(c"none", c"/", c"", private, c"").unwrap();
    true
}

fn to_tree(archive: &[u8], root: &Path, options: &Options<'_>) -> image::Result<Unpacked> {
    let fd = File::open(root).unwrap();
    layer::unpack(archive, Target::Tree(fd.as_fd()), options)
}

fn to_erofs(archive: &[u8], image: &Path, options: &Options<'_>) -> image::Result<Unpacked> {
    layer::unpack(archive, Target::Erofs(&File::create(image).unwrap()), options)
}

/// What an image has in it, according to the kernel.
fn scan_erofs(image: &Path, at: &Path) -> Tree {
    sys::mount::mount(&c(image), &c(at), c"erofs", libc::MS_RDONLY, c"").unwrap();
    let tree = scan(at);
    sys::mount::umount(&c(at), 0).unwrap();
    tree
}

fn fsck(image: &Path) {
    let Ok(out) = std::process::Command::new("fsck.erofs").arg(image).output() else {
        return;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

const NAMES: &[&str] = &["a", "b", "c", "d", ".e", "!x"];

fn some_path(chance: &mut Chance) -> String {
    let depth = 1 + chance.below(3);
    let mut parts: Vec<String> = (0..depth).map(|_| (*chance.pick(NAMES)).to_owned()).collect();
    if chance.one_in(25) {
        parts.push("long".repeat(60));
        parts.push("ü".repeat(100));
    }
    let path = parts.join("/");
    match chance.below(30) {
        0 => format!("./{path}"),
        1 => format!("/{path}"),
        2 => format!("x/../{path}"),
        3 => format!("{path}/"),
        _ => path,
    }
}

fn some_content(chance: &mut Chance) -> Vec<u8> {
    const SIZES: &[usize] = &[
        0, 1, 100, 511, 512, 513, 3900, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 10_000, 12_287,
    ];
    let size = if chance.one_in(40) {
        300_000 + chance.below(300_000) as usize
    } else {
        *chance.pick(SIZES)
    };
    chance.bytes(size)
}

fn some_item(chance: &mut Chance) -> Item {
    let path = some_path(chance);
    let (parent, base) = path
        .trim_end_matches('/')
        .rsplit_once('/')
        .unwrap_or((".", path.trim_end_matches('/')));
    let mut item = match chance.below(22) {
        0..=5 => Item::file(&path, &some_content(chance)),
        6..=9 => Item::new(&path, b'5'),
        10 | 11 => {
            let up = "../".repeat(chance.below(4) as usize);
            let slash = if chance.one_in(3) { "/" } else { "" };
            let target = some_path(chance);
            Item::link(path.trim_end_matches('/'), b'2', &format!("{slash}{up}{target}"))
        }
        12..=14 => Item::link(&path, b'1', &some_path(chance)),
        15 => Item::new(&path, b'6'),
        16 => Item {
            major: chance.below(300) as u32,
            minor: chance.below(70_000) as u32,
            ..Item::new(&path, if chance.one_in(2) { b'3' } else { b'4' })
        },
        17 | 18 => Item::file(&format!("{parent}/.wh.{base}"), b""),
        19 => Item::file(&format!("{parent}/.wh..wh..opq"), b""),
        20 => {
            let mut content = some_content(chance);
            content.resize(content.len() + chance.below(40_000) as usize, 0);
            for _ in 0..chance.below(9) {
                let at = chance.below(content.len() as u64 + 1) as usize;
                let zeros = vec![0; chance.below(9000) as usize];
                content.splice(at..at, zeros);
            }
            Item {
                sparse: 1 + chance.below(4) as u8,
                ..Item::file(path.trim_end_matches('/'), &content)
            }
        }
        _ if chance.one_in(4) => Item::new("./", b'5'),
        _ => Item::file(&format!("{parent}/.wh..wh.aufs"), b"old"),
    };
    // A device 0/0 is a whiteout; its own test is in the table.
    if item.flag == b'4' && (item.major, item.minor) == (0, 0) {
        item.minor = 1;
    }
    item.mode = (chance.below(4096)) as u32;
    item.uid = *chance.pick(&[0, 0, 1, 1000, 65534, 70_000, 3_000_000_000]);
    item.gid = *chance.pick(&[0, 0, 5, 1000, 4_000_000_000]);
    item.mtime = match chance.below(4) {
        0 => (
            chance.below(2_000_000_000) as i64,
            chance.below(1_000_000_000) as u32,
        ),
        1 => (
            -(chance.below(1_000_000) as i64),
            chance.below(1_000_000_000) as u32,
        ),
        _ => (chance.below(2_000_000_000) as i64, 0),
    };
    if chance.one_in(5) {
        attach(&mut item, chance);
    }
    item
}

fn attach(item: &mut Item, chance: &mut Chance) {
    let capability = b"\x01\0\0\x02\x00\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut all = vec![
        ("trusted.t".to_owned(), b"of root\0\n".to_vec()),
        ("trusted.overlay.opaque".to_owned(), b"y".to_vec()),
        ("user.overlay.redirect".to_owned(), b"/etc".to_vec()),
        ("user.u".to_owned(), chance.bytes(1 + chance_below(item))),
    ];
    if item.flag == b'0' && item.sparse == 0 {
        all.push(("security.capability".to_owned(), capability));
    }
    all.retain(|_| !chance.one_in(2));
    item.xattrs = all;
}

/// Sometimes more than fits beside the contents in a block of EROFS, seldom more than a block of ext4 has.
fn chance_below(item: &Item) -> usize {
    (item.mode % 700) as usize
}

/// Items that the model takes, or, at the end, one that it refuses.
fn some_layer(chance: &mut Chance) -> (Vec<Item>, Model, bool) {
    let mut model = Model::new();
    let mut items = Vec::new();
    for _ in 0..4 + chance.below(60) {
        let item = some_item(chance);
        let mut next = model.clone();
        if next.apply(&item).is_ok() {
            model = next;
            items.push(item);
        } else if chance.one_in(60) {
            items.push(item);
            return (items, model, false);
        }
    }
    (items, model, true)
}

#[test]
fn generated_archives_are_as_the_model_says() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("generated");
    let mount = scratch.fresh("mount");
    let (mut refused, mut entries) = (0, 0);
    for seed in seeds(500) {
        let mut chance = Chance::new(seed);
        let (items, model, sound) = some_layer(&mut chance);
        let archive = forge::archive(&items, seed);
        entries += items.len();
        let what = format!("seed {seed} (LAYER_SEED={seed}): {}", summary(&items));
        let root = scratch.fresh("root");
        let image = scratch.0.join("image");
        let options = Options::default();
        let tree = to_tree(&archive, &root, &options);
        let erofs = to_erofs(&archive, &image, &options);
        if !sound {
            refused += 1;
            assert!(tree.is_err() && erofs.is_err(), "{what}: not refused");
            continue;
        }
        let (tree, erofs) = (tree.expect(&what), erofs.expect(&what));
        assert_eq!(tree.diff_id, image::Digest::of(&archive));
        assert_eq!(
            (&erofs.diff_id, erofs.entries),
            (&tree.diff_id, items.len() as u64)
        );
        compare(&format!("tree of {what}"), &scan(&root), &model.tree());
        compare(
            &format!("image of {what}"),
            &scan_erofs(&image, &mount),
            &model.tree(),
        );
        if seed % 10 == 0 {
            fsck(&image);
        }
    }
    println!("{entries} entries, {refused} archives refused");
}

/// One seed on demand.
fn seeds(n: u64) -> Vec<u64> {
    match std::env::var("LAYER_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..n).collect(),
    }
}

fn summary(items: &[Item]) -> String {
    let lines: Vec<String> = items
        .iter()
        .map(|i| {
            let mut path = i.path.clone();
            path.truncate(40);
            format!("{}:{path}>{}:{}", char::from(i.flag), i.link, i.content.len())
        })
        .collect();
    lines.join("\n  ")
}
