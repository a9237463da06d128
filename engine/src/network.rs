//! What network a container has, in the words of `--network`.
//!
//! May not: know which networks there are.

use image::{Error, Result};

use crate::model::HostConfig;
use crate::networks;

/// As `--network` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The machine's.
    Host,
    /// A loopback device of its own.
    None,
    /// Another container's, by whatever names it.
    Container(String),
    /// Of its own, in networks by name: the default bridge, and those that somebody has made.
    Own,
}

/// Reads a mode.
///
/// # Errors
/// It has no form.
pub fn parse_mode(text: &str) -> Result<Mode> {
    match text {
        "host" => Ok(Mode::Host),
        "none" => Ok(Mode::None),
        // Of a time before there were networks.
        "" | "default" if !networks::is_possible() => Ok(Mode::None),
        other => match other.strip_prefix("container:") {
            Some("") => Err(Error::invalid(
                "Invalid network mode: invalid container format container:<name|id>",
            )),
            Some(name) => Ok(Mode::Container(name.to_owned())),
            None => Ok(Mode::Own),
        },
    }
}

/// What a container has when nobody says anything: the default bridge. Where an ordinary user has no program that leads out it is none:
/// what nobody asked for by name must not be the machine's own network.
pub fn usual() -> &'static str {
    match networks::is_possible() {
        true => "bridge",
        false => "none",
    }
}

/// Refuses what cannot be.
///
/// # Errors
/// As said.
pub fn check(host: &HostConfig) -> Result<Mode> {
    let mode = parse_mode(&host.network_mode)?;
    if mode == Mode::Own {
        networks::possible()?;
    }
    let publishes = !host.port_bindings.is_empty() || host.publish_all_ports;
    match (&mode, publishes) {
        // What was not asked for by name, and is none because there is nothing better.
        (Mode::None, true) if !networks::is_possible() => networks::possible().map(|()| mode),
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
        assert_eq!(parse_mode("none").unwrap(), Mode::None);
        assert_eq!(parse_mode("bridge").unwrap(), Mode::Own);
        assert_eq!(parse_mode("mine").unwrap(), Mode::Own);
        assert_eq!(parse_mode("container:db").unwrap(), Mode::Container("db".into()));
        assert_eq!(parse_mode("container:").unwrap_err().kind(), image::Kind::Invalid);
    }
}
