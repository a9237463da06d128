//! Tar archives, written entry by entry in whichever dialect a case wants.
//!
//! May not: read one, or share code with what reads them here. Three dialects say the same with other bytes: `Plain` (ustar,
//! GNU's extensions where a field is too small), `Gnu` (its own magic, long names, base-256 numbers) and `Pax` (records).

const BLOCK: usize = 512;

/// How a header says what its fields cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Gnu,
    Pax,
}

/// What an entry is, with what belongs to that kind only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File(Vec<u8>),
    /// A file of this size that is zero but for these pieces, which lie in order and do not touch.
    Sparse(u64, Vec<(u64, Vec<u8>)>),
    Directory,
    Symlink(String),
    Hardlink(String),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub path: String,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds, and nanoseconds that only `Pax` can say.
    pub mtime: (u64, u32),
    /// Only `Pax` can say them.
    pub attributes: Vec<(String, Vec<u8>)>,
    pub dialect: Dialect,
}

impl Entry {
    pub fn new(path: &str, kind: Kind) -> Entry {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Entry {
            path: path.to_owned(),
            kind,
            mode,
            owner: (0, 0),
            mtime: (1_700_000_000, 0),
            attributes: Vec::new(),
            dialect: Dialect::Pax,
        }
    }

    pub fn directory(path: &str) -> Entry {
        Entry::new(path, Kind::Directory)
    }

    pub fn file(path: &str, content: &[u8]) -> Entry {
        Entry::new(path, Kind::File(content.to_vec()))
    }

    pub fn symlink(path: &str, target: &str) -> Entry {
        Entry::new(path, Kind::Symlink(target.to_owned()))
    }

    pub fn hardlink(path: &str, target: &str) -> Entry {
        Entry::new(path, Kind::Hardlink(target.to_owned()))
    }

    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, user: u32, group: u32) -> Entry {
        self.owner = (user, group);
        self
    }

    pub fn mtime(mut self, seconds: u64, nanoseconds: u32) -> Entry {
        self.mtime = (seconds, nanoseconds);
        self
    }

    pub fn attribute(mut self, name: &str, value: &[u8]) -> Entry {
        self.attributes.push((name.to_owned(), value.to_vec()));
        self
    }

    pub fn gnu(mut self) -> Entry {
        self.dialect = Dialect::Gnu;
        self
    }

    fn type_flag(&self) -> u8 {
        match (&self.kind, self.dialect) {
            (Kind::Sparse(..), Dialect::Gnu) => b'S',
            (Kind::File(_) | Kind::Sparse(..), _) => b'0',
            (Kind::Hardlink(_), _) => b'1',
            (Kind::Symlink(_), _) => b'2',
            (Kind::Character(..), _) => b'3',
            (Kind::Block(..), _) => b'4',
            (Kind::Directory, _) => b'5',
            (Kind::Fifo, _) => b'6',
        }
    }

    fn link(&self) -> &str {
        match &self.kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => target,
            _ => "",
        }
    }
}

/// A whole archive, with its end.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        append(&mut tar, entry);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn append(tar: &mut Vec<u8>, entry: &Entry) {
    let mut name = entry.path.clone();
    if entry.kind == Kind::Directory && !name.ends_with('/') {
        name.push('/');
    }
    match entry.dialect {
        Dialect::Gnu => {
            for (long, flag) in [(name.as_str(), b'L'), (entry.link(), b'K')] {
                if long.len() > 100 {
                    let text = [long.as_bytes(), b"\0"].concat();
                    let mut header = Header::new(Dialect::Gnu, "././@LongLink", flag);
                    header.number(124, 12, text.len() as u64);
                    header.finish(tar);
                    tar.extend(text);
                    pad(tar);
                }
            }
        }
        Dialect::Pax => {
            let records = records(entry, &name);
            if !records.is_empty() {
                let mut header = Header::new(Dialect::Pax, "PaxHeaders/x", b'x');
                header.number(124, 12, records.len() as u64);
                header.finish(tar);
                tar.extend(records);
                pad(tar);
            }
        }
    }
    let body = match &entry.kind {
        Kind::File(content) => content.clone(),
        Kind::Sparse(_, pieces) => sparse_body(entry.dialect, pieces),
        _ => Vec::new(),
    };
    let mut header = Header::new(entry.dialect, &name, entry.type_flag());
    header.number(100, 8, u64::from(entry.mode));
    header.number(108, 8, u64::from(entry.owner.0));
    header.number(116, 8, u64::from(entry.owner.1));
    header.number(124, 12, body.len() as u64);
    header.number(136, 12, entry.mtime.0);
    header.text(157, 100, entry.link());
    if let Kind::Character(major, minor) | Kind::Block(major, minor) = entry.kind {
        header.number(329, 8, u64::from(major));
        header.number(337, 8, u64::from(minor));
    }
    if let (Kind::Sparse(size, pieces), Dialect::Gnu) = (&entry.kind, entry.dialect) {
        // Four pieces fit into the header itself; more are not needed here.
        for (n, (offset, data)) in pieces.iter().take(4).enumerate() {
            header.number(386 + 24 * n, 12, *offset);
            header.number(398 + 24 * n, 12, data.len() as u64);
        }
        header.number(483, 12, *size);
    }
    header.finish(tar);
    tar.extend(body);
    pad(tar);
}

/// The records that a PAX header needs; none when its fields say everything.
fn records(entry: &Entry, name: &str) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &str, value: &[u8]| records.extend(record(key, value));
    if let Kind::Sparse(size, _) = &entry.kind {
        add("GNU.sparse.major", b"1");
        add("GNU.sparse.minor", b"0");
        add("GNU.sparse.name", name.as_bytes());
        add("GNU.sparse.realsize", size.to_string().as_bytes());
    } else if name.len() > 100 || !name.is_ascii() {
        add("path", name.as_bytes());
    }
    if entry.link().len() > 100 || !entry.link().is_ascii() {
        add("linkpath", entry.link().as_bytes());
    }
    for (key, id) in [("uid", entry.owner.0), ("gid", entry.owner.1)] {
        if id > 0o777_7777 {
            add(key, id.to_string().as_bytes());
        }
    }
    if entry.mtime.1 != 0 {
        add(
            "mtime",
            format!("{}.{:09}", entry.mtime.0, entry.mtime.1).as_bytes(),
        );
    }
    for (key, value) in &entry.attributes {
        add(&format!("SCHILY.xattr.{key}"), value);
    }
    records
}

/// "LENGTH KEY=VALUE\n", where the length counts its own digits.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 3 + key.len() + value.len();
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [
        length.to_string().as_bytes(),
        b" ",
        key.as_bytes(),
        b"=",
        value,
        b"\n",
    ]
    .concat()
}

fn sparse_body(dialect: Dialect, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    if dialect == Dialect::Pax {
        body.extend(format!("{}\n", pieces.len()).bytes());
        for (offset, data) in pieces {
            body.extend(format!("{offset}\n{}\n", data.len()).bytes());
        }
        pad(&mut body);
    }
    for (_, data) in pieces {
        body.extend(data);
    }
    body
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
}

struct Header {
    bytes: [u8; BLOCK],
    dialect: Dialect,
}

impl Header {
    fn new(dialect: Dialect, name: &str, flag: u8) -> Header {
        let mut header = Header {
            bytes: [0; BLOCK],
            dialect,
        };
        header.text(0, 100, name);
        for (at, width) in [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12)] {
            header.number(at, width, 0);
        }
        header.put(156, &[flag]);
        header.put(
            257,
            match dialect {
                Dialect::Gnu => b"ustar  \0",
                Dialect::Pax => b"ustar\x0000",
            },
        );
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.bytes.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// As much of a text as the field holds; the rest was said before, by a record or a long name.
    fn text(&mut self, at: usize, width: usize, text: &str) {
        let bytes = text.as_bytes();
        self.put(at, bytes.get(..width).unwrap_or(bytes));
    }

    /// In octal, else in base 256 (GNU), else zero: a record has said it.
    fn number(&mut self, at: usize, width: usize, value: u64) {
        let octal = format!("{value:0digits$o}\0", digits = width - 1);
        if octal.len() == width {
            self.put(at, octal.as_bytes());
        } else if self.dialect == Dialect::Gnu {
            let mut field = vec![0u8; width];
            field[0] = 0x80;
            field[width - 8..].copy_from_slice(&value.to_be_bytes());
            field[0] |= 0x80;
            self.put(at, &field);
        } else {
            self.put(at, format!("{:0digits$o}\0", 0, digits = width - 1).as_bytes());
        }
    }

    fn finish(mut self, tar: &mut Vec<u8>) {
        self.put(148, b"        ");
        let sum: u32 = self.bytes.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        tar.extend(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        assert_eq!(record("a", b"b"), b"6 a=b\n");
        assert_eq!(record("path", &[b'x'; 90]).len(), 99);
        assert!(record("path", &[b'x'; 91]).starts_with(b"101 path="));
    }

    #[test]
    fn an_archive_is_whole_blocks_with_sums() {
        let tar = archive(&[
            Entry::file("a", b"text"),
            Entry::directory(&"d".repeat(120)).gnu(),
        ]);
        assert_eq!(tar.len() % BLOCK, 0);
        let sum: u32 = tar[..BLOCK]
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        assert_eq!(&tar[148..154], format!("{sum:06o}").as_bytes());
    }

    #[test]
    fn great_numbers_are_base_256() {
        let entry = Entry::file("a", b"").owner(3_000_000, 0).gnu();
        let tar = archive(&[entry]);
        assert_eq!(tar[108], 0x80);
        assert_eq!(&tar[112..116], &3_000_000u32.to_be_bytes());
    }
}
