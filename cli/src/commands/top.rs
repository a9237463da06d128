//! `top`.

use crate::command::{Command, Count};
use crate::flags::{Offers, Order, Parsed};
use crate::session::{Outcome, Session};
use crate::tabs::{self, Layout};
use crate::workshop;
use engine::containers::Container;
use engine::top;
use image::{Error, Kind};
use monitor::state::Status;

pub(super) const TOP: Command = Command {
    about: "The host's ps is asked, with -ef or with the options that are given; they must leave a column PID.",
    usage: "CONTAINER [ps OPTIONS]",
    ways: &["container top", "top"],
    count: Count::AtLeast(1),
    order: Order::UntilFirstOperand,
    examples: &["{name} top web", "{name} top web -o pid,rss,cmd"],
    offers: Offers::Containers,
    ..Command::new("top", "List the processes of a container", show)
};

/// Docker's `top`.
const TABLE: Layout = Layout {
    least: 20,
    padding: 3,
};

fn show(session: &Session, parsed: &Parsed) -> Outcome {
    let containers = workshop::containers(session)?;
    let container = containers.find(&parsed.operand(0).unwrap_or_default())?;
    let words: Vec<String> = parsed.names().into_iter().skip(1).collect();
    let pids = top::pids(init(&container)?, container.id())?;
    let table = top::top(&pids, &words)?;
    engine::telling::tell(&containers, &container.definition, "top", &[]);
    let mut text = table.titles.join("\t") + "\n";
    for row in &table.rows {
        text.push_str(&(row.join("\t") + "\n"));
    }
    session.print(&tabs::align(&text, TABLE))
}

fn init(container: &Container) -> Result<i32, Error> {
    let refused = |message: String| Error::of(Kind::Conflict, message);
    match (&container.state.status, &container.state.init) {
        (Status::Restarting, _) => Err(refused(format!(
            "Container {} is restarting, wait until the container is running",
            container.id()
        ))),
        (Status::Running | Status::Paused, Some(init)) => Ok(init.pid),
        _ => Err(refused(format!("container {} is not running", container.id()))),
    }
}
