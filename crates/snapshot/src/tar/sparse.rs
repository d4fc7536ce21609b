//! Maps of sparse files: which parts of the file the archive has.

use crate::{Error, Result};

/// More pieces than this are refused; GNU tar writes a piece per 512 bytes at worst.
const MAX: usize = 1 << 20;

/// A map that is being read.
#[derive(Debug, Default)]
pub(super) struct Map(Vec<(u64, u64)>);

impl Map {
    /// Adds a piece. Its offset must not be below the end of the last.
    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        let end = self.0.last().map_or(0, |(offset, length)| offset + length);
        if offset < end || offset.checked_add(length).is_none() || self.0.len() == MAX {
            return Err(Error::invalid("malformed sparse file"));
        }
        self.0.push((offset, length));
        Ok(())
    }

    /// Adds pieces written as offset, length, offset, length…
    pub(super) fn extend(&mut self, numbers: &[u64]) -> Result<()> {
        if !numbers.len().is_multiple_of(2) {
            return Err(Error::invalid("malformed sparse file"));
        }
        numbers.chunks_exact(2).try_for_each(|pair| self.push(pair[0], pair[1]))
    }

    /// The pieces, if they lie within a file of `size` bytes and the archive has `stored` bytes for them.
    pub(super) fn finish(self, size: u64, stored: u64) -> Result<Vec<(u64, u64)>> {
        let end = self.0.last().map_or(0, |(offset, length)| offset + length);
        let total: u64 = self.0.iter().map(|(_, length)| length).sum();
        match end <= size && total == stored {
            true => Ok(self.0.into_iter().filter(|(_, length)| *length > 0).collect()),
            false => Err(Error::invalid("malformed sparse file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let map = |numbers: &[u64]| {
            let mut map = Map::default();
            map.extend(numbers).map(|()| map)
        };
        assert_eq!(map(&[0, 5, 10, 5, 20, 0]).unwrap().finish(20, 10).unwrap(), [(0, 5), (10, 5)]);
        assert!(map(&[0, 5, 10, 5]).unwrap().finish(14, 10).is_err());
        assert!(map(&[0, 5]).unwrap().finish(10, 6).is_err());
        assert!(map(&[0, 5, 4, 5]).is_err());
        assert!(map(&[5]).is_err());
        assert!(map(&[u64::MAX, 2]).is_err());
    }
}
