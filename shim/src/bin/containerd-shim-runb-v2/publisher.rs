//! Events on their way to containerd: in order, each once, kept while containerd is away.
//!
//! May not: drop an event because it is old, or pass one by another.
//!
//! A call whose connection broke before its answer is made again: containerd forgets what it was told when it ends, so
//! its successor has not heard it.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use shim::reactor::Reactor;
use shim::sync::{Count, Held, Queue};

use crate::log::Log;
use crate::proto::events::{Envelope, Event, FORWARD, ForwardRequest, SERVICE, TaskOom};
use crate::ttrpc::client::Client;
use crate::ttrpc::status::{Code, Result};

/// A living containerd answers in milliseconds. A call is only given up when nobody can be hoped for any more: to make it again
/// may tell the event twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to reach it.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The line of events.
#[derive(Debug)]
pub struct Publisher {
    reactor: Reactor,
    log: Rc<Log>,
    /// Empty for callers that want none.
    address: PathBuf,
    namespace: String,
    line: Queue<(ForwardRequest, Held)>,
    waiting: Rc<Count>,
}

impl Publisher {
    /// A line to a ttrpc socket.
    pub fn new(reactor: &Reactor, log: &Rc<Log>, address: PathBuf, namespace: &str) -> Rc<Publisher> {
        Rc::new(Publisher {
            reactor: reactor.clone(),
            log: Rc::clone(log),
            address,
            namespace: namespace.into(),
            line: Queue::default(),
            waiting: Rc::default(),
        })
    }

    /// Puts an event at the end of the line.
    pub fn publish<E: Event>(&self, event: &E) {
        if self.address.as_os_str().is_empty() {
            return;
        }
        let envelope = Envelope::of(event, &self.namespace, SystemTime::now().into());
        // A container that lives at its limit may be told of thousands of times while nobody listens.
        if envelope.topic == TaskOom::TOPIC && self.line.last_is(|(last, _)| says_the_same(last, &envelope)) {
            return;
        }
        let request = ForwardRequest {
            envelope: Some(envelope),
        };
        self.line.push((request, self.waiting.hold()));
    }

    /// Delivers for ever.
    pub async fn deliver(self: Rc<Self>) {
        let mut client = None;
        loop {
            let (event, held) = self.line.next().await;
            let mut failures = 0;
            loop {
                match self.attempt(&mut client, &event).await {
                    Ok(()) => break,
                    Err(e) if e.code == Code::Unavailable => {
                        client = None;
                        let pause = PAUSES.get(failures).or(PAUSES.last());
                        failures += 1;
                        self.reactor.sleep(pause.copied().unwrap_or_default()).await;
                    }
                    Err(e) => {
                        self.log.error(format!("failed to publish an event: {e}"));
                        break;
                    }
                }
            }
            drop(held);
        }
    }

    async fn attempt(&self, client: &mut Option<Client>, event: &ForwardRequest) -> Result<()> {
        let connected = match client {
            Some(client) => client,
            None => {
                let fresh = Client::connect(&self.reactor, &self.address);
                client.insert(fresh.map_err(|e| crate::ttrpc::status::Error::unavailable(e.to_string()))?)
            }
        };
        let limit = Instant::now() + PATIENCE;
        let call = connected.call(&self.reactor, (SERVICE, FORWARD), event, &self.namespace, limit);
        call.await.map(drop)
    }

    /// Until all that was published is delivered, or `limit`.
    pub async fn drain(&self, limit: Instant) {
        // What cannot be delivered by then has nobody to go to.
        let _ = self.reactor.within(Some(limit), self.waiting.zero()).await;
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.value()
    }
}

fn says_the_same(last: &ForwardRequest, envelope: &Envelope) -> bool {
    let last = last.envelope.as_ref();
    last.is_some_and(|last| last.topic == envelope.topic && last.event == envelope.event)
}
