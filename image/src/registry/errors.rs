//! What registries say when they refuse (distribution specification, "Error codes"), in one clear sentence.
//!
//! May not: show a control character: the text comes from outside and ends on a terminal.

use serde::Deserialize;

use super::http::{Answer, Cause, Failure};
use crate::{Error, Kind};

const BODY_LIMIT: u64 = 64 << 10;
/// Of one message, in characters.
const MESSAGE_LIMIT: usize = 1000;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<One>,
    /// Token servers: OAuth2 (RFC 6749, 5.2), or whatever they like.
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    details: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<String>,
}

/// An answer that is a refusal, as a failure that keeps the status.
pub(super) fn failure(answer: Answer) -> Failure {
    let status = answer.status;
    let host = answer.url.authority();
    // A body that breaks off only takes the explanation away.
    let body = answer.bytes(BODY_LIMIT, "error").unwrap_or_default();
    let text = match sentence(&body) {
        Some(text) => text,
        None => by_status(status, &host),
    };
    Failure::of(Cause::Status(status), Error::of(kind(status), text))
}

/// Without credentials, or with the wrong ones.
pub(super) fn unauthorized(had_login: bool) -> Error {
    Error::of(
        Kind::Denied,
        if had_login {
            "unauthorized: incorrect username or password"
        } else {
            "unauthorized: authentication required"
        },
    )
}

fn kind(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        408 | 429 | 500..=599 => Kind::Unavailable,
        405 | 415 => Kind::Unsupported,
        _ => Kind::Other,
    }
}

/// `code: message`, as docker prints them: "manifest unknown: manifest unknown".
fn sentence(body: &[u8]) -> Option<String> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let said: Vec<String> = errors
        .errors
        .iter()
        .filter_map(|one| {
            let code = one.code.as_ref().and_then(|c| c.as_str()).unwrap_or_default();
            let code = code.to_ascii_lowercase().replace('_', " ");
            match (code.as_str(), one.message.as_deref().unwrap_or_default()) {
                ("", "") => None,
                ("", message) => Some(message.to_owned()),
                (code, "") => Some(code.to_owned()),
                (code, message) => Some(format!("{code}: {message}")),
            }
        })
        .collect();
    let text = match said.len() {
        0 => {
            let plain =
                |value: Option<serde_json::Value>| value.as_ref().and_then(|v| v.as_str()).map(str::to_owned);
            let described = errors
                .error_description
                .or(plain(errors.details))
                .or(errors.message);
            match (plain(errors.error), described) {
                (Some(error), Some(described)) => format!("{error}: {described}"),
                (error, described) => error.or(described)?,
            }
        }
        _ => said.join("; "),
    };
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE_LIMIT)
        .collect();
    Some(printable.trim().to_owned()).filter(|t| !t.is_empty())
}

fn by_status(status: u16, host: &str) -> String {
    match status {
        401 => "unauthorized: authentication required".to_owned(),
        403 => "denied: requested access to the resource is denied".to_owned(),
        429 => "toomanyrequests: the registry asks for fewer requests".to_owned(),
        _ => format!("{host} answered {}", named(status)),
    }
}

fn named(status: u16) -> String {
    let status_code = ureq::http::StatusCode::from_u16(status).ok();
    match status_code.and_then(|s| s.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn errors_become_sentences() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
                Some("manifest unknown: manifest unknown"),
            ),
            (
                r#"{"errors":[{"code":"DENIED"},{"message":"go away"}]}"#,
                Some("denied; go away"),
            ),
            (
                r#"{"errors":[{"code":7,"message":"a\u001b[31mb\n"}]}"#,
                Some("a [31mb"),
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                Some("incorrect username or password"),
            ),
            (
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                Some("invalid_grant: expired"),
            ),
            (r#"{"errors":[]}"#, None),
            (r#"{"errors":[{}]}"#, None),
            (r#"{"errors":null}"#, None),
            ("[1]", None),
            ("<html>", None),
        ] {
            assert_eq!(sentence(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert!(
            sentence(format!(r#"{{"message":"{}"}}"#, "é".repeat(5000)).as_bytes())
                .unwrap()
                .len()
                <= 2 * MESSAGE_LIMIT
        );
    }

    #[test]
    fn a_status_alone_is_named() {
        assert_eq!(by_status(502, "h:5000"), "h:5000 answered 502 Bad Gateway");
        assert_eq!(by_status(599, "h"), "h answered 599");
    }
}
