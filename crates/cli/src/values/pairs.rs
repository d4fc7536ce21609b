//! `KEY=VALUE` in labels, options and filters.

use hull_api::filters::Filters;
use hull_api::wire::Labels;
use std::collections::BTreeMap;
use std::fs;

/// Pairs as a map; a key alone has the value "".
pub(crate) fn map(pairs: &[String]) -> Labels {
    pairs
        .iter()
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (k.into(), v.into()))
        .collect()
}

/// Labels of files, then the single ones.
pub(crate) fn labels(files: &[String], labels: &[String]) -> Result<Labels, String> {
    let mut all = Labels::new();
    for file in files {
        let text =
            fs::read_to_string(file).map_err(|reason| super::environment::open_failed(file, &reason))?;
        let lines =
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(map(&lines.map(str::to_owned).collect::<Vec<_>>()));
    }
    all.extend(map(labels));
    Ok(all)
}

/// Options that must have a value: `--log-opt`.
pub(crate) fn options(flag: &str, pairs: &[String]) -> Result<Labels, String> {
    let mut all = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("invalid {flag}: {pair:?}"))?;
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// One `--filter`; clap reads it with this so that its mistakes are told as those of a flag.
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok((name.trim().to_lowercase(), value.trim().to_owned()))
}

/// All `--filter`s together.
pub(crate) fn filters(given: &[(String, String)]) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in given {
        filters.add(name, value);
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_filters() {
        let given = ["a=b=c".to_owned(), "d".to_owned()];
        assert_eq!(map(&given), Labels::from([("a".into(), "b=c".into()), ("d".into(), "".into())]));
        assert_eq!(options("log-opt", &given).unwrap_err(), "invalid log-opt: \"d\"");
        assert_eq!(filter("Status = running").unwrap(), ("status".to_owned(), "running".to_owned()));
        assert!(filter("x").is_err());
    }
}
