use super::*;

const ASCII: CaseMapping = CaseMapping::Ascii;

fn pull(channels: &mut Channels, isupport: &Isupport) -> Option<String> {
    let mut wire = Vec::new();
    channels.pull(0, isupport, &mut wire, &mut Vec::new()).then(|| String::from_utf8(wire).unwrap())
}

#[test]
fn joins_are_packed_with_keys_first() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a", None, ASCII);
    channels.want("#b", Some("kb"), ASCII);
    channels.want("#c", None, ASCII);
    channels.want("#d", Some("kd"), ASCII);
    channels.want("#A", None, ASCII);
    let isupport = Isupport { max_join_targets: Some(3), ..Isupport::default() };
    assert_eq!(pull(&mut channels, &isupport).unwrap(), "JOIN #b,#d,#a kb,kd\r\n");
    assert_eq!(pull(&mut channels, &isupport).unwrap(), "JOIN #c\r\n");
    assert_eq!(pull(&mut channels, &isupport), None);
    assert!(!channels.busy);
}

#[test]
fn joins_are_packed_into_lines_that_fit() {
    let mut channels = Channels::new(Role::Member);
    for n in 0..100 {
        channels.want(&format!("#{}{n}", "x".repeat(40)), Some(&"k".repeat(20)), ASCII);
    }
    let isupport = Isupport { max_join_targets: Some(100), ..Isupport::default() };
    let mut joined = 0;
    while let Some(line) = pull(&mut channels, &isupport) {
        assert!(line.len() <= 512 && line.len() > 400 || joined > 90, "{}", line.len());
        joined += line.matches('#').count();
    }
    assert_eq!(joined, 100);
}

#[test]
fn what_is_wanted_survives_a_reconnect_and_what_was_left_does_not() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a", None, ASCII);
    channels.want("#b", None, ASCII);
    assert!(pull(&mut channels, &Isupport::default()).is_some());
    for name in ["#A", "#b"] {
        assert_eq!(channels.joined(name, true, ASCII), Joined::Stay);
    }
    assert_eq!(channels.unwant("#b", false, ASCII), Place::In);
    channels.disconnected(|_| false);
    assert_eq!(pull(&mut channels, &Isupport::default()).unwrap(), "JOIN #A\r\n");
}

#[test]
fn a_forward_is_not_taken_for_what_was_wanted() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a", None, ASCII);
    assert!(pull(&mut channels, &Isupport::default()).is_some());
    channels.forwarded("##a");
    assert_eq!(channels.refused("#A", ASCII).as_deref(), Some("#a"));
    assert_eq!(channels.refused("#a", ASCII), None);
    assert_eq!(channels.joined("##A", true, ASCII), Joined::Leave);
    assert_eq!(channels.joined("##A", true, ASCII), Joined::Stay, "when somebody makes us join it later");
}

#[test]
fn a_join_without_an_answer_counts_as_refused() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a", None, ASCII);
    assert!(pull(&mut channels, &Isupport::default()).is_some());
    assert_eq!(channels.timer(), Some(30_000));
    assert!(channels.overdue(29_999).is_empty());
    assert_eq!(channels.overdue(30_000), ["#a".into()]);
    assert_eq!(channels.timer(), None);
}

#[test]
fn names_that_become_one_are_kept_once() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a[", None, ASCII);
    channels.observe("#a{", Role::Observer, ASCII);
    channels.refold(CaseMapping::Rfc1459);
    assert_eq!(channels.list.len(), 1);
    assert!(channels.list[0].wish == Wish::Yes && channels.list[0].role == Role::Observer);
}

#[test]
fn nothing_is_remembered_of_channels_that_nobody_wants() {
    let mut channels = Channels::new(Role::Member);
    channels.want("#a", None, ASCII);
    channels.unwant("#a", false, ASCII);
    channels.observe("#b", Role::Observer, ASCII);
    channels.observe("#b", Role::Member, ASCII);
    assert!(channels.list.is_empty());
}

#[test]
fn every_refusal_of_a_join_has_its_reason() {
    let table = [
        (403, "", Some(Reason::NoSuchChannel)),
        (405, "", Some(Reason::TooManyChannels)),
        (437, "", Some(Reason::Refused)),
        (470, "", Some(Reason::Forwarded)),
        (471, "", Some(Reason::ChannelFull)),
        (473, "", Some(Reason::InviteOnly)),
        (474, "", Some(Reason::Banned)),
        (475, "", Some(Reason::BadKey)),
        (476, "", Some(Reason::BadName)),
        (477, "", Some(Reason::NeedsAccount)),
        (480, "Cannot join channel (+j) - throttle exceeded, try again later", Some(Reason::TooFast)),
        (480, "Cannot join channel (+S) - SSL/TLS required", Some(Reason::NeedsTls)),
        (489, "Cannot join channel (SSL is required)", Some(Reason::NeedsTls)),
        (489, "", Some(Reason::Refused)),
        (366, "", None),
    ];
    for (numeric, words, reason) in table {
        assert_eq!(join_reason(numeric, words), reason, "{numeric} {words}");
    }
}

#[test]
fn a_server_that_puts_us_everywhere_is_ignored_but_for_what_we_want() {
    let mut channels = Channels::new(Role::Member);
    for n in 0..1000 {
        let joined = channels.joined(&format!("#{n}"), true, ASCII);
        assert_eq!(joined, if n < MOST_UNWANTED { Joined::Stay } else { Joined::Ignore });
    }
    assert_eq!(channels.list.len(), MOST_UNWANTED);
    channels.want("#a", None, ASCII);
    assert!(pull(&mut channels, &Isupport::default()).is_some());
    assert_eq!(channels.joined("#a", true, ASCII), Joined::Stay);
}
