//! What another version has left: its records, its monitors, its programs that run.
//!
//! `golden/store-1` is a container as the first version wrote it, with the image's digests and the store's root to be filled in. It is
//! never written anew: what is added to a record later has to have a default. A form that cannot be read like this has another number.
//!
//! May not: build anything.

use std::path::{Path, PathBuf};

use conformance::command;
use conformance::judge::BESIDE;

use crate::case::{Case, Done, Need, Scene, case, has, is, soon};
use crate::uptime;

const ID: &str = "f339fe106462ae9990327ed45262cae249eedb479c89c189397bc78e81a3ec82";

/// The files of `golden/store-1`, by their names in a container.
const FILES: [(&str, &str); 5] = [
    ("container.json", include_str!("../golden/store-1/container.json")),
    ("state.json", include_str!("../golden/store-1/state.json")),
    ("launch.json", include_str!("../golden/store-1/launch.json")),
    ("image.json", include_str!("../golden/store-1/image.json")),
    ("log", include_str!("../golden/store-1/log")),
];

pub fn cases() -> Vec<Case> {
    vec![
        case("upgrade.store", &[Need::Brig], |s| life(s, |_, text| text)),
        case("upgrade.store-that-says-less", &[Need::Brig], says_less),
        case("upgrade.store-that-says-more", &[Need::Brig], says_more),
        case("upgrade.store-of-a-newer-form", &[Need::Brig], newer_form),
        case("upgrade.programs-replaced", &[Need::Brig], programs_replaced),
    ]
}

fn told(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |e| format!("{}: {e}", path.display())
}

fn directory(s: &Scene) -> PathBuf {
    s.lab.store().join("containers").join(ID)
}

/// Puts the container of the first version into the store, each file as `edit` makes it.
fn plant(s: &Scene, edit: impl Fn(&str, String) -> String) -> Done {
    // What `tiny` is called here stands in the record of any container of it.
    let id = s.must("docker create --name seed --network none tiny true")?;
    let seed = s.lab.store().join("containers").join(id).join("image.json");
    let text = std::fs::read_to_string(&seed).map_err(told(&seed))?;
    s.must("docker rm seed")?;
    let ground: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let of = |key: &str| ground[key].as_str().unwrap_or_default().to_owned();
    let dir = directory(s);
    std::fs::create_dir_all(dir.join("fs/upper")).map_err(told(&dir))?;
    std::fs::create_dir_all(dir.join("fs/work")).map_err(told(&dir))?;
    std::fs::write(dir.join("fs/upper/file"), "before\n").map_err(told(&dir))?;
    for (name, text) in FILES {
        let text = text
            .replace("@IMAGE@", &of("image"))
            .replace("@MANIFEST@", &of("manifest"))
            .replace("@ROOT@", &s.lab.store().display().to_string());
        let file = match name {
            "log" => dir.join(format!("{ID}-json.log")),
            name => dir.join(name),
        };
        std::fs::write(&file, edit(name, text)).map_err(told(&file))?;
    }
    let link = s.lab.store().join("names/old");
    std::os::unix::fs::symlink(ID, &link).map_err(told(&link))
}

/// Everything that is done to a container that has ended, and to one that runs.
fn life(s: &mut Scene, edit: impl Fn(&str, String) -> String) -> Done {
    plant(s, edit)?;
    has(
        "ps",
        &s.must("docker ps -a --filter name=old --format '{{.Names}} {{.Image}} {{.Status}}'")?,
        "old tiny Exited (3)",
    )?;
    is(
        "inspect",
        s.inspect("old", "{{.State.Status}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{index .Config.Env 0}}")?,
        "exited 67108864 on-failure COLOUR=blue",
    )?;
    s.prints("docker logs old", "said before\n")?;
    s.must("docker start old")?;
    s.until_ended("old")?;
    s.prints("docker logs old", "said before\nsaid\n")?;
    s.must("docker cp old:/file copy && cat copy && rm copy")
        .and_then(|text| is("what it has written", text, "before\nkept"))?;
    s.must("docker update --restart no old")?;
    s.must("docker rename old older")?;
    s.must("docker system check --quick")?;
    s.prints("docker rm older", "older\n")
}

/// What a later version has added to a record, the first one did not write.
fn says_less(s: &mut Scene) -> Done {
    life(s, |name, text| match name {
        "container.json" => text
            .replace(",\"networks\":{}", "")
            .replace("\"UsernsMode\":\"\",", ""),
        "state.json" => text
            .replace(",\"health\":null,\"execs\":[]", "")
            .replace("\"restart_count\":0,", ""),
        "launch.json" => text.replace(",\"volumes\":[]", ""),
        _ => text,
    })
}

/// A version that comes adds to every record. What this one writes anew keeps it.
fn says_more(s: &mut Scene) -> Done {
    let more = |name: &str, text: String| match name {
        "log" => text.replace("{\"log\"", "{\"tomorrow\":1,\"log\""),
        _ => text.replacen('{', "{\"tomorrow\":{\"a\":[1]},", 1),
    };
    plant(s, more)?;
    s.must("docker rename old other")?;
    let file = directory(s).join("container.json");
    let text = std::fs::read_to_string(&file).map_err(told(&file))?;
    has("the record", &text, "\"tomorrow\":{\"a\":[1]}")?;
    s.must("docker rm other")?;
    life(s, more)
}

/// A form that this version does not know is refused in one sentence, and stays as it is.
fn newer_form(s: &mut Scene) -> Done {
    // Its fields may be others altogether.
    plant(s, |name, text| match name {
        "container.json" => text
            .replace("\"version\":1", "\"version\":2")
            .replace("\"args\":[", "\"args\":[7,"),
        _ => text,
    })?;
    let file = directory(s).join("container.json");
    let before = std::fs::read(&file).map_err(told(&file))?;
    let refused = || -> Done {
        for line in [
            "docker ps -a",
            "docker inspect old",
            "docker start old",
            "docker rename old other",
            "docker rm -f old",
        ] {
            let outcome = s.sh(line)?;
            is(line, outcome.code, 1)?;
            let sentence = format!("container {ID} has been made by a newer brig");
            has(line, &outcome.stderr, &sentence)?;
            // `start` says once more, as Docker's, which ones it means.
            let lines = outcome
                .stderr
                .lines()
                .filter(|line| !line.contains("failed to start"));
            is(&format!("lines of {line}"), lines.count(), 1)?;
        }
        is(
            "the record",
            std::fs::read(&file).map_err(told(&file))? == before,
            true,
        )
    };
    let done = refused();
    // Nothing of this version takes it away.
    std::fs::write(
        &file,
        String::from_utf8_lossy(&before)
            .replace("\"version\":2", "\"version\":1")
            .replace("[7,", "["),
    )
    .map_err(told(&file))?;
    done.and(s.prints("docker rm old", "old\n"))
}

/// `make install` puts new programs in the place of those that run.
fn programs_replaced(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --network none tiny sh -c 'echo said; exec sleep 600'")?;
    s.must("docker run -d --name again --network none --restart always tiny sleep 600")?;
    s.until("docker logs box", "said")?;
    let beside = s.lab.dir.join(BESIDE);
    for name in ["brig", "brig-monitor", "brig-init", "runb"] {
        // Another file under the same name. What follows the end of a program is nobody's.
        let (file, new) = (beside.join(name), beside.join(format!("{name}.new")));
        std::fs::copy(&file, &new).map_err(told(&file))?;
        let mut bytes = std::fs::read(&new).map_err(told(&new))?;
        bytes.extend(b"newer");
        std::fs::write(&new, bytes).map_err(told(&new))?;
        std::fs::rename(&new, &file).map_err(told(&file))?;
    }
    for monitor in uptime::named("brig-mon") {
        let exe = PathBuf::from(format!("/proc/{monitor}/exe"));
        let program = std::fs::read_link(&exe).map_err(told(&exe))?;
        has("the monitor's program", &program.to_string_lossy(), " (deleted)")?;
    }
    uptime::truth(s.lab)?;
    s.prints("docker exec box echo inside", "inside\n")?;
    s.prints("docker logs box", "said\n")?;
    s.must("docker update --restart on-failure box")?;
    s.must("docker pause box && docker unpause box && docker rename box crate")?;
    s.must("docker top crate")?;
    // The old monitor starts it again, with the new runtime.
    let pid: u32 = s
        .inspect("again", "{{.State.Pid}}")?
        .parse()
        .map_err(|e| format!("pid: {e}"))?;
    uptime::kill(pid)?;
    s.until(
        "docker inspect --format '{{.RestartCount}} {{.State.Status}}' again",
        "1 running",
    )?;
    s.prints("docker exec again echo inside", "inside\n")?;
    s.prints("docker stop -t 0 crate", "crate\n")?;
    s.prints("docker start crate", "crate\n")?;
    s.prints("docker restart -t 0 again", "again\n")?;
    uptime::truth(s.lab)?;
    s.prints("docker rm -f crate again", "crate\nagain\n")?;
    command::until("the monitors have ended", soon(), || {
        uptime::named("brig-mon").is_empty()
    })
}
