//! Numbers that nobody can guess.
//!
//! May not: be a generator of its own.

use crate::errno::{Result, check_restart};

/// So many bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut all = [0; N];
    fill(&mut all)?;
    Ok(all)
}

/// Fills it: getrandom(2), which waits only in the first moments of a machine.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        let n = check_restart(
            // SAFETY: `rest` is writable for its length.
            || unsafe { libc::syscall(libc::SYS_getrandom, rest.as_mut_ptr(), rest.len(), 0) } as i64,
            "getrandom",
            || "",
        )?;
        filled += n as usize;
    }
    Ok(())
}
