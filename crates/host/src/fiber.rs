//! Stackful coroutines that kernel code runs in, on pooled stacks.
//!
//! A fiber may be resumed on another thread than the one that suspended it, so nothing bound to a thread (a lock guard,
//! a reference to thread-local data) may live across [`suspend`]. The stack pool's lock is a leaf.

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use parking_lot::Mutex;
use std::cell::Cell;
use std::ptr;

/// Bytes of a fiber's stack, below which a guard page lies.
const STACK_SIZE: usize = if cfg!(debug_assertions) { 256 << 10 } else { 64 << 10 };
/// Stacks kept for reuse: a fresh one costs ten microseconds, a used one nothing.
const POOL_MAX: usize = 256;

static POOL: Mutex<Vec<DefaultStack>> = Mutex::new(Vec::new());

thread_local! {
    /// The yielder of the fiber that runs on this thread; null outside one.
    static CURRENT: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
}

// The compiler may keep a thread-local's address across a suspend, after which the thread is another one: every access
// goes through these two calls, which it cannot see into.
#[inline(never)]
fn current() -> *const Yielder<(), ()> {
    std::hint::black_box(());
    CURRENT.get()
}

#[inline(never)]
fn set_current(yielder: *const Yielder<(), ()>) -> *const Yielder<(), ()> {
    std::hint::black_box(());
    CURRENT.replace(yielder)
}

/// What [`Fiber::resume`] came back for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// The fiber called [`suspend`]; it can be resumed again.
    Suspended,
    /// Its function returned.
    Finished,
}

/// A coroutine. Dropping a suspended one unwinds its stack, so that its destructors run.
pub struct Fiber {
    coroutine: Option<Coroutine<(), (), (), DefaultStack>>,
    /// Where its yielder lies on its own stack, once it has started.
    yielder: *const Yielder<(), ()>,
}

// SAFETY: the function is Send, and fibers keep nothing thread-bound across a suspend (module rule); the yielder
// pointer is used only by the thread that runs the fiber.
unsafe impl Send for Fiber {}

impl Fiber {
    /// A fiber that will run `f`; it starts at the first [`resume`](Fiber::resume).
    ///
    /// # Panics
    /// If the host has no memory for a stack.
    pub fn new(f: impl FnOnce() + Send + 'static) -> Fiber {
        let stack = POOL.lock().pop();
        let stack =
            stack.unwrap_or_else(|| DefaultStack::new(STACK_SIZE).expect("memory for a fiber's stack"));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            set_current(yielder);
            f();
        });
        Fiber { coroutine: Some(coroutine), yielder: ptr::null() }
    }

    /// Runs the fiber until it suspends or ends. A panic inside comes out here.
    pub fn resume(&mut self) -> Resume {
        let Some(coroutine) = &mut self.coroutine else { return Resume::Finished };
        let outer = set_current(self.yielder);
        let guard = Restore(outer);
        let result = coroutine.resume(());
        match result {
            CoroutineResult::Yield(()) => {
                self.yielder = current();
                drop(guard);
                Resume::Suspended
            }
            CoroutineResult::Return(()) => {
                drop(guard);
                self.recycle();
                Resume::Finished
            }
        }
    }

    fn recycle(&mut self) {
        if let Some(coroutine) = self.coroutine.take()
            && coroutine.done()
        {
            let stack = coroutine.into_stack();
            let mut pool = POOL.lock();
            if pool.len() < POOL_MAX {
                pool.push(stack);
            }
        }
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if let Some(coroutine) = &mut self.coroutine
            && coroutine.started()
            && !coroutine.done()
        {
            let guard = Restore(set_current(self.yielder));
            coroutine.force_unwind();
            drop(guard);
        }
        self.recycle_unless_fresh();
    }
}

impl Fiber {
    fn recycle_unless_fresh(&mut self) {
        if self.coroutine.as_ref().is_some_and(Coroutine::started) {
            self.recycle();
        }
    }
}

/// Puts the outer fiber's yielder back, also when the inner one panics.
struct Restore(*const Yielder<(), ()>);

impl Drop for Restore {
    fn drop(&mut self) {
        set_current(self.0);
    }
}

/// Goes back to whoever resumed this fiber, until it is resumed again.
///
/// # Panics
/// Outside a fiber.
#[inline(never)]
pub fn suspend() {
    let yielder = current();
    assert!(!yielder.is_null(), "suspend outside a fiber");
    // SAFETY: the pointer is that of the fiber running on this thread, whose yielder lives on its own stack until the
    // fiber ends, and this code runs on that stack.
    unsafe { &*yielder }.suspend(());
}

/// Whether the caller runs in a fiber.
pub fn in_fiber() -> bool {
    !current().is_null()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn suspends_moves_and_ends() {
        assert!(!in_fiber());
        let n = Arc::new(AtomicUsize::new(0));
        let m = n.clone();
        let mut fiber = Fiber::new(move || {
            for _ in 0..3 {
                assert!(in_fiber());
                m.fetch_add(1, Ordering::Relaxed);
                suspend();
            }
        });
        assert_eq!(fiber.resume(), Resume::Suspended);
        let mut fiber = std::thread::spawn(move || {
            assert_eq!(fiber.resume(), Resume::Suspended);
            assert!(!in_fiber());
            fiber
        })
        .join()
        .unwrap();
        assert_eq!(fiber.resume(), Resume::Suspended);
        assert_eq!(fiber.resume(), Resume::Finished);
        assert_eq!(n.load(Ordering::Relaxed), 3);
        assert!(!in_fiber());
    }

    #[test]
    fn nests_and_unwinds_on_drop() {
        struct Bump(Arc<AtomicUsize>);
        impl Drop for Bump {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let n = Arc::new(AtomicUsize::new(0));
        let bump = Bump(n.clone());
        let mut outer = Fiber::new(move || {
            let mut inner = Fiber::new(move || {
                let _bump = bump;
                suspend();
            });
            inner.resume();
            suspend();
            drop(inner);
        });
        outer.resume();
        assert_eq!(n.load(Ordering::Relaxed), 0);
        drop(outer);
        assert_eq!(n.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn panics_come_out_of_resume() {
        let mut fiber = Fiber::new(|| panic!("inside"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fiber.resume())).is_err());
        assert!(!in_fiber());
    }
}
