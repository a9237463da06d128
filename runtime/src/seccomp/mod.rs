//! A seccomp profile (`linux.seccomp`) compiled to classic BPF.
//!
//! May not: touch the kernel. [`plan_seccomp`] is pure; [`sys::seccomp::load`] loads what it gives, and the caller
//! decides when: before capabilities are dropped without no_new_privs, else last of all.
//!
//! profile --words understood, problems collected--> [`rules::Profile`] --one verdict for each number--> ranges
//! --binary search, written backwards--> instructions.
//!
//! The semantics are those of libseccomp as runc uses it; where they are surprising the code says so. On purpose
//! different: direct numbers of x86's socket calls that lie above every other number of the profile obey their rule
//! (runc answers ENOSYS), and architectures that this kernel cannot run cost nothing.

mod arch;
mod emit;
#[cfg(test)]
mod machine;
mod rules;
mod syscalls;

pub use arch::Arch;

use crate::config;
use crate::problems::Problems;
use emit::{Cond, Emitter, Op};
use rules::{Call, Entry, Profile, Refusal};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use sys::seccomp::Insn;

/// A compiled profile, ready to load.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub insns: Vec<Insn>,
    /// `sys::seccomp::FLAG_*` to load it with.
    pub flags: u32,
    /// Who receives the calls with verdict NOTIFY; `None` when there are none.
    pub listener: Option<Listener>,
}

/// Where the descriptor of a NOTIFY filter goes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listener {
    /// `listenerPath`: a UNIX socket.
    pub path: String,
    /// `listenerMetadata`.
    pub metadata: String,
    /// sendmsg(2) is among what is decided by others, so the listener cannot be sent by whom it holds.
    #[serde(skip)]
    pub decides_sendmsg: bool,
}

impl Filter {
    /// For a debug message.
    pub fn flags_text(&self) -> String {
        format!("seccomp filter flags: {}", self.flags)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("insns", &emit::listing(&self.insns))
            .field("flags", &flag_names(self.flags))
            .field("listener", &self.listener)
            .finish()
    }
}

impl Serialize for Filter {
    /// The program in the words of bpf_asm(8), one instruction a string.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("Filter", 3)?;
        out.serialize_field("flags", &flag_names(self.flags))?;
        out.serialize_field("listener", &self.listener)?;
        out.serialize_field("instructions", &emit::listing(&self.insns))?;
        out.end()
    }
}

/// `SECCOMP_FILTER_FLAG_*` of a profile and what each asks of the kernel.
const FLAGS: &[(&str, u32)] = &[
    // Accepted and ignored: the filter is loaded by a process of one thread.
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", sys::seccomp::FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", sys::seccomp::FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        sys::seccomp::FLAG_WAIT_KILLABLE_RECV,
    ),
];

/// The flags that every kernel of our minimum version (5.14) knows.
pub const FLAGS_OF_MINIMUM_KERNEL: u32 = sys::seccomp::FLAG_TSYNC
    | sys::seccomp::FLAG_LOG
    | sys::seccomp::FLAG_SPEC_ALLOW
    | sys::seccomp::FLAG_NEW_LISTENER;

/// Whether an action carries an errno or message in its low 16 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    Errno,
}

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// `SCMP_ACT_*`, sorted, with the verdict of seccomp(2).
const ACTIONS: &[(&str, u32, Data)] = &[
    ("SCMP_ACT_ALLOW", sys::seccomp::RET_ALLOW, Data::None),
    ("SCMP_ACT_ERRNO", sys::seccomp::RET_ERRNO, Data::Errno),
    ("SCMP_ACT_KILL", sys::seccomp::RET_KILL_THREAD, Data::None),
    (
        "SCMP_ACT_KILL_PROCESS",
        sys::seccomp::RET_KILL_PROCESS,
        Data::None,
    ),
    ("SCMP_ACT_KILL_THREAD", sys::seccomp::RET_KILL_THREAD, Data::None),
    ("SCMP_ACT_LOG", sys::seccomp::RET_LOG, Data::None),
    (NOTIFY, sys::seccomp::RET_USER_NOTIF, Data::None),
    ("SCMP_ACT_TRACE", sys::seccomp::RET_TRACE, Data::Errno),
    ("SCMP_ACT_TRAP", sys::seccomp::RET_TRAP, Data::None),
];

/// `SCMP_CMP_*`, sorted.
const OPERATORS: &[(&str, Op)] = &[
    ("SCMP_CMP_EQ", Op::Eq),
    ("SCMP_CMP_GE", Op::Ge),
    ("SCMP_CMP_GT", Op::Gt),
    ("SCMP_CMP_LE", Op::Le),
    ("SCMP_CMP_LT", Op::Lt),
    ("SCMP_CMP_MASKED_EQ", Op::Masked),
    ("SCMP_CMP_NE", Op::Ne),
];

/// System calls have at most this many arguments.
const ARGUMENTS: u32 = 6;

/// The actions of a profile, for `features`.
pub fn known_actions() -> Vec<&'static str> {
    ACTIONS.iter().map(|(name, ..)| *name).collect()
}

/// The operators of a profile, for `features`.
pub fn known_operators() -> Vec<&'static str> {
    OPERATORS.iter().map(|(name, _)| *name).collect()
}

/// The architectures of a profile, for `features`.
pub fn known_archs() -> Vec<&'static str> {
    Arch::names()
}

/// The flags of a profile, for `features`.
pub fn known_flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).collect()
}

/// The flags of a profile that a kernel knows, for `features`. `kernel` is [`sys::seccomp::probe_flags`].
pub fn supported_flags(kernel: u32) -> Vec<&'static str> {
    let known = FLAGS.iter().filter(|(_, flag)| kernel & flag == *flag);
    known.map(|(name, _)| *name).collect()
}

fn flag_names(flags: u32) -> Vec<&'static str> {
    let listens = (
        "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        sys::seccomp::FLAG_NEW_LISTENER,
    );
    let set = FLAGS
        .iter()
        .chain([&listens])
        .filter(|(_, flag)| flags & flag != 0);
    set.map(|(name, _)| *name).collect()
}

/// The flags that a kernel of this release, (major, minor), knows.
pub fn flags_of_kernel(release: (u32, u32)) -> u32 {
    match release >= (5, 19) {
        true => FLAGS_OF_MINIMUM_KERNEL | sys::seccomp::FLAG_WAIT_KILLABLE_RECV,
        false => FLAGS_OF_MINIMUM_KERNEL,
    }
}

/// Compiles a profile for a kernel that knows these flags ([`flags_of_kernel`]). `None`: no filter is wanted, or there are problems.
pub fn plan_seccomp(
    profile: &config::Seccomp,
    native: Arch,
    kernel: u32,
    problems: &mut Problems,
) -> Option<Filter> {
    // As runc reads it: neither a default nor a rule means that seccomp is off.
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return None;
    }
    let mut reader = Reader {
        problems,
        failed: false,
    };
    let listener = reader.listener(profile);
    let mut flags = reader.flags(profile.flags.as_deref(), kernel, listener.is_some());
    if listener.is_some() {
        flags |= sys::seccomp::FLAG_NEW_LISTENER;
    }
    let listed = reader.arches(&profile.architectures);
    let plan = reader.profile(profile);
    if native.served().is_empty() {
        reader.add(
            "/linux/seccomp",
            format!("no table of system calls for {}", native.name()),
        );
    }
    if reader.failed {
        return None;
    }
    let too_long = || {
        format!(
            "the filter would be longer than the {} instructions that the kernel takes",
            sys::seccomp::MAX_INSNS
        )
    };
    let verdicts = match rules::plan_verdicts(&plan, native, &listed) {
        Ok(verdicts) => verdicts,
        Err(Refusal::Conflict { earlier, later }) => {
            problems.add(
                format!("/linux/seccomp/syscalls/{later}"),
                format!("has the conditions of entry {earlier} and another action"),
            );
            return None;
        }
        Err(Refusal::TooLong) => {
            problems.add("/linux/seccomp/syscalls", too_long());
            return None;
        }
    };
    let emitter = Emitter::new(plan.default);
    let Some(insns) = emitter.program(&verdicts.arches, &verdicts.lists, rules::FOREIGN) else {
        problems.add("/linux/seccomp/syscalls", too_long());
        return None;
    };
    Some(Filter {
        insns,
        flags,
        listener,
    })
}

/// Understands the words of a profile and names every one that it does not.
struct Reader<'a> {
    problems: &'a mut Problems,
    failed: bool,
}

impl Reader<'_> {
    fn add(&mut self, place: impl Into<String>, text: impl fmt::Display) {
        self.problems.add(place, text);
        self.failed = true;
    }

    /// Who decides, when some calls are to be decided by somebody. write(2) cannot be: by it we say that there is a listener.
    fn listener(&mut self, profile: &config::Seccomp) -> Option<Listener> {
        let entries = || profile.syscalls.iter().enumerate();
        let mut asked = entries().filter(|(_, e)| e.action == NOTIFY).peekable();
        asked.peek()?;
        let mut decides_sendmsg = false;
        for (n, entry) in asked {
            decides_sendmsg |= entry.names.iter().any(|name| name == "sendmsg");
            for (m, _) in entry
                .names
                .iter()
                .enumerate()
                .filter(|(_, name)| *name == "write")
            {
                self.add(
                    format!("/linux/seccomp/syscalls/{n}/names/{m}"),
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
                );
            }
        }
        if profile.listener_path.is_empty() {
            self.add("/linux/seccomp/listenerPath", "listenerPath is not set");
        }
        Some(Listener {
            path: profile.listener_path.clone(),
            metadata: profile.listener_metadata.clone(),
            decides_sendmsg,
        })
    }

    fn flags(&mut self, names: Option<&[String]>, kernel: u32, listens: bool) -> u32 {
        let Some(names) = names else {
            return kernel & sys::seccomp::FLAG_SPEC_ALLOW;
        };
        let mut flags = 0;
        for (n, name) in names.iter().enumerate() {
            let place = || format!("/linux/seccomp/flags/{n}");
            match FLAGS.iter().find(|(known, _)| known == name) {
                None => self.add(place(), format!("seccomp flag {name} is not known")),
                Some((_, flag)) if kernel & flag != *flag => {
                    self.add(
                        place(),
                        format!("seccomp flag {name} is not supported by the kernel"),
                    );
                }
                Some((_, sys::seccomp::FLAG_WAIT_KILLABLE_RECV)) if !listens => {
                    self.add(
                        place(),
                        format!("seccomp flag {name} needs the action SCMP_ACT_NOTIFY"),
                    );
                }
                Some((_, flag)) => flags |= flag,
            }
        }
        flags
    }

    fn arches(&mut self, names: &[String]) -> Vec<Arch> {
        let mut out = Vec::new();
        for (n, name) in names.iter().enumerate() {
            match Arch::parse(name) {
                Some(arch) => out.push(arch),
                None => self.add(
                    format!("/linux/seccomp/architectures/{n}"),
                    format!("string {name} is not a valid arch for seccomp"),
                ),
            }
        }
        out
    }

    fn profile(&mut self, profile: &config::Seccomp) -> Profile {
        let at = "/linux/seccomp";
        let default = self.action(
            at,
            ["defaultAction", "defaultErrnoRet"],
            &profile.default_action,
            profile.default_errno_ret,
        );
        let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"];
        let mut plan = Profile {
            default,
            newer_is_unknown: !permissive.contains(&profile.default_action.as_str()),
            entries: Vec::with_capacity(profile.syscalls.len()),
            calls: Vec::with_capacity(512),
        };
        for (n, entry) in profile.syscalls.iter().enumerate() {
            let at = || format!("/linux/seccomp/syscalls/{n}");
            let action = self.action(&at(), ["action", "errnoRet"], &entry.action, entry.errno_ret);
            let alternatives = self.alternatives(&at, &entry.args);
            plan.entries.push(Entry { action, alternatives });
            for (m, name) in entry.names.iter().enumerate() {
                if name.is_empty() {
                    self.add(
                        format!("{}/names/{m}", at()),
                        "empty string is not a valid syscall",
                    );
                }
                // A name that is not known here is one of a newer kernel or of another architecture.
                if let Some(numbers) = syscalls::find(name) {
                    let entry = n as u32;
                    plan.calls.push(Call { numbers, entry });
                }
            }
        }
        plan
    }

    /// The verdict for an action and its errno, which default to EPERM.
    fn action(&mut self, at: &str, [word, number]: [&str; 2], name: &str, errno: Option<u32>) -> u32 {
        let Some((_, verdict, data)) = ACTIONS.iter().find(|(known, ..)| *known == name) else {
            self.add(
                format!("{at}/{word}"),
                format!("string {name} is not a valid action for seccomp"),
            );
            return 0;
        };
        if *verdict == sys::seccomp::RET_USER_NOTIF && word == "defaultAction" {
            self.add(
                format!("{at}/{word}"),
                "SCMP_ACT_NOTIFY cannot be used as default action",
            );
        }
        match (data, errno) {
            (Data::None, _) => *verdict,
            (Data::Errno, None) => verdict | libc::EPERM as u32,
            (Data::Errno, Some(n @ 0..=0xffff)) => verdict | n,
            (Data::Errno, Some(n)) => {
                self.add(
                    format!("{at}/{number}"),
                    format!("{n} is not an errno: at most 65535"),
                );
                0
            }
        }
    }

    /// Conditions on different arguments must all hold. Two on the same argument make every one an alternative of its
    /// own: what runc did before libseccomp could combine them, and profiles rely on it.
    fn alternatives(&mut self, at: &dyn Fn() -> String, args: &[config::SyscallArg]) -> Vec<Vec<Cond>> {
        let mut conds = Vec::with_capacity(args.len());
        for (n, arg) in args.iter().enumerate() {
            let op = OPERATORS.iter().find(|(known, _)| *known == arg.op);
            if op.is_none() {
                self.add(
                    format!("{}/args/{n}/op", at()),
                    format!("string {} is not a valid operator for seccomp", arg.op),
                );
            }
            if arg.index >= ARGUMENTS {
                self.add(
                    format!("{}/args/{n}/index", at()),
                    format!("system calls have {ARGUMENTS} arguments, the first has index 0"),
                );
            }
            let Some((_, op)) = op else { continue };
            let (mask, value) = match op {
                Op::Masked => (arg.value, arg.value_two & arg.value),
                _ => (u64::MAX, arg.value),
            };
            conds.push(Cond {
                arg: arg.index.min(ARGUMENTS - 1) as u8,
                op: *op,
                mask,
                value,
            });
        }
        conds.sort_by_key(|c| c.arg);
        match conds.windows(2).any(|w| w[0].arg == w[1].arg) {
            true => conds.into_iter().map(|c| vec![c]).collect(),
            false => vec![conds],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::machine::{Data, check, run};
    use super::*;

    const ALLOW: u32 = sys::seccomp::RET_ALLOW;
    const KILL: u32 = 0;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const X32: u32 = 1 << 30;

    fn parse(json: &str) -> config::Seccomp {
        serde_json::from_str(json).unwrap()
    }

    fn plan_seccomp(profile: &config::Seccomp, native: Arch, problems: &mut Problems) -> Option<Filter> {
        super::plan_seccomp(profile, native, FLAGS_OF_MINIMUM_KERNEL, problems)
    }

    fn plan_on(json: &str, native: Arch) -> Filter {
        let mut problems = Problems::default();
        let filter = plan_seccomp(&parse(json), native, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let filter = filter.unwrap();
        check(&filter.insns).unwrap();
        filter
    }

    fn plan(json: &str) -> Filter {
        plan_on(json, Arch::X86_64)
    }

    fn problems(json: &str) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        assert_eq!(plan_seccomp(&parse(json), Arch::X86_64, &mut problems), None);
        problems
            .iter()
            .map(|p| (p.place.clone(), p.text.clone()))
            .collect()
    }

    impl Filter {
        fn on(&self, arch: Arch, nr: u32, args: &[u64]) -> u32 {
            let mut data = Data {
                nr,
                arch: arch.audit(),
                ..Data::default()
            };
            data.args[..args.len()].copy_from_slice(args);
            run(&self.insns, &data).0
        }

        fn native(&self, nr: u32, args: &[u64]) -> u32 {
            self.on(Arch::X86_64, nr, args)
        }
    }

    #[test]
    fn an_empty_profile_is_no_filter() {
        let mut problems = Problems::default();
        let profile = parse(r#"{"architectures": ["SCMP_ARCH_X86"], "defaultErrnoRet": 7}"#);
        assert_eq!(plan_seccomp(&profile, Arch::X86_64, &mut problems), None);
        assert!(problems.is_empty());
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let found = problems(
            r#"{"defaultAction": "SCMP_ACT_WARN", "flags": ["SECCOMP_FILTER_FLAG_X", "SECCOMP_FILTER_FLAG_LOG"],
                "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_VAX"],
                "syscalls": [{"names": ["read", ""], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536},
                             {"names": ["open"], "action": "SCMP_ACT_NOTIFY",
                              "args": [{"index": 6, "op": "SCMP_CMP_EQ"}, {"op": "SCMP_CMP_IS"}]}]}"#,
        );
        let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "/linux/seccomp/listenerPath",
                "/linux/seccomp/flags/0",
                "/linux/seccomp/architectures/1",
                "/linux/seccomp/defaultAction",
                "/linux/seccomp/syscalls/0/errnoRet",
                "/linux/seccomp/syscalls/0/names/1",
                "/linux/seccomp/syscalls/1/args/0/index",
                "/linux/seccomp/syscalls/1/args/1/op",
            ]
        );
        assert_eq!(
            found[3].1,
            "string SCMP_ACT_WARN is not a valid action for seccomp"
        );
        assert_eq!(found[2].1, "string SCMP_ARCH_VAX is not a valid arch for seccomp");
        assert_eq!(
            found[7].1,
            "string SCMP_CMP_IS is not a valid operator for seccomp"
        );
        // Rules without a default say that something was forgotten.
        let found = problems(r#"{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#);
        assert_eq!(found[0].0, "/linux/seccomp/defaultAction");
    }

    #[test]
    fn flags_are_as_asked_or_speculation_is_allowed_where_it_can_be() {
        use sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW};
        let flags = |json: &str| plan(json).flags;
        assert_eq!(flags(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), FLAG_SPEC_ALLOW);
        assert_eq!(flags(r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": []}"#), 0);
        let json = r#"{"defaultAction": "SCMP_ACT_ALLOW",
                       "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]}"#;
        assert_eq!(flags(json), FLAG_LOG);

        let mut none = Problems::default();
        let old = super::plan_seccomp(
            &parse(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#),
            Arch::X86_64,
            0,
            &mut none,
        );
        assert_eq!(old.unwrap().flags, 0);
        assert!(super::plan_seccomp(&parse(json), Arch::X86_64, 0, &mut none).is_none());
        let text = "seccomp flag SECCOMP_FILTER_FLAG_LOG is not supported by the kernel";
        assert!(none.iter().any(|p| p.text == text));

        let wait =
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#;
        let mut all = Problems::default();
        assert!(super::plan_seccomp(&parse(wait), Arch::X86_64, u32::MAX, &mut all).is_none());
        assert!(!all.is_empty());
    }

    #[test]
    fn calls_that_somebody_else_decides_need_somebody() {
        use sys::seccomp::{FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV, RET_USER_NOTIF};
        let profile = |flags: &str, names: &str, listener: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "flags": [{flags}], {listener}
                    "syscalls": [{{"names": [{names}], "action": "SCMP_ACT_NOTIFY"}}]}}"#
            )
        };
        let listener = r#""listenerPath": "/run/agent.sock", "listenerMetadata": "about","#;
        let filter = plan(&profile("", r#""mkdir""#, listener));
        assert_eq!(filter.flags, FLAG_NEW_LISTENER);
        assert_eq!(filter.native(83, &[]), RET_USER_NOTIF);
        assert_eq!(filter.native(84, &[]), ALLOW);
        let agent = filter.listener.unwrap();
        assert_eq!(
            (agent.path.as_str(), agent.metadata.as_str()),
            ("/run/agent.sock", "about")
        );
        // A listener and nothing for it to decide.
        let filter = plan(&format!(
            r#"{{{listener} "defaultAction": "SCMP_ACT_ALLOW", "flags": []}}"#
        ));
        assert_eq!((filter.flags, filter.listener), (0, None));

        assert_eq!(
            problems(&profile("", r#""mkdir", "write""#, "")),
            [
                (
                    "/linux/seccomp/syscalls/0/names/1".to_string(),
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall".to_string()
                ),
                (
                    "/linux/seccomp/listenerPath".to_string(),
                    "listenerPath is not set".to_string()
                ),
            ]
        );
        let wait = profile(
            r#""SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#,
            r#""mkdir""#,
            listener,
        );
        assert_eq!(problems(&wait).len(), 1, "the minimum kernel does not know it");
        let mut none = Problems::default();
        let newer = super::plan_seccomp(&parse(&wait), Arch::X86_64, flags_of_kernel((5, 19)), &mut none);
        assert_eq!(newer.unwrap().flags, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
    }

    #[test]
    fn known_words_are_sorted_for_features() {
        for list in [known_actions(), known_operators(), known_archs()] {
            assert!(list.is_sorted());
        }
        assert_eq!(supported_flags(0), ["SECCOMP_FILTER_FLAG_TSYNC"]);
    }

    #[test]
    fn newer_calls_than_the_profiles_are_unknown() {
        let list = r#""architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                      "syscalls": [{"names": ["read", "getsid"], "action": "SCMP_ACT_ALLOW"}]"#;
        for default in ["ERRNO", "KILL", "KILL_PROCESS", "TRAP"] {
            let f = plan(&format!(r#"{{"defaultAction": "SCMP_ACT_{default}", {list}}}"#));
            assert_eq!(f.native(0, &[]), ALLOW);
            assert_eq!(f.native(124, &[]), ALLOW);
            assert_ne!(f.native(123, &[]), ENOSYS, "older than the newest");
            assert_eq!(f.native(125, &[]), ENOSYS);
            assert_eq!(f.native(X32 | 124, &[]), ALLOW);
            assert_eq!(f.native(X32 | 125, &[]), ENOSYS);
            assert_eq!(f.on(Arch::X86, 147, &[]), ALLOW);
            assert_eq!(f.on(Arch::X86, 148, &[]), ENOSYS);
            assert_eq!(f.on(Arch::Aarch64, 5, &[]), KILL);
        }
        for default in ["ALLOW", "LOG", "TRACE"] {
            let f = plan(&format!(r#"{{"defaultAction": "SCMP_ACT_{default}", {list}}}"#));
            assert_eq!(f.native(125, &[]), f.native(123, &[]));
        }
        // Names that get the default count, names of no rule's do not, and number 0 alone is none.
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                 {"names": ["getsid", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]}"#,
        );
        assert_eq!((f.native(124, &[]), f.native(125, &[])), (EPERM, ENOSYS));
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        assert_eq!((f.native(0, &[]), f.native(600, &[])), (ALLOW, EPERM));
    }

    #[test]
    fn x32_is_foreign_unless_listed() {
        let f = plan(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        assert_eq!(f.native(39, &[]), ALLOW);
        assert_eq!(f.native(X32 | 39, &[]), KILL);
        assert_eq!(f.native(u32::MAX, &[]), ALLOW, "a tracer skips the call");
        assert_eq!(f.on(Arch::X86, 20, &[]), KILL);
    }

    #[test]
    fn shared_calls_of_x86_obey_by_their_first_argument() {
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                 {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"op": "SCMP_CMP_EQ", "value": 2}]},
                 {"names": ["shmat"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        let x86 = |nr, args: &[u64]| f.on(Arch::X86, nr, args);
        assert_eq!(x86(359, &[1]), EPERM);
        assert_eq!(x86(359, &[2]), ALLOW);
        assert_eq!(x86(102, &[1]), ALLOW, "the family is behind a pointer");
        assert_eq!(x86(102, &[2]), EPERM);
        assert_eq!(x86(117, &[21]), ALLOW);
        assert_eq!(x86(117, &[22]), EPERM);
        assert_eq!(x86(397, &[]), ALLOW);
    }

    #[test]
    fn narrow_abis_see_the_low_half_of_arguments() {
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                 {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO",
                  "args": [{"op": "SCMP_CMP_EQ", "value": 4294967301}]},
                 {"names": ["getsid"], "action": "SCMP_ACT_ERRNO",
                  "args": [{"op": "SCMP_CMP_MASKED_EQ", "value": 4294967296, "valueTwo": 4294967296}]}]}"#,
        );
        assert_eq!(f.native(121, &[5]), ALLOW);
        assert_eq!(f.native(121, &[(1 << 32) + 5]), EPERM);
        assert_eq!(f.on(Arch::X86, 132, &[5]), EPERM);
        assert_eq!(f.native(124, &[0]), ALLOW);
        assert_eq!(
            f.on(Arch::X86, 147, &[0]),
            EPERM,
            "a comparison of no bits always holds"
        );
    }

    #[test]
    fn operators_compare_64_bits() {
        let values = [
            0,
            1,
            5,
            1 << 31,
            u32::MAX as u64,
            1 << 32,
            (1 << 32) + 5,
            u64::MAX - 1,
            u64::MAX,
        ];
        type Holds = fn(u64, u64) -> bool;
        let operators: [(&str, Holds); 7] = [
            ("EQ", |a, v| a == v),
            ("NE", |a, v| a != v),
            ("LT", |a, v| a < v),
            ("LE", |a, v| a <= v),
            ("GT", |a, v| a > v),
            ("GE", |a, v| a >= v),
            // Masked with the value itself: all its bits are set.
            ("MASKED_EQ", |a, v| a & v == v),
        ];
        for (op, holds) in operators {
            for value in values {
                let f = plan(&format!(
                    r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                         {{"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "args": [
                            {{"index": 5, "op": "SCMP_CMP_{op}", "value": {value}, "valueTwo": {value}}}]}}]}}"#
                ));
                for near in values {
                    for arg in [near.wrapping_sub(1), near, near.wrapping_add(1), near ^ (1 << 32)] {
                        let verdict = |holds: bool| if holds { EPERM } else { ALLOW };
                        let args = [0, 0, 0, 0, 0, arg];
                        assert_eq!(
                            f.native(124, &args),
                            verdict(holds(arg, value)),
                            "{arg:#x} {op} {value:#x}"
                        );
                        let low = |v: u64| v & u32::MAX as u64;
                        let wanted = verdict(holds(low(arg), low(value)));
                        assert_eq!(
                            f.on(Arch::X86, 147, &args),
                            wanted,
                            "low {arg:#x} {op} {value:#x}"
                        );
                    }
                }
            }
        }
    }

    /// libseccomp masks both sides.
    #[test]
    fn bits_outside_of_the_mask_do_not_count() {
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getsid"], "action": "SCMP_ACT_ERRNO",
                 "args": [{"op": "SCMP_CMP_MASKED_EQ", "value": 3, "valueTwo": 254}]}]}"#,
        );
        assert_eq!(
            [2, 254, 1, 3].map(|a| f.native(124, &[a])),
            [EPERM, EPERM, ALLOW, ALLOW]
        );
    }

    #[test]
    fn entries_for_one_call_combine() {
        let f = |entries: &str| {
            plan(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{entries}]}}"#
            ))
        };
        let always = |errno: u32| {
            format!(r#"{{"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": {errno}}}"#)
        };
        let when = |errno: u32, args: &str| {
            format!(
                r#"{{"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": {errno}, "args": [{args}]}}"#
            )
        };
        let eq = |index: u32, value: u32| {
            format!(r#"{{"index": {index}, "op": "SCMP_CMP_EQ", "value": {value}}}"#)
        };
        let errno = |f: &Filter, args: &[u64]| match f.native(124, args) {
            ALLOW => 0,
            v => v & 0xffff,
        };
        let join = |list: &[String]| list.join(",");

        let first = f(&join(&[always(5), always(6), when(7, &eq(0, 0))]));
        assert_eq!(errno(&first, &[0]), 5);
        let replaced = f(&join(&[when(7, &eq(0, 0)), always(5), when(8, &eq(0, 0))]));
        assert_eq!(errno(&replaced, &[0]), 5);
        let both = f(&when(7, &join(&[eq(0, 1), eq(1, 2)])));
        assert_eq!([errno(&both, &[1, 2]), errno(&both, &[1, 3])], [7, 0]);
        let either = f(&when(7, &join(&[eq(0, 1), eq(0, 2), eq(1, 3)])));
        let args: [&[u64]; 4] = [&[1, 0], &[2, 0], &[0, 3], &[0, 0]];
        assert_eq!(args.map(|a| errno(&either, a)), [7, 7, 7, 0]);
        // libseccomp asks about the higher argument first, whatever the profile's order.
        for order in [[5, 6], [6, 5]] {
            let rules = order.map(|n| when(n, &eq(n - 5, 9)));
            assert_eq!(errno(&f(&join(&rules)), &[9, 9]), 6);
        }
        let found = problems(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{}, {}]}}"#,
            when(5, &eq(0, 1)),
            when(6, &eq(0, 1))
        ));
        assert_eq!(found[0].0, "/linux/seccomp/syscalls/1");
    }

    /// 300 different rules: every jump over them is too long for a conditional one.
    #[test]
    fn far_targets_are_reached() {
        // With different high halves every rule has loads of its own.
        for high in [0, 1u64 << 32] {
            let value = |n: u64| n + (n % 7) * high;
            let entries: Vec<String> = (0..300)
                .map(|n| {
                    format!(
                        r#"{{"names": ["getsid", "read", "execveat"], "action": "SCMP_ACT_ERRNO", "errnoRet": {},
                            "args": [{{"op": "SCMP_CMP_EQ", "value": {}}}]}}"#,
                        n + 1,
                        value(n)
                    )
                })
                .collect();
            let f = plan(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [{}]}}"#,
                entries.join(",")
            ));
            for n in 0..300 {
                let errno = 0x0005_0000 | (n as u32 + 1);
                for nr in [0, 124, 322] {
                    assert_eq!(f.native(nr, &[value(n)]), errno);
                    assert_eq!(f.native(nr, &[value(n) | 1 << 40]), ALLOW);
                    assert_eq!(f.native(nr + 1, &[value(n)]), ALLOW);
                }
                assert_eq!(f.on(Arch::X86, 147, &[n | 1 << 40]), errno);
            }
        }
    }

    #[test]
    fn what_no_program_can_hold_is_a_problem() {
        let mut profile = parse(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        for n in 0..200_000 {
            profile.syscalls.push(config::Syscall {
                names: vec!["getsid".into(), "read".into()],
                action: if n % 2 == 0 {
                    "SCMP_ACT_ERRNO"
                } else {
                    "SCMP_ACT_LOG"
                }
                .into(),
                args: vec![config::SyscallArg {
                    // Different high halves, so that no loads are shared.
                    value: n << 32,
                    op: "SCMP_CMP_EQ".into(),
                    ..config::SyscallArg::default()
                }],
                ..config::Syscall::default()
            });
        }
        for keep in [200_000, 4200, 3000] {
            profile.syscalls.truncate(keep);
            let mut problems = Problems::default();
            assert!(
                plan_seccomp(&profile, Arch::X86_64, &mut problems).is_none(),
                "{keep}"
            );
            let text = &problems.iter().next().unwrap().text;
            assert!(text.contains("4096 instructions"), "{text}");
        }
        profile.syscalls.truncate(500);
        assert!(plan_seccomp(&profile, Arch::X86_64, &mut Problems::default()).is_some());
    }

    /// The kernel runs the program for every number to learn which are always allowed; loads of arguments end that.
    #[test]
    fn unconditional_verdicts_need_few_steps_and_no_argument() {
        let profile = include_str!("../../tests/data/docker-seccomp.json");
        let f = plan(profile);
        assert!(f.insns.len() < 320, "{}", f.insns.len());
        for nr in 0..470 {
            let (verdict, steps) = run(
                &f.insns,
                &Data {
                    nr,
                    arch: Arch::X86_64.audit(),
                    ..Data::default()
                },
            );
            // socket, clone and personality look at arguments.
            let may_take_long = [41, 56, 135].contains(&nr) || verdict != ALLOW;
            assert!(steps <= 14 || may_take_long, "{nr}: {steps} steps");
        }
    }

    #[test]
    fn a_plan_can_be_read() {
        let f = plan(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}"#,
        );
        let json = serde_json::to_value(&f).unwrap();
        assert_eq!(json["flags"][0], "SECCOMP_FILTER_FLAG_SPEC_ALLOW");
        assert_eq!(json["instructions"][0], "ld [4]");
        assert!(
            json["instructions"]
                .as_array()
                .unwrap()
                .contains(&"ret #0x50001".into())
        );
        assert!(format!("{f:?}").contains("ret #0x7fff0000"));
    }

    #[test]
    fn architectures_without_a_table_say_so() {
        let mut problems = Problems::default();
        let profile = parse(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        assert_eq!(plan_seccomp(&profile, Arch::S390x, &mut problems), None);
        assert_eq!(
            problems.iter().next().unwrap().text,
            "no table of system calls for SCMP_ARCH_S390X"
        );
    }

    #[test]
    fn other_cpus_have_their_own_numbers() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_ARM", "SCMP_ARCH_X86_64"],
                       "syscalls": [{"names": ["openat", "cacheflush"], "action": "SCMP_ACT_ALLOW"}]}"#;
        let f = plan_on(json, Arch::Aarch64);
        assert_eq!(f.on(Arch::Aarch64, 56, &[]), ALLOW);
        assert_eq!(f.on(Arch::Aarch64, 57, &[]), ENOSYS);
        assert_eq!(f.on(Arch::Arm, 322, &[]), ALLOW);
        assert_eq!(f.on(Arch::Arm, 983042, &[]), ALLOW);
        assert_eq!(f.on(Arch::X86_64, 257, &[]), KILL, "no such process here");
        let f = plan_on(json, Arch::Riscv64);
        assert_eq!(f.on(Arch::Riscv64, 56, &[]), ALLOW);
        assert_eq!(f.on(Arch::Arm, 322, &[]), KILL);
    }

    /// Whatever a profile says: a program that the kernel would take, or problems. Never a panic.
    #[test]
    fn any_words_give_a_program_or_problems() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 20) as usize % n
        };
        let names = [
            "",
            "read",
            "socket",
            "clone",
            "ipc",
            "nothing",
            "preadv2",
            "cacheflush",
            "\u{0}",
        ];
        let actions = known_actions();
        let operators = known_operators();
        let values = [0, 1, 1 << 31, 1 << 32, u64::MAX, u64::MAX << 32];
        let mut good = 0;
        for _ in 0..3000 {
            let mut profile = config::Seccomp {
                default_action: actions[random(actions.len())].into(),
                default_errno_ret: [None, Some(0), Some(4096), Some(u32::MAX)][random(4)],
                architectures: vec![known_archs()[random(known_archs().len())].into()],
                ..config::Seccomp::default()
            };
            for _ in 0..random(6) {
                profile.syscalls.push(config::Syscall {
                    names: vec![names[random(names.len())].into()],
                    action: actions[random(actions.len())].into(),
                    errno_ret: [None, Some(0), Some(4096), Some(70000)][random(4).min(random(4))],
                    args: (0..random(5))
                        .map(|_| config::SyscallArg {
                            index: random(7).min(random(7)) as u32,
                            value: values[random(values.len())],
                            value_two: values[random(values.len())],
                            op: operators[random(operators.len())].into(),
                        })
                        .collect(),
                });
            }
            let native = [Arch::X86_64, Arch::Aarch64, Arch::Arm, Arch::Mips][random(4)];
            let mut problems = Problems::default();
            match plan_seccomp(&profile, native, &mut problems) {
                Some(f) => {
                    good += 1;
                    check(&f.insns).unwrap();
                }
                None => assert!(!problems.is_empty()),
            }
        }
        assert!(good > 300, "{good}");
    }
}
