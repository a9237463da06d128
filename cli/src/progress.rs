//! Progress of layers: bars on a terminal, a line for each change of state elsewhere, or nothing.
//!
//! May not: be waited for. Many threads tell; whoever tells may also have to draw, ten times a second at most. A stream that
//! cannot be written to is forgotten.

use crate::units::size_exact;
use crate::width;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two drawings of what only counts.
const PAUSE: Duration = Duration::from_millis(100);
/// Below this many columns there is no bar, as in Docker.
const ROOM_FOR_BAR: usize = 110;

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nowhere.
    Quiet,
    /// A line for each change; counts are left out.
    Plain,
    /// Lines that change in place.
    Bars,
}

/// Progress of one operation. Shared by its threads.
pub struct Display<W: Write> {
    style: Style,
    inner: Mutex<Inner<W>>,
}

struct Inner<W> {
    out: W,
    size: fn(&W) -> Room,
    lines: Vec<Line>,
    drawn: Option<Instant>,
}

struct Line {
    id: String,
    text: String,
    counts: Option<(u64, u64)>,
    changed: bool,
    new: bool,
}

/// What a terminal shows.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub columns: usize,
    pub rows: usize,
}

/// Of the terminal behind a stream, asked anew each time: people drag windows.
fn room<W: AsFd>(out: &W) -> Room {
    match sys::tty::window_size(out.as_fd()) {
        Ok(size) if size.columns > 0 && size.rows > 0 => Room {
            columns: usize::from(size.columns),
            rows: usize::from(size.rows),
        },
        _ => Room {
            columns: 200,
            rows: usize::MAX,
        },
    }
}

impl<W: Write + AsFd + AsRawFd + IsTerminal> Display<W> {
    /// For a stream: stdout of `pull`, stderr of `run`.
    pub fn new(out: W, quiet: bool) -> Display<W> {
        let style = match (quiet, out.is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bars,
            (false, false) => Style::Plain,
        };
        Display::of(style, out, room::<W>)
    }
}

impl<W: Write> Display<W> {
    /// With a style of the caller's choice.
    pub fn of(style: Style, out: W, size: fn(&W) -> Room) -> Display<W> {
        Display {
            style,
            inner: Mutex::new(Inner {
                out,
                size,
                lines: Vec::new(),
                drawn: None,
            }),
        }
    }

    /// A line that belongs to no layer. Layers that come after it get new lines.
    pub fn note(&self, text: &str) {
        if self.style == Style::Quiet {
            return;
        }
        let mut inner = self.lock();
        if self.style == Style::Bars {
            inner.draw();
        }
        inner.lines.clear();
        let _ = writeln!(inner.out, "{text}");
        let _ = inner.out.flush();
    }

    /// Where a layer is: `Pull complete`, or `Downloading` with counts.
    pub fn layer(&self, id: &str, words: &str, counts: Option<(u64, u64)>) {
        match self.style {
            Style::Quiet => {}
            Style::Plain => {
                if counts.is_some() {
                    return;
                }
                let mut inner = self.lock();
                if inner.change(id, words, None) {
                    let _ = writeln!(inner.out, "{id}: {words}");
                    let _ = inner.out.flush();
                }
            }
            Style::Bars => {
                let mut inner = self.lock();
                if !inner.change(id, words, counts) {
                    return;
                }
                let due = inner.drawn.is_none_or(|at| at.elapsed() >= PAUSE);
                if due || counts.is_none() {
                    inner.draw();
                }
            }
        }
    }

    /// Shows the last counts.
    pub fn finish(&self) {
        if self.style == Style::Bars {
            self.lock().draw();
        }
    }

    /// A thread that panicked while it drew has spoilt a line, no more.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Inner<W> {
    /// Whether it is news.
    fn change(&mut self, id: &str, words: &str, counts: Option<(u64, u64)>) -> bool {
        let found = self.lines.iter_mut().find(|l| l.id == id);
        let Some(line) = found else {
            self.lines.push(Line {
                id: id.to_owned(),
                text: words.to_owned(),
                counts,
                changed: true,
                new: true,
            });
            return true;
        };
        if line.text == words && line.counts == counts {
            return false;
        }
        words.clone_into(&mut line.text);
        line.counts = counts;
        line.changed = true;
        true
    }

    /// Rewrites the lines that have changed. The cursor rests below the last one.
    fn draw(&mut self) {
        let room = (self.size)(&self.out);
        let mut text = String::new();
        let count = self.lines.len();
        // New lines are all at the end, and the distance to those above counts them.
        for line in &mut self.lines {
            if std::mem::take(&mut line.new) {
                text.push('\n');
            }
        }
        for (n, line) in self.lines.iter_mut().enumerate() {
            // What has left the screen at the top cannot be reached.
            let up = count - n;
            if !std::mem::take(&mut line.changed) || up >= room.rows {
                continue;
            }
            let shown = line.shown(room.columns);
            text.push_str(&format!("\x1b[{up}A\x1b[2K\r{shown}\x1b[{up}B\r"));
        }
        self.drawn = Some(Instant::now());
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl Line {
    fn shown(&self, columns: usize) -> String {
        let text = match self.counts {
            None => format!("{}: {} ", self.id, self.text),
            Some((done, total)) => format!("{}: {} {}", self.id, self.text, bar(done, total, columns)),
        };
        // The last column stays free: some terminals wrap when it is written.
        width::cut(&text, columns.saturating_sub(1)).to_owned()
    }
}

/// `[=====>      ]  1.2MB/3.4MB`
fn bar(done: u64, total: u64, columns: usize) -> String {
    let bytes = |n: u64| size_exact(i64::try_from(n).unwrap_or(i64::MAX));
    if total == 0 {
        return if done == 0 {
            String::new()
        } else {
            format!("{:>8}", bytes(done))
        };
    }
    let half_percent = usize::try_from(u128::from(done) * 50 / u128::from(total))
        .unwrap_or(50)
        .min(50);
    let mut text = String::new();
    if columns > ROOM_FOR_BAR {
        let (filled, empty) = ("=".repeat(half_percent), " ".repeat(50 - half_percent));
        text = format!("[{filled}>{empty}] ");
    }
    text.push_str(&format!("{:>8}", bytes(done)));
    if done <= total {
        text.push('/');
        text.push_str(&bytes(total));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn display(style: Style, columns: usize) -> Display<Vec<u8>> {
        let size: fn(&Vec<u8>) -> Room = match columns {
            120 => |_| Room {
                columns: 120,
                rows: 24,
            },
            _ => |_| Room { columns: 60, rows: 2 },
        };
        Display::of(style, Vec::new(), size)
    }

    fn text(display: Display<Vec<u8>>) -> String {
        String::from_utf8(display.inner.into_inner().unwrap().out).unwrap()
    }

    fn tell(display: &Display<Vec<u8>>) {
        display.note("latest: Pulling from library/x");
        display.layer("aaaaaaaaaaaa", "Pulling fs layer", None);
        display.layer("bbbbbbbbbbbb", "Already exists", None);
        display.layer("aaaaaaaaaaaa", "Downloading", Some((1_200_000, 3_400_000)));
        display.layer("aaaaaaaaaaaa", "Downloading", Some((3_400_000, 3_400_000)));
        display.layer("aaaaaaaaaaaa", "Pull complete", None);
        display.layer("aaaaaaaaaaaa", "Pull complete", None);
        display.note("Status: Downloaded");
    }

    #[test]
    fn plain_lines_are_changes_without_counts() {
        let plain = display(Style::Plain, 120);
        tell(&plain);
        assert_eq!(
            text(plain),
            "latest: Pulling from library/x\naaaaaaaaaaaa: Pulling fs layer\nbbbbbbbbbbbb: Already exists\n\
             aaaaaaaaaaaa: Pull complete\nStatus: Downloaded\n"
        );
        let quiet = display(Style::Quiet, 120);
        tell(&quiet);
        assert_eq!(text(quiet), "");
    }

    #[test]
    fn bars_change_in_place() {
        let bars = display(Style::Bars, 120);
        tell(&bars);
        assert_eq!(
            text(bars),
            "latest: Pulling from library/x\n\
             \n\x1b[1A\x1b[2K\raaaaaaaaaaaa: Pulling fs layer \x1b[1B\r\
             \n\x1b[1A\x1b[2K\rbbbbbbbbbbbb: Already exists \x1b[1B\r\
             \x1b[2A\x1b[2K\raaaaaaaaaaaa: Pull complete \x1b[2B\r\
             Status: Downloaded\n"
        );
    }

    #[test]
    fn lines_above_the_screen_are_left_alone() {
        let bars = display(Style::Bars, 60);
        bars.layer("a", "Waiting", None);
        bars.layer("b", "Waiting", None);
        bars.layer("a", "Pull complete", None);
        assert_eq!(
            text(bars),
            "\n\x1b[1A\x1b[2K\ra: Waiting \x1b[1B\r\n\x1b[1A\x1b[2K\rb: Waiting \x1b[1B\r"
        );
    }

    #[test]
    fn bars_have_dockers_look() {
        assert_eq!(bar(1_200_000, 3_400_000, 60), "   1.2MB/3.4MB");
        assert_eq!(
            bar(1_200_000, 3_400_000, 120),
            format!("[{}>{}]    1.2MB/3.4MB", "=".repeat(17), " ".repeat(33))
        );
        assert_eq!(bar(5, 3, 120), format!("[{}>]       5B", "=".repeat(50)));
        assert_eq!(bar(0, 0, 120), "");
        assert_eq!(bar(1500, 0, 120), "   1.5kB");
    }
}
