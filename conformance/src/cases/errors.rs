//! Bad input: one sentence, nothing made. Errors of one field stand with that field's area.

use std::fs;

use serde_json::json;

use crate::case::{Case, Level, Step};
use crate::world::{Call, Ended, World};

/// Each of these texts as config.json is refused by create with 1, and leaves nothing.
fn raw_refused(w: &mut World, texts: &[&str]) -> Ended {
    for text in texts {
        w.setup.raw = Some((*text).to_owned());
        let out = w.launch("create", &[])?;
        w.eq(&format!("status for {text:?}"), out.code, 1);
        w.is(!out.stderr.trim().is_empty(), format!("no message for {text:?}"));
        w.is(
            out.stderr.trim().lines().count() <= 3,
            format!("a message of many lines for {text:?}: {}", out.stderr),
        );
        w.is(!out.stderr.contains("panic"), format!("a panic for {text:?}"));
        w.nothing_made();
    }
    Ok(())
}

/// Each of these values at the pointer is refused by create.
fn value_refused(w: &mut World, pointer: &str, values: &[serde_json::Value]) -> Ended {
    let clean = w.setup.config.clone();
    for value in values {
        w.setup.config = clean.clone();
        w.setup.set(pointer, value.clone());
        let out = w.launch("create", &[])?;
        w.is(!out.ok(), format!("{pointer} = {value} was accepted"));
        w.nothing_made();
        if out.ok() {
            let id = w.id.clone();
            w.call(Call::new(&["delete", "--force", &id]))?;
        }
    }
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "errors.broken-json",
        clause: "reference: config.json that is no JSON",
        steps: &[Step::Do(|w| {
            raw_refused(
                w,
                &[
                    "",
                    "{",
                    "[]",
                    "\"text\"",
                    "{\"ociVersion\": \"1.0.2\",}",
                    "\u{0}",
                    "nul",
                ],
            )
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.wrong-types",
        clause: "config.md: a field of the wrong type",
        steps: &[Step::Do(|w| {
            value_refused(w, "/process/args", &[json!("sh"), json!([1]), json!({})])?;
            value_refused(w, "/process/cwd", &[json!(5)])?;
            value_refused(w, "/process/user/uid", &[json!("0"), json!(-1), json!(1.5)])?;
            value_refused(w, "/mounts", &[json!({}), json!("x")])?;
            value_refused(w, "/linux/namespaces", &[json!("pid")])?;
            value_refused(w, "/root/readonly", &[json!("yes")])?;
            value_refused(w, "/hostname", &[json!(7)])
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.numbers-out-of-range",
        clause: "config.md: a number beyond its type",
        steps: &[Step::Do(|w| {
            value_refused(
                w,
                "/process/oomScoreAdj",
                &[json!(5_000_000_000_i64), json!(2000)],
            )?;
            value_refused(
                w,
                "/linux/resources/memory",
                &[json!({"limit": 1e30}), json!({"limit": "64m"})],
            )?;
            value_refused(w, "/linux/resources/cpu", &[json!({"shares": -5})])?;
            value_refused(
                w,
                "/process/rlimits",
                &[json!([{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 5}])],
            )
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.null-values-are-absent-values",
        clause: "reference: Go's decoder reads null as absent",
        level: Level::Should,
        config: |s| {
            s.set("/annotations", json!(null));
            s.set("/hooks", json!(null));
            s.set("/linux/seccomp", json!(null));
            s.set("/process/rlimits", json!(null));
            s.set("/linux/maskedPaths", json!(null));
        },
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "errors.unknown-fields-are-ignored",
        clause: "config.md#extensibility: unknown properties must be ignored",
        config: |s| {
            s.set("/fantasy", json!({"a": [1, 2, 3]}));
            s.set("/process/fantasy", json!(7));
            s.set("/linux/fantasy", json!("x"));
            s.set("/mounts/0/fantasy", json!(true));
            s.set("/windows", json!({"layerFolders": ["x"]}));
            s.set("/vm", json!({"kernel": {"path": "/x"}}));
        },
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "errors.newer-minor-version-is-accepted",
        clause: "config.md#specification-version is semantic: any 1.x",
        config: |s| s.set("/ociVersion", json!("1.9.0")),
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "errors.no-bundle",
        clause: "reference: a bundle that is none",
        steps: &[Step::Do(|w| {
            let id = w.id.clone();
            let out = w.refuse(&["create", "--bundle", "/no/such/bundle", &id])?;
            w.mentions(&out, &["/no/such/bundle"]);
            w.nothing_made();
            let empty = w.setup.place.outside().join("empty");
            fs::create_dir_all(&empty)?;
            let text = empty.to_string_lossy().into_owned();
            let out = w.refuse(&["create", "--bundle", &text, &id])?;
            w.mentions(&out, &["config.json"]);
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.config-is-a-directory",
        clause: "reference: a bundle that is none",
        steps: &[Step::Do(|w| {
            fs::create_dir_all(w.setup.place.bundle().join("config.json"))?;
            let (id, bundle) = (w.id.clone(), w.bundle());
            let out = w.refuse(&["create", "--bundle", &bundle, &id])?;
            w.is(!out.stderr.trim().is_empty(), "no message");
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.no-process",
        clause: "config.md#process is required at start; reference runc: at create",
        level: Level::Should,
        config: |s| s.unset("/process"),
        steps: &[Step::Fails(&Step::Create, &["process"])],
        ..Case::RUN
    },
    Case {
        id: "errors.no-args",
        clause: "config.md#process args is required",
        config: |s| s.set("/process/args", json!([])),
        steps: &[Step::Fails(&Step::Create, &["args"])],
        ..Case::RUN
    },
    Case {
        id: "errors.no-root",
        clause: "config.md#root is required",
        config: |s| s.unset("/root"),
        steps: &[Step::Fails(&Step::Create, &["root"])],
        ..Case::RUN
    },
    Case {
        id: "errors.no-linux",
        clause: "config.md#linux is optional, but a container without namespaces is none that this host can make",
        level: Level::Should,
        config: |s| s.unset("/linux"),
        steps: &[Step::Do(|w| {
            let out = w.launch("create", &[])?;
            w.is(out.code >= 0 && out.code < 2, format!("status {}", out.code));
            w.is(
                !out.stderr.contains("panic") && !out.stderr.contains("goroutine"),
                "it crashed",
            );
            Ok(())
        })],
        ..Case::RUN
    },
    Case {
        id: "errors.intel-rdt-absent",
        clause: "config-linux.md#intelrdt: where it is not supported it is an error",
        config: |s| {
            s.set(
                "/linux/intelRdt",
                json!({"closID": "x", "l3CacheSchema": "L3:0=f"}),
            )
        },
        steps: &[
            Step::Do(|_| {
                let has = std::path::Path::new("/sys/fs/resctrl/schemata").exists();
                if has {
                    Err(crate::world::Trouble::Skip("resctrl is mounted here".into()))
                } else {
                    Ok(())
                }
            }),
            Step::Fails(&Step::Create, &["rdt"]),
        ],
        ..Case::RUN
    },
    Case {
        id: "errors.several-problems-at-once",
        clause: "good practice: all problems of a config in one message",
        level: Level::Should,
        config: |s| {
            s.set("/process/cwd", json!("relative"));
            s.set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_FANTASY", "soft": 1, "hard": 1}]),
            );
            s.set("/linux/namespaces/-", json!({"type": "fantasy"}));
        },
        steps: &[Step::Fails(&Step::Create, &["RLIMIT_FANTASY", "fantasy", "cwd"])],
        ..Case::RUN
    },
    Case {
        id: "errors.deep-json-does-not-crash",
        clause: "safety: a config nested ten thousand deep is refused, or ignored where it is no field",
        steps: &[Step::Do(|w| {
            let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
            w.setup.raw = Some(format!("{{\"ociVersion\": \"1.0.2\", \"x\": {deep}}}"));
            let out = w.launch("create", &[])?;
            w.is(
                (0..128).contains(&out.code),
                format!("it ended by signal {}", out.code - 128),
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.cwd-is-a-file",
        clause: "config.md#process cwd",
        config: |s| s.set("/process/cwd", json!("/etc/passwd")),
        steps: &[Step::Fails(&Step::Create, &["not a directory"])],
        ..Case::RUN
    },
    Case {
        id: "errors.messages-name-the-runtime-step",
        clause: "reference: `NAME create failed: unable to start container process: ...`; CRI tests read it",
        level: Level::Should,
        config: |s| s.set("/process/args", json!(["no-such-program"])),
        steps: &[Step::Do(|w| {
            let out = w.launch("create", &[])?;
            w.mentions(
                &out,
                &[
                    "create failed: unable to start container process: ",
                    "exec: \"no-such-program\": executable file not found in $PATH",
                ],
            );
            w.setup.set("/process/args", json!(["/no/such/program"]));
            let out = w.launch("run", &[])?;
            w.mentions(
                &out,
                &[
                    "run failed: unable to start container process: ",
                    "exec: \"/no/such/program\": stat /no/such/program: no such file or directory",
                ],
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "errors.set-up-fails-during-container-init",
        clause: "reference: `unable to start container process: error during container init: ...`",
        level: Level::Should,
        config: |s| s.mount("/x", "no-such-fs", "none", &[]),
        steps: &[Step::Fails(
            &Step::Create,
            &[
                "create failed: unable to start container process: error during container init: error mounting",
            ],
        )],
        ..Case::RUN
    },
];
