//! Placeholder until the mounts of the root filesystem are merged.

use std::path::Path;

/// One mount.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Below the root filesystem.
    pub target: String,
    /// Options.
    pub options: Vec<String>,
}

/// Mounts with mount(8).
///
/// # Errors
/// That it failed.
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), String> {
    for m in mounts {
        let options: Vec<&str> = m.options.iter().map(String::as_str).collect();
        let done = std::process::Command::new("mount")
            .args(["-t", &m.kind, "-o", &options.join(","), &m.source])
            .arg(rootfs)
            .status();
        if !done.is_ok_and(|s| s.success()) {
            return Err("mount failed".into());
        }
    }
    Ok(())
}

/// Unmounts.
///
/// # Errors
/// Never.
pub fn unmount_all(rootfs: &Path) -> Result<(), String> {
    // Nothing mounted is the goal.
    let _ = std::process::Command::new("umount")
        .arg("-q")
        .arg("-l")
        .arg(rootfs)
        .status();
    Ok(())
}
