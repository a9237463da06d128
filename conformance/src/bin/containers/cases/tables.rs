//! What is shown of containers: `ps` with its filters and templates, `inspect`, `port`, `events`, and what prune says.
//!
//! May not: look at anything but the output.

use serde_json::Value;

use crate::case::{Case, Done, Scene, case, has, is, is_id, lacks};

pub fn cases() -> Vec<Case> {
    vec![
        case("ps.filters", &[], filters),
        case("ps.filter-errors", &[], filter_errors),
        case("ps.templates", &[], templates),
        case("ps.json", &[], json),
        case("ps.size", &[], size),
        case("ps.order", &[], order),
        case("ps.configured", &[], configured),
        case("inspect.shape", &[], shape),
        case("inspect.host-config", &[], host_config),
        case("inspect.times", &[], times),
        case("inspect.size", &[], inspect_size),
        case("inspect.templates", &[], inspect_templates),
        case("events.life", &[], events),
        case("events.follow", &[], events_follow),
        case("prune.containers", &[], prune),
        case("prune.filters", &[], prune_filters),
        case("port.none", &[], port),
        case("update.limits", &[], update),
        case("system.df", &[], df),
        case("system.info", &[], info),
    ]
}

fn filters(s: &mut Scene) -> Done {
    s.idle("runs", "--label colour=red --label big")?;
    s.must("docker create --name made --label colour=blue full")?;
    s.must("docker run --name good tiny true")?;
    s.sh("docker run --name bad ubuntu sh -c 'exit 3'")?;
    s.idle("held", "")?;
    s.must("docker pause held")?;
    for (filter, names) in [
        ("status=running", "runs"),
        ("status=exited", "bad good"),
        ("status=created", "made"),
        ("status=paused", "held"),
        ("status=running status=paused", "held runs"),
        ("name=oo", "good"),
        ("name=^/runs$", "runs"),
        ("name=^runs$", "runs"),
        ("label=colour", "made runs"),
        ("label=colour=red", "runs"),
        ("label=colour=red label=big", "runs"),
        ("ancestor=ubuntu", "bad"),
        ("ancestor=ubuntu:latest", "bad"),
        ("ancestor=full", "made"),
        ("exited=3", "bad"),
        ("exited=0", "good"),
        ("since=good", "bad held"),
        ("before=made", "runs"),
        ("network=host status=running", "runs"),
        ("health=none name=good", "good"),
        ("is-task=true", ""),
    ] {
        let words: String = filter.split(' ').map(|f| format!("--filter {f} ")).collect();
        let shown = s.must(&format!("docker ps -a {words} --format '{{{{.Names}}}}'"))?;
        let mut found: Vec<&str> = shown.lines().collect();
        found.sort_unstable();
        is(&format!("containers with {filter}"), found.join(" "), names)?;
    }
    // A status asked for shows containers that do not run; an exit code does not.
    is(
        "status alone",
        s.must("docker ps -q --filter status=exited")?.lines().count(),
        2,
    )?;
    is("exited alone", s.must("docker ps -q --filter exited=3")?, "")?;
    let id = s.inspect("good", "{{.Id}}")?;
    is(
        "by id",
        s.must(&format!(
            "docker ps -a --filter id={} --format '{{{{.Names}}}}'",
            &id[..8]
        ))?,
        "good",
    )
}

fn filter_errors(s: &mut Scene) -> Done {
    s.fails("docker ps --filter nonsense=1", 1, &["invalid filter"])?;
    s.fails(
        "docker ps --filter status=nonsense",
        1,
        &["invalid filter", "Invalid filter"],
    )?;
    s.fails(
        "docker ps --filter nonsense",
        1,
        &["bad format of filter", "invalid argument", "invalid filter"],
    )
    .or_else(|_| {
        s.fails(
            "docker ps --filter nonsense",
            125,
            &["bad format of filter", "invalid argument", "invalid filter"],
        )
    })?;
    s.fails("docker ps -a --filter since=absent", 1, &["No such container"])
}

fn templates(s: &mut Scene) -> Done {
    s.must("docker create --name box --label a=1 --label b=2 tiny sh -c 'echo a long command line of many words'")?;
    let ps = |template: &str| s.must(&format!("docker ps -a --format '{template}'"));
    is(
        "image",
        ps("{{.Image}}|{{.Names}}|{{.State}}|{{.Status}}")?,
        "tiny|box|created|Created",
    )?;
    is("label", ps("{{.Label \"a\"}}")?, "1")?;
    is("labels", ps("{{.Labels}}")?.split(',').count() >= 2, true)?;
    is("command", ps("{{.Command}}")?, "\"sh -c 'echo a long …\"")?;
    has(
        "command in full",
        &s.must("docker ps -a --no-trunc --format '{{.Command}}'")?,
        "\"sh -c 'echo a long command line of many words'\"",
    )?;
    is("upper", ps("{{upper .Names}} {{.Networks}}")?, "BOX host")?;
    is(
        "table",
        ps("table {{.Names}}\\t{{.Image}}")?,
        "NAMES     IMAGE\nbox       tiny",
    )?;
    has("created", &ps("{{.CreatedAt}} {{.RunningFor}}")?, " ago")?;
    is("mounts", ps("{{.Mounts}}|{{.LocalVolumes}}")?, "|0")?;
    s.fails("docker ps --format '{{.Nonsense}}' -a", 1, &["Nonsense"])?;
    s.fails(
        "docker ps --format '{{' -a",
        1,
        &["template parsing error", "unclosed action"],
    )
    .or_else(|_| s.fails("docker ps --format '{{' -a", 64, &["template parsing error"]))?;
    let o = s.sh("docker ps -aq --format '{{.Names}}'")?;
    has("warning", &(o.stderr + &o.stdout), "box").or(Ok(()))
}

fn json(s: &mut Scene) -> Done {
    s.must("docker create --name box --label a=1 tiny true")?;
    let text = s.must("docker ps -a --format '{{json .}}'")?;
    let value: Value = serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))?;
    for (key, expected) in [
        ("Names", "box"),
        ("Image", "tiny"),
        ("State", "created"),
        ("Status", "Created"),
        ("Labels", "a=1"),
        ("Networks", "host"),
        ("LocalVolumes", "0"),
        ("Ports", ""),
        ("Mounts", ""),
        ("Command", "\"true\""),
    ] {
        is(key, value[key].as_str().unwrap_or("missing"), expected)?;
    }
    for key in ["ID", "CreatedAt", "RunningFor", "Size"] {
        is(
            key,
            value[key].as_str().is_some_and(|text| !text.is_empty()),
            true,
        )?;
    }
    Ok(())
}

fn size(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'head -c 2000 /dev/zero >/file'")?;
    let shown = s.must("docker ps -as --format '{{.Size}}'")?;
    is("size", shown.starts_with("2kB (virtual "), true).map_err(|e| format!("{e}: {shown}"))?;
    let header = s.must("docker ps -as")?;
    has(
        "header",
        header.lines().next().unwrap_or_default(),
        "NAMES     SIZE",
    )
    .or_else(|_| has("header", header.lines().next().unwrap_or_default(), "SIZE"))
}

fn order(s: &mut Scene) -> Done {
    for name in ["one", "two", "three"] {
        s.must(&format!("docker create --name {name} tiny true"))?;
    }
    is(
        "newest first",
        s.must("docker ps -a --format '{{.Names}}'")?,
        "three\ntwo\none",
    )?;
    is(
        "-n 2",
        s.must("docker ps -n 2 --format '{{.Names}}'")?,
        "three\ntwo",
    )
}

fn configured(s: &mut Scene) -> Done {
    s.must("docker create --name box tiny true")?;
    let dir = s.lab.home().join(".docker");
    let file = dir.join("config.json");
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&file, r#"{"psFormat": "{{.Names}}!"}"#))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    let shown = s.must("docker ps -a");
    std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    is("psFormat", shown?, "box!")
}

fn value(s: &Scene, name: &str) -> Result<Value, String> {
    let text = s.must(&format!("docker inspect {name}"))?;
    let mut values: Vec<Value> = serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))?;
    values.pop().ok_or("an empty list".to_owned())
}

fn shape(s: &mut Scene) -> Done {
    s.must("docker run -d --name box -h host1 -e A=1 -w /tmp -u guest --label l=v tiny sh -c 'sleep 600'")
        .or_else(|_| {
            s.must("docker rm -f box").and_then(|_| {
                s.must("docker run -d --name box -e A=1 -w /tmp -u guest --label l=v tiny sh -c 'sleep 600'")
            })
        })?;
    let one = value(s, "box")?;
    for key in [
        "Id",
        "Created",
        "Path",
        "Args",
        "State",
        "Image",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "Name",
        "RestartCount",
        "Driver",
        "Platform",
        "MountLabel",
        "ProcessLabel",
        "AppArmorProfile",
        "ExecIDs",
        "HostConfig",
        "GraphDriver",
        "Mounts",
        "Config",
        "NetworkSettings",
    ] {
        is(&format!("{key} is there"), one.get(key).is_some(), true)?;
    }
    for key in [
        "Status",
        "Running",
        "Paused",
        "Restarting",
        "OOMKilled",
        "Dead",
        "Pid",
        "ExitCode",
        "Error",
        "StartedAt",
        "FinishedAt",
    ] {
        is(
            &format!("State.{key} is there"),
            one["State"].get(key).is_some(),
            true,
        )?;
    }
    is(
        "Path and Args",
        format!("{} {}", one["Path"], one["Args"]),
        r#""sh" ["-c","sleep 600"]"#,
    )?;
    is("Platform", &one["Platform"], r#""linux""#)?;
    is("ExecIDs", &one["ExecIDs"], "null")?;
    let config = &one["Config"];
    is("User", &config["User"], r#""guest""#)?;
    is("WorkingDir", &config["WorkingDir"], r#""/tmp""#)?;
    is("Cmd", &config["Cmd"], r#"["sh","-c","sleep 600"]"#)?;
    is("Entrypoint", &config["Entrypoint"], "null")?;
    is("Labels", &config["Labels"], r#"{"l":"v"}"#)?;
    has("Env", &config["Env"].to_string(), "\"A=1\"")?;
    is("Tty", &config["Tty"], "false")?;
    is("AttachStdout", &config["AttachStdout"], "false")?;
    is_id(
        one["Image"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("sha256:"),
        64,
    )?;
    is(
        "FinishedAt",
        &one["State"]["FinishedAt"],
        r#""0001-01-01T00:00:00Z""#,
    )?;
    has(
        "networks",
        &one["NetworkSettings"]["Networks"].to_string(),
        "\"host\":{",
    )?;
    is("Health", one["State"].get("Health").is_none(), true)
}

fn host_config(s: &mut Scene) -> Done {
    s.must(
        "docker create --name box --memory 64m --cpus 0.5 --pids-limit 50 --restart on-failure:3 --cap-add NET_ADMIN --cap-drop MKNOD \
         --read-only --tmpfs /scratch:size=1m --shm-size 32m --ulimit nofile=64:128 --sysctl net.ipv4.ip_forward=1 --dns 1.2.3.4 \
         --add-host name1:10.0.0.1 --security-opt no-new-privileges --device /dev/null:/dev/nothing --group-add 50 --ipc private \
         --log-opt max-size=10m --network none --init --oom-score-adj 100 tiny true",
    )?;
    let host = &value(s, "box")?["HostConfig"];
    for (key, expected) in [
        ("Memory", "67108864"),
        ("NanoCpus", "500000000"),
        ("PidsLimit", "50"),
        ("RestartPolicy", r#"{"MaximumRetryCount":3,"Name":"on-failure"}"#),
        // Clients since 23 send the whole name.
        (
            "CapDrop",
            if s.is_docker() {
                r#"["MKNOD"]"#
            } else {
                r#"["CAP_MKNOD"]"#
            },
        ),
        ("ReadonlyRootfs", "true"),
        ("Tmpfs", r#"{"/scratch":"size=1m"}"#),
        ("ShmSize", "33554432"),
        ("Ulimits", r#"[{"Hard":128,"Name":"nofile","Soft":64}]"#),
        ("Sysctls", r#"{"net.ipv4.ip_forward":"1"}"#),
        ("Dns", r#"["1.2.3.4"]"#),
        ("ExtraHosts", r#"["name1:10.0.0.1"]"#),
        ("SecurityOpt", r#"["no-new-privileges"]"#),
        ("GroupAdd", r#"["50"]"#),
        ("IpcMode", r#""private""#),
        ("NetworkMode", r#""none""#),
        ("Init", "true"),
        ("OomScoreAdj", "100"),
        ("Privileged", "false"),
        ("AutoRemove", "false"),
    ] {
        let shown = host[key].to_string();
        // serde_json sorts keys unless told otherwise; either order is the same value.
        let same = serde_json::from_str::<Value>(expected).ok() == serde_json::from_str::<Value>(&shown).ok();
        is(&format!("{key} is {shown}, as {expected}"), same, true)?;
    }
    has("CapAdd", &host["CapAdd"].to_string(), "NET_ADMIN")?;
    has(
        "Devices",
        &host["Devices"].to_string(),
        "\"PathInContainer\":\"/dev/nothing\"",
    )?;
    has(
        "LogConfig",
        &host["LogConfig"].to_string(),
        "\"max-size\":\"10m\"",
    )
}

fn times(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny true")?;
    let shown = s.inspect("box", "{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}")?;
    let stamps: Vec<&str> = shown.split(' ').collect();
    is(
        &format!("timestamps {shown}"),
        stamps
            .iter()
            .all(|stamp| stamp.starts_with("20") && stamp.ends_with('Z')),
        true,
    )?;
    is(&format!("in order {shown}"), stamps.is_sorted(), true)
}

fn inspect_size(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'head -c 1500 /dev/zero >/file'")?;
    is(
        "without -s",
        s.must("docker inspect box")?.contains("SizeRw"),
        false,
    )?;
    is(
        "SizeRw",
        s.must("docker inspect -s --format '{{.SizeRw}}' box")?,
        "1500",
    )?;
    is(
        "SizeRootFs",
        s.must("docker container inspect -s --format '{{.SizeRootFs}}' box")?
            .parse::<u64>()
            .is_ok_and(|n| n > 1500),
        true,
    )
}

fn inspect_templates(s: &mut Scene) -> Done {
    s.must("docker create --name box --label a=1 -e X=y tiny echo hello world")?;
    is("args", s.inspect("box", "{{.Args}}")?, "[hello world]")?;
    is("a map", s.inspect("box", "{{.Config.Labels}}")?, "map[a:1]")?;
    is(
        "an index",
        s.inspect("box", "{{index .Config.Labels \"a\"}} {{index .Args 1}}")?,
        "1 world",
    )?;
    is(
        "range",
        s.inspect("box", "{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}")?,
        "0=hello;1=world;",
    )?;
    is("join", s.inspect("box", "{{join .Args \",\"}}")?, "hello,world")?;
    is(
        "json",
        s.inspect("box", "{{json .Config.Cmd}}")?,
        "[\"echo\",\"hello\",\"world\"]",
    )?;
    is("nil", s.inspect("box", "{{.Config.Entrypoint}}")?, "[]")?;
    is(
        "if",
        s.inspect("box", "{{if .State.Running}}up{{else}}down{{end}}")?,
        "down",
    )?;
    is(
        "printf",
        s.inspect("box", "{{printf \"%s-%d\" .Name .State.ExitCode}}")?,
        "/box-0",
    )?;
    s.fails("docker inspect --format '{{.Nonsense}}' box", 1, &["Nonsense"])?;
    s.fails("docker inspect --format '{{' box", 64, &["parsing"])
}

fn events(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --label colour=mauve tiny sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'")?;
    s.must("docker pause box && docker unpause box && docker exec box true && docker rename box crate1 && docker stop crate1 && docker rm crate1")?;
    let shown = s.must("docker events --since 10m --until -1s --filter type=container --filter label=colour=mauve --format '{{.Action}}'")?;
    let actions: Vec<&str> = shown
        .lines()
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect();
    let mut rest = actions.iter();
    for wanted in [
        "create",
        "start",
        "pause",
        "unpause",
        "exec_create",
        "exec_start",
        "exec_die",
        "rename",
        "kill",
        "die",
        "stop",
        "destroy",
    ] {
        is(
            &format!("{wanted} among {actions:?}"),
            rest.any(|action| *action == wanted),
            true,
        )
        .or_else(|e| {
            // stop and die may be told in either order.
            if wanted == "stop" && actions.contains(&"stop") {
                Ok(())
            } else {
                Err(e)
            }
        })?;
        if wanted == "die" || wanted == "stop" {
            rest = actions.iter();
        }
    }
    let line = s
        .must("docker events --since 10m --until -1s --filter event=die --filter container=crate1")
        .unwrap_or_default();
    lacks("of a container that is gone by name", &line, "panic")?;
    let die =
        s.must("docker events --since 10m --until -1s --filter event=die --filter label=colour=mauve")?;
    let last = die.lines().last().unwrap_or_default();
    has("line", last, " container die ")?;
    has("line", last, "exitCode=0")?;
    has("line", last, "image=tiny")?;
    let json = s.must("docker events --since 10m --until -1s --filter event=die --filter label=colour=mauve --format '{{json .}}'")?;
    let value: Value =
        serde_json::from_str(json.lines().last().unwrap_or_default()).map_err(|e| format!("{json}: {e}"))?;
    is("Type", &value["Type"], r#""container""#)?;
    is("attributes", &value["Actor"]["Attributes"]["exitCode"], r#""0""#)?;
    is("timeNano", value["timeNano"].is_u64(), true)
}

fn events_follow(s: &mut Scene) -> Done {
    let file = s.path("events");
    s.must(&format!(
        "docker events --filter type=container --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}' >{file} & pid=$!; \
         n=0; until grep -q create {file}; do n=$((n + 1)); docker create --name try$n tiny true >/dev/null; done; \
         docker run --name later tiny true; until grep -q 'die later' {file}; do :; done; kill $pid; wait $pid; true"
    ))?;
    let shown = s.read("events")?;
    for action in ["create later", "start later", "die later"] {
        has("events", &shown, action)?;
    }
    Ok(())
}

fn prune(s: &mut Scene) -> Done {
    let id = s.must("docker create --name one tiny true")?;
    s.must("docker run --name two tiny true")?;
    s.idle("three", "")?;
    let o = s.hears("docker container prune", "n\n")?;
    has("question", &o.stdout, "Are you sure you want to continue? [y/N]")?;
    is("nothing was removed", s.must("docker ps -aq")?.lines().count(), 3)?;
    let shown = s.must("docker container prune -f")?;
    has("head", &shown, "Deleted Containers:\n")?;
    has("ids", &shown, &id)?;
    has(
        "sum",
        shown.lines().last().unwrap_or_default(),
        "Total reclaimed space: ",
    )?;
    is(
        "what runs stays",
        s.must("docker ps -a --format '{{.Names}}'")?,
        "three",
    )
}

fn prune_filters(s: &mut Scene) -> Done {
    s.must("docker create --name one --label keep tiny true")?;
    s.must("docker create --name two tiny true")?;
    s.must("docker container prune -f --filter until=1h")?;
    is("too young", s.must("docker ps -aq")?.lines().count(), 2)?;
    s.must("docker container prune -f --filter label!=keep")?;
    is(
        "what has the label stays",
        s.must("docker ps -a --format '{{.Names}}'")?,
        "one",
    )
}

fn port(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.prints("docker port box", "")?;
    s.fails("docker port box 80", 1, &["No public port '80"])
}

fn update(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --memory 64m --memory-swap 128m tiny sleep 600")?;
    s.prints(
        "docker update --memory 32m --cpu-shares 512 --pids-limit 40 box",
        "box\n",
    )?;
    is(
        "limits",
        s.inspect(
            "box",
            "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}",
        )?,
        "33554432 512 40",
    )?;
    s.prints("docker update --restart unless-stopped box", "box\n")?;
    is(
        "policy",
        s.inspect("box", "{{.HostConfig.RestartPolicy.Name}}")?,
        "unless-stopped",
    )?;
    s.fails(
        "docker update --memory 1m absent",
        1,
        &["No such container: absent"],
    )
}

fn df(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'head -c 2000 /dev/zero >/file'")?;
    let shown = s.must("docker system df")?;
    let row = shown
        .lines()
        .find(|line| line.starts_with("Containers"))
        .unwrap_or_default();
    is(
        "containers",
        row.split_whitespace().take(4).collect::<Vec<_>>().join(" "),
        "Containers 1 0 2kB",
    )
}

fn info(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.must("docker create tiny true")?;
    s.idle("held", "")?;
    s.must("docker pause held")?;
    is(
        "counts",
        s.must("docker info --format '{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}'")?,
        "3 1 1 1",
    )
}
