//! The options of a mount: one table, and a fold over the words in their order.
//!
//! Pure: no syscalls.

use serde::{Serialize, Serializer};
use std::ffi::CString;
use sys::mount::{
    ATTR_ATIME, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW,
    ATTR_RDONLY, ATTR_STRICTATIME,
};

/// MS_NOSYMFOLLOW of mount(2) (kernel 5.10); missing in libc for musl.
pub const MS_NOSYMFOLLOW: u64 = 256;
/// MS_LAZYTIME of mount(2).
pub const MS_LAZYTIME: u64 = 1 << 25;

/// What a word of `mounts[].options` does.
#[derive(Clone, Copy)]
enum Effect {
    /// Sets `MS_*` flags.
    Set(u64),
    /// Clears `MS_*` flags, and remembers that the user asked for their absence.
    Clear(u64),
    /// Changes the propagation after the mount is attached.
    Propagate(u64),
    /// Sets `ATTR_*` on the whole tree.
    DeepSet(u64),
    /// Clears `ATTR_*` on the whole tree.
    DeepClear(u64),
    /// `tmpcopyup`
    CopyUp,
    /// `idmap`, `ridmap`
    Idmap(Depth),
}

use Effect::*;

const REC: u64 = libc::MS_REC;

/// Sorted, so that `features` can print the words as they stand.
const TABLE: &[(&str, Effect)] = &[
    ("async", Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Clear(libc::MS_NOATIME)),
    ("bind", Set(libc::MS_BIND)),
    ("defaults", Set(0)),
    ("dev", Clear(libc::MS_NODEV)),
    ("diratime", Clear(libc::MS_NODIRATIME)),
    ("dirsync", Set(libc::MS_DIRSYNC)),
    ("exec", Clear(libc::MS_NOEXEC)),
    ("idmap", Idmap(Depth::Single)),
    ("iversion", Set(libc::MS_I_VERSION)),
    ("lazytime", Set(MS_LAZYTIME)),
    ("loud", Clear(libc::MS_SILENT)),
    ("mand", Set(libc::MS_MANDLOCK)),
    ("noatime", Set(libc::MS_NOATIME)),
    ("nodev", Set(libc::MS_NODEV)),
    ("nodiratime", Set(libc::MS_NODIRATIME)),
    ("noexec", Set(libc::MS_NOEXEC)),
    ("noiversion", Clear(libc::MS_I_VERSION)),
    ("nolazytime", Clear(MS_LAZYTIME)),
    ("nomand", Clear(libc::MS_MANDLOCK)),
    ("norelatime", Clear(libc::MS_RELATIME)),
    ("nostrictatime", Clear(libc::MS_STRICTATIME)),
    ("nosuid", Set(libc::MS_NOSUID)),
    ("nosymfollow", Set(MS_NOSYMFOLLOW)),
    ("private", Propagate(libc::MS_PRIVATE)),
    ("ratime", DeepClear(ATTR_NOATIME)),
    ("rbind", Set(libc::MS_BIND | REC)),
    ("rdev", DeepClear(ATTR_NODEV)),
    ("rdiratime", DeepClear(ATTR_NODIRATIME)),
    ("relatime", Set(libc::MS_RELATIME)),
    ("remount", Set(libc::MS_REMOUNT)),
    ("rexec", DeepClear(ATTR_NOEXEC)),
    ("ridmap", Idmap(Depth::Recursive)),
    ("rnoatime", DeepSet(ATTR_NOATIME)),
    ("rnodev", DeepSet(ATTR_NODEV)),
    ("rnodiratime", DeepSet(ATTR_NODIRATIME)),
    ("rnoexec", DeepSet(ATTR_NOEXEC)),
    // Relative is the value 0 of the field and the kernel's default: "not relative" has no other value to go to.
    ("rnorelatime", DeepClear(0)),
    ("rnostrictatime", DeepClear(ATTR_STRICTATIME)),
    ("rnosuid", DeepSet(ATTR_NOSUID)),
    ("rnosymfollow", DeepSet(ATTR_NOSYMFOLLOW)),
    ("ro", Set(libc::MS_RDONLY)),
    ("rprivate", Propagate(libc::MS_PRIVATE | REC)),
    ("rrelatime", DeepSet(0)),
    ("rro", DeepSet(ATTR_RDONLY)),
    ("rrw", DeepClear(ATTR_RDONLY)),
    ("rshared", Propagate(libc::MS_SHARED | REC)),
    ("rslave", Propagate(libc::MS_SLAVE | REC)),
    ("rstrictatime", DeepSet(ATTR_STRICTATIME)),
    ("rsuid", DeepClear(ATTR_NOSUID)),
    ("rsymfollow", DeepClear(ATTR_NOSYMFOLLOW)),
    ("runbindable", Propagate(libc::MS_UNBINDABLE | REC)),
    ("rw", Clear(libc::MS_RDONLY)),
    ("shared", Propagate(libc::MS_SHARED)),
    ("silent", Set(libc::MS_SILENT)),
    ("slave", Propagate(libc::MS_SLAVE)),
    ("strictatime", Set(libc::MS_STRICTATIME)),
    ("suid", Clear(libc::MS_NOSUID)),
    ("symfollow", Clear(MS_NOSYMFOLLOW)),
    ("sync", Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagate(libc::MS_UNBINDABLE)),
];

/// Every option that is not handed to the file system, sorted, for `features`; but not the two of id-mapped mounts, of
/// which `mountExtensions` tells.
pub fn known() -> impl Iterator<Item = &'static str> {
    let listed = TABLE.iter().filter(|(_, effect)| !matches!(effect, Idmap(_)));
    listed.map(|(word, _)| *word)
}

/// One mount, or everything mounted below it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Only the mount itself.
    Single,
    /// The mount and all mounts below it.
    Recursive,
}

/// A change of mount propagation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// How far it reaches.
    pub depth: Depth,
}

impl Propagation {
    /// Reads one of the eight words.
    pub fn parse(word: &str) -> Option<Propagation> {
        match lookup(word) {
            Some(Propagate(flags)) => Some(Propagation::of(flags)),
            _ => None,
        }
    }

    fn of(flags: u64) -> Propagation {
        Propagation {
            kind: flags & !REC,
            depth: if flags & REC != 0 {
                Depth::Recursive
            } else {
                Depth::Single
            },
        }
    }

    /// True when it leaves no mount shared with other namespaces.
    pub(super) fn cuts_off(self) -> bool {
        self.kind != libc::MS_SHARED && self.depth == Depth::Recursive
    }

    /// The word of config.json.
    pub fn word(self) -> &'static str {
        let flags = self.kind | if self.depth == Depth::Recursive { REC } else { 0 };
        TABLE
            .iter()
            .find(|(_, e)| matches!(e, Propagate(f) if *f == flags))
            .map_or("private", |(w, _)| w)
    }
}

impl std::fmt::Debug for Propagation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Propagation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.word())
    }
}

/// A parameter of the file system itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub key: CString,
    /// Its value; a flag has none.
    pub value: Option<CString>,
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let key = self.key.to_string_lossy();
        match &self.value {
            Some(v) => s.collect_str(&format_args!("{key}={}", v.to_string_lossy())),
            None => s.serialize_str(&key),
        }
    }
}

/// `MS_*` flags; printed as the words of config.json.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsFlags(pub u64);

impl MsFlags {
    /// Any of these bits.
    pub fn any(self, bits: u64) -> bool {
        self.0 & bits != 0
    }
}

impl Serialize for MsFlags {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(TABLE.iter().filter_map(|(word, e)| match e {
            Set(bits) if *bits != 0 && self.0 & bits == *bits => Some(word),
            _ => None,
        }))
    }
}

/// `ATTR_*` bits; printed as the words of config.json.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attrs(pub u64);

impl Serialize for Attrs {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(TABLE.iter().filter_map(|(word, e)| match e {
            DeepSet(bits) if *bits != 0 && self.0 & bits == *bits => Some(word),
            _ => None,
        }))
    }
}

/// Everything that the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Flags that are asked for.
    pub flags: MsFlags,
    /// Flags that are asked to be absent; a locked flag among them is an error and not overlooked.
    pub cleared: MsFlags,
    /// Attributes to set on the whole tree.
    pub deep_set: Attrs,
    /// Attributes to clear on the whole tree.
    pub deep_clear: Attrs,
    /// Propagation changes in their order.
    pub propagation: Vec<Propagation>,
    /// `tmpcopyup`: the new tmpfs begins with what the directory under it held.
    pub copy_up: bool,
    /// `idmap` or `ridmap`.
    pub idmap: Option<Depth>,
    /// What is left for the file system.
    pub parameters: Vec<Parameter>,
    /// A parameter that fsconfig(2) cannot carry: the data string has to go through mount(2).
    pub classic_only: bool,
    /// The same as one string, comma-joined, for mount(2).
    #[serde(skip)]
    pub data: CString,
}

fn lookup(word: &str) -> Option<Effect> {
    let at = TABLE.binary_search_by(|(w, _)| (*w).cmp(word)).ok()?;
    Some(TABLE[at].1)
}

/// Folds the words. `Err` pairs the index of a word with what is wrong with it.
pub fn parse_options(words: &[String]) -> (Options, Vec<(usize, String)>) {
    let mut out = Options::default();
    let mut wrong = Vec::new();
    let mut data = Vec::new();
    for (n, word) in words.iter().enumerate() {
        match lookup(word) {
            Some(effect) => out.fold(effect),
            None if word.contains('\0') => {
                wrong.push((n, format!("mount option {word:?} contains a null byte")))
            }
            None if word.is_empty() => {}
            None => data.push(word.as_str()),
        }
    }
    out.set_data(&data);
    (out, wrong)
}

impl Options {
    fn fold(&mut self, effect: Effect) {
        match effect {
            Set(bits) => {
                self.flags.0 |= bits;
                self.cleared.0 &= !bits;
            }
            Clear(bits) => {
                self.flags.0 &= !bits;
                self.cleared.0 |= bits;
            }
            Propagate(flags) => self.propagation.push(Propagation::of(flags)),
            DeepSet(bits) => self.fold_deep(bits, true),
            DeepClear(bits) => self.fold_deep(bits, false),
            CopyUp => self.copy_up = true,
            Idmap(depth) => self.idmap = Some(depth),
        }
    }

    fn fold_deep(&mut self, bits: u64, set: bool) {
        if bits & !ATTR_ATIME != 0 {
            let (to, from) = if set {
                (&mut self.deep_set.0, &mut self.deep_clear.0)
            } else {
                (&mut self.deep_clear.0, &mut self.deep_set.0)
            };
            *to |= bits;
            *from &= !bits;
            return;
        }
        // The policies exclude one another, and the kernel refuses a change that does not clear the whole field.
        self.deep_clear.0 |= ATTR_ATIME;
        if set {
            self.deep_set.0 = self.deep_set.0 & !ATTR_ATIME | bits;
        } else {
            self.deep_set.0 &= !bits;
        }
    }

    fn set_data(&mut self, words: &[&str]) {
        let joined = words.join(",");
        // Quoted or escaped commas are understood by single file systems only, in their own way.
        self.classic_only = joined.contains(['\\', '"']);
        for word in joined.split(',').filter(|w| !w.is_empty()) {
            let (key, value) = match word.split_once('=') {
                Some((k, v)) if !k.is_empty() => (k, Some(v)),
                _ => (word, None),
            };
            self.classic_only |= value.is_some_and(|v| v.len() > sys::mount::FSCONFIG_STRING_MAX);
            self.add_parameter(key, value);
        }
        self.data = CString::new(joined).unwrap_or_default();
    }

    fn add_parameter(&mut self, key: &str, value: Option<&str>) {
        // Null bytes were refused before; nothing is lost by the default.
        self.parameters.push(Parameter {
            key: CString::new(key).unwrap_or_default(),
            value: value.map(|v| CString::new(v).unwrap_or_default()),
        });
    }

    /// Puts the SELinux context of `linux.mountLabel` in front.
    pub fn add_label(&mut self, label: &str) {
        let Ok(value) = CString::new(label) else {
            return;
        };
        self.parameters.push(Parameter {
            key: c"context".to_owned(),
            value: Some(value),
        });
        // A label of categories holds commas: the data string of mount(2) wants it quoted.
        let old = self.data.to_string_lossy().into_owned();
        let sep = if old.is_empty() { "" } else { "," };
        self.data = CString::new(format!("{old}{sep}context=\"{label}\"")).unwrap_or_default();
    }

    /// mount(2) takes one page of data and cuts off what is longer without a word.
    pub fn fits_page(&self) -> bool {
        const SMALLEST_PAGE: usize = 4096;
        // Room for a `mode=` that may be put in front.
        self.data.to_bytes().len() + 32 < SMALLEST_PAGE
    }

    /// True when a parameter of this name was given.
    pub fn has_parameter(&self, key: &str) -> bool {
        self.parameters.iter().any(|p| p.key.to_bytes() == key.as_bytes())
    }

    /// The attributes of the mount itself that the flags ask for.
    pub fn attrs(&self) -> u64 {
        plain_attrs(self.flags) | self.atime()
    }

    /// The attributes that the options ask to be absent.
    pub fn cleared_attrs(&self) -> u64 {
        plain_attrs(self.cleared)
            | if self.cleared.any(libc::MS_NOATIME | libc::MS_STRICTATIME) {
                ATTR_ATIME
            } else {
                0
            }
    }

    /// mount(2) lets strict win over never, and never over relative.
    fn atime(&self) -> u64 {
        if self.flags.any(libc::MS_STRICTATIME) {
            ATTR_STRICTATIME
        } else if self.flags.any(libc::MS_NOATIME) {
            ATTR_NOATIME
        } else {
            0
        }
    }

    /// The flags that say something about access times.
    pub const ATIME_FLAGS: u64 =
        libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

    /// True when the flags of a bind mount differ from "as the source has them".
    pub fn changes_bind(&self) -> bool {
        let shape = libc::MS_BIND | REC | libc::MS_REMOUNT;
        self.flags.0 & !shape != 0 || self.cleared.0 != 0
    }
}

/// The attributes that are one bit here and there.
fn plain_attrs(flags: MsFlags) -> u64 {
    let bit = |ms: u64, attr: u64| if flags.any(ms) { attr } else { 0 };
    bit(libc::MS_RDONLY, ATTR_RDONLY)
        | bit(libc::MS_NOSUID, ATTR_NOSUID)
        | bit(libc::MS_NODEV, ATTR_NODEV)
        | bit(libc::MS_NOEXEC, ATTR_NOEXEC)
        | bit(libc::MS_NODIRATIME, ATTR_NODIRATIME)
        | bit(MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        let words: Vec<String> = words.split_whitespace().map(str::to_string).collect();
        let (o, wrong) = parse_options(&words);
        assert!(wrong.is_empty(), "{wrong:?}");
        o
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn later_words_win_and_clearing_is_remembered() {
        let o = parse("ro nosuid rw suid noexec");
        assert_eq!(o.flags.0, libc::MS_NOEXEC);
        assert_eq!(o.cleared.0, libc::MS_RDONLY | libc::MS_NOSUID);
        let o = parse("rw ro");
        assert_eq!((o.flags.0, o.cleared.0), (libc::MS_RDONLY, 0));
    }

    #[test]
    fn binds() {
        assert_eq!(parse("rbind").flags.0, libc::MS_BIND | libc::MS_REC);
        assert!(!parse("rbind rprivate defaults").changes_bind());
        assert!(parse("bind ro").changes_bind());
        assert!(parse("bind rw").changes_bind());
    }

    #[test]
    fn access_times() {
        for (words, attr) in [
            ("noatime", ATTR_NOATIME),
            ("relatime noatime", ATTR_NOATIME),
            ("noatime strictatime", ATTR_STRICTATIME),
            ("noatime atime", 0),
            ("nodiratime", ATTR_NODIRATIME),
        ] {
            assert_eq!(parse(words).attrs(), attr, "{words}");
        }
    }

    #[test]
    fn recursive_attributes_clear_the_atime_field() {
        for (words, set, clear) in [
            ("rro", ATTR_RDONLY, 0),
            ("rro rrw", 0, ATTR_RDONLY),
            ("rrw rro", ATTR_RDONLY, 0),
            ("rnoatime", ATTR_NOATIME, ATTR_ATIME),
            ("rstrictatime", ATTR_STRICTATIME, ATTR_ATIME),
            ("rnoatime rstrictatime", ATTR_STRICTATIME, ATTR_ATIME),
            ("rstrictatime rrelatime", 0, ATTR_ATIME),
            ("ratime", 0, ATTR_ATIME),
            ("rnosuid rnodev rsuid", ATTR_NODEV, ATTR_NOSUID),
            ("rnodiratime", ATTR_NODIRATIME, 0),
        ] {
            let o = parse(words);
            assert_eq!((o.deep_set.0, o.deep_clear.0), (set, clear), "{words}");
        }
    }

    #[test]
    fn propagation_keeps_its_order() {
        let o = parse("rslave shared");
        assert_eq!(format!("{:?}", o.propagation), "[rslave, shared]");
        assert_eq!(
            Propagation::parse("runbindable").map(|p| p.word()),
            Some("runbindable")
        );
        assert!(Propagation::parse("ro").is_none());
    }

    #[test]
    fn the_rest_is_for_the_file_system() {
        let o = parse("mode=755 ro size=65536k,nr_inodes=1k newinstance");
        assert_eq!(
            o.data.to_str(),
            Ok("mode=755,size=65536k,nr_inodes=1k,newinstance")
        );
        assert_eq!(o.parameters.len(), 4);
        assert_eq!(o.parameters[3].value, None);
        assert!(o.has_parameter("mode") && !o.classic_only);
        assert!(parse(&format!("lowerdir={}", "x".repeat(256))).classic_only);
        assert!(parse(r"lowerdir=/a\,b").classic_only);
    }

    #[test]
    fn data_beyond_a_page_is_noticed() {
        assert!(parse("mode=755").fits_page());
        assert!(!parse(&"nr_inodes=1 ".repeat(400)).fits_page());
    }

    #[test]
    fn a_label_is_quoted_for_the_classic_call_only() {
        let mut o = parse("mode=755");
        o.add_label("system_u:object_r:container_file_t:s0:c1,c2");
        assert_eq!(
            o.data.to_str(),
            Ok("mode=755,context=\"system_u:object_r:container_file_t:s0:c1,c2\"")
        );
        assert_eq!(o.parameters.len(), 2);
        assert!(!o.classic_only);
    }

    #[test]
    fn printed_as_words() {
        let json = serde_json::to_value(parse("rbind ro rw nosuid rro rprivate")).unwrap();
        assert_eq!(json["flags"], serde_json::json!(["bind", "nosuid", "rbind"]));
        assert_eq!(json["cleared"], serde_json::json!(["ro"]));
        assert_eq!(json["deepSet"], serde_json::json!(["rro"]));
        assert_eq!(json["propagation"], serde_json::json!(["rprivate"]));
    }
}
