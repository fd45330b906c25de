//! Tests of the whole program against real peers. One binary: they share their harness, and link once.

mod intercept;
mod proxy;
mod support;
