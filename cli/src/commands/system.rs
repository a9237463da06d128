//! `version`, `info`, `system df`, `system check`, `system prune`.

use super::{API, COMMIT, DOCKER, FORMAT, FORMAT_OBJECT, VERSION, later};
use crate::command::{Command, Listed};
use crate::flags::{Flag, Parsed, Takes};
use crate::session::{Failure, Outcome, Program, Session};
use crate::template::{Struct, Template, Value};
use crate::{tabs, terminal};
use std::collections::BTreeMap;

pub(super) const VERSION_COMMAND: Command = Command {
    usage: "[OPTIONS]",
    ways: &["version"],
    flags: &[FORMAT_OBJECT],
    examples: &["{name} version", "{name} version --format '{{.Client.Version}}'"],
    ..Command::new("version", "Show versions", version)
};

pub(super) const INFO: Command = Command {
    usage: "[OPTIONS]",
    ways: &["system info", "info"],
    flags: &[FORMAT_OBJECT],
    examples: &["{name} info --format '{{.Driver}}'"],
    ..Command::new("info", "Show what this machine and its store are like", info)
};

pub(super) const DF: Command = Command {
    usage: "[OPTIONS]",
    ways: &["system df"],
    flags: &[
        FORMAT,
        Flag::new("verbose", Takes::Switch(false), "A row for each thing").short('v'),
    ],
    examples: &["{name} system df -v"],
    ..Command::new("df", "Show what takes space", df)
};

pub(super) const CHECK: Command = Command {
    about: "Reads every byte of the store and compares it with its digest. With --repair, what is damaged is pulled again.",
    usage: "[OPTIONS]",
    ways: &["system check"],
    flags: &[
        Flag::new("quick", Takes::Switch(false), "Only names and sizes"),
        Flag::new("repair", Takes::Switch(false), "Mend what is damaged"),
    ],
    examples: &["{name} system check --repair"],
    ..Command::new("check", "Look for damage in the store", check)
};

pub(super) const PRUNE: Command = Command {
    about: "Filters: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE].",
    usage: "[OPTIONS]",
    ways: &["system prune"],
    flags: &[
        Flag::new(
            "all",
            Takes::Switch(false),
            "Remove all that nothing stands on, not only images without a name",
        )
        .short('a'),
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
        Flag::new("volumes", Takes::Switch(false), "Remove anonymous volumes, too"),
    ],
    examples: &["{name} system prune -af"],
    listed: Listed::Further,
    ..Command::new("prune", "Remove what nobody needs", prune)
};

/// Docker's form: client, then engine, though both are this program.
const VERSION_TEMPLATE: &str = "{{with .Client -}}
Client:{{if .Platform.Name}} {{.Platform.Name}}{{end}}
 Version:\t{{.Version}}
 API version:\t{{.APIVersion}}
 Git commit:\t{{.GitCommit}}
 OS/Arch:\t{{.Os}}/{{.Arch}}
 Context:\t{{.Context}}
{{- end}}
{{with .Server}}
Server:{{if .Platform.Name}} {{.Platform.Name}}{{end}}
{{- range .Components}}
 {{.Name}}:
  Version:\t{{.Version}}
{{- range $name, $value := .Details}}
  {{$name}}:\t{{$value}}
{{- end}}
{{- end}}
{{- end}}";

fn version(session: &Session, parsed: &Parsed) -> Outcome {
    let text = match parsed.text("format").as_deref() {
        None | Some("") => VERSION_TEMPLATE.to_owned(),
        Some("json") => "{{json .}}".to_owned(),
        Some(own) => own.to_owned(),
    };
    let template = Template::parse("version", &text)
        .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    let text = template
        .render(&versions(session.program))
        .map_err(Failure::plain)?;
    session.print(&(tabs::align(&text, tabs::FACTS) + "\n"))
}

/// The fields that scripts ask for. Called as docker, the versions are those of the Docker that we speak like.
fn versions(program: Program) -> Value {
    let version = match program {
        Program::Brig => VERSION,
        Program::Docker => DOCKER,
    };
    let platform = || Struct::new("client.PlatformInfo").with_optional("Name", "brig, without a daemon");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let client = Struct::new("system.clientVersion")
        .with_optional("Platform", platform())
        .with_optional("Version", version)
        .with_key("APIVersion", "ApiVersion", API)
        .with_optional("DefaultAPIVersion", API)
        .with_optional("GitCommit", COMMIT)
        .with_optional("GoVersion", "")
        .with_optional("Os", "linux")
        .with_optional("Arch", architecture())
        .with_optional("BuildTime", "")
        .with("Context", "default");
    let details = BTreeMap::from(
        [
            ("ApiVersion", API),
            ("Arch", architecture()),
            ("GitCommit", COMMIT),
            ("KernelVersion", kernel.trim()),
            ("MinAPIVersion", API),
            ("Os", "linux"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let engine = Struct::new("system.ComponentVersion")
        .with("Name", "Engine")
        .with("Version", version)
        .with_optional("Details", details);
    let server = Struct::new("system.serverVersion")
        .with("Platform", platform())
        .with("Version", version)
        .with_key("APIVersion", "ApiVersion", API)
        .with_optional("MinAPIVersion", API)
        .with("Os", "linux")
        .with("Arch", architecture())
        .with_optional(
            "Components",
            Value::list("[]system.ComponentVersion", vec![engine.into()]),
        )
        .with_optional("GitCommit", COMMIT)
        .with_optional("GoVersion", "")
        .with_optional("KernelVersion", kernel.trim())
        .with_optional("Experimental", false)
        .with_optional("BuildTime", "");
    Struct::new("system.versionInfo")
        .with("Client", client)
        .with("Server", server)
        .into()
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn info(_: &Session, parsed: &Parsed) -> Outcome {
    if let Some(format) = parsed.text("format") {
        Template::parse("", &format).map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    }
    later("info")
}

fn df(_: &Session, _: &Parsed) -> Outcome {
    later("system df")
}

fn check(_: &Session, _: &Parsed) -> Outcome {
    later("system check")
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let filters = session.config().with_prune_filters(parsed.filters("filter"));
    let question = prune_question(parsed.switch("all"), &filters);
    if !parsed.switch("force") && !terminal::confirm(session, &question)? {
        return Err(Failure::silent(0));
    }
    later("system prune")
}

/// What will go, in Docker's form.
fn prune_question(all: bool, filters: &[(String, String)]) -> String {
    let what = if all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let mut question = format!("WARNING! This will remove:\n  - {what}\n");
    if !filters.is_empty() {
        question.push_str("\n  Items to be pruned will be filtered with:\n");
        let mut shown: Vec<String> = filters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.sort_by(|a, b| crate::units::natural(a, b));
        for filter in shown {
            question.push_str(&format!("  - {filter}\n"));
        }
    }
    question + "\nAre you sure you want to continue?"
}
