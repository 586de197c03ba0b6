//! SASL PLAIN: the words of it. When they are said is `session::registration`'s business.
//!
//! <https://ircv3.net/specs/extensions/sasl-3.1>, <https://www.rfc-editor.org/rfc/rfc4616>.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::irc::pool::protocol::SaslPlain;

/// The most characters in one AUTHENTICATE line; a shorter line (or `+`) ends the message.
const CHUNK: usize = 400;

/// The arguments of the AUTHENTICATE lines that carry `credentials`.
#[must_use]
pub fn plain(credentials: &SaslPlain) -> Vec<String> {
    let message = format!("\0{}\0{}", credentials.account, credentials.password.expose());
    let encoded = STANDARD.encode(message);
    // Base64 is ASCII, so that any cut is between characters.
    let mut chunks: Vec<String> =
        encoded.as_bytes().chunks(CHUNK).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
    if chunks.last().is_none_or(|last| last.len() == CHUNK) {
        chunks.push("+".to_owned());
    }
    chunks
}

/// Whether the words of a SASL failure speak of the network's own trouble, not of wrong credentials.
///
/// Servers use one numeric (904) for both; without this, services that are down would look like a wrong password,
/// after which nothing is tried until a person acts.
#[must_use]
pub fn is_temporary(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["timed out", "timeout", "unavailable", "not available", "try again", "temporar", "offline", "throttl", "too many"]
        .iter()
        .any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irc::pool::protocol::Sealed;

    fn credentials(account: &str, password: &str) -> SaslPlain {
        SaslPlain { account: account.into(), password: Sealed::new(password) }
    }

    #[test]
    fn plain_is_chunked_as_the_specification_says() {
        assert_eq!(plain(&credentials("jilles", "sesame")), ["AGppbGxlcwBzZXNhbWU="]);
        // 2 + 298 = 300 bytes make exactly 400 characters.
        let exact = plain(&credentials("a", &"p".repeat(297)));
        assert_eq!(exact.iter().map(String::len).collect::<Vec<_>>(), [400, 1]);
        assert_eq!(exact[1], "+");
        let longer = plain(&credentials("a", &"p".repeat(298)));
        assert_eq!(longer.iter().map(String::len).collect::<Vec<_>>(), [400, 4]);
        assert_eq!(STANDARD.decode(longer.concat()).unwrap().len(), 301);
    }

    #[test]
    fn services_that_are_down_are_no_wrong_password() {
        assert!(is_temporary("SASL authentication failed: services are temporarily unavailable"));
        assert!(is_temporary("SASL request timed out"));
        assert!(!is_temporary("SASL authentication failed"));
        assert!(!is_temporary("Invalid password for account"));
    }
}
