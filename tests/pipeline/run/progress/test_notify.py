"""Word of a run's end: a real program and a real server are told, and nothing depends on them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import ddgm
from ddgm.core.errors import Stopped
from ddgm.pipeline.run.progress.notify import notified
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from tests.pipeline.runs import phantom_volume, run_ddgm, small_spec

KEEP = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
SECRET = "T0K3N"


class Chat(HTTPServer):
    """Keeps what is posted to it, and answers with a status."""

    posts: list[Any]
    answer: int


class Handler(BaseHTTPRequestHandler):
    server: Chat  # type: ignore[assignment]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.posts.append((self.path, json.loads(body)))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        pass


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    server = Chat(("127.0.0.1", 0), Handler)
    server.posts, server.answer = [], 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("CHAT_URL", f"http://127.0.0.1:{server.server_port}/{SECRET}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Spec:
    """A run of one block, which is done: to resume it takes no cluster."""
    folder = tmp_path_factory.mktemp("done")
    url = phantom_volume(folder / "em")
    slab = {"thickness": 32, "slabs": [0]}
    spec = small_spec(url, folder / "run", tiny_prior, slab=slab, block={"slices": 32})
    run_alone(spec, 0)
    return spec


def telling(spec: Spec, seen: Path, **changed: Any) -> Spec:
    """A spec that tells a program, which keeps its environment in a file, and a server."""
    command = [sys.executable, "-c", KEEP, str(seen)]
    told = {"notify": {"command": command, "webhook": "CHAT_URL"}}
    return Spec.model_validate(spec.model_dump(mode="json") | told | changed)


@pytest.mark.process
@pytest.mark.server
def test_both_are_told_of_a_good_end_and_of_a_bad_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, done: Spec, chat: Chat
) -> None:
    path, seen = tmp_path / "spec.yaml", tmp_path / "seen"
    path.write_text(dump_spec(telling(done, seen)))
    status, _, err = run_ddgm(capsys, "run", path)
    assert (status, err) == (0, "")
    ((where, good),) = chat.posts
    assert where == f"/{SECRET}"
    facts = {"run": done.output.path, "kind": "done", "status": 0, "blocks": 1, "message": ""}
    assert good.items() >= facts.items()
    assert good["text"] == f"ddgm: {done.output.path}: done"
    told = json.loads(seen.read_text())
    assert (told["DDGM_KIND"], told["DDGM_STATUS"], told["DDGM_BLOCKS"]) == ("done", "0", "1")
    assert told["DDGM_RUN"] == done.output.path

    another = done.model_dump(mode="json")["tilts"] | {"seed": 5}
    path.write_text(dump_spec(telling(done, seen, tilts=another)))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == 1
    told = json.loads(seen.read_text())
    assert (told["DDGM_KIND"], told["DDGM_STATUS"]) == ("mistake", "1")
    assert f"error: {told['DDGM_MESSAGE']}\n" == err
    assert chat.posts[1][1]["message"] == told["DDGM_MESSAGE"]


@pytest.mark.server
def test_who_cannot_be_told_is_a_line_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    done: Spec,
    chat: Chat,
) -> None:
    chat.answer = 403
    path = tmp_path / "spec.yaml"
    for command, answer in (
        ([sys.executable, "-c", "raise SystemExit('no mail here')"], "status 1: no mail here"),
        (["/not/there; touch x"], "No such file or directory"),
    ):
        path.write_text(dump_spec(telling(done, tmp_path)))
        told = {"command": command, "webhook": "CHAT_URL"}
        path.write_text(dump_spec(telling(done, tmp_path, notify=told)))
        status, out, err = run_ddgm(capsys, "run", path)
        assert (status, err) == (0, "")
        assert answer in out
        assert "notify.webhook: the server answered with 403; nobody was told" in out
        assert SECRET not in out


def test_a_url_that_is_not_there_or_in_the_spec_is_refused_before_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, done: Spec
) -> None:
    path, text = tmp_path / "spec.yaml", dump_spec(telling(done, tmp_path / "seen"))
    path.write_text(text)
    status, _, err = run_ddgm(capsys, "run", path)
    said = "notify.webhook: the environment variable CHAT_URL holds no http or https URL; set it"
    assert status == 1
    assert said in err
    path.write_text(text.replace("CHAT_URL", f"https://chat.example/{SECRET}"))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == 1
    assert "notify.webhook: must be the name of an environment variable" in err
    assert SECRET not in err
    assert not (tmp_path / "seen").exists()


@pytest.mark.process
@pytest.mark.server
def test_a_run_from_python_tells_too_and_one_that_is_stopped_does_not(
    tmp_path: Path, done: Spec, chat: Chat
) -> None:
    spec = telling(done, tmp_path / "seen")
    ddgm.run(spec, progress=False)
    assert [post["kind"] for _, post in chat.posts] == ["done"]
    with pytest.raises(Stopped), notified(spec):
        raise Stopped("stopped")
    with pytest.raises(KeyboardInterrupt), notified(spec):
        raise KeyboardInterrupt
    assert len(chat.posts) == 1
