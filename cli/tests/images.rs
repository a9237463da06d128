//! The commands on images of one store, from an archive that is made here: what they print and what they leave.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct World {
    directory: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let directory = std::env::temp_dir().join(format!("brig-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("root/etc")).unwrap();
        std::fs::create_dir_all(directory.join("config")).unwrap();
        std::fs::write(directory.join("root/etc/motd"), "hello\n").unwrap();
        let tar = Command::new("tar")
            .args(["-C", "root", "-cf", "root.tar", "."])
            .current_dir(&directory)
            .status()
            .unwrap();
        assert!(tar.success());
        World { directory }
    }

    fn brig(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_brig"))
            .arg0("docker")
            .args(args)
            .current_dir(&self.directory)
            .env("BRIG_ROOT", self.directory.join("store"))
            .env("DOCKER_CONFIG", self.directory.join("config"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command that succeeds prints.
    fn says(&self, args: &[&str]) -> String {
        let output = self.brig(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and complaint of one that does not.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.brig(args);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_root() -> bool {
    let root = sys::cred::effective_uid() == 0;
    if !root {
        println!("skipped: an ordinary user's store is another test's matter");
    }
    root
}

#[test]
fn an_image_from_its_import_to_its_end() {
    if !is_root() {
        return;
    }
    let world = World::new("life");
    let id = world.says(&[
        "import",
        "-m",
        "made here",
        "-c",
        "ENV A=1",
        "-c",
        "LABEL k=v",
        "root.tar",
        "a/b:1",
    ]);
    let id = id.trim();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let short = &id[7..19];

    assert_eq!(world.says(&["tag", short, "w"]), "");
    assert_eq!(world.says(&["image", "tag", "a/b:1", "localhost:5000/x:2"]), "");
    assert_eq!(
        world.says(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]),
        format!("a/b:1 {short}\nw:latest {short}\nlocalhost:5000/x:2 {short}\n")
    );
    assert_eq!(
        world.says(&["images", "-q", "--no-trunc", "w*"]),
        format!("{id}\n")
    );
    assert_eq!(world.says(&["images", "-q", "-f", "label=k=w"]), "");
    assert_eq!(world.says(&["images", "-q", "-f", "dangling=true"]), "");
    assert_eq!(
        world.says(&["inspect", "-f", "{{.ID}} {{.RepoTags}} {{.Config.Env}}", "w"]),
        format!("{id} [a/b:1 w:latest localhost:5000/x:2] [A=1]\n")
    );
    assert_eq!(
        world.says(&["image", "inspect", "-f", "{{.Id}} {{.Os}}", "w"]),
        format!("{id} linux\n")
    );
    assert_eq!(
        world.says(&["history", "--format", "{{.ID}} {{.Comment}}", "w"]),
        format!("{short} made here\n")
    );
    assert!(
        world
            .says(&["system", "df"])
            .contains("\nImages          1         0 ")
    );

    let (code, complaint) = world.fails(&["rmi", short]);
    assert_eq!(code, 1);
    assert_eq!(
        complaint,
        format!(
            "Error response from daemon: conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories\n"
        )
    );
    assert_eq!(world.says(&["rmi", "w"]), "Untagged: w:latest\n");
    let last = world.says(&["image", "rm", "-f", short]);
    assert!(
        last.starts_with("Untagged: a/b:1\nUntagged: localhost:5000/x:2\nDeleted: sha256:"),
        "{last}"
    );
    assert_eq!(world.says(&["images", "-q"]), "");
    assert_eq!(world.says(&["system", "check"]), "The store is sound.\n");
    assert_eq!(
        world.says(&["image", "prune", "-f"]),
        "Total reclaimed space: 0B\n"
    );
}

#[test]
fn what_is_not_there() {
    if !is_root() {
        return;
    }
    let world = World::new("missing");
    for (args, code, complaint) in [
        (
            &["rmi", "x"][..],
            1,
            "Error response from daemon: No such image: x:latest\n",
        ),
        (
            &["rmi", "-f", "x"],
            0,
            "Error response from daemon: No such image: x:latest\n",
        ),
        (
            &["image", "inspect", "x"],
            1,
            "Error response from daemon: No such image: x:latest\n",
        ),
        (&["inspect", "x"], 1, "error: no such object: x\n"),
        (
            &["inspect", "--type", "container", "x"],
            1,
            "Error response from daemon: No such container: x\n",
        ),
        (
            &["history", "x"],
            1,
            "Error response from daemon: No such image: x:latest\n",
        ),
        (
            &["images", "-f", "nope=1"],
            1,
            "Error response from daemon: invalid filter 'nope'\n",
        ),
        (
            &["image", "prune", "-f", "--filter", "nope=1"],
            1,
            "Error response from daemon: invalid filter 'nope'\n",
        ),
        (
            &["images", "ls"],
            0,
            "No images found matching \"ls\": did you mean \"docker image ls\"?\n",
        ),
        (&["image", "ls", "ls"], 0, ""),
        (
            &["load", "-i", "nope.tar"],
            1,
            "open nope.tar: no such file or directory\n",
        ),
    ] {
        assert_eq!(world.fails(args), (code, complaint.to_owned()), "{args:?}");
    }
    // Nobody can answer, so it is a no.
    let output = world.brig(&["image", "prune"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    );
}

#[test]
fn the_users_own_format() {
    if !is_root() {
        return;
    }
    let world = World::new("format");
    world.says(&["import", "root.tar", "a:1"]);
    let config = world.directory.join("config/config.json");
    std::fs::write(&config, r#"{"imagesFormat":"{{.Tag}}"}"#).unwrap();
    assert_eq!(world.says(&["images"]), "1\n");
    assert_eq!(world.says(&["images", "--format", "{{.Repository}}"]), "a\n");
    std::fs::write(&config, "{bad").unwrap();
    let (code, warning) = world.fails(&["images"]);
    assert_eq!(code, 0);
    assert!(
        warning.starts_with("WARNING: Error parsing config file (") && warning.contains("config.json"),
        "{warning}"
    );
    assert!(Path::new(&config).exists());
}

#[test]
fn inspect_says_where_the_layers_lie() {
    if !is_root() {
        return;
    }
    let world = World::new("driver");
    let output = Command::new(env!("CARGO_BIN_EXE_brig"))
        .args(["import", "root.tar", "a:1"])
        .current_dir(&world.directory)
        .env("BRIG_ROOT", world.directory.join("store"))
        .env("BRIG_LAYERS", "tree")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let format = "{{.GraphDriver.Name}}\n{{.GraphDriver.Data.UpperDir}}\n{{.GraphDriver.Data.MergedDir}}\n{{.GraphDriver.Data.LowerDir}}";
    let said = world.says(&["inspect", "-f", format, "a:1"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "overlay2");
    let motd = Path::new(lines[1]).join("etc/motd");
    assert_eq!(std::fs::read_to_string(motd).unwrap(), "hello\n");
    // Of one layer Docker says no LowerDir, either.
    assert_eq!(lines[3], "<no value>");
    let merged = world.says(&["image", "mount", "a:1"]);
    assert_eq!(merged.trim(), lines[2]);
    world.says(&["image", "unmount", "a:1"]);
    assert!(
        world
            .says(&["inspect", "a:1"])
            .contains("\"GraphDriver\": {\n            \"Data\": {\n")
    );
}

#[test]
fn info_says_what_is_so() {
    if !is_root() {
        return;
    }
    let world = World::new("info");
    world.says(&["import", "root.tar", "a:1"]);
    let json = world.says(&["info", "--format", "{{json .}}"]);
    let info: serde_json::Value = serde_json::from_str(&json).unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (field, expected) in [
        ("Images", serde_json::json!(1)),
        ("Containers", 0.into()),
        ("ServerVersion", "29.7.2".into()),
        ("KernelVersion", kernel.trim().into()),
        ("Name", host.trim().into()),
        ("OSType", "linux".into()),
        ("Architecture", std::env::consts::ARCH.into()),
        (
            "DockerRootDir",
            world.directory.join("store").display().to_string().into(),
        ),
    ] {
        assert_eq!(info[field], expected, "{field}");
    }
    assert!(info["MemTotal"].as_i64().unwrap() > 1 << 20);
    assert!(info["NCPU"].as_i64().unwrap() > 0);
    assert!(["1", "2"].contains(&info["CgroupVersion"].as_str().unwrap()));
    assert!(["cgroupfs", "systemd"].contains(&info["CgroupDriver"].as_str().unwrap()));
    assert_eq!(
        info["ID"]
            .as_str()
            .unwrap()
            .split('-')
            .map(str::len)
            .collect::<Vec<_>>(),
        [8, 4, 4, 4, 12]
    );
    assert_eq!(
        info["ID"],
        serde_json::from_str::<serde_json::Value>(&world.says(&["info", "-f", "{{json .ID}}"])).unwrap()
    );
    let options = info["SecurityOptions"].as_array().unwrap();
    assert!(
        options.contains(&"name=seccomp,profile=builtin".into()),
        "{options:?}"
    );
    assert_eq!(
        world.says(&["info", "-f", "{{.Swarm.LocalNodeState}}"]),
        "inactive\n"
    );
    let text = world.says(&["info"]);
    for line in [
        "\n Images: 1\n",
        "\n Security Options:\n",
        "\n  seccomp\n   Profile: builtin\n",
        "\n Kernel Version: ",
        "\n Debug Mode: false\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

/// The driver is the one that a bundle gets: with the right to mount, and without it.
#[test]
fn info_says_the_driver_in_use() {
    if !is_root() {
        return;
    }
    let world = World::new("in-use");
    for bounds in ["+all", "-sys_admin"] {
        let run = |args: &[&str]| {
            let output = Command::new("setpriv")
                .args(["--bounding-set", bounds, env!("CARGO_BIN_EXE_brig")])
                .args(args)
                .current_dir(&world.directory)
                .env("BRIG_ROOT", world.directory.join("store"))
                .env("BRIG_LAYERS", "tree")
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            (
                String::from_utf8(output.stdout).unwrap(),
                String::from_utf8(output.stderr).unwrap(),
            )
        };
        run(&["import", "-c", "CMD x", "root.tar", "a:1"]);
        let (driver, _) = run(&[
            "info",
            "-f",
            "{{.Driver}}{{range .DriverStatus}} {{index . 0}}{{end}}",
        ]);
        let (_, told) = run(&["bundle", "a:1", "bundle"]);
        run(&["unbundle", "bundle"]);
        if bounds == "-sys_admin" {
            assert_eq!(driver, "vfs Layers Copied because Store\n");
        }
        assert_eq!(
            driver.starts_with("vfs"),
            told.contains("layers were copied"),
            "{driver} {told}"
        );
    }
}

#[test]
fn global_flags_come_before_the_command() {
    if !is_root() {
        return;
    }
    let world = World::new("global");
    for args in [
        &["-D", "images", "-q"][..],
        &["--debug", "-l", "debug", "images", "-q"],
        &["--log-level=warn", "images", "-q"],
        &["-lerror", "image", "ls", "-q"],
    ] {
        assert_eq!(world.says(args), "", "{args:?}");
    }
    assert_eq!(
        world.says(&["-D", "info", "-f", "{{.ClientInfo.Debug}}"]),
        "true\n"
    );
    let wrong = world.fails(&["--log-level", "loud", "images"]);
    assert_eq!(wrong, (1, "Unable to parse logging level: loud\n".to_owned()));
    assert_eq!(world.fails(&["images", "-D"]).0, 125);
}

#[test]
fn logout_forgets() {
    let world = World::new("logout");
    let config = world.directory.join("config/config.json");
    std::fs::write(
        &config,
        r#"{"auths":{"registry.example.com":{"auth":"dTpw"},"https://index.docker.io/v1/":{"auth":"dTpw"}},"imagesFormat":"x"}"#,
    )
    .unwrap();
    assert_eq!(
        world.says(&["logout", "https://registry.example.com/v2/"]),
        "Removing login credentials for registry.example.com\n"
    );
    assert_eq!(
        world.says(&["logout"]),
        "Removing login credentials for https://index.docker.io/v1/\n"
    );
    let left = std::fs::read_to_string(&config).unwrap();
    assert!(!left.contains("dTpw") && left.contains("imagesFormat"), "{left}");
    // Once more is no mistake.
    world.says(&["logout"]);
}
