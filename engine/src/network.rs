//! What network a container has.
//!
//! May not: make networks; there are the host's, another container's, and none.

use image::{Error, Kind, Result};

use crate::model::HostConfig;

/// As `--network` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The machine's.
    Host,
    /// A loopback device of its own.
    None,
    /// Another container's, by whatever names it.
    Container(String),
}

/// Reads a mode.
///
/// # Errors
/// There is no such network.
pub fn parse_mode(text: &str) -> Result<Mode> {
    match text {
        "host" => Ok(Mode::Host),
        // There is no bridge yet, and what nobody asked for by name must not be the machine's own network.
        "none" | "default" | "bridge" | "" => Ok(Mode::None),
        other => match other.strip_prefix("container:") {
            Some("") => Err(Error::invalid(
                "Invalid network mode: invalid container format container:<name|id>",
            )),
            Some(name) => Ok(Mode::Container(name.to_owned())),
            None => Err(Error::not_found(format!("network {other} not found"))),
        },
    }
}

/// Refuses what needs networks of our own.
///
/// # Errors
/// As said.
pub fn check(host: &HostConfig) -> Result<Mode> {
    let mode = parse_mode(&host.network_mode)?;
    let publishes = !host.port_bindings.is_empty() || host.publish_all_ports;
    match (&mode, publishes) {
        (Mode::None, true) => Err(Error::of(
            Kind::Unsupported,
            "ports cannot be published yet; with --network host a server listens on the machine's own addresses",
        )),
        // As Docker: published ports are discarded.
        _ => Ok(mode),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(parse_mode("host").unwrap(), Mode::Host);
        assert_eq!(parse_mode("default").unwrap(), Mode::None);
        assert_eq!(parse_mode("container:db").unwrap(), Mode::Container("db".into()));
        assert_eq!(parse_mode("container:").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(
            parse_mode("mine").unwrap_err().to_string(),
            "network mine not found"
        );
    }
}
