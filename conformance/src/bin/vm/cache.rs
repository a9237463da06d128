//! What is dear to make and kept: each under a name that changes with what it is made of.
//!
//! May not: show half of anything. What is made appears by a rename.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of kept things.
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub fn open(dir: &Path) -> Result<Cache, String> {
        fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Cache { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The thing called `kind` that is made of `content`; `make` writes it (a file or a directory) to the path that it is
    /// given. Things of the same kind made of something else are removed.
    pub fn get(
        &self,
        kind: &str,
        content: &[&str],
        make: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let path = self.dir.join(format!("{kind}-{:016x}", hash(content)));
        if path.exists() {
            return Ok(path);
        }
        println!("making {kind} (once)");
        let part = self.dir.join(format!("part-{}-{kind}", std::process::id()));
        remove(&part)?;
        if let Err(why) = make(&part) {
            remove(&part)?;
            return Err(format!("{kind}: {why}"));
        }
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_older = name
                .strip_prefix(&format!("{kind}-"))
                .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
            if is_older {
                remove(&entry.path())?;
            }
        }
        match fs::rename(&part, &path) {
            // Somebody else was as far at the same time.
            Err(_) if path.exists() => remove(&part)?,
            other => other.map_err(|e| format!("{}: {e}", path.display()))?,
        }
        Ok(path)
    }

    /// Removes what a run left whose process is gone: half things, and directories of guests.
    pub fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix("part-").or(name.strip_prefix("run-"));
            let pid = rest.and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
                && let Err(why) = remove(&entry.path())
            {
                eprintln!("vm: {why}");
            }
        }
    }
}

/// Removes a file or a directory with all that is in it, if it is there.
pub fn remove(path: &Path) -> Result<(), String> {
    let gone = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.map_err(|e| format!("{}: {e}", path.display()))
}

/// FNV-1a; each part counts with its end.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }

    #[test]
    fn a_thing_is_made_once_and_replaces_the_one_before() {
        let dir = std::env::temp_dir().join(format!("vm-cache-{}", std::process::id()));
        let cache = Cache::open(&dir).unwrap();
        let make = |path: &Path| fs::write(path, "x").map_err(|e| e.to_string());
        let first = cache.get("thing", &["1"], make).unwrap();
        let again = cache
            .get("thing", &["1"], |_| Err("made twice".to_owned()))
            .unwrap();
        assert_eq!(first, again);
        let second = cache.get("thing", &["2"], make).unwrap();
        assert!(second.exists() && !first.exists());
        let failed = cache.get("thing", &["3"], |_| Err("no".to_owned()));
        assert!(failed.is_err() && second.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
