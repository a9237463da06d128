//! Manual pages, made from the tables.
//!
//! May not: say anything that the tables or this file do not; dates and hosts stay out, so that a page only changes with the
//! program.

use crate::command::Command;
use crate::commands::ROOT;
use crate::flags::{Flag, Shown};
use crate::help;
use std::path::Path;

/// All pages: file name and roff. A command that can be reached in two ways has its page under the longer one.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("brig.1".to_owned(), program())];
    for command in ROOT.shown() {
        if command.is_group() {
            let inner = command
                .shown()
                .map(|c| (format!("{} {}", command.name, c.name), c));
            pages.extend(inner.map(|(path, c)| (page_name(&path), page(&path, c))));
        } else if !elsewhere(command) {
            pages.push((page_name(command.name), page(command.name, command)));
        }
    }
    pages
}

/// Writes the pages into a directory, which is created.
///
/// # Errors
/// Whatever the file system has against it.
pub fn save(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, text) in pages() {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// Whether a group has this command, too.
fn elsewhere(command: &Command) -> bool {
    command.ways.first().is_some_and(|way| way.contains(' '))
}

fn page_name(path: &str) -> String {
    format!("brig-{}.1", path.replace(' ', "-"))
}

fn heading(title: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"brig {}\" \"User commands\"\n",
        title.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    )
}

fn program() -> String {
    let mut out = heading("brig");
    out.push_str(
        ".SH NAME\nbrig \\- containers without a daemon\n\
         .SH SYNOPSIS\n.B brig\n[options] command [arguments...]\n\
         .SH DESCRIPTION\n\
         .B brig\npulls images and makes bundles of them that\n.BR runb (8)\nruns. Its command line, output and exit codes are \
         those of Docker's client; called by the name docker it also says that it is docker. There is no daemon: each \
         call does its work by itself, and several may run at once.\n\
         .SH COMMANDS\n",
    );
    for command in ROOT.shown() {
        let shown: Vec<(String, &Command)> = if command.is_group() {
            command
                .shown()
                .map(|c| (format!("{} {}", command.name, c.name), c))
                .collect()
        } else {
            vec![(command.name.to_owned(), command)]
        };
        for (path, command) in shown {
            let page = command
                .ways
                .first()
                .filter(|w| w.contains(' '))
                .map_or(path.as_str(), |w| *w);
            out.push_str(&format!(
                ".TP\n.B {}\n{}. See\n.BR {} (1).\n",
                escape(&path),
                escape(command.summary),
                escape(page_name(page).trim_end_matches(".1"))
            ));
        }
    }
    out.push_str(".SH OPTIONS\n");
    out.push_str(&options(ROOT.flags));
    out.push_str(
        ".SH EXIT STATUS\n\
         .TP\n.B 0\nSuccess, or the user has said no.\n\
         .TP\n.B 1\nAn error; stderr says which.\n\
         .TP\n.B 64\nThe template of inspect, info or version cannot be parsed.\n\
         .TP\n.B 125\nA flag is unknown or has a wrong value.\n\
         .TP\n.B 128+N\nSignal N has ended the work; what was begun has been cleaned up.\n\
         .SH ENVIRONMENT\n\
         .TP\n.B BRIG_ROOT\nDirectory of the store.\n\
         .TP\n.B DOCKER_CONFIG\nDirectory of config.json.\n\
         .TP\n.B DOCKER_DEFAULT_PLATFORM\nWhat pull and import take for \\-\\-platform.\n\
         .TP\n.BR HTTP_PROXY \", \" HTTPS_PROXY \", \" NO_PROXY\nHow registries are reached.\n\
         .SH FILES\n\
         .TP\n.I /var/lib/brig\nThe store; for an ordinary user $XDG_DATA_HOME/brig.\n\
         .TP\n.I ~/.docker/config.json\nCredentials, and the options imagesFormat, pruneFilters and HttpHeaders.\n\
         .SH SEE ALSO\n.BR runb (8)\n",
    );
    out
}

fn page(path: &str, command: &Command) -> String {
    let mut out = heading(&format!("brig-{}", path.replace(' ', "-")));
    out.push_str(&format!(
        ".SH NAME\nbrig\\-{} \\- {}\n.SH SYNOPSIS\n",
        escape(&path.replace(' ', "-")),
        escape(command.summary)
    ));
    let ways: Vec<&str> = if command.ways.is_empty() {
        vec![path]
    } else {
        command.ways.to_vec()
    };
    for (n, way) in ways.iter().enumerate() {
        let next = if n > 0 { ".br\n" } else { "" };
        out.push_str(&format!(
            "{next}.B brig {}\n{}\n",
            escape(way),
            escape(command.usage)
        ));
    }
    out.push_str(&format!(".SH DESCRIPTION\n{}.\n", escape(command.summary)));
    for paragraph in command.about.split('\n').filter(|p| !p.is_empty()) {
        out.push_str(&format!(".PP\n{}\n", escape(&named(paragraph))));
    }
    if command.flags.iter().any(|f| f.shown == Shown::Yes) {
        out.push_str(".SH OPTIONS\n");
        out.push_str(&options(command.flags));
    }
    if !command.examples.is_empty() {
        out.push_str(".SH EXAMPLES\n.nf\n");
        for example in command.examples {
            out.push_str(&format!("{}\n", escape(&named(example))));
        }
        out.push_str(".fi\n");
    }
    out.push_str(".SH SEE ALSO\n.BR brig (1)\n");
    out
}

fn named(text: &str) -> String {
    text.replace("{name}", "brig")
}

fn options(flags: &[Flag]) -> String {
    let mut shown: Vec<&Flag> = flags.iter().filter(|f| f.shown == Shown::Yes).collect();
    shown.sort_by_key(|f| f.name);
    shown.into_iter().map(option).collect()
}

fn option(flag: &Flag) -> String {
    let value = match flag.takes.name() {
        "" => String::new(),
        name => format!(" \\fI{name}\\fR"),
    };
    let short = flag
        .short
        .map_or_else(String::new, |c| format!("\\fB\\-{c}\\fR, "));
    format!(
        ".TP\n{short}\\fB\\-\\-{}\\fR{value}\n{}.\n",
        escape(flag.name),
        escape(&help::about(flag))
    )
}

/// A leading dot or quote would be a request, a backslash an escape, a bare dash a hyphen.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}
