//! Medians, percentiles and the table of a contest.
//!
//! May not: start anything or read a clock.

use std::time::Duration;

/// The floor's median may be this multiple of its minimum before a run counts as disturbed.
const NOISE_LIMIT: f64 = 1.3;

/// Times of one contestant, sorted.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times(times)
    }

    /// The value below which `percent` of the times lie (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub fn minimum(&self) -> Duration {
        self.0.first().copied().unwrap_or_default()
    }

    fn is_noisy(&self) -> bool {
        self.median().as_secs_f64() > NOISE_LIMIT * self.minimum().as_secs_f64()
    }
}

/// All times of one contest; what the others are compared with comes first: the floor, or another program.
pub struct Table {
    pub title: String,
    pub rows: Vec<(String, Times)>,
    /// What tells how quiet the machine was, where the first row has a spread of its own.
    pub gauge: Option<Times>,
}

impl Table {
    /// Prints the table. The answer is whether the machine was too noisy for it to mean anything.
    pub fn print(&self) -> bool {
        let Some((_, floor)) = self.rows.first() else {
            return false;
        };
        println!("\n{}", self.title);
        println!(
            "  {:<28} {:>10} {:>10} {:>10} {:>9} {:>9}",
            "", "median ms", "p10 ms", "min ms", "x median", "x p10"
        );
        for (name, times) in &self.rows {
            let ms = |d: Duration| d.as_secs_f64() * 1e3;
            let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64().max(f64::MIN_POSITIVE);
            println!(
                "  {:<28} {:>10.3} {:>10.3} {:>10.3} {:>9.2} {:>9.2}",
                name,
                ms(times.median()),
                ms(times.percentile(10)),
                ms(times.minimum()),
                ratio(times.median(), floor.median()),
                ratio(times.percentile(10), floor.percentile(10)),
            );
        }
        let noisy = self.gauge.as_ref().unwrap_or(floor).is_noisy();
        if noisy {
            println!("  too noisy, no verdict");
        }
        noisy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: &[u64]) -> Times {
        Times::new(ms.iter().map(|ms| Duration::from_millis(*ms)).collect())
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let t = times(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(t.minimum(), Duration::from_millis(1));
        assert_eq!(t.percentile(10), Duration::from_millis(1));
        assert_eq!(t.median(), Duration::from_millis(5));
        assert_eq!(t.percentile(100), Duration::from_millis(10));
    }

    #[test]
    fn noise_is_a_median_far_from_the_minimum() {
        assert!(!times(&[10, 12, 13, 30]).is_noisy());
        assert!(times(&[10, 14, 14, 14]).is_noisy());
    }
}
