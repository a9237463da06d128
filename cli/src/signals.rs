//! Ctrl-C and its relatives: the first one asks the command to stop and clean up, the second one ends us.
//!
//! May not: be installed for commands that have nothing to clean up; for those the default is right, and quicker.

/// What a terminal or a service manager sends.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// From now on the signals are questions; see [`cancelled`].
///
/// # Errors
/// The kernel refuses.
pub fn catch() -> image::Result<()> {
    Ok(sys::interrupt::catch(&ENDING)?)
}

/// Whether the command has been asked to stop. Long work looks here now and then.
pub fn cancelled() -> bool {
    sys::interrupt::caught().is_some()
}

/// What a command ends with that has been asked to stop: 130 after Ctrl-C.
pub fn exit_code() -> i32 {
    128 + sys::interrupt::caught().unwrap_or(libc::SIGINT)
}
