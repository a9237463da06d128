//! The event loop: tasks that wait for descriptors and for time, on the one thread there is.
//!
//! May not: block anywhere but in epoll_wait(2), start threads, know what its tasks do.
//!
//! A task is a future. What it can wait for is a [`Source`] (a descriptor), the time ([`Reactor::sleep_until`]) or
//! something another task says ([`crate::sync`]). Own code, as an executor for one thread is small and what exists brings
//! threads, timers wheels and hundreds of kilobytes of stacks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sys::event::{Armed, Epoll, Event};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks that can go on. Wakers must be able to cross threads by their type, so this is a mutex that nobody ever waits for.
type Ready = Mutex<VecDeque<u64>>;

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

/// Who waits on one descriptor.
#[derive(Default)]
struct Waiting {
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Waiting {
    fn armed(&self) -> Armed {
        Armed {
            read: self.read.is_some(),
            write: self.write.is_some(),
        }
    }
}

struct Inner {
    epoll: Epoll,
    ready: Arc<Ready>,
    tasks: RefCell<BTreeMap<u64, Option<Task>>>,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next: Cell<u64>,
}

/// The loop. Copies are handles to the same one.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reactor")
    }
}

/// The task of [`Reactor::run`].
const MAIN: u64 = 0;

impl Reactor {
    /// An empty loop.
    ///
    /// # Errors
    /// epoll_create1(2)'s.
    pub fn new() -> sys::Result<Reactor> {
        Ok(Reactor(Rc::new(Inner {
            epoll: Epoll::new()?,
            ready: Arc::default(),
            tasks: RefCell::default(),
            waiting: RefCell::default(),
            timers: RefCell::default(),
            next: Cell::new(MAIN + 1),
        })))
    }

    fn number(&self) -> u64 {
        let n = self.0.next.get();
        self.0.next.set(n + 1);
        n
    }

    /// Starts a task. It ends by itself, or with the loop.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.number();
        self.0.tasks.borrow_mut().insert(id, Some(Box::pin(task)));
        self.waker(id).wake();
    }

    fn waker(&self, id: u64) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.0.ready),
        }))
    }

    /// Runs until `main` is done, and all other tasks meanwhile. What is left of them then is dropped.
    ///
    /// # Errors
    /// epoll_wait(2)'s, which cannot be gone on with.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> sys::Result<T> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.0.tasks.borrow_mut().insert(
            MAIN,
            Some(Box::pin(async move {
                let value = main.await;
                *slot.borrow_mut() = Some(value);
            })),
        );
        self.waker(MAIN).wake();
        let mut found = Vec::new();
        loop {
            self.run_ready();
            if let Some(value) = result.borrow_mut().take() {
                break self.end(value);
            }
            let patience = match self.is_any_ready() {
                true => Some(Duration::ZERO),
                false => self.patience(),
            };
            self.0.epoll.wait(patience, &mut found)?;
            self.wake_sources(&found);
            found.clear();
            self.wake_sleepers();
        }
    }

    /// Drops every task. Some own others' wakers, and dropping one may start another.
    fn end<T>(&self, value: T) -> sys::Result<T> {
        loop {
            let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            if tasks.is_empty() {
                return Ok(value);
            }
            drop(tasks);
        }
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_any_ready(&self) -> bool {
        !self.ready().is_empty()
    }

    /// Those that are ready now. One that lets others run is ready again at once; descriptors and timers have their turn before.
    fn run_ready(&self) {
        let most = self.ready().len();
        for _ in 0..most {
            let next = self.ready().pop_front();
            let Some(id) = next else { return };
            // Taken out while it runs: it may start tasks.
            let task = self.0.tasks.borrow_mut().get_mut(&id).and_then(Option::take);
            let Some(mut task) = task else { continue };
            let waker = self.waker(id);
            match task.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(()) => {
                    self.0.tasks.borrow_mut().remove(&id);
                }
                Poll::Pending => {
                    if let Some(place) = self.0.tasks.borrow_mut().get_mut(&id) {
                        *place = Some(task);
                    }
                }
            }
        }
    }

    fn patience(&self) -> Option<Duration> {
        let timers = self.0.timers.borrow();
        let (at, _) = timers.keys().next()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn wake_sources(&self, found: &[Event]) {
        for event in found {
            let woken = {
                let mut waiting = self.0.waiting.borrow_mut();
                let Some(w) = waiting.get_mut(&event.key) else {
                    continue;
                };
                let read = if event.readable { w.read.take() } else { None };
                let write = if event.writable { w.write.take() } else { None };
                // The report disarmed both sides. The one that is still waited for is armed when its task is polled,
                // so that task is woken as well.
                [read.or_else(|| w.read.take()), write.or_else(|| w.write.take())]
            };
            woken.into_iter().flatten().for_each(Waker::wake);
        }
    }

    fn wake_sleepers(&self) {
        let now = Instant::now();
        loop {
            let waker = {
                let mut timers = self.0.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            waker.wake();
        }
    }

    /// Waits for a moment.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep {
            reactor: self.clone(),
            key: (at, self.number()),
        }
    }

    /// Waits for a while.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(Instant::now() + time)
    }

    /// The result of `work`, or `None` when it is not there in time; it is dropped then. `at` `None`: no limit.
    pub async fn within<T>(&self, at: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
        let Some(at) = at else { return Some(work.await) };
        let (work, sleep) = (std::pin::pin!(work), std::pin::pin!(self.sleep_until(at)));
        match either(work, sleep).await {
            Either::Left(value) => Some(value),
            Either::Right(()) => None,
        }
    }

    /// A descriptor that tasks can wait on. It should be non-blocking.
    ///
    /// # Errors
    /// epoll_ctl(2)'s; EPERM for a regular file.
    pub fn watch<T: AsFd>(&self, io: T) -> sys::Result<Source<T>> {
        let key = self.number();
        self.0.epoll.add(io.as_fd(), key, Armed::default())?;
        self.0.waiting.borrow_mut().insert(key, Waiting::default());
        Ok(Source {
            reactor: self.clone(),
            key,
            io,
        })
    }
}

/// What [`either`] finished with.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

/// The first of two to be done; of two that are done, the first one.
pub async fn either<A, B>(
    mut a: Pin<&mut impl Future<Output = A>>,
    mut b: Pin<&mut impl Future<Output = B>>,
) -> Either<A, B> {
    std::future::poll_fn(move |context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either::Left(value));
        }
        b.as_mut().poll(context).map(Either::Right)
    })
    .await
}

/// A wait for a moment.
#[derive(Debug)]
pub struct Sleep {
    reactor: Reactor,
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.reactor.0.timers.borrow_mut();
        if self.key.0 <= Instant::now() {
            timers.remove(&self.key);
            return Poll::Ready(());
        }
        timers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.reactor.0.timers.borrow_mut().remove(&self.key);
    }
}

#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

/// A watched descriptor. One task may wait for each side at a time.
#[derive(Debug)]
pub struct Source<T: AsFd> {
    reactor: Reactor,
    key: u64,
    io: T,
}

impl<T: AsFd> Source<T> {
    /// What is watched.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }

    /// Until something can be read, or the other side is gone.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub async fn readable(&self) -> sys::Result<()> {
        self.ready(Side::Read).await
    }

    /// Until there is room to write, or the other side is gone.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub async fn writable(&self) -> sys::Result<()> {
        self.ready(Side::Write).await
    }

    /// Tries `call` until it does not answer EAGAIN.
    ///
    /// # Errors
    /// The call's.
    pub async fn read_when_ready<R>(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>) -> sys::Result<R>,
    ) -> sys::Result<R> {
        loop {
            match call(self.fd()) {
                Err(e) if e.is(libc::EAGAIN) => self.readable().await?,
                done => return done,
            }
        }
    }

    async fn ready(&self, side: Side) -> sys::Result<()> {
        let mut armed = false;
        std::future::poll_fn(|context| {
            let mut all = self.reactor.0.waiting.borrow_mut();
            let Some(waiting) = all.get_mut(&self.key) else {
                return Poll::Ready(Ok(()));
            };
            let place = match side {
                Side::Read => &mut waiting.read,
                Side::Write => &mut waiting.write,
            };
            // Armed before and the waker taken: reported. It may have been the other side's report; who asks again
            // after EAGAIN finds out.
            if armed && place.is_none() {
                return Poll::Ready(Ok(()));
            }
            *place = Some(context.waker().clone());
            armed = true;
            let wanted = waiting.armed();
            match self.reactor.0.epoll.arm(self.io.as_fd(), self.key, wanted) {
                Ok(()) => Poll::Pending,
                Err(e) => Poll::Ready(Err(e)),
            }
        })
        .await
    }
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        self.reactor.0.waiting.borrow_mut().remove(&self.key);
        // It is open and was added, so this cannot fail.
        let _ = self.reactor.0.epoll.remove(self.io.as_fd());
    }
}
