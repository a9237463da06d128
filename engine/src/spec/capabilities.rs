//! What a container may: Docker's fourteen, with `--cap-add` and `--cap-drop`.
//!
//! May not: give what this process has not got itself.

use image::bundle::defaults::CAPABILITIES;
use image::{Error, Result};
use sys::cred::CAPABILITIES as NAMES;

use crate::model::HostConfig;

/// Those in our bounding set.
pub fn ours() -> Vec<String> {
    (0u8..)
        .zip(NAMES)
        .filter(|(number, _)| sys::cred::in_bounding(*number) == Ok(true))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// What the container gets; `ours` is what there is to give.
///
/// # Errors
/// There is no such capability, or not for us.
pub fn of_container(host: &HostConfig, ours: &[String]) -> Result<Vec<String>> {
    let (add, drop) = named(host, ours)?;
    let all = |list: &[String]| list.iter().any(|c| c == "ALL");
    if host.privileged {
        return Ok(ours.to_vec());
    }
    let without =
        |list: &mut dyn Iterator<Item = String>| list.filter(|c| !drop.contains(c)).collect::<Vec<_>>();
    if all(&add) {
        return Ok(without(&mut ours.iter().cloned()));
    }
    let mut list = match all(&drop) {
        true => Vec::new(),
        false => without(&mut CAPABILITIES.iter().map(|c| (*c).to_owned())),
    };
    for capability in add {
        if !list.contains(&capability) {
            list.push(capability);
        }
    }
    Ok(list)
}

/// `CapAdd` and `CapDrop` as the kernel spells them.
fn named(host: &HostConfig, ours: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let of = |list: &Option<Vec<String>>, field: &str| {
        let names = list.iter().flatten().map(|name| normalized(name, ours));
        names
            .collect::<Result<Vec<_>>>()
            .map_err(|e| e.context(format_args!("invalid {field}")))
    };
    Ok((of(&host.cap_add, "CapAdd")?, of(&host.cap_drop, "CapDrop")?))
}

fn normalized(name: &str, ours: &[String]) -> Result<String> {
    let mut name = name.to_ascii_uppercase();
    if name == "ALL" {
        return Ok(name);
    }
    if !name.starts_with("CAP_") {
        name.insert_str(0, "CAP_");
    }
    if !NAMES.contains(&name.as_str()) {
        return Err(Error::invalid(format!("unknown capability: {name:?}")));
    }
    if !ours.contains(&name) {
        return Err(Error::invalid(format!(
            "capability not supported by your kernel or not available in the current environment: {name:?}"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(add: &[&str], drop: &[&str], privileged: bool) -> Result<Vec<String>> {
        let list = |l: &[&str]| (!l.is_empty()).then(|| l.iter().map(|c| (*c).to_owned()).collect());
        let host = HostConfig {
            cap_add: list(add),
            cap_drop: list(drop),
            privileged,
            ..HostConfig::default()
        };
        let ours: Vec<String> = NAMES[..40].iter().map(|c| (*c).to_owned()).collect();
        of_container(&host, &ours)
    }

    #[test]
    fn added_and_dropped() {
        assert_eq!(of(&[], &[], false).unwrap(), CAPABILITIES);
        assert_eq!(
            of(&["net_admin", "CAP_CHOWN"], &["all"], false).unwrap(),
            ["CAP_NET_ADMIN", "CAP_CHOWN"]
        );
        let more = of(&["SYS_TIME", "chown"], &["MKNOD"], false).unwrap();
        assert_eq!(more.len(), 14);
        assert!(more.contains(&"CAP_SYS_TIME".to_owned()) && !more.contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(of(&["ALL"], &["SYS_ADMIN"], false).unwrap().len(), 39);
        assert_eq!(of(&[], &[], true).unwrap().len(), 40);
        assert_eq!(of(&["ALL"], &["ALL"], false).unwrap().len(), 40);
    }

    #[test]
    fn what_there_is_not() {
        for (add, drop, want) in [
            (
                "NOPE",
                "MKNOD",
                r#"invalid CapAdd: unknown capability: "CAP_NOPE""#,
            ),
            (
                "MKNOD",
                "cap_x",
                r#"invalid CapDrop: unknown capability: "CAP_X""#,
            ),
            (
                "CHECKPOINT_RESTORE",
                "MKNOD",
                r#"invalid CapAdd: capability not supported by your kernel or not available in the current environment: "CAP_CHECKPOINT_RESTORE""#,
            ),
        ] {
            assert_eq!(of(&[add], &[drop], false).unwrap_err().to_string(), want);
        }
    }
}
