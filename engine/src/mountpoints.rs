//! What of the machine a container sees: volumes, directories of the host, images, memory; from `-v`, `--mount`, `--volumes-from` and the
//! image, as `inspect` lists them.
//!
//! May not: mount or make anything; [`crate::volumes`] makes the volumes that are found here, and [`make_sources`] what a start needs.
//!
//! Who comes later takes the place of who came before: volumes of the image and `-v TARGET`, then `--volumes-from`, then `-v SOURCE:TARGET`,
//! then `--mount`. Only the last two may not name the same target twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use image::bundle::defaults::cleaned;
use image::{Error, Result};

use crate::containers::Containers;
use crate::model::{Config, Empty, HostConfig, Mount, MountPoint};
use crate::volumes::{self, Words};

/// A mount, and what has to be done for it when the container is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub point: MountPoint,
    /// A volume that is taken, or made if it is not there.
    pub volume: Option<volumes::Wanted>,
    /// It gets what the image has at its place, if it is empty.
    pub copies: bool,
}

impl Planned {
    fn of(point: MountPoint) -> Planned {
        Planned {
            point,
            volume: None,
            copies: false,
        }
    }
}

/// All of them, in the order of their destinations. `config` has the volumes of the image as well; `others` are those of other containers.
///
/// # Errors
/// A form that there is not, a destination twice, something that is missing.
pub fn list(config: &Config, host: &HostConfig, others: Vec<MountPoint>) -> Result<Vec<Planned>> {
    let mut all: BTreeMap<String, Planned> = BTreeMap::new();
    let tmpfs: Vec<String> = host.tmpfs.keys().map(|path| cleaned(path)).collect();
    for (path, _) in config.volumes.iter().flatten() {
        let planned = of_image(path, &host.volume_driver);
        all.insert(planned.point.destination.clone(), planned);
    }
    for point in others {
        all.insert(point.destination.clone(), Planned::of(point));
    }
    all.retain(|destination, _| !tmpfs.contains(destination));
    let mut taken = tmpfs;
    let binds = host.binds.iter().flatten();
    let binds = binds.map(|bind| parse_bind(bind, &host.volume_driver));
    for planned in binds.chain(host.mounts.iter().map(of_mount)) {
        let planned = planned?;
        let destination = planned.point.destination.clone();
        if taken.contains(&destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {destination}")));
        }
        taken.push(destination.clone());
        all.insert(destination, planned);
    }
    Ok(all.into_values().collect())
}

/// Refuses what `-v TARGET` cannot be. What an image says of its volumes is taken as it can be.
///
/// # Errors
/// The target is relative, or the root.
pub fn check_anonymous(volumes: Option<&BTreeMap<String, Empty>>) -> Result<()> {
    for (path, _) in volumes.into_iter().flatten() {
        destination_of(path).map_err(|why| {
            Error::invalid(format!(
                "invalid volume specification: '{path}': invalid mount config for type \"volume\": {why}"
            ))
        })?;
    }
    Ok(())
}

/// A volume that the image wants, or `-v TARGET`.
fn of_image(path: &str, driver: &str) -> Planned {
    Planned {
        point: MountPoint {
            kind: "volume".into(),
            destination: cleaned(path),
            driver: volumes::LOCAL.into(),
            rw: true,
            anonymous: true,
            ..MountPoint::default()
        },
        volume: Some(volumes::Wanted {
            driver: driver.to_owned(),
            ..volumes::Wanted::default()
        }),
        copies: true,
    }
}

/// The mounts of other containers: `NAME[:MODE]`.
///
/// # Errors
/// There is no such container, or the mode is none.
pub fn of_others(containers: &Containers, names: Option<&Vec<String>>) -> Result<Vec<MountPoint>> {
    let mut points = Vec::new();
    for text in names.into_iter().flatten() {
        if text.is_empty() {
            return Err(Error::invalid(
                "volumes-from specification cannot be an empty string",
            ));
        }
        let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let words = Mode::parse(mode).filter(|words| words.propagation.is_none() && words.copies.is_none());
        let Some(words) = words else {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        };
        let other = containers.find(name)?;
        for point in other.definition.mounts {
            points.push(MountPoint {
                rw: point.rw && !words.read_only,
                mode: String::new(),
                ..point
            });
        }
    }
    Ok(points)
}

/// The third part of `-v`: words, at most one of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mode {
    read_only: bool,
    propagation: Option<String>,
    copies: Option<bool>,
}

impl Mode {
    fn parse(text: &str) -> Option<Mode> {
        let mut mode = Mode::default();
        let mut classes = Vec::new();
        for word in text.split(',') {
            let class = match word {
                "ro" | "rw" => {
                    mode.read_only = word == "ro";
                    "access"
                }
                "z" | "Z" => "label",
                "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                    mode.propagation = Some(word.to_owned());
                    "propagation"
                }
                "copy" | "nocopy" => {
                    mode.copies = Some(word == "copy");
                    "copy"
                }
                "consistent" | "cached" | "delegated" => "consistency",
                _ => return None,
            };
            if classes.contains(&class) {
                return None;
            }
            classes.push(class);
        }
        Some(mode)
    }
}

/// `SOURCE:/container[:options]`: a directory of the host, or a volume's name.
fn parse_bind(text: &str, driver: &str) -> Result<Planned> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        // A name and options, and no place.
        [_, mode] if Mode::parse(mode).is_some() => return Err(invalid()),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    if source.is_empty() {
        return Err(invalid());
    }
    let words = match mode {
        "" => Mode::default(),
        mode => Mode::parse(mode).ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?,
    };
    let kind = match source.starts_with('/') {
        true => "bind",
        false => "volume",
    };
    let wrong = |why: String| {
        Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}"
        ))
    };
    let destination = destination_of(destination).map_err(wrong)?;
    let extra = match kind {
        "bind" => words.copies.map(|_| "VolumeOptions"),
        _ => words.propagation.as_ref().map(|_| "BindOptions"),
    };
    if let Some(field) = extra {
        return Err(wrong(format!("field {field} must not be specified")));
    }
    let mut point = MountPoint {
        kind: kind.into(),
        destination,
        mode: mode.to_owned(),
        rw: !words.read_only,
        ..MountPoint::default()
    };
    if kind == "bind" {
        point.source = cleaned(source);
        point.propagation = words.propagation.unwrap_or_else(|| "rprivate".into());
        return Ok(Planned::of(point));
    }
    point.driver = volumes::LOCAL.into();
    if point.mode.is_empty() {
        point.mode = "z".into();
    }
    Ok(Planned {
        point,
        volume: Some(volumes::Wanted {
            name: Some(source.to_owned()),
            driver: driver.to_owned(),
            ..volumes::Wanted::default()
        }),
        copies: words.copies.unwrap_or(true),
    })
}

/// One `--mount`.
fn of_mount(mount: &Mount) -> Result<Planned> {
    let wrong =
        |why: String| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if !matches!(mount.kind.as_str(), "bind" | "volume" | "tmpfs" | "image") {
        return Err(wrong("mount type unknown".into()));
    }
    let destination = destination_of(&mount.target).map_err(wrong)?;
    for (kind, field, is_there) in [
        ("bind", "BindOptions", mount.bind_options.is_some()),
        ("volume", "VolumeOptions", mount.volume_options.is_some()),
        ("image", "ImageOptions", mount.image_options.is_some()),
        ("tmpfs", "TmpfsOptions", mount.tmpfs_options.is_some()),
    ] {
        if is_there && kind != mount.kind {
            return Err(wrong(format!("field {field} must not be specified")));
        }
    }
    let point = MountPoint {
        kind: mount.kind.clone(),
        destination,
        rw: !mount.read_only,
        spec: Some(Box::new(mount.clone())),
        ..MountPoint::default()
    };
    match mount.kind.as_str() {
        "tmpfs" if !mount.source.is_empty() => Err(wrong("field Source must not be specified".into())),
        "tmpfs" => Ok(Planned::of(point)),
        "volume" => of_volume(mount, point).map_err(wrong),
        _ if mount.source.is_empty() => Err(wrong("field Source must not be empty".into())),
        "image" => {
            if point.subpath().is_some_and(|path| !is_below(path)) {
                return Err(wrong("subpath must be a relative path within the volume".into()));
            }
            Ok(Planned::of(MountPoint {
                name: mount.source.clone(),
                rw: false,
                ..point
            }))
        }
        _ => of_bind(mount, point).map_err(wrong),
    }
}

fn of_volume(mount: &Mount, point: MountPoint) -> std::result::Result<Planned, String> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let is_anonymous = mount.source.is_empty();
    if let Some(path) = point.subpath() {
        if is_anonymous {
            return Err("must not set Subpath when using anonymous volumes".into());
        }
        if !is_below(path) {
            return Err("subpath must be a relative path within the volume".into());
        }
    }
    if mount.read_only && is_anonymous {
        return Err("must not set ReadOnly mode when using anonymous volumes".into());
    }
    let driver = options.driver_config.unwrap_or_default();
    Ok(Planned {
        copies: !options.no_copy && options.subpath.is_empty(),
        volume: Some(volumes::Wanted {
            name: Some(mount.source.clone()).filter(|_| !is_anonymous),
            driver: driver.name,
            labels: options.labels,
            options: driver.options.into_iter().collect::<Words>(),
        }),
        point: MountPoint {
            driver: volumes::LOCAL.into(),
            mode: "z".into(),
            anonymous: is_anonymous,
            ..point
        },
    })
}

fn of_bind(mount: &Mount, point: MountPoint) -> std::result::Result<Planned, String> {
    if !mount.source.starts_with('/') {
        return Err(format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.source
        ));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.create_mountpoint && !Path::new(&mount.source).exists() {
        return Err(format!("bind source path does not exist: {}", mount.source));
    }
    let propagation = match options.propagation.as_str() {
        "" => "rprivate",
        known @ ("shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate") => known,
        other => return Err(format!("invalid propagation mode: {other}")),
    };
    Ok(Planned::of(MountPoint {
        source: cleaned(&mount.source),
        propagation: propagation.to_owned(),
        ..point
    }))
}

/// A path that does not lead out by its text alone.
fn is_below(path: &str) -> bool {
    let mut depth = 0;
    for part in Path::new(path).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

/// Makes the directories of the host that are to be bound and are not there. That is for who starts a container, as its users expect:
/// the directory may be on something that is mounted by then. One of `--mount` is made only if that was asked for.
///
/// # Errors
/// One cannot be made, or has gone since.
pub fn make_sources(points: &[MountPoint]) -> Result<()> {
    for point in points.iter().filter(|point| point.kind == "bind") {
        if fs::symlink_metadata(&point.source).is_ok() {
            continue;
        }
        let options = point
            .spec
            .as_ref()
            .map(|spec| spec.bind_options.clone().unwrap_or_default());
        if options.is_some_and(|options| !options.create_mountpoint) {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                point.source
            )));
        }
        fs::create_dir_all(&point.source).map_err(|e| {
            Error::new(format!(
                "error while creating mount source path '{}': mkdir {}: {}",
                point.source,
                point.source,
                Error::from(e)
            ))
        })?;
    }
    Ok(())
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
    use crate::model::VolumeOptions;

    fn host(binds: &[&str], mounts: Vec<Mount>) -> HostConfig {
        HostConfig {
            binds: Some(binds.iter().map(|b| (*b).to_owned()).collect()),
            mounts,
            ..HostConfig::default()
        }
    }

    fn of(binds: &[&str]) -> Result<Vec<Planned>> {
        list(&Config::default(), &host(binds, Vec::new()), Vec::new())
    }

    fn why(mount: Mount) -> String {
        let host = host(&[], vec![mount]);
        list(&Config::default(), &host, Vec::new())
            .unwrap_err()
            .to_string()
    }

    fn volume(source: &str, target: &str) -> Mount {
        Mount {
            kind: "volume".into(),
            source: source.into(),
            target: target.into(),
            ..Mount::default()
        }
    }

    #[test]
    fn binds() {
        let points = of(&["/etc:/b/../z:ro,rslave", "/usr//bin/:/a"]).unwrap();
        let short: Vec<_> = points
            .iter()
            .map(|p| &p.point)
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
    }

    #[test]
    fn names_are_volumes() {
        let all = of(&["data:/a", "more:/b:ro,nocopy"]).unwrap();
        let [a, b] = &all[..] else { panic!("{all:?}") };
        assert_eq!(
            (&*a.point.kind, &*a.point.mode, a.point.rw, a.copies),
            ("volume", "z", true, true)
        );
        assert_eq!(a.volume.as_ref().unwrap().name.as_deref(), Some("data"));
        assert_eq!(
            (&*b.point.mode, b.point.rw, b.copies),
            ("ro,nocopy", false, false)
        );
        assert!(a.point.propagation.is_empty() && !a.point.anonymous);
    }

    #[test]
    fn complaints() {
        let prefix = "invalid volume specification: ";
        for (text, message) in [
            (
                "/etc:relative",
                "'/etc:relative': invalid mount config for type \"bind\": invalid mount path: 'relative' mount path must be absolute",
            ),
            (
                "/etc:/",
                "'/etc:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "data:/",
                "'data:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
            ),
            ("data:ro", "'data:ro'"),
            ("a:b:c:d", "'a:b:c:d'"),
            (":/a", "':/a'"),
            (
                "data:/a:shared",
                "'data:/a:shared': invalid mount config for type \"volume\": field BindOptions must not be specified",
            ),
            (
                "/etc:/a:nocopy",
                "'/etc:/a:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
            ),
        ] {
            assert_eq!(of(&[text]).unwrap_err().to_string(), format!("{prefix}{message}"));
        }
        for mode in [
            "bad",
            "ro,rw",
            "z,Z",
            "shared,private",
            "copy,nocopy",
            "cached,consistent",
            "ro,",
        ] {
            let e = of(&[&format!("data:/a:{mode}")]).unwrap_err().to_string();
            assert_eq!(e, format!("invalid mode: {mode}"));
        }
        let wrong = "invalid mount config for type \"volume\": ";
        let subpath = |source: &str, path: &str| Mount {
            volume_options: Some(VolumeOptions {
                subpath: path.into(),
                ..VolumeOptions::default()
            }),
            ..volume(source, "/a")
        };
        assert_eq!(
            why(subpath("v", "../x")),
            format!("{wrong}subpath must be a relative path within the volume")
        );
        assert_eq!(
            why(subpath("v", "a/../../x")),
            format!("{wrong}subpath must be a relative path within the volume")
        );
        assert_eq!(
            why(subpath("v", "/x")),
            format!("{wrong}subpath must be a relative path within the volume")
        );
        assert_eq!(
            why(subpath("", "x")),
            format!("{wrong}must not set Subpath when using anonymous volumes")
        );
        assert_eq!(
            why(Mount {
                read_only: true,
                ..volume("", "/a")
            }),
            format!("{wrong}must not set ReadOnly mode when using anonymous volumes")
        );
        assert_eq!(
            why(volume("v", "")),
            format!("{wrong}field Target must not be empty")
        );
        assert_eq!(
            why(Mount {
                kind: "npipe".into(),
                ..volume("v", "/a")
            }),
            "invalid mount config for type \"npipe\": mount type unknown"
        );
        assert_eq!(
            why(Mount {
                kind: "image".into(),
                ..volume("", "/a")
            }),
            "invalid mount config for type \"image\": field Source must not be empty"
        );
    }

    #[test]
    fn who_comes_later_wins() {
        let config = Config {
            volumes: Some(
                ["/a", "/b", "/c", "/d", "/t"]
                    .map(|p| (p.to_owned(), Empty {}))
                    .into(),
            ),
            ..Config::default()
        };
        let other = |name: &str, destination: &str| MountPoint {
            kind: "volume".into(),
            name: name.into(),
            destination: destination.into(),
            ..MountPoint::default()
        };
        let mut host = host(&["bound:/c"], vec![volume("mounted", "/d")]);
        host.tmpfs.insert("/t".into(), String::new());
        let others = vec![
            other("o1", "/b"),
            other("o2", "/c"),
            other("o3", "/d"),
            other("o4", "/e"),
        ];
        let all = list(&config, &host, others).unwrap();
        let short: Vec<String> = all
            .iter()
            .map(|p| {
                let name = p.volume.as_ref().and_then(|v| v.name.clone());
                let name = name.unwrap_or_else(|| p.point.name.clone());
                format!(
                    "{} {name} {} {}",
                    p.point.destination, p.copies, p.point.anonymous
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                "/a  true true",
                "/b o1 false false",
                "/c bound true false",
                "/d mounted true false",
                "/e o4 false false"
            ]
        );
        let twice = HostConfig {
            mounts: vec![volume("x", "/c")],
            ..host
        };
        assert_eq!(
            list(&config, &twice, Vec::new()).unwrap_err().to_string(),
            "Duplicate mount point: /c"
        );
    }

    #[test]
    fn a_missing_directory_is_made_for_v_only_and_at_the_start() {
        let place = std::env::temp_dir().join(format!("brig-bind-{}", std::process::id()));
        let mount = Mount {
            kind: "bind".into(),
            ..volume(place.to_str().unwrap(), "/a")
        };
        let error = why(mount);
        assert!(error.contains("bind source path does not exist"), "{error}");
        let all = of(&[&format!("{}:/a", place.display())]).unwrap();
        assert!(!place.exists());
        let points: Vec<MountPoint> = all.into_iter().map(|p| p.point).collect();
        make_sources(&points).unwrap();
        assert!(place.is_dir());
        make_sources(&points).unwrap();
        fs::remove_dir(&place).unwrap();
    }
}
