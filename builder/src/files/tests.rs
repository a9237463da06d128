#![allow(clippy::unwrap_used)]
//! Trees on the disk. What needs root is skipped without.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use build::ignore::Matcher;
use build::values::mode::Mode;
use image::registry::Cancel;

use super::*;

/// A directory with a context, a root, and something outside that nobody may reach.
struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(format!("builder-files-{name}-{}", std::process::id()));
        for part in ["context", "root", "outside"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        Scene(dir)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// `name` is a file, `name/` a directory, `name -> target` a link.
    fn make(&self, part: &str, names: &[&str]) {
        for name in names {
            let path = |name: &str| self.at(part).join(name);
            if let Some((name, target)) = name.split_once(" -> ") {
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                symlink(target, path(name)).unwrap();
            } else if name.ends_with('/') {
                fs::create_dir_all(path(name)).unwrap();
            } else {
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                fs::write(path(name), name).unwrap();
            }
        }
    }

    fn open(&self, path: &str) -> OwnedFd {
        sys::fs::open(&self.at(path), libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap()
    }

    fn tree(&self, ignore: &[&str]) -> Tree {
        let matcher = Matcher::of(ignore).unwrap();
        let ignore = (!ignore.is_empty()).then(|| Arc::new(matcher));
        Tree::local(self.open("context"), ignore)
    }

    fn copy(&self, tree: &Tree, sources: &[&str], destination: &str) -> Result<()> {
        self.copy_with(tree, sources, &[], false, &to(destination))
    }

    fn copy_with(
        &self,
        tree: &Tree,
        sources: &[&str],
        exclude: &[&str],
        parents: bool,
        placement: &Placement<'_>,
    ) -> Result<()> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let selection = Selection {
            sources: &owned(sources),
            exclude: &owned(exclude),
            parents,
        };
        let selected = tree.select(&selection, &Cancel::new())?;
        put(
            tree,
            &selected,
            self.open("root").as_fd(),
            placement,
            &Cancel::new(),
        )
    }

    /// Everything in a part, sorted: files as they are, directories with a slash, links with what they say.
    fn list(&self, part: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![self.at(part)];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.at(part)).unwrap().display().to_string();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                if kind.is_dir() {
                    found.push(name + "/");
                    pending.push(path);
                } else if kind.is_symlink() {
                    found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
                } else {
                    found.push(name);
                }
            }
        }
        found.sort();
        found
    }

    fn clear(&self) {
        fs::remove_dir_all(self.at("root")).unwrap();
        fs::create_dir(self.at("root")).unwrap();
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.at(path)).unwrap().mode() & 0o7777
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn to(destination: &str) -> Placement<'_> {
    Placement {
        destination,
        owner: None,
        mode: None,
        unpack: false,
        follow: true,
    }
}

fn is_root() -> bool {
    sys::process::effective_ids().0 == 0
}

#[test]
fn what_sources_mean_and_where_they_go() {
    let scene = Scene::new("rules");
    scene.make(
        "context",
        &[
            "a",
            "d/x",
            "d/y/z",
            "d/l -> ../a",
            "e.txt",
            "f.txt",
            "s -> d/x",
            "t -> d",
        ],
    );
    let tree = scene.tree(&[]);
    for (sources, destination, found) in [
        (vec!["a"], "/b", vec!["b"]),
        (vec!["a"], "/b/", vec!["b/", "b/a"]),
        (vec!["a"], "/", vec!["a"]),
        (vec!["/a"], "/b/c", vec!["b/", "b/c"]),
        (vec!["a", "e.txt"], "/b/", vec!["b/", "b/a", "b/e.txt"]),
        (vec!["d"], "/n", vec!["n/", "n/l -> ../a", "n/x", "n/y/", "n/y/z"]),
        (
            vec!["d/"],
            "/n/",
            vec!["n/", "n/l -> ../a", "n/x", "n/y/", "n/y/z"],
        ),
        (vec!["d/y", "a"], "/", vec!["a", "z"]),
        (vec!["*.txt"], "/n/", vec!["n/", "n/e.txt", "n/f.txt"]),
        (vec!["d/*"], "/n/", vec!["n/", "n/a", "n/x", "n/z"]),
        (vec!["*/y/?"], "/n/", vec!["n/", "n/z"]),
        (vec!["nothing*"], "/n/", vec![]),
        (vec!["s"], "/n/", vec!["n/", "n/s"]),
        (vec!["t/y"], "/n", vec!["n/", "n/z"]),
        (vec!["d/../../a"], "/", vec!["a"]),
        (vec!["d/l"], "/q", vec!["q"]),
    ] {
        scene.clear();
        let done = scene.copy(&tree, &sources, destination);
        done.unwrap_or_else(|e| panic!("{sources:?} {destination}: {e}"));
        let mut list = scene.list("root");
        // A link that a wildcard finds is followed, as one that is named is.
        for entry in &mut list {
            if entry == "n/l" {
                *entry = "n/a".to_owned();
            }
        }
        list.sort();
        assert_eq!(list, found, "{sources:?} {destination}");
    }
    scene.clear();
    scene.copy(&tree, &["s"], "/n").unwrap();
    assert_eq!(fs::read_to_string(scene.at("root/n")).unwrap(), "d/x");
}

#[test]
fn errors_are_buildkits() {
    let scene = Scene::new("errors");
    scene.make("context", &["a", "d/x/y", "hidden"]);
    scene.make("root", &["file", "dir/x", "dir/a/"]);
    let tree = scene.tree(&["hidden"]);
    let missing = |path: &str| {
        format!(
            "failed to compute cache key: failed to calculate checksum of ref context: \"{path}\": not found"
        )
    };
    for (source, destination, message) in [
        ("b", "/", missing("/b")),
        ("./d/../b", "/", missing("/b")),
        ("a/b", "/", missing("/a/b")),
        ("hidden", "/", missing("/hidden")),
        ("d", "/file", "cannot copy to non-directory: /file".to_owned()),
        ("d", "/dir", "cannot copy to non-directory: /dir/x".to_owned()),
        (
            "a",
            "/dir",
            "cannot replace to directory /dir/a with file".to_owned(),
        ),
        ("a", "/file/", "mkdir /file: not a directory".to_owned()),
        ("a", "/file/b", "mkdir /file: not a directory".to_owned()),
    ] {
        let e = scene.copy(&tree, &[source], destination).unwrap_err();
        assert_eq!(e.to_string(), message, "{source} {destination}");
    }
}

#[test]
fn parents_are_kept_and_files_left_out() {
    let scene = Scene::new("parents");
    scene.make(
        "context",
        &[
            "a/b/c/one.txt",
            "a/b/c/two.md",
            "a/b/three.txt",
            "x/y/four.txt",
            "five.txt",
            "empty/",
        ],
    );
    let tree = scene.tree(&[]);
    for (source, exclude, found) in [
        (
            "a/b/c/one.txt",
            vec![],
            vec!["a/", "a/b/", "a/b/c/", "a/b/c/one.txt"],
        ),
        ("./a/b/./c", vec![], vec!["c/", "c/one.txt", "c/two.md"]),
        ("./x/**/*.txt", vec![], vec!["x/", "x/y/", "x/y/four.txt"]),
        (
            "**/*.txt",
            vec!["a"],
            vec!["five.txt", "x/", "x/y/", "x/y/four.txt"],
        ),
        ("a/*/./c", vec!["**/*.md"], vec!["c/", "c/one.txt"]),
        ("nothing*", vec![], vec![]),
    ] {
        scene.clear();
        let done = scene.copy_with(&tree, &[source], &exclude, true, &to("/"));
        done.unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(scene.list("root"), found, "{source}");
    }
    let e = scene
        .copy_with(&tree, &["a/./nothing"], &[], true, &to("/"))
        .unwrap_err();
    assert!(e.to_string().ends_with(": \"/a/nothing\": not found"), "{e}");
    scene.clear();
    scene
        .copy_with(&tree, &["a"], &["**/*", "!b/c/*.md"], false, &to("/"))
        .unwrap();
    assert_eq!(scene.list("root"), ["b/", "b/c/", "b/c/two.md"]);
    scene.clear();
    scene
        .copy_with(&tree, &["*"], &["*.txt"], false, &to("/"))
        .unwrap();
    assert!(!scene.at("root/five.txt").exists());
}

#[test]
fn ignore_files_hide() {
    let scene = Scene::new("ignore");
    scene.make(
        "context",
        &[
            "a",
            "node_modules/x/y",
            "src/lib/z",
            "src/w",
            "b.md",
            "link -> src/w",
        ],
    );
    let tree = scene.tree(&["*", "!src/lib", "!a", "*.md"]);
    scene.copy(&tree, &["."], "/").unwrap();
    assert_eq!(scene.list("root"), ["a", "src/", "src/lib/", "src/lib/z"]);
    scene.clear();
    scene.copy(&tree, &["src"], "/").unwrap();
    assert_eq!(scene.list("root"), ["lib/", "lib/z"]);
    assert!(scene.copy(&tree, &["link"], "/").is_err());
    assert!(scene.copy(&tree, &["node_modules"], "/").is_err());
    scene.clear();
    scene.copy(&tree, &["*"], "/n/").unwrap();
    assert_eq!(scene.list("root"), ["n/", "n/a", "n/lib/", "n/lib/z"]);
}

#[test]
fn modes_times_owners_and_names() {
    if !is_root() {
        println!("skip: needs root");
        return;
    }
    let scene = Scene::new("attributes");
    scene.make("context", &["d/in/f", "d/set", "g"]);
    let set =
        |path: &str, mode| fs::set_permissions(scene.at(path), fs::Permissions::from_mode(mode)).unwrap();
    set("context/d", 0o700);
    set("context/d/in", 0o1751);
    set("context/d/set", 0o6755);
    std::os::unix::fs::chown(scene.at("context/d/in/f"), Some(1234), Some(4321)).unwrap();
    let time = sys::xattr::Time {
        seconds: 1_000_000_007,
        nanoseconds: 123_456_789,
    };
    for path in ["context/d", "context/d/in", "context/d/in/f"] {
        let file = fs::File::open(scene.at(path)).unwrap();
        sys::xattr::futimens(file.as_fd(), time).unwrap();
    }
    fs::hard_link(scene.at("context/d/set"), scene.at("context/d/in/again")).unwrap();
    sys::xattr::futimens(fs::File::open(scene.at("context/d/in")).unwrap().as_fd(), time).unwrap();
    let tree = scene.tree(&[]);
    scene.copy(&tree, &["d"], "/p/q").unwrap();
    assert_eq!((scene.mode("root/p"), scene.mode("root/p/q")), (0o755, 0o755));
    assert_eq!(
        (scene.mode("root/p/q/in"), scene.mode("root/p/q/set")),
        (0o1751, 0o6755)
    );
    for path in ["root/p/q", "root/p/q/in", "root/p/q/in/f"] {
        let meta = fs::metadata(scene.at(path)).unwrap();
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (time.seconds, 123_456_789),
            "{path}"
        );
        assert_eq!((meta.uid(), meta.gid()), (0, 0), "{path}");
    }
    let inode = |path: &str| fs::metadata(scene.at(path)).unwrap().ino();
    assert_eq!(inode("root/p/q/set"), inode("root/p/q/in/again"));

    scene.clear();
    let stage = Tree::of_root(scene.open("context"));
    scene.copy(&stage, &["d"], "/").unwrap();
    let meta = fs::metadata(scene.at("root/in/f")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1234, 4321));

    scene.clear();
    let mode = Mode::parse("0750").unwrap();
    let placement = Placement {
        owner: Some((7, 8)),
        mode: Some(&mode),
        ..to("/new/d/")
    };
    scene
        .copy_with(&tree, &["d", "g"], &[], false, &placement)
        .unwrap();
    for path in scene.list("root") {
        let meta = fs::metadata(scene.at("root").join(&path)).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o7777),
            (7, 8, 0o750),
            "{path}"
        );
    }
    // What is there stays as it is at the top, and becomes the source's below.
    scene.clear();
    scene.make("root", &["t/in/"]);
    set("root/t", 0o711);
    set("root/t/in", 0o700);
    scene.copy(&tree, &["d"], "/t").unwrap();
    assert_eq!((scene.mode("root/t"), scene.mode("root/t/in")), (0o711, 0o1751));
}

#[test]
fn heredocs() {
    let scene = Scene::new("inline");
    let files = [File {
        name: "one".to_owned(),
        text: "1\n".to_owned(),
    }];
    let tree = Tree::inline(&files);
    let mode = Mode::parse("u+x").unwrap();
    scene.copy(&tree, &[], "/etc/x.conf").unwrap();
    scene
        .copy_with(
            &tree,
            &[],
            &[],
            false,
            &Placement {
                mode: Some(&mode),
                ..to("/d/")
            },
        )
        .unwrap();
    assert_eq!(scene.list("root"), ["d/", "d/one", "etc/", "etc/x.conf"]);
    assert_eq!(
        (scene.mode("root/etc/x.conf"), scene.mode("root/d/one")),
        (0o644, 0o744)
    );
}

#[test]
fn many_files_arrive() {
    let scene = Scene::new("many");
    for n in 0..1000 {
        let path = scene.at("context").join(format!("d{}/e{}/f{n}", n % 7, n % 31));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{n}")).unwrap();
    }
    for n in 0..700 {
        fs::write(scene.at("context").join(format!("flat{n}")), "x".repeat(n)).unwrap();
    }
    scene.copy(&scene.tree(&[]), &["."], "/all").unwrap();
    let same = std::process::Command::new("diff")
        .arg("-r")
        .args([scene.at("context"), scene.at("root/all")])
        .status()
        .unwrap();
    assert!(same.success());
}

#[test]
fn links_of_a_destination_stay_inside() {
    let scene = Scene::new("hostile-root");
    scene.make("context", &["a", "d/x"]);
    let outside = scene.at("outside").display().to_string();
    let links = |scene: &Scene| {
        scene.clear();
        symlink(&outside, scene.at("root/abs")).unwrap();
        symlink("../../../../../../../../..", scene.at("root/up")).unwrap();
        symlink("real", scene.at("root/rel")).unwrap();
        symlink("loop", scene.at("root/loop")).unwrap();
    };
    links(&scene);
    let tree = scene.tree(&[]);
    scene.copy(&tree, &["a"], "/abs/").unwrap();
    scene.copy(&tree, &["a"], &format!("/up{outside}/b")).unwrap();
    scene.copy(&tree, &["d"], "/rel").unwrap();
    assert_eq!(scene.list("outside"), [""; 0]);
    assert!(
        scene.at(&format!("root/{outside}/a")).exists() && scene.at(&format!("root/{outside}/b")).exists()
    );
    assert!(scene.at("root/real/x").exists());
    assert!(
        scene
            .copy(&tree, &["a"], "/loop/x")
            .unwrap_err()
            .to_string()
            .contains("too many links")
    );
    // With --link they make room.
    links(&scene);
    let placement = Placement {
        follow: false,
        ..to("/abs/")
    };
    scene.copy_with(&tree, &["a"], &[], false, &placement).unwrap();
    assert!(fs::symlink_metadata(scene.at("root/abs")).unwrap().is_dir());
    assert_eq!(scene.list("outside"), [""; 0]);
    // One that is in the way of a file is replaced, not written through.
    links(&scene);
    fs::write(scene.at("outside/precious"), "p").unwrap();
    scene.make("root", &["t/"]);
    symlink(scene.at("outside/precious"), scene.at("root/t/a")).unwrap();
    scene.copy(&tree, &["a"], "/t/").unwrap();
    assert_eq!(fs::read_to_string(scene.at("outside/precious")).unwrap(), "p");
    assert_eq!(fs::read_to_string(scene.at("root/t/a")).unwrap(), "a");
    symlink(scene.at("outside"), scene.at("root/t/x")).unwrap();
    scene.make("context", &["deep/x/y"]);
    assert!(scene.copy(&tree, &["deep"], "/t").is_err());
    assert_eq!(scene.list("outside"), ["precious"]);
}

#[test]
fn links_of_a_context_stay_inside() {
    let scene = Scene::new("hostile-context");
    scene.make("outside", &["secret"]);
    scene.make("context", &["in/a"]);
    let link = |target: &str, name: &str| symlink(target, scene.at("context").join(name)).unwrap();
    link(scene.at("outside/secret").to_str().unwrap(), "abs");
    link("../outside/secret", "rel");
    link("../outside", "dir");
    link("/in", "root");
    let tree = scene.tree(&[]);
    for source in ["abs", "rel", "dir", "dir/secret"] {
        let e = scene.copy(&tree, &[source], "/x").unwrap_err();
        assert!(e.to_string().ends_with("not found"), "{source}: {e}");
    }
    scene.copy(&tree, &["root/a"], "/x").unwrap();
    scene.clear();
    scene.copy(&tree, &["."], "/").unwrap();
    assert!(fs::symlink_metadata(scene.at("root/abs")).unwrap().is_symlink());
}

#[test]
fn owners_by_name() {
    let scene = Scene::new("owners");
    scene.make("root", &["etc/"]);
    fs::write(scene.at("root/etc/passwd"), "web:x:33:34::/:\n7:x:8:9::/:\n").unwrap();
    fs::write(scene.at("root/etc/group"), "staff:x:50:\n").unwrap();
    let root = scene.open("root");
    for (text, ids) in [
        ("web", (33, 34)),
        ("web:staff", (33, 50)),
        ("web:7", (33, 7)),
        ("55", (55, 55)),
        ("7", (7, 7)),
        ("55:staff", (55, 50)),
        (":staff", (0, 50)),
        ("web:", (33, 34)),
    ] {
        let found = owner(root.as_fd(), text).unwrap();
        assert_eq!((found.ids(), found.unknown), (ids, None), "{text}");
    }
    // As in BuildKit, but told.
    for (text, ids, unknown) in [
        ("nobody", (0, 0), "user nobody"),
        ("nobody:staff", (0, 50), "user nobody"),
        ("web:none", (33, 34), "group none"),
        (":none", (0, 0), "group none"),
    ] {
        let found = owner(root.as_fd(), text).unwrap();
        assert_eq!(
            (found.ids(), found.unknown.as_deref()),
            (ids, Some(unknown)),
            "{text}"
        );
    }
    // Those of the host are nobody's.
    fs::remove_file(scene.at("root/etc/passwd")).unwrap();
    symlink("../../../../../../../../etc/passwd", scene.at("root/etc/passwd")).unwrap();
    assert!(owner(root.as_fd(), "root").is_err());
}

/// Sets a time that is long ago, so that a change is seen and a memory believes it.
fn touch(path: &std::path::Path, seconds: i64) {
    let time = sys::xattr::Time {
        seconds,
        nanoseconds: 7,
    };
    sys::xattr::futimens(fs::File::open(path).unwrap().as_fd(), time).unwrap();
}

#[test]
fn the_digest_knows_everything_but_times() {
    let scene = Scene::new("digest");
    scene.make("context", &["d/a", "d/in/b", "d/l -> a", "c"]);
    let digest = |sources: &[&str]| {
        let sources: Vec<String> = sources.iter().map(|s| (*s).to_owned()).collect();
        let tree = scene.tree(&[]);
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = tree.select(&selection, &Cancel::new()).unwrap();
        let digest = tree.digest(&selected, &Cancel::new()).unwrap();
        assert!(!selected.has_changed());
        digest
    };
    let first = digest(&["d"]);
    let at = |path: &str| scene.at("context").join(path);
    for path in ["d", "d/a", "d/in"] {
        touch(&at(path), 1);
    }
    assert_eq!(digest(&["d"]), first);
    assert_eq!(digest(&["d/"]), first);
    // Mode and name of what is copied from are not copied.
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(at("d"), at("e")).unwrap();
    assert_eq!(digest(&["e"]), first);
    let chmod = |path: &str, mode| fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    type Change<'c> = (&'c str, &'c dyn Fn(), &'c dyn Fn());
    let changes: [Change<'_>; 6] = [
        ("mode", &|| chmod("e/a", 0o600), &|| chmod("e/a", 0o644)),
        ("directory", &|| chmod("e/in", 0o700), &|| chmod("e/in", 0o755)),
        ("name", &|| fs::rename(at("e/a"), at("e/z")).unwrap(), &|| {
            fs::rename(at("e/z"), at("e/a")).unwrap();
        }),
        (
            "contents",
            &|| fs::write(at("e/in/b"), "d/in/c").unwrap(),
            &|| {
                fs::write(at("e/in/b"), "d/in/b").unwrap();
            },
        ),
        (
            "link",
            &|| {
                fs::remove_file(at("e/l")).unwrap();
                symlink("b", at("e/l")).unwrap();
            },
            &|| {
                fs::remove_file(at("e/l")).unwrap();
                symlink("a", at("e/l")).unwrap();
            },
        ),
        ("place", &|| fs::rename(at("e/in/b"), at("e/b")).unwrap(), &|| {
            fs::rename(at("e/b"), at("e/in/b")).unwrap();
        }),
    ];
    chmod("e/a", 0o644);
    chmod("e/in", 0o755);
    let first = digest(&["e"]);
    for (what, change, back) in changes {
        change();
        assert_ne!(digest(&["e"]), first, "{what}");
        back();
        assert_eq!(digest(&["e"]), first, "{what}");
    }
    // The name of a file is what it will be called.
    fs::copy(at("c"), at("c2")).unwrap();
    assert_ne!(digest(&["c"]), digest(&["c2"]));
    assert_ne!(digest(&["c", "c2"]), digest(&["c2", "c"]));
}

#[test]
fn what_is_remembered_is_not_read_again() {
    let scene = Scene::new("memory");
    scene.make("context", &["a", "d/b", "d/l -> b"]);
    let digest = || {
        let tree = scene.tree(&[]).remembering(scene.at("hashes/of-context"));
        let sources = [".".to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = tree.select(&selection, &Cancel::new()).unwrap();
        tree.digest(&selected, &Cancel::new()).unwrap()
    };
    let first = digest();
    // Until the files are old enough to be believed, each look reads them.
    let memory = scene.at("hashes/of-context");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fs::metadata(&memory).map_or(0, |m| m.len()) < 51 + 4 * 84 {
        assert!(std::time::Instant::now() < deadline);
        assert_eq!(digest(), first);
    }
    // A hash in the memory that is another one shows who is asked.
    let mut bytes = fs::read(&memory).unwrap();
    let end = bytes.len() - 32;
    bytes[end - 1] ^= 1;
    use sha2::Digest as _;
    let sum = sha2::Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
    fs::write(&memory, &bytes).unwrap();
    assert_ne!(digest(), first);
    fs::write(scene.at("context/a"), "b").unwrap();
    fs::remove_file(&memory).unwrap();
    assert_ne!(digest(), first);
    fs::write(scene.at("context/a"), "a").unwrap();
    assert_eq!(digest(), first);
}

#[test]
fn archives_are_unpacked_by_their_contents() {
    let scene = Scene::new("unpack");
    scene.make("outside", &["in/f", "in/d/g", "other"]);
    let sh = |script: &str| {
        let done = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(&scene.0)
            .status()
            .unwrap();
        assert!(done.success(), "{script}");
    };
    sh(
        "tar -C outside/in -cf context/plain .; for c in gzip bzip2 xz zstd; do $c -c < context/plain > context/$c; done",
    );
    sh(
        "gzip -c < outside/other > context/text.gz; head -c 1024 /dev/zero > context/zeros; : > context/empty",
    );
    sh("head -c 3000 context/xz > /dev/null; cat context/gzip | head -c 60 > context/cut");
    let tree = scene.tree(&[]);
    let unpacked = |name: &str| {
        scene.clear();
        let placement = Placement {
            unpack: true,
            ..to("/n")
        };
        scene.copy_with(&tree, &[name], &[], false, &placement)?;
        Ok::<_, image::Error>(scene.list("root"))
    };
    for name in ["plain", "gzip", "bzip2", "xz", "zstd"] {
        assert_eq!(unpacked(name).unwrap(), ["n/", "n/d/", "n/d/g", "n/f"], "{name}");
    }
    for name in ["text.gz", "zeros", "empty", "cut"] {
        assert_eq!(unpacked(name).unwrap(), ["n"], "{name}");
    }
    // Without the word it is a file.
    scene.clear();
    scene.copy(&tree, &["gzip"], "/n").unwrap();
    assert_eq!(scene.list("root"), ["n"]);
}

#[test]
fn archives_do_not_lead_out() {
    let scene = Scene::new("escape");
    let outside = scene.at("outside").display().to_string();
    let archive = |name: &str, script: &str| {
        let done = std::process::Command::new("python3")
            .arg("-c")
            .arg(format!(
                "import tarfile,io\nt=tarfile.open({:?},'w')\ndef add(n,k=tarfile.REGTYPE,l='',b=b'x'):\n i=tarfile.TarInfo(n); i.type=k; i.linkname=l; i.size=len(b) if k==tarfile.REGTYPE else 0; i.mode=0o755; t.addfile(i, io.BytesIO(b))\nO={outside:?}\n{script}\nt.close()",
                scene.at("context").join(name)
            ))
            .status()
            .unwrap();
        assert!(done.success());
    };
    archive("dots", "add('ok'); add('../../outside/a')");
    archive("absolute", "add('/'+O+'/a')");
    archive("link", "add('l',tarfile.SYMTYPE,O); add('l/a')");
    archive("uplink", "add('l',tarfile.SYMTYPE,'../'*20+O); add('l/a')");
    archive("hard", "add('h',tarfile.LNKTYPE,'../../../../../../etc/passwd')");
    archive(
        "hardlink",
        "add('l',tarfile.SYMTYPE,'/etc'); add('h',tarfile.LNKTYPE,'l/passwd')",
    );
    archive(
        "swap",
        "add('d',tarfile.DIRTYPE); add('d',tarfile.SYMTYPE,O); add('d/a')",
    );
    let tree = scene.tree(&[]);
    for name in ["dots", "absolute", "link", "uplink", "hard", "hardlink", "swap"] {
        scene.clear();
        let placement = Placement {
            unpack: true,
            ..to("/n/")
        };
        // Refused, or put where it leads to inside; both are fine.
        let _ = scene.copy_with(&tree, &[name], &[], false, &placement);
        assert_eq!(scene.list("outside"), [""; 0], "{name}");
        assert!(!scene.at("root/n/h").exists(), "{name}");
        assert!(!scene.at("outside/a").exists(), "{name}");
    }
}

#[test]
fn names_may_be_anything() {
    use std::os::unix::ffi::OsStrExt as _;
    let scene = Scene::new("names");
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe",
        b"a\\b",
        b"[x",
        b"*",
        b" ",
        b"-rf",
        b"\x1b[31m",
    ] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::create_dir(scene.at("context").join(name)).unwrap();
        fs::write(scene.at("context").join(name).join(name), "x").unwrap();
    }
    let tree = scene.tree(&["nothing"]);
    scene.copy(&tree, &["."], "/").unwrap();
    let same = std::process::Command::new("diff")
        .arg("-r")
        .args([scene.at("context"), scene.at("root")])
        .status();
    assert!(same.unwrap().success());
    let selection = Selection {
        sources: &[".".to_owned()],
        ..Selection::default()
    };
    let selected = tree.select(&selection, &Cancel::new()).unwrap();
    tree.digest(&selected, &Cancel::new()).unwrap();
    // One that stands for itself, and one that is written with its escape.
    scene.clear();
    scene.copy(&tree, &["[[]x/[[]x"], "/one").unwrap();
    scene.copy(&tree, &["a\\b/a\\b"], "/two").unwrap();
    assert_eq!(scene.list("root"), ["one", "two"]);
}

/// Makes `levels` directories, one in the other, with a file and an empty directory in each; their path is longer than any call takes.
fn make_deep(at: OwnedFd, levels: usize) {
    let mut at = at;
    for _ in 0..levels {
        for name in ["deeper", "beside"] {
            sys::fs::mkdirat(at.as_fd(), std::path::Path::new(name), 0o755).unwrap();
        }
        let flags = libc::O_WRONLY | libc::O_CREAT;
        drop(sys::fs::openat(at.as_fd(), std::path::Path::new("file"), flags, 0o644).unwrap());
        at = sys::fs::openat(at.as_fd(), std::path::Path::new("deeper"), libc::O_RDONLY, 0).unwrap();
    }
}

#[test]
fn depth_needs_few_descriptors() {
    let scene = Scene::new("deep");
    const LEVELS: usize = 5000;
    make_deep(scene.open("context"), LEVELS);
    let tree = scene.tree(&["nothing"]);
    let selection = Selection {
        sources: &[".".to_owned()],
        ..Selection::default()
    };
    let selected = tree.select(&selection, &Cancel::new()).unwrap();
    let first = tree.digest(&selected, &Cancel::new()).unwrap();
    let root = scene.open("root");
    put(&tree, &selected, root.as_fd(), &to("/"), &Cancel::new()).unwrap();
    assert!(!selected.has_changed());
    let copied = Tree::local(scene.open("root"), None);
    let selected = copied.select(&selection, &Cancel::new()).unwrap();
    assert_eq!(copied.digest(&selected, &Cancel::new()).unwrap(), first);
    for part in ["context", "root"] {
        image::layer::remove_path(&scene.at(part)).unwrap();
    }
}

#[test]
fn nothing_blocks_and_sockets_are_stubs() {
    if !is_root() {
        println!("skip: needs root");
        return;
    }
    let scene = Scene::new("special");
    scene.make("context", &["d/f"]);
    let at = |name: &str| scene.at("context/d").join(name);
    let null = libc::makedev(1, 3);
    sys::fs::mkfifoat(sys::fs::cwd(), &at("fifo"), 0o640).unwrap();
    sys::fs::mknodat(sys::fs::cwd(), &at("null"), libc::S_IFCHR | 0o666, null).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let tree = scene.tree(&[]);
    for sources in [["d"], ["d/*"]] {
        scene.clear();
        let placement = Placement {
            unpack: true,
            ..to("/n/")
        };
        scene.copy_with(&tree, &sources, &[], false, &placement).unwrap();
        let kind = |name: &str| fs::symlink_metadata(scene.at("root/n").join(name)).unwrap();
        assert_eq!(kind("fifo").mode(), libc::S_IFIFO | 0o640);
        assert_eq!(
            (kind("null").mode() & libc::S_IFMT, kind("null").rdev()),
            (libc::S_IFCHR, null)
        );
        assert_eq!(
            (kind("socket").mode() & libc::S_IFMT, kind("socket").len()),
            (libc::S_IFREG, 0)
        );
    }
    let selection = Selection {
        sources: &["d".to_owned()],
        ..Selection::default()
    };
    let selected = tree.select(&selection, &Cancel::new()).unwrap();
    tree.digest(&selected, &Cancel::new()).unwrap();
}

#[test]
fn a_file_that_becomes_something_else_is_not_followed() {
    let scene = Scene::new("race");
    scene.make("outside", &["secret"]);
    scene.make("context", &["d/f", "d/g/h"]);
    let selection = Selection {
        sources: &["d".to_owned()],
        ..Selection::default()
    };
    let tree = scene.tree(&[]);
    let attempt = |change: &dyn Fn()| {
        let selected = tree.select(&selection, &Cancel::new()).unwrap();
        change();
        scene.clear();
        let digest = tree.digest(&selected, &Cancel::new());
        let done = put(
            &tree,
            &selected,
            scene.open("root").as_fd(),
            &to("/"),
            &Cancel::new(),
        );
        for name in scene.list("root") {
            let text = fs::read_to_string(scene.at("root").join(name)).unwrap_or_default();
            assert_ne!(text, "secret");
        }
        (digest, done, selected.has_changed())
    };
    let at = |name: &str| scene.at("context").join(name);
    let (digest, done, _) = attempt(&|| {
        fs::remove_file(at("d/f")).unwrap();
        symlink(scene.at("outside/secret"), at("d/f")).unwrap();
    });
    assert!(digest.is_err() && done.unwrap_err().to_string().contains("replaced"));
    fs::remove_file(at("d/f")).unwrap();
    scene.make("context", &["d/f"]);
    let (digest, done, _) = attempt(&|| {
        fs::remove_dir_all(at("d/g")).unwrap();
        symlink(scene.at("outside"), at("d/g")).unwrap();
    });
    assert!(digest.is_err() && done.is_err());
    fs::remove_file(at("d/g")).unwrap();
    scene.make("context", &["d/f", "d/g/h"]);
    let (digest, done, _) = attempt(&|| {
        fs::remove_file(at("d/f")).unwrap();
        sys::fs::mkfifoat(sys::fs::cwd(), &at("d/f"), 0o644).unwrap();
    });
    assert!(digest.is_err() && done.is_err());
    fs::remove_file(at("d/f")).unwrap();
    scene.make("context", &["d/f"]);
    // Other bytes are taken, and it is said that they are others.
    let (digest, done, changed) = attempt(&|| fs::write(at("d/f"), "other").unwrap());
    assert!(digest.is_ok() && done.is_ok() && changed);
    let (digest, done, changed) = attempt(&|| ());
    assert!(digest.is_ok() && done.is_ok() && !changed);
}

#[test]
fn swaps_while_it_is_copied_lead_nowhere() {
    let scene = Scene::new("swap");
    scene.make("outside", &["in/secret"]);
    fs::write(scene.at("outside/in/f"), "secret").unwrap();
    scene.make("context", &["d/f"]);
    for n in 0..50 {
        scene.make("context", &[&format!("d/x{n}")]);
    }
    symlink(scene.at("outside/in"), scene.at("context/l")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (d, l) = (scene.at("context/d"), scene.at("context/l"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sys::fs::exchange(sys::fs::cwd(), &d, sys::fs::cwd(), &l).unwrap();
            }
        });
        let tree = scene.tree(&[]);
        for _ in 0..40 {
            scene.clear();
            let _ = scene.copy(&tree, &["."], "/");
            let _ = scene.copy(&tree, &["d"], "/n");
            let _ = scene.copy(&tree, &["l"], "/m");
            let found = scene.list("root");
            assert!(!found.iter().any(|name| name.ends_with("secret")), "{found:?}");
            for name in found.iter().filter(|name| name.ends_with("/f")) {
                assert_eq!(fs::read_to_string(scene.at("root").join(name)).unwrap(), "d/f");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn rights_of_programs_go_along() {
    if !is_root() {
        println!("skip: needs root");
        return;
    }
    let scene = Scene::new("rights");
    scene.make("context", &["d/f"]);
    let path = std::ffi::CString::new(scene.at("context/d/f").to_str().unwrap()).unwrap();
    // cap_net_raw+ep, as setcap(8) writes it (VFS_CAP_REVISION_2).
    let mut rights = vec![0u8; 20];
    (rights[0], rights[3], rights[5]) = (1, 2, 0x20);
    sys::fs::set_xattr(&path, c"security.capability", &rights).unwrap();
    let placement = Placement {
        owner: Some((5, 6)),
        ..to("/n")
    };
    scene
        .copy_with(&scene.tree(&[]), &["d"], &[], false, &placement)
        .unwrap();
    let path = std::ffi::CString::new(scene.at("root/n/f").to_str().unwrap()).unwrap();
    assert_eq!(
        sys::copy::xattr(&path, c"security.capability").unwrap(),
        Some(rights)
    );
}

#[test]
fn holes_and_large_files() {
    let scene = Scene::new("holes");
    let path = scene.at("context/large");
    let file = fs::File::create(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (300 << 20) - 3).unwrap();
    drop(file);
    scene.copy(&scene.tree(&[]), &["large"], "/n").unwrap();
    let meta = fs::metadata(scene.at("root/n")).unwrap();
    assert_eq!(meta.len(), 300 << 20);
    assert!(meta.blocks() * 512 < 8 << 20, "{}", meta.blocks());
}
