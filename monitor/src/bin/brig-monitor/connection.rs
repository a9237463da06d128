//! One client: its request, its answer, and its frames.
//!
//! May not: let a client that does not read or does not write hold up another.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use monitor::protocol::{Attach, Ended, Frame, Frames, Kind, Reply, Request, Size};
use serde_json::{Value, json};
use shim::error::Result;
use shim::reactor::{Either, Source, either};
use shim::sync::Once;

use crate::backlog::Backlog;
use crate::io::Io;
use crate::monitor::{Monitor, Refusal, Run};
use crate::{control, exec, life, networks};

/// When there are no descriptors left for another client.
const AGAIN: Duration = Duration::from_millis(200);

/// Who is connected.
pub struct Client {
    socket: Rc<Source<OwnedFd>>,
    frames: RefCell<Frames>,
    /// What has come with its request.
    handed: RefCell<Vec<OwnedFd>>,
    /// It has asked: what it sends from here on are bytes.
    asked: Cell<bool>,
    pub out: Rc<Backlog>,
}

/// Takes whoever connects, until nothing happens any more.
pub async fn listen(monitor: Rc<Monitor>, listener: OwnedFd) {
    let Ok(listener) = monitor.on.reactor.watch(listener) else {
        return;
    };
    loop {
        let (next, over) = (
            pin!(listener.read_when_ready(sys::socket::accept)),
            pin!(monitor.over.wait()),
        );
        match either(next, over).await {
            Either::Left(Ok(socket)) => take_up(&monitor, socket, false),
            Either::Left(Err(_)) => monitor.on.reactor.sleep(AGAIN).await,
            Either::Right(_) => return,
        }
    }
}

/// Begins with a client. `spawner` has started us: it may ask for the start, and nobody else.
pub fn take_up(monitor: &Rc<Monitor>, socket: OwnedFd, spawner: bool) {
    let watched =
        sys::fs::set_nonblocking(socket.as_fd(), true).and_then(|()| monitor.on.reactor.watch(socket));
    let Ok(socket) = watched else { return };
    let client = Rc::new(Client {
        socket: Rc::new(socket),
        frames: RefCell::default(),
        handed: RefCell::default(),
        asked: Cell::new(false),
        out: Rc::default(),
    });
    let (socket, out, unsent) = (
        Rc::clone(&client.socket),
        Rc::clone(&client.out),
        monitor.unsent.hold(),
    );
    monitor.on.reactor.spawn(async move {
        out.drain(socket).await;
        out.give_up();
        drop(unsent);
    });
    let monitor_of_task = Rc::clone(monitor);
    monitor.on.reactor.spawn(async move {
        serve(&monitor_of_task, &client, spawner).await;
        client.out.close();
    });
}

/// Tells the spawner, before there is a loop, that nothing was started.
pub fn refuse(report: &OwnedFd, refusal: &Refusal) -> Result<()> {
    let reply = Reply::Failed {
        kind: refusal.kind,
        message: refusal.message.clone(),
    };
    let text = serde_json::to_vec(&reply).unwrap_or_default();
    // Shorter than the socket's buffer.
    sys::fs::write(report.as_fd(), &Frame::Reply.with(&text))?;
    Ok(())
}

async fn serve(monitor: &Rc<Monitor>, client: &Rc<Client>, spawner: bool) {
    let request = {
        let (next, over) = (pin!(client.next()), pin!(monitor.over.wait()));
        match either(next, over).await {
            Either::Left(Some((Frame::Request, bytes))) => serde_json::from_slice(&bytes),
            Either::Left(Some(_)) => return client.refuse(&not_asked()),
            // It has gone without asking, or asks too late.
            Either::Left(None) | Either::Right(_) => {
                if spawner {
                    if let Err(e) = networks::end(monitor).await {
                        monitor.note(&e);
                    }
                    monitor.over.set(None);
                }
                return client.out.give_up();
            }
        }
    };
    client.asked.set(true);
    let request = match request {
        Ok(request) => request,
        Err(e) => {
            let message = format!("failed to understand the request: {e}");
            return client.refuse(&Refusal::of(Kind::Invalid, message));
        }
    };
    match request {
        Request::Start { attach } if spawner => start(monitor, client, attach).await,
        Request::Start { .. } => client.refuse(&Refusal::of(Kind::Invalid, "it has been started")),
        Request::Attach(wish) => attach(monitor, client, &wish).await,
        Request::Exec(wish) => exec::serve(monitor, client, wish).await,
        Request::Network { attachment, handed } => {
            let sockets = client.handed.take().into_iter().zip(handed).collect();
            let changed = networks::change(monitor, *attachment, sockets).await;
            client.answer(changed.map(|()| Value::Null));
        }
        Request::Hold => hold(monitor, client).await,
        other => client.answer(control::serve(monitor, other).await),
    }
}

/// Pauses until the client goes. One that is killed lets nobody stand still for ever.
async fn hold(monitor: &Rc<Monitor>, client: &Rc<Client>) {
    let held = control::pause(monitor).await;
    let pauses = monitor.pauses.get();
    let is_held = held.is_ok();
    client.answer(held.map(|()| Value::Null));
    if !is_held {
        return;
    }
    let gone = pin!(async { while client.next().await.is_some() {} });
    either(gone, pin!(monitor.over.wait())).await;
    control::release(monitor, pauses).await;
}

fn not_asked() -> Refusal {
    Refusal::of(Kind::Invalid, "the first frame has to be a request")
}

/// Begins the life of the container; its spawner sees all of its output.
async fn start(monitor: &Rc<Monitor>, client: &Rc<Client>, wish: Option<Attach>) {
    let run = monitor.run();
    if let Some(wish) = &wish {
        // What is written before the answer comes after it.
        client.out.hold();
        show(&run, client, wish);
        monitor.tell("attach", &[]);
    }
    monitor.on.reactor.spawn(life::live(Rc::clone(monitor)));
    match (life::started(&run).await, wish) {
        (Ok(pid), None) => client.answer(Ok(json!({ "pid": pid }))),
        (Ok(pid), Some(wish)) => {
            client.release(&Ok(json!({ "pid": pid })));
            exchange_with_init(monitor, client, &run, wish.stdin).await;
        }
        (Err(refusal), _) => client.release(&Err(refusal)),
    }
}

fn show(run: &Run, client: &Client, wish: &Attach) {
    run.io.show(&client.out, wish.stdout, wish.stderr);
    if let Some(size) = wish.size {
        // What it has no terminal for is no error, and a terminal's size is never one.
        let _ = run.io.resize(size);
    }
}

async fn attach(monitor: &Rc<Monitor>, client: &Rc<Client>, wish: &Attach) {
    let run = match monitor.running() {
        Ok((run, _)) => run,
        Err(refusal) => return client.refuse(&refusal),
    };
    client.out.push(&[&reply(&Ok(Value::Null))]);
    show(&run, client, wish);
    monitor.tell("attach", &[]);
    exchange_with_init(monitor, client, &run, wish.stdin).await;
}

async fn exchange_with_init(monitor: &Rc<Monitor>, client: &Rc<Client>, run: &Rc<Run>, stdin: bool) {
    let once = stdin && monitor.launch.borrow().stdin_once && !run.typed.replace(true);
    let signalled = async |signal| {
        // A signal for one that has just ended is for nobody.
        let _ = control::kill(monitor, signal).await;
    };
    client.exchange(&run.io, &run.ended, stdin, once, signalled).await;
}

/// What a client is answered.
fn reply(done: &std::result::Result<Value, Refusal>) -> Vec<u8> {
    let reply = match done {
        Ok(value) => Reply::Done(value.clone()),
        Err(refusal) => Reply::Failed {
            kind: refusal.kind,
            message: refusal.message.clone(),
        },
    };
    // It has no keys that are not strings, so it can be written.
    Frame::Reply.with(&serde_json::to_vec(&reply).unwrap_or_default())
}

impl Client {
    /// Answers the request.
    pub fn answer(&self, done: std::result::Result<Value, Refusal>) {
        self.out.push(&[&reply(&done)]);
    }

    /// Answers it, and then sends what was held.
    pub fn release(&self, done: &std::result::Result<Value, Refusal>) {
        self.out.release(&reply(done));
    }

    fn refuse(&self, refusal: &Refusal) {
        self.answer(Err(refusal.clone()));
    }

    /// The next frame; `None` when the client has gone.
    async fn next(&self) -> Option<(Frame, Vec<u8>)> {
        loop {
            match self.frames.borrow_mut().take() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                // One who does not speak our language.
                Err(_) => return None,
            }
            match self.socket.read_when_ready(|fd| self.read(fd)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn read(&self, fd: std::os::fd::BorrowedFd<'_>) -> sys::Result<usize> {
        let mut buffer = [0u8; 16 << 10];
        let n = match self.asked.get() {
            true => sys::fs::read(fd, &mut buffer)?,
            false => {
                let (n, handed) = sys::socket::receive(fd, &mut buffer)?;
                self.handed.borrow_mut().extend(handed);
                n
            }
        };
        self.frames.borrow_mut().feed(&buffer[..n]);
        Ok(n)
    }

    /// Frames in both directions, until the process has ended or the client is gone. `once`: the process's input ends with this
    /// client.
    pub async fn exchange(
        &self,
        io: &Io,
        ended: &Once<Ended>,
        stdin: bool,
        once: bool,
        signalled: impl AsyncFn(i32),
    ) {
        let listen = async {
            while let Some((frame, bytes)) = self.next().await {
                match frame {
                    Frame::Stdin if stdin => io.type_in(&bytes).await,
                    Frame::StdinEnd if once => io.end_input(),
                    Frame::Resize => {
                        if let Ok(size) = serde_json::from_slice::<Size>(&bytes) {
                            // As when it is attached.
                            let _ = io.resize(size);
                        }
                    }
                    Frame::Signal => {
                        if let Ok(signal) = serde_json::from_slice(&bytes) {
                            signalled(signal).await;
                        }
                    }
                    _ => {}
                }
            }
        };
        let (gone, end) = (pin!(listen), pin!(ended.wait()));
        match either(gone, end).await {
            Either::Left(()) => {
                self.out.give_up();
                if once {
                    io.end_input();
                }
            }
            Either::Right(ended) => {
                let text = serde_json::to_vec(&ended).unwrap_or_default();
                self.out.push(&[&Frame::Ended.with(&text)]);
            }
        }
    }
}
