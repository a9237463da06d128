//! What a step is called in the cache: a digest of everything that it depends on.
//!
//! May not: contain what must not matter: times, secrets, proxies, the addresses of extra hosts.

use image::Digest;
use serde_json::Value;

/// Changes when steps are done otherwise than before.
const VERSION: u32 = 1;

/// The key of a step on top of another.
pub fn of_step(parent: Option<&Digest>, definition: &Value) -> Digest {
    let whole = serde_json::json!({"version": VERSION, "parent": parent, "step": definition});
    Digest::of(whole.to_string().as_bytes())
}
