//! Stores of ordinary users: with a range of ids, with one that is too small, and with their own id alone.
//!
//! May not: change the machine's accounts. `/etc` is the played host's own.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::command::{self, Outcome, USUAL};

use crate::case::{Case, Done, Need, Scene, case, has, is, names, refused};
use crate::fixtures::MESSAGE;
use crate::lab;

/// Name, id, and what `/etc/subuid` and `/etc/subgid` grant.
const RICH: (&str, u32, Option<(u32, u32)>) = ("rich", 5001, Some((1_000_000, 4_000_000)));
const POOR: (&str, u32, Option<(u32, u32)>) = ("poor", 5002, Some((100_000, 65_536)));
const LONE: (&str, u32, Option<(u32, u32)>) = ("lone", 5003, None);

pub fn cases() -> Vec<Case> {
    vec![
        case("rootless.range", &[Need::Brig], |s| {
            let user = User::arrive(s, RICH)?;
            let reference = s.lab.plain.reference("many:1");
            let pulled = user.brig(s, &["pull", &reference])?;
            is("warnings", &pulled.stderr, "")?;
            has(
                "output",
                &pulled.ok()?,
                "devices were left out, which only root may make: 3\n",
            )?;
            is("its root is closed", mode_of(&user.store())?, "700")?;
            // Root of the user's namespace is the user, and 1000 there the thousandth of the range.
            let owned = |path: &str, inside: u32| -> Done {
                let first = RICH.2.map_or(0, |(first, _)| first);
                let outside = if inside == 0 { RICH.1 } else { first + inside - 1 };
                let file =
                    find(&user.store().join("layers"), path).ok_or(format!("no {path} in the store"))?;
                is(path, meta(&file)?.uid(), outside)
            };
            owned("kinds/a", 0)?;
            owned("kinds/suid", 1000)?;
            owned("kinds/great-pax", 3_000_000)?;
            let bundle = user.path("bundle");
            let made = user.brig(s, &["bundle", &reference, &bundle])?;
            has("what is said of the copy", &made.stderr, "layers were copied")?;
            made.ok()?;
            let seen = "cd /kinds && stat -c '%u:%g %a %n' suid sgid setgid great-pax && \
                ls /data/opaque /data/dir && test ! -e /data/gone && cat /message";
            let expected = "1000:1001 4755 suid\n0:50 2755 sgid\n0:1001 2775 setgid\n3000000:3000001 644 great-pax\n\
                /data/dir:\nb\n\n/data/opaque:\nnew\n";
            is(
                "what it shows",
                user.run(s, &bundle, seen)?,
                format!("{expected}{MESSAGE}"),
            )?;
            user.brig(s, &["unbundle", &bundle])?.ok()?;
            is("the bundle", Path::new(&bundle).exists(), false)?;
            user.carries_and_leaves(s)
        }),
        case("rootless.single-id", &[Need::Brig], |s| {
            let user = User::arrive(s, LONE)?;
            let reference = s.lab.plain.reference("many:1");
            let pulled = user.brig(s, &["pull", "-q", &reference])?;
            has(
                "warning",
                &pulled.stderr,
                "all files will belong to one user: /etc/subuid",
            )?;
            is("output", pulled.ok()?, &reference)?;
            strangers(&user.home, LONE.1)?;
            let bundle = user.path("bundle");
            user.brig(s, &["bundle", &reference, &bundle])?.ok()?;
            let seen = "stat -c '%u:%g %n' /kinds/suid /kinds/great-pax && ls /data/opaque && cat /message";
            is(
                "what it shows",
                user.run(s, &bundle, seen)?,
                format!("0:0 /kinds/suid\n0:0 /kinds/great-pax\nnew\n{MESSAGE}"),
            )?;
            user.brig(s, &["unbundle", &bundle])?.ok()?;
            user.carries_and_leaves(s)
        }),
        case("rootless.range-too-small", &[Need::Brig], |s| {
            // What has an owner beyond the range is refused, and it is said which owner that was; the rest is as usual.
            let user = User::arrive(s, POOR)?;
            let fitting = s.lab.plain.reference("small:1");
            user.brig(s, &["pull", "-q", &fitting])?.ok()?;
            let refusal = user.brig(s, &["pull", "-q", &s.lab.plain.reference("many:1")])?;
            refused(
                "pull",
                &refusal,
                &["its owner 3000000:3000001 is not among the ids"],
            )?;
            has("what is said", &refusal.stderr, "/etc/subuid")?;
            is("lines", refusal.stderr.trim().lines().count(), 1)?;
            user.brig(s, &["system", "check"])?.ok()?;
            user.brig(s, &["rmi", &fitting])?.ok()?;
            // What has come of the other stays for a user with more ids.
            user.is_empty(&["partial"])
        }),
    ]
}

/// An account of the played host, with a home below the directory of the case.
struct User {
    id: u32,
    home: PathBuf,
}

impl User {
    fn arrive(s: &Scene, (name, id, range): (&str, u32, Option<(u32, u32)>)) -> Result<User, String> {
        let home = s.dir.join(name);
        let text = |e: std::io::Error| format!("{}: {e}", home.display());
        std::fs::create_dir(&home).map_err(text)?;
        chown(&home, Some(id), Some(id)).map_err(text)?;
        let run = home.join("run");
        std::fs::create_dir(&run).map_err(text)?;
        chown(&run, Some(id), Some(id)).map_err(text)?;
        add(
            "/etc/passwd",
            &format!("{name}:x:{id}:{id}::{}:/bin/sh", home.display()),
        )?;
        add("/etc/group", &format!("{name}:x:{id}:"))?;
        if let Some((first, count)) = range {
            for file in ["/etc/subuid", "/etc/subgid"] {
                add(file, &format!("{name}:{first}:{count}"))?;
            }
        }
        Ok(User { id, home })
    }

    fn store(&self) -> PathBuf {
        self.home.join(".local/share/brig")
    }

    fn path(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }

    /// A command as that user runs it: nothing of root's environment comes along.
    fn command(&self, program: &Path) -> Command {
        let mut as_user = Command::new("setpriv");
        as_user
            .arg(format!("--reuid={0}", self.id))
            .arg(format!("--regid={0}", self.id))
            .args(["--clear-groups", "--"])
            .arg(program)
            .current_dir(&self.home)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", self.home.join("run"));
        as_user
    }

    fn brig(&self, s: &Scene, words: &[&str]) -> Result<Outcome, String> {
        lab::run(self.command(s.lab.brig_program()).args(words))
    }

    /// What a script prints in a bundle, under the runtime that comes with brig.
    fn run(&self, s: &Scene, bundle: &str, script: &str) -> Result<String, String> {
        let config = Path::new(bundle).join("config.json");
        let text = std::fs::read_to_string(&config).map_err(|e| format!("{}: {e}", config.display()))?;
        let mut document: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        document["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        std::fs::write(&config, document.to_string()).map_err(|e| format!("{}: {e}", config.display()))?;
        let mut run = self.command(&s.lab.runtime);
        run.args([
            "--root",
            &self.path("run/runb"),
            "run",
            "--bundle",
            bundle,
            "images-test",
        ]);
        command::run(&mut run, "", USUAL)?
            .ok()
            .map_err(|e| format!("the bundle of user {}: {e}", self.id))
    }

    /// What is saved by the user is root's image; and after the last removal nothing of it is here.
    fn carries_and_leaves(&self, s: &mut Scene) -> Done {
        let reference = s.lab.plain.reference("many:1");
        let listed = self.brig(
            s,
            &[
                "images",
                "--no-trunc",
                "--format",
                "{{.Repository}}:{{.Tag}} {{.ID}}",
            ],
        )?;
        is(
            "images",
            listed.ok()?,
            format!("{reference} {}", s.lab.fixtures.many.id()),
        )?;
        let archive = self.path("image.tar");
        self.brig(s, &["save", "-o", &archive, &reference])?.ok()?;
        is("the archive's owner", meta(Path::new(&archive))?.uid(), self.id)?;
        s.brig_must(&["load", "-q", "-i", &archive])?;
        is("id", s.id(&reference)?, s.lab.fixtures.many.id())?;
        let sound = self.brig(s, &["system", "check"])?.ok()?;
        is("check", sound, "The store is sound.")?;
        let gone = self.brig(s, &["rmi", &reference])?.ok()?;
        has("rmi", &gone, &format!("Deleted: {}", s.lab.fixtures.many.id()))?;
        self.brig(s, &["system", "check"])?.ok()?;
        self.is_empty(&[])
    }

    fn is_empty(&self, except: &[&str]) -> Done {
        let places = ["blobs/sha256", "layers", "tmp", "trash", "partial", "bundles"];
        for place in places.into_iter().filter(|place| !except.contains(place)) {
            is(place, names(&self.store().join(place)).join(" "), "")?;
        }
        Ok(())
    }
}

/// A line more, once.
fn add(file: &str, line: &str) -> Done {
    let text = |e: std::io::Error| format!("{file}: {e}");
    let old = match std::fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(text)?,
    };
    let who = line.split(':').next().unwrap_or_default();
    let kept = old.lines().filter(|l| l.split(':').next() != Some(who));
    let new: String = kept.chain([line]).map(|l| format!("{l}\n")).collect();
    std::fs::write(file, new).map_err(text)
}

fn meta(path: &Path) -> Result<std::fs::Metadata, String> {
    std::fs::symlink_metadata(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn mode_of(path: &Path) -> Result<String, String> {
    Ok(format!("{:o}", meta(path)?.mode() & 0o7777))
}

/// The first path that ends so.
fn find(below: &Path, end: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(below).ok()?;
    let mut inner = Vec::new();
    for entry in entries.flatten() {
        if entry.path().ends_with(end) {
            return Some(entry.path());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            inner.push(entry.path());
        }
    }
    inner.iter().find_map(|dir| find(dir, end))
}

/// Nothing below belongs to anybody else.
fn strangers(below: &Path, owner: u32) -> Done {
    for entry in std::fs::read_dir(below).map_err(|e| format!("{}: {e}", below.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        is(
            &format!("the owner of {}", path.display()),
            meta(&path)?.uid(),
            owner,
        )?;
        if meta(&path)?.is_dir() {
            strangers(&path, owner)?;
        }
    }
    Ok(())
}
