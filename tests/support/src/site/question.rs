//! What a visitor asks of a site, and what the right answer is.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use super::{SERVED_AT, Site};
use crate::Response;

/// What a visitor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The small page.
    Page,
    /// The small page, as the last thing on this connection.
    LastPage,
    /// The large file.
    Download,
    /// What is posted, which this number makes another one.
    Echo(u64),
}

/// A request, and what is expected.
pub(crate) struct Question<'s> {
    /// The request.
    pub(crate) text: String,
    site: &'s Site,
    host: &'s str,
    path: &'s str,
    body: Cow<'s, [u8]>,
}

impl<'s> Question<'s> {
    /// Asks under this name.
    pub(crate) fn new(site: &'s Site, host: &'s str, wish: Wish) -> Self {
        let (path, body): (&str, Cow<'_, [u8]>) = match wish {
            Wish::Page | Wish::LastPage => (&site.page.0, Cow::Borrowed(&site.page.1)),
            Wish::Download => (&site.download.0, Cow::Borrowed(&site.download.1)),
            Wish::Echo(number) => {
                let padding = "x".repeat(usize::try_from(number % 3000).unwrap_or(0));
                // Ends in something else than a blank: nginx's echo goes through a header field, which loses those.
                (&site.echo, Cow::Owned(format!("visitor {number} {padding}.").into_bytes()))
            }
        };
        let text = match wish {
            Wish::Page | Wish::Download => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Wish::LastPage => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            Wish::Echo(_) => format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{}",
                body.len(),
                String::from_utf8_lossy(&body)
            ),
        };
        Self { text, site, host, path, body }
    }

    /// Whether this is the right answer of a server that was dialled at this address, or why not.
    pub(crate) fn judge(&self, dialled: SocketAddr, answer: &Response) -> Result<(), String> {
        if self.site.over_tls {
            return self.judge_redirect(answer);
        }
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        if answer.body != *self.body {
            let (got, expected) = (answer.body.len(), self.body.len());
            return Err(format!("a body of {got} bytes instead of {expected}, or another one"));
        }
        let at = answer.header(SERVED_AT).and_then(|at| at.parse::<IpAddr>().ok());
        if self.site.served_at && at != Some(dialled.ip()) {
            return Err(format!("dialled {dialled}, served at {at:?}"));
        }
        Ok(())
    }

    fn judge_redirect(&self, answer: &Response) -> Result<(), String> {
        let (location, expected) = (answer.header("location"), format!("https://{}{}", self.host, self.path));
        let is_good = matches!(answer.status, 301 | 308) && location == Some(&*expected);
        if is_good { Ok(()) } else { Err(format!("status {}, to {location:?}", answer.status)) }
    }
}
