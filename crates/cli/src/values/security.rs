//! `--security-opt`.

use super::environment::open_failed;
use crate::json::Json;
use std::fs;

/// The options for the daemon: a seccomp policy is read from its file here. The second answer is whether
/// `systempaths=unconfined` lifts the masks of paths.
pub(crate) fn options(given: &[String]) -> Result<(Vec<String>, bool), String> {
    let mut options = Vec::new();
    let mut unmasked = false;
    for option in given {
        match option.split_once('=').or_else(|| option.split_once(':')) {
            Some(("systempaths", "unconfined")) => unmasked = true,
            Some(("seccomp", file)) if file != "unconfined" && file != "builtin" => {
                options.push(format!("seccomp={}", policy(file)?));
            }
            None if option != "no-new-privileges" && option != "writable-cgroups" => {
                return Err(format!("Invalid --security-opt: {option:?}"));
            }
            _ => options.push(option.clone()),
        }
    }
    Ok((options, unmasked))
}

fn policy(file: &str) -> Result<String, String> {
    let failed = |reason: String| format!("opening seccomp profile ({file}) failed: {reason}");
    let text = fs::read(file).map_err(|reason| failed(open_failed(file, &reason)))?;
    let json: Json = serde_json::from_slice(&text)
        .map_err(|reason| format!("compacting json for seccomp profile ({file}) failed: {reason}"))?;
    Ok(json.compact())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_pass_but_for_files_and_masks() {
        let given = ["no-new-privileges", "seccomp=unconfined", "systempaths=unconfined", "label:disable"];
        let given: Vec<String> = given.map(str::to_owned).to_vec();
        let expected: Vec<String> =
            ["no-new-privileges", "seccomp=unconfined", "label:disable"].map(str::to_owned).to_vec();
        assert_eq!(options(&given).unwrap(), (expected, true));
        assert_eq!(options(&["what".to_owned()]).unwrap_err(), "Invalid --security-opt: \"what\"");
        let missing = options(&["seccomp=/nonexistent".to_owned()]).unwrap_err();
        assert!(
            missing.starts_with("opening seccomp profile (/nonexistent) failed: open /nonexistent: no such")
        );
    }
}
