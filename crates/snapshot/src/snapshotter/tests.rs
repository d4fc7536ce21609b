//! Names and records.

use hull_oci::Digest;

use super::layers::{Applied, Facts};
use super::record::Below;
use super::snapshots::check_key;

#[test]
fn keys_are_file_names() {
    for key in ["a", "0123456789abcdef", "with-dash_and.dot"] {
        assert!(check_key(key).is_ok(), "{key}");
    }
    for key in ["", ".", "..", ".hidden", "a/b", "a\0", "ä", &"x".repeat(129)] {
        assert!(check_key(key).is_err(), "{key}");
    }
}

#[test]
fn records_that_were_cut_are_told_from_whole_ones() {
    let chain = Digest::sha256(b"x");
    for (chains, furnished) in [(0, false), (2, false), (0, true), (2, true)] {
        let below = Below { chains: vec![chain.clone(); chains], furnished };
        let record = below.to_string();
        assert_eq!(Below::parse(&record), Some(below));
        for length in 0..record.len() {
            assert_eq!(Below::parse(&record[..length]), None, "{length}");
        }
    }
    // As earlier versions wrote it.
    let record = format!("{chain}\nend\n");
    assert_eq!(Below::parse(&record), Some(Below { chains: vec![chain.clone()], furnished: false }));
    let facts = format!("{chain} 12 3 boot\n");
    assert_eq!(Facts::parse(&facts).unwrap().applied, Applied { diff_id: chain, size: 12, entries: 3 });
    for length in 0..facts.len() {
        assert!(Facts::parse(&facts[..length]).is_none(), "{length}");
    }
}
