//! The project's own tool. `cargo xtask ci` is exactly what CI runs, `cargo xtask tidy` what it
//! refuses about the shape of the tree, `cargo xtask licences` what it refuses to link.

mod ci;
mod licences;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(PathBuf::from)
        .expect("xtask lies one folder below the root");
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
