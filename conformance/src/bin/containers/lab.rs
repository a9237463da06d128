//! What the played host has: the command line that is judged under Docker's name, the images, and Docker itself.
//!
//! May not: use an engine that was not installed from the distribution's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use conformance::command::{self, Outcome};
use conformance::daemon::{Daemon, installed, tell_version};
use conformance::judge::{BESIDE, PROGRAM, Peer};
use conformance::played::leaks;
use conformance::terminal::Terminal;
use conformance::{docker, patience, played};

use crate::outside::Outside;

/// Whose command line is judged. Docker is there to see that a case itself is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Brig,
    Docker,
}

impl Peer for Subject {
    const BRIG: Subject = Subject::Brig;

    fn name(self) -> &'static str {
        match self {
            Subject::Brig => "brig",
            Subject::Docker => "docker",
        }
    }

    fn parse(name: &str) -> Result<Subject, String> {
        match name {
            "docker" => Ok(Subject::Docker),
            other => Err(format!("no such peer: {other}")),
        }
    }
}

pub struct Lab {
    pub dir: PathBuf,
    pub subject: Subject,
    pub verbose: bool,
    pub archive: String,
    pub outside: Outside,
    /// Started when the first case needs it: most do not compare.
    docker: OnceLock<Result<Daemon, String>>,
    /// What the first container with a network brings once: the default network, and the firewall's frame.
    warm: OnceLock<Result<(), String>>,
}

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
        // It makes its table when it is first asked, and cases tell what is left behind.
        let _ = std::process::Command::new("iptables")
            .args(["-P", "FORWARD", "ACCEPT"])
            .output();
        let lab = Lab {
            dir: dir.to_owned(),
            subject,
            verbose,
            archive,
            outside: Outside::make()?,
            docker: OnceLock::new(),
            warm: OnceLock::new(),
        };
        std::fs::create_dir_all(lab.home()).map_err(|e| format!("{}: {e}", lab.home().display()))?;
        let names = lab.dir.join("bin");
        std::fs::create_dir_all(&names).map_err(|e| format!("{}: {e}", names.display()))?;
        let program = match subject {
            Subject::Docker => installed("docker")?,
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
            lab.load(Subject::Brig)?;
        }
        Ok(lab)
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

    /// Makes what the first container with a network makes, once.
    pub fn warm_up(&self) -> Result<(), String> {
        let first = || {
            // iptables makes its table when it looks.
            let line =
                "iptables -S FORWARD >/dev/null; docker run --rm -p 65001:80 -p 65001:80/udp tiny true";
            let o = self.run(self.subject, line, "", patience::seconds(60))?;
            o.ok()
                .map(|_| ())
                .map_err(|e| format!("the first container with a network: {e}"))
        };
        self.warm.get_or_init(first).clone()
    }

    fn load(&self, who: Subject) -> Result<(), String> {
        let mut load = self.shell(who, &format!("docker load --quiet --input {}", self.archive));
        command::run(&mut load, "", patience::seconds(120))?
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
    pub fn shell(&self, who: Subject, line: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", line]);
        self.surround(who, &mut sh);
        sh
    }

    fn surround(&self, who: Subject, command: &mut Command) {
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
            .env_remove("DOCKER_CONTEXT")
            .current_dir(self.home());
        if who == Subject::Brig {
            command.env_remove("DOCKER_HOST");
        }
    }

    /// The command line itself, without a shell between, under its own name.
    pub fn straight(&self, words: &[String]) -> Command {
        let mut command = Command::new(self.program());
        self.surround(self.subject, &mut command);
        command.args(words);
        command
    }

    /// Runs a line to its end.
    pub fn run(&self, who: Subject, line: &str, stdin: &str, deadline: Duration) -> Result<Outcome, String> {
        let outcome = command::run(&mut self.shell(who, line), stdin, deadline)?;
        if self.verbose {
            println!(
                "     $ {line}\n     [{}] {:?} {:?}",
                outcome.code, outcome.stdout, outcome.stderr
            );
        }
        Ok(outcome)
    }

    /// A person at a terminal who types this line.
    pub fn terminal(&self, who: Subject, line: &str) -> Result<Terminal, String> {
        // The terminal's own shell has this program's environment: what a line needs is said in it.
        let names = self.dir.join("bin");
        let host = match who {
            Subject::Brig => String::new(),
            Subject::Docker => format!("DOCKER_HOST={}", docker::HOST),
        };
        Terminal::open(&format!(
            "env PATH={}:$PATH:/usr/sbin:/sbin HOME={} DOCKER_CONFIG={}/.docker BRIG_ROOT={} {host} {line}",
            names.display(),
            self.home().display(),
            self.home().display(),
            self.store().display(),
        ))
    }

    /// Takes away every container of the subject and, where it runs, of Docker.
    pub fn empty(&self) -> Result<(), String> {
        let mut lines = vec![self.subject];
        if self.subject != Subject::Docker && matches!(self.docker.get(), Some(Ok(_))) {
            lines.push(Subject::Docker);
        }
        for who in lines {
            let line = "docker ps -aq | xargs -r docker rm --force --volumes; docker volume ls -q | xargs -r docker volume rm";
            self.run(who, line, "", patience::seconds(60))?
                .ok()
                .map_err(|e| format!("removing all containers of {}: {e}", who.name()))?;
        }
        Ok(())
    }

    /// Stops what was started. Whatever then still runs beside this program and PID 1 was left by somebody.
    pub fn shut_down(mut self) -> Result<(), String> {
        if let Some(Ok(docker)) = self.docker.take() {
            docker.stop()?;
        }
        leaks::nobody_else_runs()
    }
}
