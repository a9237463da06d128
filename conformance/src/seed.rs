//! Numbers that look random and can be had again: a run prints its seed.
//!
//! May not: be used where a secret is wanted.

pub struct Numbers(u64);

impl Numbers {
    pub fn from(seed: u64) -> Numbers {
        // xorshift stays at zero for ever.
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One of so many, from zero.
    pub fn below(&mut self, count: usize) -> usize {
        // The high bits are the better ones.
        ((self.draw() >> 32) as usize) % count.max(1)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.draw().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
