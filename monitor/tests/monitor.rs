//! A monitor, a runtime and a container against the real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod world;

use monitor::client::Error;
use monitor::protocol::{Frame, Kind, Request};
use monitor::state::Status;
use sys::process::Exit;

use world::{code, read_to_end, read_until, world};

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
