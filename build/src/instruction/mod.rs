//! Instructions: what is written, in types. Nothing is expanded yet, and whether a stage is needed at all is not known.
//!
//! May not: refuse what BuildKit takes. An error here is one that BuildKit has while it reads the file; what it only finds when it
//! comes to an instruction of a stage that is needed (`scope`) is no error of the others.

mod flags;
pub mod mount;
mod parse;

use crate::lines::Comment;
use crate::source::Span;

pub use parse::{Dockerfile, read, trigger};

/// The instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    pub const ALL: [Keyword; 18] = [
        Keyword::Add,
        Keyword::Arg,
        Keyword::Cmd,
        Keyword::Copy,
        Keyword::Entrypoint,
        Keyword::Env,
        Keyword::Expose,
        Keyword::From,
        Keyword::Healthcheck,
        Keyword::Label,
        Keyword::Maintainer,
        Keyword::Onbuild,
        Keyword::Run,
        Keyword::Shell,
        Keyword::Stopsignal,
        Keyword::User,
        Keyword::Volume,
        Keyword::Workdir,
    ];

    /// In upper case.
    pub fn name(self) -> &'static str {
        match self {
            Keyword::Add => "ADD",
            Keyword::Arg => "ARG",
            Keyword::Cmd => "CMD",
            Keyword::Copy => "COPY",
            Keyword::Entrypoint => "ENTRYPOINT",
            Keyword::Env => "ENV",
            Keyword::Expose => "EXPOSE",
            Keyword::From => "FROM",
            Keyword::Healthcheck => "HEALTHCHECK",
            Keyword::Label => "LABEL",
            Keyword::Maintainer => "MAINTAINER",
            Keyword::Onbuild => "ONBUILD",
            Keyword::Run => "RUN",
            Keyword::Shell => "SHELL",
            Keyword::Stopsignal => "STOPSIGNAL",
            Keyword::User => "USER",
            Keyword::Volume => "VOLUME",
            Keyword::Workdir => "WORKDIR",
        }
    }

    /// In any case.
    pub fn of(word: &str) -> Option<Keyword> {
        Keyword::ALL
            .into_iter()
            .find(|k| k.name().eq_ignore_ascii_case(word))
    }
}

/// An instruction of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub keyword: Keyword,
    /// The keyword in the case that it is written in.
    pub written: String,
    /// The instruction without continuations and comments, as progress and history show it.
    pub text: String,
    /// All of it, heredocs too.
    pub span: Span,
    /// The keyword alone.
    pub head: Span,
    /// Directly above it.
    pub comments: Vec<Comment>,
    /// An empty line within it.
    pub empty: Option<Span>,
    pub body: Body,
}

/// What stands behind the keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    From(From),
    Arg(Vec<Arg>),
    Run(Run),
    /// COPY, and ADD, which has other flags.
    Copy(Copy),
    Env(Vec<Pair>),
    Label(Vec<Pair>),
    /// In the order of their text, as BuildKit has them.
    Expose(Vec<Value>),
    Cmd(Command),
    Entrypoint(Command),
    User(Value),
    Workdir(Value),
    Volume(Vec<Value>),
    Stopsignal(Value),
    Shell(Vec<String>),
    Onbuild(Trigger),
    Healthcheck(Health),
    Maintainer(String),
}

/// A text that may have variables, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    pub base: Value,
    pub name: Option<StageName>,
    pub platform: Option<Value>,
}

/// `AS name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageName {
    /// In lower case, as it is known.
    pub name: String,
    pub written: Value,
    /// `AS`, in the case that it is written in.
    pub keyword: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    pub name: String,
    pub default: Option<String>,
    /// What a comment above says of it: `# NAME ...`.
    pub description: Option<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    pub value: String,
    /// `NAME value`, which is an old form.
    pub is_legacy: bool,
    pub span: Span,
}

/// What is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// These words.
    Exec(Vec<String>),
    /// By the shell that is set.
    Shell(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    pub heredocs: Vec<Inline>,
    pub mounts: Vec<mount::Written>,
    pub network: Network,
    pub is_insecure: bool,
    pub devices: Vec<Device>,
}

/// A heredoc that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    pub name: String,
    /// As it is written.
    pub content: String,
    pub chomp: bool,
    pub expand: bool,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    Default,
    None,
    Host,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    pub sources: Vec<Value>,
    pub heredocs: Vec<Inline>,
    pub destination: Value,
    pub chown: Option<Value>,
    pub chmod: Option<Value>,
    pub link: bool,
    pub exclude: Vec<String>,
    /// Of COPY: another stage, image or context.
    pub from: Option<Value>,
    /// Of COPY.
    pub parents: bool,
    /// Of ADD: the digest of a download, or the commit.
    pub checksum: Option<Value>,
    /// Of ADD.
    pub keep_git_dir: Option<bool>,
    /// Of ADD.
    pub unpack: Option<bool>,
}

/// What is done in builds that begin from the image that is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The instruction as a configuration has it, with its heredocs.
    pub expression: String,
}

/// A health check. Times are nanoseconds, and 0 is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// As a configuration has it: `NONE`; `CMD` and words; `CMD-SHELL` and a text.
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: u32,
}
