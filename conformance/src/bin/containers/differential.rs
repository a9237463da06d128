//! Command lines that brig and Docker 20.10 must answer alike: the shape of stdout, the class of stderr, the exit code.
//!
//! May not: leave a difference without a reason. The known ones are a table; one that is none any more fails, too.

use std::time::Instant;

use conformance::command::Outcome;
use conformance::judge::Peer;
use conformance::patience;
use conformance::verdict::{Choice, Done, Sums};

use crate::lab::{Lab, Subject};
use crate::mask;
use crate::wires;

/// What of a line is compared beside its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// The shape of stdout and the class of stderr.
    Both,
    /// As Both, whatever the order of the lines on stdout.
    Sorted,
    /// Only whether anything is on stdout, and the class of stderr: the text is another one by design (help, versions).
    Class,
}

use Compare::{Both, Class, Sorted};

pub struct Line {
    group: &'static str,
    number: usize,
    text: &'static str,
    compare: Compare,
}

impl Line {
    pub fn name(&self) -> String {
        format!("diff.{}-{:02}", self.group, self.number)
    }
}

/// Lines that share containers, which are made before and removed afterwards.
struct Group {
    name: &'static str,
    setup: &'static [&'static str],
    lines: &'static [(Compare, &'static str)],
}

/// A container in each state, for lines that only look.
const STATES: &[&str] = &[
    "docker create --network none --name made --label colour=blue --env A=1 full one two",
    "docker run --network none --name done tiny sh -c 'echo out; sleep 0.3; echo err >&2; exit 3'",
    "docker run -d --network none --name up --label colour=red tiny sleep 10000",
    "docker run -d --network none --name held tiny sleep 10000",
    "docker pause held",
];

const GROUPS: &[Group] = &[
    Group {
        name: "usage",
        setup: &[],
        lines: &[
            (Both, "docker run"),
            (Both, "docker create"),
            (Both, "docker start"),
            (Both, "docker stop"),
            (Both, "docker kill"),
            (Both, "docker rm"),
            (Both, "docker exec one"),
            (Both, "docker logs"),
            (Both, "docker attach"),
            (Both, "docker wait"),
            (Both, "docker rename one"),
            (Both, "docker commit"),
            (Both, "docker diff"),
            (Both, "docker export"),
            (Both, "docker cp one"),
            (Both, "docker top"),
            (Both, "docker port"),
            (Both, "docker pause"),
            (Both, "docker unpause"),
            (Both, "docker restart"),
            (Both, "docker update"),
            (Both, "docker inspect"),
            (Both, "docker ps extra"),
            (Both, "docker events extra"),
            (Both, "docker container prune extra"),
            (Both, "docker run --nonsense tiny"),
            (Both, "docker run -rm tiny"),
            (Both, "docker run -name x tiny"),
            (Both, "docker ps -ls"),
            (Both, "docker ps --nonsense"),
            (Both, "docker stop --nonsense x"),
            (Both, "docker rm --nonsense x"),
            (Both, "docker logs --nonsense x"),
            (Both, "docker exec --nonsense x y"),
            (Both, "docker run --name"),
            (Both, "docker ps -n x"),
            (Both, "docker run --cpus x tiny"),
            (Both, "docker run --memory x tiny"),
            (Both, "docker nonsense"),
            (Class, "docker run --help"),
            (Class, "docker ps --help"),
            (Class, "docker container --help"),
            (Class, "docker --version"),
        ],
    },
    Group {
        name: "absent",
        setup: &[],
        lines: &[
            (Both, "docker start absent"),
            (Both, "docker stop absent"),
            (Both, "docker restart absent"),
            (Both, "docker kill absent"),
            (Both, "docker pause absent"),
            (Both, "docker unpause absent"),
            (Both, "docker rm absent"),
            (Both, "docker rm -f absent"),
            (Both, "docker exec absent true"),
            (Both, "docker logs absent"),
            (Both, "docker attach absent"),
            (Both, "docker wait absent"),
            (Both, "docker rename absent other"),
            (Both, "docker commit absent"),
            (Both, "docker diff absent"),
            (Both, "docker export absent >/dev/null"),
            (Both, "docker cp absent:/x ."),
            (Both, "docker top absent"),
            (Both, "docker port absent"),
            (Both, "docker update --memory 64m absent"),
            (Both, "docker inspect absent"),
            (Both, "docker inspect --type container absent"),
            (Both, "docker container inspect absent"),
            (Both, "docker stats --no-stream absent"),
            (Both, "docker ps"),
            (Both, "docker ps -aq"),
            (Both, "docker run --network none --pull never nosuchimage true"),
            (Both, "docker create --network none --pull never nosuchimage true"),
            (Both, "docker run me/ubuntu:14:04 true"),
            (Both, "docker run --name .bad tiny true"),
        ],
    },
    Group {
        name: "shown",
        setup: STATES,
        lines: &[
            (Both, "docker ps"),
            (Both, "docker ps -a"),
            (Both, "docker ps -a --no-trunc"),
            (Both, "docker ps -q"),
            (Both, "docker ps -aq --no-trunc"),
            (Both, "docker ps -l"),
            (Both, "docker ps -n 2"),
            (Both, "docker ps -as --format '{{.Names}} {{.Size}}'"),
            (Both, "docker container ls -a --format '{{.Names}}: {{.Status}}'"),
            (
                Both,
                "docker ps -a --format 'table {{.Names}}\\t{{.State}}\\t{{.Image}}'",
            ),
            (
                Both,
                "docker ps -a --filter name=up --format '{{.Names}} {{.Labels}}'",
            ),
            (
                Both,
                "docker ps -a --format '{{.Names}} {{.Label \"colour\"}} {{.Mounts}} {{.Networks}} {{.Ports}}'",
            ),
            (Both, "docker ps -a --format '{{.Command}}'"),
            (Both, "docker ps -a --format '{{.CreatedAt}} {{.RunningFor}}'"),
            (Both, "docker ps -a --format '{{json .Names}}'"),
            (Both, "docker ps -a --format '{{.Nonsense}}'"),
            (Both, "docker ps -a --format '{{'"),
            (Both, "docker ps --filter status=paused --format '{{.Names}}'"),
            (
                Both,
                "docker ps --filter status=exited --filter status=created --format '{{.Names}}'",
            ),
            (Both, "docker ps -a --filter label=colour --format '{{.Names}}'"),
            (
                Both,
                "docker ps -a --filter label=colour=red --format '{{.Names}}'",
            ),
            (Both, "docker ps -a --filter name=e --format '{{.Names}}'"),
            (Both, "docker ps -a --filter name=^/up$ --format '{{.Names}}'"),
            (Both, "docker ps -a --filter ancestor=full --format '{{.Names}}'"),
            (Both, "docker ps -a --filter exited=3 --format '{{.Names}}'"),
            (Both, "docker ps -a --filter since=done --format '{{.Names}}'"),
            (Both, "docker ps -a --filter before=done --format '{{.Names}}'"),
            (Both, "docker ps -a --filter network=none --format '{{.Names}}'"),
            (Both, "docker ps -a --filter nonsense=1"),
            (Both, "docker ps -a --filter status=nonsense"),
            (
                Both,
                "docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Paused}}' made done up held",
            ),
            (
                Both,
                "docker inspect --format '{{.Name}} {{.Path}} {{.Args}} {{.Config.Image}}' made done up",
            ),
            (
                Both,
                "docker inspect --format '{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Config.Env}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}} {{json .Config.Labels}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.Config.AttachStdout}}' done up",
            ),
            (
                Both,
                "docker inspect --format '{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy}} {{.HostConfig.AutoRemove}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.ShmSize}} {{.HostConfig.Privileged}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{json .HostConfig.LogConfig}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{json .HostConfig.MaskedPaths}} {{json .HostConfig.ReadonlyPaths}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{json .Config.ExposedPorts}} {{json .Mounts}}' made",
            ),
            (
                Both,
                "docker inspect --format '{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}' made done",
            ),
            (
                Both,
                "docker inspect --format '{{.Image}} {{.RestartCount}} {{.Platform}} {{.Driver}}' made",
            ),
            (Both, "docker inspect --format '{{.Nonsense}}' made"),
            (Both, "docker inspect --format '{{.State.Nonsense}}' made"),
            (Both, "docker inspect --format '{{' made"),
            (Both, "docker logs done"),
            (Both, "docker logs -t done"),
            (Both, "docker logs --tail 1 done"),
            (Both, "docker logs --since 1h --until 10m done"),
            (Both, "docker logs made"),
            (Both, "docker logs --details done"),
            (Both, "docker diff done"),
            (Both, "docker port up"),
            (Both, "docker port up 80"),
            // Every number, for the column C is a share of the processor, and 1 where the machine
            // was slow to make the container.
            (Both, "docker top up | sed 's/[0-9][0-9]*/N/g'"),
            (
                Both,
                "docker top up -o pid,args | tail -n +2 | sed 's/^ *[0-9]*//'",
            ),
            (Both, "docker top done"),
            (Both, "docker stats --no-stream --format '{{.Name}} {{.PIDs}}' up"),
            (
                Both,
                "docker stats --no-stream --format '{{.Container}} {{.NetIO}}' up done",
            ),
            (Both, "docker wait done"),
            (
                Sorted,
                "docker events --since 10m --until -1s --filter container=$(docker ps -q --no-trunc --filter name=^/up$) --format '{{.Type}} {{.Action}}' | grep -v top",
            ),
            (
                Both,
                "docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}' | grep Containers",
            ),
        ],
    },
    Group {
        name: "verbs",
        setup: STATES,
        lines: &[
            (Both, "docker start up"),
            (Both, "docker start held"),
            (Both, "docker stop done"),
            (Both, "docker kill done"),
            (Both, "docker pause held"),
            (Both, "docker pause made"),
            (Both, "docker pause done"),
            (Both, "docker unpause up"),
            (Both, "docker exec made true"),
            (Both, "docker exec done true"),
            (Both, "docker exec held true"),
            (Both, "docker exec up true"),
            (Both, "docker exec up false"),
            (Both, "docker exec up sh -c 'echo o; echo e >&2; exit 4'"),
            (
                Both,
                "docker exec -e X=1 -w /tmp -u guest up sh -c 'echo $X $PWD $(id -u)'",
            ),
            (Both, "docker exec up nosuch"),
            (Both, "docker exec -w /absent up true"),
            (Both, "docker exec -u nosuch up true"),
            (Both, "docker exec -it up true"),
            (Both, "docker exec -d up true"),
            (Both, "docker attach done"),
            (Both, "docker rm up"),
            (Both, "docker rm held"),
            (Both, "docker rename up held"),
            (Both, "docker rename up up"),
            (Both, "docker rename up risen && docker rename risen up"),
            (Both, "docker kill -s NONSENSE up"),
            (Both, "docker kill -s 0 up"),
            (Both, "docker stop -t 0 up absent"),
            (
                Both,
                "docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' up",
            ),
            (Both, "docker start up"),
            (Both, "docker restart -t 0 up"),
            (Both, "docker update --memory 1g --memory-swap 2g up"),
            (Both, "docker update up"),
            (Both, "docker update --memory 1k up"),
            (Both, "docker update --restart nonsense up"),
            (Both, "docker update --restart no done"),
            (
                Both,
                "docker inspect --format '{{.HostConfig.RestartPolicy}}' up done",
            ),
            (Both, "docker start -a done"),
            (Both, "docker start -a made"),
            (Both, "docker commit -m m -a a done committed:1"),
            (
                Both,
                "docker image inspect --format '{{.Comment}} {{.Author}} {{json .Config.Cmd}}' committed:1",
            ),
            (Both, "docker rmi committed:1 | sort"),
            (Both, "docker commit -c 'RUN x' done"),
            (Both, "docker commit done Bad:1"),
            (Both, "docker export done | tar -tf - | grep -c busybox"),
            (
                Both,
                "docker cp done:/etc/passwd - | tar --numeric-owner -tvf - | sed 's/ [0-9-]* [0-9:]* / /'",
            ),
            (Both, "docker cp done:/absent ."),
            (Both, "docker cp done:/etc/passwd done:/x"),
            (Both, "docker cp /etc/hostname done:/absent/x"),
            (Both, "docker cp /absent-here done:/"),
            (Both, "docker stop -t 0 up held"),
            (Both, "docker rm made done up held"),
            (Both, "docker ps -a"),
        ],
    },
    Group {
        name: "run",
        setup: &["docker create --network none --name box tiny true"],
        lines: &[
            (Both, "docker run --rm --network none tiny echo hello"),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'echo o; echo e >&2; exit 7'",
            ),
            (Both, "docker run --rm --network none full"),
            (Both, "docker run --rm --network none full a b c"),
            (Both, "docker run --rm --network none --entrypoint id full"),
            (Both, "docker run --rm --network none tiny env"),
            (
                Both,
                "docker run --rm -h web.example.org tiny sh -c 'hostname; tail -n 1 /etc/hosts | cut -f 2'",
            ),
            (
                Both,
                "docker run --rm -h web.example --domainname org tiny sh -c 'tail -n 1 /etc/hosts | cut -f 2'",
            ),
            (
                Both,
                "docker run --rm --network none -h h1 tiny sh -c 'cat /etc/hosts /etc/hostname'",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'cut -d \" \" -f 2-4 /proc/mounts | cut -d , -f 1 | grep -v \"interrupts\\|powercap\\|cgroup tmpfs\" | sort'",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'cat /proc/self/status | grep -E \"^(Cap|Seccomp|NoNew|Uid|Gid|Groups)\"'",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'ulimit -c; ulimit -a | wc -l; umask'",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'ls -l /dev | cut -c 1-10,57- | sort'",
            ),
            (Both, "docker run --rm --network none tiny ls -a /"),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'cat /proc/self/oom_score_adj /proc/sys/kernel/hostname | head -n 1'",
            ),
            (Both, "docker run --rm --network none -u 5:6 tiny id"),
            (Both, "docker run --rm --network none -u guest:nosuch tiny id"),
            (Both, "docker run --rm --network none -u nosuch tiny id"),
            (Both, "docker run --rm --network none -w relative tiny pwd"),
            (Both, "docker run --rm --network none -w /etc/passwd tiny pwd"),
            (Both, "docker run --rm --network none tiny nosuch"),
            (Both, "docker run --rm --network none tiny /etc"),
            (Both, "docker run --rm --network none tiny /bin/plain"),
            (Both, "docker run --rm --network none tiny lost"),
            (Both, "docker run --rm --network none nothing"),
            (Both, "docker run --network none --name box tiny true"),
            (Both, "docker run --rm -it --network none tiny true"),
            (Both, "docker run --rm -d -a stdout --network none tiny true"),
            (Both, "docker run --rm --restart always --network none tiny true"),
            (
                Both,
                "docker run --rm --restart nonsense --network none tiny true",
            ),
            (
                Both,
                "docker run --rm --network none -e A=1 -e A=2 -e B tiny sh -c 'echo $A ${B-unset}'",
            ),
            (
                Both,
                "docker run --rm --network none --env-file /absent tiny true",
            ),
            (Both, "docker run --rm --network none -l bad= tiny true"),
            (
                Both,
                "docker run --rm --network none --label-file /absent tiny true",
            ),
            (
                Both,
                "docker run --rm --network none -v relative/path:/x tiny true",
            ),
            (Both, "docker run --rm --network none -v /tmp:relative tiny true"),
            (Both, "docker run --rm --network none -v /tmp:/ tiny true"),
            (
                Both,
                "docker run --rm --network none -v /tmp:/x:nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=bind,src=/absent,dst=/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=tmpfs,dst=/x,tmpfs-mode=700 tiny stat -c '%a %u' /x",
            ),
            (Both, "docker run --rm --network none --mount nonsense tiny true"),
            (
                Both,
                "docker run --rm --network none --tmpfs /x tiny sh -c 'grep \" /x \" /proc/mounts | cut -d \" \" -f 4 | tr , \"\\n\" | sort | head -n 5'",
            ),
            (
                Both,
                "docker run --rm --network none --read-only tiny sh -c 'touch /x /dev/x /dev/shm/x /tmp/x; echo $?'",
            ),
            (
                Both,
                "docker run --rm --network none --cap-drop all --cap-add chown tiny grep CapEff /proc/self/status",
            ),
            (
                Both,
                "docker run --rm --network none --cap-add nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --ulimit nofile=64:128 tiny sh -c 'ulimit -n; ulimit -Hn'",
            ),
            (
                Both,
                "docker run --rm --network none --ulimit nonsense=1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --sysctl net.ipv4.ip_forward=1 tiny cat /proc/sys/net/ipv4/ip_forward",
            ),
            (
                Both,
                "docker run --rm --network none --sysctl kernel.nonsense=1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --device /dev/absent tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --device /dev/zero:/dev/z:r tiny sh -c 'ls -l /dev/z | cut -c 1-10; head -c 1 /dev/z | wc -c; echo x >/dev/z'",
            ),
            (
                Both,
                "docker run --rm --network none --security-opt nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --security-opt seccomp=/absent tiny true",
            ),
            (Both, "docker run --rm --network container:absent tiny true"),
            (Both, "docker run --rm --network none --pid nonsense tiny true"),
            (Both, "docker run --rm --network none --ipc nonsense tiny true"),
            (Both, "docker run --rm --network none --memory 1k tiny true"),
            (Both, "docker run --rm --network none --cpus 1000 tiny true"),
            (Both, "docker run --rm --network none --cpuset-cpus 999 tiny true"),
            (
                Both,
                "docker run --rm --network none --log-driver nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --log-opt nonsense=1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --log-driver none tiny echo x",
            ),
            (
                Both,
                "docker run --rm --network none --stop-signal NONSENSE tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --runtime nonsense tiny true",
            ),
            (Both, "docker run --rm --network none --init tiny sh -c 'exit 9'"),
            (
                Both,
                "docker run --rm --network none --init tiny sh -c 'grep -c init /proc/1/comm'",
            ),
            (
                Both,
                "docker run --rm --network none --no-healthcheck --health-cmd x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --health-retries -1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --shm-size 1m tiny sh -c 'df -k /dev/shm | tail -n 1'",
            ),
            (
                Both,
                "docker run --rm --network none --shm-size nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --platform linux/nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --expose 1-3 --expose nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --add-host nonsense tiny true",
            ),
            (Both, "docker run --rm --network none --dns nonsense tiny true"),
            (Both, "docker run --rm --network none --attach nonsense tiny true"),
            (Both, "docker run --rm --network none --blkio-weight 5 tiny true"),
            (
                Both,
                "docker run --rm --network none --oom-score-adj 5000 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --group-add nosuch tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --detach-keys nonsense tiny true",
            ),
            (Both, "docker run --rm --network none --userns nonsense tiny true"),
            (Both, "docker run --rm --network none --uts nonsense tiny true"),
            (
                Both,
                "docker run --rm --network none --cgroupns nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'kill -KILL $$; echo survived'",
            ),
            (
                Both,
                "docker run --rm --network none tiny sh -c 'sh -c \"kill -TERM \\$\\$\"; echo $?'",
            ),
            (
                Both,
                "docker run --network none --cidfile /proc/version tiny true",
            ),
            (Both, "docker container prune -f | tail -n 1"),
            (Both, "docker ps -aq"),
        ],
    },
    Group {
        name: "networks",
        setup: &[
            "docker network create --subnet 10.91.0.0/24 --label colour=blue one",
            "docker network create two",
            "docker run -d --network one --ip 10.91.0.20 --name up -p 8301:80 tiny sleep 10000",
            "docker create --network one --name made tiny true",
        ],
        lines: &[
            (Sorted, "docker network ls"),
            (Sorted, "docker network ls --no-trunc"),
            (Sorted, "docker network ls -q"),
            (
                Sorted,
                "docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}'",
            ),
            (Sorted, "docker network ls --format 'table {{.ID}}\\t{{.Name}}'"),
            (
                Both,
                "docker network ls --filter name=one --format '{{.Name}} {{.ID}}'",
            ),
            (
                Both,
                "docker network ls --filter driver=null --format '{{.Name}}'",
            ),
            (
                Both,
                "docker network ls --filter label=colour=blue --format '{{.Name}}'",
            ),
            (
                Both,
                "docker network ls --filter label=colour=red --format '{{.Name}}'",
            ),
            (
                Sorted,
                "docker network ls --filter type=builtin --format '{{.Name}}'",
            ),
            (
                Sorted,
                "docker network ls --filter type=custom --format '{{.Name}}'",
            ),
            (Both, "docker network ls --filter type=nonsense"),
            (
                Both,
                "docker network ls --filter dangling=true --format '{{.Name}}'",
            ),
            (
                Sorted,
                "docker network ls --filter scope=local --format '{{.Name}}'",
            ),
            (Both, "docker network ls --filter nonsense=1"),
            (Both, "docker network ls --filter nonsense"),
            (Both, "docker network ls --format '{{.Nonsense}}'"),
            (Both, "docker network ls extra"),
            (Both, "docker network inspect"),
            (Both, "docker network inspect absent"),
            (Both, "docker network inspect --format '{{.Name}}' one absent"),
            (Both, "docker network inspect --format '{{json .IPAM}}' one"),
            (
                Both,
                "docker network inspect --format '{{json .Options}} {{json .Labels}} {{.Internal}} {{.EnableIPv6}} {{.Attachable}} {{.Ingress}} {{.ConfigOnly}}' one",
            ),
            (
                Both,
                "docker network inspect --format '{{range .Containers}}{{.Name}} {{.IPv4Address}} [{{.IPv6Address}}]{{end}}' one",
            ),
            (
                Both,
                "docker network inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{json .IPAM.Config}}' host none",
            ),
            (Both, "docker network inspect --format '{{.Nonsense}}' one"),
            (Both, "docker network create"),
            (Both, "docker network create a b"),
            (Both, "docker network create one"),
            (Both, "docker network create bridge"),
            (Both, "docker network create --nonsense x"),
            (Both, "docker network create --driver nonsense x"),
            (Both, "docker network create --driver host x"),
            (Both, "docker network create --subnet nonsense x"),
            (Both, "docker network create --subnet 10.91.0.0/25 x"),
            (
                Both,
                "docker network create --subnet 10.92.0.0/24 --gateway 10.93.0.1 x",
            ),
            (Both, "docker network create --ip-range 10.92.0.0/24 x"),
            (
                Both,
                "docker network create --subnet 10.92.0.0/24 --ip-range 10.93.0.0/24 x",
            ),
            (
                Both,
                "docker network create --subnet 10.92.0.0/24 three && docker network rm three",
            ),
            (Both, "docker network rm"),
            (Both, "docker network rm absent"),
            (Both, "docker network rm one"),
            (Both, "docker network rm bridge"),
            (Both, "docker network rm host absent"),
            (Both, "docker network connect"),
            (Both, "docker network connect one"),
            (Both, "docker network connect absent up"),
            (Both, "docker network connect one absent"),
            (Both, "docker network connect one up"),
            (Both, "docker network connect host up"),
            (Both, "docker network connect two up"),
            (Both, "docker network connect --ip 10.91.0.20 one made"),
            (
                Both,
                "docker inspect --format '{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{end}}' up",
            ),
            (Both, "docker network disconnect two up"),
            (Both, "docker network disconnect two up"),
            (Both, "docker network disconnect absent up"),
            (Both, "docker network disconnect two absent"),
            (Both, "docker network prune extra"),
            (Both, "docker network prune --filter nonsense=1 -f"),
            (Both, "docker network prune -f"),
            (Both, "docker network prune -f"),
            (Both, "docker network nonsense"),
            (Class, "docker network --help"),
            (Class, "docker network create --help"),
            (Both, "docker run --rm --network absent tiny true"),
            (Both, "docker run --rm --network one --ip 10.99.0.1 tiny true"),
            (Both, "docker run --rm --network one --ip 10.91.0.20 tiny true"),
            (Both, "docker run --rm --network one --ip nonsense tiny true"),
            (Both, "docker run --rm --ip 10.91.0.21 tiny true"),
            (Both, "docker run --rm --mac-address nonsense tiny true"),
            (
                Both,
                "docker run --rm --network one --ip 10.91.0.33 --mac-address 02:42:0a:5b:00:44 tiny sh -c 'ip -4 -o address show eth0 | cut -d \\\\ -f 1 | cut -d : -f 2; cat /sys/class/net/eth0/address'",
            ),
            (
                Both,
                "docker run --rm --network one --ip 10.91.0.33 tiny ip route",
            ),
            (
                Both,
                "docker run --rm --network one -h h1 --ip 10.91.0.33 --add-host a:10.0.0.1 tiny cat /etc/hosts",
            ),
            (
                Both,
                "docker run --rm --network one tiny sh -c 'grep -v ^# /etc/resolv.conf'",
            ),
            (
                Both,
                "docker run --rm --network one --dns 10.0.0.3 --dns-search s.test --dns-opt timeout:1 tiny sh -c 'grep -v ^# /etc/resolv.conf'",
            ),
            (
                Both,
                "docker run --rm --dns 10.0.0.3 --dns-search s.test --dns-opt timeout:1 tiny sh -c 'grep -v ^# /etc/resolv.conf'",
            ),
            (Both, "docker run --rm tiny sh -c 'grep -v ^# /etc/resolv.conf'"),
            (
                Both,
                "docker run --rm --network one tiny sh -c 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/eth0/disable_ipv6 /sys/class/net/eth0/mtu'",
            ),
            (Both, "docker run --rm --network host -p 1:1 tiny true"),
            (Both, "docker run --rm --network none -p 1:1 tiny true"),
            (Both, "docker run --rm --network container:up -p 1:1 tiny true"),
            (Both, "docker run --rm --network container:up -h x tiny true"),
            (Both, "docker run --rm --network container:up --link up tiny true"),
            (
                Both,
                "docker run --rm --network container:up --dns 1.1.1.1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network container:up --add-host a:1.1.1.1 tiny true",
            ),
            (Both, "docker run --rm --network container:made tiny true"),
            (Both, "docker run --rm --network container: tiny true"),
            (Both, "docker run --rm --link absent tiny true"),
            (Both, "docker run --rm --link a:b:c tiny true"),
            (Both, "docker run --rm -p 8301:80 tiny true"),
            (Both, "docker run --rm -p 127.0.0.1:8302-8303:80-81 tiny true"),
            (Both, "docker run --rm -p nonsense tiny true"),
            (Both, "docker run --rm -p 1:2:3:4 tiny true"),
            (Both, "docker run --rm -p 70000:1 tiny true"),
            (Both, "docker run --rm -p 1-3:1-2 tiny true"),
            (Both, "docker run --rm -p 1.2.3:1:1 tiny true"),
            (Both, "docker run --rm -p 1:1/nonsense tiny true"),
            (Both, "docker run --rm -p 192.0.2.99:8302:80 tiny true"),
            (Both, "docker container port up"),
            (Both, "docker container port up 80"),
            (Both, "docker port up 80/tcp"),
            (Both, "docker port up 80/udp"),
            (Both, "docker port up 81"),
            (Both, "docker port up nonsense"),
            (Both, "docker port made"),
            (
                Both,
                "docker ps -a --format '{{.Names}} {{.Ports}} {{.Networks}}'",
            ),
            (Both, "docker ps -a --filter network=one --format '{{.Names}}'"),
            (Both, "docker ps -a --filter publish=8301 --format '{{.Names}}'"),
            (Both, "docker ps -a --filter expose=80 --format '{{.Names}}'"),
            (
                Both,
                "docker inspect --format '{{json .NetworkSettings.Ports}}' up made",
            ),
            (
                Both,
                "docker inspect --format '{{json .HostConfig.PortBindings}} {{.HostConfig.NetworkMode}}' up made",
            ),
            (
                Both,
                "docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.IPPrefixLen}} {{.Gateway}} [{{.GlobalIPv6Address}}] {{json .IPAMConfig}}{{end}}' up made",
            ),
            (
                Both,
                "docker events --since 10m --until -1s --filter type=network --filter network=two --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}' | sort -u",
            ),
            (Both, "docker rm -f up made"),
            (Both, "docker network rm one"),
        ],
    },
    Group {
        name: "volumes",
        setup: &[
            "docker volume create --label colour=blue one",
            "docker volume create two",
            "docker create -v one:/x -v /y --network none --name holder tiny true",
        ],
        lines: &[
            (Sorted, "docker volume ls"),
            (Sorted, "docker volume ls -q"),
            (
                Both,
                "docker volume ls --filter name=on --format '{{.Driver}} {{.Name}} {{.Scope}} {{.Labels}}'",
            ),
            (
                Both,
                "docker volume ls --filter label=colour --format '{{.Name}}'",
            ),
            (Both, "docker volume ls --filter label=colour=red -q"),
            (Both, "docker volume ls --filter dangling=true -q"),
            (Sorted, "docker volume ls --filter dangling=false -q"),
            (Both, "docker volume ls --filter driver=nonsense -q"),
            (Both, "docker volume ls --filter nonsense=1"),
            (
                Both,
                "docker volume ls --filter name=two --format '{{json .Name}} {{.Mountpoint}}' | sed 's, /.*/volumes/, /,'",
            ),
            (Both, "docker volume ls --format '{{.Nonsense}}'"),
            (Both, "docker volume ls extra"),
            (Both, "docker volume create"),
            (Both, "docker volume create one"),
            (Both, "docker volume create a b"),
            (Both, "docker volume create bad/name"),
            (Both, "docker volume create x"),
            (Both, "docker volume create --driver nonsense new1"),
            (Both, "docker volume create -o nonsense=1 new1"),
            (Both, "docker volume create -o type=tmpfs new1"),
            (Both, "docker volume create --nonsense new1"),
            (Both, "docker volume create --name new2"),
            (Both, "docker volume create new2"),
            (Both, "docker volume inspect"),
            (Both, "docker volume inspect absent"),
            (Both, "docker volume inspect --format '{{.Name}}' one absent"),
            (
                Both,
                "docker volume inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}} {{.CreatedAt}}' one",
            ),
            (
                Both,
                "docker volume inspect --format '{{json .Labels}} {{json .Options}}' two",
            ),
            (Both, "docker volume inspect --format '{{.Nonsense}}' one"),
            (Both, "docker volume rm"),
            (Both, "docker volume rm absent"),
            (Both, "docker volume rm -f absent"),
            (Both, "docker volume rm one"),
            (Both, "docker volume rm -f one"),
            (Both, "docker volume rm two absent new2"),
            (Both, "docker volume prune extra"),
            (Both, "docker volume prune --filter nonsense=1 -f"),
            (Both, "docker volume nonsense"),
            (Class, "docker volume --help"),
            (Class, "docker volume create --help"),
            (
                Both,
                "docker inspect --format '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Driver}} {{.Mode}} {{.RW}} [{{.Propagation}}] {{len .Name}};{{end}}' holder | tr ';' '\\n' | sort",
            ),
            (
                Both,
                "docker inspect --format '{{json .HostConfig.Binds}} {{json .HostConfig.VolumesFrom}} {{json .Config.Volumes}}' holder",
            ),
            (Both, "docker ps -a --filter volume=one --format '{{.Names}}'"),
            (Both, "docker ps -a --format '{{.Names}} {{.LocalVolumes}}'"),
            (
                Both,
                "docker run --rm --network none -v one:/x tiny sh -c 'echo kept >/x/f; stat -c %a:%u:%g /x'",
            ),
            (
                Both,
                "docker run --rm --network none -v one:/x:ro tiny touch /x/g",
            ),
            (
                Both,
                "docker run --rm --network none -v one:/x:ro,z tiny cat /x/f",
            ),
            (
                Both,
                "docker run --rm --network none -v three:/data tiny sh -c 'cat /data/seed; stat -c %a:%u:%g /data'",
            ),
            (
                Both,
                "docker run --rm --network none -v four:/data:nocopy tiny ls /data",
            ),
            (
                Both,
                "docker run --rm --network none -v one:/x:nonsense tiny true",
            ),
            (Both, "docker run --rm --network none -v one:/x:ro,rw tiny true"),
            (Both, "docker run --rm --network none -v one:relative tiny true"),
            (Both, "docker run --rm --network none -v one:ro tiny true"),
            (Both, "docker run --rm --network none -v bad/name:/x tiny true"),
            (Both, "docker run --rm --network none -v x:/x tiny true"),
            (
                Both,
                "docker run --rm --network none -v one:/x -v one:/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none -v one:/x --tmpfs /x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none -v /anon tiny sh -c 'ls -A /anon; stat -c %a:%u:%g /anon'",
            ),
            (
                Both,
                "docker run --rm --network none --volume-driver nonsense -v new5:/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount source=one,target=/x tiny cat /x/f",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=volume,src=one,dst=/x,readonly tiny touch /x/g",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=volume,target=/x tiny ls -A /x",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=nonsense,target=/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount source=one tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount source=one,target=relative tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount source=one,target=/x,nonsense=1 tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=tmpfs,source=one,target=/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=bind,source=relative,target=/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=volume,source=/abs,target=/x tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=bind,source=/tmp,target=/x,bind-propagation=nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --mount type=bind,source=/tmp,target=/x,volume-nocopy tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --volumes-from holder tiny cat /x/f",
            ),
            (
                Both,
                "docker run --rm --network none --volumes-from holder:ro tiny touch /x/g",
            ),
            (
                Both,
                "docker run --rm --network none --volumes-from holder:nonsense tiny true",
            ),
            (
                Both,
                "docker run --rm --network none --volumes-from absent tiny true",
            ),
            (Both, "docker run --rm --network none tiny ''"),
            (Both, "docker run --rm --network none --volumes-from '' tiny true"),
            (Both, "docker rm -v holder"),
            (Sorted, "docker volume ls -q"),
            (Both, "docker volume rm -f one three four"),
            (
                Both,
                "docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}' | grep Volumes",
            ),
        ],
    },
];

/// A line that brig answers otherwise, with the exit code that it must have then, and why.
struct Known {
    line: &'static str,
    code: i32,
    why: &'static str,
}

const fn known(line: &'static str, code: i32, why: &'static str) -> Known {
    Known { line, code, why }
}

const NOTHING_GIVEN: &str = "Docker 29 says null where no options or labels were given";
const ANY_6: &str = "20.10 wrote addresses of IPv6 without brackets";

/// Where the contract, which is Docker 29's, is newer than 20.10, or brig is better on purpose.
const KNOWN: &[Known] = &[
    known(
        "docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.IPPrefixLen}} {{.Gateway}} [{{.GlobalIPv6Address}}] {{json .IPAMConfig}}{{end}}' up made",
        0,
        "20.10 forgets the address that a later connect asks for",
    ),
    known(
        "docker run --rm --network none --mount source=one tiny true",
        125,
        "Docker 29 leaves a missing target to the engine",
    ),
    known("docker container port up", 0, ANY_6),
    known("docker container port up 80", 0, ANY_6),
    known(
        "docker run --rm --network none --volume-driver nonsense -v new5:/x tiny true",
        125,
        "20.10 takes the missing plugin for a missing image, and pulls",
    ),
    known(
        "docker cp one",
        1,
        "brig copies several sources at once, so that two arguments are the least",
    ),
    known(
        "docker inspect --format '{{json .HostConfig.MaskedPaths}} {{json .HostConfig.ReadonlyPaths}}' made",
        0,
        "Docker 29 masks /proc/interrupts and places below /sys/devices as well",
    ),
    known("docker exec up nosuch", 127, "20.10 says it on stdout, with 126"),
    known(
        "docker exec -w /absent up true",
        127,
        "20.10 says it on stdout, with 126",
    ),
    known("docker exec -u nosuch up true", 126, "20.10 says it on stdout"),
    known(
        "docker cp done:/absent .",
        1,
        "20.10 calls a missing path a container that is not there",
    ),
    known(
        "docker cp /etc/hostname done:/absent/x",
        1,
        "20.10 calls a missing path a container that is not there",
    ),
    known(
        "docker cp done:/etc/passwd done:/x",
        0,
        "brig copies between containers",
    ),
    known(
        "docker run --rm --network none -h h1 tiny sh -c 'cat /etc/hosts /etc/hostname'",
        0,
        "Docker 29 writes fe00:: where 20.10 wrote fe00::0",
    ),
    known(
        "docker run --rm --network none tiny lost",
        127,
        "brig looks for the interpreter before the start, and names it",
    ),
    known(
        "docker network ls --filter dangling=true --format '{{.Name}}'",
        0,
        "20.10 calls a network dangling that a container uses",
    ),
    known(
        "docker network inspect --format '{{json .IPAM}}' one",
        0,
        "Docker 29 shows the gateway that it chose, too",
    ),
    known(
        "docker network nonsense",
        1,
        "Docker 29 calls it an unknown command where 20.10 printed the help",
    ),
    known(
        "docker run --rm --network one --ip nonsense tiny true",
        125,
        "Docker 29 finds it while it reads the flag",
    ),
    known(
        "docker run --rm --ip 10.91.0.21 tiny true",
        125,
        "20.10 takes an address for the default network, and forgets it",
    ),
    known(
        "docker run --rm --network one -h h1 --ip 10.91.0.33 --add-host a:10.0.0.1 tiny cat /etc/hosts",
        0,
        "Docker 29 writes fe00:: where 20.10 wrote fe00::0",
    ),
    known(
        "docker run --rm --network container:up --link up tiny true",
        125,
        "Docker 29 says that the options are in conflict",
    ),
    known(
        "docker volume inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}} {{.CreatedAt}}' one",
        0,
        NOTHING_GIVEN,
    ),
    known(
        "docker volume inspect --format '{{json .Labels}} {{json .Options}}' two",
        0,
        NOTHING_GIVEN,
    ),
    known(
        "docker volume nonsense",
        1,
        "Docker 29 calls it an unknown command where 20.10 printed the help",
    ),
    known(
        "docker run --rm --network none -v x:/x tiny true",
        125,
        "20.10 takes one letter for a drive of Windows",
    ),
    known("docker port up 80/tcp", 0, ANY_6),
    known(
        "docker ps -a --format '{{.Names}} {{.Ports}} {{.Networks}}'",
        0,
        ANY_6,
    ),
    known(
        "docker run --rm --network none --detach-keys nonsense tiny true",
        1,
        "20.10 says something about a header",
    ),
];

/// Every line, in the order in which they run.
pub fn lines() -> Vec<Line> {
    GROUPS.iter().flat_map(lines_of).collect()
}

fn lines_of(group: &Group) -> impl Iterator<Item = Line> {
    group
        .lines
        .iter()
        .enumerate()
        .map(|(index, (compare, text))| Line {
            group: group.name,
            number: index + 1,
            text,
            compare: *compare,
        })
}

/// Plays the groups that the user asked for, with both, and judges each line.
pub fn run_all(lab: &Lab, choice: &Choice) -> Sums {
    let mut sums = Sums::default();
    for group in GROUPS {
        let chosen: Vec<Line> = lines_of(group).filter(|line| choice.has(&line.name())).collect();
        if chosen.is_empty() {
            continue;
        }
        if let Err(why) = lab.docker() {
            for line in &chosen {
                sums.skipped += 1;
                println!("skip {}: {why}", line.name());
            }
            continue;
        }
        let began = Instant::now();
        // Docker against itself shows that the masks hide what differs each time.
        let played =
            play(lab, group, Subject::Docker).and_then(|docker| Ok((docker, play(lab, group, lab.subject)?)));
        let (docker, subject) = match played {
            Ok(both) => both,
            Err(why) => {
                sums.tell(&format!("diff.{}", group.name), began, Err(why));
                continue;
            }
        };
        for line in &chosen {
            let (Some(theirs), Some(ours)) = (docker.get(line.number - 1), subject.get(line.number - 1))
            else {
                continue;
            };
            let verdict = judge(lab.subject, line, theirs, ours);
            sums.tell(&line.name(), Instant::now(), verdict);
        }
    }
    sums
}

/// All lines of a group, in their order: one changes what the next one sees.
fn play(lab: &Lab, group: &Group, who: Subject) -> Result<Vec<Outcome>, String> {
    let run = |line: &str| lab.run(who, line, "", patience::seconds(60));
    for line in group.setup {
        let o = run(line)?;
        // A container that ends with 3 was made as well as one that ends with 0.
        if o.code > 100 || o.code == 1 {
            return Err(format!("{}: {line}: {}{}", who.name(), o.stdout, o.stderr));
        }
    }
    let outcomes: Result<Vec<Outcome>, String> = group.lines.iter().map(|(_, line)| run(line)).collect();
    lab.empty()
        .and_then(|()| wires::remove_of(lab, who))
        .map_err(|e| format!("after the group {}: {e}", group.name))?;
    outcomes
}

fn judge(subject: Subject, line: &Line, theirs: &Outcome, ours: &Outcome) -> Done {
    let verdict = compare(line, theirs, ours);
    let known = KNOWN
        .iter()
        .find(|known| subject == Subject::Brig && known.line == line.text);
    match (known, verdict) {
        (None, verdict) => verdict,
        (Some(known), Err(_)) if ours.code == known.code => Ok(()),
        (Some(known), Err(why)) => Err(format!(
            "{why}\nknown to differ ({}), but with exit code {}",
            known.why, known.code
        )),
        (Some(known), Ok(())) => Err(format!(
            "{}: both say the same now, and this was expected to differ: {}",
            line.text, known.why
        )),
    }
}

fn compare(line: &Line, theirs: &Outcome, ours: &Outcome) -> Done {
    let shape = |o: &Outcome| match line.compare {
        Both => mask::shape(&o.stdout),
        Sorted => {
            let text = mask::shape(&o.stdout);
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        }
        Class => (!o.stdout.trim().is_empty()).to_string(),
    };
    let mut problems = Vec::new();
    if theirs.code != ours.code {
        problems.push(format!("exit code {} instead of {}", ours.code, theirs.code));
    }
    if shape(theirs) != shape(ours) {
        problems.push(format!("stdout {:?} instead of {:?}", shape(ours), shape(theirs)));
    }
    let (their_class, our_class) = (mask::class(&theirs.stderr), mask::class(&ours.stderr));
    if their_class != our_class {
        problems.push(format!(
            "stderr is {our_class} instead of {their_class}: {:?} instead of {:?}",
            ours.stderr, theirs.stderr
        ));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("{}\n{}", line.text, problems.join("\n")))
    }
}
