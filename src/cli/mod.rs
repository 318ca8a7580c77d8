//! The commands, one file each. `main` parses the arguments.

pub mod check;
pub mod schema;
