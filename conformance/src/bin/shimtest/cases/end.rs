//! How a shim ends, and by what it does not.

use conformance::kernel;
use conformance::messages::{self as m, status};

use super::{Case, case};
use crate::command;
use crate::scene::{is_alive, same, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("end.never-used", |s| {
            let bundle = s.bundle("box", "true", |_| {})?;
            let task = s.dial(&s.start(&bundle)?)?;
            s.shut_down(&task)
        }),
        case("end.not-while-a-container-is-there", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            for now in [false, true] {
                let request = m::ShutdownRequest {
                    id: "box".into(),
                    now,
                };
                c.task.call::<m::Empty>("Shutdown", &request)?;
                same("the state", &c.state("")?.status, &status::RUNNING)?;
            }
            c.finish(s)
        }),
        case("end.harmless-signals", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let pid = c.task.shim_pid("box")?;
            for signal in [libc::SIGPIPE, libc::SIGUSR1, libc::SIGCHLD] {
                kernel::kill(pid.cast_signed(), signal).map_err(|e| e.to_string())?;
            }
            same("the state", &c.state("")?.status, &status::RUNNING)?;
            c.finish(s)
        }),
        case("end.by-sigterm", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let pid = c.task.shim_pid("box")?;
            kernel::kill(pid.cast_signed(), libc::SIGTERM).map_err(|e| e.to_string())?;
            command::until("the shim is gone", soon(), || !is_alive(pid))?;
            let mut call = crate::caller::Call::new(s, "box", &c.bundle.path);
            call.flags = vec!["-bundle".into(), c.bundle.path.display().to_string()];
            call.run("delete")?.succeeded()?;
            let _ = std::fs::remove_file(&c.task.socket);
            Ok(())
        }),
        case("end.connection-of-its-own-end", |s| {
            // The answer to Shutdown comes before the connection goes, or with it.
            for n in 0..10 {
                let bundle = s.bundle(&format!("box{n}"), "true", |_| {})?;
                let task = s.dial(&s.start(&bundle)?)?;
                s.shut_down(&task)?;
            }
            Ok(())
        }),
    ]
}
