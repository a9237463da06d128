//! What tasks say to each other.
//!
//! May not: be used across threads; there is one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A value that is set once and can be waited for by many.
#[derive(Debug)]
pub struct Once<T> {
    value: RefCell<Option<T>>,
    waiting: Waiting,
}

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once {
            value: RefCell::new(None),
            waiting: Waiting::default(),
        }
    }
}

impl<T: Clone> Once<T> {
    /// Sets it. A second time changes nothing.
    pub fn set(&self, value: T) {
        if self.value.borrow().is_some() {
            return;
        }
        *self.value.borrow_mut() = Some(value);
        self.waiting.wake_all();
    }

    /// What it is, when it is set.
    pub fn get(&self) -> Option<T> {
        self.value.borrow().clone()
    }

    /// True when it is set.
    pub fn is_set(&self) -> bool {
        self.value.borrow().is_some()
    }

    /// Waits until it is set.
    pub async fn wait(&self) -> T {
        let mut place = self.waiting.place();
        std::future::poll_fn(|context| match self.get() {
            Some(value) => Poll::Ready(value),
            None => {
                place.take(context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

/// Something has changed: whoever waits looks again.
#[derive(Debug, Default)]
pub struct Bell {
    waiting: Waiting,
}

impl Bell {
    /// Lets everybody look.
    pub fn ring(&self) {
        self.waiting.wake_all();
    }

    /// Waits until a look finds something.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut place = self.waiting.place();
        std::future::poll_fn(|context| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                place.take(context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

/// Who is to be woken.
#[derive(Debug, Default)]
struct Waiting {
    next: Cell<u64>,
    wakers: RefCell<BTreeMap<u64, Waker>>,
}

impl Waiting {
    /// A place in it, for one wait. Not yet taken.
    fn place(&self) -> Place<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        Place { of: self, number }
    }

    fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.wakers.borrow_mut());
        woken.into_values().for_each(Waker::wake);
    }
}

/// A wait's place, given back when the wait ends, however it ends: most of those for the end of a connection end because
/// something else came first, and the connection to containerd lasts as long as we do.
struct Place<'a> {
    of: &'a Waiting,
    number: u64,
}

impl Place<'_> {
    /// Each poll brings another waker of the same task, so comparing them would keep all of them.
    fn take(&mut self, waker: &Waker) {
        self.of.wakers.borrow_mut().insert(self.number, waker.clone());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.wakers.borrow_mut().remove(&self.number);
    }
}

/// A number that tasks can wait to see at zero.
#[derive(Debug, Default)]
pub struct Count {
    value: Cell<usize>,
    waiting: Waiting,
}

impl Count {
    /// One more, until the result is dropped.
    pub fn hold(self: &Rc<Count>) -> Held {
        self.value.set(self.value.get() + 1);
        Held(Rc::clone(self))
    }

    /// How many are held.
    pub fn value(&self) -> usize {
        self.value.get()
    }

    /// Until none is held.
    pub async fn zero(&self) {
        self.below(1).await;
    }

    /// Until fewer than so many are held.
    pub async fn below(&self, most: usize) {
        let mut place = self.waiting.place();
        std::future::poll_fn(|context| {
            if self.value.get() < most {
                return Poll::Ready(());
            }
            place.take(context.waker());
            Poll::Pending
        })
        .await
    }
}

/// One of a [`Count`].
#[derive(Debug)]
pub struct Held(Rc<Count>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.value.set(self.0.value.get() - 1);
        self.0.waiting.wake_all();
    }
}

/// Lets one task in at a time, in the order of their coming.
#[derive(Debug, Default)]
pub struct Lock {
    state: RefCell<LockState>,
}

#[derive(Debug, Default)]
struct LockState {
    next: u64,
    /// Who is in comes first.
    queue: VecDeque<(u64, Option<Waker>)>,
}

impl Lock {
    /// Waits for the turn. It ends when the result is dropped.
    pub async fn enter(self: &Rc<Lock>) -> Turn {
        let number = {
            let mut state = self.state.borrow_mut();
            state.next += 1;
            let number = state.next;
            state.queue.push_back((number, None));
            number
        };
        // Made before the wait, so that a task that is dropped while it waits leaves the queue.
        let turn = Turn {
            lock: Rc::clone(self),
            number,
        };
        std::future::poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.queue.front().is_some_and(|(n, _)| *n == number) {
                return Poll::Ready(());
            }
            if let Some(place) = state.queue.iter_mut().find(|(n, _)| *n == number) {
                place.1 = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        turn
    }
}

/// A task's turn.
#[derive(Debug)]
pub struct Turn {
    lock: Rc<Lock>,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.lock.state.borrow_mut();
            state.queue.retain(|(n, _)| *n != self.number);
            state.queue.front_mut().and_then(|(_, waker)| waker.take())
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// A line of values from any task to one.
#[derive(Debug)]
pub struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    waiting: Waiting,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            items: RefCell::default(),
            waiting: Waiting::default(),
        }
    }
}

impl<T> Queue<T> {
    /// Adds one at the end.
    pub fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        self.waiting.wake_all();
    }

    /// Puts one back at the front.
    pub fn put_back(&self, item: T) {
        self.items.borrow_mut().push_front(item);
        self.waiting.wake_all();
    }

    /// The next one, when there is one.
    pub fn take(&self) -> Option<T> {
        let mut items = self.items.borrow_mut();
        let item = items.pop_front();
        // What a burst needed is given back.
        if items.is_empty() && items.capacity() > 64 {
            items.shrink_to_fit();
        }
        item
    }

    /// Waits for the next one.
    pub async fn next(&self) -> T {
        let mut place = self.waiting.place();
        std::future::poll_fn(|context| match self.take() {
            Some(item) => Poll::Ready(item),
            None => {
                place.take(context.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.borrow().is_empty()
    }

    /// Looks at the last one.
    pub fn last_is(&self, test: impl FnOnce(&T) -> bool) -> bool {
        self.items.borrow().back().is_some_and(test)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake};

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    #[test]
    fn a_wait_leaves_nothing_behind() {
        let once = Once::<()>::default();
        let queue = Queue::<u8>::default();
        for _ in 0..3 {
            let (mut end, mut next) = (pin!(once.wait()), pin!(queue.next()));
            for _ in 0..2 {
                // As the loop does it: another waker each time.
                let waker = Waker::from(std::sync::Arc::new(Nobody));
                assert!(end.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(once.waiting.wakers.borrow().len(), 1);
        }
        assert!(once.waiting.wakers.borrow().is_empty() && queue.waiting.wakers.borrow().is_empty());
    }
}
