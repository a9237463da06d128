//! What of the machine a container sees: binds, from `-v` and `--mount`, as `inspect` lists them.
//!
//! May not: mount. The directory of a bind by `-v` is made here when it is missing, as its users expect; one by `--mount` is not.

use std::fs;
use std::path::Path;

use image::bundle::defaults::cleaned;
use image::{Context, Error, Kind, Result};

use crate::model::{HostConfig, Mount, MountPoint};

/// All of them, in the order of their destinations.
///
/// # Errors
/// A form that there is not, a destination twice, something that is missing.
pub fn list(host: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> = Vec::new();
    for bind in host.binds.iter().flatten() {
        points.push(parse_bind(bind)?);
    }
    for mount in &host.mounts {
        if let Some(point) = of_mount(mount)? {
            points.push(point);
        }
    }
    let tmpfs = host.tmpfs.keys().map(String::as_str);
    let tmpfs = tmpfs.chain(
        host.mounts
            .iter()
            .filter(|m| m.kind == "tmpfs")
            .map(|m| m.target.as_str()),
    );
    let mut seen: Vec<String> = tmpfs.map(cleaned).collect();
    for point in &points {
        if seen.contains(&point.destination) {
            return Err(Error::invalid(format!(
                "Duplicate mount point: {}",
                point.destination
            )));
        }
        seen.push(point.destination.clone());
    }
    points.sort_by(|a, b| a.destination.cmp(&b.destination));
    Ok(points)
}

/// `/host:/container[:options]`.
fn parse_bind(text: &str) -> Result<MountPoint> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        [_] => return Err(volumes()),
        _ => return Err(invalid()),
    };
    if !source.starts_with('/') {
        return Err(match source.is_empty() {
            true => invalid(),
            false => volumes(),
        });
    }
    let destination = destination_of(destination).map_err(|why| {
        Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": {why}"
        ))
    })?;
    let mut point = MountPoint {
        kind: "bind".into(),
        source: cleaned(source),
        destination,
        mode: mode.to_owned(),
        rw: true,
        propagation: "rprivate".into(),
        ..MountPoint::default()
    };
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => point.rw = false,
            "rw" | "z" | "Z" | "nocopy" | "copy" | "consistent" | "cached" | "delegated" => {}
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                point.propagation = word.to_owned()
            }
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    let missing = !Path::new(&point.source).exists() && fs::symlink_metadata(&point.source).is_err();
    if missing {
        fs::create_dir_all(&point.source).map_err(|e| {
            Error::new(format!(
                "error while creating mount source path '{}': {}",
                point.source,
                Error::from(e)
            ))
        })?;
    }
    Ok(point)
}

fn volumes() -> Error {
    Error::of(
        Kind::Unsupported,
        "volumes are not there yet; a directory of the machine can be mounted: -v /host:/container",
    )
}

/// A tmpfs is none that `inspect` lists.
fn of_mount(mount: &Mount) -> Result<Option<MountPoint>> {
    let invalid =
        |why: String| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    match mount.kind.as_str() {
        "tmpfs" if !mount.source.is_empty() => Err(invalid("field Source must not be specified".into())),
        "tmpfs" => Ok(None),
        "bind" => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty".into()));
            }
            if !mount.source.starts_with('/') {
                return Err(invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            if !Path::new(&mount.source).exists() {
                if !options.create_mountpoint {
                    return Err(invalid(format!(
                        "bind source path does not exist: {}",
                        mount.source
                    )));
                }
                fs::create_dir_all(&mount.source).context(format!("failed to make {}", mount.source))?;
            }
            let propagation = match options.propagation.as_str() {
                "" => "rprivate",
                other => other,
            };
            Ok(Some(MountPoint {
                kind: "bind".into(),
                source: cleaned(&mount.source),
                destination: destination_of(&mount.target).map_err(invalid)?,
                rw: !mount.read_only,
                propagation: propagation.to_owned(),
                ..MountPoint::default()
            }))
        }
        "volume" | "image" => Err(volumes()),
        other => Err(Error::invalid(format!("mount type unknown: \"{other}\""))),
    }
}

fn destination_of(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        return Err("field Target must not be empty".into());
    }
    if !text.starts_with('/') {
        return Err(format!(
            "invalid mount path: '{text}' mount path must be absolute"
        ));
    }
    match cleaned(text).as_str() {
        "/" => Err("invalid specification: destination can't be '/'".into()),
        path => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(binds: &[&str]) -> Result<Vec<MountPoint>> {
        list(&HostConfig {
            binds: Some(binds.iter().map(|b| (*b).to_owned()).collect()),
            ..HostConfig::default()
        })
    }

    #[test]
    fn binds() {
        let points = of(&["/etc:/b/../z:ro,rslave", "/usr//bin/:/a"]).unwrap();
        let short: Vec<_> = points
            .iter()
            .map(|p| (&*p.source, &*p.destination, p.rw, &*p.propagation))
            .collect();
        assert_eq!(
            short,
            [
                ("/usr/bin", "/a", true, "rprivate"),
                ("/etc", "/z", false, "rslave")
            ]
        );
        assert_eq!(
            of(&["/etc:/a", "/usr:/a/"]).unwrap_err().to_string(),
            "Duplicate mount point: /a"
        );
        for wrong in ["/etc:relative", "/etc:/", "/etc:/a:bad", "a:b:c:d", ":/a"] {
            assert_eq!(of(&[wrong]).unwrap_err().kind(), Kind::Invalid, "{wrong}");
        }
    }

    #[test]
    fn a_missing_directory_is_made_for_v_only() {
        let place = std::env::temp_dir().join(format!("brig-bind-{}", std::process::id()));
        let mount = Mount {
            kind: "bind".into(),
            source: place.to_str().unwrap().into(),
            target: "/a".into(),
            ..Mount::default()
        };
        let host = HostConfig {
            mounts: vec![mount],
            ..HostConfig::default()
        };
        let error = list(&host).unwrap_err().to_string();
        assert!(error.contains("bind source path does not exist"), "{error}");
        assert!(!place.exists());
        of(&[&format!("{}:/a", place.display())]).unwrap();
        assert!(place.is_dir());
        fs::remove_dir(&place).unwrap();
    }
}
