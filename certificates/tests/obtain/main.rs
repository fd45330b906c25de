//! Whole orders against a real certificate authority (pebble), with an authenticator of a few lines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail like the test")]

mod authorities;
mod faults;
mod partial;
mod renewal;
mod resumption;
mod stage;
mod upkeep;
mod validation;

use authenticator_api::DomainName;
use certificates::{Blame, ObtainError, Obtained, Progress};
use std::time::Duration;

use stage::{Notes, Stage, issued};

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
    assert!(matches!(&kept, Obtained::Unchanged { lineage, .. } if lineage.version == 1), "{kept:?}");
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
    stage.presented.cleanup().await;
    assert_eq!(stage.memory.answers.lock().unwrap().len(), 0);
    assert_eq!(stage.taken_back(), ["a.example", "b.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
}

#[tokio::test]
async fn a_certificate_of_another_authority_neither_passes_for_ours_nor_is_replaced_unasked() {
    let stage = Stage::new("");
    assert_eq!(issued(stage.obtain(&stage.request(&["a.example"]), &Notes::default()).await), 1);
    let first = stage.front.directory_url();
    let stage = Stage { storage: stage.storage, ..Stage::new("") };
    let mut request = stage.request(&["a.example"]);
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(error.to_string().contains(&first) && error.to_string().contains(request.issuers[0].server()), "{error}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Configuration, true));
    assert_eq!(stage.store().load("a.example").unwrap().version, 1);
    request.force = true;
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    request.force = false;
    let kept = stage.obtain(&request, &Notes::default()).await.unwrap();
    assert!(matches!(&kept, Obtained::Unchanged { lineage, .. } if lineage.version == 2), "{kept:?}");
}
