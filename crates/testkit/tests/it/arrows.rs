//! Which of our crates may use which, and where the heavy libraries may be used. A new crate gets its place here first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Each crate of ours, and which of ours it may use. The binary, the benchmarks and the fuzz targets may use any.
const ARROWS: &[(&str, &[&str])] = &[
    ("keyrack-core", &[]),
    ("keyrack-store", &["keyrack-core"]),
    ("keyrack-engine", &["keyrack-core", "keyrack-store"]),
    ("keyrack-client", &[]),
    ("keyrack-script", &[]),
    ("keyrack-server", &["keyrack-core", "keyrack-engine", "keyrack-client", "keyrack-script"]),
    ("keyrack-tower", &["keyrack-core", "keyrack-engine", "keyrack-client"]),
    ("keyrack", PRODUCT),
    ("keyrack-bench", WITH_HELPERS),
    ("keyrack-fuzz-targets", PRODUCT),
    ("keyrack-testkit", &[]),
];

/// All but the helpers for tests, which are a dev-dependency of whatever users get.
const PRODUCT: &[&str] = &[
    "keyrack-core",
    "keyrack-store",
    "keyrack-engine",
    "keyrack-client",
    "keyrack-script",
    "keyrack-server",
    "keyrack-tower",
    "keyrack",
    "keyrack-bench",
];

/// The bench starts a PostgreSQL server of its own, as the tests do.
const WITH_HELPERS: &[&str] = &[
    "keyrack-core",
    "keyrack-store",
    "keyrack-engine",
    "keyrack-client",
    "keyrack-script",
    "keyrack-server",
    "keyrack-tower",
    "keyrack-testkit",
];

/// Libraries that only these crates may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx", &["keyrack-store"]),
    ("axum", &["keyrack-server", "keyrack-tower"]),
    ("anyhow", &["keyrack", "keyrack-bench"]),
];

/// What would give the pure crate a runtime, a database, a network or a randomness of its own.
const NOT_IN_CORE: &[&str] = &["tokio", "sqlx", "axum", "hyper", "rand"];

/// Every dependency that goes the wrong way, in words. Dependencies of tests are free.
fn broken(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("the packages of cargo metadata");
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut broken = Vec::new();
    for package in packages {
        let name = text(&package["name"]);
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            broken.push(format!("{name} has no place in arrows.rs"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().expect("the dependencies of a package");
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"] != "dev") {
            let used = text(&dependency["name"]);
            let wrong_arrow = ours.contains(used) && !allowed.contains(&used);
            let wrong_place = ONLY_IN.iter().any(|(library, places)| *library == used && !places.contains(&name));
            let impure = name == "keyrack-core" && NOT_IN_CORE.contains(&used);
            if wrong_arrow || wrong_place || impure {
                broken.push(format!("{name} may not use {used}"));
            }
        }
    }
    broken
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn our_crates_use_each_other_one_way_only() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata["packages"].as_array().unwrap().len() >= 7, "the whole workspace is looked at");
    assert_eq!(broken(&metadata), Vec::<String>::new());
}

#[test]
fn the_check_of_arrows_can_fail() {
    let package = |name: &str, dependencies: &[(&str, Option<&str>)]| {
        let dependencies: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        json!({"name": name, "dependencies": dependencies})
    };
    let metadata = json!({"packages": [
        package("keyrack-core", &[("serde", None), ("rand", None), ("tokio", Some("dev")), ("sqlx", Some("build"))]),
        package("keyrack-store", &[("keyrack-core", None), ("sqlx", None), ("keyrack-testkit", Some("dev"))]),
        package("keyrack-engine", &[("keyrack-server", None), ("anyhow", None)]),
        package("keyrack-client", &[("keyrack-core", None)]),
        package("keyrack-server", &[("axum", None), ("keyrack-store", None), ("keyrack-engine", None)]),
        package("keyrack", &[("anyhow", None), ("keyrack-store", None), ("axum", None), ("keyrack-testkit", None)]),
        package("keyrack-utils", &[]),
        package("keyrack-testkit", &[]),
    ]});
    let wanted = [
        "keyrack-core may not use rand",
        "keyrack-core may not use sqlx",
        "keyrack-engine may not use keyrack-server",
        "keyrack-engine may not use anyhow",
        "keyrack-client may not use keyrack-core",
        "keyrack-server may not use keyrack-store",
        "keyrack may not use axum",
        "keyrack may not use keyrack-testkit",
        "keyrack-utils has no place in arrows.rs",
    ];
    assert_eq!(broken(&metadata), wanted);
}

/// The files of the product that name the database library's items, other than those of the crate that owns them.
fn strays(crates: &Path) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = std::fs::read_dir(crates)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("store"))
        .map(|path| path.join("src"))
        .filter(|path| path.is_dir())
        .collect();
    let mut strays = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && std::fs::read_to_string(&path).unwrap().contains("sqlx::")
        {
            strays.push(path);
        }
    }
    strays
}

#[test]
fn only_the_store_speaks_to_databases() {
    assert_eq!(strays(&workspace().join("crates")), Vec::<PathBuf>::new());
}

#[test]
fn the_check_of_sources_can_fail() {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("store/src/lib.rs", "use sqlx::Row;"),
        ("engine/src/deep/down.rs", "fn f() -> sqlx::Result<()>"),
        ("engine/src/lib.rs", "//! no sqlx here"),
        ("engine/tests/it.rs", "use sqlx::Row;"),
        ("server/src/page.html", "sqlx::Row"),
    ] {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(strays(directory.path()), [directory.path().join("engine/src/deep/down.rs")]);
}
