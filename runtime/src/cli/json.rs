//! JSON as Go's encoding/json writes it, byte for byte: `<`, `>`, `&`, U+2028 and U+2029 are escaped, whole floats
//! have no fraction.
//!
//! May not: read JSON, or know what it writes.

use crate::error::{Error, Result};
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};
use std::io::{self, Write};

/// On one line.
///
/// # Errors
/// Only when a value cannot be expressed in JSON, which no type of ours can bring about.
pub fn compact<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    write(
        value,
        Go {
            inner: CompactFormatter,
        },
    )
}

/// Over many lines, each level indented by `indent`.
///
/// # Errors
/// As [`compact`].
pub fn indented<T: Serialize + ?Sized>(value: &T, indent: &str) -> Result<String> {
    write(
        value,
        Go {
            inner: PrettyFormatter::with_indent(indent.as_bytes()),
        },
    )
}

/// Appends a quoted string.
pub fn push_string(out: &mut String, text: &str) {
    // A string can always be written, and to memory.
    if let Ok(quoted) = compact(text) {
        out.push_str(&quoted);
    }
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> Result<String> {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .map_err(|e| Error::new(format!("cannot be written as JSON: {e}")))?;
    String::from_utf8(bytes).map_err(|e| Error::new(format!("cannot be written as JSON: {e}")))
}

struct Go<F> {
    inner: F,
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $ty:ty),*)),* $(,)?) => {$(
        fn $name<W: ?Sized + Write>(&mut self, w: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.inner.$name(w $(, $arg)*)
        }
    )*};
}

impl<F: Formatter> Formatter for Go<F> {
    delegate!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
        write_char_escape(escape: CharEscape),
    );

    fn write_string_fragment<W: ?Sized + Write>(&mut self, w: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, tail) = rest.split_at(at);
            w.write_all(plain.as_bytes())?;
            let Some(c) = tail.chars().next() else { break };
            write!(w, "\\u{:04x}", c as u32)?;
            rest = &tail[c.len_utf8()..];
        }
        w.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        // Go switches to exponents outside of [1e-6, 1e21); nothing that a kernel reports lies there.
        write!(w, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn html_is_escaped_and_the_rest_is_not() {
        let text = compact("a<b>&c\u{2028}\u{2029}\"\\/\n\r\t\u{8}\u{c}\u{1}\u{7f}é").unwrap();
        assert_eq!(
            text,
            "\"a\\u003cb\\u003e\\u0026c\\u2028\\u2029\\\"\\\\/\\n\\r\\t\\b\\f\\u0001\u{7f}é\""
        );
    }

    #[test]
    fn whole_floats_have_no_fraction() {
        assert_eq!(compact(&[0.0, 1.0, 0.25, 12.34]).unwrap(), "[0,1,0.25,12.34]");
    }

    #[test]
    fn indentation_and_empty_containers() {
        assert_eq!(
            indented(&json!({"a": [1, 2], "b": [], "c": {}, "d<": null}), "  ").unwrap(),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": [],\n  \"c\": {},\n  \"d\\u003c\": null\n}"
        );
    }
}
