//! Docker's default seccomp profile, as data, and what of it holds for a container.
//!
//! May not: compile anything. The runtime does; what it gets is the profile without its conditions (config-linux.md, "Seccomp").
//!
//! The facts are those of github.com/moby/profiles, seccomp/default.json, of May 2026 (see NOTICE).

use serde_json::{Value, json};

/// What the conditions of the profile ask about.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// As Go calls the CPU: `amd64`.
    pub architecture: &'a str,
    /// Of the bounding set.
    pub capabilities: &'a [String],
    /// Major and minor release of the kernel.
    pub kernel: (u32, u32),
}

/// The architectures of one kernel: as Go calls it, as libseccomp calls it, and what else such a kernel runs.
const ARCHITECTURES: &[(&str, &str, &[&str])] = &[
    ("amd64", "SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("arm64", "SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    (
        "mips64",
        "SCMP_ARCH_MIPS64",
        &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"],
    ),
    (
        "mips64le",
        "SCMP_ARCH_MIPSEL64",
        &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
    ),
    ("s390x", "SCMP_ARCH_S390X", &["SCMP_ARCH_S390"]),
    ("riscv64", "SCMP_ARCH_RISCV64", &[]),
    ("loong64", "SCMP_ARCH_LOONGARCH64", &[]),
];

/// Calls that are always allowed.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
    preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
    sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
    waitpid write writev
";

/// When a rule holds.
enum When {
    Always,
    /// From this release on.
    Kernel(u32, u32),
    /// On one of these.
    On(&'static [&'static str]),
    /// With this capability.
    With(&'static str),
    /// Without this capability.
    Without(&'static str),
    /// Without this capability, on one of these.
    WithoutOn(&'static str, &'static [&'static str]),
    /// Without this capability, on none of these.
    WithoutOff(&'static str, &'static [&'static str]),
}

/// What an argument must be: which one, the comparison, the value.
type Argument = (u32, &'static str, u64);

/// The namespaces that clone(2) may not make: mount, UTS, IPC, user, PID, network, cgroup.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

const S390: &[&str] = &["s390", "s390x"];

/// The other calls that are allowed, in the order of the profile.
const CONDITIONAL: &[(&str, Option<Argument>, When)] = &[
    (
        "process_vm_readv process_vm_writev ptrace",
        None,
        When::Kernel(4, 8),
    ),
    // Every family but AF_ALG (38) and AF_VSOCK (40).
    ("socket", Some((0, "SCMP_CMP_LT", 38)), When::Always),
    ("socket", Some((0, "SCMP_CMP_EQ", 39)), When::Always),
    ("socket", Some((0, "SCMP_CMP_GT", 40)), When::Always),
    // Linux, Linux of 32 bits, both again with UNAME26, and the question what it is.
    ("personality", Some((0, "SCMP_CMP_EQ", 0)), When::Always),
    ("personality", Some((0, "SCMP_CMP_EQ", 0x8)), When::Always),
    ("personality", Some((0, "SCMP_CMP_EQ", 0x2_0000)), When::Always),
    ("personality", Some((0, "SCMP_CMP_EQ", 0x2_0008)), When::Always),
    ("personality", Some((0, "SCMP_CMP_EQ", 0xffff_ffff)), When::Always),
    ("sync_file_range2 swapcontext", None, When::On(&["ppc64le"])),
    (
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        None,
        When::On(&["arm", "arm64"]),
    ),
    ("arch_prctl", None, When::On(&["amd64", "x32"])),
    ("modify_ldt", None, When::On(&["amd64", "x32", "x86"])),
    (
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
        None,
        When::On(S390),
    ),
    ("riscv_flush_icache", None, When::On(&["riscv64"])),
    ("open_by_handle_at", None, When::With("CAP_DAC_READ_SEARCH")),
    (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
        None,
        When::With("CAP_SYS_ADMIN"),
    ),
    (
        "clone",
        Some((0, "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES)),
        When::WithoutOff("CAP_SYS_ADMIN", S390),
    ),
    // The flags are its second argument there.
    (
        "clone",
        Some((1, "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES)),
        When::WithoutOn("CAP_SYS_ADMIN", S390),
    ),
    ("reboot", None, When::With("CAP_SYS_BOOT")),
    ("chroot", None, When::With("CAP_SYS_CHROOT")),
    (
        "delete_module init_module finit_module",
        None,
        When::With("CAP_SYS_MODULE"),
    ),
    ("acct", None, When::With("CAP_SYS_PACCT")),
    (
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        None,
        When::With("CAP_SYS_PTRACE"),
    ),
    ("iopl ioperm", None, When::With("CAP_SYS_RAWIO")),
    (
        "settimeofday stime clock_settime clock_settime64",
        None,
        When::With("CAP_SYS_TIME"),
    ),
    ("vhangup", None, When::With("CAP_SYS_TTY_CONFIG")),
    (
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        None,
        When::With("CAP_SYS_NICE"),
    ),
    ("syslog", None, When::With("CAP_SYSLOG")),
    ("bpf", None, When::With("CAP_BPF")),
    ("perf_event_open", None, When::With("CAP_PERFMON")),
];

/// `linux.seccomp` of a container. On a CPU that the profile does not list it is only about that CPU's own calls.
pub fn profile(facts: &Facts<'_>) -> Value {
    let mut rules = vec![json!({"names": words(ALLOWED), "action": "SCMP_ACT_ALLOW"})];
    for (names, argument, when) in CONDITIONAL {
        if !facts.meet(when) {
            continue;
        }
        let mut rule = json!({"names": words(names), "action": "SCMP_ACT_ALLOW"});
        if let Some((index, op, value)) = argument {
            rule["args"] = json!([{"index": index, "value": value, "op": op}]);
        }
        rules.push(rule);
    }
    if facts.meet(&When::Without("CAP_SYS_ADMIN")) {
        // Its flags lie in memory, where no filter can read them; who is told ENOSYS takes clone(2).
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}));
    }
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "syscalls": rules,
    });
    let known = ARCHITECTURES
        .iter()
        .find(|(name, ..)| *name == facts.architecture);
    if let Some((_, own, others)) = known {
        let all: Vec<&str> = std::iter::once(*own).chain(others.iter().copied()).collect();
        profile["architectures"] = json!(all);
    }
    profile
}

/// What libseccomp calls a CPU, if the profile lists it.
pub fn libseccomp_name(architecture: &str) -> Option<&'static str> {
    let entry = ARCHITECTURES.iter().find(|(name, ..)| *name == architecture);
    entry.map(|(_, name, _)| *name)
}

impl Facts<'_> {
    fn meet(&self, when: &When) -> bool {
        let has = |capability: &str| self.capabilities.iter().any(|c| c == capability);
        match when {
            When::Always => true,
            When::Kernel(major, minor) => self.kernel >= (*major, *minor),
            When::On(list) => list.contains(&self.architecture),
            When::With(capability) => has(capability),
            When::Without(capability) => !has(capability),
            When::WithoutOn(capability, list) => !has(capability) && list.contains(&self.architecture),
            When::WithoutOff(capability, list) => !has(capability) && !list.contains(&self.architecture),
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::defaults::CAPABILITIES;

    fn capabilities(more: &[&str]) -> Vec<String> {
        CAPABILITIES.iter().chain(more).map(|c| c.to_string()).collect()
    }

    fn resolve(architecture: &str, capabilities: &[String], kernel: (u32, u32)) -> Value {
        profile(&Facts {
            architecture,
            capabilities,
            kernel,
        })
    }

    /// Rules as a set: their order means nothing.
    fn rules(profile: &Value) -> Vec<String> {
        let mut all: Vec<String> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        all.sort();
        all
    }

    #[test]
    fn by_default_it_is_what_docker_resolves_it_to() {
        let ours = resolve("amd64", &capabilities(&[]), (6, 1));
        let theirs: Value =
            serde_json::from_str(include_str!("../../../runtime/tests/data/docker-seccomp.json")).unwrap();
        for key in ["defaultAction", "defaultErrnoRet", "architectures"] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        assert_eq!(rules(&ours), rules(&theirs));
    }

    #[test]
    fn conditions_are_about_capabilities_cpu_and_kernel() {
        let allows = |profile: &Value, name: &str| {
            profile["syscalls"].as_array().unwrap().iter().any(|rule| {
                rule["action"] == "SCMP_ACT_ALLOW"
                    && rule.get("args").is_none()
                    && rule["names"].as_array().unwrap().iter().any(|n| n == name)
            })
        };
        let plain = resolve("amd64", &capabilities(&[]), (6, 1));
        let admin = resolve("amd64", &capabilities(&["CAP_SYS_ADMIN"]), (6, 1));
        for name in ["mount", "clone3", "bpf"] {
            assert!(!allows(&plain, name) && allows(&admin, name), "{name}");
        }
        assert!(!admin.to_string().contains("SCMP_ACT_ERRNO\",\"errnoRet\""));
        assert!(allows(&plain, "ptrace") && !allows(&resolve("amd64", &capabilities(&[]), (4, 7)), "ptrace"));
        let arm = resolve("arm64", &capabilities(&[]), (6, 1));
        assert!(allows(&arm, "cacheflush") && !allows(&arm, "arch_prctl"));
        assert_eq!(
            arm["architectures"],
            json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
        );
        let s390 = resolve("s390x", &capabilities(&[]), (6, 1));
        assert!(
            s390.to_string()
                .contains("\"args\":[{\"index\":1,\"value\":2114060288")
        );
        let facts = Facts {
            architecture: "pdp11",
            capabilities: &[],
            kernel: (6, 1),
        };
        assert!(profile(&facts).get("architectures").is_none());
    }
}
