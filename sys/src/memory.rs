//! Memory policy of the calling process, and the size of pages.
//!
//! May not: know names; callers translate them.

use crate::errno::{Result, check};

/// set_mempolicy(2): `mode` is MPOL_* with MPOL_F_* or'ed in; bit n of word n/64 is node n.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel reads maxnode - 1 bits.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // SAFETY: pointer to `bits` readable bits, or null with zero.
    let r = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    check(r, "set_mempolicy", || "").map(drop)
}

/// Bytes in a page: 4096 on x86-64, up to 65536 on others.
pub fn page_size() -> usize {
    // SAFETY: no pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_page_is_a_power_of_two() {
        let size = super::page_size();
        assert!(size.is_power_of_two() && size >= 4096);
    }
}
