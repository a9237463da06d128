//! The command line: from argv to an exit code.
//!
//! May not: know how a container is made. It reads argv by the tables of [`verbs`], hands a typed [`Command`] to the
//! verb's function, and turns the outcome into output, one log record and an exit code; nobody else decides those.

pub mod args;
pub mod completion;
pub mod flags;
mod help;
pub mod identity;
pub mod json;
pub mod man;
pub mod output;
mod preview;
mod signals;
mod spec;
pub mod stats;
pub mod verbs;

use crate::container;
use crate::error::{Error, Kind, Result};
use crate::features;
use crate::log::{self, Log};
use crate::seal;
use args::{CgroupDriver, Command, Global, RootOrigin};
use flags::{Order, Parsed};
use identity::{COMMIT, Identity, User};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use verbs::{GLOBAL, Verb};

/// Everything about one call of the program that is not the verb's own.
#[derive(Debug)]
pub struct Invocation {
    /// As whom we speak.
    pub identity: Identity,
    /// The flags in front of the verb.
    pub global: Global,
    /// Where warnings and debug messages go. Errors are returned instead.
    pub log: Log,
}

/// Exit code of a failure that has no better one.
const FAILED: i32 = 1;
/// Exit code for a help topic that does not exist.
const NO_SUCH_TOPIC: i32 = 3;
/// Exit code of `exec` when the command was not run, so that it can be told from the command's own.
const EXEC_FAILED: i32 = 255;

/// Runs the program. What it prints on stdout, stderr and into the log is complete when this returns.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> i32 {
    let mut argv = argv.into_iter();
    let identity = Identity::of(&argv.next().unwrap_or_default());
    // Until the flags are read the log is stderr.
    let mut log = Log::default();
    match answer(identity, argv, &mut log) {
        Ok(code) => code,
        Err(refusal) => {
            say(&refusal.usage);
            log.fail(&refusal.error);
            refusal.code
        }
    }
}

/// A failed invocation.
struct Refusal {
    /// For stdout: what was wrong with the command line, and help. Empty when that is not the matter.
    usage: String,
    /// For the log.
    error: String,
    code: i32,
}

impl Refusal {
    fn failed(error: impl ToString) -> Refusal {
        Refusal {
            usage: String::new(),
            error: error.to_string(),
            code: FAILED,
        }
    }
}

fn answer(
    identity: Identity,
    argv: impl Iterator<Item = OsString>,
    log: &mut Log,
) -> std::result::Result<i32, Refusal> {
    let (default_root, origin) = default_root(identity);
    let global = flags::parse(&GLOBAL, argv, Order::UntilFirstOperand).map_err(|text| Refusal {
        usage: format!(
            "Incorrect Usage. {text}\n\n{}",
            help::program(identity, &default_root)
        ),
        error: text,
        code: FAILED,
    })?;
    if global.is_on("help") {
        say(&help::program(identity, &default_root));
        return Ok(0);
    }
    if global.is_on("version") {
        say(&identity.version_block());
        return Ok(0);
    }
    let settings = settings(&global, &default_root, origin).map_err(Refusal::failed)?;
    let detail = if settings.debug {
        log::Detail::Debug
    } else {
        log::Detail::Normal
    };
    *log = Log::open(settings.log.as_deref(), settings.log_format, detail).map_err(Refusal::failed)?;
    let criu_given = global.text("criu").is_some();
    let mut words = global.operands.into_iter();
    let Some(word) = words.next() else {
        say(&help::program(identity, &default_root));
        return Ok(0);
    };
    let topic = word.to_string_lossy();
    let Some(verb) = verbs::find(&topic) else {
        return Err(no_such_topic(&topic));
    };
    let Some(command) = parse_verb(identity, &default_root, verb, words)? else {
        return Ok(0);
    };
    let mut invocation = Invocation {
        identity,
        global: settings,
        log: std::mem::take(log),
    };
    let outcome = prepare_root(&invocation.global, &command)
        .and_then(|()| seal_if_entering(&command))
        .and_then(|()| {
            announce(&invocation, verb, &command);
            dispatch(&invocation, &command)
        });
    *log = std::mem::take(&mut invocation.log);
    // Said last, because a verb may start the program anew from a sealed copy, with the same arguments.
    if criu_given {
        log.warn("--criu is ignored: criu is found in $PATH");
    }
    outcome.map_err(|e| refuse(identity, verb, &e))
}

/// Reads what stands behind the name of the command. Nothing is left to do when that asks for help.
fn parse_verb(
    identity: Identity,
    root: &Path,
    verb: &'static Verb,
    words: impl Iterator<Item = OsString>,
) -> std::result::Result<Option<Command>, Refusal> {
    let given = flags::parse(verb.flags, words, verb.order).map_err(|text| Refusal {
        usage: format!("Incorrect Usage: {text}\n\n{}", help::verb(identity, verb)),
        error: text,
        code: FAILED,
    })?;
    if given.is_on("help") {
        say(&help::verb(identity, verb));
        return Ok(None);
    }
    if verb.first_name() == "help" {
        return help_about(identity, root, &given).map(|()| None);
    }
    if let Some(complaint) = verb.count.complain(given.operands.len()) {
        return Err(Refusal {
            usage: format!("Incorrect Usage.\n\n{}", help::verb(identity, verb)),
            error: format!("{}: {:?} {complaint}", identity.name(), verb.name),
            code: FAILED,
        });
    }
    (verb.lower)(&given)
        .map(Some)
        .map_err(|e| refuse(identity, verb, &e))
}

fn help_about(identity: Identity, root: &Path, given: &Parsed) -> std::result::Result<(), Refusal> {
    let Some(topic) = given.operands.first() else {
        say(&help::program(identity, root));
        return Ok(());
    };
    let topic = topic.to_string_lossy();
    let verb = verbs::find(&topic).ok_or_else(|| no_such_topic(&topic))?;
    say(&help::verb(identity, verb));
    Ok(())
}

fn no_such_topic(topic: &str) -> Refusal {
    Refusal {
        usage: String::new(),
        error: format!("No help topic for '{topic}'"),
        code: NO_SUCH_TOPIC,
    }
}

/// The sentence and the exit code of a failed verb. Engines and their users know the prefixes.
fn refuse(identity: Identity, verb: &Verb, e: &Error) -> Refusal {
    let (error, code) = match verb.name {
        "create" | "run" => (format!("{} {} failed: {e}", identity.name(), verb.name), FAILED),
        "exec" => (format!("exec failed: {e}"), EXEC_FAILED),
        _ => (e.to_string(), FAILED),
    };
    let usage = match e.kind() {
        Kind::Usage => format!("Incorrect Usage.\n\n{}", help::verb(identity, verb)),
        _ => String::new(),
    };
    Refusal { usage, error, code }
}

/// The verbs that need a sealed executable (CVE-2019-5736).
fn enters_container(command: &Command) -> bool {
    matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_))
}

/// May begin the program anew, so nothing is logged before.
fn seal_if_entering(command: &Command) -> Result<()> {
    if enters_container(command) {
        seal::ensure_sealed()?;
    }
    Ok(())
}

fn announce(invocation: &Invocation, verb: &Verb, command: &Command) {
    let (name, log) = (invocation.identity.name(), &invocation.log);
    log.debug(|| {
        format!(
            "{name} {} ({COMMIT}): {} with state in {}",
            invocation.identity.version(),
            verb.name,
            invocation.global.root.display()
        )
    });
    if enters_container(command) {
        log.debug(|| format!("{name} exeseal: using /proc/self/exe clone"));
    }
}

/// One arm per verb.
fn dispatch(invocation: &Invocation, command: &Command) -> Result<i32> {
    match command {
        Command::Checkpoint(_) | Command::Restore(_) => Err(Error::new(
            "checkpoint and restore are not supported by this version",
        )),
        Command::Completion(shell) => print(&completion::script(*shell, invocation.identity.name())),
        Command::Features => print(&features::document(
            invocation.identity,
            features::Seccomp::for_kernel(sys::seccomp::probe_flags()),
        )?),
        Command::Man(directory) => man::save_pages(directory).map(|()| 0),
        Command::Spec(args) => spec::run(invocation, args),
        Command::Plan(args) => print(&preview::plan(invocation, args.bundle.as_deref())?),
        Command::Check(args) => print(&preview::check(invocation, args.bundle.as_deref())?),
        Command::Create(args) => container::create::create(invocation, args).map(|()| 0),
        Command::Run(args) => container::run::run(invocation, args),
        Command::Exec(args) => container::exec::exec(invocation, args),
        Command::Start(id) => container::start::start(invocation, id).map(|()| 0),
        Command::Kill(args) => container::kill::kill(invocation, args).map(|()| 0),
        Command::Delete(args) => container::delete::delete(invocation, args).map(|()| 0),
        Command::State(id) => print(&container::show::state(invocation, id)?),
        Command::List(args) => print(&container::show::list(invocation, args)?),
        Command::Ps(args) => print(&container::processes::ps(invocation, args)?),
        Command::Pause(id) => container::freeze::pause(invocation, id).map(|()| 0),
        Command::Resume(id) => container::freeze::resume(invocation, id).map(|()| 0),
        Command::Update(args) => container::update::update(invocation, args).map(|()| 0),
        Command::Events(args) => {
            container::events::events(invocation, args, &mut |line| print(line).map(drop)).map(|()| 0)
        }
        Command::Gc(args) => print(&container::gc::gc(invocation, args)?),
    }
}

// ---- global flags ------------------------------------------------------------------------------------------------

fn settings(given: &Parsed, default_root: &Path, origin: RootOrigin) -> Result<Global> {
    let (root, root_origin) = match given.text("root") {
        None => (default_root.to_path_buf(), origin),
        Some(text) => (parse_root(Path::new(text))?, RootOrigin::Flag),
    };
    let log_format = match given.text("log-format").map(|t| t.to_string_lossy()).as_deref() {
        None | Some("" | "text") => log::Format::Text,
        Some("json") => log::Format::Json,
        Some(other) => return Err(Error::new(format!("invalid log-format: {other}"))),
    };
    Ok(Global {
        debug: given.is_on("debug"),
        log: given.text("log").filter(|t| !t.is_empty()).map(PathBuf::from),
        log_format,
        root,
        root_origin,
        cgroup_driver: if given.is_on("systemd-cgroup") {
            CgroupDriver::Systemd
        } else {
            CgroupDriver::Fs
        },
        rootless: args::rootless(given)?,
    })
}

/// Absolute and without `.` and `..`, by text alone. `/` is refused: deleting a container removes a directory there.
fn parse_root(path: &Path) -> Result<PathBuf> {
    let from = if path.is_absolute() {
        PathBuf::new()
    } else {
        std::env::current_dir().map_err(|e| Error::from(sys::Error::io("getcwd", "", &e)))?
    };
    let mut clean = PathBuf::from("/");
    for part in from.join(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Error::new("Option --root argument should not be set to /"));
    }
    Ok(clean)
}

fn default_root(identity: Identity) -> (PathBuf, RootOrigin) {
    let (xdg, name) = (std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("USER"));
    identity.default_root(&User {
        euid: sys::process::effective_ids().0,
        in_user_namespace: xdg.is_some() && probe_user_namespace(),
        name: name.as_deref(),
        xdg_runtime_dir: xdg.as_deref(),
    })
}

/// Creates our directory below `$XDG_RUNTIME_DIR` for a verb that is about to write there.
fn prepare_root(global: &Global, command: &Command) -> Result<()> {
    let writes = matches!(
        command,
        Command::Create(_) | Command::Run(_) | Command::Restore(_)
    );
    if global.root_origin != RootOrigin::Xdg || !writes {
        return Ok(());
    }
    let failed = |call, e: &std::io::Error| {
        Error::from(sys::Error::io(call, global.root.to_string_lossy(), e))
            .doing("the directory in $XDG_RUNTIME_DIR must be writable by the user")
    };
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(&global.root)
        .map_err(|e| failed("mkdir", &e))?;
    // Sticky: cleaners of temporary files leave it alone, says the XDG base directory specification.
    std::fs::set_permissions(&global.root, std::fs::Permissions::from_mode(0o1700))
        .map_err(|e| failed("chmod", &e))
}

/// The initial user namespace maps the whole range of ids onto itself.
fn probe_user_namespace() -> bool {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map.split_whitespace().ne(["0", "0", "4294967295"]),
        Err(_) => false,
    }
}

/// Prints help. A reader that has gone away, as `| head` does, is no failure of ours.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints what a verb was asked for, and is done.
///
/// # Errors
/// When stdout does not take all of it: whoever asked must not take half an answer for a whole one.
pub fn print(text: &str) -> Result<i32> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(e) => Err(sys::Error::io("write", "stdout", &e).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::args::*;
    use super::*;

    /// The command of a line without global flags, as a shell would split it.
    fn command(line: &str) -> Command {
        let mut words = line.split(' ').map(OsString::from);
        let verb = verbs::find(words.next().unwrap().to_str().unwrap()).unwrap();
        match parse_verb(Identity::Runb, Path::new("/run/runb"), verb, words) {
            Ok(Some(command)) => command,
            Ok(None) => panic!("{line}: help"),
            Err(refusal) => panic!("{line}: {}", refusal.error),
        }
    }

    fn id(name: &str) -> ContainerId {
        ContainerId::parse(name.as_ref()).unwrap()
    }

    fn bare(name: &str) -> Create {
        Create {
            id: id(name),
            bundle: None,
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
        }
    }

    /// The order in which conmon, go-runc and BuildKit write their flags.
    #[test]
    fn lines_that_engines_write() {
        assert_eq!(
            command("create --bundle /b --pid-file /p --no-pivot --no-new-keyring --console-socket /s c1"),
            Command::Create(Create {
                bundle: Some("/b".into()),
                console_socket: Some("/s".into()),
                pid_file: Some("/p".into()),
                no_pivot: true,
                no_new_keyring: true,
                ..bare("c1")
            })
        );
        assert_eq!(
            command("run c1 --bundle /b --keep --preserve-fds=3 -d"),
            Command::Run(Run {
                create: Create {
                    bundle: Some("/b".into()),
                    preserve_fds: 3,
                    ..bare("c1")
                },
                detach: true,
                keep: true,
                no_subreaper: false,
            })
        );
        let Command::Restore(restore) =
            command("restore -no-subreaper --detach --work-path /w -image-path=/i c1")
        else {
            panic!()
        };
        assert!(restore.no_subreaper && restore.detach);
        assert_eq!(restore.criu.image_path.as_deref(), Some(Path::new("/i")));
        assert_eq!(
            command("kill --all c1 9"),
            Command::Kill(Kill {
                id: id("c1"),
                signal: 9,
                scope: KillScope::All
            })
        );
        assert_eq!(
            command("kill c1 SIGTERM"),
            Command::Kill(Kill {
                id: id("c1"),
                signal: 15,
                scope: KillScope::Init
            })
        );
        assert_eq!(
            command("delete --force c1"),
            Command::Delete(Delete {
                id: id("c1"),
                force: true
            })
        );
        assert_eq!(
            command("ps --format json c1"),
            Command::Ps(Ps {
                id: id("c1"),
                format: Format::Json,
                args: vec![]
            })
        );
        assert_eq!(command("state c1"), Command::State(id("c1")));
        let Command::Update(update) = command("update --resources=- c1") else {
            panic!()
        };
        assert_eq!(update.source, UpdateSource::Stdin);
    }

    #[test]
    fn exec_leaves_the_payload_alone() {
        let Command::Exec(exec) = command(
            "exec --process /p --console-socket /s --pid-file /f --detach -u 1:2 c1 -e X --cwd / -- y",
        ) else {
            panic!()
        };
        assert!(exec.detach);
        assert_eq!(exec.process.as_deref(), Some(Path::new("/p")));
        assert_eq!(exec.args, Vec::<String>::new(), "process.json has them");
        let Command::Exec(exec) =
            command("exec -t --no-new-privs=false -e A=1 -e B=2 -g 5 -c CAP_KILL c1 -e X -- y")
        else {
            panic!()
        };
        assert_eq!(exec.args, ["-e", "X", "--", "y"]);
        assert_eq!(exec.env, ["A=1", "B=2"]);
        assert_eq!(exec.no_new_privs, Some(false));
        assert_eq!(
            (exec.tty, exec.user, &exec.additional_gids[..]),
            (true, None, &[5][..])
        );
        let Command::Ps(ps) = command("ps c1 -o pid --format") else {
            panic!()
        };
        assert_eq!(ps.args, ["-o", "pid", "--format"]);
    }

    #[test]
    fn update_by_flags() {
        let Command::Update(update) = command(
            "update c1 --memory -1 --pids-limit 7 --cpu-quota -1 --cpu-idle 1 --cpuset-cpus 0-3,7 --blkio-weight 0x64",
        ) else {
            panic!()
        };
        let UpdateSource::Flags(r) = update.source else {
            panic!()
        };
        let memory = r.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(-1), Some(-1)));
        let cpu = r.cpu.unwrap();
        assert_eq!(
            (cpu.quota, cpu.idle, cpu.shares, cpu.cpus.as_str()),
            (Some(-1), Some(1), Some(0), "0-3,7")
        );
        assert_eq!(r.pids.unwrap().limit, Some(7));
        assert_eq!(r.block_io.unwrap().weight, Some(100));
        let Command::Update(update) = command("update c1") else {
            panic!()
        };
        assert_eq!(
            update.source,
            UpdateSource::Flags(Box::default()),
            "nothing named, nothing changed"
        );
    }

    /// A misspelt flag name in `args` would read as "not given".
    #[test]
    fn every_flag_of_every_command_is_read() {
        use flags::Takes;
        for verb in verbs::VERBS
            .iter()
            .filter(|v| !["help, h", "features"].contains(&v.name))
        {
            let operand = match verb.name {
                "completion" => vec!["bash"],
                "exec" => vec!["c1", "true"],
                _ if verb.count == verbs::Count::Exactly(0) => vec![],
                _ => vec!["c1"],
            };
            let lower = |flag: Option<[&str; 1]>| {
                let words = flag.iter().flatten().chain(&operand).map(OsString::from);
                let parsed = flags::parse(verb.flags, words, verb.order).unwrap();
                (verb.lower)(&parsed)
                    .map(|c| format!("{c:?}"))
                    .map_err(|e| e.to_string())
            };
            let plain = lower(None);
            for flag in verb
                .flags
                .iter()
                .filter(|f| !(verb.name == "exec" && f.name == "no-subreaper"))
            {
                let value = match (flag.takes, flag.name) {
                    (Takes::Nothing, _) => "true",
                    (Takes::Duration, _) => "7s",
                    (_, "format") => "json",
                    (_, "empty-ns") => "network",
                    (_, "manage-cgroups-mode") => "strict",
                    (_, "page-server") => "[::1]:7",
                    _ => "7",
                };
                let with = lower(Some([&format!("--{}={value}", flag.name)]));
                assert_ne!(with, plain, "{} --{} changes nothing", verb.name, flag.name);
                assert!(with.is_ok(), "{} --{}: {with:?}", verb.name, flag.name);
            }
        }
    }

    #[test]
    fn the_root_is_absolute_clean_and_not_the_root() {
        for (path, clean) in [("/a/b", "/a/b"), ("/a//./b/../c/", "/a/c"), ("/../a", "/a")] {
            assert_eq!(parse_root(Path::new(path)).unwrap(), Path::new(clean));
        }
        assert_eq!(
            parse_root(Path::new("x")).unwrap(),
            std::env::current_dir().unwrap().join("x")
        );
        for path in ["/", "//", "/a/..", "/.."] {
            assert!(parse_root(Path::new(path)).is_err(), "{path}");
        }
    }
}
