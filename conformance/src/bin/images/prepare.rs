//! What is made once on the machine and kept: the base image, compressed.
//!
//! May not: keep half a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::{base, command};

use crate::depot;

const PATIENCE: Duration = Duration::from_secs(300);

/// The archive of the base image as a gzip file; beside it, with the ending `.diff-id`, its digest before compression.
pub fn debian(cache: &Path) -> Result<PathBuf, String> {
    let tar = base::image(&cache.join("engines"))?;
    let dir = cache.join("images");
    let text = |e: std::io::Error| format!("{}: {e}", dir.display());
    std::fs::create_dir_all(&dir).map_err(text)?;
    let dir = dir.canonicalize().map_err(text)?;
    let name = tar.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = dir.join(format!("{name}.gz"));
    let diff_id = dir.join(format!("{name}.gz.diff-id"));
    if file.exists() && diff_id.exists() {
        return Ok(file);
    }
    println!("compressing the base image (once)");
    let digest = depot::digests(std::slice::from_ref(&tar))?
        .pop()
        .unwrap_or_default();
    let part = dir.join(format!("{name}.{}.part", std::process::id()));
    let mut gzip = Command::new("sh");
    gzip.args(["-c", "gzip -n <\"$1\" >\"$2\"", "sh"])
        .arg(&tar)
        .arg(&part);
    command::run(&mut gzip, "", PATIENCE)?.ok()?;
    std::fs::write(&diff_id, digest).map_err(text)?;
    std::fs::rename(&part, &file).map_err(text)?;
    Ok(file)
}
