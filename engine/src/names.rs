//! Names of containers: which are allowed, and one for a container that nobody has named.

use image::{Context as _, Error, Result};

/// Refuses what is no name, in Docker's words.
///
/// # Errors
/// As said.
pub fn check(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.len() > 0 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match first && rest {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ))),
    }
}

/// A name at random.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn generate(_attempt: u32) -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 5];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(format!("c{}", bytes.map(|b| format!("{b:02x}")).concat()))
}
