//! Layers: unpacked, each by itself, shared by all images that have it.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use super::blob::nanoseconds;
use super::{Commits, Lease, Store, exists, sync_directory};
use crate::{Context, Digest, Error, Result};

/// How a layer lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A directory in the form that overlayfs wants of a lower one.
    Tree,
    /// One file with a file system in it.
    Erofs,
}

impl Form {
    /// Below the layer's directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Form::Tree => "fs",
            Form::Erofs => "layer.erofs",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Form::Tree => "tree",
            Form::Erofs => "erofs",
        }
    }

    fn parse(name: &str) -> Result<Form> {
        match name {
            "tree" => Ok(Form::Tree),
            "erofs" => Ok(Form::Erofs),
            other => Err(Error::corrupt(format!(
                "the store has a layer of the unknown form {other:?}"
            ))),
        }
    }
}

/// The name of an unpacked layer: its diff id; or, where it has links to files of the layers below and so contains what it got from
/// them, a name made from its diff id and theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerKey(Box<str>);

impl LayerKey {
    /// Of a layer that stands for itself.
    pub fn of(diff_id: &Digest) -> LayerKey {
        LayerKey(diff_id.hex().into())
    }

    /// Of a layer that contains parts of those below, the lowest first.
    pub fn above(below: &[Digest], diff_id: &Digest) -> LayerKey {
        let mut chain = String::new();
        for id in below.iter().chain([diff_id]) {
            chain.push_str(&id.to_string());
            chain.push(' ');
        }
        LayerKey(format!("{}-chain", Digest::of(chain.as_bytes()).hex()).into())
    }
}

impl LayerKey {
    /// As the database and the directories have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A layer that is there.
#[derive(Clone, Debug)]
pub struct Layer {
    pub key: LayerKey,
    pub diff_id: Digest,
    pub form: Form,
    /// Bytes of its files.
    pub size: u64,
    /// Bytes that it takes.
    pub disk: u64,
    /// It hides everything below it. Overlay does not read that from the root of a layer, so what is below is left out of the mount.
    pub hides_all_below: bool,
    /// What it was made from, or was packed into.
    pub blob: Option<Digest>,
    /// Bytes of its tar, if we know how to make that again: it was packed by us, not by somebody whose order of entries we do not know.
    /// Such a layer needs no blob. 0: we do not.
    pub tar: u64,
    boot: String,
    synced: bool,
    added: i64,
}

impl Layer {
    /// A layer that was made just now and is not synced.
    pub fn new(
        key: LayerKey,
        diff_id: Digest,
        form: Form,
        size: u64,
        disk: u64,
        blob: Option<Digest>,
    ) -> Layer {
        Layer {
            key,
            diff_id,
            form,
            size,
            disk,
            hides_all_below: false,
            blob,
            tar: 0,
            boot: String::new(),
            synced: false,
            added: 0,
        }
    }
}

/// The kernel writes dirty pages after 30 s and looks every 5 s (vm.dirty_expire_centisecs): a sync later than that has nothing to wait for.
const SETTLED: Duration = Duration::from_secs(60);

impl Store {
    /// Where a layer lies: a tree or an EROFS image.
    pub fn layer_path(&self, layer: &Layer) -> PathBuf {
        self.layer_directory(&layer.key).join(layer.form.file_name())
    }

    /// Layers, the lowest first, as something to be mounted: those that are not hidden whole.
    pub fn mountable(&self, layers: &[Layer]) -> Vec<crate::mount::Layer> {
        let lowest = layers
            .iter()
            .rposition(|layer| layer.hides_all_below)
            .unwrap_or(0);
        let seen = layers.get(lowest..).unwrap_or_default();
        seen.iter()
            .map(|layer| match layer.form {
                Form::Tree => crate::mount::Layer::Tree(self.layer_path(layer)),
                Form::Erofs => crate::mount::Layer::Erofs(self.layer_path(layer)),
            })
            .collect()
    }

    pub(super) fn layer_directory(&self, key: &LayerKey) -> PathBuf {
        self.path("layers").join(&*key.0)
    }

    /// A layer, if it is there and can be trusted: made in this boot, or synced before it ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layer(&self, key: &LayerKey) -> Result<Option<Layer>> {
        self.layer_by_name(&key.0)
    }

    /// The same, by a name out of [`Store::layer_keys`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layer_by_name(&self, key: &str) -> Result<Option<Layer>> {
        let found = self
            .db()
            .prepare_cached(&format!("SELECT {COLUMNS} FROM layer WHERE key = ?"))
            .and_then(|mut find| find.query_row(params![key], |row| Ok(from_row(row))).optional())
            .context(format!("failed to look for layer {key}"))?;
        match found.transpose()? {
            Some(layer) if self.is_trusted(&layer) && exists(&self.layer_path(&layer))? => Ok(Some(layer)),
            _ => Ok(None),
        }
    }

    pub(super) fn is_trusted(&self, layer: &Layer) -> bool {
        layer.synced || layer.boot == self.boot
    }

    /// All layers, also those that cannot be trusted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let db = self.db();
        let mut find = db.prepare(&format!("SELECT {COLUMNS} FROM layer ORDER BY key"))?;
        let rows = find.query_map([], |row| Ok(from_row(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The layers of a manifest, the lowest first, as far as they are there and good.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layers_of(&self, manifest: &Digest) -> Result<Vec<Layer>> {
        let keys = self.layer_keys(manifest)?.into_iter();
        let found: Result<Vec<Option<Layer>>> = keys.map(|key| self.layer(&LayerKey(key.into()))).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Gives an unpacked layer its place and its name. `directory` has what [`Form::file_name`] says, and nothing else. A layer of that
    /// name that is there already, and was not trusted, is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn publish_layer(&self, lease: &Lease<'_>, directory: &Path, layer: &Layer) -> Result<()> {
        let failed = || format!("failed to store layer {}", layer.key);
        let place = self.layer_directory(&layer.key);
        let old = lease.directory().join(format!("old-{}", layer.key));
        // What is not on the disk need not be known there. Its row may be lost alone: [`Store::collect`] looks for such once in an uptime.
        let commits = match layer.synced {
            true => Commits::Durable,
            false => Commits::Passing,
        };
        self.change(commits, |db| {
            match fs::rename(&place, &old) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::from(e).context(failed())),
                _ => {}
            }
            fs::rename(directory, &place).context(failed())?;
            db.execute(
                "INSERT OR REPLACE INTO layer (key, diff_id, form, size, disk, opaque, blob, tar, boot, synced, added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    &*layer.key.0,
                    layer.diff_id.to_string(),
                    layer.form.name(),
                    layer.size,
                    layer.disk,
                    layer.hides_all_below,
                    layer.blob.as_ref().map(Digest::to_string),
                    layer.tar,
                    self.boot,
                    layer.synced,
                    nanoseconds(),
                ],
            )?;
            Ok(())
        })
        // What was replaced goes with the lease.
    }

    /// Forgets a layer that was found to be damaged; it will be made again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn drop_layer(&self, lease: &Lease<'_>, key: &LayerKey) -> Result<()> {
        let old = lease.directory().join(format!("damaged-{key}"));
        self.write(|db| {
            db.execute("DELETE FROM layer WHERE key = ?", params![&*key.0])?;
            match fs::rename(self.layer_directory(key), &old) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::from(e).context(format!("failed to remove layer {key}")))
                }
                _ => Ok(()),
            }
        })
    }

    /// Writes down that layers of this boot have reached the disk. Only those that the kernel has written by itself by now, so
    /// that nobody waits; `Now` waits for all.
    ///
    /// # Errors
    /// A layer cannot be synced.
    pub fn settle_layers(&self, which: Settle) -> Result<usize> {
        let before = nanoseconds() - i64::try_from(SETTLED.as_nanos()).unwrap_or(i64::MAX);
        let wanted = |layer: &Layer| which == Settle::Now || layer.added <= before;
        self.sync_layers(&self.layers()?.into_iter().filter(wanted).collect::<Vec<_>>())
    }

    /// Waits until these layers are on the disk, and writes that down. Of those that no blob could replace, before they are named.
    ///
    /// # Errors
    /// A layer cannot be synced.
    pub fn sync_layers(&self, layers: &[Layer]) -> Result<usize> {
        let mut synced = Vec::new();
        let mut is_all_synced = false;
        for layer in layers {
            if layer.synced || layer.boot != self.boot {
                continue;
            }
            let path = self.layer_path(layer);
            let failed = || format!("failed to sync layer {}", layer.key);
            let file = match File::open(&path) {
                // Collected meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.context(failed())?,
            };
            match layer.form {
                Form::Erofs => file.sync_all().context(failed())?,
                // All layers lie on one file system, and one call is for all of it.
                Form::Tree if is_all_synced => {}
                Form::Tree => {
                    sys::sync::syncfs(std::os::fd::AsFd::as_fd(&file)).context(failed())?;
                    is_all_synced = true;
                }
            }
            if !is_all_synced {
                sync_directory(&self.layer_directory(&layer.key))?;
            }
            synced.push(layer);
        }
        if synced.is_empty() {
            return Ok(0);
        }
        sync_directory(&self.path("layers"))?;
        self.write(|db| {
            let mut update = db.prepare("UPDATE layer SET synced = 1 WHERE key = ? AND added = ?")?;
            for layer in &synced {
                update.execute(params![&*layer.key.0, layer.added])?;
            }
            Ok(())
        })?;
        Ok(synced.len())
    }

    /// Writes down that we can make the tar of a layer, which has so many bytes.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_tar(&self, key: &LayerKey, tar: u64) -> Result<()> {
        self.write_passing(|db| {
            db.execute("UPDATE layer SET tar = ? WHERE key = ?", params![tar, &*key.0])?;
            Ok(())
        })
    }

    /// Writes down what a layer was packed into.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_blob(&self, key: &LayerKey, blob: &Digest) -> Result<()> {
        self.write(|db| {
            db.execute(
                "UPDATE layer SET blob = ? WHERE key = ?",
                params![blob.to_string(), &*key.0],
            )?;
            Ok(())
        })
    }
}

/// Which layers are to be synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    WhatIsOld,
    Now,
}

const COLUMNS: &str = "key, diff_id, form, size, disk, blob, boot, synced, added, opaque, tar";

fn from_row(row: &Row<'_>) -> Result<Layer> {
    let text = |index: usize| -> Result<String> { Ok(row.get(index)?) };
    let blob: Option<String> = row.get(5)?;
    Ok(Layer {
        key: LayerKey(text(0)?.into()),
        diff_id: text(1)?.parse()?,
        form: Form::parse(&text(2)?)?,
        size: row.get(3)?,
        disk: row.get(4)?,
        blob: blob.map(|digest| digest.parse()).transpose()?,
        boot: text(6)?,
        synced: row.get(7)?,
        added: row.get(8)?,
        hides_all_below: row.get(9)?,
        tar: row.get(10)?,
    })
}
