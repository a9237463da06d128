//! What a case acts on: one bundle, one state root, one runtime. Every wait has a deadline. Knows no case.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::case::{Cond, Fault, Step};
use crate::config::{Place, Setup};
use crate::kernel::{self, BeforeExec};
use crate::leak;
use crate::patience;

/// How many seconds one command of the runtime may take.
pub const COMMAND_DEADLINE: u64 = 20;

/// Why a case stops before its end.
#[derive(Debug)]
pub enum Trouble {
    /// The runtime is wrong, or went somewhere from which nothing more can be judged.
    Fail(String),
    /// This machine or this runtime cannot answer the question.
    Skip(String),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Trouble::Fail(format!("the harness failed: {e}"))
    }
}

impl From<String> for Trouble {
    fn from(s: String) -> Self {
        Trouble::Fail(s)
    }
}

/// The end of a step or a judgement.
pub type Ended = Result<(), Trouble>;

/// One command of the runtime, to be started.
pub struct Call {
    globals: Vec<String>,
    args: Vec<String>,
    stdin: Option<String>,
    before: Vec<BeforeExec>,
    env: Vec<(String, Option<String>)>,
    user: Option<u32>,
    terminal: Option<std::os::fd::OwnedFd>,
    deadline: Duration,
    log: bool,
    root: bool,
    listening: bool,
    dir: Option<PathBuf>,
}

impl Call {
    /// `RUNTIME --root ROOT --log FILE --log-format json ARGS...`
    #[must_use]
    pub fn new(args: &[&str]) -> Self {
        Call {
            globals: Vec::new(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            stdin: None,
            before: Vec::new(),
            env: Vec::new(),
            user: None,
            terminal: None,
            deadline: patience::seconds(COMMAND_DEADLINE),
            log: true,
            root: true,
            listening: false,
            dir: None,
        }
    }

    /// More options before the command.
    #[must_use]
    pub fn global(mut self, options: &[&str]) -> Self {
        self.globals.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    /// Gives this text on stdin instead of /dev/null.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Does this between fork and exec.
    #[must_use]
    pub fn before(mut self, what: BeforeExec) -> Self {
        self.before.push(what);
        self
    }

    /// Sets a variable of the runtime's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Removes a variable of the runtime's environment.
    #[must_use]
    pub fn env_without(mut self, name: &str) -> Self {
        self.env.push((name.to_owned(), None));
        self
    }

    /// Runs the runtime as this user and group, without other groups.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// This terminal is stdin, stdout, stderr and the controlling terminal.
    #[must_use]
    pub fn terminal(mut self, slave: std::os::fd::OwnedFd) -> Self {
        self.terminal = Some(slave);
        self.before.insert(0, BeforeExec::OwnTerminal);
        self
    }

    /// May take so many seconds.
    #[must_use]
    pub fn seconds(mut self, n: u64) -> Self {
        self.deadline = patience::seconds(n);
        self
    }

    /// Has so many sockets from descriptor 3 on, as systemd passes them: LISTEN_PID names the runtime's own process.
    #[must_use]
    pub fn listening(mut self, sockets: u32) -> Self {
        self.listening = true;
        self.env("LISTEN_FDS", &sockets.to_string())
    }

    /// Passes neither `--log` nor `--log-format`.
    #[must_use]
    pub fn without_log(mut self) -> Self {
        self.log = false;
        self
    }

    /// Passes no `--root`.
    #[must_use]
    pub fn without_root(mut self) -> Self {
        self.root = false;
        self
    }

    /// Runs in this working directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }
}

/// A command of the runtime that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// What was asked, without the global options.
    pub asked: String,
    /// Exit status; 128+N here when signal N ended it.
    pub code: i32,
    /// What it (or, for create and run, the container) wrote.
    pub stdout: String,
    /// What it wrote there.
    pub stderr: String,
    /// The records of its log file that parse as JSON objects.
    pub log: Vec<Value>,
    /// The log file as it is.
    pub log_text: String,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// stderr and the `msg` of all log records: where a message for people or programs may be.
    #[must_use]
    pub fn messages(&self) -> String {
        let logged = self
            .log
            .iter()
            .filter_map(|r| r["msg"].as_str())
            .collect::<Vec<_>>()
            .join("\n");
        format!("{}\n{logged}", self.stderr)
    }

    /// stdout, one JSON value a line; what does not parse is left out.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        parse_lines(&self.stdout)
    }

    /// The probe's report on stdout.
    ///
    /// # Errors
    /// There is none.
    pub fn report(&self) -> Result<Value, Trouble> {
        find_report(&self.lines())
            .ok_or_else(|| Trouble::Fail(format!("`{}` gave no report: {}", self.asked, self.brief())))
    }

    fn brief(&self) -> String {
        let end = |s: &str| s.trim().chars().take(600).collect::<String>();
        format!(
            "status {}, stderr: {}, stdout: {}",
            self.code,
            end(&self.stderr),
            end(&self.stdout)
        )
    }
}

/// A command of the runtime under way.
pub struct Running {
    child: Child,
    asked: String,
    files: [PathBuf; 3],
    deadline: Duration,
    since: Instant,
    reap: bool,
    kin: Rc<RefCell<Vec<i32>>>,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(-1)
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_text(&self.files[0])
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Those of kill(2).
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        kernel::kill(self.pid(), signal)
    }

    /// Its end. At the deadline it is killed.
    ///
    /// # Errors
    /// It did not end in time; the text says where it and its children were.
    pub fn wait(mut self) -> Result<Output, Trouble> {
        let fd = kernel::open_pidfd(self.pid())?;
        loop {
            let left = self.deadline.saturating_sub(self.since.elapsed());
            // In slices, because meanwhile the orphans of the container are ours to reap, as they are a shim's.
            let slice = if self.reap {
                left.min(patience::pause())
            } else {
                left
            };
            if kernel::poll_readable(&[fd.as_raw_fd()], slice)? == [true] {
                break;
            }
            if left.is_zero() {
                return self.give_up();
            }
            if self.reap {
                kernel::reap_strangers(&self.kin.borrow());
            }
        }
        let status = self.child.wait()?;
        let log_text = read_text(&self.files[2]);
        Ok(Output {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: read_text(&self.files[0]),
            stderr: read_text(&self.files[1]),
            log: parse_lines(&log_text),
            log_text,
            took: self.since.elapsed(),
            asked: std::mem::take(&mut self.asked),
        })
    }
}

impl Drop for Running {
    /// A command that nobody waited for, because the case has failed meanwhile, does not outlive it.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let own = self.pid();
        self.kin.borrow_mut().retain(|p| *p != own);
    }
}

impl Running {
    fn give_up(mut self) -> Result<Output, Trouble> {
        let place = whereabouts(self.pid());
        self.child.kill()?;
        self.child.wait()?;
        Err(Trouble::Fail(format!(
            "`{}` had not ended after {} s and was killed; it was at: {place}",
            self.asked,
            self.deadline.as_secs()
        )))
    }
}

/// State and kernel function of a process and all below it.
fn whereabouts(pid: i32) -> String {
    let mut all = vec![pid];
    all.extend(leak::descendants(u32::try_from(pid).unwrap_or(0)));
    let one = |pid: &i32| {
        let wchan = read_text(Path::new(&format!("/proc/{pid}/wchan")));
        let syscall = read_text(Path::new(&format!("/proc/{pid}/syscall")));
        format!(
            "{} in {wchan} (syscall {})",
            leak::describe(*pid),
            syscall.split(' ').next().unwrap_or("?").trim()
        )
    };
    all.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn read_text(path: &Path) -> String {
    fs::read(path)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}

fn parse_lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect()
}

/// The text up to its last newline: what follows may still be growing.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..end])
}

fn find_report(lines: &[Value]) -> Option<Value> {
    lines.iter().rev().find_map(|l| l.get("report").cloned())
}

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory of the file system that is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// File system type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub fs_options: Vec<String>,
}

/// Parses one line of mountinfo.
#[must_use]
pub fn parse_mount(line: &str) -> Option<Mount> {
    let fields: Vec<&str> = line.split(' ').collect();
    let dash = fields.iter().position(|f| *f == "-")?;
    let words = |s: &str| s.split(',').map(str::to_owned).collect();
    Some(Mount {
        root: (*fields.get(3)?).to_owned(),
        point: (*fields.get(4)?).to_owned(),
        options: words(fields.get(5)?),
        propagation: fields.get(6..dash)?.iter().map(|s| (*s).to_owned()).collect(),
        kind: (*fields.get(dash + 1)?).to_owned(),
        source: (*fields.get(dash + 2)?).to_owned(),
        fs_options: words(fields.get(dash + 3)?),
    })
}

/// The world of one case.
pub struct World {
    /// Bundle and place.
    pub setup: Setup,
    /// The program that is judged.
    pub runtime: PathBuf,
    /// First word of its version, `runc` say.
    pub runtime_name: String,
    /// Container id.
    pub id: String,
    /// What was found wrong so far.
    pub problems: Vec<String>,
    /// Every command with its end.
    pub transcript: Vec<Output>,
    /// Commands that ran beside others, with their files; they have no place in the transcript.
    beside: Vec<(String, [PathBuf; 3])>,
    calls: usize,
    container_output: Option<PathBuf>,
    mounted: Vec<PathBuf>,
    /// Whether orphans are reaped while a command runs, as whoever adopts them should.
    pub reap: bool,
    kin: Rc<RefCell<Vec<i32>>>,
}

impl World {
    /// A world with an untouched default bundle.
    ///
    /// # Errors
    /// Those of making files.
    pub fn new(place: Place, runtime: &Path, runtime_name: &str) -> io::Result<Self> {
        Ok(World {
            id: place.tag.clone(),
            setup: Setup::new(place)?,
            runtime: runtime.to_owned(),
            runtime_name: runtime_name.to_owned(),
            problems: Vec::new(),
            transcript: Vec::new(),
            beside: Vec::new(),
            calls: 0,
            container_output: None,
            mounted: Vec::new(),
            reap: true,
            kin: Rc::default(),
        })
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.setup.place.dir.join("state")
    }

    /// The bundle as an argument.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.setup.place.bundle().to_string_lossy().into_owned()
    }

    /// A path in the rootfs, from outside.
    #[must_use]
    pub fn in_rootfs(&self, path: &str) -> PathBuf {
        self.setup.place.rootfs().join(path.trim_start_matches('/'))
    }

    /// A path for a file of the harness's own.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.setup.place.dir.join("out").join(name)
    }

    /// Mounts a tmpfs, in the case's own mount namespace, until the case ends.
    ///
    /// # Errors
    /// Those of mkdir and mount.
    pub fn mount_tmpfs(&mut self, at: &Path, flags: libc::c_ulong, data: &str) -> Ended {
        fs::create_dir_all(at)?;
        kernel::mount(Path::new("none"), at, "tmpfs", flags, data)?;
        self.mounted.push(at.to_owned());
        Ok(())
    }

    /// Unmounts what the case itself has mounted.
    pub fn unmount_own(&mut self) {
        for at in self.mounted.drain(..).rev() {
            if let Err(e) = kernel::detach(&at) {
                self.problems
                    .push(format!("the harness failed to unmount {}: {e}", at.display()));
            }
        }
    }

    /// What the commands have written that ran beside others, at most the last ten.
    #[must_use]
    pub fn asides(&self) -> Vec<String> {
        let text = |(asked, files): &(String, [PathBuf; 3])| {
            let of = |i: usize| read_text(&files[i]).trim().chars().take(500).collect::<String>();
            format!(
                "{asked} (beside others)\n  stderr: {}\n  stdout: {}\n  log: {}",
                of(1),
                of(0),
                of(2)
            )
        };
        self.beside.iter().rev().take(10).rev().map(text).collect()
    }

    // Running the runtime.

    /// Starts a command of the runtime.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn(&mut self, call: Call) -> Result<Running, Trouble> {
        self.calls += 1;
        let file = |kind: &str| self.scratch(&format!("{}.{kind}", self.calls));
        let files = [file("out"), file("err"), file("log")];
        let mut command = Command::new(if call.listening {
            Path::new("/bin/sh")
        } else {
            &self.runtime
        });
        if call.listening {
            // Nobody knows the pid before the fork but the shell that becomes the runtime.
            command
                .args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"])
                .arg(&self.runtime);
        }
        if call.root {
            command.arg("--root").arg(self.root());
        }
        if call.log {
            command.arg("--log").arg(&files[2]).args(["--log-format", "json"]);
        }
        command.args(&call.globals).args(&call.args);
        command.env("TMPDIR", self.setup.place.dir.join("tmp"));
        for stale in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(stale);
        }
        for (name, value) in &call.env {
            match value {
                Some(v) => command.env(name, v),
                None => command.env_remove(name),
            };
        }
        if let Some(id) = call.user {
            command.uid(id).gid(id);
        }
        if let Some(dir) = &call.dir {
            command.current_dir(dir);
        }
        self.connect(&mut command, &call, &files)?;
        kernel::before_exec(&mut command, call.before);
        let child = command
            .spawn()
            .map_err(|e| Trouble::Fail(format!("cannot start {}: {e}", self.runtime.display())))?;
        self.beside.push((call.args.join(" "), files.clone()));
        // Every child that somebody will wait for; of others only the pid is known, once they have ended.
        self.kin
            .borrow_mut()
            .push(i32::try_from(child.id()).unwrap_or(-1));
        Ok(Running {
            child,
            asked: call.args.join(" "),
            files,
            deadline: call.deadline,
            since: Instant::now(),
            reap: self.reap,
            kin: Rc::clone(&self.kin),
        })
    }

    fn connect(&self, command: &mut Command, call: &Call, files: &[PathBuf; 3]) -> io::Result<()> {
        if let Some(slave) = &call.terminal {
            command
                .stdin(slave.try_clone()?)
                .stdout(slave.try_clone()?)
                .stderr(slave.try_clone()?);
            return Ok(());
        }
        match &call.stdin {
            None => command.stdin(Stdio::null()),
            Some(text) => {
                let path = files[0].with_extension("in");
                fs::write(&path, text)?;
                command.stdin(File::open(path)?)
            }
        };
        command
            .stdout(File::create(&files[0])?)
            .stderr(File::create(&files[1])?);
        Ok(())
    }

    /// Runs a command of the runtime to its end, whatever that is.
    ///
    /// # Errors
    /// It could not be started or did not end in time.
    pub fn call(&mut self, call: Call) -> Result<Output, Trouble> {
        let running = self.spawn(call)?;
        let output = running.wait()?;
        self.beside.pop();
        self.transcript.push(output.clone());
        Ok(output)
    }

    /// Runs a command that has to succeed.
    ///
    /// # Errors
    /// As [`World::call`], or it failed.
    pub fn succeed(&mut self, args: &[&str]) -> Result<Output, Trouble> {
        let output = self.call(Call::new(args))?;
        require(&output)?;
        Ok(output)
    }

    /// Runs a command that has to fail.
    ///
    /// # Errors
    /// As [`World::call`], or it succeeded.
    pub fn refuse(&mut self, args: &[&str]) -> Result<Output, Trouble> {
        let output = self.call(Call::new(args))?;
        if output.ok() {
            return Err(Trouble::Fail(format!(
                "`{}` succeeded, which it must not",
                output.asked
            )));
        }
        Ok(output)
    }

    /// `create` or `run` in the case's bundle, whatever the end.
    ///
    /// # Errors
    /// As [`World::call`].
    pub fn launch(&mut self, verb: &str, flags: &[&str]) -> Result<Output, Trouble> {
        let call = self.launching(verb, flags)?;
        self.call(call)
    }

    /// The call behind [`World::launch`]; writes config.json.
    ///
    /// # Errors
    /// Those of writing it.
    pub fn launching(&mut self, verb: &str, flags: &[&str]) -> Result<Call, Trouble> {
        self.setup.store()?;
        let bundle = self.bundle();
        let id = self.id.clone();
        let mut args = vec![verb, "--bundle", &bundle];
        args.extend(flags);
        args.push(&id);
        self.container_output = Some(self.scratch(&format!("{}.out", self.calls + 1)));
        Ok(Call::new(&args))
    }

    /// `exec FLAGS ID COMMAND`, whatever the end.
    ///
    /// # Errors
    /// As [`World::call`].
    pub fn exec(&mut self, flags: &[&str], command: &[&str]) -> Result<Output, Trouble> {
        let id = self.id.clone();
        let mut args = vec!["exec"];
        args.extend(flags);
        args.push(&id);
        args.extend(command);
        self.call(Call::new(&args))
    }

    /// `exec FLAGS ID /probe report`: its report.
    ///
    /// # Errors
    /// As [`World::call`], or there is none.
    pub fn exec_report(&mut self, flags: &[&str]) -> Result<Value, Trouble> {
        self.exec(flags, &["/probe", "report"])?.report()
    }

    // Looking.

    /// The parsed output of `state`.
    ///
    /// # Errors
    /// `state` failed or wrote no JSON.
    pub fn state(&mut self) -> Result<Value, Trouble> {
        let id = self.id.clone();
        let out = self.succeed(&["state", &id])?;
        serde_json::from_str(&out.stdout)
            .map_err(|e| Trouble::Fail(format!("`state` wrote no JSON ({e}): {}", out.stdout)))
    }

    /// The status that `state` says.
    ///
    /// # Errors
    /// As [`World::state`].
    pub fn status(&mut self) -> Result<String, Trouble> {
        Ok(self.state()?["status"].as_str().unwrap_or("?").to_owned())
    }

    /// The init's process id.
    ///
    /// # Errors
    /// As [`World::state`]; or it says none.
    pub fn pid(&mut self) -> Result<i32, Trouble> {
        let state = self.state()?;
        match state["pid"].as_i64().and_then(|p| i32::try_from(p).ok()) {
            Some(p) if p > 0 => Ok(p),
            _ => Err(Trouble::Fail(format!("`state` says no pid: {state}"))),
        }
    }

    /// What the container has written.
    #[must_use]
    pub fn said(&self) -> String {
        self.container_output
            .as_deref()
            .map(read_text)
            .unwrap_or_default()
    }

    /// What the container has written, one JSON value a line.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        parse_lines(&self.said())
    }

    /// The container's report.
    ///
    /// # Errors
    /// There is none.
    pub fn report(&self) -> Result<Value, Trouble> {
        find_report(&self.lines()).ok_or_else(|| {
            Trouble::Fail(format!(
                "the container reported nothing; it wrote: {}",
                self.said()
            ))
        })
    }

    /// What came of the verb whose words begin like this.
    ///
    /// # Errors
    /// It was not done.
    pub fn did(&self, words: &[&str]) -> Result<Value, Trouble> {
        find_done(&self.lines(), words).ok_or_else(|| {
            Trouble::Fail(format!(
                "the probe did not do {words:?}; it wrote: {}",
                self.said()
            ))
        })
    }

    /// The mounts that the container's report shows.
    ///
    /// # Errors
    /// There is no report.
    pub fn mounts(&self) -> Result<Vec<Mount>, Trouble> {
        Ok(mounts_of(&self.report()?))
    }

    /// The topmost mount at `point` in the container's report.
    ///
    /// # Errors
    /// Nothing is mounted there.
    pub fn mount_at(&self, point: &str) -> Result<Mount, Trouble> {
        self.mounts()?
            .into_iter()
            .rev()
            .find(|m| m.point == point)
            .ok_or_else(|| Trouble::Fail(format!("nothing is mounted at {point}")))
    }

    /// The container's cgroup directory in the hierarchy of `controller` (`""` is v2), from init's own cgroup file.
    ///
    /// # Errors
    /// The container has no init or no such hierarchy.
    pub fn cgroup(&mut self, controller: &str) -> Result<PathBuf, Trouble> {
        let pid = self.pid()?;
        let text = read_text(Path::new(&format!("/proc/{pid}/cgroup")));
        parse_cgroup(&text, controller)
            .ok_or_else(|| Trouble::Fail(format!("init is in no cgroup of {controller}: {text}")))
    }

    /// A trimmed file of the container's cgroup.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn cgroup_file(&mut self, controller: &str, file: &str) -> Result<String, Trouble> {
        let path = self.cgroup(controller)?.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(e) => Err(Trouble::Fail(format!("cannot read {}: {e}", path.display()))),
        }
    }

    /// Tries `look` until it finds something.
    ///
    /// # Errors
    /// It did not within so many seconds; the text says for `what` was waited.
    pub fn until<T>(
        &mut self,
        seconds: u64,
        what: &str,
        mut look: impl FnMut(&mut World) -> Option<T>,
    ) -> Result<T, Trouble> {
        let end = Instant::now() + patience::seconds(seconds);
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if Instant::now() >= end {
                return Err(Trouble::Fail(format!(
                    "waited {seconds} s for {what} in vain; the container wrote: {}",
                    self.said()
                )));
            }
            std::thread::sleep(patience::pause());
        }
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// It did not come true in time.
    pub fn wait(&mut self, cond: Cond, seconds: u64) -> Ended {
        match cond {
            Cond::Status(s) => {
                let mark = self.transcript.len();
                let done = self.until(seconds, &format!("status {s}"), |w| {
                    // A container that ends becomes a zombie of ours; nobody else reaps it.
                    w.reap_orphans();
                    w.status().is_ok_and(|now| now == s).then_some(())
                });
                let keep = self.transcript.len().saturating_sub(1).max(mark);
                self.transcript.drain(mark..keep);
                done
            }
            Cond::Said(text) => self.until(seconds, &format!("the container to write {text:?}"), |w| {
                whole_lines(&w.said()).contains(text).then_some(())
            }),
        }
    }

    /// Reaps what the container has left to us and what has ended.
    pub fn reap_orphans(&self) {
        kernel::reap_strangers(&self.kin.borrow());
    }

    // Judging.

    /// A problem unless `met`.
    pub fn is(&mut self, met: bool, sentence: impl Into<String>) {
        if !met {
            self.problems.push(sentence.into());
        }
    }

    /// A problem unless both are the same JSON.
    pub fn eq(&mut self, what: &str, got: impl Serialize, want: impl Serialize) {
        let value = |v: Result<Value, serde_json::Error>| v.unwrap_or(Value::Null);
        let (got, want) = (
            value(serde_json::to_value(got)),
            value(serde_json::to_value(want)),
        );
        self.is(got == want, format!("{what} is {got}, not {want}"));
    }

    /// A problem unless the container's report has `want` at this JSON pointer.
    ///
    /// # Errors
    /// There is no report.
    pub fn fact(&mut self, pointer: &str, want: impl Serialize) -> Ended {
        let report = self.report()?;
        self.eq(pointer, report.pointer(pointer).unwrap_or(&Value::Null), want);
        Ok(())
    }

    /// A problem unless the verb of the probe ended with this errno.
    ///
    /// # Errors
    /// It was not done.
    pub fn errno(&mut self, words: &[&str], want: i32) -> Ended {
        let got = self.did(words)?;
        self.eq(&format!("errno of {words:?}"), &got["errno"], want);
        Ok(())
    }

    /// A problem unless `text` contains every one of `parts`.
    pub fn contains(&mut self, what: &str, text: &str, parts: &[&str]) {
        for part in parts {
            self.is(
                text.contains(part),
                format!("{what} lacks {part:?}: {}", text.trim()),
            );
        }
    }

    /// A problem unless stderr or log has every one of `parts`, in whatever case: those who read messages fold it.
    pub fn mentions(&mut self, out: &Output, parts: &[&str]) {
        let text = out.messages();
        let folded = text.to_lowercase();
        for part in parts {
            let met = folded.contains(&part.to_lowercase());
            self.is(
                met,
                format!("the message of `{}` lacks {part:?}: {}", out.asked, text.trim()),
            );
        }
    }

    /// A problem unless stderr or log has one of `parts`.
    pub fn mentions_one(&mut self, out: &Output, parts: &[&str]) {
        let text = out.messages();
        let folded = text.to_lowercase();
        let met = parts.iter().any(|p| folded.contains(&p.to_lowercase()));
        self.is(
            met,
            format!(
                "the message of `{}` has none of {parts:?}: {}",
                out.asked,
                text.trim()
            ),
        );
    }

    /// A problem for each thing that a failed create should not have made.
    pub fn nothing_made(&mut self) {
        let left: Vec<String> = fs::read_dir(self.root())
            .map(|d| {
                d.flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        let id = self.id.clone();
        self.is(
            !left.contains(&id),
            format!("the failed command left {left:?} in the state root"),
        );
    }

    // Steps.

    /// Does one step.
    ///
    /// # Errors
    /// It did not go as expected.
    pub fn step(&mut self, step: &Step) -> Ended {
        match step {
            Step::Do(f) => f(self),
            Step::Wait(cond, seconds) => self.wait(*cond, *seconds),
            Step::Inject(Fault::KillInit) => {
                let pid = self.pid()?;
                Ok(kernel::kill(pid, libc::SIGKILL)?)
            }
            Step::Exits(inner, code) => {
                let out = self.command(inner)?;
                self.eq(&format!("the exit status of `{}`", out.asked), out.code, code);
                Ok(())
            }
            Step::Fails(inner, texts) => {
                let out = self.command(inner)?;
                self.judge_failure(inner, &out, texts);
                Ok(())
            }
            command => require(&self.command(command)?),
        }
    }

    fn judge_failure(&mut self, step: &Step, out: &Output, texts: &[&str]) {
        self.is(!out.ok(), format!("`{}` succeeded, which it must not", out.asked));
        if out.ok() {
            return;
        }
        self.mentions(out, texts);
        self.is(
            !out.stderr.trim().is_empty(),
            format!("`{}` failed and wrote nothing to stderr", out.asked),
        );
        if matches!(
            step,
            Step::Create | Step::CreateWith(_) | Step::Run | Step::RunWith(_)
        ) {
            self.nothing_made();
        }
    }

    fn command(&mut self, step: &Step) -> Result<Output, Trouble> {
        let id = self.id.clone();
        match step {
            Step::Create => self.launch("create", &[]),
            Step::CreateWith(flags) => self.launch("create", flags),
            Step::Run => self.launch("run", &[]),
            Step::RunWith(flags) => self.launch("run", flags),
            Step::Start => self.call(Call::new(&["start", &id])),
            Step::Kill(signal) => self.call(Call::new(&["kill", &id, signal])),
            Step::Exec(flags, command) => self.exec(flags, command),
            Step::Delete => self.call(Call::new(&["delete", &id])),
            Step::DeleteForce => self.call(Call::new(&["delete", "--force", &id])),
            Step::Pause => self.call(Call::new(&["pause", &id])),
            Step::Resume => self.call(Call::new(&["resume", &id])),
            Step::Update(flags) => {
                let mut args = vec!["update"];
                args.extend(*flags);
                args.push(&id);
                self.call(Call::new(&args))
            }
            Step::Do(_) | Step::Wait(..) | Step::Inject(_) | Step::Exits(..) | Step::Fails(..) => {
                Err(Trouble::Fail("this step is no command".into()))
            }
        }
    }
}

/// A failed command ends the case.
///
/// # Errors
/// The command failed.
pub fn require(out: &Output) -> Ended {
    if out.ok() {
        Ok(())
    } else {
        Err(Trouble::Fail(format!("`{}` failed: {}", out.asked, out.brief())))
    }
}

/// The mounts that a report shows.
#[must_use]
pub fn mounts_of(report: &Value) -> Vec<Mount> {
    let lines = report["mountinfo"].as_array().cloned().unwrap_or_default();
    lines
        .iter()
        .filter_map(Value::as_str)
        .filter_map(parse_mount)
        .collect()
}

/// What came of the verb whose words begin like this, among the probe's lines.
#[must_use]
pub fn find_done(lines: &[Value], words: &[&str]) -> Option<Value> {
    lines
        .iter()
        .find(|l| {
            l["did"]
                .as_array()
                .is_some_and(|d| d.len() >= words.len() && d.iter().zip(words).all(|(a, b)| a == b))
        })
        .cloned()
}

fn parse_cgroup(text: &str, controller: &str) -> Option<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let (hierarchy, path) = text.lines().find_map(|l| {
        let mut parts = l.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        names.split(',').any(|n| n == controller).then_some((names, path))
    })?;
    let path = path.trim_start_matches('/');
    if controller.is_empty() {
        let v2 = if base.join("cgroup.controllers").exists() {
            base.to_owned()
        } else {
            base.join("unified")
        };
        return Some(v2.join(path));
    }
    let by_name = base.join(controller);
    let hierarchy_dir = if by_name.exists() {
        by_name
    } else {
        base.join(hierarchy)
    };
    Some(hierarchy_dir.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_parse_with_and_without_optional_fields() {
        let m = parse_mount("36 35 98:0 /a /b rw,nosuid shared:1 master:2 - tmpfs src rw,size=4k").unwrap();
        assert_eq!(
            (m.root.as_str(), m.point.as_str(), m.kind.as_str()),
            ("/a", "/b", "tmpfs")
        );
        assert_eq!(m.propagation, ["shared:1", "master:2"]);
        assert_eq!(m.fs_options, ["rw", "size=4k"]);
        assert!(
            parse_mount("36 35 98:0 / /p rw - proc p rw")
                .unwrap()
                .propagation
                .is_empty()
        );
        assert!(parse_mount("nonsense").is_none());
    }

    #[test]
    fn a_cgroup_is_found_by_controller() {
        let text = "9:name=systemd:/x\n5:cpu,cpuacct:/cf/a\n0::/b\n";
        assert_eq!(parse_cgroup(text, "cpuacct").unwrap().file_name().unwrap(), "a");
        assert_eq!(parse_cgroup(text, "").unwrap().file_name().unwrap(), "b");
        assert!(parse_cgroup(text, "memory").is_none());
    }

    #[test]
    fn done_verbs_are_found_by_their_first_words() {
        let lines =
            parse_lines("{\"did\":[\"open\",\"r\",\"/x\"],\"errno\":2}\nnoise\n{\"report\":{\"pid\":1}}");
        assert_eq!(find_done(&lines, &["open", "r", "/x"]).unwrap()["errno"], 2);
        assert!(find_done(&lines, &["open", "w"]).is_none());
        assert_eq!(find_report(&lines).unwrap()["pid"], 1);
    }
}
