//! Several at a time, but not all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::registry::Cancel;
use crate::{Error, Kind, Result};

/// Does `work` for each of `items` with at most `limit` threads; results come in the order of the items. After a failure nothing more is
/// begun, and what is under way is called off by `group`, which belongs to this work alone.
///
/// # Errors
/// The first failure that was not itself caused by the calling off.
pub fn each<I: Sync, T: Send>(
    items: &[I],
    limit: usize,
    group: &Cancel,
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(items.len()));
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        while !group.is_called() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            match work(item) {
                Ok(value) => done
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((index, value)),
                Err(e) => {
                    let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    // The others fail because of the first one; which of the two is first here is chance.
                    if first.as_ref().is_none_or(|first| first.kind() == Kind::Cancelled) {
                        *first = Some(e);
                    }
                    group.call();
                }
            }
        }
    };
    thread::scope(|scope| {
        // This thread is one of them.
        for _ in 1..limit.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done.len() < items.len() {
        return Err(Error::of(Kind::Cancelled, "cancelled"));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn results_are_in_order_and_first_failure_wins() {
        let items: Vec<u32> = (0..100).collect();
        let cancel = Cancel::new();
        assert_eq!(
            each(&items, 4, &cancel, |n| Ok(n * 2)).unwrap(),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
        let group = Cancel::new();
        let e = each(&items, 4, &group, |n| {
            if *n == 7 {
                return Err(Error::corrupt("seven"));
            }
            if *n > 7 {
                group.wait(std::time::Duration::from_secs(10))?;
            }
            Ok(())
        });
        assert_eq!(e.unwrap_err().to_string(), "seven");
    }
}
