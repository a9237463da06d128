//! Numbers of config.json turned into numbers of cgroup v2.
//!
//! Pure: no system calls.

/// `cpu.shares` (2 to 262144, default 1024) as `cpu.weight` (1 to 10000, default 100).
///
/// The curve goes through (2, 1), (1024, 100) and (262144, 10000), so that a container with default shares weighs
/// as much as a cgroup that nobody has set; the linear formula used before gave it 39. 0 means unset.
pub fn weight_of_shares(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1 | 2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            Some(10f64.powf(exponent).ceil().clamp(1.0, 10_000.0) as u64)
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub fn io_weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// Memory plus swap (as config.json counts) as swap alone (as v2 counts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Leave it.
    Unset,
    /// No limit.
    Max,
    /// Bytes.
    Bytes(i64),
}

/// What v2's `memory.swap.max` has to be. `limit` and `total` in bytes, 0 unset, -1 unlimited.
///
/// # Errors
/// A sentence when the pair makes no sense.
pub fn swap_of_total(limit: i64, total: i64) -> Result<Swap, &'static str> {
    match (limit, total) {
        // Unlimited memory without a word about swap means both.
        (-1, 0) => Ok(Swap::Max),
        (_, 0) => Ok(Swap::Unset),
        (_, -1) => Ok(Swap::Max),
        (..=0, _) => Err("unable to set swap limit without memory limit"),
        (limit, total) if total < limit => Err("memory+swap limit should be >= memory limit"),
        (limit, total) => Ok(Swap::Bytes(total - limit)),
    }
}

/// A byte limit in v2's spelling: -1 is `max`, 0 unset.
pub fn limit_text(bytes: i64) -> Option<String> {
    match bytes {
        0 => None,
        ..=-1 => Some("max".to_string()),
        n => Some(n.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_to_weight() {
        for (shares, weight) in [
            (0, None),
            (1, Some(1)),
            (2, Some(1)),
            (3, Some(2)),
            (256, Some(35)),
            (512, Some(59)),
            (1024, Some(100)),
            (2048, Some(174)),
            (4096, Some(303)),
            (262_143, Some(10_000)),
            (262_144, Some(10_000)),
            (u64::MAX, Some(10_000)),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn the_weight_never_falls() {
        let mut last = 0;
        for shares in 2..262_144 {
            let w = weight_of_shares(shares).unwrap();
            assert!(w >= last && w <= 10_000, "{shares}: {w} after {last}");
            last = w;
        }
    }

    #[test]
    fn blkio_to_io_weight() {
        for (from, to) in [(10, 1), (100, 910), (500, 4950), (1000, 10_000), (0, 1)] {
            assert_eq!(io_weight_of_blkio(from), to, "{from}");
        }
    }

    #[test]
    fn swap_is_the_rest() {
        for (limit, total, expected) in [
            (0, 0, Ok(Swap::Unset)),
            (-1, 0, Ok(Swap::Max)),
            (100, 0, Ok(Swap::Unset)),
            (100, -1, Ok(Swap::Max)),
            (0, -1, Ok(Swap::Max)),
            (100, 100, Ok(Swap::Bytes(0))),
            (100, 300, Ok(Swap::Bytes(200))),
        ] {
            assert_eq!(swap_of_total(limit, total), expected, "{limit} {total}");
        }
        assert!(swap_of_total(0, 5).is_err());
        assert!(swap_of_total(-1, 5).is_err());
        assert!(swap_of_total(300, 100).is_err());
    }

    #[test]
    fn limits_as_text() {
        assert_eq!(limit_text(0), None);
        assert_eq!(limit_text(-1).as_deref(), Some("max"));
        assert_eq!(limit_text(4096).as_deref(), Some("4096"));
    }
}
