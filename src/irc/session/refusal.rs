//! What a server means when it closes the door: bans, throttles and errors told apart (R44, R45).
//!
//! Servers say it only in words, each in its own, and put words of people behind them. To teach the session another
//! server's, add its words to [`WORDS`] (or, for a pause that looks like a ban, its whole sentence to [`PAUSES`]), and
//! its whole line to the tests.

/// What the end of a connection means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// Nothing special: the network, a restart, a flood. Try again soon.
    Lost,
    /// Our links came too often: all of them are to wait for a while.
    Throttled,
    /// A person sent this link away, or there is no nick for it: it tries again in a while.
    Later,
    /// There is no room: try again later.
    Full,
    /// Nothing more may be tried until a person acts.
    Banned,
}

impl Closing {
    /// Whether it asks all of our links to wait.
    pub(super) const fn is_pause(self) -> bool {
        matches!(self, Self::Throttled)
    }
}

/// Whole sentences by which servers themselves say that they only pause, lower-cased and without their full stop, where
/// else the words would be those of a ban.
const PAUSES: &[&str] = &[
    "your host is trying to reconnect too fast, throttled",
    "your host is trying to (re)connect too fast -- throttled",
    "reconnecting too fast, throttled",
    "trying to reconnect too fast",
    "your ip is temporarily banned: connecting too fast",
    "you have attempted to connect too many times within a short duration. wait a while, and you will be able to connect",
    "z-lined: your ip range has been attempting to connect too many times in too short a duration. wait a while, and you will be able to connect",
];

/// Words, lower-cased, and what they mean. What stands first in the line counts, as it is the server's: behind the mark
/// of a ban or a kill may follow an operator's reason with any words. Of those that begin at the same place, the
/// first here counts.
const WORDS: &[(&str, Closing)] = &[
    ("throttl", Closing::Throttled),
    ("too fast", Closing::Throttled),
    ("too quickly", Closing::Throttled),
    ("reconnecting too", Closing::Throttled),
    ("connection flood", Closing::Throttled),
    ("try again later", Closing::Throttled),
    ("too many times", Closing::Throttled),
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
    ("xline", Closing::Banned),
    ("akill", Closing::Banned),
    ("autokill", Closing::Banned),
    ("shunned", Closing::Banned),
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
    ("local kill", Closing::Later),
];

/// What the words of an ERROR line mean.
pub(super) fn classify(words: &str) -> Closing {
    let words = words.to_ascii_lowercase();
    let said = without_frame(&words);
    if is_pause(said) {
        return Closing::Throttled;
    }
    let found = WORDS.iter().filter_map(|(sign, closing)| said.find(sign).map(|at| (at, *closing)));
    found.min_by_key(|(at, _)| *at).map_or(Closing::Lost, |(_, closing)| closing)
}

/// What the words mean by which a server tells of a ban: nothing else, unless all of them are its own.
pub(super) fn classify_ban(words: &str) -> Closing {
    let words = words.to_ascii_lowercase();
    if is_pause(without_frame(&words)) { Closing::Throttled } else { Closing::Banned }
}

fn is_pause(said: &str) -> bool {
    PAUSES.contains(&said.trim_start_matches(['(', '[']).trim_end_matches(['.', ')', ']']))
}

/// What is said in `closing link: nick[host] (…)`: names of users and hosts, which may hold any words, are no part of it.
fn without_frame(words: &str) -> &str {
    let Some(framed) = words.strip_prefix("closing link: ") else { return words };
    match framed.split_once(' ') {
        // No name: the words themselves are in brackets.
        Some((name, _)) if name.starts_with(['(', '[']) && !name.ends_with([')', ']']) => framed,
        Some((_, said)) => said.split_once(['(', '[']).map_or(said, |(_, said)| said),
        None => framed,
    }
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
            (
                "You have attempted to connect too many times within a short duration. Wait a while, and you will be able to connect.",
                Closing::Throttled,
            ),
            ("Temporarily banned for flooding", Closing::Banned),
            ("You are banned from this server- Temporary K-line 5 min. - try again later", Closing::Banned),
            ("You are banned from this server- reconnecting too fast, throttled", Closing::Banned),
            ("You are banned from this server- wait a while (2026/1/1 12.00)", Closing::Banned),
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
            ("Closing link: (unknown@192.0.2.1) [Trying to connect too many times in a short period]", Throttled),
            ("Closing link: (~u@192.0.2.1) [K-lined: Temporarily banned for flooding]", Banned),
            ("Closing link: (~u@192.0.2.1) [G-lined: throttled, try again later]", Banned),
            ("Closing link: (~u@192.0.2.1) [Killed (oper (you are talking too fast))]", Later),
            ("Closing link: (~u@192.0.2.1) [Killed (oper (no, you are not welcome here today))]", Later),
            ("Closing link: (~u@192.0.2.1) [Killed (oper (next time it is a k-line))]", Later),
            ("Closing link: (banned@192.0.2.1) [Server shutdown]", Lost),
            ("Closing Link: (Killed (oper (too fast)))", Later),
            ("Closing Link: (K-lined: you are throttled)", Banned),
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
            (
                "Closing Link: nick[192.0.2.1] (User has been banned from ExampleNet (too many times, try again later))",
                Banned,
            ),
            ("Closing Link: killed[m][192.0.2.1] (Ping timeout: 264 seconds)", Lost),
            ("Closing Link: nick[192.0.2.1] ([192.0.2.1] Local kill by oper (too fast))", Later),
            ("Closing Link: nick[192.0.2.1] (Killed by oper (server is full of you))", Later),
            ("Closing Link: nick[192.0.2.1] (Z:Lined (spam))", Banned),
            ("Closing Link: [192.0.2.1] (Throttled: Reconnecting too fast) -- see https://example.org", Throttled),
            ("Closing Link: nick[192.0.2.1] (Too many connections from your IP)", Full),
            ("Closing Link: nick[192.0.2.1] (Too many unknown connections from your IP)", Full),
            ("Closing Link: host (You must log in with SASL to join this server)", Banned),
            ("Closing Link: 192.0.2.1 (SASL access only)", Banned),
            ("Closing Link: host (No Authorization)", Banned),
            // ngIRCd
            ("KILLed by oper: too many lines", Later),
            ("Too many connections!", Full),
            ("Access denied: Bad password?", Banned),
            ("Client closed connection", Lost),
            // ergo
            ("You are banned from this server (spam)", Banned),
            ("You are banned from this server (wait a while, throttled)", Banned),
            (
                "You have attempted to connect too many times within a short duration. Wait a while, and you will be able to connect.",
                Throttled,
            ),
            ("You have connected too many times within a short time", Throttled),
            ("Too many clients from your network", Full),
            ("Quit: bye", Lost),
            ("", Lost),
        ];
        for (words, closing) in table {
            assert_eq!(classify(words), closing, "{words}");
        }
    }
}
