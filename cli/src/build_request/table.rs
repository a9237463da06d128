//! The flags of `build`: those of `docker buildx build`, and what the builder before it had.
//!
//! May not: give them a meaning. What buildx looks at only after all flags have been read is text here, so that of two mistakes the
//! same one is told.

use crate::commands::PLATFORMS;
use crate::flags::{Flag, Form, Offers, Takes};
use crate::run::{devices, values};

static BYTES: Form = Form {
    name: "bytes",
    check: |text| values::size(text).map(drop),
    many: false,
};
static ULIMIT: Form = Form {
    name: "ulimit",
    check: |text| devices::ulimit(text).map(drop),
    many: true,
};

const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::Switch(false), about)
}

const fn text(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::Text, about)
}

const fn list(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Takes::List, about)
}

/// How progress is shown.
pub const PROGRESS: Flag = text(
    "progress",
    "How to show progress: auto, tty, plain, rawjson, quiet (the id at the end) or none",
)
.default("auto")
.offers(Offers::Choice(&[
    "auto", "none", "plain", "quiet", "rawjson", "tty",
]));

/// The flags of `build`.
pub static BUILD: [Flag; 54] = [
    Flag::new("add-host", Takes::Words, "A line for /etc/hosts of RUN, HOST:IP"),
    list(
        "allow",
        "Allow what steps must ask for: network.host, security.insecure or device",
    )
    .offers(Offers::Choice(&["network.host", "security.insecure", "device"])),
    list(
        "annotation",
        "An annotation of the image, [TYPE:]KEY=VALUE; TYPE is manifest, index or one's descriptor",
    ),
    list("attest", "An attestation, type=sbom|provenance[,KEY=VALUE...]"),
    list(
        "build-arg",
        "A value for an ARG, NAME=VALUE; NAME alone takes it from here",
    ),
    list(
        "build-context",
        "A further context, NAME=PATH, URL, docker-image://IMAGE or oci-layout://PATH",
    ),
    text("builder", "").hidden(),
    list(
        "cache-from",
        "Where others keep what they have built, type=registry,ref=NAME, type=local,src=DIR or an image",
    ),
    list(
        "cache-to",
        "Where to keep what is built for others, type=registry,ref=NAME, type=local,dest=DIR or type=inline; mode=max for all stages",
    ),
    text(
        "call",
        "What to do: build, check, outline or targets; format=json and ignorestatus behind commas",
    )
    .default("build")
    .offers(Offers::Choice(&["build", "check", "outline", "targets"])),
    text("cgroup-parent", "The cgroup that those of RUN are made in"),
    switch("check", "Say what is wrong with the Dockerfile, and build nothing"),
    switch("debug", "Say more about what happens").short('D'),
    text(
        "file",
        "The Dockerfile (PATH/Dockerfile if nothing is said), or - for stdin",
    )
    .short('f')
    .offers(Offers::Files),
    text("iidfile", "Write the id of the image to this file").offers(Offers::Files),
    list("label", "A label of the image, KEY=VALUE"),
    switch("load", "Short for --output=type=docker: an image of the store"),
    text("metadata-file", "Write what came of it to this file, as JSON").offers(Offers::Files),
    text(
        "network",
        "Network of RUN where the Dockerfile names none: default, none or host",
    )
    .default("default")
    .offers(Offers::Choice(&["default", "none", "host"])),
    switch("no-cache", "Do everything again, whatever is in the cache"),
    list("no-cache-filter", "Do these stages again"),
    list(
        "output",
        "What becomes of it: DIR, - (a tar archive on stdout), or type=image|registry|oci|docker|local|tar|cacheonly,KEY=VALUE...",
    )
    .short('o')
    .offers(Offers::Files),
    list(
        "platform",
        "What it is built for, os/arch[/variant]; several behind commas",
    )
    .offers(PLATFORMS),
    list("policy", "").hidden(),
    PROGRESS,
    text("provenance", "Short for --attest=type=provenance"),
    switch("pull", "Ask the registry for newer versions of the images"),
    switch("push", "Short for --output=type=registry: send the image"),
    switch("quiet", "Show nothing but the id of the image").short('q'),
    list(
        "resource",
        "A limit of each RUN: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems=VALUE",
    ),
    text("sbom", "Short for --attest=type=sbom"),
    list(
        "secret",
        "A secret for RUN, id=NAME[,src=FILE|,env=VARIABLE]",
    ),
    Flag::new("shm-size", Takes::Of(&BYTES), "Size of /dev/shm of RUN"),
    list(
        "ssh",
        "An ssh agent for RUN, default or NAME[=SOCKET|KEY[,KEY...]]",
    ),
    list("tag", "A name for the image; may be given several times")
        .short('t'),
    text("target", "The stage to build (the last one if nothing is said)"),
    Flag::new(
        "ulimit",
        Takes::Of(&ULIMIT),
        "A limit of RUN, NAME=SOFT[:HARD]",
    ),
    // Of the builder before BuildKit.
    text("memory", "Limit of memory of each RUN").short('m'),
    text("memory-swap", "Limit of memory and swap together; -1: no limit"),
    text("cpu-shares", "Share of CPU time of each RUN, relative to others").short('c'),
    text("cpu-period", "Period of the CPU quota, in microseconds"),
    text("cpu-quota", "CPU time in each period, in microseconds"),
    text("cpuset-cpus", "Which CPUs (0-3, 0,1)"),
    text("cpuset-mems", "Which memory nodes (0-3, 0,1)"),
    switch("squash", "Make one layer of those that the build makes"),
    switch("compress", "").hidden(),
    switch("disable-content-trust", "").hidden(),
    switch("force-rm", "").hidden(),
    text("isolation", "").hidden(),
    Flag::new("rm", Takes::Switch(true), "").hidden(),
    Flag::new("security-opt", Takes::Words, "").hidden(),
    switch("stream", "").hidden(),
    text("print", "").hidden(),
    // Of podman.
    text("jobs", "How many stages to build at the same time").default("one for each CPU"),
];
