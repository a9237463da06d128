//! Capability names and the five sets.
//!
//! Pure. Unknown names are dropped, as the spec says; [`CapabilityPlan::unknown`] lists them for a warning.

use crate::config;
use serde::Serialize;
pub use sys::cred::CAPABILITIES as NAMES;

/// The number of a capability by its name.
pub fn parse_capability(name: &str) -> Option<u8> {
    NAMES.iter().position(|n| *n == name).map(|n| n as u8)
}

/// The name of a capability by its number.
pub fn name(number: u8) -> &'static str {
    NAMES.get(number as usize).copied().unwrap_or("CAP_UNKNOWN")
}

/// The five sets as bit masks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CapabilityPlan {
    /// What may ever be regained by execve.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// The limit of effective.
    pub permitted: u64,
    /// Kept over execve with file bits.
    pub inheritable: u64,
    /// Kept over execve without file bits.
    pub ambient: u64,
    /// Names that the kernel or we do not know, for a warning.
    pub unknown: Vec<String>,
}

impl CapabilityPlan {
    /// About the names that were dropped.
    pub fn warning(&self) -> Option<String> {
        let names = self.unknown.join(" ");
        (!names.is_empty()).then(|| format!("ignoring unknown or unavailable capabilities: [{names}]"))
    }
}

/// Reads the sets. Capabilities above `last` are not known to this kernel and are dropped like unknown names.
pub fn plan_capabilities(c: &config::Capabilities, last: u8) -> CapabilityPlan {
    let mut unknown = Vec::new();
    let mut mask = |names: &[String]| {
        let mut bits = 0u64;
        for name in names {
            match parse_capability(name) {
                Some(n) if n <= last => bits |= 1 << n,
                _ if unknown.contains(name) => {}
                _ => unknown.push(name.clone()),
            }
        }
        bits
    };
    CapabilityPlan {
        bounding: mask(&c.bounding),
        effective: mask(&c.effective),
        permitted: mask(&c.permitted),
        inheritable: mask(&c.inheritable),
        ambient: mask(&c.ambient),
        unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_dropped_once() {
        let names = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let c = config::Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_NOPE", "CAP_CHECKPOINT_RESTORE"]),
            effective: names(&["CAP_NOPE", "cap_chown"]),
            ..Default::default()
        };
        let p = plan_capabilities(&c, 39);
        assert_eq!(p.bounding, 1);
        assert_eq!(p.effective, 0);
        assert_eq!(p.unknown, ["CAP_NOPE", "CAP_CHECKPOINT_RESTORE", "cap_chown"]);
        assert_eq!(
            p.warning().unwrap(),
            "ignoring unknown or unavailable capabilities: [CAP_NOPE CAP_CHECKPOINT_RESTORE cap_chown]"
        );
    }
}
