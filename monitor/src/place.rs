//! The files of one container, by name. Nothing else spells them.

use std::path::{Path, PathBuf};

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
}

impl Place {
    /// Of the container with this id in the store at `root`.
    pub fn of(root: &Path, run: &Path, id: &str) -> Place {
        Place {
            dir: containers(root).join(id),
            run: containers(run).join(id),
            names: names(root),
            events: root.join("events"),
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

    /// Locked by whoever starts, removes or renames it.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// The monitor listens here.
    pub fn socket(&self) -> PathBuf {
        self.run.join("socket")
    }

    /// What the runtime is given.
    pub fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    /// Mounted in the monitor's mount namespace only.
    pub fn rootfs(&self) -> PathBuf {
        self.run.join("bundle/rootfs")
    }
}

/// All containers of a store, or what they have in this uptime.
pub fn containers(root: &Path) -> PathBuf {
    root.join("containers")
}

/// Names of containers: links to their ids.
pub fn names(root: &Path) -> PathBuf {
    root.join("names")
}
