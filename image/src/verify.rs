//! Whether unpacked layers are what their blobs make of them.
//!
//! A layer is derived from its blob, and the same archive makes the same layer always. So each is made once more beside the one that is
//! there, and the two are compared. A pull has nothing to write down for that, and pays nothing; a bad disk, a bad cable and somebody's hand
//! are found alike, whichever byte they have changed.
//!
//! May not: mend, or change anything but its own scratch directory.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;

use crate::assemble;
use crate::layer::{self, Likeness};
use crate::oci::Descriptor;
use crate::provide::{Maker, Means, Wanted};
use crate::store::{Damage, Finding, Form, Layer, LayerKey, Lease, Store, Subject};
use crate::{Context, Digest, Error, Kind, Result};

/// What a layer is made of: one of the images that have it, and its place there.
pub(crate) struct Origin {
    pub diff_ids: Vec<Digest>,
    pub blobs: Vec<Descriptor>,
    pub keys: Vec<String>,
    /// Layers below it.
    pub position: usize,
    /// It was made here and has no blob.
    pub is_bare: bool,
}

impl Origin {
    /// Of a layer that these manifests need; none, if no image has them.
    pub fn find(store: &Store, key: &str, needed_by: &[Digest]) -> Result<Option<Origin>> {
        for image in store.images()? {
            if !needed_by.contains(&image.manifest) {
                continue;
            }
            let keys = store.layer_keys(&image.manifest)?;
            let Some(position) = keys.iter().position(|own| own == key) else {
                continue;
            };
            let manifest = store.manifest(&image.manifest)?.0;
            let is_bare = store.bare_layers(&image.manifest, &manifest)?.contains(&position);
            let blobs = manifest.layers;
            let diff_ids = store.config(&image.id)?.0.rootfs.diff_ids;
            if position < blobs.len().min(diff_ids.len()) {
                return Ok(Some(Origin {
                    diff_ids,
                    blobs,
                    keys,
                    position,
                    is_bare,
                }));
            }
        }
        Ok(None)
    }

    pub fn wanted(&self) -> Wanted<'_> {
        let blob = &self.blobs[self.position];
        Wanted {
            diff_id: &self.diff_ids[self.position],
            blob: &blob.digest,
            size: blob.size,
            below: &self.diff_ids[..self.position],
        }
    }

    /// The layers under it, for one that contains parts of them; none, if it stands for itself.
    pub fn below(&self, store: &Store, key: &str) -> Result<Option<Vec<Layer>>> {
        if key == LayerKey::of(&self.diff_ids[self.position]).as_str() {
            return Ok(None);
        }
        self.all(store, self.position).map(Some)
    }

    /// So many of the layers, from the lowest.
    pub fn all(&self, store: &Store, count: usize) -> Result<Vec<Layer>> {
        let mut below = Vec::with_capacity(count);
        let all = store.layers()?;
        for key in &self.keys[..count] {
            let found = all.iter().find(|layer| layer.key.as_str() == key);
            let there = match found {
                Some(layer) => store.layer(&layer.key)?,
                None => None,
            };
            below.push(
                there.ok_or_else(|| {
                    Error::not_found(format!("layer {key}, which lies below, is not there"))
                })?,
            );
        }
        Ok(below)
    }
}

/// Compares all layers that images need with their blobs, but for those with a finding already, and those whose blob has one.
///
/// # Errors
/// Called off, or there is no room to make a layer once more.
pub fn layers(maker: &Maker<'_>, known: &[Finding]) -> Result<Vec<Finding>> {
    let store = maker.store;
    let lease = store.lease()?;
    let known: HashSet<String> = known
        .iter()
        .filter_map(|finding| key_of(&finding.subject))
        .collect();
    let mut findings = Vec::new();
    for (key, needed_by) in store.needed_layers()? {
        maker.cancel.check()?;
        if known.contains(&key) {
            continue;
        }
        // From here on it cannot be collected.
        lease.hold_layer(&key)?;
        let Some(layer) = store
            .layers()?
            .into_iter()
            .find(|layer| layer.key.as_str() == key)
        else {
            continue;
        };
        let Some(layer) = store.layer(&layer.key)? else {
            continue;
        };
        // A document that cannot be read has a finding of its own.
        let Ok(Some(origin)) = Origin::find(store, &key, &needed_by) else {
            continue;
        };
        if known.contains(&origin.wanted().blob.to_string()) {
            continue;
        }
        if let Some(damage) = compare(maker, &lease, &layer, &origin)? {
            findings.push(Finding {
                subject: Subject::Layer(key),
                damage,
                needed_by,
            });
        }
    }
    Ok(findings)
}

fn key_of(subject: &Subject) -> Option<String> {
    match subject {
        Subject::Blob(digest) => Some(digest.to_string()),
        Subject::Layer(key) => Some(key.clone()),
        Subject::Stray(_) | Subject::Database => None,
    }
}

fn compare(maker: &Maker<'_>, lease: &Lease<'_>, layer: &Layer, origin: &Origin) -> Result<Option<Damage>> {
    let failed = || format!("failed to compare layer {}", layer.key);
    if origin.is_bare || layer.tar > 0 {
        // An upper directory of overlay has more than its tar says: the times of whiteouts. What says what it has to be is its own digest.
        let layers = match origin.all(maker.store, origin.position + 1) {
            // What lies below has a finding of its own.
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            layers => layers?,
        };
        let is_whole = assemble::is_whole(maker.store, lease, &layers, origin.position, maker.cancel);
        return Ok(match is_whole {
            Ok(true) => None,
            Ok(false) => Some(Damage::Corrupt("its digest is another".to_owned())),
            Err(e) if e.kind() == Kind::Cancelled => return Err(e),
            Err(e) => Some(Damage::Corrupt(e.to_string())),
        });
    }
    // In the form that it has, whichever would be chosen today.
    let maker = Maker {
        means: Means {
            form: layer.form,
            ..maker.means
        },
        ..*maker
    };
    let wanted = origin.wanted();
    lease.hold_blob(wanted.blob)?;
    let made = match origin.below(maker.store, layer.key.as_str()) {
        Ok(below) => maker.afresh(lease, &wanted, below.as_deref()),
        Err(e) => Err(e),
    };
    let made = match made {
        Ok((_, directory)) => directory,
        // The image was removed since we looked, or something that has a finding of its own is away.
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        Err(e) if e.kind() == Kind::Corrupt => return Ok(Some(Damage::Corrupt(e.to_string()))),
        Err(e) => return Err(e.context(failed())),
    };
    let path = made.join(layer.form.file_name());
    let new = File::open(&path).context(failed())?;
    let found = match File::open(maker.store.layer_path(layer)) {
        Err(e) => return Ok(Some(Damage::Corrupt(format!("it cannot be read: {e}")))),
        Ok(found) => found,
    };
    let likeness = match layer.form {
        Form::Erofs => layer::compare_images(&found, &new, maker.cancel.flag()),
        Form::Tree => layer::compare_trees(found.as_fd(), new.as_fd(), maker.cancel.flag()),
    };
    layer::remove_path(&made).context(failed())?;
    Ok(match likeness.context(failed())? {
        Likeness::Same => None,
        Likeness::Different(how) => Some(Damage::Corrupt(how)),
        Likeness::Foreign => Some(Damage::Foreign),
    })
}
