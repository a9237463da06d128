//! Two kinds of paths that must never be mixed.
//!
//! May not: offer any way of joining one kind with the other. A path of the administrator ([`HostPath`]) is resolved
//! as every path is; a path inside the container ([`RootPath`]) is only ever resolved below the descriptor of the
//! container's root, because the container controls what lies there (CVE-2019-19921, CVE-2021-30465).

use serde::{Serialize, Serializer};
use std::ffi::{CStr, CString, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// An absolute path on the host, controlled by the administrator.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPath(CString);

impl HostPath {
    /// `path`, below `base` when it is relative. Refuses what no system call could take.
    pub fn new(base: &Path, path: &str) -> Result<HostPath, String> {
        HostPath::of(&base.join(path))
    }

    /// An absolute path.
    pub fn of(path: &Path) -> Result<HostPath, String> {
        CString::new(path.as_os_str().as_bytes())
            .map(HostPath)
            .map_err(|_| format!("path {path:?} contains a null byte"))
    }

    /// `/`
    pub fn root() -> HostPath {
        HostPath(c"/".to_owned())
    }

    /// For system calls.
    pub fn as_c(&self) -> &CStr {
        &self.0
    }

    /// As a path.
    pub fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.0.to_bytes()))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().display().fmt(f)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_path(), f)
    }
}

impl Serialize for HostPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A path inside the container: lexically clean, relative to the container's root (`.` for the root itself).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootPath(PathBuf);

impl RootPath {
    /// Cleans `path` lexically: `.` and empty components vanish, `..` takes the component before it, and the
    /// root is its own parent. A path that does not begin with `/` counts as if it did.
    pub fn new(path: &str) -> Result<RootPath, String> {
        if path.contains('\0') {
            return Err(format!("path {path:?} contains a null byte"));
        }
        let mut clean = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        if clean.as_os_str().is_empty() {
            clean.push(".");
        }
        Ok(RootPath(clean))
    }

    /// The root itself.
    pub fn is_root(&self) -> bool {
        self.0.as_os_str() == "."
    }

    /// The path without a leading slash, for the calls that resolve below a descriptor.
    pub(super) fn relative(&self) -> &Path {
        &self.0
    }

    /// The directory that holds it, and its name in there.
    pub(super) fn split(&self) -> (RootPath, OsString) {
        let name = self.0.file_name().unwrap_or_default().to_os_string();
        let parent = match self.0.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        (RootPath(parent), name)
    }

    /// True for `dir` itself and everything lexically below it; `dir` without a leading slash.
    pub fn is_within(&self, dir: &str) -> bool {
        self.0.starts_with(dir)
    }

    /// True when this is exactly `path` (without a leading slash).
    pub fn is(&self, path: &str) -> bool {
        self.0 == Path::new(path)
    }
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str("/")
        } else {
            write!(f, "/{}", self.0.display())
        }
    }
}

impl fmt::Debug for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for RootPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_paths_are_cleaned() {
        for (given, clean) in [
            ("/", "/"),
            ("", "/"),
            ("/..", "/"),
            ("proc", "/proc"),
            ("//proc/./sys/", "/proc/sys"),
            ("/a/../../b", "/b"),
        ] {
            assert_eq!(RootPath::new(given).unwrap().to_string(), clean, "{given:?}");
        }
        assert!(RootPath::new("/a\0b").is_err());
        assert!(RootPath::new("/proc/x").unwrap().is_within("proc"));
        assert!(!RootPath::new("/procx").unwrap().is_within("proc"));
    }

    /// Whatever is written, the result stays below the root and says the same when it is read again.
    #[test]
    fn no_spelling_leads_out() {
        let parts = ["..", ".", "", "a", "b", "...", " ", "proc", "a..", "\u{e9}"];
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push('/');
                text.push_str(parts[(seed >> 16) as usize % parts.len()]);
            }
            let path = RootPath::new(&text).unwrap();
            assert!(path.relative().is_relative(), "{text}");
            let up = |c: Component<'_>| matches!(c, Component::ParentDir | Component::RootDir);
            assert!(!path.relative().components().any(up), "{text}");
            assert_eq!(RootPath::new(&path.to_string()).unwrap(), path, "{text}");
        }
    }

    #[test]
    fn host_paths_are_absolute() {
        let p = |s| HostPath::new(Path::new("/bundle"), s).unwrap().to_string();
        assert_eq!(p("rootfs"), "/bundle/rootfs");
        assert_eq!(p("/other"), "/other");
        assert!(HostPath::new(Path::new("/"), "a\0").is_err());
    }
}
