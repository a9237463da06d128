//! What the probe can be told to do. Each verb does one thing and says in one line of JSON what came of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::facts;
use crate::json::{J, obj};
use crate::kernel;

/// How a verb ended.
type Done = Result<J, i32>;

/// Files and memory that later verbs of the same run should still find open.
#[derive(Default)]
pub struct Held {
    files: Vec<File>,
    memory: Vec<Vec<u8>>,
    signals: u64,
}

/// Where lines go instead of stdout.
static ELSEWHERE: std::sync::Mutex<Option<File>> = std::sync::Mutex::new(None);

/// Writes one line in one call: the reader may look at any moment, and several processes may share the file.
pub fn say(line: &J) {
    let text = format!("{line}\n");
    let mut slot = ELSEWHERE.lock();
    let done = match slot.as_deref_mut() {
        Ok(Some(f)) => f.write_all(text.as_bytes()),
        _ => std::io::stdout().lock().write_all(text.as_bytes()),
    };
    // Nobody is left to tell when stdout itself is broken.
    drop(done);
}

fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(-1)
}

fn io<T>(r: std::io::Result<T>) -> Result<T, i32> {
    r.map_err(|e| errno(&e))
}

fn number(s: &str) -> Result<i64, i32> {
    let (digits, radix) = match s.split_at_checked(2) {
        Some(("0x", rest)) => (rest, 16),
        Some(("0o", rest)) => (rest, 8),
        _ => (s, 10),
    };
    i64::from_str_radix(digits, radix).map_err(|_| 22)
}

/// Runs `verb` with `args`; `all` is the whole command line, for the report.
pub fn run(verb: &str, args: &[String], held: &mut Held, all: &[String]) {
    let a = |i: usize| args.get(i).map_or("", String::as_str);
    let done = match verb {
        "report" => {
            say(&obj([("report", facts::report(all))]));
            return;
        }
        "exit" => std::process::exit(number(a(0)).unwrap_or(255) as i32),
        "sleep" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "raise" => number(a(0))
            .and_then(|s| kernel::kill(i64::from(std::process::id()), s as usize))
            .map(|()| J::Null),
        "kill" => number(a(0))
            .and_then(|p| kernel::kill(p, number(a(1))? as usize))
            .map(|()| J::Null),
        "trap" => trap(args, held),
        "await" => kernel::wait_signal(held.signals, number(a(0)).unwrap_or(30) as u64).map(J::from),
        "open" => open(a(0), a(1), held),
        "read" => read(a(0)),
        "read-link" => io(fs::read_link(a(0))).map(|p| p.to_string_lossy().into_owned().into()),
        "write" => write(a(0), a(1)),
        "write-fd" => write(&format!("/proc/self/fd/{}", a(0)), a(1)),
        "stat" => io(fs::metadata(a(0))).map(|m| J::Obj(facts::describe(&m))),
        "lstat" => io(fs::symlink_metadata(a(0))).map(|m| J::Obj(facts::describe(&m))),
        "statfs" => kernel::statfs(a(0)).map(|[t, flags, size]| {
            obj([
                ("type", t.into()),
                ("flags", flags.into()),
                ("bytes", size.into()),
            ])
        }),
        "list" => match fs::read_dir(a(0)) {
            Ok(_) => Ok(facts::listing(a(0))),
            Err(e) => Err(errno(&e)),
        },
        "mkdir" => io(fs::DirBuilder::new()
            .mode(number(a(1)).unwrap_or(0o755) as u32)
            .create(a(0)))
        .map(|()| J::Null),
        "unlink" => io(fs::remove_file(a(0))).map(|()| J::Null),
        "symlink" => io(std::os::unix::fs::symlink(a(0), a(1))).map(|()| J::Null),
        "chmod" => number(a(1))
            .and_then(|m| io(fs::set_permissions(a(0), fs::Permissions::from_mode(m as u32))))
            .map(|()| J::Null),
        "chown" => number(a(1))
            .and_then(|u| io(std::os::unix::fs::chown(a(0), Some(u as u32), Some(u as u32))))
            .map(|()| J::Null),
        "chdir" => io(std::env::set_current_dir(a(0))).map(|()| J::Null),
        "chroot" => io(std::os::unix::fs::chroot(a(0))).map(|()| J::Null),
        "mknod" => mknod(args),
        "mount" => number(a(3))
            .and_then(|f| kernel::mount(a(0), a(1), a(2), f as usize, a(4)))
            .map(|()| J::Null),
        "umount" => kernel::umount(a(0), 2).map(|()| J::Null),
        "hostname" => kernel::set_hostname(a(0)).map(|()| J::Null),
        "unshare" => number(a(0))
            .and_then(|f| kernel::unshare(f as usize))
            .map(|()| J::Null),
        "ptrace" => number(a(0))
            .and_then(|p| kernel::ptrace_seize(p as usize))
            .map(|()| J::Null),
        "setuid" => number(a(0))
            .and_then(|u| kernel::set_uid(u as usize))
            .map(|()| J::Null),
        "setgid" => number(a(0))
            .and_then(|u| kernel::set_gid(u as usize))
            .map(|()| J::Null),
        "syscall" => syscall(args),
        "eat" => number(a(0)).map(|n| eat(n as usize, held)),
        "fork" => fork(number(a(0)).unwrap_or(1)),
        "daemon" => daemon(),
        "retire" => retire(),
        "spin" => Ok(spin(number(a(0)).unwrap_or(100) as u64)),
        "wait-file" => wait_file(a(0)),
        "watch-fds" => Ok(watch_fds(number(a(0)).unwrap_or(1000) as u64)),
        "watch-ptrace" => Ok(watch_ptrace(number(a(0)).unwrap_or(1000) as u64)),
        "watch-exec" => Ok(watch_exec(number(a(0)).unwrap_or(1000) as u64)),
        "swap" => swap(a(0), a(1), number(a(2)).unwrap_or(1000) as u64),
        "out" => redirect(a(0)),
        "echo" => Ok(a(0).into()),
        "stderr" => {
            eprintln!("{}", a(0));
            Ok(J::Null)
        }
        "stdin" => {
            let mut s = String::new();
            io(std::io::stdin().read_to_string(&mut s)).map(|_| s.into())
        }
        "exec" => Err(errno(&Command::new(a(0)).args(&args[1.min(args.len())..]).exec())),
        _ => Err(-2),
    };
    let shown = std::iter::once(verb.to_owned())
        .chain(args.iter().cloned())
        .collect::<Vec<_>>();
    match done {
        Ok(v) => say(&obj([("did", shown.into()), ("errno", 0.into()), ("value", v)])),
        Err(e) => say(&obj([("did", shown.into()), ("errno", e.into())])),
    }
}

/// From now on lines are appended to this file; the verbs of hooks use it, whose stdout is the runtime's.
fn redirect(path: &str) -> Done {
    let f = io(OpenOptions::new().append(true).create(true).open(path))?;
    if let Ok(mut slot) = ELSEWHERE.lock() {
        *slot = Some(f);
    }
    Ok(J::Null)
}

fn trap(args: &[String], held: &mut Held) -> Done {
    let list: Vec<u32> = args.iter().filter_map(|s| s.parse().ok()).collect();
    held.signals |= kernel::block_signals(&list)?;
    Ok(J::Null)
}

fn open(mode: &str, path: &str, held: &mut Held) -> Done {
    let mut o = OpenOptions::new();
    match mode {
        "r" => o.read(true),
        "w" => o.write(true),
        "rw" => o.read(true).write(true),
        // O_CREAT with O_NOFOLLOW.
        "c" => o.write(true).create(true).custom_flags(0o400_000),
        // O_PATH
        "p" => o.read(true).custom_flags(0o10_000_000),
        _ => return Err(22),
    };
    let f = io(o.open(path))?;
    held.files.push(f);
    Ok(J::Null)
}

/// At most 64 KiB, so that an endless device ends.
fn read(path: &str) -> Done {
    let mut f = io(File::open(path))?;
    let mut buf = vec![0; 65536];
    let n = io(f.read(&mut buf))?;
    Ok(String::from_utf8_lossy(&buf[..n]).into_owned().into())
}

fn write(path: &str, data: &str) -> Done {
    let mut f = io(OpenOptions::new().write(true).open(path))?;
    let _ = f.seek(std::io::SeekFrom::End(0));
    io(f.write_all(data.as_bytes()))?;
    Ok(J::Null)
}

/// mknod PATH c|b|p MAJOR MINOR
fn mknod(args: &[String]) -> Done {
    let [path, kind, major, minor] = args else {
        return Err(22);
    };
    let mode = match kind.as_str() {
        "c" => 0o020_666,
        "b" => 0o060_666,
        _ => 0o010_666,
    };
    kernel::mknod(path, mode, number(major)? as u64, number(minor)? as u64).map(|()| J::Null)
}

fn syscall(args: &[String]) -> Done {
    let mut a = [0usize; 6];
    let nr = number(args.first().map_or("", String::as_str))?;
    for (slot, s) in a.iter_mut().zip(args.iter().skip(1)) {
        *slot = number(s)? as usize;
    }
    kernel::numbered(nr, a).map(J::from)
}

/// Touches `bytes` of memory, a mebibyte at a time, and says after each how far it came.
fn eat(bytes: usize, held: &mut Held) -> J {
    let mut eaten = 0;
    while eaten < bytes {
        let mut chunk = vec![0u8; 1 << 20];
        for i in (0..chunk.len()).step_by(4096) {
            chunk[i] = 1;
        }
        if !kernel::is_mapped(&chunk) {
            break;
        }
        held.memory.push(chunk);
        eaten += 1 << 20;
    }
    eaten.into()
}

/// Starts `n` children that sleep; the value is how many there are.
fn fork(n: i64) -> Done {
    let mut children = Vec::new();
    for _ in 0..n {
        match kernel::split() {
            Ok(0) => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Ok(pid) => children.push(pid),
            Err(e) => {
                return if children.is_empty() {
                    Err(e)
                } else {
                    Ok(children.into())
                };
            }
        }
    }
    Ok(children.into())
}

/// Leaves a sleeping grandchild in a session of its own, ignoring what a polite runtime sends.
fn daemon() -> Done {
    match kernel::split()? {
        0 => {
            let _ = kernel::new_session();
            let _ = kernel::block_signals(&[1, 2, 3, 15]);
            if matches!(kernel::split(), Ok(0)) {
                loop {
                    std::thread::sleep(Duration::from_secs(3600));
                }
            }
            std::process::exit(0)
        }
        pid => Ok(pid.into()),
    }
}

/// The main thread ends, and a sleeping one keeps the process alive. Nothing is said: nobody is left to.
fn retire() -> Done {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    });
    kernel::end_thread()
}

/// Burns `ms` milliseconds of CPU.
fn spin(ms: u64) -> J {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut n: u64 = 0;
    while Instant::now() < end {
        n = std::hint::black_box(n.wrapping_add(1));
    }
    n.into()
}

/// Waits, at most 60 s, until `path` exists.
fn wait_file(path: &str) -> Done {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if fs::symlink_metadata(path).is_ok() {
            return Ok(J::Null);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(110)
}

fn pids() -> Vec<u32> {
    let own = std::process::id();
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
        .filter(|p| *p != own)
        .collect()
}

/// For `ms` milliseconds tries to open every descriptor, root and program of every other process, as a container would
/// that hunts for what a joining runtime carries along. The value lists what could be opened.
fn watch_fds(ms: u64) -> J {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut seen: Vec<String> = Vec::new();
    let mut strangers = 0u64;
    while Instant::now() < end {
        for pid in pids() {
            if pid == 1 {
                continue;
            }
            strangers += 1;
            let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) else {
                continue;
            };
            for e in dir.flatten() {
                let Ok(link) = fs::read_link(e.path()) else {
                    continue;
                };
                let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let text = format!(
                    "{} fd {} -> {}",
                    exe.display(),
                    e.file_name().to_string_lossy(),
                    link.display()
                );
                if !seen.contains(&text) {
                    seen.push(text);
                }
            }
        }
    }
    obj([("seen", seen.into()), ("strangers", strangers.into())])
}

/// For `ms` milliseconds tries to trace every other process. The value lists those that were not yet the probe.
fn watch_ptrace(ms: u64) -> J {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut traced: Vec<String> = Vec::new();
    let mut strangers = 0u64;
    while Instant::now() < end {
        for pid in pids() {
            strangers += 1;
            if kernel::ptrace_seize(pid as usize).is_err() {
                continue;
            }
            let exe = fs::read_link(format!("/proc/{pid}/exe"))
                .unwrap_or_default()
                .display()
                .to_string();
            if exe != "/probe" && !exe.is_empty() && !traced.contains(&exe) {
                traced.push(exe);
            }
        }
    }
    obj([("traced", traced.into()), ("strangers", strangers.into())])
}

/// For `ms` milliseconds holds the program of every other process by an O_PATH descriptor and, as soon as the kernel
/// lets go of it, overwrites its first byte. The value lists what could be written.
fn watch_exec(ms: u64) -> J {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut held: Vec<(u32, String, File)> = Vec::new();
    let mut written: Vec<String> = Vec::new();
    let mut strangers = 0u64;
    while Instant::now() < end {
        for pid in pids() {
            let path = format!("/proc/{pid}/exe");
            let link = fs::read_link(&path).unwrap_or_default().display().to_string();
            let own = link == "/probe" || link.is_empty();
            if own || held.iter().any(|(p, l, _)| *p == pid && *l == link) {
                continue;
            }
            strangers += 1;
            if let Ok(f) = OpenOptions::new()
                .read(true)
                .custom_flags(0o10_000_000)
                .open(&path)
            {
                held.push((pid, link, f));
            }
        }
        for (_, link, f) in &held {
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(f));
            let Ok(mut w) = OpenOptions::new().write(true).open(again) else {
                continue;
            };
            if w.write_all(b"X").is_ok() && !written.contains(link) {
                written.push(link.clone());
            }
        }
    }
    let seen: Vec<String> = held.iter().map(|(_, l, _)| l.clone()).collect();
    obj([
        ("written", written.into()),
        ("seen", seen.into()),
        ("strangers", strangers.into()),
    ])
}

/// Exchanges two paths over and over for `ms` milliseconds; the value is how often.
fn swap(one: &str, two: &str, ms: u64) -> Done {
    let end = Instant::now() + Duration::from_millis(ms);
    let aside = format!("{one}.aside");
    let mut n = 0u64;
    while Instant::now() < end {
        io(fs::rename(one, &aside))?;
        io(fs::rename(two, one))?;
        io(fs::rename(&aside, two))?;
        n += 1;
    }
    Ok(n.into())
}
