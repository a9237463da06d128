//! How a call ends that did not succeed.
//!
//! May not: decide. Which code belongs to which failure is part of containerd's interface (its clients turn the code into
//! a class of error: docker acts on NotFound, the daemon's fallback to version 2 on Unimplemented).

use crate::proto::google;
use crate::proto::ttrpc::Response;
use std::fmt;

/// gRPC's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// A number that came over the wire; what nobody knows is Unknown, as in gRPC.
    pub fn of_number(number: i32) -> Code {
        match number {
            0 => Code::Ok,
            1 => Code::Canceled,
            3 => Code::InvalidArgument,
            4 => Code::DeadlineExceeded,
            5 => Code::NotFound,
            6 => Code::AlreadyExists,
            7 => Code::PermissionDenied,
            8 => Code::ResourceExhausted,
            9 => Code::FailedPrecondition,
            10 => Code::Aborted,
            11 => Code::OutOfRange,
            12 => Code::Unimplemented,
            13 => Code::Internal,
            14 => Code::Unavailable,
            15 => Code::DataLoss,
            16 => Code::Unauthenticated,
            _ => Code::Unknown,
        }
    }
}

/// A failed call: what the caller can act on, and what its user reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
        }
    }

    /// Any failure that has no class of its own.
    pub fn unknown(message: impl Into<String>) -> Error {
        Error::new(Code::Unknown, message)
    }

    pub fn invalid_argument(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    pub fn already_exists(message: impl Into<String>) -> Error {
        Error::new(Code::AlreadyExists, message)
    }

    pub fn resource_exhausted(message: impl Into<String>) -> Error {
        Error::new(Code::ResourceExhausted, message)
    }

    pub fn failed_precondition(message: impl Into<String>) -> Error {
        Error::new(Code::FailedPrecondition, message)
    }

    pub fn unimplemented(message: impl Into<String>) -> Error {
        Error::new(Code::Unimplemented, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Code::Unavailable, message)
    }

    /// Puts a phrase in front; the code stays.
    pub fn doing(mut self, phrase: impl fmt::Display) -> Error {
        self.message = format!("{phrase}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A message that the caller encoded wrongly.
impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Error {
        Error::invalid_argument(error.to_string())
    }
}

/// A failed system call. Without a class, whatever its errno: a missing file of the bundle is not a missing container.
impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Error {
        Error::unknown(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::unknown(error.to_string())
    }
}

impl From<Error> for google::Status {
    fn from(error: Error) -> google::Status {
        google::Status {
            code: error.code as i32,
            message: error.message,
            details: Vec::new(),
        }
    }
}

impl From<google::Status> for Error {
    fn from(status: google::Status) -> Error {
        Error::new(Code::of_number(status.code), status.message)
    }
}

/// An encoded answer, or the failure, as it is sent.
impl From<Result<Vec<u8>>> for Response {
    fn from(result: Result<Vec<u8>>) -> Response {
        match result {
            Ok(payload) => Response {
                status: None,
                payload,
            },
            Err(error) => Response {
                status: Some(error.into()),
                payload: Vec::new(),
            },
        }
    }
}

/// What a client makes of an answer.
impl From<Response> for Result<Vec<u8>> {
    fn from(response: Response) -> Result<Vec<u8>> {
        match response.status {
            Some(status) if status.code != Code::Ok as i32 => Err(status.into()),
            _ => Ok(response.payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn numbers_are_those_of_grpc() {
        for number in 0..=16 {
            assert_eq!(Code::of_number(number) as i32, number);
        }
        assert_eq!(Code::of_number(17), Code::Unknown);
        assert_eq!(Code::of_number(-1), Code::Unknown);
        assert_eq!(Code::NotFound as i32, 5);
        assert_eq!(Code::Unimplemented as i32, 12);
    }

    #[test]
    fn a_failure_on_the_wire() {
        let failed = Response::from(Err(Error::not_found("no")));
        assert_eq!(failed.encode_to_vec(), b"\x0a\x06\x08\x05\x12\x02no");
        assert_eq!(Result::from(failed), Err(Error::not_found("no")));
    }

    #[test]
    fn a_success_on_the_wire() {
        assert_eq!(Response::from(Ok(vec![7])).encode_to_vec(), b"\x12\x01\x07");
        // Go's server writes a status with code zero.
        let with_status = Response::decode(&b"\x0a\x00\x12\x01\x07"[..]).unwrap();
        assert_eq!(Result::from(with_status), Ok(vec![7]));
    }

    #[test]
    fn phrases_go_in_front() {
        let error = Error::already_exists("exec e1").doing("failed to exec");
        assert_eq!(error, Error::already_exists("failed to exec: exec e1"));
    }
}
