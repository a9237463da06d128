//! Taking images away: by name, by id, or all that nobody needs.

use std::collections::HashSet;

use crate::reference::Reference;
use crate::store::{Freed, Image, Name, Store, Untagged, UseKind};
use crate::{Digest, Error, Kind, Result};

/// How much resistance is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    No,
    /// Several tags do not matter.
    Yes,
}

/// What was done, in the order in which it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    Untagged(Reference),
    /// An image, or a layer by its chain id.
    Deleted(Digest),
}

/// Whether the container of an id runs.
pub type Runs<'r> = &'r dyn Fn(&str) -> bool;

/// Removes what `text` names: a tag, and the image with its last one; or an image, by its id.
///
/// # Errors
/// There is no such image, it has several names and was given by its id ([`Kind::Conflict`]), or something stands on it.
pub fn remove(store: &Store, text: &str, force: Force, runs: Runs<'_>) -> Result<(Vec<Gone>, Freed)> {
    let delete = |store: &Store, image: &Image| delete_from_under(store, image, force, runs);
    let image = store.find_image(text)?;
    let (tags, pins) = references(store, &image.id)?;
    let by_name = text.parse::<Reference>().ok().filter(|reference| {
        store
            .resolve(reference)
            .is_ok_and(|id| id.as_ref() == Some(&image.id))
    });
    let Some(reference) = by_name else {
        if tags.len() > 1 && force == Force::No {
            return Err(conflict(
                &image,
                "(must be forced) - image is referenced in multiple repositories",
            ));
        }
        return delete(store, &image);
    };
    if let Some(digest) = reference.digest() {
        let is_last = tags.is_empty() && pins.len() <= 1;
        if is_last {
            return delete(store, &image);
        }
        for pin in pins
            .iter()
            .filter(|p| p.repository == *reference.repository() && p.target == *digest)
        {
            store.unpin(pin)?;
        }
        return Ok((
            vec![Gone::Untagged(reference.repository().with_digest(digest.clone()))],
            Freed::default(),
        ));
    }
    let reference = reference.or_latest();
    let others = |name: &&Name| name.reference != reference;
    let is_last = tags.iter().filter(others).count() == 0
        && pins.iter().all(|p| p.repository == *reference.repository());
    if is_last {
        return delete(store, &image);
    }
    let Some(name) = tags.iter().find(|name| name.reference == reference) else {
        return Err(Error::not_found(format!(
            "No such image: {}",
            reference.familiar()
        )));
    };
    let gone = store.untag(name)?.into_iter().map(untagged).collect();
    // A tag may have had a manifest of its own.
    Ok((gone, store.collect()?))
}

fn conflict(image: &Image, why: &str) -> Error {
    Error::of(
        Kind::Conflict,
        format!("conflict: unable to delete {} {why}", image.id.short()),
    )
}

fn references(store: &Store, id: &Digest) -> Result<(Vec<Name>, Vec<crate::store::Pin>)> {
    let tags = store
        .names()?
        .into_iter()
        .filter(|name| name.image == *id)
        .collect();
    let pins = store.pins()?.into_iter().filter(|pin| pin.image == *id).collect();
    Ok((tags, pins))
}

/// Removes an image with all its names.
pub(crate) fn delete(store: &Store, image: &Image) -> Result<(Vec<Gone>, Freed)> {
    delete_from_under(store, image, Force::No, &|_| true)
}

/// With force, containers that do not run lose the image's names and keep what they are made of.
fn delete_from_under(
    store: &Store,
    image: &Image,
    force: Force,
    runs: Runs<'_>,
) -> Result<(Vec<Gone>, Freed)> {
    let container = UseKind::Container.name();
    let matters = |kind: &str, key: &str| force == Force::No || kind != container || runs(key);
    // Before the documents go: what the layers are called when they lie on each other.
    let chain = store
        .config(&image.id)
        .map(|(config, _)| chain_ids(&config.rootfs.diff_ids))
        .unwrap_or_default();
    crate::standing::clear(store)?;
    let names = match store.remove_image_from_under(&image.id, &matters) {
        Err(e) if e.kind() == Kind::Conflict => {
            // In the store it is a number; the user has made a directory.
            let users = crate::standing::users(store, std::slice::from_ref(&image.manifest))?;
            let why = users
                .first()
                .map_or_else(|| e.to_string(), |user| format!("image is being used by {user}"));
            let mut standing = store.uses()?.into_iter().filter(|user| user.image == image.id);
            let is_soft = standing.all(|user| user.kind == container && !runs(&user.key));
            let how = match is_soft {
                true => "(must be forced)",
                false => "(cannot be forced)",
            };
            return Err(conflict(image, &format!("{how} - {why}")));
        }
        other => other?,
    };
    let freed = store.collect()?;
    let mut gone: Vec<Gone> = names.into_iter().map(untagged).collect();
    gone.push(Gone::Deleted(image.id.clone()));
    let layers: HashSet<&Digest> = freed.layers.iter().collect();
    gone.extend(
        chain
            .into_iter()
            .rev()
            .filter(|(diff_id, _)| layers.contains(diff_id))
            .map(|(_, chain)| Gone::Deleted(chain)),
    );
    Ok((gone, freed))
}

fn untagged(gone: Untagged) -> Gone {
    match gone {
        Untagged::Tag(reference) | Untagged::Digest(reference) => Gone::Untagged(reference),
    }
}

/// The ids of layers that lie on others (config.md, "Layer ChainID"), the lowest first.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<(Digest, Digest)> {
    let mut chain: Vec<(Digest, Digest)> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some((_, below)) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push((diff_id.clone(), id));
    }
    chain
}

/// Which images go.
pub struct Prune<'p> {
    /// Also those that have a name, if nothing stands on them.
    pub all: bool,
    /// Those that are to be left alone answer no.
    pub filter: &'p dyn Fn(&Image) -> Result<bool>,
}

/// Removes all images that nobody needs.
///
/// # Errors
/// The store cannot be changed. What was removed so far is gone.
pub fn prune(store: &Store, prune: &Prune<'_>) -> Result<(Vec<Gone>, u64)> {
    crate::standing::clear(store)?;
    let used: HashSet<Digest> = store.uses()?.into_iter().map(|u| u.image).collect();
    let named: HashSet<Digest> = store.names()?.into_iter().map(|n| n.image).collect();
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for image in store.images()? {
        if used.contains(&image.id) || (!prune.all && named.contains(&image.id)) || !(prune.filter)(&image)? {
            continue;
        }
        match delete(store, &image) {
            Ok((lines, freed)) => {
                gone.extend(lines);
                bytes += freed.bytes;
            }
            // Somebody has begun to stand on it, or has removed it, since we looked.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    // What nobody names at all: the rest of a pull that was called off.
    bytes += store.collect()?.bytes;
    Ok((gone, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chain_of_one_is_its_diff_id() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain[0], (a.clone(), a.clone()));
        assert_eq!(chain[1], (b.clone(), Digest::of(format!("{a} {b}").as_bytes())));
    }
}
