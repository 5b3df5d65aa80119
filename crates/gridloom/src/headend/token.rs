//! The operator's token: made in the data directory, shown by whoever orders something.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use gridloom_host::entropy;
use gridloom_web::OperatorToken;

use crate::founding::write_durably;
use crate::hex;

const FILE: &str = "operator.token";

/// Who acts with the token of the data directory.
const NAME: &str = "operator";

/// Reads the token, or makes one; and where it is.
pub(crate) fn operator_token(data: &Path) -> anyhow::Result<(OperatorToken, PathBuf)> {
    let path = data.join(FILE);
    if !path.exists() {
        let secret = hex::text(&entropy::bytes::<32>()?);
        write_durably(&path, format!("{secret}\n").as_bytes())?;
    }
    let secret = read_secret(&path)?;
    let token = OperatorToken::new(NAME, secret)
        .with_context(|| format!("{}: remove it, and a new one is made", path.display()))?;
    Ok((token, path))
}

/// The secret in a token's file.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the operator's token {}", path.display()))?;
    let secret = text.trim();
    ensure!(
        !secret.is_empty() && secret.len() <= OperatorToken::SECRET_MAX,
        "{} holds no operator's token: name the file that gridloom serve prints",
        path.display()
    );
    Ok(secret.to_owned())
}
