//! The flags of `run`, `create`, `exec` and `update`.
//!
//! May not: give them a meaning. What a value has to look like is in their forms, so that a wrong one is told when it is read.

use super::{devices, mounts, networks, values};
use crate::commands::PLATFORMS;
use crate::flags::{Flag, Form, Offers, Takes};

const fn one(name: &'static str, check: fn(&str) -> Result<(), String>) -> Form {
    Form {
        name,
        check,
        many: false,
    }
}

const fn many(name: &'static str, check: fn(&str) -> Result<(), String>) -> Form {
    Form {
        name,
        check,
        many: true,
    }
}

static BYTES: Form = one("bytes", |t| values::size(t).map(drop));
static SWAP: Form = one("bytes", |t| values::swap(t).map(drop));
static CPUS: Form = one("decimal", |t| values::cpus(t).map(drop));
static UINT16: Form = one("uint16", |t| values::unsigned(t, 16).map(drop));
static UINT: Form = one("uint", |t| values::unsigned(t, 64).map(drop));
static DURATION: Form = one("duration", |t| values::duration(t).map(drop));
static IP: Form = one("ip", |t| match values::address(t) {
    _ if t.trim().is_empty() => Ok(()),
    Some(_) => Ok(()),
    None => Err(format!(
        "failed to parse IP: {}",
        crate::template::quote(t.trim())
    )),
});
static STREAM: Form = many("list", |t| values::stream(t).map(drop));
static ENVIRONMENT: Form = many("list", |t| values::environment(t).map(drop));
static LABEL: Form = many("list", values::label);
static HOST: Form = many("list", |t| values::extra_host(t).map(drop));
static DNS: Form = many("list", |t| match values::address(t) {
    Some(_) => Ok(()),
    None => Err(format!("IP address is not correctly formatted: {t}")),
});
static DOMAIN: Form = many("list", |t| values::search_domain(t).map(drop));
static LINK: Form = many("list", values::link);
static SYSCTL: Form = many("map", values::sysctl);
static ANNOTATION: Form = many("map", |_| Ok(()));
static ULIMIT: Form = many("ulimit", |t| devices::ulimit(t).map(drop));
static CGROUP_RULE: Form = many("list", devices::cgroup_rule);
static BPS: Form = many("list", |t| devices::bytes_per_second(t).map(drop));
static IOPS: Form = many("list", |t| devices::operations_per_second(t).map(drop));
static WEIGHT: Form = many("list", |t| devices::weight(t).map(drop));
static GPUS: Form = many("gpu-request", |t| devices::gpus(t).map(drop));
static MOUNT: Form = many("mount", |t| mounts::mount(t).map(drop));
static NETWORK: Form = many("network", |t| networks::attachment(t).map(drop));

const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::Switch(false), about)
}

const fn text(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::Text, about)
}

const fn list(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::List, about)
}

const fn int(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::Int, about)
}

const fn of(name: &'static str, form: &'static Form, about: &'static str) -> Flag {
    Flag::new(name, Takes::Of(form), about)
}

/// One table behind another.
const fn joined<const A: usize, const B: usize, const N: usize>(a: &[Flag; A], b: &[Flag; B]) -> [Flag; N] {
    let mut all = [HOSTNAME; N];
    let mut n = 0;
    while n < A {
        all[n] = a[n];
        n += 1;
    }
    while n < A + B {
        all[n] = b[n - A];
        n += 1;
    }
    all
}

const HOSTNAME: Flag = text("hostname", "Host name of the container").short('h');
const DETACH_KEYS: Flag = text(
    "detach-keys",
    "Keys that leave the container alone again, such as ctrl-p,ctrl-q",
);
const ENV: Flag = of(
    "env",
    &ENVIRONMENT,
    "A variable NAME=VALUE; NAME alone takes it from here",
)
.short('e');
const ENV_FILE: Flag = list("env-file", "A file of such lines").offers(Offers::Files);
const INTERACTIVE: Flag = switch("interactive", "Keep stdin open, even if nobody is attached").short('i');
const TTY: Flag = switch("tty", "Give it a terminal").short('t');
const USER: Flag = text("user", "Who it runs as: <name|uid>[:<group|gid>]").short('u');
const WORKDIR: Flag = text("workdir", "Directory in the container that it starts in").short('w');
const RESTART: Flag = text(
    "restart",
    "When to start it again: no, always, unless-stopped or on-failure[:N]",
)
.offers(Offers::Choice(&["no", "always", "unless-stopped", "on-failure"]));

/// What both `run` and `update` can limit.
const LIMITS: [Flag; 14] = [
    of(
        "blkio-weight",
        &UINT16,
        "Share of block I/O, from 10 to 1000; 0: as the others",
    ),
    int("cpu-period", "Period of the CPU quota, in microseconds"),
    int("cpu-quota", "CPU time in each period, in microseconds"),
    int("cpu-rt-period", "Period of real-time CPU time, in microseconds"),
    int(
        "cpu-rt-runtime",
        "Real-time CPU time in each period, in microseconds",
    ),
    int("cpu-shares", "Share of CPU time, relative to others").short('c'),
    of("cpus", &CPUS, "How many CPUs, such as 1.5"),
    text("cpuset-cpus", "Which CPUs (0-3, 0,1)"),
    text("cpuset-mems", "Which memory nodes (0-3, 0,1)"),
    of("memory", &BYTES, "Limit of memory").short('m'),
    of(
        "memory-reservation",
        &BYTES,
        "Memory that it keeps when memory is short",
    ),
    of(
        "memory-swap",
        &SWAP,
        "Limit of memory and swap together; -1: no limit",
    ),
    int("pids-limit", "Limit of processes and threads; -1: no limit"),
    of("kernel-memory", &BYTES, "").deprecated("and no longer supported by the kernel"),
];

/// What a container is made with.
const CREATION: [Flag; 89] = [
    of("add-host", &HOST, "A line for /etc/hosts, HOST:IP"),
    of(
        "annotation",
        &ANNOTATION,
        "An annotation KEY=VALUE for the runtime",
    ),
    of("attach", &STREAM, "Attach stdin, stdout or stderr").short('a'),
    of(
        "blkio-weight-device",
        &WEIGHT,
        "Share of the I/O of one device, DEVICE:WEIGHT",
    ),
    list("cap-add", "Give it a capability, or ALL"),
    list("cap-drop", "Take a capability away, or ALL"),
    text("cgroup-parent", "The cgroup that the container's is made in"),
    text(
        "cgroupns",
        "Cgroup namespace: 'private' for its own, 'host' for the host's",
    )
    .offers(Offers::Choice(&["host", "private"])),
    text("cidfile", "Write the id of the container to this file").offers(Offers::Files),
    int("cpu-count", "").hidden(),
    int("cpu-percent", "").hidden(),
    list(
        "device",
        "A device of the host, HOST[:CONTAINER][:rwm], or a CDI name",
    )
    .offers(Offers::Files),
    of(
        "device-cgroup-rule",
        &CGROUP_RULE,
        "Which devices may be used, such as 'c 1:3 rwm'",
    ),
    of(
        "device-read-bps",
        &BPS,
        "Limit of bytes read in a second, DEVICE:BYTES",
    ),
    of(
        "device-read-iops",
        &IOPS,
        "Limit of reads in a second, DEVICE:NUMBER",
    ),
    of(
        "device-write-bps",
        &BPS,
        "Limit of bytes written in a second, DEVICE:BYTES",
    ),
    of(
        "device-write-iops",
        &IOPS,
        "Limit of writes in a second, DEVICE:NUMBER",
    ),
    switch("disable-content-trust", "").deprecated("support for docker content trust was removed"),
    of("dns", &DNS, "A name server"),
    list("dns-opt", "").hidden(),
    list("dns-option", "An option for /etc/resolv.conf"),
    of("dns-search", &DOMAIN, "A domain to look for names in"),
    text("domainname", "NIS domain of the container"),
    text(
        "entrypoint",
        "Program instead of the image's entrypoint; '': none",
    ),
    ENV,
    ENV_FILE,
    list("expose", "A port or a range of ports that it listens on"),
    of("gpus", &GPUS, "GPUs for the container, 'all' or how many"),
    list("group-add", "One more group for its processes"),
    text("health-cmd", "Command that tells whether it is well"),
    of(
        "health-interval",
        &DURATION,
        "Time between two such commands (ms|s|m|h)",
    ),
    int("health-retries", "How many have to fail until it is unhealthy"),
    of(
        "health-start-interval",
        &DURATION,
        "Time between two of them while it starts (ms|s|m|h)",
    ),
    of(
        "health-start-period",
        &DURATION,
        "How long it may take to start (ms|s|m|h)",
    ),
    of(
        "health-timeout",
        &DURATION,
        "How long one of them may take (ms|s|m|h)",
    ),
    HOSTNAME,
    switch(
        "init",
        "Run a small init as process 1, which passes signals on and reaps",
    ),
    INTERACTIVE,
    of("io-maxbandwidth", &BYTES, "").hidden(),
    of("io-maxiops", &UINT, "").hidden(),
    of("ip", &IP, "IPv4 address, such as 172.30.100.104"),
    of("ip6", &IP, "IPv6 address, such as 2001:db8::33"),
    text(
        "ipc",
        "IPC namespace: private, shareable, host, none or container:NAME",
    ),
    text("isolation", "").hidden(),
    of("label", &LABEL, "A label KEY[=VALUE]").short('l'),
    list("label-file", "A file of such lines").offers(Offers::Files),
    of(
        "link",
        &LINK,
        "Make another container known by a name, CONTAINER[:ALIAS]",
    ),
    list("link-local-ip", "A link-local address"),
    text(
        "log-driver",
        "Where its output goes: json-file, local, journald or none",
    )
    .offers(Offers::Choice(&["json-file", "local", "journald", "none"])),
    list("log-opt", "An option of the log driver, KEY=VALUE"),
    text("mac-address", "MAC address, such as 92:d0:c6:0a:29:33"),
    int(
        "memory-swappiness",
        "How readily its memory is swapped, from 0 to 100",
    )
    .default("-1"),
    of(
        "mount",
        &MOUNT,
        "Mount something: type=bind|volume|tmpfs|image,source=..,target=..,..",
    ),
    text("name", "Name of the container"),
    of("net", &NETWORK, "").hidden(),
    list("net-alias", "").hidden(),
    of("network", &NETWORK, "Network, or host, none or container:NAME"),
    list("network-alias", "A name that others in the network know it by"),
    switch(
        "no-healthcheck",
        "Do not look whether it is well, though the image says how",
    ),
    switch("oom-kill-disable", "Do not kill it when memory is short"),
    int(
        "oom-score-adj",
        "How readily it is killed then, from -1000 to 1000",
    ),
    text("pid", "PID namespace: host or container:NAME"),
    text(
        "platform",
        "The image's variant for this platform: os[/arch[/variant]]",
    )
    .offers(PLATFORMS),
    switch("privileged", "Let it do what root of the host may do"),
    list(
        "publish",
        "Make a port reachable: [IP:][HOSTPORT:]PORT[/tcp|udp|sctp]",
    )
    .short('p'),
    switch("publish-all", "Make all ports reachable that it listens on").short('P'),
    text("pull", "When to pull the image: always, missing or never")
        .default("missing")
        .offers(Offers::Choice(&["always", "missing", "never"])),
    switch("quiet", "Do not show the progress of a pull").short('q'),
    switch("read-only", "Let it write nothing into its own file system"),
    RESTART.default("no"),
    switch(
        "rm",
        "Remove the container and its anonymous volumes when it ends",
    ),
    text("runtime", "Which runtime makes it: a name or a path"),
    list(
        "security-opt",
        "An option of security: seccomp=FILE, apparmor=PROFILE, label=.., no-new-privileges",
    ),
    of("shm-size", &BYTES, "Size of /dev/shm"),
    text("stop-signal", "Signal that asks it to end"),
    int("stop-timeout", "Seconds between that and SIGKILL"),
    list("storage-opt", "An option of the store, KEY=VALUE"),
    of("sysctl", &SYSCTL, "A kernel parameter of its own, KEY=VALUE"),
    list("tmpfs", "Mount a tmpfs, PATH[:OPTIONS]"),
    TTY,
    of("ulimit", &ULIMIT, "A limit of each process, NAME=SOFT[:HARD]"),
    switch("use-api-socket", "").hidden(),
    USER,
    text("userns", "User namespace: host"),
    text("uts", "UTS namespace: host"),
    list(
        "volume",
        "Mount a volume or a directory: [SOURCE:]TARGET[:OPTIONS]",
    )
    .short('v'),
    text("volume-driver", "Driver of its volumes"),
    list(
        "volumes-from",
        "Mount what another container has mounted, CONTAINER[:ro]",
    ),
    WORKDIR,
];

/// Of `create`.
pub static CREATE: [Flag; 103] = joined(&CREATION, &LIMITS);

/// Of `run`.
pub static RUN: [Flag; 106] = joined(
    &joined::<89, 14, 103>(&CREATION, &LIMITS),
    &[
        switch("detach", "Leave it in the background and print its id").short('d'),
        DETACH_KEYS,
        SIG_PROXY,
    ],
);

const SIG_PROXY: Flag = Flag::new("sig-proxy", Takes::Switch(true), "Pass signals on to the process");

/// Of `exec`.
pub static EXEC: [Flag; 9] = [
    switch("detach", "Leave it in the background").short('d'),
    DETACH_KEYS,
    ENV,
    ENV_FILE,
    INTERACTIVE,
    switch("privileged", "Let it do what root of the host may do"),
    TTY,
    USER,
    WORKDIR,
];

/// Of `update`.
pub static UPDATE: [Flag; 15] = joined(&LIMITS, &[RESTART]);

/// Of `attach`.
pub static ATTACH: [Flag; 3] = [DETACH_KEYS, switch("no-stdin", "Do not pass stdin on"), SIG_PROXY];

/// Of `start`.
pub static START: [Flag; 5] = [
    switch("attach", "Show its output and pass signals on").short('a'),
    DETACH_KEYS,
    switch("interactive", "Pass stdin on").short('i'),
    text("checkpoint", "").hidden(),
    text("checkpoint-dir", "").hidden(),
];
