//! What databases and their like need of volumes: data that outlives containers, content that was in the image, and its owners.
//!
//! May not: look into a volume by another way than a container's, but for the mount point that `volume inspect` names.

use crate::case::{Case, Done, Scene, has, is, lacks};
use crate::outside::HOST;
use crate::wires::networked;

pub fn cases() -> Vec<Case> {
    vec![
        networked("database.mariadb", &[], mariadb),
        networked("database.redis", &[], redis),
        networked("database.volumes-from", &[], volumes_from),
        networked("database.copy-up", &[], copy_up),
        networked("database.copy-up-once", &[], copy_up_once),
        networked("database.mysql-by-name", &[], mysql_by_name),
    ]
}

const ASK: &str = "mysql -uroot -psecret -N -e";

fn mariadb(s: &mut Scene) -> Done {
    s.prints("docker volume create mysql-data", "mysql-data\n")?;
    let run = |name: &str, more: &str| {
        s.must(&format!(
            "docker run -d --name {name} {more} -v mysql-data:/var/lib/mysql -p 3306:3306 mysql"
        ))
    };
    run("mysql1", "-e MYSQL_ROOT_PASSWORD=secret -e MYSQL_DATABASE=shop")?;
    s.until(&format!("docker exec mysql1 {ASK} 'select 6*7'"), "42")?;
    s.must(&format!(
        "docker exec mysql1 {ASK} 'create table shop.t (n int); insert into shop.t values (5)'"
    ))?;
    // From outside, over the published port, by the protocol's own greeting.
    let greeting = || s.lab.outside.there(|| greeting(&format!("{HOST}:3306")));
    has("greeting", &greeting()?, "MariaDB")?;
    // Stop and start.
    s.prints("docker stop -t 30 mysql1", "mysql1\n")?;
    is("a clean end", s.inspect("mysql1", "{{.State.ExitCode}}")?, 0)?;
    s.must("docker start mysql1")?;
    s.until(&format!("docker exec mysql1 {ASK} 'select n from shop.t'"), "5")?;
    // Removed, with -v: a volume with a name stays.
    s.must("docker stop -t 30 mysql1 && docker rm -v mysql1")?;
    is("volumes", s.must("docker volume ls -q")?, "mysql-data")?;
    // Another container: no password is asked for, because there is nothing to be made.
    run("mysql2", "")?;
    s.until(&format!("docker exec mysql2 {ASK} 'select n from shop.t'"), "5")?;
    lacks("its log", &s.must("docker logs mysql2 2>&1")?, "Initializing")?;
    is(
        "mounts",
        s.inspect(
            "mysql2",
            "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}",
        )?,
        "volume mysql-data /var/lib/mysql true",
    )?;
    s.fails("docker volume rm mysql-data", 1, &["volume is in use - ["])?;
    // Killed: what it had said that it wrote is there.
    s.must(&format!(
        "docker exec mysql2 {ASK} 'insert into shop.t values (6)'"
    ))?;
    s.must("docker kill mysql2 && docker rm mysql2")?;
    run("mysql3", "")?;
    s.until(
        &format!("docker exec mysql3 {ASK} 'select sum(n) from shop.t'"),
        "11",
    )?;
    s.must("docker rm -f mysql3")?;
    s.prints("docker volume rm mysql-data", "mysql-data\n")
}

/// The first bytes of a server that speaks first.
fn greeting(address: &str) -> Result<String, String> {
    use std::io::Read;
    let told = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = std::net::TcpStream::connect(address).map_err(told)?;
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .map_err(told)?;
    let mut buffer = [0; 256];
    let length = stream.read(&mut buffer).map_err(told)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn redis(s: &mut Scene) -> Done {
    s.must(
        "docker run -d --name cache -v redis-data:/data -p 6379:6379 redis redis-server --appendonly yes",
    )?;
    s.until("docker exec cache redis-cli set key value", "OK")?;
    s.must("docker stop cache && docker rm cache")?;
    s.must("docker run -d --name cache2 --mount source=redis-data,target=/data -p 6379:6379 redis redis-server --appendonly yes")?;
    s.until("docker exec cache2 redis-cli get key", "value")?;
    is(
        "who serves",
        s.must("docker exec cache2 stat -c %U /proc/1")?,
        "redis",
    )?;
    is(
        "who owns the volume",
        s.must("docker exec cache2 stat -c %U /data")?,
        "redis",
    )?;
    s.until_answer("PING\r\n", 6379, "+PONG")
}

fn volumes_from(s: &mut Scene) -> Done {
    let dir = s.path("bound");
    s.must(&format!(
        "docker create -v /data-volume -v named1:/named -v {dir}:/bound:ro --name=datavol keeper sh -c true"
    ))?;
    // /data comes from the image's VOLUME, with what the image has there.
    s.prints("docker run --rm --volumes-from datavol tiny sh -c 'cat /data/seed; echo a >/data-volume/f; echo b >/named/f; ls -d /bound'", "from the image\n/bound\n")?;
    s.prints(
        "docker run --rm --volumes-from datavol debian:bookworm cat /data-volume/f /named/f",
        "a\nb\n",
    )?;
    // What was read-only stays so, and all of it with :ro.
    s.fails(
        "docker run --rm --volumes-from datavol tiny touch /bound/x",
        1,
        &["read-only"],
    )?;
    s.fails(
        "docker run --rm --volumes-from datavol:ro tiny touch /named/x",
        1,
        &["read-only"],
    )?;
    s.must("docker run --rm --volumes-from datavol:rw tiny touch /named/x")?;
    // A volume of one's own at the same place wins.
    s.prints(
        "docker run --rm --volumes-from datavol -v other1:/named tiny ls /named",
        "",
    )?;
    // While somebody uses it, it stays; the last one's -v takes it away.
    s.must("docker create --name user --volumes-from datavol tiny true")?;
    s.must("docker rm -v datavol")?;
    is(
        "anonymous volumes",
        s.must("docker volume ls -q")?
            .lines()
            .filter(|name| name.len() == 64)
            .count(),
        2,
    )?;
    s.prints(
        "docker run --rm --volumes-from user tiny cat /data-volume/f",
        "a\n",
    )?;
    s.must("docker rm -v user")?;
    s.fails(
        "docker run --volumes-from absent tiny true",
        125,
        &["No such container: absent"],
    )?;
    s.fails(
        "docker run --volumes-from x:nonsense tiny true",
        125,
        &["invalid mode", "No such container", "invalid"],
    )
}

/// Owners, modes, links and attributes of what the image has come along.
fn copy_up(s: &mut Scene) -> Done {
    // user attributes of layers are kept by nobody's commit, this one by everybody's: a capability that a program brings.
    let make = "import os, struct
os.makedirs('/seed/dir/deep'); os.chown('/seed', 1234, 4321); os.chmod('/seed', 0o2750)
open('/seed/file', 'w').write('text'); os.chown('/seed/file', 33, 44); os.chmod('/seed/file', 0o4751)
os.link('/seed/file', '/seed/same'); os.symlink('file', '/seed/link'); os.lchown('/seed/link', 5, 6)
os.mkfifo('/seed/pipe'); os.mknod('/seed/node', 0o20600, os.makedev(1, 3))
open('/seed/able', 'w').write('x')
os.setxattr('/seed/able', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0))
f = open('/seed/hole', 'w'); f.truncate(1 << 20); f.close()
os.utime('/seed/file', (1600000000, 1600000000))
";
    s.file("make.py", make)?;
    let dir = s.path("");
    s.must(&format!("docker run --name maker --cap-add MKNOD --cap-add SETFCAP -v {dir}make.py:/make.py:ro python python3 /make.py"))?;
    s.must("docker commit maker seeded:1")?;
    let look = "import os
def show(p):
    s = os.lstat(p)
    names = sorted(os.listxattr(p, follow_symlinks=False))
    print(p, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, s.st_size if not os.path.isdir(p) else 0, s.st_rdev, int(s.st_mtime) if p in ('/seed/file', '/seed/same') else 0, [(n, os.getxattr(p, n, follow_symlinks=False).hex()) for n in names])
for top, dirs, files in os.walk('/seed'):
    for n in sorted(dirs + files): show(os.path.join(top, n))
    dirs.sort()
show('/seed')
";
    s.file("look.py", look)?;
    let look = |flags: &str| {
        s.must(&format!(
            "docker run --rm {flags} -v {dir}look.py:/look.py:ro seeded:1 python3 /look.py"
        ))
    };
    let played = || -> Done {
        let image = look("")?;
        has("the image itself", &image, "security.capability")?;
        is("in an anonymous volume", look("-v /seed")?, &image)?;
        is("in a named volume", look("-v filled:/seed")?, &image)?;
        is("again", look("-v filled:/seed:ro")?, &image)?;
        is("by --mount", look("--mount source=filled2,target=/seed")?, &image)?;
        lacks("with nocopy", &look("-v bare:/seed:nocopy")?, "/seed/file")?;
        lacks(
            "with volume-nocopy",
            &look("--mount source=bare2,target=/seed,volume-nocopy")?,
            "/seed/file",
        )?;
        let bound = s.path("bound");
        std::fs::create_dir_all(&bound).map_err(|e| e.to_string())?;
        lacks("a bind", &look(&format!("-v {bound}:/seed"))?, "/seed/file")
    };
    let acted = played();
    s.must("docker rm -f maker; docker rmi -f seeded:1")?;
    acted
}

/// Only a volume with nothing in it is filled.
fn copy_up_once(s: &mut Scene) -> Done {
    s.must("docker run --rm -v kept:/data tiny sh -c 'rm /data/seed; echo mine >/data/other'")?;
    s.prints("docker run --rm -v kept:/data tiny ls /data", "other\n")?;
    s.must("docker run --rm -v kept:/x tiny rm /x/other")?;
    // Empty again: filled again, at create already.
    s.must("docker create --name later -v kept:/data tiny true")?;
    let point = s.must("docker volume inspect --format '{{.Mountpoint}}' kept")?;
    is(
        "in its place",
        s.must(&format!("cat {point}/seed; stat -c %u:%g {point}"))?,
        "from the image\n1000:50",
    )
}

fn mysql_by_name(s: &mut Scene) -> Done {
    s.must("docker network create shop")?;
    s.must("docker run -d --name db --network shop --network-alias database -e MYSQL_ROOT_PASSWORD=secret -v shop-data:/var/lib/mysql mysql")?;
    s.until(
        "docker run --rm --network shop mysql mysql -hdb -uroot -psecret -N -e 'select 6*7'",
        "42",
    )?;
    let o = s.must(
        "docker run --rm --network shop mysql mysql -hdatabase -uroot -psecret -N -e 'select user()'",
    )?;
    is("who it is to the server", o.starts_with("root@"), true)
}
