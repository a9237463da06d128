//! The commands that speak with registries, against one that plays token servers and others on demand: logins and where they are
//! kept, what is sent to whom, searches.

#![allow(clippy::unwrap_used)]

#[path = "../../image/tests/faults/mod.rs"]
mod faults;

use faults::{Door, Fault, Registry, Tokens, base64};
use image::Digest;
use image::oci::media;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A user's home, with programs of his own.
struct Home {
    directory: PathBuf,
}

impl Home {
    fn new(name: &str) -> Home {
        let directory = std::env::temp_dir().join(format!("brig-registry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        for part in [".docker", "bin"] {
            std::fs::create_dir_all(directory.join(part)).unwrap();
        }
        Home { directory }
    }

    fn brig(&self, args: &[&str], stdin: &str) -> Output {
        let path = format!(
            "{}:{}",
            self.directory.join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_brig"))
            .args(args)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", path)
            .env("HOME", &self.directory)
            .env("BRIG_ROOT", self.directory.join("store"))
            .env("BRIG_LAYERS", "tree")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read it has ended perhaps.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a command that succeeds prints.
    fn says(&self, args: &[&str], stdin: &str) -> String {
        let output = self.brig(args, stdin);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str], stdin: &str) -> String {
        let output = self.brig(args, stdin);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn config(&self) -> Value {
        let text = std::fs::read_to_string(self.directory.join(".docker/config.json"));
        text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    fn write_config(&self, config: &Value) {
        std::fs::write(self.directory.join(".docker/config.json"), config.to_string()).unwrap();
    }

    /// A credential helper that keeps what it is told, and a note of each call.
    fn helper(&self, name: &str) {
        let script = r#"#!/bin/sh
            cd "$HOME"
            case $1 in
                store) cat >kept; echo store >>calls;;
                *) read -r key; echo "$1 $key" >>calls
                   case $1 in
                       get) [ -e kept ] && cat kept || { echo 'credentials not found in native keychain'; exit 1; };;
                       erase) rm kept;;
                   esac;;
            esac"#;
        let path = self.directory.join(format!("bin/docker-credential-{name}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_root() -> bool {
    let root = sys::cred::effective_uid() == 0;
    if !root {
        println!("skipped: an ordinary user's store is another test's matter");
    }
    root
}

/// An image of one small layer under this name.
fn put_image(registry: &Registry, repository: &str, tag: &str) -> Digest {
    let layer = vec![0; 1024];
    let config = json!({
        "architecture": image::platform::Platform::host().architecture,
        "os": "linux",
        "config": {"Cmd": [repository]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    })
    .to_string();
    let layer = registry.put_blob_into(repository, &layer);
    let config = registry.put_blob_into(repository, config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": media::OCI_LAYER, "digest": layer.digest, "size": layer.size}],
    });
    registry.put_manifest(
        repository,
        tag,
        media::OCI_MANIFEST,
        manifest.to_string().as_bytes(),
    )
}

/// What the token server was asked: by which method, for which scopes.
fn scopes(registry: &Registry) -> Vec<String> {
    let log = registry.log();
    let asked = log.iter().filter(|seen| seen.path.starts_with("/token"));
    asked
        .map(|seen| {
            let text = match seen.method.as_str() {
                "POST" => String::from_utf8_lossy(&seen.body).into_owned(),
                _ => seen.path.split_once('?').unwrap_or_default().1.to_owned(),
            };
            let scopes: Vec<String> = text
                .split('&')
                .filter_map(|pair| pair.strip_prefix("scope="))
                .map(|scope| {
                    scope
                        .replace("%3A", ":")
                        .replace("%2F", "/")
                        .replace("%2C", ",")
                        .replace("%20", " ")
                })
                .collect();
            format!("{} {}", seen.method, scopes.join(" "))
        })
        .collect()
}

fn tokens(refresh: Option<&str>) -> Door {
    Door::Token(Tokens {
        login: Some(("me".to_owned(), "a pass:word".to_owned())),
        refresh: refresh.map(str::to_owned),
        ..Tokens::for_everybody(100)
    })
}

#[test]
fn a_login_at_a_token_server_is_kept_and_used() {
    let (home, registry) = (Home::new("token"), Registry::start());
    put_image(&registry, "team/app", "1");
    registry.door(tokens(None));
    let host = registry.address();
    let reference = format!("{host}/team/app:1");

    let login = home.brig(&["login", "-u", "me", "--password-stdin", host], "a pass:word\n");
    assert!(login.status.success(), "{login:?}");
    assert_eq!(String::from_utf8(login.stdout).unwrap(), "Login Succeeded\n");
    assert!(
        String::from_utf8(login.stderr)
            .unwrap()
            .contains("stored unencrypted")
    );
    assert_eq!(
        home.config(),
        json!({"auths": {host: {"auth": base64(b"me:a pass:word")}}})
    );
    if is_root() {
        registry.forget_log();
        assert_eq!(
            home.says(&["pull", "-q", &reference], ""),
            format!("{reference}\n")
        );
        assert_eq!(scopes(&registry), ["GET repository:team/app:pull"]);
    }

    assert_eq!(
        home.says(&["logout", host], ""),
        format!("Removing login credentials for {host}\n")
    );
    assert_eq!(home.config(), json!({"auths": {}}));
    let refusal = home.fails(&["pull", "-q", &reference], "");
    if is_root() {
        assert!(
            refusal.contains("pull access denied for") && refusal.contains("'docker login'"),
            "{refusal}"
        );
    }
}

#[test]
fn a_wrong_password_is_not_kept() {
    let (home, registry) = (Home::new("wrong"), Registry::start());
    registry.door(tokens(Some("refresh-1")));
    let refusal = home.fails(
        &["login", "-u", "me", "--password-stdin", registry.address()],
        "another",
    );
    assert!(refusal.contains("incorrect username or password"), "{refusal}");
    assert!(!refusal.contains("another"), "{refusal}");
    assert_eq!(home.config(), Value::Null);
}

/// A token server may give something to keep in place of the password.
#[test]
fn an_identity_token_takes_the_passwords_place() {
    let (home, registry) = (Home::new("identity"), Registry::start());
    put_image(&registry, "team/app", "1");
    registry.door(tokens(Some("refresh-1")));
    let host = registry.address();
    home.says(&["login", "-u", "me", "--password-stdin", host], "a pass:word");
    let entry = home.config()["auths"][host].clone();
    assert_eq!(entry["identitytoken"], "refresh-1");
    assert!(!home.config().to_string().contains(&base64(b"me:a pass:word")));
    if is_root() {
        registry.forget_log();
        home.says(&["pull", "-q", &format!("{host}/team/app:1")], "");
        assert_eq!(scopes(&registry), ["POST repository:team/app:pull"]);
        // The password is known to nobody any more.
        let log = registry.log();
        assert!(!log.iter().any(|seen| {
            seen.header("authorization")
                .is_some_and(|a| a.starts_with("Basic "))
        }));
    }
}

#[test]
fn a_helper_keeps_what_config_json_gives_it() {
    let (home, registry) = (Home::new("helper"), Registry::start());
    put_image(&registry, "team/app", "1");
    registry.door(tokens(None));
    let host = registry.address();
    home.helper("mine");
    home.write_config(&json!({"credHelpers": {host: "mine"}}));
    let login = home.brig(&["login", "-u", "me", "--password-stdin", host], "a pass:word");
    assert!(login.status.success(), "{login:?}");
    assert_eq!(String::from_utf8(login.stderr).unwrap(), "");
    let kept: Value = serde_json::from_slice(&std::fs::read(home.directory.join("kept")).unwrap()).unwrap();
    assert_eq!(
        kept,
        json!({"ServerURL": host, "Username": "me", "Secret": "a pass:word"})
    );
    assert_eq!(
        home.config(),
        json!({"credHelpers": {host: "mine"}, "auths": {host: {}}})
    );
    if is_root() {
        home.says(&["pull", "-q", &format!("{host}/team/app:1")], "");
        assert!(home.calls().contains(&format!("get {host}")));

        // One with `<token>` for a name is an identity token.
        registry.door(tokens(Some("refresh-2")));
        registry.forget_log();
        let identity = json!({"ServerURL": host, "Username": "<token>", "Secret": "refresh-2"});
        std::fs::write(home.directory.join("kept"), identity.to_string()).unwrap();
        home.says(&["pull", "-q", &format!("{host}/team/app:1")], "");
        assert_eq!(scopes(&registry), ["POST repository:team/app:pull"]);
    }
    home.says(&["logout", host], "");
    assert_eq!(home.calls().last().unwrap(), &format!("erase {host}"));
    assert!(!home.directory.join("kept").exists());
    assert_eq!(home.config(), json!({"credHelpers": {host: "mine"}, "auths": {}}));
}

#[test]
fn a_push_asks_for_what_it_needs() {
    if !is_root() {
        return;
    }
    let (home, registry) = (Home::new("push"), Registry::start());
    registry.separate_repositories();
    let digest = put_image(&registry, "team/app", "1");
    let host = registry.address();
    home.says(&["pull", "-q", &format!("{host}/team/app:1")], "");
    registry.door(tokens(None));
    home.says(&["login", "-u", "me", "--password-stdin", host], "a pass:word");
    let to = format!("{host}/team/copy:2");
    home.says(&["tag", &format!("{host}/team/app:1"), &to], "");
    registry.forget_log();
    let said = home.says(&["push", &to], "");
    assert!(said.contains(": Mounted from team/app\n"), "{said}");
    assert!(said.contains(&format!("\n2: digest: {digest} size: ")), "{said}");
    // To mount a blob takes a look into where it comes from.
    let asked = scopes(&registry);
    for scope in ["repository:team/copy:pull,push", "repository:team/app:pull"] {
        assert!(
            asked.iter().any(|line| line.contains(scope)),
            "{scope} is not in {asked:?}"
        );
    }
    assert!(
        !asked.iter().any(|line| line.contains("app:pull,push")),
        "{asked:?}"
    );
    assert!(registry.manifest("team/copy", "2").is_some());
}

/// As podman keeps them: who may read one team's images is nobody at another's.
#[test]
fn parts_of_a_registry_have_their_own_logins() {
    if !is_root() {
        return;
    }
    let (home, registry) = (Home::new("parts"), Registry::start());
    for repository in ["one/app", "two/app"] {
        put_image(&registry, repository, "1");
    }
    registry.door(Door::Basic("me".to_owned(), "secret".to_owned()));
    let host = registry.address();
    home.write_config(&json!({"auths": {
        format!("{host}/one"): {"auth": base64(b"me:secret")},
        host: {"auth": base64(b"other:x")},
    }}));
    home.says(&["pull", "-q", &format!("{host}/one/app:1")], "");
    let refusal = home.fails(&["pull", "-q", &format!("{host}/two/app:1")], "");
    assert!(refusal.contains("denied"), "{refusal}");
}

#[test]
fn headers_of_the_user_stay_at_home() {
    if !is_root() {
        return;
    }
    let (home, registry, elsewhere) = (Home::new("headers"), Registry::start(), Registry::start());
    put_image(&registry, "team/app", "1");
    put_image(&elsewhere, "team/app", "1");
    registry.door(tokens(None));
    let (host, other) = (registry.address().to_owned(), elsewhere.address().to_owned());
    registry.script(move |seen| match seen.is_blob() {
        true => {
            let place = format!("http://{other}{}", seen.path);
            Fault::Answer(307, vec![("location", place)], Vec::new())
        }
        false => Fault::None,
    });
    home.write_config(&json!({
        "auths": {&host: {"auth": base64(b"me:a pass:word")}},
        "HttpHeaders": {"X-Meta-Who": "somebody", "Authorization": "Basic bWluZQ==", "user-agent": "mine", "Host": "else.where"},
    }));
    home.says(&["pull", "-q", &format!("{host}/team/app:1")], "");
    let log = registry.log();
    let (of_tokens, of_registry): (Vec<_>, Vec<_>) =
        log.iter().partition(|seen| seen.path.starts_with("/token"));
    // The very first one asks whether it speaks https at all.
    let asked = of_registry.iter().filter(|seen| seen.path != "/v2/");
    assert!(asked.clone().count() >= 3);
    for seen in asked {
        assert_eq!(seen.header("x-meta-who"), Some("somebody"), "{}", seen.path);
    }
    for seen in log.iter() {
        assert_ne!(
            seen.header("authorization"),
            Some("Basic bWluZQ=="),
            "{}",
            seen.path
        );
        assert!(
            seen.header("user-agent").unwrap().starts_with("brig/"),
            "{}",
            seen.path
        );
        assert_eq!(seen.header("host"), Some(host.as_str()), "{}", seen.path);
    }
    assert!(!of_tokens.is_empty());
    let away = elsewhere.log();
    assert!(away.iter().any(faults::Seen::is_blob));
    for seen in away {
        assert_eq!(seen.header("x-meta-who"), None, "{}", seen.path);
        assert_eq!(seen.header("authorization"), None, "{}", seen.path);
    }

    home.write_config(&json!({"HttpHeaders": {"Bad Name": "x"}}));
    let complaint = home.fails(&["pull", "-q", &format!("{host}/team/app:1")], "");
    assert!(
        complaint.contains("\"bad name\" of HttpHeaders is no header"),
        "{complaint}"
    );
}

#[test]
fn a_search_is_a_table_of_what_was_found() {
    let (home, registry) = (Home::new("search"), Registry::start());
    let host = registry.address();
    let of = |words: &[&str]| {
        let mut args = vec!["search"];
        args.extend(words);
        home.says(&args, "")
    };
    let term = format!("{host}/nginx");
    assert_eq!(
        of(&[&term]),
        "NAME      DESCRIPTION   STARS     OFFICIAL\n\
         nginx-0                 3         [OK]\n\
         nginx-1                 2         \n\
         nginx-2                 1         \n"
    );
    let asked = registry.log().pop().unwrap().path;
    assert_eq!(asked, "/v1/search?q=nginx&n=25");
    assert_eq!(
        of(&["--limit", "1", "--format", "{{.Name}} {{.StarCount}}", &term]),
        "nginx-0 3\n"
    );
    assert_eq!(registry.log().pop().unwrap().path, "/v1/search?q=nginx&n=1");
    assert_eq!(
        of(&["-f", "stars=2", "--format", "{{.Name}}", &term]),
        "nginx-0\nnginx-1\n"
    );
    assert_eq!(
        of(&["-f", "is-official=true", "--format", "{{.Name}}", &term]),
        "nginx-0\n"
    );
    let long = "a description that is much longer than a table has room for it";
    let found =
        json!({"results": [{"name": "x", "description": long, "star_count": 0, "is_official": false}]});
    let body = found.to_string().into_bytes();
    registry.script(move |_| Fault::Body(body.clone()));
    assert!(of(&[&term]).contains("a description that is much longer than a tab…"));
    assert!(of(&["--no-trunc", &term]).contains(long));
    let refusal = home.fails(&["search", "--limit", "101", &term], "");
    assert_eq!(refusal, "limit 101 is outside the range of [1, 100]\n");
    registry.script(|seen| match seen.path.starts_with("/v1/") {
        true => Fault::Answer(404, Vec::new(), Vec::new()),
        false => Fault::None,
    });
    let refusal = home.fails(&["search", &term], "");
    assert!(refusal.contains("this registry has no search"), "{refusal}");
}
