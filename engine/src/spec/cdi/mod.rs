//! Devices by name (`--device vendor.com/class=name`, `--gpus`): what files of the Container Device Interface say about them.
//!
//! May not: know a vendor's devices. The files are made by the vendor's tools, and say everything.
//!
//! Fields and rules are those of the CDI specification 1.1 (tags.cncf.io/container-device-interface).

mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::bundle::defaults::merge_environment;
use image::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::{DeviceRequest, HostConfig};

/// Where the files are. Devices of the last directory go before others.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Whose devices `--gpus` means, in this order.
const GPU_VENDORS: [&str; 2] = ["nvidia.com", "amd.com"];

/// Larger files are not read.
const LONGEST_FILE: u64 = 4 << 20;

/// What one file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    kind: String,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Device {
    name: String,
    container_edits: Edits,
}

/// Changes to a configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    pub env: Vec<String>,
    pub device_nodes: Vec<Node>,
    pub net_devices: Vec<NetDevice>,
    pub hooks: Vec<Hook>,
    pub mounts: Vec<Mount>,
    pub intel_rdt: Option<Map<String, Value>>,
    pub additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    pub path: String,
    pub host_path: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub major: i64,
    pub minor: i64,
    pub file_mode: Option<u32>,
    pub permissions: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetDevice {
    pub host_interface_name: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hook {
    pub hook_name: String,
    pub path: String,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub timeout: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    pub host_path: String,
    pub container_path: String,
    pub options: Vec<String>,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Edits {
    fn append(&mut self, other: &Edits) {
        let other = other.clone();
        self.env.extend(other.env);
        self.device_nodes.extend(other.device_nodes);
        self.net_devices.extend(other.net_devices);
        self.hooks.extend(other.hooks);
        self.mounts.extend(other.mounts);
        self.additional_gids.extend(other.additional_gids);
        if other.intel_rdt.is_some() {
            self.intel_rdt = other.intel_rdt;
        }
    }
}

/// What the devices that are asked for by name need.
///
/// # Errors
/// There is no such device, or its file makes no sense.
pub(super) fn look_up(host: &HostConfig) -> Result<Edits> {
    match host.device_requests.as_deref() {
        None | Some([]) => Ok(Edits::default()),
        Some(requests) => edits_of(requests, &Registry::read(&DIRECTORIES.map(Path::new))),
    }
}

fn edits_of(requests: &[DeviceRequest], registry: &Registry) -> Result<Edits> {
    let mut names = Vec::new();
    for request in requests {
        names.extend(names_of(request, registry)?);
    }
    let mut edits = registry.edits(&names)?;
    for node in &mut edits.device_nodes {
        complete(node)?;
    }
    Ok(edits)
}

/// Full names of the devices that a request is about.
fn names_of(request: &DeviceRequest, registry: &Registry) -> Result<Vec<String>> {
    let ids = request.device_ids.clone().unwrap_or_default();
    if request.driver == "cdi" {
        return match (request.count, request.options.is_empty()) {
            (0, true) => Ok(ids),
            (0, false) => Err(Error::invalid("unexpected options in CDI device request")),
            _ => Err(Error::invalid("unexpected count in CDI device request")),
        };
    }
    if request.count != 0 && !ids.is_empty() {
        return Err(Error::invalid(
            "cannot set both Count and DeviceIDs on device request",
        ));
    }
    let capabilities = request.capabilities.clone().unwrap_or_default();
    let asks_for_gpu = capabilities.iter().flatten().any(|c| c == "gpu");
    let vendor = match request.driver.as_str() {
        "nvidia" | "nvidia.cdi" => Some("nvidia.com"),
        "amd" | "amd.cdi" => Some("amd.com"),
        "" if asks_for_gpu => GPU_VENDORS
            .into_iter()
            .find(|vendor| registry.has_kind(&format!("{vendor}/gpu"))),
        _ => None,
    };
    let Some(vendor) = vendor else {
        return Err(Error::invalid(format!(
            "could not select device driver {:?} with capabilities: {}",
            request.driver,
            shown(&capabilities)
        )));
    };
    let ids = match request.count {
        0 => ids,
        ..0 => vec!["all".to_owned()],
        // More than any machine has; each becomes a name that must be there.
        count => (0..count.min(1024)).map(|n| n.to_string()).collect(),
    };
    let full = |id: String| match id.contains('=') {
        true => id,
        false => format!("{vendor}/gpu={id}"),
    };
    Ok(ids.into_iter().map(full).collect())
}

/// As Go prints a list of lists.
fn shown(capabilities: &[Vec<String>]) -> String {
    let lists: Vec<String> = capabilities
        .iter()
        .map(|list| format!("[{}]", list.join(" ")))
        .collect();
    format!("[{}]", lists.join(" "))
}

/// All devices that files tell of.
#[derive(Debug, Default)]
struct Registry {
    files: Vec<File>,
    /// Full name: the file and the device in it; none, if two files of a directory claim the name.
    devices: BTreeMap<String, Option<(usize, usize)>>,
    /// What could not be read, for whoever then misses a device.
    failures: Vec<String>,
}

impl Registry {
    fn read(directories: &[&Path]) -> Registry {
        let mut registry = Registry::default();
        for directory in directories {
            let mut own = BTreeMap::new();
            for path in files_in(directory) {
                match read_file(&path) {
                    Ok(file) => registry.add(file, &mut own),
                    Err(why) => registry.failures.push(format!("{}: {why}", path.display())),
                }
            }
            registry.devices.extend(own);
        }
        registry
    }

    fn add(&mut self, file: File, own: &mut BTreeMap<String, Option<(usize, usize)>>) {
        for (n, device) in file.devices.iter().enumerate() {
            let name = format!("{}={}", file.kind, device.name);
            let place = Some((self.files.len(), n));
            own.entry(name).and_modify(|place| *place = None).or_insert(place);
        }
        self.files.push(file);
    }

    fn has_kind(&self, kind: &str) -> bool {
        self.files.iter().any(|file| file.kind == kind)
    }

    /// Of these devices, and once of each file that one of them is in.
    fn edits(&self, names: &[String]) -> Result<Edits> {
        let mut edits = Edits::default();
        let mut seen = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            let Some((file, device)) = self.devices.get(name).copied().flatten() else {
                missing.push(name.as_str());
                continue;
            };
            let file_edits = &self.files[file];
            if !seen.contains(&file) {
                seen.push(file);
                edits.append(&file_edits.container_edits);
            }
            edits.append(&file_edits.devices[device].container_edits);
        }
        if missing.is_empty() {
            return Ok(edits);
        }
        let mut sentence = format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            missing.join(", ")
        );
        if !self.failures.is_empty() {
            sentence.push_str(&format!(" (not read: {})", self.failures.join("; ")));
        }
        Err(Error::not_found(sentence))
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json" || e == "yaml"))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths
}

fn read_file(path: &Path) -> std::result::Result<File, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LONGEST_FILE {
        return Err(format!("it is larger than {LONGEST_FILE} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let value = match path.extension().is_some_and(|e| e == "json") {
        true => serde_json::from_str(&text).map_err(|e| e.to_string())?,
        false => yaml::parse(&text)?,
    };
    let file: File = serde_json::from_value(without_nulls(value)).map_err(|e| e.to_string())?;
    match file.kind.split_once('/') {
        Some((vendor, class)) if is_name(vendor) && is_name(class) => Ok(file),
        _ => Err(format!("invalid kind {:?}", file.kind)),
    }
}

/// A key without a value is as if it were not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k, without_nulls(v))).collect())
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Of a vendor or a class.
fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inside)
}

/// Whether a word after `--device` is the name of a device rather than a path.
pub fn is_device_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let ends = |c: char| c.is_ascii_alphanumeric();
    kind.split_once('/')
        .is_some_and(|(vendor, class)| is_name(vendor) && is_name(class))
        && name.starts_with(ends)
        && name.ends_with(ends)
        && name.chars().all(inside)
}

/// What the file leaves out about a node is as on the host.
fn complete(node: &mut Node) -> Result<()> {
    if node.host_path.is_empty() {
        node.host_path = node.path.clone();
    }
    let said = !node.kind.is_empty() && (node.major != 0 || node.kind == "p");
    let failed = |why: &str| {
        Error::invalid(format!(
            "CDI device injection failed: failed to inject devices: failed to stat CDI host device {:?}: {why}",
            node.host_path
        ))
    };
    let path = Path::new(&node.host_path);
    let stat = match sys::fs::fstatat(sys::fs::cwd(), path, libc::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(_) if said => return Ok(()),
        Err(e) => return Err(failed(&e.errno().to_string())),
    };
    let kind = match stat.file_type() {
        libc::S_IFCHR => "c",
        libc::S_IFBLK => "b",
        libc::S_IFIFO => "p",
        _ if said => return Ok(()),
        _ => return Err(failed("not a device node")),
    };
    node.file_mode.get_or_insert(stat.mode & !libc::S_IFMT);
    if !said {
        node.kind = kind.to_owned();
        (node.major, node.minor) = (libc::major(stat.rdev).into(), libc::minor(stat.rdev).into());
    }
    Ok(())
}

/// Changes a configuration that is complete otherwise.
///
/// # Errors
/// There is no such hook.
pub(super) fn apply(edits: &Edits, config: &mut Map<String, Value>) -> Result<()> {
    let mut config_value = Value::Object(std::mem::take(config));
    let done = edit(edits, &mut config_value);
    if let Value::Object(map) = config_value {
        *config = map;
    }
    done
}

fn edit(edits: &Edits, config: &mut Value) -> Result<()> {
    if !edits.env.is_empty() {
        let mut env: Vec<String> = strings(&config["process"]["env"]);
        merge_environment(&mut env, &edits.env);
        config["process"]["env"] = json!(env);
    }
    edit_devices(edits, config);
    for device in &edits.net_devices {
        let name = if device.name.is_empty() {
            &device.host_interface_name
        } else {
            &device.name
        };
        config["linux"]["netDevices"][&device.host_interface_name] = json!({"name": name});
    }
    edit_mounts(edits, config);
    for hook in &edits.hooks {
        let known = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        if !known.contains(&hook.hook_name.as_str()) {
            return Err(Error::invalid(format!("unknown hook name {:?}", hook.hook_name)));
        }
        let mut value = json!({"path": hook.path});
        for (key, list) in [("args", &hook.args), ("env", &hook.env)] {
            if !list.is_empty() {
                value[key] = json!(list);
            }
        }
        if let Some(timeout) = hook.timeout {
            value["timeout"] = json!(timeout);
        }
        push(&mut config["hooks"][&hook.hook_name], value);
    }
    if let Some(rdt) = &edits.intel_rdt {
        config["linux"]["intelRdt"] = Value::Object(rdt.clone());
    }
    for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
        let gids = &mut config["process"]["user"]["additionalGids"];
        if !gids.as_array().is_some_and(|list| list.contains(&json!(gid))) {
            push(gids, json!(gid));
        }
    }
    Ok(())
}

/// A node belongs to who runs, if the file does not say to whom.
fn edit_devices(edits: &Edits, config: &mut Value) {
    for node in &edits.device_nodes {
        let mut value =
            json!({"path": node.path, "type": node.kind, "major": node.major, "minor": node.minor});
        if let Some(mode) = node.file_mode {
            value["fileMode"] = json!(mode);
        }
        for (key, said) in [("uid", node.uid), ("gid", node.gid)] {
            let own = config["process"]["user"][key].as_u64().filter(|id| *id > 0);
            if let Some(id) = said.map(u64::from).or(own) {
                value[key] = json!(id);
            }
        }
        let devices = &mut config["linux"]["devices"];
        if let Some(list) = devices.as_array_mut() {
            list.retain(|device| device["path"] != json!(node.path));
        }
        push(devices, value);
        // Whoever may not make rules has none at all.
        let rules = config.pointer_mut("/linux/resources/devices");
        if let Some(rules) = rules.filter(|_| node.kind != "p") {
            let access = if node.permissions.is_empty() {
                "rwm"
            } else {
                &node.permissions
            };
            push(
                rules,
                json!({"allow": true, "type": node.kind, "major": node.major, "minor": node.minor, "access": access}),
            );
        }
    }
}

/// They replace what is mounted there; what lies below another mount comes after it.
fn edit_mounts(edits: &Edits, config: &mut Value) {
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    let Some(mounts) = mounts.filter(|_| !edits.mounts.is_empty()) else {
        return;
    };
    for mount in &edits.mounts {
        let mut value = json!({"destination": mount.container_path, "source": mount.host_path});
        if !mount.kind.is_empty() {
            value["type"] = json!(mount.kind);
        }
        value["options"] = json!(mount.options);
        mounts.retain(|other| other["destination"] != json!(mount.container_path));
        mounts.push(value);
    }
    mounts.sort_by_key(|mount| {
        mount["destination"]
            .as_str()
            .unwrap_or_default()
            .matches('/')
            .count()
    });
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(list) => list.push(item),
        other => *other = json!([item]),
    }
}

#[cfg(test)]
mod tests;
