//! `hosts`, `hostname` and `resolv.conf` of a container, which are mounted over those of its image.
//!
//! May not: know how a network is made. They are written anew at each start; the container may write into them, as in Docker.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;

use image::{Context, Error, Result};
use monitor::place::Place;

use crate::model::Definition;
use crate::network::Mode;

/// Who answers questions about names in networks that somebody has made (the container's monitor).
pub const RESOLVER: &str = "127.0.0.11";

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

/// What a container has of networks that its files speak of.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// What `--link` says, as lines of `hosts`.
    pub links: Vec<String>,
    /// What `host-gateway` means.
    pub host_gateway: Option<IpAddr>,
    /// It asks [`RESOLVER`].
    pub has_names: bool,
    /// Who asks the machine's servers where these cannot be reached.
    pub name_server: Option<IpAddr>,
}

/// Writes them.
///
/// # Errors
/// One cannot be written, or `--add-host` says something that is none.
pub fn write(place: &Place, definition: &Definition, mode: &Mode, around: &Surroundings) -> Result<()> {
    let put = |file: File, text: &str| {
        let path = place.dir.join(file.name());
        fs::write(&path, text).context(format!("failed to write {}", path.display()))
    };
    put(File::Hosts, &hosts(definition, mode, around)?)?;
    put(File::Hostname, &format!("{}\n", definition.config.hostname))?;
    let text = match (mode, around.has_names) {
        (Mode::Own, true) => resolver_of_names(definition, &host_file("/etc/resolv.conf")),
        // Servers on the machine's own loopback device are not the container's.
        (Mode::Own, false) => resolver(definition, &reachable(around.name_server)),
        _ => resolver(definition, &host_file("/etc/resolv.conf")),
    };
    put(File::Resolver, &text)
}

fn hosts(definition: &Definition, mode: &Mode, around: &Surroundings) -> Result<String> {
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
        let address = match address {
            "host-gateway" => gateway(mode, around)?.to_string(),
            address => address.to_owned(),
        };
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    for link in &around.links {
        hosts.push_str(link);
    }
    for address in &around.addresses {
        hosts.push_str(&own_line(definition, *address));
    }
    Ok(hosts)
}

/// The line of one of its own addresses: the whole name, and its first label when it has several, whether the domain came with
/// `--hostname` or with `--domainname`.
pub fn own_line(definition: &Definition, address: IpAddr) -> String {
    let (host, domain) = (&definition.config.hostname, &definition.config.domainname);
    let whole = match domain.as_str() {
        "" => host.clone(),
        domain => format!("{host}.{domain}"),
    };
    match whole.split_once('.') {
        Some((first, _)) => format!("{address}\t{whole} {first}\n"),
        None => format!("{address}\t{whole}\n"),
    }
}

fn gateway(mode: &Mode, around: &Surroundings) -> Result<IpAddr> {
    match (around.host_gateway, mode) {
        (Some(address), _) => Ok(address),
        (None, Mode::Host) => Ok(std::net::Ipv4Addr::LOCALHOST.into()),
        (None, _) => Err(Error::invalid(
            "unable to derive the IP value for host-gateway: the container has no network in which it could reach the machine",
        )),
    }
}

/// Other addresses for a name in the `hosts` of a container that runs. Its users may have written into the file.
///
/// # Errors
/// It cannot be read or written.
pub fn replace(place: &Place, name: &str, addresses: &[IpAddr]) -> Result<()> {
    rewrite(place, File::Hosts, |text| {
        let mut addresses = addresses.iter();
        let mut lines = String::new();
        for line in text.lines() {
            let names = line.split_once(['\t', ' ']).map_or("", |(_, names)| names);
            match names.split_ascii_whitespace().next() == Some(name) {
                false => lines.push_str(line),
                true => match addresses.next() {
                    Some(address) => lines.push_str(&format!("{address}\t{}", names.trim())),
                    None => continue,
                },
            }
            lines.push('\n');
        }
        lines
    })
}

/// A line more or less in the `hosts` of a container that runs.
///
/// # Errors
/// It cannot be read or written.
pub fn change_line(place: &Place, line: &str, is_there: bool) -> Result<()> {
    rewrite(place, File::Hosts, |text| {
        let kept = text.lines().filter(|own| *own != line.trim_end());
        let mut text: String = kept.map(|own| format!("{own}\n")).collect();
        if is_there {
            text.push_str(line);
        }
        text
    })
}

/// Writes `resolv.conf` anew for a container that runs: it has got or lost networks with names.
///
/// # Errors
/// It cannot be written.
pub fn resolve_again(place: &Place, definition: &Definition, around: &Surroundings) -> Result<()> {
    let text = match around.has_names {
        true => resolver_of_names(definition, &host_file("/etc/resolv.conf")),
        false => resolver(definition, &reachable(around.name_server)),
    };
    rewrite(place, File::Resolver, |_| text)
}

/// In place: the file is mounted in the container.
fn rewrite(place: &Place, file: File, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = place.dir.join(file.name());
    let failed = || format!("failed to write {}", path.display());
    let old = fs::read_to_string(&path).context(failed())?;
    let new = change(&old);
    if new == old {
        return Ok(());
    }
    let file = fs::OpenOptions::new().write(true).open(&path).context(failed())?;
    file.write_all_at(new.as_bytes(), 0).context(failed())?;
    file.set_len(new.len() as u64).context(failed())
}

/// A file of the machine that may be missing or unreadable: then the container has an empty one.
fn host_file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The machine's resolv.conf with servers that a container can reach. systemd-resolved's own stub is on the machine's loopback device;
/// where its servers are, it tells in another file. `other`: who asks them for the container.
fn reachable(other: Option<IpAddr>) -> String {
    let own = without_loopback(&host_file("/etc/resolv.conf"));
    if has_servers(&own) {
        return own;
    }
    if let Some(other) = other {
        return format!("{own}nameserver {other}\n");
    }
    let real = without_loopback(&host_file("/run/systemd/resolve/resolv.conf"));
    match has_servers(&real) {
        true => real,
        // Docker's last resort as well.
        false => format!("{own}nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    }
}

/// Whether one of the machine's name servers is not on its loopback device.
pub fn has_reachable_servers() -> bool {
    has_servers(&without_loopback(&host_file("/etc/resolv.conf")))
}

fn has_servers(text: &str) -> bool {
    !words_of(text, "nameserver").is_empty()
}

fn without_loopback(text: &str) -> String {
    let is_loopback = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("nameserver")
            && words
                .next()
                .and_then(|a| a.split('%').next()?.parse::<IpAddr>().ok())
                .is_some_and(|a| a.is_loopback())
    };
    text.lines()
        .filter(|line| !is_loopback(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Servers that the container's monitor asks for names that are no container's: `--dns`.
pub fn servers(definition: &Definition) -> Vec<IpAddr> {
    let all = definition.host.dns.iter();
    all.filter_map(|server| server.parse().ok()).collect()
}

fn resolver_of_names(definition: &Definition, hosts: &str) -> String {
    let mut definition = definition.clone();
    definition.host.dns = vec![RESOLVER.to_owned()];
    let options = &mut definition.host.dns_options;
    if options.is_empty() {
        *options = words_of(hosts, "options")
            .into_iter()
            .map(str::to_owned)
            .collect();
    }
    // A name of one word is a container's, and asked for as it is.
    if !options.iter().any(|o| o.starts_with("ndots:")) {
        options.push("ndots:0".into());
    }
    resolver(&definition, hosts)
}

fn words_of<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(word))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .flat_map(str::split_ascii_whitespace)
        .collect()
}

fn resolver(definition: &Definition, hosts: &str) -> String {
    let host = &definition.host;
    if host.dns.is_empty() && host.dns_search.is_empty() && host.dns_options.is_empty() {
        return hosts.to_owned();
    }
    let own = |own: &'_ [String], word: &str| -> Vec<String> {
        match own.is_empty() {
            true => words_of(hosts, word).into_iter().map(str::to_owned).collect(),
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
    #![allow(clippy::unwrap_used)]
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

    #[test]
    fn in_a_network_with_names_its_monitor_is_asked() {
        assert_eq!(
            resolver_of_names(&definition(&["1.1.1.1"], &[], &[]), HOSTS),
            "search a.example b.example\nnameserver 127.0.0.11\noptions ndots:2\n"
        );
        assert_eq!(
            resolver_of_names(
                &definition(&[], &["."], &[]),
                "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
            ),
            "nameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n"
        );
        assert_eq!(servers(&definition(&["1.1.1.1"], &[], &[])).len(), 1);
    }

    #[test]
    fn servers_of_the_loopback_device_are_not_the_containers() {
        assert_eq!(
            without_loopback("nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\nsearch a\n"),
            "nameserver 10.0.0.1\nsearch a\n"
        );
        assert!(has_servers(HOSTS) && !has_servers("search a\n"));
    }

    #[test]
    fn its_own_line_has_the_whole_name_and_the_first_label() {
        let line = |host: &str, domain: &str| {
            let mut web = definition(&[], &[], &[]);
            web.config.hostname = host.into();
            web.config.domainname = domain.into();
            own_line(&web, "172.17.0.3".parse().unwrap())
        };
        for (host, domain, names) in [
            ("web", "", "web"),
            ("web", "example.org", "web.example.org web"),
            ("web.example.org", "", "web.example.org web"),
            ("web.example", "org", "web.example.org web"),
        ] {
            assert_eq!(line(host, domain), format!("172.17.0.3\t{names}\n"));
        }
    }

    #[test]
    fn hosts_and_what_changes_in_it() {
        let place = Place::of(
            &std::env::temp_dir(),
            &std::env::temp_dir(),
            &format!("hosts-{}", std::process::id()),
        );
        fs::create_dir_all(&place.dir).unwrap();
        let mut web = definition(&[], &[], &[]);
        web.config.hostname = "web".into();
        web.host.extra_hosts = Some(vec!["box:host-gateway".into(), "x=10.9.9.9".into()]);
        let around = Surroundings {
            addresses: vec!["172.17.0.3".parse().unwrap()],
            links: vec!["172.17.0.2\tdb aaaa\n".into()],
            host_gateway: Some("172.17.0.1".parse().unwrap()),
            has_names: false,
            name_server: None,
        };
        write(&place, &web, &Mode::Own, &around).unwrap();
        let read = || {
            fs::read_to_string(place.dir.join("hosts"))
                .unwrap()
                .replace(LOCALHOST, "")
        };
        assert_eq!(
            read(),
            "172.17.0.1\tbox\n10.9.9.9\tx\n172.17.0.2\tdb aaaa\n172.17.0.3\tweb\n"
        );
        replace(&place, "db", &["172.17.0.99".parse().unwrap()]).unwrap();
        change_line(&place, "172.18.0.2\tweb\n", true).unwrap();
        change_line(&place, "172.17.0.3\tweb\n", false).unwrap();
        assert_eq!(
            read(),
            "172.17.0.1\tbox\n10.9.9.9\tx\n172.17.0.99\tdb aaaa\n172.18.0.2\tweb\n"
        );
        let none = write(&place, &web, &Mode::None, &Surroundings::default());
        assert!(none.unwrap_err().to_string().contains("host-gateway"));
        fs::remove_dir_all(&place.dir).unwrap();
    }
}
