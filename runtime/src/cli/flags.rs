//! Flags as data: what a command accepts is a static table, and one small parser reads argv by it.
//!
//! May not: know any flag, read the environment, print. The syntax is that of Go's flag package, because callers
//! written for runc rely on it: `-name` is `--name`, a value is the next argument whatever it looks like or follows
//! `=`, a switch takes a value only with `=`. Where runc can only find its flags in front of some operands this
//! parser finds them everywhere, except after the first operand of `exec` and `ps`.
//! See docs/decisions/0001-flags-as-data.md.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: on or off.
    Nothing,
    /// Any text; the last one counts.
    Text,
    /// Any text; all of them count.
    Texts,
    /// A Go integer: decimal, or 0x, 0o, 0b.
    Int,
    /// Decimal integers; all of them count.
    Ints,
    /// A Go duration: `1h2m3.5s`.
    Duration,
}

/// What a shell may offer as a value or operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// Nothing in particular.
    Nothing,
    /// Paths of files.
    Files,
    /// Paths of directories.
    Directories,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Ids of the containers there are.
    Containers,
    /// A container, then a signal.
    ContainerAndSignal,
    /// Names of commands.
    Commands,
}

/// Whether help, man pages and completions mention it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// They do.
    Yes,
    /// Accepted because callers pass it, told to nobody.
    No,
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// What follows it.
    pub takes: Takes,
    /// The default as help shows it; empty when there is nothing to say.
    pub default: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Listed or not.
    pub shown: Shown,
    /// For shells.
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

    /// What shells offer as its value.
    pub const fn offers(self, offers: Offers) -> Flag {
        Flag { offers, ..self }
    }

    fn answers_to(&self, name: &[u8]) -> bool {
        self.name.as_bytes() == name
            || self
                .short
                .is_some_and(|c| name.len() == 1 && name[0] as char == c)
    }
}

/// Where flags are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Everywhere up to `--`.
    Anywhere,
    /// Up to the first operand; the rest belongs to somebody else.
    UntilFirstOperand,
}

/// One flag that was given, with its value as written.
#[derive(Debug)]
struct Given {
    flag: &'static Flag,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Switch(bool),
    Text(OsString),
    Int(i64),
    Duration(Duration),
}

/// What argv said.
#[derive(Debug, Default)]
pub struct Parsed {
    given: Vec<Given>,
    /// Operands in order.
    pub operands: Vec<OsString>,
}

/// The flag that every table has.
pub static HELP: Flag = Flag::new("help", Takes::Nothing, "show help").short('h');

/// Reads `args` by `table`.
///
/// # Errors
/// The sentence of Go's flag package; callers match some of them (`flag needs an argument`, `flag provided but not
/// defined`).
pub fn parse(
    table: &'static [Flag],
    args: impl IntoIterator<Item = OsString>,
    order: Order,
) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            parsed.operands.push(arg);
            if order == Order::UntilFirstOperand {
                break;
            }
            continue;
        }
        if bytes == b"--" {
            break;
        }
        let given = parse_flag(table, bytes, &mut args)?;
        parsed.given.push(given);
    }
    parsed.operands.extend(args);
    Ok(parsed)
}

fn parse_flag(
    table: &'static [Flag],
    arg: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<Given, String> {
    let body = arg.strip_prefix(b"--").unwrap_or(&arg[1..]);
    if body.is_empty() || body[0] == b'-' || body[0] == b'=' {
        return Err(format!("bad flag syntax: {}", String::from_utf8_lossy(arg)));
    }
    let (name, inline) = match body.iter().position(|&b| b == b'=') {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let shown = String::from_utf8_lossy(name);
    let Some(flag) = std::iter::once(&HELP).chain(table).find(|f| f.answers_to(name)) else {
        return Err(format!("flag provided but not defined: -{shown}"));
    };
    if flag.takes == Takes::Nothing {
        let on = match inline {
            None => true,
            Some(text) => parse_bool(text).ok_or_else(|| {
                format!(
                    "invalid boolean value {:?} for -{shown}: parse error",
                    String::from_utf8_lossy(text)
                )
            })?,
        };
        return Ok(Given {
            flag,
            value: Value::Switch(on),
        });
    }
    let text = match inline {
        Some(text) => OsString::from_vec(text.to_vec()),
        None => rest
            .next()
            .ok_or_else(|| format!("flag needs an argument: -{shown}"))?,
    };
    let value = parse_value(flag.takes, text).map_err(|(text, why)| {
        format!(
            "invalid value {:?} for flag -{shown}: {why}",
            text.to_string_lossy()
        )
    })?;
    Ok(Given { flag, value })
}

fn parse_value(takes: Takes, text: OsString) -> Result<Value, (OsString, String)> {
    let wrong = |text: OsString, why: &str| Err((text, why.to_string()));
    match takes {
        Takes::Int => match text.to_str().map_or(Err(NotInt::Syntax), parse_go_int) {
            Ok(n) => Ok(Value::Int(n)),
            Err(NotInt::Syntax) => wrong(text, "parse error"),
            Err(NotInt::Range) => wrong(text, "value out of range"),
        },
        Takes::Ints => match text.to_str().and_then(|t| t.parse().ok()) {
            Some(n) => Ok(Value::Int(n)),
            None => {
                let why = format!(
                    "strconv.ParseInt: parsing {:?}: invalid syntax",
                    text.to_string_lossy()
                );
                Err((text, why))
            }
        },
        Takes::Duration => match text.to_str().and_then(parse_duration) {
            Some(d) => Ok(Value::Duration(d)),
            None => wrong(text, "parse error"),
        },
        Takes::Nothing | Takes::Text | Takes::Texts => Ok(Value::Text(text)),
    }
}

impl Parsed {
    fn last(&self, name: &str) -> Option<&Value> {
        self.given
            .iter()
            .rev()
            .find(|g| g.flag.name == name)
            .map(|g| &g.value)
    }

    /// A switch, if it was given at all.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.last(name)? {
            Value::Switch(on) => Some(*on),
            _ => None,
        }
    }

    /// A switch that is off unless given.
    pub fn is_on(&self, name: &str) -> bool {
        self.switch(name).unwrap_or(false)
    }

    /// A text; the last one given, even an empty one.
    pub fn text(&self, name: &str) -> Option<&OsStr> {
        match self.last(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// All texts of a flag, in order.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.given
            .iter()
            .filter(move |g| g.flag.name == name)
            .filter_map(|g| match &g.value {
                Value::Text(text) => Some(text.as_os_str()),
                _ => None,
            })
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.last(name)? {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// All integers of a flag.
    pub fn ints<'a>(&'a self, name: &'a str) -> impl Iterator<Item = i64> + 'a {
        self.given
            .iter()
            .filter(move |g| g.flag.name == name)
            .filter_map(|g| match g.value {
                Value::Int(n) => Some(n),
                _ => None,
            })
    }

    /// A duration.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.last(name)? {
            Value::Duration(d) => Some(*d),
            _ => None,
        }
    }
}

/// The words that Go takes for a boolean.
pub fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum NotInt {
    Syntax,
    Range,
}

/// Go's `ParseInt(text, 0, 64)` without its underscores: a leading 0x, 0o, 0b or 0 chooses the base.
fn parse_go_int(text: &str) -> Result<i64, NotInt> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_str() {
        d if d.starts_with("0x") => (16, &d[2..]),
        d if d.starts_with("0o") => (8, &d[2..]),
        d if d.starts_with("0b") => (2, &d[2..]),
        d if d.len() > 1 && d.starts_with('0') => (8, &d[1..]),
        d => (10, d),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(NotInt::Syntax);
    }
    let magnitude = i128::from_str_radix(digits, base).map_err(|_| NotInt::Range)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| NotInt::Range)
}

/// Go's `ParseDuration` for what is not negative: numbers with units, or a bare 0.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        nanos += number * unit_nanos(&rest[..end])?;
        rest = &rest[end..];
    }
    // Go's durations are 63 bits of nanoseconds.
    (nanos < 9.2e18).then(|| Duration::from_nanos(nanos as u64))
}

fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Flag; 6] = [
        Flag::new("bundle", Takes::Text, "").short('b'),
        Flag::new("no-pivot", Takes::Nothing, ""),
        Flag::new("env", Takes::Texts, "").short('e'),
        Flag::new("preserve-fds", Takes::Int, ""),
        Flag::new("additional-gids", Takes::Ints, "").short('g'),
        Flag::new("interval", Takes::Duration, ""),
    ];

    fn read(args: &[&str], order: Order) -> Result<Parsed, String> {
        parse(&TABLE, args.iter().map(OsString::from), order)
    }

    fn anywhere(args: &[&str]) -> Parsed {
        read(args, Order::Anywhere).unwrap()
    }

    #[test]
    fn one_dash_is_as_good_as_two_and_equals_as_good_as_a_space() {
        for args in [
            &["-b", "x"][..],
            &["--b", "x"],
            &["-bundle", "x"],
            &["--bundle", "x"],
            &["-b=x"],
            &["-bundle=x"],
            &["--bundle=x"],
            &["--bundle=y", "-b", "x"],
        ] {
            let p = anywhere(args);
            assert_eq!(p.text("bundle").unwrap(), "x", "{args:?}");
            assert!(p.operands.is_empty(), "{args:?}");
        }
    }

    #[test]
    fn flags_are_found_behind_operands() {
        let p = anywhere(&["id", "--no-pivot", "other", "--bundle", "b"]);
        assert!(p.is_on("no-pivot"));
        assert_eq!(p.text("bundle").unwrap(), "b");
        assert_eq!(p.operands, ["id", "other"]);
    }

    #[test]
    fn the_payload_keeps_its_flags() {
        let p = read(
            &["-e", "A=1", "id", "-e", "B", "--", "x"],
            Order::UntilFirstOperand,
        )
        .unwrap();
        assert_eq!(p.texts("env").collect::<Vec<_>>(), ["A=1"]);
        assert_eq!(p.operands, ["id", "-e", "B", "--", "x"]);
    }

    #[test]
    fn two_dashes_end_the_flags() {
        assert_eq!(anywhere(&["a", "--", "-b", "--"]).operands, ["a", "-b", "--"]);
        let p = read(&["--", "-b", "x"], Order::UntilFirstOperand).unwrap();
        assert_eq!(p.operands, ["-b", "x"]);
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        let p = anywhere(&["--bundle", "--no-pivot", "-", "--env", "--"]);
        assert_eq!(p.text("bundle").unwrap(), "--no-pivot");
        assert_eq!(p.texts("env").collect::<Vec<_>>(), ["--"]);
        assert_eq!(p.operands, ["-"]);
        assert!(!p.is_on("no-pivot"));
    }

    #[test]
    fn switches_take_a_value_only_with_equals() {
        assert_eq!(anywhere(&["--no-pivot=false"]).switch("no-pivot"), Some(false));
        assert_eq!(anywhere(&["--no-pivot=T"]).switch("no-pivot"), Some(true));
        assert_eq!(anywhere(&["--no-pivot", "false"]).operands, ["false"]);
        assert_eq!(anywhere(&[]).switch("no-pivot"), None);
    }

    #[test]
    fn lists_keep_every_value_and_split_nothing() {
        let p = anywhere(&["-e", "A=1,2", "--env=B=3", "-g", "5", "-g=-6"]);
        assert_eq!(p.texts("env").collect::<Vec<_>>(), ["A=1,2", "B=3"]);
        assert_eq!(p.ints("additional-gids").collect::<Vec<_>>(), [5, -6]);
    }

    #[test]
    fn refusals_read_as_those_of_go() {
        for (args, text) in [
            (&["-x"][..], "flag provided but not defined: -x"),
            (&["id", "--nope=1"], "flag provided but not defined: -nope"),
            (&["--bundle"], "flag needs an argument: -bundle"),
            (&["-b"], "flag needs an argument: -b"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["--=x"], "bad flag syntax: --=x"),
            (
                &["--no-pivot=foo"],
                "invalid boolean value \"foo\" for -no-pivot: parse error",
            ),
            (
                &["--preserve-fds", "x"],
                "invalid value \"x\" for flag -preserve-fds: parse error",
            ),
            (
                &["--preserve-fds", "9223372036854775808"],
                "invalid value \"9223372036854775808\" for flag -preserve-fds: value out of range",
            ),
            (
                &["-g", "x"],
                "invalid value \"x\" for flag -g: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["--interval", "5"],
                "invalid value \"5\" for flag -interval: parse error",
            ),
        ] {
            assert_eq!(read(args, Order::Anywhere).unwrap_err(), text, "{args:?}");
        }
    }

    #[test]
    fn integers_as_go_reads_them() {
        for (text, n) in [
            ("0", 0),
            ("-7", -7),
            ("+7", 7),
            ("0x10", 16),
            ("010", 8),
            ("0b11", 3),
            ("0o17", 15),
        ] {
            assert_eq!(parse_go_int(text), Ok(n), "{text}");
        }
        for text in ["", "-", "0x", "1e3", "08", " 1"] {
            assert_eq!(parse_go_int(text), Err(NotInt::Syntax), "{text}");
        }
    }

    #[test]
    fn durations_as_go_reads_them() {
        for (text, ms) in [
            ("5s", 5000),
            ("1h2m3s", 3_723_000),
            ("1.5s", 1500),
            ("100ms", 100),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-1s", "5s5", "1..2s", "999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    /// Whatever argv holds is read or refused; a fixed sequence, so that a failure can be repeated.
    #[test]
    fn no_argv_is_too_strange() {
        let pieces: [&[u8]; 16] = [
            b"-",
            b"--",
            b"=",
            b"bundle",
            b"b",
            b"no-pivot",
            b"preserve-fds",
            b"interval",
            b"\xff\xfe",
            b"0x",
            b"-9",
            "\u{b5}s".as_bytes(),
            b"1.5h",
            b" ",
            b"g",
            b"99999999999999999999",
        ];
        let mut seed = 1u64;
        let mut next = |n: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let args: Vec<OsString> = (0..next(4))
                .map(|_| {
                    let bytes: Vec<u8> = (0..next(5))
                        .flat_map(|_| pieces[next(pieces.len())].to_vec())
                        .collect();
                    OsString::from_vec(bytes)
                })
                .collect();
            match parse(&TABLE, args, Order::Anywhere) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} {refused}");
    }
}
