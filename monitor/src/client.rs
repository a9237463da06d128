//! The other side of a monitor's socket: starts a monitor, asks one, and exchanges frames with it.
//!
//! May not: have a loop or a thread. Every call blocks until it is answered; whoever waits for more than one thing polls the
//! descriptor, or gives the two halves to two threads.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sys::process::{ExecStrings, Spawn, Tie};

use crate::place::{self, Place};
use crate::protocol::{Attach, Exec, Frame, Frames, Kind, Reply, Request};

/// Where a monitor finds the socket of who has spawned it.
pub const REPORT: i32 = 3;

/// The first of the descriptors that it is given besides.
pub const HANDED: i32 = REPORT + 1;

/// How long a monitor may take to accept a connection. It does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that is sent in one frame.
const PIECE: usize = 64 << 10;

/// Why a request came to nothing.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens, or the monitor has ended before it answered: the state on disk says what is true.
    Gone,
    /// The monitor has refused, in the words for the user.
    Refused { kind: Kind, message: String },
    /// The monitor could not be started or asked.
    Failed(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Gone => f.write_str("the container's monitor does not run"),
            Error::Refused { message, .. } | Error::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A container that has been started.
#[derive(Debug)]
pub struct Started {
    /// Its init, as the host counts.
    pub pid: i32,
    /// The monitor: a child of the caller.
    pub monitor: i32,
    /// With an attach: the streams.
    pub streams: Option<Streams>,
}

/// Starts a monitor from the calling thread, whose mount namespace it takes over, and the container of `place.launch()`. What it
/// returns is running; what was begun of a container that cannot be started is gone. `handed`: what `network.handed` of the launch
/// says they are; the monitor gets copies.
///
/// # Errors
/// [`Error::Refused`] says why the container could not be started. Its network is undone then; after any other error whoever calls
/// has to.
pub fn spawn(
    place: &Place,
    program: &Path,
    handed: &[BorrowedFd<'_>],
    attach: Option<Attach>,
) -> Result<Started> {
    launch(place, program, &[], handed, attach)
}

/// Starts a monitor for a container that runs and whose monitor was killed. It gets what the container writes from then on, and what
/// it has written since; it knows the exit code if it can be known (Linux 6.15, or a parent that is slow to wait), else it is 255. It has no
/// mount of the root: if the restart policy wants the container to run again, it asks `brig` for a start when it has ended. Whoever
/// calls has the container's lock.
///
/// # Errors
/// [`Error::Refused`] when it does not run.
pub fn adopt(place: &Place, program: &Path, brig: &Path, attach: Option<Attach>) -> Result<Started> {
    let brig = brig.to_string_lossy();
    launch(place, program, &["--adopt", "--brig", &brig], &[], attach)
}

fn launch(
    place: &Place,
    program: &Path,
    flags: &[&str],
    handed: &[BorrowedFd<'_>],
    attach: Option<Attach>,
) -> Result<Started> {
    let failed = |e: String| Error::Failed(format!("failed to start {}: {e}", program.display()));
    let (ours, theirs) = UnixStream::pair().map_err(|e| failed(e.to_string()))?;
    let mut connection = Connection::over(ours);
    // It waits in the socket until the monitor reads it.
    connection.ask(&Request::Start {
        attach: attach.clone(),
    })?;
    let monitor = start_program(place, program, flags, handed, theirs).map_err(|e| failed(e.to_string()))?;
    let answer = connection.answer().map_err(|e| match e {
        Error::Gone => failed("it ended before it had answered".into()),
        other => other,
    });
    let answer = answer.inspect_err(|_| {
        // It has nothing left to do; one that is not waited for would be a zombie for as long as we live.
        let _ = sys::process::wait_pid(monitor, sys::process::Block::Yes);
    })?;
    Ok(Started {
        pid: answer["pid"].as_i64().unwrap_or_default() as i32,
        monitor,
        streams: attach.is_some().then(|| connection.into_streams()),
    })
}

fn start_program(
    place: &Place,
    program: &Path,
    flags: &[&str],
    handed: &[BorrowedFd<'_>],
    report: UnixStream,
) -> sys::Result<i32> {
    let path = sys::fs::c_path(program)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let [root, run] = &place.roots;
    let mut words = vec![
        text(program),
        "--root".into(),
        text(root),
        "--run".into(),
        text(run),
        "--report".into(),
        REPORT.to_string(),
        place.id.clone(),
    ];
    if !handed.is_empty() {
        words.extend(["--handed".into(), handed.len().to_string()]);
    }
    words.extend(flags.iter().map(|flag| flag.to_string()));
    let env = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        std::os::unix::ffi::OsStringExt::into_vec(name)
    });
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let null = null.as_fd();
    let mut fds = vec![null, null, null, report.as_fd()];
    fds.extend_from_slice(handed);
    let (pid, _) = sys::process::spawn(&Spawn {
        path: &path,
        args: &ExecStrings::new(&words)?,
        env: &ExecStrings::new(env)?,
        fds: &fds,
        tie: Tie::OwnSession,
    })?;
    Ok(pid)
}

/// Asks once, on a connection of its own.
///
/// # Errors
/// [`Error`].
pub fn request(place: &Place, request: &Request) -> Result<Value> {
    connect(place)?.request(request)
}

/// Asks once, and hands over descriptors: the monitor gets copies.
///
/// # Errors
/// [`Error`].
pub fn request_with(place: &Place, request: &Request, handed: &[BorrowedFd<'_>]) -> Result<Value> {
    let mut connection = connect(place)?;
    connection.ask_with(request, handed)?;
    connection.answer()
}

/// Connects to the monitor of a container.
///
/// # Errors
/// [`Error::Gone`] when there is none.
pub fn connect(place: &Place) -> Result<Connection> {
    let socket = place.socket();
    let gone = |e: &sys::Error| e.is(libc::ENOENT) || e.is(libc::ECONNREFUSED);
    let connected = place::near(&socket)
        .and_then(|(_dir, near)| sys::socket::connect(&near, sys::socket::Kind::Stream, PATIENCE));
    let fd = connected.map_err(|e| match gone(&e) {
        true => Error::Gone,
        false => Error::Failed(format!("failed to connect to the container's monitor: {e}")),
    })?;
    let socket = UnixStream::from(fd);
    // The patience was for the connection: a container may take its input whenever it likes.
    socket.set_write_timeout(None).map_err(io)?;
    Ok(Connection::over(socket))
}

/// A connection on which nothing was asked yet.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    frames: Frames,
}

impl Connection {
    fn over(socket: UnixStream) -> Connection {
        Connection {
            socket,
            frames: Frames::default(),
        }
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`Error`].
    pub fn request(mut self, request: &Request) -> Result<Value> {
        self.ask(request)?;
        self.answer()
    }

    /// Asks, waits for the answer, and keeps the connection, whose end the monitor sees.
    ///
    /// # Errors
    /// [`Error`].
    pub fn request_and_stay(mut self, request: &Request) -> Result<Connection> {
        self.ask(request)?;
        self.answer()?;
        Ok(self)
    }

    /// Attaches to the init's streams.
    ///
    /// # Errors
    /// [`Error`].
    pub fn attach(mut self, attach: Attach) -> Result<Streams> {
        self.ask(&Request::Attach(attach))?;
        self.answer()?;
        Ok(self.into_streams())
    }

    /// Starts another process: its pid and its streams, on which with `detach` nothing comes.
    ///
    /// # Errors
    /// [`Error`].
    pub fn exec(mut self, exec: Exec) -> Result<(i32, Streams)> {
        self.ask(&Request::Exec(exec))?;
        let answer = self.answer()?;
        Ok((
            answer["pid"].as_i64().unwrap_or_default() as i32,
            self.into_streams(),
        ))
    }

    fn ask(&mut self, request: &Request) -> Result<()> {
        self.ask_with(request, &[])
    }

    fn ask_with(&mut self, request: &Request, handed: &[BorrowedFd<'_>]) -> Result<()> {
        let text = serde_json::to_vec(request).map_err(|e| Error::Failed(e.to_string()))?;
        let frame = Frame::Request.with(&text);
        let mut rest = frame.as_slice();
        // A message carries so many; each needs a byte that it comes with.
        for some in handed.chunks(sys::socket::MAX_FDS) {
            let (first, others) = rest.split_at(1);
            sys::socket::send(self.socket.as_fd(), first, some).map_err(|e| {
                Error::Failed(format!("failed to hand sockets to the container's monitor: {e}"))
            })?;
            rest = others;
        }
        self.socket.write_all(rest).map_err(io)
    }

    fn answer(&mut self) -> Result<Value> {
        let (frame, bytes) = receive(&mut self.socket, &mut self.frames)?.ok_or(Error::Gone)?;
        if frame != Frame::Reply {
            return Err(Error::Failed(format!(
                "the monitor has sent {frame:?} for an answer"
            )));
        }
        match serde_json::from_slice(&bytes).map_err(|e| Error::Failed(e.to_string()))? {
            Reply::Done(value) => Ok(value),
            Reply::Failed { kind, message } => Err(Error::Refused { kind, message }),
        }
    }

    fn into_streams(self) -> Streams {
        Streams {
            socket: self.socket,
            frames: self.frames,
        }
    }
}

/// A process's streams. Dropping them detaches.
#[derive(Debug)]
pub struct Streams {
    socket: UnixStream,
    frames: Frames,
}

impl Streams {
    /// Waits for the next frame; `None` when the monitor is gone. The last one is [`Frame::Ended`].
    ///
    /// # Errors
    /// read(2)'s.
    pub fn receive(&mut self) -> Result<Option<(Frame, Vec<u8>)>> {
        receive(&mut self.socket, &mut self.frames)
    }

    /// A frame that has come already; what a caller who polls asks for first.
    ///
    /// # Errors
    /// When what has come are no frames.
    pub fn received(&mut self) -> Result<Option<(Frame, Vec<u8>)>> {
        self.frames.take().map_err(Error::Failed)
    }

    /// Sends one. Waits while the process takes no input.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn send(&self, frame: Frame, bytes: &[u8]) -> Result<()> {
        send(&self.socket, frame, bytes)
    }

    /// Another handle that sends, for a thread of its own.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn sender(&self) -> Result<Sender> {
        Ok(Sender(self.socket.try_clone().map_err(io)?))
    }
}

impl AsFd for Streams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends to a process.
#[derive(Debug)]
pub struct Sender(UnixStream);

impl Sender {
    /// As [`Streams::send`].
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn send(&self, frame: Frame, bytes: &[u8]) -> Result<()> {
        send(&self.0, frame, bytes)
    }

    /// Detaches; whoever receives gets the end.
    pub fn detach(&self) {
        // It is detached already when this fails.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl From<Streams> for OwnedFd {
    fn from(streams: Streams) -> OwnedFd {
        streams.socket.into()
    }
}

/// Input may be of any length; a frame may not.
fn send(mut socket: &UnixStream, frame: Frame, bytes: &[u8]) -> Result<()> {
    let (first, rest) = bytes.split_at(bytes.len().min(PIECE));
    socket.write_all(&frame.with(first)).map_err(io)?;
    for piece in rest.chunks(PIECE) {
        socket.write_all(&frame.with(piece)).map_err(io)?;
    }
    Ok(())
}

fn receive(socket: &mut UnixStream, frames: &mut Frames) -> Result<Option<(Frame, Vec<u8>)>> {
    let mut buffer = [0u8; 16 << 10];
    loop {
        if let Some(frame) = frames.take().map_err(Error::Failed)? {
            return Ok(Some(frame));
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => frames.feed(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(io(e)),
        }
    }
}

fn io(e: std::io::Error) -> Error {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match e.kind() {
        BrokenPipe | ConnectionReset => Error::Gone,
        _ => Error::Failed(format!("failed to talk to the container's monitor: {e}")),
    }
}
