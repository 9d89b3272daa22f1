"""Runs llama.cpp's converter on one folder: convert_driver.py TREE FOLDER TARGET.

Two adjustments, because the checkpoints are tiny: the pre-tokenizer is named (the converter
recognises tokenizers by a hash of known ones), and config.json is read as it stands rather
than through whichever version of transformers is installed.
"""

import json
import sys
from pathlib import Path

tree, folder, target = sys.argv[1:4]
sys.path.insert(0, str(Path(tree) / "gguf-py"))
sys.path.insert(0, tree)

import convert_hf_to_gguf  # noqa: E402
from conversion.base import ModelBase, TextModel  # noqa: E402

TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
ModelBase.load_hparams = staticmethod(
    lambda dir_model, is_mistral_format: json.loads((Path(dir_model) / "config.json").read_text())
)
sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", target, "--outtype", "f32"]
convert_hf_to_gguf.main()
