//! `bundle`, `unbundle`, `image mount`, `image unmount`.

use super::PLATFORMS;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::workshop::{self, Workshop};
use image::bundle::{self, IdMaps};
use image::mount::{self, Mounted};
use image::platform::Platform;
use image::store::Image;
use image::{progress, rootless, standing};
use std::path::Path;

const PLATFORM: Flag = Flag::new(
    "platform",
    Takes::Text,
    "Of an image for several platforms, this one: os[/arch[/variant]]",
)
.offers(PLATFORMS);

pub(super) const BUNDLE: Command = Command {
    about: "The directory gets a config.json and a mounted rootfs that runb, runc or any other runtime runs as it is.\n{name} unbundle takes it away again.\nAfter a reboot the same command mounts it once more, with all that was written in it.",
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
    about: "The path is printed. Without an image, lists what is mounted.",
    usage: "[OPTIONS] [IMAGE]",
    ways: &["image mount"],
    count: Count::AtMost(1),
    flags: &[PLATFORM],
    examples: &["ls $({name} image mount debian:12)"],
    offers: Offers::ImageAndDirectory,
    ..Command::new("mount", "Mount the file system of an image, read-only", mount)
};

pub(super) const UNMOUNT: Command = Command {
    aliases: &["umount"],
    usage: "IMAGE [IMAGE...]",
    ways: &["image unmount", "image umount"],
    count: Count::AtLeast(1),
    examples: &["{name} image unmount debian:12"],
    offers: Offers::Images,
    ..Command::new("unmount", "Unmount images", unmount)
};

fn bundle(session: &Session, parsed: &Parsed) -> Outcome {
    let names = parsed.names();
    let (Some(name), Some(directory)) = (names.first(), parsed.operands.get(1)) else {
        return Ok(());
    };
    let platform = workshop::platform(parsed.text("platform"))?;
    // Before an ordinary user becomes root of a namespace.
    let ids = rootless::is_needed()
        .then(|| IdMaps::of_user(sys::cred::effective_uid(), sys::cred::effective_gid()))
        .transpose()?
        .map(|(ids, _)| ids);
    let workshop = Workshop::open(session)?;
    let image = of_platform(&workshop, name, platform.as_ref())?;
    let options = bundle::Options {
        ids,
        ..bundle::Options::default()
    };
    let mount = mount::Options {
        // What an ordinary user mounts ends with this process.
        copy: workshop.is_rootless,
        ..mount::Options::default()
    };
    let maker = workshop.maker(&progress::silent)?;
    let (_, mounted) = standing::make_bundle(&maker, &image, Path::new(directory), &options, mount)?;
    tell_of_copy(session, &workshop, &mounted);
    Ok(())
}

/// The image of this name, if it is for that platform.
fn of_platform(workshop: &Workshop, name: &str, platform: Option<&Platform>) -> Result<Image, Failure> {
    let image = workshop.store.find_image(name)?;
    if let Some(wanted) = platform {
        let own = workshop.store.config(&image.id)?.0.platform();
        if wanted.rank(&own).is_none() {
            return Err(Failure::plain(format!(
                "image {name} is for {own}, not for {wanted}"
            )));
        }
    }
    Ok(image)
}

fn tell_of_copy(session: &Session, workshop: &Workshop, mounted: &Mounted) {
    if let Some(why) = &mounted.why {
        let why = match workshop.is_rootless {
            true => "an ordinary user's mount would end with this command",
            false => why,
        };
        session.warn(&format!("layers were copied, which takes time and space: {why}"));
    }
}

fn unbundle(session: &Session, parsed: &Parsed) -> Outcome {
    let workshop = Workshop::open(session)?;
    super::each(session, &parsed.operands, |directory| {
        standing::remove_bundle(&workshop.store, Path::new(directory))?;
        Ok(None)
    })
}

fn mount(session: &Session, parsed: &Parsed) -> Outcome {
    let platform = workshop::platform(parsed.text("platform"))?;
    let Some(name) = parsed.operand(0) else {
        let store = workshop::open_store(session)?;
        for (id, place) in standing::mounted_images(&store)? {
            session.print(&format!("{} {}\n", id.short(), place.display()))?;
        }
        return Ok(());
    };
    if rootless::is_needed() {
        return Err(Failure::plain(
            "an ordinary user's mount would end with this command; brig bundle copies the layers instead",
        ));
    }
    let workshop = Workshop::open(session)?;
    let image = of_platform(&workshop, &name, platform.as_ref())?;
    let maker = workshop.maker(&progress::silent)?;
    let (place, mounted) = standing::mount_image(&maker, &image)?;
    tell_of_copy(session, &workshop, &mounted);
    session.print(&format!("{}\n", place.display()))
}

fn unmount(session: &Session, parsed: &Parsed) -> Outcome {
    let workshop = Workshop::open(session)?;
    super::each(session, &parsed.operands, |name| {
        let image = workshop.store.find_image(&name.to_string_lossy())?;
        if !standing::unmount_image(&workshop.store, &image.id)? {
            return Err(
                image::Error::not_found(format!("image {} is not mounted", name.to_string_lossy())).into(),
            );
        }
        Ok(Some(image.id.to_string()))
    })
}
