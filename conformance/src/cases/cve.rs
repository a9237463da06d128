//! One case for each known vulnerability of a runtime. Each really does what the attacker did, with a victim of our own
//! in place of the host's files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hooks::{probe_hook, report_of};
use crate::case::{Case, Cond, Level, Need, Step};
use crate::config::Setup;
use crate::kernel::{self, BeforeExec};
use crate::world::{Ended, Trouble, World, require};

const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);

/// The container must be refused.
const REFUSED: &[Step] = &[Step::Fails(&Step::Create, &[])];

/// Every string is refused as a user by exec, with 255 and without running anything.
fn users_refused(w: &mut World, users: &[&str]) -> Ended {
    for user in users {
        let out = w.exec(&["--user", user], &["/probe", "report"])?;
        w.is(!out.ok(), format!("exec --user {user:?} ran"));
        w.is(
            !out.stdout.contains("\"uid\""),
            format!("exec --user {user:?} ran something"),
        );
    }
    Ok(())
}

/// No mount of the default config below or at /dev.
fn without_dev(s: &mut Setup) {
    for at in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        s.unmount(at);
    }
}

fn replace_by_link(s: &mut Setup, path: &str, to: &Path) {
    s.link(path, &to.to_string_lossy());
}

fn names(dir: &Path) -> Result<Vec<String>, Trouble> {
    Ok(fs::read_dir(dir)?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect())
}

/// Whatever the runtime makes of it: nothing appears in the victim's directory.
fn victim_stays_empty(w: &mut World) -> Ended {
    let victim = w.setup.place.outside().join("victim");
    let _ = w.launch("run", &[])?;
    let found = names(&victim)?;
    w.eq(
        "what came into the directory outside",
        found,
        Vec::<String>::new(),
    );
    Ok(())
}

fn victim_stays_as_it_is(w: &mut World, victim: &Path) -> Ended {
    let text = fs::read_to_string(victim)?;
    w.eq("the content of the file outside", text, "untouched");
    let meta = fs::metadata(victim)?;
    w.eq("its owner", [meta.uid(), meta.gid()], [0, 0]);
    w.eq("its mode", meta.mode() & 0o7777, 0o644);
    Ok(())
}

/// Exchanges two paths over and over until told to stop.
fn exchanging<T>(one: PathBuf, two: PathBuf, act: impl FnOnce() -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            let _ = kernel::exchange(&one, &two);
        }
    });
    let done = act();
    stop.store(true, Ordering::Relaxed);
    let _ = thread.join();
    done
}

/// What a race must not achieve.
#[derive(Clone, Copy, PartialEq)]
enum Prize {
    /// A mount outside the container.
    Mount,
    /// A file or directory in the victim's directory.
    File,
}

/// For some seconds runs the container while a directory of its volume is exchanged for a link to the victim.
fn race(w: &mut World, seconds: u64, prize: Prize) -> Ended {
    let volume = w.setup.place.outside().join("volume");
    let victim = w.setup.place.outside().join("victim");
    fs::create_dir_all(volume.join("a"))?;
    symlink(&victim, volume.join("link"))?;
    let end = Instant::now() + crate::patience::seconds(seconds);
    let mut good = 0;
    exchanging(volume.join("a"), volume.join("link"), || -> Ended {
        while Instant::now() < end {
            let out = w.launch("run", &[])?;
            w.transcript.clear();
            good += u32::from(out.ok());
            let found = names(&victim)?;
            if prize == Prize::File && !found.is_empty() {
                return Err(Trouble::Fail(format!(
                    "the race put {found:?} into the directory outside"
                )));
            }
            if out.ok() && !w.mounts()?.iter().any(|m| m.point.ends_with("/b")) {
                return Err(Trouble::Fail(
                    "the container runs without the mount: it went elsewhere".into(),
                ));
            }
        }
        Ok(())
    })?;
    w.is(good > 0, "not one container ran, the race proves nothing");
    Ok(())
}

/// Uses a copy of the runtime, so that an attack on it harms nobody.
fn copy_of_runtime(w: &mut World) -> Result<(PathBuf, Vec<u8>), Trouble> {
    let copy = w.setup.place.dir.join(w.runtime.file_name().unwrap_or_default());
    fs::copy(&w.runtime, &copy)?;
    let bytes = fs::read(&copy)?;
    w.runtime = copy.clone();
    Ok((copy, bytes))
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "cve.2016-3697",
        clause: "CVE-2016-3697: user strings are numbers and nothing else",
        config: |s| {
            s.file(
                "/etc/passwd",
                "0x0:x:0:0::/:/\n+1:x:0:0::/:/\n4294967296:x:0:0::/:/\nuser:x:0:0::/:/\n",
            );
            s.args(&["sleep"]);
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| users_refused(w, &["0x0", "4294967296", "user", "-1", " 1"]),
        ..Case::SLEEP
    },
    Case {
        id: "cve.2016-9962",
        clause: "CVE-2016-9962: the container cannot look into a process that joins it",
        config: |s| {
            s.set("/process/noNewPrivileges", json!(false));
            s.args(&["echo", "watching", "--", "watch-fds", "2500"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("watching"), 5),
            Step::Do(|w| {
                // The watcher is the init: an exec that is under way when it ends is killed.
                let end = Instant::now() + Duration::from_millis(1500);
                for _ in 0..20 {
                    if Instant::now() > end {
                        break;
                    }
                    require(&w.exec(&[], &["/probe", "exit", "0"])?)?;
                }
                Ok(())
            }),
            Step::Wait(Cond::Said("strangers"), 10),
        ],
        expect: |w| {
            let done = w.did(&["watch-fds"])?;
            w.is(
                done["value"]["strangers"].as_u64() > Some(0),
                "the watcher saw nobody, which proves nothing",
            );
            let strange: Vec<&str> = done["value"]["seen"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                // A program that has just ended has no name any more; its stdio is its own.
                .map(|s| s.strip_prefix("/probe").unwrap_or(s))
                .filter(|s| {
                    !(s.starts_with(" fd ")
                        && ["0", "1", "2"]
                            .iter()
                            .any(|n| s.starts_with(&format!(" fd {n} "))))
                })
                .collect();
            w.eq(
                "descriptors of the runtime that the container saw",
                strange,
                Vec::<&str>::new(),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cve.2019-5736",
        clause: "CVE-2019-5736: the container cannot write the runtime's program through /proc/PID/exe",
        deadline: 60,
        config: |s| {
            s.file("/bin/trap", "#!/proc/self/exe\n");
            s.mode("/bin/trap", 0o755);
            s.caps(&["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]);
            s.args(&["echo", "watching", "--", "watch-exec", "4000"]);
        },
        steps: &[Step::Do(|w| {
            let (copy, before) = copy_of_runtime(w)?;
            let out = w.launch("create", &[])?;
            require(&out)?;
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            w.wait(Cond::Said("watching"), 5)?;
            for command in ["/proc/self/exe", "/bin/trap"] {
                for _ in 0..15 {
                    let _ = w.exec(&[], &[command])?;
                }
            }
            w.wait(Cond::Said("strangers"), 20)?;
            let same = fs::read(&copy)? == before;
            w.is(same, "the program of the runtime was overwritten");
            let done = w.did(&["watch-exec"])?;
            w.eq("what could be written", &done["value"]["written"], json!([]));
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2019-5736-entrypoint",
        clause: "CVE-2019-5736: an image whose program is /proc/self/exe",
        config: |s| {
            s.file("/bin/trap", "#!/proc/self/exe\n");
            s.mode("/bin/trap", 0o755);
            s.set("/process/args", json!(["/bin/trap"]));
            // Where the program of a dynamic runtime finds this, it is the attacker's library.
            s.file("/lib/x86_64-linux-gnu/libseccomp.so.2", "not a library");
        },
        steps: &[Step::Do(|w| {
            let (copy, before) = copy_of_runtime(w)?;
            let _ = w.launch("run", &[])?;
            let same = fs::read(&copy)? == before;
            w.is(same, "the program of the runtime was overwritten");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2019-16884",
        clause: "CVE-2019-16884: /proc of the image's making, so that writing a label does nothing",
        config: |s| {
            s.unmount("/proc");
            s.unset("/linux/maskedPaths");
            s.unset("/linux/readonlyPaths");
            let dir = s.outside_dir("fake");
            fs::create_dir_all(dir.join("self/attr")).unwrap_or(());
            s.outside_file("fake/self/attr/exec", "");
            s.bind(&dir, "/proc", &[]);
            s.set("/process/apparmorProfile", json!("some-profile"));
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2019-16884-without-label",
        clause: "reference runc: what is mounted at /proc must be a proc file system",
        level: Level::Should,
        config: |s| {
            s.unmount("/proc");
            s.unset("/linux/maskedPaths");
            s.unset("/linux/readonlyPaths");
            let dir = s.outside_dir("fake");
            s.bind(&dir, "/proc", &[]);
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2019-18837",
        clause: "CVE-2019-18837: a rootfs whose /proc is a link to /",
        config: |s| s.link("/proc", "/"),
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2019-19921",
        clause: "CVE-2019-19921: a rootfs whose /proc is a link into a shared volume",
        config: |s| {
            let volume = s.outside_dir("volume");
            fs::create_dir_all(volume.join("proc")).unwrap_or(());
            s.link("/proc", "/vol/proc");
            let Some(Value::Array(mounts)) = s.config.get_mut("mounts") else {
                return;
            };
            let source = volume.to_string_lossy().into_owned();
            mounts.insert(
                0,
                json!({"destination": "/vol", "type": "bind", "source": source, "options": ["bind"]}),
            );
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2021-30465",
        clause: "CVE-2021-30465: a mount destination is exchanged for a link while it is being mounted",
        deadline: 60,
        config: |s| {
            s.outside_dir("victim");
            let volume = s.outside_dir("volume");
            s.bind(&volume, "/vol", &[]);
            s.mount("/vol/a/b", "tmpfs", "tmpfs", &[]);
            s.mount("/vol/link/b2", "tmpfs", "tmpfs", &[]);
        },
        steps: &[Step::Do(|w| race(w, 4, Prize::Mount))],
        ..Case::IDLE
    },
    Case {
        id: "cve.2021-43784",
        clause: "CVE-2021-43784: a field longer than 64 KiB does not spill into the next",
        config: |s| {
            let long = format!("/{}/proc/1/ns/net", "x/".repeat(40_000));
            s.namespace("network", &long);
            s.set("/process/env/-", json!(format!("LONG={}", "y".repeat(100_000))));
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2021-43784-env",
        clause: "CVE-2021-43784: long values arrive whole",
        config: |s| {
            s.set(
                "/process/env",
                json!(["PATH=/bin", format!("LONG={}", "y".repeat(100_000)), "HOME=/h"]),
            );
            let long = "z".repeat(100_000);
            s.set("/annotations/org.example.long", json!(long));
        },
        expect: |w| {
            let report = w.report()?;
            let env: Vec<&str> = report["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let length = env.iter().find(|e| e.starts_with("LONG=")).map_or(0, |e| e.len());
            w.eq("length of the variable", length, 100_005);
            w.eq("variables", env.len(), 3);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cve.2022-29162",
        clause: "CVE-2022-29162, CVE-2022-27650, CVE-2022-24769: inheritable capabilities only when asked for",
        config: |s| s.args(&["report", "--", "sleep"]),
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("report"), 5)],
        expect: |w| {
            w.fact("/caps/inheritable", 0)?;
            let plain = w.exec_report(&[])?;
            w.eq("inheritable in exec", &plain["caps"]["inheritable"], 0);
            let more = w.exec_report(&["--cap", "CAP_SYS_ADMIN"])?;
            w.eq("inheritable in exec --cap", &more["caps"]["inheritable"], 0);
            w.eq("ambient in exec --cap", &more["caps"]["ambient"], 0);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cve.2023-25809",
        clause: "CVE-2023-25809: in a user namespace without cgroup namespace the host's cgroups are not writable",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime"],
            );
            let tag = s.place.tag.clone();
            let places = ["", "/pids", "/memory", "/unified", "/freezer"];
            let mut words = Vec::new();
            for p in places {
                words.extend([
                    "mkdir".to_owned(),
                    format!("/sys/fs/cgroup{p}/evil-{tag}"),
                    "--".to_owned(),
                ]);
            }
            words.extend([
                "write".to_owned(),
                "/sys/fs/cgroup/release_agent".to_owned(),
                "/x".to_owned(),
                "--".to_owned(),
                "sleep".to_owned(),
            ]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            s.args(&words);
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &["--detach"])?;
            if !out.ok() {
                return Ok(());
            }
            w.wait(Cond::Said("release_agent"), 10)?;
            let name = format!("evil-{}", w.setup.place.tag);
            let own = w.setup.place.tag.clone();
            let evil: Vec<String> = find_named(Path::new("/sys/fs/cgroup"), &name, 5)
                .into_iter()
                .map(|p| p.to_string_lossy().into_owned())
                .filter(|p| !p.contains(&format!("/{own}/")))
                .collect();
            w.eq(
                "cgroups that the container made outside its own",
                evil,
                Vec::<String>::new(),
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2023-27561",
        clause: "CVE-2023-27561: a rootfs whose /proc is a link",
        config: |s| {
            s.dir("/tmp/other");
            s.link("/proc", "/tmp/other");
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2023-28642",
        clause: "CVE-2023-28642: a rootfs whose /sys is a link",
        config: |s| {
            s.dir("/tmp/other");
            s.link("/sys", "tmp/other");
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2024-21626",
        clause: "CVE-2024-21626: no working directory by way of a descriptor that the runtime left open",
        deadline: 90,
        config: |s| s.args(&["report", "--", "list", "."]),
        steps: &[Step::Do(|w| {
            for n in 3..40 {
                w.setup.set("/process/cwd", json!(format!("/proc/self/fd/{n}")));
                let out = w.launch("run", &[])?;
                if !out.ok() {
                    continue;
                }
                let cwd = w.report()?["cwd"].clone();
                let inside = cwd.as_str().is_some_and(|c| c.starts_with("/proc/") || c == "/");
                w.is(inside, format!("descriptor {n} led to {cwd}"));
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2024-21626-exec",
        clause: "CVE-2024-21626: the same by exec --cwd",
        deadline: 90,
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                for n in 3..40 {
                    let out = w.exec(&["--cwd", &format!("/proc/self/fd/{n}")], &["/probe", "report"])?;
                    if out.ok() {
                        let cwd = out.report()?["cwd"].clone();
                        let inside = cwd.as_str().is_some_and(|c| c.starts_with("/proc/") || c == "/");
                        w.is(inside, format!("descriptor {n} led to {cwd}"));
                    }
                }
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "cve.2024-45310",
        clause: "CVE-2024-45310: no directories or files are made on the host by a race for a destination",
        deadline: 60,
        config: |s| {
            s.outside_dir("victim");
            let volume = s.outside_dir("volume");
            let file = s.outside_file("source", "x");
            s.bind(&volume, "/vol", &[]);
            s.bind(&file, "/vol/a/deep/b", &["ro"]);
        },
        steps: &[Step::Do(|w| race(w, 4, Prize::File))],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-31133",
        clause: "CVE-2025-31133, CVE-2025-62161: a /dev/null of the image's making is not what masks a path",
        config: |s| {
            without_dev(s);
            let dev = s.outside_dir("dev");
            symlink("/etc/victim", dev.join("null")).unwrap_or(());
            s.file("/etc/victim", "bound over the mask");
            s.mode("/etc/victim", 0o666);
            s.file("/etc/masked", "secret");
            s.bind(&dev, "/dev", &[]);
            s.set("/linux/maskedPaths/-", json!("/etc/masked"));
            s.args(&["stat", "/etc/masked", "--", "read", "/etc/masked"]);
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            if !out.ok() {
                return Ok(());
            }
            let read = w.did(&["read"])?;
            w.eq("the masked file", &read["value"], "");
            let stat = w.did(&["stat"])?;
            w.eq(
                "its device",
                [&stat["value"]["major"], &stat["value"]["minor"]],
                [1, 3],
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-31133-rootfs",
        clause: "CVE-2025-31133: the same with a link in the rootfs's own /dev",
        config: |s| {
            without_dev(s);
            let victim = s.outside_file("victim", "untouched");
            replace_by_link(s, "/dev/null", &victim);
            s.file("/etc/masked", "secret");
            s.set("/linux/maskedPaths/-", json!("/etc/masked"));
            s.args(&["read", "/etc/masked", "--", "write", "/etc/masked", "x"]);
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            if out.ok() {
                let read = w.did(&["read"])?;
                w.eq("the masked file", &read["value"], "");
            }
            let victim = w.setup.place.outside().join("victim");
            victim_stays_as_it_is(w, &victim)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-52565",
        clause: "CVE-2025-52565: what is bound to /dev/console is the terminal and not a link beside it",
        config: |s| {
            s.set("/process/terminal", json!(true));
            s.unmount("/dev/pts");
            let pts = s.outside_dir("pts");
            for n in 0..16 {
                symlink("/etc/victim", pts.join(n.to_string())).unwrap_or(());
            }
            s.file("/etc/victim", "bound over the console");
            s.file("/etc/masked", "secret");
            s.set("/linux/maskedPaths/-", json!("/etc/masked"));
            s.bind(&pts, "/dev/pts", &[]);
            s.args(&[
                "out",
                "/tmp/said",
                "--",
                "stat",
                "/dev/console",
                "--",
                "read",
                "/etc/masked",
                "--",
                "read",
                "/dev/console",
            ]);
        },
        steps: &[Step::Do(|w| {
            let (master, slave) = kernel::open_terminal()?;
            let call = w.launching("run", &[])?.terminal(slave);
            let out = w.call(call)?;
            drop(master);
            let text = fs::read_to_string(w.in_rootfs("/tmp/said")).unwrap_or_default();
            if !out.ok() || text.is_empty() {
                return Ok(());
            }
            w.is(!text.contains("bound over the console"), "the link was followed");
            w.is(!text.contains("secret"), "the masks are missing");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-52881",
        clause: "CVE-2025-52881, CVE-2025-62596: nothing is mounted where labels are written",
        config: |s| {
            s.link("/var", "/proc/self/attr");
            s.mount("/var", "tmpfs", "tmpfs", &[]);
        },
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2025-52881-direct",
        clause: "CVE-2025-52881, CVE-2025-62596: nothing is mounted where labels are written",
        config: |s| s.mount("/proc/self/attr", "tmpfs", "tmpfs", &[]),
        steps: REFUSED,
        ..Case::RUN
    },
    Case {
        id: "cve.2025-52881-sysctl",
        clause: "CVE-2025-52881: a sysctl is not written into a file of the image's making",
        config: |s| {
            let fake = s.outside_file("victim", "untouched");
            s.bind(&fake, "/proc/sys/net/ipv4/ip_forward", &[]);
            s.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            w.is(!out.ok(), "the container was created");
            let victim = w.setup.place.outside().join("victim");
            victim_stays_as_it_is(w, &victim)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-54867",
        clause: "CVE-2025-54867: mount destinations /proc and /sys that are links to directories outside",
        config: |s| {
            s.outside_dir("victim");
            s.link("/proc", "../../outside/victim");
            s.link("/sys", "../../outside/victim");
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            w.is(!out.ok(), "the container was created");
            victim_stays_empty(w)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-24965",
        clause: "CVE-2025-24965: nothing that a runtime writes into a rootfs follows a link out of it",
        level: Level::Must,
        config: |s| {
            let victim = s.outside_file("victim", "untouched");
            replace_by_link(s, "/.krun_config.json", &victim);
            s.set("/annotations", json!({"run.oci.handler": "krun"}));
        },
        steps: &[Step::Do(|w| {
            let _ = w.launch("run", &[])?;
            let victim = w.setup.place.outside().join("victim");
            victim_stays_as_it_is(w, &victim)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2025-23266",
        clause: "CVE-2025-23266: a createContainer hook is a program of the host; the image's LD_PRELOAD is not for it",
        config: |s| {
            s.set("/process/env/-", json!("LD_PRELOAD=./evil.so"));
            probe_hook(s, "createContainer", "c", &["report"]);
        },
        steps: &[Step::Run],
        expect: |w| {
            let env = report_of(w, "c")?["raw_env"].to_string();
            w.is(
                !env.contains("LD_PRELOAD"),
                format!("the environment of the hook is {env}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cve.2026-30892",
        clause: "CVE-2026-30892: exec --user UID is that user, and a malformed one is nobody",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--user", "1"])?;
            w.eq("uid of --user 1", &report["uid"], [1, 1, 1]);
            users_refused(w, &["1:", ":1", "1:2:3", "1:x", "1 2"])
        },
        ..Case::SLEEP
    },
    Case {
        id: "cve.2026-41579",
        clause: "CVE-2026-41579, CVE-2026-47766: a rootfs whose /dev is a link outside",
        config: |s| {
            without_dev(s);
            let victim = s.outside_dir("victim");
            replace_by_link(s, "/dev", &victim);
        },
        steps: &[Step::Do(victim_stays_empty)],
        ..Case::IDLE
    },
    Case {
        id: "cve.2026-41579-relative",
        clause: "CVE-2026-41579, CVE-2026-47766: the same with a relative link",
        config: |s| {
            without_dev(s);
            s.outside_dir("victim");
            s.link("/dev", "../../outside/victim");
            s.set(
                "/linux/devices",
                json!([{"path": "/dev/made", "type": "c", "major": 1, "minor": 3}]),
            );
        },
        steps: &[Step::Do(victim_stays_empty)],
        ..Case::IDLE
    },
    Case {
        id: "cve.2026-88264",
        clause: "CVE-2026-88264: /dev/console that is a link outside, without a mount on /dev",
        config: |s| {
            without_dev(s);
            s.set("/process/terminal", json!(true));
            s.outside_dir("victim");
            s.link("/dev/console", "../../../outside/victim/made");
        },
        steps: &[Step::Do(|w| {
            let (master, slave) = kernel::open_terminal()?;
            let call = w.launching("run", &[])?.terminal(slave);
            let _ = w.call(call)?;
            drop(master);
            let found = names(&w.setup.place.outside().join("victim"))?;
            w.eq(
                "what came into the directory outside",
                found,
                Vec::<String>::new(),
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2026-88265",
        clause: "CVE-2026-88265: with stdio closed, a /dev/null that is a link is neither opened nor given away",
        config: |s| {
            without_dev(s);
            let victim = s.outside_file("victim", "untouched");
            s.bind(&victim, "/etc/victim", &[]);
            s.link("/dev/null", "/etc/victim");
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            s.args(&["out", "/tmp/said", "--", "report"]);
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?;
            let call = (0..3).fold(call, |c, n| c.before(BeforeExec::Close(n)));
            let _ = w.call(call)?;
            let victim = w.setup.place.outside().join("victim");
            victim_stays_as_it_is(w, &victim)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2026-46680",
        clause: "CVE-2026-46680: ids beyond the range never become root",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                users_refused(
                    w,
                    &["4294967296", "4294967295", "18446744073709551616", "0:4294967296"],
                )
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "cve.2026-46680-config",
        clause: "CVE-2026-46680: ids beyond the range never become root",
        steps: &[Step::Do(|w| {
            for id in [
                json!(4_294_967_296_u64),
                json!(-1),
                json!(1.5),
                json!("0"),
                json!(4_294_967_295_u64),
            ] {
                w.setup.set("/process/user", json!({"uid": id, "gid": 0}));
                let out = w.launch("run", &[])?;
                w.is(!out.ok(), format!("uid {id} ran"));
                w.is(w.lines().is_empty(), format!("uid {id} ran something"));
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cve.2016-9962-ptrace",
        clause: "CVE-2016-9962: the container cannot ptrace a process that joins it",
        config: |s| {
            s.set("/process/noNewPrivileges", json!(false));
            s.args(&["echo", "watching", "--", "watch-ptrace", "2500"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("watching"), 5),
            Step::Do(|w| {
                for _ in 0..20 {
                    // A program that was caught after its exec stays traced; its status is nobody's business here.
                    let _ = w.exec(&[], &["/probe", "exit", "0"])?;
                }
                Ok(())
            }),
            Step::Wait(Cond::Said("strangers"), 10),
        ],
        expect: |w| {
            let done = w.did(&["watch-ptrace"])?;
            w.is(
                done["value"]["strangers"].as_u64() > Some(0),
                "the watcher saw nobody, which proves nothing",
            );
            w.eq(
                "processes of the runtime that the container traced",
                &done["value"]["traced"],
                json!([]),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cve.command-line",
        clause: "safety: the caller's command line (paths of the host, `exec --env` of others) is not for the container",
        config: |s| s.args(&["exit", "0"]),
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let path = "/proc/1/cmdline";
                let out = w.exec(&[], &["/probe", "read", path])?;
                require(&out)?;
                let shown = out.stdout.clone();
                let bundle = w.bundle();
                w.is(
                    shown.contains(path) && !shown.contains(&bundle),
                    format!("the container sees {}", shown.trim()),
                );
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
];

fn find_named(at: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth == 0 {
        return found;
    }
    for e in fs::read_dir(at)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
    {
        if e.file_name() == *name {
            found.push(e.path());
        } else {
            found.extend(find_named(&e.path(), name, depth - 1));
        }
    }
    found
}
