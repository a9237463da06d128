//! Commands as data: names, flags, operands, help. The parser, `--help`, manual pages and completions are made from them.
//!
//! May not: do anything but call the handler that was asked for.

use crate::flags::{Flag, Offers, Order, Parsed};
use crate::session::{Failure, Outcome, Session};

/// What a command does.
pub type Handler = fn(&Session, &Parsed) -> Outcome;

/// Where the help of the program lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Among the first.
    Common,
    /// Among the rest.
    Further,
    /// Nowhere.
    Hidden,
}

/// How many operands a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// A command, or a group of commands.
#[derive(Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    /// Other names in the same place.
    pub aliases: &'static [&'static str],
    /// One line for lists.
    pub summary: &'static str,
    /// More paragraphs for help and the manual page. `{name}` stands for the program.
    pub about: &'static str,
    /// What follows the name in the line of usage.
    pub usage: &'static str,
    /// Docker has it in a plugin, whose name for it its messages have: `buildx build`.
    pub plugin: &'static str,
    /// All ways to call it, without the program; help lists them.
    pub ways: &'static [&'static str],
    pub count: Count,
    pub flags: &'static [Flag],
    pub order: Order,
    /// Command lines for help and the manual page. `{name}` stands for the program.
    pub examples: &'static [&'static str],
    /// What shells offer as operand.
    pub offers: Offers,
    pub listed: Listed,
    /// Of a group.
    pub commands: &'static [Command],
    /// Of all others.
    pub handler: Option<Handler>,
}

impl Command {
    /// A command that takes neither flags nor operands.
    pub const fn new(name: &'static str, summary: &'static str, handler: Handler) -> Command {
        Command {
            name,
            aliases: &[],
            summary,
            about: "",
            usage: "",
            plugin: "",
            ways: &[],
            count: Count::None,
            flags: &[],
            order: Order::Anywhere,
            examples: &[],
            offers: Offers::Nothing,
            listed: Listed::Further,
            commands: &[],
            handler: Some(handler),
        }
    }

    /// A group.
    pub const fn group(name: &'static str, summary: &'static str, commands: &'static [Command]) -> Command {
        Command {
            name,
            aliases: &[],
            summary,
            about: "",
            usage: "",
            plugin: "",
            ways: &[],
            count: Count::None,
            flags: &[],
            order: Order::UntilFirstOperand,
            examples: &[],
            offers: Offers::Commands,
            listed: Listed::Further,
            commands,
            handler: None,
        }
    }

    /// Whether it is called by this name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The command of this group by that name.
    pub fn find(&self, name: &str) -> Option<&'static Command> {
        self.commands.iter().find(|c| c.answers_to(name))
    }

    /// Those that help and completions mention.
    pub fn shown(&self) -> impl Iterator<Item = &'static Command> {
        self.commands.iter().filter(|c| c.listed != Listed::Hidden)
    }

    /// Whether it only holds others.
    pub fn is_group(&self) -> bool {
        self.handler.is_none()
    }
}

/// A command, and how it was reached.
#[derive(Clone)]
pub struct Called {
    /// With the program: `docker image ls`.
    pub path: String,
    pub command: &'static Command,
}

impl Called {
    /// The line of usage, without the word.
    pub fn usage(&self) -> String {
        match self.command.usage {
            "" => self.shown(),
            usage => format!("{} {usage}", self.shown()),
        }
    }

    /// Docker forwards some commands to a plugin, and that speaks of itself, in its own way.
    fn is_plugin(&self) -> bool {
        !self.command.plugin.is_empty() && self.path.starts_with("docker ")
    }

    /// How messages name it.
    fn shown(&self) -> String {
        match self.is_plugin() {
            true => format!("docker {}", self.command.plugin),
            false => self.path.clone(),
        }
    }

    /// A complaint about flags.
    pub fn bad_flags(&self, message: &str) -> Failure {
        Failure::new(125, self.with_usage(message, "Run"))
    }

    /// A group was asked for something that it does not have.
    pub fn unknown(&self, program: &str, name: &str) -> Failure {
        Failure::new(
            1,
            self.with_usage(
                &format!("{program}: unknown command: {} {name}", self.path),
                "Run",
            ),
        )
    }

    /// Complains about the number of operands.
    ///
    /// # Errors
    /// Docker's sentence with the line of usage.
    pub fn count(&self, program: &str, n: usize) -> Outcome {
        let (complaint, hint) = match self.command.count {
            Count::None if n > 0 => ("accepts no arguments".to_owned(), "Run"),
            Count::Exactly(want) if n != want => (format!("requires {}", arguments(want)), "Run"),
            Count::AtLeast(least) if n < least => (format!("requires at least {}", arguments(least)), "See"),
            Count::AtMost(most) if n > most => (format!("requires at most {}", arguments(most)), "Run"),
            Count::Between(least, most) if n < least || n > most => (
                format!("requires at least {least} and at most {}", arguments(most)),
                "Run",
            ),
            _ => return Ok(()),
        };
        let shown = self.shown();
        let begin = if self.is_plugin() { "ERROR: " } else { "" };
        Err(Failure::new(
            1,
            self.with_usage(&format!("{begin}{program}: '{shown}' {complaint}"), hint),
        ))
    }

    fn with_usage(&self, message: &str, hint: &str) -> String {
        format!(
            "{message}\n\nUsage:  {}\n\n{hint} '{} --help' for more information",
            self.usage(),
            self.shown()
        )
    }
}

fn arguments(n: usize) -> String {
    format!("{n} argument{}", if n == 1 { "" } else { "s" })
}
