//! An authority, a site that it comes to, and a storage.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use authenticator_api::{Authenticator, BoxFuture, Challenge, DomainName, KeyAuthorization, Lookup, Token};
use certificates::{
    Authenticators, Authority, BoxError, Client, Completeness, Observer, ObtainError, Obtained, Presented, Progress,
    Renewal, Request, Store, obtain,
};
use tempfile::TempDir;
use test_support::{Pebble, PebbleFeatures};

pub(crate) type Answers = Arc<Mutex<HashMap<String, String>>>;

/// Answers from memory, on a thread of its own; `wrong` makes it lie about names that begin so.
pub(crate) struct Memory {
    pub(crate) answers: Answers,
    pub(crate) taken_back: Mutex<Vec<DomainName>>,
    pub(crate) wrong: &'static str,
}

impl Authenticator for Memory {
    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), authenticator_api::Error>> {
        let lie = !self.wrong.is_empty() && challenge.domain.as_str().starts_with(self.wrong);
        let answer = if lie { "not.this" } else { challenge.key_authorization.as_str() };
        self.answers.lock().unwrap().insert(challenge.token.to_string(), answer.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }

    fn lookup<'a>(&'a self, _host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        let answers = self.answers.lock().unwrap();
        Lookup::Ready(answers.get(token.as_str()).and_then(|text| KeyAuthorization::parse(text).ok()))
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), authenticator_api::Error>> {
        self.answers.lock().unwrap().remove(challenge.token.as_str());
        self.taken_back.lock().unwrap().push(challenge.domain.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

fn serve(listener: &TcpListener, answers: &Answers) {
    for stream in listener.incoming().map_while(Result::ok) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let token = first.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
        let body = answers.lock().unwrap().get(&token).cloned().unwrap_or_default();
        let _ = write!(&stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// Notes what it sees; may refuse to let the authority come, or never get ready.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) seen: Mutex<Vec<Progress>>,
    pub(crate) visits: Mutex<Vec<String>>,
    pub(crate) refuses: bool,
    pub(crate) hangs: bool,
}

impl Observer for Notes {
    fn progress(&self, progress: Progress) {
        self.seen.lock().unwrap().push(progress);
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        self.visits.lock().unwrap().push(format!("before {}", challenges.len()));
        match (self.hangs, self.refuses) {
            (true, _) => Box::pin(std::future::pending()),
            (_, true) => Box::pin(std::future::ready(Err("the gate is stuck".into()))),
            _ => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.visits.lock().unwrap().push("after".to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An authority, a site that it comes to, and a storage.
pub(crate) struct Stage {
    pub(crate) pebble: Pebble,
    pub(crate) memory: Arc<Memory>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) presented: Presented,
    pub(crate) storage: TempDir,
    /// What the client trusts.
    pub(crate) ca_file: PathBuf,
}

impl Stage {
    pub(crate) fn new(wrong: &'static str) -> Self {
        Self::featuring(wrong, &PebbleFeatures::default())
    }

    pub(crate) fn featuring(wrong: &'static str, features: &PebbleFeatures) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let pebble = Pebble::featuring(listener.local_addr().unwrap().port(), features).unwrap();
        let answers = Answers::default();
        let memory = Arc::new(Memory { answers: Arc::clone(&answers), taken_back: Mutex::default(), wrong });
        std::thread::spawn(move || serve(&listener, &answers));
        let authenticator: Arc<dyn Authenticator> = memory.clone();
        let (storage, ca_file) = (test_support::scratch_dir().unwrap(), pebble.ca_file());
        Self { pebble, memory, authenticator, presented: Presented::default(), storage, ca_file }
    }

    pub(crate) fn request(&self, names: &[&str]) -> Request {
        Request {
            name: None,
            domains: names.iter().map(|name| DomainName::parse(name).unwrap()).collect(),
            issuers: vec![
                Authority { directory: self.pebble.directory_url(), agree_to_terms: true, ..Authority::default() }
                    .into(),
            ],
            completeness: Completeness::All,
            force: false,
            patience: Duration::from_secs(30),
            renewal: Renewal {
                server: self.pebble.directory_url(),
                authenticator: "standalone".into(),
                webroots: vec![],
            },
        }
    }

    pub(crate) async fn obtain(&self, request: &Request, notes: &Notes) -> Result<Obtained, ObtainError> {
        self.obtain_with(request, notes, &Client::new(Some(&self.ca_file)).unwrap()).await
    }

    pub(crate) async fn obtain_with(
        &self,
        request: &Request,
        notes: &Notes,
        client: &Client,
    ) -> Result<Obtained, ObtainError> {
        let store = Store::open(self.storage.path()).unwrap();
        let authenticators = Authenticators::from(self.authenticator.clone());
        let result = obtain(request, client, &store, &authenticators, &self.presented, notes).await;
        assert_eq!(self.memory.answers.lock().unwrap().len(), 0, "challenges are left behind: {result:?}");
        result
    }

    /// How many orders the authority took.
    pub(crate) fn orders(&self) -> usize {
        self.pebble.output().matches("Added order").count()
    }

    /// How often the authority was told to come.
    pub(crate) fn visited(&self) -> usize {
        self.pebble.output().matches("POST /chalZ/").count()
    }

    pub(crate) fn taken_back(&self) -> Vec<String> {
        let mut names: Vec<_> = self.memory.taken_back.lock().unwrap().iter().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

pub(crate) fn issued(result: Result<Obtained, ObtainError>) -> u32 {
    match result.unwrap() {
        Obtained::Issued { saved, .. } => saved.lineage.version,
        Obtained::Unchanged { lineage, .. } => panic!("unchanged: {lineage:?}"),
    }
}
