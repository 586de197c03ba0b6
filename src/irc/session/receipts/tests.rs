use proptest::prelude::*;

use super::*;

const ASCII: CaseMapping = CaseMapping::Ascii;

fn refusal() -> Failure {
    Failure::certain(Reason::CannotSend)
}

fn delivered(command: u64) -> Output {
    Output::Fate(CommandId(command), Fate::Delivered { msgid: None })
}

fn failed(command: u64, failure: Failure) -> Output {
    Output::Fate(CommandId(command), Fate::Failed(failure))
}

fn say(receipts: &mut Receipts, command: u64, target: &str, last: bool, now: u64) {
    let piece = if last { Piece::WHOLE } else { Piece { line: 0, out: 1, of: 2 } };
    receipts.sent(CommandId(command), Verb::Privmsg, target, None, piece, now);
}

/// Sends one line after the other of a command, each as a piece of one of `of` lines.
fn say_lines(receipts: &mut Receipts, pieces: &[(u32, u32)], of: u32) {
    for &(line, out) in pieces {
        receipts.sent(CommandId(1), Verb::Privmsg, "#a", None, Piece { line, out, of }, 0);
    }
}

#[test]
fn a_barrier_settles_what_went_before_it_and_nothing_after() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say(&mut receipts, 1, "#a", true, 0);
    let question = receipts.ask(0);
    say(&mut receipts, 2, "#a", true, 1);
    receipts.answered(question, 5, &mut out);
    assert_eq!(out, [delivered(1)]);
    assert!(!receipts.is_empty());
}

/// What becomes of three lines, two of them to `#b`, if so many errors come for `#B` before the answer.
fn with_errors(proof: Proof, errors: usize) -> Vec<Output> {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    receipts.proof = proof;
    say(&mut receipts, 1, "#a", true, 0);
    say(&mut receipts, 2, "#B", true, 0);
    say(&mut receipts, 3, "#b", true, 0);
    let question = receipts.ask(0);
    say(&mut receipts, 4, "#b", true, 0);
    assert!(!receipts.refused(Some("#c"), Verb::ANY, ASCII, refusal(), &mut out));
    for _ in 0..errors {
        assert!(receipts.refused(Some("#b"), Verb::SAID, ASCII, refusal(), &mut out));
    }
    receipts.answered(question, 5, &mut out);
    out
}

#[test]
fn where_lines_come_back_an_error_is_the_oldest_lines_of_that_target() {
    assert_eq!(with_errors(Proof::Echo, 1), [failed(2, refusal()), delivered(1), delivered(3)]);
}

#[test]
fn r2_behind_a_barrier_only_as_many_errors_as_lines_make_it_certain_which_failed() {
    let uncertain = Failure { certain: false, ..refusal() };
    assert_eq!(with_errors(Proof::Barrier, 0), [delivered(1), delivered(2), delivered(3)]);
    assert_eq!(with_errors(Proof::Barrier, 1), [failed(2, uncertain.clone()), failed(3, uncertain), delivered(1)]);
    assert_eq!(with_errors(Proof::Barrier, 2), [failed(2, refusal()), failed(3, refusal()), delivered(1)]);
}

#[test]
fn an_error_that_can_mean_only_one_command_fails_it_at_once() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say(&mut receipts, 1, "#a", false, 0);
    say(&mut receipts, 1, "#a", false, 0);
    say(&mut receipts, 2, "#b", true, 0);
    assert!(receipts.refused(Some("#a"), Verb::SAID, ASCII, refusal(), &mut out));
    assert!(receipts.has_failed(CommandId(1)));
}

#[test]
fn a_lost_connection_leaves_certain_what_was_refused() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say(&mut receipts, 1, "#a", true, 0);
    say(&mut receipts, 2, "#a", true, 0);
    for _ in 0..2 {
        receipts.refused(None, Verb::ANY, ASCII, refusal(), &mut out);
    }
    receipts.abandon(&Failure::uncertain(Reason::LinkLost), &mut out);
    assert_eq!(out, [failed(1, refusal()), failed(2, refusal())]);
}

#[test]
fn what_only_tells_something_is_no_refusal() {
    for numeric in [301, 333, 671, 704, 717, 728, 734, 761, 900] {
        assert!(!is_refusal(numeric), "{numeric}");
    }
    for numeric in [401, 404, 408, 417, 492, 531, 696, 707, 716, 742, 936, 972] {
        assert!(is_refusal(numeric), "{numeric}");
    }
}

#[test]
fn a_command_is_delivered_only_if_all_its_lines_were() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say(&mut receipts, 1, "#a", false, 0);
    say(&mut receipts, 1, "#a", true, 0);
    receipts.echo(Verb::Privmsg, "#a", ASCII, None, &mut out);
    assert_eq!(out, []);
    receipts.refused(Some("#a"), Verb::ANY, ASCII, refusal(), &mut out);
    assert_eq!(out, [failed(1, Failure { arrived: Arrived::Part, ..refusal() })]);
}

#[test]
fn r2_a_command_that_failed_says_which_of_its_authors_lines_arrived() {
    let whole = &[(0, 1), (1, 2), (2, 3), (3, 4)][..];
    let long_second = &[(0, 1), (1, 1), (1, 1), (1, 2)][..];
    let stopped_in_second = &[(0, 1), (1, 1), (1, 1)][..];
    let first_three = Arrived::Lines { first: 3, of: 4 };
    let only_first = Arrived::Lines { first: 1, of: 4 };
    for (pieces, refused, arrived) in [
        (whole, &[3][..], first_three),
        (whole, &[2, 3], Arrived::Lines { first: 2, of: 4 }),
        (&whole[..3], &[0, 1, 2], Arrived::Nothing),
        (whole, &[1], Arrived::Part),
        (whole, &[0], Arrived::Part),
        (&whole[..3], &[], first_three),
        (long_second, &[1, 2, 3], only_first),
        (long_second, &[3], Arrived::Part),
        (stopped_in_second, &[], Arrived::Part),
        (stopped_in_second, &[1, 2], only_first),
    ] {
        let (mut receipts, mut out) = (Receipts::new(), Vec::new());
        say_lines(&mut receipts, pieces, 4);
        for serial in refused {
            receipts.labelled(*serial, Err(refusal()), &mut out);
        }
        receipts.complete(CommandId(1), Some(refusal()), &mut out);
        let question = receipts.ask(0);
        receipts.answered(question, 1, &mut out);
        assert_eq!(out, [failed(1, Failure { arrived, ..refusal() })], "{pieces:?} {refused:?}");
    }
}

#[test]
fn r2_where_the_fate_of_one_line_is_uncertain_the_commands_is() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say_lines(&mut receipts, &[(0, 1), (1, 2), (2, 3)], 3);
    receipts.labelled(0, Ok(None), &mut out);
    receipts.labelled(1, Err(refusal()), &mut out);
    receipts.abandon(&Failure::uncertain(Reason::LinkLost), &mut out);
    let arrived = Arrived::Lines { first: 1, of: 3 };
    assert_eq!(out, [failed(1, Failure { arrived, certain: false, ..refusal() })]);
}

#[test]
fn echoes_count_in_order_per_target_and_kind() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    receipts.proof = Proof::Echo;
    say(&mut receipts, 1, "#a", true, 0);
    receipts.sent(CommandId(2), Verb::Notice, "#a", None, Piece::WHOLE, 0);
    say(&mut receipts, 3, "bob", true, 0);
    assert!(receipts.echo(Verb::Privmsg, "BOB", ASCII, Some("id".into()), &mut out));
    assert!(receipts.echo(Verb::Notice, "#a", ASCII, None, &mut out));
    assert!(!receipts.echo(Verb::Notice, "#a", ASCII, None, &mut out));
    assert_eq!(out, [Output::Fate(CommandId(3), Fate::Delivered { msgid: Some("id".into()) }), delivered(2)]);
}

#[test]
fn a_kick_is_refused_by_its_channel_or_by_whom_it_is_about() {
    for name in ["#a", "bob"] {
        let (mut receipts, mut out) = (Receipts::new(), Vec::new());
        receipts.sent(CommandId(1), Verb::Kick, "#a", Some("bob"), Piece::WHOLE, 0);
        assert!(receipts.refused(Some(name), Verb::ANY, ASCII, refusal(), &mut out), "{name}");
    }
}

#[test]
fn questions_are_asked_when_idle_but_not_all_the_time() {
    let mut receipts = Receipts::new();
    assert!(!receipts.is_due(true, 0));
    say(&mut receipts, 1, "#a", true, 100);
    assert!(receipts.is_due(true, 100), "the first is asked about at once");
    assert!(!receipts.is_due(false, 100), "not while more is to be said");
    receipts.ask(100);
    assert!(!receipts.is_due(true, 100));
    say(&mut receipts, 2, "#a", true, 200);
    assert!(!receipts.is_due(true, 200));
    assert_eq!(receipts.timer(true), Some(2_100));
    assert!(receipts.is_due(true, 2_100));
    for n in 0..MANY as u64 {
        say(&mut receipts, 3 + n, "#a", true, 200);
    }
    assert!(receipts.is_due(false, 200), "many lines are asked about even while busy");
}

#[test]
fn a_missing_echo_is_asked_about_after_a_while() {
    let mut receipts = Receipts::new();
    receipts.proof = Proof::Echo;
    say(&mut receipts, 1, "NickServ", true, 100);
    assert!(!receipts.is_due(true, 10_099));
    assert!(receipts.is_due(true, 10_100));
    assert_eq!(receipts.timer(true), Some(10_100));
}

#[test]
fn a_server_that_never_answers_is_gone() {
    let (mut receipts, mut out) = (Receipts::new(), Vec::new());
    say(&mut receipts, 1, "#a", true, 0);
    receipts.ask(0);
    say(&mut receipts, 2, "#a", true, 100_000);
    let question = receipts.ask(100_000);
    assert!(!receipts.is_gone(179_999));
    assert!(receipts.is_gone(180_000));
    receipts.answered(question, 150_000, &mut out);
    assert_eq!(receipts.timer(true), None);
    assert!(!receipts.is_gone(u64::MAX / 2));
}

#[derive(Debug, Clone)]
enum Happening {
    Sent(u8, bool),
    Echo(u8),
    Refused(u8),
    Label(u64),
    Ask,
    Answer(u64),
    Complete,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u8..4, any::<bool>()).prop_map(|(target, last)| Happening::Sent(target, last)),
        (0_u8..4).prop_map(Happening::Echo),
        (0_u8..4).prop_map(Happening::Refused),
        (0_u64..30).prop_map(Happening::Label),
        Just(Happening::Ask),
        (0_u64..30).prop_map(Happening::Answer),
        Just(Happening::Complete),
    ]
}

proptest! {
    #[test]
    fn every_command_has_exactly_one_fate(happenings in prop::collection::vec(happening(), 0..60)) {
        let (mut receipts, mut out) = (Receipts::new(), Vec::new());
        let (mut command, mut open, mut begun) = (0_u64, false, Vec::new());
        for (now, happening) in (0_u64..).zip(happenings) {
            match happening {
                Happening::Sent(target, last) => {
                    if !open {
                        command += 1;
                        begun.push(command);
                    }
                    open = !last;
                    say(&mut receipts, command, &format!("#{target}"), last, now);
                }
                Happening::Echo(target) => {
                    receipts.echo(Verb::Privmsg, &format!("#{target}"), ASCII, None, &mut out);
                }
                Happening::Refused(target) => {
                    receipts.refused(Some(&format!("#{target}")), Verb::ANY, ASCII, refusal(), &mut out);
                }
                Happening::Label(serial) => receipts.labelled(serial, Ok(None), &mut out),
                Happening::Ask => { receipts.ask(now); }
                Happening::Answer(serial) => receipts.answered(serial, now, &mut out),
                Happening::Complete => if std::mem::take(&mut open) {
                    receipts.complete(CommandId(command), None, &mut out);
                },
            }
        }
        if open {
            receipts.complete(CommandId(command), None, &mut out);
        }
        receipts.abandon(&Failure::uncertain(Reason::LinkLost), &mut out);
        let mut told: Vec<u64> = out.iter().map(|output| match output {
            Output::Fate(CommandId(id), _) => *id,
            other => panic!("{other:?}"),
        }).collect();
        told.sort_unstable();
        prop_assert_eq!(told, begun);
        prop_assert!(receipts.commands.is_empty() && receipts.is_empty());
    }
}
