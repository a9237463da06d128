//! The images that the registries hold from the start.
//!
//! May not: hold anything on which image tools are known to differ. What each does with those is no one's contract.

use std::path::Path;

use crate::archive::{Entry, Kind, archive};
use crate::depot::{Compression, Depot, Format, Image, Layer, Recipe, native};
use crate::lab::Lab;
use conformance::seed::Numbers;

/// What a container of the image `many` prints.
pub const MESSAGE: &str = "from the last layer";

pub struct Fixtures {
    pub depot: Depot,
    /// Five layers with everything that archives can hold.
    pub many: Image,
    /// `many` without the layer that Docker cannot put together again, which `docker save` has to.
    pub modest: Image,
    /// Four layers of `many`, and one of its own.
    pub cousin: Image,
    /// The same five layers in other words and compressions.
    pub variants: Vec<(&'static str, Image)>,
    /// An index of this machine's `many`, another machine's image and an attestation.
    pub index: Image,
    /// The same as Docker's manifest list.
    pub list: Image,
    /// Another machine's, in both.
    pub foreign: Image,
    /// One small layer each.
    pub small: Vec<Image>,
    /// Two layers of 16 MiB that do not compress.
    pub large: Image,
    /// Debian, as debootstrap makes it.
    pub debian: Image,
}

/// The machine that this one is not.
pub fn foreign() -> &'static str {
    if native() == "amd64" { "arm64" } else { "amd64" }
}

impl Fixtures {
    pub fn make(dir: &Path) -> Result<Fixtures, String> {
        let depot = Depot::open(&dir.join("depot"))?;
        let archives = layers_of_many()?;
        let layers = depot.layers(&archives, Compression::Gzip)?;
        let recipe = Recipe::new(&["/bin/sh", "-c", "cat /message"]);
        let many = depot.image(&recipe, &layers)?;
        let last = depot.layers(
            &[archive(&[Entry::file("message", b"from the cousin\n")])],
            Compression::Gzip,
        )?;
        let of_cousin: Vec<Layer> = layers.iter().take(4).chain(&last).cloned().collect();
        let cousin = depot.image(&recipe, &of_cousin)?;

        let of_modest: Vec<Layer> = [0, 1, 3, 4]
            .iter()
            .filter_map(|n| layers.get(*n).cloned())
            .collect();
        let modest = depot.image(&recipe.clone().docker(), &of_modest)?;

        let mut variants = vec![("schema2", depot.image(&recipe.clone().docker(), &layers)?)];
        for (name, compression) in [
            ("members", Compression::Members),
            ("none", Compression::None),
            ("zstd", Compression::Zstd),
        ] {
            variants.push((
                name,
                depot.image(&recipe, &depot.layers(&archives, compression)?)?,
            ));
        }

        let only = depot.layers(
            &[archive(&[Entry::file("where", foreign().as_bytes())])],
            Compression::Gzip,
        )?;
        let elsewhere = Recipe::new(&["/where"]).architecture(foreign());
        let foreign_image = depot.image(&elsewhere, &only)?;
        let attestation = depot.image(&elsewhere.clone().architecture("unknown"), &only)?;
        let both = [
            (foreign(), foreign_image.clone()),
            ("unknown", attestation),
            (native(), many.clone()),
        ];
        let index = depot.index(Format::Oci, &both)?;
        let schema2 = [
            (foreign(), depot.image(&elsewhere.docker(), &only)?),
            (native(), depot.image(&recipe.clone().docker(), &layers)?),
        ];
        let list = depot.index(Format::Docker, &schema2)?;

        let mut small = Vec::new();
        for n in 1..=3 {
            let entry = Entry::file("number", format!("{n}\n").as_bytes());
            let layer = depot.layers(&[archive(&[entry])], Compression::Gzip)?;
            small.push(depot.image(&Recipe::new(&["/number"]), &layer)?);
        }
        let mut numbers = Numbers::from(7);
        let halves: Vec<Vec<u8>> = ["one", "two"]
            .iter()
            .map(|name| archive(&[Entry::file(name, &numbers.bytes(16 << 20))]))
            .collect();
        let large = depot.image(
            &Recipe::new(&["/one"]),
            &depot.layers(&halves, Compression::Gzip)?,
        )?;
        let debian = debian(dir, &depot)?;
        Ok(Fixtures {
            depot,
            many,
            modest,
            cousin,
            variants,
            index,
            list,
            foreign: foreign_image,
            small,
            large,
            debian,
        })
    }

    /// Puts everything where cases look for it.
    pub fn plant(&self, lab: &Lab) -> Result<(), String> {
        let depot = &self.depot;
        let mut registries = vec![&lab.plain, &lab.tls];
        registries.extend(&lab.locked);
        for registry in registries {
            registry.plant(depot, "many", "1", &self.many)?;
        }
        lab.plain.plant(depot, "many", "2", &self.cousin)?;
        lab.plain.plant(depot, "modest", "1", &self.modest)?;
        for (name, image) in &self.variants {
            lab.plain.plant(depot, "variant", name, image)?;
        }
        lab.plain.plant(depot, "index", "1", &self.index)?;
        lab.plain.plant(depot, "list", "1", &self.list)?;
        for (n, image) in self.small.iter().enumerate() {
            lab.plain.plant(depot, "small", &format!("{}", n + 1), image)?;
        }
        lab.plain.plant(depot, "large", "1", &self.large)?;
        lab.plain.plant(depot, "debian", "bookworm", &self.debian)
    }
}

/// The base image: its archive and the compressed form were made outside, and are kept there.
fn debian(dir: &Path, depot: &Depot) -> Result<Image, String> {
    let file = dir.join("image");
    let compressed = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let digest = format!("{compressed}.diff-id");
    let diff_id = std::fs::read_to_string(&digest).map_err(|e| format!("{digest}: {e}"))?;
    let layer = depot.compressed_layer(Path::new(&compressed), &diff_id)?;
    depot.image(&Recipe::new(&["cat", "/etc/debian_version"]), &[layer])
}

fn layers_of_many() -> Result<Vec<Vec<u8>>, String> {
    let busybox = std::fs::read("/bin/busybox").map_err(|e| format!("/bin/busybox: {e}"))?;
    Ok(vec![
        archive(&ground(&busybox)),
        archive(&kinds()),
        archive(&attributes()),
        archive(&removals()),
        archive(&names()),
    ])
}

fn ground(busybox: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = [
        "bin", "dev", "etc", "proc", "sys", "usr", "usr/lib", "data", "data/dir",
    ]
    .map(Entry::directory)
    .into();
    entries.extend([
        Entry::file("bin/busybox", busybox).mode(0o755),
        Entry::symlink("bin/sh", "busybox"),
        Entry::symlink("bin/cat", "/bin/busybox"),
        Entry::symlink("bin/id", "busybox").gnu(),
        Entry::directory("tmp").mode(0o1777),
        Entry::directory("root").mode(0o700),
        Entry::file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/:/bin/sh\n",
        ),
        Entry::file("etc/group", b"root:x:0:\ngroup:x:1001:\n").gnu(),
        Entry::file("message", b"from the first layer\n"),
        Entry::file("data/keep", b"kept\n").mtime(1, 0),
        Entry::file("data/gone", b"gone\n"),
        Entry::file("data/dir/a", b"a\n"),
        Entry::file("data/dir/b", b"b\n"),
        Entry::directory("data/opaque"),
        Entry::file("data/opaque/old", b"old\n"),
        Entry::directory("data/opaque/sub"),
        Entry::file("data/opaque/sub/old", b"old\n"),
        Entry::file("data/was-file", b"a file\n"),
        Entry::directory("data/was-dir"),
        Entry::file("data/was-dir/x", b"x\n"),
        Entry::symlink("data/link", "keep"),
        Entry::symlink("data/dangling", "../no/where"),
        Entry::directory("data/whole"),
        Entry::file("data/whole/x", b"x\n"),
    ]);
    entries
}

fn kinds() -> Vec<Entry> {
    vec![
        Entry::directory("kinds"),
        Entry::file("kinds/a", b"linked\n").mode(0o600),
        // A link says once more what its file is; where it says something else the tools differ.
        Entry::hardlink("kinds/b", "kinds/a").mode(0o600),
        Entry::directory("kinds/deep"),
        Entry::hardlink("kinds/deep/c", "kinds/b").mode(0o600).gnu(),
        Entry::file("kinds/suid", b"suid\n")
            .mode(0o4755)
            .owner(1000, 1001),
        Entry::file("kinds/sgid", b"sgid\n").mode(0o2755).owner(0, 50),
        Entry::directory("kinds/setgid").mode(0o2775).owner(0, 1001),
        Entry::file("kinds/secret", b"").mode(0),
        Entry::file("kinds/great-pax", b"ids\n").owner(3_000_000, 3_000_001),
        Entry::file("kinds/great-gnu", b"ids\n")
            .owner(3_000_000, 3_000_001)
            .gnu(),
        Entry::new("kinds/null", Kind::Character(1, 3)).mode(0o666),
        Entry::new("kinds/char", Kind::Character(240, 300))
            .mode(0o640)
            .gnu(),
        Entry::new("kinds/loop", Kind::Block(7, 9))
            .mode(0o660)
            .owner(0, 6),
        Entry::new("kinds/fifo", Kind::Fifo).mode(0o622),
        Entry::symlink("kinds/owned", "a").owner(1000, 1001),
        Entry::symlink("kinds/absolute", "/etc/passwd"),
    ]
}

fn attributes() -> Vec<Entry> {
    // Version 2, effective, CAP_NET_BIND_SERVICE permitted.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pieces = vec![
        (0, b"begin".to_vec()),
        (65536, vec![7; 4096]),
        (1 << 20, b"end".to_vec()),
    ];
    vec![
        Entry::directory("attributes").attribute("user.of-directory", b"yes"),
        Entry::file("attributes/capable", b"capable\n")
            .mode(0o755)
            .owner(1000, 1000)
            .attribute("security.capability", &capability),
        Entry::file("attributes/noted", b"noted\n")
            .attribute("user.note", b"a note")
            .attribute("user.binary", &[0, 1, 2, b'=', b'\n', 255]),
        Entry::file("attributes/trusted", b"").attribute("trusted.mark", b"1"),
        Entry::new("attributes/sparse-pax", Kind::Sparse((1 << 20) + 3, pieces)),
        Entry::new("attributes/hole", Kind::Sparse(3 << 20, vec![(100, vec![1])])),
        Entry::file("attributes/nanoseconds", b"").mtime(1_600_000_000, 123_456_789),
    ]
}

fn removals() -> Vec<Entry> {
    vec![
        Entry::directory("data").mode(0o711).owner(5, 6),
        Entry::file("data/.wh.gone", b""),
        Entry::directory("data/dir"),
        Entry::file("data/dir/.wh.a", b""),
        Entry::directory("data/opaque"),
        Entry::file("data/opaque/.wh..wh..opq", b""),
        Entry::file("data/opaque/new", b"new\n"),
        Entry::file("data/.wh.whole", b""),
        Entry::directory("data/was-file"),
        Entry::file("data/was-file/inside", b"inside\n"),
        Entry::file("data/was-dir", b"a file now\n"),
        Entry::symlink("data/link", "was-dir"),
    ]
}

fn names() -> Vec<Entry> {
    let long = "n".repeat(120);
    let deep = format!(
        "names/{}",
        ["d".repeat(90), "e".repeat(90), "f".repeat(90)].join("/")
    );
    let parents: Vec<&str> = deep
        .match_indices('/')
        .skip(1)
        .map(|(at, _)| &deep[..at])
        .chain([deep.as_str()])
        .collect();
    let mut entries = vec![Entry::directory("names")];
    entries.extend(parents.into_iter().map(Entry::directory));
    entries.extend([
        Entry::file("message", format!("{MESSAGE}\n").as_bytes()).mode(0o444),
        Entry::file(&format!("names/{long}"), b"pax\n"),
        Entry::file(&format!("names/{long}-gnu"), b"gnu\n").gnu(),
        Entry::file(&format!("{deep}/pax"), b"pax\n"),
        Entry::file(&format!("{deep}/gnu"), b"gnu\n").gnu(),
        Entry::symlink("names/to-long", &format!("{deep}/pax")),
        Entry::symlink("names/to-long-gnu", &format!("{deep}/gnu")).gnu(),
        Entry::hardlink("names/linked", &format!("{deep}/pax")),
        Entry::file("names/größe-漢字", b"utf-8\n"),
        Entry::file("names/with space, and \"quotes\"\\", b"odd\n"),
        Entry::file("names/new\nline", b"odd\n"),
        Entry::file("names/.hidden", b"").mtime(2_000_000_000, 5),
        Entry::file("names/-dash", b"").gnu(),
        Entry::file("./names/./dotted", b"dotted\n"),
    ]);
    entries
}
