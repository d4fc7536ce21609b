//! Random changes to a `config.json`, from a fixed seed: what is read says the same when it is written and read again,
//! and nothing panics. `fuzz` goes on from there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use hull_oci::runtime::Spec;
use serde_json::{Value, json};

/// xorshift64: Marsaglia, "Xorshift RNGs", 2003.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % count
    }
}

fn sample() -> Value {
    let mut spec: Value = serde_json::from_str(include_str!("../src/cli/spec.json")).unwrap();
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{
            "names": ["read", "write"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_LT" }, { "index": 1, "value": 7, "op": "SCMP_CMP_EQ" }],
        }],
    });
    spec
}

/// All places in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(all) => {
            for (index, one) in all.iter().enumerate() {
                places(one, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(all) => {
            for (key, one) in all {
                places(one, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

/// What no sensible document says there.
fn odd(random: &mut Random) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(""),
        json!("\0/../\u{10ffff}"),
        json!("SCMP_ACT_NOTIFY"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "a": 1 }),
        json!(6),
    ];
    all[random.below(all.len())].clone()
}

fn read(bytes: &[u8]) -> bool {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return false };
    let text = serde_json::to_vec(&spec).unwrap();
    assert_eq!(serde_json::from_slice::<Spec>(&text).unwrap(), spec);
    if let Some(policy) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let _ = hull_runtime::seccomp::compile(policy);
    }
    true
}

#[test]
fn random_specs_are_read_or_refused() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let sample = sample();
    let mut paths = Vec::new();
    places(&sample, "", &mut paths);
    let mut understood = 0;
    for _ in 0..1500 {
        let mut spec = sample.clone();
        for _ in 0..=random.below(3) {
            let value = odd(&mut random);
            if let Some(place) = spec.pointer_mut(&paths[random.below(paths.len())]) {
                *place = value;
            }
        }
        let mut bytes = serde_json::to_vec(&spec).unwrap();
        understood += usize::from(read(&bytes));
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        read(&bytes);
        read(&bytes[..at]);
    }
    assert!((100..1400).contains(&understood), "{understood} of 1500 were read");
}
