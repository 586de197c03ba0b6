//! What a server means when it closes the door: bans, throttles and errors told apart (R44, R45).
//!
//! Servers say it only in words, each in its own. To teach the session another server's, add its words to [`WORDS`]
//! and its whole line to the tests.

/// What the end of a connection means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// Nothing special: the network, a restart, a flood. Try again soon.
    Lost,
    /// Our links came too often: all of them are to wait for a while.
    Throttled,
    /// Somebody sent us away, or there is no nick for us: try again in a while.
    Later,
    /// There is no room: try again later.
    Full,
    /// Nothing more may be tried until a person acts.
    Banned,
}

impl Closing {
    /// Whether it asks us to wait.
    pub(super) const fn is_pause(self) -> bool {
        matches!(self, Self::Throttled)
    }
}

/// The marks of a ban list's entry. The rest of such a line is an operator's reason, which may hold any words.
const ENTRIES: &[&str] =
    &[":line", "-line", "kline", "gline", "zline", "dline", "xline", "akill", "shunned", "autokill"];

/// Words by which servers say that an entry of a ban list is but a pause, which they made themselves.
const PAUSES: &[&str] = &[
    "throttl",
    "connecting too fast",
    "reconnect too fast",
    "temporarily",
    "wait a while",
    "try again later",
    "connect too many times",
];

/// Words, lower-cased, and what they mean; the first that is found counts. Throttles and full servers stand before
/// bans, as some servers speak of a ban when they mean a pause.
const WORDS: &[(&str, Closing)] = &[
    ("throttl", Closing::Throttled),
    ("too fast", Closing::Throttled),
    ("too quickly", Closing::Throttled),
    ("reconnecting too", Closing::Throttled),
    ("connection flood", Closing::Throttled),
    ("try again later", Closing::Throttled),
    ("server is full", Closing::Full),
    ("server full", Closing::Full),
    ("too many", Closing::Full),
    ("no more connections", Closing::Full),
    ("maximum connections", Closing::Full),
    ("maximum number of connections", Closing::Full),
    ("connection limit", Closing::Full),
    ("connection class", Closing::Full),
    ("class is full", Closing::Full),
    ("excess flood", Closing::Lost),
    ("recvq exceeded", Closing::Lost),
    ("sendq exceeded", Closing::Lost),
    ("banned", Closing::Banned),
    ("bad user info", Closing::Banned),
    ("not welcome", Closing::Banned),
    ("access denied", Closing::Banned),
    ("not authorized", Closing::Banned),
    ("not authorised", Closing::Banned),
    ("unauthorized connection", Closing::Banned),
    ("unauthorised connection", Closing::Banned),
    ("no authorization", Closing::Banned),
    ("no authorisation", Closing::Banned),
    ("sasl access only", Closing::Banned),
    ("log in with sasl", Closing::Banned),
    ("login with sasl", Closing::Banned),
    ("password mismatch", Closing::Banned),
    ("bad password", Closing::Banned),
    ("invalid password", Closing::Banned),
    ("killed", Closing::Later),
];

/// What the words of an ERROR line mean.
pub(super) fn classify(words: &str) -> Closing {
    let lower = words.to_ascii_lowercase();
    if ENTRIES.iter().any(|sign| lower.contains(sign)) {
        return classify_ban(words);
    }
    WORDS.iter().find(|(sign, _)| lower.contains(sign)).map_or(Closing::Lost, |(_, closing)| *closing)
}

/// What the words of a ban mean, which hold a reason that somebody wrote.
pub(super) fn classify_ban(words: &str) -> Closing {
    let words = words.to_ascii_lowercase();
    if PAUSES.iter().any(|sign| words.contains(sign)) { Closing::Throttled } else { Closing::Banned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r44_a_bans_reason_makes_it_no_pause() {
        for (words, closing) in [
            ("You are banned from this server- Too many abusive bots from your homeserver", Closing::Banned),
            ("You're banned! Your network has reached the connection limit", Closing::Banned),
            ("Your IP is temporarily banned: connecting too fast", Closing::Throttled),
            ("Reconnecting too fast, throttled", Closing::Throttled),
        ] {
            assert_eq!(classify_ban(words), closing, "{words}");
        }
    }

    #[test]
    fn r44_r45_bans_throttles_and_errors_are_told_apart_on_every_server() {
        use Closing::{Banned, Full, Later, Lost, Throttled};
        let table = [
            // Solanum, charybdis, hybrid
            ("Closing Link: 192.0.2.1 (K-Lined)", Banned),
            ("Closing Link: 192.0.2.1 (*** Banned: spam)", Banned),
            ("Closing Link: 192.0.2.1 (D-Lined)", Banned),
            ("Closing Link: 192.0.2.1 (Bad user info)", Banned),
            ("Closing Link: 192.0.2.1 (SASL access only)", Banned),
            ("You have been D-lined.", Banned),
            ("Trying to reconnect too fast.", Throttled),
            ("Reconnecting too fast, throttled.", Throttled),
            ("Closing Link: 192.0.2.1 (Too many host connections (local))", Full),
            ("Closing Link: 192.0.2.1 (Too many user connections (global))", Full),
            ("Closing Link: 192.0.2.1 (No more connections allowed in your connection class)", Full),
            ("Closing Link: 192.0.2.1 (Server is full)", Full),
            ("Closing Link: 192.0.2.1 (Sorry, server is full - try later)", Full),
            ("Closing Link: 192.0.2.1 (Ping timeout: 264 seconds)", Lost),
            ("Closing Link: 192.0.2.1 (Excess Flood)", Lost),
            ("Closing Link: 192.0.2.1 (Max SendQ exceeded)", Lost),
            ("Closing Link: 192.0.2.1 (Server shutting down)", Lost),
            ("Closing Link: 192.0.2.1 (Killed (oper (go away)))", Later),
            // InspIRCd
            ("Closing link: (~u@192.0.2.1) [K-lined: spam]", Banned),
            ("Closing link: (unknown@192.0.2.1) [Z-lined: spam]", Banned),
            ("Closing link: (unknown@192.0.2.1) [G-lined: 2 bots]", Banned),
            ("Closing link: (unknown@192.0.2.1) [Your IP is temporarily banned: connecting too fast]", Throttled),
            ("Closing link: (unknown@192.0.2.1) [Trying to connect too many times in a short period]", Full),
            (
                "Closing link: (unknown@192.0.2.1) [No more connections allowed from your host via this connect class (local)]",
                Full,
            ),
            ("Closing link: (~u@192.0.2.1) [RecvQ exceeded]", Lost),
            ("Closing link: (~u@192.0.2.1) [Registration timeout]", Lost),
            (
                "Closing link: (unknown@192.0.2.1) [You are not allowed to connect to this server: access denied]",
                Banned,
            ),
            ("Closing link: (~u@192.0.2.1) [G-lined: spamming too fast]", Banned),
            ("Closing link: (~u@192.0.2.1) [K-lined: too many bots, try a connection limit]", Banned),
            (
                "Closing link: (unknown@192.0.2.1) [Z-lined: Your IP range has been attempting to connect too many times in too short a duration. Wait a while, and you will be able to connect.]",
                Throttled,
            ),
            // Unreal
            ("Closing Link: nick[192.0.2.1] (User has been banned from ExampleNet (spam))", Banned),
            ("Closing Link: nick[192.0.2.1] (Z:Lined (spam))", Banned),
            ("Closing Link: [192.0.2.1] (Throttled: Reconnecting too fast) -- see https://example.org", Throttled),
            ("Closing Link: nick[192.0.2.1] (Too many connections from your IP)", Full),
            ("Closing Link: nick[192.0.2.1] (Too many unknown connections from your IP)", Full),
            ("Closing Link: host (You must log in with SASL to join this server)", Banned),
            ("Closing Link: 192.0.2.1 (SASL access only)", Banned),
            ("Closing Link: host (No Authorization)", Banned),
            // ngIRCd
            ("Too many connections!", Full),
            ("Access denied: Bad password?", Banned),
            ("Client closed connection", Lost),
            // ergo
            ("You are banned from this server (spam)", Banned),
            ("You have connected too many times within a short time", Full),
            ("Too many clients from your network", Full),
            ("Quit: bye", Lost),
            ("", Lost),
        ];
        for (words, closing) in table {
            assert_eq!(classify(words), closing, "{words}");
        }
    }
}
