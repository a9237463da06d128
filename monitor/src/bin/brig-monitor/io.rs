//! The streams of a process: from its pipes or its terminal to the log and to whoever is attached, and back.
//!
//! May not: hold what nobody reads. A client that does not read holds the process back, as a pipe would; nobody else.
//!
//! What the init writes goes through FIFOs that have a name, and the container has them open for both directions: when the monitor
//! is killed, the container does not get SIGPIPE, and what it writes waits for the next monitor.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use monitor::log::{Stream, Writer};
use monitor::place::Place;
use monitor::protocol::{Frame, Size};
use shim::error::{Context, Result};
use shim::reactor::{Either, Source, either};
use shim::runtime::Host;
use shim::stdio::{Given, let_others_run};
use shim::sync::{Count, Once};

use crate::backlog::Backlog;

/// How long output may still come when its process has ended: others may hold its streams for ever. What is there then is still read.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// The most that a pipe may hold.
const LAST_PIECES: usize = (1 << 20) / PIECE;

/// One read.
const PIECE: usize = 16 << 10;

/// Who gets what.
#[derive(Debug)]
struct Viewer {
    out: Rc<Backlog>,
    stdout: bool,
    stderr: bool,
}

/// Output that is kept: what a probe says.
#[derive(Debug)]
pub struct Kept {
    pub bytes: RefCell<Vec<u8>>,
    pub most: usize,
    pub cut: Cell<bool>,
}

/// The streams of one process.
#[derive(Debug, Default)]
pub struct Io {
    log: Option<Rc<RefCell<Writer>>>,
    kept: Option<Rc<Kept>>,
    viewers: RefCell<Vec<Viewer>>,
    input: RefCell<Option<Rc<Backlog>>>,
    terminal: RefCell<Option<Rc<Source<OwnedFd>>>>,
    /// The container's side of an init's terminal. systemd opens its console when it has something to say and closes it again; without
    /// anybody who has it open, the first silence would count as the end of all output (EIO).
    slave: RefCell<Option<OwnedFd>>,
    size: Cell<Option<Size>>,
    copies: Rc<Count>,
    /// The process has ended: nobody is held back any more.
    over: Rc<Once<()>>,
    stop: Rc<Once<()>>,
}

/// Our ends of a process's streams.
#[derive(Debug, Default)]
pub struct Ends {
    stdin: Option<OwnedFd>,
    outputs: Vec<(OwnedFd, Stream)>,
}

/// What a process is given.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub terminal: bool,
    pub stdin: bool,
    pub output: bool,
}

/// Makes the streams of an exec.
pub fn make(shape: Shape) -> Result<(Given, Ends)> {
    let output = || -> Result<_> {
        let (rd, wr) = sys::fs::pipe()?;
        sys::fs::set_nonblocking(rd.as_fd(), true)?;
        Ok((rd, wr))
    };
    make_with(shape, output, output)
}

/// Makes those of the init.
pub fn make_named(place: &Place, shape: Shape) -> Result<(Given, Ends)> {
    make_with(shape, || fifo(&place.stdout()), || fifo(&place.stderr()))
}

/// Our ends of the streams of an init whose monitor was killed. Its input has ended with that monitor, and its terminal, too.
pub fn reopen(place: &Place) -> Result<Ends> {
    let open = |path: &Path| sys::fs::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0);
    Ok(Ends {
        stdin: None,
        outputs: vec![
            (open(&place.stdout())?, Stream::Stdout),
            (open(&place.stderr())?, Stream::Stderr),
        ],
    })
}

type Pair = Result<(OwnedFd, OwnedFd)>;

fn make_with(shape: Shape, out: impl Fn() -> Pair, err: impl Fn() -> Pair) -> Result<(Given, Ends)> {
    let mut ends = Ends::default();
    if shape.terminal {
        return Ok((Given::default(), ends));
    }
    let null = || sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0);
    let stdin = match shape.stdin {
        false => null()?,
        true => {
            let (rd, wr) = sys::fs::pipe()?;
            sys::fs::set_nonblocking(wr.as_fd(), true)?;
            ends.stdin = Some(wr);
            rd
        }
    };
    let fds = match shape.output {
        false => [stdin, null()?, null()?],
        true => {
            let ((out_rd, out), (err_rd, err)) = (out()?, err()?);
            ends.outputs = vec![(out_rd, Stream::Stdout), (err_rd, Stream::Stderr)];
            [stdin, out, err]
        }
    };
    let given = Given::default();
    given.fds.replace(Some(fds));
    Ok((given, ends))
}

/// A fresh FIFO: the end that reads, and one for the container.
fn fifo(path: &Path) -> Pair {
    // One of an earlier start may have bytes in it.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(sys::Error::io("unlink", path.display().to_string(), &e).into());
        }
        _ => {}
    }
    let made = sys::fs::mkfifoat(sys::fs::cwd(), path, 0o600);
    made.context("failed to make the container's streams")?;
    let reader = sys::fs::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
    let writer = sys::fs::open(path, libc::O_RDWR, 0)?;
    Ok((reader, writer))
}

impl Io {
    /// The streams of an init.
    pub fn logged(log: &Rc<RefCell<Writer>>) -> Rc<Io> {
        Rc::new(Io {
            log: Some(Rc::clone(log)),
            ..Io::default()
        })
    }

    /// Of a probe.
    pub fn kept(kept: &Rc<Kept>) -> Rc<Io> {
        Rc::new(Io {
            kept: Some(Rc::clone(kept)),
            ..Io::default()
        })
    }

    /// Begins to copy: the process is there.
    ///
    /// # Errors
    /// When a descriptor cannot be watched.
    pub fn begin(self: &Rc<Io>, on: &Host, given: &Given, ends: Ends) -> Result<()> {
        if let Some(stdin) = ends.stdin {
            let pipe = Rc::new(on.reactor.watch(stdin)?);
            self.begin_input(on, pipe);
        }
        for (end, stream) in ends.outputs {
            self.begin_output(on, Rc::new(on.reactor.watch(end)?), stream);
        }
        if let Some(master) = given.terminal.take() {
            if self.log.is_some() {
                self.slave.replace(Some(sys::tty::open_slave(master.as_fd())?));
            }
            let master = Rc::new(on.reactor.watch(master)?);
            self.begin_input(on, Rc::clone(&master));
            self.begin_output(on, Rc::clone(&master), Stream::Stdout);
            self.terminal.replace(Some(master));
            if let Some(size) = self.size.get() {
                self.resize(size)?;
            }
        }
        Ok(())
    }

    fn begin_input(&self, on: &Host, to: Rc<Source<OwnedFd>>) {
        let input = Rc::<Backlog>::default();
        self.input.replace(Some(Rc::clone(&input)));
        on.reactor.spawn(async move {
            // The pipe is closed with this task: that is the end of the process's input.
            input.drain(to).await;
            input.give_up();
        });
    }

    fn begin_output(self: &Rc<Io>, on: &Host, from: Rc<Source<OwnedFd>>, stream: Stream) {
        let (io, held) = (Rc::clone(self), self.copies.hold());
        on.reactor.spawn(async move {
            {
                let (copy, stopped) = (pin!(io.copy(&from, stream)), pin!(io.stop.wait()));
                if let Either::Right(()) = either(copy, stopped).await {
                    io.take_rest(from.fd(), stream);
                }
            }
            drop((from, held));
        });
    }

    /// Until the end of the stream; of a terminal that is EIO, when nobody has it open any more.
    async fn copy(&self, from: &Source<OwnedFd>, stream: Stream) {
        loop {
            match from.read_when_ready(|fd| self.take(fd, stream)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.room().await,
            }
            let_others_run().await;
        }
    }

    /// What is there now.
    fn take_rest(&self, from: BorrowedFd<'_>, stream: Stream) {
        for _ in 0..LAST_PIECES {
            match self.take(from, stream) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Reads once, and tells everybody.
    fn take(&self, from: BorrowedFd<'_>, stream: Stream) -> sys::Result<usize> {
        let mut buffer = [0u8; PIECE];
        let n = sys::fs::read(from, &mut buffer)?;
        let bytes = &buffer[..n];
        if n == 0 {
            return Ok(0);
        }
        if let Some(log) = &self.log {
            log.borrow_mut().write(stream, bytes, SystemTime::now());
        }
        if let Some(kept) = &self.kept {
            kept.add(bytes);
        }
        let frame = match stream {
            Stream::Stdout => Frame::Stdout,
            Stream::Stderr => Frame::Stderr,
        };
        let mut viewers = self.viewers.borrow_mut();
        viewers.retain(|viewer| !viewer.out.is_gone());
        for viewer in viewers.iter() {
            let wanted = match stream {
                Stream::Stdout => viewer.stdout,
                Stream::Stderr => viewer.stderr,
            };
            if wanted {
                viewer.out.push(&[&frame.head(n), bytes]);
            }
        }
        Ok(n)
    }

    /// Until every viewer has room, or the process has ended: what is left then is little.
    async fn room(&self) {
        let waiting: Vec<_> = self.viewers.borrow().iter().map(|v| Rc::clone(&v.out)).collect();
        for out in waiting {
            let (room, over) = (pin!(out.room()), pin!(self.over.wait()));
            either(room, over).await;
        }
    }

    /// From now on this client sees what comes.
    pub fn show(&self, out: &Rc<Backlog>, stdout: bool, stderr: bool) {
        self.viewers.borrow_mut().push(Viewer {
            out: Rc::clone(out),
            stdout,
            stderr,
        });
    }

    /// To the process. Waits while it does not take it.
    pub async fn type_in(&self, bytes: &[u8]) {
        let input = self.input.borrow().clone();
        if let Some(input) = input {
            input.push(&[bytes]);
            input.room().await;
        }
    }

    /// Nothing more is typed. A terminal has no end: whoever reads from it goes on waiting, as with Docker.
    pub fn end_input(&self) {
        if self.terminal.borrow().is_none()
            && let Some(input) = self.input.borrow().as_ref()
        {
            input.close();
        }
    }

    /// Of its terminal; without one there is nothing to do. Before there is one, it is kept for it.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn resize(&self, size: Size) -> Result<()> {
        self.size.set(Some(size));
        match self.terminal.borrow().as_ref() {
            Some(terminal) => Ok(shim::stdio::console::resize(
                terminal.fd(),
                size.columns,
                size.rows,
            )?),
            None => Ok(()),
        }
    }

    /// The process has ended: what it has written is read, and then everything is closed.
    pub async fn finish(&self, on: &Host) {
        self.over.set(());
        self.slave.replace(None);
        if let Some(input) = self.input.take() {
            input.give_up();
        }
        let until = Some(Instant::now() + LAST_OUTPUT);
        // Too late is no error: whoever still writes has been given its time.
        let _ = on.reactor.within(until, self.copies.zero()).await;
        self.stop.set(());
        // They have been told to stop: they are done when they have had their turn.
        self.copies.zero().await;
        self.terminal.replace(None);
        self.viewers.borrow_mut().clear();
    }
}

impl Kept {
    /// Keeps this many bytes.
    pub fn new(most: usize) -> Rc<Kept> {
        Rc::new(Kept {
            bytes: RefCell::default(),
            most,
            cut: Cell::new(false),
        })
    }

    fn add(&self, more: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        let room = self.most - bytes.len();
        self.cut.set(self.cut.get() || more.len() > room);
        bytes.extend_from_slice(&more[..more.len().min(room)]);
    }
}
