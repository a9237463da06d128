//! Layers as a root file system, against the kernel. Each test runs again, alone, in a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod played;

use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use image::Kind;
use image::mount::{
    self, Busy, Driver, Layer, MAX_LAYERS, Mounted, Options, Spec, Unmounted, Upper, Way, mounts_below,
    unmount,
};
use played::{Bench, inside, mounts, names, read, run, take_away, take_away_fsconfig};

const WAYS: [Way; 3] = [Way::Descriptors, Way::Strings, Way::Line];

const FSOPEN: libc::c_long = 430;
const OPEN_TREE: libc::c_long = 428;
const MOUNT_SETATTR: libc::c_long = 442;
const OPENAT2: libc::c_long = 437;

/// Layers that say the same whatever carries them; what is to be seen of them is judged below.
fn layers(bench: &Bench, store: &str) -> Vec<Layer> {
    let at = |name: &str| format!("{store}/{name}");
    bench.file(&at("0/etc/os"), "zero");
    bench.file(&at("0/etc/removed"), "x");
    bench.file(&at("0/hidden/old"), "x");
    bench.file(&at("0/was-file"), "x");
    bench.file(&at("0/was-dir/below"), "x");
    bench.file(&at("1/etc/os"), "one");
    bench.whiteout(&at("1/etc/removed"));
    bench.opaque(&at("1/hidden"));
    bench.file(&at("1/hidden/new"), "1");
    bench.file(&at("1/was-dir"), "now a file");
    bench.whiteout(&at("1/was-file"));
    bench.file(&at("2/was-file/now"), "a directory");
    bench.file(&at("2/etc/two"), "two");
    (0..3)
        .map(|n| Layer::Tree(bench.path(&at(&n.to_string()))))
        .collect()
}

fn judge_layers(root: &Path) {
    assert_eq!(read(&root.join("etc/os")).as_deref(), Some("one"));
    assert_eq!(names(&root.join("etc")), ["os", "two"]);
    assert_eq!(names(&root.join("hidden")), ["new"]);
    assert_eq!(read(&root.join("was-dir")).as_deref(), Some("now a file"));
    assert_eq!(names(&root.join("was-file")), ["now"]);
    assert_eq!(names(root), ["etc", "hidden", "was-dir", "was-file"]);
}

fn spec(bench: &Bench, layers: Vec<Layer>) -> Spec {
    let (upper, work) = (bench.dir("upper"), bench.dir("work"));
    Spec {
        layers,
        upper: Some(Upper { upper, work }),
        scratch: Some(bench.dir("scratch")),
        options: Options::default(),
    }
}

fn by(spec: &Spec, way: Way) -> Spec {
    let mut spec = spec.clone();
    spec.options.way = Some(way);
    spec
}

fn mount(spec: &Spec, target: &Path) -> Mounted {
    mount::mount(spec, target).unwrap_or_else(|e| panic!("{:?}: {e}", spec.options))
}

fn line_of(target: &Path) -> String {
    let list = read(Path::new("/proc/self/mountinfo")).unwrap();
    let place = format!(" {} ", target.display());
    list.lines()
        .rev()
        .find(|l| l.contains(&place))
        .unwrap()
        .to_string()
}

fn takes_files(bench: &Bench) -> bool {
    let other = bench.path("asked");
    std::fs::write(&other, [0; 4096]).unwrap();
    mount::takes_files(&other)
}

#[test]
fn every_way_shows_the_same() {
    if !inside("every_way_shows_the_same") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let spec = spec(&bench, layers(&bench, "store"));
    let before = mounts();
    for way in WAYS {
        let done = mount(&by(&spec, way), &target);
        assert_eq!((done.driver, done.why), (Driver::Overlay(way), None));
        judge_layers(&target);
        let line = line_of(&target);
        for word in ["xino=off", "index=off", "redirect_dir=nofollow", "metacopy=off"] {
            // Defaults are not shown.
            let is_default = !line.contains(&word[..word.find('=').unwrap()]);
            assert!(is_default || line.contains(word), "{line}");
        }
        std::fs::write(target.join("etc/os"), "changed").unwrap();
        assert_eq!(read(&bench.path("upper/etc/os")).as_deref(), Some("changed"));
        assert_eq!(unmount(&target, Busy::Refuse).unwrap(), Unmounted::Ended);
        assert_eq!(mounts(), before);
        std::fs::remove_dir_all(bench.path("upper")).unwrap();
        bench.dir("upper");
    }
}

#[test]
fn one_to_five_hundred_layers_and_not_one_more() {
    if !inside("one_to_five_hundred_layers_and_not_one_more") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    // As long as a path in a store is: 500 of them do not fit into a page.
    let store = format!("store/{}", "d".repeat(64));
    for n in 0..=MAX_LAYERS {
        bench.file(&format!("{store}/{n}/all"), &n.to_string());
        bench.file(&format!("{store}/{n}/{n}"), "");
    }
    let all: Vec<Layer> = (0..=MAX_LAYERS)
        .map(|n| Layer::Tree(bench.path(&format!("{store}/{n}"))))
        .collect();
    for count in [1, 2, 128, MAX_LAYERS] {
        let spec = spec(&bench, all[..count].to_vec());
        for (way, upper) in WAYS.iter().flat_map(|way| [(way, true), (way, false)]) {
            let mut spec = by(&spec, *way);
            if !upper {
                spec.upper = None;
            }
            let done = mount(&spec, &target);
            let driver = match (count, upper) {
                (1, false) => Driver::Bind,
                _ => Driver::Overlay(*way),
            };
            assert_eq!(done.driver, driver, "{count} {upper}");
            assert_eq!(read(&target.join("all")), Some((count - 1).to_string()));
            assert_eq!(names(&target).len(), count + 1);
            let writes = std::fs::write(target.join("new"), "");
            assert_eq!(writes.is_ok(), upper, "{way:?} {count}");
            if upper {
                std::fs::remove_file(target.join("new")).unwrap();
            }
            unmount(&target, Busy::Refuse).unwrap();
        }
    }
    let error = mount::mount(&spec(&bench, all), &target).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("501 layers"), "{error}");
    assert_eq!(mounts_below(&target).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn names_that_options_would_misread() {
    if !inside("names_that_options_would_misread") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let long = "l".repeat(200);
    for (n, name) in ["a:b", "a,b", "a\\b", "a b", &format!("{long}/{long}")]
        .iter()
        .enumerate()
    {
        bench.file(&format!("{name}/low/0/f"), &n.to_string());
        bench.file(&format!("{name}/low/1/g"), "");
        let spec = Spec {
            layers: [0, 1]
                .map(|l| Layer::Tree(bench.path(&format!("{name}/low/{l}"))))
                .into(),
            upper: Some(Upper {
                upper: bench.dir(&format!("{name}/up")),
                work: bench.dir(&format!("{name}/wo")),
            }),
            ..Spec::default()
        };
        for way in WAYS {
            mount(&by(&spec, way), &target);
            assert_eq!(read(&target.join("f")), Some(n.to_string()), "{way:?} {name}");
            std::fs::write(target.join("new"), "").unwrap();
            assert_eq!(
                names(&bench.path(&format!("{name}/up"))),
                ["new"],
                "{way:?} {name}"
            );
            unmount(&target, Busy::Refuse).unwrap();
        }
    }
}

#[test]
fn repeated_layers_are_the_last_of_them() {
    if !inside("repeated_layers_are_the_last_of_them") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    bench.file("a/d/of-a", "");
    bench.file("a/f", "a");
    bench.file("b/f", "b");
    bench.whiteout("b/d");
    let [a, b] = ["a", "b"].map(|n| Layer::Tree(bench.path(n)));
    let mut repeated = spec(&bench, vec![a.clone(), b, a]);
    mount(&repeated, &target);
    assert_eq!(read(&target.join("f")).as_deref(), Some("a"));
    assert_eq!(names(&target.join("d")), ["of-a"]);
    unmount(&target, Busy::Refuse).unwrap();
    // And copied, too.
    repeated.options.copy = true;
    mount(&repeated, &target);
    assert_eq!(read(&target.join("f")).as_deref(), Some("a"));
    assert_eq!(names(&target.join("d")), ["of-a"]);
}

#[test]
fn without_the_new_calls() {
    if !inside("without_the_new_calls") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let spec = spec(&bench, layers(&bench, "store"));
    for errno in [libc::ENOSYS, libc::EPERM] {
        let (bench, spec, target) = (&bench, &spec, &target);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                take_away(&[FSOPEN, OPEN_TREE, MOUNT_SETATTR], errno);
                let done = mount(spec, target);
                assert_eq!(done.driver, Driver::Overlay(Way::Line));
                judge_layers(target);
                unmount(target, Busy::Refuse).unwrap();
                assert_eq!(mount::detached(spec).unwrap_err().kind(), Kind::Unsupported);
                let only = Spec {
                    layers: vec![spec.layers[0].clone()],
                    options: Options {
                        nodev: true,
                        nosuid: true,
                        ..Options::default()
                    },
                    ..Spec::default()
                };
                assert_eq!(mount(&only, target).driver, Driver::Bind);
                assert!(
                    line_of(target).contains(" ro,nosuid,nodev"),
                    "{}",
                    line_of(target)
                );
                assert!(std::fs::write(target.join("x"), "").is_err());
                std::fs::write(bench.path("store/0/still-writable"), "").unwrap();
                unmount(target, Busy::Refuse).unwrap();
                std::fs::remove_file(bench.path("store/0/still-writable")).unwrap();
            });
        });
    }
    let mut nothing = spec;
    nothing.options.way = Some(Way::Descriptors);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            take_away(&[FSOPEN], libc::ENOSYS);
            let error = mount::mount(&nothing, &target).unwrap_err();
            assert!(error.to_string().contains("fsopen"), "{error}");
        });
    });
}

/// As on a kernel that knows the calls but not the parameters: it says EINVAL.
#[test]
fn without_the_new_parameters() {
    if !inside("without_the_new_parameters") {
        return;
    }
    const SET_STRING: u32 = 1;
    const SET_FD: u32 = 5;
    let bench = Bench::new();
    let target = bench.dir("target");
    let mut all = layers(&bench, "store");
    if takes_files(&bench) {
        all[0] = erofs(&bench, &all[0]);
    }
    let with_erofs = spec(&bench, all);
    let trees = spec(&bench, layers(&bench, "other"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            take_away_fsconfig(SET_FD, libc::EINVAL);
            let done = mount(&with_erofs, &target);
            assert_eq!(done.driver, Driver::Overlay(Way::Strings));
            judge_layers(&target);
            unmount(&target, Busy::Refuse).unwrap();
            assert_eq!(names(&bench.path("scratch")), Vec::<String>::new());
            let homeless = Spec {
                scratch: None,
                ..with_erofs.clone()
            };
            if let Layer::Erofs(_) = homeless.layers[0] {
                let error = mount::mount(&homeless, &target).unwrap_err();
                assert!(error.to_string().contains("needs a place"), "{error}");
            }
            take_away_fsconfig(SET_STRING, libc::EINVAL);
            let done = mount(&trees, &target);
            assert_eq!(done.driver, Driver::Overlay(Way::Line));
            judge_layers(&target);
            unmount(&target, Busy::Refuse).unwrap();
        });
    });
}

#[test]
fn attributes_are_those_that_were_asked_for() {
    if !inside("attributes_are_those_that_were_asked_for") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    for count in [1, 3] {
        let spec = Spec {
            layers: layers(&bench, &format!("store-{count}"))[..count].to_vec(),
            options: Options {
                nosuid: true,
                nodev: true,
                ..Options::default()
            },
            ..Spec::default()
        };
        mount(&spec, &target);
        assert!(
            line_of(&target).contains(" ro,nosuid,nodev"),
            "{}",
            line_of(&target)
        );
        unmount(&target, Busy::Refuse).unwrap();
    }
}

#[test]
fn a_mount_without_a_place() {
    if !inside("a_mount_without_a_place") {
        return;
    }
    let bench = Bench::new();
    let spec = spec(&bench, layers(&bench, "store"));
    let before = mounts();
    let (tree, driver) = mount::detached(&spec).unwrap();
    assert_eq!(driver, Driver::Overlay(Way::Descriptors));
    judge_layers(&PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd())));
    assert_eq!(mounts(), before);
}

#[test]
fn volatile_can_be_said_again_after_a_crash() {
    if !inside("volatile_can_be_said_again_after_a_crash") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let mut spec = spec(&bench, layers(&bench, "store"));
    spec.options.volatile = true;
    for way in WAYS {
        mount(&by(&spec, way), &target);
        assert!(line_of(&target).contains("volatile"));
        unmount(&target, Busy::Refuse).unwrap();
        // The kernel leaves the mark on purpose: without it being taken away the next one would fail.
        assert!(bench.path("work/work/incompat/volatile").exists());
    }
    mount(&spec, &target);
    unmount(&target, Busy::Refuse).unwrap();
    spec.options.volatile = false;
    let error = mount::mount(&spec, &target).unwrap_err();
    assert!(error.to_string().contains("failed to mount on"), "{error}");
}

/// The image of a tree.
fn erofs(bench: &Bench, tree: &Layer) -> Layer {
    let Layer::Tree(path) = tree else { panic!() };
    let file = path.with_extension("erofs");
    run(
        "mkfs.erofs",
        &["--quiet", file.to_str().unwrap(), path.to_str().unwrap()],
    );
    std::fs::remove_dir_all(path).unwrap();
    let _ = bench;
    Layer::Erofs(file)
}

#[test]
fn layers_that_are_erofs_images() {
    if !inside("layers_that_are_erofs_images") {
        return;
    }
    let bench = Bench::new();
    if !takes_files(&bench) {
        println!("skip image.layers_that_are_erofs_images: this kernel mounts no EROFS from files");
        return;
    }
    assert_eq!(names(&bench.path("")), Vec::<String>::new());
    let target = bench.dir("target");
    let mut all = layers(&bench, "store");
    // Some trees, some images.
    all[0] = erofs(&bench, &all[0]);
    all[1] = erofs(&bench, &all[1]);
    let spec = spec(&bench, all);
    let before = mounts();
    for way in WAYS {
        let done = mount(&by(&spec, way), &target);
        assert_eq!(done.driver, Driver::Overlay(way));
        judge_layers(&target);
        assert_eq!(mounts(), before + 1, "{way:?}");
        assert_eq!(names(&bench.path("scratch")), Vec::<String>::new());
        unmount(&target, Busy::Refuse).unwrap();
    }
    let (tree, _) = mount::detached(&spec).unwrap();
    judge_layers(&PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd())));
    drop(tree);

    let mut copied = spec.clone();
    copied.options.copy = true;
    assert_eq!(mount(&copied, &target).driver, Driver::Copy);
    judge_layers(&target);
    assert_eq!(mounts(), before);

    let one = Spec {
        layers: vec![spec.layers[0].clone()],
        ..Spec::default()
    };
    let alone = bench.dir("alone");
    assert_eq!(mount(&one, &alone).driver, Driver::Erofs);
    assert_eq!(read(&alone.join("etc/os")).as_deref(), Some("zero"));
    unmount(&alone, Busy::Refuse).unwrap();

    let mut homeless = by(&spec, Way::Strings);
    homeless.scratch = None;
    let error = mount::mount(&homeless, &alone).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    bench.file("store/broken", "no image");
    let broken = Spec {
        layers: vec![spec.layers[2].clone(), Layer::Erofs(bench.path("store/broken"))],
        ..Spec::default()
    };
    let error = mount::mount(&broken, &alone).unwrap_err();
    assert!(error.to_string().contains("store/broken"), "{error}");
    assert_eq!(mounts(), before);
}

#[test]
fn a_store_on_an_overlay_is_copied() {
    if !inside("a_store_on_an_overlay_is_copied") {
        return;
    }
    let bench = Bench::new();
    let outer = Spec {
        layers: vec![Layer::Tree(bench.dir("outer/low"))],
        upper: Some(Upper {
            upper: bench.dir("outer/up"),
            work: bench.dir("outer/work"),
        }),
        ..Spec::default()
    };
    let at = bench.dir("at");
    mount(&outer, &at);
    let (upper, work) = (bench.dir("at/upper"), bench.dir("at/work"));
    let target = bench.dir("at/target");
    // Whiteouts cannot be made on an overlay: the layers lie beside it.
    let spec = Spec {
        layers: layers(&bench, "store"),
        upper: Some(Upper { upper, work }),
        ..Spec::default()
    };
    assert!(mount::probe(&at).unwrap().is_err());
    assert_eq!(mount::probe(&bench.path("")).unwrap(), Ok(()));
    let before = mounts();
    let done = mount(&spec, &target);
    assert_eq!(done.driver, Driver::Copy);
    let why = done.why.unwrap();
    assert!(
        why.contains("upperdir") || why.contains("invalid argument"),
        "{why}"
    );
    println!("why: {why}");
    judge_layers(&target);
    assert_eq!(mounts(), before);
    assert_eq!(names(&bench.path("at/work")), Vec::<String>::new());
    // Read-only, an overlay can still lie on one.
    let read_only = Spec {
        upper: None,
        ..spec.clone()
    };
    let other = bench.dir("at/other");
    assert!(matches!(mount(&read_only, &other).driver, Driver::Overlay(_)));
    unmount(&other, Busy::Refuse).unwrap();
    // A mistake in the layers is not mended by copying.
    let mut wrong = spec;
    wrong.layers.push(Layer::Tree(bench.path("nowhere")));
    let error = mount::mount(&wrong, &other).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert_eq!(names(&other), Vec::<String>::new());
}

#[test]
fn who_may_not_mount_copies() {
    if !inside("who_may_not_mount_copies") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let spec = spec(&bench, layers(&bench, "store"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sets = sys::cred::capabilities().unwrap();
            sets.effective &= !(1 << 21);
            sys::cred::set_capabilities(&sets).unwrap();
            let done = mount(&spec, &target);
            assert_eq!(done.driver, Driver::Copy);
            assert_eq!(done.why.as_deref(), Some("we may not mount anything here"));
        });
    });
    // trusted.overlay.opaque is for those who may mount; who may not sees through.
    assert_eq!(read(&target.join("etc/os")).as_deref(), Some("one"));
}

/// Numbers that only look random (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Few names, so that layers meet each other often.
fn scatter(bench: &Bench, dice: &mut Dice, at: &str, depth: u32) {
    let root = bench.dir(at);
    if dice.below(6) == 0 && depth > 0 {
        bench.opaque(at);
    }
    let mode = 0o700 + dice.below(0o100) as u32;
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
    for name in ["a", "b", "c", "d"] {
        let path = format!("{at}/{name}");
        match dice.below(8) {
            0 => bench.whiteout(&path),
            1 => drop(bench.file(&path, &format!("{path} {}", dice.below(1000)))),
            2 => symlink(format!("{}", dice.below(1000)), bench.path(&path)).unwrap(),
            3 => {
                bench.file(&path, &path);
                std::fs::hard_link(bench.path(&path), root.join(format!("{name}-too"))).unwrap();
            }
            4..=6 if depth < 3 => scatter(bench, dice, &path, depth + 1),
            _ => {}
        }
    }
    let time = (1_000_000_000 + dice.below(1000) as i64, 7);
    sys::copy::set_times(sys::fs::cwd(), &root, time, time).unwrap();
}

/// Everything that can be seen of a tree, but for what a directory weighs.
fn listed(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(path) = ahead.pop() {
        let Ok(about) = std::fs::symlink_metadata(&path) else {
            // A whiteout in a directory that only one layer has a part in: overlay shows its name and nothing behind it.
            continue;
        };
        let link = std::fs::read_link(&path).ok();
        let text = about.is_file().then(|| read(&path));
        let name = path.strip_prefix(root).unwrap();
        let (mode, time) = (about.mode(), (about.mtime(), about.mtime_nsec()));
        lines.push(format!("{} {mode:o} {time:?} {link:?} {text:?}", name.display()));
        if about.is_dir() {
            ahead.extend(names(&path).iter().map(|name| path.join(name)));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_copy_is_what_an_overlay_shows() {
    if !inside("a_copy_is_what_an_overlay_shows") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let mut seen = 0;
    for seed in 0..100 {
        let mut dice = Dice(seed);
        let all: Vec<Layer> = (0..2 + dice.below(4))
            .map(|n| {
                let at = format!("store/{seed}/{n}");
                scatter(&bench, &mut dice, &at, 0);
                Layer::Tree(bench.path(&at))
            })
            .collect();
        let mut spec = Spec {
            layers: all,
            ..Spec::default()
        };
        let copy = bench.dir(&format!("copy/{seed}"));
        mount(&spec, &target);
        spec.options.copy = true;
        mount(&spec, &copy);
        let shown = listed(&target);
        assert_eq!(shown, listed(&copy), "{:?}", spec.layers);
        seen += shown.len();
        unmount(&target, Busy::Refuse).unwrap();
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn a_copy_is_complete() {
    if !inside("a_copy_is_complete") {
        return;
    }
    let bench = Bench::new();
    let target = bench.dir("target");
    let exact = |path: &Path, mode: u32, id: u32| {
        std::os::unix::fs::lchown(path, Some(id), Some(id + 1)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = bench.file("0/bin/su", "#!");
    exact(&file, 0o4755, 7);
    let c_file = sys::fs::c_path(&file).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sys::fs::set_xattr(&c_file, c"security.capability", &capability).unwrap();
    sys::fs::set_xattr(&c_file, c"trusted.mine", b"1").unwrap();
    std::fs::hard_link(&file, bench.path("0/bin/sudo")).unwrap();
    std::fs::hard_link(&file, bench.path("0/zz")).unwrap();
    symlink("../../../etc/passwd", bench.path("0/bin/link")).unwrap();
    std::os::unix::fs::lchown(bench.path("0/bin/link"), Some(3), Some(4)).unwrap();
    run("mkfifo", &["-m", "612", bench.path("0/fifo").to_str().unwrap()]);
    sys::fs::mknodat(
        sys::fs::cwd(),
        &bench.path("0/tty"),
        libc::S_IFCHR | 0o620,
        libc::makedev(5, 0),
    )
    .unwrap();
    exact(&bench.dir("0/private"), 0o1710, 9);
    for path in ["0/private", "0/bin/link", "0/bin/su", "0/bin"] {
        let path = bench.path(path);
        sys::copy::set_times(sys::fs::cwd(), &path, (1, 2), (1_000_000_000, 123_456_789)).unwrap();
    }
    let mut spec = spec(&bench, vec![Layer::Tree(bench.path("0"))]);
    spec.options.copy = true;
    assert_eq!(mount(&spec, &target).driver, Driver::Copy);
    let list = |root: &Path| {
        let format = "%P %y %m %U %G %T@ %n %l\\n";
        let mut lines: Vec<String> = run("find", &[root.to_str().unwrap(), "-printf", format])
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(list(&bench.path("0")), list(&target));
    let copy = sys::fs::c_path(&target.join("bin/su")).unwrap();
    assert_eq!(
        sys::copy::xattr(&copy, c"security.capability").unwrap().unwrap(),
        capability
    );
    assert_eq!(sys::copy::xattr(&copy, c"trusted.mine").unwrap().unwrap(), b"1");
    let inode = |name: &str| std::fs::symlink_metadata(target.join(name)).unwrap().ino();
    assert_eq!(
        (inode("bin/su"), inode("bin/su")),
        (inode("bin/sudo"), inode("zz"))
    );
    let tty = std::fs::symlink_metadata(target.join("tty")).unwrap();
    assert!(tty.file_type().is_char_device());
    assert_eq!(tty.rdev(), libc::makedev(5, 0));
    // Once more without openat2(2) and copy_file_range(2).
    let plain = bench.dir("plain");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            take_away(&[OPENAT2, libc::SYS_copy_file_range], libc::ENOSYS);
            mount(&spec, &plain);
        });
    });
    assert_eq!(list(&target), list(&plain));
    assert_eq!(read(&plain.join("bin/su")).as_deref(), Some("#!"));
}

#[test]
fn unmounting_takes_everything_and_nothing_else() {
    if !inside("unmounting_takes_everything_and_nothing_else") {
        return;
    }
    let bench = Bench::new();
    let (target, spec) = (bench.dir("target"), spec(&bench, layers(&bench, "store")));
    let before = mounts();
    mount(&spec, &target);
    let at = |name: &str| target.join(name).to_str().unwrap().to_owned();
    run("mount", &["-t", "tmpfs", "t", &at("etc")]);
    std::fs::create_dir(target.join("etc/sub")).unwrap();
    run("mount", &["-t", "tmpfs", "t", &at("etc/sub")]);
    run("mount", &["-t", "tmpfs", "t", &at("etc/sub")]);
    // A shared tree of the host, bound into ours: what happens to the copy must not happen to it.
    let host = bench.dir("host/inner");
    let shared = bench.path("host").to_str().unwrap().to_owned();
    run("mount", &["--bind", &shared, &shared]);
    run("mount", &["--make-shared", &shared]);
    run("mount", &["-t", "tmpfs", "inner", host.to_str().unwrap()]);
    run("mount", &["--rbind", &shared, &at("hidden")]);
    let file = std::fs::File::open(target.join("was-dir")).unwrap();
    let error = unmount(&target, Busy::Refuse).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert_eq!(unmount(&target, Busy::Detach).unwrap(), Unmounted::Lingers);
    assert_eq!(mounts_below(&bench.path("host")).unwrap().len(), 2);
    drop(file);
    assert_eq!(unmount(&target, Busy::Detach).unwrap(), Unmounted::Nothing);
    assert_eq!(mounts(), before + 2);
    assert_eq!(names(&target), Vec::<String>::new());
}
