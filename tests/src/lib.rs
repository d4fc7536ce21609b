//! Tests of the whole engine, a file per subject, in `tests/`. There is nothing else in this package.
