//! What can be seen without an account: curl asks, and gets what the front was told. Orders to their certificates are in the
//! tests of `certificates`.

use std::{process::Command, time::Instant};

use serde_json::{Value, json};

use super::*;
use crate::{Network, Process, process::Log};

const SECONDS: Duration = Duration::from_secs(20);

struct Stage {
    front: CaFront,
    pebble: Pebble,
}

/// What curl got; `exit` is not 0 where it got nothing whole.
#[derive(Debug)]
struct Got {
    exit: i32,
    status: u16,
    head: String,
    body: String,
}

impl Stage {
    fn new() -> Self {
        let pebble = Pebble::start(1).unwrap();
        Self { front: CaFront::start(&pebble).unwrap(), pebble }
    }

    fn curl(&self, path: &str) -> Command {
        let mut curl = self.pebble.place().command("curl");
        curl.args(["-s", "-i", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(self.front.ca_file());
        curl.arg(format!("https://{}{path}", self.front.address()));
        curl
    }

    fn get(&self, path: &str) -> Got {
        got(&mut self.curl(path))
    }

    fn post(&self, path: &str, payload: &Value) -> Got {
        let body = Request::signed(path, payload).text();
        let body = String::from_utf8(body).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned();
        got(self.curl(path).args(["-H", "Content-Type: application/jose+json", "--data", &body]))
    }
}

impl Got {
    fn header(&self, wanted: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim()).next()
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn kind(&self) -> String {
        self.document()["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }
}

fn got(curl: &mut Command) -> Got {
    let output = curl.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Got { exit: output.status.code().unwrap(), status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn ordering(name: &str) -> Value {
    json!({ "identifiers": [{ "type": "dns", "value": name }] })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

#[test]
fn the_directory_leads_here_and_has_what_pebble_lacks() {
    let stage = Stage::new();
    let directory = stage.get("/dir").document();
    let here = format!("https://{}/", stage.front.address());
    for key in ["newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo"] {
        assert!(directory[key].as_str().unwrap().starts_with(&here), "{directory}");
    }
    assert!(directory["meta"]["profiles"]["shortlived"].is_string(), "{directory}");
    stage.front.set_profiles(&[]);
    stage.front.offer_renewal_info(false);
    let directory = stage.get("/dir").document();
    assert!(directory.get("renewalInfo").is_none() && directory["meta"].get("profiles").is_none(), "{directory}");
    assert_eq!(stage.get("/renewal-info/a.b").status, 404, "pebble knows no such thing");
    let nonce = got(stage.curl("/nonce-plz").arg("--head"));
    assert!(nonce.status == 200 && nonce.header("replay-nonce").is_some(), "{nonce:?}");
    assert_eq!(stage.get("/nonce-plz").status, 204);
}

#[test]
fn what_pebble_refuses_is_passed_on_and_not_counted_as_spent() {
    let stage = Stage::new();
    let refused = stage.post("/sign-me-up", &json!({ "termsOfServiceAgreed": true }));
    assert_eq!((refused.status, refused.kind().as_str()), (400, "malformed"), "nothing is signed");
    assert!(refused.header("replay-nonce").is_some());
    let journal = stage.front.journal();
    let outcome = Outcome::Answered { status: 400, problem: Some("malformed".into()) };
    assert_eq!((journal.exchanges()[0].endpoint, &journal.exchanges()[0].outcome), (Endpoint::NewAccount, &outcome));
    assert_eq!(stage.front.spent(), Spent::default());
}

#[test]
fn every_refusal_looks_as_told() {
    let stage = Stage::new();
    let moment = at(10);
    for (fault, status, kind, header) in [
        (Fault::rate_limited(Duration::from_secs(90)), 429, "rateLimited", Some("90")),
        (Fault::rate_limited(moment), 429, "rateLimited", Some("fri, 15 jan 2027 08:00:10 gmt")),
        (Fault::server_error(), 500, "serverInternal", None),
        (Fault::unavailable(Duration::from_secs(5)), 503, "serverInternal", Some("5")),
        (Fault::paused("a.example", "https://portal.example/x"), 429, "rateLimited", None),
        (Fault::BadNonce, 400, "badNonce", None),
        (Problem::new(403, "unauthorized", "no").into(), 403, "unauthorized", None),
    ] {
        stage.front.inject(Endpoint::NewOrder, 1, fault);
        let got = stage.post("/order-plz", &ordering("a.example"));
        assert_eq!((got.status, got.kind().as_str(), got.header("retry-after")), (status, kind, header), "{got:?}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        assert_ne!(got.header("replay-nonce").unwrap_or_default(), "", "RFC 8555 §6.5: {got:?}");
    }
    let orders = stage.front.journal();
    assert!(orders.orders().iter().all(|order| order.names == ["a.example"] && order.replaces.is_none()));
    assert_eq!((orders.orders().len(), stage.front.spent()), (7, Spent::default()));
    for (fault, status) in [(Fault::bad_gateway(), 502), (Fault::portal(), 200)] {
        stage.front.inject(Endpoint::Directory, 1, fault);
        let page = stage.get("/dir");
        assert_eq!((page.status, page.header("content-type")), (status, Some("text/html; charset=utf-8")));
        assert!(page.body.starts_with("<!doctype html>"), "{page:?}");
    }
    assert_eq!(stage.get("/dir").document()["meta"]["termsOfService"].as_str().map(str::is_empty), Some(false));
}

#[test]
fn faults_happen_where_and_as_often_as_told() {
    let stage = Stage::new();
    stage.front.inject(Endpoint::NewNonce, 2, Fault::server_error());
    stage.front.inject(Endpoint::Directory, Times::Forever, Fault::bad_gateway());
    let statuses = |path: &str| [(); 3].map(|()| stage.get(path).status);
    assert_eq!((statuses("/nonce-plz"), statuses("/dir")), ([500, 500, 204], [502; 3]));
    stage.front.inject(Scope::Any, Times::Forever, Fault::unavailable(RetryAfter::Absent));
    assert_eq!((stage.get("/dir").status, stage.get("/nonce-plz").status), (502, 503), "what was told first");
    assert_eq!(stage.get("/renewal-info/a.b").status, 503);
    stage.front.clear_faults();
    assert_eq!((stage.get("/dir").status, stage.get("/nonce-plz").status), (200, 204));
    stage.front.inject(Scope::Any, 1, Fault::BadNonce);
    assert_eq!(stage.get("/dir").status, 200, "a GET has no nonce");
    assert_eq!(stage.post("/sign-me-up", &json!({})).kind(), "badNonce");
}

#[test]
fn a_reset_and_a_cut_answer_are_what_a_client_sees() {
    let stage = Stage::new();
    stage.front.inject(Endpoint::Directory, 1, Fault::Reset);
    stage.front.inject(Endpoint::Directory, 1, Fault::Cut);
    stage.front.inject(Endpoint::NewNonce, 1, Fault::Cut);
    let (recv_error, partial_file) = (56, 18);
    assert_eq!(stage.get("/dir").exit, recv_error);
    let cut = stage.get("/dir");
    assert!([recv_error, partial_file].contains(&cut.exit), "{cut:?}");
    assert!(cut.status == 200 && cut.body.starts_with('{') && !cut.body.ends_with('}'), "{cut:?}");
    let cut = got(stage.curl("/nonce-plz").arg("--head"));
    assert!(cut.status == 200 && cut.header("content-length").is_none(), "no body, so the head is cut: {cut:?}");
    let outcomes: Vec<_> = stage.front.journal().exchanges().iter().map(|one| one.outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Reset, Outcome::Cut { status: 200 }, Outcome::Cut { status: 200 }]);
}

#[test]
fn what_hangs_does_until_the_client_leaves_or_faults_are_cleared() {
    let stage = Stage::new();
    stage.front.inject(Endpoint::Directory, Times::Forever, Fault::Hang);
    let leaving = Process::spawn(&stage.curl("/dir")).unwrap();
    assert!(stage.front.wait_for(SECONDS, |journal| journal.open() == 1));
    drop(leaving);
    assert!(stage.front.wait_for(SECONDS, |journal| journal.exchanges()[0].outcome == Outcome::Left));
    let mut staying = Process::spawn(&stage.curl("/dir")).unwrap();
    assert!(stage.front.wait_for(SECONDS, |journal| journal.count(Endpoint::Directory) == 2));
    assert!(staying.exit_status().is_none());
    stage.front.clear_faults();
    assert!(staying.wait(SECONDS).unwrap().success());
    assert!(staying.output().contains("newOrder"), "{}", staying.output());
}

#[test]
fn renewal_information_says_what_it_was_told() {
    let stage = Stage::new();
    let unknown = stage.get("/renewal-info/aki.serial");
    assert_eq!((unknown.status, unknown.kind().as_str()), (404, "malformed"));
    stage.front.set_window(at(0), at(60));
    stage.front.set_window_of("one.1", at(100), at(160));
    stage.front.set_explanation(Some("https://ca.example/incident"));
    let (all, one) = (stage.get("/renewal-info/two.2"), stage.get("/renewal-info/one.1"));
    let window = json!({ "start": "2027-01-15T08:00:00Z", "end": "2027-01-15T08:01:00Z" });
    assert_eq!((&all.document()["suggestedWindow"], all.header("retry-after")), (&window, Some("21600")));
    assert_eq!(one.document()["suggestedWindow"]["start"], "2027-01-15T08:01:40Z");
    assert_eq!(one.document()["explanationURL"], "https://ca.example/incident");
    stage.front.set_retry_after(at(0));
    assert_eq!(stage.get("/renewal-info/one.1").header("retry-after"), Some("fri, 15 jan 2027 08:00:00 gmt"));
    stage.front.set_retry_after(RetryAfter::Absent);
    assert_eq!(stage.get("/renewal-info/one.1").header("retry-after"), None);
    stage.front.reset_windows();
    assert_eq!(stage.get("/renewal-info/one.1").status, 404);
    assert_eq!(stage.front.journal().count(Endpoint::RenewalInfo), 6);
}

#[test]
fn orders_that_are_not_wanted_never_reach_pebble() {
    let stage = Stage::new();
    stage.front.refuse_name("dead.example", "it is on a list");
    let both =
        json!({ "identifiers": [{ "type": "dns", "value": "a.example" }, { "type": "dns", "value": "Dead.example" }] });
    let refused = stage.post("/order-plz", &both);
    assert_eq!((refused.status, refused.kind().as_str()), (400, "rejectedIdentifier"));
    let part = &refused.document()["subproblems"][0];
    assert_eq!((&part["identifier"]["value"], &part["detail"]), (&json!("dead.example"), &json!("it is on a list")));
    stage.front.accept_name("dead.example");
    let mut order = ordering("dead.example");
    order["profile"] = json!("forever");
    assert_eq!(stage.post("/order-plz", &order).kind(), "invalidProfile");
    order["profile"] = json!("shortlived");
    order["replaces"] = json!("aki.serial");
    stage.front.refuse_replaces(1);
    let replaced = stage.post("/order-plz", &order);
    assert_eq!((replaced.status, replaced.kind().as_str()), (409, "alreadyReplaced"));
    assert!(!stage.pebble.output().contains("/order-plz"));
    assert_eq!(stage.post("/order-plz", &order).kind(), "malformed", "pebble's word: nothing is signed");
    let journal = stage.front.journal();
    let last = Ordered {
        names: vec!["dead.example".into()],
        profile: Some("shortlived".into()),
        replaces: Some("aki.serial".into()),
    };
    assert_eq!((journal.orders().len(), journal.orders()[3]), (4, &last));
}

/// Somebody else's client, which knows nothing of profiles and renewal information, from another host.
#[test]
fn certbot_gets_a_certificate_through_it_in_a_network_of_namespaces() {
    let network = Network::new(["site", "authority"]).unwrap();
    let [site, authority] = network.hosts();
    let options = crate::PebbleOptions {
        place: authority.into(),
        site: site.into(),
        http_port: 80,
        ipv6: true,
        refused_nonces: 0,
    };
    let features = crate::PebbleFeatures { validity: 60, alternate_roots: 2, ..crate::PebbleFeatures::default() };
    let pebble = Pebble::with_features(options, &features).unwrap();
    assert_ne!(pebble.root(1).unwrap(), pebble.root(2).unwrap());
    let front = CaFront::start(&pebble).unwrap();
    front.inject(Endpoint::NewOrder, 1, Fault::BadNonce);
    let directory = crate::scratch_dir().unwrap();
    let mut certbot = site.command("certbot");
    certbot.args(["certonly", "-n", "--standalone", "-d", "site.example", "--agree-tos"]);
    certbot.args(["--register-unsafely-without-email", "--server", &front.directory_url()]);
    for kind in ["config", "work", "logs"] {
        certbot.arg(format!("--{kind}-dir")).arg(directory.path().join(kind));
    }
    certbot.env("REQUESTS_CA_BUNDLE", front.ca_file());
    let mut certbot = Process::spawn(&certbot).unwrap();
    assert!(certbot.wait(Duration::from_secs(120)).unwrap().success(), "{}\n{:#?}", certbot.output(), front.journal());
    assert_eq!(front.spent(), Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 });
    assert_eq!(front.journal().count(Endpoint::NewOrder), 2, "the nonce was no good at first");
    let [certificate] = front.certificates().try_into().unwrap();
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap();
    assert_eq!((certificate.names, (59..=60).contains(&life.as_secs())), (vec!["site.example".to_owned()], true));
    let mut curl = site.command("curl");
    curl.args(["-s", "-i", "--noproxy", "*", "--cacert"]).arg(front.ca_file());
    let asked = got(curl.arg(format!("https://{}/renewal-info/{}", front.address(), certificate.id))).document();
    let window = &asked["suggestedWindow"];
    let parsed = |key: &str| SystemTime::from(window[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    let after = |key: &str| parsed(key).duration_since(certificate.not_before).unwrap().as_secs_f64();
    assert!(38.0 < after("start") && after("start") < after("end") && after("end") < 42.0, "{asked}");
}

#[test]
fn a_front_that_is_dropped_is_gone_with_all_its_connections_and_may_come_back() {
    let pebble = Pebble::start(1).unwrap();
    let reserved = pebble.place().reserve(pebble.place().ipv4(), 0).unwrap();
    let front = CaFront::start_at(&pebble, reserved.port()).unwrap();
    front.inject(Endpoint::Directory, 1, Fault::Hang);
    let idle = std::net::TcpStream::connect(front.address()).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-s", "--noproxy", "*", "--cacert"]).arg(front.ca_file()).arg(front.directory_url());
    let mut hanging = Process::spawn(&curl).unwrap();
    assert!(front.wait_for(SECONDS, |journal| journal.open() == 1));
    let (address, begun) = (front.address(), Instant::now());
    drop(front);
    assert!(begun.elapsed() < SECONDS / 2);
    assert!(!hanging.wait(SECONDS).unwrap().success());
    assert!(pebble.place().connect(address).is_err());
    let back = Stage { front: CaFront::start_at(&pebble, reserved.port()).unwrap(), pebble };
    assert_eq!((back.front.address(), back.get("/dir").status), (address, 200));
    drop(idle);
}

/// An answer as pebble gives it.
fn said(status: u16, document: &Value) -> Answer {
    Answer::new(status, "application/json", document.to_string())
}

/// Lets pebble take an order with this id for one name, and show its authorization.
fn taken(known: &mut Known, rules: &Rules, id: &str, payload: &Value) -> Value {
    let request = Request::signed("/order-plz", payload);
    let authorization = format!("https://ca.example/authZ/auth-{id}");
    let mut answer = said(201, &json!({ "status": "pending", "authorizations": [authorization] }));
    answer.set_header("location", format!("https://ca.example/my-order/{id}"));
    known.learn(&request, &mut answer, rules);
    let challenge = json!({ "url": format!("https://ca.example/chalZ/chal-{id}"), "status": "pending", "token": "t" });
    let name = &payload["identifiers"][0];
    let document = json!({ "status": "pending", "identifier": name, "challenges": [challenge] });
    known.learn(&Request::signed(&format!("/authZ/auth-{id}"), &json!(null)), &mut said(200, &document), rules);
    answer.document().unwrap()
}

#[test]
fn a_certificate_is_replaced_by_one_order_unless_that_is_invalid() {
    let (mut known, rules) = (Known::new(Log::of("")), Rules::default());
    let mut payload = ordering("a.example");
    payload["replaces"] = json!("aki.1");
    payload["profile"] = json!("classic");
    assert!(!known.is_replaced("aki.1"));
    let order = taken(&mut known, &rules, "o1", &payload);
    assert_eq!((&order["replaces"], &order["profile"]), (&json!("aki.1"), &json!("classic")), "RFC 9773 §5");
    assert!(known.is_replaced("aki.1") && !known.is_replaced("aki.2"));
    let mut invalid = said(200, &json!({ "status": "invalid" }));
    known.learn(&Request::signed("/my-order/o1", &json!(null)), &mut invalid, &rules);
    assert!(!known.is_replaced("aki.1"));
    assert_eq!(invalid.document().unwrap()["replaces"], "aki.1");
}

#[test]
fn a_failure_that_no_client_asked_about_is_known_from_pebble() {
    let log = Log::of("Pebble 2026/11/25 22:00:00 authz auth-o1 set INVALID by completed challenge chal-o1\n");
    let (mut known, rules) = (Known::new(log), Rules::default());
    let mut payload = ordering("a.example");
    payload["replaces"] = json!("aki.1");
    taken(&mut known, &rules, "o1", &payload);
    assert!(known.failed_authorizations().iter().eq(["auth-o1"]));
    assert!(!known.is_replaced("aki.1"), "its order is lost");
}

#[test]
fn a_challenge_that_is_told_to_fail_takes_the_order_with_it() {
    let (mut known, mut rules) = (Known::new(Log::of("")), Rules::default());
    rules.polling = RetryAfter::Seconds(3);
    rules.failing.insert("a.example".into(), Problem::new(403, "caa", "forbidden by CAA"));
    taken(&mut known, &rules, "o1", &ordering("a.example"));
    taken(&mut known, &rules, "o2", &ordering("b.example"));
    assert!(known.fail(&Request::signed("/chalZ/chal-o2", &json!({})), &rules).is_none());
    let asking = Request::new("POST", "/chalZ/chal-o1", "ca.example");
    assert!(known.fail(&asking, &rules).is_none(), "a POST-as-GET starts nothing");
    let started = known.fail(&Request::signed("/chalZ/chal-o1", &json!({})), &rules).unwrap();
    assert_eq!(
        (started.document().unwrap()["status"].clone(), started.header("retry-after")),
        (json!("processing"), Some("3"))
    );
    let mut learn = |path: &str| {
        let mut answer = said(200, &json!({ "status": "pending", "challenges": [] }));
        known.learn(&Request::signed(path, &json!(null)), &mut answer, &rules);
        (answer.document().unwrap(), answer.header("retry-after").map(str::to_owned))
    };
    let (authorization, retry_after) = learn("/authZ/auth-o1");
    assert_eq!((&authorization["status"], retry_after), (&json!("invalid"), None));
    assert_eq!(authorization["challenges"][0]["error"]["detail"], "forbidden by CAA");
    assert_eq!(learn("/my-order/o1").0["status"], "invalid");
    assert_eq!(learn("/my-order/o2"), (json!({ "status": "pending", "challenges": [] }), Some("3".into())));
    assert!(known.failed_authorizations().iter().eq(["auth-o1"]));
}
