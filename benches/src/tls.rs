//! TLS in front of the same site with the same key: handshakes, requests, and what idle connections weigh, compared with nginx.

mod client;
mod http2;

use std::{error::Error, fs, net::SocketAddr, path::Path, time::Duration};

use test_support::{Authority, StartError, Usage, raise_descriptor_limit, scratch_dir};
use tokio::runtime::{Builder, Runtime};

use crate::{
    contender::{Contender, OVER_TLS, Setup, Start, origin, prepare},
    count::Count,
    effort::Effort,
    load::{self, Load, Unit},
    table::{self, Column, MIB, Memory},
};
use client::{Protocol, Session, Site, Version, Visitors};

/// Something that is counted: what it is called, in what, and how it is done.
struct Measure {
    name: &'static str,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// Connections for one request each.
    Handshakes(Version, Session),
    /// Requests for a file, on so many connections.
    Http1(&'static str, u32, Unit),
    /// The same, with so many streams on each.
    Http2(&'static str, u32, u32, Unit),
}

const HANDSHAKES: [Measure; 4] = [
    Measure { name: "TLS 1.3 full", work: Work::Handshakes(Version::V1_3, Session::New) },
    Measure { name: "TLS 1.3 resumed", work: Work::Handshakes(Version::V1_3, Session::Resumed) },
    Measure { name: "TLS 1.2 full", work: Work::Handshakes(Version::V1_2, Session::New) },
    Measure { name: "TLS 1.2 resumed", work: Work::Handshakes(Version::V1_2, Session::Resumed) },
];

const REQUESTS: [Measure; 4] = [
    Measure { name: "HTTP/1.1 small", work: Work::Http1("/small", 32, Unit::Requests) },
    Measure { name: "HTTP/1.1 64 KiB", work: Work::Http1("/large", 32, Unit::Requests) },
    Measure { name: "HTTP/2 small", work: Work::Http2("/small", 16, 8, Unit::Requests) },
    Measure { name: "HTTP/2 64 KiB", work: Work::Http2("/large", 16, 8, Unit::Requests) },
];

const DOWNLOADS: [Measure; 2] = [
    Measure { name: "HTTP/1.1 10 MiB", work: Work::Http1("/huge", 4, Unit::Bytes) },
    Measure { name: "HTTP/2 10 MiB", work: Work::Http2("/huge", 4, 1, Unit::Bytes) },
];

/// Clients at once where handshakes are counted.
const VISITORS: usize = 32;

/// One that runs, and what was counted for each measure.
struct Row {
    contender: Contender,
    cells: Vec<Vec<Count>>,
}

/// Prints the tables. Anything that failed is an error: what was counted beside it says nothing.
pub(crate) fn compare(lockgate: &str, effort: Effort) -> Result<(), Box<dyn Error>> {
    let limit = raise_descriptor_limit().map_err(prepare("room for descriptors"))?;
    let effort = Effort { connections: effort.connections.min(limit.saturating_sub(OTHERS)), ..effort };
    let directory = scratch_dir().map_err(prepare("a directory"))?;
    let root = directory.path();
    for (name, size) in [("large", 64 * 1024), ("huge", 10 * 1024 * 1024)] {
        fs::write(root.join(name), vec![b'x'; size]).map_err(prepare("the site"))?;
    }
    fs::write(root.join("small"), client::BODY).map_err(prepare("the site"))?;
    let authority = Authority::new().map_err(prepare("an authority"))?;
    let credentials = authority.issue("site", &[client::NAME]).map_err(prepare("a certificate"))?;
    let (address, _origin) = origin(root)?;
    let openssl = root.join("openssl.cnf");
    fs::write(&openssl, OPENSSL).map_err(prepare("settings of OpenSSL"))?;
    let setup = Setup { root, origin: address, lockgate, bare: "", credentials: Some(&credentials) };
    let measures: Vec<&Measure> = HANDSHAKES.iter().chain(&REQUESTS).chain(&DOWNLOADS).collect();
    let runtime = Builder::new_current_thread().enable_all().build().map_err(prepare("a runtime"))?;
    let site = |address: SocketAddr| Site::new(address, &credentials.certificate);
    let mut rows = Vec::new();
    for start in OVER_TLS {
        rows.push(Row { contender: start(&setup)?, cells: vec![Vec::new(); measures.len()] });
    }
    for round in 1..=effort.rounds {
        for (index, measure) in measures.iter().enumerate() {
            // One after the other with the same work: they have the same neighbours then.
            for Row { contender, cells } in &mut rows {
                eprintln!("round {round} of {}: {}, {}", effort.rounds, contender.name, measure.name);
                cells[index].push(run(
                    &runtime,
                    contender,
                    &site(contender.address)?,
                    measure.work,
                    &openssl,
                    effort.seconds,
                )?);
            }
        }
    }
    println!("\nMedians of {} rounds of {} s; in parentheses the ratio to nginx.\n", effort.rounds, effort.seconds);
    let (requests, downloads) = (HANDSHAKES.len(), HANDSHAKES.len() + REQUESTS.len());
    print("tls: handshakes", &HANDSHAKES, &rows, 0);
    print("tls: requests", &REQUESTS, &rows, requests);
    print("tls: downloads", &DOWNLOADS, &rows, downloads);
    let bad: u64 = rows.iter().flat_map(|row| row.cells.iter().flatten()).map(|count| count.bad).sum();
    drop(rows);
    for (title, protocol) in
        [("tls: idle HTTP/1.1 connections", Protocol::Http1), ("tls: idle HTTP/2 connections", Protocol::Http2)]
    {
        let mut weights = Vec::new();
        for start in OVER_TLS {
            weights.push(weigh(&runtime, start, &setup, &site, protocol, effort.connections)?);
        }
        table::memory(title, weights.iter().map(|(name, memory)| (*name, memory)));
    }
    if bad > 0 { Err(format!("{bad} handshakes or requests went wrong").into()) } else { Ok(()) }
}

/// One round of one measure.
fn run(
    runtime: &Runtime,
    contender: &Contender,
    site: &Site,
    work: Work,
    openssl: &Path,
    seconds: u32,
) -> Result<Count, Box<dyn Error>> {
    let cpu = || Usage::of_tree(contender.process.id()).cpu;
    let url = |path: &str| format!("https://{}{path}", contender.address);
    let visitors = match work {
        Work::Handshakes(version, session) => {
            Some(runtime.block_on(Visitors::prepare(site, version, session, VISITORS))?)
        }
        Work::Http1(..) | Work::Http2(..) => None,
    };
    let load = |url, connections, unit| Load { url, connections, seconds, unit, openssl: Some(openssl) };
    let before = cpu();
    let count = match work {
        Work::Handshakes(..) => {
            visitors.map(|visitors| runtime.block_on(visitors.run(Duration::from_secs(seconds.into()))))
        }
        Work::Http1(path, connections, unit) => load::http1(load(&url(path), connections, unit)),
        Work::Http2(path, connections, streams, unit) => load::http2(load(&url(path), connections, unit), streams),
    };
    let count = count.ok_or_else(|| format!("{}: the load failed", contender.name))?;
    Ok(count.with_cpu(cpu().saturating_sub(before)))
}

/// Starts it anew, and holds so many connections, on each of which there was one request.
fn weigh(
    runtime: &Runtime,
    start: Start,
    setup: &Setup<'_>,
    site: &impl Fn(SocketAddr) -> std::io::Result<Site>,
    protocol: Protocol,
    number: usize,
) -> Result<(&'static str, Result<Memory, String>), StartError> {
    let contender = start(setup)?;
    eprintln!("{}: {number} idle connections", contender.name);
    let site = site(contender.address).map_err(prepare("a client"))?;
    let before = Usage::of_tree(contender.process.id());
    let held = runtime.block_on(client::hold(&site, protocol, number));
    let memory = held.map_err(|error| error.to_string()).map(|held| {
        let after = Usage::of_tree(contender.process.id());
        let held = held.into_iter().map(client::is_open).filter(|open| *open).count();
        Memory { held, wanted: number, before, after }
    });
    Ok((contender.name, memory))
}

fn print(title: &str, measures: &[Measure], rows: &[Row], first: usize) {
    let mut columns = Vec::new();
    for (index, Measure { name, work }) in measures.iter().enumerate() {
        let counts: Vec<&[Count]> = rows.iter().map(|row| row.cells[first + index].as_slice()).collect();
        let column = |name: String, value, digits| Column { name, counts: counts.clone(), value, digits };
        let bytes = matches!(work, Work::Http1(.., Unit::Bytes) | Work::Http2(.., Unit::Bytes));
        columns.extend(if bytes {
            [
                column(format!("{name}: MiB/s"), |count| count.rate() / MIB, 0),
                column("CPU µs per MiB".to_owned(), |count| count.cost() * MIB * 1e6, 0),
            ]
        } else {
            [
                column(format!("{name}: 1/s"), Count::rate, 0),
                column("CPU µs each".to_owned(), |count| count.cost() * 1e6, 1),
            ]
        });
    }
    let names: Vec<&str> = rows.iter().map(|row| row.contender.name).collect();
    table::counts(title, &names, &columns);
}

/// Descriptors for everything else.
const OTHERS: usize = 400;

/// wrk wants what our own clients and h2load want: the suite that browsers prefer.
const OPENSSL: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = suites\n[suites]\n\
                       Ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256\n";
