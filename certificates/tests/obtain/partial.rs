//! Several names of which some cannot be had.

use authenticator_api::DomainName;
use certificates::{Completeness, Lineage, ObtainError, Obtained, Request, Store};

use super::stage::{Notes, Stage};

const SOME: Completeness = Completeness::Some { resting: Vec::new() };

fn some(stage: &Stage, names: &[&str]) -> Request {
    Request { completeness: SOME, ..stage.request(names) }
}

fn names(lineage: &Lineage) -> Vec<String> {
    lineage.names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn one_dead_name_of_three_gives_a_certificate_for_two() {
    let stage = Stage::new("dead.");
    let request = some(&stage, &["dead.example", "a.example", "b.example"]);
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(names(&saved.lineage), ["a.example", "b.example"]);
    assert_eq!(saved.lineage.name, "dead.example", "the name of the first that is wanted");
    let [failure] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!((failure.domain.as_str(), failure.kind.as_str()), ("dead.example", "unauthorized"));
    assert_eq!(stage.orders(), 2, "one for three names, one for two");
}

#[tokio::test]
async fn a_refused_name_is_left_out() {
    let stage = Stage::new("");
    let request = some(&stage, &["a.example", "blocked.example"]);
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(names(&saved.lineage), ["a.example"]);
    assert_eq!((refused[0].domain.as_str(), refused[0].kind.as_str()), ("blocked.example", "rejectedIdentifier"));
    assert_eq!(stage.orders(), 1, "the first one was not taken");
}

#[tokio::test]
async fn a_missing_name_joins_the_certificate_when_it_can_be_had_and_costs_none_before() {
    let stage = Stage::new("");
    let obtained = stage.obtain(&some(&stage, &["a.example"]), &Notes::default()).await.unwrap();
    assert!(matches!(&obtained, Obtained::Issued { saved, .. } if saved.lineage.version == 1));

    let still_dead = some(&stage, &["a.example", "blocked.example"]);
    let obtained = stage.obtain(&still_dead, &Notes::default()).await.unwrap();
    let Obtained::Unchanged { lineage, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!((lineage.version, refused.len()), (1, 1));
    assert_eq!(stage.orders(), 1, "there was nothing to gain");

    let resting = Completeness::Some { resting: vec![DomainName::parse("blocked.example").unwrap()] };
    let rests = Request { completeness: resting, ..still_dead };
    let obtained = stage.obtain(&rests, &Notes::default()).await.unwrap();
    assert!(
        matches!(&obtained, Obtained::Unchanged { lineage, refused } if lineage.version == 1 && refused.is_empty())
    );

    let obtained = stage.obtain(&some(&stage, &["a.example", "b.example"]), &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, .. } = &obtained else { panic!("{obtained:?}") };
    assert_eq!((saved.lineage.name.as_str(), saved.lineage.version), ("a.example", 2), "the same lineage");
    assert_eq!(names(&saved.lineage), ["a.example", "b.example"]);
}

#[tokio::test]
async fn a_good_certificate_does_not_lose_a_name_that_fails_in_passing() {
    let mut stage = Stage::new("");
    stage.obtain(&some(&stage, &["a.example", "b.example"]), &Notes::default()).await.unwrap();
    let other = Stage::new("b.");
    (stage.pebble, stage.memory, stage.authenticator) = (other.pebble, other.memory, other.authenticator);
    stage.ca_file = other.ca_file;
    let request = Request { force: true, ..some(&stage, &["a.example", "b.example"]) };
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Validation { failures } if failures[0].domain == "b.example"), "{error:?}");
    let lineage = Store::open(stage.storage.path()).unwrap().load("a.example").unwrap();
    assert_eq!((lineage.version, lineage.names.len()), (1, 2));
}

#[tokio::test]
async fn without_any_good_name_the_failure_of_each_is_told() {
    let stage = Stage::new("dead");
    let request = some(&stage, &["dead.example", "deader.example", "blocked.example"]);
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    let mut failed: Vec<_> = error.failures().iter().map(|failure| failure.domain.as_str()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["blocked.example", "dead.example", "deader.example"]);
}
