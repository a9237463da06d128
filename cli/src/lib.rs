//! brig: Docker's command line without a daemon.
//!
//! May not: know how images are fetched, kept or mounted; that is `image`. The binary is a thin shell around [`run`].

pub mod build_call;
pub mod build_progress;
pub mod build_request;
pub mod choose;
pub mod command;
pub mod commands;
pub mod completion;
pub mod config;
pub mod flags;
pub mod format;
pub mod help;
pub mod keys;
pub mod man;
pub mod progress;
pub mod relay;
pub mod rows;
pub mod run;
pub mod session;
pub mod signals;
pub mod tabs;
pub mod template;
pub mod terminal;
pub mod units;
pub mod width;
pub mod workshop;

use command::Called;
use flags::{HELP, Order, Parsed};
use session::{Failure, Outcome, Program, Session};
use std::ffi::OsString;
use std::path::Path;

/// Runs the program. The exit code.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> i32 {
    let mut argv = argv.into_iter();
    let program = Program::of(Path::new(&argv.next().unwrap_or_default()));
    match dispatch(program, argv) {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                use std::io::Write as _;
                let _ = writeln!(std::io::stderr().lock(), "{}", failure.line(program));
            }
            failure.code
        }
    }
}

/// From argv to a handler: global flags, groups, the flags of the command, its operands.
fn dispatch(program: Program, args: impl Iterator<Item = OsString>) -> Outcome {
    let root = Called {
        path: program.name().to_owned(),
        command: &commands::ROOT,
    };
    let global = read(&root, args)?;
    let mut session = Session::new(program, &global);
    warnings(&session, &global);
    if global.switch(HELP.name) {
        return session.print(&help::program(&session));
    }
    if global.switch("version") {
        return session.print(&commands::version_line(program));
    }
    commands::check_global(&global)?;
    let Some((called, args)) = find(&session, root, global.operands)? else {
        return Ok(());
    };
    let parsed = read(&called, args.into_iter())?;
    warnings(&session, &parsed);
    if parsed.switch(HELP.name) {
        return session.print(&help::command(&session, &called));
    }
    called.count(program.name(), parsed.operands.len())?;
    let Some(handler) = called.command.handler else {
        return Ok(());
    };
    called
        .path
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .clone_into(&mut session.called);
    handler(&session, &parsed)
}

fn read(called: &Called, args: impl Iterator<Item = OsString>) -> Result<Parsed, Failure> {
    flags::parse(called.command.flags, args, called.command.order).map_err(|e| called.bad_flags(&e))
}

fn warnings(session: &Session, parsed: &Parsed) {
    parsed.warnings.iter().for_each(|w| session.warn(w));
}

/// Goes down from a group to a command, and returns the arguments that are left for it. Nothing: help has been shown.
fn find(
    session: &Session,
    mut called: Called,
    mut args: Vec<OsString>,
) -> Result<Option<(Called, Vec<OsString>)>, Failure> {
    loop {
        let Some(name) = args.first().map(|a| a.to_string_lossy().into_owned()) else {
            // A group alone is no mistake; whoever reads stdout gets nothing.
            session.warn(help::command(session, &called).trim_end_matches('\n'));
            return Ok(None);
        };
        let Some(command) = called.command.find(&name) else {
            // What is written behind an unknown name is read as if it were ours, so a wrong flag is told first.
            let parsed = flags::parse(called.command.flags, args, Order::Anywhere)
                .map_err(|e| called.bad_flags(&e))?;
            if parsed.switch(HELP.name) {
                session.print(&help::command(session, &called))?;
                return Ok(None);
            }
            return Err(unknown(session, &called, &name));
        };
        called = Called {
            path: format!("{} {}", called.path, command.name),
            command,
        };
        args.remove(0);
        if !command.is_group() {
            return Ok(Some((called, args)));
        }
        let parsed = read(&called, args.into_iter())?;
        warnings(session, &parsed);
        if parsed.switch(HELP.name) {
            session.print(&help::command(session, &called))?;
            return Ok(None);
        }
        args = parsed.operands;
    }
}

fn unknown(session: &Session, called: &Called, name: &str) -> Failure {
    let program = session.program.name();
    if called.path == program {
        return Failure::plain(format!(
            "{program}: unknown command: {program} {name}\n\nRun '{program} --help' for more information"
        ));
    }
    called.unknown(program, name)
}
