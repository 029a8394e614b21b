//! An instance with any number of keys.

use std::time::Instant;

use keyrack_bench::instance::{self, Instance};
use keyrack_testkit::postgres::PrivateCluster;

use crate::Options;

/// An instance with this many keys, beside the one that manages.
pub(crate) struct Filled {
    pub(crate) size: u64,
    /// The name of its database's kind.
    pub(crate) kind: &'static str,
    pub(crate) instance: Instance,
}

impl Filled {
    /// One on SQLite. It is kept, and found again the next time.
    pub(crate) fn on_sqlite(options: &Options, size: u64) -> anyhow::Result<Self> {
        let folder = options.folder.join(size.to_string());
        let (database, keyfile) = (format!("sqlite:{}", folder.join("bench.db").display()), folder.join("keyfile"));
        let remembered = folder.join("manage");
        let instance = if let Ok(manage) = std::fs::read_to_string(&remembered) {
            Instance::known(&options.keyrack, database, keyfile, manage)
        } else {
            // What was begun and not finished is worth nothing.
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder)?;
            let instance = Instance::make(&options.keyrack, database, keyfile)?;
            fill(&instance, size, "sqlite")?;
            std::fs::write(remembered, &instance.management_key)?;
            instance
        };
        Ok(Self { size, kind: "sqlite", instance })
    }

    /// One on PostgreSQL, gone when its server is.
    pub(crate) fn on_postgres(options: &Options, cluster: &PrivateCluster, size: u64) -> anyhow::Result<Self> {
        let keyfile = cluster.directory().join(format!("{size}.keyfile"));
        let instance = Instance::make(&options.keyrack, cluster.fresh_database(), keyfile)?;
        fill(&instance, size, "postgres")?;
        Ok(Self { size, kind: "postgres", instance })
    }
}

fn fill(instance: &Instance, size: u64, kind: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let filling = async {
        let store = instance.store().await?;
        instance::insert(&store, &instance.pepper()?, 0..size, |number, _| Some(keyrack_bench::text(number))).await?;
        store.close().await;
        anyhow::Ok(())
    };
    runtime.block_on(filling)?;
    println!("{size} keys written to {kind} in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}
