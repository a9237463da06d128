//! Requests to registries: authorization, redirects, another attempt after what passes.
//!
//! May not: know what an image is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::auth::{Asker, Auth, Learned};
use super::cancel::Cancel;
use super::errors;
use super::hosts::{Endpoint, Plain};
use super::http::{Answer, Call, Cause, Failure, Http, Payload, Tls, is_passing};
use super::retry::{Attempts, Patience};
use super::url::Url;
use super::{Notice, Notify};
use crate::credentials::{Credentials, Login};
use crate::{Error, Kind};

const REDIRECTS: usize = 10;
/// For TLS on a connection to a host that may not speak it. One that neither answers nor hangs up is taken for one that does not.
const PROBE: Duration = Duration::from_secs(10);

/// What all requests of a client share.
pub(super) struct Session {
    pub http: Http,
    pub credentials: Credentials,
    pub patience: Patience,
    pub cancel: Cancel,
    pub notify: Notify,
    /// Of the user, for every registry.
    pub headers: Vec<(String, String)>,
    states: Mutex<HashMap<Url, Arc<State>>>,
}

/// What was learned about one endpoint.
#[derive(Default)]
struct State {
    auth: Mutex<Auth>,
    /// By repository: each may have its own.
    logins: Mutex<HashMap<String, Arc<Option<Login>>>>,
    /// Whether it is spoken to in the clear, where both were allowed.
    is_plain: OnceLock<bool>,
    is_dead: AtomicBool,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// Below the endpoint's base.
    Path(&'a str),
    /// Where the endpoint itself sent us: a Location, a Link.
    Given(&'a Url),
}

/// One request to an endpoint.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub method: &'static str,
    pub target: Target<'a>,
    pub headers: &'a [(&'a str, &'a str)],
    pub payload: Payload<'a>,
    pub scopes: &'a [String],
}

impl<'a> Ask<'a> {
    /// GET, HEAD or DELETE.
    pub fn bare(method: &'static str, path: &'a str, scopes: &'a [String]) -> Ask<'a> {
        Ask {
            method,
            target: Target::Path(path),
            headers: &[],
            payload: Payload::Nothing,
            scopes,
        }
    }
}

/// An answer with its body.
pub(super) struct Whole {
    pub head: Head,
    pub bytes: Vec<u8>,
}

/// What is left of an answer when the body is gone.
pub(super) struct Head {
    pub headers: ureq::http::HeaderMap,
    pub media_type: String,
    pub url: Url,
}

impl Head {
    /// The first value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Session {
    pub fn new(
        http: Http,
        credentials: Credentials,
        patience: Patience,
        cancel: Cancel,
        notify: Notify,
    ) -> Session {
        Session {
            http,
            credentials,
            patience,
            cancel,
            notify,
            headers: Vec::new(),
            states: Mutex::default(),
        }
    }

    /// An endpoint that is not asked again in this run.
    pub fn give_up_on(&self, endpoint: &Endpoint) {
        self.state(endpoint).is_dead.store(true, Ordering::Relaxed);
    }

    pub fn has_given_up_on(&self, endpoint: &Endpoint) -> bool {
        self.state(endpoint).is_dead.load(Ordering::Relaxed)
    }

    /// An answer below 400, and its whole body. A body that breaks off is asked for again.
    pub fn whole(&self, endpoint: &Endpoint, ask: &Ask<'_>, limit: u64, of: &str) -> Result<Whole, Failure> {
        let mut attempts = Attempts::new(self.patience);
        loop {
            let answer = self.good(endpoint, ask)?;
            let head = Head {
                media_type: answer.media_type(),
                url: answer.url.clone(),
                headers: answer.headers.clone(),
            };
            match answer.bytes(limit, of) {
                Ok(bytes) => return Ok(Whole { head, bytes }),
                Err(failure) => self.pause(&mut attempts, failure, &head.url)?,
            }
        }
    }

    /// An answer below 400.
    pub fn good(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let answer = self.ask(endpoint, ask)?;
        if answer.status >= 400 {
            Err(errors::failure(answer))
        } else {
            Ok(answer)
        }
    }

    /// An answer. What passes (429, 5xx, broken connections) has been tried again; other refusals are answers.
    pub fn ask(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let mut attempts = Attempts::new(self.patience);
        loop {
            match self.ask_once(endpoint, ask) {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.pause(&mut attempts, failure, &endpoint.base)?,
            }
        }
    }

    /// One attempt. What passes is a failure, other refusals are answers.
    pub fn ask_once(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let state = self.state(endpoint);
        let base = self.base(endpoint, &state)?;
        let answer = self.authorized(endpoint, &state, &base, ask)?;
        if is_passing(answer.status) {
            return Err(errors::failure(answer));
        }
        self.tell_warnings(&answer);
        Ok(answer)
    }

    /// Waits before the next attempt after a failure, or returns it if there is none.
    pub fn pause(&self, attempts: &mut Attempts, failure: Failure, url: &Url) -> Result<(), Failure> {
        if !failure.is_passing() {
            return Err(failure);
        }
        match attempts.next(failure.wait) {
            Some(wait) => self.wait(wait, &failure, url),
            None => Err(spent(failure)),
        }
    }

    fn wait(&self, wait: Duration, failure: &Failure, url: &Url) -> Result<(), Failure> {
        (self.notify)(Notice::Retrying {
            host: url.authority(),
            reason: failure.error.to_string(),
            wait,
        });
        self.cancel.wait(wait).map_err(Failure::fatal)
    }

    /// The base address to use: where https and http are both allowed, https if it is spoken there.
    fn base(&self, endpoint: &Endpoint, state: &State) -> Result<Url, Failure> {
        let plain = Url {
            is_https: false,
            // The port that was not written is that of the scheme.
            port: if endpoint.base.port == 443 {
                80
            } else {
                endpoint.base.port
            },
            ..endpoint.base.clone()
        };
        match endpoint.plain {
            Plain::Never => Ok(endpoint.base.clone()),
            Plain::Fallback => {
                if let Some(is_plain) = state.is_plain.get() {
                    return Ok(if *is_plain { plain } else { endpoint.base.clone() });
                }
                let probe = self.http.send(&Call {
                    method: "GET",
                    url: &endpoint.base.at(&format!("{}/", endpoint.base.path)),
                    headers: &[],
                    payload: Payload::Nothing,
                    tls: &endpoint.tls,
                    connect_timeout: Some(endpoint.dial_timeout.unwrap_or(PROBE)),
                });
                let is_plain = match probe {
                    Ok(_) => false,
                    // Proxies allow tunnels to few ports.
                    Err(f)
                        if matches!(
                            f.cause,
                            Cause::NotTls | Cause::Connect | Cause::Broken | Cause::Proxy
                        ) =>
                    {
                        true
                    }
                    Err(f) => return Err(f),
                };
                Ok(if *state.is_plain.get_or_init(|| is_plain) {
                    plain
                } else {
                    endpoint.base.clone()
                })
            }
        }
    }

    /// One attempt, two or three if the registry wants to know who we are.
    fn authorized(
        &self,
        endpoint: &Endpoint,
        state: &State,
        base: &Url,
        ask: &Ask<'_>,
    ) -> Result<Answer, Failure> {
        let login = self.login(endpoint, state).map_err(Failure::fatal)?;
        let asker = Asker {
            http: &self.http,
            registry: base,
            tls: &endpoint.tls,
            login: (*login).as_ref(),
        };
        let mut url = match ask.target {
            Target::Path(path) => base.at(&format!("{}{path}", base.path)),
            Target::Given(url) => at_home(url, base),
        };
        if let (Some(namespace), Target::Path(_)) = (&endpoint.namespace, ask.target) {
            url = url.with_query("ns", namespace);
        }
        let mut scopes = ask.scopes.to_vec();
        for round in 0.. {
            let used = {
                // Held while a token is fetched: threads that need the same one wait for it.
                let mut auth = state.auth.lock().unwrap_or_else(PoisonError::into_inner);
                auth.authorization(&asker, &scopes)?
            };
            let (answer, is_home) = self.redirected(endpoint, base, &url, ask, used.as_deref())?;
            if answer.status != 401 || !is_home || endpoint.is_stranger || round == 2 {
                return Ok(answer);
            }
            let learned = {
                let mut auth = state.auth.lock().unwrap_or_else(PoisonError::into_inner);
                auth.learn(&asker, &answer, used.as_deref())
                    .map_err(Failure::fatal)?
            };
            let Learned::Something { scope: named } = learned else {
                // In the registry's own words.
                return Ok(answer);
            };
            if let Some(named) = named.filter(|n| scopes.is_empty() || (round == 1 && !scopes.contains(n))) {
                scopes.push(named);
            }
        }
        Err(Failure::fatal(errors::unauthorized(login.is_some())))
    }

    /// What is shown to the registry for this repository, looked up once.
    fn login(&self, endpoint: &Endpoint, state: &State) -> Result<Arc<Option<Login>>, Error> {
        // Held meanwhile: a helper may ask the user for something, and once is enough.
        let mut logins = state.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = logins.get(&endpoint.repository) {
            return Ok(known.clone());
        }
        let found = if endpoint.is_stranger {
            None
        } else {
            self.credentials
                .find_for(&endpoint.domain(), &endpoint.repository)?
        };
        let found = Arc::new(found);
        logins.insert(endpoint.repository.clone(), found.clone());
        Ok(found)
    }

    /// The answer behind redirects, and whether it comes from the registry itself.
    fn redirected(
        &self,
        endpoint: &Endpoint,
        base: &Url,
        url: &Url,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<(Answer, bool), Failure> {
        let mut url = url.clone();
        let away = Tls {
            client: None,
            ..endpoint.tls.clone()
        };
        for _ in 0..=REDIRECTS {
            let is_home = url.is_same_origin(base);
            let mut headers: Vec<(String, String)> = ask
                .headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            if is_home {
                // Headers of hosts.toml and of the user may be secrets as well; what the file says of this host counts.
                let is_said = |name: &str| {
                    let mut said = endpoint.headers.iter();
                    said.any(|(other, _)| other.eq_ignore_ascii_case(name))
                };
                if !endpoint.is_stranger {
                    headers.extend(self.headers.iter().filter(|(name, _)| !is_said(name)).cloned());
                }
                headers.extend(endpoint.headers.iter().cloned());
                headers.extend(authorization.map(|a| ("authorization".to_owned(), a.to_owned())));
            }
            let answer = self.http.send(&Call {
                method: ask.method,
                url: &url,
                headers: &headers,
                payload: ask.payload,
                tls: if is_home { &endpoint.tls } else { &away },
                connect_timeout: endpoint.dial_timeout.filter(|_| is_home),
            })?;
            let is_redirect = match answer.status {
                307 | 308 => true,
                301..=303 => matches!(ask.method, "GET" | "HEAD"),
                _ => false,
            };
            if !is_redirect {
                return Ok((answer, is_home));
            }
            url = next_hop(&answer).map_err(Failure::fatal)?;
        }
        Err(Failure::fatal(Error::of(
            Kind::Unavailable,
            format!("{} redirects more than {REDIRECTS} times", base.authority()),
        )))
    }

    fn tell_warnings(&self, answer: &Answer) {
        for value in answer.all("warning") {
            if let Some(text) = parse_warning(value) {
                (self.notify)(Notice::Warning {
                    host: answer.url.authority(),
                    text,
                });
            }
        }
    }

    fn state(&self, endpoint: &Endpoint) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.entry(endpoint.base.clone()).or_default().clone()
    }

    /// For `login`: a token to keep, after a request that succeeded.
    pub fn identity(&self, endpoint: &Endpoint, login: &Login) -> Result<Option<String>, Failure> {
        let state = self.state(endpoint);
        let base = self.base(endpoint, &state)?;
        let asker = Asker {
            http: &self.http,
            registry: &base,
            tls: &endpoint.tls,
            login: Some(login),
        };
        let auth = state.auth.lock().unwrap_or_else(PoisonError::into_inner);
        auth.identity(&asker)
    }
}

fn spent(failure: Failure) -> Failure {
    Failure {
        is_spent: true,
        ..failure
    }
}

/// A registry behind a proxy that ends TLS often believes that it is spoken to in the clear, and says so in its Locations.
fn at_home(given: &Url, base: &Url) -> Url {
    let is_mistaken = base.is_https && !given.is_https && given.host == base.host;
    if is_mistaken && (given.port == 80 || given.port == base.port) {
        return Url {
            path: given.path.clone(),
            ..base.clone()
        };
    }
    given.clone()
}

fn next_hop(answer: &Answer) -> Result<Url, Error> {
    let from = answer.url.authority();
    let Some(location) = answer.header("location") else {
        return Err(Error::of(
            Kind::Unavailable,
            format!("{from} redirects to nowhere"),
        ));
    };
    let next = answer
        .url
        .join(location)
        .map_err(|e| e.context(format!("{from} redirects")))?;
    if answer.url.is_https && !next.is_https {
        return Err(Error::of(
            Kind::Denied,
            format!(
                "{from} redirects from https to {}, in the clear; that is refused",
                next.authority()
            ),
        ));
    }
    Ok(next)
}

/// `299 - "text"` (distribution specification, "Warnings"); other codes say nothing to users.
pub(super) fn parse_warning(value: &str) -> Option<String> {
    let text = value.strip_prefix("299 - \"")?;
    let text = text
        .rsplit_once('"')?
        .0
        .replace("\\\"", "\"")
        .replace("\\\\", "\\");
    Some(
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1000)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ureq::http::HeaderValue;
    use ureq::http::header::LOCATION;

    #[test]
    fn a_location_in_the_clear_of_the_same_host_is_a_mistake() {
        let base = Url::parse("https://h.io/v2").unwrap();
        for (given, expected) in [
            ("http://h.io/v2/x?y", "https://h.io/v2/x?y"),
            ("http://h.io:443/v2/x", "https://h.io/v2/x"),
            ("http://h.io:81/v2/x", "http://h.io:81/v2/x"),
            ("http://other/v2/x", "http://other/v2/x"),
            ("https://other/v2/x", "https://other/v2/x"),
        ] {
            assert_eq!(at_home(&Url::parse(given).unwrap(), &base).to_string(), expected);
        }
    }

    #[test]
    fn nothing_leads_from_https_to_http() {
        let answer = |from: &str, location: &str| Answer {
            status: 307,
            headers: [(LOCATION, HeaderValue::from_str(location).unwrap())]
                .into_iter()
                .collect(),
            body: ureq::Body::builder().data(""),
            url: Url::parse(from).unwrap(),
        };
        for (from, location, expected) in [
            ("https://a/v2/x", "https://b/y", Some("https://b/y")),
            ("https://a/v2/x", "/y", Some("https://a/y")),
            ("http://a/v2/x", "https://b/y", Some("https://b/y")),
            ("http://a/v2/x", "http://b/y", Some("http://b/y")),
            ("https://a/v2/x", "http://b/y", None),
            ("https://a/v2/x", "http://a/y", None),
            ("https://a/v2/x", "ftp://a/y", None),
        ] {
            let next = next_hop(&answer(from, location)).map(|url| url.to_string());
            assert_eq!(next.as_deref().ok(), expected, "{from} {location}");
        }
    }

    #[test]
    fn warnings_are_read() {
        assert_eq!(
            parse_warning(r#"299 - "Your \"tag\" is old""#).as_deref(),
            Some(r#"Your "tag" is old"#)
        );
        for other in ["", "199 - \"x\"", "299 - \"", "299 h \"x\""] {
            assert_eq!(parse_warning(other), None, "{other}");
        }
    }
}
