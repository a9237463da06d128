//! The ground of an ordinary user: one user namespace that all its containers are in, and in it one network namespace in which their
//! networks are what root's are on the machine. A process of ours keeps both, `brig-monitor --ground`, and with them the program that
//! leads out: pasta, or slirp4netns.
//!
//! ```text
//! RUN/ground/lock         shared by every brig and every monitor that needs it; the keeper ends when it gets it for itself
//! RUN/ground/making       for one brig at a time: whoever makes a ground
//! RUN/ground/record.json  [`Record`]
//! RUN/ground/socket       the keeper listens here: [`Wanted`], [`Answer`]
//! RUN/ground/net          the network namespace is mounted here, in the keeper's mount namespace only
//! ```
//!
//! May not: enter a namespace, or start a process.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::launch::{Handed, Launch};
use crate::place::{self, Place};
use crate::state::{self, Process, State};

/// The form of the record.
pub const VERSION: u32 = 1;

/// The most that is said in one message.
const LONGEST: usize = 64 << 10;

/// How long a keeper may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Name of the device that leads out of the ground.
pub const DEVICE: &str = "out";

/// Its addresses: a unique local block that is nobody's network, and whatever IPv4 block the machine does not use ([`Wanted::block`]).
pub const BLOCK_6: Ipv6Addr = Ipv6Addr::new(0xfdb1, 0x6272, 0x6967, 0, 0, 0, 0, 0);

/// What is where in the block of the device: as slirp4netns has it.
pub const GATEWAY: u8 = 2;
pub const NAMES: u8 = 3;
pub const OWN: u8 = 100;

/// One address of a block of 256.
pub fn nth(block: Ipv4Addr, n: u8) -> Ipv4Addr {
    let [a, b, c, _] = block.octets();
    Ipv4Addr::new(a, b, c, n)
}

/// The files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub directory: PathBuf,
}

impl Files {
    /// Of the store with this RUN.
    pub fn of(run: &Path) -> Files {
        Files {
            directory: run.join("ground"),
        }
    }

    /// Makes the directory, for its user alone.
    ///
    /// # Errors
    /// mkdir(2)'s.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
    }

    fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    fn record(&self) -> PathBuf {
        self.directory.join("record.json")
    }

    /// The keeper listens here.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// The network namespace, where the keeper is.
    pub fn net(&self) -> PathBuf {
        self.directory.join("net")
    }

    /// A FIFO by which a program says that it is ready.
    pub fn ready(&self) -> PathBuf {
        self.directory.join("ready")
    }

    /// What the program that leads out has to say.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The file whose lock says that the ground is needed. Its descriptor is closed by exec.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open_lock(&self) -> io::Result<File> {
        open(&self.lock())
    }

    /// The ground is needed as long as the file is open. Waits while a keeper is about to end.
    ///
    /// # Errors
    /// open(2)'s, flock(2)'s.
    pub fn hold(&self) -> io::Result<File> {
        let file = self.open_lock()?;
        file.lock_shared()?;
        Ok(file)
    }

    /// Nobody else makes a ground as long as the file is open.
    ///
    /// # Errors
    /// open(2)'s, flock(2)'s.
    pub fn alone(&self) -> io::Result<File> {
        let file = open(&self.directory.join("making"))?;
        file.lock()?;
        Ok(file)
    }

    /// What is written of the ground, whether its keeper lives or not.
    pub fn read(&self) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.record()).ok()?).ok()?;
        (record.version <= VERSION && state::boot().is_ok_and(|boot| boot == record.boot)).then_some(record)
    }

    /// The ground, if its keeper lives.
    pub fn find(&self) -> Option<Record> {
        self.read().filter(|record| record.keeper.is_alive())
    }

    /// Writes the record.
    ///
    /// # Errors
    /// write(2)'s, rename(2)'s.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let new = self.directory.join("record.json.new");
        fs::write(&new, serde_json::to_vec(record)?)?;
        fs::rename(&new, self.record())
    }

    /// Removes what says that there is a ground.
    ///
    /// # Errors
    /// unlink(2)'s.
    pub fn remove(&self) -> io::Result<()> {
        for path in [self.record(), self.socket()] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// How a process in the same user namespace reaches the network namespace.
    pub fn space(&self, record: &Record) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}/root", record.keeper.pid));
        path.extend(self.net().components().skip(1));
        path
    }
}

fn open(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// A ground that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub version: u32,
    pub boot: String,
    pub keeper: Process,
    pub outside: Option<Outside>,
    /// Why no program leads out, after somebody has asked for one.
    pub why: String,
}

impl Record {
    /// The program that leads out, if it runs.
    pub fn way_out(&self) -> Option<&Outside> {
        self.outside.as_ref().filter(|outside| outside.process.is_alive())
    }
}

/// The program that leads out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    pub program: Program,
    pub process: Process,
    /// Of the device: 256 addresses.
    pub block: Ipv4Addr,
    /// As it was asked for.
    #[serde(default)]
    pub names: bool,
}

/// One that can lead out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub kind: Kind,
    pub path: PathBuf,
}

/// Whose words it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Pasta,
    Slirp4netns,
}

impl Kind {
    /// The program's own name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pasta => "pasta",
            Kind::Slirp4netns => "slirp4netns",
        }
    }
}

/// What a keeper is asked for: a way out, if there is none yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The first that starts.
    pub programs: Vec<Program>,
    pub block: Ipv4Addr,
    /// The machine has a way to IPv4 addresses, to IPv6 addresses.
    pub ways: [bool; 2],
    /// It answers as a name server ([`NAMES`]), because the machine's own are on its loopback device. Not otherwise: pasta of 2023 lets
    /// answers of the machine's server come from this address, whoever was asked.
    pub names: bool,
}

/// What has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Why there is none; empty: there is one.
    pub error: String,
}

/// Asks the keeper.
///
/// # Errors
/// It does not answer.
pub fn ask(files: &Files, wanted: &Wanted) -> io::Result<Answer> {
    let (_dir, near) = place::near(&files.socket()).map_err(of_sys)?;
    let socket = sys::socket::connect(&near, sys::socket::Kind::SeqPacket, PATIENCE).map_err(of_sys)?;
    sys::socket::send(socket.as_fd(), &serde_json::to_vec(wanted)?, &[]).map_err(of_sys)?;
    let mut answer = vec![0; LONGEST];
    // Its programs have limits of their own.
    let (length, _) = sys::socket::receive(socket.as_fd(), &mut answer).map_err(of_sys)?;
    match length {
        0 => Err(io::Error::other("it has ended meanwhile")),
        length => Ok(serde_json::from_slice(answer.get(..length).unwrap_or_default())?),
    }
}

fn of_sys(e: sys::Error) -> io::Error {
    io::Error::other(e.to_string())
}

/// Containers that run, by their init and what they were started with; `root` and `run` are the store's.
pub fn running(root: &Path, run: &Path) -> Vec<(Place, State)> {
    let boot = state::boot().unwrap_or_default();
    let entries = fs::read_dir(place::containers(run))
        .into_iter()
        .flatten()
        .flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let places = ids.map(|id| Place::of(root, run, &id));
    let states = places.filter_map(|place| {
        let state = State::load(&place).ok()?.truth(&boot);
        Some((place, state))
    });
    states
        .filter(|(_, state)| state.init.is_some() || state.is_monitored(&boot))
        .collect()
}

/// A network namespace whose keeper was killed: a monitor that has its file open, as others see it.
pub fn orphaned(root: &Path, run: &Path) -> Option<PathBuf> {
    running(root, run).into_iter().find_map(|(place, state)| {
        let monitor = state.monitor.filter(Process::is_alive)?;
        let launch = Launch::read(&place.launch()).ok()?;
        let handed = launch.network?.handed;
        let n = handed.iter().position(|h| matches!(h, Handed::Ground))?;
        let fd = crate::client::HANDED + i32::try_from(n).ok()?;
        let path = PathBuf::from(format!("/proc/{}/fd/{fd}", monitor.pid));
        let file = File::open(&path).ok()?;
        let kind = sys::process::namespace_kind(file.as_fd()).ok()?;
        (kind == libc::CLONE_NEWNET as u64).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_of_another_boot_or_a_newer_form_is_none() {
        let directory = std::env::temp_dir().join(format!("monitor-ground-{}", std::process::id()));
        let files = Files::of(&directory);
        files.make().unwrap();
        let us = Process::of(std::process::id() as i32).unwrap();
        let record = Record {
            version: VERSION,
            boot: state::boot().unwrap(),
            keeper: us,
            ..Record::default()
        };
        assert_eq!(files.find(), None);
        files.write(&record).unwrap();
        assert_eq!(files.find().as_ref(), Some(&record));
        let other = Process {
            start: record.keeper.start + 1,
            ..record.keeper.clone()
        };
        let changed = [
            Record {
                boot: "other".into(),
                ..record.clone()
            },
            Record {
                version: VERSION + 1,
                ..record.clone()
            },
            Record {
                keeper: other,
                ..record.clone()
            },
        ];
        for changed in changed {
            files.write(&changed).unwrap();
            assert_eq!(files.find(), None, "{changed:?}");
        }
        files.remove().unwrap();
        assert_eq!(files.read(), None);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_namespace_is_found_where_its_keeper_is() {
        let files = Files::of(Path::new("/run/user/1000/brig"));
        let record = Record {
            keeper: Process { pid: 7, start: 1 },
            ..Record::default()
        };
        assert_eq!(
            files.space(&record),
            Path::new("/proc/7/root/run/user/1000/brig/ground/net")
        );
        assert_eq!(nth(Ipv4Addr::new(10, 0, 2, 0), NAMES), Ipv4Addr::new(10, 0, 2, 3));
    }
}
