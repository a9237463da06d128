//! Device nodes and who may open them.

use serde_json::{Value, json};

use crate::case::{Case, Level, Need, Step};
use crate::kernel;

const DEFAULT_NODES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "devices.default-nodes",
        clause: "config-linux.md#default-devices",
        expect: |w| {
            let report = w.report()?;
            for (name, major, minor) in DEFAULT_NODES {
                let node = &report["dev"][name];
                w.eq(
                    &format!("/dev/{name}"),
                    [&node["type"], &node["major"], &node["minor"]],
                    json!(["char", major, minor]),
                );
                w.eq(&format!("mode of /dev/{name}"), &node["mode"], 0o666);
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "devices.default-links",
        clause: "config-linux.md#default-devices; runtime-linux.md#dev-symbolic-links",
        expect: |w| {
            for (name, to) in [
                ("fd", "/proc/self/fd"),
                ("stdin", "/proc/self/fd/0"),
                ("stdout", "/proc/self/fd/1"),
                ("stderr", "/proc/self/fd/2"),
                ("ptmx", "pts/ptmx"),
            ] {
                w.fact(&format!("/dev/{name}/to"), to)?;
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "devices.default-nodes-work",
        clause: "config-linux.md#default-devices",
        config: |s| {
            s.args(&[
                "open",
                "rw",
                "/dev/null",
                "--",
                "open",
                "r",
                "/dev/zero",
                "--",
                "open",
                "r",
                "/dev/urandom",
                "--",
                "open",
                "rw",
                "/dev/ptmx",
            ])
        },
        expect: |w| {
            for path in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx"] {
                let mode = if path.ends_with("zero") || path.ends_with("random") {
                    "r"
                } else {
                    "rw"
                };
                w.errno(&["open", mode, path], 0)?;
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "devices.extra",
        clause: "config-linux.md#devices",
        config: |s| {
            s.set("/linux/devices", json!([
            {"path": "/dev/extra", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/deep/block", "type": "b", "major": 7, "minor": 250, "fileMode": 0o600},
            {"path": "/dev/same-as-c", "type": "u", "major": 10, "minor": 229},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        ]))
        },
        expect: |w| {
            w.fact("/dev/extra/type", "char")?;
            w.fact("/dev/extra/major", 10)?;
            w.fact("/dev/extra/minor", 229)?;
            w.fact("/dev/extra/mode", 0o640)?;
            w.fact("/dev/extra/uid", 7)?;
            w.fact("/dev/extra/gid", 8)?;
            w.fact("/dev/same-as-c/type", "char")?;
            w.fact("/dev/same-as-c/mode", 0o666)?;
            w.fact("/dev/pipe/type", "fifo")?;
            w.fact("/dev/pipe/mode", 0o622)?;
            w.fact("/dev/deep/type", "dir")
        },
        ..Case::RUN
    },
    Case {
        id: "devices.entry-overrides-default",
        clause: "reference: an entry of the config for a default path wins",
        config: |s| {
            s.set("/linux/devices", json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 5}]))
        },
        expect: |w| {
            w.fact("/dev/zero/mode", 0o600)?;
            w.fact("/dev/zero/uid", 5)
        },
        ..Case::RUN
    },
    Case {
        id: "devices.unknown-type",
        clause: "config-linux.md#devices type",
        config: |s| {
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}]),
            )
        },
        steps: &[Step::Fails(&Step::Create, &[])],
        ..Case::RUN
    },
    Case {
        id: "devices.denied-by-default",
        clause: "config-linux.md#allowed-device-list",
        config: |s| {
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
            );
            s.args(&["open", "rw", "/dev/fuse"]);
        },
        needs: &[Need::Root, Need::Path("/dev/fuse")],
        expect: |w| w.errno(&["open", "rw"], libc::EPERM),
        ..Case::RUN
    },
    Case {
        id: "devices.allowed",
        clause: "config-linux.md#allowed-device-list",
        config: |s| {
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
            );
            s.set(
                "/linux/resources/devices/-",
                json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
            );
            s.args(&["open", "rw", "/dev/fuse"]);
        },
        needs: &[Need::Root, Need::Path("/dev/fuse")],
        expect: |w| w.errno(&["open", "rw"], 0),
        ..Case::RUN
    },
    Case {
        id: "devices.access-is-exact",
        clause: "config-linux.md#allowed-device-list access",
        config: |s| {
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
            );
            s.set(
                "/linux/resources/devices/-",
                json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}),
            );
            s.args(&["open", "r", "/dev/fuse", "--", "open", "rw", "/dev/fuse"]);
        },
        needs: &[Need::Root, Need::Path("/dev/fuse")],
        expect: |w| {
            w.errno(&["open", "r"], 0)?;
            w.errno(&["open", "rw"], libc::EPERM)
        },
        ..Case::RUN
    },
    Case {
        id: "devices.later-rule-wins",
        clause: "config-linux.md#allowed-device-list: in the listed order",
        config: |s| {
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
            );
            s.set(
                "/linux/resources/devices/-",
                json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}),
            );
            s.set(
                "/linux/resources/devices/-",
                json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}),
            );
            s.args(&["open", "r", "/dev/fuse", "--", "open", "w", "/dev/fuse"]);
        },
        needs: &[Need::Root, Need::Path("/dev/fuse")],
        expect: |w| {
            w.errno(&["open", "r"], 0)?;
            w.errno(&["open", "w"], libc::EPERM)
        },
        ..Case::RUN
    },
    Case {
        id: "devices.allow-all",
        clause: "config-linux.md#allowed-device-list",
        config: |s| {
            s.set(
                "/linux/resources/devices",
                json!([{"allow": true, "access": "rwm"}]),
            );
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
            );
            s.args(&["open", "rw", "/dev/fuse"]);
        },
        needs: &[Need::Root, Need::Path("/dev/fuse")],
        expect: |w| w.errno(&["open", "rw"], 0),
        ..Case::RUN
    },
    Case {
        id: "devices.mknod-is-allowed-opening-is-not",
        clause: "reference: making any node is allowed by default, opening it is not",
        config: |s| {
            s.caps(&["CAP_MKNOD"]);
            s.args(&[
                "mknod",
                "/tmp/fuse",
                "c",
                "10",
                "229",
                "--",
                "open",
                "rw",
                "/tmp/fuse",
            ]);
        },
        expect: |w| {
            w.errno(&["mknod"], 0)?;
            w.errno(&["open", "rw"], libc::EPERM)
        },
        ..Case::RUN
    },
    Case {
        id: "devices.no-console-without-terminal",
        clause: "config-linux.md#default-devices: /dev/console only with a terminal",
        level: Level::Should,
        expect: |w| {
            let report = w.report()?;
            w.eq(
                "/dev/console",
                report["dev"].get("console").unwrap_or(&Value::Null),
                Value::Null,
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "devices.bound-dev-is-left-alone",
        clause: "reference: when /dev is a bind mount of the user's, no nodes are made in it",
        config: |s| {
            s.unmount("/dev");
            s.unmount("/dev/pts");
            s.unmount("/dev/shm");
            s.unmount("/dev/mqueue");
            let dir = s.outside_dir("dev");
            // Runtimes may want this one for themselves.
            s.remember(kernel::make_char_device(&dir.join("null"), 0o666, 1, 3));
            s.bind(&dir, "/dev", &["rw"]);
        },
        expect: |w| {
            let left: Vec<String> = std::fs::read_dir(w.setup.place.outside().join("dev"))?
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect();
            w.eq("what is in the bound directory", left, ["null"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "devices.in-user-namespace",
        clause: "reference: in a user namespace the host's nodes are bound",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.args(&[
                "report",
                "--",
                "open",
                "rw",
                "/dev/null",
                "--",
                "open",
                "r",
                "/dev/urandom",
            ]);
        },
        expect: |w| {
            for (name, major, minor) in DEFAULT_NODES {
                w.fact(&format!("/dev/{name}/major"), major)?;
                w.fact(&format!("/dev/{name}/minor"), minor)?;
            }
            w.errno(&["open", "rw", "/dev/null"], 0)?;
            w.errno(&["open", "r", "/dev/urandom"], 0)
        },
        ..Case::RUN
    },
    Case {
        id: "devices.without-dev-mount",
        clause: "config-linux.md#default-devices: also in a rootfs's own /dev",
        config: |s| {
            for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                s.unmount(at);
            }
        },
        steps: &[Step::Run],
        expect: |w| w.fact("/dev/null/major", 1),
        ..Case::RUN
    },
];
