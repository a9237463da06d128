#![allow(clippy::unwrap_used)]
//! Contexts of every kind. Repositories need git, and its processes a pid namespace.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use build::remote::Location;
use image::Kind;
use image::credentials::Credentials;
use image::registry::Settings;

use super::*;
use crate::files::{Placement, Selection, put};
use crate::request::File as Dockerfile;

struct Scene {
    dir: PathBuf,
    client: Client,
    environment: BTreeMap<String, String>,
    cancel: Cancel,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(format!("builder-context-{name}-{}", std::process::id()));
        for part in ["context", "scratch", "root"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let cancel = Cancel::new();
        let credentials = Credentials::default();
        Scene {
            client: Client::new(Settings::bare(), credentials, cancel.clone(), Arc::new(|_| ())).unwrap(),
            dir,
            environment: BTreeMap::new(),
            cancel,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sh(&self, script: &str) -> String {
        let done = Command::new("sh")
            .args(["-ec", script])
            .current_dir(&self.dir)
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", "/nonexistent")])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{script}: {words}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn open(&self, context: Origin, dockerfile: Dockerfile, stdin: &[u8]) -> Result<(Context, Source)> {
        let request = Request {
            context,
            dockerfile,
            ..Request::default()
        };
        self.open_request(&request, stdin)
    }

    fn open_request(&self, request: &Request, mut stdin: &[u8]) -> Result<(Context, Source)> {
        let secrets = |name: &str| Ok((name == "HTTP_AUTH_TOKEN_127.0.0.1").then(|| b"secret".to_vec()));
        let scratch = self.at("scratch");
        let memories = self.at("memories");
        let means = Means {
            client: &self.client,
            scratch: &scratch,
            memories: &memories,
            environment: &self.environment,
            secrets: &secrets,
            cancel: &self.cancel,
        };
        open(request, &means, &mut stdin)
    }

    fn here(&self) -> Origin {
        Origin::Directory(self.at("context"))
    }

    /// What `COPY . /` brings, sorted.
    fn files(&self, context: &Context) -> Vec<String> {
        fs::remove_dir_all(self.at("root")).unwrap();
        fs::create_dir(self.at("root")).unwrap();
        let root = sys::fs::open(&self.at("root"), libc::O_RDONLY, 0).unwrap();
        let tree = context.tree().unwrap();
        let sources = [".".to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = tree.select(&selection, &self.cancel).unwrap();
        let placement = Placement {
            destination: "/",
            owner: None,
            mode: None,
            unpack: false,
            follow: true,
        };
        put(&tree, &selected, root.as_fd(), &placement, &self.cancel).unwrap();
        let list = self.sh("cd root; find . -mindepth 1 -not -path './.git/*' | sort");
        list.lines().map(|l| l[2..].to_owned()).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn error(result: Result<(Context, Source)>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_dockerfile_is_found() {
    let scene = Scene::new("lookup");
    let open = |file: Dockerfile, stdin: &str| scene.open(scene.here(), file, stdin.as_bytes());
    let missing = "failed to read dockerfile: open Dockerfile: no such file or directory";
    assert_eq!(error(open(Dockerfile::Usual, "")), missing);
    scene.write("context/dockerfile", "FROM lower\n");
    assert_eq!(open(Dockerfile::Usual, "").unwrap().1.text(), "FROM lower\n");
    scene.write("context/Dockerfile", "FROM upper\n");
    assert_eq!(open(Dockerfile::Usual, "").unwrap().1.text(), "FROM upper\n");
    scene.write("elsewhere/My.file", "FROM elsewhere\n");
    let path = |path: &str| Dockerfile::Path(scene.at(path));
    let (_, source) = open(path("elsewhere/My.file"), "").unwrap();
    assert_eq!((source.name(), source.text()), ("My.file", "FROM elsewhere\n"));
    assert_eq!(
        open(Dockerfile::Stdin, "FROM stdin").unwrap().1.text(),
        "FROM stdin"
    );
    assert_eq!(
        error(open(path("elsewhere/no"), "")),
        "failed to read dockerfile: open no: no such file or directory"
    );
    let gone = Origin::Directory("/no/such".into());
    assert_eq!(
        error(scene.open(gone, Dockerfile::Usual, b"")),
        "unable to prepare context: path \"/no/such\" not found"
    );
    assert_eq!(
        error(scene.open(Origin::Stdin, Dockerfile::Stdin, b"")),
        "invalid argument: can't use stdin for both build context and dockerfile"
    );
    // A FIFO that nobody writes to does not make us wait.
    fs::remove_file(scene.at("context/Dockerfile")).unwrap();
    scene.sh("mkfifo context/Dockerfile");
    assert!(error(open(Dockerfile::Usual, "")).contains("not a regular file"));
    assert!(error(open(path("context/Dockerfile"), "")).contains("not a regular file"));
}

#[test]
fn ignore_files_stand_beside() {
    let scene = Scene::new("ignore");
    for name in ["Dockerfile", "a", "b", "c"] {
        scene.write(&format!("context/{name}"), name);
    }
    scene.write("context/.dockerignore", "a\n.dockerignore\n*ignore\n");
    scene.write("context/Dockerfile.dockerignore", "b\n*ignore");
    let (context, _) = scene.open(scene.here(), Dockerfile::Usual, b"").unwrap();
    assert_eq!(scene.files(&context), ["Dockerfile", "a", "c"]);
    let (context, _) = scene.open(scene.here(), Dockerfile::Stdin, b"FROM x").unwrap();
    assert_eq!(scene.files(&context), ["Dockerfile", "b", "c"]);
    assert!(context.ignore().is_some_and(|ignore| ignore.ignores("a")));
    scene.write("context/.dockerignore", "ok\n[a\n");
    let e = error(scene.open(scene.here(), Dockerfile::Stdin, b"FROM x"));
    assert!(
        e.starts_with(".dockerignore:2: syntax error in pattern: [a"),
        "{e}"
    );
}

#[test]
fn streams_are_archives_or_dockerfiles() {
    let scene = Scene::new("stdin");
    for name in ["Dockerfile", "sub/Other", "sub/x", ".dockerignore"] {
        scene.write(&format!("context/{name}"), name);
    }
    scene.write("context/.dockerignore", "sub/x\n");
    let read = |compress: &str| {
        scene.sh(&format!("tar -C context -cf - . | {compress} > archive"));
        fs::read(scene.at("archive")).unwrap()
    };
    for compress in ["cat", "gzip", "bzip2", "xz", "zstd"] {
        let archive = read(compress);
        let (context, source) = scene.open(Origin::Stdin, Dockerfile::Usual, &archive).unwrap();
        assert_eq!(source.text(), "Dockerfile", "{compress}");
        assert_eq!(
            scene.files(&context),
            [".dockerignore", "Dockerfile", "sub", "sub/Other"]
        );
        let file = Dockerfile::Path("sub/Other".into());
        assert_eq!(
            scene.open(Origin::Stdin, file, &archive).unwrap().1.text(),
            "sub/Other"
        );
    }
    let (context, source) = scene.open(Origin::Stdin, Dockerfile::Usual, b"FROM x\n").unwrap();
    assert_eq!(
        (source.text(), context.found.clone()),
        ("FROM x\n", Found::Nothing)
    );
    assert_eq!(scene.files(&context), [""; 0]);
    let file = Dockerfile::Path("x".into());
    assert_eq!(
        error(scene.open(Origin::Stdin, file, b"FROM x\n")),
        "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"
    );
    assert!(error(scene.open(Origin::Stdin, Dockerfile::Usual, b"")).contains("STDIN"));
    // What an archive calls its Dockerfile may be anything.
    fs::remove_file(scene.at("context/Dockerfile")).unwrap();
    symlink(
        "../../../../../../../../../../etc/passwd",
        scene.at("context/Dockerfile"),
    )
    .unwrap();
    let archive = read("cat");
    assert!(
        error(scene.open(Origin::Stdin, Dockerfile::Usual, &archive))
            .starts_with("failed to read dockerfile")
    );
}

fn has_git(name: &str) -> bool {
    let found = Command::new("git").arg("--version").output().is_ok() && sys::process::effective_ids().0 == 0;
    if !found {
        println!("skip {name}: needs git and root");
    }
    found
}

const COMMIT: &str = "git -c user.name=n -c user.email=e@x commit -qm";

#[test]
fn repositories() {
    if !has_git("repositories") {
        return;
    }
    let scene = Scene::new("git");
    scene.sh(&format!(
        "git init -q -b trunk repo; cd repo; echo FROM one > Dockerfile; mkdir -p sub/d; echo FROM sub > sub/Dockerfile
         echo x > sub/d/x; ln -s ../../../../../../../etc sub/out; git add .; {COMMIT} one; git tag v1
         echo FROM two > Dockerfile; echo run > run.sh; chmod 755 run.sh; git add .; {COMMIT} two
         git -c user.name=n -c user.email=e@x tag -a v2 -m two; git checkout -q -b other; echo FROM other > Dockerfile; git add .
         {COMMIT} other; git checkout -q trunk"
    ));
    let (one, two) = (
        scene.sh("git -C repo rev-parse v1"),
        scene.sh("git -C repo rev-parse v2^{commit}"),
    );
    let base = format!("file://{}", scene.at("repo").display());
    let open = |end: &str| {
        scene.open(
            Origin::Directory(format!("{base}{end}").into()),
            Dockerfile::Usual,
            b"",
        )
    };
    for (end, text, commit) in [
        ("", "FROM two\n", &two),
        ("#v1", "FROM one\n", &one),
        ("#v2", "FROM two\n", &two),
        ("#refs/tags/v1", "FROM one\n", &one),
        ("#v1:sub", "FROM sub\n", &one),
        (&format!("#{one}"), "FROM one\n", &one),
    ] {
        let (context, source) = open(end).unwrap_or_else(|e| panic!("{end}: {e}"));
        assert_eq!(source.text(), text, "{end}");
        let Found::Repository { commit: found, .. } = &context.found else {
            panic!("{end}")
        };
        assert_eq!(found, commit, "{end}");
    }
    assert_eq!(open("#other").unwrap().1.text(), "FROM other\n");
    let (context, _) = open("").unwrap();
    assert_eq!(
        scene.files(&context),
        [
            "Dockerfile",
            "run.sh",
            "sub",
            "sub/Dockerfile",
            "sub/d",
            "sub/d/x",
            "sub/out"
        ]
    );
    let mode = |path: &str| fs::metadata(scene.at(path)).unwrap().mode() & 0o777;
    assert_eq!(
        (mode("root/run.sh"), mode("root/Dockerfile"), mode("root/sub")),
        (0o755, 0o644, 0o755)
    );
    for end in ["#nothing", "#v1:no", "#v1:sub/out"] {
        let e = error(open(end));
        assert!(e.starts_with(&format!("failed to fetch {base}: ")), "{e}");
    }
    // The query of an address, and what a Dockerfile may not ask for.
    let mut git = git::of_this_machine(&base).unwrap();
    git.checksum = Some(one[..10].to_owned());
    let at = |git: &Git| scene.open(Origin::Remote(Location::Git(git.clone())), Dockerfile::Usual, b"");
    let e = error(at(&git));
    assert!(
        e.contains(&format!("expected checksum to match {}, got {two}", &one[..10])),
        "{e}"
    );
    git.checksum = Some(two.clone());
    git.keep_git_dir = Some(true);
    git.commit_times = true;
    let (context, _) = at(&git).unwrap();
    assert!(scene.files(&context).contains(&".git".to_owned()));
    assert_eq!(scene.sh("git -c safe.directory='*' -C root rev-parse HEAD"), two);
    let time = scene.sh("git -C repo show -s --format=%ct v2^{commit}");
    assert_eq!(
        fs::metadata(scene.at("root/Dockerfile"))
            .unwrap()
            .mtime()
            .to_string(),
        time
    );
    let place = scene.at("scratch/add");
    let request = git::Request {
        git: &git,
        keep_git_dir: false,
        checksum: None,
        may_be_local: false,
        environment: &scene.environment,
        secrets: &|_| Ok(None),
        place: &place,
    };
    let e = git::fetch(&request, &scene.cancel).unwrap_err().to_string();
    assert_eq!(e, "a repository of this machine can only be the context");
}

#[test]
fn repositories_run_nothing() {
    if !has_git("repositories_run_nothing") {
        return;
    }
    let scene = Scene::new("git-hostile");
    let mark = scene.at("mark").display().to_string();
    scene.sh(&format!(
        "git init -q -b trunk inner; cd inner; echo x > f; git add .; {COMMIT} in; cd ..
         git init -q -b trunk repo; cd repo; echo FROM x > Dockerfile; printf '*.x filter=evil\\n' > .gitattributes; echo 1 > a.x
         printf '[filter \"evil\"]\\n smudge = touch {mark}\\n' > .gitconfig
         git -c protocol.file.allow=always submodule --quiet add file://$PWD/../inner mod; git add .; {COMMIT} one
         for h in post-checkout post-merge reference-transaction post-index-change; do
           printf '#!/bin/sh\\ntouch {mark}\\n' > .git/hooks/$h; chmod 755 .git/hooks/$h; done
         git config filter.evil.smudge 'touch {mark}'; git config core.fsmonitor 'touch {mark}'; git config core.sshCommand 'touch {mark}'"
    ));
    let base = format!("file://{}", scene.at("repo").display());
    let at = |git: &Git| scene.open(Origin::Remote(Location::Git(git.clone())), Dockerfile::Usual, b"");
    let mut git = git::of_this_machine(&base).unwrap();
    // A submodule of the file system of whoever builds is nothing that a repository may have.
    let e = error(at(&git));
    assert!(e.contains("transport 'file' not allowed"), "{e}");
    git.submodules = Some(false);
    let (context, _) = at(&git).unwrap();
    assert!(scene.files(&context).contains(&"a.x".to_owned()));
    git.remote = format!("ext::touch {mark}");
    assert!(error(at(&git)).contains("transport 'ext' not allowed"));
    git.remote = format!("--upload-pack=touch {mark}");
    assert!(at(&git).is_err());
    git.remote = base;
    git.reference = Some(format!("--upload-pack=touch {mark}"));
    assert!(at(&git).is_err());
    assert!(!Path::new(&mark).exists());
}

/// Answers each request with what stands for its path; tells what was asked with which authorization.
fn serve(
    answers: Vec<(&'static str, String, Vec<u8>)>,
) -> (u16, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let answer = |stream: TcpStream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let path = lines
                .next()
                .unwrap()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .to_owned();
            let mut authorization = String::new();
            for line in lines
                .map_while(std::result::Result::ok)
                .take_while(|l| !l.is_empty())
            {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: ") {
                    authorization = value.to_owned();
                }
            }
            let _ = tell.send((path.clone(), authorization));
            let found = answers.iter().find(|(of, _, _)| *of == path);
            let (head, body) = found.map_or(
                ("HTTP/1.1 404 Not Found\r\n".to_owned(), Vec::new()),
                |(_, h, b)| (h.clone(), b.clone()),
            );
            let mut stream = stream;
            let _ = write!(
                stream,
                "{head}Connection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        };
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            answer(stream);
        }
    });
    (port, asked)
}

#[test]
fn downloads() {
    let scene = Scene::new("http");
    scene.write("context/Dockerfile", "FROM archive\n");
    scene.sh("tar -C context -czf archive.tgz .");
    let archive = fs::read(scene.at("archive.tgz")).unwrap();
    let ok = "HTTP/1.1 200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned();
    let (other, asked_there) = serve(vec![("/b", ok.clone(), b"body".to_vec())]);
    let away = format!("HTTP/1.1 302 Found\r\nLocation: http://localhost:{other}/b\r\n");
    let (port, asked) = serve(vec![
        ("/x.tgz", ok.clone(), archive),
        ("/Dockerfile", ok, b"FROM text\n".to_vec()),
        ("/a", away, Vec::new()),
    ]);
    let at = |path: &str| Origin::Remote(Location::Url(format!("http://127.0.0.1:{port}{path}")));
    let (context, source) = scene.open(at("/x.tgz"), Dockerfile::Usual, b"").unwrap();
    assert_eq!(source.text(), "FROM archive\n");
    assert_eq!(scene.files(&context), ["Dockerfile"]);
    let (_, source) = scene.open(at("/Dockerfile"), Dockerfile::Usual, b"").unwrap();
    assert_eq!(source.text(), "FROM text\n");
    let file = Dockerfile::Remote(format!("http://127.0.0.1:{port}/Dockerfile"));
    assert_eq!(
        scene.open(scene.here(), file, b"").unwrap().1.text(),
        "FROM text\n"
    );
    let e = scene
        .open(at("/no"), Dockerfile::Usual, b"")
        .map(|_| ())
        .unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound, "{e}");
    while let Ok((_, authorization)) = asked.try_recv() {
        assert_eq!(authorization, "bearer secret");
    }
    // ADD: the name, the mode and the time; what is secret stays with its host.
    let place = scene.at("scratch/add");
    let secrets = |name: &str| Ok((name == "HTTP_AUTH_TOKEN_127.0.0.1").then(|| b"secret".to_vec()));
    let address = format!("http://127.0.0.1:{port}/a");
    let mut what = Download {
        address: &address,
        checksum: None,
        secrets: &secrets,
        place: &place,
    };
    let fetched = download(&scene.client, &what).unwrap();
    assert_eq!(
        asked.recv().unwrap(),
        ("/a".to_owned(), "bearer secret".to_owned())
    );
    assert_eq!(asked_there.recv().unwrap(), ("/b".to_owned(), String::new()));
    assert_eq!(
        (fetched.source.as_str(), fetched.digest.clone()),
        ("a", Digest::of(b"body"))
    );
    let meta = fs::metadata(place.join("a")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o600, 784_111_777));
    let wrong = Digest::of(b"other").to_string();
    what.checksum = Some(&wrong);
    let again = scene.at("scratch/again");
    what.place = &again;
    let e = download(&scene.client, &what)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert_eq!(e, format!("digest mismatch {}: {wrong}", Digest::of(b"body")));
}
