//! `RUN --mount`, and `--device`, which is written alike: values with commas between them.
//!
//! May not: say more of a mount while the file is read than that its values can be cut and that `from` has no variable. All other
//! values may have some, so they are read when their instruction is come to ([`Written::resolve`]).

use crate::source::{Problem, Result, Span, quoted};
use crate::suggest;
use crate::values::{self, csv};

use super::{Device, Value};

/// A mount as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    fields: Vec<String>,
    /// The stage, image or context that it is from.
    pub from: Option<String>,
    pub span: Span,
}

/// A mount of a RUN. Targets are as written: they may be relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// From the build context, if it is from nothing else. What is written to it is lost.
    Bind {
        from: Option<String>,
        source: String,
        target: String,
        writable: bool,
    },
    /// A directory that builds share.
    Cache {
        id: String,
        from: Option<String>,
        source: String,
        target: String,
        sharing: Sharing,
        writable: bool,
        /// Of the directory, when it is made.
        owner: Owner,
    },
    Tmpfs {
        target: String,
        size: Option<u64>,
        writable: bool,
    },
    Secret {
        id: String,
        /// None: it is a variable alone.
        target: Option<String>,
        variable: Option<String>,
        required: bool,
        owner: Owner,
    },
    Ssh {
        id: String,
        /// None: where the builder puts its sockets.
        target: Option<String>,
        required: bool,
        owner: Owner,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}

/// What is said of permissions; the rest is as usual (root, and 0755, 0400 or 0600).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Type {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

const TYPES: [(&str, Type); 5] = [
    ("bind", Type::Bind),
    ("cache", Type::Cache),
    ("tmpfs", Type::Tmpfs),
    ("secret", Type::Secret),
    ("ssh", Type::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl Type {
    fn name(self) -> &'static str {
        TYPES
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("bind", |(name, _)| name)
    }

    fn is_file(self) -> bool {
        matches!(self, Type::Secret | Type::Ssh)
    }
}

/// What the values of a mount come to, whatever its type is.
#[derive(Default)]
struct Said {
    kind: Type,
    from: String,
    source: String,
    target: String,
    id: String,
    writable: Option<bool>,
    size: Option<u64>,
    sharing: Option<Sharing>,
    required: bool,
    variable: Option<String>,
    owner: Owner,
}

impl Written {
    /// # Errors
    /// The values cannot be cut, or `from` has a variable.
    pub fn read(flag: &Value) -> Result<Written> {
        let wrong = |message: String| Problem::new(flag.span, message);
        let fields =
            csv::fields(&flag.text).map_err(|e| wrong(format!("failed to parse csv mounts: {e}")))?;
        let mut from = None;
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else {
                continue;
            };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            if value.find('$').is_some_and(|n| n + 1 != value.len()) {
                return Err(wrong(format!(
                    "'{}' doesn't support variable expansion, define alias stage instead",
                    key.to_lowercase()
                )));
            }
            from = Some(value.to_owned()).filter(|v| !v.is_empty());
        }
        Ok(Written {
            fields,
            from,
            span: flag.span,
        })
    }

    /// With its variables expanded.
    ///
    /// # Errors
    /// A key that there is not, a value that is none, or keys that do not go together.
    pub fn resolve(&self, expand: &mut dyn FnMut(&str) -> Result<String>) -> Result<Mount> {
        let mut said = Said::default();
        for field in &self.fields {
            let outcome = match field.split_once('=') {
                Some((key, value)) => said.take(field, &key.to_lowercase(), expand(value)?),
                None => said.take_word(field, &field.to_lowercase()),
            };
            outcome.map_err(|problem| self.placed(problem))?;
        }
        said.mount().map_err(|message| self.placed(message.into()))
    }

    fn placed(&self, wrong: Wrong) -> Problem {
        Problem::new(self.span, wrong.message).suggesting(wrong.suggestion)
    }
}

/// A sentence, and perhaps a better word.
struct Wrong {
    message: String,
    suggestion: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Wrong {
        Wrong {
            message,
            suggestion: None,
        }
    }
}

impl Wrong {
    fn near(message: String, word: &str, options: impl IntoIterator<Item = &'static str>) -> Wrong {
        Wrong {
            message,
            suggestion: suggest::nearest(word, options).map(str::to_owned),
        }
    }
}

impl Said {
    fn take_word(&mut self, field: &str, key: &str) -> Result<(), Wrong> {
        match key {
            "readonly" | "ro" => self.writable = Some(false),
            "readwrite" | "rw" => self.writable = Some(true),
            "required" => self.require(key, true)?,
            _ => return Err(format!("invalid field '{field}' must be a key=value pair").into()),
        }
        Ok(())
    }

    fn take(&mut self, field: &str, key: &str, value: String) -> Result<(), Wrong> {
        let flag =
            |value: &str| values::boolean(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
        let number = |value: &str, radix: u32| {
            let digits = Some(value).filter(|v| !v.starts_with('+'));
            digits
                .and_then(|v| u32::from_str_radix(v, radix).ok())
                .ok_or_else(|| format!("invalid value {value} for {key}"))
        };
        match key {
            "type" => {
                let lower = value.to_lowercase();
                let known = TYPES.iter().find(|(name, _)| *name == lower);
                let (_, kind) = known.ok_or_else(|| {
                    let message = format!("unsupported mount type {}", quoted(&value));
                    Wrong::near(message, &value, TYPES.iter().map(|(name, _)| *name))
                })?;
                self.kind = *kind;
            }
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.writable = Some(!flag(&value)?),
            "readwrite" | "rw" => self.writable = Some(flag(&value)?),
            "required" => {
                self.require(key, false)?;
                self.required = flag(&value)?;
            }
            "size" if self.kind == Type::Tmpfs => {
                self.size =
                    Some(values::size(&value).ok_or_else(|| format!("invalid value for {key}: {value}"))?);
            }
            "size" => return Err(self.unexpected(key)),
            "id" => self.id = value,
            "sharing" => {
                let lower = value.to_lowercase();
                let known = SHARINGS.iter().find(|(name, _)| *name == lower);
                let (_, sharing) = known.ok_or_else(|| {
                    let message = format!("unsupported sharing value {}", quoted(&value));
                    Wrong::near(message, &value, SHARINGS.iter().map(|(name, _)| *name))
                })?;
                self.sharing = Some(*sharing);
            }
            "mode" => self.owner.mode = Some(number(&value, 8)?),
            "uid" => self.owner.uid = Some(number(&value, 10)?),
            "gid" => self.owner.gid = Some(number(&value, 10)?),
            "env" => self.variable = Some(value),
            _ => {
                return Err(Wrong::near(
                    format!("unexpected key '{key}' in '{field}'"),
                    key,
                    KEYS,
                ));
            }
        }
        Ok(())
    }

    fn require(&mut self, key: &str, required: bool) -> Result<(), Wrong> {
        if !self.kind.is_file() {
            return Err(self.unexpected(key));
        }
        self.required = required;
        Ok(())
    }

    fn unexpected(&self, key: &str) -> Wrong {
        format!("unexpected key '{key}' for mount type '{}'", self.kind.name()).into()
    }

    /// What goes together, and what is said where nothing was.
    fn mount(self) -> Result<Mount, String> {
        let name = self.kind.name();
        if !self.kind.is_file() && self.kind != Type::Cache {
            for (key, value) in [
                ("mode", self.owner.mode),
                ("uid", self.owner.uid),
                ("gid", self.owner.gid),
            ] {
                if value.is_some() {
                    return Err(format!("{key} not allowed for \"{name}\" type mounts"));
                }
            }
        }
        if self.kind == Type::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != Type::Cache {
            return Err(format!("invalid cache sharing set for {name} mount"));
        }
        if self.kind == Type::Ssh && !self.source.is_empty() {
            return Err("ssh does not support source".to_owned());
        }
        let from = some(self.from);
        let target = some(self.target.clone());
        Ok(match self.kind {
            Type::Bind => Mount::Bind {
                from,
                source: self.source,
                target: self.target,
                writable: self.writable.unwrap_or(false),
            },
            Type::Cache => Mount::Cache {
                id: some(self.id).unwrap_or_else(|| crate::paths::clean(&self.target)),
                from,
                source: self.source,
                target: self.target,
                sharing: self.sharing.unwrap_or_default(),
                writable: self.writable.unwrap_or(true),
                owner: self.owner,
            },
            Type::Tmpfs => Mount::Tmpfs {
                target: self.target,
                size: self.size.filter(|size| *size > 0),
                writable: self.writable.unwrap_or(true),
            },
            Type::Secret => {
                let id = some(self.source).or(some(self.id));
                let id = id.unwrap_or_else(|| crate::paths::last(&self.target).to_owned());
                Mount::Secret {
                    target: match (target, &self.variable) {
                        (None, None) => Some(format!("/run/secrets/{}", crate::paths::last(&id))),
                        (target, _) => target,
                    },
                    // An empty one has the name of the secret.
                    variable: self.variable.map(|v| if v.is_empty() { id.clone() } else { v }),
                    id,
                    required: self.required,
                    owner: self.owner,
                }
            }
            Type::Ssh => Mount::Ssh {
                id: some(self.id).unwrap_or_else(|| "default".to_owned()),
                target,
                required: self.required,
                owner: self.owner,
            },
        })
    }

    fn check_secret(&self) -> Result<(), String> {
        let wrong = if !self.from.is_empty() {
            "secret mount should not have a from"
        } else if self.sharing.is_some() {
            "secret mount should not define sharing"
        } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            "invalid secret mount. one of source, target required"
        } else if !self.source.is_empty() && !self.id.is_empty() {
            "both source and id can't be set"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

impl Device {
    /// `--device=name[,required]`.
    ///
    /// # Errors
    /// A key that there is not, or a second name.
    pub fn read(flag: &Value) -> Result<Device> {
        let wrong = |message: String| Problem::new(flag.span, message);
        let fields =
            csv::fields(&flag.text).map_err(|e| wrong(format!("failed to parse csv devices: {e}")))?;
        let mut device = Device::default();
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    device.required = values::boolean(value)
                        .ok_or_else(|| wrong(format!("invalid value for {key}: {value}")))?;
                }
                ("name", Some(value)) if device.name.is_empty() => value.clone_into(&mut device.name),
                ("name", Some(_)) => {
                    return Err(wrong(format!("device name already set to {}", device.name)));
                }
                // Names of CDI have `=` in them, so what is no key is the name.
                _ if device.name.is_empty() => device.name = field,
                (_, None) => return Err(wrong(format!("invalid field '{field}' must be a key=value pair"))),
                (_, Some(_)) => {
                    let near = suggest::nearest(&key, ["name", "required"]).map(str::to_owned);
                    return Err(wrong(format!("unexpected key '{key}' in '{field}'")).suggesting(near));
                }
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flag(text: &str) -> Value {
        Value {
            text: text.to_owned(),
            span: Span::default(),
        }
    }

    fn mount(text: &str) -> Result<Mount, String> {
        let written = Written::read(&flag(text)).map_err(|e| e.to_string())?;
        let mut expand = |value: &str| Ok(value.replace("$v", "7"));
        written.resolve(&mut expand).map_err(|e| e.to_string())
    }

    fn bind(from: Option<&str>, source: &str, target: &str, writable: bool) -> Mount {
        Mount::Bind {
            from: from.map(str::to_owned),
            source: source.to_owned(),
            target: target.to_owned(),
            writable,
        }
    }

    #[test]
    fn every_type() {
        let owner = Owner {
            mode: Some(0o440),
            uid: Some(7),
            gid: Some(8),
        };
        let root = Owner::default();
        let text = |t: &str| t.to_owned();
        for (written, read) in [
            ("target=/x", bind(None, "", "/x", false)),
            (
                "type=bind,src=a,dst=/x,from=b,rw",
                bind(Some("b"), "a", "/x", true),
            ),
            (
                "Type=BIND,destination=/x,readonly=false",
                bind(None, "", "/x", true),
            ),
            ("\"target=/a,b\",rw=false", bind(None, "", "/a,b", false)),
            (
                "type=cache,target=/a/../root/.cache",
                Mount::Cache {
                    id: text("/root/.cache"),
                    from: None,
                    source: text(""),
                    target: text("/a/../root/.cache"),
                    sharing: Sharing::Shared,
                    writable: true,
                    owner: root,
                },
            ),
            (
                "type=cache,target=/c,id=x$v,sharing=Locked,ro,from=s,source=/d,mode=0440,uid=$v,gid=8",
                Mount::Cache {
                    id: text("x7"),
                    from: Some(text("s")),
                    source: text("/d"),
                    target: text("/c"),
                    sharing: Sharing::Locked,
                    writable: false,
                    owner,
                },
            ),
            (
                "type=tmpfs,target=/t,size=64m",
                Mount::Tmpfs {
                    target: text("/t"),
                    size: Some(64 << 20),
                    writable: true,
                },
            ),
            (
                "type=secret,id=tok,required",
                Mount::Secret {
                    id: text("tok"),
                    target: Some(text("/run/secrets/tok")),
                    variable: None,
                    required: true,
                    owner: root,
                },
            ),
            (
                "type=secret,id=tok,env=TOKEN",
                Mount::Secret {
                    id: text("tok"),
                    target: None,
                    variable: Some(text("TOKEN")),
                    required: false,
                    owner: root,
                },
            ),
            (
                "type=secret,target=/root/.aws/credentials,mode=440,uid=7,gid=8,required=true",
                Mount::Secret {
                    id: text("credentials"),
                    target: Some(text("/root/.aws/credentials")),
                    variable: None,
                    required: true,
                    owner,
                },
            ),
            (
                "type=ssh",
                Mount::Ssh {
                    id: text("default"),
                    target: None,
                    required: false,
                    owner: root,
                },
            ),
            (
                "type=ssh,id=git,target=/s,required=1",
                Mount::Ssh {
                    id: text("git"),
                    target: Some(text("/s")),
                    required: true,
                    owner: root,
                },
            ),
        ] {
            assert_eq!(mount(written), Ok(read), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_mount() {
        for (written, message) in [
            (
                "type=bimd",
                "unsupported mount type \"bimd\" (did you mean bind?)",
            ),
            ("type=volume", "unsupported mount type \"volume\""),
            (
                "tagret=/x",
                "unexpected key 'tagret' in 'tagret=/x' (did you mean target?)",
            ),
            ("target", "invalid field 'target' must be a key=value pair"),
            (
                "from=$x,target=/x",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
            ("ro=maybe", "invalid value for ro: maybe"),
            ("rw=", "invalid value for rw: "),
            ("required", "unexpected key 'required' for mount type 'bind'"),
            (
                "type=cache,required=x",
                "unexpected key 'required' for mount type 'cache'",
            ),
            ("type=ssh,required=x", "invalid value for required: x"),
            ("size=1m", "unexpected key 'size' for mount type 'bind'"),
            ("type=tmpfs,size=x", "invalid value for size: x"),
            (
                "type=cache,sharing=lockd",
                "unsupported sharing value \"lockd\" (did you mean locked?)",
            ),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("type=cache,uid=-1", "invalid value -1 for uid"),
            ("type=cache,gid=root", "invalid value root for gid"),
            ("target=/x,mode=0755", "mode not allowed for \"bind\" type mounts"),
            ("type=tmpfs,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
            (
                "type=secret",
                "invalid secret mount. one of source, target required",
            ),
            ("type=secret,id=a,source=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            (
                "type=secret,id=a,sharing=shared",
                "secret mount should not define sharing",
            ),
            ("type=ssh,source=a", "ssh does not support source"),
            (
                "type=tmpfs,sharing=shared",
                "invalid cache sharing set for tmpfs mount",
            ),
            (
                "a\"b",
                "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted field",
            ),
        ] {
            assert_eq!(mount(written).unwrap_err(), message, "{written}");
        }
    }

    #[test]
    fn devices() {
        let device = |text: &str| Device::read(&flag(text)).map_err(|e| e.to_string());
        let named = |name: &str, required| {
            Ok(Device {
                name: name.to_owned(),
                required,
            })
        };
        assert_eq!(
            device("vendor.com/gpu=all,required"),
            named("vendor.com/gpu=all", true)
        );
        assert_eq!(
            device("name=vendor.com/gpu,required=false"),
            named("vendor.com/gpu", false)
        );
        for (text, message) in [
            ("a,name=b", "device name already set to a"),
            ("a,b", "invalid field 'b' must be a key=value pair"),
            (
                "a,requird=1",
                "unexpected key 'requird' in 'requird=1' (did you mean required?)",
            ),
            ("a,required=x", "invalid value for required: x"),
        ] {
            assert_eq!(device(text).unwrap_err(), message);
        }
    }
}
