//! Bundles: a directory with config.json and rootfs that any OCI runtime runs, made from an image, and taken away again.
//!
//! May not: keep images or layers, or run anything. What a bundle needs of the store is in its record, so that the store can keep it.
//!
//! A bundle is two directories. DIR, where the user wants it, has what a runtime reads. STATE, which lies in a directory of ours
//! (`bundles/ID`), has what is written by the container, and the record. The record is the first thing that exists and the
//! last that goes, and only it is believed: DIR may be anybody's.
//!
//! | killed while | what is left | who cleans |
//! |---|---|---|
//! | made, before the record has its name | `bundles/.new-ID`; perhaps an empty DIR | [`sweep`] |
//! | made, after that | STATE; mounts at `rootfs` and below `STATE/scratch`; any part of DIR | [`remove`] |
//! | removed | less than before | [`remove`] again |
//! | removed, after STATE was renamed | `bundles/.gone-ID` | [`sweep`] |

pub mod config;
pub mod defaults;
pub mod idmap;
pub mod seccomp;
pub mod user;

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

use crate::mount::{self, Busy, Layer, Mounted, Spec, Upper};
use crate::oci::ImageConfig;
use crate::{Context, Error, Kind, Result};

pub use config::Options;
pub use idmap::IdMaps;

/// In DIR: whose bundle it is, for who looks into it.
pub const NOTE: &str = "brig-bundle.json";
const RECORD: &str = "bundle.json";
const CONFIG: &str = "config.json";
const ROOTFS: &str = "rootfs";

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub image: &'a ImageConfig,
    /// What the record calls the image; its digest, say.
    pub image_name: &'a str,
    /// The lowest first.
    pub layers: &'a [Layer],
    /// Must be empty or not there.
    pub dir: &'a Path,
    /// The directory in which we keep the state of bundles; on a file system that the layers' whiteouts can be on.
    pub bundles: &'a Path,
    /// One part of a path; 64 hexadecimal digits, say.
    pub id: &'a str,
    pub mount: mount::Options,
}

/// What is known of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// DIR, without links.
    pub dir: PathBuf,
    pub image: String,
    /// Paths of the layers, which have to stay.
    pub layers: Vec<PathBuf>,
    /// DIR was not there before.
    pub made_dir: bool,
}

/// Makes a bundle.
///
/// # Errors
/// DIR is not empty or the id taken ([`Kind::Conflict`]), the image has no such user, there is nothing to run, or the layers
/// cannot be mounted. Nothing is left then.
pub fn create(request: &Request<'_>, options: &Options) -> Result<Mounted> {
    if request.id.is_empty() || request.id.starts_with('.') || request.id.contains('/') {
        return Err(Error::invalid(format!(
            "{:?} is not the id of a bundle",
            request.id
        )));
    }
    let (dir, made_dir) = take_directory(request.dir)?;
    let record = Record {
        id: request.id.to_owned(),
        dir,
        image: request.image_name.to_owned(),
        layers: request.layers.iter().map(|l| l.path().to_owned()).collect(),
        made_dir,
    };
    let lock = match begin(request.bundles, &record) {
        Ok(lock) => lock,
        Err(e) => return Err(e.and_also(give_back(&record))),
    };
    match fill(request, options, &record) {
        Ok(mounted) => Ok(mounted),
        Err(e) => {
            let undone = take_away(request.bundles, &record, Busy::Detach);
            drop(lock);
            Err(e.and_also(undone))
        }
    }
}

/// Mounts a bundle again that a reboot, or somebody, has unmounted: the layers, and over them what was written. Its config.json stays as it is.
///
/// # Errors
/// It is mounted, or was never finished ([`Kind::Conflict`]); or the layers cannot be mounted.
pub fn mount_again(request: &Request<'_>, record: &Record) -> Result<Mounted> {
    let state = request.bundles.join(&record.id);
    let _lock = lock(&state)?;
    let rootfs = record.dir.join(ROOTFS);
    let conflict = |why| Error::of(Kind::Conflict, format!("{} {why}", record.dir.display()));
    // The last thing that is written of a bundle.
    if !record.dir.join(CONFIG).exists() {
        return Err(conflict(
            "is a bundle that is not whole; brig unbundle removes it",
        ));
    }
    if !mount::mounts_below(&rootfs)?.is_empty() {
        return Err(conflict("is a bundle already, and mounted"));
    }
    let mut entries =
        std::fs::read_dir(&rootfs).context(format_args!("failed to read {}", rootfs.display()))?;
    if entries.next().is_some() {
        return Err(conflict(
            "is a bundle already; its layers were copied, and need no mount",
        ));
    }
    // What the mounts of that boot had there.
    let scratch = state.join("scratch");
    remove_all(&scratch)?;
    make_plain_directory(&scratch)?;
    let spec = Spec {
        layers: request.layers.to_vec(),
        upper: Some(Upper {
            upper: state.join("upper"),
            work: state.join("work"),
        }),
        scratch: Some(scratch),
        options: request.mount,
    };
    mount::mount(&spec, &rootfs)
}

/// DIR, there and empty, and whether it had to be made.
fn take_directory(dir: &Path) -> Result<(PathBuf, bool)> {
    let made = match std::fs::create_dir(dir) {
        Ok(()) => true,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(Error::from(e)).context(format_args!("failed to make {}", dir.display())),
    };
    let full = std::fs::canonicalize(dir).context(format_args!("failed to look up {}", dir.display()))?;
    let mut entries = std::fs::read_dir(&full).context(format_args!("failed to read {}", full.display()))?;
    match entries.next() {
        None => Ok((full, made)),
        Some(_) => Err(Error::of(
            Kind::Conflict,
            format!("{} is not empty", dir.display()),
        )),
    }
}

/// Gives STATE its name, with the record in it, and holds it.
fn begin(bundles: &Path, record: &Record) -> Result<OwnedFd> {
    let state = bundles.join(&record.id);
    let conflict = || Error::of(Kind::Conflict, format!("there is a bundle {} already", record.id));
    if state.exists() {
        return Err(conflict());
    }
    let new = bundles.join(format!(".new-{}", record.id));
    match std::fs::create_dir(&new) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.context(format_args!("failed to make {}", new.display()))?,
    }
    let lock = lock(&new)?;
    let text = serde_json::to_vec(record).map_err(|e| Error::new(e.to_string()))?;
    write_durably(&new.join(RECORD), &text)?;
    // Onto a directory that is not empty it fails.
    match std::fs::rename(&new, &state) {
        Ok(()) => Ok(lock),
        Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => Err(conflict().and_also(remove_all(&new))),
        Err(e) => Err(Error::from(e)).context(format_args!("failed to name {}", state.display())),
    }
}

/// Whoever makes or removes a bundle holds its state; the kernel lets go of it when they die.
fn lock(state: &Path) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let fd = sys::fs::open(state, flags, 0)?;
    match sys::fs::flock(fd.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
        Err(e) if e.is(libc::EWOULDBLOCK) => Err(Error::of(
            Kind::Conflict,
            format!("{} is being made or removed by somebody else", state.display()),
        )),
        done => Ok(done.map(|()| fd)?),
    }
}

fn fill(request: &Request<'_>, options: &Options, record: &Record) -> Result<Mounted> {
    let state = request.bundles.join(&record.id);
    let note = serde_json::json!({"id": record.id, "image": record.image});
    write(&record.dir.join(NOTE), note.to_string().as_bytes())?;
    let rootfs = record.dir.join(ROOTFS);
    make_plain_directory(&rootfs)?;
    let [upper, work, scratch] = ["upper", "work", "scratch"].map(|name| state.join(name));
    for directory in [&upper, &work, &scratch] {
        make_plain_directory(directory)?;
    }
    let spec = Spec {
        layers: request.layers.to_vec(),
        upper: Some(Upper { upper, work }),
        scratch: Some(scratch),
        options: mount::Options {
            // A mount of an ordinary user ends with the user's mount namespace.
            copy: request.mount.copy || options.ids.is_some(),
            ..request.mount
        },
    };
    let mounted = mount::mount(&spec, &rootfs)?;
    let root = sys::fs::open(&rootfs, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)?;
    let wanted = options.user.as_ref().or(request.image.config.user.as_ref());
    let user = user::find(wanted.map_or("", String::as_str), root.as_fd())?;
    make_places(request.image, options, root.as_fd())?;
    let document = config::document(request.image, options, &record.id, &user, &config::Host::ask())?;
    let mut text = serde_json::to_vec_pretty(&document).map_err(|e| Error::new(e.to_string()))?;
    text.push(b'\n');
    write(&record.dir.join(CONFIG), &text)?;
    Ok(mounted)
}

/// The working directory, and what the image calls volumes: plain directories, in which a container keeps what it writes as
/// everywhere else. (Docker gives each a volume without a name; here nobody would ever remove those.)
fn make_places(image: &ImageConfig, options: &Options, root: BorrowedFd<'_>) -> Result<()> {
    let working_dir = config::working_dir(&image.config, options)?;
    let volumes = image.config.volumes.iter().flatten().map(|(path, _)| path);
    for path in std::iter::once(&working_dir).chain(volumes) {
        make_directories(root, &defaults::cleaned(path))
            .context(format_args!("failed to make {path} in the image"))?;
    }
    Ok(())
}

/// Every missing part of an absolute path, as the container would see it.
fn make_directories(root: BorrowedFd<'_>, path: &str) -> Result<()> {
    let open = |path: &Path| {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        sys::fs::openat2(root, path, libc::O_PATH | libc::O_DIRECTORY, 0, resolve)
    };
    let mut at = PathBuf::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let parent = at.clone();
        at.push(part);
        match open(&at) {
            Err(e) if e.is(libc::ENOENT) => {
                let parent = open(&parent)?;
                sys::fs::mkdirat(parent.as_fd(), Path::new(part), 0o755)?;
                // The caller's umask is not the image's.
                sys::fs::fchmodat(parent.as_fd(), Path::new(part), 0o755)?;
            }
            done => drop(done?),
        }
    }
    Ok(())
}

/// What was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// There was no bundle of ours.
    Nothing,
    Bundle,
}

/// Takes a bundle away: its mounts, what was written in it, and DIR, if that was made for it and holds nothing else. No bundle
/// is success. It needs no mount to be there, so that it works after a reboot.
///
/// # Errors
/// A container runs from it, or somebody works in its root file system ([`Kind::Conflict`]).
pub fn remove(bundles: &Path, dir: &Path) -> Result<Removed> {
    let failed = || format!("failed to remove the bundle {}", dir.display());
    match find(bundles, dir)? {
        Some(record) => remove_recorded(bundles, &record).context(failed()),
        None => Ok(Removed::Nothing),
    }
}

/// The record of the bundle in a directory, which may be gone.
///
/// # Errors
/// As [`list`].
pub fn find(bundles: &Path, dir: &Path) -> Result<Option<Record>> {
    let Some(full) = full_path(dir)? else {
        return Ok(None);
    };
    Ok(list(bundles)?.into_iter().find(|record| record.dir == full))
}

/// The same by the record, for when DIR is gone.
///
/// # Errors
/// As [`remove`].
pub fn remove_recorded(bundles: &Path, record: &Record) -> Result<Removed> {
    let state = bundles.join(&record.id);
    let _lock = match lock(&state) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(Removed::Nothing),
        lock => lock?,
    };
    if let Some(pid) = who_runs_from(&record.dir.join(ROOTFS)) {
        return Err(Error::of(
            Kind::Conflict,
            format!("process {pid} still runs in its root file system"),
        ));
    }
    take_away(bundles, record, Busy::Refuse)?;
    Ok(Removed::Bundle)
}

/// DIR without links, though it may be gone.
fn full_path(dir: &Path) -> Result<Option<PathBuf>> {
    let looked_up = |path: &Path| match std::fs::canonicalize(path) {
        Ok(full) => Ok(Some(full)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from(e)).context(format_args!("failed to look up {}", path.display())),
    };
    if let Some(full) = looked_up(dir)? {
        return Ok(Some(full));
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = dir.file_name();
    Ok(looked_up(parent)?
        .zip(name)
        .map(|(parent, name)| parent.join(name)))
}

/// A process whose root is this directory: of a container in a mount namespace of its own, which unmounting here does not see.
fn who_runs_from(rootfs: &Path) -> Option<u32> {
    let root = sys::fs::fstatat(sys::fs::cwd(), rootfs, libc::AT_SYMLINK_NOFOLLOW).ok()?;
    std::fs::read_dir("/proc").ok()?.find_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let of = format!("/proc/{pid}/root");
        // Ended, or not ours to look at: then it is not of a container of ours either.
        let stat = sys::fs::fstatat(sys::fs::cwd(), Path::new(&of), 0).ok()?;
        ((stat.dev, stat.ino) == (root.dev, root.ino)).then_some(pid)
    })
}

/// Everything but the lock.
fn take_away(bundles: &Path, record: &Record, busy: Busy) -> Result<()> {
    let state = bundles.join(&record.id);
    mount::unmount(&record.dir.join(ROOTFS), busy)?;
    // Nobody but us knows of that place.
    mount::unmount(&state.join("scratch"), Busy::Detach)?;
    for name in [ROOTFS, CONFIG, NOTE] {
        for name in [name.to_owned(), new_name(name)] {
            remove_all(&record.dir.join(name))?;
        }
    }
    give_back(record)?;
    // From here on the bundle is gone; what is left has no name that anybody looks for.
    let gone = bundles.join(format!(".gone-{}", record.id));
    std::fs::rename(&state, &gone).context(format_args!("failed to rename {}", state.display()))?;
    remove_all(&gone)
}

/// DIR as it was. What others have put there stays, and with it DIR.
fn give_back(record: &Record) -> Result<()> {
    if !record.made_dir {
        return Ok(());
    }
    match std::fs::remove_dir(&record.dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound && e.raw_os_error() != Some(libc::ENOTEMPTY) => {
            Err(Error::from(e)).context(format_args!("failed to remove {}", record.dir.display()))
        }
        _ => Ok(()),
    }
}

/// A file, or a directory with everything in it; nothing is success.
fn remove_all(path: &Path) -> Result<()> {
    let removed = match std::fs::remove_file(path) {
        Err(e) if e.raw_os_error() == Some(libc::EISDIR) => std::fs::remove_dir_all(path),
        other => other,
    };
    match removed {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENOTDIR) => {
            Ok(())
        }
        other => other.context(format_args!("failed to remove {}", path.display())),
    }
}

/// All bundles, in no order. A record that cannot be read is of a newer version, or somebody has damaged it: an error, because what
/// it says is needed would otherwise be thrown away.
///
/// # Errors
/// As said, and when there is no way to read the directory; no such directory is no bundles.
pub fn list(bundles: &Path) -> Result<Vec<Record>> {
    let entries = match std::fs::read_dir(bundles) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(format_args!("failed to read {}", bundles.display()))?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = bundles.join(name).join(RECORD);
        match std::fs::read(&path) {
            // Removed a moment ago.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            read => {
                let bytes = read.context(format_args!("failed to read {}", path.display()))?;
                let record = serde_json::from_slice(&bytes)
                    .map_err(|e| Error::corrupt(format!("malformed record {}: {e}", path.display())))?;
                records.push(record);
            }
        }
    }
    Ok(records)
}

/// Removes what killed processes have left that belongs to no bundle.
///
/// # Errors
/// Something cannot be removed.
pub fn sweep(bundles: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(bundles) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.starts_with(b".new-") && !name.starts_with(b".gone-") {
            continue;
        }
        match lock(&path) {
            // Somebody is at it.
            Err(e) if e.kind() == Kind::Conflict || e.kind() == Kind::NotFound => {}
            lock => {
                let _lock = lock?;
                remove_all(&path)?;
            }
        }
    }
    Ok(())
}

/// 0755 whatever the umask: the upper directory is what the container sees as its root.
fn make_plain_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .context(format_args!("failed to make {}", path.display()))
}

fn new_name(name: &str) -> String {
    format!(".{name}.new")
}

/// All of it or nothing, for who looks while it is written.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(new_name(&name));
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, path))
        .context(format_args!("failed to write {}", path.display()))
}

/// A record that a power cut has emptied would hide what it is the record of.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = std::fs::File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.context(format_args!("failed to write {}", path.display()))
}
