//! After a kill, a power cut or a reboot: what is left of containers, and how it is mended.
//!
//! Nothing here is needed for the truth: `ps` tells it from the records alone ([`monitor::state::State::truth`]). This is about what lies
//! around, and about what should run again.
//!
//! May not: touch anything that somebody has locked.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Context, Error, Kind, Result};
use monitor::place;
use monitor::state::{State, Status};

use crate::containers::{Container, Containers, is_id};
use crate::{control, networks, remove, volumes};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A directory that nobody has finished making or removing.
    Unfinished(String),
    /// A name that leads nowhere, or to a container that has another: a kill in the middle of `rename`.
    Name(String),
    /// Things of this uptime that belong to no container.
    Leftover(PathBuf),
    /// It does not run, and has devices, addresses or rules: its monitor was killed.
    Network { id: String, name: String },
    /// Rules of the firewall that somebody has removed.
    Rules(String),
    /// An ordinary user's containers reach nothing outside.
    WayOut(String),
    /// It runs, and nobody supervises it: its monitor was killed.
    Unsupervised { id: String, name: String },
    /// Its record says that it runs, and it does not.
    Ended { id: String, name: String },
    /// A record that cannot be read.
    Damaged { id: String, why: String },
    /// A volume that nobody has finished making or filling.
    Volume(String),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Unfinished(id) => write!(f, "container {}: unfinished", short(id)),
            Finding::Name(name) => write!(f, "the name {name} leads to no container of this name"),
            Finding::Leftover(path) => write!(f, "{} belongs to no container", path.display()),
            Finding::Network { name, .. } => {
                write!(
                    f,
                    "container {name} does not run and still has a place in its networks"
                )
            }
            Finding::Rules(what) => write!(f, "{what}: brig network reload makes it again"),
            Finding::WayOut(what) => f.write_str(what),
            Finding::Unsupervised { name, .. } => {
                write!(f, "container {name} runs without its monitor, which was killed")
            }
            Finding::Ended { name, .. } => write!(f, "container {name} has ended while nobody was looking"),
            Finding::Damaged { id, why } => write!(f, "container {}: {why}", short(id)),
            Finding::Volume(name) => write!(f, "volume {name}: unfinished"),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Looks at everything.
///
/// # Errors
/// The directories cannot be read.
pub fn check(containers: &Containers) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for id in containers.ids()? {
        let lock = match containers.try_lock(&id) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            lock => lock?,
        };
        // Somebody is at work on it.
        if lock.is_none() {
            continue;
        }
        match containers.load(&id) {
            Err(e) => findings.push(Finding::Damaged {
                id,
                why: e.to_string(),
            }),
            Ok(None) => findings.push(Finding::Unfinished(id)),
            Ok(Some(container)) => findings.extend(look_at(containers, &container)?),
        }
    }
    for name in entries(&place::names(&containers.roots().root))? {
        if let Some(id) = containers.named(&name)?
            && containers.is_stale(&name, &id)?
        {
            findings.push(Finding::Name(name));
        }
    }
    findings.extend(volumes::unfinished(containers)?.into_iter().map(Finding::Volume));
    for directory in [
        place::containers(&containers.roots().run),
        remove::runtime_root(containers),
    ] {
        for id in entries(&directory)? {
            if is_id(&id) && !containers.place(&id).dir.exists() {
                findings.push(Finding::Leftover(directory.join(id)));
            }
        }
    }
    // Without a container in a network there is nothing that could be missing.
    if networks::is_possible() && !networks::attachments(containers)?.is_empty() {
        let missing = networks::attach::machine(containers.roots()).check();
        let missing = missing.map_err(networks::attach::refusal)?;
        findings.extend(missing.into_iter().map(Finding::Rules));
        findings.extend(networks::ground::trouble(containers.roots()).map(Finding::WayOut));
    }
    Ok(findings)
}

fn look_at(containers: &Containers, container: &Container) -> Result<Option<Finding>> {
    let (id, name) = (container.id().to_owned(), container.definition.name.clone());
    if containers.named(&name)?.as_deref() != Some(&id) {
        return Ok(Some(Finding::Unfinished(id)));
    }
    let written = State::load(&containers.place(&id)).map_err(|e| Error::new(e.to_string()))?;
    let is_monitored = written.is_monitored(containers.boot());
    // Between two lives of a restart policy it has what it had, and its monitor keeps it.
    if is_monitored && container.is_supervised() {
        return Ok(None);
    }
    Ok(match (container.is_running(), is_monitored) {
        (true, false) => Some(Finding::Unsupervised { id, name }),
        (false, _) if networks::attach::read(&containers.place(&id).run)?.is_some() => {
            Some(Finding::Network { id, name })
        }
        (false, _) if container.state.status != written.status => Some(Finding::Ended { id, name }),
        _ => None,
    })
}

fn entries(directory: &Path) -> Result<Vec<String>> {
    let failed = || format!("failed to list {}", directory.display());
    let found = match fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.context(failed())?,
    };
    let mut names = Vec::new();
    for entry in found {
        if let Ok(name) = entry.context(failed())?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Mends what can be mended without ending anybody's work. What was done about it; `None`: nothing could be.
///
/// # Errors
/// Something cannot be removed or written.
pub fn repair(containers: &Containers, finding: &Finding) -> Result<Option<String>> {
    Ok(match finding {
        Finding::Unfinished(id) => {
            match containers.load(id).ok().flatten() {
                Some(container) => {
                    remove::sweep(containers, &container)?;
                    monitor::remove::remove(&containers.place(id), &container.definition.name)
                        .context(format!("failed to remove what is left of container {id}"))?;
                }
                None => crate::passing::take_away(containers, &containers.place(id))?,
            }
            Some("removed".into())
        }
        Finding::Name(name) => {
            if let Some(id) = containers.named(name)? {
                containers.release_name(name, &id)?;
            }
            Some("removed".into())
        }
        Finding::Leftover(path) => {
            remove_leftover(containers, path)?;
            Some("removed".into())
        }
        Finding::Network { id, .. } => {
            settle(containers, id)?;
            Some("undone".into())
        }
        Finding::Rules(_) | Finding::WayOut(_) => {
            networks::connect::reload(containers)?;
            Some("made again".into())
        }
        Finding::Ended { id, .. } => {
            settle(containers, id)?;
            Some("written down".into())
        }
        Finding::Unsupervised { id, .. } => match control::supervise(containers, id) {
            // It has ended since we looked.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => None,
            done => done.map(|()| Some("has a monitor again".into()))?,
        },
        Finding::Damaged { .. } => None,
        Finding::Volume(name) => {
            volumes::finish(containers, name)?;
            Some("finished".into())
        }
    })
}

/// The runtime knows how to end what it has made; without a container nobody knows which runtime it was.
fn remove_leftover(containers: &Containers, path: &Path) -> Result<()> {
    let root = remove::runtime_root(containers);
    if path.parent() == Some(&root)
        && let Some(id) = path.file_name().and_then(|n| n.to_str())
    {
        let runtime = crate::programs::runtime("")?;
        return remove::call(&runtime, &root, &["delete", "--force", id]);
    }
    if let Some(id) = path.file_name().and_then(|n| n.to_str()) {
        networks::attach::undo(containers, id)?;
    }
    fs::remove_dir_all(path).context(format!("failed to remove {}", path.display()))
}

fn settle(containers: &Containers, id: &str) -> Result<()> {
    let Some(_lock) = containers.try_lock(id)? else {
        return Ok(());
    };
    let Some(container) = containers.load(id)? else {
        return Ok(());
    };
    // It has been started since we looked.
    if container.is_supervised() {
        return Ok(());
    }
    remove::sweep(containers, &container)?;
    let place = containers.place(id);
    if container.definition.host.auto_remove {
        volumes::remove_of(containers, &container.definition.mounts, id)?;
        return monitor::remove::remove(&place, &container.definition.name)
            .context(format!("failed to remove container {id}"));
    }
    let mut state = container.state;
    state.boot = containers.boot().to_owned();
    state
        .save(&place)
        .context("failed to write the state of the container")
}

/// What containers that were killed with their monitors have of networks is free for others from here on. What cannot be undone now
/// [`check`] tells of.
pub fn free_networks(containers: &Containers, ids: &[String]) {
    for id in ids {
        let _ = networks::attach::undo_of_dead(containers, id);
    }
}

/// Containers that run again when the machine has started, the oldest first: as their restart policies say.
///
/// # Errors
/// They cannot be read.
pub fn to_start(containers: &Containers) -> Result<Vec<Container>> {
    let mut found: Vec<Container> = containers.list()?.into_iter().filter(runs_again).collect();
    found.reverse();
    Ok(found)
}

fn runs_again(container: &Container) -> bool {
    let state = &container.state;
    if container.is_supervised() || state.status != Status::Exited {
        return false;
    }
    match container.definition.host.restart_policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !state.stopped_by_user,
        "on-failure" => !state.stopped_by_user && state.exit_code != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::containers::Durable;
    use crate::model::Definition;

    #[test]
    fn a_name_that_a_killed_rename_has_left_is_found_and_free() {
        let root = std::env::temp_dir().join(format!("brig-names-{}", std::process::id()));
        let containers = Containers::of(&image::store::Roots::at(&root)).unwrap();
        let id = "a".repeat(64);
        let (place, lock) = containers.make(&id).unwrap();
        let definition = Definition {
            id: id.clone(),
            name: "old".into(),
            ..Definition::default()
        };
        containers.save(&definition, Durable::No).unwrap();
        containers.claim_name("old", &id).unwrap();
        containers.claim_name("new", &id).unwrap();
        // Whoever renames it has it locked.
        assert_eq!(check(&containers).unwrap(), []);
        drop(lock);
        let found = check(&containers).unwrap();
        assert_eq!(found, [Finding::Name("new".into())]);
        let other = "b".repeat(64);
        containers.claim_name("new", &other).unwrap();
        assert_eq!(
            containers.claim_name("old", &other).unwrap_err().kind(),
            Kind::Conflict
        );
        fs::remove_dir_all(&place.dir).unwrap();
        let found = check(&containers).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        for finding in &found {
            repair(&containers, finding).unwrap();
        }
        assert_eq!(check(&containers).unwrap(), []);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn between_two_lives_a_container_keeps_its_networks() {
        let root = std::env::temp_dir().join(format!("brig-lives-{}", std::process::id()));
        let containers = Containers::of(&image::store::Roots::at(&root)).unwrap();
        let id = "a".repeat(64);
        let (place, lock) = containers.make(&id).unwrap();
        let definition = Definition {
            id: id.clone(),
            name: "web".into(),
            ..Definition::default()
        };
        containers.save(&definition, Durable::No).unwrap();
        containers.claim_name("web", &id).unwrap();
        drop(lock);
        fs::create_dir_all(&place.run).unwrap();
        let nothing = network::attachment::Attachment {
            version: network::attachment::VERSION,
            container: id.clone(),
            container_name: "web".into(),
            endpoints: Vec::new(),
            ports: Vec::new(),
        };
        networks::attach::record(&place.run, &nothing).unwrap();
        let mut state = State {
            version: monitor::state::VERSION,
            status: Status::Restarting,
            boot: containers.boot().to_owned(),
            monitor: monitor::state::Process::of(std::process::id() as i32),
            ..State::default()
        };
        state.save(&place).unwrap();
        let of_networks = |found: Vec<Finding>| {
            found
                .into_iter()
                .filter(|f| matches!(f, Finding::Network { .. }))
                .count()
        };
        assert_eq!(of_networks(check(&containers).unwrap()), 0);
        // Found before it was started again: nothing of it is touched.
        let name = "web".to_owned();
        repair(&containers, &Finding::Network { id: id.clone(), name }).unwrap();
        assert!(place.network().exists());
        state.monitor = None;
        state.save(&place).unwrap();
        assert_eq!(of_networks(check(&containers).unwrap()), 1);
        fs::remove_dir_all(&root).unwrap();
    }
}
