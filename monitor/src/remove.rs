//! Takes everything of a container away: its name, its record, what it has changed, what it has in this uptime.
//!
//! May not: be called for a container that runs. Whoever calls has it locked, or is its monitor.
//!
//! The name goes first, then what it has in this uptime, then the directory in one step: as long as something is left elsewhere, the
//! directory is there to be swept. What is left of itself after a kill has no name that anybody looks for, and goes with the rest of
//! `ROOT/trash`.

use std::fs;
use std::io;
use std::path::Path;

use crate::place::Place;

/// Removes it.
///
/// # Errors
/// Something cannot be removed; it may be tried again.
pub fn remove(place: &Place, name: &str) -> io::Result<()> {
    let id = place.dir.file_name().unwrap_or_default();
    let link = place.names.join(name);
    if !name.is_empty() && fs::read_link(&link).is_ok_and(|target| target.as_os_str() == id) {
        gone(fs::remove_file(&link))?;
    }
    let root = place.names.parent().unwrap_or(Path::new("/"));
    let trash = root.join("trash");
    fs::create_dir_all(&trash)?;
    let mut away = std::ffi::OsString::from("container-");
    away.push(id);
    let away = trash.join(away);
    // Of an earlier attempt.
    gone(fs::remove_dir_all(&away))?;
    // A monitor sees what is mounted there for its container: parts of volumes. They are not ours to delete.
    crate::volumes::detach_below(&place.run)?;
    gone(fs::remove_dir_all(&place.run))?;
    forget_layers(place)?;
    gone(fs::rename(&place.dir, &away))?;
    gone(fs::remove_dir_all(&away))
}

/// What it has said of its layers.
fn forget_layers(place: &Place) -> io::Result<()> {
    let [_, run] = &place.roots;
    let layers = match fs::read_dir(crate::place::layers(run)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        layers => layers?,
    };
    for layer in layers {
        let layer = layer?.path();
        gone(fs::remove_file(layer.join(&place.id)))?;
        match fs::remove_dir(&layer) {
            // Of others.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            done => gone(done)?,
        }
    }
    Ok(())
}

/// Nothing there is success.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
