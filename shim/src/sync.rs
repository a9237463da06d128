//! What tasks say to each other.
//!
//! May not: be used across threads; there is one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A value that is set once and can be waited for by many.
#[derive(Debug)]
pub struct Once<T> {
    value: RefCell<Option<T>>,
    waiting: RefCell<Vec<Waker>>,
}

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once {
            value: RefCell::new(None),
            waiting: RefCell::default(),
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
        wake_all(&self.waiting);
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
        std::future::poll_fn(|context| match self.get() {
            Some(value) => Poll::Ready(value),
            None => {
                enlist(&self.waiting, context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

fn enlist(waiting: &RefCell<Vec<Waker>>, waker: &Waker) {
    let mut waiting = waiting.borrow_mut();
    if !waiting.iter().any(|w| w.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}

fn wake_all(waiting: &RefCell<Vec<Waker>>) {
    let woken = std::mem::take(&mut *waiting.borrow_mut());
    woken.into_iter().for_each(Waker::wake);
}

/// A number that tasks can wait to see at zero.
#[derive(Debug, Default)]
pub struct Count {
    value: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
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
        std::future::poll_fn(|context| {
            if self.value.get() == 0 {
                return Poll::Ready(());
            }
            enlist(&self.waiting, context.waker());
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
        if self.0.value.get() == 0 {
            wake_all(&self.0.waiting);
        }
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
    waiting: RefCell<Vec<Waker>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            items: RefCell::default(),
            waiting: RefCell::default(),
        }
    }
}

impl<T> Queue<T> {
    /// Adds one at the end.
    pub fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        wake_all(&self.waiting);
    }

    /// Puts one back at the front.
    pub fn put_back(&self, item: T) {
        self.items.borrow_mut().push_front(item);
        wake_all(&self.waiting);
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
        std::future::poll_fn(|context| match self.take() {
            Some(item) => Poll::Ready(item),
            None => {
                enlist(&self.waiting, context.waker());
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
