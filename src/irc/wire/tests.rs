use proptest::prelude::*;

use super::*;

fn parts(line: &str) -> (Option<&str>, Vec<&str>) {
    let parsed = Line::parse(line.as_bytes()).unwrap();
    let params = parsed.params().map(|p| std::str::from_utf8(p).unwrap()).collect();
    (parsed.source.map(|s| std::str::from_utf8(s).unwrap()), params)
}

#[test]
fn lines_are_taken_apart() {
    let table: &[(&str, Option<&str>, &[&str])] = &[
        ("PING", None, &[]),
        ("PING :", None, &[""]),
        ("PING x", None, &["x"]),
        (":a!b@c PRIVMSG #c :hello  world ", Some("a!b@c"), &["#c", "hello  world "]),
        ("  :srv   005  me  A=1   B :are supported", Some("srv"), &["me", "A=1", "B", "are supported"]),
        ("@a=1;b :s TAGMSG #c", Some("s"), &["#c"]),
        ("@a=1   :s  TAGMSG   #c  ", Some("s"), &["#c"]),
        ("MODE #c +l  5", None, &["#c", "+l", "5"]),
        ("X a:b c", None, &["a:b", "c"]),
        (": PING x", Some(""), &["x"]),
    ];
    for (line, source, params) in table {
        assert_eq!(parts(line), (*source, params.to_vec()), "{line}");
    }
    let many = format!("005 me {}:end", "T ".repeat(40));
    assert_eq!(Line::parse(many.as_bytes()).unwrap().params().count(), 42);
}

#[test]
fn what_is_no_line_is_said_to_be_none() {
    for (line, why) in [
        ("", Malformed::Command),
        ("   ", Malformed::Command),
        (":only.source", Malformed::Command),
        ("@tags", Malformed::Command),
        (":s 12 me", Malformed::Command),
        ("PRIV-MSG x", Malformed::Command),
        ("PING \0", Malformed::Control),
        ("PING a\rQUIT", Malformed::Control),
    ] {
        assert_eq!(Line::parse(line.as_bytes()), Err(why), "{line:?}");
    }
}

#[test]
fn numerics_are_numbers_and_missing_params_are_empty() {
    let line = Line::parse(b":irc.x 433 *").unwrap();
    assert_eq!(line.numeric(), Some(numeric::ERR_NICKNAMEINUSE));
    assert_eq!((line.param(0), line.param(1), line.last_param()), (&b"*"[..], &b""[..], &b"*"[..]));
    assert_eq!(Line::parse(b"PING").unwrap().numeric(), None);
    assert_eq!(Line::parse(b":a!b@c X").unwrap().nick(), b"a");
    assert_eq!(Line::parse(b":irc.x X").unwrap().nick(), b"irc.x");
    assert_eq!(Line::parse(b"X").unwrap().nick(), b"");
}

#[test]
fn tags_are_found_and_unescaped() {
    let line = Line::parse(br"@time=1;+draft/x=a\:b\s\\\r\n\q\;msgid;msgidx=2;a= PING").unwrap();
    assert_eq!(line.tags.get("time"), Some(&b"1"[..]));
    assert_eq!(line.tags.get("msgid"), Some(&b""[..]));
    assert_eq!(line.tags.get("a"), Some(&b""[..]));
    assert_eq!(line.tags.get("draft/x"), None);
    assert_eq!(unescape(line.tags.get("+draft/x").unwrap()).as_ref(), b"a;b \\\r\nq");
    assert!(matches!(unescape(b"plain"), Cow::Borrowed(b"plain")));
}

/// Every constructor with the same hostile parameters: (which, command, params expected if it isn't refused).
type Row<'a> = (&'static str, Vec<&'a str>, Result<(), Illegal>, Vec<u8>);

fn every_constructor<'a>(a: &'a str, b: &'a str, c: &'a str, limit: usize) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let mut row = |command, params, write: &dyn Fn(LineWriter<'_>) -> Result<(), Illegal>| {
        let mut wire = Vec::new();
        let result = write(LineWriter::new(&mut wire, limit));
        rows.push((command, params, result, wire));
    };
    row("PRIVMSG", vec![a, b], &|w| w.privmsg(a, b));
    row("NOTICE", vec![a, b], &|w| w.notice(a, b));
    row("TOPIC", vec![a, b], &|w| w.topic(a, b));
    row("TOPIC", vec![a], &|w| w.ask_topic(a));
    row("NAMES", vec![a], &|w| w.names(a));
    row("WHOIS", vec![a], &|w| w.whois(a));
    row("KICK", vec![a, b, c], &|w| w.kick(a, b, Some(c)));
    row("KICK", vec![a, b], &|w| w.kick(a, b, None));
    row("PART", vec![a, b], &|w| w.part(a, Some(b)));
    row("PART", vec![a], &|w| w.part(a, None));
    row("JOIN", vec![a], &|w| w.join(&[(a, None)]));
    row("JOIN", vec![a, b], &|w| w.join(&[(a, Some(b))]));
    row("NICK", vec![a], &|w| w.nick(a));
    row("PASS", vec![a], &|w| w.pass(a));
    row("USER", vec![a, "0", "*", b], &|w| w.user(a, b));
    row("QUIT", vec![a], &|w| w.quit(a));
    row("PING", vec![a], &|w| w.ping(a));
    row("PONG", vec![a], &|w| w.pong(a.as_bytes()));
    row("CAP", vec![a, b], &|w| w.cap(a, Some(b)));
    row("AUTHENTICATE", vec![a], &|w| w.authenticate(a));
    row("LIST", vec![a, b, c], &|w| w.line("LIST", &[a, b], Some(c)));
    rows
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[#a-z]{1,20}", "(a|:| |,|\r|\n|\0|\x01|ä|🙂|QUIT){0,30}", "(ä|🙂|x){100,400}",]
}

proptest! {
    #[test]
    fn r104_every_constructor_makes_one_legal_line_or_none(
        a in hostile(), b in hostile(), c in hostile(), limit in prop_oneof![Just(512_usize), 0_usize..600],
    ) {
        for (command, params, result, wire) in every_constructor(&a, &b, &c, limit) {
            if result.is_err() {
                prop_assert!(wire.is_empty(), "{command}: bytes of a refused line");
                continue;
            }
            prop_assert!(wire.len() <= limit, "{command}: {} bytes", wire.len());
            let body = wire.strip_suffix(b"\r\n").expect("a line ends with CR LF");
            prop_assert!(!body.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')), "{command}: {body:?}");
            let line = Line::parse(body).expect("what we write we can read");
            prop_assert_eq!(line.command, command.as_bytes());
            prop_assert!(line.source.is_none() && line.tags == Tags(&[]));
            let read: Vec<&[u8]> = line.params().collect();
            prop_assert_eq!(read.len(), params.len(), "{}: another number of parameters", command);
            for (at, (read, meant)) in read.iter().zip(&params).enumerate() {
                let cut_allowed = at + 1 == params.len();
                prop_assert!(
                    *read == meant.as_bytes() || (cut_allowed && meant.as_bytes().starts_with(read)),
                    "{}: {:?} became {:?}", command, meant, read
                );
                prop_assert!(std::str::from_utf8(read).is_ok(), "{}: cut inside a character", command);
            }
        }
    }

    #[test]
    fn r104_names_never_become_two(a in hostile(), b in hostile(), key in hostile()) {
        let mut wire = Vec::new();
        if LineWriter::new(&mut wire, 512).join(&[(&a, None), (&b, Some(&key))]).is_ok() {
            let line = Line::parse(wire.strip_suffix(b"\r\n").unwrap()).unwrap();
            let names: Vec<&[u8]> = line.param(0).split(|b| *b == b',').collect();
            prop_assert_eq!(names, vec![b.as_bytes(), a.as_bytes()], "the channel with a key goes first");
            prop_assert_eq!(line.param(1), key.as_bytes());
        }
    }

    #[test]
    fn any_bytes_are_taken_apart_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(line) = Line::parse(&bytes) {
            let _ = (line.numeric(), line.nick(), line.last_param(), line.tags.get("time").map(unescape));
            prop_assert!(line.params().count() <= bytes.len());
        }
    }

    #[test]
    fn the_irc_crate_reads_the_same(
        source in prop::option::of("[a-z]{1,9}![a-z]{1,9}@[a-z.]{1,9}"),
        middles in prop::collection::vec("[^ :\r\n\0][^ \r\n\0]{0,8}", 0..12),
        trailing in "[^\r\n\0]{1,40}",
    ) {
        let source = source.map(|s| format!(":{s} ")).unwrap_or_default();
        let middles: String = middles.iter().flat_map(|middle| [middle, " "]).collect();
        let line = format!("{source}XYZ {middles}:{trailing}");
        let theirs: irc::proto::Message = line.parse().unwrap();
        let irc::proto::Command::Raw(command, args) = theirs.command else { panic!("XYZ is no command") };
        let ours = Line::parse(line.as_bytes()).unwrap();
        prop_assert_eq!(ours.command, command.as_bytes());
        prop_assert_eq!(ours.params().map(<[u8]>::to_vec).collect::<Vec<_>>(),
            args.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }
}

#[test]
fn a_label_is_a_tag_beyond_the_limit() {
    let mut wire = Vec::new();
    LineWriter::new(&mut wire, 20).labelled(Some(7)).privmsg("#c", "12345").unwrap();
    assert_eq!(wire, b"@label=7 PRIVMSG #c :12345\r\n");
    assert_eq!(LineWriter::new(&mut wire, 19).privmsg("#c", "12345678"), Err(Illegal::TooLong));
}

#[test]
fn long_reasons_are_cut_between_characters() {
    let mut wire = Vec::new();
    LineWriter::new(&mut wire, 15).quit("aaaaaä").unwrap();
    assert_eq!(String::from_utf8(wire).unwrap(), "QUIT :aaaaaä\r\n");
    let mut wire = Vec::new();
    LineWriter::new(&mut wire, 14).quit("aaaaaä").unwrap();
    assert_eq!(String::from_utf8(wire).unwrap(), "QUIT :aaaaa\r\n");
}
