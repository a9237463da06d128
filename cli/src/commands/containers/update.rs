//! `update`.

use engine::model::HostConfig;
use engine::update::{self, Change};

use super::super::each_at_once;
use crate::flags::Parsed;
use crate::run;
use crate::session::{Failure, Outcome, Session};
use crate::workshop;

/// Takes over what one flag says.
type Take = fn(&mut HostConfig, HostConfig);

const LIMITS: [(&str, Take); 14] = [
    ("blkio-weight", |own, new| own.blkio_weight = new.blkio_weight),
    ("cpu-period", |own, new| own.cpu_period = new.cpu_period),
    ("cpu-quota", |own, new| own.cpu_quota = new.cpu_quota),
    ("cpu-rt-period", |own, new| {
        own.cpu_realtime_period = new.cpu_realtime_period
    }),
    ("cpu-rt-runtime", |own, new| {
        own.cpu_realtime_runtime = new.cpu_realtime_runtime
    }),
    ("cpu-shares", |own, new| own.cpu_shares = new.cpu_shares),
    ("cpus", |own, new| own.nano_cpus = new.nano_cpus),
    ("cpuset-cpus", |own, new| own.cpuset_cpus = new.cpuset_cpus),
    ("cpuset-mems", |own, new| own.cpuset_mems = new.cpuset_mems),
    ("memory", |own, new| own.memory = new.memory),
    ("memory-reservation", |own, new| {
        own.memory_reservation = new.memory_reservation
    }),
    ("memory-swap", |own, new| own.memory_swap = new.memory_swap),
    ("pids-limit", |own, new| own.pids_limit = new.pids_limit),
    // Accepted and without effect, as with Docker on kernels since 5.4.
    ("kernel-memory", |_, _| {}),
];

/// What was not given stays as it is.
fn change_limits(parsed: &Parsed, host: &mut HostConfig) -> Result<(), String> {
    let mut given = HostConfig::default();
    run::limits(parsed, &mut given)?;
    for (_, take) in LIMITS.iter().filter(|(name, _)| parsed.was_given(name)) {
        take(host, given.clone());
    }
    Ok(())
}

pub(super) fn update(session: &Session, parsed: &Parsed) -> Outcome {
    let restart = match parsed.was_given("restart") {
        true => parsed.text("restart").filter(|text| !text.is_empty()),
        false => None,
    };
    let restart = restart
        .map(|text| run::restart_policy(&text))
        .transpose()
        .map_err(Failure::plain)?;
    let limits = |host: &mut HostConfig| change_limits(parsed, host).map_err(image::Error::invalid);
    // Once without a container, so that a mistake is told once.
    limits(&mut HostConfig::default())?;
    let has_limits = LIMITS.iter().any(|(name, _)| parsed.was_given(name));
    if !has_limits && restart.is_none() {
        return Err(Failure::plain(
            "you must provide one or more flags when using this command",
        ));
    }
    let change = Change {
        limits: has_limits.then_some(&limits),
        restart,
    };
    let containers = workshop::containers(session)?;
    let warnings = std::sync::Mutex::new(Vec::new());
    let done = each_at_once(session, &parsed.names(), |name| {
        let id = containers.find_id(name)?;
        let told = update::update(&containers, &id, &change)?;
        if let Ok(mut warnings) = warnings.lock() {
            warnings.extend(told);
        }
        Ok(Some(name.to_owned()))
    });
    for warning in warnings.into_inner().unwrap_or_default() {
        session.warn(&format!("WARNING: {warning}"));
    }
    done
}
