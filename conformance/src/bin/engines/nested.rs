//! A runtime inside a container: under Docker's filter, with Docker's masks, in Docker's cgroup.
//!
//! May not: give the container more than the case's name says.

use std::path::Path;
use std::process::Command;

use crate::case::{Case, Compare, Need, Scene};
use crate::command::{self, Outcome, USUAL};
use crate::lab::IMAGE;

type Done = Result<(), String>;

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case {
        name,
        need: Need::Docker,
        compare: Compare::Yes,
        act,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("nested.privileged", |s| inside(s, &["--privileged"], LIFE)),
        case("nested.default-filter-with-caps", |s| {
            let mut flags = vec!["--security-opt", "systempaths=unconfined"];
            flags.extend(CAPS);
            inside(s, &flags, LIFE)
        }),
        case("nested.default-filter-masked-paths", |s| inside(s, &CAPS, LIFE)),
        case("nested.filter-of-an-older-world", |s| {
            // A profile that knows none of the calls of the last years and answers EPERM: the worst case of 2020.
            inside_filtered(s, "SCMP_ACT_ERRNO", 1)
        }),
        case("nested.filter-answers-enosys", |s| {
            inside_filtered(s, "SCMP_ACT_ERRNO", 38)
        }),
        case("nested.without-any-right", |s| {
            let o = run(
                s,
                &[],
                "runtime --root /tmp/state run --bundle /bundle inner; echo code $?",
            )?;
            s.is("it is refused", o.stdout.contains("code 0"), false)?;
            s.is("with a message", o.stderr.is_empty(), false)
        }),
    ]
}

/// Docker's filter allows by capability: what a runtime needs, and nothing more. The filter forbids session keyrings
/// and pivot_root whatever the capabilities, so the runtime is told to do without.
const CAPS: [&str; 12] = [
    "--cap-add",
    "SYS_ADMIN",
    "--cap-add",
    "NET_ADMIN",
    "--security-opt",
    "apparmor=unconfined",
    "-v",
    "/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--cgroupns",
    "host",
    "--env",
    "FLAGS=--no-new-keyring --no-pivot",
];

/// The whole life of a container, and what it shows.
const LIFE: &str = "set -e
    cd /bundle
    runtime --root /tmp/state run $FLAGS inner | sed -n 1p
    sed -i 's/\"echo hello\"/\"exec sleep 600\"/' config.json
    runtime --root /tmp/state create $FLAGS --pid-file /tmp/pid inner </dev/null >/dev/null 2>&1
    runtime --root /tmp/state start inner
    runtime --root /tmp/state exec inner sh -c 'echo exec $(hostname) $(id -u)'
    runtime --root /tmp/state kill inner KILL
    while [ -d /proc/$(cat /tmp/pid) ] && ! grep -q '^State:.Z' /proc/$(cat /tmp/pid)/status; do :; done
    runtime --root /tmp/state delete inner
    ls /tmp/state | wc -l";

fn inside(s: &mut Scene, flags: &[&str], script: &str) -> Done {
    let o = run(s, flags, script)?;
    if o.code != 0 {
        return Err(format!("exit code {}: {}{}", o.code, o.stdout, o.stderr));
    }
    s.is("stdout", o.stdout, "hello\nexec inner 0\n0\n")
}

/// Calls younger than five years, forbidden with `errno`; everything else as the privileged container has it.
fn inside_filtered(s: &mut Scene, action: &str, errno: i32) -> Done {
    let names = [
        "clone3",
        "openat2",
        "close_range",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "pidfd_open",
        "pidfd_getfd",
        "pidfd_send_signal",
        "epoll_pwait2",
        "faccessat2",
        "process_madvise",
        "quotactl_fd",
    ];
    let profile = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["{}"],"action":"{action}","errnoRet":{errno}}}]}}"#,
        names.join("\",\"")
    );
    let file = s.lab.dir.join("nested-profile.json");
    std::fs::write(&file, profile).map_err(|e| e.to_string())?;
    let option = format!("seccomp={}", file.display());
    inside(s, &["--privileged", "--security-opt", &option], LIFE)
}

/// Runs a script in a container that has the runtime as /usr/local/bin/runtime and a bundle at /bundle.
fn run(s: &Scene, flags: &[&str], script: &str) -> Result<Outcome, String> {
    let bundle = bundle(s)?;
    let runtime = s.lab.runtime(s.role).display().to_string();
    let mut line = vec![
        "--host",
        "unix:///run/docker.sock",
        "run",
        "--rm",
        "--network",
        "none",
        "--runtime",
        s.runtime_for(flags),
    ];
    let (program, bundle_flag) = (
        format!("{runtime}:/usr/local/bin/runtime:ro"),
        format!("{bundle}:/bundle"),
    );
    line.extend(["-v", &program, "-v", &bundle_flag]);
    let libraries = libraries(s.lab.runtime(s.role));
    libraries.iter().for_each(|library| line.extend(["-v", library]));
    line.extend(flags);
    line.extend([IMAGE, "sh", "-c", script]);
    command::run(Command::new("/usr/bin/docker").args(line), "", USUAL)
}

/// A dynamic runtime needs its libraries where the image does not have them.
fn libraries(runtime: &Path) -> Vec<String> {
    let listed = command::run(Command::new("ldd").arg(runtime), "", USUAL);
    let text = listed.map(|o| o.stdout).unwrap_or_default();
    let paths = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|path| path.contains("libseccomp"));
    paths.map(|path| format!("{path}:{path}:ro")).collect()
}

/// A bundle of a busybox, with the runtime's own default configuration.
fn bundle(s: &Scene) -> Result<String, String> {
    let dir = s.lab.dir.join("nested-bundle");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
    }
    let bin = dir.join("rootfs/bin");
    std::fs::create_dir_all(&bin).map_err(|e| e.to_string())?;
    std::fs::copy(s.lab.rootfs().join("bin/busybox"), bin.join("busybox"))
        .map_err(|e| format!("busybox: {e}"))?;
    for name in ["sh", "echo", "sleep", "hostname", "id", "true"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).map_err(|e| e.to_string())?;
    }
    let mut spec = Command::new(s.lab.runtime(s.role));
    command::run(spec.args(["spec", "--bundle"]).arg(&dir), "", USUAL)?.ok()?;
    let file = dir.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let mut config: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = vec!["sh", "-c", "echo hello"].into();
    config["hostname"] = "inner".into();
    std::fs::write(&file, config.to_string()).map_err(|e| e.to_string())?;
    Ok(dir.display().to_string())
}
