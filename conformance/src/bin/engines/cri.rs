//! Kubernetes' side of containerd, without Kubernetes: its CRI plugin, asked as a kubelet asks it.
//!
//! May not: need a network or an image from anywhere; pods use the host's network and an image made of busybox.
//!
//! Names and numbers of the messages are those of runtime.v1.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use conformance::grpc;
use conformance::ttrpc::Failure;
use prost::Message;

use crate::case::{Case, Compare, Need, SOON, Scene};
use crate::command::{self, USUAL};
use crate::lab::{CONTAINERD_SOCKET, Lab, Role};

type Done = Result<(), String>;

/// The only image: what the pod's own container runs, and all others.
pub const IMAGE: &str = "localhost/tiny:1";

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case {
        name,
        need: Need::Containerd,
        compare: Compare::Yes,
        act,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("cri.pod", |s| {
            let pod = Pod::run(s)?;
            let one = pod.start("one", "exec sleep 600", |_| {})?;
            let two = pod.start("two", "exec sleep 600", |_| {})?;
            let shims = [pod.shim()?, pod.shim_of(&one)?, pod.shim_of(&two)?];
            s.is(
                "one shim for the pod",
                shims.iter().all(|shim| *shim == shims[0]),
                true,
            )?;
            s.is("state", pod.status(&one)?.state, RUNNING)?;
            pod.remove_container(&one)?;
            s.is("the other goes on", pod.status(&two)?.state, RUNNING)?;
            pod.remove()?;
            let gone = || !Path::new(&format!("/proc/{}", shims[0])).exists();
            command::until("the shim is gone", SOON, gone)
        }),
        case("cri.two-pods", |s| {
            let (one, two) = (Pod::run(s)?, Pod::run_named(s, "other")?);
            s.is("a shim for each", one.shim()? != two.shim()?, true)?;
            one.remove()?;
            let in_two = two.start("box", "exec sleep 600", |_| {})?;
            s.is("state", two.status(&in_two)?.state, RUNNING)?;
            two.remove()
        }),
        case("cri.exit-codes", |s| {
            let pod = Pod::run(s)?;
            // The first process of a PID namespace cannot be killed from inside.
            let killed = "sh -c 'kill -9 $$'; exit $?";
            for (name, script) in [("good", "exit 0"), ("bad", "exit 7"), ("killed", killed)] {
                let id = pod.start(name, script, |_| {})?;
                let status = pod.until_exited(&id)?;
                s.see(name, format!("{} {}", status.exit_code, status.reason));
            }
            let id = pod.start("again", "exit 7", |_| {})?;
            let status = pod.until_exited(&id)?;
            s.is("exit code", status.exit_code, 7)?;
            s.is("reason", status.reason, "Error")?;
            // The start is containerd's time of day once it has the shim's answer; a process this short may have ended before.
            const SECOND: i64 = 1_000_000_000;
            s.is(
                "it has times",
                status.finished_at + SECOND >= status.started_at && status.started_at > 0,
                true,
            )?;
            pod.remove()
        }),
        case("cri.out-of-memory", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec tail /dev/zero", |linux| {
                linux.memory_limit = 25_165_824
            })?;
            let status = pod.until_exited(&id)?;
            s.is("exit code", status.exit_code, 137)?;
            // The event may come after the exit; a kubelet asks again.
            command::until("the reason is told", SOON, || {
                pod.status(&id).is_ok_and(|status| status.reason == "OOMKilled")
            })
            .map_err(|e| format!("{e}: {:?}", pod.status(&id)))?;
            pod.remove()
        }),
        case("cri.no-such-program", |s| {
            let pod = Pod::run(s)?;
            let id = pod.create("box", &["no-such-program"], |_| {})?;
            let told = match pod.call::<Nothing>("StartContainer", &Named { id: id.clone() }) {
                Ok(_) => return Err("it was started".into()),
                Err(failure) => failure.to_string(),
            };
            s.has("message", told, "executable file not found in $PATH")?;
            let status = pod.status(&id)?;
            s.is(
                "exit code and reason",
                format!("{} {}", status.exit_code, status.reason),
                "128 StartError",
            )?;
            pod.remove()
        }),
        case("cri.exec-sync", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec sleep 600", |_| {})?;
            let o = pod.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 5"], 10)?;
            s.is("exit code", o.exit_code, 5)?;
            s.is("stdout", String::from_utf8_lossy(&o.stdout), "out\n")?;
            s.is("stderr", String::from_utf8_lossy(&o.stderr), "err\n")?;
            let much = pod.exec(&id, &["head", "-c", "1000000", "/dev/zero"], 10)?;
            s.is("much", much.stdout.len(), 1_000_000)?;
            let none = pod.exec(&id, &["no-such-program"], 10);
            s.has(
                "message",
                none.err().unwrap_or_default(),
                "executable file not found in $PATH",
            )?;
            pod.remove()
        }),
        case("cri.exec-sync-gives-up", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec sleep 600", |_| {})?;
            let began = Instant::now();
            let o = pod.exec(&id, &["sleep", "601"], 1);
            s.has(
                "message",
                o.err().unwrap_or_default(),
                "timeout 1s exceeded: context deadline exceeded",
            )?;
            s.is("within 5 s", began.elapsed() < Duration::from_secs(5), true)?;
            let o = pod.exec(&id, &["sh", "-c", "ps | grep -c '[s]leep 601'"], 10)?;
            s.is("processes left", String::from_utf8_lossy(&o.stdout), "0\n")?;
            pod.remove()
        }),
        case("cri.probes", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec sleep 600", |_| {})?;
            let shim = pod.shim_of(&id)?;
            let open = || {
                fs::read_dir(format!("/proc/{shim}/fd"))
                    .map(Iterator::count)
                    .map_err(|e| e.to_string())
            };
            pod.exec(&id, &["true"], 10)?;
            let before = open()?;
            for n in 0..100 {
                let o = pod
                    .exec(&id, &["true"], 10)
                    .map_err(|e| format!("probe {n}: {e}"))?;
                if o.exit_code != 0 {
                    return Err(format!("probe {n}: exit code {}", o.exit_code));
                }
            }
            s.is("descriptors stay", open()? <= before + 2, true)?;
            pod.remove()
        }),
        case("cri.log", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "echo out; echo err >&2; printf part", |_| {})?;
            pod.until_exited(&id)?;
            let file = pod.logs.join("box.log");
            let lines = || -> Vec<String> {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let after_time = |line: &str| line.split_once(' ').map(|(_, rest)| rest.to_owned());
                let mut lines: Vec<String> = text.lines().filter_map(after_time).collect();
                lines.sort_unstable();
                lines
            };
            command::until("the log is written", SOON, || lines().len() == 3)
                .map_err(|e| format!("{e}: {:?}", lines()))?;
            s.is(
                "log",
                lines().join("\n"),
                "stderr F err\nstdout F out\nstdout P part",
            )?;
            pod.remove()
        }),
        case("cri.stats", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start(
                "box",
                "i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; exec sleep 600",
                |_| {},
            )?;
            let figures = || -> Result<(u64, u64), String> {
                let answer: StatsResponse = pod.must("ContainerStats", &Named { id: id.clone() })?;
                let stats = answer.stats.unwrap_or_default();
                let value = |figure: Option<Figure>| figure.and_then(|f| f.amount).unwrap_or_default().value;
                Ok((value(stats.cpu), value(stats.memory)))
            };
            command::until("there are figures", SOON, || {
                figures().is_ok_and(|(cpu, memory)| cpu > 0 && memory > 0)
            })
            .map_err(|e| format!("{e}: {:?}", figures()))?;
            pod.remove()
        }),
        case("cri.update", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec sleep 600", |linux| linux.memory_limit = 67_108_864)?;
            let limit = |expected: &str| -> Result<String, String> {
                let files = [
                    format!("/sys/fs/cgroup/memory/pods/{id}/memory.limit_in_bytes"),
                    format!("/sys/fs/cgroup/pods/{id}/memory.max"),
                ];
                let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
                text.map(|text| text.trim().to_owned())
                    .ok_or(format!("no limit where {expected} was expected"))
            };
            s.is("limit", limit("67108864")?, "67108864")?;
            let request = UpdateRequest {
                container_id: id.clone(),
                linux: Some(LinuxResources {
                    memory_limit: 33_554_432,
                }),
            };
            pod.must::<Nothing>("UpdateContainerResources", &request)?;
            s.is("limit after the update", limit("33554432")?, "33554432")?;
            pod.remove()
        }),
        case("cri.stop", |s| {
            let pod = Pod::run(s)?;
            let script = "trap 'exit 3' TERM; while :; do sleep 0.1; done";
            let soft = pod.start("soft", script, |_| {})?;
            let hard = pod.start("hard", "trap '' TERM; while :; do sleep 0.1; done", |_| {})?;
            // The traps are set once the shells sleep.
            for id in [&soft, &hard] {
                command::until("it sleeps", SOON, || {
                    pod.exec(id, &["sh", "-c", "ps | grep -q '[s]leep 0.1'"], 10)
                        .is_ok_and(|o| o.exit_code == 0)
                })?;
            }
            pod.must::<Nothing>(
                "StopContainer",
                &StopRequest {
                    container_id: soft.clone(),
                    timeout: 10,
                },
            )?;
            s.is("exit code", pod.until_exited(&soft)?.exit_code, 3)?;
            pod.must::<Nothing>(
                "StopContainer",
                &StopRequest {
                    container_id: hard.clone(),
                    timeout: 1,
                },
            )?;
            s.is("exit code", pod.until_exited(&hard)?.exit_code, 137)?;
            // Once more is no mistake.
            pod.must::<Nothing>(
                "StopContainer",
                &StopRequest {
                    container_id: hard,
                    timeout: 1,
                },
            )?;
            pod.remove()
        }),
        case("cri.pause-dies", |s| {
            let pod = Pod::run(s)?;
            let id = pod.start("box", "exec sleep 600", |_| {})?;
            let pause = pod.pid("PodSandboxStatus", &pod.id)?;
            command::run(
                Command::new("kill").args(["-KILL", &pause.to_string()]),
                "",
                USUAL,
            )?
            .ok()?;
            command::until("the pod is not ready", SOON, || {
                let status = pod.must::<StatusResponse>("PodSandboxStatus", &StatusRequest::of(&pod.id));
                status.is_ok_and(|answer| answer.status.is_some_and(|status| status.state == 1))
            })?;
            s.is("the container goes on", pod.status(&id)?.state, RUNNING)?;
            pod.remove()
        }),
        case("cri.outage-of-the-daemon", |s| {
            let pod = Pod::run(s)?;
            let (stays, goes) = (
                pod.start("stays", "exec sleep 600", |_| {})?,
                pod.start("goes", "exec sleep 600", |_| {})?,
            );
            let pid = pod.pid("ContainerStatus", &goes)?.to_string();
            s.lab.containerd.as_ref()?.outage(|| {
                command::run(Command::new("kill").args(["-KILL", &pid]), "", USUAL)?.ok()?;
                command::until("it is dead", SOON, || {
                    !Path::new(&format!("/proc/{pid}/exe")).exists()
                })
            })?;
            command::until("CRI answers", SOON, || pod.status(&stays).is_ok())?;
            s.is("state", pod.status(&stays)?.state, RUNNING)?;
            s.is("exit code of the other", pod.until_exited(&goes)?.exit_code, 137)?;
            let o = pod.exec(&stays, &["echo", "text"], 10)?;
            s.is("exec", String::from_utf8_lossy(&o.stdout), "text\n")?;
            pod.remove()
        }),
    ]
}

const RUNNING: i32 = 1;
const EXITED: i32 = 2;

/// One pod of a case.
struct Pod {
    id: String,
    config: SandboxConfig,
    logs: std::path::PathBuf,
}

impl Pod {
    fn run(s: &Scene) -> Result<Pod, String> {
        Pod::run_named(s, "pod")
    }

    fn run_named(s: &Scene, name: &str) -> Result<Pod, String> {
        let logs = s.lab.dir.join("pods").join(format!("{}-{name}", s.role.name()));
        fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
        let on_node = NamespaceOption { network: 2, pid: 1 };
        let config = SandboxConfig {
            metadata: Some(SandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "default".into(),
            }),
            log_directory: logs.display().to_string(),
            linux: Some(LinuxSandboxConfig {
                cgroup_parent: "/pods".into(),
                security: Some(SandboxSecurity {
                    namespaces: Some(on_node),
                }),
            }),
        };
        let request = RunRequest {
            config: Some(config.clone()),
            handler: s.role.name().to_owned(),
        };
        let id = call::<Named>("RunPodSandbox", &request)
            .map_err(|e| format!("RunPodSandbox: {e}"))?
            .id;
        Ok(Pod { id, config, logs })
    }

    fn call<Answer: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Answer, Failure> {
        call(method, request)
    }

    fn must<Answer: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Answer, String> {
        call(method, request).map_err(|e| format!("{method}: {e}"))
    }

    fn create(
        &self,
        name: &str,
        command: &[&str],
        edit: impl FnOnce(&mut LinuxResources),
    ) -> Result<String, String> {
        let mut resources = LinuxResources::default();
        edit(&mut resources);
        let request = CreateRequest {
            sandbox: self.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: name.to_owned(),
                }),
                image: Some(ImageSpec { image: IMAGE.into() }),
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                log_path: format!("{name}.log"),
                linux: Some(LinuxContainerConfig {
                    resources: Some(resources),
                    security: Some(ContainerSecurity {
                        namespaces: Some(NamespaceOption { network: 2, pid: 1 }),
                    }),
                }),
            }),
            sandbox_config: Some(self.config.clone()),
        };
        Ok(self.must::<Named>("CreateContainer", &request)?.id)
    }

    fn start(
        &self,
        name: &str,
        script: &str,
        edit: impl FnOnce(&mut LinuxResources),
    ) -> Result<String, String> {
        let id = self.create(name, &["sh", "-c", script], edit)?;
        self.must::<Nothing>("StartContainer", &Named { id: id.clone() })?;
        Ok(id)
    }

    fn status(&self, id: &str) -> Result<ContainerStatus, String> {
        let answer: ContainerStatusResponse = self.must("ContainerStatus", &StatusRequest::of(id))?;
        answer.status.ok_or("ContainerStatus has no status".into())
    }

    fn until_exited(&self, id: &str) -> Result<ContainerStatus, String> {
        command::until("it has exited", SOON, || {
            self.status(id).is_ok_and(|status| status.state == EXITED)
        })?;
        self.status(id)
    }

    fn exec(&self, id: &str, words: &[&str], timeout: i64) -> Result<ExecResponse, String> {
        let request = ExecRequest {
            container_id: id.to_owned(),
            cmd: words.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        self.must("ExecSync", &request)
    }

    /// The first process of a container or of the pod itself, from what a verbose status tells.
    fn pid(&self, method: &str, id: &str) -> Result<u32, String> {
        let answer: InfoResponse = self.must(method, &StatusRequest::of(id))?;
        let info = answer.info.get("info").ok_or("the status has no info")?;
        let info: serde_json::Value = serde_json::from_str(info).map_err(|e| e.to_string())?;
        let pid = info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or("the info has no pid".into())
    }

    fn shim(&self) -> Result<u32, String> {
        parent(self.pid("PodSandboxStatus", &self.id)?)
    }

    fn shim_of(&self, container: &str) -> Result<u32, String> {
        parent(self.pid("ContainerStatus", container)?)
    }

    fn remove_container(&self, id: &str) -> Done {
        let stop = StopRequest {
            container_id: id.to_owned(),
            timeout: 0,
        };
        self.must::<Nothing>("StopContainer", &stop)?;
        self.must::<Nothing>("RemoveContainer", &Named { id: id.to_owned() })
            .map(drop)
    }

    fn remove(&self) -> Done {
        remove_pod(&self.id)
    }
}

fn remove_pod(id: &str) -> Done {
    for method in ["StopPodSandbox", "RemovePodSandbox"] {
        call::<Nothing>(method, &Named { id: id.to_owned() }).map_err(|e| format!("{method}: {e}"))?;
    }
    Ok(())
}

fn parent(pid: u32) -> Result<u32, String> {
    let file = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    after
        .split(' ')
        .nth(1)
        .and_then(|parent| parent.parse().ok())
        .ok_or("no parent".into())
}

fn call<Answer: Message + Default>(method: &str, request: &impl Message) -> Result<Answer, Failure> {
    let path = format!("/runtime.v1.RuntimeService/{method}");
    grpc::call(Path::new(CONTAINERD_SOCKET), &path, &[], request, USUAL)
}

/// Removes every pod, whoever made it.
pub fn remove_all() -> Done {
    let list: PodList = call("ListPodSandbox", &Nothing {}).map_err(|e| format!("ListPodSandbox: {e}"))?;
    list.items.iter().try_for_each(|pod| remove_pod(&pod.id))
}

/// The part of containerd's configuration that CRI wants.
pub fn configuration(subject: &Path, reference: Option<&Path>) -> String {
    let mut text = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{IMAGE}\"\nrestrict_oom_score_adj = true\n\
         disable_tcp_service = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"/run/ctr/no-networks\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"subject\"\n"
    );
    for (role, path) in [(Role::Subject, Some(subject)), (Role::Reference, reference)] {
        let Some(path) = path else { continue };
        let table = format!(
            "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{}",
            role.name()
        );
        text += &format!(
            "[{table}]\nruntime_type = \"io.containerd.runc.v2\"\n[{table}.options]\nBinaryName = \"{}\"\n",
            path.display()
        );
    }
    text
}

/// Makes the image out of the base image's busybox and gives it to containerd.
pub fn import_image(lab: &Lab) -> Done {
    let dir = lab.dir.join("tiny");
    let (layer, image) = (dir.join("layer"), dir.join("image"));
    for path in [layer.join("bin"), layer.join("tmp"), image.clone()] {
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let busybox = layer.join("bin/busybox");
    fs::copy(lab.rootfs().join("bin/busybox"), &busybox).map_err(|e| format!("busybox: {e}"))?;
    let list = command::run(Command::new(&busybox).arg("--list"), "", USUAL)?.ok()?;
    for name in list.lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", layer.join("bin").join(name)).map_err(|e| e.to_string())?;
    }
    let tar = |from: &Path, to: &Path| {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(from).arg("-cf").arg(to).arg(".");
        command::run(&mut tar, "", USUAL)?.ok().map(drop)
    };
    tar(&layer, &image.join("layer.tar"))?;
    let sum = command::run(Command::new("sha256sum").arg(image.join("layer.tar")), "", USUAL)?.ok()?;
    let sum = sum.split_whitespace().next().unwrap_or_default().to_owned();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
        "history": [{"created_by": "engines"}],
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(image.join(name), value.to_string()).map_err(|e| format!("{name}: {e}"))?;
    }
    let file = dir.join("image.tar");
    let mut words = Command::new("tar");
    words
        .arg("-C")
        .arg(&image)
        .arg("-cf")
        .arg(&file)
        .args(["manifest.json", "config.json", "layer.tar"]);
    command::run(&mut words, "", USUAL)?.ok()?;
    lab.ctr(&[
        "--namespace",
        "k8s.io",
        "images",
        "import",
        &file.display().to_string(),
    ])?
    .ok()?;
    // CRI hears of it by an event.
    command::until("CRI knows the image", SOON, || {
        let request = ImageStatusRequest {
            image: Some(ImageSpec { image: IMAGE.into() }),
        };
        let path = "/runtime.v1.ImageService/ImageStatus";
        let answer =
            grpc::call::<ImageStatusResponse>(Path::new(CONTAINERD_SOCKET), path, &[], &request, USUAL);
        answer.is_ok_and(|answer| answer.image.is_some())
    })
}

/// Writes a message type.
macro_rules! message {
    ($name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(Clone, PartialEq, Message)]
        struct $name { $($(#[$attr])* $field: $kind,)* }
    };
}

message!(Nothing {});
message!(Named {
    #[prost(string, tag = "1")]
    id: String,
});
message!(SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
});
message!(NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
});
message!(SandboxSecurity {
    #[prost(message, optional, tag = "1")] namespaces: Option<NamespaceOption>,
});
message!(LinuxSandboxConfig {
    #[prost(string, tag = "1")] cgroup_parent: String,
    #[prost(message, optional, tag = "2")] security: Option<SandboxSecurity>,
});
message!(SandboxConfig {
    #[prost(message, optional, tag = "1")] metadata: Option<SandboxMetadata>,
    #[prost(string, tag = "3")] log_directory: String,
    #[prost(message, optional, tag = "8")] linux: Option<LinuxSandboxConfig>,
});
message!(RunRequest {
    #[prost(message, optional, tag = "1")] config: Option<SandboxConfig>,
    #[prost(string, tag = "2")] handler: String,
});
message!(PodList {
    #[prost(message, repeated, tag = "1")] items: Vec<Named>,
});
message!(ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
});
message!(ImageStatusRequest {
    #[prost(message, optional, tag = "1")] image: Option<ImageSpec>,
});
message!(ImageStatusResponse {
    #[prost(message, optional, tag = "1")] image: Option<Named>,
});
message!(ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
});
message!(LinuxResources {
    #[prost(int64, tag = "4")]
    memory_limit: i64,
});
message!(ContainerSecurity {
    #[prost(message, optional, tag = "3")] namespaces: Option<NamespaceOption>,
});
message!(LinuxContainerConfig {
    #[prost(message, optional, tag = "1")] resources: Option<LinuxResources>,
    #[prost(message, optional, tag = "2")] security: Option<ContainerSecurity>,
});
message!(ContainerConfig {
    #[prost(message, optional, tag = "1")] metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")] image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")] command: Vec<String>,
    #[prost(string, tag = "11")] log_path: String,
    #[prost(message, optional, tag = "15")] linux: Option<LinuxContainerConfig>,
});
message!(CreateRequest {
    #[prost(string, tag = "1")] sandbox: String,
    #[prost(message, optional, tag = "2")] config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")] sandbox_config: Option<SandboxConfig>,
});
message!(StopRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(int64, tag = "2")]
    timeout: i64,
});
message!(StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
});
message!(SandboxStatus {
    #[prost(int32, tag = "3")]
    state: i32,
});
message!(StatusResponse {
    #[prost(message, optional, tag = "1")] status: Option<SandboxStatus>,
});
message!(InfoResponse {
    #[prost(map = "string, string", tag = "2")] info: HashMap<String, String>,
});
message!(ContainerStatus {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "5")]
    started_at: i64,
    #[prost(int64, tag = "6")]
    finished_at: i64,
    #[prost(int32, tag = "7")]
    exit_code: i32,
    #[prost(string, tag = "10")]
    reason: String,
    #[prost(string, tag = "11")]
    message: String,
});
message!(ContainerStatusResponse {
    #[prost(message, optional, tag = "1")] status: Option<ContainerStatus>,
});
message!(ExecRequest {
    #[prost(string, tag = "1")] container_id: String,
    #[prost(string, repeated, tag = "2")] cmd: Vec<String>,
    #[prost(int64, tag = "3")] timeout: i64,
});
message!(ExecResponse {
    #[prost(bytes = "vec", tag = "1")] stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")] stderr: Vec<u8>,
    #[prost(int32, tag = "3")] exit_code: i32,
});
message!(UpdateRequest {
    #[prost(string, tag = "1")] container_id: String,
    #[prost(message, optional, tag = "2")] linux: Option<LinuxResources>,
});
message!(Amount {
    #[prost(uint64, tag = "1")]
    value: u64,
});
message!(Figure {
    #[prost(message, optional, tag = "2")] amount: Option<Amount>,
});
message!(Stats {
    #[prost(message, optional, tag = "2")] cpu: Option<Figure>,
    #[prost(message, optional, tag = "3")] memory: Option<Figure>,
});
message!(StatsResponse {
    #[prost(message, optional, tag = "1")] stats: Option<Stats>,
});

impl StatusRequest {
    fn of(id: &str) -> StatusRequest {
        StatusRequest {
            id: id.to_owned(),
            verbose: true,
        }
    }
}
