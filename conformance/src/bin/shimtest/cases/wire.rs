//! ttrpc itself: what is unknown, what is too large, what is broken, and how much at once.

use std::time::Instant;

use conformance::messages::{self as m, code};
use conformance::patience;
use conformance::ttrpc::{Failure, Frame, MAX_BODY, REQUEST};
use prost::Message;

use super::{Case, Done, case};
use crate::scene::{Scene, Task, V3, fails, refused, same, soon, target};

pub fn cases() -> Vec<Case> {
    vec![
        case("wire.unknown-service", |s| {
            with_server(s, |task| {
                let answer = task.connection.call::<m::Empty>(
                    "containerd.task.v9.Task",
                    "State",
                    &m::Empty {},
                    soon(),
                );
                refused("a call of another service", answer, code::UNIMPLEMENTED)
            })
        }),
        case("wire.unknown-method", |s| {
            with_server(s, |task| {
                refused(
                    "a call of another method",
                    task.call::<m::Empty>("Fly", &m::Empty {}),
                    code::UNIMPLEMENTED,
                )
            })
        }),
        case("wire.both-versions", |s| {
            with_server(s, |task| {
                task.shim_pid("box")?;
                let v3 = Task {
                    service: V3,
                    ..task.clone()
                };
                v3.shim_pid("box").map(drop)
            })
        }),
        case("wire.too-large", |s| {
            with_server(s, |task| {
                let pending = task.connection.send_body(&vec![b'x'; MAX_BODY + 1])?;
                fails("a frame of more than 4 MiB", pending.take::<m::Empty>(soon()))?;
                task.shim_pid("box").map(drop)
            })
        }),
        case("wire.as-large-as-allowed", |s| {
            with_server(s, |task| {
                // All of it is an id that nobody has.
                let request = target(&"x".repeat(MAX_BODY - 200), "");
                refused(
                    "a call of 4 MiB",
                    task.call::<m::Empty>("State", &request),
                    code::NOT_FOUND,
                )
            })
        }),
        case("wire.broken-payload", |s| {
            with_server(s, |task| {
                let pending = task.connection.send(task.service, "State", vec![0xff])?;
                fails("a payload that is no message", pending.take::<m::Empty>(soon()))?;
                task.shim_pid("box").map(drop)
            })
        }),
        case("wire.byte-by-byte", |s| {
            with_server(s, |task| {
                let (stream, pending) = task.connection.expect_answer()?;
                let request = m::Request {
                    service: task.service.to_owned(),
                    method: "Connect".into(),
                    ..Default::default()
                };
                let frame = Frame {
                    stream,
                    kind: REQUEST,
                    body: request.encode_to_vec(),
                };
                for byte in frame.encode() {
                    task.connection.send_bytes(&[byte]).map_err(|e| e.to_string())?;
                }
                pending.take::<m::ConnectResponse>(soon())?;
                Ok(())
            })
        }),
        case("wire.half-a-frame-and-away", |s| {
            with_server(s, |task| {
                let other = s.dial(&format!("unix://{}", task.socket.display()))?;
                other
                    .connection
                    .send_bytes(&[0, 0, 1, 0, 0, 0, 0, 1, 1])
                    .map_err(|e| e.to_string())?;
                drop(other);
                task.shim_pid("box").map(drop)
            })
        }),
        case("wire.many-waits", |s| {
            const WAITS: usize = 500;
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let mut waits = Vec::new();
            for _ in 0..WAITS {
                waits.push(c.task.send("Wait", &target("box", ""))?);
            }
            let asked = Instant::now();
            c.state("")?;
            let quick = asked.elapsed() < patience::seconds(2);
            same("State answers meanwhile within 2 s", &quick, &true)?;
            c.kill("", libc::SIGKILL)?;
            for wait in waits {
                same(
                    "what Wait answers",
                    &wait.take::<m::WaitResponse>(soon())?.exit_status,
                    &137,
                )?;
            }
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("wire.client-goes-while-it-waits", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            for _ in 0..20 {
                let other = s.dial(&format!("unix://{}", c.task.socket.display()))?;
                other.send("Wait", &target("box", ""))?;
            }
            c.state("")?;
            c.finish(s)
        }),
        case("wire.many-connections", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let address = format!("unix://{}", c.task.socket.display());
            let others = (0..100)
                .map(|_| s.dial(&address))
                .collect::<Result<Vec<_>, _>>()?;
            for other in &others {
                other.shim_pid("box")?;
            }
            drop(others);
            c.finish(s)
        }),
        case("wire.flood", |s| {
            // More calls than anybody's queue holds, before one answer is looked at.
            with_server(s, |task| {
                let mut pending = Vec::new();
                for _ in 0..2000 {
                    pending.push(task.send("Connect", &target("box", ""))?);
                }
                for one in pending {
                    one.take::<m::ConnectResponse>(soon())
                        .map_err(|e: Failure| e.to_string())?;
                }
                Ok(())
            })
        }),
    ]
}

/// Something to do with a shim that has a created container.
fn with_server(s: &Scene, act: impl FnOnce(&Task) -> Done) -> Done {
    let c = s.boot("box", "exec sleep 600")?;
    act(&c.task)?;
    c.finish(s)
}
