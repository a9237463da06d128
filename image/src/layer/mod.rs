//! Layers: tar streams in, trees or EROFS images out.

pub mod tar;

use std::path::Path;

use crate::Result;

/// Removes a file or a whole tree.
///
/// # Errors
/// Something cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let is_dir = std::fs::symlink_metadata(path)?.is_dir();
    if is_dir {
        std::fs::remove_dir_all(path)?;
    } else {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
