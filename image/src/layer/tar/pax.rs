//! Extended headers: records `LENGTH KEY=VALUE\n` (POSIX pax, "pax Extended Header").
//!
//! May not: be lenient. A record that two programs could read differently is refused.

use super::{Limits, Time};
use crate::{Error, Result};

/// What the records say, as far as anybody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Time>,
    /// Later ones win; SCHILY's before LIBARCHIVE's.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    libarchive: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Sparse,
}

/// GNU's sparse files in PAX headers, versions 0.0, 0.1 and 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.realsize`, or `GNU.sparse.size` of version 0.
    pub real_size: Option<u64>,
    /// Offset, length, offset, length: of version 0.0 from single records, of 0.1 from one.
    pub map: Vec<u64>,
    /// There was an offset or a map, even if an empty one.
    pub has_map: bool,
}

impl Records {
    /// The records of one header.
    pub fn parse(mut bytes: &[u8], limits: &Limits) -> Result<Records> {
        let mut records = Records::default();
        while !bytes.is_empty() {
            let (key, value, rest) = split(bytes)?;
            records.take(key, value, limits)?;
            bytes = rest;
        }
        for (name, value) in std::mem::take(&mut records.libarchive) {
            if !records.xattrs.iter().any(|(n, _)| *n == name) {
                records.xattrs.push((name, value));
            }
        }
        let xattr_bytes: usize = records.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        if xattr_bytes > limits.xattrs {
            return Err(Error::corrupt(format!(
                "a tar entry has {xattr_bytes} bytes of extended attributes; {} are allowed",
                limits.xattrs
            )));
        }
        Ok(records)
    }

    /// Of a global header, which holds for all entries behind it. What names or measures one file makes no sense there, and
    /// readers differ in what they do about it.
    pub fn parse_global(bytes: &[u8], limits: &Limits) -> Result<Records> {
        let records = Records::parse(bytes, limits)?;
        if records.path.is_some()
            || records.link.is_some()
            || records.size.is_some()
            || records.sparse != Sparse::default()
        {
            return Err(Error::corrupt(
                "a global PAX header gives a path, a size or a sparse map to every file",
            ));
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<()> {
        let names_attribute = |name: &[u8]| -> Result<Vec<u8>> {
            if name.is_empty() || name.contains(&0) {
                return Err(malformed("name of an extended attribute"));
            }
            Ok(name.to_vec())
        };
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            let name = names_attribute(name)?;
            put(&mut self.xattrs, name, value.to_vec());
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = names_attribute(&percent(name)?)?;
            put(&mut self.libarchive, name, base64(value)?);
            return Ok(());
        }
        if key.contains(&0) {
            return Err(malformed("key"));
        }
        // An empty value takes the record back: the field of the header counts again.
        let given = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = given(text(value, limits)?),
            b"linkpath" => self.link = given(text(value, limits)?),
            b"size" => self.size = decimal_or_nothing(value)?,
            b"uid" => self.uid = id(value)?,
            b"gid" => self.gid = id(value)?,
            b"mtime" => {
                self.mtime = if value.is_empty() {
                    None
                } else {
                    Some(time(value)?)
                }
            }
            b"GNU.sparse.major" => self.sparse.major = decimal_or_nothing(value)?,
            b"GNU.sparse.minor" => self.sparse.minor = decimal_or_nothing(value)?,
            b"GNU.sparse.name" => self.sparse.name = given(text(value, limits)?),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse.real_size = decimal_or_nothing(value)?;
            }
            b"GNU.sparse.offset" => self.sparse.push(0, value, limits)?,
            b"GNU.sparse.numbytes" => self.sparse.push(1, value, limits)?,
            b"GNU.sparse.map" => self.sparse.take_map(value, limits)?,
            // Times of access, names of owners, comments, what other programs keep for themselves.
            _ => {}
        }
        Ok(())
    }
}

impl Sparse {
    /// Version 0.0: offsets and lengths take turns.
    fn push(&mut self, turn: usize, value: &[u8], limits: &Limits) -> Result<()> {
        if self.map.len() % 2 != turn || self.map.len() / 2 >= limits.sparse {
            return Err(malformed("sparse map"));
        }
        self.has_map = true;
        self.map
            .push(decimal(value).ok_or_else(|| malformed("sparse map"))?);
        Ok(())
    }

    /// Version 0.1.
    fn take_map(&mut self, value: &[u8], limits: &Limits) -> Result<()> {
        self.map.clear();
        self.has_map = true;
        if value.is_empty() {
            return Ok(());
        }
        for part in value.split(|b| *b == b',') {
            if self.map.len() / 2 >= limits.sparse {
                return Err(malformed("sparse map"));
            }
            self.map
                .push(decimal(part).ok_or_else(|| malformed("sparse map"))?);
        }
        Ok(())
    }
}

/// The first record and what is behind it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let space = bytes
        .iter()
        .position(|b| *b == b' ')
        .ok_or_else(|| malformed("record"))?;
    let length = decimal(&bytes[..space]).ok_or_else(|| malformed("length"))?;
    let length = usize::try_from(length).map_err(|_| malformed("length"))?;
    // At least "5 k=\n", within the header, with a line's end where the length says.
    if length < space + 4 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(malformed("length"));
    }
    let record = &bytes[space + 1..length - 1];
    let equals = record
        .iter()
        .position(|b| *b == b'=')
        .ok_or_else(|| malformed("record"))?;
    if equals == 0 {
        return Err(malformed("key"));
    }
    Ok((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn put(list: &mut Vec<(Vec<u8>, Vec<u8>)>, name: Vec<u8>, value: Vec<u8>) {
    list.retain(|(n, _)| *n != name);
    list.push((name, value));
}

fn text<'a>(value: &'a [u8], limits: &Limits) -> Result<&'a [u8]> {
    if value.contains(&0) {
        return Err(malformed("path"));
    }
    if value.len() > limits.path {
        return Err(Error::corrupt(format!(
            "a tar entry has a path of {} bytes; {} are allowed",
            value.len(),
            limits.path
        )));
    }
    Ok(value)
}

/// Digits only: no sign, no space, not empty.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, b| match b {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

fn decimal_or_nothing(value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    // Sizes are signed in every reader.
    match decimal(value) {
        Some(number) if number <= i64::MAX as u64 => Ok(Some(number)),
        _ => Err(malformed("number")),
    }
}

fn id(value: &[u8]) -> Result<Option<u32>> {
    match decimal_or_nothing(value)? {
        None => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(id) if id != u32::MAX => Ok(Some(id)),
            _ => Err(malformed("owner")),
        },
    }
}

/// `[-]SECONDS[.FRACTION]`, cut after nanoseconds, towards the past as the kernel counts.
fn time(value: &[u8]) -> Result<Time> {
    let wrong = || malformed("time");
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let seconds = decimal(whole)
        .and_then(|s| i64::try_from(s).ok())
        .ok_or_else(wrong)?;
    let mut nanoseconds = 0u32;
    for i in 0..9 {
        nanoseconds = nanoseconds * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds: 0,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

/// Names of attributes are written as in a URL.
fn percent(name: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(malformed("name of an extended attribute")),
        }
    }
    Ok(out)
}

/// libarchive leaves the padding out.
fn base64(value: &[u8]) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let end = value.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(&value[..end])
        .map_err(|_| malformed("value of an extended attribute"))
}

fn malformed(what: &str) -> Error {
    Error::corrupt(format!("a PAX header has a malformed {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Records> {
        Records::parse(bytes, &Limits::default())
    }

    #[test]
    fn records() {
        let r = parse(b"12 path=a/b\n9 uid=12\n8 gid=3\n21 mtime=12.34567891\n11 path=c\xff\n12 comment=\n")
            .unwrap();
        assert_eq!(r.path.unwrap(), b"c\xff");
        assert_eq!((r.uid, r.gid), (Some(12), Some(3)));
        let t = r.mtime.unwrap();
        assert_eq!((t.seconds, t.nanoseconds), (12, 345_678_910));
        assert_eq!(parse(b"").unwrap(), Records::default());
    }

    /// A record with the right length.
    fn record(text: &str) -> Vec<u8> {
        let mut length = text.len() + 3;
        while length != text.len() + 2 + length.to_string().len() {
            length += 1;
        }
        format!("{length} {text}\n").into_bytes()
    }

    #[test]
    fn malformed_records_are_refused() {
        assert!(parse(&record("path=a/b")).is_ok());
        for bytes in [
            &b"12 path=a/b"[..],
            b"13 path=a/b\n\0",
            b"11 path=a/b\n",
            b"12path=a/b\n",
            b"+12 path=ab\n",
            b" 12 path=a\n",
            b"11\tpath=a/b\n",
            b"4 =\n",
            b"99999999999999999999999 path=a\n",
            b"3 \n\n",
            b"0 path=a\n",
        ] {
            assert!(parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        for text in [
            "=ab",
            "path",
            "path=a\0bc",
            "linkpath=\0",
            "a\0b=c",
            "size=-12",
            "size= 12",
            "size=+12",
            "size=0x12",
            "size=9223372036854775808",
            "uid=4294967295",
            "gid=4294967296",
            "mtime=1x",
            "mtime=1.x",
            "mtime=-",
            "mtime=.5",
            "mtime=99999999999999999999",
            "SCHILY.xattr.=ab",
            "SCHILY.xattr.a\0b=ab",
            "LIBARCHIVE.xattr.user.%6=eno",
            "LIBARCHIVE.xattr.user.a=e!o",
            "GNU.sparse.map=1,",
            "GNU.sparse.numbytes=1",
        ] {
            assert!(parse(&record(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_before_the_epoch() {
        for (text, seconds, nanoseconds) in [
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("0.0000000019", 0, 1),
            ("7.", 7, 0),
        ] {
            assert_eq!(time(text.as_bytes()).unwrap(), Time { seconds, nanoseconds });
        }
    }

    #[test]
    fn attributes_of_both_schools() {
        let r = parse(b"29 SCHILY.xattr.user.a=x=\ny\n\n31 LIBARCHIVE.xattr.user.a=eno\n34 LIBARCHIVE.xattr.user.%62=eno=\n")
            .unwrap();
        let expected: [(&[u8], &[u8]); 2] = [(b"user.a", b"x=\ny\n"), (b"user.b", b"zz")];
        assert_eq!(r.xattrs.len(), 2, "{:?}", r.xattrs);
        for ((name, value), (n, v)) in r.xattrs.iter().zip(expected) {
            assert_eq!((name.as_slice(), value.as_slice()), (n, v));
        }
    }

    #[test]
    fn no_global_path() {
        let limits = Limits::default();
        assert!(Records::parse_global(b"9 path=a\n", &limits).is_err());
        assert!(Records::parse_global(b"9 uid=12\n17 comment=hello\n", &limits).is_ok());
    }
}
