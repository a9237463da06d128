//! The images that containers are made of: one base, one layer more for each program, configurations as official images have them.
//! Made once and kept as one archive of the form that `docker save` writes.
//!
//! May not: keep half of anything, or take a program from anywhere but the distribution's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::{base, command};
use serde_json::{Value, json};

/// What makes a layer with packages in it.
const SCRIPT: &str = include_str!("images.sh");

/// What makes the layer without a distribution below it: busybox, and a link for each of its programs.
const TINY: &str = r#"
base=$1 work=$2 archive=$3
rm -rf "$work"; mkdir -p "$work/bin" "$work/etc" "$work/tmp" "$work/root" "$work/var" "$work/data"
chmod 1777 "$work/tmp"
busybox=$base/usr/bin/busybox; [ -e "$busybox" ] || busybox=$base/bin/busybox
cp "$busybox" "$work/bin/busybox"
for name in $("$busybox" --list); do
    [ "$name" = busybox ] || ln -s busybox "$work/bin/$name"
done
printf 'root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n' >"$work/etc/passwd"
printf 'root:x:0:\nguest:x:1000:\nstaff:x:50:guest\n' >"$work/etc/group"
printf 'from the image\n' >"$work/data/seed"
chown -R 1000:50 "$work/data"
printf '#!/bin/sh\necho "< $* >"\necho "  \\   ^__^"\n' >"$work/bin/cowsay"
printf '#!/bin/nosuchinterpreter\n' >"$work/bin/lost"
printf 'not a program\n' >"$work/bin/plain"
printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\363\0\1\0\0\0' >"$work/bin/foreign"
printf '#!/bin/sh\necho got $# arguments: "$@"\n' >"$work/bin/tell"
chmod 755 "$work/bin/cowsay" "$work/bin/lost" "$work/bin/foreign" "$work/bin/tell"
tar --sort=name --numeric-owner --mtime=@1700000000 -C "$work" -cf "$archive" .
rm -rf "$work"
"#;

/// The layers with packages, the dearest first: two are made at a time.
const PACKAGES: [&str; 6] = ["node", "mysql", "httpd", "python", "nginx", "redis"];

/// What no path of a package needs: one for all images.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PATIENCE: Duration = Duration::from_secs(600);

/// An image: its names, its layers from the lowest, and what its configuration says.
struct Recipe {
    names: &'static [&'static str],
    layers: &'static [&'static str],
    config: Value,
}

fn recipes() -> Vec<Recipe> {
    let image = |names, layers, config| Recipe {
        names,
        layers,
        config,
    };
    vec![
        image(
            &["ubuntu:latest", "ubuntu:14.04", "debian:bookworm"],
            &["base"],
            json!({"Env": [PATH], "Cmd": ["/bin/bash"]}),
        ),
        image(
            &["nginx:latest", "nginx:1.18"],
            &["base", "nginx"],
            json!({
                "Env": [PATH, "NGINX_VERSION=1.18.0", "PKG_RELEASE=1~bookworm"],
                "Entrypoint": ["/docker-entrypoint.sh"],
                "Cmd": ["nginx", "-g", "daemon off;"],
                "ExposedPorts": {"80/tcp": {}},
                "Labels": {"maintainer": "nobody <nobody@example.org>"},
                "StopSignal": "SIGQUIT",
            }),
        ),
        image(
            &["redis:latest"],
            &["base", "redis"],
            json!({
                "Env": [PATH, "REDIS_VERSION=7.0.15"],
                "Entrypoint": ["docker-entrypoint.sh"],
                "Cmd": ["redis-server"],
                "ExposedPorts": {"6379/tcp": {}},
                "Volumes": {"/data": {}},
                "WorkingDir": "/data",
            }),
        ),
        image(
            &["mysql:latest"],
            &["base", "mysql"],
            json!({
                "Env": [PATH, "MYSQL_MAJOR=8.4"],
                "Entrypoint": ["docker-entrypoint.sh"],
                "Cmd": ["mysqld"],
                "ExposedPorts": {"3306/tcp": {}, "33060/tcp": {}},
                "Volumes": {"/var/lib/mysql": {}},
            }),
        ),
        image(
            &["python:latest"],
            &["base", "python"],
            json!({"Env": [PATH, "LANG=C.UTF-8", "PYTHON_VERSION=3.11.2"], "Cmd": ["python3"]}),
        ),
        image(
            &["node:latest"],
            &["base", "node"],
            json!({
                "Env": [PATH, "NODE_VERSION=18.20.4"],
                "Entrypoint": ["docker-entrypoint.sh"],
                "Cmd": ["node"],
            }),
        ),
        image(
            &["httpd:latest"],
            &["base", "httpd"],
            json!({
                "Env": [PATH, "HTTPD_PREFIX=/usr/local/apache2"],
                "Cmd": ["httpd-foreground"],
                "ExposedPorts": {"80/tcp": {}},
                "WorkingDir": "/usr/local/apache2",
                "StopSignal": "SIGWINCH",
            }),
        ),
        image(
            &["tiny:latest", "busybox:latest", "docker/whalesay:latest"],
            &["tiny"],
            json!({"Env": [PATH], "Cmd": ["sh"]}),
        ),
        image(
            &["full:latest"],
            &["tiny"],
            json!({
                "Env": [PATH, "COLOUR=blue", "SHAPE=round"],
                "Entrypoint": ["/bin/tell"],
                "Cmd": ["default", "words"],
                "User": "guest",
                "WorkingDir": "/data",
                "Labels": {"flavour": "sweet", "made.by": "judge"},
                "StopSignal": "SIGINT",
                "ExposedPorts": {"7/tcp": {}, "9/udp": {}},
            }),
        ),
        image(
            &["keeper:latest"],
            &["tiny"],
            json!({"Env": [PATH], "Cmd": ["sh"], "Volumes": {"/data": {}}}),
        ),
        image(
            &["healthy:latest"],
            &["tiny"],
            json!({
                "Env": [PATH],
                "Cmd": ["sleep", "600"],
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "echo looked; test ! -e /tmp/ill"],
                    "Interval": 200_000_000,
                    "Timeout": 5_000_000_000_u64,
                    "Retries": 2,
                },
            }),
        ),
        image(&["nothing:latest"], &["tiny"], json!({"Env": [PATH]})),
    ]
}

/// The archive of all images, made if the cache does not have it.
pub fn images(cache: &Path) -> Result<PathBuf, String> {
    let base = base::image(&cache.join("engines"))?;
    let dir = cache.join("containers");
    let text = |e: std::io::Error| format!("{}: {e}", dir.display());
    std::fs::create_dir_all(&dir).map_err(text)?;
    let dir = dir.canonicalize().map_err(text)?;
    let base_name = base
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let layers_hash = hash(&[&base_name, SCRIPT, TINY]);
    let configs: Vec<String> = recipes()
        .iter()
        .map(|r| r.names.concat() + &r.config.to_string())
        .collect();
    let archive = dir.join(format!(
        "images-{:016x}.tar",
        hash(&[&configs.concat(), &layers_hash.to_string()])
    ));
    if archive.exists() {
        return Ok(archive);
    }
    let layers = dir.join(format!("layers-{layers_hash:016x}"));
    if !layers.exists() {
        println!("making the layers of nginx, redis, mysql, python, node and httpd (once)");
        let part = dir.join(format!("part-{}", std::process::id()));
        let made = make_layers(&base, &part).and_then(|()| {
            // Somebody else may have been first.
            std::fs::rename(&part, &layers).or_else(|e| if layers.exists() { Ok(()) } else { Err(text(e)) })
        });
        remove(&part);
        made?;
    }
    let part = dir.join(format!("archive-{}", std::process::id()));
    let made = write_archive(&base, &layers, &part)
        .and_then(|tar| std::fs::rename(tar, &archive).map_err(|e| format!("{}: {e}", archive.display())));
    remove(&part);
    made.map(|()| archive)
}

/// The layers as archives, in a directory.
fn make_layers(base: &Path, part: &Path) -> Result<(), String> {
    let tree = part.join("base");
    std::fs::create_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    let script = part.join("images.sh");
    std::fs::write(&script, SCRIPT).map_err(|e| format!("{}: {e}", script.display()))?;
    let mut tar = Command::new("tar");
    command::run(tar.arg("-C").arg(&tree).arg("-xf").arg(base), "", PATIENCE)?.ok()?;
    // A mount namespace for each: what is mounted inside goes with it.
    let one = r#"exec unshare --mount --propagation private sh "$1/images.sh" "$1/base" "$1/work-$2" "$1/$2.tar" "$2" "$1/shared" >"$1/$2.log" 2>&1 || { tail -n 20 "$1/$2.log" >&2; exit 1; }"#;
    let one = one.replace("exec unshare", "unshare");
    let mut download = Command::new("sh");
    download.args(["-c", &one, "sh"]).arg(part).arg("download");
    command::run(&mut download, "", PATIENCE)?.ok()?;
    let mut all = Command::new("xargs");
    all.args(["-P2", "-I{}", "sh", "-c", &one, "sh"])
        .arg(part)
        .arg("{}");
    command::run(&mut all, &(PACKAGES.join("\n") + "\n"), PATIENCE)?.ok()?;
    let mut tiny = Command::new("sh");
    tiny.args(["-ec", TINY, "sh"])
        .arg(&tree)
        .arg(part.join("work-tiny"))
        .arg(part.join("tiny.tar"));
    command::run(&mut tiny, "", PATIENCE)?.ok()?;
    for rest in ["base", "shared", "work-download"] {
        remove(&part.join(rest));
    }
    Ok(())
}

/// An archive of all images in a fresh directory, as `docker save` would write it. Layers are links to what is kept.
fn write_archive(base: &Path, layers: &Path, part: &Path) -> Result<PathBuf, String> {
    let text = |e: std::io::Error| format!("{}: {e}", part.display());
    let tree = part.join("tree");
    std::fs::create_dir_all(&tree).map_err(text)?;
    let mut diff_ids = std::collections::BTreeMap::new();
    for name in ["base", "tiny"].into_iter().chain(PACKAGES) {
        let file = if name == "base" {
            base.to_owned()
        } else {
            layers.join(format!("{name}.tar"))
        };
        let hex = digest(&file)?;
        let dir = tree.join(&hex);
        std::fs::create_dir(&dir).map_err(text)?;
        std::fs::hard_link(&file, dir.join("layer.tar"))
            .or_else(|_| std::fs::copy(&file, dir.join("layer.tar")).map(|_| ()))
            .map_err(|e| format!("{}: {e}", file.display()))?;
        diff_ids.insert(name, hex);
    }
    let mut manifest = Vec::new();
    for recipe in recipes() {
        let hexes: Vec<&String> = recipe
            .layers
            .iter()
            .filter_map(|name| diff_ids.get(name))
            .collect();
        let ids: Vec<String> = hexes.iter().map(|hex| format!("sha256:{hex}")).collect();
        let history: Vec<Value> = recipe
            .layers
            .iter()
            .map(|name| json!({"created": CREATED, "created_by": format!("/bin/sh -c #(nop) ADD {name} in / ")}))
            .collect();
        let config = json!({
            "created": CREATED,
            "architecture": architecture(),
            "os": "linux",
            "config": recipe.config,
            "rootfs": {"type": "layers", "diff_ids": ids},
            "history": history,
        });
        let file = tree.join("config");
        std::fs::write(&file, config.to_string()).map_err(text)?;
        let name = format!("{}.json", digest(&file)?);
        std::fs::rename(&file, tree.join(&name)).map_err(text)?;
        let paths: Vec<String> = hexes.iter().map(|hex| format!("{hex}/layer.tar")).collect();
        manifest.push(json!({"Config": name, "RepoTags": recipe.names, "Layers": paths}));
    }
    std::fs::write(tree.join("manifest.json"), Value::from(manifest).to_string()).map_err(text)?;
    let archive = part.join("images.tar");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--hard-dereference", "-C"])
        .arg(&tree)
        .arg("-cf")
        .arg(&archive)
        .arg(".");
    // The leading "./" is not what archives of images have.
    tar.args(["--transform", "s,^\\./,,"]);
    command::run(&mut tar, "", PATIENCE)?.ok()?;
    Ok(archive)
}

const CREATED: &str = "2024-02-03T04:05:06Z";

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(file: &Path) -> Result<String, String> {
    let mut sum = Command::new("sha256sum");
    let line = command::run(sum.arg("--").arg(file), "", PATIENCE)?.ok()?;
    line.split_whitespace()
        .next()
        .map(ToOwned::to_owned)
        .ok_or(format!("sha256sum: {line}"))
}

/// FNV-1a: another recipe is another name.
fn hash(texts: &[&str]) -> u64 {
    texts
        .iter()
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

fn remove(dir: &Path) {
    if let Err(e) = std::fs::remove_dir_all(dir)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("{}: {e}", dir.display());
    }
}
