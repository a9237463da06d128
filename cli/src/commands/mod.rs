//! The table of all commands.
//!
//! May not: do the work; handlers are thin functions over `image`. A new command is an entry in a table here, a new flag a line
//! in the table of its command.

mod archives;
mod build;
mod builders;
mod bundles;
mod commit;
mod containers;
mod copy;
mod diff;
mod events;
mod export;
mod images;
mod logs;
mod networks;
mod recovery;
mod registry;
mod shell;
mod stats;
mod system;
mod top;
mod transfer;
mod volumes;

use crate::command::{Command, Listed};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Program, Session};
use std::ffi::{OsStr, OsString};

/// What `docker` we speak like. Programs compare the number with what they need.
pub const DOCKER: &str = "29.7.2";
/// The API of that version; there is no socket yet.
pub const API: &str = "1.52";
/// Ours.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, if whoever built it said so.
pub const COMMIT: &str = match option_env!("RUNB_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The program.
pub static ROOT: Command = Command {
    usage: "[OPTIONS] COMMAND [ARG...]",
    flags: &GLOBAL,
    ..Command::group(
        "brig",
        "Builds, pulls and runs containers, without a daemon",
        COMMANDS,
    )
};

static COMMANDS: &[Command] = &[
    Command {
        listed: Listed::Common,
        ..containers::RUN
    },
    Command {
        listed: Listed::Common,
        ..containers::EXEC
    },
    Command {
        name: "ps",
        aliases: &[],
        listed: Listed::Common,
        ..containers::LS
    },
    Command {
        aliases: &[],
        listed: Listed::Common,
        ..build::BUILD
    },
    Command {
        listed: Listed::Common,
        ..transfer::PULL
    },
    Command {
        listed: Listed::Common,
        ..transfer::PUSH
    },
    Command {
        name: "images",
        aliases: &[],
        listed: Listed::Common,
        ..images::LS
    },
    registry::LOGIN,
    registry::LOGOUT,
    registry::SEARCH,
    Command {
        listed: Listed::Common,
        ..system::VERSION_COMMAND
    },
    Command {
        listed: Listed::Common,
        ..system::INFO
    },
    Command::group("builder", "Builds and their cache", builders::BUILDER),
    Command::group(
        "buildx",
        "The same, by the name that Docker has for it",
        builders::BUILDX,
    ),
    Command::group("container", "Containers", CONTAINER),
    Command::group("image", "Images", IMAGE),
    Command::group("network", "Networks", networks::ALL),
    Command::group("system", "The store and this program", SYSTEM),
    Command::group("volume", "Volumes", volumes::ALL),
    containers::ATTACH,
    shell::COMPLETION,
    bundles::BUNDLE,
    bundles::UNBUNDLE,
    commit::COMMIT,
    copy::CP,
    containers::CREATE,
    diff::DIFF,
    export::EXPORT,
    events::EVENTS,
    images::HISTORY,
    archives::IMPORT,
    containers::INSPECT_ANY,
    containers::KILL,
    archives::LOAD,
    logs::LOGS,
    containers::PAUSE,
    containers::PORT,
    containers::RENAME,
    containers::RESTART,
    Command {
        aliases: &[],
        ..containers::RM
    },
    Command {
        name: "rmi",
        aliases: &[],
        ..images::RM
    },
    archives::SAVE,
    containers::START,
    stats::STATS,
    containers::STOP,
    images::TAG,
    top::TOP,
    containers::UNPAUSE,
    containers::UPDATE,
    containers::WAIT,
    shell::HELP,
    shell::MAN,
];

static CONTAINER: &[Command] = &[
    containers::ATTACH,
    commit::COMMIT,
    copy::CP,
    containers::CREATE,
    diff::DIFF,
    containers::EXEC,
    export::EXPORT,
    containers::INSPECT,
    containers::KILL,
    logs::LOGS,
    containers::LS,
    containers::PAUSE,
    containers::PORT,
    containers::PRUNE,
    containers::RENAME,
    containers::RESTART,
    containers::RM,
    containers::RUN,
    containers::START,
    stats::STATS,
    containers::STOP,
    top::TOP,
    containers::UNPAUSE,
    containers::UPDATE,
    containers::WAIT,
];

static IMAGE: &[Command] = &[
    Command {
        aliases: &[],
        ..build::BUILD
    },
    images::HISTORY,
    archives::IMPORT,
    images::INSPECT,
    archives::LOAD,
    images::LS,
    bundles::MOUNT,
    images::PRUNE,
    transfer::PULL,
    transfer::PUSH,
    images::RM,
    archives::SAVE,
    images::TAG,
    bundles::UNMOUNT,
];

static SYSTEM: &[Command] = &[
    system::CHECK,
    system::DF,
    system::INFO,
    system::PRUNE,
    recovery::START,
    recovery::STOP,
    events::EVENTS,
];

/// In front of the command.
static GLOBAL: [Flag; 12] = [
    Flag::new(
        "config",
        Takes::Text,
        "Directory of config.json with credentials and defaults",
    )
    .default("~/.docker")
    .offers(Offers::Directories),
    Flag::new("debug", Takes::Switch(false), "Say more about what happens").short('D'),
    Flag::new(
        "log-level",
        Takes::Text,
        "How much to say: debug, info, warn, error or fatal",
    )
    .short('l')
    .default("info")
    .offers(Offers::Choice(&["debug", "info", "warn", "error", "fatal"])),
    Flag::new("root", Takes::Text, "Directory of the store ($BRIG_ROOT)").offers(Offers::Directories),
    Flag::new("version", Takes::Switch(false), "Show the version in one line").short('v'),
    // Docker's, about its daemon.
    Flag::new("host", Takes::Text, "").short('H').hidden(),
    Flag::new("context", Takes::Text, "").short('c').hidden(),
    Flag::new("tls", Takes::Switch(false), "").hidden(),
    Flag::new("tlscacert", Takes::Text, "").hidden(),
    Flag::new("tlscert", Takes::Text, "").hidden(),
    Flag::new("tlskey", Takes::Text, "").hidden(),
    Flag::new("tlsverify", Takes::Switch(false), "").hidden(),
];

pub(crate) const PLATFORMS: Offers = Offers::Choice(&[
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
]);

const FORMAT: Flag = Flag::new(
    "format",
    Takes::Text,
    "How to print: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE', a Go template",
);
const FORMAT_OBJECT: Flag = Flag::new(
    "format",
    Takes::Text,
    "How to print: 'json' or 'TEMPLATE', a Go template",
)
.short('f');
const QUIET_IDS: Flag = Flag::new("quiet", Takes::Switch(false), "Print ids and nothing else").short('q');
const NO_TRUNC: Flag = Flag::new("no-trunc", Takes::Switch(false), "Print ids and texts in full");
const FILTER: Flag = Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds").short('f');

/// `brig version 0.1.0, build abc`; called as docker, what programs that look for Docker parse.
pub fn version_line(program: Program) -> String {
    match program {
        Program::Brig => format!("brig version {VERSION}, build {COMMIT}\n"),
        Program::Docker => format!("Docker version {DOCKER}, build {COMMIT}\n"),
    }
}

/// There is no daemon, so whoever names one does not mean us.
///
/// # Errors
/// A sentence.
pub fn check_global(global: &Parsed) -> Outcome {
    let level = global.text("log-level").unwrap_or_else(|| "info".to_owned());
    if ![
        "trace", "debug", "info", "warn", "warning", "error", "fatal", "panic",
    ]
    .contains(&level.as_str())
    {
        return Err(Failure::plain(format!("Unable to parse logging level: {level}")));
    }
    if global.text("context").is_some_and(|c| c != "default") {
        return Err(Failure::plain(
            "brig works without a daemon: there is no context but the one of this machine",
        ));
    }
    for flag in ["host", "tlscacert", "tlscert", "tlskey"] {
        if global.was_given(flag) {
            return Err(daemon(flag));
        }
    }
    for flag in ["tls", "tlsverify"] {
        if global.switch(flag) {
            return Err(daemon(flag));
        }
    }
    Ok(())
}

fn daemon(flag: &str) -> Failure {
    Failure::plain(format!(
        "brig works without a daemon: there is none to connect to, so --{flag} cannot be obeyed"
    ))
}

/// Does the same for many; each is told as it is done, and the failures at the end.
fn each(
    session: &Session,
    operands: &[OsString],
    work: impl Fn(&OsStr) -> Result<Option<String>, Failure>,
) -> Outcome {
    let mut failures = Vec::new();
    for operand in operands {
        match work(operand) {
            Ok(Some(line)) => session.print(&format!("{line}\n"))?,
            Ok(None) => {}
            Err(failure) => failures.push(failure.line(session.program)),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(failures.join("\n")))
}

/// How many are worked on at a time.
const AT_ONCE: usize = 50;

/// The same, several at a time: results and failures are told in the order of the arguments.
fn each_at_once(
    session: &Session,
    names: &[String],
    work: impl Fn(&str) -> Result<Option<String>, Failure> + Sync,
) -> Outcome {
    let mut done: Vec<Result<Option<String>, Failure>> = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        match some {
            [one] => done.push(work(one)),
            some => std::thread::scope(|scope| {
                let workers: Vec<_> = some.iter().map(|name| scope.spawn(|| work(name))).collect();
                for worker in workers {
                    let failed = |_| Err(Failure::plain("a thread of ours has failed"));
                    done.push(worker.join().unwrap_or_else(failed));
                }
            }),
        }
    }
    let mut failures = Vec::new();
    for one in done {
        match one {
            Ok(Some(line)) => session.print(&format!("{line}\n"))?,
            Ok(None) => {}
            Err(failure) => failures.push(failure.line(session.program)),
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::plain(failures.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Count;
    use crate::flags::Shown;
    use std::collections::BTreeSet;

    fn walk(command: &'static Command, path: &str, check: &mut dyn FnMut(&'static Command, &str)) {
        check(command, path);
        for inner in command.commands {
            walk(inner, &format!("{path} {}", inner.name), check);
        }
    }

    #[test]
    fn the_tables_are_sound() {
        walk(&ROOT, "brig", &mut |command, path| {
            let names: Vec<&str> = command.flags.iter().map(|f| f.name).collect();
            let shorts: Vec<char> = command.flags.iter().filter_map(|f| f.short).collect();
            let different = |n: usize| move |set: BTreeSet<String>| assert_eq!(set.len(), n, "{path}");
            different(names.len())(names.iter().map(ToString::to_string).collect());
            different(shorts.len())(shorts.iter().map(ToString::to_string).collect());
            for flag in command.flags {
                assert!(
                    flag.shown != Shown::Yes || !flag.about.is_empty(),
                    "{path} --{}",
                    flag.name
                );
            }
            assert!(
                !command.summary.is_empty() && !command.summary.ends_with('.'),
                "{path}"
            );
            assert_eq!(command.is_group(), !command.commands.is_empty(), "{path}");
            assert!(
                command.count == Count::None || !command.usage.is_empty(),
                "{path}: operands without usage"
            );
            let mut inner: Vec<&str> = command
                .commands
                .iter()
                .flat_map(|c| c.aliases.iter().copied().chain([c.name]))
                .collect();
            let count = inner.len();
            inner.sort_unstable();
            inner.dedup();
            assert_eq!(inner.len(), count, "{path}: a name twice");
            for way in command.ways {
                let mut at = &ROOT;
                for word in way.split(' ') {
                    let found = at.find(word);
                    assert!(found.is_some(), "{path}: {way} leads nowhere");
                    at = found.unwrap_or(at);
                }
                assert!(
                    at.handler.map(|h| h as usize) == command.handler.map(|h| h as usize),
                    "{path}: {way}"
                );
            }
        });
    }
}
