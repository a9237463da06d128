//! The part of the classic BPF machine that seccomp filters use (seccomp(2), bpf(4)), for tests.
//!
//! May not: accept what the kernel refuses at load. Jumps out of the program, unknown operations and loads outside of
//! `struct seccomp_data` are errors.

use sys::seccomp::Insn;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub nr: u32,
    pub arch: u32,
    pub ip: u64,
    pub args: [u64; 6],
}

impl Data {
    fn word(&self, at: u32) -> Option<u32> {
        let half = |v: u64, high: bool| (if high { v >> 32 } else { v }) as u32;
        match at {
            0 => Some(self.nr),
            4 => Some(self.arch),
            8 | 12 => Some(half(self.ip, at == 12)),
            16..=60 if at.is_multiple_of(4) => Some(half(self.args[(at as usize - 16) / 8], at % 8 == 4)),
            _ => None,
        }
    }
}

/// Checks what the kernel checks before it takes a program.
pub fn check(program: &[Insn]) -> Result<(), String> {
    if program.is_empty() || program.len() > 4096 {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        let left = (program.len() - at - 1) as u64;
        let ok = match i.code {
            0x20 => Data::default().word(i.k).is_some(),
            0x05 => (i.k as u64) < left,
            0x15 | 0x25 | 0x35 | 0x45 => (i.jt.max(i.jf) as u64) < left,
            0x54 | 0x06 => true,
            _ => false,
        };
        if !ok {
            return Err(format!("instruction {at}: {i:x?}"));
        }
    }
    match program.last() {
        Some(Insn { code: 0x06, .. }) => Ok(()),
        last => Err(format!("ends with {last:x?}")),
    }
}

/// Runs a checked program; gives the verdict and the instructions it took.
pub fn run(program: &[Insn], data: &Data) -> (u32, usize) {
    let (mut a, mut at, mut steps) = (0u32, 0usize, 0);
    loop {
        let i = &program[at];
        at += 1;
        steps += 1;
        let mut jump = |yes: bool| at += if yes { i.jt as usize } else { i.jf as usize };
        match i.code {
            0x20 => a = data.word(i.k).unwrap_or_default(),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => jump(a == i.k),
            0x25 => jump(a > i.k),
            0x35 => jump(a >= i.k),
            0x45 => jump(a & i.k != 0),
            0x06 => return (i.k, steps),
            code => panic!("operation {code:#x}"),
        }
    }
}
