//! SELinux: labels of a container's processes and files, and of what it is given (`:z`, `:Z`).
//!
//! May not: label what the host itself needs.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use image::{Context, Error, Result};

use super::{Host, Security};

/// `user:role:type:level`, of processes and of files. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    pub process: String,
    pub mount: String,
}

/// Categories that tell containers apart.
const CATEGORIES: u32 = 1024;

/// Of a container. The categories follow from its id, so that a container has the same ones at each start.
///
/// # Errors
/// An option that there is not.
pub fn labels(id: &str, security: &Security, machine: &Host) -> Result<Labels> {
    match &machine.selinux {
        Some(contexts) => labels_from(contexts, id, security),
        None => Ok(Labels::default()),
    }
}

fn labels_from(contexts: &str, id: &str, security: &Security) -> Result<Labels> {
    let value = |key: &str| {
        contexts.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    let (Some(process), Some(file)) = (value("process"), value("file")) else {
        return Ok(Labels::default());
    };
    let (mut process, mut file) = (parts(&process), parts(&file));
    if security.labels.iter().any(|option| option == "disable") {
        // No process that is confined has all of them.
        file[3] = format!("s0:c{},c{}", CATEGORIES - 2, CATEGORIES - 1);
        return Ok(Labels {
            process: String::new(),
            mount: file.join(":"),
        });
    }
    let level = level_of(id);
    process[3].clone_from(&level);
    file[3] = level;
    for option in &security.labels {
        let bad = || {
            Error::invalid(format!(
                "bad label option {option:?}, valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value"
            ))
        };
        let (key, value) = option.split_once(':').ok_or_else(bad)?;
        let value = value.to_owned();
        match key {
            "filetype" => file[2] = value,
            "type" => process[2] = value,
            "role" => process[1] = value,
            "user" => (process[0], file[0]) = (value.clone(), value),
            "level" => (process[3], file[3]) = (value.clone(), value),
            _ => return Err(bad()),
        }
    }
    Ok(Labels {
        process: process.join(":"),
        mount: file.join(":"),
    })
}

/// A level has colons of its own.
fn parts(label: &str) -> [String; 4] {
    let mut parts = label.splitn(4, ':').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    [next(), next(), next(), next()]
}

/// Two categories that are not the same, from the first digits of the id.
fn level_of(id: &str) -> String {
    let number = id
        .get(..12)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or(0);
    let first = u32::try_from(number % u64::from(CATEGORIES)).unwrap_or(0);
    let step = u32::try_from(number / u64::from(CATEGORIES) % u64::from(CATEGORIES - 1)).unwrap_or(0) + 1;
    let second = (first + step) % CATEGORIES;
    format!("s0:c{},c{}", first.min(second), first.max(second))
}

/// What the host would not work without.
const KEPT: [&str; 25] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// Gives a tree the label of a container's files: shared with other containers (`z`), or its alone (`Z`). The root comes last, so
/// that who is interrupted begins again.
///
/// # Errors
/// The host needs it otherwise, or the kernel refuses.
pub fn relabel(path: &Path, mount_label: &str, shared: bool) -> Result<()> {
    if mount_label.is_empty() {
        return Ok(());
    }
    let full = std::fs::canonicalize(path).context(format_args!("failed to look at {}", path.display()))?;
    let home = std::env::var_os("HOME").is_some_and(|home| full == Path::new(&home));
    if home || KEPT.iter().any(|kept| full == Path::new(kept)) {
        return Err(Error::invalid(format!(
            "SELinux relabeling of {} is not allowed",
            full.display()
        )));
    }
    let mut label = parts(mount_label);
    if shared {
        label[3] = "s0".to_owned();
    }
    let label = label.join(":");
    let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else {
        return Ok(());
    };
    let parent = sys::fs::open(parent, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    relabel_below(parent.as_fd(), Path::new(name), label.as_bytes())
        .context(format_args!("failed to relabel {}", full.display()))
}

/// Entry by entry, links never followed: what lies there may belong to somebody who is at it.
fn relabel_below(directory: BorrowedFd<'_>, name: &Path, label: &[u8]) -> Result<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    match sys::fs::openat(directory, name, flags, 0) {
        Ok(inner) => {
            for entry in sys::fs::entries(inner.as_fd())? {
                relabel_below(inner.as_fd(), Path::new(&entry), label)?;
            }
        }
        Err(e) if [libc::ENOTDIR, libc::ELOOP, libc::ENOENT].contains(&e.errno().0) => {}
        Err(e) => return Err(e.into()),
    }
    match sys::xattr::lsetxattrat(directory, name, c"security.selinux", label) {
        // Removed meanwhile, or on a file system that keeps no labels.
        Err(e) if [libc::ENOENT, libc::EOPNOTSUPP, libc::EROFS].contains(&e.errno().0) => Ok(()),
        done => Ok(done?),
    }
}

/// What a container that joins another one's namespaces has as `--security-opt`, so that it may touch what is there.
pub fn same_as(process_label: &str) -> Vec<String> {
    if process_label.is_empty() {
        return Vec::new();
    }
    let [user, role, kind, level] = parts(process_label);
    [("user", user), ("role", role), ("type", kind), ("level", level)]
        .map(|(key, value)| format!("label={key}:{value}"))
        .to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const POLICY: &str = "process = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\n\
        file = \"system_u:object_r:container_file_t:s0\"\n";

    fn of(options: &[&str]) -> Result<Labels> {
        let security = Security {
            labels: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Security::default()
        };
        labels_from(POLICY, "000000001005", &security)
    }

    #[test]
    fn labels_of_a_container() {
        let usual = of(&[]).unwrap();
        assert_eq!(usual.process, "system_u:system_r:container_t:s0:c5,c10");
        assert_eq!(usual.mount, "system_u:object_r:container_file_t:s0:c5,c10");
        let own = of(&["type:a_t", "filetype:f_t", "level:s0:c1,c2", "user:u"]).unwrap();
        assert_eq!(own.process, "u:system_r:a_t:s0:c1,c2");
        assert_eq!(own.mount, "u:object_r:f_t:s0:c1,c2");
        let none = of(&["disable"]).unwrap();
        assert_eq!(
            (none.process.as_str(), none.mount.ends_with("s0:c1022,c1023")),
            ("", true)
        );
        assert!(
            of(&["x:y"])
                .unwrap_err()
                .to_string()
                .starts_with("bad label option \"x:y\", valid options")
        );
        assert_eq!(
            same_as(&own.process),
            [
                "label=user:u",
                "label=role:system_r",
                "label=type:a_t",
                "label=level:s0:c1,c2"
            ]
        );
        assert_eq!(
            labels("x", &Security::default(), &Host::default()).unwrap(),
            Labels::default()
        );
    }

    #[test]
    fn categories_are_two() {
        for id in ["000000000000", "ffffffffffff", "0123456789ab", "00000000fbff"] {
            let level = level_of(id);
            let (a, b) = level.strip_prefix("s0:c").unwrap().split_once(",c").unwrap();
            let (a, b): (u32, u32) = (a.parse().unwrap(), b.parse().unwrap());
            assert!(a < b && b < CATEGORIES, "{level}");
        }
    }

    #[test]
    fn what_the_host_needs_keeps_its_label() {
        for path in ["/usr", "/etc/../etc", "/"] {
            let error = relabel(Path::new(path), "u:r:t:s0", true)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("SELinux relabeling of /"), "{error}");
        }
        relabel(Path::new("/usr"), "", true).unwrap();
    }
}
