//! Paths of an archive as components below the root, and what names with `.wh.` mean (OCI image specification, layer.md).
//!
//! May not: ask what is there. This is about text.

use crate::{Error, Result};

/// Bytes in a name, by every file system that a layer may be written to.
const NAME_MAX: usize = 255;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself: links, a place for orphans.
const AUFS: &[u8] = b".wh..wh.";

/// What the last component of an entry's path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file of this name.
    Name(&'a [u8]),
    /// Nothing of this name from the layers below.
    Whiteout(&'a [u8]),
    /// Nothing at all from the layers below in this directory.
    Opaque,
    /// To be passed over.
    Nothing,
}

/// The parents of an entry, and what its last component means.
pub(super) type Split<'p, 'a> = (&'p [&'a [u8]], Meaning<'a>);

/// The components of a path below the root. An absolute path begins at the root; `..` takes back what stands before it, as text
/// (`path.Clean` of Go, which Docker and containerd put before everything).
///
/// # Errors
/// It leaves the root, or no file can have such a name.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(8);
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(Error::corrupt("the path leaves the root"));
                }
            }
            _ if part.len() > NAME_MAX => return Err(Error::corrupt("a name in the path is too long")),
            _ if part.contains(&0) => return Err(Error::corrupt("the path has a NUL")),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// The parents and the meaning of the last component; `None` is the root itself.
///
/// # Errors
/// A whiteout of nothing, or of a directory's own dots, or with something in it.
pub(super) fn split<'p, 'a>(parts: &'p [&'a [u8]]) -> Result<Option<Split<'p, 'a>>> {
    let Some((last, parents)) = parts.split_last() else {
        return Ok(None);
    };
    if parents.iter().any(|p| p.starts_with(AUFS)) {
        return Ok(Some((&[], Meaning::Nothing)));
    }
    for parent in parents {
        check_name(parent)?;
    }
    let meaning = match *last {
        OPAQUE => Meaning::Opaque,
        name if name.starts_with(AUFS) => Meaning::Nothing,
        name => match name.strip_prefix(WHITEOUT) {
            None => Meaning::Name(name),
            Some(b"" | b"." | b"..") => return Err(Error::corrupt("a whiteout of no name")),
            Some(hidden) => Meaning::Whiteout(hidden),
        },
    };
    Ok(Some((parents, meaning)))
}

/// Refuses what no layer may have as the name of a directory.
///
/// # Errors
/// It is reserved, or too long.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.starts_with(WHITEOUT) {
        return Err(Error::corrupt("a whiteout with something in it"));
    }
    if name.len() > NAME_MAX {
        return Err(Error::corrupt("a name in the path is too long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths() {
        let table: &[(&str, Option<&str>)] = &[
            ("", Some("")),
            ("./", Some("")),
            ("/", Some("")),
            ("a/b/", Some("a/b")),
            ("./a//./b", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("a/b/../..", Some("")),
            ("..", None),
            ("../a", None),
            ("/../a", None),
            ("a/../../b", None),
            ("...", Some("...")),
            ("a/..b", Some("a/..b")),
        ];
        for (path, expected) in table {
            let parts = components(path.as_bytes()).ok();
            let joined = parts.map(|p| String::from_utf8(p.join(&b'/')).unwrap());
            assert_eq!(joined.as_deref(), *expected, "{path}");
        }
        assert!(components(&[b'a'; 256]).is_err());
    }

    #[test]
    fn whiteouts() {
        let meaning = |path: &'static str| {
            let parts = components(path.as_bytes())?;
            split(&parts).map(|s| s.map(|(_, meaning)| meaning))
        };
        let table: &[(&str, Meaning<'_>)] = &[
            ("a/.wh.b", Meaning::Whiteout(b"b")),
            ("a/.wh...a", Meaning::Whiteout(b"..a")),
            ("a/.wh..wh..opq", Meaning::Opaque),
            ("a/.wh..wh.plnk", Meaning::Nothing),
            ("a/.wh..wh.plnk/1.2", Meaning::Nothing),
            ("a/.wh", Meaning::Name(b".wh")),
            ("a/b.wh.", Meaning::Name(b"b.wh.")),
        ];
        for (path, expected) in table {
            assert_eq!(meaning(path).unwrap(), Some(*expected), "{path}");
        }
        assert_eq!(meaning("./").unwrap(), None);
        for path in [".wh.", "a/.wh..", "a/.wh...", "a/.wh.b/c"] {
            assert!(meaning(path).is_err(), "{path}");
        }
    }
}
