//! Repositories: what `git` of the host fetches, as a directory.
//!
//! ```text
//! init --bare -> ls-remote (which branch) -> fetch --depth=1 -> rev-parse, checksum -> checkout -> submodules -> part of it
//! ```
//!
//! May not: let the repository run anything. git reads no configuration but what stands here; hooks, helpers of file systems and
//! credentials, and transports that are programs are off; a submodule is not taken from the file system of the host.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use build::remote::Git;
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};

use super::program::{Program, Ran};
use crate::files::paths;

/// Where what was asked for is in the bare repository.
const FETCHED: &str = "refs/brig/fetched";

/// Variables that git may know: proxies and the agent of ssh.
const KNOWN: [&str; 9] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSH_AUTH_SOCK",
];

/// Something that stays a secret, by its name: `GIT_AUTH_TOKEN.example.com`.
pub type Secrets<'s> = &'s (dyn Fn(&str) -> Result<Option<Vec<u8>>> + Sync);

/// Which repository, and what of it.
pub struct Request<'r> {
    pub git: &'r Git,
    pub keep_git_dir: bool,
    /// Beside the one that is written in the address.
    pub checksum: Option<&'r str>,
    /// It was named by whoever builds, not by a Dockerfile: it may be on this machine.
    pub may_be_local: bool,
    pub environment: &'r BTreeMap<String, String>,
    pub secrets: Secrets<'r>,
    /// A directory of ours, empty or not there. It has to stay as long as the files are used.
    pub place: &'r Path,
}

/// A repository that was fetched.
#[derive(Debug)]
pub struct Checkout {
    /// What was asked for.
    pub root: OwnedFd,
    /// The commit, in full.
    pub commit: String,
}

/// Fetches a repository.
///
/// # Errors
/// git is not installed; there is no such repository, reference or directory; or it has another checksum.
pub fn fetch(request: &Request<'_>, cancel: &Cancel) -> Result<Checkout> {
    let remote = Remote::of(request)?;
    let shown = remote.shown.clone();
    std::fs::create_dir_all(request.place).context(format!("failed to make {}", request.place.display()))?;
    let work = Work {
        request,
        program: remote.program(request)?,
        bare: request.place.join("repository"),
        tree: request.place.join("tree"),
        remote,
        cancel,
    };
    work.everything().context(format!("failed to fetch {shown}"))
}

/// Where it is, and how git may go there.
struct Remote {
    address: String,
    /// Without a password.
    shown: String,
    is_local: bool,
    header: Option<(String, String)>,
}

impl Remote {
    fn of(request: &Request<'_>) -> Result<Remote> {
        let address = request.git.remote.clone();
        let scheme = address.split_once("://").map(|(scheme, _)| scheme);
        let is_local = matches!(scheme, Some("file")) || address.starts_with('/');
        if is_local && !request.may_be_local {
            return Err(Error::invalid(
                "a repository of this machine can only be the context",
            ));
        }
        if address.starts_with('-') || address.contains('\0') {
            return Err(Error::invalid(format!(
                "{address:?} is no address of a repository"
            )));
        }
        Ok(Remote {
            header: header(&address, request.secrets)?,
            shown: redacted(&address),
            address,
            is_local,
        })
    }

    fn program(&self, request: &Request<'_>) -> Result<Program> {
        let mut program = Program::find("git")?
            .env("LC_ALL", "C")
            .env("HOME", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env(
                "GIT_SSH_COMMAND",
                "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
            );
        for name in KNOWN {
            if let Some(value) = request.environment.get(name) {
                program = program.env(name, value);
            }
        }
        if let Some((name, value)) = &self.header {
            // Not on the command line, which everybody can read.
            program = program
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", name)
                .env("GIT_CONFIG_VALUE_0", value);
        }
        Ok(program)
    }
}

/// A header that lets us in, as a setting of git for this host alone.
fn header(address: &str, secrets: Secrets<'_>) -> Result<Option<(String, String)>> {
    let Some((scheme @ ("http" | "https"), rest)) = address.split_once("://") else {
        return Ok(None);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    let key = format!("http.{scheme}://{authority}/.extraHeader");
    for (name, is_token) in [("GIT_AUTH_HEADER", false), ("GIT_AUTH_TOKEN", true)] {
        for name in [format!("{name}.{host}"), name.to_owned()] {
            let Some(value) = secrets(&name)? else { continue };
            let value = String::from_utf8_lossy(&value).trim().to_owned();
            let value = match is_token {
                true => format!("basic {}", base64(format!("x-access-token:{value}").as_bytes())),
                false => value,
            };
            return Ok(Some((key, format!("Authorization: {value}"))));
        }
    }
    Ok(None)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |n, at| {
            n << 8 | u32::from(three.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            match at <= three.len() {
                true => text.push(char::from(DIGITS[(number >> (18 - 6 * at) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

/// An address without its password.
fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            format!("{scheme}://xxxxx:xxxxx@{}", &rest[user.len() + 1..])
        }
        _ => address.to_owned(),
    }
}

struct Work<'w> {
    request: &'w Request<'w>,
    program: Program,
    bare: PathBuf,
    tree: PathBuf,
    remote: Remote,
    cancel: &'w Cancel,
}

/// What git may never do, whatever a repository says.
const ALWAYS: [&str; 10] = [
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "protocol.git.allow=always",
    "protocol.ssh.allow=always",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "init.defaultBranch=main",
    "advice.detachedHead=false",
];

impl Work<'_> {
    fn everything(&self) -> Result<Checkout> {
        std::fs::create_dir_all(&self.tree).context(format!("failed to make {}", self.tree.display()))?;
        let bare = path(&self.bare)?;
        self.good(&["init", "--quiet", "--bare", bare])?;
        let reference = match &self.request.git.reference {
            Some(reference) => reference.clone(),
            None => self.default_branch()?,
        };
        self.fetch(&reference)?;
        let object = self.said(&["rev-parse", "--verify", FETCHED])?;
        let commit = self.said(&["rev-parse", "--verify", &format!("{FETCHED}^{{commit}}")])?;
        self.check(&object, &commit)?;
        match self.request.keep_git_dir {
            true => self.clone_tree(&commit)?,
            false => self.checkout(&commit)?,
        }
        if self.request.git.submodules != Some(false) {
            self.submodules()?;
        }
        if self.request.git.commit_times {
            let time = self.said(&["show", "--no-patch", "--format=%ct", &commit])?;
            set_times(&self.tree, &time, self.cancel)?;
        }
        Ok(Checkout {
            root: self.part()?,
            commit,
        })
    }

    fn run(&self, args: &[&str], is_local: bool) -> Result<Ran> {
        let mut words: Vec<&str> = Vec::new();
        for setting in ALWAYS {
            words.extend(["-c", setting]);
        }
        let file = match is_local {
            true => "protocol.file.allow=always",
            false => "protocol.file.allow=never",
        };
        words.extend(["-c", file]);
        words.extend(args);
        self.program.run(&words, self.cancel)
    }

    fn in_bare(&self, args: &[&str], is_local: bool) -> Result<Ran> {
        let directory = format!("--git-dir={}", path(&self.bare)?);
        let all: Vec<&str> = std::iter::once(directory.as_str())
            .chain(args.iter().copied())
            .collect();
        self.run(&all, is_local)
    }

    fn good(&self, args: &[&str]) -> Result<Ran> {
        good(self.run(args, self.remote.is_local)?)
    }

    fn said(&self, args: &[&str]) -> Result<String> {
        let ran = good(self.in_bare(args, self.remote.is_local)?)?;
        Ok(ran.output.trim().to_owned())
    }

    /// The branch that HEAD of the other side is.
    fn default_branch(&self) -> Result<String> {
        let ran = self.good(&["ls-remote", "--symref", "--", &self.remote.address, "HEAD"])?;
        let mut lines = ran.output.lines().filter_map(|line| line.strip_prefix("ref: "));
        let branch = lines.find_map(|line| line.split_once('\t'));
        branch
            .map(|(branch, _)| branch.to_owned())
            .ok_or_else(|| Error::not_found("could not find the default branch"))
    }

    /// A commit that the other side does not give by its name is looked for in everything that it has.
    fn fetch(&self, reference: &str) -> Result<()> {
        let address = self.remote.address.as_str();
        let wanted = match &self.request.git.checksum {
            Some(checksum) if self.request.git.fetch_by_commit => checksum,
            _ => reference,
        };
        let spec = format!("+{wanted}:{FETCHED}");
        let shallow = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
            "--",
            address,
            &spec,
        ];
        let ran = self.in_bare(&shallow, self.remote.is_local)?;
        if ran.is_good {
            return Ok(());
        }
        if ran.words.contains("shallow") || ran.words.contains("--depth") {
            let whole = [
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                address,
                &spec,
            ];
            return good(self.in_bare(&whole, self.remote.is_local)?).map(drop);
        }
        if !is_commit(wanted) {
            return good(ran).map(drop);
        }
        let all = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--",
            address,
            "+refs/*:refs/remote/*",
        ];
        good(self.in_bare(&all, self.remote.is_local)?)?;
        good(self.in_bare(&["update-ref", FETCHED, wanted], false)?).map(drop)
    }

    /// It has to be the commit, or the tag that points to it.
    fn check(&self, object: &str, commit: &str) -> Result<()> {
        let wanted = [self.request.git.checksum.as_deref(), self.request.checksum];
        for wanted in wanted.into_iter().flatten() {
            if object.starts_with(wanted) || commit.starts_with(wanted) {
                continue;
            }
            let found = match object == commit {
                true => object.to_owned(),
                false => format!("{object} or {commit}"),
            };
            return Err(Error::of(
                Kind::Corrupt,
                format!("expected checksum to match {wanted}, got {found}"),
            ));
        }
        Ok(())
    }

    fn checkout(&self, commit: &str) -> Result<()> {
        let tree = format!("--work-tree={}", path(&self.tree)?);
        let args = [&tree, "checkout", "--quiet", "--force", commit, "--", "."];
        let ran = self.in_bare(&args, false)?;
        // A commit without files has no path that matches.
        if !ran.is_good && ran.words.contains("did not match any file") {
            return Ok(());
        }
        good(ran)?;
        normal_modes(&self.tree)
    }

    /// With a `.git` of its own, in which nothing says how it came there.
    fn clone_tree(&self, commit: &str) -> Result<()> {
        let (tree, bare) = (path(&self.tree)?, path(&self.bare)?);
        self.good(&["init", "--quiet", tree])?;
        let here = |args: &[&str]| -> Result<()> {
            let at = ["-C", tree];
            let all: Vec<&str> = at.iter().chain(args).copied().collect();
            good(self.run(&all, true)?).map(drop)
        };
        here(&[
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
            &format!("file://{bare}"),
            &format!("+{FETCHED}:{FETCHED}"),
        ])?;
        here(&["checkout", "--quiet", "--force", "--detach", commit])?;
        here(&["remote", "add", "origin", &self.remote.shown])?;
        let _ = std::fs::remove_dir_all(self.tree.join(".git/logs"));
        normal_modes(&self.tree)
    }

    fn submodules(&self) -> Result<()> {
        let is_file = std::fs::symlink_metadata(self.tree.join(".gitmodules")).is_ok_and(|m| m.is_file());
        if !is_file {
            return Ok(());
        }
        let tree = path(&self.tree)?;
        let mut args = vec!["-C", tree];
        let (bare, work) = (
            format!("--git-dir={}", path(&self.bare)?),
            format!("--work-tree={tree}"),
        );
        if !self.request.keep_git_dir {
            // Their addresses may be relative to ours.
            good(self.in_bare(&["config", "remote.origin.url", &self.remote.address], false)?)?;
            good(self.in_bare(&["config", "core.bare", "false"], false)?)?;
            args.extend([bare.as_str(), work.as_str()]);
        }
        args.extend([
            "submodule",
            "update",
            "--quiet",
            "--init",
            "--recursive",
            "--depth=1",
        ]);
        good(self.run(&args, false)?).context("failed to update the submodules")?;
        if !self.request.keep_git_dir {
            remove_links(&self.tree, self.cancel)?;
        }
        normal_modes(&self.tree)
    }

    /// The directory that was asked for. Links of the repository lead to what is in it.
    fn part(&self) -> Result<OwnedFd> {
        let root = sys::fs::open(&self.tree, libc::O_RDONLY | libc::O_DIRECTORY, 0)
            .context(format!("failed to open {}", self.tree.display()))?;
        let Some(directory) = &self.request.git.directory else {
            return Ok(root);
        };
        let parts = paths::resolve(root.as_fd(), directory.as_bytes(), &|_| true)?;
        paths::open_directory(root.as_fd(), &parts).context(format!(
            "failed to find the directory {directory:?} in the repository"
        ))
    }
}

fn good(ran: Ran) -> Result<Ran> {
    match ran.is_good {
        true => Ok(ran),
        false => Err(Error::new(format!("git stderr:\n{}", ran.words.trim_end()))),
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::invalid(format!("{} is no text", path.display())))
}

/// git makes files with the umask of whoever builds; what is in the image must not depend on that.
fn normal_modes(tree: &Path) -> Result<()> {
    each(tree, &Cancel::new(), &mut |path, meta| {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = match (meta.is_dir(), meta.permissions().mode() & 0o100 != 0) {
            (true, _) | (false, true) => 0o755,
            (false, false) => 0o644,
        };
        if meta.is_symlink() || meta.permissions().mode() & 0o7777 == mode {
            return Ok(());
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    })
}

fn set_times(tree: &Path, seconds: &str, cancel: &Cancel) -> Result<()> {
    let seconds = seconds
        .parse()
        .map_err(|_| Error::new(format!("git says that the commit was made at {seconds:?}")))?;
    let time = sys::xattr::Time {
        seconds,
        nanoseconds: 0,
    };
    each(tree, cancel, &mut |path, _| {
        sys::xattr::utimensat(sys::fs::cwd(), path, time)
            .map_err(|e| std::io::Error::from_raw_os_error(e.errno().0))
    })
}

/// The files by which submodules say where their repository is.
fn remove_links(tree: &Path, cancel: &Cancel) -> Result<()> {
    each(tree, cancel, &mut |path, meta| {
        if path.file_name().is_some_and(|name| name == ".git") && meta.is_file() {
            return std::fs::remove_file(path);
        }
        Ok(())
    })
}

/// Everything in a tree that only we have; what is in a directory comes before it. No link is followed.
fn each(
    tree: &Path,
    cancel: &Cancel,
    act: &mut dyn FnMut(&Path, &std::fs::Metadata) -> std::io::Result<()>,
) -> Result<()> {
    let mut pending = vec![tree.to_owned()];
    let mut directories = Vec::new();
    let doing = |path: &Path| format!("failed to finish {}", path.display());
    while let Some(directory) = pending.pop() {
        cancel.check()?;
        for entry in std::fs::read_dir(&directory).context(doing(&directory))? {
            let path = entry.context(doing(&directory))?.path();
            let meta = std::fs::symlink_metadata(&path).context(doing(&path))?;
            match meta.is_dir() {
                true => pending.push(path),
                false => act(&path, &meta).context(doing(&path))?,
            }
        }
        directories.push(directory);
    }
    for directory in directories.iter().rev() {
        let meta = std::fs::symlink_metadata(directory).context(doing(directory))?;
        act(directory, &meta).context(doing(directory))?;
    }
    Ok(())
}

/// A repository of this machine as a context: `file://PATH[?QUERY][#REFERENCE[:DIRECTORY]]`, or a path with such an end.
pub fn of_this_machine(text: &str) -> Option<Git> {
    let whole = match text.strip_prefix("file://") {
        Some(_) => text.to_owned(),
        None => {
            let (place, fragment) = text.split_once('#')?;
            if fragment.is_empty() || !Path::new(place).is_dir() {
                return None;
            }
            format!("file://{text}")
        }
    };
    let git = Git::parse(&whole).ok()?;
    let absolute = std::path::absolute(git.remote.strip_prefix("file://")?).ok()?;
    Some(Git {
        // With a scheme, or git would take hard links and alternates of it.
        remote: format!("file://{}", absolute.display()),
        ..git
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (address, shown) in [
            ("https://user:secret@h/x.git", "https://xxxxx:xxxxx@h/x.git"),
            ("https://user@h/x.git", "https://user@h/x.git"),
            ("https://h/a:b@c.git", "https://h/a:b@c.git"),
            ("git@h:x.git", "git@h:x.git"),
        ] {
            assert_eq!(redacted(address), shown);
        }
        for (text, code) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
        let secrets = |name: &str| Ok((name == "GIT_AUTH_TOKEN.h").then(|| b"abc\n".to_vec()));
        let found = header("https://user@h:8443/x.git", &secrets).unwrap().unwrap();
        assert_eq!(found.0, "http.https://h:8443/.extraHeader");
        assert_eq!(
            found.1,
            format!("Authorization: basic {}", base64(b"x-access-token:abc"))
        );
        assert_eq!(header("ssh://h/x.git", &secrets).unwrap(), None);
    }
}
