//! The probe as bytes, and the way into a rootfs. Runs nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

static PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/conformance-probe"));

/// Whether this build has a probe at all.
#[must_use]
pub fn is_embedded() -> bool {
    !PROBE.is_empty()
}

/// Writes the static probe to `path`, executable.
///
/// # Errors
/// Those of writing; `Unsupported` when the build found no static target.
pub fn write_probe(path: &Path) -> io::Result<()> {
    if !is_embedded() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no static probe (add a musl target and build again)",
        ));
    }
    std::fs::write(path, PROBE)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    /// An interpreter would be looked for inside the container, where there is none.
    #[test]
    fn the_probe_is_static() {
        let elf = super::PROBE;
        assert!(elf.starts_with(b"\x7fELF"), "no probe was built");
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
        let (size, count) = (u16_at(54), u16_at(56));
        let offset = usize::try_from(u64::from_le_bytes(elf[32..40].try_into().unwrap())).unwrap();
        const PT_INTERP: u8 = 3;
        assert!((0..count).all(|i| elf[offset + i * size] != PT_INTERP));
    }
}
