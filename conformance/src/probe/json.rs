//! JSON text. Writes only; never reads, because the probe asks nothing.

use std::fmt;

/// One JSON value.
pub enum J {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// an integer
    Num(i128),
    /// a string
    Str(String),
    /// an array
    Arr(Vec<J>),
    /// an object, in order
    Obj(Vec<(String, J)>),
}

impl From<&str> for J {
    fn from(s: &str) -> Self {
        J::Str(s.to_owned())
    }
}
impl From<String> for J {
    fn from(s: String) -> Self {
        J::Str(s)
    }
}
impl From<bool> for J {
    fn from(b: bool) -> Self {
        J::Bool(b)
    }
}
macro_rules! number {
    ($($t:ty)*) => {$(impl From<$t> for J { fn from(n: $t) -> Self { J::Num(n as i128) } })*};
}
number!(u8 u16 u32 u64 usize i32 i64);
impl<T: Into<J>> From<Vec<T>> for J {
    fn from(v: Vec<T>) -> Self {
        J::Arr(v.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<J> + Copy, const N: usize> From<[T; N]> for J {
    fn from(v: [T; N]) -> Self {
        J::Arr(v.iter().map(|x| (*x).into()).collect())
    }
}
impl<T: Into<J>> From<Option<T>> for J {
    fn from(v: Option<T>) -> Self {
        v.map_or(J::Null, Into::into)
    }
}
/// A failed call becomes `{"errno": N}`.
impl<T: Into<J>> From<Result<T, i32>> for J {
    fn from(v: Result<T, i32>) -> Self {
        match v {
            Ok(v) => v.into(),
            Err(e) => obj([("errno", e.into())]),
        }
    }
}

/// An object of these members.
pub fn obj<const N: usize>(members: [(&str, J); N]) -> J {
    J::Obj(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn quoted(s: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in s.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            c if (c as u32) < 0x20 => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

impl fmt::Display for J {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            J::Null => f.write_str("null"),
            J::Bool(b) => write!(f, "{b}"),
            J::Num(n) => write!(f, "{n}"),
            J::Str(s) => quoted(s, f),
            J::Arr(v) => {
                f.write_str("[")?;
                for (i, x) in v.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    x.fmt(f)?;
                }
                f.write_str("]")
            }
            J::Obj(v) => {
                f.write_str("{")?;
                for (i, (k, x)) in v.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    quoted(k, f)?;
                    f.write_str(":")?;
                    x.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}
