//! The commands: names, help, flags and operands, as tables from which the parser, `--help`, the manual pages and the
//! completions are made.
//!
//! May not: do anything. A new flag is one line here and one field in [`super::args`].

use super::args::{self, Command};
use super::flags::{Flag, Offers, Order, Parsed, Takes};
use super::signals;
use crate::error::Result;

/// One command.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// One line for the list of commands.
    pub summary: &'static str,
    /// How help writes its operands.
    pub operands: &'static str,
    /// How many operands it takes.
    pub count: Count,
    /// Paragraphs of help and of the manual page. `{name}` stands for the program.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Where its flags are looked for.
    pub order: Order,
    /// Listed or not.
    pub shown: super::flags::Shown,
    /// What shells offer as operand.
    pub offers: Offers,
    /// Command lines for help and the manual page.
    pub examples: &'static [&'static str],
    /// From what was given to what is meant.
    pub lower: fn(&Parsed) -> Result<Command>,
}

/// How many operands a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// From, to.
    Between(usize, usize),
}

impl Count {
    /// The sentence about a wrong number, or nothing.
    pub fn complain(self, n: usize) -> Option<String> {
        match self {
            Count::Exactly(want) if n != want => Some(format!("requires exactly {want} argument(s)")),
            Count::AtLeast(min) | Count::Between(min, _) if n < min => {
                Some(format!("requires a minimum of {min} argument(s)"))
            }
            Count::Between(_, max) if n > max => Some(format!("requires a maximum of {max} argument(s)")),
            _ => None,
        }
    }
}

impl Verb {
    const fn new(name: &'static str, summary: &'static str, lower: fn(&Parsed) -> Result<Command>) -> Verb {
        Verb {
            name,
            summary,
            operands: "<container-id>",
            count: Count::Exactly(1),
            about: "",
            flags: &[],
            order: Order::Anywhere,
            shown: super::flags::Shown::Yes,
            offers: Offers::Containers,
            examples: &[],
            lower,
        }
    }
}

const FILE: Offers = Offers::Files;
const DIR: Offers = Offers::Directories;

/// The flags in front of the command.
pub static GLOBAL: [Flag; 8] = [
    Flag::new("debug", Takes::Nothing, "log what is being done"),
    Flag::new("log", Takes::Text, "write the log to this file instead of stderr").offers(FILE),
    Flag::new(
        "log-format",
        Takes::Text,
        "how log records are written: 'text' or 'json'",
    )
    .default("\"text\"")
    .offers(Offers::Words(&["text", "json"])),
    Flag::new(
        "root",
        Takes::Text,
        "directory that holds the state of containers; it should not survive a reboot",
    )
    .default("{root}")
    .offers(DIR),
    Flag::new("criu", Takes::Text, "(obsolete, ignored)").hidden(),
    Flag::new(
        "systemd-cgroup",
        Takes::Nothing,
        "let systemd make the cgroup; cgroupsPath is then \"slice:prefix:name\"",
    ),
    Flag::new(
        "rootless",
        Takes::Text,
        "forgive cgroup permission errors: 'true', 'false' or 'auto'",
    )
    .default("\"auto\"")
    .offers(Offers::Words(&["true", "false", "auto"])),
    VERSION,
];

/// `--version`, last as the parser's own `--help` comes after it.
const VERSION: Flag = Flag::new("version", Takes::Nothing, "print the version").short('v');

// Flags that several commands have.
const BUNDLE: Flag = Flag::new(
    "bundle",
    Takes::Text,
    "directory that holds config.json (default: the working directory)",
)
.short('b')
.offers(DIR);
const CONSOLE_SOCKET: Flag = Flag::new(
    "console-socket",
    Takes::Text,
    "AF_UNIX socket that receives the master end of the terminal",
)
.offers(FILE);
const PIDFD_SOCKET: Flag = Flag::new(
    "pidfd-socket",
    Takes::Text,
    "AF_UNIX socket that receives a pidfd of the new process",
)
.offers(FILE);
const PID_FILE: Flag = Flag::new("pid-file", Takes::Text, "file that receives the process id").offers(FILE);
const NO_PIVOT: Flag = Flag::new(
    "no-pivot",
    Takes::Nothing,
    "move the root mount instead of pivot_root(2); only for a root on a ramdisk, and less safe",
);
const NO_NEW_KEYRING: Flag = Flag::new(
    "no-new-keyring",
    Takes::Nothing,
    "keep the caller's session keyring",
);
const PRESERVE_FDS: Flag = Flag::new(
    "preserve-fds",
    Takes::Int,
    "pass on N descriptors more than stdio and $LISTEN_FDS",
)
.default("0");
const DETACH: Flag = Flag::new("detach", Takes::Nothing, "return as soon as the process runs").short('d');
const NO_SUBREAPER: Flag = Flag::new(
    "no-subreaper",
    Takes::Nothing,
    "do not adopt orphans of the container",
);
const FORMAT: Flag = Flag::new("format", Takes::Text, "table or json")
    .short('f')
    .default("\"table\"")
    .offers(Offers::Words(&["table", "json"]));
const EMPTY_NS: Flag = Flag::new(
    "empty-ns",
    Takes::Texts,
    "create this namespace, but do not restore its properties",
)
.offers(Offers::Words(&["network"]));
const MANAGE_CGROUPS: Flag = Flag::new(
    "manage-cgroups-mode",
    Takes::Text,
    "what criu does with cgroups: soft, full, strict or ignore",
)
.default("soft")
.offers(Offers::Words(&["soft", "full", "strict", "ignore"]));
const WORK_PATH: Flag = Flag::new(
    "work-path",
    Takes::Text,
    "directory for criu's logs and work files",
)
.offers(DIR);
const TCP_ESTABLISHED: Flag = Flag::new("tcp-established", Takes::Nothing, "allow open TCP connections");
const EXT_UNIX_SK: Flag = Flag::new(
    "ext-unix-sk",
    Takes::Nothing,
    "allow unix sockets that lead outside",
);
const SHELL_JOB: Flag = Flag::new("shell-job", Takes::Nothing, "allow a job of a shell outside");
const FILE_LOCKS: Flag = Flag::new("file-locks", Takes::Nothing, "keep file locks");
const AUTO_DEDUP: Flag = Flag::new("auto-dedup", Takes::Nothing, "deduplicate memory images");
const LAZY_PAGES: Flag = Flag::new(
    "lazy-pages",
    Takes::Nothing,
    "bring memory in on demand (userfaultfd)",
);

/// All commands, in the order of the list in `--help`.
pub static VERBS: [Verb; 23] = [
    Verb {
        about: "Writes the state of a container to disk, with criu, so that restore can continue it.",
        flags: &[
            Flag::new(
                "image-path",
                Takes::Text,
                "directory for the images (default: ./checkpoint)",
            )
            .offers(DIR),
            WORK_PATH,
            Flag::new(
                "parent-path",
                Takes::Text,
                "images of an earlier pre-dump, relative to the image path",
            )
            .offers(DIR),
            Flag::new("leave-running", Takes::Nothing, "let the container go on"),
            TCP_ESTABLISHED,
            Flag::new(
                "tcp-skip-in-flight",
                Takes::Nothing,
                "skip TCP connections that are not established yet",
            ),
            Flag::new(
                "link-remap",
                Takes::Nothing,
                "link unlinked files back where possible",
            ),
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            Flag::new(
                "status-fd",
                Takes::Int,
                "descriptor that receives a zero byte once lazy pages can be served",
            )
            .default("-1"),
            Flag::new("page-server", Takes::Text, "ADDRESS:PORT of a criu page server"),
            FILE_LOCKS,
            Flag::new(
                "pre-dump",
                Takes::Nothing,
                "write memory only and let the container go on",
            ),
            MANAGE_CGROUPS,
            EMPTY_NS,
            AUTO_DEDUP,
        ],
        ..Verb::new(
            "checkpoint",
            "write a running container to disk",
            args::checkpoint,
        )
    },
    Verb {
        about: "Everything is prepared and the process waits for start: namespaces, mounts, cgroup and hooks are done, and \
                the program was found. The process itself, and what limits it, is described by config.json in the bundle \
                ({name} spec writes one to begin with). The name must be unique on this host.",
        flags: &[
            BUNDLE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PID_FILE,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ],
        offers: Offers::Nothing,
        examples: &["{name} create --bundle /containers/web --pid-file /run/web.pid web"],
        ..Verb::new("create", "create a container", args::create)
    },
    Verb {
        about: "Removes what a stopped container holds: its cgroup, its state, its mounts. A created one is killed first.",
        flags: &[Flag::new(
            "force",
            Takes::Nothing,
            "kill it first if it runs; a container that is not there is no error",
        )
        .short('f')],
        examples: &["{name} delete web", "{name} delete --force web"],
        ..Verb::new("delete", "delete what a container holds", args::delete)
    },
    Verb {
        about: "Prints one JSON object a line: statistics in intervals, and every time the kernel had to kill for memory.",
        flags: &[
            Flag::new("interval", Takes::Duration, "time between two statistics").default("5s"),
            Flag::new("stats", Takes::Nothing, "print statistics once, then leave"),
        ],
        examples: &["{name} events --stats web"],
        ..Verb::new(
            "events",
            "print memory alarms and resource statistics of a container",
            args::events,
        )
    },
    Verb {
        operands: "<container-id> <command> [command options]  || -p process.json <container-id>",
        count: Count::AtLeast(1),
        about: "User, environment, capabilities and the rest are those of the container's configuration unless flags say \
                otherwise. Flags of {name} stand before the container; everything after it belongs to the command.\n\n\
                The exit code is the command's, or 255 when the command could not be run.",
        flags: &[
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            Flag::new("cwd", Takes::Text, "working directory in the container"),
            Flag::new(
                "env",
                Takes::Texts,
                "environment variable, NAME=VALUE; may be repeated",
            )
            .short('e'),
            Flag::new("tty", Takes::Nothing, "give it a terminal").short('t'),
            Flag::new("user", Takes::Text, "user and group by number: UID[:GID]").short('u'),
            Flag::new(
                "additional-gids",
                Takes::Ints,
                "one more group, by number; may be repeated",
            )
            .short('g'),
            Flag::new(
                "process",
                Takes::Text,
                "file that describes the process as the process object of config.json does",
            )
            .short('p')
            .offers(FILE),
            DETACH,
            PID_FILE,
            Flag::new("process-label", Takes::Text, "SELinux label of the process"),
            Flag::new("apparmor", Takes::Text, "AppArmor profile of the process"),
            Flag::new(
                "no-new-privs",
                Takes::Nothing,
                "no program that it starts may gain privileges",
            ),
            Flag::new("cap", Takes::Texts, "capability to add; may be repeated").short('c'),
            PRESERVE_FDS,
            Flag::new(
                "cgroup",
                Takes::Texts,
                "run it in an existing sub-cgroup: [<controller>[,...]:]<path>; may be repeated",
            ),
            Flag::new(
                "ignore-paused",
                Takes::Nothing,
                "allowed in a paused container; it then runs when that is resumed",
            ),
            NO_SUBREAPER.hidden(),
        ],
        order: Order::UntilFirstOperand,
        examples: &[
            "{name} exec web ps",
            "{name} exec -t -u 1000:1000 -e LANG=C.UTF-8 web sh",
            "{name} exec -p process.json -d --pid-file /run/job.pid web",
        ],
        ..Verb::new("exec", "run another process in a container", args::exec)
    },
    Verb {
        operands: "<container-id> [signal]",
        count: Count::Between(1, 2),
        about: "The signal is a number or a name with or without SIG. KILL reaches every process of a container, others \
                only the first one.",
        flags: &[Flag::new("all", Takes::Nothing, "(obsolete)").short('a').hidden()],
        offers: Offers::ContainerAndSignal,
        examples: &["{name} kill web", "{name} kill web KILL"],
        ..Verb::new(
            "kill",
            "send a signal (default: SIGTERM) to the first process of a container",
            args::kill,
        )
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "Lists the containers of the state directory that --root names.",
        flags: &[FORMAT, Flag::new("quiet", Takes::Nothing, "ids only").short('q')],
        offers: Offers::Nothing,
        examples: &["{name} list", "{name} --root /run/containerd/runc/k8s.io list -q"],
        ..Verb::new("list", "list containers", args::list)
    },
    Verb {
        about: "No process of the container gets to run until resume.",
        ..Verb::new("pause", "suspend all processes of a container", args::pause)
    },
    Verb {
        operands: "<container-id> [ps options]",
        count: Count::AtLeast(1),
        about: "Runs the host's ps(1) with the options given (default: -ef) and keeps the lines of the container.",
        flags: &[FORMAT],
        order: Order::UntilFirstOperand,
        examples: &[
            "{name} ps web",
            "{name} ps --format json web",
            "{name} ps web -o pid,rss,args",
        ],
        ..Verb::new("ps", "list the processes of a container", args::ps)
    },
    Verb {
        about: "Continues what checkpoint wrote, under a name of your choice.",
        flags: &[
            CONSOLE_SOCKET,
            Flag::new(
                "image-path",
                Takes::Text,
                "directory of the images (default: ./checkpoint)",
            )
            .offers(DIR),
            WORK_PATH,
            TCP_ESTABLISHED,
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            MANAGE_CGROUPS,
            BUNDLE,
            DETACH,
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            EMPTY_NS,
            AUTO_DEDUP,
            LAZY_PAGES,
            Flag::new(
                "lsm-profile",
                Takes::Text,
                "security profile to restore with: TYPE:NAME",
            ),
            Flag::new(
                "lsm-mount-context",
                Takes::Text,
                "SELinux context of the mounts to restore with",
            ),
        ],
        offers: Offers::Nothing,
        ..Verb::new("restore", "continue a container from a checkpoint", args::restore)
    },
    Verb {
        about: "The opposite of pause.",
        ..Verb::new(
            "resume",
            "resume all processes of a paused container",
            args::resume,
        )
    },
    Verb {
        about: "What create and start do, then waits: signals are passed on, the exit code is the container's (128+N when \
                signal N ended it), and the container is deleted.",
        flags: &[
            BUNDLE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            DETACH,
            Flag::new("keep", Takes::Nothing, "leave the stopped container behind"),
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ],
        offers: Offers::Nothing,
        examples: &[
            "cd /containers/web && {name} run web",
            "{name} run --detach --bundle /containers/web web",
        ],
        ..Verb::new("run", "create a container, start it and wait for it", args::run)
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "The file is one to begin with: it runs sh in the directory rootfs, with few capabilities and without limits. \
                A file that is there is not overwritten.\n\n\
                With --rootless it suits an ordinary user: a user namespace in which you are root, the host's network and \
                no cgroup settings.",
        flags: &[
            BUNDLE,
            Flag::new("rootless", Takes::Nothing, "for an ordinary user"),
        ],
        offers: Offers::Nothing,
        examples: &["mkdir -p demo/rootfs && cd demo && {name} spec --rootless"],
        ..Verb::new("spec", "write a config.json to begin with", args::spec)
    },
    Verb {
        about: "The process that create prepared begins.",
        ..Verb::new("start", "start the process of a created container", args::start)
    },
    Verb {
        about: "Prints a JSON object with status, process id, bundle and annotations.",
        ..Verb::new("state", "print the state of a container", args::state)
    },
    Verb {
        about: "Sets the limits that are named and leaves the others alone. Sizes are bytes or take a suffix: 512k, 64m, 2g.\n\n\
                With --resources they come from a file in the form of linux.resources of config.json, and the other flags \
                are ignored.",
        flags: &[
            Flag::new(
                "resources",
                Takes::Text,
                "JSON file with the limits, '-' for stdin",
            )
            .short('r')
            .offers(FILE),
            Flag::new("blkio-weight", Takes::Int, "share of block I/O, from 10 to 1000").default("0"),
            Flag::new(
                "cpu-period",
                Takes::Text,
                "period of the CPU bandwidth limit, in microseconds",
            ),
            Flag::new(
                "cpu-quota",
                Takes::Text,
                "CPU time allowed in a period, in microseconds",
            ),
            Flag::new(
                "cpu-burst",
                Takes::Text,
                "unused CPU time that may be saved up, in microseconds",
            ),
            Flag::new(
                "cpu-share",
                Takes::Text,
                "share of CPU time relative to other containers",
            ),
            Flag::new(
                "cpu-rt-period",
                Takes::Text,
                "period of the realtime limit, in microseconds",
            ),
            Flag::new(
                "cpu-rt-runtime",
                Takes::Text,
                "realtime allowed in a period, in microseconds",
            ),
            Flag::new("cpuset-cpus", Takes::Text, "CPUs to use, such as 0-3,7"),
            Flag::new("cpuset-mems", Takes::Text, "memory nodes to use"),
            Flag::new("kernel-memory", Takes::Text, "(obsolete)").hidden(),
            Flag::new("kernel-memory-tcp", Takes::Text, "(obsolete)").hidden(),
            Flag::new("memory", Takes::Text, "memory, '-1' for unlimited"),
            Flag::new(
                "cpu-idle",
                Takes::Text,
                "1: run only when nobody else wants to, 0: normally",
            ),
            Flag::new(
                "memory-reservation",
                Takes::Text,
                "memory that is left to it when memory is short",
            ),
            Flag::new(
                "memory-swap",
                Takes::Text,
                "memory and swap together, '-1' for unlimited swap",
            ),
            Flag::new("pids-limit", Takes::Int, "number of processes and threads").default("0"),
            Flag::new("l3-cache-schema", Takes::Text, "Intel RDT: L3 cache schema"),
            Flag::new("mem-bw-schema", Takes::Text, "Intel RDT: memory bandwidth schema"),
        ],
        examples: &[
            "{name} update --memory 64m --pids-limit 100 web",
            "echo '{\"cpu\": {\"quota\": 50000}}' | {name} update -r - web",
        ],
        ..Verb::new("update", "change the limits of a container", args::update)
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "Prints a JSON object as the OCI runtime specification describes it in features.md. Needs no rights and no \
                bundle.",
        offers: Offers::Nothing,
        ..Verb::new("features", "print what this runtime can do", args::features)
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "Parses config.json and prints as JSON what create would do, step by step. Nothing is created.",
        flags: &[BUNDLE],
        offers: Offers::Nothing,
        examples: &["{name} plan --bundle /containers/web | jq ."],
        ..Verb::new("plan", "print what create would do with a bundle", args::plan)
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "Compares config.json with the specification and with this host and names everything that would fail, with its \
                JSON pointer. Nothing is created. The exit code is 1 when something would fail.",
        flags: &[BUNDLE],
        offers: Offers::Nothing,
        examples: &["{name} check --bundle /containers/web"],
        ..Verb::new(
            "check",
            "say what would go wrong with a bundle on this host",
            args::check,
        )
    },
    Verb {
        operands: "",
        count: Count::Exactly(0),
        about: "A runtime that was killed in the middle of its work can leave a cgroup, a mount or a half-written record \
                behind. This removes what no container owns any more.",
        flags: &[Flag::new(
            "dry-run",
            Takes::Nothing,
            "name it, but remove nothing",
        )],
        offers: Offers::Nothing,
        examples: &["{name} gc --dry-run"],
        ..Verb::new("gc", "remove what killed runtimes left behind", args::gc)
    },
    Verb {
        operands: "<bash|zsh|fish>",
        about: "Prints a completion script for a shell.",
        offers: Offers::Words(&["bash", "zsh", "fish"]),
        examples: &["{name} completion bash > /etc/bash_completion.d/{name}"],
        ..Verb::new(
            "completion",
            "print a completion script for a shell",
            args::completion,
        )
    },
    Verb {
        operands: "<directory>",
        about: "Writes the manual pages, section 8, into a directory.",
        shown: super::flags::Shown::No,
        offers: Offers::Directories,
        ..Verb::new("man", "write the manual pages", args::man)
    },
    Verb {
        operands: "[command]",
        count: Count::AtLeast(0),
        offers: Offers::Commands,
        ..Verb::new("help, h", "list the commands, or show help for one", |_| {
            Err(crate::error::Error::new("help is answered before"))
        })
    },
];

/// The command of that name; `h` is help.
pub fn find(name: &str) -> Option<&'static Verb> {
    if name == "h" || name == "help" {
        return VERBS.last();
    }
    VERBS.iter().find(|v| v.name == name)
}

impl Verb {
    /// The name without its alias.
    pub fn first_name(&self) -> &'static str {
        self.name.split(',').next().unwrap_or(self.name)
    }
}

/// Names that `kill` offers to shells.
pub fn signal_names() -> &'static [&'static str] {
    signals::names()
}
