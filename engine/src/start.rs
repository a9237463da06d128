//! `start`: a container's root is mounted, its config.json written, its monitor started.
//!
//! May not: wait for the container. Once this returns, its monitor has it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use image::mount::{self, Upper};
use image::store::{Image, Store};
use image::{Context, Digest, Error, Kind, Result, standing};
use monitor::client::{self, Started};
use monitor::launch::{self, Health, Launch};
use monitor::place::Place;
use monitor::protocol::Attach;
use monitor::state::Status;

use crate::containers::{Container, Containers, Durable, make_private, write};
use crate::control::{STOP_TIMEOUT, refusal};
use crate::layers::Opened;
use crate::model::Definition;
use crate::netfiles::{self, File};
use crate::network::{self, Mode};
use crate::networks::{attach as networks, links, reach};
use crate::spec::host::Driver;
use crate::spec::{self, Files, Found, Inputs, Joined, join, machine, process};
use crate::volumes::{self, attach as mounted};
use crate::{explain, logs, mountpoints, mounts, programs, remove, telling};

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
    let outcome = start_alone(containers, store, make, id, attach)?;
    if let Outcome::Started(_) = outcome {
        reach::refresh(containers, id)?;
    }
    Ok(outcome)
}

/// The same, without what concerns others.
fn start_alone(
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
    if !matches!(begun, Ok(Ok(_))) {
        // What stays is taken away by the next command.
        let _ = volumes::unmount_unused(containers);
    }
    match begun {
        Ok(Ok(started)) => Ok(Outcome::Started(started)),
        Ok(Err(refused)) => Err(refused_by_monitor(refused)),
        Err(e) => {
            let code = monitor::protocol::Kind::of_start(&e.to_string()).1;
            Err(note(containers, &container, NotStarted { code, error: e }))
        }
    }
}

fn conflict(message: &str) -> Error {
    Error::of(Kind::Conflict, message)
}

/// The monitor has written it down already, and with `--rm` there is nothing left that it could be written to.
fn refused_by_monitor(e: client::Error) -> NotStarted {
    let code = match &e {
        client::Error::Refused { message, .. } => monitor::protocol::Kind::of_start(message).1,
        client::Error::Gone | client::Error::Failed(_) => 128,
    };
    NotStarted {
        code,
        error: refusal(e),
    }
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
) -> Result<client::Result<Started>> {
    let definition = &container.definition;
    let place = containers.place(container.id());
    // What a life before has left, if nobody has seen its end.
    remove::sweep(containers, container)?;
    let mode = network::check(&definition.host)?;
    let machine = spec::Host::ask();
    let runtime = launch::Runtime {
        program: programs::runtime(&definition.host.runtime)?,
        root: remove::runtime_root(containers),
        systemd_cgroup: machine.cgroups.driver == Driver::Systemd,
    };
    let layers = layers(store, make, definition)?;
    make_room(&place)?;
    mountpoints::make_sources(&definition.mounts)?;
    let images = mounted::layers(store, make, &definition.mounts)?;
    // Until the container runs: then that it runs keeps them.
    let kept = mounted::mount_all(containers, &definition.mounts)?;
    let outside = kept.is_some().then(mounts::own).transpose()?;
    let plan = match mode {
        Mode::Own => Some(networks::plan(containers, definition)?),
        _ => None,
    };
    let start = Start {
        containers,
        definition,
        place: &place,
        machine: &machine,
        runtime,
        layers,
        images,
        outside,
        attach,
    };
    let begun = start.with(&mode, plan.as_ref());
    if let Ok(Ok(_)) = &begun {
        telling::tell_mounted(containers, definition);
    }
    let Some(plan) = plan else {
        return begun;
    };
    match begun {
        Ok(Ok(started)) => {
            links::refresh(containers, definition, &plan.attachment)?;
            Ok(Ok(started))
        }
        // A monitor that has spoken has undone what it was given.
        Ok(Err(refused @ client::Error::Refused { .. })) => Ok(Err(refused)),
        failed => {
            let undone = networks::undo(containers, container.id()).and(plan.give_up(containers));
            match failed {
                Err(e) => Err(e.and_also(undone)),
                Ok(refused) => undone.map(|()| refused),
            }
        }
    }
}

/// One start, of which everything is known but the network.
struct Start<'s> {
    containers: &'s Containers,
    definition: &'s Definition,
    place: &'s Place,
    machine: &'s spec::Host,
    runtime: launch::Runtime,
    layers: Vec<mount::Layer>,
    /// Of the images that are mounted in it.
    images: BTreeMap<String, Vec<mount::Layer>>,
    /// Where what its volumes consist of is mounted.
    outside: Option<OwnedFd>,
    attach: Option<Attach>,
}

impl Start<'_> {
    fn with(self, mode: &Mode, plan: Option<&networks::Plan>) -> Result<client::Result<Started>> {
        let Start {
            containers,
            definition,
            place,
            machine,
            runtime,
            layers,
            images,
            outside,
            attach,
        } = self;
        let (linked, variables) = match plan {
            Some(_) => links::of_start(containers, definition)?,
            None => (Vec::new(), Vec::new()),
        };
        let mut definition = definition.clone();
        definition.config.env.extend(variables);
        let files = match mode {
            Mode::Container(name) => {
                // Names, too, belong to the network that it is in.
                let other = containers.find(name)?;
                definition.config.hostname = other.definition.config.hostname.clone();
                containers.place(other.id()).dir
            }
            _ => {
                let around = plan.map(|plan| networks::surroundings(containers, &plan.attachment, linked));
                netfiles::write(place, &definition, mode, &around.unwrap_or_default())?;
                place.dir.clone()
            }
        };
        let mut joined = joined(containers, &definition, mode)?;
        joined.own_network = plan.map(|_| place.netns());
        let monitor = programs::monitor()?;
        let opened = Opened::of(&containers.roots().run, layers)?;
        let spec = mount::Spec {
            layers: opened.layers().to_vec(),
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
        let is_passing = definition.host.auto_remove;
        mounts::apart(&place.run, || {
            mount::mount(&spec, &place.rootfs())?;
            let made = plan
                .map(|plan| plan.make(containers, place, &definition))
                .transpose()?;
            let (network, mut handed) = match &made {
                Some(made) => (Some(made.network.clone()), made.sockets()),
                None => (None, Vec::new()),
            };
            handed.extend(outside.iter().map(AsFd::as_fd));
            let before = handed.len();
            handed.extend(opened.kept());
            let surroundings = Around {
                sources: mounted::sources(&definition, place, &images)?,
                joined,
                network,
                has_outside: outside.is_some(),
                layers: handed.len() - before,
                files,
            };
            write_files(place, &definition, machine, runtime, surroundings)?;
            let begun = client::spawn(place, &monitor, &handed, attach);
            if let Ok(started) = &begun {
                let run = &containers.roots().run;
                opened.publish(run, &definition.id, started.monitor, before, is_passing);
            }
            Ok(begun)
        })
    }
}

/// What the monitor has to know, but for what it is handed.
fn launch(place: &Place, inputs: &Inputs<'_>, runtime: launch::Runtime) -> Result<Launch> {
    let definition = inputs.definition;
    let (config, host) = (&definition.config, &definition.host);
    Ok(Launch {
        version: launch::VERSION,
        id: definition.id.clone(),
        name: definition.name.clone(),
        runtime,
        terminal: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        log: logs::log_of(definition, place)?,
        restart: host.restart_policy.clone(),
        auto_remove: host.auto_remove,
        stop_signal: machine::stop_signal(definition, inputs.found.is_machine)?,
        stop_timeout: config.stop_timeout.unwrap_or(STOP_TIMEOUT),
        health: health(inputs)?,
        attributes: telling::attributes(definition),
        volumes: volumes::anonymous(&definition.mounts)
            .map(str::to_owned)
            .collect(),
        mounted: volumes::names(&definition.mounts),
        joined: inputs.joined.others.clone(),
        has_outside: false,
        layers: 0,
        network: None,
    })
}

/// What is not said about a health check.
const HEALTH_TIME: i64 = 30_000_000_000;
const HEALTH_START_INTERVAL: i64 = 5_000_000_000;
const HEALTH_RETRIES: i64 = 3;

fn health(inputs: &Inputs<'_>) -> Result<Option<Health>> {
    let config = &inputs.definition.config;
    let Some(check) = &config.healthcheck else {
        return Ok(None);
    };
    let command: Vec<String> = match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
        Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
            let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            [shell.unwrap_or_else(usual), vec![rest.join(" ")]].concat()
        }
        _ => return Ok(None),
    };
    let or = |own: i64, usual: i64| u64::try_from(if own > 0 { own } else { usual }).unwrap_or_default();
    let process = process::exec(
        inputs,
        &process::Exec {
            args: command.clone(),
            ..process::Exec::default()
        },
    )?;
    Ok(Some(Health {
        command,
        interval: or(check.interval, HEALTH_TIME),
        timeout: or(check.timeout, HEALTH_TIME),
        start_period: or(check.start_period, 0),
        start_interval: or(check.start_interval, HEALTH_START_INTERVAL),
        retries: u32::try_from(or(check.retries, HEALTH_RETRIES)).unwrap_or(u32::MAX),
        process,
    }))
}

fn write_launch(place: &Place, launch: &Launch) -> Result<()> {
    launch
        .write(&place.launch())
        .map_err(|e| Error::new(e.to_string()).context("failed to tell the monitor what to do"))
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
    if let Some(all) = place.run.parent().filter(|all| !all.exists()) {
        image::store::make_room(all)?;
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
    let mut others = Vec::new();
    let mut init = |name: &str, kind: &str, file: &str| -> Result<i32> {
        let other = containers.find(name)?;
        match (other.is_running(), &other.state.init) {
            (true, Some(init)) => {
                others.push(monitor::joined::Joined {
                    kind: kind.to_owned(),
                    file: file.to_owned(),
                    container: other.id().to_owned(),
                });
                Ok(init.pid)
            }
            _ => Err(conflict(&format!(
                "cannot join network of a non running container: {}",
                other.id()
            ))),
        }
    };
    if let Some(name) = host.ipc_mode.strip_prefix("container:") {
        let other = containers.find(name)?;
        join::shares_ipc(other.id(), &other.definition.host)?;
    }
    let network = match mode {
        Mode::Container(name) => Some(init(name, "network", "net")?),
        _ => None,
    };
    let mut named = |mode: &str, kind: &str| {
        let name = mode.strip_prefix("container:");
        name.map(|name| init(name, kind, kind)).transpose()
    };
    let (ipc, pid) = (named(&host.ipc_mode, "ipc")?, named(&host.pid_mode, "pid")?);
    Ok(Joined {
        network,
        own_network: None,
        ipc,
        pid,
        shm: None,
        others,
    })
}

/// What the kernel would refuse with half a sentence.
fn check_program(root: std::os::fd::BorrowedFd<'_>, config: &serde_json::Value) -> Result<()> {
    let texts = |value: &serde_json::Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let process = &config["process"];
    let cwd = process["cwd"].as_str().unwrap_or("/");
    explain::check(root, &texts(&process["args"]), &texts(&process["env"]), cwd)
}

/// `/.dockerenv`, by which programs see that they are in a container.
fn mark(upper: &std::path::Path) -> Result<()> {
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(upper.join(".dockerenv"));
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::from(e).context("failed to make /.dockerenv"))
        }
        _ => Ok(()),
    }
}

/// What a container has of others and of its networks.
struct Around {
    /// What is bound at a destination, where that is not simply what is named.
    sources: BTreeMap<String, PathBuf>,
    joined: Joined,
    network: Option<launch::Network>,
    has_outside: bool,
    /// So many of its layers are mounted.
    layers: usize,
    /// Where `hosts` and its kind lie.
    files: PathBuf,
}

/// Writes `hosts` and its kind anew for a container that its monitor is about to start again: what it has written into them goes.
///
/// # Errors
/// One cannot be written.
pub fn renew_files(containers: &Containers, container: &Container) -> Result<()> {
    let definition = &container.definition;
    let mode = network::parse_mode(&definition.host.network_mode)?;
    if matches!(mode, Mode::Container(_)) {
        return Ok(());
    }
    let place = containers.place(container.id());
    let attachment = networks::read(&place.run)?;
    let linked = links::that_hold(containers, definition);
    let around = attachment.map(|attachment| networks::surroundings(containers, &attachment, linked));
    netfiles::write(&place, definition, &mode, &around.unwrap_or_default())
}

/// config.json, and what the monitor is told. The root is mounted.
fn write_files(
    place: &Place,
    definition: &Definition,
    machine: &spec::Host,
    runtime: launch::Runtime,
    around: Around,
) -> Result<()> {
    let Around {
        sources,
        joined,
        network,
        has_outside,
        layers,
        files,
    } = around;
    let root = sys::fs::open(&place.rootfs(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let found = Found::look_up(definition, root.as_fd(), machine)?;
    let of = |file: File| Some(files.join(file.name()));
    let mut inputs = Inputs::of(definition, machine, &found);
    inputs.joined = joined;
    inputs.sources = sources;
    if let Some(pid) = inputs.joined.ipc {
        let directory = place.run.join("shm");
        make_private(&directory)?;
        join::attach(&join::shared_memory(pid)?, &directory)?;
        inputs.joined.shm = Some(directory);
    }
    inputs.files = Files {
        resolv_conf: of(File::Resolver),
        hostname: of(File::Hostname),
        hosts: of(File::Hosts),
    };
    if definition.host.init == Some(true) {
        inputs.init = Some(programs::init()?);
    }
    let (config, _) = spec::document(&inputs)?;
    spec::prepare(&inputs, &config)?;
    check_program(root.as_fd(), &config)?;
    mark(&place.upper())?;
    let path = place.bundle().join("config.json");
    let bytes = serde_json::to_vec(&config).map_err(|e| Error::new(e.to_string()))?;
    write(&path, &bytes, Durable::No)?;
    let launch = Launch {
        has_outside,
        layers,
        network,
        ..launch(place, &inputs, runtime)?
    };
    write_launch(place, &launch)
}
