//! Thousands of mutations of what comes from outside: nothing may panic, and what is accepted has to be sound.

#![allow(clippy::unwrap_used)]

use super::challenge;
use super::download::parse_content_range;
use super::errors;
use super::hosts_toml;
use super::list::parse_link;
use super::proxy::Proxies;
use super::registries_conf::RegistriesConf;
use super::retry::parse_retry_after;
use super::session::parse_warning;
use super::upload::parse_range;
use super::url::Url;

const ROUNDS: usize = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Mutations of the seeds: bytes changed, cut, doubled, and pieces of one seed put into another.
fn mutations(seeds: &[&str], mut with: impl FnMut(&str)) {
    const SPICE: [&str; 24] = [
        "\"",
        "\\",
        ",",
        "=",
        " ",
        "<",
        ">",
        ";",
        "/",
        ":",
        "[",
        "]",
        "{",
        "}",
        "é",
        "\u{0}",
        "\n",
        "-",
        "%",
        "99999999999999999999",
        "?",
        "#",
        "@",
        "*",
    ];
    let mut random = Random(0x5eed_5eed);
    for seed in seeds {
        with(seed);
        for cut in 0..=seed.len() {
            if seed.is_char_boundary(cut) {
                with(&seed[..cut]);
                with(&seed[cut..]);
            }
        }
        for _ in 0..ROUNDS {
            let mut text: Vec<char> = seed.chars().collect();
            for _ in 0..=random.next(4) {
                let at = random.next(text.len() + 1);
                match random.next(4) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 => text
                        .splice(at..at, SPICE[random.next(SPICE.len())].chars())
                        .for_each(drop),
                    2 => {
                        let other = seeds[random.next(seeds.len())];
                        let piece: Vec<char> = other
                            .chars()
                            .skip(random.next(other.len()))
                            .take(random.next(20))
                            .collect();
                        text.splice(at..at, piece).for_each(drop);
                    }
                    _ if at < text.len() => text[at] = char::from(random.next(128) as u8),
                    _ => {}
                }
            }
            with(&text.into_iter().collect::<String>());
        }
    }
}

#[test]
fn challenges() {
    let seeds = [
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#,
        r#"Basic realm="a, \"b\"", Bearer realm=x, Negotiate YWJj=="#,
    ];
    mutations(&seeds, |text| {
        for challenge in challenge::parse([text, text].into_iter()) {
            assert!(!challenge.scheme.is_empty() && challenge.scheme.is_ascii());
        }
    });
}

#[test]
fn headers() {
    let seeds = [
        "bytes 0-99/200",
        "bytes 5-9/*",
        "0-99",
        "bytes=0-7",
        "120",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "299 - \"old\"",
        "</v2/x?n=1>; rel=\"next\", <y>; rel=prev",
    ];
    mutations(&seeds, |text| {
        if let Some((range, total)) = parse_content_range(text) {
            assert!(range.start < range.end && total.is_none_or(|t| range.end <= t));
        }
        parse_range(text);
        parse_retry_after(text, std::time::SystemTime::now());
        parse_link(text);
        if let Some(warning) = parse_warning(text) {
            assert!(!warning.contains(char::is_control));
        }
    });
}

#[test]
fn addresses() {
    let base = Url::parse("https://h.io:5000/v2/a?b").unwrap();
    let proxies = Proxies {
        https: Some("p:1".to_owned()),
        ..Proxies::default()
    };
    mutations(
        &[
            "https://user:pw@host.io:5000/v2/a/b?c=d#e",
            "http://[::1]:80/",
            "//x/y",
            "../z",
            "?q",
        ],
        |text| {
            for url in [Url::parse(text), base.join(text)].into_iter().flatten() {
                assert!(
                    url.path.starts_with('/') && !url.host.is_empty() && !url.host.contains('@'),
                    "{text:?}"
                );
                assert_eq!(Url::parse(&url.to_string()).unwrap(), url, "{text:?}");
                proxies.proxy_for(&url);
            }
        },
    );
    mutations(&["10.0.0.0/8,.a.io,[::1]:80,fd00::/8,*,h:1"], |text| {
        let proxies = Proxies {
            https: Some("p:1".to_owned()),
            none: text.to_owned(),
            ..Proxies::default()
        };
        proxies.proxy_for(&base);
    });
}

#[test]
fn documents() {
    let errors = [
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{"Tag":"x"}}]}"#,
        r#"{"error":"invalid_grant","error_description":"x","details":"y","message":"z"}"#,
    ];
    mutations(&errors, |text| {
        if let Some(sentence) = errors::sentence(text.as_bytes()) {
            assert!(!sentence.contains(char::is_control) && !sentence.is_empty());
        }
    });
    let hosts = [
        "server = \"https://a\"\n[host.\"https://b\"]\ncapabilities = [\"pull\"]\nclient = [[\"a\", \"b\"]]\ndial_timeout = \"1m\"\n[host.\"https://b\".header]\nx = [\"y\"]\n",
    ];
    mutations(&hosts, |text| drop(hosts_toml::parse(text)));
    let conf = [
        "unqualified-search-registries = [\"a\"]\n[[registry]]\nprefix = \"*.b.io/c\"\nlocation = \"d/e\"\n[[registry.mirror]]\nlocation = \"f\"\n[aliases]\n\"x\" = \"y/z\"\n",
    ];
    mutations(&conf, |text| {
        let mut conf = RegistriesConf::default();
        if conf.add(text).is_ok() {
            for name in ["q.b.io/c/d", "b.io/c", "é.b.io/c"] {
                if let Some(entry) = conf.entry_for(name) {
                    entry.renamed(name, entry.location.as_deref());
                }
            }
            conf.long_names("x:1");
        }
    });
}
