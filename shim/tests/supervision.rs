//! The event loop, the processes and the streams against the real kernel. No container: the programs are the shell's.
//!
//! May not: have a second thread. So this is a program of its own that speaks as much of the test harness's command line as
//! `cargo test` and nextest use: `--list`, a name, `--exact`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use shim::children::{Child, Children, Program};
use shim::reactor::Reactor;
use shim::runtime::{Host, Runtime};
use shim::signals::Signals;
use shim::stdio::{self, Owner, Wanted};
use shim::sync::{Count, Lock, Once, Queue};

const SOON: Duration = Duration::from_secs(20);

type Case = (&'static str, fn());

const CASES: &[Case] = &[
    ("sleepers_wake_in_order", sleepers_wake_in_order),
    ("work_that_is_late_is_dropped", work_that_is_late_is_dropped),
    (
        "one_that_lets_others_run_lets_time_pass",
        one_that_lets_others_run_lets_time_pass,
    ),
    (
        "both_sides_of_a_descriptor_are_waited_for",
        both_sides_of_a_descriptor_are_waited_for,
    ),
    (
        "turns_come_in_order_and_survive_a_dropped_task",
        turns_come_in_order_and_survive_a_dropped_task,
    ),
    (
        "an_exit_before_its_pid_is_known_is_kept",
        an_exit_before_its_pid_is_known_is_kept,
    ),
    (
        "an_exit_outside_of_a_flight_is_not_kept",
        an_exit_outside_of_a_flight_is_not_kept,
    ),
    ("a_burst_of_exits_loses_none", a_burst_of_exits_loses_none),
    (
        "a_forked_work_says_why_it_failed",
        a_forked_work_says_why_it_failed,
    ),
    (
        "a_forked_work_that_hangs_is_left",
        a_forked_work_that_hangs_is_left,
    ),
    ("a_missing_program_is_named", a_missing_program_is_named),
    (
        "output_reaches_its_reader_and_ends",
        output_reaches_its_reader_and_ends,
    ),
    (
        "output_without_a_reader_waits_for_one",
        output_without_a_reader_waits_for_one,
    ),
    (
        "a_child_left_behind_does_not_keep_the_stream",
        a_child_left_behind_does_not_keep_the_stream,
    ),
    (
        "input_ends_when_it_is_closed_and_not_before",
        input_ends_when_it_is_closed_and_not_before,
    ),
    (
        "a_file_is_appended_to_by_both_streams",
        a_file_is_appended_to_by_both_streams,
    ),
    ("a_logger_gets_all_and_is_ended", a_logger_gets_all_and_is_ended),
    (
        "a_logger_that_is_not_ready_is_an_error",
        a_logger_that_is_not_ready_is_an_error,
    ),
    (
        "a_runtime_that_hangs_is_killed_and_named",
        a_runtime_that_hangs_is_killed_and_named,
    ),
    (
        "a_runtime_whose_hook_holds_its_output_is_done",
        a_runtime_whose_hook_holds_its_output_is_done,
    ),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wants = |word: &str| args.iter().any(|a| a == word);
    if wants("--list") {
        // Asked for the ignored ones as well: there are none.
        for (name, _) in CASES.iter().filter(|_| !wants("--ignored")) {
            println!("{name}: test");
        }
        return;
    }
    let names: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let chosen = |name: &str| match (names.is_empty(), wants("--exact")) {
        (true, _) => true,
        (false, true) => names.iter().any(|n| *n == name),
        (false, false) => names.iter().any(|n| name.contains(n.as_str())),
    };
    for (name, case) in CASES.iter().filter(|(name, _)| chosen(name)) {
        case();
        println!("test {name} ... ok");
    }
}

/// Runs a task with everything that a supervisor has; the case fails when it is not done soon.
fn supervise<T: 'static, F: Future<Output = T> + 'static>(work: impl FnOnce(Host) -> F) -> T {
    let reactor = Reactor::new().unwrap();
    let children = Children::default();
    let signals = Signals::new(&reactor, &children).unwrap();
    reactor.spawn(async move { while signals.next().await.is_ok() {} });
    let on = Host::new(reactor.clone(), children);
    let work = work(on);
    let timed = reactor.clone();
    reactor
        .run(async move { timed.within(Some(Instant::now() + SOON), work).await })
        .unwrap()
        .expect("not done in time")
}

fn shell(on: &Host, script: &str, fds: &[&OwnedFd; 3]) -> Child {
    on.children
        .spawn(&Program {
            path: "/bin/sh",
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/usr/bin:/bin".into()],
            fds: &fds.map(|fd| fd.as_fd()),
        })
        .unwrap()
}

fn null() -> OwnedFd {
    sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0).unwrap()
}

/// A directory that goes with the case.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let path =
            std::env::temp_dir().join(format!("supervision-{}-{:?}", std::process::id(), Instant::now()));
        let path = PathBuf::from(path.to_str().unwrap().replace([' ', '{', '}', ':', ','], ""));
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn fifo(&self, name: &str) -> String {
        let path = self.0.join(name);
        sys::fs::mkfifoat(sys::fs::cwd(), &path, 0o600).unwrap();
        path.to_str().unwrap().into()
    }

    fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sleepers_wake_in_order() {
    let order = supervise(|on| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        let running = Rc::<Count>::default();
        for millis in [30u64, 10, 20] {
            let (reactor, order, held) = (on.reactor.clone(), Rc::clone(&order), running.hold());
            on.reactor.spawn(async move {
                reactor.sleep(Duration::from_millis(millis)).await;
                order.borrow_mut().push(millis);
                drop(held);
            });
        }
        running.zero().await;
        order.borrow().clone()
    });
    assert_eq!(order, [10, 20, 30]);
}

fn work_that_is_late_is_dropped() {
    supervise(|on| async move {
        let dropped = Rc::<Once<()>>::default();
        struct Tell(Rc<Once<()>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.set(());
            }
        }
        let tell = Tell(Rc::clone(&dropped));
        let late = async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        };
        let at = Instant::now() + Duration::from_millis(5);
        assert!(on.reactor.within(Some(at), late).await.is_none());
        assert!(dropped.is_set());
        let at = Some(Instant::now() + SOON);
        assert_eq!(on.reactor.within(at, async { 7 }).await, Some(7));
    });
}

fn one_that_lets_others_run_lets_time_pass() {
    supervise(|on| async move {
        let stop = Rc::<Once<()>>::default();
        let stopped = Rc::clone(&stop);
        // As a stream whose both sides are fast.
        on.reactor.spawn(async move {
            while !stopped.is_set() {
                stdio::let_others_run().await;
            }
        });
        on.reactor.sleep(Duration::from_millis(1)).await;
        stop.set(());
    });
}

fn both_sides_of_a_descriptor_are_waited_for() {
    supervise(|on| async move {
        let (a, b) = sys::socket::seqpacket_pair().unwrap();
        for fd in [&a, &b] {
            sys::fs::set_nonblocking(fd.as_fd(), true).unwrap();
        }
        let a = Rc::new(on.reactor.watch(a).unwrap());
        // Full, so that a writer waits.
        let mut sent = 0;
        while sys::socket::send(a.fd(), &[1; 1024], &[]).is_ok() {
            sent += 1;
        }
        let (wrote, read) = (Rc::<Once<()>>::default(), Rc::<Once<()>>::default());
        let (writer, done) = (Rc::clone(&a), Rc::clone(&wrote));
        on.reactor.spawn(async move {
            let send = |fd: std::os::fd::BorrowedFd<'_>| sys::socket::send(fd, b"last", &[]);
            while send(writer.fd()).is_err() {
                writer.writable().await.unwrap();
            }
            done.set(());
        });
        let (reader, done) = (Rc::clone(&a), Rc::clone(&read));
        on.reactor.spawn(async move {
            let mut buffer = [0u8; 8];
            reader
                .read_when_ready(|fd| sys::fs::read(fd, &mut buffer))
                .await
                .unwrap();
            done.set(());
        });
        on.reactor.sleep(Duration::from_millis(1)).await;
        assert!(!wrote.is_set() && !read.is_set());
        // What wakes the reader leaves the writer waiting, and still waked later.
        sys::socket::send(b.as_fd(), b"x", &[]).unwrap();
        read.wait().await;
        assert!(!wrote.is_set());
        for _ in 0..sent {
            sys::fs::read(b.as_fd(), &mut [0u8; 1024]).unwrap();
        }
        wrote.wait().await;
    });
}

fn turns_come_in_order_and_survive_a_dropped_task() {
    supervise(|on| async move {
        let lock = Rc::<Lock>::default();
        let first = lock.enter().await;
        let order = Rc::new(Queue::default());
        for n in 1..=3 {
            let (lock, order, reactor) = (Rc::clone(&lock), Rc::clone(&order), on.reactor.clone());
            on.reactor.spawn(async move {
                // The second gives up while it waits.
                let limit = (n == 2).then(|| Instant::now() + Duration::from_millis(1));
                let turn = reactor.within(limit, lock.enter()).await;
                order.push((n, turn.is_some()));
            });
        }
        assert_eq!(order.next().await, (2, false));
        drop(first);
        assert_eq!(order.next().await, (1, true));
        assert_eq!(order.next().await, (3, true));
    });
}

/// What a runtime does: it starts a process, tells its pid and ends; the process is ours then. It exits with 7 when the second
/// result is dropped. (The shell gives a background command no stdin but what is redirected.)
async fn orphan(on: &Host) -> (i32, OwnedFd) {
    sys::process::set_subreaper().unwrap();
    let (rd, wr) = sys::fs::pipe().unwrap();
    let (stdin, hold) = sys::fs::pipe().unwrap();
    let script = "exec 3<&0; (read -r _ <&3; exit 7) >/dev/null & echo $!";
    let child = shell(on, script, &[&stdin, &wr, &null()]);
    drop(wr);
    child.exit.wait().await;
    let mut text = String::new();
    std::fs::File::from(rd).read_to_string(&mut text).unwrap();
    (text.trim().parse().unwrap(), hold)
}

async fn until_reaped(on: &Host, pid: i32) {
    while sys::process::is_child(pid).unwrap() {
        on.reactor.sleep(Duration::from_millis(1)).await;
    }
}

fn an_exit_before_its_pid_is_known_is_kept() {
    supervise(|on| async move {
        let flight = on.children.flight();
        let (pid, hold) = orphan(&on).await;
        drop(hold);
        until_reaped(&on, pid).await;
        let child = on.children.adopt(pid, &flight).unwrap();
        assert_eq!(child.exit.wait().await.code, 7);
        assert!(child.signal(9).unwrap_err().is(libc::ESRCH));
        // It is handed out once.
        assert!(on.children.adopt(pid, &flight).is_err());
        // And one that lives is watched.
        let (pid, hold) = orphan(&on).await;
        let child = on.children.adopt(pid, &flight).unwrap();
        assert!(!child.exit.is_set());
        drop(hold);
        assert_eq!(child.exit.wait().await.code, 7);
    });
}

fn an_exit_outside_of_a_flight_is_not_kept() {
    supervise(|on| async move {
        let (pid, hold) = orphan(&on).await;
        drop(hold);
        until_reaped(&on, pid).await;
        let flight = on.children.flight();
        let refused = on.children.adopt(pid, &flight).unwrap_err();
        assert!(refused.to_string().contains("is not a child"), "{refused}");
    });
}

fn a_burst_of_exits_loses_none() {
    supervise(|on| async move {
        let null = null();
        let children: Vec<Child> = (0..200)
            .map(|n| shell(&on, &format!("exit {}", n % 100), &[&null, &null, &null]))
            .collect();
        for (n, child) in children.iter().enumerate() {
            assert_eq!(child.exit.wait().await.code as usize, n % 100);
        }
    });
}

fn a_forked_work_says_why_it_failed() {
    supervise(|on| async move {
        let fork = |work: fn() -> Result<(), String>| on.children.fork(&on.reactor, None, work);
        fork(|| Ok(())).await.unwrap();
        let failed = fork(|| Err("no such luck".into())).await.unwrap_err();
        assert_eq!(failed.to_string(), "no such luck");
    });
}

fn a_forked_work_that_hangs_is_left() {
    supervise(|on| async move {
        let limit = Some(Instant::now() + Duration::from_millis(10));
        let hang = || loop {
            std::thread::park();
        };
        let failed = on.children.fork(&on.reactor, limit, hang).await.unwrap_err();
        assert_eq!(failed.kind(), shim::error::Kind::DeadlineExceeded);
    });
}

fn a_missing_program_is_named() {
    supervise(|on| async move {
        let failed = on.children.spawn(&Program {
            path: "/no/such",
            args: vec!["such".into()],
            env: Vec::new(),
            fds: &[],
        });
        assert_eq!(
            failed.unwrap_err().to_string(),
            "exec /no/such: no such file or directory"
        );
    });
}

fn wanted(stdin: &str, stdout: &str, stderr: &str) -> Wanted {
    Wanted {
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
        terminal: false,
        given: None,
    }
}

/// Runs a script with these streams.
async fn run(on: &Host, wanted: &Wanted, script: &str) -> (Child, Rc<stdio::Streams>) {
    let prepared = stdio::prepare(on, wanted, &Owner::default()).await.unwrap();
    let child = {
        let [i, o, e] = prepared.fds.as_ref().unwrap();
        shell(on, script, &[i, o, e])
    };
    (child, prepared.begin(on).unwrap())
}

fn open_reader(path: &str) -> OwnedFd {
    sys::fs::open(Path::new(path), libc::O_RDONLY | libc::O_NONBLOCK, 0).unwrap()
}

/// Until the end of the stream.
async fn read_all(on: &Host, fd: OwnedFd) -> String {
    let fd = on.reactor.watch(fd).unwrap();
    let mut all = Vec::new();
    loop {
        let mut buffer = [0u8; 4096];
        match fd
            .read_when_ready(|fd| sys::fs::read(fd, &mut buffer))
            .await
            .unwrap()
        {
            0 => return String::from_utf8(all).unwrap(),
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

fn output_reaches_its_reader_and_ends() {
    let dir = Dir::new();
    supervise(|on| async move {
        let (out, err) = (dir.fifo("out"), dir.fifo("err"));
        let (reader, other) = (open_reader(&out), open_reader(&err));
        // More than any pipe holds.
        let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo last >&2";
        let (_child, streams) = run(&on, &wanted("", &out, &err), script).await;
        assert_eq!(read_all(&on, reader).await.len(), 20000 * 11);
        assert_eq!(read_all(&on, other).await, "last\n");
        let began = Instant::now();
        streams.close(&on, SOON).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "nothing was left to wait for"
        );
    });
}

fn output_without_a_reader_waits_for_one() {
    let dir = Dir::new();
    supervise(|on| async move {
        let out = dir.fifo("out");
        let (child, streams) = run(&on, &wanted("", &out, ""), "echo kept").await;
        child.exit.wait().await;
        // Longer than the copy of five bytes takes; nobody has it open but us.
        on.reactor.sleep(Duration::from_millis(50)).await;
        assert_eq!(read_all(&on, open_reader(&out)).await, "kept\n");
        streams.close(&on, SOON).await;
    });
}

fn a_child_left_behind_does_not_keep_the_stream() {
    let dir = Dir::new();
    supervise(|on| async move {
        let out = dir.fifo("out");
        let reader = open_reader(&out);
        let (stop, hold) = sys::fs::pipe().unwrap();
        let prepared = stdio::prepare(&on, &wanted("", &out, ""), &Owner::default())
            .await
            .unwrap();
        let [_, o, e] = prepared.fds.as_ref().unwrap();
        // The one that is left behind ends with the case.
        let child = shell(
            &on,
            "echo out; exec 3<&0; (read -r _ <&3) & exit 0",
            &[&stop, o, e],
        );
        let streams = prepared.begin(&on).unwrap();
        child.exit.wait().await;
        streams.close(&on, Duration::from_millis(50)).await;
        assert_eq!(read_all(&on, reader).await, "out\n");
        drop(hold);
    });
}

fn input_ends_when_it_is_closed_and_not_before() {
    let dir = Dir::new();
    supervise(|on| async move {
        let (input, out) = (dir.fifo("in"), dir.fifo("out"));
        let reader = open_reader(&out);
        let (child, streams) = run(&on, &wanted(&input, &out, ""), "cat; echo end").await;
        let write = |text: &str| {
            let fd = sys::fs::open(Path::new(&input), libc::O_WRONLY | libc::O_NONBLOCK, 0).unwrap();
            sys::fs::write(fd.as_fd(), text.as_bytes()).unwrap();
        };
        // Two clients, one after the other.
        write("one\n");
        write("two\n");
        on.reactor.sleep(Duration::from_millis(20)).await;
        assert!(!child.exit.is_set(), "a client that goes away is not the end");
        streams.close_stdin();
        assert_eq!(read_all(&on, reader).await, "one\ntwo\nend\n");
        child.exit.wait().await;
        streams.close(&on, SOON).await;
    });
}

fn a_file_is_appended_to_by_both_streams() {
    let dir = Dir::new();
    supervise(|on| async move {
        let file = dir.0.join("a dir/deep.log");
        let address = format!("file://{}", file.display()).replace(' ', "%20");
        for _ in 0..2 {
            let (child, streams) = run(&on, &wanted("", &address, &address), "echo out; echo err >&2").await;
            child.exit.wait().await;
            streams.close(&on, SOON).await;
        }
        let mut lines: Vec<String> = std::fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map(String::from)
            .collect();
        lines.sort();
        assert_eq!(lines, ["err", "err", "out", "out"]);
    });
}

fn a_logger_gets_all_and_is_ended() {
    let dir = Dir::new();
    supervise(|on| async move {
        let (log, err) = (dir.0.join("log"), dir.0.join("err"));
        let text = format!(
            "#!/bin/sh\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $# $1 $2 $(env | wc -l)\" >{log}\nexec 5>&-\ncat <&4 >{err} &\ncat <&3 >>{log}\nwait\n",
            log = log.display(),
            err = err.display()
        );
        let program = dir.script("logger", &text);
        let address = format!("binary://{program}?key=a%20value");
        let owner = Owner {
            id: "box".into(),
            namespace: "ns".into(),
            ..Owner::default()
        };
        let prepared = stdio::prepare(&on, &wanted("", &address, &address), &owner)
            .await
            .unwrap();
        let [i, o, e] = prepared.fds.as_ref().unwrap();
        let child = shell(&on, "echo out; echo err >&2", &[i, o, e]);
        let streams = prepared.begin(&on).unwrap();
        child.exit.wait().await;
        streams.close(&on, SOON).await;
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.starts_with("box ns 2 key a value "), "{said}");
        assert!(said.ends_with("\nout\n"), "{said}");
        assert_eq!(std::fs::read_to_string(&err).unwrap(), "err\n");
    });
}

fn a_logger_that_is_not_ready_is_an_error() {
    let dir = Dir::new();
    supervise(|on| async move {
        let program = dir.script("logger", "#!/bin/sh\nexit 0\n");
        let prepare = |scheme: &str| {
            let (on, address) = (on.clone(), format!("{scheme}://{program}"));
            async move {
                stdio::prepare(&on, &wanted("", &address, &address), &Owner::default())
                    .await
                    .map(drop)
            }
        };
        // The end of the descriptor says that it is ready with the old scheme, and that it is not with the new one.
        prepare("binary").await.unwrap();
        let refused = prepare("binary-v2").await.unwrap_err();
        assert!(
            refused.to_string().contains("it ended before it was ready"),
            "{refused}"
        );
        let refused = stdio::prepare(&on, &wanted("", "smoke://x", ""), &Owner::default())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), shim::error::Kind::InvalidArgument);
    });
}

fn runtime(dir: &Dir, script: &str) -> Runtime {
    Runtime {
        binary: dir.script("runtime", script),
        root: dir.0.clone(),
        log: dir.0.join("log.json"),
        systemd_cgroup: false,
        criu: String::new(),
    }
}

fn a_runtime_that_hangs_is_killed_and_named() {
    let dir = Dir::new();
    supervise(|on| async move {
        let runtime = runtime(&dir, "#!/bin/sh\nexec sleep 1000\n");
        let limit = Some(Instant::now() + Duration::from_millis(50));
        let failed = runtime.start(&on, "box", limit).await.unwrap_err();
        assert_eq!(failed.kind(), shim::error::Kind::DeadlineExceeded);
        assert!(
            failed
                .to_string()
                .contains("OCI runtime start failed: runtime was not done in time"),
            "{failed}"
        );
    });
}

fn a_runtime_whose_hook_holds_its_output_is_done() {
    let dir = Dir::new();
    supervise(|on| async move {
        sys::process::set_subreaper().unwrap();
        let pid_file = dir.0.join("pid");
        let script = format!(
            "#!/bin/sh\nsleep 1000 &\necho $! >{}\necho '[1, 2]'\n",
            pid_file.display()
        );
        let flight = on.children.flight();
        let pids = runtime(&dir, &script).ps(&on, "box", None).await.unwrap();
        assert_eq!(pids, [1, 2]);
        let pid = std::fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let left = on.children.adopt(pid, &flight).unwrap();
        left.signal(libc::SIGKILL).unwrap();
        assert_eq!(left.exit.wait().await.code, 137);
    });
}
