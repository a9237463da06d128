//! Mount options as fstab has them: which are flags of the mount, which are for us, which for the file system.
//!
//! May not: touch the kernel.

use super::{Error, Result};
use sys::mount::Reach;

/// Options that were taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// `MS_*`, without those of propagation.
    pub flags: u64,
    /// `MS_*` that were spoken of to be off, and are.
    pub cleared: u64,
    /// `MS_SHARED` and the like with or without `MS_REC`, or 0.
    pub propagation: u64,
    /// The source is a file that becomes a block device.
    pub loop_device: bool,
    pub uid_map: Option<&'a str>,
    pub gid_map: Option<&'a str>,
    /// What is left.
    pub data: Vec<&'a str>,
}

/// Name, flags, and whether they are to be off.
const FLAGS: &[(&str, u64, bool)] = &[
    ("async", libc::MS_SYNCHRONOUS, true),
    ("atime", libc::MS_NOATIME, true),
    ("bind", libc::MS_BIND, false),
    ("defaults", 0, false),
    ("dev", libc::MS_NODEV, true),
    ("diratime", libc::MS_NODIRATIME, true),
    ("dirsync", libc::MS_DIRSYNC, false),
    ("exec", libc::MS_NOEXEC, true),
    ("mand", libc::MS_MANDLOCK, false),
    ("noatime", libc::MS_NOATIME, false),
    ("nodev", libc::MS_NODEV, false),
    ("nodiratime", libc::MS_NODIRATIME, false),
    ("noexec", libc::MS_NOEXEC, false),
    ("nomand", libc::MS_MANDLOCK, true),
    ("norelatime", libc::MS_RELATIME, true),
    ("nostrictatime", libc::MS_STRICTATIME, true),
    ("nosuid", libc::MS_NOSUID, false),
    ("rbind", libc::MS_BIND | libc::MS_REC, false),
    ("relatime", libc::MS_RELATIME, false),
    ("remount", libc::MS_REMOUNT, false),
    ("ro", libc::MS_RDONLY, false),
    ("rw", libc::MS_RDONLY, true),
    ("strictatime", libc::MS_STRICTATIME, false),
    ("suid", libc::MS_NOSUID, true),
    ("sync", libc::MS_SYNCHRONOUS, false),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
];

impl<'a> Options<'a> {
    /// The last of two that contradict each other counts.
    ///
    /// # Errors
    /// A sentence for people: an option for containerd itself, which should have acted on it before it came to us.
    pub fn parse(list: &'a [String]) -> std::result::Result<Options<'a>, String> {
        let mut out = Options::default();
        for option in list.iter().map(String::as_str) {
            if option.starts_with("X-containerd.") {
                return Err(format!(
                    "mount option {option:?} is for containerd and was not taken out by it"
                ));
            }
            if let Some((_, flags, off)) = FLAGS.iter().find(|(name, ..)| *name == option) {
                let (to, from) = match off {
                    true => (&mut out.cleared, &mut out.flags),
                    false => (&mut out.flags, &mut out.cleared),
                };
                *to |= flags;
                *from &= !flags;
            } else if let Some((_, flags)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
                out.propagation = *flags;
            } else if option == "loop" {
                out.loop_device = true;
            } else if let Some(map) = option.strip_prefix("uidmap=") {
                out.uid_map = Some(map);
            } else if let Some(map) = option.strip_prefix("gidmap=") {
                out.gid_map = Some(map);
            } else if !option.is_empty() {
                out.data.push(option);
            }
        }
        Ok(out)
    }

    pub fn is_bind(&self, kind: &str) -> bool {
        kind == "bind" || self.flags & libc::MS_BIND != 0
    }

    /// Whether a bind takes what is mounted below its source.
    pub fn reach(&self) -> Reach {
        match self.flags & libc::MS_REC {
            0 => Reach::Single,
            _ => Reach::Recursive,
        }
    }

    /// The data for mount(2), without some options.
    ///
    /// # Errors
    /// When it does not fit: the kernel would cut it off at the end of a page, perhaps in the middle of a path.
    pub fn data_without(&self, left_out: &[&str]) -> Result<String> {
        let kept: Vec<&str> = self
            .data
            .iter()
            .copied()
            .filter(|o| !left_out.contains(o))
            .collect();
        fit(kept.join(","))
    }
}

/// # Errors
/// When the data of a mount(2) are longer than the page that the kernel reads of them.
pub(super) fn fit(data: String) -> Result<String> {
    if data.len() >= sys::memory::page_size() {
        return Err(Error::new("mount options are too long"));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn every_option_goes_where_it_belongs() {
        let list = strings(&[
            "rbind",
            "ro",
            "nosuid",
            "suid",
            "rslave",
            "loop",
            "uidmap=0:1:2",
            "gidmap=0:3:4",
            "index=off",
            "direct-io",
            "defaults",
            "",
        ]);
        let o = Options::parse(&list).unwrap();
        assert_eq!(o.flags, libc::MS_BIND | libc::MS_REC | libc::MS_RDONLY);
        assert_eq!(o.cleared, libc::MS_NOSUID, "the last one counts");
        assert_eq!(o.propagation, libc::MS_SLAVE | libc::MS_REC);
        assert!(o.loop_device);
        assert_eq!((o.uid_map, o.gid_map), (Some("0:1:2"), Some("0:3:4")));
        assert_eq!(o.data, ["index=off", "direct-io"]);
        assert_eq!(o.data_without(&["direct-io"]).unwrap(), "index=off");
        let list = strings(&["rw", "ro"]);
        let o = Options::parse(&list).unwrap();
        assert_eq!((o.flags, o.cleared), (libc::MS_RDONLY, 0));
    }

    #[test]
    fn an_option_for_containerd_is_an_error() {
        let e = Options::parse(&strings(&["ro", "X-containerd.mkdir.path=/x"])).unwrap_err();
        assert!(e.contains("X-containerd.mkdir.path=/x"), "{e}");
    }

    #[test]
    fn data_that_the_kernel_would_cut_is_an_error() {
        let list = [format!("x={}", "y".repeat(sys::memory::page_size()))];
        let e = Options::parse(&list).unwrap().data_without(&[]).unwrap_err();
        assert_eq!(e.to_string(), "mount options are too long");
    }
}
