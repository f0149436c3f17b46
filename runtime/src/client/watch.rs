//! Follows a job to its end. A lost connection is made again and the job followed anew, for a bounded time.

use super::{
    check::{Expectation, Lie},
    collect::{Collector, Jobs, Seen},
    session::{Events, Session, SessionError},
    target::Target,
};
use denali_protocol::{identity::KeyPair, job::JobId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first wait before a new connection; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A node that cannot be reached for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a job cannot be followed any further. It goes on without the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The node says no, or does not speak the protocol.
    #[error(transparent)]
    Session(SessionError),
    /// The node could not be reached for too long.
    #[error("lost the node, and could not reach it again for {} s", PATIENCE.as_secs())]
    GivenUp(#[source] SessionError),
    /// The node says what is not so.
    #[error("the node lies about job {job}: {lie}")]
    Lie {
        /// The job.
        job: JobId,
        /// What is not so.
        lie: Lie,
    },
}

/// Something to show.
#[derive(Debug)]
pub(crate) enum Step {
    /// Of the job.
    Seen(Seen),
    /// The connection was lost, and is about to be made again.
    Lost {
        /// Why.
        why: SessionError,
        /// How long it waits before.
        wait: Duration,
    },
    /// The connection is there again.
    Found,
}

enum Link {
    Live(Events),
    Lost { since: Instant, wait: Duration },
}

/// Follows one job or array.
pub(crate) struct Watch<'a> {
    target: &'a Target,
    key: &'a KeyPair,
    expectation: Expectation,
    collector: Collector,
    session: Session,
    link: Link,
}

impl<'a> Watch<'a> {
    /// Follows a job whose `events` flow already.
    pub(crate) fn new(
        target: &'a Target,
        key: &'a KeyPair,
        session: Session,
        events: Events,
        expectation: Expectation,
        jobs: Jobs,
    ) -> Self {
        let collector = Collector::new(expectation.clone(), jobs);
        Self { target, key, expectation, collector, session, link: Link::Live(events) }
    }

    /// The session in use.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The next thing to show. The last is [`Seen::Done`].
    pub(crate) async fn next(&mut self) -> Result<Step, WatchError> {
        loop {
            match &mut self.link {
                Link::Live(events) => match events.next().await {
                    Ok(event) => {
                        let seen = self.collector.event(event).map_err(|lie| self.lie(lie))?;
                        if let Some(seen) = seen {
                            return Ok(Step::Seen(seen));
                        }
                    }
                    Err(why) if why.is_transient() => {
                        self.link = Link::Lost { since: Instant::now(), wait: FIRST_WAIT };
                        return Ok(Step::Lost { why, wait: FIRST_WAIT });
                    }
                    Err(error) => return Err(WatchError::Session(error)),
                },
                Link::Lost { since, wait } => {
                    let (since, wait) = (*since, *wait);
                    sleep(wait).await;
                    match self.follow_again().await {
                        Ok(()) => return Ok(Step::Found),
                        Err(why) if !why.is_transient() => return Err(WatchError::Session(why)),
                        Err(why) if since.elapsed() > PATIENCE => return Err(WatchError::GivenUp(why)),
                        Err(why) => {
                            let wait = (wait * 2).min(LONGEST_WAIT);
                            self.link = Link::Lost { since, wait };
                            return Ok(Step::Lost { why, wait });
                        }
                    }
                }
            }
        }
    }

    async fn follow_again(&mut self) -> Result<(), SessionError> {
        self.session = Session::open(self.target, self.key).await?;
        let events = self.session.follow(&self.expectation.job).await?;
        self.collector.restart();
        self.link = Link::Live(events);
        Ok(())
    }

    fn lie(&self, lie: Lie) -> WatchError {
        WatchError::Lie { job: self.expectation.job.clone(), lie }
    }
}
