//! What somebody wants to have built: the command line of `brig build` as values.
//!
//! May not: hold anything that is still text to be read, but what only the Dockerfile can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use build::stages::Platform;
use image::reference::Reference;

/// Everything that `brig build` can be asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub context: Origin,
    pub dockerfile: File,
    pub build_args: BTreeMap<String, String>,
    /// `--build-context NAME=...`.
    pub contexts: BTreeMap<String, Named>,
    /// None: the last stage.
    pub target: Option<String>,
    /// Empty: this machine's.
    pub platforms: Vec<Platform>,
    /// `-t`.
    pub tags: Vec<Reference>,
    /// `--label`, over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    pub annotations: Vec<Annotation>,
    pub secrets: Vec<Secret>,
    pub ssh: Vec<Agent>,
    /// Of RUN, where the instruction says nothing.
    pub network: Network,
    /// `name:address`.
    pub add_hosts: Vec<String>,
    /// Bytes; None is 64 MiB.
    pub shm_size: Option<i64>,
    /// `name=soft:hard`, read as `run` reads them.
    pub ulimits: Vec<engine::model::Ulimit>,
    pub cgroup_parent: String,
    /// `--memory`, `--cpu-shares` and their like, of the classic builder: over the limits of each RUN.
    pub limits: Option<Box<engine::model::HostConfig>>,
    pub no_cache: bool,
    /// Stages that are built as with `no_cache`.
    pub no_cache_filter: BTreeSet<String>,
    /// The registry is asked for a newer version of what is here.
    pub pull: bool,
    pub cache_from: Vec<Store>,
    pub cache_to: Vec<Store>,
    /// Empty: an image of the store.
    pub outputs: Vec<Output>,
    /// `--allow`, and what the command line itself opens.
    pub entitlements: BTreeSet<Entitlement>,
    pub attestations: Attestations,
    /// Stages that are built at the same time; None is as many as there are processors.
    pub at_once: Option<usize>,
    /// Variables of the environment that something here refers to: proxies, SOURCE_DATE_EPOCH.
    pub environment: BTreeMap<String, String>,
}

impl Request {
    /// Whether a build argument of BuildKit's own is switched on.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        let given = self.build_args.get(name);
        given.is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

/// Where a context comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Directory(PathBuf),
    /// `-`: an archive, or a Dockerfile alone.
    Stdin,
    Remote(build::remote::Location),
}

impl Default for Origin {
    fn default() -> Origin {
        Origin::Directory(PathBuf::from("."))
    }
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum File {
    /// `Dockerfile`, or `dockerfile`, in the context.
    #[default]
    Usual,
    /// `-f`: below the working directory or, of a remote context, in the context.
    Path(PathBuf),
    Stdin,
    Remote(String),
}

/// What a name of `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Origin(Origin),
    /// `docker-image://`.
    Image(Reference),
    /// `oci-layout://PATH[:TAG][@DIGEST]`.
    Layout {
        path: PathBuf,
        reference: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    Default,
    None,
    Host,
}

/// Something that RUN may know and the image may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub id: String,
    pub from: SecretFrom,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFrom {
    File(PathBuf),
    Variable(String),
}

/// An ssh agent that RUN may ask, or keys for one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub id: String,
    /// Sockets or keys; empty is SSH_AUTH_SOCK.
    pub paths: Vec<PathBuf>,
}

/// `--annotation [TYPE:]KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// `manifest`, `index`, `manifest-descriptor`, `index-descriptor`; empty is the manifest.
    pub kinds: Vec<String>,
    pub key: String,
    pub value: String,
}

/// Where a cache is brought from or to: `type=...,key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `registry`, `local`, `inline`.
    pub kind: String,
    pub values: BTreeMap<String, String>,
}

/// What becomes of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub kind: OutputKind,
    /// `dest`; None with a kind that writes an archive is stdout.
    pub destination: Option<PathBuf>,
    /// The rest of what was said: `name`, `push`, `compression`, `rewrite-timestamp`, ...
    pub values: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// An image of the store; `push=true` sends it too.
    Image,
    /// An archive in the form of OCI, or of `docker save`.
    Oci,
    Docker,
    /// The files.
    Local,
    Tar,
    /// Nothing but the cache.
    Cacheonly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    NetworkHost,
    SecurityInsecure,
    Device,
}

/// What is said about how the image came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// `mode=min|max` and the rest; None: none.
    pub provenance: Option<BTreeMap<String, String>>,
    pub sbom: Option<BTreeMap<String, String>>,
}
