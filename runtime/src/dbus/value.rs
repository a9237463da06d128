//! Values of the D-Bus type system, and how they lie in a message (D-Bus specification, "Type System" and "Marshaling").
//!
//! Pure: no system calls. Nothing that comes from a peer is trusted: every length is checked against what is left, and
//! nesting is bounded.

use std::fmt;

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`: the type of the elements (there may be none), and the elements.
    Array(String, Vec<Value>),
    /// `(...)`
    Struct(Vec<Value>),
    /// `{..}`, only as element of an array.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

/// Deeper nesting is refused; the specification allows 32 arrays in 32 structures.
const DEEPEST: usize = 64;

/// What is wrong with a message or a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed D-Bus message: {}", self.0)
    }
}

impl Value {
    /// A list of texts, `as`.
    pub fn texts<S: Into<String>>(list: impl IntoIterator<Item = S>) -> Value {
        let list = list.into_iter().map(|t| Value::Text(t.into())).collect();
        Value::Array("s".into(), list)
    }

    /// Bytes, `ay`.
    pub fn bytes(list: &[u8]) -> Value {
        Value::Array("y".into(), list.iter().copied().map(Value::Byte).collect())
    }

    /// Its type.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::Int16(_) => "n".into(),
            Value::Uint16(_) => "q".into(),
            Value::Int32(_) => "i".into(),
            Value::Uint32(_) => "u".into(),
            Value::Int64(_) => "x".into(),
            Value::Uint64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Text(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(fields) => format!("({})", signature_of(fields)),
            Value::Entry(pair) => format!("{{{}{}}}", pair.0.signature(), pair.1.signature()),
            Value::Variant(_) => "v".into(),
        }
    }

    /// The text of `s`, `o` or `g`; a variant is looked into.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(t) | Value::Path(t) | Value::Signature(t) => Some(t),
            Value::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        pad(out, alignment(first_byte(&self.signature())));
        match self {
            Value::Byte(n) => out.push(*n),
            Value::Bool(b) => out.extend(u32::from(*b).to_le_bytes()),
            Value::Int16(n) => out.extend(n.to_le_bytes()),
            Value::Uint16(n) => out.extend(n.to_le_bytes()),
            Value::Int32(n) => out.extend(n.to_le_bytes()),
            Value::Uint32(n) => out.extend(n.to_le_bytes()),
            Value::Int64(n) => out.extend(n.to_le_bytes()),
            Value::Uint64(n) => out.extend(n.to_le_bytes()),
            Value::Double(n) => out.extend(n.to_le_bytes()),
            Value::Text(t) | Value::Path(t) => {
                out.extend((t.len() as u32).to_le_bytes());
                out.extend(t.as_bytes());
                out.push(0);
            }
            Value::Signature(t) => write_signature(t, out),
            Value::Array(element, list) => write_array(element, list, out),
            Value::Struct(fields) => fields.iter().for_each(|f| f.write(out)),
            Value::Entry(pair) => {
                pair.0.write(out);
                pair.1.write(out);
            }
            Value::Variant(inner) => {
                write_signature(&inner.signature(), out);
                inner.write(out);
            }
        }
    }
}

/// As gvariant text, near enough for people.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[Value]| {
            items.iter().enumerate().try_for_each(|(n, item)| {
                f.write_str(if n > 0 { ", " } else { "" })?;
                write!(f, "{item}")
            })
        };
        match self {
            Value::Byte(n) => write!(f, "{n:#04x}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int16(n) => write!(f, "{n}"),
            Value::Uint16(n) => write!(f, "{n}"),
            Value::Int32(n) => write!(f, "{n}"),
            Value::Uint32(n) => write!(f, "{n}"),
            Value::Int64(n) => write!(f, "{n}"),
            Value::Uint64(u64::MAX) => f.write_str("infinity"),
            Value::Uint64(n) => write!(f, "{n}"),
            Value::Double(n) => write!(f, "{n}"),
            Value::Text(t) | Value::Path(t) | Value::Signature(t) => write!(f, "'{t}'"),
            Value::Array(_, items) => {
                f.write_str("[")?;
                list(f, items)?;
                f.write_str("]")
            }
            Value::Struct(items) => {
                f.write_str("(")?;
                list(f, items)?;
                f.write_str(")")
            }
            Value::Entry(pair) => write!(f, "{}: {}", pair.0, pair.1),
            Value::Variant(inner) => write!(f, "<{inner}>"),
        }
    }
}

/// The types of a row of values.
pub fn signature_of(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// A row of values as the body of a message. Bodies begin at a multiple of eight, so counting from their own start is right.
pub fn write_body(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|v| v.write(&mut out));
    out
}

fn write_signature(text: &str, out: &mut Vec<u8>) {
    // Ours are short, and those of annotations are checked by their parser.
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
    out.push(0);
}

fn write_array(element: &str, list: &[Value], out: &mut Vec<u8>) {
    let length_at = out.len();
    out.extend([0; 4]);
    // The padding before the first element does not count, and is there even when no element is.
    pad(out, alignment(first_byte(element)));
    let start = out.len();
    list.iter().for_each(|v| v.write(out));
    let length = (out.len() - start) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn first_byte(signature: &str) -> u8 {
    signature.bytes().next().unwrap_or(b'y')
}

fn alignment(kind: u8) -> usize {
    match kind {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4, // b i u h s o a
    }
}

/// Reads the row of values that `signature` describes; all of `data` must be used up.
pub fn read_body(signature: &str, data: &[u8]) -> Result<Vec<Value>, Malformed> {
    let mut reader = Reader { data, at: 0 };
    let values = reader.row(signature, 0)?;
    if reader.at == data.len() {
        Ok(values)
    } else {
        Err(Malformed("bytes behind the body"))
    }
}

/// Splits the first complete type off a signature.
pub fn first_type(signature: &str) -> Result<(&str, &str), Malformed> {
    let end = end_of_type(signature.as_bytes(), 0)?;
    Ok(signature.split_at(end))
}

fn end_of_type(s: &[u8], depth: usize) -> Result<usize, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed("nested too deeply"));
    }
    match s.first() {
        Some(b'a') => Ok(1 + end_of_type(&s[1..], depth + 1)?),
        Some(open @ (b'(' | b'{')) => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while s.get(at) != Some(&close) {
                at += end_of_type(s.get(at..).unwrap_or_default(), depth + 1)?;
            }
            Ok(at + 1)
        }
        Some(
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b'h' | b's' | b'o' | b'g' | b'v',
        ) => Ok(1),
        _ => Err(Malformed("unknown type in a signature")),
    }
}

/// A cursor over the bytes of a message, counted from where alignment counts.
pub(super) struct Reader<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn row(&mut self, mut signature: &str, depth: usize) -> Result<Vec<Value>, Malformed> {
        let mut out = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = first_type(signature)?;
            out.push(self.value(first, depth)?);
            signature = rest;
        }
        Ok(out)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.data.len());
        let end = end.ok_or(Malformed("it ends too early"))?;
        let out = &self.data[self.at..end];
        self.at = end;
        Ok(out)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Malformed("it ends too early"))
    }

    pub(super) fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let bytes = self.take(length)?;
        if self.take(1)? != [0] {
            return Err(Malformed("a text without its end"));
        }
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a text that is not UTF-8"))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.array::<1>()?[0] as usize;
        self.terminated(length)
    }

    fn value(&mut self, signature: &str, depth: usize) -> Result<Value, Malformed> {
        if depth > DEEPEST {
            return Err(Malformed("nested too deeply"));
        }
        Ok(match first_byte(signature) {
            b'y' => Value::Byte(self.array::<1>()?[0]),
            b'b' => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed("a boolean that is neither 0 nor 1")),
            },
            b'n' => Value::Int16(i16::from_le_bytes(self.array()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.array()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.array()?)),
            // A descriptor's index; none is ever sent, because we did not agree to it.
            b'u' | b'h' => Value::Uint32(self.u32()?),
            b'x' => Value::Int64(i64::from_le_bytes(self.array()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.array()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.array()?)),
            b's' => Value::Text(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.elements(&signature[1..], depth)?,
            b'(' => {
                self.align(8)?;
                Value::Struct(self.row(&signature[1..signature.len() - 1], depth + 1)?)
            }
            b'{' => self.entry(&signature[1..signature.len() - 1], depth)?,
            b'v' => {
                let inner = self.signature()?;
                match first_type(&inner)? {
                    (one, "") => Value::Variant(Box::new(self.value(one, depth + 1)?)),
                    _ => return Err(Malformed("a variant of several types")),
                }
            }
            _ => return Err(Malformed("unknown type in a signature")),
        })
    }

    fn entry(&mut self, signature: &str, depth: usize) -> Result<Value, Malformed> {
        self.align(8)?;
        let (key, value) = first_type(signature)?;
        let (value, rest) = first_type(value)?;
        if !rest.is_empty() {
            return Err(Malformed("a dictionary entry of more than two"));
        }
        let pair = (self.value(key, depth + 1)?, self.value(value, depth + 1)?);
        Ok(Value::Entry(Box::new(pair)))
    }

    fn elements(&mut self, element: &str, depth: usize) -> Result<Value, Malformed> {
        let length = self.u32()? as usize;
        self.align(alignment(first_byte(element)))?;
        let end = self.at.checked_add(length).filter(|e| *e <= self.data.len());
        let end = end.ok_or(Malformed("an array that is longer than its message"))?;
        let mut list = Vec::new();
        while self.at < end {
            let before = self.at;
            list.push(self.value(element, depth + 1)?);
            // An empty structure takes no room; it would be read for ever.
            if self.at == before {
                return Err(Malformed("an element without size"));
            }
        }
        if self.at == end {
            Ok(Value::Array(element.to_string(), list))
        } else {
            Err(Malformed("an element that is longer than its array"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: Value) -> Value {
        Value::Struct(vec![Value::Text(name.into()), Value::Variant(Box::new(value))])
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        for (values, expected) in [
            (vec![Value::Byte(7), Value::Uint32(1)], "07 000000 01000000"),
            (vec![Value::Text("ab".into())], "02000000 6162 00"),
            (vec![Value::Signature("a(sv)".into())], "05 6128737629 00"),
            (
                vec![Value::Byte(1), Value::Array("t".into(), vec![Value::Uint64(2)])],
                "01 000000 08000000 0200000000000000",
            ),
            // The padding in front of the elements is there without elements, and is not counted.
            (vec![Value::Array("t".into(), vec![])], "00000000 00000000"),
            (
                vec![Value::Variant(Box::new(Value::Bool(true)))],
                "01 62 00 00 01000000",
            ),
            (
                vec![Value::Struct(vec![Value::Byte(1), Value::Int64(-1)])],
                "01 00000000000000 ffffffffffffffff",
            ),
        ] {
            let hex: String = write_body(&values).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, expected.replace(' ', ""), "{values:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let values = vec![
            Value::Text("machine.scope".into()),
            Value::Array(
                "(sv)".into(),
                vec![
                    property(
                        "PIDs",
                        Value::Array("u".into(), vec![Value::Uint32(1), Value::Uint32(70000)]),
                    ),
                    property("Delegate", Value::Bool(true)),
                    property("AllowedCPUs", Value::bytes(&[1, 2, 3])),
                    property("Wants", Value::texts(["a.slice", "b.slice"])),
                ],
            ),
            Value::Array(
                "{sv}".into(),
                vec![Value::Entry(Box::new((
                    Value::Text("k".into()),
                    Value::Variant(Box::new(Value::Double(1.5))),
                )))],
            ),
            Value::Int16(-3),
            Value::Uint16(3),
            Value::Int32(-4),
            Value::Path("/a/b".into()),
        ];
        let signature = signature_of(&values);
        assert_eq!(signature, "sa(sv)a{sv}nqio");
        assert_eq!(read_body(&signature, &write_body(&values)).unwrap(), values);
    }

    #[test]
    fn nothing_is_believed() {
        for (signature, hex) in [
            ("s", "ff000000 61 00"),
            ("s", "01000000 61 01"),
            ("s", "01000000 ff 00"),
            ("ay", "ffffffff"),
            ("at", "07000000 00000000 00000000000000"),
            ("a()", "01000000 00000000 00"),
            ("b", "02000000"),
            ("v", "02 7575 00 00000000 00000000"),
            ("v", "01 21 00"),
            ("u", "00000000 00"),
            ("(y", "00"),
            ("", "00"),
        ] {
            let hex = hex.replace(' ', "");
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                .collect();
            assert!(read_body(signature, &bytes).is_err(), "{signature} {hex}");
        }
        // Variants in variants, deeper than the stack should go.
        let mut deep = Value::Byte(0);
        for _ in 0..200 {
            deep = Value::Variant(Box::new(deep));
        }
        assert_eq!(
            read_body("v", &write_body(&[deep])),
            Err(Malformed("nested too deeply"))
        );
        assert!(first_type(&"a".repeat(1000)).is_err());
    }

    #[test]
    fn any_cut_message_is_refused() {
        let values = [property("X", Value::texts(["a", "bc"]))];
        let bytes = write_body(&values);
        for end in 0..bytes.len() {
            assert!(read_body("(sv)", &bytes[..end]).is_err(), "{end}");
        }
    }
}
