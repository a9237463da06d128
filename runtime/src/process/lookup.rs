//! Looking things up inside the container, after its root is ours: the program in PATH, the home in /etc/passwd.
//!
//! May not: trust what it opens. The container controls every file here: only regular files are read, without
//! blocking, and never more than is needed.

use crate::error::{Error, Result};
use std::os::fd::AsFd;
use std::path::Path;
use sys::fs;

/// Finds the program as Go's exec.LookPath does, with its words: engines map them to exit codes 126 and 127.
pub fn find_program(name: &str, env: &[String]) -> Result<String> {
    let error = |text: String| Error::new(format!("exec: {name:?}: {text}"));
    if name.contains('/') {
        return check_program(name).map(|()| name.to_string()).map_err(error);
    }
    let path = super::env_value(env, "PATH").unwrap_or("");
    for dir in path.split(':') {
        let candidate = format!("{}/{name}", if dir.is_empty() { "." } else { dir });
        if check_program(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(error("executable file not found in $PATH".into()))
}

fn check_program(path: &str) -> std::result::Result<(), String> {
    let stat = fs::fstatat(fs::cwd(), Path::new(path), 0).map_err(|e| e.to_string())?;
    if stat.is_dir() {
        // Newer Dockers look for the first half, older ones and Podman for the second; both then exit with 126.
        return Err(format!(
            "{}: {}",
            sys::Errno(libc::EISDIR),
            sys::Errno(libc::EACCES)
        ));
    }
    // The effective ids have changed already, so this is the answer that execve will give.
    fs::access(Path::new(path), libc::X_OK).map_err(|e| e.errno().to_string())?;
    if stat.mode & 0o111 == 0 {
        return Err(sys::Errno(libc::EACCES).to_string());
    }
    Ok(())
}

/// The home directory of `uid` in the container's /etc/passwd, `/` where there is none.
pub fn find_home(uid: u32) -> String {
    open_passwd()
        .and_then(|fd| scan_passwd(fd.as_fd(), uid))
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| "/".into())
}

fn open_passwd() -> Option<std::os::fd::OwnedFd> {
    // O_NONBLOCK: a fifo in its place must not hang us.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let fd = fs::open(Path::new("/etc/passwd"), flags, 0).ok()?;
    let stat = fs::fstat(fd.as_fd()).ok()?;
    (stat.file_type() == libc::S_IFREG).then_some(fd)
}

/// Line by line through a small buffer: the file may be huge and we may live in 512 KiB.
fn scan_passwd(fd: std::os::fd::BorrowedFd<'_>, uid: u32) -> Option<String> {
    const LONGEST_FILE: usize = 16 << 20;
    const LONGEST_LINE: usize = 4096;
    let mut line = Vec::new();
    let mut buf = [0u8; 4096];
    let mut total = 0;
    loop {
        let n = fs::read(fd, &mut buf).ok()?;
        total += n;
        for byte in &buf[..n] {
            match byte {
                b'\n' => {
                    if let Some(home) = parse_passwd_line(&line, uid) {
                        return Some(home);
                    }
                    line.clear();
                }
                b if line.len() < LONGEST_LINE => line.push(*b),
                _ => {}
            }
        }
        if n == 0 || total > LONGEST_FILE {
            return parse_passwd_line(&line, uid);
        }
    }
}

/// `name:password:uid:gid:gecos:home:shell`
fn parse_passwd_line(line: &[u8], uid: u32) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split(':');
    let found: u32 = fields.nth(2)?.parse().ok()?;
    let home = fields.nth(2)?;
    (found == uid).then(|| home.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines() {
        assert_eq!(
            parse_passwd_line(b"www:x:33:33:www:/var/www:/bin/sh", 33).as_deref(),
            Some("/var/www")
        );
        assert_eq!(
            parse_passwd_line(b"www:x:33:33:www:/var/www", 33).as_deref(),
            Some("/var/www")
        );
        assert_eq!(parse_passwd_line(b"www:x:33:33:www:/var/www", 34), None);
        assert_eq!(parse_passwd_line(b"# comment", 0), None);
        assert_eq!(parse_passwd_line(b"www:x:0x21:33::/", 33), None);
    }

    #[test]
    fn program_errors_are_the_words_engines_match() {
        let env = vec!["PATH=/usr/bin:/bin".to_string()];
        assert!(find_program("sh", &env).unwrap().ends_with("/sh"));
        for (name, want) in [
            (
                "no-such-thing",
                "exec: \"no-such-thing\": executable file not found in $PATH",
            ),
            (
                "/no/such",
                "exec: \"/no/such\": stat /no/such: no such file or directory",
            ),
            ("/etc", "exec: \"/etc\": is a directory: permission denied"),
            ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
            (
                "/etc/passwd/x",
                "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
            ),
        ] {
            assert_eq!(find_program(name, &env).unwrap_err().to_string(), want);
        }
    }
}
