//! Where files and the Dockerfile come from.
//!
//! May not: know what instructions do with them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build::ignore::Matcher;
use build::source::Source;
use build::stages::Origin;
use image::registry::Cancel;
use image::store::Lease;
use image::{Context as _, Digest, Error, Kind, Result};

use crate::files::{Selection, Tree};
use crate::make::Means;
use crate::request::{self, File, Named, Request};
use crate::solve::Counter;
use crate::telling::Event;

/// What a build may take files from.
pub struct Context {
    directory: PathBuf,
    ignore: Option<Arc<Matcher>>,
    tree: Arc<Tree>,
    directories: BTreeMap<String, PathBuf>,
    named: BTreeMap<String, Arc<Tree>>,
}

impl Context {
    /// What it leaves out.
    pub fn ignore(&self) -> Option<&Matcher> {
        self.ignore.as_deref()
    }

    /// Its files.
    pub fn tree(&self) -> Arc<Tree> {
        self.tree.clone()
    }

    /// The files of a context of `--build-context`, if it is one of files.
    pub fn named(&self, origin: &Origin) -> Option<Arc<Tree>> {
        match origin {
            Origin::Named(name) => self.named.get(name).cloned(),
            _ => None,
        }
    }

    /// Contexts of files, by name.
    pub fn directories(&self) -> BTreeMap<String, PathBuf> {
        self.directories.clone()
    }

    /// A directory with its files, to be bound: itself, or what is left without what it leaves out.
    ///
    /// # Errors
    /// The files cannot be copied.
    pub fn bindable(&self, lease: &Lease<'_>, cancel: &Cancel) -> Result<PathBuf> {
        if self.ignore.as_ref().is_none_or(|ignore| ignore.is_empty()) {
            return Ok(self.directory.clone());
        }
        let place = lease.directory().join("context");
        if !place.exists() {
            fs::create_dir_all(&place)?;
            let all = [".".to_owned()];
            let selected = self.tree.select(
                &Selection {
                    sources: &all,
                    ..Selection::default()
                },
                cancel,
            )?;
            crate::files::put_into(&self.tree, &selected, &place, cancel)?;
        }
        Ok(place)
    }

    /// Of what is at a path.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn digest(&self, path: &str, cancel: &Cancel) -> Result<Digest> {
        let sources = [path.to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = self.tree.select(&selection, cancel)?;
        self.tree.digest(&selected, cancel)
    }

    /// What ADD fetches.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn download(
        &self,
        _means: &Means<'_>,
        _request: &Request,
        _lease: &Lease<'_>,
        _copy: &build::scope::Transfer,
        _location: &build::remote::Location,
    ) -> Result<Tree> {
        Err(Error::of(Kind::Unsupported, "this source cannot be fetched yet"))
    }
}

/// Finds the Dockerfile and the files.
///
/// # Errors
/// They are not there or cannot be read.
pub fn open(
    means: &Means<'_>,
    request: &Request,
    _lease: &Lease<'_>,
    counter: &Counter,
) -> Result<(Context, Source)> {
    let request::Origin::Directory(directory) = &request.context else {
        return Err(Error::of(Kind::Unsupported, "this context cannot be read yet"));
    };
    let (path, bytes) = step(
        means,
        counter,
        "[internal] load build definition from Dockerfile",
        || dockerfile(request, directory),
    )?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let source = Source::read(name, &bytes)
        .map_err(|problem| Error::invalid(format!("failed to read dockerfile: {problem}")))?;
    let ignore = step(means, counter, "[internal] load .dockerignore", || {
        ignore(directory, &path)
    })?
    .map(Arc::new);
    let failed = || format!("failed to open {}", directory.display());
    let open = |path: &Path| sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0);
    let memory = |path: &Path| {
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = Digest::of(whole.as_os_str().as_encoded_bytes());
        means
            .maker
            .store
            .roots()
            .root
            .join("build/contexts")
            .join(name.hex())
    };
    let tree = Tree::local(open(directory).context(failed())?, ignore.clone()).remembering(memory(directory));
    let mut directories = BTreeMap::new();
    let mut named = BTreeMap::new();
    for (name, context) in &request.contexts {
        if let Named::Origin(request::Origin::Directory(path)) = context {
            let fd = open(path).context(format!("failed to open {}", path.display()))?;
            named.insert(
                name.clone(),
                Arc::new(Tree::local(fd, None).named(name).remembering(memory(path))),
            );
            directories.insert(name.clone(), path.clone());
        }
    }
    Ok((
        Context {
            directory: directory.clone(),
            ignore,
            tree: Arc::new(tree),
            directories,
            named,
        },
        source,
    ))
}

/// A vertex of its own.
fn step<T>(means: &Means<'_>, counter: &Counter, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
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

fn dockerfile(request: &Request, directory: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let failed = |name: &str, e: &std::io::Error| {
        let why = match e.kind() {
            ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => e.to_string(),
        };
        Error::invalid(format!("failed to read dockerfile: open {name}: {why}"))
    };
    let read = |path: PathBuf, name: &str| match fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(e) => Err((failed(name, &e), e.kind())),
    };
    match &request.dockerfile {
        File::Usual => read(directory.join("Dockerfile"), "Dockerfile").or_else(|(e, kind)| match kind {
            ErrorKind::NotFound => read(directory.join("dockerfile"), "Dockerfile").map_err(|_| e),
            _ => Err(e),
        }),
        File::Path(path) => read(path.clone(), &path.display().to_string()).map_err(|(e, _)| e),
        File::Stdin => {
            let mut bytes = Vec::new();
            let most = build::source::MOST as u64 + 1;
            let mut stdin = std::io::Read::take(std::io::stdin().lock(), most);
            std::io::Read::read_to_end(&mut stdin, &mut bytes).map_err(|e| failed("-", &e))?;
            Ok((directory.join("Dockerfile"), bytes))
        }
        File::Remote(_) => Err(Error::of(
            Kind::Unsupported,
            "this Dockerfile cannot be fetched yet",
        )),
    }
}

/// The file beside the Dockerfile that has its name, or the one of the context.
fn ignore(directory: &Path, dockerfile: &Path) -> Result<Option<Matcher>> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), directory.join(".dockerignore")] {
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            bytes => bytes.context(format!("failed to read {}", path.display()))?,
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wrong = |problem: build::source::Problem| Error::invalid(problem.to_string());
        let file = Source::read(name, &bytes).map_err(wrong)?;
        return Matcher::read(&file).map(Some).map_err(wrong);
    }
    Ok(None)
}
