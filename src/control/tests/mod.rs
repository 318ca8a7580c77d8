//! What the tests of this module share.

pub(in crate::control) mod issuer;
