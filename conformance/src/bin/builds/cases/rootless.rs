//! Builds of ordinary users: with a range of ids, and with their own id alone.
//!
//! May not: change the machine's accounts. `/etc` is the played host's own.

use std::io::Write;
use std::os::unix::fs::chown;

use crate::case::{Case, Done, Need, Scene, case, has, is, was_cached};

/// `system check` finds owners that are others, and RUN reaches no network.
const RANGE: &[Need] = &[
    Need::Brig,
    Need::More("builds of ordinary users with a range of ids are not right yet"),
];

pub fn cases() -> Vec<Case> {
    vec![
        case("rootless.range", RANGE, |s| {
            let user = User::arrive(s, "builder", 5011, Some((2_000_000, 65_536)))?;
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
        }),
        case("rootless.single-id", &[Need::Brig], |s| {
            let user = User::arrive(s, "alone", 5012, None)?;
            user.file(s, "f", "copied\n")?;
            user.file(s, "Dockerfile", "FROM tiny\nRUN id -u >/seen\nCOPY f /f\n")?;
            user.told(s, "docker build --progress plain -t mine .")?;
            is(
                "seen",
                user.must(s, "docker run --rm --network none mine cat /seen /f")?,
                "0\ncopied",
            )?;
            user.must(s, "docker rmi mine && docker system check")?;
            Ok(())
        }),
        case("rootless.network", RANGE, |s| {
            let user = User::arrive(s, "netted", 5013, Some((3_000_000, 65_536)))?;
            user.file(
                s,
                "Dockerfile",
                &format!(
                    "FROM tiny\nRUN wget -q -O /seen http://{}/\nRUN --network=none ls /sys/class/net >>/seen\n",
                    crate::outside::SECOND
                ),
            )?;
            user.told(s, "docker build --progress plain -t mine .")?;
            is(
                "seen",
                user.must(s, "docker run --rm --network none mine cat /seen")?,
                "you are 192.0.2.1\nlo",
            )
        }),
        case("rootless.secret-and-failure", RANGE, |s| {
            let user = User::arrive(s, "secretive", 5014, Some((4_000_000, 65_536)))?;
            user.file(s, "s", "word")?;
            user.file(
                s,
                "Dockerfile",
                "FROM tiny\nRUN --mount=type=secret,id=s cat /run/secrets/s\nRUN exit 3\n",
            )?;
            let o = s.sh(&user.line("docker build --progress plain --secret id=s,src=s ."))?;
            is("code", o.code, 1)?;
            has("what was told", &o.stderr, "exit code: 3")?;
            has("what was told", &o.stderr, "word")?;
            user.must(s, "docker system check")?;
            Ok(())
        }),
    ]
}

/// An account of the played host, with a home below the directory of the case.
struct User {
    id: u32,
    home: String,
}

impl User {
    fn arrive(s: &Scene, name: &str, id: u32, range: Option<(u32, u32)>) -> Result<User, String> {
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
        let user = User { id, home };
        s.must(&format!(
            "docker save -o {0}/tiny.tar tiny && chmod 644 {0}/tiny.tar",
            user.home
        ))?;
        user.must(s, "docker load -q -i tiny.tar && rm -f tiny.tar; true")?;
        Ok(user)
    }

    fn file(&self, s: &Scene, name: &str, text: &str) -> Done {
        let below = self.home.rsplit('/').next().unwrap_or_default();
        s.file(&format!("{below}/{name}"), text)?;
        s.must(&format!("chown -R {0}:{0} {1}", self.id, self.home))
            .map(|_| ())
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
