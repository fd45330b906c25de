//! Redirects a live port to a listener of ours, without losing a connection.
