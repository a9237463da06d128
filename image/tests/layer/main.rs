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

/// Everything that a single entry may not do, or that has to end up inside.
#[test]
fn nothing_gets_out() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("escapes");
    let outside = scratch.fresh("outside");
    std::fs::write(outside.join("victim"), "untouched").unwrap();
    let before = scan(&outside);
    let absolute = outside.to_str().unwrap().to_owned();
    let up = "../".repeat(30);
    let out = |rest: &str| format!("{absolute}/{rest}");
    // What is refused with a word of the message, or where the file `x` ends up.
    let file = |path: &str| Item::file(path, b"x");
    let table: Vec<(&str, Vec<Item>, Result<String, &str>)> = vec![
        ("absolute", vec![file(&out("x"))], Ok(out("x"))),
        ("dots", vec![file("../outside/x")], Err("leaves the root")),
        (
            "dots inside",
            vec![file("a/../../outside/x")],
            Err("leaves the root"),
        ),
        (
            "absolute symlink as parent",
            vec![Item::link("a", b'2', &absolute), file("a/x")],
            Ok(out("x")),
        ),
        (
            "relative symlink as parent",
            vec![Item::link("a", b'2', &format!("{up}tmp")), file("a/x")],
            Ok("tmp/x".to_owned()),
        ),
        (
            "file over a symlink",
            vec![Item::link("x", b'2', &out("victim")), file("x")],
            Ok("x".to_owned()),
        ),
        (
            "directory over a symlink",
            vec![
                Item::link("a", b'2', &absolute),
                Item::new("a", b'5'),
                file("a/x"),
            ],
            Ok("a/x".to_owned()),
        ),
        (
            "hardlink to outside",
            vec![Item::link("x", b'1', &out("victim"))],
            Err("no such file"),
        ),
        (
            "hardlink with dots",
            vec![Item::link("x", b'1', "../outside/victim")],
            Err("leaves the root"),
        ),
        (
            "hardlink through a symlink",
            vec![
                Item::link("a", b'2', &absolute),
                Item::link("x", b'1', "a/victim"),
            ],
            Err("no such file"),
        ),
        (
            "hardlink to a symlink, then a file over it",
            vec![
                Item::link("a", b'2', &out("victim")),
                Item::link("x", b'1', "a"),
                file("x"),
            ],
            Ok("x".to_owned()),
        ),
        (
            "whiteout of dots",
            vec![file("a/.wh...")],
            Err("whiteout of no name"),
        ),
        (
            "whiteout of a dot",
            vec![file(".wh..")],
            Err("whiteout of no name"),
        ),
        (
            "whiteout of nothing",
            vec![file("a/.wh.")],
            Err("whiteout of no name"),
        ),
        (
            "inside a whiteout",
            vec![file(".wh.a/x")],
            Err("with something in it"),
        ),
        (
            "whiteout through a symlink",
            vec![Item::link("a", b'2', &absolute), file("a/.wh.victim"), file("x")],
            Ok("x".to_owned()),
        ),
        (
            "file in a file",
            vec![file("a"), file("a/x")],
            Err("is not a directory"),
        ),
        (
            "symlink to itself",
            vec![Item::link("a", b'2', "a"), file("a/x")],
            Err("too many symlinks"),
        ),
        (
            "hardlink to a directory",
            vec![Item::new("a", b'5'), Item::link("x", b'1', "a")],
            Err("a directory"),
        ),
        (
            "hardlink to the root",
            vec![Item::link("x", b'1', ".")],
            Err("no file"),
        ),
        ("root as a file", vec![file("./")], Err("root is not a directory")),
        (
            "symlink to nothing",
            vec![Item::link("x", b'2', "")],
            Err("symlink to nothing"),
        ),
        ("name too long", vec![file(&"n".repeat(256))], Err("too long")),
        (
            "path too long",
            vec![file(&"n/".repeat(2100))],
            Err("more than is allowed"),
        ),
        ("type unknown", vec![Item::new("x", b'Z')], Err("not known")),
    ];
    for (what, items, expected) in table {
        let archive = forge::archive(&items, 1);
        let root = scratch.fresh("root");
        let image = scratch.0.join("image");
        let options = Options {
            lower: Some(&|_| Ok(None)),
            ..Options::default()
        };
        let results = [
            to_tree(&archive, &root, &options),
            to_erofs(&archive, &image, &options),
        ];
        for (form, result) in ["tree", "image"].iter().zip(results) {
            match (&expected, result) {
                (Ok(_), Ok(_)) => {}
                (Err(word), Err(e)) => {
                    assert!(e.to_string().contains(word), "{what}, {form}: {e}");
                    continue;
                }
                (_, result) => panic!("{what}, {form}: {result:?}"),
            }
        }
        if let Ok(path) = &expected {
            let path = path.trim_start_matches('/');
            assert_eq!(std::fs::read(root.join(path)).expect(what), b"x", "{what}");
            let found = scan_erofs(&image, &scratch.fresh("mount"));
            assert_eq!(found[path].content, b"x", "{what}");
            assert_eq!(found[path].kind, 'f', "{what}");
        }
        compare(what, &scan(&outside), &before);
    }
}

/// Whom nobody has given any ids.
const USER: u32 = 54_321;

/// Unpacks as an ordinary user. Of the raw system calls only this thread takes notice, and it ends here.
fn to_tree_as_user(archive: &[u8], root: &Path) -> image::Result<Unpacked> {
    std::os::unix::fs::chown(root, Some(USER), Some(USER)).unwrap();
    let fd = File::open(root).unwrap();
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            sys::cred::set_groups(&[]).unwrap();
            sys::cred::set_gid(USER).unwrap();
            sys::cred::set_uid(USER).unwrap();
            let options = Options {
                overlay: layer::Overlay::User,
                devices: layer::Devices::Skip,
                owners: layer::Owners::Caller,
                ..Options::default()
            };
            layer::unpack(archive, Target::Tree(fd.as_fd()), &options)
        });
        user.join().unwrap()
    })
}

#[test]
fn an_ordinary_user_unpacks_what_it_may_have() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("user");
    let owned = |path: &str, flag: u8, mode: u32| Item {
        uid: 7,
        gid: 8,
        mode,
        ..Item::new(path, flag)
    };
    let device = |path: &str, flag: u8| Item {
        major: 1,
        minor: 3,
        ..owned(path, flag, 0o666)
    };
    let noted = |mut item: Item, names: &[&str]| {
        item.xattrs = names
            .iter()
            .map(|name| ((*name).to_owned(), b"y".to_vec()))
            .collect();
        item
    };
    let lower = [
        owned("d", b'5', 0o755),
        Item::file("d/null", b"below"),
        Item::file("gone", b"x"),
        Item::new("o", b'5'),
        Item::file("o/old", b"x"),
    ];
    let upper = [
        noted(
            owned("d", b'5', 0o2750),
            &[
                "user.of-directory",
                "trusted.overlay.opaque",
                "user.overlay.opaque",
            ],
        ),
        noted(
            owned("d/suid", b'0', 0o4755),
            &["user.of-file", "security.selinux", "trusted.mark"],
        ),
        owned("d/secret", b'0', 0),
        owned("d/fifo", b'6', 0o622),
        Item {
            link: "secret".to_owned(),
            ..owned("d/link", b'2', 0o777)
        },
        device("d/null", b'3'),
        device("d/loop", b'4'),
        Item::link("d/zero", b'1', "d/null"),
        Item::file("d/was", b"a file first"),
        device("d/was", b'3'),
        Item::new(".wh.gone", b'0'),
        owned("o", b'5', 0o700),
        Item::new("o/.wh..wh..opq", b'0'),
        Item::file("o/new", b"x"),
    ];
    let (low, high) = (scratch.fresh("low"), scratch.fresh("high"));
    to_tree_as_user(&forge::archive(&lower, 0), &low).unwrap();
    let done = to_tree_as_user(&forge::archive(&upper, 0), &high).unwrap();
    assert_eq!((done.devices_dropped, done.attributes_dropped), (4, 4));
    let tree = scan(&high);
    for (path, node) in tree.iter().filter(|(_, node)| node.kind != 'w') {
        assert_eq!((node.uid, node.gid), (USER, USER), "{path}");
    }
    for (path, kind, mode) in [
        ("d", 'd', 0o2750),
        ("d/suid", 'f', 0o4755),
        ("d/secret", 'f', 0),
        ("d/fifo", 'p', 0o622),
        ("d/link", 'l', 0o777),
        ("o", 'd', 0o700),
    ] {
        assert_eq!((tree[path].kind, tree[path].mode), (kind, mode), "{path}");
    }
    let attributes = |path: &str| tree[path].xattrs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(attributes("d"), ["user.of-directory"]);
    assert_eq!(attributes("d/suid"), ["user.of-file"]);
    assert_eq!(attributes("o"), ["user.overlay.opaque"]);

    // What overlay makes of it in a user namespace: with `userxattr`.
    let merged = scratch.fresh("merged");
    let data = CString::new(format!("lowerdir={}:{},userxattr", high.display(), low.display())).unwrap();
    sys::mount::mount(c"overlay", &c(&merged), c"overlay", libc::MS_RDONLY, &data).unwrap();
    let seen: Vec<String> = scan(&merged).into_keys().collect();
    sys::mount::umount(&c(&merged), 0).unwrap();
    assert_eq!(
        seen,
        ["", "d", "d/fifo", "d/link", "d/secret", "d/suid", "o", "o/new"]
    );
}

#[test]
fn devices_are_made_and_owners_kept_by_root() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("root");
    let mut null = Item::new("null", b'3');
    (null.major, null.minor, null.uid, null.gid) = (1, 3, 7, 8);
    let mut opaque = Item::new("o", b'5');
    (opaque.uid, opaque.gid) = (7, 8);
    let archive = forge::archive(&[null, opaque, Item::new("o/.wh..wh..opq", b'0')], 0);
    let root = scratch.fresh("root");
    let done = to_tree(&archive, &root, &Options::default()).unwrap();
    assert_eq!(done.devices_dropped, 0);
    let tree = scan(&root);
    assert_eq!((tree["null"].kind, tree["null"].device), ('c', (1, 3)));
    assert_eq!((tree["null"].uid, tree["null"].gid), (7, 8));
    assert_eq!((tree["o"].uid, tree["o"].gid), (7, 8));
    assert!(tree["o"].xattrs.contains_key("trusted.overlay.opaque"));
}

#[test]
fn hardlinks_reach_into_lower_layers_only_when_asked() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("lower");
    let lower = scratch.fresh("lower");
    let mut original = Item::file("bin/tool", &b"contents".repeat(2000));
    (original.mode, original.uid, original.mtime) = (0o4755, 7, (1_000_000, 5));
    original.xattrs = vec![("user.a".to_owned(), b"b".to_vec())];
    to_tree(
        &forge::archive(&[original.clone()], 0),
        &lower,
        &Options::default(),
    )
    .unwrap();
    let find = |path: &Path| {
        let directory = File::open(lower.join(path.parent().unwrap())).unwrap();
        match layer::Lower::open(directory.as_fd(), Path::new(path.file_name().unwrap())) {
            Err(e) if e.kind() == image::Kind::NotFound => Ok(None),
            other => other.map(Some),
        }
    };
    let with = Options {
        lower: Some(&find),
        ..Options::default()
    };
    let link = forge::archive(&[Item::link("copy", b'1', "./bin/tool")], 0);
    let gone = forge::archive(&[Item::link("copy", b'1', "bin/gone")], 0);
    let (root, mount, image) = (
        scratch.fresh("root"),
        scratch.fresh("mount"),
        scratch.0.join("image"),
    );
    let e = to_tree(&link, &root, &Options::default()).unwrap_err();
    assert!(
        e.to_string()
            .contains("failed to make a hardlink to \"./bin/tool\""),
        "{e}"
    );
    assert!(to_tree(&gone, &root, &with).is_err());
    assert!(to_erofs(&gone, &image, &with).is_err());
    to_tree(&link, &root, &with).unwrap();
    to_erofs(&link, &image, &with).unwrap();
    let mut model = Model::new();
    original.path = "copy".to_owned();
    model.apply(&original).unwrap();
    compare("tree", &scan(&root), &model.tree());
    compare("image", &scan_erofs(&image, &mount), &model.tree());
}

#[test]
fn what_is_too_much_is_refused() {
    let scratch = Scratch::new("bombs");
    let image = scratch.0.join("image");
    let zeros = vec![0u8; 64 << 20];
    let archive = forge::archive(&[Item::file("zeros", &zeros)], 0);
    let mut bomb = flate2_gzip(&archive);
    let guard = layer::Ratio {
        free: 1 << 20,
        ratio: 100,
    };
    let strict = Options {
        ratio: guard,
        ..Options::default()
    };
    let e = to_erofs(&bomb, &image, &strict).unwrap_err();
    assert_eq!(e.kind(), image::Kind::Corrupt, "{e}");
    assert!(to_erofs(&bomb, &image, &Options::default()).is_ok());
    // Cut anywhere, it is an error and no short file.
    bomb.truncate(bomb.len() / 2);
    assert!(to_erofs(&bomb, &image, &Options::default()).is_err());

    let limits = |change: fn(&mut layer::tar::Limits)| {
        let mut options = Options::default();
        change(&mut options.limits);
        options
    };
    let many: Vec<Item> = (0..100).map(|i| Item::file(&format!("f{i}"), b"1234")).collect();
    let mut attached = Item::file("f", b"");
    attached.xattrs = vec![("user.x".to_owned(), vec![1; 5000])];
    let mut holes = Item::file("f", &[vec![0; 4096], vec![1; 512]].concat().repeat(50));
    holes.sparse = 1;
    let table: Vec<(Vec<Item>, Options<'_>)> = vec![
        (many.clone(), limits(|l| l.entries = 99)),
        (many, limits(|l| l.bytes = 399)),
        (vec![Item::file(&"d/".repeat(50), b"")], limits(|l| l.path = 99)),
        (
            vec![Item::file(&format!("{}f", "d/".repeat(50)), b"")],
            limits(|l| l.depth = 50),
        ),
        (vec![attached.clone()], limits(|l| l.xattrs = 5000)),
        (vec![attached], limits(|l| l.header = 5000)),
        (vec![holes], limits(|l| l.sparse = 40)),
    ];
    for (items, options) in table {
        let archive = forge::archive(&items, 0);
        assert!(to_erofs(&archive, &image, &Options::default()).is_ok());
        let e = to_erofs(&archive, &image, &options).unwrap_err();
        assert_eq!(e.kind(), image::Kind::Corrupt, "{e}");
    }
}

fn flate2_gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        let mut out = Vec::new();
        std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut out).unwrap();
        assert!(child.wait().unwrap().success());
        out
    })
}

/// Twenty thousand damaged archives: no panic, no wait without end, and nothing outside the root.
/// How many damaged archives: a few seconds' worth, or as many as `FUZZ_ROUNDS` says.
fn rounds() -> u32 {
    let wanted = std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(4_000)
}

#[test]
fn damaged_archives_do_no_harm() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("fuzz");
    let outside = scratch.fresh("outside");
    std::fs::write(outside.join("victim"), "untouched").unwrap();
    let before = scan(&outside);
    let null = scratch.0.join("image");
    let mut chance = Chance::new(7);
    let mut samples = Vec::new();
    for seed in 0..40 {
        let mut c = Chance::new(seed + 1000);
        let mut items: Vec<Item> = (0..8)
            .map(|_| some_item(&mut c))
            .filter(|i| i.content.len() < 9000)
            .collect();
        items.push(Item::link("a", b'2', "../outside"));
        items.push(Item::file("a/victim", b"overwritten"));
        let tar = forge::archive(&items, seed);
        samples.push(if seed % 4 == 0 { flate2_gzip(&tar) } else { tar });
    }
    let (mut good, mut bad) = (0, 0);
    for round in 0..rounds() {
        let mut archive = chance.pick(&samples).clone();
        damage(&mut archive, &mut chance);
        let options = Options::default();
        // Every tenth into a tree; the file system is the slow part.
        let result = if round % 10 == 0 {
            to_tree(&archive, &scratch.fresh("root"), &options)
        } else {
            to_erofs(&archive, &null, &options)
        };
        match result {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
        if round % 1000 == 0 {
            compare("outside", &scan(&outside), &before);
        }
    }
    compare("outside", &scan(&outside), &before);
    println!("{good} unpacked, {bad} refused");
    assert!(good > 100 && bad > 100);
}

fn damage(archive: &mut Vec<u8>, chance: &mut Chance) {
    let is_tar = archive.len().is_multiple_of(512);
    for _ in 0..1 + chance.below(4) {
        let at = chance.below(archive.len() as u64) as usize;
        match chance.below(6) {
            0 => archive.truncate(at + 1),
            1 => archive[at] ^= 1 << chance.below(8),
            2 => archive[at] = chance.next() as u8,
            3 => {
                let block = at / 512 * 512;
                let end = (block + 512 * (1 + chance.below(3) as usize)).min(archive.len());
                drop(archive.drain(block..end));
            }
            4 => {
                let block = at / 512 * 512;
                let copy = archive[block..(block + 512).min(archive.len())].to_vec();
                let to = chance.below(archive.len() as u64) as usize / 512 * 512;
                archive.splice(to..to, copy);
            }
            _ => {
                let end = (at + 12).min(archive.len());
                archive[at..end].fill(*chance.pick(b"07\xff\x80 \0./"));
            }
        }
        if archive.is_empty() {
            archive.push(0);
        }
    }
    // With right sums, or nothing but the sum is ever tested.
    if is_tar && !chance.one_in(5) {
        for block in archive.chunks_exact_mut(512) {
            if &block[257..262] == b"ustar" {
                forge::seal(block);
            }
        }
    }
}

#[test]
fn a_call_can_be_called_off() {
    let scratch = Scratch::new("cancel");
    let archive = forge::archive(&[Item::file("f", &vec![1; 4 << 20])], 0);
    let flag = std::sync::atomic::AtomicBool::new(true);
    let options = Options {
        cancel: Some(&flag),
        ..Options::default()
    };
    let e = to_tree(&archive, &scratch.fresh("root"), &options).unwrap_err();
    assert_eq!(e.kind(), image::Kind::Cancelled, "{e}");
}

#[test]
fn deep_trees_go() {
    #[allow(clippy::unnecessary_cast)] // the type differs between libcs
    sys::process::set_rlimit(0, libc::RLIMIT_NOFILE as u32, 512, 512).unwrap();
    let scratch = Scratch::new("deep");
    let root = scratch.fresh("root");
    let mut items = vec![Item::new("d/.removed-1/x", b'5'), Item::new("d/.removed-2", b'5')];
    for i in 0..1000 {
        let mut item = Item::file(&format!("d/{}f{i}", "d/".repeat(i)), b"x");
        item.mode = 0;
        items.push(item);
    }
    items.push(Item::link("d/outside", b'2', "/"));
    to_tree(&forge::archive(&items, 0), &root, &Options::default()).unwrap();
    let fd = File::open(&root).unwrap();
    layer::remove(fd.as_fd(), Path::new("d")).unwrap();
    layer::remove(fd.as_fd(), Path::new("d")).unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

/// What the host has installed, packed and unpacked by GNU tar and by us.
#[test]
fn a_real_tree_is_as_gnu_tar_makes_it() {
    if !own_mounts() {
        return;
    }
    let scratch = Scratch::new("real");
    let (mount, reference) = (scratch.fresh("mount"), scratch.fresh("gnu"));
    let archive = scratch.0.join("archive.tar.gz");
    let run = |args: &[&str]| {
        let out = std::process::Command::new("tar").args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let (archive, reference) = (archive.to_str().unwrap(), reference.to_str().unwrap());
    let attributes = ["--xattrs", "--xattrs-include=*", "--numeric-owner"];
    let sources = [
        "etc",
        "usr/share/zoneinfo",
        "usr/share/doc/bash",
        "usr/lib/os-release",
        "usr/bin/perl",
        "usr/bin/passwd",
    ];
    let present: Vec<&str> = sources
        .into_iter()
        .filter(|s| Path::new("/").join(s).exists())
        .collect();
    for format in ["--format=gnu", "--format=posix"] {
        run(&[&["-czSf", archive, "-C", "/", format][..], &attributes, &present].concat());
        run(&[
            &["-xpf", archive, "-C", reference, "--same-owner"][..],
            &attributes,
        ]
        .concat());
        let bytes = std::fs::read(archive).unwrap();
        let image = scratch.0.join("image");
        let root = scratch.fresh("root");
        to_tree(&bytes, &root, &Options::default()).unwrap();
        to_erofs(&bytes, &image, &Options::default()).unwrap();
        fsck(&image);
        let mut expected = scan(Path::new(reference));
        let (mut tree, mut erofs) = (scan(&root), scan_erofs(&image, &mount));
        // Directories that the archive has no entry for are made with the time of now.
        for path in ["", "usr", "usr/lib", "usr/share", "usr/share/doc", "usr/bin"] {
            for tree in [&mut expected, &mut tree, &mut erofs] {
                tree.remove(path);
            }
        }
        compare("tree", &tree, &expected);
        compare("image", &erofs, &expected);
        assert!(expected.len() > 500);
    }
}

/// An OCI layout with one image of these layers, as umoci wants it.
fn layout(at: &Path, layers: &[Vec<u8>]) {
    let blobs = at.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media: &str| {
        let digest = image::Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        format!(
            r#"{{"mediaType":"{media}","digest":"{digest}","size":{}}}"#,
            bytes.len()
        )
    };
    let oci = "application/vnd.oci.image";
    let (mut descriptors, mut diffs) = (Vec::new(), Vec::new());
    for bytes in layers {
        descriptors.push(put(bytes, &format!("{oci}.layer.v1.tar")));
        diffs.push(format!("{:?}", image::Digest::of(bytes).to_string()));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diffs.join(",")
    );
    let config = put(config.as_bytes(), &format!("{oci}.config.v1+json"));
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        descriptors.join(",")
    );
    let manifest = put(manifest.as_bytes(), &format!("{oci}.manifest.v1+json"));
    let named = manifest.replace(
        "}",
        r#","annotations":{"org.opencontainers.image.ref.name":"t"}}"#,
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#);
    std::fs::write(at.join("index.json"), index).unwrap();
    std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Three layers over each other: what overlay shows of ours, in both forms, is what umoci unpacks into one directory.
#[test]
fn stacked_layers_are_as_umoci_makes_them() {
    if !own_mounts() {
        return;
    }
    if std::process::Command::new("umoci")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: no umoci");
        return;
    }
    let scratch = Scratch::new("stacked");
    let (mut compared, mut passed_over) = (0, 0);
    for seed in seeds(60) {
        let mut chance = Chance::new(seed + 5000);
        let layers: Vec<Vec<Item>> = (0..3).map(|_| tame_layer(&mut chance)).collect();
        let archives: Vec<Vec<u8>> = layers.iter().map(|l| forge::archive(l, seed)).collect();
        let oci = scratch.fresh("oci");
        layout(&oci, &archives);
        let flat = scratch.fresh("flat").join("rootfs");
        let out = std::process::Command::new("umoci")
            .args(["raw", "unpack", "--image"])
            .arg(format!("{}:t", oci.display()))
            .arg(&flat)
            .output()
            .unwrap();
        if !out.status.success() {
            println!("seed {seed}: {}", String::from_utf8_lossy(&out.stderr));
            passed_over += 1;
            continue;
        }
        let listed: Vec<String> = layers.iter().map(|l| summary(l)).collect();
        let what = format!("seed {seed} (LAYER_SEED={seed}): {}", listed.join("\n --- "));
        let mut expected = scan(&flat);
        level(&mut expected);
        for form in ["trees", "images"] {
            let mut found = stack(&scratch, &archives, form);
            level(&mut found);
            compare(&format!("{form} of {what}"), &found, &expected);
        }
        compared += 1;
    }
    println!("{compared} compared, {passed_over} not unpacked by umoci");
    assert!(compared > passed_over);
}

/// As image builders make them: every layer names all parents. What no two programs do alike is left out.
fn tame_layer(chance: &mut Chance) -> Vec<Item> {
    let mut model = Model::new();
    let mut items = Vec::new();
    for _ in 0..4 + chance.below(25) {
        let mut item = some_item(chance);
        item.path = model::clean(&item.path).unwrap();
        let is_plain = matches!(item.flag, b'0' | b'5');
        item.xattrs
            .retain(|(n, _)| is_plain && (n.starts_with("user.u") || n.starts_with("security")));
        if item.sparse > 0 || item.flag == b'1' || item.path.contains("wh.aufs") || item.path.is_empty() {
            continue;
        }
        if item.flag == b'2' {
            item.link = format!("nowhere/{}", item.link.replace("../", ""));
        }
        let mut next = model.clone();
        let mut added = Vec::new();
        let parents = item.path.match_indices('/').map(|(i, _)| &item.path[..i]);
        for parent in std::iter::once("").chain(parents) {
            if next.paths.contains_key(parent) && !(parent.is_empty() && items.is_empty()) {
                continue;
            }
            let mut directory = Item::new(if parent.is_empty() { "./" } else { parent }, b'5');
            directory.uid = parent.len() as u32;
            if next.apply(&directory).is_ok() {
                added.push(directory);
            }
        }
        if next.is_plain(&item.path) && next.apply(&item).is_ok() {
            model = next;
            items.extend(added);
            items.push(item);
        }
    }
    items
}

/// Times of directories are not comparable: whiteouts change them when they are applied to a tree.
fn level(tree: &mut Tree) {
    for node in tree.values_mut().filter(|n| n.kind == 'd') {
        node.mtime = (0, 0);
    }
}

fn stack(scratch: &Scratch, archives: &[Vec<u8>], form: &str) -> Tree {
    // The kernel wants two at least.
    let mut lower = vec![scratch.fresh("nothing")];
    let mut mounted = Vec::new();
    for (i, archive) in archives.iter().enumerate() {
        let root = scratch.fresh(&format!("layer{i}"));
        let done;
        if form == "trees" {
            done = to_tree(archive, &root, &Options::default()).unwrap();
        } else {
            let image = scratch.0.join(format!("image{i}"));
            done = to_erofs(archive, &image, &Options::default()).unwrap();
            sys::mount::mount(&c(&image), &c(&root), c"erofs", libc::MS_RDONLY, c"").unwrap();
            mounted.push(root.clone());
        }
        if done.hides_all_below {
            lower.truncate(1);
        }
        lower.push(root);
    }
    let paths: Vec<&str> = lower.iter().rev().map(|p| p.to_str().unwrap()).collect();
    let data = CString::new(format!("lowerdir={}", paths.join(":"))).unwrap();
    let merged = scratch.fresh("merged");
    sys::mount::mount(c"overlay", &c(&merged), c"overlay", libc::MS_RDONLY, &data).unwrap();
    let tree = scan(&merged);
    sys::mount::umount(&c(&merged), 0).unwrap();
    for root in &mounted {
        sys::mount::umount(&c(root), 0).unwrap();
    }
    tree
}
