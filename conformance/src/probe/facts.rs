//! What a process can say about itself. Never judges: a fact that cannot be had is null or `{"errno": N}`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::json::{J, obj};
use crate::kernel;

const RLIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// Everything, as one object.
pub fn report(args: &[String]) -> J {
    let names = kernel::uname().unwrap_or_default();
    obj([
        ("args", args.to_vec().into()),
        ("pid", std::process::id().into()),
        ("ppid", std::os::unix::process::parent_id().into()),
        ("sid", kernel::session().into()),
        ("uid", kernel::user_ids().into()),
        ("gid", kernel::group_ids().into()),
        ("groups", kernel::groups().into()),
        ("umask", kernel::umask().into()),
        ("cwd", cwd()),
        ("caps", caps()),
        ("nnp", kernel::prctl(39, 0, 0).into()),
        ("securebits", kernel::prctl(27, 0, 0).into()),
        ("dumpable", kernel::prctl(3, 0, 0).into()),
        ("pdeathsig_free", J::Bool(true)),
        ("status", status()),
        (
            "rlimits",
            J::Obj(
                RLIMITS
                    .iter()
                    .enumerate()
                    .map(|(i, n)| ((*n).to_owned(), kernel::rlimit(i).into()))
                    .collect(),
            ),
        ),
        (
            "env",
            std::env::vars_os()
                .map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()))
                .collect::<Vec<_>>()
                .into(),
        ),
        ("raw_env", raw_env()),
        ("hostname", names[1].clone().into()),
        ("domainname", names[5].clone().into()),
        ("machine", names[4].clone().into()),
        ("mountinfo", lines("/proc/self/mountinfo")),
        ("ns", namespaces()),
        ("fds", descriptors()),
        ("stdio", (0..3).map(stdio).collect::<Vec<_>>().into()),
        ("dev", listing("/dev")),
        ("root", names_in("/")),
        ("cgroup", lines("/proc/self/cgroup")),
        ("oom_score_adj", trimmed("/proc/self/oom_score_adj")),
        ("personality", kernel::personality().into()),
        ("keyring", kernel::session_keyring().into()),
        ("ioprio", kernel::io_priority().into()),
        ("sched", scheduling()),
        ("affinity", kernel::affinity().into()),
        ("mempolicy", memory_policy()),
        ("uid_map", lines("/proc/self/uid_map")),
        ("gid_map", lines("/proc/self/gid_map")),
        ("setgroups", trimmed("/proc/self/setgroups")),
        ("timens_offsets", lines("/proc/self/timens_offsets")),
        ("uptime", trimmed("/proc/uptime")),
        ("attr", trimmed("/proc/self/attr/current")),
        ("net", names_in("/sys/class/net")),
        ("netdev", lines("/proc/net/dev")),
    ])
}

fn trimmed(path: &str) -> J {
    fs::read(path)
        .ok()
        .map(|b| String::from_utf8_lossy(&b).trim().to_owned())
        .into()
}

fn lines(path: &str) -> J {
    fs::read(path)
        .ok()
        .map(|b| {
            String::from_utf8_lossy(&b)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .into()
}

fn cwd() -> J {
    match std::env::current_dir() {
        Ok(p) => p.to_string_lossy().into_owned().into(),
        Err(e) => obj([("errno", e.raw_os_error().into())]),
    }
}

fn caps() -> J {
    let [eff, prm, inh] = kernel::capabilities().unwrap_or_default();
    obj([
        ("effective", eff.into()),
        ("permitted", prm.into()),
        ("inheritable", inh.into()),
        (
            "bounding",
            kernel::capability_mask(|c| kernel::prctl(23, c, 0)).into(),
        ),
        (
            "ambient",
            kernel::capability_mask(|c| kernel::prctl(47, 1, c)).into(),
        ),
    ])
}

fn status() -> J {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    J::Obj(
        text.lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.trim().into()))
            .collect(),
    )
}

/// The environment as the kernel got it: duplicates and odd entries included.
fn raw_env() -> J {
    fs::read("/proc/self/environ")
        .ok()
        .map(|b| {
            b.split(|c| *c == 0)
                .filter(|e| !e.is_empty())
                .map(|e| String::from_utf8_lossy(e).into_owned())
                .collect::<Vec<_>>()
        })
        .into()
}

fn namespaces() -> J {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    J::Obj(
        kinds
            .iter()
            .map(|k| {
                let link = fs::read_link(format!("/proc/self/ns/{k}")).ok();
                (
                    (*k).to_owned(),
                    link.map(|p| p.to_string_lossy().into_owned()).into(),
                )
            })
            .collect(),
    )
}

fn descriptors() -> J {
    let Ok(dir) = fs::read_dir("/proc/self/fd") else {
        return J::Null;
    };
    let mut all: Vec<(u32, String)> = dir
        .flatten()
        .filter_map(|e| {
            let fd = e.file_name().to_string_lossy().parse().ok()?;
            let link = fs::read_link(e.path()).ok()?;
            Some((
                fd,
                String::from_utf8_lossy(link.as_os_str().as_bytes()).into_owned(),
            ))
        })
        // The descriptor of this very listing shows as /proc/N/fd.
        .filter(|(_, link)| !(link.starts_with("/proc/") && link.ends_with("/fd")))
        .collect();
    all.sort();
    J::Arr(
        all.into_iter()
            .map(|(fd, link)| obj([("fd", fd.into()), ("link", link.into())]))
            .collect(),
    )
}

fn stdio(fd: usize) -> J {
    let meta = fs::metadata(format!("/proc/self/fd/{fd}"));
    let mut members = vec![("winsize".to_owned(), J::from(kernel::window_size(fd)))];
    if let Ok(m) = meta {
        members.extend(describe(&m));
    }
    J::Obj(members)
}

/// Type, mode, owner and device numbers of a file.
pub fn describe(m: &fs::Metadata) -> Vec<(String, J)> {
    let t = m.file_type();
    let kind = match () {
        () if t.is_file() => "file",
        () if t.is_dir() => "dir",
        () if t.is_symlink() => "link",
        () if t.is_char_device() => "char",
        () if t.is_block_device() => "block",
        () if t.is_fifo() => "fifo",
        () => "socket",
    };
    let rdev = m.rdev();
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & !0xfff);
    let minor = (rdev & 0xff) | ((rdev >> 12) & !0xff);
    [
        ("type", J::from(kind)),
        ("mode", (m.mode() & 0o7777).into()),
        ("uid", m.uid().into()),
        ("gid", m.gid().into()),
        ("size", m.size().into()),
        ("major", major.into()),
        ("minor", minor.into()),
        ("ino", m.ino().into()),
        ("atime", m.atime().into()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

/// The entries of a directory with what they are.
pub fn listing(path: &str) -> J {
    let Ok(dir) = fs::read_dir(path) else {
        return J::Null;
    };
    let mut all: Vec<_> = dir
        .flatten()
        .filter_map(|e| {
            let meta = fs::symlink_metadata(e.path()).ok()?;
            let mut members = describe(&meta);
            if let Ok(to) = fs::read_link(e.path()) {
                members.push(("to".to_owned(), to.to_string_lossy().into_owned().into()));
            }
            Some((e.file_name().to_string_lossy().into_owned(), J::Obj(members)))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    J::Obj(all)
}

fn names_in(path: &str) -> J {
    let mut all: Vec<String> = match fs::read_dir(path) {
        Ok(d) => d
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect(),
        Err(_) => return J::Null,
    };
    all.sort();
    all.into()
}

fn scheduling() -> J {
    let nice = kernel::priority().map(|p| 20 - p);
    match kernel::scheduling() {
        Ok([policy, flags, _, priority, runtime, deadline, period]) => obj([
            ("policy", policy.into()),
            ("flags", flags.into()),
            ("nice", nice.into()),
            ("priority", priority.into()),
            ("runtime", runtime.into()),
            ("deadline", deadline.into()),
            ("period", period.into()),
        ]),
        Err(e) => obj([("errno", e.into())]),
    }
}

fn memory_policy() -> J {
    match kernel::memory_policy() {
        Ok((mode, nodes)) => obj([("mode", mode.into()), ("nodes", nodes.into())]),
        Err(e) => obj([("errno", e.into())]),
    }
}
