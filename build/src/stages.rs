//! Stages: what each begins from, what it takes from others, and which of them a target needs.
//!
//! May not: expand anything but FROM, which sees the ARGs before the first FROM and nothing else; know what an image has in it.
//!
//! A [`Graph`] is a list of stages in the order of the file. Everything that a stage depends on stands before it, so whoever builds
//! may go through the list, or start each stage as soon as its own are done. Triggers (ONBUILD) of a stage of the same file are in
//! the list already; those of an image are added when its configuration is known ([`Graph::add_triggers`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::expand::{Env, Expanded, Lexer, Work};
use crate::instruction::{self, Arg, Body, Dockerfile, From, Instruction, Value};
use crate::lint::{Report, Rule};
use crate::source::{Problem, Result, Source, Span, quoted};
use crate::suggest;

/// So many triggers of ONBUILD are followed in one build.
const MOST_TRIGGERS: usize = 10_000;

/// Names of images and platforms are far shorter.
const LONGEST_NAME: usize = 4096;

/// No image: an empty root.
pub const SCRATCH: &str = "scratch";

/// What is built, as `brig build` was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// None: the last stage.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub build_platform: Platform,
    pub target_platform: Platform,
    /// Names of `--build-context`.
    pub contexts: BTreeSet<String>,
    /// All stages are looked at: `--check` without a target.
    pub all: bool,
    /// Whether a text is the name of an image.
    pub is_image: fn(&str) -> bool,
}

/// As arguments have it; empty where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.variant)
    }
}

/// Where something is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Scratch,
    /// A stage that stands before.
    Stage(usize),
    /// A context of `--build-context`.
    Named(String),
    Image(String),
}

/// An instruction of a stage.
#[derive(Clone, Debug)]
pub struct Step {
    pub instruction: Arc<Instruction>,
    /// It comes from an ONBUILD of what the stage begins from. Places in it are none of the file.
    pub is_trigger: bool,
    /// What `COPY --from` names, or each mount of RUN in order; none is the build context.
    pub origins: Vec<Option<Origin>>,
}

/// A stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// As it was named, or `stage-N`.
    pub name: String,
    pub is_named: bool,
    /// What a comment above says of it.
    pub description: Option<String>,
    pub from: Arc<Instruction>,
    pub base: Origin,
    /// What FROM asks for, expanded.
    pub platform: Option<Value>,
    /// Variables that FROM is made of.
    pub used: BTreeSet<String>,
    /// Empty where a context of this name is used instead.
    pub steps: Vec<Step>,
    /// The target is it, or needs it.
    pub is_needed: bool,
}

/// The stages of a file for one request.
#[derive(Clone, Debug)]
pub struct Graph {
    pub stages: Vec<Stage>,
    /// The stage that is wanted.
    pub target: usize,
    /// What stages see of an ARG without a value: those before the first FROM, and the platforms.
    pub globals: Env,
    /// ARGs before the first FROM, as they are written.
    pub args: Vec<Arg>,
    pub escape: char,
    /// ARGs before the first FROM, and those that are always there.
    declared: BTreeSet<String>,
    names: HashMap<String, usize>,
    contexts: BTreeSet<String>,
    all: bool,
    triggers: usize,
}

impl Graph {
    /// # Errors
    /// A stage cannot be what it says, the target is none, or stages need each other in a circle.
    pub fn build(file: Dockerfile, request: &Request, report: &mut Report) -> Result<Graph> {
        let escape = file.escape;
        let (args, written) = split(file)?;
        let last = written.last().and_then(|s| name_of(&s.from));
        let target_name = request.target.clone().or(last.map(|name| name.to_owned()));
        let platforms = platform_args(request, target_name.as_deref());
        let lexer = Lexer::new(escape);
        let globals = global_args(&platforms, &args, &request.build_args, lexer)?;
        check_defaults(&platforms, &args, &written, request, lexer, report);
        let mut declared: BTreeSet<&str> = globals.names().collect();
        declared.extend(args.iter().map(|arg| arg.name.as_str()));

        let mut graph = Graph {
            stages: Vec::new(),
            target: 0,
            globals: globals.clone(),
            escape,
            declared: declared.iter().map(|name| (*name).to_owned()).collect(),
            names: HashMap::new(),
            args: args.clone(),
            contexts: request.contexts.clone(),
            all: request.all,
            triggers: 0,
        };
        let mut reader = FromReader {
            lexer,
            globals: &globals,
            declared: &declared,
            work: Work::default(),
        };
        for (index, stage) in written.into_iter().enumerate() {
            graph.add(index, stage, &mut reader, report)?;
        }
        graph.target = graph.find_target(request.target.as_deref())?;
        for index in 0..graph.stages.len() {
            graph.find_origins(index)?;
        }
        for index in 0..graph.stages.len() {
            graph.add_triggers_of_stage(index)?;
        }
        graph.settle()?;
        Ok(graph)
    }

    fn add(
        &mut self,
        index: usize,
        written: Written,
        reader: &mut FromReader<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let Body::From(from) = &written.from.body else {
            return Ok(());
        };
        let mut used = BTreeSet::new();
        let base = reader.base(from, &written.from, &mut used, report)?;
        let platform = reader.platform(from, &written.from, &mut used, report)?;
        let name = from.name.as_ref().map(|name| name.name.clone());
        let replaced = name.as_deref().filter(|name| self.is_context(name));
        let is_replaced = replaced.is_some();
        let stage = Stage {
            base: match replaced {
                Some(name) => Origin::Named(name.to_owned()),
                None => self.origin_of(&base),
            },
            is_named: name.is_some(),
            name: name.clone().unwrap_or_else(|| format!("stage-{index}")),
            description: name.as_deref().and_then(|name| description(&written.from, name)),
            from: written.from,
            platform,
            used,
            steps: if is_replaced { Vec::new() } else { written.steps },
            is_needed: false,
        };
        self.stages.push(stage);
        if let Some(name) = name {
            self.names.insert(name, index);
        }
        Ok(())
    }

    fn is_context(&self, name: &str) -> bool {
        if name.eq_ignore_ascii_case(SCRATCH) || name.eq_ignore_ascii_case("context") {
            return false;
        }
        let untagged = name.strip_suffix(":latest").unwrap_or(name);
        self.contexts.contains(name)
            || self.contexts.contains(untagged)
            || self.contexts.contains(&format!("{name}:latest"))
    }

    /// What a name means: a stage that is known by now, a context, or an image.
    fn origin_of(&self, name: &str) -> Origin {
        if let Some(index) = self.names.get(&name.to_lowercase()) {
            return Origin::Stage(*index);
        }
        if name == SCRATCH {
            return Origin::Scratch;
        }
        if self.is_context(name) {
            return Origin::Named(name.to_owned());
        }
        Origin::Image(name.to_owned())
    }

    fn find_target(&self, wanted: Option<&str>) -> Result<usize> {
        let last = self.stages.len().saturating_sub(1);
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
            return Ok(last);
        };
        self.names.get(&wanted.to_lowercase()).copied().ok_or_else(|| {
            let near = suggest::nearest(wanted, self.stages.iter().map(|s| s.name.as_str()));
            let message = format!("target stage {} could not be found", quoted(wanted));
            Problem::new(Span::default(), message).suggesting(near.map(str::to_owned))
        })
    }

    fn find_origins(&mut self, index: usize) -> Result<()> {
        let Some(stage) = self.stages.get_mut(index) else {
            return Ok(());
        };
        let mut steps = std::mem::take(&mut stage.steps);
        for step in &mut steps {
            step.origins = self.origins(&step.instruction)?;
        }
        if let Some(stage) = self.stages.get_mut(index) {
            stage.steps = steps;
        }
        Ok(())
    }

    fn origins(&self, instruction: &Instruction) -> Result<Vec<Option<Origin>>> {
        match &instruction.body {
            Body::Copy(copy) => match &copy.from {
                Some(from) => Ok(vec![Some(self.copied_from(from)?)]),
                None => Ok(Vec::new()),
            },
            Body::Run(run) => {
                let from = |mount: &instruction::mount::Written| {
                    mount.from.as_deref().map(|name| self.origin_of(name))
                };
                Ok(run.mounts.iter().map(from).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// A number is a stage of the file, too.
    fn copied_from(&self, from: &Value) -> Result<Origin> {
        let plain = Lexer::new(self.escape).expand(&from.text, &crate::expand::Nothing);
        let is_plain = plain.map_err(|e| Problem::new(from.span, e.to_string()))?.text == from.text;
        if !is_plain {
            return Err(Problem::new(
                from.span,
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            ));
        }
        let Ok(number) = from.text.parse::<i64>() else {
            return Ok(self.origin_of(&from.text));
        };
        let index = usize::try_from(number).ok().filter(|n| *n < self.stages.len());
        index
            .map(Origin::Stage)
            .ok_or_else(|| Problem::new(from.span, format!("invalid stage index {number}")))
    }

    fn add_triggers_of_stage(&mut self, index: usize) -> Result<()> {
        let Some(Origin::Stage(base)) = self.stages.get(index).map(|s| &s.base) else {
            return Ok(());
        };
        let steps = self
            .stages
            .get(*base)
            .map(|s| s.steps.as_slice())
            .unwrap_or_default();
        let expressions: Vec<String> = steps
            .iter()
            .filter_map(|step| match &step.instruction.body {
                Body::Onbuild(trigger) => Some(trigger.expression.clone()),
                _ => None,
            })
            .collect();
        self.put_triggers(index, &expressions)
    }

    /// What the image of a stage has in its ONBUILD comes before the steps of the stage. Stages may be needed then that were not.
    ///
    /// # Errors
    /// A trigger is wrong, or the stages need each other in a circle now.
    pub fn add_triggers(&mut self, index: usize, expressions: &[String]) -> Result<()> {
        self.put_triggers(index, expressions)?;
        self.settle()
    }

    fn put_triggers(&mut self, index: usize, expressions: &[String]) -> Result<()> {
        let Some(stage) = self.stages.get(index) else {
            return Ok(());
        };
        let span = stage.from.span;
        self.triggers += expressions.len();
        if self.triggers > MOST_TRIGGERS {
            let message = format!("there are more than {MOST_TRIGGERS} triggers of ONBUILD");
            return Err(Problem::new(span, message));
        }
        let mut steps = Vec::new();
        for expression in expressions {
            let of_trigger = |problem: Problem| in_trigger(problem, span, expression);
            let source = Source::new("ONBUILD", expression.as_str()).map_err(of_trigger)?;
            let instruction = instruction::trigger(&source).map_err(of_trigger)?;
            let origins = self.origins(&instruction).map_err(of_trigger)?;
            steps.push(Step {
                instruction: Arc::new(instruction),
                is_trigger: true,
                origins,
            });
        }
        if let Some(stage) = self.stages.get_mut(index) {
            stage.steps.splice(0..0, steps);
        }
        Ok(())
    }

    /// Values of the command line that no ARG of the file asks for. Those that need none are not among them.
    pub fn unused_args<'a>(&self, given: &'a BTreeMap<String, String>) -> Vec<&'a str> {
        let in_stages = self.stages.iter().flat_map(|stage| &stage.steps);
        let mut asked: BTreeSet<&str> = self.declared.iter().map(String::as_str).collect();
        for step in in_stages {
            if let Body::Arg(args) = &step.instruction.body {
                asked.extend(args.iter().map(|arg| arg.name.as_str()));
            }
        }
        let needs_none = |name: &str| {
            crate::scope::PROXY_ARGS.contains(&name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        let given = given.keys().map(String::as_str);
        given
            .filter(|name| !asked.contains(name) && !needs_none(name))
            .collect()
    }

    /// The stages that a stage needs, and where it says so.
    fn needs(&self, index: usize) -> Vec<(usize, Span)> {
        let Some(stage) = self.stages.get(index) else {
            return Vec::new();
        };
        let mut needs = Vec::new();
        if let Origin::Stage(base) = stage.base {
            needs.push((base, stage.from.span));
        }
        for step in &stage.steps {
            let span = if step.is_trigger {
                stage.from.span
            } else {
                step.instruction.span
            };
            needs.extend(step.origins.iter().flatten().filter_map(|origin| match origin {
                Origin::Stage(other) => Some((*other, span)),
                _ => None,
            }));
        }
        needs
    }

    /// Which stages are needed, and that they can be built in order.
    fn settle(&mut self) -> Result<()> {
        self.check_circles()?;
        for stage in &mut self.stages {
            stage.is_needed = self.all;
        }
        let mut waiting = vec![self.target];
        let mut seen = vec![false; self.stages.len()];
        while let Some(index) = waiting.pop() {
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            waiting.extend(self.needs(index).into_iter().map(|(other, _)| other));
        }
        for (stage, seen) in self.stages.iter_mut().zip(seen) {
            stage.is_needed |= seen;
        }
        for index in 0..self.stages.len() {
            if self.stages.get(index).is_some_and(|s| s.is_needed) {
                self.check_order(index)?;
            }
        }
        Ok(())
    }

    /// BuildKit goes through the file from top to bottom, so what is taken from a stage has to stand below it.
    fn check_order(&self, index: usize) -> Result<()> {
        let Some(stage) = self.stages.get(index) else {
            return Ok(());
        };
        for step in &stage.steps {
            let is_later = |origin: &Option<Origin>| matches!(origin, Some(Origin::Stage(n)) if *n >= index);
            let Some(place) = step.origins.iter().position(is_later) else {
                continue;
            };
            let span = if step.is_trigger {
                stage.from.span
            } else {
                step.instruction.span
            };
            let message = match &step.instruction.body {
                Body::Run(run) => {
                    let from = run
                        .mounts
                        .get(place)
                        .and_then(|m| m.from.as_deref())
                        .unwrap_or_default();
                    format!(
                        "cannot mount from stage {}, stage needs to be defined before current command",
                        quoted(from)
                    )
                }
                Body::Copy(copy) => {
                    let from = copy.from.as_ref().map(|v| v.text.as_str()).unwrap_or_default();
                    format!(
                        "cannot copy from stage {}, it needs to be defined before current stage {}",
                        quoted(from),
                        quoted(&stage.name)
                    )
                }
                _ => continue,
            };
            return Err(Problem::new(span, message));
        }
        Ok(())
    }

    /// Depth first without recursion: a file may have as many stages as lines.
    fn check_circles(&self) -> Result<()> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            OnPath,
            Done,
        }
        let mut marks = vec![Mark::New; self.stages.len()];
        for start in 0..self.stages.len() {
            let mut path: Vec<(usize, Vec<(usize, Span)>)> = Vec::new();
            if marks.get(start) == Some(&Mark::New) {
                path.push((start, self.needs(start)));
            }
            while let Some((index, rest)) = path.last_mut() {
                let index = *index;
                let Some((other, span)) = rest.pop() else {
                    if let Some(mark) = marks.get_mut(index) {
                        *mark = Mark::Done;
                    }
                    path.pop();
                    continue;
                };
                if let Some(mark) = marks.get_mut(index) {
                    *mark = Mark::OnPath;
                }
                match marks.get(other) {
                    Some(Mark::New) => path.push((other, self.needs(other))),
                    Some(Mark::OnPath) => {
                        let name = self
                            .stages
                            .get(other)
                            .map(|s| s.name.as_str())
                            .unwrap_or_default();
                        return Err(Problem::new(
                            span,
                            format!("circular dependency detected on stage: {name}"),
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A problem of a trigger is one of the FROM that brought it.
pub(crate) fn in_trigger(problem: Problem, from: Span, text: &str) -> Problem {
    let first: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
    Problem {
        span: from,
        ..problem
    }
    .context(format!("ONBUILD {first}"))
}

/// A stage as it stands in the file.
struct Written {
    from: Arc<Instruction>,
    steps: Vec<Step>,
}

fn name_of(instruction: &Instruction) -> Option<&str> {
    match &instruction.body {
        Body::From(from) => from.name.as_ref().map(|name| name.name.as_str()),
        _ => None,
    }
}

fn description(instruction: &Instruction, name: &str) -> Option<String> {
    let said = |text: &str| text.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    instruction
        .comments
        .iter()
        .find_map(|comment| said(&comment.text))
}

/// ARGs before the first FROM, and stages.
fn split(file: Dockerfile) -> Result<(Vec<Arg>, Vec<Written>)> {
    let mut args = Vec::new();
    let mut stages: Vec<Written> = Vec::new();
    for instruction in file.instructions {
        let span = instruction.head;
        match (&instruction.body, stages.last_mut()) {
            (Body::From(_), _) => stages.push(Written {
                from: Arc::new(instruction),
                steps: Vec::new(),
            }),
            (_, Some(stage)) => stage.steps.push(Step {
                instruction: Arc::new(instruction),
                is_trigger: false,
                origins: Vec::new(),
            }),
            (Body::Arg(list), None) => args.extend(list.iter().cloned()),
            (_, None) => return Err(Problem::new(span, "no build stage in current context")),
        }
    }
    if stages.is_empty() {
        return Err(Problem::new(
            Span::default(),
            "dockerfile contains no stages to build",
        ));
    }
    Ok((args, stages))
}

fn platform_args(request: &Request, target: Option<&str>) -> Env {
    let (build, wanted) = (&request.build_platform, &request.target_platform);
    let mut env = Env::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.to_string().as_str()),
        ("BUILDOS", &build.os),
        ("BUILDOSVERSION", ""),
        ("BUILDARCH", &build.architecture),
        ("BUILDVARIANT", &build.variant),
        ("TARGETPLATFORM", &wanted.to_string()),
        ("TARGETOS", &wanted.os),
        ("TARGETOSVERSION", ""),
        ("TARGETARCH", &wanted.architecture),
        ("TARGETVARIANT", &wanted.variant),
        (
            "TARGETSTAGE",
            target.filter(|t| !t.is_empty()).unwrap_or("default"),
        ),
    ] {
        env.set(name, request.build_args.get(name).map_or(value, String::as_str));
    }
    env
}

fn global_args(
    platforms: &Env,
    args: &[Arg],
    build_args: &BTreeMap<String, String>,
    lexer: Lexer,
) -> Result<Env> {
    let mut env = platforms.clone();
    let mut work = Work::default();
    for arg in args {
        let value = match (build_args.get(&arg.name), &arg.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => {
                let expanded = lexer
                    .expand(default, &env)
                    .and_then(|e| work.spend(&e).map(|()| e));
                expanded.map_err(|e| Problem::new(arg.span, e.to_string()))?.text
            }
            (None, None) => continue,
        };
        env.set(&arg.name, value);
        crate::scope::check_size(&env, arg.span)?;
    }
    Ok(env)
}

/// Whether the file can be built when nothing is said: each base has to be a name then, too.
fn check_defaults(
    platforms: &Env,
    args: &[Arg],
    stages: &[Written],
    request: &Request,
    lexer: Lexer,
    report: &mut Report,
) {
    // What is wrong with them is an error of the build, and told there.
    let Ok(defaults) = global_args(platforms, args, &BTreeMap::new(), lexer) else {
        return;
    };
    let mut work = Work::default();
    for stage in stages {
        let Body::From(from) = &stage.from.body else {
            continue;
        };
        let base = lexer.expand(&from.base.text, &defaults);
        let Ok(base) = base.and_then(|e| work.spend(&e).map(|()| e)) else {
            return;
        };
        if !(request.is_image)(&base.text) {
            let written = &from.base.text;
            report.add(
                &stage.from.comments,
                Rule::InvalidDefaultArgInFrom,
                from.base.span,
                format!("Default value for ARG {written} results in empty or invalid base image name"),
            );
        }
    }
}

/// Reads what FROM says.
struct FromReader<'a> {
    lexer: Lexer,
    globals: &'a Env,
    declared: &'a BTreeSet<&'a str>,
    work: Work,
}

impl FromReader<'_> {
    fn expand(&mut self, text: &str) -> Result<Expanded, crate::expand::Error> {
        let expanded = self.lexer.expand(text, self.globals)?;
        self.work.spend(&expanded)?;
        Ok(expanded)
    }

    fn base(
        &mut self,
        from: &From,
        instruction: &Instruction,
        used: &mut BTreeSet<String>,
        report: &mut Report,
    ) -> Result<String> {
        let written = &from.base;
        let expanded = self.expand(&written.text);
        let expanded = expanded.map_err(|e| Problem::new(written.span, e.to_string()))?;
        self.report_missing(&expanded.missing, written.span, instruction, report);
        if expanded.text.is_empty() {
            let message = format!("base name ({}) should not be blank", written.text);
            return Err(Problem::new(written.span, message).suggesting(self.near(&expanded.missing)));
        }
        if expanded.text.len() > LONGEST_NAME {
            let message = format!("base name ({}) is longer than {LONGEST_NAME} bytes", written.text);
            return Err(Problem::new(written.span, message));
        }
        used.extend(expanded.used);
        Ok(expanded.text)
    }

    fn platform(
        &mut self,
        from: &From,
        instruction: &Instruction,
        used: &mut BTreeSet<String>,
        report: &mut Report,
    ) -> Result<Option<Value>> {
        let Some(written) = &from.platform else {
            return Ok(None);
        };
        let span = written.span;
        let expanded = self.expand(&written.text);
        let expanded = expanded.map_err(|e| {
            Problem::new(
                span,
                format!("failed to process arguments for platform {}: {e}", written.text),
            )
        })?;
        self.report_missing(&expanded.missing, span, instruction, report);
        let is_only_target = expanded.used.len() == 1 && expanded.used.contains("TARGETPLATFORM");
        if is_only_target
            && expanded.missing.is_empty()
            && self.globals.get("TARGETPLATFORM") == Some(expanded.text.as_str())
        {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                written.text
            );
            report.add(
                &instruction.comments,
                Rule::RedundantTargetPlatform,
                span,
                message,
            );
        }
        let near = || self.near(&expanded.missing);
        if expanded.text.is_empty() {
            let message = format!("empty platform value from expression {}", written.text);
            return Err(Problem::new(span, message).suggesting(near()));
        }
        if !is_platform(&expanded.text) {
            let message = format!(
                "failed to parse platform {}: {} is not OS/ARCH[/VARIANT]",
                written.text,
                quoted(&expanded.text)
            );
            return Err(Problem::new(span, message).suggesting(near()));
        }
        let is_constant = expanded.used.is_empty() && expanded.missing.is_empty();
        let stage = name_of(instruction).unwrap_or_default();
        // A stage that is named for its platform is meant to have it.
        let is_named = expanded.text.split('/').take(2).any(|part| stage.contains(part));
        if is_constant && !is_named {
            let message = format!(
                "FROM --platform flag should not use constant value {}",
                quoted(&expanded.text)
            );
            report.add(
                &instruction.comments,
                Rule::FromPlatformFlagConstDisallowed,
                span,
                message,
            );
        }
        used.extend(expanded.used);
        Ok(Some(Value {
            text: expanded.text,
            span,
        }))
    }

    fn near(&self, missing: &BTreeSet<String>) -> Option<String> {
        let near = missing
            .iter()
            .find_map(|name| suggest::nearest(name, self.globals.names().take(suggest::MOST)));
        near.map(str::to_owned)
    }

    fn report_missing(
        &self,
        missing: &BTreeSet<String>,
        span: Span,
        instruction: &Instruction,
        report: &mut Report,
    ) {
        for name in missing
            .iter()
            .filter(|name| !self.declared.contains(name.as_str()))
        {
            let mut message = format!("FROM argument '{name}' is not declared");
            if let Some(near) = suggest::nearest(name, self.declared.iter().copied().take(suggest::MOST)) {
                message.push_str(&format!(" (did you mean {near}?)"));
            }
            report.add(&instruction.comments, Rule::UndefinedArgInFrom, span, message);
        }
    }
}

/// The form only; what it means is the business of whoever has images.
fn is_platform(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-()".contains(&b))
    };
    text.len() <= LONGEST_NAME && text.split('/').count() <= 3 && text.split('/').all(is_word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lint::Config;

    fn request() -> Request {
        let amd64 = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: String::new(),
        };
        Request {
            target: None,
            build_args: BTreeMap::new(),
            build_platform: amd64.clone(),
            target_platform: Platform {
                architecture: "arm".to_owned(),
                variant: "v7".to_owned(),
                ..amd64
            },
            contexts: BTreeSet::new(),
            all: false,
            is_image: |text| !text.is_empty() && !text.ends_with(':') && text == text.to_lowercase(),
        }
    }

    fn graph_with(text: &str, request: &Request) -> (Result<Graph, String>, Vec<String>) {
        let source = Source::new("Dockerfile", text).unwrap();
        let mut report = Report::new(Config::default());
        let file = instruction::read(&source).unwrap();
        let graph =
            Graph::build(file, request, &mut report).map_err(|e| format!("{}: {e}", source.line_of(e.span)));
        let found = report
            .findings()
            .iter()
            .map(|f| format!("{}: {}: {}", source.line_of(f.span), f.rule.name(), f.message));
        (graph, found.collect())
    }

    fn graph(text: &str) -> Graph {
        graph_with(text, &request()).0.unwrap()
    }

    fn needed(graph: &Graph) -> Vec<&str> {
        graph
            .stages
            .iter()
            .filter(|s| s.is_needed)
            .map(|s| s.name.as_str())
            .collect()
    }

    const FOUR: &str = "FROM alpine AS Base\nRUN a\nFROM base AS tools\nRUN b\nFROM debian AS docs\nRUN c\n\
        FROM scratch\nCOPY --from=TOOLS /a /b\nRUN --mount=type=bind,from=base,target=/x y\n";

    #[test]
    fn only_what_the_target_needs() {
        let all = graph(FOUR);
        assert_eq!(needed(&all), ["base", "tools", "stage-3"]);
        let bases: Vec<&Origin> = all.stages.iter().map(|s| &s.base).collect();
        let image = |name: &str| Origin::Image(name.to_owned());
        assert_eq!(
            bases,
            [
                &image("alpine"),
                &Origin::Stage(0),
                &image("debian"),
                &Origin::Scratch
            ]
        );
        assert_eq!(all.stages[3].steps[0].origins, [Some(Origin::Stage(1))]);
        assert_eq!(all.stages[3].steps[1].origins, [Some(Origin::Stage(0))]);
        let mut docs = request();
        docs.target = Some("DOCS".to_owned());
        assert_eq!(needed(&graph_with(FOUR, &docs).0.unwrap()), ["docs"]);
        docs.target = Some("toolz".to_owned());
        let missing = graph_with(FOUR, &docs).0.unwrap_err();
        assert_eq!(
            missing,
            "1: target stage \"toolz\" could not be found (did you mean tools?)"
        );
        docs.target = None;
        docs.all = true;
        assert_eq!(needed(&graph_with(FOUR, &docs).0.unwrap()).len(), 4);
    }

    #[test]
    fn names_numbers_images_and_contexts() {
        let mut named = request();
        named.contexts = ["files", "docs", "alpine"].map(str::to_owned).into();
        let text = "FROM alpine:latest AS a\nFROM debian AS docs\nRUN x\nFROM scratch AS a\nFROM a\n\
            COPY --from=0 x y\nCOPY --from=busybox:1 x y\nCOPY --from=files x y\nCOPY --from=docs x y\n\
            RUN --mount=type=tmpfs,target=/t --mount=type=bind,from=2,target=/x z\n";
        let graph = graph_with(text, &named).0.unwrap();
        let last = &graph.stages[3];
        assert_eq!(graph.stages[0].base, Origin::Named("alpine:latest".to_owned()));
        assert_eq!(graph.stages[1].base, Origin::Named("docs".to_owned()));
        assert!(graph.stages[1].steps.is_empty());
        // The last stage of a name is the one that is meant.
        assert_eq!(last.base, Origin::Stage(2));
        let origins: Vec<_> = last.steps.iter().map(|s| s.origins.clone()).collect();
        assert_eq!(
            origins,
            [
                vec![Some(Origin::Stage(0))],
                vec![Some(Origin::Image("busybox:1".to_owned()))],
                vec![Some(Origin::Named("files".to_owned()))],
                vec![Some(Origin::Stage(1))],
                // A mount knows no numbers.
                vec![None, Some(Origin::Image("2".to_owned()))],
            ]
        );
    }

    #[test]
    fn arguments_of_from() {
        let text = "ARG BASE=alpine\nARG TAG=\"3.${MINOR:-20}\" FULL=$BASE:$TAG\nARG ONLY\n\
            FROM --platform=$BUILDPLATFORM $FULL AS b\nFROM ${ONLY:-$BASE}\n";
        let defaults = graph(text);
        assert_eq!(defaults.stages[0].base, Origin::Image("alpine:3.20".to_owned()));
        assert_eq!(defaults.stages[0].platform.as_ref().unwrap().text, "linux/amd64");
        assert_eq!(defaults.stages[1].base, Origin::Image("alpine".to_owned()));
        assert_eq!(defaults.globals.get("TARGETPLATFORM"), Some("linux/arm/v7"));
        assert_eq!(defaults.globals.get("TARGETVARIANT"), Some("v7"));
        assert_eq!(defaults.globals.get("TARGETSTAGE"), Some("default"));
        assert_eq!(defaults.globals.get("ONLY"), None);
        let mut given = request();
        given.build_args = [("ONLY", "busybox"), ("TAG", "edge"), ("TARGETARCH", "x")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let given = graph_with(text, &given).0.unwrap();
        assert_eq!(given.stages[0].base, Origin::Image("alpine:edge".to_owned()));
        assert_eq!(given.stages[1].base, Origin::Image("busybox".to_owned()));
        assert_eq!(given.globals.get("TARGETARCH"), Some("x"));
        let asked = ["ONLY", "HTTP_PROXY", "BUILDKIT_SYNTAX", "TARGETOS", "b", "c"]
            .map(|name| (name.to_owned(), String::new()))
            .into();
        assert_eq!(graph("ARG ONLY\nFROM a\nARG b").unused_args(&asked), ["c"]);
    }

    #[test]
    fn what_cannot_be_built() {
        for (text, message) in [
            ("RUN a\nFROM b", "1: no build stage in current context"),
            ("ARG a", "1: dockerfile contains no stages to build"),
            ("ARG TAG\nFROM $TGA", "2: base name ($TGA) should not be blank"),
            (
                "ARG TAGS=1\nFROM $TAG",
                "2: base name ($TAG) should not be blank (did you mean TAGS?)",
            ),
            (
                "FROM ${X:?missing}",
                "1: failed to process \"${X:?missing}\": X: missing",
            ),
            (
                "ARG A=${X\nFROM a",
                "1: failed to process \"${X\": syntax error: missing '}'",
            ),
            (
                "FROM --platform=$X a",
                "1: empty platform value from expression $X",
            ),
            (
                "FROM --platform=a/b/c/d a",
                "1: failed to parse platform a/b/c/d: \"a/b/c/d\" is not OS/ARCH[/VARIANT]",
            ),
            (
                "FROM a\nCOPY --from=$x b c",
                "2: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            ),
            ("FROM a\nCOPY --from=7 b c", "2: invalid stage index 7"),
            ("FROM a\nCOPY --from=-1 b c", "2: invalid stage index -1"),
            (
                "FROM a AS b\nRUN x\nCOPY --from=b c d",
                "3: circular dependency detected on stage: b",
            ),
            (
                "FROM a AS b\nCOPY --from=c d e\nFROM b AS c",
                "3: circular dependency detected on stage: b",
            ),
            (
                "FROM a AS b\nCOPY --from=c d e\nFROM f AS c\nFROM b",
                "2: cannot copy from stage \"c\", it needs to be defined before current stage \"b\"",
            ),
            (
                "FROM a AS b\nRUN --mount=from=c,target=/x d\nFROM f AS c\nFROM b",
                "2: cannot mount from stage \"c\", stage needs to be defined before current command",
            ),
            (
                "FROM a AS b\nONBUILD COPY --from=7 b c\nFROM b",
                "3: ONBUILD COPY --from=7 b c: invalid stage index 7",
            ),
            (
                "FROM a AS b\nONBUILD RUNN c\nFROM b",
                "3: ONBUILD RUNN c: unknown instruction: RUNN (did you mean RUN?)",
            ),
        ] {
            assert_eq!(graph_with(text, &request()).0.unwrap_err(), message, "{text}");
        }
        // What is not needed may be out of order.
        assert!(
            graph_with("FROM a AS b\nCOPY --from=c d e\nFROM f AS c\n", &request())
                .0
                .is_ok()
        );
    }

    #[test]
    fn findings_about_from() {
        for (text, findings) in [
            (
                "ARG VERSION=1\nFROM a:$VERSIN",
                vec![
                    "2: InvalidDefaultArgInFrom: Default value for ARG a:$VERSIN results in empty or invalid base image name",
                    "2: UndefinedArgInFrom: FROM argument 'VERSIN' is not declared (did you mean VERSION?)",
                ],
            ),
            (
                "ARG TAG\nFROM a:$TAG",
                vec![
                    "2: InvalidDefaultArgInFrom: Default value for ARG a:$TAG results in empty or invalid base image name",
                ],
            ),
            (
                "FROM --platform=$TARGETPLATFORM a",
                vec![
                    "1: RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
                ],
            ),
            (
                "FROM --platform=linux/amd64 a",
                vec![
                    "1: FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
                ],
            ),
            ("FROM --platform=linux/amd64 a AS build-amd64", vec![]),
            ("FROM --platform=$BUILDPLATFORM a", vec![]),
        ] {
            assert_eq!(graph_with(text, &request()).1, findings, "{text}");
        }
    }

    #[test]
    fn triggers_come_first() {
        let text = "FROM a AS tools\nFROM b AS base\nONBUILD COPY --from=tools x y\nONBUILD RUN z\nFROM base\nRUN own\n";
        let mut stages = graph(text);
        let shown = |graph: &Graph, n: usize| {
            let steps = graph.stages[n].steps.iter();
            steps
                .map(|s| (s.instruction.text.clone(), s.is_trigger))
                .collect::<Vec<_>>()
        };
        let trigger = |text: &str| (text.to_owned(), true);
        assert_eq!(
            shown(&stages, 2),
            [
                trigger("COPY --from=tools x y"),
                trigger("RUN z"),
                ("RUN own".to_owned(), false)
            ]
        );
        assert_eq!(needed(&stages), ["tools", "base", "stage-2"]);
        stages
            .add_triggers(1, &["RUN --mount=from=tools,target=/x early".to_owned()])
            .unwrap();
        assert_eq!(stages.stages[1].steps.len(), 3);
        assert!(
            stages
                .add_triggers(0, &["COPY --from=base x y".to_owned()])
                .unwrap_err()
                .message
                .contains("circular")
        );
        assert!(
            stages
                .add_triggers(0, &vec!["RUN x".to_owned(); MOST_TRIGGERS])
                .is_err()
        );
    }

    #[test]
    fn thousands_of_stages() {
        let mut text = "FROM a AS s0\n".to_owned();
        for n in 1..20_000 {
            text.push_str(&format!("FROM s{} AS s{n}\n", n - 1));
        }
        assert_eq!(needed(&graph(&text)).len(), 20_000);
    }
}
