//! The packages of a root file system, as their managers have written them down: dpkg, apk, rpm.
//!
//! May not: run anything of it, or follow a link out of it. What a package manager does not know is not found.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

use crate::{Context, Error, Result};

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// `deb`, `apk`, `rpm`.
    pub kind: &'static str,
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// In the words of the package.
    pub licence: String,
    /// What it was built from.
    pub source: String,
}

/// What `/etc/os-release` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    pub id: String,
    pub version: String,
}

/// Larger ones are not read.
const LIMIT: u64 = 512 << 20;

/// A longer copyright file says nothing of licences that anybody wants to read; a package for each byte of a list may name it.
const COPYRIGHT: u64 = 1 << 20;
/// Of all copyright files together.
const COPYRIGHTS: u64 = 256 << 20;

/// Reads them all. `scratch` is a directory of ours.
///
/// # Errors
/// A file is there and cannot be read.
pub fn find(root: BorrowedFd<'_>, scratch: &Path) -> Result<(Distribution, Vec<Package>)> {
    let mut packages = Vec::new();
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(bytes) = read(root, path)? {
            packages.extend(apk(&String::from_utf8_lossy(&bytes)));
        }
    }
    if let Some(bytes) = read(root, "var/lib/dpkg/status")? {
        packages.extend(dpkg(&String::from_utf8_lossy(&bytes)));
    }
    // Images without a shell have a file for each package.
    for name in names(root, "var/lib/dpkg/status.d")? {
        if !name.ends_with(".md5sums")
            && let Some(bytes) = read(root, &format!("var/lib/dpkg/status.d/{name}"))?
        {
            packages.extend(dpkg(&String::from_utf8_lossy(&bytes)));
        }
    }
    let mut left = COPYRIGHTS;
    for package in packages.iter_mut().filter(|package| package.kind == "deb") {
        // The list is the image's: what it calls a name may be a path, or no path at all.
        if package.name.contains(['/', '\0']) || left == 0 {
            continue;
        }
        let path = format!("usr/share/doc/{}/copyright", package.name);
        let Some(file) = open(root, &path)? else { continue };
        let mut bytes = Vec::new();
        let most = COPYRIGHT.min(left);
        file.take(most)
            .read_to_end(&mut bytes)
            .context(format!("failed to read /{path} of the image"))?;
        left -= bytes.len() as u64;
        package.licence = debian_licences(&String::from_utf8_lossy(&bytes));
    }
    for path in ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"] {
        if let Some(bytes) = read(root, path)? {
            packages.extend(rpm(&bytes, scratch).context("failed to read the database of rpm")?);
        }
    }
    packages.sort();
    packages.dedup();
    let distribution = match read(root, "etc/os-release")? {
        Some(bytes) => distribution(&String::from_utf8_lossy(&bytes)),
        None => Distribution::default(),
    };
    Ok((distribution, packages))
}

/// What is in a file of the root; none, if there is none, or something else.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<Option<Vec<u8>>> {
    let failed = || format!("failed to read /{path} of the image");
    let Some(file) = open(root, path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).context(failed())?;
    match bytes.len() as u64 > LIMIT {
        true => Err(Error::corrupt("it is too large").context(failed())),
        false => Ok(Some(bytes)),
    }
}

fn open(root: BorrowedFd<'_>, path: &str) -> Result<Option<std::fs::File>> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let failed = || format!("failed to read /{path} of the image");
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let file = match sys::fs::openat2(root, Path::new(path), flags, 0, resolve) {
        Err(e)
            if [
                libc::ENOENT,
                libc::ENOTDIR,
                libc::ELOOP,
                libc::ENXIO,
                libc::ENAMETOOLONG,
            ]
            .iter()
            .any(|n| e.is(*n)) =>
        {
            return Ok(None);
        }
        opened => std::fs::File::from(opened.context(failed())?),
    };
    let is_file = file.metadata().context(failed())?.is_file();
    Ok(is_file.then_some(file))
}

fn names(root: BorrowedFd<'_>, path: &str) -> Result<Vec<String>> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let directory = match sys::fs::openat2(root, Path::new(path), flags, 0, resolve) {
        Err(e)
            if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP]
                .iter()
                .any(|n| e.is(*n)) =>
        {
            return Ok(Vec::new());
        }
        opened => opened?,
    };
    let names = sys::fs::entries(directory.as_fd())?;
    Ok(names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect())
}

/// `ID=debian`, `VERSION_ID="12"`.
fn distribution(text: &str) -> Distribution {
    let of = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default()
            .trim()
            .trim_matches(['"', '\''])
            .to_owned()
    };
    Distribution {
        id: of("ID"),
        version: of("VERSION_ID"),
    }
}

/// Paragraphs of `L:value` lines (apk-package(5)).
fn apk(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let of = |key: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().to_owned()
        };
        let package = Package {
            kind: "apk",
            name: of("P:"),
            version: of("V:"),
            architecture: of("A:"),
            licence: of("L:"),
            source: of("o:"),
        };
        if !package.name.is_empty() {
            packages.push(package);
        }
    }
    packages
}

/// Paragraphs of `Key: value` lines (deb-control(5)); what was removed and has left its configuration is not there.
fn dpkg(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let of = |key: &str| {
            let line = paragraph
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let status = of("Status");
        let is_there = status.is_empty() || status.ends_with(" installed");
        let package = Package {
            kind: "deb",
            name: of("Package"),
            version: of("Version"),
            architecture: of("Architecture"),
            licence: String::new(),
            // Sometimes with a version: `glibc (2.36-9)`.
            source: of("Source")
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        if is_there && !package.name.is_empty() {
            packages.push(package);
        }
    }
    packages
}

/// The short names of a copyright file that machines can read (DEP 5).
fn debian_licences(text: &str) -> String {
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("License:"))
        .map(str::trim)
        .filter(|name| !name.is_empty() && name.len() < 100)
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" AND ")
}

/// The database is the image's, and so is its schema: SQLite may run nothing that it says. `Packages` could be a view that never ends, or
/// have a column that makes what no file holds; a tree of pages that lead into each other has more rows than bytes.
fn rpm(bytes: &[u8], scratch: &Path) -> Result<Vec<Package>> {
    let path = scratch.join("rpmdb.sqlite");
    std::fs::write(&path, bytes).context("failed to copy it")?;
    let found = rpm_rows(&path, bytes.len());
    std::fs::remove_file(&path).context("failed to remove the copy")?;
    found
}

fn rpm_rows(path: &Path, most: usize) -> Result<Vec<Package>> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // It may be in WAL mode, and the log is not with it.
    let uri = format!("file:{}?immutable=1", path.display());
    let db = Connection::open_with_flags(uri, flags)?;
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
    ] {
        db.set_db_config(setting, on)?;
    }
    let longest = i32::try_from(most).unwrap_or(i32::MAX);
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest)?;
    let mut left = most;
    let mut packages = Vec::new();
    let mut find = db.prepare("SELECT blob FROM Packages")?;
    let rows = find.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    for row in rows {
        let header = row?;
        // Each row takes a byte besides.
        left = left
            .checked_sub(header.len() + 1)
            .ok_or_else(|| Error::corrupt("it has more in it than it is long"))?;
        packages.extend(rpm_header(&header));
    }
    Ok(packages)
}

/// The tags of a header: two counts, an index of tag, type, offset and count, and the data, all big-endian.
fn rpm_header(bytes: &[u8]) -> Option<Package> {
    let word = |at: usize| -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let count = usize::try_from(word(0)?).ok()?;
    let data = count.checked_mul(16)?.checked_add(8)?;
    let find = |wanted: u32| -> Option<(u32, usize)> {
        for entry in 0..count {
            let at = 8 + entry * 16;
            if word(at)? == wanted {
                let offset = data.checked_add(usize::try_from(word(at + 8)?).ok()?)?;
                return Some((word(at + 4)?, offset));
            }
        }
        None
    };
    let text = |tag: u32| -> Option<String> {
        // A string, or the first of several in several languages.
        let (6 | 8 | 9, at) = find(tag)? else { return None };
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let epoch = find(1003).and_then(|(kind, at)| (kind == 4).then(|| word(at))?);
    let version = format!("{}-{}", text(1001)?, text(1002)?);
    Some(Package {
        kind: "rpm",
        name: text(1000)?,
        version: match epoch {
            Some(epoch) if epoch > 0 => format!("{epoch}:{version}"),
            _ => version,
        },
        architecture: text(1022).unwrap_or_default(),
        licence: text(1014).unwrap_or_default(),
        source: text(1044).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn managers_are_understood() {
        let found = apk("C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\n\nP:zlib\nV:1.3\n\n");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].name.as_str(), found[0].licence.as_str()),
            ("musl", "MIT")
        );
        let found = dpkg(
            "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nSource: src (2)\nArchitecture: amd64\nDescription: x\n Package: no\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].version.as_str(), found[0].source.as_str()),
            ("1:2-3", "src")
        );
        assert_eq!(
            debian_licences("Files: *\nLicense: GPL-2+\n\nFiles: x\nLicense: Expat\nLicense: GPL-2+\n"),
            "Expat AND GPL-2+"
        );
        let own = distribution("NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID='3.20'\n");
        assert_eq!((own.id.as_str(), own.version.as_str()), ("alpine", "3.20"));
    }

    fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::<u8>::new());
        for (tag, kind, bytes) in tags {
            for word in [*tag, *kind, data.len() as u32, 1] {
                index.extend(word.to_be_bytes());
            }
            data.extend(*bytes);
        }
        let mut all = (tags.len() as u32).to_be_bytes().to_vec();
        all.extend((data.len() as u32).to_be_bytes());
        all.extend(index);
        all.extend(data);
        all
    }

    /// A database that these statements make.
    fn database(name: &str, sql: &str) -> (std::path::PathBuf, Vec<u8>) {
        let directory = std::env::temp_dir().join(format!("image-rpm-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let made = directory.join("made.sqlite");
        let db = Connection::open(&made).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let bytes = std::fs::read(made).unwrap();
        (directory, bytes)
    }

    #[test]
    fn a_database_runs_nothing() {
        for (name, sql) in [
            (
                "endless",
                "CREATE VIEW Packages AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT zeroblob(9) AS blob FROM c",
            ),
            (
                "large",
                "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (zeroblob(100000000))); INSERT INTO Packages VALUES (1)",
            ),
            (
                "many",
                "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (zeroblob(5000)));
                 INSERT INTO Packages WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500) SELECT x FROM c",
            ),
        ] {
            let (directory, bytes) = database(name, sql);
            assert!(rpm(&bytes, &directory).is_err(), "{name}");
            assert!(!directory.join("rpmdb.sqlite").exists(), "{name}");
            std::fs::remove_dir_all(directory).unwrap();
        }
    }

    #[test]
    fn lists_are_read_whatever_is_in_them() {
        let (mut chance, rounds) = crate::test_chance::rounds(2000, 7);
        let list = b"P:a\nV:1\n\nPackage: b\nStatus: install ok installed\nVersion: 1:2\nSource: c (3)\nID=\"x\"\nLicense: MIT\n".to_vec();
        for () in rounds {
            let mut bytes = list.clone();
            chance.damage(&mut bytes, b":\n =\"'/\0\xff\xc3");
            let text = String::from_utf8_lossy(&bytes);
            drop((
                apk(&text),
                dpkg(&text),
                distribution(&text),
                debian_licences(&text),
            ));
        }
    }

    #[test]
    fn a_damaged_database_does_no_harm() {
        let (directory, whole) = database(
            "damaged",
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB);
             INSERT INTO Packages WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300) SELECT x, randomblob(200) FROM c",
        );
        let (mut chance, rounds) = crate::test_chance::rounds(300, 11);
        let mut read = 0;
        for () in rounds {
            let mut bytes = whole.clone();
            for _ in 0..=chance.below(12) {
                let at = chance.below(bytes.len());
                bytes[at] = [0, 1, 2, 5, 13, 127, 255][chance.below(7)];
            }
            read += usize::from(rpm(&bytes, &directory).is_ok());
        }
        assert!(read > 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn rpm_headers_are_read_and_damage_does_no_harm() {
        let whole = header(&[
            (1000, 6, b"bash\0"),
            (1001, 6, b"5.2\0"),
            (1002, 6, b"1.fc40\0"),
            (1003, 4, &2u32.to_be_bytes()),
            (1014, 6, b"GPL-3.0-or-later\0"),
        ]);
        let path = std::env::temp_dir().join(format!("image-rpm-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let made = path.join("made.sqlite");
        let db = Connection::open(&made).unwrap();
        db.execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
            .unwrap();
        db.execute("INSERT INTO Packages (blob) VALUES (?)", [&whole])
            .unwrap();
        drop(db);
        let found = rpm(&std::fs::read(&made).unwrap(), &path).unwrap();
        assert_eq!(
            (found[0].name.as_str(), found[0].version.as_str()),
            ("bash", "2:5.2-1.fc40")
        );
        let (mut chance, rounds) = crate::test_chance::rounds(5000, 5);
        for () in rounds {
            let mut bytes = whole.clone();
            chance.damage(&mut bytes, &[0, 255, 127, 16]);
            drop(rpm_header(&bytes));
        }
        assert!(rpm(b"not a database at all, but long enough to be looked at", &path).is_err());
        std::fs::remove_dir_all(path).unwrap();
    }
}
