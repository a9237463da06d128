//! Collection: what nobody needs goes.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Transaction, params};

use super::Store;
use super::lease::random_name;
use crate::layer;
use crate::{Context, Digest, Error, Result};

/// What was collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes that the disk has back.
    pub bytes: u64,
    pub blobs: usize,
    /// Diff ids.
    pub layers: Vec<Digest>,
}

/// What somebody needs: parts of living manifests, what the living hold, and what builds find again: layers, and the blobs of those that came
/// from elsewhere, whose tar we could not make again.
const NEEDED: &str = "(SELECT key FROM part WHERE kind = ?1 UNION SELECT key FROM hold WHERE kind = ?1
    UNION SELECT layer FROM step WHERE ?1 = 'layer' AND layer IS NOT NULL
    UNION SELECT blob FROM layer WHERE ?1 = 'blob' AND blob IS NOT NULL AND tar = 0 AND key IN (SELECT layer FROM step))";

impl Store {
    /// Removes manifests that no image, name, digest or user has, and then every blob and layer that no manifest needs and nobody
    /// holds. Returns when the space is free.
    ///
    /// # Errors
    /// Something cannot be removed; it stays for the next time.
    pub fn collect(&self) -> Result<Freed> {
        // What the dead held is not needed any more.
        self.clear_dead_leases()?;
        self.remove_lost()?;
        let away = Away::new(self)?;
        let freed = self.write(|db| {
            self.count_containers(db)?;
            db.execute_batch(
                "DELETE FROM part WHERE manifest NOT IN (
                     SELECT manifest FROM image UNION SELECT manifest FROM name UNION SELECT manifest FROM pin
                     UNION SELECT manifest FROM use UNION SELECT key FROM hold WHERE kind = 'manifest')",
            )?;
            let mut freed = Freed::default();
            self.collect_blobs(db, &away, &mut freed)?;
            self.collect_layers(db, &away, &mut freed)?;
            Ok(freed)
        })?;
        self.empty_trash()?;
        Ok(freed)
    }

    /// Once in an uptime: files whose rows a power cut has taken, and holds whose lease it has.
    fn remove_lost(&self) -> Result<()> {
        let mark = self.roots.run.join("swept");
        if fs::read_to_string(&mark).is_ok_and(|boot| boot == self.boot) {
            return Ok(());
        }
        self.remove_strays()?;
        self.forget_lost_holds()?;
        match fs::write(&mark, &self.boot) {
            // Looked for once more by the next one; to remove something must not need room.
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => other.context(format!("failed to write {}", mark.display())),
        }
    }

    /// A lease has its file before its first hold and until its last one has gone; that the last one has gone may not be on the disk.
    fn forget_lost_holds(&self) -> Result<()> {
        let leases = self.path("leases");
        self.write(|db| {
            let mut all = db.prepare("SELECT DISTINCT lease FROM hold")?;
            let ids = all.query_map([], |row| row.get::<_, String>(0))?;
            let ids: Vec<String> = ids.collect::<std::result::Result<_, _>>()?;
            for id in ids.iter().filter(|id| !leases.join(id).exists()) {
                db.execute("DELETE FROM hold WHERE lease = ?", params![id])?;
            }
            Ok(())
        })
    }

    fn collect_blobs(&self, db: &Transaction<'_>, away: &Away, freed: &mut Freed) -> Result<()> {
        let mut find = db.prepare(&format!(
            "SELECT digest, size FROM blob WHERE digest NOT IN {NEEDED}"
        ))?;
        let rows = find.query_map(params!["blob"], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
        })?;
        for row in rows {
            let (digest, size) = row?;
            let digest: Digest = digest.parse()?;
            move_away(self.blob_path(&digest), away.place(digest.hex()))?;
            freed.bytes += size;
            freed.blobs += 1;
            db.execute("DELETE FROM blob WHERE digest = ?", params![digest.to_string()])?;
        }
        Ok(())
    }

    fn collect_layers(&self, db: &Transaction<'_>, away: &Away, freed: &mut Freed) -> Result<()> {
        let mut find = db.prepare(&format!(
            "SELECT key, diff_id, disk FROM layer WHERE key NOT IN {NEEDED}"
        ))?;
        let rows = find.query_map(params!["layer"], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, u64>(2)?,
            ))
        })?;
        for row in rows {
            let (key, diff_id, disk) = row?;
            move_away(
                self.path("layers").join(&key),
                away.place(&format!("layer-{key}")),
            )?;
            freed.bytes += disk;
            freed.layers.push(diff_id.parse()?);
            db.execute("DELETE FROM layer WHERE key = ?", params![key])?;
        }
        Ok(())
    }

    /// What has been moved away belongs to nobody: whoever comes removes it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn empty_trash(&self) -> Result<()> {
        empty_trash(&self.roots.root)
    }

    /// Files in the store that no row knows: the rest of a kill between a move and its commit.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn strays(&self) -> Result<Vec<PathBuf>> {
        // Nobody moves anything while the transaction lasts.
        self.write(|db| {
            let mut strays = Vec::new();
            let mut blob = db.prepare("SELECT count(*) FROM blob WHERE digest = ?")?;
            for algorithm in ["sha256", "sha512"] {
                for (name, path) in list(&self.path("blobs").join(algorithm))? {
                    let known: i64 =
                        blob.query_row(params![format!("{algorithm}:{name}")], |row| row.get(0))?;
                    if known == 0 {
                        strays.push(path);
                    }
                }
            }
            let mut layer = db.prepare("SELECT count(*) FROM layer WHERE key = ?")?;
            for (name, path) in list(&self.path("layers"))? {
                let known: i64 = layer.query_row(params![name], |row| row.get(0))?;
                if known == 0 {
                    strays.push(path);
                }
            }
            Ok(strays)
        })
    }

    /// Removes such files.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_strays(&self) -> Result<usize> {
        let away = Away::new(self)?;
        let strays = self.strays()?;
        for (index, path) in strays.iter().enumerate() {
            // Between the list and now, somebody may have published exactly this one: looked at again under the lock.
            self.write(|db| {
                if !self.is_known(db, path)? {
                    move_away(path.clone(), away.place(&index.to_string()))?;
                }
                Ok(())
            })?;
        }
        self.empty_trash()?;
        Ok(strays.len())
    }

    /// By the directory that it lies in: a layer without compression has the digest of its blob.
    fn is_known(&self, db: &Transaction<'_>, path: &Path) -> Result<bool> {
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let (own, directory) = (name(path), path.parent().unwrap_or(path));
        let count = |question: &str, key: String| db.query_row(question, params![key], |row| row.get(0));
        let known: i64 = match directory == self.path("layers") {
            true => count("SELECT count(*) FROM layer WHERE key = ?", own),
            false => count(
                "SELECT count(*) FROM blob WHERE digest = ?",
                format!("{}:{own}", name(directory)),
            ),
        }?;
        Ok(known > 0)
    }
}

/// The names that one collection gives to what it moves away. No directory of its own: whoever empties the trash meanwhile would take it.
struct Away {
    trash: PathBuf,
    of: String,
}

impl Away {
    fn new(store: &Store) -> Result<Away> {
        Ok(Away {
            trash: store.path("trash"),
            of: random_name()?,
        })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.trash.join(format!("{}-{name}", self.of))
    }
}

/// [`Store::empty_trash`], for who has no need of the rest of the store.
///
/// # Errors
/// Something cannot be removed.
pub fn empty_trash(root: &Path) -> Result<()> {
    let failed = || "failed to empty the trash".to_owned();
    let entries = match fs::read_dir(root.join("trash")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.context(failed())?,
    };
    for entry in entries {
        match layer::remove_path(&entry.context(failed())?.path()) {
            // Somebody else is at it as well.
            Err(e) if e.kind() == crate::Kind::NotFound => {}
            other => other.context(failed())?,
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = || format!("failed to list {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).context(failed())? {
        let entry = entry.context(failed())?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}

fn move_away(from: PathBuf, to: PathBuf) -> Result<()> {
    match fs::rename(&from, &to) {
        // A row without its file: somebody's rm, and nothing to free.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::from(e).context(format!("failed to move {} away", from.display()))),
        Ok(()) => Ok(()),
    }
}
