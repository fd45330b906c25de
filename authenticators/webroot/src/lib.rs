//! Answers ACME challenges from files below a webroot.
