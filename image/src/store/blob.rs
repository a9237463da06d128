//! Blobs: bytes by their digests.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{OptionalExtension, params};

use super::{Lease, Store, exists, sync_directory};
use crate::digest::Algorithm;
use crate::{Context, Digest, Error, Result};

impl Store {
    /// Where this blob lies, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    /// Its size, if it is there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let size = self
            .db()
            .prepare_cached("SELECT size FROM blob WHERE digest = ?")
            .and_then(|mut find| {
                find.query_row(params![digest.to_string()], |row| row.get(0))
                    .optional()
            })
            .context(format!("failed to look for blob {digest}"))?;
        // The row may outlive its file where somebody else has a hand in the directory.
        match size {
            Some(size) if exists(&self.blob_path(digest))? => Ok(Some(size)),
            _ => Ok(None),
        }
    }

    /// Opens it; the reader is to verify what it reads.
    ///
    /// # Errors
    /// It is not there ([`crate::Kind::NotFound`]).
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let failed = || format!("failed to open blob {digest}");
        match File::open(self.blob_path(digest)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::not_found(Error::from(e).context(failed()).to_string()))
            }
            opened => opened.context(failed()),
        }
    }

    /// A document: all of it, verified.
    ///
    /// # Errors
    /// It is not there, larger than `limit`, or damaged.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .context(format!("failed to read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::corrupt(format!(
                "blob {digest} has more than {limit} bytes"
            )));
        }
        let (found, _) = Digest::of_reader(digest.algorithm(), &mut bytes.as_slice())?;
        if found != *digest {
            return Err(Error::corrupt(format!(
                "blob {digest} is damaged: its digest is {found}; see brig system check --repair"
            )));
        }
        Ok(bytes)
    }

    /// Stores a document. The digest's name is what `bytes` have, so this cannot store anything wrong.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_blob(&self, lease: &Lease<'_>, bytes: &[u8]) -> Result<Digest> {
        self.put_document(lease, &Digest::of(bytes), bytes)
    }

    /// Stores a document under a digest that may be of another algorithm than ours.
    ///
    /// # Errors
    /// `bytes` have another digest, or the store cannot be written.
    pub fn put_document(&self, lease: &Lease<'_>, digest: &Digest, bytes: &[u8]) -> Result<Digest> {
        let (found, _) = Digest::of_reader(digest.algorithm(), &mut &*bytes)?;
        if found != *digest {
            return Err(Error::corrupt(format!("blob {digest} has the digest {found}")));
        }
        let digest = found;
        lease.hold_blob(&digest)?;
        if self.blob_size(&digest)?.is_some() {
            return Ok(digest);
        }
        let path = lease.directory().join(digest.hex());
        let failed = || format!("failed to write blob {digest}");
        let mut file = File::create(&path).context(failed())?;
        file.write_all(bytes)
            .and_then(|()| file.sync_data())
            .context(failed())?;
        self.publish_blob(lease, &path, &digest, bytes.len() as u64)?;
        Ok(digest)
    }

    /// Gives a synced file, whose digest the caller has verified, its place and its name. The caller has a hold on it.
    ///
    /// # Errors
    /// The store cannot be written; the file is then where it was, or in its place without a row, which is what gc removes.
    pub fn publish_blob(&self, _lease: &Lease<'_>, file: &Path, digest: &Digest, size: u64) -> Result<()> {
        let failed = || format!("failed to store blob {digest}");
        let place = self.blob_path(digest);
        fs::set_permissions(file, Permissions::from_mode(0o400)).context(failed())?;
        // The move belongs to the transaction: gc, which has one as well, must not take a file between its row's two lives.
        self.write(|db| {
            fs::rename(file, &place).context(failed())?;
            sync_directory(&self.path("blobs").join(digest.algorithm().name()))?;
            db.execute(
                "INSERT OR REPLACE INTO blob (digest, size, added) VALUES (?, ?, ?)",
                params![digest.to_string(), size, nanoseconds()],
            )?;
            Ok(())
        })
    }

    /// Forgets a blob that was found to be damaged.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn drop_blob(&self, digest: &Digest) -> Result<()> {
        self.write(|db| {
            db.execute("DELETE FROM blob WHERE digest = ?", params![digest.to_string()])?;
            match fs::remove_file(self.blob_path(digest)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::from(e).context(format!("failed to remove blob {digest}")))
                }
                _ => Ok(()),
            }
        })
    }

    /// Bytes of all blobs.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob_bytes(&self) -> Result<u64> {
        Ok(self
            .db()
            .query_row("SELECT coalesce(sum(size), 0) FROM blob", [], |row| row.get(0))?)
    }

    /// Bytes of downloads that are not finished, as far as they are there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn partial_bytes(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let failed = || "failed to look at partial downloads";
        let mut bytes = 0;
        for entry in fs::read_dir(self.partial()).context(failed())? {
            // In blocks: a file that is filled from several places has holes.
            match entry.context(failed())?.metadata() {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => bytes += other.context(failed())?.blocks() * 512,
            }
        }
        Ok(bytes)
    }

    /// Reads all of a blob and says whether it is what its name says.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn verify_blob(&self, digest: &Digest) -> Result<bool> {
        let mut file = self.open_blob(digest)?;
        let algorithm: Algorithm = digest.algorithm();
        let (found, _) =
            Digest::of_reader(algorithm, &mut file).context(format!("failed to read blob {digest}"))?;
        Ok(found == *digest)
    }
}

/// Since 1970; SQLite's integers are signed.
pub(super) fn nanoseconds() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}
