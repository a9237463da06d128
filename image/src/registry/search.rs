//! Searching for images (`/v1/search`, which only Docker Hub and few others have), and trying a login.
//!
//! May not: filter or print.

use serde::Deserialize;

use super::client::Client;
use super::errors;
use super::hosts::{Endpoint, Purpose};
use super::http::{Cause, Failure};
use super::session::{Ask, Target};
use super::url::{Url, escape};
use crate::credentials::Login;
use crate::reference::{DEFAULT_DOMAIN, Repository};
use crate::{Context, Error, Kind, Result};

/// The host that answers searches for docker.io.
const HUB_INDEX: &str = "index.docker.io";
const ANSWER_LIMIT: u64 = 8 << 20;

/// An image that was found.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Found {
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Option<Vec<Found>>,
}

fn nullable<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

impl Client {
    /// Images that match a term, at most so many. `domain` as in references.
    ///
    /// # Errors
    /// `Unsupported` where the registry has no search; as [`Client::manifest`].
    pub fn search(&self, domain: &str, term: &str, limit: u32) -> Result<Vec<Found>> {
        let doing = || format!("failed to search {domain} for {term:?}");
        let mut endpoint = self.endpoint_of(domain).context(doing())?;
        if domain == DEFAULT_DOMAIN {
            // No credentials go there: the search of Docker Hub has none.
            endpoint.base = Url::parse(&format!("https://{HUB_INDEX}"))?;
            endpoint.is_stranger = true;
        }
        endpoint.base.path.clear();
        let path = format!("/v1/search?q={}&n={limit}", escape(term));
        let ask = Ask {
            target: Target::Path(&path),
            headers: &[("accept", "application/json")],
            ..Ask::bare("GET", "", &[])
        };
        let answer = self
            .inner()
            .session
            .whole(&endpoint, &ask, ANSWER_LIMIT, "search");
        let answer = answer.map_err(|f| match f.cause {
            Cause::Status(404 | 405) => Error::of(Kind::Unsupported, "this registry has no search"),
            _ => f.error,
        });
        let results: Results = serde_json::from_slice(&answer.context(doing())?.bytes)
            .map_err(|e| Error::corrupt(format!("answer is malformed: {e}")))
            .context(doing())?;
        Ok(results.results.unwrap_or_default())
    }

    /// Shows the credentials that this client was made with ([`crate::credentials::Credentials::fixed`]) to a registry. Where the
    /// registry gives an identity token for a password, that is what should be kept.
    ///
    /// # Errors
    /// `Denied`: they are not good; as [`Client::manifest`].
    pub fn try_login(&self, domain: &str) -> Result<Option<Login>> {
        let doing = || format!("failed to log in to {domain}");
        let endpoint = self.endpoint_of(domain).context(doing())?;
        let session = &self.inner().session;
        let answer = session
            .ask(&endpoint, &Ask::bare("GET", "/", &[]))
            .map_err(Error::from)
            .context(doing())?;
        match answer.status {
            200..=299 => {}
            _ => return Err(Error::from(errors::failure(answer))).context(doing()),
        }
        let login = session.credentials.find(&endpoint.domain())?;
        match login {
            Some(login @ Login::Password { .. }) => {
                let identity = session
                    .identity(&endpoint, &login)
                    .map_err(|f: Failure| f.error)
                    .context(doing())?;
                Ok(identity.map(|token| Login::Identity { token }))
            }
            _ => Ok(None),
        }
    }

    fn endpoint_of(&self, domain: &str) -> Result<Endpoint> {
        let any = Repository::parse(&format!("{domain}/any/any"))?;
        self.origin(&any, Purpose::Resolve)
    }
}
