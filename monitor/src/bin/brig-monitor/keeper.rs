//! The keeper of an ordinary user's ground (`monitor::ground`): it is in the user namespace of all containers, has their common network
//! namespace mounted, and runs the program that leads out of it. It ends when neither a brig nor a monitor needs it, and no container
//! runs without a monitor.
//!
//! It stays in the machine's network namespace, from which the program has to be started; nobody who has left it may come back.
//!
//! May not: know what a container is beyond whether it runs.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monitor::ground::{self, Answer, Files, Kind, Outside, Program, Record, Wanted};
use monitor::state::{self, Process};
use network::Space;
use shim::children::{Child, Children};
use shim::error::{Context as _, Error, Result};
use shim::reactor::{Either, Reactor, either};
use shim::signals::Signals;
use shim::sync::Lock;

/// How long a program may take until it leads out. On a machine that is busy pasta takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the kernel may take to make a network namespace.
const MAKE: Duration = Duration::from_secs(30);

/// A question is short.
const LONGEST: usize = 64 << 10;

/// The largest packets that a device of this kind carries, so that hardly anything is cut in pieces. pasta does not put pieces
/// together.
const MTU: &str = "65520";

/// What it was started with.
#[derive(Debug)]
pub struct Args {
    pub root: PathBuf,
    pub run: PathBuf,
    /// Here it says that the ground is there, or why not.
    pub report: i32,
    /// A network namespace whose keeper was killed.
    pub orphan: Option<PathBuf>,
}

struct Keeper {
    args: Args,
    files: Files,
    reactor: Reactor,
    children: Children,
    record: RefCell<Record>,
    outside: RefCell<Option<Child>>,
    /// One way out at a time.
    turn: Rc<Lock>,
}

/// Runs until nobody needs it.
pub fn run(args: Args) -> std::result::Result<(), String> {
    let report = sys::fs::adopt(args.report);
    let done = prepare().and_then(|reactor| {
        let of_task = reactor.clone();
        reactor.run(keep(of_task, args, report))?
    });
    done.map_err(|e| e.to_string())
}

fn prepare() -> Result<Reactor> {
    sys::fs::cloexec_from(3)?;
    sys::fs::chdir(Path::new("/"))?;
    sys::fs::umask(0o077);
    // What is mounted here nobody else sees.
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    Ok(Reactor::new()?)
}

async fn keep(reactor: Reactor, args: Args, report: OwnedFd) -> Result<()> {
    let begun = begin(&reactor, args).await;
    let said = match &begun {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    };
    // Whoever has started us may have been killed meanwhile: then nobody needs us.
    let _ = sys::socket::send(report.as_fd(), format!("{said}\n").as_bytes(), &[]);
    drop(report);
    let (keeper, listener) = begun?;
    let serving = Rc::clone(&keeper);
    reactor.spawn(async move { serve(serving, listener).await });
    until_unneeded(&keeper).await?;
    keeper.end()
}

async fn begin(reactor: &Reactor, args: Args) -> Result<(Rc<Keeper>, OwnedFd)> {
    let files = Files::of(&args.run);
    let children = Children::default();
    reactor.spawn(attend_signals(Signals::new(reactor, &children)?));
    let limit = Some(Instant::now() + MAKE);
    let net = files.net();
    let make = || match &args.orphan {
        Some(orphan) => take_over(orphan, &net),
        None => make_space(&net),
    };
    children
        .fork(reactor, limit, make)
        .await
        .context("failed to make the network namespace of the containers")?;
    let socket = files.socket();
    remove(&socket)?;
    let (_dir, near) = monitor::place::near(&socket)?;
    let listener = sys::socket::listen(&near, sys::socket::Kind::SeqPacket)?;
    sys::fs::set_nonblocking(listener.as_fd(), true)?;
    let record = Record {
        version: ground::VERSION,
        boot: state::boot().map_err(|e| Error::new(e.to_string()))?,
        keeper: Process::of(sys::process::pid()).ok_or_else(|| Error::new("/proc is not mounted"))?,
        outside: None,
        why: String::new(),
    };
    let keeper = Keeper {
        args,
        files,
        reactor: reactor.clone(),
        children,
        record: RefCell::new(record),
        outside: RefCell::default(),
        turn: Rc::default(),
    };
    keeper.save()?;
    Ok((Rc::new(keeper), listener))
}

fn make_space(net: &Path) -> std::result::Result<(), String> {
    let made = Space::make(net).and_then(|space| space.inside(network::ground::prepare));
    made.map_err(|e| e.to_string())
}

fn take_over(orphan: &Path, net: &Path) -> std::result::Result<(), String> {
    let mount = || -> sys::Result<()> {
        fs::write(net, "").map_err(|e| sys::Error::io("write", net.display().to_string(), &e))?;
        let (from, to) = (sys::fs::c_path(orphan)?, sys::fs::c_path(net)?);
        sys::mount::mount(&from, &to, c"", libc::MS_BIND, c"")?;
        Ok(())
    };
    mount().map_err(|e| e.to_string())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(sys::Error::io("unlink", path.display().to_string(), &e).into())
        }
        _ => Ok(()),
    }
}

/// Those that ask a user's processes to end when he logs out, too, are for the monitors: they stop their containers, and then we end.
async fn attend_signals(signals: Signals) {
    while signals.next().await.is_ok() {}
}

/// Returns with the lock: from here on whoever comes waits until we have ended.
async fn until_unneeded(keeper: &Keeper) -> Result<()> {
    let lock = keeper.files.open_lock().map_err(|e| Error::new(e.to_string()))?;
    loop {
        // flock(2) cannot be polled for: a copy of ours waits, and the lock is of the file that we share with it.
        let wait = || sys::fs::flock(lock.as_fd(), libc::LOCK_EX).map_err(|e| e.to_string());
        keeper
            .children
            .fork_keeping(&keeper.reactor, None, &[lock.as_fd()], wait)
            .await?;
        let left = ground::running(&keeper.args.root, &keeper.args.run);
        let inits = left.into_iter().filter_map(|(_, state)| state.init);
        // Opened before it is compared: a pid that has been given to another process would show here.
        let opened = inits.filter_map(|init| {
            let pidfd = sys::process::pidfd_open(init.pid).ok()?;
            init.is_alive().then_some(pidfd)
        });
        let Some(pidfd) = opened.into_iter().next() else {
            // Until we have ended it is ours.
            std::mem::forget(lock);
            return Ok(());
        };
        unlock(&lock)?;
        keeper.reactor.watch(pidfd)?.readable().await?;
    }
}

fn unlock(lock: &File) -> Result<()> {
    Ok(sys::fs::flock(lock.as_fd(), libc::LOCK_UN)?)
}

async fn serve(keeper: Rc<Keeper>, listener: OwnedFd) {
    let Ok(listener) = keeper.reactor.watch(listener) else {
        return;
    };
    loop {
        match sys::socket::accept(listener.fd()) {
            Ok(client) => {
                let (of_task, reactor) = (Rc::clone(&keeper), keeper.reactor.clone());
                reactor.spawn(async move {
                    // One who does not ask, or does not wait for the answer, has gone.
                    let _ = answer(&of_task, client).await;
                });
            }
            Err(e) if e.is(libc::EAGAIN) => {
                if listener.readable().await.is_err() {
                    return;
                }
            }
            Err(_) => keeper.reactor.sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn answer(keeper: &Keeper, client: OwnedFd) -> Result<()> {
    sys::fs::set_nonblocking(client.as_fd(), true)?;
    let client = keeper.reactor.watch(client)?;
    client.readable().await?;
    let mut question = vec![0; LONGEST];
    let (length, _) = sys::socket::receive(client.fd(), &mut question)?;
    let question = question.get(..length).unwrap_or_default();
    let error = match serde_json::from_slice::<Wanted>(question) {
        Ok(wanted) => keeper.lead_out(&wanted).await.err().unwrap_or_default(),
        Err(e) => e.to_string(),
    };
    let text = serde_json::to_vec(&Answer { error }).map_err(|e| Error::new(e.to_string()))?;
    sys::socket::send(client.fd(), &text, &[])?;
    Ok(())
}

impl Keeper {
    fn save(&self) -> Result<()> {
        let record = self.record.borrow();
        self.files
            .write(&record)
            .map_err(|e| Error::new(format!("failed to write the record of the ground: {e}")))
    }

    /// There is a way out when this returns.
    async fn lead_out(&self, wanted: &Wanted) -> std::result::Result<(), String> {
        let _turn = self.turn.enter().await;
        if self
            .outside
            .borrow()
            .as_ref()
            .is_some_and(|child| !child.exit.is_set())
        {
            return Ok(());
        }
        let mut refused = Vec::new();
        for program in &wanted.programs {
            match self.start(program, wanted).await {
                Ok(child) => {
                    let process = Process::of(child.pid);
                    self.outside.replace(Some(child));
                    {
                        let mut record = self.record.borrow_mut();
                        record.why.clear();
                        record.outside = process.map(|process| Outside {
                            program: program.clone(),
                            process,
                            block: wanted.block,
                            names: wanted.names,
                        });
                    }
                    return self.save().map_err(|e| e.to_string());
                }
                Err(e) => refused.push(format!("{}: {e}", program.path.display())),
            }
        }
        let why = refused.join("; ");
        {
            let mut record = self.record.borrow_mut();
            record.outside = None;
            record.why.clone_from(&why);
        }
        self.save().map_err(|e| e.to_string())?;
        Err(why)
    }

    async fn start(&self, program: &Program, wanted: &Wanted) -> Result<Child> {
        let log = self.files.log();
        let opened = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&log);
        let log_file = opened.map_err(|e| sys::Error::io("open", log.display().to_string(), &e))?;
        let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
        let fifo = self.make_fifo()?;
        let net = self.files.net();
        let args = match program.kind {
            Kind::Pasta => pasta(program, wanted, &net, &self.files.ready()),
            Kind::Slirp4netns => slirp4netns(program, wanted, &net),
        };
        let log_fd = log_file.as_fd();
        let path = program.path.to_string_lossy();
        let child = self.children.spawn(&shim::children::Program {
            path: &path,
            args,
            env: environment(),
            fds: &[null.as_fd(), log_fd, log_fd, fifo.as_fd()],
        })?;
        let fifo = self.reactor.watch(fifo)?;
        let waited = async {
            match either(pin!(fifo.readable()), pin!(child.exit.wait())).await {
                Either::Left(ready) => ready.map(|()| true),
                Either::Right(_) => Ok(false),
            }
        };
        let limit = Some(Instant::now() + PATIENCE);
        match self.reactor.within(limit, waited).await {
            Some(Ok(true)) => Ok(child),
            Some(Ok(false)) => Err(Error::new(last_words(&log))),
            Some(Err(e)) => {
                child.signal(libc::SIGKILL)?;
                Err(e.into())
            }
            None => {
                child.signal(libc::SIGKILL)?;
                Err(Error::deadline("it was not ready in time"))
            }
        }
    }

    /// Held open for both directions, so that opening it waits for nobody, and nobody finds its end.
    fn make_fifo(&self) -> Result<OwnedFd> {
        let path = self.files.ready();
        remove(&path)?;
        sys::fs::mkfifoat(sys::fs::cwd(), &path, 0o600)?;
        Ok(sys::fs::open(&path, libc::O_RDWR | libc::O_NONBLOCK, 0)?)
    }

    /// The program dies with us, or before us.
    fn end(&self) -> Result<()> {
        self.files
            .remove()
            .map_err(|e| Error::new(format!("failed to remove the record of the ground: {e}")))?;
        let outside = self.outside.borrow();
        let Some(child) = outside.as_ref().filter(|child| !child.exit.is_set()) else {
            return Ok(());
        };
        child.signal(libc::SIGKILL)?;
        sys::process::wait_pid(child.pid, sys::process::Block::Yes)?;
        Ok(())
    }
}

fn environment() -> Vec<String> {
    let all = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        Some(format!("{name}={value}"))
    });
    all.collect()
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// In the words that the oldest pasta of a stable distribution knows (Debian 12, of 2023-03) and the newest still does. It forwards no port:
/// what is published we bring in ourselves, because it can take no port more once it runs. The machine's own loopback device is not
/// reached (`--no-map-gw`), but for its name server.
fn pasta(program: &Program, wanted: &Wanted, net: &Path, ready: &Path) -> Vec<String> {
    let of = |n| ground::nth(wanted.block, n).to_string();
    let mut all = words(&[
        &program.path.to_string_lossy(),
        "--foreground",
        "--quiet",
        "--config-net",
        "--no-netns-quit",
        "--no-map-gw",
        "--ns-ifname",
        ground::DEVICE,
        "--mtu",
        MTU,
        "--pid",
        &ready.to_string_lossy(),
        "--netns",
        &net.to_string_lossy(),
    ]);
    for direction in ["--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"] {
        all.extend(words(&[direction, "none"]));
    }
    let [four, six] = wanted.ways;
    if four || !six {
        all.extend(words(&["--address", &of(ground::OWN), "--netmask", "24"]));
        all.extend(words(&["--gateway", &of(ground::GATEWAY)]));
        if wanted.names {
            all.extend(words(&["--dns-forward", &of(ground::NAMES)]));
        }
    }
    if six {
        all.extend(words(&["--address", &six_of(ground::OWN)]));
        all.extend(words(&["--gateway", &six_of(ground::GATEWAY)]));
    }
    match wanted.ways {
        [true, false] => all.push("--ipv4-only".into()),
        [false, true] => all.push("--ipv6-only".into()),
        _ => {}
    }
    all
}

fn six_of(n: u8) -> String {
    let mut segments = ground::BLOCK_6.segments();
    segments[7] = n.into();
    std::net::Ipv6Addr::from(segments).to_string()
}

fn slirp4netns(program: &Program, wanted: &Wanted, net: &Path) -> Vec<String> {
    let cidr = format!("{}/24", Ipv4Addr::from(wanted.block.octets()));
    words(&[
        &program.path.to_string_lossy(),
        "--configure",
        "--mtu",
        MTU,
        "--disable-host-loopback",
        "--enable-seccomp",
        "--cidr",
        &cidr,
        "--ready-fd",
        "3",
        "--netns-type",
        "path",
        &net.to_string_lossy(),
        ground::DEVICE,
    ])
}

/// What a program has said before it ended. An old pasta complains in between that there is no syslog.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let is_said = |line: &&str| !line.is_empty() && !line.ends_with("bytes to syslog");
    let mut said = text.lines().rev().map(str::trim).filter(is_said);
    said.next()
        .map_or_else(|| "it has ended without a word".to_owned(), str::to_owned)
}

/// The command line, which only brig writes: `--ground --root ROOT --run RUN --report FD [--orphan NETNS]`.
///
/// # Errors
/// It is another.
pub fn parse(words: impl Iterator<Item = std::ffi::OsString>) -> std::result::Result<Args, String> {
    let (mut root, mut run, mut report, mut orphan) = (None, None, None, None);
    let mut words = words;
    while let Some(flag) = words.next() {
        let value = words.next();
        match flag.to_string_lossy().as_ref() {
            "--root" => root = value.map(PathBuf::from),
            "--run" => run = value.map(PathBuf::from),
            "--report" => report = value.and_then(|v| v.to_string_lossy().parse().ok()),
            "--orphan" => orphan = value.map(PathBuf::from),
            other => return Err(format!("unknown flag {other}")),
        }
    }
    match (root, run, report) {
        (Some(root), Some(run), Some(report)) => Ok(Args {
            root,
            run,
            report,
            orphan,
        }),
        _ => Err("it is started by brig: --ground --root ROOT --run RUN --report FD [--orphan NETNS]".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wanted(ways: [bool; 2]) -> Wanted {
        Wanted {
            programs: Vec::new(),
            block: Ipv4Addr::new(10, 0, 2, 0),
            ways,
            names: true,
        }
    }

    fn program(kind: Kind) -> Program {
        Program {
            kind,
            path: "/usr/bin/it".into(),
        }
    }

    #[test]
    fn what_pasta_is_told() {
        let said = |ways| {
            let all = pasta(
                &program(Kind::Pasta),
                &wanted(ways),
                Path::new("/n"),
                Path::new("/r"),
            );
            all.join(" ")
        };
        let both = said([true, true]);
        assert!(
            both.contains(" --address 10.0.2.100 --netmask 24 --gateway 10.0.2.2 --dns-forward 10.0.2.3 "),
            "{both}"
        );
        assert!(
            both.ends_with(" --address fdb1:6272:6967::64 --gateway fdb1:6272:6967::2"),
            "{both}"
        );
        assert!(both.contains(" --no-map-gw "), "{both}");
        assert!(said([true, false]).ends_with(" --ipv4-only"));
        assert!(said([false, true]).ends_with(" --ipv6-only"));
        assert!(!said([false, true]).contains("10.0.2"));
    }

    #[test]
    fn what_a_program_has_said_last() {
        let path = std::env::temp_dir().join(format!("monitor-keeper-{}", std::process::id()));
        fs::write(
            &path,
            "Failed to send 9 bytes to syslog\nno route\nFailed to send 9 bytes to syslog\n\n",
        )
        .unwrap();
        assert_eq!(last_words(&path), "no route");
        fs::remove_file(&path).unwrap();
        assert_eq!(last_words(&path), "it has ended without a word");
    }

    #[test]
    fn command_lines() {
        let of = |text: &str| parse(text.split(' ').map(Into::into));
        let args = of("--root /a --run /b --report 3 --orphan /proc/7/fd/4").unwrap();
        assert_eq!(
            (args.report, args.orphan.unwrap().as_path()),
            (3, Path::new("/proc/7/fd/4"))
        );
        assert!(of("--root /a --run /b").is_err());
        assert!(of("--rot /a").is_err());
    }
}
