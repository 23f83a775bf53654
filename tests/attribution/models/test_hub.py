"""A model's name that cannot be looked up is answered within a second; one that was downloaded needs no connection."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from attribution.models.hub import model_folder
from tests.attribution.models.local_hub import COMMIT, local_hub


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub that takes a connection only after a long time: the queue of its port is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        yield endpoint
        for caller in callers:
            caller.close()


def named(name: str) -> str:
    return {"short": "tiny/long"}.get(name, name)


def downloaded(home: Path, name: str) -> Path:
    repository = home / "cache" / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return folder


def refused(name: str, endpoint: str) -> float:
    """The seconds that the answer takes."""
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        model_folder(name, named)
    words = f"{name} is neither a folder here nor a model in the local cache, and {endpoint} cannot be reached."
    assert str(error.value).startswith(words)
    return time.monotonic() - start


def test_a_hub_that_is_silent_is_found_out_within_a_second(silent: str) -> None:
    assert refused("tiny/llama", silent) < 1.5


def test_a_hub_that_refuses_or_has_no_address_is_found_out_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for endpoint in (f"http://127.0.0.1:{unused.getsockname()[1]}", "https://no-such-host.invalid"):
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            assert refused("tiny/llama", endpoint) < 1.5


def test_a_name_server_that_is_silent_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> None:
        time.sleep(5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", silent)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    assert refused("tiny/llama", "https://hub.invalid") < 1.5


def test_who_works_offline_is_not_kept_waiting(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused("tiny/llama", silent) < 0.5


@pytest.mark.usefixtures("silent")
def test_a_model_that_was_downloaded_is_read_from_the_cache_by_its_short_name_too(home: Path) -> None:
    folder = downloaded(home, "tiny/long")
    assert model_folder("tiny/long", named) == folder
    assert model_folder("short", named) == folder
    with pytest.raises(FileNotFoundError, match="cannot be reached"):
        model_folder("other", named)


def test_a_hub_that_answers_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded(home, "tiny/llama")
    with local_hub("tiny/llama", home) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert model_folder("tiny/llama", named) is None
        assert model_folder("tiny/missing", named) is None
        monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
        monkeypatch.setenv("https_proxy", endpoint)
        assert model_folder("tiny/llama", named) is None
        monkeypatch.setenv("https_proxy", endpoint.removeprefix("http://"))
        assert model_folder("tiny/llama", named) is None


def test_a_path_is_never_looked_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("looked up"))
    (home / "empty").mkdir()
    (home / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"empty has no config.json"):
        model_folder("empty", named)
    for path in ("file", "./none", "../none", "~/none", "/none", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=r"is not a folder\. Give a Hugging Face folder or a model name"):
            model_folder(path, named)
