//! `delete`: removes what a shim that is gone has left of one container.
//!
//! May not: fail for what is missing. containerd calls it when it has lost a shim, and also when there was hardly anything yet; the
//! answer is what its clients learn of the container's end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use shim::children::{Children, Exited};
use shim::reactor::Reactor;
use shim::runtime::{Host, Runtime};
use shim::signals::Signals;

use crate::args::Args;
use crate::bundle;
use crate::service;
use crate::start;
use crate::ttrpc::status::{Error, Result};

/// containerd gives five seconds for all.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a killed shim may take to close its socket.
const DYING: Duration = Duration::from_millis(300);

/// What is told of an init whose end nobody saw: it was killed.
const KILLED: u32 = 128 + 9;

/// Does it, and prints the answer.
pub fn run(args: &Args) -> Result<()> {
    let bundle = bundle_of(args)?;
    let pid = std::fs::read_to_string(bundle.join("init.pid"));
    let pid = pid.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let reactor = Reactor::new()?;
    let (loop_of_task, id, namespace) = (reactor.clone(), args.id.clone(), args.namespace.clone());
    reactor.run(async move {
        // Whoever called may remove the bundle before we are done.
        let socket = bundle::read_address(&bundle);
        let cleaned = clean(loop_of_task.clone(), bundle, &id, &namespace).await;
        if let Ok(Some(socket)) = socket {
            // Best effort: it is in nobody's way.
            let _ = remove_socket(&loop_of_task, &socket).await;
        }
        cleaned
    })??;
    let answer = service::deleted(
        pid,
        Some(Exited {
            code: KILLED,
            at: SystemTime::now(),
        }),
    );
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&answer.encode_to_vec())?;
    Ok(stdout.flush()?)
}

/// A shim that is being killed closes one descriptor after another: containerd has seen the end of its connection when the
/// listening one may still be open, and what connects then is closed a moment later. A living shim, of a pod whose other
/// container is deleted here, closes nothing.
async fn remove_socket(reactor: &Reactor, socket: &Path) -> Result<()> {
    let Some(connection) = start::remove_if_dead(socket)? else {
        return Ok(());
    };
    let connection = reactor.watch(connection)?;
    let closed = reactor.within(Some(Instant::now() + DYING), connection.readable());
    if closed.await.is_some() {
        start::remove_if_dead(socket)?;
    }
    Ok(())
}

/// As containerd's own shim does: the bundle is beside the working directory, under the container's name; the flag says the same.
fn bundle_of(args: &Args) -> Result<PathBuf> {
    if args.id.is_empty() {
        return Err(Error::invalid_argument("delete needs -id"));
    }
    if !args.bundle.is_empty() {
        return Ok(PathBuf::from(&args.bundle));
    }
    let cwd = std::env::current_dir().map_err(|e| Error::from(e).doing("failed to find the bundle"))?;
    Ok(cwd.parent().unwrap_or(Path::new("/")).join(&args.id))
}

async fn clean(reactor: Reactor, bundle: PathBuf, id: &str, namespace: &str) -> Result<()> {
    let children = Children::default();
    let signals = Signals::new(&reactor, &children)?;
    reactor.spawn(async move {
        // A failure shows as a call that is not done in time; signals to end are for its end.
        while signals.next().await.is_ok() {}
    });
    let on = Host::new(reactor, children);
    // Without them it was created by another shim, or not at all: the defaults are the best guess.
    let options = bundle::read_options(&bundle)?.unwrap_or_default();
    let runtime = Runtime {
        binary: service::binary_of(&options),
        root: service::root_of(&options, namespace),
        log: bundle.join("log.json"),
        systemd_cgroup: options.systemd_cgroup,
        criu: options.criu_path.clone(),
    };
    let limit = Some(Instant::now() + PATIENCE);
    let deleted = match runtime.is_there() {
        true => runtime.delete(&on, id, true, limit).await,
        // Nothing was made with it, or it has been uninstalled: there is nothing to do with it in any case.
        false => Ok(()),
    };
    let rootfs = bundle.join("rootfs");
    let unmount = move || shim::mount::unmount_all(&rootfs).map_err(|e| e.to_string());
    let unmounted = on.children.fork(&on.reactor, limit, unmount).await;
    deleted?;
    unmounted.map_err(|e| Error::from(e).doing("failed to cleanup rootfs mount"))
}
