//! `events`: statistics at an interval, and out-of-memory events as they happen.
//!
//! May not: poll for the end of the container; its init's pidfd tells.

use super::Container;
use crate::cgroup::{OomEvent, rdt};
use crate::cli::Invocation;
use crate::cli::args;
use crate::cli::output::{self, Event};
use crate::cli::stats::Stats;
use crate::error::{Error, Kind, Result};
use std::os::fd::AsFd;
use sys::wait::{self, Deadline, Interest};

/// `events`; `print` gets one line at a time.
pub fn events(
    invocation: &Invocation,
    args: &args::Events,
    print: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let container = Container::find(&invocation.global.root, &args.id)?;
    container.record()?;
    let Some(init) = container.init()? else {
        return Err(Error::of(
            Kind::WrongState,
            format!("container with id {} is not running", args.id),
        ));
    };
    let id = args.id.as_str();
    let stats = || {
        output::event(&Event {
            kind: "stats",
            id,
            data: Some(&measure(&container)?),
        })
    };
    if args.stats {
        return print(&stats()?);
    }
    let mut watch = container.cgroup()?.watch_oom()?;
    let mut next = Deadline::after(args.interval);
    loop {
        let polled = wait::poll(
            &[(init.as_fd(), Interest::Read), (watch.fd(), Interest::Read)],
            next,
        );
        let ready = match polled {
            Ok(ready) => ready,
            Err(e) if e.is(libc::ETIMEDOUT) => {
                print(&stats()?)?;
                next = Deadline::after(args.interval);
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        if ready[1].any() {
            match watch.take()? {
                OomEvent::OutOfMemory => print(&output::event(&Event {
                    kind: "oom",
                    id,
                    data: None,
                })?)?,
                OomEvent::Over => return Ok(()),
                OomEvent::Nothing => {}
            }
        }
        if ready[0].any() {
            return Ok(());
        }
    }
}

fn measure(container: &Container) -> Result<Stats> {
    let mut stats = container.cgroup()?.stats()?;
    if let (Some(rdt), Some(host)) = (&container.record()?.rdt, rdt::probe_rdt()?) {
        stats.intel_rdt = rdt.stats(&host)?;
    }
    Ok(stats)
}
