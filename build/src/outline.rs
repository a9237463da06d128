//! What a file offers to whoever builds it: its targets, and what one of them asks for (`--call targets`, `--call outline`).
//!
//! May not: need any image. What a variable of an image would bring is empty here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::expand::Lexer;
use crate::ignore::Matcher;
use crate::instruction::mount::Mount;
use crate::instruction::{Arg, Body};
use crate::lint::{Config, Report};
use crate::scope::{Action, Base, Context, Scope};
use crate::source::{Result, Span};
use crate::stages::{Graph, Origin, Stage, Step};

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// None: it has none, so it is built only as the last one.
    pub name: Option<String>,
    pub description: Option<String>,
    /// As FROM has them.
    pub base: String,
    pub platform: Option<String>,
    pub is_default: bool,
    pub span: Span,
}

/// What a target asks for, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub name: Option<String>,
    pub description: Option<String>,
    pub args: Vec<Argument>,
    pub secrets: Vec<Access>,
    pub ssh: Vec<Access>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub description: Option<String>,
    pub value: Option<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub id: String,
    pub required: bool,
    pub span: Span,
}

/// All stages.
pub fn targets(graph: &Graph) -> Vec<Target> {
    let last = graph.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &Stage)| {
        let Body::From(from) = &stage.from.body else {
            return None;
        };
        Some(Target {
            name: stage.is_named.then(|| stage.name.clone()),
            description: stage.description.clone(),
            base: from.base.text.clone(),
            platform: from.platform.as_ref().map(|p| p.text.clone()),
            is_default: index == last,
            span: stage.from.span,
        })
    };
    graph.stages.iter().enumerate().filter_map(target).collect()
}

/// What the target of a graph asks for.
///
/// # Errors
/// A value of a stage that it needs is none.
pub fn outline(graph: &Graph, build_args: &BTreeMap<String, String>) -> Result<Outline> {
    let mut seen = Seen {
        globals: of_globals(graph),
        used: used_by_from(graph),
        ..Seen::default()
    };
    let facts = Facts {
        build_args,
        ignore: None,
        base: &|_| None,
    };
    let mut report = Report::new(Config::default());
    walk(graph, &facts, &mut report, |stage, step, action| {
        let span = if step.is_trigger {
            stage.from.span
        } else {
            step.instruction.span
        };
        match (action, &step.instruction.body) {
            (Action::Run(run), _) => seen.mounts(&run.mounts, span),
            (Action::Arg(values), Body::Arg(written)) => seen.args(written, values, build_args),
            _ => {}
        }
    })?;
    Ok(seen.outline(graph))
}

/// What is known beside the file.
pub struct Facts<'f> {
    pub build_args: &'f BTreeMap<String, String>,
    /// Of the build context.
    pub ignore: Option<&'f Matcher>,
    /// What an image brings, if somebody has looked.
    pub base: &'f dyn Fn(&str) -> Option<Base>,
}

/// Looks for what should be otherwise in all needed stages, without building (`--check`).
///
/// # Errors
/// A value of a stage is none.
pub fn check(graph: &Graph, facts: &Facts<'_>, report: &mut Report) -> Result<()> {
    walk(graph, facts, report, |_, _, _| ())
}

/// Goes through what is needed.
fn walk(
    graph: &Graph,
    facts: &Facts<'_>,
    report: &mut Report,
    mut seen: impl FnMut(&Stage, &Step, &Action),
) -> Result<()> {
    let context = Context {
        escape: graph.escape,
        globals: &graph.globals,
        build_args: facts.build_args,
        ignore: facts.ignore,
    };
    let unknown = Base {
        is_unknown: true,
        ..Base::default()
    };
    let mut ends: HashMap<usize, Scope> = HashMap::new();
    for (index, stage) in graph
        .stages
        .iter()
        .enumerate()
        .filter(|(_, stage)| stage.is_needed)
    {
        let begun = match &stage.base {
            Origin::Stage(n) => ends.get(n).map(Scope::of_stage),
            Origin::Scratch => Some(Scope::of_image(&Base::default())),
            Origin::Image(name) => (facts.base)(name).as_ref().map(Scope::of_image),
            Origin::Named(_) => None,
        };
        let mut scope = begun.unwrap_or_else(|| Scope::of_image(&unknown));
        for step in &stage.steps {
            let action = scope.apply(&context, stage, step, report)?;
            seen(stage, step, &action);
        }
        ends.insert(index, scope);
    }
    Ok(())
}

/// ARGs before the first FROM; the last of a name counts.
fn of_globals(graph: &Graph) -> BTreeMap<String, Argument> {
    let read = |arg: &Arg| {
        let argument = Argument {
            name: arg.name.clone(),
            description: arg.description.clone(),
            value: graph.globals.get(&arg.name).map(str::to_owned),
            span: arg.span,
        };
        (arg.name.clone(), argument)
    };
    graph.args.iter().map(read).collect()
}

/// What FROM of the needed stages is made of. An ARG that is made of others needs those, too; they stand above it.
fn used_by_from(graph: &Graph) -> BTreeSet<String> {
    let needed = graph.stages.iter().filter(|stage| stage.is_needed);
    let mut used: BTreeSet<String> = needed.flat_map(|stage| stage.used.iter().cloned()).collect();
    for arg in graph.args.iter().rev() {
        let (true, Some(default)) = (used.contains(&arg.name), &arg.default) else {
            continue;
        };
        if let Ok(expanded) = Lexer::new(graph.escape).expand(default, &graph.globals) {
            used.extend(expanded.used);
        }
    }
    used
}

#[derive(Default)]
struct Seen {
    globals: BTreeMap<String, Argument>,
    used: BTreeSet<String>,
    args: BTreeMap<String, Argument>,
    secrets: BTreeMap<String, Access>,
    ssh: BTreeMap<String, Access>,
}

impl Seen {
    /// One that is only declared again is the one before the first FROM.
    fn args(
        &mut self,
        written: &[Arg],
        values: &[(String, Option<String>)],
        given: &BTreeMap<String, String>,
    ) {
        for (arg, (name, value)) in written.iter().zip(values) {
            let is_inherited = arg.default.is_none() && !given.contains_key(name) && value.is_some();
            if is_inherited || (arg.default.is_none() && self.globals.contains_key(name)) {
                self.used.insert(name.clone());
                continue;
            }
            self.args.insert(
                name.clone(),
                Argument {
                    name: name.clone(),
                    description: arg.description.clone(),
                    value: value.clone(),
                    span: arg.span,
                },
            );
        }
    }

    fn mounts(&mut self, mounts: &[Mount], span: Span) {
        for mount in mounts {
            let (list, id, required) = match mount {
                Mount::Secret { id, required, .. } => (&mut self.secrets, id, *required),
                Mount::Ssh { id, required, .. } => (&mut self.ssh, id, *required),
                _ => continue,
            };
            let access = list.entry(id.clone()).or_insert_with(|| Access {
                id: id.clone(),
                required: false,
                span,
            });
            access.required |= required;
        }
    }

    fn outline(mut self, graph: &Graph) -> Outline {
        for (name, argument) in self.globals {
            if self.used.contains(&name) {
                self.args.entry(name).or_insert(argument);
            }
        }
        let stage = graph.stages.get(graph.target);
        let mut args: Vec<Argument> = self.args.into_values().collect();
        args.sort_by_key(|arg| arg.span);
        let in_order = |list: BTreeMap<String, Access>| {
            let mut list: Vec<Access> = list.into_values().collect();
            list.sort_by_key(|access| access.span);
            list
        };
        Outline {
            name: stage.filter(|s| s.is_named).map(|s| s.name.clone()),
            description: stage.and_then(|s| s.description.clone()),
            args,
            secrets: in_order(self.secrets),
            ssh: in_order(self.ssh),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::plan;
    use crate::source::Source;
    use crate::stages::{Platform, Request};

    const FILE: &str = "# ALPINE which one\nARG ALPINE=3.20\nARG UNUSED=1\nARG BASE=alpine:$ALPINE\n\
        # tools has tools\nFROM $BASE AS tools\nARG TARGETARCH\nRUN --mount=type=secret,id=token true\n\
        FROM debian AS other\nARG OTHER=1\n\
        # app is what runs\nFROM --platform=$BUILDPLATFORM scratch AS app\nARG A=1 B\nCOPY --from=tools /x /\n\
        RUN --mount=type=secret,id=token,required --mount=type=ssh true\n";

    fn graph(given: &BTreeMap<String, String>) -> Graph {
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: String::new(),
        };
        let request = Request {
            target: None,
            build_args: given.clone(),
            build_platform: platform.clone(),
            target_platform: platform,
            contexts: BTreeSet::new(),
            all: false,
            is_image: |_| true,
        };
        plan(&Source::new("Dockerfile", FILE).unwrap(), &request)
            .graph
            .unwrap()
    }

    #[test]
    fn targets_are_the_stages() {
        let found = targets(&graph(&BTreeMap::new()));
        let shown: Vec<_> = found
            .iter()
            .map(|t| {
                (
                    t.name.as_deref(),
                    t.description.as_deref(),
                    t.base.as_str(),
                    t.platform.as_deref(),
                    t.is_default,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (Some("tools"), Some("has tools"), "$BASE", None, false),
                (Some("other"), None, "debian", None, false),
                (
                    Some("app"),
                    Some("is what runs"),
                    "scratch",
                    Some("$BUILDPLATFORM"),
                    true
                ),
            ]
        );
    }

    #[test]
    fn an_outline_has_what_the_target_needs() {
        let given = BTreeMap::from([("B".to_owned(), "b".to_owned())]);
        let outline = outline(&graph(&given), &given).unwrap();
        let args: Vec<_> = outline
            .args
            .iter()
            .map(|a| (a.name.as_str(), a.description.as_deref(), a.value.as_deref()))
            .collect();
        assert_eq!(
            args,
            [
                ("ALPINE", Some("which one"), Some("3.20")),
                ("BASE", None, Some("alpine:3.20")),
                ("A", None, Some("1")),
                ("B", None, Some("b")),
            ]
        );
        let accesses = |list: &[Access]| {
            list.iter()
                .map(|a| (a.id.clone(), a.required))
                .collect::<Vec<_>>()
        };
        assert_eq!(accesses(&outline.secrets), [("token".to_owned(), true)]);
        assert_eq!(accesses(&outline.ssh), [("default".to_owned(), false)]);
        assert_eq!(
            (outline.name.as_deref(), outline.description.as_deref()),
            (Some("app"), Some("is what runs"))
        );
    }
}
