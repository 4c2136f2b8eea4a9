//! FITRIM and discard.
