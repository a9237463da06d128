//! Chance that can be had again: a generator for tests that damage their input. `HOSTILE_SECONDS` makes each of them go on for so long from
//! a seed that it prints, or from `HOSTILE_SEED`.

use std::time::{Duration, Instant, UNIX_EPOCH};

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

/// How often a test draws.
pub struct Rounds {
    left: usize,
    until: Option<Instant>,
}

impl Iterator for Rounds {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        match self.until {
            Some(until) => (Instant::now() < until).then_some(()),
            None => {
                self.left = self.left.checked_sub(1)?;
                Some(())
            }
        }
    }
}

/// So often, from this seed; or for as long as it is wanted, from another.
pub fn rounds(usual: usize, seed: u64) -> (Chance, Rounds) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seconds) = number("HOSTILE_SECONDS") else {
        let rounds = Rounds {
            left: usual,
            until: None,
        };
        return (Chance::new(seed), rounds);
    };
    let now = || {
        UNIX_EPOCH
            .elapsed()
            .map_or(1, |time| u64::from(time.subsec_nanos()))
    };
    let seed = number("HOSTILE_SEED").unwrap_or_else(now);
    println!("HOSTILE_SEED={seed}");
    let rounds = Rounds {
        left: 0,
        until: Some(Instant::now() + Duration::from_secs(seconds)),
    };
    (Chance::new(seed), rounds)
}
