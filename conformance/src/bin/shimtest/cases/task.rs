//! The calls of the Task service, their answers and their refusals.

use conformance::messages::status;

use super::{Case, case};
use crate::scene::{SOON, is_time, same};

pub fn cases() -> Vec<Case> {
    vec![case("life.whole", |s| {
        let c = s.boot("box", "exec sleep 600")?;
        same("the state", &c.state("")?.status, &status::CREATED)?;
        c.start()?;
        let state = c.state("")?;
        same("the state", &(state.status, state.pid), &(status::RUNNING, c.pid))?;
        c.kill("", libc::SIGTERM)?;
        // sleep, as the first of its PID namespace, ignores what it does not handle.
        c.kill("", libc::SIGKILL)?;
        same("the exit status", &c.wait("")?, &137)?;
        let state = c.state("")?;
        same(
            "the state",
            &(state.status, state.exit_status),
            &(status::STOPPED, 137),
        )?;
        is_time("exited_at", state.exited_at.as_ref())?;
        let gone = c.delete("")?;
        same(
            "what Delete answers",
            &(gone.pid, gone.exit_status),
            &(c.pid, 137),
        )?;
        s.daemon.await_event("box", "delete", SOON)?;
        same(
            "the events",
            &s.daemon.story("box").join(" "),
            "create start exit delete",
        )?;
        s.shut_down(&c.task)
    })]
}
