//! Which systemd is asked, and where it listens.
//!
//! May not: ask it anything.

use super::Bus;
use crate::cgroup::hierarchy::OwnCgroups;
use crate::cli::args::Rootless;
use crate::dbus::{Connection, Patience, Peer, parse_address};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(15);

/// The test of sd_booted(3), in runc's words.
pub fn check_booted() -> Result<()> {
    match sys::fs::fstatat(
        sys::fs::cwd(),
        Path::new("/run/systemd/system"),
        libc::AT_SYMLINK_NOFOLLOW,
    ) {
        Ok(stat) if stat.is_dir() => Ok(()),
        _ => Err(Error::new(
            "systemd not running on this host, cannot use systemd cgroups manager",
        )),
    }
}

/// Root of the host uses the system's systemd, an ordinary user their own. Root of a user namespace can be either: it is a
/// rootless engine when the user's bus belongs to somebody else than root, and otherwise a container with a systemd of its own.
pub fn probe_bus(said: Rootless, facts: &HostFacts) -> Bus {
    match said {
        Rootless::Yes => Bus::User,
        Rootless::No => Bus::System,
        Rootless::Auto if facts.euid != 0 => Bus::User,
        Rootless::Auto if !facts.in_user_namespace => Bus::System,
        Rootless::Auto => match probe_owner() {
            Some(uid) if uid != 0 => Bus::User,
            _ => Bus::System,
        },
    }
}

/// The uid for whom the process behind the user's bus runs, as systemd sees it: it is in the name of its cgroup, where no user
/// namespace translates it. `None` without such a bus, or when it belongs to nobody in particular.
fn probe_owner() -> Option<u32> {
    let place = places(Bus::User, &variable)
        .into_iter()
        .find(|p| p.path.exists())?;
    let patience = Patience::of(CONNECTING);
    let connection = Connection::open(&place.path, place.peer, "the user bus", patience).ok()?;
    // 0: its process is in a pid namespace that we do not see.
    let (pid, _, _) = sys::socket::peer(connection.socket().as_fd()).ok()?;
    let cgroups = match pid {
        0 => OwnCgroups::probe(),
        pid => OwnCgroups::probe_of(pid),
    };
    let cgroups = cgroups.ok()?;
    let named = cgroups.find_v1("name=systemd").map(|h| h.path.clone());
    owner_of(&cgroups.v2.or(named)?)
}

/// `/user.slice/user-1000.slice/...`
fn owner_of(cgroup: &str) -> Option<u32> {
    cgroup
        .split('/')
        .find_map(|part| part.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok())
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|v| !v.is_empty())
}

/// Where to try, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    peer: Peer,
}

/// The bus first: systemd(1) calls its private socket its own affair. It is there as well when no bus is (a host without
/// dbus-user-session, the early boot).
fn places(bus: Bus, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Place> {
    let runtime_dir = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let (name, usual, private) = match bus {
        Bus::System => (
            "DBUS_SYSTEM_BUS_ADDRESS",
            Some(PathBuf::from("/run/dbus/system_bus_socket")),
            Some(PathBuf::from("/run/systemd/private")),
        ),
        Bus::User => (
            "DBUS_SESSION_BUS_ADDRESS",
            runtime_dir.as_ref().map(|d| d.join("bus")),
            runtime_dir.as_ref().map(|d| d.join("systemd/private")),
        ),
    };
    let buses = match variable(name) {
        Some(address) => parse_address(&address.to_string_lossy()),
        None => usual.into_iter().collect(),
    };
    let place = |peer: Peer| move |path: PathBuf| Place { path, peer };
    let buses = buses.into_iter().map(place(Peer::Bus));
    buses.chain(private.map(place(Peer::Direct))).collect()
}

/// A connection to the first place where somebody listens.
///
/// # Errors
/// Which bus is missing, and what to do about it.
pub fn connect(bus: Bus) -> Result<(Connection, String)> {
    let patience = Patience::of(CONNECTING);
    let mut first = None;
    for place in places(bus, &variable) {
        let whom = format!("systemd ({})", shown(&place.path));
        match Connection::open(&place.path, place.peer, &whom, patience) {
            Ok(connection) => return Ok((connection, whom)),
            Err(e) => first = first.or(Some(e)),
        }
    }
    Err(missing(bus, first))
}

/// An abstract address has a NUL in front.
fn shown(path: &Path) -> String {
    path.display().to_string().replace('\0', "@")
}

fn missing(bus: Bus, cause: Option<Error>) -> Error {
    let cause = cause.map(|e| format!(" ({e})")).unwrap_or_default();
    Error::new(match bus {
        Bus::System => format!(
            "no connection to the system bus{cause}: is dbus.service running, and /run/dbus there? \
             The cgroupfs driver works without it"
        ),
        Bus::User => format!(
            "no connection to the user bus of uid {}{cause}: install dbus-user-session and log in anew, or set \
             DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR; the cgroupfs driver works without it",
            sys::process::effective_ids().0
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_systemd_listens() {
        let paths = |bus: Bus, set: &[(&str, &str)]| -> Vec<String> {
            let set: Vec<(String, OsString)> = set.iter().map(|(k, v)| (k.to_string(), v.into())).collect();
            let variable = |name: &str| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
            places(bus, &variable).iter().map(|p| shown(&p.path)).collect()
        };
        assert_eq!(
            paths(Bus::System, &[]),
            ["/run/dbus/system_bus_socket", "/run/systemd/private"]
        );
        assert_eq!(
            paths(Bus::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x")]),
            ["/x", "/run/systemd/private"]
        );
        assert_eq!(paths(Bus::User, &[]), Vec::<String>::new());
        let xdg = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(
            paths(Bus::User, &[xdg]),
            ["/run/user/7/bus", "/run/user/7/systemd/private"]
        );
        assert_eq!(
            paths(
                Bus::User,
                &[xdg, ("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/b,guid=1")]
            ),
            ["@/tmp/b", "/run/user/7/systemd/private"]
        );
    }

    #[test]
    fn whose_bus_it_is() {
        let host = |euid: u32, in_user_namespace: bool| HostFacts {
            euid,
            in_user_namespace,
            ..HostFacts::default()
        };
        for (said, euid, inside, bus) in [
            (Rootless::Auto, 0, false, Bus::System),
            (Rootless::Auto, 7, false, Bus::User),
            (Rootless::Auto, 7, true, Bus::User),
            (Rootless::Yes, 0, false, Bus::User),
            (Rootless::No, 7, false, Bus::System),
        ] {
            assert_eq!(
                probe_bus(said, &host(euid, inside)),
                bus,
                "{said:?} {euid} {inside}"
            );
        }
        assert_eq!(
            owner_of("/user.slice/user-1000.slice/user@1000.service/app.slice"),
            Some(1000)
        );
        assert_eq!(owner_of("/system.slice/dbus.service"), None);
    }

    #[test]
    fn a_missing_bus_is_one_sentence() {
        let e = missing(
            Bus::System,
            Some(Error::new("connect /x: no such file or directory")),
        );
        assert_eq!(
            e.to_string(),
            "no connection to the system bus (connect /x: no such file or directory): is dbus.service running, and \
             /run/dbus there? The cgroupfs driver works without it"
        );
    }
}
