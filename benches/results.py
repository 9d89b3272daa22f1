"""Raw results: what was measured, on what machine, kept in benches/results."""

import datetime
import json
import os
import platform
import subprocess

import rival
from workspace import REPOSITORY, RESULTS, say


def machine():
    """What a reader needs to know to judge the figures."""
    about = {"system": platform.system(), "kernel": platform.release(), "cpus": os.cpu_count()}
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                about["cpu"] = value.strip()
            if key.strip() == "flags":
                kept = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd")
                about["features"] = [flag for flag in kept if flag in value.split()]
                break
        about["load"] = os.getloadavg()
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="utf-8") as setting:
            about["huge_pages"] = setting.read().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        pass
    return about


def revision():
    """The commit that was measured, marked if the tree had changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write(what, measured):
    """Writes benches/results/<date>-<what>.json and returns its path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    today = datetime.datetime.now(datetime.timezone.utc)
    path = RESULTS / f"{today:%Y-%m-%d}-{what}.json"
    record = {
        "what": what,
        "at": today.isoformat(timespec="seconds"),
        "machine": machine(),
        "revision": revision(),
        "rival": rival.version(),
        **measured,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    say(f"wrote {path}")
    return path
