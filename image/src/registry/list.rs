//! Lists: tags of a repository, repositories of a registry, referrers of an image.
//!
//! May not: sort or filter what the registry has not.

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Which, denied_or, pull_scope};
use super::hosts::{Endpoint, Purpose};
use super::http::{Cause, Failure};
use super::session::{Ask, Head, Target};
use super::upload::fallback_tag;
use super::url::{Url, escape};
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::{Context, Digest, Error, Kind, Result};

/// Of one page.
const PAGE_LIMIT: u64 = 8 << 20;
/// A list with more names than this is a mistake, or an attack.
const NAMES_LIMIT: usize = 1_000_000;
/// Links with an honest end.
const PAGES_LIMIT: usize = 10_000;

/// What refers to an image, and how that was learned.
#[derive(Clone, Debug)]
pub struct Referrers {
    pub manifests: Vec<Descriptor>,
    /// The registry has no API for it; the list is what others have kept under a tag.
    pub is_fallback: bool,
}

impl Client {
    /// All tags of a repository, as the registry orders them.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn tags(&self, repository: &Repository) -> Result<Vec<String>> {
        let endpoint = self.origin(repository, Purpose::Resolve)?;
        let scopes = [pull_scope(&endpoint)];
        let path = format!("/{}/tags/list", endpoint.repository);
        self.names(&endpoint, &path, &scopes, "tags")
            .map_err(|f| denied_or(f, repository))
            .context(format!("failed to list the tags of {}", repository.familiar()))
    }

    /// The repositories of a registry, where it tells them. `domain` as in references.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        let doing = || format!("failed to list the repositories of {domain}");
        let any: Repository = Repository::parse(&format!("{domain}/any/any")).context(doing())?;
        let endpoint = self.origin(&any, Purpose::Resolve).context(doing())?;
        let scopes = ["registry:catalog:*".to_owned()];
        self.names(&endpoint, "/_catalog", &scopes, "repositories")
            .map_err(Error::from)
            .context(doing())
    }

    /// What refers to the image with that digest: signatures, attestations, and the like; of that type only, if one is given.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers> {
        let doing = || format!("failed to list what refers to {subject}");
        let endpoint = self.origin(repository, Purpose::Resolve)?;
        let scopes = [pull_scope(&endpoint)];
        let mut path = format!("/{}/referrers/{subject}", endpoint.repository);
        if let Some(wanted) = artifact_type {
            path.push_str(&format!("?artifactType={}", escape(wanted)));
        }
        let pages = self.pages(&endpoint, &path, &scopes, |page| {
            let index: Index = serde_json::from_slice(page).map_err(|e| Error::corrupt(e.to_string()))?;
            Ok(index.manifests.unwrap_or_default())
        });
        let (mut manifests, is_fallback) = match pages {
            Ok(manifests) => (manifests, false),
            Err(f) if matches!(f.cause, Cause::Status(400 | 404 | 405)) => {
                match self.manifest_from(repository, Which::Tag(&fallback_tag(subject)), Purpose::Resolve) {
                    Ok(fetched) => {
                        let index: Index = serde_json::from_slice(&fetched.bytes)
                            .map_err(|e| Error::corrupt(e.to_string()))
                            .context(doing())?;
                        (index.manifests.unwrap_or_default(), true)
                    }
                    Err(e) if e.kind() == Kind::NotFound => (Vec::new(), true),
                    Err(e) => return Err(e).context(doing()),
                }
            }
            Err(f) => return Err(denied_or(f, repository)).context(doing()),
        };
        // A registry may leave that to us.
        manifests.retain(|m| artifact_type.is_none_or(|t| m.artifact_type.as_deref() == Some(t)));
        Ok(Referrers {
            manifests,
            is_fallback,
        })
    }

    fn names(
        &self,
        endpoint: &Endpoint,
        path: &str,
        scopes: &[String],
        key: &str,
    ) -> Result<Vec<String>, Failure> {
        self.pages(endpoint, path, scopes, |page| {
            let mut value: Value = serde_json::from_slice(page).map_err(|e| Error::corrupt(e.to_string()))?;
            let names = value.get_mut(key).map(Value::take);
            let names = names.ok_or_else(|| Error::corrupt(format!("it has no {key}")))?;
            // Go writes an empty list as null.
            let names: Option<Vec<String>> =
                serde_json::from_value(names).map_err(|e| Error::corrupt(e.to_string()))?;
            Ok(names.unwrap_or_default())
        })
    }

    fn pages<T>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        scopes: &[String],
        read: impl Fn(&[u8]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        let mut seen: Vec<Url> = Vec::new();
        loop {
            let ask = Ask {
                target: seen.last().map_or(Target::Path(path), Target::Given),
                ..Ask::bare("GET", path, scopes)
            };
            let page = self.inner().session.whole(endpoint, &ask, PAGE_LIMIT, "list")?;
            let host = page.head.url.authority();
            let entries = read(&page.bytes)
                .map_err(|e| Failure::fatal(e.context(format!("{host} sent a malformed list"))))?;
            all.extend(entries);
            let Some(next) = next_page(&page.head).map_err(Failure::fatal)? else {
                return Ok(all);
            };
            if seen.contains(&next) || next == page.head.url {
                return Err(Failure::fatal(Error::corrupt(format!(
                    "{host} links the pages of a list in a circle"
                ))));
            }
            if all.len() > NAMES_LIMIT || seen.len() >= PAGES_LIMIT {
                return Err(Failure::fatal(Error::corrupt(format!(
                    "{host} sends a list without end"
                ))));
            }
            seen.push(next);
        }
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

/// `Link: </v2/x?n=1&last=y>; rel="next"` (RFC 5988).
fn next_page(head: &Head) -> Result<Option<Url>> {
    let Some(next) = head.header("link").and_then(parse_link) else {
        return Ok(None);
    };
    let url = head.url.join(next).context("failed to follow a list")?;
    if !url.is_same_origin(&head.url) {
        return Err(Error::of(
            Kind::Denied,
            format!(
                "{} links the next page of a list at {}; that is not followed",
                head.url.authority(),
                url.authority()
            ),
        ));
    }
    Ok(Some(url))
}

/// The address of the link that is called next.
pub(super) fn parse_link(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, others) = after.split_at(end);
        let is_next = parameters.split([';', ',']).any(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split(' ')
                    .any(|r| r.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read() {
        for (value, expected) in [
            (
                "</v2/_catalog?n=1&last=a>; rel=\"next\"",
                Some("/v2/_catalog?n=1&last=a"),
            ),
            ("<a>; rel=prev, <b,c>;rel=next", Some("b,c")),
            ("<a>; title=\"x\"; REL=\"prev next\"", Some("a")),
            ("<a>; rel=\"prev\"", None),
            ("<a", None),
            ("", None),
            ("<>", None),
        ] {
            assert_eq!(parse_link(value), expected, "{value}");
        }
    }
}
