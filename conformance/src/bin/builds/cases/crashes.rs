//! Builds that are killed, and what the next one finds.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::patience;
use conformance::played::leaks;

use crate::case::{Case, Done, Need, Scene, case, is, lacks, soon, was_cached};

pub fn cases() -> Vec<Case> {
    vec![
        case("crash.interrupt", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM tiny\nRUN echo kept >/f\nRUN touch /begun; sleep 1000\n")?;
            let began = Instant::now();
            let build = Running::start(s, "int")?;
            build.until_step(s, "touch /begun")?;
            command::until("the step's process", soon(), || sleeping("1000"))?;
            build.signal("INT")?;
            let code = build.end()?;
            is("code", [1, 130].contains(&code), true)?;
            is("it took long", began.elapsed() > patience::seconds(60), false)?;
            command::until("the end of the step's process", soon(), || !sleeping("1000"))?;
            s.must("sed -i 's/; sleep 1000//' Dockerfile")?;
            was_cached(&s.build("-t interrupted .")?, "RUN echo kept", true)
        }),
        case("crash.terminate", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN sleep 1001\n")?;
            let build = Running::start(s, "term")?;
            command::until("the step's process", soon(), || sleeping("1001"))?;
            build.signal("TERM")?;
            is("code", build.end()?, 143)?;
            command::until("the end of the step's process", soon(), || !sleeping("1001"))
        }),
        case("crash.kill-in-run", &[Need::Brig], |s| {
            s.dockerfile(
                "FROM tiny\nRUN echo kept >/f\nRUN (trap '' TERM INT HUP; setsid sleep 1002) & sleep 1002\n",
            )?;
            let build = Running::start(s, "kill")?;
            command::until("the step's process", soon(), || sleeping("1002"))?;
            build.signal("KILL")?;
            build.end()?;
            // Nobody has to come and tidy up for the processes and mounts to be gone.
            command::until("the end of the step's processes", soon(), || !sleeping("1002"))?;
            lacks("mounts", &mounts(), "/build")?;
            s.must("sed -i 's/^RUN (trap.*$/RUN true/' Dockerfile")?;
            was_cached(&s.build("-t killed .")?, "RUN echo kept", true)?;
            swept(s)
        }),
        case("crash.moments", &[Need::Brig], moments),
        case("crash.packing-for-push", &[Need::Brig, Need::Registry], |s| {
            let send = ["push", "-q", "127.0.0.1:5000/packed:1"];
            packing(s, &send, |s, store| {
                s.must(&format!("BRIG_ROOT=$PWD/{store} docker {}", send.join(" ")))?;
                // What the registry has, and all of it.
                let line = format!(
                    "BRIG_ROOT=$PWD/{store} docker image inspect --format '{{{{json .RepoDigests}}}}' 127.0.0.1:5000/packed:1; \
                     mkdir fresh && BRIG_ROOT=$PWD/fresh docker pull -q 127.0.0.1:5000/packed:1 && rm -r fresh"
                );
                s.must(&line)
            })
        }),
        case("crash.packing-for-save", &[Need::Brig], |s| {
            packing(
                s,
                &["save", "-o", "out.tar", "127.0.0.1:5000/packed:1"],
                |s, store| {
                    s.must(&format!(
                        "BRIG_ROOT=$PWD/{store} docker save -o out.tar 127.0.0.1:5000/packed:1"
                    ))?;
                    let sum = s.must("sha256sum <out.tar && rm out.tar");
                    is(
                        "beside the archive",
                        s.must("ls -A | grep -v .log | xargs")?,
                        "Dockerfile one two",
                    )?;
                    sum
                },
            )
        }),
        case("crash.in-removal", &[Need::Brig], |s| {
            // Killed when a step's container had left its place, and not the disk yet.
            let left = s.lab.store().join("trash/container-0123/fs/upper/d");
            let made = std::fs::create_dir_all(&left).and_then(|()| std::fs::write(left.join("f"), "x"));
            made.map_err(|e| format!("{}: {e}", left.display()))?;
            swept(s)
        }),
        case("crash.two-at-once", &[Need::Brig], |s| {
            // One of two that share a step dies: the other one does the work.
            s.dockerfile("FROM tiny\nRUN sleep 1.003; echo shared >/f\n")?;
            let first = Running::start(s, "first")?;
            command::until("the step's process", soon(), || sleeping("1.003"))?;
            let second = Running::start(s, "second")?;
            first.signal("KILL")?;
            first.end()?;
            is("code of the other", second.end()?, 0)?;
            s.shows("second", "cat /f", "shared")?;
            swept(s)
        }),
        case("crash.disk-full", &[Need::Brig], |s| {
            // A store of its own in little memory: the build fails with a reason, and the store is sound.
            s.must("mkdir small && mount -t tmpfs -o size=24m tmpfs small")?;
            s.must("docker save -o base.tar tiny && BRIG_ROOT=$PWD/small/store docker load -q -i base.tar")?;
            s.dockerfile("FROM tiny\nRUN echo kept >/f\nRUN head -c 67108864 /dev/zero >/big\n")?;
            let o = s.sh("BRIG_ROOT=$PWD/small/store docker build --progress plain .")?;
            is("code", o.code, 1)?;
            // The kernel's overlay on a full tmpfs says EIO or ENOSPC to who writes.
            let told = o.stderr.to_lowercase();
            let is_said = told.contains("no space left on device") || told.contains("i/o error");
            is("what was told has the reason", is_said, true)?;
            s.must("sed -i 's/67108864/1048576/' Dockerfile")?;
            let told = s.told("BRIG_ROOT=$PWD/small/store docker build --progress plain -t fits .")?;
            was_cached(&told, "RUN echo kept", true)?;
            s.must("BRIG_ROOT=$PWD/small/store docker system check")?;
            s.must("umount small")?;
            Ok(())
        }),
    ]
}

/// A Dockerfile with a bit of everything, killed after ever more milliseconds, until it is done before it is killed.
fn moments(s: &Scene) -> Done {
    s.must("mkdir d; for i in $(seq 200); do echo $i >d/$i; done; tar czf a.tar.gz d")?;
    s.dockerfile(
        "FROM tiny AS one\nRUN for i in $(seq 100); do echo $i >/$i; done\nCOPY d /d/\n\
         FROM tiny AS two\nADD a.tar.gz /a/\nRUN --mount=type=cache,target=/c --mount=target=/m cp -r /m/d /c/ && cp -r /c/d /copied\n\
         FROM tiny\nCOPY --from=one /d /d\nCOPY --from=two /copied /copied\nRUN rm -r /d && mkdir /d && touch /d/new\nWORKDIR /w\n",
    )?;
    let before = leaks::survey(&s.lab.dir);
    let (mut killed, mut after) = (0, Duration::from_millis(2));
    loop {
        let build = Running::start(s, "moment")?;
        std::thread::park_timeout(after);
        build.signal("KILL")?;
        let code = build.end()?;
        let at = |e: String| format!("killed after {after:?}: {e}");
        // Processes and mounts go by themselves; files and cgroups are swept by whoever comes next.
        s.must("docker ps -aq").map_err(at)?;
        leaks::check(&before, &s.lab.dir).map_err(at)?;
        if code == 0 {
            break;
        }
        killed += 1;
        if killed % 4 == 0 {
            s.must("docker system check").map_err(at)?;
        }
        // What was done stays done, so each round comes further, and the end comes.
        after = (after * 5 / 4).max(after + Duration::from_millis(3));
        if after > patience::seconds(20) {
            return Err("it never ends before it is killed".into());
        }
    }
    is(&format!("killed {killed} times, at least 8"), killed >= 8, true)?;
    s.build("-t moments .")?;
    s.shows(
        "moments",
        "pwd; ls /d; ls /copied | wc -l; cat /copied/200",
        "/w\nnew\n200\n200",
    )?;
    swept(s)
}

/// An image whose layers are not packed yet is sent away, killed at ever later moments; then what `sent` tells is what it tells of a
/// store in which nobody was killed.
fn packing(s: &Scene, words: &[&str], sent: impl Fn(&Scene, &str) -> Result<String, String>) -> Done {
    s.must("mkdir one && docker save -o base.tar tiny && BRIG_ROOT=$PWD/one docker load -q -i base.tar && rm base.tar")?;
    s.dockerfile(
        "FROM tiny\nRUN head -c 5000000 /dev/urandom >/first\n\
         RUN mkdir /d && for i in $(seq 1500); do echo $i >/d/$i; done\nRUN head -c 5000000 /dev/urandom >/last\n",
    )?;
    s.must("BRIG_ROOT=$PWD/one docker build -q --network none -t 127.0.0.1:5000/packed:1 .")?;
    s.must("cp -a one two")?;
    let blobs = || conformance::verdict::names(&s.dir.join("one/blobs/sha256")).len();
    let unpacked = blobs();
    let (mut killed, mut while_packing, mut after) = (0, 0, Duration::from_millis(15));
    loop {
        let sending = Running::with(s, "sending", &s.dir.join("one"), words)?;
        std::thread::park_timeout(after);
        // Three more blobs and a manifest are there when it is packed.
        let is_packing = blobs() < unpacked + 4;
        sending.signal(if killed % 4 == 3 { "INT" } else { "KILL" })?;
        let at = |e: String| format!("killed after {after:?}: {e}");
        match sending.end()? {
            0 => break,
            130 | 137 => {}
            code => return Err(at(format!("code {code}"))),
        }
        (killed, while_packing) = (killed + 1, while_packing + usize::from(is_packing));
        s.must("BRIG_ROOT=$PWD/one docker system check").map_err(at)?;
        after = after * 4 / 3;
        if after > patience::seconds(20) {
            return Err("it never ends before it is killed".into());
        }
    }
    is(
        &format!("killed {killed} times, {while_packing} of them while it packed, at least 3"),
        while_packing >= 3,
        true,
    )?;
    is("what was sent", sent(s, "one")?, sent(s, "two")?)?;
    s.must("BRIG_ROOT=$PWD/one docker system check")?;
    for place in ["tmp", "partial", "trash"] {
        is(
            place,
            conformance::verdict::names(&s.dir.join("one").join(place)).join(" "),
            "",
        )?;
    }
    Ok(())
}

/// The store is sound, and has nothing that nobody finishes.
pub fn swept(s: &Scene) -> Done {
    s.must("docker ps -aq")?;
    s.must("docker system check")?;
    for place in ["tmp", "partial", "trash"] {
        let dir = s.lab.store().join(place);
        is(place, conformance::verdict::names(&dir).join(" "), "")?;
    }
    is("containers", s.must("docker ps -aq")?, "")
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Whether somebody sleeps so long.
pub fn sleeping(seconds: &str) -> bool {
    leaks::processes().iter().any(|(pid, _)| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == format!("sleep\0{seconds}\0").into_bytes()
    })
}

/// A build, or another command, in the background.
pub struct Running {
    child: Child,
    log: String,
}

impl Running {
    pub fn start(s: &Scene, name: &str) -> Result<Running, String> {
        let words = ["build", "--progress", "plain", "-t", name, "."];
        Running::with(s, name, &s.lab.store(), &words)
    }

    /// Any command on a store.
    fn with(s: &Scene, name: &str, store: &Path, words: &[&str]) -> Result<Running, String> {
        let log = format!("{name}.log");
        let path = s.dir.join(&log);
        let file = || std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()));
        let mut command = s.lab.straight(&s.dir, words);
        command
            .env("BRIG_ROOT", store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file()?)
            .process_group(0);
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        Ok(Running { child, log })
    }

    fn until_step(&self, s: &Scene, part: &str) -> Done {
        command::until(&format!("the step {part}"), soon(), || {
            s.read(&self.log).is_ok_and(|text| text.contains(part))
        })
    }

    pub fn signal(&self, name: &str) -> Done {
        let pid = self.child.id().to_string();
        let mut kill = std::process::Command::new("kill");
        // Whoever is done already is not there any more, and that is fine.
        command::run(kill.args([&format!("-{name}"), &pid]), "", soon()).map(|_| ())
    }

    /// Waits for its end; the exit code as a shell shows it.
    pub fn end(mut self) -> Result<i32, String> {
        let mut ended = None;
        command::until("the end of the build", patience::seconds(60), || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        Ok(ended.map_or(-1, command::shell_code))
    }
}
