//! `builder` and `buildx`: the cache of builds, and the one builder that there is.
//!
//! May not: keep builders. There is none to make, to choose or to start; scripts that do so go on with this one.

use std::path::Path;

use super::build::BUILD;
use super::{COMMIT, FORMAT, VERSION};
use crate::command::{Command, Count, Listed};
use crate::flags::{Flag, Parsed, Takes};
use crate::format;
use crate::session::{Outcome, Program, Session};
use crate::tabs::{self, Layout};
use crate::template::{Struct, Value};

/// The buildx whose command line this is, and the BuildKit that came with it. Programs compare the numbers with what they need.
const BUILDX_VERSION: &str = "v0.36.0";
const BUILDKIT_VERSION: &str = "v0.32.2";

pub(super) static BUILDER: &[Command] = &[Command {
    aliases: &[],
    ..BUILD
}];

pub(super) static BUILDX: &[Command] = &[BUILD, INSPECT, LS, VERSION_COMMAND, CREATE, RM, STOP, USE];

const TIMEOUT: Flag = Flag::new("timeout", Takes::Text, "").hidden();

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
