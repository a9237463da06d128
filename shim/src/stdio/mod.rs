//! The streams of a process: where they come from and go to, and the copying between.
//!
//! May not: hold what it copies. Pipes are spliced; what is not a pipe goes through one small buffer.
//!
//! A process never gets the client's FIFO itself: with a pipe between, a child that it leaves behind cannot keep the client
//! waiting for the end of the stream, and the streams belong to whom the container's user is.

pub mod console;
mod fifo;
mod logger;

pub use fifo::let_others_run;

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Kind, Result};
use crate::reactor::{Either, Reactor, Source, either};
use crate::runtime::Host;
use crate::sync::{Count, Once};

use logger::Logger;

/// What a client asked for: paths of FIFOs or addresses. Empty: nothing.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// FIFO.
    pub stdin: String,
    /// FIFO, `fifo://`, `file://`, `binary://` or `binary-v2://`.
    pub stdout: String,
    /// As `stdout`.
    pub stderr: String,
    /// The process has a terminal.
    pub terminal: bool,
    /// Streams that the caller has made and copies by itself; then the addresses are not looked at.
    pub given: Option<Rc<Given>>,
}

/// Streams of a caller who copies by itself.
#[derive(Debug, Default)]
pub struct Given {
    /// The process's 0, 1 and 2. Taken when it is made; not looked at when it has a terminal.
    pub fds: RefCell<Option<[OwnedFd; 3]>>,
    /// Our side of its terminal, once the runtime has sent it. It does not block.
    pub terminal: RefCell<Option<OwnedFd>>,
}

impl Wanted {
    fn is_null(&self) -> bool {
        self.stdin.is_empty() && self.stdout.is_empty() && self.stderr.is_empty()
    }
}

/// Who the process is, for its streams.
#[derive(Debug, Clone, Default)]
pub struct Owner {
    /// Owner of the pipes, for containers whose root is not ours.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What a logger is told (CONTAINER_ID).
    pub id: String,
    /// What a logger is told (CONTAINER_NAMESPACE).
    pub namespace: String,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Null,
    Fifo(PathBuf),
    File(PathBuf),
    Logger(logger::Program),
}

fn parse_output(address: &str) -> Result<Output> {
    if address.is_empty() {
        return Ok(Output::Null);
    }
    let Some((scheme, rest)) = address.split_once("://") else {
        return Ok(Output::Fifo(address.into()));
    };
    match scheme {
        "fifo" => Ok(Output::Fifo(logger::decode(rest).into())),
        "file" => Ok(Output::File(logger::decode(rest).into())),
        "binary" => Ok(Output::Logger(logger::Program::parse(
            rest,
            logger::Readiness::EndOrByte,
        ))),
        "binary-v2" => Ok(Output::Logger(logger::Program::parse(
            rest,
            logger::Readiness::Byte,
        ))),
        _ => Err(Error::of(
            Kind::InvalidArgument,
            format!("unknown STDIO scheme {scheme}"),
        )),
    }
}

/// The streams of one process, on our side.
pub struct Streams {
    /// Our end of what the client writes to, so that a client that goes away is not the end of the input.
    held_stdin: RefCell<Option<OwnedFd>>,
    /// Copies under way that the client waits for.
    copies: Rc<Count>,
    /// Set when whoever still copies shall stop.
    stop: Rc<Once<()>>,
    logger: RefCell<Option<Logger>>,
    console: RefCell<Option<Rc<Source<OwnedFd>>>>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({} copies)", self.copies.value())
    }
}

/// What the process is given, and what is begun once it has it.
#[derive(Debug)]
pub struct Prepared {
    /// Its 0, 1 and 2; with a terminal there are none.
    pub fds: Option<[OwnedFd; 3]>,
    /// Ours.
    pub streams: Rc<Streams>,
    copies: Vec<Copy>,
}

#[derive(Debug)]
enum Copy {
    In { fifo: OwnedFd, pipe: OwnedFd },
    OutFifo { pipe: OwnedFd, fifo: fifo::Writer },
    OutFile { pipe: OwnedFd, file: OwnedFd },
}

/// Opens what the client named and makes what the process gets.
///
/// # Errors
/// Whatever cannot be opened is named.
pub async fn prepare(on: &Host, wanted: &Wanted, owner: &Owner) -> Result<Prepared> {
    let streams = Rc::new(Streams {
        held_stdin: RefCell::new(None),
        copies: Rc::default(),
        stop: Rc::default(),
        logger: RefCell::new(None),
        console: RefCell::new(None),
    });
    if wanted.terminal {
        return Ok(Prepared {
            fds: None,
            streams,
            copies: Vec::new(),
        });
    }
    let mut copies = Vec::new();
    let null = || sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0).map_err(Error::from);
    let given = wanted.given.as_ref().and_then(|given| given.fds.take());
    if given.is_some() {
        return Ok(Prepared {
            fds: given,
            streams,
            copies,
        });
    }
    if wanted.is_null() {
        return Ok(Prepared {
            fds: Some([null()?, null()?, null()?]),
            streams,
            copies,
        });
    }
    let stdin = match wanted.stdin.as_str() {
        "" => null()?,
        path => {
            let (rd, wr) = pipe(owner)?;
            sys::fs::set_nonblocking(wr.as_fd(), true)?;
            let (fifo, held) = fifo::open_stdin(Path::new(path))?;
            streams.held_stdin.replace(Some(held));
            copies.push(Copy::In { fifo, pipe: wr });
            rd
        }
    };
    let mut ends = Vec::new();
    let [out, err] = [parse_output(&wanted.stdout)?, parse_output(&wanted.stderr)?];
    // One logger takes both; the address of stderr only says that there is one.
    let logged = match (&out, &err) {
        (Output::Logger(program), _) | (_, Output::Logger(program)) => {
            let (logger, ends) = Logger::start(on, program, owner).await?;
            streams.logger.replace(Some(logger));
            Some(ends)
        }
        _ => None,
    };
    let mut logged = logged.map(Vec::from).unwrap_or_default().into_iter();
    for output in [out, err] {
        ends.push(match output {
            Output::Null => null()?,
            Output::Logger(_) => match logged.next() {
                Some(end) => end,
                None => null()?,
            },
            Output::Fifo(path) => {
                let (rd, wr) = pipe(owner)?;
                sys::fs::set_nonblocking(rd.as_fd(), true)?;
                copies.push(match fifo::is_fifo(&path) {
                    true => Copy::OutFifo {
                        pipe: rd,
                        fifo: fifo::Writer::open(&path)?,
                    },
                    false => Copy::OutFile {
                        pipe: rd,
                        file: sys::fs::open(&path, libc::O_WRONLY | libc::O_APPEND, 0)
                            .context("failed to open the stream")?,
                    },
                });
                wr
            }
            Output::File(path) => {
                let (rd, wr) = pipe(owner)?;
                sys::fs::set_nonblocking(rd.as_fd(), true)?;
                let file = open_log(&path)?;
                copies.push(Copy::OutFile { pipe: rd, file });
                wr
            }
        });
    }
    let mut ends = ends.into_iter();
    let fds = match (ends.next(), ends.next()) {
        (Some(out), Some(err)) => Some([stdin, out, err]),
        _ => None,
    };
    Ok(Prepared { fds, streams, copies })
}

/// A pipe that belongs to the container's root.
fn pipe(owner: &Owner) -> Result<(OwnedFd, OwnedFd)> {
    let (rd, wr) = sys::fs::pipe()?;
    if (owner.uid, owner.gid) != (0, 0) {
        // Both ends are one inode.
        sys::fs::fchownat(rd.as_fd(), Path::new(""), owner.uid, owner.gid)
            .context("failed to give the streams to the container")?;
    }
    Ok((rd, wr))
}

/// A log file of a client: made with its directories, appended to.
fn open_log(path: &Path) -> Result<OwnedFd> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .map_err(|e| sys::Error::io("mkdir", dir.display().to_string(), &e))
            .context("failed to make the directory of the log")?;
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    sys::fs::open(path, flags, 0o644).context("failed to open the log")
}

impl Prepared {
    /// Begins to copy: the process has its ends, and ours of them are closed here.
    ///
    /// # Errors
    /// When the descriptors cannot be watched.
    pub fn begin(self, on: &Host) -> Result<Rc<Streams>> {
        drop(self.fds);
        for copy in self.copies {
            self.streams.begin_copy(on, copy)?;
        }
        Ok(self.streams)
    }
}

impl Streams {
    fn begin_copy(&self, on: &Host, copy: Copy) -> Result<()> {
        let reactor = &on.reactor;
        let stop = Rc::clone(&self.stop);
        match copy {
            Copy::In { fifo, pipe } => {
                let (fifo, pipe) = (reactor.watch(fifo)?, reactor.watch(pipe)?);
                reactor.spawn(async move {
                    fifo::until(&stop, fifo::splice_all(&fifo, &pipe)).await;
                });
            }
            Copy::OutFifo { pipe, fifo } => {
                let pipe = reactor.watch(pipe)?;
                let held = self.copies.hold();
                let reactor_of_task = reactor.clone();
                let fifo = fifo.watched(reactor)?;
                reactor.spawn(async move {
                    let reactor = reactor_of_task;
                    fifo::until(&stop, fifo::splice_all(&pipe, fifo.source())).await;
                    drop(pipe);
                    fifo.finish(&reactor, held, &stop).await;
                });
            }
            Copy::OutFile { pipe, file } => self.copy_to_file(on, pipe.as_fd(), file.as_fd())?,
        }
        Ok(())
    }

    /// Takes over a terminal and copies between it and the client.
    ///
    /// # Errors
    /// When something the client named cannot be opened.
    pub async fn begin_console(
        self: &Rc<Streams>,
        on: &Host,
        master: OwnedFd,
        wanted: &Wanted,
        owner: &Owner,
    ) -> Result<()> {
        sys::fs::set_nonblocking(master.as_fd(), true)?;
        if let Some(given) = &wanted.given {
            given.terminal.replace(Some(master));
            return Ok(());
        }
        let reactor = &on.reactor;
        let master = Rc::new(reactor.watch(master)?);
        self.console.replace(Some(Rc::clone(&master)));
        if !wanted.stdin.is_empty() {
            let (fifo, held) = fifo::open_stdin(Path::new(&wanted.stdin))?;
            self.held_stdin.replace(Some(held));
            let (fifo, master, stop) = (reactor.watch(fifo)?, Rc::clone(&master), Rc::clone(&self.stop));
            reactor.spawn(async move {
                fifo::until(&stop, console::type_in(&fifo, &master)).await;
            });
        }
        // Only stdout: a terminal has one output.
        match parse_output(&wanted.stdout)? {
            Output::Null => self.discard_console(reactor, master),
            Output::Fifo(path) => {
                let fifo = fifo::Writer::open(&path)?.watched(reactor)?;
                let (held, stop, reactor_of_task) =
                    (self.copies.hold(), Rc::clone(&self.stop), reactor.clone());
                reactor.spawn(async move {
                    fifo::until(&stop, console::show(&master, Some(fifo.source()))).await;
                    drop(master);
                    fifo.finish(&reactor_of_task, held, &stop).await;
                });
            }
            Output::File(path) => {
                let file = open_log(&path)?;
                self.copy_to_file(on, master.fd(), file.as_fd())?;
            }
            Output::Logger(program) => {
                let (logger, [out, err]) = Logger::start(on, &program, owner).await?;
                drop(err);
                self.logger.replace(Some(logger));
                sys::fs::set_nonblocking(out.as_fd(), true)?;
                let out = reactor.watch(out)?;
                let (held, stop) = (self.copies.hold(), Rc::clone(&self.stop));
                reactor.spawn(async move {
                    fifo::until(&stop, console::show(&master, Some(&out))).await;
                    drop(held);
                });
            }
        }
        Ok(())
    }

    fn copy_to_file(&self, on: &Host, from: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<()> {
        let copy = || i32::from(fifo::copy_to_file(from, file).is_err());
        let copier = on.children.fork_with(&[from, file], copy)?;
        let (held, stop) = (self.copies.hold(), Rc::clone(&self.stop));
        on.reactor.spawn(async move {
            let (done, stopped) = (pin!(copier.exit.wait()), pin!(stop.wait()));
            if let Either::Right(()) = either(done, stopped).await {
                // ESRCH: it has just ended.
                let _ = copier.signal(libc::SIGKILL);
            }
            drop(held);
        });
        Ok(())
    }

    /// A terminal whose output nobody wants must be read all the same, or its writers stop.
    fn discard_console(&self, reactor: &Reactor, master: Rc<Source<OwnedFd>>) {
        let stop = Rc::clone(&self.stop);
        reactor.spawn(async move {
            fifo::until(&stop, console::show(&master, None)).await;
        });
    }

    /// Ends the client's input: what it has written is still read.
    pub fn close_stdin(&self) {
        self.held_stdin.replace(None);
    }

    /// Changes the size of the terminal; without one there is nothing to do.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let console = self.console.borrow().clone();
        match console {
            Some(console) => Ok(console::resize(console.fd(), width, height)?),
            None => Ok(()),
        }
    }

    /// The process has ended: its input has, too. Output that it wrote is still on its way.
    pub fn process_ended(&self) {
        self.close_stdin();
    }

    /// Waits until all output is with its readers, but not longer than `patience`: a child that the process left behind may hold
    /// its streams for ever. Then all is closed and a logger is told to end.
    pub async fn close(&self, on: &Host, patience: Duration) {
        let until = Some(Instant::now() + patience);
        // Too late is not an error: whoever still writes has been given its time.
        let _ = on.reactor.within(until, self.copies.zero()).await;
        self.stop.set(());
        self.held_stdin.replace(None);
        self.console.replace(None);
        let logger = self.logger.replace(None);
        if let Some(logger) = logger {
            logger.end(on).await;
        }
    }
}
