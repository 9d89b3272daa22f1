//! Chat: each turn is the whole conversation as the model's template puts it;
//! the stored state of the turn before means that only the new part is read.

use super::Writer;
use anyhow::{Context, Result, bail};
use sillage_engine::{LOCAL, Reason};
use sillage_formats::{ChatTemplate, Message};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::Ordering;

/// The entry of a state file that holds the conversation as JSON.
pub(super) const META_MESSAGES: &str = "messages";

/// A conversation and how the model has read it.
struct Chat<'a> {
    template: &'a ChatTemplate,
    messages: Vec<Message>,
    /// The text so far and its tokens as they were read and written. Encoding
    /// the text afresh could cut it differently, and nothing would be found
    /// among the stored states.
    told: Option<(String, Vec<u32>)>,
}

pub(super) fn run(writer: &mut Writer<'_>, template: &ChatTemplate) -> Result<()> {
    let mut chat = Chat::begin(writer, template)?;
    if let Some(prompt) = &writer.args.prompt {
        return chat.turn(writer, prompt.clone());
    }
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!(
            "Chat with {}. An empty line or Ctrl-D ends it.",
            writer.name
        );
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
            std::io::stderr().flush()?;
        }
        let Some(line) = lines
            .next()
            .transpose()
            .context("standard input: give UTF-8 text")?
        else {
            return Ok(());
        };
        if line.trim().is_empty() {
            if terminal {
                return Ok(());
            }
            continue;
        }
        chat.turn(writer, line)?;
        // Ctrl-C ends the answer, not the chat.
        writer.interrupted.store(false, Ordering::Relaxed);
    }
}

impl<'a> Chat<'a> {
    /// A chat that goes on from a saved state, or begins with the system's message.
    fn begin(writer: &mut Writer<'_>, template: &'a ChatTemplate) -> Result<Self> {
        let Some(snapshot) = writer.load_state()? else {
            let system = writer.args.system.iter();
            let messages = system
                .map(|text| Message::new("system", text.clone()))
                .collect();
            return Ok(Self {
                template,
                messages,
                told: None,
            });
        };
        let Some(json) = snapshot.meta().entries.get(META_MESSAGES) else {
            bail!("the saved state is not of a chat: continue it with --prompt, without --chat");
        };
        let pairs: Vec<(String, String)> =
            serde_json::from_str(json).context("the conversation in the saved state")?;
        let messages: Vec<Message> = pairs
            .into_iter()
            .map(|(role, content)| Message::new(role, content))
            .collect();
        let mut told = None;
        if let (Some(tokens), Some((answer, before))) = (snapshot.tokens(), messages.split_last()) {
            let text = template.render(before, true)? + &answer.content;
            told = Some((text, tokens.to_vec()));
            // The scheduler will find the state by the tokens it has read.
            if let Some(prefix) = writer.scheduler.prefix_mut() {
                prefix.keep(
                    LOCAL,
                    &tokens[..snapshot.position() as usize],
                    snapshot.state(),
                )?;
            }
        }
        Ok(Self {
            template,
            messages,
            told,
        })
    }

    fn turn(&mut self, writer: &mut Writer<'_>, text: String) -> Result<()> {
        self.messages.push(Message::new("user", text));
        let prompt = self.template.render(&self.messages, true)?;
        let mut tokens = match &self.told {
            Some((text, tokens)) if prompt.starts_with(text) => {
                let rest = writer.tokenizer.encode(&prompt[text.len()..], false)?;
                [tokens.as_slice(), &rest].concat()
            }
            _ => writer.tokenizer.encode(&prompt, false)?,
        };
        let turn = writer.write(tokens.clone(), None, true, None)?;
        turn.check()?;
        // What a stop string cut off was written by the model all the same, so
        // the text and the tokens no longer agree.
        self.told = (turn.finished.reason != Reason::Stopped).then(|| {
            tokens.extend(&turn.written);
            (prompt + &turn.text, tokens)
        });
        self.messages
            .push(Message::new("assistant", turn.text.clone()));
        let pairs: Vec<(&str, &str)> = self
            .messages
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        writer.save_state(&turn, Some(serde_json::to_string(&pairs)?))?;
        writer.report(&turn)?;
        if turn.finished.reason == Reason::Cancelled && writer.args.prompt.is_some() {
            bail!("interrupted");
        }
        Ok(())
    }
}
