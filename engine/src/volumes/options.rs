//! Options of the driver `local`: a file system that is mounted where the volume's data lie, while a container runs that has it.
//!
//! May not: keep a password in a message.

use std::ffi::CString;
use std::net::ToSocketAddrs as _;
use std::path::Path;

use image::{Context, Error, Result};

use super::Words;

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];

/// What has to be said together with what.
const TOGETHER: [(&str, &[&str]); 3] = [
    ("device", &["type"]),
    ("o", &["device", "type"]),
    ("type", &["device"]),
];

/// Refuses what makes no sense, in Docker's words.
///
/// # Errors
/// An option is unknown, or lacks another one.
pub fn check(options: &Words) -> Result<()> {
    if let Some(name) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(Error::invalid(format!("invalid option: {name:?}")));
    }
    for (name, others) in TOGETHER {
        let lacks = |other: &&&str| !options.contains_key(**other);
        if options.contains_key(name)
            && let Some(other) = others.iter().find(lacks)
        {
            return Err(Error::invalid(format!("missing required option: {other:?}")));
        }
    }
    if options.contains_key("size") && options.get("type").is_none_or(|kind| kind != "tmpfs") {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    Ok(())
}

/// What mount(2) is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    kind: String,
    device: String,
    flags: u64,
    propagation: u64,
    data: String,
}

/// Flags by the words of mount(8): whether the word takes the flag away.
const FLAGS: [(&str, bool, u64); 24] = [
    ("defaults", false, 0),
    ("ro", false, libc::MS_RDONLY),
    ("rw", true, libc::MS_RDONLY),
    ("suid", true, libc::MS_NOSUID),
    ("nosuid", false, libc::MS_NOSUID),
    ("dev", true, libc::MS_NODEV),
    ("nodev", false, libc::MS_NODEV),
    ("exec", true, libc::MS_NOEXEC),
    ("noexec", false, libc::MS_NOEXEC),
    ("sync", false, libc::MS_SYNCHRONOUS),
    ("async", true, libc::MS_SYNCHRONOUS),
    ("dirsync", false, libc::MS_DIRSYNC),
    ("remount", false, libc::MS_REMOUNT),
    ("mand", false, libc::MS_MANDLOCK),
    ("nomand", true, libc::MS_MANDLOCK),
    ("atime", true, libc::MS_NOATIME),
    ("noatime", false, libc::MS_NOATIME),
    ("diratime", true, libc::MS_NODIRATIME),
    ("nodiratime", false, libc::MS_NODIRATIME),
    ("bind", false, libc::MS_BIND),
    ("rbind", false, libc::MS_BIND | libc::MS_REC),
    ("relatime", false, libc::MS_RELATIME),
    ("norelatime", true, libc::MS_RELATIME),
    ("strictatime", false, libc::MS_STRICTATIME),
];

const PROPAGATION: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
];

fn call(options: &Words) -> Result<Call> {
    let text = |name: &str| options.get(name).cloned().unwrap_or_default();
    if text("device").is_empty() {
        return Err(Error::invalid("missing device in volume options"));
    }
    let mut call = Call {
        kind: text("type"),
        device: text("device"),
        flags: 0,
        propagation: 0,
        data: String::new(),
    };
    let mut data = Vec::new();
    for word in text("o").split(',').filter(|word| !word.is_empty()) {
        if let Some((_, clears, flag)) = FLAGS.iter().find(|(name, ..)| *name == word) {
            match clears {
                true => call.flags &= !flag,
                false => call.flags |= flag,
            }
        } else if let Some((_, flag)) = PROPAGATION.iter().find(|(name, _)| *name == word) {
            call.propagation |= flag;
        } else {
            data.push(word.to_owned());
        }
    }
    if let Some(size) = options.get("size") {
        data.push(format!("size={size}"));
    }
    call.data = data.join(",");
    Ok(call)
}

/// The kernel takes no names of machines.
fn with_address(data: &str) -> Result<String> {
    let mut words = Vec::new();
    for word in data.split(',') {
        let name = word
            .strip_prefix("addr=")
            .filter(|name| !name.is_empty() && name.parse::<std::net::IpAddr>().is_err());
        let Some(name) = name else {
            words.push(word.to_owned());
            continue;
        };
        let mut found = (name, 0).to_socket_addrs().context(format!(
            "error resolving passed in network volume address: lookup {name}"
        ))?;
        let address = found.next().map(|address| address.ip()).ok_or_else(|| {
            Error::new(format!(
                "error resolving passed in network volume address: lookup {name}: no such host"
            ))
        })?;
        words.push(format!("addr={address}"));
    }
    Ok(words.join(","))
}

/// Mounts it on `target`.
///
/// # Errors
/// In Docker's words, with what the kernel says.
pub fn mount(options: &Words, target: &Path) -> Result<()> {
    let mut call = call(options)?;
    if matches!(call.kind.as_str(), "nfs" | "nfs4" | "cifs" | "smb3") {
        call.data = with_address(&call.data)?;
    }
    attach(&call, target).context("failed to mount local volume")
}

fn attach(call: &Call, target: &Path) -> Result<()> {
    let c = |text: &str| CString::new(text).map_err(|e| Error::invalid(e.to_string()));
    let (device, kind, data) = (c(&call.device)?, c(&call.kind)?, c(&call.data)?);
    let place = sys::fs::c_path(target)?;
    let failed = |e: sys::Error| {
        let flags = match call.flags {
            0 => String::new(),
            flags => format!(", flags: {flags:#x}"),
        };
        let data = match call.data.as_str() {
            "" => String::new(),
            data => format!(", data: {}", without_password(data)),
        };
        Error::new(format!(
            "mount {}:{}{flags}{data}: {}",
            call.device,
            target.display(),
            e.errno()
        ))
    };
    sys::mount::mount(&device, &place, &kind, call.flags, &data).map_err(failed)?;
    let bound = libc::MS_BIND | libc::MS_RDONLY;
    // A bind takes its flags from what it binds; they are changed afterwards.
    let finish = || {
        if call.propagation != 0 {
            sys::mount::mount(c"", &place, c"", call.propagation, c"")?;
        }
        if call.flags & bound == bound {
            let flags = call.flags & !libc::MS_REC | libc::MS_REMOUNT;
            sys::mount::mount(c"", &place, c"", flags, c"")?;
        }
        Ok(())
    };
    finish().map_err(|e| {
        let undone = sys::mount::umount(&place, libc::MNT_DETACH).map_err(Error::from);
        failed(e).and_also(undone)
    })
}

fn without_password(data: &str) -> String {
    let words = data.split(',').map(|word| match word.split_once('=') {
        Some((name @ ("password" | "pass"), _)) => format!("{name}=********"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(pairs: &[(&str, &str)]) -> Words {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn options_need_each_other() {
        for (options, why) in [
            (&[("x", "1")][..], "invalid option: \"x\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "/x")], "missing required option: \"type\""),
            (&[("o", "ro")], "missing required option: \"device\""),
            (&[("size", "1g")], "quota size requested but no quota support"),
        ] {
            assert_eq!(check(&words(options)).unwrap_err().to_string(), why);
        }
        check(&words(&[("type", "none"), ("o", "bind"), ("device", "/x")])).unwrap();
        check(&words(&[("type", "tmpfs"), ("size", "1m"), ("device", "tmpfs")])).unwrap();
    }

    #[test]
    fn words_become_flags_and_data() {
        let all = call(&words(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "ro,noexec,exec,size=1m,uid=5,rshared"),
        ]))
        .unwrap();
        assert_eq!(
            all,
            Call {
                kind: "tmpfs".into(),
                device: "tmpfs".into(),
                flags: libc::MS_RDONLY,
                propagation: libc::MS_SHARED | libc::MS_REC,
                data: "size=1m,uid=5".into(),
            }
        );
        let sized = call(&words(&[("type", "tmpfs"), ("device", "tmpfs"), ("size", "2m")])).unwrap();
        assert_eq!(sized.data, "size=2m");
        assert!(call(&words(&[("type", "nfs"), ("device", "")])).is_err());
    }

    #[test]
    fn passwords_are_not_told() {
        assert_eq!(
            without_password("addr=1.2.3.4,username=a,password=b"),
            "addr=1.2.3.4,username=a,password=********"
        );
        assert_eq!(
            with_address("addr=1.2.3.4,vers=4").unwrap(),
            "addr=1.2.3.4,vers=4"
        );
    }

    #[test]
    fn what_the_kernel_refuses_is_told_as_docker_tells_it() {
        let target = std::env::temp_dir().join("brig-no-such-directory");
        let e = mount(
            &words(&[("type", "none"), ("o", "bind,noexec,x=1"), ("device", "/nowhere")]),
            &target,
        )
        .unwrap_err()
        .to_string();
        let start = format!(
            "failed to mount local volume: mount /nowhere:{}, flags: 0x1008, data: x=1: ",
            target.display()
        );
        assert!(e.starts_with(&start), "{e}");
    }
}
