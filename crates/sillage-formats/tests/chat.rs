//! Chat templates as published models write them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

use serde_json::json;
use sillage_formats::{ChatError, ChatTemplate, Message};

fn messages() -> Vec<Message> {
    vec![
        Message::new("system", "Be brief."),
        Message::new("user", " Hi <b> "),
        Message::new("assistant", "Hello"),
    ]
}

fn render(template: &str, add: bool) -> Result<String, ChatError> {
    let tokens =
        json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "model_max_length": 5});
    ChatTemplate::new(template.to_owned(), Some(&tokens)).render(&messages(), add)
}

#[test]
fn chatml() {
    let template = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b><|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n";
    assert_eq!(render(template, false).unwrap(), expected);
    assert_eq!(
        render(template, true).unwrap(),
        format!("{expected}<|im_start|>assistant\n")
    );
}

#[test]
fn blocks_on_their_own_lines_leave_nothing() {
    let template = "{{ bos_token }}\n{%- for message in messages %}\n    {%- if message.role == 'user' %}\n        {{- '[INST] ' + message.content.strip() + ' [/INST]' }}\n    {%- elif message.role == 'assistant' %}\n        {% generation %}{{- message.content + eos_token }}{% endgeneration %}\n    {%- endif %}\n{%- endfor %}\n";
    assert_eq!(
        render(template, false).unwrap(),
        "<s>[INST] Hi <b> [/INST]Hello</s>"
    );
    let trimmed = "a\n  {% if true %}\nb\n  {% endif %}\nc";
    assert_eq!(render(trimmed, false).unwrap(), "a\nb\nc");
}

#[test]
fn python_isms() {
    let template = "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{%- if loop.index0 == 2 -%}{%- break -%}{%- endif -%}{%- endfor -%}{{ ns.n }} {{ messages[0].content.startswith('Be') }} {{ messages[-1]['role'].upper() }} {{ messages[1:] | length }} {% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{{ messages[1].content.split('<')[1] }} {{ 'x' is defined }} {{ tools is defined }} {{ tools is not none }}";
    assert_eq!(
        render(template, false).unwrap(),
        "3 True ASSISTANT 2 role=system;content=Be brief.;b>  True False True"
    );
}

#[test]
fn json_is_written_as_python_writes_it() {
    let text = render("{{ messages[1] | tojson }}", false).unwrap();
    assert_eq!(text, r#"{"role": "user", "content": " Hi <b> "}"#);
    let text = render("{{ {'a': [1, 2], 'é': none} | tojson(indent=2) }}", false).unwrap();
    assert_eq!(text, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"é\": null\n}");
}

#[test]
fn further_variables_and_dates() {
    let template = ChatTemplate::new(
        "{{ tools[0].name }} {{ strftime_now('%Y')|length }}".into(),
        None,
    );
    let text = template
        .render_with(&[], false, &json!({"tools": [{"name": "clock"}]}))
        .unwrap();
    assert_eq!(text, "clock 4");
}

#[test]
fn failures_are_told_apart() {
    let refused = render("{{ raise_exception('roles must alternate') }}", false).unwrap_err();
    assert!(
        matches!(&refused, ChatError::Refused(m) if m == "roles must alternate"),
        "{refused}"
    );
    assert!(matches!(
        render("{% for x in %}", false),
        Err(ChatError::Template(_))
    ));
    assert!(matches!(
        render("{{ messages[0].content.nothing() }}", false),
        Err(ChatError::Failed(_))
    ));
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    let error = render(endless, false).unwrap_err().to_string();
    assert!(error.contains("without end"), "{error}");
}
