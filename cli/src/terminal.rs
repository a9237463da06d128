//! Questions to people.
//!
//! May not: be asked where nobody sits: each function says what happens then.

use crate::session::{Failure, Outcome, Session};
use crate::signals;
use std::io::Read;
use std::os::fd::AsFd;

/// `message [y/N] `: only y or Y is a yes, and so the end of stdin is a no.
///
/// # Errors
/// Nothing can be written or read.
pub fn confirm(session: &Session, message: &str) -> Result<bool, Failure> {
    session.print(&format!("{message} [y/N] "))?;
    Ok(line()?.is_some_and(|l| l.trim().eq_ignore_ascii_case("y")))
}

/// What the user types behind `prompt`.
///
/// # Errors
/// Nothing can be written or read.
pub fn ask(session: &Session, prompt: &str) -> Result<String, Failure> {
    session.print(prompt)?;
    Ok(line()?.unwrap_or_default().trim().to_owned())
}

/// The same without showing it. A signal gives the terminal its echo back before we end.
///
/// # Errors
/// Nothing can be written or read.
pub fn ask_secret(session: &Session, prompt: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let Ok(before) = sys::tty::attributes(stdin.as_fd()) else {
        return ask(session, prompt);
    };
    signals::catch()?;
    session.print(prompt)?;
    let hidden = sys::tty::set_attributes(stdin.as_fd(), &sys::tty::without_echo(&before));
    let answer = hidden
        .map_err(image::Error::from)
        .map_err(Failure::from)
        .and_then(|()| line());
    let restored = sys::tty::set_attributes(stdin.as_fd(), &before);
    session.print("\n")?;
    restored.map_err(image::Error::from)?;
    Ok(answer?
        .unwrap_or_default()
        .trim_end_matches(['\r', '\n'])
        .to_owned())
}

/// All of stdin, less one line ending: `--password-stdin`.
///
/// # Errors
/// It cannot be read.
pub fn secret_from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    let cut = ["\r\n", "\n", "\r"].iter().find_map(|end| text.strip_suffix(end));
    Ok(cut.map_or_else(|| text.clone(), str::to_owned))
}

/// A line of stdin, or nothing at its end. Reads byte by byte: what follows the line is not ours. std's own reading of lines
/// would go on after a signal.
fn line() -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin().lock();
    let mut byte = [0];
    loop {
        match stdin.read(&mut byte) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => bytes.push(byte[0]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {
                if signals::cancelled() {
                    return Err(Failure::silent(signals::exit_code()));
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Columns of the terminal that stdout is, or 80.
pub fn columns() -> usize {
    match sys::tty::window_size(std::io::stdout().as_fd()) {
        Ok(size) if size.columns > 0 => usize::from(size.columns),
        _ => 80,
    }
}

/// Refuses to write an archive where people read.
///
/// # Errors
/// Docker's sentence.
pub fn refuse_terminal(session: &Session) -> Outcome {
    if session.out_is_terminal() {
        return Err(Failure::plain(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    Ok(())
}
