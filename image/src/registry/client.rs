//! What can be asked of a registry: manifests, tags, referrers, blobs. Mirrors are tried in their order.
//!
//! May not: interpret a manifest.

use std::sync::Arc;

use super::cancel::Cancel;
use super::hosts::{Endpoint, Hosts, Purpose};
use super::http::{Cause, Failure, Http};
use super::session::{Ask, Head, Session};
use super::{Notice, Notify, Settings};
use crate::credentials::Credentials;
use crate::digest::Hasher;
use crate::oci::{Descriptor, media};
use crate::reference::Repository;
use crate::{Digest, Error, Kind, Result};

/// The most that is read of a manifest. Images stop at [`crate::oci::MANIFEST_LIMIT`]; what is larger is told apart from what is endless.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// A client of registries. Cheap to clone; clones share connections, tokens, and what was learned about mirrors.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(super) struct Inner {
    pub session: Session,
    pub hosts: Hosts,
    pub settings: Settings,
}

/// Which manifest of a repository.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
}

impl std::fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Tag(tag) => f.write_str(tag),
            Which::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// A document and what it came as.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The bytes as they came; they have this digest.
    pub bytes: Vec<u8>,
    pub digest: Digest,
    /// Content-Type without parameters.
    pub media_type: String,
}

/// What a name means at the moment.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub digest: Digest,
    pub media_type: String,
    pub size: u64,
}

impl Client {
    /// # Errors
    /// A file of configuration is malformed.
    pub fn new(
        settings: Settings,
        credentials: Credentials,
        cancel: Cancel,
        notify: Notify,
    ) -> Result<Client> {
        let http = Http::new(
            &settings.user_agent,
            settings.limits,
            settings.proxies.clone(),
            cancel.clone(),
        );
        let mut session = Session::new(http, credentials, settings.patience, cancel, notify);
        session.headers = additional(&settings.headers)?;
        let hosts = Hosts::load(&settings.files)?;
        Ok(Client(Arc::new(Inner {
            session,
            hosts,
            settings,
        })))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Who hears notices.
    pub fn notify(&self) -> Notify {
        self.0.session.notify.clone()
    }

    /// What ends everything that this client does.
    pub fn cancel(&self) -> &Cancel {
        &self.0.session.cancel
    }

    /// What a name without a domain may stand for, by registries.conf: its alias, or the name in each registry that is searched.
    /// Nothing, if that is not configured.
    pub fn long_names(&self, name: &str) -> Vec<String> {
        self.0.hosts.long_names(name)
    }

    /// A manifest or an index.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable`; `Corrupt` if the bytes are not what was asked for, or not what the registry says they are.
    pub fn manifest(&self, repository: &Repository, which: Which<'_>) -> Result<Fetched> {
        let purpose = match which {
            Which::Tag(_) => Purpose::Resolve,
            Which::Digest(_) => Purpose::Pull,
        };
        self.manifest_from(repository, which, purpose)
    }

    pub(super) fn manifest_from(
        &self,
        repository: &Repository,
        which: Which<'_>,
        purpose: Purpose,
    ) -> Result<Fetched> {
        let fetched = self.each(repository, purpose, |endpoint| {
            let scopes = [pull_scope(endpoint)];
            let path = format!("/{}/manifests/{which}", endpoint.repository);
            let accept = accepted();
            let ask = Ask {
                headers: &[("accept", accept.as_str())],
                ..Ask::bare("GET", &path, &scopes)
            };
            let whole = self.0.session.whole(endpoint, &ask, DOCUMENT_LIMIT, "manifest")?;
            let digest = verified(which, &whole.head, &whole.bytes).map_err(Failure::fatal)?;
            Ok(Fetched {
                digest,
                media_type: whole.head.media_type,
                bytes: whole.bytes,
            })
        });
        fetched.map_err(|f| told(f, repository, which))
    }

    /// What a tag or digest means, without its bytes where the registry can say so. Docker Hub does not count it as a pull.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn resolve(&self, repository: &Repository, which: Which<'_>) -> Result<Resolved> {
        let resolved = self.each(repository, Purpose::Resolve, |endpoint| {
            let scopes = [pull_scope(endpoint)];
            let path = format!("/{}/manifests/{which}", endpoint.repository);
            let accept = accepted();
            let ask = Ask {
                headers: &[("accept", accept.as_str())],
                ..Ask::bare("HEAD", &path, &scopes)
            };
            let answer = self.0.session.good(endpoint, &ask)?;
            let digest = answer
                .header("docker-content-digest")
                .and_then(|d| d.parse::<Digest>().ok());
            let (Some(digest), Some(size)) = (digest, answer.length()) else {
                return Ok(None);
            };
            if let Which::Digest(wanted) = which
                && *wanted != digest
            {
                return Err(Failure::fatal(wrong_digest(wanted, &digest)));
            }
            Ok(Some(Resolved {
                digest,
                media_type: answer.media_type(),
                size,
            }))
        });
        if let Some(resolved) = resolved.map_err(|f| told(f, repository, which))? {
            return Ok(resolved);
        }
        let fetched = self.manifest(repository, which)?;
        Ok(Resolved {
            digest: fetched.digest,
            media_type: fetched.media_type,
            size: fetched.bytes.len() as u64,
        })
    }

    /// A small blob, such as the configuration of an image: its bytes have the size and the digest of the descriptor.
    ///
    /// # Errors
    /// As [`Client::manifest`]; larger than `limit`.
    pub fn blob_bytes(&self, repository: &Repository, blob: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(Error::corrupt(format!(
                "blob {} has {} bytes; at most {limit} are read here",
                blob.digest, blob.size
            )));
        }
        let bytes = self.each(repository, Purpose::Pull, |endpoint| {
            let scopes = [pull_scope(endpoint)];
            let path = format!("/{}/blobs/{}", endpoint.repository, blob.digest);
            let whole =
                self.0
                    .session
                    .whole(endpoint, &Ask::bare("GET", &path, &scopes), blob.size, "blob")?;
            let digest = digest_like(&blob.digest, &whole.bytes);
            if digest != blob.digest {
                return Err(Failure::fatal(wrong_digest(&blob.digest, &digest)));
            }
            Ok(whole.bytes)
        });
        bytes.map_err(|f| denied_or(f, repository).context(format!("failed to get blob {}", blob.digest)))
    }

    /// Whether the registry itself (no mirror) has that blob.
    ///
    /// # Errors
    /// The registry cannot say.
    pub fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool> {
        let endpoint = self.origin(repository, Purpose::Push)?;
        let scopes = [pull_scope(&endpoint)];
        let path = format!("/{}/blobs/{digest}", endpoint.repository);
        match self.0.session.good(&endpoint, &Ask::bare("HEAD", &path, &scopes)) {
            Ok(_) => Ok(true),
            Err(f) if f.cause == Cause::Status(404) => Ok(false),
            Err(f) => Err(denied_or(f, repository)),
        }
    }

    /// The one that counts: for a push the first, which is all that pushes go to; else the registry itself, after its mirrors.
    pub(super) fn origin(&self, repository: &Repository, purpose: Purpose) -> Result<Endpoint> {
        let mut endpoints = self.0.hosts.endpoints(repository, purpose)?.into_iter();
        let one = if purpose == Purpose::Push {
            endpoints.next()
        } else {
            endpoints.next_back()
        };
        one.ok_or_else(|| nowhere(repository))
    }

    /// Asks the endpoints in their order until one serves. A mirror that has no such thing, does not let us in or is not well is passed
    /// over; one that is not there at all is not asked again in this run.
    pub(super) fn each<T>(
        &self,
        repository: &Repository,
        purpose: Purpose,
        ask: impl Fn(&Endpoint) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let endpoints = self
            .0
            .hosts
            .endpoints(repository, purpose)
            .map_err(Failure::fatal)?;
        let mut last = None;
        for endpoint in &endpoints {
            if endpoint.is_mirror && self.0.session.has_given_up_on(endpoint) {
                continue;
            }
            let failure = match ask(endpoint) {
                Ok(good) => return Ok(good),
                Err(failure) => failure,
            };
            if failure.error.kind() == Kind::Cancelled || !endpoint.is_mirror || purpose == Purpose::Push {
                return Err(failure);
            }
            self.passed_over(endpoint, &failure);
            last = Some(failure);
        }
        Err(last.unwrap_or_else(|| Failure::fatal(nowhere(repository))))
    }

    /// Asks no mirror of that repository again: one of them has sent bytes that are not what their digest says.
    ///
    /// # Errors
    /// A file of configuration is malformed.
    pub fn distrust_mirrors(&self, repository: &Repository) -> Result<()> {
        for endpoint in self.0.hosts.endpoints(repository, Purpose::Pull)? {
            if endpoint.is_mirror {
                self.0.session.give_up_on(&endpoint);
            }
        }
        Ok(())
    }

    /// What is done about a mirror that did not serve.
    pub(super) fn passed_over(&self, endpoint: &Endpoint, failure: &Failure) {
        if !matches!(failure.cause, Cause::Status(401 | 403 | 404)) {
            self.0.session.give_up_on(endpoint);
        }
        (self.0.session.notify)(Notice::MirrorFailed {
            host: endpoint.base.authority(),
            reason: failure.error.to_string(),
        });
    }
}

/// Headers whose values are ours to say: a second one would spoil the request, or our part of the conversation.
const OURS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "host",
    "proxy-authorization",
    "range",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// What the user adds, without what is ours.
fn additional(headers: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let mut kept = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let is_name = name.parse::<ureq::http::HeaderName>().is_ok();
        let is_value = ureq::http::HeaderValue::from_str(value).is_ok();
        if !is_name || !is_value {
            return Err(Error::invalid(format!("{name:?} of HttpHeaders is no header")));
        }
        if !OURS.contains(&name.as_str()) {
            kept.push((name, value.clone()));
        }
    }
    Ok(kept)
}

fn nowhere(repository: &Repository) -> Error {
    Error::invalid(format!(
        "no host is configured that serves {}",
        repository.familiar()
    ))
}

pub(super) fn pull_scope(endpoint: &Endpoint) -> String {
    format!("repository:{}:pull", endpoint.repository)
}

fn accepted() -> String {
    [
        media::OCI_INDEX,
        media::OCI_MANIFEST,
        media::DOCKER_LIST,
        media::DOCKER_MANIFEST,
    ]
    .join(", ")
}

/// The digest of `bytes` in the algorithm of `like`.
fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish()
}

pub(super) fn wrong_digest(wanted: &Digest, found: &Digest) -> Error {
    Error::corrupt(format!("registry sent {found} where {wanted} was asked for"))
}

fn verified(which: Which<'_>, head: &Head, bytes: &[u8]) -> Result<Digest> {
    if let Some(said) = head
        .header("docker-content-digest")
        .and_then(|d| d.parse::<Digest>().ok())
    {
        let found = digest_like(&said, bytes);
        if found != said {
            return Err(Error::corrupt(format!(
                "registry says that its answer is {said}, but it is {found}"
            )));
        }
    }
    match which {
        Which::Tag(_) => Ok(Digest::of(bytes)),
        Which::Digest(wanted) => {
            let found = digest_like(wanted, bytes);
            if found == *wanted {
                Ok(found)
            } else {
                Err(wrong_digest(wanted, &found))
            }
        }
    }
}

/// In the words of docker, which people know and programs look for.
fn told(failure: Failure, repository: &Repository, which: Which<'_>) -> Error {
    match failure.cause {
        Cause::Status(404) => {
            let mark = if matches!(which, Which::Tag(_)) { ':' } else { '@' };
            failure.error.context(format!(
                "manifest for {}{mark}{which} not found",
                repository.familiar()
            ))
        }
        _ => denied_or(failure, repository),
    }
}

pub(super) fn denied_or(failure: Failure, repository: &Repository) -> Error {
    match failure.error.kind() {
        Kind::Denied if matches!(failure.cause, Cause::Status(401 | 403)) => failure.error.context(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login'",
            repository.familiar()
        )),
        _ => failure.error,
    }
}
