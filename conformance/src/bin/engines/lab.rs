//! The played host's engines: started once for all cases, stopped at the end.
//!
//! May not: use an engine that was not installed from the distribution's packages, or wait for one without a bound.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::daemon::{Daemon, find_program, installed, packaged, tell_version};
use conformance::docker::{self, usual_path};
use conformance::played;

use crate::command::{self, Outcome, USUAL};
use crate::{cri, leaks};

/// How the base image is called in every engine.
pub const IMAGE: &str = "debian:bookworm";

/// Which of the two runtimes is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Subject,
    Reference,
}

impl Role {
    /// What Docker knows the runtime by when a container is to get every capability that root has here.
    pub fn privileged_name(self) -> &'static str {
        match self {
            Role::Subject if is_lesser_root() => "subject-lesser",
            Role::Reference if is_lesser_root() => "reference-lesser",
            _ => self.name(),
        }
    }

    /// What Docker knows the runtime by, and the directory that holds it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Subject => "subject",
            Role::Reference => "reference",
        }
    }
}

/// Everything a case can use.
pub struct Lab {
    pub dir: PathBuf,
    pub subject: PathBuf,
    pub reference: Option<PathBuf>,
    /// The shim that is judged, and whether the engines have it instead of their own.
    pub shim: Option<PathBuf>,
    pub is_shim_in_place: bool,
    /// The engines that run, or why one does not.
    pub docker: Result<Daemon, String>,
    pub containerd: Result<Daemon, String>,
    pub podman: Result<PathBuf, String>,
}

impl Lab {
    /// Starts the engines and gives them the base image.
    pub fn enter(dir: &Path) -> Result<Lab, String> {
        let subject = played::program(dir, "subject").ok_or("the runtime is missing")?;
        let reference = played::program(dir, "reference");
        let mut lab = Lab {
            dir: dir.to_owned(),
            docker: start_docker(dir, &subject, reference.as_deref(), &usual_path()),
            containerd: start_containerd(dir, &subject, reference.as_deref(), &usual_path()),
            podman: packaged("podman")
                .and_then(|_| installed("conmon"))
                .and_then(|_| installed("podman")),
            subject,
            reference,
            shim: played::program(dir, "subject-shim"),
            is_shim_in_place: false,
        };
        lab.unpack_image()?;
        if lab.docker.is_ok() {
            lab.docker_must(&["import", &lab.image_tar()?, IMAGE])?;
        }
        if lab.podman.is_ok() {
            lab.prepare_podman()?;
        }
        if lab.containerd.is_ok() {
            cri::import_image(&lab)?;
        }
        lab.tell_versions();
        Ok(lab)
    }

    /// Where the engines find the judged shim, once it is in place.
    pub fn shim_name(&self) -> PathBuf {
        self.dir.join("shims").join(SHIM)
    }

    /// Ends the engines and starts them again with the judged shim, under the name that they look for, before their own.
    pub fn change_shim(&mut self) -> Result<(), String> {
        let shim = self.shim.as_deref().ok_or("there is no shim to judge")?;
        let names = self.dir.join("shims");
        std::fs::create_dir_all(&names).map_err(|e| format!("{}: {e}", names.display()))?;
        std::os::unix::fs::symlink(shim, self.shim_name()).map_err(|e| format!("{SHIM}: {e}"))?;
        let path = format!("{}:{}", names.display(), usual_path());
        self.remove_containers()?;
        let gone = || Err("it is being started again".to_owned());
        if let Ok(docker) = std::mem::replace(&mut self.docker, gone()) {
            docker.stop()?;
        }
        self.docker = start_docker(&self.dir, &self.subject, self.reference.as_deref(), &path);
        if let Ok(containerd) = std::mem::replace(&mut self.containerd, gone()) {
            containerd.stop()?;
        }
        self.containerd = start_containerd(&self.dir, &self.subject, self.reference.as_deref(), &path);
        self.is_shim_in_place = true;
        let version = command::run(Command::new(shim).arg("-v"), "", USUAL)?.ok()?;
        println!(
            "now with the shim {}: {}",
            shim.display(),
            version.replace('\n', " ")
        );
        Ok(())
    }

    fn image_tar(&self) -> Result<String, String> {
        std::fs::read_to_string(self.dir.join("image")).map_err(|e| format!("the image's name: {e}"))
    }

    /// The image as a directory, for those who take one.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    fn unpack_image(&self) -> Result<(), String> {
        let rootfs = self.rootfs();
        std::fs::create_dir_all(&rootfs).map_err(|e| format!("{}: {e}", rootfs.display()))?;
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&rootfs).arg("-xf").arg(self.image_tar()?);
        command::run(&mut tar, "", USUAL)?.ok().map(|_| ())
    }

    fn prepare_podman(&mut self) -> Result<(), String> {
        // Without CAP_SYS_RESOURCE the engine's default limits, above the hard ones, cannot be set.
        let text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        std::fs::write(self.dir.join("containers.conf"), text).map_err(|e| e.to_string())?;
        let import = self.podman(Role::Subject, &["import", &self.image_tar()?, IMAGE], "", USUAL);
        if let Err(why) = import.and_then(Outcome::ok) {
            self.podman = Err(format!("podman cannot import the image: {why}"));
        }
        Ok(())
    }

    fn tell_versions(&self) {
        tell_version(&self.subject);
        self.reference.iter().for_each(|path| tell_version(path));
        // Another client may come first on PATH; the one of the package is called by its full name.
        for program in ["docker", "dockerd", "containerd", "podman", "conmon"] {
            let (on_path, ours) = (find_program(program), installed(program).ok());
            ours.iter().for_each(|path| tell_version(path));
            if on_path != ours {
                on_path.iter().for_each(|path| {
                    print!("not ");
                    tell_version(path);
                });
            }
        }
    }

    pub fn runtime(&self, role: Role) -> &Path {
        match (role, &self.reference) {
            (Role::Reference, Some(reference)) => reference,
            _ => &self.subject,
        }
    }

    pub fn docker(&self, arguments: &[&str]) -> Result<Outcome, String> {
        command::run(docker::client().args(arguments), "", USUAL)
    }

    pub fn docker_must(&self, arguments: &[&str]) -> Result<String, String> {
        self.docker(arguments)?
            .ok()
            .map_err(|e| format!("docker {}: {e}", arguments.join(" ")))
    }

    pub fn podman(
        &self,
        role: Role,
        arguments: &[&str],
        stdin: &str,
        deadline: Duration,
    ) -> Result<Outcome, String> {
        command::run(self.podman_command(role).args(arguments), stdin, deadline)
    }

    /// podman with a storage of its own and the runtime of this role.
    pub fn podman_command(&self, role: Role) -> Command {
        let mut podman = Command::new(self.podman.as_deref().unwrap_or(Path::new("podman")));
        podman.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        podman
            .arg("--root")
            .arg(self.dir.join("podman"))
            .args(["--runroot", "/run/podman-test"]);
        podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        podman.arg("--runtime").arg(self.runtime(role));
        podman
    }

    pub fn ctr(&self, arguments: &[&str]) -> Result<Outcome, String> {
        command::run(ctr_client().args(arguments), "", USUAL)
    }

    /// Removes every container of every engine.
    pub fn remove_containers(&self) -> Result<(), String> {
        if self.docker.is_ok() {
            let ids = self.docker_must(&["ps", "-aq"])?;
            let mut remove = vec!["rm", "--force", "--volumes"];
            remove.extend(ids.split_whitespace());
            if remove.len() > 3 {
                self.docker_must(&remove)?;
            }
        }
        if self.podman.is_ok() {
            let ids = self.podman(Role::Subject, &["ps", "-aq"], "", USUAL)?.ok()?;
            if !ids.is_empty() {
                self.podman(
                    Role::Subject,
                    &["rm", "--all", "--force", "--time", "0"],
                    "",
                    USUAL,
                )?
                .ok()?;
            }
        }
        if self.containerd.is_ok() {
            cri::remove_all()?;
            for id in self
                .ctr(&["containers", "list", "--quiet"])?
                .ok()?
                .split_whitespace()
            {
                self.ctr(&["tasks", "delete", "--force", id])?;
                self.ctr(&["containers", "delete", id])?.ok()?;
            }
        }
        Ok(())
    }

    /// The last lines of each engine's log, for a report.
    pub fn log_tails(&self, needle: &str) -> String {
        let mut text = String::new();
        for daemon in [&self.docker, &self.containerd].into_iter().flatten() {
            if daemon.name.contains(needle) {
                text += &daemon.log_tail();
            }
        }
        text
    }

    /// Stops the engines. Whatever then still runs beside this program and PID 1 was leaked by one of them.
    pub fn shut_down(self) -> Result<(), String> {
        self.remove_containers()?;
        for daemon in [self.docker, self.containerd].into_iter().flatten() {
            daemon.stop()?;
        }
        leaks::nobody_else_runs()
    }
}

pub const CONTAINERD_SOCKET: &str = "/run/ctr/containerd.sock";
pub const CTR_TYPED: &str = "ctr --address /run/ctr/containerd.sock";

fn ctr_client() -> Command {
    let mut ctr = Command::new("ctr");
    ctr.args(["--address", "/run/ctr/containerd.sock"]);
    ctr
}

/// What containerd asks for when a container names no other.
const SHIM: &str = "containerd-shim-runc-v2";

fn start_docker(dir: &Path, subject: &Path, reference: Option<&Path>, path: &str) -> Result<Daemon, String> {
    let mut more: Vec<std::ffi::OsString> = Vec::new();
    for (role, path) in [(Role::Subject, Some(subject)), (Role::Reference, reference)] {
        let Some(path) = path else { continue };
        let lesser = lesser(dir, role, path)?;
        more.extend([
            "--add-runtime".into(),
            format!("{}={}", role.name(), path.display()).into(),
        ]);
        more.extend([
            "--add-runtime".into(),
            format!("{}-lesser={}", role.name(), lesser.display()).into(),
        ]);
    }
    // What names no runtime, a build for one, has to use the one that is judged.
    more.extend(["--default-runtime".into(), "subject".into()]);
    docker::start(dir, path, &more)
}

fn start_containerd(
    dir: &Path,
    subject: &Path,
    reference: Option<&Path>,
    path: &str,
) -> Result<Daemon, String> {
    let program = packaged("containerd").and_then(|_| installed("containerd"))?;
    installed("ctr")?;
    let text = format!(
        "version = 2\nroot = \"{0}/containerd\"\nstate = \"/run/ctr/state\"\n\
         [grpc]\naddress = \"{CONTAINERD_SOCKET}\"\n{1}",
        dir.display(),
        cri::configuration(subject, reference)
    );
    let config = dir.join("containerd.toml");
    std::fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
    let mut containerd = Command::new(program);
    containerd.env("PATH", path).arg("--config").arg(&config);
    Daemon::start("containerd", containerd, dir.join("containerd.log"), || {
        command::run(ctr_client().arg("version"), "", USUAL).is_ok_and(|o| o.code == 0)
    })
}

/// The runtime behind a script that takes CAP_SYS_RESOURCE out of what it is asked for.
///
/// `docker run --privileged` asks for every capability there is, also where root itself does not have all of them.
fn lesser(dir: &Path, role: Role, runtime: &Path) -> Result<PathBuf, String> {
    let script = format!(
        r#"#!/bin/sh
last=
for word; do
    case $last in --bundle) file=$word/config.json ;; --process) file=$word ;; *) file= ;; esac
    [ -z "$file" ] || sed -i 's/"CAP_SYS_RESOURCE",//g' "$file"
    last=$word
done
exec {} "$@"
"#,
        runtime.display()
    );
    let dir = dir.join(format!("{}-lesser", role.name()));
    let file = dir.join(runtime.file_name().unwrap_or_default());
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    std::fs::write(&file, script).map_err(|e| format!("{}: {e}", file.display()))?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, executable).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(file)
}

/// Whether root lacks a capability here that a privileged container asks for.
fn is_lesser_root() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = bounding.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & CAP_SYS_RESOURCE == 0)
}
