//! Architectures by their libseccomp names, and the ABIs a kernel serves.
//!
//! May not: be the second place that knows the CPU. [`Arch::native`] is the only one in the program.

/// An architecture of a seccomp profile (`SCMP_ARCH_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390,
    S390x,
    Sh,
    Sheb,
}

/// `__AUDIT_ARCH_64BIT` of linux/audit.h.
const B64: u32 = 0x8000_0000;
/// `__AUDIT_ARCH_LE`.
const LE: u32 = 0x4000_0000;
/// `__AUDIT_ARCH_CONVENTION_MIPS64_N32`.
const N32: u32 = 0x2000_0000;

/// Name in a profile and what the kernel puts into `seccomp_data.arch` (linux/audit.h, numbers of linux/elf-em.h).
const ARCHES: &[(Arch, &str, u32)] = &[
    (Arch::Aarch64, "SCMP_ARCH_AARCH64", 183 | B64 | LE),
    (Arch::Arm, "SCMP_ARCH_ARM", 40 | LE),
    (Arch::Loongarch64, "SCMP_ARCH_LOONGARCH64", 258 | B64 | LE),
    (Arch::M68k, "SCMP_ARCH_M68K", 4),
    (Arch::Mips, "SCMP_ARCH_MIPS", 8),
    (Arch::Mips64, "SCMP_ARCH_MIPS64", 8 | B64),
    (Arch::Mips64N32, "SCMP_ARCH_MIPS64N32", 8 | B64 | N32),
    (Arch::Mipsel, "SCMP_ARCH_MIPSEL", 8 | LE),
    (Arch::Mipsel64, "SCMP_ARCH_MIPSEL64", 8 | B64 | LE),
    (Arch::Mipsel64N32, "SCMP_ARCH_MIPSEL64N32", 8 | B64 | LE | N32),
    (Arch::Parisc, "SCMP_ARCH_PARISC", 15),
    (Arch::Parisc64, "SCMP_ARCH_PARISC64", 15 | B64),
    (Arch::Ppc, "SCMP_ARCH_PPC", 20),
    (Arch::Ppc64, "SCMP_ARCH_PPC64", 21 | B64),
    (Arch::Ppc64le, "SCMP_ARCH_PPC64LE", 21 | B64 | LE),
    (Arch::Riscv64, "SCMP_ARCH_RISCV64", 243 | B64 | LE),
    (Arch::S390, "SCMP_ARCH_S390", 22),
    (Arch::S390x, "SCMP_ARCH_S390X", 22 | B64),
    (Arch::Sh, "SCMP_ARCH_SH", 42 | LE),
    (Arch::Sheb, "SCMP_ARCH_SHEB", 42),
    // The kernel gives x32 the value of x86_64 and marks the system call number instead.
    (Arch::X32, "SCMP_ARCH_X32", 62 | B64 | LE),
    (Arch::X86, "SCMP_ARCH_X86", 3 | LE),
    (Arch::X86_64, "SCMP_ARCH_X86_64", 62 | B64 | LE),
];

impl Arch {
    /// The architecture that this program was built for.
    pub const fn native() -> Arch {
        #[cfg(target_arch = "x86_64")]
        return Arch::X86_64;
        #[cfg(target_arch = "aarch64")]
        return Arch::Aarch64;
        #[cfg(target_arch = "riscv64")]
        return Arch::Riscv64;
        #[cfg(target_arch = "x86")]
        return Arch::X86;
        #[cfg(target_arch = "arm")]
        return Arch::Arm;
    }

    /// The architecture with this `SCMP_ARCH_*` name.
    pub fn parse(name: &str) -> Option<Arch> {
        ARCHES.iter().find(|(_, n, _)| *n == name).map(|(a, _, _)| *a)
    }

    /// Its `SCMP_ARCH_*` name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The AUDIT_ARCH_* value that the kernel shows to a filter.
    pub fn audit(self) -> u32 {
        self.row().2
    }

    /// Every name, sorted.
    pub fn names() -> Vec<&'static str> {
        ARCHES.iter().map(|(_, n, _)| *n).collect()
    }

    fn row(self) -> &'static (Arch, &'static str, u32) {
        // Every variant has a row (tested); the fall-back only satisfies the types.
        ARCHES.iter().find(|(a, _, _)| *a == self).unwrap_or(&ARCHES[0])
    }

    /// The ABIs whose processes a kernel of this architecture can run and whose numbers are known here, its own first.
    pub(super) fn served(self) -> &'static [Abi] {
        match self {
            Arch::X86_64 => &[Abi::X86_64, Abi::X32, Abi::X86],
            Arch::X86 => &[Abi::X86],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
            Arch::Arm => &[Abi::Arm],
            Arch::Riscv64 => &[Abi::Riscv64],
            _ => &[],
        }
    }
}

/// An ABI with a table of system calls; the order is that of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Riscv64,
}

/// Set in the number of an x32 call.
pub(super) const X32_BIT: u32 = 1 << 30;

/// How wide the arguments of an ABI are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    W32,
    W64,
}

impl Abi {
    pub(super) const COUNT: usize = 6;
    #[cfg(test)]
    pub(super) const ALL: [Abi; Abi::COUNT] = [
        Abi::X86,
        Abi::X86_64,
        Abi::X32,
        Abi::Arm,
        Abi::Aarch64,
        Abi::Riscv64,
    ];

    pub(super) fn arch(self) -> Arch {
        match self {
            Abi::X86 => Arch::X86,
            Abi::X86_64 => Arch::X86_64,
            Abi::X32 => Arch::X32,
            Abi::Arm => Arch::Arm,
            Abi::Aarch64 => Arch::Aarch64,
            Abi::Riscv64 => Arch::Riscv64,
        }
    }

    /// libseccomp compares only the low half of the arguments of 32-bit ABIs, x32 among them.
    pub(super) fn width(self) -> Width {
        match self {
            Abi::X86 | Abi::X32 | Abi::Arm => Width::W32,
            Abi::X86_64 | Abi::Aarch64 | Abi::Riscv64 => Width::W64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back() {
        for (arch, name, audit) in ARCHES {
            assert_eq!(Arch::parse(name), Some(*arch));
            assert_eq!((arch.name(), arch.audit()), (*name, *audit));
        }
        assert!(Arch::names().is_sorted());
        assert_eq!(Arch::parse("SCMP_ARCH_VAX"), None);
        assert_eq!(Arch::parse("SCMP_ARCH_NATIVE"), None);
    }

    #[test]
    fn audit_values_are_the_kernels() {
        assert_eq!(Arch::X86_64.audit(), 0xc000_003e);
        assert_eq!(Arch::X86.audit(), 0x4000_0003);
        assert_eq!(Arch::Aarch64.audit(), 0xc000_00b7);
        assert_eq!(Arch::Arm.audit(), 0x4000_0028);
        assert_eq!(Arch::Riscv64.audit(), 0xc000_00f3);
        assert_eq!(Arch::Ppc64le.audit(), 0xc000_0015);
        assert_eq!(Arch::S390x.audit(), 0x8000_0016);
    }

    #[test]
    fn columns_are_in_order() {
        for (n, abi) in Abi::ALL.into_iter().enumerate() {
            assert_eq!(abi as usize, n);
        }
    }
}
