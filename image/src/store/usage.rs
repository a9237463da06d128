//! Who stands on an image: bundles, mounts and containers. As long as they do, it stays.
//!
//! Of bundles and mounts the database knows. A container says it in a file of its own directory, so that its monitor, which has no
//! database, can take it away; the rows about containers are made from these files whenever somebody is about to decide by them.

use std::fs;
use std::path::Path;

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::blob::nanoseconds;
use super::{Image, Store};
use crate::{Context, Digest, Error, Result};

/// What kind of thing stands on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    Bundle,
    Mount,
    Container,
}

impl UseKind {
    /// As the database has it.
    pub fn name(self) -> &'static str {
        match self {
            UseKind::Bundle => "bundle",
            UseKind::Mount => "mount",
            UseKind::Container => "container",
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

/// In the directory of a container: what it stands on.
const FILE: &str = "image.json";

#[derive(Clone, Serialize, Deserialize)]
struct Ground {
    image: String,
    manifest: String,
    /// What it mounts besides (`--mount type=image`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounted: Vec<Ground>,
}

impl Ground {
    fn of(image: &Image) -> Ground {
        Ground {
            image: image.id.to_string(),
            manifest: image.manifest.to_string(),
            mounted: Vec::new(),
        }
    }
}

/// A container has a row for each of its images: its id, and for the others `ID/1`, `ID/2`, ...
pub(super) fn user_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

impl Store {
    /// From now on, the container of this directory (`ROOT/containers/ID`) stands on the image, and on those that it mounts; until the
    /// directory is gone.
    ///
    /// # Errors
    /// An image has been removed meanwhile ([`crate::Kind::NotFound`]), or the file cannot be written.
    pub fn stand_container(&self, directory: &Path, image: &Image, mounted: &[Image]) -> Result<()> {
        let ground = Ground {
            mounted: mounted.iter().map(Ground::of).collect(),
            ..Ground::of(image)
        };
        let path = directory.join(FILE);
        let failed = || format!("failed to write {}", path.display());
        let bytes = serde_json::to_vec(&ground).map_err(|e| Error::new(e.to_string()).context(failed()))?;
        fs::write(&path, bytes).context(failed())?;
        // As a writer, though nothing is written: whoever removes the image right now has either seen the file or is waited for.
        self.write(|db| {
            for image in [image].into_iter().chain(mounted) {
                let there: i64 = db.query_row(
                    "SELECT count(*) FROM image WHERE id = ?",
                    params![image.id.to_string()],
                    |row| row.get(0),
                )?;
                if there == 0 {
                    return Err(Error::not_found(format!("No such image: {}", image.id)));
                }
            }
            Ok(())
        })
    }

    /// Makes the rows about containers what their directories say.
    pub(super) fn count_containers(&self, db: &Transaction<'_>) -> Result<()> {
        db.execute("DELETE FROM use WHERE kind = 'container'", [])?;
        for (id, ground) in self.grounds()? {
            for (n, one) in [&ground].into_iter().chain(&ground.mounted).enumerate() {
                let key = match n {
                    0 => id.clone(),
                    n => format!("{id}/{n}"),
                };
                db.execute(
                    "INSERT INTO use (kind, key, image, manifest, since) VALUES ('container', ?, ?, ?, ?)",
                    params![key, one.image, one.manifest, nanoseconds()],
                )?;
            }
        }
        Ok(())
    }

    fn grounds(&self) -> Result<Vec<(String, Ground)>> {
        let directory = self.path("containers");
        let failed = || format!("failed to list {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(failed())?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.context(failed())?;
            let path = entry.path().join(FILE);
            match fs::read(&path) {
                // Not written yet, or gone by now.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::from(e).context(format!("failed to read {}", path.display()))),
                Ok(bytes) => {
                    // An empty one was cut off before its container was complete.
                    if let Ok(ground) = serde_json::from_slice(&bytes) {
                        found.push((entry.file_name().to_string_lossy().into_owned(), ground));
                    }
                }
            }
        }
        Ok(found)
    }

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
        let grounds = self.grounds()?;
        let db = self.db();
        let mut find = db.prepare(
            "SELECT kind, key, image, manifest FROM use WHERE kind <> 'container' ORDER BY kind, key",
        )?;
        let rows = find.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })?;
        let of_one = |(id, mut ground): (String, Ground)| {
            let mounted = std::mem::take(&mut ground.mounted);
            let all = [ground].into_iter().chain(mounted);
            all.map(move |one| {
                let kind = UseKind::Container.name().to_owned();
                Ok((kind, id.clone(), one.image, one.manifest))
            })
        };
        let containers = grounds.into_iter().flat_map(of_one);
        rows.chain(containers)
            .map(|row| {
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
