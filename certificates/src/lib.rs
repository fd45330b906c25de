//! Certificates by ACME (RFC 8555), stored in certbot's layout.
//!
//! [`obtain()`] runs one order against a certificate authority; an [`Authenticator`](authenticator_api::Authenticator) answers
//! its challenges. [`schedule`] says when, a [`Record`] remembers what it needs for that, and [`Upkeep`] does all of it for
//! one certificate, again and again. A [`Store`] keeps accounts and certificates below one directory:
//!
//! ```text
//! accounts/<host>/<path>/lockgate/credentials.json   0600   one account for each authority
//! accounts/<host>/<path>/lockgate/key.pem            0600   its key, from before it is asked for until there is an answer
//! archive/NAME/{cert,chain,fullchain,privkey}N.pem          every version; private keys 0600
//! live/NAME/{cert,chain,fullchain,privkey}.pem              relative links to one version
//! renewal/NAME.conf                                         how it was obtained
//! lockgate/NAME.json                                        when it is due, and what failed
//! lockgate/orders/NAME/*.json                        0600   orders with their private keys, until a certificate is stored
//! lockgate/internal/root.{pem,key}                          the root of the internal authority, where it has issued
//! ```
//!
//! A file is complete and on disk before anything points to it, so a crash at any moment leaves certificates that load. What an
//! authority counts is spent once, whatever ends an attempt: the keys of accounts and orders are on disk before it hears of
//! them, and the next attempt goes on with both.

mod account;
mod client;
mod internal;
mod issued;
mod ledger;
mod lock;
mod moment;
mod obtain;
mod persistence;
mod renewal_info;
mod retry_after;
pub mod schedule;
mod self_check;
mod signature;
mod store;
mod upkeep;

pub use client::{Client, TransportError};
pub use internal::Internal;
pub use issued::{IssuedError, Names, expiry};
pub use ledger::{Outcome, Record, Refused};
pub use lock::{Lock, LockError};
pub use obtain::{
    Authenticators, Authority, Blame, BoxError, ChallengeFailure, Completeness, ExternalAccount, ExternalAccountError,
    Issuer, Observer, ObtainError, Obtained, Presented, Profile, Progress, Request, obtain,
};
pub use renewal_info::ask;
pub use self_check::{Family, Fetched, Fetcher, Finding, SelfCheck, self_check};
pub use store::{Lineage, Renewal, Saved, Store, StoreError, StoredAccount, Unsaved};
pub use upkeep::{Upkeep, Visit};
