//! Charts, drawn here: numbers become places of shapes, which a page writes as SVG.

use jiff::Timestamp;
use keyrack_engine::{TimeUse, WEEK};

use super::show;

/// Requests of a week, as small as a word.
pub(in crate::console) struct Sparkline {
    /// All bars as one path.
    pub(in crate::console) path: String,
    pub(in crate::console) total: String,
}

impl Sparkline {
    /// The height of the drawing.
    const HEIGHT: u64 = 16;

    pub(in crate::console) fn new(days: &[u64; WEEK]) -> Self {
        let most = days.iter().copied().max().unwrap_or(0).max(1);
        let bar = |(at, requests): (usize, &u64)| {
            // Something is never shown as nothing.
            let height = if *requests == 0 { 0 } else { (requests * Self::HEIGHT / most).max(2) };
            if height == 0 { String::new() } else { format!("M{} {}h7v-{height}h-7z", at * 9, Self::HEIGHT) }
        };
        Self { path: days.iter().enumerate().map(bar).collect(), total: show::count(days.iter().sum()) }
    }
}

/// Requests by time: let in, and kept out on top of them.
pub(in crate::console) struct Bars {
    pub(in crate::console) times: Vec<Bar>,
    /// What the highest line stands for.
    pub(in crate::console) most: String,
    pub(in crate::console) width: usize,
}

/// A time of a chart.
pub(in crate::console) struct Bar {
    pub(in crate::console) label: String,
    pub(in crate::console) granted: String,
    pub(in crate::console) denied: String,
    pub(in crate::console) x: usize,
    pub(in crate::console) granted_y: u64,
    pub(in crate::console) granted_height: u64,
    pub(in crate::console) denied_y: u64,
    pub(in crate::console) denied_height: u64,
}

impl Bars {
    /// The height of the drawing, and the width that each time has.
    const HEIGHT: u64 = 120;
    const STEP: usize = 20;

    /// Of these times, each labelled by such a format.
    pub(in crate::console) fn new(times: &[TimeUse], label: &str) -> Self {
        let of = |time: &TimeUse| (time.start, time.totals.granted.requests, time.totals.denied());
        Self::of(&times.iter().map(of).collect::<Vec<_>>(), label)
    }

    /// Of these times with what went well in each and what did not, each labelled by such a format.
    pub(in crate::console) fn of(times: &[(Timestamp, u64, u64)], label: &str) -> Self {
        let most = times.iter().map(|(_, granted, denied)| granted + denied).max().unwrap_or(0).max(1);
        let height = |requests: u64| if requests == 0 { 0 } else { (requests * Self::HEIGHT / most).max(1) };
        let bars = times.iter().enumerate().map(|(at, (start, granted, denied))| {
            let (granted, denied) = (*granted, *denied);
            let (granted_height, denied_height) = (height(granted), height(denied));
            let granted_y = Self::HEIGHT - granted_height;
            Bar {
                label: start.strftime(label).to_string(),
                granted: show::count(granted),
                denied: show::count(denied),
                x: at * Self::STEP,
                granted_y,
                granted_height,
                denied_y: granted_y.saturating_sub(denied_height),
                denied_height,
            }
        });
        Self { times: bars.collect(), most: show::count(most), width: times.len() * Self::STEP }
    }

    /// Whether there was nothing at all.
    pub(in crate::console) fn is_empty(&self) -> bool {
        self.times.iter().all(|bar| bar.granted_height + bar.denied_height == 0)
    }
}
