//! Settings of a network namespace below /proc/sys/net. It is that of the thread that opens the file.
//!
//! May not: decide what is set.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::error::{Context as _, Result};

/// The settings of a container's namespace, for a thread that is in it.
///
/// By a proc of its own where the kernel gives one: the same name in each namespace that was ever looked at by way of the machine's /proc
/// is one more entry in one chain of its cache, and the 500th container would search through 499 (0.7 ms on 6.18).
pub struct Settings {
    proc: Option<OwnedFd>,
}

impl Settings {
    pub fn of_container() -> Settings {
        Settings {
            proc: own_proc().ok(),
        }
    }

    /// The machine's own.
    pub fn of_machine() -> Settings {
        Settings { proc: None }
    }

    /// Sets `name`, as `net/ipv6/conf/eth0/disable_ipv6`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        self.write(name, value).context(failed(name, value))
    }

    /// The same; a kernel that has no such setting is left as it is.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_if_there(&self, name: &str, value: &str) -> Result<()> {
        match self.write(name, value) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other.context(failed(name, value)),
        }
    }

    fn write(&self, name: &str, value: &str) -> std::io::Result<()> {
        let below = Path::new("sys").join(name);
        let file = match &self.proc {
            Some(proc) => sys::fs::openat(proc.as_fd(), &below, libc::O_WRONLY, 0),
            None => sys::fs::open(&Path::new("/proc").join(below), libc::O_WRONLY, 0),
        };
        let file = file.map_err(|e| std::io::Error::from_raw_os_error(e.errno().0))?;
        File::from(file).write_all(value.as_bytes())
    }
}

fn failed(name: &str, value: &str) -> String {
    format!("failed to set {} to {value}", name.replace('/', "."))
}

fn own_proc() -> sys::Result<OwnedFd> {
    let context = sys::mount::fsopen(c"proc")?;
    sys::mount::fsconfig_create(context.as_fd())?;
    let attrs = sys::mount::ATTR_NOSUID | sys::mount::ATTR_NODEV | sys::mount::ATTR_NOEXEC;
    sys::mount::fsmount(context.as_fd(), attrs)
}
