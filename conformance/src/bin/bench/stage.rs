//! The place where it is measured: a pure cgroup v2 tree, a bundle, the floor, the runtimes.
//!
//! May not: outlive the run. What it makes lies in one temporary directory and in a mount namespace of its own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FLOOR: &str = include_str!("../../../bench/floor.c");
const PAYLOAD: &str = include_str!("../../../bench/payload.c");
const MEMLOCK: &str = include_str!("../../../bench/memlock.c");

/// Runtimes that are looked for on PATH.
const PEERS: [&str; 3] = ["runc", "crun", "youki"];

/// A runtime in the contest.
pub struct Runtime {
    /// How the tables call it: the program's name and version.
    pub name: String,
    pub path: PathBuf,
    /// A library to preload, for a runtime that does not start here without it.
    pub preload: Option<PathBuf>,
}

/// Everything a contest needs.
pub struct Stage {
    pub dir: PathBuf,
    /// Bundle whose process is `/bin/true`.
    pub bundle: PathBuf,
    /// The same with a process that waits.
    pub waiting_bundle: PathBuf,
    pub floor: PathBuf,
    pub runtimes: Vec<Runtime>,
    /// Installed runtimes that cannot run here, and why.
    pub left_out: Vec<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("bench: {}: {e}", self.dir.display());
        }
    }
}

/// Continues in a mount namespace in which `/sys/fs/cgroup` is one cgroup v2 tree, unless it is one already.
///
/// On a host that keeps its controllers in v1 hierarchies this tree has the core files only; nothing changes for
/// anybody else. The program starts itself again for it, so that no contestant runs beside a second thread.
pub fn enter_pure_cgroup_v2() -> Result<(), String> {
    let mounts =
        std::fs::read_to_string("/proc/self/mounts").map_err(|e| format!("/proc/self/mounts: {e}"))?;
    let on_top = mounts
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup"));
    if on_top.is_some_and(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        return Ok(());
    }
    if std::env::var_os("BENCH_IN_NAMESPACE").is_some() {
        return Err("/sys/fs/cgroup could not be made a cgroup v2 tree".into());
    }
    let script = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let own = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let failure = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "bench"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env("BENCH_IN_NAMESPACE", "1")
        .exec();
    Err(format!("unshare: {failure}"))
}

impl Stage {
    /// Compiles the floor and the payload, writes the bundles and finds out which runtimes can run them.
    pub fn build(wanted: &[PathBuf]) -> Result<Stage, String> {
        let dir = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
        let bundle = dir.join("bundle");
        let rootfs = bundle.join("rootfs");
        for sub in ["bin", "proc", "dev", "sys", "etc"] {
            let path = rootfs.join(sub);
            std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let mut stage = Stage {
            waiting_bundle: dir.join("waiting"),
            floor: dir.join("floor"),
            runtimes: Vec::new(),
            left_out: Vec::new(),
            bundle,
            dir,
        };
        compile(&stage.dir, FLOOR, &["-static"], &stage.floor)?;
        compile(&stage.dir, PAYLOAD, &["-static"], &rootfs.join("bin/true"))?;
        let preload = stage.dir.join("memlock.so");
        compile(
            &stage.dir,
            MEMLOCK,
            &["-D_GNU_SOURCE", "-shared", "-fPIC"],
            &preload,
        )?;
        let candidates = candidates(wanted)?;
        stage.write_bundles(&candidates, &rootfs)?;
        stage.admit(candidates, preload);
        if stage.runtimes.is_empty() {
            return Err(format!(
                "no runtime can run the bundle: {}",
                stage.left_out.join("; ")
            ));
        }
        Ok(stage)
    }

    /// One configuration for everybody: the default one of the first runtime that writes it.
    fn write_bundles(&self, candidates: &[PathBuf], rootfs: &Path) -> Result<(), String> {
        let file = self.bundle.join("config.json");
        for runtime in candidates {
            let spec = Command::new(runtime)
                .args(["spec", "--bundle"])
                .arg(&self.bundle)
                .output();
            if spec.is_ok_and(|o| o.status.success()) && file.exists() {
                break;
            }
        }
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("no runtime wrote a default config: {e}"))?;
        let mut config: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        // The oldest version all peers take; a newer one adds nothing to this configuration.
        config["ociVersion"] = "1.0.2".into();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = vec!["/bin/true"].into();
        config["root"]["path"] = rootfs.display().to_string().into();
        save(&file, &config)?;
        config["process"]["args"] = vec!["/bin/true", "wait"].into();
        std::fs::create_dir_all(&self.waiting_bundle)
            .map_err(|e| format!("{}: {e}", self.waiting_bundle.display()))?;
        save(&self.waiting_bundle.join("config.json"), &config)
    }

    /// Lets those take part that can run the bundle, with the preloaded library where it takes that.
    fn admit(&mut self, candidates: Vec<PathBuf>, preload: PathBuf) {
        for path in candidates {
            let name = name_of(&path);
            let plain = Runtime {
                name: name.clone(),
                path: path.clone(),
                preload: None,
            };
            let helped = Runtime {
                name: format!("{name} (preload)"),
                path,
                preload: Some(preload.clone()),
            };
            match self.try_run(&plain) {
                Ok(()) => self.runtimes.push(plain),
                Err(why) => match self.try_run(&helped) {
                    Ok(()) => self.runtimes.push(helped),
                    Err(_) => self.left_out.push(format!("{name}: {why}")),
                },
            }
        }
    }

    fn try_run(&self, runtime: &Runtime) -> Result<(), String> {
        let output = self
            .command(runtime)
            .arg("run")
            .arg("--bundle")
            .arg(&self.bundle)
            .arg("bench-try")
            .output();
        let output = output.map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        // What a failed run left behind must not meet the next one.
        self.silent(runtime)
            .args(["delete", "--force", "bench-try"])
            .status()
            .map_err(|e| e.to_string())?;
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// The runtime with its own state directory, not yet any verb.
    pub fn command(&self, runtime: &Runtime) -> Command {
        let mut command = Command::new(&runtime.path);
        if let Some(library) = &runtime.preload {
            command.env("LD_PRELOAD", library);
        }
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .stdin(Stdio::null());
        command
    }

    /// The same, with nothing to be read from it.
    pub fn silent(&self, runtime: &Runtime) -> Command {
        let mut command = self.command(runtime);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn describe_machine(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, |n| n.get());
        format!(
            "kernel {}, {cpus} CPUs, load {}",
            read("/proc/sys/kernel/osrelease").trim(),
            read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        )
    }
}

fn save(file: &Path, config: &serde_json::Value) -> Result<(), String> {
    std::fs::write(file, config.to_string()).map_err(|e| format!("{}: {e}", file.display()))
}

fn compile(dir: &Path, source: &str, flags: &[&str], program: &Path) -> Result<(), String> {
    let file = dir.join("source.c");
    std::fs::write(&file, source).map_err(|e| format!("{}: {e}", file.display()))?;
    let status = Command::new("cc")
        .arg("-O2")
        .args(flags)
        .arg("-o")
        .arg(program)
        .arg(&file)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cc: {status}")),
        Err(e) => Err(format!("cc: {e}")),
    }
}

/// The runtimes asked for, then the installed peers. One asked for must exist.
fn candidates(wanted: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in wanted {
        found.push(std::fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    for peer in PEERS {
        let installed = path
            .split(':')
            .map(|dir| Path::new(dir).join(peer))
            .find(|file| file.is_file());
        found.extend(installed);
    }
    Ok(found)
}

/// `runc 1.1.5` from the first line of `--version`.
fn name_of(path: &Path) -> String {
    let program = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let version = text
        .lines()
        .next()
        .and_then(|line| line.split(' ').next_back())
        .unwrap_or_default();
    format!("{program} {version}").trim().to_owned()
}
