//! Several balancers and a master that certificates come from.

mod masters;
