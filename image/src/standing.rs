//! What stands on an image: bundles and mounts. The image and its layers stay as long as they do.
//!
//! The store hears of each before it is there and after it is gone, so that nothing ever stands on layers that could be collected. What a
//! kill leaves is noticed by the next one who asks.
//!
//! May not: know how a mount is made (`mount`) or what a bundle consists of (`bundle`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::{self, Removed};
use crate::mount::{self, Busy, Mounted, Spec};
use crate::provide::Maker;
use crate::store::{Image, Lease, Store, UseKind};
use crate::{Context, Digest, Error, Kind, Result};

/// The layers of an image, the lowest first, each of them there: one that was not synced when the machine stopped is made again.
///
/// # Errors
/// A blob is away or damaged, so that a layer cannot be made.
pub fn layers(maker: &Maker<'_>, lease: &Lease<'_>, image: &Image) -> Result<Vec<mount::Layer>> {
    let store = maker.store;
    let (config, _) = store.config(&image.id)?;
    let (manifest, _) = store.manifest(&image.manifest)?;
    let layers = maker.all_from_blobs(lease, &config.rootfs.diff_ids, &manifest.layers, 1)?;
    Ok(store.mountable(&layers))
}

/// The same, if every one of them is there already: nothing is written, and nobody is waited for. For who stands on the image.
///
/// # Errors
/// The store cannot be read.
pub fn ready_layers(store: &Store, manifest: &Digest) -> Result<Option<Vec<mount::Layer>>> {
    let mut layers = Vec::new();
    for key in store.layer_keys(manifest)? {
        match store.layer_by_name(&key)? {
            Some(layer) => layers.push(layer),
            None => return Ok(None),
        }
    }
    Ok((!layers.is_empty()).then(|| store.mountable(&layers)))
}

fn bundles(store: &Store) -> PathBuf {
    store.roots().root.join("bundles")
}

fn mounts(store: &Store) -> PathBuf {
    store.roots().run.join("mounts")
}

/// Makes a bundle of an image in `dir`, which is empty or not there; or mounts the one again that is there and lost its mount at a reboot.
/// Its id.
///
/// # Errors
/// As [`bundle::create`], [`bundle::mount_again`] and [`layers`]; nothing is left then of a new one. The bundle that is there is of another
/// image ([`Kind::Conflict`]).
pub fn make_bundle(
    maker: &Maker<'_>,
    image: &Image,
    dir: &Path,
    options: &bundle::Options,
    mount: mount::Options,
) -> Result<(String, Mounted)> {
    let store = maker.store;
    let bundles = bundles(store);
    fs::create_dir_all(&bundles).context(format!("failed to make {}", bundles.display()))?;
    let old = bundle::find(&bundles, dir)?;
    let name = image.id.to_string();
    if let Some(old) = old.as_ref().filter(|old| old.image != name) {
        return Err(Error::of(
            Kind::Conflict,
            format!(
                "{} is a bundle of another image, {}; brig unbundle removes it",
                dir.display(),
                old.image
            ),
        ));
    }
    let lease = store.lease()?;
    let layers = layers(maker, &lease, image)?;
    let (config, _) = store.config(&image.id)?;
    let id = match &old {
        Some(old) => old.id.clone(),
        None => store.random_id()?,
    };
    // Of one that is there it is known already.
    store.begin_use(UseKind::Bundle, &id, image)?;
    let request = bundle::Request {
        image: &config,
        image_name: &name,
        layers: &layers,
        dir,
        bundles: &bundles,
        id: &id,
        mount,
    };
    if let Some(old) = &old {
        let mounted = bundle::mount_again(&request, old)?;
        return Ok((id, mounted));
    }
    match bundle::create(&request, options) {
        Ok(mounted) => Ok((id, mounted)),
        Err(e) => Err(e.and_also(store.end_use(UseKind::Bundle, &id).map(drop))),
    }
}

/// Takes the bundle in `dir` away.
///
/// # Errors
/// There is none, or a container runs from it.
pub fn remove_bundle(store: &Store, dir: &Path) -> Result<()> {
    let bundles = bundles(store);
    let full = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let ids: Vec<String> = bundle::list(&bundles)?
        .into_iter()
        .filter(|record| record.dir == full)
        .map(|record| record.id)
        .collect();
    match bundle::remove(&bundles, dir)? {
        Removed::Nothing => Err(Error::not_found(format!(
            "{} is no bundle of brig",
            dir.display()
        ))),
        Removed::Bundle => {
            for id in ids {
                store.end_use(UseKind::Bundle, &id)?;
            }
            clear(store)
        }
    }
}

/// Mounts an image read-only: where, and by what. The same image is mounted once.
///
/// # Errors
/// As [`layers`] and [`mount::mount`].
pub fn mount_image(maker: &Maker<'_>, image: &Image) -> Result<(PathBuf, Mounted)> {
    let store = maker.store;
    let place = mounts(store).join(image.id.hex());
    let _lock = store.lock(
        &format!("mount-{}", image.id.hex()),
        || (),
        || maker.cancel.is_called(),
    )?;
    fs::create_dir_all(&place).context(format!("failed to make {}", place.display()))?;
    if !mount::mounts_below(&place)?.is_empty() {
        let mounted = Mounted {
            driver: mount::Driver::Bind,
            why: None,
        };
        return Ok((place, mounted));
    }
    let lease = store.lease()?;
    let spec = Spec {
        layers: layers(maker, &lease, image)?,
        scratch: Some(lease.directory()),
        options: mount::Options {
            nodev: true,
            nosuid: true,
            ..mount::Options::default()
        },
        ..Spec::default()
    };
    store.begin_use(UseKind::Mount, image.id.hex(), image)?;
    match mount::mount(&spec, &place) {
        Ok(mounted) => Ok((place, mounted)),
        Err(e) => Err(e.and_also(end_mount(store, &image.id, &place))),
    }
}

/// Where an image is mounted when somebody mounts it, and where its layers lie, the topmost first. Nothing is made: layers that are not
/// there are left out.
///
/// # Errors
/// The store cannot be read.
pub fn places(store: &Store, image: &Image) -> Result<(PathBuf, Vec<PathBuf>)> {
    let paths = layer_places(store, &image.manifest)?;
    Ok((mounts(store).join(image.id.hex()), paths))
}

/// Where the layers of a manifest lie, the topmost first, as far as they are there.
///
/// # Errors
/// The store cannot be read.
pub fn layer_places(store: &Store, manifest: &Digest) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = store
        .mountable(&store.layers_of(manifest)?)
        .into_iter()
        .map(|layer| layer.path().to_owned())
        .collect();
    paths.reverse();
    Ok(paths)
}

/// Takes the mount of an image away. Whether there was one.
///
/// # Errors
/// Somebody works in it ([`Kind::Conflict`]).
pub fn unmount_image(store: &Store, image: &Digest) -> Result<bool> {
    let place = mounts(store).join(image.hex());
    let was_there = place.exists();
    end_mount(store, image, &place)?;
    Ok(was_there)
}

fn end_mount(store: &Store, image: &Digest, place: &Path) -> Result<()> {
    mount::unmount(place, Busy::Refuse).map_err(|e| match e.kind() {
        Kind::Conflict => e.context(format!(
            "image {} is mounted on {}",
            image.short(),
            place.display()
        )),
        _ => e,
    })?;
    if place.exists() {
        // A mount point, or a copy where nothing can be mounted.
        crate::layer::remove_path(place)?;
    }
    store.end_use(UseKind::Mount, image.hex()).map(drop)
}

/// What stands on images of these manifests, in words that lead there.
///
/// # Errors
/// The store or a record cannot be read.
pub fn users(store: &Store, manifests: &[Digest]) -> Result<Vec<String>> {
    let uses: Vec<_> = store
        .uses()?
        .into_iter()
        .filter(|user| manifests.contains(&user.manifest))
        .collect();
    if uses.is_empty() {
        return Ok(Vec::new());
    }
    let records = bundle::list(&bundles(store))?;
    let words = uses.into_iter().map(|user| {
        if user.kind == UseKind::Mount.name() {
            return format!("mount {}", mounts(store).join(&user.key).display());
        }
        if user.kind == UseKind::Container.name() {
            return format!("container {}", user.key.get(..12).unwrap_or(&user.key));
        }
        match records.iter().find(|record| record.id == user.key) {
            Some(record) => format!("bundle {}", record.dir.display()),
            // Its directory is known when it is there.
            None => format!("a {} that is being made", user.kind),
        }
    });
    Ok(words.collect())
}

/// The images that are mounted, and where.
///
/// # Errors
/// The store cannot be read.
pub fn mounted_images(store: &Store) -> Result<Vec<(Digest, PathBuf)>> {
    clear(store)?;
    let found = store
        .uses()?
        .into_iter()
        .filter(|u| u.kind == UseKind::Mount.name());
    Ok(found
        .map(|u| (u.image.clone(), mounts(store).join(u.image.hex())))
        .collect())
}

/// Forgets what does not stand any more: a bundle that was never finished or whose record is gone, a mount that a reboot has ended.
///
/// # Errors
/// The store cannot be read or written.
pub fn clear(store: &Store) -> Result<()> {
    let uses = store.uses()?;
    if uses.is_empty() {
        return Ok(());
    }
    let records = bundle::list(&bundles(store))?;
    for user in uses {
        if user.kind == UseKind::Bundle.name() {
            let is_there = records.iter().any(|record| record.id == user.key);
            // Whoever is making one right now has a lease.
            if !is_there && !store.is_leased()? {
                store.end_use(UseKind::Bundle, &user.key)?;
            }
        } else if user.kind == UseKind::Mount.name() {
            let place = mounts(store).join(&user.key);
            let lock = store.try_lock(&format!("mount-{}", user.key))?;
            if lock.is_some() && !place.exists() {
                store.end_use(UseKind::Mount, &user.key)?;
            }
        }
    }
    Ok(())
}
