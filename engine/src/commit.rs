//! `commit`: what a container has changed becomes a layer, and the layer an image.
//!
//! May not: read the container through its overlay, or write what was there before. The upper directory says what has changed; what hides
//! something becomes a whiteout (OCI image specification, layer.md). Volumes are not in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use image::derive::{self, Derived};
use image::layer::tar::{Entry, Type};
use image::oci::RunConfig;
use image::provide::Maker;
use image::reference::Reference;
use image::registry::Cancel;
use image::{Context, Digest, Error, Kind, Result, change};
use monitor::state::Status;

use crate::containers::{Container, Containers};
use crate::control;
use crate::diff::{Seen, is_opaque, is_runtimes};
use crate::model::Config;
use crate::tree::pack::Packer;
use crate::tree::walk::{self, Attributes};
use crate::tree::{Contents, Sink, as_path, identity, open_beneath, reopen};
use crate::{root, telling};

/// What is to be said of the image.
#[derive(Clone, Debug)]
pub struct Wanted<'w> {
    pub reference: Option<&'w Reference>,
    pub author: Option<&'w str>,
    pub message: Option<&'w str>,
    /// Instructions of a Dockerfile that change the configuration.
    pub changes: &'w [String],
    /// Its processes stand still while its files are read.
    pub pause: bool,
}

/// Makes an image of a container. The id.
///
/// # Errors
/// A change makes no sense; it cannot be paused; its files cannot be read or the store not be written. No image is made then.
pub fn commit(
    containers: &Containers,
    maker: &Maker<'_>,
    container: &Container,
    wanted: &Wanted<'_>,
) -> Result<Digest> {
    let config = &container.definition.config;
    let run = run_config(config, wanted.changes)?;
    let parent = root::image(maker.store, container)?;
    let place = containers.place(container.id());
    let lease = maker.store.lease()?;
    let below = root::below(maker, &lease, container)?;
    let created_by = config.cmd.clone().unwrap_or_default().join(" ");
    let derived = Derived {
        parent: &parent,
        reference: wanted.reference,
        run,
        author: wanted.author,
        message: wanted.message,
        created_by: Some(&created_by),
    };
    // One that is paused stays so.
    let pause = wanted.pause && container.state.status == Status::Running;
    let made = derive::derive(maker, &derived, |to| {
        // One that has ended meanwhile stands still by itself.
        let ended = |e: &Error| matches!(e.kind(), Kind::Conflict | Kind::NotFound);
        let is_paused = pause
            && match control::pause(containers, container.id()) {
                Err(e) if ended(&e) => false,
                paused => paused.map(|()| true).context("failed to pause the container")?,
            };
        let packed = match open_upper(&place.upper())? {
            Some(upper) => layer(upper.as_fd(), below.fd(), to, maker.cancel),
            None => Packer::new(to).finish().map(drop),
        };
        if !is_paused {
            return packed;
        }
        let unpaused = match control::unpause(containers, container.id()) {
            Err(e) if ended(&e) => Ok(()),
            unpaused => unpaused.context("failed to unpause the container"),
        };
        match packed {
            Ok(()) => unpaused,
            Err(e) => Err(e.and_also(unpaused)),
        }
    })?;
    let named = wanted
        .reference
        .map(|reference| reference.clone().or_latest().familiar());
    let more = [
        ("comment", wanted.message.unwrap_or_default().to_owned()),
        ("imageID", made.to_string()),
        ("imageRef", named.unwrap_or_default()),
    ];
    let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    telling::tell(containers, &container.definition, "commit", &more);
    Ok(made)
}

/// Writes the layer: what is in `upper`, over `lower`, the layers below, mounted. The archive of a container that has changed
/// nothing has no entry.
///
/// # Errors
/// Something cannot be read or written.
pub fn layer(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>, to: impl Write, cancel: &Cancel) -> Result<()> {
    let mut commit = Commit {
        upper,
        lower,
        cancel,
        packer: Packer::new(to),
        waiting: Vec::new(),
        linked: HashMap::new(),
    };
    let mut tasks = vec![Task::Enter(Vec::new(), None)];
    while let Some(task) = tasks.pop() {
        cancel_or(commit.cancel, || commit.perform(&task, &mut tasks)).map_err(|e| {
            let (Task::Enter(path, _) | Task::Leave(path)) = &task;
            e.context(format!("failed to archive /{}", as_path(path).display()))
        })?;
    }
    commit.packer.finish()?;
    Ok(())
}

fn cancel_or(cancel: &Cancel, work: impl FnOnce() -> Result<()>) -> Result<()> {
    cancel.check()?;
    work()
}

enum Task {
    /// A directory of the upper one; all but the root have an entry of their own.
    Enter(Vec<u8>, Option<Found>),
    /// Everything in it is written.
    Leave(Vec<u8>),
}

/// A directory that has been found.
struct Found {
    entry: Entry,
    /// Nothing of the layers below shows through.
    is_opaque: bool,
    /// It is only there for what is in it.
    is_as_it_was: bool,
}

struct Commit<'c, W> {
    upper: BorrowedFd<'c>,
    lower: BorrowedFd<'c>,
    cancel: &'c Cancel,
    packer: Packer<W>,
    /// Directories that are as they were: written before the first thing that is found in them, or never.
    waiting: Vec<Entry>,
    /// The first name of a file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Commit<'_, W> {
    fn perform(&mut self, task: &Task, tasks: &mut Vec<Task>) -> Result<()> {
        match task {
            Task::Enter(path, found) => {
                if let Some(found) = found {
                    self.directory(path, found)?;
                }
                self.enter(path, tasks)
            }
            Task::Leave(path) => {
                self.waiting.pop_if(|entry| entry.path == *path);
                Ok(())
            }
        }
    }

    fn directory(&mut self, path: &[u8], found: &Found) -> Result<()> {
        self.waiting.push(found.entry.clone());
        if found.is_opaque {
            let opaque = [path, b"/.wh..wh..opq"].concat();
            return self.give(&mark(opaque), Contents::Nothing);
        }
        match found.is_as_it_was {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn enter(&mut self, path: &[u8], tasks: &mut Vec<Task>) -> Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        // Gone, or something else by now: the container was not paused.
        let Some(directory) = found(open_beneath(self.upper, path, flags))? else {
            return Ok(());
        };
        let mut names = sys::fs::entries(directory.as_fd())?;
        names.sort_unstable();
        let below = found(open_beneath(self.lower, path, flags))?;
        let mut inner = Vec::new();
        for name in names {
            let Some(seen) = Seen::look(directory.as_fd(), &name)? else {
                continue;
            };
            let old = match &below {
                Some(below) => Seen::look(below.as_fd(), &name)?,
                None => None,
            };
            inner.extend(self.child(path, &name, &seen, old.as_ref())?);
        }
        // The tasks are a stack.
        for found in inner.into_iter().rev() {
            let path = found.entry.path.clone();
            tasks.push(Task::Leave(path.clone()));
            tasks.push(Task::Enter(path, Some(found)));
        }
        Ok(())
    }

    /// Writes what is no directory; a directory is given back to be entered.
    fn child(
        &mut self,
        directory: &[u8],
        name: &OsString,
        seen: &Seen,
        old: Option<&Seen>,
    ) -> Result<Option<Found>> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        if seen.is_whiteout() {
            if old.is_some() {
                path.extend_from_slice(b".wh.");
                path.extend_from_slice(name.as_bytes());
                self.give(&mark(path), Contents::Nothing)?;
            }
            return Ok(None);
        }
        path.extend_from_slice(name.as_bytes());
        if name.as_bytes().starts_with(b".wh.") {
            // It would hide something in the image, or make it one that nobody can unpack.
            return Err(Error::invalid(format!(
                "{} cannot be in an image: names that begin with .wh. stand for what is not there",
                as_path(&path).display()
            )));
        }
        let from_root = [b"/", path.as_slice()].concat();
        let is_runtimes = old.is_none() && is_runtimes(&from_root, seen);
        if seen.stat.file_type() == libc::S_IFSOCK || (is_runtimes && !seen.stat.is_dir()) {
            return Ok(None);
        }
        if !seen.stat.is_dir() {
            self.file(path, seen)?;
            return Ok(None);
        }
        let entry = walk::entry(seen.fd.as_fd(), &seen.stat, path.clone(), Attributes::All)?;
        let is_opaque = old.is_some_and(|old| old.stat.is_dir()) && is_opaque(seen.fd.as_fd())?;
        let is_as_it_was = is_runtimes || is_same(&entry, old)?;
        Ok(Some(Found {
            entry,
            is_opaque,
            is_as_it_was,
        }))
    }

    fn file(&mut self, path: Vec<u8>, seen: &Seen) -> Result<()> {
        if seen.stat.nlink > 1 {
            if let Some(first) = self.linked.get(&identity(&seen.stat)) {
                let link = Entry {
                    path,
                    link: first.clone(),
                    kind: Type::Hardlink,
                    mode: seen.stat.mode & 0o7777,
                    ..Entry::default()
                };
                return self.give(&link, Contents::Nothing);
            }
            self.linked.insert(identity(&seen.stat), path.clone());
        }
        let entry = walk::entry(seen.fd.as_fd(), &seen.stat, path, Attributes::All)?;
        if entry.kind != Type::File {
            return self.give(&entry, Contents::Nothing);
        }
        let file = reopen(seen.fd.as_fd(), libc::O_RDONLY)?;
        self.give(&entry, Contents::File(&file))
    }

    fn give(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.flush()?;
        self.packer.take(entry, contents)
    }

    fn flush(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.waiting) {
            self.packer.take(&entry, Contents::Nothing)?;
        }
        Ok(())
    }
}

fn found<T>(opened: sys::Result<T>) -> Result<Option<T>> {
    match opened {
        Err(e)
            if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP]
                .iter()
                .any(|n| e.is(*n)) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

/// Whether a directory has been copied up and not been changed itself.
fn is_same(entry: &Entry, old: Option<&Seen>) -> Result<bool> {
    let Some(old) = old.filter(|old| old.stat.is_dir()) else {
        return Ok(false);
    };
    let old = walk::entry(old.fd.as_fd(), &old.stat, entry.path.clone(), Attributes::All)?;
    let timeless = |entry: &Entry| Entry {
        mtime: image::layer::tar::Time::default(),
        ..entry.clone()
    };
    Ok(timeless(entry) == timeless(&old))
}

/// An empty file whose name says something.
fn mark(path: Vec<u8>) -> Entry {
    Entry {
        path,
        ..Entry::default()
    }
}

/// The configuration of the image: the container's, and the changes of the command line.
///
/// # Errors
/// A change makes no sense.
pub fn run_config(config: &Config, changes: &[String]) -> Result<RunConfig> {
    let mut run = of_container(config)?;
    let mut has_command = false;
    for text in changes {
        change::apply(&mut run, text)?;
        let keyword = text.split_whitespace().next().unwrap_or_default();
        has_command |= keyword.eq_ignore_ascii_case("CMD");
        // A command that was for another entrypoint is none for this one, as in a Dockerfile.
        if keyword.eq_ignore_ascii_case("ENTRYPOINT") && !has_command {
            run.cmd = None;
        }
    }
    Ok(run)
}

fn of_container(config: &Config) -> Result<RunConfig> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let set = |map: &Option<std::collections::BTreeMap<String, crate::model::Empty>>| {
        map.as_ref().filter(|map| !map.is_empty()).map(|map| {
            map.keys()
                .map(|key| (key.clone(), serde_json::json!({})))
                .collect()
        })
    };
    let healthcheck = config.healthcheck.as_ref().map(serde_json::to_value).transpose();
    Ok(RunConfig {
        user: text(&config.user),
        exposed_ports: set(&config.exposed_ports),
        env: (!config.env.is_empty()).then(|| config.env.clone()),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: set(&config.volumes),
        working_dir: text(&config.working_dir),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        healthcheck: healthcheck
            .map_err(|e| Error::new(e.to_string()))
            .context("failed to write the health check")?,
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
        other: serde_json::Map::new(),
    })
}

/// Opens the upper directory of a container that has been started; `None` when it has not changed anything yet.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open_upper(path: &Path) -> Result<Option<std::os::fd::OwnedFd>> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    found(sys::fs::open(path, flags, 0)).context(format!("failed to open {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entrypoint_takes_the_command_that_was_for_another() {
        let config = Config {
            cmd: Some(vec!["old".into()]),
            env: vec!["A=1".into()],
            ..Config::default()
        };
        let changed = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            run_config(&config, &changes).unwrap()
        };
        assert_eq!(changed(&[]).cmd.unwrap(), ["old"]);
        let run = changed(&["ENTRYPOINT [\"x\"]", "ENV B=2"]);
        assert_eq!((run.cmd, run.entrypoint.unwrap()), (None, vec!["x".to_owned()]));
        assert_eq!(run.env.unwrap(), ["A=1", "B=2"]);
        let run = changed(&["CMD [\"y\"]", "ENTRYPOINT [\"x\"]"]);
        assert_eq!(run.cmd.unwrap(), ["y"]);
    }
}
