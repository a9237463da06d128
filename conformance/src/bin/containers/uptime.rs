//! Kills and reboots of the played host, and whether `ps` tells the truth afterwards.
//!
//! May not: touch a process, mount or cgroup that was there before the containers were.

use std::path::PathBuf;
use std::process::Command;

use conformance::command::{self, USUAL};
use conformance::patience;
use conformance::played::leaks::{self, Survey};
use conformance::verdict::Done;

use crate::lab::Lab;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Living processes whose name begins like this: those of brig are called by their own names when they are not called as `docker`.
pub fn named(prefix: &str) -> Vec<u32> {
    leaks::processes()
        .into_iter()
        .filter(|(_, name)| name.starts_with(prefix))
        .map(|(pid, _)| pid)
        .collect()
}

/// kill -9. That it is gone already is no matter.
pub fn kill(pid: u32) -> Done {
    let pid = i32::try_from(pid).map_err(|e| e.to_string())?;
    match conformance::kernel::kill(pid, 9) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(format!("kill {pid}: {e}")),
        _ => Ok(()),
    }
}

/// Whether what is said of each container is so: who runs has a process, who has none does not run.
///
/// A container may end between the answer and the look at its process: what is true is true when one asks again.
pub fn truth(lab: &Lab) -> Done {
    let mut last = Ok(());
    command::until("the truth is told", patience::seconds(10), || {
        last = truth_now(lab);
        last.is_ok()
    })
    .map_err(|e| format!("{e}: {}", last.err().unwrap_or_default()))
}

fn truth_now(lab: &Lab) -> Done {
    let deadline = patience::seconds(20);
    let run = |line: &str| {
        lab.run(lab.subject, line, "", deadline)?
            .ok()
            .map_err(|e| format!("{line}: {e}"))
    };
    let format = "{{.Id}} {{.State.Status}} {{.State.Running}} {{.State.Pid}}";
    let told = run(&format!(
        "docker ps -aq --no-trunc | xargs -r docker inspect --type container --format '{format}'"
    ))?;
    let shown = run("docker ps -a --no-trunc --format '{{.ID}} {{.State}}'")?;
    let living: Vec<u32> = leaks::processes().into_iter().map(|(pid, _)| pid).collect();
    for line in told.lines() {
        let mut words = line.split(' ');
        let (Some(id), Some(status), Some(running), Some(pid)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("half a line: {line:?}"));
        };
        let pid: u32 = pid.parse().map_err(|e| format!("{line}: {e}"))?;
        let lives = pid != 0 && living.contains(&pid);
        // Between two lives of a restarting container it counts as running, and has no process.
        let runs = running == "true" && status != "restarting";
        if runs != lives {
            return Err(format!(
                "{line}: the process {pid} {}",
                if lives { "lives" } else { "is gone" }
            ));
        }
        if !shown.contains(&format!("{id} {status}")) && status != "restarting" {
            return Err(format!("inspect says {line:?}, ps says: {shown}"));
        }
    }
    Ok(())
}

/// All that a reboot takes: processes, mounts, cgroups, what lay in memory. Then the machine has another boot id.
pub fn reboot(lab: &Lab, before: &Survey) -> Done {
    for _ in 0..100 {
        thaw(&leaks::left(before, &lab.dir));
        let mut all = Vec::new();
        for line in leaks::left(before, &lab.dir) {
            let pid = line
                .strip_prefix("process ")
                .and_then(|rest| rest.split(' ').next());
            all.extend(pid.and_then(|pid| pid.parse::<u32>().ok()));
        }
        if all.is_empty() {
            break;
        }
        // Whoever watches another one may start something yet: again, until nobody is left.
        all.into_iter().try_for_each(kill)?;
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let left = leaks::left(before, &lab.dir);
    if let Some(line) = left.iter().find(|line| line.starts_with("process ")) {
        return Err(format!("cannot be killed: {line}"));
    }
    let mut mounts: Vec<&str> = left
        .iter()
        .filter_map(|line| line.strip_prefix("mount "))
        .collect();
    mounts.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in mounts.into_iter().filter(|point| *point != BOOT_ID) {
        command::run(Command::new("umount").args(["--lazy", point]), "", USUAL)?;
    }
    let mut cgroups: Vec<PathBuf> = left
        .iter()
        .filter_map(|line| line.strip_prefix("cgroup ").map(PathBuf::from))
        .collect();
    cgroups.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    for cgroup in cgroups {
        // A process that was killed leaves its cgroup when it has been waited for.
        let gone = command::until("rmdir", patience::seconds(10), || {
            std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists()
        });
        gone.map_err(|e| format!("{}: {e}", cgroup.display()))?;
    }
    let fresh = "rm -rf /run/brig /run/runb /run/user";
    command::run(Command::new("sh").args(["-c", fresh]), "", USUAL)?.ok()?;
    another_boot_id(lab)
}

/// A frozen process of a version 1 hierarchy dies of nothing before it is thawed.
fn thaw(left: &[String]) {
    for cgroup in left.iter().filter_map(|line| line.strip_prefix("cgroup ")) {
        for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let path = std::path::Path::new(cgroup).join(file);
            // It may have gone since; what stays frozen is told by who cannot be killed.
            if path.exists() && std::fs::write(&path, word).is_err() && path.exists() {
                eprintln!("containers: {}: cannot be thawed", path.display());
            }
        }
    }
}

/// What the kernel says which uptime this is.
fn another_boot_id(lab: &Lab) -> Done {
    back_to_the_boot_id()?;
    let file = lab.dir.join("boot_id");
    let fresh = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|e| format!("uuid: {e}"))?;
    std::fs::write(&file, fresh).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(&file).arg(BOOT_ID);
    command::run(&mut mount, "", USUAL)?.ok().map(|_| ())
}

/// The machine's own again. It may be that nothing was put over it.
pub fn back_to_the_boot_id() -> Done {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let covered = mounts.lines().any(|line| line.split(' ').nth(4) == Some(BOOT_ID));
    if !covered {
        return Ok(());
    }
    command::run(Command::new("umount").arg(BOOT_ID), "", USUAL)?
        .ok()
        .map(|_| ())
}
