//! `hosts`, `hostname` and `resolv.conf` of a container, which are mounted over those of its image.
//!
//! May not: know how a network is made. They are written anew at each start; the container may write into them, as in Docker.

use std::fs;

use image::{Context, Error, Result};
use monitor::place::Place;

use crate::model::Definition;
use crate::network::Mode;

/// A file of ours, in the directory of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Hosts,
    Hostname,
    Resolver,
}

impl File {
    /// All.
    pub const ALL: [File; 3] = [File::Resolver, File::Hostname, File::Hosts];

    /// In the directory, and in /etc of the container.
    pub fn name(self) -> &'static str {
        match self {
            File::Hosts => "hosts",
            File::Hostname => "hostname",
            File::Resolver => "resolv.conf",
        }
    }
}

const LOCALHOST: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// Writes them.
///
/// # Errors
/// One cannot be written, or `--add-host` says something that is none.
pub fn write(place: &Place, definition: &Definition, mode: &Mode) -> Result<()> {
    let mut hosts = match mode {
        Mode::Host => host_file("/etc/hosts"),
        _ => LOCALHOST.to_owned(),
    };
    if !hosts.is_empty() && !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    for extra in definition.host.extra_hosts.iter().flatten() {
        let (name, address) = extra
            .split_once([':', '='])
            .ok_or_else(|| Error::invalid(format!("bad format for add-host: {extra:?}")))?;
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    let put = |file: File, text: &str| {
        let path = place.dir.join(file.name());
        fs::write(&path, text).context(format!("failed to write {}", path.display()))
    };
    put(File::Hosts, &hosts)?;
    put(File::Hostname, &format!("{}\n", definition.config.hostname))?;
    put(
        File::Resolver,
        &resolver(definition, &host_file("/etc/resolv.conf")),
    )
}

/// A file of the machine that may be missing or unreadable: then the container has an empty one.
fn host_file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn resolver(definition: &Definition, hosts: &str) -> String {
    let host = &definition.host;
    if host.dns.is_empty() && host.dns_search.is_empty() && host.dns_options.is_empty() {
        return hosts.to_owned();
    }
    let of = |word: &str| -> Vec<&str> {
        hosts
            .lines()
            .filter_map(|line| line.trim().strip_prefix(word))
            .filter(|rest| rest.starts_with([' ', '\t']))
            .flat_map(str::split_ascii_whitespace)
            .collect()
    };
    let own = |own: &'_ [String], word: &str| -> Vec<String> {
        match own.is_empty() {
            true => of(word).into_iter().map(str::to_owned).collect(),
            false => own.to_vec(),
        }
    };
    let mut text = String::new();
    let search = own(&host.dns_search, "search");
    // `--dns-search .` is how to say that there is none.
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in own(&host.dns, "nameserver") {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let options = own(&host.dns_options, "options");
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "# made by hand\nnameserver 10.0.0.1\nsearch a.example b.example\noptions ndots:2\n";

    fn definition(dns: &[&str], search: &[&str], options: &[&str]) -> Definition {
        let list = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let mut definition = Definition::default();
        definition.host.dns = list(dns);
        definition.host.dns_search = list(search);
        definition.host.dns_options = list(options);
        definition
    }

    #[test]
    fn what_is_not_said_is_the_hosts() {
        assert_eq!(resolver(&definition(&[], &[], &[]), HOSTS), HOSTS);
        assert_eq!(
            resolver(&definition(&["1.1.1.1", "8.8.8.8"], &[], &[]), HOSTS),
            "search a.example b.example\nnameserver 1.1.1.1\nnameserver 8.8.8.8\noptions ndots:2\n"
        );
        assert_eq!(
            resolver(&definition(&[], &["."], &["rotate"]), HOSTS),
            "nameserver 10.0.0.1\noptions rotate\n"
        );
    }
}
