//! What is in an image: an SPDX 2.3 document of its packages.
//!
//! May not: guess. A licence that is no SPDX expression stands in a comment.

use image::packages::{self, Distribution, Package};
use image::{Digest, Result};
use serde_json::{Value, json};
use std::os::fd::AsFd;

use super::super::{Product, Work, files};

pub const KIND: &str = "https://spdx.dev/Document";

pub fn document(work: &Work<'_>, product: &Product) -> Result<Value> {
    let (distribution, found) = match files::root(work, product)? {
        Some(root) => packages::find(root.as_fd(), &work.lease.directory())?,
        None => Default::default(),
    };
    let created = sys::time::rfc3339_nano(work.story.ended);
    // To the second: SPDX 2.3, 6.9.
    let created = match created.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => created,
    };
    let name = work
        .options
        .names
        .first()
        .map_or_else(|| "image".to_owned(), |name| name.familiar());
    Ok(spdx(&name, &created, &distribution, &found))
}

fn spdx(name: &str, created: &str, distribution: &Distribution, found: &[Package]) -> Value {
    let mut packages = vec![json!({
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-Image",
    })];
    for package in found {
        let purl = purl(package, distribution);
        let id = format!("SPDXRef-Package-{}", Digest::of(purl.as_bytes()).short());
        let (declared, comment) = licence(&package.licence);
        let mut entry = json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "supplier": "NOASSERTION",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared,
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }],
        });
        if let Some(comment) = comment {
            entry["licenseComments"] = json!(comment);
        }
        if !package.source.is_empty() && package.source != package.name {
            entry["sourceInfo"] = json!(format!("built from {}", package.source));
        }
        packages.push(entry);
        relations.push(json!({
            "spdxElementId": "SPDXRef-Image",
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    let content = Digest::of(json!([name, created, packages]).to_string().as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://brig.invalid/spdx/{}", content.hex()),
        "creationInfo": {
            "created": created,
            "creators": [concat!("Tool: brig-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    })
}

/// `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12`.
fn purl(package: &Package, distribution: &Distribution) -> String {
    let mut text = format!("pkg:{}/", package.kind);
    if !distribution.id.is_empty() {
        text.push_str(&encoded(&distribution.id));
        text.push('/');
    }
    text.push_str(&encoded(&package.name));
    // An epoch is a qualifier in the purls of rpm.
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if package.kind == "rpm" => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    text.push('@');
    text.push_str(&encoded(version));
    let mut qualifiers = Vec::new();
    if !package.architecture.is_empty() {
        qualifiers.push(format!("arch={}", encoded(&package.architecture)));
    }
    if !distribution.id.is_empty() {
        let distro = format!("{}-{}", distribution.id, distribution.version);
        qualifiers.push(format!("distro={}", encoded(distro.trim_end_matches('-'))));
    }
    if let Some(epoch) = epoch {
        qualifiers.push(format!("epoch={}", encoded(epoch)));
    }
    if !qualifiers.is_empty() {
        text.push('?');
        text.push_str(&qualifiers.join("&"));
    }
    text
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(byte.into())
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The licence as an expression, and in a comment what is none.
fn licence(text: &str) -> (String, Option<String>) {
    const NONE: &str = "NOASSERTION";
    if text.is_empty() {
        return (NONE.to_owned(), None);
    }
    let is_word = |word: &str| {
        let bare = word.trim_matches(['(', ')']);
        matches!(bare, "AND" | "OR" | "WITH") || EXPRESSIONS.contains(&bare)
    };
    match text.split_whitespace().all(is_word) {
        true => (text.to_owned(), None),
        false => (NONE.to_owned(), Some(text.to_owned())),
    }
}

/// Identifiers of the SPDX licence list that packages of distributions have most.
const EXPRESSIONS: [&str; 44] = [
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "curl",
    "FSFAP",
    "FTL",
    "GFDL-1.3-or-later",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ICU",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MPL-1.1",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Vim",
    "X11",
    "Zlib",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_urls_and_licences() {
        let distribution = Distribution {
            id: "fedora".into(),
            version: "40".into(),
        };
        let package = Package {
            kind: "rpm",
            name: "libstdc++".into(),
            version: "2:14-1".into(),
            architecture: "x86_64".into(),
            licence: "GPL-3.0-or-later AND (MIT OR X11)".into(),
            source: String::new(),
        };
        let text = purl(&package, &distribution);
        assert_eq!(
            text,
            "pkg:rpm/fedora/libstdc%2B%2B@14-1?arch=x86_64&distro=fedora-40&epoch=2"
        );
        assert_eq!(licence(&package.licence), (package.licence.clone(), None));
        let (declared, comment) = licence("Expat AND GPL-2+");
        assert_eq!((declared.as_str(), comment.is_some()), ("NOASSERTION", true));
        let document = spdx("x", "2026-01-01T00:00:00Z", &distribution, &[package]);
        assert_eq!(document["packages"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            document["relationships"][1]["relatedSpdxElement"],
            document["packages"][1]["SPDXID"]
        );
    }
}
