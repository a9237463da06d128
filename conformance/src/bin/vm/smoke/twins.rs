//! Docker and Podman, whose commands are the same: as root, as an ordinary user, and through a daemon.

use std::path::Path;

use super::scope::{AS_USER, Manager, Scope};
use super::{Case, Done, Stage, same};

const IMAGE: &str = "guest:1";

/// One of them, as it is called.
struct Engine {
    /// Up to the verb.
    command: Vec<String>,
    /// Behind `run`.
    flags: Vec<String>,
    /// What `info` has to show for the driver of cgroups.
    driver: &'static str,
    manager: Manager,
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "podman-root.run",
            act: |s| podman(s, Manager::System)?.run(s),
        },
        Case {
            name: "podman-root.life",
            act: |s| podman(s, Manager::System)?.life(s),
        },
        Case {
            name: "podman-root.devices-survive-daemon-reload",
            act: |s| podman(s, Manager::System)?.devices(s),
        },
        Case {
            name: "podman-rootless.run",
            act: |s| podman(s, Manager::User)?.run(s),
        },
        Case {
            name: "podman-rootless.life",
            act: |s| podman(s, Manager::User)?.life(s),
        },
        Case {
            name: "docker.run",
            act: |s| docker(s)?.run(s),
        },
        Case {
            name: "docker.life",
            act: |s| docker(s)?.life(s),
        },
        Case {
            name: "docker.devices-survive-daemon-reload",
            act: |s| docker(s)?.devices(s),
        },
    ]
}

fn podman(s: &mut Stage, manager: Manager) -> Result<Engine, String> {
    let mut command: Vec<String> = match manager {
        Manager::System => Vec::new(),
        Manager::User => AS_USER.iter().map(|word| (*word).to_owned()).collect(),
    };
    command.extend(["podman".to_owned(), "--runtime".to_owned(), s.program()]);
    let engine = Engine {
        command,
        flags: Vec::new(),
        driver: "{{.Host.CgroupManager}}",
        manager,
    };
    engine.import(s)?;
    Ok(engine)
}

fn docker(s: &mut Stage) -> Result<Engine, String> {
    let engine = Engine {
        command: vec!["docker".to_owned()],
        flags: if s.runtime == "runc" {
            Vec::new()
        } else {
            vec!["--runtime".to_owned(), s.runtime.clone()]
        },
        driver: "{{.CgroupDriver}}",
        manager: Manager::System,
    };
    s.step("start dockerd");
    let file = Path::new("/etc/docker/daemon.json");
    let text = if s.runtime == "runc" {
        "{}".to_owned()
    } else {
        serde_json::json!({"runtimes": {&s.runtime: {"path": s.program()}}}).to_string()
    };
    if std::fs::read_to_string(file).unwrap_or_default() != text {
        std::fs::create_dir_all("/etc/docker").map_err(|e| e.to_string())?;
        std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        s.must(&["systemctl", "restart", "docker.service"])?;
    }
    engine.import(s)?;
    Ok(engine)
}

impl Engine {
    fn line<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let mut line: Vec<&str> = self.command.iter().map(String::as_str).collect();
        line.extend(words);
        line
    }

    fn must(&self, s: &Stage, words: &[&str]) -> Result<String, String> {
        s.must(&self.line(words))
    }

    fn import(&self, s: &mut Stage) -> Done {
        s.step("import the image");
        if s.run(&self.line(&["image", "inspect", IMAGE]))?.code != 0 {
            self.must(s, &["import", "/opt/rootfs.tar", IMAGE])?;
        }
        Ok(())
    }

    /// How it is configured, and a container in the foreground: streams and exit status.
    fn run(&self, s: &mut Stage) -> Done {
        let driver = self.must(s, &["info", "--format", self.driver])?;
        same("the driver of cgroups", driver, "systemd")?;
        s.step("run");
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(self.flags.iter().map(String::as_str));
        words.extend([IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3"]);
        let o = s.run(&self.line(&words))?;
        same("exit code", o.code, "3").map_err(|e| format!("{e}: {}", o.stderr))?;
        same("stdout", o.stdout, "out")?;
        same("stderr", o.stderr, "err")
    }

    fn start(&self, s: &mut Stage, flags: &[&str]) -> Result<Scope, String> {
        s.step("start");
        // What a failed case left.
        s.run(&self.line(&["rm", "--force", "box"]))?;
        let mut words = vec!["run", "--detach", "--name", "box", "--network", "none"];
        words.extend(self.flags.iter().map(String::as_str));
        words.extend(flags);
        words.extend([IMAGE, "sleep", "600"]);
        self.must(s, &words)?;
        let pid = self.must(s, &["inspect", "--format", "{{.State.Pid}}", "box"])?;
        Scope::of(&pid, self.manager)
    }

    fn remove(&self, s: &mut Stage, scope: &Scope) -> Done {
        s.step("stop and remove");
        self.must(s, &["stop", "--time", "0", "box"])?;
        self.must(s, &["rm", "box"])?;
        scope.gone(s)
    }

    /// Everything that is done with a container, and what systemd and the kernel hold of it.
    fn life(&self, s: &mut Stage) -> Done {
        let scope = self.start(
            s,
            &[
                "--memory",
                "64m",
                "--memory-swap",
                "96m",
                "--pids-limit",
                "44",
                "--cpus",
                "0.5",
            ],
        )?;
        s.step("limits");
        scope.file("memory.max", "67108864")?;
        scope.file("memory.swap.max", "33554432")?;
        scope.file("pids.max", "44")?;
        scope.file("cpu.max", "50000 100000")?;
        scope.property(s, "MemoryMax", "67108864")?;
        scope.property(s, "TasksMax", "44")?;
        s.step("status");
        scope.status(s)?;
        s.step("exec");
        let o = s.run(&self.line(&["exec", "box", "sh", "-c", "echo inside; exit 6"]))?;
        same("exit code", o.code, "6").map_err(|e| format!("{e}: {}", o.stderr))?;
        same("stdout", o.stdout, "inside")?;
        s.step("update");
        self.must(
            s,
            &[
                "update",
                "--memory",
                "32m",
                "--memory-swap",
                "48m",
                "--cpus",
                "0.25",
                "box",
            ],
        )?;
        scope.file("memory.max", "33554432")?;
        scope.file("cpu.max", "25000 100000")?;
        scope.property(s, "MemoryMax", "33554432")?;
        s.step("daemon-reload");
        scope.reload(s)?;
        scope.file("memory.max", "33554432")?;
        scope.file("cpu.max", "25000 100000")?;
        s.step("pause");
        self.must(s, &["pause", "box"])?;
        scope.file("cgroup.events", "populated 1\nfrozen 1")?;
        self.must(s, &["unpause", "box"])?;
        scope.file("cgroup.events", "populated 1\nfrozen 0")?;
        self.remove(s, &scope)
    }

    /// systemd writes its own device program anew when it reads its units again; ours has to stay in force.
    fn devices(&self, s: &mut Stage) -> Done {
        let scope = self.start(s, &["--device", "/dev/fuse", "--cap-add", "MKNOD"])?;
        self.must(s, &["exec", "box", "mknod", "/tmp/kmsg", "c", "1", "11"])?;
        for moment in ["before daemon-reload", "after daemon-reload"] {
            s.step(moment);
            if moment.starts_with("after") {
                scope.reload(s)?;
            }
            self.must(s, &["exec", "box", "sh", "-c", ": </dev/fuse && : </dev/null"])?;
            let o = s.run(&self.line(&["exec", "box", "sh", "-c", ": </tmp/kmsg"]))?;
            if o.code == 0 {
                return Err("a device that was not given can be opened".to_owned());
            }
        }
        self.remove(s, &scope)
    }
}
