//! Proving who we are: basic authentication, and tokens from the place that a registry names (distribution's token specification).
//!
//! Where credentials go:
//! - to the registry that they are stored for, in answer to its own challenge (never to a host that it redirected to, never to a
//!   `urls` entry of a descriptor: CVE-2020-15157);
//! - to the realm that this registry names, if the way there is no worse than the way to the registry: https, unless the registry
//!   itself is spoken to in the clear. What the realm redirects to gets none.
//!
//! May not: keep a token on disk, ask the user.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::errors;
use super::http::{Answer, Call, Failure, Http, Payload, Tls};
use super::url::{Url, escape};
use crate::credentials::Login;
use crate::{Error, Kind, Result};

/// What token servers know us by.
const CLIENT: &str = "brig";
/// What a server means that says nothing (distribution's specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used for the last tenth of its life, or the last ten seconds if that is less: it has to survive its way.
const MARGIN: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: u64 = 1 << 20;

/// How a registry wants to be spoken to, as far as it is known, and the tokens it gave.
#[derive(Default)]
pub(super) struct Auth {
    scheme: Option<Scheme>,
    tokens: HashMap<String, Token>,
}

#[derive(Clone, PartialEq)]
enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

struct Token {
    value: String,
    use_until: Instant,
}

/// What a 401 says.
pub(super) enum Learned {
    /// How to ask again, and perhaps for what.
    Something { scope: Option<String> },
    /// There is nothing that could be shown to this registry, or nothing more.
    Nothing,
}

/// What is needed to get an authorization.
pub(super) struct Asker<'a> {
    pub http: &'a Http,
    pub registry: &'a Url,
    pub tls: &'a Tls,
    pub login: Option<&'a Login>,
}

impl Auth {
    /// The value of Authorization for these scopes, where the registry is known to want one.
    pub fn authorization(&mut self, asker: &Asker<'_>, scopes: &[String]) -> Result<Option<String>, Failure> {
        match self.scheme.clone() {
            None => Ok(asker.login.and_then(registry_token)),
            Some(Scheme::Basic) => Ok(asker.login.and_then(basic)),
            Some(Scheme::Bearer { realm, service }) => {
                if let Some(fixed) = asker.login.and_then(registry_token) {
                    return Ok(Some(fixed));
                }
                let key = scopes.join(" ");
                let now = Instant::now();
                if let Some(token) = self.tokens.get(&key).filter(|t| t.use_until > now) {
                    return Ok(Some(format!("Bearer {}", token.value)));
                }
                let grant = asker.token(&realm, service.as_deref(), scopes, Offline::No)?;
                let value = format!("Bearer {}", grant.token);
                let token = Token {
                    value: grant.token,
                    use_until: now + grant.life - MARGIN.min(grant.life / 10),
                };
                self.tokens.insert(key, token);
                Ok(Some(value))
            }
        }
    }

    /// Learns from a 401.
    ///
    /// # Errors
    /// The registry wants secrets sent where they must not go.
    pub fn learn(&mut self, asker: &Asker<'_>, answer: &Answer, used: Option<&str>) -> Result<Learned> {
        let challenges = challenge::parse(answer.all("www-authenticate"));
        let bearer = challenges
            .iter()
            .find(|c| c.scheme == "bearer" && c.get("realm").is_some());
        let scheme = match bearer {
            Some(bearer) => bearer_scheme(asker.registry, bearer)?,
            None if challenges.iter().any(|c| c.scheme == "basic") => Scheme::Basic,
            None => return Ok(Learned::Nothing),
        };
        let is_refused = used.is_some_and(|u| u.starts_with("Basic "));
        if scheme == Scheme::Basic && (is_refused || asker.login.and_then(basic).is_none()) {
            return Ok(Learned::Nothing);
        }
        if let Some(used) = used.and_then(|u| u.strip_prefix("Bearer ")) {
            self.tokens.retain(|_, token| token.value != used);
        }
        self.scheme = Some(scheme);
        let scope = bearer.and_then(|b| b.get("scope"));
        Ok(Learned::Something {
            scope: scope.map(str::to_owned),
        })
    }

    /// For `login`: a token that can be kept in place of the password, where the registry gives such.
    pub fn identity(&self, asker: &Asker<'_>) -> Result<Option<String>, Failure> {
        match &self.scheme {
            Some(Scheme::Bearer { realm, service }) => {
                let grant = asker.token(realm, service.as_deref(), &[], Offline::Yes)?;
                Ok(grant.refresh)
            }
            _ => Ok(None),
        }
    }
}

fn bearer_scheme(registry: &Url, challenge: &Challenge) -> Result<Scheme> {
    let realm = challenge.get("realm").unwrap_or_default();
    let realm = Url::parse(realm).or_else(|_| registry.join(realm)).map_err(|e| {
        e.context("failed to read the registry's challenge")
            .kind_is(Kind::Denied)
    })?;
    if !realm.is_https && registry.is_https {
        return Err(Error::of(
            Kind::Denied,
            format!(
                "registry {} wants credentials sent to {realm}, in the clear; that is refused",
                registry.authority()
            ),
        ));
    }
    Ok(Scheme::Bearer {
        realm,
        service: challenge.get("service").map(str::to_owned),
    })
}

fn basic(login: &Login) -> Option<String> {
    match login {
        Login::Password { user, secret } => Some(basic_value(user, secret)),
        Login::Identity { .. } | Login::Registry { .. } => None,
    }
}

fn basic_value(user: &str, secret: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}")))
}

fn registry_token(login: &Login) -> Option<String> {
    match login {
        Login::Registry { token } => Some(format!("Bearer {token}")),
        _ => None,
    }
}

/// Whether a token to keep is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Offline {
    Yes,
    No,
}

/// What a token server gave.
struct Grant {
    token: String,
    life: Duration,
    refresh: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    issued_at: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Asker<'_> {
    fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        offline: Offline,
    ) -> Result<Grant, Failure> {
        if let Some(Login::Identity { token }) = self.login {
            let answer = self.post(realm, service, scopes, token)?;
            // Servers without OAuth2 have no such method, or no such path.
            if !matches!(answer.status, 404 | 405 | 501) {
                return read_grant(answer);
            }
        }
        read_grant(self.get(realm, service, scopes, offline)?)
    }

    fn get(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        offline: Offline,
    ) -> Result<Answer, Failure> {
        let mut url = realm.clone();
        if let Some(service) = service {
            url = url.with_query("service", service);
        }
        for scope in scopes {
            url = url.with_query("scope", scope);
        }
        let mut headers = Vec::new();
        match self.login {
            Some(Login::Password { user, secret }) => {
                url = url.with_query("account", user);
                headers.push(("authorization".to_owned(), basic_value(user, secret)));
            }
            Some(Login::Identity { token }) => {
                headers.push(("authorization".to_owned(), basic_value("<token>", token)));
            }
            Some(Login::Registry { .. }) | None => {}
        }
        if offline == Offline::Yes {
            url = url
                .with_query("client_id", CLIENT)
                .with_query("offline_token", "true");
        }
        self.ask("GET", realm, url, headers, Payload::Nothing)
    }

    fn post(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        identity: &str,
    ) -> Result<Answer, Failure> {
        let mut form = format!(
            "grant_type=refresh_token&client_id={CLIENT}&refresh_token={}",
            escape(identity)
        );
        if let Some(service) = service {
            form.push_str(&format!("&service={}", escape(service)));
        }
        if !scopes.is_empty() {
            form.push_str(&format!("&scope={}", escape(&scopes.join(" "))));
        }
        let headers = vec![(
            "content-type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        )];
        self.ask(
            "POST",
            realm,
            realm.clone(),
            headers,
            Payload::Bytes(form.as_bytes()),
        )
    }

    /// A realm at the registry's own place is trusted as the registry is; elsewhere the client certificate stays at home.
    fn ask(
        &self,
        method: &'static str,
        realm: &Url,
        url: Url,
        headers: Vec<(String, String)>,
        payload: Payload<'_>,
    ) -> Result<Answer, Failure> {
        let mut tls = self.tls.clone();
        if !realm.is_same_origin(self.registry) {
            tls.client = None;
            tls.skip_verify &= realm.host == self.registry.host;
        }
        let send = |url: &Url, headers: &[(String, String)]| {
            self.http.send(&Call {
                method,
                url,
                headers,
                payload,
                tls: &tls,
                connect_timeout: None,
            })
        };
        let answer = send(&url, &headers)?;
        if method == "GET" && matches!(answer.status, 301 | 302 | 307 | 308) {
            let target = answer.header("location").and_then(|l| url.join(l).ok());
            // One step, within the same origin: credentials go along, so nowhere else.
            if let Some(target) = target.filter(|t| t.is_same_origin(&url)) {
                return send(&target, &headers);
            }
        }
        Ok(answer)
    }
}

fn read_grant(answer: Answer) -> Result<Grant, Failure> {
    let host = answer.url.authority();
    let doing = format!("failed to get a token from {host}");
    if answer.status != 200 {
        return Err(errors::failure(answer).doing(&doing));
    }
    let bytes = answer.bytes(ANSWER_LIMIT, "token answer")?;
    let malformed = |e: String| Failure::fatal(Error::corrupt(format!("{doing}: {e}")));
    let granted: Granted = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    let given = granted
        .access_token
        .filter(|t| !t.is_empty())
        .or(granted.token.filter(|t| !t.is_empty()));
    let Some(token) = given else {
        return Err(malformed("answer holds no token".to_owned()));
    };
    // It becomes part of a header.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed("answer holds a token with odd characters".to_owned()));
    }
    let seconds = granted.expires_in.filter(|s| s.is_finite()).unwrap_or(0.0);
    let life = Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)).max(DEFAULT_LIFE);
    Ok(Grant {
        token,
        life: life - age(granted.issued_at.as_deref(), life),
        refresh: granted.refresh_token.filter(|t| !t.is_empty()),
    })
}

/// How old a token was when it came. A clock that is wrong by more than its life says nothing about it; the 401 will.
fn age(issued_at: Option<&str>, life: Duration) -> Duration {
    let issued = issued_at
        .and_then(parse_rfc3339)
        .map(|s| UNIX_EPOCH + Duration::from_secs(s));
    let age = issued.and_then(|at| SystemTime::now().duration_since(at).ok());
    age.filter(|a| *a < life).unwrap_or_default()
}

/// `2026-11-28T00:38:42.1Z` as seconds since 1970; other offsets are not used by token servers.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    if text.get(10..11) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(719_469)?;
    Some(days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_rfc3339("1994-11-06T08:49:37Z"), Some(784_111_777));
        assert_eq!(parse_rfc3339("1994-11-06T08:49:37.123456789Z"), Some(784_111_777));
        for text in [
            "",
            "1994-11-06",
            "1994-11-06T08:49:37+01:00",
            "1994-13-06T08:49:37Z",
            "éééééTZ",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_clock_says_nothing() {
        let life = Duration::from_secs(60);
        assert_eq!(age(Some("1994-11-06T08:49:37Z"), life), Duration::ZERO);
        assert_eq!(age(Some("9994-11-06T08:49:37Z"), life), Duration::ZERO);
        assert_eq!(age(None, life), Duration::ZERO);
    }

    #[test]
    fn a_realm_in_the_clear_is_for_registries_in_the_clear() {
        let challenge = &challenge::parse([r#"Bearer realm="http://evil/token""#].into_iter())[0];
        let secure = Url::parse("https://registry/v2").unwrap();
        assert!(bearer_scheme(&secure, challenge).is_err());
        let plain = Url::parse("http://registry/v2").unwrap();
        assert!(bearer_scheme(&plain, challenge).is_ok());
    }
}
