//! What a snapshot stands on, as its file `lower` says it: chain ids, bottom first, a line each; `furnished` if it is a
//! container's; the last line says `end`, so that a torn record is known.

use std::fmt;

use hull_oci::Digest;

const FURNISHED: &str = "furnished";
const END: &str = "end\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Below {
    /// The chain ids of the layers, bottom first.
    pub(super) chains: Vec<Digest>,
    /// Whether the furniture of these layers lies on them.
    pub(super) furnished: bool,
}

impl Below {
    pub(super) fn has(&self, chain: &Digest) -> bool {
        self.chains.contains(chain)
    }

    /// `None` if the record is torn.
    pub(super) fn parse(record: &str) -> Option<Self> {
        let mut lines: Vec<_> = record.strip_suffix(END)?.lines().collect();
        let furnished = lines.pop_if(|last| *last == FURNISHED).is_some();
        let chains = lines.into_iter().map(|line| Digest::parse(line).ok()).collect::<Option<_>>()?;
        Some(Self { chains, furnished })
    }
}

impl fmt::Display for Below {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chains.iter().try_for_each(|chain| writeln!(out, "{chain}"))?;
        if self.furnished {
            writeln!(out, "{FURNISHED}")?;
        }
        out.write_str(END)
    }
}
