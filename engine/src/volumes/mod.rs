//! Volumes: directories that outlive containers. What they are made of, and who may remove one, is [`monitor::volumes`]'s.
//!
//! ```text
//! ROOT/volumes/NAME/volume.json   its record, synced; without one there is no volume
//! ROOT/volumes/NAME/_data         what containers see; what its driver options say is mounted there while one of them runs
//! ROOT/volumes/NAME/_new, _ready  what an image has at the place where an empty volume is mounted, on its way into it ([`fill`])
//! ```
//!
//! May not: know what an image is made of, or start anything.

pub mod attach;
pub mod fill;
pub mod options;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::time::{Duration, Instant, SystemTime};

use image::{Context, Error, Kind, Result};
use monitor::events::Event;
use monitor::volumes::{self, Hold, Lock, Removal, Tried, Volume};
use serde::{Deserialize, Serialize};

use crate::containers::{Containers, Durable, make_private, write};
use crate::events;

/// The form of the file.
const VERSION: u32 = 1;

/// The label of a volume that nobody has given a name.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The only driver there is.
pub const LOCAL: &str = "local";

/// How long we wait for another brig that is at work on the same volume: it may be copying an image's files into it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Names and values.
pub type Words = BTreeMap<String, String>;

/// What is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub name: String,
    pub driver: String,
    /// RFC 3339.
    pub created: String,
    /// `None`: nobody has said any.
    pub labels: Option<Words>,
    pub options: Option<Words>,
}

impl Record {
    /// Made for a container that gave it no name.
    pub fn is_anonymous(&self) -> bool {
        self.labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
}

/// What somebody wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Without one, one is made up, and the volume is anonymous.
    pub name: Option<String>,
    /// Empty: [`LOCAL`].
    pub driver: String,
    pub labels: Words,
    pub options: Words,
}

/// A volume that does not go while this is held.
#[derive(Debug)]
pub struct Held {
    pub record: Record,
    pub volume: Volume,
    /// It was made just now.
    pub is_new: bool,
    _lock: Lock,
}

/// Refuses what no volume can be called.
///
/// # Errors
/// In Docker's words.
pub fn check_name(name: &str) -> Result<()> {
    if name.chars().count() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    match is_name(name) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ))),
    }
}

/// Names are names of directories, so nothing else may ever be looked for.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.len() > 1
        && name.len() < 256
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// There is one driver.
///
/// # Errors
/// It is another one.
pub fn check_driver(driver: &str) -> Result<()> {
    match driver {
        "" | LOCAL => Ok(()),
        other => Err(Error::not_found(format!(
            "error looking up volume plugin {other}: plugin \"{other}\" not found"
        ))),
    }
}

/// Makes a volume, or takes the one that there is: its name is all that counts, as in Docker. It does not go while it is held.
///
/// # Errors
/// The name, the driver or an option cannot be; or it cannot be written.
pub fn create(containers: &Containers, wanted: &Wanted, durable: Durable) -> Result<Held> {
    let mut labels = wanted.labels.clone();
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => {
            labels.insert(ANONYMOUS.into(), String::new());
            random_name()?
        }
    };
    let doing = || format!("create {name}");
    check_driver(&wanted.driver).context(doing())?;
    check_name(&name).context(doing())?;
    options::check(&wanted.options).context(doing())?;
    let some = |words: &Words| Some(words.clone()).filter(|words| !words.is_empty());
    let record = Record {
        version: VERSION,
        name: name.clone(),
        driver: LOCAL.into(),
        created: sys::time::rfc3339(SystemTime::now()),
        labels: some(&labels),
        options: some(&wanted.options),
    };
    let volume = Volume::of(&containers.roots().root, &name);
    let held = make(containers, volume, &record, durable).context(doing())?;
    if held.is_new {
        tell(containers, &name, "create", &[]);
    }
    Ok(held)
}

/// 64 hexadecimal digits.
fn random_name() -> Result<String> {
    let bytes: [u8; 32] = sys::random::bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn make(containers: &Containers, volume: Volume, record: &Record, durable: Durable) -> Result<Held> {
    let mut is_new = false;
    let until = Instant::now() + PATIENCE;
    loop {
        match volume.try_lock(Hold::Together)? {
            Tried::Held(lock) if volume.exists() => {
                return Ok(Held {
                    record: read(&volume)?,
                    volume,
                    is_new,
                    _lock: lock,
                });
            }
            Tried::Gone => {
                make_private(&volumes::volumes(&containers.roots().root))?;
                match fs::DirBuilder::new().mode(0o700).create(&volume.dir) {
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                    made => made.context(format!("failed to make {}", volume.dir.display()))?,
                }
            }
            Tried::Held(_) | Tried::Busy => {}
        }
        match volume.try_lock(Hold::Alone)? {
            // A directory without a record is one that nobody has finished.
            Tried::Held(_lock) if !volume.exists() => {
                write_new(&volume, record, durable)?;
                is_new = true;
            }
            Tried::Held(_) | Tried::Gone => {}
            Tried::Busy => wait(&volume, until)?,
        }
    }
}

fn wait(volume: &Volume, until: Instant) -> Result<()> {
    if Instant::now() > until {
        return Err(Error::of(
            Kind::Unavailable,
            format!(
                "another brig has been at work on volume {} for more than {} minutes",
                volume.name,
                PATIENCE.as_secs() / 60
            ),
        ));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

fn write_new(volume: &Volume, record: &Record, durable: Durable) -> Result<()> {
    let data = volume.data();
    let failed = || format!("failed to make {}", data.display());
    match fs::create_dir(&data) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.context(failed())?,
    }
    // Whatever our umask is.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).context(failed())?;
    let bytes = serde_json::to_vec(record).map_err(|e| Error::new(e.to_string()))?;
    write(&volume.record(), &bytes, durable)?;
    if let (Durable::Yes, Some(parent)) = (durable, volume.dir.parent()) {
        fs::File::open(parent)?.sync_all().context(failed())?;
    }
    Ok(())
}

fn read(volume: &Volume) -> Result<Record> {
    let path = volume.record();
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing(&volume.name)),
        bytes => bytes.context(format!("failed to read {}", path.display()))?,
    };
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))?;
    match record.version > VERSION {
        true => Err(Error::of(
            Kind::Unsupported,
            format!("volume {} has been made by a newer brig", volume.name),
        )),
        false => Ok(record),
    }
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

/// The volume of this name.
///
/// # Errors
/// There is none ([`Kind::NotFound`]), or its record cannot be read.
pub fn get(containers: &Containers, name: &str) -> Result<(Volume, Record)> {
    if !is_name(name) {
        return Err(missing(name));
    }
    let volume = Volume::of(&containers.roots().root, name);
    let record = read(&volume)?;
    Ok((volume, record))
}

/// All of them, by name.
///
/// # Errors
/// They cannot be listed; the record of one cannot be read.
pub fn list(containers: &Containers) -> Result<Vec<(Volume, Record)>> {
    let root = &containers.roots().root;
    let names = volumes::names(&volumes::volumes(root)).context("failed to list the volumes")?;
    let mut found = Vec::new();
    for name in names.iter().filter(|name| is_name(name)) {
        match get(containers, name) {
            // Not finished, or removed meanwhile.
            Err(e) if e.kind() == Kind::NotFound => {}
            one => found.push(one?),
        }
    }
    Ok(found)
}

/// The containers that have volumes: by name of the volume, their ids.
///
/// # Errors
/// The record of a container cannot be read.
pub fn users(containers: &Containers) -> Result<BTreeMap<String, Vec<String>>> {
    volumes::users(&containers.roots().root).context("failed to find out who has volumes")
}

/// Bytes of its files; one with driver options is not counted: they may lie on another machine.
///
/// # Errors
/// A directory cannot be read.
pub fn size(volume: &Volume, record: &Record) -> Result<Option<u64>> {
    match record.options {
        None => crate::summary::written(&volume.data()).map(Some),
        Some(_) => Ok(None),
    }
}

/// What happens to a volume that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is an error.
    No,
    Yes,
}

/// Removes a volume that no container has.
///
/// # Errors
/// One has it ([`Kind::Conflict`]), it is not there ([`Kind::NotFound`]), or something in it cannot be removed.
pub fn remove(containers: &Containers, name: &str, force: Force) -> Result<()> {
    let gone = || match force {
        Force::Yes => Ok(()),
        Force::No => Err(missing(name)),
    };
    if !is_name(name) {
        return gone();
    }
    let volume = Volume::of(&containers.roots().root, name);
    let until = Instant::now() + PATIENCE;
    loop {
        match volume.remove(None).context(format!("remove {name}"))? {
            Removal::Removed => {
                tell(containers, name, "destroy", &[]);
                return Ok(());
            }
            Removal::InUse(ids) => {
                return Err(Error::of(
                    Kind::Conflict,
                    format!("remove {name}: volume is in use - [{}]", ids.join(", ")),
                ));
            }
            Removal::Gone => return gone(),
            Removal::Busy => wait(&volume, until)?,
        }
    }
}

/// Removes those of the chosen that no container has: their names, and the bytes they took.
///
/// # Errors
/// They cannot be listed, or one cannot be removed.
pub fn prune(containers: &Containers, chosen: impl Fn(&Record) -> bool) -> Result<(Vec<String>, u64)> {
    let used = users(containers)?;
    let (mut names, mut bytes) = (Vec::new(), 0);
    for (volume, record) in list(containers)? {
        if used.contains_key(&record.name) || !chosen(&record) {
            continue;
        }
        let size = size(&volume, &record)?.unwrap_or(0);
        let removed = volume
            .remove(None)
            .context(format!("failed to remove volume {}", record.name))?;
        // A container has it by now, or is being made with it.
        if removed == Removal::Removed {
            tell(containers, &record.name, "destroy", &[]);
            bytes += size;
            names.push(record.name);
        }
    }
    Ok((names, bytes))
}

/// Removes the anonymous volumes of a container that goes or has gone, unless another one has them.
///
/// # Errors
/// One cannot be removed.
pub fn remove_of(containers: &Containers, mounts: &[crate::model::MountPoint], id: &str) -> Result<()> {
    for name in anonymous(mounts) {
        let volume = Volume::of(&containers.roots().root, name);
        let removed = volume
            .remove(Some(id))
            .context(format!("failed to remove volume {name}"))?;
        if removed == Removal::Removed {
            tell(containers, name, "destroy", &[]);
        }
    }
    Ok(())
}

/// Those that nobody has given a name.
pub fn anonymous(mounts: &[crate::model::MountPoint]) -> impl Iterator<Item = &str> {
    mounts
        .iter()
        .filter(|mount| mount.kind == "volume" && mount.anonymous && is_name(&mount.name))
        .map(|mount| mount.name.as_str())
}

/// The volumes among mounts, each once.
pub fn names(mounts: &[crate::model::MountPoint]) -> Vec<String> {
    let mut names: Vec<String> = mounts
        .iter()
        .filter(|mount| mount.kind == "volume")
        .map(|mount| mount.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Takes away what kills have left: mounts that nobody has any more.
///
/// # Errors
/// One cannot be unmounted.
pub fn unmount_unused(containers: &Containers) -> Result<()> {
    let roots = containers.roots();
    for volume in volumes::mounted(&roots.root).context("failed to look for mounts")? {
        volume
            .unmount_unused(&roots.run, containers.boot())
            .context(format!("failed to unmount volume {}", volume.name))?;
    }
    Ok(())
}

/// Directories without a record that nobody is at work on: volumes that were never finished.
///
/// # Errors
/// They cannot be listed.
pub fn unfinished(containers: &Containers) -> Result<Vec<String>> {
    let root = &containers.roots().root;
    let names = volumes::names(&volumes::volumes(root)).context("failed to list the volumes")?;
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| is_name(name)) {
        let volume = Volume::of(root, &name);
        if let Tried::Held(_lock) = volume.try_lock(Hold::Alone)?
            && (!volume.exists() || fill::is_broken_off(&volume))
        {
            found.push(name);
        }
    }
    Ok(found)
}

/// Ends what was broken off at one of those.
///
/// # Errors
/// It cannot be removed or finished.
pub fn finish(containers: &Containers, name: &str) -> Result<()> {
    let volume = Volume::of(&containers.roots().root, name);
    if volume.exists() {
        return fill::recover(&volume);
    }
    volume.remove(None).context(format!("remove {name}"))?;
    Ok(())
}

/// What happens to volumes, told to whoever listens.
pub fn tell(containers: &Containers, name: &str, action: &str, more: &[(&str, &str)]) {
    let mut attributes = Words::from([("driver".to_owned(), LOCAL.to_owned())]);
    for (key, value) in more {
        attributes.insert((*key).to_owned(), (*value).to_owned());
    }
    // The disk is full or the store read-only: what was done is done.
    let _ = events::tell(
        containers.roots(),
        &Event::now("volume", action, name, attributes),
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::store::Roots;
    use std::path::PathBuf;

    struct Place(PathBuf, Containers);

    impl Place {
        fn new(name: &str) -> Place {
            let root = std::env::temp_dir().join(format!("engine-volumes-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Place(root.clone(), Containers::of(&Roots::at(&root)).unwrap())
        }

        fn make(&self, name: &str) -> Held {
            create(&self.1, &named(name), Durable::Yes).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let all = list(&self.1).unwrap();
            all.into_iter().map(|(_, record)| record.name).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn named(name: &str) -> Wanted {
        Wanted {
            name: Some(name.into()),
            ..Wanted::default()
        }
    }

    #[test]
    fn a_name_is_made_once() {
        let place = Place::new("once");
        let first = place.make("data");
        assert!(first.is_new);
        fs::write(first.volume.data().join("file"), "x").unwrap();
        let labels = Words::from([("a".to_owned(), "b".to_owned())]);
        let again = create(
            &place.1,
            &Wanted {
                labels,
                ..named("data")
            },
            Durable::Yes,
        )
        .unwrap();
        assert!(!again.is_new && again.record.labels.is_none());
        assert!(again.volume.data().join("file").exists());
        assert_eq!(place.names(), ["data"]);
    }

    #[test]
    fn one_without_a_name_is_anonymous() {
        let place = Place::new("anonymous");
        let one = create(&place.1, &Wanted::default(), Durable::No).unwrap();
        assert!(one.record.is_anonymous() && one.record.name.len() == 64);
        assert!(!place.make("named").record.is_anonymous());
    }

    #[test]
    fn what_was_never_finished_is_none_and_is_cleared() {
        let place = Place::new("unfinished");
        drop(place.make("whole"));
        // As a kill between the two steps leaves it.
        let half = Volume::of(&place.0, "half");
        fs::create_dir_all(half.data()).unwrap();
        assert_eq!(place.names(), ["whole"]);
        assert_eq!(
            get(&place.1, "half").unwrap_err().to_string(),
            "get half: no such volume"
        );
        assert_eq!(unfinished(&place.1).unwrap(), ["half"]);
        finish(&place.1, "half").unwrap();
        assert!(!half.dir.exists());
        fs::create_dir_all(half.data()).unwrap();
        assert!(place.make("half").is_new);
        assert_eq!(place.names(), ["half", "whole"]);
        assert!(unfinished(&place.1).unwrap().is_empty());
    }

    #[test]
    fn names_are_checked_as_docker_checks_them() {
        let place = Place::new("names");
        for (name, why) in [
            (
                "a",
                "create a: volume name is too short, names should be at least two alphanumeric characters",
            ),
            (
                "a/b",
                "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
            (
                "..",
                "create ..: \"..\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
        ] {
            assert_eq!(
                create(&place.1, &named(name), Durable::No)
                    .unwrap_err()
                    .to_string(),
                why
            );
        }
        let other = Wanted {
            driver: "ceph".into(),
            ..named("xx")
        };
        assert_eq!(
            create(&place.1, &other, Durable::No).unwrap_err().to_string(),
            "create xx: error looking up volume plugin ceph: plugin \"ceph\" not found"
        );
        // Nothing outside is ever looked for.
        assert_eq!(
            remove(&place.1, "../volumes", Force::No).unwrap_err().to_string(),
            "get ../volumes: no such volume"
        );
        remove(&place.1, "../volumes", Force::Yes).unwrap();
    }

    #[test]
    fn prune_takes_what_is_chosen() {
        let place = Place::new("prune");
        for name in ["one", "two"] {
            fs::write(place.make(name).volume.data().join("file"), "12345").unwrap();
        }
        drop(create(&place.1, &Wanted::default(), Durable::No).unwrap());
        assert_eq!(prune(&place.1, Record::is_anonymous).unwrap().0.len(), 1);
        assert_eq!(place.names(), ["one", "two"]);
        let held = place.make("one");
        let (names, bytes) = prune(&place.1, |_| true).unwrap();
        assert_eq!(
            (names, bytes),
            (vec!["two".to_owned()], 5),
            "one that is held stays"
        );
        drop(held);
        assert_eq!(prune(&place.1, |_| true).unwrap().0, ["one"]);
    }

    #[test]
    fn many_make_and_remove_the_same_at_once() {
        let place = Place::new("race");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let held = place.make("data");
                        // While it is held it is there, whatever the others do.
                        fs::write(held.volume.data().join("file"), "x").unwrap();
                        assert!(held.volume.exists());
                        drop(held);
                        match remove(&place.1, "data", Force::Yes) {
                            Ok(()) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                });
            }
        });
        assert!(place.names().is_empty());
    }
}
