//! Cases: what one acts on, and what must be true when it is over.
//!
//! May not: know more of the subject than its command line.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use conformance::command::{self, Outcome};
use conformance::daemon::find_program;
use conformance::patience;
use conformance::played::leaks;
use conformance::terminal::Terminal;
pub use conformance::verdict::{Choice, Done, Sums, has, is, lacks};
use conformance::verdict::{all_of, unmount_below};

use crate::cases;
use crate::lab::{Lab, Subject};
use crate::wires;

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Words that only brig has, or where Docker 20.10 is older than the contract.
    Brig,
    /// Docker beside it.
    Docker,
    /// The program `nft`.
    Nft,
}

pub struct Case {
    pub name: String,
    pub needs: &'static [Need],
    act: Box<dyn Fn(&mut Scene) -> Done>,
}

pub fn case(name: &str, needs: &'static [Need], act: impl Fn(&mut Scene) -> Done + 'static) -> Case {
    Case {
        name: name.to_owned(),
        needs,
        act: Box::new(act),
    }
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = cases::first::cases();
    all.extend(cases::second::cases());
    all.extend(cases::codes::cases());
    all.extend(cases::terminals::cases());
    all.extend(cases::tables::cases());
    all.extend(cases::lives::cases());
    all.extend(cases::layers::cases());
    all.extend(cases::copies::cases());
    all.extend(cases::options::cases());
    all.extend(cases::rootless::cases());
    all.extend(cases::crashes::cases());
    all.extend(cases::volumes::cases());
    all.extend(cases::upgrade::cases());
    all.extend(cases::publish::cases());
    all.extend(cases::names::cases());
    all.extend(cases::networks::cases());
    all.extend(cases::databases::cases());
    all.extend(cases::firewall::cases());
    all.extend(cases::wrecks::cases());
    all
}

/// Which network a container has when a line names none and the case is not about networks: servers then answer on the loopback of the
/// played host.
const NETWORK: &str = "--network host";

/// One performance of a case.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    /// A directory of the case's own.
    pub dir: PathBuf,
    /// Whether a line that names no network is left as it was typed.
    pub as_typed: bool,
}

pub fn soon() -> Duration {
    patience::seconds(30)
}

impl Scene<'_> {
    /// Runs a line as a person types it. A container that it makes gets the host's network, if the line names no other.
    pub fn sh(&self, line: &str) -> Result<Outcome, String> {
        self.lab
            .run(self.lab.subject, &self.line(line), "", patience::seconds(60))
    }

    /// The same with something on stdin.
    pub fn hears(&self, line: &str, stdin: &str) -> Result<Outcome, String> {
        self.lab
            .run(self.lab.subject, &self.line(line), stdin, patience::seconds(60))
    }

    /// A line that must succeed; the answer is what it printed on stdout, without the last line break.
    pub fn must(&self, line: &str) -> Result<String, String> {
        self.sh(line)?.ok().map_err(|e| format!("{line}: {e}"))
    }

    /// A line that must print exactly this on stdout, and nothing on stderr.
    pub fn prints(&self, line: &str, text: &str) -> Done {
        self.answers(line, 0, text, "")
    }

    /// A line with its exit code, its stdout and its stderr.
    pub fn answers(&self, line: &str, code: i32, stdout: &str, stderr: &str) -> Done {
        let o = self.sh(line)?;
        let all = |code: i32, out: &str, err: &str| format!("[{code}] stdout {out:?} stderr {err:?}");
        is(line, all(o.code, &o.stdout, &o.stderr), all(code, stdout, stderr))
    }

    /// A line that must fail with this code, nothing on stdout, and one of these texts on stderr.
    pub fn fails(&self, line: &str, code: i32, parts: &[&str]) -> Done {
        let o = self.sh(line)?;
        if o.code != code {
            return Err(format!(
                "{line}: exit code {} instead of {code}: {}{}",
                o.code, o.stdout, o.stderr
            ));
        }
        let message = o.stderr.to_lowercase();
        if parts.is_empty() || parts.iter().any(|part| message.contains(&part.to_lowercase())) {
            Ok(())
        } else {
            Err(format!(
                "{line}: the message {:?} has none of {parts:?}",
                o.stderr
            ))
        }
    }

    pub fn terminal(&self, line: &str) -> Result<Terminal, String> {
        self.lab.terminal(self.lab.subject, &self.line(line))
    }

    pub fn inspect(&self, name: &str, format: &str) -> Result<String, String> {
        self.must(&format!("docker inspect --format '{format}' {name}"))
    }

    /// Asks until a line prints a text that holds this part.
    pub fn until(&self, line: &str, part: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("{line}: {part:?}"), soon(), || {
            last = match self.sh(line) {
                Ok(o) => o.stdout + &o.stderr,
                Err(e) => e,
            };
            last.contains(part)
        })
        .map_err(|e| format!("{e}; last: {last:?}"))
    }

    /// Waits until a container has ended.
    pub fn until_ended(&self, name: &str) -> Done {
        self.until(
            &format!("docker inspect --format '{{{{.State.Status}}}}' {name}"),
            "exited",
        )
    }

    /// Asks a server of this host until it answers with this part.
    pub fn until_served(&self, port: u16, part: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("port {port} serves {part:?}"), soon(), || {
            last = ask(port, "GET / HTTP/1.0\r\n\r\n").unwrap_or_else(|e| e);
            last.contains(part)
        })
        .map_err(|e| format!("{e}; last: {last:?}"))
    }

    /// A file of the case, made with this text.
    pub fn file(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path.display().to_string())
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub fn read(&self, name: &str) -> Result<String, String> {
        let path = self.dir.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// A running container that does nothing until it is told to end.
    pub fn idle(&self, name: &str, flags: &str) -> Result<String, String> {
        self.must(&format!(
            "docker run -d --name {name} {flags} tiny sh -c 'trap \"exit 0\" TERM; sleep 1000 & wait'"
        ))
    }

    fn line(&self, typed: &str) -> String {
        if self.as_typed {
            typed.to_owned()
        } else {
            on_host(typed)
        }
    }

    pub fn is_docker(&self) -> bool {
        self.lab.subject == Subject::Docker
    }
}

/// Adds the host's network to lines that make a container and say nothing of networks.
fn on_host(line: &str) -> String {
    if line.contains("--network") || line.contains("--net ") {
        return line.to_owned();
    }
    let mut text = line.to_owned();
    for verb in ["run ", "create "] {
        for program in ["docker ", "docker container "] {
            let typed = format!("{program}{verb}");
            text = text.replace(&typed, &format!("{typed}{NETWORK} "));
        }
    }
    text
}

/// One question to a server of this host, and all that it answers.
pub fn ask(port: u16, question: &str) -> Result<String, String> {
    let told = |e: std::io::Error| format!("port {port}: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(told)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .map_err(told)?;
    stream.write_all(question.as_bytes()).map_err(told)?;
    let mut answer = Vec::new();
    // A server that keeps the connection open has answered when it falls silent.
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
        if question.starts_with("PING") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What keeps its text from one question to the next is an id: so many hexadecimal digits.
pub fn is_id(text: &str, length: usize) -> Done {
    let good = text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if good {
        Ok(())
    } else {
        Err(format!("{text:?} is no id of {length} digits"))
    }
}

/// Runs every chosen case and prints a line for each.
pub fn run_all(lab: &Lab, choice: &Choice, turn: Turn) -> Sums {
    let mut sums = Sums::default();
    if turn == Turn::Last {
        // Docker's rules go once and for all, before anybody looks how the host is.
        let _ = wires::output("nft flush ruleset; iptables -P FORWARD ACCEPT");
        let _ = lab.run(Subject::Brig, "docker network reload", "", soon());
    }
    let all = all();
    let chosen = all.iter().filter(|case| choice.has(&case.name));
    for case in chosen.filter(|case| turn == turn_of(&case.name)) {
        let name = &case.name;
        if let Some(why) = missing(lab, case) {
            sums.skip(name, &why);
            continue;
        }
        let began = Instant::now();
        sums.tell(name, began, perform(lab, case));
    }
    sums
}

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    First,
    /// After everything that asks Docker: its rules are flushed, too.
    Last,
}

fn turn_of(name: &str) -> Turn {
    match name.starts_with("firewall.flushed") || name.starts_with("wreck.reboot") {
        true => Turn::Last,
        false => Turn::First,
    }
}

/// Why a case cannot be played here.
fn missing(lab: &Lab, case: &Case) -> Option<String> {
    case.needs.iter().find_map(|need| match need {
        Need::Brig => (lab.subject == Subject::Docker).then(|| "Docker 20.10 does not know this".to_owned()),
        Need::Docker => lab.docker().as_ref().err().cloned(),
        Need::Nft => find_program("nft")
            .is_none()
            .then(|| "nft is not installed".to_owned()),
    })
}

/// Plays a case, then takes its containers away and asks whether anything was left.
fn perform(lab: &Lab, case: &Case) -> Done {
    let dir = lab.dir.join("case");
    let before = leaks::survey(&lab.dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut scene = Scene {
        lab,
        dir: dir.clone(),
        as_typed: false,
    };
    let acted = (case.act)(&mut scene);
    let emptied = lab.empty();
    let clean = leaks::check(&before, &lab.dir);
    if clean.is_err() {
        end_leftovers(&before, lab);
    }
    unmount_below(&dir);
    let removed = std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()));
    all_of([acted, emptied, clean, removed])
}

/// Kills what a case left, so that the next one is judged for itself.
fn end_leftovers(before: &leaks::Survey, lab: &Lab) {
    for line in leaks::left(before, &lab.dir) {
        let pid = line
            .strip_prefix("process ")
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        if pid.parse::<u32>().is_ok() {
            let kill = command::run(
                std::process::Command::new("kill").args(["-KILL", pid]),
                "",
                patience::seconds(10),
            );
            if let Err(e) = kill {
                eprintln!("kill: {e}");
            }
        }
    }
}
