//! `spec`: writes the default config.json.
//!
//! May not: overwrite one.

use super::args::Spec;
use super::{Invocation, json};
use crate::default_spec::{self, Host};
use crate::error::{Error, Result};
use crate::facts::CgroupMode;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Where cgroups are mounted.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Writes config.json into the bundle.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn run(invocation: &Invocation, args: &Spec) -> Result<i32> {
    let host = Host {
        hostname: invocation.identity.name(),
        cgroups: probe_cgroups(),
    };
    let spec = if args.rootless {
        let (uid, gid) = sys::process::effective_ids();
        default_spec::rootless(host, uid, gid)
    } else {
        default_spec::privileged(host)
    };
    save(
        args.bundle.as_deref().unwrap_or(Path::new("")),
        &json::indented(&spec, "\t")?,
    )?;
    Ok(0)
}

fn save(bundle: &Path, text: &str) -> Result<()> {
    let path = bundle.join("config.json");
    let failed = |call, e: &std::io::Error| Error::from(sys::Error::io(call, path.to_string_lossy(), e));
    // Refused by the kernel and not by a look beforehand: of two at once only one writes.
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new("File config.json exists. Remove it first"));
        }
        Err(e) => return Err(failed("open", &e)),
    };
    file.write_all(text.as_bytes()).map_err(|e| failed("write", &e))
}

/// Only one thing is asked: is there one tree for everything?
fn probe_cgroups() -> CgroupMode {
    let top = sys::fs::open(Path::new(CGROUP_MOUNT), libc::O_PATH | libc::O_DIRECTORY, 0);
    match top.and_then(|fd| sys::fs::fs_magic(std::os::fd::AsFd::as_fd(&fd))) {
        Ok(CGROUP2_MAGIC) => CgroupMode::Unified,
        Ok(_) => CgroupMode::Legacy,
        Err(_) => CgroupMode::None,
    }
}
