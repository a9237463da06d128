//! The part of a Dockerfile that something is about, and the list of what should be otherwise, as Docker prints them.
//!
//! May not: print.

use build::lint::Finding;
use build::source::{Source, Span};

use super::screen::Colours;

/// Lines around a place, and one that it is the only one of.
const AROUND: usize = 2;
const AROUND_ONE: usize = 4;

/// `Dockerfile:3`, a few lines, `>>>` before those that are meant. Empty for a place that is nowhere.
pub fn excerpt(source: &Source, name: &str, span: Span) -> String {
    around(source, name, span, false)
}

/// The same with carets below the words that are wrong, which BuildKit does not have.
pub fn pointed(source: &Source, name: &str, span: Span) -> String {
    around(source, name, span, true)
}

fn around(source: &Source, name: &str, span: Span, is_pointed: bool) -> String {
    if span == Span::default() {
        return String::new();
    }
    let lines: Vec<&str> = source.text().split('\n').collect();
    let (first, last) = source.lines_of(span);
    let (first, last) = (first as usize, (last as usize).min(lines.len()));
    if first > lines.len() {
        return String::new();
    }
    // BuildKit counts what it adds and, once a round, the round, so a place in the middle gets one line on each side.
    let wanted = if first == last { AROUND_ONE } else { AROUND };
    let (mut from, mut to, mut added) = (first, last, 0);
    while added < wanted {
        if from > 1 {
            from -= 1;
            added += 1;
        }
        if to != lines.len() {
            to += 1;
            added += 1;
        }
        added += 1;
    }
    let mut text = format!("{name}:{first}\n--------------------\n");
    for (n, line) in lines.iter().enumerate().take(to).skip(from - 1) {
        let mark = if (first..=last).contains(&(n + 1)) {
            ">>>"
        } else {
            "   "
        };
        text.push_str(&format!(" {:3} | {mark} {line}\n", n + 1));
        if is_pointed && first == last && n + 1 == first {
            text.push_str(&carets(source, span, line));
        }
    }
    text + "--------------------\n"
}

/// Which part of a line is meant, if not all of it.
fn carets(source: &Source, span: Span, line: &str) -> String {
    let part = source.at(span).trim_end();
    if part.is_empty() || part.contains('\n') || part == line.trim() {
        return String::new();
    }
    let before = source.position(span.start).column.saturating_sub(1) as usize;
    // Tabs stay tabs, so that the carets are below their word whatever a terminal makes of them.
    let pad: String = line
        .chars()
        .take(before)
        .map(|c| if c == '\t' { c } else { ' ' })
        .collect();
    format!("     |     {pad}{}\n", "^".repeat(part.chars().count()))
}

/// What is wrong with a file, behind a build: one line each, or with `is_debug` everything that is known.
pub fn warnings(
    source: &Source,
    findings: &[Finding],
    colours: &Colours,
    program: &str,
    is_debug: bool,
) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let count = match findings.len() {
        1 => "1 warning found".to_owned(),
        n => format!("{n} warnings found"),
    };
    let hint = match is_debug {
        true => String::new(),
        false => format!(" (use {program} --debug to expand)"),
    };
    let mut text = format!("\n {}\n", colours.warning(&format!("{count}{hint}:")));
    for finding in findings {
        let rule = finding.rule;
        text.push_str(&format!(
            " - {}: {} (line {})\n",
            rule.name(),
            finding.message,
            source.line_of(finding.span)
        ));
        if !is_debug {
            continue;
        }
        text.push_str(&format!("{}\n", rule.description()));
        if let Some(url) = rule.url() {
            text.push_str(&format!("More info: {url}\n"));
        }
        text.push_str(&excerpt(source, source.name(), finding.span));
        text.push('\n');
    }
    text
}
