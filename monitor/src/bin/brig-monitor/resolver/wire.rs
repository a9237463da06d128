//! Questions about names and their answers, as bytes (RFC 1035; RFC 6891 for EDNS), as far as we take part.
//!
//! Everything here comes from a container, or from whoever can answer in a name server's place. No pointer is followed: a question
//! that is asked for the first time has none in its name (there is nothing before it to point to), and of an answer only what stands
//! before the records is looked at.
//!
//! May not: read beyond what came, or keep more than one name of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What stands before the question.
const HEAD: usize = 12;

/// The longest name, with the lengths of its labels.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

/// What every client takes over UDP.
const SMALLEST: usize = 512;
/// What we send over UDP at most, whatever the client takes: more would come in fragments elsewhere; on a loopback device it may.
const LARGEST: usize = 4096;

/// How long answers are good for, in seconds: Docker's.
const TTL: u32 = 600;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const ANY: u16 = 255;
/// Of a class: the Internet's.
const IN: u16 = 1;

// Bits of the third and fourth byte.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSE: u16 = 0x0100;
const RECURSES: u16 = 0x0080;
const AUTHENTIC: u16 = 0x0020;
const UNCHECKED: u16 = 0x0010;
const CODE: u16 = 0x000f;

/// Of an OPT record: the client wants signatures, too.
const SIGNED: u16 = 0x8000;

/// More additional records than this in a question are nobody's.
const MOST_ADDITIONAL: u16 = 4;

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Done,
    Malformed,
    Failed,
    NoSuchName,
    NotImplemented,
    Refused,
}

impl Code {
    fn bits(self) -> u16 {
        match self {
            Code::Done => 0,
            Code::Malformed => 1,
            Code::Failed => 2,
            Code::NoSuchName => 3,
            Code::NotImplemented => 4,
            Code::Refused => 5,
        }
    }
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Addresses of the fourth version.
    V4,
    V6,
    Any,
    /// The name of an address.
    Name,
    /// Nothing that a container has.
    Other,
}

/// The client's side of EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edns {
    size: u16,
    flags: u16,
}

/// A question, as a client has asked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    id: u16,
    flags: u16,
    /// Name, type and class as they came.
    question: Vec<u8>,
    /// In lower case, without the last dot; `None` for what cannot be the name of a container.
    pub name: Option<String>,
    pub wanted: Wanted,
    edns: Option<Edns>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Address(IpAddr),
    Name(String),
}

/// Why a message is not a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoQuery {
    /// Not even that can be said.
    Ignored,
    /// This is what is answered.
    Answer(Vec<u8>),
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*taken))
    }

    /// A label; `None` for what is none, a pointer among others.
    fn label(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        match length {
            0..=LONGEST_LABEL => self.take(length),
            _ => None,
        }
    }

    /// What of it was read, when this was left before.
    fn since<'b>(&self, before: &Reader<'b>) -> &'b [u8] {
        &before.0[..before.0.len() - self.0.len()]
    }
}

impl Query {
    /// Reads a message of a client.
    pub fn read(message: &[u8]) -> Result<Query, NoQuery> {
        let mut reader = Reader(message);
        let mut head = || reader.number().ok_or(NoQuery::Ignored);
        let (id, flags) = (head()?, head()?);
        let (questions, answers, authorities, additional) = (head()?, head()?, head()?, head()?);
        // Two that answer each other's answers would never end.
        if flags & RESPONSE != 0 {
            return Err(NoQuery::Ignored);
        }
        let bare = |code: Code| NoQuery::Answer(head_of(id, answer_flags(flags, code), [0; 4]).to_vec());
        if flags & OPCODE != 0 {
            return Err(bare(Code::NotImplemented));
        }
        if questions != 1 || answers != 0 || authorities != 0 || additional > MOST_ADDITIONAL {
            return Err(bare(Code::Malformed));
        }
        let (question, name, kind, class) =
            read_question(&mut reader).ok_or_else(|| bare(Code::Malformed))?;
        let edns = read_edns(&mut reader, additional).ok_or_else(|| bare(Code::Malformed))?;
        Ok(Query {
            id,
            flags,
            question: question.to_vec(),
            name,
            wanted: match (class, kind) {
                (IN, A) => Wanted::V4,
                (IN, AAAA) => Wanted::V6,
                (IN, ANY) => Wanted::Any,
                (IN, PTR) => Wanted::Name,
                _ => Wanted::Other,
            },
            edns,
        })
    }

    /// How long an answer over UDP may be.
    pub fn room(&self) -> usize {
        let wished = self.edns.map_or(SMALLEST, |edns| usize::from(edns.size));
        wished.clamp(SMALLEST, LARGEST)
    }

    /// An answer of ours of at most this length, cut short when it would not fit.
    pub fn answer(&self, code: Code, records: &[Record], room: usize) -> Vec<u8> {
        let own_edns = self.edns.map(|_| opt(LARGEST as u16, 0));
        let tail: &[u8] = own_edns.as_ref().map_or(&[], |opt| opt);
        let mut flags = answer_flags(self.flags, code);
        let mut body = self.question.clone();
        let mut count = 0u16;
        for record in records {
            let Some(bytes) = record.bytes() else { continue };
            if HEAD + body.len() + bytes.len() + tail.len() > room {
                flags |= TRUNCATED;
                break;
            }
            body.extend_from_slice(&bytes);
            count += 1;
        }
        let head = head_of(self.id, flags, [1, count, 0, u16::from(self.edns.is_some())]);
        [&head[..], &body, tail].concat()
    }

    /// The question as it is put to a name server: what we have understood of it, and nothing else that a container may have written.
    pub fn forwarded(&self, id: u16) -> Vec<u8> {
        let flags = self.flags & (RECURSE | AUTHENTIC | UNCHECKED);
        let head = head_of(id, flags, [1, 0, 0, u16::from(self.edns.is_some())]);
        let edns = self.edns.map(|edns| {
            let size = usize::from(edns.size).clamp(SMALLEST, LARGEST);
            opt(size as u16, edns.flags & SIGNED)
        });
        let tail: &[u8] = edns.as_ref().map_or(&[], |opt| opt);
        [&head[..], &self.question, tail].concat()
    }

    /// Whether this is a name server's answer to what was forwarded with this id, and how it has answered. One that says no more than
    /// that it has not understood has no question.
    pub fn is_answered_by(&self, message: &[u8], id: u16) -> Option<Verdict> {
        let mut reader = Reader(message);
        let (answered, flags, questions) = (reader.number()?, reader.number()?, reader.number()?);
        reader.take(HEAD - 6)?;
        if answered != id || flags & RESPONSE == 0 || flags & OPCODE != 0 {
            return None;
        }
        let code = flags & CODE;
        match questions {
            0 if code != 0 => return Some(Verdict::Failed),
            1 => {}
            _ => return None,
        }
        let question = reader.take(self.question.len())?;
        if !question.eq_ignore_ascii_case(&self.question) {
            return None;
        }
        // What it says may be so for another server, which knows more, may do more, or is well.
        let failures = [Code::Malformed, Code::Failed, Code::NotImplemented, Code::Refused];
        Some(match failures.iter().any(|failure| failure.bits() == code) {
            true => Verdict::Failed,
            false => Verdict::Answered,
        })
    }

    /// A name server's answer as the client gets it. One that is longer than the client takes is cut to what says so.
    pub fn passed_on(&self, mut message: Vec<u8>, room: usize) -> Vec<u8> {
        if message.len() > room {
            let mut cut = self.answer(Code::Done, &[], room);
            if let Some(flags) = cut.get_mut(2) {
                *flags |= (TRUNCATED >> 8) as u8;
            }
            return cut;
        }
        if let Some(id) = message.first_chunk_mut() {
            *id = self.id.to_be_bytes();
        }
        message
    }
}

/// What a name server has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Answered,
    /// The next one may know.
    Failed,
}

type Question<'a> = (&'a [u8], Option<String>, u16, u16);

fn read_question<'a>(reader: &mut Reader<'a>) -> Option<Question<'a>> {
    let before = Reader(reader.0);
    let (mut text, mut length, mut is_plain) = (String::new(), 0, true);
    loop {
        let label = reader.label()?;
        length += 1 + label.len();
        if length > LONGEST_NAME {
            return None;
        }
        if label.is_empty() {
            break;
        }
        // A dot in a label must not be taken for one between two.
        match std::str::from_utf8(label) {
            Ok(label) if !label.contains('.') => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(label);
            }
            _ => is_plain = false,
        }
    }
    let (kind, class) = (reader.number()?, reader.number()?);
    text.make_ascii_lowercase();
    let name = (is_plain && !text.is_empty()).then_some(text);
    Some((reader.since(&before), name, kind, class))
}

/// Among so many additional records. `None`: they are not whole.
fn read_edns(reader: &mut Reader<'_>, additional: u16) -> Option<Option<Edns>> {
    let mut edns = None;
    for _ in 0..additional {
        let mut labels = 0;
        while !reader.label()?.is_empty() {
            labels += 1;
        }
        let (kind, class) = (reader.number()?, reader.number()?);
        let (_, flags, length) = (reader.number()?, reader.number()?, reader.number()?);
        reader.take(usize::from(length))?;
        if kind == OPT && labels == 0 && edns.is_none() {
            edns = Some(Edns { size: class, flags });
        }
    }
    Some(edns)
}

fn answer_flags(query: u16, code: Code) -> u16 {
    RESPONSE | (query & (OPCODE | RECURSE | UNCHECKED)) | RECURSES | code.bits()
}

fn head_of(id: u16, flags: u16, counts: [u16; 4]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let numbers = [id, flags].into_iter().chain(counts);
    for (place, number) in head.chunks_exact_mut(2).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    head
}

fn opt(size: u16, flags: u16) -> [u8; 11] {
    let [kind, size, flags] = [OPT, size, flags].map(u16::to_be_bytes);
    [
        0, kind[0], kind[1], size[0], size[1], 0, 0, flags[0], flags[1], 0, 0,
    ]
}

impl Record {
    /// The whole record. Its name is the question's. `None`: it cannot be said in DNS.
    fn bytes(&self) -> Option<Vec<u8>> {
        let (kind, data) = match self {
            Record::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
            Record::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
            Record::Name(name) => (PTR, labels(name)?),
        };
        // Where every question is: behind the head.
        let mut bytes = (0xc000 | HEAD as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&IN.to_be_bytes());
        bytes.extend_from_slice(&TTL.to_be_bytes());
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&data);
        Some(bytes)
    }
}

fn labels(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        if !(1..=LONGEST_LABEL).contains(&label.len()) {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= LONGEST_NAME).then_some(bytes)
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` is the name of.
pub fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let (mut address, mut count) = (0u128, 0);
    for part in digits.split('.') {
        let digit = u128::from_str_radix(part, 16).ok().filter(|_| part.len() == 1)?;
        if count == 32 {
            return None;
        }
        address |= digit << (4 * count);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(address).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A question as a stub resolver asks it.
    fn question(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut message = head_of(0x1234, RECURSE, [1, 0, 0, u16::from(edns.is_some())]).to_vec();
        message.extend(labels(name).unwrap());
        message.extend(kind.to_be_bytes());
        message.extend(IN.to_be_bytes());
        if let Some(size) = edns {
            message.extend(opt(size, SIGNED));
        }
        message
    }

    fn flags(message: &[u8]) -> u16 {
        u16::from_be_bytes([message[2], message[3]])
    }

    fn counts(message: &[u8]) -> Vec<u16> {
        let numbers = message[4..HEAD].chunks(2);
        numbers.map(|n| u16::from_be_bytes([n[0], n[1]])).collect()
    }

    fn addresses(n: usize) -> Vec<Record> {
        let address = |n: usize| Record::Address(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
        (0..n).map(address).collect()
    }

    #[test]
    fn a_question_is_answered() {
        let query = Query::read(&question("Web.Mine", A, None)).unwrap();
        assert_eq!(query.name.as_deref(), Some("web.mine"));
        assert_eq!((query.wanted, query.room()), (Wanted::V4, 512));
        let answer = query.answer(Code::Done, &addresses(1), query.room());
        let mut expected = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(b"\x03Web\x04Mine\0\0\x01\0\x01");
        expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 0]);
        assert_eq!(answer, expected);
        let none = query.answer(Code::NoSuchName, &[], 512);
        assert_eq!((flags(&none) & CODE, counts(&none)), (3, vec![1, 0, 0, 0]));
    }

    #[test]
    fn an_answer_to_edns_has_edns() {
        let query = Query::read(&question("web", AAAA, Some(1232))).unwrap();
        assert_eq!((query.wanted, query.room()), (Wanted::V6, 1232));
        let answer = query.answer(Code::Done, &[], query.room());
        assert_eq!(counts(&answer), [1, 0, 0, 1]);
        assert_eq!(answer[answer.len() - 11..], opt(4096, 0));
        for (wished, room) in [(0, 512), (100, 512), (65535, 4096)] {
            let query = Query::read(&question("web", A, Some(wished))).unwrap();
            assert_eq!(query.room(), room);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_to_be() {
        let query = Query::read(&question("web", A, None)).unwrap();
        let answer = query.answer(Code::Done, &addresses(100), 512);
        assert!(answer.len() <= 512 && answer.len() > 512 - 16);
        assert_ne!(flags(&answer) & TRUNCATED, 0);
        assert_eq!(counts(&answer)[1], 30);
        let whole = query.answer(Code::Done, &addresses(100), 65535);
        assert_eq!((flags(&whole) & TRUNCATED, counts(&whole)[1]), (0, 100));
    }

    #[test]
    fn a_name_is_answered_in_labels() {
        let query = Query::read(&question("2.0.0.10.in-addr.arpa", PTR, None)).unwrap();
        assert_eq!(query.wanted, Wanted::Name);
        let answer = query.answer(Code::Done, &[Record::Name("web.mine".into())], 512);
        assert!(answer.ends_with(b"\0\x0a\x03web\x04mine\0"));
        let unsayable = [
            "",
            "a..b",
            &"x".repeat(64),
            &["x".repeat(60).as_str(); 5].join("."),
        ];
        for name in unsayable {
            let answer = query.answer(Code::Done, &[Record::Name(name.to_owned())], 512);
            assert_eq!(counts(&answer)[1], 0, "{name}");
        }
    }

    #[test]
    fn what_is_forwarded_is_what_was_understood() {
        let mut asked = question("example.com", A, Some(1232));
        // An option of EDNS that is nobody's business, and more behind the message.
        let at = asked.len() - 1;
        asked[at] = 4;
        asked.extend([0, 10, 0, 0]);
        asked.extend(b"more");
        let query = Query::read(&asked).unwrap();
        let mut expected = question("example.com", A, Some(1232));
        expected[..2].copy_from_slice(&[0xab, 0xcd]);
        assert_eq!(query.forwarded(0xabcd), expected);
    }

    #[test]
    fn only_the_answer_to_the_question_is_one() {
        let query = Query::read(&question("example.com", A, None)).unwrap();
        let mut answer = question("EXAMPLE.com", A, None);
        answer[..4].copy_from_slice(&[0xab, 0xcd, 0x81, 0x80]);
        let verdict = |message: &[u8]| query.is_answered_by(message, 0xabcd);
        assert_eq!(verdict(&answer), Some(Verdict::Answered));
        let changed = |at: usize, to: u8| {
            let mut other = answer.clone();
            other[at] = to;
            other
        };
        assert_eq!(
            verdict(&changed(3, 0x83)),
            Some(Verdict::Answered),
            "no such name"
        );
        assert_eq!(verdict(&changed(3, 0x82)), Some(Verdict::Failed));
        assert_eq!(verdict(&changed(3, 0x85)), Some(Verdict::Failed));
        assert_eq!(verdict(&changed(0, 0xac)), None, "another id");
        assert_eq!(verdict(&changed(2, 0x01)), None, "a question");
        assert_eq!(verdict(&changed(14, b'z')), None, "another name");
        assert_eq!(verdict(&changed(5, 2)), None, "two questions");
        let mut nothing = answer[..HEAD].to_vec();
        (nothing[3], nothing[5]) = (0x81, 0);
        assert_eq!(verdict(&nothing), Some(Verdict::Failed), "not understood");
        for end in 0..answer.len() {
            assert_eq!(verdict(&answer[..end]), None);
        }
        let passed = query.passed_on(answer.clone(), 512);
        assert_eq!((&passed[..2], &passed[2..]), (&[0x12, 0x34][..], &answer[2..]));
        let cut = query.passed_on(vec![0; 513], 512);
        assert_ne!(flags(&cut) & TRUNCATED, 0);
        assert_eq!(counts(&cut), [1, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_question_is_not_answered_as_one() {
        let good = question("web", A, None);
        let refusal = |message: &[u8]| match Query::read(message).unwrap_err() {
            NoQuery::Ignored => None,
            NoQuery::Answer(answer) => {
                assert_eq!((&answer[..2], answer.len()), (&[0x12, 0x34][..], HEAD));
                Some(flags(&answer) & CODE)
            }
        };
        let changed = |at: usize, to: u8| {
            let mut other = good.clone();
            other[at] = to;
            other
        };
        assert_eq!(refusal(&changed(2, 0x81)), None, "an answer");
        assert_eq!(refusal(&changed(2, 0x29)), Some(4), "an update");
        assert_eq!(refusal(&changed(5, 0)), Some(1), "no question");
        assert_eq!(refusal(&changed(5, 2)), Some(1), "two questions");
        assert_eq!(refusal(&changed(7, 1)), Some(1), "an answer in it");
        assert_eq!(refusal(&changed(11, 1)), Some(1), "a record that is not there");
        assert_eq!(refusal(&changed(10, 255)), Some(1), "too many of them");
        assert_eq!(refusal(&changed(HEAD, 0xc0)), Some(1), "a pointer");
        assert_eq!(
            refusal(&changed(HEAD, 0x40)),
            Some(1),
            "a kind of label that was never used"
        );
        for end in 0..good.len() {
            assert_eq!(refusal(&good[..end]), (end >= HEAD).then_some(1));
        }
        // A pointer to itself.
        let mut round = good[..HEAD].to_vec();
        round.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(refusal(&round), Some(1));
        // Longer than any name.
        let mut long = good[..HEAD].to_vec();
        (0..5).for_each(|_| long.extend([&[63u8][..], &[b'a'; 63]].concat()));
        long.extend([0, 0, 1, 0, 1]);
        assert_eq!(refusal(&long), Some(1));
    }

    #[test]
    fn a_dot_in_a_label_is_no_border() {
        let mut message = head_of(1, 0, [1, 0, 0, 0]).to_vec();
        message.extend(b"\x08web.mine\0\0\x01\0\x01");
        let query = Query::read(&message).unwrap();
        assert_eq!(query.name, None);
        let mut message = head_of(1, 0, [1, 0, 0, 0]).to_vec();
        message.extend(b"\0\0\x01\0\x01");
        assert_eq!(Query::read(&message).unwrap().name, None, "the root");
    }

    #[test]
    fn noise_is_survived() {
        // As good as any, and the same each time.
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut noise = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let good = question("some.name.example", A, Some(1232));
        let mut understood = 0;
        for _ in 0..20_000 {
            let mut message = good.clone();
            for _ in 0..noise() % 4 {
                let at = noise() as usize % message.len();
                message[at] = noise() as u8;
            }
            message.truncate(noise() as usize % (message.len() + 20));
            if let Ok(query) = Query::read(&message) {
                understood += 1;
                assert!(query.answer(Code::Done, &addresses(300), query.room()).len() <= query.room());
                assert!(query.question.len() <= LONGEST_NAME + 4);
                Query::read(&query.forwarded(7)).unwrap();
                let _ = query.is_answered_by(&message, 0x1234);
            }
        }
        assert!(understood > 500, "{understood}");
    }

    #[test]
    fn addresses_are_found_in_names() {
        let of = |name: &str| address_of(name).map(|a| a.to_string());
        assert_eq!(of("2.0.18.172.in-addr.arpa").as_deref(), Some("172.18.0.2"));
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(of(six).as_deref(), Some("2001:db8::1"));
        for wrong in [
            "in-addr.arpa",
            ".in-addr.arpa",
            "1.2.3.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "1.2.3.256.in-addr.arpa",
            "1.ip6.arpa",
            "web",
            &format!("0.{six}"),
            &six.replacen('1', "g", 1),
            &six.replacen("1.0", "10", 1),
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
