//! The states of a pattern that are active while a text is read: all of them are followed at once, so that no pattern backtracks.
//!
//! May not: know what an item of a pattern means. Who reads the text says which states follow.

/// Each state once.
#[derive(Debug)]
pub struct States {
    active: Vec<usize>,
    seen: Vec<usize>,
    round: usize,
}

impl States {
    /// Of a pattern with so many items; the state behind the last one is its end.
    pub fn new(items: usize) -> States {
        States {
            active: Vec::new(),
            seen: vec![0; items + 1],
            round: 1,
        }
    }

    pub fn clear(&mut self) {
        self.active.clear();
        self.round += 1;
    }

    pub fn active(&self) -> &[usize] {
        &self.active
    }

    pub fn has(&self, state: usize) -> bool {
        self.seen.get(state) == Some(&self.round)
    }

    /// This one is active from now on, and those behind it that `skip` leads to: what can be nothing is over as soon as it begins.
    pub fn add(&mut self, mut state: usize, skip: impl Fn(usize) -> Option<usize>) {
        loop {
            match self.seen.get_mut(state) {
                Some(seen) if *seen != self.round => *seen = self.round,
                _ => return,
            }
            self.active.push(state);
            match skip(state) {
                Some(by) => state += by,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_active_once() {
        let mut states = States::new(3);
        let skip = |state| (state < 2).then_some(1);
        states.add(0, skip);
        states.add(1, skip);
        assert_eq!(states.active(), [0, 1, 2]);
        assert!(states.has(2) && !states.has(3));
        states.clear();
        assert!(!states.has(0));
        states.add(3, skip);
        states.add(4, skip);
        assert_eq!(states.active(), [3]);
    }
}
