//! The ground of an ordinary user: the namespaces that stand for the machine, and the program that leads out of them
//! ([decision 18](../../../docs/decisions/0018-common-ground-of-a-user.md)).
//!
//! Whoever does anything with a user's containers stands on it: enters the user namespace that all of them are in. The network
//! namespace in it is kept by the same process.
//!
//! May not: make networks. They are made there as root's are on the machine.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use image::settings::Settings;
use image::store::Roots;
use image::{Context as _, Error, Kind, Result, rootless};
use monitor::ground::{self, Files, Program, Record, Wanted};
use monitor::state::Process;
use network::Space;
use network::pool::Subnet;
use sys::process::{ExecStrings, Spawn, Tie};

use super::routes;
use crate::containers::Containers;
use crate::{netfiles, programs};

/// Held to the end of this process: that it needs the ground.
static HELD: OnceLock<File> = OnceLock::new();

/// Those that may lead out, or what is wrong with what brig.toml says.
static PROGRAMS: OnceLock<std::result::Result<Vec<Program>, String>> = OnceLock::new();

/// Where a keeper finds the socket of who has started it.
const REPORT: i32 = 3;

/// A report is one sentence.
const LONGEST: usize = 4 << 10;

/// Whether networks have to be made on ground of our own: the machine's network namespace does not belong to our user namespace.
pub fn is_needed() -> bool {
    rootless::is_needed() || super::is_in_user_namespace()
}

/// The programs that may lead out, the best first: those that are installed, or the one that brig.toml names. Found out once, before a
/// user namespace makes root of us.
///
/// # Errors
/// brig.toml is malformed, or names one that is not there.
pub fn programs() -> Result<&'static [Program]> {
    let found = PROGRAMS.get_or_init(|| look_up().map_err(|e| e.to_string()));
    found
        .as_deref()
        .map_err(|why| Error::of(Kind::Unsupported, why.clone()))
}

fn look_up() -> Result<Vec<Program>> {
    match Settings::of_user()?.rootless() {
        Some(name) => Ok(vec![named(name)?]),
        None => Ok([ground::Kind::Pasta, ground::Kind::Slirp4netns]
            .into_iter()
            .filter_map(|kind| {
                let path = programs::on_path(kind.name().as_ref())?;
                Some(Program { kind, path })
            })
            .collect()),
    }
}

fn named(name: &str) -> Result<Program> {
    let file = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
    let kind = match file.starts_with(ground::Kind::Slirp4netns.name()) {
        true => ground::Kind::Slirp4netns,
        false => ground::Kind::Pasta,
    };
    let path = match name.contains('/') {
        true => Some(PathBuf::from(name)).filter(|path| programs::is_program(path)),
        false => programs::on_path(name.as_ref()),
    };
    match path {
        Some(path) => Ok(Program { kind, path }),
        None => Err(Error::of(
            Kind::Unsupported,
            format!("network.rootless in brig.toml is {name:?}, and there is no such program"),
        )),
    }
}

/// Enters the user namespace that our containers are in, or makes it; and a mount namespace of our own. Why there is only one id in it,
/// if so. For a process without threads.
///
/// # Errors
/// Namespaces are forbidden.
pub fn enter(roots: &Roots) -> Result<Option<String>> {
    // What it says of failures is of use only to who needs a network.
    let _ = programs();
    let files = Files::of(&roots.run);
    if hold(&files).is_err() {
        return rootless::enter();
    }
    if let Some(record) = files.find()
        && let Ok(why) = rootless::join(record.keeper.pid)
    {
        return Ok(why);
    }
    let Ok(_alone) = files.alone() else {
        return rootless::enter();
    };
    if let Some(record) = files.find()
        && let Ok(why) = rootless::join(record.keeper.pid)
    {
        return Ok(why);
    }
    let why = match join_any(roots)? {
        Some(why) => why,
        None => rootless::enter()?,
    };
    // Who needs no network needs no keeper; who does is told then why there is none.
    let _ = start_keeper(roots, &files);
    Ok(why)
}

/// The user namespace of containers whose keeper was killed.
fn join_any(roots: &Roots) -> Result<Option<Option<String>>> {
    let running = ground::running(&roots.root, &roots.run);
    let pids = running
        .into_iter()
        .flat_map(|(_, state)| [state.monitor, state.init]);
    for process in pids.flatten().filter(Process::is_alive) {
        // It may end just now; then there is nothing that we have to share with it.
        if let Ok(why) = rootless::join(process.pid) {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Something has lost who looks after it, and is to be taken care of in the user namespace that it is in.
pub fn has_orphans(containers: &Containers) -> bool {
    let roots = containers.roots();
    let is_orphan = |id: &str| {
        let place = containers.place(id);
        let state = monitor::state::State::load(&place).unwrap_or_default();
        let is_alive = state.init.as_ref().is_some_and(Process::is_alive);
        !state.is_monitored(containers.boot()) && (is_alive || place.network().exists())
    };
    let entries = fs::read_dir(monitor::place::containers(&roots.run));
    let names = entries.into_iter().flatten().flatten();
    let mut ids = names.filter_map(|entry| entry.file_name().into_string().ok());
    ids.any(|id| is_orphan(&id))
}

/// Whether there is one.
pub fn is_there(roots: &Roots) -> bool {
    Files::of(&roots.run).find().is_some()
}

fn hold(files: &Files) -> Result<()> {
    if HELD.get().is_some() {
        return Ok(());
    }
    let failed = || format!("failed to lock {}", files.directory.display());
    files.make().context(failed())?;
    let held = files.hold().context(failed())?;
    // Another thread was quicker: then one of the two is enough.
    let _ = HELD.set(held);
    Ok(())
}

/// The ground with a way out, if any program leads out; it is there as long as we are. Without a way out containers reach each other, and
/// are reached at their ports.
///
/// # Errors
/// It cannot be made.
pub fn ready(roots: &Roots) -> Result<Record> {
    let files = Files::of(&roots.run);
    hold(&files)?;
    let record = match files.find() {
        Some(record) => record,
        None => {
            let _alone = files
                .alone()
                .context(format!("failed to lock {}", files.directory.display()))?;
            if files.find().is_none() {
                start_keeper(roots, &files)?;
            }
            files.find().ok_or_else(ended)?
        }
    };
    if record.way_out().is_some() {
        return Ok(record);
    }
    let wanted = Wanted {
        programs: programs()?.to_vec(),
        block: block()?,
        ways: routes::ways(),
        names: !netfiles::has_reachable_servers(),
    };
    // Why there is none stands in the record.
    ground::ask(&files, &wanted).context("failed to ask the keeper of the user's networks")?;
    files.find().ok_or_else(ended)
}

fn ended() -> Error {
    Error::new("the keeper of the user's networks has ended: it was killed")
}

/// Addresses of the device that leads out: where the machine has no way to, so that everything that it reaches is reached from here.
fn block() -> Result<Ipv4Addr> {
    let taken = routes::taken();
    let blocks = (2..=u8::MAX).map(|n| Ipv4Addr::new(10, 0, n, 0));
    let is_free = |block: &Ipv4Addr| {
        let subnet = Subnet::around(IpAddr::V4(*block), 24);
        subnet.is_some_and(|subnet| !taken.iter().any(|other| other.overlaps(&subnet)))
    };
    let mut free = blocks.filter(is_free);
    free.next().ok_or_else(|| {
        Error::of(
            Kind::Unavailable,
            "no block of 10.0.0.0/16 is free for the way out of the user's networks",
        )
    })
}

/// We are in the user namespace that it keeps, and have it alone.
fn start_keeper(roots: &Roots, files: &Files) -> Result<()> {
    if let Some(old) = files.read() {
        end(old.outside.map(|outside| outside.process))?;
    }
    let program = programs::monitor()?;
    let failed = || format!("failed to start {} --ground", program.display());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec![
        text(&program),
        "--ground".into(),
        "--root".into(),
        text(&roots.root),
        "--run".into(),
        text(&roots.run),
        "--report".into(),
        REPORT.to_string(),
    ];
    if let Some(orphan) = ground::orphaned(&roots.root, &roots.run) {
        words.extend(["--orphan".into(), text(&orphan)]);
    }
    let env = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        std::os::unix::ffi::OsStringExt::into_vec(name)
    });
    let (ours, theirs) = sys::socket::seqpacket_pair()?;
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let null = null.as_fd();
    sys::process::spawn(&Spawn {
        path: &sys::fs::c_path(&program)?,
        args: &ExecStrings::new(&words)?,
        env: &ExecStrings::new(env)?,
        fds: &[null, null, null, theirs.as_fd()],
        tie: Tie::OwnSession,
    })
    .context(failed())?;
    drop(theirs);
    let mut said = vec![0; LONGEST];
    let (length, _) = sys::socket::receive(ours.as_fd(), &mut said).context(failed())?;
    let said = String::from_utf8_lossy(said.get(..length).unwrap_or_default()).into_owned();
    match said.as_str() {
        "\n" => Ok(()),
        "" => Err(Error::new("it has ended without a word").context(failed())),
        why => Err(Error::new(why.trim_end()).context(failed())),
    }
}

/// Ends what a keeper that was killed has left.
fn end(process: Option<Process>) -> Result<()> {
    let Some(process) = process else {
        return Ok(());
    };
    // Opened before it is compared: a pid that has been given to another process would show here.
    match sys::process::pidfd_open(process.pid) {
        Ok(pidfd) if process.is_alive() => {
            match sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
                Err(e) if !e.is(libc::ESRCH) => Err(e.into()),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The network namespace, if it is there.
pub fn space(roots: &Roots) -> Option<Space> {
    file(roots).map(Space::from_file)
}

/// Its file.
pub fn file(roots: &Roots) -> Option<OwnedFd> {
    let files = Files::of(&roots.run);
    let record = files.find()?;
    sys::fs::open(&files.space(&record), libc::O_RDONLY, 0).ok()
}

/// What leads out, as it is now; `None`: there is no ground.
pub fn record(roots: &Roots) -> Option<Record> {
    Files::of(&roots.run).find()
}

/// What is wrong with the way out, in a sentence.
pub fn trouble(roots: &Roots) -> Option<String> {
    let record = record(roots)?;
    if record.way_out().is_some() {
        return None;
    }
    match (&record.outside, record.why.as_str()) {
        (Some(outside), _) => Some(format!(
            "{} has ended: containers do not reach anything outside of the machine until the next start of one, or `network reload`",
            outside.program.kind.name()
        )),
        (None, "") => None,
        (None, why) => Some(format!(
            "containers do not reach anything outside of the machine: {why}"
        )),
    }
}

/// Why a container with the network that all have reaches nothing outside of the machine; none, if nothing is known to stop it.
pub fn shut_in(roots: &Roots) -> Option<String> {
    match super::possible() {
        Err(why) => Some(why.to_string()),
        Ok(()) if is_needed() => trouble(roots),
        Ok(()) => None,
    }
}

/// The address under which the machine is reached from the ground: that with which it goes out itself. Its loopback device is not
/// reached.
pub fn host_gateway() -> Option<IpAddr> {
    // Nothing is sent: the kernel chooses an address of ours for the way to any address that is not ours (of a block for examples).
    let to = |own: &str, other: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(other.parse::<SocketAddr>().ok()?).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
    };
    to("0.0.0.0:0", "203.0.113.1:9").or_else(|| to("[::]:0", "[2001:db8::1]:9"))
}

/// The name server that the program that leads out answers as: it asks the machine's own.
pub fn name_server(roots: &Roots) -> Option<IpAddr> {
    let record = record(roots)?;
    let outside = record.way_out().filter(|outside| outside.names)?;
    Some(ground::nth(outside.block, ground::NAMES).into())
}
