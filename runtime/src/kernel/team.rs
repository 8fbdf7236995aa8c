//! Threads that share one product: they wait by spinning for a moment, since the next product of a step comes
//! within microseconds, and sleep after that.
//!
//! A pool that puts its threads to sleep at once spends more time waking them than a small model's layer takes.
//! There is one team a process; where two requests want it at the same time, the second does its work alone.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps.
const SPIN: Duration = Duration::from_micros(150);

/// Looks at the counter between two looks at the clock.
const LOOKS: u32 = 64;

type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// What the threads are given.
struct Team {
    /// Held by the caller whose job runs.
    turn: Mutex<()>,
    /// The job, valid while `running` is not zero.
    job: UnsafeCell<Option<(Job<'static>, usize)>>,
    /// Number of jobs so far; a change is the sign to begin.
    count: AtomicUsize,
    /// Threads that have not finished the job.
    running: AtomicUsize,
    /// Next part to be taken.
    next: AtomicUsize,
    /// First panic of a part.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    threads: OnceLock<Vec<Thread>>,
}

#[expect(unsafe_code, reason = "the job is lent to threads that outlive the borrow")]
// SAFETY: `job` is written only by the holder of `turn` while `running` is zero, and read by the threads only
// between the change of `count` that follows the write and their decrement of `running`.
unsafe impl Sync for Team {}

static TEAM: Team = Team {
    turn: Mutex::new(()),
    job: UnsafeCell::new(None),
    count: AtomicUsize::new(0),
    running: AtomicUsize::new(0),
    next: AtomicUsize::new(0),
    panic: Mutex::new(None),
    threads: OnceLock::new(),
};

/// Number of threads, the caller's included.
pub(crate) fn size() -> usize {
    TEAM.threads().len() + 1
}

/// Calls `f` for each of `parts` parts, on several threads; returns when all are done.
///
/// # Panics
/// If a part panics; the others are finished first.
pub(crate) fn run(parts: usize, f: Job<'_>) {
    let turn = if parts > 1 && !TEAM.threads().is_empty() { TEAM.turn() } else { None };
    match turn {
        Some(turn) => TEAM.together(parts, f, turn),
        None => (0..parts).for_each(f),
    }
}

/// Calls `f` with each of the tasks, on several threads.
pub(crate) fn each<T: Send>(tasks: Vec<T>, f: impl Fn(T) + Sync) {
    let tasks: Vec<Mutex<Option<T>>> =
        tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
    run(tasks.len(), &|at| {
        let task = tasks[at].lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            f(task);
        }
    });
}

impl Team {
    fn threads(&'static self) -> &'static [Thread] {
        self.threads.get_or_init(|| {
            (1..rayon::current_num_threads())
                .filter_map(|i| {
                    let name = format!("team-{i}");
                    let thread = std::thread::Builder::new().name(name).spawn(|| self.work());
                    Some(thread.ok()?.thread().clone())
                })
                .collect()
        })
    }

    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[expect(unsafe_code, reason = "see `Team`")]
    fn together(&'static self, parts: usize, f: Job<'_>, turn: MutexGuard<'_, ()>) {
        let threads = self.threads();
        // SAFETY: only the lifetime changes, and this function returns only when no thread uses `f` any more.
        let lent = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(f) };
        // SAFETY: `turn` is held and the last job is finished, so nobody else looks at it.
        unsafe { *self.job.get() = Some((lent, parts)) };
        self.next.store(0, Ordering::Relaxed);
        self.running.store(threads.len(), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
        threads.iter().for_each(Thread::unpark);
        self.take_parts(f, parts);
        let mut looks = 0_u32;
        while self.running.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
            looks += 1;
            if looks.is_multiple_of(LOOKS * LOOKS) {
                std::thread::yield_now();
            }
        }
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn take_parts(&self, f: Job<'_>, parts: usize) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(part))) {
                let mut kept = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                kept.get_or_insert(panic);
            }
        }
    }

    #[expect(unsafe_code, reason = "see `Team`")]
    fn work(&self) {
        let mut seen = 0;
        loop {
            seen = self.wait(seen);
            // SAFETY: the job was written before `count` changed and stays until `running` is zero.
            if let Some((job, parts)) = unsafe { *self.job.get() } {
                self.take_parts(job, parts);
            }
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    /// Returns the new count once it differs from `seen`.
    fn wait(&self, seen: usize) -> usize {
        let mut start: Option<Instant> = None;
        loop {
            for _ in 0..LOOKS {
                let count = self.count.load(Ordering::Acquire);
                if count != seen {
                    return count;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() > SPIN {
                // A job that came meanwhile has left a token, so this returns at once.
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_whoever_asks_at_the_same_time() {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for parts in (0..200).chain([1000]) {
                        let done: Vec<AtomicUsize> =
                            (0..parts).map(|_| AtomicUsize::new(0)).collect();
                        run(parts, &|part| {
                            done[part].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_job_runs() {
        let caught = catch_unwind(|| run(8, &|part| assert!(part != 5, "five")));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        each((0..10).collect(), |n: usize| {
            sum.fetch_add(n, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
