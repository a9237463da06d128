//! The keys that leave a container without ending it: ctrl-p ctrl-q, or what `--detach-keys` says.
//!
//! May not: read anything. A beginning of the sequence is held back until it is known not to be one.

/// Docker's.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// A sequence of keys, and how far it has been typed.
#[derive(Clone, Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

/// What a read of the terminal is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// For the process.
    Input(Vec<u8>),
    /// For the process, and then the user has left.
    Detached(Vec<u8>),
}

impl Default for DetachKeys {
    fn default() -> DetachKeys {
        DetachKeys {
            keys: DEFAULT.to_vec(),
            typed: 0,
        }
    }
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`, `a`, `ctrl-\`, `DEL`, ...; nothing is the default.
    ///
    /// # Errors
    /// A sentence, for a key that there is not.
    pub fn parse(text: &str) -> Result<DetachKeys, String> {
        if text.is_empty() {
            return Ok(DetachKeys::default());
        }
        let keys = text.split(',').map(key).collect::<Result<Vec<u8>, String>>();
        let keys = keys.map_err(|e| format!("invalid detach keys ({text}): {e}"))?;
        Ok(DetachKeys { keys, typed: 0 })
    }

    /// Takes what was read.
    pub fn take(&mut self, read: &[u8]) -> Typed {
        let mut input = Vec::with_capacity(read.len() + self.typed);
        for &byte in read {
            if byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return Typed::Detached(input);
                }
                continue;
            }
            input.extend_from_slice(&self.keys[..self.typed]);
            self.typed = 0;
            // What breaks the sequence may begin it again.
            match byte == self.keys[0] && self.keys.len() > 1 {
                true => self.typed = 1,
                false => input.push(byte),
            }
        }
        Typed::Input(input)
    }
}

fn key(text: &str) -> Result<u8, String> {
    if text == "DEL" {
        return Ok(127);
    }
    if let [byte] = text.as_bytes() {
        return Ok(*byte);
    }
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([byte @ b'a'..=b'z']) => Ok(byte - b'a' + 1),
        Some(b"@") => Ok(0),
        Some([byte @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(byte - b'@'),
        _ => Err(format!("Unknown character: '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sequences() {
        let keys = |text: &str| DetachKeys::parse(text).unwrap().keys;
        assert_eq!(keys(""), [0x10, 0x11]);
        assert_eq!(keys("ctrl-p,ctrl-q"), [0x10, 0x11]);
        assert_eq!(
            keys("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL"),
            [97, 0, 27, 28, 29, 30, 31, 127]
        );
        for wrong in ["ctrl-", "ctrl-A", "xy", "a,,b"] {
            assert!(DetachKeys::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            DetachKeys::parse("xy").unwrap_err(),
            "invalid detach keys (xy): Unknown character: 'xy'"
        );
    }

    #[test]
    fn a_beginning_is_held_back() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.take(b"ab\x10"), Typed::Input(b"ab".to_vec()));
        assert_eq!(keys.take(b"c"), Typed::Input(b"\x10c".to_vec()));
        assert_eq!(keys.take(b"\x10\x10"), Typed::Input(b"\x10".to_vec()));
        assert_eq!(keys.take(b"\x11rest"), Typed::Detached(Vec::new()));
        let mut one = DetachKeys::parse("a").unwrap();
        assert_eq!(one.take(b"xa"), Typed::Detached(b"x".to_vec()));
    }
}
