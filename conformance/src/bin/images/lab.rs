//! What the played host has: three registries, Docker, Podman, and the command line that is judged.
//!
//! May not: use an engine that was not installed from the distribution's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::command::{self, Outcome, USUAL};
use conformance::daemon::{Daemon, installed, packaged, tell_version};
use conformance::judge::Peer;
use conformance::played::leaks;
use conformance::{docker, played};

use crate::fixtures::Fixtures;
use crate::registry::{self, LOCKED, PLAIN, Registry, TLS};

/// Whose command line is judged. The peers are there to see that a case itself is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Brig,
    Docker,
    Podman,
}

impl Peer for Subject {
    const BRIG: Subject = Subject::Brig;

    fn name(self) -> &'static str {
        match self {
            Subject::Brig => "brig",
            Subject::Docker => "docker",
            Subject::Podman => "podman",
        }
    }

    fn parse(name: &str) -> Result<Subject, String> {
        match name {
            "docker" => Ok(Subject::Docker),
            "podman" => Ok(Subject::Podman),
            other => Err(format!("no such peer: {other}")),
        }
    }
}

pub struct Lab {
    pub dir: PathBuf,
    pub subject: Subject,
    brig: PathBuf,
    /// The runtime that comes with brig.
    pub runtime: PathBuf,
    pub plain: Registry,
    pub tls: Registry,
    /// Needs a password; an error where htpasswd is not installed.
    pub locked: Result<Registry, String>,
    pub docker: Result<Daemon, String>,
    pub podman: Result<PathBuf, String>,
    pub skopeo: Result<PathBuf, String>,
    pub umoci: Result<PathBuf, String>,
    pub buildah: Result<PathBuf, String>,
    pub runc: Result<PathBuf, String>,
    pub fixtures: Fixtures,
}

impl Lab {
    /// Starts everything and fills the registries.
    pub fn enter(dir: &Path, subject: Subject) -> Result<Lab, String> {
        registry::prepare_names(dir)?;
        prepare_clients(dir)?;
        let lab = Lab {
            dir: dir.to_owned(),
            subject,
            brig: played::program(dir, "brig-program").unwrap_or_default(),
            runtime: played::program(dir, "runtime").unwrap_or_default(),
            plain: Registry::start(dir, PLAIN)?,
            tls: Registry::start(dir, TLS)?,
            locked: installed("htpasswd").and_then(|_| Registry::start(dir, LOCKED)),
            docker: docker::start(
                dir,
                &docker::usual_path(),
                &docker::WITHOUT_BRIDGE.map(Into::into),
            ),
            podman: packaged("podman").and_then(|_| installed("podman")),
            skopeo: installed("skopeo"),
            umoci: installed("umoci"),
            buildah: installed("buildah"),
            runc: installed("runc"),
            fixtures: Fixtures::make(dir)?,
        };
        lab.fixtures.plant(&lab)?;
        lab.tell_versions();
        Ok(lab)
    }

    fn tell_versions(&self) {
        if self.subject == Subject::Brig {
            tell_version(&self.brig);
            tell_version(&self.runtime);
        }
        let peers = [&self.podman, &self.skopeo, &self.umoci, &self.buildah, &self.runc];
        peers.into_iter().flatten().for_each(|path| tell_version(path));
        for program in ["docker", "dockerd", "docker-registry"] {
            installed(program).iter().for_each(|path| tell_version(path));
        }
    }

    /// The command line that is judged, with a store of its own. The peers have one store each, whatever is said here.
    pub fn command(&self, store: &Path) -> Command {
        match self.subject {
            Subject::Docker => self.docker_command(),
            Subject::Podman => self.podman_command(),
            Subject::Brig => {
                let mut brig = Command::new(&self.brig);
                self.at_home(&mut brig);
                brig.arg("--root").arg(store);
                brig
            }
        }
    }

    /// The judged program itself, for cases that say all of its environment.
    pub fn brig_program(&self) -> &Path {
        &self.brig
    }

    pub fn docker_command(&self) -> Command {
        let mut docker = docker::client();
        self.at_home(&mut docker);
        docker
    }

    pub fn podman_command(&self) -> Command {
        let mut podman = Command::new(self.podman.as_deref().unwrap_or(Path::new("podman")));
        self.at_home(&mut podman);
        podman.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        podman
            .arg("--root")
            .arg(self.dir.join("podman"))
            .args(["--runroot", "/run/podman-test"]);
        podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        // Its own choice, crun, refuses hybrid hierarchies.
        if let Ok(runc) = &self.runc {
            podman.arg("--runtime").arg(runc);
        }
        podman
    }

    pub fn buildah_command(&self) -> Command {
        let mut buildah = Command::new(self.buildah.as_deref().unwrap_or(Path::new("buildah")));
        self.at_home(&mut buildah);
        buildah
            .arg("--root")
            .arg(self.dir.join("podman"))
            .args(["--runroot", "/run/podman-test"]);
        buildah
    }

    pub fn skopeo_command(&self) -> Command {
        let mut skopeo = Command::new(self.skopeo.as_deref().unwrap_or(Path::new("skopeo")));
        self.at_home(&mut skopeo);
        skopeo
    }

    /// Where logins are kept.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    fn at_home(&self, command: &mut Command) {
        command
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.home().join(".docker"))
            .env("REGISTRY_AUTH_FILE", self.home().join("auth.json"))
            .env_remove("BRIG_ROOT");
    }

    /// Takes every image and container out of the peers' stores.
    pub fn empty_peers(&self, used: Used) -> Result<(), String> {
        if used.docker && self.docker.is_ok() {
            // Prune, because rmi refuses an image that another was built on.
            let script = "docker ps -aq | xargs -r docker rm -f; docker image prune -af";
            let mut sh = self.docker_command();
            sh = with_program(&sh, "sh");
            let script = script.replace("docker ", "/usr/bin/docker ");
            command::run(sh.args(["-c", &script]), "", USUAL)?.ok()?;
        }
        if used.podman && self.podman.is_ok() {
            for words in [["rm", "--all", "--force"], ["rmi", "--all", "--force"]] {
                command::run(self.podman_command().args(words), "", USUAL)?.ok()?;
            }
        }
        let home = self.home();
        if home.exists() {
            std::fs::remove_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
        }
        make_home(&home)
    }

    pub fn shut_down(self) -> Result<(), String> {
        if let Ok(docker) = self.docker {
            docker.stop()?;
        }
        self.plain.stop()?;
        self.tls.stop()?;
        if let Ok(locked) = self.locked {
            locked.stop()?;
        }
        leaks::nobody_else_runs()
    }
}

/// Which peers have something to be emptied of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Used {
    pub docker: bool,
    pub podman: bool,
}

/// Runs a command of a peer or of the subject.
pub fn run(command: &mut Command) -> Result<Outcome, String> {
    command::run(command, "", Duration::from_secs(120))
}

/// Another program in the same environment.
fn with_program(command: &Command, program: &str) -> Command {
    let mut other = Command::new(program);
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => other.env(key, value),
            None => other.env_remove(key),
        };
    }
    other
}

/// What the clients read below /etc, which is this host's own.
fn prepare_clients(dir: &Path) -> Result<(), String> {
    let text = |e: std::io::Error| format!("/etc/containers: {e}");
    // Without CAP_SYS_RESOURCE the engine's default limits, above the hard ones, cannot be set.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    std::fs::write(dir.join("containers.conf"), limits).map_err(text)?;
    let fragments = Path::new("/etc/containers/registries.conf.d");
    std::fs::create_dir_all(fragments).map_err(text)?;
    // Podman and skopeo want to be told what Docker knows of loopback by itself.
    let loopback = format!("[[registry]]\nlocation = \"{PLAIN}\"\ninsecure = true\n");
    std::fs::write(fragments.join("images-test.conf"), loopback).map_err(text)?;
    make_home(&dir.join("home"))
}

/// Podman and skopeo want the file of logins to be there when its name is said.
fn make_home(home: &Path) -> Result<(), String> {
    std::fs::create_dir_all(home)
        .and_then(|()| std::fs::write(home.join("auth.json"), "{}"))
        .map_err(|e| format!("{}: {e}", home.display()))
}
