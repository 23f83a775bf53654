"""Whether a model is there, before anything is loaded: in a folder, or on a hub that answers, or else in its cache.

A hub that cannot be reached is found out within a second: Hugging Face's own library tries again for half a minute.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PATIENCE: Final = 1.0
"""Seconds for a connection."""
_CONFIG: Final = "config.json"


def model_folder(name_or_folder: str | Path, hub_name: Callable[[str], str]) -> Path | None:
    """The folder from which a model is read; None for a name on a hub that answers.

    `hub_name` gives the hub's name of a model that has a short one, such as `gpt2-small`.

    Raises:
        FileNotFoundError: no Hugging Face model folder; or a name that is not in the cache, while the hub is silent.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        if not (folder / _CONFIG).is_file():
            raise FileNotFoundError(f"{folder} has no {_CONFIG}: not a Hugging Face model folder.")
        return folder
    is_path = folder.is_absolute() or str(name_or_folder).startswith((".", "~")) or len(folder.parts) > 2
    if is_path or folder.exists():
        raise FileNotFoundError(f"{folder} is not a folder. Give a Hugging Face folder or a model name.")
    if _hub_answers():
        return None
    cached = _cached(str(name_or_folder), hub_name)
    if cached is None:
        from huggingface_hub import constants

        raise FileNotFoundError(
            f"{name_or_folder} is neither a folder here nor a model in the local cache, and {constants.ENDPOINT} "
            "cannot be reached. Give the model's folder, or try again with a connection."
        )
    return cached


def _cached(name: str, hub_name: Callable[[str], str]) -> Path | None:
    """The folder of a model that was downloaded earlier."""
    from huggingface_hub import constants, try_to_load_from_cache

    if not list(Path(constants.HF_HUB_CACHE).glob("models--*")):
        return None
    names = (name,) if "/" in name else (name, hub_name(name))
    found = (try_to_load_from_cache(each, _CONFIG) for each in names)
    return next((Path(file).parent for file in found if isinstance(file, str)), None)


def _hub_answers() -> bool:
    """Whether the hub, or the proxy on the way to it, takes a connection."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    hub = urlsplit(constants.ENDPOINT)
    proxies = {} if proxy_bypass(hub.hostname or "") else getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    place = hub if proxy is None else urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = place.hostname or "", place.port or (443 if place.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        with suppress(OSError), socket.create_connection(address, timeout=_PATIENCE):
            answers.append(True)

    thread = Thread(target=connect, daemon=True)  # a name server that is silent keeps it for longer
    thread.start()
    thread.join(_PATIENCE)
    return bool(answers)
