//! Manual pages, made from the tables.
//!
//! May not: say anything that the tables or this file do not; dates and hosts stay out, so that a page only changes
//! with the program.

use super::flags::{Flag, HELP, Shown, Takes};
use super::help;
use super::identity::Identity;
use super::verbs::{GLOBAL, VERBS, Verb};
use crate::error::{Doing, Result};
use std::path::Path;

/// All pages: file name and roff.
pub fn pages() -> Vec<(String, String)> {
    let verbs = VERBS
        .iter()
        .filter(|v| v.shown == Shown::Yes && v.first_name() != "help");
    let mut pages = vec![("runb.8".to_string(), program())];
    pages.extend(verbs.map(|v| (format!("runb-{}.8", v.name), verb(v))));
    pages
}

/// Writes the pages into a directory, which is created.
///
/// # Errors
/// Whatever the file system has against it.
pub fn save_pages(directory: &Path) -> Result<()> {
    let io = |call, path: &Path, e: &std::io::Error| sys::Error::io(call, path.to_string_lossy(), e);
    std::fs::create_dir_all(directory)
        .map_err(|e| io("mkdir", directory, &e))
        .doing(|| "unable to write the manual pages")?;
    for (name, text) in pages() {
        let path = directory.join(name);
        std::fs::write(&path, text)
            .map_err(|e| io("write", &path, &e))
            .doing(|| "unable to write the manual pages")?;
    }
    Ok(())
}

fn heading(title: &str) -> String {
    format!(
        ".TH {} 8 \"\" \"runb {}\" \"System administration\"\n",
        title.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    )
}

fn program() -> String {
    let mut out = heading("runb");
    out.push_str(
        ".SH NAME\nrunb \\- run OCI containers\n\
         .SH SYNOPSIS\n.B runb\n[global options] command [command options] [arguments...]\n\
         .SH DESCRIPTION\n\
         .B runb\nruns containers that are described by the OCI runtime specification: a bundle is a directory with a \
         file config.json and a root file system. Its command line, output, exit codes and error texts are those of \
         .BR runc (8),\nso engines such as Docker, containerd, Podman and CRI-O can use it in the place of runc. Called by \
         the name runc it also says that it is runc.\n\
         .PP\nFlags may be written with one dash or two, with their value behind = or as the next argument, in front of \
         the container or behind it. Behind the container of exec and ps everything belongs to the command.\n\
         .SH COMMANDS\n",
    );
    for verb in VERBS.iter().filter(|v| v.shown == Shown::Yes) {
        out.push_str(&format!(
            ".TP\n.B {}\n{}.",
            verb.first_name(),
            capitalised(verb.summary)
        ));
        if verb.first_name() != "help" {
            out.push_str(&format!(" See\n.BR runb-{} (8).", escape(verb.name)));
        }
        out.push('\n');
    }
    out.push_str(".SH GLOBAL OPTIONS\n");
    for flag in GLOBAL.iter().filter(|f| f.shown == Shown::Yes).chain([&HELP]) {
        out.push_str(&option(flag));
    }
    out.push_str(
        ".SH EXIT STATUS\n\
         .TP\n.B 0\nSuccess.\n\
         .TP\n.B 1\nAn error; one sentence on stderr or in the log says which.\n\
         .TP\n.B 3\nHelp about a command that does not exist.\n\
         .TP\n.B 255\nexec could not run the command.\n\
         .PP\nrun, exec and restore in the foreground exit with the status of the process, or with 128+N when signal N \
         ended it.\n\
         .SH ENVIRONMENT\n\
         .TP\n.B XDG_RUNTIME_DIR\nFor an ordinary user the state directory is $XDG_RUNTIME_DIR/runb.\n\
         .TP\n.BR DBUS_SYSTEM_BUS_ADDRESS \", \" DBUS_SESSION_BUS_ADDRESS\nWhere systemd is asked with --systemd-cgroup: by root, \
         and by an ordinary user, who needs one of the second and XDG_RUNTIME_DIR.\n\
         .TP\n.BR LISTEN_FDS \", \" LISTEN_PID\nSockets of systemd's socket activation are passed on to the container.\n\
         .SH FILES\n\
         .TP\n.I /run/runb\nState of containers, one directory each.\n\
         .TP\n.I config.json\nConfiguration in a bundle.\n\
         .SH SEE ALSO\n",
    );
    let names: Vec<String> = VERBS
        .iter()
        .filter(|v| v.shown == Shown::Yes && v.first_name() != "help")
        .map(|v| format!(".BR runb-{} (8)", escape(v.name)))
        .collect();
    out.push_str(&names.join(",\n"));
    out.push('\n');
    out
}

fn verb(verb: &Verb) -> String {
    let mut out = heading(&format!("runb-{}", verb.name));
    out.push_str(&format!(
        ".SH NAME\nrunb\\-{} \\- {}\n.SH SYNOPSIS\n.B runb {}\n",
        verb.name,
        escape(verb.summary),
        verb.name
    ));
    if !verb.flags.is_empty() {
        out.push_str("[command options]\n");
    }
    if !verb.operands.is_empty() {
        out.push_str(&format!("{}\n", escape(verb.operands)));
    }
    out.push_str(".SH DESCRIPTION\n");
    for (n, paragraph) in help::paragraphs(Identity::Runb, verb).iter().enumerate() {
        if n > 0 {
            out.push_str(".PP\n");
        }
        out.push_str(&escape(paragraph));
        out.push('\n');
    }
    out.push_str(".SH OPTIONS\n");
    for flag in verb.flags.iter().filter(|f| f.shown == Shown::Yes).chain([&HELP]) {
        out.push_str(&option(flag));
    }
    if !verb.examples.is_empty() {
        out.push_str(".SH EXAMPLES\n.nf\n");
        for example in verb.examples {
            out.push_str(&format!("{}\n", escape(&example.replace("{name}", "runb"))));
        }
        out.push_str(".fi\n");
    }
    out.push_str(".SH SEE ALSO\n.BR runb (8)\n");
    out
}

fn option(flag: &Flag) -> String {
    let value = if flag.takes == Takes::Nothing {
        ""
    } else {
        " \\fIvalue\\fR"
    };
    let mut out = format!(".TP\n\\fB\\-\\-{}\\fR{value}", escape(flag.name));
    if let Some(short) = flag.short {
        out.push_str(&format!(", \\fB\\-{short}\\fR{value}"));
    }
    out.push_str(&format!("\n{}.", capitalised(flag.about)));
    match flag.default {
        "" => {}
        "{root}" => out.push_str(" Default: /run/runb."),
        default => out.push_str(&format!(" Default: {}.", escape(default.trim_matches('"')))),
    }
    out.push('\n');
    out
}

/// A leading dot or quote would be a request, a backslash an escape, a bare dash a hyphen.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(c) => escape(&(c.to_uppercase().collect::<String>() + chars.as_str())),
        None => String::new(),
    }
}
