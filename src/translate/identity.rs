//! How IRC operators tell puppets apart whatever their nick: real name and user name (R41, R42).

use ruma::UserId;

use super::one_line;

/// Digits of the hash that stands for what was cut: 36⁷ values, among users of one server whose localparts begin
/// alike.
const HASH_LEN: usize = 7;
/// How much of a localpart is kept, whatever it costs the server name.
const HEAD_LEN: usize = 4;

/// The real name of `user`'s puppet in at most `reallen` bytes: the Matrix id, and the display name after it where
/// all of it fits.
///
/// Bans by real name (`$r:`) must hit one user or one server, so where the id doesn't fit, the end of the localpart
/// becomes `~` (which no Matrix id has) and a hash of the whole id, stable for ever; the server name is cut from its
/// left, and only where the localpart would keep less than its first four letters.
#[must_use]
pub fn realname(user: &UserId, display_name: Option<&str>, reallen: usize) -> String {
    let mut name = printable(user.as_str());
    if name.len() <= reallen {
        let display = one_line(display_name.unwrap_or_default());
        if !display.is_empty() && name.len() + 1 + display.len() <= reallen {
            name.push(' ');
            name.push_str(&display);
        }
        return name;
    }
    let (localpart, server) = (printable(user.localpart()), printable(user.server_name().as_str()));
    let hash = hash(user.as_str());
    let frame = "@~:".len() + HASH_LEN;
    let mut name = if frame + localpart.len().min(HEAD_LEN) + server.len() <= reallen {
        let head = &localpart[..localpart.floor_char_boundary(reallen - frame - server.len())];
        format!("@{head}~{hash}:{server}")
    } else {
        let head = &localpart[..localpart.floor_char_boundary(HEAD_LEN)];
        let room = reallen.saturating_sub(frame + head.len() + "~".len());
        let tail = &server[server.ceil_char_boundary(server.len().saturating_sub(room))..];
        format!("@{head}~{hash}:~{tail}")
    };
    name.truncate(name.floor_char_boundary(reallen));
    name
}

/// What of `user`'s localpart may be in a user name (ident): `[a-z][a-z0-9]*`, of any length.
///
/// Two users may have the same; whoever hands out user names makes them unique and cuts them to USERLEN.
#[must_use]
pub fn username_base(user: &UserId) -> String {
    let letters = deunicode::deunicode_with_tofu(user.localpart(), "").to_ascii_lowercase();
    let base: String = letters.chars().filter(char::is_ascii_alphanumeric).collect();
    if base.starts_with(|first: char| first.is_ascii_lowercase()) { base } else { format!("m{base}") }
}

/// Old Matrix ids may contain anything.
fn printable(id: &str) -> String {
    id.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect()
}

/// FNV-1a: a number that one text has for ever.
pub(super) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// [`fnv`] in base 36: what it makes of an id must never change, or bans would miss.
fn hash(id: &str) -> String {
    let mut hash = fnv(id);
    (0..HASH_LEN)
        .map(|_| {
            let digit = u32::try_from(hash % 36).ok().and_then(|digit| char::from_digit(digit, 36));
            hash /= 36;
            digit.expect("less than 36")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::OwnedUserId;

    use super::*;

    fn id(id: &str) -> OwnedUserId {
        UserId::parse(id).unwrap()
    }

    #[test]
    fn r42_the_matrix_id_comes_first_and_stays_recognisable() {
        for (user, display, reallen, expected) in [
            ("@alice:example.org", None, 50, "@alice:example.org"),
            ("@alice:example.org", Some("Alice"), 50, "@alice:example.org Alice"),
            ("@alice:example.org", Some("Alice"), 24, "@alice:example.org Alice"),
            ("@alice:example.org", Some("Alice"), 23, "@alice:example.org"),
            ("@alice:example.org", Some("A\r\nQUIT\0"), 50, "@alice:example.org A QUIT"),
            ("@alice:example.org", Some("\x01"), 50, "@alice:example.org"),
            ("@alexandrina:matrix.example.org", None, 32, "@alexandrina:matrix.example.org"),
            ("@alexandrina.m:matrix.example.org", None, 32, "@alex~cvpyyr8:matrix.example.org"),
            ("@alexandrina.m:matrix-services.example.org", None, 32, "@alex~fbtropi:~vices.example.org"),
            // With the whole server name no letter more than `chr` would be left.
            ("@christine.xy:matrix.freifunk.net", None, 32, "@chri~btl5caa:~trix.freifunk.net"),
        ] {
            let name = realname(&id(user), display, reallen);
            assert!(name.len() <= reallen, "{name}");
            assert_eq!(name, expected);
        }
    }

    #[test]
    fn r41_user_names_begin_with_a_letter() {
        for (user, base) in [
            ("@alice:example.org", "alice"),
            ("@alice.b-c_d=40:example.org", "alicebcd40"),
            ("@4211:example.org", "m4211"),
            ("@_:example.org", "m"),
            ("@Älice:example.org", "alice"),
        ] {
            assert_eq!(username_base(&id(user)), base);
        }
    }

    proptest! {
        #[test]
        fn r42_real_names_fit_and_keep_the_server(
            localpart in "[a-z0-9._=/+-]{1,60}",
            server in "[a-z]{1,12}(\\.[a-z]{2,12}){1,3}",
            display in proptest::option::of(any::<String>()),
            reallen in 32_usize..60,
        ) {
            let user = id(&format!("@{localpart}:{server}"));
            let name = realname(&user, display.as_deref(), reallen);
            prop_assert!(name.len() <= reallen && name.starts_with('@'));
            prop_assert!(!name.contains(char::is_control), "{name:?}");
            let whole = format!(":{server}");
            prop_assert!(name.contains(&whole) || server.len() + HEAD_LEN > reallen - 10, "{name}");
            let head = &localpart[..localpart.len().min(HEAD_LEN)];
            prop_assert!(name.starts_with(&format!("@{head}")), "{name}");
        }

        #[test]
        fn r42_users_whose_ids_begin_alike_differ(a in "[a-z0-9]{1,9}", b in "[a-z0-9]{1,9}", reallen in 25_usize..40) {
            prop_assume!(a != b);
            let of = |end: &str| realname(&id(&format!("@the.same.long.beginning.{end}:matrix.example.org")), None, reallen);
            prop_assert_ne!(of(&a), of(&b));
        }
    }
}
