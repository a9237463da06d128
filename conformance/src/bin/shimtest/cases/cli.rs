//! The program's other words: what it is, what its runtime can do, and the cleaning up after a shim that was killed.

use conformance::kernel;
use conformance::messages as m;
use prost::Message;

use super::{Case, Done, case};
use crate::caller::{self, Call};
use crate::scene::{Scene, is_alive, is_time, same};

pub fn cases() -> Vec<Case> {
    vec![
        case("cli.version", |s| {
            for flag in ["-v", "--version", "-version"] {
                let answer = caller::run(s.lab.command(&s.dir).arg(flag), &[])?;
                // Debian's Go shim knows -v alone.
                if flag == "-v" || answer.code == 0 {
                    same("there is a version", &answer.ok()?.is_empty(), &false)?;
                }
            }
            Ok(())
        }),
        case("cli.unknown-flag", |s| {
            let answer = caller::run(s.lab.command(&s.dir).args(["-nonsense", "start"]), &[])?;
            same("the exit code", &answer.code, &2)?;
            let told = answer.stderr.contains("flag provided but not defined: -nonsense");
            same("it names the flag", &told, &true)
        }),
        case("cli.info", |s| info(s, None)),
        case("cli.info-options", |s| info(s, Some(runc_options(s)))),
        case("cli.info-generic-options", |s| {
            let body = format!("BinaryName = \"{}\"\n", s.lab.runtime.display());
            let options = m::GenericOptions {
                type_url: "io.containerd.runb.v2".into(),
                config_body: body.into_bytes(),
                ..Default::default()
            };
            info(s, Some(m::wrap("runtimeoptions.v1.Options", &options)))
        }),
        case("cli.delete-after-kill", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let shim = c.task.shim_pid("box")?;
            kernel::kill(shim.cast_signed(), libc::SIGKILL).map_err(|e| e.to_string())?;
            crate::command::until("the shim is gone", crate::scene::soon(), || !is_alive(shim))?;
            let mut call = Call::new(s, "box", &c.bundle.path);
            call.flags = vec!["-bundle".into(), c.bundle.path.display().to_string()];
            let gone = m::DeleteResponse::decode(&call.run("delete")?.succeeded()?[..])
                .map_err(|e| e.to_string())?;
            same("the pid", &gone.pid, &c.pid)?;
            same("the status", &gone.exit_status, &137)?;
            is_time("exited_at", gone.exited_at.as_ref())?;
            same("the container is there", &is_alive(c.pid), &false)?;
            // Not every shim removes it; there is a case of its own for that.
            let _ = std::fs::remove_file(&c.task.socket);
            // Again: what is missing is no error.
            call.run("delete")?.succeeded().map(drop)
        }),
        case("cli.delete-removes-the-socket", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            let shim = c.task.shim_pid("box")?;
            kernel::kill(shim.cast_signed(), libc::SIGKILL).map_err(|e| e.to_string())?;
            crate::command::until("the shim is gone", crate::scene::soon(), || !is_alive(shim))?;
            Call::new(s, "box", &c.bundle.path).run("delete")?.succeeded()?;
            same("the socket is there", &c.task.socket.exists(), &false)
        }),
        case("cli.delete-keeps-a-living-socket", |s| {
            // The group goes on when one of its containers is tidied up from outside.
            let edit = |config: &mut serde_json::Value| {
                config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
            };
            let one = s.boot_with("one", "exec sleep 600", edit, |_| {})?;
            let other = s.bundle("two", "exec sleep 600", edit)?;
            s.start(&other)?;
            // Nothing was created there yet: what is missing is no error to every shim.
            Call::new(s, "two", &other.path).run("delete")?;
            same("the socket is there", &one.task.socket.exists(), &true)?;
            one.finish(s)
        }),
        case("cli.delete-of-nothing", |s| {
            let bundle = s.bundle("box", "true", |_| {})?;
            let call = Call::new(s, "box", &bundle.path);
            let gone = m::DeleteResponse::decode(&call.run("delete")?.succeeded()?[..])
                .map_err(|e| e.to_string())?;
            same("the status", &gone.exit_status, &137)
        }),
    ]
}

fn runc_options(s: &Scene) -> m::Any {
    m::wrap("containerd.runc.v1.Options", &s.options())
}

fn info(s: &Scene, options: Option<m::Any>) -> Done {
    let stdin = options.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    let mut command = s.lab.command(&s.dir);
    if options.is_none() {
        // Without options the runtime is the one of the program's own choice, looked for in PATH.
        let dir = s
            .lab
            .runtime
            .parent()
            .map(|dir| dir.display().to_string())
            .unwrap_or_default();
        command.env("PATH", format!("{dir}:/usr/sbin:/usr/bin:/sbin:/bin"));
    }
    let answer = caller::run(command.arg("-info"), &stdin)?.ok()?;
    let info = m::RuntimeInfo::decode(&answer[..]).map_err(|e| format!("no RuntimeInfo: {e}"))?;
    same("the name is there", &info.name.is_empty(), &false)?;
    let version = info.version.unwrap_or_default();
    same("the version is there", &version.version.is_empty(), &false)?;
    same("the options", &info.options, &options)?;
    let features = info.features.ok_or("no features")?;
    same(
        "the type of the features",
        features.type_url.as_str(),
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
    )?;
    let features: serde_json::Value = serde_json::from_slice(&features.value).map_err(|e| e.to_string())?;
    same(
        "the features have ociVersionMin",
        &features["ociVersionMin"].is_string(),
        &true,
    )
}
