//! Compiles the probe as a static program and leaves it in OUT_DIR, where `payload.rs` embeds it. A probe that needed
//! the rootfs's own libraries could not run in an empty rootfs.
//!
//! The build never fails for lack of a static target: then the embedded file is empty and `conformance` says so.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/probe");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("conformance-probe");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let musl = format!("{arch}-unknown-linux-musl");
    let gnu = format!("{arch}-unknown-linux-gnu");
    let ways: [(&str, &[&str]); 3] = [
        (&musl, &[]),
        // A foreign CPU has no `cc` here, but the musl target brings all that it links.
        (&musl, &["-Clinker=rust-lld"]),
        (&gnu, &["-Ctarget-feature=+crt-static"]),
    ];
    if ways.iter().any(|(target, extra)| compile(target, extra, &out)) {
        return;
    }
    println!(
        "cargo:warning=no static target for {arch}: the conformance probe is missing (try: rustup target add {musl})"
    );
    if let Err(e) = std::fs::write(&out, b"") {
        println!("cargo:warning=failed to write {}: {e}", out.display());
    }
}

fn compile(target: &str, extra: &[&str], out: &Path) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", "conformance_probe", "-O"])
        .args([
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Ccodegen-units=1",
            "--target",
            target,
        ])
        .args(extra)
        .arg("-o")
        .arg(out)
        .arg("src/probe/main.rs")
        // Flags meant for the host's own build, a sanitizer say, do not fit this one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .output()
        .is_ok_and(|o| o.status.success())
}
