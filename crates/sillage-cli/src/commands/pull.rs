//! `sillage pull`: a model from a hub into the local cache.

use anyhow::{Context, Result, bail, ensure};
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Download a model from the Hugging Face hub, or one that speaks its protocol (HF_ENDPOINT)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model's id, e.g. state-spaces/mamba2-130m
    id: String,
    /// Branch, tag or commit
    #[arg(long, default_value = "main")]
    revision: String,
    /// Download only this file, e.g. model.Q4_K_M.gguf
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Where to keep downloads [default: the hub's own cache, see HF_HOME]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let parts: Vec<&str> = args.id.split('/').collect();
    ensure!(
        (1..=2).contains(&parts.len()) && parts.iter().all(|part| is_plain(part)),
        "{:?} is not a model id: give `owner/name`",
        args.id
    );
    let mut builder = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal());
    if let Some(cache) = &args.cache {
        builder = builder.with_cache_dir(cache.clone());
    }
    let repo = Repo::with_revision(args.id.clone(), RepoType::Model, args.revision.clone());
    let repo = builder
        .build()
        .context("cannot start the hub client")?
        .repo(repo);
    let info = repo.info().with_context(|| {
        format!(
            "cannot look up {}: check the id, the network and HF_ENDPOINT",
            args.id
        )
    })?;
    let names: Vec<String> = info
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    let wanted = choose(&names, args.file.as_deref())?;
    let mut paths = Vec::new();
    for name in &wanted {
        let path = repo
            .get(name)
            .with_context(|| format!("cannot download {name}"))?;
        paths.push(path);
    }
    let first = paths.first().context("nothing was downloaded")?;
    // A folder of safetensors is opened as a whole, a GGUF file by itself.
    let model = match first.parent() {
        Some(folder) if !wanted[0].ends_with(".gguf") => folder.to_path_buf(),
        _ => first.clone(),
    };
    if args.json {
        say!(
            "{}",
            serde_json::json!({ "id": args.id, "model": model, "files": wanted })
        );
    } else {
        say!("{}", model.display());
        eprintln!("run it: sillage run {} --prompt \"...\"", model.display());
    }
    Ok(())
}

/// A file or folder name without tricks.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Which of the hub's files make up the model.
fn choose(names: &[String], only: Option<&str>) -> Result<Vec<String>> {
    let known = |name: &str| {
        matches!(
            name,
            "config.json"
                | "generation_config.json"
                | "tokenizer.json"
                | "tokenizer_config.json"
                | "chat_template.jinja"
                | "model.safetensors.index.json"
        ) || name.ends_with(".safetensors")
    };
    if let Some(only) = only {
        ensure!(
            is_plain(only) && names.iter().any(|n| n == only),
            "there is no {only} in this model; it has: {}",
            names.join(", ")
        );
        return Ok(vec![only.to_owned()]);
    }
    let plain = || names.iter().filter(|name| is_plain(name));
    if plain().any(|name| name == "config.json") && plain().any(|n| n.ends_with(".safetensors")) {
        return Ok(plain().filter(|name| known(name)).cloned().collect());
    }
    let ggufs: Vec<&String> = plain().filter(|name| name.ends_with(".gguf")).collect();
    match ggufs[..] {
        [one] => Ok(vec![one.clone()]),
        [] => bail!(
            "this model has neither config.json with .safetensors files nor a .gguf file; it has: {}",
            names.join(", ")
        ),
        _ => bail!(
            "this model has several .gguf files; choose one with --file: {}",
            ggufs.into_iter().cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn a_folder_a_file_or_a_question() {
        let folder = names(&[
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]);
        assert_eq!(choose(&folder, None).unwrap().len(), 3);
        assert_eq!(
            choose(&names(&["a.gguf", "x.md"]), None).unwrap(),
            ["a.gguf"]
        );
        assert!(choose(&names(&["a.gguf", "b.gguf"]), None).is_err());
        assert_eq!(
            choose(&names(&["a.gguf", "b.gguf"]), Some("b.gguf")).unwrap(),
            ["b.gguf"]
        );
        assert!(choose(&names(&["x.bin"]), None).is_err());
    }

    #[test]
    fn names_that_leave_the_folder_are_ignored() {
        let list = names(&[
            "../evil.safetensors",
            "config.json",
            "m.safetensors",
            "/etc/x.json",
        ]);
        assert_eq!(
            choose(&list, None).unwrap(),
            ["config.json", "m.safetensors"]
        );
        assert!(choose(&list, Some("../evil.safetensors")).is_err());
    }
}
