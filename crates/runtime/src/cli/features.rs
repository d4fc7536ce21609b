//! `features`: what this runtime can do.

use std::process::ExitCode;

use lexopt::Parser;

use super::error::Result;
use super::{Global, print};

pub(super) fn run(_: &Global, parser: &mut Parser) -> Result<ExitCode> {
    if let Some(arg) = parser.next()? {
        return Err(arg.unexpected().into());
    }
    print(&format!("{:#}\n", hull_runtime::features()))?;
    Ok(ExitCode::SUCCESS)
}
