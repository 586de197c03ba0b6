//! What is kept in the database sealed: secrets that people have entrusted to the bridge.
//!
//! ChaCha20-Poly1305, as it is in `ring`, which TLS brings anyway. The key is in a file of its own: whoever has the
//! database alone, or a backup of it, can read nothing of them.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_BYTES: usize = 32;

/// Seals and opens secrets.
#[derive(Debug)]
pub struct Vault {
    key: LessSafeKey,
}

impl Vault {
    /// The vault whose key is in the file; one that isn't there is made, for its owner alone to read.
    ///
    /// # Errors
    /// The file and what is wrong with it, in words.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the key file {} can't be used: {error}", path.display());
        let fresh = File::options().write(true).create_new(true).mode(0o600).open(path);
        let text = match fresh {
            Ok(mut file) => {
                let text = format!("{}\n", STANDARD.encode(rand::random::<[u8; KEY_BYTES]>()));
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                text
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut text = String::new();
                File::open(path).and_then(|mut file| file.read_to_string(&mut text)).map_err(failed)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| {
            format!(
                "the key file {} has no key in it: {KEY_BYTES} bytes in base64; restore it, or remove it to have another made \
                 (what was sealed under the old one is lost then)",
                path.display()
            )
        })?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals a secret. `of` says whose it is, and has to be the same when it is opened.
    ///
    /// # Panics
    /// Never: no secret is as long as the cipher's bound.
    #[must_use]
    pub fn seal(&self, secret: &str, of: &str) -> String {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.as_bytes().to_vec();
        let done = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(of.as_bytes()),
            &mut sealed,
        );
        done.expect("a secret is shorter than 256 GiB");
        STANDARD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed; `None` if it was sealed under another key, for something else, or was changed.
    #[must_use]
    pub fn unseal(&self, sealed: &str, of: &str) -> Option<String> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(of.as_bytes()), &mut rest).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn r23_what_is_sealed_opens_with_the_same_key_for_the_same_thing_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("key"), folder.path().join("other"));
        let vault = Vault::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = vault.seal("hunter2", "net #milk");
        assert!(!sealed.contains("hunter2") && sealed != vault.seal("hunter2", "net #milk"));
        let again = Vault::open(&path).unwrap();
        assert_eq!(again.unseal(&sealed, "net #milk").as_deref(), Some("hunter2"));
        assert_eq!(again.unseal(&sealed, "net #tea"), None);
        assert_eq!(Vault::open(&other).unwrap().unseal(&sealed, "net #milk"), None);
        for wrong in ["", "hunter2", "AAAA", &sealed[4..], &format!("A{}", &sealed[1..])] {
            assert_eq!(again.unseal(wrong, "net #milk"), None, "{wrong}");
        }
        std::fs::write(&other, "nonsense").unwrap();
        assert!(Vault::open(&other).unwrap_err().contains("has no key in it"));
        assert!(Vault::open(&folder.path().join("no/folder")).unwrap_err().contains("can't be used"));
    }
}
