//! The same tree where a seccomp profile of an outer container filters the newer calls away, with both errnos.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{
    Bundle, MOUNT_API, MOUNT_SETATTR, OPENAT2, alone, default_mounts, filter, mountinfo, prepare,
};
use runtime::procfs::Procfs;
use runtime::rootfs::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

fn whole_tree(calls: &[u32], errno: i32) {
    let bundle = Bundle::new();
    let source = bundle.dir.join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), "inside").unwrap();
    fs::write(bundle.dir.join("file"), "a file").unwrap();
    fs::create_dir_all(bundle.rootfs().join("data")).unwrap();
    fs::write(bundle.rootfs().join("data/old"), "old").unwrap();
    symlink("/../../outside", bundle.rootfs().join("link")).unwrap();
    let mut mounts = default_mounts();
    mounts.extend([
        json!({"destination": "/bound", "source": source, "options": ["rbind", "ro", "nosuid", "rprivate"]}),
        json!({"destination": "/etc/file", "source": bundle.dir.join("file"), "options": ["bind", "noexec"]}),
        json!({"destination": "/link/in", "source": source, "options": ["bind"]}),
        json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}),
    ]);
    filter(calls, errno);
    let (plan, mut root) = bundle
        .prepare(&json!({ "mounts": mounts }))
        .unwrap_or_else(|e| panic!("{e}"));
    let root_path = RootPath::new("/new/work/dir").unwrap();
    root.create_cwd(&root_path).unwrap();
    assert_eq!(fs::read_dir(bundle.dir.join("outside")).unwrap().count(), 0);
    apply_pivot(&mut root, &plan).unwrap_or_else(|e| panic!("{e}"));
    apply_readonly_root(&root).unwrap_or_else(|e| panic!("{e}"));
    check(&plan);
}

fn check(plan: &RootfsPlan) {
    let mounts = mountinfo();
    for (place, kind) in [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/mqueue", "mqueue"),
        ("/sys", "sysfs"),
        ("/sys/firmware", "tmpfs"),
        ("/data", "tmpfs"),
    ] {
        assert_eq!(mounts.kind(place), Some(kind), "{place}\n{mounts:#?}");
    }
    for (place, option) in [
        ("/", "ro"),
        ("/sys", "ro"),
        ("/sys", "noexec"),
        ("/data", "ro"),
        ("/bound", "ro"),
        ("/bound", "nosuid"),
        ("/etc/file", "noexec"),
        ("/proc/sys", "ro"),
        ("/sys/firmware", "ro"),
        ("/dev/shm", "nodev"),
    ] {
        assert!(
            mounts.options(place).contains(&option.to_string()),
            "{place} {option}\n{mounts:#?}"
        );
    }
    assert_eq!(fs::read_to_string("/bound/f").unwrap(), "inside");
    assert_eq!(fs::read_to_string("/etc/file").unwrap(), "a file");
    assert_eq!(fs::read_to_string("/outside/in/f").unwrap(), "inside");
    assert_eq!(fs::read_to_string("/data/old").unwrap(), "old");
    assert!(fs::metadata("/proc/keys").unwrap().file_type().is_char_device());
    assert_eq!(fs::metadata("/dev/null").unwrap().rdev(), libc::makedev(1, 3));
    assert_eq!(fs::metadata("/new/work/dir").unwrap().mode() & 0o7777, 0o755);
    // Nothing of the staging area or the host is left: every mount is a planned one.
    let most = plan.mounts.len() + plan.masked.len() + plan.readonly_paths.len() + 1;
    assert!(mounts.count() <= most, "{mounts:#?}");
    assert_eq!(mounts.at("/").unwrap().kind, "tmpfs");
}

fn everything() -> Vec<u32> {
    [&MOUNT_API[..], &[OPENAT2, MOUNT_SETATTR]].concat()
}

#[test]
fn all_calls_missing() {
    alone("all_calls_missing", || whole_tree(&everything(), libc::ENOSYS));
}

#[test]
fn all_calls_refused() {
    alone("all_calls_refused", || whole_tree(&everything(), libc::EPERM));
}

/// As AppArmor does it to a runtime that it confines.
#[test]
fn mount_calls_denied() {
    alone("mount_calls_denied", || {
        whole_tree(&[&MOUNT_API[..], &[MOUNT_SETATTR]].concat(), libc::EACCES);
    });
}

#[test]
fn only_move_mount_denied() {
    alone("only_move_mount_denied", || whole_tree(&[429], libc::EACCES));
}

#[test]
fn only_mount_setattr_missing() {
    alone("only_mount_setattr_missing", || {
        whole_tree(&[MOUNT_SETATTR], libc::ENOSYS)
    });
}

#[test]
fn only_mount_setattr_refused() {
    alone("only_mount_setattr_refused", || {
        whole_tree(&[MOUNT_SETATTR], libc::EPERM)
    });
}

#[test]
fn only_openat2_missing() {
    alone("only_openat2_missing", || whole_tree(&[OPENAT2], libc::ENOSYS));
}

#[test]
fn only_openat2_refused() {
    alone("only_openat2_refused", || whole_tree(&[OPENAT2], libc::EPERM));
}

#[test]
fn only_fsopen_missing() {
    alone("only_fsopen_missing", || whole_tree(&[430], libc::ENOSYS));
}

#[test]
fn only_open_tree_refused() {
    alone("only_open_tree_refused", || whole_tree(&[428], libc::EPERM));
}

#[test]
fn only_move_mount_missing() {
    alone("only_move_mount_missing", || whole_tree(&[429], libc::ENOSYS));
}

/// A promise that cannot be kept is an error, not a silence.
#[test]
fn recursive_read_only_without_mount_setattr() {
    alone("recursive_read_only_without_mount_setattr", || {
        let bundle = Bundle::new();
        let mount =
            json!({"destination": "/b", "source": bundle.dir.join("outside"), "options": ["rbind", "rro"]});
        let plan = bundle.plan(&rootfs_cases::with_mount(mount)).unwrap();
        filter(&[MOUNT_SETATTR], libc::ENOSYS);
        let e = prepare(&plan).map(drop).unwrap_err().to_string();
        assert!(e.contains("failed to set recursive mount attributes"), "{e}");
    });
}

/// A runtime inside a container: the /proc that it sees has a read-only /proc/sys.
#[test]
fn sysctls_in_a_nested_runtime() {
    alone("sysctls_in_a_nested_runtime", || {
        let bundle = Bundle::new();
        let plan = bundle.plan(&json!({})).unwrap();
        sys::mount::mount(c"/proc/sys", c"/proc/sys", c"", libc::MS_BIND, c"").unwrap();
        let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
        sys::mount::mount(c"", c"/proc/sys", c"", flags, c"").unwrap();
        filter(&MOUNT_API, libc::EPERM);
        let sources = open_sources(&plan).unwrap();
        apply_propagation(&plan).unwrap();
        let mut root = open_root(&plan).unwrap();
        apply_mount(&mut root, &plan.mounts[0], None, &CgroupMounts::default()).unwrap();
        drop(sources);
        let host = Procfs::host()
            .unwrap()
            .write_sysctl("net/ipv4/ip_forward", "1")
            .unwrap_err();
        assert!(
            host.to_string().contains("something is mounted over it"),
            "{host}"
        );
        Procfs::open_for(&root)
            .unwrap()
            .write_sysctl("net/ipv4/ip_forward", "1")
            .unwrap();
        let now = fs::read_to_string(bundle.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap();
        assert_eq!(now.trim(), "1");
    });
}

/// The attacks meet the walker as well.
#[test]
fn links_stay_inside_without_openat2() {
    alone("links_stay_inside_without_openat2", || {
        let bundle = Bundle::new();
        let root = Root::at(&HostPath::new(&bundle.dir, "rootfs").unwrap()).unwrap();
        let place = |name: &str| bundle.rootfs().join(name);
        fs::write(bundle.dir.join("outside/secret"), "secret").unwrap();
        fs::write(place("tmp/real"), "real").unwrap();
        symlink("/../../outside/secret", place("tmp/up")).unwrap();
        symlink("../../../../../../tmp/./real", place("tmp/over")).unwrap();
        symlink("over", place("tmp/chain")).unwrap();
        symlink("loop", place("tmp/loop")).unwrap();
        symlink("/mnt/outside", place("tmp/abs")).unwrap();
        filter(&[OPENAT2], libc::ENOSYS);
        let read = |path: &str| read_in_root(&root, path, 64);
        assert_eq!(read("/tmp/up").unwrap(), None);
        assert_eq!(read("/tmp/abs/secret").unwrap(), None);
        assert_eq!(read("/tmp/over").unwrap().unwrap(), b"real");
        assert_eq!(read("/tmp/chain").unwrap().unwrap(), b"real");
        assert!(read("/tmp/loop").unwrap_err().is(libc::ELOOP));
        assert_eq!(read("/tmp/real/x").unwrap(), None);
        let path = |p: &str| RootPath::new(p).unwrap();
        assert!(
            root.open_path(&path("/tmp/chain"), Links::Refuse)
                .unwrap_err()
                .is(libc::ELOOP)
        );
        assert!(
            root.open_path(&path("/tmp/abs"), Links::Follow)
                .unwrap_err()
                .is(libc::ENOENT)
        );
        root.make_dir(&path("/tmp/abs/made"), Links::Follow).unwrap();
        assert!(place("mnt/outside/made").is_dir());
        assert!(!bundle.dir.join("outside/made").exists());
    });
}
