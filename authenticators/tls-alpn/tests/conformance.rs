//! The contract that every authenticator keeps.

use authenticator_api::conformance;
use authenticator_tls_alpn::TlsAlpn;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::all(TlsAlpn::new).await;
}
