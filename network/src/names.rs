//! Names of containers, for each other: `RUN/networks/NETID/names/NAME/CONTAINERID`, with the addresses in it, one a line. And
//! back: `RUN/networks/NETID/addresses/ADDRESS`, with the container's id and its name.
//!
//! Directories, so that a thousand containers come and go without a lock and without a file that all of them write. Several
//! containers may have one name: then it means all of them.
//!
//! May not: believe a name. What is asked for comes from a container.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::attachment::{Attachment, Endpoint};
use crate::error::{Context, Error, Kind, Result};

/// Of a name in DNS, without the last dot.
const LONGEST: usize = 253;

/// Digits of a short id.
const SHORT: usize = 12;

/// How often a directory may vanish under our hands: whoever withdraws the last of a name removes it. An attempt takes some microseconds,
/// and on a busy machine each of them may be interrupted.
const ATTEMPTS: usize = 1000;

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub container: String,
    pub addresses: Vec<IpAddr>,
}

/// Makes the names of a container known in its networks. What is there already is replaced.
///
/// # Errors
/// [`Kind::Invalid`] for a name that cannot be one; or something cannot be written.
pub fn publish(run: &Path, attachment: &Attachment) -> Result<()> {
    for endpoint in &attachment.endpoints {
        let room = Room::of(run, &endpoint.network.id)?;
        let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(|a| a.address).collect();
        let lines: String = addresses.iter().map(|a| format!("{a}\n")).collect();
        for name in names(attachment, endpoint) {
            put(&room.name(name)?, &attachment.container, &lines)?;
        }
        let back = format!("{}\n{}\n", attachment.container, attachment.container_name);
        for address in addresses {
            put(&room.addresses, &address.to_string(), &back)?;
        }
    }
    Ok(())
}

/// The opposite. What is not there, or belongs to another by now, is left.
///
/// # Errors
/// Something cannot be removed; the rest is.
pub fn withdraw(run: &Path, attachment: &Attachment) -> Result<()> {
    let mut done = Ok(());
    for endpoint in &attachment.endpoints {
        let Ok(room) = Room::of(run, &endpoint.network.id) else {
            continue;
        };
        for name in names(attachment, endpoint) {
            let Ok(directory) = room.name(name) else { continue };
            let removed = take(&directory, &attachment.container);
            done = done.and(removed);
        }
        for address in &endpoint.addresses {
            let file = room.addresses.join(address.address.to_string());
            if owner(&file).as_deref() == Some(attachment.container.as_str()) {
                done = done.and(gone(fs::remove_file(&file), &file));
            }
        }
        for directory in [&room.addresses, &room.names] {
            done = done.and(gone(fs::remove_dir(directory), directory));
        }
    }
    done
}

/// Who has this name in a network. Nobody has what cannot be a name.
///
/// # Errors
/// It cannot be read.
pub fn look_up(run: &Path, network: &str, name: &str) -> Result<Vec<Holder>> {
    let Ok(directory) = Room::of(run, network).and_then(|room| room.name(name)) else {
        return Ok(Vec::new());
    };
    let failed = || format!("failed to read {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(e) if is_missing(&e) => return Ok(Vec::new()),
        entries => entries
            .map_err(|e| of_io("readdir", &directory, &e))
            .context(failed())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry
            .map_err(|e| of_io("readdir", &directory, &e))
            .context(failed())?;
        let Ok(container) = entry.file_name().into_string() else {
            continue;
        };
        // One that is being written, or has been withdrawn since.
        if container.starts_with('.') {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        let addresses = text.lines().filter_map(|line| line.parse().ok()).collect();
        found.push(Holder { container, addresses });
    }
    Ok(found)
}

/// The addresses of a container in a network, by its id.
///
/// # Errors
/// They cannot be read.
pub fn addresses_of(run: &Path, network: &str, container: &str) -> Result<Vec<IpAddr>> {
    let short = container.get(..SHORT).unwrap_or(container);
    let holders = look_up(run, network, short)?;
    let own = holders.into_iter().find(|holder| holder.container == container);
    Ok(own.map(|holder| holder.addresses).unwrap_or_default())
}

/// The name of the container that has an address in a network.
pub fn find(run: &Path, network: &str, address: IpAddr) -> Option<String> {
    let room = Room::of(run, network).ok()?;
    let text = fs::read_to_string(room.addresses.join(address.to_string())).ok()?;
    let name = text.lines().nth(1)?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether a name may be one of a container: short enough, and a file of that name is only that.
///
/// # Errors
/// [`Kind::Invalid`].
pub fn check(name: &str) -> Result<()> {
    let fits = (1..=LONGEST).contains(&name.len());
    // Dots begin what is not a name here; the rest would be a path, or breaks lines in what we show.
    let is_plain = |b: u8| b > b' ' && b != 0x7f && b != b'/';
    match fits && !name.starts_with('.') && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Error::of(
            Kind::Invalid,
            format!("{name:?} cannot be the name of a container in a network"),
        )),
    }
}

/// All of its names in a network. Its short id is always among them: by it, links are followed.
fn names<'a>(attachment: &'a Attachment, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a str> {
    let short = attachment.container.get(..SHORT);
    let named = !endpoint.names.is_empty();
    let own = endpoint.names.iter().map(String::as_str);
    own.chain(short.filter(|_| named))
}

/// A network's directories.
struct Room {
    names: PathBuf,
    addresses: PathBuf,
}

impl Room {
    fn of(run: &Path, network: &str) -> Result<Room> {
        check(network)?;
        let room = run.join("networks").join(network);
        Ok(Room {
            names: room.join("names"),
            addresses: room.join("addresses"),
        })
    }

    fn name(&self, name: &str) -> Result<PathBuf> {
        check(name)?;
        Ok(self.names.join(name.to_ascii_lowercase()))
    }
}

/// A whole file or none.
pub(crate) fn put(directory: &Path, name: &str, text: &str) -> Result<()> {
    let (new, file) = (directory.join(format!(".{name}")), directory.join(name));
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(&new, text)?;
        fs::rename(&new, &file)
    };
    let mut attempts = 1..=ATTEMPTS;
    loop {
        match write() {
            Err(e) if has_vanished(&e) && attempts.next().is_some() => {}
            done => return done.map_err(|e| of_io("write", &file, &e).into()),
        }
    }
}

/// Whether the directory was removed under our hands. `create_dir_all` says that something exists when it was there at mkdir(2) and
/// no longer at the look after it.
fn has_vanished(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

/// Removes a file of a directory, and that when it was the last.
pub(crate) fn take(directory: &Path, name: &str) -> Result<()> {
    let file = directory.join(name);
    gone(fs::remove_file(&file), &file)?;
    gone(fs::remove_dir(directory), directory)
}

/// Nothing there is success; so is a directory in which others have something.
fn gone(done: io::Result<()>, path: &Path) -> Result<()> {
    match done {
        Err(e) if !is_missing(&e) && e.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(of_io("unlink", path, &e).into())
        }
        _ => Ok(()),
    }
}

/// A file whose name is longer than the file system's longest is not there either.
fn is_missing(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)
    )
}

fn owner(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().next().map(str::to_owned)
}

fn of_io(call: &'static str, path: &Path, e: &io::Error) -> sys::Error {
    sys::Error::io(call, path.display().to_string(), e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::attachment::{Address, Network, VERSION};

    fn attachment(digit: char, names: &[&str], addresses: &[&str]) -> Attachment {
        let id = |digit: char| std::iter::repeat_n(digit, 64).collect::<String>();
        let network = Network {
            id: id('f'),
            name: "mine".into(),
            kind: crate::attachment::Kind::Bridge {
                device: "br-ffffffffffff".into(),
            },
            subnets: Vec::new(),
            mtu: 0,
            internal: false,
            icc: true,
            masquerade: true,
            routed: false,
        };
        let endpoint = Endpoint {
            network,
            id: id('e'),
            interface: "eth0".into(),
            device: String::new(),
            mac: String::new(),
            addresses: addresses
                .iter()
                .map(|a| Address {
                    address: a.parse().unwrap(),
                    prefix: 16,
                })
                .collect(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            links: Vec::new(),
            link_local: Vec::new(),
            reaches: Vec::new(),
            sysctls: Vec::new(),
        };
        Attachment {
            version: VERSION,
            container: id(digit),
            container_name: names.first().copied().unwrap_or_default().to_owned(),
            endpoints: vec![endpoint],
            ports: Vec::new(),
        }
    }

    struct Run(PathBuf);

    impl Run {
        fn new(test: &str) -> Run {
            let run = std::env::temp_dir().join(format!("network-names-{test}-{}", std::process::id()));
            fs::create_dir_all(&run).unwrap();
            Run(run)
        }
    }

    impl Drop for Run {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_come_and_go() {
        let run = Run::new("go");
        let net = "f".repeat(64);
        let (web, other) = (
            attachment('1', &["web", "app"], &["10.0.0.2", "fd00::2"]),
            attachment('2', &["other", "app"], &["10.0.0.3"]),
        );
        for _ in 0..2 {
            publish(&run.0, &web).unwrap();
            publish(&run.0, &other).unwrap();
        }
        let addresses = |name: &str| {
            let mut all: Vec<String> = look_up(&run.0, &net, name)
                .unwrap()
                .iter()
                .flat_map(|h| h.addresses.iter().map(ToString::to_string))
                .collect();
            all.sort();
            all
        };
        assert_eq!(addresses("web"), ["10.0.0.2", "fd00::2"]);
        assert_eq!(addresses("WEB"), ["10.0.0.2", "fd00::2"]);
        assert_eq!(addresses("app"), ["10.0.0.2", "10.0.0.3", "fd00::2"]);
        assert_eq!(addresses(&"1".repeat(12)), ["10.0.0.2", "fd00::2"]);
        assert_eq!(addresses("nobody"), Vec::<String>::new());
        let by_id = addresses_of(&run.0, &net, &other.container).unwrap();
        assert_eq!(by_id, ["10.0.0.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(find(&run.0, &net, "fd00::2".parse().unwrap()).unwrap(), "web");
        assert_eq!(find(&run.0, &net, "10.0.0.9".parse().unwrap()), None);

        for _ in 0..2 {
            withdraw(&run.0, &web).unwrap();
        }
        assert_eq!(addresses("web"), Vec::<String>::new());
        assert_eq!(addresses("app"), ["10.0.0.3"]);
        assert_eq!(find(&run.0, &net, "10.0.0.2".parse().unwrap()), None);
        withdraw(&run.0, &other).unwrap();
        let left: Vec<_> = fs::read_dir(run.0.join("networks").join(&net)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn an_address_that_another_has_by_now_stays_his() {
        let run = Run::new("his");
        let (old, new) = (
            attachment('1', &["old"], &["10.0.0.2"]),
            attachment('2', &["new"], &["10.0.0.2"]),
        );
        publish(&run.0, &old).unwrap();
        publish(&run.0, &new).unwrap();
        withdraw(&run.0, &old).unwrap();
        let net = "f".repeat(64);
        assert_eq!(find(&run.0, &net, "10.0.0.2".parse().unwrap()).unwrap(), "new");
    }

    #[test]
    fn hostile_names_are_refused() {
        let run = Run::new("hostile");
        let long = "a".repeat(LONGEST + 1);
        for name in [
            "", ".", "..", "../x", "a/b", "/etc", "a\nb", "a\0b", " a", ".new", &long,
        ] {
            let refused = publish(&run.0, &attachment('1', &[name], &[])).unwrap_err();
            assert_eq!(refused.kind(), Kind::Invalid, "{name:?}");
            assert_eq!(look_up(&run.0, &"f".repeat(64), name).unwrap(), []);
            assert_eq!(look_up(&run.0, name, "a").unwrap(), []);
        }
        assert!(!run.0.join("networks").join("f".repeat(64)).join("x").exists());
        for name in ["a_b", "a.b", "ä", "A"] {
            check(name).unwrap();
        }
    }

    #[test]
    fn many_at_once_do_not_lose_each_other() {
        let run = Run::new("race");
        std::thread::scope(|scope| {
            for digit in ['1', '2', '3', '4'] {
                let run = &run.0;
                scope.spawn(move || {
                    let own = attachment(digit, &["app"], &[]);
                    for _ in 0..40 {
                        publish(run, &own).unwrap();
                        let holders = look_up(run, &"f".repeat(64), "app").unwrap();
                        assert!(holders.iter().any(|h| h.container == own.container));
                        withdraw(run, &own).unwrap();
                    }
                });
            }
        });
    }
}
