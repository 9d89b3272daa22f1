//! Frames on their way to a context.

use super::request::Generation;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Frames that may wait.
const MOST: usize = 4096;

/// A queue that is closed at the moment when it is found empty, so that no frame
/// is lost between a context's end and the next of its name.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Generation>,
    closed: bool,
}

/// Why a frame was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// Nobody reads here any more.
    Closed(Box<Generation>),
    /// Too many wait.
    Full,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame.
    ///
    /// # Errors
    /// If nobody will read it, or too many wait.
    pub(super) fn push(&self, frame: Generation) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed(Box::new(frame)));
        }
        if inner.frames.len() >= MOST {
            return Err(Refused::Full);
        }
        inner.frames.push_back(frame);
        drop(inner);
        self.notify.notify_one();
        Ok(())
    }

    /// The next frame, when it comes.
    pub(super) async fn take(&self) -> Generation {
        loop {
            if let Some(frame) = self.lock().frames.pop_front() {
                return frame;
            }
            self.notify.notified().await;
        }
    }

    /// The next frame if one waits; otherwise this is closed.
    pub(super) fn take_or_close(&self) -> Option<Generation> {
        let mut inner = self.lock();
        let next = inner.frames.pop_front();
        inner.closed |= next.is_none();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_box_is_closed_when_it_is_empty() {
        let mailbox = Mailbox::default();
        mailbox.push(Generation::default()).unwrap();
        assert!(mailbox.take_or_close().is_some());
        mailbox.push(Generation::default()).unwrap();
        mailbox.take().await;
        assert!(mailbox.take_or_close().is_none());
        let refused = mailbox.push(Generation::default());
        assert!(matches!(refused, Err(Refused::Closed(_))));
    }

    #[tokio::test]
    async fn frames_wait_within_limits() {
        let mailbox = Mailbox::default();
        for _ in 0..MOST {
            mailbox.push(Generation::default()).unwrap();
        }
        assert!(matches!(
            mailbox.push(Generation::default()),
            Err(Refused::Full)
        ));
    }
}
