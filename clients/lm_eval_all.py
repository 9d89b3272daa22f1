"""PyPI lm-eval, without torch or a hub: the server's own tokenizer is used through
GET /tokenizer_info, POST /tokenize and POST /detokenize."""

import json
import os
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from lm_eval.tasks import TaskManager

from common import *

ARGUMENTS = {"base_url": f"{BASE}/v1/completions", "model": LM, "max_length": 512, "max_retries": 1}


def ask(kind, *arguments):
    return Instance(kind, {}, arguments, 0)


@check
def likelihoods():
    model = LocalCompletionsAPI(**ARGUMENTS)
    assert model.tokenizer_backend == "remote", model.tokenizer_backend
    pairs = [(PROMPT, " looked out to sea"), (PROMPT, " xqz zqx qzx"), ("It was", " raining")]
    found = model.loglikelihood([ask("loglikelihood", *p) for p in pairs])
    assert all(score < 0 and isinstance(greedy, bool) for score, greedy in found), found
    assert found[0][0] > found[1][0], f"nonsense is likelier than English: {found}"
    # Batched and concurrent requests give the same numbers to the last bit.
    batched = LocalCompletionsAPI(batch_size=3, num_concurrent=2, **ARGUMENTS)
    assert batched.loglikelihood([ask("loglikelihood", *p) for p in pairs]) == found
    return f"{found[0][0]:.2f} against {found[1][0]:.2f}"


@check
def greedy_continuations_are_known_as_greedy():
    model = LocalCompletionsAPI(**ARGUMENTS)
    made = model.generate_until([ask("generate_until", PROMPT, {"until": ["\x00"], "max_gen_toks": 4, "temperature": 0})])
    ids = model.tok_encode(PROMPT + made[0])
    if model.tok_encode(PROMPT) == ids[: len(model.tok_encode(PROMPT))]:
        (_, greedy), = model.loglikelihood([ask("loglikelihood", PROMPT, made[0])])
        assert greedy, made
    return repr(made[0])


@check
def rolling_likelihoods():
    model = LocalCompletionsAPI(**ARGUMENTS)
    (score,) = model.loglikelihood_rolling([ask("loglikelihood_rolling", f"{PROMPT} looked out to sea.")])
    assert -200 < score < 0, score
    return f"{score:.2f}"


@check
def generation():
    model = LocalCompletionsAPI(batch_size=3, **ARGUMENTS)
    options = {"until": ["."], "max_gen_toks": 12, "temperature": 0}
    prompts = (PROMPT, "It was a dark night", "She")
    made = model.generate_until([ask("generate_until", p, options) for p in prompts])
    assert len(made) == 3 and all(text.strip() and "." not in text for text in made), made


@check
def chat_generation():
    chat = {**ARGUMENTS, "base_url": f"{BASE}/v1/chat/completions"}
    model = LocalChatCompletion(eos_string="<eos>", **chat)
    prompt = model.apply_chat_template([{"role": "user", "content": "Begin a story."}])
    (text,) = model.generate_until([ask("generate_until", prompt, {"until": ["\n\n"], "max_gen_toks": 12})])
    assert text.strip()


@check
def a_whole_evaluation():
    """A task of our own, from a file, through the harness: English against noise."""
    items = [
        ("The ship sailed into the", ["harbour", "qxz vbn"], 0),
        ("She opened the door and went", ["zzq kkx", "into the room"], 1),
        ("In the morning the sun", ["rose", "xqv jjk"], 0),
        ("He took off his", ["vvq zzk", "hat"], 1),
    ]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/items.jsonl", "w") as file:
            for query, choices, gold in items:
                file.write(json.dumps({"query": query, "choices": choices, "gold": gold}) + "\n")
        task = {
            "task": "english_or_noise",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{folder}/items.jsonl"}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{query}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{gold}}",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        found = lm_eval.simple_evaluate(
            model="local-completions", model_args=ARGUMENTS, tasks=[task],
            task_manager=TaskManager(include_defaults=False), bootstrap_iters=0,
        )  # fmt: skip
    accuracy = found["results"]["english_or_noise"]["acc,none"]
    assert accuracy >= 0.75, found["results"]
    return f"accuracy {accuracy}"


run()
