//! The server: the process that stays.
//!
//! May not: be started by hand; `start` gives it its socket as descriptor 3.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use shim::children::Children;
use shim::reactor::{Either, Reactor, either};
use shim::runtime::Host;
use shim::signals::Signals;
use shim::sync::Count;

use crate::args::Args;
use crate::log::Log;
use crate::publisher::Publisher;
use crate::service::Task;
use crate::ttrpc::server;
use crate::ttrpc::status::{Error, Result};

/// Where `start` puts the listening socket.
pub const LISTENER: i32 = 3;

/// Where events go. The environment is containerd's word.
pub const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";

/// How long the last answers may take to be written.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A shim without containers to which nobody is connected is not needed. Its caller died before it had said where it is, or its
/// containerd is gone for good; one that comes back needs less.
const UNWANTED: Duration = Duration::from_secs(60);

/// Serves until it is told to stop, then removes the socket.
pub fn run(args: &Args) -> Result<()> {
    if !sys::fs::is_inherited(LISTENER) {
        return Err(Error::invalid_argument(
            "no socket was handed over: the server is started by the action start, which containerd calls",
        ));
    }
    let listener = sys::fs::adopt(LISTENER);
    sys::process::set_subreaper()?;
    let reactor = Reactor::new()?;
    let (loop_of_task, args) = (reactor.clone(), args.clone());
    reactor.run(async move { serve(loop_of_task, listener, args).await })?
}

async fn serve(reactor: Reactor, listener: OwnedFd, args: Args) -> Result<()> {
    let children = Children::default();
    let signals = Signals::new(&reactor, &children)?;
    let log = Rc::new(Log::open(&args.id, args.debug));
    let events = std::env::var_os(TTRPC_ADDRESS)
        .map(PathBuf::from)
        .unwrap_or_default();
    let publisher = Publisher::new(&reactor, &log, events, &args.namespace);
    reactor.spawn(Rc::clone(&publisher).deliver());
    let on = Host {
        reactor: reactor.clone(),
        children,
    };
    let task = Task::new(&on, &log, &publisher, &args.namespace);

    sys::fs::set_nonblocking(listener.as_fd(), true)?;
    let listener = reactor.watch(listener)?;
    let unsent = Rc::<Count>::default();
    let connections = Rc::<Count>::default();
    let counts = server::Counts {
        unsent: Rc::clone(&unsent),
        connections: Rc::clone(&connections),
    };
    reactor.spawn(server::serve(
        reactor.clone(),
        listener,
        Rc::clone(&task),
        counts,
        Rc::clone(&log),
    ));
    reactor.spawn(end_when_unwanted(reactor.clone(), Rc::clone(&task), connections));

    let ended = {
        let (stopped, signalled) = (
            pin!(task.stop.wait()),
            pin!(attend_signals(&signals, &task, &log)),
        );
        match either(stopped, signalled).await {
            Either::Left(()) => Ok(()),
            Either::Right(ended) => ended,
        }
    };
    // No new client may find us; one that already has is told all the same.
    remove_socket(Path::new(&args.socket));
    let until = std::time::Instant::now() + LAST_ANSWERS;
    // Whoever does not read its answer has gone.
    let _ = reactor.within(Some(until), unsent.zero()).await;
    ended
}

async fn end_when_unwanted(reactor: Reactor, task: Rc<Task>, connections: Rc<Count>) {
    loop {
        connections.zero().await;
        reactor.sleep(UNWANTED).await;
        if connections.value() == 0 && task.is_empty() {
            task.stop.set(());
        }
    }
}

/// SIGTERM and SIGINT end the server; its containers go on, as those of containerd's own shim do.
async fn attend_signals(signals: &Signals, task: &Task, log: &Log) -> Result<()> {
    loop {
        match signals.next().await? {
            libc::SIGTERM | libc::SIGINT => {
                task.last_events().await;
                return Ok(());
            }
            // What operators send to a shim that seems to hang.
            libc::SIGUSR1 => log.info(format!("state on request: {}", task.describe())),
            _ => {}
        }
    }
}

fn remove_socket(path: &Path) {
    if !path.as_os_str().is_empty() {
        // Somebody may have been faster.
        let _ = std::fs::remove_file(path);
    }
}
