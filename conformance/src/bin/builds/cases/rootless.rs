//! Builds of ordinary users: with a range of ids, and with their own id alone.
//!
//! May not: change the machine's accounts. `/etc` is the played host's own.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use conformance::command;

use super::crashes::sleeping;
use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, soon, was_cached};
use crate::outside::{HOST, KNOWN, KNOWN_ADDRESS, SECOND};
use crate::packages;

/// What a user of these cases has beside his own id.
const RANGE: Option<(u32, u32)> = Some((2_000_000, 65_536));

pub fn cases() -> Vec<Case> {
    vec![
        person("rootless.range", "builder", RANGE, range),
        person("rootless.single-id", "alone", None, |s, user| {
            user.file(s, "f", "copied\n")?;
            user.file(s, "Dockerfile", "FROM tiny\nRUN id -u >/seen\nCOPY f /f\n")?;
            user.told(s, "docker build --progress plain -t mine .")?;
            is(
                "seen",
                user.must(s, "docker run --rm --network none mine cat /seen /f")?,
                "0\ncopied",
            )?;
            user.must(s, "docker rmi mine && docker system check").map(drop)
        }),
        person("rootless.single-id-owners", "lonely", None, one_owner),
        person("rootless.foreign-ids", "bounded", RANGE, foreign_ids),
        person("rootless.network", "netted", RANGE, network),
        person("rootless.network-slirp4netns", "slirper", RANGE, |s, user| {
            user.file(
                s,
                ".config/brig/brig.toml",
                "network.rootless = \"slirp4netns\"\n",
            )?;
            network(s, user)
        }),
        person("rootless.network-none", "shut-in", RANGE, no_way_out),
        case("rootless.packages", &[Need::Brig, Need::Packages], |s| {
            played(s, "packager", RANGE, apt)
        }),
        person("rootless.secret-and-failure", "secretive", RANGE, |s, user| {
            user.file(s, "s", "word")?;
            user.file(
                s,
                "Dockerfile",
                "FROM tiny\nRUN --mount=type=secret,id=s,uid=1000 stat -c %u:%a /run/secrets/s && cat /run/secrets/s\nRUN exit 3\n",
            )?;
            let o = s.sh(&user.line("docker build --progress plain --secret id=s,src=s ."))?;
            is("code", o.code, 1)?;
            for part in ["exit code: 3", "1000:400", "word"] {
                has("what was told", &o.stderr, part)?;
            }
            user.must(s, "docker system check").map(drop)
        }),
        person("rootless.owners", "landlord", RANGE, owners),
        person("rootless.cache-mounts", "hoarder", RANGE, cache_mounts),
        person("rootless.outputs", "exporter", RANGE, outputs),
        person("rootless.killed", "mortal", RANGE, killed),
    ]
}

/// A case in which an ordinary user with the image `tiny` types. At its end nothing of hers runs, and nothing is half done.
fn person(
    name: &str,
    user: &'static str,
    range: Option<(u32, u32)>,
    act: impl Fn(&Scene, &User) -> Done + 'static,
) -> Case {
    case(name, &[Need::Brig], move |s| played(s, user, range, &act))
}

fn played(s: &Scene, name: &str, range: Option<(u32, u32)>, act: impl Fn(&Scene, &User) -> Done) -> Done {
    let user = User::arrive(s, name, range)?;
    let acted = act(s, &user);
    let swept = user.is_swept(s);
    let alone = user.is_alone(s);
    let gone = s.must("umount /dev/net/tun").map(drop);
    let problems: Vec<String> = [acted, swept, alone, gone]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn range(s: &Scene, user: &User) -> Done {
    user.file(s, "d/f", "copied\n")?;
    user.file(
        s,
        "Dockerfile",
        "FROM tiny\nRUN id -u >/seen; chown guest:staff /seen; stat -c %u:%g /seen >>/seen\nCOPY --chown=1000:50 d /d/\nUSER guest\n\
         RUN id -un >>/seen\nRUN --mount=type=cache,target=/tmp/c,uid=1000 touch /tmp/c/x\n",
    )?;
    let told = user.told(s, "docker build --progress plain -t mine .")?;
    has("what was told", &told, "[5/5]")?;
    is(
        "seen",
        user.must(
            s,
            "docker run --rm --network none mine sh -c \"cat /seen /d/f; stat -c %u:%g /d/f\"",
        )?,
        "0\n1000:50\nguest\ncopied\n1000:50",
    )?;
    let again = user.told(s, "docker build --progress plain -t mine .")?;
    was_cached(&again, "RUN id -u", true)?;
    user.must(
        s,
        "docker save -o mine.tar mine && docker builder prune -af && docker system check",
    )?;
    s.must(&format!("docker load -q -i {}/mine.tar", user.home))?;
    s.shows("mine", "stat -c %u:%g /d/f", "1000:50")
}

/// With one id all files are hers, and root's in the container, whatever somebody wants; as it is in images that are pulled.
fn one_owner(s: &Scene, user: &User) -> Done {
    user.file(s, "f", "f\n")?;
    user.must(s, "tar cf a.tar --owner 1000 --group 50 --numeric-owner f")?;
    user.file(
        s,
        "Dockerfile",
        "FROM tiny\nCOPY --chown=1000:50 f /f\nCOPY --chown=guest f /d/\nADD a.tar /a\n\
         RUN --mount=type=cache,target=/c,uid=1000,gid=50 --mount=type=secret,id=s,uid=1000 cat /run/secrets/s >/c/f && cp /c/f /s\n\
         USER guest\nWORKDIR /w\n",
    )?;
    let told = user.told(s, "docker build --progress plain --secret id=s,src=f -t mine .")?;
    has(
        "what was told",
        &told,
        "WARNING: all files will belong to one user",
    )?;
    is(
        "owners",
        user.must(
            s,
            "docker run --rm --network none -u 0 mine stat -c %u:%g /f /d/f /a/f /s /w",
        )?,
        ["0:0"; 5].join("\n"),
    )?;
    user.must(
        s,
        "docker rmi mine && docker builder prune -af && docker system check",
    )
    .map(drop)
}

/// Ids that nobody has granted: those of a context do not matter, others are named.
fn foreign_ids(s: &Scene, user: &User) -> Done {
    user.file(s, "f", "f\n")?;
    user.file(s, "Dockerfile", "FROM tiny\nCOPY f /f\n")?;
    user.must(
        s,
        "tar cf context.tar --owner 1234567 --group 1234567 --numeric-owner f Dockerfile",
    )?;
    user.must(s, "docker build -q -t mine - <context.tar")?;
    is(
        "owner",
        user.must(s, "docker run --rm --network none mine stat -c %u:%g /f")?,
        "0:0",
    )?;
    for line in [
        "ADD context.tar /d/",
        "COPY --chown=1234567:1234567 f /d/",
        "COPY --chown=1234567:1234567 f /new/f",
    ] {
        user.file(s, "Dockerfile", &format!("FROM tiny\n{line}\n"))?;
        s.fails(
            &user.line("docker build ."),
            1,
            &["its owner 1234567:1234567 is not among the ids of this user namespace; /etc/subuid and /etc/subgid have to grant more"],
        )?;
    }
    Ok(())
}

fn network(s: &Scene, user: &User) -> Done {
    user.file(
        s,
        "Dockerfile",
        &format!(
            "FROM tiny\nRUN wget -q -O /seen http://{SECOND}/\nRUN nslookup {KNOWN} >/name\nRUN --network=none ls /sys/class/net >>/seen\n"
        ),
    )?;
    user.told(s, "docker build --progress plain -t mine .")?;
    is(
        "seen",
        user.must(s, "docker run --rm --network none mine cat /seen")?,
        format!("you are {HOST}\nlo"),
    )?;
    has(
        "name",
        &user.must(s, "docker run --rm --network none mine cat /name")?,
        KNOWN_ADDRESS,
    )?;
    // Beside a container of hers that runs, and stages beside each other.
    user.must(s, "docker run -d --name other tiny sleep 1000")?;
    user.file(
        s,
        "Dockerfile",
        &format!(
            "FROM tiny AS a\nRUN wget -q -O /a http://{SECOND}/\nFROM tiny AS b\nRUN wget -q -O /b http://{SECOND}/\n\
             FROM tiny\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        ),
    )?;
    user.told(s, "docker build --progress plain -t both .")?;
    is(
        "both",
        user.must(s, "docker run --rm --network none both cat /a /b")?,
        format!("you are {HOST}\nyou are {HOST}"),
    )?;
    user.must(s, "docker rm -f other").map(drop)
}

/// A step that needs the world where nothing leads to it: why is said.
fn no_way_out(s: &Scene, user: &User) -> Done {
    s.must("chmod 600 /dev/net/tun")?;
    user.file(
        s,
        "Dockerfile",
        &format!("FROM tiny\nRUN echo alone >/f\nRUN wget -q -O /seen http://{SECOND}/\n"),
    )?;
    let o = s.sh(&user.line("docker build --progress plain ."))?;
    is("code", o.code, 1)?;
    has("what was told", &o.stderr, "Network is unreachable")?;
    has(
        "what was told",
        &o.stderr,
        "containers do not reach anything outside of the machine: ",
    )?;
    // Whoever needs no network is told nothing.
    user.file(s, "Dockerfile", "FROM tiny\nRUN echo alone >/g\n")?;
    let quiet = user.told(s, "docker build --progress plain .")?;
    lacks("what was told", &quiet, "outside of the machine")
}

/// apt changes to a user of its own, and gives its files to it.
fn apt(s: &Scene, user: &User) -> Done {
    user.load(s, "ubuntu")?;
    user.file(
        s,
        "Dockerfile",
        "FROM ubuntu\nRUN apt-get update -y\n\
         RUN apt-get install -y --no-install-recommends hello openssh-client\n\
         RUN useradd -m -u 1234 -G mail someone && su someone -c 'touch ~/own'\nUSER someone\nRUN id >~/id\n",
    )?;
    user.told(
        s,
        &format!(
            "docker build --progress plain -t packed --build-arg http_proxy={} .",
            packages::proxy()
        ),
    )?;
    let shows = |line: &str, text: &str| {
        let typed = format!("docker run --rm --network none packed {line}");
        is(line, user.must(s, &typed)?, text)
    };
    shows("hello", "Hello, world!")?;
    shows("stat -c %U /var/lib/apt/lists/partial", "_apt")?;
    // A program of a group, which somebody else runs.
    shows("stat -c %G:%a /usr/bin/ssh-agent", "_ssh:2755")?;
    shows("stat -c %U:%G /home/someone/own", "someone:someone")?;
    user.must(
        s,
        "docker system check && docker rmi packed ubuntu && docker builder prune -af",
    )?;
    Ok(())
}

/// Files of many users: changed by a later step, sound, moved to root's store, and all taken away.
fn owners(s: &Scene, user: &User) -> Done {
    user.file(s, "f", "f\n")?;
    user.file(
        s,
        "Dockerfile",
        "FROM tiny\n\
         RUN mkdir /t && for id in 0 1 1000 33333 65535; do mkdir -m 700 /t/$id && echo $id >/t/$id/f && chmod 600 /t/$id/f && chown -R $id:$id /t/$id; done\n\
         RUN cp /bin/busybox /t/setuid && chown 1000:50 /t/setuid && chmod 6755 /t/setuid\n\
         RUN echo more >>/t/33333/f && rm -r /t/1 && mv /t/1000 /t/moved && chown 7:8 /t/65535\n\
         COPY --chown=65535:65535 --chmod=4711 f /t/copied\nCOPY --chown=guest f /t/named\n\
         USER 33333:33333\nRUN cat /t/33333/f >/tmp/own && ! cat /t/moved/f\n\
         FROM tiny\nCOPY --from=0 /t /t\nCOPY --from=0 --chown=12:13 /t/moved /given\n",
    )?;
    const ALL: &str = "/t/0 0:0:700\n/t/33333 33333:33333:700\n/t/33333/f 33333:33333:600\n/t/65535 7:8:700\n/t/65535/f 65535:65535:600\n\
         /t/moved 1000:1000:700\n/t/moved/f 1000:1000:600\n/t/setuid 1000:50:6755\n/t/copied 65535:65535:4711\n/t/named 1000:1000:644\n\
         /given 12:13:755\n/given/f 12:13:600";
    let names: Vec<&str> = ALL.lines().filter_map(|line| line.split(' ').next()).collect();
    let look = format!("stat -c \"%n %u:%g:%a\" {}", names.join(" "));
    user.told(s, "docker build --progress plain -t many .")?;
    is(
        "the user's",
        user.must(s, &format!("docker run --rm --network none many {look}"))?,
        ALL,
    )?;
    user.must(s, "docker system check && docker save -o many.tar many")?;
    s.must(&format!("docker load -q -i {}/many.tar", user.home))?;
    s.shows("many", &look, ALL)?;
    // What belongs to her other ids goes by her own hand.
    user.must(
        s,
        "rm many.tar && docker rmi many tiny && docker builder prune -af && docker system check",
    )?;
    is("left", user.foreign(s)?, "")
}

fn cache_mounts(s: &Scene, user: &User) -> Done {
    user.file(
        s,
        "Dockerfile",
        "FROM tiny\nARG N\n\
         RUN --mount=type=cache,target=/c,uid=1000,gid=50,mode=0750 stat -c %u:%g:%a /c && echo $N >>/c/f && chown 777:777 /c/f && cp /c/f /f\n\
         USER guest\nRUN --mount=type=cache,target=/c,uid=1000,gid=50,mode=0750,sharing=locked mkdir -p /c/own && cat /c/f >/tmp/f\n",
    )?;
    for n in 1..=2 {
        let told = user.told(
            s,
            &format!("docker build --progress plain --build-arg N={n} -t mine ."),
        )?;
        has("the directory", &told, "1000:50:750")?;
    }
    is(
        "what both have written",
        user.must(s, "docker run --rm --network none mine cat /f /tmp/f")?,
        "1\n2\n1\n2",
    )?;
    has(
        "buildx du",
        &user.must(s, "docker buildx du --verbose")?,
        "exec.cachemount",
    )?;
    user.must(
        s,
        "docker image prune -af && docker builder prune -af && docker system check",
    )?;
    is("left", user.foreign(s)?, "")
}

fn outputs(s: &Scene, user: &User) -> Done {
    user.file(
        s,
        "Dockerfile",
        "FROM tiny AS made\nRUN mkdir -p /o/d && echo x >/o/d/f && chown -R 1000:50 /o && chmod 4755 /o/d/f && ln -s d/f /o/l\n\
         FROM scratch\nCOPY --from=made /o /\n",
    )?;
    user.must(s, "docker build -q -o out .")?;
    for name in ["out", "out/d", "out/d/f", "out/l"] {
        let path = Path::new(&user.home).join(name);
        let meta = path
            .symlink_metadata()
            .map_err(|e| format!("{}: {e}", path.display()))?;
        is(
            name,
            format!("{}:{}", meta.uid(), meta.gid()),
            format!("{0}:{0}", user.id),
        )?;
    }
    user.must(s, "rm -r out && docker build -q -o - . >out.tar")?;
    let listed = s.must(&format!("tar --numeric-owner -tvf {}/out.tar", user.home))?;
    has("the archive", &listed, "1000/50")?;
    lacks("the archive", &listed, "2000")?;
    user.must(
        s,
        "docker build -q -o type=oci,dest=oci.tar . && docker load -q -i oci.tar",
    )?;
    user.must(
        s,
        "docker build -q --iidfile id --metadata-file meta --cache-to type=local,dest=cache,mode=max .",
    )?;
    user.must(s, "docker builder prune -af")?;
    let told = user.told(
        s,
        "docker build --progress plain --cache-from type=local,src=cache -o out .",
    )?;
    was_cached(&told, "RUN mkdir", true)?;
    user.must(s, "test -u out/d/f && rm -r out")?;
    for name in ["out.tar", "oci.tar", "id", "meta", "cache", "cache/index.json"] {
        let path = Path::new(&user.home).join(name);
        let meta = path.metadata().map_err(|e| format!("{}: {e}", path.display()))?;
        is(
            name,
            format!("{}:{}", meta.uid(), meta.gid()),
            format!("{0}:{0}", user.id),
        )?;
    }
    user.must(s, "docker system check").map(drop)
}

/// Killed in the middle of a step, also when it has changed to another of her ids.
fn killed(s: &Scene, user: &User) -> Done {
    user.file(
        s,
        "Dockerfile",
        "FROM tiny\nRUN echo kept >/f; chown 1000:1000 /f\nUSER guest\n\
         RUN (trap \"\" TERM INT HUP; mkdir /tmp/half; setsid sleep 1013) & sleep 1013\n",
    )?;
    s.must(&user.line("docker build --progress plain . >out 2>&1 & echo $! >pid"))?;
    command::until("the step's process", soon(), || sleeping("1013"))?;
    s.must(&format!("kill -9 $(cat {}/pid)", user.home))?;
    command::until("the end of the step's processes", soon(), || !sleeping("1013"))?;
    s.must(&format!(
        "sed -i \"s/^RUN (trap.*/RUN id -u >\\/tmp\\/id/\" {}/Dockerfile",
        user.home
    ))?;
    let told = user.told(s, "docker build --progress plain -t mine .")?;
    was_cached(&told, "RUN echo kept", true)?;
    is(
        "id",
        user.must(s, "docker run --rm --network none mine cat /tmp/id")?,
        "1000",
    )?;
    user.must(s, "docker system check").map(drop)
}

/// An account of the played host, with a home below the directory of the case.
struct User {
    id: u32,
    home: String,
}

impl User {
    /// Each has a number of her own: what one has left is not the next one's.
    fn arrive(s: &Scene, name: &str, range: Option<(u32, u32)>) -> Result<User, String> {
        let accounts = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
        let id = 5011 + u32::try_from(accounts.lines().count()).unwrap_or(0);
        let home = s.dir.join(name).display().to_string();
        for directory in [home.clone(), format!("{home}/run")] {
            let told = |e: std::io::Error| format!("{directory}: {e}");
            std::fs::create_dir_all(&directory).map_err(told)?;
            chown(&directory, Some(id), Some(id)).map_err(told)?;
        }
        add("/etc/passwd", &format!("{name}:x:{id}:{id}::{home}:/bin/sh"))?;
        add("/etc/group", &format!("{name}:x:{id}:"))?;
        if let Some((first, count)) = range {
            for file in ["/etc/subuid", "/etc/subgid"] {
                add(file, &format!("{name}:{first}:{count}"))?;
            }
        }
        // As every distribution has it; here it may be root's.
        let tun = s.dir.join("tun").display().to_string();
        s.must(&format!(
            "mkdir -p /dev/net && touch /dev/net/tun && mknod {tun} c 10 200 && chmod 666 {tun} && mount --bind {tun} /dev/net/tun"
        ))?;
        let user = User { id, home };
        user.load(s, "tiny")?;
        Ok(user)
    }

    fn load(&self, s: &Scene, image: &str) -> Done {
        let archive = format!("{}/{image}.tar", self.home);
        s.must(&format!(
            "docker save -o {archive} {image} && chmod 644 {archive}"
        ))?;
        self.must(s, &format!("docker load -q -i {image}.tar"))?;
        std::fs::remove_file(&archive).map_err(|e| format!("{archive}: {e}"))
    }

    /// A file of hers. Nothing else in her home changes hands: her store has files of her other ids.
    fn file(&self, s: &Scene, name: &str, text: &str) -> Done {
        let below = self.home.rsplit('/').next().unwrap_or_default();
        s.file(&format!("{below}/{name}"), text)?;
        let mut path = Path::new(&self.home).join(name);
        while path.as_os_str().len() > self.home.len() {
            chown(&path, Some(self.id), Some(self.id)).map_err(|e| format!("{}: {e}", path.display()))?;
            path.pop();
        }
        Ok(())
    }

    /// Nothing of root's environment comes along.
    fn line(&self, line: &str) -> String {
        let User { id, home } = self;
        format!(
            "cd {home} && setpriv --reuid {id} --regid {id} --clear-groups env -u BRIG_ROOT HOME={home} \
             XDG_RUNTIME_DIR={home}/run DOCKER_CONFIG={home}/.docker sh -c '{line}'"
        )
    }

    fn must(&self, s: &Scene, line: &str) -> Result<String, String> {
        s.must(&self.line(line))
    }

    fn told(&self, s: &Scene, line: &str) -> Result<String, String> {
        s.told(&self.line(line))
    }

    /// What is in her home and belongs to another of her ids.
    fn foreign(&self, s: &Scene) -> Result<String, String> {
        s.must(&format!("find {} ! -uid {}", self.home, self.id))
    }

    /// Her store has nothing that nobody finishes.
    fn is_swept(&self, s: &Scene) -> Done {
        is("containers", self.must(s, "docker ps -aq")?, "")?;
        for place in ["tmp", "partial", "trash"] {
            let dir = Path::new(&self.home).join(".local/share/brig").join(place);
            is(place, conformance::verdict::names(&dir).join(" "), "")?;
        }
        Ok(())
    }

    /// Neither a step, nor the keeper, nor a program of hers.
    fn is_alone(&self, s: &Scene) -> Done {
        let mut last = String::new();
        command::until("no process of the user is left", soon(), || {
            let line = format!("ps -o pid=,args= -u {} || true", self.id);
            last = s.must(&line).unwrap_or_else(|e| e);
            last.trim().is_empty()
        })
        .map_err(|e| format!("{e}: {last}"))
    }
}

fn add(file: &str, line: &str) -> Done {
    let told = |e: std::io::Error| format!("{file}: {e}");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .map_err(told)?;
    writeln!(file, "{line}").map_err(told)
}
