//! What people see of a build: a tree that changes in place, lines, JSON, or nothing.
//!
//! ```text
//! builder's threads --tell--> Trace (what is known, bounded) <--every tenth of a second-- the one thread that shows it
//! ```
//!
//! May not: hold the build up. A terminal that is slow or stopped stops the one who draws, never the one who tells; what cannot be
//! shown meanwhile waits in the trace, which keeps no more of a step's output than BuildKit would show. A stream that cannot be
//! written to is forgotten.

pub mod excerpt;
pub mod plain;
pub mod rawjson;
pub mod screen;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod tree;

use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use builder::telling::Event;

use crate::build_request::Style;
use crate::progress::Room;
use trace::Trace;

/// Between two looks at what has happened.
const PAUSE: Duration = Duration::from_millis(100);

/// What shows a trace.
enum Look {
    Tree(tree::Tree),
    Plain(plain::Plain),
    Rawjson(rawjson::Rawjson),
    Nothing,
}

struct Inner {
    trace: Trace,
    is_over: bool,
    /// Something has happened since it was last shown.
    is_news: bool,
}

struct Shared {
    begun: Instant,
    inner: Mutex<Inner>,
    wake: Condvar,
}

/// The progress of a build on stderr.
pub struct Board {
    shared: Arc<Shared>,
    shower: Mutex<Option<JoinHandle<()>>>,
}

impl Board {
    /// Begins to show.
    ///
    /// # Errors
    /// A terminal was asked for and stderr is none.
    pub fn new(style: Style, builder: &str) -> Result<Board, String> {
        let stderr = std::io::stderr();
        let is_terminal = stderr.is_terminal();
        let variable = |name: &str| std::env::var(name).ok();
        let look = match style {
            Style::Tty if !is_terminal => {
                return Err("failed to get console: provided file is not a console".to_owned());
            }
            Style::Auto | Style::Tty if is_terminal => Look::Tree(tree::Tree::new(
                screen::Colours::of(variable),
                builder,
                tree::window_rows(variable),
            )),
            Style::Auto | Style::Plain | Style::Tty => Look::Plain(plain::Plain::new(is_terminal)),
            Style::Rawjson => Look::Rawjson(rawjson::Rawjson::new(SystemTime::now())),
            Style::Quiet => Look::Nothing,
        };
        let mut trace = Trace::new(trace::Limits::of(variable));
        trace.keep_events(matches!(look, Look::Rawjson(_)));
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            inner: Mutex::new(Inner {
                trace,
                is_over: false,
                is_news: false,
            }),
            wake: Condvar::new(),
        });
        let shower = thread::Builder::new()
            .name("progress".to_owned())
            .spawn({
                let shared = shared.clone();
                move || show(&shared, look)
            })
            .map_err(|e| format!("failed to start a thread: {e}"))?;
        Ok(Board {
            shared,
            shower: Mutex::new(Some(shower)),
        })
    }

    /// Something happens.
    pub fn tell(&self, event: &Event<'_>) {
        let at = self.shared.begun.elapsed();
        let mut inner = self.shared.lock();
        inner.trace.tell(event, at);
        inner.is_news = true;
        // The shower looks by itself ten times a second; who waits for the first line is not kept waiting.
        drop(inner);
    }

    /// A line that belongs to no vertex.
    pub fn note(&self, text: &str) {
        self.tell(&Event::Warning { text });
    }

    /// Shows the rest. What is told later is shown by nobody.
    pub fn finish(&self) {
        self.shared.lock().is_over = true;
        self.shared.wake.notify_all();
        let shower = self.shower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(shower) = shower {
            // If it has panicked it has nothing more to show.
            let _ = shower.join();
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    /// A thread that panicked while it told has spoilt a line, no more.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the terminal behind stderr has, asked anew each time: people drag windows.
fn room() -> Room {
    match sys::tty::window_size(std::io::stderr().as_fd()) {
        Ok(size) if size.columns > 0 && size.rows > 0 => Room {
            columns: usize::from(size.columns),
            rows: usize::from(size.rows),
        },
        _ => Room {
            columns: 80,
            rows: 10,
        },
    }
}

/// Until it is over: what is new since the last look. The text is made under the lock and written without it.
fn show(shared: &Shared, mut look: Look) {
    loop {
        let inner = shared.lock();
        let waited = shared.wake.wait_timeout(inner, PAUSE);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_over = inner.is_over;
        let is_news = std::mem::take(&mut inner.is_news) || is_over;
        let at = shared.begun.elapsed();
        let text = match &mut look {
            // Seconds pass even where nothing happens.
            Look::Tree(tree) => tree.draw(&mut inner.trace, at, room(), is_over),
            Look::Plain(plain) if is_news => plain.lines(&mut inner.trace, at, is_over),
            Look::Rawjson(rawjson) if is_news => rawjson.lines(&mut inner.trace),
            Look::Plain(_) | Look::Rawjson(_) | Look::Nothing => Vec::new(),
        };
        drop(inner);
        if !text.is_empty() {
            let mut out = std::io::stderr().lock();
            let _ = out.write_all(&text).and_then(|()| out.flush());
        }
        if is_over {
            return;
        }
    }
}
