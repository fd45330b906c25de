//! A storage that is full or read-only: no order is placed whose certificate could not be saved, and one that is there is kept.

use test_support::{
    SmallDisk,
    ca_front::{Endpoint, Fault, Spent, Times},
};

use super::{A_REST, DAY, FAILED, FIRST, ISSUED, ONE, Site, Stage, TWO_DAYS};

const UNTENDED: &str = "a certificate is not looked after";

fn on<'s>(disk: &SmallDisk, stage: &'s Stage) -> Site<'s> {
    Site { storage: disk.path().join("storage"), ..stage.simple() }
}

#[test]
fn a_disk_that_is_full_before_or_in_the_middle_of_an_order_costs_nothing() {
    let (stage, disk) = (Stage::new(), SmallDisk::new(256).unwrap());
    let site = on(&disk, &stage);
    stage.want_renewals();
    disk.fill().unwrap();
    let mut running = site.run();
    let visitor = running.visitor(&["site.example"]);
    assert!(running.says(UNTENDED).contains("No space left"));
    assert_eq!(stage.front.spent(), Spent::default());
    disk.free().unwrap();
    running.later(A_REST, ISSUED);
    assert_eq!(stage.front.spent(), FIRST);
    running.shows_the_one_in(&site.storage, "site.example");
    let first = running.shows("site.example");

    // It fills while the authority has the order.
    stage.front.inject(Endpoint::Certificate, Times::Forever, Fault::Hang);
    running.later_when(TWO_DAYS, || stage.hangs_at(Endpoint::Certificate));
    disk.fill().unwrap();
    stage.front.clear_faults();
    running.says("kept in memory");
    assert!(running.says(FAILED).contains("No space left"));
    // As often as one looks, and whatever else one does.
    stage.clock.advance(A_REST).unwrap();
    running.reload(&site);
    assert!(running.says(UNTENDED).contains("No space left"));
    assert_eq!(running.shows("site.example"), first);
    disk.free().unwrap();
    assert!(running.later(A_REST, ISSUED).contains("Suggested"));
    running.shows_the_one_in(&site.storage, "site.example");
    let second = running.shows("site.example");
    assert_eq!(stage.front.spent() - FIRST, ONE);
    assert_eq!(stage.front.certificates().len(), 2);
    let shown = visitor.pleased();
    assert!(shown[0].is_placeholder() && shown[1..] == [first, second], "{shown:?}");
}

#[test]
fn a_disk_that_is_read_only_costs_nothing_and_is_told_of_once() {
    let (stage, disk) = (Stage::new(), SmallDisk::new(256).unwrap());
    let site = on(&disk, &stage);
    stage.want_renewals();
    let running = site.run();
    let visitor = running.visitor(&["site.example"]);
    running.says(ISSUED);
    let asked = || stage.front.journal().count(Endpoint::RenewalInfo);
    running.knows_when(&site.storage, "site.example");
    disk.set_read_only(true).unwrap();

    // Nothing is due but a question, which is no failure and need not be asked again.
    let before = asked();
    running.later(DAY, "kept in memory");
    assert_eq!((asked(), running.count(FAILED)), (before + 1, 0));

    assert!(running.later(DAY + A_REST, FAILED).contains("Read-only"));
    let looked = || stage.front.journal().exchanges().len();
    let before = looked();
    for _ in 0..2 {
        stage.clock.advance(A_REST).unwrap();
        std::thread::sleep(super::A_ROUND);
    }
    assert_eq!((running.count(FAILED), looked()), (1, before), "{}", running.output());
    assert_eq!(stage.front.spent(), FIRST);

    disk.set_read_only(false).unwrap();
    running.later(A_REST, ISSUED);
    assert_eq!(stage.front.spent() - FIRST, ONE);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(visitor.pleased().iter().filter(|shown| !shown.is_placeholder()).count(), 2);
}
