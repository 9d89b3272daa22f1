"""The two servers as processes: started, waited for, killed, looked into."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import rival
import wire
from workspace import say

READY_SECONDS = 180
# Cores that others may use during a run before it is called disturbed.
DISTURBED = 0.1
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process that answers on a port."""

    name = ""
    ready_path = ""

    def __init__(self, model):
        self.model, self.process, self.port, self.spent = model, None, 0, 0.0
        self.folder = Path(tempfile.mkdtemp(prefix=f"serve-{self.name}-"))

    def command(self):
        raise NotImplementedError

    def start(self):
        """Starts it; seconds until it takes requests."""
        self.port = free_port()
        log = open(self.folder / "log", "ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [str(part) for part in self.command()], stdout=log, stderr=log, cwd=self.folder
        )
        while time.perf_counter() - began < READY_SECONDS:
            if self.process.poll() is not None:
                tail = (self.folder / "log").read_text(errors="replace")[-3000:]
                raise SystemExit(f"{self.name} ended with code {self.process.returncode}:\n{tail}")
            try:
                if wire.plain(self.port, "GET", self.ready_path, patience=5)[0] == 200:
                    return time.perf_counter() - began
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"{self.name} was not ready after {READY_SECONDS} s")

    def kill(self):
        """Ends it without a warning, as a crash would."""
        self.spent = self.processor_seconds()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.kill()
        return self.start()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        self.start_seconds = self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def memory(self):
        """Resident bytes: all, and those that are no file's."""
        found = {}
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in ("VmRSS", "RssAnon", "VmHWM"):
                found[key] = int(value.split()[0]) * 1024
        return {"rss": found["VmRSS"], "anonymous": found["RssAnon"], "peak": found["VmHWM"]}

    def processor_seconds(self):
        """Used so far, by the processes before a restart as well."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return self.spent + (int(fields[11]) + int(fields[12])) / TICKS

    def disk_bytes(self):
        return sum(f.stat().st_blocks * 512 for f in self.folder.rglob("*") if f.is_file())


class Sillage(Server):
    """Ours, with its defaults."""

    name = "sillage"
    ready_path = "/readyz"

    def __init__(self, program, model=None, options=()):
        super().__init__(model)
        self.program, self.options = program, list(options)

    def command(self):
        model = ["--model", self.model] if self.model else []
        states = ["--state-dir", self.folder / "states"]
        return [self.program, "serve", *model, "--port", self.port, "--no-wyoming", *states, *self.options]

    def stats(self):
        return wire.plain(self.port, "GET", "/v1/stats")[1]


class Llama(Server):
    """llama-server, with what suits it best."""

    name = "llama-server"
    ready_path = "/health"

    def __init__(self, model, slots, context, options=(), threads=2):
        super().__init__(model)
        self.slots, self.context, self.threads = slots, context, threads
        self.options = list(options)

    def command(self):
        return [
            rival.tool(rival.SERVER), "-m", self.model, "--port", self.port, "--host", "127.0.0.1",
            "-t", self.threads, "-tb", self.threads, "-np", self.slots, "-c", self.context,
            "--cont-batching", "--cache-prompt", "--cache-reuse", 256,
            "--slot-save-path", self.folder, "--no-ui", "--offline", *self.options,
        ]  # fmt: skip

    def slot(self, action):
        """Saves or restores slot 0; (worked, answer, seconds)."""
        began = time.perf_counter()
        status, answer = wire.plain(self.port, "POST", f"/slots/0?action={action}", {"filename": "slot.bin"})
        return status == 200, answer, time.perf_counter() - began


class Machine:
    """How busy the machine is, and how much of that are others."""

    def __init__(self, patience, attempts=3):
        self.patience, self.attempts = patience, attempts

    @staticmethod
    def _busy():
        """Processor seconds used by programs; those that are `nice`d stand back and do not count."""
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        niced, idle = fields[1], fields[3] + fields[4]
        return (sum(fields) - idle - niced) / TICKS

    def quiet(self, load=1.5, cores=0.25):
        """Waits until little else runs: the load as asked, or, since the load also remembers
        what was measured a minute ago, less than a quarter of a core used while nothing is asked."""
        began = time.monotonic()
        while True:
            before, at = self._busy(), time.monotonic()
            time.sleep(2)
            used = (self._busy() - before) / (time.monotonic() - at)
            now = os.getloadavg()[0]
            waited = time.monotonic() - began
            if (now < load and used < 2 * cores) or used < cores or waited > self.patience:
                if waited > self.patience:
                    say(f"not quiet after {waited:.0f} s: load {now:.2f}, {used:.2f} cores used")
                return {"load": now, "cores_used_before": round(used, 3), "waited_s": round(waited, 1)}

    def watched(self, server, work):
        """Waits for quiet and does `work(attempt)`; its result, and how the processors were used.

        When others took a tenth of a core or more meanwhile, whichever side it was, it is done
        again, twice at most. All attempts are kept: [(result, use of the machine)].
        """
        kept = []
        for attempt in range(self.attempts):
            before = self.quiet()
            busy, own, me, at = self._busy(), server.processor_seconds(), time.process_time(), time.perf_counter()
            result = work(attempt)
            took = time.perf_counter() - at
            own = server.processor_seconds() - own
            me = time.process_time() - me
            others = max(self._busy() - busy - own - me, 0.0) / took
            shares = {"server": own / took, "client": me / took, "others": others}
            use = {**before, "seconds": took, **{key: round(value, 3) for key, value in shares.items()}}
            kept.append((result, {**use, "disturbed": others >= DISTURBED}))
            if others < DISTURBED:
                break
            say(f"{server.name} was disturbed: others used {others:.2f} cores for {took:.1f} s")
        return kept
