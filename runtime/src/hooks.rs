//! Hooks: programs of the administrator that run at fixed moments of a container's life.
//!
//! May not: give a hook anything but stdin (the state), its own arguments and environment.

use crate::config;
use crate::error::{Error, Result};
use crate::problems::Problems;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use sys::process::{Block, ExecStrings, Exit, Spawn, Tie};
use sys::wait::{Deadline, Interest};

/// The six moments (config.md, POSIX-platform hooks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// Deprecated; runtime namespace, before createRuntime.
    Prestart,
    /// Runtime namespace, the environment is made, the root not yet pivoted.
    CreateRuntime,
    /// Container namespace, before pivot_root.
    CreateContainer,
    /// Container namespace, just before the user's program.
    StartContainer,
    /// Runtime namespace, after the user's program was started.
    Poststart,
    /// Runtime namespace, after delete.
    Poststop,
}

impl Phase {
    /// The word of config.json.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Prestart => "prestart",
            Phase::CreateRuntime => "createRuntime",
            Phase::CreateContainer => "createContainer",
            Phase::StartContainer => "startContainer",
            Phase::Poststart => "poststart",
            Phase::Poststop => "poststop",
        }
    }

    /// The hooks of this moment.
    pub fn of(self, hooks: &config::Hooks) -> &[config::Hook] {
        match self {
            Phase::Prestart => &hooks.prestart,
            Phase::CreateRuntime => &hooks.create_runtime,
            Phase::CreateContainer => &hooks.create_container,
            Phase::StartContainer => &hooks.start_container,
            Phase::Poststart => &hooks.poststart,
            Phase::Poststop => &hooks.poststop,
        }
    }
}

/// All phases, in the order of a container's life.
pub const PHASES: [Phase; 6] = [
    Phase::Prestart,
    Phase::CreateRuntime,
    Phase::CreateContainer,
    Phase::StartContainer,
    Phase::Poststart,
    Phase::Poststop,
];

/// Checks every hook: an absolute path, sound environment entries, a positive timeout.
pub fn check_hooks(hooks: &config::Hooks, problems: &mut Problems) {
    for phase in PHASES {
        for (n, hook) in phase.of(hooks).iter().enumerate() {
            let place = format!("/hooks/{}/{n}", phase.word());
            if !hook.path.starts_with('/') {
                problems.add(
                    format!("{place}/path"),
                    format!("hook path {:?} is not absolute", hook.path),
                );
            }
            if hook.timeout.is_some_and(|t| t <= 0) {
                problems.add(
                    format!("{place}/timeout"),
                    "a hook's timeout must be greater than zero",
                );
            }
            for (k, entry) in hook.env.iter().enumerate() {
                if !entry.contains('=') || entry.contains('\0') {
                    problems.add(
                        format!("{place}/env/{k}"),
                        format!("invalid environment variable: {entry:?}"),
                    );
                }
            }
        }
    }
}

/// The state that a hook reads from its stdin (runtime.md, State).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState<'a> {
    /// Of the state itself, which is ours, whatever the config says.
    pub oci_version: &'static str,
    /// Container id.
    pub id: &'a str,
    /// `creating`, `created`, `running`, `stopped`.
    pub status: &'a str,
    /// Of the init; left out when it is gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Absolute path.
    pub bundle: &'a str,
    /// Of the config.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

impl HookState<'_> {
    /// Compact JSON, slashes unescaped: hooks in shell cut it with sed.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::new(e.to_string()))
    }
}

/// Runs the hooks of one phase in order; the first that fails ends it. `default_env` is used when a hook names none.
pub fn run_hooks(
    list: &[config::Hook],
    phase: Phase,
    state_json: &str,
    default_env: &[String],
) -> Result<()> {
    for (n, hook) in list.iter().enumerate() {
        run_hook(hook, state_json, default_env)
            .map_err(|e| Error::new(format!("error running {} hook #{n}: {e}", phase.word())))?;
    }
    Ok(())
}

/// What a hook may say before the rest is thrown away.
const MOST_OUTPUT: usize = 16 << 10;

fn run_hook(hook: &config::Hook, state_json: &str, default_env: &[String]) -> Result<()> {
    let path = CString::new(hook.path.as_str()).map_err(|_| Error::new("a NUL in the hook's path"))?;
    let argv = if hook.args.is_empty() {
        std::slice::from_ref(&hook.path)
    } else {
        &hook.args[..]
    };
    let args = ExecStrings::new(argv)?;
    let env = ExecStrings::new(if hook.env.is_empty() {
        default_env
    } else {
        &hook.env[..]
    })?;
    let (stdin_rd, stdin_wr) = sys::fs::pipe()?;
    let (out_rd, out_wr) = sys::fs::pipe()?;
    let (err_rd, err_wr) = sys::fs::pipe()?;
    let stdio = [stdin_rd.as_fd(), out_wr.as_fd(), err_wr.as_fd()];
    let (pid, pidfd) = sys::process::spawn(&Spawn {
        path: &path,
        args: &args,
        env: &env,
        fds: &stdio,
        tie: Tie::DiesWithUs,
    })?;
    drop((stdin_rd, out_wr, err_wr));
    let deadline = match hook.timeout {
        Some(seconds) => Deadline::after(Duration::from_secs(seconds.max(0) as u64)),
        None => Deadline::NEVER,
    };
    let mut talk = Talk {
        stdin: Some(stdin_wr),
        input: state_json.as_bytes(),
        outputs: [(Some(out_rd), Vec::new()), (Some(err_rd), Vec::new())],
    };
    let finished = talk.until_exit(pidfd, deadline);
    if let Err(e) = finished {
        sys::process::kill(pid, libc::SIGKILL)?;
        sys::process::wait_pid(pid, Block::Yes)?;
        if e.is(libc::ETIMEDOUT) {
            let seconds = hook.timeout.unwrap_or(0) as f64;
            return Err(Error::new(format!(
                "hook ran past specified timeout of {seconds:.1}s"
            )));
        }
        return Err(e);
    }
    let exit = sys::process::wait_pid(pid, Block::Yes)?.unwrap_or(Exit::Code(0));
    let said = |n: usize| String::from_utf8_lossy(&talk.outputs[n].1).into_owned();
    let status = match exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(c) => format!("exit status {c}"),
        Exit::Signal(s) => format!("signal: {}", signal_word(s)),
    };
    Err(Error::new(format!(
        "{status}, stdout: {}, stderr: {}",
        said(0),
        said(1)
    )))
}

/// Go's words for signals.
fn signal_word(signal: i32) -> String {
    const WORDS: [(i32, &str); 16] = [
        (libc::SIGHUP, "hangup"),
        (libc::SIGINT, "interrupt"),
        (libc::SIGQUIT, "quit"),
        (libc::SIGILL, "illegal instruction"),
        (libc::SIGTRAP, "trace/breakpoint trap"),
        (libc::SIGABRT, "aborted"),
        (libc::SIGBUS, "bus error"),
        (libc::SIGFPE, "floating point exception"),
        (libc::SIGKILL, "killed"),
        (libc::SIGUSR1, "user defined signal 1"),
        (libc::SIGSEGV, "segmentation fault"),
        (libc::SIGUSR2, "user defined signal 2"),
        (libc::SIGPIPE, "broken pipe"),
        (libc::SIGALRM, "alarm clock"),
        (libc::SIGTERM, "terminated"),
        (libc::SIGSYS, "bad system call"),
    ];
    let word = WORDS
        .iter()
        .find(|(n, _)| *n == signal)
        .map(|(_, w)| w.to_string());
    word.unwrap_or_else(|| format!("signal {signal}"))
}

/// Feeds a hook its stdin and reads what it says, until it exits.
struct Talk<'a> {
    stdin: Option<OwnedFd>,
    input: &'a [u8],
    outputs: [(Option<OwnedFd>, Vec<u8>); 2],
}

impl Talk<'_> {
    fn until_exit(&mut self, pidfd: Option<OwnedFd>, deadline: Deadline) -> Result<()> {
        let pidfd = pidfd.ok_or_else(|| Error::new("this kernel gives no pidfd"))?;
        if let Some(fd) = &self.stdin {
            sys::fs::set_nonblocking(fd.as_fd(), true)?;
        }
        loop {
            let mut fds = vec![(pidfd.as_fd(), Interest::Read)];
            for (fd, _) in &self.outputs {
                fds.extend(fd.as_ref().map(|f| (f.as_fd(), Interest::Read)));
            }
            fds.extend(self.stdin.as_ref().map(|f| (f.as_fd(), Interest::Write)));
            let ready = sys::wait::poll(&fds, deadline)?;
            drop(fds);
            self.feed();
            self.listen(ready[0].any())?;
            // A grandchild may hold the pipes open for ever: the hook itself is what we wait for.
            if ready[0].any() {
                return Ok(());
            }
        }
    }

    /// Writes what the pipe takes; a hook that does not read its stdin is no error.
    fn feed(&mut self) {
        let Some(fd) = &self.stdin else { return };
        match sys::fs::write(fd.as_fd(), self.input) {
            Ok(n) if n < self.input.len() => self.input = &self.input[n..],
            Err(e) if e.is(libc::EAGAIN) => {}
            _ => self.stdin = None,
        }
    }

    /// Once the hook has exited: all that is there, but no more than is shown. A grandchild may go on for ever.
    fn listen(&mut self, exited: bool) -> Result<()> {
        let mut buf = [0u8; 4096];
        for (slot, text) in &mut self.outputs {
            while let Some(fd) = slot {
                if exited && text.len() >= MOST_OUTPUT {
                    break;
                }
                let none = Deadline::after(Duration::ZERO);
                if sys::wait::readable(fd.as_fd(), none).is_err() {
                    break;
                }
                match sys::fs::read(fd.as_fd(), &mut buf)? {
                    0 => *slot = None,
                    n => text.extend_from_slice(&buf[..n.min(MOST_OUTPUT.saturating_sub(text.len()))]),
                }
                if !exited {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> config::Hook {
        config::Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(String::from).to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        let script = r#"read s; test "$s" = '{"x":1}' && test -z "$HOME" && test ! -e /proc/self/fd/9"#;
        run_hooks(&[hook(script)], Phase::Prestart, "{\"x\":1}\n", &[]).unwrap();
    }

    #[test]
    fn a_failure_names_phase_number_status_and_output() {
        let e = run_hooks(
            &[hook("exit 0"), hook("echo out; echo err >&2; exit 3")],
            Phase::Poststart,
            "",
            &[],
        )
        .unwrap_err();
        assert_eq!(
            e.to_string(),
            "error running poststart hook #1: exit status 3, stdout: out\n, stderr: err\n"
        );
    }

    #[test]
    fn a_signal_is_told_by_its_word() {
        let e = run_hooks(&[hook("kill -SYS $$")], Phase::Prestart, "", &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "error running prestart hook #0: signal: bad system call, stdout: , stderr: "
        );
    }

    #[test]
    fn a_timeout_kills() {
        let slow = config::Hook {
            timeout: Some(1),
            ..hook("exec sleep 100")
        };
        let e = run_hooks(&[slow], Phase::Prestart, "", &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "error running prestart hook #0: hook ran past specified timeout of 1.0s"
        );
    }

    #[test]
    fn a_large_state_that_is_not_read_does_not_hang() {
        let big = "x".repeat(1 << 20);
        run_hooks(&[hook("exit 0")], Phase::Prestart, &big, &[]).unwrap();
        run_hooks(&[hook("wc -c >/dev/null")], Phase::Prestart, &big, &[]).unwrap();
    }

    #[test]
    fn a_grandchild_that_never_stops_talking_does_not_hang() {
        let endless = || sys::fs::open(std::path::Path::new("/dev/zero"), libc::O_RDONLY, 0).unwrap();
        let mut talk = Talk {
            stdin: None,
            input: b"",
            outputs: [(Some(endless()), Vec::new()), (Some(endless()), Vec::new())],
        };
        talk.listen(true).unwrap();
        assert_eq!(talk.outputs[1].1.len(), MOST_OUTPUT);
        run_hooks(&[hook("yes & yes >&2 &")], Phase::Prestart, "", &[]).unwrap();
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let missing = config::Hook {
            path: "/no/such".into(),
            ..Default::default()
        };
        let e = run_hooks(&[missing], Phase::CreateRuntime, "", &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "error running createRuntime hook #0: exec /no/such: no such file or directory"
        );
    }
}
