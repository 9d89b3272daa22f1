//! The thread that steps a model's scheduler.

use crate::metrics::Metrics;
use sillage_engine::{Cancel, Counters, Listener, Request, Scheduler};
use sillage_models::Model;
use sillage_state::Snapshot;
use std::sync::mpsc::{Receiver, Sender};

/// What the thread is told.
pub(super) enum Command {
    Submit {
        request: Box<Request>,
        listener: Box<dyn Listener>,
        cancel: Cancel,
    },
    Keep {
        realm: u32,
        snapshot: Snapshot,
        reply: Sender<Result<(), String>>,
    },
}

/// Steps until nobody can tell it anything any more and all is done.
pub(super) fn run(mut scheduler: Scheduler<Model>, orders: &Receiver<Command>, metrics: &Metrics) {
    let mut before = Counters::default();
    let (mut running, mut waiting) = (0, 0);
    loop {
        if scheduler.is_idle() {
            match orders.recv() {
                Ok(order) => obey(&mut scheduler, order),
                Err(_) => return,
            }
        }
        while let Ok(order) = orders.try_recv() {
            obey(&mut scheduler, order);
        }
        scheduler.step();
        let now = scheduler.counters();
        metrics.states_unsaved.inc_by(now.unsaved - before.unsaved);
        before = now;
        // Several models share the gauges: each adds its own change.
        let sessions = scheduler.sessions();
        metrics.text_sessions.inc_by(sessions.0 as i64 - running);
        metrics.text_waiting.inc_by(sessions.1 as i64 - waiting);
        (running, waiting) = (sessions.0 as i64, sessions.1 as i64);
    }
}

fn obey(scheduler: &mut Scheduler<Model>, order: Command) {
    match order {
        Command::Submit {
            request,
            listener,
            cancel,
        } => scheduler.submit_with(*request, listener, cancel),
        Command::Keep {
            realm,
            snapshot,
            reply,
        } => {
            // Whoever asked may have gone.
            let _ = reply.send(keep(scheduler, realm, &snapshot));
        }
    }
}

fn keep(scheduler: &mut Scheduler<Model>, realm: u32, snapshot: &Snapshot) -> Result<(), String> {
    let read = usize::try_from(snapshot.position()).unwrap_or(usize::MAX);
    let Some(tokens) = snapshot.tokens().and_then(|t| t.get(..read)) else {
        return Err("the state was saved without the tokens that it has read".to_owned());
    };
    let Some(prefix) = scheduler.prefix_mut() else {
        return Ok(());
    };
    let kept = prefix.keep(realm, tokens, snapshot.state());
    kept.map(drop).map_err(|error| error.to_string())
}
