//! `--volume` and `--mount`.
//!
//! May not: look whether a source is there; that is said when the container is made.

use std::collections::BTreeMap;

use engine::model::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use super::values;
use crate::flags::csv;
use crate::template::quote;

/// One `--volume`.
#[derive(Debug, PartialEq, Eq)]
pub enum Volume {
    /// A directory of the container that outlives it, without a name.
    Anonymous(String),
    /// `SOURCE:TARGET[:OPTIONS]`; a path of the host that begins with a dot is made absolute.
    Bound(String),
}

/// Takes it apart as far as Docker's client does. Options and targets are the engine's matter.
pub fn volume(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    if text.len() <= 2 {
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    let fields = fields(text);
    let complain = |why: &str| Err(format!("invalid spec: {text}: {why}"));
    if let Some(at) = fields.iter().position(String::is_empty) {
        // Too many fields are noticed before an empty one behind them.
        return complain(if at > 3 {
            "too many colons"
        } else {
            "empty section between colons"
        });
    }
    if fields.len() > 3 {
        return complain("too many colons");
    }
    let [source, rest @ ..] = fields.as_slice() else {
        return complain("empty section between colons");
    };
    if rest.is_empty() {
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    let source = absolute(source);
    Ok(Volume::Bound(format!("{source}:{}", rest.join(":"))))
}

/// Between colons. One behind a single letter is the drive of a Windows path, so `a:/b` is one field, as it is for Docker.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    for c in text.chars() {
        let field = fields.last_mut();
        match (c, field) {
            (':', Some(field)) if field.chars().count() == 1 && field.chars().all(char::is_alphabetic) => {
                field.push(':');
            }
            (':', _) => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

/// `.` and what begins with it are from here.
fn absolute(source: &str) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    clean(&here.join(source).to_string_lossy())
}

/// A path without `.`, `..` and doubled slashes, by its text alone: Go's path.Clean.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// One `--mount`: CSV of `key=value`.
pub fn mount(text: &str) -> Result<Mount, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("value is empty".to_owned());
    }
    let mut mount = Mount {
        kind: "volume".to_owned(),
        ..Mount::default()
    };
    for field in csv(text)? {
        set(&mut mount, &field)?;
    }
    mixed(&mount)?;
    recursion(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, field: &str) -> Result<(), String> {
    let (key, value) = match field.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (field, None),
    };
    if key.trim() != key {
        return Err(format!(
            "invalid option '{}' in '{field}': option should not have whitespace",
            key.trim()
        ));
    }
    if let Some(value) = value {
        if value.trim().is_empty() {
            return Err(format!("invalid value for '{key}': value is empty"));
        }
        if value.trim() != value {
            return Err(format!(
                "invalid value for '{key}' in '{field}': value should not have whitespace"
            ));
        }
    }
    let key = key.to_lowercase();
    const SWITCHES: [&str; 5] = [
        "readonly",
        "ro",
        "volume-nocopy",
        "bind-nonrecursive",
        "bind-create-src",
    ];
    if value.is_none() && !SWITCHES.contains(&key.as_str()) {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    }
    let text = value.unwrap_or_default();
    match key.as_str() {
        "type" => mount.kind = text.to_lowercase(),
        "source" | "src" => mount.source = absolute(text),
        "target" | "dst" | "destination" => text.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = switch(&key, value)?,
        "consistency" => mount.consistency = text.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = text.to_lowercase(),
        "bind-nonrecursive" => {
            return Err("bind-nonrecursive is deprecated, use bind-recursive=disabled instead".to_owned());
        }
        "bind-recursive" => match text {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "invalid value for {key}: {text} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "bind-create-src" => bind(mount).create_mountpoint = switch(&key, value)?,
        "volume-subpath" => text.clone_into(&mut volume_options(mount).subpath),
        "volume-nocopy" => volume_options(mount).no_copy = switch(&key, value)?,
        "volume-label" => pair(&mut volume_options(mount).labels, text),
        "volume-driver" => text.clone_into(&mut driver(mount).name),
        "volume-opt" => pair(&mut driver(mount).options, text),
        "image-subpath" => {
            text.clone_into(
                &mut mount
                    .image_options
                    .get_or_insert_with(ImageOptions::default)
                    .subpath,
            );
        }
        "tmpfs-size" => {
            let size = values::size(text).map_err(|_| format!("invalid value for {key}: {text}"))?;
            tmpfs(mount).size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode =
                u32::from_str_radix(text, 8).map_err(|_| format!("invalid value for {key}: {text}"))?;
            tmpfs(mount).mode = Some(mode);
        }
        _ => return Err(format!("unknown option '{key}' in '{field}'")),
    }
    Ok(())
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true") => Ok(true),
        Some("0" | "false") => Ok(false),
        Some(other) => Err(format!(
            "invalid value for '{key}': invalid boolean value ({}): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")",
            quote(other)
        )),
    }
}

fn pair(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), value.to_owned());
    }
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume_options(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume_options(mount)
        .driver_config
        .get_or_insert_with(DriverConfig::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

/// Options of one type on a mount of another.
fn mixed(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    for (own, has) in [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("image", mount.image_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ] {
        if has && kind != own {
            return Err(format!("cannot mix '{own}-*' options with mount type '{kind}'"));
        }
    }
    Ok(())
}

fn recursion(mount: &Mount) -> Result<(), String> {
    let Some(bind) = &mount.bind_options else {
        return Ok(());
    };
    let needs = |value: &str, what: &str| {
        Err(format!(
            "option 'bind-recursive={value}' requires '{what}' to be specified in conjunction"
        ))
    };
    if bind.read_only_non_recursive && !mount.read_only {
        return needs("writable", "readonly");
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return needs("readonly", "readonly");
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return needs("readonly", "bind-propagation=rprivate");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn volumes() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_string_lossy();
        for (text, bound) in [
            ("/data", None),
            ("/d", None),
            ("a:/b", None),
            ("name:/data", Some("name:/data".to_owned())),
            ("/host:/data:ro,z", Some("/host:/data:ro,z".to_owned())),
            ("./x/../y:/data", Some(format!("{here}/y:/data"))),
            (".:/data", Some(format!("{here}:/data"))),
            ("~/x:/data", Some("~/x:/data".to_owned())),
        ] {
            let expected = match bound {
                Some(bound) => Volume::Bound(bound),
                None => Volume::Anonymous(text.to_owned()),
            };
            assert_eq!(volume(text).unwrap(), expected, "{text}");
        }
        for (text, message) in [
            ("", "invalid empty volume spec"),
            ("/a::/b", "invalid spec: /a::/b: empty section between colons"),
            ("/a:/b:", "invalid spec: /a:/b:: empty section between colons"),
            (":/b/c", "invalid spec: :/b/c: empty section between colons"),
            ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
        ] {
            assert_eq!(volume(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn mounts() {
        let all = mount(
            "type=bind,\"source=/a,b\",dst=/c,ro,bind-propagation=rprivate,bind-recursive=readonly,bind-create-src",
        )
        .unwrap();
        assert_eq!(
            all,
            Mount {
                kind: "bind".into(),
                source: "/a,b".into(),
                target: "/c".into(),
                read_only: true,
                bind_options: Some(BindOptions {
                    propagation: "rprivate".into(),
                    read_only_force_recursive: true,
                    create_mountpoint: true,
                    ..BindOptions::default()
                }),
                ..Mount::default()
            }
        );
        let volume = mount("source=v,target=/x,volume-nocopy=true,volume-label=a=1,volume-driver=local,volume-opt=o=size=1,volume-subpath=s").unwrap();
        assert_eq!(volume.kind, "volume");
        let options = volume.volume_options.unwrap();
        assert!(options.no_copy && options.labels["a"] == "1" && options.subpath == "s");
        assert_eq!(options.driver_config.unwrap().options["o"], "size=1");
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        assert_eq!(
            tmpfs.tmpfs_options.unwrap(),
            TmpfsOptions {
                size_bytes: 1 << 20,
                mode: Some(0o1770)
            }
        );
    }

    #[test]
    fn complaints() {
        for (text, message) in [
            ("", "value is empty"),
            (
                "type=bind,target",
                "invalid field 'target' must be a key=value pair",
            ),
            (
                "type=bind, target=/x",
                "invalid option 'target' in ' target=/x': option should not have whitespace",
            ),
            (
                "type=bind,target= /x",
                "invalid value for 'target' in 'target= /x': value should not have whitespace",
            ),
            ("type=", "invalid value for 'type': value is empty"),
            ("what=x", "unknown option 'what' in 'what=x'"),
            (
                "type=tmpfs,target=/x,bind-propagation=shared",
                "cannot mix 'bind-*' options with mount type 'tmpfs'",
            ),
            ("type=tmpfs,tmpfs-size=x", "invalid value for tmpfs-size: x"),
            ("type=tmpfs,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
            (
                "type=bind,bind-nonrecursive",
                "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
            ),
            (
                "type=bind,bind-recursive=x",
                "invalid value for bind-recursive: x (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
            ),
            (
                "type=bind,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
            (
                "type=volume,ro=maybe",
                "invalid value for 'ro': invalid boolean value (\"maybe\"): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), message, "{text}");
        }
    }
}
