//! The runtime specification, field by field: a fragment of a spec, a script inside of the container, what it prints.
//!
//! `HULL_TEST_RUNTIME` names another runtime to be tested in our place; what it lacks is marked (`lacks`). The marks
//! are for runc 1.1.5 and crun 1.8.1.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod hooks;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod seccomp;

/// Tests that lay a fragment over the sample spec and compare what a script in the container prints.
#[macro_export]
macro_rules! prints {
    ($($(#[$meta:meta])* $name:ident $(lacks $($who:literal)+)?: $fragment:tt, $script:expr => $expected:expr;)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            if $crate::support::runtime_is(&[$($($who),+)?]) {
                return;
            }
            let mut bed = $crate::support::Bed::new();
            bed.merge(&serde_json::json!($fragment));
            assert_eq!(bed.shell($script), $expected);
        }
    )*};
}

/// Tests that lay a fragment over the sample spec, and the container must be refused. What is said is ours alone.
#[macro_export]
macro_rules! refuses {
    ($($(#[$meta:meta])* $name:ident $(lacks $($who:literal)+)?: $fragment:tt => $said:expr;)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            if $crate::support::runtime_is(&[$($($who),+)?]) {
                return;
            }
            let mut bed = $crate::support::Bed::new();
            bed.merge(&serde_json::json!($fragment));
            let output = bed.run(&["true"]);
            let said = $crate::support::text(&output.stderr);
            assert!(!output.status.success(), "it runs");
            if $crate::support::other_runtime().is_none() {
                assert!(said.contains($said), "{said}");
                assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            }
        }
    )*};
}
