//! What is not wrong but should be otherwise: BuildKit's rules, by its names.
//!
//! May not: find anything that needs the meaning of an instruction. Rules that see only how a file is written are here
//! ([`written`]); the others are where that meaning is: `stages` (FROM), `scope` (everything in a stage).

use std::collections::BTreeSet;

use crate::directives;
use crate::instruction::{Body, Dockerfile, Instruction, Keyword};
use crate::lines::Comment;
use crate::source::{Span, clipped, quoted};
use crate::values;

/// More findings of one file are not kept.
const MOST: usize = 10_000;

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

/// Name, page, description.
type Facts = (&'static str, &'static str, &'static str);

const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

impl Rule {
    pub const ALL: [Rule; 22] = [
        Rule::StageNameCasing,
        Rule::FromAsCasing,
        Rule::NoEmptyContinuation,
        Rule::ConsistentInstructionCasing,
        Rule::DuplicateStageName,
        Rule::ReservedStageName,
        Rule::JsonArgsRecommended,
        Rule::MaintainerDeprecated,
        Rule::UndefinedArgInFrom,
        Rule::WorkdirRelativePath,
        Rule::UndefinedVar,
        Rule::MultipleInstructionsDisallowed,
        Rule::LegacyKeyValueFormat,
        Rule::InvalidBaseImagePlatform,
        Rule::RedundantTargetPlatform,
        Rule::SecretsUsedInArgOrEnv,
        Rule::InvalidDefaultArgInFrom,
        Rule::FromPlatformFlagConstDisallowed,
        Rule::CopyIgnoredFile,
        Rule::InvalidDefinitionDescription,
        Rule::ExposeProtoCasing,
        Rule::ExposeInvalidFormat,
    ];

    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Where it is explained; one rule has no page.
    pub fn url(self) -> Option<String> {
        let page = self.facts().1;
        (!page.is_empty()).then(|| format!("{PAGES}{page}/"))
    }

    pub fn description(self) -> &'static str {
        self.facts().2
    }

    /// Only looked for when it is asked for.
    pub fn is_experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }

    fn facts(self) -> Facts {
        match self {
            Rule::StageNameCasing => (
                "StageNameCasing",
                "stage-name-casing",
                "Stage names should be lowercase",
            ),
            Rule::FromAsCasing => (
                "FromAsCasing",
                "from-as-casing",
                "The 'as' keyword should match the case of the 'from' keyword",
            ),
            Rule::NoEmptyContinuation => (
                "NoEmptyContinuation",
                "no-empty-continuation",
                "Empty continuation lines will become errors in a future release",
            ),
            Rule::ConsistentInstructionCasing => (
                "ConsistentInstructionCasing",
                "consistent-instruction-casing",
                "All commands within the Dockerfile should use the same casing (either upper or lower)",
            ),
            Rule::DuplicateStageName => (
                "DuplicateStageName",
                "duplicate-stage-name",
                "Stage names should be unique",
            ),
            Rule::ReservedStageName => (
                "ReservedStageName",
                "reserved-stage-name",
                "Reserved words should not be used as stage names",
            ),
            Rule::JsonArgsRecommended => (
                "JSONArgsRecommended",
                "json-args-recommended",
                "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
            ),
            Rule::MaintainerDeprecated => (
                "MaintainerDeprecated",
                "maintainer-deprecated",
                "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
            ),
            Rule::UndefinedArgInFrom => (
                "UndefinedArgInFrom",
                "undefined-arg-in-from",
                "FROM command must use declared ARGs",
            ),
            Rule::WorkdirRelativePath => (
                "WorkdirRelativePath",
                "workdir-relative-path",
                "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
            ),
            Rule::UndefinedVar => (
                "UndefinedVar",
                "undefined-var",
                "Variables should be defined before their use",
            ),
            Rule::MultipleInstructionsDisallowed => (
                "MultipleInstructionsDisallowed",
                "multiple-instructions-disallowed",
                "Multiple instructions of the same type should not be used in the same stage",
            ),
            Rule::LegacyKeyValueFormat => (
                "LegacyKeyValueFormat",
                "legacy-key-value-format",
                "Legacy key/value format with whitespace separator should not be used",
            ),
            Rule::InvalidBaseImagePlatform => (
                "InvalidBaseImagePlatform",
                "",
                "Base image platform does not match expected target platform",
            ),
            Rule::RedundantTargetPlatform => (
                "RedundantTargetPlatform",
                "redundant-target-platform",
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ),
            Rule::SecretsUsedInArgOrEnv => (
                "SecretsUsedInArgOrEnv",
                "secrets-used-in-arg-or-env",
                "Sensitive data should not be used in the ARG or ENV commands",
            ),
            Rule::InvalidDefaultArgInFrom => (
                "InvalidDefaultArgInFrom",
                "invalid-default-arg-in-from",
                "Default value for global ARG results in an empty or invalid base image name",
            ),
            Rule::FromPlatformFlagConstDisallowed => (
                "FromPlatformFlagConstDisallowed",
                "from-platform-flag-const-disallowed",
                "FROM --platform flag should not use a constant value",
            ),
            Rule::CopyIgnoredFile => (
                "CopyIgnoredFile",
                "copy-ignored-file",
                "Attempting to Copy file that is excluded by .dockerignore",
            ),
            Rule::InvalidDefinitionDescription => (
                "InvalidDefinitionDescription",
                "invalid-definition-description",
                "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
            ),
            Rule::ExposeProtoCasing => (
                "ExposeProtoCasing",
                "expose-proto-casing",
                "Protocol in EXPOSE instruction should be lowercase",
            ),
            Rule::ExposeInvalidFormat => (
                "ExposeInvalidFormat",
                "expose-invalid-format",
                "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
            ),
        }
    }
}

/// A rule that something does not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub span: Span,
    pub message: String,
}

/// What is looked for: `# check=skip=A,B;error=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub skip_all: bool,
    pub skip: BTreeSet<String>,
    pub experimental_all: bool,
    pub experimental: BTreeSet<String>,
    /// Findings end the build.
    pub is_error: bool,
}

impl Config {
    /// # Errors
    /// It is none, in BuildKit's words.
    pub fn parse(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        let rules = |list: &str| list.split(',').map(|rule| rule.trim().to_owned()).collect();
        for option in text.trim().splitn(3, ';') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(format!("invalid check option {}", quoted(option)));
            };
            match (key.trim(), value.trim()) {
                ("skip", "all") => config.skip_all = true,
                ("skip", list) => config.skip = rules(list),
                ("experimental", "all") => config.experimental_all = true,
                ("experimental", list) => config.experimental = rules(list),
                ("error", value) => {
                    config.is_error = values::boolean(value).ok_or_else(|| {
                        let why = format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(value));
                        format!("failed to parse check option {}: {why}", quoted(option))
                    })?;
                }
                (key, _) => return Err(format!("invalid check option {}", quoted(key))),
            }
        }
        Ok(config)
    }

    fn wants(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            return self.experimental_all || self.experimental.contains(rule.name());
        }
        !self.skip_all && !self.skip.contains(rule.name())
    }
}

/// Findings, as they come.
#[derive(Clone, Debug, Default)]
pub struct Report {
    config: Config,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(config: Config) -> Report {
        Report {
            config,
            findings: Vec::new(),
        }
    }

    /// Notes a finding. A comment above the instruction may have a `check=skip=...` of its own.
    pub fn add(&mut self, comments: &[Comment], rule: Rule, span: Span, message: impl Into<String>) {
        if self.findings.len() == MOST {
            return;
        }
        let own = comments
            .iter()
            .find_map(|c| directives::check_of_comment(&c.text));
        let own = own.and_then(|text| Config::parse(text).ok()).unwrap_or_default();
        let wanted = if rule.is_experimental() {
            self.config.wants(rule) || own.wants(rule)
        } else {
            self.config.wants(rule) && own.wants(rule)
        };
        let finding = Finding {
            rule,
            span,
            message: clipped(message.into()),
        };
        // A stage whose instructions are gone through twice (two platforms) says it once.
        if wanted && self.findings.last() != Some(&finding) {
            self.findings.push(finding);
        }
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Why the build ends, if findings are to end it.
    pub fn error(&self) -> Option<String> {
        if !self.config.is_error || self.findings.is_empty() {
            return None;
        }
        let rules: BTreeSet<&str> = self.findings.iter().map(|f| f.rule.name()).collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        Some(format!("lint violation found for rules: {}", rules.join(", ")))
    }
}

/// The rules about how a file is written.
pub fn written(file: &Dockerfile, report: &mut Report) {
    casing(file, report);
    let mut names = BTreeSet::new();
    for instruction in &file.instructions {
        let comments = &instruction.comments;
        if let Some(span) = instruction.empty {
            report.add(
                comments,
                Rule::NoEmptyContinuation,
                span,
                "Empty continuation line",
            );
        }
        match &instruction.body {
            Body::Maintainer(_) => report.add(
                comments,
                Rule::MaintainerDeprecated,
                instruction.span,
                "Maintainer instruction is deprecated in favor of using label",
            ),
            Body::From(_) => stage_name(instruction, &mut names, report),
            Body::Arg(args) => {
                let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
                description(instruction, &names, report);
            }
            _ => {}
        }
    }
}

fn stage_name<'a>(instruction: &'a Instruction, names: &mut BTreeSet<&'a str>, report: &mut Report) {
    let Body::From(from) = &instruction.body else {
        return;
    };
    let Some(stage) = &from.name else { return };
    let (name, span) = (stage.name.as_str(), stage.written.span);
    let mut add = |rule, message| report.add(&instruction.comments, rule, span, message);
    if stage.written.text != name {
        let written = &stage.written.text;
        add(
            Rule::StageNameCasing,
            format!("Stage name '{written}' should be lowercase"),
        );
    }
    let (from, keyword) = (&instruction.written, &stage.keyword);
    let differs = (is_lower(from) && !is_lower(keyword)) || (is_upper(from) && !is_upper(keyword));
    if differs {
        add(
            Rule::FromAsCasing,
            format!("'{keyword}' and '{from}' keywords' casing do not match"),
        );
    }
    if matches!(name, "scratch" | "context") {
        let message = format!("Stage name should not use the same name as reserved stage \"{name}\"");
        add(Rule::ReservedStageName, message);
    }
    if !names.insert(name) {
        let message = format!("Duplicate stage name \"{name}\", stage names should be unique");
        add(Rule::DuplicateStageName, message);
    }
    description(instruction, &[name], report);
}

/// The last comment above a definition begins with what it defines.
fn description(instruction: &Instruction, names: &[&str], report: &mut Report) {
    let (Some(comment), Some(first)) = (instruction.comments.last(), names.first()) else {
        return;
    };
    let word = comment.text.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let keyword = instruction.keyword.name();
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    report.add(
        &instruction.comments,
        Rule::InvalidDefinitionDescription,
        comment.span,
        message,
    );
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

/// All keywords as most of them are; upper case where both are as many. ARGs before the first FROM are not counted.
fn casing(file: &Dockerfile, report: &mut Report) {
    let first = file.instructions.iter().position(|i| i.keyword == Keyword::From);
    let instructions = file
        .instructions
        .get(first.unwrap_or_default()..)
        .unwrap_or_default();
    let count = |is: fn(&str) -> bool| instructions.iter().filter(|i| is(&i.written)).count();
    let (wanted, is_right): (&str, fn(&str) -> bool) = if count(is_lower) > count(is_upper) {
        ("lowercase", is_lower)
    } else {
        ("uppercase", is_upper)
    };
    for instruction in instructions.iter().filter(|i| !is_right(&i.written)) {
        let written = &instruction.written;
        let message = format!("Command '{written}' should match the case of the command majority ({wanted})");
        report.add(
            &instruction.comments,
            Rule::ConsistentInstructionCasing,
            instruction.head,
            message,
        );
    }
}

/// The image that a stage begins from is for another platform than it was asked for.
pub fn base_platform(from: &Instruction, image: &str, expected: &str, actual: &str, report: &mut Report) {
    if expected == actual {
        return;
    }
    let message = format!(
        "Base image {image} was pulled with platform {}, expected {} for current build",
        quoted(actual),
        quoted(expected)
    );
    report.add(&from.comments, Rule::InvalidBaseImagePlatform, from.span, message);
}

/// Whether a name is one of those that secrets have: a word of it, at its start or end or between underscores.
pub fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const PUBLIC: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&PUBLIC)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::instruction;
    use crate::source::Source;

    fn found(text: &str, config: &str) -> Vec<String> {
        let source = Source::new("Dockerfile", text).unwrap();
        let mut report = Report::new(Config::parse(config).unwrap());
        written(&instruction::read(&source).unwrap(), &mut report);
        let shown = |f: &Finding| format!("{}: {}: {}", source.line_of(f.span), f.rule.name(), f.message);
        report.findings().iter().map(shown).collect()
    }

    #[test]
    fn how_a_file_is_written() {
        for (text, findings) in [
            ("FROM a AS b\nRUN c", vec![]),
            (
                "FROM a as b",
                vec!["1: FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
            ),
            (
                "from a AS b",
                vec!["1: FromAsCasing: 'AS' and 'from' keywords' casing do not match"],
            ),
            (
                "FROM a AS Bc",
                vec!["1: StageNameCasing: Stage name 'Bc' should be lowercase"],
            ),
            (
                "FROM a\nrun b\nRUN c",
                vec![
                    "2: ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
                ],
            ),
            (
                "from a\nrun b\nCmd [\"c\"]",
                vec![
                    "3: ConsistentInstructionCasing: Command 'Cmd' should match the case of the command majority (lowercase)",
                ],
            ),
            ("arg X\nFROM a\nRUN b", vec![]),
            (
                "FROM a AS b\nFROM c AS b",
                vec!["2: DuplicateStageName: Duplicate stage name \"b\", stage names should be unique"],
            ),
            (
                "FROM a AS scratch",
                vec![
                    "1: ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
                ],
            ),
            (
                "FROM a\nRUN b \\\n\n c",
                vec!["3: NoEmptyContinuation: Empty continuation line"],
            ),
            (
                "FROM a\nMAINTAINER me",
                vec!["2: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
            ),
            ("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER me", vec![]),
            ("# nothing of b\nFROM a AS b", vec![]),
        ] {
            assert_eq!(found(text, ""), findings, "{text}");
            assert!(found(text, "skip=all").is_empty());
        }
        assert_eq!(
            found(
                "# nothing of b\nFROM a AS b\n# C is\nARG C\n# no\nARG D E",
                "experimental=all"
            ),
            [
                "1: InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>`",
                "5: InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`"
            ]
        );
    }

    #[test]
    fn a_base_for_another_platform() {
        let source = Source::new("Dockerfile", "FROM a").unwrap();
        let file = instruction::read(&source).unwrap();
        let mut report = Report::default();
        base_platform(
            &file.instructions[0],
            "a",
            "linux/arm64",
            "linux/arm64",
            &mut report,
        );
        assert!(report.findings().is_empty());
        base_platform(
            &file.instructions[0],
            "a",
            "linux/arm64",
            "linux/amd64",
            &mut report,
        );
        let message = &report.findings()[0].message;
        assert_eq!(
            message,
            "Base image a was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build"
        );
    }

    #[test]
    fn options() {
        let config = Config::parse("skip=A, B;error=true;experimental=C").unwrap();
        assert!(config.skip.contains("B") && config.is_error && config.experimental.contains("C"));
        assert!(Config::parse("skip=all").unwrap().skip_all);
        assert_eq!(Config::parse(" ").unwrap(), Config::default());
        for (text, message) in [
            ("skip", "invalid check option \"skip\""),
            ("other=1", "invalid check option \"other\""),
            (
                "error=maybe",
                "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(Config::parse(text).unwrap_err(), message);
        }
        let mut report = Report::new(Config::parse("error=true").unwrap());
        assert_eq!(report.error(), None);
        report.add(&[], Rule::UndefinedVar, Span::default(), "x");
        report.add(&[], Rule::FromAsCasing, Span::default(), "y");
        assert_eq!(
            report.error().unwrap(),
            "lint violation found for rules: FromAsCasing, UndefinedVar"
        );
    }

    #[test]
    fn names_of_secrets() {
        for (name, secret) in [
            ("API_KEY", true),
            ("apikey", true),
            ("GITHUB_TOKEN", true),
            ("AUTH", true),
            ("db_password_old", true),
            ("PUBLIC_KEY", false),
            ("PASSWORD_FILE", false),
            ("TOKEN_VERSION", false),
            ("MONKEY", false),
            ("KEYS", false),
        ] {
            assert_eq!(is_secret(name), secret, "{name}");
        }
    }

    #[test]
    fn every_rule_has_a_name_and_a_page() {
        let names: BTreeSet<&str> = Rule::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), 22);
        let url = Rule::JsonArgsRecommended.url().unwrap();
        assert_eq!(
            url,
            "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
        );
        assert_eq!(Rule::InvalidBaseImagePlatform.url(), None);
    }
}
