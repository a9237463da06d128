//! `ps`: the processes of a container.
//!
//! May not: take ps(1) of the container; the host's is run.

use super::Container;
use crate::cli::Invocation;
use crate::cli::args::{self, Format};
use crate::cli::output;
use crate::error::{Doing, Error, Result};
use crate::idmap;

/// `ps`: what to print.
pub fn ps(invocation: &Invocation, args: &args::Ps) -> Result<String> {
    let container = Container::find(&invocation.global.root, &args.id)?;
    container.record()?;
    let cgroup = container.cgroup()?;
    if cgroup.is_none() {
        return Err(Error::new(
            "unable to get all container pids: the container has no cgroup",
        ));
    }
    let pids = cgroup.all_pids()?;
    if args.format == Format::Json {
        return output::ps_json(&pids);
    }
    let program = idmap::find_in_path("ps")
        .ok_or_else(|| Error::new("exec: \"ps\": executable file not found in $PATH"))?;
    let words = if args.args.is_empty() {
        vec!["-ef".to_string()]
    } else {
        args.args.clone()
    };
    let result = std::process::Command::new(&program)
        .args(&words)
        .output()
        .map_err(|e| Error::from(sys::Error::io("exec", program.display().to_string(), &e)))
        .doing(|| "ps")?;
    if !result.status.success() {
        let code = result.status.code().unwrap_or(-1);
        let said = String::from_utf8_lossy(&result.stderr);
        return Err(Error::new(format!("exit status {code}: {said}")));
    }
    output::ps_table(&String::from_utf8_lossy(&result.stdout), &pids)
}
