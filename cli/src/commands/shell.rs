//! `completion`, `help`, and the hidden `man`.

use crate::command::{Called, Command, Count, Listed};
use crate::commands::ROOT;
use crate::completion::{Shell, script};
use crate::flags::{Offers, Parsed};
use crate::session::{Failure, Outcome, Session};
use crate::{help, man};
use std::path::Path;

pub(super) const COMPLETION: Command = Command {
    about: "source <({name} completion bash)   or   {name} completion fish > ~/.config/fish/completions/{name}.fish",
    ..Command::group("completion", "Completion scripts for shells", &SHELLS)
};

static SHELLS: [Command; 3] = [
    Command::new("bash", "The script for bash", bash),
    Command::new("fish", "The script for fish", fish),
    Command::new("zsh", "The script for zsh", zsh),
];

pub(super) const HELP: Command = Command {
    usage: "[COMMAND]",
    count: Count::AtLeast(0),
    offers: Offers::Commands,
    listed: Listed::Hidden,
    ..Command::new("help", "Help about a command", help_about)
};

pub(super) const MAN: Command = Command {
    about: "For packagers.",
    usage: "DIRECTORY",
    count: Count::Exactly(1),
    offers: Offers::Directories,
    listed: Listed::Hidden,
    ..Command::new("man", "Write the manual pages into a directory", pages)
};

fn bash(session: &Session, _: &Parsed) -> Outcome {
    session.print(&script(Shell::Bash, session.program.name()))
}

fn fish(session: &Session, _: &Parsed) -> Outcome {
    session.print(&script(Shell::Fish, session.program.name()))
}

fn zsh(session: &Session, _: &Parsed) -> Outcome {
    session.print(&script(Shell::Zsh, session.program.name()))
}

fn help_about(session: &Session, parsed: &Parsed) -> Outcome {
    let mut called = Called {
        path: session.program.name().to_owned(),
        command: &ROOT,
    };
    let names = parsed.names();
    for (n, name) in names.iter().enumerate() {
        let Some(command) = called.command.find(name) else {
            return Err(Failure::plain(format!(
                "unknown help topic: {}",
                names[n..].join(" ")
            )));
        };
        called = Called {
            path: format!("{} {}", called.path, command.name),
            command,
        };
    }
    session.print(&help::command(session, &called))
}

fn pages(_: &Session, parsed: &Parsed) -> Outcome {
    let directory = parsed.operand(0).unwrap_or_default();
    Ok(man::save(Path::new(&directory))?)
}
