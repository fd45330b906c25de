//! Attempts that end in the middle, and the next ones, which go on where they ended.

use std::{fs, future::Future, path::PathBuf, pin::pin, time::Duration};

use certificates::{Authority, Internal, Issuer, ObtainError, Obtained, Profile, Progress, Request};
use test_support::{
    PebbleFeatures,
    ca_front::{Endpoint, Fault, Outcome, Spent, Times},
};

use super::stage::{Notes, Stage, issued, seen};

/// What a certificate costs at least.
const WHOLE: Spent = Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 };

const STEPS: [Endpoint; 9] = [
    Endpoint::Directory,
    Endpoint::NewNonce,
    Endpoint::NewAccount,
    Endpoint::NewOrder,
    Endpoint::Authorization,
    Endpoint::Challenge,
    Endpoint::Order,
    Endpoint::Finalize,
    Endpoint::Certificate,
];

/// Where a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// A request is on its way.
    Before,
    /// It is done, and its answer is on its way.
    After,
}

/// Drops an attempt at one step, as a process that is killed.
async fn killed(stage: &Stage, request: &Request, endpoint: Endpoint, when: When) {
    let taken = stage.front.journal().taken(endpoint);
    stage.front.inject(endpoint, 1, Fault::Hang);
    let notes = Notes::default();
    let mut attempt = pin!(stage.obtain(request, &notes));
    let asked = seen(&stage.front, move |journal| journal.of(endpoint).any(|one| one.outcome == Outcome::Open));
    tokio::select! {
        result = &mut attempt => panic!("{endpoint:?}: {result:?}"),
        () = asked => {}
    }
    if when == When::After {
        // From here on nobody looks at the attempt any more.
        stage.front.clear_faults();
        seen(&stage.front, move |journal| taken < journal.taken(endpoint)).await;
    }
}

/// A process that is killed does not take back its challenges, and its authenticator may answer on; what validation finds is not
/// what this is about.
#[tokio::test]
async fn a_process_that_is_killed_at_any_step_costs_nothing() {
    let mut stage = Stage::new("");
    for endpoint in STEPS {
        for when in [When::Before, When::After] {
            stage.storage = test_support::scratch_dir().unwrap();
            let (request, spent) = (stage.request(&["a.example"]), stage.front.spent());
            killed(&stage, &request, endpoint, when).await;
            stage.front.clear_faults();
            let result = stage.obtain(&request, &Notes::default()).await;
            assert!(matches!(result, Ok(Obtained::Issued { .. })), "{endpoint:?}, {when:?}: {result:?}");
            assert_eq!(stage.front.spent() - spent, WHOLE, "{endpoint:?}, {when:?}");
            assert!(!stage.storage.path().join("lockgate/orders").exists(), "{endpoint:?}, {when:?}");
        }
    }
}

#[tokio::test]
async fn an_order_that_nobody_learnt_of_is_found_among_many() {
    let stage = Stage::new("");
    let [one, both] = [["a.example"].as_slice(), &["a.example", "b.example"]].map(|names| stage.request(names));
    let again = Request { force: true, ..one };
    for version in 1..=7 {
        assert_eq!(issued(stage.obtain(&again, &Notes::default()).await), version);
    }
    killed(&stage, &both, Endpoint::NewOrder, When::After).await;
    let pages = stage.front.journal().count(Endpoint::Other);
    assert_eq!(issued(stage.obtain(&both, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), Spent { orders: 8, certificates: 8, ..WHOLE });
    assert_eq!(stage.front.journal().count(Endpoint::Other) - pages, 4, "the account, and three at a time");
}

#[tokio::test]
async fn a_process_that_is_killed_again_and_again_gets_on() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example", "b.example"]);
    // An order is taken up again three times.
    for endpoint in [Endpoint::NewAccount, Endpoint::NewOrder, Endpoint::Challenge, Endpoint::Finalize] {
        killed(&stage, &request, endpoint, When::After).await;
    }
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), WHOLE);
}

/// Drops an attempt when it tells of something.
async fn dropped(stage: &Stage, request: &Request, at: fn(&Progress) -> bool) {
    let notes = Notes::default();
    let mut attempt = pin!(stage.obtain(request, &notes));
    let told = std::future::poll_fn(|context| {
        let polled = attempt.as_mut().poll(context);
        assert!(polled.is_pending(), "{polled:?}");
        let is_told = notes.seen.lock().unwrap().iter().any(at);
        if is_told { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    told.await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_at_any_moment_is_gone_on_with() {
    let mut stage = Stage::new("");
    let moments: [fn(&Progress) -> bool; 6] = [
        |told| matches!(told, Progress::AccountCreated { .. }),
        |told| matches!(told, Progress::OrderPlaced { .. }),
        |told| matches!(told, Progress::ChallengesPresented),
        |told| matches!(told, Progress::ValidationStarted),
        |told| matches!(told, Progress::Validated { .. }),
        |told| matches!(told, Progress::Finalized),
    ];
    for (number, moment) in moments.into_iter().enumerate() {
        stage.storage = test_support::scratch_dir().unwrap();
        let (request, spent) = (stage.request(&["a.example"]), stage.front.spent());
        dropped(&stage, &request, moment).await;
        assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1, "moment {number}");
        assert_eq!(stage.front.spent() - spent, WHOLE, "moment {number}");
    }
}

#[tokio::test]
async fn a_certificate_that_could_not_be_saved_is_fetched_again_with_its_key() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example", "b.example"]);
    let in_the_way = stage.store().root().join("archive/a.example");
    fs::write(&in_the_way, "a file where the directory should be").unwrap();
    for _ in 0..2 {
        let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
        assert!(matches!(error, ObtainError::Store(_)), "{error:?}");
    }
    fs::remove_file(&in_the_way).unwrap();
    let notes = Notes::default();
    assert_eq!(issued(stage.obtain(&request, &notes).await), 1);
    assert_eq!(stage.front.spent(), WHOLE);
    assert!(notes.visits.lock().unwrap().is_empty(), "nothing was to be proven any more");
    assert_eq!(stage.store().load("a.example").unwrap().names.len(), 2, "and the key fits");
    // The next one is a new one.
    let request = Request { force: true, ..request };
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    assert_eq!(stage.front.spent(), Spent { orders: 2, certificates: 2, ..WHOLE });
}

/// The files of orders that are kept for a lineage.
fn kept(stage: &Stage, lineage: &str) -> Vec<PathBuf> {
    let directory = stage.storage.path().join("lockgate/orders").join(lineage);
    fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_crash_between_saving_and_forgetting_does_not_bring_back_the_same_certificate() {
    let stage = Stage::new("");
    let request = Request { force: true, ..stage.request(&["a.example"]) };
    dropped(&stage, &request, |told| matches!(told, Progress::Finalized)).await;
    let [file] = kept(&stage, "a.example").try_into().unwrap();
    let text = fs::read(&file).unwrap();
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let first = stage.store().load("a.example").unwrap();
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    assert_ne!(stage.store().load("a.example").unwrap().id, first.id);
    assert_eq!(stage.front.certificates().len(), 2);
}

#[tokio::test]
async fn an_order_for_other_names_is_not_taken_up_whatever_its_file_says() {
    let stage = Stage::new("");
    let [one, other] = ["a.example", "b.example"].map(|name| stage.request(&[name]));
    for request in [&one, &other] {
        dropped(&stage, request, |told| matches!(told, Progress::Finalized)).await;
    }
    let read = |name: &str| {
        let [file] = kept(&stage, name).try_into().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        (file, document)
    };
    let ((file, mut document), (_, foreign)) = (read("a.example"), read("b.example"));
    document["url"] = foreign["url"].clone();
    document["key"] = foreign["key"].clone();
    fs::write(&file, document.to_string()).unwrap();
    assert_eq!(issued(stage.obtain(&one, &Notes::default()).await), 1);
    let lineage = stage.store().load("a.example").unwrap();
    assert_eq!(lineage.names, one.domains.into_iter().collect());
    assert_eq!(stage.front.spent(), Spent { orders: 3, certificates: 3, ..WHOLE });
    // The other one is where it was.
    assert_eq!(issued(stage.obtain(&other, &Notes::default()).await), 1);
    assert_eq!(stage.orders(), 3);
}

#[tokio::test]
async fn what_is_not_the_same_order_is_another_one() {
    let stage = Stage::new("");
    let with = |names: &[&str], profile: &str| Request {
        issuers: vec![Authority { profile: Some(Profile::Required(profile.into())), ..stage.authority() }.into()],
        name: Some("a.example".into()),
        ..stage.request(names)
    };
    let (both, one) = (with(&["a.example", "b.example"], "classic"), with(&["a.example"], "classic"));
    dropped(&stage, &both, |told| matches!(told, Progress::Validated { .. })).await;
    stage.presented.cleanup().await;
    let short = with(&["b.example", "a.example"], "shortlived");
    dropped(&stage, &short, |told| matches!(told, Progress::Finalized)).await;
    stage.presented.cleanup().await;
    assert_eq!(kept(&stage, "a.example").len(), 2);
    assert_eq!(issued(stage.obtain(&one, &Notes::default()).await), 1);
    assert_eq!(stage.store().load("a.example").unwrap().names, one.domains.into_iter().collect());
    let journal = stage.front.journal();
    let ordered: Vec<_> =
        journal.orders().iter().map(|order| (order.names.len(), order.profile.as_deref().unwrap())).collect();
    assert_eq!(ordered, [(2, "classic"), (2, "shortlived"), (1, "classic")]);
    assert!(kept(&stage, "a.example").is_empty(), "what they were for is done");
}

#[tokio::test]
async fn a_file_that_is_damaged_or_an_order_that_is_gone_costs_an_order_and_nothing_else() {
    let mut stage = Stage::new("");
    for damage in [
        (|text| text.replace("my-order/", "my-order/0")) as fn(String) -> String,
        |text| text.replace("MIGH", "AAAA"),
        |text| text.chars().take(text.len() / 2).collect(),
        |_| String::new(),
    ] {
        stage.storage = test_support::scratch_dir().unwrap();
        let (request, spent) = (stage.request(&["a.example"]), stage.front.spent());
        dropped(&stage, &request, |told| matches!(told, Progress::ChallengesPresented)).await;
        stage.presented.cleanup().await;
        let [file] = kept(&stage, "a.example").try_into().unwrap();
        fs::write(&file, damage(fs::read_to_string(&file).unwrap())).unwrap();
        assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
        assert_eq!(stage.front.spent() - spent, Spent { orders: 2, ..WHOLE });
    }
}

#[tokio::test]
async fn an_order_that_failed_is_not_taken_up_again() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    dropped(&stage, &request, |told| matches!(told, Progress::OrderPlaced { .. })).await;
    stage.front.fail_challenges("a.example", "unauthorized", "somebody else answers");
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(error, ObtainError::Validation { .. }), "{error:?}");
    stage.front.accept_name("a.example");
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), Spent { orders: 2, failed_authorizations: 1, ..WHOLE });
}

#[tokio::test]
async fn an_order_that_nothing_comes_of_gives_way_to_another_one() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    stage.front.inject(Endpoint::Finalize, Times::Forever, Fault::server_error());
    let impatient = Request { patience: Duration::from_secs(1), ..request.clone() };
    let mut orders = Vec::new();
    for _ in 0..5 {
        let error = stage.obtain(&impatient, &Notes::default()).await.unwrap_err();
        assert!(error.is_the_authoritys_own(), "{error:?}");
        orders.push(stage.orders());
    }
    assert_eq!(orders, [1, 1, 1, 1, 2]);
    stage.front.clear_faults();
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.orders(), 2);
}

#[tokio::test]
async fn a_certificate_that_has_lain_at_the_authority_for_too_long_is_not_taken() {
    let features = PebbleFeatures { validity: 1, ..PebbleFeatures::default() };
    let stage = Stage::featuring("", &features);
    let request = stage.request(&["a.example"]);
    stage.front.inject(Endpoint::Certificate, Times::Forever, Fault::server_error());
    let impatient = Request { patience: Duration::from_secs(2), ..request.clone() };
    // While it was asked for in vain, half of its life was over.
    stage.obtain(&impatient, &Notes::default()).await.unwrap_err();
    stage.front.clear_faults();
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), Spent { orders: 2, certificates: 2, ..WHOLE });
}

#[tokio::test]
async fn a_stopgap_does_not_end_the_wait_for_a_better_certificate_and_another_authority_does() {
    let stage = Stage::new("");
    let acme = stage.request(&["a.example"]);
    let request = Request { force: true, patience: Duration::from_secs(2), ..acme };
    let with = |issuer: Issuer| Request { issuers: vec![stage.authority().into(), issuer], ..request.clone() };
    stage.front.inject(Endpoint::Finalize, Times::Forever, Fault::unavailable(Duration::from_secs(3600)));
    let internal = with(Issuer::Internal(Internal::default()));
    assert_eq!(issued(stage.obtain(&internal, &Notes::default()).await), 1);
    assert_eq!(kept(&stage, "a.example").len(), 1);
    stage.front.clear_faults();
    assert_eq!(issued(stage.obtain(&internal, &Notes::default()).await), 2);
    assert_eq!(stage.front.spent(), WHOLE);
    assert_eq!(stage.store().server("a.example"), Some(stage.front.directory_url()));

    stage.front.inject(Endpoint::Finalize, Times::Forever, Fault::unavailable(Duration::from_secs(3600)));
    let other = with(stage.bare_authority().into());
    assert_eq!(issued(stage.obtain(&other, &Notes::default()).await), 3);
    assert!(kept(&stage, "a.example").is_empty());
}
