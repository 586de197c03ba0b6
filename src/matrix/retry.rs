//! Asking again until the homeserver is back (R6).
//!
//! Nothing is repeated anywhere else: a caller that wants its request to outlive an outage wraps it in [`persist`], with the
//! same transaction id each time.
//!
//! A homeserver that fails over a request may fail over everything, and is waited for, or over this one for ever, and then
//! all that stands behind it would wait for ever too. A [`Probe`] tells which.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::MatrixError;

/// The pauses between tries. The defaults suit a homeserver that restarts (seconds) or is away (minutes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest first pause.
    pub first: Duration,
    /// The longest pause of our own choice.
    pub most: Duration,
    /// The longest pause that we let the homeserver choose: a proxy's maintenance page may ask for a day.
    pub most_asked: Duration,
    /// How many times in a row the homeserver may fail over a request before another one is tried.
    pub faults: u32,
}

/// Another request than the one that the homeserver fails over, as like it as can be.
#[async_trait]
pub trait Probe: Sync {
    /// Whether it works at this very moment.
    async fn works(&self) -> bool;
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            most: Duration::from_secs(30),
            most_asked: Duration::from_mins(5),
            // Some seconds' worth.
            faults: 6,
        }
    }
}

impl RetryPolicy {
    /// The pause after the `failures`th failure in a row (from 1): doubling, the second half of it at random, so that a
    /// thousand rooms don't come back in one instant. `luck` is in 0..1.
    fn pause(&self, failures: u32, asked: Option<Duration>, luck: f64) -> Duration {
        if let Some(asked) = asked {
            // Never early; a little late, for the same reason as above.
            return asked.min(self.most_asked) + self.first.mul_f64(luck);
        }
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.most).mul_f64(0.5 + luck / 2.0)
    }
}

/// Repeats `call` as long as the homeserver is unavailable, or doesn't accept our token; every other answer is returned
/// at once. A fault is returned when `probe` shows that it is over this request alone; without a probe it is waited out.
///
/// The first failure and the recovery are logged, the tries between are not. When `stop` is cancelled the call under way is
/// given up and the answer is [`MatrixError::Stopped`]: as with a crash, it may have reached the homeserver, and the
/// transaction id makes the next run's try harmless.
pub async fn persist<T, F, A>(
    policy: RetryPolicy,
    stop: &CancellationToken,
    probe: Option<&dyn Probe>,
    mut call: F,
) -> Result<T, MatrixError>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, MatrixError>>,
{
    let (mut failures, mut faults, mut others_work) = (0, 0, false);
    let asking = async {
        loop {
            let answer = call().await;
            let fault = answer.as_ref().is_err_and(MatrixError::is_fault);
            if fault && others_work {
                return answer;
            }
            let retry_after = match &answer {
                Err(error @ MatrixError::Unavailable { retry_after, .. }) => {
                    if failures == 0 {
                        tracing::warn!(%error, "The homeserver is unavailable; trying again until it is back");
                    }
                    *retry_after
                }
                // Nothing is lost by waiting for the operator, and everything by going on.
                Err(error @ MatrixError::BadToken { .. }) => {
                    if failures == 0 {
                        tracing::error!(%error, "The homeserver doesn't know us; trying again until it does");
                    }
                    None
                }
                _ => {
                    if failures > 0 {
                        tracing::info!(matrix.failures = failures, "The homeserver answers again");
                    }
                    return answer;
                }
            };
            failures += 1;
            faults = if fault { faults + 1 } else { 0 };
            others_work = match probe {
                Some(probe) if faults >= policy.faults => probe.works().await,
                _ => false,
            };
            // Where others work, this one is tried once more at once: the homeserver may have come back just now.
            if !others_work {
                tokio::time::sleep(policy.pause(failures, retry_after, rand::random())).await;
            }
        }
    };
    tokio::select! {
        biased; // an answer that is there is worth more than the news that we stop
        answer = asking => answer,
        () = stop.cancelled() => Err(MatrixError::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Mutex,
    };

    use proptest::prelude::*;

    use super::*;

    const QUICK: RetryPolicy = RetryPolicy {
        first: Duration::from_micros(10),
        most: Duration::from_micros(50),
        most_asked: Duration::ZERO,
        faults: 3,
    };

    fn away() -> MatrixError {
        MatrixError::unanswered("ask".to_owned(), "away".to_owned())
    }

    fn fault() -> MatrixError {
        let (status, headers) = (http::StatusCode::INTERNAL_SERVER_ERROR, http::HeaderMap::new());
        MatrixError::foreign("ask".to_owned(), status, &headers, b"", "Internal server error".to_owned())
    }

    /// What another request meets: once for each time that it is tried.
    struct Scripted(Mutex<Vec<bool>>);

    #[async_trait]
    impl Probe for Scripted {
        async fn works(&self) -> bool {
            self.0.lock().unwrap().pop().expect("it isn't tried as often as that")
        }
    }

    /// Asks a homeserver that answers this in turn; the answer, and how often it was asked.
    async fn ask(probe: &[bool], answers: &[Result<(), MatrixError>]) -> (Result<(), MatrixError>, usize) {
        let probe = Scripted(Mutex::new(probe.iter().rev().copied().collect()));
        let (mut answers, mut tries) = (answers.iter().cloned(), 0);
        let answer = persist(QUICK, &CancellationToken::new(), Some(&probe), || {
            tries += 1;
            ready(answers.next().expect("it isn't asked as often as that"))
        })
        .await;
        assert_eq!(probe.0.lock().unwrap().len(), 0, "another request isn't tried as often as it should be");
        (answer, tries)
    }

    #[tokio::test]
    async fn r6_an_outage_of_any_length_ends_with_the_answer() {
        let mut tries = 0;
        let stop = CancellationToken::new();
        let answer = persist(QUICK, &stop, None, || {
            tries += 1;
            ready(if tries < 200 { Err(away()) } else { Ok(tries) })
        });
        assert_eq!(answer.await, Ok(200));
    }

    #[tokio::test]
    async fn r6_a_homeserver_that_forgot_our_token_is_waited_for() {
        let mut tries = 0;
        let stop = CancellationToken::new();
        let answer = persist(QUICK, &stop, None, || {
            tries += 1;
            let message = "Unknown token".to_owned();
            ready(if tries < 3 { Err(MatrixError::BadToken { asked: "ask".to_owned(), message }) } else { Ok(tries) })
        });
        assert_eq!(answer.await, Ok(3));
    }

    #[tokio::test]
    async fn a_fault_over_this_request_alone_comes_back() {
        // The fourth is asked after another request worked.
        assert_eq!(ask(&[true], &[Err(fault()), Err(fault()), Err(fault()), Err(fault())]).await, (Err(fault()), 4));
        // No answer at all says nothing about the request.
        let answers = [Err(fault()), Err(fault()), Err(away()), Err(fault()), Err(fault()), Err(fault()), Err(fault())];
        assert_eq!(ask(&[true], &answers).await, (Err(fault()), 7));
    }

    #[tokio::test]
    async fn r6_a_fault_over_everything_is_waited_out() {
        let faults = |count| vec![Err(fault()); count];
        let back = |count| [faults(count), vec![Ok(())]].concat();
        assert_eq!(ask(&[false, false, false], &back(5)).await, (Ok(()), 6));
        // It came back between the request and the other one.
        assert_eq!(ask(&[false, true], &back(4)).await, (Ok(()), 5));
        // It came back, and went away.
        let answers = [faults(3), vec![Err(away())], faults(2), vec![Ok(())]].concat();
        assert_eq!(ask(&[true], &answers).await, (Ok(()), 7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_of_one_wait_grow_whatever_is_tried_between() {
        let began = tokio::time::Instant::now();
        let probe = Scripted(Mutex::new(vec![false; 100]));
        let mut tries = 0;
        let answer = persist(RetryPolicy::default(), &CancellationToken::new(), Some(&probe), || {
            tries += 1;
            ready(if tries < 30 { Err(fault()) } else { Ok(tries) })
        })
        .await;
        assert_eq!(answer, Ok(30));
        assert!(began.elapsed() > Duration::from_mins(5), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn other_errors_come_back_at_once() {
        let mut tries = 0;
        let answer: Result<(), _> = persist(QUICK, &CancellationToken::new(), None, || {
            tries += 1;
            ready(Err(MatrixError::NotFound { asked: "ask".to_owned(), message: "no".to_owned() }))
        })
        .await;
        assert!(matches!(answer, Err(MatrixError::NotFound { .. })));
        assert_eq!(tries, 1);
    }

    #[tokio::test]
    async fn stopping_ends_a_pause_and_a_hanging_call() {
        let slow = RetryPolicy { first: Duration::from_hours(1), ..RetryPolicy::default() };
        let stop = CancellationToken::new();
        let mut tries = 0;
        let answer: Result<(), _> = persist(slow, &stop, None, || {
            tries += 1;
            stop.cancel();
            ready(Err(away()))
        })
        .await;
        assert_eq!((answer, tries), (Err(MatrixError::Stopped), 1));

        let stop = CancellationToken::new();
        let hanging = persist(slow, &stop, None, || {
            stop.cancel();
            pending::<Result<(), _>>()
        });
        assert_eq!(hanging.await, Err(MatrixError::Stopped));
    }

    #[test]
    fn pauses_grow_to_the_limit_and_obey_the_homeserver() {
        let policy = RetryPolicy::default();
        let at_most = |failures| policy.pause(failures, None, 1.0).as_millis();
        assert_eq!([1, 2, 3, 8, 9].map(at_most), [250, 500, 1_000, 30_000, 30_000]);
        assert_eq!(policy.pause(1, None, 0.0).as_millis(), 125);
        assert_eq!(policy.pause(9, Some(Duration::from_secs(2)), 0.0), Duration::from_secs(2));
        assert_eq!(policy.pause(1, Some(Duration::from_hours(24)), 0.0), policy.most_asked);
    }

    proptest! {
        #[test]
        fn no_pause_is_out_of_bounds(failures in 1_u32.., asked: Option<u64>, luck in 0.0..1.0_f64) {
            let policy = RetryPolicy::default();
            let pause = policy.pause(failures, asked.map(Duration::from_secs), luck);
            match asked.map(Duration::from_secs) {
                None => prop_assert!(pause >= policy.first / 2 && pause <= policy.most),
                Some(asked) => {
                    let asked = asked.min(policy.most_asked);
                    prop_assert!(pause >= asked && pause <= asked + policy.first);
                }
            }
        }
    }
}
