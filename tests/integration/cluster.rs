//! Several balancers and a master that certificates come from.

mod balancer;
mod masters;
mod renewals;
mod scene;
mod shared;
mod stateless;
mod succession;
mod watch;
