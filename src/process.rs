//! The process around the proxy: what it becomes, what it leaves on the disk, what it says about itself, and which signals
//! it obeys.
//!
//! [`Service::run`] is the whole life of one, in the order in which things must happen: what needs root is opened first,
//! then root is given up, then it serves, and only then somebody is told that it does.

mod daemon;
mod identity;
mod notify;
mod pid_file;
mod plain_file;
mod program_log;
mod reload;
mod running;
mod service;
mod signals;

pub(crate) use self::{
    identity::{group_id, user_id},
    service::{Manner, Service},
};
