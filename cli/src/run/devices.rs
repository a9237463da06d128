//! `--device`, `--gpus`, `--device-cgroup-rule`, limits and weights of block devices, `--ulimit`.
//!
//! May not: look whether a device is there.

use std::collections::BTreeMap;

use engine::model::{Device, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
use engine::spec::settle::ULIMITS;

use super::mounts::clean;
use super::values::{atoi, size};
use crate::flags::csv;
use crate::template::quote;

/// `VENDOR/CLASS=NAME`, as the Container Device Interface calls devices.
pub fn is_cdi_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    let Some((vendor, class)) = kind.split_once('/') else {
        return false;
    };
    let inner = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b) || more.contains(&b))
            && text
                .bytes()
                .next_back()
                .is_some_and(|b| b.is_ascii_alphanumeric())
    };
    let word = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic()) && inner(text, b"");
    word(vendor) && word(class) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && inner(name, b":")
}

/// `HOST[:CONTAINER][:rwm]`.
pub fn device(text: &str) -> Result<Device, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let bad = || format!("bad format for path: {text}");
    let make = |host: &str, container: &str, permissions: &str| Device {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    };
    let device = match fields.as_slice() {
        ["", ..] => return Err(bad()),
        [path] => make(&clean(path), &clean(path), "rwm"),
        [path, mode] if is_mode(mode) => make(&clean(path), &clean(path), mode),
        [host, path] => make(host, &clean(path), "rwm"),
        [host, path, mode] if is_mode(mode) => make(host, path, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(bad()),
    };
    // Of what was written, before it was cleaned.
    let container = match fields.as_slice() {
        [path] => path,
        [path, mode] if is_mode(mode) => path,
        [_, path, ..] => path,
        [] => "",
    };
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(device)
}

/// Each of r, w and m at most once.
fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'))
        && ["r", "w", "m"].iter().all(|c| text.matches(c).count() <= 1)
}

/// `c 1:3 rwm`.
pub fn cgroup_rule(text: &str) -> Result<(), String> {
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let good = match text.split(' ').collect::<Vec<_>>().as_slice() {
        [kind, numbers, mode] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers
                    .split_once(':')
                    .is_some_and(|(a, b)| number(a) && number(b))
                && (1..=3).contains(&mode.len())
                && mode.bytes().all(|b| b"rwm".contains(&b))
        }
        _ => false,
    };
    if good {
        Ok(())
    } else {
        Err(format!("invalid device cgroup format '{text}'"))
    }
}

fn of_device(text: &str) -> Result<(&str, &str), String> {
    match text.split_once(':') {
        Some((path, _)) if !path.is_empty() && !path.starts_with("/dev/") => {
            Err(format!("bad format for device path: {text}"))
        }
        Some((path, value)) if !path.is_empty() => Ok((path, value)),
        _ => Err(format!("bad format: {text}")),
    }
}

/// `/dev/sda:1mb`.
pub fn bytes_per_second(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = of_device(text)?;
    let rate = size(rate).ok().and_then(|n| u64::try_from(n).ok());
    let rate = rate.ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// `/dev/sda:1000`.
pub fn operations_per_second(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = of_device(text)?;
    let plain = rate.bytes().all(|b| b.is_ascii_digit());
    let rate = rate.parse().ok().filter(|_| plain).ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// `/dev/sda:500`.
pub fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = of_device(text)?;
    let plain = weight.bytes().all(|b| b.is_ascii_digit());
    let weight = weight
        .parse::<u16>()
        .ok()
        .filter(|n| plain && (*n == 0 || (10..=1000).contains(n)))
        .ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice {
        path: path.to_owned(),
        weight,
    })
}

/// `nofile=1024:2048`.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number =
        |text: &str| atoi(text).map_err(|why| format!("strconv.ParseInt: parsing {}: {why}", quote(text)));
    let (soft, hard) = match limits.split(':').collect::<Vec<_>>().as_slice() {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => {
            let hard = number(hard)?;
            (number(soft)?, hard)
        }
        _ => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    const MOST: &str = "ulimit soft limit must be less than or equal to hard limit";
    if hard != -1 && soft == -1 {
        return Err(format!("{MOST}: soft: -1 (unlimited), hard: {hard}"));
    }
    if hard != -1 && soft > hard {
        return Err(format!("{MOST}: {soft} > {hard}"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

/// `all`, a number, or `driver=..,count=..,"device=0,1","capabilities=compute,utility",options=..`.
pub fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<&str> = Vec::new();
    let fields = if text.is_empty() {
        return Err("EOF".to_owned());
    } else {
        csv(text)?
    };
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(k, v)| (k, Some(v)));
        if seen.contains(&key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key);
        let Some(value) = value else {
            seen.push("count");
            request.count = count(key)?;
            continue;
        };
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "driver" => value.clone_into(&mut request.driver),
            "count" => request.count = count(value)?,
            "device" => request.device_ids = Some(list(value)),
            "capabilities" => {
                let mut all = list(value);
                all.push("gpu".to_owned());
                request.capabilities = Some(vec![all]);
            }
            "options" => {
                let words = csv(value).map_err(|e| format!("failed to read gpu options: {e}"))?;
                request.options = pairs(&words);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.contains(&"count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request
        .capabilities
        .get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    Ok(request)
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    atoi(text)
        .map_err(|why| format!("invalid count ({text}): value must be either \"all\" or an integer: {why}"))
}

/// `key=value` of each; a key alone has an empty value.
pub fn pairs(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices() {
        for (text, fields) in [
            ("/dev/fuse", Ok("/dev/fuse /dev/fuse rwm")),
            ("/dev//fuse:r", Ok("/dev/fuse /dev/fuse r")),
            ("/dev/sda:/dev/xvda", Ok("/dev/sda /dev/xvda rwm")),
            ("/dev/sda:/dev/xvda:rw", Ok("/dev/sda /dev/xvda rw")),
            ("", Err("bad format for path: ")),
            ("fuse", Err("fuse is not an absolute path")),
            ("/dev/sda:xvda", Err("xvda is not an absolute path")),
            ("/dev/sda:/dev/xvda:rx", Err("bad mode specified: rx")),
            ("a:b:c:d", Err("bad format for path: a:b:c:d")),
        ] {
            let shown = device(text).map(|d| {
                format!(
                    "{} {} {}",
                    d.path_on_host, d.path_in_container, d.cgroup_permissions
                )
            });
            assert_eq!(shown, fields.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert!(is_cdi_name("nvidia.com/gpu=0") && is_cdi_name("vendor.com/class=a:b"));
        assert!(!is_cdi_name("/dev/x=y") && !is_cdi_name("1v/c=d") && !is_cdi_name("v/c="));
    }

    #[test]
    fn block_devices() {
        assert_eq!(bytes_per_second("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(operations_per_second("/dev/sda:10").unwrap().rate, 10);
        assert_eq!(weight("/dev/sda:500").unwrap().weight, 500);
        for (error, message) in [
            (bytes_per_second("x").unwrap_err(), "bad format: x"),
            (
                bytes_per_second("sda:1").unwrap_err(),
                "bad format for device path: sda:1",
            ),
            (
                weight("/dev/sda:5").unwrap_err(),
                "invalid weight for device: /dev/sda:5",
            ),
            (
                operations_per_second("/dev/sda:1k").unwrap_err(),
                "invalid rate for device: /dev/sda:1k. The correct format is <device-path>:<number>. Number must be a positive integer",
            ),
        ] {
            assert_eq!(error, message);
        }
    }

    #[test]
    fn limits() {
        for (text, limits) in [
            ("nofile=1024", Ok((1024, 1024))),
            ("nofile=1024:2048", Ok((1024, 2048))),
            ("memlock=-1:-1", Ok((-1, -1))),
            ("nofile", Err("invalid ulimit argument: nofile")),
            ("files=1", Err("invalid ulimit type: files")),
            ("nofile=x", Err("strconv.ParseInt: parsing \"x\": invalid syntax")),
            (
                "nofile=2:1",
                Err("ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ),
            (
                "nofile=1:2:3",
                Err("too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`"),
            ),
        ] {
            assert_eq!(
                ulimit(text).map(|u| (u.soft, u.hard)),
                limits.map_err(str::to_owned),
                "{text}"
            );
        }
    }

    #[test]
    fn graphics() {
        assert_eq!(gpus("all").unwrap().count, -1);
        let some = gpus("\"device=0,1\",\"capabilities=compute,utility\",driver=nvidia").unwrap();
        assert_eq!((some.count, some.device_ids.unwrap().len()), (0, 2));
        assert_eq!(some.capabilities.unwrap(), [["compute", "utility", "gpu"]]);
        assert_eq!(
            gpus("x").unwrap_err(),
            "invalid count (x): value must be either \"all\" or an integer: invalid syntax"
        );
        assert_eq!(
            gpus("count=1,count=2").unwrap_err(),
            "gpu request key 'count' can be specified only once"
        );
    }

    #[test]
    fn rules() {
        assert!(cgroup_rule("c 1:* rwm").is_ok() && cgroup_rule("a *:* m").is_ok());
        assert_eq!(
            cgroup_rule("c 1 r").unwrap_err(),
            "invalid device cgroup format 'c 1 r'"
        );
    }
}
