//! `login`, `logout`, `search`.

use super::later;
use crate::command::{Command, Count, Listed};
use crate::flags::{Flag, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::terminal;

pub(super) const LOGIN: Command = Command {
    about: "Without a server it is Docker Hub. Credentials go to the helper that config.json names, else into config.json.",
    usage: "[OPTIONS] [SERVER]",
    ways: &["login"],
    count: Count::AtMost(1),
    flags: &[
        Flag::new(
            "password",
            Takes::Text,
            "Password or token; - reads it from stdin",
        )
        .short('p'),
        Flag::new(
            "password-stdin",
            Takes::Switch(false),
            "Read password or token from stdin",
        ),
        Flag::new("username", Takes::Text, "User name").short('u'),
    ],
    examples: &[
        "{name} login -u me registry.example.com",
        "pass show hub | {name} login -u me --password-stdin",
    ],
    listed: Listed::Common,
    ..Command::new("login", "Log in to a registry", login)
};

pub(super) const LOGOUT: Command = Command {
    about: "Without a server it is Docker Hub.",
    usage: "[SERVER]",
    ways: &["logout"],
    count: Count::AtMost(1),
    examples: &["{name} logout registry.example.com"],
    listed: Listed::Common,
    ..Command::new("logout", "Log out from a registry", logout)
};

pub(super) const SEARCH: Command = Command {
    about: "Filters: is-official=true, stars=NUMBER.",
    usage: "[OPTIONS] TERM",
    ways: &["search"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds").short('f'),
        Flag::new(
            "format",
            Takes::Text,
            "How to print: 'table TEMPLATE', 'json' or 'TEMPLATE', a Go template",
        ),
        Flag::new("limit", Takes::Int, "At most so many, up to 100"),
        Flag::new("no-trunc", Takes::Switch(false), "Print texts in full"),
    ],
    examples: &["{name} search --limit 5 nginx"],
    listed: Listed::Common,
    ..Command::new("search", "Look for images in a registry", search)
};

/// The server under which Docker Hub's credentials are kept, for ever.
const HUB: &str = "https://index.docker.io/v1/";

/// A user's name and password or token.
struct Credentials {
    username: String,
    password: String,
}

fn login(session: &Session, parsed: &Parsed) -> Outcome {
    let server = parsed
        .operand(0)
        .filter(|s| !s.is_empty() && s != "docker.io")
        .unwrap_or_else(|| HUB.to_owned());
    let given = credentials(session, parsed)?;
    let _ = interactive(session, &server, given)?;
    later("login")
}

/// From the flags, and stdin if they say so.
fn credentials(session: &Session, parsed: &Parsed) -> Result<Credentials, Failure> {
    let username = parsed.text("username").unwrap_or_default();
    let mut password = parsed.text("password").unwrap_or_default();
    let from_stdin = parsed.switch("password-stdin") || password == "-";
    if parsed.was_given("password-stdin") || password == "-" {
        if parsed.was_given("password") && password != "-" {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if !parsed.was_given("username") {
            return Err(Failure::plain(
                "the --password-stdin option requires --username to be set",
            ));
        }
    }
    if parsed.was_given("username") && username.is_empty() {
        return Err(Failure::plain("username is empty"));
    }
    if parsed.was_given("password") && password.is_empty() {
        return Err(Failure::plain("password is empty"));
    }
    if from_stdin {
        password = terminal::secret_from_stdin()?;
        if password.trim().is_empty() {
            return Err(Failure::plain("password is empty"));
        }
    } else if !password.is_empty() {
        session.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    Ok(Credentials { username, password })
}

/// What is missing is asked for, where somebody can answer.
fn interactive(session: &Session, server: &str, given: Credentials) -> Result<Credentials, Failure> {
    let Credentials {
        mut username,
        mut password,
    } = given;
    if (username.is_empty() || password.is_empty()) && !session.in_is_terminal() {
        return Err(Failure::plain(
            "error: cannot perform an interactive login from a non-TTY device",
        ));
    }
    if username.trim().is_empty() {
        if server == HUB {
            session.print("Log in with your Docker ID, or with a token in the place of the password.\n")?;
        }
        username = terminal::ask(session, "Username: ")?;
        if username.is_empty() {
            return Err(Failure::plain("error: username is required"));
        }
    }
    if password.trim().is_empty() {
        password = terminal::ask_secret(session, "Password: ")?;
        if password.is_empty() {
            return Err(Failure::plain("error: password is required"));
        }
    }
    Ok(Credentials { username, password })
}

fn logout(session: &Session, parsed: &Parsed) -> Outcome {
    let (shown, domain) = match parsed.operand(0).filter(|s| !s.is_empty()) {
        None => (HUB.to_owned(), "docker.io".to_owned()),
        Some(server) => (host_of(&server), host_of(&server)),
    };
    session.print(&format!("Removing login credentials for {shown}\n"))?;
    // That there were none is no failure.
    if let Err(e) = session.credentials().erase(&domain) {
        session.warn(&format!("WARNING: could not erase credentials:\n{shown}: {e}"));
    }
    Ok(())
}

/// A registry by its host, however it was written: credentials have been kept under addresses.
fn host_of(server: &str) -> String {
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| server.strip_prefix(scheme));
    bare.unwrap_or(server)
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn search(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed
        .filters("filter")
        .iter()
        .any(|(name, _)| name == "is-automated")
    {
        session.warn(
            "WARNING: the \"is-automated\" filter is deprecated, and searching for \"is-automated=true\" will not yield any results in future.",
        );
    }
    later("search")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_their_hosts() {
        for (server, host) in [
            ("registry.example.com", "registry.example.com"),
            (
                "https://registry.example.com:5000/v2/",
                "registry.example.com:5000",
            ),
            ("http://localhost:5000", "localhost:5000"),
            ("index.docker.io", "index.docker.io"),
        ] {
            assert_eq!(host_of(server), host);
        }
    }
}
