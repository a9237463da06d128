//! The Task service, versions 2 and 3: requests to containers, containers' words to answers.
//!
//! May not: supervise anything itself; [`shim::container`] does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message;
use shim::children::Exited;
use shim::container::{self, Container, Happened, Settings, Snapshot};
use shim::error::Kind;
use shim::reactor::{Either, either};
use shim::runtime::{Checkpoint, Host, Runtime};
use shim::stdio::Wanted;
use shim::sync::Once;

use crate::bundle;
use crate::log::Log;
use crate::options::{self, Options};
use crate::proto::events as event;
use crate::proto::google::{Any, Timestamp};
use crate::proto::options::{CheckpointOptions, ProcessDetails};
use crate::proto::task::*;
use crate::proto::types::{ProcessInfo, Status};
use crate::publisher::Publisher;
use crate::ttrpc::server::{Call, Service};
use crate::ttrpc::status::{Code, Error, Result};

/// After the last container, how long another may still come before a shim that was told to stop earlier stops.
const LINGER: Duration = Duration::from_secs(1);
/// How long events may take to be delivered when it stops.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// The runtime of this project.
const OWN_RUNTIME: &str = "runb";
/// What containerd's own shim would take.
const OTHER_RUNTIME: &str = "runc";
/// The same as its.
const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// The containers of this shim, and all that its answers need.
pub struct Task {
    on: Host,
    log: Rc<Log>,
    publisher: Rc<Publisher>,
    namespace: String,
    containers: RefCell<BTreeMap<String, Rc<Container>>>,
    /// Names of those that are being created.
    creating: RefCell<BTreeSet<String>>,
    told_to_stop: Cell<bool>,
    /// Set when the shim shall end.
    pub stop: Rc<Once<()>>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.containers.borrow().keys()).finish()
    }
}

impl Task {
    /// Without containers.
    pub fn new(on: &Host, log: &Rc<Log>, publisher: &Rc<Publisher>, namespace: &str) -> Rc<Task> {
        Rc::new(Task {
            on: on.clone(),
            log: Rc::clone(log),
            publisher: Rc::clone(publisher),
            namespace: namespace.into(),
            containers: RefCell::default(),
            creating: RefCell::default(),
            told_to_stop: Cell::new(false),
            stop: Rc::default(),
        })
    }

    fn container(&self, id: &str) -> Result<Rc<Container>> {
        let found = self.containers.borrow().get(id).cloned();
        found.ok_or_else(|| Error::not_found("container not created"))
    }

    /// For whoever wonders what it does.
    pub fn describe(&self) -> String {
        let containers = self.containers.borrow();
        let mut text = format!(
            "{} containers, {} events waiting",
            containers.len(),
            self.publisher.waiting()
        );
        for container in containers.values() {
            text.push_str(&format!("; {}", container.describe()));
        }
        text
    }

    /// No container, and none on its way.
    pub fn is_empty(&self) -> bool {
        self.containers.borrow().is_empty() && self.creating.borrow().is_empty()
    }

    async fn create(
        self: &Rc<Self>,
        request: CreateTaskRequest,
        limit: Option<Instant>,
    ) -> Result<PidResponse> {
        let id = request.id.clone();
        let taken = self.containers.borrow().contains_key(&id);
        // One that is refused must not undo what the first one with its name is making.
        if taken || !self.creating.borrow_mut().insert(id.clone()) {
            return Err(Error::already_exists(format!("container {id}")));
        }
        let created = self.make(request, limit).await;
        self.creating.borrow_mut().remove(&id);
        created
    }

    async fn make(
        self: &Rc<Self>,
        request: CreateTaskRequest,
        limit: Option<Instant>,
    ) -> Result<PidResponse> {
        let bundle = PathBuf::from(&request.bundle);
        let mut unpacked = options::extract(request.options.as_ref(), |path| std::fs::read(path))?;
        for warning in &unpacked.warnings {
            self.log.error(warning);
        }
        let options = &mut unpacked.options;
        options.binary_name = binary_of(options);
        bundle::write_options(&bundle, options)?;
        let settings = Settings {
            id: request.id.clone(),
            namespace: self.namespace.clone(),
            runtime: Runtime {
                binary: options.binary_name.clone(),
                root: root_of(options, &self.namespace),
                log: bundle.join("log.json"),
                systemd_cgroup: options.systemd_cgroup,
                criu: options.criu_path.clone(),
            },
            bundle,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            no_pivot: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            keep_rootfs: false,
            checkpoint: (!request.checkpoint.is_empty()).then(|| PathBuf::from(&request.checkpoint)),
            criu_work: (!options.criu_work_path.is_empty()).then(|| PathBuf::from(&options.criu_work_path)),
        };
        let wanted = Wanted {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
            given: None,
        };
        let mounts = request.rootfs.iter().map(|m| shim::mount::Mount {
            kind: m.kind.clone(),
            source: m.source.clone(),
            target: m.target.clone(),
            options: m.options.clone(),
        });
        let mounts = mounts.collect();
        let teller = Rc::clone(self);
        let sink: container::Sink = Rc::new(move |happened| teller.tell(&request, happened));
        let made = Container::create(&self.on, settings, wanted, mounts, sink, limit).await?;
        let pid = made.pid();
        self.containers.borrow_mut().insert(made.id().to_owned(), made);
        Ok(PidResponse { pid })
    }

    /// Publishes what a container tells.
    fn tell(&self, of: &CreateTaskRequest, happened: Happened) {
        let publisher = &self.publisher;
        let container_id = of.id.clone();
        match happened {
            Happened::Created { pid } => publisher.publish(&event::TaskCreate {
                container_id,
                bundle: of.bundle.clone(),
                rootfs: of.rootfs.clone(),
                io: Some(event::TaskIo {
                    stdin: of.stdin.clone(),
                    stdout: of.stdout.clone(),
                    stderr: of.stderr.clone(),
                    terminal: of.terminal,
                }),
                checkpoint: of.checkpoint.clone(),
                pid,
            }),
            Happened::Started { pid } => publisher.publish(&event::TaskStart { container_id, pid }),
            Happened::ExecAdded { exec } => publisher.publish(&event::TaskExecAdded {
                container_id,
                exec_id: exec,
            }),
            Happened::ExecStarted { exec, pid } => publisher.publish(&event::TaskExecStarted {
                container_id,
                exec_id: exec,
                pid,
            }),
            Happened::Exited { exec, pid, exited } => publisher.publish(&event::TaskExit {
                id: match exec.is_empty() {
                    true => container_id.clone(),
                    false => exec,
                },
                container_id,
                pid,
                exit_status: exited.code,
                exited_at: Some(exited.at.into()),
            }),
            Happened::Deleted { pid, exited } => publisher.publish(&event::TaskDelete {
                container_id,
                pid,
                exit_status: exited.map_or(0, |e| e.code),
                exited_at: Some(exited.map_or(Timestamp::NEVER, |e| e.at.into())),
                id: String::new(),
            }),
            Happened::Paused => publisher.publish(&event::TaskPaused { container_id }),
            Happened::Resumed => publisher.publish(&event::TaskResumed { container_id }),
            Happened::OutOfMemory => publisher.publish(&event::TaskOom { container_id }),
        }
    }

    async fn start(&self, request: ProcessRequest, limit: Option<Instant>) -> Result<PidResponse> {
        let container = self.container(&request.id)?;
        let pid = container.start(&request.exec_id, limit).await?;
        Ok(PidResponse { pid })
    }

    async fn exec(&self, request: ExecProcessRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        let spec = request.spec.map(|any| any.value).unwrap_or_default();
        let spec = with_terminal(&spec, request.terminal)?;
        let wanted = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            given: None,
        };
        Ok(container.add_exec(&request.exec_id, wanted, spec)?)
    }

    fn state(&self, request: &ProcessRequest) -> Result<StateResponse> {
        let container = self.container(&request.id)?;
        let Snapshot {
            exec,
            pid,
            status,
            wanted,
            exited,
        } = container.snapshot(&request.exec_id)?;
        let status = match status {
            container::Status::Created => Status::Created,
            container::Status::Running => Status::Running,
            container::Status::Stopped => Status::Stopped,
            container::Status::Paused => Status::Paused,
            container::Status::Pausing => Status::Pausing,
        };
        Ok(StateResponse {
            id: request.id.clone(),
            bundle: container.bundle().to_string_lossy().into_owned(),
            pid,
            status: status.into(),
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            terminal: wanted.terminal,
            exit_status: exited.map_or(0, |e| e.code),
            exited_at: Some(exited.map_or(Timestamp::NEVER, |e| e.at.into())),
            exec_id: exec,
        })
    }

    async fn kill(&self, request: KillRequest, limit: Option<Instant>) -> Result<()> {
        let container = self.container(&request.id)?;
        Ok(container
            .kill(&request.exec_id, request.signal, request.all, limit)
            .await?)
    }

    async fn wait(&self, request: ProcessRequest, limit: Option<Instant>) -> Result<WaitResponse> {
        let container = self.container(&request.id)?;
        let waited = self
            .on
            .reactor
            .within(limit, container.wait(&request.exec_id))
            .await;
        let exited =
            waited.ok_or_else(|| Error::new(Code::DeadlineExceeded, "context deadline exceeded"))??;
        Ok(WaitResponse {
            exit_status: exited.code,
            exited_at: Some(exited.at.into()),
        })
    }

    async fn delete(
        self: &Rc<Self>,
        request: ProcessRequest,
        limit: Option<Instant>,
    ) -> Result<DeleteResponse> {
        let container = self.container(&request.id)?;
        let (pid, exited) = container.delete(&request.exec_id, limit).await?;
        if request.exec_id.is_empty() {
            self.containers.borrow_mut().remove(&request.id);
            if self.told_to_stop.get() {
                self.stop_when_empty();
            }
        }
        Ok(deleted(pid, exited))
    }

    async fn pids(&self, request: ContainerRequest, limit: Option<Instant>) -> Result<PidsResponse> {
        let container = self.container(&request.id)?;
        let pids = container.pids(limit).await?;
        let processes = pids.into_iter().map(|(pid, exec)| ProcessInfo {
            pid,
            info: exec.map(|exec_id| Any::of(&ProcessDetails { exec_id })),
        });
        Ok(PidsResponse {
            processes: processes.collect(),
        })
    }

    async fn checkpoint(&self, request: CheckpointTaskRequest, limit: Option<Instant>) -> Result<()> {
        let container = self.container(&request.id)?;
        let options = match request
            .options
            .as_ref()
            .and_then(Any::unpack::<CheckpointOptions>)
        {
            Some(options) => options?,
            None => CheckpointOptions::default(),
        };
        let checkpoint = Checkpoint {
            image: match options.image_path.is_empty() {
                true => request.path.into(),
                false => options.image_path.into(),
            },
            work: options.work_path.into(),
            parent: (!options.parent_path.is_empty()).then(|| options.parent_path.into()),
            exit: options.exit,
            open_tcp: options.open_tcp,
            external_unix_sockets: options.external_unix_sockets,
            terminal: options.terminal,
            file_locks: options.file_locks,
            empty_namespaces: options.empty_namespaces,
        };
        Ok(container.checkpoint(checkpoint, limit).await?)
    }

    async fn update(&self, request: UpdateTaskRequest, limit: Option<Instant>) -> Result<()> {
        let container = self.container(&request.id)?;
        let resources = request.resources.map(|any| any.value).unwrap_or_default();
        Ok(container.update(&resources, limit).await?)
    }

    fn stats(&self, request: &ContainerRequest) -> Result<StatsResponse> {
        let container = self.container(&request.id)?;
        let (metrics, network) = container.metrics()?;
        Ok(StatsResponse {
            stats: Some(crate::stats::encode(metrics, network)),
        })
    }

    fn connect(&self, request: &ContainerRequest) -> ConnectResponse {
        ConnectResponse {
            shim_pid: sys::process::pid() as u32,
            task_pid: self.container(&request.id).map_or(0, |c| c.pid()),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// While there are containers it is only remembered: a client that is not told of the last one's end does not say it again.
    async fn shut_down(self: &Rc<Self>) {
        self.told_to_stop.set(true);
        if !self.is_empty() {
            return;
        }
        self.last_events().await;
        if self.is_empty() {
            // Its answer is put in line before anybody else runs, and what is in line is sent.
            self.stop.set(());
        }
    }

    /// Until what was published is with containerd, but not for ever.
    pub async fn last_events(&self) {
        self.publisher.drain(Instant::now() + LAST_EVENTS).await;
    }

    fn stop_when_empty(self: &Rc<Self>) {
        if !self.is_empty() {
            return;
        }
        let task = Rc::clone(self);
        self.on.reactor.spawn(async move {
            let until = Instant::now() + LINGER;
            task.last_events().await;
            task.on.reactor.sleep_until(until).await;
            if task.is_empty() {
                task.stop.set(());
            }
        });
    }

    async fn dispatch(self: &Rc<Self>, call: &Call) -> Result<Vec<u8>> {
        let (payload, limit) = (call.payload.as_slice(), call.limit);
        match call.method.as_str() {
            "Create" => reply(self.create(CreateTaskRequest::decode(payload)?, limit)).await,
            "Start" => reply(self.start(ProcessRequest::decode(payload)?, limit)).await,
            "Exec" => reply(self.exec(ExecProcessRequest::decode(payload)?)).await,
            "State" => encode(self.state(&ProcessRequest::decode(payload)?)?),
            "Kill" => reply(self.kill(KillRequest::decode(payload)?, limit)).await,
            "Wait" => reply(self.wait(ProcessRequest::decode(payload)?, limit)).await,
            "Delete" => reply(self.delete(ProcessRequest::decode(payload)?, limit)).await,
            "Pids" => reply(self.pids(ContainerRequest::decode(payload)?, limit)).await,
            "Pause" => {
                let container = self.container(&ContainerRequest::decode(payload)?.id)?;
                encode(container.pause(limit).await?)
            }
            "Resume" => {
                let container = self.container(&ContainerRequest::decode(payload)?.id)?;
                encode(container.resume(limit).await?)
            }
            "Checkpoint" => reply(self.checkpoint(CheckpointTaskRequest::decode(payload)?, limit)).await,
            "Update" => reply(self.update(UpdateTaskRequest::decode(payload)?, limit)).await,
            "CloseIO" => {
                let request = CloseIoRequest::decode(payload)?;
                let container = self.container(&request.id)?;
                if request.stdin {
                    container.close_stdin(&request.exec_id)?;
                }
                encode(())
            }
            "ResizePty" => {
                let request = ResizePtyRequest::decode(payload)?;
                let container = self.container(&request.id)?;
                let [width, height] =
                    [request.width, request.height].map(|n| n.min(u32::from(u16::MAX)) as u16);
                encode(container.resize(&request.exec_id, width, height)?)
            }
            "Stats" => encode(self.stats(&ContainerRequest::decode(payload)?)?),
            "Connect" => encode(self.connect(&ContainerRequest::decode(payload)?)),
            "Shutdown" => {
                // Whatever it asks for: `now` does not mean that containers lose their supervisor.
                ShutdownRequest::decode(payload)?;
                self.shut_down().await;
                encode(())
            }
            method => Err(Error::unimplemented(format!("method {method}"))),
        }
    }
}

impl Service for Task {
    async fn answer(self: Rc<Self>, call: Call) -> Result<Vec<u8>> {
        if ![SERVICE_V2, SERVICE_V3].contains(&call.service.as_str()) {
            return Err(Error::unimplemented(format!("service {}", call.service)));
        }
        let answer = if call.method == "Wait" {
            // The only call that changes nothing and lasts: it ends with its connection.
            let (answer, closed) = (pin!(self.dispatch(&call)), pin!(call.closed.wait()));
            match either(answer, closed).await {
                Either::Left(answer) => answer,
                Either::Right(()) => Err(Error::new(Code::Canceled, "context canceled")),
            }
        } else {
            self.dispatch(&call).await
        };
        match &answer {
            Ok(_) => self.log.debug(format!("{} done", call.method)),
            Err(e) => self.log.debug(format!("{} failed: {e}", call.method)),
        }
        answer
    }
}

/// The runtime: as named, else ours, beside this program or in PATH, else runc.
pub fn binary_of(options: &Options) -> String {
    if !options.binary_name.is_empty() {
        return options.binary_name.clone();
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(OWN_RUNTIME)));
    match beside.filter(|path| path.exists()) {
        Some(path) => path.to_string_lossy().into_owned(),
        None if shim::runtime::is_installed(OWN_RUNTIME) => OWN_RUNTIME.into(),
        None => OTHER_RUNTIME.into(),
    }
}

/// Where the runtime keeps its state: each namespace has its own.
pub fn root_of(options: &Options, namespace: &str) -> PathBuf {
    let root = match options.root.as_str() {
        "" => DEFAULT_ROOT,
        root => root,
    };
    PathBuf::from(root).join(namespace)
}

async fn reply<M: Message>(work: impl Future<Output = Result<M>>) -> Result<Vec<u8>> {
    encode(work.await?)
}

fn encode(message: impl Message) -> Result<Vec<u8>> {
    Ok(message.encode_to_vec())
}

/// The answer to a deletion; of what has not ended the time is Go's zero.
pub fn deleted(pid: u32, exited: Option<Exited>) -> DeleteResponse {
    DeleteResponse {
        pid,
        exit_status: exited.map_or(0, |e| e.code),
        exited_at: Some(exited.map_or(Timestamp::NEVER, |e| e.at.into())),
    }
}

/// The process object with the terminal that the request says, whatever is in it.
fn with_terminal(spec: &[u8], terminal: bool) -> Result<Vec<u8>> {
    let mut process: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(spec)
        .map_err(|e| Error::invalid_argument(format!("failed to read the process of an exec: {e}")))?;
    process.insert("terminal".into(), terminal.into());
    serde_json::to_vec(&process).map_err(|e| Error::unknown(e.to_string()))
}

impl From<shim::error::Error> for Error {
    fn from(e: shim::error::Error) -> Error {
        let code = match e.kind() {
            Kind::NotFound => Code::NotFound,
            Kind::AlreadyExists => Code::AlreadyExists,
            Kind::FailedPrecondition => Code::FailedPrecondition,
            Kind::InvalidArgument => Code::InvalidArgument,
            Kind::Unimplemented => Code::Unimplemented,
            Kind::DeadlineExceeded => Code::DeadlineExceeded,
            Kind::Unknown => Code::Unknown,
        };
        Error::new(code, e.to_string())
    }
}
