//! `cp` in both directions by the rules of reference 1.13, `export` and `import`.
//!
//! May not: look into a container but through the command line.

use crate::case::{Case, Done, Scene, case, has, is};

pub fn cases() -> Vec<Case> {
    vec![
        case("cp.in", &[], copy_in),
        case("cp.out", &[], copy_out),
        case("cp.directories", &[], directories),
        case("cp.refusals", &[], refusals),
        case("cp.archives", &[], archives),
        case("cp.owners", &[], owners),
        case("cp.links", &[], links),
        case("cp.escapes", &[], escapes),
        case("cp.stopped", &[], stopped),
        case("cp.bind", &[], into_a_bind),
        case("cp.volume", &[], into_a_volume),
        case("export.import", &[], export_import),
        case("export.refusals", &[], export_refusals),
    ]
}

fn copy_in(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let file = s.file("file", "text\n")?;
    s.prints(&format!("docker cp {file} box:/tmp/new"), "")?;
    s.prints("docker exec box cat /tmp/new", "text\n")?;
    s.prints(&format!("docker cp {file} box:/tmp"), "")?;
    s.prints("docker exec box cat /tmp/file", "text\n")?;
    s.prints(&format!("docker cp {file} box:relative"), "")?;
    s.prints("docker exec box cat /relative", "text\n")?;
    s.file("file", "other\n")?;
    s.prints(&format!("docker cp {file} box:/tmp/new"), "")?;
    s.prints("docker exec box cat /tmp/new", "other\n")
}

fn copy_out(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo inside >/tmp/f; chmod 640 /tmp/f; mkdir -p /tmp/d/e; echo deep >/tmp/d/e/g'")?;
    let dir = s.path("");
    s.prints(&format!("docker cp box:/tmp/f {dir}"), "")?;
    is("file", s.read("f")?, "inside\n")?;
    s.prints(&format!("docker cp box:/tmp/f {dir}/g"), "")?;
    is("another name", s.read("g")?, "inside\n")?;
    is("mode", s.must(&format!("stat -c %a {dir}/f"))?, 640)?;
    s.prints(&format!("docker cp box:/tmp/d {dir}"), "")?;
    is("directory", s.read("d/e/g")?, "deep\n")?;
    s.prints(&format!("docker cp box:/tmp/d/. {dir}/fresh"), "")?;
    is("its contents", s.read("fresh/e/g")?, "deep\n")
}

fn directories(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let dir = s.path("");
    s.must(&format!(
        "mkdir -p {dir}/src/sub && echo a >{dir}/src/a && echo b >{dir}/src/sub/b"
    ))?;
    s.prints(&format!("docker cp {dir}/src box:/made"), "")?;
    s.prints(
        "docker exec box sh -c 'cd /made && find . -type f | sort'",
        "./a\n./sub/b\n",
    )?;
    s.prints(&format!("docker cp {dir}/src box:/made"), "")?;
    s.prints(
        "docker exec box sh -c 'cd /made && find . -type f | sort'",
        "./a\n./src/a\n./src/sub/b\n./sub/b\n",
    )?;
    s.prints(&format!("docker cp {dir}/src/. box:/tmp"), "")?;
    s.prints(
        "docker exec box sh -c 'cd /tmp && find . -type f | sort'",
        "./a\n./sub/b\n",
    )
}

fn refusals(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let file = s.file("file", "text\n")?;
    let dir = s.path("");
    s.must(&format!("mkdir {dir}/src"))?;
    s.fails(
        &format!("docker cp {file} box:/tmp/absent/"),
        1,
        &["no such", "not a directory", "destination directory"],
    )?;
    s.fails(
        &format!("docker cp {file} box:/absent/file"),
        1,
        &["could not find", "no such"],
    )?;
    s.fails(
        &format!("docker cp {dir}/src box:/etc/passwd"),
        1,
        &["cannot copy directory", "cannot overwrite"],
    )?;
    s.fails(&format!("docker cp {dir}/absent box:/tmp"), 1, &["no such file"])?;
    s.fails(
        &format!("docker cp box:/absent {dir}"),
        1,
        &["could not find the file", "no such"],
    )?;
    s.fails(
        &format!("docker cp box:/etc {dir}/file"),
        1,
        &["cannot copy directory", "cannot overwrite"],
    )?;
    // Docker refuses this; brig does what was asked for, as people have wished since 2014 (complaint 13).
    if s.is_docker() {
        let words = "copying between containers is not supported";
        s.fails("docker cp box:/etc/passwd box:/tmp", 1, &[words])?;
    } else {
        s.prints("docker cp box:/etc/group box:/tmp/copied", "")?;
        s.prints("docker exec box grep -c guest /tmp/copied", "2\n")?;
    }
    s.fails(
        &format!("docker cp {file} {dir}/other"),
        1,
        &["must specify at least one container source"],
    )?;
    s.fails(
        &format!("docker cp {file} absent:/tmp"),
        1,
        &["No such container"],
    )?;
    s.fails(
        "docker cp only",
        1,
        &[
            "requires exactly 2 arguments",
            "requires 2 arguments",
            // Several sources may be named.
            "requires at least 2 arguments",
        ],
    )?;
    s.fails(
        "docker cp - box:/etc/passwd",
        1,
        &["not a directory", "must be a directory"],
    )
}

fn archives(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let dir = s.path("");
    s.must(&format!(
        "mkdir {dir}/src && echo packed >{dir}/src/p && tar -C {dir}/src -cf {dir}/a.tar p"
    ))?;
    s.must(&format!("docker cp - box:/tmp <{dir}/a.tar"))?;
    s.prints("docker exec box cat /tmp/p", "packed\n")?;
    for how in ["gzip", "bzip2", "xz", "zstd"] {
        s.must("docker exec box rm /tmp/p")?;
        s.must(&format!("{how} -c <{dir}/a.tar | docker cp - box:/tmp"))?;
        s.prints("docker exec box cat /tmp/p", "packed\n")?;
    }
    s.prints("docker cp box:/tmp/p - | tar -tf -", "p\n")?;
    s.prints("docker cp box:/tmp - | tar -xOf - tmp/p", "packed\n")?;
    s.prints("docker cp -L box:/tmp/p - | tar -tf -", "p\n")
}

fn owners(s: &mut Scene) -> Done {
    s.idle("box", "")?;
    let file = s.file("file", "text\n")?;
    s.must(&format!("chown 1234:1234 {file}"))?;
    s.must(&format!(
        "docker cp {file} box:/tmp/plain && docker cp -a {file} box:/tmp/archive"
    ))?;
    s.prints("docker exec box stat -c '%u:%g' /tmp/archive", "1234:1234\n")?;
    has(
        "without -a",
        "0:0 1234:1234",
        s.must("docker exec box stat -c '%u:%g' /tmp/plain")?.trim(),
    )?;
    s.must("docker exec box sh -c 'echo x >/tmp/own; chown guest:staff /tmp/own'")?;
    let dir = s.path("");
    s.must(&format!("docker cp box:/tmp/own {dir}/plain"))?;
    is(
        "out without -a",
        s.must(&format!("stat -c %u:%g {dir}/plain"))?,
        "0:0",
    )
}

fn links(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo target >/tmp/t; ln -s t /tmp/l; ln -s /tmp /away'")?;
    let dir = s.path("");
    s.must(&format!("docker cp box:/tmp/l {dir}/link"))?;
    is("a link stays one", s.must(&format!("readlink {dir}/link"))?, "t")?;
    s.must(&format!("docker cp -L box:/tmp/l {dir}/file"))?;
    is("-L follows it", s.read("file")?, "target\n")?;
    let file = s.file("new", "through\n")?;
    s.must(&format!("docker cp {file} box:/away/new"))?;
    s.must(&format!("docker cp box:/tmp/new {dir}/back"))?;
    is("through a link to a directory", s.read("back")?, "through\n")
}

fn escapes(s: &mut Scene) -> Done {
    // A link to the host's files is the container's own root, also when it is a chain, and ".." ends at the root.
    s.must("docker run --name box tiny sh -c 'ln -s /etc/passwd /p; ln -s ../../../../../../.. /up; ln -s /up/etc /chain'")?;
    let dir = s.path("");
    s.must(&format!("docker cp -L box:/p {dir}/p"))?;
    has("the container's own", &s.read("p")?, "guest:x:1000")?;
    s.must(&format!("docker cp box:/up/etc/passwd {dir}/q && docker cp box:/chain/passwd {dir}/r && docker cp box:../../etc/passwd {dir}/s"))?;
    for name in ["q", "r", "s"] {
        has("the container's own", &s.read(name)?, "guest:x:1000")?;
    }
    let file = s.file("mark", "mark\n")?;
    s.must(&format!("docker cp {file} box:/up/mark-of-cp"))?;
    is(
        "nothing on the host",
        std::path::Path::new("/mark-of-cp").exists(),
        false,
    )?;
    s.must(&format!("docker cp box:/mark-of-cp {dir}/t")).map(|_| ())
}

fn stopped(s: &mut Scene) -> Done {
    s.must("docker create --name box tiny cat /tmp/in")?;
    let file = s.file("in", "before the start\n")?;
    s.must(&format!("docker cp {file} box:/tmp/in"))?;
    s.answers("docker start -a box", 0, "before the start\n", "")?;
    let dir = s.path("");
    s.must(&format!("docker cp box:/tmp/in {dir}/out"))?;
    is("after the end", s.read("out")?, "before the start\n")
}

fn into_a_bind(s: &mut Scene) -> Done {
    let dir = s.path("shared");
    s.must(&format!("mkdir {dir}"))?;
    s.idle("box", &format!("-v {dir}:/there"))?;
    let file = s.file("file", "text\n")?;
    s.must(&format!("docker cp {file} box:/there/file"))?;
    is("on the host", s.read("shared/file")?, "text\n")?;
    s.must(&format!("docker cp box:/there/file {dir}/back"))?;
    is("back", s.read("shared/back")?, "text\n")
}

fn into_a_volume(s: &mut Scene) -> Done {
    s.idle("box", "-v vol:/there")?;
    let file = s.file("file", "text\n")?;
    s.must(&format!("docker cp {file} box:/there/file"))?;
    s.must("docker rm -f box")?;
    s.prints("docker run --rm -v vol:/x tiny cat /x/file", "text\n")?;
    s.must("docker volume rm vol").map(|_| ())
}

fn export_import(s: &mut Scene) -> Done {
    s.must("docker run --name box tiny sh -c 'echo kept >/file; rm -r /data'")?;
    let dir = s.path("");
    s.must(&format!("docker export -o {dir}/box.tar box"))?;
    let list = s.must(&format!("tar -tf {dir}/box.tar"))?;
    is("the file", list.lines().any(|line| line == "file"), true)?;
    is(
        "what was removed",
        list.lines().any(|line| line.starts_with("data")),
        false,
    )?;
    has("what the image brought", &list, "bin/busybox")?;
    let id = s.must(&format!(
        "docker import -c 'CMD [\"cat\", \"/file\"]' -m note {dir}/box.tar flat:one"
    ))?;
    has("id", &id, "sha256:")?;
    s.prints("docker run --rm flat:one", "kept\n")?;
    is(
        "layers",
        s.must("docker image inspect --format '{{len .RootFS.Layers}}' flat:one")?,
        1,
    )?;
    s.must("docker rmi flat:one")?;
    s.must("docker export box | docker import - piped:one")?;
    s.prints("docker run --rm piped:one cat /file", "kept\n")?;
    s.must("docker rmi piped:one").map(|_| ())
}

fn export_refusals(s: &mut Scene) -> Done {
    s.fails("docker export absent", 1, &["No such container: absent"])?;
    s.must("docker create --name box tiny true")?;
    s.fails(
        "docker export -o /absent/dir/file box",
        1,
        &["no such file", "invalid output path", "directory"],
    )
}
