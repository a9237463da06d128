//! The files of one container, by name. Nothing else spells them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What tells brig where a store lies: its root, and what ends with the machine's uptime. The second is for who is asked by a monitor;
/// a user has no need of it.
pub const ROOT_VARIABLE: &str = "BRIG_ROOT";
pub const RUN_VARIABLE: &str = "BRIG_RUN";

/// sun_path, with its NUL.
const LONGEST_ADDRESS: usize = 108;

/// Where a container's things are: what lasts, and what ends with the machine's uptime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `ROOT/containers/ID`.
    pub dir: PathBuf,
    /// `RUN/containers/ID`.
    pub run: PathBuf,
    /// `ROOT/names`.
    pub names: PathBuf,
    /// `ROOT/events`.
    pub events: PathBuf,
    /// The store's roots, and the id: what the above was made of.
    pub roots: [PathBuf; 2],
    pub id: String,
}

impl Place {
    /// Of the container with this id in the store at `root`.
    pub fn of(root: &Path, run: &Path, id: &str) -> Place {
        Place {
            dir: containers(root).join(id),
            run: containers(run).join(id),
            names: names(root),
            events: root.join("events"),
            roots: [root.to_owned(), run.to_owned()],
            id: id.to_owned(),
        }
    }

    /// What `brig inspect` tells of it, but for its state.
    pub fn definition(&self) -> PathBuf {
        self.dir.join("container.json")
    }

    /// [`crate::state::State`].
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// [`crate::launch::Launch`].
    pub fn launch(&self) -> PathBuf {
        self.dir.join("launch.json")
    }

    /// What the container has changed.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("fs/upper")
    }

    /// The kernel's own.
    pub fn work(&self) -> PathBuf {
        self.dir.join("fs/work")
    }

    /// The monitor listens here.
    pub fn socket(&self) -> PathBuf {
        self.run.join("socket")
    }

    /// What the container writes goes through these FIFOs. They have names so that the output of a container outlives its monitor.
    pub fn stdout(&self) -> PathBuf {
        self.run.join("stdout")
    }

    /// The other one.
    pub fn stderr(&self) -> PathBuf {
        self.run.join("stderr")
    }

    /// What the monitor has to say of what went wrong without anybody who could be told.
    pub fn notes(&self) -> PathBuf {
        self.run.join("monitor.log")
    }

    /// What the runtime is given.
    pub fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    /// The container's network namespace, when it is of our making: mounted here in the monitor's mount namespace only, so it goes with
    /// the monitor and with the container, whichever is last.
    pub fn netns(&self) -> PathBuf {
        self.run.join("netns")
    }

    /// [`network::attachment::Attachment`]: what has to be undone.
    pub fn network(&self) -> PathBuf {
        self.run.join("network.json")
    }

    /// Mounted in the monitor's mount namespace only.
    pub fn rootfs(&self) -> PathBuf {
        self.run.join("bundle/rootfs")
    }
}

/// How to name a socket that is in a directory: an address has 108 bytes, a path may be longer. The descriptor must be held as long
/// as the name is used.
///
/// # Errors
/// open(2)'s, when there is no such directory.
pub fn near(socket: &Path) -> sys::Result<(Option<OwnedFd>, PathBuf)> {
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Ok((None, socket.to_owned()));
    };
    if socket.as_os_str().len() < LONGEST_ADDRESS {
        return Ok((None, socket.to_owned()));
    }
    let dir = sys::fs::open(dir, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((Some(dir), path))
}

/// All containers of a store, or what they have in this uptime.
pub fn containers(root: &Path) -> PathBuf {
    root.join("containers")
}

/// Which monitors have layers mounted, in this uptime: a directory for each layer, with an entry for each container.
pub fn layers(run: &Path) -> PathBuf {
    run.join("layers")
}

/// Names of containers: links to their ids.
pub fn names(root: &Path) -> PathBuf {
    root.join("names")
}
