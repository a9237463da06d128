//! overlay: many layers, whose paths may not fit into the options of one mount(2), and layers whose ids are mapped.
//!
//! May not: choose layers. They are a snapshotter's.

use super::idmap::IdMap;
use super::options::{Options, fit};
use super::place::Place;
use super::{Error, Mount, Result, c_string, mount_classic};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{
    ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, ATTR_STRICTATIME, Reach,
};

/// Room that is left in the page of options, as containerd leaves it.
const ROOM: usize = 512;

/// One option for all layers where they fit, as everybody reads it in /proc/mounts.
pub(super) fn mount(source: &str, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    if options.data.join(",").len() < sys::memory::page_size() - ROOM {
        return mount_classic(source, at, "overlay", options.flags, &options.data_without(&[])?);
    }
    let Err(first) = mount_by_parameters(source, options, at) else {
        return Ok(());
    };
    // `lowerdir+` came with Linux 6.7; values longer than 255 bytes never did.
    let errno = first.errno().map(|n| n.0);
    if errno.is_some_and(|n| ![libc::ENOSYS, libc::EPERM, libc::EINVAL].contains(&n)) {
        return Err(first);
    }
    mount_from_common_directory(source, options, at).map_err(|second| match errno {
        // Where the parameter is known, EINVAL was about the layers, and the kernel has said what it was.
        Some(libc::EINVAL) if sys::process::kernel_release() >= (6, 7) => first,
        _ => second,
    })
}

/// Each layer a parameter of its own.
fn mount_by_parameters(source: &str, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    let context = sys::mount::fsopen(c"overlay")?;
    let set = |key: &str, value: Option<&str>| -> Result<()> {
        if value.is_some_and(|v| v.len() > sys::mount::FSCONFIG_STRING_MAX) {
            return Err(Error::new(format!("{key} is too long")));
        }
        let value = value.map(c_string).transpose()?;
        Ok(sys::mount::fsconfig_set(
            context.as_fd(),
            &c_string(key)?,
            value.as_deref(),
        )?)
    };
    set("source", Some(source))?;
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in split_layers(layers) {
                    let key = match layer.data_only {
                        true => "datadir+",
                        false => "lowerdir+",
                    };
                    set(key, Some(&layer.unescaped()))?;
                }
            }
            // The quotes protect commas in one string of options (SELinux labels); here there are none to protect.
            Some((key, value)) => set(key, Some(value.trim_matches('"')))?,
            None => set(option, None)?,
        }
    }
    for (flag, name) in [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
    ] {
        if options.flags & flag != 0 {
            set(name, None)?;
        }
    }
    sys::mount::fsconfig_create(context.as_fd())?;
    let tree = sys::mount::fsmount(context.as_fd(), attributes(options.flags))?;
    Ok(sys::mount::move_mount(tree.as_fd(), at)?)
}

fn attributes(flags: u64) -> u64 {
    [
        (libc::MS_RDONLY, ATTR_RDONLY),
        (libc::MS_NOSUID, ATTR_NOSUID),
        (libc::MS_NODEV, ATTR_NODEV),
        (libc::MS_NOEXEC, ATTR_NOEXEC),
        (libc::MS_NOATIME, ATTR_NOATIME),
        (libc::MS_STRICTATIME, ATTR_STRICTATIME),
        (libc::MS_NODIRATIME, ATTR_NODIRATIME),
    ]
    .iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |all, (_, attr)| all | attr)
}

/// mount(2) with the layers relative to the directory that they share, which becomes ours for the moment.
fn mount_from_common_directory(source: &str, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    let Some((directory, shortened)) = shorten(options) else {
        return Err(Error::new("mount options are too long"));
    };
    let data = fit(shortened)?;
    let here = sys::fs::open(Path::new("."), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    sys::fs::chdir(&directory)?;
    let done = mount_classic(source, at, "overlay", options.flags, &data);
    sys::fs::fchdir(here.as_fd())?;
    done
}

/// The directory that all layers share, and the data with layers relative to it. `None` when they share nothing.
fn shorten(options: &Options<'_>) -> Option<(PathBuf, String)> {
    let (n, layers) = lower(options)?;
    let directory = common_directory(&layers)?;
    let mut text = String::from("lowerdir=");
    for (i, layer) in layers.iter().enumerate() {
        text += match (i, layer.data_only) {
            (0, _) => "",
            (_, true) => "::",
            (_, false) => ":",
        };
        let relative = Path::new(layer.text).strip_prefix(&directory).ok()?;
        text += relative.to_str()?;
    }
    let mut data = options.data.clone();
    *data.get_mut(n)? = &text;
    Some((directory, data.join(",")))
}

/// The longest directory that all layers lie below, if it is more than `/`.
fn common_directory(layers: &[Layer<'_>]) -> Option<PathBuf> {
    let mut common = Path::new(layers.first()?.text).parent()?;
    for layer in layers {
        while !Path::new(layer.text).parent()?.starts_with(common) {
            common = common.parent()?;
        }
    }
    // Not absolute: relative to what is not ours to say. An escape would have to be undone for chdir(2) only.
    let text = common.to_str()?;
    (common.is_absolute() && common.parent().is_some() && !text.contains('\\')).then(|| common.to_owned())
}

/// Which option names the layers, and what they are.
fn lower<'a>(options: &Options<'a>) -> Option<(usize, Vec<Layer<'a>>)> {
    options
        .data
        .iter()
        .enumerate()
        .find_map(|(n, o)| Some((n, split_layers(o.strip_prefix("lowerdir=")?))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layer<'a> {
    /// With a backslash before each colon of the path.
    text: &'a str,
    /// Only the contents of files are taken from it (behind `::`, Linux 6.5).
    data_only: bool,
}

impl Layer<'_> {
    fn unescaped(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut chars = self.text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.extend(chars.next()),
                c => out.push(c),
            }
        }
        out
    }
}

fn split_layers(text: &str) -> Vec<Layer<'_>> {
    let mut out = Vec::new();
    let (mut start, mut escaped, mut data_only) = (0, false, false);
    let mut push = |part: &'_ std::ops::Range<usize>, data_only: &mut bool| match &text[part.clone()] {
        "" => *data_only = true,
        text => out.push(Layer {
            text,
            data_only: *data_only,
        }),
    };
    for (n, c) in text.char_indices() {
        if c == ':' && !escaped {
            push(&(start..n), &mut data_only);
            start = n + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    push(&(start..text.len()), &mut data_only);
    out
}

/// An overlay, attached nowhere, whose lower layers have their ids mapped. The kernel takes the map only from mounts that
/// have a place: they get it over their own directories, in a mount namespace of ours that nobody else enters and that is
/// gone when we leave it. (containerd mounts them in a temporary directory, which stays behind when it is killed.)
pub(super) fn mount_mapped(
    mount: &Mount,
    options: &Options<'_>,
    map: &IdMap,
    place: &Place<'_>,
) -> Result<OwnedFd> {
    let (_, layers) = lower(options).ok_or_else(|| Error::new("an overlay without lowerdir="))?;
    let mut mapped = Vec::new();
    for layer in &layers {
        let path = PathBuf::from(layer.unescaped());
        let fd = sys::fs::open(&path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        mapped.push((path, map.clone_mapped(fd.as_fd(), Reach::Single)?));
    }
    let home = Home::remember()?;
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    let made = mount_over(mount, options, &mapped, place);
    home.go_back()
        .map_err(|e| Error::from(e).doing("failed to return from a mount namespace"))?;
    made
}

fn mount_over(
    mount: &Mount,
    options: &Options<'_>,
    mapped: &[(PathBuf, OwnedFd)],
    place: &Place<'_>,
) -> Result<OwnedFd> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    sys::mount::mount(c"", c"/", c"", private, c"")?;
    for (path, tree) in mapped {
        let at = sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        sys::mount::move_mount(tree.as_fd(), at.as_fd())?;
    }
    self::mount(&mount.source, options, place.open()?.as_fd())?;
    Ok(sys::mount::clone_tree(place.top()?.as_fd(), Reach::Single)?)
}

/// Where we were before we went to another mount namespace.
struct Home {
    namespace: OwnedFd,
    root: OwnedFd,
    directory: OwnedFd,
}

impl Home {
    fn remember() -> sys::Result<Home> {
        let directory = libc::O_PATH | libc::O_DIRECTORY;
        Ok(Home {
            namespace: sys::fs::open(Path::new("/proc/self/ns/mnt"), libc::O_RDONLY, 0)?,
            root: sys::fs::open(Path::new("/"), directory, 0)?,
            directory: sys::fs::open(Path::new("."), directory, 0)?,
        })
    }

    /// setns(2) leaves us at the root of the namespace, which need not have been ours.
    fn go_back(&self) -> sys::Result<()> {
        sys::process::setns(self.namespace.as_fd(), libc::CLONE_NEWNS as u64)?;
        sys::fs::fchdir(self.root.as_fd())?;
        sys::fs::chroot(Path::new("."))?;
        sys::fs::fchdir(self.directory.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers<'a>(list: &'a [&'a str]) -> Vec<Layer<'a>> {
        let layer = |text: &&'a str| Layer {
            text,
            data_only: false,
        };
        list.iter().map(layer).collect()
    }

    #[test]
    fn layers_are_split_at_colons_that_are_not_part_of_a_path() {
        assert_eq!(split_layers("/a:/b"), layers(&["/a", "/b"]));
        let all = split_layers("/a\\:b:/c::/d::/e");
        assert_eq!(all[0].unescaped(), "/a:b");
        let data: Vec<_> = all.iter().map(|l| (l.text, l.data_only)).collect();
        assert_eq!(
            data,
            [("/a\\:b", false), ("/c", false), ("/d", true), ("/e", true)]
        );
    }

    #[test]
    fn the_common_directory_holds_whole_names() {
        let common = |list: &[&str]| common_directory(&layers(list));
        let snapshots = Some(PathBuf::from("/var/lib/snapshots"));
        assert_eq!(
            common(&["/var/lib/snapshots/12/fs", "/var/lib/snapshots/1/fs"]),
            snapshots
        );
        assert_eq!(common(&["/var/lib/snapshots/1"]), snapshots);
        assert_eq!(
            common(&["/var/lib/snapshots/1", "/var/lib/snapshots/1/x"]),
            snapshots
        );
        assert_eq!(common(&["/a/b", "/c/d"]), None);
        assert_eq!(common(&["a/b", "a/c"]), None);
        assert_eq!(common(&["/a\\:x/b", "/a\\:x/c"]), None);
    }

    #[test]
    fn shortened_layers_keep_their_kind_and_order() {
        let options = Options {
            data: vec!["index=off", "lowerdir=/s/2/fs:/s/1/fs::/s/d", "upperdir=/s/3/fs"],
            ..Options::default()
        };
        let (directory, short) = shorten(&options).unwrap();
        assert_eq!(directory, Path::new("/s"));
        assert_eq!(short, "index=off,lowerdir=2/fs:1/fs::d,upperdir=/s/3/fs");
    }
}
