//! The cluster's token: made at the first start, kept in a file that only its owner can read, asked for on every call.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A cluster token. It never appears in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Says why there is no token, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Neither the environment nor the file has one.
    #[error(
        "no cluster token was found: set MANTA_TOKEN, or copy the token file of the machine that runs the head to {0} \
         (mode 0600)"
    )]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("the token file {path} could not be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file's text is no token.
    #[error(
        "the token in {0} is not 1 to 256 printable ASCII characters; delete the file and start the cluster again to get a new one"
    )]
    Malformed(String),
}

impl Token {
    /// A new random token.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).expect("getrandom(2) does not fail after boot");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The token that a user or a parent process gave.
    ///
    /// # Errors
    /// When it could not be sent as a header.
    pub fn new(text: &str, origin: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let printable =
            !text.is_empty() && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if printable { Ok(Self(text.to_owned())) } else { Err(TokenError::Malformed(origin.to_owned())) }
    }

    /// The text, for a header or a child's environment.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration how much was equal.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }

    /// `~/.manta/token`, or below `MANTA_HOME`.
    #[must_use]
    pub fn default_path() -> PathBuf {
        home().join("token")
    }

    /// `MANTA_TOKEN`, or else the token file.
    ///
    /// # Errors
    /// When there is neither, or the file cannot be read.
    pub fn find() -> Result<Self, TokenError> {
        if let Ok(text) = std::env::var("MANTA_TOKEN") {
            return Self::new(&text, "MANTA_TOKEN");
        }
        let path = Self::default_path();
        match fs::read_to_string(&path) {
            Ok(text) => Self::new(&text, &path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TokenError::Missing(path)),
            Err(source) => Err(TokenError::File { path, source }),
        }
    }

    /// `MANTA_TOKEN`, or the token file, which is made (mode 0600) when there is none.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub fn find_or_create() -> Result<Self, TokenError> {
        match Self::find() {
            Err(TokenError::Missing(path)) => Self::random().create(&path),
            found => found,
        }
    }

    fn create(self, path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => writeln!(file, "{}", self.0).map_err(failed).map(|()| self),
            // Another process made it just now: theirs is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::find(),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Manta's folder in the user's home: `MANTA_HOME`, or `~/.manta`.
#[must_use]
pub fn home() -> PathBuf {
    std::env::var_os("MANTA_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".manta"),
        PathBuf::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_token_is_private_and_found_again() {
        let folder = std::env::temp_dir().join(format!("manta-token-test-{}", std::process::id()));
        let path = folder.join("token");
        let token = Token::random().create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(token.matches(text.trim()));
        assert!(!token.matches("other"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_token_that_is_no_header_value_is_refused() {
        assert!(Token::new("a\nb", "MANTA_TOKEN").is_err());
        assert!(Token::new("", "MANTA_TOKEN").is_err());
    }
}
