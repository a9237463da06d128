//! `linux.seccomp`: Docker's profile, or the user's.
//!
//! May not: compile anything. The runtime does.

use image::bundle::seccomp::{Facts, profile};
use image::{Error, Result};
use serde_json::{Value, json};

use super::security::{Seccomp, Security};
use super::{Host, Warning};
use crate::model::HostConfig;

pub(super) fn value(
    machine: &Host,
    host: &HostConfig,
    security: &Security,
    capabilities: &[String],
    warnings: &mut Vec<Warning>,
) -> Result<Option<Value>> {
    let facts = Facts {
        architecture: &machine.architecture,
        capabilities,
        kernel: machine.kernel,
    };
    let wanted = match &security.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Usual if host.privileged => return Ok(None),
        Seccomp::Own(_) if !machine.seccomp => {
            return Err(Error::invalid(
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
            ));
        }
        wanted => wanted,
    };
    if !machine.seccomp {
        warnings.push(Warning(
            "seccomp is not enabled in your kernel, running container without default profile".into(),
        ));
        return Ok(None);
    }
    match wanted {
        Seccomp::Own(text) => own(text, &facts).map(Some),
        _ => Ok(Some(profile(&facts))),
    }
}

/// A profile as `--security-opt seccomp=FILE` has it: conditions are resolved, the rest is the runtime's to judge.
pub(super) fn own(text: &str, facts: &Facts<'_>) -> Result<Value> {
    let bad = |why: String| Error::invalid(format!("decoding seccomp profile failed: {why}"));
    let profile: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let mut profile = match profile {
        Value::Object(profile) => profile,
        _ => return Err(bad("it is not an object".into())),
    };
    let list = |value: Option<Value>| match value {
        Some(Value::Array(list)) => Ok(list),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err(bad("a list is something else".into())),
    };
    let architectures = list(profile.remove("architectures"))?;
    let map = list(profile.remove("archMap"))?;
    if !architectures.is_empty() && !map.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    let architectures = match map.is_empty() {
        true => architectures,
        false => of_map(&map, facts.architecture),
    };
    let mut rules = Vec::new();
    for rule in list(profile.remove("syscalls"))? {
        rules.extend(resolved(rule, facts)?);
    }
    if !architectures.is_empty() {
        profile.insert("architectures".into(), Value::Array(architectures));
    }
    profile.insert("syscalls".into(), Value::Array(rules));
    profile.retain(|key, _| !key.starts_with('$') && key != "comment");
    Ok(Value::Object(profile))
}

/// The entry about our CPU.
fn of_map(map: &[Value], architecture: &str) -> Vec<Value> {
    let own = image::bundle::seccomp::libseccomp_name(architecture);
    let entry = map.iter().find(|entry| entry["architecture"].as_str() == own);
    let Some(entry) = entry else {
        return Vec::new();
    };
    let others = entry["subArchitectures"]
        .as_array()
        .into_iter()
        .flatten()
        .cloned();
    std::iter::once(entry["architecture"].clone())
        .chain(others)
        .collect()
}

/// The rule without its conditions, if they hold.
fn resolved(rule: Value, facts: &Facts<'_>) -> Result<Option<Value>> {
    let Value::Object(mut rule) = rule else {
        return Err(Error::invalid(
            "decoding seccomp profile failed: a rule is not an object",
        ));
    };
    let (includes, excludes) = (rule.remove("includes"), rule.remove("excludes"));
    for part in ["comment", "name"] {
        if let Some(Value::String(name)) = rule.remove(part)
            && part == "name"
            && !name.is_empty()
        {
            if rule
                .get("names")
                .is_some_and(|names| names.as_array().is_some_and(|n| !n.is_empty()))
            {
                return Err(Error::invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
                ));
            }
            rule.insert("names".into(), json!([name]));
        }
    }
    let holds =
        Condition::of(includes.as_ref()).all(facts)? && !Condition::of(excludes.as_ref()).any(facts)?;
    Ok(holds.then_some(Value::Object(rule)))
}

/// `{"caps": [], "arches": [], "minKernel": "4.8"}`
struct Condition<'a> {
    capabilities: Vec<&'a str>,
    architectures: Vec<&'a str>,
    kernel: Option<&'a str>,
}

impl<'a> Condition<'a> {
    fn of(value: Option<&'a Value>) -> Condition<'a> {
        let words = |key: &str| {
            let list = value.and_then(|v| v[key].as_array()).into_iter().flatten();
            list.filter_map(Value::as_str).collect()
        };
        Condition {
            capabilities: words("caps"),
            architectures: words("arches"),
            kernel: value.and_then(|v| v["minKernel"].as_str()),
        }
    }

    /// For rules that hold where all of it is true: every capability, one of the CPUs, the kernel.
    fn all(&self, facts: &Facts<'_>) -> Result<bool> {
        let has = |name: &&str| facts.capabilities.iter().any(|c| c == name);
        Ok(self.capabilities.iter().all(has)
            && (self.architectures.is_empty() || self.architectures.contains(&facts.architecture))
            && self.kernel_is_there(facts)?.unwrap_or(true))
    }

    /// For rules that do not hold where any of it is true.
    fn any(&self, facts: &Facts<'_>) -> Result<bool> {
        let has = |name: &&str| facts.capabilities.iter().any(|c| c == name);
        Ok(self.capabilities.iter().any(has)
            || self.architectures.contains(&facts.architecture)
            || self.kernel_is_there(facts)?.unwrap_or(false))
    }

    fn kernel_is_there(&self, facts: &Facts<'_>) -> Result<Option<bool>> {
        let Some(text) = self.kernel else {
            return Ok(None);
        };
        let version = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match version {
            Some(version) => Ok(Some(facts.kernel >= version)),
            None => Err(Error::invalid(format!(
                "decoding seccomp profile failed: invalid kernel version: {text:?}"
            ))),
        }
    }
}
