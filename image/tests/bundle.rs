//! Bundles against the kernel and against runtimes. Each test runs again, alone, in a mount namespace of its own.
//!
//! The runtimes are `runb` of the same build (or `RUNB`) and `runc`, where they are.

#![allow(clippy::unwrap_used, clippy::panic)]

mod played;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use image::Kind;
use image::bundle::{self, IdMaps, Options, Removed, Request};
use image::mount::{self, Driver, Layer, mounts_below};
use image::oci::ImageConfig;
use sys::process::{Block, Exit, Forked};

use played::{Bench, inside, mounts, names, read, run};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What Docker's fourteen are in a mask.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";

/// Two layers with a busybox in them, and what is said about them.
struct Played {
    bench: Bench,
    image: ImageConfig,
    layers: Vec<Layer>,
}

impl Played {
    fn new(run: &str) -> Played {
        let bench = Bench::new();
        std::fs::set_permissions(bench.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        let bin = bench.dir("layers/0/bin");
        std::fs::copy("/usr/bin/busybox", bin.join("busybox")).unwrap();
        for name in [
            "sh", "id", "env", "cat", "grep", "true", "sleep", "ls", "hostname", "unshare", "pwd",
        ] {
            symlink("busybox", bin.join(name)).unwrap();
        }
        for name in ["proc", "sys", "dev", "tmp"] {
            bench.dir(&format!("layers/0/{name}"));
        }
        bench.file(
            "layers/0/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n",
        );
        bench.file(
            "layers/0/etc/group",
            "root:x:0:\nadm:x:4:root\nwww:x:33:\nweb:x:50:www\n",
        );
        bench.file("layers/0/gone", "");
        bench.whiteout("layers/1/gone");
        bench.file("layers/1/etc/release", "played\n");
        bench.dir("bundles");
        let image = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{run},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        Played {
            image: ImageConfig::parse(image.as_bytes()).unwrap(),
            layers: (0..2)
                .map(|n| Layer::Tree(bench.path(&format!("layers/{n}"))))
                .collect(),
            bench,
        }
    }

    fn dir(&self) -> PathBuf {
        self.bench.path("bundle")
    }

    fn bundles(&self) -> PathBuf {
        self.bench.path("bundles")
    }

    fn create(&self, options: &Options) -> image::Result<mount::Mounted> {
        self.create_with(options, mount::Options::default())
    }

    fn create_with(&self, options: &Options, mount: mount::Options) -> image::Result<mount::Mounted> {
        let request = Request {
            image: &self.image,
            image_name: "played",
            layers: &self.layers,
            dir: &self.dir(),
            bundles: &self.bundles(),
            id: ID,
            mount,
        };
        bundle::create(&request, options)
    }

    fn remove(&self) -> image::Result<Removed> {
        bundle::remove(&self.bundles(), &self.dir())
    }

    /// Nothing of a bundle is there any more.
    fn is_clean(&self, mounts_before: usize) {
        assert!(!self.dir().exists(), "{:?}", names(&self.dir()));
        assert_eq!(names(&self.bundles()), Vec::<String>::new());
        assert_eq!(mounts(), mounts_before);
    }
}

fn shell(script: &str) -> Options {
    Options {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

/// Those that are there, with a name each.
fn runtimes() -> Vec<(&'static str, PathBuf)> {
    let built = std::env::current_exe().unwrap();
    let runb = std::env::var_os("RUNB")
        .map_or_else(|| built.ancestors().nth(2).unwrap().join("runb"), PathBuf::from);
    let all = [("runb", runb), ("runc", PathBuf::from("/usr/sbin/runc"))];
    let (there, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, path)| path.exists());
    for (name, path) in missing {
        println!("skip image.bundle: no {name} at {}", path.display());
    }
    there
}

fn runtime(program: &Path, root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(root).args(args);
    command
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn run_in(program: &Path, played: &Played, name: &str) -> String {
    let output = runtime(program, &played.bench.dir("state"), &["run", "-b"])
        .arg(played.dir())
        .arg(format!("{name}-{}", std::process::id()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_runs_as_docker_would_run_it() {
    if !inside("it_runs_as_docker_would_run_it") {
        return;
    }
    let played = Played::new(
        r#"{"User":"www","Env":["PATH=/bin","A=b c"],"WorkingDir":"/srv/deep","Entrypoint":["sh","-c"],
            "Cmd":["id; pwd; echo $A:$HOME; hostname; ls -ld /data/x; cat /etc/release; ls /gone; cat /proc/self/status; true"],
            "Volumes":{"/data/x":{}},"Labels":{"l":"1"}}"#,
    );
    let before = mounts();
    for (name, program) in runtimes() {
        let made = played.create(&Options::default()).unwrap();
        assert!(matches!(made.driver, Driver::Overlay(_)));
        assert_eq!(
            names(&played.dir()),
            ["brig-bundle.json", "config.json", "rootfs"]
        );
        let said = run_in(&program, &played, name);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "uid=33(www) gid=33(www) groups=33(www),50(web)",
                "/srv/deep",
                "b c:/var/www",
                &ID[..12]
            ],
            "{name}"
        );
        assert!(
            lines[4].starts_with("drwxr-xr-x    2 root     root"),
            "{}",
            lines[4]
        );
        assert_eq!(lines[5], "played", "{said}");
        for (key, value) in [
            ("CapBnd", DEFAULT_CAPABILITIES),
            ("CapEff", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("NoNewPrivs", "0"),
            ("Seccomp", "2"),
        ] {
            let line = lines.iter().find(|l| l.starts_with(&format!("{key}:"))).unwrap();
            assert_eq!(line.split('\t').nth(1), Some(value), "{name}: {line}");
        }
        assert_eq!(played.remove().unwrap(), Removed::Bundle);
        played.is_clean(before);
        assert_eq!(played.remove().unwrap(), Removed::Nothing);
    }
}

#[test]
fn root_has_dockers_rights_and_no_others() {
    if !inside("root_has_dockers_rights_and_no_others") {
        return;
    }
    let played = Played::new(r#"{"Env":["PATH=/bin"]}"#);
    for (name, program) in runtimes() {
        played
            .create(&shell(
                "id; grep CapEff /proc/self/status; unshare -m true 2>/dev/null || echo refused; \
                 cat /proc/kcore | busybox wc -c; echo x 2>/dev/null > /proc/sys/kernel/hostname || echo read-only; \
                 echo changed > /etc/release; busybox wc -c < /dev/zero 2>/dev/null & \
                 busybox df -k /dev/shm | busybox tail -n 1; kill $!; busybox head -c 1 /dev/kmsg 2>/dev/null || echo none",
            ))
            .unwrap();
        let said = run_in(&program, &played, name);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[0], "uid=0(root) gid=0(root) groups=0(root),4(adm)",
            "{name}"
        );
        assert_eq!(lines[1], format!("CapEff:\t{DEFAULT_CAPABILITIES}"), "{name}");
        assert_eq!(lines[2..5], ["refused", "0", "read-only"], "{name}: {said}");
        assert!(lines[5].contains(" 65536 "), "{name}: {said}");
        assert_eq!(lines[6], "none");
        let upper = played.bundles().join(ID).join("upper/etc/release");
        assert_eq!(read(&upper).as_deref(), Some("changed\n"));
        played.remove().unwrap();
        // The layers are as they were.
        assert_eq!(
            read(&played.bench.path("layers/1/etc/release")).as_deref(),
            Some("played\n")
        );
    }
}

#[test]
fn a_running_container_is_not_pulled_from_under() {
    if !inside("a_running_container_is_not_pulled_from_under") {
        return;
    }
    let played = Played::new(r#"{"Env":["PATH=/bin"]}"#);
    let before = mounts();
    for (name, program) in runtimes() {
        for copy in [false, true] {
            let options = mount::Options {
                copy,
                ..mount::Options::default()
            };
            let made = played.create_with(&shell("sleep 1000"), options).unwrap();
            assert_eq!(made.driver == Driver::Copy, copy);
            let (root, id) = (played.bench.dir("state"), format!("b{}", std::process::id()));
            let output = runtime(&program, &root, &["run", "-d", "-b"])
                .arg(played.dir())
                .arg(&id)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert!(output.success(), "{name}");
            let error = played.remove().unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "{name}: {error}");
            assert!(error.to_string().contains("still runs"), "{error}");
            assert!(played.dir().join("config.json").exists());
            let deleted = runtime(&program, &root, &["delete", "-f", &id]).output().unwrap();
            assert!(deleted.status.success(), "{}", text(&deleted));
            // Somebody who looks at it.
            let file = std::fs::File::open(played.dir().join("rootfs/etc/release")).unwrap();
            if !copy {
                let error = played.remove().unwrap_err();
                assert_eq!(error.kind(), Kind::Conflict, "{error}");
                assert!(error.to_string().contains("files open"), "{error}");
            }
            drop(file);
            assert_eq!(played.remove().unwrap(), Removed::Bundle, "{name}");
            played.is_clean(before);
        }
    }
}

#[test]
fn a_bundle_that_cannot_be_leaves_nothing() {
    if !inside("a_bundle_that_cannot_be_leaves_nothing") {
        return;
    }
    let mut played = Played::new(r#"{"Cmd":["true"]}"#);
    let before = mounts();
    let who = |user: &str| Options {
        user: Some(user.to_owned()),
        ..Options::default()
    };
    let error = played.create(&who("nobody")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unable to find user nobody: no matching entries in passwd file"
    );
    played.is_clean(before);
    played.image.config.cmd = None;
    let error = played.create(&Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "no command specified");
    played.is_clean(before);
    played.layers.push(Layer::Tree(played.bench.path("nowhere")));
    let error = played.create(&shell("true")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    played.is_clean(before);
    played.layers.pop();
    played.bench.file("bundle/mine", "x");
    let error = played.create(&shell("true")).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert_eq!(names(&played.dir()), ["mine"]);
    std::fs::remove_file(played.dir().join("mine")).unwrap();
    // A directory that was there stays.
    played.create(&shell("true")).unwrap();
    let other = Request {
        image: &played.image,
        image_name: "played",
        layers: &played.layers,
        dir: &played.bench.path("other"),
        bundles: &played.bundles(),
        id: ID,
        mount: mount::Options::default(),
    };
    let error = bundle::create(&other, &shell("true")).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert!(!played.bench.path("other").exists());
    played.remove().unwrap();
    assert_eq!(names(&played.dir()), Vec::<String>::new());
}

#[test]
fn files_of_the_image_cannot_point_out_of_it() {
    if !inside("files_of_the_image_cannot_point_out_of_it") {
        return;
    }
    let played = Played::new(r#"{"User":"me","Volumes":{"/out/volume":{}},"WorkingDir":"/up/../../dir"}"#);
    let layer = played.bench.path("layers/0");
    let outside = played.bench.file("outside/passwd", "me:x:7:7::/:\n");
    for (link, to) in [
        ("out", played.bench.path("outside")),
        ("up", PathBuf::from("../../..")),
    ] {
        symlink(to, layer.join(link)).unwrap();
    }
    std::fs::remove_file(layer.join("etc/passwd")).unwrap();
    symlink(&outside, layer.join("etc/passwd")).unwrap();
    let error = played.create(&shell("true")).unwrap_err();
    assert!(error.to_string().contains("unable to find user me"), "{error}");
    // A FIFO does not hang us.
    std::fs::remove_file(layer.join("etc/passwd")).unwrap();
    run("mkfifo", &[layer.join("etc/passwd").to_str().unwrap()]);
    let error = played.create(&shell("true")).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    std::fs::remove_file(layer.join("etc/passwd")).unwrap();
    let root = Options {
        user: Some("0".into()),
        ..shell("true")
    };
    // The link leads to a directory that the image does not have.
    let error = played.create(&root).unwrap_err();
    assert!(error.to_string().contains("/out/volume"), "{error}");
    let inner = layer.join(played.bench.path("outside").strip_prefix("/").unwrap());
    std::fs::create_dir_all(inner).unwrap();
    played.create(&root).unwrap();
    assert_eq!(names(&played.bench.path("outside")), ["passwd"]);
    assert!(played.dir().join("rootfs/mnt/outside/volume").is_dir());
    assert!(played.dir().join("rootfs/dir").is_dir());
    played.remove().unwrap();
}

/// A killed process of ours: the same test once more, told what to do by its environment.
fn create_in_child(copy: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_at_any_moment", "--nocapture"])
        .env("IMAGE_TEST_CREATE", copy)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment() {
    if !inside("killed_at_any_moment") {
        return;
    }
    if let Some(copy) = std::env::var_os("IMAGE_TEST_CREATE") {
        let bench = Path::new("/mnt");
        let image = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
        )
        .unwrap();
        let layers = [0, 1].map(|n| Layer::Tree(bench.join(format!("layers/{n}"))));
        let request = Request {
            image: &image,
            image_name: "played",
            layers: &layers,
            dir: &bench.join("bundle"),
            bundles: &bench.join("bundles"),
            id: ID,
            mount: mount::Options {
                copy: copy == "copy",
                ..mount::Options::default()
            },
        };
        bundle::create(&request, &shell("true")).unwrap();
        return;
    }
    let played = Played::new("{}");
    for n in 0..300 {
        played.bench.file(&format!("layers/0/many/{n}"), "x");
    }
    for copy in ["mount", "copy"] {
        kill_at_many_moments(&played, copy);
    }
}

fn kill_at_many_moments(played: &Played, copy: &str) {
    const TIMES: u32 = 50;
    let before = mounts();
    let started = Instant::now();
    assert!(create_in_child(copy).wait().unwrap().success());
    let whole = started.elapsed();
    played.remove().unwrap();
    let (mut begun, mut complete) = (0, 0);
    for n in 0..TIMES {
        let moment = Instant::now() + whole * n / TIMES;
        let mut child = create_in_child(copy);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        begun += u32::from(played.dir().join("brig-bundle.json").exists());
        complete += u32::from(played.dir().join("config.json").exists());
        played.remove().unwrap_or_else(|e| panic!("{n}: {e}"));
        bundle::sweep(&played.bundles()).unwrap();
        if played.dir().exists() {
            // Before there was a record: nothing is in it.
            std::fs::remove_dir(played.dir()).unwrap();
        }
        played.is_clean(before);
    }
    println!("{copy}: of {TIMES} {begun} had begun, {complete} were complete");
    assert!(complete < TIMES && begun > 0);
}

#[test]
fn after_a_reboot_or_without_its_directory() {
    if !inside("after_a_reboot_or_without_its_directory") {
        return;
    }
    let played = Played::new("{}");
    let before = mounts();
    played.create(&shell("true")).unwrap();
    std::fs::write(played.dir().join("rootfs/new"), "").unwrap();
    run("umount", &[played.dir().join("rootfs").to_str().unwrap()]);
    assert_eq!(played.remove().unwrap(), Removed::Bundle);
    played.is_clean(before);

    played.create(&shell("true")).unwrap();
    run("umount", &[played.dir().join("rootfs").to_str().unwrap()]);
    std::fs::remove_dir_all(played.dir()).unwrap();
    let [record] = &bundle::list(&played.bundles()).unwrap()[..] else {
        panic!()
    };
    assert_eq!((record.id.as_str(), record.image.as_str()), (ID, "played"));
    assert_eq!(record.layers.len(), 2);
    assert_eq!(
        bundle::remove_recorded(&played.bundles(), record).unwrap(),
        Removed::Bundle
    );
    played.is_clean(before);

    // Of one who was killed while EROFS layers had a place.
    played.create(&shell("true")).unwrap();
    let seat = played.bundles().join(ID).join("scratch/layer-0");
    std::fs::create_dir(&seat).unwrap();
    run("mount", &["-t", "tmpfs", "layer", seat.to_str().unwrap()]);
    assert_eq!(played.remove().unwrap(), Removed::Bundle);
    played.is_clean(before);

    // What others have put there stays.
    played.create(&shell("true")).unwrap();
    std::fs::write(played.dir().join("mine"), "").unwrap();
    played.remove().unwrap();
    assert_eq!(names(&played.dir()), ["mine"]);
    assert_eq!(mounts_below(&played.dir()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn after_a_reboot_it_is_mounted_again() {
    if !inside("after_a_reboot_it_is_mounted_again") {
        return;
    }
    let played = Played::new("{}");
    let before = mounts();
    let [dir, rootfs] = [played.dir(), played.dir().join("rootfs")];
    played.create(&shell("true")).unwrap();
    let record = bundle::find(&played.bundles(), &dir).unwrap().unwrap();
    let again = || {
        let request = Request {
            image: &played.image,
            image_name: "played",
            layers: &played.layers,
            dir: &dir,
            bundles: &played.bundles(),
            id: ID,
            mount: mount::Options::default(),
        };
        bundle::mount_again(&request, &record)
    };
    assert_eq!(again().unwrap_err().kind(), Kind::Conflict);
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap() + "\n";
    std::fs::write(dir.join("config.json"), &config).unwrap();
    std::fs::write(rootfs.join("new"), "written before").unwrap();
    std::fs::remove_file(rootfs.join("etc/release")).unwrap();
    run("umount", &[rootfs.to_str().unwrap()]);
    assert_eq!(names(&rootfs), Vec::<String>::new());
    let seat = played.bundles().join(ID).join("scratch/layer-0");
    std::fs::create_dir(seat).unwrap();

    assert!(matches!(again().unwrap().driver, Driver::Overlay(_)));
    assert_eq!(read(&rootfs.join("new")).as_deref(), Some("written before"));
    assert!(!rootfs.join("etc/release").exists());
    assert!(!rootfs.join("gone").exists());
    assert!(rootfs.join("bin/busybox").exists());
    assert_eq!(read(&dir.join("config.json")), Some(config));
    assert_eq!(again().unwrap_err().kind(), Kind::Conflict);
    assert_eq!(played.remove().unwrap(), Removed::Bundle);
    played.is_clean(before);

    // One that was not finished has nothing to run.
    played.create(&shell("true")).unwrap();
    run("umount", &[rootfs.to_str().unwrap()]);
    std::fs::remove_file(dir.join("config.json")).unwrap();
    assert!(again().unwrap_err().to_string().contains("unbundle"));
    assert_eq!(played.remove().unwrap(), Removed::Bundle);
    played.is_clean(before);
}

/// As an ordinary user: with one id, and with those that /etc/subuid grants.
#[test]
fn an_ordinary_user_runs_it() {
    if !inside("an_ordinary_user_runs_it") {
        return;
    }
    const USER: u32 = 1000;
    let played = Played::new(r#"{"Env":["PATH=/bin"]}"#);
    let granted = played.bench.file("granted", "1000:100000:65536\n");
    for file in ["/etc/subuid", "/etc/subgid"] {
        run("mount", &["--bind", granted.to_str().unwrap(), file]);
    }
    let (many, why) = IdMaps::of_user(USER, USER).unwrap();
    assert_eq!((many.uids.len(), why), (2, None));
    std::fs::write(&granted, "").unwrap();
    let (one, why) = IdMaps::of_user(USER, USER).unwrap();
    assert_eq!(one.uids, [(0, USER, 1)]);
    assert!(why.unwrap().contains("/etc/subuid"));
    std::fs::write(&granted, "1000:100000:65536\n").unwrap();
    let before = mounts();
    for (ids, want) in [
        (one, "uid=0(root) gid=0(root)"),
        (many, "uid=33(www) gid=33(www)"),
    ] {
        let user = if ids.uids.len() > 1 { "www" } else { "root" };
        let options = Options {
            user: Some(user.to_owned()),
            host_network: true,
            ids: Some(ids),
            ..shell("id; echo x > /tmp/x && cat /tmp/x")
        };
        // As an unpacker in that namespace would have left them.
        for layer in ["layers/0", "layers/1"] {
            run(
                "chown",
                &["-hR", "1000:1000", played.bench.path(layer).to_str().unwrap()],
            );
        }
        run(
            "chmod",
            &["1777", played.bench.path("layers/0/tmp").to_str().unwrap()],
        );
        for (name, program) in runtimes() {
            let made = played.create(&options).unwrap();
            assert_eq!(made.driver, Driver::Copy);
            let (root, home) = (played.bench.dir("user-state"), played.bench.dir("home"));
            for path in [&root, &home] {
                std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
            }
            let mut words = vec!["--reuid=1000", "--regid=1000", "--clear-groups", "--"];
            let (program, root) = (program.to_str().unwrap(), root.to_str().unwrap());
            let (dir, id) = (played.dir(), format!("r{}", std::process::id()));
            words.extend([program, "--root", root, "run", "-b", dir.to_str().unwrap(), &id]);
            let output = Command::new("setpriv")
                .args(words)
                .env("XDG_RUNTIME_DIR", &home)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = text(&output);
            assert!(output.status.success(), "{name}: {said}");
            assert!(said.starts_with(want), "{name}: {said}");
            assert!(said.ends_with("x\n"), "{name}: {said}");
            played.remove().unwrap();
            played.is_clean(before);
        }
    }
}

/// An ordinary user all along: makes, runs and removes.
#[test]
fn an_ordinary_user_makes_it() {
    if let Some(what) = std::env::var_os("IMAGE_TEST_ROOTLESS") {
        // In a copy that has one thread.
        let body = || ordinary_user(what.to_str().unwrap());
        match sys::process::fork(0, None).unwrap() {
            Forked::Child => sys::process::exit_now(i32::from(std::panic::catch_unwind(body).is_err())),
            Forked::Parent { pid, .. } => {
                let exit = sys::process::wait_pid(pid, Block::Yes).unwrap();
                assert_eq!(exit, Some(Exit::Code(0)));
            }
        }
        return;
    }
    if !inside("an_ordinary_user_makes_it") {
        return;
    }
    let played = Played::new("{}");
    let granted = played.bench.file("granted", "1000:100000:65536\n");
    for file in ["/etc/subuid", "/etc/subgid"] {
        run("mount", &["--bind", granted.to_str().unwrap(), file]);
    }
    run("chown", &["-hR", "1000:1000", "/mnt"]);
    for grants in ["1000:100000:65536\n", ""] {
        std::fs::write(&granted, grants).unwrap();
        // Of the ids before.
        run("rm", &["-rf", "/mnt/layers/1/home", "/mnt/user-state"]);
        for (name, program) in runtimes() {
            let as_user = |what: &str| {
                let output = Command::new("setpriv")
                    .args(["--reuid=1000", "--regid=1000", "--clear-groups", "--"])
                    .arg(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "an_ordinary_user_makes_it",
                        "--test-threads=1",
                        "--nocapture",
                    ])
                    .env("IMAGE_TEST_ROOTLESS", what)
                    .env("IMAGE_TEST_RUNTIME", &program)
                    .env("XDG_RUNTIME_DIR", played.bench.path(""))
                    .output()
                    .unwrap();
                let said = text(&output);
                assert!(output.status.success(), "{name} {what}: {said}");
                said
            };
            as_user("create");
            let said = as_user("run");
            let want = match grants {
                "" => "uid=0(root) gid=0(root)",
                _ => "uid=33(www) gid=33(www)",
            };
            assert!(said.contains(want), "{name}: {said}");
            assert!(said.contains("wrote"), "{name}: {said}");
            as_user("remove");
            assert!(!played.dir().exists());
            assert_eq!(names(&played.bundles()), Vec::<String>::new());
        }
    }
}

fn ordinary_user(what: &str) {
    let bench = Path::new("/mnt");
    let (bundles, dir) = (bench.join("bundles"), bench.join("bundle"));
    let (ids, _) = IdMaps::of_user(1000, 1000).unwrap();
    let is_www = ids.uids.len() > 1;
    if what == "run" {
        let state = bench.join("user-state");
        std::fs::create_dir_all(&state).unwrap();
        let program = PathBuf::from(std::env::var_os("IMAGE_TEST_RUNTIME").unwrap());
        let output = runtime(&program, &state, &["run", "-b", "/mnt/bundle", "r1"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        println!("{}", text(&output));
        assert!(output.status.success());
        return;
    }
    ids.enter().unwrap();
    assert_eq!(sys::process::effective_ids(), (0, 0));
    if what == "remove" {
        assert_eq!(bundle::remove(&bundles, &dir).unwrap(), Removed::Bundle);
        return;
    }
    let layers = [0, 1].map(|n| Layer::Tree(bench.join(format!("layers/{n}"))));
    let home = bench.join("layers/1/home");
    std::fs::create_dir_all(&home).unwrap();
    if is_www {
        std::os::unix::fs::chown(&home, Some(33), Some(33)).unwrap();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    } else {
        std::os::unix::fs::chown(&home, Some(0), Some(0)).unwrap();
    }
    let image = ImageConfig::parse(
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
    )
    .unwrap();
    let request = Request {
        image: &image,
        image_name: "played",
        layers: &layers,
        dir: &dir,
        bundles: &bundles,
        id: ID,
        mount: mount::Options::default(),
    };
    let options = Options {
        user: is_www.then(|| "www".to_owned()),
        env: vec!["PATH=/bin".to_owned()],
        host_network: true,
        ids: Some(ids),
        ..shell("id; echo wrote > /home/x && cat /home/x")
    };
    let made = bundle::create(&request, &options).unwrap();
    assert_eq!(made.driver, Driver::Copy);
    assert!(made.why.unwrap().contains("not asked for"));
}
