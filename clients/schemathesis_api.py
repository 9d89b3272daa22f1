"""PyPI schemathesis: requests made from the server's own description of itself,
good and bad ones. No answer may be a server error, nor unlike its description."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

from common import *

# What the description leaves open on purpose: clients may send more than it says
# (nulls, unknown fields, other types of a number), and that is accepted.
LENIENT = "positive_data_acceptance,negative_data_rejection"
EXAMPLES = os.environ.get("SILLAGE_EXAMPLES", "8")


@check
def description():
    with urllib.request.urlopen(f"{BASE}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/audio/speech", "/tts/bytes", "/tts/sse", "/voices"):
        assert path in paths, f"{path} is not described: {sorted(paths)}"
    return f"{len(paths)} paths"


@check
def fuzzed():
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [program, "run", f"{BASE}/openapi.json", "--max-examples", EXAMPLES, "--seed", "1", "--request-timeout", "60",
             "--phases", "examples,fuzzing", "--exclude-checks", LENIENT, "--suppress-health-check", "all",
             "--generation-database", "none", "--no-color", "--exclude-tag", "Not served", "--header", f"Authorization: Bearer {KEY}"],
            cwd=folder, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
    print(ran.stdout[-6000:] if ran.returncode else ran.stdout[-600:])
    assert ran.returncode == 0, ran.stderr[-1000:] or "see above"


run()
