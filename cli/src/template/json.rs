//! Go's encoding/json of values.
//!
//! May not: fail. What JSON cannot hold is written as null.

use super::printing::general;
use super::value::{Shape, Value};
use std::fmt::Write as _;

/// `<`, `>` and `&` as they are, or as escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Html {
    Kept,
    Escaped,
}

/// The function `json` of templates: one line, nothing escaped for HTML, except in rows.
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, Html::Kept);
    out
}

/// json.MarshalIndent with four spaces, as `inspect` prints without a format; HTML is left alone.
pub fn indented(value: &Value) -> String {
    indent(&compact(value))
}

fn write(out: &mut String, value: &Value, html: Html) {
    match value {
        Value::Missing | Value::Nil | Value::NilPointer(_) | Value::Method(_) => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) | Value::Duration(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Uint(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Number(n) => out.push_str(if n.is_empty() { "0" } else { n }),
        Value::Text(t) => string(out, t, html),
        Value::List(list) if list.is_nil => out.push_str("null"),
        Value::List(list) => {
            out.push('[');
            for (n, item) in list.items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write(out, item, html);
            }
            out.push(']');
        }
        Value::Map(map) if map.is_nil => out.push_str("null"),
        Value::Map(map) => object(out, map.entries.iter().map(|(k, v)| (k.as_str(), v)), html),
        Value::Struct(s) => {
            let mut members = s.members();
            match s.shape {
                Shape::Struct => object(out, members.into_iter(), html),
                Shape::Row => {
                    members.retain(|(_, value)| !matches!(value, Value::Method(_)));
                    members.sort_by_key(|(key, _)| *key);
                    // Docker marshals the map of a row by itself, with Go's default of escaping.
                    object(out, members.into_iter(), Html::Escaped);
                }
            }
        }
    }
}

fn object<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Value)>, html: Html) {
    out.push('{');
    for (n, (key, value)) in entries.enumerate() {
        out.push_str(if n > 0 { "," } else { "" });
        string(out, key, html);
        out.push(':');
        write(out, value, html);
    }
    out.push('}');
}

fn string(out: &mut String, text: &str, html: Html) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if html == Html::Kept => out.push(c),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{0}'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Digits without an exponent between 1e-6 and 1e21.
fn float(f: f64) -> String {
    if !f.is_finite() {
        return "null".to_owned();
    }
    let size = f.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{f}");
    }
    general(f, None).replace("e-0", "e-")
}

/// Compact JSON with line breaks and four spaces a level.
fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    for c in text.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if opened && !matches!(c, '}' | ']') {
            new_line(&mut out, depth);
        }
        match c {
            '{' | '[' => {
                depth += 1;
                out.push(c);
            }
            '}' | ']' => {
                depth -= 1;
                if !opened {
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
        opened = matches!(c, '{' | '[');
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}
