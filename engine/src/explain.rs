//! Why a program cannot be executed, where the kernel only says ENOENT or ENOEXEC: a script whose interpreter is missing, a program whose
//! loader is, a program for another machine.
//!
//! May not: execute or trust anything. Files are looked up in the container's root and no more than their heads are read; what is not understood is
//! left to the kernel.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use image::{Error, Kind, Result};
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

/// The most that is read of a program: its headers lie in front.
const HEAD: usize = 4096;
/// `#!` and what follows, as far as the kernel looks (BINPRM_BUF_SIZE).
const SCRIPT: usize = 256;

/// Refuses what cannot be executed for a reason that can be told. `args` and `env` are the container's, `root` its root, mounted.
///
/// # Errors
/// In the kernel's words and ours.
pub fn check(root: BorrowedFd<'_>, args: &[String], env: &[String], cwd: &str) -> Result<()> {
    let Some(program) = args.first() else {
        return Ok(());
    };
    let Some(path) = find(root, program, env, cwd) else {
        return Ok(());
    };
    let Some(head) = read_head(root, &path) else {
        return Ok(());
    };
    if let Some(interpreter) = script_interpreter(&head) {
        return missing(root, &path, interpreter, "the interpreter of its first line");
    }
    let Some(elf) = Elf::read(&head) else {
        return Ok(());
    };
    if let Some(machine) = elf.of_other_machine().filter(|_| !takes_others()) {
        return Err(Error::of(
            Kind::Unsupported,
            format!(
                "exec {path}: exec format error: it is a program for {machine}, and this machine is {}",
                std::env::consts::ARCH
            ),
        ));
    }
    match elf.interpreter(&head) {
        Some(interpreter) => missing(root, &path, interpreter, "its loader"),
        None => Ok(()),
    }
}

fn missing(root: BorrowedFd<'_>, path: &str, interpreter: &str, what: &str) -> Result<()> {
    match open(root, interpreter) {
        Err(e) if e.is(libc::ENOENT) => Err(Error::not_found(format!(
            "exec {path}: no such file or directory: {interpreter}, {what}, is not in the image"
        ))),
        _ => Ok(()),
    }
}

fn open(root: BorrowedFd<'_>, path: &str) -> sys::Result<std::os::fd::OwnedFd> {
    sys::fs::openat2(
        root,
        Path::new(path),
        libc::O_PATH,
        0,
        RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    )
}

/// As execvp(3) does. Where nothing is found, the runtime says so.
fn find(root: BorrowedFd<'_>, program: &str, env: &[String], cwd: &str) -> Option<String> {
    if program.starts_with('/') {
        return Some(program.to_owned());
    }
    if program.contains('/') {
        return Some(format!("{cwd}/{program}"));
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="))?;
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| format!("{directory}/{program}"))
        .find(|path| open(root, path).is_ok())
}

fn read_head(root: BorrowedFd<'_>, path: &str) -> Option<Vec<u8>> {
    let seen = open(root, path).ok()?;
    // A FIFO or a device is not opened.
    let stat = sys::fs::fstat(seen.as_fd()).ok()?;
    if stat.file_type() != libc::S_IFREG {
        return None;
    }
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = sys::fs::openat2(root, Path::new(path), flags, 0, resolve).ok()?;
    let mut head = vec![0; HEAD];
    let n = sys::fs::read_at(file.as_fd(), &mut head, 0).ok()?;
    head.truncate(n);
    Some(head)
}

fn script_interpreter(head: &[u8]) -> Option<&str> {
    let line = head.strip_prefix(b"#!")?;
    let line = &line[..line.len().min(SCRIPT)];
    let line = line.split(|b| *b == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    let first = text.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    // One that ends with a carriage return is a file of Windows; the kernel looks for it with the return.
    first.starts_with('/').then_some(first)
}

/// Whether the kernel hands programs of other machines to an emulator (binfmt_misc).
fn takes_others() -> bool {
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.file_name())
        .any(|name| name != "register" && name != "status")
}

/// What is needed of a program's header (elf(5)).
struct Elf {
    machine: u16,
    wide: bool,
    headers: usize,
    header_size: usize,
    count: usize,
}

/// e_machine, and what it is called.
const MACHINES: [(u16, &str); 8] = [
    (3, "386"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];
const PT_INTERP: u32 = 3;

impl Elf {
    /// Little-endian ones only; others are another machine's, which the kernel says in its own way.
    fn read(head: &[u8]) -> Option<Elf> {
        if !head.starts_with(b"\x7fELF") || *head.get(5)? != 1 {
            return None;
        }
        let wide = *head.get(4)? == 2;
        let places = match wide {
            true => [(32, 8), (54, 2), (56, 2)],
            false => [(28, 4), (42, 2), (44, 2)],
        };
        // Of a file that ends before them it can still be told which machine it is for.
        let [headers, header_size, count] = places.map(|(at, size)| number(head, at, size).unwrap_or(0));
        Some(Elf {
            machine: u16::try_from(number(head, 18, 2)?).ok()?,
            wide,
            headers,
            header_size,
            count,
        })
    }

    fn of_other_machine(&self) -> Option<String> {
        let own: &[u16] = match std::env::consts::ARCH {
            "x86_64" => &[62, 3],
            "aarch64" => &[183, 40],
            _ => return None,
        };
        if own.contains(&self.machine) {
            return None;
        }
        let known = MACHINES.iter().find(|(number, _)| *number == self.machine);
        Some(known.map_or_else(
            || format!("machine {}", self.machine),
            |(_, name)| (*name).to_owned(),
        ))
    }

    fn interpreter<'h>(&self, head: &'h [u8]) -> Option<&'h str> {
        for n in 0..self.count.min(64) {
            let at = self.headers.checked_add(n.checked_mul(self.header_size)?)?;
            if number(head, at, 4)? != PT_INTERP as usize {
                continue;
            }
            let (offset, size) = match self.wide {
                true => (number(head, at + 8, 8)?, number(head, at + 32, 8)?),
                false => (number(head, at + 4, 4)?, number(head, at + 16, 4)?),
            };
            let bytes = head.get(offset..offset.checked_add(size)?)?;
            let text = bytes.split(|b| *b == 0).next()?;
            return std::str::from_utf8(text)
                .ok()
                .filter(|path| path.starts_with('/'));
        }
        None
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn root(name: &str) -> (std::path::PathBuf, std::os::fd::OwnedFd) {
        let path = std::env::temp_dir().join(format!("brig-explain-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).unwrap();
        let fd = sys::fs::open(&path, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        (path, fd)
    }

    #[test]
    fn reasons() {
        let (path, fd) = root("reasons");
        let put = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
        put("bin/lost", b"#!/nosuch/python -u\nprint()\n");
        put("bin/found", b"#! /bin/lost x\n");
        put("bin/text", b"hello");
        let mut foreign = vec![0; 64];
        foreign[..6].copy_from_slice(b"\x7fELF\x02\x01");
        foreign[18] = 243;
        put("bin/foreign", &foreign);
        let say = |words: &[&str]| {
            let args: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            check(fd.as_fd(), &args, &["PATH=/usr/bin:/bin".to_owned()], "/")
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            say(&["lost"]),
            "exec /bin/lost: no such file or directory: /nosuch/python, the interpreter of its first line, is not in the image"
        );
        if !takes_others() {
            assert!(say(&["/bin/foreign"]).contains("riscv64"));
        }
        for fine in ["found", "text", "absent", "/bin"] {
            assert_eq!(say(&[fine]), "", "{fine}");
        }
        // This test's own program has a loader, which this root lacks.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        put("bin/own", &own[..own.len().min(HEAD)]);
        if own.windows(4).take(2000).any(|w| w == b"/ld-") || say(&["own"]).contains("loader") {
            assert!(say(&["own"]).contains("its loader"), "{}", say(&["own"]));
        }
        fs::remove_dir_all(path).unwrap();
    }
}
