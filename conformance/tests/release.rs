//! The programs as they are shipped.
//!
//! May not: start any of them. It reads the ELF headers of what `make build` left in `$RELEASE_DIR`.

#![allow(clippy::expect_used, clippy::panic)] // a test may

use std::path::{Path, PathBuf};

const PT_INTERP: u32 = 3;
const PT_DYNAMIC: u32 = 2;

/// Types of the program headers of a 64-bit little-endian ELF file.
fn program_header_types(file: &Path) -> Vec<u32> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert_eq!(
        &bytes[..6],
        b"\x7fELF\x02\x01",
        "{} is not a 64-bit little-endian ELF",
        file.display()
    );
    let number = |at: usize, len: usize| {
        bytes[at..at + len]
            .iter()
            .rev()
            .fold(0usize, |n, b| n << 8 | usize::from(*b))
    };
    let (table, entry, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|i| number(table + i * entry, 4) as u32).collect()
}

/// A program with an interpreter depends on the host's C library and costs its dynamic linking at every start.
#[test]
#[ignore = "reads the release build: RELEASE_DIR=target/release after make build"]
fn release_programs_are_static() {
    let dir = PathBuf::from(std::env::var_os("RELEASE_DIR").expect("RELEASE_DIR"));
    let programs = [
        "runb",
        "containerd-shim-runb-v2",
        "conformance",
        "shimtest",
        "engines",
        "vm",
        "bench",
    ];
    for program in programs {
        let types = program_header_types(&dir.join(program));
        assert!(
            !types.contains(&PT_INTERP),
            "{program} asks for an interpreter: it is not static"
        );
    }
}

/// Relocating itself would cost a program a page fault for every page of its constants at each start, and a shim a copy of each of
/// them for as long as it lives.
#[test]
#[ignore = "reads the release build: RELEASE_DIR=target/release after make build"]
fn what_engines_start_has_a_fixed_address() {
    const ET_EXEC: u8 = 2;
    let dir = PathBuf::from(std::env::var_os("RELEASE_DIR").expect("RELEASE_DIR"));
    for program in ["runb", "containerd-shim-runb-v2"] {
        let bytes = std::fs::read(dir.join(program)).unwrap_or_else(|e| panic!("{program}: {e}"));
        assert_eq!(bytes[16..18], [ET_EXEC, 0], "{program} is position independent");
    }
}

/// The reader above sees an interpreter where there is one: this test itself is linked dynamically, or nothing is.
#[test]
fn the_reader_tells_dynamic_from_static() {
    let own = program_header_types(Path::new("/proc/self/exe"));
    assert!(
        own.contains(&PT_DYNAMIC) || !own.contains(&PT_INTERP),
        "an interpreter without a dynamic section: {own:?}"
    );
}
