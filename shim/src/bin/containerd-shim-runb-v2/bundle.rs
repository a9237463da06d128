//! Files of the bundle that a shim leaves for the next one: `delete` runs in a process of its own, maybe of another version,
//! maybe containerd's own shim after a downgrade, and the other way round.
//!
//! | file | what |
//! |---|---|
//! | `options.json` | the options |
//! | `runtime` | the runtime's path alone, which shims before `options.json` left |
//! | `address` | the socket; containerd 1.6, 1.7 and CRI-O find the shim by it after a restart |
//!
//! May not: read a half-written file; each appears whole, by a rename.

use crate::options::{self, Options};
use crate::ttrpc::status::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const OPTIONS: &str = "options.json";
const RUNTIME: &str = "runtime";
const ADDRESS: &str = "address";

/// Leaves `options.json` and `runtime`.
pub fn write_options(bundle: &Path, options: &Options) -> Result<()> {
    write(bundle, OPTIONS, &options::to_json(options)?)?;
    write(bundle, RUNTIME, options.binary_name.as_bytes())
}

/// What another process left: `options.json`, or at least `runtime`. None when there is neither.
pub fn read_options(bundle: &Path) -> Result<Option<Options>> {
    if let Some(json) = read(bundle, OPTIONS)? {
        return options::of_json(&json).map(Some);
    }
    let Some(name) = read(bundle, RUNTIME)? else {
        return Ok(None);
    };
    let binary_name =
        String::from_utf8(name).map_err(|_| Error::unknown("failed to read runtime: not UTF-8"))?;
    Ok(Some(Options {
        binary_name,
        ..Options::default()
    }))
}

/// Leaves `address`.
pub fn write_address(bundle: &Path, address: &str) -> Result<()> {
    write(bundle, ADDRESS, address.as_bytes())
}

/// The socket that `address` names, when it names one.
pub fn read_address(bundle: &Path) -> Result<Option<PathBuf>> {
    let address = read(bundle, ADDRESS)?.unwrap_or_default();
    let path = address.strip_prefix(b"unix://").unwrap_or_default();
    let path = Path::new(OsStr::from_bytes(path));
    Ok(path.is_absolute().then(|| path.to_owned()))
}

fn write(bundle: &Path, name: &str, content: &[u8]) -> Result<()> {
    let new = bundle.join(format!(".{name}.new"));
    write_new(&new, content)
        .and_then(|()| fs::rename(&new, bundle.join(name)))
        .map_err(|e| Error::from(e).doing(format_args!("failed to write {name}")))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // What a killed shim left has its own content and mode.
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(content)
}

fn read(bundle: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(bundle.join(name)) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from(e).doing(format_args!("failed to read {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Bundle(PathBuf);

    impl Bundle {
        fn new(name: &str) -> Bundle {
            let path = std::env::temp_dir().join(format!("shim-bundle-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Bundle(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Bundle {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn options_are_left_as_go_leaves_them() {
        let bundle = Bundle::new("options");
        let options = Options {
            binary_name: "/usr/bin/runb".into(),
            systemd_cgroup: true,
            ..Options::default()
        };
        assert_eq!(read_options(&bundle.0), Ok(None));
        write_options(&bundle.0, &Options::default()).unwrap();
        // What a killed shim may have left.
        fs::write(bundle.0.join(".options.json.new"), "x".repeat(1000)).unwrap();
        write_options(&bundle.0, &options).unwrap();
        assert_eq!(bundle.names(), ["options.json", "runtime"]);
        let json = bundle.0.join("options.json");
        assert_eq!(
            fs::read(&json).unwrap(),
            br#"{"binary_name":"/usr/bin/runb","systemd_cgroup":true}"#
        );
        assert_eq!(fs::metadata(&json).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(bundle.0.join("runtime")).unwrap(), b"/usr/bin/runb");
        assert_eq!(read_options(&bundle.0), Ok(Some(options)));
    }

    #[test]
    fn the_runtime_alone_is_better_than_nothing() {
        let bundle = Bundle::new("runtime");
        fs::write(bundle.0.join("runtime"), "/usr/bin/crun").unwrap();
        let options = read_options(&bundle.0).unwrap().unwrap();
        assert_eq!(options.binary_name, "/usr/bin/crun");
        fs::write(bundle.0.join("options.json"), "{").unwrap();
        let error = read_options(&bundle.0).unwrap_err();
        assert!(
            error.message.starts_with("failed to read options.json: "),
            "{error}"
        );
    }

    #[test]
    fn the_address() {
        let bundle = Bundle::new("address");
        assert_eq!(read_address(&bundle.0), Ok(None));
        for none in ["", "unix://", "unix://s", "vsock://2:1024"] {
            fs::write(bundle.0.join("address"), none).unwrap();
            assert_eq!(read_address(&bundle.0), Ok(None), "{none}");
        }
        write_address(&bundle.0, "unix:///s").unwrap();
        assert_eq!(fs::read(bundle.0.join("address")).unwrap(), b"unix:///s");
        assert_eq!(read_address(&bundle.0), Ok(Some(PathBuf::from("/s"))));
    }

    #[test]
    fn failures_name_the_file() {
        let bundle = Bundle::new("failures");
        fs::create_dir(bundle.0.join("options.json")).unwrap();
        let error = write_options(&bundle.0, &Options::default()).unwrap_err();
        assert!(
            error.message.starts_with("failed to write options.json: "),
            "{error}"
        );
        let error = read_options(&bundle.0).unwrap_err();
        assert!(
            error.message.starts_with("failed to read options.json: "),
            "{error}"
        );
    }
}
