//! A container from its creation to its deletion: one init, any number of execs, and what may be done when.
//!
//! May not: know who asks. What happens is told to a [`Sink`] as it happens, in the order that its listeners count on:
//! created before started before exited before deleted, and the exits of execs before that of the init.
//!
//! Nobody waits here for a container that hangs but who asked for it: state and pid are answered from what is known, and a signal
//! takes no turn behind another call.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::cgroup::Cgroup;
use crate::children::{Child, Exited, Flight};
use crate::error::{Context, Error, Kind, Result};
use crate::metrics::{self, Metrics, Network};
use crate::mount::{Mount, mount_all, unmount_all};
use crate::oom::OomWatch;
use crate::reactor::{Either, Reactor, Source, either};
use crate::runtime::{Checkpoint, Create, Exec, Host, Runtime, Stdio};
use crate::stdio::console::Socket;
use crate::stdio::{self, Owner, Prepared, Streams, Wanted};
use crate::sync::{Count, Held, Lock, Once};

/// How long a deletion waits for output that is still being written, and for exits that must come before others.
const LAST_OUTPUT: Duration = Duration::from_secs(10);

/// How long the parent of a process that is not our child may take to wait for it, and how often we look.
const REAPED: Duration = Duration::from_secs(1);
const REAPED_LOOK: Duration = Duration::from_millis(5);

/// The exit code of one whose end is not known.
const UNKNOWN: u32 = 255;

/// The init's part in the names of files.
const INIT: &str = "init";

/// Something that happened to a container.
#[derive(Debug, Clone)]
pub enum Happened {
    /// The init is there and waits to be started.
    Created {
        /// Its pid; 0 for one that is restored at its start.
        pid: u32,
    },
    /// The init runs the user's program.
    Started {
        /// Its pid.
        pid: u32,
    },
    /// A process was announced.
    ExecAdded {
        /// Its name.
        exec: String,
    },
    /// It runs.
    ExecStarted {
        /// Its name.
        exec: String,
        /// Its pid.
        pid: u32,
    },
    /// A process has ended.
    Exited {
        /// Its name, empty for the init.
        exec: String,
        /// Its pid.
        pid: u32,
        /// How.
        exited: Exited,
    },
    /// The container is gone.
    Deleted {
        /// The init's pid.
        pid: u32,
        /// How the init ended.
        exited: Option<Exited>,
    },
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// The kernel has killed one of its processes for its memory.
    OutOfMemory,
}

/// Who is told.
pub type Sink = Rc<dyn Fn(Happened)>;

/// What a container is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub id: String,
    /// Namespace of the client, for loggers.
    pub namespace: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Who makes it.
    pub runtime: Runtime,
    /// Owner of its streams.
    pub io_uid: u32,
    /// Their group.
    pub io_gid: u32,
    /// MS_MOVE instead of pivot_root.
    pub no_pivot: bool,
    /// No session keyring of its own.
    pub no_new_keyring: bool,
    /// The root filesystem is mounted by the caller, who also unmounts it: it stays for the next container.
    pub keep_rootfs: bool,
    /// What it is restored from.
    pub checkpoint: Option<PathBuf>,
    /// Where CRIU works; `None`: in the bundle.
    pub criu_work: Option<PathBuf>,
}

/// State of a process as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Has ended.
    Stopped,
    /// Stands still.
    Paused,
    /// Is being stopped in its tracks.
    Pausing,
}

/// What is known of a process.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name, empty for the init.
    pub exec: String,
    /// 0 before there is one.
    pub pid: u32,
    /// Its state.
    pub status: Status,
    /// Its streams.
    pub wanted: Wanted,
    /// How it ended.
    pub exited: Option<Exited>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Deleted,
}

/// The init or another process.
#[derive(Debug)]
struct Process {
    name: String,
    wanted: Wanted,
    /// JSON of an exec.
    spec: Vec<u8>,
    pid: Cell<u32>,
    child: RefCell<Option<Child>>,
    streams: RefCell<Option<Rc<Streams>>>,
    /// The client has ended its input; it may do so before the process is there.
    input_over: Cell<bool>,
    phase: Cell<Phase>,
    /// Set when its end may be known: after that of all that must end before it.
    ended: Once<Exited>,
    turns: Rc<Lock>,
}

impl Process {
    fn new(name: &str, wanted: Wanted, spec: Vec<u8>) -> Rc<Process> {
        Rc::new(Process {
            name: name.into(),
            wanted,
            spec,
            pid: Cell::new(0),
            child: RefCell::new(None),
            streams: RefCell::new(None),
            input_over: Cell::new(false),
            phase: Cell::new(Phase::Created),
            ended: Once::default(),
            turns: Rc::default(),
        })
    }

    fn child(&self) -> Option<Child> {
        self.child.borrow().clone()
    }

    fn settle(&self, child: Child, streams: Rc<Streams>) {
        self.pid.set(child.pid as u32);
        self.child.replace(Some(child));
        self.streams.replace(Some(streams));
    }

    fn end_input(&self) {
        if let Some(streams) = self.streams.borrow().as_ref()
            && self.input_over.get()
        {
            streams.close_stdin();
        }
    }

    async fn close_streams(&self, on: &Host) {
        let streams = self.streams.borrow().clone();
        if let Some(streams) = streams {
            streams.close(on, LAST_OUTPUT).await;
        }
    }
}

/// A container.
pub struct Container {
    on: Host,
    settings: Settings,
    sink: Sink,
    init: Rc<Process>,
    execs: RefCell<BTreeMap<String, Rc<Process>>>,
    /// Execs whose exit has not been told.
    running: Rc<Count>,
    /// Starts of the init that have not been told.
    starting: Rc<Count>,
    /// The init was reaped: nothing starts in here any more.
    over: Cell<bool>,
    paused: Cell<Option<Status>>,
    private_pids: bool,
    /// The runtime has something under its name.
    made: Cell<bool>,
    /// Set when the init's end has been told.
    gone: Rc<Once<()>>,
    watch: RefCell<Option<Watched>>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Container({})", self.settings.id)
    }
}

/// The cgroup, and who watches its memory.
struct Watched {
    cgroup: Rc<Cgroup>,
    oom: Option<Rc<RefCell<OomWatch>>>,
}

impl Container {
    /// Mounts the root filesystem and makes the container; with a checkpoint, only announces it.
    ///
    /// # Errors
    /// What failed is undone.
    pub async fn create(
        on: &Host,
        settings: Settings,
        wanted: Wanted,
        rootfs: Vec<Mount>,
        sink: Sink,
        limit: Option<Instant>,
    ) -> Result<Rc<Container>> {
        let container = Container::new(on, settings, wanted, sink);
        let made = container.mount_and_make(rootfs, limit).await;
        if let Err(e) = made {
            return Err(container.undo_create(e).await);
        }
        Ok(container)
    }

    /// Takes over a container that runs, and whose supervisor is gone: `init` is a descriptor of its init, which is not our child. Its
    /// exit code is 255 where the kernel does not tell it. Its streams are the caller's.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn adopt(
        on: &Host,
        settings: Settings,
        (pid, init): (i32, OwnedFd),
        paused: bool,
        sink: Sink,
    ) -> Result<Rc<Container>> {
        let container = Container::new(on, settings, Wanted::default(), sink);
        let child = Child {
            pid,
            exit: Rc::default(),
        };
        let (exit, init, reactor) = (
            Rc::clone(&child.exit),
            on.reactor.watch(init)?,
            on.reactor.clone(),
        );
        on.reactor.spawn(async move {
            // A descriptor that cannot be waited for is as good as a process that has ended.
            let _ = init.readable().await;
            let at = SystemTime::now();
            let code = exit_of_stranger(&reactor, pid, &init).await;
            exit.set(Exited { code, at });
        });
        container.init.pid.set(pid as u32);
        container.init.child.replace(Some(child));
        container.init.phase.set(Phase::Running);
        container.made.set(true);
        container.paused.set(paused.then_some(Status::Paused));
        container.watch_cgroup();
        container.watch_init();
        Ok(container)
    }

    fn new(on: &Host, settings: Settings, wanted: Wanted, sink: Sink) -> Rc<Container> {
        Rc::new(Container {
            on: on.clone(),
            private_pids: has_private_pids(&settings.bundle),
            settings,
            sink,
            init: Process::new("", wanted, Vec::new()),
            execs: RefCell::default(),
            running: Rc::default(),
            starting: Rc::default(),
            over: Cell::new(false),
            paused: Cell::new(None),
            made: Cell::new(false),
            gone: Rc::default(),
            watch: RefCell::new(None),
        })
    }

    async fn mount_and_make(self: &Rc<Self>, rootfs: Vec<Mount>, limit: Option<Instant>) -> Result<()> {
        if !rootfs.is_empty() {
            let path = self.rootfs();
            make_rootfs(&path)?;
            let mount = move || mount_all(&rootfs, &path).map_err(|e| e.to_string());
            let mounted = self.on.children.fork(&self.on.reactor, limit, mount).await;
            mounted.context("failed to mount rootfs component")?;
        }
        if self.settings.checkpoint.is_none() {
            self.make_init(limit).await?;
        }
        let pid = self.init.pid.get();
        (self.sink)(Happened::Created { pid });
        self.watch_init();
        Ok(())
    }

    /// After a failure: nothing of it stays.
    async fn undo_create(&self, first: Error) -> Error {
        self.over.set(true);
        let (id, on) = (&self.settings.id, &self.on);
        let limit = Some(Instant::now() + LAST_OUTPUT);
        // A runtime that refused has undone its own work, and what has the name may be another's.
        let deleted = match self.made.get() {
            true => self.settings.runtime.delete(on, id, true, limit).await,
            false => Ok(()),
        };
        self.init.close_streams(on).await;
        let unmounted = self.unmount(limit).await;
        let mut error = first;
        for (what, done) in [("delete", deleted), ("unmount", unmounted)] {
            if let Err(e) = done {
                error = Error::of(error.kind(), format!("{error} (and then: {what}: {e})"));
            }
        }
        error
    }

    async fn make_init(self: &Rc<Self>, limit: Option<Instant>) -> Result<()> {
        let s = &self.settings;
        let flight = self.on.children.flight();
        let (prepared, socket) = self.prepare(&self.init).await?;
        let pid_file = s.bundle.join(format!("{INIT}.pid"));
        let create = Create {
            id: &s.id,
            bundle: &s.bundle,
            pid_file: &pid_file,
            console_socket: socket.as_ref().map(Socket::path),
            no_pivot: s.no_pivot,
            no_new_keyring: s.no_new_keyring,
        };
        let stdio = stdio_of(&prepared);
        let made = match &s.checkpoint {
            None => s.runtime.create(&self.on, &create, stdio, limit).await,
            Some(image) => {
                let work = self.criu_work();
                s.runtime
                    .restore(&self.on, &create, image, &work, stdio, limit)
                    .await
            }
        };
        // One that was killed for its time may have come to the end.
        let killed = |e: &Error| e.kind() == Kind::DeadlineExceeded;
        self.made.set(made.as_ref().err().is_none_or(killed));
        made?;
        self.take_over(&self.init, prepared, socket, &pid_file, &flight)
            .await?;
        self.watch_cgroup();
        Ok(())
    }

    async fn prepare(&self, process: &Process) -> Result<(Prepared, Option<Socket>)> {
        let prepared = stdio::prepare(&self.on, &process.wanted, &self.owner(process)).await;
        let prepared = prepared.context("failed to create init process I/O")?;
        let socket = match process.wanted.terminal {
            true => Some(Socket::new().context("failed to create OCI runtime console socket")?),
            false => None,
        };
        Ok((prepared, socket))
    }

    fn owner(&self, process: &Process) -> Owner {
        let id = match process.name.as_str() {
            "" => &self.settings.id,
            exec => exec,
        };
        Owner {
            uid: self.settings.io_uid,
            gid: self.settings.io_gid,
            id: id.to_owned(),
            namespace: self.settings.namespace.clone(),
        }
    }

    /// The runtime has made a process and gone: its pid, its streams, its terminal are ours now.
    async fn take_over(
        &self,
        process: &Rc<Process>,
        prepared: Prepared,
        socket: Option<Socket>,
        pid_file: &Path,
        flight: &Flight,
    ) -> Result<()> {
        let pid = read_pid(pid_file)?;
        let child = self.on.children.adopt(pid, flight)?;
        let streams = prepared.begin(&self.on)?;
        process.settle(child, Rc::clone(&streams));
        if let Some(socket) = socket {
            let master = socket.receive(&self.on.reactor).await?;
            let owner = self.owner(process);
            let copied = streams
                .begin_console(&self.on, master, &process.wanted, &owner)
                .await;
            copied.context("failed to start console copy")?;
        }
        process.end_input();
        Ok(())
    }

    fn watch_cgroup(self: &Rc<Self>) {
        // A runtime may have made none, or may have lost it to an init that is dead already.
        let Ok(cgroup) = Cgroup::of(self.init.pid.get() as i32, &mut self.on.cgroups.borrow_mut()) else {
            return;
        };
        let oom = match OomWatch::begin(&cgroup) {
            Ok(Some(watch)) => Some(Rc::new(RefCell::new(watch))),
            // Without it the container runs all the same; only the reason of its death may stay unknown.
            Ok(None) | Err(_) => None,
        };
        if let Some(watch) = &oom {
            self.watch_memory(watch);
        }
        self.watch.replace(Some(Watched {
            cgroup: Rc::new(cgroup),
            oom,
        }));
    }

    fn watch_memory(self: &Rc<Self>, watch: &Rc<RefCell<OomWatch>>) {
        let copy = watch.borrow().as_fd().try_clone_to_owned();
        let Some(news) = copy.ok().and_then(|fd| self.on.reactor.watch(fd).ok()) else {
            return;
        };
        let (watch, container) = (Rc::downgrade(watch), Rc::downgrade(self));
        let gone = Rc::clone(&self.gone);
        self.on.reactor.spawn(async move {
            loop {
                let (readable, gone) = (pin!(news.readable()), pin!(gone.wait()));
                if !matches!(either(readable, gone).await, Either::Left(Ok(()))) {
                    return;
                }
                let (Some(watch), Some(container)) = (watch.upgrade(), container.upgrade()) else {
                    return;
                };
                container.tell_memory(&watch);
            }
        });
    }

    fn tell_memory(&self, watch: &RefCell<OomWatch>) {
        if watch.borrow_mut().take() {
            (self.sink)(Happened::OutOfMemory);
        }
    }

    /// Tells the end of the init, after those of all that ends with it.
    fn watch_init(self: &Rc<Self>) {
        let Some(child) = self.init.child() else { return };
        let container = Rc::clone(self);
        self.on.reactor.spawn(async move {
            let exited = child.exit.wait().await;
            container.end_of_init(exited).await;
        });
    }

    async fn end_of_init(&self, exited: Exited) {
        self.over.set(true);
        if let Some(streams) = self.init.streams.borrow().as_ref() {
            streams.process_ended();
        }
        let limit = Some(Instant::now() + LAST_OUTPUT);
        let late = || self.on.reactor.sleep(LAST_OUTPUT);
        if !self.private_pids {
            // Without a pid namespace of its own the others do not end with it. That nothing is left is what is wanted.
            let _ = self
                .settings
                .runtime
                .kill(&self.on, &self.settings.id, 9, true, limit)
                .await;
        }
        if self.paused.take() == Some(Status::Paused) {
            // Others may be frozen still, and could not end.
            let _ = self
                .settings
                .runtime
                .resume(&self.on, &self.settings.id, limit)
                .await;
        }
        // One that does not end although the kernel was told to kill it must not keep the init's end from being known.
        either(pin!(self.running.zero()), pin!(late())).await;
        either(pin!(self.starting.zero()), pin!(late())).await;
        let oom = self.watch.borrow().as_ref().and_then(|w| w.oom.clone());
        if let Some(watch) = oom {
            self.tell_memory(&watch);
        }
        self.gone.set(());
        self.tell_exit(&self.init, exited);
    }

    fn tell_exit(&self, process: &Process, exited: Exited) {
        process.ended.set(exited);
        (self.sink)(Happened::Exited {
            exec: process.name.clone(),
            pid: process.pid.get(),
            exited,
        });
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// Its bundle.
    pub fn bundle(&self) -> &Path {
        &self.settings.bundle
    }

    /// Pid of the init; 0 before there is one.
    pub fn pid(&self) -> u32 {
        self.init.pid.get()
    }

    /// One line on what it is at.
    pub fn describe(&self) -> String {
        let execs = self.execs.borrow();
        let running = execs.values().filter(|p| !p.ended.is_set()).count();
        format!(
            "{} pid {} {:?}, {} of {} execs not ended",
            self.settings.id,
            self.init.pid.get(),
            self.init_status(),
            running,
            execs.len()
        )
    }

    fn rootfs(&self) -> PathBuf {
        self.settings.bundle.join("rootfs")
    }

    fn process(&self, exec: &str) -> Result<Rc<Process>> {
        if exec.is_empty() {
            return Ok(Rc::clone(&self.init));
        }
        let found = self.execs.borrow().get(exec).cloned();
        found.ok_or_else(|| Error::not_found(format!("process does not exist {exec}")))
    }

    fn init_status(&self) -> Status {
        match (self.init.ended.is_set(), self.init.phase.get()) {
            (true, _) => Status::Stopped,
            (false, Phase::Created) => Status::Created,
            (false, _) => self.paused.get().unwrap_or(Status::Running),
        }
    }

    fn status(&self, process: &Process) -> Status {
        if process.name.is_empty() {
            return self.init_status();
        }
        match (process.ended.is_set(), process.phase.get()) {
            (true, _) => Status::Stopped,
            (false, Phase::Created) => Status::Created,
            (false, _) => self.paused.get().unwrap_or(Status::Running),
        }
    }

    /// What is known of a process.
    ///
    /// # Errors
    /// NotFound.
    pub fn snapshot(&self, exec: &str) -> Result<Snapshot> {
        let process = self.process(exec)?;
        Ok(Snapshot {
            exec: process.name.clone(),
            pid: process.pid.get(),
            status: self.status(&process),
            wanted: process.wanted.clone(),
            exited: process.ended.get(),
        })
    }

    /// Starts the init or an announced process.
    ///
    /// # Errors
    /// When it is not there to be started, or the runtime fails.
    pub async fn start(self: &Rc<Self>, exec: &str, limit: Option<Instant>) -> Result<u32> {
        match exec {
            "" => self.start_init(limit).await,
            exec => self.start_exec(&self.process(exec)?, limit).await,
        }
    }

    async fn start_init(self: &Rc<Self>, limit: Option<Instant>) -> Result<u32> {
        let _turn = self.init.turns.enter().await;
        match self.init_status() {
            Status::Created => {}
            Status::Running => return Err(Error::new("cannot start a running process")),
            Status::Paused | Status::Pausing => return Err(Error::new("cannot start a paused process")),
            Status::Stopped => return Err(Error::new("cannot start a stopped process")),
        }
        let _starting = self.starting.hold();
        if self.settings.checkpoint.is_some() {
            self.make_init(limit).await?;
            self.watch_init();
        } else {
            self.settings
                .runtime
                .start(&self.on, &self.settings.id, limit)
                .await?;
        }
        self.init.phase.set(Phase::Running);
        let pid = self.init.pid.get();
        (self.sink)(Happened::Started { pid });
        Ok(pid)
    }

    async fn start_exec(self: &Rc<Self>, process: &Rc<Process>, limit: Option<Instant>) -> Result<u32> {
        let _turn = process.turns.enter().await;
        if process.ended.is_set() {
            return Err(Error::new("cannot start a stopped process"));
        }
        if process.phase.get() != Phase::Created {
            return Err(Error::new("cannot start a running process"));
        }
        let running = self.running.hold();
        if self.over.get() {
            let id = &self.settings.id;
            return Err(Error::precondition(format!(
                "container {id} init process is not running"
            )));
        }
        let made = self.make_exec(process, limit).await;
        if let Err(e) = made {
            process.close_streams(&self.on).await;
            // Whoever waits for it is let go.
            process.ended.set(Exited {
                code: 255,
                at: SystemTime::now(),
            });
            return Err(e);
        }
        process.phase.set(Phase::Running);
        let pid = process.pid.get();
        (self.sink)(Happened::ExecStarted {
            exec: process.name.clone(),
            pid,
        });
        self.watch_exec(process, running);
        Ok(pid)
    }

    async fn make_exec(&self, process: &Rc<Process>, limit: Option<Instant>) -> Result<()> {
        let s = &self.settings;
        let flight = self.on.children.flight();
        let (prepared, socket) = self.prepare(process).await?;
        let pid_file = self.exec_file(&process.name, "pid");
        let spec = Temporary::write(&self.exec_file(&process.name, "process.json"), &process.spec)?;
        let exec = Exec {
            id: &s.id,
            process: &spec.0,
            pid_file: &pid_file,
            console_socket: socket.as_ref().map(Socket::path),
        };
        s.runtime
            .exec(&self.on, &exec, stdio_of(&prepared), limit)
            .await?;
        drop(spec);
        self.take_over(process, prepared, socket, &pid_file, &flight)
            .await
    }

    fn exec_file(&self, exec: &str, extension: &str) -> PathBuf {
        // The init's file is not for an exec that is called so.
        let name = match exec {
            INIT => format!("exec-{exec}.{extension}"),
            exec => format!("{exec}.{extension}"),
        };
        self.settings.bundle.join(name)
    }

    fn watch_exec(self: &Rc<Self>, process: &Rc<Process>, running: Held) {
        let Some(child) = process.child() else { return };
        let (container, process) = (Rc::clone(self), Rc::clone(process));
        self.on.reactor.spawn(async move {
            let exited = child.exit.wait().await;
            if let Some(streams) = process.streams.borrow().as_ref() {
                streams.process_ended();
            }
            container.tell_exit(&process, exited);
            drop(running);
        });
    }

    /// Announces a process: its name, its streams, and the process object of the runtime specification as JSON.
    ///
    /// # Errors
    /// AlreadyExists; when the container is not in a state for it.
    pub fn add_exec(&self, exec: &str, wanted: Wanted, spec: Vec<u8>) -> Result<()> {
        if exec.is_empty() || exec.contains('/') || exec.starts_with('.') {
            return Err(Error::of(
                Kind::InvalidArgument,
                format!("{exec:?} is no name for a process"),
            ));
        }
        if self.execs.borrow().contains_key(exec) {
            return Err(Error::of(Kind::AlreadyExists, format!("id {exec}")));
        }
        match self.init_status() {
            Status::Created | Status::Running => {}
            Status::Paused | Status::Pausing => return Err(Error::new("cannot exec in a paused state")),
            Status::Stopped => return Err(Error::new("cannot exec in a stopped state")),
        }
        let process = Process::new(exec, wanted, spec);
        self.execs.borrow_mut().insert(exec.into(), process);
        (self.sink)(Happened::ExecAdded { exec: exec.into() });
        Ok(())
    }

    /// Sends a signal; with `all`, to every process of the container.
    ///
    /// # Errors
    /// NotFound when the process has ended, FailedPrecondition before it is there.
    pub async fn kill(&self, exec: &str, signal: u32, all: bool, limit: Option<Instant>) -> Result<()> {
        let process = self.process(exec)?;
        if process.ended.is_set() {
            return Err(Error::not_found("process already finished"));
        }
        if exec.is_empty() {
            if self.init.pid.get() == 0 {
                return Err(Error::precondition("process not created"));
            }
            return self
                .settings
                .runtime
                .kill(&self.on, &self.settings.id, signal, all, limit)
                .await;
        }
        let child = process
            .child()
            .ok_or_else(|| Error::precondition("process not created"))?;
        match child.signal(signal as i32) {
            Err(e) if e.is(libc::ESRCH) => Err(Error::not_found("process already finished")),
            sent => Ok(sent?),
        }
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    /// NotFound.
    pub async fn wait(&self, exec: &str) -> Result<Exited> {
        let process = self.process(exec)?;
        Ok(process.ended.wait().await)
    }

    /// Deletes the container or a process that does not run.
    ///
    /// # Errors
    /// When it runs, or the runtime fails.
    pub async fn delete(&self, exec: &str, limit: Option<Instant>) -> Result<(u32, Option<Exited>)> {
        match exec {
            "" => self.delete_init(limit).await,
            exec => self.delete_exec(&self.process(exec)?).await,
        }
    }

    async fn delete_exec(&self, process: &Rc<Process>) -> Result<(u32, Option<Exited>)> {
        let _turn = process.turns.enter().await;
        match (process.phase.get(), process.ended.is_set()) {
            (Phase::Running, false) => return Err(Error::new("cannot delete a running process")),
            (Phase::Deleted, _) => return Err(Error::not_found("cannot delete a deleted process")),
            _ => {}
        }
        process.close_streams(&self.on).await;
        process.phase.set(Phase::Deleted);
        self.execs.borrow_mut().remove(&process.name);
        // One that was never started has none.
        let _ = std::fs::remove_file(self.exec_file(&process.name, "pid"));
        Ok((process.pid.get(), process.ended.get()))
    }

    async fn delete_init(&self, limit: Option<Instant>) -> Result<(u32, Option<Exited>)> {
        let _turn = self.init.turns.enter().await;
        if self.init.phase.get() == Phase::Deleted {
            return Err(Error::not_found("cannot delete a deleted process"));
        }
        match self.init_status() {
            Status::Created | Status::Stopped => {}
            Status::Running => return Err(Error::new("cannot delete a running process")),
            Status::Paused | Status::Pausing => return Err(Error::new("cannot delete a paused process")),
        }
        if self.init_status() == Status::Stopped {
            self.init.close_streams(&self.on).await;
        }
        let deleted = self
            .settings
            .runtime
            .delete(&self.on, &self.settings.id, false, limit)
            .await;
        if self.init.child().is_some() {
            // What was only created ends by its deletion, and its end is told before.
            let until = Some(Instant::now() + LAST_OUTPUT);
            self.on.reactor.within(until, self.init.ended.wait()).await;
        }
        self.init.close_streams(&self.on).await;
        self.let_go_of_execs();
        let unmounted = self.unmount(limit).await;
        deleted?;
        unmounted.context("failed to cleanup rootfs mount")?;
        self.init.phase.set(Phase::Deleted);
        let (pid, exited) = (self.init.pid.get(), self.init.ended.get());
        self.watch.replace(None);
        (self.sink)(Happened::Deleted { pid, exited });
        Ok((pid, exited))
    }

    /// Those that no client has deleted have ended, but streams of theirs may still wait for a reader.
    fn let_go_of_execs(&self) {
        for process in self.execs.borrow().values() {
            let (process, on) = (Rc::clone(process), self.on.clone());
            self.on.reactor.spawn(async move {
                let streams = process.streams.borrow().clone();
                if let Some(streams) = streams {
                    streams.close(&on, Duration::ZERO).await;
                }
            });
        }
    }

    async fn unmount(&self, limit: Option<Instant>) -> Result<()> {
        if self.settings.keep_rootfs {
            return Ok(());
        }
        let path = self.rootfs();
        let unmount = move || unmount_all(&path).map_err(|e| e.to_string());
        self.on.children.fork(&self.on.reactor, limit, unmount).await
    }

    /// Stops every process in its tracks.
    ///
    /// # Errors
    /// When it does not run, or the runtime fails.
    pub async fn pause(&self, limit: Option<Instant>) -> Result<()> {
        let _turn = self.init.turns.enter().await;
        match self.init_status() {
            Status::Running => {}
            Status::Created => return Err(Error::new("cannot pause task in created state")),
            Status::Paused | Status::Pausing => return Err(Error::new("cannot pause a paused container")),
            Status::Stopped => return Err(Error::new("cannot pause a stopped container")),
        }
        self.paused.set(Some(Status::Pausing));
        let paused = self
            .settings
            .runtime
            .pause(&self.on, &self.settings.id, limit)
            .await;
        self.paused.set(paused.is_ok().then_some(Status::Paused));
        paused?;
        (self.sink)(Happened::Paused);
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When it is not paused, or the runtime fails.
    pub async fn resume(&self, limit: Option<Instant>) -> Result<()> {
        let _turn = self.init.turns.enter().await;
        match self.init_status() {
            Status::Paused => {}
            Status::Created => return Err(Error::new("cannot resume task in created state")),
            Status::Running | Status::Pausing => return Err(Error::new("cannot resume a running process")),
            Status::Stopped => return Err(Error::new("cannot resume a stopped container")),
        }
        self.settings
            .runtime
            .resume(&self.on, &self.settings.id, limit)
            .await?;
        self.paused.set(None);
        (self.sink)(Happened::Resumed);
        Ok(())
    }

    /// Changes its limits: LinuxResources as JSON.
    ///
    /// # Errors
    /// When it has ended, or the runtime fails.
    pub async fn update(&self, resources: &[u8], limit: Option<Instant>) -> Result<()> {
        let _turn = self.init.turns.enter().await;
        if self.init_status() == Status::Stopped {
            return Err(Error::new("cannot update a stopped container"));
        }
        self.settings
            .runtime
            .update(&self.on, &self.settings.id, resources, limit)
            .await
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When it does not run, or the runtime fails; CRIU's log is then beside the bundle's files.
    pub async fn checkpoint(&self, mut options: Checkpoint, limit: Option<Instant>) -> Result<()> {
        let _turn = self.init.turns.enter().await;
        match self.init_status() {
            Status::Running | Status::Paused | Status::Pausing => {}
            Status::Created => return Err(Error::new("cannot checkpoint a task in created state")),
            Status::Stopped => return Err(Error::new("cannot checkpoint a stopped container")),
        }
        let own_work = options.work.as_os_str().is_empty();
        if own_work {
            options.work = self.criu_work();
        }
        let work = options.work.clone();
        let done = self
            .settings
            .runtime
            .checkpoint(&self.on, &self.settings.id, &options, limit)
            .await;
        let Err(e) = done else {
            if own_work {
                // Empty leftovers of CRIU; what cannot be removed goes with the bundle.
                let _ = std::fs::remove_dir_all(&work);
            }
            return Ok(());
        };
        let log = self.settings.bundle.join("criu-dump.log");
        let kept = std::fs::copy(work.join("dump.log"), &log);
        Err(match kept {
            Ok(_) => Error::new(format!("{e} path= {}", log.display())),
            Err(_) => e,
        })
    }

    fn criu_work(&self) -> PathBuf {
        let named = self.settings.criu_work.clone();
        named.unwrap_or_else(|| self.settings.bundle.join("work").join("criu-work"))
    }

    /// The pids in the container, each with the name of the exec that it is.
    ///
    /// # Errors
    /// When the runtime cannot tell: nobody may take that for an empty container.
    pub async fn pids(&self, limit: Option<Instant>) -> Result<Vec<(u32, Option<String>)>> {
        let pids = self
            .settings
            .runtime
            .ps(&self.on, &self.settings.id, limit)
            .await?;
        let named: BTreeMap<u32, String> = self
            .execs
            .borrow()
            .values()
            .filter(|p| p.pid.get() != 0 && !p.ended.is_set())
            .map(|p| (p.pid.get(), p.name.clone()))
            .collect();
        Ok(pids
            .into_iter()
            .map(|pid| (pid as u32, named.get(&(pid as u32)).cloned()))
            .collect())
    }

    /// Ends a process's input.
    ///
    /// # Errors
    /// NotFound.
    pub fn close_stdin(&self, exec: &str) -> Result<()> {
        let process = self.process(exec)?;
        process.input_over.set(true);
        process.end_input();
        Ok(())
    }

    /// Changes the size of a process's terminal.
    ///
    /// # Errors
    /// NotFound; when it has ended.
    pub fn resize(&self, exec: &str, width: u16, height: u16) -> Result<()> {
        let process = self.process(exec)?;
        if process.ended.is_set() {
            return match exec {
                "" => Ok(()),
                _ => Err(Error::new("cannot resize a stopped process")),
            };
        }
        match process.streams.borrow().as_ref() {
            Some(streams) => streams.resize(width, height),
            None => Ok(()),
        }
    }

    /// What its cgroup and its network say. The latter only as long as its init lives.
    ///
    /// # Errors
    /// NotFound when it has no cgroup (any more).
    pub fn metrics(&self) -> Result<(Metrics, Vec<Network>)> {
        let cgroup = self.watch.borrow().as_ref().map(|w| Rc::clone(&w.cgroup));
        let cgroup = cgroup.ok_or_else(|| Error::not_found("cgroup does not exist"))?;
        let network = match self.over.get() {
            true => Vec::new(),
            false => metrics::network_of(self.init.pid.get() as i32),
        };
        Ok((metrics::read(&cgroup)?, network))
    }
}

/// How a process ended that is not our child: the kernel tells it once its parent has waited for it, and /proc until then.
async fn exit_of_stranger(reactor: &Reactor, pid: i32, init: &Source<OwnedFd>) -> u32 {
    let until = Instant::now() + REAPED;
    loop {
        let exit = exit_of_zombie(pid).or_else(|| sys::process::pidfd_exit(init.fd()));
        match exit {
            Some(exit) => return exit.shell_code() as u32,
            None if Instant::now() > until => return UNKNOWN,
            None => reactor.sleep(REAPED_LOOK).await,
        }
    }
}

/// It has ended, so a zombie of this number is it, or the number is another's who has ended just as well within a moment: the kernel
/// goes round all numbers first.
fn exit_of_zombie(pid: i32) -> Option<sys::process::Exit> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Fields 3 and 52 of the manual page. Who may not look into the process is shown a 0.
    let status: i32 = fields.get(49)?.parse().ok()?;
    let told = status != 0 || sys::process::effective_ids().0 == 0;
    (fields.first() == Some(&"Z") && told).then(|| sys::process::Exit::of_status(status))
}

fn stdio_of(prepared: &Prepared) -> Stdio<'_> {
    match &prepared.fds {
        Some(fds) => Stdio::Container(fds),
        None => Stdio::Captured,
    }
}

fn make_rootfs(path: &Path) -> Result<()> {
    match sys::fs::mkdirat(sys::fs::cwd(), path, 0o711) {
        Err(e) if !e.is(libc::EEXIST) => Err(e.into()),
        _ => Ok(()),
    }
}

fn read_pid(path: &Path) -> Result<i32> {
    let text =
        std::fs::read_to_string(path).map_err(|e| sys::Error::io("open", path.display().to_string(), &e));
    let text = text.context("failed to retrieve OCI runtime container pid")?;
    text.trim().parse().map_err(|_| {
        Error::new(format!(
            "failed to retrieve OCI runtime container pid: {text:?} is no pid"
        ))
    })
}

/// A file that is there as long as this.
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: &Path, bytes: &[u8]) -> Result<Temporary> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let temporary = Temporary(path.to_owned());
        file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
            .map_err(|e| sys::Error::io("write", path.display().to_string(), &e))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It goes with the bundle at the latest.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// True when the container has a pid namespace of its own, so that its processes end with its init. When it cannot be told, they
/// are better killed.
fn has_private_pids(bundle: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        linux: Linux,
    }
    #[derive(serde::Deserialize, Default)]
    struct Linux {
        #[serde(default)]
        namespaces: Vec<Namespace>,
    }
    #[derive(serde::Deserialize)]
    struct Namespace {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        path: String,
    }
    let Ok(text) = std::fs::read(bundle.join("config.json")) else {
        return false;
    };
    serde_json::from_slice::<Config>(&text).is_ok_and(|config| {
        let mut namespaces = config.linux.namespaces.iter();
        namespaces.any(|n| n.kind == "pid" && n.path.is_empty())
    })
}
