//! Volumes and images on their way into a container: made and filled when it is made, mounted when it starts.
//!
//! May not: decide what a container has; that is [`crate::mountpoints`].

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use image::mount::{Layer, Spec};
use image::registry::Cancel;
use image::store::{Image, Store};
use image::{Context, Digest, Error, Kind, Result};
use monitor::place::Place;
use monitor::volumes::Lock;
use sys::fs::{RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS};
use sys::mount::Reach;

use super::{Held, create, fill, get, options};
use crate::containers::{Containers, Durable, make_private};
use crate::model::{Definition, MountPoint};
use crate::mountpoints::Planned;
use crate::root::Root;
use crate::start::Layers;

/// The mounts of a container that is being made. Its volumes do not go while this is held.
#[derive(Debug, Default)]
pub struct Made {
    pub points: Vec<MountPoint>,
    held: Vec<(Held, PathBuf, bool)>,
}

impl Made {
    /// Removes the anonymous volumes that were made for a container that has come to nothing.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn undo(self, containers: &Containers, id: &str) -> Result<()> {
        let new = self.held.iter().filter(|(held, ..)| held.is_new);
        let new: Vec<String> = new.map(|(held, ..)| held.record.name.clone()).collect();
        let points: Vec<MountPoint> = self
            .points
            .into_iter()
            .filter(|p| new.contains(&p.name))
            .collect();
        drop(self.held);
        super::remove_of(containers, &points, id)
    }
}

/// Takes or makes the volumes that a container is to have, and finds its images.
///
/// # Errors
/// One cannot be made, or there is no such image. Anonymous ones are removed again.
pub fn make(
    containers: &Containers,
    store: &Store,
    planned: Vec<Planned>,
    id: &str,
    durable: Durable,
) -> Result<Made> {
    let mut made = Made::default();
    for one in planned {
        if let Err(e) = make_one(containers, store, one, durable, &mut made) {
            return Err(e.and_also(made.undo(containers, id)));
        }
    }
    Ok(made)
}

fn make_one(
    containers: &Containers,
    store: &Store,
    planned: Planned,
    durable: Durable,
    made: &mut Made,
) -> Result<()> {
    let Planned {
        mut point,
        volume,
        copies,
    } = planned;
    if point.kind == "image" && point.source.is_empty() {
        point.source = store.find_image(&point.name)?.id.to_string();
    }
    let is_of_other = volume.is_none() && point.kind == "volume";
    let wanted = volume.or_else(|| {
        // Of another container: it is there, and must not go before our record is written.
        is_of_other.then(|| super::Wanted {
            name: Some(point.name.clone()),
            ..super::Wanted::default()
        })
    });
    if let Some(wanted) = wanted {
        // Who is removed at its end does not need what nobody else knows by name to be there after a power cut.
        let durable = match wanted.name {
            Some(_) => Durable::Yes,
            None => durable,
        };
        let held = create(containers, &wanted, durable)?;
        point.name.clone_from(&held.record.name);
        point.source = held.volume.data().to_string_lossy().into_owned();
        made.held.push((held, point.destination.clone().into(), copies));
    }
    made.points.push(point);
    Ok(())
}

/// Fills the empty ones of them with what the image has at their places.
///
/// # Errors
/// The image cannot be mounted, or something not be copied.
pub fn fill(
    containers: &Containers,
    make: Layers<'_>,
    image: &Image,
    place: &Place,
    made: &Made,
    durable: Durable,
) -> Result<()> {
    let mut root = None;
    for (held, path, copies) in &made.held {
        fill::recover(&held.volume)?;
        if !copies {
            continue;
        }
        let lock = fill::lock(&held.volume)?;
        let is_mounted = mount(held)?;
        let filled = fill_one(held, &lock, path, durable, &mut root, || {
            below(make, image, place)
        });
        drop(lock);
        if is_mounted {
            // What stays is taken away by the next command.
            let _ = held
                .volume
                .unmount_unused(&containers.roots().run, containers.boot());
        }
        filled?;
    }
    Ok(())
}

/// The image is mounted only if there is something to fill.
fn fill_one(
    held: &Held,
    lock: &Lock,
    path: &Path,
    durable: Durable,
    root: &mut Option<Root>,
    mount: impl FnOnce() -> Result<Root>,
) -> Result<()> {
    if !fill::is_empty(&held.volume)? {
        return Ok(());
    }
    let root = match root {
        Some(root) => root,
        None => root.insert(mount()?),
    };
    fill::fill(&held.volume, lock, root, path, durable, &Cancel::new())
}

/// The image, mounted where only we see it.
fn below(make: Layers<'_>, image: &Image, place: &Place) -> Result<Root> {
    let directory = fill::place(&place.run);
    make_private(&directory)?;
    let spec = Spec {
        layers: make(image)?,
        scratch: Some(place.run.clone()),
        ..Spec::default()
    };
    Root::mounted(&spec, &directory, &[])
}

/// With driver options, for the copy. Whether it has any. Whoever calls has its contents locked.
fn mount(held: &Held) -> Result<bool> {
    let Some(words) = &held.record.options else {
        return Ok(false);
    };
    if !held.volume.is_mounted()? {
        mount_on(&held.volume, words)?;
    }
    Ok(true)
}

fn mount_on(volume: &monitor::volumes::Volume, words: &super::Words) -> Result<()> {
    let data = volume.data();
    options::mount(words, &data).context(format!("error while mounting volume '{}'", data.display()))
}

/// What a container that starts has of volumes with driver options: mounted, and not unmounted while this is held. Once it runs, that it
/// runs keeps them.
#[derive(Debug, Default)]
pub struct Kept(Vec<Lock>);

impl Kept {
    /// Something is mounted that has to be taken away when nobody needs it any more.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Mounts the volumes of a container that is about to start, as far as they have to be.
///
/// # Errors
/// One is gone, or cannot be mounted.
pub fn mount_all(containers: &Containers, mounts: &[MountPoint]) -> Result<Kept> {
    // In one order, so that no two wait for each other.
    let mut names: Vec<&str> = mounts
        .iter()
        .filter(|m| m.kind == "volume")
        .map(|m| m.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut kept = Kept::default();
    for name in names {
        let (volume, record) = get(containers, name)?;
        fill::recover(&volume)?;
        let Some(words) = &record.options else {
            continue;
        };
        kept.0.push(fill::lock(&volume)?);
        if !volume.is_mounted()? {
            mount_on(&volume, words)?;
        }
    }
    Ok(kept)
}

/// The images that a container mounts.
///
/// # Errors
/// One is gone: removed by force.
pub fn images(store: &Store, mounts: &[MountPoint]) -> Result<Vec<Image>> {
    let mounts = mounts.iter().filter(|m| m.kind == "image");
    mounts
        .map(|mount| {
            let id: Digest = mount.source.parse()?;
            let image = store.image(&id)?;
            image.ok_or_else(|| Error::not_found(format!("No such image: {}", mount.name)))
        })
        .collect()
}

/// Their layers, by image.
///
/// # Errors
/// An image is gone, or a layer of it cannot be made.
pub fn layers(
    store: &Store,
    make: Layers<'_>,
    mounts: &[MountPoint],
) -> Result<BTreeMap<String, Vec<Layer>>> {
    let mut found = BTreeMap::new();
    for image in images(store, mounts)? {
        found.insert(image.id.to_string(), make(&image)?);
    }
    Ok(found)
}

/// Mounts what is not simply a directory of the host: images, and parts of volumes. By destination, where it lies. In the mount
/// namespace of the container's monitor, so that nobody else sees it.
///
/// # Errors
/// A part is not there, or leads out; something cannot be mounted.
pub fn sources(
    definition: &Definition,
    place: &Place,
    images: &BTreeMap<String, Vec<Layer>>,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut sources = BTreeMap::new();
    for (n, point) in definition.mounts.iter().enumerate() {
        let whole = match point.kind.as_str() {
            "image" => {
                let at = target(place, n, "image", true)?;
                let layers = images.get(&point.source).cloned().unwrap_or_default();
                let spec = Spec {
                    layers,
                    scratch: Some(place.run.clone()),
                    ..Spec::default()
                };
                image::mount::mount(&spec, &at)?;
                at
            }
            "volume" if point.subpath().is_some() => PathBuf::from(&point.source),
            _ => continue,
        };
        let source = match point.subpath() {
            None => whole,
            Some(part) => part_of(&whole, part, place, n)?,
        };
        sources.insert(point.destination.clone(), source);
    }
    Ok(sources)
}

/// A place to mount on, of ours.
fn target(place: &Place, n: usize, what: &str, is_directory: bool) -> Result<PathBuf> {
    let directory = place.bundle().join("mounts");
    make_private(&directory)?;
    let at = directory.join(format!("{what}-{n}"));
    match is_directory {
        true => make_private(&at)?,
        false => drop(fs::File::create(&at).context(format!("failed to make {}", at.display()))?),
    }
    Ok(at)
}

/// What `part` names in a directory that may be full of somebody's links. The kernel resolves it once; what it has found is what is mounted,
fn part_of(whole: &Path, part: &str, place: &Place, n: usize) -> Result<PathBuf> {
    let fd =
        open_part(whole, part).context(format!("cannot access subpath {part:?} of {}", whole.display()))?;
    let is_directory = sys::fs::fstat(fd.as_fd())?.is_dir();
    let at = target(place, n, "part", is_directory)?;
    let tree = sys::mount::clone_tree(fd.as_fd(), Reach::Recursive)?;
    let target = sys::fs::open(&at, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    sys::mount::move_mount(tree.as_fd(), target.as_fd())?;
    Ok(at)
}

/// Links are followed as long as they do not lead out.
pub fn open_part(whole: &Path, part: &str) -> Result<OwnedFd> {
    let directory = sys::fs::open(whole, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    sys::fs::openat2(directory.as_fd(), Path::new(part), libc::O_PATH, 0, resolve).map_err(|e| {
        match e.is(libc::EXDEV) {
            true => Error::of(Kind::Invalid, "it leads out of the volume"),
            false => e.into(),
        }
    })
}
