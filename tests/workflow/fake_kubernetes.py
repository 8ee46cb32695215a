"""A stand-in for a Kubernetes cluster: what Snakemake's executor asks of its API, and pods that are processes.

A pod has what a real one would have: an empty folder to work in, the environment of its image, and the volume, which
must be mounted where it lies on this machine. The folder goes when the pod does.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

Answer = tuple[int, dict[str, Any]]
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: nobody}}}}]
clusters: [{{name: fake, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: nobody, user: {{}}}}]
"""


class Job:
    """A job and its one pod."""

    def __init__(self, manifest: dict[str, Any], folder: Path, environment: dict[str, str]):
        self.manifest, self.name, self.deleted = manifest, manifest["metadata"]["name"], False
        self.folder, self.output = Path(tempfile.mkdtemp(dir=folder)), folder / f"{self.name}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*self.container["command"], *self.container["args"]],
                cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pod_spec(self) -> dict[str, Any]:
        return self.manifest["spec"]["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        return self.pod_spec["containers"][0]

    @property
    def rule(self) -> str:
        words = self.container["args"][-1].split()
        return words[words.index("--allowed-rules") + 1]

    def described(self) -> dict[str, Any]:
        code = self.process.poll()
        return self.manifest | {"status": {} if code is None else {"succeeded" if code == 0 else "failed": 1}}

    def pod(self) -> dict[str, Any]:
        code = self.process.poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code % 256}}
        container = {"name": "snakemake", "image": "", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        return {"metadata": {"name": f"pod-of-{self.name}"}, "status": {"containerStatuses": [container]}}

    def delete_pod(self) -> None:
        """As a drained node or a more urgent pod does it, but without a warning."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder)
        self.deleted = True


@dataclass
class Cluster:
    """All jobs that there ever were, in order, and all secrets that there are."""

    folder: Path
    environment: dict[str, str]
    jobs: list[Job] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def of_rule(self, rule: str) -> list[Job]:
        return [job for job in self.jobs if job.rule == rule]

    def said(self) -> str:
        """What the pods wrote to their terminals, for a test that fails."""
        return "".join(f"\n--- pod of {job.rule}\n{job.output.read_text()}" for job in self.jobs)

    def answer(self, method: str, kind: str, name: str, part: str, query: dict[str, list[str]], body: Any) -> Answer:
        match method, kind, part:
            case "POST", "secrets", "":
                self.secrets.add(body["metadata"]["name"])
                return 201, body
            case "DELETE", "secrets", "":
                self.secrets.remove(name)
                return 200, {}
            case "POST", "jobs", "":
                self.jobs.append(Job(body, self.folder, self.environment))
                return 201, body
            case "GET", "jobs", "status":
                return 200, self._named(name).described()
            case "DELETE", "jobs", "":
                return 200, {}
            case "GET", "pods", "":
                job = self._named(query["labelSelector"][0].removeprefix("job-name="))
                return 200, {"items": [] if job.deleted else [job.pod()]}
            case "DELETE", "pods", "":
                self._named(name.removeprefix("pod-of-")).delete_pod()
                return 200, {}
        # The log of a container *before* this one is all that the plugin asks for besides, and there is none.
        return 400, {"kind": "Status", "message": f"bad request: {method} {kind} {part}"}

    def _named(self, name: str) -> Job:
        return next(job for job in self.jobs if job.name == name)


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A cluster whose pods have this environment, and a kubeconfig that leads to it, in the folder."""
    cluster = Cluster(folder, environment)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            address = urlparse(self.path)
            kind, name, part = [*address.path.split("/namespaces/")[1].split("/")[1:], "", ""][:3]
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            status, content = cluster.answer(self.command, kind, name, part, parse_qs(address.query), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *about: object) -> None:
            """Nothing to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever).start()
    (folder / "kubeconfig").write_text(KUBECONFIG.format(port=server.server_port))
    try:
        yield cluster
    finally:
        for job in cluster.jobs:
            if not job.deleted:
                job.delete_pod()
        server.shutdown()
        server.server_close()
