//! COPY and ADD: files from the context, another stage, an image, or from far away.
//!
//! May not: walk a tree; that is `files`'s.

use std::os::fd::{AsFd as _, BorrowedFd};

use build::remote::Location;
use build::scope::Transfer;
use image::layer::Owners;
use image::store::Layer;
use image::{Digest, Error, Result};
use serde_json::{Value, json};

use super::ahead::depends_on_files;
use super::stage::{Broken, Doing, Made};
use super::state::State;
use super::{Solver, snapshot};
use crate::files::{self, Placement, Selected, Selection, Tree};

/// One source of an instruction, looked at.
struct Piece {
    tree: std::sync::Arc<Tree>,
    selected: Selected,
    /// What is unpacked when it is an archive.
    may_unpack: bool,
}

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
            self.put(copy, &snapshot, &pieces)?;
            // What somebody has changed meanwhile is not what the key says.
            if pieces.iter().any(|piece| piece.selected.has_changed()) {
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

    fn digests_of(&self, pieces: &[Piece]) -> Result<Vec<Digest>> {
        let digest = |piece: &Piece| piece.tree.digest(&piece.selected, self.means.maker.cancel);
        pieces.iter().map(digest).collect()
    }

    /// What the sources name.
    fn pieces(&self, doing: &Doing<'_>, copy: &Transfer) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        // In their order: of two files with one name the later one stays.
        for source in &copy.sources {
            match source {
                Location::Path(path) => {
                    let may_unpack = copy.is_add && copy.unpack != Some(false);
                    let tree = self.tree(doing)?;
                    pieces.push(self.piece(tree, copy, std::slice::from_ref(path), may_unpack)?);
                }
                far => {
                    let fetched = self.sources.fetch(copy, far)?;
                    let may_unpack = fetched.is_file && copy.unpack == Some(true);
                    let tree = std::sync::Arc::new(fetched.tree);
                    pieces.push(self.piece(tree, copy, &fetched.sources, may_unpack)?);
                }
            }
        }
        if !copy.files.is_empty() {
            let names: Vec<String> = copy.files.iter().map(|file| file.name.clone()).collect();
            let tree = std::sync::Arc::new(Tree::inline(&copy.files));
            pieces.push(self.piece(tree, copy, &names, false)?);
        }
        Ok(pieces)
    }

    fn piece(
        &self,
        tree: std::sync::Arc<Tree>,
        copy: &Transfer,
        sources: &[String],
        may_unpack: bool,
    ) -> Result<Piece> {
        let selected = tree.select(
            &Selection {
                sources,
                exclude: &copy.exclude,
                parents: copy.parents,
            },
            self.means.maker.cancel,
        )?;
        Ok(Piece {
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
        let layers = self.means.maker.store.mountable(&state.layers);
        let root = match layers.is_empty() {
            true => return Err(Error::not_found("there are no files in it")),
            false => snapshot::root(&layers, None, self.lease)?,
        };
        Ok(std::sync::Arc::new(Tree::of_root(root)))
    }

    fn put(&self, copy: &Transfer, snapshot: &snapshot::Snapshot<'_>, pieces: &[Piece]) -> Result<()> {
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
            Some(chown) => files::owner(root, chown).map(Some),
            None => Ok(None),
        }
    }

    /// Where there is but one user, everything is root's, as it is in images that are pulled.
    fn chown<'c>(&self, copy: &'c Transfer) -> Option<&'c str> {
        match self.means.maker.means.owners {
            Owners::Caller => Some("0:0"),
            Owners::Keep => copy.chown.as_deref(),
        }
    }
}

fn location_text(location: &Location) -> String {
    match location {
        Location::Path(path) => path.clone(),
        other => format!("{other:?}"),
    }
}
