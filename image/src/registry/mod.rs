//! The registry client (OCI distribution specification 1.1, Docker registry HTTP API V2).
//!
//! ```text
//! Client (documents)   download, partial (blobs in)   upload (blobs out)   web (any file)
//!    hosts: which endpoints      session: authorization, redirects, attempts      auth, challenge: tokens
//!       http: one request        url, proxy, retry, errors: pure
//! ```
//!
//! May not: keep an image, know the store, write to a terminal. What users should hear while it goes on is a [`Notice`].

mod auth;
mod cancel;
mod challenge;
mod client;
mod download;
mod errors;
mod forward;
#[cfg(test)]
mod fuzz;
mod hosts;
mod hosts_toml;
mod http;
mod list;
mod partial;
mod proxy;
mod registries_conf;
mod retry;
mod search;
mod session;
mod upload;
mod url;
mod web;

use std::sync::Arc;
use std::time::Duration;

pub use cancel::Cancel;
pub use client::{Client, Fetched, Resolved, Which};
pub use download::Transfer;
pub use hosts::Files;
pub use http::{Limits, Tls};
pub use list::Referrers;
pub(crate) use partial::forget as forget_partial;
pub use partial::{Opened, Partial, PartialReader};
pub use proxy::Proxies;
pub use retry::Patience;
pub use search::Found;
pub use upload::{Bytes, Push, Pushed};
pub use web::WebFile;

/// What a user may want to hear while something goes on.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The registry has something to say.
    Warning { host: String, text: String },
    /// An attempt failed; the next one begins after that time.
    Retrying {
        host: String,
        reason: String,
        wait: Duration,
    },
    /// A mirror did not serve; the next one is asked.
    MirrorFailed { host: String, reason: String },
    /// Another process downloads the same blob; its result will be used.
    Waiting { digest: crate::Digest },
}

/// Who hears it. It is called from several threads.
pub type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

/// How a client behaves. [`Settings::of_host`] is what `brig` uses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it calls itself.
    pub user_agent: String,
    pub limits: Limits,
    pub patience: Patience,
    pub proxies: Proxies,
    /// Where registries are configured.
    pub files: Files,
    /// What the user adds to every request to a registry. They go where its credentials go, and no further.
    pub headers: Vec<(String, String)>,
    pub transfer: Transfer,
}

impl Settings {
    /// Without any file and without the environment.
    pub fn bare() -> Settings {
        Settings {
            user_agent: concat!("brig/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
            patience: Patience::default(),
            proxies: Proxies::default(),
            files: Files::default(),
            headers: Vec::new(),
            transfer: Transfer::default(),
        }
    }

    /// What the environment and the usual files of this host say.
    pub fn of_host() -> Settings {
        let variable = |name: &str| std::env::var(name).ok();
        Settings {
            proxies: Proxies::of(variable),
            files: Files::usual(variable),
            ..Settings::bare()
        }
    }
}
