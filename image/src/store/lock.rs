//! One at a time: locks by name that end with their holder.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::{Context, Error, Kind, Result};

/// Between two attempts. flock(2) could wait by itself, but not be called off.
const PAUSE: Duration = Duration::from_millis(10);

/// A lock that is held. It ends with this value or with the process.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
    path: PathBuf,
}

impl KeyLock {
    pub(super) fn acquire(
        directory: &Path,
        name: &str,
        on_wait: impl FnOnce(),
        cancelled: impl Fn() -> bool,
    ) -> Result<KeyLock> {
        let path = directory.join(name);
        let mut on_wait = Some(on_wait);
        loop {
            if let Some(lock) = KeyLock::attempt(&path)? {
                return Ok(lock);
            }
            if cancelled() {
                return Err(Error::of(
                    Kind::Cancelled,
                    format!("cancelled while waiting for {name}"),
                ));
            }
            if let Some(tell) = on_wait.take() {
                tell();
            }
            thread::sleep(PAUSE);
        }
    }

    /// The lock, if nobody has it.
    pub(super) fn attempt(path: &Path) -> Result<Option<KeyLock>> {
        let failed = || format!("failed to lock {}", path.display());
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .context(failed())?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(Error::from(e).context(failed())),
            }
            // Whoever had it has removed the file between our open and our lock: ours is a name that nobody else finds.
            let own = file.metadata().context(failed())?;
            if fs::metadata(path).is_ok_and(|now| now.ino() == own.ino() && now.dev() == own.dev()) {
                return Ok(Some(KeyLock {
                    file,
                    path: path.to_owned(),
                }));
            }
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody's lock is removed. A file that stays behind harms nobody.
        if fs::remove_file(&self.path).is_err() {
            drop(self.file.unlock());
        }
    }
}
