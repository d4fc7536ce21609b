//! Variables: `-e`, `--env-file`.

use std::fs;
use std::path::Path;

/// The lines of all files, then the single variables: later ones win at the daemon.
pub(crate) fn collect(files: &[String], variables: &[String]) -> Result<Vec<String>, String> {
    let mut environment = Vec::new();
    for file in files {
        let text = fs::read(file).map_err(|reason| open_failed(file, &reason))?;
        let text = String::from_utf8(text).map_err(|_| format!("{file}: invalid utf8 bytes"))?;
        environment.extend(lines(&text, std::env::var)?);
    }
    for variable in variables {
        if variable.starts_with('=') || variable.is_empty() {
            return Err(format!("invalid environment variable: {variable}"));
        }
        let inherited = || std::env::var(variable).map(|value| format!("{variable}={value}"));
        environment.push(match variable.contains('=') {
            true => variable.clone(),
            false => inherited().unwrap_or_else(|_| variable.clone()),
        });
    }
    Ok(environment)
}

/// Go's words for a file that cannot be opened.
pub(crate) fn open_failed(file: impl AsRef<Path>, reason: &std::io::Error) -> String {
    let text = reason.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    format!("open {}: {plain}", file.as_ref().display())
}

/// One variable a line; a name alone takes the client's value, if it has one.
fn lines<E>(text: &str, own: impl Fn(String) -> Result<String, E>) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(own(name.to_owned()).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_variable_a_line() {
        let own = |name: String| if name == "HOME" { Ok("/root".to_owned()) } else { Err(()) };
        let text = "\u{feff}# comment\n\nA=1\n  B=two words \nHOME\nABSENT\nC=x=y\nD=\n";
        let expected = ["A=1", "B=two words ", "HOME=/root", "C=x=y", "D="];
        assert_eq!(lines(text, own).unwrap(), expected);
        assert_eq!(lines("a b=1", own).unwrap_err(), "variable 'a b' contains whitespaces");
        assert_eq!(lines("=1", own).unwrap_err(), "no variable name on line '=1'");
    }

    #[test]
    fn single_variables_and_missing_files() {
        let given = ["A=1".to_owned(), "HULL_TEST_SURELY_UNSET".to_owned()];
        assert_eq!(collect(&[], &given).unwrap(), given);
        assert_eq!(collect(&[], &["=x".to_owned()]).unwrap_err(), "invalid environment variable: =x");
        let missing = ["/nonexistent/file".to_owned()];
        assert_eq!(collect(&missing, &[]).unwrap_err(), "open /nonexistent/file: no such file or directory");
    }
}
