//! What a server means when it closes the door: bans, throttles and errors told apart (R44, R45).
//!
//! Servers say it only in words, each in its own. To teach the session another server's, add its words to [`WORDS`]
//! and its whole line to the tests.

/// What the end of a connection means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// Nothing special: the network, a restart, a flood. Try again soon.
    Lost,
    /// We came too often, or somebody sent us away: try again in a while.
    Throttled,
    /// There is no room: try again later.
    Full,
    /// Nothing more may be tried until a person acts.
    Banned,
}

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
    (":line", Closing::Banned),
    ("-line", Closing::Banned),
    ("kline", Closing::Banned),
    ("gline", Closing::Banned),
    ("zline", Closing::Banned),
    ("dline", Closing::Banned),
    ("shunned", Closing::Banned),
    ("akill", Closing::Banned),
    ("banned", Closing::Banned),
    ("bad user info", Closing::Banned),
    ("not welcome", Closing::Banned),
    ("access denied", Closing::Banned),
    ("not authorized", Closing::Banned),
    ("not authorised", Closing::Banned),
    ("unauthorized connection", Closing::Banned),
    ("unauthorised connection", Closing::Banned),
    ("sasl access only", Closing::Banned),
    ("password mismatch", Closing::Banned),
    ("bad password", Closing::Banned),
    ("invalid password", Closing::Banned),
    ("killed", Closing::Throttled),
];

/// What the words of an ERROR line mean.
pub(super) fn classify(words: &str) -> Closing {
    let words = words.to_ascii_lowercase();
    WORDS.iter().find(|(sign, _)| words.contains(sign)).map_or(Closing::Lost, |(_, closing)| *closing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r44_r45_bans_throttles_and_errors_are_told_apart_on_every_server() {
        use Closing::{Banned, Full, Lost, Throttled};
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
            ("Closing Link: 192.0.2.1 (Killed (oper (go away)))", Throttled),
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
            // Unreal
            ("Closing Link: nick[192.0.2.1] (User has been banned from ExampleNet (spam))", Banned),
            ("Closing Link: nick[192.0.2.1] (Z:Lined (spam))", Banned),
            ("Closing Link: [192.0.2.1] (Throttled: Reconnecting too fast) -- see https://example.org", Throttled),
            ("Closing Link: nick[192.0.2.1] (Too many connections from your IP)", Full),
            ("Closing Link: nick[192.0.2.1] (Too many unknown connections from your IP)", Full),
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
