//! Devices, addresses and routes of a network namespace.
//!
//! May not: know whose they are.

use crate::attachment::Address;
use crate::error::{Error, Result};

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Address,
    /// Name of the device; empty when the route has none or several.
    pub device: String,
}

/// The routes of the namespace we are in, of all tables and both families, without default routes and without the machine's own addresses.
///
/// # Errors
/// Of the kernel.
pub fn routes() -> Result<Vec<Route>> {
    Err(Error::new("not made yet"))
}
