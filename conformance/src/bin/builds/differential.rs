//! Dockerfiles that brig and Docker's BuildKit must make the same image of: configuration, history, number of layers, and every path of
//! the flattened tree with its kind, mode, owner, content, links, attributes and, where no clock of the build is in it, its time.
//!
//! May not: leave a difference without a reason. The known ones are a table; one that is none any more fails, too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use conformance::command;
use conformance::judge::Peer;
use conformance::verdict::{Choice, Done, Sums};
use conformance::{kernel, patience};
use serde_json::Value;

use crate::case;
use crate::lab::{Lab, Subject};
use conformance::tree::Tree;

/// A Dockerfile of `dockerfiles/`, and what it is built with beside the context that all share.
struct File {
    name: &'static str,
    flags: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($(($name:literal, $flags:literal),)*) => {
        &[$(File { name: $name, flags: $flags, text: include_str!(concat!("dockerfiles/", $name, ".Dockerfile")) },)*]
    };
}

const FILES: &[File] = files![
    ("add-archive-over", ""),
    ("add-archives", ""),
    ("add-chown", ""),
    ("add-not-archives", ""),
    ("arg-before-and-after", ""),
    ("arg-env-precedence", "--build-arg A=given"),
    ("arg-given", "--build-arg A=given --build-arg C=only"),
    ("arg-in-from-platform", ""),
    ("arg-inherited-stage", ""),
    ("arg-scope", ""),
    ("arg-target-platform", ""),
    ("big-mix", ""),
    ("byte-order-mark", ""),
    ("case-insensitive", ""),
    ("cmd-after-entrypoint", ""),
    ("cmd-empty-json", ""),
    ("cmd-not-json", ""),
    ("cmd-several", ""),
    ("cmd-shell-and-json", ""),
    ("comments", ""),
    ("config-inherited", ""),
    ("config-overridden", ""),
    ("continuation-blank", ""),
    ("copy-attributes", ""),
    ("copy-chmod", ""),
    ("copy-chown-names", ""),
    ("copy-chown-unknown", ""),
    ("copy-chown-numbers", ""),
    ("copy-chown-own-passwd", ""),
    ("copy-dir", ""),
    ("copy-dir-merge", ""),
    ("copy-dir-over-link", ""),
    ("copy-empty", ""),
    ("copy-empty-wildcard", ""),
    ("copy-files", ""),
    ("copy-hardlinks", ""),
    ("copy-ignored", ""),
    ("copy-json", ""),
    ("copy-links", ""),
    ("copy-modes", ""),
    ("copy-odd-names", ""),
    ("copy-over-link", ""),
    ("copy-overwrites", ""),
    ("copy-relative", ""),
    ("copy-root", ""),
    ("copy-same-twice", ""),
    ("copy-several-without-slash", ""),
    ("copy-unicode", ""),
    ("copy-unusual-directory", ""),
    ("copy-user-is-no-owner", ""),
    ("copy-wildcards", ""),
    ("crlf", ""),
    ("dollar-in-run", ""),
    ("entrypoint-empty-json", ""),
    ("entrypoint-resets-cmd", ""),
    ("entrypoint-resets-inherited-cmd-only", ""),
    ("entrypoint-shell", ""),
    ("env-forms", ""),
    ("env-override-order", ""),
    ("env-same-instruction", ""),
    ("escape-backtick", ""),
    ("expansion-defaults", ""),
    ("expansion-in-all", ""),
    ("expansion-nested", ""),
    ("expansion-not-in-cmd", ""),
    ("expose-forms", ""),
    ("from-only", ""),
    ("healthcheck-forms", ""),
    ("healthcheck-inherited", ""),
    ("healthcheck-json", ""),
    ("healthcheck-none", ""),
    ("healthcheck-replaced", ""),
    ("heredoc-like", ""),
    ("label-override", ""),
    ("label-quoting", ""),
    ("leading-blanks", ""),
    ("maintainer", ""),
    ("multi-chain", ""),
    ("multi-copy-from", ""),
    ("no-newline-at-end", ""),
    ("onbuild-same-file", ""),
    ("onbuild-stored", ""),
    ("run-continued", ""),
    ("run-environment", ""),
    ("run-exec-form", ""),
    ("run-hardlinks", ""),
    ("run-modes-only", ""),
    ("run-nothing", ""),
    ("run-removes", ""),
    ("run-rename", ""),
    ("run-replaces-kinds", ""),
    ("run-special-files", ""),
    ("scratch-config", ""),
    ("scratch-copy", ""),
    ("shell-changes", ""),
    ("stage-names", ""),
    ("stopsignal", ""),
    ("tabs-and-trailing", ""),
    ("target", "--target middle"),
    ("user-extra-groups", ""),
    ("user-name-and-group", ""),
    ("user-number", ""),
    ("user-number-and-group", ""),
    ("user-variable", ""),
    ("volume-forms", ""),
    ("volume-inherited", ""),
    ("volume-then-run", ""),
    ("workdir-existing", ""),
    ("workdir-relative", ""),
    ("workdir-through-link", ""),
    ("workdir-user", ""),
    ("workdir-user-number", ""),
    ("workdir-user-root-after", ""),
    ("workdir-variable", ""),
];

/// The one with an ignore file of its own.
const IGNORED: (&str, &str) = (
    "copy-ignored.Dockerfile.dockerignore",
    include_str!("dockerfiles/copy-ignored.Dockerfile.dockerignore"),
);

/// The context: a bit of everything that a context can hold.
const CONTEXT: &str = r#"
umask 022
echo a >a.txt; echo b >b.txt
printf '#!/bin/sh\necho program\n' >program; chmod 755 program
mkdir -p tree/sub/deeper tree/empty-dir empty "with space" links modes hard attributes odd
echo one >tree/one; echo two >tree/two; echo deep >tree/sub/deep.txt; echo f >tree/sub/deeper/f; echo k >tree/sub/keep
echo spaced >"with space/a file.txt"
echo target >links/target; ln -s target links/to-file; ln -s ../tree links/to-dir; ln -s /etc/passwd links/absolute; ln -s nowhere links/dangling
for mode in 000 400 600 644 666 755 777 4755 2755 1777; do echo $mode >modes/f$mode; chmod $mode modes/f$mode; done
mkdir -m 700 modes/d700; mkdir -m 1777 modes/d1777; mkdir -m 2775 modes/d2775; echo x >modes/d700/f; chown 1000:1000 modes/f600
echo h >hard/one; ln hard/one hard/two; mkdir hard/d; ln hard/one hard/d/three
echo a >attributes/plain; echo b >attributes/capable; setcap cap_net_bind_service+ep attributes/capable 2>/dev/null || true
echo u >"odd/größe-漢字"; echo n >"$(printf 'odd/new\nline')"; echo s >'odd/*star?'; echo d >odd/-dash; echo q >"odd/quote'\""
mkdir t && mkdir -m 711 t/dir && echo file >t/dir/file && ln -s file t/dir/link && ln t/dir/file t/hard && echo s >t/suid && chmod 4711 t/suid && chown 1000:50 t/suid
find t -exec touch -hd @1500000000 {} +
tar cf archive.tar -C t . && gzip -kn archive.tar && bzip2 -k archive.tar && xz -k archive.tar && rm -r t
echo no archive >fake.tar.gz; echo plain | gzip -n >plain.gz
find . -exec touch -hd @1600000000 {} +
"#;

/// Paths that a builder's mounts may leave in a root that had none; `run.no-place-stays` is strict about them.
const PLACES: [&str; 6] = [
    "./dev",
    "./proc",
    "./sys",
    "./etc/hosts",
    "./etc/resolv.conf",
    "./etc/hostname",
];

/// Podman's storage makes the root of an image that says nothing of it 0555.
const ROOT: &str = ".: directory 0555 0:0";

/// What differs on purpose: the file, a part of each line that may differ, and why.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "*",
        ": \"ARG ",
        "BuildKit of today writes the value that an ARG got",
    ),
    ("*", ": \"EXPOSE ", "BuildKit of then wrote a map of Go"),
    (
        "*",
        ": \"HEALTHCHECK ",
        "BuildKit of then wrote a structure of Go",
    ),
    ("add-chown", "ADD ", FLAGS),
    ("copy-chmod", "COPY ", FLAGS),
    ("copy-chown-names", "COPY ", FLAGS),
    ("copy-chown-numbers", "COPY ", FLAGS),
    ("copy-chown-unknown", "COPY ", FLAGS),
    ("copy-chown-own-passwd", "COPY ", FLAGS),
    ("big-mix", "COPY ", FLAGS),
    (
        "arg-before-and-after",
        "A=2",
        "an ARG that is said twice is one variable",
    ),
    (
        "arg-inherited-stage",
        "A=stage",
        "BuildKit of today hands an ARG on to stages that begin with this one",
    ),
    (
        "arg-inherited-stage",
        "/inherited # buildkit",
        "the ARGs of the stage below stand in the history of RUN, as they are in its environment",
    ),
    ("copy-attributes", "security.capability", CAPABILITY),
    ("copy-ignored", "security.capability", CAPABILITY),
    ("copy-root", "security.capability", CAPABILITY),
    (
        "user-name-and-group",
        "./tmp/id: ",
        "the group of a user is among its groups since CVE-2022-36109",
    ),
    ("volume-forms", "directory 0755 0:0, there nothing", PLACE),
    ("expansion-in-all", "directory 0755 0:0, there nothing", PLACE),
    ("comments", "layers: ", NOTHING),
    ("comments", "not a comment", NOTHING),
    ("copy-empty-wildcard", "layers: ", NOTHING),
    ("copy-empty-wildcard", "/never/", NOTHING),
    ("run-nothing", "layers: ", NOTHING),
    ("run-nothing", "\"RUN ", NOTHING),
    ("user-extra-groups", "layers: ", NOTHING),
    ("user-extra-groups", "chmod 1777 /tmp", NOTHING),
    ("user-number", "layers: ", NOTHING),
    ("user-number", "chmod 1777 /tmp", NOTHING),
    ("user-number-and-group", "layers: ", NOTHING),
    ("user-number-and-group", "chmod 1777 /tmp", NOTHING),
    ("workdir-existing", "layers: ", NOTHING),
    ("workdir-existing", "WORKDIR /own", NOTHING),
    ("big-mix", "directory 0755 0:0, there nothing", PLACE),
    ("big-mix", "layers: ", NOTHING),
    ("big-mix", "WORKDIR /opt", NOTHING),
];

/// What buildah 1.28 does otherwise than BuildKit, where it is the judged one. It does what brig does nowhere in this list, so nothing in it is
/// ours to mend.
const OF_BUILDAH: &[(&str, &str, &str)] = &[
    ("*", "./run: directory", "its places of secrets stay in the image"),
    (
        "*",
        "ArgsEscaped",
        "it does not say that a command is the shell's",
    ),
    ("*", "layers: ", "instructions that change nothing have no layer"),
    (
        "big-mix",
        "Env: ",
        "variables of the second stage's image are lost",
    ),
    ("config-overridden", "Env: ", ENV),
    ("env-override-order", "Env: ", ENV),
    (
        "escape-backtick",
        "Env: ",
        "another escape character does not count in quotes",
    ),
    (
        "*",
        "security.capability",
        "capabilities of files in the context are kept, as here",
    ),
    (
        "*",
        "/modes/",
        "set-user-ID and set-group-ID bits of the context are dropped",
    ),
    (
        "arg-inherited-stage",
        "./inherited",
        "an ARG is handed on to stages that begin with this one, as here",
    ),
    ("config-overridden", "./other", WORKDIR),
    ("workdir-relative", "./a/b", WORKDIR),
    ("workdir-user", "./made", WORKDIR),
    ("workdir-user-root-after", "./by", WORKDIR),
    (
        "copy-over-link",
        "file",
        "a link in the place of a file is replaced",
    ),
    (
        "copy-several-without-slash",
        "./etc/both",
        "several sources need no directory",
    ),
    ("expose-forms", "ExposedPorts", "a range of ports stays one"),
    ("scratch-config", "WorkingDir", "none is said where none is"),
    ("scratch-copy", "WorkingDir", "none is said where none is"),
    (
        "user-name-and-group",
        "./tmp/id",
        "the group of a user is among its groups, as here",
    ),
    (
        "shell-changes",
        "[\"/bin/sh\",",
        "ENTRYPOINT and CMD are given to the usual shell all the same",
    ),
    ("volume-inherited", "./data", VOLUME),
    ("volume-then-run", "./v/", VOLUME),
];

const ENV: &str = "a variable that is set again stands last";
const WORKDIR: &str = "a working directory is made when something needs it";
const VOLUME: &str = "what RUN writes to a volume is lost, as in the classic builder";

const FLAGS: &str = "BuildKit of then left the flags out of the history";
const CAPABILITY: &str = "the client of then does not send capabilities of files to its daemon";
const PLACE: &str = "`bundle` makes the places of volumes";
const NOTHING: &str = "a step that changes nothing has a layer there, and none here";

pub fn names() -> Vec<String> {
    FILES.iter().map(|file| format!("diff.{}", file.name)).collect()
}

/// What a build came to.
struct Made {
    config: Value,
    tree: Tree,
}

/// Builds every chosen file with both, and compares.
pub fn run_all(lab: &Lab, choice: &Choice) -> Sums {
    let mut sums = Sums::default();
    let chosen: Vec<&File> = FILES
        .iter()
        .filter(|file| choice.has(&format!("diff.{}", file.name)))
        .collect();
    if chosen.is_empty() {
        return sums;
    }
    let prepared = lab
        .docker()
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|_| prepare(lab));
    if let Err(why) = prepared {
        for file in &chosen {
            sums.skipped += 1;
            println!("skip diff.{}: {why}", file.name);
        }
        return sums;
    }
    // Both at the same time, because two engines share nothing; Docker beside itself would share its steps.
    let theirs = || all_of(lab, Subject::Docker, "theirs", &chosen);
    let ours = || all_of(lab, lab.subject, "ours", &chosen);
    let (theirs, ours) = if lab.subject == Subject::Docker {
        (theirs(), ours())
    } else {
        std::thread::scope(|scope| {
            let theirs = scope.spawn(theirs);
            let ours = ours();
            (theirs.join().unwrap_or_default(), ours)
        })
    };
    for (file, (theirs, ours)) in chosen.iter().zip(theirs.into_iter().zip(ours)) {
        let (began, ours) = ours;
        let verdict = match (theirs.1, ours) {
            (Err(why), _) => Err(format!("docker: {why}")),
            (_, Err(why)) => Err(format!("{}: {why}", lab.subject.name())),
            (Ok(theirs), Ok(ours)) => judge(lab.subject, file, &ours, &theirs),
        };
        case::tell(&mut sums, &format!("diff.{}", file.name), began, verdict);
    }
    sums
}

/// When it began, and what came of it.
type Played = (Instant, Result<Made, String>);

fn all_of(lab: &Lab, who: Subject, tag: &str, files: &[&File]) -> Vec<Played> {
    files
        .iter()
        .map(|file| (Instant::now(), build(lab, who, tag, file)))
        .collect()
}

fn context(lab: &Lab) -> PathBuf {
    lab.dir.join("context")
}

fn prepare(lab: &Lab) -> Done {
    let dir = context(lab);
    let files = lab.dir.join("dockerfiles");
    for made in [&dir, &files] {
        std::fs::create_dir_all(made).map_err(|e| format!("{}: {e}", made.display()))?;
    }
    let texts = FILES
        .iter()
        .map(|file| (format!("{}.Dockerfile", file.name), file.text))
        .chain([(IGNORED.0.to_owned(), IGNORED.1)]);
    for (name, text) in texts {
        let path = files.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut sh = Command::new("sh");
    sh.args(["-ec", CONTEXT]).current_dir(&dir);
    command::run(&mut sh, "", patience::seconds(60))?
        .ok()
        .map(|_| ())
        .map_err(|e| format!("the context: {e}"))
}

fn build(lab: &Lab, who: Subject, tag: &str, file: &File) -> Result<Made, String> {
    let image = format!("diff-{tag}:{}", file.name);
    let must = |line: &str| {
        lab.run(who, &context(lab), line, "", patience::seconds(120))?
            .ok()
            .map_err(|e| format!("{line}: {e}"))
    };
    must(&format!(
        "docker build -q {} -f ../dockerfiles/{}.Dockerfile -t {image} .",
        file.flags, file.name
    ))?;
    let scratch = lab.dir.join(format!("scratch-{tag}"));
    std::fs::create_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    let seen = config(&must, &scratch, &image).and_then(|config| {
        Ok(Made {
            config,
            tree: tree(&must, who, &scratch, &image)?,
        })
    });
    std::fs::remove_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    seen
}

/// The configuration as the image carries it, not as somebody shows it.
fn config(
    must: &impl Fn(&str) -> Result<String, String>,
    scratch: &Path,
    image: &str,
) -> Result<Value, String> {
    let text = must(&format!(
        "cd {} && docker save -o i.tar {image} && tar xf i.tar && cat \"$(sed 's/.*\"Config\": *\"\\([^\"]*\\)\".*/\\1/' manifest.json)\"",
        scratch.display()
    ))?;
    serde_json::from_str(&text).map_err(|e| format!("the configuration of {image}: {text:?}: {e}"))
}

/// What is younger than this got its time from the clock of a build.
const FIRST_BUILD: i64 = 1_767_225_600;

fn tree_of(root: &Path) -> Result<Tree, String> {
    Tree::read_with_times(root, FIRST_BUILD)
}

/// The flattened tree, read where the engine itself would show it to a container.
fn tree(
    must: &impl Fn(&str) -> Result<String, String>,
    who: Subject,
    scratch: &Path,
    image: &str,
) -> Result<Tree, String> {
    match who {
        Subject::Brig => {
            let bundle = scratch.join("bundle");
            must(&format!("docker bundle {image} {}", bundle.display()))?;
            let tree = tree_of(&bundle.join("rootfs"));
            must(&format!("docker unbundle {}", bundle.display()))?;
            tree
        }
        Subject::Docker => {
            let data = must(&format!(
                "docker image inspect --format '{{{{.GraphDriver.Data.UpperDir}}}}:{{{{.GraphDriver.Data.LowerDir}}}}' {image}"
            ))?;
            let (root, empty) = (scratch.join("root"), scratch.join("empty"));
            for dir in [&root, &empty] {
                std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            }
            let layers = data.trim_end_matches("<no value>").trim_end_matches(':');
            let options = format!("lowerdir={layers}:{}", empty.display());
            let mut mount = Command::new("mount");
            mount
                .args(["-t", "overlay", "overlay", "-o", &options])
                .arg(&root);
            command::run(&mut mount, "", patience::seconds(10))?.ok()?;
            let tree = tree_of(&root);
            kernel::detach(&root).map_err(|e| format!("{}: {e}", root.display()))?;
            tree
        }
        Subject::Buildah => {
            let root = must(&format!("docker image mount {image}"))?;
            let tree = tree_of(Path::new(&root));
            must(&format!("docker image unmount {image}"))?;
            tree
        }
    }
}

fn judge(subject: Subject, file: &File, ours: &Made, theirs: &Made) -> Done {
    let known = match subject {
        Subject::Brig => KNOWN,
        Subject::Buildah => OF_BUILDAH,
        Subject::Docker => &[],
    };
    let is_known = |line: &String| {
        known
            .iter()
            .any(|(name, part, _)| (*name == file.name || *name == "*") && line.contains(part))
    };
    let mut lines = Vec::new();
    let (mut our_facts, mut their_facts) = (facts(&ours.config), facts(&theirs.config));
    if subject == Subject::Buildah {
        // It writes a history of its own, in the classic builder's words, and says in a label who it is.
        let is_history = |fact: &String| fact.starts_with("history ");
        our_facts.retain(|fact| !is_history(fact));
        their_facts.retain(|fact| !is_history(fact));
        for fact in &mut our_facts {
            *fact = without_buildah(fact);
        }
        our_facts.retain(|fact| fact != "Labels: {}");
    }
    lines.extend(
        our_facts
            .iter()
            .filter(|fact| !their_facts.contains(fact))
            .map(|fact| format!("only here: {fact}")),
    );
    lines.extend(
        their_facts
            .iter()
            .filter(|fact| !our_facts.contains(fact))
            .map(|fact| format!("only there: {fact}")),
    );
    let is_place = |line: &String| {
        let path = line.split(": ").next().unwrap_or_default();
        PLACES
            .iter()
            .any(|place| path == *place || path.starts_with(&format!("{place}/")))
    };
    lines.extend(
        ours.tree
            .differences(&theirs.tree)
            .into_iter()
            .filter(|line| !(is_place(line) || subject == Subject::Buildah && line.starts_with(ROOT))),
    );
    for (name, part, why) in KNOWN {
        let expected = subject == Subject::Brig && *name == file.name;
        if expected && !lines.iter().any(|line| line.contains(part)) {
            return Err(format!("{part:?} does not differ any more: {why}"));
        }
    }
    lines.retain(|line| !is_known(line));
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len();
    lines.truncate(12);
    Err(format!("{count} differences:\n{}", lines.join("\n")))
}

/// A line without the label that buildah adds to all.
fn without_buildah(fact: &str) -> String {
    let Some((before, after)) = fact.split_once("\"io.buildah.version\":\"") else {
        return fact.to_owned();
    };
    let rest = after.split_once('"').map_or("", |(_, rest)| rest);
    match rest.strip_prefix(',') {
        Some(rest) => format!("{before}{rest}"),
        None => format!("{}{rest}", before.trim_end_matches(',')),
    }
}

/// What an image says of itself, a line each; what says nothing is not there.
fn facts(config: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    for key in ["architecture", "os", "author"] {
        fact(&mut facts, key, &config[key]);
    }
    for (key, value) in config["config"].as_object().into_iter().flatten() {
        // Who made the image out of which, of the classic builder.
        if key != "Image" && key != "Hostname" {
            fact(&mut facts, key, value);
        }
    }
    let layers = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    facts.push(format!("layers: {layers}"));
    for (at, entry) in config["history"].as_array().into_iter().flatten().enumerate() {
        facts.push(format!(
            "history {at}: {} empty {} {}",
            entry["created_by"],
            entry["empty_layer"].as_bool().unwrap_or(false),
            entry["comment"].as_str().unwrap_or_default(),
        ));
    }
    facts
}

fn fact(facts: &mut Vec<String>, key: &str, value: &Value) {
    let says_nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    if !says_nothing {
        facts.push(format!("{key}: {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_played() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/builds/dockerfiles");
        let mut there = conformance::verdict::names(&dir);
        there.retain(|name| name.ends_with(".Dockerfile"));
        let mut listed: Vec<String> = FILES
            .iter()
            .map(|file| format!("{}.Dockerfile", file.name))
            .collect();
        listed.sort();
        assert_eq!(there, listed);
        assert!(listed.len() >= 80);
    }
}
