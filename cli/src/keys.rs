//! The keys that leave a container without ending it: ctrl-p ctrl-q, or what `--detach-keys` says.
//!
//! May not: read anything. A beginning of the sequence is held back until it is known not to be one.

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

/// `ctrl-p,ctrl-q` as bytes.
///
/// # Errors
/// In Docker's words.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .map(
            |key| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
                ([one], _) => Ok(*one),
                (_, Some([c @ b'a'..=b'z'])) => Ok(c - b'a' + 1),
                (_, Some([c @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Ok(c - b'@'),
                (b"DEL", _) => Ok(127),
                _ => Err(format!(
                    "invalid detach keys ({text}): Unknown character: '{key}'"
                )),
            },
        )
        .collect()
}

impl DetachKeys {
    /// These, in their order. With none, nobody leaves.
    pub fn new(keys: Vec<u8>) -> DetachKeys {
        DetachKeys { keys, typed: 0 }
    }

    /// Takes what was read.
    pub fn take(&mut self, read: &[u8]) -> Typed {
        if self.keys.is_empty() {
            return Typed::Input(read.to_vec());
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words() {
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(parse("a,DEL,ctrl-@,ctrl-_").unwrap(), [b'a', 127, 0, 31]);
        assert_eq!(
            parse("ctrl-1").unwrap_err(),
            "invalid detach keys (ctrl-1): Unknown character: 'ctrl-1'"
        );
    }

    #[test]
    fn a_beginning_is_held_back() {
        let mut keys = DetachKeys::new(vec![0x10, 0x11]);
        assert_eq!(keys.take(b"ab\x10"), Typed::Input(b"ab".to_vec()));
        assert_eq!(keys.take(b"c"), Typed::Input(b"\x10c".to_vec()));
        assert_eq!(keys.take(b"\x10\x10"), Typed::Input(b"\x10".to_vec()));
        assert_eq!(keys.take(b"\x11rest"), Typed::Detached(Vec::new()));
        let mut one = DetachKeys::new(vec![b'a']);
        assert_eq!(one.take(b"xa"), Typed::Detached(b"x".to_vec()));
    }
}
