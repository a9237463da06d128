//! `root` and `mounts`, masked and read-only paths. Devices and cgroup mounts have areas of their own.

use serde_json::json;

use crate::case::{Case, Level, Need, Step};
use crate::config::Setup;
use crate::kernel;
use crate::world::{Ended, Trouble, World};

/// An option and what it shows as in mountinfo; `!` for what must not show; empty where nothing shows.
const PLAIN: [(&str, &str); 34] = [
    ("ro", "ro"),
    ("rw", "rw"),
    ("suid", "!nosuid"),
    ("nosuid", "nosuid"),
    ("dev", "!nodev"),
    ("nodev", "nodev"),
    ("exec", "!noexec"),
    ("noexec", "noexec"),
    ("sync", "sync"),
    ("async", "!sync"),
    ("dirsync", "dirsync"),
    ("mand", ""),
    ("nomand", "!mand"),
    ("silent", ""),
    ("loud", ""),
    ("iversion", ""),
    ("noiversion", ""),
    ("atime", "!noatime"),
    ("noatime", "noatime"),
    ("diratime", "!nodiratime"),
    ("nodiratime", "nodiratime"),
    ("relatime", "relatime"),
    ("norelatime", ""),
    ("strictatime", "!relatime"),
    ("nostrictatime", ""),
    ("lazytime", "lazytime"),
    ("nolazytime", "!lazytime"),
    ("symfollow", "!nosymfollow"),
    ("nosymfollow", "nosymfollow"),
    ("private", ""),
    ("rprivate", ""),
    ("slave", ""),
    ("shared", ""),
    ("unbindable", ""),
];

/// The same for options that reach submounts.
const RECURSIVE: [(&str, &str); 20] = [
    ("rro", "ro"),
    ("rrw", "rw"),
    ("rnosuid", "nosuid"),
    ("rsuid", "!nosuid"),
    ("rnodev", "nodev"),
    ("rdev", "!nodev"),
    ("rnoexec", "noexec"),
    ("rexec", "!noexec"),
    ("rnodiratime", "nodiratime"),
    ("rdiratime", "!nodiratime"),
    ("rrelatime", "relatime"),
    ("rnorelatime", ""),
    ("rnoatime", "noatime"),
    ("ratime", "!noatime"),
    ("rstrictatime", "!relatime"),
    ("rnostrictatime", ""),
    ("rnosymfollow", "nosymfollow"),
    ("rsymfollow", "!nosymfollow"),
    ("rprivate", ""),
    ("rslave", ""),
];

/// One tmpfs at /data with these options, and the probe's report.
fn tmpfs(s: &mut crate::config::Setup, options: &[&str]) {
    s.mount("/data", "tmpfs", "tmpfs", options);
}

fn options(w: &mut World, point: &str, want: &[&str], never: &[&str]) -> Ended {
    let m = w.mount_at(point)?;
    for o in want {
        w.is(
            m.options.iter().any(|x| x == o),
            format!("{point} is not mounted {o}: {:?}", m.options),
        );
    }
    for o in never {
        w.is(
            !m.options.iter().any(|x| x == o),
            format!("{point} is mounted {o}: {:?}", m.options),
        );
    }
    Ok(())
}

/// A directory is bound into the root, and what is then in the root is bound to `/final`.
fn source_of_an_earlier_mount(s: &mut Setup, options: &[&str]) {
    s.outside_dir("a/x");
    let whole = s.outside_dir("a");
    s.outside_file("a/x/f", "deep");
    s.bind(&whole, "/first", &[]);
    let inside = s.place.rootfs().join("first/x");
    s.bind(&inside, "/final", options);
    s.args(&["stat", "/final/f"]);
}

fn propagation(w: &mut World, point: &str, want: &str) -> Ended {
    let m = w.mount_at(point)?;
    let kind = match m.propagation.as_slice() {
        [] => "private",
        list if list.iter().any(|p| p.starts_with("shared:")) => "shared",
        list if list.iter().any(|p| p.starts_with("master:")) => "slave",
        _ => "unbindable",
    };
    w.eq(&format!("the propagation of {point}"), kind, want);
    Ok(())
}

/// A tree outside with another mount in it, to be bound recursively.
fn nested_source(w: &mut World) -> Ended {
    let inner = w.setup.place.outside().join("tree/inner");
    w.mount_tmpfs(&inner, 0, "")
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "mounts.default-set",
        clause: "config-linux.md#default-filesystems",
        expect: |w| {
            for (point, kind) in [
                ("/proc", "proc"),
                ("/sys", "sysfs"),
                ("/dev", "tmpfs"),
                ("/dev/pts", "devpts"),
                ("/dev/shm", "tmpfs"),
                ("/dev/mqueue", "mqueue"),
            ] {
                let m = w.mount_at(point)?;
                w.eq(&format!("the type of {point}"), m.kind, kind);
            }
            options(w, "/sys", &["ro", "nosuid", "nodev", "noexec"], &[])?;
            options(w, "/dev", &["rw", "nosuid"], &["nodev"])
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.every-plain-option",
        clause: "config.md#linux-mount-options: each is known and does what it says",
        config: |s| {
            for (n, (option, _)) in PLAIN.iter().enumerate() {
                s.mount(&format!("/data/{n}"), "tmpfs", "tmpfs", &[option]);
            }
        },
        expect: |w| {
            for (n, (option, effect)) in PLAIN.iter().enumerate() {
                let m = w.mount_at(&format!("/data/{n}"))?;
                let has = |o: &str| m.options.iter().chain(&m.fs_options).any(|x| x == o);
                let met = match effect.strip_prefix('!') {
                    Some(absent) => !has(absent),
                    None => effect.is_empty() || has(effect),
                };
                w.is(
                    met,
                    format!(
                        "{option}: {effect} expected of {:?} {:?}",
                        m.options, m.fs_options
                    ),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.every-recursive-option",
        clause: "config.md#linux-mount-options: each recursive one reaches submounts",
        config: |s| {
            let dir = s.outside_dir("tree");
            for (n, (option, _)) in RECURSIVE.iter().enumerate() {
                s.mount(
                    &format!("/data/{n}"),
                    "none",
                    &dir.to_string_lossy(),
                    &["rbind", option],
                );
            }
        },
        steps: &[Step::Do(nested_source), Step::Run],
        expect: |w| {
            for (n, (option, effect)) in RECURSIVE.iter().enumerate() {
                let m = w.mount_at(&format!("/data/{n}/inner"))?;
                let has = |o: &str| m.options.iter().any(|x| x == o);
                let met = match effect.strip_prefix('!') {
                    Some(absent) => !has(absent),
                    None => effect.is_empty() || has(effect),
                };
                w.is(met, format!("{option}: {effect} expected of {:?}", m.options));
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.idmap-option",
        clause: "config.md#linux-mount-options idmap: with the container's own mapping",
        needs: &[Need::Root, Need::UserNamespaces, Need::IdMappedMounts],
        config: |s| {
            let dir = s.outside_dir("owned");
            s.outside_file("owned/f", "x");
            s.user_namespace(100_000);
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            let source = dir.to_string_lossy().into_owned();
            s.set(
                "/mounts/-",
                json!({
                    "destination": "/data", "type": "bind", "source": source, "options": ["bind", "idmap"],
                    "uidMappings": map, "gidMappings": map
                }),
            );
            s.args(&["stat", "/data/f"]);
        },
        expect: |w| {
            let stat = w.did(&["stat"])?;
            w.eq(
                "owner inside of a file of the host's root",
                [&stat["value"]["uid"], &stat["value"]["gid"]],
                [0, 0],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.label-without-selinux",
        clause: "reference: a label that cannot be applied is an error",
        needs: &[Need::Root, Need::NoSelinux],
        config: |s| s.set("/process/selinuxLabel", json!("system_u:system_r:container_t:s0")),
        steps: &[Step::Fails(&Step::Create, &["selinux"])],
        ..Case::RUN
    },
    Case {
        id: "mounts.order",
        clause: "config.md#mounts: in the listed order",
        config: |s| {
            tmpfs(s, &["mode=700"]);
            s.mount("/data/deeper", "tmpfs", "tmpfs", &["mode=711"]);
            s.args(&["report", "--", "stat", "/data/deeper"]);
        },
        expect: |w| {
            w.mount_at("/data/deeper")?;
            let mode = w.did(&["stat", "/data/deeper"])?;
            w.eq("mode of the inner mount", &mode["value"]["mode"], 0o711);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.later-covers-earlier",
        clause: "config.md#mounts: in the listed order",
        config: |s| {
            tmpfs(s, &["mode=700"]);
            tmpfs(s, &["mode=750"]);
            s.args(&["stat", "/data"]);
        },
        expect: |w| {
            let done = w.did(&["stat", "/data"])?;
            w.eq("mode of /data", &done["value"]["mode"], 0o750);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.bind",
        clause: "config.md#mounts bind",
        config: |s| {
            let dir = s.outside_dir("shared");
            s.outside_file("shared/f", "from outside");
            s.bind(&dir, "/data", &[]);
            s.args(&["read", "/data/f", "--", "write", "/data/f", "+in"]);
        },
        expect: |w| {
            let read = w.did(&["read", "/data/f"])?;
            w.eq("the file", &read["value"], "from outside");
            let now = std::fs::read_to_string(w.setup.place.outside().join("shared/f"))?;
            w.eq("the file outside", now, "from outside+in");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.bind-read-only",
        clause: "config.md#mounts ro on a bind",
        config: |s| {
            let dir = s.outside_dir("shared");
            s.outside_file("shared/f", "");
            s.bind(&dir, "/data", &["ro"]);
            s.args(&["open", "w", "/data/f", "--", "mkdir", "/data/d", "--", "report"]);
        },
        expect: |w| {
            w.errno(&["open", "w"], libc::EROFS)?;
            w.errno(&["mkdir"], libc::EROFS)?;
            options(w, "/data", &["ro"], &[])
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.bind-file",
        clause: "config.md#mounts: a missing destination is made as a file when the source is one",
        config: |s| {
            let f = s.outside_file("one", "single");
            s.bind(&f, "/made/here/one", &["ro"]);
            s.args(&["read", "/made/here/one", "--", "open", "w", "/made/here/one"]);
        },
        expect: |w| {
            let read = w.did(&["read"])?;
            w.eq("the file", &read["value"], "single");
            w.errno(&["open", "w"], libc::EROFS)
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.bind-keeps-flags-of-other-options",
        clause: "config.md#mounts nosuid nodev noexec on a bind",
        config: |s| {
            let dir = s.outside_dir("shared");
            s.bind(&dir, "/data", &["nosuid", "nodev", "noexec", "nodiratime"]);
        },
        expect: |w| {
            options(
                w,
                "/data",
                &["nosuid", "nodev", "noexec", "nodiratime", "rw"],
                &[],
            )
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.rbind-brings-submounts",
        clause: "config.md#mounts rbind",
        config: |s| {
            let dir = s.outside_dir("tree");
            s.mount("/data", "none", &dir.to_string_lossy(), &["rbind", "ro"]);
        },
        steps: &[Step::Do(nested_source), Step::Run],
        expect: |w| {
            options(w, "/data", &["ro"], &[])?;
            options(w, "/data/inner", &["rw"], &[])
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.bind-leaves-submounts",
        clause: "config.md#mounts bind",
        config: |s| {
            let dir = s.outside_dir("tree");
            s.bind(&dir, "/data", &[]);
        },
        steps: &[Step::Do(nested_source), Step::Run],
        expect: |w| {
            let found = w.mounts()?.iter().any(|m| m.point == "/data/inner");
            w.is(!found, "a plain bind brought a submount along");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.rro-is-recursive",
        clause: "config.md#mounts rro (mount_setattr, Linux 5.12)",
        config: |s| {
            let dir = s.outside_dir("tree");
            s.mount("/data", "none", &dir.to_string_lossy(), &["rbind", "rro"]);
            s.args(&["report", "--", "mkdir", "/data/inner/x"]);
        },
        steps: &[Step::Do(nested_source), Step::Run],
        expect: |w| {
            options(w, "/data", &["ro"], &[])?;
            options(w, "/data/inner", &["ro"], &[])?;
            w.errno(&["mkdir"], libc::EROFS)
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.recursive-attributes",
        clause: "config.md#mounts rnosuid rnodev rnoexec rnoatime rnosymfollow",
        config: |s| {
            let dir = s.outside_dir("tree");
            let all = ["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"];
            s.mount("/data", "none", &dir.to_string_lossy(), &all);
        },
        steps: &[Step::Do(nested_source), Step::Run],
        expect: |w| {
            options(
                w,
                "/data/inner",
                &["nosuid", "nodev", "noexec", "noatime", "nodiratime"],
                &[],
            )
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.recursive-clear",
        clause: "config.md#mounts: the positive spelling clears",
        config: |s| {
            let dir = s.outside_dir("tree");
            s.mount(
                "/data",
                "none",
                &dir.to_string_lossy(),
                &["rbind", "rexec", "rrw"],
            );
        },
        steps: &[
            Step::Do(|w| {
                let inner = w.setup.place.outside().join("tree/inner");
                w.mount_tmpfs(&inner, libc::MS_NOEXEC | libc::MS_RDONLY, "")
            }),
            Step::Run,
        ],
        expect: |w| options(w, "/data/inner", &["rw"], &["noexec", "ro"]),
        ..Case::RUN
    },
    Case {
        id: "mounts.atime-options",
        clause: "config.md#mounts noatime relatime strictatime nodiratime",
        config: |s| {
            s.mount("/data", "tmpfs", "tmpfs", &["noatime"]);
            s.mount("/var", "tmpfs", "tmpfs", &["relatime", "nodiratime"]);
            s.mount("/bin", "tmpfs", "tmpfs", &["strictatime"]);
        },
        expect: |w| {
            options(w, "/data", &["noatime"], &[])?;
            options(w, "/var", &["relatime", "nodiratime"], &[])?;
            options(w, "/bin", &[], &["relatime", "noatime"])
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.sync-options",
        clause: "config.md#mounts sync dirsync",
        config: |s| s.mount("/data", "tmpfs", "tmpfs", &["sync", "dirsync"]),
        expect: |w| {
            let m = w.mount_at("/data")?;
            for o in ["sync", "dirsync"] {
                w.is(
                    m.fs_options.iter().any(|x| x == o),
                    format!("no {o}: {:?}", m.fs_options),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.last-of-contrary-options-wins",
        clause: "config.md#mounts: the positive spelling clears",
        config: |s| {
            s.mount(
                "/data",
                "tmpfs",
                "tmpfs",
                &["ro", "noexec", "nosuid", "rw", "exec", "suid"],
            )
        },
        expect: |w| options(w, "/data", &["rw"], &["noexec", "nosuid"]),
        ..Case::RUN
    },
    Case {
        id: "mounts.nosymfollow",
        clause: "config.md#mounts nosymfollow (Linux 5.10)",
        config: |s| {
            s.mount("/data", "tmpfs", "tmpfs", &["nosymfollow"]);
            s.args(&["symlink", "/etc/passwd", "/data/l", "--", "open", "r", "/data/l"]);
        },
        expect: |w| w.errno(&["open", "r"], libc::ELOOP),
        ..Case::RUN
    },
    Case {
        id: "mounts.defaults-is-no-option",
        clause: "config.md#mounts defaults",
        config: |s| s.mount("/data", "tmpfs", "tmpfs", &["defaults", "size=64k"]),
        expect: |w| w.mount_at("/data").map(drop),
        ..Case::RUN
    },
    Case {
        id: "mounts.tmpfs-data",
        clause: "config.md#mounts: what is no flag goes to the file system",
        config: |s| {
            s.mount(
                "/data",
                "tmpfs",
                "tmpfs",
                &["size=128k", "mode=1750", "uid=12", "gid=34"],
            );
            s.args(&["stat", "/data", "--", "statfs", "/data"]);
        },
        expect: |w| {
            let stat = w.did(&["stat"])?;
            w.eq("mode", &stat["value"]["mode"], 0o1750);
            w.eq("uid", &stat["value"]["uid"], 12);
            w.eq("gid", &stat["value"]["gid"], 34);
            let fs = w.did(&["statfs"])?;
            w.eq("size", &fs["value"]["bytes"], 128 * 1024);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.tmpfs-read-only",
        clause: "config.md#mounts ro",
        config: |s| {
            tmpfs(s, &["ro"]);
            s.args(&["mkdir", "/data/d", "--", "report"]);
        },
        expect: |w| {
            w.errno(&["mkdir"], libc::EROFS)?;
            options(w, "/data", &["ro"], &[])
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.tmpfs-mode-of-what-it-covers",
        clause: "reference runc: a tmpfs without mode= has the mode of the directory that it covers",
        level: Level::Should,
        config: |s| {
            s.mode("/data", 0o2710);
            tmpfs(s, &[]);
            s.args(&["stat", "/data"]);
        },
        expect: |w| {
            let stat = w.did(&["stat"])?;
            let mode = stat["value"]["mode"].as_u64().unwrap_or(0) & 0o777;
            w.eq("mode", mode, 0o710);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.tmpcopyup",
        clause: "reference: tmpcopyup copies what the tmpfs covers, with modes and owners",
        config: |s| {
            s.file("/data/sub/f", "content");
            s.mode("/data/sub/f", 0o604);
            s.link("/data/l", "/etc/passwd");
            let _ = std::os::unix::fs::chown(s.place.rootfs().join("data/sub/f"), Some(12), Some(34));
            tmpfs(s, &["tmpcopyup", "mode=755"]);
            s.args(&[
                "read",
                "/data/sub/f",
                "--",
                "stat",
                "/data/sub/f",
                "--",
                "read-link",
                "/data/l",
                "--",
                "mkdir",
                "/data/new",
            ]);
        },
        expect: |w| {
            let read = w.did(&["read"])?;
            w.eq("the copy", &read["value"], "content");
            let stat = w.did(&["stat"])?;
            w.eq("mode", &stat["value"]["mode"], 0o604);
            w.eq(
                "uid and gid",
                [&stat["value"]["uid"], &stat["value"]["gid"]],
                [12, 34],
            );
            let link = w.did(&["read-link"])?;
            w.eq("the link", &link["value"], "/etc/passwd");
            w.errno(&["mkdir"], 0)?;
            let below = w.in_rootfs("/data/new").exists();
            w.is(!below, "writing to the tmpfs changed the rootfs");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.propagation-per-mount",
        clause: "config.md#mounts rshared rslave rprivate runbindable",
        config: |s| {
            for (name, how) in [
                ("a", "rshared"),
                ("b", "rslave"),
                ("c", "rprivate"),
                ("d", "runbindable"),
            ] {
                let dir = s.outside_dir(name);
                s.bind(&dir, &format!("/data/{name}"), &[how]);
            }
        },
        expect: |w| {
            propagation(w, "/data/a", "shared")?;
            propagation(w, "/data/b", "slave")?;
            propagation(w, "/data/c", "private")?;
            propagation(w, "/data/d", "unbindable")
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.propagation-default-never-reaches-out",
        clause: "reference: a bind without propagation option is not shared with the host",
        config: |s| {
            let dir = s.outside_dir("a");
            s.bind(&dir, "/data", &[]);
        },
        expect: |w| {
            let m = w.mount_at("/data")?;
            w.is(
                !m.propagation.iter().any(|p| p.starts_with("shared:")),
                format!("it is {:?}", m.propagation),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.shared-mount-reaches-the-host",
        clause: "config-linux.md#rootfs-mount-propagation; mount_namespaces(7)",
        config: |s| {
            let dir = s.outside_dir("a");
            s.set("/linux/rootfsPropagation", json!("shared"));
            s.bind(&dir, "/data", &["rshared"]);
            s.caps(&["CAP_SYS_ADMIN"]);
            s.args(&[
                "mkdir",
                "/data/sub",
                "--",
                "mount",
                "none",
                "/data/sub",
                "tmpfs",
                "0",
                "",
            ]);
        },
        steps: &[
            // A mount of its own: the one below the rootfs is made private by the runtime.
            Step::Do(|w| {
                let at = w.setup.place.outside().join("a");
                w.mount_tmpfs(&at, 0, "")
            }),
            Step::Run,
        ],
        expect: |w| {
            w.errno(&["mount"], 0)?;
            let inner = w.setup.place.outside().join("a/sub");
            let table = std::fs::read_to_string("/proc/self/mountinfo")?;
            let came = table.contains(&*inner.to_string_lossy());
            w.is(came, "a mount below a shared bind did not reach the host");
            if came {
                kernel::detach(&inner)?;
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.rootfs-propagation",
        clause: "config-linux.md#rootfs-mount-propagation",
        config: |s| s.set("/linux/rootfsPropagation", json!("slave")),
        expect: |w| propagation(w, "/", "slave"),
        ..Case::RUN
    },
    Case {
        id: "mounts.rootfs-propagation-private",
        clause: "config-linux.md#rootfs-mount-propagation",
        config: |s| s.set("/linux/rootfsPropagation", json!("private")),
        expect: |w| propagation(w, "/", "private"),
        ..Case::RUN
    },
    Case {
        id: "mounts.rootfs-propagation-unbindable",
        clause: "config-linux.md#rootfs-mount-propagation",
        config: |s| {
            let dir = s.outside_dir("a");
            s.bind(&dir, "/data", &[]);
            s.set("/linux/rootfsPropagation", json!("unbindable"));
        },
        expect: |w| propagation(w, "/", "unbindable"),
        ..Case::RUN
    },
    Case {
        id: "mounts.destination-through-links-stays-inside",
        clause: "safety: destinations are resolved inside the rootfs",
        config: |s| {
            s.link("/data", "/tmp/there");
            s.dir("/tmp/there");
            s.mount("/data/deep", "tmpfs", "tmpfs", &[]);
            s.link("/var", "../../../../../../../../etc");
            s.mount("/var/spot", "tmpfs", "tmpfs", &[]);
        },
        expect: |w| {
            w.mount_at("/tmp/there/deep")?;
            w.mount_at("/etc/spot")?;
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.destination-relative",
        clause: "reference runc: a relative destination counts from / (with a warning)",
        level: Level::Should,
        config: |s| s.mount("data", "tmpfs", "tmpfs", &[]),
        expect: |w| w.mount_at("/data").map(drop),
        ..Case::RUN
    },
    Case {
        id: "mounts.source-relative-to-bundle",
        clause: "config.md#mounts source of a bind is relative to the bundle",
        config: |s| {
            std::fs::create_dir_all(s.place.bundle().join("beside")).unwrap_or(());
            std::fs::write(s.place.bundle().join("beside/f"), "near").unwrap_or(());
            s.mount("/data", "bind", "beside", &["bind"]);
            s.args(&["read", "/data/f"]);
        },
        expect: |w| {
            let read = w.did(&["read"])?;
            w.eq("the file", &read["value"], "near");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.unknown-option",
        clause: "config.md#mounts: an option that the file system refuses is an error",
        config: |s| tmpfs(s, &["fantasy=1"]),
        steps: &[Step::Fails(&Step::Create, &["/data"])],
        ..Case::RUN
    },
    Case {
        id: "mounts.unknown-type",
        clause: "config.md#mounts type",
        config: |s| s.mount("/data", "fantasyfs", "none", &[]),
        steps: &[Step::Fails(&Step::Create, &["no such device"])],
        ..Case::RUN
    },
    Case {
        id: "mounts.source-missing",
        clause: "config.md#mounts: a bind of nothing is an error that names the source",
        config: |s| s.mount("/data", "bind", "/no/such/source", &["bind"]),
        steps: &[Step::Fails(
            &Step::Create,
            &["/no/such/source", "no such file or directory"],
        )],
        ..Case::RUN
    },
    Case {
        id: "mounts.proc-is-not-covered",
        clause: "reference: nothing is mounted over the inside of /proc but an allow-list",
        config: |s| {
            let f = s.outside_file("f", "x");
            s.bind(&f, "/proc/version", &[]);
        },
        steps: &[Step::Fails(&Step::Create, &["/proc/version"])],
        ..Case::RUN
    },
    Case {
        id: "mounts.proc-meminfo-may-be-covered",
        clause: "reference: lxcfs-like files in /proc are on the allow-list",
        config: |s| {
            let f = s.outside_file("f", "MemTotal: 1 kB\n");
            s.bind(&f, "/proc/meminfo", &["ro"]);
            s.bind(&f, "/proc/uptime", &["ro"]);
            s.args(&["read", "/proc/meminfo"]);
        },
        expect: |w| {
            let read = w.did(&["read"])?;
            w.eq("the file", &read["value"], "MemTotal: 1 kB\n");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.masked-file",
        clause: "config-linux.md#masked-paths",
        config: |s| {
            s.file("/etc/secret", "s3cret");
            s.set("/linux/maskedPaths/-", json!("/etc/secret"));
            s.args(&[
                "read",
                "/etc/secret",
                "--",
                "stat",
                "/etc/secret",
                "--",
                "umount",
                "/etc/secret",
            ]);
        },
        expect: |w| {
            let read = w.did(&["read"])?;
            w.eq("the masked file", &read["value"], "");
            let stat = w.did(&["stat"])?;
            w.eq(
                "its device",
                [&stat["value"]["major"], &stat["value"]["minor"]],
                [1, 3],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.masked-directory",
        clause: "config-linux.md#masked-paths",
        config: |s| {
            s.file("/etc/secrets/one", "s3cret");
            s.set("/linux/maskedPaths/-", json!("/etc/secrets"));
            s.args(&[
                "list",
                "/etc/secrets",
                "--",
                "mkdir",
                "/etc/secrets/x",
                "--",
                "report",
            ]);
        },
        expect: |w| {
            let list = w.did(&["list"])?;
            w.eq("the masked directory", &list["value"], json!({}));
            w.errno(&["mkdir"], libc::EROFS)
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.masked-missing",
        clause: "config-linux.md#masked-paths: what is not there needs no mask",
        config: |s| s.set("/linux/maskedPaths/-", json!("/no/such/path")),
        ..Case::RUN
    },
    Case {
        id: "mounts.readonly-paths",
        clause: "config-linux.md#readonly-paths",
        config: |s| {
            s.file("/etc/fixed/f", "x");
            s.set("/linux/readonlyPaths/-", json!("/etc/fixed"));
            s.set("/linux/readonlyPaths/-", json!("/no/such/path"));
            s.args(&[
                "open",
                "w",
                "/etc/fixed/f",
                "--",
                "open",
                "w",
                "/proc/sys/kernel/hostname",
                "--",
                "open",
                "w",
                "/etc/passwd",
            ]);
        },
        expect: |w| {
            w.errno(&["open", "w", "/etc/fixed/f"], libc::EROFS)?;
            w.errno(&["open", "w", "/proc/sys/kernel/hostname"], libc::EROFS)?;
            w.errno(&["open", "w", "/etc/passwd"], 0)
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.readonly-paths-keep-flags",
        clause: "reference: a read-only path keeps nosuid, nodev and noexec",
        config: |s| {
            s.mount("/data", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"]);
            s.set("/linux/readonlyPaths/-", json!("/data"));
        },
        expect: |w| options(w, "/data", &["ro", "nosuid", "nodev", "noexec"], &[]),
        ..Case::RUN
    },
    Case {
        id: "mounts.root-readonly",
        clause: "config.md#root readonly",
        config: |s| {
            s.set("/root/readonly", json!(true));
            s.args(&[
                "open",
                "w",
                "/etc/passwd",
                "--",
                "mkdir",
                "/new",
                "--",
                "open",
                "w",
                "/dev/null",
            ]);
        },
        expect: |w| {
            w.errno(&["open", "w", "/etc/passwd"], libc::EROFS)?;
            w.errno(&["mkdir"], libc::EROFS)?;
            w.errno(&["open", "w", "/dev/null"], 0)
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.root-writable",
        clause: "config.md#root readonly",
        config: |s| s.args(&["write", "/etc/passwd", "#", "--", "mkdir", "/new"]),
        expect: |w| {
            w.errno(&["write"], 0)?;
            w.errno(&["mkdir"], 0)?;
            let made = w.in_rootfs("/new").is_dir();
            w.is(made, "the directory is not in the rootfs");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.root-absolute-path",
        clause: "config.md#root path may be absolute",
        config: |s| {
            let path = s.place.rootfs();
            s.set("/root/path", json!(path));
        },
        expect: |w| w.report().map(drop),
        ..Case::RUN
    },
    Case {
        id: "mounts.no-host-mount-is-visible",
        clause: "safety: the old root is gone after pivot",
        expect: |w| {
            let known = ["/", "/proc", "/sys", "/dev"];
            let report = w.mounts()?;
            let strange: Vec<String> = report
                .iter()
                .filter(|m| {
                    !known
                        .iter()
                        .any(|k| m.point == *k || (k.len() > 1 && m.point.starts_with(&format!("{k}/"))))
                })
                .map(|m| m.point.clone())
                .collect();
            w.eq(
                "mounts beyond root, /proc, /sys and /dev",
                strange,
                Vec::<String>::new(),
            );
            let roots = report.iter().filter(|m| m.point == "/").count();
            w.eq("mounts at /", roots, 1);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.no-pivot",
        clause: "reference: --no-pivot, for a root on a ramdisk",
        steps: &[Step::RunWith(&["--no-pivot"])],
        expect: |w| {
            let report = w.report()?;
            let has = report["root"]
                .as_array()
                .is_some_and(|r| r.iter().any(|n| n == "probe"));
            w.is(has, "the root is not the rootfs");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.id-mapped",
        clause: "config.md#mounts uidMappings gidMappings (1.0.3; Linux 5.12)",
        needs: &[Need::Root, Need::UserNamespaces, Need::IdMappedMounts],
        config: |s| {
            let dir = s.outside_dir("owned");
            s.outside_file("owned/f", "x");
            let map = json!([{"containerID": 0, "hostID": 5000, "size": 65536}]);
            let source = dir.to_string_lossy().into_owned();
            s.set(
                "/mounts/-",
                json!({
                    "destination": "/data", "type": "bind", "source": source, "options": ["bind"],
                    "uidMappings": map, "gidMappings": map
                }),
            );
            s.args(&["stat", "/data/f"]);
        },
        expect: |w| {
            let stat = w.did(&["stat"])?;
            w.eq(
                "owner seen through the mapping",
                [&stat["value"]["uid"], &stat["value"]["gid"]],
                [5000, 5000],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.source-of-an-earlier-mount",
        clause: "config.md#mounts: in the listed order; reference: the source may be inside the container's own root",
        level: Level::Should,
        config: |s| source_of_an_earlier_mount(s, &[]),
        expect: |w| w.errno(&["stat", "/final/f"], 0),
        ..Case::RUN
    },
    Case {
        id: "mounts.source-of-an-earlier-mount-user-namespace",
        clause: "config.md#mounts: in the listed order; reference: also where the runtime has to open it for the container",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            source_of_an_earlier_mount(s, &[]);
            // Beyond the reach of the container's root, as directories of engines are.
            let closed = std::fs::set_permissions(
                s.place.outside(),
                std::os::unix::fs::PermissionsExt::from_mode(0o700),
            );
            s.remember(closed);
        },
        expect: |w| w.errno(&["stat", "/final/f"], 0),
        ..Case::RUN
    },
    Case {
        id: "mounts.source-of-an-earlier-mount-id-mapped",
        clause: "config.md#mounts: in the listed order; reference: also for an id-mapped mount",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces, Need::IdMappedMounts],
        config: |s| {
            s.user_namespace(100_000);
            source_of_an_earlier_mount(s, &["idmap"]);
        },
        expect: |w| {
            let stat = w.did(&["stat"])?;
            w.eq("owner seen through the mapping", &stat["value"]["uid"], 0);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.mount-namespace-is-required-for-mounts",
        clause: "safety: without a mount namespace of its own a container's mounts do not land in the host's",
        config: |s| s.drop_namespace("mount"),
        // Refusing and running without them are both answers; the leak check sees the third.
        steps: &[Step::Do(|w| w.launch("run", &[]).map(drop))],
        ..Case::RUN
    },
    Case {
        id: "mounts.remount-of-locked-flags",
        clause: "reference: in a user namespace locked flags are kept instead of failing",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            let dir = s.outside_dir("locked");
            s.bind(&dir, "/data", &["ro"]);
        },
        steps: &[
            Step::Do(|w| {
                let at = w.setup.place.outside().join("locked");
                let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                w.mount_tmpfs(&at, flags, "mode=755")
            }),
            Step::Run,
        ],
        expect: |w| options(w, "/data", &["ro"], &[]),
        ..Case::RUN
    },
    Case {
        id: "mounts.dev-shm-is-sticky",
        clause: "config.md#mounts mode=",
        config: |s| s.args(&["stat", "/dev/shm"]),
        expect: |w| {
            let stat = w.did(&["stat"])?;
            w.eq("mode", &stat["value"]["mode"], 0o1777);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "mounts.root-missing",
        clause: "config.md#root path must exist",
        config: |s| s.set("/root/path", json!("no-such-rootfs")),
        steps: &[Step::Fails(
            &Step::Create,
            &["no-such-rootfs", "no such file or directory"],
        )],
        ..Case::RUN
    },
    Case {
        id: "mounts.root-is-a-file",
        clause: "config.md#root path must be a directory",
        config: |s| {
            std::fs::write(s.place.bundle().join("file"), "").unwrap_or(());
            s.set("/root/path", json!("file"));
        },
        steps: &[Step::Fails(&Step::Create, &["not a directory"])],
        expect: |_| Ok::<(), Trouble>(()),
        ..Case::RUN
    },
];
