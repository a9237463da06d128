//! Unpacks layers and says how long it took: `unpack tree|erofs|inflate|digest DIRECTORY JOBS FILE...`; for measuring and for looking at results.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::layer::{self, Options, Target};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (form, directory, jobs) = (&args[1], Path::new(&args[2]), args[3].parse::<usize>().unwrap());
    let files = &args[4..];
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(i) else { return };
                    let start = Instant::now();
                    match one(form, &directory.join(format!("layer{i}")), Path::new(path)) {
                        Ok(done) => println!(
                            "{:.2} s  {path}  {} entries  {} -> {} bytes  {} written  {}",
                            start.elapsed().as_secs_f64(),
                            done.entries,
                            done.compressed_size,
                            done.size,
                            done.bytes,
                            done.diff_id,
                        ),
                        Err(e) => panic!("{path}: {e}"),
                    }
                }
            });
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    println!("{:.2} s in all, {peak}", begin.elapsed().as_secs_f64());
}

fn one(form: &str, to: &Path, from: &Path) -> image::Result<layer::Unpacked> {
    let source = File::open(from).unwrap();
    let options = Options {
        compressed: std::env::var_os("DIGEST").map(|_| image::digest::Algorithm::Sha256),
        ..Options::default()
    };
    if form == "inflate" || form == "digest" {
        return floor(form, source);
    }
    if form == "tree" {
        std::fs::create_dir(to).unwrap();
        let root = File::open(to).unwrap();
        layer::unpack(source, Target::Tree(root.as_fd()), &options)
    } else {
        let image = File::create_new(to.with_extension("erofs")).unwrap();
        layer::unpack(source, Target::Erofs(&image), &options)
    }
}

/// What no unpacking can do without: inflation, and the digest of what comes out.
fn floor(form: &str, source: File) -> image::Result<layer::Unpacked> {
    let mut stream = layer::decompress::Decompressor::new(source, layer::Ratio::default())?;
    let mut hasher = image::digest::Hasher::new(image::digest::Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    let (compression, mut size) = (stream.compression(), 0);
    loop {
        let n = stream.fill(&mut buffer)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if form == "digest" {
            hasher.update(&buffer[..n]);
        }
    }
    Ok(layer::Unpacked {
        files: 0,
        diff_id: hasher.finish(),
        compression,
        compressed_digest: None,
        compressed_size: 0,
        size,
        entries: 0,
        bytes: 0,
        attributes_dropped: 0,
        devices_dropped: 0,
        hides_all_below: false,
    })
}
