//! What is made once on the machine and kept: the base image, compressed; the layers of the benchmark.
//!
//! May not: keep half of anything.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::{base, command};

use crate::depot::{self, Compression, Depot, Layer};

const PATIENCE: Duration = Duration::from_secs(900);

/// Where the layers of the benchmark are kept in the cache. Another recipe is another name.
pub const BENCH: &str = "images/bench-3";

/// About what the image of the benchmark holds.
const FILES: usize = 52_000;
const BYTES: u64 = 1_630_000_000;
/// So much of it is compressed already, so that the whole becomes about 700 MiB.
const DENSE: u64 = 500_000_000;
/// What they are at least when they are packed.
const PACKED: u64 = 500_000_000;
/// What is smaller counts as small; most files of an image are.
const SMALL: u64 = 64 << 10;
/// How the files are shared out among the layers, in percent.
const SHARES: [u64; 5] = [42, 26, 16, 11, 5];

/// The archive of the base image as a gzip file; beside it, with the ending `.diff-id`, its digest before compression.
pub fn debian(cache: &Path) -> Result<PathBuf, String> {
    let tar = base::image(&cache.join("engines"))?;
    let dir = cache.join("images");
    let text = |e: std::io::Error| format!("{}: {e}", dir.display());
    std::fs::create_dir_all(&dir).map_err(text)?;
    let dir = dir.canonicalize().map_err(text)?;
    let name = tar.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = dir.join(format!("{name}.gz"));
    let diff_id = dir.join(format!("{name}.gz.diff-id"));
    if file.exists() && diff_id.exists() {
        return Ok(file);
    }
    println!("compressing the base image (once)");
    let digest = depot::digests(std::slice::from_ref(&tar))?
        .pop()
        .unwrap_or_default();
    let part = dir.join(format!("{name}.{}.part", std::process::id()));
    let mut gzip = Command::new("sh");
    gzip.args(["-c", "gzip -n <\"$1\" >\"$2\"", "sh"])
        .arg(&tar)
        .arg(&part);
    command::run(&mut gzip, "", PATIENCE)?.ok()?;
    std::fs::write(&diff_id, digest).map_err(text)?;
    std::fs::rename(&part, &file).map_err(text)?;
    Ok(file)
}

/// The layers of the benchmark: this machine's own files, in five gzip archives beside a list of their digests.
pub fn bench(cache: &Path) -> Result<(), String> {
    let dir = cache.join(BENCH);
    if is_whole(&dir) {
        return Ok(());
    }
    println!("making the image of the benchmark from this machine's files (once, some minutes)");
    let text = |e: std::io::Error| format!("{}: {e}", dir.display());
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(text)?;
    }
    let depot = Depot::open(&dir)?;
    let files = chosen(&dir.join("noise"))?;
    let bytes: u64 = files.iter().map(|(_, size)| size).sum();
    println!("{} files, {} MB", files.len(), bytes / 1_000_000);
    let mut parts = shared_out(&files, bytes);
    if let Some(last) = parts.last_mut() {
        last.extend(needs_of(&nothing()?)?);
    }
    // As many at once as there are processors: gzip has one thread.
    let packed: Vec<Result<Layer, String>> = std::thread::scope(|scope| {
        let packers: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| {
                scope.spawn({
                    let depot = &depot;
                    move || pack(depot, n, part)
                })
            })
            .collect();
        packers
            .into_iter()
            .map(|packer| packer.join().unwrap_or_else(|_| Err("a packer died".into())))
            .collect()
    });
    std::fs::remove_dir_all(dir.join("noise")).map_err(text)?;
    let mut list = String::new();
    for layer in packed {
        let layer = layer?;
        list += &format!("{} {}\n", layer.diff_id, layer.blob.digest);
    }
    std::fs::write(dir.join("part"), list).map_err(text)?;
    std::fs::rename(dir.join("part"), dir.join("layers")).map_err(text)?;
    if is_whole(&dir) {
        Ok(())
    } else {
        Err(format!(
            "{}: this machine had too little for the image of the benchmark",
            dir.display()
        ))
    }
}

/// Whether the layers are all there and hold about what they should: the cache may be a copy that somebody cut short.
fn is_whole(dir: &Path) -> bool {
    let Ok(list) = std::fs::read_to_string(dir.join("layers")) else {
        return false;
    };
    let sizes: Option<Vec<u64>> = list
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, digest)| std::fs::metadata(dir.join("blobs").join(digest.replace(':', "/"))).ok())
        .map(|file| Some(file?.len()))
        .collect();
    sizes.is_some_and(|sizes| sizes.len() == SHARES.len() && sizes.iter().sum::<u64>() > PACKED)
}

/// A program that does nothing, for the first run of the image: this machine's own, so that it has a linker and a library to find.
pub fn nothing() -> Result<PathBuf, String> {
    std::fs::canonicalize("/bin/true").map_err(|e| format!("/bin/true: {e}"))
}

/// What a program needs to run, itself included, with every link on the way to it.
fn needs_of(program: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut needs = BTreeSet::new();
    collect_links(program, &mut needs);
    // Of a static program it says that there is nothing to list, and fails.
    let listed = command::run(Command::new("ldd").arg(program), "", command::USUAL)?;
    for word in listed
        .stdout
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        collect_links(Path::new(word), &mut needs);
    }
    Ok(needs)
}

/// A path as the kernel walks it: the names of links, each in a directory that is none, and what the last leads to. An archive with
/// names below a link is not for everyone: Docker refuses it.
fn collect_links(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    collect_links(parent, found);
    let Ok(parent) = parent.canonicalize() else { return };
    let here = parent.join(name);
    if let Ok(target) = std::fs::read_link(&here) {
        collect_links(&parent.join(target), found);
    }
    found.insert(here);
}

/// Files of this machine, in the order of their paths, that together are about as many and as big as wanted. What it lacks of compressed
/// ones is noise, in a directory of its own.
fn chosen(noise: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let toolchains = std::env::var_os("RUSTUP_HOME").map_or(home.join(".rustup"), PathBuf::from);
    let registry = std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    let mut all = Vec::new();
    for root in [
        Path::new("/usr"),
        Path::new("/opt"),
        Path::new("/var/lib"),
        &toolchains,
        &registry.join("registry"),
    ] {
        collect(root, &mut all);
    }
    all.sort();
    let (small, big): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, size)| *size < SMALL);
    let mut files = every(&small, FILES * 95 / 100);
    let (dense, big): (Vec<_>, Vec<_>) = big.into_iter().partition(|(path, _)| is_dense(path));
    let dense = up_to(&dense, DENSE);
    let noise = noise_of(
        noise,
        DENSE.saturating_sub(dense.iter().map(|(_, size)| size).sum()),
    )?;
    files.extend(dense);
    let chosen = files.iter().chain(&noise).map(|(_, size)| size).sum();
    let rest = BYTES.saturating_sub(chosen);
    files.extend(up_to(&big, rest));
    files.sort();
    // Evenly among the others, so that every layer has some.
    let (step, count) = (files.len() / (noise.len() + 1), noise.len());
    for (n, file) in noise.into_iter().enumerate() {
        files.insert((count - n) * step, file);
    }
    Ok(files)
}

/// Files that nothing makes smaller, so many bytes of them.
fn noise_of(dir: &Path, bytes: u64) -> Result<Vec<(PathBuf, u64)>, String> {
    const SIZE: u64 = 4_000_000;
    let text = |e: std::io::Error| format!("{}: {e}", dir.display());
    std::fs::create_dir_all(dir).map_err(text)?;
    // A name of an archive begins at the root.
    let dir = dir.canonicalize().map_err(text)?;
    let random = std::fs::File::open("/dev/urandom").map_err(text)?;
    let mut files = Vec::new();
    for n in 0..bytes / SIZE {
        let path = dir.join(format!("{n}"));
        let mut file = std::fs::File::create(&path).map_err(text)?;
        std::io::copy(&mut std::io::Read::take(&random, SIZE), &mut file).map_err(text)?;
        files.push((path, SIZE));
    }
    Ok(files)
}

/// Whether a file is compressed, as its name says.
fn is_dense(path: &Path) -> bool {
    const ENDINGS: [&str; 9] = ["jar", "zip", "gz", "xz", "zst", "crate", "woff2", "png", "whl"];
    path.extension()
        .is_some_and(|ending| ENDINGS.iter().any(|dense| ending == *dense))
}

/// Of a list evenly so many that they are about as big as wanted. What alone is a tenth of that is left out.
fn up_to(list: &[(PathBuf, u64)], bytes: u64) -> Vec<(PathBuf, u64)> {
    let fitting: Vec<_> = list
        .iter()
        .filter(|(_, size)| *size < bytes / 10)
        .cloned()
        .collect();
    let all: u64 = fitting.iter().map(|(_, size)| size).sum();
    let share = (bytes as f64 / all.max(1) as f64).min(1.0);
    every(&fitting, (fitting.len() as f64 * share) as usize)
}

/// So many of a list, evenly.
fn every<T: Clone>(list: &[T], wanted: usize) -> Vec<T> {
    let wanted = wanted.min(list.len());
    (0..wanted)
        .filter_map(|n| list.get(n * list.len() / wanted.max(1)).cloned())
        .collect()
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if metadata.is_dir() {
            collect(&entry.path(), found);
        } else if metadata.is_file() && metadata.nlink() == 1 {
            found.push((entry.path(), metadata.len()));
        }
    }
}

/// Runs of the list, by their shares of the bytes.
fn shared_out(files: &[(PathBuf, u64)], bytes: u64) -> Vec<Vec<PathBuf>> {
    let mut parts = vec![Vec::new(); SHARES.len()];
    let (mut part, mut filled, mut limit) = (0, 0, bytes * SHARES[0] / 100);
    for (path, size) in files {
        filled += size;
        if filled > limit && part + 1 < SHARES.len() {
            part += 1;
            limit += bytes * SHARES[part] / 100;
        }
        parts[part].push(path.clone());
    }
    parts
}

fn pack(depot: &Depot, n: usize, files: &[PathBuf]) -> Result<Layer, String> {
    let list = depot.dir.join(format!("list-{n}"));
    let archive = depot.dir.join(format!("archive-{n}"));
    let mut names: BTreeSet<&Path> = BTreeSet::new();
    for file in files {
        names.extend(file.ancestors().filter(|path| *path != Path::new("/")));
    }
    let mut text = Vec::new();
    for name in names {
        text.extend(name.strip_prefix("/").unwrap_or(name).as_os_str().as_bytes());
        text.push(0);
    }
    std::fs::write(&list, text).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut tar = Command::new("tar");
    tar.args([
        "-C",
        "/",
        "--no-recursion",
        "--null",
        "--ignore-failed-read",
        "--warning=no-file-changed",
        "-T",
    ]);
    tar.arg(&list).arg("-cf").arg(&archive);
    // 1 says that a file changed while it was read, which is no matter here.
    let outcome = command::run(&mut tar, "", PATIENCE)?;
    if outcome.code > 1 {
        return Err(format!("tar: {}", outcome.stderr));
    }
    std::fs::remove_file(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let layers = depot.layers_of_files(&[archive], Compression::Gzip)?;
    layers.into_iter().next().ok_or("no layer".into())
}
