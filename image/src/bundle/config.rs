//! The config.json of a bundle: what `docker create` would give an image, as the runtime specification has it.
//!
//! May not: touch the kernel or the image. Whoever runs as whom, and what this machine is like, are arguments.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::defaults::{self, CAPABILITIES, PATH, cleaned, device_rules};
use super::idmap::IdMaps;
use super::seccomp;
use super::user::User;
use crate::oci::{ImageConfig, RunConfig};
use crate::{Error, Result};

/// What somebody wants otherwise than the image says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In place of the image's `CMD`, if not empty.
    pub command: Vec<String>,
    /// In place of the image's `ENTRYPOINT`, whose `CMD` then means nothing.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`; `NAME` alone takes one away.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// In place of the first twelve characters of the id.
    pub hostname: Option<String>,
    pub terminal: bool,
    pub read_only: bool,
    pub host_network: bool,
    pub no_new_privileges: bool,
    /// In place of [`defaults::CAPABILITIES`].
    pub capabilities: Option<Vec<String>>,
    /// Without a seccomp profile.
    pub unconfined: bool,
    pub annotations: BTreeMap<String, String>,
    /// More `mounts[]`, as in config.json.
    pub mounts: Vec<Value>,
    /// For a user namespace that an ordinary user makes.
    pub ids: Option<IdMaps>,
}

/// What this machine is like.
#[derive(Clone, Debug)]
pub struct Host {
    /// As Go calls it.
    pub architecture: String,
    pub kernel: (u32, u32),
    /// /sys/fs/cgroup is one version 2 tree; only there is a cgroup namespace of use.
    pub unified_cgroups: bool,
    /// Files below /sys about the temperature of each CPU, which tell what others do.
    pub thermal: Vec<String>,
}

impl Host {
    /// The one that we are on.
    pub fn ask() -> Host {
        Host {
            architecture: crate::platform::Platform::host().architecture,
            kernel: sys::process::kernel_release(),
            unified_cgroups: defaults::has_unified_cgroups(),
            thermal: defaults::thermal_paths(),
        }
    }
}

/// The whole file.
pub(super) fn document(
    image: &ImageConfig,
    options: &Options,
    id: &str,
    user: &User,
    host: &Host,
) -> Result<Value> {
    let run = &image.config;
    let hostname = hostname(options, id);
    let capabilities: Vec<String> = match &options.capabilities {
        Some(list) => list.clone(),
        None => CAPABILITIES.map(str::to_owned).to_vec(),
    };
    let mut process = json!({
        "terminal": options.terminal,
        "user": user_value(user, options.ids.as_ref()),
        "args": arguments(run, options)?,
        "env": environment(run, options, &hostname),
        "cwd": working_dir(run, options)?,
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
    });
    if options.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    let mut mounts = mounts(options);
    mounts.extend(options.mounts.iter().cloned());
    Ok(json!({
        "ociVersion": "1.1.0",
        "process": process,
        "root": {"path": "rootfs", "readonly": options.read_only},
        "hostname": hostname,
        "mounts": mounts,
        "annotations": annotations(image, options),
        "linux": linux(options, host, &capabilities),
    }))
}

fn hostname(options: &Options, id: &str) -> String {
    match &options.hostname {
        Some(name) => name.clone(),
        None => id.chars().take(12).collect(),
    }
}

fn user_value(user: &User, ids: Option<&IdMaps>) -> Value {
    let mut value = json!({"uid": user.uid, "gid": user.gid});
    // With one id the kernel does not let anybody set groups, and runc refuses them to whoever is not root, mapped or not.
    if ids.is_none() {
        value["additionalGids"] = json!(user.additional_gids);
    }
    value
}

fn arguments(run: &RunConfig, options: &Options) -> Result<Vec<String>> {
    let of = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (mut entrypoint, default) = match &options.entrypoint {
        Some(own) => (own.clone(), Vec::new()),
        None => (of(&run.entrypoint), of(&run.cmd)),
    };
    // `--entrypoint ""` is how one says that there is none.
    if entrypoint == [""] {
        entrypoint.clear();
    }
    entrypoint.extend(match options.command.is_empty() {
        true => default,
        false => options.command.clone(),
    });
    match entrypoint.is_empty() {
        true => Err(Error::invalid("no command specified")),
        false => Ok(entrypoint),
    }
}

/// In Docker's order; what is named again keeps its place. HOME is the runtime's to add.
fn environment(run: &RunConfig, options: &Options, hostname: &str) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if options.terminal {
        env.push("TERM=xterm".to_owned());
    }
    defaults::merge_environment(&mut env, run.env.iter().flatten().chain(&options.env));
    env
}

pub(super) fn working_dir(run: &RunConfig, options: &Options) -> Result<String> {
    let wanted = match (&options.working_dir, &run.working_dir) {
        (Some(own), _) => own.as_str(),
        (None, Some(images)) if !images.is_empty() => images.as_str(),
        (None, _) => "/",
    };
    if options.working_dir.is_some() && !wanted.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{wanted}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(cleaned(wanted))
}

/// The labels of the image, and what else is known of it by the names of the image specification (conversion.md), which labels
/// may override.
fn annotations(image: &ImageConfig, options: &Options) -> BTreeMap<String, String> {
    let run = &image.config;
    let ports: Vec<&str> = run
        .exposed_ports
        .iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect();
    let known = [
        ("os", Some(image.os.clone())),
        ("architecture", Some(image.architecture.clone())),
        ("variant", image.variant.clone()),
        ("os.version", image.os_version.clone()),
        ("author", image.author.clone()),
        ("created", image.created.clone()),
        ("stopSignal", run.stop_signal.clone()),
        ("exposedPorts", Some(ports.join(","))),
    ];
    let mut all: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?)))
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value))
        .collect();
    all.extend(run.labels.iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    all.extend(options.annotations.iter().map(|(k, v)| (k.clone(), v.clone())));
    all
}

fn mounts(options: &Options) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let quiet = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&quiet[..], more].concat();
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // An id that is not mapped cannot own a mount.
    if options.ids.as_ref().is_none_or(|ids| ids.maps_group(5)) {
        pts.push("gid=5");
    }
    // sysfs belongs to a network namespace, and can be mounted only by who owns that.
    let sys = match options.ids.is_some() && options.host_network {
        true => mount(
            "/sys",
            "none",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        ),
        false => mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
    };
    vec![
        mount("/proc", "proc", "proc", &quiet),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", &pts),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        mount("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=67108864"])),
    ]
}

fn linux(options: &Options, host: &Host, capabilities: &[String]) -> Value {
    let mut linux = Map::new();
    if let Some(ids) = &options.ids {
        linux.insert("uidMappings".into(), IdMaps::to_value(&ids.uids));
        linux.insert("gidMappings".into(), IdMaps::to_value(&ids.gids));
    } else {
        linux.insert("resources".into(), json!({"devices": device_rules()}));
    }
    let wanted = [
        ("mount", true),
        ("network", !options.host_network),
        ("uts", true),
        ("pid", true),
        ("ipc", true),
        ("cgroup", host.unified_cgroups),
        ("user", options.ids.is_some()),
    ];
    let namespaces = wanted.iter().filter(|(_, on)| *on);
    linux.insert(
        "namespaces".into(),
        namespaces.map(|(kind, _)| json!({"type": kind})).collect(),
    );
    if !options.unconfined {
        let facts = seccomp::Facts {
            architecture: &host.architecture,
            capabilities,
            kernel: host.kernel,
        };
        linux.insert("seccomp".into(), seccomp::profile(&facts));
    }
    linux.insert("maskedPaths".into(), json!(defaults::masked(&host.thermal)));
    linux.insert("readonlyPaths".into(), json!(defaults::READ_ONLY));
    Value::Object(linux)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host() -> Host {
        Host {
            architecture: "amd64".into(),
            kernel: (6, 1),
            unified_cgroups: true,
            thermal: Vec::new(),
        }
    }

    fn image(run: &str) -> ImageConfig {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2020","config":{run},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        ImageConfig::parse(text.as_bytes()).unwrap()
    }

    fn made(run: &str, options: &Options) -> Value {
        document(
            &image(run),
            options,
            "0123456789abcdef",
            &User::default(),
            &host(),
        )
        .unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn what_runs() {
        let both = r#"{"Entrypoint":["/e"],"Cmd":["c","d"]}"#;
        let args = |run: &str, entrypoint: Option<&[&str]>, command: &[&str]| {
            let options = Options {
                entrypoint: entrypoint.map(strings),
                command: strings(command),
                ..Options::default()
            };
            arguments(&image(run).config, &options)
        };
        assert_eq!(args(both, None, &[]).unwrap(), ["/e", "c", "d"]);
        assert_eq!(args(both, None, &["x"]).unwrap(), ["/e", "x"]);
        assert_eq!(args(both, Some(&["/f"]), &[]).unwrap(), ["/f"]);
        assert_eq!(args(both, Some(&["/f"]), &["y"]).unwrap(), ["/f", "y"]);
        assert_eq!(args(both, Some(&[""]), &["y"]).unwrap(), ["y"]);
        assert_eq!(args(r#"{"Cmd":["c"]}"#, None, &[]).unwrap(), ["c"]);
        for none in [args("{}", None, &[]), args(both, Some(&[""]), &[])] {
            assert_eq!(none.unwrap_err().to_string(), "no command specified");
        }
    }

    #[test]
    fn the_environment_keeps_places() {
        let run = r#"{"Cmd":["c"],"Env":["PATH=/only","A=1","B=x=y","GONE=1"]}"#;
        let options = Options {
            env: strings(&["A=2", "GONE", "NEW=", "NEVER"]),
            terminal: true,
            ..Options::default()
        };
        assert_eq!(
            made(run, &options)["process"]["env"],
            json!([
                "PATH=/only",
                "HOSTNAME=0123456789ab",
                "TERM=xterm",
                "A=2",
                "B=x=y",
                "NEW="
            ])
        );
        let plain = made(r#"{"Cmd":["c"]}"#, &Options::default());
        assert_eq!(plain["process"]["env"], json!([PATH, "HOSTNAME=0123456789ab"]));
        assert_eq!(plain["hostname"], "0123456789ab");
    }

    #[test]
    fn directories_are_absolute_and_clean() {
        let of = |images: &str, own: Option<&str>| {
            let options = Options {
                working_dir: own.map(str::to_owned),
                ..Options::default()
            };
            working_dir(
                &image(&format!(r#"{{"WorkingDir":"{images}"}}"#)).config,
                &options,
            )
        };
        assert_eq!(of("", None).unwrap(), "/");
        assert_eq!(of("a/./b/../c/", None).unwrap(), "/a/c");
        assert_eq!(of("/x", Some("/y/../../z")).unwrap(), "/z");
        assert!(of("/x", Some("y")).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn an_ordinary_user_gets_what_can_be_had() {
        let options = Options {
            ids: Some(IdMaps {
                uids: vec![(0, 1000, 1)],
                gids: vec![(0, 1000, 1)],
            }),
            host_network: true,
            ..Options::default()
        };
        let config = made(r#"{"Cmd":["c"]}"#, &options);
        let linux = &config["linux"];
        assert_eq!(
            linux["uidMappings"],
            json!([{"containerID": 0, "hostID": 1000, "size": 1}])
        );
        assert!(linux.get("resources").is_none());
        assert!(config["process"]["user"].get("additionalGids").is_none());
        assert!(!config["mounts"].to_string().contains("gid="));
        assert_eq!(config["mounts"][3]["type"], "none");
        let kinds = linux["namespaces"].to_string();
        assert!(kinds.contains("user") && !kinds.contains("network"), "{kinds}");
    }

    #[test]
    fn what_is_known_of_the_image_is_annotated() {
        let run = r#"{"Cmd":["c"],"StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{},"53/udp":{}},
            "Labels":{"org.opencontainers.image.created":"label","mine":"1"}}"#;
        assert_eq!(
            made(run, &Options::default())["annotations"],
            json!({
                "mine": "1",
                "org.opencontainers.image.architecture": "amd64",
                "org.opencontainers.image.created": "label",
                "org.opencontainers.image.exposedPorts": "53/udp,80/tcp",
                "org.opencontainers.image.os": "linux",
                "org.opencontainers.image.stopSignal": "SIGQUIT",
            })
        );
    }
}
