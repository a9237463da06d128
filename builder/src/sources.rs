//! Everything that instructions take files from and that is no stage: the build context, contexts with a name, downloads.
//!
//! May not: fetch what nobody asks for.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use build::ignore::Matcher;
use build::remote::{Git, Location};
use build::scope::Transfer;
use build::source::Source;
use build::stages::Origin;
use image::registry::Cancel;
use image::store::Lease;
use image::{Context as _, Digest, Error, Result};

use crate::context::{self, Context, git};
use crate::files::download::{Download, Version, download_unless};
use crate::files::{Selection, Tree, put_into};
use crate::make::Means;
use crate::request::{Named, Request, SecretFrom};
use crate::telling::{Counter, Event};

/// Where files come from.
pub struct Sources<'s> {
    means: &'s Means<'s>,
    request: &'s Request,
    lease: &'s Lease<'s>,
    context: Context,
    tree: Arc<Tree>,
    named: BTreeMap<String, (Context, Arc<Tree>)>,
    downloads: AtomicUsize,
    counter: &'s Counter,
    /// People are told once that files of the context are read.
    is_told: std::sync::Once,
    /// The context without what it leaves out, once somebody has wanted it.
    bindable: std::sync::Mutex<Option<PathBuf>>,
}

/// Something that ADD has fetched.
pub struct Fetched {
    pub tree: Tree,
    /// As [`Selection`] takes it.
    pub sources: Vec<String>,
    /// It may be an archive.
    pub is_file: bool,
    pub version: Version,
}

/// Secrets for servers, by their names: `GIT_AUTH_TOKEN`, `HTTP_AUTH_HEADER_example.com`.
fn secret(request: &Request, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(secret) = request.secrets.iter().find(|secret| secret.id == name) else {
        return Ok(None);
    };
    read_secret(secret).map(Some)
}

/// A secret is read up to this size, as BuildKit does.
const LARGEST_SECRET: u64 = 500 << 10;

/// What a secret is.
///
/// # Errors
/// It is not there, or too large.
pub fn read_secret(secret: &crate::request::Secret) -> Result<Vec<u8>> {
    let failed = || format!("failed to read secret {}", secret.id);
    match &secret.from {
        SecretFrom::Variable(name) => match std::env::var_os(name) {
            Some(value) => Ok(std::os::unix::ffi::OsStringExt::into_vec(value)),
            None => Err(Error::not_found(format!("secret {}: not found", secret.id))),
        },
        SecretFrom::File(path) => {
            // Not by what its size is said to be: it may be a pipe, `src=<(...)`.
            let file = std::fs::File::open(path).context(failed())?;
            let mut bytes = Vec::new();
            let read = file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes);
            if read.context(failed())? as u64 > LARGEST_SECRET {
                return Err(Error::invalid(format!(
                    "secret {} is too large: a secret has at most {LARGEST_SECRET} bytes",
                    secret.id
                )));
            }
            Ok(bytes)
        }
    }
}

/// A file that is not there is told before anything is built, whether a step wants it or not.
fn check_secrets(request: &Request) -> Result<()> {
    for secret in &request.secrets {
        if let SecretFrom::File(path) = &secret.from {
            std::fs::metadata(path).context(format!("failed to stat {}", path.display()))?;
        }
    }
    Ok(())
}

impl<'s> Sources<'s> {
    /// Opens the context and those with names. The Dockerfile.
    ///
    /// # Errors
    /// One is not there or cannot be fetched; or the file of a secret is not there.
    pub fn open(
        means: &'s Means<'s>,
        request: &'s Request,
        lease: &'s Lease<'s>,
        counter: &'s Counter,
    ) -> Result<(Sources<'s>, Source)> {
        check_secrets(request)?;
        let scratch = lease.directory().join("fetched");
        std::fs::create_dir_all(&scratch).context("failed to make room for what is fetched")?;
        let memories = means.maker.store.roots().root.join("build/contexts");
        std::fs::create_dir_all(&memories).context("failed to make room for what files come to")?;
        let secrets = |name: &str| secret(request, name);
        let may_have = context::Means {
            client: means.client,
            scratch: &scratch,
            memories: &memories,
            environment: &request.environment,
            secrets: &secrets,
            cancel: means.maker.cancel,
        };
        let (context, source) = told(
            means,
            counter,
            "[internal] load build definition from Dockerfile",
            || context::open(request, &may_have, &mut std::io::stdin().lock()),
        )?;
        told(means, counter, "[internal] load .dockerignore", || Ok(()))?;
        let mut named = BTreeMap::new();
        for (name, what) in &request.contexts {
            if let Named::Origin(origin) = what {
                let title = format!("[context {name}] load from client");
                let context = told(means, counter, &title, || context::named(name, origin, &may_have))?;
                let tree = Arc::new(context.tree()?.named(name));
                named.insert(name.clone(), (context, tree));
            }
        }
        let tree = Arc::new(context.tree()?);
        let sources = Sources {
            means,
            request,
            lease,
            context,
            tree,
            named,
            downloads: AtomicUsize::new(0),
            counter,
            is_told: std::sync::Once::new(),
            bindable: std::sync::Mutex::new(None),
        };
        Ok((sources, source))
    }

    /// What the context leaves out.
    pub fn ignore(&self) -> Option<&Matcher> {
        self.context.ignore()
    }

    /// Files of the context, or of one with a name. None: it is no files.
    pub fn tree(&self, origin: Option<&Origin>) -> Option<Arc<Tree>> {
        match origin {
            None => Some(self.tree.clone()),
            Some(Origin::Named(name)) => self.named.get(name).map(|(_, tree)| tree.clone()),
            Some(_) => None,
        }
    }

    /// The same for who copies of them.
    pub fn tree_to_copy(&self, origin: Option<&Origin>) -> Option<Arc<Tree>> {
        if origin.is_none() {
            self.is_told.call_once(|| {
                let vertex = self.counter.next();
                let name = "[internal] load build context";
                (self.means.listener)(&Event::Begun { vertex, name });
                (self.means.listener)(&Event::Done { vertex });
            });
        }
        self.tree(origin)
    }

    /// A directory with these files, to be bound: what is left out is not in it.
    ///
    /// # Errors
    /// The files cannot be copied.
    pub fn bindable(&self, origin: Option<&Origin>) -> Result<Option<PathBuf>> {
        let Some(tree) = self.tree(origin) else {
            return Ok(None);
        };
        let ignore = match origin {
            None => self.context.ignore(),
            Some(Origin::Named(name)) => self.named.get(name).and_then(|(context, _)| context.ignore()),
            Some(_) => None,
        };
        let Some(root) = tree.root() else {
            return Ok(None);
        };
        if ignore.is_none_or(|ignore| ignore.is_empty()) {
            let path = format!("/proc/self/fd/{}", root.as_raw_fd());
            return std::fs::read_link(&path)
                .map(Some)
                .context("failed to find the context");
        }
        let mut made = self
            .bindable
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if origin.is_none()
            && let Some(made) = &*made
        {
            return Ok(Some(made.clone()));
        }
        let place = self.place("bound");
        std::fs::create_dir_all(&place)?;
        let all = [".".to_owned()];
        let selection = Selection {
            sources: &all,
            ..Selection::default()
        };
        let selected = tree.select(&selection, self.means.maker.cancel)?;
        put_into(&tree, &selected, &place, self.means.maker.cancel)?;
        if origin.is_none() {
            *made = Some(place.clone());
        }
        Ok(Some(place))
    }

    /// Of what is at a path of these files.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn digest(&self, origin: Option<&Origin>, path: &str, cancel: &Cancel) -> Result<Option<Digest>> {
        let Some(tree) = self.tree(origin) else {
            return Ok(None);
        };
        let sources = [path.to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = tree.select(&selection, cancel)?;
        tree.digest(&selected, cancel).map(Some)
    }

    /// What ADD takes from far away.
    ///
    /// # Errors
    /// It cannot be had, or is not what it should be.
    pub fn fetch(&self, copy: &Transfer, location: &Location) -> Result<Fetched> {
        let fetched = self.fetch_unless(copy, location, &Version::default())?;
        fetched.ok_or_else(|| Error::not_found("there is nothing"))
    }

    /// The same, unless it is still this version: none.
    ///
    /// # Errors
    /// As [`Sources::fetch`].
    pub fn fetch_unless(
        &self,
        copy: &Transfer,
        location: &Location,
        version: &Version,
    ) -> Result<Option<Fetched>> {
        let secrets = |name: &str| secret(self.request, name);
        let place = self.place("added");
        match location {
            Location::Url(address) => {
                let fetched = download_unless(
                    self.means.client,
                    &Download {
                        address,
                        checksum: copy.checksum.as_deref(),
                        secrets: &secrets,
                        place: &place,
                    },
                    version,
                )?;
                Ok(fetched.map(|fetched| Fetched {
                    tree: fetched.tree,
                    sources: vec![fetched.source],
                    is_file: true,
                    version: fetched.version,
                }))
            }
            Location::Git(git) => {
                let root = self.checkout(git, copy, &place, &secrets)?;
                Ok(Some(Fetched {
                    tree: root,
                    sources: vec![".".to_owned()],
                    is_file: false,
                    version: Version::default(),
                }))
            }
            Location::Path(path) => Err(Error::new(format!("{path} is not far away"))),
        }
    }

    fn checkout(&self, git: &Git, copy: &Transfer, place: &Path, secrets: git::Secrets<'_>) -> Result<Tree> {
        let checkout = git::fetch(
            &git::Request {
                git,
                keep_git_dir: copy.keep_git_dir.or(git.keep_git_dir).unwrap_or(false),
                checksum: copy.checksum.as_deref(),
                may_be_local: false,
                environment: &self.request.environment,
                secrets,
                place,
            },
            self.means.maker.cancel,
        )?;
        Ok(Tree::local(checkout.root, None))
    }

    /// A new directory that goes with the lease.
    fn place(&self, what: &str) -> PathBuf {
        let n = self.downloads.fetch_add(1, Ordering::Relaxed);
        self.lease.directory().join(format!("{what}-{n}"))
    }
}

/// Work that people see as a vertex.
fn told<T>(means: &Means<'_>, counter: &Counter, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let vertex = counter.next();
    (means.listener)(&Event::Begun { vertex, name });
    let done = work();
    match &done {
        Ok(_) => (means.listener)(&Event::Done { vertex }),
        Err(e) => {
            let why = e.to_string();
            (means.listener)(&Event::Failed { vertex, why: &why });
        }
    }
    done
}
