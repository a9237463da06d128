//! Mounts of a root file system against the kernel. Each test runs again, alone, in a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

use shim::mount::{Mount, mount_all, unmount_all};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const INSIDE: &str = "SHIM_TEST_INSIDE_MOUNTS";

/// True when the caller is to go on: it is root and alone in a mount namespace.
fn inside(test: &str) -> bool {
    if sys::process::effective_ids().0 != 0 {
        println!("skipped: mounts need root");
        return false;
    }
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "timeout", "100"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success(), "{test} failed inside");
    assert!(text.contains("1 passed"), "{test} did not run inside");
    false
}

/// A directory that is a mount, with a `rootfs` in it; gone at the end.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str) -> Bench {
        let dir = std::env::temp_dir().join(format!("shim-mount-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let at = dir.to_str().unwrap();
        // The ids on a tmpfs can be mapped since Linux 6.3; on what /tmp lies on perhaps before.
        match sys::process::kernel_release() < (6, 3) {
            true => run("mount", &["--bind", at, at]),
            false => run("mount", &["-t", "tmpfs", "bench", at]),
        }
        let bench = Bench(dir);
        bench.dir("rootfs");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    fn dir(&self, name: &str) -> String {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self.text(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// Mount points at or below the rootfs, relative to it.
    fn mounted(&self) -> Vec<String> {
        let below = |m: &str| Some(m.strip_prefix(self.rootfs().to_str()?)?.to_string());
        mountinfo()
            .iter()
            .filter_map(|line| below(&line.0))
            .filter(|below| below.is_empty() || below.starts_with('/'))
            .collect()
    }

    /// Layers with a file each, and `upper`, `work`: the options of an overlay.
    fn overlay(&self, below: &str, layers: usize) -> Vec<String> {
        let list: Vec<String> = (0..layers)
            .map(|n| {
                let dir = self.dir(&format!("{below}/{n}/fs"));
                std::fs::write(format!("{dir}/file-{n}"), "").unwrap();
                dir
            })
            .collect();
        vec![
            format!("workdir={}", self.dir("work")),
            format!("upperdir={}", self.dir("upper")),
            format!("lowerdir={}", list.join(":")),
        ]
    }

    fn mount_all(&self, mounts: &[Mount]) -> Result<(), String> {
        mount_all(mounts, &self.rootfs()).map_err(|e| e.to_string())
    }

    fn clear(&self) {
        unmount_all(&self.rootfs()).unwrap();
        assert_eq!(self.mounted(), [""; 0]);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// Mount point, options and tags, type, and options of the super block.
fn mountinfo() -> Vec<(String, String, String, String)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines()
        .map(|line| {
            let (mount, fs) = line.split_once(" - ").unwrap();
            let mount: Vec<&str> = mount.splitn(6, ' ').collect();
            let fs: Vec<&str> = fs.split(' ').collect();
            (mount[4].into(), mount[5].into(), fs[0].into(), fs[2].into())
        })
        .collect()
}

fn last_mount() -> (String, String, String, String) {
    mountinfo().pop().unwrap()
}

fn mount(kind: &str, source: &str, options: &[impl AsRef<str>]) -> Mount {
    Mount {
        kind: kind.into(),
        source: source.into(),
        target: String::new(),
        options: options.iter().map(|o| o.as_ref().to_string()).collect(),
    }
}

fn at(target: &str, mount: Mount) -> Mount {
    Mount {
        target: target.into(),
        ..mount
    }
}

#[test]
fn overlay_and_binds_below_it() {
    if !inside("overlay_and_binds_below_it") {
        return;
    }
    let b = Bench::new("basic");
    let options = b.overlay("layers", 2);
    b.dir("layers/1/fs/deep/er");
    symlink("/deep", b.path("layers/1/fs/link")).unwrap();
    let data = b.dir("data");
    b.file("data/x", "x");
    run(
        "mount",
        &["-t", "tmpfs", "-o", "nosuid", "inner", &b.dir("data/in")],
    );
    b.file("data/in/y", "y");
    b.mount_all(&[
        mount("overlay", "overlay", &options),
        at("/link/er", mount("bind", &data, &["rbind", "ro", "rslave"])),
    ])
    .unwrap();
    assert!(b.path("rootfs/file-0").exists() && b.path("rootfs/file-1").exists());
    b.file("rootfs/new", "");
    assert!(b.path("upper/new").exists());
    assert!(b.path("rootfs/deep/er/x").exists());
    assert!(b.path("rootfs/deep/er/in/y").exists(), "rbind");
    let e = std::fs::write(b.path("rootfs/deep/er/x"), "").unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EROFS));
    b.file("data/x", "the source is not read-only");
    assert_eq!(b.mounted(), ["", "/deep/er", "/deep/er/in"]);
    b.clear();
    assert!(b.path("data/in/y").exists());
    b.clear();
}

#[test]
fn a_bind_keeps_the_flags_that_nobody_spoke_of() {
    if !inside("a_bind_keeps_the_flags_that_nobody_spoke_of") {
        return;
    }
    let b = Bench::new("flags");
    let source = b.dir("source");
    run(
        "mount",
        &["-t", "tmpfs", "-o", "nosuid,nodev,noexec", "source", &source],
    );
    for (options, flags) in [
        (&["bind"] as &[&str], "rw,nosuid,nodev,noexec,"),
        (&["rbind", "ro"], "ro,nosuid,nodev,noexec,"),
        (&["rbind", "rw", "exec"], "rw,nosuid,nodev,relatime"),
        (&["bind", "ro", "suid", "dev", "noatime"], "ro,noexec,noatime"),
    ] {
        b.mount_all(&[mount("bind", &source, options)]).unwrap();
        let found = last_mount().1;
        assert!(found.starts_with(flags), "{options:?}: {found}");
        b.clear();
    }
    // The word alone, without the option.
    b.mount_all(&[mount("bind", &source, &[] as &[&str])]).unwrap();
    b.clear();
    for (option, tag) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        b.mount_all(&[mount("tmpfs", "t", &["size=1m", option, "noexec", "noatime"])])
            .unwrap();
        let (_, found, kind, data) = last_mount();
        assert!(found.contains(tag), "{option}: {found}");
        assert!(found.starts_with("rw,noexec,noatime"), "{found}");
        assert!(kind == "tmpfs" && data.contains("size=1024k"), "{data}");
        b.mount_all(&[mount("", "", &["remount", "bind", "ro", "noexec"])])
            .unwrap();
        assert!(last_mount().1.starts_with("ro,"));
        b.clear();
    }
}

#[test]
fn overlays_with_more_layers_than_fit_into_a_page() {
    if !inside("overlays_with_more_layers_than_fit_into_a_page") {
        return;
    }
    let b = Bench::new("long");
    let here = std::env::current_dir().unwrap();
    // By one parameter each, and, where a path is longer than a parameter can be, relative to a directory.
    let long = format!("{}/{}", "x".repeat(150), "y".repeat(150));
    for (below, layers) in [("layers", 120), (&long, 40)] {
        let mut options = b.overlay(below, layers);
        options.push("userxattr".into());
        options.push("ro".into());
        assert!(options.iter().map(String::len).sum::<usize>() > sys::memory::page_size());
        b.mount_all(&[mount("overlay", "overlay", &options)]).unwrap();
        for n in 0..layers {
            assert!(b.path(&format!("rootfs/file-{n}")).exists(), "{n}");
        }
        let (_, flags, kind, data) = last_mount();
        assert_eq!(kind, "overlay");
        assert!(
            flags.starts_with("ro,") && data.contains("userxattr"),
            "{flags} {data}"
        );
        assert_eq!(std::env::current_dir().unwrap(), here);
        b.clear();
    }
    // What the kernel has against it is told, by either way.
    let mut options = b.overlay("layers", 120);
    options.push("nonsense=1".into());
    let e = b.mount_all(&[mount("overlay", "overlay", &options)]).unwrap_err();
    assert!(e.contains("invalid argument"), "{e}");
    if sys::process::kernel_release() >= (6, 7) {
        assert!(e.contains("nonsense"), "{e}");
    }
    let options = [format!(
        "lowerdir={}:{}",
        b.dir(&"a".repeat(200)),
        format!("/{}", "b".repeat(200)).repeat(25)
    )];
    let e = b.mount_all(&[mount("overlay", "overlay", &options)]).unwrap_err();
    assert!(e.contains("mount options are too long"), "{e}");
    assert_eq!(b.mounted(), [""; 0]);
}

#[test]
fn a_failure_takes_back_what_was_mounted_and_nothing_else() {
    if !inside("a_failure_takes_back_what_was_mounted_and_nothing_else") {
        return;
    }
    let b = Bench::new("undo");
    let source = b.dir("source");
    b.dir("source/sub");
    b.mount_all(&[mount("bind", &source, &["bind"])]).unwrap();
    for (last, says) in [
        (mount("overlay", "o", &["lowerdir=/nowhere:/no"]), "no such file"),
        (
            at("missing", mount("tmpfs", "t", &[] as &[&str])),
            "no such file or directory",
        ),
        (
            mount("tmpfs", "t", &["X-containerd.mkdir.path=/x"]),
            "X-containerd.mkdir.path",
        ),
        (mount("nofs", "t", &["ro"]), "failed to mount nofs on "),
        (mount("tmpfs", "t", &["uidmap=0:1:2"]), "only supported together"),
        // Mounted already when the bad map turns up.
        (
            mount("tmpfs", "t", &["uidmap=0:1:1,0:2:1", "gidmap=0:1:1"]),
            "user namespace",
        ),
        (
            mount("proc", "proc", &["uidmap=0:1:1", "gidmap=0:1:1"]),
            "map the ids of the mount",
        ),
        (mount("fuse.nothing", "t", &[] as &[&str]), "mount helper"),
    ] {
        let mounts = [
            at("sub", mount("tmpfs", "t", &[] as &[&str])),
            mount("bind", &source, &["rbind", "ro"]),
            at("sub", mount("tmpfs", "t", &["ro"])),
            last,
        ];
        let e = b.mount_all(&mounts).unwrap_err();
        assert!(e.contains(says), "{e}");
        assert_eq!(b.mounted(), [""], "{e}");
    }
    b.clear();
}

fn maps_ids(b: &Bench) -> bool {
    let one = ["bind", "uidmap=0:1:1", "gidmap=0:1:1"];
    let done = b.mount_all(&[mount("bind", &b.dir("mapped"), &one)]);
    b.clear();
    if sys::process::kernel_release() < (6, 3) && done.is_err() {
        println!("skipped: ids of this file system cannot be mapped");
        return false;
    }
    done.unwrap();
    true
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")])
        .output()
        .unwrap()
        .status
        .success();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

fn loop_devices_of(image: &str) -> usize {
    std::fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(|e| std::fs::read_to_string(e.unwrap().path().join("loop/backing_file")).ok())
        .filter(|file| file.trim() == image)
        .count()
}

fn wait_until_free(image: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while loop_devices_of(image) > 0 {
        assert!(Instant::now() < end, "a loop device stays");
        std::thread::yield_now();
    }
}

#[test]
fn images_by_loop_device_or_as_files() {
    if !inside("images_by_loop_device_or_as_files") {
        return;
    }
    if !Path::new("/dev/loop-control").exists() {
        println!("skipped: no loop devices");
        return;
    }
    let b = Bench::new("image");
    // Not on the tmpfs: it has no direct I/O on old kernels, and what it lies on must be a file system with blocks.
    let place = std::env::temp_dir().join(format!("shim-image-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let image = |name: &str| place.join(name).to_str().unwrap().to_string();
    let tree = b.dir("tree");
    b.file("tree/x", "inside");
    if has("mkfs.ext4") {
        let ext4 = image("ext4");
        std::fs::File::create(&ext4).unwrap().set_len(16 << 20).unwrap();
        run("/usr/sbin/mkfs.ext4", &["-q", "-b", "4096", "-d", &tree, &ext4]);
        for (options, flags) in [
            (&["loop"] as &[&str], "rw,"),
            (&["loop", "ro", "noload"], "ro,"),
            (&["loop", "direct-io", "nodev"], "rw,nodev"),
        ] {
            b.mount_all(&[mount("ext4", &ext4, options)]).unwrap();
            assert_eq!(std::fs::read_to_string(b.path("rootfs/x")).unwrap(), "inside");
            assert!(last_mount().1.starts_with(flags), "{:?}", last_mount());
            assert_eq!(loop_devices_of(&ext4), 1);
            b.clear();
            wait_until_free(&ext4);
        }
        // No file system: the device must not stay behind.
        let e = b.mount_all(&[mount("ext4", &image("ext4"), &["loop", "nonsense=1"])]);
        assert!(e.unwrap_err().contains("invalid argument"));
        wait_until_free(&ext4);
        let mapped = mount("ext4", &ext4, &["loop", "uidmap=0:7000:9", "gidmap=0:8000:9"]);
        b.mount_all(&[mapped]).unwrap();
        let stat = std::fs::metadata(b.path("rootfs/x")).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (7000, 8000));
        assert_eq!(b.mounted(), [""], "one, not the unmapped one below it");
        b.clear();
        wait_until_free(&ext4);
    }
    if has("mkfs.erofs") {
        let erofs = image("erofs");
        run("mkfs.erofs", &[&erofs, &tree]);
        for options in [&["ro"] as &[&str], &["ro", "loop"], &[]] {
            b.mount_all(&[mount("erofs", &erofs, options)]).unwrap();
            assert_eq!(std::fs::read_to_string(b.path("rootfs/x")).unwrap(), "inside");
            b.clear();
            wait_until_free(&erofs);
        }
    }
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn layers_with_mapped_ids() {
    if !inside("layers_with_mapped_ids") {
        return;
    }
    let b = Bench::new("idmap");
    if !maps_ids(&b) {
        return;
    }
    let (namespace, directory) = (
        || std::fs::read_link("/proc/self/ns/mnt").unwrap(),
        std::env::current_dir().unwrap(),
    );
    // As on most hosts: what is only needed on the way must not be seen outside.
    run("mount", &["--make-rshared", "/"]);
    let (before, home) = (mountinfo(), namespace());
    // Few layers, and so many that their options do not fit into a page.
    for (below, layers) in [("few", 2), ("many", 120)] {
        let mut options = b.overlay(below, layers);
        options.extend(["uidmap=0:100000:65536".into(), "gidmap=0:200000:65536".into()]);
        b.mount_all(&[mount("overlay", "overlay", &options)]).unwrap();
        let stat = std::fs::metadata(b.path("rootfs/file-0")).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (100000, 200000));
        b.file("rootfs/new", "the upper layer is not mapped");
        assert_eq!(std::fs::metadata(b.path("upper/new")).unwrap().uid(), 0);
        assert_eq!(std::fs::metadata(b.path("rootfs/new")).unwrap().uid(), 0);
        assert_eq!(namespace(), home);
        assert_eq!(std::env::current_dir().unwrap(), directory);
        let now = mountinfo();
        assert_eq!(now[..now.len() - 1], before, "one mount more");
        let (_, _, kind, data) = last_mount();
        assert_eq!(kind, "overlay");
        let whole = below == "few" || sys::process::kernel_release() >= (6, 7);
        let name = match whole {
            true => b.text(&format!("{below}/0/fs")),
            false => "0/fs:1/fs:".into(),
        };
        assert!(data.contains(&name), "the layers' own names: {data}");
        b.clear();
    }
    // Outside of the map.
    let one = ["bind", "uidmap=5:6:1", "gidmap=5:6:1"];
    b.mount_all(&[mount("bind", &b.dir("few/0/fs"), &one)]).unwrap();
    assert_eq!(std::fs::metadata(b.path("rootfs/file-0")).unwrap().uid(), 65534);
    b.clear();
    // With what is mounted below it.
    if sys::process::kernel_release() < (6, 3) {
        println!("skipped: ids of a tmpfs cannot be mapped");
        return;
    }
    run("mount", &["-t", "tmpfs", "in", &b.dir("few/in")]);
    b.file("few/in/x", "");
    let all = ["rbind", "ro", "uidmap=0:6:9", "gidmap=0:7:9"];
    b.mount_all(&[mount("bind", &b.dir("few"), &all)]).unwrap();
    for file in ["0/fs/file-0", "in/x"] {
        let stat = std::fs::metadata(b.rootfs().join(file)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (6, 7), "{file}");
    }
    assert!(std::fs::write(b.path("rootfs/0/fs/file-0"), "").is_err());
    assert_eq!(b.mounted(), ["", "/in"]);
    b.clear();
}

#[test]
fn programs_as_file_systems() {
    if !inside("programs_as_file_systems") {
        return;
    }
    if !["mount.fuse", "mount.fuse3", "bindfs"].iter().all(|p| has(p)) {
        return;
    }
    if sys::fs::open(Path::new("/dev/fuse"), libc::O_RDWR, 0).is_err() {
        println!("skipped: no right to FUSE");
        return;
    }
    let b = Bench::new("fuse");
    let source = b.dir("source");
    b.file("source/x", "by a program");
    for kind in ["fuse.bindfs", "fuse3.bindfs"] {
        b.mount_all(&[mount(kind, &source, &["ro", "force-user=9"])])
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(b.path("rootfs/x")).unwrap(),
            "by a program"
        );
        assert_eq!(std::fs::metadata(b.path("rootfs/x")).unwrap().uid(), 9);
        assert_eq!(last_mount().2, "fuse");
        b.clear();
    }
    let e = b
        .mount_all(&[mount("fuse3.bindfs", &b.text("nowhere"), &[] as &[&str])])
        .unwrap_err();
    assert!(
        e.contains("mount helper mount.fuse3 failed: ") && e.contains("exit status"),
        "{e}"
    );
    assert!(e.contains("nowhere"), "the helper's words: {e}");
}

#[test]
fn everything_below_is_unmounted_and_nothing_beside() {
    if !inside("everything_below_is_unmounted_and_nothing_beside") {
        return;
    }
    let b = Bench::new("hostile");
    let beside = b.dir("rootfs2");
    let outside = b.dir("outside");
    for dir in [&beside, &outside] {
        run("mount", &["-t", "tmpfs", "kept", dir]);
    }
    let nothing_but_beside = || {
        assert_eq!(b.mounted(), [""; 0]);
        let kept = mountinfo()
            .iter()
            .filter(|m| m.0 == beside || m.0 == outside)
            .count();
        assert_eq!(kept, 2);
    };
    // Nothing there, nothing mounted, no directory.
    b.clear();
    unmount_all(&b.path("nowhere")).unwrap();
    unmount_all(Path::new(&b.file("plain", ""))).unwrap();
    // Stacks at and below a root that is itself no mount, under names that need quoting.
    let odd = b.dir("rootfs/a b/\n\\040/c");
    let file = b.file("rootfs/file", "");
    for dir in [&odd, &odd, &b.dir("rootfs/a b")] {
        run("mount", &["-t", "tmpfs", "x", dir]);
    }
    run("mount", &["--bind", "/dev/null", &file]);
    symlink(&outside, b.path("rootfs/link")).unwrap();
    assert_eq!(b.mounted().len(), 4);
    unmount_all(&b.rootfs()).unwrap();
    nothing_but_beside();
    std::fs::remove_file(&file).unwrap();
    // A stack at the root, with a mount in each.
    for _ in 0..3 {
        run("mount", &["-t", "tmpfs", "x", &b.dir("rootfs")]);
        run("mount", &["-t", "tmpfs", "y", &b.dir("rootfs/in")]);
    }
    unmount_all(&b.rootfs()).unwrap();
    nothing_but_beside();
    // In use.
    run("mount", &["-t", "tmpfs", "x", &b.dir("rootfs")]);
    let used = std::fs::File::create(b.path("rootfs/used")).unwrap();
    unmount_all(&b.rootfs()).unwrap();
    nothing_but_beside();
    drop(used);
    // The root is a link: what it points to is not ours.
    std::fs::remove_dir_all(b.rootfs()).unwrap();
    symlink(&outside, b.rootfs()).unwrap();
    unmount_all(&b.rootfs()).unwrap();
    assert_eq!(mountinfo().iter().filter(|m| m.0 == outside).count(), 1);
    let e = b.mount_all(&[mount("tmpfs", "t", &["ro"])]).unwrap_err();
    assert!(e.contains("not a directory"), "{e}");
}

/// What is unmounted below the copy of a shared tree is unmounted in the tree as well: it must be parted from it before.
#[test]
fn the_original_of_a_copied_tree_stays_whole() {
    if !inside("the_original_of_a_copied_tree_stays_whole") {
        return;
    }
    let b = Bench::new("shared");
    run("mount", &["--make-rshared", "/"]);
    let tree = b.dir("tree");
    for dir in ["tree/in", "tree/in/deeper", "tree/beside"] {
        run("mount", &["-t", "tmpfs", "original", &b.dir(dir)]);
    }
    b.dir("rootfs/sub");
    b.dir("base/sub");
    let before = mountinfo();
    let copy = |target| at(target, mount("bind", &tree, &["rbind"]));
    let base = mount("bind", &b.text("base"), &["bind"]);
    let mut cases = vec![
        vec![copy("")],
        vec![copy("sub")],
        vec![copy("sub"), copy("sub")],
        vec![base, copy("sub")],
    ];
    if sys::process::kernel_release() >= (6, 3) {
        cases.push(vec![mount(
            "bind",
            &tree,
            &["rbind", "uidmap=0:6:9", "gidmap=0:7:9"],
        )]);
    }
    for mounts in cases {
        b.mount_all(&mounts).unwrap();
        let now = mountinfo();
        assert!(now.len() >= before.len() + 4);
        let elsewhere = now
            .iter()
            .filter(|m| !m.0.starts_with(b.rootfs().to_str().unwrap()));
        assert_eq!(elsewhere.cloned().collect::<Vec<_>>(), before, "{mounts:?}");
        unmount_all(&b.rootfs()).unwrap();
        assert_eq!(mountinfo(), before, "{mounts:?}");
        let failing: Vec<Mount> = mounts.into_iter().chain([mount("nofs", "", &["ro"])]).collect();
        b.mount_all(&failing).unwrap_err();
        assert_eq!(mountinfo(), before, "{failing:?}");
    }
    // Mounted by somebody who did not part them.
    for target in ["rootfs", "rootfs/sub"] {
        run("mount", &["--rbind", &tree, &b.text(target)]);
        unmount_all(&b.rootfs()).unwrap();
        assert_eq!(mountinfo(), before, "{target}");
    }
}

/// Whatever the moment, one call removes all that is left, and no loop device stays.
#[test]
fn killed_at_any_instant_only_mounts_at_the_root_are_left() {
    if !inside("killed_at_any_instant_only_mounts_at_the_root_are_left") {
        return;
    }
    let b = Bench::new("killed");
    let mut options = b.overlay("layers", 40);
    if maps_ids(&b) {
        options.extend(["uidmap=0:100000:65536".into(), "gidmap=0:200000:65536".into()]);
    }
    b.dir("layers/0/fs/sub");
    let image = std::env::temp_dir().join(format!("shim-killed-{}", std::process::id()));
    let mut mounts = vec![
        mount("overlay", "overlay", &options),
        at("sub", mount("bind", &b.dir("layers/1"), &["rbind", "ro"])),
    ];
    if has("mkfs.ext4") && Path::new("/dev/loop-control").exists() {
        std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
        run("/usr/sbin/mkfs.ext4", &["-q", image.to_str().unwrap()]);
        mounts.push(mount("ext4", image.to_str().unwrap(), &["loop", "ro"]));
    }
    let before = mountinfo();
    let begun = Instant::now();
    b.mount_all(&mounts).unwrap();
    let whole = begun.elapsed();
    b.clear();
    let (mut unfinished, mut partly) = (0, 0);
    for n in 0..40 {
        let begun = Instant::now();
        match sys::process::fork(0, None).unwrap() {
            sys::process::Forked::Child => {
                let done = mount_all(&mounts, &b.rootfs());
                sys::process::exit_now(if done.is_ok() { 0 } else { 1 })
            }
            sys::process::Forked::Parent { pid, .. } => {
                while begun.elapsed() < whole * n / 30 {
                    std::hint::spin_loop();
                }
                sys::process::kill(pid, libc::SIGKILL).unwrap();
                let end = sys::process::wait_pid(pid, sys::process::Block::Yes).unwrap();
                match end.unwrap() {
                    sys::process::Exit::Signal(_) => unfinished += 1,
                    sys::process::Exit::Code(code) => assert_eq!(code, 0),
                }
            }
        }
        let now = mountinfo();
        if now.len() > before.len() && now.len() < before.len() + mounts.len() {
            partly += 1;
        }
        unmount_all(&b.rootfs()).unwrap();
        assert_eq!(mountinfo(), before);
        wait_until_free(image.to_str().unwrap());
    }
    println!("{unfinished} of 40 were killed in the middle, {partly} had mounted some");
    assert!(unfinished > 0);
    let _ = std::fs::remove_file(&image);
}
