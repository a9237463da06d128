//! Chance that can be had again: a generator for tests that damage their input.

/// A xorshift generator.
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same chance.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Less than `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    /// Changes, takes away, doubles or inserts a few bytes; what is new comes from `alphabet`.
    pub fn damage(&mut self, bytes: &mut Vec<u8>, alphabet: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let new = alphabet[self.below(alphabet.len())];
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = new,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                3 => {
                    let piece: Vec<u8> = bytes[at..bytes.len().min(at + 8)].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes.insert(at, new),
            }
        }
    }
}
