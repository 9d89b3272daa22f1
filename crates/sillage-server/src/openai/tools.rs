//! Tools: what a model may call, and what it called.
//!
//! Where a call is demanded, it is written under a JSON schema and is always one.
//! Where it is the model's choice, the template tells it of the tools, and its
//! answer is looked through for calls in the forms that models are trained on:
//! `<tool_call>{…}</tool_call>`, or an object with a name and arguments alone.

use crate::fault::Fault;
use serde_json::{Value, json};

/// Most tools of a request.
const MOST: usize = 128;
const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

#[derive(Clone, Debug, PartialEq)]
struct Tool {
    name: String,
    description: Value,
    parameters: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Choice {
    Auto,
    Required,
    Named(String),
}

impl Tool {
    /// A tool in chat's form or in that of responses.
    fn parse(tool: &Value) -> Result<Self, Fault> {
        let wrong = |message: String| Err(Fault::bad("tools", message));
        let kind = &tool["type"];
        if !kind.is_null() && kind != "function" {
            return wrong(format!(
                "tools of type {kind} are not run here: give functions"
            ));
        }
        let function = tool.get("function").unwrap_or(tool);
        let Some(name) = function["name"].as_str().filter(|n| !n.is_empty()) else {
            return wrong("every tool needs a name".to_owned());
        };
        let parameters = match &function["parameters"] {
            Value::Null => json!({ "type": "object", "properties": {} }),
            parameters @ Value::Object(_) => parameters.clone(),
            _ => return wrong(format!("the parameters of '{name}' are no JSON schema")),
        };
        Ok(Self {
            name: name.to_owned(),
            description: function["description"].clone(),
            parameters,
        })
    }
}

impl Choice {
    /// What a request chooses of `list`; nothing if no tool may be called.
    fn parse(choice: Option<&Value>, list: &[Tool]) -> Result<Option<Self>, Fault> {
        let wrong = |message: String| Err(Fault::bad("tool_choice", message));
        Ok(match choice {
            None | Some(Value::Null) => Some(Self::Auto),
            Some(Value::String(word)) => match word.as_str() {
                "none" => None,
                "auto" => Some(Self::Auto),
                "required" => Some(Self::Required),
                _ => return wrong("say none, auto, required, or name a function".to_owned()),
            },
            Some(object) => {
                let function = object.get("function").unwrap_or(object);
                let name = function["name"].as_str().unwrap_or_default();
                if !list.iter().any(|tool| tool.name == name) {
                    return wrong(format!("'{name}' is not among the tools"));
                }
                Some(Self::Named(name.to_owned()))
            }
        })
    }
}

/// The tools of a request that may be called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tools {
    list: Vec<Tool>,
    choice: Choice,
}

/// A call that a model made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Call {
    /// As chat tells it.
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

impl Tools {
    /// The tools of a request, in chat's form or in that of responses; `None` if
    /// there are none, or none may be called.
    ///
    /// # Errors
    /// If a tool has no name, or the one demanded is not there.
    pub(super) fn parse(
        tools: Option<&Value>,
        choice: Option<&Value>,
    ) -> Result<Option<Self>, Fault> {
        let given = match tools {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => return Err(Fault::bad("tools", "tools is a list of functions")),
        };
        if given.len() > MOST {
            return Err(Fault::bad(
                "tools",
                format!("at most {MOST} tools are taken"),
            ));
        }
        let list: Vec<Tool> = given.iter().map(Tool::parse).collect::<Result<_, _>>()?;
        let Some(choice) = Choice::parse(choice, &list)? else {
            return Ok(None);
        };
        Ok((!list.is_empty()).then_some(Self { list, choice }))
    }

    /// Demands a call where the model could not choose one by itself.
    pub(super) fn settle(&mut self, template: Option<&str>, answers_a_result: bool) {
        let knows = template.is_some_and(|source| source.contains("tools"));
        if self.choice == Choice::Auto && !knows && !answers_a_result {
            self.choice = Choice::Required;
        }
    }

    /// The schema of a call, where one is demanded.
    pub(super) fn schema(&self) -> Option<Value> {
        let wanted = |tool: &&Tool| match &self.choice {
            Choice::Auto => false,
            Choice::Required => true,
            Choice::Named(name) => tool.name == *name,
        };
        let calls: Vec<Value> = self
            .list
            .iter()
            .filter(wanted)
            .map(|tool| {
                json!({
                    "type": "object",
                    "properties": { "name": { "const": tool.name }, "arguments": tool.parameters },
                    "required": ["name", "arguments"],
                    "additionalProperties": false,
                })
            })
            .collect();
        match calls.len() {
            0 => None,
            1 => calls.into_iter().next(),
            _ => Some(json!({ "anyOf": calls })),
        }
    }

    /// What the template is told.
    pub(super) fn variables(&self) -> Value {
        let tools = self.list.iter().map(|tool| {
            json!({ "type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.parameters,
            } })
        });
        json!({ "tools": tools.collect::<Vec<_>>() })
    }

    /// The calls in an answer, and its text before the first.
    pub(super) fn calls(&self, text: &str) -> (String, Vec<Call>) {
        let mut calls = Vec::new();
        let (said, mut rest) = match text.split_once(OPEN) {
            Some((said, rest)) => (said, Some(rest)),
            None => {
                let alone = serde_json::from_str(text.trim()).ok();
                let call = alone.and_then(|value: Value| self.call(&value));
                return match call.or_else(|| self.cut_off(text)) {
                    Some(call) => (String::new(), vec![call]),
                    None => (text.to_owned(), calls),
                };
            }
        };
        while let Some(inside) = rest {
            let (body, after) = inside.split_once(CLOSE).unwrap_or((inside, ""));
            let value: Option<Value> = serde_json::from_str(body.trim()).ok();
            calls.extend(value.and_then(|value| self.call(&value)));
            rest = after.split_once(OPEN).map(|(_, rest)| rest);
        }
        if calls.is_empty() {
            return (text.to_owned(), calls);
        }
        (said.trim_end().to_owned(), calls)
    }

    /// A demanded call that has no end: its arguments as far as they go.
    fn cut_off(&self, text: &str) -> Option<Call> {
        if self.choice == Choice::Auto {
            return None;
        }
        let (_, rest) = text.split_once("\"name\":")?;
        let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        let arguments = rest
            .split_once("\"arguments\":")
            .map_or("", |(_, given)| given);
        let known = self.list.iter().any(|tool| tool.name == name);
        known.then(|| Call {
            id: format!("call_{}", uuid::Uuid::new_v4().simple()),
            name: name.to_owned(),
            arguments: arguments.trim().to_owned(),
        })
    }

    fn call(&self, value: &Value) -> Option<Call> {
        let name = value["name"].as_str()?;
        if !self.list.iter().any(|tool| tool.name == name) {
            return None;
        }
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => return None,
        };
        Some(Call {
            id: format!("call_{}", uuid::Uuid::new_v4().simple()),
            name: name.to_owned(),
            arguments,
        })
    }
}

/// Lets text through while it streams, and holds back what may be a call.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// `None` lets everything through.
    tools: Option<Tools>,
    text: String,
    passed: usize,
}

impl Sieve {
    pub(super) fn new(tools: Option<Tools>) -> Self {
        Self {
            tools,
            text: String::new(),
            passed: 0,
        }
    }

    /// Adds text; what can be shown of it.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.text.push_str(text);
        let end = match &self.tools {
            None => self.text.len(),
            Some(tools) if tools.choice != Choice::Auto => 0,
            Some(_) => safe_end(&self.text),
        };
        let shown = self
            .text
            .get(self.passed..end)
            .unwrap_or_default()
            .to_owned();
        self.passed += shown.len();
        shown
    }

    /// All of the text, what was not shown of it, and the calls.
    pub(super) fn finish(self) -> (String, String, Vec<Call>) {
        let Some(tools) = &self.tools else {
            return (self.text, String::new(), Vec::new());
        };
        let (said, calls) = tools.calls(&self.text);
        let rest = said.get(self.passed..).unwrap_or_default().to_owned();
        (said, rest, calls)
    }
}

/// Up to where a text is certainly no call.
fn safe_end(text: &str) -> usize {
    if text.trim_start().starts_with('{') || text.trim_start().is_empty() {
        return 0;
    }
    if let Some(at) = text.find(OPEN) {
        return at;
    }
    let partial = (1..OPEN.len()).rev().find(|n| text.ends_with(&OPEN[..*n]));
    text.len() - partial.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather(choice: Value) -> Tools {
        let tools = json!([{ "type": "function", "function": {
            "name": "weather", "parameters": { "type": "object", "properties": { "city": { "type": "string" } } },
        } }]);
        Tools::parse(Some(&tools), Some(&choice)).unwrap().unwrap()
    }

    #[test]
    fn both_forms_are_read_and_mistakes_told() {
        let flat = json!([{ "type": "function", "name": "weather" }]);
        assert!(Tools::parse(Some(&flat), None).unwrap().is_some());
        assert_eq!(
            Tools::parse(Some(&flat), Some(&json!("none"))).unwrap(),
            None
        );
        assert_eq!(Tools::parse(None, None).unwrap(), None);
        let other = json!({ "type": "function", "function": { "name": "nothing" } });
        assert!(Tools::parse(Some(&flat), Some(&other)).is_err());
        assert!(Tools::parse(Some(&json!([{ "type": "web_search" }])), None).is_err());
        assert!(Tools::parse(Some(&json!([{}])), None).is_err());
        assert!(Tools::parse(Some(&json!("weather")), None).is_err());
        assert!(Tools::parse(Some(&json!([{ "name": "a", "parameters": [] }])), None).is_err());
        assert!(Tools::parse(None, Some(&json!("sometimes"))).is_err());
        assert_eq!(
            Tools::parse(Some(&json!([])), Some(&json!("auto"))).unwrap(),
            None
        );
    }

    #[test]
    fn calls_are_found_in_both_forms() {
        let tools = weather(json!("auto"));
        let (said, calls) = tools.calls("Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>");
        assert_eq!((said.as_str(), calls.len()), ("Let me see.", 1));
        assert_eq!(calls[0].arguments, "{\"city\":\"Rome\"}");
        let (said, calls) = tools.calls(" {\"name\":\"weather\",\"arguments\":{}} ");
        assert_eq!((said.as_str(), calls.len()), ("", 1));
        for text in [
            "{\"name\":\"other\",\"arguments\":{}}",
            "<tool_call>broken",
            "plain",
        ] {
            assert_eq!(tools.calls(text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn a_sieve_shows_all_that_is_no_call_and_nothing_that_is() {
        let text =
            "Hello <b>you</b>. <tool_call>{\"name\":\"weather\",\"arguments\":{}}</tool_call>";
        for step in 1..9 {
            let mut sieve = Sieve::new(Some(weather(json!("auto"))));
            let letters: Vec<char> = text.chars().collect();
            let mut shown = String::new();
            for piece in letters.chunks(step) {
                shown += &sieve.push(&piece.iter().collect::<String>());
            }
            let (said, rest, calls) = sieve.finish();
            assert_eq!(shown, "Hello <b>you</b>. ", "{step}");
            assert_eq!(
                (said.as_str(), rest.as_str(), calls.len()),
                ("Hello <b>you</b>.", "", 1)
            );
        }
        let mut plain = Sieve::new(None);
        assert_eq!(plain.push("{\"a\""), "{\"a\"");
        let mut late = Sieve::new(Some(weather(json!("auto"))));
        assert_eq!(late.push("{ no"), "");
        assert_eq!(late.finish().1, "{ no");
    }

    #[test]
    fn a_call_that_was_cut_off_is_a_call() {
        let cut = r#"{"name":"weather","arguments":{"city":"Ro"#;
        let (said, calls) = weather(json!("required")).calls(cut);
        assert_eq!(
            (said.as_str(), calls[0].arguments.as_str()),
            ("", "{\"city\":\"Ro")
        );
        assert!(weather(json!("auto")).calls(cut).1.is_empty());
    }

    #[test]
    fn a_demanded_call_has_a_schema() {
        assert_eq!(weather(json!("auto")).schema(), None);
        let schema = weather(json!("required")).schema().unwrap();
        assert_eq!(schema["properties"]["name"]["const"], "weather");
    }
}
