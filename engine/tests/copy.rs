//! `cp` against the kernel: what goes where, and containers that do not sit still. Each case runs again, alone, in a mount namespace
//! of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench::{Bench, RIGHTS, inside, picture, run, set_attribute, sh};
use engine::copy::{self, Container, Options, Place, Whose, expand};
use engine::root::{Bind, Last, Root};
use engine::tree::place::{Owners, Placer};
use engine::tree::{Contents, Sink, walk};
use image::Kind;
use image::layer::tar::{Entry, Type};
use image::mount::{Layer, Spec, Upper};
use image::registry::Cancel;

struct Played {
    bench: Bench,
    cancel: Cancel,
}

impl Played {
    fn new() -> Played {
        let bench = Bench::new();
        bench.dir("root");
        bench.dir("host");
        Played {
            bench,
            cancel: Cancel::new(),
        }
    }

    fn options(&self, flags: &str) -> Options<'_> {
        Options {
            archive: flags.contains('a'),
            follow: flags.contains('L'),
            cancel: &self.cancel,
        }
    }

    /// `c:PATH` is the container's; all others are below the host's directory.
    fn copy(&self, flags: &str, from: &str, to: &str) -> image::Result<u64> {
        let root = Root::at(&self.bench.path("root")).unwrap();
        self.copy_with(&root, flags, from, to)
    }

    fn copy_with(&self, root: &Root, flags: &str, from: &str, to: &str) -> image::Result<u64> {
        let host = self.bench.path("host");
        let join = |text: &str| match text.strip_prefix("c:") {
            Some(path) => path.to_owned(),
            // Not join: it would drop the dot at the end.
            None => format!("{}/{text}", host.display()),
        };
        let (source, target) = (join(from), join(to));
        let place = |text: &str, path: &str| (text.starts_with("c:"), path.to_owned());
        let (a, b) = (place(from, &source), place(to, &target));
        let side = |of: &(bool, String)| match of.0 {
            true => Whose::Container(container(root)),
            false => Whose::Host,
        };
        copy::copy(
            &Place {
                whose: side(&a),
                path: Path::new(&a.1),
            },
            &Place {
                whose: side(&b),
                path: Path::new(&b.1),
            },
            &self.options(flags),
        )
    }

    fn refused(&self, from: &str, to: &str) -> String {
        self.copy("", from, to).unwrap_err().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.bench.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn container(root: &Root) -> Container<'_> {
    Container {
        name: "c1",
        root,
        is_read_only: false,
        owner: (0, 0),
    }
}

#[test]
fn what_goes_where() {
    if !inside("what_goes_where") {
        return;
    }
    let p = Played::new();
    p.bench.file("host/f", "new");
    p.bench.file("host/d/x", "x");
    p.bench.file("host/d/sub/y", "y");
    p.bench.dir("root/srv");
    p.bench.file("root/old", "old");
    // A file becomes one, takes the place of one, goes into a directory.
    p.copy("", "f", "c:/made").unwrap();
    assert_eq!(p.read("root/made"), "new");
    p.copy("", "f", "c:old").unwrap();
    assert_eq!(p.read("root/old"), "new");
    p.copy("", "f", "c:/srv").unwrap();
    p.copy("", "f", "c:/srv/named").unwrap();
    assert_eq!(
        (p.read("root/srv/f"), p.read("root/srv/named")),
        ("new".into(), "new".into())
    );
    // A directory is made, or goes into one, or only its contents do.
    p.copy("", "d", "c:/fresh").unwrap();
    assert_eq!(p.read("root/fresh/sub/y"), "y");
    p.copy("", "d", "c:/fresh").unwrap();
    assert_eq!(p.read("root/fresh/d/x"), "x");
    p.copy("", "d/.", "c:/srv").unwrap();
    assert_eq!(p.read("root/srv/sub/y"), "y");
    p.copy("", "d/.", "c:/new").unwrap();
    assert_eq!(p.read("root/new/sub/y"), "y");
    p.copy("", "c:/", "all").unwrap();
    assert_eq!(p.read("host/all/new/x"), "x");
    p.copy("", "c:/fresh/", "out").unwrap();
    assert_eq!(p.read("host/out/sub/y"), "y");
    // In Docker's words.
    for (from, to, words) in [
        ("f", "c:/nothing/", "no such directory"),
        ("f", "c:/no/where", "Could not find the file /no in container c1"),
        ("d", "c:/old", "cannot copy directory"),
        ("f", "c:/old/", "no such directory"),
        ("c:/old", "f/", "stat /mnt/host/f/: not a directory"),
        ("c:/nope", "x", "Could not find the file /nope in container c1"),
        ("c:/old/.", "x", "Could not find the file /old in container c1"),
        ("nope", "c:/", "lstat /mnt/host/nope: no such file or directory"),
        (
            "c:/old",
            "no/where",
            "invalid output path: directory \"/mnt/host/no\" does not exist",
        ),
    ] {
        assert_eq!(p.refused(from, to), words, "{from} {to}");
    }
    p.bench.dir("root/clash/f");
    p.bench.file("root/clash/d", "");
    let refused = p.refused("f", "c:/clash");
    assert!(
        refused.contains("cannot overwrite directory \"f\" with non-directory"),
        "{refused}"
    );
    let refused = p.refused("d", "c:/clash");
    assert!(
        refused.contains("cannot overwrite non-directory \"d\" with directory"),
        "{refused}"
    );
    sh("mknod /mnt/root/null c 1 3");
    assert_eq!(
        p.refused("f", "c:/null"),
        "destination \"c1:/null\" must be a directory or a regular file: got a device"
    );
    // Between containers, and into itself.
    p.copy("", "c:/fresh", "c:/srv/again").unwrap();
    assert_eq!(p.read("root/srv/again/d/x"), "x");
    p.copy("", "c:/fresh", "c:/fresh/inner").unwrap();
    assert_eq!(p.read("root/fresh/inner/sub/y"), "y");
    assert!(!p.bench.path("root/fresh/inner/inner").exists());
    assert!(
        p.refused("c:/fresh", "c:/fresh/sub")
            .contains("cannot copy a directory into itself")
    );
}

#[test]
fn links_stay_inside() {
    if !inside("links_stay_inside") {
        return;
    }
    let p = Played::new();
    p.bench.file("secret", "of the host");
    p.bench.file("root/mnt/secret", "of the container");
    p.bench.link("/mnt/secret", "root/absolute");
    p.bench.link("../../../../../mnt/secret", "root/climbing");
    p.bench.link("/mnt", "root/dir");
    p.bench.file("host/f", "from the host");
    for link in ["absolute", "climbing"] {
        p.copy("L", &format!("c:/{link}"), link).unwrap();
        assert_eq!(p.read(&format!("host/{link}")), "of the container");
        fs::remove_file(p.bench.path("host").join(link)).unwrap();
        p.copy("", &format!("c:/{link}"), link).unwrap();
        assert!(
            fs::symlink_metadata(p.bench.path("host").join(link))
                .unwrap()
                .is_symlink()
        );
        fs::remove_file(p.bench.path("host").join(link)).unwrap();
        // As a target it is followed inside.
        p.copy("", "f", &format!("c:/{link}")).unwrap();
        assert_eq!(p.read("root/mnt/secret"), "from the host");
        assert_eq!(p.read("secret"), "of the host");
        fs::write(p.bench.path("root/mnt/secret"), "of the container").unwrap();
    }
    p.copy("", "f", "c:/dir/here").unwrap();
    assert_eq!(p.read("root/mnt/here"), "from the host");
    assert!(!p.bench.path("here").exists());
    p.copy("", "c:/dir/.", "contents").unwrap();
    assert_eq!(p.read("host/contents/secret"), "of the container");
    // `..` from the root is the root.
    p.copy("", "c:/../../mnt/secret", "up").unwrap();
    assert_eq!(p.read("host/up"), "of the container");
    // Links in the source tree are copied as they are, and not gone through.
    p.copy("a", "c:/", "whole").unwrap();
    assert!(
        fs::symlink_metadata(p.bench.path("host/whole/dir"))
            .unwrap()
            .is_symlink()
    );
    // A link in the target tree is no directory.
    p.bench.file("host/tree/dir/x", "x");
    let refused = p.refused("tree/.", "c:/");
    assert!(refused.contains("cannot overwrite non-directory"), "{refused}");
    assert!(!p.bench.path("x").exists());
}

#[test]
fn magic_links_lead_nowhere() {
    if !inside("magic_links_lead_nowhere") {
        return;
    }
    let p = Played::new();
    p.bench.file("host/f", "f");
    p.bench.dir("root/proc");
    run("mount", &["-t", "proc", "proc", "/mnt/root/proc"]);
    p.bench.link("/proc/self/root", "root/out");
    p.bench.link("/proc/1/root/etc/passwd", "root/passwd");
    for path in [
        "c:/out/etc/passwd",
        "c:/proc/self/root/etc/passwd",
        "c:/proc/self/cwd/x",
    ] {
        assert!(p.copy("", path, "stolen").is_err(), "{path}");
        assert!(p.copy("L", path, "stolen").is_err(), "{path}");
        assert!(p.copy("", "f", path).is_err(), "{path}");
    }
    assert!(p.copy("L", "c:/passwd", "stolen").is_err());
    assert!(!p.bench.path("host/stolen").exists());
    // What the kernel says is no file, and nothing is said to it.
    for (from, to) in [
        ("c:/proc/cmdline", "x"),
        ("c:/proc", "x"),
        ("f", "c:/proc/sys/kernel/x"),
        ("f", "c:/proc"),
    ] {
        assert_eq!(
            p.copy("", from, to).unwrap_err().kind(),
            Kind::Unsupported,
            "{from} {to}"
        );
    }
    p.copy("", "c:/", "all").unwrap();
    assert_eq!(fs::read_dir(p.bench.path("host/all/proc")).unwrap().count(), 0);
}

#[test]
fn nothing_waits_for_a_fifo() {
    if !inside("nothing_waits_for_a_fifo") {
        return;
    }
    let p = Played::new();
    p.bench.fifo("root/pipe");
    p.bench.fifo("host/pipe");
    p.bench.file("host/f", "f");
    p.copy("", "c:/pipe", "copied").unwrap();
    assert!(
        fs::symlink_metadata(p.bench.path("host/copied"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    p.copy("", "pipe", "c:/copied").unwrap();
    p.copy("L", "c:/pipe", "again").unwrap();
    p.copy("", "f", "c:/pipe").unwrap();
    assert_eq!(p.read("root/pipe"), "f");
    p.copy("", "f", "pipe").unwrap();
    assert_eq!(p.read("host/pipe"), "f");
}

#[test]
fn owners_modes_times_and_attributes() {
    if !inside("owners_modes_times_and_attributes") {
        return;
    }
    let p = Played::new();
    sh(
        "cd /mnt/root; mkdir d; echo x > d/f; ln d/f d/hard; ln -s f d/soft; mkfifo d/pipe; mknod d/dev c 1 3; \
        truncate -s 64M d/holes; echo end >> d/holes; chmod 1711 d; chown -R -h 1000:1001 d; chmod 4755 d/f; \
        touch -h -d '2001-02-03 04:05:06.789' d/f d/soft d/pipe d/dev d/holes d",
    );
    set_attribute("/mnt/root/d/f", c"user.a", b"b");
    set_attribute("/mnt/root/d/f", c"security.capability", &RIGHTS);
    p.copy("a", "c:/d", "kept").unwrap();
    assert_eq!(
        picture(&p.bench.path("root/d")),
        picture(&p.bench.path("host/kept"))
    );
    assert_eq!(
        fs::metadata(p.bench.path("host/kept")).unwrap().mode() & 0o7777,
        0o1711
    );
    assert_eq!(
        fs::metadata(p.bench.path("host/kept")).unwrap().mtime(),
        981_173_106
    );
    assert_eq!(fs::metadata(p.bench.path("host/kept/f")).unwrap().nlink(), 2);
    assert!(fs::metadata(p.bench.path("host/kept/holes")).unwrap().blocks() < 1000);
    p.copy("", "c:/d", "plain").unwrap();
    let plain = picture(&p.bench.path("host/plain"));
    assert!(plain.contains("./f f 4755 0:0 "), "{plain}");
    assert!(
        plain.contains("security.capability") && !plain.contains("user.a"),
        "{plain}"
    );
    // Into a user namespace, root is somebody else.
    let root = Root::at(&p.bench.path("root")).unwrap();
    let to = Container {
        owner: (100_000, 100_001),
        ..container(&root)
    };
    copy::copy(
        &Place {
            whose: Whose::Host,
            path: Path::new("/mnt/host/plain"),
        },
        &Place {
            whose: Whose::Container(to),
            path: Path::new("/mapped"),
        },
        &p.options(""),
    )
    .unwrap();
    let stat = fs::metadata(p.bench.path("root/mapped/f")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (100_000, 100_001));
}

#[test]
fn archives_in_and_out() {
    if !inside("archives_in_and_out") {
        return;
    }
    let p = Played::new();
    sh(
        "cd /mnt/root; mkdir -p d/e usr/lib; echo x > d/e/f; ln d/e/f d/g; ln -s usr/lib lib; ln -s /usr/lib abs",
    );
    let root = Root::at(&p.bench.path("root")).unwrap();
    let place = |path| Place {
        whose: Whose::Container(container(&root)),
        path: Path::new(path),
    };
    let packed = |path| {
        let mut bytes = Vec::new();
        copy::pack(&place(path), &mut bytes, &p.options("")).unwrap();
        fs::write("/mnt/host/a.tar", &bytes).unwrap();
        run("tar", &["tf", "/mnt/host/a.tar"])
    };
    assert_eq!(packed("/d"), "d/\nd/e/\nd/e/f\nd/g\n");
    assert_eq!(packed("/d/."), "./\n./e/\n./e/f\n./g\n");
    assert_eq!(packed("d/e/f"), "f\n");
    let archive = |script: &str| {
        sh(&format!("rm -rf /mnt/t; mkdir /mnt/t; cd /mnt/t; {script}"));
        fs::read("/mnt/t/a.tar").unwrap()
    };
    let unpack =
        |bytes: &[u8], path: &str| copy::unpack(bytes, &container(&root), Path::new(path), &p.options(""));
    // Links of the container on the way are followed inside.
    let bytes = archive(
        "mkdir -p lib/sub abs; echo 1 > lib/one; echo 2 > lib/sub/two; echo 3 > abs/three; tar cf a.tar lib abs",
    );
    unpack(&bytes, "/").unwrap();
    assert_eq!(p.read("root/usr/lib/one"), "1\n");
    assert_eq!(p.read("root/usr/lib/sub/two"), "2\n");
    assert_eq!(p.read("root/usr/lib/three"), "3\n");
    assert!(!Path::new("/usr/lib/three").exists());
    assert!(
        fs::symlink_metadata(p.bench.path("root/lib"))
            .unwrap()
            .is_symlink()
    );
    // An archive that makes a link and goes through it stays inside as well.
    p.bench.file("victim/keep", "kept");
    let bytes = archive(
        "ln -s /mnt/victim hole; tar cf a.tar hole; rm hole; mkdir hole; echo bad > hole/keep; tar rf a.tar hole/keep",
    );
    let _ = unpack(&bytes, "/");
    assert_eq!(p.read("victim/keep"), "kept");
    let bytes = archive("touch x; tar cf a.tar -P --transform 's,x,../../x,' x");
    assert!(unpack(&bytes, "/usr").is_err());
    assert!(!p.bench.path("root/x").exists());
    assert_eq!(
        unpack(&bytes, "/d/g").unwrap_err().to_string(),
        "destination \"c1:/d/g\" must be a directory"
    );
}

#[test]
fn a_container_that_swaps_directories_wins_nothing() {
    if !inside("a_container_that_swaps_directories_wins_nothing") {
        return;
    }
    let p = Played::new();
    p.bench.file("victim/f", "of the host");
    p.bench.file("root/a/b/f", "of the container");
    p.bench.link("/mnt/victim", "root/a/evil");
    p.bench.file("host/b/f", "copied");
    p.bench.file("host/b/g", "copied");
    // The link is in the middle of a path as well.
    p.bench.file("host/b/deep/f", "copied");
    p.bench.file("root/a/b/deep/f", "of the container");
    p.bench.file("victim/deep/f", "of the host");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let a = sys::fs::open(&p.bench.path("root/a"), libc::O_PATH, 0).unwrap();
            while !stop.load(Ordering::Relaxed) {
                sys::fs::exchange(a.as_fd(), Path::new("b"), a.as_fd(), Path::new("evil")).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_secs(2);
        let (mut done, mut failed) = (0, 0);
        while Instant::now() < until {
            for (from, to) in [
                ("c:/a/b/f", "x1"),
                ("c:/a/b/.", "x2"),
                ("c:/a", "x3"),
                ("b/f", "c:/a/b/f"),
                ("b/.", "c:/a/b/"),
                ("b", "c:/a"),
            ] {
                match p.copy("", from, to) {
                    Ok(_) => done += 1,
                    Err(_) => failed += 1,
                }
            }
            for name in ["x1", "x2", "x3"] {
                let _ = fs::remove_dir_all(p.bench.path("host").join(name));
                let _ = fs::remove_file(p.bench.path("host").join(name));
            }
        }
        stop.store(true, Ordering::Relaxed);
        println!("{done} copies, {failed} refused");
        assert!(done > 0 && failed > 0);
    });
    assert_eq!(p.read("victim/f"), "of the host");
    assert_eq!(p.read("victim/deep/f"), "of the host");
    assert_eq!(fs::read_dir(p.bench.path("victim")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(p.bench.path("victim/deep")).unwrap().count(), 1);
}

/// The same without luck: the swap comes exactly between two steps.
#[test]
fn a_directory_that_is_swapped_between_two_steps() {
    if !inside("a_directory_that_is_swapped_between_two_steps") {
        return;
    }
    let p = Played::new();
    p.bench.file("victim/deep/f", "of the host");
    p.bench.file("root/b/deep/f", "of the container");
    p.bench.link("/mnt/victim", "root/evil");
    let a = sys::fs::open(&p.bench.path("root"), libc::O_PATH, 0).unwrap();
    let swap = || sys::fs::exchange(a.as_fd(), Path::new("b"), a.as_fd(), Path::new("evil")).unwrap();
    let entry = |path: &str, kind| Entry {
        path: path.into(),
        kind,
        mode: 0o755,
        ..Entry::default()
    };
    let mut placer = Placer::new(a.as_fd(), Owners::Keep);
    for name in ["b", "b/deep"] {
        placer
            .take(&entry(name, Type::Directory), Contents::Nothing)
            .unwrap();
    }
    swap();
    for (name, kind) in [
        ("b/deep/f", Type::File),
        ("b/deep/new", Type::Fifo),
        ("b/deep/dir", Type::Directory),
        ("b/deep/made/f", Type::File),
        ("b/f", Type::Directory),
    ] {
        let taken = placer.take(&entry(name, kind), Contents::Nothing);
        // What was opened before is still the container's own.
        assert!(taken.is_err() || p.bench.path("root/evil/f").exists(), "{name}");
    }
    assert!(placer.finish().is_err());
    assert_eq!(p.read("victim/deep/f"), "of the host");
    assert_eq!(sh("cd /mnt/victim; find | sort"), ".\n./deep\n./deep/f\n");
    swap();

    // What is read while it is swapped is the container's.
    struct Reader<'r>(&'r dyn Fn(), Vec<String>);
    impl Sink for Reader<'_> {
        fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> image::Result<()> {
            if entry.path.starts_with(b"top/b") && entry.kind == Type::Directory {
                (self.0)();
            }
            if let Contents::File(mut file) = contents {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut file, &mut text).unwrap();
                self.1.push(text);
            }
            Ok(())
        }
    }
    let mut reader = Reader(&swap, Vec::new());
    let options = walk::Options {
        attributes: walk::Attributes::All,
        closed: Vec::new(),
        target: None,
        cancel: &p.cancel,
    };
    walk::walk(a.as_fd(), b"top", &options, &mut reader).unwrap();
    assert!(
        reader.1.iter().any(|text| text == "of the container"),
        "{:?}",
        reader.1
    );
    assert!(reader.1.iter().all(|text| text != "of the host"));
}

/// Deeper than descriptors may be open, and the way there is another by then.
#[test]
fn a_deep_tree_is_copied_and_not_left() {
    if !inside("a_deep_tree_is_copied_and_not_left") {
        return;
    }
    let p = Played::new();
    let mut at = p.bench.path("root/deep");
    for level in 0..200 {
        at.push(format!("d{level}"));
    }
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("f"), "far below").unwrap();
    fs::write(p.bench.path("root/deep/d0/last"), "and back").unwrap();
    p.copy("", "c:/deep", "out").unwrap();
    let below = at.strip_prefix(p.bench.path("root/deep")).unwrap();
    let copied = p.bench.path("host/out").join(below).join("f");
    assert_eq!(fs::read_to_string(copied).unwrap(), "far below");
    assert_eq!(p.read("host/out/d0/last"), "and back");
    p.copy("", "out", "c:/again").unwrap();
    assert_eq!(p.read("root/again/d0/last"), "and back");
}

#[test]
fn nothing_of_the_host_is_read_through_a_swapped_file() {
    if !inside("nothing_of_the_host_is_read_through_a_swapped_file") {
        return;
    }
    let p = Played::new();
    p.bench.file("secret", "secret");
    p.bench.file("root/d/f", "open");
    p.bench.link("/mnt/secret", "root/d/evil");
    p.bench.fifo("root/d/pipe");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let d = sys::fs::open(&p.bench.path("root/d"), libc::O_PATH, 0).unwrap();
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                let other = if turn % 2 == 0 { "evil" } else { "pipe" };
                sys::fs::exchange(d.as_fd(), Path::new("f"), d.as_fd(), Path::new(other)).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            for flags in ["", "L"] {
                if p.copy(flags, "c:/d/f", "out").is_ok()
                    && let Ok(kind) = fs::symlink_metadata(p.bench.path("host/out"))
                {
                    if kind.is_file() {
                        assert_eq!(p.read("host/out"), "open");
                    }
                    fs::remove_file(p.bench.path("host/out")).unwrap();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_root_that_nobody_else_sees() {
    if !inside("a_root_that_nobody_else_sees") {
        return;
    }
    let p = Played::new();
    p.bench.file("layer/etc/name", "image");
    p.bench.dir("layer/data");
    p.bench.file("volume/v", "volume");
    for name in ["upper", "work", "place"] {
        p.bench.dir(name);
    }
    let spec = Spec {
        layers: vec![Layer::Tree("/mnt/layer".into())],
        upper: Some(Upper {
            upper: "/mnt/upper".into(),
            work: "/mnt/work".into(),
        }),
        ..Spec::default()
    };
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let binds = [Bind {
        source: "/mnt/volume".into(),
        part: None,
        options: None,
        target: "/data".into(),
        is_read_only: true,
    }];
    let root = Root::mounted(&spec, Path::new("/mnt/place"), &binds).unwrap();
    assert_eq!(before, fs::read_to_string("/proc/self/mountinfo").unwrap());
    assert_eq!(fs::read_dir("/mnt/place").unwrap().count(), 0);
    p.copy_with(&root, "", "c:/data/v", "v").unwrap();
    assert_eq!(p.read("host/v"), "volume");
    p.bench.file("host/f", "f");
    p.copy_with(&root, "", "f", "c:/etc/new").unwrap();
    assert_eq!(p.read("upper/etc/new"), "f");
    assert_eq!(
        p.copy_with(&root, "", "f", "c:/data/new")
            .unwrap_err()
            .to_string(),
        "mounted volume is marked read-only"
    );
    let read_only = Container {
        is_read_only: true,
        ..container(&root)
    };
    let refused = copy::copy(
        &Place {
            whose: Whose::Host,
            path: Path::new("/mnt/host/f"),
        },
        &Place {
            whose: Whose::Container(read_only),
            path: Path::new("/etc"),
        },
        &p.options(""),
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "container rootfs is marked read-only"
    );
    // Patterns of a shell.
    p.bench.file("host/n2", "");
    p.copy_with(&root, "", "n2", "c:/etc/name2").unwrap();
    let found = expand(&container(&root), Path::new("/e*/na?e*")).unwrap();
    assert_eq!(found, [Path::new("/etc/name"), Path::new("/etc/name2")]);
    assert!(expand(&container(&root), Path::new("/x*")).is_err());
    assert!(root.open(Path::new("/data/v"), Last::Keep, 0).is_ok());
}

#[test]
fn the_root_of_a_process() {
    if !inside("the_root_of_a_process") {
        return;
    }
    let p = Played::new();
    sh("cd /mnt/root; mkdir -p bin data dev; cp /bin/busybox bin/; echo under > data/under");
    p.bench.file("volume/v", "volume");
    p.bench.file("hosts", "hosts");
    p.bench.file("root/hosts", "");
    // A container by hand: its mounts, its root.
    let mut child = std::process::Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec"])
        .arg(
            "mount --bind /mnt/root /mnt/root; mount --bind /mnt/volume /mnt/root/data; \
             mount --bind /mnt/hosts /mnt/root/hosts; mount -t tmpfs tmpfs /mnt/root/dev; touch /mnt/root/dev/null; \
             exec chroot /mnt/root /bin/busybox sh -c 'echo ready; read x'",
        )
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let process = monitor::state::Process::of(i32::try_from(child.id()).unwrap()).unwrap();
    let whole = Root::of_process(&process).unwrap();
    p.copy_with(&whole, "", "c:/data/v", "v").unwrap();
    assert_eq!(p.read("host/v"), "volume");
    p.bench.file("host/f", "written");
    // The mount keeps its name, so its file is written.
    p.copy_with(&whole, "", "f", "c:/hosts").unwrap();
    assert_eq!(
        (p.read("hosts"), p.read("root/hosts")),
        ("written".into(), String::new())
    );
    // Devices of the runtime look as if they were not there.
    p.copy_with(&whole, "", "c:/", "all").unwrap();
    assert_eq!(fs::read_dir(p.bench.path("host/all/dev")).unwrap().count(), 0);
    assert_eq!(p.read("host/all/data/v"), "volume");
    let bare = Root::bare(&process).unwrap();
    p.copy_with(&bare, "", "c:/data/under", "under").unwrap();
    assert_eq!(p.read("host/under"), "under\n");
    assert!(bare.open(Path::new("/data/v"), Last::Keep, 0).is_err());
    let seen = Root::seen_by(&process, Path::new("/data")).unwrap();
    assert!(seen.open(Path::new("/v"), Last::Keep, 0).is_ok());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(Root::of_process(&process).unwrap_err().kind(), Kind::NotFound);
}
