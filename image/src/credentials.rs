//! Credentials for registries, where docker and podman keep them, so that whoever has logged in with one of them has logged in here.
//!
//! ```text
//! read, the first that knows the registry counts        written
//!   DOCKER_AUTH_CONFIG (a whole document)
//!   $DOCKER_CONFIG/config.json or ~/.docker/config.json   this one, by `login` and `logout`
//!   $REGISTRY_AUTH_FILE
//!   $XDG_RUNTIME_DIR/containers/auth.json
//! ```
//! In each: `credHelpers[registry]`, then `credsStore`, then `auths`.
//!
//! May not: print a secret, also not in an error.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Context, Error, Kind, Result};

/// What docker calls its Hub in files of credentials.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which helpers mark an identity token.
const IDENTITY_USER: &str = "<token>";
const FILE_LIMIT: u64 = 8 << 20;
/// Read of what a helper answers. A list of logins is the longest.
const ANSWER_LIMIT: u64 = 8 << 20;

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        secret: String,
    },
    /// Is exchanged for tokens of access (OAuth2 refresh token).
    Identity {
        token: String,
    },
    /// Is a token of access itself.
    Registry {
        token: String,
    },
}

impl Login {
    /// The name, where there is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Login::Password { user, .. } => Some(user),
            Login::Identity { .. } | Login::Registry { .. } => None,
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Password",
            Login::Identity { .. } => "Identity",
            Login::Registry { .. } => "Registry",
        })
    }
}

/// Where credentials are found.
#[derive(Clone, Default, Debug)]
pub struct Credentials {
    fixed: Option<Login>,
    /// A document that came with the environment.
    given: Option<String>,
    /// What login writes.
    own: Option<PathBuf>,
    /// Read after that.
    others: Vec<PathBuf>,
    /// Where helpers are looked for instead of $PATH.
    helper_path: Option<PathBuf>,
}

/// Where a login went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In this file, readable by whoever can read the file.
    File(PathBuf),
    /// With this helper.
    Helper(String),
}

impl Credentials {
    /// Nobody's.
    pub fn none() -> Credentials {
        Credentials::default()
    }

    /// This one, for whatever registry is asked.
    pub fn fixed(login: Login) -> Credentials {
        Credentials {
            fixed: Some(login),
            ..Credentials::default()
        }
    }

    /// The files of this user. `variable` reads the environment.
    pub fn of_user(variable: impl Fn(&str) -> Option<String>) -> Credentials {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty());
        let directory = set("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&set("HOME")?).join(".docker")));
        let podman = [
            set("REGISTRY_AUTH_FILE").map(PathBuf::from),
            set("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("containers/auth.json")),
        ];
        Credentials {
            fixed: None,
            given: set("DOCKER_AUTH_CONFIG"),
            own: directory.map(|d| d.join("config.json")),
            others: podman.into_iter().flatten().collect(),
            helper_path: None,
        }
    }

    /// This file only.
    pub fn in_file(file: impl Into<PathBuf>) -> Credentials {
        Credentials {
            own: Some(file.into()),
            ..Credentials::default()
        }
    }

    /// Looks for helpers in that directory only.
    #[must_use]
    pub fn with_helpers_in(mut self, directory: impl Into<PathBuf>) -> Credentials {
        self.helper_path = Some(directory.into());
        self
    }

    /// What is known for a registry, by its domain (`docker.io`, `host:5000`).
    ///
    /// # Errors
    /// A file or a helper is broken. To go on without would tell the user that an image does not exist.
    pub fn find(&self, domain: &str) -> Result<Option<Login>> {
        self.find_for(domain, "")
    }

    /// The same for one repository of it: an entry for a part of the registry (`host/team`), as podman has them, counts before one for
    /// the whole, and of several the longest.
    ///
    /// # Errors
    /// As [`Credentials::find`].
    pub fn find_for(&self, domain: &str, repository: &str) -> Result<Option<Login>> {
        if let Some(fixed) = &self.fixed {
            return Ok(Some(fixed.clone()));
        }
        let keys = Keys {
            parts: parts_of(domain, repository),
            whole: keys_of(domain),
        };
        if let Some(given) = &self.given {
            let document: Document = serde_json::from_str(given)
                .map_err(|e| Error::invalid(format!("DOCKER_AUTH_CONFIG is malformed: {e}")))?;
            if let Some(login) = self.in_document(&document, &keys)? {
                return Ok(Some(login));
            }
        }
        for file in self.own.iter().chain(&self.others) {
            let Some(document) = read(file)? else { continue };
            let document: Document = serde_json::from_value(Value::Object(document))
                .map_err(|e| Error::invalid(format!("{} is malformed: {e}", file.display())))?;
            if let Some(login) = self.in_document(&document, &keys)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// Keeps a login for a registry: with a helper, where one is configured, else in the file.
    ///
    /// # Errors
    /// There is no file to write to; of the helper or the file system.
    pub fn store(&self, domain: &str, login: &Login) -> Result<Stored> {
        let key = first_key(domain);
        let own = self.own()?;
        let mut document = read(own)?.unwrap_or_default();
        if let Some(helper) = helper_of(&document, &key) {
            let (user, secret) = match login {
                Login::Password { user, secret } => (user.as_str(), secret.as_str()),
                Login::Identity { token } | Login::Registry { token } => (IDENTITY_USER, token.as_str()),
            };
            let entry = Entry {
                server: key.clone(),
                user: user.to_owned(),
                secret: secret.to_owned(),
            };
            let input = serde_json::to_string(&entry).map_err(|e| Error::new(e.to_string()))?;
            self.ask_helper(&helper, "store", &input)?;
            // docker notes that there is one, without a secret.
            set(&mut document, &key, Value::Object(Map::new()));
            write(own, &document)?;
            return Ok(Stored::Helper(helper));
        }
        let value = match login {
            Login::Password { user, secret } => {
                serde_json::json!({ "auth": BASE64_STANDARD.encode(format!("{user}:{secret}")) })
            }
            // docker keeps the name beside it, and reads files without one as well.
            Login::Identity { token } => {
                serde_json::json!({ "auth": BASE64_STANDARD.encode(format!("{IDENTITY_USER}:")), "identitytoken": token })
            }
            Login::Registry { token } => serde_json::json!({ "registrytoken": token }),
        };
        set(&mut document, &key, value);
        write(own, &document)?;
        Ok(Stored::File(own.to_owned()))
    }

    /// Forgets the login for a registry, under all its names. Says whether there was one.
    ///
    /// # Errors
    /// Of the helper or the file system.
    pub fn erase(&self, domain: &str) -> Result<bool> {
        let own = self.own()?;
        let mut document = read(own)?.unwrap_or_default();
        let mut was_there = false;
        for key in keys_of(domain) {
            let Some(helper) = helper_of(&document, &key) else {
                continue;
            };
            if self.get_from_helper(&helper, &key)?.is_some() {
                self.ask_helper(&helper, "erase", &key)?;
                was_there = true;
            }
        }
        let mut has_changed = false;
        if let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) {
            for key in keys_of(domain) {
                // `remove` would move the last key to its place.
                has_changed |= auths.shift_remove(&key).is_some();
            }
        }
        if has_changed {
            write(own, &document)?;
        }
        Ok(was_there || has_changed)
    }

    /// The registries that there is a login for, by the keys of the files, with the name of the user where it is known.
    ///
    /// # Errors
    /// A file or a helper is broken.
    pub fn list(&self) -> Result<Vec<(String, Option<String>)>> {
        let mut found = Vec::new();
        for file in self.own.iter().chain(&self.others) {
            let Some(document) = read(file)? else { continue };
            if let Some(helper) = document
                .get("credsStore")
                .and_then(Value::as_str)
                .filter(|h| !h.is_empty())
            {
                let answer = self.ask_helper(helper, "list", "")?;
                let entries: Map<String, Value> = serde_json::from_str(&answer).map_err(|e| {
                    Error::invalid(format!("docker-credential-{helper} answers malformed JSON: {e}"))
                })?;
                found.extend(
                    entries
                        .into_iter()
                        .map(|(key, user)| (key, user.as_str().map(str::to_owned))),
                );
            }
            let document: Document = serde_json::from_value(Value::Object(document))
                .map_err(|e| Error::invalid(format!("{} is malformed: {e}", file.display())))?;
            for (key, auth) in document.auths.unwrap_or_default() {
                if !found.iter().any(|(k, _)| *k == key) {
                    let user = auth
                        .and_then(|auth| auth.login().ok().flatten())
                        .and_then(|l| l.user().map(str::to_owned));
                    found.push((key, user));
                }
            }
        }
        Ok(found)
    }

    fn own(&self) -> Result<&Path> {
        let own = self.own.as_deref();
        own.ok_or_else(|| {
            Error::invalid("no file for credentials is known: neither DOCKER_CONFIG nor HOME is set")
        })
    }

    fn in_document(&self, document: &Document, keys: &Keys) -> Result<Option<Login>> {
        let auths = document.auths.as_ref();
        let in_auths = |keys: &[String]| -> Result<Option<Login>> {
            for key in keys {
                if let Some(Some(auth)) = auths.and_then(|a| a.get(key))
                    && let Some(login) = auth
                        .login()
                        .context(format!("failed to read the credentials for {key}"))?
                {
                    return Ok(Some(login));
                }
            }
            Ok(None)
        };
        // Helpers know whole registries only, so whoever wrote a part down means it.
        if let Some(login) = in_auths(&keys.parts)? {
            return Ok(Some(login));
        }
        let helpers = document.helpers.as_ref();
        for key in &keys.whole {
            let own = helpers.and_then(|h| h.get(key)).and_then(Value::as_str);
            if let Some(helper) = own.filter(|h| !h.is_empty()) {
                return self.get_from_helper(helper, key);
            }
        }
        if let Some(store) = document.store.as_deref().filter(|s| !s.is_empty()) {
            for key in &keys.whole {
                if let Some(login) = self.get_from_helper(store, key)? {
                    return Ok(Some(login));
                }
            }
        }
        in_auths(&keys.whole)
    }

    fn get_from_helper(&self, helper: &str, key: &str) -> Result<Option<Login>> {
        let answer = match self.ask_helper(helper, "get", key) {
            Ok(answer) => answer,
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // The error of serde would show what it stumbled over.
        let entry: Entry = serde_json::from_str(&answer)
            .map_err(|_| Error::invalid(format!("docker-credential-{helper} answers malformed JSON")))?;
        Ok(Some(if entry.user == IDENTITY_USER {
            Login::Identity { token: entry.secret }
        } else {
            Login::Password {
                user: entry.user,
                secret: entry.secret,
            }
        }))
    }

    /// The protocol of docker-credential-helpers: one verb, the input on stdin, JSON on stdout; errors are words on stdout.
    fn ask_helper(&self, helper: &str, verb: &str, input: &str) -> Result<String> {
        if helper.contains('/') {
            return Err(Error::invalid(format!(
                "{helper:?} is no name of a credential helper"
            )));
        }
        let name = format!("docker-credential-{helper}");
        let program = match &self.helper_path {
            Some(directory) => directory.join(&name),
            None => PathBuf::from(&name),
        };
        let doing = || format!("failed to run {name} {verb}");
        // It may ask the user for something on the terminal, so it has no time limit.
        let mut child = Command::new(&program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => Error::invalid("it is not installed"),
                _ => e.into(),
            })
            .context(doing())?;
        let sent = child
            .stdin
            .take()
            .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout
                .take(ANSWER_LIMIT + 1)
                .read_to_end(&mut said)
                .context(doing())?;
        }
        if said.len() as u64 > ANSWER_LIMIT {
            // It may have ended meanwhile.
            let _ = child.kill();
            child.wait().context(doing())?;
            return Err(Error::invalid(format!(
                "{name} {verb} answers more than {ANSWER_LIMIT} bytes"
            )));
        }
        let status = child.wait().context(doing())?;
        // One that ends before it has read all is judged by how it ended.
        if status.success()
            && sent
                .as_ref()
                .is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe)
        {
            sent.context(doing())?;
        }
        let text = String::from_utf8_lossy(&said).trim().to_owned();
        if status.success() {
            return Ok(text);
        }
        if text.contains("credentials not found") {
            return Err(Error::not_found(text));
        }
        let words = if text.is_empty() { status.to_string() } else { text };
        Err(Error::new(words)).context(doing())
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: Option<std::collections::BTreeMap<String, Option<Auth>>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<Map<String, Value>>,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Auth {
    fn login(&self) -> Result<Option<Login>> {
        let filled = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Login::Identity { token }));
        }
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Login::Registry { token }));
        }
        if let Some(auth) = filled(&self.auth) {
            let malformed = || Error::invalid("malformed \"auth\": it is not base64 of NAME:SECRET");
            let decoded = BASE64_STANDARD.decode(auth.trim()).map_err(|_| malformed())?;
            let text = String::from_utf8(decoded).map_err(|_| malformed())?;
            let (user, secret) = text.split_once(':').ok_or_else(malformed)?;
            return Ok(Some(Login::Password {
                user: user.to_owned(),
                secret: secret.trim_end_matches('\0').to_owned(),
            }));
        }
        match (filled(&self.username), filled(&self.password)) {
            (Some(user), Some(secret)) => Ok(Some(Login::Password { user, secret })),
            _ => Ok(None),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What a repository's credentials may be kept under.
struct Keys {
    /// Of parts of the registry, the longest first.
    parts: Vec<String>,
    whole: Vec<String>,
}

/// `host/team/app`, `host/team`.
fn parts_of(domain: &str, repository: &str) -> Vec<String> {
    let host = if is_hub(domain) { "docker.io" } else { domain };
    let mut parts = Vec::new();
    let mut rest = repository;
    while !rest.is_empty() {
        parts.push(format!("{host}/{rest}"));
        rest = rest.rsplit_once('/').map_or("", |(shorter, _)| shorter);
    }
    parts
}

fn is_hub(domain: &str) -> bool {
    matches!(domain, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// The key that login writes.
fn first_key(domain: &str) -> String {
    keys_of(domain).swap_remove(0)
}

/// The names under which files know a registry, the usual one first.
fn keys_of(domain: &str) -> Vec<String> {
    if is_hub(domain) {
        return [
            HUB_KEY,
            "index.docker.io",
            "docker.io",
            "registry-1.docker.io",
            "https://index.docker.io/v2/",
        ]
        .map(str::to_owned)
        .to_vec();
    }
    let mut keys = vec![domain.to_owned(), format!("{domain}/")];
    for scheme in ["https", "http"] {
        for path in ["", "/", "/v1/", "/v2/", "/v1", "/v2"] {
            keys.push(format!("{scheme}://{domain}{path}"));
        }
    }
    keys
}

fn helper_of(document: &Map<String, Value>, key: &str) -> Option<String> {
    let own = document.get("credHelpers").and_then(|h| h.get(key));
    let helper = own
        .or_else(|| document.get("credsStore"))
        .and_then(Value::as_str)?;
    Some(helper.to_owned()).filter(|h| !h.is_empty())
}

fn set(document: &mut Map<String, Value>, key: &str, value: Value) {
    let auths = document
        .entry("auths")
        .or_insert_with(|| Value::Object(Map::new()));
    match auths.as_object_mut() {
        Some(auths) => {
            auths.insert(key.to_owned(), value);
        }
        None => *auths = serde_json::json!({ key: value }),
    }
}

fn read(file: &Path) -> Result<Option<Map<String, Value>>> {
    let doing = || format!("failed to read {}", file.display());
    let opened = match File::open(file) {
        Ok(opened) => opened,
        // Without a home, or one of somebody else (sudo), there are no credentials.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(e).context(doing()),
    };
    let mut text = String::new();
    opened
        .take(FILE_LIMIT)
        .read_to_string(&mut text)
        .context(doing())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let document = serde_json::from_str(&text);
    document
        .map(Some)
        .map_err(|e| Error::invalid(format!("{} is malformed: {e}", file.display())))
}

/// Replaces the file at once, readable by its owner only. Whatever others have written into it stays.
fn write(file: &Path, document: &Map<String, Value>) -> Result<()> {
    let doing = || format!("failed to write {}", file.display());
    // A link to a file in some other place is kept, as docker does.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let directory = file.parent().unwrap_or(Path::new("/"));
    if !directory.exists() {
        std::fs::create_dir_all(directory).context(doing())?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).context(doing())?;
    }
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|e| Error::new(e.to_string()))
        .context(doing())?;
    // docker's own indentation is a tab; a diff should show what has changed.
    text = text.lines().map(indent_by_tab).collect::<Vec<_>>().join("\n");
    let new = directory.join(format!(".config.json.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&new, &file));
    written.map_err(|e| {
        let failure = Error::from(e).context(doing());
        match std::fs::remove_file(&new) {
            // It was renamed, or never there.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => failure,
            removed => failure.and_also(removed.map_err(Error::from)),
        }
    })
}

fn indent_by_tab(line: &str) -> String {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    format!("{}{}", "\t".repeat(spaces / 2), &line[spaces..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Home(PathBuf);

    impl Home {
        fn new(name: &str) -> Home {
            let path = std::env::temp_dir().join(format!("brig-credentials-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Home(path)
        }

        fn with(self, text: &str) -> (Home, Credentials) {
            let file = self.0.join("config.json");
            std::fs::write(&file, text).unwrap();
            let credentials = Credentials::in_file(file).with_helpers_in(&self.0);
            (self, credentials)
        }

        fn helper(&self, name: &str, script: &str) {
            let path = self.0.join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{script}\n", self.0.display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.0.join("config.json")).unwrap()
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn password(user: &str, secret: &str) -> Login {
        Login::Password {
            user: user.to_owned(),
            secret: secret.to_owned(),
        }
    }

    #[test]
    fn logins_are_found_by_all_names_of_a_registry() {
        let auth = BASE64_STANDARD.encode("me:se:cret");
        let (_home, credentials) = Home::new("names").with(&format!(
            r#"{{"auths":{{
                "https://index.docker.io/v1/":{{"auth":"{auth}"}},
                "https://host:5000/v2/":{{"auth":"{auth}"}},
                "token.io":{{"auth":"{auth}","identitytoken":"abc"}},
                "plain.io":{{"username":"a","password":"b"}},
                "slash.io/":{{"auth":"{auth}"}},
                "null.io":null,
                "empty.io":{{}},
                "bad.io":{{"auth":"!"}}
            }}}}"#
        ));
        for (domain, expected) in [
            ("docker.io", Some(password("me", "se:cret"))),
            ("registry-1.docker.io", Some(password("me", "se:cret"))),
            ("host:5000", Some(password("me", "se:cret"))),
            ("host", None),
            (
                "token.io",
                Some(Login::Identity {
                    token: "abc".to_owned(),
                }),
            ),
            ("plain.io", Some(password("a", "b"))),
            ("empty.io", None),
            ("null.io", None),
            ("slash.io", Some(password("me", "se:cret"))),
        ] {
            assert_eq!(credentials.find(domain).unwrap(), expected, "{domain}");
        }
        let e = credentials.find("bad.io").unwrap_err().to_string();
        assert!(e.contains("bad.io") && e.contains("base64"), "{e}");
    }

    #[test]
    fn a_part_of_a_registry_counts_before_the_whole() {
        let auth = |user: &str| BASE64_STANDARD.encode(format!("{user}:s"));
        let (home, credentials) = Home::new("parts").with(&format!(
            r#"{{"credHelpers":{{"b.io":"b"}},"auths":{{
                "a.io":{{"auth":"{}"}},"a.io/team":{{"auth":"{}"}},"a.io/team/app":{{"auth":"{}"}},
                "b.io/team":{{"auth":"{}"}},"docker.io/me":{{"auth":"{}"}},"c.io:5000/x":{{"auth":"{}"}}
            }}}}"#,
            auth("whole"),
            auth("team"),
            auth("app"),
            auth("part"),
            auth("hub"),
            auth("port"),
        ));
        home.helper(
            "b",
            r#"echo '{"ServerURL":"b.io","Username":"helper","Secret":"s"}'"#,
        );
        for (domain, repository, user) in [
            ("a.io", "team/app", Some("app")),
            ("a.io", "team/app/deep", Some("app")),
            ("a.io", "team/apple", Some("team")),
            ("a.io", "teams/app", Some("whole")),
            ("a.io", "", Some("whole")),
            ("b.io", "team/x", Some("part")),
            ("b.io", "other/x", Some("helper")),
            ("registry-1.docker.io", "me/x", Some("hub")),
            ("registry-1.docker.io", "library/x", None),
            ("c.io:5000", "x/y", Some("port")),
            ("c.io", "x/y", None),
        ] {
            let found = credentials.find_for(domain, repository).unwrap();
            let user = user.map(|user| password(user, "s"));
            assert!(found == user, "{domain}/{repository}");
        }
    }

    #[test]
    fn a_login_keeps_what_others_wrote() {
        let (home, credentials) =
            Home::new("store").with(r#"{"zeta":{"x":[1]},"auths":{"other.io":{"auth":"eDp5"}},"alpha":1}"#);
        let stored = credentials.store("docker.io", &password("me", "secret")).unwrap();
        assert_eq!(stored, Stored::File(home.0.join("config.json")));
        assert_eq!(
            credentials.find("docker.io").unwrap(),
            Some(password("me", "secret"))
        );
        assert_eq!(credentials.find("other.io").unwrap(), Some(password("x", "y")));
        let text = home.text();
        assert!(
            text.find("zeta") < text.find("auths") && text.find("auths") < text.find("alpha"),
            "{text}"
        );
        let mode = std::fs::metadata(home.0.join("config.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&home.0).unwrap().count(), 1);
        assert!(credentials.erase("docker.io").unwrap());
        assert!(!credentials.erase("docker.io").unwrap());
        assert_eq!(credentials.find("docker.io").unwrap(), None);
        credentials
            .store(
                "t.io",
                &Login::Identity {
                    token: "abc".to_owned(),
                },
            )
            .unwrap();
        assert_eq!(
            credentials.find("t.io").unwrap(),
            Some(Login::Identity {
                token: "abc".to_owned()
            })
        );
        assert_eq!(
            credentials.list().unwrap(),
            [
                ("other.io".to_owned(), Some("x".to_owned())),
                ("t.io".to_owned(), None)
            ]
        );
    }

    #[test]
    fn helpers_are_asked_first() {
        let (home, credentials) = Home::new("helpers").with(
            r#"{"credsStore":"all","credHelpers":{"own.io":"own"},"auths":{"file.io":{"auth":"eDp5"},"own.io":{"auth":"eDp5"}}}"#,
        );
        home.helper(
            "all",
            r#"case $1 in
                get) read -r key; [ "$key" = all.io ] && [ -e kept ] || { echo "credentials not found in native keychain"; exit 1; }
                     echo '{"ServerURL":"all.io","Username":"<token>","Secret":"t"}';;
                store) cat > kept;;
                erase) rm kept;;
                list) echo '{"all.io":"me"}';;
            esac"#,
        );
        home.helper("own", r#"echo "the keychain is locked"; exit 1"#);
        assert_eq!(credentials.find("all.io").unwrap(), None);
        let login = Login::Identity {
            token: "t".to_owned(),
        };
        assert_eq!(
            credentials.store("all.io", &login).unwrap(),
            Stored::Helper("all".to_owned())
        );
        let kept = std::fs::read_to_string(home.0.join("kept")).unwrap();
        assert_eq!(
            kept,
            r#"{"ServerURL":"all.io","Username":"<token>","Secret":"t"}"#
        );
        assert_eq!(credentials.find("all.io").unwrap(), Some(login));
        assert!(!home.text().contains("\"t\""));
        assert_eq!(credentials.find("file.io").unwrap(), Some(password("x", "y")));
        let e = credentials.find("own.io").unwrap_err().to_string();
        assert_eq!(
            e,
            "failed to run docker-credential-own get: the keychain is locked"
        );
        assert!(
            credentials
                .list()
                .unwrap()
                .contains(&("all.io".to_owned(), Some("me".to_owned())))
        );
        assert!(credentials.erase("all.io").unwrap());
        assert!(!home.0.join("kept").exists());
    }

    #[test]
    fn a_helper_that_never_ends_its_answer_is_left() {
        let (home, credentials) = Home::new("endless").with(r#"{"credsStore":"endless"}"#);
        home.helper("endless", "exec yes");
        let e = credentials.find("x.io").unwrap_err().to_string();
        assert_eq!(e, "docker-credential-endless get answers more than 8388608 bytes");
    }

    #[test]
    fn a_missing_helper_is_named() {
        let (_home, credentials) = Home::new("missing").with(r#"{"credsStore":"nobody"}"#);
        let e = credentials.find("x.io").unwrap_err().to_string();
        assert_eq!(
            e,
            "failed to run docker-credential-nobody get: it is not installed"
        );
    }

    #[test]
    fn the_environment_names_the_files() {
        let of = |pairs: &'static [(&str, &str)]| {
            Credentials::of_user(move |name| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            })
        };
        let all = of(&[
            ("HOME", "/h"),
            ("REGISTRY_AUTH_FILE", "/r"),
            ("XDG_RUNTIME_DIR", "/x"),
        ]);
        assert_eq!(all.own.as_deref(), Some(Path::new("/h/.docker/config.json")));
        assert_eq!(
            all.others,
            [PathBuf::from("/r"), PathBuf::from("/x/containers/auth.json")]
        );
        assert_eq!(
            of(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")]).own.as_deref(),
            Some(Path::new("/d/config.json"))
        );
        let given = of(&[("DOCKER_AUTH_CONFIG", r#"{"auths":{"g.io":{"auth":"eDp5"}}}"#)]);
        assert_eq!(given.find("g.io").unwrap(), Some(password("x", "y")));
        assert_eq!(given.find("h.io").unwrap(), None);
    }
}
