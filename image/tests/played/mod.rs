//! A mount namespace of its own for each case, and a bench in it.
#![allow(dead_code)] // not every file of tests uses everything
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sys::seccomp::{Insn, RET_ALLOW, RET_ERRNO};

const INSIDE: &str = "IMAGE_TEST_INSIDE";

/// True when the caller is to go on: it is root and alone in a mount namespace.
pub fn inside(test: &str) -> bool {
    if sys::process::effective_ids().0 != 0 {
        println!("skip image.{test}: needs root");
        return false;
    }
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        return true;
    }
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "timeout", "100"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success(), "{test} failed inside");
    assert!(text.contains("1 passed"), "{test} did not run inside");
    false
}

/// A tmpfs of the case, gone with its mount namespace.
pub struct Bench(PathBuf);

impl Bench {
    pub fn new() -> Bench {
        let dir = PathBuf::from("/mnt");
        run("mount", &["-t", "tmpfs", "bench", "/mnt"]);
        Bench(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn whiteout(&self, name: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        sys::fs::mknodat(sys::fs::cwd(), &path, libc::S_IFCHR, 0).unwrap();
    }

    pub fn opaque(&self, name: &str) {
        let path = sys::fs::c_path(&self.dir(name)).unwrap();
        sys::fs::set_xattr(&path, c"trusted.overlay.opaque", b"y").unwrap();
    }
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

pub fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// How many mounts there are in all.
pub fn mounts() -> usize {
    read(Path::new("/proc/self/mountinfo")).unwrap().lines().count()
}

/// From now on these calls fail with `errno`, for this thread and those it makes.
pub fn take_away(calls: &[libc::c_long], errno: i32) {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    // offsetof(struct seccomp_data, nr) is 0.
    let mut program = vec![insn(0x20, 0, 0, 0)];
    for (n, call) in calls.iter().enumerate() {
        let to_errno = (calls.len() - n) as u8;
        program.push(insn(0x15, to_errno, 0, *call as u32));
    }
    program.push(insn(0x06, 0, 0, RET_ALLOW));
    program.push(insn(0x06, 0, 0, RET_ERRNO | errno as u32));
    sys::seccomp::load(&program, 0).unwrap();
}

/// From now on fsconfig(2) fails with `errno` for this command, for this thread and those it makes.
pub fn take_away_fsconfig(command: u32, errno: i32) {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    let program = [
        insn(0x20, 0, 0, 0),
        insn(0x15, 0, 3, 431),
        // The lower half of the second argument, on a CPU with the lower half first.
        insn(0x20, 0, 0, 24),
        insn(0x15, 0, 1, command),
        insn(0x06, 0, 0, RET_ERRNO | errno as u32),
        insn(0x06, 0, 0, RET_ALLOW),
    ];
    sys::seccomp::load(&program, 0).unwrap();
}
