//! What a source of ADD, or a context, is: a path, a download, or a repository of git.
//!
//! May not: ask anybody. `https://host/x.git` is a repository because of how it ends.

use crate::source::quoted;
use crate::values;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Path(String),
    Url(String),
    Git(Git),
}

/// A repository and what of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Git {
    /// As git takes it.
    pub remote: String,
    /// Branch, tag or commit.
    pub reference: Option<String>,
    pub directory: Option<String>,
    /// The commit that it has to be.
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub submodules: Option<bool>,
    /// Times of files are those of the commit.
    pub commit_times: bool,
    pub fetch_by_commit: bool,
    /// `github.com/...` without a scheme: a context means the repository, ADD and COPY mean a path.
    pub looks_like_path: bool,
}

impl Location {
    /// # Errors
    /// It is a repository whose query makes no sense, in BuildKit's words.
    pub fn parse(text: &str) -> Result<Location, String> {
        let path = || Ok(Location::Path(text.to_owned()));
        if text.starts_with("./") || text.starts_with("../") {
            return path();
        }
        if text.starts_with("github.com/") {
            let mut git = Git::parse(&format!("https://{text}"))?;
            git.looks_like_path = true;
            return Ok(Location::Git(git));
        }
        match text.split_once("://") {
            Some(("http" | "https", rest)) => {
                let end = rest.find(['#', '?']).unwrap_or(rest.len());
                if rest
                    .get(..end)
                    .is_some_and(|p| p.contains('/') && p.ends_with(".git"))
                {
                    return Ok(Location::Git(Git::parse(text)?));
                }
                Ok(Location::Url(text.to_owned()))
            }
            Some(("git" | "ssh", _)) => Ok(Location::Git(Git::parse(text)?)),
            Some(_) => path(),
            None if is_scp(text) => Ok(Location::Git(Git::parse(text)?)),
            None => path(),
        }
    }
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else {
        return false;
    };
    let is_word = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    rest.split_once(':')
        .is_some_and(|(host, path)| is_word(user) && is_word(host) && !path.is_empty())
}

impl Git {
    /// `REMOTE[?QUERY][#REFERENCE[:DIRECTORY]]`.
    ///
    /// # Errors
    /// Its query makes no sense.
    pub fn parse(text: &str) -> Result<Git, String> {
        let (rest, fragment) = match text.split_once('#') {
            Some((rest, fragment)) => (rest, fragment),
            None => (text, ""),
        };
        // One of scp has no query: everything is its path.
        let (remote, query) = match rest.split_once('?') {
            Some((remote, query)) if rest.contains("://") => (remote, query),
            _ => (rest, ""),
        };
        let (reference, directory) = match fragment.split_once(':') {
            Some((reference, directory)) => (reference, directory),
            None => (fragment, ""),
        };
        let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        let mut git = Git {
            remote: remote.to_owned(),
            reference: some(reference),
            directory: some(directory),
            ..Git::default()
        };
        git.query(query)?;
        Ok(git)
    }

    fn query(&mut self, query: &str) -> Result<(), String> {
        let mut seen: Vec<&str> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(format!("query {} has multiple values", quoted(key)));
            }
            // There are a dozen keys: what has more is refused at the first unknown one.
            seen.push(key);
            // In a query + is a blank.
            let value = decoded(&value.replace('+', " "));
            let is_flag = matches!(key, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_flag {
                return Err(format!("query {} has no value", quoted(key)));
            }
            let flag = || match value.as_str() {
                "" => Ok(true),
                value => {
                    values::boolean(value).ok_or_else(|| format!("invalid {key} value: {}", quoted(value)))
                }
            };
            match key {
                "ref" => unite(&mut self.reference, value, "ref")?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "subdir" => unite(&mut self.directory, value, "subdir")?,
                "checksum" | "commit" => self.checksum = Some(value),
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.submodules = Some(flag()?),
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                "mtime" => match value.as_str() {
                    "checkout" => self.commit_times = false,
                    "commit" => self.commit_times = true,
                    value => return Err(format!("invalid mtime value: {}", quoted(value))),
                },
                key => return Err(format!("unexpected query {}", quoted(key))),
            }
        }
        if let Some(tag) = tag {
            unite(&mut self.reference, format!("refs/tags/{tag}"), "ref")?;
        }
        if let Some(branch) = branch {
            unite(&mut self.reference, format!("refs/heads/{branch}"), "ref")?;
        }
        Ok(())
    }
}

/// Said twice, it has to be the same.
fn unite(slot: &mut Option<String>, value: String, what: &str) -> Result<(), String> {
    match slot {
        Some(old) if *old != value => Err(format!("{what} conflicts: {} vs {}", quoted(old), quoted(&value))),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Without `%XX`, in an address.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (*first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_downloads_repositories() {
        let git = |remote: &str, reference: Option<&str>, directory: Option<&str>| {
            Location::Git(Git {
                remote: remote.to_owned(),
                reference: reference.map(str::to_owned),
                directory: directory.map(str::to_owned),
                ..Git::default()
            })
        };
        for (text, location) in [
            ("a/b.git", Location::Path("a/b.git".to_owned())),
            ("./git@x:y", Location::Path("./git@x:y".to_owned())),
            ("ftp://h/x", Location::Path("ftp://h/x".to_owned())),
            ("~/sample.txt", Location::Path("~/sample.txt".to_owned())),
            (
                "https://h/x.tar.gz",
                Location::Url("https://h/x.tar.gz".to_owned()),
            ),
            (
                "https://h/x.git.tar#a",
                Location::Url("https://h/x.git.tar#a".to_owned()),
            ),
            ("https://h/x.git", git("https://h/x.git", None, None)),
            (
                "https://h/x.git#v1:sub/d",
                git("https://h/x.git", Some("v1"), Some("sub/d")),
            ),
            (
                "https://h/x.git?branch=a%2Fb&subdir=d",
                git("https://h/x.git", Some("refs/heads/a/b"), Some("d")),
            ),
            (
                "https://h/x.git?ref=v1#v1",
                git("https://h/x.git", Some("v1"), None),
            ),
            ("git://h/x", git("git://h/x", None, None)),
            ("ssh://git@h:22/x#:d", git("ssh://git@h:22/x", None, Some("d"))),
            (
                "git@h.com:o/x.git#main",
                git("git@h.com:o/x.git", Some("main"), None),
            ),
        ] {
            assert_eq!(Location::parse(text).unwrap(), location, "{text}");
        }
        let Location::Git(git) =
            Location::parse("github.com/o/x?keep-git-dir&submodules=0&checksum=abc&mtime=commit").unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (git.keep_git_dir, git.submodules, git.commit_times),
            (Some(true), Some(false), true)
        );
        assert!(git.looks_like_path && git.checksum.as_deref() == Some("abc"));
        for (text, message) in [
            ("https://h/x.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("https://h/x.git?ref=", "query \"ref\" has no value"),
            ("https://h/x.git?ref=a&ref=b", "query \"ref\" has multiple values"),
            ("https://h/x.git?what=a", "unexpected query \"what\""),
            (
                "https://h/x.git?keep-git-dir=x",
                "invalid keep-git-dir value: \"x\"",
            ),
        ] {
            assert_eq!(Location::parse(text).unwrap_err(), message);
        }
    }
}
