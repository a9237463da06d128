//! `build --check` and `build --call`: what is said of a Dockerfile without building it, in BuildKit's text and JSON.
//!
//! May not: pull, run, or print. Of images only those that the store has are looked at, so what their variables would be is not said
//! to be missing where nobody knows.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use build::ignore::Matcher;
use build::lint::Finding;
use build::outline::{self, Facts};
use build::plan::plan;
use build::scope::Base;
use build::source::{Problem, Source, Span};
use build::stages::{Graph, Platform};
use builder::request::Request;
use serde_json::{Map, Value, json};

use crate::build_progress::excerpt::{excerpt, pointed};
use crate::build_request::values::Call;
use crate::tabs::{self, Layout};

/// What a call comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For stdout.
    pub text: String,
    /// For stderr, and the exit code 1.
    pub error: Option<String>,
    pub code: i32,
}

/// What is asked about.
pub struct Subject<'s> {
    pub source: &'s Source,
    pub ignore: Option<&'s Matcher>,
    pub request: &'s Request,
    pub base: &'s dyn Fn(&str) -> Option<Base>,
}

/// Why a file cannot be asked about: the part of it that is shown, and the sentence.
#[derive(Debug)]
pub struct Broken {
    pub excerpt: String,
    pub why: String,
}

/// Answers a call.
///
/// # Errors
/// The file is wrong. To the checks that is an answer.
pub fn answer(call: &Call, subject: &Subject<'_>) -> Result<Answer, Broken> {
    let text = match call.name.as_str() {
        "targets" => targets(subject, call.is_json)?,
        "outline" => outlined(subject, call.is_json)?,
        "subrequests.describe" => described(call.is_json),
        _ => return Ok(checked(call, subject)),
    };
    Ok(Answer {
        text,
        error: None,
        code: 0,
    })
}

/// The stages of a file as a request makes them.
fn asked(subject: &Subject<'_>, all: bool) -> build::stages::Request {
    let host = image::platform::Platform::host();
    let host = Platform {
        os: host.os,
        architecture: host.architecture,
        variant: host.variant.unwrap_or_default(),
    };
    let request = subject.request;
    build::stages::Request {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        target_platform: request.platforms.first().unwrap_or(&host).clone(),
        build_platform: host,
        contexts: request.contexts.keys().cloned().collect::<BTreeSet<_>>(),
        all,
        is_image: |text| text.parse::<image::reference::Reference>().is_ok(),
    }
}

fn graph(subject: &Subject<'_>) -> Result<Graph, Broken> {
    let plan = plan(subject.source, &asked(subject, false));
    plan.graph
        .map_err(|problems| broken(subject, &problems.first().cloned().unwrap_or_else(nothing)))
}

fn nothing() -> Problem {
    Problem::new(Span::default(), "the Dockerfile cannot be read")
}

fn broken(subject: &Subject<'_>, problem: &Problem) -> Broken {
    Broken {
        excerpt: pointed(subject.source, subject.source.name(), problem.span),
        why: sentence(subject.source, problem),
    }
}

/// What BuildKit says before what is wrong with an instruction itself.
pub fn sentence(source: &Source, problem: &Problem) -> String {
    let is_of_instruction = build::instruction::read(source).is_err();
    if is_of_instruction && problem.span != Span::default() {
        let line = source.line_of(problem.span);
        return format!("dockerfile parse error on line {line}: {problem}");
    }
    problem.to_string()
}

fn location(subject: &Subject<'_>, span: Span) -> Value {
    let (first, last) = subject.source.lines_of(span);
    json!({"ranges": [{"start": {"line": first}, "end": {"line": last}}]})
}

/// An object without its empty members, in their order.
fn object(members: Vec<(&str, Value)>) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let members = members.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

fn pretty(value: &Value) -> String {
    // Values have nothing that JSON cannot say.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn data(subject: &Subject<'_>) -> String {
    BASE64_STANDARD.encode(subject.source.text())
}

fn targets(subject: &Subject<'_>, is_json: bool) -> Result<String, Broken> {
    let found = outline::targets(&graph(subject)?);
    if is_json {
        let list: Vec<Value> = found
            .iter()
            .map(|t| {
                object(vec![
                    ("name", json!(t.name)),
                    ("default", json!(t.is_default)),
                    ("description", json!(t.description)),
                    ("base", json!(t.base)),
                    ("platform", json!(t.platform)),
                    ("location", location(subject, t.span)),
                ])
            })
            .collect();
        return Ok(pretty(&json!({"targets": list, "sources": [data(subject)]})));
    }
    let mut text = "TARGET\tDESCRIPTION\n".to_owned();
    for target in found {
        let name = match (target.name, target.is_default) {
            (None, true) => "(default)".to_owned(),
            (Some(name), true) => format!("{name} (default)"),
            (name, false) => name.unwrap_or_default(),
        };
        text.push_str(&format!("{name}\t{}\n", target.description.unwrap_or_default()));
    }
    Ok(tabs::align(&text, Layout { least: 0, padding: 1 }))
}

fn outlined(subject: &Subject<'_>, is_json: bool) -> Result<String, Broken> {
    let graph = graph(subject)?;
    let outline = outline::outline(&graph, &subject.request.build_args).map_err(|e| broken(subject, &e))?;
    if is_json {
        let args = outline.args.iter().map(|arg| {
            object(vec![
                ("name", json!(arg.name)),
                ("description", json!(arg.description)),
                ("value", json!(arg.value)),
                ("location", location(subject, arg.span)),
            ])
        });
        let accesses = |list: &[outline::Access]| {
            list.iter()
                .map(|access| {
                    object(vec![
                        ("name", json!(access.id)),
                        ("required", json!(access.required)),
                        ("location", location(subject, access.span)),
                    ])
                })
                .collect::<Vec<_>>()
        };
        return Ok(pretty(&object(vec![
            ("name", json!(outline.name)),
            ("description", json!(outline.description)),
            ("args", Value::Array(args.collect())),
            ("secrets", Value::Array(accesses(&outline.secrets))),
            ("ssh", Value::Array(accesses(&outline.ssh))),
            ("sources", json!([data(subject)])),
        ])));
    }
    let wide = Layout { least: 0, padding: 3 };
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut head = format!("TARGET:\t{}\n", outline.name.as_deref().unwrap_or("(default)"));
        if let Some(description) = &outline.description {
            head.push_str(&format!("DESCRIPTION:\t{description}\n"));
        }
        text.push_str(&tabs::align(&head, Layout { least: 0, padding: 1 }));
        text.push('\n');
    }
    if !outline.args.is_empty() {
        let mut table = "BUILD ARG\tVALUE\tDESCRIPTION\n".to_owned();
        for arg in &outline.args {
            let empty = String::new();
            let (value, description) = (
                arg.value.as_ref().unwrap_or(&empty),
                arg.description.as_ref().unwrap_or(&empty),
            );
            table.push_str(&format!("{}\t{value}\t{description}\n", arg.name));
        }
        text.push_str(&tabs::align(&table, wide));
        text.push('\n');
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if list.is_empty() {
            continue;
        }
        let mut table = format!("{title}\tREQUIRED\n");
        for access in list {
            table.push_str(&format!(
                "{}\t{}\n",
                access.id,
                if access.required { "true" } else { "" }
            ));
        }
        text.push_str(&tabs::align(&table, wide));
        text.push('\n');
    }
    Ok(text)
}

fn described(is_json: bool) -> String {
    const ALL: [(&str, &str); 4] = [
        ("outline", "List all parameters current build target supports"),
        ("targets", "List all targets current build supports"),
        ("lint", "Lint a Dockerfile"),
        ("subrequests.describe", "List available subrequest types"),
    ];
    if is_json {
        let list: Vec<Value> = ALL
            .iter()
            .map(|(name, about)| {
                json!({
                    "name": format!("frontend.{name}"), "version": "1.0.0", "type": "rpc", "description": about,
                    "opts": null, "metadata": [{"name": "result.json"}, {"name": "result.txt"}],
                })
            })
            .collect();
        return pretty(&Value::Array(list));
    }
    let mut text = "NAME\tVERSION\tDESCRIPTION\n".to_owned();
    for (name, about) in ALL {
        text.push_str(&format!("{name}\t1.0.0\t{about}\n"));
    }
    tabs::align(&text, Layout { least: 0, padding: 1 })
}

/// `--check`. Without a target all stages are looked at.
fn checked(call: &Call, subject: &Subject<'_>) -> Answer {
    let asked = asked(subject, subject.request.target.is_none());
    let mut plan = plan(subject.source, &asked);
    let facts = Facts {
        build_args: &subject.request.build_args,
        ignore: subject.ignore,
        base: subject.base,
    };
    let problem = match &plan.graph {
        Ok(graph) => outline::check(graph, &facts, &mut plan.report).err(),
        Err(problems) => problems.first().cloned(),
    };
    let mut findings = plan.report.findings().to_vec();
    let is_bad = problem.is_some() || !findings.is_empty();
    let code = i32::from(is_bad && !call.ignore_status);
    if call.is_json {
        return Answer {
            text: pretty(&checked_json(subject, &findings, problem.as_ref())),
            error: None,
            code: if problem.is_some() { 1 } else { code },
        };
    }
    findings.sort_by_key(|finding| subject.source.line_of(finding.span));
    let mut text = match findings.len() {
        0 if problem.is_none() => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        n => format!("Check complete, {n} warnings have been found!\n"),
    };
    for finding in &findings {
        let url = finding
            .rule
            .url()
            .map(|url| format!(" - {url}"))
            .unwrap_or_default();
        let shown = excerpt(subject.source, subject.source.name(), finding.span);
        text.push_str(&format!(
            "\nWARNING: {}{url}\n{}\n{shown}",
            finding.rule.name(),
            finding.message
        ));
    }
    let error = problem.map(|problem| {
        if !findings.is_empty() {
            text.push('\n');
        }
        let shown = pointed(subject.source, subject.source.name(), problem.span);
        format!("{}\n{shown}", sentence(subject.source, &problem))
    });
    Answer { text, error, code }
}

fn checked_json(subject: &Subject<'_>, findings: &[Finding], problem: Option<&Problem>) -> Value {
    let warnings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            object(vec![
                ("ruleName", json!(finding.rule.name())),
                ("description", json!(finding.rule.description())),
                ("url", json!(finding.rule.url())),
                ("detail", json!(finding.message)),
                ("location", location(subject, finding.span)),
            ])
        })
        .collect();
    let source = json!({"filename": subject.source.name(), "language": "Dockerfile", "data": data(subject)});
    let is_empty = warnings.is_empty() && problem.is_none();
    let mut members = Map::new();
    // Go writes lists without anything in them as null.
    members.insert(
        "warnings".to_owned(),
        if warnings.is_empty() {
            Value::Null
        } else {
            Value::Array(warnings)
        },
    );
    members.insert(
        "sources".to_owned(),
        if is_empty { Value::Null } else { json!([source]) },
    );
    if let Some(problem) = problem {
        members.insert(
            "buildError".to_owned(),
            json!({"message": sentence(subject.source, problem), "location": location(subject, problem.span)}),
        );
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::build_request::values;

    const FILE: &str = "# V which one\nARG V=3\n# tools has tools\nFROM debian:$V AS tools\nRUN --mount=type=secret,id=t,required true\n\
        FROM scratch AS app\nARG A\nCOPY --from=tools a.o $B /\nENV k v\n";

    fn ask(text: &str, what: &str, target: Option<&str>) -> Result<Answer, Broken> {
        let source = Source::new("Dockerfile", text).unwrap();
        let request = Request {
            target: target.map(str::to_owned),
            build_args: [("A".to_owned(), "1".to_owned())].into(),
            ..Request::default()
        };
        let base = |name: &str| (name == "debian:3").then(Base::default);
        answer(
            &values::call(what).unwrap().unwrap(),
            &Subject {
                source: &source,
                ignore: None,
                request: &request,
                base: &base,
            },
        )
    }

    #[test]
    fn targets_and_outlines() {
        assert_eq!(
            ask(FILE, "targets", None).unwrap().text,
            "TARGET        DESCRIPTION\ntools         has tools\napp (default) \n"
        );
        assert_eq!(
            ask(FILE, "outline", None).unwrap().text,
            "TARGET: app\n\nBUILD ARG   VALUE   DESCRIPTION\nV           3       which one\nA           1       \n\nSECRET   REQUIRED\nt        true\n\n"
        );
        let json: Value =
            serde_json::from_str(&ask(FILE, "outline,format=json", Some("tools")).unwrap().text).unwrap();
        assert_eq!(
            json,
            json!({
                "name": "tools", "description": "has tools",
                "args": [{"name": "V", "description": "which one", "value": "3",
                    "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}}],
                "secrets": [{"name": "t", "required": true,
                    "location": {"ranges": [{"start": {"line": 5}, "end": {"line": 5}}]}}],
                "sources": [BASE64_STANDARD.encode(FILE)],
            })
        );
        let json: Value =
            serde_json::from_str(&ask(FILE, "targets,format=json", None).unwrap().text).unwrap();
        assert_eq!(json["targets"][1]["default"], true);
        assert_eq!(json["targets"][0]["base"], "debian:$V");
    }

    #[test]
    fn checks() {
        let found = ask(FILE, "check", None).unwrap();
        assert_eq!(
            found.text,
            "Check complete, 2 warnings have been found!\n\n\
             WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/\nUsage of undefined variable '$B' (did you mean $A?)\n\
             Dockerfile:8\n--------------------\n   6 |     FROM scratch AS app\n   7 |     ARG A\n   8 | >>> COPY --from=tools a.o $B /\n   9 |     ENV k v\n  10 |     \n--------------------\n\n\
             WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/\n\
             \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\n\
             Dockerfile:9\n--------------------\n   7 |     ARG A\n   8 |     COPY --from=tools a.o $B /\n   9 | >>> ENV k v\n  10 |     \n--------------------\n"
        );
        assert_eq!((found.code, found.error), (1, None));
        assert_eq!(ask(FILE, "check,ignorestatus=1", None).unwrap().code, 0);
        let json: Value = serde_json::from_str(&ask(FILE, "lint,format=json", None).unwrap().text).unwrap();
        assert_eq!(json["warnings"][1]["ruleName"], "LegacyKeyValueFormat");
        assert_eq!(json["warnings"][1]["location"]["ranges"][0]["start"]["line"], 9);
        assert_eq!(json["sources"][0]["filename"], "Dockerfile");
        let sound = ask("FROM debian\n", "check", None).unwrap();
        assert_eq!(
            (sound.text.as_str(), sound.code),
            ("Check complete, no warnings found.\n", 0)
        );
        let json = ask("FROM debian\n", "check,format=json", None).unwrap();
        assert_eq!(json.text, "{\n  \"warnings\": null,\n  \"sources\": null\n}\n");
    }

    #[test]
    fn what_is_wrong_with_a_file() {
        let shown = "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> EXPOSS 1\n     |     ^^^^^^\n   3 |     \n--------------------\n";
        let why = "dockerfile parse error on line 2: unknown instruction: EXPOSS (did you mean EXPOSE?)";
        let found = ask("FROM a\nEXPOSS 1\n", "check", None).unwrap();
        assert_eq!(
            (found.text.as_str(), found.error.unwrap()),
            ("", format!("{why}\n{shown}"))
        );
        let broken = ask("FROM a\nEXPOSS 1\n", "targets", None).unwrap_err();
        assert_eq!((broken.excerpt.as_str(), broken.why.as_str()), (shown, why));
        let json = ask("FROM a\nEXPOSS 1\n", "check,format=json", None).unwrap();
        let value: Value = serde_json::from_str(&json.text).unwrap();
        assert_eq!(
            (value["buildError"]["message"].as_str(), json.code),
            (Some(why), 1)
        );
        let broken = ask("FROM a\n", "outline", Some("x")).unwrap_err();
        assert_eq!(
            (broken.excerpt.as_str(), broken.why.as_str()),
            ("", "target stage \"x\" could not be found")
        );
    }
}
