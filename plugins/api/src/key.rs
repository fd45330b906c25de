//! Typed values that plugins of one chain share during one request.

use std::{any::Any, fmt, marker::PhantomData};

/// The name and type of a shared value, made once as a constant:
/// `pub const USER: Key<User> = Key::new("basic-auth.user");`
///
/// The name says which plugin provides it; list it in [`Plugin::PROVIDES`](crate::Plugin::PROVIDES) or
/// [`Plugin::REQUIRES`](crate::Plugin::REQUIRES) and `lockgate check` verifies the order of the chain.
pub struct Key<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> Key<T> {
    /// A key of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// The name, as listed in `PROVIDES` and `REQUIRES`.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The values shared during one request. Empty costs nothing.
#[derive(Default)]
pub struct Bag(Vec<(&'static str, Box<dyn Any + Send + Sync>)>);

impl Bag {
    /// The value of `key`, if a plugin set it.
    pub fn get<T: Send + Sync + 'static>(&self, key: &Key<T>) -> Option<&T> {
        // Two keys may carry one name with different types: the type decides too.
        self.0.iter().filter(|(name, _)| *name == key.name).find_map(|(_, value)| value.downcast_ref())
    }

    /// Sets the value of `key`, replacing an earlier one.
    pub fn set<T: Send + Sync + 'static>(&mut self, key: &Key<T>, value: T) {
        self.0.retain(|(name, old)| *name != key.name || !old.is::<T>());
        self.0.push((key.name, Box::new(value)));
    }
}

impl fmt::Debug for Bag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_and_a_type() {
        const A: Key<u32> = Key::new("a");
        const A_TEXT: Key<String> = Key::new("a");
        let mut bag = Bag::default();
        bag.set(&A, 1);
        bag.set(&A_TEXT, "x".to_owned());
        bag.set(&A, 2);
        assert_eq!(bag.get(&A), Some(&2));
        assert_eq!(bag.get(&A_TEXT).map(String::as_str), Some("x"));
    }
}
