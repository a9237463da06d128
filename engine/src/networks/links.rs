//! `--link` on the default bridge: lines in `hosts`, which follow the target's address.
//!
//! Who is linked to is written down in the target's directory of this uptime (`linked/ID`), so that its next start finds those whose
//! `hosts` has to change without reading the records of all containers.
//!
//! May not: know of links on networks of somebody's own, which are names there.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;

use image::{Context, Error, Kind, Result};
use network::attachment::Attachment;

use super::attach;
use crate::containers::{Container, Containers, Durable, make_private};
use crate::model::Definition;
use crate::netfiles;

/// `db:alias` or `db`, or in the form of `inspect`: `/db:/web/alias`.
pub fn parse(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    (target.strip_prefix('/').unwrap_or(target), alias)
}

/// One link of a container, resolved.
struct Link {
    target: Container,
    alias: String,
    addresses: Vec<IpAddr>,
}

/// The lines of those links that can be followed now.
pub fn that_hold(containers: &Containers, definition: &Definition) -> Vec<String> {
    let links = definition.host.links.iter().flatten();
    links
        .filter_map(|link| resolve(containers, definition, link).ok())
        .flat_map(|link| lines(&link))
        .collect()
}

/// Takes a link away: `web/alias`. The line in `hosts` goes with the next start.
///
/// # Errors
/// There is no such link.
pub fn remove(containers: &Containers, name: &str) -> Result<()> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let missing = || Error::not_found(format!("no such link: {name}"));
    let (container, alias) = name.rsplit_once('/').ok_or_else(missing)?;
    let id = containers.find_id(container)?;
    let _lock = containers.lock(&id)?;
    let container = containers.load(&id)?.ok_or_else(missing)?;
    let mut definition = container.definition;
    let mut links = definition.host.links.take().unwrap_or_default();
    let before = links.len();
    links.retain(|link| parse(link).1 != alias);
    if links.len() == before {
        return Err(missing());
    }
    definition.host.links = Some(links).filter(|l| !l.is_empty());
    containers
        .save(&definition, Durable::Yes)
        .context("failed to keep the change")
}

/// As `inspect` shows one.
pub fn shown(link: &str, container: &str) -> String {
    let (target, alias) = parse(link);
    format!("/{target}:/{container}/{alias}")
}

/// Refuses links to what is not there. At creation.
///
/// # Errors
/// As Docker says it.
pub fn check(containers: &Containers, links: &[String]) -> Result<()> {
    for link in links {
        let (target, _) = parse(link);
        containers
            .find_id(target)
            .map_err(|e| e.context(format!("could not get container for {target}")))?;
    }
    Ok(())
}

/// The lines of `hosts` for the links of a container that starts, and for environments of an older time.
///
/// # Errors
/// A target does not run, or is in no network with us.
pub fn of_start(containers: &Containers, definition: &Definition) -> Result<(Vec<String>, Vec<String>)> {
    let mut links = Vec::new();
    for link in definition.host.links.iter().flatten() {
        links.push(resolve(containers, definition, link)?);
    }
    let wants_variables =
        std::env::var_os("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS").is_some_and(|value| value == "1");
    let mut variables = Vec::new();
    for link in &links {
        remember(containers, link.target.id(), &definition.id)?;
        if wants_variables {
            variables.extend(environment(definition, link));
        }
    }
    Ok((links.iter().flat_map(lines).collect(), variables))
}

fn resolve(containers: &Containers, definition: &Definition, link: &str) -> Result<Link> {
    let (name, alias) = parse(link);
    let target = containers
        .find(name)
        .map_err(|e| e.context(format!("could not get container for {name}")))?;
    if !target.is_running() {
        return Err(Error::of(
            Kind::Conflict,
            format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                target.definition.name, definition.name
            ),
        ));
    }
    let attachment = attach::read(&containers.place(target.id()).run)?;
    let addresses = attachment.as_ref().map(on_default_bridge).unwrap_or_default();
    if addresses.is_empty() {
        return Err(Error::of(
            Kind::Conflict,
            format!(
                "Cannot link to /{}, as it does not belong to the default network",
                target.definition.name
            ),
        ));
    }
    Ok(Link {
        target,
        alias: alias.to_owned(),
        addresses,
    })
}

fn on_default_bridge(attachment: &Attachment) -> Vec<IpAddr> {
    let endpoint = attachment.endpoints.iter().find(|e| e.network.name == "bridge");
    endpoint.map_or_else(Vec::new, |e| e.addresses.iter().map(|a| a.address).collect())
}

fn lines(link: &Link) -> Vec<String> {
    let target = &link.target.definition;
    let mut names = vec![link.alias.as_str(), target.config.hostname.as_str()];
    if link.alias != target.name {
        names.push(&target.name);
    }
    let names = names.join(" ");
    link.addresses.iter().map(|a| format!("{a}\t{names}\n")).collect()
}

pub(super) fn remember(containers: &Containers, target: &str, linker: &str) -> Result<()> {
    let directory = containers.place(target).run.join("linked");
    make_private(&directory)?;
    let path = directory.join(linker);
    fs::write(&path, "").context(format!("failed to write {}", path.display()))
}

/// Those that have been linked to a container in this uptime.
pub(super) fn remembered(containers: &Containers, target: &str) -> Result<Vec<String>> {
    let directory = containers.place(target).run.join("linked");
    let failed = || format!("failed to list {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(failed())?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let linker = entry.context(failed())?.file_name().into_string();
        all.push(linker.unwrap_or_default());
    }
    Ok(all)
}

/// A container has started: who is linked to it learns where it is now.
///
/// # Errors
/// A `hosts` cannot be written.
pub fn refresh(containers: &Containers, target: &Definition, attachment: &Attachment) -> Result<()> {
    let addresses = on_default_bridge(attachment);
    for linker in remembered(containers, &target.id)? {
        let Some(linker) = containers.load(&linker)?.filter(Container::is_running) else {
            continue;
        };
        for link in linker.definition.host.links.iter().flatten() {
            let (name, alias) = parse(link);
            if containers.find_id(name).is_ok_and(|id| id == target.id) {
                let place = containers.place(linker.id());
                netfiles::replace(&place, alias, &addresses)?;
            }
        }
    }
    Ok(())
}

/// `DB_PORT_5432_TCP_ADDR` and its kind.
fn environment(definition: &Definition, link: &Link) -> Vec<String> {
    let target = &link.target.definition;
    let prefix = link.alias.to_uppercase().replace('-', "_");
    let Some(address) = link.addresses.first() else {
        return Vec::new();
    };
    let mut ports: Vec<(u16, &str)> = target
        .config
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|(port, _)| crate::summary::split_port(port))
        .collect();
    ports.sort_unstable();
    let url = |(port, protocol): (u16, &str)| format!("{protocol}://{address}:{port}");
    let mut all = BTreeMap::new();
    let mut put = |name: String, value: String| {
        all.insert(name, value);
    };
    put(
        format!("{prefix}_NAME"),
        format!("/{}/{}", definition.name, link.alias),
    );
    if let Some(first) = ports.first() {
        put(format!("{prefix}_PORT"), url(*first));
    }
    for (port, protocol) in ports {
        let of = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        put(format!("{of}_ADDR"), address.to_string());
        put(format!("{of}_PORT"), port.to_string());
        put(format!("{of}_PROTO"), protocol.to_owned());
        put(of, url((port, protocol)));
    }
    for variable in &target.config.env {
        if let Some((name, value)) = variable.split_once('=')
            && !matches!(name, "HOME" | "PATH")
        {
            put(format!("{prefix}_ENV_{name}"), value.to_owned());
        }
    }
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Empty;
    use monitor::state::State;

    #[test]
    fn forms() {
        assert_eq!(parse("db"), ("db", "db"));
        assert_eq!(parse("db:data"), ("db", "data"));
        assert_eq!(parse("/db:/web/data"), ("db", "data"));
    }

    fn link() -> Link {
        let mut definition = Definition {
            id: "a".repeat(64),
            name: "db".into(),
            ..Definition::default()
        };
        definition.config.hostname = "aaaaaaaaaaaa".into();
        definition.config.exposed_ports = Some([("5432/tcp".to_owned(), Empty {})].into());
        definition.config.env = vec!["PATH=/bin".into(), "PGDATA=/data".into()];
        Link {
            target: Container {
                definition,
                state: State::default(),
            },
            alias: "my-db".into(),
            addresses: vec!["172.17.0.2".parse().unwrap()],
        }
    }

    #[test]
    fn lines_of_hosts() {
        assert_eq!(lines(&link()), ["172.17.0.2\tmy-db aaaaaaaaaaaa db\n"]);
        let same = Link {
            alias: "db".into(),
            ..link()
        };
        assert_eq!(lines(&same), ["172.17.0.2\tdb aaaaaaaaaaaa\n"]);
    }

    #[test]
    fn variables_of_an_older_time() {
        let web = Definition {
            name: "web".into(),
            ..Definition::default()
        };
        assert_eq!(
            environment(&web, &link()),
            [
                "MY_DB_ENV_PGDATA=/data",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_PORT=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
            ]
        );
    }
}
