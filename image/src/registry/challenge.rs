//! WWW-Authenticate: what a server wants to see (RFC 9110, 11.6.1).
//!
//! May not: fail. What cannot be read is left out; a server that sends nothing readable gets no credentials.

/// One way to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Lower case.
    pub scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// All challenges of all headers of that name. One header may hold several, separated by the same comma that separates parameters.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers {
        parse_header(header, &mut challenges);
    }
    challenges
}

fn parse_header(header: &str, into: &mut Vec<Challenge>) {
    let mut rest = Rest(header);
    let begin = into.len();
    loop {
        rest.skip(|b| matches!(b, b' ' | b'\t' | b','));
        let word = rest.token();
        if word.is_empty() {
            // Neither a scheme nor a parameter: go on behind the next comma.
            if rest.until_comma().is_none() {
                return;
            }
            continue;
        }
        rest.skip(|b| matches!(b, b' ' | b'\t'));
        if rest.0.starts_with('=') {
            rest.0 = &rest.0[1..];
            rest.skip(|b| matches!(b, b' ' | b'\t'));
            let value = if rest.0.starts_with('"') {
                rest.quoted()
            } else {
                rest.token().to_owned()
            };
            // A parameter belongs to the scheme before it, of the same header.
            if let Some(challenge) = into[begin..].last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest.until_comma();
        } else {
            into.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
        }
    }
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, is: impl Fn(u8) -> bool) {
        self.0 = &self.0[self.0.bytes().take_while(|b| is(*b)).count()..];
    }

    fn token(&mut self) -> &'a str {
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/:".contains(b);
        let (token, rest) = self.0.split_at(self.0.bytes().take_while(is_token).count());
        self.0 = rest;
        token
    }

    /// What stands between quotes; without the second one, all.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut characters = self.0[1..].char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 2..];
                    return value;
                }
                '\\' => value.extend(characters.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        self.0 = "";
        value
    }

    /// Past the next comma, where there is one.
    fn until_comma(&mut self) -> Option<()> {
        match self.0.find(',') {
            Some(at) => {
                self.0 = &self.0[at + 1..];
                Some(())
            }
            None => {
                self.0 = "";
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(headers: &[&str]) -> Vec<String> {
        let parameters = |c: &Challenge| {
            c.parameters
                .iter()
                .map(|(n, v)| format!(" {n}={v}"))
                .collect::<String>()
        };
        parse(headers.iter().copied())
            .iter()
            .map(|c| c.scheme.clone() + &parameters(c))
            .collect()
    }

    #[test]
    fn challenges_are_told_apart() {
        for (headers, expected) in [
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                ][..],
                &[
                    "bearer realm=https://auth.docker.io/token service=registry.docker.io scope=repository:a/b:pull,push",
                ][..],
            ),
            (
                &["Basic realm=\"a, b\", Bearer realm=x"],
                &["basic realm=a, b", "bearer realm=x"],
            ),
            (&["Negotiate, Basic realm=\"r\""], &["negotiate", "basic realm=r"]),
            (
                &[
                    "BASIC",
                    "bearer Realm = \"q\\\"uo\\\\te\" , error=\"invalid_token\"",
                ],
                &["basic", "bearer realm=q\"uo\\te error=invalid_token"],
            ),
            (
                &["Bearer realm=https://h/token,service=s"],
                &["bearer realm=https://h/token service=s"],
            ),
            (
                &["Bearer realm=\"unfinished, service=x"],
                &["bearer realm=unfinished, service=x"],
            ),
            (&["realm=\"without scheme\""], &[]),
            (&[",, ,", "", "=", "\"", "é=é, Basic realm=é"], &["basic realm="]),
            // What Negotiate carries looks like a parameter; nobody asks for one of that name.
            (
                &["Negotiate YWJj==, Basic realm=r"],
                &["negotiate ywjj=", "basic realm=r"],
            ),
        ] {
            assert_eq!(shown(headers), expected, "{headers:?}");
        }
    }
}
