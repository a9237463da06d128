//! Mending a store: what is damaged is fetched again from where it came, or made again from what is whole.
//!
//! May not: look for damage (`store::check` and `verify` do).

use crate::oci::{CONFIG_LIMIT, Descriptor};
use crate::provide::Maker;
use crate::pull::Puller;
use crate::reference::Repository;
use crate::registry::{Client, Which};
use crate::standing;
use crate::store::{Damage, Finding, Form, Lease, Subject};
use crate::verify::Origin;
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
        for finding in self.the_lowest_first(findings) {
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

    /// In the order of the layers in their images: one may contain parts of those below it.
    fn the_lowest_first<'f>(&self, findings: &'f [Finding]) -> Vec<&'f Finding> {
        let mut ordered = Vec::with_capacity(findings.len());
        for finding in findings {
            let position = match &finding.subject {
                Subject::Layer(key) => Origin::find(self.maker.store, key, &finding.needed_by)
                    .ok()
                    .flatten()
                    .map_or(0, |origin| origin.position),
                _ => 0,
            };
            ordered.push((position, finding));
        }
        ordered.sort_by_key(|(position, _)| *position);
        ordered.into_iter().map(|(_, finding)| finding).collect()
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
        let Some(origin) = Origin::find(store, key, &finding.needed_by)? else {
            return Err(Error::not_found("no image needs it"));
        };
        if let Some(layer) = store.layers()?.iter().find(|layer| layer.key.as_str() == key)
            && finding.damage != Damage::NotSynced
            && layer.form == Form::Tree
        {
            // A mounted image stays what it was until it is unmounted, but a tree would lose its files under whoever reads them.
            let users = standing::users(store, &finding.needed_by)?;
            if let Some(user) = users.first() {
                return Err(Error::of(
                    Kind::Conflict,
                    format!("{user} stands on it; take that away first"),
                ));
            }
        }
        if origin.is_bare {
            // What is built again must not come out of it, nor stand on it.
            if let Some(layer) = store.layers()?.into_iter().find(|l| l.key.as_str() == key) {
                store.forget_layer(key)?;
                store.drop_layer(lease, &layer.key)?;
            }
            return Err(Error::not_found(
                "nothing is left to make it of: it was built here, and was never pushed or saved; build the image again",
            ));
        }
        let below = origin.below(store, key)?;
        self.maker.renew(lease, &origin.wanted(), below.as_deref())
    }
}
