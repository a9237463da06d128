//! The calls of a runc-compatible runtime: command lines, and what is read from its answers.
//!
//! May not: keep state of a container. The words are runc's, so that any runtime that speaks as runc does can be called.
//!
//! Every call is told where to log; the last error that it wrote there is its message to the user. The log is read from
//! where it ended before the call: an older failure is not this one's.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::children::{Children, Exited, Program};
use crate::error::{Error, Result};
use crate::reactor::{Either, Reactor, either};
use crate::sync::Once;

/// The most that an answer may be: `ps` of a container with a hundred thousand processes fits.
const MOST_ANSWER: usize = 1 << 20;
/// For calls that should take milliseconds, when their caller set no limit.
const PATIENCE: Duration = Duration::from_secs(120);

/// A runtime, and what all its calls for one container have in common.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Name or path; a name is looked up in PATH.
    pub binary: String,
    /// State root (`--root`).
    pub root: PathBuf,
    /// The log that it writes (`--log`).
    pub log: PathBuf,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
    /// `--criu`, when it is not empty.
    pub criu: String,
}

/// What a call found and said.
#[derive(Debug)]
struct Answer {
    code: u32,
    output: Vec<u8>,
}

/// Descriptors of a call.
#[derive(Debug)]
pub enum Stdio<'a> {
    /// The container's own streams: 0, 1, 2.
    Container(&'a [OwnedFd; 3]),
    /// Nothing to read; what it says is its answer.
    Captured,
    /// The same, with something to read.
    Fed(&'a [u8]),
}

/// What is needed for one call.
#[derive(Debug)]
struct Call<'a> {
    verb: Vec<String>,
    stdio: Stdio<'a>,
    limit: Option<Instant>,
}

/// How to make an init.
#[derive(Debug)]
pub struct Create<'a> {
    /// Container id.
    pub id: &'a str,
    /// The bundle.
    pub bundle: &'a Path,
    /// Where it writes the init's pid.
    pub pid_file: &'a Path,
    /// Where it sends the terminal.
    pub console_socket: Option<&'a Path>,
    /// MS_MOVE instead of pivot_root.
    pub no_pivot: bool,
    /// No session keyring of its own.
    pub no_new_keyring: bool,
}

/// How to make another process.
#[derive(Debug)]
pub struct Exec<'a> {
    /// Container id.
    pub id: &'a str,
    /// File with the process as JSON.
    pub process: &'a Path,
    /// Where it writes the pid.
    pub pid_file: &'a Path,
    /// Where it sends the terminal.
    pub console_socket: Option<&'a Path>,
}

/// How to write a checkpoint.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Where to.
    pub image: PathBuf,
    /// CRIU's files.
    pub work: PathBuf,
    /// An earlier one to write the difference to.
    pub parent: Option<PathBuf>,
    /// End the container.
    pub exit: bool,
    /// Allow open TCP connections.
    pub open_tcp: bool,
    /// Allow external unix sockets.
    pub external_unix_sockets: bool,
    /// Allow a terminal.
    pub terminal: bool,
    /// Allow file locks.
    pub file_locks: bool,
    /// Namespaces to leave out.
    pub empty_namespaces: Vec<String>,
}

impl Runtime {
    /// True when its program can be found.
    pub fn is_there(&self) -> bool {
        find_program(&self.binary).is_some_and(|path| Path::new(&path).exists())
    }

    /// `create`.
    ///
    /// # Errors
    /// `OCI runtime create failed: ` and what the runtime logged.
    pub async fn create(
        &self,
        on: &Host,
        c: &Create<'_>,
        stdio: Stdio<'_>,
        limit: Option<Instant>,
    ) -> Result<()> {
        let mut verb = words(&[
            "create",
            "--bundle",
            &text(c.bundle),
            "--pid-file",
            &text(c.pid_file),
        ]);
        if let Some(socket) = c.console_socket {
            verb.extend(words(&["--console-socket", &text(socket)]));
        }
        if c.no_pivot {
            verb.push("--no-pivot".into());
        }
        if c.no_new_keyring {
            verb.push("--no-new-keyring".into());
        }
        verb.push(c.id.into());
        self.run(on, "OCI runtime create failed", Call { verb, stdio, limit })
            .await
    }

    /// `restore --detach`.
    ///
    /// # Errors
    /// `OCI runtime restore failed: ` and what the runtime logged.
    pub async fn restore(
        &self,
        on: &Host,
        c: &Create<'_>,
        image: &Path,
        work: &Path,
        stdio: Stdio<'_>,
        limit: Option<Instant>,
    ) -> Result<()> {
        let mut verb = words(&[
            "restore",
            "--image-path",
            &text(image),
            "--work-path",
            &text(work),
        ]);
        verb.extend(words(&["--detach", "--pid-file", &text(c.pid_file)]));
        if let Some(socket) = c.console_socket {
            verb.extend(words(&["--console-socket", &text(socket)]));
        }
        if c.no_pivot {
            verb.push("--no-pivot".into());
        }
        verb.extend(words(&["-no-subreaper", "--bundle", &text(c.bundle), c.id]));
        self.run(on, "OCI runtime restore failed", Call { verb, stdio, limit })
            .await
    }

    /// `start`.
    ///
    /// # Errors
    /// `OCI runtime start failed: ` and what the runtime logged.
    pub async fn start(&self, on: &Host, id: &str, limit: Option<Instant>) -> Result<()> {
        self.simple(on, "OCI runtime start failed", &["start", id], limit)
            .await
    }

    /// `exec --detach`.
    ///
    /// # Errors
    /// `OCI runtime exec failed: ` and what the runtime logged.
    pub async fn exec(
        &self,
        on: &Host,
        e: &Exec<'_>,
        stdio: Stdio<'_>,
        limit: Option<Instant>,
    ) -> Result<()> {
        let mut verb = words(&["exec", "--process", &text(e.process)]);
        if let Some(socket) = e.console_socket {
            verb.extend(words(&["--console-socket", &text(socket)]));
        }
        verb.extend(words(&["--detach", "--pid-file", &text(e.pid_file), e.id]));
        self.run(on, "OCI runtime exec failed", Call { verb, stdio, limit })
            .await
    }

    /// `kill`.
    ///
    /// # Errors
    /// NotFound when the process has ended or the container is gone.
    pub async fn kill(
        &self,
        on: &Host,
        id: &str,
        signal: u32,
        all: bool,
        limit: Option<Instant>,
    ) -> Result<()> {
        let number = signal.to_string();
        let verb: &[&str] = match all {
            true => &["kill", "--all", id, &number],
            false => &["kill", id, &number],
        };
        let killed = self.simple(on, "", verb, Some(limit.unwrap_or_else(soon))).await;
        killed.map_err(|e| {
            let said = e.to_string();
            let lower = said.to_lowercase();
            let ended = [
                "container not running",
                "no such process",
                "process already finished",
            ];
            if ended.iter().any(|words| lower.contains(words)) {
                Error::not_found("process already finished")
            } else if lower.contains("does not exist") {
                Error::not_found("no such container")
            } else {
                e.context("unknown error after kill")
            }
        })
    }

    /// `delete`; a container that is not there is deleted.
    ///
    /// # Errors
    /// `failed to delete task: ` and what the runtime logged.
    pub async fn delete(&self, on: &Host, id: &str, force: bool, limit: Option<Instant>) -> Result<()> {
        let verb: &[&str] = match force {
            true => &["delete", "--force", id],
            false => &["delete", id],
        };
        match self.simple(on, "failed to delete task", verb, limit).await {
            Err(e) if e.to_string().contains("does not exist") => Ok(()),
            done => done,
        }
    }

    /// `pause`.
    ///
    /// # Errors
    /// `OCI runtime pause failed: ` and what the runtime logged.
    pub async fn pause(&self, on: &Host, id: &str, limit: Option<Instant>) -> Result<()> {
        let limit = Some(limit.unwrap_or_else(soon));
        self.simple(on, "OCI runtime pause failed", &["pause", id], limit)
            .await
    }

    /// `resume`.
    ///
    /// # Errors
    /// `OCI runtime resume failed: ` and what the runtime logged.
    pub async fn resume(&self, on: &Host, id: &str, limit: Option<Instant>) -> Result<()> {
        let limit = Some(limit.unwrap_or_else(soon));
        self.simple(on, "OCI runtime resume failed", &["resume", id], limit)
            .await
    }

    /// `update` with LinuxResources as JSON.
    ///
    /// # Errors
    /// `OCI runtime update failed: ` and what the runtime logged.
    pub async fn update(&self, on: &Host, id: &str, resources: &[u8], limit: Option<Instant>) -> Result<()> {
        let call = Call {
            verb: words(&["update", "--resources=-", id]),
            stdio: Stdio::Fed(resources),
            limit: Some(limit.unwrap_or_else(soon)),
        };
        self.run(on, "OCI runtime update failed", call).await
    }

    /// `ps`: the pids of the container, as we see them.
    ///
    /// # Errors
    /// Also when the answer cannot be read: an empty list would tell that nothing runs.
    pub async fn ps(&self, on: &Host, id: &str, limit: Option<Instant>) -> Result<Vec<i32>> {
        let call = Call {
            verb: words(&["ps", "--format", "json", id]),
            stdio: Stdio::Captured,
            limit: Some(limit.unwrap_or_else(soon)),
        };
        let began = self.log_end();
        let answer = self.call(on, call).await?;
        if answer.code != 0 {
            let e = self.failure("OCI runtime ps failed", began, &answer);
            return Err(match e.to_string().contains("does not exist") {
                true => Error::not_found(e.to_string()),
                false => e,
            });
        }
        serde_json::from_slice(&answer.output)
            .map_err(|e| Error::new(format!("failed to read what the runtime's ps says: {e}")))
    }

    /// `checkpoint`.
    ///
    /// # Errors
    /// What the runtime logged.
    pub async fn checkpoint(
        &self,
        on: &Host,
        id: &str,
        c: &Checkpoint,
        limit: Option<Instant>,
    ) -> Result<()> {
        let mut verb = words(&[
            "checkpoint",
            "--image-path",
            &text(&c.image),
            "--work-path",
            &text(&c.work),
        ]);
        if let Some(parent) = &c.parent {
            verb.extend(words(&["--parent-path", &text(parent)]));
        }
        let switches = [
            (c.open_tcp, "--tcp-established"),
            (c.external_unix_sockets, "--ext-unix-sk"),
            (c.terminal, "--shell-job"),
            (c.file_locks, "--file-locks"),
            (!c.exit, "--leave-running"),
        ];
        verb.extend(
            switches
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, word)| word.to_string()),
        );
        for namespace in &c.empty_namespaces {
            verb.extend(words(&["--empty-ns", namespace]));
        }
        verb.push(id.into());
        let call = Call {
            verb,
            stdio: Stdio::Captured,
            limit,
        };
        self.run(on, "OCI runtime checkpoint failed", call).await
    }

    async fn simple(&self, on: &Host, doing: &str, verb: &[&str], limit: Option<Instant>) -> Result<()> {
        let call = Call {
            verb: words(verb),
            stdio: Stdio::Captured,
            limit,
        };
        self.run(on, doing, call).await
    }

    async fn run(&self, on: &Host, doing: &str, call: Call<'_>) -> Result<()> {
        let began = self.log_end();
        let answer = self.call(on, call).await.map_err(|e| match doing {
            "" => e,
            _ => e.context(doing),
        })?;
        match answer.code {
            0 => Ok(()),
            _ => Err(self.failure(doing, began, &answer)),
        }
    }

    /// Why a call failed: what it logged, else what it said.
    fn failure(&self, doing: &str, began: u64, answer: &Answer) -> Error {
        let doing = match doing {
            "" => String::new(),
            _ => format!("{doing}: "),
        };
        if let Some(logged) = last_error(&self.log, began) {
            return Error::new(format!("{doing}{logged}"));
        }
        let output = String::from_utf8_lossy(&answer.output);
        let said = match output.trim() {
            "" => String::new(),
            said => format!(": {said}"),
        };
        let name = &self.binary;
        let code = answer.code;
        Error::new(format!(
            "{doing}{name} did not terminate successfully: exit status {code}{said}"
        ))
    }

    fn log_end(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |m| m.len())
    }

    async fn call(&self, on: &Host, call: Call<'_>) -> Result<Answer> {
        let path = find_program(&self.binary).ok_or_else(|| {
            let name = &self.binary;
            Error::new(format!("exec: \"{name}\": executable file not found in $PATH"))
        })?;
        let mut args = words(&[
            &self.binary,
            "--root",
            &text(&self.root),
            "--log",
            &text(&self.log),
        ]);
        args.extend(words(&["--log-format", "json"]));
        if self.systemd_cgroup {
            args.push("--systemd-cgroup".into());
        }
        if !self.criu.is_empty() {
            args.extend(words(&["--criu", &self.criu]));
        }
        args.extend(call.verb);
        run_program(on, &path, args, call.stdio, call.limit).await
    }
}

/// `features`, which takes no flags: its JSON.
///
/// # Errors
/// When it cannot be run, fails, or says no JSON.
pub async fn features(on: &Host, binary: &str) -> Result<Vec<u8>> {
    ask(on, binary, "features").await
}

/// `--version`.
///
/// # Errors
/// When it cannot be run or fails.
pub async fn version(on: &Host, binary: &str) -> Result<String> {
    let said = ask(on, binary, "--version").await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

async fn ask(on: &Host, binary: &str, word: &str) -> Result<Vec<u8>> {
    let path = find_program(binary)
        .ok_or_else(|| Error::new(format!("exec: \"{binary}\": executable file not found in $PATH")))?;
    let args = words(&[binary, word]);
    let answer = run_program(on, &path, args, Stdio::Captured, Some(soon())).await?;
    if answer.code != 0 {
        return Err(Error::new(format!(
            "{binary} {word}: exit status {}",
            answer.code
        )));
    }
    Ok(answer.output)
}

/// What calls need of the world.
#[derive(Debug, Clone)]
pub struct Host {
    /// The loop.
    pub reactor: Reactor,
    /// The processes.
    pub children: Children,
}

async fn run_program(
    on: &Host,
    path: &str,
    args: Vec<String>,
    stdio: Stdio<'_>,
    limit: Option<Instant>,
) -> Result<Answer> {
    let env = std::env::vars_os()
        .filter(|(name, _)| name != "NOTIFY_SOCKET")
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let (capture, said) = match &stdio {
        Stdio::Container(_) => (None, None),
        Stdio::Captured | Stdio::Fed(_) => {
            let (rd, wr) = sys::fs::pipe()?;
            sys::fs::set_nonblocking(rd.as_fd(), true)?;
            (Some(rd), Some(wr))
        }
    };
    let (fed, feeder) = match &stdio {
        Stdio::Fed(_) => {
            let (rd, wr) = sys::fs::pipe()?;
            sys::fs::set_nonblocking(wr.as_fd(), true)?;
            (Some(rd), Some(wr))
        }
        _ => (None, None),
    };
    let fds: [BorrowedFd<'_>; 3] = match &stdio {
        Stdio::Container(fds) => [fds[0].as_fd(), fds[1].as_fd(), fds[2].as_fd()],
        _ => {
            let out = said.as_ref().unwrap_or(&null).as_fd();
            [fed.as_ref().unwrap_or(&null).as_fd(), out, out]
        }
    };
    let child = on.children.spawn(&Program {
        path,
        args,
        env,
        fds: &fds,
    })?;
    drop((said, fed, null));
    let output = RefCell::new(Vec::new());
    let talk = async {
        if let (Some(feeder), Stdio::Fed(bytes)) = (feeder, &stdio) {
            feed(on, feeder, bytes).await?;
        }
        match capture {
            Some(rd) => listen(on, rd, &output, &child.exit).await,
            None => {
                child.exit.wait().await;
                Ok(())
            }
        }
    };
    let talked = on.reactor.within(limit, talk).await;
    let Some(talked) = talked else {
        // An ESRCH means that it has just ended by itself.
        let _ = child.signal(libc::SIGKILL);
        child.exit.wait().await;
        let name = path.rsplit('/').next().unwrap_or(path);
        return Err(Error::deadline(format!(
            "{name} was not done in time and was killed: context deadline exceeded"
        )));
    };
    talked?;
    let exited = child.exit.wait().await;
    Ok(Answer {
        code: exited.code,
        output: output.into_inner(),
    })
}

async fn feed(on: &Host, pipe: OwnedFd, bytes: &[u8]) -> sys::Result<()> {
    let pipe = on.reactor.watch(pipe)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match sys::fs::write(pipe.fd(), rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.is(libc::EAGAIN) => pipe.writable().await?,
            // It ended without reading all of it; what it has to say tells why.
            Err(e) if e.is(libc::EPIPE) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until the program has ended. The end of the pipe is not waited for: what a hook left running may hold it.
async fn listen(on: &Host, pipe: OwnedFd, output: &RefCell<Vec<u8>>, exit: &Once<Exited>) -> Result<()> {
    let pipe = on.reactor.watch(pipe)?;
    loop {
        // Asked before the read: what was said before the end is in the pipe then.
        let ended = exit.is_set();
        let mut buffer = [0u8; 4096];
        match sys::fs::read(pipe.fd(), &mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                let mut output = output.borrow_mut();
                let room = MOST_ANSWER - output.len();
                output.extend_from_slice(&buffer[..n.min(room)]);
            }
            Err(e) if e.is(libc::EAGAIN) && ended => return Ok(()),
            Err(e) if e.is(libc::EAGAIN) => {
                let (more, end) = (pin!(pipe.readable()), pin!(exit.wait()));
                if let Either::Left(readable) = either(more, end).await {
                    readable?;
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    exit.wait().await;
    Ok(())
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| w.to_string()).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// True when there is such a program in PATH.
pub fn is_installed(name: &str) -> bool {
    find_program(name).is_some()
}

/// A program by its path, or by its name in PATH.
fn find_program(name: &str) -> Option<String> {
    if name.contains('/') {
        return Some(name.to_owned());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').filter(|dir| !dir.is_empty()).find_map(|dir| {
        let candidate = format!("{dir}/{name}");
        let file = std::fs::metadata(&candidate).ok()?;
        use std::os::unix::fs::PermissionsExt;
        (file.is_file() && file.permissions().mode() & 0o111 != 0).then_some(candidate)
    })
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last error in a log after `began`. A runtime that is killed may leave half a line, so each is read by itself.
fn last_error(log: &Path, began: u64) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    file.seek(SeekFrom::Start(began)).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST_ANSWER as u64).read_to_end(&mut bytes).ok()?;
    bytes
        .split(|b| *b == b'\n')
        .rev()
        .filter_map(|line| serde_json::from_slice::<LogLine>(line).ok())
        .find(|line| line.level == "error" && !line.msg.is_empty())
        .map(|line| line.msg)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_after_the_mark_is_told() {
        let path = std::env::temp_dir().join(format!("shim-log-{}", std::process::id()));
        let old = "{\"level\":\"error\",\"msg\":\"old\",\"time\":\"2026-01-01T00:00:00Z\"}\n";
        let new = "{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"one\"}\n{\"level\":\"error\",\"msg\":\"two\"}\n{\"level\":\"err";
        std::fs::write(&path, format!("{old}{new}")).unwrap();
        assert_eq!(last_error(&path, old.len() as u64), Some("two".into()));
        assert_eq!(last_error(&path, (old.len() + new.len()) as u64), None);
        std::fs::write(&path, old).unwrap();
        assert_eq!(last_error(&path, 0), Some("old".into()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(last_error(&path, 0), None);
    }
}
