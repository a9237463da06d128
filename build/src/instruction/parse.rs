//! From lines to instructions.

use std::collections::HashMap;

use crate::lines::{self, Line};
use crate::source::{Problem, Result, Source, Span, quoted};
use crate::suggest;
use crate::values::duration;
use crate::words::{self, Json, Word};

use super::flags::Flags;
use super::{
    Arg, Body, Command, Copy, Device, From, Health, Inline, Instruction, Keyword, Network, Pair, Run,
    StageName, Trigger, Value, mount,
};

/// So many problems of one file are told; whoever has more has given another file.
const MOST_PROBLEMS: usize = 50;

/// Health checks are not made more often.
const LEAST_INTERVAL: i64 = 1_000_000;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    pub instructions: Vec<Instruction>,
    pub escape: char,
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with its instructions, in order: who corrects a file wants the list.
pub fn read(source: &Source) -> Result<Dockerfile, Vec<Problem>> {
    let lines = lines::read(source).map_err(|problem| vec![problem])?;
    let (mut instructions, mut problems) = (Vec::new(), Vec::new());
    for line in lines.lines {
        match instruction(line, lines.escape) {
            Ok(instruction) => instructions.push(instruction),
            Err(problem) => problems.push(problem),
        }
        if problems.len() == MOST_PROBLEMS {
            break;
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Dockerfile {
        instructions,
        escape: lines.escape,
    })
}

/// Reads the text of an ONBUILD as an image has it.
///
/// # Errors
/// It is wrong, or more than one instruction.
pub fn trigger(source: &Source) -> Result<Instruction> {
    let lines = lines::read(source)?;
    match <[Line; 1]>::try_from(lines.lines) {
        Ok([line]) => instruction(line, lines.escape),
        Err(_) => Err(Problem::new(
            Span::new(0, source.text().len()),
            "onbuild trigger should be a single expression",
        )),
    }
}

fn instruction(line: Line, escape: char) -> Result<Instruction> {
    let (head, rest) = words::first(&line.text, 0..line.text.len());
    let written = line.text.get(head.clone()).unwrap_or_default().to_owned();
    let head = line.span(head);
    let Some(keyword) = Keyword::of(&written) else {
        let near = suggest::nearest_in_case(&written, Keyword::ALL.map(Keyword::name));
        let message = format!("unknown instruction: {written}");
        return Err(Problem::new(head, message).suggesting(near));
    };
    let (flags, arguments) = words::flags(&line.text, rest, escape);
    let body = Parser {
        keyword,
        line: &line,
        escape,
        head,
        flags,
        arguments,
    }
    .body()?;
    Ok(Instruction {
        keyword,
        written,
        text: line.text.trim().to_owned(),
        span: line.whole,
        head,
        comments: line.comments,
        empty: line.empty,
        body,
    })
}

/// Arguments as a list.
struct List {
    values: Vec<Value>,
    is_json: bool,
}

struct Parser<'a> {
    keyword: Keyword,
    line: &'a Line,
    escape: char,
    head: Span,
    flags: Vec<words::Flag>,
    arguments: std::ops::Range<usize>,
}

impl Parser<'_> {
    fn body(&self) -> Result<Body> {
        match self.keyword {
            Keyword::Add | Keyword::Copy => self.copy().map(Body::Copy),
            Keyword::Arg => self.arg().map(Body::Arg),
            Keyword::From => self.from().map(Body::From),
            Keyword::Healthcheck => self.healthcheck().map(Body::Healthcheck),
            Keyword::Onbuild => self.onbuild().map(Body::Onbuild),
            Keyword::Run => self.run().map(Body::Run),
            Keyword::Stopsignal => self.one().map(Body::Stopsignal),
            keyword => {
                self.flags()?;
                self.without_flags(keyword)
            }
        }
    }

    /// Those that have no flags of their own: a flag is an error all the same.
    fn without_flags(&self, keyword: Keyword) -> Result<Body> {
        match keyword {
            Keyword::Env => self.pairs().map(Body::Env),
            Keyword::Label => self.pairs().map(Body::Label),
            Keyword::Expose => self.expose().map(Body::Expose),
            Keyword::Entrypoint => self.command().map(Body::Entrypoint),
            Keyword::User => self.one().map(Body::User),
            Keyword::Workdir => self.one().map(Body::Workdir),
            Keyword::Volume => self.volume().map(Body::Volume),
            Keyword::Shell => self.shell().map(Body::Shell),
            Keyword::Maintainer => self.one().map(|name| Body::Maintainer(name.text)),
            _ => self.command().map(Body::Cmd),
        }
    }

    fn flags(&self) -> Result<Flags> {
        Flags::read(self.keyword, self.line, &self.flags)
    }

    fn rest(&self) -> &str {
        self.line.text.get(self.arguments.clone()).unwrap_or_default()
    }

    /// Where the arguments are; the keyword where there are none.
    fn place(&self) -> Span {
        if self.rest().is_empty() {
            self.head
        } else {
            self.line.span(self.arguments.clone())
        }
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Problem::new(self.place(), message))
    }

    fn requires<T>(&self, what: &str) -> Result<T> {
        self.wrong(format!("{} requires {what}", self.keyword.name()))
    }

    fn value(&self, word: Word) -> Value {
        Value {
            text: word.text,
            span: self.line.span(word.range),
        }
    }

    fn words(&self) -> Vec<Value> {
        let words = words::blank_separated(&self.line.text, self.arguments.clone());
        words.into_iter().map(|word| self.value(word)).collect()
    }

    /// Everything, as one.
    fn one(&self) -> Result<Value> {
        if self.rest().is_empty() {
            return self.requires("exactly one argument");
        }
        Ok(Value {
            text: self.rest().to_owned(),
            span: self.place(),
        })
    }

    fn json(&self, text: &str) -> Result<Option<Vec<String>>> {
        match words::json(text) {
            Json::Strings(strings) => Ok(Some(strings)),
            Json::No => Ok(None),
            Json::Others => {
                self.wrong("when using JSON array syntax, arrays must be comprised of strings only")
            }
        }
    }

    fn list(&self) -> Result<List> {
        let span = self.place();
        Ok(match self.json(self.rest())? {
            Some(strings) => List {
                values: strings.into_iter().map(|text| Value { text, span }).collect(),
                is_json: true,
            },
            None => List {
                values: self.words(),
                is_json: false,
            },
        })
    }

    fn command_of(&self, text: &str) -> Result<Command> {
        Ok(match self.json(text)? {
            Some(words) => Command::Exec(words),
            None => Command::Shell(text.to_owned()),
        })
    }

    fn command(&self) -> Result<Command> {
        self.command_of(self.rest())
    }

    fn from(&self) -> Result<From> {
        let words = self.words();
        let (base, name) = match <[Value; 3]>::try_from(words) {
            Ok([base, keyword, written]) if keyword.text.eq_ignore_ascii_case("as") => {
                (base, Some(stage_name(keyword.text, written)?))
            }
            Ok(_) => return self.requires("either one or three arguments"),
            Err(words) => match <[Value; 1]>::try_from(words) {
                Ok([base]) => (base, None),
                Err(_) => return self.requires("either one or three arguments"),
            },
        };
        Ok(From {
            base,
            name,
            platform: self.flags()?.text("platform"),
        })
    }

    fn arg(&self) -> Result<Vec<Arg>> {
        let words = words::quoted(&self.line.text, self.arguments.clone(), self.escape);
        if words.is_empty() {
            return self.requires("at least one argument");
        }
        let read = |word: Word| {
            let span = self.line.span(word.range);
            let (name, default) = match word.text.split_once('=') {
                Some(("", _)) => return Err(Problem::new(span, "ARG names can not be blank")),
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.text, None),
            };
            Ok(Arg {
                description: self.description(&name),
                name,
                default,
                span,
            })
        };
        words.into_iter().map(read).collect()
    }

    /// What a comment above says of a name.
    fn description(&self, name: &str) -> Option<String> {
        let said = |text: &str| text.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        self.line.comments.iter().find_map(|comment| said(&comment.text))
    }

    /// `k=v ...`, or `k v`: what comes first in the first word decides, the blank or the equals sign.
    fn pairs(&self) -> Result<Vec<Pair>> {
        let keyword = self.keyword.name();
        let words = words::quoted(&self.line.text, self.arguments.clone(), self.escape);
        let Some(first) = words.first() else {
            return self.requires("at least one argument");
        };
        if !first.text.contains('=') {
            let (name, value) = words::first(&self.line.text, self.arguments.clone());
            let text =
                |range: std::ops::Range<usize>| self.line.text.get(range).unwrap_or_default().to_owned();
            if value.is_empty() {
                return self.wrong(format!("{keyword} must have two arguments"));
            }
            return Ok(vec![Pair {
                name: text(name),
                value: text(value),
                is_legacy: true,
                span: self.place(),
            }]);
        }
        let read = |word: Word| {
            let span = self.line.span(word.range);
            let Some((name, value)) = word.text.split_once('=') else {
                let word = quoted(&word.text);
                let message =
                    format!("Syntax error - can't find = in {word}. Must be of the form: name=value");
                return Err(Problem::new(span, message));
            };
            if name.is_empty() {
                return Err(Problem::new(span, format!("{keyword} names can not be blank")));
            }
            Ok(Pair {
                name: name.to_owned(),
                value: value.to_owned(),
                is_legacy: false,
                span,
            })
        };
        words.into_iter().map(read).collect()
    }

    fn run(&self) -> Result<Run> {
        let flags = self.flags()?;
        let one_of = |value: Option<Value>| value.map(|v| (v.text, v.span));
        let network = match one_of(flags.text("network")) {
            None => Network::Default,
            Some((text, span)) => match text.as_str() {
                "default" => Network::Default,
                "none" => Network::None,
                "host" => Network::Host,
                text => {
                    return Err(Problem::new(
                        span,
                        format!("invalid network mode {}", quoted(text)),
                    ));
                }
            },
        };
        let is_insecure = match one_of(flags.text("security")) {
            None => false,
            Some((text, span)) => match text.as_str() {
                "sandbox" => false,
                "insecure" => true,
                text => {
                    return Err(Problem::new(
                        span,
                        format!("security {} is not valid", quoted(text)),
                    ));
                }
            },
        };
        Ok(Run {
            command: self.command()?,
            heredocs: self.line.heredocs.iter().map(inline).collect(),
            mounts: flags
                .texts("mount")
                .iter()
                .map(mount::Written::read)
                .collect::<Result<_>>()?,
            network,
            is_insecure,
            devices: flags
                .texts("device")
                .iter()
                .map(Device::read)
                .collect::<Result<_>>()?,
        })
    }

    fn copy(&self) -> Result<Copy> {
        let keyword = self.keyword.name();
        let List { mut values, is_json } = self.list()?;
        let destination = values.pop().filter(|_| !values.is_empty());
        let Some(destination) = destination else {
            return self.requires(
                "at least two arguments, but only one was provided. Destination could not be determined",
            );
        };
        let flags = self.flags()?;
        let as_heredoc = |value: &Value| lines::heredoc(&value.text).ok().flatten().filter(|_| !is_json);
        if as_heredoc(&destination).is_some() {
            let message = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(Problem::new(destination.span, message));
        }
        // Two of one name are one file with the last content.
        let mut bodies: HashMap<&str, &lines::Heredoc> = HashMap::new();
        bodies.extend(self.line.heredocs.iter().map(|h| (h.name.as_str(), h)));
        let (mut sources, mut heredocs) = (Vec::new(), Vec::new());
        for value in values {
            match as_heredoc(&value) {
                Some(word) => heredocs.extend(bodies.remove(word.name.as_str()).map(inline)),
                None => sources.push(value),
            }
        }
        Ok(Copy {
            sources,
            heredocs,
            destination,
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.boolean("link").unwrap_or_default(),
            exclude: flags
                .texts("exclude")
                .into_iter()
                .map(|value| value.text)
                .collect(),
            from: flags.text("from"),
            parents: flags.boolean("parents").unwrap_or_default(),
            checksum: flags.text("checksum"),
            keep_git_dir: flags.boolean("keep-git-dir"),
            unpack: flags.boolean("unpack"),
        })
    }

    fn expose(&self) -> Result<Vec<Value>> {
        let mut words = self.words();
        if words.is_empty() {
            return self.requires("at least one argument");
        }
        words.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(words)
    }

    fn volume(&self) -> Result<Vec<Value>> {
        let mut list = self.list()?.values;
        if list.is_empty() {
            return self.requires("at least one argument");
        }
        for value in &mut list {
            value.text = value.text.trim().to_owned();
            if value.text.is_empty() {
                return Err(Problem::new(
                    value.span,
                    "VOLUME specified can not be an empty string",
                ));
            }
        }
        Ok(list)
    }

    fn shell(&self) -> Result<Vec<String>> {
        match self.command()? {
            Command::Exec(words) if !words.is_empty() => Ok(words),
            Command::Shell(text) if !text.is_empty() => self.requires("the arguments to be in JSON form"),
            _ => self.requires("at least one argument"),
        }
    }

    fn onbuild(&self) -> Result<Trigger> {
        self.flags()?;
        let (inner, rest) = words::first(&self.line.text, self.arguments.clone());
        let inner = self.line.text.get(inner).unwrap_or_default();
        match Keyword::of(inner) {
            _ if inner.is_empty() => return self.requires("at least one argument"),
            Some(Keyword::Onbuild) => {
                return self.wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
            }
            Some(keyword @ (Keyword::Maintainer | Keyword::From)) => {
                return self.wrong(format!("{} isn't allowed as an ONBUILD trigger", keyword.name()));
            }
            // What is wrong with its words is found here; with their meaning, where the trigger is used.
            Some(keyword) => self.inner(keyword, rest)?,
            None => {}
        }
        let mut expression = self.rest().to_owned();
        for heredoc in &self.line.heredocs {
            expression.push('\n');
            expression.push_str(&heredoc.content);
            expression.push_str(&heredoc.name);
        }
        Ok(Trigger { expression })
    }

    fn inner(&self, keyword: Keyword, rest: std::ops::Range<usize>) -> Result<()> {
        let (flags, arguments) = words::flags(&self.line.text, rest, self.escape);
        let inner = Parser {
            keyword,
            line: self.line,
            escape: self.escape,
            head: self.head,
            flags,
            arguments,
        };
        match keyword {
            Keyword::Env | Keyword::Label if !inner.rest().is_empty() => inner.pairs().map(|_| ()),
            Keyword::Add
            | Keyword::Copy
            | Keyword::Cmd
            | Keyword::Entrypoint
            | Keyword::Run
            | Keyword::Shell
            | Keyword::Volume => inner.json(inner.rest()).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn healthcheck(&self) -> Result<Health> {
        let rest = self.rest();
        if rest.is_empty() {
            return self.requires("at least one argument");
        }
        let (kind, command) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        let command = command.trim_start();
        let kind = kind.to_uppercase();
        if kind == "NONE" {
            if !command.is_empty() {
                return self.wrong("HEALTHCHECK NONE takes no arguments");
            }
            return Ok(Health {
                test: vec![kind],
                ..Health::default()
            });
        }
        let flags = self.flags()?;
        if kind != "CMD" {
            return self.wrong(format!("Unknown type {} in HEALTHCHECK (try CMD)", quoted(&kind)));
        }
        let test = match self.command_of(command)? {
            Command::Exec(words) if !words.is_empty() => [vec![kind], words].concat(),
            Command::Shell(text) if !text.is_empty() => vec!["CMD-SHELL".to_owned(), text],
            _ => return self.wrong("Missing command after HEALTHCHECK CMD"),
        };
        Ok(Health {
            test,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: flags.text("retries").map_or(Ok(0), |value| retries(&value))?,
        })
    }
}

fn stage_name(keyword: String, written: Value) -> Result<StageName> {
    let name = written.text.to_lowercase();
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    if !is_name {
        let message = format!(
            "invalid name for build stage: {}, name can't start with a number or contain symbols",
            quoted(&written.text)
        );
        return Err(Problem::new(written.span, message));
    }
    Ok(StageName {
        name,
        written,
        keyword,
    })
}

fn inline(heredoc: &lines::Heredoc) -> Inline {
    Inline {
        name: heredoc.name.clone(),
        content: heredoc.content.clone(),
        chomp: heredoc.chomp,
        expand: heredoc.expand,
        span: heredoc.span,
    }
}

fn interval(flags: &Flags, name: &str) -> Result<i64> {
    let Some(value) = flags.text(name) else {
        return Ok(0);
    };
    let time = duration::parse(&value.text).map_err(|e| Problem::new(value.span, e))?;
    if time != 0 && time < LEAST_INTERVAL {
        let message = format!("Interval {} cannot be less than 1ms", quoted(name));
        return Err(Problem::new(value.span, message));
    }
    Ok(time)
}

fn retries(value: &Value) -> Result<u32> {
    let text = &value.text;
    let wrong = |message: String| Problem::new(value.span, message);
    let number: i32 = text.parse().map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        wrong(format!("strconv.ParseInt: parsing {}: {why}", quoted(text)))
    })?;
    u32::try_from(number).map_err(|_| wrong(format!("--retries cannot be negative ({number})")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Instruction>, String> {
        let source = Source::new("Dockerfile", text).unwrap();
        let shown = |problems: Vec<Problem>| {
            problems
                .iter()
                .map(Problem::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        read(&source).map(|file| file.instructions).map_err(shown)
    }

    fn body(text: &str) -> Body {
        read_text(text).unwrap().remove(0).body
    }

    /// Texts of values, which have spans that no table wants to have.
    fn texts(values: &[Value]) -> Vec<&str> {
        values.iter().map(|v| v.text.as_str()).collect()
    }

    #[test]
    fn from_has_a_name_and_a_platform() {
        let Body::From(from) = body("from --platform=$BUILDPLATFORM golang:1.22 as Build-1.x_y") else {
            panic!()
        };
        let name = from.name.unwrap();
        assert_eq!(
            (from.base.text.as_str(), name.name.as_str()),
            ("golang:1.22", "build-1.x_y")
        );
        assert_eq!(
            (name.written.text.as_str(), name.keyword.as_str()),
            ("Build-1.x_y", "as")
        );
        assert_eq!(from.platform.unwrap().text, "$BUILDPLATFORM");
    }

    #[test]
    fn exec_and_shell_form() {
        let exec = |words: &[&str]| Command::Exec(words.iter().map(|w| (*w).to_owned()).collect());
        let shell = |text: &str| Command::Shell(text.to_owned());
        for (text, command) in [
            ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
            ("CMD a \"b c\"", shell("a \"b c\"")),
            ("CMD ['a']", shell("['a']")),
            ("CMD [\u{201c}a\u{201d}]", shell("[\u{201c}a\u{201d}]")),
            ("CMD [\"echo $PATH\"]", exec(&["echo $PATH"])),
            ("CMD []", exec(&[])),
            ("CMD", shell("")),
            ("CMD -- --version", shell("--version")),
        ] {
            assert_eq!(body(text), Body::Cmd(command), "{text}");
        }
        let Body::Run(run) =
            body("RUN --network=none --security=insecure --device=a,required a && \\\n # c\n b")
        else {
            panic!()
        };
        assert_eq!(run.command, shell("a &&  b"));
        assert_eq!((run.network, run.is_insecure), (Network::None, true));
        assert!(run.devices[0].required);
    }

    #[test]
    fn pairs_old_and_new() {
        let pairs = |text: &str| match body(text) {
            Body::Env(pairs) | Body::Label(pairs) => pairs
                .into_iter()
                .map(|p| (p.name, p.value, p.is_legacy))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let own = |list: &[(&str, &str)], legacy: bool| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned(), legacy);
            list.iter().map(pair).collect::<Vec<_>>()
        };
        assert_eq!(
            pairs("ENV A=1 B=\"2 3\" C='4' D=5\\ 6 E="),
            own(
                &[
                    ("A", "1"),
                    ("B", "\"2 3\""),
                    ("C", "'4'"),
                    ("D", "5\\ 6"),
                    ("E", "")
                ],
                false
            )
        );
        assert_eq!(pairs("ENV A  b = c"), own(&[("A", "b = c")], true));
        assert_eq!(
            pairs("LABEL \"com.example\"=x \\\n y=$z"),
            own(&[("\"com.example\"", "x"), ("y", "$z")], false)
        );
        assert_eq!(pairs("ENV A=b=c"), own(&[("A", "b=c")], false));
    }

    #[test]
    fn args_have_defaults_and_descriptions() {
        let Body::Arg(args) = body("# B what it is\n# other\nARG A B=\"1 2\" C=") else {
            panic!()
        };
        let shown: Vec<_> = args
            .iter()
            .map(|a| (a.name.as_str(), a.default.as_deref(), a.description.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("A", None, None),
                ("B", Some("\"1 2\""), Some("what it is")),
                ("C", Some(""), None)
            ]
        );
    }

    #[test]
    fn copy_and_add() {
        let Body::Copy(copy) = body(
            "COPY --from=build --chown=a:b --chmod=u+x --link --parents=false --exclude=*.md --exclude=x a \"b c\" /d/",
        ) else {
            panic!()
        };
        assert_eq!(texts(&copy.sources), ["a", "\"b", "c\""]);
        assert_eq!(copy.destination.text, "/d/");
        assert_eq!(copy.from.unwrap().text, "build");
        assert_eq!((copy.link, copy.parents), (true, false));
        assert_eq!(copy.exclude, ["*.md", "x"]);
        let Body::Copy(copy) = body("COPY [\"a b\", \"/d e/\"]") else {
            panic!()
        };
        assert_eq!(
            (texts(&copy.sources), copy.destination.text.as_str()),
            (vec!["a b"], "/d e/")
        );
        let Body::Copy(add) =
            body("ADD --checksum=sha256:1 --keep-git-dir=true --unpack=false https://x/y /z")
        else {
            panic!()
        };
        assert_eq!(add.checksum.unwrap().text, "sha256:1");
        assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
        let Body::Copy(copy) = body("COPY a <<-F <<\"G\" /d/\n\tx\nF\ny\nG") else {
            panic!()
        };
        let inline: Vec<_> = copy
            .heredocs
            .iter()
            .map(|h| (h.name.as_str(), h.content.as_str(), h.expand))
            .collect();
        assert_eq!(inline, [("F", "\tx\n", true), ("G", "y\n", false)]);
        assert_eq!(texts(&copy.sources), ["a"]);
    }

    #[test]
    fn health_checks() {
        let Body::Healthcheck(health) = body(
            "HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --start-interval=500ms --retries=2 CMD curl -f x || exit 1",
        ) else {
            panic!()
        };
        assert_eq!(health.test, ["CMD-SHELL", "curl -f x || exit 1"]);
        assert_eq!((health.interval, health.timeout), (5_000_000_000, 3_000_000_000));
        assert_eq!(
            (health.start_period, health.start_interval, health.retries),
            (60_000_000_000, 500_000_000, 2)
        );
        let Body::Healthcheck(health) = body("HEALTHCHECK cmd [\"a\"]") else {
            panic!()
        };
        assert_eq!(health.test, ["CMD", "a"]);
        let Body::Healthcheck(health) = body("HEALTHCHECK none") else {
            panic!()
        };
        assert_eq!(health.test, ["NONE"]);
    }

    #[test]
    fn onbuild_keeps_its_text() {
        let expression = |text: &str| match body(text) {
            Body::Onbuild(trigger) => trigger.expression,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            expression("onbuild  RUN  --mount=type=tmpfs,target=/x a\\\n b"),
            "RUN  --mount=type=tmpfs,target=/x a b"
        );
        assert_eq!(expression("ONBUILD COPY <<E /x\n1\nE\n"), "COPY <<E /x\n1\nE");
        let again = Source::new("ONBUILD", expression("ONBUILD COPY <<E <<F /x/\n1\nE\n2\nF\n")).unwrap();
        let Body::Copy(copy) = trigger(&again).unwrap().body else {
            panic!()
        };
        assert_eq!(copy.heredocs.len(), 2);
        let two = Source::new("ONBUILD", "RUN a\nRUN b").unwrap();
        assert_eq!(
            trigger(&two).unwrap_err().message,
            "onbuild trigger should be a single expression"
        );
    }

    #[test]
    fn wrong_instructions() {
        for (text, message) in [
            ("EXPOSS 22", "unknown instruction: EXPOSS (did you mean EXPOSE?)"),
            ("runn x", "unknown instruction: runn (did you mean run?)"),
            ("INSTALL x", "unknown instruction: INSTALL"),
            ("FROM", "FROM requires either one or three arguments"),
            ("FROM a b", "FROM requires either one or three arguments"),
            ("FROM a is b", "FROM requires either one or three arguments"),
            (
                "FROM a AS 1b",
                "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
            ),
            (
                "FROM --platfrom=x a",
                "unknown flag: --platfrom (did you mean platform?)",
            ),
            ("FROM --platform a", "missing a value on flag: --platform"),
            (
                "FROM --platform=x --platform=y a",
                "duplicate flag specified: --platform",
            ),
            (
                "RUN --mout=type=bind x",
                "unknown flag: --mout (did you mean mount?)",
            ),
            ("RUN --network=bridge x", "invalid network mode \"bridge\""),
            ("RUN --security=none x", "security \"none\" is not valid"),
            (
                "RUN --mount=from=$x,target=/y z",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
            (
                "RUN [\"a\", 1]",
                "when using JSON array syntax, arrays must be comprised of strings only",
            ),
            (
                "COPY a",
                "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ),
            (
                "ADD",
                "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
            ),
            (
                "COPY --link=maybe a b",
                "expecting boolean value for flag --link, not: maybe",
            ),
            ("COPY --link= a b", "missing a value on flag: --link"),
            ("COPY --checksum=x a b", "unknown flag: --checksum"),
            ("ADD --from=x a b", "unknown flag: --from"),
            ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
            ("COPY <<E /x\n", "unterminated heredoc: no line is E"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            (
                "ENV A=1 B",
                "Syntax error - can't find = in \"B\". Must be of the form: name=value",
            ),
            ("ENV =1", "ENV names can not be blank"),
            ("ENV --x A=1", "unknown flag: --x"),
            ("LABEL A", "LABEL must have two arguments"),
            ("ARG", "ARG requires at least one argument"),
            ("ARG =1", "ARG names can not be blank"),
            ("EXPOSE", "EXPOSE requires at least one argument"),
            ("USER", "USER requires exactly one argument"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("MAINTAINER", "MAINTAINER requires exactly one argument"),
            ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            ("VOLUME [\" \"]", "VOLUME specified can not be an empty string"),
            ("SHELL", "SHELL requires at least one argument"),
            ("SHELL []", "SHELL requires at least one argument"),
            ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
            ("ONBUILD", "ONBUILD requires at least one argument"),
            (
                "ONBUILD ONBUILD RUN x",
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ),
            ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
            (
                "ONBUILD MAINTAINER x",
                "MAINTAINER isn't allowed as an ONBUILD trigger",
            ),
            ("ONBUILD ENV A", "ENV must have two arguments"),
            ("CMD --version", "unknown flag: --version"),
            ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            (
                "HEALTHCHECK TCP 80",
                "Unknown type \"TCP\" in HEALTHCHECK (try CMD)",
            ),
            (
                "HEALTHCHECK --interval=5 CMD x",
                "time: missing unit in duration \"5\"",
            ),
            (
                "HEALTHCHECK --interval=5us CMD x",
                "Interval \"interval\" cannot be less than 1ms",
            ),
            (
                "HEALTHCHECK --retries=x CMD x",
                "strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "HEALTHCHECK --retries=-1 CMD x",
                "--retries cannot be negative (-1)",
            ),
            (
                "HEALTHCHECK --interva=5s CMD x",
                "unknown flag: --interva (did you mean interval?)",
            ),
        ] {
            assert_eq!(read_text(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_with_their_places() {
        let source = Source::new("Dockerfile", "FROM a\nRUNN x\nCOPY --chwon=x a \\\n  b\n").unwrap();
        let problems = read(&source).unwrap_err();
        let shown: String = problems.iter().map(|p| source.show(p)).collect();
        assert_eq!(
            shown,
            "Dockerfile:2: unknown instruction: RUNN (did you mean RUN?)\n   2 | RUNN x\n     | ^^^^\n\
             Dockerfile:3: unknown flag: --chwon (did you mean chown?)\n   3 | COPY --chwon=x a \\\n     |      ^^^^^^^^^\n"
        );
        assert_eq!(
            read(&Source::new("f", "BAD\n".repeat(1000)).unwrap())
                .unwrap_err()
                .len(),
            MOST_PROBLEMS
        );
    }
}
