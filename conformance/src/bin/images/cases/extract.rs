//! Extraction: the flattened tree equals what Docker's overlay and umoci make of the same layers.
//!
//! May not: judge where the two differ from each other; then the case says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::command::{self, USUAL};
use conformance::kernel;

use crate::archive::{Entry, Kind, archive};
use crate::case::{Case, Done, Need, Scene, case, is};
use crate::depot::{Compression, Image, Recipe};
use crate::lab::Subject;
use crate::nasty::{self, Repeats};
use conformance::seed::Numbers;
use conformance::tree::Tree;

/// So many generated archives, as layers of images.
const IMAGES: u64 = 50;
const LAYERS: usize = 10;

pub fn cases() -> Vec<Case> {
    vec![
        case("extract.many-as-docker", &[Need::Docker], |s| {
            let reference = s.lab.plain.reference("many:1");
            let theirs = by_docker(s, &reference)?;
            same(&by_subject(s, &reference)?, &theirs, "docker")
        }),
        case("extract.many-as-umoci", &[Need::Umoci], |s| {
            let image = s.lab.fixtures.many.clone();
            let theirs = by_umoci(s, &image)?;
            let reference = s.lab.plain.reference("many:1");
            same(&by_subject(s, &reference)?, &theirs, "umoci")
        }),
        case("extract.debian-as-docker", &[Need::Docker], |s| {
            let reference = s.lab.plain.reference("debian:bookworm");
            let theirs = by_docker(s, &reference)?;
            let mine = by_subject(s, &reference)?;
            is("a whole Debian", mine.size() > 3000, true)?;
            same(&mine, &theirs, "docker")
        }),
        case("extract.mount", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("many:1");
            let bundled = by_subject(s, &reference)?;
            let point = s.brig_must(&["image", "mount", &reference])?;
            let point = point.split_whitespace().last().unwrap_or_default().to_owned();
            let mounted = Tree::read(Path::new(&point))?;
            let refusal = std::fs::write(Path::new(&point).join("new"), "");
            s.brig_must(&["image", "unmount", &reference])?;
            is("a write is refused", refusal.is_err(), true)?;
            same(&mounted, &bundled, "the bundle")
        }),
        case(
            "extract.link-into-a-lower-layer",
            &[Need::Umoci, Need::Brig],
            |s| {
                let lower = archive(&[
                    Entry::directory("a"),
                    Entry::file("a/file", b"content\n").mode(0o640).owner(7, 8),
                ]);
                let upper = archive(&[Entry::hardlink("b", "a/file")]);
                let image = planted(s, "nasty", &[lower, upper])?;
                let theirs = by_umoci(s, &image)?;
                let reference = s.lab.plain.reference("nasty:1");
                let mine = by_subject(s, &reference)?;
                // Whether the two names are still one file is what an overlay cannot promise.
                for path in ["./a/file", "./b"] {
                    let plain = |tree: &Tree| {
                        tree.line(path)
                            .and_then(|line| line.split(" linked").next())
                            .unwrap_or_default()
                            .to_owned()
                    };
                    is(path, plain(&mine), plain(&theirs))?;
                }
                Ok(())
            },
        ),
        case("extract.gnu-sparse", &[Need::Umoci, Need::Brig], |s| {
            // Neither peer reads GNU's own form: they get the same files written out.
            let pieces = vec![
                (5, b"five".to_vec()),
                (70_000, vec![1; 700]),
                (200_000, b"end".to_vec()),
            ];
            let mut whole = vec![0; 300_000];
            for (at, piece) in &pieces {
                let at = usize::try_from(*at).unwrap_or_default();
                if let Some(place) = whole.get_mut(at..at + piece.len()) {
                    place.copy_from_slice(piece);
                }
            }
            let sparse = [
                Entry::new("pieces", Kind::Sparse(300_000, pieces)).gnu(),
                Entry::new("hole", Kind::Sparse(1 << 20, Vec::new())).gnu(),
            ];
            let written = [
                Entry::file("pieces", &whole),
                Entry::file("hole", &vec![0; 1 << 20]),
            ];
            let theirs = planted(s, "nasty", &[archive(&written)])?;
            let theirs = by_umoci(s, &theirs)?;
            planted(s, "nasty", &[archive(&sparse)])?;
            let reference = s.lab.plain.reference("nasty:1");
            same(&by_subject(s, &reference)?, &theirs, "umoci")
        }),
        case("extract.nothing-escapes", &[Need::Brig], |s| {
            let canary = s.dir.join("canary");
            std::fs::create_dir(&canary).map_err(|e| e.to_string())?;
            std::fs::write(canary.join("file"), "untouched").map_err(|e| e.to_string())?;
            let before = Tree::read(&canary)?;
            let outside = canary.display().to_string();
            let up = format!("{}{}", "../".repeat(30), outside.trim_start_matches('/'));
            let ways = [
                vec![Entry::file(&format!("{up}/new"), b"x")],
                vec![Entry::file(&format!("{outside}/new"), b"x")],
                vec![Entry::symlink("out", &outside), Entry::file("out/new", b"x")],
                vec![Entry::symlink("out", &up), Entry::file("out/new", b"x")],
                vec![
                    Entry::symlink("out", &outside),
                    Entry::directory("out").mode(0o700).owner(9, 9),
                ],
                vec![
                    Entry::hardlink("in", &format!("{up}/file")),
                    Entry::file("in", b"changed"),
                ],
                vec![
                    Entry::hardlink("in", &format!("{outside}/file")),
                    Entry::file("in", b"changed").mode(0o600),
                ],
                vec![
                    Entry::symlink("l", &format!("{outside}/file")),
                    Entry::hardlink("in", "l"),
                    Entry::file("in", b"changed"),
                ],
                vec![Entry::symlink("out", &outside), Entry::file("out/.wh.file", b"")],
                vec![Entry::file(&format!("{up}/.wh.file"), b"")],
                vec![
                    Entry::symlink("out", &outside),
                    Entry::file("out/.wh..wh..opq", b""),
                ],
                vec![Entry::file(".wh...", b""), Entry::file("a/.wh..", b"")],
            ];
            for (n, entries) in ways.iter().enumerate() {
                planted(s, "nasty", &[archive(entries)])?;
                let store = s.other_store(&format!("store-{n}"));
                let reference = s.lab.plain.reference("nasty:1");
                // Refused or contained: either will do.
                if s.brig_at(&store, &["pull", "-q", &reference])?.code == 0 {
                    s.brig_must_at(&store, &["rmi", "-f", &reference])?;
                }
                same(&Tree::read(&canary)?, &before, "the canary before")
                    .map_err(|e| format!("way {n}: {e}"))?;
            }
            Ok(())
        }),
        case("extract.generated-as-umoci", &[Need::Umoci], |s| {
            generated(s, Repeats::Allowed, IMAGES, by_umoci, "umoci")
        }),
        case("extract.generated-as-docker", &[Need::Docker, Need::Brig], |s| {
            generated(
                s,
                Repeats::Never,
                5,
                |s, _| {
                    let reference = s.lab.plain.reference("nasty:1");
                    by_docker(s, &reference)
                },
                "docker",
            )
        }),
    ]
}

/// Images of generated layers, each compared; the seed is in the message.
fn generated(
    s: &mut Scene,
    repeats: Repeats,
    images: u64,
    theirs: impl Fn(&mut Scene, &Image) -> Result<Tree, String>,
    name: &str,
) -> Done {
    let mut problems = Vec::new();
    // The peers refuse repetitions, and take their time.
    let (repeats, images) = match s.lab.subject {
        Subject::Brig => (repeats, images),
        _ => (Repeats::Never, images.min(3)),
    };
    for seed in 1..=images {
        let layers = nasty::layers(&mut Numbers::from(seed), LAYERS, repeats);
        let archives: Vec<Vec<u8>> = layers.iter().map(|entries| archive(entries)).collect();
        let image = planted(s, "nasty", &archives)?;
        let theirs = theirs(s, &image).map_err(|e| format!("seed {seed}: {e}"))?;
        let reference = s.lab.plain.reference("nasty:1");
        let mine = by_subject(s, &reference).map_err(|e| format!("seed {seed}: {e}"))?;
        if let Some(difference) = mine.difference(&theirs, name) {
            problems.push(format!("seed {seed}: {difference}"));
        }
        s.brig_must(&["rmi", "-f", &reference])?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.truncate(3);
    Err(problems.join("\n"))
}

/// An image of these layers, under the name and the tag 1 in the plain registry.
fn planted(s: &Scene, name: &str, archives: &[Vec<u8>]) -> Result<Image, String> {
    let depot = &s.lab.fixtures.depot;
    let layers = depot.layers(archives, Compression::Gzip)?;
    let image = depot.image(&Recipe::new(&["/none"]), &layers)?;
    s.lab.plain.plant(depot, name, "1", &image)?;
    Ok(image)
}

fn same(mine: &Tree, theirs: &Tree, name: &str) -> Done {
    mine.difference(theirs, name).map_or(Ok(()), Err)
}

fn by_subject(s: &mut Scene, reference: &str) -> Result<Tree, String> {
    match s.lab.subject {
        Subject::Docker => by_docker(s, reference),
        Subject::Podman => by_podman(s, reference),
        Subject::Brig => {
            s.brig_must(&["pull", "-q", reference])?;
            let bundle = s.path("bundle");
            s.brig_must(&["bundle", reference, &bundle])?;
            let tree = Tree::read(&Path::new(&bundle).join("rootfs"));
            s.brig_must(&["unbundle", &bundle])?;
            tree
        }
    }
}

/// What Docker's overlay of the image shows.
fn by_docker(s: &mut Scene, reference: &str) -> Result<Tree, String> {
    s.docker(&["pull", "-q", reference])?;
    let dirs = s.docker(&[
        "inspect",
        "--format",
        "{{.GraphDriver.Data.UpperDir}} {{with .GraphDriver.Data.LowerDir}}{{.}}{{end}}",
        reference,
    ])?;
    let mut dirs: Vec<&str> = dirs
        .split([' ', ':'])
        .filter(|dir| !dir.is_empty() && *dir != "<no" && *dir != "value>")
        .collect();
    // An overlay wants two lower ones.
    let empty = s.path("empty");
    std::fs::create_dir_all(&empty).map_err(|e| e.to_string())?;
    if dirs.len() == 1 {
        dirs.push(&empty);
    }
    let point = s.dir.join("docker");
    std::fs::create_dir_all(&point).map_err(|e| e.to_string())?;
    // Short names: a page is all that mount takes.
    let links = s.dir.join("l");
    std::fs::create_dir_all(&links).map_err(|e| e.to_string())?;
    let mut short = Vec::new();
    for (n, dir) in dirs.iter().enumerate() {
        let link = links.join(n.to_string());
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(dir, &link).map_err(|e| e.to_string())?;
        short.push(link.display().to_string());
    }
    kernel::mount(
        Path::new("overlay"),
        &point,
        "overlay",
        0,
        &format!("lowerdir={}", short.join(":")),
    )
    .map_err(|e| format!("overlay: {e}"))?;
    let tree = Tree::read(&point);
    kernel::detach(&point).map_err(|e| format!("{}: {e}", point.display()))?;
    tree
}

fn by_podman(s: &mut Scene, reference: &str) -> Result<Tree, String> {
    s.podman(&["pull", "-q", reference])?;
    let point = s.podman(&["image", "mount", reference])?;
    let tree = Tree::read(Path::new(point.trim()));
    s.podman(&["image", "unmount", "-f", reference])?;
    tree
}

fn by_umoci(s: &mut Scene, image: &Image) -> Result<Tree, String> {
    let layout = s.dir.join("layout");
    s.lab.fixtures.depot.layout(&layout, "it", image)?;
    let bundle = s.dir.join("umoci");
    let umoci = s.lab.umoci.clone()?;
    let mut unpack = Command::new(umoci);
    unpack
        .args(["unpack", "--image"])
        .arg(format!("{}:it", layout.display()))
        .arg(&bundle);
    command::run(&mut unpack, "", USUAL)?
        .ok()
        .map_err(|e| format!("umoci: {e}"))?;
    let tree = Tree::read(&bundle.join("rootfs"));
    remove(&[bundle, layout])?;
    tree
}

fn remove(dirs: &[PathBuf]) -> Done {
    for dir in dirs {
        std::fs::remove_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    Ok(())
}
