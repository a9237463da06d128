//! `linux.cgroupsPath` as systemd's words: which slice, which unit, and where its cgroup is then.
//!
//! Pure: no system calls.

use std::fmt;
use std::path::PathBuf;

/// The unit of a container, and the slice that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName {
    /// `runb-ID.scope`, or `NAME.slice`.
    pub unit: String,
    /// `a-b.slice`
    pub slice: String,
    /// The cgroup of the unit below systemd's own: `a.slice/a-b.slice/runb-ID.scope`.
    pub below: PathBuf,
}

/// Why a path names no unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// Not three parts.
    Form(String),
    /// Not a slice of systemd.
    Slice(String),
    /// A character that systemd does not allow in the name of a unit, or too many of them.
    Unit(String),
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // runc's words, which people look for.
            NameProblem::Form(path) => write!(
                f,
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
            ),
            NameProblem::Slice(name) => write!(f, "invalid slice name: {name}"),
            NameProblem::Unit(name) => write!(
                f,
                "invalid unit name {name:?}: letters, digits and :-_.\\@ are expected, 255 at most"
            ),
        }
    }
}

const SLICE: &str = ".slice";

/// What `slice:prefix:name` means; nothing at all means `default_slice`, the program's name and the id.
pub fn parse(cgroups_path: &str, tool: &str, id: &str, default_slice: &str) -> Result<UnitName, NameProblem> {
    let (slice, prefix, name) = if cgroups_path.is_empty() {
        ("", tool, id)
    } else {
        let parts: Vec<&str> = cgroups_path.split(':').collect();
        match parts.as_slice() {
            [slice, prefix, name] => (*slice, *prefix, *name),
            _ => return Err(NameProblem::Form(cgroups_path.to_string())),
        }
    };
    let slice = if slice.is_empty() { default_slice } else { slice };
    let unit = if name.ends_with(SLICE) {
        name.to_string()
    } else {
        format!("{prefix}-{name}.scope")
    };
    if !is_unit_name(&unit) {
        return Err(NameProblem::Unit(unit));
    }
    let parent = expand_slice(slice)?;
    Ok(UnitName {
        // A slice's place follows from its own name alone.
        below: match is_slice(&unit) {
            true => expand_slice(&unit)?,
            false => parent.join(&unit),
        },
        slice: slice.to_string(),
        unit,
    })
}

/// True for a unit that holds other units instead of processes.
pub fn is_slice(unit: &str) -> bool {
    unit.ends_with(SLICE)
}

/// unit_name_is_valid() of systemd. In front of everything else because the name becomes a part of a path.
fn is_unit_name(name: &str) -> bool {
    name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
}

/// The dashes in the name of a slice are its ancestors: `a-b.slice` lies in `a.slice`. `-.slice` is the root.
fn expand_slice(slice: &str) -> Result<PathBuf, NameProblem> {
    let wrong = || NameProblem::Slice(slice.to_string());
    let stem = slice
        .strip_suffix(SLICE)
        .filter(|_| is_unit_name(slice))
        .ok_or_else(wrong)?;
    let mut out = PathBuf::new();
    if stem == "-" {
        return Ok(out);
    }
    let mut so_far = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        so_far.push_str(part);
        out.push(format!("{so_far}{SLICE}"));
        so_far.push('-');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> (String, String, String) {
        let n = parse(path, "runb", "box", "system.slice").unwrap();
        (n.unit, n.slice, n.below.display().to_string())
    }

    #[test]
    fn names() {
        for (path, unit, slice, below) in [
            (
                "",
                "runb-box.scope",
                "system.slice",
                "system.slice/runb-box.scope",
            ),
            ("::x", "-x.scope", "system.slice", "system.slice/-x.scope"),
            (
                "user.slice:docker:12ab",
                "docker-12ab.scope",
                "user.slice",
                "user.slice/docker-12ab.scope",
            ),
            (
                "kubepods-burstable-pod1_2.slice:cri-containerd:c",
                "cri-containerd-c.scope",
                "kubepods-burstable-pod1_2.slice",
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-c.scope",
            ),
            ("-.slice:p:n", "p-n.scope", "-.slice", "p-n.scope"),
            ("a.slice:p:b.slice", "b.slice", "a.slice", "b.slice"),
            ("a.slice:p:a-b.slice", "a-b.slice", "a.slice", "a.slice/a-b.slice"),
        ] {
            let got = named(path);
            assert_eq!(
                (got.0.as_str(), got.1.as_str(), got.2.as_str()),
                (unit, slice, below),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_refused() {
        let refused = |path: &str| {
            parse(path, "runb", "box", "system.slice")
                .unwrap_err()
                .to_string()
        };
        for path in ["/docker/abc", "a:b", "a.slice:b:c:d"] {
            assert_eq!(
                refused(path),
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                )
            );
        }
        for slice in [
            ".slice",
            "a",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            "a/b.slice",
            "..slice/../x.slice",
            "a.scope",
        ] {
            assert_eq!(
                refused(&format!("{slice}:p:n")),
                format!("invalid slice name: {slice}")
            );
        }
        for name in ["a/b", "..//x", "a b", "a\nb", "ä"] {
            assert!(
                refused(&format!("a.slice:p:{name}")).starts_with("invalid unit name "),
                "{name}"
            );
        }
        assert!(refused(&format!("a.slice:p:{}", "n".repeat(248))).starts_with("invalid unit name "));
    }
}
