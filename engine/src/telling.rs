//! What happens to containers, told to whoever listens (`brig events`). Their monitors tell the rest.
//!
//! May not: fail what it tells of. An event that cannot be written is lost, as a line of a log is.

use std::collections::BTreeMap;

use monitor::events::Event;

use crate::containers::Containers;
use crate::events;
use crate::model::Definition;
use crate::volumes;

/// What every event of a container says of it: labels, image and name.
pub fn attributes(definition: &Definition) -> BTreeMap<String, String> {
    let mut attributes = definition.config.labels.clone();
    attributes.insert("image".into(), definition.config.image.clone());
    attributes.insert("name".into(), definition.name.clone());
    attributes
}

/// Of a container: `create`, `destroy`, `rename`, ...
pub fn tell(containers: &Containers, definition: &Definition, action: &str, more: &[(&str, &str)]) {
    let mut attributes = attributes(definition);
    for (name, value) in more {
        attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    let event = Event::of_container(action, &definition.id, attributes);
    // The disk is full or the store read-only: what was done is done.
    let _ = events::tell(containers.roots(), &event);
}

/// Of the volumes of a container that has started. Its monitor tells when they are not mounted any more.
pub fn tell_mounted(containers: &Containers, definition: &Definition) {
    for mount in definition.mounts.iter().filter(|m| m.kind == "volume") {
        let more = [
            ("container", definition.id.as_str()),
            ("destination", &mount.destination),
            ("propagation", &mount.propagation),
            ("read/write", if mount.rw { "true" } else { "false" }),
        ];
        volumes::tell(containers, &mount.name, "mount", &more);
    }
}
