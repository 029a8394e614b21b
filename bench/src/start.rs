//! How a server starts, and what it takes.

use crate::Options;
use crate::filled::Filled;

/// Prints how long it takes to start, on one processor and on all, and its memory then.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let binary = std::fs::metadata(&options.keyrack)?.len();
    for processors in ["0", "0-1023"] {
        let mut starts = Vec::new();
        let mut resident = 0.0;
        for _ in 0..options.rounds {
            let server = filled.instance.serve(processors)?;
            resident = server.resident()?;
            starts.push(server.start);
        }
        starts.sort_unstable();
        println!(
            "start: {:>10} keys, {:>8}, processors {processors:>6}: {:.3} s, {resident:.0} MB resident; the program has {} MB",
            filled.size,
            filled.kind,
            starts[starts.len() / 2].as_secs_f64(),
            binary / 1_000_000,
        );
    }
    Ok(())
}
