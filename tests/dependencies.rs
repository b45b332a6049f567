//! What is built in may be used: every dependency has a licence that fits and comes from the registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::process::Command;

/// Licences of which one must be offered; the project itself is MIT or Apache-2.0.
const ALLOWED: [&str; 14] = [
    "MIT",
    "MIT-0",
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "MPL-2.0",
    "BSL-1.0",
];

/// Whether an SPDX expression can be satisfied with the allowed licences. `AND` binds closer than `OR`.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let one = |licence: &str| ALLOWED.contains(&licence.split(" WITH ").next().unwrap_or_default().trim());
    // Parentheses are flattened: `A AND (B OR C)` is read as `A AND B OR C`, so each side is looked at too.
    let any_branch = flat.split(" OR ").any(|branch| branch.split(" AND ").all(one));
    let no_foreign = flat.split(" AND ").all(|part| part.split(" OR ").any(one));
    any_branch && no_foreign
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"])
        // Other platforms' dependencies are not built in and may not have been fetched.
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_licence_fits() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "the list of dependencies is not complete");
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{} has the licence `{licence}`", package["name"]);
    }
}

#[test]
fn everything_comes_from_the_registry() {
    for package in metadata()["packages"].as_array().unwrap() {
        let source = package["source"].as_str();
        let is_ours = source.is_none() && package["name"] == "bk";
        assert!(is_ours || source.is_some_and(|source| source.starts_with("registry+")), "{package}");
    }
}

#[test]
fn a_licence_that_does_not_fit_is_noticed() {
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "AGPL-3.0-only", "SSPL-1.0 OR GPL-2.0"] {
        assert!(!is_allowed(refused), "{refused}");
    }
    for accepted in
        ["MIT", "MIT/Apache-2.0", "Apache-2.0 WITH LLVM-exception OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_allowed(accepted), "{accepted}");
    }
}
