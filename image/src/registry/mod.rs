//! The registry client (OCI distribution specification 1.1, Docker registry HTTP API V2).
