//! What the container sees at /sys/fs/cgroup, in each layout. The hierarchies are the test's own directories: what
//! matters here is where they appear.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{Bundle, MOUNT_SETATTR, alone_with, build, exists, filter, mountinfo, with_mount};
use runtime::facts::CgroupMode;
use runtime::rootfs::*;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const FLAGS: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;

fn cgroup_mount(options: &[&str]) -> Value {
    with_mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options,
    }))
}

/// Mounts a cgroup2 of the test's own view and gives the path, or says why not.
fn own_cgroup2(bundle: &Bundle) -> Option<PathBuf> {
    let at = bundle.dir.join("cg2");
    fs::create_dir(&at).unwrap();
    let c = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
    match sys::mount::mount(c"none", &c, c"cgroup2", 0, c"") {
        Ok(()) => Some(at),
        Err(e) => {
            println!("skip rootfs.cgroup2: {e}");
            None
        }
    }
}

fn enter(bundle: &Bundle, edit: &Value, cgroups: &CgroupMounts) {
    let plan = bundle.plan(edit).unwrap();
    sys::process::unshare(libc::CLONE_NEWNS as u64).unwrap();
    let mut root = build(&plan, Sources::default(), cgroups).unwrap_or_else(|e| panic!("{e}"));
    apply_pivot(&mut root, &plan).unwrap();
}

#[test]
fn v2_with_a_namespace() {
    alone_with("v2_with_a_namespace", FLAGS, || {
        let mut bundle = Bundle::new();
        bundle.facts.cgroup_mode = CgroupMode::Unified;
        let Some(at) = own_cgroup2(&bundle) else { return };
        let own = at.join(format!("runb-test-{}", std::process::id()));
        fs::create_dir(&own).unwrap();
        let mut edit = cgroup_mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]);
        edit["linux"] = json!({"namespaces": [{"type": "mount"}, {"type": "cgroup"}]});
        let v2 = CgroupV2 {
            mountpoint: at,
            container: Some(own.clone()),
        };
        enter(
            &bundle,
            &edit,
            &CgroupMounts {
                v1: vec![],
                v2: Some(v2),
            },
        );
        let table = mountinfo();
        assert_eq!(table.kind("/sys/fs/cgroup"), Some("cgroup2"));
        assert_eq!(
            table.options("/sys/fs/cgroup"),
            ["ro", "nosuid", "nodev", "noexec", "relatime"]
        );
        assert!(exists("/sys/fs/cgroup/cgroup.procs"));
        let name = format!("/sys/fs/cgroup/{}", own.file_name().unwrap().to_str().unwrap());
        remount_writable();
        fs::remove_dir(name).unwrap();
    });
}

fn remount_writable() {
    sys::mount::mount(c"", c"/sys/fs/cgroup", c"", libc::MS_REMOUNT | libc::MS_BIND, c"").unwrap();
}

/// Without a namespace the host's tree is bound as it is; rootless, only the container's part, and read-only
/// (CVE-2023-25809).
#[test]
fn v2_without_a_namespace() {
    alone_with("v2_without_a_namespace", FLAGS, || {
        let mut bundle = Bundle::new();
        bundle.facts.cgroup_mode = CgroupMode::Unified;
        // A plain directory plays the tree.
        let at = bundle.dir.join("tree");
        fs::create_dir_all(at.join("own/mine")).unwrap();
        let container = at.join("own");
        let v2 = CgroupV2 {
            mountpoint: at,
            container: Some(container.clone()),
        };
        let mounts = CgroupMounts {
            v1: vec![],
            v2: Some(v2),
        };
        bundle.facts.euid = 0;
        enter(&bundle, &cgroup_mount(&["nosuid"]), &mounts);
        assert!(exists("/sys/fs/cgroup/own/mine"));
    });
}

#[test]
fn v2_rootless_without_a_namespace() {
    alone_with("v2_rootless_without_a_namespace", FLAGS, || {
        let mut bundle = Bundle::new();
        bundle.facts.cgroup_mode = CgroupMode::Unified;
        bundle.facts.in_user_namespace = true;
        let at = bundle.dir.join("tree");
        fs::create_dir_all(at.join("own/mine")).unwrap();
        let v2 = CgroupV2 {
            mountpoint: at.clone(),
            container: Some(at.join("own")),
        };
        let mounts = CgroupMounts {
            v1: vec![],
            v2: Some(v2),
        };
        enter(&bundle, &cgroup_mount(&[]), &mounts);
        assert!(exists("/sys/fs/cgroup/mine") && !exists("/sys/fs/cgroup/own"));
        assert!(fs::create_dir("/sys/fs/cgroup/new").is_err());
    });
}

#[test]
fn v2_rootless_without_a_cgroup() {
    alone_with("v2_rootless_without_a_cgroup", FLAGS, || {
        let mut bundle = Bundle::new();
        bundle.facts.cgroup_mode = CgroupMode::Unified;
        bundle.facts.in_user_namespace = true;
        let gone = PathBuf::from("/mnt/gone");
        let v2 = CgroupV2 {
            mountpoint: "/mnt".into(),
            container: Some(gone),
        };
        enter(
            &bundle,
            &cgroup_mount(&[]),
            &CgroupMounts {
                v1: vec![],
                v2: Some(v2),
            },
        );
        assert_eq!(fs::read_dir("/sys/fs/cgroup").unwrap().count(), 0);
        assert!(fs::create_dir("/sys/fs/cgroup/new").is_err());
    });
}

fn v1_tree(bundle: &Bundle) -> CgroupMounts {
    let at = bundle.dir.join("v1");
    for dir in ["cpu,cpuacct/own/mine", "memory/own"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    let hierarchy = |name: &str, links: &[&str]| CgroupV1 {
        name: name.into(),
        controllers: name.into(),
        container: at.join(name).join("own"),
        links: links.iter().map(|l| l.to_string()).collect(),
    };
    CgroupMounts {
        v1: vec![
            hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]),
            hierarchy("memory", &[]),
        ],
        v2: None,
    }
}

#[test]
fn v1_binds() {
    alone_with("v1_binds", FLAGS, || {
        let bundle = Bundle::new();
        let cgroups = v1_tree(&bundle);
        enter(
            &bundle,
            &cgroup_mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]),
            &cgroups,
        );
        let table = mountinfo();
        assert_eq!(table.kind("/sys/fs/cgroup"), Some("tmpfs"));
        let ro = ["ro", "nosuid", "nodev", "noexec", "relatime"];
        assert_eq!(table.options("/sys/fs/cgroup"), ro);
        assert_eq!(table.options("/sys/fs/cgroup/cpu,cpuacct"), ro);
        assert_eq!(
            fs::read_link("/sys/fs/cgroup/cpu").unwrap().to_str(),
            Some("cpu,cpuacct")
        );
        assert!(exists("/sys/fs/cgroup/cpuacct/mine") && exists("/sys/fs/cgroup/memory"));
        assert!(fs::create_dir("/sys/fs/cgroup/memory/new").is_err());
        assert!(fs::create_dir("/sys/fs/cgroup/new").is_err());
    });
}

#[test]
fn v1_writable() {
    alone_with("v1_writable", FLAGS, || {
        let bundle = Bundle::new();
        let cgroups = v1_tree(&bundle);
        enter(&bundle, &cgroup_mount(&["nosuid"]), &cgroups);
        fs::create_dir("/sys/fs/cgroup/memory/new").unwrap();
    });
}

/// Where a call is filtered, each hierarchy finds another way; the whole is not mounted twice.
#[test]
fn v1_binds_with_filtered_calls() {
    alone_with("v1_binds_with_filtered_calls", FLAGS, || {
        let bundle = Bundle::new();
        let cgroups = v1_tree(&bundle);
        filter(&[MOUNT_SETATTR], libc::EPERM);
        enter(&bundle, &cgroup_mount(&["nosuid", "ro"]), &cgroups);
        let table = mountinfo();
        assert_eq!(table.all("/sys/fs/cgroup").count(), 1, "{table:#?}");
        assert_eq!(table.all("/sys/fs/cgroup/memory").count(), 1);
        assert!(table.options("/sys/fs/cgroup/memory").contains(&"ro".to_string()));
    });
}

/// In a namespace each hierarchy is mounted anew. Uses a hierarchy of the host that is there, if any.
#[test]
fn v1_with_a_namespace() {
    alone_with("v1_with_a_namespace", FLAGS | libc::CLONE_NEWCGROUP, || {
        let bundle = Bundle::new();
        let Ok(text) = fs::read_to_string("/proc/thread-self/cgroup") else {
            return;
        };
        let found = text.lines().find_map(|l| {
            let name = l.split(':').nth(1)?;
            (!name.is_empty()).then(|| name.to_string())
        });
        let Some(controllers) = found else {
            println!("skip rootfs.v1_with_a_namespace: no v1 hierarchy is mounted");
            return;
        };
        let hierarchy = CgroupV1 {
            name: controllers.trim_start_matches("name=").into(),
            controllers: if controllers.starts_with("name=") {
                format!("none,{controllers}")
            } else {
                controllers.clone()
            },
            container: PathBuf::from("/nonexistent"),
            links: vec![],
        };
        let mut edit = cgroup_mount(&["ro"]);
        edit["linux"] = json!({"namespaces": [{"type": "mount"}, {"type": "cgroup"}]});
        let place = format!("/sys/fs/cgroup/{}", hierarchy.name);
        enter(
            &bundle,
            &edit,
            &CgroupMounts {
                v1: vec![hierarchy],
                v2: None,
            },
        );
        let table = mountinfo();
        assert_eq!(table.kind(&place), Some("cgroup"));
        assert_eq!(
            table.options(&place),
            ["ro", "nosuid", "nodev", "noexec", "relatime"]
        );
        assert!(exists(format!("{place}/cgroup.procs")));
    });
}
