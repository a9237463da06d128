//! Signals that ask a program to end, turned into a question that it asks itself now and then.
//!
//! May not: be used before a fork; a child would inherit the handlers.

use crate::errno::{Result, check};
use std::sync::atomic::{AtomicI32, Ordering};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// The first one is remembered, the second one ends us: who is asked twice has hung.
extern "C" fn remember(signal: libc::c_int) {
    if CAUGHT
        .compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed)
        .is_err()
    {
        // SAFETY: async-signal-safe, and nothing runs afterwards.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// From now on these signals are remembered. Calls that wait return EINTR.
pub fn catch(signals: &[i32]) -> Result<()> {
    for signal in signals {
        // SAFETY: an all-zero sigaction has an empty mask and no flags, in particular not SA_RESTART.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = remember as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler is async-signal-safe and lives as long as the program; no old action is asked for.
        let r = unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) };
        check(i64::from(r), "sigaction", || signal.to_string())?;
    }
    Ok(())
}

/// The signal that came, if one did.
pub fn caught() -> Option<i32> {
    Some(CAUGHT.load(Ordering::Relaxed)).filter(|s| *s != 0)
}
