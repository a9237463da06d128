//! Dockerfiles and what they come to, side by side in `golden/`: `NAME.Dockerfile` and `NAME.expected`.
//!
//! Lines at the top of an expectation that begin with `with` are what the build is asked: `with arg NAME=VALUE`,
//! `with target NAME`, `with context NAME`, `with ignore PATTERN`. With `BLESS=1` the rest is written anew; read what it says
//! before it is committed, the contract is what is right.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use build::expand::Env;
use build::history;
use build::ignore::Matcher;
use build::plan::plan;
use build::scope::{Action, Base, Context, Execution, Scope, Transfer};
use build::source::Source;
use build::stages::{Graph, Origin, Platform, Request};

#[derive(Default)]
struct Asked {
    args: BTreeMap<String, String>,
    target: Option<String>,
    contexts: Vec<String>,
    ignore: Vec<String>,
}

fn asked(expected: &str) -> (String, Asked) {
    let mut asked = Asked::default();
    let mut head = String::new();
    for line in expected.lines() {
        let Some(option) = line.strip_prefix("with ") else {
            break;
        };
        head.push_str(line);
        head.push('\n');
        let (kind, value) = option.split_once(' ').unwrap();
        match kind {
            "arg" => {
                let (name, value) = value.split_once('=').unwrap();
                asked.args.insert(name.to_owned(), value.to_owned());
            }
            "target" => asked.target = Some(value.to_owned()),
            "context" => asked.contexts.push(value.to_owned()),
            "ignore" => asked.ignore.push(value.to_owned()),
            other => panic!("with {other}?"),
        }
    }
    (head, asked)
}

fn platform(architecture: &str) -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: String::new(),
    }
}

/// As strict as the grammar of references has to be for these files.
fn is_image(text: &str) -> bool {
    !text.is_empty()
        && text == text.to_lowercase()
        && !text.ends_with([':', '/', '@'])
        && !text.starts_with([':', '/'])
}

fn shown(source: &Source, asked: &Asked) -> String {
    let request = Request {
        target: asked.target.clone(),
        build_args: asked.args.clone(),
        build_platform: platform("amd64"),
        target_platform: platform("arm64"),
        contexts: asked.contexts.iter().cloned().collect(),
        all: false,
        is_image,
    };
    let mut done = plan(source, &request);
    let mut out = String::new();
    match done.graph {
        Ok(graph) => walk(source, &graph, &request, asked, &mut done.report, &mut out),
        Err(problems) => {
            for problem in problems {
                out.push_str(&source.show(&problem));
            }
        }
    }
    for finding in done.report.findings() {
        let line = source.line_of(finding.span);
        writeln!(
            out,
            "finding {line}: {}: {}",
            finding.rule.name(),
            finding.message
        )
        .unwrap();
    }
    if let Some(error) = done.report.error() {
        writeln!(out, "error: {error}").unwrap();
    }
    out
}

fn origin(graph: &Graph, origin: &Origin) -> String {
    match origin {
        Origin::Scratch => "scratch".to_owned(),
        Origin::Stage(n) => format!("stage {}", graph.stages[*n].name),
        Origin::Named(name) => format!("context {name}"),
        Origin::Image(name) => format!("image {name}"),
    }
}

fn walk(
    source: &Source,
    graph: &Graph,
    request: &Request,
    asked: &Asked,
    report: &mut build::lint::Report,
    out: &mut String,
) {
    let ignore = Matcher::of(&asked.ignore).unwrap();
    let context = Context {
        escape: graph.escape,
        globals: &graph.globals,
        build_args: &request.build_args,
        ignore: (!ignore.is_empty()).then_some(&ignore),
    };
    let mut ends: HashMap<usize, Scope> = HashMap::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        write!(out, "{}: {}", stage.name, origin(graph, &stage.base)).unwrap();
        if let Some(platform) = &stage.platform {
            write!(out, " for {}", platform.text).unwrap();
        }
        if let Some(description) = &stage.description {
            write!(out, " ({description})").unwrap();
        }
        writeln!(out, "{}", if stage.is_needed { "" } else { ", not needed" }).unwrap();
        if !stage.is_needed {
            continue;
        }
        let mut scope = match stage.base {
            Origin::Stage(n) => ends[&n].of_stage(),
            _ => Scope::of_image(&Base::default()),
        };
        for step in &stage.steps {
            match scope.apply(&context, stage, step, report) {
                Ok(action) => {
                    let mark = if step.is_trigger { "ONBUILD " } else { "" };
                    write!(out, "  {mark}{}", shown_action(&action)).unwrap();
                    for origin_of in step.origins.iter().flatten() {
                        write!(out, ", from {}", origin(graph, origin_of)).unwrap();
                    }
                    out.push('\n');
                    if let Some(entry) = history::entry(&action, &scope) {
                        let layer = if entry.empty_layer { "" } else { " (layer)" };
                        writeln!(out, "    | {}{layer}", entry.created_by.escape_default()).unwrap();
                    }
                }
                Err(problem) => {
                    out.push_str(&source.show(&problem));
                    return;
                }
            }
        }
        shown_env(scope.env(), out);
        ends.insert(index, scope);
    }
}

fn shown_env(env: &Env, out: &mut String) {
    let set: Vec<String> = env
        .iter()
        .filter(|(k, _)| *k != "PATH")
        .map(|(k, v)| format!("{k}={v:?}"))
        .collect();
    if !set.is_empty() {
        writeln!(out, "  = {}", set.join(" ")).unwrap();
    }
}

fn shown_action(action: &Action) -> String {
    match action {
        Action::Run(run) => shown_run(run),
        Action::Copy(copy) => shown_copy(copy),
        other => format!("{other:?}"),
    }
}

/// What is said, without what is not.
fn shown_run(run: &Execution) -> String {
    let mut text = format!("Run({:?})", run.command);
    for mount in &run.mounts {
        write!(text, "\n    {mount:?}").unwrap();
    }
    for device in &run.devices {
        write!(text, "\n    {device:?}").unwrap();
    }
    if let Some(script) = &run.script {
        write!(text, "\n    script {:?}", script.text).unwrap();
    }
    if run.network != Default::default() {
        write!(text, " network {:?}", run.network).unwrap();
    }
    if run.is_insecure {
        text.push_str(" insecure");
    }
    text
}

fn shown_copy(copy: &Transfer) -> String {
    let mut text = format!("{} {:?}", if copy.is_add { "Add" } else { "Copy" }, copy.sources);
    write!(text, " to {:?}", copy.destination).unwrap();
    for file in &copy.files {
        write!(text, "\n    file {} {:?}", file.name, file.text).unwrap();
    }
    for (name, value) in [
        ("chown", copy.chown.as_ref().map(|v| format!("{v:?}"))),
        (
            "chmod",
            copy.chmod.as_ref().map(|v| {
                format!(
                    "{:o} from 644, {:o} from 755 directory",
                    v.apply(0o644, false),
                    v.apply(0o755, true)
                )
            }),
        ),
        (
            "exclude",
            (!copy.exclude.is_empty()).then(|| format!("{:?}", copy.exclude)),
        ),
        ("checksum", copy.checksum.clone()),
        ("keep-git-dir", copy.keep_git_dir.map(|v| v.to_string())),
        ("unpack", copy.unpack.map(|v| v.to_string())),
        ("link", copy.link.then(String::new)),
        ("parents", copy.parents.then(String::new)),
    ] {
        if let Some(value) = value {
            write!(text, "\n    {name} {value}").unwrap();
        }
    }
    text
}

#[test]
fn golden() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("BLESS").is_some();
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .strip_suffix(".Dockerfile")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    let mut wrong = String::new();
    for name in names {
        let expectation = directory.join(format!("{name}.expected"));
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        let (head, asked) = asked(&expected);
        let bytes = fs::read(directory.join(format!("{name}.Dockerfile"))).unwrap();
        let source = Source::read("Dockerfile", &bytes).unwrap();
        let real = head + &shown(&source, &asked);
        if bless {
            fs::write(&expectation, &real).unwrap();
        } else if real != expected {
            write!(wrong, "--- {name}, expected\n{expected}--- {name}, is\n{real}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
