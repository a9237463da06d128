//! `port`.

use engine::containers::Containers;
use engine::summary;

use crate::flags::Parsed;
use crate::rows::containers::with_port;
use crate::run::ports::range_of;
use crate::session::{Failure, Outcome, Session};
use crate::{units, workshop};

pub(super) fn port(session: &Session, parsed: &Parsed) -> Outcome {
    let name = parsed.operand(0).unwrap_or_default();
    let containers = Containers::of(&workshop::roots(session)?)?;
    let container = containers.find(&name)?;
    let definition = &container.definition;
    let published = match summary::is_up(&container.state) {
        true => summary::ports(
            &definition.host.network_mode,
            definition.config.exposed_ports.as_ref(),
            &summary::published(&containers, container.id())?,
        ),
        false => Vec::new(),
    };
    let wanted = parsed.operand(1).filter(|p| !p.is_empty());
    let only = wanted.as_deref().map(one).transpose()?;
    let mut lines: Vec<String> = published
        .iter()
        .filter_map(|port| {
            let own = (port.private, port.protocol.clone());
            let (ip, number) = port.public.as_ref()?;
            let there = with_port(ip, &number.to_string());
            match &only {
                Some(only) => (*only == own).then_some(there),
                None => Some(format!("{}/{} -> {there}", own.0, own.1)),
            }
        })
        .collect();
    if let Some(wanted) = wanted
        && lines.is_empty()
    {
        return Err(Failure::plain(format!(
            "no public port '{wanted}' published for {name}"
        )));
    }
    lines.sort_by(|a, b| units::natural(a, b));
    if lines.is_empty() {
        return Ok(());
    }
    session.print(&format!("{}\n", lines.join("\n")))
}

/// `80` or `80/tcp`.
fn one(text: &str) -> Result<(u16, String), Failure> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let bad = |why: String| Failure::plain(why.replace("invalid start port", "invalid port"));
    match range_of(number).map_err(bad)? {
        (first, last) if first == last && !number.contains('-') => Ok((first, protocol.to_lowercase())),
        _ => Err(Failure::plain(format!("invalid port '{number}': invalid syntax"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::one;

    #[test]
    fn ports() {
        assert_eq!(one("80").unwrap(), (80, "tcp".to_owned()));
        assert_eq!(one("53/UDP").unwrap(), (53, "udp".to_owned()));
        for (text, message) in [
            ("x", "invalid port 'x': invalid syntax"),
            ("80-81", "invalid port '80-81': invalid syntax"),
            ("", "invalid port '': value is empty"),
        ] {
            assert_eq!(one(text).unwrap_err().message, message);
        }
    }
}
