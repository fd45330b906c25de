//! What a plugin gets while it is built and started.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::BoxFuture;

/// The surroundings in which a plugin is built.
pub struct BuildCx<'a> {
    named: &'a Named,
    shared: &'a SharedStore,
    watched: Vec<PathBuf>,
}

impl<'a> BuildCx<'a> {
    /// Surroundings; the composition root and the harness make them.
    pub fn new(named: &'a Named, shared: &'a SharedStore) -> Self {
        Self { named, shared, watched: Vec::new() }
    }

    /// The thing of type `T` that the configuration calls `name`: `cx.named::<dyn Authenticator>("memory")`.
    pub fn named<T: ?Sized + Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        self.named.get(name)
    }

    /// The names that [`named`](Self::named) would find for `T`, for an error message.
    pub fn names<T: ?Sized + 'static>(&self) -> Vec<&str> {
        self.named.names::<T>()
    }

    /// A value that lives as long as any plugin holds it, also across reloads of the configuration; made by `init` when
    /// nobody holds it.
    pub fn shared<T: Send + Sync + 'static>(&self, key: &str, init: impl FnOnce() -> T) -> Arc<T> {
        self.shared.get_or_init(key, init)
    }

    /// Asks for a reload of the configuration when this file changes.
    pub fn watch_file(&mut self, path: impl AsRef<Path>) {
        self.watched.push(path.as_ref().to_owned());
    }

    /// The files that plugins asked to watch.
    pub fn into_watched(self) -> Vec<PathBuf> {
        self.watched
    }
}

/// Things that plugins find by type and name.
#[derive(Default)]
pub struct Named(HashMap<(TypeId, String), Box<dyn Any + Send + Sync>>);

impl Named {
    /// Adds a thing; `false` when `name` is taken for this type.
    pub fn insert<T: ?Sized + Send + Sync + 'static>(&mut self, name: &str, thing: Arc<T>) -> bool {
        self.0.insert((TypeId::of::<T>(), name.to_owned()), Box::new(thing)).is_none()
    }

    fn get<T: ?Sized + Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        self.0.get(&(TypeId::of::<T>(), name.to_owned()))?.downcast_ref::<Arc<T>>().cloned()
    }

    fn names<T: ?Sized + 'static>(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.0.keys().filter(|(of, _)| *of == TypeId::of::<T>()).map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// Values that outlive one configuration as long as someone holds them.
#[derive(Default)]
pub struct SharedStore(Mutex<HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>>);

impl SharedStore {
    fn get_or_init<T: Send + Sync + 'static>(&self, key: &str, init: impl FnOnce() -> T) -> Arc<T> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (TypeId::of::<T>(), key.to_owned());
        let held = store.get(&key).and_then(Weak::upgrade).and_then(|held| held.downcast::<T>().ok());
        held.unwrap_or_else(|| {
            let made: Arc<T> = Arc::new(init());
            let erased: Arc<dyn Any + Send + Sync> = made.clone();
            store.retain(|_, value| value.strong_count() > 0);
            store.insert(key, Arc::downgrade(&erased));
            made
        })
    }
}

/// The surroundings in which a plugin is started.
pub struct StartCx {
    spawn: Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>,
}

impl StartCx {
    /// Surroundings that start background tasks with `spawn`.
    pub fn new(spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        Self { spawn: Box::new(spawn) }
    }

    /// Starts a background task on a tokio runtime. It is dropped when the configuration that it belongs to ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.spawn)(Box::pin(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_value_lives_as_long_as_it_is_held() {
        let (named, store) = (Named::default(), SharedStore::default());
        let cx = BuildCx::new(&named, &store);
        let first = cx.shared("counter", || 1_u32);
        assert_eq!(*cx.shared("counter", || 2_u32), 1, "the held one is found");
        drop(first);
        assert_eq!(*cx.shared("counter", || 3_u32), 3, "nobody held it");
    }

    #[test]
    fn named_things_are_found_by_type_and_name() {
        let mut named = Named::default();
        assert!(named.insert::<str>("a", "text".into()));
        assert!(!named.insert::<str>("a", "again".into()));
        let store = SharedStore::default();
        let cx = BuildCx::new(&named, &store);
        assert_eq!(cx.named::<str>("a").as_deref(), Some("again"));
        assert!(cx.named::<[u8]>("a").is_none());
        assert_eq!(cx.names::<str>(), ["a"]);
    }
}
