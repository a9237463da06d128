//! Mending a store: what is damaged is fetched again from where it came, or made again from what is whole.
//!
//! May not: look for damage (`store::check` does).

use crate::oci::{CONFIG_LIMIT, Descriptor};
use crate::provide::{Maker, Wanted};
use crate::pull::Puller;
use crate::reference::Repository;
use crate::registry::{Client, Which};
use crate::store::{Damage, Finding, Lease, Subject};
use crate::{Digest, Error, Kind, Result};

/// What is needed to mend.
pub struct Repairer<'r> {
    pub maker: &'r Maker<'r>,
    pub client: &'r Client,
}

/// What became of a finding.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The blob came again, from that repository.
    Fetched(Repository),
    /// The layer was unpacked again.
    Rebuilt,
    /// Nobody needed it.
    Removed,
    /// And why.
    NotMended(Error),
}

impl Repairer<'_> {
    /// Mends what can be mended: documents first, since they say what else is needed; then blobs, then layers.
    ///
    /// # Errors
    /// The store cannot be changed at all.
    pub fn repair(&self, findings: &[Finding]) -> Result<Vec<(Finding, Outcome)>> {
        let lease = self.maker.store.lease()?;
        let mut outcomes = Vec::new();
        for finding in findings {
            if let Subject::Blob(digest) = &finding.subject {
                let outcome = self
                    .blob(&lease, digest, finding)
                    .map_or_else(Outcome::NotMended, Outcome::Fetched);
                outcomes.push((finding.clone(), outcome));
            }
        }
        for finding in findings {
            let outcome = match &finding.subject {
                Subject::Blob(_) => continue,
                Subject::Layer(key) => self
                    .layer(&lease, key, finding)
                    .map_or_else(Outcome::NotMended, |()| Outcome::Rebuilt),
                Subject::Stray(_) => Outcome::Removed,
                Subject::Database => Outcome::NotMended(Error::corrupt(
                    "the database itself is damaged: move brig.db away and pull the images again",
                )),
            };
            outcomes.push((finding.clone(), outcome));
        }
        self.maker.store.remove_strays()?;
        Ok(outcomes)
    }

    /// Asks every repository that is known to have an image which needs this blob.
    fn blob(&self, lease: &Lease<'_>, digest: &Digest, finding: &Finding) -> Result<Repository> {
        let store = self.maker.store;
        lease.hold_blob(digest)?;
        let sources: Vec<Repository> = store
            .pins()?
            .into_iter()
            .filter(|pin| finding.needed_by.contains(&pin.manifest))
            .map(|pin| pin.repository)
            .collect();
        let mut last = Error::of(
            Kind::NotFound,
            "no registry is known to have it: it was built, loaded or imported here",
        );
        for repository in sources {
            self.maker.cancel.check()?;
            match self.fetch(lease, &repository, digest, finding) {
                Ok(()) => return Ok(repository),
                Err(e) => last = e.context(format!("failed to get it from {}", repository.familiar())),
            }
        }
        Err(last)
    }

    fn fetch(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        digest: &Digest,
        finding: &Finding,
    ) -> Result<()> {
        let store = self.maker.store;
        if finding.damage != Damage::Missing {
            // Whoever looks for it meanwhile finds nothing instead of something wrong.
            store.drop_blob(digest)?;
        }
        let Some(descriptor) = self.describe(digest, finding)? else {
            let fetched = self.client.manifest(repository, Which::Digest(digest))?;
            return store.put_document(lease, digest, &fetched.bytes).map(drop);
        };
        if descriptor.size <= CONFIG_LIMIT && !descriptor.media_type.contains("tar") {
            let bytes = self.client.blob_bytes(repository, &descriptor, CONFIG_LIMIT)?;
            return store.put_document(lease, digest, &bytes).map(drop);
        }
        let puller = Puller {
            maker: self.maker,
            client: self.client,
            platform: None,
            at_once: 1,
        };
        puller.blob_alone(lease, repository, &descriptor)
    }

    /// What a manifest that is whole says of the blob; none, if it is a manifest or an index itself.
    fn describe(&self, digest: &Digest, finding: &Finding) -> Result<Option<Descriptor>> {
        for manifest in &finding.needed_by {
            if manifest == digest {
                return Ok(None);
            }
            let Ok((document, _)) = self.maker.store.manifest(manifest) else {
                continue;
            };
            if let Some(found) = document
                .layers
                .iter()
                .chain([&document.config])
                .find(|d| d.digest == *digest)
            {
                return Ok(Some(found.clone()));
            }
        }
        Ok(None)
    }

    fn layer(&self, lease: &Lease<'_>, key: &str, finding: &Finding) -> Result<()> {
        let store = self.maker.store;
        for image in store.images()? {
            if !finding.needed_by.contains(&image.manifest) {
                continue;
            }
            let (manifest, _) = store.manifest(&image.manifest)?;
            let (config, _) = store.config(&image.id)?;
            let keys = store.layer_keys(&image.manifest)?;
            let Some(position) = keys.iter().position(|own| own == key) else {
                continue;
            };
            let (Some(descriptor), Some(diff_id)) = (
                manifest.layers.get(position),
                config.rootfs.diff_ids.get(position),
            ) else {
                return Err(Error::corrupt(format!(
                    "image {} has no layer {position}",
                    image.id.short()
                )));
            };
            let wanted = Wanted {
                diff_id,
                blob: &descriptor.digest,
                size: descriptor.size,
                below: &config.rootfs.diff_ids[..position],
            };
            return self.maker.from_blob(lease, &wanted).map(drop);
        }
        Err(Error::not_found("no image needs it"))
    }
}
