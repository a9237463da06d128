//! `--pid-file`: the pid of a process that was made, for its caller.
//!
//! May not: show half a number, or leave anything behind when the process came to nothing.

use crate::error::{Doing, Error, Result};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use sys::fs;

/// The file that was written, if any was.
#[derive(Debug, Default)]
pub struct Written(Option<PathBuf>);

impl Written {
    /// Removes it: its process is dead.
    pub fn take_back(&self) -> Result<()> {
        match self.0.as_ref().map(|path| fs::unlinkat(fs::cwd(), path, 0)) {
            Some(Err(e)) if !e.is(libc::ENOENT) => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// Decimal, no newline. The file gets its name when it is complete; until then it has none, or, where one of that name is
/// there to be replaced, that of a hidden sibling.
pub fn write(path: &Path, pid: i32) -> Result<Written> {
    let text = pid.to_string();
    let done = match write_nameless(path, &text) {
        // No such files here (overlay, NFS), or a name that is taken.
        Err(e) if is_refused(&e) => write_beside(path, &text),
        other => other,
    };
    done.doing(|| "write the pid file")?;
    Ok(Written(Some(path.to_path_buf())))
}

fn is_refused(e: &Error) -> bool {
    [
        libc::EEXIST,
        libc::EOPNOTSUPP,
        libc::EISDIR,
        libc::EINVAL,
        libc::ENOENT,
        libc::EPERM,
        libc::ENOSYS,
    ]
    .iter()
    .any(|n| e.is(*n))
}

fn write_nameless(path: &Path, text: &str) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let fd = fs::open(dir, libc::O_WRONLY | libc::O_TMPFILE, 0o666)?;
    crate::state::write_all(fd.as_fd(), text.as_bytes())?;
    let itself = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Ok(fs::linkat(
        fs::cwd(),
        &itself,
        fs::cwd(),
        path,
        libc::AT_SYMLINK_FOLLOW,
    )?)
}

fn write_beside(path: &Path, text: &str) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Error::new(format!("{} is not a file name", path.display())));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let fd = fs::open(&temporary, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o666)?;
    crate::state::write_all(fd.as_fd(), text.as_bytes())
        .and_then(|()| Ok(fs::renameat(fs::cwd(), &temporary, fs::cwd(), path)?))
        .map_err(|e| e.and_also(Written(Some(temporary)).take_back()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_and_one_that_is_replaced() {
        let dir = std::env::temp_dir().join(format!("runb-pid-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("pid");
        for pid in [1, 4_194_304, 7] {
            let written = write(&path, pid).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), pid.to_string());
            assert_eq!(entries(&dir), ["pid"]);
            if pid == 7 {
                written.take_back().unwrap();
            }
        }
        assert_eq!(entries(&dir), [""; 0]);
        // What cannot be replaced leaves no sibling.
        std::fs::create_dir(&path).unwrap();
        let e = write(&path, 1).unwrap_err().to_string();
        assert!(e.starts_with("write the pid file: rename "), "{e}");
        assert_eq!(entries(&dir), ["pid"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_that_is_missing() {
        let e = write(Path::new("/no/such/pid"), 1).unwrap_err();
        assert!(e.is(libc::ENOENT), "{e}");
    }
}
