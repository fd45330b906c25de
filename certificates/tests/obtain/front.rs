//! An ACME server before pebble with what pebble 2.4.0 lacks: renewal information, `replaces`, profiles, and refusals on
//! demand. Pebble makes its URLs from the `Host` of a request, so they lead here.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::Pebble;

/// The server, on a thread that ends with the process.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Mutex<Script>>,
    directory: TempDir,
}

/// What it says beside pebble, and what it saw.
#[derive(Default)]
pub(crate) struct Script {
    /// Status, headers and document for questions for renewal information.
    pub(crate) renewal_info: Option<(u16, String, Value)>,
    /// The path of the last of them.
    pub(crate) asked_about: Option<String>,
    /// The same for the next orders, before pebble is asked.
    pub(crate) refusals: VecDeque<(u16, String, Value)>,
    /// What was ordered, as the payload says.
    pub(crate) orders: Vec<Value>,
}

#[derive(Clone)]
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Front {
    pub(crate) fn start(pebble: &Pebble) -> Self {
        let directory = test_support::scratch_dir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(server_config(&directory));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pebble.ca_file()).unwrap()).unwrap();
        let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let (script, behind) = (Arc::<Mutex<Script>>::default(), pebble.address());
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (server, client, script) = (Arc::clone(&server), Arc::clone(&client), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let mut visitor = StreamOwned::new(ServerConnection::new(server).unwrap(), stream);
                    let Some(request) = Message::read(&mut visitor) else { return };
                    let answer = answer(&request, &script, address, || forward(&request, behind, &client));
                    let _ = visitor.write_all(&answer.text());
                    visitor.conn.send_close_notify();
                    let _ = visitor.flush();
                });
            }
        });
        Self { address, script, directory }
    }

    pub(crate) fn directory_url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("front.pem")
    }
}

fn answer(
    request: &Message,
    script: &Mutex<Script>,
    address: SocketAddr,
    forward: impl FnOnce() -> Message,
) -> Message {
    let path = request.first.split(' ').nth(1).unwrap_or_default();
    let mut script = script.lock().unwrap();
    if let Some(id) = path.strip_prefix("/renewal-info/") {
        script.asked_about = Some(id.to_owned());
        let (status, headers, document) =
            script.renewal_info.clone().unwrap_or((404, String::new(), json!({ "type": "about:blank" })));
        return Message::made(status, &headers, &document);
    }
    if path == "/dir" {
        let mut answer = forward();
        answer.change(|directory| {
            directory["renewalInfo"] = json!(format!("https://{address}/renewal-info"));
            directory["meta"]["profiles"] = json!({ "classic": "as ever", "shortlived": "for a week" });
        });
        return answer;
    }
    if path != "/order-plz" {
        return forward();
    }
    let signed: Value = serde_json::from_slice(&request.body).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap()).unwrap();
    let order: Value = serde_json::from_slice(&payload).unwrap();
    script.orders.push(order.clone());
    if let Some((status, headers, document)) = script.refusals.pop_front() {
        return Message::made(status, &headers, &document);
    }
    let mut answer = forward();
    answer.change(|answered| {
        for key in ["replaces", "profile"] {
            if let Some(value) = order.get(key) {
                answered[key] = value.clone();
            }
        }
    });
    answer
}

fn forward(request: &Message, behind: SocketAddr, config: &Arc<ClientConfig>) -> Message {
    let name = ServerName::from(behind.ip());
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut pebble = StreamOwned::new(connection, TcpStream::connect(behind).unwrap());
    // By HTTP/1.0, which has no chunks.
    let question = Message { first: request.first.replace("HTTP/1.1", "HTTP/1.0"), ..request.clone() };
    pebble.write_all(&question.text()).unwrap();
    let mut answer = Message::read(&mut pebble).unwrap();
    answer.first = answer.first.replace("HTTP/1.0", "HTTP/1.1");
    answer
}

impl Message {
    fn made(status: u16, headers: &str, document: &Value) -> Self {
        let headers = headers.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { first: format!("HTTP/1.1 {status} So"), headers, body: document.to_string().into_bytes() }
    }

    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_owned())
        };
        let first = line().filter(|line| !line.is_empty())?;
        let mut headers = Vec::new();
        while let Some((name, value)) = line()?.split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        let mut body = Vec::new();
        if length.is_some() || first.starts_with("HTTP/") {
            // The answer to HEAD has a length and no body.
            let _ = reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body);
        }
        headers.retain(|(name, _)| !["content-length", "connection"].contains(&name.as_str()));
        Some(Self { first, headers, body })
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        if let Ok(mut document) = serde_json::from_slice(&self.body) {
            change(&mut document);
            self.body = document.to_string().into_bytes();
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "content-length: {}\r\nconnection: close\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

fn server_config(directory: &TempDir) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    std::fs::write(directory.path().join("front.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap()
}
