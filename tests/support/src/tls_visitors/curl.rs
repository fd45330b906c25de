//! HTTP/2, by a client that others have made.

use std::{net::SocketAddr, time::Duration};

use super::Believed;
use crate::{Place, Process, Site};

/// Asks for the page of a name, several times on one connection.
pub(super) fn visit(
    place: &Place,
    site: &Site,
    address: SocketAddr,
    name: &str,
    believed: &Believed,
) -> Result<(), String> {
    let (url, port) = (format!("https://{name}:{}{}", address.port(), site.page.0), address.port());
    let ip = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
    let mut command = place.command("curl");
    command.args(["-sS", "--http2", "--noproxy", "*", "--max-time", "20"]);
    match believed.file() {
        Some(roots) => command.arg("--cacert").arg(roots),
        None => command.arg("--insecure"),
    };
    command.arg("--resolve").arg(format!("{name}:{port}:{ip}")).args(["-w", TOLD]);
    command.args((0..REQUESTS).map(|_| &url));
    let mut curl = Process::spawn(&command).map_err(|error| error.to_string())?;
    curl.wait(Duration::from_secs(30)).map_err(|error| error.to_string())?;
    let page = String::from_utf8_lossy(&site.page.1);
    let expected = |connects| format!("{page}\n2 200 {connects}\n");
    let (told, expected) = (curl.output(), expected(1) + &expected(0).repeat(OTHERS));
    if told == expected { Ok(()) } else { Err(told.replace(&*page, "(page)")) }
}

/// On one connection.
pub(super) const REQUESTS: u64 = 1 + OTHERS as u64;
const OTHERS: usize = 4;
const TOLD: &str = "\\n%{http_version} %{http_code} %{num_connects}\\n";
