//! A monitor, a runtime and a container against the real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod world;

use monitor::client::Error;
use monitor::launch::{self, Launch, RestartPolicy};
use monitor::protocol::{Attach, Ended, Exec, Frame, Kind, Request, Size};
use monitor::state::{State, Status};
use serde_json::{Value, json};
use sys::process::Exit;

use world::{Said, World, code, process, read_to_end, read_until, world};

#[test]
fn the_first_client_misses_nothing() {
    let Some(mut world) = world("echo out; echo err >&2; exit 3") else {
        return;
    };
    let started = world.try_start(Some(world::everything())).unwrap();
    assert!(started.pid > 0);
    let said = read_to_end(&mut started.streams.unwrap());
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    assert_eq!(code(&said), 3);
    let state = world.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 3));
    assert!(state.init.is_none() && state.monitor.is_none());
    assert!(state.started_at < state.finished_at);
    assert_eq!(world.monitor_ends(started.monitor), Exit::Code(0));
    assert!(!world.place.socket().exists());
    assert_eq!(world.notes(), "");
    let log = std::fs::read_to_string(&world.launch.log.path).unwrap();
    let mut lines: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    lines.sort_by_key(|line| line["stream"].to_string());
    let [err, out] = &lines[..] else { panic!("{log}") };
    assert_eq!((&err["log"], &err["stream"]), (&json!("err\n"), &json!("stderr")));
    assert_eq!((&out["log"], &out["stream"]), (&json!("out\n"), &json!("stdout")));
    assert_eq!(world.events(), ["attach", "start", "die"]);
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let Some(mut world) = world("") else { return };
    for (program, kind, code) in [
        ("nothing-called-so", Kind::NoProgram, 127),
        ("/tmp", Kind::Denied, 126),
    ] {
        world.configure(&[program]);
        let failed = world.try_start(None).unwrap_err();
        let Error::Refused { kind: told, message } = failed else {
            panic!("{failed}")
        };
        assert_eq!(told, kind, "{message}");
        let state = world.state();
        assert_eq!((state.status, state.exit_code), (Status::Created, code));
        assert_eq!(state.error, message);
        assert!(!world.place.socket().exists());
        assert_eq!(world.notes(), "");
    }
}

#[test]
fn input_goes_in_and_ends() {
    let Some(mut world) = world("cat; echo end") else {
        return;
    };
    (world.launch.open_stdin, world.launch.stdin_once) = (true, true);
    let mut streams = world.start_attached();
    streams.send(Frame::Stdin, b"one\n").unwrap();
    assert_eq!(read_until(&mut streams, "one\n"), "one\n");
    streams.send(Frame::StdinEnd, b"").unwrap();
    let said = read_to_end(&mut streams);
    assert_eq!((said.out.as_str(), code(&said)), ("end\n", 0));
}

#[test]
fn a_kill_is_an_exit_code() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    let started = world.start();
    world
        .ask(Request::Kill {
            signal: libc::SIGKILL,
        })
        .unwrap();
    let state = world.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
    world.monitor_ends(started.monitor);
    assert!(matches!(
        world.ask(Request::Kill { signal: 9 }).unwrap_err(),
        Error::Gone
    ));
}

#[test]
fn clients_come_and_go() {
    let Some(mut world) = world("read a; echo $a; read b; echo $b") else {
        return;
    };
    world.launch.open_stdin = true;
    let mut first = world.start_attached();
    let mut second = world.attach();
    second.send(Frame::Stdin, b"one\n").unwrap();
    for streams in [&mut first, &mut second] {
        assert_eq!(read_until(streams, "one\n"), "one\n");
    }
    // Neither the end of its input nor its own ends that of the container.
    first.send(Frame::StdinEnd, b"").unwrap();
    drop(first);
    let mut third = world.attach();
    third.send(Frame::Stdin, b"two\n").unwrap();
    for streams in [&mut second, &mut third] {
        let said = read_to_end(streams);
        assert_eq!((said.out.as_str(), code(&said)), ("two\n", 0));
    }
}

/// It writes 4 MiB, more than pipe, backlog and socket hold together, and says how far it is.
const MUCH: &str = "i=0; while [ $i -lt 64 ]; do
    dd if=/dev/zero bs=65536 count=1 2>/dev/null; i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/far
done; echo done >/tmp/far; sleep 1000";

#[test]
fn a_client_that_does_not_read_holds_the_container_back_and_nobody_else() {
    let Some(mut world) = world(MUCH) else { return };
    let mut slow = world.start_attached();
    let far = |world: &world::World| std::fs::read_to_string(world.file("tmp/far")).unwrap_or_default();
    let mut seen = String::new();
    // The monitor answers while the container stands still.
    world.deadline("it is held back", |world| {
        let before = std::mem::replace(&mut seen, far(world));
        for _ in 0..20 {
            let said = read_to_end(&mut world.exec("echo here").unwrap().1);
            assert_eq!(said.out, "here\n");
        }
        !seen.is_empty() && seen == before && seen == far(world)
    });
    let steps: u32 = seen.trim().parse().expect("it is not done");
    assert!(steps < 16, "{steps} of 64 KiB were taken for one who reads none");
    let mut bytes = 0;
    while bytes < 64 << 16 {
        match slow.receive().unwrap() {
            Some((Frame::Stdout, piece)) => bytes += piece.len(),
            other => panic!("{other:?}"),
        }
    }
    world.deadline("it goes on", |world| far(world) == "done\n");
}

#[test]
fn a_client_that_vanishes_lets_the_container_go_on() {
    let Some(mut world) = world(MUCH) else { return };
    let slow = world.start_attached();
    let far = |world: &world::World| std::fs::read_to_string(world.file("tmp/far")).unwrap_or_default();
    world.deadline("it has begun", |world| !far(world).is_empty());
    drop(slow);
    world.deadline("it goes on", |world| far(world) == "done\n");
}

#[test]
fn a_container_that_writes_without_end_keeps_nobody_from_being_answered() {
    let Some(mut world) = world("yes") else { return };
    world.launch.log.driver = "none".into();
    world.start();
    for _ in 0..20 {
        world.ask(Request::Processes).unwrap();
    }
    world
        .ask(Request::Kill {
            signal: libc::SIGKILL,
        })
        .unwrap();
}

#[test]
fn a_terminal_has_a_size_and_an_echo() {
    let script = "stty size; read a; stty size; read b; echo [$a$b]; exit 4";
    let Some(mut world) = world(script) else { return };
    (world.launch.terminal, world.launch.open_stdin) = (true, true);
    let size = |rows, columns| Size { rows, columns };
    let attach = Attach {
        size: Some(size(11, 22)),
        ..world::everything()
    };
    let started = world.try_start(Some(attach)).unwrap();
    let mut first = started.streams.unwrap();
    assert_eq!(read_until(&mut first, "\n"), "11 22\r\n");
    let second = world.attach();
    let resized = serde_json::to_vec(&size(33, 44)).unwrap();
    second.send(Frame::Resize, &resized).unwrap();
    second.send(Frame::Stdin, b"x\n").unwrap();
    assert_eq!(read_until(&mut first, "44\r\n"), "x\r\n33 44\r\n");
    second.send(Frame::Stdin, b"y\n").unwrap();
    let said = read_to_end(&mut first);
    assert_eq!((said.out.as_str(), code(&said)), ("y\r\n[xy]\r\n", 4));
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_goes_on() {
    let script = "exec </dev/null >/dev/null 2>&1; : >/tmp/closed
        while [ ! -e /tmp/go ]; do sleep 0.01; done; echo later >/dev/tty; exit 4";
    let Some(mut world) = world(script) else { return };
    world.launch.terminal = true;
    let mut streams = world.start_attached();
    world.deadline("the terminal is closed", |world| {
        world.file("tmp/closed").exists()
    });
    // Whatever the end of the last writer does to the monitor is done before this is answered.
    world.ask(Request::Processes).unwrap();
    std::fs::write(world.file("tmp/go"), "").unwrap();
    let said = read_to_end(&mut streams);
    assert_eq!((said.out.as_str(), code(&said)), ("later\r\n", 4));
}

#[test]
fn execs_have_their_own_streams_and_ends() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.start();
    let mut all: Vec<_> = (0..8)
        .map(|n| {
            world
                .exec(&format!("read x; echo ${{x}}{n}; echo e >&2; exit {n}"))
                .unwrap()
        })
        .collect();
    // Without input they read its end.
    for (n, (pid, streams)) in all.iter_mut().enumerate() {
        assert!(*pid > 0);
        let said = read_to_end(streams);
        assert_eq!((said.out, said.err.as_str()), (format!("{n}\n"), "e\n"));
        assert_eq!(said.ended.unwrap().code, n as i32);
    }
    world.until("no exec", |state| state.execs.is_empty());
    let cat = Exec {
        id: "cat".into(),
        process: process(&["cat"], false),
        stdin: true,
        stdout: true,
        ..Exec::default()
    };
    let (_, mut streams) = world.exec_as(cat.clone()).unwrap();
    assert_eq!(world.state().execs, ["cat"]);
    streams.send(Frame::Stdin, b"to and fro").unwrap();
    read_until(&mut streams, "to and fro");
    streams.send(Frame::StdinEnd, b"").unwrap();
    assert_eq!(code(&read_to_end(&mut streams)), 0);
    // The client's end is the end of the input, too.
    drop(world.exec_as(cat).unwrap());
    world.until("no exec", |state| state.execs.is_empty());
    let (_, mut streams) = world.exec("sleep 1000").unwrap();
    streams.send(Frame::Signal, b"9").unwrap();
    assert_eq!(code(&read_to_end(&mut streams)), 137);
}

#[test]
fn an_exec_may_have_a_terminal_or_be_left_alone() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    // So that there is a devpts.
    (world.launch.terminal, world.launch.open_stdin) = (true, true);
    world.start();
    let terminal = Exec {
        process: process(&["sh", "-c", "stty size; tty; exit 5"], true),
        stdin: true,
        stdout: true,
        size: Some(Size { rows: 9, columns: 99 }),
        ..Exec::default()
    };
    let (_, mut streams) = world.exec_as(terminal).unwrap();
    let said = read_to_end(&mut streams);
    assert!(said.out.starts_with("9 99\r\n/dev/pts/"), "{}", said.out);
    assert_eq!(code(&said), 5);
    let detached = Exec {
        process: process(&["sh", "-c", "echo $$ >/tmp/there; sleep 1000"], false),
        detach: true,
        ..Exec::default()
    };
    let (pid, mut streams) = world.exec_as(detached).unwrap();
    assert_eq!(read_to_end(&mut streams), Said::default());
    let written = |world: &World| {
        !std::fs::read_to_string(world.file("tmp/there"))
            .unwrap_or_default()
            .is_empty()
    };
    world.deadline("it runs", written);
    let pids = world.ask(Request::Processes).unwrap();
    let pids: Vec<i32> = serde_json::from_value(pids).unwrap();
    assert!(pids.contains(&pid) && pids.len() == 2, "{pid} {pids:?}");
}

#[test]
fn who_holds_a_container_and_goes_lets_it_go_on() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.start();
    let hold = |world: &World| {
        let connection = monitor::client::connect(&world.place).unwrap();
        connection.request_and_stay(&Request::Hold)
    };
    let held = hold(&world).unwrap();
    assert_eq!(world.state().status, Status::Paused);
    let again = hold(&world).unwrap_err().to_string();
    assert_eq!(again, format!("Container {} is already paused", world.place.id));
    drop(held);
    world.until("it goes on", |state| state.status == Status::Running);
    // What somebody else has paused since stays so.
    let held = hold(&world).unwrap();
    world.ask(Request::Unpause).unwrap();
    world.ask(Request::Pause).unwrap();
    drop(held);
    // The monitor serves one after the other: when it has closed the second, it has seen the first go.
    assert!(hold(&world).is_err());
    assert_eq!(world.state().status, Status::Paused);
    world.ask(Request::Unpause).unwrap();
    // Who lets it go on itself first has nothing to do afterwards.
    let held = hold(&world).unwrap();
    world.ask(Request::Unpause).unwrap();
    drop(held);
    assert!(world.ask(Request::Unpause).is_err());
    assert_eq!(world.state().status, Status::Running);
}

#[test]
fn an_exec_that_cannot_be_says_why() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.start();
    let refused = |world: &World, program: &str| {
        let exec = Exec {
            process: process(&[program], false),
            stdout: true,
            ..Exec::default()
        };
        match world.exec_as(exec).unwrap_err() {
            Error::Refused { kind, message } => (kind, message),
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(&world, "nothing-called-so").0, Kind::NoProgram);
    assert_eq!(refused(&world, "/tmp").0, Kind::Denied);
    world.ask(Request::Pause).unwrap();
    assert_eq!(world.state().status, Status::Paused);
    let id = &world.place.id;
    let paused = format!("Container {id} is paused, unpause the container before exec");
    assert_eq!(refused(&world, "true"), (Kind::NotRunning, paused));
    let again = world.ask(Request::Pause).unwrap_err().to_string();
    assert_eq!(again, format!("Container {id} is already paused"));
    world.ask(Request::Unpause).unwrap();
    assert_eq!(world.state().status, Status::Running);
    let again = world.ask(Request::Unpause).unwrap_err().to_string();
    assert_eq!(again, format!("Container {id} is not paused"));
    assert_eq!(code(&read_to_end(&mut world.exec("exit 6").unwrap().1)), 6);
    assert!(world.state().execs.is_empty());
}

#[test]
fn a_stop_asks_first_and_then_kills() {
    let Some(mut world) = world("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done") else {
        return;
    };
    let mut streams = world.start_attached();
    read_until(&mut streams, "up");
    let stop = |timeout| Request::Stop {
        signal: None,
        timeout: Some(timeout),
    };
    // One that waits for its signal for ever.
    world.ask(stop(-1)).unwrap();
    assert_eq!(code(&read_to_end(&mut streams)), 7);
    let state = world.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 7));
    assert!(state.stopped_by_user);
    world.configure(&["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]);
    let mut streams = world.start_attached();
    assert!(!world.state().stopped_by_user);
    read_until(&mut streams, "up");
    world.ask(stop(1)).unwrap();
    assert_eq!(code(&read_to_end(&mut streams)), 137);
    // One that stands still hears nothing.
    let started = world.start();
    world.ask(Request::Pause).unwrap();
    world.ask(stop(0)).unwrap();
    assert_eq!(world.state().exit_code, 137);
    world.monitor_ends(started.monitor);
    assert!(matches!(world.ask(stop(0)).unwrap_err(), Error::Gone));
    let mut events = world.events();
    // Whether it still has to be let go after SIGKILL is up to the kernel.
    events.retain(|event| event != "unpause");
    let expected = ["start", "pause", "kill", "die", "stop"];
    assert!(events.ends_with(&expected.map(String::from)), "{events:?}");
}

#[test]
fn a_restart_is_another_run_of_the_same() {
    let Some(mut world) = world("echo up; sleep 1000") else {
        return;
    };
    let started = world.try_start(Some(world::everything())).unwrap();
    let mut streams = started.streams.unwrap();
    let restart = Request::Restart {
        signal: Some(libc::SIGKILL),
        timeout: None,
    };
    world.ask(restart).unwrap();
    assert_eq!(code(&read_to_end(&mut streams)), 137);
    let state = world.state();
    assert_eq!(state.status, Status::Running);
    assert_eq!((state.restart_count, state.stopped_by_user), (0, false));
    assert_ne!(state.init.unwrap().pid, started.pid);
    assert_eq!(state.monitor.unwrap().pid, started.monitor);
    assert_eq!(code(&read_to_end(&mut world.exec("exit 8").unwrap().1)), 8);
    let expected = [
        "attach",
        "start",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "exec_create: sh -c exit 8",
        "exec_start: sh -c exit 8",
        "exec_die",
    ];
    assert_eq!(world.events(), expected);
}

#[test]
fn a_policy_starts_it_again_until_it_is_enough() {
    let Some(mut world) = world("echo x >>/tmp/runs; exit 9") else {
        return;
    };
    world.launch.restart = RestartPolicy {
        name: "on-failure".into(),
        maximum_retry_count: 2,
    };
    let started = world.start();
    world.monitor_ends(started.monitor);
    let state = world.state();
    assert_eq!(
        (state.status, state.exit_code, state.restart_count),
        (Status::Exited, 9, 2)
    );
    let runs = std::fs::read_to_string(world.file("tmp/runs")).unwrap();
    assert_eq!(runs, "x\nx\nx\n");
    assert_eq!(world.notes(), "");
}

#[test]
fn a_stop_ends_the_waiting_for_a_restart() {
    let Some(mut world) = world("exit 1") else { return };
    world.launch.restart.name = "always".into();
    let started = world.start();
    // Later waits are longer.
    world.until("a long wait", |s| {
        s.status == Status::Restarting && s.restart_count >= 3
    });
    let refused = world.exec("true").unwrap_err().to_string();
    assert!(
        refused.ends_with("is restarting, wait until the container is running"),
        "{refused}"
    );
    world
        .ask(Request::Stop {
            signal: None,
            timeout: None,
        })
        .unwrap();
    let state = world.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 1));
    world.monitor_ends(started.monitor);
}

#[test]
fn its_health_is_asked_for() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.launch.health = Some(launch::Health {
        command: ["sh", "-c", "cat /tmp/ill 2>/dev/null && exit 1; echo well"]
            .map(str::to_owned)
            .to_vec(),
        interval: 20_000_000,
        retries: 2,
        process: process(&[], false),
        ..launch::Health::default()
    });
    world.start();
    let status = |state: &State| {
        state
            .health
            .as_ref()
            .map(|h| h.status.clone())
            .unwrap_or_default()
    };
    let well = world.until("healthy", |state| status(state) == "healthy");
    let probe = well.health.unwrap().log.pop().unwrap();
    assert_eq!((probe.exit_code, probe.output.as_str()), (0, "well\n"));
    assert!(probe.start <= probe.end);
    std::fs::write(world.file("tmp/ill"), "much ".repeat(2000)).unwrap();
    let ill = world
        .until("unhealthy", |state| status(state) == "unhealthy")
        .health
        .unwrap();
    let probe = ill.log.last().unwrap();
    assert_eq!((probe.exit_code, probe.output.len()), (1, 4096 + 3));
    assert!(ill.failing_streak >= 2 && ill.log.len() <= 5);
    std::fs::remove_file(world.file("tmp/ill")).unwrap();
    world.until("healthy again", |state| status(state) == "healthy");
}

#[test]
fn a_probe_that_takes_too_long_is_killed() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.launch.health = Some(launch::Health {
        command: ["sh", "-c", "echo here; sleep 1000"].map(str::to_owned).to_vec(),
        interval: 1_000_000,
        timeout: 300_000_000,
        retries: 1,
        process: process(&[], false),
        ..launch::Health::default()
    });
    world.start();
    let state = world.until("unhealthy", |state| {
        state.health.as_ref().is_some_and(|h| h.status == "unhealthy")
    });
    let probe = state.health.unwrap().log.pop().unwrap();
    assert_eq!(probe.exit_code, -1);
    assert_eq!(probe.output, "Health check exceeded timeout (300ms): here\n");
}

#[test]
fn a_monitor_that_is_killed_leaves_a_container_that_runs() {
    let Some(mut world) =
        world("i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo $i; echo $i >/tmp/far; done; exit 3")
    else {
        return;
    };
    let started = world.start();
    sys::process::kill(started.monitor, libc::SIGKILL).unwrap();
    assert_eq!(world.monitor_ends(started.monitor), Exit::Signal(libc::SIGKILL));
    let state = world.state();
    assert_eq!(state.status, Status::Running);
    assert_eq!(state.init.as_ref().unwrap().pid, started.pid);
    assert!(!state.is_monitored(&monitor::state::boot().unwrap()));
    assert!(matches!(world.ask(Request::Pause).unwrap_err(), Error::Gone));
    sys::process::kill(started.pid, libc::SIGKILL).unwrap();
    let state = world.until_status(Status::Exited);
    assert_eq!(state.exit_code, monitor::state::UNSEEN);
    // What it has left is in nobody's way.
    std::fs::write(world.file("tmp/end"), "").unwrap();
    world.delete_from_runtime();
    let started = world.start();
    world.monitor_ends(started.monitor);
    assert_eq!(world.state().exit_code, 3);
}

#[test]
fn a_container_is_adopted_with_what_it_has_written() {
    let script = "i=0; while [ ! -e /tmp/go ]; do sleep 0.01; done
        while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last >&2
        while [ ! -e /tmp/end ]; do sleep 0.01; done; echo bye; exit 5";
    let Some(mut world) = world(script) else { return };
    let started = world.start();
    sys::process::kill(started.monitor, libc::SIGKILL).unwrap();
    world.monitor_ends(started.monitor);
    // It writes until the pipe is full, and lives.
    std::fs::write(world.file("tmp/go"), "").unwrap();
    let adopted = world.adopt().unwrap();
    assert_eq!(adopted.pid, started.pid);
    let state = world.state();
    assert_eq!(
        (state.status, state.monitor.unwrap().pid),
        (Status::Running, adopted.monitor)
    );
    assert_eq!(code(&read_to_end(&mut world.exec("exit 4").unwrap().1)), 4);
    world.ask(Request::Pause).unwrap();
    world.ask(Request::Unpause).unwrap();
    std::fs::write(world.file("tmp/end"), "").unwrap();
    let said = read_to_end(&mut adopted.streams.unwrap());
    let lines: String = (0..20000).map(|n| format!("line {n}\n")).collect();
    assert!(said.out == lines + "bye\n", "{} bytes came", said.out.len());
    assert_eq!(said.err, "last\n");
    // A parent who waits for it at once, and a kernel before 6.15: then nobody knows.
    let known = sys::process::kernel_release() >= (6, 15);
    let ended = code(&said);
    assert!(ended == 5 || (!known && ended == 255), "{ended}");
    assert_eq!(world.state().status, Status::Exited);
    world.monitor_ends(adopted.monitor);
    assert_eq!(world.notes(), "");
    let before = std::fs::read(world.place.state()).unwrap();
    let Error::Refused { kind, .. } = world.adopt().unwrap_err() else {
        panic!("there is nothing to adopt");
    };
    assert_eq!(kind, Kind::NotRunning);
    assert_eq!(std::fs::read(world.place.state()).unwrap(), before);
}

#[test]
fn what_is_removed_leaves_nothing() {
    let Some(mut world) = world("read a; exit 2") else {
        return;
    };
    (world.launch.auto_remove, world.launch.open_stdin) = (true, true);
    let volume = world.place.roots[0].join("volumes/anonymous");
    std::fs::create_dir_all(volume.join("_data")).unwrap();
    std::fs::write(volume.join("volume.json"), "{}").unwrap();
    world.launch.volumes = vec!["anonymous".into()];
    let mut streams = world.start_attached();
    let waiting = monitor::client::connect(&world.place).unwrap();
    streams.send(Frame::Stdin, b"\n").unwrap();
    let ended: Ended =
        serde_json::from_value(waiting.request(&Request::Wait { removed: true }).unwrap()).unwrap();
    assert_eq!(ended.code, 2);
    assert!(!world.place.dir.exists() && !world.place.run.exists() && !volume.exists());
    assert!(world.place.names.join("tested").symlink_metadata().is_err());
    assert_eq!(code(&read_to_end(&mut streams)), 2);
}

#[test]
fn a_removal_kills_first() {
    let Some(mut world) = world("trap '' TERM; sleep 1000") else {
        return;
    };
    world.launch.restart.name = "always".into();
    let volume = world.place.roots[0].join("volumes/anonymous");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("volume.json"), "{}").unwrap();
    world.launch.volumes = vec!["anonymous".into()];
    let started = world.start();
    world.ask(Request::Remove { volumes: false }).unwrap();
    assert!(!world.place.dir.exists() && !world.place.run.exists() && volume.exists());
    world.monitor_ends(started.monitor);
}

#[test]
fn a_machine_that_goes_down_stops_it_and_nobody_did() {
    let Some(mut world) = world("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done") else {
        return;
    };
    world.launch.restart.name = "always".into();
    let started = world.try_start(Some(world::everything())).unwrap();
    read_until(&mut started.streams.unwrap(), "up");
    sys::process::kill(started.monitor, libc::SIGTERM).unwrap();
    assert_eq!(world.monitor_ends(started.monitor), Exit::Code(0));
    let state = world.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 7));
    assert!(!state.stopped_by_user);
}

#[test]
fn limits_names_and_policies_change_while_it_runs() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    world.start();
    let policy = RestartPolicy {
        name: "always".into(),
        maximum_retry_count: 0,
    };
    let update = Request::Update {
        resources: Some(serde_json::json!({"pids": {"limit": 33}})),
        restart: Some(policy.clone()),
    };
    world.ask(update).unwrap();
    world.ask(Request::Rename { name: "other".into() }).unwrap();
    let launch = Launch::read(&world.place.launch()).unwrap();
    assert_eq!((launch.restart, launch.name.as_str()), (policy, "other"));
    let before = world.state().init;
    // The policy that came later is the one that counts.
    sys::process::kill(before.as_ref().unwrap().pid, libc::SIGKILL).unwrap();
    world.until("another run", |s| s.status == Status::Running && s.init != before);
}

#[test]
fn whoever_waits_is_told_and_nonsense_is_refused() {
    let Some(mut world) = world("read a; exit 11") else {
        return;
    };
    world.launch.open_stdin = true;
    let streams = world.start_attached();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let connection = monitor::client::connect(&world.place).unwrap();
            std::thread::spawn(move || connection.request(&Request::Wait { removed: false }).unwrap())
        })
        .collect();
    // Some who connect and say nothing, or the wrong thing.
    let silent: Vec<_> = (0..5)
        .map(|_| monitor::client::connect(&world.place).unwrap())
        .collect();
    let refused = world.ask(Request::Start { attach: None }).unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Kind::Invalid,
            ..
        }
    ));
    streams.send(Frame::Stdin, b"\n").unwrap();
    for one in waiting {
        assert_eq!(one.join().unwrap()["code"], 11);
    }
    let monitor = world.state().monitor;
    assert!(monitor.is_none());
    drop(silent);
}

/// Moments of a start: what is there then.
const MOMENTS: &[&str] = &["socket", "bundle/init.pid", "stdout"];

#[test]
fn a_monitor_killed_while_it_starts_is_in_nobody_s_way() {
    let Some(mut world) = world("exit 6") else { return };
    for moment in MOMENTS {
        let there = world.place.run.join(moment);
        let _ = std::fs::remove_file(&there);
        let id = world.place.id.clone();
        let killer = std::thread::spawn(move || {
            let began = std::time::Instant::now();
            while !there.exists() {
                assert!(began.elapsed() < world::SOON, "{} does not come", there.display());
            }
            world::kill_monitor_of(&id);
        });
        let started = world.try_start(None);
        killer.join().unwrap();
        if let Ok(started) = started {
            world.monitor_ends(started.monitor);
        }
        world.delete_from_runtime();
        let state = world.state();
        assert!(
            matches!(state.status, Status::Created | Status::Exited),
            "{state:?}"
        );
        let started = world.start();
        world.monitor_ends(started.monitor);
        assert_eq!(
            (world.state().status, world.state().exit_code),
            (Status::Exited, 6)
        );
    }
}

#[test]
fn nothing_is_left_of_clients_and_execs() {
    let Some(mut world) = world("sleep 1000") else {
        return;
    };
    let started = world.start();
    let descriptors = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", started.monitor)).unwrap();
        fds.count()
    };
    // The connection of who has started it may be among them still.
    let before = descriptors();
    for _ in 0..20 {
        read_to_end(&mut world.exec("echo x").unwrap().1);
        drop(world.exec("sleep 0.01; echo x").unwrap());
        drop(world.attach());
        drop(monitor::client::connect(&world.place).unwrap());
    }
    world.deadline("all is closed", |world| {
        descriptors() <= before && world.state().execs.is_empty()
    });
    let left = std::fs::read_dir(world.place.bundle()).unwrap();
    let mut left: Vec<_> = left
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["config.json", "init.pid", "log.json", "rootfs"]);
}

#[test]
fn a_restart_needs_no_patience() {
    let Some(mut world) = world("test -e /tmp/well && sleep 1000; exit 1") else {
        return;
    };
    world.launch.restart.name = "always".into();
    world.start();
    world.until("a long wait", |s| {
        s.status == Status::Restarting && s.restart_count >= 4
    });
    std::fs::write(world.file("tmp/well"), "").unwrap();
    let restart = Request::Restart {
        signal: None,
        timeout: None,
    };
    assert_eq!(world.ask(restart).unwrap(), true);
    let state = world.state();
    assert_eq!((state.status, state.restart_count), (Status::Running, 0));
}

#[test]
fn a_container_without_memory_is_known_for_it() {
    let there = |path: &str| std::path::Path::new(path).exists();
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
    if !there("/sys/fs/cgroup/memory/memory.limit_in_bytes") && !v2.contains("memory") {
        println!("skip monitor: there is no memory controller");
        return;
    }
    let Some(mut world) = world("") else { return };
    world.configure(&["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]);
    world.limit(json!({"memory": {"limit": 16 << 20}}));
    let mut streams = world.start_attached();
    let ended = read_to_end(&mut streams).ended.unwrap();
    assert_eq!((ended.code, ended.oom_killed), (137, true));
    assert!(world.state().oom_killed);
    assert_eq!(world.events(), ["attach", "start", "oom", "die"]);
    world.configure(&["true"]);
    let mut streams = world.start_attached();
    assert_eq!(code(&read_to_end(&mut streams)), 0);
    assert!(!world.state().oom_killed);
}
