//! What a build is made from: a directory, an archive, a download or a repository, and the Dockerfile in it or beside it.
//!
//! ```text
//! Origin --fetch--> files, or a Dockerfile alone --find--> Dockerfile, ignore file --> Context, Source
//! ```
//!
//! May not: follow a link out of a context that somebody else has made. What is unpacked or fetched lies below the directory of the
//! build's lease and goes with it.

pub mod git;
mod program;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build::ignore::Matcher;
use build::remote::{Git, Location};
use build::source::{MOST, Source, quoted};
use image::registry::{Cancel, Client};
use image::{Context as _, Digest, Error, Result};

use crate::files::download::{Download, Secrets, download};
use crate::files::{Tree, paths, unpack};
use crate::request::{self, Origin, Request};

/// What it is called if nobody says otherwise; the second one if the first is not there.
const USUAL: [&str; 2] = ["Dockerfile", "dockerfile"];

const IGNORE: &str = ".dockerignore";

/// The build argument that keeps `.git` of a context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Enough to tell an archive from a text.
const FIRST: usize = 4096;

/// What a context may need.
pub struct Means<'m> {
    pub client: &'m Client,
    /// A directory of ours that goes when the build ends. What is fetched lies in new directories of it.
    pub scratch: &'m Path,
    /// Where it is remembered what files come to, from build to build.
    pub memories: &'m Path,
    pub environment: &'m BTreeMap<String, String>,
    pub secrets: Secrets<'m>,
    pub cancel: &'m Cancel,
}

/// Where a context was found, for whoever writes down what an image is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Directory(PathBuf),
    /// From the standard input.
    Archive,
    Url {
        address: String,
        digest: Digest,
    },
    Repository {
        address: String,
        commit: String,
    },
    /// A Dockerfile was all there was.
    Nothing,
}

/// Files that COPY takes.
pub struct Context {
    root: OwnedFd,
    ignore: Option<Arc<Matcher>>,
    memory: Option<PathBuf>,
    pub found: Found,
}

impl Context {
    /// As often as somebody wants it.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn tree(&self) -> Result<Tree> {
        let root = self
            .root
            .try_clone()
            .context("failed to duplicate a descriptor")?;
        let tree = Tree::local(root, self.ignore.clone());
        Ok(match &self.memory {
            Some(memory) => tree.remembering(memory.clone()),
            None => tree,
        })
    }

    /// What is left out.
    pub fn ignore(&self) -> Option<&Matcher> {
        self.ignore.as_deref()
    }
}

/// The context of a build, and its Dockerfile.
///
/// # Errors
/// There is none, in the words of docker build; or it cannot be fetched or unpacked.
pub fn open(request: &Request, means: &Means<'_>, stdin: &mut dyn Read) -> Result<(Context, Source)> {
    if request.context == Origin::Stdin && request.dockerfile == request::File::Stdin {
        return Err(Error::invalid(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let keep_git_dir = request.build_args.get(KEEP_GIT_DIR).is_some_and(|v| is_true(v));
    let fetched = fetch(&request.context, keep_git_dir, means, stdin, "context")?;
    let (dockerfile, ignore) = match (&request.dockerfile, &fetched.dockerfile) {
        (request::File::Usual, Some(text)) => (source(USUAL[0], text)?, None),
        (_, Some(_)) => {
            return Err(Error::invalid(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            ));
        }
        (file, None) => dockerfile(file, &fetched, means, stdin)?,
    };
    let ignore = match ignore {
        Some(ignore) => Some(ignore),
        None => inside(&fetched.root, IGNORE)?,
    };
    Ok((fetched.context(ignore.as_deref(), means)?, dockerfile))
}

/// A context with a name (`--build-context`).
///
/// # Errors
/// As [`open`].
pub fn named(name: &str, origin: &Origin, means: &Means<'_>) -> Result<Context> {
    let fetched = fetch(origin, false, means, &mut std::io::empty(), name)?;
    let ignore = inside(&fetched.root, IGNORE)?;
    fetched.context(ignore.as_deref(), means)
}

/// A context without its ignore file.
struct Fetched {
    root: OwnedFd,
    found: Found,
    /// What came is a Dockerfile; there are no files.
    dockerfile: Option<Vec<u8>>,
}

impl Fetched {
    fn context(self, ignore: Option<&[u8]>, means: &Means<'_>) -> Result<Context> {
        let ignore = ignore
            .map(matcher)
            .transpose()?
            .filter(|ignore| !ignore.is_empty());
        let memory = match &self.found {
            Found::Directory(path) => {
                let name = Digest::of(path.as_os_str().as_encoded_bytes());
                Some(means.memories.join(name.hex()))
            }
            _ => None,
        };
        Ok(Context {
            root: self.root,
            ignore: ignore.map(Arc::new),
            memory,
            found: self.found,
        })
    }
}

fn fetch(
    origin: &Origin,
    keep_git_dir: bool,
    means: &Means<'_>,
    stdin: &mut dyn Read,
    name: &str,
) -> Result<Fetched> {
    match origin {
        Origin::Directory(path) => match path.to_str().and_then(git::of_this_machine) {
            Some(git) => repository(&git, keep_git_dir, true, means),
            None => directory(path),
        },
        Origin::Stdin => {
            let mut first = vec![0; FIRST];
            let length =
                fill(stdin, &mut first).context("failed to read the context from the standard input")?;
            first.truncate(length);
            if first.is_empty() {
                return Err(Error::invalid(
                    "failed to peek context header from STDIN: it is empty",
                ));
            }
            alone(&first, stdin, Found::Archive, means)
        }
        Origin::Remote(Location::Path(path)) => directory(Path::new(path)),
        Origin::Remote(Location::Git(git)) => repository(git, keep_git_dir, true, means),
        Origin::Remote(Location::Url(address)) => {
            let place = new_directory(means)?;
            let what = Download {
                address,
                checksum: None,
                secrets: means.secrets,
                place: &place,
            };
            let mut fetched = download(means.client, &what).context(format!("failed to load {name}"))?;
            let mut first = vec![0; FIRST];
            let length = fill(&mut fetched.file, &mut first)?;
            first.truncate(length);
            let found = Found::Url {
                address: address.clone(),
                digest: fetched.digest,
            };
            alone(&first, &mut fetched.file, found, means)
        }
    }
}

fn directory(path: &Path) -> Result<Fetched> {
    let shown = quoted(&path.display().to_string());
    let real = path.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("unable to prepare context: path {shown} not found"))
        }
        _ => Error::from(e).context(format!("unable to prepare context: path {shown}")),
    })?;
    let root = sys::fs::open(&real, libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .context(format!("unable to prepare context: path {shown}"))?;
    Ok(Fetched {
        root,
        found: Found::Directory(real),
        dockerfile: None,
    })
}

fn repository(git: &Git, keep_git_dir: bool, may_be_local: bool, means: &Means<'_>) -> Result<Fetched> {
    let place = new_directory(means)?;
    let request = git::Request {
        git,
        keep_git_dir: git.keep_git_dir.unwrap_or(keep_git_dir),
        checksum: None,
        may_be_local,
        environment: means.environment,
        secrets: means.secrets,
        place: &place,
    };
    let checkout = git::fetch(&request, means.cancel)?;
    Ok(Fetched {
        root: checkout.root,
        found: Found::Repository {
            address: git.remote.clone(),
            commit: checkout.commit,
        },
        dockerfile: None,
    })
}

/// A stream that is an archive, or a Dockerfile.
fn alone(first: &[u8], rest: &mut dyn Read, found: Found, means: &Means<'_>) -> Result<Fetched> {
    let place = new_directory(means)?;
    let root = sys::fs::open(&place, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let whole = first.chain(rest);
    if unpack::looks_like_archive(first) {
        // Whose the files of a context are is nobody's business; these ids may be none that an ordinary user has.
        let owner = Some(sys::process::effective_ids());
        unpack::unpack(whole, root.as_fd(), owner, means.cancel).context("failed to unpack the context")?;
        return Ok(Fetched {
            root,
            found,
            dockerfile: None,
        });
    }
    Ok(Fetched {
        root,
        found: Found::Nothing,
        dockerfile: Some(limited(whole)?),
    })
}

/// The Dockerfile that was asked for, and the ignore file beside it.
fn dockerfile(
    file: &request::File,
    fetched: &Fetched,
    means: &Means<'_>,
    stdin: &mut dyn Read,
) -> Result<(Source, Option<Vec<u8>>)> {
    match file {
        request::File::Stdin => Ok((source(USUAL[0], &limited(stdin)?)?, None)),
        request::File::Remote(address) => {
            let place = new_directory(means)?;
            let what = Download {
                address,
                checksum: None,
                secrets: means.secrets,
                place: &place,
            };
            let fetched = download(means.client, &what).context("failed to read dockerfile")?;
            Ok((source(USUAL[0], &limited(fetched.file)?)?, None))
        }
        request::File::Usual => {
            for name in USUAL {
                if let Some(text) = inside(&fetched.root, name)? {
                    let ignore = inside(&fetched.root, &format!("{name}{IGNORE}"))?;
                    return Ok((source(name, &text)?, ignore));
                }
            }
            Err(missing(USUAL[0]))
        }
        request::File::Path(path) => {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_ours = matches!(fetched.found, Found::Directory(_));
            let read = |path: &Path| match is_ours {
                true => of_host(path),
                false => inside(&fetched.root, &path.to_string_lossy()),
            };
            let text = read(path)?.ok_or_else(|| missing(&name))?;
            let mut beside = path.as_os_str().to_owned();
            beside.push(IGNORE);
            Ok((source(&name, &text)?, read(Path::new(&beside))?))
        }
    }
}

fn missing(name: &str) -> Error {
    Error::not_found(format!(
        "failed to read dockerfile: open {name}: no such file or directory"
    ))
}

fn source(name: &str, text: &[u8]) -> Result<Source> {
    Source::read(name, text).map_err(|e| Error::invalid(e.to_string()))
}

fn matcher(text: &[u8]) -> Result<Matcher> {
    let source = source(IGNORE, text)?;
    Matcher::read(&source).map_err(|e| Error::invalid(source.show(&e).trim_end().to_owned()))
}

/// A file of a context; links are followed inside of it.
fn inside(root: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>> {
    let doing = || format!("failed to read {name}");
    let path = paths::resolve(root.as_fd(), name.as_bytes(), &|_| true).context(doing())?;
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match engine::tree::open_beneath(root.as_fd(), &path.join(&b'/'), flags) {
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => return Ok(None),
        other => File::from(other.context(doing())?),
    };
    match sys::fs::fstat(file.as_fd())?.file_type() {
        libc::S_IFREG => limited(file).context(doing()).map(Some),
        _ => Err(Error::invalid("not a regular file").context(doing())),
    }
}

/// A file that the command line names: wherever it is, and a pipe of the shell (`-f <(...)`) too.
fn of_host(path: &Path) -> Result<Option<Vec<u8>>> {
    let doing = || format!("failed to read {}", path.display());
    let is_descriptor = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    let wait = if is_descriptor { 0 } else { libc::O_NONBLOCK };
    let file = match sys::fs::open(path, libc::O_RDONLY | libc::O_NOCTTY | wait, 0) {
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => return Ok(None),
        other => File::from(other.context(doing())?),
    };
    let is_file = sys::fs::fstat(file.as_fd())?.file_type() == libc::S_IFREG;
    match is_file || is_descriptor {
        true => limited(file).context(doing()).map(Some),
        false => Err(Error::invalid("not a regular file").context(doing())),
    }
}

/// A text; one that is longer than any can be is cut, and refused by whoever reads it.
fn limited(from: impl Read) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MOST as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn fill(from: &mut dyn Read, to: &mut [u8]) -> Result<usize> {
    let mut have = 0;
    while have < to.len() {
        match from.read(&mut to[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(have)
}

/// An empty directory that nobody else can look into.
fn new_directory(means: &Means<'_>) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::create_dir_all(means.scratch).context(format!("failed to make {}", means.scratch.display()))?;
    let mut random = [0; 8];
    sys::random::fill(&mut random)?;
    let name = format!("context-{:016x}", u64::from_le_bytes(random));
    let path = means.scratch.join(name);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.context(format!("failed to make {}", path.display()))?;
    Ok(path)
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests;
