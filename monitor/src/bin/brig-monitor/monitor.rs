//! What all parts of the monitor share: the container's files, its state, and the run of it that is on.
//!
//! May not: decide what happens next (`life`), or do what a client asks (`control`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use monitor::events::{self, Event};
use monitor::launch::Launch;
use monitor::log::Writer;
use monitor::place::Place;
use monitor::protocol::{Ended, Kind};
use monitor::state::{State, Status, stamp};
use shim::container::Container;
use shim::runtime::Host;
use shim::sync::{Bell, Count, Once};

use crate::beside::Log;
use crate::io::Io;
use crate::networks::Served;

/// Why something is not done, as a client is told.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub kind: Kind,
    pub message: String,
}

impl Refusal {
    pub fn of(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            message: message.into(),
        }
    }
}

impl From<shim::error::Error> for Refusal {
    fn from(e: shim::error::Error) -> Refusal {
        Refusal::of(Kind::Other, e.to_string())
    }
}

impl From<sys::Error> for Refusal {
    fn from(e: sys::Error) -> Refusal {
        Refusal::of(Kind::Other, e.to_string())
    }
}

/// The container once, from a start to its end.
#[derive(Debug)]
pub struct Run {
    pub io: Rc<Io>,
    /// Once it is made.
    pub container: RefCell<Option<Rc<Container>>>,
    /// The init's pid, or why there is none.
    pub started: Once<Result<i32, Refusal>>,
    /// Set when whoever waits for the end is told: everything that belongs to the end has been done.
    pub ended: Once<Ended>,
    /// A client that writes to it is attached, or was.
    pub typed: Cell<bool>,
}

impl Run {
    pub fn new(log: &Rc<RefCell<Writer>>) -> Rc<Run> {
        Rc::new(Run {
            io: Io::logged(log),
            container: RefCell::default(),
            started: Once::default(),
            ended: Once::default(),
            typed: Cell::new(false),
        })
    }
}

/// What shall be when the run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// What the restart policy says.
    Policy,
    /// It stays ended.
    End,
    /// It is started again.
    Again,
}

/// Everything.
pub struct Monitor {
    pub on: Host,
    pub place: Place,
    pub launch: RefCell<Launch>,
    pub state: RefCell<State>,
    pub log: Log,
    pub run: RefCell<Rc<Run>>,
    pub then: Cell<Then>,
    /// The state on disk is another's from now on: the container may be started by whoever has read it.
    pub handed_over: Cell<bool>,
    /// Another monitor has started it.
    pub adopted: bool,
    /// Its policy wants a start that a monitor without its root cannot make: brig is asked for it when all is over.
    pub again: Cell<bool>,
    /// Remove it when it has ended; with its anonymous volumes.
    pub remove: Cell<Option<bool>>,
    /// How often it was paused: whether a pause is still the one that a client has asked for.
    pub pauses: Cell<u64>,
    /// The run, `then` or the state has changed.
    pub bell: Bell,
    /// What clients have not been sent yet.
    pub unsent: Rc<Count>,
    /// Where what its volumes consist of is mounted: brig's mount namespace, if it is not ours.
    pub outside: RefCell<Option<OwnedFd>>,
    /// What is done for its networks.
    pub served: Served,
    /// Nothing happens any more, and why the removal failed.
    pub over: Once<Option<String>>,
}

impl Monitor {
    pub fn run(&self) -> Rc<Run> {
        Rc::clone(&self.run.borrow())
    }

    pub fn status(&self) -> Status {
        self.state.borrow().status
    }

    /// The container that runs, or Docker's words for that there is none.
    pub fn running(&self) -> Result<(Rc<Run>, Rc<Container>), Refusal> {
        let id = &self.place.id;
        let run = self.run();
        let container = run.container.borrow().clone();
        match (self.status(), container) {
            (Status::Running | Status::Paused, Some(container)) => Ok((run, container)),
            (Status::Restarting, _) => Err(Refusal::of(
                Kind::NotRunning,
                format!("Container {id} is restarting, wait until the container is running"),
            )),
            _ => Err(Refusal::of(
                Kind::NotRunning,
                format!("container {id} is not running"),
            )),
        }
    }

    /// Changes the state, on disk too.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.borrow_mut();
        change(&mut state);
        if self.handed_over.get() {
            return;
        }
        // The container goes on: what cannot be written is wrong until it can be.
        if let Err(e) = state.save(&self.place) {
            drop(state);
            self.note(&format!("failed to write the state: {e}"));
        }
        self.bell.ring();
    }

    /// Tells of an event; a listener that cannot be told keeps nothing from happening.
    pub fn tell(&self, action: impl Into<String>, more: &[(&str, String)]) {
        let mut attributes: BTreeMap<String, String> = self.launch.borrow().attributes.clone();
        attributes.extend(more.iter().map(|(key, value)| (key.to_string(), value.clone())));
        let event = Event::of_container(action, &self.place.id, attributes);
        if let Err(e) = events::append(&self.place.events, &event) {
            self.note(&e.to_string());
        }
    }

    /// Writes down what nobody can be told.
    pub fn note(&self, what: &str) {
        use std::io::Write;
        let line = format!("{} {what}\n", stamp(SystemTime::now()));
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.place.notes());
        // There is no place left to say that this failed.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
