//! Input that means harm, and input that means nothing: nothing panics, everything ends, and in time.
//!
//! The generator has a fixed seed, so what fails once fails again. Mutations begin from the golden Dockerfiles. `HOSTILE_SECONDS` makes
//! each test that draws go on for so long from a seed that it prints, or from `HOSTILE_SEED`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use build::expand::{Env, Lexer, Quotes, Unset};
use build::ignore::Matcher;
use build::ignore::glob::Glob;
use build::plan::plan;
use build::remote::Location;
use build::scope::{Base, Context, Scope};
use build::source::{Problem, Source};
use build::stages::{Origin, Platform, Request};
use build::values::mode::Mode;
use build::values::port::Ports;
use build::values::{self, csv, duration, signal};
use build::{directives, outline};

/// Far above what is needed on a machine that does nothing else; what is quadratic needs far more.
const LONGEST: Duration = Duration::from_secs(20);

struct Random(u64);

/// How often a test draws.
struct Rounds {
    left: usize,
    until: Option<Instant>,
}

impl Iterator for Rounds {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        match self.until {
            Some(until) => (Instant::now() < until).then_some(()),
            None => {
                self.left = self.left.checked_sub(1)?;
                Some(())
            }
        }
    }
}

/// So often, from this seed; or for as long as it is wanted, from another.
fn rounds(usual: usize, seed: u64) -> (Random, Rounds) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seconds) = number("HOSTILE_SECONDS") else {
        let rounds = Rounds {
            left: usual,
            until: None,
        };
        return (Random(seed), rounds);
    };
    let fresh = || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = number("HOSTILE_SEED").unwrap_or_else(fresh);
    println!("HOSTILE_SEED={seed}");
    let rounds = Rounds {
        left: 0,
        until: Some(Instant::now() + Duration::from_secs(seconds)),
    };
    // It stays at zero for ever.
    (Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), rounds)
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Pieces of which Dockerfiles, variables and patterns are made.
const PIECES: [&str; 106] = [
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "ONBUILD ",
    "EXPOSE ",
    "HEALTHCHECK ",
    "LABEL ",
    "SHELL ",
    "VOLUME ",
    "--from=",
    "--mount=",
    "--chmod=",
    "--platform=",
    "type=cache",
    ",target=/x",
    "\n",
    "\\\n",
    "\\",
    "`",
    "# ",
    "# escape=`\n",
    "#",
    "<<EOF",
    "<<-'E'",
    "EOF\n",
    "E\n",
    "\"",
    "'",
    "$",
    "${",
    "}",
    ":-",
    ":?",
    "#",
    "##",
    "%",
    "//",
    "/",
    "*",
    "**",
    "?",
    "[",
    "]",
    "[^a-",
    "!",
    "a",
    "A=b",
    " AS x\n",
    "x",
    " ",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{e4}",
    "\u{0}",
    "[\"a\", ",
    "1",
    "65535",
    "0-65535",
    "=",
    ",",
    "# syntax=docker/dockerfile:1\n",
    "# syntax=",
    "# check=skip=",
    "# check=",
    "error=true",
    "experimental=all",
    ";",
    "StageNameCasing",
    "USER ",
    "WORKDIR ",
    "CMD ",
    "ENTRYPOINT ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "--network=",
    "--security=insecure ",
    "--device=",
    "--link ",
    "--parents ",
    "--exclude=",
    "--unpack=",
    "--keep-git-dir ",
    "--checksum=sha256:",
    "--chown=",
    "--interval=",
    "type=bind,from=",
    "type=secret,id=",
    "type=tmpfs,size=",
    "type=ssh",
    "required",
    "sharing=locked",
    "mode=",
    "u+rwX,go=u-w",
    "0777",
    "1h2m.5s",
    "https://h/x.git",
    "?ref=",
    "git@h:x",
    "%2",
    "TARGETARCH",
    "<<",
    "<<\"E\" ",
];

fn request() -> Request {
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        variant: String::new(),
    };
    Request {
        target: None,
        build_args: BTreeMap::from([("A".to_owned(), "given $A".to_owned())]),
        build_platform: platform.clone(),
        target_platform: platform,
        contexts: Default::default(),
        all: true,
        is_image: |text| !text.is_empty(),
    }
}

/// Everything that is done with a file before something is built; whether it can be built.
fn read(bytes: &[u8]) -> Result<(), String> {
    let begun = Instant::now();
    let source = Source::read("Dockerfile", bytes).unwrap();
    let outcome = through(&source);
    let taken = begun.elapsed();
    assert!(taken < LONGEST, "{taken:?} for {:.200}", source.text());
    outcome.map_err(|problems| problems.iter().map(|problem| source.show(problem)).collect())
}

fn through(source: &Source) -> Result<(), Vec<Problem>> {
    let request = request();
    let head = directives::head(source);
    drop((directives::syntax(source), directives::check(source)));
    if let Some(syntax) = head.ok().and_then(|_| directives::syntax(source)) {
        drop(directives::known_frontend(&syntax));
    }
    let mut done = plan(source, &request);
    let graph = done.graph?;
    outline::targets(&graph);
    drop(outline::outline(&graph, &request.build_args));
    let ignore = Matcher::of(&["*.md"]).unwrap();
    let context = Context {
        escape: graph.escape,
        globals: &graph.globals,
        build_args: &request.build_args,
        ignore: Some(&ignore),
    };
    let mut ends: HashMap<usize, Scope> = HashMap::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        let mut scope = match stage.base {
            Origin::Stage(n) => ends[&n].of_stage(),
            _ => Scope::of_image(&Base::default()),
        };
        for step in &stage.steps {
            scope
                .apply(&context, stage, step, &mut done.report)
                .map_err(|e| vec![e])?;
        }
        ends.insert(index, scope);
    }
    for finding in done.report.findings().iter().take(100) {
        assert!(!source.describe(finding.span, &finding.message).is_empty());
    }
    Ok(())
}

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.retain(|name| name.extension().is_some_and(|e| e == "Dockerfile"));
    names.sort();
    names.iter().map(|name| fs::read(name).unwrap()).collect()
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(20)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = random.of(&PIECES).as_bytes().to_vec();
                bytes.splice(at..at, piece);
            }
            2 => {
                let again = bytes[at..end].repeat(1 + random.below(5));
                bytes.splice(at..at, again);
            }
            3 => {
                let byte = u8::try_from(random.below(256)).unwrap();
                bytes.insert(at, byte);
            }
            4 => {
                let other = random.of(others).clone();
                let from = random.below(other.len());
                let part = other[from..(from + random.below(80)).min(other.len())].to_vec();
                bytes.splice(at..end, part);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn mutated_files() {
    let corpus = corpus();
    let (mut random, rounds) = rounds(3000, 0x9e37_79b9_7f4a_7c15);
    let (mut all, mut fine, mut refused) = (0, 0, 0);
    for () in rounds {
        all += 1;
        let mut bytes = random.of(&corpus).clone();
        mutate(&mut random, &mut bytes, &corpus);
        match read(&bytes) {
            Ok(()) => fine += 1,
            Err(shown) => {
                assert!(shown.contains("Dockerfile:"), "{shown}");
                refused += 1;
            }
        }
    }
    // Neither all nor nothing got through: the mutations reach what is behind the parser.
    assert!(fine > all / 12 && refused > all / 12, "{fine} {refused} of {all}");
}

fn pieces(random: &mut Random, most: usize) -> String {
    (0..random.below(most)).map(|_| *random.of(&PIECES)).collect()
}

#[test]
fn random_files() {
    let (mut random, rounds) = rounds(2000, 77);
    for () in rounds {
        let text = pieces(&mut random, 40);
        let _ = read(format!("FROM a\n{text}").as_bytes());
        let _ = read(text.as_bytes());
    }
}

#[test]
fn random_expansions() {
    let (mut random, rounds) = rounds(8_000, 4711);
    let mut env = Env::default();
    env.set("a", "one two/three.four");
    env.set("x", "");
    let (mut all, mut fine) = (0, 0);
    for () in rounds {
        all += 1;
        let text = pieces(&mut random, 12);
        for lexer in [
            Lexer::new('\\'),
            Lexer::new('`'),
            Lexer::heredoc(),
            Lexer {
                quotes: Quotes::Keep,
                keep_escapes: true,
                unset: Unset::Keep,
                ..Lexer::new('\\')
            },
        ] {
            let Ok(expanded) = lexer.expand(&text, &env) else {
                continue;
            };
            fine += 1;
            let joined: String = expanded.words.concat();
            let is_blank = |c: char| c.is_whitespace();
            assert_eq!(
                joined.replace(is_blank, ""),
                expanded.text.replace(is_blank, ""),
                "{text:?}"
            );
        }
    }
    assert!(fine > all / 2, "{fine} of {all}");
}

#[test]
fn random_patterns() {
    let (mut random, rounds) = rounds(8_000, 99);
    let letters = [
        "a", "b", "/", "/", "*", "**", "**/", "?", "[ab]", "[^a]", "\\*", ".", "!", " ", "a/b",
    ];
    let names = ["a", "b", "a/b", "a/b/a", "b/a/a/b", "ab/ba", ".", "*", "a/.b/*"];
    let (mut all, mut ignored) = (0, 0);
    for () in rounds {
        all += 1;
        let pattern = |random: &mut Random| {
            (0..=random.below(6))
                .map(|_| *random.of(&letters))
                .collect::<String>()
        };
        let list: Vec<String> = (0..=random.below(3)).map(|_| pattern(&mut random)).collect();
        let Ok(matcher) = Matcher::of(&list) else { continue };
        for name in names {
            let said = matcher.ignores(name);
            ignored += usize::from(said);
            // A walk from the root down says the same, and looks into every directory that it has to.
            let (mut above, mut walked) = (None, false);
            for (end, _) in name.match_indices('/').chain([(name.len(), "")]) {
                if walked && !matcher.may_take_back_below(name[..end].rsplit_once('/').map_or("", |(d, _)| d))
                {
                    assert!(said, "{list:?} {name}");
                }
                let (here, next) = matcher.enter(above.as_ref(), &name[..end]);
                (walked, above) = (here, Some(next));
            }
            assert_eq!(walked, said, "{list:?} {name}");
        }
        if let Some(glob) = Glob::of_path(&list[0]) {
            glob.matches("a/b", false);
        }
    }
    assert!(ignored > all / 2, "{ignored} of {all}");
}

/// A few of what a test is about, in a row.
fn of_words(random: &mut Random, words: &[&str], most: usize) -> String {
    let mut text: String = (0..random.below(most)).map(|_| *random.of(words)).collect();
    if random.below(4) == 0 {
        text.push_str(&pieces(random, 3));
    }
    text
}

#[test]
fn random_locations() {
    let (mut random, rounds) = rounds(20_000, 1234);
    let words = [
        "https://",
        "git://",
        "ssh://",
        "http://",
        "file://",
        "github.com/",
        "git@",
        "h",
        "h:22",
        "/",
        "x",
        ".git",
        "?",
        "#",
        ":",
        "&",
        "=",
        "ref=",
        "tag=v1",
        "branch=b",
        "subdir=",
        "checksum=abc",
        "keep-git-dir",
        "submodules=0",
        "mtime=commit",
        "%",
        "%2F",
        "%g",
        "+",
        "..",
        "\u{e4}",
        "@",
        " ",
        "-",
    ];
    let (mut repositories, mut refused) = (0, 0);
    for () in rounds {
        let text = of_words(&mut random, &words, 12);
        match Location::parse(&text) {
            Ok(Location::Git(git)) => {
                assert!(!git.remote.contains('#'), "{text:?}");
                repositories += 1;
            }
            Ok(_) => {}
            Err(why) => {
                assert!(!why.is_empty(), "{text:?}");
                refused += 1;
            }
        }
    }
    assert!(repositories > 100 && refused > 100, "{repositories} {refused}");
}

#[test]
fn random_values() {
    let (mut random, rounds) = rounds(20_000, 4321);
    let modes = [
        "u", "g", "o", "a", "+", "-", "=", "r", "w", "x", "X", "s", "t", ",", "7", "0", "8",
    ];
    let times = [
        "1",
        "9",
        "18446744073709551615",
        ".",
        "h",
        "m",
        "s",
        "ms",
        "us",
        "\u{b5}s",
        "ns",
        "-",
        "+",
    ];
    let ports = [
        "80",
        "-",
        "/",
        "tcp",
        "udp",
        "sctp",
        "65535",
        "65536",
        "0",
        ":",
        "127.0.0.1",
        "[::1]",
    ];
    let sizes = [
        "1", "999", ".", "k", "Gi", "b", " ", "p", "-", "e", "\u{e4}", "inf", "nan",
    ];
    let lists = ["\"", "\"\"", ",", "a", "b=c", "\n", "\u{e4}"];
    let signals = [
        "SIG",
        "RTMIN",
        "RTMAX",
        "+",
        "-",
        "KILL",
        "9",
        "64",
        "99999999999",
    ];
    for () in rounds {
        if let Ok(mode) = Mode::parse(&of_words(&mut random, &modes, 10)) {
            let old = u32::try_from(random.below(0o10000)).unwrap();
            for is_directory in [false, true] {
                assert!(mode.apply(old, is_directory) <= 0o7777);
            }
        }
        let text = of_words(&mut random, &times, 8);
        if let Ok(time) = duration::parse(&text) {
            // What is shown is read as the same.
            assert_eq!(duration::parse(&duration::format(time)), Ok(time), "{text:?}");
        }
        if let Ok(range) = Ports::parse(&of_words(&mut random, &ports, 8)) {
            assert!(range.each().count() <= 65536);
        }
        values::size(&of_words(&mut random, &sizes, 6));
        signal::parse(&of_words(&mut random, &signals, 5));
        let text = of_words(&mut random, &lists, 10);
        if let Ok(fields) = csv::fields(&text) {
            assert!(fields.concat().len() <= text.len(), "{text:?}");
        }
    }
}

/// One of each kind of what grows.
#[test]
fn large_files() {
    let n = 50_000;
    let lines = |line: &str, count: usize| line.repeat(count);
    let numbered = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    for (what, text, is_fine) in [
        (
            "continuations",
            format!("FROM a\nRUN a{}\n", lines(" \\\n b", n)),
            true,
        ),
        (
            "empty continuations",
            format!("FROM a\nRUN a \\\n{} b\n", lines("\n", n)),
            true,
        ),
        (
            "comments within",
            format!("FROM a\nRUN a \\\n{} b\n", lines("# c\n", n)),
            true,
        ),
        (
            "comments and arguments",
            format!("FROM a\n{}ARG {}\n", lines("# a b\n", n), lines("a ", n)),
            true,
        ),
        (
            "instructions",
            format!("FROM a\n{}", lines("ENV a=b\n", n / 4)),
            true,
        ),
        (
            "variables",
            format!(
                "FROM a\n{}",
                numbered(&|i| format!("ENV v{i}=$v{}\n", i.saturating_sub(1)), n / 8)
            ),
            true,
        ),
        (
            "undefined variables",
            format!(
                "FROM a\nARG {}\nENV x={}\n",
                numbered(&|i| format!("a{i} "), n / 8),
                numbered(&|i| format!("$b{i}"), n / 8)
            ),
            true,
        ),
        (
            "arguments",
            format!("FROM a\n{}", numbered(&|i| format!("ARG a{i}=1\n"), n / 8)),
            true,
        ),
        (
            "stages",
            format!(
                "FROM a AS s0\n{}",
                numbered(&|i| format!("FROM s{i} AS s{}\nENV e{i}=1\n", i + 1), 500)
            ),
            true,
        ),
        (
            "copies",
            format!("FROM a AS s0\nFROM b\n{}", lines("COPY --from=0 a b\n", n / 8)),
            true,
        ),
        (
            "heredocs",
            format!(
                "FROM a\nCOPY {} /x/\n{}",
                numbered(&|i| format!("<<e{i} "), 5000),
                numbered(&|i| format!("e{i}\n"), 5000)
            ),
            true,
        ),
        (
            "one heredoc many times",
            format!(
                "FROM a\nCOPY {} /x/\n{}{}E\n",
                lines("<<E ", 2000),
                lines("E\n", 1999),
                lines("text\n", n)
            ),
            true,
        ),
        (
            "an open heredoc",
            format!("FROM a\n{}", lines("RUN <<E\n", n)),
            false,
        ),
        (
            "a long heredoc",
            format!("FROM a\nCOPY <<E /x\n{}E\n", lines("$a ${b:-c} text\n", n / 4)),
            true,
        ),
        ("quotes", format!("FROM a\nENV a={}\n", lines("\"'\"", n)), true),
        (
            "an open quote",
            format!("FROM a\nENV a=\"{}\n", lines("b ", n)),
            false,
        ),
        (
            "flags",
            format!("FROM a\nCOPY {} a b\n", lines("--exclude=x ", n / 2)),
            true,
        ),
        (
            "mounts",
            format!(
                "FROM a\nRUN {} a\n",
                lines("--mount=type=tmpfs,target=/t ", n / 20)
            ),
            true,
        ),
        (
            "JSON",
            format!("FROM a\nRUN [{}\"b\"]\n", lines("\"a\",", n)),
            true,
        ),
        ("brackets", format!("FROM a\nRUN {}\n", lines("[", n)), true),
        (
            "ports",
            format!("FROM a\nEXPOSE {}\n", lines("0-65535 ", n)),
            false,
        ),
        ("words", format!("FROM a\nVOLUME {}\n", lines("/a ", n)), true),
        (
            "depth",
            format!("FROM a\nENV a={}{}\n", lines("${a:-", n), lines("}", n)),
            false,
        ),
        (
            "open depth",
            format!("FROM a\nENV a={}\n", lines("${a:-", n)),
            false,
        ),
        (
            "a large value",
            format!(
                "FROM a\nENV a={}\n{}",
                lines("0123456789", 10_000),
                lines("ENV b=${a:+x}\n", n / 8)
            ),
            true,
        ),
        (
            "a large value before FROM",
            format!(
                "ARG a={}\n{}FROM a\n",
                lines("0123456789", n),
                lines("ARG b=${a:+x}\n", 4000)
            ),
            false,
        ),
        (
            "a pattern",
            format!(
                "FROM a\nENV a={}\nENV b=${{a//{}/c}}\n",
                lines("a", n),
                lines("*a", 1000)
            ),
            false,
        ),
        (
            "doubling",
            format!("FROM a\nENV a=0123456789\n{}", lines("ENV a=$a$a\n", 100)),
            false,
        ),
        (
            "doubling before FROM",
            format!("ARG a=0123456789\n{}FROM a\n", lines("ARG a=$a$a\n", 100)),
            false,
        ),
        (
            "triggers",
            format!(
                "FROM a AS b\n{}{}",
                lines("ONBUILD RUN x\n", 1000),
                lines("FROM b\n", 1000)
            ),
            false,
        ),
        ("unknown instructions", lines("BAD\n", n), false),
        ("a long line", format!("FROM {}\n", lines("a", 10 * n)), false),
        (
            "names of flags",
            format!("FROM --{} a\n", lines("a", 10 * n)),
            false,
        ),
        ("nothing", lines("\n", 10 * n), false),
        ("zeros", lines("\0", 10 * n), false),
    ] {
        let outcome = read(text.as_bytes());
        let shown = outcome
            .as_ref()
            .err()
            .map(|e| e.chars().take(300).collect::<String>());
        assert_eq!(outcome.is_ok(), is_fine, "{what}: {shown:?}");
        assert!(outcome.err().is_none_or(|e| e.len() < 40_000), "{what}");
    }
}

#[test]
fn large_ignore_files() {
    let n = 20_000;
    let text = "*a*b*c\n!x/**/y\n".repeat(n);
    let matcher = Matcher::read(&Source::new(".dockerignore", text).unwrap()).unwrap();
    let begun = Instant::now();
    for name in ["aaaaaaaaabbbbbbbbb/c", "x/1/2/3/y", "nothing"] {
        matcher.ignores(name);
    }
    let deep = Matcher::of(&[
        format!("{}z", "**/".repeat(5000)),
        "*".repeat(5000),
        "[a-z]*".repeat(5000),
    ])
    .unwrap();
    deep.ignores(&"a/".repeat(2000));
    assert!(begun.elapsed() < LONGEST);
}
