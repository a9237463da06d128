//! What an image has at the place of an empty volume goes into it, when a container is made.
//!
//! The copy is made beside the data (`_new`), synced, and named `_ready` in one step. From there every name is moved into the data, which
//! can be broken off and gone on with at any time. So a volume is empty, and is filled again by the next, or it is whole; and a container
//! that runs with it meanwhile keeps the directory that it has.
//!
//! May not: leave the image: its paths are resolved with its root as root ([`crate::root`]). Where a file system is mounted on the
//! data, the two directories lie in it, because nothing can be moved from one file system to another.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use monitor::volumes::{Lock, Tried, Volume};

use super::{PATIENCE, wait};
use crate::containers::Durable;
use crate::root::{Last, Root};
use crate::tree::place::{self, Owners, Placer};
use crate::tree::walk::{self, Attributes};

/// Beside the data, and in them.
const NEW: [&str; 2] = ["_new", ".brig-new"];
const READY: [&str; 2] = ["_ready", ".brig-ready"];

/// The directories of a volume that is being filled. Whoever has them has its contents locked.
struct Places {
    data: OwnedFd,
    /// Where the other two lie.
    stage: OwnedFd,
    new: &'static Path,
    ready: &'static Path,
}

impl Places {
    fn of(volume: &Volume) -> Result<Places> {
        let open = |path: &Path| {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            sys::fs::open(path, flags, 0).context(format!("failed to open {}", path.display()))
        };
        let mounted = volume.is_mounted()?;
        let stage = match mounted {
            true => volume.data(),
            false => volume.dir.clone(),
        };
        Ok(Places {
            data: open(&volume.data())?,
            stage: open(&stage)?,
            new: Path::new(NEW[usize::from(mounted)]),
            ready: Path::new(READY[usize::from(mounted)]),
        })
    }

    /// Ends what was broken off.
    fn recover(&self) -> Result<()> {
        if is_there(self.stage.as_fd(), self.ready)? {
            self.move_in()?;
        }
        match is_there(self.stage.as_fd(), self.new)? {
            true => image::layer::remove(self.stage.as_fd(), self.new),
            false => Ok(()),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        Ok(sys::fs::entries(self.data.as_fd())?.is_empty())
    }

    /// Moves every name of what is ready into the data, and makes the directory itself like the image's.
    fn move_in(&self) -> Result<()> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let ready = sys::fs::openat(self.stage.as_fd(), self.ready, flags, 0)?;
        let like = entry_of(ready.as_fd())?;
        for name in sys::fs::entries(ready.as_fd())? {
            let name = Path::new(&name);
            // A container that runs with it has been faster.
            if !is_there(self.data.as_fd(), name)? {
                sys::fs::renameat(ready.as_fd(), name, self.data.as_fd(), name)?;
            }
        }
        place::dress(self.data.as_fd(), &like)?;
        sys::fs::fsync(self.data.as_fd())?;
        image::layer::remove(self.stage.as_fd(), self.ready)
    }
}

fn is_there(directory: BorrowedFd<'_>, name: &Path) -> Result<bool> {
    match sys::fs::fstatat(directory, name, libc::AT_SYMLINK_NOFOLLOW) {
        Err(e) if e.is(libc::ENOENT) => Ok(false),
        found => Ok(found.map(|_| true)?),
    }
}

/// What a directory is like.
fn entry_of(fd: BorrowedFd<'_>) -> Result<image::layer::tar::Entry> {
    let stat = sys::fs::fstat(fd)?;
    walk::entry(fd, &stat, b".".to_vec(), Attributes::All)
}

/// Its contents, for who fills or mounts it.
pub(super) fn lock(volume: &Volume) -> Result<Lock> {
    let until = Instant::now() + PATIENCE;
    loop {
        match volume.try_lock_contents()? {
            Tried::Held(lock) => return Ok(lock),
            Tried::Busy => wait(volume, until)?,
            Tried::Gone => return Err(super::missing(&volume.name)),
        }
    }
}

/// Whether a copy into it was broken off.
pub fn is_broken_off(volume: &Volume) -> bool {
    [NEW[0], READY[0]]
        .iter()
        .any(|name| volume.dir.join(name).exists())
}

/// Ends a copy that was broken off. Cheap where there is none.
///
/// # Errors
/// Something cannot be moved or removed.
pub fn recover(volume: &Volume) -> Result<()> {
    if !is_broken_off(volume) {
        return Ok(());
    }
    let _lock = lock(volume)?;
    Places::of(volume)?
        .recover()
        .context(format!("failed to finish volume {}", volume.name))
}

/// Whether there is something to do: it has no names but ours.
///
/// # Errors
/// It cannot be read.
pub fn is_empty(volume: &Volume) -> Result<bool> {
    let names = monitor::volumes::names(&volume.data())
        .context(format!("failed to read {}", volume.data().display()))?;
    Ok(names
        .iter()
        .all(|name| [NEW[1], READY[1]].contains(&name.as_str())))
}

/// Fills a volume, if it is empty, with what lies at `path` in an image, if that is a directory. Whoever calls holds the volume, and its
/// contents.
///
/// # Errors
/// Something cannot be read or written, or it is called off. The volume is as empty then as it was.
pub fn fill(
    volume: &Volume,
    _contents: &Lock,
    image: &Root,
    path: &Path,
    durable: Durable,
    cancel: &Cancel,
) -> Result<()> {
    fill_locked(volume, image, path, durable, cancel).context(format!(
        "failed to copy {} of the image into volume {}",
        path.display(),
        volume.name
    ))
}

fn fill_locked(volume: &Volume, image: &Root, path: &Path, durable: Durable, cancel: &Cancel) -> Result<()> {
    let places = Places::of(volume)?;
    places.recover()?;
    if !places.is_empty()? {
        return Ok(());
    }
    let source = match image.open(path, Last::Follow, 0) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        source => source?,
    };
    if !sys::fs::fstat(source.as_fd())?.is_dir() {
        return Err(Error::invalid(format!(
            "cannot mount volume over existing file, file exists {}",
            path.display()
        )));
    }
    if sys::fs::entries(source.as_fd())?.is_empty() {
        place::dress(places.data.as_fd(), &entry_of(source.as_fd())?)?;
        return match durable {
            Durable::Yes => Ok(sys::fs::fsync(places.data.as_fd())?),
            Durable::No => Ok(()),
        };
    }
    let stage = places.stage.as_fd();
    let copied = copy(&places, source.as_fd(), durable, cancel);
    if let Err(e) = copied {
        return Err(e.and_also(image::layer::remove(stage, places.new)));
    }
    places.move_in()
}

/// The copy, up to where it counts.
fn copy(places: &Places, source: BorrowedFd<'_>, durable: Durable, cancel: &Cancel) -> Result<()> {
    let stage = places.stage.as_fd();
    sys::fs::mkdirat(stage, places.new, 0o700)?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let new = sys::fs::openat(stage, places.new, flags, 0)?;
    let options = walk::Options {
        attributes: Attributes::All,
        closed: Vec::new(),
        target: None,
        cancel,
    };
    let mut placer = Placer::new(new.as_fd(), Owners::Keep);
    walk::walk(source, b".", &options, &mut placer)?;
    placer.finish()?;
    place::dress(new.as_fd(), &entry_of(source)?)?;
    if durable == Durable::Yes {
        // All of it before its name: after a power cut the name must not stand for less.
        sys::sync::syncfs(new.as_fd())?;
    }
    Ok(sys::fs::renameat(stage, places.new, stage, places.ready)?)
}

/// Where the image is mounted for this: a directory of ours in the mount namespace that is apart.
pub fn place(run: &Path) -> PathBuf {
    run.join("image")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    /// An image and a volume.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Scene {
            let dir = std::env::temp_dir().join(format!("engine-fill-{name}-{}", std::process::id()));
            fs::create_dir_all(dir.join("image/data/sub")).unwrap();
            fs::write(dir.join("image/data/sub/file"), "text").unwrap();
            fs::hard_link(dir.join("image/data/sub/file"), dir.join("image/data/twin")).unwrap();
            symlink("/etc/passwd", dir.join("image/data/link")).unwrap();
            fs::set_permissions(dir.join("image/data"), fs::Permissions::from_mode(0o2750)).unwrap();
            let scene = Scene(dir);
            fs::create_dir_all(scene.volume().data()).unwrap();
            fs::write(scene.volume().record(), "{}").unwrap();
            scene
        }

        fn volume(&self) -> Volume {
            Volume::of(&self.0, "vol")
        }

        fn image(&self) -> PathBuf {
            self.0.join("image")
        }

        fn fill(&self, path: &str) -> Result<()> {
            let root = Root::at(&self.image()).unwrap();
            let lock = lock(&self.volume()).unwrap();
            fill(
                &self.volume(),
                &lock,
                &root,
                Path::new(path),
                Durable::Yes,
                &Cancel::new(),
            )
        }

        fn names(&self) -> Vec<String> {
            monitor::volumes::names(&self.volume().data()).unwrap()
        }

        fn is_tidy(&self) -> bool {
            monitor::volumes::names(&self.volume().dir).unwrap() == ["_data", "volume.json"]
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn everything_goes_along() {
        let scene = Scene::new("all");
        let data = scene.volume().data();
        let before = fs::metadata(&data).unwrap().ino();
        scene.fill("/data").unwrap();
        assert_eq!(scene.names(), ["link", "sub", "twin"]);
        let meta = fs::metadata(&data).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o2750);
        assert_eq!(meta.ino(), before, "whoever has it mounted has it still");
        let image = fs::metadata(scene.image().join("data")).unwrap();
        assert_eq!(meta.mtime_nsec(), image.mtime_nsec());
        let twins = ["sub/file", "twin"].map(|name| fs::metadata(data.join(name)).unwrap());
        assert_eq!((twins[0].ino(), twins[0].nlink()), (twins[1].ino(), 2));
        assert_eq!(
            fs::read_link(data.join("link")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert!(scene.is_tidy());
    }

    #[test]
    fn one_that_has_something_stays_as_it_is() {
        let scene = Scene::new("full");
        fs::write(scene.volume().data().join("own"), "").unwrap();
        scene.fill("/data").unwrap();
        assert_eq!(scene.names(), ["own"]);
        assert!(scene.is_tidy());
    }

    #[test]
    fn what_is_not_there_or_no_directory() {
        let scene = Scene::new("none");
        scene.fill("/nothing").unwrap();
        scene.fill("/data/twin/below").unwrap_err();
        let e = scene.fill("/data/twin").unwrap_err().to_string();
        assert!(
            e.ends_with("cannot mount volume over existing file, file exists /data/twin"),
            "{e}"
        );
        assert!(scene.names().is_empty() && scene.is_tidy());
    }

    #[test]
    fn an_empty_directory_gives_its_mode() {
        let scene = Scene::new("empty");
        let empty = scene.image().join("empty");
        fs::create_dir(&empty).unwrap();
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o1777)).unwrap();
        scene.fill("/empty").unwrap();
        let mode = fs::metadata(scene.volume().data()).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o1777);
    }

    #[test]
    fn links_of_an_image_stay_in_it() {
        let scene = Scene::new("links");
        let outside = scene.0.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        symlink(&outside, scene.image().join("absolute")).unwrap();
        symlink("../../outside", scene.image().join("relative")).unwrap();
        symlink("/data", scene.image().join("inside")).unwrap();
        for path in ["/absolute", "/relative", "/inside/../../outside"] {
            scene.fill(path).unwrap();
            assert!(scene.names().is_empty(), "{path}");
        }
        scene.fill("/inside").unwrap();
        assert_eq!(scene.names(), ["link", "sub", "twin"]);
    }

    #[test]
    fn a_kill_leaves_an_empty_one_or_a_whole_one() {
        // While it is copied.
        let scene = Scene::new("kill");
        let volume = scene.volume();
        fs::create_dir_all(volume.dir.join("_new/half")).unwrap();
        assert!(is_broken_off(&volume));
        recover(&volume).unwrap();
        assert!(scene.names().is_empty() && scene.is_tidy());
        fs::create_dir_all(volume.dir.join("_new/half")).unwrap();
        scene.fill("/data").unwrap();
        assert_eq!(scene.names(), ["link", "sub", "twin"]);
        assert!(scene.is_tidy());
        // While it is moved in: some names are there, others not.
        fs::create_dir(volume.dir.join("_ready")).unwrap();
        for name in ["sub", "twin"] {
            fs::rename(volume.data().join(name), volume.dir.join("_ready").join(name)).unwrap();
        }
        fs::set_permissions(volume.dir.join("_ready"), fs::Permissions::from_mode(0o700)).unwrap();
        recover(&volume).unwrap();
        assert_eq!(scene.names(), ["link", "sub", "twin"]);
        assert_eq!(fs::metadata(volume.data()).unwrap().mode() & 0o7777, 0o700);
        assert!(scene.is_tidy());
    }

    #[test]
    fn called_off_it_is_as_empty_as_it_was() {
        let scene = Scene::new("cancel");
        let cancel = Cancel::new();
        cancel.call();
        let root = Root::at(&scene.image()).unwrap();
        let lock = lock(&scene.volume()).unwrap();
        fill(
            &scene.volume(),
            &lock,
            &root,
            Path::new("/data"),
            Durable::No,
            &cancel,
        )
        .unwrap_err();
        assert!(scene.names().is_empty() && scene.is_tidy());
    }
}
