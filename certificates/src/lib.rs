//! Obtains certificates by ACME and stores them in certbot's layout.
