//! Whole orders against a real certificate authority (pebble), with an authenticator of a few lines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail like the test")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use authenticator_api::{Authenticator, BoxFuture, Challenge, DomainName, KeyAuthorization, Lookup, Token};
use certificates::{
    Blame, BoxError, Client, Observer, ObtainError, Obtained, Presented, Progress, Renewal, Request, Store, obtain,
};
use tempfile::TempDir;
use test_support::Pebble;

type Answers = Arc<Mutex<HashMap<String, String>>>;

/// Answers from memory, on a thread of its own; `wrong` makes it lie about names that begin so.
struct Memory {
    answers: Answers,
    taken_back: Mutex<Vec<DomainName>>,
    wrong: &'static str,
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
struct Notes {
    seen: Mutex<Vec<Progress>>,
    visits: Mutex<Vec<String>>,
    refuses: bool,
    hangs: bool,
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
struct Stage {
    pebble: Pebble,
    memory: Arc<Memory>,
    authenticator: Arc<dyn Authenticator>,
    presented: Presented,
    storage: TempDir,
}

impl Stage {
    fn new(wrong: &'static str) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let pebble = Pebble::start(listener.local_addr().unwrap().port()).unwrap();
        let answers = Answers::default();
        let memory = Arc::new(Memory { answers: Arc::clone(&answers), taken_back: Mutex::default(), wrong });
        std::thread::spawn(move || serve(&listener, &answers));
        let authenticator: Arc<dyn Authenticator> = memory.clone();
        let storage = test_support::scratch_dir().unwrap();
        Self { pebble, memory, authenticator, presented: Presented::default(), storage }
    }

    fn request(&self, names: &[&str]) -> Request {
        Request {
            domains: names.iter().map(|name| DomainName::parse(name).unwrap()).collect(),
            directory: self.pebble.directory_url(),
            contact: vec![],
            agree_to_terms: true,
            force: false,
            patience: Duration::from_secs(30),
            renewal: Renewal {
                server: self.pebble.directory_url(),
                authenticator: "standalone".into(),
                webroots: vec![],
            },
        }
    }

    async fn obtain(&self, request: &Request, notes: &Notes) -> Result<Obtained, ObtainError> {
        let client = Client::new(Some(&self.pebble.ca_file())).unwrap();
        let store = Store::open(self.storage.path()).unwrap();
        let result = obtain(request, &client, &store, &self.authenticator, &self.presented, notes).await;
        assert_eq!(self.memory.answers.lock().unwrap().len(), 0, "challenges are left behind: {result:?}");
        result
    }

    /// How often the authority was told to come.
    fn visited(&self) -> usize {
        self.pebble.output().matches("POST /chalZ/").count()
    }

    fn taken_back(&self) -> Vec<String> {
        let mut names: Vec<_> = self.memory.taken_back.lock().unwrap().iter().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

fn issued(result: Result<Obtained, ObtainError>) -> u32 {
    match result.unwrap() {
        Obtained::Issued(saved) => saved.lineage.version,
        Obtained::Unchanged(lineage) => panic!("unchanged: {lineage:?}"),
    }
}

#[tokio::test]
async fn three_names_are_proven_and_the_account_is_kept() {
    let stage = Stage::new("");
    let names = ["a.example", "b.a.example", "c.example"];
    let mut request = stage.request(&names);
    let notes = Notes::default();
    assert_eq!(issued(stage.obtain(&request, &notes).await), 1);
    assert_eq!(*notes.visits.lock().unwrap(), ["before 3", "after"]);
    assert_eq!(stage.taken_back(), names);
    assert_eq!(stage.visited(), 3);
    let seen = notes.seen.into_inner().unwrap();
    let Progress::AccountCreated { url } = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(
        seen[1..4],
        [Progress::OrderPlaced { to_prove: 3 }, Progress::ChallengesPresented, Progress::ValidationStarted]
    );
    for name in names {
        let validated = Progress::Validated { domain: DomainName::parse(name).unwrap() };
        assert_eq!(seen.iter().filter(|event| **event == validated).count(), 1, "{seen:?}");
    }
    assert!(
        matches!(&seen[7..], [Progress::Finalized, Progress::Saved { live }] if live.ends_with("live/a.example")),
        "{seen:?}"
    );

    let kept = stage.obtain(&request, &Notes::default()).await.unwrap();
    assert!(matches!(&kept, Obtained::Unchanged(lineage) if lineage.version == 1), "{kept:?}");
    request.force = true;
    let notes = Notes::default();
    assert_eq!(issued(stage.obtain(&request, &notes).await), 2);
    assert_eq!(notes.seen.into_inner().unwrap()[0], Progress::AccountReused { url: url.clone() });
}

#[tokio::test]
async fn a_wrong_answer_names_the_domain_and_what_the_authority_said() {
    let stage = Stage::new("wrong.");
    let notes = Notes::default();
    let error = stage.obtain(&stage.request(&["a.example", "wrong.example"]), &notes).await.unwrap_err();
    let ObtainError::Validation { failures } = &error else { panic!("{error:?}") };
    let [failure] = failures.as_slice() else { panic!("{failures:?}") };
    assert_eq!((failure.domain.as_str(), failure.kind.as_str()), ("wrong.example", "unauthorized"));
    assert!(error.to_string().contains("not.this"), "the authority tells what it found: {error}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Domain, false));
    assert_eq!(*notes.visits.lock().unwrap(), ["before 2", "after"]);
    assert_eq!(stage.taken_back(), ["a.example", "wrong.example"]);
}

#[tokio::test]
async fn a_refused_name_is_named() {
    let stage = Stage::new("");
    let error = stage.obtain(&stage.request(&["a.example", "blocked.example"]), &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Refused { kind, .. } if kind == "rejectedIdentifier"), "{error:?}");
    assert!(error.to_string().contains("blocked.example"), "{error}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Domain, true));
}

#[tokio::test]
async fn an_observer_that_cannot_prepare_ends_the_order_and_is_told_of_the_end() {
    let stage = Stage::new("");
    let notes = Notes { refuses: true, ..Notes::default() };
    let error = stage.obtain(&stage.request(&["a.example", "b.example"]), &notes).await.unwrap_err();
    assert!(matches!(error, ObtainError::Prepare { .. }), "{error:?}");
    assert_eq!(*notes.visits.lock().unwrap(), ["before 2", "after"]);
    assert_eq!(stage.taken_back(), ["a.example", "b.example"]);
    assert_eq!(stage.visited(), 0, "the authority was called although nobody was ready");
}

#[tokio::test]
async fn what_a_dropped_order_presented_can_be_taken_back() {
    let stage = Stage::new("");
    let notes = Notes { hangs: true, ..Notes::default() };
    let request = stage.request(&["a.example", "b.example"]);
    tokio::select! {
        result = stage.obtain(&request, &notes) => panic!("{result:?}"),
        () = async {
            while notes.visits.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    assert_eq!(stage.memory.answers.lock().unwrap().len(), 2, "the order was dropped in the middle");
    stage.presented.cleanup(&*stage.authenticator).await;
    assert_eq!(stage.memory.answers.lock().unwrap().len(), 0);
    assert_eq!(stage.taken_back(), ["a.example", "b.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
}

#[tokio::test]
async fn a_certificate_of_another_authority_neither_passes_for_ours_nor_is_replaced_unasked() {
    let mut stage = Stage::new("");
    assert_eq!(issued(stage.obtain(&stage.request(&["a.example"]), &Notes::default()).await), 1);
    let first = stage.pebble.directory_url();
    let other = Stage::new("");
    (stage.pebble, stage.memory, stage.authenticator) = (other.pebble, other.memory, other.authenticator);
    let mut request = stage.request(&["a.example"]);
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(error.to_string().contains(&first) && error.to_string().contains(&request.directory), "{error}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Configuration, true));
    assert_eq!(Store::open(stage.storage.path()).unwrap().load("a.example").unwrap().version, 1);
    request.force = true;
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    request.force = false;
    let kept = stage.obtain(&request, &Notes::default()).await.unwrap();
    assert!(matches!(&kept, Obtained::Unchanged(lineage) if lineage.version == 2), "{kept:?}");
}
