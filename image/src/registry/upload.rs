//! Blobs and manifests out (distribution specification, "Push").
//!
//! A blob that is there already is not sent; one that another repository of the same registry has is mounted; all else goes in one
//! request, or in chunks where the registry or the caller wants that. An upload that breaks off goes on where the registry says that
//! it stopped.
//!
//! May not: decide what is pushed, or in which order.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::client::{Client, Fetched, Which};
use super::errors;
use super::hosts::{Endpoint, Purpose};
use super::http::{Answer, Cause, Failure, Payload};
use super::retry::Attempts;
use super::session::{Ask, Target};
use super::url::{Url, escape};
use crate::oci::{Descriptor, media};
use crate::reference::Repository;
use crate::{Context, Digest, Error, Kind, Result};

/// Where a registry wants chunks and does not say of which size.
const CHUNK: u64 = 16 << 20;
/// The index of referrers of one image may not grow without end.
const INDEX_LIMIT: usize = 4 << 20;

/// The bytes of a blob, which may be read several times.
#[derive(Clone)]
pub enum Bytes {
    /// All of a file, which nobody changes meanwhile.
    File(Arc<File>),
    Memory(Arc<[u8]>),
}

/// How a blob came to be where it was pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// Another repository had it.
    Mounted,
    Uploaded,
}

/// How a blob is pushed.
#[derive(Clone, Copy, Default)]
pub struct Push<'a> {
    /// A repository of the same registry that is likely to have it.
    pub mount_from: Option<&'a Repository>,
    /// Bytes in one request, instead of all.
    pub chunk: Option<u64>,
}

/// An upload under way.
struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    scopes: &'a [String],
    blob: &'a Descriptor,
    bytes: &'a Bytes,
    /// Hears how many bytes are there.
    progress: &'a (dyn Fn(u64) + Sync),
    place: Url,
    chunk: Option<u64>,
    /// Bytes that the registry has.
    at: u64,
}

impl Client {
    /// Sends a blob, unless the registry has it. `progress` hears how many bytes were sent.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`; `Corrupt` if the bytes do not have the digest.
    pub fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        bytes: &Bytes,
        push: Push<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Pushed> {
        let doing = || format!("failed to push blob {}", blob.digest);
        let endpoint = self.push_endpoint(repository)?;
        let scopes = [push_scope(&endpoint)];
        let path = format!("/{}/blobs/{}", endpoint.repository, blob.digest);
        let session = &self.inner().session;
        match session.good(&endpoint, &Ask::bare("HEAD", &path, &scopes)) {
            Ok(_) => return Ok(Pushed::Existed),
            Err(f) if f.cause == Cause::Status(404) => {}
            Err(f) => return Err(refused(f, repository)).context(doing()),
        }
        let begun = self.begin(&endpoint, repository, blob, push.mount_from);
        let (place, least) = match begun.map_err(|f| refused(f, repository)).context(doing())? {
            Begun::Mounted => return Ok(Pushed::Mounted),
            Begun::Upload { place, least } => (place, least),
        };
        let chunk = push.chunk.or(least.map(|_| CHUNK));
        let mut upload = Upload {
            client: self,
            endpoint: &endpoint,
            scopes: &scopes,
            blob,
            bytes,
            progress,
            place,
            chunk: chunk.map(|c| c.max(least.unwrap_or(1)).max(1)),
            at: 0,
        };
        match upload.run() {
            Ok(()) => Ok(Pushed::Uploaded),
            Err(failure) => {
                upload.give_up();
                Err(refused(failure, repository)).context(doing())
            }
        }
    }

    /// Opens an upload, or mounts the blob.
    fn begin(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        blob: &Descriptor,
        from: Option<&Repository>,
    ) -> Result<Begun, Failure> {
        let session = &self.inner().session;
        let plain = format!("/{}/blobs/uploads/", endpoint.repository);
        let from = from.filter(|f| f.domain() == repository.domain() && f.path() != repository.path());
        if let Some(from) = from {
            let path = format!(
                "{plain}?mount={}&from={}",
                escape(&blob.digest.to_string()),
                escape(from.path())
            );
            let scopes = [push_scope(endpoint), format!("repository:{}:pull", from.path())];
            match session.good(endpoint, &post(&path, &scopes)) {
                Ok(answer) if answer.status == 201 => return Ok(Begun::Mounted),
                Ok(answer) => return begun(&answer, endpoint),
                // A source that we may not read is no reason not to push.
                Err(f) if matches!(f.cause, Cause::Status(_)) && !f.is_spent => {}
                Err(f) => return Err(f),
            }
        }
        let scopes = [push_scope(endpoint)];
        begun(&session.good(endpoint, &post(&plain, &scopes))?, endpoint)
    }

    /// Sends a manifest or an index, byte for byte, under its digest or a tag. If it refers to another image (`subject`), and the
    /// registry has no API for that, the list of referrers of that image is kept under its fallback tag.
    ///
    /// # Errors
    /// As [`Client::push_blob`]; `NotFound` if a blob of it is not there.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        which: Which<'_>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if let Which::Digest(wanted) = which
            && *wanted != digest
        {
            return Err(Error::corrupt(format!("manifest is {digest}, not {wanted}")));
        }
        let doing = || format!("failed to push manifest {which} to {}", repository.familiar());
        let knows_referrers = self
            .put(repository, &which.to_string(), media_type, bytes)
            .context(doing())?;
        let document: Subject = serde_json::from_slice(bytes).unwrap_or_default();
        if let Some(subject) = document.subject.as_ref().filter(|_| !knows_referrers) {
            let own = Descriptor {
                media_type: media_type.to_owned(),
                digest: digest.clone(),
                size: bytes.len() as u64,
                urls: Vec::new(),
                annotations: document.annotations.unwrap_or_default(),
                platform: None,
                artifact_type: document
                    .artifact_type
                    .filter(|t| !t.is_empty())
                    .or(document.config.map(|c| c.media_type)),
            };
            self.list_referrer(repository, &subject.digest, own)
                .context(doing())?;
        }
        Ok(digest)
    }

    /// Says whether the registry has noted the subject by itself.
    fn put(&self, repository: &Repository, reference: &str, media_type: &str, bytes: &[u8]) -> Result<bool> {
        let endpoint = self.push_endpoint(repository)?;
        let scopes = [push_scope(&endpoint)];
        let path = format!("/{}/manifests/{reference}", endpoint.repository);
        let ask = Ask {
            headers: &[("content-type", media_type)],
            payload: Payload::Bytes(bytes),
            ..Ask::bare("PUT", &path, &scopes)
        };
        let answer = self
            .inner()
            .session
            .good(&endpoint, &ask)
            .map_err(|f| refused(f, repository))?;
        if let Some(said) = answer
            .header("docker-content-digest")
            .and_then(|d| d.parse::<Digest>().ok())
        {
            let own = Digest::of(bytes);
            if said.algorithm() == own.algorithm() && said != own {
                return Err(Error::corrupt(format!(
                    "registry has stored {said} where {own} was sent"
                )));
            }
        }
        Ok(answer.header("oci-subject").is_some())
    }

    /// Adds a referrer to the index under the fallback tag (distribution specification, "Referrers Tag Schema"). Two that do this at the
    /// same time may lose one entry; the specification has no way around it.
    fn list_referrer(&self, repository: &Repository, subject: &Digest, own: Descriptor) -> Result<()> {
        let tag = fallback_tag(subject);
        let mut index = match self.manifest_from(repository, Which::Tag(&tag), Purpose::Push) {
            Ok(Fetched { bytes, .. }) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(format!("tag {tag} holds no index of referrers: {e}")))?,
            Err(e) if e.kind() == Kind::NotFound => {
                serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []})
            }
            Err(e) => return Err(e),
        };
        let entry = serde_json::to_value(&own).map_err(|e| Error::new(e.to_string()))?;
        let digest = own.digest.to_string();
        let Some(manifests) = index
            .get_mut("manifests")
            .and_then(serde_json::Value::as_array_mut)
        else {
            return Err(Error::corrupt(format!("tag {tag} holds no index of referrers")));
        };
        if manifests.iter().any(|m| m["digest"] == *digest) {
            return Ok(());
        }
        manifests.push(entry);
        let bytes = serde_json::to_vec(&index).map_err(|e| Error::new(e.to_string()))?;
        if bytes.len() > INDEX_LIMIT {
            return Err(Error::new(format!(
                "index of referrers under {tag} would grow beyond {INDEX_LIMIT} bytes"
            )));
        }
        self.put(repository, &tag, media::OCI_INDEX, &bytes).map(drop)
    }

    fn push_endpoint(&self, repository: &Repository) -> Result<Endpoint> {
        self.origin(repository, Purpose::Push)
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// `sha256-<hex>`.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    let tag = format!("{}-{}", subject.algorithm().name(), subject.hex());
    // SHA-512 in hexadecimal is longer than a tag may be: the specification cuts both parts.
    tag.chars().take(32 + 1 + 64).collect()
}

/// What the registry knows of an upload.
#[derive(PartialEq)]
enum Stage {
    Open,
    Stored,
}

enum Begun {
    Mounted,
    Upload { place: Url, least: Option<u64> },
}

fn begun(answer: &Answer, endpoint: &Endpoint) -> Result<Begun, Failure> {
    if !matches!(answer.status, 201 | 202) {
        let text = format!(
            "{} answered {} to the begin of an upload",
            endpoint.base.authority(),
            answer.status
        );
        return Err(Failure::fatal(Error::of(Kind::Unavailable, text)));
    }
    Ok(Begun::Upload {
        place: location(answer)?,
        least: answer
            .header("oci-chunk-min-length")
            .and_then(|l| l.trim().parse().ok()),
    })
}

fn location(answer: &Answer) -> Result<Url, Failure> {
    let host = answer.url.authority();
    let Some(location) = answer.header("location") else {
        return Err(Failure::fatal(Error::new(format!(
            "{host} does not say where an upload goes on"
        ))));
    };
    answer
        .url
        .join(location)
        .map_err(|e| Failure::fatal(e.context(format!("{host} sends an upload on"))))
}

fn post<'a>(path: &'a str, scopes: &'a [String]) -> Ask<'a> {
    Ask {
        payload: Payload::Bytes(&[]),
        ..Ask::bare("POST", path, scopes)
    }
}

impl Upload<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let session = &self.client.inner().session;
        let mut attempts = Attempts::new(session.patience);
        loop {
            let before = self.at;
            let failure = match self.go_on() {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.cause == Cause::Status(413) && self.chunk.is_none_or(|c| c > 1 << 20) {
                // A proxy before the registry takes no such large requests.
                self.chunk = Some(self.chunk.unwrap_or(4 * CHUNK) / 4);
                if self.ask_where()? == Stage::Stored {
                    return Ok(());
                }
                continue;
            }
            if self.at > before {
                attempts.reset();
            }
            // Where it stopped is another place than we believed: that passes when it is asked.
            let is_lost = failure.cause == Cause::Status(416);
            let cause = if is_lost { Cause::Broken } else { failure.cause };
            session.pause(&mut attempts, Failure { cause, ..failure }, &self.place)?;
            if self.ask_where()? == Stage::Stored {
                return Ok(());
            }
        }
    }

    /// Sends what the registry does not have, and closes the upload.
    fn go_on(&mut self) -> Result<(), Failure> {
        let size = self.blob.size;
        match self.chunk {
            // All of it goes with the request that closes the upload.
            None if self.at == 0 => return self.close(0..size),
            None => self.patch(size)?,
            Some(chunk) => {
                while self.at < size {
                    self.patch((self.at + chunk).min(size))?;
                }
            }
        }
        self.close(size..size)
    }

    fn patch(&mut self, end: u64) -> Result<(), Failure> {
        if self.at == end {
            return Ok(());
        }
        let range = format!("{}-{}", self.at, end - 1);
        let headers = [
            ("content-range", range.as_str()),
            ("content-type", "application/octet-stream"),
        ];
        let answer = self.send("PATCH", &self.place, &headers, self.at..end)?;
        self.place = location(&answer)?;
        self.at = end;
        (self.progress)(end);
        Ok(())
    }

    fn close(&mut self, range: std::ops::Range<u64>) -> Result<(), Failure> {
        let url = self
            .place
            .clone()
            .with_query("digest", &self.blob.digest.to_string());
        let end = range.end;
        self.send(
            "PUT",
            &url,
            &[("content-type", "application/octet-stream")],
            range,
        )?;
        self.at = end;
        (self.progress)(end);
        Ok(())
    }

    fn send(
        &self,
        method: &'static str,
        url: &Url,
        headers: &[(&str, &str)],
        range: std::ops::Range<u64>,
    ) -> Result<Answer, Failure> {
        let length = range.end - range.start;
        let open = || -> io::Result<Box<dyn Read + Send>> {
            let from = Section {
                bytes: self.bytes.clone(),
                at: range.start,
                end: range.end,
            };
            Ok(Box::new(from))
        };
        let ask = Ask {
            method,
            target: Target::Given(url),
            headers,
            payload: if length == 0 {
                Payload::Bytes(&[])
            } else {
                Payload::Stream { open: &open, length }
            },
            scopes: self.scopes,
        };
        // Once: what it has got of a body that broke off, the registry has to say itself.
        let answer = self.client.inner().session.ask_once(self.endpoint, &ask)?;
        if answer.status >= 400 {
            return Err(errors::failure(answer));
        }
        Ok(answer)
    }

    /// How far the registry has come.
    fn ask_where(&mut self) -> Result<Stage, Failure> {
        let session = &self.client.inner().session;
        let ask = Ask {
            target: Target::Given(&self.place),
            ..Ask::bare("GET", "", self.scopes)
        };
        let answer = match session.good(self.endpoint, &ask) {
            Ok(answer) => answer,
            Err(f) if matches!(f.cause, Cause::Status(404 | 405)) => return self.begin_anew(),
            Err(f) => return Err(f),
        };
        if answer.headers.contains_key("location") {
            self.place = location(&answer)?;
        }
        self.at = answer
            .header("range")
            .and_then(parse_range)
            .unwrap_or(0)
            .min(self.blob.size);
        Ok(Stage::Open)
    }

    /// The registry does not know the upload any more: it is complete, and only the answer was lost, or it is forgotten.
    fn begin_anew(&mut self) -> Result<Stage, Failure> {
        let session = &self.client.inner().session;
        let repository = &self.endpoint.repository;
        let blob = format!("/{repository}/blobs/{}", self.blob.digest);
        match session.good(self.endpoint, &Ask::bare("HEAD", &blob, self.scopes)) {
            Ok(_) => return Ok(Stage::Stored),
            Err(f) if f.cause == Cause::Status(404) => {}
            Err(f) => return Err(f),
        }
        let uploads = format!("/{repository}/blobs/uploads/");
        let answer = session.good(self.endpoint, &post(&uploads, self.scopes))?;
        if let Begun::Upload { place, .. } = begun(&answer, self.endpoint)? {
            self.place = place;
            self.at = 0;
        }
        Ok(Stage::Open)
    }

    /// Tells the registry that nothing more comes. It throws old uploads away by itself, so nobody minds if it does not hear.
    fn give_up(&self) {
        let session = &self.client.inner().session;
        if session.cancel.is_called() {
            return;
        }
        let ask = Ask {
            target: Target::Given(&self.place),
            ..Ask::bare("DELETE", "", self.scopes)
        };
        let _ = session.ask_once(self.endpoint, &ask);
    }
}

/// `0-99`, the last one included: a hundred bytes are there. distribution says `0-0` for none as well as for one; one byte more sent
/// than needed would be refused, one less is a byte sent twice at most, so it counts as none.
pub(super) fn parse_range(value: &str) -> Option<u64> {
    let value = value.trim().strip_prefix("bytes=").unwrap_or(value.trim());
    let last: u64 = value.strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}

/// A part of the bytes.
struct Section {
    bytes: Bytes,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let amount = match &self.bytes {
            Bytes::File(file) => file.read_at(&mut buffer[..most], self.at)?,
            Bytes::Memory(bytes) => {
                let rest = bytes
                    .get(usize::try_from(self.at).unwrap_or(usize::MAX)..)
                    .unwrap_or_default();
                let most = most.min(rest.len());
                buffer[..most].copy_from_slice(&rest[..most]);
                most
            }
        };
        if amount == 0 && most > 0 {
            return Err(Error::corrupt("blob is shorter than its descriptor says").into());
        }
        self.at += amount as u64;
        Ok(amount)
    }
}

fn push_scope(endpoint: &Endpoint) -> String {
    format!("repository:{}:pull,push", endpoint.repository)
}

/// In the words of docker's pusher.
fn refused(failure: Failure, repository: &Repository) -> Error {
    match failure.cause {
        Cause::Status(401 | 403) => failure.error.context(format!(
            "push access denied for {}, repository does not exist or may require authorization",
            repository.familiar()
        )),
        _ => failure.error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_of_uploads_are_read() {
        for (value, expected) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", Some(0)),
            ("1-2", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(parse_range(value), expected, "{value}");
        }
    }

    #[test]
    fn fallback_tags_are_tags() {
        let digest = Digest::of(b"");
        assert_eq!(fallback_tag(&digest), format!("sha256-{}", digest.hex()));
    }
}
