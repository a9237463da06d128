//! Options of `run`, one effect each, seen from inside.
//!
//! May not: need a controller or a right that the played host lacks.

use crate::case::{Case, Done, Need, Scene, case, is};

/// An option, a script, and what it prints.
struct Row {
    name: &'static str,
    flags: &'static str,
    script: &'static str,
    output: &'static str,
}

const fn row(name: &'static str, flags: &'static str, script: &'static str, output: &'static str) -> Row {
    Row {
        name,
        flags,
        script,
        output,
    }
}

const ROWS: &[Row] = &[
    row("workdir", "-w /data", "pwd", "/data\n"),
    row(
        "workdir-is-made",
        "-w /new/dir",
        "pwd; stat -c %u .",
        "/new/dir\n0\n",
    ),
    row("user-name", "-u guest", "id -u; id -g", "1000\n1000\n"),
    row("user-numbers", "-u 77:88", "id -u; id -g", "77\n88\n"),
    row("user-groups", "-u guest", "id -G", "1000 50\n"),
    row(
        "group-add",
        "--group-add 123 --group-add staff",
        "id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '",
        "0 50 123 ",
    ),
    row("user-home", "-u guest", "echo $HOME", "/tmp\n"),
    row("hostname", "--network none -h box1", "hostname", "box1\n"),
    row(
        "domain",
        "--network none -h box1 --domainname example.org",
        "cat /proc/sys/kernel/domainname",
        "example.org\n",
    ),
    row(
        "read-only",
        "--read-only",
        "touch /x 2>&1 | grep -c 'Read-only file system'",
        "1\n",
    ),
    row(
        "tmpfs",
        "--tmpfs /scratch:size=1m,mode=1777",
        "grep ' /scratch ' /proc/mounts | grep -o 'noexec' ; stat -c %a /scratch",
        "noexec\n1777\n",
    ),
    row(
        "mount-tmpfs",
        "--mount type=tmpfs,target=/scratch,tmpfs-size=1m",
        "df -k /scratch | tail -n 1 | awk '{print $2}'",
        "1024\n",
    ),
    row(
        "shm-size",
        "--shm-size 16m",
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
        "16384\n",
    ),
    row(
        "shm-size-default",
        "",
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
        "65536\n",
    ),
    row(
        "ulimit",
        "--ulimit nofile=64:128",
        "ulimit -n; ulimit -Hn",
        "64\n128\n",
    ),
    row(
        "cap-drop",
        "--cap-drop ALL",
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000000000\n",
    ),
    row(
        "cap-add",
        "--cap-drop ALL --cap-add NET_ADMIN",
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000001000\n",
    ),
    row(
        "cap-default",
        "",
        "grep CapEff /proc/self/status",
        "CapEff:\t00000000a80425fb\n",
    ),
    row(
        "no-new-privileges",
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1\n",
    ),
    row(
        "seccomp-default",
        "",
        "grep ^Seccomp: /proc/self/status",
        "Seccomp:\t2\n",
    ),
    row(
        "seccomp-refuses",
        "",
        "mount -t tmpfs x /tmp 2>&1 | tail -n 1 | grep -c 'ermission denied\\|not permitted'",
        "1\n",
    ),
    row(
        "seccomp-unconfined",
        "--security-opt seccomp=unconfined",
        "grep ^Seccomp: /proc/self/status",
        "Seccomp:\t0\n",
    ),
    row(
        "masked",
        "",
        "cat /proc/kcore 2>/dev/null | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -w; echo x 2>/dev/null >/proc/sysrq-trigger || echo no",
        "0\n0\nno\n",
    ),
    row(
        "systempaths-unconfined",
        "--security-opt systempaths=unconfined",
        "grep -c ' /proc/.* ro,' /proc/mounts || true",
        "0\n",
    ),
    row(
        "device",
        "--device /dev/null:/dev/nothing",
        "test -c /dev/nothing && echo there",
        "there\n",
    ),
    row(
        "devices-default",
        "",
        "for d in null zero full tty random urandom ptmx; do test -e /dev/$d || echo no $d; done; ls /dev/fd/ >/dev/null && echo all",
        "all\n",
    ),
    row(
        "sysctl",
        "--network none --sysctl net.ipv4.ip_forward=1",
        "cat /proc/sys/net/ipv4/ip_forward",
        "1\n",
    ),
    row("network-none", "--network none", "ls /sys/class/net", "lo\n"),
    row("network-host", "--network host", "hostname", "played-host\n"),
    row(
        "hosts",
        "--network none -h box1 --add-host peer1:10.1.2.3",
        "grep -c 'localhost' /etc/hosts; grep 10.1.2.3 /etc/hosts",
        "2\n10.1.2.3\tpeer1\n",
    ),
    row(
        "dns",
        "--network none --dns 9.8.7.6 --dns-search example.org",
        "grep -v '^#' /etc/resolv.conf | grep -o '9.8.7.6\\|example.org' | sort",
        "9.8.7.6\nexample.org\n",
    ),
    row("pid-namespace", "", "echo $$", "1\n"),
    row(
        "pid-host",
        "--pid host",
        "test $$ -ne 1 && test -d /proc/1 && echo host",
        "host\n",
    ),
    row(
        "ipc-private",
        "",
        "readlink /proc/self/ns/ipc | cut -c 1-5",
        "ipc:[\n",
    ),
    row("uts-host", "--uts host", "hostname", "played-host\n"),
    row(
        "memory",
        "--memory 32m",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
        "33554432\n",
    ),
    row(
        "cpu-shares",
        "--cpu-shares 512",
        "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || echo 512",
        "512\n",
    ),
    row(
        "cpus",
        "--cpus 0.5",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || echo 50000",
        "50000\n",
    ),
    row(
        "cpuset",
        "--cpuset-cpus 0",
        "grep Cpus_allowed_list /proc/self/status",
        "Cpus_allowed_list:\t0\n",
    ),
    row(
        "pids-limit",
        "--pids-limit 40",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
        "40\n",
    ),
    row(
        "cgroup-read-only",
        "",
        "grep -c '^cgroup.* rw,' /proc/mounts || true",
        "0\n",
    ),
    row(
        "oom-score-adj",
        "--oom-score-adj 300",
        "cat /proc/self/oom_score_adj",
        "300\n",
    ),
    row(
        "init",
        "--init",
        "cat /proc/1/comm | grep -c 'init'; test $$ -ne 1 && echo below",
        "1\nbelow\n",
    ),
    row("label-has-no-effect", "--label a=b", "echo fine", "fine\n"),
    row("env-home", "-e HOME=/somewhere", "echo $HOME", "/somewhere\n"),
];

fn play(s: &mut Scene, row: &Row) -> Done {
    // The script is a word of the line: what quotes itself in it is closed and opened again.
    let script = row.script.replace('\'', "'\\''");
    let line = format!("docker run --rm {} tiny sh -c '{script}'", row.flags);
    s.answers(&line, 0, row.output, "")
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS
        .iter()
        .map(|row| case(&format!("options.{}", row.name), &[], |s| play(s, row)))
        .collect();
    cases.extend([
        case("options.entrypoint", &[], entrypoint),
        case("options.full-image", &[], full_image),
        case("options.network-of-another", &[], network_of_another),
        case("options.pid-of-another", &[], pid_of_another),
        case("options.ipc-of-another", &[], ipc_of_another),
        case("options.privileged", &[], privileged),
        case("options.label-file", &[], label_file),
        case("options.mount-forms", &[], mount_forms),
        case("options.conflicts", &[], conflicts),
        case("options.runtime", &[Need::Brig], runtime),
    ]);
    cases
}

fn entrypoint(s: &mut Scene) -> Done {
    s.prints("docker run --rm --entrypoint echo full of words", "of words\n")?;
    s.prints("docker run --rm --entrypoint pwd full", "/data\n")?;
    s.prints("docker run --rm --entrypoint '' full echo none", "none\n")?;
    s.must("docker create --name box --entrypoint '' full echo none")?;
    is(
        "entrypoint",
        s.inspect("box", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}")?,
        "null [\"echo\",\"none\"]",
    )
}

fn full_image(s: &mut Scene) -> Done {
    s.prints("docker run --rm full", "got 2 arguments: default words\n")?;
    s.prints("docker run --rm full one", "got 1 arguments: one\n")?;
    s.prints(
        "docker run --rm --entrypoint sh full -c 'id -un; pwd; echo $COLOUR'",
        "guest\n/data\nblue\n",
    )?;
    s.must("docker create --name box full")?;
    is(
        "what comes from the image",
        s.inspect(
            "box",
            "{{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}} {{.Config.Labels.flavour}}",
        )?,
        "guest /data SIGINT sweet",
    )?;
    s.must("docker create --name other --label flavour=sour --stop-signal TERM full")?;
    is(
        "what the line says",
        s.inspect("other", "{{.Config.StopSignal}} {{.Config.Labels.flavour}}")?,
        "TERM sour",
    )
}

fn network_of_another(s: &mut Scene) -> Done {
    s.must("docker run -d --name server --network none tiny sh -c 'mkdir /www; echo shared >/www/index.html; exec httpd -f -p 127.0.0.1:8099 -h /www'")?;
    s.until(
        "docker run --rm --network container:server tiny sh -c 'printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | nc 127.0.0.1 8099'",
        "shared",
    )?;
    let same = s.must("docker exec server readlink /proc/self/ns/net")?;
    is(
        "namespace",
        s.must("docker run --rm --network container:server tiny readlink /proc/self/ns/net")?,
        same,
    )?;
    s.fails(
        "docker run --rm --network container:absent tiny true",
        125,
        &["No such container: absent"],
    )?;
    s.fails(
        "docker run --rm --network container:server -h other tiny true",
        125,
        &["conflicting options: hostname and the network mode"],
    )?;
    s.must("docker stop -t 0 server")?;
    s.fails(
        "docker run --rm --network container:server tiny true",
        125,
        &["cannot join network of a non running container"],
    )
}

fn pid_of_another(s: &mut Scene) -> Done {
    s.must("docker run -d --name box tiny sleep 677")?;
    s.prints(
        "docker run --rm --pid container:box tiny sh -c 'ps -o args | grep -c \"[s]leep 677\"'",
        "1\n",
    )
}

fn ipc_of_another(s: &mut Scene) -> Done {
    s.must("docker run -d --name box --ipc shareable tiny sleep 600")?;
    let same = s.must("docker exec box readlink /proc/self/ns/ipc")?;
    is(
        "namespace",
        s.must("docker run --rm --ipc container:box tiny readlink /proc/self/ns/ipc")?,
        same,
    )?;
    s.must("docker exec box touch /dev/shm/mark")?;
    s.prints("docker run --rm --ipc container:box tiny ls /dev/shm", "mark\n")?;
    s.must("docker run -d --name closed --ipc private tiny sleep 600")?;
    s.fails(
        "docker run --rm --ipc container:closed tiny true",
        125,
        &["non-shareable IPC"],
    )
}

fn privileged(s: &mut Scene) -> Done {
    // Docker asks the kernel for every capability there is, brig for every one that it has itself.
    if s.is_docker() {
        return Ok(());
    }
    s.prints(
        "docker run --rm --privileged tiny sh -c 'mount -t tmpfs x /tmp && grep ^Seccomp: /proc/self/status'",
        "Seccomp:\t0\n",
    )?;
    s.prints(
        "docker run --rm --privileged tiny sh -c 'test -e /dev/loop-control && echo devices'",
        "devices\n",
    )
}

fn label_file(s: &mut Scene) -> Done {
    let file = s.file("labels", "a=1\n# no label\nb\n")?;
    s.must(&format!(
        "docker create --name box --label-file {file} --label c=3 tiny true"
    ))?;
    is("labels", s.inspect("box", "{{.Config.Labels}}")?, "map[a:1 c:3]")
}

fn mount_forms(s: &mut Scene) -> Done {
    s.file("f", "text\n")?;
    let dir = s.path("");
    let dir = dir.trim_end_matches('/');
    for form in [
        format!("--mount type=bind,source={dir},target=/m"),
        format!("--mount type=bind,src={dir},dst=/m,readonly"),
        format!("--mount type=bind,source={dir},destination=/m,ro=true"),
        format!("--mount 'type=bind,\"source={dir}\",target=/m,bind-propagation=rprivate'"),
        format!("-v {dir}:/m:ro,rprivate"),
        format!("-v {dir}:/m:z"),
    ] {
        s.prints(&format!("docker run --rm {form} tiny cat /m/f"), "text\n")?;
    }
    s.prints(
        &format!("cd {dir} && docker run --rm -v $PWD:/m tiny cat /m/f"),
        "text\n",
    )?;
    for (form, part) in [
        ("type=nonsense,target=/m", "nonsense"),
        ("type=bind,target=/m", "source"),
        ("type=bind,source=/tmp", "target"),
        ("type=tmpfs,source=/x,target=/m", "source"),
        (
            "type=bind,source=/tmp,target=/m,nonsense=1",
            // unexpected key, or unknown option
            "'nonsense'",
        ),
        ("type=bind,source=/tmp,target=m", "absolute"),
    ] {
        s.fails(&format!("docker run --rm --mount {form} tiny true"), 125, &[part])?;
    }
    Ok(())
}

fn conflicts(s: &mut Scene) -> Done {
    let mut problems = Vec::new();
    for (flags, parts) in [
        ("--memory 1k", &["minimum memory limit"][..]),
        ("--memory nonsense", &["invalid size"]),
        ("--cpus nonsense", &["nonsense"]),
        ("--ulimit nofile", &["invalid ulimit"]),
        ("--user nosuchuser", &["unable to find user nosuchuser"]),
        ("--ipc nonsense", &["nonsense", "ipc"]),
        ("--pid nonsense", &["nonsense", "pid"]),
        ("--security-opt nonsense", &["security-opt"]),
        ("--cap-add NONSENSE", &["invalid CapAdd", "capability"]),
        ("--runtime nonsense", &["nonsense"]),
        (
            "--log-driver json-file --log-opt max-file=x",
            &["max-file", "invalid"],
        ),
        ("--stop-signal NONSENSE", &["invalid signal"]),
        ("--cgroupns nonsense", &["cgroup"]),
        ("-w relative", &["absolute"]),
        ("--expose nonsense", &["invalid"]),
        ("--tmpfs relative", &["absolute"]),
        ("--memory-swap 10m --memory 20m", &["swap"]),
    ] {
        let o = s.sh(&format!("docker run --rm {flags} tiny true"))?;
        let message = o.stderr.to_lowercase();
        let told = parts.iter().any(|part| message.contains(&part.to_lowercase()));
        // Docker counts every message of a file that is not there as a program that was not found.
        let code = if message.contains("no such file or directory") {
            127
        } else {
            125
        };
        if !told || o.code != code {
            problems.push(format!(
                "{flags}: exit code {}, none of {parts:?}: {message:?}",
                o.code
            ));
        }
    }
    is("what is not refused as it should", problems.join("\n"), "")
}

fn runtime(s: &mut Scene) -> Done {
    let runc = conformance::daemon::installed("runc")?;
    s.prints(
        &format!(
            "docker run --rm --runtime {} tiny echo by another",
            runc.display()
        ),
        "by another\n",
    )
}
