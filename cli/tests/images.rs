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
            "error: no such container: x\n",
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
