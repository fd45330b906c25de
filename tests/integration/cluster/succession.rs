//! What becomes of a cluster whose master is lost.

use std::time::Instant;

use super::scene::{CERTIFICATES, Scene, names};

/// The storage is shared, so whoever comes after it goes on with the same account, and knows what was under way.
#[test]
fn another_balancer_becomes_the_master_by_a_reload_and_its_visitors_do_not_notice() {
    let scene = Scene::new();
    let [one, two, _] = scene.balancers();
    names().zip([one, two].into_iter().cycle()).for_each(|(name, balancer)| scene.lead(name, balancer));
    let mut second = scene.start_other(two, &[&format!("http://{}", one.ipv4())]);
    let first = scene.start_master(one);
    second.wait_until_said("another certificate is shown", CERTIFICATES.len());
    let at_two = scene.watch(two);
    scene.follow(CERTIFICATES.len() + 1, &[&at_two]);

    // It is lost while it orders, whatever its other balancer could do.
    scene.hold();
    drop(first);
    names().for_each(|name| scene.lead(name, two));
    scene.release();
    let before = scene.settle(&[&at_two]).len();
    let lost = Instant::now();
    scene.promote(&mut second);
    scene.follow(before + CERTIFICATES.len(), &[&at_two]);
    let took = lost.elapsed();
    let all = scene.settle(&[&at_two]);
    let seen = at_two.stop();
    let told = seen.assert_content(&all, &second.lockgate.output());
    eprintln!("{} renewals by the one that came after, in {took:.0?}; {told}", all.len() - before);
}
