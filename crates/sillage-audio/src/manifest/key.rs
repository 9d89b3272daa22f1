//! The machine's signing key.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use ed25519_dalek::Signer as _;

use super::{ManifestError, io_error};

/// The secret half of a machine's key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// Reads the key in `path`, or makes one there that only the user can read.
    ///
    /// # Errors
    /// A file that holds no key, or one that others can read; the system's own.
    pub fn open_or_create(path: &Path) -> Result<Self, ManifestError> {
        match Self::open(path) {
            Err(ManifestError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::create(path)
            }
            other => other,
        }
    }

    fn open(path: &Path) -> Result<Self, ManifestError> {
        let fail = |error| io_error("read", path, error);
        let file = std::fs::File::open(path).map_err(fail)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata().map_err(fail)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(ManifestError::KeyExposed(path.display().to_string()));
            }
        }
        let mut text = Vec::new();
        file.take(1024).read_to_end(&mut text).map_err(fail)?;
        parse_hex(text.trim_ascii())
            .map(Self::from_bytes)
            .ok_or_else(|| ManifestError::KeyFile(path.display().to_string()))
    }

    fn create(path: &Path) -> Result<Self, ManifestError> {
        let fail = |error| io_error("write", path, error);
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|error| ManifestError::Random(error.to_string()))?;
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(fail)?;
        // Written whole under another name (with mode 0600) and then linked, so
        // that of two first uses one wins and neither sees half a key.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        let digits: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        file.write_all(digits.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(Self::from_bytes(secret)),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Self::open(path),
            Err(error) => Err(fail(error.error)),
        }
    }

    /// A key from its 32 secret bytes.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&secret))
    }

    /// The half that verifies.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// The half of a key that everybody may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .ok()
            .map(Self)
    }

    /// Its 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Exactly 64 hexadecimal digits.
fn parse_hex(text: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0u8; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in out.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/key");
        let made = SigningKey::open_or_create(&path).unwrap().public();
        assert_eq!(SigningKey::open_or_create(&path).unwrap().public(), made);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |m| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(m));
            let now = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(now & 0o777, 0o600);
            mode(0o644).unwrap();
            let error = SigningKey::open_or_create(&path).unwrap_err();
            assert!(matches!(error, ManifestError::KeyExposed(_)));
            mode(0o600).unwrap();
        }
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(
            SigningKey::open_or_create(&path),
            Err(ManifestError::KeyFile(_))
        ));
    }
}
