//! From the flags of `build` to what the builder understands.
//!
//! May not: build, or open the store. The environment and the user's configuration are read here; files only as far as it has to be
//! known whether they are there.

pub mod table;
#[cfg(test)]
mod tests;
pub mod values;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use build::stages::Platform;
use builder::request::{Entitlement, File, Network, Origin, Output, OutputKind, Request};
use engine::model::HostConfig;
use image::reference::Reference;
use serde_json::Value;

use crate::config::Config;
use crate::flags::{Parsed, csv};
use crate::run::values as plain;
use crate::session::{Failure, Session};
use crate::template::quote;
use values::{Call, Wish};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A tree that changes in place on a terminal, lines elsewhere.
    Auto,
    Tty,
    Plain,
    Rawjson,
    Quiet,
}

/// What `build` was asked for.
#[derive(Debug)]
pub struct Wanted {
    pub request: Request,
    pub style: Style,
    /// The id of the image is printed at the end, and nothing else.
    pub quiet: bool,
    pub call: Option<Call>,
    /// Say more.
    pub is_debug: bool,
    pub id_file: Option<PathBuf>,
    pub metadata_file: Option<PathBuf>,
    /// What was said and does not matter here.
    pub warnings: Vec<String>,
}

/// What the command line does not say.
pub struct Surroundings<'s> {
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    pub config: &'s Config,
    pub out_is_terminal: bool,
}

/// Reads the flags of `build`.
///
/// # Errors
/// buildx's sentence.
pub fn parse(session: &Session, parsed: &Parsed) -> Result<Wanted, Failure> {
    let config = session.config();
    let variable = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
    let surroundings = Surroundings {
        variable: &variable,
        config: &config,
        out_is_terminal: std::io::stdout().is_terminal(),
    };
    read(parsed, &surroundings).map_err(|why| Failure::plain(format!("ERROR: {why}")))
}

/// The same for any surroundings. buildx reads the values of some flags before it begins, and the others as the first part of the
/// build, which its words about them say.
///
/// # Errors
/// buildx's sentence.
pub fn read(parsed: &Parsed, around: &Surroundings<'_>) -> Result<Wanted, String> {
    let text = |name: &'static str| parsed.text(name).filter(|t| !t.is_empty());
    let mut request = Request {
        build_args: values::pairs(&parsed.list("build-arg"), |name| (around.variable)(name))?,
        labels: values::pairs(&parsed.list("label"), |_| Some(String::new()))?,
        cgroup_parent: text("cgroup-parent").unwrap_or_default(),
        no_cache: parsed.switch("no-cache"),
        no_cache_filter: words(&parsed.list("no-cache-filter"))?.into_iter().collect(),
        pull: parsed.switch("pull"),
        target: text("target"),
        ..Request::default()
    };
    if !parsed.list("policy").is_empty() {
        return Err("--policy cannot be obeyed: policies are programs that brig does not run".to_owned());
    }
    variables(&mut request, around);
    let (provenance, sbom) = (parsed.text("provenance"), parsed.text("sbom"));
    request.attestations =
        values::attestations(&parsed.list("attest"), provenance.as_deref(), sbom.as_deref())?;
    for text in parsed
        .list("build-context")
        .iter()
        .filter(|text| !text.is_empty())
    {
        let (name, named) = values::named_context(text)?;
        request.contexts.insert(name, named);
    }
    let wishes = each(&parsed.list("output"), values::output)?;
    let id_file = text("iidfile").map(PathBuf::from);
    if id_file.is_some() && wishes.iter().any(|w| w.kind == "local" || w.kind == "tar") {
        return Err("local and tar exporters are incompatible with image ID file".to_owned());
    }
    request.cache_from = values::stores(&parsed.list("cache-from"))?;
    request.cache_to = values::stores(&parsed.list("cache-to"))?;
    let has_variable = |name: &str| (around.variable)(name).is_some();
    request.secrets = each(&given(parsed, "secret"), |text| {
        values::secret(text, has_variable)
    })?;
    request.ssh = given(parsed, "ssh")
        .iter()
        .map(|text| values::agent(text))
        .collect();
    let call = match parsed.switch("check") {
        true => values::call("check")?,
        false => values::call(&text("print").or_else(|| text("call")).unwrap_or_default())?,
    };
    let (style, quiet) = style(parsed, around)?;

    let begun = |why: String| format!("failed to build: {why}");
    limits(parsed, &mut request).map_err(begun)?;
    surroundings_of_run(parsed, &mut request).map_err(begun)?;
    names(parsed, &mut request, around).map_err(begun)?;
    let (mut entitlements, may_delete) = values::entitlements(&parsed.list("allow")).map_err(begun)?;
    if request.network == Network::Host {
        // Who says it on the command line has allowed it.
        entitlements.insert(Entitlement::NetworkHost);
    }
    request.entitlements = entitlements;
    request.outputs = outputs(wishes, parsed, &request.tags, call.is_some()).map_err(begun)?;
    destinations(&request.outputs, may_delete, around.out_is_terminal).map_err(begun)?;
    inputs(parsed, &mut request).map_err(begun)?;
    Ok(Wanted {
        request,
        style,
        quiet,
        call,
        is_debug: parsed.switch("debug"),
        id_file,
        metadata_file: text("metadata-file").map(PathBuf::from),
        warnings: warnings(parsed),
    })
}

/// Values of a list, without empty ones.
fn given(parsed: &Parsed, name: &'static str) -> Vec<String> {
    let mut list = parsed.list(name);
    list.retain(|text| !text.is_empty());
    list
}

fn each<T>(list: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.iter().map(|text| read(text)).collect()
}

fn words(list: &[String]) -> Result<Vec<String>, String> {
    Ok(each(list, csv)?
        .into_iter()
        .flatten()
        .filter(|w| !w.is_empty())
        .collect())
}

/// Build arguments that nobody has to name: proxies of the user's configuration and of the environment, and the time that an image
/// is to be from.
fn variables(request: &mut Request, around: &Surroundings<'_>) {
    let configured = around.config.proxies.get("default").and_then(Value::as_object);
    for (key, name) in [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ] {
        let lower = name.to_lowercase();
        let own = configured.and_then(|p| p.get(key)).and_then(Value::as_str);
        let own = own.filter(|v| !v.is_empty()).map(str::to_owned);
        for spelled in [name, &lower] {
            let here = (around.variable)(spelled).filter(|v| !v.is_empty());
            if let Some(value) = &here {
                request.environment.insert(spelled.to_owned(), value.clone());
            }
            if let Some(value) = own.clone().or(here) {
                request.build_args.entry(spelled.to_owned()).or_insert(value);
            }
        }
    }
    for name in ["SOURCE_DATE_EPOCH", "SSH_AUTH_SOCK"] {
        if let Some(value) = (around.variable)(name).filter(|v| !v.is_empty()) {
            request.environment.insert(name.to_owned(), value);
        }
    }
    if let Some(time) = request.environment.get("SOURCE_DATE_EPOCH") {
        let time = time.clone();
        request
            .build_args
            .entry("SOURCE_DATE_EPOCH".to_owned())
            .or_insert(time);
    }
}

fn style(parsed: &Parsed, around: &Surroundings<'_>) -> Result<(Style, bool), String> {
    let named = parsed.text("progress").filter(|p| !p.is_empty());
    let named = named.or_else(|| (around.variable)("BUILDKIT_PROGRESS").filter(|p| !p.is_empty()));
    let named = named.unwrap_or_else(|| "auto".to_owned());
    let quiet = parsed.switch("quiet") || named == "quiet";
    let style = match named.as_str() {
        "auto" => Style::Auto,
        "tty" => Style::Tty,
        "plain" => Style::Plain,
        "rawjson" => Style::Rawjson,
        "quiet" | "none" => Style::Quiet,
        other => return Err(format!("invalid progress mode {other}")),
    };
    match (quiet, style) {
        (true, Style::Auto | Style::Quiet) => Ok((Style::Quiet, true)),
        (true, _) => Err(format!("progress={named} and quiet cannot be used together")),
        (false, style) => Ok((style, false)),
    }
}

/// Limits by the flags of the old builder, and by `--resource`, which counts where both are said.
fn limits(parsed: &Parsed, request: &mut Request) -> Result<(), String> {
    const NAMES: [&str; 7] = [
        "memory",
        "memory-swap",
        "cpu-shares",
        "cpu-period",
        "cpu-quota",
        "cpuset-cpus",
        "cpuset-mems",
    ];
    let older = NAMES
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", parsed.text(name)?)));
    let mut host = HostConfig::default();
    let mut is_limited = false;
    for entry in older.chain(parsed.list("resource")) {
        let Some((name, value)) = entry.split_once('=') else {
            return Err(format!("invalid resource {}, expected key=value", quote(&entry)));
        };
        let (name, value) = (name.trim(), value.trim());
        let invalid = |why: String| format!("invalid value {} for resource {name}: {why}", quote(value));
        let number = || {
            plain::atoi(value)
                .map_err(|why| invalid(format!("strconv.ParseInt: parsing {}: {why}", quote(value))))
        };
        match name {
            "memory" => host.memory = plain::size(value).map_err(invalid)?,
            "memory-swap" => host.memory_swap = plain::swap(value).map_err(invalid)?,
            "cpu-shares" => host.cpu_shares = number()?,
            "cpu-period" => host.cpu_period = number()?,
            "cpu-quota" => host.cpu_quota = number()?,
            "cpuset-cpus" => value.clone_into(&mut host.cpuset_cpus),
            "cpuset-mems" => value.clone_into(&mut host.cpuset_mems),
            other => return Err(format!("unknown resource {}", quote(other))),
        }
        is_limited = true;
    }
    request.limits = is_limited.then(|| Box::new(host));
    if let Some(jobs) = parsed.text("jobs") {
        // Podman's 0 is no limit, which processors are to us.
        let jobs =
            plain::atoi(&jobs).map_err(|why| format!("invalid number of jobs {}: {why}", quote(&jobs)))?;
        request.at_once = usize::try_from(jobs).ok().filter(|n| *n > 0);
    }
    Ok(())
}

/// What each RUN finds around it.
fn surroundings_of_run(parsed: &Parsed, request: &mut Request) -> Result<(), String> {
    request.network = values::network(&parsed.text("network").unwrap_or_default())?;
    request.add_hosts = values::hosts(&parsed.list("add-host"))?;
    let size = parsed
        .text("shm-size")
        .map(|text| plain::size(&text))
        .transpose()?;
    request.shm_size = size.filter(|size| *size > 0);
    let mut ulimits = BTreeMap::new();
    for text in parsed.list("ulimit") {
        let limit = crate::run::devices::ulimit(&text)?;
        ulimits.insert(limit.name.clone(), limit);
    }
    request.ulimits = ulimits.into_values().collect();
    Ok(())
}

/// Platforms, tags and annotations.
fn names(parsed: &Parsed, request: &mut Request, around: &Surroundings<'_>) -> Result<(), String> {
    let mut platforms = words(&parsed.list("platform"))?;
    if !parsed.was_given("platform") {
        let usual = (around.variable)("DOCKER_DEFAULT_PLATFORM").filter(|p| !p.is_empty());
        platforms = words(&usual.into_iter().collect::<Vec<_>>())?;
    }
    for text in platforms {
        let platform = platform(&text)?;
        if !request.platforms.contains(&platform) {
            request.platforms.push(platform);
        }
    }
    for text in given(parsed, "tag") {
        let invalid = |why: String| format!("invalid tag {}: {why}", quote(&text));
        let reference: Reference = text.parse().map_err(|e: image::Error| {
            // buildx reads tags by another function than names of images, which has its own words for this.
            let why = e.to_string();
            match why.ends_with("must be lowercase") {
                true => invalid("repository name must be lowercase".to_owned()),
                false => invalid(why),
            }
        })?;
        if reference.digest().is_some() {
            return Err(invalid(
                "a name with a digest cannot be given to an image".to_owned(),
            ));
        }
        let reference = reference.or_latest();
        if !request.tags.contains(&reference) {
            request.tags.push(reference);
        }
    }
    request.annotations = each(&given(parsed, "annotation"), values::annotation)?;
    let is_for_index =
        |a: &builder::request::Annotation| a.kinds.iter().any(|kind| kind.starts_with("index"));
    if request.platforms.len() < 2 && request.annotations.iter().any(is_for_index) {
        return Err("index annotations not supported for single platform export".to_owned());
    }
    Ok(())
}

fn platform(text: &str) -> Result<Platform, String> {
    let platform = match text {
        "local" => image::platform::Platform::host(),
        text => text.parse().map_err(|e: image::Error| e.to_string())?,
    };
    Ok(Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant.unwrap_or_default(),
    })
}

/// What becomes of the result: as wished, with what `--push` and `--load` add. Nothing: an image of the store.
fn outputs(
    wishes: Vec<Wish>,
    parsed: &Parsed,
    tags: &[Reference],
    is_call: bool,
) -> Result<Vec<Output>, String> {
    let mut all = wishes
        .into_iter()
        .map(Wish::read)
        .collect::<Result<Vec<_>, _>>()?;
    let image = |values| Output {
        kind: OutputKind::Image,
        destination: None,
        values,
    };
    if parsed.switch("push") {
        let push = ("push".to_owned(), "true".to_owned());
        match all.iter_mut().find(|o| o.kind == OutputKind::Image) {
            Some(output) => drop(output.values.insert(push.0, push.1)),
            None => all.push(image(BTreeMap::from([push]))),
        }
    }
    if parsed.switch("load") && !all.iter().any(|o| o.kind == OutputKind::Image) {
        all.push(image(BTreeMap::new()));
    }
    let pushes = |o: &Output| {
        o.values
            .get("push")
            .is_some_and(|p| crate::flags::boolean(p) == Ok(true))
    };
    let has_name = |o: &Output| o.values.get("name").is_some_and(|n| !n.is_empty());
    if tags.is_empty() && !is_call && all.iter().any(|o| pushes(o) && !has_name(o)) {
        return Err("tag is needed when pushing to registry".to_owned());
    }
    Ok(all)
}

/// Whether files can be written where they are to be.
fn destinations(outputs: &[Output], may_delete: bool, out_is_terminal: bool) -> Result<(), String> {
    let mut is_stdout_used = false;
    for output in outputs {
        let name = match output.kind {
            OutputKind::Image | OutputKind::Cacheonly => continue,
            OutputKind::Oci => "oci",
            OutputKind::Docker => "docker",
            OutputKind::Local => "local",
            OutputKind::Tar => "tar",
        };
        let is_directory = output.kind == OutputKind::Local
            || output
                .values
                .get("tar")
                .is_some_and(|t| crate::flags::boolean(t) == Ok(false));
        let Some(path) = &output.destination else {
            if is_stdout_used {
                return Err("multiple outputs configured to write to stdout".to_owned());
            }
            if out_is_terminal {
                return Err(format!(
                    "dest file is required for {name} exporter. refusing to write to console"
                ));
            }
            is_stdout_used = true;
            continue;
        };
        match path.metadata() {
            Ok(found) if is_directory && !found.is_dir() => {
                return Err(format!("destination directory {} is a file", path.display()));
            }
            Ok(found) if !is_directory && found.is_dir() => {
                return Err(format!("destination file {} is a directory", path.display()));
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let what = if is_directory { "directory" } else { "file" };
                return Err(format!("invalid destination {what}: {}: {e}", path.display()));
            }
            _ => {}
        }
        if output.kind == OutputKind::Local {
            deletes(output, path, may_delete)?;
        }
    }
    Ok(())
}

/// `mode=delete` empties the directory first; a slip of the pen must not empty somebody's home.
fn deletes(output: &Output, path: &Path, may_delete: bool) -> Result<(), String> {
    match output.values.get("mode").map_or("copy", String::as_str) {
        "copy" | "" => return Ok(()),
        "delete" => {}
        other => return Err(format!("invalid local exporter mode {}", quote(other))),
    }
    let resolve = |path: &Path| {
        let path = std::path::absolute(path).map_err(|e| e.to_string())?;
        let mut missing = Vec::new();
        let mut at = path.as_path();
        loop {
            match (at.canonicalize(), at.parent(), at.file_name()) {
                (Ok(found), ..) => {
                    return Ok(missing.iter().rev().fold(found, |p: PathBuf, name| p.join(name)));
                }
                (Err(_), Some(parent), Some(name)) => {
                    missing.push(name.to_owned());
                    at = parent;
                }
                (Err(e), ..) => return Err(e.to_string()),
            }
        }
    };
    let (here, there) = (resolve(Path::new("."))?, resolve(path)?);
    if may_delete || (there != here && there.starts_with(&here)) {
        return Ok(());
    }
    Err(format!(
        "local output mode=delete for destination {} requires --allow={}",
        quote(&path.display().to_string()),
        values::DELETE
    ))
}

/// The context and the Dockerfile.
fn inputs(parsed: &Parsed, request: &mut Request) -> Result<(), String> {
    let context = parsed.operand(0).unwrap_or_default();
    if context.is_empty() {
        return Err("please specify build context (e.g. \".\" for the current directory)".to_owned());
    }
    let file = parsed.text("file").unwrap_or_default();
    request.dockerfile = match file.as_str() {
        "" => File::Usual,
        "-" if context == "-" => {
            return Err("invalid argument: can't use stdin for both build context and dockerfile".to_owned());
        }
        "-" => File::Stdin,
        url if url.starts_with("http://") || url.starts_with("https://") => File::Remote(file),
        path => File::Path(PathBuf::from(path)),
    };
    request.context = values::origin(&context)?;
    if request
        .contexts
        .values()
        .any(|c| *c == builder::request::Named::Origin(Origin::Stdin))
    {
        return Err("failed to get build context: stdin cannot be a named context".to_owned());
    }
    Ok(())
}

/// What is accepted and does nothing, as far as people should know.
fn warnings(parsed: &Parsed) -> Vec<String> {
    let mut lines = Vec::new();
    if parsed
        .text("isolation")
        .is_some_and(|i| !matches!(i.as_str(), "" | "default"))
    {
        lines.push("WARNING: --isolation does nothing: there is one kind of container on Linux".to_owned());
    }
    if !parsed.list("security-opt").is_empty() {
        lines.push(
            "WARNING: --security-opt does nothing: use RUN --security=insecure and --allow security.insecure"
                .to_owned(),
        );
    }
    if parsed.switch("squash") {
        lines.push(
            "WARNING: experimental flag squash is removed with BuildKit. You should squash inside build using a multi-stage Dockerfile for efficiency."
                .to_owned(),
        );
    }
    if parsed.switch("disable-content-trust") {
        lines.push(
            "WARNING: --disable-content-trust does nothing: images are known by their digests".to_owned(),
        );
    }
    lines
}
