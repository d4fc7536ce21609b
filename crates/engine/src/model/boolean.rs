//! Booleans as Go writes them.

/// A word that Go reads as a boolean (`strconv.ParseBool`), as the options and filters of Docker's clients are written.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
