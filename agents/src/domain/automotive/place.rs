//! Placing jobs into opening intervals: most jobs first, then least weighted completion time.
//!
//! Times are seconds from any origin. A job never leaves its interval, an interval never holds two
//! jobs at once, and a vehicle is never in two places.

/// Jobs up to which the search is exact.
pub(super) const EXACT: usize = 7;

/// Looks at a job in an interval that a search may take; it bounds the time to well under a second.
const MAX_LOOKS: usize = 40_000_000;

/// A job to place.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub vehicle: usize,
    pub duration: i64,
    pub weight: i64,
    pub earliest: i64,
    pub latest: i64,
    /// Intervals whose bay has the skill.
    pub fits: Vec<usize>,
}

/// An opening interval of a bay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub open: i64,
    pub close: i64,
}

/// A job's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub job: usize,
    pub interval: usize,
    pub start: i64,
    pub end: i64,
}

/// A plan and its value.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub placed: Vec<Placed>,
    /// Sum of weight times seconds from the origin to the end.
    pub cost: i64,
}

impl Plan {
    fn beats(&self, other: &Self) -> bool {
        (other.placed.len(), self.cost) < (self.placed.len(), other.cost)
    }
}

/// The shop and its jobs.
#[derive(Debug)]
pub(super) struct Shop {
    pub jobs: Vec<Job>,
    pub intervals: Vec<Interval>,
    /// Instant from which completion is counted.
    pub origin: i64,
}

impl Shop {
    /// Returns where a job would stand in an interval that is free from `ready` on.
    fn slot(&self, job: usize, interval: usize, ready: i64, placed: &[Placed]) -> Option<Placed> {
        let (wanted, open) = (&self.jobs[job], self.intervals[interval]);
        // The vehicle comes when its other jobs are over; what stands later does not hinder.
        let mut start = ready.max(open.open).max(wanted.earliest);
        let mut busy: Vec<&Placed> =
            placed.iter().filter(|other| self.jobs[other.job].vehicle == wanted.vehicle).collect();
        busy.sort_by_key(|other| other.start);
        for other in busy {
            if other.start < start.saturating_add(wanted.duration) && start < other.end {
                start = other.end;
            }
        }
        let end = start.checked_add(wanted.duration)?;
        (end <= open.close.min(wanted.latest)).then_some(Placed { job, interval, start, end })
    }

    fn cost(&self, placed: &Placed) -> i64 {
        let seconds = placed.end.saturating_sub(self.origin);
        self.jobs[placed.job].weight.saturating_mul(seconds)
    }

    /// Places jobs in the order given, each where it ends first.
    fn in_order(&self, order: &[usize]) -> Plan {
        let mut ready: Vec<i64> = self.intervals.iter().map(|interval| interval.open).collect();
        let mut plan = Plan::default();
        for job in order {
            let fits = self.jobs[*job].fits.iter();
            let slots = fits.filter_map(|i| self.slot(*job, *i, ready[*i], &plan.placed));
            if let Some(best) = slots.min_by_key(|slot| (slot.end, slot.interval)) {
                ready[best.interval] = best.end;
                plan.cost = plan.cost.saturating_add(self.cost(&best));
                plan.placed.push(best);
            }
        }
        plan
    }

    /// Returns how many plans, or nodes of a search, may be looked at.
    fn budget(&self) -> usize {
        let looks: usize = self.jobs.iter().map(|job| job.fits.len()).sum();
        MAX_LOOKS / looks.max(1)
    }

    /// Weighted shortest processing time first, then better orders by swaps and moves.
    fn local(&self) -> Plan {
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&self.jobs[*a], &self.jobs[*b]);
            // duration / weight, compared without division
            (a.duration.saturating_mul(b.weight)).cmp(&b.duration.saturating_mul(a.weight))
        });
        let mut best = self.in_order(&order);
        // A small share of what the exact search may take, which starts from this plan.
        let mut left = self.budget() / 20;
        loop {
            let mut better = false;
            for i in 0..order.len() {
                for j in 0..order.len() {
                    if i == j || left == 0 {
                        continue;
                    }
                    left -= 1;
                    let mut tried = order.clone();
                    if i < j {
                        tried.swap(i, j);
                    } else {
                        let moved = tried.remove(i);
                        tried.insert(j, moved);
                    }
                    let plan = self.in_order(&tried);
                    if plan.beats(&best) {
                        (best, order, better) = (plan, tried, true);
                    }
                }
            }
            if !better || left == 0 {
                return best;
            }
        }
    }

    /// Returns the best plan found and whether none is better.
    pub(super) fn plan(&self) -> (Plan, bool) {
        let start = self.local();
        if self.jobs.len() > EXACT {
            return (start, false);
        }
        let mut search = Search {
            shop: self,
            ready: self.intervals.iter().map(|interval| interval.open).collect(),
            now: Plan::default(),
            best: start,
            left: (0..self.jobs.len()).collect(),
            nodes: self.budget(),
        };
        search.go(i64::MIN);
        let proved = search.nodes > 0;
        (search.best, proved)
    }
}

/// A depth-first search over jobs in the order of their starts.
struct Search<'a> {
    shop: &'a Shop,
    ready: Vec<i64>,
    now: Plan,
    best: Plan,
    left: Vec<usize>,
    /// Nodes that may still be visited.
    nodes: usize,
}

impl Search<'_> {
    /// Tells whether what is left cannot beat the best plan, even if every job had a free bay.
    fn hopeless(&self) -> bool {
        let mut count = self.now.placed.len();
        let mut cost = self.now.cost;
        for job in &self.left {
            let slots = self.shop.jobs[*job].fits.iter();
            let ends = slots.filter_map(|i| {
                self.shop.slot(*job, *i, self.ready[*i], &self.now.placed).map(|slot| slot.end)
            });
            if let Some(end) = ends.min() {
                count += 1;
                let seconds = end.saturating_sub(self.shop.origin);
                let weight = self.shop.jobs[*job].weight;
                cost = cost.saturating_add(weight.saturating_mul(seconds));
            }
        }
        (self.best.placed.len(), cost) >= (count, self.best.cost)
    }

    fn go(&mut self, from: i64) {
        self.nodes = self.nodes.saturating_sub(1);
        if self.now.beats(&self.best) {
            self.best = self.now.clone();
        }
        if self.nodes == 0 || self.left.is_empty() || self.hopeless() {
            return;
        }
        for at in 0..self.left.len() {
            let job = self.left.remove(at);
            let mut seen: Vec<(i64, i64, i64)> = Vec::new();
            for i in 0..self.shop.jobs[job].fits.len() {
                let interval = self.shop.jobs[job].fits[i];
                let ready = self.ready[interval];
                let Some(slot) = self.shop.slot(job, interval, ready, &self.now.placed) else {
                    continue;
                };
                // A plan is reached once, by the order of its starts.
                if slot.start < from || self.twin(interval, &mut seen) {
                    continue;
                }
                let cost = self.now.cost;
                self.ready[interval] = slot.end;
                self.now.placed.push(slot);
                self.now.cost = cost.saturating_add(self.shop.cost(&slot));
                self.go(slot.start);
                self.now.placed.pop();
                self.now.cost = cost;
                self.ready[interval] = ready;
            }
            self.left.insert(at, job);
        }
    }

    /// Tells whether an untouched bay of the same hours and the same jobs was tried already.
    fn twin(&self, interval: usize, seen: &mut Vec<(i64, i64, i64)>) -> bool {
        let hours = self.shop.intervals[interval];
        if self.ready[interval] != hours.open {
            return false;
        }
        let suits = |job: &usize| self.shop.jobs[*job].fits.contains(&interval);
        let mask =
            self.left.iter().filter(|job| suits(job)).fold(0_i64, |mask, job| mask | 1 << job);
        let key = (hours.open, hours.close, mask);
        let known = seen.contains(&key);
        seen.push(key);
        known
    }
}
