//! Whether a container that has ended is started again, and after how long.
//!
//! May not: know a clock or a container.

use std::time::Duration;

use monitor::launch::RestartPolicy;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// One that has run so long was well.
const WELL: Duration = Duration::from_secs(10);

/// What happened until now.
#[derive(Debug, Default)]
pub struct Restarts {
    delay: Option<Duration>,
    count: u32,
}

impl Restarts {
    /// How long to wait before the next start; `None`: it stays as it is.
    pub fn next(
        &mut self,
        policy: &RestartPolicy,
        code: i32,
        uptime: Duration,
        by_user: bool,
    ) -> Option<Duration> {
        let again = match policy.name.as_str() {
            "always" => true,
            "unless-stopped" => !by_user,
            "on-failure" => {
                let most = policy.maximum_retry_count;
                code != 0 && (most == 0 || self.count < most)
            }
            _ => false,
        };
        if !again {
            return None;
        }
        let delay = match self.delay {
            Some(delay) if uptime < WELL => (delay * 2).min(LONGEST),
            _ => SHORTEST,
        };
        self.delay = Some(delay);
        self.count += 1;
        Some(delay)
    }

    /// How often it was started again.
    pub fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn policy(name: &str, most: u32) -> RestartPolicy {
        RestartPolicy {
            name: name.into(),
            maximum_retry_count: most,
        }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_begins_anew() {
        let (always, mut restarts) = (policy("always", 0), Restarts::default());
        let mut next = |seconds| {
            let uptime = Duration::from_secs(seconds);
            restarts.next(&always, 0, uptime, false).unwrap().as_millis()
        };
        let waits: Vec<u128> = (0..11).map(|_| next(0)).collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000]
        );
        assert_eq!(next(9), 60000);
        assert_eq!(next(10), 100);
        assert_eq!(next(0), 200);
        assert_eq!(restarts.count(), 14);
    }

    #[test]
    fn policies_differ_in_what_they_ask() {
        let starts = |name: &str, code, by_user| {
            let mut restarts = Restarts::default();
            let next = restarts.next(&policy(name, 0), code, Duration::ZERO, by_user);
            next.is_some()
        };
        assert!(!starts("no", 1, false) && !starts("", 1, false));
        assert!(starts("always", 0, false) && starts("always", 0, true));
        assert!(starts("unless-stopped", 0, false) && !starts("unless-stopped", 0, true));
        assert!(starts("on-failure", 3, false) && !starts("on-failure", 0, false));
        let mut restarts = Restarts::default();
        let mut next = || restarts.next(&policy("on-failure", 2), 1, Duration::ZERO, false);
        assert!(next().is_some() && next().is_some() && next().is_none());
    }
}
