//! Several names of which some cannot be had.

use authenticator_api::DomainName;
use certificates::{Completeness, Lineage, ObtainError, Obtained, Request};

use test_support::ca_front::Spent;

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
    let spent = Spent { accounts: 1, orders: 2, failed_authorizations: 1, certificates: 1 };
    assert_eq!(stage.front.spent(), spent, "an order for three names, one for two");
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
async fn a_name_that_fails_or_is_refused_by_the_authority_alone_costs_what_it_must_and_no_more() {
    let stage = Stage::new("");
    stage.front.fail_challenges("b.example", "caa", "the CAA record names another authority");
    let request = some(&stage, &["a.example", "b.example"]);
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!((names(&saved.lineage), refused[0].kind.as_str()), (vec!["a.example".to_owned()], "caa"));
    assert_eq!(stage.front.spent(), Spent { accounts: 1, orders: 2, failed_authorizations: 1, certificates: 1 });

    stage.front.accept_name("b.example");
    stage.front.refuse_name("c.example", "it is on a list");
    let request = some(&stage, &["a.example", "b.example", "c.example"]);
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(names(&saved.lineage), ["a.example", "b.example"]);
    assert_eq!((refused[0].domain.as_str(), refused[0].detail.as_str()), ("c.example", "it is on a list"));
    assert_eq!(stage.front.spent(), Spent { accounts: 1, orders: 3, failed_authorizations: 1, certificates: 2 });
    assert_eq!(stage.front.journal().orders().len(), 4, "one was refused");
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
    let stage = Stage::new("");
    stage.obtain(&some(&stage, &["a.example", "b.example"]), &Notes::default()).await.unwrap();
    let stage = Stage { storage: stage.storage, ..Stage::new("b.") };
    let request = Request { force: true, ..some(&stage, &["a.example", "b.example"]) };
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Validation { failures } if failures[0].domain == "b.example"), "{error:?}");
    let lineage = stage.store().load("a.example").unwrap();
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
