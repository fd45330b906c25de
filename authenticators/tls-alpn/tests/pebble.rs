//! Whole orders: pebble validates by TLS-ALPN-01, a small rustls server shows what the authenticator has.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::{Arc, Once},
    time::Duration,
};

use authenticator_api::{Authenticator, ChallengeCertificate, DomainName};
use authenticator_tls_alpn::TlsAlpn;
use certificates::{
    Authenticators, Authority, Client, Observer, Obtained, Presented, Progress, Request, Store, obtain,
};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{Acceptor, ClientHello},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tempfile::TempDir;
use test_support::{Pebble, PebbleFeatures};

struct Silent;

impl Observer for Silent {
    fn progress(&self, _progress: Progress) {}
}

/// Accepts as an acceptor of Lockgate has to: a challenge certificate for who offers `acme-tls/1` alone, nothing for others.
fn serve(listener: &TcpListener, authenticator: &TlsAlpn) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            if acceptor.read_tls(&mut stream).is_err() {
                break None;
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => break Some(accepted),
                Ok(None) => {}
                Err(_) => break None,
            }
        };
        let Some(accepted) = accepted else { continue };
        let Some(config) = config_for(&accepted.client_hello(), authenticator) else { continue };
        let Ok(mut connection): Result<ServerConnection, _> = accepted.into_connection(Arc::new(config)) else {
            continue;
        };
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        connection.send_close_notify();
        let _ = connection.complete_io(&mut stream);
    }
}

fn config_for(hello: &ClientHello<'_>, authenticator: &TlsAlpn) -> Option<ServerConfig> {
    let offered: Vec<_> = hello.alpn()?.collect();
    if offered != [ChallengeCertificate::PROTOCOL] {
        return None;
    }
    let shown = authenticator.certificate(hello.server_name()?)?;
    let certificate = CertificateDer::from(shown.certificate.to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.private_key.to_vec()));
    // Not `with_single_cert`: it reads the certificate, and does not know the critical extension.
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ChallengeCertificate::PROTOCOL.to_vec()];
    Some(config)
}

struct Stage {
    pebble: Pebble,
    authenticator: Arc<TlsAlpn>,
    storage: TempDir,
}

impl Stage {
    fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tls_port = listener.local_addr().unwrap().port();
        let pebble = Pebble::featuring(1, &PebbleFeatures { tls_port, ..PebbleFeatures::default() }).unwrap();
        let authenticator = Arc::new(TlsAlpn::new());
        let shown = Arc::clone(&authenticator);
        std::thread::spawn(move || serve(&listener, &shown));
        Self { pebble, authenticator, storage: test_support::scratch_dir().unwrap() }
    }

    async fn obtain(&self, domains: Vec<DomainName>) -> Obtained {
        let authority =
            Authority { directory: self.pebble.directory_url(), agree_to_terms: true, ..Authority::default() };
        let patience = Duration::from_secs(30);
        let request = Request { domains, issuers: vec![authority.into()], patience, ..Request::default() };
        let client = Client::new(Some(&self.pebble.ca_file())).unwrap();
        let store = Store::open(self.storage.path()).unwrap();
        let authenticators = Authenticators::from(self.authenticator.clone() as Arc<dyn Authenticator>);
        let presented = Presented::default();
        obtain(&request, &client, &store, &authenticators, &presented, &Silent).await.unwrap()
    }
}

#[tokio::test]
async fn names_are_proven_in_the_handshake() {
    let stage = Stage::new();
    let names: Vec<_> = ["a.example", "b.a.example"].iter().map(|name| DomainName::parse(name).unwrap()).collect();
    let obtained = stage.obtain(names.clone()).await;
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!((saved.lineage.names.iter().cloned().collect::<Vec<_>>(), refused.len()), (names, 0));
    assert!(stage.authenticator.certificate("a.example").is_none(), "it was taken back");
}

#[tokio::test]
async fn an_address_is_proven_in_the_handshake() {
    let stage = Stage::new();
    let address = DomainName::from_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let obtained = stage.obtain(vec![address.clone()]).await;
    let Obtained::Issued { saved, .. } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(saved.lineage.names.iter().collect::<Vec<_>>(), [&address]);
    assert!(saved.live.ends_with("live/127.0.0.1"));
}
