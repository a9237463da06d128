//! Images in files: OCI layouts and docker-archives, in and out.
//!
//! What is saved is both at once: the blobs of an OCI layout with `index.json`, and `manifest.json` for those who read Docker's older form.
//! What is loaded may be either; bytes keep their digests on the way.
//!
//! May not: talk to a registry.

mod import;
mod layout;
mod load;
mod save;
mod scatter;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::oci::media;

pub use import::{Import, import};
pub use layout::{Which, layout};
pub use load::{Loaded, load};
pub use save::{Saved, choose, save};

/// One image of a docker-archive: an entry of its `manifest.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The annotations by which an index of a layout names its images: a full reference, and a tag or anything else.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The largest document of an archive that is read.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// Where a blob lies in a layout.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The media type of a layer that begins with these bytes.
fn layer_media_type(first: &[u8]) -> &'static str {
    match first {
        [0x1f, 0x8b, ..] => media::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => media::OCI_LAYER_ZSTD,
        _ => media::OCI_LAYER,
    }
}
