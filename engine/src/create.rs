//! A container from an image and a command line: its record, its name, its directory.
//!
//! May not: start it, or fetch the image.

use std::collections::BTreeMap;
use std::time::SystemTime;

use image::store::{Image, Store};
use image::{Error, Result};

use crate::containers::{Containers, Durable};
use crate::logs;
use crate::merge;
use crate::model::{Config, Definition, Endpoint, HostConfig, VERSION};
use crate::mountpoints;
use crate::names;
use crate::network::{self, Mode};
use crate::networks::{Networks, connect, links};
use crate::spec::{self, settle};
use crate::start::Layers;
use crate::telling;
use crate::volumes::attach;

/// What somebody wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Without one, one is made up.
    pub name: Option<String>,
    pub config: Config,
    pub host: HostConfig,
    /// Its networks, by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Where ports are published that name no address of the machine; empty: everywhere.
    pub publish_at: String,
}

/// What there is now.
#[derive(Clone, Debug)]
pub struct Created {
    pub id: String,
    pub warnings: Vec<String>,
}

/// Makes the container. Killed meanwhile, it leaves a directory without a name, which [`crate::remove::sweep_unfinished`] sweeps.
///
/// # Errors
/// The name is taken ([`image::Kind::Conflict`]), nothing is to be run, or the record cannot be written. Nothing is left then.
pub fn create(
    containers: &Containers,
    store: &Store,
    make: Layers<'_>,
    image: &Image,
    wanted: Wanted,
) -> Result<Created> {
    let (image_config, _) = store.config(&image.id)?;
    let Wanted {
        name,
        mut config,
        mut host,
        networks,
        publish_at,
    } = wanted;
    let networks = settle_networks(containers, &mut host, networks)?;
    mountpoints::check_anonymous(config.volumes.as_ref())?;
    merge::merge(&mut config, &image_config.config);
    let (path, args) = merge::command(&config).ok_or_else(|| Error::invalid("no command specified"))?;
    if host.log_config.kind.is_empty() {
        host.log_config.kind = "json-file".into();
    }
    logs::check(&host.log_config)?;
    let (mut host, warnings) = settle::settle(&config, host, &spec::Host::ask())?;
    crate::programs::runtime(&host.runtime)?;
    let others = mountpoints::of_others(containers, host.volumes_from.as_ref())?;
    let planned = mountpoints::list(&config, &host, others)?;
    let id = store.random_id()?;
    fill_in(&mut config, &mut host, &id);
    let durable = match host.auto_remove {
        true => Durable::No,
        false => Durable::Yes,
    };
    let (place, _lock) = containers.make(&id)?;
    // Held until the record says who has them.
    let volumes = attach::make(containers, store, planned, &id, durable)
        .map_err(|e| e.and_also(monitor::remove::remove(&place, "").map_err(Error::from)))?;
    let mut definition = Definition {
        version: VERSION,
        id: id.clone(),
        created: sys::time::rfc3339_nano(SystemTime::now()),
        path,
        args,
        image: image.id.to_string(),
        manifest: image.manifest.to_string(),
        platform: image_config.platform().to_string(),
        driver: "overlay2".into(),
        config,
        host,
        mounts: volumes.points.clone(),
        networks,
        publish_at,
        ..Definition::default()
    };
    let mounted = attach::images(store, &volumes.points);
    let stands = mounted.and_then(|mounted| store.stand_container(&place.dir, image, &mounted));
    let made = stands.and_then(|()| {
        definition.name = take_name(containers, name.as_deref(), &id)?;
        attach::fill(containers, make, image, &place, &volumes, durable)?;
        containers.save(&definition, durable)
    });
    match made {
        Ok(()) => {
            telling::tell(containers, &definition, "create", &[]);
            Ok(Created {
                id,
                warnings: warnings.iter().map(ToString::to_string).collect(),
            })
        }
        Err(e) => {
            let removed = monitor::remove::remove(&place, &definition.name).map_err(Error::from);
            Err(e.and_also(removed).and_also(volumes.undo(containers, &id)))
        }
    }
}

/// The mode and the networks under the names that they have: nobody is in `default`.
fn settle_networks(
    containers: &Containers,
    host: &mut HostConfig,
    given: BTreeMap<String, Endpoint>,
) -> Result<BTreeMap<String, Endpoint>> {
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = network::usual().into();
    }
    let mode = network::check(host)?;
    if mode != Mode::Own {
        let mut endpoints = given.values();
        endpoints.try_for_each(|endpoint| connect::check(None, &host.network_mode, endpoint))?;
        let has_mac = given.values().any(|endpoint| !endpoint.mac_address.is_empty());
        return match mode {
            Mode::Container(_) if has_mac => Err(Error::invalid(
                "conflicting options: mac-address and the network mode",
            )),
            _ => Ok(BTreeMap::new()),
        };
    }
    if host.network_mode != "bridge" {
        // There they are names of the network (`Endpoint::links`).
        host.links = None;
    }
    links::check(containers, host.links.as_deref().unwrap_or_default())?;
    let known = Networks::of(containers.roots());
    let mut settled = BTreeMap::new();
    for (name, mut endpoint) in given {
        let name = match name.as_str() {
            "default" => host.network_mode.clone(),
            _ => name,
        };
        // One that is not there yet is looked for at the start.
        let record = match known.find(&name) {
            Err(e) if e.kind() == image::Kind::NotFound => None,
            record => Some(record?),
        };
        let name = record.as_ref().map_or(name, |r| r.name.clone());
        connect::check(record.as_ref(), &name, &endpoint)?;
        endpoint.network_id = record.map(|r| r.id).unwrap_or_default();
        settled.insert(name, endpoint);
    }
    if !settled.contains_key(&host.network_mode) && settled.is_empty() {
        let record = known.find(&host.network_mode).ok();
        let name = record
            .as_ref()
            .map_or(host.network_mode.clone(), |r| r.name.clone());
        let endpoint = Endpoint {
            network_id: record.map(|r| r.id).unwrap_or_default(),
            ..Endpoint::default()
        };
        settled.insert(name, endpoint);
    }
    Ok(settled)
}

/// What Docker fills in at creation.
fn fill_in(config: &mut Config, host: &mut HostConfig, id: &str) {
    let of_host = host.network_mode == "host" || host.uts_mode == "host";
    if config.hostname.is_empty() {
        config.hostname = match of_host {
            true => host_name(),
            false => id.chars().take(12).collect(),
        };
    }
    if host.runtime.is_empty() {
        host.runtime = crate::programs::RUNTIME.into();
    }
    if host.shm_size == 0 {
        host.shm_size = HostConfig::default().shm_size;
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Attempts at a name that nobody has.
const ATTEMPTS: u32 = 6;

fn take_name(containers: &Containers, wanted: Option<&str>, id: &str) -> Result<String> {
    if let Some(name) = wanted {
        let name = name.strip_prefix('/').unwrap_or(name);
        names::check(name)?;
        containers.claim_name(name, id)?;
        return Ok(name.to_owned());
    }
    for attempt in 0..ATTEMPTS {
        let name = names::generate(attempt)?;
        match containers.claim_name(&name, id) {
            Err(e) if e.kind() == image::Kind::Conflict => {}
            claimed => return claimed.map(|()| name),
        }
    }
    let name: String = id.chars().take(12).collect();
    containers.claim_name(&name, id)?;
    Ok(name)
}
