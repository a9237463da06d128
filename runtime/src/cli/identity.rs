//! Who we say that we are: `runb`, or `runc` when called by that name.
//!
//! May not: change what is done. Called as `runc` the program speaks as runc (message prefix, version, host name of
//! `spec`, directory of its state), but what lies in that directory keeps our own format.

use super::args::RootOrigin;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The version of runc whose command line and messages this program follows.
pub const RUNC_VERSION: &str = "1.5.1";
/// The newest runtime-spec that is implemented.
pub const SPEC_VERSION: &str = "1.3.0";
/// The commit of the build, if the build said.
pub const COMMIT: &str = match option_env!("RUNB_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Who we say that we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Ourselves.
    #[default]
    Runb,
    /// Called as `runc`.
    Runc,
}

impl Identity {
    /// From argv[0].
    pub fn of(argv0: &OsStr) -> Identity {
        match Path::new(argv0).file_name() {
            Some(name) if name == "runc" => Identity::Runc,
            _ => Identity::Runb,
        }
    }

    /// In messages, in paths, as prefix of systemd units.
    pub fn name(self) -> &'static str {
        match self {
            Identity::Runb => "runb",
            Identity::Runc => "runc",
        }
    }

    /// Of the first line of `--version`.
    pub fn version(self) -> &'static str {
        match self {
            Identity::Runb => env!("CARGO_PKG_VERSION"),
            Identity::Runc => RUNC_VERSION,
        }
    }

    /// What `--version` prints. Docker reads the version from the first line and the commit from its own.
    pub fn version_block(self) -> String {
        format!(
            "{} version {}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n",
            self.name(),
            self.version()
        )
    }

    /// Where state is kept unless `--root` says otherwise.
    pub fn default_root(self, user: &User<'_>) -> (PathBuf, RootOrigin) {
        match user.xdg_runtime_dir {
            Some(dir) if !dir.is_empty() && user.has_own_runtime_dir() => {
                (Path::new(dir).join(self.name()), RootOrigin::Xdg)
            }
            _ => (Path::new("/run").join(self.name()), RootOrigin::Default),
        }
    }
}

/// What decides about the default state directory.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Effective uid.
    pub euid: u32,
    /// Not the initial user namespace.
    pub in_user_namespace: bool,
    /// `$USER`.
    pub name: Option<&'a OsStr>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<&'a OsStr>,
}

impl User<'_> {
    /// Root of the host uses /run whatever the environment says; root of a user namespace too if it calls itself
    /// root there, because that is a container and not a rootless engine.
    fn has_own_runtime_dir(&self) -> bool {
        self.euid != 0 || (self.in_user_namespace && self.name.is_none_or(|n| n != "root"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_from_argv0() {
        for (argv0, name) in [
            ("runb", "runb"),
            ("/usr/local/bin/runb", "runb"),
            ("runc", "runc"),
            ("/opt/x/runc", "runc"),
            ("buildkit-runc", "runb"),
            ("", "runb"),
        ] {
            assert_eq!(Identity::of(OsStr::new(argv0)).name(), name, "{argv0}");
        }
    }

    #[test]
    fn the_first_lines_of_the_version() {
        assert!(
            Identity::Runc
                .version_block()
                .starts_with("runc version 1.5.1\ncommit: ")
        );
        assert!(Identity::Runb.version_block().starts_with(concat!(
            "runb version ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        )));
        assert!(Identity::Runb.version_block().ends_with("\nspec: 1.3.0\n"));
    }

    #[test]
    fn state_goes_where_the_user_may_write() {
        for (euid, in_user_namespace, name, xdg, root) in [
            (0, false, None, None, "/run/runb"),
            (0, false, None, Some("/run/user/0"), "/run/runb"),
            (0, true, Some("root"), Some("/run/user/0"), "/run/runb"),
            (0, true, Some("ann"), Some("/run/user/7"), "/run/user/7/runb"),
            (0, true, None, Some("/run/user/7"), "/run/user/7/runb"),
            (7, false, Some("ann"), Some("/run/user/7"), "/run/user/7/runb"),
            (7, false, Some("ann"), Some(""), "/run/runb"),
            (7, false, Some("ann"), None, "/run/runb"),
        ] {
            let user = User {
                euid,
                in_user_namespace,
                name: name.map(OsStr::new),
                xdg_runtime_dir: xdg.map(OsStr::new),
            };
            assert_eq!(Identity::Runb.default_root(&user).0, Path::new(root), "{user:?}");
        }
    }
}
