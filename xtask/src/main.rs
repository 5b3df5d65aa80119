//! The project's own tool. `cargo xtask ci` is exactly what CI runs, `cargo xtask tidy` what it
//! refuses about the shape of the tree, `cargo xtask licences` what it refuses to link.

mod ci;
mod licences;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Asked at run time: one target folder may serve checkouts in several places.
    let Some(root) = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .and_then(|folder| folder.parent().map(PathBuf::from))
    else {
        eprintln!("xtask: start it with cargo xtask, which says where the workspace is");
        return ExitCode::from(2);
    };
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "ci" => ci::run(&root),
        "tidy" => tidy::run(&root),
        "licences" => licences::run(&root),
        _ => {
            eprintln!("usage: cargo xtask ci|tidy|licences");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
