//! Renewals of a whole cluster: whichever balancer the authority comes to, and whichever visitors come to.

use std::{net::IpAddr, time::Instant};

use test_support::Namespace;

use super::{
    balancer::Balancer,
    scene::{CERTIFICATES, Scene, names},
    watch::Watch,
};

/// The certificates are obtained by one balancer and shown by three. Validations come by both families and to all of them. In the
/// middle one of those that forward is killed, when names lead there no more.
#[test]
fn ten_renewals_reach_every_balancer_and_are_noticed_by_no_visitor() {
    let begun = Instant::now();
    let scene = Scene::new();
    let [one, two, three] = scene.balancers();
    names().zip([two, three, three, two, one, two]).for_each(|(name, balancer)| scene.lead(name, balancer));
    // There is no certificate yet; and one of them is told of another master, which does not exist.
    let (by_ipv4, by_ipv6) = (format!("http://{}", one.ipv4()), format!("http://[{}]", one.ipv6()));
    let mut second = scene.start_other(two, &["http://10.77.0.99", &by_ipv4]);
    let third = scene.start_other(three, &[&by_ipv6]);
    let mut first = scene.start_master(one);
    for balancer in [&second, &third] {
        balancer.wait_until_said("another certificate is shown", CERTIFICATES.len());
    }

    let [at_one, at_two, at_three] = [one, two, three].map(|balancer| scene.watch(balancer));
    scene.follow(CERTIFICATES.len() + RENEWALS / 2, &[&at_one, &at_two, &at_three]);
    names().zip([two, two, two, two, one, one]).for_each(|(name, balancer)| scene.lead(name, balancer));
    let half = scene.settle(&[&at_one, &at_two, &at_three]);
    let told_by_three = at_three.assert_content(&half, &third.lockgate.output());
    let came_to_three = visits(&scene, &third);
    drop(third);
    at_three.wait_until_lost();
    drop(at_three.stop());

    scene.follow(half.len() + RENEWALS / 2, &[&at_one, &at_two]);
    let all = scene.settle(&[&at_one, &at_two]);
    let [at_one, at_two] = [at_one, at_two].map(Watch::stop);
    first.end();
    second.end();

    assert!(all.len() >= CERTIFICATES.len() + RENEWALS, "{}", all.len());
    let [told_by_one, told_by_two] = [(&at_one, &first), (&at_two, &second)]
        .map(|(watch, balancer)| watch.assert_content(&all, &balancer.lockgate.output()));
    // The authority came to every balancer, by both families, and found an answer.
    let came = [visits(&scene, &first), visits(&scene, &second), came_to_three];
    assert!(came.as_flattened().iter().all(|count| *count > 0), "{came:?}");
    // Others passed on what is for the master and nothing else: visitors are served where they are.
    let [forwarded, others] = first.requests_of(&[both(two), both(three)].concat());
    let expected: usize = came[1..].as_flattened().iter().sum();
    assert!(forwarded >= expected && others == 0, "{forwarded} {others} {came:?}");
    let (renewals, took) = (all.len() - CERTIFICATES.len(), begun.elapsed());
    eprintln!("{renewals} renewals in {took:.0?}; visits by balancer and family {came:?}, {forwarded} forwarded");
    eprintln!("{told_by_one}\n{told_by_two}\n{told_by_three}");
}

/// Challenges that the authority asked a balancer for, by family.
fn visits(scene: &Scene, balancer: &Balancer) -> [usize; 2] {
    scene.authority().map(|address| balancer.requests_of(&[address])[0])
}

fn both(host: &Namespace) -> Vec<IpAddr> {
    vec![host.ipv4().into(), host.ipv6().into()]
}

const RENEWALS: usize = 10;
