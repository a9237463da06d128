//! The command line, as the `flag` package of Go reads it, because containerd writes it for that.
//!
//! ```text
//! -namespace N -address A -publish-binary P -id ID [-bundle B] [-debug] start|delete
//! -info | -v | -version | -h
//! ```
//!
//! `-k v`, `-k=v`, and the same with two dashes. A switch takes a value only behind `=`. Parsing ends at the first word that
//! is no flag, which is the action; what follows it is ignored.
//!
//! May not: print, or look at the environment.

use std::ffi::OsString;
use std::fmt;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `-v`: text for people.
    Version,
    /// `-info`: RuntimeInfo on stdout.
    Info,
    /// `-h`: [`USAGE`] on stderr, exit code 0.
    Help,
    /// Bring a shim up, print its address.
    Start,
    /// Remove what a dead shim left.
    Delete,
    /// No action: be the server.
    Serve,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    pub action: Action,
    pub namespace: String,
    /// containerd's gRPC socket. Empty when CRI-O is the caller.
    pub address: String,
    /// Unused: events go to `TTRPC_ADDRESS`.
    pub publish_binary: String,
    pub id: String,
    /// With `delete`; otherwise the bundle is the working directory.
    pub bundle: String,
    pub socket: String,
    pub debug: bool,
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub text: String,
    /// Whether [`USAGE`] follows: what a flag is was misunderstood. Go's programs exit with 2 then, otherwise with 1.
    pub usage: bool,
}

impl Refusal {
    fn syntax(text: String) -> Refusal {
        Refusal { text, usage: true }
    }

    fn meaning(text: impl Into<String>) -> Refusal {
        Refusal {
            text: text.into(),
            usage: false,
        }
    }

    pub fn exit_code(&self) -> i32 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The flags, for people.
pub const USAGE: &str = "\
usage: containerd-shim-runb-v2 [flags] start|delete

Started by containerd, not by hand.

  -namespace N       namespace that owns the shim
  -address PATH      gRPC socket of containerd
  -publish-binary P  ignored; events go to the socket in TTRPC_ADDRESS
  -id ID             id of the container
  -bundle PATH       its bundle, when that is not the working directory
  -socket PATH       socket to serve
  -debug             log more
  -info              read the options from stdin, write RuntimeInfo to stdout
  -v, -version       print the version
  -h, -help          print this
";

/// What the flags said, before it is asked whether that makes sense.
#[derive(Default)]
struct Flags {
    namespace: String,
    address: String,
    publish_binary: String,
    id: String,
    bundle: String,
    socket: String,
    debug: bool,
    version: bool,
    info: bool,
    help: bool,
}

enum Slot<'a> {
    Text(&'a mut String),
    Switch(&'a mut bool),
}

impl Flags {
    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "namespace" => Slot::Text(&mut self.namespace),
            "address" => Slot::Text(&mut self.address),
            "publish-binary" => Slot::Text(&mut self.publish_binary),
            "id" => Slot::Text(&mut self.id),
            "bundle" => Slot::Text(&mut self.bundle),
            "socket" => Slot::Text(&mut self.socket),
            "debug" => Slot::Switch(&mut self.debug),
            "v" | "version" => Slot::Switch(&mut self.version),
            "info" => Slot::Switch(&mut self.info),
            "h" | "help" => Slot::Switch(&mut self.help),
            _ => return None,
        })
    }
}

/// Reads the command line, without the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Refusal> {
    let mut flags = Flags::default();
    let action = take_flags(&mut flags, &mut args.into_iter())?;
    judge(flags, action.as_deref())
}

/// Reads flags up to the first word that is none, and returns that.
fn take_flags(
    flags: &mut Flags,
    args: &mut impl Iterator<Item = OsString>,
) -> Result<Option<String>, Refusal> {
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        let body = match arg.strip_prefix('-') {
            None | Some("") => return Ok(Some(arg)),
            Some("-") => return args.next().map(text).transpose(),
            Some(body) => body.strip_prefix('-').unwrap_or(body),
        };
        if body.starts_with(['-', '=']) {
            return Err(Refusal::syntax(format!("bad flag syntax: {arg}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        match flags.slot(name) {
            None => {
                return Err(Refusal::syntax(format!("flag provided but not defined: -{name}")));
            }
            Some(Slot::Switch(switch)) => *switch = value.map_or(Ok(true), |v| truth(v, name))?,
            Some(Slot::Text(slot)) => {
                *slot = match value {
                    Some(value) => value.to_string(),
                    // Whatever it looks like.
                    None => text(args.next().ok_or_else(|| needs_argument(name))?)?,
                }
            }
        }
    }
    Ok(None)
}

fn needs_argument(name: &str) -> Refusal {
    Refusal::syntax(format!("flag needs an argument: -{name}"))
}

/// The words for true and false that Go knows.
fn truth(value: &str, name: &str) -> Result<bool, Refusal> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Refusal::syntax(format!(
            "invalid boolean value {value:?} for -{name}: parse error"
        ))),
    }
}

/// All of it goes into protobuf strings and hashes of text.
fn text(arg: OsString) -> Result<String, Refusal> {
    arg.into_string()
        .map_err(|arg| Refusal::meaning(format!("argument {arg:?} is not UTF-8")))
}

fn judge(flags: Flags, word: Option<&str>) -> Result<Args, Refusal> {
    let action = match (&flags, word) {
        (Flags { help: true, .. }, _) => Action::Help,
        (Flags { version: true, .. }, _) => Action::Version,
        (Flags { info: true, .. }, _) => Action::Info,
        (Flags { namespace, .. }, _) if namespace.is_empty() => {
            return Err(Refusal::meaning("-namespace is missing"));
        }
        (_, Some("start")) => Action::Start,
        (_, Some("delete")) => Action::Delete,
        (_, None) => Action::Serve,
        (_, Some(other)) => {
            return Err(Refusal::meaning(format!(
                "unknown action {other:?}: want start or delete"
            )));
        }
    };
    // `delete` removes the directory of this name beside the working directory.
    let wants_id = matches!(action, Action::Start | Action::Delete | Action::Serve);
    if wants_id && (matches!(flags.id.as_str(), "" | "." | "..") || flags.id.contains('/')) {
        return Err(Refusal::meaning(format!(
            "{:?} is not the id of a container",
            flags.id
        )));
    }
    Ok(Args {
        action,
        namespace: flags.namespace,
        address: flags.address,
        publish_binary: flags.publish_binary,
        id: flags.id,
        bundle: flags.bundle,
        socket: flags.socket,
        debug: flags.debug,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse_words(line: &str) -> Result<Args, Refusal> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn parsed(line: &str) -> Args {
        parse_words(line).unwrap()
    }

    /// Text and exit code.
    fn refused(line: &str) -> (String, i32) {
        let refusal = parse_words(line).unwrap_err();
        (refusal.text.clone(), refusal.exit_code())
    }

    #[test]
    fn start_as_containerd_writes_it() {
        let args = parsed(
            "-namespace k8s.io -address /run/containerd/containerd.sock \
             -publish-binary /usr/bin/containerd -id abc -debug start",
        );
        let wanted = Args {
            action: Action::Start,
            namespace: "k8s.io".into(),
            address: "/run/containerd/containerd.sock".into(),
            publish_binary: "/usr/bin/containerd".into(),
            id: "abc".into(),
            bundle: String::new(),
            socket: String::new(),
            debug: true,
        };
        assert_eq!(args, wanted);
    }

    #[test]
    fn delete_has_a_bundle() {
        let args = parsed("--namespace=n -address= --id a -bundle=/b=c delete");
        assert_eq!(
            (args.action, args.address.as_str(), args.bundle.as_str()),
            (Action::Delete, "", "/b=c")
        );
    }

    #[test]
    fn a_value_may_look_like_a_flag_or_be_empty() {
        let words = ["-namespace", "n", "-id", "-debug", "-address", "", "start"];
        let args = parse(words.map(OsString::from)).unwrap();
        assert_eq!((args.id.as_str(), args.debug), ("-debug", false));
        assert_eq!((args.address.as_str(), args.action), ("", Action::Start));
    }

    #[test]
    fn the_last_value_counts() {
        assert_eq!(parsed("-namespace a -namespace b -id i").namespace, "b");
    }

    #[test]
    fn switches_take_values_only_behind_an_equals_sign() {
        for (text, wanted) in [("-debug=false", false), ("--debug=T", true), ("-debug=0", false)] {
            assert_eq!(
                parsed(&format!("-namespace n -id i {text}")).debug,
                wanted,
                "{text}"
            );
        }
        // `false` is the action here.
        let (text, code) = refused("-namespace n -id i -debug false");
        assert_eq!(
            (text.as_str(), code),
            (r#"unknown action "false": want start or delete"#, 1)
        );
    }

    #[test]
    fn flags_behind_the_action_are_not_read() {
        assert!(!parsed("-namespace n -id i start -debug --nonsense").debug);
    }

    #[test]
    fn two_dashes_end_the_flags() {
        assert_eq!(parsed("-namespace n -id i -- start").action, Action::Start);
        assert_eq!(parsed("-namespace n -id i --").action, Action::Serve);
    }

    #[test]
    fn questions_need_nothing_else() {
        for (line, action) in [
            ("-v", Action::Version),
            ("--version", Action::Version),
            ("-info", Action::Info),
            ("-info -namespace n", Action::Info),
            ("-h", Action::Help),
            ("--help", Action::Help),
            ("-info -v", Action::Version),
        ] {
            assert_eq!(parsed(line).action, action, "{line}");
        }
    }

    #[test]
    fn refusals_in_the_words_of_go() {
        for (line, text, code) in [
            ("-nope start", "flag provided but not defined: -nope", 2),
            ("--nope=1", "flag provided but not defined: -nope", 2),
            ("-id", "flag needs an argument: -id", 2),
            ("---id x", "bad flag syntax: ---id", 2),
            ("-=x", "bad flag syntax: -=x", 2),
            (
                "-debug=yes",
                r#"invalid boolean value "yes" for -debug: parse error"#,
                2,
            ),
            ("start", "-namespace is missing", 1),
            ("", "-namespace is missing", 1),
        ] {
            assert_eq!(refused(line), (text.to_string(), code), "{line}");
        }
    }

    #[test]
    fn an_id_is_one_name() {
        for id in ["", ".", "..", "../x", "a/b"] {
            let line = format!("-namespace=n -id={id} delete");
            assert_eq!(refused(&line).0, format!("{id:?} is not the id of a container"));
        }
    }

    #[test]
    fn text_only() {
        let refusal = parse([OsString::from_vec(vec![b'-', 0xff])]).unwrap_err();
        assert_eq!(refusal.text, r#"argument "-\xFF" is not UTF-8"#);
    }

    /// docs/man is written by hand: it has the flags of the usage in the same order, and no others.
    #[test]
    fn the_manual_page_has_the_flags_of_the_usage() {
        let page = include_str!("../../../../docs/man/containerd-shim-runb-v2.8");
        let flags_of = |line: &str| -> Vec<String> {
            let words = line.split([' ', ','].as_slice());
            words.filter(|w| w.starts_with('-')).map(str::to_owned).collect()
        };
        let usage = USAGE.lines().filter(|l| l.starts_with("  -"));
        // Only the column of the flags: the sentence beside them may have a dash, too.
        let usage: Vec<_> = usage.flat_map(|l| flags_of(&l[..l.len().min(20)])).collect();
        let page = page.lines().filter(|l| l.starts_with(r"\fB\-"));
        let page: Vec<_> = page
            .flat_map(|l| flags_of(&l.replace(r"\fB", "").replace(r"\fR", "").replace(r"\-", "-")))
            .collect();
        assert_eq!(page, usage);
        assert!(usage.len() > 10, "{usage:?}");
    }
}
