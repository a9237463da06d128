//! Whether the store is sound: everything that an image needs is there and is what its name says, and nothing else is.

use std::path::PathBuf;

use rusqlite::params;

use super::{Store, exists};
use crate::oci::{CONFIG_LIMIT, MANIFEST_LIMIT};
use crate::{Context, Digest, Error, Result};

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Blob(Digest),
    /// By its key.
    Layer(String),
    /// A file that no row knows.
    Stray(PathBuf),
    Database,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    Missing,
    /// In words.
    Corrupt(String),
    /// The machine stopped before the layer was on the disk. Nothing is lost: it is made again from its blob when it is needed.
    NotSynced,
    /// An EROFS image that another version of brig has written, so that it cannot be compared with what this one would write.
    Foreign,
    /// Takes space and is of no use.
    Unknown,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: Subject,
    pub damage: Damage,
    /// The manifests that need it.
    pub needed_by: Vec<Digest>,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names and sizes.
    Quick,
    /// Every byte of every blob.
    Full,
}

impl Store {
    /// Looks at everything that images need. `told` hears of each blob before it is read.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub fn check(&self, depth: Depth, told: &dyn Fn(&Digest)) -> Result<Vec<Finding>> {
        // The rest of a kill is no damage.
        self.clear_dead_leases()?;
        let mut findings = Vec::new();
        self.check_database(&mut findings)?;
        self.check_manifests(&mut findings)?;
        self.check_blobs(depth, told, &mut findings)?;
        self.check_layers(&mut findings)?;
        let findings_of_now = self.write(|db| {
            let mut still = Vec::with_capacity(findings.len());
            for finding in findings {
                if self.is_still_so(db, &finding)? {
                    still.push(finding);
                }
            }
            Ok(still)
        });
        let mut findings = findings_of_now?;
        for path in self.strays()? {
            findings.push(Finding {
                subject: Subject::Stray(path),
                damage: Damage::Unknown,
                needed_by: Vec::new(),
            });
        }
        Ok(findings)
    }

    /// Others work on the store while we look: what they have taken away since, image and all, is no damage. Asked while nobody can.
    fn is_still_so(&self, db: &rusqlite::Transaction<'_>, finding: &Finding) -> Result<bool> {
        let (kind, key) = match &finding.subject {
            Subject::Blob(digest) => ("blob", digest.to_string()),
            Subject::Layer(key) => ("layer", key.clone()),
            Subject::Stray(_) | Subject::Database => return Ok(true),
        };
        let needed: i64 = db.query_row(
            "SELECT count(*) FROM part WHERE kind = ? AND key = ?
             AND manifest IN (SELECT manifest FROM image UNION SELECT manifest FROM name UNION SELECT manifest FROM pin)",
            params![kind, key],
            |row| row.get(0),
        )?;
        if needed == 0 {
            return Ok(false);
        }
        // It may have come again.
        match (&finding.damage, &finding.subject) {
            (Damage::Missing, Subject::Blob(digest)) => {
                let row: i64 = db.query_row(
                    "SELECT count(*) FROM blob WHERE digest = ?",
                    params![digest.to_string()],
                    |row| row.get(0),
                )?;
                Ok(row == 0 || !exists(&self.blob_path(digest))?)
            }
            (Damage::Missing, Subject::Layer(key)) => {
                let row: i64 =
                    db.query_row("SELECT count(*) FROM layer WHERE key = ?", params![key], |row| {
                        row.get(0)
                    })?;
                Ok(row == 0 || !exists(&self.path("layers").join(key))?)
            }
            _ => Ok(true),
        }
    }

    fn check_database(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let db = self.db();
        let mut check = db.prepare("PRAGMA quick_check")?;
        for row in check.query_map([], |row| row.get::<_, String>(0))? {
            let word = row?;
            if word != "ok" {
                findings.push(Finding {
                    subject: Subject::Database,
                    damage: Damage::Corrupt(word),
                    needed_by: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// What the database says of a manifest is what the manifest says. Documents are small: they are always read whole.
    fn check_manifests(&self, findings: &mut Vec<Finding>) -> Result<()> {
        for image in self.images()? {
            let mut report = |digest: &Digest, damage: Damage| {
                findings.push(Finding {
                    subject: Subject::Blob(digest.clone()),
                    damage,
                    needed_by: vec![image.manifest.clone()],
                });
            };
            match self.manifest(&image.manifest) {
                Ok((manifest, _)) => {
                    let known = self.blob_keys(&image.manifest)?;
                    let bare = self.bare_layers(&image.manifest, &manifest)?;
                    let layers = manifest.layers.iter().enumerate();
                    let needed = layers.filter(|(position, _)| !bare.contains(position));
                    for descriptor in needed.map(|(_, layer)| layer).chain([&manifest.config]) {
                        if !known.contains(&descriptor.digest) {
                            report(&descriptor.digest, Damage::Missing);
                        }
                    }
                }
                Err(e) => report(
                    &image.manifest,
                    in_words(self, &image.manifest, &e, MANIFEST_LIMIT)?,
                ),
            }
            if let Err(e) = self.config(&image.id) {
                report(&image.id, in_words(self, &image.id, &e, CONFIG_LIMIT)?);
            }
        }
        Ok(())
    }

    /// The blobs that a manifest needs, itself included.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob_keys(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let db = self.db();
        let mut find =
            db.prepare_cached("SELECT key FROM part WHERE manifest = ? AND kind = 'blob' ORDER BY position")?;
        let rows = find.query_map(params![manifest.to_string()], |row| row.get::<_, String>(0))?;
        rows.map(|row| row?.parse()).collect()
    }

    /// The layers that manifests need, by their keys, and which manifests.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn needed_layers(&self) -> Result<Vec<(String, Vec<Digest>)>> {
        self.needed("layer")
    }

    fn needed(&self, kind: &str) -> Result<Vec<(String, Vec<Digest>)>> {
        let db = self.db();
        let mut find = db.prepare("SELECT key, manifest FROM part WHERE kind = ? ORDER BY key, manifest")?;
        let rows = find.query_map(params![kind], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut needed: Vec<(String, Vec<Digest>)> = Vec::new();
        for row in rows {
            let (key, manifest) = row?;
            let manifest: Digest = manifest.parse()?;
            match needed.last_mut() {
                Some((last, by)) if *last == key => by.push(manifest),
                _ => needed.push((key, vec![manifest])),
            }
        }
        Ok(needed)
    }

    fn check_blobs(&self, depth: Depth, told: &dyn Fn(&Digest), findings: &mut Vec<Finding>) -> Result<()> {
        for (key, needed_by) in self.needed("blob")? {
            let digest: Digest = key.parse()?;
            let subject = Subject::Blob(digest.clone());
            if findings.iter().any(|f| f.subject == subject) {
                continue;
            }
            let damage = match self.blob_size(&digest)? {
                None => Some(Damage::Missing),
                Some(size) => {
                    let path = self.blob_path(&digest);
                    let found = std::fs::metadata(&path)
                        .context(format!("failed to look at {}", path.display()))?
                        .len();
                    if found != size {
                        Some(Damage::Corrupt(format!("{found} bytes instead of {size}")))
                    } else if depth == Depth::Full {
                        told(&digest);
                        match self.verify_blob(&digest) {
                            Ok(true) => None,
                            Ok(false) => Some(Damage::Corrupt("its digest is another".to_owned())),
                            Err(e) => Some(Damage::Corrupt(e.to_string())),
                        }
                    } else {
                        None
                    }
                }
            };
            if let Some(damage) = damage {
                findings.push(Finding {
                    subject,
                    damage,
                    needed_by,
                });
            }
        }
        Ok(())
    }

    fn check_layers(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let layers = self.layers()?;
        for (key, needed_by) in self.needed("layer")? {
            let damage = match layers.iter().find(|layer| layer.key.to_string() == key) {
                Some(layer) if !exists(&self.layer_path(layer))? => Damage::Missing,
                Some(layer) if !self.is_trusted(layer) => Damage::NotSynced,
                Some(_) => continue,
                None => Damage::Missing,
            };
            findings.push(Finding {
                subject: Subject::Layer(key),
                damage,
                needed_by,
            });
        }
        Ok(())
    }
}

/// A document that cannot be read: is it away or wrong?
fn in_words(store: &Store, digest: &Digest, e: &Error, limit: u64) -> Result<Damage> {
    match store.blob_size(digest)? {
        None => Ok(Damage::Missing),
        Some(size) if size > limit => Ok(Damage::Corrupt(format!("{size} bytes are too many"))),
        Some(_) => Ok(Damage::Corrupt(e.to_string())),
    }
}
