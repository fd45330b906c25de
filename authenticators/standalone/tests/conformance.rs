//! The contract that every authenticator keeps, with and without listeners.

use authenticator_api::conformance;
use authenticator_standalone::Standalone;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_in_process() {
    conformance::all(|| Standalone::new(Vec::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_with_listeners() {
    let listen = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap());
    conformance::all(|| Standalone::new(listen.to_vec())).await;
}
