//! The everyday examples of reference 1.3, row by row.
//!
//! May not: type another line than a person does. What a line leaves open (which image) is filled in.

use crate::case::{Case, Done, Scene, ask, case, has, is, is_id, lacks};

pub fn cases() -> Vec<Case> {
    vec![
        case("1.3.01-run", &[], run),
        case("1.3.01-run-missing-image", &[], run_missing_image),
        case("1.3.02-detached", &[], detached),
        case("1.3.04-bind", &[], bind),
        case("1.3.04-bind-root-read-only", &[], bind_root),
        case("1.3.04-volume-equals", &[], volume_equals),
        case("1.3.05-environment", &[], environment),
        case("1.3.05-environment-file", &[], environment_file),
        case("1.3.06-name-as-typed", &[], name_as_typed),
        case("1.3.06-rm-as-typed", &[], rm_as_typed),
        case("1.3.06-link-as-typed", &[], link_as_typed),
        case("1.3.09-ps", &[], ps),
        case("1.3.10-stop", &[], stop),
        case("1.3.10-stop-signal", &[], stop_signal),
        case("1.3.10-stop-timeout", &[], stop_timeout),
        case("1.3.10-stop-several", &[], stop_several),
        case("1.3.11-id-prefix", &[], id_prefix),
        case("1.3.12-rm", &[], rm),
        case("1.3.12-rm-exited", &[], rm_exited),
        case("1.3.12-rm-force", &[], rm_force),
        case("1.3.12-rm-volumes", &[], rm_volumes),
        case("1.3.15-rmi-in-use", &[], rmi_in_use),
        case("1.3.15-rmi-forced", &[], rmi_forced),
        case("1.3.16-logs", &[], logs),
        case("1.3.17-exec", &[], exec),
        case("1.3.20-create-start", &[], create_start),
        case("1.3.20-pause", &[], pause),
        case("1.3.20-restart", &[], restart),
        case("1.3.20-rename", &[], rename),
        case("1.3.20-attach", &[], attach),
        case("1.3.20-commit", &[], commit),
        case("1.3.24-cadvisor", &[], cadvisor),
        case("1.3.24-bind-makes-directory", &[], bind_makes_directory),
        case("1.3.25-nginx", &[], nginx),
        case("1.3.26-stats", &[], stats),
        case("1.3.27-top", &[], top),
        case("1.3.28-logs-follow", &[], logs_follow),
        case("1.3.28-logs-timestamps", &[], logs_timestamps),
        case("1.3.29-stop-t", &[], stop_t),
        case("1.3.30-cp-into-nginx", &[], cp_into_nginx),
        case("1.3.30-cp-into-python", &[], cp_into_python),
        case("1.3.31-rename-node", &[], rename_node),
        case("1.3.32-volume", &[], volume),
        case("1.3.33-mount-volume", &[], mount_volume),
        case("1.3.34-mounts", &[], mounts),
        case("1.3.34-mounts-of-a-bind", &[], mounts_of_a_bind),
        case("1.3.35-anonymous", &[], anonymous),
        case("1.3.36-volumes-from", &[], volumes_from),
    ]
}

fn run(s: &mut Scene) -> Done {
    s.prints("docker run ubuntu echo hello", "hello\n")?;
    s.prints("docker run tiny:latest echo two words", "two words\n")?;
    let o = s.sh("docker run tiny sh -c 'echo out; echo err >&2; exit 3'")?;
    is(
        "what it said",
        format!("{} {} {}", o.code, o.stdout, o.stderr),
        "3 out\n err\n",
    )?;
    // All three are still there.
    is("containers", s.must("docker ps -a -q")?.lines().count(), 3)?;
    let id = s.must("docker image inspect --format '{{.Id}}' tiny")?;
    s.prints(&format!("docker run {id} echo by id"), "by id\n")?;
    let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
    s.prints(&format!("docker run {short} echo by short id"), "by short id\n")?;
    is(
        "stdin",
        s.hears("docker run -i tiny cat", "typed\n")?.stdout,
        "typed\n",
    )?;
    is(
        "without -i",
        s.hears("docker run tiny cat", "typed\n")?.stdout,
        "",
    )
}

fn run_missing_image(s: &mut Scene) -> Done {
    let o = s.sh("docker run 127.0.0.1:1/absent echo hello")?;
    is("exit code", o.code, 125)?;
    is("stdout", &o.stdout, "")?;
    has(
        "stderr",
        &o.stderr,
        "Unable to find image '127.0.0.1:1/absent:latest' locally\n",
    )?;
    let o = s.sh("docker run --pull never absent echo hello")?;
    is("exit code of --pull never", o.code, 125)?;
    has(
        "stderr of --pull never",
        &o.stderr,
        "No such image: absent:latest",
    )?;
    lacks("stderr of --pull never", &o.stderr, "Unable to find image")?;
    is("containers", s.must("docker ps -a -q")?, "")
}

fn detached(s: &mut Scene) -> Done {
    let o = s.sh("docker run -d --name box tiny sleep 600")?;
    is("stderr", &o.stderr, "")?;
    is_id(o.stdout.trim_end_matches('\n'), 64)?;
    let id = o.stdout.trim();
    is("the same id", s.inspect("box", "{{.Id}}")?, id)?;
    is(
        "state",
        s.inspect("box", "{{.State.Status}} {{.State.Running}}")?,
        "running true",
    )?;
    // A detached container may go by itself.
    s.must("docker run -d --rm --name brief tiny true")?;
    s.until("docker inspect brief", "such")?;
    let o = s.sh("docker run -d -a stdout tiny true")?;
    is("exit code of -d -a", o.code != 0, true)
}

fn bind(s: &mut Scene) -> Done {
    s.file("page", "from outside\n")?;
    let dir = s.path("");
    let dir = dir.trim_end_matches('/');
    s.prints(
        &format!("docker run -v {dir}:/there tiny cat /there/page"),
        "from outside\n",
    )?;
    s.must(&format!(
        "docker run --volume={dir}:/there tiny sh -c 'echo inside >/there/answer'"
    ))?;
    is("written inside", s.read("answer")?, "inside\n")?;
    s.fails(
        &format!("docker run -v {dir}:/there:ro tiny sh -c 'echo no >/there/refused'"),
        1,
        &["read-only file system"],
    )?;
    s.prints(
        &format!("docker run -v {dir}/page:/file:ro tiny cat /file"),
        "from outside\n",
    )?;
    s.fails(
        &format!("docker run -v {dir}:there tiny true"),
        125,
        &["absolute"],
    )?;
    s.fails(
        &format!("docker run -v {dir}:/ tiny true"),
        125,
        &["can't be '/'", "cannot be '/'"],
    )?;
    s.fails(
        &format!("docker run -v {dir}:/a:b:c tiny true"),
        125,
        &["invalid"],
    )?;
    s.fails(
        &format!("docker run --mount type=bind,source={dir}/absent,target=/x tiny true"),
        125,
        &["bind source path does not exist"],
    )?;
    s.fails(
        &format!("docker run -v {dir}:/x --mount type=bind,source={dir},target=/x tiny true"),
        125,
        &["Duplicate mount point: /x"],
    )
}

fn bind_root(s: &mut Scene) -> Done {
    s.prints(
        "docker run -v /:/rootfs:ro -v /sys:/sys:ro tiny sh -c 'cat /rootfs/etc/hostname >/dev/null; test -d /sys/class && test -d /rootfs/usr && echo both'",
        "both\n",
    )?;
    s.fails(
        "docker run -v /:/rootfs:ro tiny touch /rootfs/x",
        1,
        &["read-only file system"],
    )
}

fn volume_equals(s: &mut Scene) -> Done {
    s.must("docker run -v=my-appvol-2:/var/log tiny sh -c 'echo line >/var/log/messages'")?;
    s.prints("docker run -v my-appvol-2:/x tiny cat /x/messages", "line\n")?;
    s.must("docker ps -aq | xargs docker rm && docker volume rm my-appvol-2")
        .map(|_| ())
}

fn environment(s: &mut Scene) -> Done {
    s.prints(
        "docker run -e K=V -e EMPTY= tiny sh -c 'echo $K-${EMPTY-unset}'",
        "V-\n",
    )?;
    s.prints("HERE=host docker run -e HERE tiny sh -c 'echo $HERE'", "host\n")?;
    s.prints(
        "docker run -e NOT_HERE tiny sh -c 'echo ${NOT_HERE-unset}'",
        "unset\n",
    )?;
    s.prints(
        "docker run -e COLOUR=red --entrypoint sh full -c 'echo $COLOUR $SHAPE'",
        "red round\n",
    )?;
    s.prints("docker run --env=A='x y' tiny sh -c 'echo \"$A\"'", "x y\n")?;
    let o = s.must("docker run tiny env")?;
    has(
        "PATH",
        &o,
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )?;
    has("HOSTNAME", &o, "HOSTNAME=")?;
    has("HOME", &o, "HOME=/root")?;
    lacks("TERM", &o, "TERM=")
}

fn environment_file(s: &mut Scene) -> Done {
    let file = s.file(
        "vars",
        "# a comment\nA=1\nQUOTED=\"as is\"\nHERE\nNOT_HERE\nB=x # y\n",
    )?;
    s.prints(
        &format!("HERE=host docker run --env-file {file} -e A=2 tiny sh -c 'echo $A; echo $QUOTED; echo $HERE; echo ${{NOT_HERE-unset}}; echo $B'"),
        "2\n\"as is\"\nhost\nunset\nx # y\n",
    )?;
    s.fails("docker run --env-file /absent tiny true", 125, &["no such file"])?;
    let bad = s.file("bad", "white space=1\n")?;
    s.fails(
        &format!("docker run --env-file {bad} tiny true"),
        125,
        &["white space", "whitespace", "contains white"],
    )
}

fn name_as_typed(s: &mut Scene) -> Done {
    s.fails(
        "docker run -name box tiny true",
        125,
        &["unknown shorthand flag: 'n' in -name"],
    )
}

fn rm_as_typed(s: &mut Scene) -> Done {
    s.fails(
        "docker run -rm tiny true",
        125,
        &["unknown shorthand flag: 'r' in -rm"],
    )
}

fn link_as_typed(s: &mut Scene) -> Done {
    // A label "ink", and the link as the image.
    s.fails(
        "docker run --pull never -link db:db tiny true",
        125,
        &["No such image: db:db", "invalid reference"],
    )
}

fn ps(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.must("docker create --name made tiny true")?;
    let lines = s.must("docker ps")?;
    let mut lines = lines.lines();
    is(
        "header",
        lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES",
    )?;
    let row = lines.next().unwrap_or_default();
    has("row", row, "tiny      \"sh -c 'trap \\\"exit 0…\"   ")?;
    has("row", row, "Up ")?;
    is("its name", row.ends_with(" box"), true)?;
    is("rows", lines.next().unwrap_or_default(), "")?;
    let all = s.must("docker ps -a --format '{{.Names}} {{.Status}}'")?;
    is(
        "the last made comes first",
        all.lines().next().unwrap_or_default(),
        "made Created",
    )?;
    is("all", all.lines().count(), 2)?;
    is_id(&s.must("docker ps -q")?, 12)?;
    is_id(&s.must("docker ps -q --no-trunc")?, 64)?;
    is("-l", s.must("docker ps -l --format '{{.Names}}'")?, "made")?;
    is("-n 1", s.must("docker ps -n 1 --format '{{.Names}}'")?, "made")
}

fn stop(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.prints("docker stop box", "box\n")?;
    is(
        "state",
        s.inspect("box", "{{.State.Status}} {{.State.ExitCode}}")?,
        "exited 0",
    )?;
    s.prints("docker stop box", "box\n")?;
    s.fails("docker stop absent", 1, &["No such container: absent"])
}

fn stop_signal(s: &mut Scene) -> Done {
    let script = "for n in INT QUIT TERM USR1; do trap \"echo got $n; exit 5\" $n; done; echo ready; while :; do sleep 0.1; done";
    s.must(&format!(
        "docker run -d --name quit --stop-signal SIGQUIT tiny sh -c '{script}'"
    ))?;
    s.must(&format!(
        "docker run -d --name int --entrypoint sh full -c '{script}'"
    ))?;
    for (name, signal) in [("quit", "QUIT"), ("int", "INT")] {
        s.until(&format!("docker logs {name}"), "ready")?;
        s.prints(&format!("docker stop {name}"), &format!("{name}\n"))?;
        has(
            "logs",
            &s.must(&format!("docker logs {name}"))?,
            &format!("got {signal}"),
        )?;
        is("exit code", s.inspect(name, "{{.State.ExitCode}}")?, 5)?;
    }
    Ok(())
}

fn stop_timeout(s: &mut Scene) -> Done {
    s.must(
        "docker run -d --name box --stop-timeout 1 tiny sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'",
    )?;
    let began = std::time::Instant::now();
    s.prints("docker stop box", "box\n")?;
    let took = began.elapsed().as_secs_f64();
    is("a second of grace", (0.9..8.0).contains(&took), true)?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 137)?;
    s.must("docker start box")?;
    s.prints("docker stop -t 0 box", "box\n")?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 137)
}

fn stop_several(s: &mut Scene) -> Done {
    s.idle("one", "")?;
    let two = s.idle("two", "")?;
    let short: String = two.chars().take(12).collect();
    // Each is echoed as it was typed, in the order in which it was.
    let o = s.sh(&format!("docker stop {short} absent one"))?;
    is("exit code", o.code, 1)?;
    is("stdout", &o.stdout, format!("{short}\none\n"))?;
    has("stderr", &o.stderr, "No such container: absent")?;
    is("running", s.must("docker ps -q")?, "")
}

fn id_prefix(s: &mut Scene) -> Done {
    let id = s.idle("box", "")?;
    for length in [1, 2, 12, 63] {
        let prefix: String = id.chars().take(length).collect();
        is("the id", s.inspect(&prefix, "{{.Id}}")?, &id)?;
    }
    let prefix: String = id.chars().take(2).collect();
    s.prints(&format!("docker stop {prefix}"), &format!("{prefix}\n"))?;
    // A name goes before a prefix.
    let first: String = id.chars().take(3).collect();
    s.must(&format!("docker create --name {first} tiny true"))?;
    is(
        "the name wins",
        s.inspect(&first, "{{.Name}}")?,
        format!("/{first}"),
    )?;
    // Sixteen digits: with seventeen containers two begin alike.
    for _ in 0..16 {
        s.must("docker create tiny true")?;
    }
    let ids = s.must("docker ps -aq")?;
    let twice = ids
        .lines()
        .filter_map(|id| id.get(..1))
        .find(|digit| ids.lines().filter(|id| id.starts_with(digit)).count() > 1)
        .ok_or("no two ids begin alike")?
        .to_owned();
    s.fails(
        &format!("docker stop {twice}"),
        1,
        &["multiple IDs found with provided prefix"],
    )
}

fn rm(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.fails("docker rm box", 1, &["force remove"])?;
    s.must("docker stop box")?;
    s.prints("docker rm box", "box\n")?;
    s.fails("docker rm box", 1, &["No such container: box"])?;
    is("nothing is left", s.must("docker ps -aq")?, "")
}

fn rm_exited(s: &mut Scene) -> Done {
    s.must("docker run --name one tiny true")?;
    s.sh("docker run --name two tiny false")?;
    s.idle("three", "")?;
    let o = s.must("docker rm -v $(docker ps -a -q -f status=exited)")?;
    is("removed", o.lines().count(), 2)?;
    is("left", s.must("docker ps -a --format '{{.Names}}'")?, "three")?;
    s.fails(
        "docker rm -v $(docker ps -a -q -f status=exited)",
        1,
        &["requires at least 1 argument"],
    )
}

fn rm_force(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.prints("docker rm -f box", "box\n")?;
    let o = s.sh("docker rm -f box")?;
    is("of a missing one", format!("{} {}", o.code, o.stdout), "0 ")
}

fn rm_volumes(s: &mut Scene) -> Done {
    s.must("docker create --name box -v /data -v kept:/kept tiny true")?;
    is("volumes", s.must("docker volume ls -q")?.lines().count(), 2)?;
    s.must("docker rm -v box")?;
    is("volumes", s.must("docker volume ls -q")?, "kept")?;
    s.must("docker volume rm kept").map(|_| ())
}

fn rmi_in_use(s: &mut Scene) -> Done {
    s.must("docker tag tiny used:once")?;
    s.must("docker run -d --name box --entrypoint sleep used:once 600")?;
    // One name of several goes: the image stays.
    let o = s.must("docker rmi used:once")?;
    is("untagged", o, "Untagged: used:once")?;
    let id = s.inspect("box", "{{.Image}}")?;
    let o = s.sh(&format!("docker rmi -f {id}"))?;
    is("a running container keeps its image", o.code, 1)?;
    has("stderr", &o.stderr, "conflict")?;
    has("stderr", &o.stderr, "container")?;
    is("it runs", s.inspect("box", "{{.State.Running}}")?, true)?;
    let names = s.must("docker image inspect --format '{{.RepoTags}}' tiny")?;
    has("names of before", &names, "tiny:latest")
}

fn rmi_forced(s: &mut Scene) -> Done {
    s.must("docker run --name base tiny sh -c 'echo here > /mark'")?;
    s.must("docker commit base forced:1")?;
    s.must("docker run --name box --entrypoint cat forced:1 /mark")?;
    s.fails(
        "docker rmi forced:1",
        1,
        &["conflict", "must force", "must be forced"],
    )?;
    has(
        "untagged",
        &s.must("docker rmi -f forced:1")?,
        "Untagged: forced:1",
    )?;
    s.prints("docker images -q forced", "")?;
    // What the container is made of is still there.
    s.prints("docker start -a box", "here\n")
}

fn logs(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo one; echo two >&2; printf three'")?;
    s.answers("docker logs box", 0, "one\nthree", "two\n")?;
    s.answers("docker logs box 2>/dev/null | cat", 0, "one\nthree", "")?;
    s.prints("docker container logs --tail 1 box", "three")?;
    s.prints("docker logs -n 0 box", "")?;
    s.fails("docker logs absent", 1, &["No such container: absent"])
}

fn exec(s: &mut Scene) -> Done {
    s.idle("box", "-e K=V")?;
    s.prints("docker exec box echo hello", "hello\n")?;
    s.prints("docker exec box sh -c 'echo $K'", "V\n")?;
    s.prints("docker exec -e K=W box sh -c 'echo $K'", "W\n")?;
    s.prints("docker exec -w /tmp box pwd", "/tmp\n")?;
    s.prints("docker exec -u guest box id -u", "1000\n")?;
    is(
        "stdin",
        s.hears("docker exec -i box cat", "typed\n")?.stdout,
        "typed\n",
    )?;
    let o = s.sh("docker exec box sh -c 'echo err >&2; exit 9'")?;
    is("code and stderr", format!("{} {}", o.code, o.stderr), "9 err\n")?;
    s.prints("docker exec -d box sh -c 'echo later >/tmp/later'", "")?;
    s.until("docker exec box cat /tmp/later", "later")?;
    s.must("docker pause box")?;
    s.fails("docker exec box true", 1, &["paused"])?;
    s.must("docker unpause box")?;
    s.must("docker stop box")?;
    s.fails("docker exec box true", 1, &["is not running"])?;
    s.fails("docker exec absent true", 1, &["No such container: absent"])
}

fn create_start(s: &mut Scene) -> Done {
    let id = s.must("docker create --name box tiny sh -c 'echo ran; exit 4'")?;
    is_id(&id, 64)?;
    is("state", s.inspect("box", "{{.State.Status}}")?, "created")?;
    is(
        "status",
        s.must("docker ps -a --format '{{.Status}}'")?,
        "Created",
    )?;
    s.prints("docker start box", "box\n")?;
    s.until_ended("box")?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 4)?;
    s.answers("docker start -a box", 4, "ran\n", "")?;
    is("logs of both", s.must("docker logs box")?, "ran\nran")?;
    let o = s.sh("docker start box absent")?;
    is("exit code", o.code, 1)?;
    is("stdout", o.stdout, "box\n")?;
    has("stderr", &o.stderr, "failed to start containers: absent")
}

fn pause(s: &mut Scene) -> Done {
    s.must("docker run -d --name box tiny sh -c 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done'")?;
    s.until("docker logs box", "3")?;
    s.prints("docker pause box", "box\n")?;
    is(
        "state",
        s.inspect("box", "{{.State.Status}} {{.State.Paused}}")?,
        "paused true",
    )?;
    has("status", &s.must("docker ps --format '{{.Status}}'")?, "(Paused)")?;
    let before = s.must("docker logs box")?;
    s.must("docker run --rm tiny sleep 0.2")?;
    is("it stands still", s.must("docker logs box")?, before)?;
    s.fails("docker pause box", 1, &["already paused"])?;
    s.prints("docker unpause box", "box\n")?;
    is("state", s.inspect("box", "{{.State.Status}}")?, "running")?;
    s.fails("docker unpause box", 1, &["is not paused"])?;
    s.must("docker pause box")?;
    s.prints("docker rm -f box", "box\n")
}

fn restart(s: &mut Scene) -> Done {
    s.must("docker run -d --name box tiny sh -c 'echo began; trap \"echo ends; exit 0\" TERM; while :; do sleep 0.1; done'")?;
    s.until("docker logs box", "began")?;
    let before = s.inspect("box", "{{.State.Pid}}")?;
    s.prints("docker restart box", "box\n")?;
    s.until("docker logs box", "began\nends\nbegan")?;
    is(
        "another process",
        s.inspect("box", "{{.State.Pid}}")? != before,
        true,
    )?;
    s.must("docker stop box")?;
    s.prints("docker restart -t 1 box", "box\n")?;
    is(
        "state",
        s.inspect("box", "{{.State.Status}} {{.RestartCount}}")?,
        "running 0",
    )
}

fn rename(s: &mut Scene) -> Done {
    s.idle("old", "")?;
    s.must("docker create --name other tiny true")?;
    s.prints("docker rename old new", "")?;
    is("its name", s.inspect("new", "{{.Name}}")?, "/new")?;
    s.fails(
        "docker inspect --type container old",
        1,
        &["No such container: old", "no such object: old"],
    )?;
    s.fails("docker rename new other", 1, &["is already in use by container"])?;
    s.fails("docker rename absent x1", 1, &["No such container: absent"])?;
    s.fails(
        "docker rename new -- -bad",
        1,
        &["Invalid container name", "requires exactly 2 arguments"],
    )?;
    s.prints("docker rename other old", "")?;
    s.must("docker rm old").map(|_| ())
}

fn attach(s: &mut Scene) -> Done {
    let script = "while read line; do echo got $line; [ $line = end ] && exit 6; done";
    s.must(&format!("docker run -d -i --name box tiny sh -c '{script}'"))?;
    // The end of stdin would be the end of the attachment.
    let said = |text: &str| format!("until docker logs box | grep -q \"got {text}\"; do :; done");
    let o = s.sh(&format!(
        "{{ echo one; {}; echo end; docker wait box >/dev/null; }} | docker attach box",
        said("one")
    ))?;
    is(
        "its output",
        format!("{} {}", o.code, o.stdout),
        "6 got one\ngot end\n",
    )?;
    s.fails("docker attach box", 1, &["stopped container"])?;
    s.fails("docker attach absent", 1, &["No such container: absent"])
}

fn commit(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo new >/file; rm /data/seed'")?;
    let id = s.must("docker commit box made:once")?;
    is_id(id.trim_start_matches("sha256:"), 64)?;
    s.prints("docker run --rm made:once sh -c 'cat /file; ls /data'", "new\n")?;
    s.must("docker rmi made:once").map(|_| ())
}

fn cadvisor(s: &mut Scene) -> Done {
    s.must("docker tag tiny google/cadvisor:latest")?;
    let line = "docker run --volume=/:/rootfs:ro --volume=/var/run:/var/run:rw --volume=/sys:/sys:ro \
        --volume=/var/lib/docker/:/var/lib/docker:ro --detach=true --name=cadvisor google/cadvisor:latest sleep 600";
    is_id(&s.must(line)?, 64)?;
    s.prints(
        "docker exec cadvisor sh -c 'test -d /rootfs/usr && test -d /sys/class && test -d /var/run && test -d /var/lib/docker && echo all'",
        "all\n",
    )?;
    s.must("docker rm -f cadvisor && docker rmi google/cadvisor:latest")
        .map(|_| ())
}

fn bind_makes_directory(s: &mut Scene) -> Done {
    let dir = s.path("not/there/yet");
    s.prints(&format!("docker run -v {dir}:/x tiny ls -A /x"), "")?;
    is("it was made", std::path::Path::new(&dir).is_dir(), true)
}

fn nginx(s: &mut Scene) -> Done {
    s.must("docker run --name webserver1 -d nginx:1.18")?;
    s.until_served(80, "Welcome to nginx!")?;
    s.until("docker logs webserver1", "GET / HTTP/1.0")?;
    is(
        "ports",
        s.must("docker ps --format '{{.Names}} {{.Image}}'")?,
        "webserver1 nginx:1.18",
    )?;
    s.prints("docker stop webserver1", "webserver1\n")?;
    is("a clean end", s.inspect("webserver1", "{{.State.ExitCode}}")?, 0)
}

fn stats(s: &mut Scene) -> Done {
    s.must("docker run --name webserver1 -d nginx:1.18")?;
    s.until_served(80, "Welcome")?;
    let o = s.must("docker stats --no-stream webserver1")?;
    let mut lines = o.lines();
    is(
        "header",
        lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS",
    )?;
    let row = lines.next().unwrap_or_default();
    has("row", row, "webserver1")?;
    has("row", row, "MiB / ")?;
    is("one row", lines.count(), 0)?;
    let pids = s.must("docker stats --no-stream --format '{{.PIDs}}' webserver1")?;
    is("processes", pids.parse::<u32>().is_ok_and(|n| n >= 2), true)?;
    let memory = s.must("docker stats --no-stream --format '{{.MemUsage}}' webserver1")?;
    is("memory is used", memory.starts_with("0B"), false)?;
    s.fails(
        "docker stats --no-stream absent",
        1,
        &["No such container: absent"],
    )
}

fn top(s: &mut Scene) -> Done {
    s.must("docker run -d --name box tiny sh -c 'sleep 601 & sleep 602 & wait'")?;
    s.until("docker top box", "sleep 602")?;
    let o = s.must("docker top box")?;
    let mut lines = o.lines();
    is(
        "header",
        lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "UID PID PPID C STIME TTY TIME CMD",
    )?;
    is("processes", lines.count(), 3)?;
    let pid = s.inspect("box", "{{.State.Pid}}")?;
    let o = s.must("docker top box -o pid,comm")?;
    is(
        "header",
        o.lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "PID COMMAND",
    )?;
    has("the first process", &o, &pid)?;
    s.must("docker stop -t 0 box")?;
    s.fails("docker top box", 1, &["is not running"])
}

fn logs_follow(s: &mut Scene) -> Done {
    let script = "echo first; read line; echo then $line; exit 2";
    s.must(&format!("docker run -d -i --name box tiny sh -c '{script}'"))?;
    s.until("docker logs box", "first")?;
    // The follower ends with the container.
    let o = s.must("docker logs -f box & echo second | docker attach box >/dev/null; wait")?;
    is("followed", o, "first\nthen second")?;
    s.prints("docker logs -f box", "first\nthen second\n")
}

fn logs_timestamps(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo one; echo two'")?;
    let o = s.must("docker logs -t box")?;
    let stamps: Vec<&str> = o.lines().filter_map(|line| line.split(' ').next()).collect();
    is("lines", stamps.len(), 2)?;
    let shaped = stamps.iter().all(|stamp| {
        stamp.len() == "2026-11-28T04:00:00.123456789Z".len() && stamp.ends_with('Z') && stamp.contains('T')
    });
    is(&format!("timestamps {stamps:?}"), shaped, true)?;
    is(
        "text",
        o.lines()
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .unwrap_or_default(),
        "one",
    )?;
    is("in order", stamps.is_sorted(), true)
}

fn stop_t(s: &mut Scene) -> Done {
    s.must("docker run --name webserver1 -d nginx:1.18")?;
    s.until_served(80, "Welcome")?;
    s.prints("docker stop -t 10 webserver1", "webserver1\n")?;
    is("nobody serves", ask(80, "GET / HTTP/1.0\r\n\r\n").is_err(), true)?;
    s.prints("docker start webserver1", "webserver1\n")?;
    s.until_served(80, "Welcome")
}

fn cp_into_nginx(s: &mut Scene) -> Done {
    s.must("docker run --name webserver1 -d nginx:1.18")?;
    s.until_served(80, "Welcome")?;
    s.file("index.html", "<h1>my own page</h1>\n")?;
    let dir = s.path("");
    s.must(&format!(
        "cd {dir} && docker cp index.html webserver1:/usr/share/nginx/html/index.html"
    ))?;
    s.until_served(80, "my own page")
}

fn cp_into_python(s: &mut Scene) -> Done {
    s.must("docker create -it --name python_test python")?;
    s.file("py_lotto.py", "print(sum(range(1, 46)))\n")?;
    let dir = s.path("");
    s.must(&format!("cd {dir} && docker cp py_lotto.py python_test:/"))?;
    s.must("docker start python_test")?;
    s.prints("docker exec python_test python /py_lotto.py", "1035\n")?;
    s.must("docker rm -f python_test").map(|_| ())
}

fn rename_node(s: &mut Scene) -> Done {
    let script = "require(\"http\").createServer((q, a) => a.end(\"hello from node\\n\")).listen(8080)";
    s.must(&format!("docker run -d --name nodejs_test node -e '{script}'"))?;
    s.until_served(8080, "hello from node")?;
    s.prints("docker rename nodejs_test nodeapp", "")?;
    is("names", s.must("docker ps --format '{{.Names}}'")?, "nodeapp")?;
    s.until_served(8080, "hello from node")?;
    s.must("docker rm -f nodeapp").map(|_| ())
}

fn volume(s: &mut Scene) -> Done {
    s.prints("docker volume create my-appvol-1", "my-appvol-1\n")?;
    s.prints("docker volume create my-appvol-1", "my-appvol-1\n")?;
    is(
        "list",
        s.must("docker volume ls")?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "DRIVER VOLUME NAME local my-appvol-1",
    )?;
    let text = s.must("docker volume inspect my-appvol-1")?;
    for key in [
        "CreatedAt",
        "Driver",
        "Labels",
        "Mountpoint",
        "Name",
        "Options",
        "Scope",
    ] {
        has("inspect", &text, &format!("\"{key}\""))?;
    }
    s.must("docker create --name box -v my-appvol-1:/x tiny true")?;
    s.fails("docker volume rm my-appvol-1", 1, &["volume is in use - ["])?;
    s.must("docker rm box")?;
    s.prints("docker volume rm my-appvol-1", "my-appvol-1\n")?;
    s.fails("docker volume rm my-appvol-1", 1, &["no such volume"])?;
    let o = s.sh("docker volume rm -f my-appvol-1")?;
    is("-f ignores missing ones", o.code, 0)
}

fn mount_volume(s: &mut Scene) -> Done {
    s.must("docker run --mount source=my-appvol-1,target=/app tiny sh -c 'echo kept >/app/file'")?;
    s.prints(
        "docker run --mount type=volume,src=my-appvol-1,dst=/y,readonly tiny cat /y/file",
        "kept\n",
    )?;
    s.must("docker ps -aq | xargs docker rm && docker volume rm my-appvol-1")
        .map(|_| ())
}

fn mounts(s: &mut Scene) -> Done {
    s.must("docker run -d --name mysql1 -v mysql-data:/var/lib/mysql tiny sleep 600")?;
    let o = s.inspect("mysql1", "{{ .Mounts }}")?;
    is("start", o.starts_with("[{volume mysql-data /"), true)?;
    is(
        "end",
        o.ends_with("/mysql-data/_data /var/lib/mysql local z true }]"),
        true,
    )?;
    s.must("docker rm -f mysql1 && docker volume rm mysql-data")
        .map(|_| ())
}

fn mounts_of_a_bind(s: &mut Scene) -> Done {
    let dir = s.path("shared");
    s.must(&format!(
        "docker run -d --name box -v {dir}:/inside:ro tiny sleep 600"
    ))?;
    is(
        "mounts",
        s.inspect("box", "{{ .Mounts }}")?,
        format!("[{{bind  {dir} /inside  ro false rprivate}}]"),
    )
}

fn anonymous(s: &mut Scene) -> Done {
    s.must("docker create -v /data-volume --name=datavol tiny sh -c 'echo x >/data-volume/file'")?;
    let kind = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{len .Name}}{{end}}";
    is(
        "mounts",
        s.inspect("datavol", kind)?,
        "volume /data-volume true 64",
    )?;
    s.must("docker start -a datavol")?;
    s.must("docker cp datavol:/data-volume/file - >/dev/null")?;
    // What the image says is a volume is one, and begins with what lies there.
    s.must("docker run --name keeper1 keeper sh -c 'cat /data/seed; stat -c %u /data'")?;
    is(
        "seed and owner",
        s.must("docker logs keeper1")?,
        "from the image\n1000",
    )?;
    is("mounts", s.inspect("keeper1", kind)?, "volume /data true 64")?;
    s.must("docker rm -v datavol keeper1").map(|_| ())
}

fn volumes_from(s: &mut Scene) -> Done {
    s.must("docker create -v /data-volume --name=datavol tiny true")?;
    s.must("docker run --volumes-from datavol tiny sh -c 'echo shared >/data-volume/file'")?;
    s.prints(
        "docker run --volumes-from datavol:ro tiny cat /data-volume/file",
        "shared\n",
    )?;
    s.fails(
        "docker run --volumes-from datavol:ro tiny touch /data-volume/x",
        1,
        &["read-only"],
    )
}
