//! The Docker of the distribution's packages, in a played host: its daemon and its client.
//!
//! May not: use another packager's engine, speak to a daemon of the machine's, or let this one change the machine.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::command::{self, USUAL};
use crate::daemon::{Daemon, installed, packaged};

/// The client of the package. Another one may come first on PATH.
pub const CLIENT: &str = "/usr/bin/docker";
pub const HOST: &str = "unix:///run/docker.sock";
/// The client as a person would type it.
pub const TYPED: &str = "/usr/bin/docker --host unix:///run/docker.sock";

/// The client, speaking to the daemon of the played host.
pub fn client() -> Command {
    let mut docker = Command::new(CLIENT);
    docker.env("DOCKER_HOST", HOST).env_remove("DOCKER_CONTEXT");
    docker
}

/// PATH, and where administrators' programs are.
pub fn usual_path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

/// For containers that get no network of the daemon's.
pub const WITHOUT_BRIDGE: [&str; 4] = ["--bridge", "none", "--iptables=false", "--ip-forward=false"];

/// Starts a daemon with its own containerd, whose store lies below `dir`, and waits until it answers.
pub fn start(dir: &Path, path: &str, more: &[OsString]) -> Result<Daemon, String> {
    let program = packaged("dockerd").and_then(|_| installed("dockerd"))?;
    installed("docker")?;
    // dockerd raises a limit below /proc/sys/kernel, which is the machine's; only what lies below net/ is this host's
    // own. A namespace for it alone, because a masked /proc forbids a new one to containers with a user namespace.
    let script = "mount --bind /proc/sys/kernel /proc/sys/kernel
        mount -o remount,bind,ro /proc/sys/kernel
        exec \"$@\"";
    let mut dockerd = Command::new("unshare");
    dockerd
        .env("PATH", path)
        .args(["--mount", "--propagation", "slave", "sh", "-ec", script, "sh"])
        .arg(program);
    dockerd
        .arg("--data-root")
        .arg(dir.join("docker"))
        .args(["--exec-root", "/run/docker"]);
    dockerd.args(["--pidfile", "/run/docker.pid", "--host", HOST]);
    dockerd.args(more);
    // Its own containerd, not one that might run on the machine: /run is empty here.
    Daemon::start("dockerd", dockerd, dir.join("dockerd.log"), || {
        command::run(client().arg("version"), "", USUAL).is_ok_and(|o| o.code == 0)
    })
}
