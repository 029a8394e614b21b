//! Welch's t-test over measurements that are cropped at several thresholds, as dudect does it: what an interrupt took would
//! hide a small difference, and what a difference of a rare kind is must not be cropped away.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and places, far below what a float holds"
)]

use std::collections::HashMap;

/// Which parts of all measurements are looked at beside the whole: those below these quantiles, which are fixed beforehand
/// and closer together towards the top.
const QUANTILES: usize = 20;
/// Which of them leaves out about the slowest tenth.
const NINE_TENTHS: usize = 6;

/// Measurements of classes, in nanoseconds. What is compared are the means of texts: one text lies elsewhere in memory than
/// another, and is quicker or slower each time it is measured, so that its measurements are no draws of their own.
pub(crate) struct Classes {
    thresholds: Vec<f64>,
    all: Vec<Class>,
    /// The texts that are being measured.
    texts: HashMap<usize, (usize, Vec<Moments>)>,
}

/// One class.
#[derive(Clone)]
struct Class {
    measurements: f64,
    /// Over the means of texts: of the whole, and then of the part below each threshold.
    moments: Vec<Moments>,
}

impl Classes {
    /// For so many classes, with thresholds from measurements that are made for them alone.
    pub(crate) fn new(classes: usize, mut trial: Vec<f64>) -> Self {
        trial.sort_by(f64::total_cmp);
        let quantile = |step: usize| {
            let missing = 0.5_f64.powf(10.0 * (step + 1) as f64 / QUANTILES as f64);
            trial[((1.0 - missing) * (trial.len() - 1) as f64) as usize]
        };
        let thresholds: Vec<f64> = (0..QUANTILES).map(quantile).collect();
        let class = Class { measurements: 0.0, moments: vec![Moments::default(); 1 + QUANTILES] };
        Self { thresholds, all: vec![class; classes], texts: HashMap::new() }
    }

    /// Takes a measurement of a text.
    pub(crate) fn take(&mut self, class: usize, text: usize, nanoseconds: f64) {
        self.all[class].measurements += 1.0;
        let (_, parts) = self.texts.entry(text).or_insert_with(|| (class, vec![Moments::default(); 1 + QUANTILES]));
        let thresholds = std::iter::once(&f64::INFINITY).chain(&self.thresholds);
        for (part, _) in parts.iter_mut().zip(thresholds).filter(|(_, threshold)| nanoseconds <= **threshold) {
            part.take(nanoseconds);
        }
    }

    /// Ends the measurement of the texts so far.
    pub(crate) fn end_round(&mut self) {
        for (class, parts) in std::mem::take(&mut self.texts).into_values() {
            for (all, one) in self.all[class].moments.iter_mut().zip(parts).filter(|(_, one)| one.count > 0.0) {
                all.take(one.mean);
            }
        }
    }

    /// How many measurements the class with the fewest has.
    pub(crate) fn fewest(&self) -> f64 {
        self.all.iter().map(|class| class.measurements).fold(f64::INFINITY, f64::min)
    }

    /// How many texts the class with the fewest has.
    pub(crate) fn fewest_texts(&self) -> f64 {
        self.all.iter().map(|class| class.moments[0].count).fold(f64::INFINITY, f64::min)
    }

    /// The mean of a class, and that without the slowest.
    pub(crate) fn means(&self, class: usize) -> (f64, f64) {
        let moments = &self.all[class].moments;
        (moments[0].mean, moments[1 + NINE_TENTHS].mean)
    }

    /// t over all measurements of two classes, and the greatest |t| over these and their parts.
    pub(crate) fn compare(&self, one: usize, other: usize) -> (f64, f64) {
        let t: Vec<f64> = {
            let (one, other) = (&self.all[one].moments, &self.all[other].moments);
            one.iter().zip(other).map(|(a, b)| a.t(b)).collect()
        };
        (t[0], t.iter().map(|t| t.abs()).fold(0.0, f64::max))
    }
}

/// Count, mean and the sum of squared distances from it, gathered one by one (Welford).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn take(&mut self, value: f64) {
        self.count += 1.0;
        let distance = value - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (value - self.mean);
    }

    fn t(&self, other: &Self) -> f64 {
        let error = |m: &Self| m.squares / (m.count - 1.0) / m.count;
        let both = (error(self) + error(other)).sqrt();
        // Measurements that are all the same, or next to none.
        if both > 0.0 { (self.mean - other.mean) / both } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use keyrack_bench::Numbers;

    use super::*;

    /// Two classes of 1,000 texts, each measured 100 times, of which the second takes this much longer.
    fn greatest(longer: f64) -> f64 {
        let mut numbers = Numbers::from_seed(7);
        let mut about_500 = |spread| 500.0 + spread * (numbers.below(1000) as f64 / 1000.0);
        let mut classes = Classes::new(2, (0..10_000).map(|_| about_500(40.0)).collect());
        for text in 0..2000 {
            let own = about_500(20.0) - 500.0;
            for _ in 0..100 {
                classes.take(text % 2, text, about_500(20.0) + own + longer * (text % 2) as f64);
            }
        }
        classes.end_round();
        assert_eq!((classes.fewest(), classes.fewest_texts()), (100_000.0, 1000.0));
        classes.compare(0, 1).1
    }

    #[test]
    fn a_difference_far_below_the_noise_is_told_and_none_is_not() {
        assert!(greatest(0.0) < 4.5, "{}", greatest(0.0));
        assert!(greatest(2.0) > 4.5, "{}", greatest(2.0));
    }
}
