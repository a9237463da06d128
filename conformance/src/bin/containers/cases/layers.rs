//! Layers of an image that several containers stand on: the machine has them once in memory.

use conformance::command;
use conformance::verdict::names;

use crate::case::{Case, Done, Need, Scene, case, is, soon};
use crate::uptime;
use crate::wires::output;

pub fn cases() -> Vec<Case> {
    vec![
        case("layers.in-memory-once", &[], in_memory_once),
        case("layers.keepers-killed", &[Need::Brig], keepers_killed),
        case("layers.made-again", &[Need::Brig], made_again),
    ]
}

/// What a container that reads all of its programs has to pay for, of the file system's pages.
fn read_all(s: &Scene, name: &str) -> Result<u64, String> {
    s.must(&format!(
        "docker run -d --name {name} --network none debian:bookworm sleep 1000"
    ))?;
    let before = cached(s, name)?;
    s.must(&format!("docker exec {name} sh -c 'cat /usr/bin/* >/dev/null'"))?;
    Ok(cached(s, name)?.saturating_sub(before))
}

fn cached(s: &Scene, name: &str) -> Result<u64, String> {
    // Version 1, and version 2.
    let line = format!(
        "docker exec {name} sh -c 'cat /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null; true'"
    );
    let told = s.must(&line)?;
    let mut lines = told.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(key, _)| matches!(*key, "cache" | "file"));
    found
        .and_then(|(_, bytes)| bytes.trim().parse().ok())
        .ok_or_else(|| format!("no memory of files in {told:?}"))
}

/// What a container has of its own is less than this; what is read is ten times as much.
const LITTLE: u64 = 4 << 20;

fn others_do_not(s: &Scene, name: &str) -> Done {
    let paid = read_all(s, name)?;
    is(&format!("{name} pays ({paid} bytes)"), paid < LITTLE, true)
}

fn in_memory_once(s: &mut Scene) -> Done {
    read_all(s, "one")?;
    others_do_not(s, "two")?;
    // Who comes and goes does not take it along.
    s.must("docker run --rm --network none debian:bookworm true")?;
    s.must("docker rm -f one")?;
    others_do_not(s, "three")?;
    s.must("docker restart -t 0 two")?;
    s.must("docker rm -f three")?;
    others_do_not(s, "four")
}

/// What nobody keeps any more is mounted anew, and is whole.
fn keepers_killed(s: &mut Scene) -> Done {
    s.must("docker run -d --name one --network none debian:bookworm sleep 1000")?;
    let sum = |name: &str| s.must(&format!("docker exec {name} sh -c 'cat /usr/bin/* | md5sum'"));
    let before = sum("one")?;
    uptime::named("brig-mon").into_iter().try_for_each(uptime::kill)?;
    command::until("the monitors are gone", soon(), || {
        uptime::named("brig-mon").is_empty()
    })?;
    s.must("docker run -d --name two --network none debian:bookworm sleep 1000")?;
    is("what two reads", sum("two")?, before.clone())?;
    others_do_not(s, "three")?;
    is("what three reads", sum("three")?, before.clone())?;
    is("what one reads", sum("one")?, before)?;
    s.must("docker rm -f one two three")?;
    is(
        "said of layers",
        names(&s.lab.store().join("run/layers")).join(" "),
        "",
    )
}

/// A damaged layer is made again, and who comes after that has the new one, although somebody still has the old.
fn made_again(s: &mut Scene) -> Done {
    let sum = "docker run --rm --network none debian:bookworm sh -c 'cat /usr/bin/* | md5sum'";
    let before = s.must(sum)?;
    s.must("docker run -d --name one --network none debian:bookworm sleep 1000")?;
    let layers = s.lab.store().join("layers");
    let image = s.must("docker image inspect --format '{{index .RootFS.Layers 0}}' debian:bookworm")?;
    let spoiled = format!(
        "d={}/{}; f=$(ls $d/*); test -f $f && dd if=/dev/urandom of=$f bs=1M seek=4 count=8 conv=notrunc status=none",
        layers.display(),
        image.trim().trim_start_matches("sha256:")
    );
    output(&spoiled)?;
    s.fails("docker system check", 1, &["damaged"])?;
    s.must("docker system check --repair")?;
    is("what the next one reads", s.must(sum)?, before.clone())?;
    s.must("docker run -d --name two --network none debian:bookworm sleep 1000")?;
    is("what is read after that", s.must(sum)?, before)
}
