//! The text of `--help`, made from the tables.
//!
//! May not: be looked at by programs beyond its shape: `NAME:` first, then the name of the tool on the second line.

use super::flags::{Flag, HELP, Shown, Takes};
use super::identity::Identity;
use super::output::Table;
use super::verbs::{GLOBAL, VERBS, Verb};
use std::path::Path;

const WIDTH: usize = 100;

/// Help of the whole program.
pub fn program(identity: Identity, root: &Path) -> String {
    let name = identity.name();
    let mut out = format!(
        "NAME:\n   {name} - Open Container Initiative runtime\n\n\
         {name} runs containers that are described by the OCI runtime specification: a bundle\n\
         is a directory with a file config.json and a root file system.\n\n\
         \x20   # {name} run [ -b bundle ] <container-id>\n\n\
         creates a container from the bundle (default: the working directory), starts it and\n\
         waits for it. The id is yours to choose and unique on this host.\n\n\
         USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n",
        identity.version()
    );
    let mut commands = Table::new(1, 2);
    for verb in VERBS.iter().filter(|v| v.shown == Shown::Yes) {
        commands.row(vec![format!("   {}", verb.name), verb.summary.to_string()]);
    }
    out.push_str(&commands.render());
    out.push_str("\nGLOBAL OPTIONS:\n");
    out.push_str(&options(GLOBAL.iter(), &root.to_string_lossy()));
    out
}

/// Help of one command.
pub fn verb(identity: Identity, verb: &Verb) -> String {
    let name = identity.name();
    let mut out = format!(
        "NAME:\n   {name} {} - {}\n\nUSAGE:\n   {name} {}",
        verb.first_name(),
        verb.summary,
        verb.first_name()
    );
    if !verb.flags.is_empty() {
        out.push_str(" [command options]");
    }
    if !verb.operands.is_empty() {
        out.push(' ');
        out.push_str(verb.operands);
    }
    out.push('\n');
    if !verb.about.is_empty() {
        out.push_str("\nDESCRIPTION:\n");
        for paragraph in paragraphs(identity, verb) {
            out.push_str(&wrap(&paragraph, "   "));
        }
    }
    for (n, example) in verb.examples.iter().enumerate() {
        let heading = if n == 0 { "\nEXAMPLES:\n" } else { "" };
        out.push_str(&format!("{heading}   # {}\n", example.replace("{name}", name)));
    }
    out.push_str("\nOPTIONS:\n");
    out.push_str(&options(verb.flags.iter(), ""));
    out
}

/// The description of a command, a paragraph each.
pub(super) fn paragraphs(identity: Identity, verb: &Verb) -> Vec<String> {
    verb.about
        .split("\n\n")
        .map(|p| p.replace("{name}", identity.name()))
        .collect()
}

fn options<'a>(flags: impl Iterator<Item = &'a Flag>, root: &str) -> String {
    let mut table = Table::new(1, 2);
    for flag in flags.filter(|f| f.shown == Shown::Yes).chain([&HELP]) {
        let about = match flag.default {
            "" => flag.about.to_string(),
            "{root}" => format!("{} (default: \"{root}\")", flag.about),
            default => format!("{} (default: {default})", flag.about),
        };
        table.row(vec![format!("   {}", spelling(flag)), about]);
    }
    table.render()
}

/// `--bundle value, -b value`.
pub(super) fn spelling(flag: &Flag) -> String {
    let value = if flag.takes == Takes::Nothing {
        ""
    } else {
        " value"
    };
    match flag.short {
        Some(short) => format!("--{}{value}, -{short}{value}", flag.name),
        None => format!("--{}{value}", flag.name),
    }
}

/// Words in lines that fit, each behind `indent`.
fn wrap(paragraph: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            out.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &format!("{indent}{line}\n")
}
