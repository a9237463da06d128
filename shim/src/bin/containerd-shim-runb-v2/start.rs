//! `start`: brings a shim up, or finds the one of the container's group, and says where it listens.
//!
//! May not: write a word to stderr on success: containerd reads both streams as the answer.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use shim::children::{Children, Program};
use sys::socket::Kind;

use crate::address::{self, Identity};
use crate::args::Args;
use crate::bundle;
use crate::dialect::{Answer, Caller, MAX_STDIN};
use crate::options;
use crate::serve::TTRPC_ADDRESS;
use crate::ttrpc::status::{Error, Result};

/// Set to `json` it makes a legacy answer name version 3. For containerd 2.0 to 2.2, whose shim manager can be given
/// an environment; older ones cannot, and would take the JSON for an address.
const ANSWER: &str = "CONTAINERD_SHIM_RUNB_ANSWER";

/// How long another `start` may hold the directory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does it, and prints the answer.
pub fn run(args: &Args) -> Result<()> {
    if args.id.is_empty() || args.namespace.is_empty() {
        return Err(Error::invalid_argument("start needs -namespace and -id"));
    }
    let caller = Caller::recognise(&read_stdin()?, args)?;
    let bundle = std::env::current_dir().map_err(|e| Error::from(e).doing("failed to find the bundle"))?;
    let config =
        std::fs::read("config.json").map_err(|e| Error::from(e).doing("failed to read config.json"))?;
    let group = address::group(&config, &args.id)?;
    let identity = Identity {
        grpc_address: &args.address,
        namespace: &args.namespace,
        group: &group,
    };
    let socket = identity.socket(caller.socket_dir())?;
    let address = socket.address();
    if let Found::Fresh(listener) = listen(socket.path())? {
        bring_up(args, &caller, socket.path(), listener).inspect_err(|_| {
            // Nobody listens to it: the next one must not find it.
            let _ = std::fs::remove_file(socket.path());
        })?;
    }
    bundle::write_address(&bundle, &address)?;
    let json = matches!(caller, Caller::Legacy(_)) && std::env::var(ANSWER).is_ok_and(|v| v == "json");
    let answer = match json {
        true => Answer::Json.encode(&address),
        false => caller.answer(&address),
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&answer)?;
    Ok(stdout.flush()?)
}

pub fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin().lock().take(MAX_STDIN as u64 + 1);
    stdin
        .read_to_end(&mut bytes)
        .map_err(|e| Error::from(e).doing("failed to read stdin"))?;
    match bytes.len() > MAX_STDIN {
        true => Err(Error::invalid_argument(format!(
            "stdin has more than {MAX_STDIN} bytes"
        ))),
        false => Ok(bytes),
    }
}

enum Found {
    /// A socket that nobody had.
    Fresh(OwnedFd),
    /// A shim listens already.
    Served,
}

/// The socket under its final name, or that somebody serves it. Two containers of one pod come at the same time, so one
/// `start` at a time looks.
fn listen(path: &Path) -> Result<Found> {
    let doing = |e: sys::Error| Error::from(e).doing("failed to make the socket");
    let dir = path.parent().unwrap_or(Path::new("/"));
    make_dir(dir)?;
    let _lock = enter(dir).map_err(|e| e.doing("failed to make the socket"))?;
    match sys::socket::listen(path, Kind::Stream) {
        Err(e) if e.is(libc::EADDRINUSE) => {}
        made => return private(path, made.map_err(doing)?),
    }
    match sys::socket::connect(path, Kind::Stream, Duration::from_millis(100)) {
        // Its queue is full: somebody has it, and is busy.
        Err(e) if e.is(libc::ETIMEDOUT) => Ok(Found::Served),
        Err(_) => {
            // A shim that was killed has left it.
            std::fs::remove_file(path).map_err(|e| Error::from(e).doing("failed to remove a dead socket"))?;
            private(path, sys::socket::listen(path, Kind::Stream).map_err(doing)?)
        }
        Ok(_) => Ok(Found::Served),
    }
}

fn private(path: &Path, listener: OwnedFd) -> Result<Found> {
    sys::fs::fchmodat(sys::fs::cwd(), path, 0o600)?;
    Ok(Found::Fresh(listener))
}

fn make_dir(dir: &Path) -> Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| Error::from(e).doing("failed to make the socket directory"))?;
    }
    match sys::fs::mkdirat(sys::fs::cwd(), dir, 0o700) {
        Err(e) if !e.is(libc::EEXIST) => Err(Error::from(e).doing("failed to make the socket directory")),
        _ => Ok(()),
    }
}

/// Locks the directory as long as what is returned is held.
fn enter(dir: &Path) -> Result<OwnedFd> {
    let dir = sys::fs::open(dir, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match sys::fs::flock(dir.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
            Err(e) if e.is(libc::EWOULDBLOCK) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            locked => return Ok(locked.map(|()| dir)?),
        }
    }
}

/// Removes a socket that a killed shim has left. Pods do not come again, so no later `start` would. When somebody listens, the
/// answer is a connection to it.
pub fn remove_if_dead(path: &Path) -> Result<Option<OwnedFd>> {
    let _lock = enter(path.parent().unwrap_or(Path::new("/")))?;
    // Connecting to a file that is no socket is refused, too.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    match sys::socket::connect(path, Kind::Stream, Duration::from_millis(100)) {
        Ok(connection) => Ok(Some(connection)),
        Err(e) if e.is(libc::ECONNREFUSED) && is_socket => {
            std::fs::remove_file(path)?;
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}

/// Starts the server and puts it where it belongs, before anybody is told of it.
fn bring_up(args: &Args, caller: &Caller, socket: &Path, listener: OwnedFd) -> Result<()> {
    let unpacked = options::extract(caller.options(), |path| std::fs::read(path))?;
    let sched_core = std::env::var("SCHED_CORE").is_ok_and(|v| !v.is_empty() && v != "0" && v != "false");
    if sched_core {
        sys::process::create_core_cookie().map_err(|e| Error::from(e).doing("enable sched core support"))?;
    }
    let program = std::env::current_exe().map_err(|e| Error::from(e).doing("failed to find this program"))?;
    let program = program.to_string_lossy().into_owned();
    let mut words = vec![program.clone()];
    let named = [
        ("-namespace", args.namespace.as_str()),
        ("-id", &args.id),
        ("-address", &args.address),
        ("-publish-binary", &args.publish_binary),
        ("-socket", &socket.to_string_lossy()),
    ];
    for (name, value) in named {
        words.extend([name.to_owned(), value.to_owned()]);
    }
    if args.debug || caller.wants_debug() {
        words.push("-debug".into());
    }
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let null = null.as_fd();
    let child = Children::default().spawn_lasting(&Program {
        path: &program,
        args: words,
        env: environment(args, caller),
        fds: &[null, null, null, listener.as_fd()],
    })?;
    let placed = place(child.pid, &unpacked.options.shim_cgroup);
    if placed.is_err() {
        // It has no containers yet.
        sys::process::kill(child.pid, libc::SIGKILL)?;
    }
    placed
}

fn environment(args: &Args, caller: &Caller) -> Vec<String> {
    let told = caller.ttrpc_address();
    let mut env: Vec<String> = std::env::vars_os()
        .filter(|(name, _)| name != "GOMAXPROCS" && (told.is_none() || name != TTRPC_ADDRESS))
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .filter(|entry| !entry.starts_with("OTEL_SERVICE_NAME="))
        .collect();
    env.extend(told.map(|address| format!("{TTRPC_ADDRESS}={address}")));
    // For what the shim calls.
    env.push("GOMAXPROCS=4".into());
    env.push(format!("OTEL_SERVICE_NAME=containerd-shim-{}", args.id));
    env
}

/// Its cgroup, and an OOM score a little above containerd's: of the two the shim goes first, and a container before both.
fn place(pid: i32, shim_cgroup: &str) -> Result<()> {
    if !shim_cgroup.is_empty() {
        enter_cgroup(pid, shim_cgroup)
            .map_err(|e| e.doing(format!("failed to join the cgroup {shim_cgroup}")))?;
    }
    let parents = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", sys::process::parent_pid()));
    // A parent outside of our pid namespace has none to go by.
    let Some(score) = parents.ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return Ok(());
    };
    let wanted = (score + 1).min(1000).to_string();
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), wanted)
        .map_err(|e| Error::from(e).doing("failed to adjust OOM score for shim"))
}

/// A path in every hierarchy: all of version 1, or the one of version 2.
fn enter_cgroup(pid: i32, path: &str) -> Result<()> {
    let dirs = shim::cgroup::Mounts::default()
        .dirs(Path::new(path))
        .map_err(|e| Error::unknown(e.to_string()))?;
    for dir in dirs {
        std::fs::create_dir_all(&dir)?;
        let file = sys::fs::open(&dir.join("cgroup.procs"), libc::O_WRONLY, 0)?;
        sys::fs::write_once(file.as_fd(), pid.to_string().as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_socket_is_removed() {
        let dir = std::env::temp_dir().join(format!("shim-socket-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (socket, file) = (dir.join("socket"), dir.join("file"));
        let Ok(Found::Fresh(listener)) = listen(&socket) else {
            panic!("nobody has it");
        };
        assert!(remove_if_dead(&socket).unwrap().is_some(), "somebody listens");
        assert!(socket.exists());
        assert!(matches!(listen(&socket), Ok(Found::Served)));
        drop(listener);
        assert!(remove_if_dead(&socket).unwrap().is_none(), "nobody does");
        assert!(!socket.exists());
        remove_if_dead(&socket).unwrap();
        std::fs::write(&file, "").unwrap();
        remove_if_dead(&file).unwrap();
        assert!(file.exists(), "not a socket");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
