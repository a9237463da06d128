//! What `-info` and `-v` print.
//!
//! containerd asks for it to learn what the runtime can do (recursive read-only mounts, user namespaces). It would also be told
//! there which of its own kinds of mounts (`format/`, `mkdir/`) to leave to the shim: none, containerd makes plain ones of
//! them before. The bytes on stdout are a bare `RuntimeInfo`: inside an `Any`, as the Rust shim of
//! containerd's packs it, the daemon reads garbage.
//!
//! May not: run the runtime, print.

use crate::proto::google::Any;
use crate::proto::types::{RuntimeInfo, RuntimeVersion, json};
use crate::ttrpc::status::{Error, Result};
use serde_json::{Map, Value};

/// The name of this program.
pub const PROGRAM: &str = "containerd-shim-runb-v2";

/// What the runtime can do, from what its verb `features` printed.
pub fn features(output: &[u8]) -> Result<Any> {
    // Only looked at: what this shim does not know goes through as it is. containerd fails on what is no object.
    serde_json::from_slice::<Map<String, Value>>(output)
        .map_err(|e| Error::unknown(format!("failed to read the features of the runtime: {e}")))?;
    Ok(Any {
        type_url: json::FEATURES.to_string(),
        value: output.trim_ascii().to_vec(),
    })
}

/// The answer to `-info`. The caller's options go back as they came.
pub fn runtime_info(
    name: &str,
    version: RuntimeVersion,
    options: Option<Any>,
    features: Option<Any>,
) -> RuntimeInfo {
    RuntimeInfo {
        name: name.to_string(),
        version: Some(version),
        options,
        features,
        ..RuntimeInfo::default()
    }
}

/// The answer to `-v`, for people.
pub fn version_text(program: &str, version: &RuntimeVersion) -> String {
    let mut text = format!("{program}:\n  Version:  {}\n", version.version);
    if !version.revision.is_empty() {
        text.push_str(&format!("  Revision: {}\n", version.revision));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::options::Options;
    use crate::proto::wire::{same, text};

    fn version() -> RuntimeVersion {
        RuntimeVersion {
            version: "0.1.0".into(),
            revision: "abc".into(),
        }
    }

    #[test]
    fn info_byte_by_byte() {
        let options = Any::of(&Options {
            binary_name: "runb".into(),
            ..Options::default()
        });
        let found = features(b" {\"a\":1}\n").unwrap();
        let info = runtime_info("io.containerd.runb.v2", version(), Some(options), Some(found));
        let echo = [text(1, "containerd.runc.v1.Options"), text(2, text(6, "runb"))].concat();
        let found = [
            text(
                1,
                "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
            ),
            text(2, r#"{"a":1}"#),
        ]
        .concat();
        same(
            &info,
            &[
                text(1, "io.containerd.runb.v2"),
                text(2, [text(1, "0.1.0"), text(2, "abc")].concat()),
                text(3, echo),
                text(4, found),
            ],
        );
    }

    #[test]
    fn without_features_there_is_still_an_answer() {
        let info = runtime_info("n", RuntimeVersion::default(), None, None);
        same(&info, &[text(1, "n"), text(2, "")]);
    }

    #[test]
    fn features_are_an_object() {
        for output in ["", "null", "[]", "{", "runc: unknown command features", "{} {}"] {
            let error = features(output.as_bytes()).unwrap_err();
            assert!(
                error.message.starts_with("failed to read the features"),
                "{output}"
            );
        }
    }

    #[test]
    fn version_for_people() {
        assert_eq!(
            version_text("p", &version()),
            "p:\n  Version:  0.1.0\n  Revision: abc\n"
        );
        let unmarked = RuntimeVersion {
            revision: String::new(),
            ..version()
        };
        assert_eq!(version_text("p", &unmarked), "p:\n  Version:  0.1.0\n");
    }
}
