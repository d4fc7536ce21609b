//! Policies made of arbitrary bytes: our program answers as libseccomp's.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The oracle is that of the tests.
#[path = "../../crates/runtime/src/seccomp/tests/oracle.rs"]
mod oracle;
#[path = "../../crates/runtime/src/seccomp/tests/random.rs"]
mod random;
#[path = "../../crates/runtime/src/seccomp/tests/simulator.rs"]
mod simulator;

fuzz_target!(|bytes: &[u8]| {
    let policy = random::plain_policy(bytes);
    let program = hull_runtime::seccomp::compile(&policy).expect("the policy makes sense");
    let program = serde_json::to_value(&program).expect("a program is plain data");
    let digits = program["filter"].as_str().expect("a filter is hexadecimal digits");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits are a byte");
    let filter: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    random::agree(&policy, &filter);
});
