//! Whatever is read as a `config.json` says the same when it is written and read again, and its policy compiles or
//! is refused.
#![no_main]

use hull_oci::runtime::Spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    let text = serde_json::to_vec(&spec).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Spec>(&text).expect("what was written can be read"), spec);
    if let Some(policy) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let _ = hull_runtime::seccomp::compile(policy);
    }
});
