//! What a case acts in: a played containerd, bundles, and shims that were started for it.
//!
//! May not: know what a case expects. When a case has ended, nothing that it started lives on.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conformance::kernel;
use conformance::messages::{self as m, Target};
use conformance::patience;
use conformance::ttrpc::{Connection, Failure, Pending};
use prost::Message;
use serde_json::{Value, json};

use crate::caller::{Call, Dialect};
use crate::cases::Case;
use crate::daemon::Daemon;
use crate::{command, leaks};

/// A deadline for what should take no time.
pub fn soon() -> Duration {
    patience::seconds(10)
}

/// What is the same for all cases.
pub struct Lab {
    dir: PathBuf,
    pub shim: PathBuf,
    pub runtime: PathBuf,
    /// Another shim, from which this one takes over or that follows it.
    pub other: Option<PathBuf>,
    /// What the shim says of itself.
    pub version: String,
}

impl Lab {
    pub fn enter(dir: &Path) -> Result<Lab, String> {
        let mut lab = Lab {
            dir: dir.to_owned(),
            shim: PathBuf::new(),
            runtime: PathBuf::new(),
            other: None,
            version: String::new(),
        };
        lab.shim = lab.program("shim")?;
        lab.runtime = lab.program("runtime")?;
        lab.other = lab.program("other").ok();
        lab.make_rootfs()?;
        lab.version = version(&lab.shim)?;
        Ok(lab)
    }

    /// Whether there is a controller for it, in a hierarchy of its own or in the one tree.
    pub fn can_limit_memory(&self) -> bool {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        Path::new("/sys/fs/cgroup/memory").exists() || controllers.split_whitespace().any(|c| c == "memory")
    }

    /// The program of a role.
    pub fn program(&self, role: &str) -> Result<PathBuf, String> {
        let mut entries = fs::read_dir(self.dir.join(role)).map_err(|e| format!("{role}: {e}"))?;
        let entry = entries.next().and_then(Result::ok);
        entry
            .map(|entry| entry.path())
            .ok_or(format!("{role}: it is missing"))
    }

    /// The same place with another shim.
    pub fn with_shim(&self, shim: &Path) -> Result<Lab, String> {
        Ok(Lab {
            dir: self.dir.clone(),
            shim: shim.to_owned(),
            runtime: self.runtime.clone(),
            other: self.other.clone(),
            version: version(shim)?,
        })
    }

    /// A root file system with busybox and nothing else.
    fn make_rootfs(&self) -> Result<(), String> {
        let bin = self.rootfs().join("bin");
        for sub in ["bin", "proc", "dev", "sys", "tmp"] {
            let path = self.rootfs().join(sub);
            fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let places = ["/usr/bin/busybox", "/bin/busybox"].iter().map(Path::new);
        let busybox = places
            .into_iter()
            .find(|path| path.exists())
            .ok_or("busybox is not installed")?;
        fs::copy(busybox, bin.join("busybox")).map_err(|e| format!("busybox: {e}"))?;
        let list = command::run(Command::new(busybox).arg("--list"), "", soon())?.ok()?;
        for name in list.lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(name)).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The shim's program, with surroundings in which what it leaves aside is seen.
    pub fn command(&self, dir: &Path) -> Command {
        surrounded(&self.shim, dir)
    }
}

pub fn surrounded(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("TMPDIR", dir.join("tmp"))
        .env("XDG_RUNTIME_DIR", dir.join("tmp"));
    command
}

/// A shim's name, and what it says of itself.
fn version(shim: &Path) -> Result<String, String> {
    let name = shim
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let said = command::run(Command::new(shim).arg("-v"), "", soon())?.ok()?;
    Ok(format!("{name}: {said}"))
}

/// One performance of one case.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    /// Short, because paths of sockets are.
    pub dir: PathBuf,
    pub daemon: Daemon,
    pub namespace: String,
}

/// Plays a case once and looks for what it left.
pub fn perform(lab: &Lab, case: &Case, verbose: bool) -> Result<(), String> {
    let mut scene = Scene::open(lab)?;
    let before = leaks::survey(&lab.dir);
    let result = (case.act)(&mut scene).and_then(|()| {
        leaks::check(&before, &lab.dir)?;
        scene.check_files()
    });
    let result = result.map_err(|why| {
        if verbose {
            format!("{why}\n{}", scene.evidence())
        } else {
            why
        }
    });
    clean_up(&before, &lab.dir);
    // Its mounts are gone, or it is not removed.
    let removed = fs::remove_dir_all(&scene.dir).map_err(|e| format!("{}: {e}", scene.dir.display()));
    result.and(removed)
}

/// Ends everything in this PID namespace that is not the program itself, and takes its cgroups and mounts along.
fn clean_up(before: &leaks::Survey, dir: &Path) {
    let own = std::process::id();
    let others = || {
        leaks::processes()
            .into_iter()
            .map(|(pid, _)| pid)
            .filter(|pid| *pid != 1 && *pid != own)
    };
    let _ = command::until("all are gone", soon(), || {
        for hierarchy in leaks::hierarchies() {
            // What is frozen in version 1 does not die.
            leaks::directories(&hierarchy, &mut |dir| {
                drop(fs::write(dir.join("freezer.state"), "THAWED"))
            });
        }
        for pid in others() {
            let _ = kernel::kill(pid.cast_signed(), libc::SIGKILL);
        }
        others().next().is_none()
    });
    for socket in sockets() {
        let _ = fs::remove_file(socket);
    }
    let _ = fs::remove_dir_all("/run/containerd/runc");
    let _ = command::until("nothing is left", soon(), || {
        let left = leaks::left(before, dir);
        for line in left.iter().rev() {
            if let Some(path) = line.strip_prefix("cgroup ") {
                let _ = fs::remove_dir(path);
            }
            if let Some(path) = line.strip_prefix("mount ") {
                let _ = kernel::detach(Path::new(path));
            }
        }
        left.is_empty()
    });
}

/// Where shims listen when nothing else is said.
const SOCKETS: &str = "/run/containerd/s";

fn sockets() -> Vec<PathBuf> {
    entries(Path::new(SOCKETS))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).collect()
}

impl<'a> Scene<'a> {
    /// A new directory, and a daemon in it.
    pub fn open(lab: &'a Lab) -> Result<Scene<'a>, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let dir = PathBuf::from(format!("/run/t/{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(dir.join("tmp")).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Scene {
            lab,
            daemon: Daemon::start(&dir.join("c.sock"))?,
            namespace: "played".into(),
            dir,
        })
    }
}

impl Scene<'_> {
    /// Sockets, state of the runtime, temporary files: all gone.
    fn check_files(&self) -> Result<(), String> {
        let mut left = Vec::new();
        let gone = command::until("no file is left", soon(), || {
            left = sockets();
            left.extend(entries(&self.dir.join("runc").join(&self.namespace)));
            left.extend(entries(&self.dir.join("tmp")));
            left.is_empty()
        });
        gone.map_err(|_| format!("left behind: {left:?}"))
    }

    /// What happened, for a report.
    fn evidence(&self) -> String {
        let mut text = String::from("events:\n");
        for event in self.daemon.events() {
            text += &format!("  {} {}\n", event.container, event.short());
        }
        for bundle in entries(&self.dir.join("b").join(&self.namespace)) {
            for name in ["log", "log.json"] {
                let mut bytes = vec![0; 1 << 16];
                let opened = fs::File::options()
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(bundle.join(name));
                let read = opened.and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
                text += &format!(
                    "{name} of {}:\n{}",
                    bundle.display(),
                    String::from_utf8_lossy(&bytes[..read])
                );
            }
        }
        text
    }

    /// The runtime's options, as a user's configuration would name them.
    pub fn options(&self) -> m::RuncOptions {
        m::RuncOptions {
            binary_name: self.lab.runtime.display().to_string(),
            root: self.dir.join("runc").display().to_string(),
            ..Default::default()
        }
    }

    /// A bundle whose process is a script. `edit` changes its configuration.
    pub fn bundle(&self, id: &str, script: &str, edit: impl FnOnce(&mut Value)) -> Result<Bundle, String> {
        let path = self.dir.join("b").join(&self.namespace).join(id);
        let text = |e: std::io::Error| format!("{}: {e}", path.display());
        fs::create_dir_all(&path).map_err(text)?;
        let mut config = configuration(id, script);
        edit(&mut config);
        fs::write(path.join("config.json"), config.to_string()).map_err(text)?;
        kernel::make_fifo(&path.join("log"), 0o700).map_err(text)?;
        // containerd holds the log open; a shim that nobody reads from has to go on all the same.
        let log = fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path.join("log"))
            .map_err(text)?;
        Ok(Bundle {
            id: id.to_owned(),
            path,
            _log: log,
        })
    }

    /// The plain address that a caller of before 2.3 gets.
    pub fn start(&self, bundle: &Bundle) -> Result<String, String> {
        self.start_with(&self.lab.shim, bundle)
    }

    /// The same with another shim.
    pub fn start_with(&self, program: &Path, bundle: &Bundle) -> Result<String, String> {
        let mut call = Call::new(self, &bundle.id, &bundle.path).in_dialect(Dialect::Options);
        call.program = program;
        let answer = call.run("start")?.ok().map_err(|e| format!("start: {e}"))?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// A connection to the shim at `address`.
    pub fn dial(&self, address: &str) -> Result<Task, String> {
        let path = address
            .strip_prefix("unix://")
            .ok_or(format!("{address:?} is no address of a unix socket"))?;
        let connection =
            Connection::dial(Path::new(path), &self.namespace).map_err(|e| format!("{address}: {e}"))?;
        Ok(Task {
            connection: Arc::new(connection),
            service: V2,
            socket: path.into(),
        })
    }

    /// The request for a bundle with its root file system as a mount and without input or output.
    pub fn creation(&self, bundle: &Bundle) -> m::CreateRequest {
        m::CreateRequest {
            id: bundle.id.clone(),
            bundle: bundle.path.display().to_string(),
            rootfs: vec![m::Mount {
                r#type: "bind".into(),
                source: self.lab.rootfs().display().to_string(),
                target: String::new(),
                options: vec!["rbind".into(), "rw".into()],
            }],
            options: Some(m::wrap("containerd.runc.v1.Options", &self.options())),
            ..Default::default()
        }
    }

    /// Starts a shim for a container and creates it there.
    pub fn boot(&self, id: &str, script: &str) -> Result<Container, String> {
        self.boot_with(id, script, |_| {}, |_| {})
    }

    /// The same, with changes to the configuration and to the request.
    pub fn boot_with(
        &self,
        id: &str,
        script: &str,
        edit: impl FnOnce(&mut Value),
        ask: impl FnOnce(&mut m::CreateRequest),
    ) -> Result<Container, String> {
        let bundle = self.bundle(id, script, edit)?;
        let task = self.dial(&self.start(&bundle)?)?;
        self.create(&task, bundle, ask)
    }

    /// Creates another container in a shim that runs.
    pub fn create(
        &self,
        task: &Task,
        bundle: Bundle,
        ask: impl FnOnce(&mut m::CreateRequest),
    ) -> Result<Container, String> {
        let mut request = self.creation(&bundle);
        ask(&mut request);
        let pid = task
            .call::<m::PidResponse>("Create", &request)
            .map_err(|e| format!("Create: {e}"))?
            .pid;
        Ok(Container {
            id: bundle.id.clone(),
            bundle,
            task: task.clone(),
            pid,
        })
    }

    /// The end of a shim whose last container was deleted, as containerd brings it about.
    pub fn shut_down(&self, task: &Task) -> Result<(), String> {
        let pid = task.shim_pid("")?;
        let request = m::ShutdownRequest {
            id: "any".into(),
            now: false,
        };
        match task.call::<m::Empty>("Shutdown", &request) {
            Ok(_) | Err(Failure::Closed) => {}
            Err(e) => return Err(format!("Shutdown: {e}")),
        }
        self.is_gone(task, pid)
    }

    /// Waits until a shim and its socket are gone.
    pub fn is_gone(&self, task: &Task, pid: u32) -> Result<(), String> {
        self.is_gone_within(task, pid, soon())
    }

    pub fn is_gone_within(&self, task: &Task, pid: u32, limit: Duration) -> Result<(), String> {
        command::until("the connection is closed", limit, || task.connection.is_closed())?;
        command::until("the shim is gone", soon(), || !is_alive(pid))?;
        command::until("the socket is gone", soon(), || !task.socket.exists())
    }

    /// A FIFO in the scene's directory.
    pub fn fifo(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.dir.join(name);
        kernel::make_fifo(&path, 0o700).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    leaks::processes().iter().any(|(other, _)| *other == pid)
}

/// A container's directory, as containerd prepares it.
pub struct Bundle {
    pub id: String,
    pub path: PathBuf,
    _log: fs::File,
}

fn configuration(id: &str, script: &str) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
    ];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "hostname": id,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            // What `default` holds is looked at for leaks; the directory itself may stay, as containerd's does.
            "cgroupsPath": format!("/default/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    })
}

/// A process that `Exec` takes.
pub fn process(script: &str) -> Value {
    let mut config = configuration("", script);
    config["process"].take()
}

pub const V2: &str = "containerd.task.v2.Task";
pub const V3: &str = "containerd.task.v3.Task";

/// One connection to a shim, and the name of the service that is spoken to.
#[derive(Clone)]
pub struct Task {
    pub connection: Arc<Connection>,
    pub service: &'static str,
    pub socket: PathBuf,
}

impl Task {
    pub fn call<Answer: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Answer, Failure> {
        self.connection.call(self.service, method, request, soon())
    }

    /// A call that may last.
    pub fn send(&self, method: &str, request: &impl Message) -> Result<Pending, Failure> {
        self.connection
            .send(self.service, method, request.encode_to_vec())
    }

    /// A call that names a container, perhaps an exec, and nothing else.
    pub fn ask<Answer: Message + Default>(
        &self,
        method: &str,
        id: &str,
        exec: &str,
    ) -> Result<Answer, Failure> {
        self.call(method, &target(id, exec))
    }

    /// Who serves. Connect never fails.
    pub fn shim_pid(&self, id: &str) -> Result<u32, String> {
        let answer = self
            .ask::<m::ConnectResponse>("Connect", id, "")
            .map_err(|e| format!("Connect: {e}"))?;
        Ok(answer.shim_pid)
    }
}

pub fn target(id: &str, exec: &str) -> Target {
    Target {
        id: id.to_owned(),
        exec_id: exec.to_owned(),
    }
}

/// A container that was created.
pub struct Container {
    pub id: String,
    pub bundle: Bundle,
    pub task: Task,
    pub pid: u32,
}

impl Container {
    pub fn start(&self) -> Result<(), String> {
        let answer = self
            .task
            .ask::<m::PidResponse>("Start", &self.id, "")
            .map_err(|e| format!("Start: {e}"))?;
        same("the pid that Start answers", &answer.pid, &self.pid)
    }

    pub fn state(&self, exec: &str) -> Result<m::StateResponse, String> {
        self.task
            .ask("State", &self.id, exec)
            .map_err(|e| format!("State: {e}"))
    }

    pub fn kill(&self, exec: &str, signal: i32) -> Result<(), Failure> {
        let request = m::KillRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            signal: signal.cast_unsigned(),
            all: false,
        };
        self.task.call::<m::Empty>("Kill", &request).map(drop)
    }

    /// Waits for the end; the answer is its status.
    pub fn wait(&self, exec: &str) -> Result<u32, String> {
        let answer = self.task.ask::<m::WaitResponse>("Wait", &self.id, exec);
        let answer = answer.map_err(|e| format!("Wait: {e}"))?;
        is_time("exited_at", answer.exited_at.as_ref())?;
        Ok(answer.exit_status)
    }

    pub fn delete(&self, exec: &str) -> Result<m::DeleteResponse, String> {
        self.task
            .ask("Delete", &self.id, exec)
            .map_err(|e| format!("Delete: {e}"))
    }

    /// Registers an exec of a script.
    pub fn exec(
        &self,
        exec: &str,
        script: &str,
        ask: impl FnOnce(&mut m::ExecRequest),
    ) -> Result<(), Failure> {
        let mut request = m::ExecRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            spec: Some(m::wrap_json("Process", &process(script))),
            ..Default::default()
        };
        ask(&mut request);
        self.task.call::<m::Empty>("Exec", &request).map(drop)
    }

    pub fn start_exec(&self, exec: &str) -> Result<u32, Failure> {
        self.task
            .ask::<m::PidResponse>("Start", &self.id, exec)
            .map(|answer| answer.pid)
    }

    /// Kills, deletes and shuts the shim down.
    pub fn finish(&self, scene: &Scene) -> Result<(), String> {
        self.end()?;
        scene.shut_down(&self.task)
    }

    /// Kills and deletes.
    pub fn end(&self) -> Result<(), String> {
        self.kill("", libc::SIGKILL).map_err(|e| format!("Kill: {e}"))?;
        same("the exit status", &self.wait("")?, &137)?;
        same(
            "the status that Delete answers",
            &self.delete("")?.exit_status,
            &137,
        )
    }
}

pub fn same<A, B>(what: &str, value: &A, expected: &B) -> Result<(), String>
where
    A: PartialEq<B> + std::fmt::Debug + ?Sized,
    B: std::fmt::Debug + ?Sized,
{
    if value == expected {
        Ok(())
    } else {
        Err(format!("{what} is {value:?}, expected {expected:?}"))
    }
}

/// The server answers with this code.
pub fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Failure>, code: i32) -> Result<(), String> {
    match answer {
        Err(failure) if failure.code() == Some(code) => Ok(()),
        Err(failure) => Err(format!("{what}: {failure}; expected code {code}")),
        Ok(answer) => Err(format!("{what} answers {answer:?}, expected code {code}")),
    }
}

/// The server answers with some code; what it says.
pub fn fails<T: std::fmt::Debug>(what: &str, answer: Result<T, Failure>) -> Result<String, String> {
    match answer {
        Err(Failure::Status { message, .. }) => Ok(message),
        Err(failure) => Err(format!("{what}: {failure}")),
        Ok(answer) => Err(format!("{what} answers {answer:?}, expected a refusal")),
    }
}

/// A time of these minutes.
pub fn is_time(what: &str, time: Option<&m::Timestamp>) -> Result<(), String> {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |t| t.as_secs().cast_signed());
    match time {
        Some(time) if (now - time.seconds).abs() < 300 => Ok(()),
        other => Err(format!("{what} is {other:?}, now it is {now}")),
    }
}

/// What comes out of a FIFO, from now to its end.
pub struct Reader {
    heard: Arc<Mutex<(Vec<u8>, bool)>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    pub fn of(path: &Path) -> Result<Reader, String> {
        let file = fs::File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        let mut file = file.map_err(|e| format!("{}: {e}", path.display()))?;
        let heard = Arc::new(Mutex::new((Vec::new(), false)));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            // Before the first writer a read would answer 0 as at the end; poll waits for one.
            while !stopped.load(Ordering::Relaxed) {
                let ready = kernel::poll_readable(&[file.as_raw_fd()], Duration::from_millis(100));
                if !ready.is_ok_and(|ready| ready == [true]) {
                    continue;
                }
                let read = file.read(&mut buffer);
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                match read {
                    Ok(0) => {
                        told.1 = true;
                        return;
                    }
                    Ok(length) => told.0.extend(&buffer[..length]),
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Reader {
            heard,
            stop,
            thread: Some(thread),
        })
    }

    fn now(&self) -> (Vec<u8>, bool) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn length(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    /// Whether the last writer has gone.
    pub fn has_ended(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Everything, once the last writer has gone.
    pub fn to_end(&self, limit: Duration) -> Result<String, String> {
        let ended = command::until("the end of the output", limit, || self.has_ended());
        let text = String::from_utf8_lossy(&self.now().0).into_owned();
        ended.map_err(|e| {
            let start: String = text.chars().take(200).collect();
            format!("{e}; it began {start:?}")
        })?;
        Ok(text)
    }

    /// Waits until a text has come.
    pub fn expect(&self, text: &str) -> Result<(), String> {
        let has = || String::from_utf8_lossy(&self.now().0).contains(text);
        command::until(&format!("the output has {text:?}"), soon(), has)
            .map_err(|e| format!("{e}; it is {:?}", String::from_utf8_lossy(&self.now().0)))
    }
}

impl Drop for Reader {
    /// When this is over, nobody takes anything out of the FIFO any more.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens a FIFO for writing once somebody reads it.
pub fn writer(path: &Path) -> Result<fs::File, String> {
    let mut file = None;
    let began = Instant::now();
    command::until("somebody reads the FIFO", soon(), || {
        file = fs::File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .ok();
        file.is_some()
    })?;
    file.ok_or(format!("{}: nobody after {:?}", path.display(), began.elapsed()))
}

/// Writes all of a text.
pub fn write(file: &mut fs::File, text: &str) -> Result<(), String> {
    file.write_all(text.as_bytes())
        .map_err(|e| format!("writing to a FIFO: {e}"))
}
