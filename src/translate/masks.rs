//! Channel lists: whom an entry hits, and what it does to them; and the entry that hits one person.
//!
//! Servers know more than `nick!user@host`: Solanum's `$a:account`, InspIRCd's `R:account` and `account:account`,
//! UnrealIRCd's `~account:account` and `~a:account`, and more. What an entry asks that we can't know (a certificate, a
//! country) hits nobody: a Matrix user is shown out only for what is sure. To teach another server's form, add its words
//! to [`Entry::read`], and a row to the table in the tests.

use crate::model::{CaseMapping, Isupport};

/// Somebody on IRC, as the server knows them.
#[derive(Debug, Clone, Copy)]
pub struct Persona<'a> {
    /// Their nick.
    pub nick: &'a str,
    /// The user name that is shown, if it is known.
    pub user: Option<&'a str>,
    /// The host that is shown, if it is known.
    pub host: Option<&'a str>,
    /// The account they are logged in to.
    pub account: Option<&'a str>,
    /// Their real name.
    pub realname: &'a str,
    /// The channels they are in.
    pub channels: &'a [&'a str],
}

/// What an entry of a list does to whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// They can't be heard.
    Mute,
    /// They can't come in, nor be heard.
    Bar,
}

/// Whom an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom<'a> {
    /// By `nick!user@host`.
    Mask(&'a str),
    /// By `nick!user@host` and real name.
    Full(&'a str, &'a str),
    /// Logged in to such an account; with none, to any.
    Account(Option<&'a str>),
    /// Not logged in, of this mask.
    Unidentified(&'a str),
    Realname(&'a str),
    /// In this channel.
    Member(&'a str),
    /// Who can't be known.
    Unknown,
}

/// An entry of a list, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    /// `None`: what it does is of no interest here.
    act: Option<Act>,
    /// Whether everybody else is meant.
    not: bool,
    whom: Whom<'a>,
}

/// What the entry `mask` of the list `letter` does to somebody; `None`: nothing that we know of.
#[must_use]
pub fn effect(isupport: &Isupport, letter: char, mask: &str, persona: &Persona<'_>) -> Option<Act> {
    let entry = Entry::read(isupport, letter, mask);
    entry.act.filter(|_| entry.hits(isupport.casemapping, persona) == Some(true))
}

/// Whether the entry `mask` of the list of exceptions (`e`) keeps somebody from `act`.
#[must_use]
pub fn exempts(isupport: &Isupport, mask: &str, act: Act, persona: &Persona<'_>) -> bool {
    effect(isupport, 'e', mask, persona).is_some_and(|from| from >= act)
}

/// The setting because of which somebody without a rank can't be heard, if any is on.
///
/// `M` hears only who is logged in; on Solanum that is `R`, and `M` is another thing.
#[must_use]
pub fn muting_mode(isupport: &Isupport, is_set: impl Fn(char) -> bool, logged_in: bool) -> Option<char> {
    let accounts_only = if matches!(&isupport.extban, Some((Some('$'), _))) { 'R' } else { 'M' };
    let is_on = |mode: &char| isupport.chanmodes[3].contains(*mode) && is_set(*mode);
    ['m', accounts_only].into_iter().filter(is_on).find(|mode| *mode == 'm' || !logged_in)
}

/// Whether an entry is about everybody, whoever they are.
#[must_use]
pub fn is_everybody(isupport: &Isupport, letter: char, mask: &str) -> bool {
    match Entry::read(isupport, letter, mask) {
        Entry { not: false, whom: Whom::Mask(mask) | Whom::Full(mask, "*"), .. } => {
            mask.contains('*') && mask.chars().all(|c| matches!(c, '*' | '!' | '@'))
        }
        _ => false,
    }
}

/// The entry that hits somebody and as few others as possible: by account, else by user name and host, else by nick.
#[must_use]
pub fn exactly(isupport: &Isupport, persona: &Persona<'_>) -> Option<String> {
    let is_plain = |word: &&str| {
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control() || "*?!@:,$".contains(c))
    };
    if let (Some(account), Some(name)) = (persona.account.filter(is_plain), account_extban(isupport)) {
        return Some(format!("{name}:{account}"));
    }
    // An address of IPv6 has colons, which do no harm behind an `@`.
    let host = persona.host.filter(|host| is_plain(&host.replace(':', ".").as_str()));
    match (persona.user.filter(is_plain), host) {
        (Some(user), Some(host)) => Some(format!("*!{user}@{host}")),
        (None, Some(host)) => Some(format!("*!*@{host}")),
        _ => Some(persona.nick).filter(is_plain).map(|nick| format!("{nick}!*@*")),
    }
}

/// How an entry by account begins, where the server has such.
fn account_extban(isupport: &Isupport) -> Option<String> {
    let (prefix, letters) = isupport.extban.as_ref()?;
    let letter = match prefix {
        Some('$' | '~') => 'a',
        _ => 'R',
    };
    let given = || isupport.account_extban.clone();
    let name = given().or_else(|| letters.contains(letter).then(|| letter.to_string()))?;
    Some(prefix.iter().collect::<String>() + &name)
}

impl<'a> Entry<'a> {
    fn read(isupport: &Isupport, letter: char, mask: &'a str) -> Self {
        let act = Some(if letter == 'q' { Act::Mute } else { Act::Bar });
        let mask = without_forward(isupport, mask);
        let plain = Entry { act, not: false, whom: Whom::Mask(mask) };
        let Some((prefix, letters)) = &isupport.extban else { return plain };
        match prefix {
            Some('$') => mask.strip_prefix('$').map_or(plain, |rest| solanum(act, rest)),
            Some(prefix) => mask.strip_prefix(*prefix).map_or(plain, |rest| unreal(isupport, plain, rest)),
            None => inspircd(isupport, letters, plain, mask).unwrap_or(plain),
        }
    }

    /// Whether somebody is meant; `None` if that can't be known.
    fn hits(&self, mapping: CaseMapping, persona: &Persona<'_>) -> Option<bool> {
        let is = |pattern: &str, text: &str| mapping.glob(pattern, text);
        let hit = match self.whom {
            Whom::Mask(mask) => masked(mapping, mask, persona)?,
            Whom::Full(mask, realname) => masked(mapping, mask, persona)? && is(realname, persona.realname),
            Whom::Account(None) => persona.account.is_some(),
            Whom::Account(Some(account)) => persona.account.is_some_and(|own| is(account, own)),
            Whom::Unidentified(mask) => persona.account.is_none() && masked(mapping, mask, persona)?,
            Whom::Realname(realname) => is(realname, persona.realname),
            Whom::Member(channel) => persona.channels.iter().any(|own| is(channel, own)),
            Whom::Unknown => return None,
        };
        Some(hit != self.not)
    }
}

/// Solanum: `$a:account`, `$~a`; without the `$`.
fn solanum(act: Option<Act>, rest: &str) -> Entry<'_> {
    let (not, rest) = rest.strip_prefix('~').map_or((false, rest), |rest| (true, rest));
    let (name, arg) = rest.split_once(':').map_or((rest, None), |(name, arg)| (name, Some(arg)));
    let whom = match (name, arg) {
        ("a", arg) => Whom::Account(arg),
        ("r", Some(realname)) => Whom::Realname(realname),
        ("x", Some(full)) => {
            let (mask, realname) = full.split_once('#').unwrap_or((full, "*"));
            Whom::Full(mask, realname)
        }
        ("c", Some(channel)) => Whom::Member(channel),
        _ => Whom::Unknown,
    };
    Entry { act, not, whom }
}

/// UnrealIRCd: `~account:name`, `~quiet:mask`; without the `~`.
fn unreal<'a>(isupport: &Isupport, plain: Entry<'a>, rest: &'a str) -> Entry<'a> {
    let unknown = Entry { whom: Whom::Unknown, ..plain };
    let Some((name, arg)) = rest.split_once(':') else { return unknown };
    // An entry may stand within another.
    let inner = |mask: &'a str| match mask.strip_prefix('~') {
        Some(rest) => unreal(isupport, Entry { whom: Whom::Unknown, ..plain }, rest),
        None => Entry { whom: Whom::Mask(mask), ..plain },
    };
    let whom = match name {
        "account" | "a" => match arg {
            "*" => Whom::Account(None),
            "0" => Whom::Unidentified("*"),
            account => Whom::Account(Some(account)),
        },
        "realname" | "r" => Whom::Realname(arg),
        "channel" | "c" => Whom::Member(arg.trim_start_matches(|c: char| !isupport.chantypes.contains(c))),
        "quiet" | "q" => return Entry { act: Some(Act::Mute), ..inner(arg) },
        // How many minutes, or to where, stands before the mask.
        "time" | "t" | "forward" | "f" => return arg.split_once(':').map_or(unknown, |(_, mask)| inner(mask)),
        // They forbid other things: to change the nick, to come in.
        "nickchange" | "n" | "join" | "j" | "text" | "T" | "partmsg" | "p" | "flood" | "F" | "msgbypass" | "m" => {
            return Entry { act: None, ..unknown };
        }
        _ => Whom::Unknown,
    };
    Entry { whom, ..plain }
}

/// InspIRCd, and Ergo: `R:account`, `!account:name`, `m:mask`. `None` if it is a plain mask.
fn inspircd<'a>(isupport: &Isupport, letters: &str, plain: Entry<'a>, mask: &'a str) -> Option<Entry<'a>> {
    let (not, rest) = mask.strip_prefix('!').map_or((false, mask), |rest| (true, rest));
    let (name, arg) = rest.split_once(':')?;
    let is_known = |name: &str| match name.len() {
        0 => false,
        1 => letters.contains(name),
        _ => name.bytes().all(|b| b.is_ascii_alphabetic()),
    };
    if !is_known(name) {
        return None;
    }
    let inner = |mask: &'a str| {
        let plain = Entry { whom: Whom::Mask(mask), ..plain };
        inspircd(isupport, letters, plain, mask).unwrap_or(plain)
    };
    let whom = match name {
        "R" | "account" => Whom::Account(Some(arg)),
        "r" | "realname" => Whom::Realname(arg),
        "a" | "realmask" => {
            let (mask, realname) = arg.split_once('+').unwrap_or((arg, "*"));
            Whom::Full(mask, realname)
        }
        "U" | "unauthed" => Whom::Unidentified(arg),
        "j" | "channel" => Whom::Member(arg.trim_start_matches(|c: char| !isupport.chantypes.contains(c))),
        "m" | "mute" => {
            let within = inner(arg);
            return Some(Entry { act: Some(Act::Mute), not: within.not != not, ..within });
        }
        "n" | "class" | "O" | "oper" | "opertype" | "s" | "server" | "G" | "country" | "w" | "gateway" | "z"
        | "fingerprint" | "o" => Whom::Unknown,
        // All others forbid something else to whom they hit.
        _ => return Some(Entry { act: None, not, whom: Whom::Unknown }),
    };
    Some(Entry { act: plain.act, not, whom })
}

/// An entry without the channel to which it sends whom it hits: `mask$#channel`.
fn without_forward<'a>(isupport: &Isupport, mask: &'a str) -> &'a str {
    match mask.rfind('$') {
        Some(at) if at > 0 && isupport.is_channel(&mask[at + 1..]) => &mask[..at],
        _ => mask,
    }
}

/// Whether somebody fits `nick!user@host`; `None` if that hangs on what isn't known of them. Servers take a part for the
/// whole: `nick`, `user@host`.
fn masked(mapping: CaseMapping, mask: &str, persona: &Persona<'_>) -> Option<bool> {
    let (nick, user, host) = match (mask.split_once('!'), mask.rsplit_once('@')) {
        (Some((nick, rest)), _) => {
            let (user, host) = rest.rsplit_once('@').unwrap_or((rest, "*"));
            (nick, user, host)
        }
        (None, Some((user, host))) => ("*", user, host),
        (None, None) => (mask, "*", "*"),
    };
    let part = |pattern: &str, text: Option<&str>| match text {
        Some(text) => Some(mapping.glob(pattern, text)),
        None => pattern.bytes().all(|b| b == b'*').then_some(true),
    };
    let parts = [part(nick, Some(persona.nick)), part(user, persona.user), part(host, persona.host)];
    if parts.contains(&Some(false)) { Some(false) } else { parts.iter().all(Option::is_some).then_some(true) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_extbans(prefix: Option<char>, letters: &str) -> Isupport {
        Isupport { extban: Some((prefix, letters.into())), ..Isupport::default() }
    }

    const ALICE: Persona<'_> = Persona {
        nick: "Alice[m]",
        user: Some("~alice"),
        host: Some("2001:db8::7"),
        account: Some("Ally"),
        realname: "@alice:example.org",
        channels: &["#tea", "#milk"],
    };
    const BOB: Persona<'_> = Persona { nick: "bob", account: None, realname: "@bob:evil.example", ..ALICE };

    /// What the entries do to Alice and to Bob: `b` bars, `m` mutes, `-` is nothing.
    fn check(isupport: &Isupport, table: &[(char, &str, &str)]) {
        for (letter, mask, expected) in table {
            let show = |persona| match effect(isupport, *letter, mask, persona) {
                Some(Act::Bar) => 'b',
                Some(Act::Mute) => 'm',
                None => '-',
            };
            assert_eq!(format!("{}{}", show(&ALICE), show(&BOB)), *expected, "{letter} {mask}");
        }
    }

    #[test]
    fn plain_masks_hit_whom_servers_hit() {
        let table = [
            ('b', "*!*@*", "bb"),
            ('b', "alice{M}!*@*", "b-"),
            ('b', "ALICE[m]", "b-"),
            ('b', "*!*lice@2001:DB8::*", "bb"),
            ('b', "*!~a?ice@*", "bb"),
            ('b', "~alice@2001:db8::7", "bb"),
            ('b', "bob!*@elsewhere", "--"),
            ('q', "bob!*@*", "-m"),
            ('b', "bob!*@*$#other", "-b"),
            ('b', "$a:Ally", "--"),
            ('b', "", "--"),
        ];
        check(&Isupport::default(), &table);
        check(&with_extbans(Some('$'), "ajrxz"), &table[..9]);
        let nobody = Persona { user: None, host: None, ..ALICE };
        let hits = |mask| effect(&Isupport::default(), 'b', mask, &nobody);
        assert_eq!((hits("alice[m]!*@*"), hits("*!~alice@*"), hits("bob!x@*")), (Some(Act::Bar), None, None));
    }

    #[test]
    fn solanums_forms() {
        check(
            &with_extbans(Some('$'), "acjrxz"),
            &[
                ('b', "$a", "b-"),
                ('b', "$a:ally", "b-"),
                ('b', "$a:al*$#other", "b-"),
                ('q', "$~a", "-m"),
                ('b', "$~a:ally", "-b"),
                ('b', "$r:*evil*", "-b"),
                ('b', "$x:*!*@*#@bob*", "-b"),
                ('b', "$x:bob!*@*", "-b"),
                ('b', "$c:#milk", "bb"),
                ('b', "$j:#elsewhere", "--"),
                ('b', "$z", "--"),
                ('b', "$~z", "--"),
            ],
        );
    }

    #[test]
    fn inspircds_forms() {
        check(
            &with_extbans(None, "ACNOQRSTUacjmnrswz"),
            &[
                ('b', "R:ally", "b-"),
                ('b', "account:ALLY", "b-"),
                ('b', "!R:ally", "-b"),
                ('b', "r:*evil*", "-b"),
                ('b', "realname:@alice*", "b-"),
                ('b', "a:*!*@*+*evil*", "-b"),
                ('b', "m:bob!*@*", "-m"),
                ('b', "mute:R:ally", "m-"),
                ('b', "m:!R:ally", "-m"),
                ('b', "U:*!*@*", "-b"),
                ('b', "m:U:*", "-m"),
                ('b', "j:@#milk", "bb"),
                ('b', "s:irc.example", "--"),
                ('b', "!s:irc.example", "--"),
                ('b', "N:*!*@*", "--"),
                ('b', "noctcp:*!*@*", "--"),
                ('b', "*!*@2001:db8::7", "bb"),
                ('b', "bob!*@*", "-b"),
            ],
        );
        // Ergo has no more than this one.
        check(&with_extbans(None, "m"), &[('b', "m:bob!*@*", "-m"), ('b', "R:ally", "--")]);
    }

    #[test]
    fn unreals_forms() {
        check(
            &with_extbans(Some('~'), "acfjnpqrtACGOST"),
            &[
                ('b', "~account:ally", "b-"),
                ('b', "~a:Ally", "b-"),
                ('b', "~a:*", "b-"),
                ('b', "~a:0", "-b"),
                ('b', "~realname:*evil*", "-b"),
                ('b', "~r:*evil*", "-b"),
                ('b', "~quiet:bob!*@*", "-m"),
                ('b', "~q:~a:ally", "m-"),
                ('b', "~time:60:~q:bob!*@*", "-m"),
                ('b', "~t:60:bob!*@*", "-b"),
                ('b', "~forward:#other:bob!*@*", "-b"),
                ('b', "~c:@#milk", "bb"),
                ('b', "~nickchange:*!*@*", "--"),
                ('b', "~j:*!*@*", "--"),
                ('b', "~S:abc", "--"),
                ('b', "~", "--"),
                ('b', "bob!*@*", "-b"),
            ],
        );
    }

    #[test]
    fn r47_the_modes_that_silence_are_known() {
        let chanmodes = || ["b".into(), "k".into(), "l".into(), "imnpstMRz".into()];
        let plain = Isupport { chanmodes: chanmodes(), ..with_extbans(None, "m") };
        let solanum = Isupport { chanmodes: chanmodes(), ..with_extbans(Some('$'), "a") };
        for (isupport, set, logged_in, mode) in [
            (&plain, "mn", true, Some('m')),
            (&plain, "M", false, Some('M')),
            (&plain, "M", true, None),
            (&plain, "Rz", false, None),
            (&solanum, "R", false, Some('R')),
            (&solanum, "M", false, None),
            (&Isupport::default(), "M", false, None),
        ] {
            assert_eq!(muting_mode(isupport, |mode| set.contains(mode), logged_in), mode, "{set}");
        }
    }

    #[test]
    fn exceptions_keep_from_what_they_are_about() {
        let isupport = with_extbans(None, "mR");
        for (mask, from_mute, from_bar) in [
            ("alice[m]!*@*", true, true),
            ("m:alice[m]!*@*", true, false),
            ("R:ally", true, true),
            ("bob", false, false),
        ] {
            assert_eq!(exempts(&isupport, mask, Act::Mute, &ALICE), from_mute, "{mask}");
            assert_eq!(exempts(&isupport, mask, Act::Bar, &ALICE), from_bar, "{mask}");
        }
    }

    #[test]
    fn what_is_about_everybody_is_known() {
        let isupport = with_extbans(None, "mU");
        for (mask, everybody) in [
            ("*!*@*", true),
            ("*", true),
            ("m:*!*@*", true),
            ("*!*@*.example", false),
            ("?*!*@*", false),
            ("U:*", false),
            ("!m:*", false),
        ] {
            assert_eq!(is_everybody(&isupport, 'b', mask), everybody, "{mask}");
        }
    }

    #[test]
    fn somebody_is_hit_as_exactly_as_the_server_allows() {
        let accounts = Isupport { account_extban: Some("account".into()), ..with_extbans(Some('~'), "a") };
        for (isupport, alice, bob) in [
            (Isupport::default(), "*!~alice@2001:db8::7", "*!~alice@2001:db8::7"),
            (with_extbans(Some('$'), "ajrxz"), "$a:Ally", "*!~alice@2001:db8::7"),
            (with_extbans(None, "Rm"), "R:Ally", "*!~alice@2001:db8::7"),
            (with_extbans(None, "m"), "*!~alice@2001:db8::7", "*!~alice@2001:db8::7"),
            (with_extbans(Some('~'), "aq"), "~a:Ally", "*!~alice@2001:db8::7"),
            (accounts, "~account:Ally", "*!~alice@2001:db8::7"),
        ] {
            assert_eq!(exactly(&isupport, &ALICE).as_deref(), Some(alice));
            assert_eq!(exactly(&isupport, &BOB).as_deref(), Some(bob));
            let mask = exactly(&isupport, &ALICE).unwrap();
            assert_eq!(effect(&isupport, 'b', &mask, &ALICE), Some(Act::Bar), "{mask}");
        }
        let isupport = with_extbans(Some('$'), "a");
        let bare = Persona { user: None, host: None, account: Some("a*"), ..ALICE };
        assert_eq!(exactly(&isupport, &bare).as_deref(), Some("Alice[m]!*@*"));
        assert_eq!(exactly(&isupport, &Persona { nick: "a b", ..bare }), None);
    }

    proptest! {
        #[test]
        fn any_mask_is_read_and_a_made_one_hits_whom_it_is_made_for(
            mask in "[$~!a-zRmU:*?#@+ ä]{0,20}", prefix in prop_oneof![Just(None), Just(Some('$')), Just(Some('~'))],
            nick in "[a-z\\[\\]]{1,9}", user in proptest::option::of("~?[a-z]{1,9}"), account in proptest::option::of("[a-z]{1,9}"),
        ) {
            let isupport = with_extbans(prefix, "aRmUjr");
            let persona = Persona { nick: &nick, user: user.as_deref(), account: account.as_deref(), ..ALICE };
            for letter in ['b', 'q', 'e'] {
                let _ = effect(&isupport, letter, &mask, &persona);
            }
            let made = exactly(&isupport, &persona).expect("they are plain");
            prop_assert_eq!(effect(&isupport, 'b', &made, &persona), Some(Act::Bar), "{}", made);
        }
    }
}
