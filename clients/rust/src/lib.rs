//! Tests of Docker clients in Rust, in `tests/`. There is nothing else in this package.
