//! The cases. `first` and `second` are the rows of everyday examples, in their order and as they are typed; the others are named
//! after what they are about.

pub mod codes;
pub mod copies;
pub mod crashes;
pub mod databases;
pub mod firewall;
pub mod first;
pub mod layers;
pub mod lives;
pub mod names;
pub mod networks;
pub mod options;
pub mod publish;
pub mod rootless;
pub mod second;
pub mod tables;
pub mod terminals;
pub mod upgrade;
pub mod volumes;
pub mod wrecks;
