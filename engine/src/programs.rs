//! The programs that run beside us: the runtime, the monitor, the init.
//!
//! May not: run them.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use image::{Context as _, Error, Kind, Result};

/// Says where the programs behind brig are, in place of the usual places.
pub const LIBEXEC: &str = "BRIG_LIBEXEC";

/// The runtime that is used when nobody names one.
pub const RUNTIME: &str = "runb";

/// `brig-monitor`.
///
/// # Errors
/// It is nowhere.
pub fn monitor() -> Result<PathBuf> {
    behind("brig-monitor")
}

/// brig itself: whoever calls, or what has been put in its place since.
///
/// # Errors
/// The kernel does not tell.
pub fn brig() -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the own program")?;
    let text = own.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or_else(|| own.clone(), PathBuf::from))
}

/// `brig-init`, which is made process 1 of a container with `--init`.
///
/// # Errors
/// It is nowhere.
pub fn init() -> Result<PathBuf> {
    behind("brig-init")
}

/// A runtime by its path or its name. The name `runc` means what is called so on this machine.
///
/// # Errors
/// There is none.
pub fn runtime(name: &str) -> Result<PathBuf> {
    let name = if name.is_empty() { RUNTIME } else { name };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match is_program(&path) {
            true => Ok(path),
            false => Err(unknown(name)),
        };
    }
    let beside = (name == RUNTIME).then(|| beside_us(OsStr::new(name))).flatten();
    beside
        .or_else(|| on_path(OsStr::new(name)))
        .ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("unknown or invalid runtime name: {name}"))
}

fn behind(name: &str) -> Result<PathBuf> {
    let name = OsStr::new(name);
    let told = std::env::var_os(LIBEXEC).map(|directory| PathBuf::from(directory).join(name));
    if let Some(path) = told.filter(|path| is_program(path)) {
        return Ok(path);
    }
    beside_us(name).or_else(|| on_path(name)).ok_or_else(|| {
        Error::of(
            Kind::Unsupported,
            format!(
                "{} is not installed: it is looked for beside brig, in ../libexec/brig, and on PATH",
                name.display()
            ),
        )
    })
}

/// In the directory of our own program, or in the libexec of the same prefix.
fn beside_us(name: &OsStr) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let directory = own.parent()?;
    [directory.join(name), directory.join("../libexec/brig").join(name)]
        .into_iter()
        .find(|path| is_program(path))
}

pub(crate) fn on_path(name: &OsStr) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
}

pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
