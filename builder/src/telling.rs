//! What is told while a build goes on.
//!
//! A vertex is a step as people see it: an instruction, a pull, a context that is read, an output that is written. It begins once and
//! ends once: done, from the cache, failed, or called off because another has failed.
//!
//! May not: know how it is shown.

/// Which vertex of a build.
pub type Vertex = usize;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// Vertices begin in any order and at the same time. The name is BuildKit's: `[stage 2/5] RUN make`, `[internal] load build context`.
    Begun {
        vertex: Vertex,
        name: &'e str,
    },
    /// Nothing had to be done. Ends it.
    Cached {
        vertex: Vertex,
    },
    /// What a process writes, as it comes.
    Output {
        vertex: Vertex,
        stream: Stream,
        bytes: &'e [u8],
    },
    /// A part of it, by a name: a layer that is pulled, a context that is read. Bytes; a total of 0 is not known.
    Progress {
        vertex: Vertex,
        id: &'e str,
        done: u64,
        total: u64,
    },
    Done {
        vertex: Vertex,
    },
    Failed {
        vertex: Vertex,
        why: &'e str,
    },
    Cancelled {
        vertex: Vertex,
    },
    /// A line for people that should worry them.
    Warning {
        text: &'e str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Gives numbers to vertices.
#[derive(Default)]
pub struct Counter(std::sync::atomic::AtomicUsize);

impl Counter {
    /// The next one.
    pub fn next(&self) -> Vertex {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

/// Whoever wants to hear; called from many threads.
pub type Listener<'l> = dyn Fn(&Event<'_>) + Sync + 'l;

/// Tells nobody.
pub fn silent(_: &Event<'_>) {}
