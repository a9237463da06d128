//! Which of its protocols a containerd speaks that calls `start`, and the answer it understands.
//!
//! | caller | stdin | answer |
//! |---|---|---|
//! | 1.6 to 2.2, CRI-O | nothing, or an `Any` with the options | the address as text: Task version 2 |
//! | 2.3 and later | `BootstrapParams` | `BootstrapResult`: Task version 3 |
//!
//! Nothing else tells the two apart: MAX_SHIM_VERSION is 2 with both. An answer that the caller does not expect is fatal:
//! a containerd 2.2 takes the bytes of a `BootstrapResult` for an address (containerd #13763), 1.6, 1.7 and CRI-O do the
//! same with JSON. The text is understood by all.
//!
//! May not: read stdin, write stdout.

use crate::args::Args;
use crate::proto::Named;
use crate::proto::bootstrap::{BootstrapParams, BootstrapResult, LogLevel};
use crate::proto::google::Any;
use crate::proto::options::{Options, RuntimeOptions};
use crate::ttrpc::status::{Error, Result};
use prost::Message;

/// How much of stdin is read at most; the same as in containerd's own shim.
pub const MAX_STDIN: usize = 10 << 20;

/// The protocol on the socket, as it is called in answers.
const TTRPC: &str = "ttrpc";

/// Who calls `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// containerd 2.3 and later.
    Bootstrap(Box<BootstrapParams>),
    /// Older ones, and CRI-O.
    Legacy(Option<Any>),
}

impl Caller {
    /// From what was on stdin. An `Any` can be read as `BootstrapParams` too, but then the name of a type stands where
    /// the id is; so both id and namespace must be those of the command line.
    pub fn recognise(stdin: &[u8], args: &Args) -> Result<Caller> {
        if let Ok(params) = BootstrapParams::decode(stdin)
            && params.instance_id == args.id
            && params.namespace == args.namespace
        {
            return Ok(Caller::Bootstrap(Box::new(params)));
        }
        Ok(Caller::Legacy(legacy_options(stdin)?))
    }

    /// The runtime's options, still packed.
    pub fn options(&self) -> Option<&Any> {
        match self {
            Caller::Legacy(options) => options.as_ref(),
            // Other extensions may come; they are not for us.
            Caller::Bootstrap(params) => params
                .extensions
                .iter()
                .filter_map(|extension| extension.value.as_ref())
                .find(|value| value.is(Options::TYPE_URL) || value.is(RuntimeOptions::TYPE_URL)),
        }
    }

    /// Where the socket is to be, when the caller says so.
    pub fn socket_dir(&self) -> Option<&str> {
        match self {
            Caller::Legacy(_) => None,
            Caller::Bootstrap(params) => params.socket_dir.as_deref(),
        }
    }

    /// Where events go, when the caller says so here and not in `TTRPC_ADDRESS`.
    pub fn ttrpc_address(&self) -> Option<&str> {
        match self {
            Caller::Legacy(_) => None,
            Caller::Bootstrap(params) => {
                Some(params.containerd_ttrpc_address.as_str()).filter(|address| !address.is_empty())
            }
        }
    }

    /// Whether the log is to be talkative, beside `-debug`.
    pub fn wants_debug(&self) -> bool {
        match self {
            Caller::Legacy(_) => false,
            Caller::Bootstrap(params) => params.log_level <= LogLevel::Debug as i32,
        }
    }

    /// What is written to stdout when the shim listens at `address`.
    pub fn answer(&self, address: &str) -> Vec<u8> {
        match self {
            Caller::Legacy(_) => Answer::Plain.encode(address),
            Caller::Bootstrap(_) => Answer::Protobuf.encode(address),
        }
    }
}

/// What was on stdin of a legacy `start`, and of `-info`: options, or nothing.
pub fn legacy_options(stdin: &[u8]) -> Result<Option<Any>> {
    if stdin.is_empty() {
        return Ok(None);
    }
    match Any::decode(stdin) {
        Ok(any) => Ok(Some(any)),
        Err(e) => Err(Error::from(e).doing("failed to read the runtime's options from stdin")),
    }
}

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Text: version 2.
    Plain,
    /// Version 3 for containerd 2.0 and later; no caller can be told from an older one that dies of it.
    Json,
    /// Version 3.
    Protobuf,
}

impl Answer {
    pub fn encode(self, address: &str) -> Vec<u8> {
        match self {
            Answer::Plain => address.as_bytes().to_vec(),
            Answer::Json => {
                let quoted = serde_json::Value::from(address);
                format!(r#"{{"version":3,"address":{quoted},"protocol":"{TTRPC}"}}"#).into_bytes()
            }
            Answer::Protobuf => BootstrapResult {
                version: 3,
                address: address.to_string(),
                protocol: TTRPC.to_string(),
                ..BootstrapResult::default()
            }
            .encode_to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bootstrap::Extension;
    use crate::proto::wire::text;
    use crate::ttrpc::status::Code;
    use std::ffi::OsString;

    fn args() -> Args {
        let line = "-namespace k8s.io -address /g -id abc start";
        crate::args::parse(line.split(' ').map(OsString::from)).unwrap()
    }

    fn options() -> Options {
        Options {
            binary_name: "/usr/bin/runb".into(),
            ..Options::default()
        }
    }

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "abc".into(),
            namespace: "k8s.io".into(),
            ..BootstrapParams::default()
        }
    }

    fn recognised(stdin: &[u8]) -> Caller {
        Caller::recognise(stdin, &args()).unwrap()
    }

    #[test]
    fn nothing_on_stdin_is_legacy() {
        let caller = recognised(b"");
        assert_eq!(caller, Caller::Legacy(None));
        assert_eq!(caller.options(), None);
        assert_eq!(caller.socket_dir(), None);
        assert_eq!(caller.ttrpc_address(), None);
        assert!(!caller.wants_debug());
        assert_eq!(caller.answer("unix:///s"), b"unix:///s");
    }

    #[test]
    fn an_any_on_stdin_is_legacy() {
        let stdin = [
            text(1, "containerd.runc.v1.Options"),
            text(2, text(6, "/usr/bin/runb")),
        ]
        .concat();
        // It can be read as the other message, too.
        assert!(BootstrapParams::decode(stdin.as_slice()).is_ok());
        let caller = recognised(&stdin);
        assert_eq!(caller, Caller::Legacy(Some(Any::of(&options()))));
        assert_eq!(caller.options(), Some(&Any::of(&options())));
        assert_eq!(caller.answer("unix:///s"), b"unix:///s");
    }

    #[test]
    fn an_any_that_cannot_be_params_is_legacy() {
        // Its value is no text.
        let stdin = [text(1, "t"), text(2, [0xff, 0xfe])].concat();
        assert!(BootstrapParams::decode(stdin.as_slice()).is_err());
        let Caller::Legacy(Some(any)) = recognised(&stdin) else {
            panic!("legacy");
        };
        assert_eq!(any.value, [0xff, 0xfe]);
    }

    #[test]
    fn params_are_recognised_by_id_and_namespace() {
        let stdin = [text(1, "abc"), text(2, "k8s.io")].concat();
        assert_eq!(recognised(&stdin), Caller::Bootstrap(Box::new(params())));
        for (id, namespace) in [("other", "k8s.io"), ("abc", "other"), ("", "")] {
            let stdin = [text(1, id), text(2, namespace)].concat();
            assert!(
                matches!(recognised(&stdin), Caller::Legacy(_)),
                "{id} {namespace}"
            );
        }
    }

    #[test]
    fn what_params_say() {
        let mut params = params();
        params.log_level = LogLevel::Trace as i32;
        params.socket_dir = Some("/run/s".into());
        params.containerd_ttrpc_address = "/t".into();
        params.extensions = vec![
            Extension { value: None },
            Extension {
                value: Some(Any {
                    type_url: "containerd.something.new".into(),
                    value: vec![1],
                }),
            },
            Extension {
                value: Some(Any::of(&options())),
            },
        ];
        let caller = recognised(&params.encode_to_vec());
        assert_eq!(caller.options(), Some(&Any::of(&options())));
        assert_eq!(caller.socket_dir(), Some("/run/s"));
        assert_eq!(caller.ttrpc_address(), Some("/t"));
        assert!(caller.wants_debug());
    }

    #[test]
    fn levels_above_debug_are_not_debug() {
        for (level, wanted) in [(-8, true), (-4, true), (-3, false), (0, false), (8, false)] {
            let caller = Caller::Bootstrap(Box::new(BootstrapParams {
                log_level: level,
                ..params()
            }));
            assert_eq!(caller.wants_debug(), wanted, "{level}");
        }
    }

    #[test]
    fn noise_on_stdin_is_an_error() {
        let error = Caller::recognise(b"hello", &args()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(
            error.message.starts_with("failed to read the runtime's options"),
            "{error}"
        );
    }

    #[test]
    fn answers_byte_by_byte() {
        let address = "unix:///run/containerd/s/ab";
        assert_eq!(Answer::Plain.encode(address), address.as_bytes());
        assert_eq!(
            Answer::Json.encode(address),
            br#"{"version":3,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#
        );
        let wanted = b"\x08\x03\x12\x1bunix:///run/containerd/s/ab\x1a\x05ttrpc";
        assert_eq!(Answer::Protobuf.encode(address), wanted);
        assert_eq!(Caller::Bootstrap(Box::new(params())).answer(address), wanted);
    }
}
