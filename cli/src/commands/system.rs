//! `version`, `info`, `system df`, `system check`, `system prune`.

use super::recovery;
use super::{API, COMMIT, DOCKER, FORMAT, FORMAT_OBJECT, VERSION};
use crate::choose::Choice;
use crate::command::{Command, Listed};
use crate::flags::{Flag, Parsed, Takes};
use crate::rows::df;
use crate::session::{Failure, Outcome, Program, Session};
use crate::template::{Map, Struct, Template, Value};
use crate::workshop::{self, Workshop};
use crate::{tabs, terminal, units};
use image::provide::Means;
use image::repair::{Outcome as Mended, Repairer};
use image::store::cache::Prune;
use image::store::{Damage, Depth, Finding, Form, Store, Subject};
use image::{mount, progress, rootless, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(super) const VERSION_COMMAND: Command = Command {
    usage: "[OPTIONS]",
    ways: &["version"],
    flags: &[FORMAT_OBJECT],
    examples: &["{name} version", "{name} version --format '{{.Client.Version}}'"],
    ..Command::new("version", "Show versions", version)
};

pub(super) const INFO: Command = Command {
    usage: "[OPTIONS]",
    ways: &["system info", "info"],
    flags: &[FORMAT_OBJECT],
    examples: &["{name} info --format '{{.Driver}}'"],
    ..Command::new("info", "Show what this machine and its store are like", info)
};

pub(super) const DF: Command = Command {
    usage: "[OPTIONS]",
    ways: &["system df"],
    flags: &[
        FORMAT,
        Flag::new("verbose", Takes::Switch(false), "A row for each thing").short('v'),
    ],
    examples: &["{name} system df -v"],
    ..Command::new("df", "Show what takes space", df)
};

pub(super) const CHECK: Command = Command {
    about: "Reads every byte: blobs are compared with their digests, unpacked layers with what their blobs make of them; records of\ncontainers with what runs. With --repair, what is damaged is pulled or unpacked again, and what is left of killed commands is removed.",
    usage: "[OPTIONS]",
    ways: &["system check"],
    flags: &[
        Flag::new("quick", Takes::Switch(false), "Only names and sizes"),
        Flag::new("repair", Takes::Switch(false), "Mend what is damaged"),
    ],
    examples: &["{name} system check --repair"],
    ..Command::new("check", "Look for damage in the store", check)
};

pub(super) const PRUNE: Command = Command {
    about: "Filters: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE].",
    usage: "[OPTIONS]",
    ways: &["system prune"],
    flags: &[
        Flag::new(
            "all",
            Takes::Switch(false),
            "Remove all that nothing stands on, not only images without a name",
        )
        .short('a'),
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
        Flag::new("volumes", Takes::Switch(false), "Remove anonymous volumes, too"),
    ],
    examples: &["{name} system prune -af"],
    listed: Listed::Further,
    ..Command::new("prune", "Remove what nobody needs", prune)
};

/// Docker's form: client, then engine, though both are this program.
const VERSION_TEMPLATE: &str = "{{with .Client -}}
Client:{{if .Platform.Name}} {{.Platform.Name}}{{end}}
 Version:\t{{.Version}}
 API version:\t{{.APIVersion}}
 Git commit:\t{{.GitCommit}}
 OS/Arch:\t{{.Os}}/{{.Arch}}
 Context:\t{{.Context}}
{{- end}}
{{with .Server}}
Server:{{if .Platform.Name}} {{.Platform.Name}}{{end}}
{{- range .Components}}
 {{.Name}}:
  Version:\t{{.Version}}
{{- range $name, $value := .Details}}
  {{$name}}:\t{{$value}}
{{- end}}
{{- end}}
{{- end}}";

fn version(session: &Session, parsed: &Parsed) -> Outcome {
    let text = match parsed.text("format").as_deref() {
        None | Some("") => VERSION_TEMPLATE.to_owned(),
        Some("json") => "{{json .}}".to_owned(),
        Some(own) => own.to_owned(),
    };
    let template = Template::parse("version", &text)
        .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    let text = template
        .render(&versions(session.program))
        .map_err(Failure::plain)?;
    session.print(&(tabs::align(&text, tabs::FACTS) + "\n"))
}

/// The fields that scripts ask for. Called as docker, the versions are those of the Docker that we speak like.
fn versions(program: Program) -> Value {
    let version = match program {
        Program::Brig => VERSION,
        Program::Docker => DOCKER,
    };
    let platform = || Struct::new("client.PlatformInfo").with_optional("Name", "brig, without a daemon");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let client = Struct::new("system.clientVersion")
        .with_optional("Platform", platform())
        .with_optional("Version", version)
        .with_key("APIVersion", "ApiVersion", API)
        .with_optional("DefaultAPIVersion", API)
        .with_optional("GitCommit", COMMIT)
        .with_optional("GoVersion", "")
        .with_optional("Os", "linux")
        .with_optional("Arch", architecture())
        .with_optional("BuildTime", "")
        .with("Context", "default");
    let details = BTreeMap::from(
        [
            ("ApiVersion", API),
            ("Arch", architecture()),
            ("GitCommit", COMMIT),
            ("KernelVersion", kernel.trim()),
            ("MinAPIVersion", API),
            ("Os", "linux"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let engine = Struct::new("system.ComponentVersion")
        .with("Name", "Engine")
        .with("Version", version)
        .with_optional("Details", details);
    let server = Struct::new("system.serverVersion")
        .with("Platform", platform())
        .with("Version", version)
        .with_key("APIVersion", "ApiVersion", API)
        .with_optional("MinAPIVersion", API)
        .with("Os", "linux")
        .with("Arch", architecture())
        .with_optional(
            "Components",
            Value::list("[]system.ComponentVersion", vec![engine.into()]),
        )
        .with_optional("GitCommit", COMMIT)
        .with_optional("GoVersion", "")
        .with_optional("KernelVersion", kernel.trim())
        .with_optional("Experimental", false)
        .with_optional("BuildTime", "");
    Struct::new("system.versionInfo")
        .with("Client", client)
        .with("Server", server)
        .into()
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn info(session: &Session, parsed: &Parsed) -> Outcome {
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let template = match format.as_deref() {
        None => None,
        Some("json") => Some("{{json .}}"),
        Some(own) => Some(own),
    };
    let template = template
        .map(|text| Template::parse("", text))
        .transpose()
        .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    let store = workshop::open_store(session)?;
    let facts = facts(session, &store)?;
    match template {
        Some(template) => session.print(&(template.render(&facts).map_err(crate::format::bad)? + "\n")),
        None => {
            let text = Template::parse("", INFO_TEMPLATE).and_then(|t| t.render(&facts));
            session.print(&text.map_err(crate::format::bad)?)
        }
    }
}

const INFO_TEMPLATE: &str = "Client: {{.ClientInfo.Platform.Name}}
 Version:    {{.ClientInfo.Version}}
 Context:    {{.ClientInfo.Context}}
 Debug Mode: {{.ClientInfo.Debug}}

Server:
 Containers: {{.Containers}}
  Running: {{.ContainersRunning}}
  Paused: {{.ContainersPaused}}
  Stopped: {{.ContainersStopped}}
 Images: {{.Images}}
 Server Version: {{.ServerVersion}}
 Storage Driver: {{.Driver}}
{{- range .DriverStatus}}
  {{index . 0}}: {{index . 1}}
{{- end}}
 Cgroup Driver: {{.CgroupDriver}}
 Cgroup Version: {{.CgroupVersion}}
 Runtimes:{{range $name, $_ := .Runtimes}} {{$name}}{{end}}
 Default Runtime: {{.DefaultRuntime}}
 Security Options:
{{- range .SecurityOptions}}
{{- range $n, $part := split . \",\"}}
{{if $n}}   Profile: {{slice $part 8}}{{else}}  {{slice $part 5}}{{end}}
{{- end}}
{{- end}}
 Kernel Version: {{.KernelVersion}}
 Operating System: {{.OperatingSystem}}
 OSType: {{.OSType}}
 Architecture: {{.Architecture}}
 CPUs: {{.NCPU}}
 Total Memory: {{printf \"%.4g\" .MemGiB}}GiB
 Name: {{.Name}}
 ID: {{.ID}}
 Docker Root Dir: {{.DockerRootDir}}
 Debug Mode: {{.Debug}}
";

/// The fields of Docker's Info that have an answer here.
fn facts(session: &Session, store: &Store) -> Result<Value, Failure> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |n| n.trim_matches('"').to_owned());
    let memory = line_of("/proc/meminfo")
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok())
        .map_or(0, |kib| kib << 10);
    let cpus = std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    // As Docker chooses: systemd's way where there is one tree and systemd keeps it.
    let cgroup_driver = match is_v2 && Path::new("/run/systemd/system").exists() {
        true => "systemd",
        false => "cgroupfs",
    };
    let root = store.roots().root.display().to_string();
    let (driver, status) = storage(store)?;
    let runtimes = runtimes();
    let default_runtime = runtimes.keys().next().cloned().unwrap_or_default();
    let client = Struct::new("system.clientInfo")
        .with("Debug", session.debug)
        .with(
            "Platform",
            Struct::new("client.PlatformInfo").with("Name", "brig, without a daemon"),
        )
        .with("Version", VERSION)
        .with("Context", "default")
        .with("Plugins", Value::list("[]manager.Plugin", Vec::new()))
        .with("Warnings", Value::nil_list());
    let [all, running, paused, stopped] = count_containers(session)?;
    let swarm = Struct::new("swarm.Info")
        .with("NodeID", "")
        .with("NodeAddr", "")
        .with("LocalNodeState", "inactive")
        .with("ControlAvailable", false)
        .with("Error", "")
        .with("RemoteManagers", Value::nil_list());
    Ok(Struct::new("system.dockerInfo")
        .with("ID", identity(&root))
        .with("Containers", all)
        .with("ContainersRunning", running)
        .with("ContainersPaused", paused)
        .with("ContainersStopped", stopped)
        .with("Images", i64::try_from(store.images()?.len()).unwrap_or(0))
        .with("Driver", driver)
        .with("DriverStatus", status)
        .with("Debug", session.debug)
        .with("CgroupDriver", cgroup_driver)
        .with("CgroupVersion", if is_v2 { "2" } else { "1" })
        .with("KernelVersion", line_of("/proc/sys/kernel/osrelease"))
        .with("OperatingSystem", system)
        .with("OSType", "linux")
        .with("Architecture", std::env::consts::ARCH)
        .with("IndexServerAddress", "https://index.docker.io/v1/")
        .with("NCPU", cpus)
        .with("MemTotal", memory)
        .with_key("MemGiB", "-", Value::Float(memory as f64 / f64::from(1 << 30)))
        .with("DockerRootDir", root)
        .with("Name", line_of("/proc/sys/kernel/hostname"))
        .with(
            "ServerVersion",
            match session.program {
                Program::Brig => VERSION,
                Program::Docker => DOCKER,
            },
        )
        .with("Runtimes", map_of_runtimes(&runtimes))
        .with("DefaultRuntime", default_runtime)
        .with("Swarm", swarm)
        .with("SecurityOptions", security_options(is_v2))
        .with("Warnings", Value::nil_list())
        .with("ClientInfo", client)
        .into())
}

/// The text of a small file of the kernel's, without the end of its last line.
fn line_of(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What carries root file systems here, in Docker's names, and what is known of it: found out by trying.
fn storage(store: &Store) -> Result<(&'static str, Value), Failure> {
    let root = &store.roots().root;
    let (driver, why) = if rootless::is_needed() {
        (
            "vfs",
            Some("an ordinary user's mount would end with its command".to_owned()),
        )
    } else {
        match mount::probe(&root.join("tmp"))? {
            Ok(()) => ("overlay2", None),
            Err(why) => ("vfs", Some(why)),
        }
    };
    let form = match Means::of_host(store, workshop::wished_form()?)?.form {
        Form::Erofs => "EROFS images",
        Form::Tree => "directories",
    };
    let mut status = vec![("Layers", form.to_owned())];
    status.extend(why.map(|why| ("Copied because", why)));
    status.push(("Store", root.display().to_string()));
    let pairs = status
        .into_iter()
        .map(|(name, value)| Value::from(vec![name.to_owned(), value]))
        .collect();
    Ok((driver, Value::list("[][2]string", pairs)))
}

/// The runtimes that run our bundles, as far as they are installed, by name; ours sorts first.
fn runtimes() -> BTreeMap<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|program| sys::fs::access(program, libc::X_OK).is_ok())
    };
    ["runb", "runc"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), find(name)?.display().to_string())))
        .collect()
}

fn map_of_runtimes(runtimes: &BTreeMap<String, String>) -> Value {
    Map {
        kind: "map[string]system.RuntimeWithStatus",
        entries: runtimes
            .iter()
            .map(|(name, path)| {
                let one = Struct::new("system.RuntimeWithStatus").with_key("Path", "path", path.as_str());
                (name.clone(), one.into())
            })
            .collect(),
        is_nil: false,
        methods: BTreeMap::new(),
    }
    .into()
}

/// What confines containers on this kernel.
fn security_options(is_v2: bool) -> Vec<String> {
    let is_there = |path: &str| Path::new(path).exists();
    let mut options = Vec::new();
    if line_of("/sys/module/apparmor/parameters/enabled") == "Y" {
        options.push("name=apparmor");
    }
    if is_there("/proc/sys/kernel/seccomp/actions_avail") {
        options.push("name=seccomp,profile=builtin");
    }
    if is_there("/sys/fs/selinux/enforce") {
        options.push("name=selinux");
    }
    if rootless::is_needed() {
        options.push("name=rootless");
    }
    if is_v2 && is_there("/proc/self/ns/cgroup") {
        options.push("name=cgroupns");
    }
    options.into_iter().map(str::to_owned).collect()
}

/// The same for one store of one machine, in the form of a UUID. The machine's own id is not for others to see (machine-id(5)).
fn identity(root: &str) -> String {
    let machine = line_of("/etc/machine-id");
    let digest = image::Digest::of(format!("brig {machine} {root}").as_bytes());
    let hex = digest.hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn df(session: &Session, parsed: &Parsed) -> Outcome {
    let store = workshop::open_store(session)?;
    let usage = image::disk::usage(&store)?;
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if parsed.switch("verbose") {
        let mut rows = super::images::rows_of(&store, &Choice::default(), true)?;
        for row in &mut rows {
            if let Some(own) = usage.images.iter().find(|u| u.image.id.to_string() == row.id) {
                row.shared = Some(signed(own.shared));
                row.containers = Some(signed(own.users as u64));
            }
        }
        let volumes = super::volumes::usage(&workshop::containers(session)?)?;
        return session.print(&df::verbose(&rows, &volumes, format.as_deref(), units::now())?);
    }
    let images = df::Usage {
        kind: "Images",
        total: usage.images.len(),
        active: usage.images.iter().filter(|u| u.users > 0).count(),
        // The compressed form, which push and save need, takes space as well.
        size: signed(usage.layers + usage.blobs),
        reclaimable: signed(usage.reclaimable + usage.blobs.saturating_sub(needed_blobs(&store, &usage)?)),
    };
    let cache = cache_usage(&store)?;
    let all = [images, containers_usage(session)?, volumes_usage(session)?, cache];
    session.print(&df::list(&all, format.as_deref())?)
}

/// What builds have kept.
fn cache_usage(store: &Store) -> Result<df::Usage, Failure> {
    let mut usage = df::Usage {
        kind: "Build Cache",
        ..df::Usage::default()
    };
    let mut counted = BTreeSet::new();
    for entry in store.cache_entries()? {
        usage.total += 1;
        usage.active += usize::from(entry.is_in_use);
        // What an image has as well is counted there.
        if entry.is_shared || !counted.insert(entry.diff_id.clone().unwrap_or(entry.key)) {
            continue;
        }
        let size = i64::try_from(entry.size).unwrap_or(i64::MAX);
        usage.size = usage.size.saturating_add(size);
        if !entry.is_in_use {
            usage.reclaimable = usage.reclaimable.saturating_add(size);
        }
    }
    Ok(usage)
}

/// What lies in volumes.
fn volumes_usage(session: &Session) -> Result<df::Usage, Failure> {
    let mut usage = df::Usage {
        kind: "Local Volumes",
        ..df::Usage::default()
    };
    for volume in super::volumes::usage(&workshop::containers(session)?)? {
        let size = volume.size.unwrap_or(0);
        usage.total += 1;
        usage.size = usage.size.saturating_add(size);
        match volume.links {
            Some(0) | None => usage.reclaimable = usage.reclaimable.saturating_add(size),
            Some(_) => usage.active += 1,
        }
    }
    Ok(usage)
}

/// What containers have written.
fn containers_usage(session: &Session) -> Result<df::Usage, Failure> {
    let containers = workshop::containers(session)?;
    let mut usage = df::Usage {
        kind: "Containers",
        ..df::Usage::default()
    };
    for container in containers.list()? {
        let size = i64::try_from(engine::remove::size(&containers, container.id())).unwrap_or(i64::MAX);
        usage.total += 1;
        usage.size = usage.size.saturating_add(size);
        match container.is_supervised() {
            true => usage.active += 1,
            false => usage.reclaimable = usage.reclaimable.saturating_add(size),
        }
    }
    Ok(usage)
}

/// How many there are, and how many run, stand still, and do neither.
fn count_containers(session: &Session) -> Result<[i64; 4], Failure> {
    let mut counts = [0; 4];
    for container in workshop::containers(session)?.list()? {
        counts[0] += 1;
        counts[match container.state.status {
            monitor::state::Status::Running | monitor::state::Status::Restarting => 1,
            monitor::state::Status::Paused => 2,
            _ => 3,
        }] += 1;
    }
    Ok(counts)
}

/// Bytes of blobs that images with users have.
fn needed_blobs(store: &Store, usage: &image::disk::Usage) -> Result<u64, Failure> {
    let mut needed = BTreeMap::new();
    for own in usage.images.iter().filter(|u| u.users > 0) {
        for blob in store.blob_keys(&own.image.manifest)? {
            needed.insert(blob.to_string(), store.blob_size(&blob)?.unwrap_or(0));
        }
    }
    Ok(needed.values().sum())
}

fn check(session: &Session, parsed: &Parsed) -> Outcome {
    let workshop = Workshop::open(session)?;
    let store = &workshop.store;
    let depth = if parsed.switch("quick") {
        Depth::Quick
    } else {
        Depth::Full
    };
    let maker = workshop.maker(&progress::silent)?;
    let mut findings = store.check(depth, &|_| ())?;
    if !parsed.switch("repair") {
        if depth == Depth::Full {
            findings.extend(verify::layers(&maker, &findings)?);
        }
        let left = recovery::tell(session, &workshop.containers()?)?;
        return verdict(session, &findings, left);
    }
    let client = workshop.client(session.credentials())?;
    let repairer = Repairer {
        maker: &maker,
        client: &client,
    };
    let mut outcomes = repairer.repair(&findings)?;
    if depth == Depth::Full {
        // Only now: what a layer is compared with is its blob.
        let left: Vec<Finding> = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Mended::NotMended(_)))
            .map(|(finding, _)| finding.clone())
            .collect();
        outcomes.extend(repairer.repair(&verify::layers(&maker, &left)?)?);
    }
    let mut failed = 0;
    for (finding, outcome) in &outcomes {
        let words = match outcome {
            Mended::Fetched(repository) => format!("pulled again from {}", repository.familiar()),
            Mended::Rebuilt => "unpacked again".to_owned(),
            Mended::Removed => "removed".to_owned(),
            Mended::NotMended(why) => {
                failed += 1;
                format!("not mended: {why}")
            }
        };
        session.print(&format!("{}: {words}\n", in_words(finding)))?;
    }
    let (found, not_mended) = recovery::mend(session, &workshop.containers()?)?;
    failed += not_mended;
    match failed {
        0 if outcomes.is_empty() && found == 0 => session.print("The store is sound.\n"),
        0 => session.print("The store is sound again.\n"),
        n => Err(Failure::plain(format!(
            "{n} of {} could not be mended",
            outcomes.len() + found
        ))),
    }
}

/// Damage is a failure. What only takes space, or will be made again by itself, is told and is none.
/// `left`: what is left of containers.
fn verdict(session: &Session, findings: &[Finding], left: usize) -> Outcome {
    for finding in findings {
        session.print(&format!("{}\n", in_words(finding)))?;
    }
    let is_harmless =
        |f: &&Finding| matches!(f.damage, Damage::NotSynced | Damage::Foreign | Damage::Unknown);
    let damaged = findings.len() - findings.iter().filter(is_harmless).count() + left;
    if damaged == 0 {
        return session.print("The store is sound.\n");
    }
    Err(Failure::plain(format!(
        "the store is damaged in {damaged} places; {} system check --repair mends them",
        session.program.name()
    )))
}

fn in_words(finding: &Finding) -> String {
    let subject = match &finding.subject {
        Subject::Blob(digest) => format!("blob {digest}"),
        Subject::Layer(key) => format!("layer {key}"),
        Subject::Stray(path) => format!("file {}", path.display()),
        Subject::Database => "database".to_owned(),
    };
    match &finding.damage {
        Damage::Missing => format!("{subject} is not there"),
        Damage::Corrupt(why) => format!("{subject} is damaged: {why}"),
        Damage::NotSynced => {
            format!("{subject} was not on the disk when the machine stopped; it will be made again")
        }
        Damage::Foreign => {
            format!("{subject} was written by another version, and cannot be compared with its blob")
        }
        Damage::Unknown => format!("{subject} belongs to nothing"),
    }
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let filters = session.config().with_prune_filters(parsed.filters("filter"));
    let with_volumes = parsed.switch("volumes");
    if with_volumes && filters.iter().any(|(name, _)| name == "until") {
        return Err(Failure::plain(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let question = prune_question(parsed.switch("all"), with_volumes, &filters);
    if !parsed.switch("force") && !terminal::confirm(session, &question)? {
        return Err(Failure::silent(0));
    }
    let choice = Choice::of_age_and_labels(&filters, units::now())?;
    // What a filter asks for, a download does not have. First, because these go without a change of the database, which a disk that a
    // broken download has filled has no room for.
    let fetched = match filters.is_empty() {
        true => image::evict::drop_partial(&workshop::open_store(session)?)?,
        false => 0,
    };
    // Before the images that they stand on.
    let (containers, freed) = super::containers::prune_containers(session, &choice)?;
    let networks = super::networks::prune_networks(session, &choice)?;
    let (volumes, emptied) = match with_volumes {
        true => super::volumes::prune_volumes(session, &choice, false)?,
        false => (String::new(), 0),
    };
    let (images, mut bytes) = super::images::prune_images(session, parsed)?;
    bytes += freed + emptied;
    let (records, kept) = prune_cache(session, parsed.switch("all"), &filters, &choice)?;
    bytes += kept + fetched;
    let bytes = units::size_exact(i64::try_from(bytes).unwrap_or(i64::MAX));
    session.print(&format!(
        "{containers}{networks}{volumes}{images}{records}Total reclaimed space: {bytes}\n"
    ))
}

/// What builds have kept, and nobody builds with. Records have no labels: a filter by these is not for them.
fn prune_cache(
    session: &Session,
    all: bool,
    filters: &[(String, String)],
    choice: &Choice,
) -> Result<(String, u64), Failure> {
    if filters.iter().any(|(name, _)| name != "until") {
        return Ok((String::new(), 0));
    }
    let prune = Prune {
        all,
        unused_since: choice.before().map(|time| time.saturating_mul(1_000_000_000)),
        ..Prune::default()
    };
    let gone = workshop::open_store(session)?.prune_cache(&prune)?;
    if gone.entries.is_empty() {
        return Ok((String::new(), 0));
    }
    let mut words = "Deleted build cache objects:\n".to_owned();
    for entry in &gone.entries {
        // As long as BuildKit's.
        words.push_str(entry.key.hex().get(..25).unwrap_or_default());
        words.push('\n');
    }
    Ok((words + "\n", gone.bytes))
}

/// What will go, in Docker's form.
fn prune_question(all: bool, with_volumes: bool, filters: &[(String, String)]) -> String {
    let what = if all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let cache = if all {
        "all build cache"
    } else {
        "unused build cache"
    };
    let volumes = match with_volumes {
        true => "  - all anonymous volumes not used by at least one container\n",
        false => "",
    };
    let mut question = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{volumes}  - {what}\n  - {cache}\n"
    );
    if filters.is_empty() {
        question.push_str("  - all downloads that were broken off\n");
    } else {
        question.push_str("\n  Items to be pruned will be filtered with:\n");
        let mut shown: Vec<String> = filters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.sort_by(|a, b| units::natural(a, b));
        for filter in shown {
            question.push_str(&format!("  - {filter}\n"));
        }
    }
    question + "\nAre you sure you want to continue?"
}
