//! Which container has which address: `RUN/networks/ID/leases/ADDRESS`, a link whose target is the container's id.
//!
//! symlink(2) fails where there is one, and makes name and content in one step: no daemon and no lock is needed to have an address for
//! oneself, and nobody ever reads half of an entry. A container that ends gives its addresses back; one whose monitor was killed keeps
//! them until they are needed.
//!
//! `RUN/networks/ID/taking/CONTAINER` is there from before the first lease until the container's own record names it ([`settle`]). So
//! those who were killed in between are found without a look at every lease: the 1,000th container would pay for the 999 before it.
//!
//! May not: know what a container is. Whether one still lives is said by who asks.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::attachment::Attachment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::pool::Subnet;

/// What a network gives addresses from.
#[derive(Clone, Debug)]
pub struct Range {
    pub subnet: Subnet,
    /// The part of it that is given away without being asked for by name.
    pub within: Option<Subnet>,
    /// Nobody gets these: the gateway's, and what somebody has set aside.
    pub reserved: Vec<IpAddr>,
}

impl Range {
    fn may_give(&self, address: IpAddr) -> bool {
        self.subnet.is_usable(address) && !self.reserved.contains(&address)
    }

    fn part(&self) -> Subnet {
        self.within.unwrap_or(self.subnet)
    }

    /// How many it can give.
    pub fn size(&self) -> u64 {
        let part = self.part();
        let mut not: HashSet<IpAddr> = self.reserved.iter().copied().collect();
        not.insert(self.subnet.base());
        if self.subnet.is_v4() {
            not.insert(self.subnet.last());
        }
        let lost = not.iter().filter(|a| part.contains(**a)).count();
        part.size().saturating_sub(lost as u64)
    }
}

/// What is known of those who have leases.
pub struct Owners<'o> {
    /// Its own record names what it has, so that goes when the record does. Asked of those who are taking, or seem to be.
    pub is_settled: &'o dyn Fn(&str) -> bool,
    /// It runs, or somebody is at work on it.
    pub lives: &'o dyn Fn(&str) -> bool,
}

/// What is kept of a network in this uptime.
pub fn place(run: &Path, network: &str) -> PathBuf {
    run.join("networks").join(network)
}

fn directory(run: &Path, network: &str) -> PathBuf {
    place(run, network).join("leases")
}

fn taking(run: &Path, network: &str) -> PathBuf {
    place(run, network).join("taking")
}

/// The addresses of a network that somebody has.
///
/// # Errors
/// They cannot be listed.
fn taken(run: &Path, network: &str) -> Result<HashSet<IpAddr>> {
    let names = names_in(&directory(run, network))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = || format!("failed to list {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(failed())?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.context(failed())?.file_name().into_string());
    }
    Ok(names)
}

/// The addresses of a network that somebody has, and who.
///
/// # Errors
/// They cannot be listed.
pub fn list(run: &Path, network: &str) -> Result<Vec<(IpAddr, String)>> {
    let directory = directory(run, network);
    let mut all = Vec::new();
    for name in names_in(&directory)? {
        if let (Ok(address), Some(owner)) = (name.parse(), owner(&directory.join(&name))) {
            all.push((address, owner));
        }
    }
    Ok(all)
}

/// Takes an address: the one that is asked for, or the lowest that is free. Whoever takes it tells [`settle`] when its record names it.
///
/// # Errors
/// [`Kind::Taken`], [`Kind::Exhausted`], [`Kind::Invalid`]: in Docker's words.
pub fn take(
    run: &Path,
    network: &str,
    range: &Range,
    container: &str,
    wanted: Option<IpAddr>,
    owners: &Owners<'_>,
) -> Result<IpAddr> {
    let directory = directory(run, network);
    make_private(&directory)?;
    let mine = forget_the_killed(run, network, container, owners)?;
    begin(run, network, container)?;
    let got = match wanted {
        Some(wanted) => take_this(&directory, range, container, wanted, owners),
        None => take_lowest(run, network, range, container, &mine, owners),
    };
    got.or_else(|e| {
        settle_one(run, network, container)?;
        Err(e)
    })
}

fn take_this(
    directory: &Path,
    range: &Range,
    container: &str,
    wanted: IpAddr,
    owners: &Owners<'_>,
) -> Result<IpAddr> {
    if !range.subnet.contains(wanted) {
        return Err(Error::of(
            Kind::Invalid,
            "no configured subnet or ip-range contain the IP address ".to_owned() + &wanted.to_string(),
        ));
    }
    match range.may_give(wanted) && claim(directory, wanted, container, Some(owners.lives))? {
        true => Ok(wanted),
        false => Err(Error::of(Kind::Taken, "Address already in use")),
    }
}

fn take_lowest(
    run: &Path,
    network: &str,
    range: &Range,
    container: &str,
    mine: &[IpAddr],
    owners: &Owners<'_>,
) -> Result<IpAddr> {
    let directory = directory(run, network);
    let part = range.part();
    let may_give = |address: &IpAddr| part.contains(*address) && range.may_give(*address);
    if let Some(address) = mine.iter().find(|a| may_give(a)) {
        return Ok(*address);
    }
    let taken = taken(run, network)?;
    let candidates = (0..part.size()).map_while(|n| part.nth(n));
    for address in candidates.filter(|a| range.may_give(*a) && !taken.contains(a)) {
        if claim(&directory, address, container, None)? {
            return Ok(address);
        }
    }
    // None was never given away: some may be the dead's.
    for (address, _) in list(run, network)? {
        if may_give(&address) && claim(&directory, address, container, Some(owners.lives))? {
            return Ok(address);
        }
    }
    Err(Error::of(
        Kind::Exhausted,
        format!(
            "no available IPv{} addresses on this network's address pools",
            if part.is_v4() { 4 } else { 6 }
        ),
    ))
}

/// Gives back what those have who were killed before they could use it. What the container itself has taken already: now, or in a `connect`
/// that was killed.
fn forget_the_killed(run: &Path, network: &str, container: &str, owners: &Owners<'_>) -> Result<Vec<IpAddr>> {
    let names = names_in(&taking(run, network))?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // Who is looked at here may be started meanwhile, and be about to take what it had.
    let directory = directory(run, network);
    let _alone = lock(&directory)?;
    let is_killed = |who: &String| who != container && !(owners.is_settled)(who) && !(owners.lives)(who);
    let killed: HashSet<String> = names.iter().filter(|who| is_killed(who)).cloned().collect();
    let mut mine = Vec::new();
    for (address, owner) in list(run, network)? {
        if killed.contains(&owner) {
            remove(&directory.join(address.to_string()))?;
        }
        if owner == container && names.contains(&owner) {
            mine.push(address);
        }
    }
    for who in killed {
        settle_one(run, network, &who)?;
    }
    mine.sort_unstable();
    Ok(mine)
}

fn begin(run: &Path, network: &str, container: &str) -> Result<()> {
    let directory = taking(run, network);
    let path = directory.join(container);
    let make = || File::create(&path);
    let made = match make() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make_private(&directory)?;
            make()
        }
        made => made,
    };
    made.map(|_| ())
        .context(format!("failed to make {}", path.display()))
}

/// The container's record names from now on what it has taken.
///
/// # Errors
/// What says that it is taking cannot be removed.
pub fn settle(run: &Path, attachment: &Attachment) -> Result<()> {
    let mut endpoints = attachment.endpoints.iter();
    endpoints.try_for_each(|endpoint| settle_one(run, &endpoint.network.id, &attachment.container))
}

fn settle_one(run: &Path, network: &str, container: &str) -> Result<()> {
    remove(&taking(run, network).join(container))
}

fn make_private(directory: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.context(format!("failed to make {}", directory.display()))
}

/// Whether it is the container's now. With `lives`, what the dead have is taken over.
fn claim(
    directory: &Path,
    address: IpAddr,
    container: &str,
    lives: Option<&dyn Fn(&str) -> bool>,
) -> Result<bool> {
    let path = directory.join(address.to_string());
    let make = || match symlink(container, &path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => made
            .map(|()| true)
            .context(format!("failed to make {}", path.display())),
    };
    if make()? {
        return Ok(true);
    }
    let Some(lives) = lives else {
        return Ok(false);
    };
    match owner(&path) {
        Some(owner) if owner == container => return Ok(true),
        Some(owner) if lives(&owner) => return Ok(false),
        _ => {}
    }
    // Two who find the same dead owner must not both think that they have it now.
    let _alone = lock(directory)?;
    match owner(&path) {
        Some(owner) if lives(&owner) => return Ok(false),
        Some(_) => remove(&path)?,
        None => {}
    }
    make()
}

/// Gives everything back that a container has in its networks.
///
/// # Errors
/// Something cannot be removed.
pub fn release(run: &Path, attachment: &Attachment) -> Result<()> {
    for endpoint in &attachment.endpoints {
        for address in &endpoint.addresses {
            release_one(run, &endpoint.network.id, address.address, &attachment.container)?;
        }
    }
    settle(run, attachment)
}

/// Gives one back, if it is this container's.
///
/// # Errors
/// It cannot be removed.
pub fn release_one(run: &Path, network: &str, address: IpAddr, container: &str) -> Result<()> {
    let directory = directory(run, network);
    let path = directory.join(address.to_string());
    if owner(&path).as_deref() != Some(container) {
        return Ok(());
    }
    let _alone = lock(&directory)?;
    match owner(&path) {
        Some(owner) if owner == container => remove(&path),
        _ => Ok(()),
    }
}

fn owner(path: &Path) -> Option<String> {
    fs::read_link(path).ok()?.to_str().map(str::to_owned)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::from(e)).context(format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Held for as long as it takes to compare and remove.
fn lock(directory: &Path) -> Result<File> {
    let failed = || format!("failed to lock {}", directory.display());
    let file = File::open(directory).context(failed())?;
    file.lock().context(failed())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Run(PathBuf);

    impl Run {
        fn new(name: &str) -> Run {
            let path = std::env::temp_dir().join(format!("brig-leases-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Run(path)
        }
    }

    impl Drop for Run {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn range(subnet: &str, within: Option<&str>) -> Range {
        Range {
            subnet: subnet.parse().unwrap(),
            within: within.map(|w| w.parse().unwrap()),
            reserved: vec!["10.0.0.1".parse().unwrap()],
        }
    }

    const ALL_LIVE: Owners<'static> = Owners {
        is_settled: &|_| true,
        lives: &|_| true,
    };

    #[test]
    fn the_lowest_that_is_free() {
        let run = Run::new("lowest");
        let range = range("10.0.0.0/29", None);
        assert_eq!(range.size(), 5);
        let take = |who: &str, wanted: Option<&str>| {
            let wanted = wanted.map(|w| w.parse().unwrap());
            take(&run.0, "n", &range, who, wanted, &ALL_LIVE)
                .map(|a| a.to_string())
                .map_err(|e| e.to_string())
        };
        assert_eq!(take("a", None).unwrap(), "10.0.0.2");
        assert_eq!(take("b", None).unwrap(), "10.0.0.3");
        assert_eq!(take("c", Some("10.0.0.5")).unwrap(), "10.0.0.5");
        assert_eq!(take("c", Some("10.0.0.5")).unwrap(), "10.0.0.5", "its own");
        for taken in ["10.0.0.1", "10.0.0.2", "10.0.0.0", "10.0.0.7"] {
            assert_eq!(
                take("d", Some(taken)).unwrap_err(),
                "Address already in use",
                "{taken}"
            );
        }
        assert!(take("d", Some("10.0.1.2")).unwrap_err().contains("10.0.1.2"));
        release_one(&run.0, "n", "10.0.0.2".parse().unwrap(), "b").unwrap();
        assert_eq!(take("d", None).unwrap(), "10.0.0.4", "that was not b's to give");
        release_one(&run.0, "n", "10.0.0.2".parse().unwrap(), "a").unwrap();
        assert_eq!(take("e", None).unwrap(), "10.0.0.2");
        assert_eq!(take("f", None).unwrap(), "10.0.0.6");
        assert_eq!(
            take("g", None).unwrap_err(),
            "no available IPv4 addresses on this network's address pools"
        );
        assert_eq!(list(&run.0, "n").unwrap().len(), 5);
    }

    #[test]
    fn a_part_only() {
        let run = Run::new("part");
        let range = range("10.0.0.0/24", Some("10.0.0.8/30"));
        let take = |wanted: Option<IpAddr>| take(&run.0, "n", &range, "a", wanted, &ALL_LIVE).unwrap();
        assert_eq!(take(None).to_string(), "10.0.0.8");
        assert_eq!(take(Some("10.0.0.77".parse().unwrap())).to_string(), "10.0.0.77");
        assert_eq!(range.size(), 4);
    }

    #[test]
    fn who_was_killed_early_does_not_keep_the_lowest() {
        let run = Run::new("early");
        let range = range("10.0.0.0/24", None);
        for who in ["killed", "lives"] {
            take(&run.0, "n", &range, who, None, &ALL_LIVE).unwrap();
        }
        let owners = Owners {
            is_settled: &|who| who == "lives",
            lives: &|who| who == "lives",
        };
        let mine = take(&run.0, "n", &range, "mine", None, &owners).unwrap();
        assert_eq!(mine.to_string(), "10.0.0.2");
    }

    /// Of many who start at the same time no two have the same, and what the dead had goes to one of them each.
    #[test]
    fn many_at_once() {
        let run = Run::new("many");
        let range = range("10.0.0.0/25", None);
        for dead in 0..60 {
            take(&run.0, "n", &range, &format!("dead{dead}"), None, &ALL_LIVE).unwrap();
        }
        let got: Vec<IpAddr> = std::thread::scope(|scope| {
            let range = &range;
            let run = &run.0;
            let takers: Vec<_> = (0..125)
                .map(|n| {
                    scope.spawn(move || {
                        // Some of the dead look as if they lived.
                        let owners = Owners {
                            is_settled: &|who| !who.starts_with("dead") || who.ends_with('7'),
                            lives: &|who| !who.starts_with("dead"),
                        };
                        take(run, "n", range, &format!("c{n}"), None, &owners).unwrap()
                    })
                })
                .collect();
            takers.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let different: HashSet<_> = got.iter().collect();
        assert_eq!(different.len(), 125);
        assert!(
            list(&run.0, "n")
                .unwrap()
                .iter()
                .all(|(_, who)| who.starts_with('c'))
        );
    }
}
