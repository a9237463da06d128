//! Platforms: operating system, CPU and its variant, and which image of an index suits which host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What an image was made for (image-index.md, "platform").
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
}

impl Platform {
    /// Of this host.
    pub fn host() -> Platform {
        let mut platform = Platform {
            os: "linux".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            ..Platform::default()
        };
        platform.normalise();
        platform
    }

    /// Names as Go has them: x86_64 is amd64, aarch64 is arm64; the variant that everyone has is no variant.
    pub fn normalise(&mut self) {
        self.os = self.os.to_lowercase();
        if self.os == "macos" {
            "darwin".clone_into(&mut self.os);
        }
        let variant = self
            .variant
            .take()
            .map(|v| v.to_lowercase())
            .filter(|v| !v.is_empty());
        let (architecture, variant) = match (self.architecture.to_lowercase().as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".to_owned(), None),
            ("x86_64" | "x86-64" | "amd64", Some(v)) => ("amd64".to_owned(), Some(v.to_owned())),
            ("i386" | "i486" | "i686" | "x86" | "386", _) => ("386".to_owned(), None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), None),
            ("aarch64" | "arm64", Some(v)) => ("arm64".to_owned(), Some(v.to_owned())),
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
            ("arm", Some(v)) if !v.starts_with('v') => ("arm".to_owned(), Some(format!("v{v}"))),
            ("riscv64gc", v) => ("riscv64".to_owned(), v.map(str::to_owned)),
            ("powerpc64le", v) => ("ppc64le".to_owned(), v.map(str::to_owned)),
            (other, v) => (other.to_owned(), v.map(str::to_owned)),
        };
        self.architecture = architecture;
        self.variant = variant;
    }

    /// How well `image` runs where `self` is wanted: 0 is best, none is not at all. A CPU runs images for its older variants.
    pub fn rank(&self, image: &Platform) -> Option<u32> {
        let mut image = image.clone();
        image.normalise();
        if self.os != image.os {
            return None;
        }
        match (self.architecture.as_str(), image.architecture.as_str()) {
            // A 64-bit ARM may run the 32-bit image, where there is nothing better.
            ("arm64", "arm") => number(image.variant.as_deref(), 7)
                .filter(|n| *n <= 8)
                .map(|n| 100 - n),
            (own, theirs) if own != theirs => None,
            ("arm", _) => older(
                number(self.variant.as_deref(), 7)?,
                number(image.variant.as_deref(), 7)?,
            ),
            ("amd64", _) => older(
                number(self.variant.as_deref(), 1)?,
                number(image.variant.as_deref(), 1)?,
            ),
            ("arm64", _) => older(
                number(self.variant.as_deref(), 8)?,
                number(image.variant.as_deref(), 8)?,
            ),
            _ if self.variant == image.variant => Some(0),
            _ => None,
        }
    }
}

fn older(own: u32, theirs: u32) -> Option<u32> {
    own.checked_sub(theirs)
}

/// The number of a variant such as v7; minor numbers (v8.2) do not count.
fn number(variant: Option<&str>, default: u32) -> Option<u32> {
    match variant {
        None => Some(default),
        Some(v) => v.strip_prefix('v').unwrap_or(v).split('.').next()?.parse().ok(),
    }
}

/// Architectures, in Go's words.
const ARCHITECTURES: [&str; 17] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv", "riscv64", "s390", "s390x", "sparc64", "wasm",
];

impl FromStr for Platform {
    type Err = Error;

    /// `OS/ARCH[/VARIANT]`, or one of the two alone.
    fn from_str(text: &str) -> Result<Platform> {
        let is_word = |w: &str| {
            !w.is_empty()
                && w.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 3 || !parts.iter().all(|w| is_word(w)) {
            return Err(Error::invalid(format!(
                "{text:?} is not a platform: OS/ARCH or OS/ARCH/VARIANT, linux/amd64 for example"
            )));
        }
        let host = Platform::host();
        let mut platform = match parts.as_slice() {
            ["linux" | "windows" | "darwin" | "freebsd"] => Platform {
                os: parts[0].to_owned(),
                ..host
            },
            [architecture] => Platform {
                os: host.os,
                architecture: (*architecture).to_owned(),
                ..Platform::default()
            },
            [os, architecture, rest @ ..] => Platform {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().map(|v| (*v).to_owned()),
                ..Platform::default()
            },
            [] => host,
        };
        platform.normalise();
        // One word may be either, and what is neither is misspelt.
        if parts.len() == 1 && !ARCHITECTURES.contains(&platform.architecture.as_str()) {
            return Err(Error::invalid(format!(
                "{text:?}: unknown operating system or architecture"
            )));
        }
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_gos() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("s390x", "linux/s390x"),
        ] {
            assert_eq!(platform(text).to_string(), normal);
        }
        for bad in ["", "a/b/c/d", "linux/", "linux//v7", "linux/am d", "amd46"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn best_image_is_the_newest_that_runs() {
        let rank = |own: &str, theirs: &str| platform(own).rank(&platform(theirs));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert!(rank("linux/arm64", "linux/arm/v7").unwrap() > rank("linux/arm64", "linux/arm64").unwrap());
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
    }
}
