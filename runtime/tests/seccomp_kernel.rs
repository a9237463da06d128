//! Compiled profiles, loaded for real: what the kernel answers to calls that they judge.
//!
//! One test in a file of its own: it forks, so no other test may run beside it in the process.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests count as production code

use runtime::config::Seccomp;
use runtime::problems::Problems;
use runtime::seccomp::{Arch, FLAGS_OF_MINIMUM_KERNEL, Filter, plan_seccomp};
use std::ffi::CString;
use sys::process::{Block, ExecStrings, Exit, Forked, execve, exit_now, fork, set_no_new_privs, wait_pid};

/// Defined in every script: `call(name or number, args...)` gives the errno, 0 for success.
const PRELUDE: &str = r#"
import ctypes, errno, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NUMBERS = {"getpid": (39, 172), "mount": (165, 40), "keyctl": (250, 219), "personality": (135, 92),
           "socket": (41, 198), "clone3": (435, 435), "unshare": (272, 97), "chroot": (161, 51),
           "getpgid": (121, 155), "getsid": (124, 156), "umask": (95, 166)}
def call(what, *args):
    number = NUMBERS[what][0 if X86 else 1] if isinstance(what, str) else what
    ctypes.set_errno(0)
    libc.syscall.restype = ctypes.c_long
    r = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a) for a in args])
    return ctypes.get_errno() if r == -1 else 0
def is_(got, wanted):
    if got != wanted:
        print("line", sys._getframe(1).f_lineno, ":", errno.errorcode.get(got, got), "is not",
              errno.errorcode.get(wanted, wanted), flush=True)
        os._exit(3)
def int80(number):
    "The i386 call with this number and no arguments."
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8" + number.to_bytes(4, "little") + b"\x31\xdb\xcd\x80\x5b\xc3")
    at = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(at)()
"#;

/// How a script ends under a profile. Scripts begin after the filter was loaded, so the filter lets python start.
fn run(filter: &Filter, script: &str) -> Option<Exit> {
    let script = format!("{PRELUDE}\n{script}");
    let args = ExecStrings::new(["python3", "-I", "-S", "-c", &script]).unwrap();
    let env = ExecStrings::new(std::iter::empty::<&str>()).unwrap();
    // The system's first: one on PATH may be a shim that wants more than this environment.
    let python = ["/usr/bin".into()]
        .into_iter()
        .chain(std::env::split_paths(&std::env::var_os("PATH")?))
        .map(|dir| dir.join("python3"))
        .find(|p| p.is_file())?;
    let python = CString::new(python.into_os_string().into_encoded_bytes()).ok()?;
    match fork(0, None).unwrap() {
        Forked::Child => {
            let loaded = set_no_new_privs().and_then(|()| sys::seccomp::load(&filter.insns, filter.flags));
            if loaded.is_ok() {
                execve(&python, &args, &env);
            }
            exit_now(99)
        }
        Forked::Parent { pid, .. } => wait_pid(pid, Block::Yes).unwrap(),
    }
}

fn profile(json: &str) -> Filter {
    let profile: Seccomp = serde_json::from_str(json).unwrap();
    let mut problems = Problems::default();
    plan_seccomp(
        &profile,
        Arch::native(),
        sys::seccomp::probe_flags(),
        &mut problems,
    )
    .unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn the_kernel_judges_as_the_profile_says() {
    let allow = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    if run(&allow, "") != Some(Exit::Code(0)) {
        println!("skipped: needs python3");
        return;
    }

    let docker: Seccomp = serde_json::from_str(include_str!("data/docker-seccomp.json")).unwrap();
    let docker = plan_seccomp(
        &docker,
        Arch::native(),
        FLAGS_OF_MINIMUM_KERNEL,
        &mut Problems::default(),
    )
    .unwrap();
    let script = r#"
is_(call("getpid"), 0)
is_(call("keyctl", 0, 0), errno.EPERM)
is_(call("unshare", 0x10000000), errno.EPERM)
is_(call("clone3", 0, 0), errno.ENOSYS)
is_(call(600), errno.ENOSYS)
is_(call(0x7fffffff & ~(1 << 30)), errno.ENOSYS)
is_(call("socket", 40, 1, 0), errno.EPERM)
is_(call("socket", 1, 1, 0), 0)
is_(call("personality", 0xffffffff), 0)
is_(call("personality", 0x20008), 0)
is_(call("personality", 0), 0)
is_(call("personality", 0x40000), errno.EPERM)
is_(call("personality", 1 << 32), errno.EPERM)
os._exit(0 if os.fork() == 0 or os.wait()[1] == 0 else 4)
"#;
    assert_eq!(run(&docker, script), Some(Exit::Code(0)));

    // 64-bit comparisons, several rules for one call, errno values, the flags that need no listener.
    let filter = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [
              {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
               "args": [{"index": 0, "op": "SCMP_CMP_GT", "value": 6442450942}]},
              {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
               "args": [{"index": 0, "op": "SCMP_CMP_LE", "value": 5}, {"index": 1, "op": "SCMP_CMP_NE", "value": 7}]},
              {"names": ["getsid"], "action": "SCMP_ACT_TRACE"},
              {"names": ["chroot", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    let script = r#"
is_(call("getpgid", 0, 7), 0)
is_(call("getpgid", 0, 8), errno.ENOSYS)
is_(call("getpgid", 0, (1 << 40) + 7), errno.ENOSYS)
is_(call("getpgid", 6442450942, 7), errno.ESRCH)
is_(call("getpgid", 6442450943, 7), errno.EIO)
is_(call("getpgid", 2 << 32, 7), errno.EIO)
is_(call("getsid", 0), errno.ENOSYS)
is_(call("chroot", 0), errno.EPERM)
"#;
    assert_eq!(run(&filter, script), Some(Exit::Code(0)));

    for (action, end) in [
        ("KILL", libc::SIGSYS),
        ("KILL_THREAD", libc::SIGSYS),
        ("KILL_PROCESS", libc::SIGSYS),
        ("TRAP", libc::SIGSYS),
    ] {
        let filter = profile(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                 "syscalls": [{{"names": ["umask"], "action": "SCMP_ACT_{action}"}}]}}"#
        ));
        assert_eq!(
            run(&filter, "call('umask', 18)"),
            Some(Exit::Signal(end)),
            "{action}"
        );
    }

    foreign_calls(&allow);
}

/// i386 and x32 calls of a 64-bit process.
#[cfg(target_arch = "x86_64")]
fn foreign_calls(allow: &Filter) {
    assert_eq!(
        run(allow, "call((1 << 30) | 39)"),
        Some(Exit::Signal(libc::SIGSYS)),
        "x32 is killed unless listed"
    );
    let x32 = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X32"],
                          "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    );
    let script = "is_(call((1 << 30) | 39), errno.EOPNOTSUPP); is_(call('getpid'), errno.EOPNOTSUPP)";
    assert_eq!(run(&x32, script), Some(Exit::Code(0)));

    let x86 = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                          "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    );
    if run(&x86, "sys.exit(int80(20) != os.getpid())") != Some(Exit::Code(0)) {
        println!("skipped: i386 calls: this kernel has none");
        return;
    }
    assert_eq!(
        run(&x86, "is_(-int80(64), errno.EOPNOTSUPP)"),
        Some(Exit::Code(0))
    );
    assert_eq!(
        run(allow, "int80(20)"),
        Some(Exit::Signal(libc::SIGSYS)),
        "i386 is killed unless listed"
    );
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_calls(_: &Filter) {}
