//! The messages of Google's that containerd's contain.
//!
//! May not: read the clock.

use super::Named;
use prost::{DecodeError, Message};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `google.protobuf.Any`: a message, or JSON, with the name of its type.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// A message, packed.
    pub fn of<M: Named>(message: &M) -> Any {
        Any {
            type_url: M::TYPE_URL.to_string(),
            value: message.encode_to_vec(),
        }
    }

    /// Whether it says that it contains `name`. Writers other than containerd put `type.googleapis.com/` in front.
    pub fn is(&self, name: &str) -> bool {
        match self.type_url.strip_suffix(name) {
            Some(prefix) => prefix.is_empty() || prefix.ends_with('/'),
            None => false,
        }
    }

    /// The message, when it is one of this type.
    pub fn unpack<M: Named>(&self) -> Option<Result<M, DecodeError>> {
        self.is(M::TYPE_URL).then(|| M::decode(self.value.as_slice()))
    }
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// Go's zero time, the first of January of year 1: what Go's `IsZero` is true for. The exit time of a process that
    /// has not ended; the epoch would be shown as an exit in 1970.
    pub const NEVER: Timestamp = Timestamp {
        seconds: -62_135_596_800,
        nanos: 0,
    };
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        // Rounded down: the fraction counts forward from the second, before 1970 as well.
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (whole_seconds(after), after.subsec_nanos()),
            Err(e) => match (e.duration(), e.duration().subsec_nanos()) {
                (before, 0) => (-whole_seconds(before), 0),
                (before, nanos) => (-whole_seconds(before) - 1, 1_000_000_000 - nanos),
            },
        };
        Timestamp {
            seconds,
            nanos: nanos.cast_signed(),
        }
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// `google.rpc.Status`: how a call ended. The codes are in [`crate::ttrpc::status`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::options::{Options, ProcessDetails};
    use crate::proto::wire::{number, same, text};

    #[test]
    fn any_is_a_name_and_bytes() {
        let details = ProcessDetails { exec_id: "e1".into() };
        same(
            &Any::of(&details),
            &[
                text(1, "containerd.runc.v1.ProcessDetails"),
                text(2, b"\x0a\x02e1"),
            ],
        );
        assert_eq!(Any::of(&details).unpack::<ProcessDetails>(), Some(Ok(details)));
    }

    #[test]
    fn any_is_unpacked_under_its_own_name_only() {
        let named = |url: &str| Any {
            type_url: url.into(),
            value: Vec::new(),
        };
        assert!(named("containerd.runc.v1.Options").unpack::<Options>().is_some());
        assert!(
            named("type.googleapis.com/containerd.runc.v1.Options")
                .unpack::<Options>()
                .is_some()
        );
        assert!(named("xcontainerd.runc.v1.Options").unpack::<Options>().is_none());
        assert!(named("").unpack::<Options>().is_none());
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let broken = Any {
            type_url: Options::TYPE_URL.into(),
            value: vec![0x0a],
        };
        assert!(broken.unpack::<Options>().unwrap().is_err());
    }

    #[test]
    fn timestamps_round_down() {
        let at = |seconds, nanos| Timestamp { seconds, nanos };
        let half = Duration::from_millis(500);
        assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::new(3, 7)), at(3, 7));
        assert_eq!(Timestamp::from(UNIX_EPOCH - half), at(-1, 500_000_000));
        assert_eq!(Timestamp::from(UNIX_EPOCH - 2 * half), at(-1, 0));
        same(&at(3, 7), &[number(1, 3), number(2, 7)]);
        // A negative number is ten bytes long, as a 64 bit two's complement.
        same(
            &Timestamp::NEVER,
            &[b"\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01".to_vec()],
        );
    }

    #[test]
    fn status_is_code_message_details() {
        let status = Status {
            code: 5,
            message: "gone".into(),
            details: vec![Any::default()],
        };
        same(&status, &[number(1, 5), text(2, "gone"), text(3, "")]);
    }
}
