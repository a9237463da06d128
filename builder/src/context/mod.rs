//! Where files and the Dockerfile come from: a directory, an archive, a download or a repository.
//!
//! ```text
//! Origin --find--> files, or a Dockerfile alone --> Dockerfile, ignore file --> Context, Source
//! ```
//!
//! May not: know what instructions do with them, or follow a link out of a context that somebody else has made. What is unpacked or
//! fetched lies below the directory of the build's lease and goes with it.

mod find;
pub mod git;
mod program;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build::ignore::Matcher;
use build::remote::Location;
use build::scope::Transfer;
use build::source::Source;
use build::stages::Origin;
use image::registry::Cancel;
use image::store::Lease;
use image::{Context as _, Digest, Error, Kind, Result};

pub use find::Found;

use crate::files::download::{Download, download};
use crate::files::{Selection, Tree};
use crate::make::Means;
use crate::request::{Named, Request, SecretFrom};
use crate::solve::Counter;
use crate::telling::Event;
use find::{Files, Step, Ways};

/// A secret that lets us in is short; more of it is not sent.
const LARGEST_SECRET: u64 = 64 << 10;

/// What a build may take files from.
pub struct Context {
    files: Files,
    tree: Arc<Tree>,
    named: BTreeMap<String, (PathBuf, Arc<Tree>)>,
}

impl Context {
    /// What it leaves out.
    pub fn ignore(&self) -> Option<&Matcher> {
        self.files.ignore.as_deref()
    }

    /// Its files.
    pub fn tree(&self) -> Arc<Tree> {
        self.tree.clone()
    }

    /// Where it was found.
    pub fn found(&self) -> &Found {
        &self.files.found
    }

    /// The files of a context of `--build-context`, if it is one of files.
    pub fn named(&self, origin: &Origin) -> Option<Arc<Tree>> {
        match origin {
            Origin::Named(name) => self.named.get(name).map(|(_, tree)| tree.clone()),
            _ => None,
        }
    }

    /// Contexts of files, by name.
    pub fn directories(&self) -> BTreeMap<String, PathBuf> {
        let each = self.named.iter();
        each.map(|(name, (path, _))| (name.clone(), path.clone()))
            .collect()
    }

    /// A directory with its files, to be bound: itself, or what is left without what it leaves out.
    ///
    /// # Errors
    /// The files cannot be copied.
    pub fn bindable(&self, lease: &Lease<'_>, cancel: &Cancel) -> Result<PathBuf> {
        if self.ignore().is_none() {
            return Ok(self.files.path.clone());
        }
        let place = lease.directory().join("context");
        if !place.exists() {
            std::fs::create_dir_all(&place)?;
            let selected = self.select(".", cancel)?;
            crate::files::put_into(&self.tree, &selected, &place, cancel)?;
        }
        Ok(place)
    }

    fn select(&self, path: &str, cancel: &Cancel) -> Result<crate::files::Selected> {
        let sources = [path.to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        self.tree.select(&selection, cancel)
    }

    /// Of what is at a path.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn digest(&self, path: &str, cancel: &Cancel) -> Result<Digest> {
        let selected = self.select(path, cancel)?;
        self.tree.digest(&selected, cancel)
    }

    /// What ADD fetches, and what of it is to be selected.
    ///
    /// # Errors
    /// It cannot be had, or has another checksum.
    pub fn download(
        &self,
        means: &Means<'_>,
        request: &Request,
        lease: &Lease<'_>,
        copy: &Transfer,
        location: &Location,
    ) -> Result<(Tree, String)> {
        let secrets = |name: &str| secret(request, name);
        let place = find::new_directory(&scratch(lease))?;
        match location {
            Location::Url(address) => {
                let what = Download {
                    address,
                    checksum: copy.checksum.as_deref(),
                    secrets: &secrets,
                    place: &place,
                };
                let fetched = download(means.client, &what)?;
                Ok((fetched.tree, fetched.source))
            }
            Location::Git(git) => {
                let keep = match (git.keep_git_dir, copy.keep_git_dir) {
                    (Some(one), Some(other)) if one != other => {
                        return Err(Error::invalid("inconsistent keep-git-dir configuration"));
                    }
                    (one, other) => one.or(other).unwrap_or(false),
                };
                let wanted = git::Request {
                    git,
                    keep_git_dir: keep,
                    checksum: copy.checksum.as_deref(),
                    may_be_local: false,
                    environment: &request.environment,
                    secrets: &secrets,
                    place: &place,
                };
                let checkout = git::fetch(&wanted, means.maker.cancel)?;
                let tree = Tree::local(checkout.root, None).named(&git.remote);
                Ok((tree, ".".to_owned()))
            }
            Location::Path(path) => Err(Error::invalid(format!("{path:?} is not far away"))),
        }
    }
}

/// Finds the Dockerfile and the files.
///
/// # Errors
/// They are not there or cannot be read.
pub fn open(
    means: &Means<'_>,
    request: &Request,
    lease: &Lease<'_>,
    counter: &Counter,
) -> Result<(Context, Source)> {
    let secrets = |name: &str| secret(request, name);
    let scratch = scratch(lease);
    let memories = means.maker.store.roots().root.join("build/contexts");
    let ways = Ways {
        client: means.client,
        scratch: &scratch,
        memories: &memories,
        environment: &request.environment,
        secrets: &secrets,
        cancel: means.maker.cancel,
    };
    let current = Cell::new(0);
    let tell = |step: Step<'_>| match step {
        Step::Begun(name) => {
            current.set(counter.next());
            let vertex = current.get();
            (means.listener)(&Event::Begun { vertex, name });
        }
        Step::Ended(None) => (means.listener)(&Event::Done {
            vertex: current.get(),
        }),
        Step::Ended(Some(e)) => {
            let (vertex, why) = (current.get(), e.to_string());
            (means.listener)(&Event::Failed { vertex, why: &why });
        }
    };
    let (files, source) = find::open(request, &ways, &mut std::io::stdin().lock(), &tell)?;
    let mut named = BTreeMap::new();
    for (name, context) in &request.contexts {
        if let Named::Origin(origin) = context {
            let files = find::named(name, origin, &ways).context(format!("failed to load context {name}"))?;
            let tree = files.tree()?.named(name);
            named.insert(name.clone(), (files.path, Arc::new(tree)));
        }
    }
    let tree = Arc::new(files.tree()?);
    Ok((Context { files, tree, named }, source))
}

fn scratch(lease: &Lease<'_>) -> PathBuf {
    lease.directory().join("fetched")
}

/// A secret of the request by its name; that there is none is no failure.
fn secret(request: &Request, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(secret) = request.secrets.iter().find(|secret| secret.id == name) else {
        return Ok(None);
    };
    match &secret.from {
        SecretFrom::Variable(variable) => {
            Ok(std::env::var_os(variable).map(std::os::unix::ffi::OsStringExt::into_vec))
        }
        SecretFrom::File(path) => read_secret(path).context(format!("failed to read secret {name}")),
    }
}

fn read_secret(path: &Path) -> Result<Option<Vec<u8>>> {
    if std::fs::metadata(path)?.len() > LARGEST_SECRET {
        let text = format!("it is larger than {LARGEST_SECRET} bytes");
        return Err(Error::of(Kind::Invalid, text));
    }
    Ok(Some(std::fs::read(path)?))
}
