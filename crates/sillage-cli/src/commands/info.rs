//! `sillage info`: what a model is and what it costs.

use crate::console;
use crate::loading::ModelArgs;
use anyhow::Result;
use serde_json::json;

/// Show what a model is: architecture, parameters, weight types, bytes of weights and of state
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let loaded = args.model.load()?;
    let (model, checkpoint) = (&loaded.model, &loaded.checkpoint);
    let layout = model.layout();
    let stored = checkpoint.describe_types();
    if args.json {
        let types = |bytes: u64, parameters: u64| json!({"bytes": bytes, "parameters": parameters});
        let report = json!({
            "model": loaded.name,
            "architecture": model.description().architecture,
            "layers": model.description().layers,
            "d_model": model.description().d_model,
            "vocab": model.vocab(),
            "parameters": model.parameters(),
            "weight_bytes": model.weight_bytes(),
            "weight_types": model.weight_types().into_iter()
                .map(|(name, g)| (name, types(g.bytes, g.parameters)))
                .collect::<serde_json::Map<_, _>>(),
            "stored_types": stored.iter()
                .map(|(name, t)| ((*name).to_owned(), types(t.bytes, t.parameters)))
                .collect::<serde_json::Map<_, _>>(),
            "state_bytes_per_session": layout.fixed_bytes(),
            "state_bytes_per_token": layout.bytes_per_token(),
            "flops_per_token": model.flops_per_token(),
            "fingerprint": layout.model().to_string(),
        });
        say!("{report}");
        return Ok(());
    }
    say!("{}", loaded.name);
    say!("{}", model.description().to_string().trim_end());
    say!("parameters: {}", console::count(model.parameters()));
    say!(
        "weights in memory: {}",
        console::bytes(model.weight_bytes())
    );
    for (name, group) in model.weight_types() {
        let bits = 8.0 * group.bytes as f64 / group.parameters.max(1) as f64;
        say!(
            "  {name}: {} matrices, {} parameters, {} ({bits:.2} bits each)",
            group.matrices,
            console::count(group.parameters),
            console::bytes(group.bytes)
        );
    }
    say!(
        "state per session: {}",
        console::bytes(layout.fixed_bytes())
    );
    match layout.bytes_per_token() {
        0 => say!("state per token of context: none; it does not grow"),
        n => say!(
            "attention caches per token of context: {}",
            console::bytes(n)
        ),
    }
    say!("fingerprint: {}", layout.model());
    Ok(())
}
