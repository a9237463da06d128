//! Where the shim's socket is. Containers of one pod get one shim, because they get one socket.
//!
//! ```text
//! DIR/HEX    HEX = sha256 of the path GRPC_ADDRESS/NAMESPACE/GROUP, cleaned
//! ```
//!
//! The name is not ours to choose: a shim of another version, or containerd's own, must find the same socket, and
//! containerd's tests look for it.
//!
//! May not: make or remove it.

use crate::ttrpc::status::{Error, Result};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The directory of containerd's shims when the caller names none.
pub const DEFAULT_DIR: &str = "/run/containerd/s";

/// containerd's own limit for the directory: with a slash and 64 digits 107 bytes, and the kernel's `sun_path` has 108
/// with the zero at the end (unix(7)).
const MAX_DIR: usize = 42;

/// The annotations that say which containers share a shim; the first that is there counts.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What the socket's name depends on.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// containerd's gRPC socket; empty when CRI-O calls.
    pub grpc_address: &'a str,
    pub namespace: &'a str,
    /// Of [`group`].
    pub group: &'a str,
}

impl Identity<'_> {
    /// The socket of the Task service.
    pub fn socket(&self, dir: Option<&str>) -> Result<Socket> {
        Socket::new(dir, &[self.grpc_address, self.namespace, self.group])
    }
}

/// A socket's path, short enough for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket(PathBuf);

impl Socket {
    fn new(dir: Option<&str>, parts: &[&str]) -> Result<Socket> {
        let dir = match dir {
            None | Some("") => DEFAULT_DIR,
            Some(dir) => dir,
        };
        if !dir.starts_with('/') {
            return Err(Error::invalid_argument(format!(
                "the socket directory must be an absolute path, but is {dir:?}"
            )));
        }
        if dir.len() > MAX_DIR {
            return Err(Error::invalid_argument(format!(
                "the socket directory may have {MAX_DIR} bytes, but {dir:?} has {}",
                dir.len()
            )));
        }
        Ok(Socket(Path::new(dir).join(hex_sha256(&join(parts)))))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the caller is told: `unix:///run/containerd/s/...`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.0.display())
    }
}

/// The group of a container, from its config.json: an annotation, or its own id.
///
/// Lenient: only the annotations are looked at; whether the rest is right is found when the container is created.
pub fn group(config_json: &[u8], id: &str) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Config {
        annotations: Option<Map<String, Value>>,
    }
    let config: Config = serde_json::from_slice(config_json)
        .map_err(|e| Error::invalid_argument(format!("failed to read config.json: {e}")))?;
    let annotations = config.annotations.unwrap_or_default();
    let named = GROUP_ANNOTATIONS
        .iter()
        .find_map(|name| annotations.get(*name)?.as_str());
    Ok(named.unwrap_or(id).to_string())
}

fn hex_sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Go's `filepath.Join`: empty parts are left out, the rest is cleaned by its letters alone.
fn join(parts: &[&str]) -> String {
    let given: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    if given.is_empty() {
        return String::new();
    }
    let joined = given.join("/");
    let root = joined.starts_with('/');
    let mut clean: Vec<&str> = Vec::new();
    for component in joined.split('/') {
        match (component, clean.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => {
                clean.pop();
            }
            // Nothing is above the root; above a relative path there is.
            ("..", _) if root => {}
            _ => clean.push(component),
        }
    }
    match (root, clean.is_empty()) {
        (true, _) => format!("/{}", clean.join("/")),
        (false, true) => ".".to_string(),
        (false, false) => clean.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Identity<'_> = Identity {
        grpc_address: "/run/containerd/containerd.sock",
        namespace: "k8s.io",
        group: "pod",
    };

    #[test]
    fn the_name_is_a_sha256_of_the_joined_path() {
        // printf %s /run/containerd/containerd.sock/k8s.io/pod | sha256sum
        let name = "b9cab8e84f817f3c3bb561c7ea8dcbfba051d5d8f56ec2c3f204bc387d13f7d0";
        let socket = POD.socket(None).unwrap();
        assert_eq!(socket.path(), Path::new(&format!("/run/containerd/s/{name}")));
        assert_eq!(socket.address(), format!("unix:///run/containerd/s/{name}"));
        assert_eq!(
            POD.socket(Some("/x")).unwrap().path(),
            Path::new(&format!("/x/{name}"))
        );
    }

    #[test]
    fn without_a_grpc_address_the_path_is_relative() {
        let identity = Identity {
            grpc_address: "",
            namespace: "default",
            group: "c1",
        };
        // printf %s default/c1 | sha256sum
        assert_eq!(
            identity.socket(Some("/s")).unwrap().path(),
            Path::new("/s/3a4ba0ad328f407b30cccb555302fc1c4c73e1d92d16d2583787f9faddf320ca")
        );
    }

    #[test]
    fn directories_have_a_limit() {
        let longest = format!("/{}", "d".repeat(41));
        let socket = POD.socket(Some(&longest)).unwrap();
        assert_eq!(socket.path().as_os_str().len(), 107);
        let error = POD.socket(Some(&format!("{longest}d"))).unwrap_err();
        assert!(error.message.contains("has 43"), "{error}");
        let error = POD.socket(Some("s")).unwrap_err();
        assert!(error.message.contains("absolute"), "{error}");
        assert_eq!(POD.socket(Some("")), POD.socket(None));
    }

    #[test]
    fn joins_as_go_does() {
        for (parts, wanted) in [
            (&["/a", "b", "c"][..], "/a/b/c"),
            (&["/a/", "/b//c/", "."], "/a/b/c"),
            (&["", "b", "c"], "b/c"),
            (&["", ""], ""),
            (&["."], "."),
            (&["/a/b/../c"], "/a/c"),
            (&["/..", "a"], "/a"),
            (&["..", "..", "a"], "../../a"),
            (&["a", "..", ".."], ".."),
            (&["a", ".."], "."),
            (&["/a", ".."], "/"),
        ] {
            assert_eq!(join(parts), wanted, "{parts:?}");
        }
    }

    #[test]
    fn the_group_is_an_annotation_or_the_id() {
        for (config, wanted) in [
            (r#"{}"#, "id"),
            (r#"{"annotations": null}"#, "id"),
            (r#"{"annotations": {"other": "x"}}"#, "id"),
            (
                r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}"#,
                "pod",
            ),
            (
                r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod",
                                    "io.containerd.runc.v2.group": "group"}}"#,
                "group",
            ),
            // Wrong in other places: not this function's business.
            (
                r#"{"process": 7, "annotations": {"n": 1, "io.kubernetes.cri.sandbox-id": "pod"}}"#,
                "pod",
            ),
        ] {
            assert_eq!(group(config.as_bytes(), "id").unwrap(), wanted, "{config}");
        }
    }

    #[test]
    fn a_broken_config_is_an_error() {
        for config in ["", "{", "[]", r#"{"annotations": []}"#] {
            assert!(group(config.as_bytes(), "id").is_err(), "{config}");
        }
    }
}
