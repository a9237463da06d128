//! `conformance-deny`: runs a command in which named system calls fail, as they do below an old kernel or a container's
//! filter. Rehearses fallbacks; knows nothing of runtimes.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use conformance::denial;
use conformance::kernel;

const HELP: &str = "\
usage: conformance-deny [--errno ENOSYS|EPERM|N] CALL[,CALL...] -- COMMAND [ARG...]

Runs COMMAND; in it and all its children each CALL (a name below, or a number) fails with the errno (default ENOSYS).

names: clone3 openat2 fsopen fsconfig fsmount open_tree move_mount mount_setattr close_range pidfd_open
       pidfd_send_signal memfd_create statx seccomp keyctl add_key execveat bpf

example: conformance-deny --errno EPERM clone3,openat2 -- runc run x
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("conformance-deny: {why} (see --help)");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (errno, calls, command) = match words.as_slice() {
        ["-h" | "--help", ..] => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        ["--errno", e, calls, "--", command @ ..] => (parse_errno(e)?, *calls, command),
        [calls, "--", command @ ..] => (libc::ENOSYS as u16, *calls, command),
        _ => return Err("expected CALL[,CALL...] -- COMMAND".into()),
    };
    let [program, rest @ ..] = command else {
        return Err("no command".into());
    };
    let parse = |name| denial::parse_call(name).ok_or_else(|| format!("unknown system call {name:?}"));
    let numbers = calls.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    let arch = denial::audit_arch().ok_or("not known on this CPU")?;
    kernel::deny_syscalls(&numbers, errno, arch).map_err(|e| format!("cannot load the filter: {e}"))?;
    Err(format!(
        "cannot run {program}: {}",
        Command::new(program).args(rest).exec()
    ))
}

fn parse_errno(text: &str) -> Result<u16, String> {
    match text {
        "ENOSYS" => Ok(libc::ENOSYS as u16),
        "EPERM" => Ok(libc::EPERM as u16),
        n => n.parse().map_err(|_| format!("unknown errno {n:?}")),
    }
}
