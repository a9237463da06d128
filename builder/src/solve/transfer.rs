//! COPY and ADD: files from the context, another stage, an image, or from far away.
//!
//! May not: walk a tree; that is `files`'s.

use std::os::fd::{AsFd as _, BorrowedFd};

use build::remote::Location;
use build::scope::Transfer;
use image::layer::Owners;
use image::store::{Layer, cache};
use image::{Digest, Error, Result};
use serde_json::{Value, json};

use super::ahead::depends_on_files;
use super::stage::{Broken, Doing, Made};
use super::state::State;
use super::{Solver, snapshot};
use crate::files::download::Version;
use crate::files::{self, Placement, Selected, Selection, Tree};
use crate::sources::Fetched;
use crate::telling::Event;

/// One source of an instruction, looked at.
enum Piece<'c> {
    Here(Here),
    /// A file of the web that is what it was when it came to this digest. It was not fetched again.
    Unchanged(&'c Location, Digest),
}

/// Files that there are.
struct Here {
    tree: std::sync::Arc<Tree>,
    selected: Selected,
    /// What is unpacked when it is an archive.
    may_unpack: bool,
}

/// The kind of a record of what a file of the web was.
const OF_WEB: &str = "source.http";

impl Solver<'_> {
    pub(super) fn transfer(
        &self,
        doing: &Doing<'_>,
        copy: &Transfer,
        state: &State,
        name: &str,
    ) -> Result<(Made, bool), Broken> {
        let definition = |content: Value| {
            json!({
                "copy": copy.destination,
                "add": copy.is_add,
                "chown": self.chown(copy),
                "chmod": copy.chmod.as_ref().map(|mode| format!("{mode:?}")),
                "link": copy.link,
                "parents": copy.parents,
                "unpack": copy.unpack,
                "content": content,
            })
        };
        let origin = doing.step.origins.first().and_then(Option::as_ref);
        let below = match copy.link {
            true => State::scratch(self.platform),
            false => state.clone(),
        };
        // By what the files come from: nothing has to be read then.
        let by_origin = match origin.filter(|origin| self.sources.tree(Some(origin)).is_none()) {
            Some(origin) => {
                let from = self.state_of(origin, doing.shared)?;
                let words: Vec<String> = copy.sources.iter().map(location_text).collect();
                let content = json!({"from": from.key, "sources": words, "exclude": copy.exclude});
                Some(self.key_of(&below.key, &definition(content)))
            }
            None => None,
        };
        if doing.shared.is_ahead {
            let is_here = copy.sources.iter().all(|own| matches!(own, Location::Path(_)));
            return match &by_origin {
                Some(key) => match self.peek(doing, key)? {
                    (made, true) => Ok((made, true)),
                    (_, false) => Err(depends_on_files()),
                },
                None if is_here => {
                    let digests = self.digests_of(&self.pieces(doing, copy)?)?;
                    Ok(self.peek(doing, &self.key_of(&below.key, &definition(json!(digests))))?)
                }
                None => Err(depends_on_files()),
            };
        }
        if let Some(key) = &by_origin
            && let Some(made) = self.known(doing, key, &below, name)?
        {
            self.tell_begun(doing, name);
            return Ok((made, true));
        }
        let pieces = self.pieces(doing, copy)?;
        let digests = self.digests_of(&pieces)?;
        let by_content = self.key_of(&below.key, &definition(json!(digests)));
        let done = self.once_by_key(doing, by_content, &below, name, || {
            let snapshot = self.snapshot(doing, &below)?;
            // What somebody has changed meanwhile is not what the key says.
            let mut has_changed = false;
            let mut all = Vec::new();
            for piece in pieces {
                all.push(match piece {
                    Piece::Here(here) => here,
                    Piece::Unchanged(far, digest) => {
                        let (here, now) = self.fetched(copy, self.sources.fetch(copy, far)?)?;
                        has_changed |= now != digest;
                        here
                    }
                });
            }
            self.put(copy, &snapshot, &all)?;
            has_changed |= all.iter().any(|here| here.selected.has_changed());
            if has_changed {
                doing.is_lasting.set(false);
            }
            Ok::<Option<Layer>, Broken>(snapshot.finish(self.epoch, self.means.maker.cancel)?)
        })?;
        if let Some(key) = by_origin
            && doing.is_lasting.get()
        {
            self.keep(&key, &below, &done.0, name)?;
        }
        Ok(done)
    }

    fn digests_of(&self, pieces: &[Piece<'_>]) -> Result<Vec<Digest>> {
        let digest = |piece: &Piece<'_>| match piece {
            Piece::Here(here) => here.tree.digest(&here.selected, self.means.maker.cancel),
            Piece::Unchanged(_, digest) => Ok(digest.clone()),
        };
        pieces.iter().map(digest).collect()
    }

    /// What the sources name.
    fn pieces<'c>(&self, doing: &Doing<'_>, copy: &'c Transfer) -> Result<Vec<Piece<'c>>> {
        let mut pieces = Vec::new();
        // In their order: of two files with one name the later one stays.
        for source in &copy.sources {
            match source {
                Location::Path(path) => {
                    let may_unpack = copy.is_add && copy.unpack != Some(false);
                    let tree = self.tree(doing)?;
                    let path = std::slice::from_ref(path);
                    pieces.push(Piece::Here(self.piece(tree, copy, path, may_unpack)?));
                }
                far => pieces.push(self.far(doing, copy, far)?),
            }
        }
        if !copy.files.is_empty() {
            let names: Vec<String> = copy.files.iter().map(|file| file.name.clone()).collect();
            let tree = std::sync::Arc::new(Tree::inline(&copy.files));
            pieces.push(Piece::Here(self.piece(tree, copy, &names, false)?));
        }
        Ok(pieces)
    }

    /// What lies elsewhere is fetched, unless its server says that it is what it was.
    fn far<'c>(&self, doing: &Doing<'_>, copy: &'c Transfer, far: &'c Location) -> Result<Piece<'c>> {
        let store = self.means.maker.store;
        let Location::Url(address) = far else {
            let (here, _) = self.fetched(copy, self.sources.fetch(copy, far)?)?;
            return Ok(Piece::Here(here));
        };
        let words = json!({"address": address, "checksum": copy.checksum, "exclude": copy.exclude});
        let record = super::key::of_step(None, &json!({"web": words}));
        let known = match self.may_ask(doing.stage) {
            true => store
                .cached(&record)?
                .and_then(|found| read_version(&found.value)),
            false => None,
        };
        let version = known
            .as_ref()
            .map(|(version, _)| version.clone())
            .unwrap_or_default();
        let fetched = match (self.sources.fetch_unless(copy, far, &version)?, known) {
            (Some(fetched), _) => fetched,
            (None, Some((_, digest))) => {
                store.use_cached(&[record])?;
                return Ok(Piece::Unchanged(far, digest));
            }
            (None, None) => return Err(Error::not_found("there is nothing")),
        };
        let version = fetched.version.clone();
        let (here, digest) = self.fetched(copy, fetched)?;
        if !version.is_none() {
            store.keep_cached(&cache::Step {
                key: &record,
                layer: None,
                description: &format!("http url {}", here.tree.name()),
                kind: OF_WEB,
                value: &json!({"tag": version.tag, "modified": version.modified, "digest": digest})
                    .to_string(),
                parents: &[],
            })?;
        }
        Ok(Piece::Here(here))
    }

    /// What was fetched, and what it comes to.
    fn fetched(&self, copy: &Transfer, fetched: Fetched) -> Result<(Here, Digest)> {
        let may_unpack = fetched.is_file && copy.unpack == Some(true);
        let tree = std::sync::Arc::new(fetched.tree);
        let here = self.piece(tree, copy, &fetched.sources, may_unpack)?;
        let digest = here.tree.digest(&here.selected, self.means.maker.cancel)?;
        Ok((here, digest))
    }

    fn piece(
        &self,
        tree: std::sync::Arc<Tree>,
        copy: &Transfer,
        sources: &[String],
        may_unpack: bool,
    ) -> Result<Here> {
        let selected = tree.select(
            &Selection {
                sources,
                exclude: &copy.exclude,
                parents: copy.parents,
            },
            self.means.maker.cancel,
        )?;
        Ok(Here {
            tree,
            selected,
            may_unpack,
        })
    }

    /// What files are taken from.
    fn tree(&self, doing: &Doing<'_>) -> Result<std::sync::Arc<Tree>> {
        let origin = doing.step.origins.first().and_then(Option::as_ref);
        if let Some(tree) = self.sources.tree_to_copy(origin) {
            return Ok(tree);
        }
        let origin = origin.ok_or_else(|| Error::not_found("there is no build context"))?;
        let state = self.files_of(origin, doing.shared)?;
        let layers = snapshot::readable(self.means.maker.store, &state.layers, self.lease)?;
        let root = snapshot::root(&layers, None, self.lease)?;
        Ok(std::sync::Arc::new(Tree::of_root(root)))
    }

    fn put(&self, copy: &Transfer, snapshot: &snapshot::Snapshot<'_>, pieces: &[Here]) -> Result<()> {
        let root = snapshot.open()?;
        let owner = self.owner(copy, root.as_fd())?;
        for piece in pieces {
            files::put(
                &piece.tree,
                &piece.selected,
                root.as_fd(),
                &Placement {
                    destination: &copy.destination,
                    owner,
                    mode: copy.chmod.as_ref(),
                    unpack: piece.may_unpack,
                    follow: !copy.link,
                },
                self.means.maker.cancel,
            )?;
        }
        Ok(())
    }

    /// `--chown`, by the names of the stage. With `--link` there is nothing below to look into: numbers alone have a meaning.
    fn owner(&self, copy: &Transfer, root: BorrowedFd<'_>) -> Result<Option<(u32, u32)>> {
        match self.chown(copy) {
            Some(chown) => match files::owner(root, chown)? {
                files::Owner {
                    unknown: Some(unknown),
                    ..
                } if copy.link => Err(Error::invalid(format!(
                    "there is no {unknown}: with --link nothing is below, and only numbers have a meaning"
                ))),
                owner => Ok(Some(self.tell_unknown(owner))),
            },
            None => Ok(None),
        }
    }

    /// Its numbers; what was meant, and is not there, is said.
    pub(super) fn tell_unknown(&self, owner: files::Owner) -> (u32, u32) {
        if let Some(unknown) = &owner.unknown {
            let text = format!("there is no {unknown} in the image: files are made as if it were not said");
            (self.means.listener)(&Event::Warning { text: &text });
        }
        owner.ids()
    }

    /// Where there is but one user, everything is root's, as it is in images that are pulled.
    fn chown<'c>(&self, copy: &'c Transfer) -> Option<&'c str> {
        match self.means.maker.means.owners {
            Owners::Caller => Some("0:0"),
            Owners::Keep => copy.chown.as_deref(),
        }
    }
}

/// A record of a file of the web. One that says nothing is none.
fn read_version(record: &str) -> Option<(Version, Digest)> {
    let value: Value = serde_json::from_str(record).ok()?;
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let version = Version {
        tag: text("tag"),
        modified: text("modified"),
    };
    let digest = text("digest")?.parse().ok()?;
    (!version.is_none()).then_some((version, digest))
}

fn location_text(location: &Location) -> String {
    match location {
        Location::Path(path) => path.clone(),
        other => format!("{other:?}"),
    }
}
