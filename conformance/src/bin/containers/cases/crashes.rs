//! What is killed, and reboots: `ps` tells the truth, nothing is stuck, `system check` mends.
//!
//! May not: kill at random; that is the soak's.

use conformance::command;
use conformance::played::leaks;

use crate::case::{Case, Done, Need, Scene, case, has, is, soon};
use crate::uptime;

pub fn cases() -> Vec<Case> {
    vec![
        case("crash.monitor-killed", &[Need::Brig], monitor_killed),
        case(
            "crash.monitor-killed-then-ended",
            &[Need::Brig],
            monitor_killed_then_ended,
        ),
        case("crash.paused", &[Need::Brig], paused),
        case(
            "crash.adopted-and-restarted",
            &[Need::Brig],
            adopted_and_restarted,
        ),
        case("crash.monitor-and-all-killed", &[Need::Brig], all_killed),
        case("crash.payload-killed", &[Need::Brig], payload_killed),
        case("crash.full-disk", &[Need::Brig], full_disk),
        case("crash.reboot", &[Need::Brig], reboot),
        case("crash.reboot-in-the-middle", &[Need::Brig], reboot_in_the_middle),
    ]
}

/// The one monitor that there is.
fn kill_monitor() -> Done {
    let monitors = uptime::named("brig-mon");
    is("monitors", monitors.len(), 1)?;
    monitors.into_iter().try_for_each(uptime::kill)?;
    command::until("the monitor is gone", soon(), || {
        uptime::named("brig-mon").is_empty()
    })
}

fn mends(s: &Scene) -> Done {
    s.must("docker system check --quick --repair")?;
    s.must("docker system check --quick").map(|_| ())
}

fn monitor_killed(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --network none tiny sh -c 'echo said; exec sleep 600'")?;
    s.until("docker logs box", "said")?;
    kill_monitor()?;
    uptime::truth(s.lab)?;
    // Whether it survives its monitor or not: it can be stopped, looked at and started again.
    s.prints("docker logs box", "said\n")?;
    // What needs a monitor gets one.
    s.prints("docker exec box echo inside", "inside\n")?;
    uptime::truth(s.lab)?;
    s.prints("docker stop -t 0 box", "box\n")?;
    is("state", s.inspect("box", "{{.State.Running}}")?, false)?;
    mends(s)?;
    s.prints("docker start box", "box\n")?;
    uptime::truth(s.lab)?;
    s.prints("docker rm -f box", "box\n")
}

fn monitor_killed_then_ended(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --network none tiny sleep 600")?;
    let pid: u32 = s
        .inspect("box", "{{.State.Pid}}")?
        .parse()
        .map_err(|e| format!("pid: {e}"))?;
    kill_monitor()?;
    uptime::kill(pid)?;
    command::until("the container's process is gone", soon(), || {
        !leaks::processes().iter().any(|(other, _)| *other == pid)
    })?;
    uptime::truth(s.lab)?;
    has(
        "status",
        &s.must("docker ps -a --format '{{.Status}}'")?,
        "Exited (",
    )?;
    mends(s)?;
    s.prints("docker rm box", "box\n")
}

/// Who is paused when its monitor is killed, or paused afterwards, can go on, and `ps` says what is so.
fn paused(s: &mut Scene) -> Done {
    let status = |s: &Scene, what: &str| is("status", s.inspect("box", "{{.State.Status}}")?, what);
    s.must("docker run -d --name box --network none tiny sleep 600")?;
    s.must("docker pause box")?;
    kill_monitor()?;
    status(s, "paused")?;
    s.prints("docker unpause box", "box\n")?;
    status(s, "running")?;
    s.prints("docker pause box", "box\n")?;
    status(s, "paused")?;
    s.prints("docker unpause box", "box\n")?;
    s.prints("docker exec box echo inside", "inside\n")?;
    status(s, "running")?;
    s.prints("docker pause box", "box\n")?;
    s.prints("docker unpause box", "box\n")?;
    status(s, "running")?;
    s.prints("docker rm -f box", "box\n")
}

/// Its second monitor has no root to start it with, and sees to it all the same.
fn adopted_and_restarted(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --restart always --network none tiny sh -c 'echo said >>/file; exec sleep 600'")?;
    let pid = |s: &Scene| -> Result<u32, String> {
        let text = s.inspect("box", "{{.State.Pid}}")?;
        text.parse().map_err(|e| format!("pid {text:?}: {e}"))
    };
    let first = pid(s)?;
    kill_monitor()?;
    s.prints("docker exec box cat /file", "said\n")?;
    is("the process goes on", pid(s)?, first)?;
    uptime::kill(first)?;
    let mut second = first;
    command::until("another process", soon(), || {
        second = pid(s).unwrap_or(0);
        ![0, first].contains(&second)
    })?;
    uptime::truth(s.lab)?;
    s.until("docker exec box cat /file", "said\nsaid")?;
    // From here on it has a monitor that can do everything.
    uptime::kill(second)?;
    s.until(
        "docker inspect --format '{{.RestartCount}} {{.State.Status}}' box",
        "1 running",
    )?;
    kill_monitor()?;
    // A stop is a stop.
    s.prints("docker exec box true", "")?;
    s.prints("docker stop -t 0 box", "box\n")?;
    command::until("its monitor has ended", soon(), || {
        uptime::named("brig").is_empty()
    })?;
    is("state", s.inspect("box", "{{.State.Status}}")?, "exited")?;
    // And what ended while nobody looked, the machine's start or the unit's brings back.
    s.prints("docker start box", "box\n")?;
    let third = pid(s)?;
    kill_monitor()?;
    uptime::kill(third)?;
    s.until_ended("box")?;
    s.prints("docker system start", "box\n")?;
    is("state", s.inspect("box", "{{.State.Status}}")?, "running")?;
    s.prints("docker rm -f box", "box\n")
}

fn all_killed(s: &mut Scene) -> Done {
    for n in 1..=3 {
        s.must(&format!(
            "docker run -d --name box{n} --network none --restart always tiny sleep 600"
        ))?;
    }
    s.must("docker run -d --rm --name brief --network none tiny sleep 600")?;
    for prefix in ["brig", "sleep", "busybox"] {
        uptime::named(prefix).into_iter().try_for_each(uptime::kill)?;
    }
    command::until("all are gone", soon(), || {
        ["brig", "sleep", "busybox"]
            .iter()
            .all(|prefix| uptime::named(prefix).is_empty())
    })?;
    uptime::truth(s.lab)?;
    mends(s)?;
    s.must("docker start box1")?;
    uptime::truth(s.lab)?;
    s.must("docker rm -f box1 box2 box3").map(|_| ())
}

/// A disk without a byte left: what runs is seen, ends with its own code, and goes; then there is room again.
fn full_disk(s: &mut Scene) -> Done {
    let root = s.path("full");
    std::fs::create_dir(&root).map_err(|e| e.to_string())?;
    s.must(&format!("mount -t tmpfs -o size=64m tmpfs {root}"))?;
    let done = fill_and_empty(s, &root);
    s.must(&format!("docker --root {root} rm -f box fill"))?;
    s.must(&format!("umount {root}"))?;
    done
}

fn fill_and_empty(s: &Scene, root: &str) -> Done {
    let brig = format!("docker --root {root}");
    s.must(&format!("docker save tiny | {brig} load"))?;
    s.must(&format!(
        "{brig} run -d --name box --network none tiny sh -c 'trap \"exit 7\" TERM; echo up; while :; do sleep 0.1; done'"
    ))?;
    s.until(&format!("{brig} logs box"), "up")?;
    s.must(&format!(
        "{brig} run --name fill --network none tiny dd if=/dev/zero of=/big bs=1M || true"
    ))?;
    s.must(&format!("dd if=/dev/zero of={root}/rest bs=4k || true"))?;
    // The first that meets it has the reserve.
    s.must(&format!(
        "{brig} ps && dd if=/dev/zero of={root}/more bs=4k || true"
    ))?;
    let told = s.must(&format!("{brig} ps -a --format '{{{{.Names}}}} {{{{.Status}}}}'"))?;
    has("ps", &told, "box Up")?;
    has("ps", &told, "fill Exited (1)")?;
    s.fails(
        &format!("{brig} run --rm --network none tiny true"),
        125,
        &["no space left on device"],
    )?;
    s.prints(&format!("{brig} stop box"), "box\n")?;
    s.prints(&format!("{brig} inspect -f '{{{{.State.ExitCode}}}}' box"), "7\n")?;
    s.must(&format!("{brig} rm -f box fill && rm {root}/rest {root}/more"))?;
    s.prints(
        &format!("{brig} run --rm --network none tiny echo again"),
        "again\n",
    )?;
    let left = s.must(&format!("{brig} ps -aq --filter status=running"))?;
    is("what runs", left, "")?;
    s.must(&format!("{brig} container prune -f && {brig} rmi tiny"))?;
    s.must(&format!("{brig} system check")).map(|_| ())
}

fn payload_killed(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --network none tiny sleep 600")?;
    let pid: u32 = s
        .inspect("box", "{{.State.Pid}}")?
        .parse()
        .map_err(|e| format!("pid: {e}"))?;
    uptime::kill(pid)?;
    s.until_ended("box")?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 137)?;
    uptime::truth(s.lab)
}

fn reboot(s: &mut Scene) -> Done {
    let before = leaks::survey(&s.lab.dir);
    let played = || -> Done {
        s.must("docker run -d --name plain --network none tiny sh -c 'echo kept >/file; echo said; exec sleep 600'")?;
        s.must("docker run -d --name always1 --restart always --network none tiny sleep 600")?;
        s.must("docker run -d --rm --name brief --network none tiny sleep 600")?;
        s.must("docker run --name ended --network none tiny true")?;
        s.must("docker create --name made --network none tiny true")?;
        s.until("docker logs plain", "said")?;
        uptime::reboot(s.lab, &before)?;
        uptime::truth(s.lab)?;
        has(
            "plain",
            &s.must("docker ps -a --filter name=plain --format '{{.Status}}'")?,
            "Exited (",
        )?;
        is("made", s.inspect("made", "{{.State.Status}}")?, "created")?;
        is(
            "ended",
            s.inspect("ended", "{{.State.Status}} {{.State.ExitCode}}")?,
            "exited 0",
        )?;
        s.prints("docker logs plain", "said\n")?;
        s.prints("docker start plain", "plain\n")?;
        s.prints("docker exec plain cat /file", "kept\n")?;
        uptime::truth(s.lab)?;
        mends(s)?;
        s.must("docker ps -aq | xargs docker rm -f").map(|_| ())
    };
    played().and(uptime::back_to_the_boot_id())
}

fn reboot_in_the_middle(s: &mut Scene) -> Done {
    let before = leaks::survey(&s.lab.dir);
    let played = || -> Done {
        // Several are at different points of their way when the power goes.
        s.must("for n in 1 2 3 4 5 6; do docker run -d --name box$n --network none tiny sleep 600 >/dev/null 2>&1 & done; docker run --name one --network none tiny true")?;
        uptime::reboot(s.lab, &before)?;
        uptime::truth(s.lab)?;
        mends(s)?;
        is("nobody runs", s.must("docker ps -q")?, "")?;
        s.must("docker ps -aq | xargs -r docker rm -f")?;
        s.prints(
            "docker run --rm --name box1 --network none tiny echo again",
            "again\n",
        )
    };
    played().and(uptime::back_to_the_boot_id())
}
