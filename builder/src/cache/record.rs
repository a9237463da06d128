//! The cache of a build as a document: which step came to which layer.
//!
//! It travels as the configuration of a manifest whose layers it numbers, or as an annotation of an image (`--cache-to type=inline`), whose
//! layers it numbers then. Keys are ours: those of BuildKit say other things in another way, so neither reads the other's
//! ([decision 20](../../../docs/decisions/0020-own-format-of-the-exchanged-cache.md)).
//!
//! What is read here was written by somebody else. It is bounded, and whatever it says of layers is a number into a list: what a layer is, its
//! digest says, and unpacking it proves it.
//!
//! May not: read or write a file.

use std::collections::BTreeMap;

use image::digest::Algorithm;
use image::{Digest, Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// Of the document as a blob.
pub const MEDIA_TYPE: &str = "application/vnd.brig.build.cache.v1+json";

/// Of an image that has it inside.
pub const ANNOTATION: &str = "vnd.brig.build.cache.v1";

/// Changes when documents are to be read otherwise than before.
const VERSION: u32 = 1;

/// The largest document that is read.
pub const LIMIT: u64 = 8 << 20;

/// The most records of one document: a build of a thousand steps for eight platforms, twice.
const MOST_RECORDS: usize = 16_384;

/// The most layers: so many fit into a manifest that registries take.
pub const MOST_LAYERS: usize = 8_192;

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What steps on top of it know it by: its own key, or that of the record that it is another name of.
    pub of: Digest,
    /// Which layer; None: it has changed nothing, or its layer was not sent.
    pub layer: Option<usize>,
    /// Its layer was not sent: only the key is of use, for what is on top of it.
    pub is_absent: bool,
    /// When, as an image's history has it.
    pub created: String,
}

/// All of them, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub records: BTreeMap<Digest, Record>,
    /// Diff ids. Empty, if the layers are an image's.
    pub layers: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Digest>,
    records: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    absent: bool,
    created: String,
}

impl Records {
    /// As it is written: the same records are the same bytes.
    ///
    /// # Errors
    /// There are more of them than anybody reads.
    pub fn write(&self) -> Result<String> {
        let line = |(key, record): (&Digest, &Record)| Line {
            key: key.clone(),
            of: (record.of != *key).then(|| record.of.clone()),
            layer: record.layer,
            absent: record.is_absent,
            created: record.created.clone(),
        };
        let document = Document {
            version: VERSION,
            layers: self.layers.clone(),
            records: self.records.iter().map(line).collect(),
        };
        let text = serde_json::to_string(&document)
            .map_err(|e| Error::new(format!("failed to write the records of the cache: {e}")))?;
        let is_too_much = self.records.len() > MOST_RECORDS || self.layers.len() > MOST_LAYERS;
        match is_too_much || text.len() as u64 > LIMIT {
            true => Err(Error::invalid(format!(
                "the build cache has {} steps and {} layers; at most {MOST_RECORDS} and {MOST_LAYERS} are sent",
                self.records.len(),
                self.layers.len()
            ))),
            false => Ok(text),
        }
    }

    /// Reads a document. `layers`: how many layers an image has, of whose these are; None: the document names its own.
    ///
    /// # Errors
    /// It is none, is of another version, is too large, or contradicts itself.
    pub fn read(bytes: &[u8], layers: Option<usize>) -> Result<Records> {
        let malformed =
            |why: &str| Error::corrupt(format!("the records of the build cache are malformed: {why}"));
        if bytes.len() as u64 > LIMIT {
            return Err(malformed("they are too long"));
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| malformed(&e.to_string()))?;
        if version.version != VERSION {
            return Err(Error::of(
                Kind::Unsupported,
                format!(
                    "the build cache is of version {}; this program reads version {VERSION}",
                    version.version
                ),
            ));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|e| malformed(&e.to_string()))?;
        if document.records.len() > MOST_RECORDS || document.layers.len() > MOST_LAYERS {
            return Err(malformed("there are too many"));
        }
        let count = match layers {
            Some(_) if !document.layers.is_empty() => {
                return Err(malformed("they name layers beside the image's"));
            }
            Some(count) => count,
            None => document.layers.len(),
        };
        let mut all = Records {
            records: BTreeMap::new(),
            layers: document.layers,
        };
        for line in document.records {
            if line.key.algorithm() != Algorithm::Sha256 {
                return Err(malformed("a key is no SHA-256"));
            }
            if line.layer.is_some_and(|layer| layer >= count) {
                return Err(malformed("a layer is named that is not there"));
            }
            if line.absent && line.layer.is_some() {
                return Err(malformed("a layer is there and is not"));
            }
            if !is_time(&line.created) {
                return Err(malformed("a step was made at no time"));
            }
            let record = Record {
                of: line.of.unwrap_or_else(|| line.key.clone()),
                layer: line.layer,
                is_absent: line.absent,
                created: line.created,
            };
            if all.records.insert(line.key, record).is_some() {
                return Err(malformed("a step is there twice"));
            }
        }
        // A name of a name would let one record answer for steps that have nothing to do with it.
        let is_sound = |(key, record): (&Digest, &Record)| {
            record.of == *key
                || all.records.get(&record.of).is_some_and(|other| {
                    other.of == record.of
                        && other.layer == record.layer
                        && other.is_absent == record.is_absent
                })
        };
        match all.records.iter().all(is_sound) {
            true => Ok(all),
            false => Err(malformed("a step is said to be another that it is not")),
        }
    }
}

/// Looked at before the rest: what else a later version has nobody knows.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// `2026-11-28T15:20:01.5Z`: it goes into the history of images as it is.
fn is_time(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    let Some((head, tail)) = text.as_bytes().split_at_checked(SHAPE.len()) else {
        return false;
    };
    let digits = tail
        .strip_suffix(b"Z")
        .map(|rest| rest.strip_prefix(b".").unwrap_or(rest));
    head.iter().copied().zip(SHAPE).all(fits)
        && digits.is_some_and(|digits| digits.len() <= 9 && digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn sample() -> Records {
        let record = |of: &str, layer| Record {
            of: digest(of),
            layer,
            is_absent: of == "c",
            created: "2026-11-28T15:20:01.25Z".into(),
        };
        Records {
            records: BTreeMap::from([
                (digest("a"), record("a", Some(1))),
                (digest("alias"), record("a", Some(1))),
                (digest("b"), record("b", None)),
                (digest("c"), record("c", None)),
            ]),
            layers: vec![digest("x"), digest("y")],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = sample().write().unwrap();
        assert_eq!(Records::read(text.as_bytes(), None).unwrap(), sample());
        let of_image = Records {
            layers: Vec::new(),
            ..sample()
        };
        let text = of_image.write().unwrap();
        assert_eq!(Records::read(text.as_bytes(), Some(2)).unwrap(), of_image);
        let words = Records::read(text.as_bytes(), Some(1)).unwrap_err().to_string();
        assert!(words.contains("a layer is named that is not there"), "{words}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = sample().write().unwrap();
        let (a, b) = (digest("a").to_string(), digest("b").to_string());
        let cases = [
            (good.replace("\"version\":1", "\"version\":2"), "version 2"),
            (good.replace("\"version\":1", "\"version\":-1"), "malformed"),
            (good.replace("\"layer\":1", "\"layer\":2"), "is not there"),
            (good.replace("\"layer\":1", "\"layer\":-1"), "malformed"),
            (
                good.replace("\"layer\":1", "\"layer\":1,\"absent\":true"),
                "is there and is not",
            ),
            (good.replace("\"absent\":true", "\"absent\":1"), "malformed"),
            (good.replace("2026-11-28T15:20:01.25Z", "yesterday"), "no time"),
            (
                good.replace("2026-11-28T15:20:01.25Z", "2026-11-28T15:20:01\\nZ"),
                "no time",
            ),
            (
                good.replace(&format!("\"of\":\"{a}\""), &format!("\"of\":\"{b}\"")),
                "that it is not",
            ),
            (
                good.replace(&format!("\"key\":\"{b}\""), &format!("\"key\":\"{a}\"")),
                "twice",
            ),
            (good.replace("sha256:", "md5:"), "malformed"),
            (good.replace("\"records\"", "\"others\""), "malformed"),
            (String::new(), "malformed"),
            ("[".repeat(100_000), "malformed"),
        ];
        for (text, words) in cases {
            let e = Records::read(text.as_bytes(), None).unwrap_err().to_string();
            assert!(e.contains(words), "{e}: {text:.200}");
        }
        let beside = Records::read(good.as_bytes(), Some(2)).unwrap_err().to_string();
        assert!(beside.contains("beside the image's"), "{beside}");
        let long = format!("{good}{}", " ".repeat(LIMIT as usize));
        assert!(Records::read(long.as_bytes(), None).is_err());
    }

    #[test]
    fn too_many_are_neither_written_nor_read() {
        let mut many = Records::default();
        for n in 0..=MOST_RECORDS {
            let key = digest(&n.to_string());
            let created = "2026-11-28T15:20:01Z".to_owned();
            many.records.insert(
                key.clone(),
                Record {
                    of: key,
                    layer: None,
                    is_absent: false,
                    created,
                },
            );
        }
        assert!(many.write().is_err());
        let (last, _) = many.records.pop_last().unwrap();
        let text = many.write().unwrap();
        assert!(Records::read(text.as_bytes(), None).is_ok());
        let one = format!("{{\"key\":\"{last}\",\"created\":\"2026-11-28T15:20:01Z\"}},");
        let text = text.replace("\"records\":[", &format!("\"records\":[{one}"));
        assert!(
            Records::read(text.as_bytes(), None)
                .unwrap_err()
                .to_string()
                .contains("too many")
        );
    }

    /// Thousands of mutations: nothing panics, and what is accepted is sound.
    #[test]
    fn mutations_are_refused_or_sound() {
        let seed = sample().write().unwrap().into_bytes();
        const SPICE: &[u8] = b"\"\\,:{}[]0159-eZsha256\x00\xff";
        let mut state = 0x5eed_5eed_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below.max(1) as u64) as usize
        };
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut bytes = seed.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len() + 1);
                match random(4) {
                    0 if at < bytes.len() => drop(bytes.remove(at)),
                    1 => bytes.insert(at, SPICE[random(SPICE.len())]),
                    2 if at < bytes.len() => bytes[at] = SPICE[random(SPICE.len())],
                    _ => {
                        let from = random(seed.len());
                        let piece = &seed[from..(from + random(80)).min(seed.len())];
                        bytes.splice(at..at, piece.iter().copied()).for_each(drop);
                    }
                }
            }
            let Ok(read) = Records::read(&bytes, None) else {
                continue;
            };
            accepted += 1;
            for record in read.records.values() {
                assert!(record.layer.is_none_or(|layer| layer < read.layers.len()));
                assert_eq!(read.records[&record.of].of, record.of);
                assert!(record.created.len() <= 30 && record.created.is_ascii());
            }
        }
        assert!(accepted > 100, "{accepted}");
    }
}
