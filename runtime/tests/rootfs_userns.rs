//! Containers with a user namespace: made by root, and by an ordinary user.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{
    Bundle, MOUNT_SETATTR, OPENAT2, alone, build, default_mounts, is_alone, mountinfo, prepare, run_alone,
};
use runtime::procfs::Procfs;
use runtime::rootfs::*;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use sys::process::{Exit, Forked};

const HOST_ID: u32 = 100_000;

/// Namespaces with a user namespace whose root is `HOST_ID` on the host.
fn user_namespace(network: &str) -> Value {
    let map = json!([{"containerID": 0, "hostID": HOST_ID, "size": 65536}]);
    let mut namespaces = vec![
        json!({"type": "mount"}),
        json!({"type": "ipc"}),
        json!({"type": "user"}),
    ];
    if network == "own network" {
        namespaces.push(json!({"type": "network"}));
    }
    json!({"namespaces": namespaces, "uidMappings": map, "gidMappings": map})
}

/// Runs `body` in new namespaces, the user namespace mapped as above.
fn mapped_child(flags: i32, body: impl FnOnce()) {
    let (wait, go) = sys::fs::pipe().unwrap();
    let flags = flags | libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;
    match sys::process::fork(flags as u64, None).unwrap() {
        Forked::Child => {
            drop(go);
            let done = catch_unwind(AssertUnwindSafe(|| {
                assert_eq!(
                    sys::fs::read(wait.as_fd(), &mut [0; 1]).unwrap(),
                    1,
                    "the parent failed"
                );
                sys::cred::set_gid(0).unwrap();
                sys::cred::set_uid(0).unwrap();
                body();
            }));
            sys::process::exit_now(i32::from(done.is_err()))
        }
        Forked::Parent { pid, .. } => {
            let proc = Procfs::open().unwrap();
            let map = format!("0 {HOST_ID} 65536\n");
            proc.write_pid(pid, "uid_map", map.as_bytes()).unwrap();
            proc.write_pid(pid, "gid_map", map.as_bytes()).unwrap();
            sys::fs::write_once(go.as_fd(), b"x").unwrap();
            let exit = sys::process::wait_pid(pid, sys::process::Block::Yes).unwrap();
            assert_eq!(exit, Some(Exit::Code(0)));
        }
    }
}

fn owned_bundle() -> Bundle {
    let bundle = Bundle::new();
    for dir in ["", "proc", "sys", "dev", "etc", "tmp"] {
        chown(bundle.rootfs().join(dir), Some(HOST_ID), Some(HOST_ID)).unwrap();
    }
    bundle
}

#[test]
fn made_by_root() {
    alone("made_by_root", || {
        let bundle = owned_bundle();
        // Nobody but the host's root gets through here.
        let source = bundle.dir.join("closed/src");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("f"), "inside").unwrap();
        chown(source.join("f"), Some(HOST_ID), Some(HOST_ID)).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(bundle.dir.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        sys::mount::mount(c"", c"/mnt", c"", libc::MS_SHARED, c"").unwrap();
        let strict = bundle.dir.join("strict");
        fs::create_dir(&strict).unwrap();
        sys::mount::mount(
            c"tmpfs",
            c"/mnt/strict",
            c"tmpfs",
            libc::MS_NODEV | libc::MS_NOSUID,
            c"",
        )
        .unwrap();
        let mut mounts = default_mounts();
        mounts.push(json!({"destination": "/s", "source": strict, "options": ["rbind", "ro"]}));
        mounts.push(json!({"destination": "/s2", "source": strict, "options": ["rbind", "suid"]}));
        mounts.push(json!({"destination": "/b", "source": source, "options": ["rbind", "ro", "nodev"]}));
        mounts.push(json!({"destination": "/f", "source": source.join("f"), "options": ["bind"]}));
        let plan = bundle
            .plan(&json!({"mounts": mounts, "linux": user_namespace("own network")}))
            .unwrap();
        assert_eq!(plan.sources, SourceSide::Parent);
        let sources = open_sources(&plan).unwrap();
        mapped_child(libc::CLONE_NEWNET, || {
            let mut root = build(&plan, sources, &CgroupMounts::default()).unwrap_or_else(|e| panic!("{e}"));
            apply_pivot(&mut root, &plan).unwrap_or_else(|e| panic!("{e}"));
            apply_readonly_root(&root).unwrap();
            let table = mountinfo();
            assert_eq!(fs::read_to_string("/b/f").unwrap(), "inside");
            assert_eq!(fs::read_to_string("/f").unwrap(), "inside");
            assert_eq!(fs::metadata("/b/f").unwrap().uid(), 0);
            assert_eq!(table.options("/b"), ["ro", "nodev", "relatime"]);
            // What the host forbids on this mount stays forbidden, except where the configuration says otherwise.
            assert_eq!(table.options("/s"), ["ro", "nosuid", "nodev", "relatime"]);
            assert_eq!(table.options("/s2"), ["rw", "nodev", "relatime"]);
            assert!(!table.at("/b").unwrap().tags.contains("shared"), "{table:#?}");
            assert_eq!(table.kind("/sys"), Some("sysfs"));
            assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
            fs::write("/dev/null", "x").unwrap();
            assert!(fs::write("/x", "").is_err());
            assert_eq!(fs::read("/proc/keys").unwrap(), b"");
        });
        assert_eq!(fs::read_to_string(source.join("f")).unwrap(), "inside");
    });
}

/// `idmap` without a mapping means the container's user namespace: here one that it joins.
#[test]
fn id_mapped_by_a_joined_namespace() {
    alone("id_mapped_by_a_joined_namespace", || {
        let bundle = Bundle::new();
        fs::write(bundle.dir.join("outside/f"), "").unwrap();
        let (wait, leash) = sys::fs::pipe().unwrap();
        let pid = match sys::process::fork(libc::CLONE_NEWUSER as u64, None).unwrap() {
            Forked::Child => {
                drop(leash);
                sys::fs::read(wait.as_fd(), &mut [0; 1]).ok();
                sys::process::exit_now(0)
            }
            Forked::Parent { pid, .. } => pid,
        };
        let proc = Procfs::open().unwrap();
        for name in ["uid_map", "gid_map"] {
            proc.write_pid(pid, name, format!("0 {HOST_ID} 65536\n").as_bytes())
                .unwrap();
        }
        let mut mounts = default_mounts();
        mounts.push(json!({"destination": "/b", "source": "/mnt/outside", "options": ["bind", "idmap"]}));
        let join = json!([{"type": "mount"}, {"type": "user", "path": format!("/proc/{pid}/ns/user")}]);
        let plan = bundle
            .plan(&json!({"mounts": mounts, "linux": {"namespaces": join}}))
            .unwrap();
        let root = prepare(&plan);
        drop(leash);
        sys::process::wait_pid(pid, sys::process::Block::Yes).unwrap();
        let mut root = root.unwrap_or_else(|e| panic!("{e}"));
        apply_pivot(&mut root, &plan).unwrap();
        assert_eq!(fs::metadata("/b/f").unwrap().uid(), HOST_ID);
    });
}

/// A host whose tree holds files of mount namespaces (snapd keeps some below /run): the copy that the parent opened
/// cannot be attached, and the child takes its own.
#[test]
fn sources_with_mount_namespaces_in_them() {
    alone("sources_with_mount_namespaces_in_them", || {
        let bundle = owned_bundle();
        let source = bundle.dir.join("outside");
        sys::mount::mount(c"tmpfs", c"/mnt/outside", c"tmpfs", 0, c"").unwrap();
        fs::write(source.join("ns"), "").unwrap();
        fs::write(source.join("f"), "inside").unwrap();
        let (wait, leash) = sys::fs::pipe().unwrap();
        let pid = match sys::process::fork(libc::CLONE_NEWNS as u64, None).unwrap() {
            Forked::Child => {
                drop(leash);
                sys::fs::read(wait.as_fd(), &mut [0; 1]).ok();
                sys::process::exit_now(0)
            }
            Forked::Parent { pid, .. } => pid,
        };
        let namespace = std::ffi::CString::new(format!("/proc/{pid}/ns/mnt")).unwrap();
        sys::mount::mount(&namespace, c"/mnt/outside/ns", c"", libc::MS_BIND, c"").unwrap();
        let mut mounts = default_mounts();
        mounts.push(json!({"destination": "/b", "source": source, "options": ["rbind", "ro", "rprivate"]}));
        let plan = bundle
            .plan(&json!({"mounts": mounts, "linux": user_namespace("own network")}))
            .unwrap();
        let sources = open_sources(&plan).unwrap();
        mapped_child(libc::CLONE_NEWNET, || {
            let mut root = build(&plan, sources, &CgroupMounts::default()).unwrap_or_else(|e| panic!("{e}"));
            apply_pivot(&mut root, &plan).unwrap();
            assert_eq!(fs::read_to_string("/b/f").unwrap(), "inside");
            assert!(mountinfo().options("/b").contains(&"ro".to_string()));
        });
        drop(leash);
        sys::process::wait_pid(pid, sys::process::Block::Yes).unwrap();
    });
}

#[test]
fn made_by_root_with_missing_calls() {
    alone("made_by_root_with_missing_calls", || {
        with_filtered_calls(libc::ENOSYS)
    });
}

#[test]
fn made_by_root_with_refused_calls() {
    alone("made_by_root_with_refused_calls", || {
        with_filtered_calls(libc::EPERM)
    });
}

fn with_filtered_calls(errno: i32) {
    let bundle = owned_bundle();
    sys::mount::mount(c"tmpfs", c"/mnt/outside", c"tmpfs", libc::MS_NODEV, c"").unwrap();
    fs::write(bundle.dir.join("outside/f"), "inside").unwrap();
    sys::mount::mount(c"", c"/mnt", c"", libc::MS_SHARED | libc::MS_REC, c"").unwrap();
    let mut mounts = default_mounts();
    mounts
        .push(json!({"destination": "/b", "source": "/mnt/outside", "options": ["rbind", "ro", "rprivate"]}));
    mounts.push(json!({"destination": "/etc/f", "source": "/mnt/outside/f", "options": ["bind"]}));
    let plan = bundle
        .plan(&json!({"mounts": mounts, "linux": user_namespace("own network")}))
        .unwrap();
    rootfs_cases::filter(
        &[&rootfs_cases::MOUNT_API[..], &[OPENAT2, MOUNT_SETATTR]].concat(),
        errno,
    );
    let sources = open_sources(&plan).unwrap();
    mapped_child(libc::CLONE_NEWNET, || {
        let mut root = build(&plan, sources, &CgroupMounts::default()).unwrap_or_else(|e| panic!("{e}"));
        apply_pivot(&mut root, &plan).unwrap_or_else(|e| panic!("{e}"));
        apply_readonly_root(&root).unwrap_or_else(|e| panic!("{e}"));
        let table = mountinfo();
        assert_eq!(table.options("/b"), ["ro", "nodev", "relatime"]);
        assert_eq!(table.at("/b").unwrap().tags, "");
        assert_eq!(fs::read_to_string("/etc/f").unwrap(), "inside");
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(fs::metadata("/proc/keys").unwrap().file_type().is_char_device());
        assert!(fs::write("/x", "").is_err());
    });
}

/// sysfs belongs to a network namespace that the container's root does not own.
#[test]
fn sysfs_without_a_network_namespace() {
    alone("sysfs_without_a_network_namespace", || {
        let bundle = owned_bundle();
        let plan = bundle
            .plan(&json!({"linux": user_namespace("the host's network")}))
            .unwrap();
        let sources = open_sources(&plan).unwrap();
        mapped_child(0, || {
            let mut root = build(&plan, sources, &CgroupMounts::default()).unwrap_or_else(|e| panic!("{e}"));
            apply_pivot(&mut root, &plan).unwrap();
            let table = mountinfo();
            assert_eq!(table.kind("/sys"), Some("sysfs"));
            assert!(table.options("/sys").contains(&"ro".to_string()), "{table:#?}");
        });
    });
}

/// A flag of the host that is locked and that the user wants away is an error; one that nobody named is kept.
#[test]
fn locked_flags() {
    alone("locked_flags", || {
        let bundle = owned_bundle();
        sys::mount::mount(
            c"tmpfs",
            c"/mnt/outside",
            c"tmpfs",
            libc::MS_NODEV | libc::MS_NOSUID,
            c"",
        )
        .unwrap();
        let with = |options: &[&str]| {
            let mut mounts = default_mounts();
            mounts.push(json!({"destination": "/b", "source": "/mnt/outside", "options": options}));
            let mut plan = bundle
                .plan(&json!({"mounts": mounts, "linux": user_namespace("own network")}))
                .unwrap();
            // As a nested or rootless runtime does it.
            plan.sources = SourceSide::Child;
            plan
        };
        let kept = with(&["rbind", "ro"]);
        mapped_child(libc::CLONE_NEWNET, || {
            let mut root = build(&kept, Sources::default(), &CgroupMounts::default()).unwrap();
            apply_pivot(&mut root, &kept).unwrap();
            assert_eq!(mountinfo().options("/b"), ["ro", "nosuid", "nodev", "relatime"]);
        });
        let cleared = with(&["rbind", "ro", "dev"]);
        mapped_child(libc::CLONE_NEWNET, || {
            let e = build(&cleared, Sources::default(), &CgroupMounts::default()).unwrap_err();
            assert!(e.is(libc::EPERM), "{e}");
        });
    });
}

/// An ordinary user with one id of their own: the default rootless bundle.
#[test]
fn made_by_an_ordinary_user() {
    let name = "made_by_an_ordinary_user";
    if !is_alone(name) {
        if sys::process::effective_ids().0 != 0 {
            println!("skip rootfs.{name}: needs root to become an ordinary user");
            return;
        }
        let wrapper = [
            "setpriv",
            "--reuid=4242",
            "--regid=4242",
            "--clear-groups",
            "unshare",
            "-U",
            "-r",
            "-m",
            "-i",
            "-p",
            "--fork",
        ];
        return run_alone(name, &wrapper);
    }
    let mut bundle = Bundle::new();
    bundle.facts.euid = 4242;
    let map = json!([{"containerID": 0, "hostID": 4242, "size": 1}]);
    let mut mounts = default_mounts();
    for m in &mut mounts {
        // gid 5 is not mapped.
        m["options"].as_array_mut().unwrap().retain(|o| o != "gid=5");
    }
    mounts.push(json!({"destination": "/b", "source": "/etc", "options": ["rbind", "ro"]}));
    let linux = json!({
        "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "user"}],
        "uidMappings": map, "gidMappings": map
    });
    let plan = bundle.plan(&json!({"mounts": mounts, "linux": linux})).unwrap();
    assert_eq!(plan.sources, SourceSide::Child);
    assert_eq!(plan.devices.as_ref().unwrap().way, DeviceWay::Bind);
    let mut root = prepare(&plan).unwrap_or_else(|e| panic!("{e}"));
    apply_pivot(&mut root, &plan).unwrap_or_else(|e| panic!("{e}"));
    let table = mountinfo();
    assert!(table.options("/b").contains(&"ro".to_string()));
    assert_eq!(table.kind("/sys"), Some("sysfs"));
    fs::write("/dev/null", "x").unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(fs::read("/proc/keys").unwrap(), b"");
}
