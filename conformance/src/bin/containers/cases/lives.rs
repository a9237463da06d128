//! What happens to a container without anybody typing: restart policies, health checks, removal, logs that are rotated.
//!
//! May not: wait by the clock. What takes time is waited for by its effect.

use std::time::Instant;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks};

pub fn cases() -> Vec<Case> {
    vec![
        case("lives.restart-on-failure", &[], on_failure),
        case("lives.restart-on-success", &[], on_success),
        case("lives.restart-always", &[], always),
        case("lives.restart-stopped-by-hand", &[], stopped_by_hand),
        case("lives.restart-status", &[], restart_status),
        case("lives.restart-with-rm", &[], restart_with_rm),
        case("lives.restart-back-off", &[], back_off),
        case("lives.health", &[], health),
        case("lives.health-options", &[], health_options),
        case("lives.health-none", &[], health_none),
        case("lives.health-of-the-image", &[], health_of_the_image),
        case("lives.remove-itself", &[], remove_itself),
        case("lives.client-dies", &[], client_dies),
        case("lives.out-of-memory", &[], out_of_memory),
        case("lives.log-rotation", &[], log_rotation),
        case("lives.log-drivers", &[], log_drivers),
        case("lives.log-non-blocking", &[Need::Brig], log_non_blocking),
        case("lives.log-many-lines", &[], log_many_lines),
        case("lives.log-long-line", &[], log_long_line),
        case("lives.output-after-stop", &[], output_after_stop),
        case("lives.orphans", &[], orphans),
        case("lives.many-at-once", &[], many_at_once),
        case("lives.cidfile", &[], cidfile),
    ]
}

fn on_failure(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --restart on-failure:2 tiny sh -c 'echo try; exit 3'")?;
    s.until(
        "docker inspect --format '{{.RestartCount}} {{.State.Status}}' box",
        "2 exited",
    )?;
    is("tries", s.must("docker logs box")?, "try\ntry\ntry")?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 3)
}

fn on_success(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --restart on-failure tiny sh -c 'echo once'")?;
    s.until_ended("box")?;
    is("tries", s.must("docker logs box")?, "once")?;
    is("restarts", s.inspect("box", "{{.RestartCount}}")?, 0)
}

fn always(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --restart always tiny sh -c 'echo again; sleep 0.2'")?;
    s.until("docker logs box", "again\nagain\nagain")?;
    // A kill by the kernel is an end like another; a kill by hand is not.
    s.prints("docker stop -t 1 box", "box\n")?;
    is("state", s.inspect("box", "{{.State.Status}}")?, "exited")?;
    let logs = s.must("docker logs box")?;
    s.must("docker run --rm tiny sleep 0.5")?;
    is("it stays stopped", s.must("docker logs box")?, logs)
}

fn stopped_by_hand(s: &mut Scene) -> Done {
    for policy in ["always", "unless-stopped", "on-failure"] {
        s.must(&format!(
            "docker run -d --name box --restart {policy} tiny sleep 600"
        ))?;
        s.prints("docker kill box", "box\n")?;
        s.until_ended("box")?;
        s.must("docker run --rm tiny sleep 0.3")?;
        is(
            "a kill is a stop",
            s.inspect("box", "{{.State.Status}}")?,
            "exited",
        )?;
        s.must("docker start box")?;
        is("restarts", s.inspect("box", "{{.RestartCount}}")?, 0)?;
        s.must("docker rm -f box")?;
    }
    Ok(())
}

fn restart_status(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --restart always tiny sh -c 'exit 7'")?;
    s.until(
        "docker ps -a --format '{{.Status}} {{.State}}'",
        "Restarting (7) ",
    )?;
    s.until(
        "docker inspect --format '{{.State.Status}} {{.State.Restarting}}' box",
        "restarting true",
    )?;
    s.prints("docker rm -f box", "box\n")
}

fn restart_with_rm(s: &mut Scene) -> Done {
    s.fails(
        "docker run --rm --restart always tiny true",
        125,
        &["conflicting options", "--restart and --rm"],
    )?;
    s.fails(
        "docker run --restart nonsense tiny true",
        125,
        &["invalid restart policy"],
    )?;
    s.fails(
        "docker run --restart always:3 tiny true",
        125,
        &["maximum retry count"],
    )
}

fn back_off(s: &mut Scene) -> Done {
    // 0.1, 0.2, 0.4, 0.8 seconds: four restarts take a second and a half, not less.
    let began = Instant::now();
    s.must("docker run -d --name box --restart on-failure:4 tiny sh -c 'exit 1'")?;
    s.until(
        "docker inspect --format '{{.RestartCount}} {{.State.Status}}' box",
        "4 exited",
    )?;
    let took = began.elapsed().as_secs_f64();
    is(
        &format!("it took {took:.1} s, between 1.4 and 15"),
        (1.4..15.0).contains(&took),
        true,
    )
}

fn health(s: &mut Scene) -> Done {
    s.must(
        "docker run -d --name box --health-cmd 'echo looked; test ! -e /tmp/ill' --health-interval 200ms --health-retries 2 \
         --health-timeout 5s tiny sleep 600",
    )?;
    s.until(
        "docker inspect --format '{{.State.Health.Status}}' box",
        "healthy",
    )?;
    has(
        "status",
        &s.must("docker ps --format '{{.Status}}'")?,
        "(healthy)",
    )?;
    s.must("docker exec box touch /tmp/ill")?;
    s.until("docker ps --format '{{.Status}}'", "(unhealthy)")?;
    let streak = s.inspect("box", "{{.State.Health.FailingStreak}}")?;
    is(
        "failing streak",
        streak.parse::<u32>().is_ok_and(|n| n >= 2),
        true,
    )?;
    has(
        "its output",
        &s.inspect(
            "box",
            "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}",
        )?,
        "1 looked",
    )?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)?;
    is(
        "by filter",
        s.must("docker ps --filter health=unhealthy --format '{{.Names}}'")?,
        "box",
    )?;
    s.must("docker exec box rm /tmp/ill")?;
    s.until(
        "docker inspect --format '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' box",
        "healthy 0",
    )?;
    let kept = s.inspect("box", "{{len .State.Health.Log}}")?;
    is(
        "results that are kept",
        kept.parse::<u32>().is_ok_and(|n| n <= 5),
        true,
    )?;
    s.until("docker inspect --format '{{len .State.Health.Log}}' box", "5")?;
    // A check that takes too long has failed.
    s.must("docker rm -f box")?;
    s.must("docker run -d --name box --health-cmd 'sleep 600' --health-interval 100ms --health-timeout 200ms --health-retries 1 tiny sleep 600")?;
    s.until(
        "docker inspect --format '{{.State.Health.Status}}' box",
        "unhealthy",
    )?;
    has(
        "why",
        &s.inspect(
            "box",
            "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}",
        )?,
        "-1 Health check exceeded timeout",
    )
}

fn health_options(s: &mut Scene) -> Done {
    s.must(
        "docker create --name box --health-cmd true --health-interval 10s --health-timeout 5s --health-retries 4 \
         --health-start-period 1m tiny sleep 600",
    )?;
    is(
        "options",
        s.inspect("box", "{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}")?,
        "[\"CMD-SHELL\",\"true\"] 10s 4",
    )?;
    s.fails(
        "docker create --health-interval -1s tiny true",
        1,
        &["cannot be negative"],
    )
    .or_else(|_| {
        s.fails(
            "docker create --health-interval -1s tiny true",
            125,
            &["cannot be negative"],
        )
    })?;
    s.fails(
        "docker run --no-healthcheck --health-cmd true tiny true",
        125,
        &["--no-healthcheck conflicts with --health-* options"],
    )
}

fn health_none(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --no-healthcheck healthy")?;
    is(
        "no health",
        s.must("docker inspect box")?.contains("\"Health\""),
        false,
    )?;
    lacks("status", &s.must("docker ps --format '{{.Status}}'")?, "(")
}

fn health_of_the_image(s: &mut Scene) -> Done {
    s.must("docker run -d --name box healthy")?;
    s.until(
        "docker inspect --format '{{.State.Health.Status}}' box",
        "healthy",
    )?;
    s.prints("docker stop -t 0 box", "box\n")?;
    has(
        "status",
        &s.must("docker ps -a --format '{{.Status}}'")?,
        "Exited (137)",
    )
}

fn remove_itself(s: &mut Scene) -> Done {
    s.prints("docker run --rm --name box tiny echo gone", "gone\n")?;
    s.fails("docker inspect --type container box", 1, &["no such"])?;
    s.must("docker run -d --rm --name box tiny sleep 600")?;
    s.prints("docker stop -t 0 box", "box\n")?;
    s.until(
        "docker ps -a --format 'all {{.Names}}' | grep -c box || true",
        "0",
    )
}

fn client_dies(s: &mut Scene) -> Done {
    s.must(
        "docker run --rm --name box tiny sh -c 'echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two >/tmp/out; sleep 600' >/dev/null & \
         pid=$!; until docker logs box 2>/dev/null | grep -q one; do :; done; kill -KILL $pid; wait $pid; true",
    )?;
    is("it runs on", s.inspect("box", "{{.State.Running}}")?, true)?;
    s.must("docker exec box touch /tmp/go")?;
    s.until("docker exec box cat /tmp/out", "two")?;
    s.prints("docker stop -t 0 box", "box\n")?;
    s.until("docker ps -aq | wc -l", "0")
}

fn out_of_memory(s: &mut Scene) -> Done {
    let o = s.sh(
        "docker run --name box --memory 16m --memory-swap 16m tiny sh -c 'x=x; while :; do x=$x$x; done'",
    )?;
    is("exit code", o.code, 137)?;
    is("it is told", s.inspect("box", "{{.State.OOMKilled}}")?, true)
}

fn log_rotation(s: &mut Scene) -> Done {
    s.must("docker run --name box --log-opt max-size=10k --log-opt max-file=3 tiny sh -c 'n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo line $n; done' >/dev/null")?;
    let o = s.must("docker logs box")?;
    let lines: Vec<&str> = o.lines().collect();
    is(
        "the last line is there",
        lines.last().copied().unwrap_or_default(),
        "line 1000",
    )?;
    is("the first is not", lines.contains(&"line 1"), false)?;
    let first: usize = lines
        .first()
        .and_then(|line| line.strip_prefix("line "))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    is("no hole", lines.len(), 1001 - first)?;
    is("some of it is kept", lines.len() > 100, true)?;
    s.fails(
        "docker run --log-opt nonsense=1 tiny true",
        125,
        &["unknown log opt"],
    )?;
    s.fails(
        "docker run --log-opt max-size=1x tiny true",
        125,
        &["invalid size"],
    )
    .or_else(|_| s.fails("docker run --log-opt max-size=1x tiny true", 125, &["invalid"]))
}

/// A log that is not written any more holds nobody up who has said so; and one that is, has everything.
fn log_non_blocking(s: &mut Scene) -> Done {
    let modes = "--log-opt mode=non-blocking --log-opt max-buffer-size";
    let id = s.must(&format!(
        "docker create --name box {modes}=64k tiny sh -c 'yes somebody writes a line | head -c 4000000'"
    ))?;
    // Nobody reads from it: whoever writes waits when it is full.
    let log = s.lab.store().join(format!("containers/{id}/{id}-json.log"));
    let log = log.display();
    s.must(&format!("rm -f {log} && mkfifo {log}"))?;
    s.must("docker start box")?;
    s.until_ended("box")?;
    is("exit code", s.inspect("box", "{{.State.ExitCode}}")?, 0)?;
    s.must("docker rm box")?;
    s.must(&format!(
        "docker run --name two {modes}=16m tiny sh -c 'echo err >&2; seq 1 20000; echo last' >/dev/null 2>&1"
    ))?;
    let told = |of: &str| s.must(&format!("docker logs two 2>&1 {of}"));
    is("the last one", told("| tail -n 1")?, "last")?;
    is("numbers", told("| grep -c '^[0-9]*$'")?, 20000)?;
    is("others", s.must("docker logs two 2>&1 >/dev/null")?, "err")?;
    s.must("docker start two")?;
    s.until_ended("two")?;
    is("numbers of both", told("| grep -c '^[0-9]*$'")?, 40000)
}

fn log_drivers(s: &mut Scene) -> Done {
    s.prints(
        "docker run --name none1 --log-driver none tiny echo unheard",
        "unheard\n",
    )?;
    s.fails(
        "docker logs none1",
        1,
        &["configured logging driver does not support reading"],
    )?;
    s.prints(
        "docker run --name local1 --log-driver local tiny sh -c 'echo one; echo two'",
        "one\ntwo\n",
    )?;
    s.prints("docker logs local1", "one\ntwo\n")?;
    s.prints("docker logs --tail 1 local1", "two\n")?;
    is(
        "driver",
        s.inspect("local1", "{{.HostConfig.LogConfig.Type}}")?,
        "local",
    )?;
    s.must(
        "docker run --name json1 --log-driver json-file tiny sh -c 'echo one; echo two >&2; printf three'",
    )?;
    let path = s.inspect("json1", "{{.LogPath}}")?;
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let mut streams = String::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        is("keys", value.as_object().map_or(0, serde_json::Map::len), 3)?;
        is(
            "time",
            value["time"].as_str().is_some_and(|time| time.ends_with('Z')),
            true,
        )?;
        streams += &format!(
            "{}:{};",
            value["stream"].as_str().unwrap_or_default(),
            value["log"].as_str().unwrap_or_default().trim_end()
        );
    }
    has("the file", &streams, "stdout:one;")?;
    has("the file", &streams, "stderr:two;")?;
    has("the file", &streams, "stdout:three;")?;
    s.fails("docker run --log-driver nonsense tiny true", 125, &["nonsense"])
}

fn log_many_lines(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny seq 1 200000 >/dev/null")?;
    is("lines", s.must("docker logs box | wc -l")?, 200_000)?;
    is(
        "the last ones",
        s.must("docker logs --tail 2 box")?,
        "199999\n200000",
    )?;
    is(
        "whole",
        s.must("docker logs box | sha256sum")?,
        s.must("seq 1 200000 | sha256sum")?,
    )
}

fn log_long_line(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x; echo; echo after' >/dev/null")?;
    let o = s.must("docker logs box")?;
    let lines: Vec<usize> = o.lines().map(str::len).collect();
    is("lengths", format!("{lines:?}"), "[100000, 5]")?;
    is("the last line", s.must("docker logs --tail 1 box")?, "after")
}

fn output_after_stop(s: &mut Scene) -> Done {
    // What a process writes as its last word is not lost. The two streams have no order between them.
    for n in 0..5 {
        s.answers(
            &format!("docker run --name box{n} tiny sh -c 'seq 1 3000 | tail -n 1; echo last >&2'"),
            0,
            "3000\n",
            "last\n",
        )?;
        s.answers(&format!("docker logs box{n}"), 0, "3000\n", "last\n")?;
    }
    Ok(())
}

fn orphans(s: &mut Scene) -> Done {
    // When the first process ends, all others do.
    s.must("docker run --name box tiny sh -c 'sleep 611 & setsid sleep 612 & exit 0'")?;
    s.until("ps -eo args | grep -c '^sleep 61[12]' || true", "0")
}

fn many_at_once(s: &mut Scene) -> Done {
    let o = s.must(
        "for n in 1 2 3 4 5 6 7 8 9 10; do docker run --rm --network none tiny sh -c \"echo out $n; exit $n\" >out$n & pids=\"$pids $!\"; done; \
         for pid in $pids; do wait $pid; echo $?; done; cat out*; rm out*",
    )?;
    let mut lines: Vec<&str> = o.lines().collect();
    is(
        "exit codes",
        lines.drain(..10).collect::<Vec<_>>().join(" "),
        "1 2 3 4 5 6 7 8 9 10",
    )?;
    is("outputs", lines.len(), 10)?;
    is("nothing is left", s.must("docker ps -aq")?, "")
}

fn cidfile(s: &mut Scene) -> Done {
    let file = s.path("id");
    let id = s.must(&format!("docker run -d --cidfile {file} tiny true"))?;
    is("file", s.read("id")?, &id)?;
    s.fails(
        &format!("docker run --cidfile {file} tiny true"),
        125,
        &["container ID file found"],
    )
}
