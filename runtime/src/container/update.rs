//! `update`: new limits for a running container.
//!
//! May not: touch device rules, or leave half of an update in force.

use super::Container;
use crate::cgroup::{self, rdt};
use crate::cli::Invocation;
use crate::cli::args::{self, UpdateSource};
use crate::config::{self, Resources};
use crate::error::{Doing, Error, Kind, Result};
use crate::problems::Problems;
use crate::state::Status;
use std::os::fd::AsFd;

/// The largest file of resources that is read.
const LARGEST: usize = 16 << 20;

/// `update`.
pub fn update(invocation: &Invocation, args: &args::Update) -> Result<()> {
    let container = Container::find(&invocation.global.root, &args.id)?;
    let new = match &args.source {
        UpdateSource::Flags(resources) => (**resources).clone(),
        UpdateSource::File(path) => {
            let fd = sys::fs::open(path, libc::O_RDONLY | libc::O_NOCTTY, 0)?;
            args::settle(
                parse(&sys::fs::read_all(fd.as_fd(), LARGEST)?).doing(|| path.display().to_string())?,
            )
        }
        UpdateSource::Stdin => {
            args::settle(parse(&sys::fs::read_all(sys::fs::inherited(0), LARGEST)?).doing(|| "stdin")?)
        }
    };
    let _lock = container.dir.lock()?;
    if container.status()? == Status::Stopped {
        return Err(Error::of(Kind::WrongState, "container not running"));
    }
    update_rdt(&container, args)?;
    let cgroup = container.cgroup()?;
    let old = match container.dir.load_resources()? {
        Some(json) => parse(&json)?,
        None => container
            .config()?
            .linux
            .and_then(|l| l.resources)
            .unwrap_or_default(),
    };
    if let Some(warning) = cgroup::ignored_limits(&new) {
        invocation.log.warn(warning);
    }
    let mut problems = Problems::default();
    let plan = cgroup::plan_update(&old, &new, &cgroup.layout()?, "", &mut problems);
    problems.into_result()?;
    let json = serde_json::to_vec(&plan.merged).map_err(|e| Error::new(e.to_string()))?;
    let undo = cgroup.update(&plan)?;
    // What is in force but not recorded would be taken back by the next update.
    container.dir.save_resources(&json).map_err(|e| undo.because(e))
}

/// Only a container that was made with Intel RDT has a group to update.
fn update_rdt(container: &Container, args: &args::Update) -> Result<()> {
    let (l3, mem_bw) = (args.l3_cache_schema.as_deref(), args.mem_bw_schema.as_deref());
    if l3.is_none() && mem_bw.is_none() {
        return Ok(());
    }
    let host = rdt::probe_rdt()?;
    let refuse = |text| Err(Error::new(text));
    if l3.is_some() && !host.as_ref().is_some_and(|h| h.l3) {
        return refuse("Intel RDT/CAT: l3 cache schema is not enabled");
    }
    if mem_bw.is_some() && !host.as_ref().is_some_and(|h| h.mb) {
        return refuse("Intel RDT/MBA: memory bandwidth schema is not enabled");
    }
    let (Some(rdt), Some(host)) = (&container.record()?.rdt, host) else {
        return refuse("updating a non-existent Intel RDT configuration is not supported");
    };
    rdt.update(l3.unwrap_or_default(), mem_bw.unwrap_or_default(), &host)
}

fn parse(json: &[u8]) -> Result<Resources> {
    config::parse(json).or_else(|p| p.into_result().and(Err(Error::new("unreadable"))))
}
