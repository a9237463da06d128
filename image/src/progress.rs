//! What is told while something takes time.

/// Where one layer, or one blob, is on its way. The words that Docker has for them are the terminal's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It will be fetched.
    Announced,
    /// Others come first, or another process is at it.
    Waiting,
    /// Bytes so far, and in all.
    Downloading {
        done: u64,
        total: u64,
    },
    /// An attempt has failed; the next one comes in so many seconds.
    Retrying {
        seconds: u64,
    },
    /// All bytes are here.
    Downloaded,
    /// Compressed bytes so far, and in all.
    Extracting {
        done: u64,
        total: u64,
    },
    /// It is in the store.
    Pulled,
    /// It was in the store.
    Exists,
    /// It will be sent.
    Preparing,
    Pushing {
        done: u64,
        total: u64,
    },
    Pushed,
    /// The registry had it.
    ExistsThere,
    /// The registry had it in another repository.
    Mounted {
        from: String,
    },
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Of one layer, by the first twelve digits of its blob.
    Layer { id: &'a str, step: Step },
    /// A line for people.
    Note(String),
    /// A line for people that should worry them.
    Warning(String),
}

/// Whoever wants to hear; called from many threads.
pub type Listener<'l> = dyn Fn(&Event<'_>) + Sync + 'l;

/// Tells nobody.
pub fn silent(_: &Event<'_>) {}
