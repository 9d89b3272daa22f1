//! What is written under a schema is an instance of it, whatever the logits say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use sillage_engine::{GrammarError, Sampler, Sampling, Vocabulary};
use sillage_formats::{Checkpoint, Tokenizer};
use std::path::Path;

fn tokenizer() -> (Tokenizer, u32) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/booklet/booklet.safetensors");
    let checkpoint = Checkpoint::open(path).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let end = checkpoint.generation_defaults(Some(&tokenizer)).eos[0];
    (tokenizer, end)
}

/// Text written by dice under a schema, within `most` tokens; `None` if it has no end by then.
fn roll(
    vocabulary: &Vocabulary,
    tokenizer: &Tokenizer,
    end: u32,
    schema: &Value,
    seed: u64,
    most: usize,
) -> Option<String> {
    let mut grammar = vocabulary.json_schema(schema, most).unwrap();
    let sampling = Sampling {
        temperature: 1.0,
        top_p: 1.0,
        seed,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(sampling).unwrap();
    let mut tokens = vec![1, 2, 3];
    for _ in 0..most {
        let mut logits = vec![0.0; tokenizer.size()];
        grammar.mask(&tokens, &mut logits);
        let token = sampler.sample(&logits, &tokens).unwrap();
        if token == end {
            return Some(tokenizer.decode(&tokens[3..], false));
        }
        tokens.push(token);
    }
    None
}

#[test]
fn what_is_written_is_an_instance() {
    let (tokenizer, end) = tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.size(), &[end]).unwrap();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 20 },
            "kind": { "enum": ["cat", "dog"] },
            "legs": { "type": "integer", "minimum": 0, "maximum": 8 },
        },
        "required": ["name", "kind", "legs"],
        "additionalProperties": false,
    });
    for (seed, most) in (0..40).zip([64, 100, 200, 400].into_iter().cycle()) {
        let text = roll(&vocabulary, &tokenizer, end, &schema, seed, most);
        let text = text.unwrap_or_else(|| panic!("no end within {most} tokens"));
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let name = value["name"].as_str().unwrap();
        assert!(name.chars().count() <= 20, "{text}");
        assert!(["cat", "dog"].contains(&value["kind"].as_str().unwrap()));
        assert!(value["legs"].as_i64().is_some_and(|n| (0..=8).contains(&n)));
    }
}

/// Dice would never close a string without bounds; the end is brought about.
#[test]
fn what_has_no_bounds_ends_in_time() {
    let (tokenizer, end) = tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.size(), &[end]).unwrap();
    let free = json!({ "type": "object" });
    let nested = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string" },
            "days": { "type": "array", "items": { "type": "object", "properties": { "n": { "type": "number" } }, "required": ["n"] } },
        },
        "required": ["city", "days"],
    });
    for seed in 0..20 {
        for schema in [&free, &nested] {
            let text = roll(&vocabulary, &tokenizer, end, schema, seed, 150).unwrap();
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(value.is_object(), "{text}");
        }
    }
}

/// Schemas that would overflow a recursive compiler's stack.
#[test]
fn hostile_schemas_are_refused_or_compiled() {
    let (tokenizer, end) = tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.size(), &[end]).unwrap();
    let name = |n: usize| format!("d{n}");
    let chain = |length: usize, link: &dyn Fn(Value) -> Value| {
        let mut defs = serde_json::Map::new();
        for n in 0..length {
            let next = json!({ "$ref": format!("#/$defs/{}", name(n + 1)) });
            defs.insert(name(n), link(next));
        }
        defs.insert(name(length), json!({ "type": "string" }));
        json!({ "$defs": defs, "$ref": "#/$defs/d0" })
    };
    let nested = |length: usize| {
        (0..length).fold(
            json!({ "type": "string" }),
            |inner, _| json!({ "type": "object", "properties": { "a": inner }, "required": ["a"] }),
        )
    };
    let required: Vec<String> = (0..100_000).map(name).collect();
    let mut schemas = vec![json!({ "type": "object", "required": required })];
    for length in [60, 300, 500, 5000] {
        schemas.push(chain(length, &|next| next));
        schemas.push(chain(
            length,
            &|next| json!({ "anyOf": [next, { "type": "number" }] }),
        ));
        schemas.push(chain(length, &|next| json!({ "allOf": [next] })));
        schemas.push(nested(length / 4));
    }
    let kept = schemas
        .iter()
        .filter(|s| vocabulary.json_schema(s, 100).is_ok());
    assert!(kept.count() >= 4);
}

#[test]
fn what_is_no_schema_is_refused() {
    let (tokenizer, end) = tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.size(), &[end]).unwrap();
    for bad in [
        json!({ "type": "colour" }),
        json!({ "$ref": "#/nowhere" }),
        json!(7),
    ] {
        let refused = vocabulary.json_schema(&bad, 100);
        assert!(matches!(refused, Err(GrammarError::Schema(_))), "{bad}");
    }
    assert_eq!(
        Vocabulary::new(&tokenizer, tokenizer.size(), &[]).unwrap_err(),
        GrammarError::NoEnd
    );
}
