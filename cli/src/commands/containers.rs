//! The tables of all commands on containers. What they do is in the files beside this one.

mod exec;
mod filter;
mod inspect;
mod list;
mod port;
mod remove;
mod start;
mod stop;
mod update;

pub(super) use remove::prune_containers;

use super::{FILTER, FORMAT, FORMAT_OBJECT, NO_TRUNC};
use crate::command::{Command, Count, Listed};
use crate::flags::{Flag, Offers, Order, Takes};
use crate::run::table;

pub(super) const RUN: Command = Command {
    about: "What follows the image is the command and its arguments, though it may look like a flag.",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    ways: &["container run", "run"],
    count: Count::AtLeast(1),
    flags: &table::RUN,
    order: Order::UntilFirstOperand,
    examples: &[
        "{name} run --rm -it debian:12 bash",
        "{name} run -d --name web -p 8080:80 -v data:/var/lib/data nginx:1.26",
        "{name} run --rm --memory 512m --cpus 1.5 -e LANG=C.UTF-8 debian:12 env",
    ],
    offers: Offers::Images,
    ..Command::new("run", "Make a container of an image and run it", start::run)
};

pub(super) const CREATE: Command = Command {
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    ways: &["container create", "create"],
    count: Count::AtLeast(1),
    flags: &table::CREATE,
    order: Order::UntilFirstOperand,
    examples: &["{name} create -it --name box debian:12; {name} start -ai box"],
    offers: Offers::Images,
    ..Command::new("create", "Make a container of an image", start::create)
};

pub(super) const START: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container start", "start"],
    count: Count::AtLeast(1),
    flags: &table::START,
    examples: &["{name} start web", "{name} start -ai box"],
    offers: Offers::Containers,
    ..Command::new("start", "Start containers", start::start)
};

pub(super) const ATTACH: Command = Command {
    about: "The keys ctrl-p ctrl-q leave a container with a terminal alone again.",
    usage: "[OPTIONS] CONTAINER",
    ways: &["container attach", "attach"],
    count: Count::Exactly(1),
    flags: &table::ATTACH,
    examples: &["{name} attach box"],
    offers: Offers::Containers,
    ..Command::new(
        "attach",
        "Connect with the streams of a container that runs",
        start::attach,
    )
};

pub(super) const EXEC: Command = Command {
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    ways: &["container exec", "exec"],
    count: Count::AtLeast(2),
    flags: &table::EXEC,
    order: Order::UntilFirstOperand,
    examples: &[
        "{name} exec -it web sh",
        "{name} exec -u www-data -w /srv web ls -l",
    ],
    offers: Offers::Containers,
    ..Command::new("exec", "Run a command in a container that runs", exec::exec)
};

const SIGNAL: Flag = Flag::new("signal", Takes::Text, "The signal, by name or number")
    .short('s')
    .offers(Offers::Choice(&[
        "TERM", "KILL", "INT", "QUIT", "HUP", "USR1", "USR2",
    ]));
const TIMEOUT: Flag = Flag::new(
    "timeout",
    Takes::Int,
    "Seconds until it is killed; -1: it never is",
)
.short('t');
const TIME: Flag = Flag::new("time", Takes::Int, "").deprecated("use --timeout instead");

pub(super) const STOP: Command = Command {
    about: "Its stop signal is sent, SIGTERM if nobody has said another, and SIGKILL if it does not end in time.",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container stop", "stop"],
    count: Count::AtLeast(1),
    flags: &[SIGNAL, TIMEOUT, TIME],
    examples: &["{name} stop -t 30 db"],
    offers: Offers::Containers,
    ..Command::new("stop", "Stop containers", stop::stop)
};

pub(super) const RESTART: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container restart", "restart"],
    count: Count::AtLeast(1),
    flags: &[SIGNAL, TIMEOUT, TIME],
    examples: &["{name} restart web"],
    offers: Offers::Containers,
    ..Command::new("restart", "Stop containers and start them again", stop::restart)
};

pub(super) const KILL: Command = Command {
    about: "SIGKILL is sent, or the signal that is named.",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container kill", "kill"],
    count: Count::AtLeast(1),
    flags: &[SIGNAL],
    examples: &["{name} kill -s HUP web"],
    offers: Offers::Containers,
    ..Command::new("kill", "Send a signal to containers", stop::kill)
};

pub(super) const PAUSE: Command = Command {
    usage: "CONTAINER [CONTAINER...]",
    ways: &["container pause", "pause"],
    count: Count::AtLeast(1),
    examples: &["{name} pause web"],
    offers: Offers::Containers,
    ..Command::new("pause", "Freeze all processes of containers", stop::pause)
};

pub(super) const UNPAUSE: Command = Command {
    usage: "CONTAINER [CONTAINER...]",
    ways: &["container unpause", "unpause"],
    count: Count::AtLeast(1),
    examples: &["{name} unpause web"],
    offers: Offers::Containers,
    ..Command::new("unpause", "Let paused containers go on", stop::unpause)
};

pub(super) const WAIT: Command = Command {
    usage: "CONTAINER [CONTAINER...]",
    ways: &["container wait", "wait"],
    count: Count::AtLeast(1),
    examples: &["{name} wait job"],
    offers: Offers::Containers,
    ..Command::new(
        "wait",
        "Wait until containers end, and print their exit codes",
        stop::wait,
    )
};

pub(super) const RM: Command = Command {
    aliases: &["remove"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container rm", "container remove", "rm"],
    count: Count::AtLeast(1),
    flags: &[
        Flag::new("force", Takes::Switch(false), "Kill it first, if it runs").short('f'),
        Flag::new("link", Takes::Switch(false), "Remove a link, not a container").short('l'),
        Flag::new(
            "volumes",
            Takes::Switch(false),
            "Remove its anonymous volumes, too",
        )
        .short('v'),
    ],
    examples: &["{name} rm -f web", "{name} rm $({name} ps -aqf status=exited)"],
    offers: Offers::Containers,
    ..Command::new("rm", "Remove containers", remove::remove)
};

pub(super) const RENAME: Command = Command {
    usage: "CONTAINER NEW_NAME",
    ways: &["container rename", "rename"],
    count: Count::Exactly(2),
    examples: &["{name} rename web old-web"],
    offers: Offers::Containers,
    ..Command::new("rename", "Give a container another name", remove::rename)
};

pub(super) const PRUNE: Command = Command {
    about: "Filters: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE].",
    usage: "[OPTIONS]",
    ways: &["container prune"],
    flags: &[
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
    ],
    examples: &["{name} container prune -f --filter until=24h"],
    ..Command::new("prune", "Remove containers that do not run", remove::prune)
};

pub(super) const UPDATE: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container update", "update"],
    count: Count::AtLeast(1),
    flags: &table::UPDATE,
    examples: &["{name} update --memory 1g --memory-swap 2g --cpus 2 db"],
    offers: Offers::Containers,
    ..Command::new("update", "Change the limits of containers", update::update)
};

pub(super) const LS: Command = Command {
    aliases: &["ps", "list"],
    about: "Filters: ancestor=IMAGE, before=CONTAINER, exited=CODE, expose=PORT, health=STATUS, id=ID, label=KEY[=VALUE],\nname=PATTERN, network=NETWORK, publish=PORT, since=CONTAINER, status=STATUS, volume=VOLUME.",
    usage: "[OPTIONS]",
    ways: &["container ls", "container list", "container ps", "ps"],
    flags: &[
        Flag::new("all", Takes::Switch(false), "List those that do not run, too").short('a'),
        FILTER,
        FORMAT,
        Flag::new(
            "last",
            Takes::Int,
            "List the last N that were made, whether they run or not",
        )
        .short('n')
        .default("-1"),
        Flag::new(
            "latest",
            Takes::Switch(false),
            "List the last one that was made, whether it runs or not",
        )
        .short('l'),
        NO_TRUNC,
        super::QUIET_IDS,
        Flag::new("size", Takes::Switch(false), "Show how much they have written").short('s'),
    ],
    examples: &[
        "{name} ps -a",
        "{name} ps --filter status=exited --format '{{.Names}}: {{.Status}}'",
    ],
    ..Command::new("ls", "List containers", list::list)
};

pub(super) const INSPECT: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    ways: &["container inspect"],
    count: Count::AtLeast(1),
    flags: &[
        FORMAT_OBJECT,
        Flag::new("size", Takes::Switch(false), "Show how much they have written").short('s'),
    ],
    examples: &["{name} container inspect -f '{{.State.Status}}' web"],
    offers: Offers::Containers,
    ..Command::new(
        "inspect",
        "Show all there is to know of containers",
        inspect::containers,
    )
};

pub(super) const INSPECT_ANY: Command = Command {
    about: "A name is looked for among containers, images, networks and volumes, in this order.",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    ways: &["inspect"],
    count: Count::AtLeast(1),
    flags: &[
        FORMAT_OBJECT,
        Flag::new(
            "size",
            Takes::Switch(false),
            "Show how much containers have written",
        )
        .short('s'),
        Flag::new("type", Takes::Text, "Only objects of this type").offers(Offers::Choice(&[
            "container",
            "image",
            "network",
            "volume",
        ])),
    ],
    examples: &[
        "{name} inspect web",
        "{name} inspect --type image --format '{{.Os}}' debian:12",
    ],
    offers: Offers::Containers,
    listed: Listed::Further,
    ..Command::new("inspect", "Show all there is to know of objects", inspect::any)
};

pub(super) const PORT: Command = Command {
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    ways: &["container port", "port"],
    count: Count::Between(1, 2),
    examples: &["{name} port web 80/tcp"],
    offers: Offers::Containers,
    ..Command::new(
        "port",
        "List the ports of a container that can be reached",
        port::port,
    )
};
