//! What the instructions of a stage come to, one after the other: variables expanded, paths absolute, values checked.
//!
//! May not: do any of it, or know files. What the image has that a stage begins from is brought by the caller ([`Base`]).
//!
//! | expanded | instructions |
//! |---|---|
//! | as one word | ADD, COPY (sources, destination, chown, chmod, checksum, unquoted heredocs), ENV, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, values of ARG, values of RUN --mount |
//! | as words | EXPOSE |
//! | never | CMD, ENTRYPOINT, HEALTHCHECK, MAINTAINER, ONBUILD, RUN (its shell does it), SHELL, --exclude |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::expand::{Env, Expanded, Lexer, Work};
use crate::ignore::Matcher;
use crate::instruction::mount::Mount;
use crate::instruction::{
    Arg, Body, Command, Copy, Device, Health, Inline, Instruction, Network, Pair, Run, Value,
};
use crate::lines::{chomped, heredoc};
use crate::lint::{Report, Rule, is_secret};
use crate::paths;
use crate::remote::{Git, Location};
use crate::source::{Problem, Result, Span, quoted};
use crate::stages::{Stage, Step, in_trigger};
use crate::suggest;
use crate::values::mode::Mode;
use crate::values::port::Ports;
use crate::values::signal;

/// What all variables of a stage may take, in bytes: more than the kernel gives to a process.
const MOST_ENV: usize = 8 << 20;

/// What one instruction may come to.
const MOST_VALUES: usize = 64 << 20;

/// Ports of one EXPOSE.
const MOST_PORTS: usize = 1 << 18;

/// Where a heredoc with a `#!` of its own is put, for as long as it runs.
const SCRIPTS: &str = "/dev/pipes";

/// Used when no image has set one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments that are there without an ARG: they reach RUN, but no history and no cache key.
pub const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// ARGs that say something to the builder alone.
const BUILDER_ARGS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What the configuration of an image says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// `NAME=value`.
    pub env: Vec<String>,
    pub workdir: String,
    pub user: String,
    pub shell: Vec<String>,
    /// Nobody has looked: no variable is said to be undefined.
    pub is_unknown: bool,
}

/// What all stages of a build have in common.
pub struct Context<'a> {
    pub escape: char,
    /// [`crate::stages::Graph::globals`].
    pub globals: &'a Env,
    pub build_args: &'a BTreeMap<String, String>,
    /// Of the build context.
    pub ignore: Option<&'a Matcher>,
}

/// What an instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Names, and the values that they have from here on.
    Arg(Vec<(String, Option<String>)>),
    Run(Execution),
    Copy(Transfer),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    /// `80/tcp`, each once.
    Expose(Vec<String>),
    Cmd(Command),
    Entrypoint(Command),
    User(String),
    /// Absolute.
    Workdir(String),
    Volume(Vec<String>),
    Stopsignal(String),
    Shell(Vec<String>),
    Onbuild(String),
    Healthcheck(Health),
    Maintainer(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub command: Command,
    /// A file that the command is, with its path.
    pub script: Option<File>,
    /// With absolute targets, in the order of [`Step::origins`].
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub is_insecure: bool,
    pub devices: Vec<Device>,
}

/// A file that stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub text: String,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub is_add: bool,
    pub sources: Vec<Location>,
    pub files: Vec<File>,
    /// Absolute; a slash at its end says that it is a directory.
    pub destination: String,
    pub chown: Option<String>,
    pub chmod: Option<Mode>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub unpack: Option<bool>,
    /// Flags and words as the history has them.
    pub shown: String,
}

/// What is known at a place in a stage.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Stages from one stage share what they do not change.
    env: Arc<Env>,
    args: Arc<Args>,
    pub workdir: String,
    pub user: String,
    pub shell: Vec<String>,
    is_unknown: bool,
    workdir_is_set: bool,
    /// Where in this stage they were said last.
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
    work: Work,
}

/// Names that ARG has declared, in that order, and the values that they had.
#[derive(Clone, Debug, Default)]
struct Args {
    list: Vec<(String, Option<String>)>,
    places: HashMap<String, usize>,
}

impl Args {
    fn set(&mut self, name: &str, value: Option<String>) {
        if let Some((_, old)) = self.places.get(name).and_then(|n| self.list.get_mut(*n)) {
            *old = value;
            return;
        }
        self.places.insert(name.to_owned(), self.list.len());
        self.list.push((name.to_owned(), value));
    }
}

impl Scope {
    /// At the start of a stage that begins from an image, or from nothing.
    pub fn of_image(base: &Base) -> Scope {
        let mut env = Env::of_list(&base.env);
        if env.get("PATH").is_none() {
            env.set("PATH", DEFAULT_PATH);
        }
        Scope {
            env: Arc::new(env),
            workdir: paths::clean(&format!("/{}", base.workdir)),
            user: base.user.clone(),
            shell: base.shell.clone(),
            is_unknown: base.is_unknown,
            ..Scope::default()
        }
    }

    /// At the start of a stage that begins from another one, at whose end this is.
    #[must_use]
    pub fn of_stage(&self) -> Scope {
        Scope {
            cmd: None,
            entrypoint: None,
            healthcheck: None,
            ..self.clone()
        }
    }

    /// The environment of a RUN: ENV and ARG.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// ARGs that were declared, as the history of RUN names them.
    pub fn args(&self) -> &[(String, Option<String>)] {
        &self.args.list
    }

    /// Whether this stage has a CMD of its own: then ENTRYPOINT does not take the image's away.
    pub fn has_cmd(&self) -> bool {
        self.cmd.is_some()
    }

    /// The next instruction of a stage.
    ///
    /// # Errors
    /// A value is none. Places are in the file, of triggers too.
    pub fn apply(
        &mut self,
        context: &Context<'_>,
        stage: &Stage,
        step: &Step,
        report: &mut Report,
    ) -> Result<Action> {
        let instruction = &*step.instruction;
        let place = step.is_trigger.then_some(stage.from.span);
        let done = self.read(context, instruction, place, report);
        done.map_err(|problem| {
            if step.is_trigger {
                in_trigger(problem, stage.from.span, &instruction.text)
            } else {
                problem
            }
        })
    }

    /// An instruction that stands in no stage: `--change`.
    ///
    /// # Errors
    /// As [`Scope::apply`].
    pub fn apply_alone(
        &mut self,
        context: &Context<'_>,
        instruction: &Instruction,
        report: &mut Report,
    ) -> Result<Action> {
        self.read(context, instruction, None, report)
    }

    fn read(
        &mut self,
        context: &Context<'_>,
        instruction: &Instruction,
        place: Option<Span>,
        report: &mut Report,
    ) -> Result<Action> {
        Reading {
            scope: self,
            context,
            instruction,
            place,
            report,
            made: 0,
        }
        .action()
    }
}

/// # Errors
/// It is too large.
pub(crate) fn check_size(env: &Env, span: Span) -> Result<()> {
    if env.size() > MOST_ENV {
        let message = format!("the variables come to more than {} MiB", MOST_ENV >> 20);
        return Err(Problem::new(span, message));
    }
    Ok(())
}

/// One instruction, in its scope.
struct Reading<'a> {
    scope: &'a mut Scope,
    context: &'a Context<'a>,
    instruction: &'a Instruction,
    /// Where a trigger is shown.
    place: Option<Span>,
    report: &'a mut Report,
    /// Bytes that this instruction has come to.
    made: usize,
}

impl Reading<'_> {
    fn action(mut self) -> Result<Action> {
        let instruction = self.instruction;
        Ok(match &instruction.body {
            Body::From(_) => return Err(Problem::new(instruction.span, "FROM is no step of a stage")),
            Body::Arg(args) => Action::Arg(self.args(args)?),
            Body::Env(pairs) => Action::Env(self.env(pairs)?),
            Body::Label(pairs) => Action::Label(self.pairs(pairs)?),
            Body::Run(run) => Action::Run(self.run(run)?),
            Body::Copy(copy) => Action::Copy(self.copy(copy)?),
            Body::Expose(ports) => Action::Expose(self.expose(ports)?),
            Body::Cmd(command) => {
                let before = self.scope.cmd.replace(instruction.span);
                self.is_last(before);
                self.recommend_json(command);
                Action::Cmd(command.clone())
            }
            Body::Entrypoint(command) => {
                let before = self.scope.entrypoint.replace(instruction.span);
                self.is_last(before);
                self.recommend_json(command);
                Action::Entrypoint(command.clone())
            }
            Body::Healthcheck(health) => {
                let before = self.scope.healthcheck.replace(instruction.span);
                self.is_last(before);
                Action::Healthcheck(health.clone())
            }
            Body::User(user) => {
                self.scope.user = self.value(user)?;
                Action::User(self.scope.user.clone())
            }
            Body::Workdir(path) => Action::Workdir(self.workdir(path)?),
            Body::Volume(list) => Action::Volume(self.volumes(list)?),
            Body::Stopsignal(signal) => Action::Stopsignal(self.stopsignal(signal)?),
            Body::Shell(shell) => {
                self.scope.shell.clone_from(shell);
                Action::Shell(shell.clone())
            }
            Body::Onbuild(trigger) => Action::Onbuild(trigger.expression.clone()),
            Body::Maintainer(name) => Action::Maintainer(name.clone()),
        })
    }

    fn add(&mut self, rule: Rule, span: Span, message: String) {
        let span = self.place.unwrap_or(span);
        self.report.add(&self.instruction.comments, rule, span, message);
    }

    fn word(&mut self, text: &str, span: Span) -> Result<String> {
        let lexer = Lexer::new(self.context.escape);
        let expanded = self.expand(lexer, text, span)?;
        self.undefined(&expanded, span);
        Ok(expanded.text)
    }

    fn value(&mut self, value: &Value) -> Result<String> {
        self.word(&value.text, value.span)
    }

    fn optional(&mut self, value: Option<&Value>) -> Result<Option<String>> {
        let expanded = value.map(|value| self.value(value)).transpose()?;
        Ok(expanded.filter(|text| !text.is_empty()))
    }

    fn expand(&mut self, lexer: Lexer, text: &str, span: Span) -> Result<Expanded> {
        let expanded = lexer.expand(text, &*self.scope.env);
        let expanded = expanded.map_err(|e| Problem::new(span, e.to_string()))?;
        self.made += expanded.text.len();
        let within = self.scope.work.spend(&expanded);
        if self.made > MOST_VALUES {
            let message = format!("the instruction comes to more than {} MiB", MOST_VALUES >> 20);
            return Err(Problem::new(span, message));
        }
        within.map_err(|e| Problem::new(span, e.to_string()))?;
        Ok(expanded)
    }

    /// Variables that are used and that nobody has declared.
    fn undefined(&mut self, expanded: &Expanded, span: Span) {
        if self.scope.is_unknown {
            return;
        }
        for name in &expanded.missing {
            let is_declared = self.scope.args.places.contains_key(name);
            if is_declared || BUILDER_ARGS.contains(&name.as_str()) {
                continue;
            }
            let mut message = format!("Usage of undefined variable '${name}'");
            if let Some(near) = suggest::nearest(name, self.scope.env.names().take(suggest::MOST)) {
                message.push_str(&format!(" (did you mean ${near}?)"));
            }
            self.add(Rule::UndefinedVar, span, message);
        }
    }

    /// Of CMD and its like only the last one counts; the one before is shown.
    fn is_last(&mut self, before: Option<Span>) {
        let Some(before) = before else { return };
        let written = &self.instruction.written;
        let message = format!(
            "Multiple {written} instructions should not be used in the same stage because only the last one will be used"
        );
        self.add(Rule::MultipleInstructionsDisallowed, before, message);
    }

    /// A shell in between does not pass signals on. Who has set a shell wants it.
    fn recommend_json(&mut self, command: &Command) {
        if matches!(command, Command::Exec(_)) || !self.scope.shell.is_empty() {
            return;
        }
        let written = &self.instruction.written;
        let message = format!(
            "JSON arguments recommended for {written} to prevent unintended behavior related to OS signals"
        );
        self.add(Rule::JsonArgsRecommended, self.instruction.span, message);
    }

    fn secret(&mut self, keyword: &str, name: &str, span: Span) {
        if is_secret(name) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({keyword} {})",
                quoted(name)
            );
            self.add(Rule::SecretsUsedInArgOrEnv, span, message);
        }
    }

    /// A value of the command line beats that of the file, which beats that of an ARG before the first FROM.
    fn args(&mut self, args: &[Arg]) -> Result<Vec<(String, Option<String>)>> {
        let mut values = Vec::new();
        for arg in args {
            self.secret("ARG", &arg.name, arg.span);
            let given = self.context.build_args.get(&arg.name);
            let value = match (given, &arg.default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(self.word(default, arg.span)?),
                (None, None) => self.context.globals.get(&arg.name).map(str::to_owned),
            };
            if let Some(value) = &value
                && !BUILDER_ARGS.contains(&arg.name.as_str())
            {
                Arc::make_mut(&mut self.scope.env).set(&arg.name, value.as_str());
                check_size(&self.scope.env, arg.span)?;
            }
            Arc::make_mut(&mut self.scope.args).set(&arg.name, value.clone());
            values.push((arg.name.clone(), value));
        }
        Ok(values)
    }

    /// All values are of the time before the instruction: `ENV a=1 b=$a` has the old one.
    fn env(&mut self, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        let expanded = self.pairs(pairs)?;
        for ((name, value), pair) in expanded.iter().zip(pairs) {
            self.secret("ENV", name, pair.span);
            Arc::make_mut(&mut self.scope.env).set(name, value.as_str());
            check_size(&self.scope.env, pair.span)?;
        }
        Ok(expanded)
    }

    fn pairs(&mut self, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        let mut expanded = Vec::new();
        for pair in pairs {
            if pair.is_legacy {
                let written = &self.instruction.written;
                let message = format!(
                    "\"{written} key=value\" should be used instead of legacy \"{written} key value\" format"
                );
                self.add(Rule::LegacyKeyValueFormat, pair.span, message);
            }
            let (name, value) = (
                self.word(&pair.name, pair.span)?,
                self.word(&pair.value, pair.span)?,
            );
            expanded.push((name, value));
        }
        Ok(expanded)
    }

    fn run(&mut self, run: &Run) -> Result<Execution> {
        let mut mounts = Vec::new();
        for written in &run.mounts {
            let mut mount = written.resolve(&mut |value| self.word(value, written.span))?;
            self.place_mount(&mut mount, written.span)?;
            mounts.push(mount);
        }
        let (command, script) = with_heredocs(run);
        if let (Some(_), Some(first)) = (&script, run.heredocs.first()) {
            check_file_name(first)?;
        }
        Ok(Execution {
            command,
            script,
            mounts,
            network: run.network,
            is_insecure: run.is_insecure,
            devices: run.devices.clone(),
        })
    }

    /// Targets are relative to the working directory, and nothing is mounted over the whole root.
    fn place_mount(&self, mount: &mut Mount, span: Span) -> Result<()> {
        let (target, is_file) = match mount {
            Mount::Bind { target, .. } | Mount::Cache { target, .. } | Mount::Tmpfs { target, .. } => {
                (target, false)
            }
            Mount::Secret {
                target: Some(target), ..
            }
            | Mount::Ssh {
                target: Some(target), ..
            } => (target, true),
            Mount::Secret { .. } | Mount::Ssh { .. } => return Ok(()),
        };
        let joined = paths::join(&self.scope.workdir, target);
        *target = match joined.strip_suffix('/') {
            Some("") | None => joined,
            Some(short) => short.to_owned(),
        };
        if target == "/" && !is_file {
            return Err(Problem::new(span, "invalid mount target \"/\""));
        }
        Ok(())
    }

    fn copy(&mut self, copy: &Copy) -> Result<Transfer> {
        let is_add = self.instruction.keyword == crate::instruction::Keyword::Add;
        let chown = self.optional(copy.chown.as_ref())?;
        let chmod = self.optional(copy.chmod.as_ref())?;
        let checksum = self.optional(copy.checksum.as_ref())?;
        let mut shown = Vec::new();
        shown.extend(copy.parents.then(|| "--parents".to_owned()));
        shown.extend(chown.as_ref().map(|owner| format!("--chown={owner}")));
        shown.extend(chmod.as_ref().map(|mode| format!("--chmod={mode}")));
        let mut sources = Vec::new();
        for source in &copy.sources {
            let text = self.value(source)?;
            shown.push(text.clone());
            sources.push(self.source(&text, copy, is_add, source.span)?);
        }
        let destination = self.value(&copy.destination)?;
        let mut files = Vec::new();
        for inline in &copy.heredocs {
            shown.push(format!("<<{}", inline.name));
            files.push(self.file(inline)?);
        }
        shown.push(destination.clone());
        let chmod = chmod.map(|text| Mode::parse(&text)).transpose();
        let transfer = Transfer {
            is_add,
            sources,
            files,
            destination: paths::join(&self.scope.workdir, &destination),
            chown,
            chmod: chmod.map_err(|e| Problem::new(span_of(copy.chmod.as_ref()), e))?,
            link: copy.link,
            parents: copy.parents,
            exclude: copy.exclude.clone(),
            checksum,
            keep_git_dir: copy.keep_git_dir,
            unpack: copy.unpack,
            shown: shown.join(" "),
        };
        check_transfer(&transfer).map_err(|e| Problem::new(span_of(copy.checksum.as_ref()), e))?;
        Matcher::of(&copy.exclude).map_err(|e| Problem::new(self.instruction.span, e))?;
        Ok(transfer)
    }

    fn source(&mut self, text: &str, copy: &Copy, is_add: bool, span: Span) -> Result<Location> {
        let location = Location::parse(text).map_err(|e| Problem::new(span, e))?;
        let location = match location {
            // Without a scheme it could be a path, and so it is one here.
            Location::Git(Git {
                looks_like_path: true,
                ..
            }) => Location::Path(text.to_owned()),
            Location::Git(_) if !is_add => {
                return Err(Problem::new(span, "source can't be a git ref for COPY"));
            }
            Location::Url(_) if !is_add => return Err(Problem::new(span, "source can't be a URL for COPY")),
            location => location,
        };
        if let (Location::Path(path), None) = (&location, &copy.from) {
            self.ignored(path, is_add, span);
        }
        Ok(location)
    }

    /// A source that the ignore file leaves out. Where it takes something back that cannot be said.
    fn ignored(&mut self, path: &str, is_add: bool, span: Span) {
        let Some(ignore) = self.context.ignore.filter(|ignore| !ignore.takes_back()) else {
            return;
        };
        let clean = paths::clean(path);
        let is_root = clean == "." || clean == "/";
        if (is_root && !ignore.ignores_root()) || !ignore.ignores(&clean) {
            return;
        }
        let verb = if is_add { "Add" } else { "Copy" };
        let message = format!(
            "Attempting to {verb} file {} that is excluded by .dockerignore",
            quoted(&clean)
        );
        self.add(Rule::CopyIgnoredFile, span, message);
    }

    fn file(&mut self, inline: &Inline) -> Result<File> {
        check_file_name(inline)?;
        let mut text = chomped(&inline.content, inline.chomp);
        if inline.expand {
            let expanded = self.expand(Lexer::heredoc(), &text, inline.span)?;
            self.undefined(&expanded, inline.span);
            text = expanded.text;
        }
        Ok(File {
            name: inline.name.clone(),
            text,
        })
    }

    fn expose(&mut self, values: &[Value]) -> Result<Vec<String>> {
        let mut listed = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for value in values {
            let words = self
                .expand(Lexer::new(self.context.escape), &value.text, value.span)?
                .words;
            for word in words {
                let ports = Ports::parse(&word).map_err(|e| Problem::new(value.span, e))?;
                if ports.odd_protocol {
                    let message =
                        format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
                    self.add(Rule::ExposeProtoCasing, value.span, message);
                }
                if ports.has_host {
                    let message = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                    );
                    self.add(Rule::ExposeInvalidFormat, value.span, message);
                }
                count += usize::from(ports.last - ports.first) + 1;
                if count > MOST_PORTS {
                    return Err(Problem::new(
                        value.span,
                        format!("there are more than {MOST_PORTS} ports"),
                    ));
                }
                listed.extend(ports.each().filter(|port| seen.insert(port.clone())));
            }
        }
        Ok(listed)
    }

    fn workdir(&mut self, path: &Value) -> Result<String> {
        let text = self.value(path)?;
        if !self.scope.workdir_is_set && !text.starts_with('/') {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                quoted(&text)
            );
            self.add(Rule::WorkdirRelativePath, path.span, message);
        }
        self.scope.workdir_is_set = true;
        let joined = if text.starts_with('/') {
            paths::clean(&text)
        } else {
            paths::clean(&format!("/{}/{text}", self.scope.workdir))
        };
        self.scope.workdir.clone_from(&joined);
        Ok(joined)
    }

    fn volumes(&mut self, values: &[Value]) -> Result<Vec<String>> {
        let mut volumes = Vec::new();
        for value in values {
            let volume = self.value(value)?;
            if volume.is_empty() {
                return Err(Problem::new(
                    value.span,
                    "VOLUME specified can not be an empty string",
                ));
            }
            volumes.push(volume);
        }
        Ok(volumes)
    }

    fn stopsignal(&mut self, value: &Value) -> Result<String> {
        let text = self.value(value)?;
        if signal::parse(&text).is_none() {
            return Err(Problem::new(value.span, format!("invalid signal: {text}")));
        }
        Ok(text)
    }
}

/// The word of a heredoc names a file: one that is somewhere else would be written there.
fn check_file_name(inline: &Inline) -> Result<()> {
    let name = inline.name.as_str();
    if name.contains(['/', '\0']) || matches!(name, "." | "..") {
        let message = format!("the heredoc {} can not be the name of a file", quoted(name));
        return Err(Problem::new(inline.span, message));
    }
    Ok(())
}

fn span_of(value: Option<&Value>) -> Span {
    value.map(|value| value.span).unwrap_or_default()
}

fn check_transfer(transfer: &Transfer) -> Result<(), &'static str> {
    if transfer.checksum.is_none() {
        return Ok(());
    }
    match transfer.sources.as_slice() {
        [Location::Url(_) | Location::Git(_)] => Ok(()),
        [Location::Path(_)] => Err("checksum requires HTTP(S) or Git sources"),
        _ => Err("checksum can't be specified for multiple sources"),
    }
}

/// A command that is nothing but a heredoc is what stands in it, for the shell or, with `#!`, for what that names. In a longer
/// command the shell reads it.
fn with_heredocs(run: &Run) -> (Command, Option<File>) {
    let (Command::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
        return (run.command.clone(), None);
    };
    if heredoc(text).is_ok_and(|found| found.is_some()) {
        let content = chomped(&first.content, first.chomp);
        if !content.starts_with("#!") {
            return (Command::Shell(content), None);
        }
        let path = format!("{SCRIPTS}/{}", first.name);
        let script = File {
            name: path.clone(),
            text: content,
        };
        return (Command::Shell(path), Some(script));
    }
    let mut whole = text.clone();
    for heredoc in &run.heredocs {
        whole.push('\n');
        whole.push_str(&heredoc.content);
        whole.push_str(&heredoc.name);
    }
    (Command::Shell(whole), None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::instruction;
    use crate::lint::Config;
    use crate::source::Source;
    use crate::stages::{Graph, Platform, Request};

    struct Walked {
        actions: Vec<Action>,
        found: Vec<String>,
        error: Option<String>,
        scope: Scope,
    }

    /// Goes through the last stage of a file, whose base has `HOME=/root` and a working directory.
    fn walk_with(text: &str, build_args: &[(&str, &str)], ignore: Option<&Matcher>) -> Walked {
        let source = Source::new("Dockerfile", text).unwrap();
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: String::new(),
        };
        let build_args = build_args
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let request = Request {
            target: None,
            build_args,
            build_platform: platform.clone(),
            target_platform: platform,
            contexts: Default::default(),
            all: false,
            is_image: |_| true,
        };
        let mut report = Report::new(Config::default());
        let graph = Graph::build(instruction::read(&source).unwrap(), &request, &mut report).unwrap();
        let context = Context {
            escape: graph.escape,
            globals: &graph.globals,
            build_args: &request.build_args,
            ignore,
        };
        let mut scope = Scope::of_image(&Base {
            env: vec!["HOME=/root".to_owned()],
            workdir: "/base".to_owned(),
            ..Base::default()
        });
        let (mut actions, mut error) = (Vec::new(), None);
        for (index, stage) in graph.stages.iter().enumerate() {
            if index > 0 && stage.base == crate::stages::Origin::Stage(index - 1) {
                scope = scope.of_stage();
            }
            actions.clear();
            for step in &stage.steps {
                match scope.apply(&context, stage, step, &mut report) {
                    Ok(action) => actions.push(action),
                    Err(e) => {
                        error = Some(format!("{}: {e}", source.line_of(e.span)));
                        break;
                    }
                }
            }
        }
        let found = report.findings().iter();
        let found = found.map(|f| format!("{}: {}: {}", source.line_of(f.span), f.rule.name(), f.message));
        Walked {
            actions,
            found: found.collect(),
            error,
            scope,
        }
    }

    fn walk(text: &str) -> Walked {
        walk_with(text, &[], None)
    }

    fn last(text: &str) -> Action {
        let walked = walk(text);
        assert_eq!(walked.error, None, "{text}");
        walked.actions.last().unwrap().clone()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn env_has_the_values_of_before() {
        let text =
            "FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc q=\"a b\" r='$abc' s=a\\ b t=\"\"";
        let walked = walk(text);
        assert_eq!(
            walked.actions[1],
            Action::Env(pairs(&[("abc", "bye"), ("def", "hello")]))
        );
        assert_eq!(
            walked.actions[2],
            Action::Env(pairs(&[
                ("ghi", "bye"),
                ("q", "a b"),
                ("r", "$abc"),
                ("s", "a b"),
                ("t", "")
            ]))
        );
        assert_eq!(
            last("FROM a\nENV x  a  \"b\" c"),
            Action::Env(pairs(&[("x", "a  b c")]))
        );
        assert_eq!(
            last("FROM a\nLABEL a.$HOME=\"$HOME\""),
            Action::Label(pairs(&[("a./root", "/root")]))
        );
    }

    #[test]
    fn args_are_given_declared_or_global() {
        let text = "ARG V=1\nARG W\nFROM a\nARG V W X=\"$V-$HOME\" TARGETARCH Y\nENV E=$X.$Y\nARG X=later";
        let value = |v: &str| Some(v.to_owned());
        let own = |list: &[(&str, Option<&str>)]| {
            Action::Arg(
                list.iter()
                    .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
                    .collect(),
            )
        };
        let walked = walk(text);
        assert_eq!(
            walked.actions[0],
            own(&[
                ("V", Some("1")),
                ("W", None),
                ("X", Some("1-/root")),
                ("TARGETARCH", Some("amd64")),
                ("Y", None)
            ])
        );
        assert_eq!(walked.actions[1], Action::Env(pairs(&[("E", "1-/root.")])));
        assert!(walked.found.is_empty(), "{:?}", walked.found);
        assert_eq!(walked.scope.args()[2], ("X".to_owned(), value("later")));
        let given = walk_with(text, &[("V", "2"), ("Y", "y"), ("HTTP_PROXY", "p")], None);
        assert_eq!(given.actions[1], Action::Env(pairs(&[("E", "2-/root.y")])));
        // Of ARG and ENV the later one counts, as BuildKit has it.
        assert_eq!(
            last("FROM a\nENV A=env\nARG A=arg\nENV B=$A"),
            Action::Env(pairs(&[("B", "arg")]))
        );
        assert_eq!(
            last("FROM a\nARG A=arg\nENV A=env\nENV B=$A"),
            Action::Env(pairs(&[("B", "env")]))
        );
        // What is not declared is not there.
        assert_eq!(given.scope.env().get("HTTP_PROXY"), None);
        // ARGs of a stage are those of the stages from it; ARGs before FROM are not.
        assert_eq!(
            last("ARG G=1\nFROM a AS b\nARG L=2\nFROM b\nENV x=$L$G"),
            Action::Env(pairs(&[("x", "2")]))
        );
    }

    #[test]
    fn run_gets_its_heredocs() {
        let run = |text: &str| match last(text) {
            Action::Run(run) => run,
            other => panic!("{other:?}"),
        };
        let shell = |text: &str| Command::Shell(text.to_owned());
        assert_eq!(run("FROM a\nRUN echo $HOME").command, shell("echo $HOME"));
        assert_eq!(run("FROM a\nRUN <<EOF\necho $x\nEOF").command, shell("echo $x\n"));
        assert_eq!(run("FROM a\nRUN <<-EOF\n\techo\n\tEOF").command, shell("echo\n"));
        assert_eq!(
            run("FROM a\nRUN cat <<A <<B\n1\nA\n2\nB").command,
            shell("cat <<A <<B\n1\nA\n2\nB")
        );
        let script = run("FROM a\nRUN <<EOF\n#!/usr/bin/python3\nprint(1)\nEOF");
        assert_eq!(script.command, shell("/dev/pipes/EOF"));
        assert_eq!(script.script.unwrap().text, "#!/usr/bin/python3\nprint(1)\n");
    }

    #[test]
    fn targets_of_mounts_are_absolute() {
        let targets = |text: &str| match walk(text) {
            Walked { error: Some(e), .. } => vec![e],
            Walked { mut actions, .. } => match actions.pop() {
                Some(Action::Run(run)) => run
                    .mounts
                    .into_iter()
                    .map(|mount| match mount {
                        Mount::Bind { target, .. }
                        | Mount::Cache { target, .. }
                        | Mount::Tmpfs { target, .. } => target,
                        Mount::Secret { target, .. } | Mount::Ssh { target, .. } => {
                            target.unwrap_or_default()
                        }
                    })
                    .collect(),
                other => panic!("{other:?}"),
            },
        };
        let text = "FROM a\nWORKDIR /w\nARG d=c\nRUN --mount=target=x --mount=type=cache,target=/$d/ --mount=type=secret,id=s --mount=type=ssh y";
        assert_eq!(targets(text), ["/w/x", "/c", "/run/secrets/s", ""]);
        assert_eq!(
            targets("FROM a\nRUN --mount=target=/ y"),
            ["2: invalid mount target \"/\""]
        );
        assert_eq!(
            targets("FROM a\nRUN --mount=type=bnid,target=/x y"),
            ["2: unsupported mount type \"bnid\" (did you mean bind?)"]
        );
    }

    #[test]
    fn copy_and_add() {
        let copy = |text: &str| match last(text) {
            Action::Copy(copy) => copy,
            other => panic!("{other:?}"),
        };
        let done =
            copy("FROM a\nARG u=app m=u=rwX d=lib\nCOPY --chown=$u:$u --chmod=$m,go= $d/*.so \"x\" ./$d/");
        assert_eq!(
            done.sources,
            [
                Location::Path("lib/*.so".to_owned()),
                Location::Path("x".to_owned())
            ]
        );
        assert_eq!(done.destination, "/base/lib/");
        assert_eq!(done.chown.as_deref(), Some("app:app"));
        assert_eq!(done.chmod.unwrap().apply(0o644, false), 0o600);
        let inline = copy("FROM a\nCOPY <<A <<'B' /x/\n$HOME \"q\" \\$x\nA\n$HOME\nB");
        let texts: Vec<&str> = inline.files.iter().map(|f| f.text.as_str()).collect();
        assert_eq!(texts, ["/root \"q\" $x\n", "$HOME\n"]);
        let add = copy("FROM a\nADD --checksum=sha256:$HOME https://h/x.tar /y");
        assert_eq!(add.sources, [Location::Url("https://h/x.tar".to_owned())]);
        assert_eq!(add.checksum.as_deref(), Some("sha256:/root"));
        assert_eq!(
            copy("FROM a\nCOPY github.com/x y").sources,
            [Location::Path("github.com/x".to_owned())]
        );
        assert_eq!(
            copy("FROM a\nADD ~/sample.txt y").sources,
            [Location::Path("~/sample.txt".to_owned())]
        );
        for (text, message) in [
            ("COPY https://h/x y", "2: source can't be a URL for COPY"),
            ("COPY git@h:x/y.git z", "2: source can't be a git ref for COPY"),
            (
                "COPY --chmod=999 x y",
                "2: invalid chmod parameter: '999'. it should be octal string and between 0 and 07777",
            ),
            (
                "ADD --checksum=x y z",
                "2: checksum requires HTTP(S) or Git sources",
            ),
            (
                "ADD --checksum=x https://a/b https://a/c z/",
                "2: checksum can't be specified for multiple sources",
            ),
            ("COPY --exclude=[ x y", "2: syntax error in pattern: ["),
            (
                "COPY ${x y",
                "2: failed to process \"${x\": syntax error: missing '}'",
            ),
            (
                "COPY <<E y\n${x\nE",
                "3: failed to process \"${x\\n\": unsupported modifier (\n) in substitution",
            ),
        ] {
            assert_eq!(
                walk(&format!("FROM a\n{text}")).error.as_deref(),
                Some(message),
                "{text}"
            );
        }
    }

    #[test]
    fn the_rest() {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let text = |t: &str| t.to_owned();
        for (written, action) in [
            (
                "ARG p=\"8080 9090/udp\"\nEXPOSE $p 53/UDP 7000-7001 9090/udp",
                Action::Expose(strings(&[
                    "8080/tcp", "9090/udp", "53/udp", "7000/tcp", "7001/tcp",
                ])),
            ),
            ("WORKDIR $HOME/x/../y", Action::Workdir(text("/root/y"))),
            ("WORKDIR a\nWORKDIR b", Action::Workdir(text("/base/a/b"))),
            ("WORKDIR ~/sample", Action::Workdir(text("/base/~/sample"))),
            ("USER ${u:-app}", Action::User(text("app"))),
            ("VOLUME $HOME /b", Action::Volume(strings(&["/root", "/b"]))),
            ("STOPSIGNAL SIG${s:-TERM}", Action::Stopsignal(text("SIGTERM"))),
            ("CMD echo $HOME", Action::Cmd(Command::Shell(text("echo $HOME")))),
            ("ONBUILD RUN $x", Action::Onbuild(text("RUN $x"))),
            ("MAINTAINER a $x <b>", Action::Maintainer(text("a $x <b>"))),
            ("SHELL [\"$x\"]", Action::Shell(strings(&["$x"]))),
        ] {
            assert_eq!(last(&format!("FROM a\n{written}")), action, "{written}");
        }
        for (written, message) in [
            (
                "EXPOSE 80/icmp",
                "2: invalid port: \"80/icmp\": invalid proto: icmp",
            ),
            ("EXPOSE \\\n  80 \\\n  http", "4: invalid containerPort: http"),
            ("STOPSIGNAL SIGFOO", "2: invalid signal: SIGFOO"),
            (
                "VOLUME $nothing",
                "2: VOLUME specified can not be an empty string",
            ),
            ("USER ${x:?who}", "2: failed to process \"${x:?who}\": x: who"),
            (
                "EXPOSE 0-65535 0-65535/udp 0-65535/sctp 1-65535 2-65535",
                "2: there are more than 262144 ports",
            ),
        ] {
            assert_eq!(
                walk(&format!("FROM a\n{written}")).error.as_deref(),
                Some(message),
                "{written}"
            );
        }
    }

    #[test]
    fn findings() {
        for (written, found) in [
            (
                "WORKDIR a\nWORKDIR b",
                vec![
                    "2: WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes",
                ],
            ),
            (
                "ENV a=$HOEM",
                vec!["2: UndefinedVar: Usage of undefined variable '$HOEM' (did you mean $HOME?)"],
            ),
            ("ARG x\nENV a=$x$HOME", vec![]),
            (
                "ENV a b\nLABEL c d",
                vec![
                    "2: LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
                    "3: LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
                ],
            ),
            (
                "CMD a\nCMD [\"b\"]",
                vec![
                    "2: JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
                    "2: MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
                ],
            ),
            ("SHELL [\"bash\"]\nENTRYPOINT a", vec![]),
            (
                "ARG API_KEY\nENV TOKEN=x PUBLIC_KEY=y",
                vec![
                    "2: SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\")",
                    "3: SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"TOKEN\")",
                ],
            ),
            (
                "EXPOSE 80/TCP 1:2",
                vec![
                    "2: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:2'",
                    "2: ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
                ],
            ),
            (
                "# check=skip=UndefinedVar\nENV a=$first\nENV c=$second",
                vec!["4: UndefinedVar: Usage of undefined variable '$second'"],
            ),
        ] {
            assert_eq!(walk(&format!("FROM a\n{written}")).found, found, "{written}");
        }
        let ignore = Matcher::of(&["*.md", "tmp"]).unwrap();
        let text = "FROM a\nCOPY README.md ./tmp/x src /d/\nADD tmp /d\nCOPY . /d\nCOPY --from=a tmp /d";
        assert_eq!(
            walk_with(text, &[], Some(&ignore)).found,
            [
                "2: CopyIgnoredFile: Attempting to Copy file \"README.md\" that is excluded by .dockerignore",
                "2: CopyIgnoredFile: Attempting to Copy file \"tmp/x\" that is excluded by .dockerignore",
                "3: CopyIgnoredFile: Attempting to Add file \"tmp\" that is excluded by .dockerignore",
            ]
        );
        let all = Matcher::of(&["*"]).unwrap();
        assert_eq!(walk_with("FROM a\nCOPY . /d", &[], Some(&all)).found.len(), 1);
    }

    #[test]
    fn triggers_are_shown_at_their_from() {
        let walked = walk("FROM a AS b\nONBUILD STOPSIGNAL x\nFROM b\nUSER u");
        assert_eq!(
            walked.error.unwrap(),
            "3: ONBUILD STOPSIGNAL x: invalid signal: x"
        );
        let walked = walk("FROM a AS b\nONBUILD ENV y=$some\nFROM b\nUSER u");
        assert_eq!(
            walked.found,
            ["3: UndefinedVar: Usage of undefined variable '$some'"]
        );
    }

    #[test]
    fn an_environment_that_doubles_ends() {
        let mut text = "FROM a\nENV x=0123456789abcdef\n".to_owned();
        text.push_str(&"ENV x=$x$x\n".repeat(40));
        let error = walk(&text).error.unwrap();
        assert!(error.contains("the variables come to more than 8 MiB"), "{error}");
    }
}
