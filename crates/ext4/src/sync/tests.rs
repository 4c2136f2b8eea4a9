use super::*;
use std::thread;

#[test]
fn mutex_excludes_and_loses_no_wakeup() {
    let counter = Arc::new(Mutex::new(0u64));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            thread::spawn(move || {
                for _ in 0..20_000 {
                    *counter.lock() += 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*counter.lock(), 80_000);
}

#[test]
fn rwlock_excludes_writers_and_lets_everyone_through() {
    let pair = Arc::new(RwLock::new((0u64, 0u64)));
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let pair = pair.clone();
            thread::spawn(move || {
                for _ in 0..5_000 {
                    if n % 3 == 0 {
                        let mut both = pair.write();
                        both.0 += 1;
                        thread::yield_now();
                        both.1 += 1;
                        let both = both.downgrade();
                        assert_eq!(both.0, both.1);
                    } else {
                        let both = pair.read();
                        assert_eq!(both.0, both.1);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(pair.read().0, 10_000);
}

#[test]
fn a_waiting_writer_holds_later_readers_back() {
    let lock = Arc::new(RwLock::new(0));
    let reader = lock.read();
    let writer = {
        let lock = lock.clone();
        thread::spawn(move || *lock.write() = 1)
    };
    while lock.waiters.is_empty() {
        thread::yield_now();
    }
    assert!(lock.try_read().is_none());
    drop(reader);
    writer.join().unwrap();
    assert_eq!(*lock.read(), 1);
}

#[test]
fn condvar_hands_over() {
    let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let consumer = {
        let shared = shared.clone();
        thread::spawn(move || {
            let mut taken = 0;
            while taken < 1000 {
                let mut queue = shared.0.lock();
                while queue.is_empty() {
                    queue = shared.1.wait(queue);
                }
                taken += queue.drain(..).count();
            }
            taken
        })
    };
    for n in 0..1000 {
        shared.0.lock().push(n);
        shared.1.notify_one();
    }
    assert_eq!(consumer.join().unwrap(), 1000);
}
