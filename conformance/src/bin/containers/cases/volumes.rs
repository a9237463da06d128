//! Volumes: what outlives containers, how it comes to what it has, who may remove it; reference 1.8.
//!
//! May not: look into a volume but through containers, its mountpoint or `cp`.

use std::process::Stdio;

use conformance::command;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, soon};
use crate::uptime;

pub fn cases() -> Vec<Case> {
    vec![
        case("volume.survives", &[], survives),
        case("volume.commands", &[Need::Brig], commands),
        case("volume.complaints", &[Need::Brig], complaints),
        case("volume.copy-up", &[], copy_up),
        case("volume.copy-up-once", &[], copy_up_once),
        case("volume.anonymous", &[Need::Brig], anonymous),
        case("volume.from-others", &[], from_others),
        case("volume.precedence", &[], precedence),
        case("volume.read-only", &[], read_only),
        case("volume.part", &[Need::Brig], part),
        case("volume.image", &[Need::Brig], image),
        case("volume.image-stays", &[Need::Brig], image_stays),
        case("volume.memory", &[], memory),
        case("volume.options", &[Need::Brig], options),
        case("volume.options-detached", &[Need::Brig], options_detached),
        case("volume.options-killed", &[Need::Brig], options_killed),
        case("volume.cp", &[], copies),
        case("volume.not-committed", &[], not_committed),
        case("volume.df", &[Need::Brig], disk_use),
        case("volume.events", &[], events),
        case("volume.killed", &[Need::Brig], killed),
        case("volume.race", &[], race),
        case("volume.binds", &[], binds),
    ]
}

/// A database's files outlive its container.
fn survives(s: &mut Scene) -> Done {
    s.must("docker run --name one -v data:/var/lib/db tiny sh -c 'echo row >>/var/lib/db/table'")?;
    s.must("docker rm -v one")?;
    s.must("docker run --rm -v data:/elsewhere tiny sh -c 'echo more >>/elsewhere/table'")?;
    s.prints("docker run --rm -v data:/d:ro tiny cat /d/table", "row\nmore\n")?;
    let place = s.must("docker volume inspect -f '{{.Mountpoint}}' data")?;
    is("on the host", s.must(&format!("cat {place}/table"))?, "row\nmore")?;
    s.prints("docker volume rm data", "data\n")?;
    s.fails(&format!("ls {place}"), 2, &[])
}

fn commands(s: &mut Scene) -> Done {
    s.prints("docker volume create --label a=1 --label b one", "one\n")?;
    s.prints("docker volume create two10", "two10\n")?;
    s.prints("docker volume create two9", "two9\n")?;
    s.prints(
        "docker volume ls",
        "DRIVER    VOLUME NAME\nlocal     one\nlocal     two9\nlocal     two10\n",
    )?;
    s.prints("docker volume ls -q -f label=a", "one\n")?;
    s.prints("docker volume ls -q -f label=a=2", "")?;
    s.prints("docker volume ls -q -f name=two", "two9\ntwo10\n")?;
    s.must("docker create --name box -v two9:/x tiny")?;
    s.prints("docker volume ls -q -f dangling=true", "one\ntwo10\n")?;
    s.prints("docker volume ls -q -f dangling=false", "two9\n")?;
    s.prints(
        "docker volume ls --format '{{.Name}} {{.Labels}}' -f name=one",
        "one a=1,b=\n",
    )?;
    s.prints("docker ps -aq -f volume=two10", "")?;
    s.prints(
        "docker ps -a -f volume=two9 --format '{{.Names}} {{.Mounts}} {{.LocalVolumes}}'",
        "box two9 1\n",
    )?;
    let id = s.inspect("box", "{{.Id}}")?;
    s.answers(
        "docker volume rm two9",
        1,
        "",
        &format!("Error response from daemon: remove two9: volume is in use - [{id}]\n"),
    )?;
    s.answers(
        "docker volume rm none",
        1,
        "",
        "Error response from daemon: get none: no such volume\n",
    )?;
    s.prints("docker volume rm -f none", "none\n")?;
    s.answers(
        "docker volume inspect none",
        1,
        "[]\n",
        "Error response from daemon: get none: no such volume\n",
    )?;
    s.prints(
        "docker inspect -f '{{.Name}} {{.Options}} {{.Scope}}' one",
        "one map[] local\n",
    )?;
    s.prints(
        "docker inspect --type volume -f '{{json .Labels}}' one",
        "{\"a\":\"1\",\"b\":\"\"}\n",
    )?;
    s.prints("docker volume prune -f", "Total reclaimed space: 0B\n")?;
    s.prints(
        "docker volume prune -af --filter label!=a",
        "Deleted Volumes:\ntwo10\n\nTotal reclaimed space: 0B\n",
    )?;
    s.must("docker run --rm -v one:/x tiny sh -c 'head -c 12345 /dev/zero >/x/f'")?;
    s.prints(
        "docker volume prune -af",
        "Deleted Volumes:\none\n\nTotal reclaimed space: 12.35kB\n",
    )?;
    s.prints("echo n | docker volume prune", "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] ")?;
    s.fails(
        "docker volume update two9",
        1,
        &["can only update cluster volumes"],
    )?;
    s.must("docker rm box && docker volume rm two9").map(|_| ())
}

fn complaints(s: &mut Scene) -> Done {
    for (line, why) in [
        (
            "volume create x",
            "create x: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            "volume create -d ceph xx",
            "create xx: error looking up volume plugin ceph: plugin \"ceph\" not found",
        ),
        (
            "volume create -o huge=1 xx",
            "create xx: invalid option: \"huge\"",
        ),
        (
            "volume create -o type=tmpfs xx",
            "create xx: missing required option: \"device\"",
        ),
        ("volume ls -f what=1", "invalid filter 'what'"),
        (
            "create -v a/b:/x tiny",
            "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        ),
        (
            "create -v data:ro tiny",
            "invalid volume specification: 'data:ro'",
        ),
        ("create -v data:/x:ro,rw tiny", "invalid mode: ro,rw"),
        (
            "create -v rel tiny",
            "invalid volume specification: 'rel': invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be absolute",
        ),
        ("create -v data:/x -v more:/x tiny", "Duplicate mount point: /x"),
        ("create -v data:/x --tmpfs /x tiny", "Duplicate mount point: /x"),
        (
            "create -v data:/x --mount type=tmpfs,target=/x tiny",
            "Duplicate mount point: /x",
        ),
        (
            "create --mount target=/x,readonly tiny",
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            "create --mount type=volume,src=data,dst=/x,volume-subpath=../y tiny",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        ("create --volumes-from nobody tiny", "No such container: nobody"),
        (
            "create --mount type=image,src=nothing-here,dst=/x tiny",
            "No such image: nothing-here:latest",
        ),
    ] {
        s.answers(
            &format!("docker {line}"),
            1,
            "",
            &format!("Error response from daemon: {why}\n"),
        )?;
    }
    // None of them has left anything.
    s.prints("docker volume ls -q", "")?;
    s.prints("docker ps -aq", "")
}

/// What an image has, in all its forms.
const SEED: &str = "mkdir -p /seed/sub; echo text >/seed/file; ln /seed/file /seed/sub/twin; ln -s file /seed/link; mkfifo /seed/pipe; chown 7:8 /seed/file /seed/sub; chmod 4750 /seed/file; chown 3:4 /seed; chmod 1770 /seed; dd if=/dev/zero of=/seed/holes bs=1 count=1 seek=9999999 2>/dev/null; touch -d @1000000000 /seed/file /seed/sub";

const LOOK: &str = "cd /seed; for f in . file link pipe sub sub/twin holes; do stat -c \"%n %A %u %g %h %s\" $f; done; stat -c %Y file sub; du -k holes | cut -f1; stat -c %i file sub/twin | uniq | wc -l";

fn copy_up(s: &mut Scene) -> Done {
    s.must(&format!("docker run --name maker tiny sh -c '{SEED}'"))?;
    s.must("docker commit maker seeded:1")?;
    let look = |flags: &str| s.must(&format!("docker run --rm {flags} seeded:1 sh -c '{LOOK}'"));
    let image = look("")?;
    has("the image", &image, "file -rwsr-x--- 7 8 2 5")?;
    // The directory's own size is the file system's matter.
    let told = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| match line.starts_with(". ") || line.starts_with("sub ") {
                true => line.rsplit_once(' ').map_or(line, |(start, _)| start).to_owned(),
                false => line.to_owned(),
            });
        lines.collect()
    };
    let volume = look("-v seeds:/seed")?;
    is("the volume", told(&volume).join("\n"), told(&image).join("\n"))?;
    // Elsewhere it is what was copied; with nocopy it is empty.
    s.prints("docker run --rm -v seeds:/x tiny cat /x/sub/twin", "text\n")?;
    s.prints("docker run --rm -v bare:/seed:nocopy seeded:1 ls -A /seed", "")?;
    s.prints(
        "docker run --rm --mount source=plain,target=/seed,volume-nocopy seeded:1 ls -A /seed",
        "",
    )?;
    s.prints(
        "docker run --rm -v late:/seed seeded:1 ls /seed",
        "file\nholes\nlink\npipe\nsub\n",
    )?;
    s.must("docker rm maker && docker volume rm seeds bare plain late && docker rmi seeded:1")
        .map(|_| ())
}

fn copy_up_once(s: &mut Scene) -> Done {
    s.must("docker volume create kept")?;
    s.must("docker run --rm -v kept:/x tiny touch /x/own")?;
    s.prints("docker run --rm -v kept:/data keeper ls /data", "own\n")?;
    // Emptied, it is filled again; a link on the way stays in the image.
    s.must("docker run --rm -v kept:/x tiny rm /x/own")?;
    s.prints(
        "docker run --rm -v kept:/data keeper cat /data/seed",
        "from the image\n",
    )?;
    s.must("docker run --name liar tiny sh -c 'ln -s /etc /out; ln -s ../../../../../../etc /up'")?;
    s.must("docker commit liar liar:1")?;
    for (name, path) in [("va", "/out"), ("vb", "/up")] {
        let inside = s.must(&format!(
            "docker run --rm -v {name}:/v --entrypoint ls liar:1 -A /etc"
        ))?;
        s.must(&format!(
            "docker create --name t-{name} -v {name}:{path} liar:1 true"
        ))?;
        let found = s.must(&format!("docker run --rm -v {name}:/v tiny ls -A /v"))?;
        // The image's own /etc, which has no machine-id of this host.
        lacks("nothing of the host", &found, "machine-id")?;
        is(
            "names of the image",
            found.lines().all(|line| inside.contains(line)),
            true,
        )?;
    }
    s.must("docker rm liar t-va t-vb && docker volume rm kept va vb && docker rmi liar:1")
        .map(|_| ())
}

fn anonymous(s: &mut Scene) -> Done {
    s.must("docker run --rm -v /x -v named:/y tiny true")?;
    s.prints("docker volume ls -q", "named\n")?;
    s.must("docker run -d --rm --name box -v /x keeper sleep 600")?;
    is("volumes", s.must("docker volume ls -q")?.lines().count(), 3)?;
    s.must("docker rm -f box")?;
    s.until("docker volume ls -q; echo end", "named\nend")?;
    s.must("docker create --name box -v /x tiny")?;
    let name = s.inspect("box", "{{range .Mounts}}{{.Name}}{{end}}")?;
    s.prints(
        &format!("docker volume inspect -f '{{{{json .Labels}}}}' {name}"),
        "{\"com.docker.volume.anonymous\":\"\"}\n",
    )?;
    s.must("docker rm box")?;
    has("it stays", &s.must("docker volume ls -q")?, &name)?;
    s.prints(
        "docker volume prune -f",
        &format!("Deleted Volumes:\n{name}\n\nTotal reclaimed space: 0B\n"),
    )?;
    // Made without a name, it is one as well.
    let name = s.must("docker volume create")?;
    is("digits", name.len(), 64)?;
    s.must("docker system prune -f --volumes")?;
    s.prints("docker volume ls -q", "named\n")?;
    s.must("docker volume rm named").map(|_| ())
}

fn from_others(s: &mut Scene) -> Done {
    let dir = s.path("shared");
    s.must(&format!(
        "docker create --name one -v /anon -v named:/named:ro -v {dir}:/bound tiny"
    ))?;
    s.must("docker run --name two --volumes-from one tiny sh -c 'echo x >/anon/f; echo y >/bound/f; touch /named/f || echo no'")?;
    s.prints("docker logs two 2>/dev/null", "no\n")?;
    s.fails(
        "docker run --rm --volumes-from one:ro tiny touch /bound/g",
        1,
        &["read-only"],
    )?;
    is("on the host", s.read("shared/f")?, "y\n")?;
    // An anonymous volume stays until the last one goes.
    s.must("docker rm -v one")?;
    s.prints("docker run --rm --volumes-from two tiny cat /anon/f", "x\n")?;
    s.fails(
        "docker create --volumes-from two:shared tiny",
        1,
        &["invalid mode: shared"],
    )?;
    s.must("docker rm -v two")?;
    s.prints("docker volume ls -q", "named\n")?;
    s.must("docker volume rm named").map(|_| ())
}

fn precedence(s: &mut Scene) -> Done {
    let dir = s.path("bound");
    s.must(&format!("mkdir {dir} && touch {dir}/of-bind"))?;
    s.must("docker run --name other -v other:/data -v other:/two keeper touch /data/of-other")?;
    let names = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}};{{end}}";
    s.must("docker create --name boxa --volumes-from other keeper")?;
    is(
        "from others",
        s.inspect("boxa", names)?,
        "volume other /data;volume other /two;",
    )?;
    s.must(&format!(
        "docker create --name boxb --volumes-from other -v {dir}:/data keeper"
    ))?;
    is(
        "bind",
        s.inspect("boxb", names)?,
        "bind  /data;volume other /two;",
    )?;
    s.must("docker create --name boxc --volumes-from other --mount source=mine,target=/two keeper")?;
    is(
        "mount",
        s.inspect("boxc", names)?,
        "volume other /data;volume mine /two;",
    )?;
    s.must("docker create --name boxd -v mine:/data keeper")?;
    is(
        "over the image's",
        s.inspect("boxd", names)?,
        "volume mine /data;",
    )?;
    s.prints("docker run --rm --tmpfs /data keeper ls -A /data", "")?;
    s.must("docker rm other boxa boxb boxc boxd && docker volume rm other mine")
        .map(|_| ())
}

fn read_only(s: &mut Scene) -> Done {
    s.must("docker run --rm -v data:/x tiny touch /x/f")?;
    for flags in [
        "-v data:/x:ro",
        "--mount source=data,target=/x,readonly",
        "--mount source=data,target=/x,ro=true",
    ] {
        s.fails(
            &format!("docker run --rm {flags} tiny rm /x/f"),
            1,
            &["read-only"],
        )?;
    }
    s.must("docker create --name box -v data:/x:ro tiny")?;
    is(
        "mounts",
        s.inspect(
            "box",
            "{{range .Mounts}}{{.Mode}} {{.RW}} {{.Driver}} [{{.Propagation}}]{{end}}",
        )?,
        "ro false local []",
    )?;
    s.must("docker rm box && docker volume rm data").map(|_| ())
}

fn part(s: &mut Scene) -> Done {
    s.must("docker run --rm -v data:/x tiny sh -c 'mkdir -p /x/a/b; echo deep >/x/a/b/f; echo top >/x/f; ln -s a/b /x/in; ln -s /etc /x/out; ln -s ../../.. /x/up; ln -s /proc/self/root /x/magic'")?;
    let run = |path: &str| {
        format!("docker run --rm --mount source=data,target=/y,volume-subpath={path} tiny ls /y")
    };
    s.prints(&run("a/b"), "f\n")?;
    s.prints(&run("in"), "f\n")?;
    s.prints(
        "docker run --rm --mount source=data,target=/y,volume-subpath=a/b/f tiny cat /y",
        "deep\n",
    )?;
    for path in ["out", "up", "magic", "up/etc"] {
        s.fails(&run(path), 125, &["cannot access", "leads out"])?;
    }
    s.fails(&run("nothing"), 127, &["no such file or directory"])?;
    // What is mounted is what was found, whatever its name becomes.
    s.must("docker run -d --name box --mount source=data,target=/y,volume-subpath=a tiny sleep 600")?;
    s.must("docker run --rm -v data:/x tiny sh -c 'mv /x/a /x/moved; ln -s /etc /x/a'")?;
    s.prints("docker exec box cat /y/b/f", "deep\n")?;
    // The same monitor starts it again with what it has; a start looks the name up.
    s.must("docker restart -t 0 box")?;
    s.prints("docker exec box cat /y/b/f", "deep\n")?;
    s.must("docker stop -t 0 box")?;
    s.fails("docker start box", 1, &["leads out"])?;
    s.must("docker rm -f box && docker volume rm data").map(|_| ())
}

fn image(s: &mut Scene) -> Done {
    s.prints(
        "docker run --rm --mount type=image,source=keeper,target=/i tiny cat /i/data/seed",
        "from the image\n",
    )?;
    s.prints(
        "docker run --rm --mount type=image,source=keeper,target=/i,image-subpath=data tiny cat /i/seed",
        "from the image\n",
    )?;
    s.fails(
        "docker run --rm --mount type=image,source=keeper,target=/i tiny touch /i/x",
        1,
        &["read-only"],
    )?;
    s.must("docker create --name box --mount type=image,source=keeper,target=/i tiny")?;
    is(
        "mounts",
        s.inspect(
            "box",
            "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}}{{end}}",
        )?,
        "image /i false",
    )?;
    s.must("docker rm box").map(|_| ())
}

/// What a container mounts it stands on, as on the image that it was made of.
fn image_stays(s: &mut Scene) -> Done {
    s.must("docker tag keeper kept && docker rmi keeper")?;
    let played = || -> Done {
        s.idle("box", "--mount type=image,source=kept,target=/i")?;
        s.fails("docker rmi kept", 1, &["image is being used by container"])?;
        s.fails("docker rmi -f kept", 1, &["cannot be forced"])?;
        s.must("docker image prune -f")?;
        is("seed", s.within("box", "cat /i/data/seed")?, "from the image")?;
        s.must("docker stop -t 0 box")?;
        s.fails("docker rmi kept", 1, &["must be forced"])?;
        s.must("docker image prune -f")?;
        s.must("docker start box")?;
        is("seed", s.within("box", "cat /i/data/seed")?, "from the image")?;
        s.must("docker rm -f box").map(|_| ())
    };
    let acted = played();
    s.must("docker tag kept keeper && docker rmi kept")?;
    acted
}

fn memory(s: &mut Scene) -> Done {
    s.prints("docker run --rm --tmpfs /t:size=1m,mode=1700 tiny sh -c 'stat -c %a /t; df -k /t | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2'", "1700\n1024\n")?;
    s.prints("docker run --rm --mount type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=0750 tiny sh -c 'stat -c %a /t; df -k /t | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2'", "750\n2048\n")?;
    s.fails(
        "docker run --rm --mount type=tmpfs,target=/t,readonly tiny touch /t/x",
        1,
        &["read-only"],
    )?;
    s.fails(
        "docker run --rm --tmpfs /t tiny sh -c 'cp /bin/busybox /t/x; /t/x true'",
        126,
        &["permission denied"],
    )
}

/// Whether something is mounted in the host's namespace where a volume lies.
fn is_mounted(s: &Scene, name: &str) -> Result<bool, String> {
    let list = s.must("cat /proc/self/mountinfo")?;
    Ok(list.contains(&format!("/volumes/{name}/_data ")))
}

fn options(s: &mut Scene) -> Done {
    s.must("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=3m,uid=5 mem")?;
    s.prints(
        "docker volume inspect -f '{{json .Options}}' mem",
        "{\"device\":\"tmpfs\",\"o\":\"size=3m,uid=5\",\"type\":\"tmpfs\"}\n",
    )?;
    is("before", is_mounted(s, "mem")?, false)?;
    s.idle("one", "-v mem:/m")?;
    is("while it runs", is_mounted(s, "mem")?, true)?;
    s.prints("docker exec one sh -c 'stat -c %u /m; echo shared >/m/f'", "5\n")?;
    s.prints("docker run --rm -v mem:/n tiny cat /n/f", "shared\n")?;
    is("one has it still", is_mounted(s, "mem")?, true)?;
    s.fails("docker volume rm mem", 1, &["in use"])?;
    s.must("docker stop one")?;
    s.must("docker volume ls")?;
    is("after", is_mounted(s, "mem")?, false)?;
    s.must("docker start one")?;
    s.prints("docker exec one ls -A /m", "")?;
    s.must("docker rm -f one && docker volume rm mem")?;
    // A directory of the host.
    let dir = s.path("bound");
    s.must(&format!("mkdir {dir} && echo here >{dir}/f && docker volume create -o type=none -o o=bind,ro -o device={dir} host"))?;
    s.prints("docker run --rm -v host:/h tiny cat /h/f", "here\n")?;
    s.fails("docker run --rm -v host:/h tiny touch /h/g", 1, &["read-only"])?;
    s.must("docker volume rm host")?;
    is("it is not emptied", s.read("bound/f")?, "here\n")?;
    // What cannot be mounted.
    s.must("docker volume create -o type=none -o o=bind -o device=/nowhere/at/all lost")?;
    let o = s.sh("docker run --rm -v lost:/h tiny true")?;
    has("stderr", &o.stderr, "error while mounting volume '")?;
    has(
        "stderr",
        &o.stderr,
        "failed to mount local volume: mount /nowhere/at/all:",
    )?;
    has("stderr", &o.stderr, "flags: 0x1000: no such file or directory")?;
    s.must("docker ps -aq | xargs -r docker rm; docker volume rm lost")
        .map(|_| ())
}

/// Nobody's command looks after a container that ends by itself: its monitor does.
fn options_detached(s: &mut Scene) -> Done {
    s.must("docker volume create -o type=tmpfs -o device=tmpfs mem")?;
    let data = s.must("docker volume inspect --format '{{.Mountpoint}}' mem")?;
    let is_mounted = || {
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|list| list.contains(&format!(" {data} ")))
    };
    for flags in ["", "--rm"] {
        for name in ["one", "two"] {
            let go = s.path(&format!("go-{name}"));
            s.must(&format!("rm -f {go}; mkfifo {go}"))?;
            s.must(&format!(
                "docker run -d {flags} --name {name} -v mem:/m -v {go}:/go tiny sh -c 'read line </go'"
            ))?;
        }
        let end =
            |name: &str| std::fs::write(s.path(&format!("go-{name}")), "end\n").map_err(|e| e.to_string());
        is("mounted with two", is_mounted(), true)?;
        end("one")?;
        command::until("the first one ends", soon(), || {
            s.must("docker ps -q").is_ok_and(|ids| ids.lines().count() == 1)
        })?;
        is("mounted with one", is_mounted(), true)?;
        end("two")?;
        command::until("nothing is mounted", soon(), || !is_mounted())?;
        if flags.is_empty() {
            s.must("docker rm one two")?;
        }
    }
    Ok(())
}

fn options_killed(s: &mut Scene) -> Done {
    s.must("docker volume create -o type=tmpfs -o device=tmpfs mem")?;
    s.must("docker run -d --name box -v mem:/m tiny sleep 600")?;
    let pid: u32 = s
        .inspect("box", "{{.State.Pid}}")?
        .parse()
        .map_err(|e| format!("pid: {e}"))?;
    uptime::named("brig-mon").into_iter().try_for_each(uptime::kill)?;
    // It runs, so it has it.
    s.must("docker volume ls")?;
    is("it runs", is_mounted(s, "mem")?, true)?;
    uptime::kill(pid)?;
    command::until("the mount is gone with the next command", soon(), || {
        s.must("docker volume ls").is_ok() && is_mounted(s, "mem") == Ok(false)
    })?;
    s.must("docker rm -f box && docker volume rm mem").map(|_| ())
}

fn copies(s: &mut Scene) -> Done {
    let file = s.file("file", "text\n")?;
    s.must("docker create --name box -v vol:/there tiny sleep 600")?;
    // Before its first start, while it runs, after its end.
    s.must(&format!("docker cp {file} box:/there/one"))?;
    s.must("docker start box")?;
    s.prints("docker exec box cat /there/one", "text\n")?;
    s.must(&format!("docker cp {file} box:/there/two"))?;
    s.must("docker stop -t 0 box")?;
    let dir = s.path("");
    s.must(&format!("docker cp box:/there/two {dir}/back"))?;
    is("back", s.read("back")?, "text\n")?;
    s.prints("docker run --rm -v vol:/x tiny ls /x", "one\ntwo\n")?;
    s.must("docker rm box && docker volume rm vol").map(|_| ())
}

fn not_committed(s: &mut Scene) -> Done {
    s.must("docker run --name box -v vol:/vol tiny sh -c 'echo x >/vol/inside; echo y >/outside'")?;
    lacks("diff", &s.must("docker diff box")?, "inside")?;
    lacks("export", &s.must("docker export box | tar -t")?, "inside")?;
    s.must("docker commit box without:1")?;
    s.prints(
        "docker run --rm without:1 sh -c 'ls -A /vol; cat /outside'",
        "y\n",
    )?;
    s.must("docker rm box && docker volume rm vol && docker rmi without:1")
        .map(|_| ())
}

fn disk_use(s: &mut Scene) -> Done {
    s.must("docker run --name box -v one:/x tiny sh -c 'head -c 3000 /dev/zero >/x/f'")?;
    s.must("docker run --rm -v two:/x tiny sh -c 'head -c 1000 /dev/zero >/x/f'")?;
    s.prints(
        "docker system df --format '{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}' | grep Volumes",
        "Local Volumes|2|1|4kB|1kB (25%)\n",
    )?;
    let text = s.must("docker system df -v")?;
    has(
        "verbose",
        &text,
        "VOLUME NAME   LINKS     SIZE\none           1         3kB\ntwo           0         1kB\n",
    )?;
    s.must("docker rm box && docker volume rm one two").map(|_| ())
}

fn events(s: &mut Scene) -> Done {
    let since = s.must("date +%s")?;
    s.must("docker volume create told")?;
    s.must("docker run --name box -v told:/x:ro tiny true")?;
    s.must("docker rm box && docker volume rm told")?;
    let line = format!(
        "docker events --since {since} --until $(($(date +%s) + 1)) -f type=volume -f volume=told --format '{{{{.Action}}}} {{{{.Actor.ID}}}} {{{{.Actor.Attributes.driver}}}}'"
    );
    s.prints(
        &line,
        "create told local\nmount told local\nunmount told local\ndestroy told local\n",
    )
}

/// `create` is killed at many moments of its copy: the volume is empty, or it is whole.
fn killed(s: &mut Scene) -> Done {
    s.must("docker run --name maker tiny sh -c 'mkdir /seed; for i in $(seq 400); do echo $i >/seed/f$i; done; head -c 30000000 /dev/zero >/seed/large'")?;
    s.must("docker commit maker many:1")?;
    let mut seen = [0; 2];
    for round in 0..24_u64 {
        let words = [
            "create",
            "--network",
            "host",
            "-v",
            "broken:/seed",
            "many:1",
            "true",
        ]
        .map(str::to_owned);
        let mut child = s
            .lab
            .straight(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        std::thread::sleep(std::time::Duration::from_millis(5 + round * 8));
        // It may have ended.
        let _ = child.kill();
        child.wait().map_err(|e| e.to_string())?;
        let list = s.must("docker volume ls -q")?;
        if list.contains("broken") {
            let names =
                s.must("docker run --rm -v broken:/x tiny sh -c 'ls -A /x | wc -l; cat /x/* | wc -c'")?;
            let is_whole = match names.as_str() {
                "0\n0" => false,
                "401\n30001492" => true,
                other => return Err(format!("neither empty nor whole after round {round}: {other:?}")),
            };
            seen[usize::from(is_whole)] += 1;
            s.prints(
                "docker run --rm -v broken:/seed many:1 sh -c 'ls -A /seed | wc -l'",
                "401\n",
            )?;
        }
        s.must("docker ps -aq | xargs -r docker rm")?;
        s.must("docker system check --quick --repair")?;
        s.must("docker volume rm -f broken")?;
    }
    is("some were empty", seen[0] > 0, true)?;
    s.must("docker system check --quick")?;
    s.must("docker ps -aq | xargs -r docker rm; docker rmi many:1")
        .map(|_| ())
}

/// Many make containers with a volume and remove it at once: who has a container has the volume.
fn race(s: &mut Scene) -> Done {
    let o = s.sh(
        "for i in 1 2 3 4 5 6; do (for n in 1 2 3 4; do docker run --rm -v raced:/x tiny sh -c 'echo x >/x/f && cat /x/f >/dev/null' || echo failed; docker volume rm raced >/dev/null 2>&1; docker volume prune -af >/dev/null 2>&1; done) & done; wait",
    )?;
    is("output", o.stdout + &o.stderr, "")?;
    s.must("docker volume rm -f raced")?;
    s.prints("docker volume ls -q", "")
}

fn binds(s: &mut Scene) -> Done {
    let dir = s.path("made");
    // With -v it is made at the start, with --mount it has to be there.
    s.must(&format!("docker create --name box -v {dir}:/x tiny ls -d /x"))?;
    s.fails(&format!("ls {dir}"), 2, &[])?;
    s.prints("docker start -a box", "/x\n")?;
    s.must(&format!("rmdir {dir} && docker start box"))?;
    s.must(&format!("test -d {dir}"))?;
    s.fails(
        &format!("docker create --mount type=bind,source={dir}/none,target=/x tiny"),
        1,
        &["bind source path does not exist"],
    )?;
    s.until_ended("box")?;
    s.must("docker rm box")?;
    let file = s.file("plain", "")?;
    for mount in [format!("{file}:/etc"), format!("{dir}:/etc/passwd")] {
        s.fails(
            &format!("docker run --name odd -v {mount} tiny true"),
            125,
            &["Are you trying to mount a directory onto a file (or vice-versa)?"],
        )?;
        is("code", s.inspect("odd", "{{.State.ExitCode}}")?, "127")?;
        s.must("docker rm odd")?;
    }
    // What is mounted below a read-only bind is read-only as well.
    s.must(&format!("mkdir -p {dir}/sub && mount -t tmpfs none {dir}/sub"))?;
    let below = |flags: &str| s.sh(&format!("docker run --rm {flags} tiny touch /x/sub/f"));
    let recursive = below(&format!("-v {dir}:/x:ro"))?;
    has("recursive", &recursive.stderr.to_lowercase(), "read-only")?;
    if !s.is_docker() {
        let writable = below(&format!(
            "--mount type=bind,source={dir},target=/x,readonly,bind-recursive=writable"
        ))?;
        is("writable", writable.code, 0)?;
        let alone = below(&format!(
            "--mount type=bind,source={dir},target=/x,bind-recursive=disabled"
        ))?;
        is("without what is below", alone.code, 0)?;
        s.must(&format!("test ! -e {dir}/sub/alone"))?;
    }
    s.must(&format!("umount {dir}/sub")).map(|_| ())
}
