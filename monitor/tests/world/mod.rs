//! A store with one container in it, whose root is a busybox, and a monitor of this build.
//!
//! The runtime is `runb` of the same build, or `RUNB`. Where there is none, or we are not root, the cases are skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may
#![allow(dead_code)] // each program of tests uses a part of it

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use monitor::client::{self, Started, Streams};
use monitor::launch::{self, Launch, RestartPolicy, Runtime};
use monitor::place::Place;
use monitor::protocol::{Attach, Ended, Exec, Frame, Request};
use monitor::state::{State, Status};
use serde_json::{Value, json};

/// What does not happen within this time does not happen.
pub const SOON: Duration = Duration::from_secs(30);

/// Applets that scripts use.
const APPLETS: &[&str] = &[
    "sh", "cat", "sleep", "echo", "dd", "stty", "head", "yes", "tty", "kill", "true", "test",
];

pub struct World {
    root: PathBuf,
    pub place: Place,
    pub launch: Launch,
    runb: PathBuf,
    monitors: Vec<i32>,
    /// What is handed to its monitor.
    pub handed: Vec<OwnedFd>,
}

/// `None`: it cannot be tried here.
pub fn world(script: &str) -> Option<World> {
    let built = std::env::current_exe().unwrap();
    let runb = std::env::var_os("RUNB")
        .map_or_else(|| built.ancestors().nth(2).unwrap().join("runb"), PathBuf::from);
    let busybox = Path::new("/bin/busybox");
    if sys::process::effective_ids().0 != 0 || !runb.exists() || !busybox.exists() {
        println!(
            "skip monitor: it needs root, {} and {}",
            runb.display(),
            busybox.display()
        );
        return None;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{:056x}{number:08x}", std::process::id());
    let root = std::env::temp_dir().join(format!("brig-monitor-{}-{number}", std::process::id()));
    let place = Place::of(&root.join("lib"), &root.join("run"), &id);
    let bin = place.rootfs().join("bin");
    for dir in [&place.dir, &bin, &place.names, &place.events] {
        std::fs::create_dir_all(dir).unwrap();
    }
    for dir in ["proc", "dev", "sys", "tmp"] {
        std::fs::create_dir(place.rootfs().join(dir)).unwrap();
    }
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    symlink(&id, place.names.join("tested")).unwrap();
    let launch = Launch {
        version: launch::VERSION,
        id,
        name: "tested".into(),
        runtime: Runtime {
            program: runb.clone(),
            root: root.join("runtime"),
            systemd_cgroup: false,
        },
        terminal: false,
        open_stdin: false,
        stdin_once: false,
        log: launch::Log {
            driver: "json-file".into(),
            path: place.dir.join("log.json"),
            ..launch::Log::default()
        },
        restart: RestartPolicy::default(),
        auto_remove: false,
        stop_signal: libc::SIGTERM,
        stop_timeout: 10,
        health: None,
        attributes: BTreeMap::new(),
        volumes: Vec::new(),
        network: None,
        has_outside: false,
        layers: 0,
        joined: Vec::new(),
        mounted: Vec::new(),
    };
    let world = World {
        root,
        place,
        launch,
        runb,
        monitors: Vec::new(),
        handed: Vec::new(),
    };
    world.configure(&["sh", "-c", script]);
    Some(world)
}

/// `process` of a shell.
pub fn process(args: &[&str], terminal: bool) -> Value {
    json!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/bin"],
        "cwd": "/",
        "oomScoreAdj": 0,
    })
}

impl World {
    pub fn configure(&self, args: &[&str]) {
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": process(args, self.launch.terminal),
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.launch.id),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            },
        });
        if self.launch.terminal {
            let pts = json!({
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"],
            });
            config["mounts"].as_array_mut().unwrap().push(pts);
        }
        std::fs::write(self.place.bundle().join("config.json"), config.to_string()).unwrap();
    }

    /// It has a network namespace, at the place's.
    pub fn give_netns(&self) {
        let path = self.place.bundle().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "network", "path": self.place.netns()}));
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// RUN.
    pub fn run(&self) -> &Path {
        &self.place.roots[1]
    }

    /// Its resources.
    pub fn limit(&self, resources: Value) {
        let path = self.place.bundle().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["linux"]["resources"] = resources;
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// Starts it.
    pub fn try_start(&mut self, attach: Option<Attach>) -> client::Result<Started> {
        // Whether it has a terminal is in both.
        let config = std::fs::read(self.place.bundle().join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        if config["process"]["terminal"].as_bool() != Some(self.launch.terminal) {
            let args: Vec<&str> = config["process"]["args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a.as_str().unwrap())
                .collect();
            self.configure(&args);
        }
        self.launch.write(&self.place.launch()).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_brig-monitor"));
        let handed: Vec<_> = self.handed.iter().map(AsFd::as_fd).collect();
        let started = client::spawn(&self.place, program, &handed, attach);
        self.handed.clear();
        if let Ok(started) = &started {
            self.monitors.push(started.monitor);
        }
        started
    }

    /// Another monitor for it.
    pub fn adopt(&mut self) -> client::Result<Started> {
        let adopted = client::adopt(
            &self.place,
            Path::new(env!("CARGO_BIN_EXE_brig-monitor")),
            Path::new("/nowhere/brig"),
            Some(everything()),
        );
        if let Ok(adopted) = &adopted {
            self.monitors.push(adopted.monitor);
        }
        adopted
    }

    /// Starts it without anybody attached.
    pub fn start(&mut self) -> Started {
        self.try_start(None).unwrap()
    }

    /// Starts it attached to everything.
    pub fn start_attached(&mut self) -> Streams {
        self.try_start(Some(everything())).unwrap().streams.unwrap()
    }

    pub fn attach(&self) -> Streams {
        client::connect(&self.place)
            .unwrap()
            .attach(everything())
            .unwrap()
    }

    pub fn exec(&self, script: &str) -> client::Result<(i32, Streams)> {
        self.exec_as(Exec {
            process: process(&["sh", "-c", script], false),
            stdout: true,
            stderr: true,
            ..Exec::default()
        })
    }

    pub fn exec_as(&self, exec: Exec) -> client::Result<(i32, Streams)> {
        client::connect(&self.place)?.exec(exec)
    }

    pub fn ask(&self, request: Request) -> client::Result<Value> {
        client::request(&self.place, &request)
    }

    /// What its file says, and what is true of it.
    pub fn state(&self) -> State {
        State::load(&self.place)
            .unwrap()
            .truth(&monitor::state::boot().unwrap())
    }

    /// Waits until its state is so.
    pub fn until(&self, what: &str, test: impl Fn(&State) -> bool) -> State {
        self.deadline(what, |world| test(&world.state()));
        let state = self.state();
        assert!(test(&state), "{what} came and went: {state:?}");
        state
    }

    /// Looks until it is so.
    pub fn deadline(&self, what: &str, mut test: impl FnMut(&World) -> bool) {
        let began = Instant::now();
        while !test(self) {
            assert!(began.elapsed() < SOON, "not in time: {what}; {:?}", self.state());
            std::thread::yield_now();
        }
    }

    /// What brig does with a container that was left by its monitor.
    pub fn delete_from_runtime(&self) {
        let deleted = Command::new(&self.runb)
            .arg("--root")
            .arg(self.root.join("runtime"))
            .args(["delete", "--force", &self.launch.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(deleted.is_ok());
    }

    pub fn until_status(&self, status: Status) -> State {
        self.until(&format!("{status:?}"), |state| state.status == status)
    }

    /// Waits for the end of a monitor: how it ended.
    pub fn monitor_ends(&mut self, pid: i32) -> sys::process::Exit {
        let pidfd = sys::process::pidfd_open(pid).unwrap();
        let deadline = sys::wait::Deadline::after(SOON);
        sys::wait::readable(pidfd.as_fd(), deadline).expect("the monitor does not end");
        self.monitors.retain(|m| *m != pid);
        sys::process::wait_pid(pid, sys::process::Block::Yes)
            .unwrap()
            .unwrap()
    }

    /// What the monitor had to say of itself.
    pub fn notes(&self) -> String {
        std::fs::read_to_string(self.place.notes()).unwrap_or_default()
    }

    /// What happened to it.
    pub fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(monitor::events::file(&self.place.events)).unwrap_or_default();
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .map(|event| event["Action"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A file of the container.
    pub fn file(&self, path: &str) -> PathBuf {
        self.place.rootfs().join(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for monitor in &self.monitors {
            // It is our child and was not waited for, so the number is still its own.
            let _ = sys::process::kill(*monitor, libc::SIGKILL);
            let _ = sys::process::wait_pid(*monitor, sys::process::Block::Yes);
        }
        self.delete_from_runtime();
        // Of one that has not ended; the others have none.
        if let Ok(netns) = sys::fs::c_path(&self.place.netns()) {
            let _ = sys::mount::umount(&netns, libc::MNT_DETACH);
        }
        if std::thread::panicking() {
            println!("notes: {}", self.notes());
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// All streams, and the input.
pub fn everything() -> Attach {
    Attach {
        stdin: true,
        stdout: true,
        stderr: true,
        size: None,
    }
}

/// What came until the end of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub ended: Option<Ended>,
}

/// Reads to the end.
pub fn read_to_end(streams: &mut Streams) -> Said {
    let mut said = Said::default();
    while let Some((frame, bytes)) = streams.receive().unwrap() {
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match frame {
            Frame::Stdout => said.out += &text(),
            Frame::Stderr => said.err += &text(),
            Frame::Ended => said.ended = Some(serde_json::from_slice(&bytes).unwrap()),
            other => panic!("{other:?} from a monitor"),
        }
    }
    said
}

/// Reads until this has come.
pub fn read_until(streams: &mut Streams, words: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(words) {
        match streams.receive().unwrap() {
            Some((Frame::Stdout | Frame::Stderr, bytes)) => seen += &String::from_utf8_lossy(&bytes),
            other => panic!("{other:?} instead of {words:?} after {seen:?}"),
        }
    }
    seen
}

/// How a process ended.
pub fn code(said: &Said) -> i32 {
    said.ended.as_ref().expect("it has ended").code
}

/// Kills the monitor of the container with this id, whoever has started it.
pub fn kill_monitor_of(id: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        let is_monitor = words
            .next()
            .is_some_and(|program| program.ends_with(b"brig-monitor"));
        if is_monitor && words.any(|word| word == id.as_bytes()) {
            // Nobody waits for it before we are done.
            sys::process::kill(pid, libc::SIGKILL).unwrap();
        }
    }
}
