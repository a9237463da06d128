//! Flags as data: what a command accepts is a static table, and one small parser reads argv by it.
//!
//! May not: know any flag, read the environment, print. The syntax and the sentences are those of Go's pflag, which Docker's
//! command line is made of: `--name=x`, `--name x`, `-p8080:80`, clusters such as `-it`, `-d=true`; a long name behind one dash
//! is a cluster. See docs/decisions/0001-flags-as-data.md for why there is no library.

use crate::template::quote;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// On or off, with its default; a value only behind `=`.
    Switch(bool),
    /// Any text; the last one counts.
    Text,
    /// A Go integer: decimal, or 0x, 0o, 0b.
    Int,
    /// Any text; all of them count.
    List,
    /// Lines of CSV; all values of all of them count.
    Words,
    /// `name=value`; all of them count.
    Filter,
    /// Text of a form that is looked at while the command line is read, so that complaints come in its order.
    Of(&'static Form),
}

/// What a value has to look like.
#[derive(Debug)]
pub struct Form {
    /// How help calls it.
    pub name: &'static str,
    /// Says what is wrong with it.
    pub check: fn(&str) -> Result<(), String>,
    /// All of them count, not the last one.
    pub many: bool,
}

impl PartialEq for Form {
    /// Names will do: addresses of functions may not be compared.
    fn eq(&self, other: &Form) -> bool {
        self.name == other.name && self.many == other.many
    }
}

impl Eq for Form {}

impl Takes {
    /// Whether it may be given several times.
    pub fn many(self) -> bool {
        match self {
            Takes::List | Takes::Words | Takes::Filter => true,
            Takes::Of(form) => form.many,
            Takes::Switch(_) | Takes::Text | Takes::Int => false,
        }
    }

    /// How help calls the value.
    pub fn name(self) -> &'static str {
        match self {
            Takes::Switch(_) => "",
            Takes::Text => "string",
            Takes::Int => "int",
            Takes::List => "list",
            Takes::Words => "strings",
            Takes::Filter => "filter",
            Takes::Of(form) => form.name,
        }
    }
}

/// What a shell may offer as a value or operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    Nothing,
    /// Paths of files.
    Files,
    /// Paths of directories.
    Directories,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Names of the images there are.
    Images,
    /// An image, then a directory.
    ImageAndDirectory,
    /// Names of containers.
    Containers,
    /// Names of networks.
    Networks,
    /// Names of volumes.
    Volumes,
    /// Names of commands.
    Commands,
}

/// Whether help, man pages and completions mention it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Yes,
    /// Accepted because callers pass it, told to nobody.
    No,
    /// Accepted, and whoever passes it reads this on stderr.
    Deprecated(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    pub takes: Takes,
    /// The default as help shows it; empty when there is nothing to say.
    pub default: &'static str,
    /// Help.
    pub about: &'static str,
    pub shown: Shown,
    pub offers: Offers,
}

impl Flag {
    /// A flag that is listed, without a short name.
    pub const fn new(name: &'static str, takes: Takes, about: &'static str) -> Flag {
        Flag {
            name,
            short: None,
            takes,
            default: "",
            about,
            shown: Shown::Yes,
            offers: Offers::Nothing,
        }
    }

    /// Adds the one-letter name.
    pub const fn short(self, letter: char) -> Flag {
        Flag {
            short: Some(letter),
            ..self
        }
    }

    /// Adds the default that help shows.
    pub const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    /// Accepted, but not listed.
    pub const fn hidden(self) -> Flag {
        Flag {
            shown: Shown::No,
            ..self
        }
    }

    /// Accepted with a warning.
    pub const fn deprecated(self, why: &'static str) -> Flag {
        Flag {
            shown: Shown::Deprecated(why),
            ..self
        }
    }

    /// What shells offer as its value.
    pub const fn offers(self, offers: Offers) -> Flag {
        Flag { offers, ..self }
    }

    /// How a complaint about a value names it.
    fn spelling(&self) -> String {
        match self.short {
            // The short name of help is deprecated, and so not spoken of.
            Some(short) if self.name != HELP.name => format!("-{short}, --{}", self.name),
            _ => format!("--{}", self.name),
        }
    }
}

/// The flag that every command has. Its short name is an embarrassment to Docker, too.
pub static HELP: Flag = Flag::new("help", Takes::Switch(false), "Show this help")
    .short('h')
    .hidden();

/// Where flags are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Everywhere up to `--`.
    Anywhere,
    /// Up to the first operand; the rest belongs to somebody else.
    UntilFirstOperand,
}

/// One flag that was given, with its value.
#[derive(Debug)]
struct Given {
    name: &'static str,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Switch(bool),
    Text(OsString),
    Int(i64),
    Words(Vec<String>),
    Filter(String, String),
}

/// What argv said.
#[derive(Debug, Default)]
pub struct Parsed {
    table: &'static [Flag],
    given: Vec<Given>,
    /// Operands in order.
    pub operands: Vec<OsString>,
    /// Lines for stderr, about flags that should not be used.
    pub warnings: Vec<String>,
}

/// Reads `args` by `table` and [`HELP`].
///
/// # Errors
/// pflag's sentence.
pub fn parse(
    table: &'static [Flag],
    args: impl IntoIterator<Item = OsString>,
    order: Order,
) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        table,
        ..Parsed::default()
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        match bytes {
            b"--" => break,
            [b'-', b'-', name @ ..] => long(&mut parsed, name, bytes, &mut args)?,
            [b'-', _, ..] => cluster(&mut parsed, &bytes[1..], &mut args)?,
            _ => {
                parsed.operands.push(arg);
                if order == Order::UntilFirstOperand {
                    break;
                }
            }
        }
    }
    parsed.operands.extend(args);
    Ok(parsed)
}

fn long(
    parsed: &mut Parsed,
    body: &[u8],
    whole: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), String> {
    if body.is_empty() || body[0] == b'-' || body[0] == b'=' {
        return Err(format!("bad flag syntax: {}", String::from_utf8_lossy(whole)));
    }
    let (name, inline) = match body.iter().position(|&b| b == b'=') {
        Some(at) => (&body[..at], Some(OsStr::from_bytes(&body[at + 1..]).to_owned())),
        None => (body, None),
    };
    let Some(flag) = parsed.find(|f| f.name.as_bytes() == name) else {
        return Err(format!("unknown flag: --{}", String::from_utf8_lossy(name)));
    };
    let value = match (inline, flag.takes) {
        (Some(value), _) => value,
        (None, Takes::Switch(_)) => "true".into(),
        (None, _) => rest
            .next()
            .ok_or_else(|| format!("flag needs an argument: --{}", flag.name))?,
    };
    parsed.set(flag, value)
}

/// `-abc`: switches, the last of which may take the rest or the next argument as its value.
fn cluster(
    parsed: &mut Parsed,
    whole: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), String> {
    let mut letters = whole;
    while let Some((&letter, behind)) = letters.split_first() {
        let shown = || {
            format!(
                "'{}' in -{}",
                char::from(letter),
                String::from_utf8_lossy(letters)
            )
        };
        let Some(flag) = parsed.find(|f| f.short.is_some_and(|c| c == char::from(letter))) else {
            return Err(format!(
                "unknown shorthand flag: {}{}",
                shown(),
                parsed.meant(whole)
            ));
        };
        if flag.name == HELP.name && letter == b'h' {
            parsed
                .warnings
                .push("Flag shorthand -h has been deprecated, use --help".to_owned());
        }
        let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let value = match (behind, flag.takes) {
            ([b'=', value @ ..], _) if !value.is_empty() => owned(value),
            (_, Takes::Switch(_)) => {
                parsed.set(flag, "true".into())?;
                letters = behind;
                continue;
            }
            ([], _) => rest
                .next()
                .ok_or_else(|| format!("flag needs an argument: {}", shown()))?,
            (value, _) => {
                // `-link a:b` is the label `ink`, which nobody means.
                let hint = parsed.meant(whole);
                if !hint.is_empty() {
                    parsed.warnings.push(format!(
                        "WARNING: -{} was read as -{} {}.{}",
                        String::from_utf8_lossy(whole),
                        char::from(letter),
                        String::from_utf8_lossy(value),
                        hint.replace('\n', " ")
                    ));
                }
                owned(value)
            }
        };
        return parsed.set(flag, value);
    }
    Ok(())
}

impl Parsed {
    /// A line for who wrote a long name behind one dash.
    fn meant(&self, letters: &[u8]) -> String {
        let name = letters.split(|b| *b == b'=').next().unwrap_or_default();
        match self.find(|f| f.name.as_bytes() == name && name.len() > 1) {
            Some(flag) => format!("\nDid you mean --{}?", flag.name),
            None => String::new(),
        }
    }

    fn find(&self, like: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
        // A table's own short name wins: `-h` of `run` is its host name.
        self.table
            .iter()
            .find(|f| like(f))
            .or_else(|| Some(&HELP).filter(|f| like(f)))
    }

    fn set(&mut self, flag: &'static Flag, value: OsString) -> Result<(), String> {
        if let Shown::Deprecated(why) = flag.shown {
            self.warnings
                .push(format!("Flag --{} has been deprecated, {why}", flag.name));
        }
        let text = value.to_string_lossy().into_owned();
        let value = match flag.takes {
            Takes::Switch(_) => boolean(&text).map(Value::Switch),
            Takes::Text | Takes::List => Ok(Value::Text(value)),
            Takes::Of(form) => (form.check)(&text).map(|()| Value::Text(value)),
            Takes::Int => integer(&text).map(Value::Int),
            Takes::Words => csv(&text).map(Value::Words),
            Takes::Filter if text.is_empty() => return Ok(()),
            Takes::Filter => filter(&text),
        };
        let value = value.map_err(|why| {
            format!(
                "invalid argument {} for {} flag: {why}",
                quote(&text),
                quote(&flag.spelling())
            )
        })?;
        self.given.push(Given {
            name: flag.name,
            value,
        });
        Ok(())
    }

    fn all<'p>(&'p self, name: &str) -> impl DoubleEndedIterator<Item = &'p Value> {
        debug_assert!(
            name == HELP.name || self.table.iter().any(|f| f.name == name),
            "no flag {name}"
        );
        self.given
            .iter()
            .filter(move |g| g.name == name)
            .map(|g| &g.value)
    }

    /// Whether it was given at all.
    pub fn was_given(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// A switch: as given, or its default.
    pub fn switch(&self, name: &'static str) -> bool {
        match self.all(name).next_back() {
            Some(Value::Switch(on)) => *on,
            _ => self
                .table
                .iter()
                .any(|f| f.name == name && f.takes == Takes::Switch(true)),
        }
    }

    /// Text as given, or nothing.
    pub fn text(&self, name: &'static str) -> Option<String> {
        self.path(name).map(|t| t.to_string_lossy().into_owned())
    }

    /// The same for a path.
    pub fn path(&self, name: &'static str) -> Option<&OsStr> {
        match self.all(name).next_back() {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A number as given, or nothing.
    pub fn int(&self, name: &'static str) -> Option<i64> {
        match self.all(name).next_back() {
            Some(Value::Int(n)) => Some(*n),
            _ => None,
        }
    }

    /// All values of a list.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        self.all(name)
            .flat_map(|v| match v {
                Value::Text(text) => vec![text.to_string_lossy().into_owned()],
                Value::Words(words) => words.clone(),
                _ => Vec::new(),
            })
            .collect()
    }

    /// All values of lists that are one list under several names, in the order in which they were given.
    pub fn lists(&self, names: &[&'static str]) -> Vec<String> {
        self.given
            .iter()
            .filter(|g| names.contains(&g.name))
            .filter_map(|g| match &g.value {
                Value::Text(text) => Some(text.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect()
    }

    /// All filters, names in lower case.
    pub fn filters(&self, name: &'static str) -> Vec<(String, String)> {
        self.all(name)
            .filter_map(|v| match v {
                Value::Filter(name, value) => Some((name.clone(), value.clone())),
                _ => None,
            })
            .collect()
    }

    /// An operand as text.
    pub fn operand(&self, n: usize) -> Option<String> {
        self.operands.get(n).map(|o| o.to_string_lossy().into_owned())
    }

    /// Whether any flag was given.
    pub fn has_flags(&self) -> bool {
        !self.given.is_empty()
    }

    /// All operands as text.
    pub fn names(&self) -> Vec<String> {
        self.operands
            .iter()
            .map(|o| o.to_string_lossy().into_owned())
            .collect()
    }
}

/// strconv.ParseBool.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

/// strconv.ParseInt with base 0.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseInt: parsing {}: {why}", quote(text)));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let clean = if radix == 10 {
        digits.to_owned()
    } else {
        digits.replace('_', "")
    };
    if clean.is_empty() || !clean.chars().all(|c| c.is_digit(radix)) {
        return fail("invalid syntax");
    }
    let magnitude = i128::from_str_radix(&clean, radix).unwrap_or(i128::MAX);
    match i64::try_from(if negative { -magnitude } else { magnitude }) {
        Ok(n) => Ok(n),
        Err(_) => fail("value out of range"),
    }
}

fn filter(text: &str) -> Result<Value, String> {
    match text.split_once('=') {
        Some((name, value)) => Ok(Value::Filter(name.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// One line of CSV, as pflag reads a slice of strings.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text;
    if rest.is_empty() {
        return Ok(words);
    }
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                let column = text.len() - rest.len() + at + 1;
                return Err(format!(
                    "parse error on line 1, column {column}: bare \" in non-quoted-field"
                ));
            }
            words.push(rest[..end].to_owned());
            match rest.get(end + 1..) {
                Some(next) => rest = next,
                None => return Ok(words),
            }
            continue;
        };
        let mut word = String::new();
        let mut behind = quoted;
        loop {
            let Some(end) = behind.find('"') else {
                return Err(format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() + 1
                ));
            };
            word.push_str(&behind[..end]);
            behind = &behind[end + 1..];
            match behind.strip_prefix('"') {
                Some(next) => {
                    word.push('"');
                    behind = next;
                }
                None => break,
            }
        }
        words.push(word);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(words),
            None => {
                return Err(format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() - behind.len()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    static TABLE: [Flag; 8] = [
        Flag::new("all", Takes::Switch(false), "").short('a'),
        Flag::new("human", Takes::Switch(true), "").short('H'),
        Flag::new("filter", Takes::Filter, "").short('f'),
        Flag::new("format", Takes::Text, ""),
        Flag::new("limit", Takes::Int, ""),
        Flag::new("platform", Takes::Words, ""),
        Flag::new("volume", Takes::List, "").short('v'),
        Flag::new("old", Takes::Switch(true), "").deprecated("it does nothing"),
    ];

    fn read(args: &[&str]) -> Result<Parsed, String> {
        parse(&TABLE, args.iter().map(OsString::from), Order::Anywhere)
    }

    #[test]
    fn every_spelling() {
        let p = read(&[
            "x",
            "-av=/a",
            "-v/b",
            "-v",
            "/c",
            "--volume=/d",
            "--volume",
            "-e",
            "--format",
            "--",
            "-H=false",
            "--limit=0x10",
            "--platform=a,\"b,c\"",
            "--platform",
            "d",
            "-fDangling= true",
            "-",
            "--",
            "-a",
            "y",
        ])
        .unwrap();
        assert!(p.switch("all") && !p.switch("human") && p.switch("old"));
        assert_eq!(p.list("volume"), ["/a", "/b", "/c", "/d", "-e"]);
        assert_eq!(p.text("format").unwrap(), "--");
        assert_eq!(p.int("limit"), Some(16));
        assert_eq!(p.list("platform"), ["a", "b,c", "d"]);
        assert_eq!(p.filters("filter"), [("dangling".to_owned(), "true".to_owned())]);
        assert_eq!(p.names(), ["x", "-", "-a", "y"]);
    }

    #[test]
    fn what_comes_behind_the_first_operand_may_belong_to_somebody_else() {
        let args = ["-a", "image", "-v", "x"].map(OsString::from);
        let p = parse(&TABLE, args, Order::UntilFirstOperand).unwrap();
        assert_eq!(p.names(), ["image", "-v", "x"]);
    }

    #[test]
    fn complaints_are_those_of_pflag() {
        for (args, message) in [
            (&["--nope"][..], "unknown flag: --nope"),
            (&["--nope=1"], "unknown flag: --nope"),
            (&["-az"], "unknown shorthand flag: 'z' in -z"),
            (
                &["-all"],
                "unknown shorthand flag: 'l' in -ll\nDid you mean --all?",
            ),
            (&["-=x"], "unknown shorthand flag: '=' in -=x"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["--format"], "flag needs an argument: --format"),
            (&["-av"], "flag needs an argument: 'v' in -v"),
            (
                &["--all=maybe"],
                "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                &["--limit", "1_0"],
                "invalid argument \"1_0\" for \"--limit\" flag: strconv.ParseInt: parsing \"1_0\": invalid syntax",
            ),
            (
                &["--limit", "99999999999999999999"],
                "invalid argument \"99999999999999999999\" for \"--limit\" flag: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
            ),
            (
                &["-f", "x"],
                "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
            ),
            (
                &["--platform", "a,\"b"],
                "invalid argument \"a,\\\"b\" for \"--platform\" flag: parse error on line 1, column 5: extraneous or missing \" in quoted-field",
            ),
        ] {
            assert_eq!(read(args).unwrap_err(), message, "{args:?}");
        }
    }

    #[test]
    fn a_long_name_behind_one_dash_is_noticed() {
        let p = read(&["-volume=x", "-vx"]).unwrap();
        assert_eq!(
            p.warnings,
            ["WARNING: -volume=x was read as -v olume=x. Did you mean --volume?"]
        );
        assert_eq!(p.list("volume"), ["olume=x", "x"]);
    }

    #[test]
    fn what_should_not_be_used_is_said() {
        let p = read(&["--old=false", "-h"]).unwrap();
        assert!(!p.switch("old") && p.switch("help"));
        assert_eq!(
            p.warnings,
            [
                "Flag --old has been deprecated, it does nothing",
                "Flag shorthand -h has been deprecated, use --help"
            ]
        );
    }
}
