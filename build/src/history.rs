//! How the history of an image names what was done.
//!
//! May not: say when. The texts are BuildKit's, because people and programs know them from `docker history`.

use crate::instruction::{Command, Health};
use crate::scope::{Action, Scope};
use crate::source::quoted;
use crate::values::duration;

/// What stands beside each of them.
pub const COMMENT: &str = "buildkit.dockerfile.v0";

/// What runs a text where nobody has set a shell.
pub const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub created_by: String,
    pub empty_layer: bool,
}

/// The entry of an instruction, with the scope behind it. ONBUILD has none.
pub fn entry(action: &Action, scope: &Scope) -> Option<Entry> {
    let (created_by, empty_layer) = match action {
        Action::Arg(args) => {
            let shown = args.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            (joined("ARG", shown), true)
        }
        Action::Env(pairs) => (joined("ENV", pairs.iter().map(pair)), true),
        Action::Label(pairs) => (joined("LABEL", pairs.iter().map(pair)), true),
        Action::Run(run) => (format!("RUN {} # buildkit", run_text(&run.command, scope)), false),
        Action::Copy(copy) => {
            let keyword = if copy.is_add { "ADD" } else { "COPY" };
            (format!("{keyword} {} # buildkit", copy.shown), false)
        }
        Action::Expose(ports) => (format!("EXPOSE [{}]", ports.join(" ")), true),
        Action::Cmd(command) => (format!("CMD {}", quoted_list(&words(command, scope))), true),
        Action::Entrypoint(command) => (
            format!("ENTRYPOINT {}", quoted_list(&words(command, scope))),
            true,
        ),
        Action::User(user) => (format!("USER {user}"), true),
        Action::Workdir(path) => (format!("WORKDIR {path}"), path == "/"),
        Action::Volume(volumes) => (format!("VOLUME [{}]", volumes.join(" ")), true),
        Action::Stopsignal(signal) => (format!("STOPSIGNAL {signal}"), true),
        Action::Shell(shell) => (format!("SHELL [{}]", shell.join(" ")), true),
        Action::Healthcheck(health) => (health_text(health), true),
        Action::Maintainer(name) => (format!("MAINTAINER {name}"), true),
        Action::Onbuild(_) => return None,
    };
    Some(Entry {
        created_by,
        empty_layer,
    })
}

/// What a command is as words: a text is given to the shell.
pub fn words(command: &Command, scope: &Scope) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            let mut words = scope.shell.clone();
            if words.is_empty() {
                words = DEFAULT_SHELL.map(str::to_owned).to_vec();
            }
            words.push(text.clone());
            words
        }
    }
}

/// ARGs stand before the command, and how many there are.
fn run_text(command: &Command, scope: &Scope) -> String {
    let mut parts = Vec::new();
    let args = scope.args();
    if !args.is_empty() {
        parts.push(format!("|{}", args.len()));
    }
    for (name, value) in args {
        let value = scope.env().get(name).or(value.as_deref()).unwrap_or_default();
        parts.push(format!("{name}={value}"));
    }
    parts.extend(words(command, scope));
    parts.join(" ")
}

fn pair((name, value): &(String, String)) -> String {
    format!("{name}={value}")
}

fn joined(keyword: &str, shown: impl Iterator<Item = String>) -> String {
    shown.fold(keyword.to_owned(), |text, next| text + " " + &next)
}

fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

fn health_text(health: &Health) -> String {
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        health.test.join(" "),
        duration::format(health.interval),
        duration::format(health.timeout),
        duration::format(health.start_period),
        duration::format(health.start_interval),
        health.retries
    )
}
