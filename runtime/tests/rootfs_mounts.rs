//! The container's file tree against the real kernel, each case in a mount namespace of its own.

mod rootfs_cases;

use rootfs_cases::{Bundle, alone, mountinfo};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

#[test]
fn the_default_bundle() {
    alone("the_default_bundle", || {
        let bundle = Bundle::new();
        let host_null = sys::fs::open("/dev/null".as_ref(), libc::O_RDONLY, 0).unwrap();
        sys::fs::dup_onto(host_null.as_fd(), 0, false).unwrap();
        bundle.enter(&serde_json::json!({}));
        let mounts = mountinfo();
        for (place, kind) in [
            ("/proc", "proc"),
            ("/dev", "tmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/shm", "tmpfs"),
            ("/dev/mqueue", "mqueue"),
            ("/sys", "sysfs"),
            ("/proc/keys", "tmpfs"),
            ("/sys/firmware", "tmpfs"),
            ("/proc/sys", "proc"),
        ] {
            assert_eq!(mounts.kind(place), Some(kind), "{place}\n{mounts:#?}");
        }
        assert!(mounts.options("/proc/sys").contains(&"ro".to_string()));
        assert!(mounts.options("/sys").contains(&"ro".to_string()));
        assert!(mounts.options("/").contains(&"ro".to_string()));
        assert_eq!(fs::read_link("/dev/ptmx").unwrap().to_str(), Some("pts/ptmx"));
        assert_eq!(fs::read("/proc/keys").unwrap(), b"");
        assert_eq!(fs::read_dir("/sys/firmware").unwrap().count(), 0);
        fs::write("/dev/null", "x").unwrap();
        let (stdin, null) = (
            sys::fs::fstat(sys::fs::inherited(0)).unwrap(),
            fs::metadata("/dev/null").unwrap(),
        );
        assert_eq!(
            (stdin.dev, stdin.ino),
            (null.dev(), null.ino()),
            "stdin is the container's null device"
        );
        assert!(fs::write("/x", "x").is_err());
        assert_eq!(fs::read_dir("/").unwrap().count(), 5);
    });
}
