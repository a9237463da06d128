//! Values of `build` as buildx reads them: lines of CSV with `key=value` in them, and their words about wrong ones.
//!
//! May not: ask whether what they name is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use build::remote::Location;
use builder::request::{
    Agent, Annotation, Attestations, Entitlement, Named, Network, Origin, Output, OutputKind, Secret,
    SecretFrom, Store,
};
use image::reference::Reference;

use crate::flags::{boolean, csv};
use crate::template::quote;

type Pairs = BTreeMap<String, String>;

/// Lets only files below the working directory be deleted unless it is allowed: `--allow`.
pub const DELETE: &str = "buildx.local.delete";

/// `KEY=VALUE` or `KEY`, of which `missing` says what its value is; None: it is left out.
pub fn pairs(list: &[String], missing: impl Fn(&str) -> Option<String>) -> Result<Pairs, String> {
    let mut all = Pairs::new();
    for text in list {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), missing(text)),
        };
        if key.is_empty() {
            return Err(format!("invalid key-value pair {}: empty key", quote(text)));
        }
        if let Some(value) = value {
            all.insert(key.to_owned(), value);
        }
    }
    Ok(all)
}

/// `id=NAME[,src=FILE|,env=VARIABLE]`. Without either it is the variable of its own name, or the file.
pub fn secret(text: &str, has_variable: impl Fn(&str) -> bool) -> Result<Secret, String> {
    let fields = csv(text).map_err(|why| format!("failed to parse csv secret: {why}"))?;
    let (mut id, mut file, mut variable, mut kind) =
        (String::new(), String::new(), String::new(), String::new());
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        let value = value.to_owned();
        match key.to_lowercase().as_str() {
            "type" if value != "file" && value != "env" => {
                return Err(format!("unsupported secret type {}", quote(&value)));
            }
            "type" => kind = value,
            "id" => id = value,
            "source" | "src" => file = value,
            "env" => variable = value,
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if kind == "env" && variable.is_empty() {
        variable = std::mem::take(&mut file);
    }
    if id.is_empty() {
        return Err("secret missing ID".to_owned());
    }
    let from = match (file.as_str(), variable.as_str()) {
        ("", "") if kind != "file" && has_variable(&id) => SecretFrom::Variable(id.clone()),
        ("", "") => SecretFrom::File(PathBuf::from(&id)),
        ("", _) => SecretFrom::Variable(variable),
        // Where both are said the variable counts, and buildx falls back to the file.
        (_, "") => SecretFrom::File(PathBuf::from(file)),
        _ if has_variable(&variable) => SecretFrom::Variable(variable),
        _ => SecretFrom::File(PathBuf::from(file)),
    };
    Ok(Secret { id, from })
}

/// `default` or `NAME[=SOCKET|KEY[,KEY...]]`.
pub fn agent(text: &str) -> Agent {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    Agent {
        id: match id {
            "" => "default".to_owned(),
            id => id.to_owned(),
        },
        paths: paths
            .split(',')
            .filter(|p| !p.is_empty())
            .map(PathBuf::from)
            .collect(),
    }
}

/// An output as it is written; what it comes to depends on the others ([`super::outputs`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub kind: String,
    pub destination: String,
    pub values: Pairs,
}

/// `DIR`, `-`, or `type=...,KEY=VALUE...`.
pub fn output(text: &str) -> Result<Wish, String> {
    let fields = csv(text)?;
    let mut wish = Wish {
        kind: String::new(),
        destination: String::new(),
        values: Pairs::new(),
    };
    if let [only] = fields.as_slice()
        && only == text
        && !text.starts_with("type=")
    {
        wish.kind = if text == "-" { "tar" } else { "local" }.to_owned();
        text.clone_into(&mut wish.destination);
        return Ok(wish);
    }
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid value {field}"));
        };
        match key.to_lowercase().trim() {
            "type" => value.clone_into(&mut wish.kind),
            "dest" => value.clone_into(&mut wish.destination),
            key => {
                wish.values.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    match wish.kind.as_str() {
        "" => Err("type is required for output".to_owned()),
        _ => Ok(wish),
    }
}

impl Wish {
    /// As the builder takes it. The kinds are those of BuildKit; `registry` is an image that is pushed, and `docker` without a
    /// destination is one that is loaded, which is the same as being made here.
    pub fn read(self) -> Result<Output, String> {
        let mut values = self.values;
        let kind = match self.kind.as_str() {
            "registry" => {
                values.insert("push".to_owned(), "true".to_owned());
                OutputKind::Image
            }
            "image" | "moby" => OutputKind::Image,
            "docker" if self.destination.is_empty() => OutputKind::Image,
            "docker" => OutputKind::Docker,
            "oci" => OutputKind::Oci,
            "local" => OutputKind::Local,
            "tar" => OutputKind::Tar,
            "cacheonly" => OutputKind::Cacheonly,
            other => return Err(format!("exporter {} could not be found", quote(other))),
        };
        let is_directory = match kind {
            OutputKind::Local => true,
            OutputKind::Oci | OutputKind::Docker => {
                values.get("tar").and_then(|tar| boolean(tar).ok()) == Some(false)
            }
            _ => false,
        };
        let name = &self.kind;
        let destination = match self.destination.as_str() {
            "" if is_directory => return Err(format!("dest is required for {name} exporter")),
            "-" if is_directory => return Err(format!("dest cannot be stdout for {name} exporter")),
            "" | "-" => None,
            path => Some(PathBuf::from(path)),
        };
        Ok(Output {
            kind,
            destination,
            values,
        })
    }
}

/// `type=...,KEY=VALUE...`, or names of images.
pub fn stores(list: &[String]) -> Result<Vec<Store>, String> {
    let of_image = |reference: String| Store {
        kind: "registry".to_owned(),
        values: Pairs::from([("ref".to_owned(), reference)]),
    };
    let mut all = Vec::new();
    for text in list.iter().filter(|text| !text.is_empty()) {
        let fields = csv(text)?;
        if !text.contains('=') {
            all.extend(fields.into_iter().map(of_image));
            continue;
        }
        let mut store = Store {
            kind: String::new(),
            values: Pairs::new(),
        };
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("invalid value {field}"));
            };
            match key.to_lowercase().as_str() {
                "type" => value.clone_into(&mut store.kind),
                key => {
                    store.values.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        if store.kind.is_empty() {
            return Err(format!("type required for {}", quote(text)));
        }
        all.push(store);
    }
    Ok(all)
}

/// Attestations by their type; of the same type the last one counts.
pub fn attestations(
    list: &[String],
    provenance: Option<&str>,
    sbom: Option<&str>,
) -> Result<Attestations, String> {
    let short = |kind: &str, value: Option<&str>| {
        let value = value.filter(|v| !v.is_empty())?;
        Some(match boolean(value) {
            Ok(on) => format!("type={kind},disabled={}", !on),
            Err(_) => format!("type={kind},{value}"),
        })
    };
    let mut all = Attestations::default();
    let lines = list.iter().cloned();
    for line in lines
        .chain(short("provenance", provenance))
        .chain(short("sbom", sbom))
    {
        let (mut kind, mut disabled, mut values) = (String::new(), false, Pairs::new());
        for field in csv(&line)? {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("invalid value {field}"));
            };
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut kind),
                "disabled" => {
                    disabled = boolean(value).map_err(|why| format!("invalid value {field}: {why}"))?
                }
                _ => {
                    values.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        let values = (!disabled).then_some(values);
        match kind.as_str() {
            "" => return Err("attestation type not specified".to_owned()),
            "provenance" => all.provenance = values,
            "sbom" => all.sbom = values,
            other => return Err(format!("unknown attestation type {}", quote(other))),
        }
    }
    Ok(all)
}

/// `[TYPE[,TYPE...]:]KEY=VALUE`, a type perhaps with a platform in brackets.
pub fn annotation(text: &str) -> Result<Annotation, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("invalid annotation {}, expected key=value", quote(text)));
    };
    let (types, key) = key
        .split_once(':')
        .map_or((None, key), |(types, key)| (Some(types), key));
    let mut kinds = Vec::new();
    for kind in types.into_iter().flat_map(|types| types.split(',')) {
        let (name, platform) = match kind.split_once('[') {
            Some((name, rest)) => (name, rest.strip_suffix(']')),
            None => (kind, Some("")),
        };
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if !is_word(name) || platform.is_none() || kind.ends_with("[]") {
            return Err(format!(
                "invalid annotation type {}, expected type and optional platform in square brackets",
                quote(kind)
            ));
        }
        if !["manifest", "index", "manifest-descriptor", "index-descriptor"].contains(&name) {
            return Err(format!("unknown annotation type {}", quote(name)));
        }
        if let Some(platform) = platform.filter(|p| !p.is_empty()) {
            platform
                .parse::<image::platform::Platform>()
                .map_err(|e| format!("invalid platform {}: {e}", quote(platform)))?;
        }
        kinds.push(kind.to_owned());
    }
    Ok(Annotation {
        kinds,
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

/// What `--allow` opens, and whether directories elsewhere may be emptied.
pub fn entitlements(list: &[String]) -> Result<(BTreeSet<Entitlement>, bool), String> {
    let (mut all, mut may_delete) = (BTreeSet::new(), false);
    for text in list.iter().filter(|text| !text.is_empty()) {
        let (name, value) = text
            .split_once('=')
            .map_or((text.as_str(), None), |(n, v)| (n, Some(v)));
        match (name, value) {
            ("network.host", None) => drop(all.insert(Entitlement::NetworkHost)),
            ("security.insecure", None) => drop(all.insert(Entitlement::SecurityInsecure)),
            ("device", _) => drop(all.insert(Entitlement::Device)),
            (DELETE, None) => may_delete = true,
            (DELETE, Some(_)) => return Err(format!("{DELETE} does not accept a value")),
            _ => return Err(format!("unknown entitlement {text}")),
        }
    }
    Ok((all, may_delete))
}

/// The network of RUN.
pub fn network(text: &str) -> Result<Network, String> {
    match text {
        "" | "default" | "bridge" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(format!(
            "network mode {} not supported: it may be default, none or host",
            quote(other)
        )),
    }
}

/// `HOST:IP[,IP...]` or `HOST=IP`: a line for each address.
pub fn hosts(list: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for text in list {
        let invalid = || format!("invalid host {text}");
        let (name, addresses) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(invalid)?;
        for address in addresses.split(',') {
            let one = crate::run::values::extra_host(&format!("{name}={address}"));
            all.push(one.map_err(|_| invalid())?);
        }
    }
    Ok(all)
}

/// A name of a stage or image, and what stands for it.
pub fn named_context(text: &str) -> Result<(String, Named), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("invalid context value: {text}, expected key=value"));
    };
    let reference: Reference = name
        .parse()
        .map_err(|e| format!("invalid context name {name}: {e}"))?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
    let named = if let Some(reference) = value.strip_prefix("docker-image://") {
        let reference: Reference = reference
            .parse()
            .map_err(|e| format!("invalid reference {}: {e}", quote(value)))?;
        Named::Image(reference.or_latest())
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        layout_of(layout)
    } else {
        Named::Origin(origin(value)?)
    };
    Ok((name, named))
}

/// `PATH[:TAG][@DIGEST]`.
fn layout_of(text: &str) -> Named {
    let at_digest = text.find('@').unwrap_or(text.len());
    let (before, digest) = text.split_at(at_digest);
    let (path, tag) = match before.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (before, ""),
    };
    Named::Layout {
        path: PathBuf::from(path),
        reference: format!("{tag}{digest}"),
    }
}

/// Where a context comes from. A directory that is there is one, whatever its name looks like.
pub fn origin(text: &str) -> Result<Origin, String> {
    if text == "-" {
        return Ok(Origin::Stdin);
    }
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Ok(Origin::Directory(path));
    }
    if let Some(git) = builder::context::git::of_this_machine(text) {
        return Ok(Origin::Remote(Location::Git(git)));
    }
    match Location::parse(text)? {
        Location::Path(_) => Err(format!(
            "unable to prepare context: path {} not found",
            quote(text)
        )),
        remote => Ok(Origin::Remote(remote)),
    }
}

/// What `--call` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub is_json: bool,
    /// Findings are no failure.
    pub ignore_status: bool,
}

/// `NAME[,format=json][,ignorestatus=BOOL]`. None: to build.
pub fn call(text: &str) -> Result<Option<Call>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut call = Call {
        name: String::new(),
        is_json: false,
        ignore_status: false,
    };
    for field in csv(text)? {
        match field.split_once('=') {
            Some(("format", format)) => call.is_json = format == "json",
            Some(("ignorestatus", value)) => {
                call.ignore_status = boolean(value)
                    .map_err(|why| format!("invalid ignorestatus print value: {value}: {why}"))?;
            }
            Some(_) => return Err(format!("invalid print field: {field}")),
            None if !call.name.is_empty() => return Err(format!("invalid print value: {text}")),
            None => call.name = field,
        }
    }
    if call.name == "check" {
        "lint".clone_into(&mut call.name);
    }
    match call.name.as_str() {
        "build" => Ok(None),
        "lint" | "outline" | "targets" | "subrequests.describe" => Ok(Some(call)),
        other => Err(format!(
            "unsupported subrequest {}",
            quote(&format!("frontend.{other}"))
        )),
    }
}
