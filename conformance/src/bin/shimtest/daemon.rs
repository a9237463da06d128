//! containerd, as far as a shim sees it: a server that receives events, can stay silent and can be gone.
//!
//! May not: call the shim.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conformance::messages::{self as m, Any, Envelope};
use conformance::ttrpc::Server;
use prost::Message;

/// An event that arrived.
#[derive(Debug, Clone)]
pub struct Event {
    pub topic: String,
    pub namespace: String,
    /// Whose it is; every event of a task begins with that.
    pub container: String,
    pub event: Any,
    pub has_time: bool,
}

impl Event {
    /// The event as the message that its type URL must name.
    pub fn decode<Kind: Message + Default>(&self, name: &str) -> Result<Kind, String> {
        if self.event.type_url != format!("containerd.events.{name}") {
            return Err(format!("{} carries a {}", self.topic, self.event.type_url));
        }
        Kind::decode(&self.event.value[..]).map_err(|e| format!("{}: {e}", self.topic))
    }

    /// Topic, and the exec that it is about, for a comparison of orders.
    pub fn short(&self) -> String {
        let name = self.topic.strip_prefix("/tasks/").unwrap_or(&self.topic);
        let exec = match name {
            "exit" => m::TaskExit::decode(&self.event.value[..]).map(|e| e.id),
            "delete" => m::TaskDelete::decode(&self.event.value[..]).map(|e| e.id),
            "exec-added" => m::TaskExecAdded::decode(&self.event.value[..]).map(|e| e.exec_id),
            "exec-started" => m::TaskExecStarted::decode(&self.event.value[..]).map(|e| e.exec_id),
            _ => Ok(String::new()),
        };
        match exec {
            Ok(exec) if !exec.is_empty() && exec != self.container => format!("{name}:{exec}"),
            Ok(_) => name.to_owned(),
            Err(e) => format!("{name}: {e}"),
        }
    }
}

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    strange: Vec<String>,
    is_silent: bool,
}

type Shared = Arc<(Mutex<Heard>, Condvar)>;

/// The played daemon.
pub struct Daemon {
    /// Where its gRPC socket would be; the one for ttrpc is beside it.
    address: PathBuf,
    shared: Shared,
    server: Mutex<Option<Server>>,
}

impl Daemon {
    pub fn start(address: &Path) -> Result<Daemon, String> {
        let daemon = Daemon {
            address: address.to_owned(),
            shared: Shared::default(),
            server: Mutex::new(None),
        };
        daemon.come_back()?;
        Ok(daemon)
    }

    pub fn address(&self) -> String {
        self.address.display().to_string()
    }

    pub fn ttrpc_address(&self) -> String {
        format!("{}.ttrpc", self.address())
    }

    /// Goes, as a daemon that is killed.
    pub fn go_away(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
    }

    /// Listens again.
    pub fn come_back(&self) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let server = Server::listen(Path::new(&self.ttrpc_address()), move |request| {
            receive(&shared, &request)
        });
        let server = server.map_err(|e| format!("the daemon's socket: {e}"))?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// From now on takes what comes and answers nothing, as a daemon that is stopped.
    pub fn fall_silent(&self) {
        self.heard().is_silent = true;
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that arrived so far.
    pub fn events(&self) -> Vec<Event> {
        self.heard().events.clone()
    }

    /// What one container's events were so far, in short.
    pub fn story(&self, container: &str) -> Vec<String> {
        let events = self.events();
        let own = events.iter().filter(|event| event.container == container);
        own.map(Event::short).collect()
    }

    /// What arrived and was no event.
    pub fn strange(&self) -> Vec<String> {
        self.heard().strange.clone()
    }

    /// Waits until one container's event `short` has arrived.
    pub fn await_event(&self, container: &str, short: &str, limit: Duration) -> Result<Event, String> {
        let end = Instant::now() + limit;
        let mut heard = self.heard();
        loop {
            let mut own = heard.events.iter().filter(|e| e.container == container);
            if let Some(event) = own.find(|e| e.short() == short) {
                return Ok(event.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(heard);
                let story = self.story(container);
                return Err(format!(
                    "no event {short} of {container} after {limit:?}; there were {story:?}"
                ));
            }
            let waited = self.shared.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn receive(shared: &Shared, request: &m::Request) -> Option<m::Response> {
    let mut heard = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    if heard.is_silent {
        return None;
    }
    let is_forward =
        request.service == "containerd.services.events.ttrpc.v1.Events" && request.method == "Forward";
    let envelope = m::ForwardRequest::decode(&request.payload[..])
        .ok()
        .and_then(|f| f.envelope);
    match envelope.filter(|_| is_forward) {
        Some(envelope) => heard.events.push(open(envelope)),
        None => heard
            .strange
            .push(format!("{}/{}", request.service, request.method)),
    }
    shared.1.notify_all();
    Some(m::Response::default())
}

fn open(envelope: Envelope) -> Event {
    let event = envelope.event.unwrap_or_default();
    Event {
        topic: envelope.topic,
        namespace: envelope.namespace,
        container: m::TaskNamed::decode(&event.value[..])
            .map(|e| e.container_id)
            .unwrap_or_default(),
        event,
        has_time: envelope.timestamp.is_some_and(|t| t.seconds > 1_500_000_000),
    }
}
