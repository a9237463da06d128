//! `--security-opt`: the words, told apart.
//!
//! May not: read a profile from a file. The command line does, and hands its text on, as Docker's does.

use image::{Error, Result};

use crate::model::HostConfig;

/// What the options came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// `None`: the usual one.
    pub apparmor: Option<String>,
    /// `disable`, `user:U`, `role:R`, `type:T`, `level:L`, `filetype:T`, `nested`.
    pub labels: Vec<String>,
    /// `None`: as privileged.
    pub writable_cgroups: Option<bool>,
}

/// Which calls may be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The default profile, but none for a privileged container.
    #[default]
    Usual,
    /// The default profile.
    Builtin,
    Unconfined,
    /// The text of a profile.
    Own(String),
}

impl Security {
    /// Of a container.
    ///
    /// # Errors
    /// An option that there is not.
    pub fn of(host: &HostConfig) -> Result<Security> {
        let mut security = Security::default();
        for option in host.security_opt.iter().flatten() {
            security.take(option)?;
        }
        Ok(security)
    }

    fn take(&mut self, option: &str) -> Result<()> {
        let bad = |n: u8| Error::invalid(format!("invalid --security-opt {n}: {option:?}"));
        let boolean = |value: &str| parse_bool(value).ok_or_else(|| bad(2));
        // The colon is deprecated since Docker 17.04, and still taken.
        let parts = match option {
            "no-new-privileges" => ("no-new-privileges", "true"),
            "writable-cgroups" => ("writable-cgroups", "true"),
            "disable" => ("label", "disable"),
            _ => option
                .split_once('=')
                .or_else(|| option.split_once(':'))
                .ok_or_else(|| bad(1))?,
        };
        match parts {
            ("label", value) => self.labels.push(value.to_owned()),
            ("apparmor", value) => self.apparmor = Some(value.to_owned()),
            ("seccomp", "unconfined") => self.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => self.seccomp = Seccomp::Builtin,
            ("seccomp", "") => self.seccomp = Seccomp::Usual,
            ("seccomp", text) => self.seccomp = Seccomp::Own(text.to_owned()),
            ("no-new-privileges", value) => self.no_new_privileges = boolean(value)?,
            ("writable-cgroups", value) => self.writable_cgroups = Some(boolean(value)?),
            // The command line turns it into empty MaskedPaths and ReadonlyPaths; here for configurations that kept it.
            ("systempaths", "unconfined") => {}
            _ => return Err(bad(2)),
        }
        Ok(())
    }
}

/// As Go's strconv.ParseBool.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(options: &[&str]) -> Result<Security> {
        Security::of(&HostConfig {
            security_opt: Some(options.iter().map(|o| (*o).to_owned()).collect()),
            ..HostConfig::default()
        })
    }

    #[test]
    fn every_word() {
        let all = of(&[
            "no-new-privileges",
            "apparmor=mine",
            "label=type:a_t",
            "disable",
            "seccomp:unconfined",
            "writable-cgroups=false",
            "systempaths=unconfined",
        ])
        .unwrap();
        assert_eq!(
            all,
            Security {
                no_new_privileges: true,
                seccomp: Seccomp::Unconfined,
                apparmor: Some("mine".into()),
                labels: vec!["type:a_t".into(), "disable".into()],
                writable_cgroups: Some(false),
            }
        );
        assert!(
            !of(&["no-new-privileges", "no-new-privileges=0"])
                .unwrap()
                .no_new_privileges
        );
        assert_eq!(of(&["seccomp={}"]).unwrap().seccomp, Seccomp::Own("{}".into()));
        for (option, want) in [
            ("nope", r#"invalid --security-opt 1: "nope""#),
            ("nope=1", r#"invalid --security-opt 2: "nope=1""#),
            (
                "no-new-privileges=x",
                r#"invalid --security-opt 2: "no-new-privileges=x""#,
            ),
        ] {
            assert_eq!(of(&[option]).unwrap_err().to_string(), want);
        }
    }
}
