"""Part of deploy/check: whether the files of this folder agree with the program and
with each other. Reads the manifests that helm rendered into the folder given."""

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SERVE = (ROOT / "crates/sillage-cli/src/commands/serve.rs").read_text()
CONFIG = (ROOT / "crates/sillage-server/src/config.rs").read_text()


def need(good, what):
    print(f"{'ok  ' if good else 'BAD '} {what}")
    if not good:
        sys.exit(1)


def environment(container):
    return {e["name"]: e.get("value") for e in container["env"]}


def documents(path):
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


def default(field):
    """A number of the server's own defaults."""
    found = re.search(rf"^\s+{field}: ([\d_]+)( << (\d+))?,", CONFIG, re.M)
    return int(found[1]) << int(found[3] or 0)


def agree(scratch):
    plain = [*HERE.glob("*.yaml"), *(HERE / "helm").glob("*.yaml"), HERE / "helm/sillage/values.yaml", HERE / "helm/sillage/Chart.yaml"]
    parsed = {path.name: documents(path) for path in plain}
    need(True, f"YAML: {', '.join(sorted(parsed))}")
    compose = parsed["compose.yaml"][0]

    # Variables. SILLAGE_ is also the beginning of those that Kubernetes makes of a Service.
    known = set(re.findall(r'env = "(SILLAGE_\w+)"', SERVE))
    sources = [HERE / "Dockerfile", HERE / "entrypoint", HERE / "healthcheck", HERE / "compose.yaml", HERE / "README.md",
               HERE / "drill", HERE / "sillage.toml", *(HERE / "helm").rglob("*.yaml")]
    tools = {"SILLAGE_BIN", "SILLAGE_NGINX"}
    for path in sources:
        used = set(re.findall(r"\bSILLAGE_[A-Z_]*[A-Z]\b", path.read_text())) - tools
        strange = used - known
        if used:
            need(not strange, f"{path.relative_to(ROOT)}: {len(used)} variables" + (f", of which serve.rs does not know {strange}" if strange else ", all in serve.rs"))
    need("RUST_LOG" in SERVE and "try_from_default_env" in SERVE, "RUST_LOG is read by serve.rs")

    # The configuration files hold fields of the server.
    tomls = [(HERE / "sillage.toml").read_text()]
    rendered = {p.stem: documents(p) for p in scratch.glob("*.yaml")}
    for objects in rendered.values():
        tomls += [o["data"]["sillage.toml"] for o in objects if o["kind"] == "ConfigMap"]
    for text in tomls:
        for field in re.findall(r"^(\w+) =", text, re.M):
            assert f"pub {field}:" in CONFIG, field
    need(True, "fields of the configuration files are fields of config.rs")

    # Ports.
    dockerfile = (HERE / "Dockerfile").read_text()
    port = re.search(r"SILLAGE_PORT=(\d+)", dockerfile)[1]
    nginx = (HERE / "nginx.conf").read_text()
    upstream = re.findall(r"server (sillage-\d):(\d+)", nginx)
    replicas = [n for n in compose["services"] if n.startswith("sillage-")]
    need(int(port) == default("port") and f"EXPOSE {port} {default('wyoming_port')}" in dockerfile, f"the image listens on {port}, the server's default, and exposes it")
    need([n for n, _ in upstream] == replicas and {p for _, p in upstream} == {port}, f"nginx sends to {replicas} on {port}")
    listens = re.search(r"listen (\d+);", nginx)[1]
    need(compose["services"]["nginx"]["ports"] == [f"8080:{listens}"], f"compose publishes nginx's {listens}")
    need(all("ports" not in compose["services"][n] for n in [*replicas, "valkey"]), "nothing but nginx is published")
    need(compose["networks"]["back"] == {"internal": True}, "valkey's network leads nowhere else")

    # Limits and times.
    need("client_max_body_size 32m;" in nginx and default("body_bytes") == 32 << 20, "nginx lets bodies through that the server takes (32 MiB)")
    need("client_max_body_size 1g;" in nginx and default("state_bytes") == 1 << 30, "and states (1 GiB)")
    patience = int(re.search(r"proxy_read_timeout (\d+)s", nginx)[1])
    need(patience > max(default("request_seconds"), default("idle_seconds")), f"nginx waits {patience} s, longer than the server's own limits")
    stop = int(re.search(r"shutdown_seconds = (\d+)", tomls[0])[1])
    for name in [*replicas, "nginx"]:
        service = compose["services"][name]
        need(int(service["stop_grace_period"].rstrip("s")) > stop, f"{name} has {service['stop_grace_period']} to stop, streams {stop} s")
    for name in replicas:
        need(":?" in compose["services"][name]["environment"]["SILLAGE_API_KEY"], f"{name} does not start without SILLAGE_API_KEY")
    states = {v.split(":")[0] for n in replicas for v in compose["services"][n]["volumes"] if v.endswith(":/var/lib/sillage")}
    need(len(states) == len(replicas), "each replica has a state folder of its own")

    for name, objects in rendered.items():
        by_kind = {o["kind"]: o for o in objects}
        pod = by_kind["Deployment"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        env = environment(container)
        assert set(k for k in env if k.startswith("SILLAGE_")) <= known
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert ports["http"] == int(env["SILLAGE_PORT"]) == int(port)
        assert [p["targetPort"] for p in by_kind["Service"]["spec"]["ports"]][0] in ("http", "valkey")
        assert pod["enableServiceLinks"] is False
        drain = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        toml = by_kind["ConfigMap"]["data"]["sillage.toml"]
        streams = int(re.search(r"shutdown_seconds = (\d+)", toml)[1])
        assert pod["terminationGracePeriodSeconds"] > drain + streams
        labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
        services = [o for o in objects if o["kind"] == "Service"]
        assert sum(o["spec"]["selector"].items() <= labels.items() for o in services) == 1
        secret = by_kind.get("Secret")
        wanted = {e["valueFrom"]["secretKeyRef"]["key"] for c in [container] for e in c["env"] if "valueFrom" in e} | {"signing-key"}
        assert secret is None or wanted <= secret["stringData"].keys(), wanted
        if hpa := by_kind.get("HorizontalPodAutoscaler"):
            assert "replicas" not in by_kind["Deployment"]["spec"]
            metric = hpa["spec"]["metrics"][0]["pods"]["metric"]["name"]
            rule = parsed["prometheus-adapter.yaml"][0]["rules"]["custom"][0]
            assert re.fullmatch(rule["name"]["matches"], metric) and rule["name"]["as"] == metric
            metrics = (ROOT / "crates/sillage-server/src/metrics.rs").read_text()
            assert re.search(rf"\b{metric.removeprefix('sillage_')}: .* = Gauge", metrics), metric
    if rendered:
        need(True, f"the chart ({', '.join(sorted(rendered))}): variables, ports, selectors, entries of the Secret, times to stop, metric of the autoscaler")


def scripts(scratch):
    """Runs the image's two scripts here, the entrypoint with a `sillage` that only says what it was told."""
    bin = scratch / "bin"
    bin.mkdir()
    (bin / "sillage").write_text('#!/bin/bash\necho "sillage $*"\n')
    (bin / "mountpoint").write_text('#!/bin/bash\n[[ -d $2 ]]\n')
    for p in bin.iterdir():
        p.chmod(0o755)
    text = (HERE / "entrypoint").read_text()

    def run(name, shared=None, secret=None, *arguments):
        state = scratch / name
        state.mkdir(exist_ok=True)
        script = text.replace("/var/lib/sillage-shared", str(shared or scratch / "none")).replace("/run/secrets/sillage-signing-key", str(secret or scratch / "none"))
        env = {"PATH": f"{bin}:{os.environ['PATH']}", "SILLAGE_STATE_DIR": str(state)}
        done = subprocess.run(["bash", "-c", script, "entrypoint", *(arguments or ("serve",))], env=env, capture_output=True, text=True)
        return state, done

    state, done = run("alone")
    need(done.stdout == "sillage serve\n" and not list(state.iterdir()), "entrypoint: alone, it only starts the server")
    shared = scratch / "shared"
    shared.mkdir()
    one, _ = run("one", shared)
    two, done = run("two", shared)
    keys = [(f / "signing.key").read_text() for f in (one, two)]
    need(done.returncode == 0 and keys[0] == keys[1] and re.fullmatch("[0-9a-f]{64}", keys[0].strip()), "entrypoint: replicas with a shared folder have one key of 64 digits")
    need((one / "signing.key").stat().st_mode & 0o77 == 0, "entrypoint: that nobody else can read")
    need(os.readlink(one / "consent.log") == os.readlink(two / "consent.log") == f"{shared}/consent.log", "entrypoint: and one record of consents")
    secret = scratch / "secret"
    secret.write_text("1" * 64)
    one, _ = run("one", shared, secret)
    need((one / "signing.key").read_text() == "1" * 64, "entrypoint: a key that is given goes first")
    old, _ = run("old")
    (old / "consent.log").write_text("a line\n")
    _, done = run("old", shared)
    need(done.returncode == 1 and "consent.log" in done.stderr and (old / "consent.log").read_text() == "a line\n", "entrypoint: it does not hide a record that exists")

    class Probe(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Probe)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    probe = lambda *a, port=server.server_port: subprocess.run(["bash", HERE / "healthcheck", *a], env={**os.environ, "SILLAGE_PORT": str(port)}, capture_output=True).returncode
    need((probe(), probe("/else") != 0) == (0, True), "healthcheck: 200 is well, 503 is not")
    server.shutdown()
    server.server_close()
    need(probe() != 0, "healthcheck: nobody there is not")


if __name__ == "__main__":
    if sys.argv[1] == "--scripts":
        scripts(Path(sys.argv[2]))
    else:
        agree(Path(sys.argv[1]))
