//! The text of `--help`, made from the tables.
//!
//! May not: say what the tables do not.

use crate::command::{Called, Command, Listed};
use crate::commands::ROOT;
use crate::flags::{Flag, Shown};
use crate::session::Session;
use crate::template::quote;
use crate::terminal;

/// Names of commands are at least this wide.
const NAMES: usize = 11;

/// Help of the whole program.
pub fn program(session: &Session) -> String {
    let name = session.program.name();
    let mut out = format!("Usage:  {name} [OPTIONS] COMMAND\n\n{}\n", ROOT.summary);
    let plain = |listed| move |c: &&'static Command| !c.is_group() && c.listed == listed;
    let all = || ROOT.shown();
    list(&mut out, "Common Commands", all().filter(plain(Listed::Common)));
    list(&mut out, "Management Commands", all().filter(|c| c.is_group()));
    list(&mut out, "Commands", all().filter(plain(Listed::Further)));
    out.push_str("\nGlobal Options:\n");
    out.push_str(&options(ROOT.flags));
    out.push_str(&format!(
        "\nRun '{name} COMMAND --help' for more information on a command.\n"
    ));
    out
}

/// Help of a command or a group.
pub fn command(session: &Session, called: &Called) -> String {
    let command = called.command;
    if called.path == session.program.name() {
        return program(session);
    }
    let usage = if command.is_group() {
        format!("{} COMMAND", called.path)
    } else {
        called.usage()
    };
    let mut out = format!("Usage:  {usage}\n\n{}\n", command.summary);
    if !command.about.is_empty() {
        out.push_str(&format!("\n{}\n", session.named(command.about)));
    }
    if command.ways.len() > 1 {
        let name = session.program.name();
        let ways: Vec<String> = command.ways.iter().map(|w| format!("{name} {w}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", ways.join(", ")));
    }
    for (n, example) in command.examples.iter().enumerate() {
        let heading = if n == 0 { "\nExamples:\n" } else { "" };
        out.push_str(&format!("{heading}  {}\n", session.named(example)));
    }
    if command.flags.iter().any(|f| f.shown == Shown::Yes) {
        out.push_str("\nOptions:\n");
        out.push_str(&options(command.flags));
    }
    if command.is_group() {
        list(&mut out, "Commands", command.shown());
        out.push_str(&format!(
            "\nRun '{} COMMAND --help' for more information on a command.\n",
            called.path
        ));
    }
    out
}

fn list(out: &mut String, heading: &str, commands: impl Iterator<Item = &'static Command>) {
    for (n, command) in commands.enumerate() {
        if n == 0 {
            out.push_str(&format!("\n{heading}:\n"));
        }
        out.push_str(&format!("  {:<NAMES$} {}\n", command.name, command.summary));
    }
}

/// A line or more for each flag, sorted by name, wrapped to the terminal.
fn options(flags: &[Flag]) -> String {
    let mut shown: Vec<&Flag> = flags.iter().filter(|f| f.shown == Shown::Yes).collect();
    shown.sort_by_key(|f| f.name);
    let names: Vec<String> = shown.iter().map(|f| spelling(f)).collect();
    let indent = names.iter().map(String::len).max().unwrap_or(0) + 3;
    let room = terminal::columns().saturating_sub(indent + 1).max(24);
    let mut out = String::new();
    for (flag, name) in shown.iter().zip(&names) {
        for (n, line) in wrap(&about(flag), room).iter().enumerate() {
            let left = if n == 0 { name.as_str() } else { "" };
            out.push_str(&format!("{left:<indent$}{line}\n"));
        }
    }
    out
}

/// `  -f, --filter filter`
fn spelling(flag: &Flag) -> String {
    let short = flag
        .short
        .map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
    format!("  {short}--{} {}", flag.name, flag.takes.name())
        .trim_end()
        .to_owned()
}

/// The text of a flag with its default.
pub fn about(flag: &Flag) -> String {
    use crate::flags::Takes;
    match (flag.takes, flag.default) {
        (Takes::Switch(true), _) => format!("{} (default true)", flag.about),
        (_, "") => flag.about.to_owned(),
        (Takes::Int, default) => format!("{} (default {default})", flag.about),
        (_, default) => format!("{} (default {})", flag.about, quote(default)),
    }
}

/// Words in lines of at most so many characters; line breaks of the text stay.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.len() + 1 + word.len() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
