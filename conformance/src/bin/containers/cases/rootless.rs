//! Containers of an ordinary user, who has no ids but its own.
//!
//! May not: change the machine's accounts. The user has a number and no name.

use std::os::unix::fs::chown;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks};

const ID: u32 = 5003;

pub fn cases() -> Vec<Case> {
    vec![case("rootless.single-id", &[Need::Brig], single_id)]
}

fn single_id(s: &mut Scene) -> Done {
    let home = s.path("home");
    let run = format!("{home}/run");
    for directory in [&home, &run] {
        let text = |e: std::io::Error| format!("{directory}: {e}");
        std::fs::create_dir_all(directory).map_err(text)?;
        chown(directory, Some(ID), Some(ID)).map_err(text)?;
    }
    let archive = format!("{home}/tiny.tar");
    s.must(&format!("docker save -o {archive} tiny && chmod 644 {archive}"))?;
    let by_user = |line: &str| {
        format!(
            "cd {home} && setpriv --reuid {ID} --regid {ID} --clear-groups env -u BRIG_ROOT HOME={home} \
             XDG_RUNTIME_DIR={run} DOCKER_CONFIG={home}/.docker sh -c '{line}'"
        )
    };
    let prints = |s: &mut Scene, line: &str, text: &str| s.prints(&by_user(line), text);
    has(
        "load",
        &s.must(&by_user("docker load -q -i tiny.tar"))?,
        "Loaded image: tiny:latest",
    )?;
    prints(s, "docker run --rm --network none tiny id -u", "0\n")?;
    is(
        "exit code",
        s.sh(&by_user("docker run --rm --network none tiny sh -c \"exit 7\""))?
            .code,
        7,
    )?;
    s.must(&by_user("docker run -d --name box --network none tiny sleep 600"))?;
    prints(s, "docker exec box sh -c \"echo x > /f; cat /f\"", "x\n")?;
    prints(s, "docker cp box:/f f && cat f", "x\n")?;
    prints(s, "docker cp f box:/g && docker exec box cat /g", "x\n")?;
    prints(s, "docker diff box", "A /f\nA /g\n")?;
    let top = s.must(&by_user("docker top box -o pid,args"))?;
    has("top", &top, "sleep 600")?;
    lacks("top", &top, "setpriv")?;
    prints(s, "docker stop -t 0 box", "box\n")?;
    prints(s, "docker start box", "box\n")?;
    prints(s, "docker kill box", "box\n")?;
    prints(s, "docker wait box", "137\n")?;
    prints(s, "docker rm box", "box\n")?;
    prints(s, "docker ps -aq", "")?;
    s.must(&by_user("docker rmi tiny && docker system check"))?;
    Ok(())
}
