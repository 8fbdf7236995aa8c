//! The three-step program of charging, solved exactly without a general solver.
//!
//! Energy flows from cars over the intervals in which they are present to the site. Price and
//! earliness depend on the interval alone, and the loads that the intervals can carry together form
//! a polymatroid, on which a greedy choice is optimal: take the intervals by price, then by time,
//! and fill each as far as the flow allows without taking from those before it. The result delivers
//! the most energy, among such plans at the lowest cost, among those the earliest.
//!
//! # Source
//! Edmonds (1970), Submodular functions, matroids, and certain polyhedra: the greedy algorithm;
//! Edmonds and Karp (1972): shortest augmenting paths.

/// Energy below which a flow counts as none, kWh.
const NOTHING: f64 = 1e-9;

/// A car with the intervals in which it is present.
pub(super) struct Car {
    pub(super) id: String,
    /// Energy wanted, kWh.
    pub(super) need: f64,
    /// Most power, kW.
    pub(super) max_kw: f64,
    pub(super) present: Vec<bool>,
}

/// Energy by car and interval, kWh, while it grows.
struct Flow<'a> {
    cars: &'a [Car],
    hours: f64,
    given: Vec<Vec<f64>>,
    /// What each car still wants, kWh.
    open: Vec<f64>,
    /// Cars by their last interval: who leaves first is asked first.
    order: Vec<usize>,
}

impl<'a> Flow<'a> {
    fn new(cars: &'a [Car], intervals: usize, hours: f64) -> Self {
        let mut order: Vec<usize> = (0..cars.len()).collect();
        order.sort_by_key(|car| cars[*car].present.iter().rposition(|here| *here));
        Self {
            cars,
            hours,
            given: vec![vec![0.0; intervals]; cars.len()],
            open: cars.iter().map(|car| car.need).collect(),
            order,
        }
    }

    /// Returns what a car can still take in an interval, kWh.
    fn spare(&self, car: usize, t: usize) -> f64 {
        if self.cars[car].present[t] {
            self.cars[car].max_kw * self.hours - self.given[car][t]
        } else {
            0.0
        }
    }

    /// Finds a shortest chain of cars that ends with one that can take more in interval `t`: the
    /// first still wants energy, and each takes over what the next one gets in the interval between
    /// them, which frees the next one for `t`.
    fn chain(&self, t: usize) -> Option<Vec<(usize, Option<usize>)>> {
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; self.cars.len()];
        let mut seen = vec![false; self.cars.len()];
        let mut tried = vec![false; self.given.first().map_or(0, Vec::len)];
        let mut queue = std::collections::VecDeque::new();
        for &car in self.order.iter().filter(|car| self.open[**car] > NOTHING) {
            seen[car] = true;
            queue.push_back(car);
        }
        while let Some(car) = queue.pop_front() {
            if self.spare(car, t) > NOTHING {
                let mut links = vec![(car, None)];
                let mut last = car;
                while let Some((before, between)) = reached[last] {
                    links.push((before, Some(between)));
                    last = before;
                }
                links.reverse();
                return Some(links);
            }
            for (between, tried) in tried.iter_mut().enumerate() {
                if between == t || *tried || self.spare(car, between) <= NOTHING {
                    continue;
                }
                *tried = true;
                for &next in &self.order {
                    if !seen[next] && self.given[next][between] > NOTHING {
                        seen[next] = true;
                        reached[next] = Some((car, between));
                        queue.push_back(next);
                    }
                }
            }
        }
        None
    }

    /// Fills interval `t` up to `room` kWh.
    fn fill(&mut self, t: usize, mut room: f64) {
        // Each step uses up a need, a power or what another car gets; rounding must not add more.
        let intervals = self.given.first().map_or(0, Vec::len);
        let most = 4 * self.cars.len() * (self.cars.len() + intervals);
        for _ in 0..most {
            if room <= NOTHING {
                return;
            }
            let Some(links) = self.chain(t) else { return };
            let (Some(&(first, _)), Some(&(last, _))) = (links.first(), links.last()) else {
                return;
            };
            let mut amount = room.min(self.open[first]).min(self.spare(last, t));
            for pair in links.windows(2) {
                if let ((car, Some(between)), (next, _)) = (pair[0], pair[1]) {
                    amount = amount.min(self.spare(car, between)).min(self.given[next][between]);
                }
            }
            for pair in links.windows(2) {
                if let ((car, Some(between)), (next, _)) = (pair[0], pair[1]) {
                    self.given[car][between] += amount;
                    self.given[next][between] -= amount;
                }
            }
            self.given[last][t] += amount;
            self.open[first] -= amount;
            room -= amount;
        }
    }
}

/// Returns the plan in kW by car and interval.
///
/// # Units
/// `limits` kW, `hours` per interval, `prices` per kWh.
///
/// # Cost
/// A search visits each car and interval once; 50 cars in 288 intervals take a fraction of a second.
pub(super) fn plan(
    cars: &[Car],
    limits: &[f64],
    prices: Option<&[f64]>,
    hours: f64,
) -> Vec<Vec<f64>> {
    let mut flow = Flow::new(cars, limits.len(), hours);
    let mut intervals: Vec<usize> = (0..limits.len()).collect();
    if let Some(prices) = prices {
        // The sort is stable, so equal prices stay in order of time.
        intervals.sort_by(|a, b| prices[*a].total_cmp(&prices[*b]));
    }
    for t in intervals {
        flow.fill(t, limits[t] * hours);
    }
    let power = |row: Vec<f64>| row.into_iter().map(|kwh| kwh.max(0.0) / hours).collect();
    flow.given.into_iter().map(power).collect()
}

#[cfg(test)]
mod tests {
    use good_lp::{Expression, Solution, SolverModel, constraint, microlp, variable, variables};
    use proptest::prelude::*;

    use super::*;

    /// Solves one step of the program by the simplex method: the least weighted energy of those
    /// plans that deliver `at_least`.
    fn least(cars: &[Car], limits: &[f64], weights: &[f64], at_least: f64) -> f64 {
        let mut vars = variables!();
        let power: Vec<Vec<_>> = cars
            .iter()
            .map(|car| {
                let most = |here: &bool| if *here { car.max_kw } else { 0.0 };
                car.present.iter().map(|h| vars.add(variable().min(0.0).max(most(h)))).collect()
            })
            .collect();
        let mut goal = Expression::from(0.0);
        let mut energy = Expression::from(0.0);
        for row in &power {
            for (t, var) in row.iter().enumerate() {
                goal += weights[t] * *var;
                energy += *var;
            }
        }
        let mut model = vars.minimise(goal.clone()).using(microlp);
        for (car, row) in cars.iter().zip(&power) {
            let sum: Expression = row.iter().map(|var| 1.0 * *var).sum();
            model.add_constraint(constraint!(sum <= car.need));
        }
        for (t, limit) in limits.iter().enumerate() {
            let sum: Expression = power.iter().map(|row| 1.0 * row[t]).sum();
            model.add_constraint(constraint!(sum <= *limit));
        }
        model.add_constraint(constraint!(energy >= at_least));
        model.solve().unwrap().eval(goal)
    }

    fn weighted(power: &[Vec<f64>], weights: &[f64]) -> f64 {
        power.iter().map(|row| row.iter().zip(weights).map(|(kw, w)| kw * w).sum::<f64>()).sum()
    }

    fn car() -> impl Strategy<Value = (f64, f64, Vec<bool>)> {
        (1.0_f64..40.0, 2.0_f64..25.0, prop::collection::vec(prop::bool::weighted(0.6), 6))
    }

    proptest! {
        #[test]
        fn the_greedy_plan_is_the_optimum_of_the_linear_programs(
            cars in prop::collection::vec(car(), 1..6),
            limits in prop::collection::vec(0.0_f64..40.0, 6),
            cents in prop::collection::vec(-20_i32..60, 6),
        ) {
            let cars: Vec<Car> = cars
                .into_iter()
                .map(|(need, max_kw, present)| Car { id: String::new(), need, max_kw, present })
                .collect();
            let prices: Vec<f64> = cents.iter().map(|c| f64::from(*c) / 100.0).collect();
            let power = plan(&cars, &limits, Some(&prices), 1.0);
            let energy = weighted(&power, &[1.0; 6]);
            prop_assert!((energy + least(&cars, &limits, &[-1.0; 6], 0.0)).abs() < 1e-5);
            let cheapest = least(&cars, &limits, &prices, energy - 1e-7);
            prop_assert!((weighted(&power, &prices) - cheapest).abs() < 1e-4);
            let early = plan(&cars, &limits, None, 1.0);
            let times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
            let earliest = least(&cars, &limits, &times, energy - 1e-7);
            prop_assert!((weighted(&early, &times) - earliest).abs() < 1e-4);
        }
    }
}
