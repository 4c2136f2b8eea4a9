//! Sleeping locks.

/// A mutual exclusion lock that sleeps.
pub type Mutex<T> = parking_lot::Mutex<T>;
/// A reader-writer lock that sleeps.
pub type RwLock<T> = parking_lot::RwLock<T>;
