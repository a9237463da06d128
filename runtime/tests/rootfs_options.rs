//! What each kind of mount and each option does to the real kernel's tables.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rootfs_cases;

use rootfs_cases::{Bundle, alone, default_mounts, exists, mountinfo, prepare, with_mount};
use runtime::rootfs::*;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

fn mount_at(place: &str) -> std::ffi::CString {
    std::ffi::CString::new(place).unwrap()
}

/// A source with a mount in it, both `nosuid`.
fn source_tree(bundle: &Bundle) -> String {
    let source = bundle.dir.join("src").to_str().unwrap().to_string();
    fs::create_dir(&source).unwrap();
    let c = mount_at(&source);
    sys::mount::mount(c"tmpfs", &c, c"tmpfs", libc::MS_NOSUID, c"").unwrap();
    fs::create_dir(format!("{source}/sub")).unwrap();
    let sub = mount_at(&format!("{source}/sub"));
    sys::mount::mount(c"tmpfs", &sub, c"tmpfs", libc::MS_NOSUID, c"").unwrap();
    source
}

#[test]
fn bind_options() {
    alone("bind_options", || {
        let bundle = Bundle::new();
        let source = source_tree(&bundle);
        type Words<'a> = &'a [&'a str];
        let cases: &[(Words, Words, Option<Words>)] = &[
            (&["bind"], &["rw", "nosuid", "relatime"], None),
            (
                &["rbind"],
                &["rw", "nosuid", "relatime"],
                Some(&["rw", "nosuid", "relatime"]),
            ),
            (
                &["rbind", "ro"],
                &["ro", "relatime"],
                Some(&["rw", "nosuid", "relatime"]),
            ),
            (
                &["rbind", "rro"],
                &["ro", "nosuid", "relatime"],
                Some(&["ro", "nosuid", "relatime"]),
            ),
            (
                &["bind", "nodev", "noexec"],
                &["rw", "nodev", "noexec", "relatime"],
                None,
            ),
            (&["bind", "noatime"], &["rw", "noatime"], None),
            (
                &["rbind", "rnoatime", "rsuid"],
                &["rw", "noatime"],
                Some(&["rw", "noatime"]),
            ),
            (
                &["rbind", "rstrictatime"],
                &["rw", "nosuid"],
                Some(&["rw", "nosuid"]),
            ),
            (&["bind", "nosymfollow"], &["rw", "relatime", "nosymfollow"], None),
            (&["bind", "nodiratime"], &["rw", "nodiratime", "relatime"], None),
        ];
        let mut mounts = default_mounts();
        for (n, (options, _, _)) in cases.iter().enumerate() {
            mounts.push(json!({"destination": format!("/b{n}"), "source": source, "options": options}));
        }
        bundle.enter(&json!({ "mounts": mounts }));
        let table = mountinfo();
        for (n, (options, top, sub)) in cases.iter().enumerate() {
            assert_eq!(table.options(&format!("/b{n}")), *top, "{options:?}");
            let below = table.at(&format!("/b{n}/sub")).map(|m| m.options.clone());
            let want = sub.map(|s| s.iter().map(|s| s.to_string()).collect::<Vec<_>>());
            assert_eq!(below, want, "{options:?} below");
        }
    });
}

#[test]
fn propagation_in_order() {
    alone("propagation_in_order", || {
        let bundle = Bundle::new();
        let source = source_tree(&bundle);
        sys::mount::mount(c"", &mount_at(&source), c"", libc::MS_SHARED | libc::MS_REC, c"").unwrap();
        let mut mounts = default_mounts();
        for (n, words) in [
            vec!["rprivate"],
            vec!["rslave"],
            vec!["rshared"],
            vec!["private", "shared"],
        ]
        .into_iter()
        .enumerate()
        {
            let options: Vec<&str> = ["rbind"].into_iter().chain(words).collect();
            mounts.push(json!({"destination": format!("/b{n}"), "source": source, "options": options}));
        }
        bundle.enter(&json!({ "mounts": mounts }));
        let table = mountinfo();
        let tags = |n: usize| table.at(&format!("/b{n}")).unwrap().tags.clone();
        assert_eq!(tags(0), "");
        assert!(tags(1).starts_with("master:"), "{}", tags(1));
        // Slave of the host's, and shared among its own: nothing travels to the host.
        assert!(
            tags(2).contains("shared:") && tags(2).contains("master:"),
            "{}",
            tags(2)
        );
        assert!(
            tags(3).starts_with("shared:") && !tags(3).contains("master:"),
            "{}",
            tags(3)
        );
    });
}

/// Bidirectional propagation is what rootfsPropagation shared is for.
#[test]
fn shared_root_propagation() {
    alone("shared_root_propagation", || {
        let bundle = Bundle::new();
        let source = source_tree(&bundle);
        sys::mount::mount(c"", c"/mnt", c"", libc::MS_SHARED | libc::MS_REC, c"").unwrap();
        let namespace = sys::fs::open("/proc/thread-self/ns/mnt".as_ref(), libc::O_RDONLY, 0).unwrap();
        let host = sys::fs::open(std::path::Path::new(&source), libc::O_PATH, 0).unwrap();
        let mount = json!({"destination": "/b", "source": source, "options": ["rbind", "rshared"]});
        let mut edit = with_mount(mount);
        edit["linux"] = json!({"rootfsPropagation": "rshared"});
        bundle.enter(&edit);
        let table = mountinfo();
        assert!(table.at("/").unwrap().tags.contains("shared:"), "{table:#?}");
        fs::create_dir("/b/new").unwrap();
        sys::mount::mount(c"tmpfs", c"/b/new", c"tmpfs", 0, c"").unwrap();
        fs::write("/b/new/x", "").unwrap();
        assert!(sys::fs::openat(host.as_fd(), std::path::Path::new("new/x"), libc::O_PATH, 0).is_ok());
        // Letting go of the old root unmounted nothing on the host.
        sys::process::setns(namespace.as_fd(), libc::CLONE_NEWNS as u64).unwrap();
        let on_host = mountinfo();
        assert!(
            on_host.at(&source).is_some() && on_host.at(&format!("{source}/sub")).is_some(),
            "{on_host:#?}"
        );
    });
}

fn root_propagation(name: &str, word: &str, is: impl Fn(&str) -> bool) {
    alone(name, || {
        let bundle = Bundle::new();
        bundle.enter(&json!({"linux": {"rootfsPropagation": word}}));
        let tags = mountinfo().at("/").unwrap().tags.clone();
        assert!(is(&tags), "{word}: {tags:?}");
    });
}

#[test]
fn a_private_root() {
    root_propagation("a_private_root", "rprivate", str::is_empty);
}

#[test]
fn a_slave_root() {
    root_propagation("a_slave_root", "rslave", |tags| !tags.contains("shared"));
}

#[test]
fn a_shared_root() {
    root_propagation("a_shared_root", "shared", |tags| tags.contains("shared:"));
}

#[test]
fn an_unbindable_root() {
    root_propagation("an_unbindable_root", "unbindable", |tags| tags == "unbindable");
}

#[test]
fn tmpfs_modes_and_copyup() {
    alone("tmpfs_modes_and_copyup", || {
        let bundle = Bundle::new();
        let place = |p: &str| bundle.rootfs().join(p);
        fs::create_dir_all(place("data/deep/er")).unwrap();
        fs::write(place("data/file"), "content").unwrap();
        fs::set_permissions(place("data/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        chown(place("data/file"), Some(12), Some(34)).unwrap();
        fs::set_permissions(place("data/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(place("data/deep"), fs::Permissions::from_mode(0o1730)).unwrap();
        fs::write(bundle.dir.join("outside/secret"), "secret").unwrap();
        symlink("/mnt/outside/secret", place("data/link")).unwrap();
        symlink("/mnt/outside", place("data/deep/dirlink")).unwrap();
        sys::fs::mkfifoat(sys::fs::cwd(), &place("data/fifo"), 0o640).unwrap();
        fs::create_dir(place("sticky")).unwrap();
        fs::set_permissions(place("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
        let tmp =
            |d: &str, o: &[&str]| json!({"destination": d, "type": "tmpfs", "source": "tmpfs", "options": o});
        let mut mounts = default_mounts();
        mounts.extend([
            tmp("/data", &["tmpcopyup", "ro", "nodev"]),
            tmp("/sticky", &[]),
            tmp("/sticky2", &["mode=700", "ro"]),
            tmp("/fresh", &[]),
            tmp("/fresh2", &["ro"]),
        ]);
        bundle.enter(&json!({ "mounts": mounts }));
        let data = fs::metadata("/data/file").unwrap();
        assert_eq!((data.mode() & 0o7777, data.uid(), data.gid()), (0o4751, 12, 34));
        assert_eq!(fs::read_to_string("/data/file").unwrap(), "content");
        assert_eq!(fs::metadata("/data/deep").unwrap().mode() & 0o7777, 0o1730);
        assert!(exists("/data/deep/er") && exists("/data/fifo"));
        assert_eq!(
            fs::read_link("/data/link").unwrap().to_str(),
            Some("/mnt/outside/secret")
        );
        assert_eq!(
            fs::read_link("/data/deep/dirlink").unwrap().to_str(),
            Some("/mnt/outside")
        );
        assert_eq!(fs::metadata("/sticky").unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata("/sticky2").unwrap().mode() & 0o7777, 0o700);
        // Nothing to inherit from: the mode of every tmpfs.
        assert_eq!(fs::metadata("/fresh").unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata("/fresh2").unwrap().mode() & 0o7777, 0o1777);
        assert!(fs::write("/data/new", "").is_err() && fs::write("/sticky2/new", "").is_err());
        fs::write("/sticky/new", "").unwrap();
    });
}

#[test]
fn remounts() {
    alone("remounts", || {
        let bundle = Bundle::new();
        let mut mounts = default_mounts();
        mounts.extend([
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}),
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "size=2m"]}),
            json!({"destination": "/sys", "options": ["remount", "bind", "rw", "nosuid"]}),
        ]);
        bundle.enter(&json!({ "mounts": mounts }));
        let table = mountinfo();
        assert!(table.options("/tmp").contains(&"ro".to_string()), "{table:#?}");
        assert_eq!(table.options("/sys"), ["rw", "nosuid", "relatime"]);
    });
}

#[test]
fn the_kernel_names_the_wrong_parameter() {
    alone("the_kernel_names_the_wrong_parameter", || {
        let bundle = Bundle::new();
        let e = bundle.error(&with_mount(
            json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["noshuch=1"]}),
        ));
        assert!(
            e.starts_with("error mounting \"tmpfs\" to rootfs at \"/x\": "),
            "{e}"
        );
        assert!(e.contains("noshuch") && e.contains("invalid argument"), "{e}");
        let e = bundle.error(&with_mount(
            json!({"destination": "/x", "type": "nofs", "source": "nofs"}),
        ));
        assert!(e.contains("no such device"), "{e}");
        let e = bundle.error(&with_mount(
            json!({"destination": "/x", "source": "/does/not/exist", "options": ["bind"]}),
        ));
        assert_eq!(
            e,
            "error mounting \"/does/not/exist\" to rootfs at \"/x\": stat /does/not/exist: no such file or directory"
        );
        for (source, destination) in [("/etc", "/proc/uptime"), ("/etc/passwd", "/dev")] {
            let e = bundle.error(&with_mount(
                json!({"destination": destination, "source": source, "options": ["bind"]}),
            ));
            assert!(e.ends_with("not a directory"), "{e}");
        }
    });
}

#[test]
fn long_and_quoted_parameters_go_the_classic_way() {
    alone("long_and_quoted_parameters_go_the_classic_way", || {
        let bundle = Bundle::new();
        let mut lower = Vec::new();
        for n in 0..12 {
            let dir = bundle
                .dir
                .join(format!("a-rather-long-name-of-a-lower-directory-{n}"));
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join(format!("f{n}")), "").unwrap();
            lower.push(dir.to_str().unwrap().to_string());
        }
        let option = format!("lowerdir={}", lower.join(":"));
        assert!(option.len() > 256);
        bundle.enter(&with_mount(
            json!({"destination": "/over", "type": "overlay", "source": "overlay", "options": [option]}),
        ));
        assert!(exists("/over/f0") && exists("/over/f11"));
        assert_eq!(mountinfo().count(), 6 + 1 + 1 + masked_and_readonly());
    });
}

/// How many of the default masked and read-only paths this kernel has.
fn masked_and_readonly() -> usize {
    let spec = rootfs_cases::default_spec();
    let list = |k: &str| spec["linux"][k].as_array().unwrap().clone();
    let all: Vec<Value> = [list("maskedPaths"), list("readonlyPaths")].concat();
    let table = mountinfo();
    all.iter()
        .filter(|p| table.at(p.as_str().unwrap()).is_some())
        .count()
}

#[test]
fn id_mapped_bind() {
    alone("id_mapped_bind", || {
        let bundle = Bundle::new();
        let source = source_tree(&bundle);
        fs::write(format!("{source}/f"), "").unwrap();
        fs::write(format!("{source}/sub/g"), "").unwrap();
        chown(format!("{source}/f"), Some(0), Some(0)).unwrap();
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        let mount = |d: &str, o: &[&str]| json!({"destination": d, "source": source, "options": o, "uidMappings": map, "gidMappings": map});
        let mut mounts = default_mounts();
        mounts.extend([
            mount("/one", &["rbind", "idmap"]),
            mount("/all", &["rbind", "ridmap", "ro"]),
        ]);
        bundle.enter(&json!({ "mounts": mounts }));
        let ids = |p: &str| fs::metadata(p).map(|m| (m.uid(), m.gid())).unwrap();
        assert_eq!(ids("/one/f"), (1000, 1000));
        assert_eq!(ids("/one/sub/g"), (0, 0));
        assert_eq!(ids("/all/f"), (1000, 1000));
        assert_eq!(ids("/all/sub/g"), (1000, 1000));
        assert!(mountinfo().options("/all").contains(&"ro".to_string()));
    });
}

/// A superblock of its own for each of many masks costs grace periods of the kernel when containers end.
#[test]
fn masked_directories_share_a_file_system() {
    alone("masked_directories_share_a_file_system", || {
        let bundle = Bundle::new();
        for dir in ["a", "b"] {
            fs::create_dir(bundle.rootfs().join("tmp").join(dir)).unwrap();
            fs::write(bundle.rootfs().join("tmp").join(dir).join("secret"), "").unwrap();
        }
        bundle.enter(&json!({"linux": {"maskedPaths": ["/tmp/a", "/tmp/b", "/tmp/c", "/tmp/a/secret"]}}));
        let dev = |p: &str| fs::metadata(p).unwrap().dev();
        assert_eq!(dev("/tmp/a"), dev("/tmp/b"));
        for dir in ["/tmp/a", "/tmp/b"] {
            assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
            assert!(fs::write(format!("{dir}/x"), "").is_err());
        }
    });
}

#[test]
fn extra_devices() {
    alone("extra_devices", || {
        let bundle = Bundle::new();
        let devices = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 5, "gid": 6},
            {"path": "/dev/deep/er/pipe", "type": "p", "fileMode": 0o644},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
            {"path": "/opt/blk", "type": "b", "major": 7, "minor": 0},
        ]);
        bundle.enter(&json!({"linux": {"devices": devices}}));
        let meta = |p: &str| fs::symlink_metadata(p).unwrap();
        let fuse = meta("/dev/fuse");
        assert_eq!((fuse.mode() & 0o7777, fuse.uid(), fuse.gid()), (0o600, 5, 6));
        assert_eq!(fuse.rdev(), libc::makedev(10, 229));
        assert_eq!(meta("/dev/deep/er/pipe").mode() & libc::S_IFMT, libc::S_IFIFO);
        assert_eq!(meta("/dev/null").mode() & 0o7777, 0o600);
        assert_eq!(meta("/dev/zero").mode() & 0o7777, 0o666);
        assert!(meta("/dev/ptmx").is_symlink());
        assert_eq!(meta("/opt/blk").mode() & libc::S_IFMT, libc::S_IFBLK);
        for (link, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            assert_eq!(
                fs::read_link(format!("/dev/{link}")).unwrap().to_str(),
                Some(target)
            );
        }
    });
}

#[test]
fn a_container_without_pivot() {
    alone("a_container_without_pivot", || {
        let bundle = Bundle::new();
        let options = RootfsOptions {
            pivot: Pivot::MoveMount,
        };
        let plan = bundle.plan_with(&json!({}), options).unwrap();
        let mut root = prepare(&plan).unwrap();
        let below = sys::fs::open("/".as_ref(), libc::O_PATH, 0).unwrap();
        apply_pivot(&mut root, &plan).unwrap();
        // The host's tree is still there under ours: at least not with a /proc to mount another one by.
        for view in ["proc/version", "sys/kernel"] {
            assert!(
                sys::fs::openat(below.as_fd(), view.as_ref(), libc::O_PATH, 0)
                    .unwrap_err()
                    .is(libc::ENOENT)
            );
        }
        assert_eq!(fs::read_dir("/").unwrap().count(), 5);
        let table = mountinfo();
        assert_eq!(table.kind("/proc"), Some("proc"), "{table:#?}");
        assert_eq!(sys::fs::getcwd_raw().unwrap().to_str(), Some("/"));
    });
}

#[test]
fn planning_collects_all_problems() {
    let bundle = Bundle::at("/bundle");
    let edit = json!({
        "root": {"path": ""},
        "mounts": [
            {"destination": "", "type": "tmpfs"},
            {"destination": "/a", "source": "/b", "options": ["bind", "size=1"]},
            {"destination": "/", "options": ["bind", "y=1"]},
            {"destination": "/a"},
            {"destination": "/proc/self", "type": "tmpfs"},
            {"destination": "/a", "type": "tmpfs", "options": ["ro", "x\u{0}y"]},
            {"destination": "/a", "type": "tmpfs", "options": ["idmap"]},
            {"destination": "/a", "type": "proc", "options": ["tmpcopyup"]},
            {"destination": "/a", "type": "overlay", "options": ["lowerdir=".to_string() + &"/x".repeat(3000)]},
        ],
        "linux": {
            "rootfsPropagation": "sideways",
            "devices": [{"path": "/dev/x", "type": "z"}, {"path": "x", "type": "c"}, {"path": "/dev/y", "type": "c", "major": -1}],
            "maskedPaths": ["/", "/proc/x"],
        }
    });
    let e = bundle.plan(&edit).unwrap_err();
    for part in [
        "(/root/path)",
        "mount destination is empty (/mounts/0/destination)",
        "bind mounts cannot have any filesystem-specific options applied",
        "(/mounts/2/source)",
        "(/mounts/2/destination)",
        "found \"y=1\" (/mounts/2/options)",
        "(/mounts/3/type)",
        "\"/proc/self\" cannot be mounted because it is inside /proc (/mounts/4/destination)",
        "(/mounts/5/options/1)",
        "id-mapped mounts are only supported for bind-mounts (/mounts/6)",
        "id-mapped mounts must have both uid and gid mappings specified (/mounts/6)",
        "tmpcopyup is only for tmpfs (/mounts/7/options)",
        "longer than a page, which the kernel would cut off (/mounts/8/options)",
        "rootfsPropagation=sideways is not supported (/linux/rootfsPropagation)",
        "invalid device type \"z\" (/linux/devices/0/type)",
        "(/linux/devices/1/path)",
        "(/linux/devices/2/major)",
        "(/linux/maskedPaths/0)",
    ] {
        assert!(e.contains(part), "{part} is missing in {e}");
    }
    let private = RootfsOptions {
        pivot: Pivot::MoveMount,
    };
    let e = bundle
        .plan_with(&json!({"linux": {"rootfsPropagation": "rprivate"}}), private)
        .unwrap_err();
    assert!(e.contains("not safe without pivot_root"), "{e}");
}

#[test]
fn a_mount_label_is_for_new_file_systems() {
    let bundle = Bundle::at("/bundle");
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let mut mounts = default_mounts();
    mounts.extend([
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}),
        json!({"destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ["context=mine"]}),
        json!({"destination": "/b", "source": "/b", "options": ["bind"]}),
    ]);
    let plan = bundle
        .plan(&json!({"mounts": mounts, "linux": {"mountLabel": label}}))
        .unwrap();
    assert_eq!(plan.mount_label.as_deref().unwrap().to_str(), Ok(label));
    for m in &plan.mounts {
        let given: Vec<_> = m
            .options
            .parameters
            .iter()
            .filter(|p| p.key.as_c_str() == c"context")
            .collect();
        let want = match m.destination.to_string().as_str() {
            "/dev" | "/dev/pts" | "/dev/shm" => Some(label),
            "/own" => Some("mine"),
            _ => None,
        };
        let got = given.first().map(|p| p.value.as_ref().unwrap().to_str().unwrap());
        assert_eq!(
            (got, given.len()),
            (want, usize::from(want.is_some())),
            "{}",
            m.destination
        );
    }
}

#[test]
fn a_plan_is_printable() {
    let bundle = Bundle::at("/bundle");
    let plan = bundle
        .plan(&json!({"linux": {"maskedPaths": ["/proc/a", "/proc//a/", "/proc/b"]}}))
        .unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["path"], "/bundle/rootfs");
    assert_eq!(json["masked"], json!(["/proc/a", "/proc/b"]));
    assert_eq!(json["mounts"][0]["kind"], "proc");
    assert_eq!(json["mounts"][2]["options"]["parameters"][1], "ptmxmode=0666");
    assert_eq!(json["devices"]["nodes"].as_array().unwrap().len(), 6);
    assert_eq!(json["hostPropagation"], "rslave");
}
