//! `stats`.

use super::{FORMAT, NO_TRUNC};
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::rows::stats::{self, Row};
use crate::session::{Failure, Outcome, Session};
use crate::workshop;
use engine::containers::{Container, Containers};
use engine::stats::{Host, Meter, Mounts};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const STATS: Command = Command {
    about: "Without a name, all containers that run are shown, and those that come and go meanwhile.",
    usage: "[OPTIONS] [CONTAINER...]",
    ways: &["container stats", "stats"],
    count: Count::AtLeast(0),
    flags: &[
        Flag::new("all", Takes::Switch(false), "Show those that do not run, too").short('a'),
        FORMAT,
        Flag::new(
            "no-stream",
            Takes::Switch(false),
            "Show the figures once, and end",
        ),
        NO_TRUNC,
    ],
    examples: &[
        "{name} stats",
        "{name} stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web",
    ],
    offers: Offers::Containers,
    ..Command::new("stats", "Show what containers use", show)
};

/// Between two looks; Docker's.
const PACE: Duration = Duration::from_millis(500);

fn show(session: &Session, parsed: &Parsed) -> Outcome {
    let containers = workshop::containers(session)?;
    let mut watched = Watched::new(&containers, &parsed.names(), parsed.switch("all"))?;
    let config = session.config();
    let own = Some(config.stats_format.as_str()).filter(|f| !f.is_empty());
    let given = parsed.text("format");
    let format = given.as_deref().or(own);
    let no_trunc = parsed.switch("no-trunc");
    // A template that is wrong is told before anybody waits.
    stats::list(&[], format, no_trunc)?;
    watched.look()?;
    loop {
        std::thread::sleep(PACE);
        let rows = watched.look()?;
        let text = stats::list(&rows, format, no_trunc)?;
        if parsed.switch("no-stream") {
            return session.print(&text);
        }
        session.print(&screen(&text))?;
        if rows.is_empty() && !parsed.switch("all") {
            return Ok(());
        }
    }
}

/// From the upper left corner; what is left of lines that were longer, and of lines that are not there any more, goes.
fn screen(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| format!("{line} \x1b[K\n")).collect();
    format!("\x1b[H{}\x1b[J", lines.concat())
}

/// The containers that are looked at.
struct Watched<'w> {
    containers: &'w Containers,
    /// Named on the command line, with the word; else all.
    named: Option<Vec<(String, String)>>,
    all: bool,
    mounts: Mounts,
    /// By id, those that run.
    meters: BTreeMap<String, (Container, Meter)>,
}

impl Watched<'_> {
    fn new<'w>(containers: &'w Containers, names: &[String], all: bool) -> Result<Watched<'w>, Failure> {
        let named = match names {
            [] => None,
            names => Some(
                names
                    .iter()
                    .map(|name| Ok((name.clone(), containers.find_id(name)?)))
                    .collect::<Result<Vec<_>, Failure>>()?,
            ),
        };
        Ok(Watched {
            containers,
            named,
            all,
            mounts: Mounts::default(),
            meters: BTreeMap::new(),
        })
    }

    fn look(&mut self) -> Result<Vec<Row>, Failure> {
        let host = Host::now()?;
        let wanted: Vec<(String, String)> = match &self.named {
            Some(named) => named.clone(),
            None => self
                .containers
                .ids()?
                .into_iter()
                .map(|id| (id.clone(), id))
                .collect(),
        };
        self.meters
            .retain(|id, _| wanted.iter().any(|(_, wanted)| wanted == id));
        let mut rows: Vec<(String, Row)> = Vec::new();
        for (word, id) in wanted {
            if let Some(row) = self.one(&word, &id, &host)? {
                rows.push(row);
            }
        }
        if self.named.is_none() {
            // The latest first, as in ps.
            rows.sort_by(|a, b| b.0.cmp(&a.0));
        }
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// A row, and when its container was made.
    fn one(&mut self, word: &str, id: &str, host: &Host) -> Result<Option<(String, Row)>, Failure> {
        // Of one that goes on running, nothing is read but its figures.
        if let Some((container, meter)) = self.meters.get_mut(id) {
            if let Ok(usage) = meter.look(host) {
                return Ok(Some((
                    container.definition.created.clone(),
                    row(word, container, Some(usage)),
                )));
            }
            self.meters.remove(id);
        }
        let Some(container) = self.containers.load(id)? else {
            return Ok(self.named.is_some().then(|| (String::new(), Row::unknown(word))));
        };
        let created = container.definition.created.clone();
        let init = container.state.init.as_ref().filter(|_| container.is_running());
        let meter = init.and_then(|init| Meter::new(init.pid, container.id(), &mut self.mounts).ok());
        let Some(mut meter) = meter else {
            let is_shown = self.all || self.named.is_some();
            return Ok(is_shown.then(|| (created, row(word, &container, Some(Default::default())))));
        };
        let usage = meter.look(host).ok();
        let shown = row(word, &container, usage);
        self.meters.insert(id.to_owned(), (container, meter));
        Ok(Some((created, shown)))
    }
}

fn row(word: &str, container: &Container, usage: Option<engine::stats::Usage>) -> Row {
    Row {
        word: word.to_owned(),
        id: container.id().to_owned(),
        name: container.definition.name.clone(),
        usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_wipes_the_rest_of_the_one_below() {
        assert_eq!(screen("a\nb\n"), "\x1b[Ha \x1b[K\nb \x1b[K\n \x1b[K\n\x1b[J");
    }
}
