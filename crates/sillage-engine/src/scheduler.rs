//! Continuous batching: sessions join and leave between steps.
//!
//! A step is one `forward` over a ragged batch: one token for every session
//! that is writing, and pieces of the prompts of those that are reading. The
//! weights are read once for all of them. The pieces of one step are bounded
//! together, so a long prompt delays the writers by a bounded time, and by law
//! 1 the cut changes no bit of anyone's result.
//!
//! A session is "writing" when one of its known tokens is not yet fed and
//! "reading" when more are: there is no other difference.

use crate::prefix::PrefixCache;
use crate::request::{Cancel, Finished, Limits, Listener, Reason, Request, StepError};
use crate::sampler::Sampler;
use sillage_kernels::Compute;
use sillage_models::{ForwardError, Logits, Model, Row, Wanted};
use sillage_state::{Layout, Meta, Snapshot, State};
use std::collections::VecDeque;
use std::sync::Arc;

/// A prompt waits for another that is being read if it can so be spared this
/// many tokens.
const WORTH_WAITING: usize = 32;

/// What the scheduler steps: anything with a state that is fed tokens.
pub trait Steps: Send + Sync {
    /// The layout of one session's state.
    fn layout(&self) -> &Arc<Layout>;
    /// One more than the largest token.
    fn vocab(&self) -> usize;
    /// Feeds every row its tokens; see [`Model::forward`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    fn forward(&self, cx: &Compute, rows: &mut [Row<'_>]) -> Result<Logits, ForwardError>;
}

impl Steps for Model {
    fn layout(&self) -> &Arc<Layout> {
        Model::layout(self)
    }
    fn vocab(&self) -> usize {
        Model::vocab(self)
    }
    fn forward(&self, cx: &Compute, rows: &mut [Row<'_>]) -> Result<Logits, ForwardError> {
        Model::forward(self, cx, rows)
    }
}

struct Job {
    realm: u32,
    /// All known tokens; those from `fed` on are still to be read.
    tokens: Vec<u32>,
    prompt: usize,
    fed: usize,
    reused: usize,
    resume: Option<Snapshot>,
    state: Option<State>,
    sampler: Sampler,
    max_tokens: usize,
    end_tokens: Vec<u32>,
    /// Positions whose states to keep, ascending.
    keep: VecDeque<usize>,
    prompt_logits: bool,
    /// Logits that the listener may change.
    guided: Vec<f32>,
    bytes: u64,
    cancel: Cancel,
    listener: Box<dyn Listener>,
}

impl Job {
    fn pending(&self) -> usize {
        self.tokens.len() - self.fed
    }

    fn finish(mut self, reason: Reason) -> Finished {
        let tokens = std::mem::take(&mut self.tokens);
        let written = tokens.len() - self.prompt;
        let state = self.state.map(|state| {
            state
                .freeze()
                .with_meta(Meta::default().with_tokens(tokens))
        });
        let read = self.fed.min(self.prompt).saturating_sub(self.reused);
        let finished = Finished {
            reason,
            state,
            reused: self.reused,
            read,
            written,
        };
        self.listener.finished(finished.clone());
        finished
    }
}

/// Counters since the scheduler was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps made.
    pub steps: u64,
    /// Tokens fed.
    pub fed: u64,
    /// Prompt tokens not fed, thanks to stored states.
    pub reused: u64,
    /// States that could not be stored; the sessions went on.
    pub unsaved: u64,
}

/// Runs many sessions on one model; see the module's text.
pub struct Scheduler<M: Steps> {
    model: Arc<M>,
    cx: Arc<Compute>,
    limits: Limits,
    prefix: Option<PrefixCache>,
    waiting: VecDeque<Job>,
    running: Vec<Job>,
    /// Whose prompt is read first in the next step.
    turn: usize,
    counters: Counters,
}

impl<M: Steps> Scheduler<M> {
    /// A scheduler with no sessions. With a prefix cache, prompts resume from
    /// their deepest stored ancestors.
    pub fn new(
        model: Arc<M>,
        cx: Arc<Compute>,
        limits: Limits,
        prefix: Option<PrefixCache>,
    ) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        let counters = Counters::default();
        Self {
            model,
            cx,
            limits,
            prefix,
            waiting,
            running,
            turn: 0,
            counters,
        }
    }

    /// Puts a session in the queue. Whatever becomes of it is told to
    /// `listener`, errors included.
    pub fn submit(&mut self, request: Request, listener: Box<dyn Listener>) -> Cancel {
        let cancel = Cancel::default();
        self.submit_with(request, listener, cancel.clone());
        cancel
    }

    /// [`submit`](Self::submit) with a way to cancel that exists already.
    pub fn submit_with(
        &mut self,
        request: Request,
        mut listener: Box<dyn Listener>,
        cancel: Cancel,
    ) {
        match self.check(&request) {
            Ok((sampler, bytes)) => {
                let keep = request.marks;
                self.waiting.push_back(Job {
                    realm: request.realm,
                    prompt_logits: request.prompt_logits,
                    guided: Vec::new(),
                    prompt: request.tokens.len(),
                    tokens: request.tokens,
                    fed: 0,
                    reused: 0,
                    resume: request.resume,
                    state: None,
                    sampler,
                    max_tokens: request.max_tokens,
                    end_tokens: request.end_tokens,
                    keep: keep.into(),
                    bytes,
                    cancel,
                    listener,
                });
            }
            Err(error) => listener.finished(Finished {
                reason: Reason::Failed(error),
                state: None,
                reused: 0,
                read: 0,
                written: 0,
            }),
        }
    }

    fn check(&self, request: &Request) -> Result<(Sampler, u64), StepError> {
        let given = request.tokens.len();
        if given == 0 {
            return Err(StepError::EmptyPrompt);
        }
        // Found here and not in the step, where it would fail the others too.
        let vocab = self.model.vocab();
        if let Some(&token) = request.tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(StepError::UnknownToken { token, vocab });
        }
        if let Some(snapshot) = &request.resume {
            let position = snapshot.position();
            let beginning = snapshot.tokens().is_none_or(|t| {
                let read = usize::try_from(position).unwrap_or(usize::MAX);
                read <= t.len() && request.tokens.starts_with(&t[..read])
            });
            // At least one token must be left to read, or there is nothing to
            // choose the next one by.
            if !snapshot.state().fits(self.model.layout()) || position >= given as u64 || !beginning
            {
                return Err(StepError::ForeignState { position, given });
            }
        }
        let longest = given.saturating_add(request.max_tokens) as u64;
        let needed = self.model.layout().bytes(longest);
        let budget = self.limits.state_bytes;
        if needed > budget {
            return Err(StepError::TooLarge { needed, budget });
        }
        Ok((Sampler::new(request.sampling.clone())?, needed))
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Sessions running and waiting.
    #[must_use]
    pub fn sessions(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Bytes of state that running sessions hold now.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.running
            .iter()
            .filter_map(|job| job.state.as_ref())
            .map(State::bytes)
            .sum()
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The stored states, if this scheduler keeps any.
    pub fn prefix_mut(&mut self) -> Option<&mut PrefixCache> {
        self.prefix.as_mut()
    }

    /// Makes one step; sessions that end in it are told.
    pub fn step(&mut self) {
        self.drop_cancelled();
        self.admit();
        let shares = self.shares();
        if shares.iter().all(|&n| n == 0) {
            return;
        }
        self.counters.steps += 1;
        let outcome = {
            let mut rows: Vec<Row<'_>> = Vec::new();
            for (job, &share) in self.running.iter_mut().zip(&shares) {
                if let (Some(state), true) = (&mut job.state, share > 0) {
                    let end = job.fed + share;
                    let logits = if job.prompt_logits && job.fed < job.prompt {
                        Wanted::All
                    } else if end == job.tokens.len() {
                        Wanted::Last
                    } else {
                        Wanted::None
                    };
                    rows.push(Row {
                        state,
                        tokens: &job.tokens[job.fed..end],
                        logits,
                    });
                }
            }
            self.model.forward(&self.cx, &mut rows)
        };
        match outcome {
            Ok(logits) => self.digest(&shares, &logits),
            Err(error) => self.fail(&shares, &error.to_string()),
        }
    }

    /// How many tokens each running session is fed in this step.
    fn shares(&mut self) -> Vec<usize> {
        let count = self.running.len();
        let mut shares = vec![0; count];
        let mut budget = self.limits.piece.max(1);
        self.turn = if count == 0 {
            0
        } else {
            (self.turn + 1) % count
        };
        let readers = self.running.iter().filter(|job| job.pending() > 1).count();
        // Equal parts, so that a short prompt is not stuck behind a long one.
        let part = (budget / readers.max(1)).max(1);
        for i in (0..count).map(|i| (i + self.turn) % count) {
            let job = &self.running[i];
            shares[i] = match job.pending() {
                n @ (0 | 1) => n,
                pending => {
                    let next_keep = job.keep.iter().find(|&&k| k > job.fed).copied();
                    let until = next_keep.map_or(pending, |k| (k - job.fed).min(pending));
                    let share = until.min(part).min(budget);
                    budget -= share;
                    share
                }
            };
        }
        shares
    }

    fn drop_cancelled(&mut self) {
        for i in (0..self.running.len()).rev() {
            if self.running[i].cancel.is_set() {
                self.running.remove(i).finish(Reason::Cancelled);
            }
        }
        for i in (0..self.waiting.len()).rev() {
            if self.waiting[i].cancel.is_set()
                && let Some(job) = self.waiting.remove(i)
            {
                job.finish(Reason::Cancelled);
            }
        }
    }

    /// Lets the first in the queue in while their states fit. Nobody overtakes:
    /// a large session is not starved by small ones.
    fn admit(&mut self) {
        let mut taken: u64 = self.running.iter().map(|job| job.bytes).sum();
        while self.running.len() < self.limits.sessions.max(1) {
            let fits = |job: &Job| taken.saturating_add(job.bytes) <= self.limits.state_bytes;
            if !self.waiting.front().is_some_and(fits) || self.is_read_by_another() {
                return;
            }
            let Some(mut job) = self.waiting.pop_front() else {
                return;
            };
            taken += job.bytes;
            self.begin(&mut job);
            self.running.push(job);
        }
    }

    /// Whether a running session is about to read what the first in the queue
    /// begins with. That session then leaves a state where the two part, and
    /// the first in the queue goes on from there: shared parts are read once.
    fn is_read_by_another(&mut self) -> bool {
        let (Some(prefix), Some(job)) = (&self.prefix, self.waiting.front()) else {
            return false;
        };
        if job.resume.is_some() || job.prompt_logits {
            return false;
        }
        let known = prefix.depth(job.realm, &job.tokens);
        let most = job.tokens.len().saturating_sub(1);
        for other in &mut self.running {
            if other.realm != job.realm || other.pending() <= 1 {
                continue;
            }
            let pairs = job.tokens[..most].iter().zip(&other.tokens);
            let shared = pairs.take_while(|(a, b)| a == b).count();
            if shared > other.fed && shared >= known + WORTH_WAITING {
                let at = other.keep.partition_point(|&k| k < shared);
                if other.keep.get(at) != Some(&shared) {
                    other.keep.insert(at, shared);
                }
                return true;
            }
        }
        false
    }

    /// Gives a session its state and plans which states to keep on the way.
    fn begin(&mut self, job: &mut Job) {
        let given = job.resume.take().map(|snapshot| snapshot.resume());
        let mut keep: Vec<usize> = job.keep.drain(..).collect();
        let found = match (&mut self.prefix, given) {
            (_, Some(state)) => Some(state),
            (Some(prefix), None) if !job.prompt_logits => {
                let plan = prefix.plan(job.realm, &job.tokens);
                keep.extend(plan.keep);
                plan.state
            }
            (_, None) => None,
        };
        let state = found.unwrap_or_else(|| State::new(Arc::clone(self.model.layout())));
        job.fed = usize::try_from(state.position())
            .unwrap_or(usize::MAX)
            .min(job.tokens.len());
        job.reused = job.fed;
        self.counters.reused += job.fed as u64;
        job.state = Some(state);
        if job.prompt - job.fed >= self.limits.worth_keeping {
            keep.push(job.prompt);
        }
        keep.retain(|&k| k > job.fed && k <= job.tokens.len());
        keep.sort_unstable();
        keep.dedup();
        job.keep = keep.into();
    }

    /// Takes in the results of a step: keeps states, chooses tokens, ends sessions.
    fn digest(&mut self, shares: &[usize], logits: &Logits) {
        let mut ended = Vec::new();
        let fed = shares.iter().enumerate().filter(|(_, share)| **share > 0);
        for (row, (i, &share)) in fed.enumerate() {
            let job = &mut self.running[i];
            if job.prompt_logits && job.fed < job.prompt {
                let each = logits.row(row).chunks_exact(logits.vocab());
                for (position, values) in (job.fed..).zip(each) {
                    job.listener.read(position, values);
                }
            }
            job.fed += share;
            self.counters.fed += share as u64;
            if job.keep.front() == Some(&job.fed) {
                job.keep.pop_front();
                keep_state(&mut self.prefix, &mut self.counters, job);
            }
            if job.fed == job.tokens.len()
                && let Some(reason) = choose(job, logits.last(row))
            {
                ended.push((i, reason));
            }
        }
        for (i, reason) in ended.into_iter().rev() {
            let job = self.running.remove(i);
            // The whole conversation so far is what its next turn begins with.
            keep_state(&mut self.prefix, &mut self.counters, &job);
            job.finish(reason);
        }
    }

    /// Ends the sessions of a step that the model refused; it touched no state.
    fn fail(&mut self, shares: &[usize], error: &str) {
        for i in (0..shares.len()).rev().filter(|&i| shares[i] > 0) {
            let job = self.running.remove(i);
            job.finish(Reason::Failed(StepError::Forward(error.to_owned())));
        }
    }
}

/// Chooses the session's next token; a reason if it ends with that.
fn choose(job: &mut Job, logits: &[f32]) -> Option<Reason> {
    if job.tokens.len() - job.prompt >= job.max_tokens {
        return Some(Reason::Length);
    }
    let logits = if job.listener.guides() {
        job.guided.clear();
        job.guided.extend_from_slice(logits);
        job.listener.guide(&job.tokens, &mut job.guided);
        &job.guided
    } else {
        logits
    };
    let token = match job.sampler.sample(logits, &job.tokens) {
        Ok(token) => token,
        Err(error) => return Some(Reason::Failed(error.into())),
    };
    if job.end_tokens.contains(&token) {
        return Some(Reason::End);
    }
    job.tokens.push(token);
    if job.listener.token(token).is_break() {
        return Some(Reason::Stopped);
    }
    (job.tokens.len() - job.prompt >= job.max_tokens).then_some(Reason::Length)
}

/// Stores a session's state as it is now. A store that fails costs speed later
/// and nothing now, so it is counted, not raised.
fn keep_state(prefix: &mut Option<PrefixCache>, counters: &mut Counters, job: &Job) {
    if let (Some(prefix), Some(state)) = (prefix, &job.state) {
        let kept = prefix.keep(job.realm, &job.tokens[..job.fed], state);
        counters.unsaved += u64::from(kept.is_err());
    }
}
