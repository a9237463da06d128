//! NOTIFY_SOCKET: a host that waits for the container to be ready (a systemd unit of `Type=notify`).

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::case::{Case, Step};
use crate::world::{Call, Ended, World, require};

const CLAUSE: &str =
    "reference: NOTIFY_SOCKET is passed into the container, and READY back to the host with MAINPID";

/// The host's side: a socket, and the words that arrive on it.
struct Host {
    socket: UnixDatagram,
    path: String,
}

impl Host {
    fn listen(w: &World) -> Result<Self, crate::world::Trouble> {
        let path = w.scratch("host.sock").to_string_lossy().into_owned();
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Host { socket, path })
    }

    /// The next message, without its end of line. A descriptor that comes along is closed, which is what systemd does
    /// with a barrier.
    fn hear(&self) -> Result<String, crate::world::Trouble> {
        let mut buf = [0; 4096];
        let n = self.socket.recv(&mut buf)?;
        Ok(String::from_utf8_lossy(&buf[..n]).trim_end().to_owned())
    }

    /// READY and MAINPID, as they should be.
    fn hears_ready(&self, w: &mut World, pid: i32) -> Ended {
        w.eq("the first message", self.hear()?, "READY=1");
        w.eq("the second message", self.hear()?, format!("MAINPID={pid}"));
        Ok(())
    }
}

/// What the container says, and that it goes on living.
fn container(w: &mut World, message: &str) {
    w.setup.args(&["report", "--", "notify", message, "--", "sleep"]);
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "notify.start-waits-for-ready",
        clause: CLAUSE,
        steps: &[Step::Do(|w| {
            let host = Host::listen(w)?;
            container(w, "READY=1");
            let create = w.launching("create", &[])?.env("NOTIFY_SOCKET", &host.path);
            require(&w.call(create)?)?;
            let id = w.id.clone();
            let start = w.spawn(Call::new(&["start", &id]).env("NOTIFY_SOCKET", &host.path))?;
            let pid = w.pid()?;
            host.hears_ready(w, pid)?;
            w.eq("the third message", host.hear()?, "BARRIER=1");
            require(&start.wait()?)?;
            let report = w.report()?;
            let env = report["raw_env"].to_string();
            let variable = "NOTIFY_SOCKET=/run/notify/notify.sock";
            w.contains("the environment", &env, &[variable]);
            let mount = w.mount_at("/run/notify")?;
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                let has = mount.options.iter().any(|o| o == option);
                w.is(has, format!("/run/notify is not {option}"));
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "notify.run-detached",
        clause: CLAUSE,
        steps: &[Step::Do(|w| {
            let host = Host::listen(w)?;
            container(w, "READY=1\nSTATUS=up");
            let run = w
                .launching("run", &["--detach"])?
                .env("NOTIFY_SOCKET", &host.path);
            let run = w.spawn(run)?;
            let ready = host.hear()?;
            let pid = w.pid()?;
            w.eq("the first message", ready, "READY=1");
            w.eq("the second message", host.hear()?, format!("MAINPID={pid}"));
            w.eq("the third message", host.hear()?, "BARRIER=1");
            require(&run.wait()?)
        })],
        ..Case::IDLE
    },
    Case {
        id: "notify.run-in-the-foreground",
        clause: CLAUSE,
        steps: &[Step::Do(|w| {
            let host = Host::listen(w)?;
            container(w, "READY=1");
            let run = w.launching("run", &[])?.env("NOTIFY_SOCKET", &host.path);
            let run = w.spawn(run)?;
            // The runtime stays, so it is the process to watch.
            host.hears_ready(w, run.pid())?;
            // A barrier that the runtime may wait behind goes with its socket.
            drop(host);
            let id = w.id.clone();
            w.succeed(&["kill", &id, "KILL"])?;
            w.eq("the exit status", run.wait()?.code, 128 + libc::SIGKILL);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "notify.start-ends-with-a-silent-container",
        clause: "safety: start does not wait for the READY of a container that has ended",
        steps: &[Step::Do(|w| {
            let host = Host::listen(w)?;
            w.setup.args(&["echo", "silent"]);
            let create = w.launching("create", &[])?.env("NOTIFY_SOCKET", &host.path);
            require(&w.call(create)?)?;
            let id = w.id.clone();
            require(&w.call(Call::new(&["start", &id]).env("NOTIFY_SOCKET", &host.path))?)
        })],
        ..Case::IDLE
    },
    Case {
        id: "notify.start-without-create",
        clause: "safety: a container that was made without the socket can be started by a host that has one",
        steps: &[Step::Do(|w| {
            let host = Host::listen(w)?;
            w.setup.args(&["echo", "x"]);
            require(&w.launch("create", &[])?)?;
            let id = w.id.clone();
            require(&w.call(Call::new(&["start", &id]).env("NOTIFY_SOCKET", &host.path))?)
        })],
        ..Case::IDLE
    },
];
