//! A file from the web, for `import` and for builds.
//!
//! May not: send credentials. Whoever serves a file is nobody that the user has logged in to.

use std::io::{self, Read};

use ureq::http::HeaderMap;

use super::client::Client;
use super::hosts::{Endpoint, Plain};
use super::http::{Cause, Failure, Tls};
use super::session::{Ask, Target};
use super::url::Url;
use crate::{Context, Error, Kind, Result};

/// The bytes of a file while they come.
pub struct WebFile {
    body: ureq::BodyReader<'static>,
    /// What was asked for.
    address: Url,
    /// What answered.
    url: Url,
    /// As the server has announced it.
    length: Option<u64>,
    headers: HeaderMap,
    read: u64,
}

impl Client {
    /// A file of http or https, from its begin. Redirects are followed, but not from https to http; what passes is tried again, until the
    /// first byte. A file that breaks off later is an error: without a digest nothing says that the rest would be of the same file.
    ///
    /// # Errors
    /// `Invalid` for what is no address; `NotFound`, `Denied`, `Unavailable`.
    pub fn web_file(&self, address: &str) -> Result<WebFile> {
        self.web_file_with(address, &[])
    }

    /// The same with headers, which go to no other host that it may be redirected to.
    ///
    /// # Errors
    /// As [`Client::web_file`].
    pub fn web_file_with(&self, address: &str, headers: &[(String, String)]) -> Result<WebFile> {
        let file = self.web_file_unless(address, headers, &[])?;
        file.ok_or_else(|| {
            Error::of(
                Kind::Unavailable,
                format!("{address}: answered 304, and was not asked that"),
            )
        })
    }

    /// The same with conditions (`if-none-match`), which whoever has the file hears. None: it is not modified.
    ///
    /// # Errors
    /// As [`Client::web_file`].
    pub fn web_file_unless(
        &self,
        address: &str,
        headers: &[(String, String)],
        conditions: &[(&str, &str)],
    ) -> Result<Option<WebFile>> {
        let url = Url::parse(address)?;
        let endpoint = Endpoint {
            base: url.clone(),
            repository: String::new(),
            tls: Tls::default(),
            // In the clear only if the address says so.
            plain: Plain::Never,
            headers: headers.to_vec(),
            namespace: None,
            is_mirror: false,
            dial_timeout: None,
            is_stranger: true,
        };
        let ask = Ask {
            target: Target::Given(&url),
            headers: conditions,
            ..Ask::bare("GET", "", &[])
        };
        let doing = || format!("failed to fetch {url}");
        let answer = self.inner().session.good(&endpoint, &ask);
        let answer = answer
            .map_err(|failure| match failure.cause {
                Cause::Status(404 | 410) => Error::not_found("there is no such file"),
                _ => failure.error,
            })
            .context(doing())?;
        if answer.status == 304 && !conditions.is_empty() {
            return Ok(None);
        }
        if answer.status != 200 {
            let text = format!("{} answered {}", answer.url.authority(), answer.status);
            return Err(Error::of(Kind::Unavailable, text).context(doing()));
        }
        Ok(Some(WebFile {
            length: answer.length(),
            headers: answer.headers.clone(),
            body: answer.body.into_reader(),
            address: url,
            url: answer.url,
            read: 0,
        }))
    }
}

impl WebFile {
    /// What was asked for, without the name and password that may have been written in it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The first value of a header of the answer, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Read for WebFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let failed = |e| Error::from(Failure::broken(&self.url, e));
        let n = self.body.read(to).map_err(failed)?;
        self.read += n as u64;
        if n == 0 && !to.is_empty() && self.length.is_some_and(|length| self.read < length) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()).into());
        }
        Ok(n)
    }
}
