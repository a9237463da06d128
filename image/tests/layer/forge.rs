//! Archives made by hand, in every dialect, and a source of chance whose seed is printed.

/// A small generator; the same seed gives the same archives everywhere.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(n);
        out
    }
}

/// An entry as the tests speak of it.
#[derive(Clone, Debug, Default)]
pub struct Item {
    pub path: String,
    pub flag: u8,
    pub link: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub major: u32,
    pub minor: u32,
    pub content: Vec<u8>,
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// 0: not sparse; else one of four ways to say it.
    pub sparse: u8,
}

impl Item {
    pub fn new(path: &str, flag: u8) -> Item {
        Item {
            path: path.to_owned(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            ..Item::default()
        }
    }

    pub fn link(path: &str, flag: u8, link: &str) -> Item {
        Item {
            link: link.to_owned(),
            ..Item::new(path, flag)
        }
    }

    pub fn file(path: &str, content: &[u8]) -> Item {
        Item {
            content: content.to_vec(),
            ..Item::new(path, b'0')
        }
    }
}

pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn field(block: &mut [u8], at: usize, width: usize, value: u64) {
    let text = format!("{value:0w$o}", w = width - 1);
    if text.len() < width {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    } else {
        block[at] = 0x80;
        let bytes = value.to_be_bytes();
        let n = (width - 1).min(8);
        block[at + width - n..at + width].copy_from_slice(&bytes[8 - n..]);
    }
}

pub fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// A header of an item with so many bytes behind it.
pub fn header(item: &Item, size: u64, gnu: bool) -> Vec<u8> {
    let mut b = vec![0u8; 512];
    let name = item.path.as_bytes();
    b[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    let link = item.link.as_bytes();
    b[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    field(&mut b, 100, 8, u64::from(item.mode));
    field(&mut b, 108, 8, u64::from(item.uid));
    field(&mut b, 116, 8, u64::from(item.gid));
    field(&mut b, 124, 12, size);
    field(&mut b, 136, 12, item.mtime.0.max(0) as u64);
    b[156] = item.flag;
    b[257..265].copy_from_slice(if gnu { b"ustar  \0" } else { b"ustar\x0000" });
    if matches!(item.flag, b'3' | b'4') {
        field(&mut b, 329, 8, u64::from(item.major));
        field(&mut b, 337, 8, u64::from(item.minor));
    }
    seal(&mut b);
    b
}

pub fn extended(out: &mut Vec<u8>, flag: u8, bytes: &[u8]) {
    let item = Item::new("././@LongLink", flag);
    out.extend(header(&item, bytes.len() as u64, flag != b'x'));
    out.extend_from_slice(bytes);
    pad(out);
}

/// Ranges of a content that are not zeros, by blocks of 512; the last one may be empty and marks the end.
fn ranges(content: &[u8]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (i, block) in content.chunks(512).enumerate() {
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        match found.last_mut() {
            Some((at, n)) if *at + *n == i * 512 => *n += block.len(),
            _ => found.push((i * 512, block.len())),
        }
    }
    if found.last().is_none_or(|(at, n)| at + n < content.len()) {
        found.push((content.len(), 0));
    }
    found
}

/// Appends an item, in a dialect that `chance` picks.
pub fn append(out: &mut Vec<u8>, item: &Item, chance: &mut Chance) {
    let gnu = chance.one_in(2);
    let mut records = Vec::new();
    let mut item = item.clone();
    if item.path.len() > 100 || item.path.bytes().any(|b| b > 127) {
        if gnu {
            extended(out, b'L', &[item.path.as_bytes(), b"\0"].concat());
        } else {
            records.extend(record("path", item.path.as_bytes()));
        }
    }
    if item.link.len() > 100 {
        if gnu {
            extended(out, b'K', &[item.link.as_bytes(), b"\0"].concat());
        } else {
            records.extend(record("linkpath", item.link.as_bytes()));
        }
    }
    if item.mtime.1 != 0 || item.mtime.0 < 0 {
        let (s, n) = item.mtime;
        let text = if s < 0 && n > 0 {
            format!("-{}.{:09}", -s - 1, 1_000_000_000 - n)
        } else {
            format!("{s}.{n:09}")
        };
        records.extend(record("mtime", text.as_bytes()));
    }
    if chance.one_in(8) {
        records.extend(record("uid", item.uid.to_string().as_bytes()));
        records.extend(record("comment", b"nothing"));
    }
    for (name, value) in &item.xattrs {
        records.extend(record(&format!("SCHILY.xattr.{name}"), value));
    }
    let mut body = item.content.clone();
    let map = ranges(&body);
    let size = body.len();
    if item.sparse > 0 {
        body = map
            .iter()
            .flat_map(|(at, n)| item.content[*at..at + n].to_vec())
            .collect();
    }
    let numbers: Vec<usize> = map.iter().flat_map(|(at, n)| [*at, *n]).collect();
    let joined = |with: &str| {
        numbers
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(with)
    };
    let mut block = None;
    match item.sparse {
        1 => block = Some(old_sparse(&mut item, &map, size, body.len())),
        2 => {
            records.extend(record("GNU.sparse.size", size.to_string().as_bytes()));
            records.extend(record("GNU.sparse.numblocks", map.len().to_string().as_bytes()));
            for (at, n) in &map {
                records.extend(record("GNU.sparse.offset", at.to_string().as_bytes()));
                records.extend(record("GNU.sparse.numbytes", n.to_string().as_bytes()));
            }
        }
        3 => {
            records.extend(record("GNU.sparse.name", item.path.as_bytes()));
            records.extend(record("GNU.sparse.size", size.to_string().as_bytes()));
            records.extend(record("GNU.sparse.map", joined(",").as_bytes()));
            item.path = "GNUSparseFile.0/x".to_owned();
        }
        4 => {
            records.extend(record("GNU.sparse.major", b"1"));
            records.extend(record("GNU.sparse.minor", b"0"));
            records.extend(record("GNU.sparse.name", item.path.as_bytes()));
            records.extend(record("GNU.sparse.realsize", size.to_string().as_bytes()));
            item.path = "GNUSparseFile.0/x".to_owned();
            let mut lines = format!("{}\n{}\n", map.len(), joined("\n")).into_bytes();
            pad(&mut lines);
            body.splice(0..0, lines);
        }
        _ => {}
    }
    // A size in the header that PAX corrects is where readers have gone different ways.
    let mut written = body.len() as u64;
    if item.flag == b'0' && item.sparse == 0 && chance.one_in(6) {
        records.extend(record("size", written.to_string().as_bytes()));
        written = chance.below(5000);
    }
    // Only files have bytes, whatever the header says.
    if matches!(item.flag, b'1'..=b'6') && chance.one_in(6) {
        written = 1 + chance.below(5000);
    }
    if !records.is_empty() {
        extended(out, b'x', &records);
    }
    out.extend(block.unwrap_or_else(|| header(&item, written, gnu)));
    out.extend(body);
    pad(out);
}

fn old_sparse(item: &mut Item, map: &[(usize, usize)], size: usize, stored: usize) -> Vec<u8> {
    let mut item = item.clone();
    item.flag = b'S';
    let mut block = header(&item, stored as u64, true);
    for (i, (at, n)) in map.iter().take(4).enumerate() {
        field(&mut block, 386 + i * 24, 12, *at as u64);
        field(&mut block, 386 + i * 24 + 12, 12, *n as u64);
    }
    block[482] = u8::from(map.len() > 4);
    field(&mut block, 483, 12, size as u64);
    seal(&mut block);
    let rest = map.get(4..).unwrap_or_default();
    for (j, part) in rest.chunks(21).enumerate() {
        let mut more = vec![0u8; 512];
        for (i, (at, n)) in part.iter().enumerate() {
            field(&mut more, i * 24, 12, *at as u64);
            field(&mut more, i * 24 + 12, 12, *n as u64);
        }
        more[504] = u8::from((j + 1) * 21 < rest.len());
        block.extend(more);
    }
    block
}

/// A whole archive.
pub fn archive(items: &[Item], seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let mut out = Vec::new();
    for item in items {
        append(&mut out, item, &mut chance);
    }
    out.extend([0; 1024]);
    out
}
