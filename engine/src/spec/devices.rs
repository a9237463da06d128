//! Device nodes of a container, and the rules about them.
//!
//! May not: make a node. The runtime does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::bundle::defaults;
use image::{Error, Result};
use serde_json::{Value, json};

use super::Inputs;
use crate::model::HostConfig;

/// A node, and what may be done with it: `r`, `w`, `m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// In the container.
    pub path: String,
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub access: String,
}

/// The nodes that `--device` and `--privileged` mean.
///
/// # Errors
/// A path is neither a device nor a directory with some.
pub(super) fn look_up(host: &HostConfig) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    if host.privileged {
        below(Path::new("/dev"), "/dev", "rwm", &mut nodes);
    }
    for device in &host.devices {
        // A privileged container has it already, and may do everything with it.
        if host.privileged && device.path_on_host == device.path_in_container {
            continue;
        }
        let access = match host.privileged || device.cgroup_permissions.is_empty() {
            true => "rwm",
            false => device.cgroup_permissions.as_str(),
        };
        nodes.extend(of_path(&device.path_on_host, &device.path_in_container, access)?);
    }
    Ok(nodes)
}

fn of_path(on_host: &str, in_container: &str, access: &str) -> Result<Vec<Node>> {
    let failed = |why: &str| {
        Error::invalid(format!(
            "error gathering device information while adding custom device {on_host:?}: {why}"
        ))
    };
    // A link to a device is its device (/dev/disk/by-id/...).
    let path = match std::fs::canonicalize(on_host) {
        Ok(path) => path,
        Err(_) => PathBuf::from(on_host),
    };
    let stat = sys::fs::fstatat(sys::fs::cwd(), &path, libc::AT_SYMLINK_NOFOLLOW);
    let stat = stat.map_err(|e| failed(&format!("lstat {}: {}", path.display(), e.errno())))?;
    if let Some(node) = node(&stat, in_container, access) {
        return Ok(vec![node]);
    }
    let mut nodes = Vec::new();
    if stat.is_dir() {
        below(&path, in_container, access, &mut nodes);
    }
    match nodes.is_empty() {
        true => Err(failed("not a device node")),
        false => Ok(nodes),
    }
}

/// Directories of /dev that have no devices, or others' (LXD, udev).
const NOT_BELOW: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// All devices below a directory, as far as we may look; /dev changes while one reads it.
fn below(directory: &Path, in_container: &str, access: &str, nodes: &mut Vec<Node>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut names: Vec<_> = entries.filter_map(|e| Some(e.ok()?.file_name())).collect();
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let Some(name) = name.to_str() else { continue };
        let Ok(stat) = sys::fs::fstatat(sys::fs::cwd(), &path, libc::AT_SYMLINK_NOFOLLOW) else {
            continue;
        };
        let inside = format!("{in_container}/{name}");
        if stat.is_dir() {
            if !NOT_BELOW.contains(&name) {
                below(&path, &inside, access, nodes);
            }
        } else if name != "console"
            && let Some(node) = node(&stat, &inside, access)
            && node.kind != 'p'
        {
            nodes.push(node);
        }
    }
}

fn node(stat: &sys::fs::Stat, path: &str, access: &str) -> Option<Node> {
    let kind = match stat.file_type() {
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        _ => return None,
    };
    Some(Node {
        path: path.to_owned(),
        kind,
        major: libc::major(stat.rdev),
        minor: libc::minor(stat.rdev),
        mode: stat.mode & !libc::S_IFMT,
        uid: stat.uid,
        gid: stat.gid,
        access: access.to_owned(),
    })
}

/// Numbers of the devices in `--blkio-weight-device`, `--device-read-bps` and the like.
///
/// # Errors
/// There is no such path.
pub(super) fn block_numbers(host: &HostConfig) -> Result<BTreeMap<String, (u32, u32)>> {
    let throttled = [
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    let paths = throttled.into_iter().flatten().map(|d| &d.path);
    let paths = paths.chain(host.blkio_weight_device.iter().map(|d| &d.path));
    let mut numbers = BTreeMap::new();
    for path in paths {
        let stat = sys::fs::fstatat(sys::fs::cwd(), Path::new(path), 0)
            .map_err(|e| Error::invalid(format!("stat {path}: {}", e.errno())))?;
        numbers.insert(path.clone(), (libc::major(stat.rdev), libc::minor(stat.rdev)));
    }
    Ok(numbers)
}

/// `linux.devices`.
pub(super) fn nodes(inputs: &Inputs<'_>) -> Vec<Value> {
    let value = |node: &Node| {
        json!({
            "path": node.path, "type": node.kind.to_string(), "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    };
    inputs.found.devices.iter().map(value).collect()
}

/// `linux.resources.devices`.
pub(super) fn rules(inputs: &Inputs<'_>) -> Result<Vec<Value>> {
    let host = &inputs.definition.host;
    if host.privileged {
        return Ok(vec![json!({"allow": true, "access": "rwm"})]);
    }
    let mut rules = defaults::device_rules();
    let devices = inputs.found.devices.iter().filter(|node| node.kind != 'p');
    rules.extend(devices.map(|node| {
        json!({
            "allow": true, "type": node.kind.to_string(), "major": node.major, "minor": node.minor,
            "access": node.access,
        })
    }));
    for rule in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(rule)?);
    }
    Ok(rules)
}

/// `c 42:* rwm`
fn parse_rule(rule: &str) -> Result<Value> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{rule}'"));
    let number = |text: &str, which: &str| match text {
        "*" => Ok(-1),
        _ if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => Err(bad()),
        _ => text.parse::<i64>().map_err(|_| {
            Error::invalid(format!(
                "invalid {which} value in device cgroup rule format: '{rule}'"
            ))
        }),
    };
    let parts: Vec<&str> = rule.split(' ').collect();
    let [kind, numbers, access] = parts[..] else {
        return Err(bad());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let letters = access.bytes().all(|b| b"rwm".contains(&b));
    if !["a", "b", "c"].contains(&kind) || !(1..=3).contains(&access.len()) || !letters {
        return Err(bad());
    }
    Ok(json!({
        "allow": true, "type": kind, "major": number(major, "major")?, "minor": number(minor, "minor")?,
        "access": access,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Device;

    fn device(on_host: &str, inside: &str, access: &str) -> HostConfig {
        HostConfig {
            devices: vec![Device {
                path_on_host: on_host.into(),
                path_in_container: inside.into(),
                cgroup_permissions: access.into(),
            }],
            ..HostConfig::default()
        }
    }

    #[test]
    fn nodes_are_looked_up() {
        let nodes = look_up(&device("/dev/null", "/dev/nothing", "r")).unwrap();
        assert_eq!(nodes.len(), 1);
        let node = &nodes[0];
        assert_eq!(
            (node.path.as_str(), node.kind, node.major, node.minor),
            ("/dev/nothing", 'c', 1, 3)
        );
        assert_eq!(node.access, "r");
        // A link counts as what it leads to, a directory as what is in it.
        let link = look_up(&device("/proc/self/root/dev/zero", "/dev/z", "")).unwrap();
        assert_eq!((link[0].minor, link[0].access.as_str()), (5, "rwm"));
        let all = look_up(&HostConfig {
            privileged: true,
            ..device("/dev/null", "/dev/null", "r")
        })
        .unwrap();
        assert!(all.iter().any(|n| n.path == "/dev/null" && n.access == "rwm"));
        assert!(
            !all.iter()
                .any(|n| n.path.starts_with("/dev/pts") || n.path == "/dev/console")
        );
        for (path, want) in [
            (
                "/nope",
                "error gathering device information while adding custom device \"/nope\": lstat /nope: no such file or directory",
            ),
            (
                "/etc/passwd",
                "error gathering device information while adding custom device \"/etc/passwd\": not a device node",
            ),
            (
                "/etc",
                "error gathering device information while adding custom device \"/etc\": not a device node",
            ),
        ] {
            assert_eq!(look_up(&device(path, path, "rwm")).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn rules_are_parsed() {
        let rule = parse_rule("c 42:* rwm").unwrap();
        assert_eq!(
            rule,
            json!({"allow": true, "type": "c", "major": 42, "minor": -1, "access": "rwm"})
        );
        assert_eq!(parse_rule("a *:* m").unwrap()["major"], -1);
        for bad in [
            "c 1:2",
            "d 1:2 r",
            "c 1 r",
            "c 1:2 rx",
            "c 1:2 rwmr",
            "c +1:2 r",
            "c :2 r",
            "c  1:2 r",
            "",
        ] {
            assert_eq!(
                parse_rule(bad).unwrap_err().to_string(),
                format!("invalid device cgroup rule format: '{bad}'")
            );
        }
        assert_eq!(
            parse_rule("c 99999999999999999999:1 r").unwrap_err().to_string(),
            "invalid major value in device cgroup rule format: 'c 99999999999999999999:1 r'"
        );
    }
}
