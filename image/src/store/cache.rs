//! What builds have done, so that it is not done again; and the directories that their `RUN --mount=type=cache` keep.
//!
//! A record says what became of a step: a layer, or nothing. Its layer stays as long as the record does, as an image's layers stay with the
//! image. A record whose layer is gone, or was not on the disk when the machine stopped, is none.
//!
//! May not: know what a step is. Keys come from the builder.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Row, params};

use super::blob::nanoseconds;
use super::lease::random_name;
use super::{Layer, Store};
use crate::{Context, Digest, Error, Result};

/// Of a directory that RUN keeps for later ones.
pub const CACHE_MOUNT: &str = "exec.cachemount";

/// Kinds that are of no use to anybody by themselves.
const INTERNAL: [&str; 2] = ["internal", "frontend"];

/// A step that was done.
#[derive(Clone, Copy, Debug)]
pub struct Step<'s> {
    pub key: &'s Digest,
    /// What it has written; none, if nothing.
    pub layer: Option<&'s Layer>,
    pub description: &'s str,
    /// `regular`, `source.local`, `source.git.checkout`, [`CACHE_MOUNT`], `internal`, `frontend`.
    pub kind: &'s str,
    /// What the builder wants to know of it again.
    pub value: &'s str,
    pub parents: &'s [Digest],
}

/// What a step came to, the last time.
#[derive(Clone, Debug)]
pub struct Cached {
    pub layer: Option<Layer>,
    pub value: String,
    /// Nanoseconds since 1970.
    pub created: i64,
}

/// A record, for who looks at them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Digest,
    pub diff_id: Option<Digest>,
    pub description: String,
    pub kind: String,
    pub parents: Vec<Digest>,
    /// Bytes that it takes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
    pub used: i64,
    pub uses: u64,
    /// An image has its layer as well, so that nothing is gained when it goes.
    pub is_shared: bool,
    /// A build is at it.
    pub is_in_use: bool,
    layer: Option<String>,
}

impl Entry {
    /// Whether what it keeps changes with every use.
    pub fn is_mutable(&self) -> bool {
        self.kind == CACHE_MOUNT
    }

    /// Whether it goes without a special word: neither an image's nor one that only helps others.
    fn is_dangling(&self) -> bool {
        !self.is_shared && !INTERNAL.contains(&self.kind.as_str())
    }
}

/// What may go.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Also what images have, and what only helps others.
    pub all: bool,
    /// Only what was not used since, in nanoseconds since 1970.
    pub unused_since: Option<i64>,
    /// `id`, `type`, `description`, `parents`, `inuse`, `mutable`, `immutable`, `shared`, `private`; each has to be met.
    pub filters: Vec<(String, String)>,
    /// Bytes. All 0: everything goes.
    pub max_used: u64,
    pub reserved: u64,
    pub min_free: u64,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub entries: Vec<Entry>,
    /// Bytes that the disk has back.
    pub bytes: u64,
}

const COLUMNS: &str = "key, layer, diff_id, description, kind, value, parents, size, created, used, uses";

impl Store {
    /// What became of a step. To rely on its layer, hold it and ask again: it may be collected until then.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cached(&self, key: &Digest) -> Result<Option<Cached>> {
        let found = self
            .db()
            .prepare_cached("SELECT layer, value, created FROM step WHERE key = ?")
            .and_then(|mut find| {
                find.query_row(params![key.to_string()], |row| {
                    Ok((
                        row.get::<_, Option<String>>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, i64>(2)?,
                    ))
                })
                .optional()
            })
            .context("failed to look into the build cache")?;
        let Some((layer, value, created)) = found else {
            return Ok(None);
        };
        let layer = match layer {
            None => None,
            Some(key) => match self.layer_by_name(&key)? {
                Some(layer) => Some(layer),
                None => return Ok(None),
            },
        };
        Ok(Some(Cached {
            layer,
            value,
            created,
        }))
    }

    /// Writes down what became of a step. The caller holds its layer.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep_cached(&self, step: &Step<'_>) -> Result<()> {
        self.write_step(step, 0)
    }

    fn write_step(&self, step: &Step<'_>, size: u64) -> Result<()> {
        let parents: Vec<String> = step.parents.iter().map(Digest::to_string).collect();
        self.write_passing(|db| {
            db.execute(
                "INSERT INTO step (key, layer, diff_id, description, kind, value, parents, size, created, used, uses)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 1)
                 ON CONFLICT (key) DO UPDATE SET layer = ?2, diff_id = ?3, description = ?4, kind = ?5, value = ?6,
                     parents = ?7, size = ?8, used = ?9, uses = uses + 1",
                params![
                    step.key.to_string(),
                    step.layer.map(|layer| layer.key.as_str()),
                    step.layer.map(|layer| layer.diff_id.to_string()),
                    step.description,
                    step.kind,
                    step.value,
                    parents.join(" "),
                    size,
                    nanoseconds(),
                ],
            )?;
            Ok(())
        })
        .context("failed to write into the build cache")
    }

    /// These were of use again: they go last.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn use_cached(&self, keys: &[Digest]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let now = nanoseconds();
        self.write_passing(|db| {
            let mut update = db.prepare("UPDATE step SET used = ?, uses = uses + 1 WHERE key = ?")?;
            for key in keys {
                update.execute(params![now, key.to_string()])?;
            }
            Ok(())
        })
        .context("failed to write into the build cache")
    }

    /// Forgets a record.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_cached(&self, key: &Digest) -> Result<()> {
        self.write(|db| {
            db.execute("DELETE FROM step WHERE key = ?", params![key.to_string()])?;
            Ok(())
        })
    }

    /// Forgets all records of a layer, by its key.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_layer(&self, key: &str) -> Result<()> {
        self.write(|db| {
            db.execute("DELETE FROM step WHERE layer = ?", params![key])?;
            Ok(())
        })
    }

    /// All records, those first that were used last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_entries(&self) -> Result<Vec<Entry>> {
        let layers: HashMap<String, Layer> = self
            .layers()?
            .into_iter()
            .map(|layer| (layer.key.to_string(), layer))
            .collect();
        let keys = |sql: &str| -> Result<HashSet<String>> {
            let db = self.db();
            let mut find = db.prepare(sql)?;
            let rows = find.query_map([], |row| row.get(0))?;
            rows.map(|row| Ok(row?)).collect()
        };
        let of_images = keys("SELECT DISTINCT key FROM part WHERE kind = 'layer'")?;
        let held = keys("SELECT DISTINCT key FROM hold WHERE kind = 'layer'")?;
        let mut entries: Vec<Entry> = {
            let db = self.db();
            let mut find = db.prepare(&format!("SELECT {COLUMNS} FROM step ORDER BY used DESC, key"))?;
            let rows = find.query_map([], |row| Ok(from_row(row)))?;
            rows.map(|row| row?).collect::<Result<_>>()?
        };
        for entry in &mut entries {
            let Some(key) = &entry.layer else { continue };
            entry.is_shared = of_images.contains(key);
            entry.is_in_use = held.contains(key);
            entry.size = layers.get(key).map_or(0, |layer| layer.disk);
        }
        entries.retain(|entry| entry.layer.as_ref().is_none_or(|key| layers.contains_key(key)));
        self.add_mounts(&mut entries)?;
        Ok(entries)
    }

    /// Bytes of the cache that no image has as well.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_size(&self) -> Result<u64> {
        Ok(self.db().query_row(
            "SELECT (SELECT coalesce(sum(disk), 0) FROM layer WHERE key IN (SELECT layer FROM step)
                         AND key NOT IN (SELECT key FROM part WHERE kind = 'layer'))
                  + (SELECT coalesce(sum(size), 0) FROM step)",
            [],
            |row| row.get(0),
        )?)
    }

    /// Layers that nobody has but the cache, by their keys.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_layers(&self) -> Result<HashSet<String>> {
        let db = self.db();
        let mut find = db.prepare(
            "SELECT DISTINCT layer FROM step WHERE layer IS NOT NULL
             AND layer NOT IN (SELECT key FROM part WHERE kind = 'layer')",
        )?;
        let rows = find.query_map([], |row| row.get(0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Removes records, those first that were not used for longest, and what only they kept.
    ///
    /// # Errors
    /// A filter is none; or the store cannot be changed.
    pub fn prune_cache(&self, prune: &Prune) -> Result<Pruned> {
        let size = self.cache_size()?;
        let keep = self.bytes_to_keep(prune, size)?;
        let has_bound = prune.max_used > 0 || prune.reserved > 0 || prune.min_free > 0;
        // What most builds end with, and it has cost one question.
        if has_bound && size <= keep {
            return Ok(Pruned::default());
        }
        let mut candidates = Vec::new();
        for entry in self.cache_entries()? {
            let is_old = prune.unused_since.is_none_or(|since| entry.used < since);
            if is_old
                && !entry.is_in_use
                && (prune.all || entry.is_dangling())
                && is_meant(&entry, &prune.filters)?
            {
                candidates.push(entry);
            }
        }
        // A step was made after those that it stands on: it goes before them.
        candidates.sort_by_key(|entry| (entry.used, std::cmp::Reverse(entry.created)));
        let mut pruned = Pruned::default();
        let mut left = size;
        let mut counted = HashSet::new();
        for mut entry in candidates {
            if has_bound && left <= keep {
                break;
            }
            if entry.is_mutable() && !self.drop_mount(&mut entry)? {
                continue;
            }
            self.forget_cached(&entry.key)?;
            let is_first = entry.layer.as_ref().is_none_or(|key| counted.insert(key.clone()));
            if !entry.is_shared && is_first {
                left = left.saturating_sub(entry.size);
                pruned.bytes += entry.size;
            }
            pruned.entries.push(entry);
        }
        if !pruned.entries.is_empty() {
            self.collect()?;
        }
        Ok(pruned)
    }

    /// As BuildKit weighs them against each other: as much as may be used, less what has to be free, but never less than is reserved.
    fn bytes_to_keep(&self, prune: &Prune, size: u64) -> Result<u64> {
        let mut keep = prune.max_used;
        if prune.min_free > 0 {
            let root = File::open(&self.roots().root).context("failed to look at the store")?;
            let free = sys::fs::fstatfs(root.as_fd())?.available;
            let missing = prune.min_free.saturating_sub(free);
            if missing > 0 {
                let less = size.saturating_sub(missing);
                keep = if keep == 0 { less } else { keep.min(less) };
            } else if keep == 0 {
                keep = u64::MAX;
            }
        }
        Ok(keep.max(prune.reserved))
    }
}

/// Whether all filters are met.
///
/// # Errors
/// One is none.
pub fn is_meant(entry: &Entry, filters: &[(String, String)]) -> Result<bool> {
    for (name, value) in filters {
        let is_met = match name.as_str() {
            "id" => entry.key.hex().starts_with(value.as_str()) || entry.key.to_string() == *value,
            "type" => entry.kind == *value,
            "description" => entry.description.contains(value.as_str()),
            "parent" | "parents" => entry
                .parents
                .iter()
                .any(|parent| parent.hex().starts_with(value.as_str())),
            "inuse" => entry.is_in_use == is_yes(value),
            "shared" => entry.is_shared == is_yes(value),
            "private" => entry.is_shared != is_yes(value),
            "mutable" => entry.is_mutable() == is_yes(value),
            "immutable" => entry.is_mutable() != is_yes(value),
            other => return Err(Error::invalid(format!("invalid filter '{other}'"))),
        };
        if !is_met {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `shared` alone says the same as `shared=true`.
fn is_yes(value: &str) -> bool {
    matches!(value, "" | "1" | "true")
}

fn from_row(row: &Row<'_>) -> Result<Entry> {
    let diff_id: Option<String> = row.get(2)?;
    let parents: String = row.get(6)?;
    Ok(Entry {
        key: row.get::<_, String>(0)?.parse()?,
        layer: row.get(1)?,
        diff_id: diff_id.map(|id| id.parse()).transpose()?,
        description: row.get(3)?,
        kind: row.get(4)?,
        parents: parents
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_>>()?,
        size: row.get(7)?,
        created: row.get(8)?,
        used: row.get(9)?,
        uses: row.get(10)?,
        is_shared: false,
        is_in_use: false,
    })
}

/// In the directory of a cache mount: who uses it holds this.
pub const MOUNT_LOCK: &str = "lock";
/// What is mounted.
pub const MOUNT_DATA: &str = "data";

impl Store {
    /// Where the directories lie that RUN keeps for later ones; each has a name of 64 hexadecimal digits, its key.
    pub fn cache_mounts(&self) -> PathBuf {
        self.path("build").join("mounts")
    }

    /// Writes down that one was used, and what is in it now.
    ///
    /// # Errors
    /// It cannot be read, or the store not be written.
    pub fn keep_mount(&self, key: &Digest, description: &str) -> Result<()> {
        let step = Step {
            key,
            layer: None,
            description,
            kind: CACHE_MOUNT,
            value: "",
            parents: &[],
        };
        self.write_step(&step, bytes_below(&self.cache_mounts().join(key.hex()))?)
    }

    /// Directories are what counts: one without a record was in use by a build that was killed.
    fn add_mounts(&self, entries: &mut Vec<Entry>) -> Result<()> {
        let place = self.cache_mounts();
        let failed = || format!("failed to list {}", place.display());
        let mut there = HashSet::new();
        let directories = match fs::read_dir(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            listed => Some(listed.context(failed())?),
        };
        for directory in directories.into_iter().flatten() {
            let directory = directory.context(failed())?;
            let name = directory.file_name().to_string_lossy().into_owned();
            let Ok(key) = format!("sha256:{name}").parse::<Digest>() else {
                continue;
            };
            let path = directory.path();
            let is_in_use = is_locked(&path)?;
            there.insert(key.clone());
            if let Some(known) = entries.iter_mut().find(|entry| entry.key == key) {
                known.is_in_use = is_in_use;
                continue;
            }
            let time = path
                .metadata()
                .map_or(0, |own| own.mtime().saturating_mul(1_000_000_000));
            entries.push(Entry {
                key,
                diff_id: None,
                description: "cached mount".to_owned(),
                kind: CACHE_MOUNT.to_owned(),
                parents: Vec::new(),
                size: bytes_below(&path)?,
                created: time,
                used: time,
                uses: 0,
                is_shared: false,
                is_in_use,
                layer: None,
            });
        }
        entries.retain(|entry| entry.kind != CACHE_MOUNT || there.contains(&entry.key));
        Ok(())
    }

    /// Removes a directory that nobody is at. Whether it did.
    fn drop_mount(&self, entry: &mut Entry) -> Result<bool> {
        let path = self.cache_mounts().join(entry.key.hex());
        let failed = || format!("failed to remove {}", path.display());
        let Some(_lock) = take_lock(&path)? else {
            return Ok(false);
        };
        entry.size = bytes_below(&path)?;
        let trash = self.path("trash").join(random_name()?);
        match fs::rename(&path, &trash) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.context(failed())?,
        }
        Ok(true)
    }
}

/// The lock of a directory, if nobody has it.
fn take_lock(directory: &Path) -> Result<Option<File>> {
    let path = directory.join(MOUNT_LOCK);
    let failed = || format!("failed to lock {}", path.display());
    let file = match File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
    {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.context(failed())?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(Error::from(e).context(failed())),
    }
}

fn is_locked(directory: &Path) -> Result<bool> {
    Ok(directory.join(MOUNT_LOCK).exists() && take_lock(directory)?.is_none())
}

/// In blocks. What goes meanwhile does not count.
fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            listed => listed.context(format!("failed to list {}", directory.display()))?,
        };
        for entry in entries.flatten() {
            if let Ok(own) = entry.metadata() {
                bytes += own.blocks() * 512;
                if own.is_dir() {
                    left.push(entry.path());
                }
            }
        }
    }
    Ok(bytes)
}
