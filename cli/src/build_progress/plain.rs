//! Progress as lines: `#5 [2/3] RUN make`, `#5 0.123 text`, `#5 DONE 1.2s`.
//!
//! May not: mix vertices line by line. One is shown at a time; it is left (`#5 ...`) when it has ended, when it is quiet while others
//! speak, or when another has waited for long.

use std::time::Duration;

use super::screen;
use super::trace::{End, Told, Trace, amount, seconds};

/// Whoever is shown may speak for so long before others may.
const TURN: Duration = Duration::from_secs(5);
/// Nobody waits longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Between two lines about a part that goes on.
const PART_PAUSE: Duration = Duration::from_secs(5);
/// Or if so much of it is new: a twentieth.
const PART_STEP: u64 = 20;
/// What is shown of a failed step again at the end.
const LAST_LINES: usize = 10;

/// What has been shown so far.
pub struct Plain {
    /// Terminals obey what containers write.
    is_terminal: bool,
    current: Option<usize>,
    is_first: bool,
    /// Of each part by vertex and index: when it was last shown, and how much of it.
    shown: Vec<Vec<(Duration, u64)>>,
    warnings: usize,
}

impl Plain {
    pub fn new(is_terminal: bool) -> Plain {
        Plain {
            is_terminal,
            current: None,
            is_first: true,
            shown: Vec::new(),
            warnings: 0,
        }
    }

    /// What is new. At the end, all of it, and what failed.
    pub fn lines(&mut self, trace: &mut Trace, now: Duration, is_over: bool) -> Vec<u8> {
        let mut out = Vec::new();
        self.ended(trace, now, &mut out);
        if let Some(next) = self.next(trace, now) {
            self.show(trace, next, now, &mut out);
        }
        for warning in trace.warnings.iter().skip(self.warnings) {
            out.extend_from_slice(format!("WARNING: {warning}\n").as_bytes());
        }
        self.warnings = trace.warnings.len();
        if is_over {
            failures(trace, Some(LAST_LINES), self.is_terminal, &mut out);
        }
        out
    }

    /// Those that have ended: first the one that is shown, then in the order in which they ended.
    fn ended(&mut self, trace: &mut Trace, now: Duration, out: &mut Vec<u8>) {
        let mut ended: Vec<(bool, Duration, usize)> = trace
            .vertices
            .iter()
            .enumerate()
            .filter(|(_, v)| v.is_news)
            .filter_map(|(index, v)| Some((self.current != Some(index), v.ended.as_ref()?.0, index)))
            .collect();
        ended.sort_unstable();
        for (_, _, index) in ended {
            self.show(trace, index, now, out);
        }
    }

    /// Which of those that go on is to be shown now.
    fn next(&self, trace: &Trace, now: Duration) -> Option<usize> {
        let open = || {
            trace
                .vertices
                .iter()
                .enumerate()
                .filter(|(_, v)| v.ended.is_none())
        };
        let waited = |v: &Told| {
            v.waiting_since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since))
        };
        let is_shown = self
            .current
            .is_some_and(|c| trace.vertices.get(c).is_some_and(|v| v.ended.is_none()));
        let loudest = || {
            open()
                .filter(|(_, v)| v.is_news)
                .max_by_key(|(index, v)| (v.count, usize::MAX - index))
        };
        if !is_shown {
            return loudest().or_else(|| open().next()).map(|(index, _)| index);
        }
        let current = self.current?;
        let others = open().filter(|(index, v)| *index != current && v.is_news);
        if let Some((index, _)) = others.clone().find(|(_, v)| waited(v) > LONGEST_WAIT) {
            return Some(index);
        }
        let own = trace.vertices.get(current)?;
        if own.is_news {
            return Some(current);
        }
        // It is quiet. Others may speak when its turn is over.
        others
            .max_by_key(|(_, v)| v.count)
            .filter(|(_, v)| waited(v) > TURN)
            .map(|(index, _)| index)
    }

    fn show(&mut self, trace: &mut Trace, index: usize, now: Duration, out: &mut Vec<u8>) {
        let number = index + 1;
        if self.current != Some(index) {
            if let Some(left) = self.current.replace(index) {
                out.extend_from_slice(format!("#{} ...\n", left + 1).as_bytes());
            }
            if !std::mem::take(&mut self.is_first) {
                out.push(b'\n');
            }
            let name = trace.vertices.get(index).map_or("", |v| v.name.as_str());
            out.extend_from_slice(format!("#{number} {name}\n").as_bytes());
        }
        let Some(told) = trace.vertices.get_mut(index) else {
            return;
        };
        self.parts(told, index, now, out);
        for line in told.lines.iter().skip(told.taken) {
            out.extend_from_slice(format!("#{number} {} ", seconds(line.at)).as_bytes());
            text(&line.bytes, self.is_terminal, out);
        }
        told.taken = told.lines.len();
        // What has been shown is kept only as far as a failure shows it again.
        if told.taken > 4 * LAST_LINES {
            told.lines.drain(..told.taken - LAST_LINES);
            told.taken = LAST_LINES;
        }
        (told.is_news, told.count, told.waiting_since) = (false, 0, None);
        let Some((at, end)) = &told.ended else {
            return;
        };
        self.current = None;
        let line = match end {
            End::Done => format!(
                "#{number} DONE {:.1}s\n",
                at.saturating_sub(told.begun).as_secs_f64()
            ),
            End::Cached => format!("#{number} CACHED\n"),
            End::Failed(why) => format!("#{number} ERROR: {why}\n"),
            End::Cancelled => format!("#{number} CANCELED\n"),
        };
        out.extend_from_slice(line.as_bytes());
    }

    fn parts(&mut self, told: &mut Told, index: usize, now: Duration, out: &mut Vec<u8>) {
        if self.shown.len() <= index {
            self.shown.resize(index + 1, Vec::new());
        }
        let Some(shown) = self.shown.get_mut(index) else {
            return;
        };
        for (n, part) in told.parts.iter_mut().enumerate() {
            if !std::mem::take(&mut part.is_news) {
                continue;
            }
            if let Some((last, done)) = shown.get(n)
                && part.ended.is_none()
                && part.told.saturating_sub(*last) < PART_PAUSE
                && (part.total == 0 || part.done.saturating_sub(*done) < part.total / PART_STEP)
            {
                continue;
            }
            if shown.len() <= n {
                shown.resize(n + 1, (now, 0));
            }
            if let Some(entry) = shown.get_mut(n) {
                *entry = (part.told, part.done);
            }
            let mut line = format!("#{} {}", index + 1, part.id);
            let amount = amount(part);
            if !amount.is_empty() {
                line.push(' ');
                line.push_str(&amount);
            }
            let took = part
                .ended
                .unwrap_or(part.told)
                .saturating_sub(part.begun)
                .as_secs_f64();
            if took > 0.01 {
                line.push_str(&format!(" {took:.1}s"));
            }
            if part.ended.is_some() {
                line.push_str(" done");
            }
            line.push('\n');
            out.extend_from_slice(line.as_bytes());
        }
    }
}

/// A line that a container has written.
fn text(bytes: &[u8], is_terminal: bool, out: &mut Vec<u8>) {
    if is_terminal {
        out.extend_from_slice(screen::harmless(&String::from_utf8_lossy(bytes), true).as_bytes());
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'\n');
}

/// What the steps that failed have written, the last lines or all.
pub fn failures(trace: &Trace, last: Option<usize>, is_terminal: bool, out: &mut Vec<u8>) {
    for told in &trace.vertices {
        if !matches!(told.ended, Some((_, End::Failed(_)))) {
            continue;
        }
        out.extend_from_slice(format!("------\n > {}:\n", told.name).as_bytes());
        let skipped = last.map_or(0, |last| told.lines.len().saturating_sub(last));
        for line in told.lines.iter().skip(skipped) {
            out.extend_from_slice(format!("{} ", seconds(line.at)).as_bytes());
            text(&line.bytes, is_terminal, out);
        }
        out.extend_from_slice(b"------\n");
    }
}
