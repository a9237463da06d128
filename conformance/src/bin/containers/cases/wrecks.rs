//! kill -9 of brig and of monitors while networks are attached: the next command clears what is left.
//!
//! May not: kill at random; that is the soak's. Here the moments are spread over the whole of a start and of an end.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use conformance::command;

use crate::case::{Case, Done, Need, Scene, is, soon};
use crate::outside::{From, HOST};
use crate::uptime;
use crate::wires::{self, networked};

pub fn cases() -> Vec<Case> {
    vec![
        networked("wreck.run-killed", &[Need::Brig], run_killed),
        networked("wreck.end-killed", &[Need::Brig], end_killed),
        networked("wreck.monitor-killed", &[Need::Brig], monitor_killed),
        networked("wreck.all-killed", &[Need::Brig], all_killed),
        networked("wreck.connect-killed", &[Need::Brig], connect_killed),
        networked("wreck.reboot", &[Need::Brig], reboot),
    ]
}

/// Starts a command line, and kills it (with everything that it had started in its group) so long afterwards.
fn killed_after(s: &Scene, line: &str, moment: Duration) -> Result<bool, String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let mut command = s.lab.straight(&words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let began = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{line}: {e}"))?;
    let mut ended = false;
    while began.elapsed() < moment && !ended {
        ended = child.try_wait().map_err(|e| e.to_string())?.is_some();
        std::thread::park_timeout(Duration::from_micros(200));
    }
    if !ended {
        uptime::kill(child.id())?;
        child.wait().map_err(|e| format!("{line}: {e}"))?;
    }
    Ok(!ended)
}

/// Where the whole of a command is cut: so many pieces of what it takes when it is left alone.
fn moments(s: &Scene, line: &str, undo: &str, pieces: u32) -> Result<Vec<Duration>, String> {
    let began = Instant::now();
    killed_after(s, line, Duration::from_secs(20))?;
    let whole = began.elapsed();
    s.must(undo)?;
    Ok((1..=pieces).map(|n| whole * n / pieces).collect())
}

/// The address and the ports are those that the first container had: nobody keeps them.
fn all_is_free(s: &Scene, before: &wires::Network) -> Done {
    s.must("docker ps -aq | xargs -r docker rm -f")?;
    // The next command, whatever it is, has cleared; one that makes a container certainly.
    s.must("docker run --rm --network one tiny true")?;
    wires::check(before)?;
    s.serve("probe", "--network one -p 8001:80 -p 5300:53/udp")?;
    is("the lowest address", s.address("probe")?, "10.85.0.2")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "probe hears")?;
    s.must("docker rm -f probe")?;
    wires::check(before)
}

const NETWORK: &str = "docker network create --subnet 10.85.0.0/24 one";
const RUN: &str = "run -d --name box --network one -p 8001:80 -p 5300:53/udp tiny sleep 1000";

fn run_killed(s: &mut Scene) -> Done {
    s.must(NETWORK)?;
    s.must("docker run --rm --network one tiny true")?;
    let before = wires::settled()?;
    for moment in moments(s, RUN, "docker rm -f box", 24)? {
        killed_after(s, RUN, moment)?;
        uptime::truth(s.lab)?;
        s.must("docker rm -f box")?;
        s.must("docker run --rm --network one -p 8001:80 -p 5300:53/udp tiny true")
            .map_err(|e| format!("after a kill at {moment:?}: {e}"))?;
    }
    all_is_free(s, &before)
}

fn end_killed(s: &mut Scene) -> Done {
    s.must(NETWORK)?;
    s.must("docker run --rm --network one tiny true")?;
    let before = wires::settled()?;
    let run = format!("docker {RUN}");
    for (line, pieces) in [("rm -f box", 8), ("stop -t 0 box", 8), ("restart -t 0 box", 8)] {
        s.must(&run)?;
        for moment in moments(s, line, &format!("docker rm -f box && {run}"), pieces)? {
            killed_after(s, line, moment)?;
            uptime::truth(s.lab)?;
            s.must(&format!("docker rm -f box && {run}"))
                .map_err(|e| format!("after {line} was killed at {moment:?}: {e}"))?;
        }
        s.must("docker rm -f box")?;
    }
    all_is_free(s, &before)
}

fn kill_monitors() -> Done {
    uptime::named("brig-mon").into_iter().try_for_each(uptime::kill)?;
    command::until("the monitors are gone", soon(), || {
        uptime::named("brig-mon").is_empty()
    })
}

fn monitor_killed(s: &mut Scene) -> Done {
    s.must(NETWORK)?;
    s.must("docker run --rm --network one tiny true")?;
    let before = wires::settled()?;
    for _ in 0..3 {
        s.must(&format!("docker {RUN}"))?;
        let pid: u32 = s
            .inspect("box", "{{.State.Pid}}")?
            .parse()
            .map_err(|e| format!("pid: {e}"))?;
        kill_monitors()?;
        // The payload goes as well: nobody is left who could clear.
        uptime::kill(pid)?;
        command::until("it is gone", soon(), || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        })?;
        uptime::truth(s.lab)?;
        // Another container may have its address and its ports, while it is still there as a stopped one.
        s.must("docker run --rm --network one -p 8001:80 -p 5300:53/udp tiny true")?;
        wires::check(&before)?;
        s.must("docker rm box")?;
    }
    all_is_free(s, &before)
}

fn all_killed(s: &mut Scene) -> Done {
    s.must(NETWORK)?;
    s.must("docker run --rm --network one tiny true")?;
    let before = wires::settled()?;
    for n in 0..8 {
        s.must(&format!(
            "docker run -d --name box{n} --network one -p 80{n}0:80 tiny sleep 1000"
        ))?;
    }
    for prefix in ["brig", "sleep", "busybox"] {
        uptime::named(prefix).into_iter().try_for_each(uptime::kill)?;
    }
    command::until("all are gone", soon(), || {
        ["brig", "sleep", "busybox"]
            .iter()
            .all(|prefix| uptime::named(prefix).is_empty())
    })?;
    uptime::truth(s.lab)?;
    // Those that have ended do not hold their network.
    s.must("docker run --rm --network one -p 8000:80 tiny true")?;
    all_is_free(s, &before)
}

fn connect_killed(s: &mut Scene) -> Done {
    s.must(NETWORK)?;
    s.must("docker network create two")?;
    s.must("docker run --rm --network one tiny true")?;
    s.must("docker run --rm --network two tiny true")?;
    let before = wires::settled()?;
    s.serve("box", "--network two")?;
    let undo = "docker network disconnect one box";
    for moment in moments(s, "network connect one box", undo, 8)? {
        killed_after(s, "network connect one box", moment)?;
        // Whichever way it went: it can be had, and it can be undone.
        s.sh(undo)?;
        s.must("docker network connect one box")
            .map_err(|e| format!("after a kill at {moment:?}: {e}"))?;
        is("address", s.address_in("box", "one")?, "10.85.0.2")?;
        s.must(undo)?;
    }
    for moment in moments(
        s,
        undo.trim_start_matches("docker "),
        "docker network connect one box || true",
        6,
    )? {
        s.sh("docker network connect one box")?;
        killed_after(s, undo.trim_start_matches("docker "), moment)?;
        s.sh(undo)?;
    }
    all_is_free(s, &before)
}

fn reboot(s: &mut Scene) -> Done {
    let leaks = conformance::played::leaks::survey(&s.lab.dir);
    let played = || -> Done {
        s.must(NETWORK)?;
        s.must(&format!("docker {RUN}"))?;
        s.must("docker run -d --name always1 --restart always --network one -p 8002:80 tiny sleep 1000")?;
        uptime::reboot(s.lab, &leaks)?;
        // The devices and the rules of an uptime go with it.
        wires::output(
            "nft flush ruleset; iptables -P FORWARD ACCEPT; for d in $(ip -o link | sed -n 's/^[0-9]*: \\(br[-i][^:@]*\\).*/\\1/p'); do ip link del $d; done; for d in $(ip -o link show type veth | sed -n 's/^[0-9]*: \\([^:@]*\\).*/\\1/p' | grep -v wan0); do ip link del $d; done; true",
        )?;
        uptime::truth(s.lab)?;
        is(
            "networks",
            s.must("docker network ls -q --filter name=^one$")?
                .lines()
                .count(),
            1,
        )?;
        s.must("docker rm -f always1")?;
        s.prints("docker start box", "box\n")?;
        is("address", s.address("box")?, "10.85.0.2")?;
        s.must("docker rm -f box")?;
        s.serve("probe", "--network one -p 8001:80")?;
        s.until_who(From::Second, &format!("{HOST}:8001"), "probe hears")?;
        // The default network is made again, too: what was there before this case is there afterwards.
        s.must("docker run --rm -p 8003:80 tiny true")?;
        s.must("docker rm -f probe").map(|_| ())
    };
    played().and(uptime::back_to_the_boot_id())
}
