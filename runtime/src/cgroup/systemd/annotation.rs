//! Properties of the unit from annotations: `org.systemd.property.CollectMode: 'inactive-or-failed'`.
//!
//! Pure: no system calls. The values are gvariant text, as far as Go's D-Bus library (and so runc) reads it: numbers, texts,
//! byte strings, arrays, dictionaries and variants, with a type in front where the guess would be wrong (`uint64 5`,
//! `@as []`). Structures (`(...)`) are read too.

use super::property::Property;
use crate::dbus::{Value, first_type};
use crate::problems::Problems;
use std::collections::BTreeMap;

/// In front of the property's name.
const PREFIX: &str = "org.systemd.property.";

/// Numbers and nested values deeper than this are nobody's configuration.
const DEEPEST: usize = 32;

/// The properties that the annotations ask for.
pub fn properties(annotations: &BTreeMap<String, String>, problems: &mut Problems) -> Vec<Property> {
    let mut out = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let place = format!("/annotations/{key}");
        // Part after part in runc's words.
        let property = check_name(name)
            .map_err(|e| format!("annotation {key} name incorrect: {e}"))
            .and_then(|()| {
                read(name, text).map_err(|e| format!("annotation {key}={text} value parse error: {e}"))
            });
        out.extend(problems.keep(&place, property));
    }
    out
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() < 3 {
        Err("too short")
    } else if !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        Err("contains non-alphabetic character")
    } else {
        Ok(())
    }
}

/// Times are documented as `TimeoutStopSec`, but called `TimeoutStopUSec` over D-Bus.
fn read(name: &str, text: &str) -> Result<Property, String> {
    let value = parse(text)?;
    let stem = name
        .strip_suffix("Sec")
        .filter(|s| s.ends_with(|c: char| c.is_ascii_lowercase()));
    Ok(match stem {
        None => Property {
            name: name.to_string(),
            value,
        },
        Some(stem) => Property {
            name: format!("{stem}USec"),
            value: Value::Uint64(micros(&value)?),
        },
    })
}

fn micros(seconds: &Value) -> Result<u64, String> {
    const MICROS: u64 = 1_000_000;
    let whole = |n: Option<u64>| {
        n.and_then(|n| n.checked_mul(MICROS))
            .ok_or_else(|| "a time that is negative or too long".to_string())
    };
    match seconds {
        Value::Byte(n) => whole(Some(u64::from(*n))),
        Value::Int16(n) => whole(u64::try_from(*n).ok()),
        Value::Uint16(n) => whole(Some(u64::from(*n))),
        Value::Int32(n) => whole(u64::try_from(*n).ok()),
        Value::Uint32(n) => whole(Some(u64::from(*n))),
        Value::Int64(n) => whole(u64::try_from(*n).ok()),
        Value::Uint64(n) => whole(Some(*n)),
        Value::Double(n) if *n >= 0.0 && *n < 1e13 => Ok((n * MICROS as f64) as u64),
        Value::Double(_) => whole(None),
        _ => Err("not a number".to_string()),
    }
}

/// One value in gvariant text.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut p = Parser { rest: text };
    let value = p.value("", 0)?;
    p.skip_space();
    if p.rest.is_empty() {
        Ok(value)
    } else {
        Err(format!("{:?} is left over", p.rest))
    }
}

struct Parser<'a> {
    rest: &'a str,
}

/// Words that stand for a type in front of a value.
const TYPES: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.eat(c) {
            Ok(())
        } else {
            Err(format!("{c:?} is missing before {:?}", self.rest))
        }
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || ",:[]{}<>()'\"@".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// `wanted` is the type that the context demands; empty when it demands none.
    fn value(&mut self, wanted: &str, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_string());
        }
        self.skip_space();
        match self.rest.chars().next() {
            None => Err("it is empty".to_string()),
            Some('@') => {
                self.rest = &self.rest[1..];
                let (one, rest) = first_type(self.rest).map_err(|e| e.to_string())?;
                self.rest = rest;
                self.value(agreed(wanted, one)?, depth + 1)
            }
            Some('\'' | '"') => self.text(wanted),
            Some('[') => self.array(wanted, depth),
            Some('{') => self.dictionary(wanted, depth),
            Some('(') => self.structure(wanted, depth),
            Some('<') => {
                agreed(wanted, "v")?;
                self.expect('<')?;
                let inner = self.value("", depth + 1)?;
                self.expect('>')?;
                Ok(Value::Variant(Box::new(inner)))
            }
            Some('b') if self.rest[1..].starts_with(['\'', '"']) => {
                agreed(wanted, "ay")?;
                self.rest = &self.rest[1..];
                let mut bytes = self.quoted()?.into_bytes();
                bytes.push(0); // gvariant: a byte string ends with a NUL
                Ok(Value::bytes(&bytes))
            }
            Some(_) => self.plain(wanted, depth),
        }
    }

    /// A number, a truth value, or the name of a type and a value of it.
    fn plain(&mut self, wanted: &str, depth: usize) -> Result<Value, String> {
        let word = self.word();
        if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == word) {
            return self.value(agreed(wanted, kind)?, depth + 1);
        }
        match word {
            "true" | "false" => agreed(wanted, "b").map(|_| Value::Bool(word == "true")),
            _ => number(word, wanted),
        }
    }

    fn text(&mut self, wanted: &str) -> Result<Value, String> {
        let text = self.quoted()?;
        match wanted {
            "" | "s" => Ok(Value::Text(text)),
            "o" => Ok(Value::Path(text)),
            "g" if is_signature(&text) => Ok(Value::Signature(text)),
            other => Err(format!("{text:?} is not of type {other:?}")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '\'' | '"')) => out.push(c),
                Some(kind @ ('u' | 'U')) => {
                    let digits = if kind == 'u' { 4 } else { 8 };
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    out.push(c.ok_or_else(|| format!("\\{kind}{hex} is no character"))?);
                }
                other => return Err(format!("unknown escape \\{}", other.unwrap_or(' '))),
            }
        }
        Err("a text without its end".to_string())
    }

    fn array(&mut self, wanted: &str, depth: usize) -> Result<Value, String> {
        let mut element = match wanted {
            "" => String::new(),
            _ => wanted
                .strip_prefix('a')
                .filter(|e| !e.starts_with('{'))
                .ok_or_else(|| format!("an array is not of type {wanted:?}"))?
                .to_string(),
        };
        self.expect('[')?;
        let mut list = Vec::new();
        while !self.eat(']') {
            if !list.is_empty() {
                self.expect(',')?;
            }
            // The first element decides for all.
            let value = self.value(&element, depth + 1)?;
            element = value.signature();
            list.push(value);
        }
        if element.is_empty() {
            return Err("the type of an empty array cannot be guessed: write @as [] or the like".to_string());
        }
        Ok(Value::Array(element, list))
    }

    fn dictionary(&mut self, wanted: &str, depth: usize) -> Result<Value, String> {
        let types = wanted
            .strip_prefix("a{")
            .and_then(|t| t.strip_suffix('}'))
            .unwrap_or_default();
        if types.is_empty() && !wanted.is_empty() {
            return Err(format!("a dictionary is not of type {wanted:?}"));
        }
        let (mut key_type, mut value_type) = match types {
            "" => (String::new(), String::new()),
            _ => first_type(types)
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .map_err(|e| e.to_string())?,
        };
        self.expect('{')?;
        let mut list = Vec::new();
        while !self.eat('}') {
            if !list.is_empty() {
                self.expect(',')?;
            }
            let key = self.value(&key_type, depth + 1)?;
            self.expect(':')?;
            let value = self.value(&value_type, depth + 1)?;
            (key_type, value_type) = (key.signature(), value.signature());
            list.push(Value::Entry(Box::new((key, value))));
        }
        if key_type.is_empty() {
            return Err(
                "the type of an empty dictionary cannot be guessed: write @a{sv} {} or the like".to_string(),
            );
        }
        Ok(Value::Array(format!("{{{key_type}{value_type}}}"), list))
    }

    fn structure(&mut self, wanted: &str, depth: usize) -> Result<Value, String> {
        let mut types = wanted
            .strip_prefix('(')
            .and_then(|t| t.strip_suffix(')'))
            .unwrap_or_default();
        if types.is_empty() && !wanted.is_empty() {
            return Err(format!("a structure is not of type {wanted:?}"));
        }
        self.expect('(')?;
        let mut list = Vec::new();
        while !self.eat(')') {
            if !list.is_empty() {
                self.expect(',')?;
                if self.eat(')') {
                    break;
                }
            }
            let (one, rest) = match types {
                "" if wanted.is_empty() => ("", ""),
                _ => first_type(types).map_err(|e| e.to_string())?,
            };
            types = rest;
            list.push(self.value(one, depth + 1)?);
        }
        if list.is_empty() || !types.is_empty() {
            return Err("a structure with too few fields".to_string());
        }
        Ok(Value::Struct(list))
    }
}

fn is_signature(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        match first_type(rest) {
            Ok((_, more)) => rest = more,
            Err(_) => return false,
        }
    }
    text.len() <= 255
}

/// The type that is meant: the context's, unless the text says another.
fn agreed<'a>(wanted: &'a str, said: &'a str) -> Result<&'a str, String> {
    if wanted.is_empty() || wanted == said {
        Ok(said)
    } else {
        Err(format!("a value of type {said:?} where {wanted:?} is expected"))
    }
}

/// Without a type a number is an int32, or a double when it has a point or an exponent.
fn number(word: &str, wanted: &str) -> Result<Value, String> {
    let wrong = || {
        format!(
            "{word:?} is not a value of type {:?}",
            if wanted.is_empty() { "i" } else { wanted }
        )
    };
    let kind = match wanted {
        "" if is_float(word) => "d",
        "" => "i",
        kind => kind,
    };
    if kind == "d" {
        return word.parse().map(Value::Double).map_err(|_| wrong());
    }
    let n = integer(word).ok_or_else(wrong)?;
    let value = match kind {
        "y" => u8::try_from(n).map(Value::Byte),
        "n" => i16::try_from(n).map(Value::Int16),
        "q" => u16::try_from(n).map(Value::Uint16),
        "i" => i32::try_from(n).map(Value::Int32),
        "u" => u32::try_from(n).map(Value::Uint32),
        "x" => i64::try_from(n).map(Value::Int64),
        "t" => u64::try_from(n).map(Value::Uint64),
        _ => return Err(wrong()),
    };
    value.map_err(|_| wrong())
}

fn is_float(word: &str) -> bool {
    !word.contains("0x") && (word.contains('.') || word.contains(['e', 'E'])) && word.parse::<f64>().is_ok()
}

/// Decimal, `0x` hexadecimal or `0` octal, with a sign.
fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let n = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(&digits[1..], 8),
        None => digits.parse(),
    }
    .ok()?;
    Some(if negative { -n } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (text, signature, shown) in [
            ("true", "b", "true"),
            ("5", "i", "5"),
            ("-0x10", "i", "-16"),
            ("010", "i", "8"),
            ("1.5", "d", "1.5"),
            ("uint64 5", "t", "5"),
            ("@t 18446744073709551615", "t", "infinity"),
            ("byte 0x7", "y", "0x07"),
            ("'inactive-or-failed'", "s", "'inactive-or-failed'"),
            ("\"it's\\n\\u00e4\"", "s", "'it's\nä'"),
            ("objectpath '/a'", "o", "'/a'"),
            ("['a', 'b']", "as", "['a', 'b']"),
            ("@as []", "as", "[]"),
            ("[uint32 1, 2]", "au", "[1, 2]"),
            ("@a(ss) [('/dev/null', 'rw')]", "a(ss)", "[('/dev/null', 'rw')]"),
            ("{'a': <5>}", "a{sv}", "['a': <5>]"),
            ("@a{sv} {}", "a{sv}", "[]"),
            ("<'x'>", "v", "<'x'>"),
            ("b'ab'", "ay", "[0x61, 0x62, 0x00]"),
            ("  [ [1] , [2,3] ] ", "aai", "[[1], [2, 3]]"),
        ] {
            let value = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (value.signature().as_str(), value.to_string().as_str()),
                (signature, shown),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "5 6",
            "[]",
            "{}",
            "'a",
            "[1, 'a']",
            "byte 256",
            "uint64 -1",
            "'\\x'",
            "@",
            "@ii 5",
            "[1",
            "{1}",
            "()",
            "nan",
            "signature '('",
            "5000000000",
            "@(ss) ('a')",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        assert!(parse(&"[".repeat(5000)).is_err());
    }

    #[test]
    fn names_and_times() {
        let from = |pairs: &[(&str, &str)]| {
            let annotations = pairs
                .iter()
                .map(|(k, v)| (format!("{PREFIX}{k}"), v.to_string()))
                .chain([("other".to_string(), "(".to_string())])
                .collect();
            let mut problems = Problems::default();
            let properties = properties(&annotations, &mut problems);
            let shown: Vec<String> = properties
                .iter()
                .map(|p| format!("{}={}", p.name, p.value))
                .collect();
            (shown, problems.into_result().err().map(|e| e.to_string()))
        };
        let (got, wrong) = from(&[
            ("TimeoutStopSec", "uint64 12"),
            ("RuntimeMaxUSec", "uint64 7"),
            ("StartSec", "1.5"),
            ("CollectMode", "'inactive-or-failed'"),
            ("Sec", "5"),
        ]);
        assert_eq!(wrong, None);
        assert_eq!(
            got,
            [
                "CollectMode='inactive-or-failed'",
                "RuntimeMaxUSec=7",
                "Sec=5",
                "StartUSec=1500000",
                "TimeoutStopUSec=12000000",
            ]
        );
        let (got, wrong) = from(&[
            ("ab", "1"),
            ("A_b", "1"),
            ("TimeoutStopSec", "'x'"),
            ("Good", "true"),
        ]);
        assert_eq!(got, ["Good=true"]);
        let wrong = wrong.unwrap();
        for part in [
            "annotation org.systemd.property.ab name incorrect: too short",
            "annotation org.systemd.property.A_b name incorrect: contains non-alphabetic character",
            "annotation org.systemd.property.TimeoutStopSec='x' value parse error: not a number",
        ] {
            assert!(wrong.contains(part), "{wrong}");
        }
    }
}
