//! `builder` and `buildx`: the cache of builds, and the one builder that there is.
//!
//! May not: keep builders. There is none to make, to choose or to start; scripts that do so go on with this one.

use std::path::Path;

use super::build::BUILD;
use super::{COMMIT, FORMAT, VERSION};
use crate::command::{Command, Count, Listed};
use crate::flags::{Flag, Form, Parsed, Takes};
use crate::format;
use crate::rows::cache::{self, Look};
use crate::run::values;
use crate::session::{Failure, Outcome, Program, Session};
use crate::tabs::{self, Layout};
use crate::template::{Struct, Value, quote};
use crate::workshop::{self, Workshop};
use crate::{terminal, units};
use image::store::cache::{Prune, is_meant};

/// The buildx whose command line this is, and the BuildKit that came with it. Programs compare the numbers with what they need.
const BUILDX_VERSION: &str = "v0.36.0";
const BUILDKIT_VERSION: &str = "v0.32.2";

pub(super) static BUILDER: &[Command] = &[
    Command {
        aliases: &[],
        ..BUILD
    },
    PRUNE,
];

pub(super) static BUILDX: &[Command] = &[
    BUILD,
    DU,
    INSPECT,
    LS,
    PRUNE,
    VERSION_COMMAND,
    CREATE,
    RM,
    STOP,
    USE,
];

const TIMEOUT: Flag = Flag::new("timeout", Takes::Text, "").hidden();

static BYTES: Form = Form {
    name: "bytes",
    check: |text| values::size(text).map(drop),
    many: false,
};

const FILTER: Flag = Flag::new("filter", Takes::Filter, "Only that of which NAME=VALUE holds");

const DU: Command = Command {
    about: "Filters: id=PREFIX, type=TYPE, description=TEXT, parent=ID, inuse, mutable, immutable, shared, private.",
    usage: "[OPTIONS]",
    ways: &["buildx du"],
    flags: &[
        FILTER,
        FORMAT,
        TIMEOUT,
        Flag::new("verbose", Takes::Switch(false), "All there is to know of each"),
    ],
    examples: &[
        "{name} buildx du",
        "{name} buildx du --verbose --filter type=exec.cachemount",
    ],
    ..Command::new("du", "Show what is in the build cache", du)
};

const PRUNE: Command = Command {
    about: "Filters: until=AGE (24h: not used for so long), id=PREFIX, type=TYPE, description=TEXT, parent=ID, inuse, mutable,\nimmutable, shared, private. With a bound on space only as much goes as has to, and that first which was not used for longest.",
    usage: "[OPTIONS]",
    plugin: "buildx prune",
    ways: &["builder prune", "buildx prune"],
    flags: &[
        Flag::new(
            "all",
            Takes::Switch(false),
            "Also what images have as well, and what only helps others",
        )
        .short('a'),
        FILTER,
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
        Flag::new("max-used-space", Takes::Of(&BYTES), "Keep no more than this"),
        Flag::new(
            "min-free-space",
            Takes::Of(&BYTES),
            "Remove until so much of the disk is free",
        ),
        Flag::new("reserved-space", Takes::Of(&BYTES), "Keep this much in any case"),
        TIMEOUT,
        Flag::new(
            "verbose",
            Takes::Switch(false),
            "All there is to know of what goes",
        ),
        Flag::new("keep-storage", Takes::Of(&BYTES), "")
            .deprecated("keep-storage flag has been changed to reserved-space"),
    ],
    examples: &[
        "{name} builder prune",
        "{name} builder prune -af --filter until=240h",
        "{name} builder prune -f --max-used-space 10gb",
    ],
    ..Command::new("prune", "Remove what is in the build cache", prune)
};

const INSPECT: Command = Command {
    usage: "[NAME]",
    ways: &["buildx inspect"],
    count: Count::AtMost(1),
    flags: &[Flag::new("bootstrap", Takes::Switch(false), "").hidden(), TIMEOUT],
    ..Command::new("inspect", "Show the builder", inspect)
};

const LS: Command = Command {
    aliases: &["list"],
    usage: "[OPTIONS]",
    ways: &["buildx ls"],
    flags: &[
        FORMAT,
        Flag::new("no-trunc", Takes::Switch(false), "").hidden(),
        TIMEOUT,
    ],
    ..Command::new("ls", "List the builder", list)
};

const VERSION_COMMAND: Command = Command {
    ways: &["buildx version"],
    ..Command::new(
        "version",
        "Show the version of buildx that this speaks like",
        version,
    )
};

const CREATE: Command = Command {
    usage: "[OPTIONS] [CONTEXT|ENDPOINT]",
    ways: &["buildx create"],
    count: Count::AtMost(1),
    listed: Listed::Hidden,
    flags: &[
        Flag::new("append", Takes::Switch(false), "").hidden(),
        Flag::new("bootstrap", Takes::Switch(false), "").hidden(),
        Flag::new("buildkitd-config", Takes::Text, "").hidden(),
        Flag::new("buildkitd-flags", Takes::Text, "").hidden(),
        Flag::new("config", Takes::Text, "").hidden(),
        Flag::new("driver", Takes::Text, "").hidden(),
        Flag::new("driver-opt", Takes::List, "").hidden(),
        Flag::new("leave", Takes::Switch(false), "").hidden(),
        Flag::new("name", Takes::Text, "").hidden(),
        Flag::new("node", Takes::Text, "").hidden(),
        Flag::new("platform", Takes::List, "").hidden(),
        TIMEOUT,
        Flag::new("use", Takes::Switch(false), "").hidden(),
    ],
    ..Command::new("create", "Does nothing: there is one builder", create)
};

const RM: Command = Command {
    usage: "[OPTIONS] [NAME...]",
    ways: &["buildx rm"],
    count: Count::AtLeast(0),
    listed: Listed::Hidden,
    flags: &[
        Flag::new("all-inactive", Takes::Switch(false), "").hidden(),
        Flag::new("force", Takes::Switch(false), "").short('f').hidden(),
        Flag::new("keep-daemon", Takes::Switch(false), "").hidden(),
        Flag::new("keep-state", Takes::Switch(false), "").hidden(),
        TIMEOUT,
    ],
    ..Command::new("rm", "Does nothing: there is one builder", nothing)
};

const STOP: Command = Command {
    usage: "[NAME]",
    ways: &["buildx stop"],
    count: Count::AtMost(1),
    listed: Listed::Hidden,
    ..Command::new("stop", "Does nothing: nothing runs", nothing)
};

const USE: Command = Command {
    usage: "[OPTIONS] NAME",
    ways: &["buildx use"],
    count: Count::Exactly(1),
    listed: Listed::Hidden,
    flags: &[
        Flag::new("default", Takes::Switch(false), "").hidden(),
        Flag::new("global", Takes::Switch(false), "").hidden(),
    ],
    ..Command::new("use", "Does nothing: there is one builder", nothing)
};

fn nothing(_: &Session, _: &Parsed) -> Outcome {
    Ok(())
}

/// Scripts take its output as the name of the builder.
fn create(session: &Session, parsed: &Parsed) -> Outcome {
    let name = parsed.text("name").filter(|name| !name.is_empty());
    session.print(&format!("{}\n", name.as_deref().unwrap_or("default")))
}

fn version(session: &Session, _: &Parsed) -> Outcome {
    session.print(&match session.program {
        Program::Docker => format!("github.com/docker/buildx {BUILDX_VERSION} {COMMIT}\n"),
        Program::Brig => format!("brig buildx {VERSION}, as buildx {BUILDX_VERSION}\n"),
    })
}

/// When something must have been used last to go, and the other filters; in buildx's words.
type Asked = (Option<i64>, Vec<(String, String)>);

fn asked(filters: Vec<(String, String)>, now: i64) -> Result<Asked, String> {
    let (times, others): (Vec<_>, Vec<_>) = filters
        .into_iter()
        .partition(|(name, _)| matches!(name.as_str(), "until" | "unused-for"));
    let key = times.first().map_or("until", |(name, _)| name.as_str());
    if times.iter().any(|(name, _)| name != key) {
        return Err("conflicting filters \"until\" and \"unused-for\"".to_owned());
    }
    let since = match times.as_slice() {
        [] => None,
        [(_, value)] => {
            let age = values::duration(value)
                .map_err(|why| format!("{} filter expects a duration (e.g., '24h'): {why}", quote(key)))?;
            Some(now.saturating_mul(1_000_000_000).saturating_sub(age))
        }
        _ => return Err(format!("{} filter expects only one value", quote(key))),
    };
    for (name, _) in &others {
        if others.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err(format!("{} filter expects only one value", quote(name)));
        }
    }
    Ok((since, others))
}

fn failed(why: &str) -> Failure {
    Failure::plain(format!("ERROR: {why}"))
}

fn du(session: &Session, parsed: &Parsed) -> Outcome {
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let verbose = parsed.switch("verbose");
    if format.is_some() && verbose {
        return Err(failed("--format and --verbose cannot be used together"));
    }
    let now = units::now();
    let filters = parsed.filters("filter");
    let has_filters = !filters.is_empty();
    let (since, filters) = asked(filters, now).map_err(|why| failed(&why))?;
    let mut entries = Vec::new();
    for entry in workshop::open_store(session)?.cache_entries()? {
        if since.is_none_or(|since| entry.used < since) && is_meant(&entry, &filters)? {
            entries.push(entry);
        }
    }
    let look = Look {
        format: format.as_deref(),
        verbose,
        summary: !has_filters,
        now,
    };
    session.print(&cache::list(&entries, look)?)
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let now = units::now();
    let mut filters = session.config().with_prune_filters(parsed.filters("filter"));
    // Steps have no labels; those filters of config.json are meant for what has.
    filters.retain(|(name, _)| name != "label" && name != "label!");
    let (unused_since, filters) = asked(filters, now).map_err(|why| failed(&why))?;
    let all = parsed.switch("all");
    let what = if all {
        "all build cache"
    } else {
        "all dangling build cache"
    };
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue?");
    if !parsed.switch("force") && !terminal::confirm(session, &question)? {
        return Err(Failure::silent(0));
    }
    let bytes = |name: &'static str| {
        let size = parsed.text(name).and_then(|text| values::size(&text).ok());
        size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
    };
    let wanted = Prune {
        all,
        unused_since,
        filters,
        max_used: bytes("max-used-space"),
        reserved: bytes("reserved-space").max(bytes("keep-storage")),
        min_free: bytes("min-free-space"),
    };
    let workshop = Workshop::open(session)?;
    let pruned = workshop.store.prune_cache(&wanted)?;
    session.print(&cache::pruned(
        &pruned.entries,
        pruned.bytes,
        parsed.switch("verbose"),
        now,
    )?)
}

/// What can be built for: this machine's, and what its kernel has an interpreter for.
fn platforms() -> Vec<String> {
    let host = image::platform::Platform::host();
    let mut all = vec![host.to_string()];
    for (name, platform) in [
        ("qemu-x86_64", "linux/amd64"),
        ("qemu-i386", "linux/386"),
        ("qemu-aarch64", "linux/arm64"),
        ("qemu-arm", "linux/arm/v7"),
        ("qemu-ppc64le", "linux/ppc64le"),
        ("qemu-riscv64", "linux/riscv64"),
        ("qemu-s390x", "linux/s390x"),
        ("qemu-loongarch64", "linux/loong64"),
        ("qemu-mips64el", "linux/mips64le"),
    ] {
        if Path::new("/proc/sys/fs/binfmt_misc").join(name).exists() && !all.iter().any(|p| p == platform) {
            all.push(platform.to_owned());
        }
    }
    all
}

fn inspect(session: &Session, _: &Parsed) -> Outcome {
    let close = Layout { least: 0, padding: 1 };
    let head = tabs::align("Name:\tdefault\nDriver:\tdocker\n", close);
    let node = format!(
        "Name:\tdefault\nEndpoint:\tdefault\nStatus:\trunning\nBuildKit version:\t{BUILDKIT_VERSION}\nPlatforms:\t{}\n",
        platforms().join(", ")
    );
    session.print(&format!("{head}\nNodes:\n{}", tabs::align(&node, close)))
}

fn list(session: &Session, parsed: &Parsed) -> Outcome {
    const HEADERS: [(&str, &str); 6] = [
        ("Name", "NAME/NODE"),
        ("DriverEndpoint", "DRIVER/ENDPOINT"),
        ("LastActivity", "LAST ACTIVITY"),
        ("Status", "STATUS"),
        ("Buildkit", "BUILDKIT"),
        ("Platforms", "PLATFORMS"),
    ];
    let row = |name: &str, endpoint: &str, status: &str, buildkit: &str, platforms: &str| -> Value {
        Struct::row("commands.lsContext")
            .with("Name", name)
            .with("DriverEndpoint", endpoint)
            .with("LastActivity", "")
            .with("Status", status)
            .with("Buildkit", buildkit)
            .with("Platforms", platforms)
            .into()
    };
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let text = match format.as_deref() {
        None | Some(format::TABLE) => {
            "table {{.Name}}\t{{.DriverEndpoint}}\t{{.Status}}\t{{.Buildkit}}\t{{.Platforms}}"
        }
        Some(own) => own,
    };
    let is_table = format::is_table(text);
    let star = if is_table { "*" } else { "" };
    let mut rows = vec![row(&format!("default{star}"), "docker", "", "", "")];
    if text != "json" {
        rows.push(row(
            r" \_ default",
            r" \_ default",
            "running",
            BUILDKIT_VERSION,
            &platforms().join(", "),
        ));
    }
    session.print(&format::rows(text, &HEADERS, &rows)?)
}
