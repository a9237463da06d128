//! The containers of a store: where each is, what is known of it, and who may change it.
//!
//! A container is a directory, `ROOT/containers/ID`. It exists from the moment its name, a link in `ROOT/names`, leads to it and its
//! record is written, until the name is gone. Whoever changes it has the directory locked (flock(2)), so that nobody has to tidy up
//! behind the dead: an unlocked directory without a record, or without its name, is one that nobody has finished.
//!
//! May not: start or stop anything.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::store::Roots;
use image::{Context, Error, Kind, Result};
use monitor::place::{self, Place};
use monitor::state::{State, Status};

use crate::model::Definition;

/// How long we wait for another brig that is changing the same container.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// All of them.
#[derive(Clone, Debug)]
pub struct Containers {
    roots: Roots,
    boot: String,
}

/// One of them, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Container {
    pub definition: Definition,
    /// What is true of it, whatever its file says.
    pub state: State,
}

impl Container {
    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.definition.id
    }

    /// Its processes are there, moving or not.
    pub fn is_running(&self) -> bool {
        matches!(self.state.status, Status::Running | Status::Paused)
    }

    /// Its monitor is at work on it.
    pub fn is_supervised(&self) -> bool {
        self.is_running() || self.state.status == Status::Restarting
    }
}

/// Held by whoever changes a container; ends with this value or with the process.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Containers {
    /// Of the store at these roots.
    ///
    /// # Errors
    /// The kernel does not tell its boot id.
    pub fn of(roots: &Roots) -> Result<Containers> {
        Ok(Containers {
            roots: roots.clone(),
            boot: monitor::state::boot().context("failed to read the boot id")?,
        })
    }

    /// Where they lie.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Of the running kernel.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The files of one.
    pub fn place(&self, id: &str) -> Place {
        Place::of(&self.roots.root, &self.roots.run, id)
    }

    /// All ids, in no order.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn ids(&self) -> Result<Vec<String>> {
        let directory = place::containers(&self.roots.root);
        let failed = || format!("failed to list {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(failed())?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            if let Ok(id) = entry.context(failed())?.file_name().into_string()
                && is_id(&id)
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// All of them, the latest first.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            if let Some(container) = self.load(&id)? {
                all.push(container);
            }
        }
        all.sort_by_cached_key(|c| std::cmp::Reverse(crate::summary::moment(&c.definition.created)));
        Ok(all)
    }

    /// The one with exactly this id, if it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self, id: &str) -> Result<Option<Container>> {
        let place = self.place(id);
        let Some(definition) = record::<Definition>(&place)? else {
            return Ok(None);
        };
        Ok(Some(Container {
            state: self.state(&place)?,
            definition,
        }))
    }

    /// What is true of a container's life.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn state(&self, place: &Place) -> Result<State> {
        let state = State::load(place).context(format!("failed to read {}", place.state().display()))?;
        Ok(state.truth(&self.boot))
    }

    /// The id that somebody means: a whole id, a name, or the beginning of one id only.
    ///
    /// # Errors
    /// There is none ([`Kind::NotFound`]), or more than one.
    pub fn find_id(&self, text: &str) -> Result<String> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let missing = || Error::not_found(format!("No such container: {text}"));
        if is_id(text) && self.place(text).definition().exists() {
            return Ok(text.to_owned());
        }
        // Without a record it is one whose maker was killed.
        if let Some(id) = self.named(text)?
            && self.place(&id).definition().exists()
        {
            return Ok(id);
        }
        let could_be = !text.is_empty() && text.bytes().all(is_digit);
        if !could_be {
            return Err(missing());
        }
        let mut found = self
            .ids()?
            .into_iter()
            .filter(|id| id.starts_with(text) && self.place(id).definition().exists());
        match (found.next(), found.next()) {
            (None, _) => Err(missing()),
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(Error::of(
                Kind::Conflict,
                format!("multiple IDs found with provided prefix: {text}"),
            )),
        }
    }

    /// The container that somebody means.
    ///
    /// # Errors
    /// As [`Containers::find_id`], or it cannot be read.
    pub fn find(&self, text: &str) -> Result<Container> {
        let id = self.find_id(text)?;
        self.load(&id)?
            .ok_or_else(|| Error::not_found(format!("No such container: {text}")))
    }

    /// The id of the container that has this name.
    ///
    /// # Errors
    /// It cannot be looked up.
    pub fn named(&self, name: &str) -> Result<Option<String>> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Ok(None);
        }
        let link = place::names(&self.roots.root).join(name);
        match fs::read_link(&link) {
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOENT | libc::EINVAL | libc::ENAMETOOLONG)
                ) =>
            {
                Ok(None)
            }
            target => {
                let target = target.context(format!("failed to read {}", link.display()))?;
                Ok(target.to_str().map(str::to_owned))
            }
        }
    }

    /// Gives a container a name that no other has.
    ///
    /// # Errors
    /// Another has it ([`Kind::Conflict`], in Docker's words).
    pub fn claim_name(&self, name: &str, id: &str) -> Result<()> {
        let names = place::names(&self.roots.root);
        make_private(&names)?;
        loop {
            match std::os::unix::fs::symlink(id, names.join(name)) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => return other.context(format!("failed to name the container {name}")),
            }
            let Some(owner) = self.named(name)? else {
                // Given back between the two calls.
                continue;
            };
            if owner == id {
                // An earlier attempt to rename it was killed.
                return Ok(());
            }
            if self.is_stale(name, &owner)? {
                self.release_name(name, &owner)?;
                continue;
            }
            return Err(Error::of(
                Kind::Conflict,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
                ),
            ));
        }
    }

    /// Whether a name is left over: its container went, or was to get it, and the machine stopped between the two. Nobody is at work on
    /// that container.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn is_stale(&self, name: &str, id: &str) -> Result<bool> {
        match self.try_lock(id) {
            Err(e) if e.kind() == Kind::NotFound => Ok(true),
            Err(e) => Err(e),
            Ok(None) => Ok(false),
            // Without a record it was never finished; one that cannot be read is somebody's.
            Ok(Some(_lock)) => Ok(match record::<Definition>(&self.place(id)) {
                Ok(record) => record.is_none_or(|record| record.name != name),
                Err(_) => false,
            }),
        }
    }

    /// Takes a name away, if it is this container's.
    ///
    /// # Errors
    /// The link cannot be removed.
    pub fn release_name(&self, name: &str, id: &str) -> Result<()> {
        if self.named(name)?.as_deref() != Some(id) {
            return Ok(());
        }
        let link = place::names(&self.roots.root).join(name);
        match fs::remove_file(&link) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(e)).context(format!("failed to remove {}", link.display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the directory of a new container, locked.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self, id: &str) -> Result<(Place, Lock)> {
        let place = self.place(id);
        let make = || fs::DirBuilder::new().mode(0o710).create(&place.dir);
        let made = match make() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                image::store::make_room(&place::containers(&self.roots.root))?;
                make()
            }
            made => made,
        };
        made.context(format!("failed to make {}", place.dir.display()))?;
        let lock = self.lock(id)?;
        Ok((place, lock))
    }

    /// The right to change a container.
    ///
    /// # Errors
    /// It is gone ([`Kind::NotFound`]), or another brig does not let go of it.
    pub fn lock(&self, id: &str) -> Result<Lock> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = self.try_lock(id)? {
                return Ok(lock);
            }
            if Instant::now() > until {
                return Err(Error::of(
                    Kind::Unavailable,
                    format!("another brig has been changing container {id} for more than a minute"),
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The same, if nobody has it.
    ///
    /// # Errors
    /// It is gone ([`Kind::NotFound`]).
    pub fn try_lock(&self, id: &str) -> Result<Option<Lock>> {
        let dir = self.place(id).dir;
        let failed = || format!("failed to lock {}", dir.display());
        let gone = || Error::not_found(format!("No such container: {id}"));
        let file = match File::open(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
            file => file.context(failed())?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Error::from(e).context(failed())),
        }
        // Removed between the two calls: the lock is one on something that is not there any more.
        match dir.exists() {
            true => Ok(Some(Lock(file))),
            false => Err(gone()),
        }
    }

    /// Writes the record. `Durable::No` for one that does not outlive the machine's uptime anyway.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, definition: &Definition, durable: Durable) -> Result<()> {
        let path = self.place(&definition.id).definition();
        let bytes = serde_json::to_vec(definition)
            .map_err(|e| Error::new(e.to_string()).context("failed to write the record of the container"))?;
        write(&path, &bytes, durable)
    }
}

/// Whether something has to be there after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    Yes,
    No,
}

/// Whether it is a whole id.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_digit)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The record of a container, or a part of it; none if it is not there (any more).
pub(crate) fn record<T: serde::de::DeserializeOwned>(place: &Place) -> Result<Option<T>> {
    let path = place.definition();
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.context(format!("failed to read {}", path.display()))?,
    };
    // Before its fields, which may be others.
    if monitor::state::form_of(&bytes).is_some_and(|form| form > crate::model::VERSION) {
        return Err(Error::of(
            Kind::Unsupported,
            format!("container {} has been made by a newer brig", place.id),
        ));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))
}

/// All of it or nothing.
pub(crate) fn write(path: &Path, bytes: &[u8], durable: Durable) -> Result<()> {
    let new = with_suffix(path, ".new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        fs::rename(&new, path)?;
        if let (Durable::Yes, Some(parent)) = (durable, path.parent()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    });
    written.context(format!("failed to write {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Only its owner looks into it.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(format!("failed to make {}", path.display()))
}
