//! A machine that is there for the cases alone, such as a virtual one: the cases act on its own cgroups.
//!
//! May not: need more than busybox, whose `unshare` makes no cgroup namespaces, or be used on a machine with other work.
//!
//! The PID namespace is the same promise as on a played host: everything in it comes from a shim, and may be killed.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::command;

/// Process 1 of the namespaces, which collects the processes that lose their parents.
const SCRIPT: &str = r#"
set -eu
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
code=0
"$@" || code=$?
exit "$code"
"#;

/// All cases; each has deadlines of its own.
const PATIENCE: Duration = Duration::from_secs(900);

/// The second life, on the machine as it is.
pub fn live(programs: &[(&str, &Path)], words: &[String]) -> Result<ExitCode, String> {
    let dir = Directory::make(programs)?;
    let own = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let mut command = Command::new("unshare");
    command.args(["-m", "-n", "-p", "-i", "-u", "-f", "sh", "-c", SCRIPT, "sh"]);
    command.arg(own).arg("--inside").arg(&dir.0).args(words);
    command
        .env("TMPDIR", &dir.0)
        .stdin(Stdio::null())
        .process_group(0);
    let status = command::wait(&mut command, PATIENCE)?;
    Ok(ExitCode::from(
        u8::try_from(command::shell_code(status)).unwrap_or(1),
    ))
}

/// Where the programs lie, each in a directory of its role's name.
struct Directory(PathBuf);

impl Directory {
    fn make(programs: &[(&str, &Path)]) -> Result<Directory, String> {
        let made = Directory(std::env::temp_dir().join(format!("shimtest-{}", std::process::id())));
        for (role, program) in programs {
            let dir = made.0.join(role);
            let to = dir.join(program.file_name().unwrap_or_default());
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            std::fs::copy(program, &to).map_err(|e| format!("{}: {e}", program.display()))?;
        }
        Ok(made)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("shimtest: {}: {e}", self.0.display());
        }
    }
}
