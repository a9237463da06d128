//! `diff`, `commit` and `export` of real overlays.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bench::{Bench, RIGHTS, inside, picture, run, set_attribute, sh};
use engine::root::Root;
use engine::{commit, diff, export};
use image::layer::{self, Target};
use image::registry::Cancel;

/// What an image has.
const IMAGE: &str = "cd /mnt/lower; mkdir -p etc usr/bin opt/app/deep var/log tmp gone/sub; echo root > etc/passwd; echo a > opt/app/a; \
     echo b > opt/app/deep/b; echo bin > usr/bin/tool; ln usr/bin/tool usr/bin/same; echo x > gone/sub/x; echo y > gone/y; \
     echo f > file; mkdir todir; echo in > todir/in; touch -d '2001-01-01' etc/passwd opt/app/a usr/bin/tool; chmod 1777 tmp";

/// What a container does.
const WORK: &str = "cd /mnt/merged; echo more >> etc/passwd; echo new > etc/new; rm opt/app/a; rm -r gone; mkdir gone; echo z > gone/z; \
     chmod 700 var/log; rm file; mkdir file; echo q > file/q; rm -r todir; echo t > todir; ln usr/bin/tool usr/bin/third; \
     mkdir -p srv/www; ln -s /etc/passwd srv/link; mkfifo srv/pipe; mknod srv/dev c 1 3; truncate -s 1M srv/holes; echo e >> srv/holes; \
     echo cap > srv/cap; \
     echo t > tmp/made; rm tmp/made; touch -d '1999-12-31 23:59:59.25' srv/cap srv/www; chown -h 33:44 srv/link srv/www; chmod 4711 srv/cap; \
     : > .dockerenv; mkdir -p dev proc sys; : > etc/hosts; : > etc/resolv.conf";

fn work() {
    sh(WORK);
    set_attribute("/mnt/merged/srv/cap", c"user.u", b"v");
    set_attribute("/mnt/merged/srv/cap", c"security.capability", &RIGHTS);
}

fn open(path: &str) -> std::os::fd::OwnedFd {
    sys::fs::open(Path::new(path), libc::O_PATH | libc::O_DIRECTORY, 0).unwrap()
}

fn changes() -> Vec<String> {
    let found = diff::diff(open("/mnt/upper").as_fd(), open("/mnt/lower").as_fd()).unwrap();
    found
        .iter()
        .map(|(path, kind)| format!("{kind} {}", String::from_utf8_lossy(path)))
        .collect()
}

#[test]
fn what_a_container_has_changed() {
    if !inside("what_a_container_has_changed") {
        return;
    }
    let bench = Bench::new();
    bench.dir("lower");
    sh(IMAGE);
    bench.overlay();
    assert_eq!(changes(), [""; 0]);
    work();
    let expected = "A /etc/new|A /file/q|A /gone/z|A /srv|A /srv/cap|A /srv/dev|A /srv/holes|A /srv/link|A /srv/pipe|A /srv/www|\
         A /usr/bin/third|C /etc|C /etc/passwd|C /file|C /gone|C /opt|C /opt/app|C /todir|C /usr|C /usr/bin|C /var|C /var/log|\
         D /gone/sub|D /gone/y|D /opt/app/a";
    let mut found = changes();
    let in_order = found.clone();
    found.sort();
    assert_eq!(found.join("|"), expected);
    let paths: Vec<&str> = in_order.iter().map(|l| &l[2..]).collect();
    assert!(paths.is_sorted());
}

fn unpacked(bench: &Bench, bytes: &[u8], name: &str) {
    let root = fs::File::open(bench.dir(name)).unwrap();
    layer::unpack(bytes, Target::Tree(root.as_fd()), &layer::Options::default()).unwrap();
}

#[test]
fn a_layer_of_it_gives_the_same_again() {
    if !inside("a_layer_of_it_gives_the_same_again") {
        return;
    }
    let bench = Bench::new();
    bench.dir("lower");
    sh(IMAGE);
    bench.overlay();
    let pack = || {
        let mut bytes = Vec::new();
        commit::layer(
            open("/mnt/upper").as_fd(),
            open("/mnt/lower").as_fd(),
            &mut bytes,
            &Cancel::new(),
        )
        .unwrap();
        bytes
    };
    assert_eq!(pack(), [0; 1024], "nothing has changed");
    sh("cd /mnt/merged; mkdir -p dev/pts proc; : > etc/hosts");
    assert_eq!(pack(), [0; 1024], "the runtime's own");
    work();
    drop(std::os::unix::net::UnixListener::bind("/mnt/merged/srv/socket").unwrap());
    let bytes = pack();
    fs::write("/mnt/layer.tar", &bytes).unwrap();
    let names = run("tar", &["tf", "/mnt/layer.tar"]);
    let has = |name: &str| names.lines().any(|l| l == name);
    assert!(has("gone/.wh..wh..opq") && has("opt/app/.wh.a"), "{names}");
    for name in [
        "etc/hosts",
        ".dockerenv",
        "dev/",
        "proc/",
        "srv/socket",
        "tmp/",
        "usr/bin/same",
    ] {
        assert!(!has(name), "{name} in {names}");
    }
    unpacked(&bench, &bytes, "layer");
    bench.dir("again");
    run(
        "mount",
        &[
            "-t",
            "overlay",
            "overlay",
            "-o",
            "lowerdir=/mnt/layer:/mnt/lower",
            "/mnt/again",
        ],
    );
    assert_eq!(fs::metadata("/mnt/layer/usr/bin/third").unwrap().nlink(), 2);
    // But for what is not to be in it.
    sh("cd /mnt/merged; rm srv/socket .dockerenv etc/hosts etc/resolv.conf; rmdir dev/pts dev proc sys");
    assert_eq!(
        picture(Path::new("/mnt/again")),
        picture(Path::new("/mnt/merged"))
    );
}

#[test]
fn an_export_is_the_whole_tree() {
    if !inside("an_export_is_the_whole_tree") {
        return;
    }
    let bench = Bench::new();
    bench.dir("lower");
    sh(IMAGE);
    bench.overlay();
    work();
    let root = Root::at(Path::new("/mnt/merged")).unwrap();
    let mut bytes = Vec::new();
    export::export(&root, &mut bytes, &Cancel::new()).unwrap();
    fs::write("/mnt/all.tar", &bytes).unwrap();
    let first = run("tar", &["tf", "/mnt/all.tar"]);
    assert!(
        first.starts_with(".dockerenv\ndev/\netc/\netc/hosts\n"),
        "{first}"
    );
    // GNU tar is a witness who knows nothing of us.
    bench.dir("out");
    sh("tar -C /mnt/out --xattrs --xattrs-include='*' --numeric-owner -xpf /mnt/all.tar");
    assert_eq!(picture(Path::new("/mnt/out")), picture(Path::new("/mnt/merged")));
    assert_eq!(fs::metadata("/mnt/out/usr/bin/third").unwrap().nlink(), 2);
}
