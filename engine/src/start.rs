//! `start`: a container's root is mounted, its config.json written, its monitor started.
//!
//! May not: wait for the container. Once this returns, its monitor has it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

use image::mount::{self, Upper};
use image::store::{Image, Store};
use image::{Context, Digest, Error, Kind, Result, standing};
use monitor::client::{self, Started};
use monitor::launch::{self, Launch};
use monitor::place::Place;
use monitor::protocol::Attach;
use monitor::state::Status;

use crate::containers::{Container, Containers, Durable, make_private, write};
use crate::control::{STOP_TIMEOUT, refusal};
use crate::model::Definition;
use crate::netfiles::{self, File};
use crate::network::{self, Mode};
use crate::spec::host::Driver;
use crate::spec::{self, Files, Found, Inputs, Joined};
use crate::{mounts, programs, remove};

/// Why a container does not run, and what Docker would have ended with.
#[derive(Debug)]
pub struct NotStarted {
    /// 126, 127, or 128 as its exit code; what `run` ends with is 125 for the last.
    pub code: i32,
    pub error: Error,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> NotStarted {
        NotStarted { code: 128, error }
    }
}

/// What a start came to.
#[derive(Debug)]
pub enum Outcome {
    Started(Started),
    /// It runs already.
    Running,
}

/// Makes the layers of an image again, where they are not there.
pub type Layers<'l> = &'l dyn Fn(&Image) -> Result<Vec<mount::Layer>>;

/// Starts it. With `attach`, the caller gets its streams from the first byte on.
///
/// # Errors
/// What is missing, or what the runtime says. The container stays as it was, with the failure in its state.
pub fn start(
    containers: &Containers,
    store: &Store,
    make: Layers<'_>,
    id: &str,
    attach: Option<Attach>,
) -> std::result::Result<Outcome, NotStarted> {
    let _lock = containers.lock(id)?;
    let container = containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
    match container.state.status {
        Status::Paused => {
            return Err(conflict("cannot start a paused container, try unpause instead").into());
        }
        Status::Running | Status::Restarting => return Ok(Outcome::Running),
        Status::Removing | Status::Dead => {
            return Err(conflict("container is marked for removal and cannot be started").into());
        }
        Status::Created | Status::Exited => {}
    }
    let begun = begin(containers, store, make, &container, attach);
    begun
        .map(Outcome::Started)
        .map_err(|failure| note(containers, &container, failure))
}

fn conflict(message: &str) -> Error {
    Error::of(Kind::Conflict, message)
}

/// Writes the failure down, as `inspect` shows it.
fn note(containers: &Containers, container: &Container, failure: NotStarted) -> NotStarted {
    let place = containers.place(container.id());
    let mut state = container.state.clone();
    state.version = monitor::state::VERSION;
    state.boot = containers.boot().to_owned();
    state.exit_code = failure.code;
    state.error = failure.error.to_string();
    state.init = None;
    state.monitor = None;
    let saved = state
        .save(&place)
        .context("failed to write the state of the container");
    NotStarted {
        error: failure.error.and_also(saved),
        ..failure
    }
}

fn begin(
    containers: &Containers,
    store: &Store,
    make: Layers<'_>,
    container: &Container,
    attach: Option<Attach>,
) -> std::result::Result<Started, NotStarted> {
    let definition = &container.definition;
    let place = containers.place(container.id());
    // What a life before has left, if nobody has seen its end.
    remove::sweep(containers, container)?;
    let mode = network::check(&definition.host)?;
    let machine = spec::Host::ask();
    let launch = launch(containers, definition, &machine)?;
    let layers = layers(store, make, definition)?;
    make_room(&place)?;
    netfiles::write(&place, definition, &mode)?;
    let joined = joined(containers, definition, &mode)?;
    let monitor = programs::monitor()?;
    let spec = mount::Spec {
        layers,
        upper: Some(Upper {
            upper: place.upper(),
            work: place.work(),
        }),
        scratch: Some(place.run.clone()),
        options: mount::Options {
            volatile: definition.host.auto_remove,
            ..mount::Options::default()
        },
    };
    write_launch(&place, &launch)?;
    let started = mounts::apart(&place.run, || {
        mount::mount(&spec, &place.rootfs())?;
        write_config(&place, definition, &machine, joined)?;
        Ok(client::spawn(&place, &monitor, attach))
    })?;
    started.map_err(|e| match e {
        client::Error::Refused { kind, message } => {
            let code = monitor::protocol::Kind::of_start(&message).1;
            NotStarted {
                code,
                error: refusal(client::Error::Refused { kind, message }),
            }
        }
        other => Error::new(other.to_string()).into(),
    })
}

/// What the monitor has to know.
fn launch(containers: &Containers, definition: &Definition, machine: &spec::Host) -> Result<Launch> {
    let (config, host) = (&definition.config, &definition.host);
    let place = containers.place(&definition.id);
    let mut attributes: BTreeMap<String, String> = config.labels.clone();
    attributes.insert("image".into(), config.image.clone());
    attributes.insert("name".into(), definition.name.clone());
    Ok(Launch {
        version: launch::VERSION,
        id: definition.id.clone(),
        name: definition.name.clone(),
        runtime: launch::Runtime {
            program: programs::runtime(&host.runtime)?,
            root: remove::runtime_root(containers),
            systemd_cgroup: machine.cgroups.driver == Driver::Systemd,
        },
        terminal: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        log: launch::Log {
            driver: host.log_config.kind.clone(),
            path: place.dir.join(format!("{}-json.log", definition.id)),
            options: host.log_config.config.clone(),
            attributes: BTreeMap::new(),
        },
        restart: host.restart_policy.clone(),
        auto_remove: host.auto_remove,
        stop_signal: stop_signal(definition)?,
        stop_timeout: config.stop_timeout.unwrap_or(STOP_TIMEOUT),
        health: None,
        attributes,
        volumes: Vec::new(),
    })
}

fn write_launch(place: &Place, launch: &Launch) -> Result<()> {
    launch
        .write(&place.launch())
        .map_err(|e| Error::new(e.to_string()).context("failed to tell the monitor what to do"))
}

/// The signal that asks it to end.
///
/// # Errors
/// There is no such signal.
pub fn stop_signal(definition: &Definition) -> Result<i32> {
    match definition.config.stop_signal.as_deref() {
        None | Some("") => Ok(libc::SIGTERM),
        Some(text) => crate::signal::parse(text),
    }
}

/// The layers of its image, each of them there.
fn layers(store: &Store, make: Layers<'_>, definition: &Definition) -> Result<Vec<mount::Layer>> {
    let manifest: Digest = definition.manifest.parse()?;
    if let Some(layers) = standing::ready_layers(store, &manifest)? {
        return Ok(layers);
    }
    let id: Digest = definition.image.parse()?;
    // Removed by force while the container stood on it: what it is made of is still there.
    let image = store.image(&id)?.unwrap_or(Image {
        id,
        manifest,
        size: 0,
        added: 0,
        used: 0,
        parent: None,
    });
    make(&image)
}

/// Directories of this uptime, empty; and those for what the container changes.
fn make_room(place: &Place) -> Result<()> {
    match fs::remove_dir_all(place.bundle()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::from(e).context(format!("failed to empty {}", place.bundle().display())));
        }
        _ => {}
    }
    make_private(&place.rootfs())?;
    for directory in [place.upper(), place.work()] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&directory)
            .context(format!("failed to make {}", directory.display()))?;
    }
    // What the container sees as its root, whatever our umask is.
    let plain = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.upper(), plain).context("failed to set the mode of the root")
}

fn joined(containers: &Containers, definition: &Definition, mode: &Mode) -> Result<Joined> {
    let host = &definition.host;
    let init = |name: &str| -> Result<i32> {
        let other = containers.find(name)?;
        match (other.is_running(), &other.state.init) {
            (true, Some(init)) => Ok(init.pid),
            _ => Err(conflict(&format!(
                "cannot join network of a non running container: {}",
                other.id()
            ))),
        }
    };
    let named = |mode: &str| mode.strip_prefix("container:").map(&init).transpose();
    Ok(Joined {
        network: match mode {
            Mode::Container(name) => Some(init(name)?),
            _ => None,
        },
        ipc: named(&host.ipc_mode)?,
        pid: named(&host.pid_mode)?,
        shm: None,
    })
}

fn write_config(place: &Place, definition: &Definition, machine: &spec::Host, joined: Joined) -> Result<()> {
    let root = sys::fs::open(&place.rootfs(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let found = Found::look_up(definition, root.as_fd(), machine)?;
    let of = |file: File| Some(place.dir.join(file.name()));
    let mut inputs = Inputs::of(definition, machine, &found);
    inputs.joined = joined;
    inputs.files = Files {
        resolv_conf: of(File::Resolver),
        hostname: of(File::Hostname),
        hosts: of(File::Hosts),
    };
    if definition.host.init == Some(true) {
        inputs.init = Some(programs::init()?);
    }
    let (config, _) = spec::document(&inputs)?;
    let path = place.bundle().join("config.json");
    let bytes = serde_json::to_vec(&config).map_err(|e| Error::new(e.to_string()))?;
    write(&path, &bytes, Durable::No)
}
