use super::*;
use crate::{
    bridge::residents::Ties,
    model::{CaseMapping, Epoch, IrcKey},
};

fn roster(nicks: &[&str], members: Members) -> Roster {
    let resident = |nick: &&str| Resident { ghost: ghost(nick), members, ties: Ties::default() };
    Roster { residents: nicks.iter().map(resident).collect(), complete: true, anew: false }
}

fn ghost(nick: &str) -> Arc<Ghost> {
    Arc::new(Ghost {
        network: "net".parse().unwrap(),
        nick: nick.into(),
        folded: CaseMapping::Ascii.fold(nick),
        user: UserId::parse(format!("@irc_net_{nick}:x")).unwrap(),
        display_name: nick.into(),
        unseen: false,
    })
}

fn wishes(queue: &Queue) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    while let Some(Next::Wish(user, wish)) = queue.take() {
        all.push((user.localpart().trim_start_matches("irc_net_").to_owned(), matches!(wish, Wish::Arrive(_))));
    }
    all
}

#[test]
fn who_is_found_in_a_room_that_was_given_up_meanwhile_leaves_it() {
    let queue = Queue::new(Arc::default());
    queue.roster(roster(&["eve"], Members::Full));
    queue.close();
    queue.load(HashSet::from([ghost("ann").user.clone()]));
    assert_eq!(wishes(&queue), [("ann".to_owned(), false)]);
}

#[test]
fn r76_join_and_leave_of_one_ghost_cancel() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::from([ghost("old").user.clone()]));
    queue.arrive(ghost("a"));
    queue.depart(ghost("a").user.clone(), None);
    queue.depart(ghost("old").user.clone(), None);
    queue.arrive(ghost("old"));
    queue.arrive(ghost("b"));
    assert_eq!(wishes(&queue), [("b".into(), true)]);
}

#[test]
fn a_ghost_that_leaves_while_it_is_being_brought_in_leaves() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::new());
    queue.arrive(ghost("a"));
    assert!(matches!(queue.take(), Some(Next::Wish(_, Wish::Arrive(_)))));
    queue.depart(ghost("a").user.clone(), None);
    queue.joined(ghost("a").user.clone());
    assert!(matches!(queue.take(), Some(Next::Wish(_, Wish::Depart(_)))));
    queue.arrive(ghost("a"));
    queue.left(&ghost("a").user);
    assert_eq!(wishes(&queue), [("a".into(), true)]);
}

#[test]
fn r79_a_change_of_nick_is_one_swap() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::from([ghost("old").user.clone(), ghost("taken").user.clone()]));
    let swap = |before: &str, after: &str, belongs| {
        queue.swap(ghost(before).user.clone(), ghost(after), belongs, "is now".into());
    };
    swap("old", "new", false);
    assert_eq!(wishes(&queue), [("new".into(), true), ("old".into(), false)], "never without a ghost");
    queue.left(&ghost("old").user);
    queue.joined(ghost("new").user.clone());
    swap("silent", "quiet", false);
    assert_eq!(wishes(&queue), [], "whoever wasn't there isn't there");
    swap("silent", "loud", true);
    assert_eq!(wishes(&queue), [("loud".into(), true)]);
    queue.joined(ghost("loud").user.clone());
    // Back and forth before anything has come of it.
    swap("new", "newer", true);
    swap("newer", "new", true);
    assert_eq!(wishes(&queue), []);
    queue.arrive(ghost("speaker"));
    queue.joined(ghost("speaker").user.clone());
    swap("speaker", "reader", false);
    assert_eq!(wishes(&queue), [("reader".into(), true), ("speaker".into(), false)]);
    queue.unwelcome(&ghost("new").user);
    swap("new", "renewed", true);
    assert_eq!(wishes(&queue), [], "another name is no way in");
}

#[test]
fn an_interrupted_wish_comes_next_unless_it_is_overtaken() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::from([ghost("old").user.clone()]));
    queue.arrive(ghost("a"));
    queue.arrive(ghost("b"));
    let interrupt = || match queue.take() {
        Some(Next::Wish(user, wish)) => queue.interrupted(user, wish),
        other => panic!("{other:?}"),
    };
    interrupt();
    assert_eq!(wishes(&queue), [("a".into(), true), ("b".into(), true)]);
    queue.left(&ghost("a").user);
    // The join may have got through all the same, so that leaving is no idle wish; nor is coming after a leave.
    queue.arrive(ghost("c"));
    interrupt();
    queue.depart(ghost("c").user.clone(), None);
    queue.depart(ghost("old").user.clone(), None);
    assert_eq!(wishes(&queue), [("c".into(), false), ("old".into(), false)]);
    queue.left(&ghost("c").user);
    queue.depart(ghost("old").user.clone(), None);
    interrupt();
    queue.arrive(ghost("old"));
    assert!(queue.lock().may_have_joined(&ghost("old").user) && !queue.has_joined(&ghost("old").user));
    assert_eq!(wishes(&queue), [("old".into(), true)]);
    queue.roster(roster(&[], Members::Speakers));
    assert_eq!(wishes(&queue), [("old".into(), false)], "a roster shows out whoever may be there");
    queue.left(&ghost("old").user);
    queue.depart(ghost("old").user.clone(), None);
    assert_eq!(wishes(&queue), []);
}

#[test]
fn r76_a_roster_brings_the_smallest_set_of_changes() {
    let queue = Queue::new(Arc::default());
    queue.roster(roster(&["a", "b"], Members::Full));
    queue.arrive(ghost("later"));
    queue.load(HashSet::from([ghost("a").user.clone(), ghost("gone").user.clone()]));
    assert_eq!(wishes(&queue), [("later".into(), true)], "a roster tells nothing before it is known who is there");
    queue.roster(roster(&["a", "b"], Members::Full));
    assert_eq!(wishes(&queue), [("gone".into(), false), ("b".into(), true)]);
    queue.left(&ghost("gone").user);
    queue.joined(ghost("b").user.clone());
    queue.roster(roster(&["b", "c"], Members::Speakers));
    assert_eq!(wishes(&queue), [("a".into(), false)], "in a large channel nobody is brought in by the roster");
}

#[test]
fn r77_who_is_in_the_room_follows_from_its_mode() {
    let queue = Queue::new(Arc::default());
    let resident =
        |nick: &str, members, came, spoke| Resident { ghost: ghost(nick), members, ties: Ties { came, spoke } };
    let switch = |members| Roster {
        residents: [("old", false, false), ("new", true, false), ("talks", false, true)]
            .map(|(nick, came, spoke)| resident(nick, members, came, spoke))
            .into(),
        complete: true,
        anew: true,
    };
    let in_the_end = |members| {
        queue.roster(switch(members));
        while let Some(Next::Wish(user, wish)) = queue.take() {
            match wish {
                Wish::Arrive(ghost) => queue.joined(ghost.user.clone()),
                Wish::Depart(_) | Wish::Expelled { .. } => queue.left(&user),
            }
        }
        ["old", "new", "talks"].map(|nick| queue.has_joined(&ghost(nick).user))
    };
    queue.load(HashSet::new());
    assert_eq!(in_the_end(Members::Full), [true, true, true]);
    assert_eq!(in_the_end(Members::Joined), [false, true, true]);
    assert_eq!(in_the_end(Members::Speakers), [false, false, true]);
    assert_eq!(in_the_end(Members::None), [false, false, false]);
    assert_eq!(in_the_end(Members::Full), [true, true, true]);
    queue.load(HashSet::from([ghost("old").user.clone()]));
    queue.roster(Roster { anew: false, ..switch(Members::Speakers) });
    assert_eq!(wishes(&queue), [("talks".into(), true)], "after a restart, whoever is there has spoken");
    // Who hasn't come yet needn't any more.
    queue.load(HashSet::new());
    queue.roster(switch(Members::Full));
    queue.roster(switch(Members::Speakers));
    assert_eq!(wishes(&queue), [("talks".into(), true)]);
}

#[test]
fn a_roster_that_isnt_complete_shows_nobody_out() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::from([ghost("elsewhere").user.clone()]));
    queue.roster(Roster { complete: false, ..roster(&["a"], Members::Full) });
    assert_eq!(wishes(&queue), [("a".into(), true)]);
}

#[test]
fn whoever_was_shown_out_comes_when_they_speak_or_join() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::from([ghost("a").user.clone()]));
    queue.unwelcome(&ghost("a").user);
    queue.roster(roster(&["a"], Members::Full));
    assert_eq!(wishes(&queue), []);
    queue.arrive(ghost("a"));
    assert_eq!(wishes(&queue), [("a".into(), true)]);
}

#[tokio::test(start_paused = true)]
async fn r77_who_only_comes_to_speak_leaves_when_they_have_been_silent() {
    let silence = Duration::from_mins(10);
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::new());
    let speak = |seq| {
        queue.push(text("a", seq));
        assert!(matches!(queue.take(), Some(Next::Job(Job::Text { .. }))));
        queue.joined(ghost("a").user.clone());
    };
    queue.roster(roster(&["a", "b"], Members::None));
    speak(0);
    for seq in 1..5 {
        tokio::time::advance(silence / 2).await;
        speak(seq);
        queue.silent_for(silence);
        queue.roster(roster(&["a", "b"], Members::None));
        assert_eq!(wishes(&queue), [], "not for each line anew");
    }
    tokio::time::advance(silence).await;
    queue.silent_for(silence);
    assert_eq!(wishes(&queue), [("a".into(), false)]);
    // Whom we find there after a restart has spoken long ago.
    queue.load(HashSet::from([ghost("b").user.clone()]));
    queue.roster(roster(&["a", "b"], Members::None));
    assert_eq!(wishes(&queue), [("b".into(), false)]);
}

#[tokio::test(start_paused = true)]
async fn r76_what_waits_for_its_turn_still_cancels_and_holds_up_nobody() {
    let (queue, budget) = (Queue::new(Arc::default()), Budget::new(1));
    queue.load(HashSet::new());
    budget.spend();
    queue.arrive(ghost("a"));
    queue.arrive(ghost("b"));
    let wait = queue.next(&budget);
    assert!(timeout(Duration::from_millis(500), wait).await.is_err(), "not yet");
    queue.depart(ghost("a").user.clone(), None);
    queue.push(text("c", 0));
    assert!(matches!(queue.next(&budget).await, Next::Job(_)));
    match queue.next(&budget).await {
        Next::Wish(user, Wish::Arrive(_)) => assert_eq!(user, ghost("b").user),
        other => panic!("{other:?}"),
    }
    assert_eq!(wishes(&queue), []);
}

#[test]
fn r76_what_the_homeserver_says_counts_unless_it_is_overtaken() {
    let queue = Queue::new(Arc::default());
    let users = |nicks: &[&str]| nicks.iter().map(|nick| ghost(nick).user.clone()).collect::<HashSet<_>>();
    queue.load(users(&["a", "b", "c"]));
    assert_eq!(queue.roster(roster(&["a", "b", "c"], Members::Full)), 0);
    queue.comparing();
    queue.left(&ghost("c").user);
    queue.joined(ghost("d").user.clone());
    // It was asked before the two of them moved.
    queue.compared(&users(&["a", "c", "stray"]));
    assert_eq!(queue.roster(roster(&["a", "b", "d"], Members::Full)), 2);
    assert_eq!(queue.waiting(), 2);
    assert_eq!(queue.roster(roster(&["a", "b", "d"], Members::Full)), 2, "until it is done");
    assert_eq!(wishes(&queue), [("stray".into(), false), ("b".into(), true)]);
    queue.compared(&users(&[]));
    assert!(queue.has_joined(&ghost("a").user), "nobody asked");
}

#[test]
fn what_people_said_goes_ahead_of_joins_and_leaves() {
    let queue = Queue::new(Arc::default());
    queue.load(HashSet::new());
    queue.arrive(ghost("a"));
    queue.push(Job::Topic { topic: "t".into(), by: None, topiclen: 390 });
    assert!(matches!(queue.take(), Some(Next::Job(Job::Topic { .. }))));
    assert_eq!(wishes(&queue), [("a".into(), true)]);
}

fn text(nick: &str, seq: u64) -> Job {
    said(nick, seq, false)
}

fn said(nick: &str, seq: u64, outside: bool) -> Job {
    Job::Text {
        outside,
        ghost: ghost(nick),
        content: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
        at: 0,
        receipt: Receipt::new(IrcKey { epoch: Epoch(1), seq }, 1),
    }
}

#[test]
fn who_speaks_and_leaves_at_once_has_spoken_and_leaves() {
    let queue = Queue::new(Arc::default());
    let speak = |nick: &str| match queue.take() {
        Some(Next::Job(Job::Text { ghost: speaker, .. })) if speaker == ghost(nick) => {
            queue.joined(speaker.user.clone());
        }
        other => panic!("{other:?}"),
    };
    queue.load(HashSet::new());
    queue.push(text("a", 0));
    queue.depart(ghost("a").user.clone(), None);
    queue.depart(ghost("silent").user.clone(), None);
    speak("a");
    assert_eq!(wishes(&queue), [("a".into(), false)]);
    queue.left(&ghost("a").user);

    queue.push(text("b", 1));
    queue.depart(ghost("b").user.clone(), None);
    queue.push(text("b", 2));
    speak("b");
    speak("b");
    assert_eq!(wishes(&queue), [], "they are back");

    queue.push(text("c", 3));
    queue.roster(roster(&["b"], Members::Speakers));
    speak("c");
    assert_eq!(wishes(&queue), [("c".into(), false)], "the roster is newer than the text");
}

#[tokio::test(start_paused = true)]
async fn who_speaks_from_outside_leaves_after_a_quiet_while() {
    let (queue, budget) = (Queue::new(Arc::default()), Budget::new(0));
    queue.load(HashSet::new());
    let speak = async |nick: &str, outside: bool| {
        queue.push(said(nick, 0, outside));
        match queue.next(&budget).await {
            Next::Job(Job::Text { ghost, .. }) => queue.joined(ghost.user.clone()),
            other => panic!("{other:?}"),
        }
    };
    let begun = Instant::now();
    speak("guest", true).await;
    tokio::time::advance(VISIT / 2).await;
    // They stay for as long as they speak.
    speak("guest", true).await;
    speak("member", false).await;
    match queue.next(&budget).await {
        Next::Wish(user, Wish::Depart(None)) if user == ghost("guest").user => queue.left(&user),
        other => panic!("{other:?}"),
    }
    assert_eq!(begun.elapsed(), VISIT / 2 + VISIT);

    // Whoever comes into the channel is no guest any more, whether that is told or only seen by their words.
    speak("a", true).await;
    queue.arrive(ghost("a"));
    speak("b", true).await;
    speak("b", false).await;
    speak("c", true).await;
    queue.roster(roster(&["c", "a", "b", "member"], Members::Full));
    let nobody_leaves = || wishes(&queue).iter().all(|(_, arrives)| *arrives);
    assert!(nobody_leaves());
    tokio::time::advance(2 * VISIT).await;
    assert!(nobody_leaves());
}

#[tokio::test(start_paused = true)]
async fn texts_dont_wait_for_ever_for_a_room_that_nobody_invites_us_to() {
    let patience = Duration::from_mins(10);
    let queue = Queue::new(Arc::default());
    let given_up = async || match queue.invitation(patience).await {
        Waited::TooLong(old) => old.iter().map(|receipt| receipt.key.seq).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    queue.push(text("a", 0));
    queue.push(Job::Notice { text: "t".into(), txn: "t".into() });
    queue.push(text("a", 1));
    assert_eq!(given_up().await, [0; 0], "they may have come just now");
    queue.push(text("a", 2));
    assert_eq!(given_up().await, [0, 1]);
    queue.invited();
    assert!(matches!(queue.invitation(patience).await, Waited::Invited));
    queue.load(HashSet::new());
    assert!(matches!(queue.take(), Some(Next::Job(Job::Notice { .. }))), "what else waits stays");
    queue.push(text("a", 3));
    assert_eq!(given_up().await, [0; 0], "it is another wait");
    assert_eq!(given_up().await, [2, 3]);
    queue.close();
    assert!(matches!(queue.invitation(patience).await, Waited::Closed));
}

#[test]
fn failures_of_one_kind_that_wait_are_told_together() {
    let queue = Queue::new(Arc::default());
    let failure = |n: u32| Job::Failure {
        sender: ruma::user_id!("@a:x").to_owned(),
        text: "no".into(),
        events: vec![(ruma::EventId::parse(format!("$e{n}:x")).unwrap(), crate::model::MatrixKey { txn: 1, index: n })],
    };
    queue.push(failure(0));
    queue.push(failure(1));
    assert!(matches!(queue.take(), Some(Next::Job(Job::Failure { events, .. })) if events.len() == 2));
    assert!(queue.take().is_none());
}
