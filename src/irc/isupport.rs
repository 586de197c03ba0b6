//! RPL_ISUPPORT (005): what a server says of itself, read into [`Isupport`], with every number kept sane.
//!
//! To understand another token, add it to `apply_token` and to the table in the tests.
//! <https://modern.ircdocs.horse/#rplisupport-parameters>

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{CaseMapping, Isupport};

/// Reads the tokens of one 005 line (without the nick before and the words after them) into `isupport`.
pub fn apply<'a>(isupport: &mut Isupport, tokens: impl Iterator<Item = &'a str>) {
    for token in tokens {
        if let Some(name) = token.strip_prefix('-') {
            reset_token(isupport, name);
        } else {
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            apply_token(isupport, name, &unescape(value));
        }
    }
}

/// What is known of a server from its 004 alone: longest real names, where the software doesn't tell them in 005.
#[must_use]
pub fn namelen_of(version: &str) -> Option<usize> {
    let version = version.to_ascii_lowercase();
    let known = [("ngircd", 32), ("solanum", 50), ("charybdis", 50), ("hybrid", 50), ("unreal", 50)];
    known.iter().find(|(software, _)| version.starts_with(software)).map(|(_, namelen)| *namelen)
}

fn apply_token(to: &mut Isupport, name: &str, value: &str) {
    match name {
        "CASEMAPPING" => to.casemapping = CaseMapping::from_token(value),
        "CHANTYPES" => to.chantypes = punctuation(value),
        "PREFIX" => to.prefix = prefix(value).unwrap_or_else(|| std::mem::take(&mut to.prefix)),
        "CHANMODES" => to.chanmodes = chanmodes(value),
        "STATUSMSG" => to.statusmsg = punctuation(value),
        "NICKLEN" => to.nicklen = number(value, 1, 512).or(to.nicklen),
        // The longest nick that anybody may have, for instance on another server of the network; ours may be shorter.
        "MAXNICKLEN" => to.nicklen = to.nicklen.or(number(value, 1, 512)),
        "USERLEN" => to.userlen = number(value, 1, 512).or(to.userlen),
        "NAMELEN" => to.namelen = number(value, 1, 4096).or(to.namelen),
        "CHANNELLEN" => to.channellen = number(value, 2, 512).unwrap_or(to.channellen),
        "TOPICLEN" => to.topiclen = number(value, 1, 8192).unwrap_or(to.topiclen),
        "KICKLEN" => to.kicklen = number(value, 1, 8192).unwrap_or(to.kicklen),
        // A server can't make lines shorter than the 512 bytes that all of IRC is made for.
        "LINELEN" => to.linelen = number(value, 512, 16_384).unwrap_or(to.linelen),
        // No number means no limit; no line has room for more than this.
        "MODES" => to.modes = if value.is_empty() { 100 } else { number(value, 1, 100).unwrap_or(to.modes) },
        "TARGMAX" => to.max_join_targets = targmax_join(value),
        "EXTBAN" => to.extban = extban(value),
        // The first of several names.
        "ACCOUNTEXTBAN" => {
            let name: String = value.chars().take_while(char::is_ascii_alphabetic).take(32).collect();
            to.account_extban = Some(name).filter(|name| !name.is_empty());
        }
        "WHOX" => to.whox = true,
        "NETWORK" => to.network = Some(value.chars().take(64).collect()).filter(|name: &String| !name.is_empty()),
        "BOT" => to.bot_mode = value.chars().next().filter(char::is_ascii_alphabetic),
        "UTF8ONLY" => to.utf8only = true,
        _ => {}
    }
}

/// `-TOKEN`: back to what a server has that doesn't speak of it.
fn reset_token(to: &mut Isupport, name: &str) {
    let default = Isupport::default();
    match name {
        "CASEMAPPING" => to.casemapping = default.casemapping,
        "CHANTYPES" => to.chantypes = default.chantypes,
        "PREFIX" => to.prefix = default.prefix,
        "CHANMODES" => to.chanmodes = default.chanmodes,
        "STATUSMSG" => to.statusmsg = default.statusmsg,
        "NICKLEN" | "MAXNICKLEN" => to.nicklen = None,
        "USERLEN" => to.userlen = None,
        "NAMELEN" => to.namelen = None,
        "CHANNELLEN" => to.channellen = default.channellen,
        "TOPICLEN" => to.topiclen = default.topiclen,
        "KICKLEN" => to.kicklen = default.kicklen,
        "LINELEN" => to.linelen = default.linelen,
        "MODES" => to.modes = default.modes,
        "TARGMAX" => to.max_join_targets = None,
        "EXTBAN" => to.extban = None,
        "ACCOUNTEXTBAN" => to.account_extban = None,
        "WHOX" => to.whox = false,
        "NETWORK" => to.network = None,
        "BOT" => to.bot_mode = None,
        "UTF8ONLY" => to.utf8only = false,
        _ => {}
    }
}

fn number(value: &str, least: usize, most: usize) -> Option<usize> {
    value.parse().ok().filter(|n| (least..=most).contains(n))
}

/// Characters that may mark a channel or a rank: ASCII signs only, so that no letter of a nick becomes one.
fn punctuation(value: &str) -> String {
    value.chars().filter(|c| c.is_ascii_punctuation() && !matches!(c, ',' | ':')).take(16).collect()
}

/// `(ov)@+`; `None` if it isn't well formed.
fn prefix(value: &str) -> Option<Vec<(char, char)>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let (modes, prefixes) = value.strip_prefix('(')?.split_once(')')?;
    let same = modes.chars().count() == prefixes.chars().count() && modes.len() <= 32;
    let legal = modes.chars().all(|c| c.is_ascii_alphabetic()) && prefixes.chars().all(|c| c.is_ascii_punctuation());
    (same && legal).then(|| modes.chars().zip(prefixes.chars()).collect())
}

fn chanmodes(value: &str) -> [String; 4] {
    let mut kinds = value.split(',').map(|modes| modes.chars().filter(char::is_ascii_alphabetic).take(64).collect());
    std::array::from_fn(|_| kinds.next().unwrap_or_default())
}

/// `$,ajrxz`, or without a prefix `,ACR`.
fn extban(value: &str) -> Option<(Option<char>, String)> {
    let (prefix, letters) = value.split_once(',')?;
    let mut prefix = prefix.chars();
    let letters = letters.chars().filter(char::is_ascii_alphabetic).take(64).collect();
    match (prefix.next(), prefix.next()) {
        (prefix, None) if prefix.is_none_or(|c| c.is_ascii_punctuation()) => Some((prefix, letters)),
        _ => None,
    }
}

/// JOIN's share of `TARGMAX=JOIN:,KICK:1,…`; an empty number means no limit.
fn targmax_join(value: &str) -> Option<usize> {
    let join = value.split(',').find_map(|target| target.strip_prefix("JOIN:"))?;
    number(join, 1, 1000)
}

/// `\x20` is a blank; any `\xHH` is that byte, if it is a printable ASCII character.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("\\x") {
        let code = rest.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push_str(&rest[..at]);
        if let Some(byte) = code.filter(|b| (b' '..=b'~').contains(b)) {
            plain.push(char::from(byte));
            rest = &rest[at + 4..];
        } else {
            plain.push_str("\\x");
            rest = &rest[at + 2..];
        }
    }
    plain.push_str(rest);
    plain
}

/// What the servers of one network have said, so that a thousand links to which they said the same share one copy.
#[derive(Debug, Default)]
pub struct SharedIsupport(Mutex<Vec<Arc<Isupport>>>);

/// How many different ones are kept: servers of one network differ little.
const KEPT: usize = 4;

impl SharedIsupport {
    /// The shared copy that equals `isupport`, which becomes it if there is none, and is now the latest.
    #[must_use]
    pub fn share(&self, isupport: Isupport) -> Arc<Isupport> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match known.iter().position(|known| **known == isupport) {
            Some(same) => known.remove(same),
            None => Arc::new(isupport),
        };
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push(Arc::clone(&shared));
        shared
    }

    /// What was said last: the best guess of what a server of the network will say to the next link.
    #[must_use]
    pub fn latest(&self) -> Arc<Isupport> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.last().map(Arc::clone).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(tokens: &str) -> Isupport {
        let mut isupport = Isupport::default();
        apply(&mut isupport, tokens.split(' '));
        isupport
    }

    #[test]
    fn the_tokens_of_real_servers_are_read() {
        let libera = read(
            "WHOX FNC KNOCK SAFELIST ELIST=CMNTU CALLERID=g MONITOR=100 ETRACE CHANTYPES=# EXCEPTS INVEX \
             CHANMODES=eIbq,k,flj,CFLMPQRSTcgimnprstuz CHANLIMIT=#:250 PREFIX=(ov)@+ MAXLIST=bqeI:100 MODES=4 \
             NETWORK=Libera.Chat STATUSMSG=@+ CASEMAPPING=rfc1459 NICKLEN=16 MAXNICKLEN=16 CHANNELLEN=50 TOPICLEN=390 \
             DEAF=D TARGMAX=NAMES:1,LIST:1,KICK:1,WHOIS:1,PRIVMSG:4,NOTICE:4,ACCEPT:,MONITOR: EXTBAN=$,ajrxz",
        );
        assert_eq!(libera.prefix, [('o', '@'), ('v', '+')]);
        assert_eq!(libera.chanmodes[2], "flj");
        assert_eq!((libera.nicklen, libera.channellen, libera.modes), (Some(16), 50, 4));
        assert_eq!((libera.statusmsg.as_str(), libera.whox, libera.max_join_targets), ("@+", true, None));
        assert_eq!(libera.network.as_deref(), Some("Libera.Chat"));
        assert_eq!(libera.extban, Some((Some('$'), "ajrxz".into())));
        let inspircd = read("EXTBAN=,ACNOQRSTUcjmrz ACCOUNTEXTBAN=account,R");
        assert_eq!(inspircd.extban, Some((None, "ACNOQRSTUcjmrz".into())));
        assert_eq!(inspircd.account_extban.as_deref(), Some("account"));
        assert_eq!(read("EXTBAN=~,ac EXTBAN=~~,ac").extban, None);
        assert_eq!(read("EXTBAN=~,ac -EXTBAN ACCOUNTEXTBAN=a -ACCOUNTEXTBAN"), Isupport::default());
        let other =
            read("NETWORK=My\\x20Net BOT=B UTF8ONLY LINELEN=2048 TARGMAX=JOIN:10 PREFIX=(qaohv)~&@%+ USERLEN=10");
        assert_eq!(other.network.as_deref(), Some("My Net"));
        assert_eq!((other.bot_mode, other.utf8only, other.linelen), (Some('B'), true, 2048));
        assert_eq!((other.max_join_targets, other.prefix.len(), other.userlen), (Some(10), 5, Some(10)));
    }

    #[test]
    fn the_longest_nick_of_others_is_not_ours() {
        for tokens in ["NICKLEN=16 MAXNICKLEN=30", "MAXNICKLEN=30 NICKLEN=16"] {
            assert_eq!(read(tokens).nicklen, Some(16), "{tokens}");
        }
        assert_eq!(read("MAXNICKLEN=30").nicklen, Some(30));
    }

    #[test]
    fn what_is_taken_back_or_makes_no_sense_leaves_the_default() {
        assert_eq!(read("NICKLEN=9 -NICKLEN WHOX -WHOX LINELEN=1024 -LINELEN"), Isupport::default());
        assert_eq!(
            read("NICKLEN=0 CHANNELLEN=99999999999999999999 LINELEN=4 PREFIX=(ov)@ PREFIX=ov TOPICLEN=-1 MODES=x"),
            Isupport::default()
        );
        assert_eq!(read("NICKLEN=30 NICKLEN=0").nicklen, Some(30));
    }

    #[test]
    fn ngircd_is_known_by_its_version() {
        assert_eq!(namelen_of("ngircd-26.1"), Some(32));
        assert_eq!(namelen_of("solanum-1.0-dev"), Some(50));
        assert_eq!(namelen_of("InspIRCd-4"), None);
    }

    #[test]
    fn links_share_what_is_the_same() {
        let shared = SharedIsupport::default();
        let a = shared.share(read("NICKLEN=9"));
        assert!(Arc::ptr_eq(&a, &shared.share(read("NICKLEN=9"))));
        for nicklen in 10..30 {
            let _ = shared.share(read(&format!("NICKLEN={nicklen}")));
        }
        assert_eq!(shared.0.lock().unwrap().len(), KEPT);
        assert!(Arc::ptr_eq(&shared.share(read("NICKLEN=28")), &shared.latest()));
    }

    proptest! {
        #[test]
        fn any_token_is_survived_within_bounds(tokens in prop::collection::vec(
            "(-)?(CASEMAPPING|CHANTYPES|PREFIX|CHANMODES|NICKLEN|LINELEN|TARGMAX|NETWORK|BOT)(=([(a-z)@+,:0-9]|\\\\x|ä){0,12})?", 0..20,
        )) {
            let isupport = read(&tokens.join(" "));
            prop_assert!((512..=16_384).contains(&isupport.linelen));
            prop_assert!(isupport.nicklen.is_none_or(|n| (1..=512).contains(&n)));
        }
    }
}
