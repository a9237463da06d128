//! `build` from the command line: words, exit codes, what is shown of real builds, and what is left of them.
//!
//! Builds need root, a static busybox, and `runb` beside brig; questions about Dockerfiles need nothing.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const BRIG: &str = env!("CARGO_BIN_EXE_brig");

/// A store and a context of their own.
struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let dir = std::env::temp_dir().join(format!("brig-build-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("context")).unwrap();
        std::fs::create_dir_all(dir.join("config")).unwrap();
        Bench { dir }
    }

    /// With what RUN needs in the context, or nothing where it cannot be done.
    fn for_steps(name: &str) -> Option<Bench> {
        let runb = Path::new(BRIG).parent().unwrap().join("runb");
        if sys::process::effective_ids().0 != 0 || !runb.exists() || !Path::new("/bin/busybox").exists() {
            println!("skip build.{name}: needs root, runb and /bin/busybox");
            return None;
        }
        let bench = Bench::new(name);
        std::fs::copy("/bin/busybox", bench.dir.join("context/busybox")).unwrap();
        Some(bench)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join("context").join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BRIG);
        command
            .arg0("docker")
            .args(args)
            .current_dir(self.dir.join("context"))
            .env("BRIG_ROOT", self.dir.join("store"))
            .env("BRIG_RUN", self.dir.join("run"))
            .env("DOCKER_CONFIG", self.dir.join("config"))
            .env_remove("BUILDKIT_PROGRESS")
            .stdin(Stdio::null());
        command
    }

    /// Without a network: the bridges of the machine are other tests' matter.
    fn build(&self, args: &[&str]) -> Said {
        self.brig(&[&["build", "--network=none"], args].concat())
    }

    fn brig(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A file that has a shell, then.
const SHELL: &str = "FROM scratch\nCOPY busybox /bin/sh\n";

#[test]
fn words_of_buildx_and_exit_codes() {
    let bench = Bench::new("words");
    let usage = "\n\nUsage:  docker buildx build [OPTIONS] PATH | URL | -\n\nRun 'docker buildx build --help' for more information\n";
    for args in [
        &["build"][..],
        &["image", "build"],
        &["builder", "build"],
        &["buildx", "b"],
    ] {
        let said = bench.brig(args);
        let complaint = format!("ERROR: docker: 'docker buildx build' requires 1 argument{usage}");
        assert_eq!((said.code, said.err), (1, complaint), "{args:?}");
    }
    let said = bench.brig(&["build", "--nope", "."]);
    assert_eq!(
        (said.code, said.err),
        (125, format!("unknown flag: --nope{usage}"))
    );
    for (args, complaint) in [
        (
            &["build", "-t", "B", "."][..],
            "ERROR: failed to build: invalid tag \"B\": repository name must be lowercase\n",
        ),
        (
            &["build", "nowhere"],
            "ERROR: failed to build: unable to prepare context: path \"nowhere\" not found\n",
        ),
        (
            &["build", "--check", "."],
            "ERROR: failed to build: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory\n",
        ),
        (
            &["build", "--secret", "x", "."],
            "ERROR: invalid field 'x' must be a key=value pair\n",
        ),
        (
            &["builder", "prune", "--filter", "until=soon"],
            "ERROR: \"until\" filter expects a duration (e.g., '24h'): time: invalid duration \"soon\"\n",
        ),
    ] {
        let said = bench.brig(args);
        assert_eq!((said.code, said.err.as_str()), (1, complaint), "{args:?}");
    }
}

#[test]
fn questions_about_a_dockerfile_need_no_store() {
    let bench = Bench::new("questions");
    bench.write("Dockerfile", "FROM scratch AS one\nFROM one\nCOPY a.o $X /\n");
    bench.write(".dockerignore", "*.o\n");
    let said = bench.brig(&["build", "--check", "."]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out
            .starts_with("Check complete, 2 warnings have been found!\n"),
        "{said:?}"
    );
    assert!(said.out.contains("\nWARNING: CopyIgnoredFile - "), "{said:?}");
    assert_eq!(
        bench
            .brig(&["build", "--call", "check,ignorestatus=true", "."])
            .code,
        0
    );
    let said = bench.brig(&["build", "--call", "targets", "."]);
    assert_eq!(said.out, "TARGET    DESCRIPTION\none       \n(default) \n");
    assert!(!bench.dir.join("store").exists());
}

#[test]
fn a_build_says_what_it_does_and_leaves_an_image() {
    let Some(bench) = Bench::for_steps("plain") else {
        return;
    };
    bench.write(
        "Dockerfile",
        &format!("{SHELL}RUN echo one; echo two >&2\nCMD echo hi\n"),
    );
    let said = bench.build(&[
        "-t",
        "made:1",
        "--iidfile",
        "../id",
        "--metadata-file",
        "../meta",
        ".",
    ]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    for line in [
        "[2/3] COPY busybox /bin/sh\n",
        "[3/3] RUN echo one; echo two >&2\n",
        " one\n",
        " two\n",
        " DONE ",
    ] {
        assert!(said.err.contains(line), "{line:?} in {}", said.err);
    }
    assert!(said.err.ends_with("OS signals (line 4)\n"), "{}", said.err);
    let id = std::fs::read_to_string(bench.dir.join("id")).unwrap();
    let inspected = bench.brig(&["image", "inspect", "-f", "{{.Id}}", "made:1"]);
    assert_eq!(inspected.out, format!("{id}\n"));
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.dir.join("meta")).unwrap()).unwrap();
    assert_eq!(meta["containerimage.config.digest"], id.as_str());
    let again = bench.build(&["-q", "."]);
    assert_eq!(
        (again.code, again.out, again.err),
        (0, format!("{id}\n"), String::new())
    );
    let plain = bench.build(&["--progress=plain", "."]);
    assert!(
        plain.err.contains(" CACHED\n") && !plain.err.contains(" one\n"),
        "{}",
        plain.err
    );
    let raw = bench.build(&["--progress=rawjson", "."]);
    for line in raw.err.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    let du = bench.brig(&["buildx", "du"]);
    assert!(
        du.out.starts_with("ID ") && du.out.contains("\nTotal:\t\t"),
        "{}",
        du.out
    );
    let pruned = bench.brig(&["builder", "prune", "-af"]);
    assert!(pruned.out.ends_with("\nTotal:\t0B\n"), "{}", pruned.out);
    let du = bench.brig(&["buildx", "du"]);
    assert!(
        du.out.ends_with("\nReclaimable:\t0B\nTotal:\t\t0B\n"),
        "{}",
        du.out
    );
}

#[test]
fn a_step_that_fails_is_shown_with_its_place() {
    let Some(bench) = Bench::for_steps("fails") else {
        return;
    };
    bench.write("Dockerfile", &format!("{SHELL}RUN echo why; exit 7\n"));
    let said = bench.build(&["."]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    let end = "--------------------\n   1 |     FROM scratch\n   2 |     COPY busybox /bin/sh\n   3 | >>> RUN echo why; exit 7\n   4 |     \n--------------------\n\
        ERROR: failed to build: failed to solve: process \"/bin/sh -c echo why; exit 7\" did not complete successfully: exit code: 7\n";
    assert!(
        said.err.ends_with(&format!("------\nDockerfile:3\n{end}")),
        "{}",
        said.err
    );
    let quiet = bench.build(&["-q", "."]);
    assert_eq!(
        (quiet.code, quiet.out, quiet.err),
        (1, String::new(), format!("Dockerfile:3\n{end}"))
    );
}

/// Ctrl-C on a terminal ends the step, and the cursor is there again.
#[test]
fn who_says_stop_gets_the_terminal_back() {
    let Some(bench) = Bench::for_steps("stop") else {
        return;
    };
    bench.write(
        "Dockerfile",
        &format!("{SHELL}RUN echo begun; read x < /dev/zero\n"),
    );
    let ours = sys::tty::open_master(Path::new("/dev/ptmx")).unwrap();
    let theirs = sys::tty::open_slave(ours.as_fd()).unwrap();
    let size = sys::tty::WindowSize {
        rows: 24,
        columns: 80,
    };
    sys::tty::set_window_size(ours.as_fd(), size).unwrap();
    let mut child = bench
        .command(&["build", "--network=none", "."])
        .stderr(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut terminal = std::fs::File::from(ours);
    let mut seen = String::new();
    let mut piece = [0; 4096];
    let mut is_asked = false;
    // The end of whoever writes is an error (EIO) here. What hangs is ended by nextest.
    while let Ok(length @ 1..) = terminal.read(&mut piece) {
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        if !is_asked && seen.contains(" => => # begun") {
            is_asked = true;
            let pid = i32::try_from(child.id()).unwrap();
            let killed = Command::new("kill").args(["-INT", &pid.to_string()]).status();
            assert!(killed.unwrap().success());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{seen}");
    assert!(seen.contains(" => CANCELED [3/3] RUN echo begun"), "{seen}");
    assert!(
        seen.ends_with("ERROR: failed to build: failed to solve: Canceled: context canceled\r\n"),
        "{seen}"
    );
    assert!(seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l"), "{seen}");
    let again = bench.brig(&["ps", "-aq"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
}
