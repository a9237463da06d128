//! `bundle`, `unbundle`, `image mount`, `image unmount`.

use super::{PLATFORMS, later};
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Outcome, Session};

const PLATFORM: Flag = Flag::new(
    "platform",
    Takes::Text,
    "Of an image for several platforms, this one: os[/arch[/variant]]",
)
.offers(PLATFORMS);

pub(super) const BUNDLE: Command = Command {
    about: "The directory gets a config.json and a mounted rootfs that runb, runc or any other runtime runs as it is.\n{name} unbundle takes it away again.",
    usage: "[OPTIONS] IMAGE DIRECTORY",
    ways: &["bundle"],
    count: Count::Exactly(2),
    flags: &[PLATFORM],
    examples: &["{name} bundle debian:12 /tmp/b && runb run -b /tmp/b test; {name} unbundle /tmp/b"],
    offers: Offers::ImageAndDirectory,
    ..Command::new("bundle", "Make an OCI bundle of an image", bundle)
};

pub(super) const UNBUNDLE: Command = Command {
    usage: "DIRECTORY [DIRECTORY...]",
    ways: &["unbundle"],
    count: Count::AtLeast(1),
    examples: &["{name} unbundle /tmp/b"],
    offers: Offers::Directories,
    ..Command::new("unbundle", "Unmount and remove what bundle has made", unbundle)
};

pub(super) const MOUNT: Command = Command {
    about: "Without a directory one is made. Its path is printed. Without an image, lists what is mounted.",
    usage: "[OPTIONS] [IMAGE [DIRECTORY]]",
    ways: &["image mount"],
    count: Count::AtMost(2),
    flags: &[PLATFORM],
    examples: &["ls $({name} image mount debian:12)"],
    offers: Offers::ImageAndDirectory,
    ..Command::new("mount", "Mount the file system of an image, read-only", mount)
};

pub(super) const UNMOUNT: Command = Command {
    aliases: &["umount"],
    usage: "IMAGE|DIRECTORY [IMAGE|DIRECTORY...]",
    ways: &["image unmount", "image umount"],
    count: Count::AtLeast(1),
    examples: &["{name} image unmount debian:12"],
    offers: Offers::Images,
    ..Command::new("unmount", "Unmount images", unmount)
};

fn bundle(_: &Session, _: &Parsed) -> Outcome {
    later("bundle")
}

fn unbundle(_: &Session, _: &Parsed) -> Outcome {
    later("unbundle")
}

fn mount(_: &Session, _: &Parsed) -> Outcome {
    later("image mount")
}

fn unmount(_: &Session, _: &Parsed) -> Outcome {
    later("image unmount")
}
