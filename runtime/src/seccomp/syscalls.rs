//! The numbers of the system calls, by name and ABI.
//!
//! May not: hold pointers. Names lie in one array and are found by a hash table that the compiler builds: a table of
//! `&str` would have to be relocated by every start of a static position-independent program.
//!
//! The rows are facts of the kernel's tables (`*.tbl` in its source), complete to Linux 7.1. From 424 on a new call has
//! one number everywhere, so a new row is short work. Tests compare the rows with the installed kernel headers and with
//! libseccomp. Calls that only exist on architectures without a column here are left out: an unknown name and one
//! without a number mean the same to a profile.

use super::arch::Abi;

/// No such call on this ABI.
const NO: u16 = u16::MAX;
/// arm's own calls (breakpoint, cacheflush, set_tls) start at 0x0f0000; 16 bits hold them with this mark.
const ARM: u16 = 0xf000;

/// The numbers of one system call on every ABI: a row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    row: u16,
}

/// The two calls of old 32-bit ABIs that stand for many; the first argument says for which (linux/net.h, linux/ipc.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Socketcall(u8),
    Ipc(u8),
}

impl Numbers {
    /// The number on `abi`, without x32's bit.
    pub(super) fn on(self, abi: Abi) -> Option<u32> {
        match TABLE.numbers[self.row as usize][abi as usize] {
            NO => None,
            n if n >= ARM => Some(0x000f_0000 | (n - ARM) as u32),
            n => Some(n as u32),
        }
    }

    /// How x86 reaches it through socketcall(2) or ipc(2), beside a number of its own.
    pub(super) fn shared(self) -> Option<Shared> {
        match TABLE.shared[self.row as usize] {
            0 => None,
            n if n & IPC != 0 => Some(Shared::Ipc(n & !IPC)),
            n => Some(Shared::Socketcall(n)),
        }
    }
}

const IPC: u8 = 0x80;
/// First arguments of socketcall(2); those of ipc(2) are marked.
const SHARED: &[(&str, u8)] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
    ("semop", IPC | 1),
    ("semget", IPC | 2),
    ("semctl", IPC | 3),
    ("semtimedop", IPC | 4),
    ("msgsnd", IPC | 11),
    ("msgrcv", IPC | 12),
    ("msgget", IPC | 13),
    ("msgctl", IPC | 14),
    ("shmat", IPC | 21),
    ("shmdt", IPC | 22),
    ("shmget", IPC | 23),
    ("shmctl", IPC | 24),
];

/// The numbers of the call `name`, unless no ABI here has it.
pub(super) fn find(name: &str) -> Option<Numbers> {
    let name = name.as_bytes();
    let mut slot = hash(name) as usize % SLOTS;
    loop {
        match TABLE.slots[slot] {
            0 => return None,
            n if name_of(n - 1) == name => return Some(Numbers { row: n - 1 }),
            _ => {}
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Every name in the table.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(name, _)| *name)
}

fn name_of(row: u16) -> &'static [u8] {
    let row = row as usize;
    let start = if row == 0 { 0 } else { TABLE.ends[row - 1] as usize };
    &TABLE.names[start..TABLE.ends[row] as usize]
}

/// FNV-1a.
const fn hash(name: &[u8]) -> u32 {
    let mut h: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        h = (h ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    h ^ (h >> 15)
}

const SLOTS: usize = 2048;
const BYTES: usize = {
    let mut bytes = 0;
    let mut row = 0;
    while row < ROWS.len() {
        bytes += ROWS[row].0.len();
        row += 1;
    }
    bytes
};

struct Table {
    /// Row + 1; 0 is empty. Open addressing.
    slots: [u16; SLOTS],
    names: [u8; BYTES],
    ends: [u16; ROWS.len()],
    numbers: [[u16; Abi::COUNT]; ROWS.len()],
    shared: [u8; ROWS.len()],
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

static TABLE: Table = {
    let mut t = Table {
        slots: [0; SLOTS],
        names: [0; BYTES],
        ends: [0; ROWS.len()],
        numbers: [[NO; Abi::COUNT]; ROWS.len()],
        shared: [0; ROWS.len()],
    };
    let mut end = 0;
    let mut row = 0;
    while row < ROWS.len() {
        let name = ROWS[row].0.as_bytes();
        let mut i = 0;
        while i < name.len() {
            t.names[end + i] = name[i];
            i += 1;
        }
        end += name.len();
        t.ends[row] = end as u16;
        t.numbers[row] = ROWS[row].1;
        let mut i = 0;
        while i < SHARED.len() {
            if same(name, SHARED[i].0.as_bytes()) {
                t.shared[row] = SHARED[i].1;
            }
            i += 1;
        }
        let mut slot = hash(name) as usize % SLOTS;
        while t.slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        t.slots[slot] = row as u16 + 1;
        row += 1;
    }
    t
};

/// Name, then the numbers in the order of [`Abi`]: x86, x86_64, x32, arm, aarch64, riscv64.
#[rustfmt::skip]
const ROWS: &[(&str, [u16; Abi::COUNT])] = &[
    ("_llseek", [140, NO, NO, 140, NO, NO]),
    ("_newselect", [142, NO, NO, 142, NO, NO]),
    ("_sysctl", [149, 156, NO, 149, NO, NO]),
    ("accept", [NO, 43, 43, 285, 202, 202]),
    ("accept4", [364, 288, 288, 366, 242, 242]),
    ("access", [33, 21, 21, 33, NO, NO]),
    ("acct", [51, 163, 163, 51, 89, 89]),
    ("add_key", [286, 248, 248, 309, 217, 217]),
    ("adjtimex", [124, 159, 159, 124, 171, 171]),
    ("afs_syscall", [137, 183, 183, NO, NO, NO]),
    ("alarm", [27, 37, 37, NO, NO, NO]),
    ("arch_prctl", [384, 158, 158, NO, NO, NO]),
    ("arm_fadvise64_64", [NO, NO, NO, 270, NO, NO]),
    ("arm_sync_file_range", [NO, NO, NO, 341, NO, NO]),
    ("bdflush", [134, NO, NO, 134, NO, NO]),
    ("bind", [361, 49, 49, 282, 200, 200]),
    ("bpf", [357, 321, 321, 386, 280, 280]),
    ("break", [17, NO, NO, NO, NO, NO]),
    ("breakpoint", [NO, NO, NO, ARM + 1, NO, NO]),
    ("brk", [45, 12, 12, 45, 214, 214]),
    ("cacheflush", [NO, NO, NO, ARM + 2, NO, NO]),
    ("cachestat", [451, 451, 451, 451, 451, 451]),
    ("capget", [184, 125, 125, 184, 90, 90]),
    ("capset", [185, 126, 126, 185, 91, 91]),
    ("chdir", [12, 80, 80, 12, 49, 49]),
    ("chmod", [15, 90, 90, 15, NO, NO]),
    ("chown", [182, 92, 92, 182, NO, NO]),
    ("chown32", [212, NO, NO, 212, NO, NO]),
    ("chroot", [61, 161, 161, 61, 51, 51]),
    ("clock_adjtime", [343, 305, 305, 372, 266, 266]),
    ("clock_adjtime64", [405, NO, NO, 405, NO, NO]),
    ("clock_getres", [266, 229, 229, 264, 114, 114]),
    ("clock_getres_time64", [406, NO, NO, 406, NO, NO]),
    ("clock_gettime", [265, 228, 228, 263, 113, 113]),
    ("clock_gettime64", [403, NO, NO, 403, NO, NO]),
    ("clock_nanosleep", [267, 230, 230, 265, 115, 115]),
    ("clock_nanosleep_time64", [407, NO, NO, 407, NO, NO]),
    ("clock_settime", [264, 227, 227, 262, 112, 112]),
    ("clock_settime64", [404, NO, NO, 404, NO, NO]),
    ("clone", [120, 56, 56, 120, 220, 220]),
    ("clone3", [435, 435, 435, 435, 435, 435]),
    ("close", [6, 3, 3, 6, 57, 57]),
    ("close_range", [436, 436, 436, 436, 436, 436]),
    ("connect", [362, 42, 42, 283, 203, 203]),
    ("copy_file_range", [377, 326, 326, 391, 285, 285]),
    ("creat", [8, 85, 85, 8, NO, NO]),
    ("create_module", [127, 174, NO, NO, NO, NO]),
    ("delete_module", [129, 176, 176, 129, 106, 106]),
    ("dup", [41, 32, 32, 41, 23, 23]),
    ("dup2", [63, 33, 33, 63, NO, NO]),
    ("dup3", [330, 292, 292, 358, 24, 24]),
    ("epoll_create", [254, 213, 213, 250, NO, NO]),
    ("epoll_create1", [329, 291, 291, 357, 20, 20]),
    ("epoll_ctl", [255, 233, 233, 251, 21, 21]),
    ("epoll_ctl_old", [NO, 214, NO, NO, NO, NO]),
    ("epoll_pwait", [319, 281, 281, 346, 22, 22]),
    ("epoll_pwait2", [441, 441, 441, 441, 441, 441]),
    ("epoll_wait", [256, 232, 232, 252, NO, NO]),
    ("epoll_wait_old", [NO, 215, NO, NO, NO, NO]),
    ("eventfd", [323, 284, 284, 351, NO, NO]),
    ("eventfd2", [328, 290, 290, 356, 19, 19]),
    ("execve", [11, 59, 520, 11, 221, 221]),
    ("execveat", [358, 322, 545, 387, 281, 281]),
    ("exit", [1, 60, 60, 1, 93, 93]),
    ("exit_group", [252, 231, 231, 248, 94, 94]),
    ("faccessat", [307, 269, 269, 334, 48, 48]),
    ("faccessat2", [439, 439, 439, 439, 439, 439]),
    ("fadvise64", [250, 221, 221, NO, 223, 223]),
    ("fadvise64_64", [272, NO, NO, NO, NO, NO]),
    ("fallocate", [324, 285, 285, 352, 47, 47]),
    ("fanotify_init", [338, 300, 300, 367, 262, 262]),
    ("fanotify_mark", [339, 301, 301, 368, 263, 263]),
    ("fchdir", [133, 81, 81, 133, 50, 50]),
    ("fchmod", [94, 91, 91, 94, 52, 52]),
    ("fchmodat", [306, 268, 268, 333, 53, 53]),
    ("fchmodat2", [452, 452, 452, 452, 452, 452]),
    ("fchown", [95, 93, 93, 95, 55, 55]),
    ("fchown32", [207, NO, NO, 207, NO, NO]),
    ("fchownat", [298, 260, 260, 325, 54, 54]),
    ("fcntl", [55, 72, 72, 55, 25, 25]),
    ("fcntl64", [221, NO, NO, 221, NO, NO]),
    ("fdatasync", [148, 75, 75, 148, 83, 83]),
    ("fgetxattr", [231, 193, 193, 231, 10, 10]),
    ("file_getattr", [468, 468, 468, 468, 468, 468]),
    ("file_setattr", [469, 469, 469, 469, 469, 469]),
    ("finit_module", [350, 313, 313, 379, 273, 273]),
    ("flistxattr", [234, 196, 196, 234, 13, 13]),
    ("flock", [143, 73, 73, 143, 32, 32]),
    ("fork", [2, 57, 57, 2, NO, NO]),
    ("fremovexattr", [237, 199, 199, 237, 16, 16]),
    ("fsconfig", [431, 431, 431, 431, 431, 431]),
    ("fsetxattr", [228, 190, 190, 228, 7, 7]),
    ("fsmount", [432, 432, 432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433, 433, 433]),
    ("fstat", [108, 5, 5, 108, 80, 80]),
    ("fstat64", [197, NO, NO, 197, NO, NO]),
    ("fstatat64", [300, NO, NO, 327, NO, NO]),
    ("fstatfs", [100, 138, 138, 100, 44, 44]),
    ("fstatfs64", [269, NO, NO, 267, NO, NO]),
    ("fsync", [118, 74, 74, 118, 82, 82]),
    ("ftime", [35, NO, NO, NO, NO, NO]),
    ("ftruncate", [93, 77, 77, 93, 46, 46]),
    ("ftruncate64", [194, NO, NO, 194, NO, NO]),
    ("futex", [240, 202, 202, 240, 98, 98]),
    ("futex_requeue", [456, 456, 456, 456, 456, 456]),
    ("futex_time64", [422, NO, NO, 422, NO, NO]),
    ("futex_wait", [455, 455, 455, 455, 455, 455]),
    ("futex_waitv", [449, 449, 449, 449, 449, 449]),
    ("futex_wake", [454, 454, 454, 454, 454, 454]),
    ("futimesat", [299, 261, 261, 326, NO, NO]),
    ("get_kernel_syms", [130, 177, NO, NO, NO, NO]),
    ("get_mempolicy", [275, 239, 239, 320, 236, 236]),
    ("get_robust_list", [312, 274, 531, 339, 100, 100]),
    ("get_thread_area", [244, 211, NO, NO, NO, NO]),
    ("get_tls", [NO, NO, NO, ARM + 6, NO, NO]),
    ("getcpu", [318, 309, 309, 345, 168, 168]),
    ("getcwd", [183, 79, 79, 183, 17, 17]),
    ("getdents", [141, 78, 78, 141, NO, NO]),
    ("getdents64", [220, 217, 217, 217, 61, 61]),
    ("getegid", [50, 108, 108, 50, 177, 177]),
    ("getegid32", [202, NO, NO, 202, NO, NO]),
    ("geteuid", [49, 107, 107, 49, 175, 175]),
    ("geteuid32", [201, NO, NO, 201, NO, NO]),
    ("getgid", [47, 104, 104, 47, 176, 176]),
    ("getgid32", [200, NO, NO, 200, NO, NO]),
    ("getgroups", [80, 115, 115, 80, 158, 158]),
    ("getgroups32", [205, NO, NO, 205, NO, NO]),
    ("getitimer", [105, 36, 36, 105, 102, 102]),
    ("getpeername", [368, 52, 52, 287, 205, 205]),
    ("getpgid", [132, 121, 121, 132, 155, 155]),
    ("getpgrp", [65, 111, 111, 65, NO, NO]),
    ("getpid", [20, 39, 39, 20, 172, 172]),
    ("getpmsg", [188, 181, 181, NO, NO, NO]),
    ("getppid", [64, 110, 110, 64, 173, 173]),
    ("getpriority", [96, 140, 140, 96, 141, 141]),
    ("getrandom", [355, 318, 318, 384, 278, 278]),
    ("getresgid", [171, 120, 120, 171, 150, 150]),
    ("getresgid32", [211, NO, NO, 211, NO, NO]),
    ("getresuid", [165, 118, 118, 165, 148, 148]),
    ("getresuid32", [209, NO, NO, 209, NO, NO]),
    ("getrlimit", [76, 97, 97, NO, 163, 163]),
    ("getrusage", [77, 98, 98, 77, 165, 165]),
    ("getsid", [147, 124, 124, 147, 156, 156]),
    ("getsockname", [367, 51, 51, 286, 204, 204]),
    ("getsockopt", [365, 55, 542, 295, 209, 209]),
    ("gettid", [224, 186, 186, 224, 178, 178]),
    ("gettimeofday", [78, 96, 96, 78, 169, 169]),
    ("getuid", [24, 102, 102, 24, 174, 174]),
    ("getuid32", [199, NO, NO, 199, NO, NO]),
    ("getxattr", [229, 191, 191, 229, 8, 8]),
    ("getxattrat", [464, 464, 464, 464, 464, 464]),
    ("gtty", [32, NO, NO, NO, NO, NO]),
    ("idle", [112, NO, NO, NO, NO, NO]),
    ("init_module", [128, 175, 175, 128, 105, 105]),
    ("inotify_add_watch", [292, 254, 254, 317, 27, 27]),
    ("inotify_init", [291, 253, 253, 316, NO, NO]),
    ("inotify_init1", [332, 294, 294, 360, 26, 26]),
    ("inotify_rm_watch", [293, 255, 255, 318, 28, 28]),
    ("io_cancel", [249, 210, 210, 247, 3, 3]),
    ("io_destroy", [246, 207, 207, 244, 1, 1]),
    ("io_getevents", [247, 208, 208, 245, 4, 4]),
    ("io_pgetevents", [385, 333, 333, 399, 292, 292]),
    ("io_pgetevents_time64", [416, NO, NO, 416, NO, NO]),
    ("io_setup", [245, 206, 543, 243, 0, 0]),
    ("io_submit", [248, 209, 544, 246, 2, 2]),
    ("io_uring_enter", [426, 426, 426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425, 425, 425]),
    ("ioctl", [54, 16, 514, 54, 29, 29]),
    ("ioperm", [101, 173, 173, NO, NO, NO]),
    ("iopl", [110, 172, 172, NO, NO, NO]),
    ("ioprio_get", [290, 252, 252, 315, 31, 31]),
    ("ioprio_set", [289, 251, 251, 314, 30, 30]),
    ("ipc", [117, NO, NO, NO, NO, NO]),
    ("kcmp", [349, 312, 312, 378, 272, 272]),
    ("kexec_file_load", [NO, 320, 320, 401, 294, 294]),
    ("kexec_load", [283, 246, 528, 347, 104, 104]),
    ("keyctl", [288, 250, 250, 311, 219, 219]),
    ("kill", [37, 62, 62, 37, 129, 129]),
    ("landlock_add_rule", [445, 445, 445, 445, 445, 445]),
    ("landlock_create_ruleset", [444, 444, 444, 444, 444, 444]),
    ("landlock_restrict_self", [446, 446, 446, 446, 446, 446]),
    ("lchown", [16, 94, 94, 16, NO, NO]),
    ("lchown32", [198, NO, NO, 198, NO, NO]),
    ("lgetxattr", [230, 192, 192, 230, 9, 9]),
    ("link", [9, 86, 86, 9, NO, NO]),
    ("linkat", [303, 265, 265, 330, 37, 37]),
    ("listen", [363, 50, 50, 284, 201, 201]),
    ("listmount", [458, 458, 458, 458, 458, 458]),
    ("listns", [470, 470, 470, 470, 470, 470]),
    ("listxattr", [232, 194, 194, 232, 11, 11]),
    ("listxattrat", [465, 465, 465, 465, 465, 465]),
    ("llistxattr", [233, 195, 195, 233, 12, 12]),
    ("lock", [53, NO, NO, NO, NO, NO]),
    ("lookup_dcookie", [253, 212, 212, 249, 18, 18]),
    ("lremovexattr", [236, 198, 198, 236, 15, 15]),
    ("lseek", [19, 8, 8, 19, 62, 62]),
    ("lsetxattr", [227, 189, 189, 227, 6, 6]),
    ("lsm_get_self_attr", [459, 459, 459, 459, 459, 459]),
    ("lsm_list_modules", [461, 461, 461, 461, 461, 461]),
    ("lsm_set_self_attr", [460, 460, 460, 460, 460, 460]),
    ("lstat", [107, 6, 6, 107, NO, NO]),
    ("lstat64", [196, NO, NO, 196, NO, NO]),
    ("madvise", [219, 28, 28, 220, 233, 233]),
    ("map_shadow_stack", [453, 453, 453, 453, 453, 453]),
    ("mbind", [274, 237, 237, 319, 235, 235]),
    ("membarrier", [375, 324, 324, 389, 283, 283]),
    ("memfd_create", [356, 319, 319, 385, 279, 279]),
    ("memfd_secret", [447, 447, 447, NO, 447, 447]),
    ("migrate_pages", [294, 256, 256, 400, 238, 238]),
    ("mincore", [218, 27, 27, 219, 232, 232]),
    ("mkdir", [39, 83, 83, 39, NO, NO]),
    ("mkdirat", [296, 258, 258, 323, 34, 34]),
    ("mknod", [14, 133, 133, 14, NO, NO]),
    ("mknodat", [297, 259, 259, 324, 33, 33]),
    ("mlock", [150, 149, 149, 150, 228, 228]),
    ("mlock2", [376, 325, 325, 390, 284, 284]),
    ("mlockall", [152, 151, 151, 152, 230, 230]),
    ("mmap", [90, 9, 9, NO, 222, 222]),
    ("mmap2", [192, NO, NO, 192, NO, NO]),
    ("modify_ldt", [123, 154, 154, NO, NO, NO]),
    ("mount", [21, 165, 165, 21, 40, 40]),
    ("mount_setattr", [442, 442, 442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429, 429, 429]),
    ("move_pages", [317, 279, 533, 344, 239, 239]),
    ("mprotect", [125, 10, 10, 125, 226, 226]),
    ("mpx", [56, NO, NO, NO, NO, NO]),
    ("mq_getsetattr", [282, 245, 245, 279, 185, 185]),
    ("mq_notify", [281, 244, 527, 278, 184, 184]),
    ("mq_open", [277, 240, 240, 274, 180, 180]),
    ("mq_timedreceive", [280, 243, 243, 277, 183, 183]),
    ("mq_timedreceive_time64", [419, NO, NO, 419, NO, NO]),
    ("mq_timedsend", [279, 242, 242, 276, 182, 182]),
    ("mq_timedsend_time64", [418, NO, NO, 418, NO, NO]),
    ("mq_unlink", [278, 241, 241, 275, 181, 181]),
    ("mremap", [163, 25, 25, 163, 216, 216]),
    ("mseal", [462, 462, 462, 462, 462, 462]),
    ("msgctl", [402, 71, 71, 304, 187, 187]),
    ("msgget", [399, 68, 68, 303, 186, 186]),
    ("msgrcv", [401, 70, 70, 302, 188, 188]),
    ("msgsnd", [400, 69, 69, 301, 189, 189]),
    ("msync", [144, 26, 26, 144, 227, 227]),
    ("munlock", [151, 150, 150, 151, 229, 229]),
    ("munlockall", [153, 152, 152, 153, 231, 231]),
    ("munmap", [91, 11, 11, 91, 215, 215]),
    ("name_to_handle_at", [341, 303, 303, 370, 264, 264]),
    ("nanosleep", [162, 35, 35, 162, 101, 101]),
    ("newfstatat", [NO, 262, 262, NO, 79, 79]),
    ("nfsservctl", [169, 180, NO, 169, 42, 42]),
    ("nice", [34, NO, NO, 34, NO, NO]),
    ("oldfstat", [28, NO, NO, NO, NO, NO]),
    ("oldlstat", [84, NO, NO, NO, NO, NO]),
    ("oldolduname", [59, NO, NO, NO, NO, NO]),
    ("oldstat", [18, NO, NO, NO, NO, NO]),
    ("olduname", [109, NO, NO, NO, NO, NO]),
    ("open", [5, 2, 2, 5, NO, NO]),
    ("open_by_handle_at", [342, 304, 304, 371, 265, 265]),
    ("open_tree", [428, 428, 428, 428, 428, 428]),
    ("open_tree_attr", [467, 467, 467, 467, 467, 467]),
    ("openat", [295, 257, 257, 322, 56, 56]),
    ("openat2", [437, 437, 437, 437, 437, 437]),
    ("pause", [29, 34, 34, 29, NO, NO]),
    ("pciconfig_iobase", [NO, NO, NO, 271, NO, NO]),
    ("pciconfig_read", [NO, NO, NO, 272, NO, NO]),
    ("pciconfig_write", [NO, NO, NO, 273, NO, NO]),
    ("perf_event_open", [336, 298, 298, 364, 241, 241]),
    ("personality", [136, 135, 135, 136, 92, 92]),
    ("pidfd_getfd", [438, 438, 438, 438, 438, 438]),
    ("pidfd_open", [434, 434, 434, 434, 434, 434]),
    ("pidfd_send_signal", [424, 424, 424, 424, 424, 424]),
    ("pipe", [42, 22, 22, 42, NO, NO]),
    ("pipe2", [331, 293, 293, 359, 59, 59]),
    ("pivot_root", [217, 155, 155, 218, 41, 41]),
    ("pkey_alloc", [381, 330, 330, 395, 289, 289]),
    ("pkey_free", [382, 331, 331, 396, 290, 290]),
    ("pkey_mprotect", [380, 329, 329, 394, 288, 288]),
    ("poll", [168, 7, 7, 168, NO, NO]),
    ("ppoll", [309, 271, 271, 336, 73, 73]),
    ("ppoll_time64", [414, NO, NO, 414, NO, NO]),
    ("prctl", [172, 157, 157, 172, 167, 167]),
    ("pread64", [180, 17, 17, 180, 67, 67]),
    ("preadv", [333, 295, 534, 361, 69, 69]),
    ("preadv2", [378, 327, 546, 392, 286, 286]),
    ("prlimit64", [340, 302, 302, 369, 261, 261]),
    ("process_madvise", [440, 440, 440, 440, 440, 440]),
    ("process_mrelease", [448, 448, 448, 448, 448, 448]),
    ("process_vm_readv", [347, 310, 539, 376, 270, 270]),
    ("process_vm_writev", [348, 311, 540, 377, 271, 271]),
    ("prof", [44, NO, NO, NO, NO, NO]),
    ("profil", [98, NO, NO, NO, NO, NO]),
    ("pselect6", [308, 270, 270, 335, 72, 72]),
    ("pselect6_time64", [413, NO, NO, 413, NO, NO]),
    ("ptrace", [26, 101, 521, 26, 117, 117]),
    ("putpmsg", [189, 182, 182, NO, NO, NO]),
    ("pwrite64", [181, 18, 18, 181, 68, 68]),
    ("pwritev", [334, 296, 535, 362, 70, 70]),
    ("pwritev2", [379, 328, 547, 393, 287, 287]),
    ("query_module", [167, 178, NO, NO, NO, NO]),
    ("quotactl", [131, 179, 179, 131, 60, 60]),
    ("quotactl_fd", [443, 443, 443, 443, 443, 443]),
    ("read", [3, 0, 0, 3, 63, 63]),
    ("readahead", [225, 187, 187, 225, 213, 213]),
    ("readdir", [89, NO, NO, NO, NO, NO]),
    ("readlink", [85, 89, 89, 85, NO, NO]),
    ("readlinkat", [305, 267, 267, 332, 78, 78]),
    ("readv", [145, 19, 515, 145, 65, 65]),
    ("reboot", [88, 169, 169, 88, 142, 142]),
    ("recv", [NO, NO, NO, 291, NO, NO]),
    ("recvfrom", [371, 45, 517, 292, 207, 207]),
    ("recvmmsg", [337, 299, 537, 365, 243, 243]),
    ("recvmmsg_time64", [417, NO, NO, 417, NO, NO]),
    ("recvmsg", [372, 47, 519, 297, 212, 212]),
    ("remap_file_pages", [257, 216, 216, 253, 234, 234]),
    ("removexattr", [235, 197, 197, 235, 14, 14]),
    ("removexattrat", [466, 466, 466, 466, 466, 466]),
    ("rename", [38, 82, 82, 38, NO, NO]),
    ("renameat", [302, 264, 264, 329, 38, NO]),
    ("renameat2", [353, 316, 316, 382, 276, 276]),
    ("request_key", [287, 249, 249, 310, 218, 218]),
    ("restart_syscall", [0, 219, 219, 0, 128, 128]),
    ("riscv_flush_icache", [NO, NO, NO, NO, NO, 259]),
    ("riscv_hwprobe", [NO, NO, NO, NO, NO, 258]),
    ("rmdir", [40, 84, 84, 40, NO, NO]),
    ("rseq", [386, 334, 334, 398, 293, 293]),
    ("rseq_slice_yield", [471, 471, 471, 471, 471, 471]),
    ("rt_sigaction", [174, 13, 512, 174, 134, 134]),
    ("rt_sigpending", [176, 127, 522, 176, 136, 136]),
    ("rt_sigprocmask", [175, 14, 14, 175, 135, 135]),
    ("rt_sigqueueinfo", [178, 129, 524, 178, 138, 138]),
    ("rt_sigreturn", [173, 15, 513, 173, 139, 139]),
    ("rt_sigsuspend", [179, 130, 130, 179, 133, 133]),
    ("rt_sigtimedwait", [177, 128, 523, 177, 137, 137]),
    ("rt_sigtimedwait_time64", [421, NO, NO, 421, NO, NO]),
    ("rt_tgsigqueueinfo", [335, 297, 536, 363, 240, 240]),
    ("sched_get_priority_max", [159, 146, 146, 159, 125, 125]),
    ("sched_get_priority_min", [160, 147, 147, 160, 126, 126]),
    ("sched_getaffinity", [242, 204, 204, 242, 123, 123]),
    ("sched_getattr", [352, 315, 315, 381, 275, 275]),
    ("sched_getparam", [155, 143, 143, 155, 121, 121]),
    ("sched_getscheduler", [157, 145, 145, 157, 120, 120]),
    ("sched_rr_get_interval", [161, 148, 148, 161, 127, 127]),
    ("sched_rr_get_interval_time64", [423, NO, NO, 423, NO, NO]),
    ("sched_setaffinity", [241, 203, 203, 241, 122, 122]),
    ("sched_setattr", [351, 314, 314, 380, 274, 274]),
    ("sched_setparam", [154, 142, 142, 154, 118, 118]),
    ("sched_setscheduler", [156, 144, 144, 156, 119, 119]),
    ("sched_yield", [158, 24, 24, 158, 124, 124]),
    ("seccomp", [354, 317, 317, 383, 277, 277]),
    ("security", [NO, 185, 185, NO, NO, NO]),
    ("select", [82, 23, 23, NO, NO, NO]),
    ("semctl", [394, 66, 66, 300, 191, 191]),
    ("semget", [393, 64, 64, 299, 190, 190]),
    ("semop", [NO, 65, 65, 298, 193, 193]),
    ("semtimedop", [NO, 220, 220, 312, 192, 192]),
    ("semtimedop_time64", [420, NO, NO, 420, NO, NO]),
    ("send", [NO, NO, NO, 289, NO, NO]),
    ("sendfile", [187, 40, 40, 187, 71, 71]),
    ("sendfile64", [239, NO, NO, 239, NO, NO]),
    ("sendmmsg", [345, 307, 538, 374, 269, 269]),
    ("sendmsg", [370, 46, 518, 296, 211, 211]),
    ("sendto", [369, 44, 44, 290, 206, 206]),
    ("set_mempolicy", [276, 238, 238, 321, 237, 237]),
    ("set_mempolicy_home_node", [450, 450, 450, 450, 450, 450]),
    ("set_robust_list", [311, 273, 530, 338, 99, 99]),
    ("set_thread_area", [243, 205, NO, NO, NO, NO]),
    ("set_tid_address", [258, 218, 218, 256, 96, 96]),
    ("set_tls", [NO, NO, NO, ARM + 5, NO, NO]),
    ("setdomainname", [121, 171, 171, 121, 162, 162]),
    ("setfsgid", [139, 123, 123, 139, 152, 152]),
    ("setfsgid32", [216, NO, NO, 216, NO, NO]),
    ("setfsuid", [138, 122, 122, 138, 151, 151]),
    ("setfsuid32", [215, NO, NO, 215, NO, NO]),
    ("setgid", [46, 106, 106, 46, 144, 144]),
    ("setgid32", [214, NO, NO, 214, NO, NO]),
    ("setgroups", [81, 116, 116, 81, 159, 159]),
    ("setgroups32", [206, NO, NO, 206, NO, NO]),
    ("sethostname", [74, 170, 170, 74, 161, 161]),
    ("setitimer", [104, 38, 38, 104, 103, 103]),
    ("setns", [346, 308, 308, 375, 268, 268]),
    ("setpgid", [57, 109, 109, 57, 154, 154]),
    ("setpriority", [97, 141, 141, 97, 140, 140]),
    ("setregid", [71, 114, 114, 71, 143, 143]),
    ("setregid32", [204, NO, NO, 204, NO, NO]),
    ("setresgid", [170, 119, 119, 170, 149, 149]),
    ("setresgid32", [210, NO, NO, 210, NO, NO]),
    ("setresuid", [164, 117, 117, 164, 147, 147]),
    ("setresuid32", [208, NO, NO, 208, NO, NO]),
    ("setreuid", [70, 113, 113, 70, 145, 145]),
    ("setreuid32", [203, NO, NO, 203, NO, NO]),
    ("setrlimit", [75, 160, 160, 75, 164, 164]),
    ("setsid", [66, 112, 112, 66, 157, 157]),
    ("setsockopt", [366, 54, 541, 294, 208, 208]),
    ("settimeofday", [79, 164, 164, 79, 170, 170]),
    ("setuid", [23, 105, 105, 23, 146, 146]),
    ("setuid32", [213, NO, NO, 213, NO, NO]),
    ("setxattr", [226, 188, 188, 226, 5, 5]),
    ("setxattrat", [463, 463, 463, 463, 463, 463]),
    ("sgetmask", [68, NO, NO, NO, NO, NO]),
    ("shmat", [397, 30, 30, 305, 196, 196]),
    ("shmctl", [396, 31, 31, 308, 195, 195]),
    ("shmdt", [398, 67, 67, 306, 197, 197]),
    ("shmget", [395, 29, 29, 307, 194, 194]),
    ("shutdown", [373, 48, 48, 293, 210, 210]),
    ("sigaction", [67, NO, NO, 67, NO, NO]),
    ("sigaltstack", [186, 131, 525, 186, 132, 132]),
    ("signal", [48, NO, NO, NO, NO, NO]),
    ("signalfd", [321, 282, 282, 349, NO, NO]),
    ("signalfd4", [327, 289, 289, 355, 74, 74]),
    ("sigpending", [73, NO, NO, 73, NO, NO]),
    ("sigprocmask", [126, NO, NO, 126, NO, NO]),
    ("sigreturn", [119, NO, NO, 119, NO, NO]),
    ("sigsuspend", [72, NO, NO, 72, NO, NO]),
    ("socket", [359, 41, 41, 281, 198, 198]),
    ("socketcall", [102, NO, NO, NO, NO, NO]),
    ("socketpair", [360, 53, 53, 288, 199, 199]),
    ("splice", [313, 275, 275, 340, 76, 76]),
    ("ssetmask", [69, NO, NO, NO, NO, NO]),
    ("stat", [106, 4, 4, 106, NO, NO]),
    ("stat64", [195, NO, NO, 195, NO, NO]),
    ("statfs", [99, 137, 137, 99, 43, 43]),
    ("statfs64", [268, NO, NO, 266, NO, NO]),
    ("statmount", [457, 457, 457, 457, 457, 457]),
    ("statx", [383, 332, 332, 397, 291, 291]),
    ("stime", [25, NO, NO, NO, NO, NO]),
    ("stty", [31, NO, NO, NO, NO, NO]),
    ("swapoff", [115, 168, 168, 115, 225, 225]),
    ("swapon", [87, 167, 167, 87, 224, 224]),
    ("symlink", [83, 88, 88, 83, NO, NO]),
    ("symlinkat", [304, 266, 266, 331, 36, 36]),
    ("sync", [36, 162, 162, 36, 81, 81]),
    ("sync_file_range", [314, 277, 277, NO, 84, 84]),
    ("syncfs", [344, 306, 306, 373, 267, 267]),
    ("sysfs", [135, 139, 139, 135, NO, NO]),
    ("sysinfo", [116, 99, 99, 116, 179, 179]),
    ("syslog", [103, 103, 103, 103, 116, 116]),
    ("tee", [315, 276, 276, 342, 77, 77]),
    ("tgkill", [270, 234, 234, 268, 131, 131]),
    ("time", [13, 201, 201, NO, NO, NO]),
    ("timer_create", [259, 222, 526, 257, 107, 107]),
    ("timer_delete", [263, 226, 226, 261, 111, 111]),
    ("timer_getoverrun", [262, 225, 225, 260, 109, 109]),
    ("timer_gettime", [261, 224, 224, 259, 108, 108]),
    ("timer_gettime64", [408, NO, NO, 408, NO, NO]),
    ("timer_settime", [260, 223, 223, 258, 110, 110]),
    ("timer_settime64", [409, NO, NO, 409, NO, NO]),
    ("timerfd_create", [322, 283, 283, 350, 85, 85]),
    ("timerfd_gettime", [326, 287, 287, 354, 87, 87]),
    ("timerfd_gettime64", [410, NO, NO, 410, NO, NO]),
    ("timerfd_settime", [325, 286, 286, 353, 86, 86]),
    ("timerfd_settime64", [411, NO, NO, 411, NO, NO]),
    ("times", [43, 100, 100, 43, 153, 153]),
    ("tkill", [238, 200, 200, 238, 130, 130]),
    ("truncate", [92, 76, 76, 92, 45, 45]),
    ("truncate64", [193, NO, NO, 193, NO, NO]),
    ("tuxcall", [NO, 184, 184, NO, NO, NO]),
    ("ugetrlimit", [191, NO, NO, 191, NO, NO]),
    ("ulimit", [58, NO, NO, NO, NO, NO]),
    ("umask", [60, 95, 95, 60, 166, 166]),
    ("umount", [22, NO, NO, NO, NO, NO]),
    ("umount2", [52, 166, 166, 52, 39, 39]),
    ("uname", [122, 63, 63, 122, 160, 160]),
    ("unlink", [10, 87, 87, 10, NO, NO]),
    ("unlinkat", [301, 263, 263, 328, 35, 35]),
    ("unshare", [310, 272, 272, 337, 97, 97]),
    ("uprobe", [NO, 336, 336, NO, NO, NO]),
    ("uretprobe", [NO, 335, 335, NO, NO, NO]),
    ("uselib", [86, 134, NO, 86, NO, NO]),
    ("userfaultfd", [374, 323, 323, 388, 282, 282]),
    ("usr26", [NO, NO, NO, ARM + 3, NO, NO]),
    ("usr32", [NO, NO, NO, ARM + 4, NO, NO]),
    ("ustat", [62, 136, 136, 62, NO, NO]),
    ("utime", [30, 132, 132, NO, NO, NO]),
    ("utimensat", [320, 280, 280, 348, 88, 88]),
    ("utimensat_time64", [412, NO, NO, 412, NO, NO]),
    ("utimes", [271, 235, 235, 269, NO, NO]),
    ("vfork", [190, 58, 58, 190, NO, NO]),
    ("vhangup", [111, 153, 153, 111, 58, 58]),
    ("vm86", [166, NO, NO, NO, NO, NO]),
    ("vm86old", [113, NO, NO, NO, NO, NO]),
    ("vmsplice", [316, 278, 532, 343, 75, 75]),
    ("vserver", [273, 236, NO, 313, NO, NO]),
    ("wait4", [114, 61, 61, 114, 260, 260]),
    ("waitid", [284, 247, 529, 280, 95, 95]),
    ("waitpid", [7, NO, NO, NO, NO, NO]),
    ("write", [4, 1, 1, 4, 64, 64]),
    ("writev", [146, 20, 516, 146, 66, 66]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for (name, numbers) in ROWS {
            let row = find(name).unwrap().row as usize;
            assert_eq!(TABLE.numbers[row], *numbers, "{name}");
        }
        for name in ["", "opena", "openatx", "OPEN", "socket ", "\0"] {
            assert!(find(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn shared_calls_are_marked() {
        assert_eq!(find("socket").unwrap().shared(), Some(Shared::Socketcall(1)));
        assert_eq!(find("shmctl").unwrap().shared(), Some(Shared::Ipc(24)));
        assert_eq!(find("read").unwrap().shared(), None);
        assert_eq!(
            names().filter(|n| find(n).unwrap().shared().is_some()).count(),
            SHARED.len()
        );
    }

    #[test]
    fn rows_are_sorted_and_numbers_are_taken_once() {
        assert!(ROWS.is_sorted_by(|a, b| a.0 < b.0));
        for abi in Abi::ALL {
            let mut seen: Vec<u32> = ROWS
                .iter()
                .filter_map(|(name, _)| find(name).unwrap().on(abi))
                .collect();
            let all = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), all, "{abi:?}");
        }
        assert_eq!(find("cacheflush").unwrap().on(Abi::Arm), Some(983042));
    }

    /// What `#define __NR_name number` in a header says; x32's numbers carry a bit.
    fn header(name: &str) -> Option<Vec<(String, u32)>> {
        let text = ["/usr/include/asm", "/usr/include/x86_64-linux-gnu/asm"]
            .iter()
            .find_map(|dir| std::fs::read_to_string(format!("{dir}/{name}")).ok())?;
        let mut out = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some("#define"), Some(name), Some(number)) = (words.next(), words.next(), words.last())
            else {
                continue;
            };
            let number = number.trim_matches(['(', ')']).parse();
            if let (Some(name), Ok(number)) = (name.strip_prefix("__NR_"), number) {
                out.push((name.to_string(), number));
            }
        }
        Some(out)
    }

    #[test]
    fn installed_kernel_headers_agree() {
        let headers = [
            ("unistd_64.h", Abi::X86_64),
            ("unistd_32.h", Abi::X86),
            ("unistd_x32.h", Abi::X32),
        ];
        for (file, abi) in headers {
            let Some(calls) = header(file) else {
                println!("skipped: no {file} here");
                continue;
            };
            assert!(calls.len() > 300, "{file}");
            let newest = names().filter_map(|n| find(n)?.on(Abi::Aarch64)).max();
            for (name, number) in calls {
                let ours = find(&name).and_then(|n| n.on(abi));
                // Headers may be newer than the table; only what they add may be missing.
                let is_newer = ours.is_none() && Some(number) > newest && !(512..548).contains(&number);
                assert!(ours == Some(number) || is_newer, "{name} of {file}: {ours:?}");
            }
        }
    }

    /// Where both have a number it is the same. A libseccomp older than the table misses some.
    #[test]
    fn installed_libseccomp_agrees() {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp_oracle.py");
        let piped = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = piped else {
            println!("skipped: no python3 here");
            return;
        };
        let ask = serde_json::json!({ "names": names().collect::<Vec<_>>() });
        let mut stdin = child.stdin.take().unwrap();
        // Fails when there is no libseccomp, which the exit code tells.
        let _ = writeln!(stdin, "{ask}");
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        if done.status.code() == Some(77) {
            println!("skipped: no libseccomp here");
            return;
        }
        let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let theirs = answer["numbers"].as_object().unwrap();
        assert!(theirs.len() > 400);
        for (name, on) in theirs {
            for abi in Abi::ALL {
                let arch = abi.arch().name().trim_start_matches("SCMP_ARCH_");
                let number = on[arch].as_i64().unwrap();
                let number = if abi == Abi::X32 {
                    number & !(1 << 30)
                } else {
                    number
                };
                // For shared calls it tells a number of its own making.
                if number >= 0 {
                    let ours = find(name).unwrap().on(abi);
                    assert_eq!(ours, Some(number as u32), "{name} on {abi:?}");
                }
            }
        }
    }
}
