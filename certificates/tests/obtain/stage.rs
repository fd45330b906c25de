//! An authority, a site that it comes to, and a storage.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, Once},
    time::Duration,
};

use authenticator_api::{Authenticator, BoxFuture, Challenge, DomainName, KeyAuthorization, Lookup, Token};
use certificates::{
    Authenticators, Authority, BoxError, Client, Completeness, Observer, ObtainError, Obtained, Presented, Progress,
    Renewal, Request, Store, obtain,
};
use tempfile::TempDir;
use test_support::{
    CaFront, Pebble, PebbleFeatures,
    ca_front::{Endpoint, Journal, Outcome},
};

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

fn serve(listener: &TcpListener, answers: &Answers, door: &Door) {
    for stream in listener.incoming().map_while(Result::ok) {
        door.pass();
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let token = first.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
        let body = answers.lock().unwrap().get(&token).cloned().unwrap_or_default();
        let _ = write!(&stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// Keeps the authority waiting while it is shut.
#[derive(Default)]
pub(crate) struct Door {
    is_shut: Mutex<bool>,
    moved: Condvar,
}

impl Door {
    pub(crate) fn shut(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.moved.notify_all();
    }

    fn pass(&self) {
        drop(self.moved.wait_while(self.is_shut.lock().unwrap(), |is_shut| *is_shut).unwrap());
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
    /// What clients talk to.
    pub(crate) front: Arc<CaFront>,
    /// What is behind it.
    pub(crate) pebble: Pebble,
    pub(crate) door: Arc<Door>,
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
        let (front, door) = (Arc::new(CaFront::start(&pebble).unwrap()), Arc::<Door>::default());
        let answers = Answers::default();
        let memory = Arc::new(Memory { answers: Arc::clone(&answers), taken_back: Mutex::default(), wrong });
        let entrance = Arc::clone(&door);
        std::thread::spawn(move || serve(&listener, &answers, &entrance));
        let authenticator: Arc<dyn Authenticator> = memory.clone();
        let (storage, ca_file) = (test_support::scratch_dir().unwrap(), front.ca_file());
        Self { front, pebble, door, memory, authenticator, presented: Presented::default(), storage, ca_file }
    }

    pub(crate) fn request(&self, names: &[&str]) -> Request {
        Request {
            name: None,
            domains: names.iter().map(|name| DomainName::parse(name).unwrap()).collect(),
            issuers: vec![self.authority().into()],
            completeness: Completeness::All,
            force: false,
            is_rehearsal: false,
            patience: Duration::from_secs(30),
            renewal: Renewal {
                server: self.front.directory_url(),
                authenticator: "standalone".into(),
                ..Renewal::default()
            },
        }
    }

    /// The front, with its terms agreed to.
    pub(crate) fn authority(&self) -> Authority {
        Authority { directory: self.front.directory_url(), agree_to_terms: true, ..Authority::default() }
    }

    /// The same authority by its other directory, which has only what pebble has.
    pub(crate) fn bare_authority(&self) -> Authority {
        Authority { directory: self.pebble.directory_url(), ..self.authority() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Some(&self.ca_file)).unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.storage.path()).unwrap()
    }

    pub(crate) async fn obtain(&self, request: &Request, notes: &Notes) -> Result<Obtained, ObtainError> {
        let (client, store) = (self.client(), self.store());
        let authenticators = Authenticators::from(self.authenticator.clone());
        // A runtime of several threads moves it between them.
        let sent: BoxFuture<'_, _> =
            Box::pin(obtain(request, &client, &store, &authenticators, &self.presented, notes));
        let result = sent.await;
        assert_eq!(self.memory.answers.lock().unwrap().len(), 0, "challenges are left behind: {result:?}");
        result
    }

    /// How many orders the authority took.
    pub(crate) fn orders(&self) -> usize {
        self.front.spent().orders
    }

    /// How often the authority was told to come.
    pub(crate) fn visited(&self) -> usize {
        self.front.journal().count(Endpoint::Challenge)
    }

    pub(crate) fn taken_back(&self) -> Vec<String> {
        let mut names: Vec<_> = self.memory.taken_back.lock().unwrap().iter().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

/// Waits until something is true of the journal, beside the runtime, which goes on.
pub(crate) fn seen<P>(front: &Arc<CaFront>, predicate: P) -> impl Future<Output = ()> + use<P>
where
    P: FnMut(&Journal) -> bool + Send + 'static,
{
    let front = Arc::clone(front);
    let waiting = tokio::task::spawn_blocking(move || {
        assert!(front.wait_for(Duration::from_secs(20), predicate), "{:#?}", front.journal());
    });
    async { waiting.await.unwrap() }
}

/// Does work in which a request to this endpoint hangs. From then on the runtime's clock runs ahead of the world's whenever there
/// is nothing to do, so that the client's patience is over at once.
pub(crate) async fn hurried<T>(front: &Arc<CaFront>, endpoint: Endpoint, work: impl Future<Output = T>) -> T {
    let hangs = seen(front, move |journal| journal.of(endpoint).any(|one| one.outcome == Outcome::Open));
    let hurry = async {
        hangs.await;
        tokio::time::pause();
    };
    let (done, ()) = tokio::join!(work, hurry);
    tokio::time::resume();
    done
}

pub(crate) fn issued(result: Result<Obtained, ObtainError>) -> u32 {
    match result.unwrap() {
        Obtained::Issued { saved, .. } => saved.lineage.version,
        Obtained::Unchanged { lineage, .. } => panic!("unchanged: {lineage:?}"),
    }
}
