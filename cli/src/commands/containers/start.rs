//! `run`, `create`, `start`, `attach`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use engine::containers::{Container, Containers};
use engine::control;
use engine::create::{self, Created};
use engine::model::Config;
use engine::start::{self, NotStarted, Outcome as Begun};
use image::Kind;
use image::store::Image;
use monitor::client::{Started, Streams};
use monitor::protocol::Attach;

use crate::flags::Parsed;
use crate::keys::DetachKeys;
use crate::relay::{self, End, Relay, Seat, Signals};
use crate::run::{self, Pull, Wanted, complaint, parse};
use crate::session::{Failure, Outcome, Session};
use crate::workshop::{self, Workshop};

use super::super::transfer;

/// What Docker says, and ends with, when a process was left by its keys.
const LEFT: &str = "read escape sequence";

pub(super) fn run(session: &Session, parsed: &Parsed) -> Outcome {
    let wanted = parse(session, parsed)?;
    let fail = |failure: Failure| as_run(session, "run", failure);
    let mut workshop = Workshop::open(session).map_err(fail)?;
    let containers = workshop.containers().map_err(fail)?;
    let (detach, sig_proxy, keys) = (wanted.detach, wanted.sig_proxy, wanted.detach_keys.clone());
    let config = wanted.config.clone();
    let open = is_open(&wanted);
    let created = make(session, &workshop, &containers, wanted, "run")?;
    if detach {
        start_one(&workshop, &containers, &created.id, None).map_err(|e| not_started(session, e))?;
        if open {
            tell_of_open(session, &containers, &created.id);
        }
        return session.print(&format!("{}\n", created.id));
    }
    workshop.release_signals();
    let seat = Seat::take(config.tty, config.attach_stdin, Signals::Hold)?;
    let attach = attach_of(&config);
    let begun = start_one(&workshop, &containers, &created.id, Some(attach));
    let streams = match begun.map_err(|e| not_started(session, e))? {
        Begun::Started(Started {
            streams: Some(streams),
            ..
        }) => streams,
        _ => return Ok(()),
    };
    if open {
        tell_of_open(session, &containers, &created.id);
    }
    // What the store was opened for is done; the container may run for years.
    drop(workshop);
    let relay = Relay {
        tty: config.tty,
        stdin: config.attach_stdin,
        keys: DetachKeys::new(keys),
        redraw: false,
        signal: (sig_proxy && !config.tty).then(|| teller(&containers, &created.id)),
    };
    match relay.run(streams, seat)? {
        End::Ended(ended) => {
            workshop::tidy(&containers);
            with_code(ended.code)
        }
        End::Detached => Ok(()),
        End::Lost => lost(&containers, &created.id),
    }
}

/// Whether ports are published at all addresses of the machine although nobody has said so.
fn is_open(wanted: &Wanted) -> bool {
    let host = &wanted.host;
    let unsaid = host
        .port_bindings
        .values()
        .flatten()
        .any(|b| b.host_ip.is_empty());
    (unsaid || host.publish_all_ports) && wanted.publish_at.is_empty() && !wanted.quiet
}

/// Whoever publishes them ought to know.
fn tell_of_open(session: &Session, containers: &Containers, id: &str) {
    // One that has ended by now is reached by nobody.
    let published = engine::summary::published(containers, id).unwrap_or_default();
    let mut everywhere = published.iter().filter(|port| port.host.is_unspecified());
    let numbers: std::collections::BTreeSet<u16> = everywhere.clone().map(|p| p.host_port).collect();
    let Some(first) = everywhere.next() else {
        return;
    };
    let (words, are) = match numbers.len() {
        1 => ("port", "is"),
        _ => ("ports", "are"),
    };
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    session.warn(&format!(
        "Note: {words} {} {are} published on all interfaces; -p 127.0.0.1:{}:{} publishes for this machine only (BRIG_PUBLISH_ADDRESS=127.0.0.1 makes that the default)",
        numbers.join(", "),
        first.host_port,
        first.container_port
    ));
}

/// What is attached of a container's streams.
fn attach_of(config: &Config) -> Attach {
    Attach {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        size: config.tty.then(relay::terminal_size).flatten(),
    }
}

/// Sends our signals to the container.
fn teller(containers: &Containers, id: &str) -> Box<dyn Fn(i32) + Send> {
    let (containers, id) = (containers.clone(), id.to_owned());
    Box::new(move |signal| {
        // It has ended just now: its end is on its way to us.
        let _ = control::kill(&containers, &id, signal);
    })
}

fn with_code(code: i32) -> Outcome {
    match code {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

/// The monitor was killed.
fn lost(containers: &Containers, id: &str) -> Outcome {
    match containers.load(id)? {
        Some(container) if container.is_running() => Err(Failure::new(
            125,
            format!("the monitor of container {id} was killed; the container still runs"),
        )),
        Some(container) => with_code(container.state.exit_code),
        None => Err(Failure::new(
            125,
            format!("the monitor of container {id} was killed"),
        )),
    }
}

fn start_one(
    workshop: &Workshop,
    containers: &Containers,
    id: &str,
    attach: Option<Attach>,
) -> Result<Begun, NotStarted> {
    let begun = start::start(
        containers,
        &workshop.store,
        &|image| workshop.layers(image),
        id,
        attach,
    );
    // Who asked for it to be removed at its end does not want what never began.
    if let Err(failure) = begun {
        let removed = match containers.load(id) {
            Ok(Some(container)) if container.definition.host.auto_remove => {
                engine::remove::remove_with(containers, id, engine::remove::Volumes::Remove)
            }
            _ => Ok(()),
        };
        return Err(NotStarted {
            error: failure.error.and_also(removed),
            ..failure
        });
    }
    begun
}

fn not_started(session: &Session, failure: NotStarted) -> Failure {
    as_run(session, "run", failure.error.into())
}

/// As `run` tells a failure: with its name before it, and where help is. `create` tells it as any command does.
fn as_run(session: &Session, verb: &str, failure: Failure) -> Failure {
    if verb != "run" {
        return failure;
    }
    let code = match failure.code {
        1 => run_code(&failure.message),
        code => code,
    };
    Failure {
        code,
        ..complaint(session.program, verb, &failure.line(session.program))
    }
}

/// Docker looks at the words, whoever has said them.
fn run_code(message: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

/// The container, of an image that is pulled if need be.
fn make(
    session: &Session,
    workshop: &Workshop,
    containers: &Containers,
    wanted: Wanted,
    verb: &str,
) -> Result<Created, Failure> {
    let fail = |failure: Failure| as_run(session, verb, failure);
    let cidfile = CidFile::open(&wanted.host.container_id_file).map_err(fail)?;
    let image = find(session, workshop, &wanted).map_err(fail)?;
    let wanted = create::Wanted {
        name: wanted.name,
        config: wanted.config,
        host: wanted.host,
        networks: wanted.networks,
        publish_at: wanted.publish_at,
    };
    let layers = |image: &Image| workshop.layers(image);
    let created =
        create::create(containers, &workshop.store, &layers, &image, wanted).map_err(|e| fail(e.into()))?;
    for warning in &created.warnings {
        session.warn(&format!("WARNING: {warning}"));
    }
    cidfile.write(&created.id).map_err(fail)?;
    Ok(created)
}

/// Where the id is written. Whoever finds it empty knows that there is no container.
struct CidFile(Option<(PathBuf, File)>);

impl CidFile {
    fn open(path: &str) -> Result<CidFile, Failure> {
        if path.is_empty() {
            return Ok(CidFile(None));
        }
        let made = File::options().write(true).create_new(true).open(path);
        match made {
            Ok(file) => Ok(CidFile(Some((path.into(), file)))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(
                125,
                format!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                ),
            )),
            Err(e) => Err(Failure::new(
                125,
                format!(
                    "failed to create the container ID file: {}",
                    image::Error::from(e)
                ),
            )),
        }
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        match self.0.take() {
            None => Ok(()),
            Some((_, mut file)) => Ok(file.write_all(id.as_bytes())?),
        }
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.0 {
            // An empty one that stays is as Docker's.
            let _ = fs::remove_file(path);
        }
    }
}

/// The image, as `--pull` says.
fn find(session: &Session, workshop: &Workshop, wanted: &Wanted) -> Result<Image, Failure> {
    let name = &wanted.config.image;
    let platform = workshop::platform(wanted.platform.clone())?;
    let pull = || transfer::pull_for_run(session, workshop, name, platform.as_ref(), wanted.quiet);
    if wanted.pull == Pull::Always {
        pull()?;
    }
    let found = workshop.store.find_image(name).and_then(|image| match &platform {
        // One for another platform is not the one that was asked for.
        Some(wanted)
            if wanted
                .rank(&workshop.store.config(&image.id)?.0.platform())
                .is_none() =>
        {
            Err(image::Error::not_found(format!("No such image: {name}")))
        }
        _ => Ok(image),
    });
    match found {
        Err(e) if e.kind() == Kind::NotFound && wanted.pull == Pull::Missing => {
            let reference: image::reference::Reference = name.parse().map_err(Failure::from)?;
            session.warn(&format!(
                "Unable to find image '{}' locally",
                reference.or_latest().familiar()
            ));
            pull()?;
            Ok(workshop.store.find_image(name)?)
        }
        found => Ok(found?),
    }
}

pub(super) fn create(session: &Session, parsed: &Parsed) -> Outcome {
    let wanted = parse(session, parsed)?;
    let fail = |failure: Failure| as_run(session, "create", failure);
    let workshop = Workshop::open(session).map_err(fail)?;
    let containers = workshop.containers().map_err(fail)?;
    let created = make(session, &workshop, &containers, wanted, "create")?;
    session.print(&format!("{}\n", created.id))
}

pub(super) fn start(session: &Session, parsed: &Parsed) -> Outcome {
    let names = parsed.names();
    let attaches = parsed.switch("attach") || parsed.switch("interactive");
    if attaches {
        return match &names[..] {
            [name] => start_attached(session, parsed, name),
            _ => Err(Failure::plain(
                "you cannot start and attach multiple containers at once",
            )),
        };
    }
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    let mut failed = Vec::new();
    for name in &names {
        let begun = containers
            .find_id(name)
            .map_err(NotStarted::from)
            .and_then(|id| start_one(&workshop, &containers, &id, None));
        match begun {
            Ok(_) => session.print(&format!("{name}\n"))?,
            Err(failure) => {
                session.warn(&Failure::from(failure.error).line(session.program));
                failed.push(name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::plain(format!(
            "failed to start containers: {}",
            failed.join(", ")
        ))),
    }
}

fn start_attached(session: &Session, parsed: &Parsed, name: &str) -> Outcome {
    let keys = run::detach_keys(session, parsed)?;
    let mut workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    let container = containers.find(name)?;
    let config = &container.definition.config;
    let stdin = parsed.switch("interactive") && config.open_stdin;
    run::terminal(session, stdin, config.tty)?;
    let attach = Attach {
        stdin,
        ..attach_of(&Config {
            attach_stdout: true,
            attach_stderr: true,
            ..config.clone()
        })
    };
    workshop.release_signals();
    let seat = Seat::take(config.tty, stdin, Signals::Hold)?;
    let mut redraw = false;
    let begun = start_one(&workshop, &containers, container.id(), Some(attach.clone()));
    let streams = match begun.map_err(|f| Failure::from(f.error))? {
        Begun::Started(Started {
            streams: Some(streams),
            ..
        }) => streams,
        Begun::Running => {
            redraw = true;
            connect(&containers, &container, attach)?
        }
        Begun::Started(_) => return Ok(()),
    };
    drop(workshop);
    relay_of(
        &containers,
        &container,
        (streams, seat),
        stdin,
        keys,
        true,
        redraw,
    )
}

fn connect(containers: &Containers, container: &Container, attach: Attach) -> Result<Streams, Failure> {
    let connection = control::connect(containers, container.id())?;
    connection.attach(attach).map_err(|e| control::refusal(e).into())
}

fn relay_of(
    containers: &Containers,
    container: &Container,
    (streams, seat): (Streams, Seat),
    stdin: bool,
    keys: Vec<u8>,
    proxy: bool,
    redraw: bool,
) -> Outcome {
    let tty = container.definition.config.tty;
    let relay = Relay {
        tty,
        stdin,
        keys: DetachKeys::new(keys),
        redraw,
        signal: (proxy && !tty).then(|| teller(containers, container.id())),
    };
    match relay.run(streams, seat)? {
        End::Ended(ended) => with_code(ended.code),
        End::Detached => Err(Failure::plain(LEFT)),
        End::Lost => lost(containers, container.id()),
    }
}

pub(super) fn attach(session: &Session, parsed: &Parsed) -> Outcome {
    let name = parsed.operand(0).unwrap_or_default();
    let keys = run::detach_keys(session, parsed)?;
    let containers = workshop::containers(session)?;
    let container = containers.find(&name)?;
    use monitor::state::Status;
    match container.state.status {
        Status::Running => {}
        Status::Paused => {
            return Err(Failure::plain(
                "cannot attach to a paused container, unpause it first",
            ));
        }
        Status::Restarting => {
            return Err(Failure::plain(
                "cannot attach to a restarting container, wait until it is running",
            ));
        }
        _ => {
            return Err(Failure::plain(
                "cannot attach to a stopped container, start it first",
            ));
        }
    }
    let config = &container.definition.config;
    let stdin = config.open_stdin && !parsed.switch("no-stdin");
    run::terminal(session, stdin, config.tty)?;
    let attach = Attach {
        stdin,
        stdout: true,
        stderr: true,
        size: config.tty.then(relay::terminal_size).flatten(),
    };
    let seat = Seat::take(config.tty, stdin, Signals::Hold)?;
    let streams = connect(&containers, &container, attach)?;
    let proxy = !parsed.was_given("sig-proxy") || parsed.switch("sig-proxy");
    relay_of(&containers, &container, (streams, seat), stdin, keys, proxy, true)
}
