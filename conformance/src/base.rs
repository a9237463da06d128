//! The base image: a minimal Debian, made once by debootstrap and kept.
//!
//! May not: keep half an image (it is renamed into place when it is whole) or an image of another recipe.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::find_program;
use crate::{command, mirror};

/// What is in the image. A change of this text is another image.
const RECIPE: [&str; 3] = ["--variant=minbase", "--include=busybox-static", "bookworm"];

/// What no test looks at, and the image need not carry.
const LEFT_OUT: [&str; 5] = [
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
];

const PATIENCE: Duration = Duration::from_secs(400);

/// The tar file of the base image, made if the cache does not have it.
pub fn image(cache: &Path) -> Result<PathBuf, String> {
    let recipe = RECIPE.concat();
    let hash = recipe
        .bytes()
        .chain(LEFT_OUT.concat().bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    std::fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let cache = cache
        .canonicalize()
        .map_err(|e| format!("{}: {e}", cache.display()))?;
    let image = cache.join(format!("debian-{hash:016x}.tar"));
    if image.exists() {
        return Ok(image);
    }
    // Several programs run at once in a clean clone, and all want it.
    let lock = cache.join("lock");
    let making = File::create(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    making.lock().map_err(|e| format!("{}: {e}", lock.display()))?;
    if !image.exists() {
        make(&cache, &image)?;
    }
    Ok(image)
}

fn make(cache: &Path, image: &Path) -> Result<(), String> {
    let debootstrap = find_program("debootstrap").ok_or("debootstrap is not installed: no base image")?;
    println!("making the base image with debootstrap (once)");
    let tree = cache.join(format!("tree-{}", std::process::id()));
    let part = image.with_extension("part");
    // In a mount namespace: what debootstrap mounts inside the tree goes with it.
    let script = "set -e
        tree=$1 part=$2 debootstrap=$3; shift 3
        \"$debootstrap\" \"$@\" >\"$tree.log\" 2>&1 || { tail -n 20 \"$tree.log\" >&2; exit 1; }
        umount -R \"$tree/proc\" \"$tree/sys\" 2>/dev/null || true";
    let mut bootstrap = Command::new("unshare");
    bootstrap
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&tree)
        .arg(&part)
        .arg(debootstrap);
    bootstrap.args(RECIPE).arg(&tree).arg(mirror::debian());
    let mut tar = Command::new("tar");
    tar.args(LEFT_OUT.iter().map(|path| format!("--exclude={path}")));
    tar.arg("--one-file-system")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&part)
        .arg(".");
    let made = command::run(&mut bootstrap, "", PATIENCE)
        .and_then(|outcome| outcome.ok())
        .and_then(|_| command::run(&mut tar, "", PATIENCE)?.ok())
        .and_then(|_| std::fs::rename(&part, image).map_err(|e| e.to_string()));
    for rest in [&tree, &tree.with_extension("log")] {
        let gone = if rest.is_dir() {
            std::fs::remove_dir_all(rest)
        } else {
            std::fs::remove_file(rest)
        };
        if let Err(e) = gone
            && rest.exists()
        {
            eprintln!("{}: {e}", rest.display());
        }
    }
    made.map_err(|e| format!("the base image: {e}"))
}
