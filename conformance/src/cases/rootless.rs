//! Rootless: the runtime started by an ordinary user. The harness itself is root and lends the user a bundle.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::seccomp;
use crate::case::{Case, Cond, Level, Need, Step};
use crate::config::Setup;
use crate::world::{Call, Ended, Trouble, World, require};

/// An id without subordinate ids and without any privilege.
const USER: u32 = 54_321;

fn bundle(s: &mut Setup) {
    s.user_namespace(USER);
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    s.set("/linux/uidMappings", map.clone());
    s.set("/linux/gidMappings", map);
    s.unset("/linux/resources");
    s.unset("/linux/cgroupsPath");
    // devpts with a gid that is not mapped would fail; mqueue and sysfs are the namespace's own.
    s.args(&["report"]);
}

/// Gives the case's directories to the user, and a copy of the runtime that it can reach.
fn lend(w: &mut World) -> Ended {
    let dir = w.setup.place.dir.clone();
    for part in ["", "bundle", "state", "tmp", "out", "outside"] {
        std::os::unix::fs::chown(dir.join(part), Some(USER), Some(USER))?;
    }
    let copy = dir.join(w.runtime.file_name().unwrap_or_default());
    std::fs::copy(&w.runtime, &copy)?;
    w.runtime = copy;
    Ok(())
}

fn as_user(call: Call) -> Call {
    call.user(USER).dir(std::path::Path::new("/"))
}

/// A running container whose listener the agent has.
fn create_for_agent(w: &mut World) -> Result<seccomp::Agent, Trouble> {
    let agent = seccomp::Agent::listen(w)?;
    let socket = w.setup.place.outside().join("agent/sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666))?;
    let create = as_user(w.launching("create", &[])?);
    let create = w.spawn(create)?;
    agent.take()?;
    require(&create.wait()?)?;
    let id = w.id.clone();
    require(&w.call(as_user(Call::new(&["start", &id])))?)?;
    w.wait(Cond::Said("report"), 10)?;
    Ok(agent)
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "rootless.run",
        clause: "reference: an ordinary user without subordinate ids runs a bundle",
        needs: &[Need::Root, Need::UserNamespaces],
        config: bundle,
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = as_user(w.launching("run", &[])?);
                let out = w.call(call)?;
                require(&out)?;
                w.fact("/uid", [0, 0, 0])?;
                w.fact("/setgroups", "deny")
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.seccomp-notify",
        clause: "config-linux.md#seccomp listenerPath, without the right to look into processes that are not dumpable",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            seccomp::notified(s);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| create_for_agent(w).map(drop)),
            Step::Do(|w| w.errno(&["mkdir"], libc::EXFULL)),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.seccomp-notify-exec",
        clause: "config-linux.md#seccomp listenerPath, for one more process in a container of an ordinary user",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            seccomp::notified(s);
            s.set("/linux/seccomp/syscalls/0/names", json!(["mkdir", "mkdirat"]));
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let agent = create_for_agent(w)?;
                let id = w.id.clone();
                let exec = as_user(Call::new(&["exec", &id, "/probe", "mkdir", "/tmp/y"]));
                let exec = w.spawn(exec)?;
                agent.take()?;
                let out = exec.wait()?;
                let errno = format!("\"errno\":{}", libc::EXFULL);
                w.is(out.stdout.contains(&errno), format!("exec said {:?}", out.stdout));
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.lifecycle",
        clause: "reference: create, start, exec, state, kill and delete without root",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.args(&["report", "--", "sleep"]);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let id = w.id.clone();
                let call = as_user(w.launching("create", &[])?);
                require(&w.call(call)?)?;
                require(&w.call(as_user(Call::new(&["start", &id])))?)?;
                w.wait(Cond::Said("report"), 10)?;
                let out = w.call(as_user(Call::new(&["exec", &id, "/probe", "report"])))?;
                let report = out.report()?;
                w.eq("uid in exec", &report["uid"], [0, 0, 0]);
                let out = w.call(as_user(Call::new(&["state", &id])))?;
                w.contains("state", &out.stdout, &["running"]);
                require(&w.call(as_user(Call::new(&["kill", &id, "KILL"])))?)?;
                require(&w.call(as_user(Call::new(&["delete", "--force", &id])))?)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.spec-bundle",
        clause: "reference: the bundle of spec --rootless runs",
        needs: &[Need::Root, Need::UserNamespaces],
        config: bundle,
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let dir = w.bundle();
                let out = w.call(as_user(Call::new(&["spec", "--rootless", "--bundle", &dir])))?;
                require(&out)?;
                let text = std::fs::read_to_string(w.setup.place.bundle().join("config.json"))?;
                w.setup.config = serde_json::from_str(&text).map_err(|e| e.to_string())?;
                w.setup.config["process"]["terminal"] = json!(false);
                w.setup.args(&["report"]);
                let call = as_user(w.launching("run", &[])?);
                let out = w.call(call)?;
                require(&out)?;
                w.fact("/uid", [0, 0, 0])
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.limits-need-permission",
        clause: "reference: a limit that an ordinary user may not set is a clear error, not ignored",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            let path = s.place.cgroups_path();
            s.set("/linux/cgroupsPath", json!(path));
            s.set("/linux/resources", json!({"memory": {"limit": 67_108_864}}));
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = as_user(w.launching("run", &[])?);
                let out = w.call(call)?;
                w.is(!out.ok(), "the limit was ignored");
                w.mentions(&out, &["cgroup"]);
                w.nothing_made();
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.exec-in-a-created-container",
        clause: "reference exec: a created container takes processes, an ordinary user's too",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let create = as_user(w.launching("create", &[])?);
                require(&w.call(create)?)?;
                let id = w.id.clone();
                require(&w.call(as_user(Call::new(&["exec", &id, "/probe", "exit", "0"])))?)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.join-namespaces-of-a-container",
        clause: "config-linux.md#namespaces path: user and what belongs to it, in any order",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                for verb in ["create", "start"] {
                    let id = w.id.clone();
                    let call = match verb {
                        "create" => w.launching("create", &[])?,
                        _ => Call::new(&["start", &id]),
                    };
                    require(&w.call(as_user(call))?)?;
                }
                let pid = w.pid()?;
                for kind in ["user", "pid", "ipc", "uts"] {
                    w.setup.namespace(kind, &format!("/proc/{pid}/ns/{kind}"));
                }
                w.setup.unset("/linux/uidMappings");
                w.setup.unset("/linux/gidMappings");
                w.setup.unset("/hostname");
                w.setup.args(&["report"]);
                // Writes the configuration as it is now; the id is that of the container to join.
                w.launching("run", &[])?;
                let (bundle, second) = (w.bundle(), format!("{}-second", w.id));
                require(&w.call(as_user(Call::new(&["run", "--bundle", &bundle, &second])))?)
            }),
        ],
        expect: |w| w.fact("/setgroups", "deny"),
        ..Case::IDLE
    },
    Case {
        id: "rootless.no-cgroup-and-no-pid-namespace",
        clause: "reference: what cannot be killed as a whole is a warning",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.drop_namespace("pid");
            s.unmount("/proc");
            s.mount("/proc", "none", "/proc", &["rbind", "nosuid", "nodev", "noexec"]);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let run = as_user(w.launching("run", &[])?).without_log();
                let out = w.call(run)?;
                require(&out)?;
                w.mentions(
                    &out,
                    &["no cgroup and no private pid namespace", "strongly discouraged"],
                );
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.ps-needs-a-cgroup",
        clause: "reference ps: without a cgroup nobody knows the processes, and that is an error, not an empty list",
        level: Level::Should,
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let create = as_user(w.launching("create", &[])?);
                require(&w.call(create)?)?;
                let id = w.id.clone();
                for format in ["table", "json"] {
                    let out = w.call(as_user(Call::new(&["ps", "--format", format, &id])))?;
                    w.is(
                        !out.ok(),
                        format!("ps --format {format} printed {:?}", out.stdout),
                    );
                }
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "rootless.additional-gids-are-refused",
        clause: "reference: additionalGids without mapping are refused",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            bundle(s);
            s.set("/process/user/additionalGids", json!([5]));
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = as_user(w.launching("run", &[])?);
                let out = w.call(call)?;
                w.is(!out.ok(), "it ran");
                w.nothing_made();
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
];
