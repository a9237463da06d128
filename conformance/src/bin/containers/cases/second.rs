//! The everyday examples of reference 1.4, row by row.
//!
//! May not: type another line than a person does. What a line leaves open (which image) is filled in.

use conformance::command;

use crate::case::{Case, Done, Scene, ask, case, has, is, is_id, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("1.4.01-ubuntu", &[], ubuntu),
        case("1.4.01-ps-stop-restart-rm", &[], everyday),
        case("1.4.01-inspect-searches", &[], inspect_searches),
        case("1.4.01-diff", &[], diff),
        case("1.4.01-commit", &[], commit),
        case("1.4.01-commit-change", &[], commit_change),
        case("1.4.01-flags-after-image", &[], flags_after_image),
        case("1.4.01-environment", &[], environment),
        case("1.4.02-whalesay", &[], whalesay),
        case("1.4.02-create", &[], create),
        case("1.4.02-ps-columns", &[], ps_columns),
        case("1.4.02-container-rm-rename", &[], container_rm_rename),
        case("1.4.02-httpd", &[], httpd),
        case("1.4.02-cp-here", &[], cp_here),
        case("1.4.02-bad-reference", &[], bad_reference),
        case("1.4.03-run-exec-inspect", &[], run_exec_inspect),
        case("1.4.04-version", &[], version),
        case("1.4.04-image-ls-as-typed", &[], image_ls_as_typed),
        case("1.4.04-redis", &[], redis),
        case("1.4.04-redis-name-after-image", &[], redis_name_after_image),
        case("1.4.04-mysql", &[], mysql),
        case("1.4.04-mysql-without-password", &[], mysql_without_password),
        case("1.4.04-exec", &[], exec),
        case("1.4.04-exec-without-terminal", &[], exec_without_terminal),
        case("1.4.04-logs-tail", &[], logs_tail),
        case("1.4.04-logs-since", &[], logs_since),
        case("1.4.04-kill", &[], kill),
        case("1.4.04-kill-not-running", &[], kill_not_running),
        case("1.4.04-graceful", &[], graceful),
    ]
}

fn ubuntu(s: &mut Scene) -> Done {
    let mut person = s.terminal("docker run -it --name=ubuntu_name ubuntu")?;
    person.expect("# ", soon())?;
    person.send("cat /etc/debian_version && echo it' runs'\n")?;
    person.expect("it runs", soon())?;
    // Ctrl-P Ctrl-Q: the shell goes on without us.
    person.send("\x10\x11")?;
    is("exit code", person.close(soon())?, 0)?;
    is("state", s.inspect("ubuntu_name", "{{.State.Running}}")?, true)?;
    let mut again = s.terminal("docker attach ubuntu_name")?;
    again.send("\n")?;
    again.expect("# ", soon())?;
    let mut beside = s.terminal("docker exec -it ubuntu_name bash")?;
    beside.expect("# ", soon())?;
    beside.send("exit\n")?;
    is("exit code of exec", beside.close(soon())?, 0)?;
    again.send("exit 3\n")?;
    is("exit code of attach", again.close(soon())?, 3)?;
    is(
        "state",
        s.inspect("ubuntu_name", "{{.State.Status}} {{.State.ExitCode}}")?,
        "exited 3",
    )
}

fn everyday(s: &mut Scene) -> Done {
    s.must("docker run -d --name=ubuntu ubuntu sleep 600")?;
    has("ps -a", &s.must("docker ps -a")?, "ubuntu")?;
    s.prints("docker stop -t 0 ubuntu", "ubuntu\n")?;
    s.prints("docker restart -t 0 ubuntu", "ubuntu\n")?;
    s.fails("docker rm ubuntu", 1, &["force remove"])?;
    s.prints("docker stop -t 0 ubuntu", "ubuntu\n")?;
    s.prints("docker rm ubuntu", "ubuntu\n")?;
    s.prints("docker tag ubuntu sample", "")?;
    s.prints("docker run --rm sample echo sampled", "sampled\n")?;
    s.prints("docker rmi sample", "Untagged: sample:latest\n")
}

fn inspect_searches(s: &mut Scene) -> Done {
    // The container goes before the image of the same name.
    has("an image", &s.must("docker inspect ubuntu")?, "\"RepoTags\"")?;
    s.must("docker create --name ubuntu ubuntu")?;
    has("a container", &s.must("docker inspect ubuntu")?, "\"HostConfig\"")?;
    has(
        "by type",
        &s.must("docker inspect --type image ubuntu")?,
        "\"RepoTags\"",
    )?;
    let o = s.sh("docker inspect absent")?;
    is("exit code", o.code, 1)?;
    is("stdout", o.stdout, "[]\n")?;
    is(
        "stderr",
        o.stderr.to_lowercase(),
        "error: no such object: absent\n",
    )?;
    let o = s.sh("docker inspect ubuntu absent")?;
    is("exit code of two", o.code, 1)?;
    has("one of two", &o.stdout, "\"HostConfig\"")
}

fn diff(s: &mut Scene) -> Done {
    s.must("docker run --name ubuntu ubuntu sh -c 'echo x >/root/new; rm /etc/issue; chmod 700 /opt; mkdir -p /srv/a/b'")?;
    // Docker 20.10 tells them in the order of its maps.
    let line = if s.is_docker() {
        "docker diff ubuntu | sort -k 2"
    } else {
        "docker diff ubuntu"
    };
    s.prints(
        line,
        "C /etc\nD /etc/issue\nC /opt\nC /root\nA /root/new\nC /srv\nA /srv/a\nA /srv/a/b\n",
    )?;
    s.fails("docker diff absent", 1, &["No such container: absent"])
}

fn commit(s: &mut Scene) -> Done {
    s.must("docker run -d --name ubuntu ubuntu sh -c 'echo kept >/root/file; sleep 600'")?;
    s.until("docker exec ubuntu cat /root/file", "kept")?;
    let id = s.must("docker commit -m \"test\" -a \"author\" ubuntu ubuntu_nano")?;
    is_id(id.trim_start_matches("sha256:"), 64)?;
    is(
        "it still runs",
        s.inspect("ubuntu", "{{.State.Status}}")?,
        "running",
    )?;
    is(
        "message and author",
        s.must("docker image inspect --format '{{.Comment}} {{.Author}}' ubuntu_nano")?,
        "test author",
    )?;
    has("history", &s.must("docker history ubuntu_nano")?, "test")?;
    s.prints("docker run --rm ubuntu_nano cat /root/file", "kept\n")?;
    s.must("docker rmi ubuntu_nano").map(|_| ())
}

fn commit_change(s: &mut Scene) -> Done {
    s.must("docker run --name box -e FROM_RUN=1 full words")?;
    // Docker 20.10 cannot change a stop signal.
    let (signal, shown) = if s.is_docker() {
        ("", "SIGINT")
    } else {
        ("-c 'STOPSIGNAL SIGUSR1'", "SIGUSR1")
    };
    s.must(&format!(
        "docker commit -c 'CMD [\"changed\"]' -c 'ENTRYPOINT [\"echo\"]' -c 'ENV A=1 B=$COLOUR/x' -c 'EXPOSE 81' -c 'LABEL l=v' \
         -c 'USER root' -c 'WORKDIR /tmp' {signal} box made",
    ))?;
    s.prints("docker run --rm made", "changed\n")?;
    let format = "{{.Config.WorkingDir}} {{.Config.User}} {{.Config.StopSignal}} {{.Config.Labels.l}} {{.Config.Labels.flavour}}";
    is(
        "configuration",
        s.must(&format!("docker image inspect --format '{format}' made"))?,
        format!("/tmp root {shown} v sweet"),
    )?;
    let env = s.must("docker image inspect --format '{{.Config.Env}}' made")?;
    for part in ["COLOUR=blue", "FROM_RUN=1", "A=1", "B=blue/x"] {
        has("environment", &env, part)?;
    }
    has(
        "ports",
        &s.must("docker image inspect --format '{{.Config.ExposedPorts}}' made")?,
        "81/tcp",
    )?;
    s.fails(
        "docker commit -c 'RUN true' box made2",
        1,
        &["RUN is not a valid change command", "run"],
    )?;
    s.must("docker rmi made").map(|_| ())
}

fn flags_after_image(s: &mut Scene) -> Done {
    s.fails(
        "docker run --name=ubuntu ubuntu -v ~/Downloads:/download",
        127,
        &["executable file not found", "no such file"],
    )?;
    is(
        "it was created",
        s.inspect("ubuntu", "{{.State.Status}} {{.State.ExitCode}}")?,
        "created 127",
    )
}

fn environment(s: &mut Scene) -> Done {
    s.prints(
        "docker run --env sample=/sample ubuntu sh -c 'echo $sample'",
        "/sample\n",
    )?;
    // -e takes what follows, whatever it looks like.
    let o = s.sh("docker run -e -d tiny echo not detached")?;
    is("-e -d", format!("{} {}", o.code, o.stdout), "0 not detached\n")
}

fn whalesay(s: &mut Scene) -> Done {
    s.prints(
        "docker container run --name practice docker/whalesay:latest cowsay boo",
        "< boo >\n  \\   ^__^\n",
    )
}

fn create(s: &mut Scene) -> Done {
    is_id(
        &s.must("docker create --name c1 --label a=b --env K=V full:latest")?,
        64,
    )?;
    is(
        "what it will run",
        s.inspect("c1", "{{.Path}} {{.Args}} {{.Config.Labels.a}}")?,
        "/bin/tell [default words] b",
    )?;
    s.answers("docker start -a c1", 0, "got 2 arguments: default words\n", "")
}

fn ps_columns(s: &mut Scene) -> Done {
    s.must("docker run --name done1 tiny sh -c 'exit 7'").err();
    let o = s.must("docker ps -a")?;
    let rows: Vec<&str> = o.lines().collect();
    is("rows", rows.len(), 2)?;
    has("status", rows[1], "Exited (7) ")?;
    has("status", rows[1], " ago")?;
    let aligned = rows[0].find("NAMES") == rows[1].find("done1");
    is(
        &format!("columns begin below their headers:\n{o}\n"),
        aligned,
        true,
    )
}

fn container_rm_rename(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    s.prints("docker container rename box crate1", "")?;
    s.prints("docker container ls --format '{{.Names}}'", "crate1\n")?;
    s.prints("docker container rm -f crate1", "crate1\n")?;
    s.must("docker tag tiny going:1")?;
    s.prints("docker image rm going:1", "Untagged: going:1\n")
}

fn httpd(s: &mut Scene) -> Done {
    s.must("docker container run -d --name web httpd")?;
    s.until_served(80, "It works!")?;
    s.prints("docker stop web", "web\n")?;
    is(
        "the end that it wants",
        s.inspect("web", "{{.State.ExitCode}}")?,
        0,
    )
}

fn cp_here(s: &mut Scene) -> Done {
    s.must("docker container run -d --name web httpd")?;
    s.until_served(80, "It works!")?;
    s.file("index.html", "<p>copied from here</p>\n")?;
    s.file("other.txt", "another file\n")?;
    let dir = s.path("");
    s.must(&format!(
        "cd {dir} && docker container cp ./ web:/usr/local/apache2/htdocs/"
    ))?;
    s.until_served(80, "copied from here")?;
    has(
        "another file",
        &ask(80, "GET /other.txt HTTP/1.0\r\n\r\n")?,
        "another file",
    )
}

fn bad_reference(s: &mut Scene) -> Done {
    s.fails(
        "docker run me/ubuntu:14:04 true",
        125,
        &["invalid reference format"],
    )?;
    s.fails(
        "docker image pull me/ubuntu:14:04",
        1,
        &["invalid reference format"],
    )
}

fn run_exec_inspect(s: &mut Scene) -> Done {
    let id = s.must("docker run --name shop -d nginx:latest")?;
    s.until_served(80, "Welcome")?;
    let mut person = s.terminal(&format!("docker exec -it {id} bash"))?;
    person.expect("# ", soon())?;
    person.send("ls /usr/share/nginx/html; exit 4\n")?;
    person.expect("index.html", soon())?;
    is("exit code", person.close(soon())?, 4)?;
    let text = s.must(&format!("docker inspect {id}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("inspect: {e}"))?;
    is("one container", value.as_array().map_or(0, Vec::len), 1)?;
    let one = &value[0];
    is("indented", text.starts_with("[\n    {\n        \"Id\": \""), true)?;
    is("id", one["Id"].as_str().unwrap_or_default(), &id)?;
    is("name", &one["Name"], "\"/shop\"")?;
    is("image", &one["Config"]["Image"], "\"nginx:latest\"")?;
    is("running", &one["State"]["Running"], true)?;
    s.must("docker logs shop")?;
    s.prints("docker stop shop", "shop\n")
}

fn version(s: &mut Scene) -> Done {
    let o = s.must("docker --version")?;
    is("lines", o.lines().count(), 1)?;
    has("text", &o.to_lowercase(), "version ")
}

fn image_ls_as_typed(s: &mut Scene) -> Done {
    s.fails("docker image -ls", 125, &["unknown shorthand flag: 'l' in -ls"])
}

fn redis(s: &mut Scene) -> Done {
    s.must("docker run -d --name cache redis")?;
    let mut answer = String::new();
    command::until("redis answers", soon(), || {
        answer = ask(6379, "PING\r\n").unwrap_or_default();
        answer.starts_with("+PONG")
    })
    .map_err(|e| format!("{e}; it said {answer:?}"))?;
    s.prints("docker exec cache redis-cli set key value", "OK\n")?;
    s.prints("docker exec cache redis-cli get key", "value\n")?;
    is(
        "who serves",
        s.must("docker exec cache stat -c %U /proc/1")?,
        "redis",
    )?;
    s.prints("docker stop cache", "cache\n")?;
    is("a clean end", s.inspect("cache", "{{.State.ExitCode}}")?, 0)
}

fn redis_name_after_image(s: &mut Scene) -> Done {
    let id = s.must("docker run -d redis --name myredis")?;
    s.fails("docker inspect --type container myredis", 1, &["no such"])?;
    is(
        "its arguments",
        s.inspect(&id, "{{.Args}}")?,
        "[redis-server --name myredis]",
    )
    .or_else(|_| is("its arguments", s.inspect(&id, "{{.Args}}")?, "[--name myredis]"))?;
    s.until_ended(&id)
}

fn mysql(s: &mut Scene) -> Done {
    s.must("docker run -d --name c1 -e MYSQL_ROOT_PASSWORD=secret mysql")?;
    s.until(
        "docker exec c1 mysql -h127.0.0.1 -uroot -psecret -e 'select 6*7 as answer'",
        "42",
    )?;
    s.must("docker exec c1 mysql -uroot -psecret -e 'create database shop; create table shop.t (n int); insert into shop.t values (5)'")?;
    // The client of another container reaches it over a socket.
    let o = s.must("docker run --rm mysql mysql -h127.0.0.1 -uroot -psecret -N -e 'select n from shop.t'")?;
    is("over the network", o, "5")?;
    s.fails(
        "docker exec c1 mysql -uroot -pwrong -e 'select 1'",
        1,
        &["access denied"],
    )?;
    s.prints("docker stop -t 30 c1", "c1\n")?;
    is("a clean end", s.inspect("c1", "{{.State.ExitCode}}")?, 0)?;
    s.must("docker start c1")?;
    s.until(
        "docker exec c1 mysql -uroot -psecret -N -e 'select n from shop.t'",
        "5",
    )
}

fn mysql_without_password(s: &mut Scene) -> Done {
    s.fails(
        "docker run --name c1 mysql",
        1,
        &["password option is not specified"],
    )
}

fn exec(s: &mut Scene) -> Done {
    s.idle("c1", "")?;
    s.prints("docker exec c1 sh -c 'echo written > /tmp/f'", "")?;
    s.prints("docker exec c1 cat /tmp/f", "written\n")?;
    s.prints("docker exec c1 ls /tmp", "f\n")
}

fn exec_without_terminal(s: &mut Scene) -> Done {
    s.idle("c1", "")?;
    s.fails(
        "docker exec -it c1 ls /tmp",
        1,
        &["the input device is not a TTY"],
    )?;
    s.fails("docker run -it tiny true", 1, &["the input device is not a TTY"])
}

fn logs_tail(s: &mut Scene) -> Done {
    s.must("docker run --name c1 tiny sh -c 'for n in 1 2 3 4 5; do echo line $n; done'")?;
    let o = s.must("docker logs -f --tail 2 -t c1")?;
    let lines: Vec<&str> = o
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, text)| text))
        .collect();
    is("lines", lines.join("|"), "line 4|line 5")?;
    s.prints("docker logs --tail all c1 | wc -l", "5\n")?;
    // What is no number is all.
    s.prints("docker logs --tail nonsense c1 | wc -l", "5\n")
}

fn logs_since(s: &mut Scene) -> Done {
    s.must("docker run -d -i --name c1 tiny sh -c 'echo early; read go; echo late'")?;
    s.until("docker logs c1", "early")?;
    let early = s.must("docker logs -t c1")?;
    let stamp = early.split(' ').next().unwrap_or_default().to_owned();
    // Another moment: what decides has microseconds, and the clock of the log has, too.
    s.hears("docker attach c1", "go\n")?;
    s.until_ended("c1")?;
    s.prints(&format!("docker logs --since {stamp} c1"), "early\nlate\n")?;
    s.prints(&format!("docker logs --until {stamp} c1"), "early\n")
        .or_else(|_| s.prints(&format!("docker logs --until {stamp} c1"), ""))?;
    s.prints("docker logs --since 1h c1", "early\nlate\n")?;
    s.prints("docker logs --until 1h c1", "")?;
    s.prints("docker logs --since 2001-01-01 c1", "early\nlate\n")?;
    s.prints(
        "docker logs --since 2001-01-01T00:00:00Z --until 2002-01-01T00:00:00 c1",
        "",
    )?;
    s.prints("docker logs --since 978307200 --until 978307200.5 c1", "")?;
    s.fails("docker logs --since nonsense c1", 1, &["invalid", "since"])
}

fn kill(s: &mut Scene) -> Done {
    s.must("docker run -d --name c1 tiny sh -c 'for n in TERM USR1 HUP; do trap \"echo got $n\" $n; done; echo ready; while :; do sleep 0.1; done'")?;
    s.until("docker logs c1", "ready")?;
    for (signal, name) in [("TERM", "TERM"), ("SIGUSR1", "USR1"), ("1", "HUP")] {
        s.prints(&format!("docker kill -s {signal} c1"), "c1\n")?;
        s.until("docker logs c1", &format!("got {name}"))?;
    }
    s.must("docker run -d --name bash1 ubuntu bash -c 'trap \"exit 7\" SIGRTMIN+3; echo ready; while :; do sleep 0.1; done'")?;
    s.until("docker logs bash1", "ready")?;
    s.prints("docker kill --signal SIGRTMIN+3 bash1", "bash1\n")?;
    s.until_ended("bash1")?;
    is("exit code", s.inspect("bash1", "{{.State.ExitCode}}")?, 7)?;
    s.prints("docker kill c1", "c1\n")?;
    s.until_ended("c1")?;
    is("exit code", s.inspect("c1", "{{.State.ExitCode}}")?, 137)?;
    s.must("docker start c1")?;
    s.fails("docker kill -s NONSENSE c1", 1, &["invalid signal"])
}

fn kill_not_running(s: &mut Scene) -> Done {
    s.must("docker create --name c1 tiny true")?;
    s.fails("docker kill c1", 1, &["is not running"])?;
    s.fails("docker kill absent", 1, &["No such container: absent"])
}

fn graceful(s: &mut Scene) -> Done {
    // The first process of a container has no default for SIGTERM; one below an init has.
    s.must("docker run -d --name deaf tiny sleep 600")?;
    s.must("docker run -d --init --name minded tiny sleep 600")?;
    // What it says of that on stderr is the matter of codes.explains-deaf.
    is("stop", s.must("docker stop -t 1 deaf")?, "deaf")?;
    is("killed", s.inspect("deaf", "{{.State.ExitCode}}")?, 137)?;
    s.prints("docker stop -t 20 minded", "minded\n")?;
    is(
        "ended by the signal",
        s.inspect("minded", "{{.State.ExitCode}}")?,
        143,
    )?;
    // The init passes the code on, and collects what others leave.
    let zombies = "sh -c \"sleep 0 & exec sleep 0.1\"; for n in 1 2 3 4 5 6 7 8 9; do sleep 0.1; ps -o stat | grep -q Z || exit 5; done; exit 6";
    let o = s.sh(&format!("docker run --rm --init tiny sh -c '{zombies}'"))?;
    is("exit code", o.code, 5)
}
