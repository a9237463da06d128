//! What the played host has: the command line that is judged under Docker's name, Docker beside it, a registry, a server of the web,
//! a git daemon, and a way to the package servers.
//!
//! May not: use a program that was not installed from the distribution's packages.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use conformance::command::{self, Outcome};
use conformance::daemon::{Daemon, find_program, installed, tell_version};
use conformance::judge::{BESIDE, PROGRAM, Peer};
use conformance::played::leaks;
use conformance::terminal::Terminal;
use conformance::{docker, patience, played};

use crate::outside::Outside;
use crate::packages;
use crate::web::Web;

/// The registry; loopback is where every client accepts plain HTTP.
pub const REGISTRY: &str = "127.0.0.1:5000";
pub const GIT: &str = "git://127.0.0.1:9418";

/// Whose command line is judged. The others are there to see that a case itself is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Brig,
    Docker,
    /// buildah for `build`, podman for the rest, with one store.
    Buildah,
}

impl Peer for Subject {
    const BRIG: Subject = Subject::Brig;

    fn name(self) -> &'static str {
        match self {
            Subject::Brig => "brig",
            Subject::Docker => "docker",
            Subject::Buildah => "buildah",
        }
    }

    fn parse(name: &str) -> Result<Subject, String> {
        match name {
            "docker" => Ok(Subject::Docker),
            "buildah" => Ok(Subject::Buildah),
            other => Err(format!("no such peer: {other}")),
        }
    }
}

pub struct Lab {
    pub dir: PathBuf,
    pub subject: Subject,
    pub verbose: bool,
    pub archive: String,
    /// The rest of the world lives as long as it is held.
    _outside: Outside,
    pub web: Web,
    /// Started when the first case needs them.
    docker: OnceLock<Result<Daemon, String>>,
    registry: OnceLock<Result<Daemon, String>>,
    git: OnceLock<Result<Daemon, String>>,
    packages: OnceLock<Result<(), String>>,
}

/// What stands in for `docker` where buildah is asked.
const BUILDAH: &str = r#"#!/bin/sh
stores="--root STORE --runroot /run/podman-test"
case $1 in
    build | buildx) shift; exec buildah $stores build --layers --format docker --isolation oci --runtime /usr/bin/runc "$@" ;;
    *) exec podman $stores --cgroup-manager cgroupfs --events-backend file --runtime /usr/bin/runc "$@" ;;
esac
"#;

impl Lab {
    /// Puts the command line in place and gives it the images.
    pub fn enter(dir: &Path, subject: Subject, verbose: bool) -> Result<Lab, String> {
        let archive =
            std::fs::read_to_string(dir.join("image")).map_err(|e| format!("the images' name: {e}"))?;
        // Docker warns of it with every second command; the network namespace is this host's own.
        for forward in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let forward = Path::new("/proc/sys/net").join(forward);
            std::fs::write(&forward, "1").map_err(|e| format!("{}: {e}", forward.display()))?;
        }
        let outside = Outside::make()?;
        packages::listen(dir, &outside)?;
        let lab = Lab {
            dir: dir.to_owned(),
            subject,
            verbose,
            archive,
            _outside: outside,
            web: Web::start(&dir.join("www"))?,
            docker: OnceLock::new(),
            registry: OnceLock::new(),
            git: OnceLock::new(),
            packages: OnceLock::new(),
        };
        let names = lab.dir.join("bin");
        for made in [&lab.home(), &names] {
            std::fs::create_dir_all(made).map_err(|e| format!("{}: {e}", made.display()))?;
        }
        let program = match subject {
            Subject::Docker => installed("docker")?,
            Subject::Buildah => lab.buildah()?,
            Subject::Brig => {
                let brig = played::program(dir, PROGRAM).ok_or("brig is missing")?;
                let beside = dir.join(BESIDE).join(brig.file_name().unwrap_or_default());
                std::fs::rename(&brig, &beside).map_err(|e| format!("{}: {e}", beside.display()))?;
                beside
            }
        };
        for name in ["docker", "brig"] {
            std::os::unix::fs::symlink(&program, names.join(name)).map_err(|e| format!("{name}: {e}"))?;
        }
        tell_version(&program);
        if subject == Subject::Docker {
            lab.docker().as_ref().map_err(Clone::clone)?;
        } else {
            lab.load(subject)?;
        }
        Ok(lab)
    }

    fn buildah(&self) -> Result<PathBuf, String> {
        installed("buildah").and_then(|_| installed("podman"))?;
        let path = self.dir.join("buildah-as-docker");
        let text = BUILDAH.replace("STORE", &self.dir.join("podman").display().to_string());
        std::fs::write(&path, text)
            .and_then(|()| {
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            })
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// The daemon, with the images; or why there is none.
    pub fn docker(&self) -> &Result<Daemon, String> {
        self.docker.get_or_init(|| {
            let daemon = docker::start(&self.dir, &docker::usual_path(), &[])?;
            tell_version(Path::new(docker::CLIENT));
            self.load(Subject::Docker)?;
            Ok(daemon)
        })
    }

    /// The registry, empty at first; or why there is none.
    pub fn registry(&self) -> &Result<Daemon, String> {
        self.registry.get_or_init(|| {
            let program = installed("docker-registry").or_else(|_| installed("registry"))?;
            let config = self.dir.join("registry.yml");
            let text = format!(
                "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, \
                 delete: {{enabled: true}}}}\nhttp: {{addr: {REGISTRY}}}\n",
                self.dir.join("registry").display()
            );
            std::fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
            let mut serve = Command::new(program);
            serve
                .arg("serve")
                .arg(&config)
                .env("OTEL_TRACES_EXPORTER", "none");
            Daemon::start("docker-registry", serve, self.dir.join("registry.log"), || {
                TcpStream::connect(REGISTRY).is_ok()
            })
        })
    }

    /// A git daemon that serves every repository of [`Lab::repositories`]; or why there is none.
    pub fn git(&self) -> &Result<Daemon, String> {
        self.git.get_or_init(|| {
            let git = find_program("git").ok_or("git is not installed")?;
            let base = self.repositories();
            std::fs::create_dir_all(&base).map_err(|e| format!("{}: {e}", base.display()))?;
            let mut serve = Command::new(git);
            serve.args(["daemon", "--export-all", "--listen=127.0.0.1", "--reuseaddr"]);
            serve.arg(format!("--base-path={}", base.display())).arg(&base);
            // Repositories belong to whoever unpacked them; git 2.35.2 wants to be told that this is meant (CVE-2022-24765).
            serve
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "safe.directory");
            serve.env("GIT_CONFIG_VALUE_0", "*");
            Daemon::start("git daemon", serve, self.dir.join("git.log"), || {
                TcpStream::connect("127.0.0.1:9418").is_ok()
            })
        })
    }

    /// Whether the package servers can be reached at all.
    pub fn packages(&self) -> &Result<(), String> {
        self.packages.get_or_init(|| {
            packages::answers().map_err(|e| format!("the package servers cannot be reached: {e}"))
        })
    }

    pub fn repositories(&self) -> PathBuf {
        self.dir.join("repositories")
    }

    fn load(&self, who: Subject) -> Result<(), String> {
        let mut load = self.shell(
            who,
            &self.home(),
            &format!("docker load --quiet --input {}", self.archive),
        );
        command::run(&mut load, "", patience::seconds(180))?
            .ok()
            .map(|_| ())
            .map_err(|e| format!("loading the images: {e}"))
    }

    /// The program that is judged.
    pub fn program(&self) -> PathBuf {
        let link = self.dir.join("bin/brig");
        // By its own name: called as `docker` it is the same program, and says so in its messages.
        std::fs::read_link(&link).unwrap_or(link)
    }

    /// Where brig keeps everything.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// What a person types into a shell, where `docker` is who is asked.
    pub fn shell(&self, who: Subject, cwd: &Path, line: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", line]);
        self.surround(who, cwd, &mut sh);
        sh
    }

    fn surround(&self, who: Subject, cwd: &Path, command: &mut Command) {
        // Only the subject has links in front of the usual places; the peer's client is looked up there.
        let names = if who == self.subject {
            format!("{}:", self.dir.join("bin").display())
        } else {
            "/usr/bin:".to_owned()
        };
        command
            .env("PATH", names + &docker::usual_path())
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.home().join(".docker"))
            .env("BRIG_ROOT", self.store())
            .env("DOCKER_HOST", docker::HOST)
            .env("DOCKER_BUILDKIT", "1")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("SSH_AUTH_SOCK")
            .current_dir(cwd);
        if who != Subject::Docker {
            command.env_remove("DOCKER_HOST");
        }
    }

    /// The command line itself, without a shell between, under its own name.
    pub fn straight(&self, cwd: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        self.surround(self.subject, cwd, &mut command);
        command.args(words);
        command
    }

    /// Runs a line to its end.
    pub fn run(
        &self,
        who: Subject,
        cwd: &Path,
        line: &str,
        stdin: &str,
        deadline: Duration,
    ) -> Result<Outcome, String> {
        let outcome = command::run(&mut self.shell(who, cwd, line), stdin, deadline)?;
        if self.verbose {
            println!(
                "     $ {line}\n     [{}] {:?}\n     {}",
                outcome.code,
                outcome.stdout,
                outcome.stderr.replace('\n', "\n     ")
            );
        }
        Ok(outcome)
    }

    /// A person at a terminal who types this line.
    pub fn terminal(&self, cwd: &Path, line: &str) -> Result<Terminal, String> {
        // The terminal's own shell has this program's environment: what a line needs is said in it.
        let host = match self.subject {
            Subject::Docker => format!("DOCKER_HOST={}", docker::HOST),
            Subject::Brig | Subject::Buildah => String::new(),
        };
        Terminal::open(&format!(
            "env -C {} PATH={}:$PATH:/usr/sbin:/sbin HOME={} DOCKER_CONFIG={}/.docker DOCKER_BUILDKIT=1 BRIG_ROOT={} {host} {line}",
            cwd.display(),
            self.dir.join("bin").display(),
            self.home().display(),
            self.home().display(),
            self.store().display(),
        ))
    }

    /// Takes away every container of the subject and, where it runs, of Docker.
    pub fn empty(&self) -> Result<(), String> {
        let mut all = vec![self.subject];
        if self.subject != Subject::Docker && matches!(self.docker.get(), Some(Ok(_))) {
            all.push(Subject::Docker);
        }
        for who in all {
            let line = "docker ps -aq | xargs -r docker rm --force --volumes";
            self.run(who, &self.home(), line, "", patience::seconds(60))?
                .ok()
                .map_err(|e| format!("removing all containers of {}: {e}", who.name()))?;
        }
        Ok(())
    }

    /// Stops what was started. Whatever then still runs beside this program and PID 1 was left by somebody.
    pub fn shut_down(mut self) -> Result<(), String> {
        for daemon in [self.docker.take(), self.registry.take(), self.git.take()] {
            if let Some(Ok(daemon)) = daemon {
                daemon.stop()?;
            }
        }
        leaks::nobody_else_runs()
    }
}
