//! A file of the user's that appears under its name when it is whole, and not before.
//!
//! It has no name while it is written (O_TMPFILE), so whoever is killed meanwhile leaves nothing. Where a file system cannot do that (NFS,
//! FUSE), it has one that begins with a dot. What is there and no file (a pipe, `/dev/stdout`, `/dev/null`) is written as it is, and never
//! replaced: a file in the place of `/dev/null` would break the machine.
//!
//! May not: be used for files of the store, which has directories of its own for what is not whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Context, Error, Result};

/// A file on its way. Dropped before it is kept, it leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    place: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Nameless,
    /// Under another name beside its place.
    Named(PathBuf),
    /// Somebody reads it already, or nobody ever does.
    There,
}

impl Replacement {
    /// Readable by its owner alone unless `mode` says more.
    ///
    /// # Errors
    /// The place is a directory, or cannot be written.
    pub fn create(place: &Path, mode: u32) -> Result<Replacement> {
        let failed = || format!("failed to write {}", place.display());
        let of = |file, way| Replacement {
            file,
            place: place.to_owned(),
            way,
        };
        match fs::metadata(place) {
            Ok(there) if there.is_dir() => return Err(Error::invalid("is a directory").context(failed())),
            Ok(there) if !there.is_file() => {
                let file = File::options().write(true).open(place).context(failed())?;
                return Ok(of(file, Way::There));
            }
            _ => {}
        }
        if place.file_name().is_none() {
            return Err(Error::invalid("it has no name").context(failed()));
        }
        let nameless = File::options()
            .write(true)
            .mode(mode)
            .custom_flags(libc::O_TMPFILE)
            .open(directory_of(place));
        match nameless {
            Ok(file) => Ok(of(file, Way::Nameless)),
            // EISDIR is what kernels and file systems say that do not know the flag.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                let named = beside(place);
                let mut options = File::options();
                let options = options.write(true).create_new(true).mode(mode);
                Ok(of(options.open(&named).context(failed())?, Way::Named(named)))
            }
            Err(e) => Err(Error::from(e).context(failed())),
        }
    }

    /// It is whole: it gets its name, and what had it is gone.
    ///
    /// # Errors
    /// The place cannot be written any more.
    pub fn keep(mut self) -> Result<()> {
        let kept = match std::mem::replace(&mut self.way, Way::There) {
            Way::There => self.file.flush().map_err(Error::from),
            Way::Nameless => self.give_name(),
            Way::Named(named) => self.rename(named),
        };
        kept.context(format!("failed to write {}", self.place.display()))
    }

    /// A link cannot take the place of what is there, a rename can.
    fn give_name(&mut self) -> Result<()> {
        let own = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let cwd = sys::fs::cwd();
        let link = |name: &Path| sys::fs::linkat(cwd, &own, cwd, name, libc::AT_SYMLINK_FOLLOW);
        match link(&self.place) {
            Err(e) if e.is(libc::EEXIST) => {
                let named = beside(&self.place);
                link(&named)?;
                self.rename(named)
            }
            linked => Ok(linked?),
        }
    }

    fn rename(&mut self, named: PathBuf) -> Result<()> {
        let renamed = fs::rename(&named, &self.place);
        if renamed.is_err() {
            self.way = Way::Named(named);
        }
        Ok(renamed?)
    }
}

fn directory_of(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A name that nobody else takes.
fn beside(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    place.with_file_name(name)
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Way::Named(named) = &self.way {
            // The failure that brings us here is the one to tell.
            drop(fs::remove_file(named));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    fn in_directory(name: &str, act: impl FnOnce(&Path)) {
        let directory = std::env::temp_dir().join(format!("image-replacement-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        act(&directory);
        fs::remove_dir_all(directory).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_when_it_is_whole() {
        in_directory("whole", |directory| {
            let place = directory.join("f");
            for text in ["first", "second"] {
                let before = fs::read_to_string(&place).unwrap_or_default();
                let mut file = Replacement::create(&place, 0o600).unwrap();
                file.write_all(text.as_bytes()).unwrap();
                // Whoever is killed here leaves nothing.
                assert!(
                    names(directory).iter().all(|name| name == "f"),
                    "{:?}",
                    names(directory)
                );
                assert_eq!(fs::read_to_string(&place).unwrap_or_default(), before);
                file.keep().unwrap();
                assert_eq!(fs::read_to_string(&place).unwrap(), text);
                assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
            }
            drop(Replacement::create(&place, 0o600).unwrap());
            assert_eq!(fs::read_to_string(&place).unwrap(), "second");
            assert_eq!(names(directory), ["f"]);
            assert!(Replacement::create(directory, 0o600).is_err());
        });
    }

    #[test]
    fn what_is_no_file_is_written_and_not_replaced() {
        in_directory("pipe", |directory| {
            let place = directory.join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
            assert!(made.success());
            let reader = {
                let place = place.clone();
                std::thread::spawn(move || fs::read_to_string(place).unwrap())
            };
            let mut file = Replacement::create(&place, 0o600).unwrap();
            file.write_all(b"through").unwrap();
            file.keep().unwrap();
            assert_eq!(reader.join().unwrap(), "through");
            assert!(fs::symlink_metadata(&place).unwrap().file_type().is_fifo());
        });
    }
}
