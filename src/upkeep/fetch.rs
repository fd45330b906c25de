//! Looks at a name from here, as an authority would: over plain HTTP on port 80.

use std::{io, net::SocketAddr, time::Duration};

use authenticator_api::{BoxFuture, DomainName};
use certificates::{BoxError, Family, Fetched, Fetcher};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Fetches by the system's names.
pub(super) struct ByName;

impl Fetcher for ByName {
    fn fetch<'a>(&'a self, name: &'a DomainName, family: Family, path: &'a str) -> BoxFuture<'a, Fetched> {
        Box::pin(async move {
            let fetched = tokio::time::timeout(DEADLINE, follow(name, family, path)).await;
            fetched.unwrap_or_else(|_| Fetched::Failed("there was no answer in time".into()))
        })
    }
}

async fn follow(name: &DomainName, family: Family, path: &str) -> Fetched {
    let mut place = Place { host: name.to_string(), port: 80, path: path.to_owned() };
    for _ in 0..MOST_REDIRECTS {
        let addresses = match place.addresses(family).await {
            Ok(addresses) if addresses.is_empty() => return Fetched::NoAddress,
            Ok(addresses) => addresses,
            // No name service says nothing about the name.
            Err(error) => return Fetched::Failed(error.into()),
        };
        match get(&place, &addresses).await {
            Ok(Got::Answer { status, body }) => return Fetched::Answer { status, body },
            Ok(Got::Elsewhere(next)) => match place.redirected(&next) {
                Some(next) => place = next,
                // Behind https anything may be right: an authority follows without looking at certificates, we do not.
                None => return Fetched::Failed(format!("it leads to {next}, where we do not follow").into()),
            },
            Err(error) => return Fetched::Failed(error),
        }
    }
    Fetched::Failed("it leads on and on".into())
}

/// What is asked for.
struct Place {
    host: String,
    port: u16,
    path: String,
}

enum Got {
    Answer { status: u16, body: Vec<u8> },
    Elsewhere(String),
}

impl Place {
    async fn addresses(&self, family: Family) -> io::Result<Vec<SocketAddr>> {
        let host = self.host.trim_matches(['[', ']']);
        // A name that is not there and a name service that is not there are told apart by the words only.
        match tokio::net::lookup_host((host, self.port)).await {
            Ok(found) => Ok(found.filter(|address| address.is_ipv6() == (family == Family::V6)).collect()),
            Err(error) if error.to_string().contains("Name or service not known") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Where an answer leads that says to go elsewhere.
    fn redirected(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Self { host: self.host.clone(), port: self.port, path: location.to_owned() });
        }
        let rest = location.strip_prefix("http://")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        Some(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

async fn get(place: &Place, addresses: &[SocketAddr]) -> Result<Got, BoxError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let mut stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lockgate-self-check\r\nConnection: close\r\n\r\n",
            place.path, place.host
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
        return parse(&answer).ok_or_else(|| "this is no HTTP".into());
    }
    Err(last.into())
}

fn parse(answer: &[u8]) -> Option<Got> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |wanted: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    if matches!(status, 301 | 302 | 303 | 307 | 308)
        && let Some(location) = field("location")
    {
        return Some(Got::Elsewhere(location));
    }
    let is_chunked = field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if is_chunked { unchunked(body) } else { body.to_vec() };
    Some(Got::Answer { status, body })
}

/// As much of a body as has come (RFC 9112 §7.1).
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).unwrap_or(0);
        let chunk = rest.get(end + 2..end + 2 + size);
        let Some(chunk) = chunk.filter(|_| size > 0) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}

/// For all of it, however far it leads.
const DEADLINE: Duration = Duration::from_secs(10);
/// As many as Let's Encrypt follows.
const MOST_REDIRECTS: usize = 10;
/// A key authorization is a few hundred.
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood_whatever_their_framing() {
        let answer = |text: &str| match parse(text.as_bytes()) {
            Some(Got::Answer { status, body }) => format!("{status} {}", String::from_utf8_lossy(&body)),
            Some(Got::Elsewhere(location)) => format!("to {location}"),
            None => "nothing".to_owned(),
        };
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), "200 ab");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked), "200 abc");
        assert_eq!(answer("HTTP/1.1 301 Moved\r\nLocation: https://a/\r\n\r\n"), "to https://a/");
        assert_eq!(answer("HTTP/1.1 404\r\n\r\n"), "404 ");
        assert_eq!(answer("SSH-2.0\r\n"), "nothing");
    }

    #[test]
    fn redirects_lead_on_within_http() {
        let here = Place { host: "a.example".to_owned(), port: 80, path: "/x".to_owned() };
        let to = |location: &str| {
            here.redirected(location).map(|place| format!("{}:{}{}", place.host, place.port, place.path))
        };
        assert_eq!(to("/y").as_deref(), Some("a.example:80/y"));
        assert_eq!(to("http://b.example").as_deref(), Some("b.example:80/"));
        assert_eq!(to("http://b.example:8080/z").as_deref(), Some("b.example:8080/z"));
        assert_eq!(to("http://[::1]/z").as_deref(), Some("[::1]:80/z"));
        assert_eq!(to("https://a.example/x"), None);
        assert_eq!(to("//b.example/"), None);
    }
}
