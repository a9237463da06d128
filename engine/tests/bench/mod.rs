//! A mount namespace of its own for each case, and a tmpfs in it.
#![allow(dead_code)] // not every file of tests uses everything
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "ENGINE_TEST_INSIDE";

/// True when the caller is to go on: it is root and alone in a mount namespace.
pub fn inside(test: &str) -> bool {
    if sys::process::effective_ids().0 != 0 {
        println!("skip engine.{test}: needs root");
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
        run("mount", &["-t", "tmpfs", "bench", "/mnt"]);
        Bench("/mnt".into())
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

    pub fn link(&self, target: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        path
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        sys::fs::mkfifoat(sys::fs::cwd(), &path, 0o644).unwrap();
        path
    }

    /// Mounts an overlay of `lower` and `upper` on `merged`.
    pub fn overlay(&self) {
        for name in ["lower", "upper", "work", "merged"] {
            self.dir(name);
        }
        run(
            "mount",
            &[
                "-t",
                "overlay",
                "overlay",
                "-o",
                "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work,index=off,metacopy=off",
                "/mnt/merged",
            ],
        );
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

pub fn sh(script: &str) -> String {
    run("sh", &["-ec", script])
}

/// A file capability: cap_net_raw, as setcap(8) writes it.
pub const RIGHTS: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub fn set_attribute(path: &str, name: &std::ffi::CStr, value: &[u8]) {
    sys::fs::set_xattr(&sys::fs::c_path(Path::new(path)).unwrap(), name, value).unwrap();
}

/// Everything below a directory, as one text: kinds, modes, owners, sizes, times, attributes, links, bytes.
pub fn picture(root: &Path) -> String {
    let script = format!(
        "cd {}; find . -mindepth 1 -printf '%p %y %m %U:%G %l\\n' | sort; \
         find . -type f -exec md5sum {{}} + | sort; \
         find . -mindepth 1 ! -type d -printf '%p %T@\\n' | sort",
        root.display()
    );
    let names = sh(&format!(
        "cd {}; find . -type f -o -type d | sort",
        root.display()
    ));
    let mut text = sh(&script);
    for name in names.lines() {
        let path = sys::fs::c_path(&root.join(name)).unwrap();
        for attribute in sys::copy::xattr_names(&path).unwrap() {
            if !attribute.as_bytes().starts_with(b"trusted.overlay.") {
                let value = sys::copy::xattr(&path, &attribute).unwrap();
                text.push_str(&format!("{name} {attribute:?}={value:?}\n"));
            }
        }
    }
    text
}
