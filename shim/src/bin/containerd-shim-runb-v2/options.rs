//! The options of the runtime, out of whatever they are packed in.
//!
//! `io.containerd.runc.v2` gets a `containerd.runc.v1.Options`. Every other runtime type gets a `runtimeoptions.v1.Options`
//! with the same table as TOML, under the names of the fields in Go, or with the path of a file. A user who has registered
//! this shim under a name of its own must not lose `BinaryName` and `SystemdCgroup` for that.
//!
//! May not: read files itself, or replace a missing option by a default.

use crate::proto::Named;
use crate::proto::google::Any;
pub use crate::proto::options::Options;
use crate::proto::options::RuntimeOptions;
use crate::ttrpc::status::{Error, Result};
use std::path::Path;
use toml::{Table, Value};

/// Options, and what their user should hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    pub options: Options,
    /// Sentences for the log. containerd, too, ignores what it does not know, and says so.
    pub warnings: Vec<String>,
}

/// Unpacks. `read` is asked for the file when the caller names one.
pub fn extract(
    packed: Option<&Any>,
    read: impl FnOnce(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Extracted> {
    let Some(packed) = packed.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
        return Ok(Extracted::default());
    };
    if let Some(options) = packed.unpack::<Options>() {
        return Ok(Extracted {
            options: options.map_err(|e| undecodable(Options::TYPE_URL, e))?,
            warnings: Vec::new(),
        });
    }
    let Some(generic) = packed.unpack::<RuntimeOptions>() else {
        return Err(Error::invalid_argument(format!(
            "runtime options of type {:?} are not understood: want {} or {}",
            packed.type_url,
            Options::TYPE_URL,
            RuntimeOptions::TYPE_URL
        )));
    };
    let generic = generic.map_err(|e| undecodable(RuntimeOptions::TYPE_URL, e))?;
    if !generic.config_body.is_empty() {
        return of_toml(&generic.config_body).map_err(|e| e.doing("wrong runtime options"));
    }
    if generic.config_path.is_empty() {
        return Ok(Extracted::default());
    }
    let path = generic.config_path;
    let body = read(Path::new(&path))
        .map_err(|e| Error::invalid_argument(format!("failed to read runtime options from {path}: {e}")))?;
    of_toml(&body).map_err(|e| e.doing(format_args!("wrong runtime options in {path}")))
}

fn undecodable(name: &str, error: prost::DecodeError) -> Error {
    Error::from(error).doing(format_args!("failed to decode {name}"))
}

/// From the bundle's `options.json`.
pub fn of_json(bytes: &[u8]) -> Result<Options> {
    serde_json::from_slice(bytes).map_err(|e| Error::unknown(format!("failed to read options.json: {e}")))
}

/// For the bundle's `options.json`.
pub fn to_json(options: &Options) -> Result<Vec<u8>> {
    serde_json::to_vec(options).map_err(|e| Error::unknown(format!("failed to write options.json: {e}")))
}

fn of_toml(body: &[u8]) -> Result<Extracted> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid_argument("not UTF-8"))?;
    let table: Table = text.parse().map_err(|e| syntax(text, &e))?;
    let mut found = Extracted::default();
    let mut problems = Vec::new();
    for (key, value) in &table {
        match take(&mut found.options, key, value) {
            Ok(Taken::Yes) => {}
            Ok(Taken::Unknown) => found
                .warnings
                .push(format!("the runtime option {key} is not known and has no effect")),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(found),
        false => Err(Error::invalid_argument(problems.join("; "))),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start));
    let message = error.message().trim_end();
    Error::invalid_argument(match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message.to_string(),
    })
}

enum Taken {
    Yes,
    Unknown,
}

/// One entry. The decoders of containerd do not mind upper and lower case, so neither may we.
fn take(options: &mut Options, key: &str, value: &Value) -> std::result::Result<Taken, String> {
    match key.to_ascii_lowercase().as_str() {
        "nopivotroot" => options.no_pivot_root = switch(key, value)?,
        "nonewkeyring" => options.no_new_keyring = switch(key, value)?,
        "shimcgroup" => options.shim_cgroup = string(key, value)?,
        "iouid" => options.io_uid = number(key, value)?,
        "iogid" => options.io_gid = number(key, value)?,
        "binaryname" => options.binary_name = string(key, value)?,
        "root" => options.root = string(key, value)?,
        "criupath" => options.criu_path = string(key, value)?,
        "systemdcgroup" => options.systemd_cgroup = switch(key, value)?,
        "criuimagepath" => options.criu_image_path = string(key, value)?,
        "criuworkpath" => options.criu_work_path = string(key, value)?,
        "taskapiaddress" => options.task_api_address = string(key, value)?,
        "taskapiversion" => options.task_api_version = number(key, value)?,
        // The fields of the envelope: containerd sends the table as the user wrote it.
        "typeurl" | "configpath" | "configbody" => {}
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn switch(key: &str, value: &Value) -> std::result::Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| mismatch(key, "true or false", value))
}

fn string(key: &str, value: &Value) -> std::result::Result<String, String> {
    let text = value.as_str().ok_or_else(|| mismatch(key, "a string", value))?;
    Ok(text.to_string())
}

/// dockerd has read the same table from JSON, where every number is a float: it sends 1000.0.
fn number(key: &str, value: &Value) -> std::result::Result<u32, String> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        Value::Float(number) if (0.0..=f64::from(u32::MAX)).contains(number) && number.fract() == 0.0 => {
            Some(*number as u32)
        }
        _ => None,
    };
    number.ok_or_else(|| mismatch(key, "a whole number from 0 to 4294967295", value))
}

fn mismatch(key: &str, wanted: &str, value: &Value) -> String {
    let is = match value {
        Value::String(text) => format!("the string {text:?}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number:?}"),
        Value::Boolean(value) => format!("{value}"),
        Value::Datetime(_) => "a time".to_string(),
        Value::Array(_) => "a list".to_string(),
        Value::Table(_) => "a table".to_string(),
    };
    format!("{key} must be {wanted}, but is {is}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttrpc::status::Code;
    use std::io;

    /// All of them, each with its own value.
    fn all() -> Options {
        Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/shims".into(),
            io_uid: 1000,
            io_gid: 1001,
            binary_name: "/usr/bin/runb".into(),
            root: "/run/r".into(),
            criu_path: "/c".into(),
            systemd_cgroup: true,
            criu_image_path: "/i".into(),
            criu_work_path: "/w".into(),
            task_api_address: "a".into(),
            task_api_version: 2,
        }
    }

    const ALL: &str = r#"
        NoPivotRoot = true
        NoNewKeyring = true
        ShimCgroup = "/shims"
        IoUid = 1000
        IoGid = 1001
        BinaryName = "/usr/bin/runb"
        Root = "/run/r"
        CriuPath = "/c"
        SystemdCgroup = true
        CriuImagePath = "/i"
        CriuWorkPath = "/w"
        TaskApiAddress = "a"
        TaskApiVersion = 2
    "#;

    fn no_file(path: &Path) -> io::Result<Vec<u8>> {
        panic!("asked for {}", path.display())
    }

    fn body(text: &str) -> Any {
        Any::of(&RuntimeOptions {
            config_body: text.as_bytes().to_vec(),
            ..RuntimeOptions::default()
        })
    }

    fn extracted(text: &str) -> Extracted {
        extract(Some(&body(text)), no_file).unwrap()
    }

    fn refused(text: &str) -> String {
        let error = extract(Some(&body(text)), no_file).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        error.message
    }

    #[test]
    fn nothing_is_no_options() {
        for packed in [
            None,
            Some(Any::default()),
            Some(Any::of(&RuntimeOptions::default())),
        ] {
            assert_eq!(extract(packed.as_ref(), no_file).unwrap(), Extracted::default());
        }
    }

    #[test]
    fn the_options_of_runc() {
        let found = extract(Some(&Any::of(&all())), no_file).unwrap();
        assert_eq!(found.options, all());
        assert!(found.warnings.is_empty());
    }

    #[test]
    fn a_table_under_the_names_of_go() {
        let found = extracted(ALL);
        assert_eq!(found.options, all());
        assert!(found.warnings.is_empty());
        assert_eq!(extracted(&ALL.to_lowercase()).options, all());
    }

    #[test]
    fn numbers_of_dockerd_are_floats() {
        assert_eq!(extracted("IoUid = 1000.0").options.io_uid, 1000);
        assert_eq!(extracted("IoUid = 4294967295.0").options.io_uid, u32::MAX);
        for text in [
            "IoUid = 0.5",
            "IoUid = -1.0",
            "IoUid = 4294967296.0",
            "IoUid = nan",
        ] {
            assert!(refused(text).contains("whole number"), "{text}");
        }
    }

    #[test]
    fn a_file_of_the_users() {
        let packed = Any::of(&RuntimeOptions {
            config_path: "/etc/o.toml".into(),
            ..RuntimeOptions::default()
        });
        let found = extract(Some(&packed), |path| {
            assert_eq!(path, Path::new("/etc/o.toml"));
            Ok(ALL.as_bytes().to_vec())
        });
        assert_eq!(found.unwrap().options, all());
        let error = extract(Some(&packed), |_| Ok(b"Root = 1".to_vec())).unwrap_err();
        assert_eq!(
            error.message,
            "wrong runtime options in /etc/o.toml: Root must be a string, but is the number 1"
        );
        let error = extract(Some(&packed), |_| Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert_eq!(
            error.message,
            "failed to read runtime options from /etc/o.toml: entity not found"
        );
    }

    #[test]
    fn unknown_keys_are_ignored_aloud() {
        let found =
            extracted("Turbo = 1\nRoot = \"/r\"\nConfigPath = \"\"\nTypeUrl = \"x\"\n[Table]\nRoot = 3");
        assert_eq!(found.options.root, "/r");
        assert_eq!(
            found.warnings,
            [
                "the runtime option Table is not known and has no effect",
                "the runtime option Turbo is not known and has no effect",
            ]
        );
    }

    #[test]
    fn every_wrong_type_is_named() {
        assert_eq!(
            refused("SystemdCgroup = \"true\"\nBinaryName = []\nIoUid = -1"),
            "wrong runtime options: BinaryName must be a string, but is a list; \
             IoUid must be a whole number from 0 to 4294967295, but is the number -1; \
             SystemdCgroup must be true or false, but is the string \"true\""
        );
        assert!(refused("Root = true").ends_with("Root must be a string, but is true"));
        assert!(refused("IoGid = 1979-05-27").ends_with("but is a time"));
        assert!(refused("[NoPivotRoot]").ends_with("but is a table"));
    }

    #[test]
    fn broken_text_is_named_by_line() {
        let message = refused("Root = \"/r\"\nBinaryName = ");
        assert!(
            message.starts_with("wrong runtime options: line 2: "),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
        let packed = Any::of(&RuntimeOptions {
            config_body: vec![0xff],
            ..RuntimeOptions::default()
        });
        let error = extract(Some(&packed), no_file).unwrap_err();
        assert_eq!(error.message, "wrong runtime options: not UTF-8");
    }

    #[test]
    fn options_of_another_runtime_are_refused() {
        let packed = Any {
            type_url: "containerd.runhcs.v1.Options".into(),
            value: Vec::new(),
        };
        assert_eq!(
            extract(Some(&packed), no_file).unwrap_err().message,
            "runtime options of type \"containerd.runhcs.v1.Options\" are not understood: \
             want containerd.runc.v1.Options or runtimeoptions.v1.Options"
        );
    }

    #[test]
    fn broken_messages_are_refused() {
        for name in [Options::TYPE_URL, RuntimeOptions::TYPE_URL] {
            let packed = Any {
                type_url: name.into(),
                value: vec![0x3a, 9],
            };
            let error = extract(Some(&packed), no_file).unwrap_err();
            let wanted = format!("failed to decode {name}: ");
            assert!(error.message.starts_with(&wanted), "{error}");
        }
    }

    #[test]
    fn json_is_what_go_writes() {
        let wanted = r#"{"no_pivot_root":true,"no_new_keyring":true,"shim_cgroup":"/shims","io_uid":1000,"io_gid":1001,"binary_name":"/usr/bin/runb","root":"/run/r","criu_path":"/c","systemd_cgroup":true,"criu_image_path":"/i","criu_work_path":"/w","task_api_address":"a","task_api_version":2}"#;
        assert_eq!(String::from_utf8(to_json(&all()).unwrap()).unwrap(), wanted);
        assert_eq!(of_json(wanted.as_bytes()).unwrap(), all());
        // Go leaves zero values out.
        assert_eq!(to_json(&Options::default()).unwrap(), b"{}");
        assert_eq!(of_json(b"{}").unwrap(), Options::default());
    }

    #[test]
    fn json_of_other_versions_is_read() {
        let newer = br#"{"binary_name":"r","turbo":{"a":[1]},"systemd_cgroup":true}"#;
        let options = of_json(newer).unwrap();
        assert_eq!(
            (options.binary_name.as_str(), options.systemd_cgroup),
            ("r", true)
        );
        // Go escapes these three in strings.
        assert_eq!(of_json(br#"{"root":"\u003c\u0026\u003e"}"#).unwrap().root, "<&>");
        assert!(of_json(br#"{"root":1}"#).is_err());
        assert!(of_json(b"").is_err());
    }
}
