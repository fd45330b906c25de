//! Visitors of one balancer: told apart from those of the others.

use std::{net::SocketAddr, time::Duration};

use test_support::{
    Namespace, Place, Report, Site, TlsReport, TlsVisitors, Trust, Visitors, ca_front::Certificate, poll,
};

use crate::soak::swaps::{Swaps, are_all_seen};

/// Those in the clear, and those over TLS who believe the authority.
pub(super) struct Watch {
    balancer: String,
    plain: Visitors,
    secure: TlsVisitors,
}

/// What they saw in the end.
pub(super) struct Seen {
    balancer: String,
    plain: Report,
    secure: TlsReport,
}

impl Watch {
    pub(super) fn start(place: &Place, balancer: &Namespace, site: &Site, names: &[String], roots: &str) -> Self {
        let addresses =
            |port| -> Vec<SocketAddr> { vec![(balancer.ipv4(), port).into(), (balancer.ipv6(), port).into()] };
        let plain = Visitors::with_pause(place, &site.clone().behind(addresses(80)), PLAIN, PAUSE);
        let site = site.clone().behind(addresses(443));
        let secure = TlsVisitors::start(place, &site, names, Trust::Roots(roots), SECURE).unwrap();
        Self { balancer: balancer.name().to_owned(), plain, secure }
    }

    /// Lets every other look be at this name.
    pub(super) fn look_at(&self, name: &str) {
        self.secure.watch(name);
    }

    /// Waits until the newest certificate of every name has been seen.
    pub(super) fn wait_until_seen(&self, certificates: &[Certificate]) {
        let seen = poll(SOON, || are_all_seen(certificates, &self.secure.report().sightings).then_some(()));
        assert!(seen.is_some(), "{}: {:?}", self.balancer, self.secure.report());
    }

    /// Nobody has failed so far, and every certificate was shown in time.
    pub(super) fn assert_content(&self, certificates: &[Certificate], output: &str) -> String {
        assert_eq!(self.plain.failed(), 0, "{}\n{output}", self.balancer);
        assert_secure(&self.balancer, &self.secure.report(), certificates, output)
    }

    /// Waits until visitors of both kinds fail, as they must where nobody is left.
    pub(super) fn wait_until_lost(&self) {
        let is_lost = || self.plain.failed() > 0 && self.secure.report().failed_handshakes > 0;
        assert!(poll(SOON, || is_lost().then_some(())).is_some(), "{}: who serves them?", self.balancer);
    }

    pub(super) fn stop(self) -> Seen {
        Seen { balancer: self.balancer, plain: self.plain.stop(), secure: self.secure.stop() }
    }
}

impl Seen {
    /// Nobody has failed, and every certificate was shown in time. Says what was measured.
    pub(super) fn assert_content(&self, certificates: &[Certificate], output: &str) -> String {
        let Self { balancer, plain, secure } = self;
        assert_eq!(plain.failed, 0, "{balancer}: {:#?}\n{output}", plain.reasons);
        assert!(plain.by_family.iter().all(|count| *count > 100), "{balancer}: {plain:?}");
        let told = assert_secure(balancer, secure, certificates, output);
        format!("{told}; in the clear: {} requests (p99 {:.0?})", plain.requests, plain.p99[0])
    }
}

fn assert_secure(balancer: &str, secure: &TlsReport, certificates: &[Certificate], output: &str) -> String {
    let failed = (secure.failed_handshakes, secure.failed);
    assert_eq!(failed, (0, 0), "{balancer}: {:#?}\n{output}", secure.reasons);
    assert!(secure.by_family.iter().all(|count| *count > 50), "{balancer}: {secure:?}");
    let swaps = Swaps::read(certificates, &secure.sightings);
    swaps.assert_within(SHOWN, output);
    format!("{balancer}: {} handshakes, {} requests; {swaps}", secure.handshakes, secure.requests)
}

/// Within which a certificate is shown by everybody: balancers that only show it look every two seconds.
const SHOWN: Duration = Duration::from_secs(4);
/// Whether it was soon enough is judged later.
const SOON: Duration = Duration::from_secs(20);
/// Visitors of each balancer. There are three of them, on two cores that many want.
const PLAIN: usize = 8;
const SECURE: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);
