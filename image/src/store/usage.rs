//! Who stands on an image: bundles, mounts, and later containers. As long as they do, it stays.

use rusqlite::params;

use super::blob::nanoseconds;
use super::{Image, Store};
use crate::{Context, Digest, Result};

/// What kind of thing stands on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    Bundle,
    Mount,
}

impl UseKind {
    /// As the database has it.
    pub fn name(self) -> &'static str {
        match self {
            UseKind::Bundle => "bundle",
            UseKind::Mount => "mount",
        }
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Use {
    pub kind: String,
    /// A path or an id.
    pub key: String,
    pub image: Digest,
    pub manifest: Digest,
}

impl Store {
    /// From now on, `key` stands on this image.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin_use(&self, kind: UseKind, key: &str, image: &Image) -> Result<()> {
        self.write(|db| {
            db.execute(
                "INSERT OR REPLACE INTO use (kind, key, image, manifest, since) VALUES (?, ?, ?, ?, ?)",
                params![
                    kind.name(),
                    key,
                    image.id.to_string(),
                    image.manifest.to_string(),
                    nanoseconds()
                ],
            )?;
            db.execute(
                "UPDATE image SET used = ? WHERE id = ?",
                params![nanoseconds(), image.id.to_string()],
            )?;
            Ok(())
        })
        .context(format!(
            "failed to note that {} {key} uses the image",
            kind.name()
        ))
    }

    /// Not any more. Whether it did.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn end_use(&self, kind: UseKind, key: &str) -> Result<bool> {
        self.write(|db| {
            Ok(db.execute(
                "DELETE FROM use WHERE kind = ? AND key = ?",
                params![kind.name(), key],
            )? > 0)
        })
        .context(format!("failed to note that {} {key} is gone", kind.name()))
    }

    /// All of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn uses(&self) -> Result<Vec<Use>> {
        let db = self.db();
        let mut find = db.prepare("SELECT kind, key, image, manifest FROM use ORDER BY kind, key")?;
        let rows = find.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })?;
        rows.map(|row| {
            let (kind, key, image, manifest) = row?;
            Ok(Use {
                kind,
                key,
                image: image.parse()?,
                manifest: manifest.parse()?,
            })
        })
        .collect()
    }
}
