//! From the flags of `run`, `create`, `exec` and `update` to what the engine understands.
//!
//! May not: touch containers or images. Files that flags name (`--env-file`, `--label-file`, a seccomp profile) are read here,
//! the environment too; the rest is text.

pub mod devices;
mod files;
pub mod mounts;
pub mod networks;
pub mod ports;
pub mod table;
pub mod values;

use std::collections::BTreeMap;

use engine::model::{
    Config, DeviceRequest, Empty, Endpoint, Healthcheck, HostConfig, LogConfig, RestartPolicy, Ulimit,
};
use serde_json::Value;

use crate::config::Config as UserConfig;
use crate::flags::Parsed;
use crate::session::{Failure, Program, Session};
use crate::template::quote;
use mounts::Volume;
use networks::Attachment;

/// When to pull the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}

/// What `run` or `create` was asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub name: Option<String>,
    /// Without what the image has to say.
    pub config: Config,
    pub host: HostConfig,
    pub networks: BTreeMap<String, Endpoint>,
    /// Where ports are published that name no address; empty: everywhere.
    pub publish_at: String,
    pub platform: Option<String>,
    pub pull: Pull,
    /// Do not show a pull.
    pub quiet: bool,
    pub detach: bool,
    pub sig_proxy: bool,
    /// Empty: they cannot be used.
    pub detach_keys: Vec<u8>,
}

/// Reads the flags of `run` or `create`, and checks what can be checked without an image.
///
/// # Errors
/// Docker's sentence, with its exit code.
pub fn parse(session: &Session, parsed: &Parsed) -> Result<Wanted, Failure> {
    let verb = session.called.as_str();
    let complain = |why: String| complaint(session.program, verb, &why);
    let pull = pull(parsed.text("pull").as_deref()).map_err(complain)?;
    if parsed.switch("use-api-socket") {
        return Err(complain(
            "--use-api-socket cannot be obeyed: there is no daemon, so there is no socket".to_owned(),
        ));
    }
    let config_file = session.config();
    let (config, host, networks) = definition(parsed, &config_file).map_err(complain)?;
    let publish_at = publish_address(&config_file).map_err(complain)?;
    let runs = verb == "run";
    let mut wanted = Wanted {
        name: parsed.text("name").filter(|n| !n.is_empty()),
        config,
        host,
        networks,
        publish_at,
        platform: parsed.text("platform").filter(|p| !p.is_empty()).or_else(|| {
            std::env::var("DOCKER_DEFAULT_PLATFORM")
                .ok()
                .filter(|p| !p.is_empty())
        }),
        pull,
        quiet: parsed.switch("quiet"),
        detach: runs && parsed.switch("detach"),
        sig_proxy: runs && parsed.switch("sig-proxy"),
        detach_keys: Vec::new(),
    };
    if runs {
        streams(session, parsed, &mut wanted)?;
    }
    Ok(wanted)
}

/// `$BRIG_PUBLISH_ADDRESS`, or the user's own default.
fn publish_address(config: &UserConfig) -> Result<String, String> {
    let variable = std::env::var("BRIG_PUBLISH_ADDRESS").unwrap_or_default();
    let text = match variable.as_str() {
        "" => config.publish_address.as_str(),
        variable => variable,
    };
    match text.parse::<std::net::IpAddr>() {
        _ if text.is_empty() => Ok(String::new()),
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!(
            "{text} is no address to publish ports at (BRIG_PUBLISH_ADDRESS, or publishAddress in config.json)"
        )),
    }
}

/// What `run` attaches, and the keys that end it.
fn streams(session: &Session, parsed: &Parsed, wanted: &mut Wanted) -> Result<(), Failure> {
    let config = &mut wanted.config;
    if wanted.detach {
        if !parsed.list("attach").is_empty() {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        terminal(session, config.attach_stdin, config.tty)?;
    }
    wanted.detach_keys = detach_keys(session, parsed)?;
    Ok(())
}

/// The keys of `--detach-keys`, of the user's configuration, or the usual ones.
///
/// # Errors
/// They are none.
pub fn detach_keys(session: &Session, parsed: &Parsed) -> Result<Vec<u8>, Failure> {
    let given = parsed.text("detach-keys").filter(|k| !k.is_empty());
    let keys = given.unwrap_or_else(|| match session.config().detach_keys.as_str() {
        "" => "ctrl-p,ctrl-q".to_owned(),
        own => own.to_owned(),
    });
    crate::keys::parse(&keys).map_err(Failure::plain)
}

/// Whoever wants a terminal and its input has to have one.
///
/// # Errors
/// Docker's sentence, by which scripts know it.
pub fn terminal(session: &Session, stdin: bool, tty: bool) -> Result<(), Failure> {
    if stdin && tty && !session.in_is_terminal() {
        return Err(Failure::plain("the input device is not a TTY"));
    }
    Ok(())
}

/// `docker: WHY`, and where help is; exit code 125.
pub fn complaint(program: Program, verb: &str, why: &str) -> Failure {
    let name = program.name();
    Failure::new(
        125,
        format!("{name}: {why}\n\nRun '{name} {verb} --help' for more information"),
    )
}

fn pull(text: Option<&str>) -> Result<Pull, String> {
    match text {
        None | Some("" | "missing") => Ok(Pull::Missing),
        Some("always") => Ok(Pull::Always),
        Some("never") => Ok(Pull::Never),
        Some(other) => Err(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        )),
    }
}

type Definition = (Config, HostConfig, BTreeMap<String, Endpoint>);

/// In the order in which Docker looks at the flags, so that of two mistakes the same one is told.
fn definition(parsed: &Parsed, user: &UserConfig) -> Result<Definition, String> {
    let mac = parsed.text("mac-address").filter(|m| !m.is_empty());
    if let Some(mac) = mac.as_deref().filter(|m| values::mac(m).is_none()) {
        return Err(format!("{mac} is not a valid mac address"));
    }
    let swappiness = parsed.int("memory-swappiness").unwrap_or(-1);
    if !(-1..=100).contains(&swappiness) {
        return Err(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        ));
    }
    let (binds, volumes) = volumes(&parsed.list("volume"))?;
    let published = ports::published(&parsed.list("publish"))?;
    let exposed = ports::exposed(&published, &parsed.list("expose"))?;
    let (devices, requests) = device_list(parsed)?;
    let environment = environment(parsed, user)?;
    let labels = labels(parsed)?;
    modes(parsed)?;
    let restart = restart_policy(parsed.text("restart").as_deref().unwrap_or("no"))?;
    let log = log(parsed)?;
    let security = security(parsed)?;
    let storage = storage(&parsed.list("storage-opt"))?;
    let healthcheck = healthcheck(parsed)?;

    let streams: Vec<String> = parsed
        .list("attach")
        .iter()
        .filter_map(|s| values::stream(s).ok())
        .collect();
    let attached = |name: &str| streams.iter().any(|s| s == name);
    let interactive = parsed.switch("interactive");
    let attach_stdin = interactive || attached("stdin");
    let mut operands = parsed.names().into_iter();
    let image = operands.next().unwrap_or_default();
    let command: Vec<String> = operands.collect();
    let text = |name: &'static str| parsed.text(name).unwrap_or_default();
    let int = |name: &'static str| parsed.int(name).unwrap_or(0);
    let some = |list: Vec<String>| Some(list).filter(|l| !l.is_empty());

    let config = Config {
        hostname: text("hostname"),
        domainname: text("domainname"),
        user: text("user"),
        attach_stdin,
        attach_stdout: streams.is_empty() || attached("stdout"),
        attach_stderr: streams.is_empty() || attached("stderr"),
        exposed_ports: Some(exposed).filter(|e| !e.is_empty()),
        tty: parsed.switch("tty"),
        open_stdin: interactive,
        stdin_once: interactive && attach_stdin,
        env: environment,
        cmd: some(command),
        healthcheck,
        image,
        volumes: Some(volumes).filter(|v| !v.is_empty()),
        working_dir: text("workdir"),
        // An empty one takes the image's away.
        entrypoint: parsed.text("entrypoint").map(|e| vec![e]),
        labels,
        stop_signal: parsed.text("stop-signal").filter(|s| !s.is_empty()),
        stop_timeout: parsed.int("stop-timeout"),
        ..Config::default()
    };

    let mut host = HostConfig {
        binds: some(binds),
        container_id_file: text("cidfile"),
        log_config: log,
        port_bindings: published,
        restart_policy: restart,
        auto_remove: parsed.switch("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: some(parsed.list("volumes-from")),
        annotations: devices::pairs(&parsed.list("annotation")),
        cap_add: some(capabilities(&parsed.list("cap-add"))),
        cap_drop: some(capabilities(&parsed.list("cap-drop"))),
        cgroupns_mode: text("cgroupns"),
        dns: normal(&parsed.list("dns"), |t| values::address(t).map(|a| a.to_string())),
        dns_options: parsed.lists(&["dns-opt", "dns-option"]),
        dns_search: normal(&parsed.list("dns-search"), |t| values::search_domain(t).ok()),
        extra_hosts: some(normal(&parsed.list("add-host"), |t| values::extra_host(t).ok())),
        group_add: some(parsed.list("group-add")),
        ipc_mode: text("ipc"),
        links: some(parsed.list("link")),
        oom_score_adj: int("oom-score-adj"),
        pid_mode: text("pid"),
        privileged: parsed.switch("privileged"),
        publish_all_ports: parsed.switch("publish-all"),
        readonly_rootfs: parsed.switch("read-only"),
        masked_paths: security.unconfined_paths(),
        readonly_paths: security.unconfined_paths(),
        security_opt: some(security.options),
        storage_opt: storage,
        tmpfs: tmpfs(&parsed.list("tmpfs")),
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        sysctls: devices::pairs(&parsed.list("sysctl")),
        runtime: text("runtime"),
        isolation: text("isolation"),
        blkio_weight_device: read(&parsed.list("blkio-weight-device"), devices::weight)?,
        blkio_device_read_bps: read(&parsed.list("device-read-bps"), devices::bytes_per_second)?,
        blkio_device_write_bps: read(&parsed.list("device-write-bps"), devices::bytes_per_second)?,
        blkio_device_read_iops: read(&parsed.list("device-read-iops"), devices::operations_per_second)?,
        blkio_device_write_iops: read(&parsed.list("device-write-iops"), devices::operations_per_second)?,
        cgroup_parent: text("cgroup-parent"),
        devices,
        device_cgroup_rules: some(parsed.list("device-cgroup-rule")),
        device_requests: Some(requests).filter(|r| !r.is_empty()),
        memory_swappiness: Some(swappiness).filter(|s| *s != -1),
        oom_kill_disable: Some(true).filter(|_| parsed.switch("oom-kill-disable")),
        ulimits: ulimits(&parsed.list("ulimit"))?,
        cpu_count: int("cpu-count"),
        cpu_percent: int("cpu-percent"),
        io_maximum_iops: value(parsed, "io-maxiops", |t| values::unsigned(t, 64))?.unwrap_or(0),
        io_maximum_bandwidth: value(parsed, "io-maxbandwidth", values::size)?.map_or(0, i64::unsigned_abs),
        mounts: read(&parsed.list("mount"), mounts::mount)?,
        init: parsed.was_given("init").then(|| parsed.switch("init")),
        ..HostConfig::default()
    };
    if let Some(size) = value(parsed, "shm-size", values::size)?.filter(|s| *s != 0) {
        host.shm_size = size;
    }
    limits(parsed, &mut host)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    let given = read(&parsed.lists(&["network", "net"]), networks::attachment)?;
    let address = |name| parsed.text(name).and_then(|t| values::address(&t));
    let older = Attachment {
        aliases: parsed.lists(&["net-alias", "network-alias"]),
        links: parsed.list("link"),
        ipv4: address("ip").filter(|a| a.is_ipv4()).map(|a| a.to_string()),
        ipv6: address("ip6").map(|a| a.to_string()),
        link_local: normal(&parsed.list("link-local-ip"), |t| {
            t.parse::<std::net::IpAddr>().ok().map(|a| a.to_string())
        }),
        mac,
        ..Attachment::default()
    };
    let (mode, networks) = networks::endpoints(given, older)?;
    host.network_mode = mode;
    Ok((config, host, networks))
}

/// The limits that can be changed later, too.
///
/// # Errors
/// A value has no sense; the table of flags has seen that before.
pub fn limits(parsed: &Parsed, host: &mut HostConfig) -> Result<(), String> {
    let int = |name: &'static str| parsed.int(name).unwrap_or(0);
    let text = |name: &'static str| parsed.text(name).unwrap_or_default();
    host.blkio_weight = match value(parsed, "blkio-weight", |t| values::unsigned(t, 16))? {
        Some(weight) => u16::try_from(weight).unwrap_or(u16::MAX),
        None => 0,
    };
    host.cpu_period = int("cpu-period");
    host.cpu_quota = int("cpu-quota");
    host.cpu_realtime_period = int("cpu-rt-period");
    host.cpu_realtime_runtime = int("cpu-rt-runtime");
    host.cpu_shares = int("cpu-shares");
    host.nano_cpus = value(parsed, "cpus", values::cpus)?.unwrap_or(0);
    host.cpuset_cpus = text("cpuset-cpus");
    host.cpuset_mems = text("cpuset-mems");
    host.memory = value(parsed, "memory", values::size)?.unwrap_or(0);
    host.memory_reservation = value(parsed, "memory-reservation", values::size)?.unwrap_or(0);
    host.memory_swap = value(parsed, "memory-swap", values::swap)?.unwrap_or(0);
    host.pids_limit = parsed.int("pids-limit").filter(|n| *n != 0);
    Ok(())
}

fn value<T>(
    parsed: &Parsed,
    name: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    parsed.text(name).map(|text| read(&text)).transpose()
}

fn read<T>(texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text)).collect()
}

fn normal(texts: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    texts.iter().filter_map(|text| read(text)).collect()
}

/// What is bound, and the anonymous volumes; the same one twice counts once.
fn volumes(given: &[String]) -> Result<(Vec<String>, BTreeMap<String, Empty>), String> {
    let (mut binds, mut anonymous) = (Vec::new(), BTreeMap::new());
    for text in given {
        match mounts::volume(text)? {
            Volume::Anonymous(path) => {
                anonymous.insert(path, Empty {});
            }
            Volume::Bound(bind) if !binds.contains(&bind) => binds.push(bind),
            Volume::Bound(_) => {}
        }
    }
    Ok((binds, anonymous))
}

/// In their full names, sorted, each once; whether there is one of that name is looked at later.
fn capabilities(given: &[String]) -> Vec<String> {
    let full = |name: &String| match name.trim().to_uppercase() {
        all if all == "ALL" || all.starts_with("CAP_") => all,
        short => format!("CAP_{short}"),
    };
    let names: std::collections::BTreeSet<String> = given.iter().map(full).collect();
    names.into_iter().collect()
}

fn tmpfs(given: &[String]) -> BTreeMap<String, String> {
    given
        .iter()
        .map(|text| text.split_once(':').unwrap_or((text, "")))
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect()
}

/// By name; of the same name the last one.
fn ulimits(given: &[String]) -> Result<Vec<Ulimit>, String> {
    let mut all = BTreeMap::new();
    for text in given {
        let limit = devices::ulimit(text)?;
        all.insert(limit.name.clone(), limit);
    }
    Ok(all.into_values().collect())
}

/// Devices by path; GPUs and names of CDI are requests.
fn device_list(parsed: &Parsed) -> Result<(Vec<engine::model::Device>, Vec<DeviceRequest>), String> {
    let (cdi, paths): (Vec<String>, Vec<String>) = parsed
        .list("device")
        .into_iter()
        .partition(|text| devices::is_cdi_name(text));
    let devices = read(&paths, devices::device)?;
    let mut requests = read(&parsed.list("gpus"), devices::gpus)?;
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: Some(cdi),
            ..DeviceRequest::default()
        });
    }
    Ok((devices, requests))
}

/// Files first, then `--env`, which so wins; then the proxies of the user's configuration that nobody has named.
fn environment(parsed: &Parsed, user: &UserConfig) -> Result<Vec<String>, String> {
    let mut all = environment_of(parsed).map_err(|why| format!("--env-file: {why}"))?;
    let given = parsed.list("env");
    let is_given = |name: &str| {
        given
            .iter()
            .any(|v| v.split_once('=').map_or(v.as_str(), |(n, _)| n) == name)
    };
    let proxies = user.proxies.get("default").and_then(Value::as_object);
    for (key, name) in [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ] {
        let value = proxies.and_then(|p| p.get(key)).and_then(Value::as_str);
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            for name in [name.to_owned(), name.to_lowercase()] {
                if !is_given(&name) {
                    all.push(format!("{name}={value}"));
                }
            }
        }
    }
    Ok(all)
}

/// `--env-file` and `--env`, for `exec`, too.
///
/// # Errors
/// A file cannot be read.
pub fn environment_of(parsed: &Parsed) -> Result<Vec<String>, String> {
    let host = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
    let mut all = Vec::new();
    for file in parsed.list("env-file") {
        all.extend(files::read(&file, host)?);
    }
    all.extend(read(&parsed.list("env"), values::environment)?);
    Ok(all)
}

fn labels(parsed: &Parsed) -> Result<BTreeMap<String, String>, String> {
    let mut all = Vec::new();
    for file in parsed.list("label-file") {
        // A key alone is a label here, but Docker's reader of files drops it.
        all.extend(files::read(&file, |_| None).map_err(|why| format!("--label-file: {why}"))?);
    }
    all.extend(parsed.list("label"));
    Ok(devices::pairs(&all))
}

/// Namespaces that can be shared.
fn modes(parsed: &Parsed) -> Result<(), String> {
    let mode = |name: &'static str| parsed.text(name).unwrap_or_default();
    let of_container = |text: &str| {
        text.strip_prefix("container:")
            .is_some_and(|name| !name.is_empty())
    };
    let pid = mode("pid");
    if !matches!(pid.as_str(), "" | "host") && !of_container(&pid) {
        return Err("--pid: invalid PID mode".to_owned());
    }
    if !matches!(mode("uts").as_str(), "" | "host") {
        return Err("--uts: invalid UTS mode".to_owned());
    }
    match mode("userns").as_str() {
        "" | "host" => {}
        // Podman's words. Whoever asks for ids of their own must not get a container without them.
        word if matches!(
            word.split(':').next(),
            Some("private" | "auto" | "keep-id" | "nomap")
        ) =>
        {
            return Err(format!(
                "--userns: invalid USER mode: brig has no {word}: a container has the ids of who runs brig, and an ordinary user's are those of /etc/subuid"
            ));
        }
        _ => return Err("--userns: invalid USER mode".to_owned()),
    }
    if !matches!(mode("cgroupns").as_str(), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".to_owned());
    }
    Ok(())
}

/// A policy; whether there is one of that name is looked at with the rest of the definition.
///
/// # Errors
/// It has no form.
pub fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = values::restart(text)?;
    let count = match (name.as_str(), count) {
        ("on-failure", ..0) => {
            return Err("invalid restart policy: maximum retry count cannot be negative".to_owned());
        }
        (_, ..0) => {
            return Err(
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
                    .to_owned(),
            );
        }
        (_, count) => u32::try_from(count).unwrap_or(u32::MAX),
    };
    Ok(RestartPolicy {
        name,
        maximum_retry_count: count,
    })
}

fn log(parsed: &Parsed) -> Result<LogConfig, String> {
    let kind = parsed.text("log-driver").unwrap_or_default();
    let options = parsed.list("log-opt");
    if kind == "none" && !options.is_empty() {
        return Err(format!("invalid logging opts for driver {kind}"));
    }
    Ok(LogConfig {
        kind,
        config: devices::pairs(&options),
    })
}

struct Security {
    options: Vec<String>,
    /// `systempaths=unconfined`: nothing of /proc and /sys is masked.
    unconfined: bool,
}

impl Security {
    fn unconfined_paths(&self) -> Option<Vec<String>> {
        self.unconfined.then(Vec::new)
    }
}

/// A seccomp profile is read now, so that the container does not depend on the file.
fn security(parsed: &Parsed) -> Result<Security, String> {
    let mut all = Security {
        options: Vec::new(),
        unconfined: false,
    };
    for option in parsed.list("security-opt") {
        let (key, value) = match option.split_once('=') {
            Some(pair) => pair,
            None if option == "no-new-privileges" => (option.as_str(), ""),
            None => option.split_once(':').unwrap_or((&option, "")),
        };
        if value.is_empty() && key != "no-new-privileges" {
            return Err(format!("invalid --security-opt: {}", quote(&option)));
        }
        match (key, value) {
            ("seccomp", "builtin" | "unconfined") => all.options.push(option),
            ("seccomp", file) => all.options.push(format!("seccomp={}", seccomp(file)?)),
            _ if option == "systempaths=unconfined" => all.unconfined = true,
            _ => all.options.push(option),
        }
    }
    Ok(all)
}

fn seccomp(file: &str) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|e| {
        format!(
            "opening seccomp profile ({file}) failed: {}",
            files::open(file, &e)
        )
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|e| e.to_string());
    text.and_then(|text| match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(without_spaces(text)),
        Err(e) => Err(e.to_string()),
    })
    .map_err(|e| format!("compacting json for seccomp profile ({file}) failed: {e}"))
}

/// JSON without the white space between its words.
fn without_spaces(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            if in_string {
                in_string = escaped || *c != '"';
                escaped = *c == '\\' && !escaped;
                return true;
            }
            in_string = *c == '"';
            !c.is_ascii_whitespace()
        })
        .collect()
}

fn storage(given: &[String]) -> Result<BTreeMap<String, String>, String> {
    if given.iter().any(|option| !option.contains('=')) {
        return Err("invalid storage option".to_owned());
    }
    Ok(devices::pairs(given))
}

fn healthcheck(parsed: &Parsed) -> Result<Option<Healthcheck>, String> {
    let time = |name| value(parsed, name, values::duration).map(|t| t.unwrap_or(0));
    let command = parsed.text("health-cmd").unwrap_or_default();
    let check = Healthcheck {
        test: match command.as_str() {
            "" => Vec::new(),
            command => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: parsed.int("health-retries").unwrap_or(0),
    };
    let has_settings = check != Healthcheck::default();
    if parsed.switch("no-healthcheck") {
        if has_settings {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        }));
    }
    for (name, value) in [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("retries", check.retries),
        ("start-period", check.start_period),
        ("start-interval", check.start_interval),
    ] {
        if value < 0 {
            return Err(format!("--health-{name} cannot be negative"));
        }
    }
    Ok(Some(check).filter(|_| has_settings))
}

#[cfg(test)]
mod tests;
