use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::api::{ApiError, ApiResult};

const PATIENCE: Duration = Duration::from_mins(1);
const TOPIC: Topic = Topic("things");

type Log = Arc<Mutex<Vec<String>>>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn log(to: &Log, line: impl Into<String>) {
    to.lock().unwrap().push(line.into());
}

fn lines(of: &Log) -> Vec<String> {
    of.lock().unwrap().clone()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the form of a function that saves"
)]
fn saved(_: Saved) -> ApiResult<()> {
    Ok(())
}

async fn yield_often() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Repeatedly sleeps, logs, and works for a short time.
fn spawn(clock: &Clock, to: &Log, name: &'static str, sleeps: &'static [u64]) {
    let (mut work, to) = (clock.begin(name), to.clone());
    tokio::spawn(async move {
        yield_often().await;
        for length in sleeps {
            work.sleep(seconds(*length)).await;
            yield_often().await;
            log(&to, format!("{name}{length}"));
            yield_often().await;
        }
    });
}

#[tokio::test]
async fn due_events_happen_in_order_and_nothing_is_overtaken() {
    let clock = Clock::new(Saved::default());
    let (log, start) = (Log::default(), clock.now());
    // The second sleep of `a` begins only after the first, so its event would come last if time passed
    // while `a` works.
    spawn(&clock, &log, "a", &[100, 101, 1000]);
    spawn(&clock, &log, "b", &[150]);
    spawn(&clock, &log, "c", &[300, 5000]);
    let reached = clock.advance(seconds(400), PATIENCE, saved).await.unwrap();
    assert_eq!(lines(&log), ["a100", "b150", "a101", "c300"]);
    assert!(reached >= start + seconds(400));
    assert!(reached < start + seconds(1000), "real time is short");
    clock.advance(seconds(5000), PATIENCE, saved).await.unwrap();
    assert_eq!(lines(&log)[4..], ["a1000", "c5000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_overtaken_by_another_thread() {
    for _ in 0..50 {
        let clock = Clock::new(Saved::default());
        let log = Log::default();
        spawn(&clock, &log, "a", &[1000, 1000, 1000, 1000]);
        spawn(&clock, &log, "b", &[1500, 2000]);
        clock.advance(seconds(6000), PATIENCE, saved).await.unwrap();
        assert_eq!(
            lines(&log),
            ["a1000", "b1500", "a1000", "a1000", "b2000", "a1000"]
        );
    }
}

#[tokio::test]
async fn work_that_begins_during_an_advance_is_waited_for() {
    let clock = Clock::new(Saved::default());
    let to = Log::default();
    let (mut first, starts, also) = (clock.begin("first"), clock.clone(), to.clone());
    tokio::spawn(async move {
        first.sleep(seconds(10)).await;
        let mut second = starts.begin("second");
        tokio::spawn(async move {
            yield_often().await;
            second.sleep(seconds(20)).await;
            yield_often().await;
            log(&also, "second");
        });
    });
    clock.advance(seconds(40), PATIENCE, saved).await.unwrap();
    assert_eq!(lines(&to), ["second"]);
}

#[tokio::test]
async fn an_announcement_wakes_and_is_not_missed() {
    let clock = Clock::new(Saved::default());
    let to = Log::default();
    let (mut watcher, time, also) = (clock.begin("watcher"), clock.clone(), to.clone());
    let end = clock.now() + seconds(100);
    tokio::spawn(async move {
        let mut seen = 0;
        while time.now() < end {
            watcher.sleep_until_announced(end, TOPIC, seen).await;
            yield_often().await;
            seen = time.announced(TOPIC);
            log(&also, format!("seen {seen}"));
        }
    });
    let (mut announcer, voice) = (clock.begin("announcer"), clock.clone());
    let mut other = clock.begin("other");
    let also = to.clone();
    tokio::spawn(async move {
        voice.announce(TOPIC);
        announcer.sleep(seconds(50)).await;
        voice.announce(TOPIC);
    });
    tokio::spawn(async move {
        other.sleep(seconds(51)).await;
        log(&also, "other");
    });
    clock.advance(seconds(100), PATIENCE, saved).await.unwrap();
    // The first announcement came before the watcher slept. The watcher had finished with the second one
    // before the next event.
    assert_eq!(lines(&to), ["seen 1", "seen 2", "other", "seen 2"]);
}

#[tokio::test]
async fn a_cancelled_sleep_makes_work_busy_and_dropped_work_is_over() {
    let clock = Clock::new(Saved::default());
    let mut work = clock.begin("a deployment");
    {
        let sleep = work.sleep(seconds(100));
        tokio::pin!(sleep);
        assert!(futures::poll!(&mut sleep).is_pending());
        clock.advance(seconds(1), PATIENCE, saved).await.unwrap();
    }
    let refused = clock.advance(seconds(1), Duration::ZERO, saved).await;
    assert!(refused.unwrap_err().message.contains("a deployment"));
    drop(work);
    clock
        .advance(seconds(1), Duration::ZERO, saved)
        .await
        .unwrap();
}

#[tokio::test]
async fn hung_work_ends_an_advance_with_its_name() {
    let clock = Clock::new(Saved::default());
    let start = clock.now();
    let mut hangs = clock.begin("the update of endpoint flights");
    let task = tokio::spawn(async move {
        hangs.sleep(seconds(10)).await;
        std::future::pending::<()>().await;
    });
    // Other work that sleeps and wakes all the time is no reason to wait longer.
    let (mut other, stop) = (clock.begin("other"), Arc::new(AtomicU32::new(0)));
    let stopped = stop.clone();
    tokio::spawn(async move {
        while stopped.load(Ordering::Relaxed) == 0 {
            other.sleep(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    });
    let short = Duration::from_millis(20);
    let error = loop {
        match clock.advance(seconds(1000), short, saved).await {
            Err(error) if error.message.contains("flights") => break error,
            // On a slow machine, the other work can be named first.
            _ => assert!(clock.now() < start + seconds(1_000_000)),
        }
    };
    assert_eq!((error.code.as_str(), error.status), ("RequestTimeout", 504));
    assert!(error.message.contains("did not finish within 0.02 seconds"));
    // The time that was reached stays.
    assert!(clock.now() >= start + seconds(10));
    stop.store(1, Ordering::Relaxed);
    task.abort();
}

#[tokio::test]
async fn one_advance_at_a_time() {
    let clock = Clock::new(Saved::default());
    let work = clock.begin("work");
    let first = clock.advance(seconds(10), PATIENCE, saved);
    tokio::pin!(first);
    assert!(futures::poll!(&mut first).is_pending());
    let second = clock.advance(seconds(10), PATIENCE, saved).await;
    assert_eq!(second.unwrap_err().code, "ConflictException");
    drop(work);
    first.await.unwrap();
    clock.advance(seconds(10), PATIENCE, saved).await.unwrap();
}

#[tokio::test]
async fn an_advance_ends_when_the_server_shuts_down() {
    let clock = Clock::new(Saved::default());
    let start = clock.now();
    let mut alarms = clock.begin("the evaluation of alarms");
    let closing = clock.clone();
    tokio::spawn(async move {
        alarms.sleep(seconds(60)).await;
        // The server ends this work before what is due later.
        closing.close();
    });
    let stopped = clock.advance(seconds(86_400), PATIENCE, saved).await;
    assert_eq!(stopped.unwrap_err().code, "ServiceUnavailable");
    assert!(clock.now() < start + seconds(3600));
}

#[tokio::test]
async fn time_does_not_move_before_it_is_saved() {
    let clock = Clock::new(Saved::default());
    let start = clock.now();
    let full = |_: Saved| Err(ApiError::unavailable("the disk is full"));
    let refused = clock.advance(seconds(86_400), PATIENCE, full).await;
    assert!(refused.unwrap_err().is_unavailable());
    assert!(clock.now() < start + seconds(86_400));
}

#[tokio::test]
async fn time_does_not_run_backwards() {
    let kept = Mutex::new(Saved::default());
    let save = |saved| {
        *kept.lock().unwrap() = saved;
        Ok(())
    };
    let clock = Clock::new(Saved::default());
    let reached = clock
        .advance(seconds(86_400), PATIENCE, save)
        .await
        .unwrap();
    let saved = *kept.lock().unwrap();
    let next = Clock::new(saved);
    assert!(next.now() >= reached && next.epoch() >= super::seconds(reached));
    assert!(next.now() < reached + seconds(86_400));
    // The machine's clock was set back by a day since.
    let set_back = Saved { offset: 0, ..saved };
    assert!(Clock::new(set_back).now() >= reached);
    // It is ahead of the offset.
    let epoch = Saved {
        offset: 5,
        reached: Timestamp::UNIX_EPOCH,
    };
    assert_eq!(Clock::new(epoch).lock().offset, 5);
}
