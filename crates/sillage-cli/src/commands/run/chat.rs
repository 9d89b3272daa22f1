//! Chat: each turn is the whole conversation as the model's template puts it;
//! the stored state of the turn before means that only the new part is read.

use super::Writer;
use anyhow::{Context, Result, bail};
use sillage_engine::Reason;
use sillage_formats::{ChatTemplate, Message};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::Ordering;

/// The entry of a state file that holds the conversation as JSON.
pub(super) const META_MESSAGES: &str = "messages";

pub(super) fn run(writer: &mut Writer<'_>, template: &ChatTemplate) -> Result<()> {
    let mut messages = begin(writer)?;
    if let Some(prompt) = &writer.args.prompt {
        return turn(writer, template, &mut messages, prompt.clone());
    }
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("Chat with {}. An empty line or Ctrl-D ends it.", writer.name);
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
            std::io::stderr().flush()?;
        }
        let Some(line) = lines.next().transpose().context("standard input: give UTF-8 text")?
        else {
            return Ok(());
        };
        if line.trim().is_empty() {
            if terminal {
                return Ok(());
            }
            continue;
        }
        turn(writer, template, &mut messages, line)?;
        // Ctrl-C ends the answer, not the chat.
        writer.interrupted.store(false, Ordering::Relaxed);
    }
}

/// The messages to go on from: those of a saved state, or the system's.
fn begin(writer: &mut Writer<'_>) -> Result<Vec<Message>> {
    let Some(snapshot) = writer.load_state()? else {
        let system = writer.args.system.iter();
        return Ok(system.map(|text| Message::new("system", text.clone())).collect());
    };
    let Some(json) = snapshot.meta().entries.get(META_MESSAGES) else {
        bail!("the saved state is not of a chat: continue it with --prompt, without --chat");
    };
    let pairs: Vec<(String, String)> =
        serde_json::from_str(json).context("the conversation in the saved state")?;
    // The template turns the messages into the same tokens again, and the
    // scheduler finds this state by them.
    if let (Some(prefix), Some(tokens)) = (writer.scheduler.prefix_mut(), snapshot.tokens()) {
        prefix.keep(&tokens[..snapshot.position() as usize], snapshot.state())?;
    }
    Ok(pairs.into_iter().map(|(role, content)| Message::new(role, content)).collect())
}

fn turn(
    writer: &mut Writer<'_>,
    template: &ChatTemplate,
    messages: &mut Vec<Message>,
    text: String,
) -> Result<()> {
    messages.push(Message::new("user", text));
    let prompt = template.render(messages, true)?;
    let tokens = writer.tokenizer.encode(&prompt, false)?;
    let turn = writer.write(tokens, None, true, None)?;
    turn.check()?;
    messages.push(Message::new("assistant", turn.text.clone()));
    let pairs: Vec<(&str, &str)> =
        messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    writer.save_state(&turn, Some(serde_json::to_string(&pairs)?))?;
    writer.report(&turn)?;
    if turn.finished.reason == Reason::Cancelled && writer.args.prompt.is_some() {
        bail!("interrupted");
    }
    Ok(())
}
