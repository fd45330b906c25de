//! Good sites please every visitor, and wrong ones are noticed: the checker must be able to fail.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::*;
use crate::{Authority, Credentials, Nginx, Origin, TlsFront};

/// A good mix of everybody.
const ALL: usize = 14;
const DEADLINE: Duration = Duration::from_secs(30);

fn names() -> [String; 2] {
    ["a.example", "b.example"].map(str::to_owned)
}

fn roots(authority: &Authority) -> String {
    fs::read_to_string(authority.ca_file()).unwrap()
}

#[test]
fn a_good_site_pleases_every_visitor_and_shows_one_certificate() {
    let authority = Authority::new().unwrap();
    let credentials = authority.issue_for_names("site", &["a.example", "b.example"]).unwrap();
    let nginx = Nginx::secure_at(&Place::Loopback, 0, &credentials).unwrap();
    for trust in [Trust::Roots(&roots(&authority)), Trust::Anyone] {
        let visitors = TlsVisitors::start(&Place::Loopback, &nginx.site(), &names(), trust, ALL).unwrap();
        visitors.watch("b.example");
        assert!(visitors.wait_for(500, DEADLINE));
        let report = visitors.stop();
        assert_eq!((report.failed, report.failed_handshakes), (0, 0), "{:?}", report.reasons);
        assert!(report.by_family.iter().all(|count| *count > 0), "{report:?}");
        assert!(report.over_http2 > 0 && report.resumed > 0 && report.handshakes > report.resumed, "{report:?}");
        assert!(report.by_name["b.example"] > report.by_name["a.example"], "{:?}", report.by_name);
        let [sighting] = report.sightings.as_slice() else { panic!("{:?}", report.sightings) };
        let shown = CertificateDer::from_pem_file(&credentials.certificate).unwrap();
        assert_eq!(sighting.der, shown.to_vec());
        assert!(sighting.first[0] <= sighting.last && sighting.times > 1, "{sighting:?}");
    }
}

/// A certificate of another name, and one of another authority.
#[test]
fn who_cannot_be_believed_is_noticed() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    for (credentials, expected) in [
        (authority.issue_for_names("stranger", &["c.example"]).unwrap(), "not valid for name"),
        (other.issue_for_names("site", &["a.example", "b.example"]).unwrap(), "BadSignature"),
    ] {
        let nginx = Nginx::secure_at(&Place::Loopback, 0, &credentials).unwrap();
        let trust = roots(&authority);
        let visitors =
            TlsVisitors::start(&Place::Loopback, &nginx.site(), &names(), Trust::Roots(&trust), ALL).unwrap();
        crate::poll(DEADLINE, || (visitors.report().handshakes >= 50).then_some(()));
        let report = visitors.stop();
        // Those of curl say so as requests.
        assert!(report.failed_handshakes > 0 && report.failed > 0, "{report:?}");
        assert!(report.reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {:?}", report.reasons);
        assert!(report.sightings.is_empty());
    }
}

/// Each of these sites is wrong in one way.
#[test]
fn a_wrong_site_is_noticed() {
    type Spoil = fn(&mut Site);
    let authority = Authority::new().unwrap();
    let credentials = authority.issue_for_names("site", &["a.example", "b.example"]).unwrap();
    let origin = Origin::start().unwrap();
    let front = TlsFront::start(0, &credentials, origin.address(), None).unwrap();
    let wrong: [(&str, Spoil); 5] = [
        // This front speaks no HTTP/2.
        ("Curl", |_| {}),
        ("another one", |site| site.page.1 = b"other"[..].into()),
        ("status 404", |site| site.page.0 = "/status/404".to_owned()),
        ("Kept", |site| site.page.0 = "/cut".to_owned()),
        ("Post", |site| site.echo = "/head".to_owned()),
    ];
    for (expected, spoil) in wrong {
        let mut site = origin.site().behind(vec![front.address()]);
        spoil(&mut site);
        let trust = roots(&authority);
        let visitors = TlsVisitors::start(&Place::Loopback, &site, &names(), Trust::Roots(&trust), ALL).unwrap();
        let noticed = || visitors.report().reasons.iter().any(|reason| reason.contains(expected)).then_some(());
        assert!(crate::poll(DEADLINE, noticed).is_some(), "{expected}: {:?}", visitors.report());
    }
}

#[test]
fn an_end_without_the_alert_that_says_so_is_noticed() {
    let authority = Authority::new().unwrap();
    let credentials = authority.issue_for_names("site", &["a.example", "b.example"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Origin::start().unwrap().site().behind(vec![listener.local_addr().unwrap()]);
    let (config, page) = (server(&credentials), site.page.1.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            if tls.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let _ = write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
                let _ = tls.write_all(&page);
            }
        }
    });
    let trust = roots(&authority);
    let visitors = TlsVisitors::start(&Place::Loopback, &site, &names(), Trust::Roots(&trust), ALL).unwrap();
    for expected in ["idle: peer closed connection without", "Fresh"] {
        let noticed = || visitors.report().reasons.iter().any(|reason| reason.contains(expected)).then_some(());
        assert!(crate::poll(DEADLINE, noticed).is_some(), "{expected}: {:?}", visitors.report());
    }
}

fn server(credentials: &Credentials) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(&credentials.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&credentials.key).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}
