//! A value that is replaced while others use it.

use std::sync::{Arc, PoisonError, RwLock};

/// The value in force; clones share it.
#[derive(Debug)]
pub struct Current<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Current<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The value as it is now; what is replaced later leaves it as it was.
    pub fn get(&self) -> Arc<T> {
        // A poisoned lock holds a whole value: replacing it is one step.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `value` in force.
    pub fn replace(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}
