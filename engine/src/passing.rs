//! A container of a moment: a step of a build. It runs in the foreground of whoever asks, has no monitor and no record, and nobody lists
//! it.
//!
//! What it consists of hangs on its maker. Its root is mounted in a mount namespace of the thread that waits for it; its runtime
//! is process 1 of a pid namespace and dies with that thread ([`Tie::WholeFamily`]). A maker that is killed leaves a directory that nobody
//! has locked, a cgroup and leases, which the next command finds as it finds those of a container that nobody has finished
//! ([`crate::remove::sweep_unfinished`]).
//!
//! May not: decide what runs, or keep what it has changed.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::mount::{self, Upper};
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use monitor::place::Place;
use sys::process::{Block, ExecStrings, Exit, Spawn, Tie};
use sys::wait::{Deadline, Interest};

use crate::containers::Containers;
use crate::model::{Definition, MountPoint};
use crate::netfiles::{self, File as NetFile};
use crate::network::{self, Mode};
use crate::networks::attach as networks;
use crate::root::{Last, Root};
use crate::spec::{self, Files, Found, Inputs, host::Driver};
use crate::stubs::Stubs;
use crate::tree::{as_path, proc_path};
use crate::{mounts, programs, remove};

/// How often we look whether it was called off.
const GLANCE: Duration = Duration::from_millis(50);

/// What one read takes of what it writes.
const PIECE: usize = 32 << 10;

/// What runs.
pub struct Passing<'p> {
    /// With an id of its own.
    pub definition: Definition,
    /// Of its root, the lowest first.
    pub layers: Vec<mount::Layer>,
    /// Where its changes go.
    pub upper: Upper,
    /// Besides those of the definition, in this order.
    pub binds: Vec<Bind<'p>>,
}

/// Something that is seen in it.
pub struct Bind<'p> {
    /// Absolute, in the container.
    pub destination: String,
    pub source: Source<'p>,
    pub writable: bool,
}

/// What is bound.
pub enum Source<'p> {
    /// A file or a directory of ours. What is written to it stays.
    Path(PathBuf),
    /// What a root has at a path; links in it lead nowhere but into it. What is written to it is lost.
    Root { layers: Vec<mount::Layer>, path: String },
    /// A file that is in memory alone.
    Secret {
        content: &'p [u8],
        uid: u32,
        gid: u32,
        mode: u32,
    },
}

/// Which stream of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Whoever hears what it writes.
pub type Hear<'h> = dyn FnMut(Stream, &[u8]) + Send + 'h;

/// Runs it to its end. What it writes is given to `heard`, as it comes.
///
/// # Errors
/// It could not be started, and why. Called off: it is killed, and [`Kind::Cancelled`]. In every case nothing of it is left but what is in
/// `upper`.
pub fn run(
    containers: &Containers,
    passing: &Passing<'_>,
    heard: &mut Hear<'_>,
    cancel: &Cancel,
) -> Result<Exit> {
    let (place, _lock) = containers.make(&passing.definition.id)?;
    let ended = Step {
        containers,
        place: &place,
        cancel,
    }
    .run(passing, heard);
    let left = take_away(containers, &place);
    match ended {
        Ok(exit) => left.map(|()| exit),
        Err(e) => Err(e.and_also(left)),
    }
}

/// Takes away what steps have left whose builds were killed, also in the middle of their removal. How many.
///
/// # Errors
/// Something cannot be taken away; it stays for the next build.
pub fn sweep(containers: &Containers) -> Result<usize> {
    let mut swept = 0;
    for id in containers.ids()? {
        if containers.place(&id).definition().exists() {
            continue;
        }
        let lock = match containers.try_lock(&id) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            lock => lock?,
        };
        // Whoever makes one has it locked; a container that is being created gets its record meanwhile.
        if lock.is_none() || containers.place(&id).definition().exists() {
            continue;
        }
        take_away(containers, &containers.place(&id))
            .context(format!("failed to remove what is left of container {id}"))?;
        swept += 1;
    }
    image::store::empty_trash(&containers.roots().root)?;
    Ok(swept)
}

/// What its end has left: of a killed one all that the runtime would have removed.
pub(crate) fn take_away(containers: &Containers, place: &Place) -> Result<()> {
    let id = place.id.as_str();
    let root = remove::runtime_root(containers);
    let of_runtime = match root.join(id).exists() {
        true => remove::call(&programs::runtime("")?, &root, &["delete", "--force", id]),
        false => Ok(()),
    };
    let of_network = networks::undo(containers, id);
    let removed = monitor::remove::remove(place, "").context("failed to remove what a step has left");
    of_runtime.and(of_network).and(removed)
}

struct Step<'s> {
    containers: &'s Containers,
    place: &'s Place,
    cancel: &'s Cancel,
}

impl Step<'_> {
    fn run(&self, passing: &Passing<'_>, heard: &mut Hear<'_>) -> Result<Exit> {
        let machine = spec::Host::ask();
        let mut definition = passing.definition.clone();
        let mode = network::check(&definition.host)?;
        (definition.host, _) = spec::settle(&definition.config, definition.host, &machine)?;
        make_directory(&self.place.rootfs())?;
        let plan = match mode {
            Mode::Own => Some(networks::plan(self.containers, &definition)?),
            _ => None,
        };
        let begun = self.with_network(passing, &mut definition, &machine, &mode, plan.as_ref(), heard);
        match (begun, plan) {
            (Err(e), Some(plan)) => Err(e.and_also(plan.give_up(self.containers))),
            (ended, _) => ended,
        }
    }

    fn with_network(
        &self,
        passing: &Passing<'_>,
        definition: &mut Definition,
        machine: &spec::Host,
        mode: &Mode,
        plan: Option<&networks::Plan>,
        heard: &mut Hear<'_>,
    ) -> Result<Exit> {
        let around = plan.map(|plan| networks::surroundings(self.containers, &plan.attachment, Vec::new()));
        netfiles::write(self.place, definition, mode, &around.unwrap_or_default())?;
        let root = mount::Spec {
            layers: passing.layers.clone(),
            upper: Some(passing.upper.clone()),
            scratch: Some(self.place.run.clone()),
            options: mount::Options {
                volatile: true,
                ..mount::Options::default()
            },
        };
        // The thread of the namespace has to live as long as what runs in it.
        mounts::apart(&self.place.run, || {
            mount::mount(&root, &self.place.rootfs())?;
            let _made = plan
                .map(|plan| plan.make(self.containers, self.place, definition))
                .transpose()?;
            let stubs = self.describe(passing, definition, machine, plan.is_some())?;
            let ended = self.start(machine)?.wait(heard, self.cancel);
            // The mount is the thread's: it is gone when others read the upper directory.
            match ended {
                Ok(exit) => stubs.take_away().map(|()| exit),
                Err(e) => Err(e),
            }
        })
    }

    /// Writes config.json. What it will make in the root to mount something on.
    fn describe(
        &self,
        passing: &Passing<'_>,
        definition: &mut Definition,
        machine: &spec::Host,
        has_network: bool,
    ) -> Result<Stubs> {
        let mut sources = std::collections::BTreeMap::new();
        for (n, bind) in passing.binds.iter().enumerate() {
            let source = self.source(n, bind)?;
            definition.mounts.push(MountPoint {
                kind: "bind".into(),
                source: source.to_string_lossy().into_owned(),
                destination: bind.destination.clone(),
                rw: bind.writable,
                propagation: "rprivate".into(),
                ..MountPoint::default()
            });
            sources.insert(bind.destination.clone(), source);
        }
        let root = Root::at(&self.place.rootfs())?;
        let found = Found::look_up(definition, root.fd(), machine)?;
        let mut inputs = Inputs::of(definition, machine, &found);
        let of = |file: NetFile| Some(self.place.dir.join(file.name()));
        inputs.files = Files {
            resolv_conf: of(NetFile::Resolver),
            // As BuildKit: what a step writes to /etc/hostname is for the image.
            hostname: None,
            hosts: of(NetFile::Hosts),
        };
        inputs.sources = sources;
        inputs.joined.own_network = has_network.then(|| self.place.netns());
        let (mut config, _) = spec::document(&inputs)?;
        // A step sees what its file says, and nothing that a container has besides.
        config["process"]["env"] = serde_json::json!(inputs.definition.config.env);
        spec::prepare(&inputs, &config)?;
        let destinations = config["mounts"].as_array().into_iter().flatten();
        let destinations = destinations.filter_map(|mount| mount["destination"].as_str());
        let stubs = Stubs::of(root, destinations)?;
        let bytes = serde_json::to_vec(&config).map_err(|e| Error::new(e.to_string()))?;
        let path = self.place.bundle().join("config.json");
        fs::write(&path, bytes).context(format!("failed to write {}", path.display()))?;
        Ok(stubs)
    }

    /// Where what is bound is found in our mount namespace.
    fn source(&self, n: usize, bind: &Bind<'_>) -> Result<PathBuf> {
        let place = self.place.run.join(format!("mounts/{n}"));
        match &bind.source {
            Source::Path(path) => Ok(path.clone()),
            Source::Root { layers, path } => {
                let root = place.join("root");
                make_directory(&root)?;
                let upper = match bind.writable {
                    true => Some(scratch(&self.place.dir.join(format!("scratch/{n}")))?),
                    false => None,
                };
                let spec = mount::Spec {
                    layers: layers.clone(),
                    upper,
                    scratch: Some(place),
                    options: mount::Options {
                        volatile: true,
                        ..mount::Options::default()
                    },
                };
                mount::mount(&spec, &root)?;
                let found = Root::at(&root)?.open(Path::new(path), Last::Follow, 0)?;
                // Where it lies, whatever links led there. Nobody else changes this root.
                fs::read_link(as_path(proc_path(found.as_fd()).as_bytes()))
                    .context(format!("failed to find {path}"))
            }
            Source::Secret {
                content,
                uid,
                gid,
                mode,
            } => {
                make_directory(&place)?;
                let failed = "failed to make a file of a secret";
                let path = secret(&place, content, *mode).context(failed)?;
                image::tree::give(sys::fs::cwd(), &path, *uid, *gid).context(failed)?;
                Ok(path)
            }
        }
    }

    fn start(&self, machine: &spec::Host) -> Result<Running> {
        let runtime = programs::runtime("")?;
        let root = remove::runtime_root(self.containers);
        let mut args = vec![runtime.clone().into_os_string(), "--root".into(), root.into()];
        if machine.cgroups.driver == Driver::Systemd {
            args.push("--systemd-cgroup".into());
        }
        args.extend(["run".into(), "--bundle".into()]);
        args.push(self.place.bundle().into());
        args.push(self.place.id.clone().into());
        let failed = || format!("failed to start {}", runtime.display());
        let args = ExecStrings::new(args.iter().map(|arg| arg.as_bytes())).context(failed())?;
        let env = std::env::vars_os().map(|(name, value)| {
            let mut both = name.into_encoded_bytes();
            both.push(b'=');
            both.extend(value.into_encoded_bytes());
            both
        });
        let env = ExecStrings::new(env).context(failed())?;
        let path = CString::new(runtime.as_os_str().as_bytes()).map_err(|e| Error::new(e.to_string()))?;
        let nothing = File::open("/dev/null").context("failed to open /dev/null")?;
        let (out, to_out) = sys::fs::pipe()?;
        let (err, to_err) = sys::fs::pipe()?;
        let (pid, pidfd) = sys::process::spawn(&Spawn {
            path: &path,
            args: &args,
            env: &env,
            fds: &[nothing.as_fd(), to_out.as_fd(), to_err.as_fd()],
            tie: Tie::WholeFamily,
        })
        .context(failed())?;
        Ok(Running {
            pid,
            pidfd,
            pipes: [(Stream::Stdout, Some(out)), (Stream::Stderr, Some(err))],
        })
    }
}

/// A runtime at work.
struct Running {
    pid: i32,
    pidfd: Option<OwnedFd>,
    pipes: [(Stream, Option<OwnedFd>); 2],
}

impl Running {
    /// Its pipes have an end only when all of it is dead: it has ended then, or is about to.
    fn wait(mut self, heard: &mut Hear<'_>, cancel: &Cancel) -> Result<Exit> {
        let mut piece = vec![0; PIECE];
        let mut is_killed = false;
        while self.pipes.iter().any(|(_, pipe)| pipe.is_some()) {
            if cancel.is_called() && !is_killed {
                self.kill()?;
                is_killed = true;
            }
            self.hear(&mut piece, heard)?;
        }
        let exit = sys::process::wait_pid(self.pid, Block::Yes).context("failed to wait for a step")?;
        match exit {
            _ if is_killed => Err(Error::of(Kind::Cancelled, "context canceled")),
            Some(exit) => Ok(exit),
            None => Err(Error::new("a step has ended without an exit code")),
        }
    }

    fn hear(&mut self, piece: &mut [u8], heard: &mut Hear<'_>) -> Result<()> {
        let open: Vec<(BorrowedFd<'_>, Interest)> = self
            .pipes
            .iter()
            .filter_map(|(_, pipe)| Some((pipe.as_ref()?.as_fd(), Interest::Read)))
            .collect();
        match sys::wait::poll(&open, Deadline::after(GLANCE)) {
            Err(e) if e.is(libc::ETIMEDOUT) => return Ok(()),
            ready => drop(ready?),
        }
        for (stream, pipe) in &mut self.pipes {
            let Some(fd) = pipe.as_ref().filter(|fd| sys::wait::is_readable(fd.as_fd())) else {
                continue;
            };
            match sys::fs::read(fd.as_fd(), piece)? {
                0 => *pipe = None,
                n => heard(*stream, piece.get(..n).unwrap_or_default()),
            }
        }
        Ok(())
    }

    fn kill(&self) -> Result<()> {
        match &self.pidfd {
            Some(pidfd) => sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?,
            None => sys::process::kill(self.pid, libc::SIGKILL)?,
        }
        Ok(())
    }
}

/// An upper directory that is thrown away.
fn scratch(place: &Path) -> Result<Upper> {
    let upper = Upper {
        upper: place.join("upper"),
        work: place.join("work"),
    };
    make_directory(&upper.upper)?;
    make_directory(&upper.work)?;
    Ok(upper)
}

/// On a file system in memory that is only in our mount namespace, so that it never gets to a disk.
fn secret(place: &Path, content: &[u8], mode: u32) -> Result<PathBuf> {
    let at = sys::fs::c_path(place)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount::mount(c"tmpfs", &at, c"tmpfs", flags, c"mode=0700")?;
    let path = place.join("secret");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(path)
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(format!("failed to make {}", path.display()))
}
