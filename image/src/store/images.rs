//! Images and their names.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::blob::nanoseconds;
use super::{LayerKey, Store};
use crate::oci::{CONFIG_LIMIT, Document, ImageConfig, MANIFEST_LIMIT, Manifest};
use crate::reference::{Reference, Repository};
use crate::{Context, Digest, Error, Kind, Result};

/// An image that is there.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// What leads to its layers.
    pub manifest: Digest,
    /// Bytes of the files of all its layers.
    pub size: u64,
    /// When it came here, in nanoseconds since 1970.
    pub added: i64,
    /// When it was last pulled, or something began to stand on it.
    pub used: i64,
    /// What it was built or committed from.
    pub parent: Option<Digest>,
}

/// A tag.
#[derive(Clone, Debug)]
pub struct Name {
    pub reference: Reference,
    pub image: Digest,
    pub manifest: Digest,
    /// What the registry calls by this name: the manifest, or an index that has it.
    pub target: Digest,
    pub updated: i64,
}

/// A repository is known to have this image under this digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub repository: Repository,
    pub target: Digest,
    pub image: Digest,
    pub manifest: Digest,
}

/// What is needed to know an image.
#[derive(Clone, Debug)]
pub struct NewImage<'a> {
    pub id: &'a Digest,
    pub manifest: &'a Digest,
    /// What `manifest` needs, itself included: all of it is there.
    pub blobs: &'a [Digest],
    pub layers: &'a [LayerKey],
    pub size: u64,
    pub parent: Option<&'a Digest>,
}

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untagged {
    Tag(Reference),
    Digest(Reference),
}

impl Store {
    /// Makes an image known, with the names it gets.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_image(
        &self,
        image: &NewImage<'_>,
        tags: &[(Reference, Digest)],
        pins: &[(Repository, Digest)],
    ) -> Result<()> {
        let failed = || format!("failed to add image {}", image.id);
        let was_there = self.write_passing(|db| {
            let was_there = is_added(db, image, tags)? && pins.is_empty();
            let (id, manifest) = (image.id.to_string(), image.manifest.to_string());
            db.execute(
                "INSERT INTO image (id, manifest, size, added, used, parent) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET manifest = ?2, size = ?3, used = ?4, parent = coalesce(?5, parent)",
                params![
                    id,
                    manifest,
                    image.size,
                    nanoseconds(),
                    image.parent.map(Digest::to_string)
                ],
            )?;
            db.execute("DELETE FROM part WHERE manifest = ?", params![manifest])?;
            let mut part =
                db.prepare("INSERT INTO part (manifest, kind, position, key) VALUES (?, ?, ?, ?)")?;
            for (position, digest) in image.blobs.iter().enumerate() {
                part.execute(params![manifest, "blob", position, digest.to_string()])?;
            }
            for (position, key) in image.layers.iter().enumerate() {
                part.execute(params![manifest, "layer", position, key.to_string()])?;
            }
            for (reference, target) in tags {
                set_name(db, reference, image.id, image.manifest, target)?;
            }
            keep_indexes(db, &manifest)?;
            for (repository, target) in pins {
                db.execute(
                    "INSERT OR REPLACE INTO pin (repository, target, image, manifest) VALUES (?, ?, ?, ?)",
                    params![repository.to_string(), target.to_string(), id, manifest],
                )?;
            }
            Ok(was_there)
        });
        match was_there.context(failed())? {
            // A build that found everything done waits for no disk.
            true => Ok(()),
            false => self.sync_image(image.id).context(failed()),
        }
    }

    /// What was committed before is on the disk afterwards: every durable commit brings along what is in front of it.
    fn sync_image(&self, id: &Digest) -> Result<()> {
        self.write(|db| {
            // A nanosecond later: SQLite writes no page, and waits for none, when nothing is another.
            db.execute(
                "UPDATE image SET used = used + 1 WHERE id = ?",
                params![id.to_string()],
            )?;
            Ok(())
        })
    }

    /// Gives an image another manifest, which leads to the same layers by other blobs. Its names and digests move along, and what stands on
    /// it keeps what it stands on. That of somebody else who was first stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn replace_manifest(&self, image: &Image, manifest: &Digest, blobs: &[Digest]) -> Result<()> {
        let (old, new) = (image.manifest.to_string(), manifest.to_string());
        self.write(|db| {
            let changed = db.execute(
                "UPDATE image SET manifest = ?1 WHERE id = ?2 AND manifest = ?3",
                params![new, image.id.to_string(), old],
            )?;
            if changed == 0 {
                return Ok(());
            }
            db.execute("DELETE FROM part WHERE manifest = ?", params![new])?;
            let mut part =
                db.prepare("INSERT INTO part (manifest, kind, position, key) VALUES (?, 'blob', ?, ?)")?;
            for (position, digest) in blobs.iter().enumerate() {
                part.execute(params![new, position, digest.to_string()])?;
            }
            db.execute(
                "INSERT INTO part (manifest, kind, position, key)
                 SELECT ?1, kind, position, key FROM part WHERE manifest = ?2 AND kind = 'layer'",
                params![new, old],
            )?;
            for table in ["name", "pin"] {
                db.execute(
                    &format!(
                        "UPDATE {table} SET manifest = ?1, target = iif(target = ?2, ?1, target)
                         WHERE manifest = ?2 AND image = ?3"
                    ),
                    params![new, old, image.id.to_string()],
                )?;
            }
            keep_indexes(db, &new)
        })
        .context(format!("failed to change image {}", image.id))
    }

    /// Gives an image another name, which stands for `target`: the image's manifest, or an index that has it. A digest that the name had
    /// is an image's own matter and stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tag(&self, image: &Image, reference: &Reference, target: &Digest) -> Result<()> {
        self.write(|db| set_name(db, reference, &image.id, &image.manifest, target))
            .context(format!("failed to tag {}", reference.familiar()))
    }

    /// Writes down that `repository` has this image.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn pin(&self, repository: &Repository, target: &Digest, image: &Image) -> Result<()> {
        self.write(|db| {
            db.execute(
                "INSERT OR REPLACE INTO pin (repository, target, image, manifest) VALUES (?, ?, ?, ?)",
                params![
                    repository.to_string(),
                    target.to_string(),
                    image.id.to_string(),
                    image.manifest.to_string()
                ],
            )?;
            Ok(())
        })
    }

    /// What a text that names an image stands for in registries: the index that it was pulled by, or its manifest.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn target_of(&self, text: &str, image: &Image) -> Result<Digest> {
        let named = match text.parse::<Reference>() {
            Ok(reference) if reference.digest().is_some() => reference.digest().cloned(),
            Ok(reference) => self
                .name(&reference.or_latest())?
                .filter(|name| name.image == image.id)
                .map(|name| name.target),
            Err(_) => None,
        };
        Ok(named.unwrap_or_else(|| image.manifest.clone()))
    }

    /// All images, the latest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.query_images("ORDER BY added DESC, id", &[])
    }

    fn query_images(&self, rest: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Image>> {
        let db = self.db();
        let mut find = db.prepare(&format!(
            "SELECT id, manifest, size, added, used, parent FROM image {rest}"
        ))?;
        let rows = find.query_map(values, |row| Ok(image_from(row)))?;
        rows.map(|row| row?).collect()
    }

    /// All tags, in the order of their spelling.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn names(&self) -> Result<Vec<Name>> {
        let db = self.db();
        let mut find =
            db.prepare("SELECT reference, image, manifest, target, updated FROM name ORDER BY reference")?;
        let rows = find.query_map([], |row| Ok(name_from(row)))?;
        rows.map(|row| row?).collect()
    }

    /// All digests by which repositories are known to have our images.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let db = self.db();
        let mut find =
            db.prepare("SELECT repository, target, image, manifest FROM pin ORDER BY repository, target")?;
        let rows = find.query_map([], |row| Ok(pin_from(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The image with exactly this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>> {
        Ok(self.query_images("WHERE id = ?", &[&id.to_string()])?.pop())
    }

    /// The image that somebody means: a tag, a digest, an id or the beginning of one, with or without `sha256:`.
    ///
    /// # Errors
    /// There is none ([`Kind::NotFound`]), or more than one.
    pub fn find_image(&self, text: &str) -> Result<Image> {
        let missing = || Error::not_found(format!("No such image: {text}"));
        if let Ok(id) = text.parse::<Digest>() {
            return self.image(&id)?.ok_or_else(missing);
        }
        if let Ok(id) = format!("sha256:{text}").parse::<Digest>() {
            return self.image(&id)?.ok_or_else(missing);
        }
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(found) = self.resolve(&reference)?
        {
            return self.image(&found)?.ok_or_else(missing);
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_prefix = !prefix.is_empty()
            && prefix.len() <= 64
            && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_prefix {
            return match text.parse::<Reference>() {
                Ok(reference) => Err(Error::not_found(format!(
                    "No such image: {}",
                    reference.or_latest().familiar()
                ))),
                Err(e) => Err(e),
            };
        }
        let mut found =
            self.query_images("WHERE id LIKE ? || '%' LIMIT 2", &[&format!("sha256:{prefix}")])?;
        match (found.pop(), found.is_empty()) {
            (Some(image), true) => Ok(image),
            (Some(_), false) => Err(Error::of(
                Kind::Conflict,
                format!("multiple IDs found with provided prefix: {text}"),
            )),
            (None, _) => match text.parse::<Reference>() {
                Ok(reference) => Err(Error::not_found(format!(
                    "No such image: {}",
                    reference.or_latest().familiar()
                ))),
                Err(_) => Err(missing()),
            },
        }
    }

    /// The image that a reference names here. A digest decides over a tag.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Digest>> {
        let db = self.db();
        let text: Option<String> = match reference.digest() {
            Some(digest) => db
                .prepare_cached("SELECT image FROM pin WHERE repository = ? AND target = ?")
                .and_then(|mut find| {
                    find.query_row(
                        params![reference.repository().to_string(), digest.to_string()],
                        |row| row.get(0),
                    )
                    .optional()
                }),
            None => db
                .prepare_cached("SELECT image FROM name WHERE reference = ?")
                .and_then(|mut find| {
                    find.query_row(params![reference.clone().or_latest().to_string()], |row| {
                        row.get(0)
                    })
                    .optional()
                }),
        }
        .context(format!("failed to look for {}", reference.familiar()))?;
        text.map(|id| id.parse()).transpose()
    }

    /// The tag, if it is there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn name(&self, reference: &Reference) -> Result<Option<Name>> {
        self.db()
            .prepare_cached(
                "SELECT reference, image, manifest, target, updated FROM name WHERE reference = ?",
            )
            .and_then(|mut find| {
                find.query_row(params![reference.to_string()], |row| Ok(name_from(row)))
                    .optional()
            })
            .context(format!("failed to look for {}", reference.familiar()))?
            .transpose()
    }

    /// The configuration of an image, and its bytes.
    ///
    /// # Errors
    /// It is damaged.
    pub fn config(&self, id: &Digest) -> Result<(ImageConfig, Vec<u8>)> {
        let bytes = self.read_blob(id, CONFIG_LIMIT)?;
        Ok((ImageConfig::parse(&bytes)?, bytes))
    }

    /// A manifest that is here, and its bytes.
    ///
    /// # Errors
    /// It is damaged or no manifest.
    pub fn manifest(&self, digest: &Digest) -> Result<(Manifest, Vec<u8>)> {
        let bytes = self.read_blob(digest, MANIFEST_LIMIT)?;
        match Document::parse("", &bytes)? {
            Document::Manifest(manifest) => Ok((*manifest, bytes)),
            Document::Index(_) => Err(Error::corrupt(format!("{digest} is an index, not a manifest"))),
        }
    }

    /// The layers of a manifest, the lowest first, as far as they are known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layer_keys(&self, manifest: &Digest) -> Result<Vec<String>> {
        let db = self.db();
        let mut find = db
            .prepare_cached("SELECT key FROM part WHERE manifest = ? AND kind = 'layer' ORDER BY position")?;
        let rows = find.query_map(params![manifest.to_string()], |row| row.get(0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Takes a tag away. Digests that its repository knows the image by go with the repository's last tag of it, as in Docker.
    /// Whether the image has a name still is told by [`Store::names`] and [`Store::pins`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn untag(&self, name: &Name) -> Result<Vec<Untagged>> {
        let repository = name.reference.repository();
        self.write(|db| {
            let mut gone = Vec::new();
            if db.execute(
                "DELETE FROM name WHERE reference = ?",
                params![name.reference.to_string()],
            )? > 0
            {
                gone.push(Untagged::Tag(name.reference.clone()));
            }
            let others: i64 = db.query_row(
                "SELECT count(*) FROM name WHERE image = ? AND repository = ?",
                params![name.image.to_string(), repository.to_string()],
                |row| row.get(0),
            )?;
            if others == 0 {
                for target in pins_of(db, &name.image, repository)? {
                    gone.push(Untagged::Digest(repository.with_digest(target)));
                }
                db.execute(
                    "DELETE FROM pin WHERE image = ? AND repository = ?",
                    params![name.image.to_string(), repository.to_string()],
                )?;
            }
            Ok(gone)
        })
    }

    /// Takes one digest away.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn unpin(&self, pin: &Pin) -> Result<()> {
        self.write(|db| {
            db.execute(
                "DELETE FROM pin WHERE repository = ? AND target = ?",
                params![pin.repository.to_string(), pin.target.to_string()],
            )?;
            Ok(())
        })
    }

    /// Forgets an image with all its names, unless somebody stands on it. What only it needed is collected by [`Store::collect`].
    ///
    /// # Errors
    /// Somebody stands on it ([`Kind::Conflict`]), or the store cannot be written.
    pub fn remove_image(&self, id: &Digest) -> Result<Vec<Untagged>> {
        self.remove_image_from_under(id, &|_, _| true)
    }

    /// The same, though some stand on it: those of whom `matters`, told their kind and key, says no. What they need of it stays.
    ///
    /// # Errors
    /// As [`Store::remove_image`], of the others.
    pub fn remove_image_from_under(
        &self,
        id: &Digest,
        matters: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Vec<Untagged>> {
        let text = id.to_string();
        self.write(|db| {
            self.count_containers(db)?;
            let mut users = db.prepare("SELECT kind, key FROM use WHERE image = ?")?;
            for row in users.query_map(params![text], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })? {
                let (kind, key) = row?;
                let key = super::usage::user_of(&key);
                if matters(&kind, key) {
                    return Err(Error::of(
                        Kind::Conflict,
                        format!("image is being used by {kind} {key}"),
                    ));
                }
            }
            let mut gone = Vec::new();
            let mut names = db.prepare("SELECT reference FROM name WHERE image = ? ORDER BY reference")?;
            for reference in names.query_map(params![text], |row| row.get::<_, String>(0))? {
                gone.push(Untagged::Tag(reference?.parse()?));
            }
            let mut pins =
                db.prepare("SELECT repository, target FROM pin WHERE image = ? ORDER BY repository, target")?;
            for row in pins.query_map(params![text], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })? {
                let (repository, target) = row?;
                gone.push(Untagged::Digest(
                    Repository::parse(&repository)?.with_digest(target.parse()?),
                ));
            }
            for statement in [
                "DELETE FROM name WHERE image = ?",
                "DELETE FROM pin WHERE image = ?",
                "DELETE FROM image WHERE id = ?",
            ] {
                db.execute(statement, params![text])?;
            }
            Ok(gone)
        })
    }
}

/// The indexes that other names of this manifest stand for stay, though the image came without them this time.
fn keep_indexes(db: &Transaction<'_>, manifest: &str) -> Result<()> {
    db.execute(
        "INSERT INTO part (manifest, kind, position, key)
         SELECT ?1, 'blob', (SELECT max(position) FROM part WHERE manifest = ?1) + row_number() OVER (ORDER BY target), target
         FROM (SELECT DISTINCT target FROM name WHERE manifest = ?1 AND target IN (SELECT digest FROM blob)
               AND target NOT IN (SELECT key FROM part WHERE manifest = ?1))",
        params![manifest],
    )?;
    Ok(())
}

/// Whether an image is there with these names, and nothing but times would change.
fn is_added(db: &Transaction<'_>, image: &NewImage<'_>, tags: &[(Reference, Digest)]) -> Result<bool> {
    let (id, manifest) = (image.id.to_string(), image.manifest.to_string());
    let count = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<bool> {
        Ok(db.query_row(sql, values, |row| row.get::<_, i64>(0))? > 0)
    };
    let sql = "SELECT count(*) FROM image WHERE id = ?1 AND manifest = ?2 AND size = ?3 AND coalesce(?4, parent) IS parent";
    let parent = image.parent.map(Digest::to_string);
    if !count(sql, &[&id, &manifest, &image.size, &parent])? {
        return Ok(false);
    }
    let sql = "SELECT count(*) FROM name WHERE reference = ? AND image = ? AND manifest = ? AND target = ?";
    for (reference, target) in tags {
        if !count(
            sql,
            &[&reference.to_string(), &id, &manifest, &target.to_string()],
        )? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_name(
    db: &Transaction<'_>,
    reference: &Reference,
    image: &Digest,
    manifest: &Digest,
    target: &Digest,
) -> Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO name (reference, repository, image, manifest, target, updated) VALUES (?, ?, ?, ?, ?, ?)",
        params![
            reference.to_string(),
            reference.repository().to_string(),
            image.to_string(),
            manifest.to_string(),
            target.to_string(),
            nanoseconds(),
        ],
    )?;
    Ok(())
}

fn pins_of(db: &Transaction<'_>, image: &Digest, repository: &Repository) -> Result<Vec<Digest>> {
    let mut find = db.prepare("SELECT target FROM pin WHERE image = ? AND repository = ? ORDER BY target")?;
    let rows = find.query_map(params![image.to_string(), repository.to_string()], |row| {
        row.get::<_, String>(0)
    })?;
    rows.map(|row| row?.parse()).collect()
}

fn image_from(row: &Row<'_>) -> Result<Image> {
    Ok(Image {
        id: row.get::<_, String>(0)?.parse()?,
        manifest: row.get::<_, String>(1)?.parse()?,
        size: row.get(2)?,
        added: row.get(3)?,
        used: row.get(4)?,
        parent: row
            .get::<_, Option<String>>(5)?
            .map(|id| id.parse())
            .transpose()?,
    })
}

fn name_from(row: &Row<'_>) -> Result<Name> {
    Ok(Name {
        reference: row.get::<_, String>(0)?.parse()?,
        image: row.get::<_, String>(1)?.parse()?,
        manifest: row.get::<_, String>(2)?.parse()?,
        target: row.get::<_, String>(3)?.parse()?,
        updated: row.get(4)?,
    })
}

fn pin_from(row: &Row<'_>) -> Result<Pin> {
    Ok(Pin {
        repository: Repository::parse(&row.get::<_, String>(0)?)?,
        target: row.get::<_, String>(1)?.parse()?,
        image: row.get::<_, String>(2)?.parse()?,
        manifest: row.get::<_, String>(3)?.parse()?,
    })
}
