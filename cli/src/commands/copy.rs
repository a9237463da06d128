//! `cp`.

use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::units;
use crate::workshop::Workshop;
use engine::containers::{Container, Containers};
use engine::copy::{self, Options, Place, Whose};
use engine::root::{self, Opened, View};
use image::provide::Maker;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::io::{BufReader, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) const CP: Command = Command {
    about: "CONTAINER:PATH is a file of a container, which need not run; all other paths are the host's, and `-` is a tar archive on\nstdin or stdout. A path of a container begins at its root. SOURCE/. stands for what is in SOURCE.\n\nBeyond Docker: several sources may go to one directory, both sides may be containers, and the path of a container may be a\npattern of a shell (quoted, so that the shell leaves it alone).",
    usage: "[OPTIONS] [CONTAINER:]SRC_PATH|- [CONTAINER:]DEST_PATH|-",
    ways: &["container cp", "cp"],
    count: Count::AtLeast(2),
    flags: &[
        Flag::new(
            "archive",
            Takes::Switch(false),
            "Keep owners and extended attributes",
        )
        .short('a'),
        Flag::new(
            "follow-link",
            Takes::Switch(false),
            "Copy what a link in SRC_PATH leads to",
        )
        .short('L'),
        Flag::new("quiet", Takes::Switch(false), "Do not say what has been copied").short('q'),
    ],
    examples: &[
        "{name} cp index.html web:/usr/share/nginx/html/",
        "{name} cp web:/etc/nginx - | tar t",
        "{name} cp 'web:/var/log/*.log' backup:/etc/hostname logs/",
    ],
    offers: Offers::Files,
    ..Command::new("cp", "Copy files between containers and the host", cp)
};

/// An operand.
struct Side<'s> {
    /// As it was typed; none for a file of the host.
    container: Option<String>,
    path: &'s Path,
}

impl Side<'_> {
    /// What has a slash or a dot in front is the host's, whatever follows.
    fn parse(operand: &OsStr) -> Side<'_> {
        let bytes = operand.as_bytes();
        let colon = bytes.iter().position(|b| *b == b':').filter(|at| *at > 0);
        match colon {
            Some(colon) if !bytes.starts_with(b"/") && !bytes.starts_with(b".") => Side {
                container: Some(String::from_utf8_lossy(&bytes[..colon]).into_owned()),
                path: Path::new(OsStr::from_bytes(&bytes[colon + 1..])),
            },
            _ => Side {
                container: None,
                path: Path::new(operand),
            },
        }
    }

    fn is_stream(&self) -> bool {
        self.container.is_none() && self.path == Path::new("-")
    }
}

fn cp(session: &Session, parsed: &Parsed) -> Outcome {
    let sides: Vec<Side<'_>> = parsed.operands.iter().map(|o| Side::parse(o)).collect();
    let Some((to, from)) = sides.split_last() else {
        return Ok(());
    };
    check(from, to)?;
    let workshop = Workshop::open(session)?;
    let maker = workshop.maker(&image::progress::silent)?;
    let containers = workshop.containers()?;
    let mut rooms = Rooms::default();
    for side in &sides {
        rooms.open(&containers, &maker, side)?;
    }
    let options = Options {
        archive: parsed.switch("archive"),
        follow: parsed.switch("follow-link"),
        cancel: &workshop.cancel,
    };
    if to.is_stream() {
        let out = BufWriter::with_capacity(256 << 10, std::io::stdout().lock());
        copy::pack(&rooms.place(&from[0], from[0].path)?, out, &options).map_err(failed)?;
        rooms.tell(&containers, from, to);
        return Ok(());
    }
    let target = rooms.place(to, to.path)?;
    if let ([source], Whose::Container(container)) = (from, target.whose)
        && source.is_stream()
    {
        // Docker looks at the first bytes, so that `tar -cz . | docker cp - c:/` works.
        let archive = builder::files::unpack::decompressed(std::io::stdin().lock()).map_err(failed)?;
        let archive = BufReader::with_capacity(256 << 10, archive);
        copy::unpack(archive, &container, to.path, &options).map_err(failed)?;
        rooms.tell(&containers, from, to);
        return Ok(());
    }
    let sources = rooms.sources(from)?;
    if sources.len() > 1 && !copy::is_directory(&target).map_err(failed)? {
        return Err(Failure::plain(format!(
            "{} is no directory, and there are {} sources",
            to.path.display(),
            sources.len()
        )));
    }
    let mut bytes = 0;
    for (side, path) in &sources {
        bytes += copy::copy(&rooms.place(side, path)?, &target, &options).map_err(failed)?;
    }
    rooms.tell(&containers, from, to);
    let is_quiet = match parsed.was_given("quiet") {
        true => parsed.switch("quiet"),
        false => !session.out_is_terminal(),
    };
    if !is_quiet {
        session.warn(&summary(bytes, to)?);
    }
    Ok(())
}

fn summary(bytes: u64, to: &Side<'_>) -> Result<String, Failure> {
    let place = match &to.container {
        Some(container) => format!("{container}:{}", to.path.display()),
        None => std::path::absolute(to.path)?.display().to_string(),
    };
    let size = units::size(i64::try_from(bytes).unwrap_or(i64::MAX));
    Ok(format!("Successfully copied {size} to {place}"))
}

fn check(from: &[Side<'_>], to: &Side<'_>) -> Outcome {
    if from
        .iter()
        .any(|side| side.path.as_os_str().is_empty() && side.container.is_none())
    {
        return Err(Failure::plain("source can not be empty"));
    }
    if to.path.as_os_str().is_empty() {
        return Err(Failure::plain("destination can not be empty"));
    }
    if to.container.is_none() && from.iter().any(|side| side.container.is_none()) {
        return Err(Failure::plain("must specify at least one container source"));
    }
    let has_stream = from.iter().any(Side::is_stream) || to.is_stream();
    if has_stream && from.len() > 1 {
        return Err(Failure::plain(
            "an archive goes alone: there may be one source only",
        ));
    }
    Ok(())
}

/// What Docker's command line finds out by itself is told without a word of the engine.
fn failed(e: image::Error) -> Failure {
    match e.kind() {
        image::Kind::Invalid => Failure::plain(e.to_string()),
        _ => e.into(),
    }
}

/// The containers that are meant, each opened once: who has two names on the command line is one all the same.
#[derive(Default)]
struct Rooms<'r> {
    /// By the word on the command line, the id.
    ids: BTreeMap<String, String>,
    open: BTreeMap<String, Room<'r>>,
}

struct Room<'r> {
    root: Opened<'r>,
    container: Container,
    owner: (u32, u32),
}

impl<'r> Rooms<'r> {
    fn open(&mut self, containers: &Containers, maker: &Maker<'r>, side: &Side<'_>) -> Outcome {
        let Some(word) = &side.container else {
            return Ok(());
        };
        let container = containers.find(word)?;
        let id = container.id().to_owned();
        self.ids.insert(word.clone(), id.clone());
        if let Entry::Vacant(room) = self.open.entry(id) {
            let owner = root::owner(&container)?;
            let root = root::open(containers, maker, &container, View::Whole)?;
            room.insert(Room {
                root,
                container,
                owner,
            });
        }
        Ok(())
    }

    fn place<'p>(&'p self, side: &'p Side<'_>, path: &'p Path) -> Result<Place<'p>, Failure> {
        let Some(word) = &side.container else {
            return Ok(Place {
                whose: Whose::Host,
                path,
            });
        };
        let room = self.ids.get(word).and_then(|id| self.open.get(id));
        let room = room.ok_or_else(|| Failure::plain(format!("No such container: {word}")))?;
        Ok(Place {
            whose: Whose::Container(copy::Container {
                name: word,
                root: &room.root.root,
                is_read_only: room.container.definition.host.readonly_rootfs,
                owner: room.owner,
            }),
            path,
        })
    }

    /// The events of it, by Docker's names.
    fn tell(&self, containers: &Containers, from: &[Side<'_>], to: &Side<'_>) {
        let sources = from.iter().map(|side| (side, "archive-path"));
        for (side, action) in sources.chain([(to, "extract-to-dir")]) {
            let id = side.container.as_ref().and_then(|word| self.ids.get(word));
            if let Some(room) = id.and_then(|id| self.open.get(id)) {
                engine::telling::tell(containers, &room.container.definition, action, &[]);
            }
        }
    }

    /// Patterns become what they name.
    fn sources<'s>(&self, from: &'s [Side<'s>]) -> Result<Vec<(&'s Side<'s>, PathBuf)>, Failure> {
        let mut sources = Vec::new();
        for side in from {
            match self.place(side, side.path)?.whose {
                Whose::Host => sources.push((side, side.path.to_owned())),
                Whose::Container(container) => {
                    let found = copy::expand(&container, side.path).map_err(failed)?;
                    sources.extend(found.into_iter().map(|path| (side, path)));
                }
            }
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_path_is() {
        for (operand, container, path) in [
            ("c1:/a", Some("c1"), "/a"),
            ("c1:a:b", Some("c1"), "a:b"),
            ("c1:", Some("c1"), ""),
            ("/a:b", None, "/a:b"),
            ("./a:b", None, "./a:b"),
            ("../a:b", None, "../a:b"),
            (":a", None, ":a"),
            ("-", None, "-"),
            ("a", None, "a"),
        ] {
            let side = Side::parse(OsStr::new(operand));
            assert_eq!(
                (side.container.as_deref(), side.path),
                (container, Path::new(path)),
                "{operand}"
            );
        }
    }

    #[test]
    fn a_container_has_to_be_there() {
        let refused = |words: &[&str]| {
            let sides: Vec<Side<'_>> = words.iter().map(|w| Side::parse(OsStr::new(*w))).collect();
            let (to, from) = sides.split_last().unwrap_or_else(|| unreachable!());
            check(from, to).err().map(|f| f.message)
        };
        assert_eq!(refused(&["c:/a", "b"]), None);
        assert_eq!(refused(&["c:/a", "d:/b"]), None);
        assert_eq!(refused(&["a", "b", "c:/d"]), None);
        assert_eq!(
            refused(&["a", "b"]).as_deref(),
            Some("must specify at least one container source")
        );
        assert_eq!(
            refused(&["c:/a", "b", "d"]).as_deref(),
            Some("must specify at least one container source")
        );
        assert_eq!(refused(&["", "c:/b"]).as_deref(), Some("source can not be empty"));
        assert_eq!(
            refused(&["c:/a", ""]).as_deref(),
            Some("destination can not be empty")
        );
        assert!(refused(&["-", "a", "c:/b"]).is_some());
    }
}
