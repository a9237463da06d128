//! What a hostile image or a second container that shares a volume tries, each case in a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{Bundle, alone, default_mounts, exists, prepare, with_mount};
use runtime::rootfs::*;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// The default mounts without those below a directory.
fn mounts_without(dir: &str) -> Value {
    let keep = |m: &Value| !m["destination"].as_str().unwrap().starts_with(dir);
    json!({ "mounts": default_mounts().into_iter().filter(keep).collect::<Vec<_>>() })
}

fn outside_is_empty(bundle: &Bundle) {
    let found: Vec<_> = fs::read_dir(bundle.dir.join("outside")).unwrap().collect();
    assert!(found.is_empty(), "{found:?}");
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867, CVE-2019-18837
#[test]
fn proc_and_sys_must_be_directories() {
    alone("proc_and_sys_must_be_directories", || {
        let bundle = Bundle::new();
        for (name, target) in [
            ("proc", "etc"),
            ("proc", "/outside"),
            ("sys", "../../outside"),
            ("sys", "/"),
        ] {
            let place = bundle.rootfs().join(name);
            fs::remove_dir(&place).unwrap();
            symlink(target, &place).unwrap();
            let e = bundle.error(&json!({}));
            assert!(
                e.contains("must be mounted on ordinary directory"),
                "{name} -> {target}: {e}"
            );
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
        fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        fs::write(bundle.rootfs().join("proc"), "").unwrap();
        assert!(
            bundle
                .error(&json!({}))
                .contains("must be mounted on ordinary directory")
        );
        outside_is_empty(&bundle);
    });
}

/// CVE-2019-16884, CVE-2025-52881
#[test]
fn nothing_is_mounted_inside_proc() {
    alone("nothing_is_mounted_inside_proc", || {
        let bundle = Bundle::new();
        fs::create_dir(bundle.dir.join("src")).unwrap();
        let source = bundle.dir.join("src");
        for (mount, words) in [
            (
                json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}),
                "because it is not of type proc",
            ),
            (
                json!({"destination": "/proc", "type": "bind", "source": source, "options": ["bind"]}),
                "because it is not of type proc",
            ),
            (
                json!({"destination": "/x/../proc/self/attr", "type": "tmpfs", "source": "tmpfs"}),
                "because it is inside /proc",
            ),
            (
                json!({"destination": "/link/attr", "type": "tmpfs", "source": "tmpfs"}),
                "because it is inside /proc",
            ),
            (
                json!({"destination": "/link/sys/kernel", "source": source, "options": ["bind"]}),
                "because it is inside /proc",
            ),
        ] {
            let link = bundle.rootfs().join("link");
            if !exists(&link) {
                symlink("/proc/self", link).unwrap();
            }
            let e = bundle.error(&with_mount(mount.clone()));
            // /proc/self/sys does not exist, and procfs does not let us make it.
            let refused = e.contains("create mountpoint");
            assert!(
                e.contains(words) || refused && mount["destination"] == "/link/sys/kernel",
                "{mount}: {e}"
            );
        }
        bundle.enter(&with_mount(
            json!({"destination": "/proc/uptime", "source": "/proc/loadavg", "options": ["bind"]}),
        ));
    });
}

/// CVE-2026-41579, CVE-2026-47766
#[test]
fn a_linked_dev_is_refused() {
    alone("a_linked_dev_is_refused", || {
        let bundle = Bundle::new();
        for target in ["/mnt/outside", "../outside", "/etc", "/"] {
            let dev = bundle.rootfs().join("dev");
            fs::remove_dir(&dev).ok();
            fs::remove_file(&dev).ok();
            symlink(target, &dev).unwrap();
            let e = bundle.error(&mounts_without("/dev"));
            assert!(
                e.contains("/dev of the container must be an ordinary directory"),
                "{e}"
            );
            outside_is_empty(&bundle);
            assert_eq!(fs::read_dir(bundle.rootfs().join("etc")).unwrap().count(), 0);
        }
    });
}

/// CVE-2025-31133, CVE-2025-62161
#[test]
fn a_false_null_device_is_refused() {
    alone("a_false_null_device_is_refused", || {
        let bundle = Bundle::new();
        let null = bundle.rootfs().join("dev/null");
        symlink("/proc/sys/kernel/core_pattern", &null).unwrap();
        let e = bundle.error(&mounts_without("/dev"));
        assert!(e.contains("is not the device 1:3"), "{e}");
        fs::remove_file(&null).unwrap();
        fs::write(&null, "").unwrap();
        let e = bundle.error(&mounts_without("/dev"));
        assert!(e.contains("is not the device 1:3"), "{e}");
    });
}

/// CVE-2025-31133 with a /dev that the user brings.
#[test]
fn masks_use_a_real_null_device() {
    let link = |null: &Path| symlink("/proc/sys/kernel/core_pattern", null).unwrap();
    masks_with("masks_use_a_real_null_device", link);
}

#[test]
fn masks_do_not_use_a_file_named_null() {
    masks_with("masks_do_not_use_a_file_named_null", |null| {
        fs::write(null, "x").unwrap()
    });
}

#[test]
fn masks_do_not_use_another_device_named_null() {
    masks_with("masks_do_not_use_another_device_named_null", |null| {
        sys::fs::mknodat(sys::fs::cwd(), null, libc::S_IFCHR | 0o666, libc::makedev(1, 5)).unwrap();
    });
}

fn masks_with(name: &str, make_null: impl FnOnce(&Path)) {
    alone(name, || {
        let bundle = Bundle::new();
        let dev = bundle.dir.join("userdev");
        fs::create_dir(&dev).unwrap();
        make_null(&dev.join("null"));
        let mut edit = mounts_without("/dev");
        let bind = json!({"destination": "/dev", "source": dev, "options": ["rbind"]});
        edit["mounts"].as_array_mut().unwrap().push(bind);
        bundle.enter(&edit);
        assert!(!exists("/dev/zero"), "a user's /dev is left alone");
        let masked = fs::metadata("/proc/keys").unwrap();
        assert!(masked.file_type().is_char_device());
        assert_eq!(masked.rdev(), libc::makedev(1, 3));
    });
}

/// CVE-2026-88264, CVE-2025-52565
#[test]
fn the_console_is_not_made_through_a_link() {
    alone("the_console_is_not_made_through_a_link", || {
        let bundle = Bundle::new();
        symlink("/mnt/outside/x", bundle.rootfs().join("dev/console")).unwrap();
        let plan = bundle.plan(&mounts_without("/dev")).unwrap();
        let mut root = prepare(&plan).unwrap();
        let master = sys::tty::open_master(Path::new("/dev/ptmx")).unwrap();
        let slave = sys::tty::open_slave(master.as_fd()).unwrap();
        let e = apply_console(&mut root, slave.as_fd()).unwrap_err().to_string();
        assert!(e.contains("console is a link"), "{e}");
        outside_is_empty(&bundle);

        fs::remove_file(bundle.rootfs().join("dev/console")).unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let e = apply_console(&mut root, null.as_fd()).unwrap_err().to_string();
        assert!(e.contains("not a terminal"), "{e}");
        apply_console(&mut root, slave.as_fd()).unwrap();
        apply_pivot(&mut root, &plan).unwrap();
        let console = fs::metadata("/dev/console").unwrap();
        assert!((136..144).contains(&libc::major(console.rdev())));
    });
}

/// CVE-2025-52565: the container's own terminal, whatever the names in /dev say.
#[test]
fn a_terminal_comes_from_the_containers_devpts() {
    alone("a_terminal_comes_from_the_containers_devpts", || {
        let bundle = Bundle::new();
        let (plan, mut root) = bundle.prepare(&json!({})).unwrap();
        let (master, slave) = open_terminal(&root).unwrap();
        assert_eq!(sys::tty::slave_number(master.as_fd()).unwrap(), 0);
        apply_console(&mut root, slave.as_fd()).unwrap();
        apply_pivot(&mut root, &plan).unwrap();
        let (console, pts) = (
            fs::metadata("/dev/console").unwrap(),
            fs::metadata("/dev/pts/0").unwrap(),
        );
        assert_eq!((console.rdev(), console.ino()), (pts.rdev(), pts.ino()));
    });
}

/// The same where devpts is missing or is something else.
#[test]
fn a_terminal_needs_devpts() {
    alone("a_terminal_needs_devpts", || {
        let bundle = Bundle::new();
        let plan = bundle.plan(&mounts_without("/dev")).unwrap();
        let root = prepare(&plan).unwrap();
        assert!(open_terminal(&root).unwrap_err().is(libc::ENOENT));
        fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
        let made = root
            .make_file(&RootPath::new("/dev/pts/ptmx").unwrap(), Links::Refuse)
            .unwrap();
        drop(made);
        assert!(
            open_terminal(&root)
                .unwrap_err()
                .to_string()
                .contains("not a terminal multiplexer")
        );
    });
}

/// CVE-2021-30465: links of the image stay inside.
#[test]
fn links_in_destinations_stay_inside() {
    alone("links_in_destinations_stay_inside", || {
        let bundle = Bundle::new();
        let source = bundle.dir.join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("f"), "inside").unwrap();
        for (n, target) in [
            "/outside",
            "../../outside",
            "../../../../mnt/outside",
            "/etc/../../outside",
        ]
        .iter()
        .enumerate()
        {
            symlink(target, bundle.rootfs().join(format!("link{n}"))).unwrap();
        }
        let mut mounts = default_mounts();
        for n in 0..4 {
            for (dest, src) in [
                (format!("/link{n}"), "src"),
                (format!("/link{n}/new/file"), "src/f"),
            ] {
                mounts
                    .push(json!({"destination": dest, "source": bundle.dir.join(src), "options": ["bind"]}));
            }
        }
        fs::create_dir_all(source.join("new")).unwrap();
        fs::write(source.join("new/file"), "").unwrap();
        let plan = bundle.plan(&json!({ "mounts": mounts })).unwrap();
        let mut root = prepare(&plan).unwrap();
        outside_is_empty(&bundle);
        apply_pivot(&mut root, &plan).unwrap();
        assert_eq!(fs::read_to_string("/outside/f").unwrap(), "inside");
        assert_eq!(fs::read_to_string("/mnt/outside/f").unwrap(), "inside");
    });
}

/// Images ship /etc/resolv.conf as a link to a file that does not exist.
#[test]
fn a_dangling_link_is_completed_inside() {
    alone("a_dangling_link_is_completed_inside", || {
        let bundle = Bundle::new();
        fs::write(bundle.dir.join("resolv"), "nameserver").unwrap();
        symlink(
            "../run/resolvconf/resolv.conf",
            bundle.rootfs().join("etc/resolv.conf"),
        )
        .unwrap();
        symlink("/../../outside/deep", bundle.rootfs().join("etc/dir")).unwrap();
        let mut edit = with_mount(
            json!({"destination": "/etc/resolv.conf", "source": bundle.dir.join("resolv"), "options": ["rbind", "ro"]}),
        );
        let tmp = json!({"destination": "/etc/dir", "type": "tmpfs", "source": "tmpfs"});
        edit["mounts"].as_array_mut().unwrap().push(tmp);
        let plan = bundle.plan(&edit).unwrap();
        let mut root = prepare(&plan).unwrap();
        outside_is_empty(&bundle);
        apply_pivot(&mut root, &plan).unwrap();
        assert_eq!(
            fs::read_to_string("/run/resolvconf/resolv.conf").unwrap(),
            "nameserver"
        );
        assert_eq!(fs::metadata("/run/resolvconf").unwrap().mode() & 0o7777, 0o755);
        assert!(exists("/outside/deep"));
    });
}

/// A destination that a link leads onto the root itself.
#[test]
fn the_root_is_not_mounted_over() {
    alone("the_root_is_not_mounted_over", || {
        let bundle = Bundle::new();
        symlink("/", bundle.rootfs().join("self")).unwrap();
        for destination in ["/", "/..", "/self", "/self/self"] {
            let e = bundle.error(&with_mount(
                json!({"destination": destination, "type": "tmpfs", "source": "x"}),
            ));
            assert!(e.contains("over the root of the container"), "{destination}: {e}");
        }
    });
}

#[test]
fn a_root_that_is_none() {
    alone("a_root_that_is_none", || {
        let bundle = Bundle::new();
        symlink("rootfs", bundle.dir.join("link")).unwrap();
        fs::write(bundle.dir.join("file"), "").unwrap();
        for (path, words) in [
            ("link", "invalid rootfs: not an absolute path, or a symlink"),
            ("link/", "invalid rootfs: not an absolute path, or a symlink"),
            (
                "nothing",
                "invalid rootfs: stat /mnt/nothing: no such file or directory",
            ),
            ("file", "invalid rootfs: /mnt/file is not a directory"),
        ] {
            assert_eq!(bundle.error(&json!({"root": {"path": path}})), words);
        }
    });
}

/// CVE-2025-24965 and its like: reading a file of the container follows its links, but not out of it.
#[test]
fn files_are_read_inside() {
    alone("files_are_read_inside", || {
        let bundle = Bundle::new();
        let root = Root::at(&HostPath::new(&bundle.dir, "rootfs").unwrap()).unwrap();
        let passwd = bundle.rootfs().join("etc/passwd");
        let read = |path: &str| read_in_root(&root, path, 64);
        assert_eq!(read("/etc/passwd").unwrap(), None);
        fs::write(bundle.dir.join("outside/secret"), "secret").unwrap();
        symlink("/../../outside/secret", &passwd).unwrap();
        assert_eq!(read("/etc/passwd").unwrap(), None);
        fs::remove_file(&passwd).unwrap();
        fs::write(bundle.rootfs().join("tmp/real"), "root:x").unwrap();
        symlink("/tmp/real", &passwd).unwrap();
        assert_eq!(read("/etc/passwd").unwrap().unwrap(), b"root:x");
        fs::write(bundle.rootfs().join("tmp/real"), [b'x'; 65]).unwrap();
        assert!(
            read("/etc/passwd")
                .unwrap_err()
                .to_string()
                .contains("longer than 64 bytes")
        );
        fs::remove_file(&passwd).unwrap();
        sys::fs::mkfifoat(sys::fs::cwd(), &passwd, 0o600).unwrap();
        assert!(
            read("/etc/passwd")
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
        assert!(
            read("/etc")
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
        symlink("self", bundle.rootfs().join("tmp/self")).unwrap();
        assert!(read("/tmp/self").is_err());
    });
}

/// CVE-2021-30465, CVE-2024-45310: somebody exchanges a directory for a link while mountpoints are made in it.
#[test]
fn exchanging_a_directory_for_a_link_gains_nothing() {
    alone("exchanging_a_directory_for_a_link_gains_nothing", || {
        let bundle = Bundle::new();
        let volume = bundle.rootfs().join("vol");
        fs::create_dir_all(volume.join("a")).unwrap();
        symlink("/mnt/outside", volume.join("b")).unwrap();
        symlink("../../outside", volume.join("c")).unwrap();
        fs::write(bundle.dir.join("file"), "x").unwrap();
        let racer = Racer::start(&volume);
        let plan = bundle.plan(&json!({})).unwrap();
        let root = prepare(&plan).unwrap();
        let end = Instant::now() + Duration::from_secs(2);
        let (mut made, mut tries) = (0, 0);
        while Instant::now() < end {
            tries += 1;
            let dir = RootPath::new(&format!("/vol/a/d{}/e", tries % 50)).unwrap();
            let file = RootPath::new(&format!("/vol/a/f{}/g", tries % 50)).unwrap();
            let near = RootPath::new(&format!("/vol/a/n{}", tries % 50)).unwrap();
            made += i32::from(root.make_dir(&dir, Links::Follow).is_ok());
            made += i32::from(root.make_dir(&near, Links::Follow).is_ok());
            made += i32::from(root.make_file(&file, Links::Follow).is_ok());
            let bare = RootPath::new("/vol/a").unwrap();
            if let Ok(fd) = root.open_path(&bare, Links::Refuse) {
                assert!(sys::fs::fstat(fd.as_fd()).unwrap().is_dir());
            }
        }
        racer.stop();
        outside_is_empty(&bundle);
        assert!(made > 100, "{made} of {tries} succeeded");
    });
}

/// The same with the mounts themselves, by each of the ways in which one is made.
#[test]
fn exchanging_a_directory_during_mounts_gains_nothing() {
    alone("exchanging_a_directory_during_mounts_gains_nothing", || {
        let bundle = Bundle::new();
        let volume = bundle.rootfs().join("vol");
        fs::create_dir_all(volume.join("a")).unwrap();
        symlink("/mnt/outside", volume.join("b")).unwrap();
        symlink("../../outside", volume.join("c")).unwrap();
        fs::create_dir(bundle.dir.join("src")).unwrap();
        fs::write(bundle.dir.join("file"), "x").unwrap();
        for name in ["dir", "tmp", "copy"] {
            fs::create_dir(bundle.dir.join("outside").join(name)).unwrap();
        }
        fs::write(bundle.dir.join("outside/file"), "").unwrap();
        let mounts = json!([
            {"destination": "/vol/a/dir", "source": bundle.dir.join("src"), "options": ["rbind", "ro"]},
            {"destination": "/vol/a/file", "source": bundle.dir.join("file"), "options": ["bind"]},
            {"destination": "/vol/a/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/vol/a/copy", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        ]);
        let plan = bundle.plan(&json!({"mounts": mounts})).unwrap();
        apply_propagation(&plan).unwrap();
        let mut root = open_root(&plan).unwrap();
        let racer = Racer::start(&volume);
        let end = Instant::now() + Duration::from_secs(2);
        let mut made = 0;
        while Instant::now() < end && made < 400 {
            for mount in &plan.mounts {
                made += i32::from(apply_mount(&mut root, mount, None, &CgroupMounts::default()).is_ok());
            }
        }
        racer.stop();
        let outside = |m: &&rootfs_cases::Mount| m.place.starts_with("/mnt/outside");
        assert_eq!(rootfs_cases::mountinfo().iter().filter(outside).count(), 0);
        assert!(made > 40, "{made} succeeded");
    });
}

/// A process that keeps exchanging `a` with the links beside it.
struct Racer {
    pid: i32,
    leash: std::os::fd::OwnedFd,
}

impl Racer {
    fn start(dir: &Path) -> Racer {
        let (wait, leash) = sys::fs::pipe().unwrap();
        sys::fs::set_nonblocking(wait.as_fd(), true).unwrap();
        match sys::process::fork(0, None).unwrap() {
            sys::process::Forked::Parent { pid, .. } => Racer { pid, leash },
            sys::process::Forked::Child => {
                drop(leash);
                let dir = sys::fs::open(dir, libc::O_PATH, 0).unwrap();
                let mut other = ["b", "c"].iter().cycle();
                // Ends when the leash is let go.
                while sys::fs::read(wait.as_fd(), &mut [0; 1]).is_err() {
                    for _ in 0..100 {
                        let name = Path::new(other.next().copied().unwrap_or("b"));
                        let swapped = sys::fs::exchange(dir.as_fd(), Path::new("a"), dir.as_fd(), name);
                        sys::fs::exchange(dir.as_fd(), Path::new("a"), dir.as_fd(), name).ok();
                        if swapped.is_err() {
                            sys::process::exit_now(1);
                        }
                    }
                }
                sys::process::exit_now(0)
            }
        }
    }

    fn stop(self) {
        drop(self.leash);
        let exit = sys::process::wait_pid(self.pid, sys::process::Block::Yes).unwrap();
        assert_eq!(exit, Some(sys::process::Exit::Code(0)));
    }
}
