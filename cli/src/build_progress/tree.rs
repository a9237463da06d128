//! Progress as a tree that changes in place: a line for each vertex, below it its parts and the last lines that it has written.
//!
//! May not: flicker. A picture is written in one piece over the last one, each line followed by a sequence that clears the rest of
//! it, and never more lines than the terminal has, for what has left it at the top cannot be reached.

use std::time::Duration;

use super::plain::failures;
use super::screen::{Colours, Paint, harmless};
use super::trace::{End, Told, Trace, amount};
use crate::progress::Room;
use crate::width;

/// Lines of a step that runs.
const WINDOW: usize = 6;
/// Below this many columns for a name there is no use in showing it.
const NARROWEST: usize = 12;

/// How many lines of a running step are shown: `BUILDKIT_TTY_LOG_LINES`.
pub fn window_rows(variable: impl Fn(&str) -> Option<String>) -> usize {
    let given = variable("BUILDKIT_TTY_LOG_LINES").and_then(|n| n.parse().ok());
    given.filter(|n| *n > 0).unwrap_or(WINDOW)
}

/// A line of the picture.
struct Row {
    /// Without name and time: a line that is ready.
    is_text: bool,
    name: String,
    amount: String,
    took: Duration,
    is_open: bool,
    paint: Paint,
    /// The vertex that it is the head of.
    head: Option<usize>,
}

/// What is on the screen.
pub struct Tree {
    colours: Colours,
    builder: String,
    window: usize,
    /// Columns of each line.
    drawn: Vec<usize>,
}

impl Tree {
    pub fn new(colours: Colours, builder: &str, window: usize) -> Tree {
        Tree {
            colours,
            builder: builder.to_owned(),
            window,
            drawn: Vec::new(),
        }
    }

    /// The picture of now, over the last one. The last of all shows everything, and what failed.
    pub fn draw(&mut self, trace: &mut Trace, now: Duration, room: Room, is_over: bool) -> Vec<u8> {
        if trace.vertices.is_empty() {
            return Vec::new();
        }
        // The last column stays free: some terminals wrap when it is written.
        let columns = room.columns.saturating_sub(1);
        let mut rows = rows(trace, now);
        let windows = if is_over {
            Vec::new()
        } else {
            self.windows(trace, &rows, room)
        };
        if !is_over {
            let taken: usize = windows.iter().map(|(_, lines)| lines.len()).sum();
            rows = fitting(rows, room.rows.saturating_sub(2 + taken));
        }
        let mut lines = vec![(self.head(trace, now, columns, is_over), Paint::None)];
        for row in &rows {
            lines.extend(row.line(columns));
            let own = windows.iter().filter(|(vertex, _)| row.head == Some(*vertex));
            for text in own.flat_map(|(_, lines)| lines) {
                lines.push((width::cut(text, columns).to_owned(), Paint::Faint));
            }
        }
        let mut out = self.picture(&lines, room);
        if is_over {
            failures(trace, None, true, &mut out);
        }
        out
    }

    /// One picture over the other.
    fn picture(&mut self, lines: &[(String, Paint)], room: Room) -> Vec<u8> {
        let mut text = String::from("\u{1b}[?25l");
        // Where the window has become narrower the terminal has broken lines.
        let up: usize = self
            .drawn
            .iter()
            .map(|n| n.div_ceil(room.columns.max(1)).max(1))
            .sum();
        if up > 0 {
            text.push_str(&format!("\u{1b}[{up}A\r"));
        }
        self.drawn.clear();
        for (line, paint) in lines {
            self.drawn.push(width::of(line));
            text.push_str(&self.colours.paint(*paint, line));
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J\u{1b}[?25h");
        text.into_bytes()
    }

    fn head(&self, trace: &Trace, now: Duration, columns: usize, is_over: bool) -> String {
        let (ended, all) = (trace.ended(), trace.vertices.len());
        let begun = trace.vertices.first().map_or(now, |v| v.begun);
        let mut text = format!(
            "[+] Building {:.1}s ({ended}/{all})",
            now.saturating_sub(begun).as_secs_f64()
        );
        if is_over && ended == all {
            text.push_str(" FINISHED");
        }
        let free = columns.saturating_sub(width::of(&text) + width::of(&self.builder));
        if free > 0 {
            text.extend(std::iter::repeat_n(' ', free));
            text.push_str(&self.builder);
        }
        width::cut(&text, columns).to_owned()
    }

    /// The last lines of steps that run, as far as there is room: those that write most first.
    fn windows(&self, trace: &Trace, rows: &[Row], room: Room) -> Vec<(usize, Vec<String>)> {
        let open = rows.iter().filter(|row| row.is_open).count();
        let mut free = room.rows.saturating_sub(2 + open);
        let mut steps: Vec<(usize, &Told)> = trace
            .vertices
            .iter()
            .enumerate()
            .filter(|(_, v)| v.ended.is_none() && (v.partial.is_some() || !v.lines.is_empty()))
            .collect();
        steps.sort_by_key(|(_, v)| std::cmp::Reverse(v.lines.len()));
        let mut windows = Vec::new();
        for (index, told) in steps {
            if free <= self.window + 3 {
                break;
            }
            let last = told.lines.iter().chain(&told.partial).rev();
            let mut lines: Vec<String> = last
                // Empty lines would take the place of words.
                .map(|line| harmless(&String::from_utf8_lossy(&line.bytes), false))
                .filter(|line| !line.trim().is_empty())
                .map(|line| format!(" => => # {line}"))
                .take(self.window)
                .collect();
            lines.reverse();
            free -= lines.len();
            windows.push((index, lines));
        }
        windows
    }
}

/// All lines that there are.
fn rows(trace: &Trace, now: Duration) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, told) in trace.vertices.iter().enumerate() {
        let (mark, paint) = match told.ended.as_ref().map(|(_, end)| end) {
            None => ("", Paint::None),
            Some(End::Done) => ("", Paint::Run),
            Some(End::Cached) => ("CACHED ", Paint::Run),
            Some(End::Failed(_)) => ("ERROR ", Paint::Error),
            Some(End::Cancelled) => ("CANCELED ", Paint::Cancel),
        };
        rows.push(Row {
            is_text: false,
            name: harmless(&format!("{mark}{}", told.name), false),
            amount: String::new(),
            took: told.took(now),
            is_open: told.ended.is_none(),
            paint,
            head: Some(index),
        });
        rows.extend(told.parts.iter().map(|part| Row {
            is_text: false,
            name: harmless(&format!("=> {}", part.id), false),
            amount: amount(part),
            took: part.ended.unwrap_or(now).saturating_sub(part.begun),
            is_open: part.ended.is_none(),
            paint: if part.ended.is_some() {
                Paint::Run
            } else {
                Paint::None
            },
            head: None,
        }));
    }
    rows.extend(trace.warnings.iter().map(|warning| Row {
        is_text: true,
        name: harmless(&format!(" => WARN: {warning}"), false),
        amount: String::new(),
        took: Duration::ZERO,
        is_open: false,
        paint: Paint::Cancel,
        head: None,
    }));
    rows
}

/// So many of the rows: the last ones, but whatever goes on stays.
fn fitting(rows: Vec<Row>, limit: usize) -> Vec<Row> {
    let mut surplus = rows.len().saturating_sub(limit);
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        if surplus > 0 && !row.is_open {
            surplus -= 1;
            continue;
        }
        kept.push(row);
    }
    // More goes on than there is room for.
    let surplus = kept.len().saturating_sub(limit);
    kept.split_off(surplus)
}

impl Row {
    /// ` => NAME   AMOUNT   1.2s`, or nothing where there is no room for it.
    fn line(&self, columns: usize) -> Option<(String, Paint)> {
        if self.is_text {
            return Some((width::cut(&self.name, columns).to_owned(), self.paint));
        }
        let seconds = self.took.as_secs_f64();
        let timer = format!(" {:.1}s", if seconds < 0.05 { 0.0 } else { seconds });
        let mut left = columns.checked_sub(4 + timer.len())?;
        let is_amount_shown = !self.amount.is_empty() && left > 20 + self.amount.len();
        if is_amount_shown {
            left -= self.amount.len() + 1;
        }
        if left < NARROWEST {
            return None;
        }
        let mut text = format!(" => {}", width::cut(&self.name, left));
        if is_amount_shown {
            text.push(' ');
            text.push_str(&self.amount);
        }
        let free = columns.saturating_sub(width::of(&text) + timer.len());
        text.extend(std::iter::repeat_n(' ', free));
        text.push_str(&timer);
        Some((text, self.paint))
    }
}
