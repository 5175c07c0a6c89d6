import socket
import threading

import pytest
from huggingface_hub import constants

from rexnet import UserError
from rexnet.nn import download as downloads
from rexnet.nn.download import cached, download, downloading, unreachable

HUB = "https://hub.example"


@pytest.fixture
def asked(monkeypatch):
    """Let every connection be refused, and note where to it was tried."""
    found = []

    def refuse(address, timeout):
        found.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("getproxies", "proxy_bypass"):
        monkeypatch.setattr(downloads, name, lambda *_: {})
    return found


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return an empty cache of a hub that is asked for."""
    monkeypatch.setattr(constants, "ENDPOINT", HUB)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_server_that_refuses_is_asked_once(asked):
    assert unreachable(HUB) == f"{HUB} cannot be reached (Connection refused)"
    assert unreachable("http://hub.example:8080/x") != ""
    assert asked == [("hub.example", 443), ("hub.example", 8080)]


def test_a_server_that_accepts_is_reachable(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(downloads, "getproxies", dict)
        assert unreachable(f"http://127.0.0.1:{server.getsockname()[1]}") == ""


def test_a_server_that_stays_silent_is_given_up(monkeypatch):
    waits = threading.Event()
    monkeypatch.setattr(downloads, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", lambda *_: waits.wait() and socket.socket())
    assert unreachable(HUB, seconds=0.01) == f"{HUB} cannot be reached (no answer in 0.01 s)"
    waits.set()


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ({"https": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"all": "socks5://proxy.example"}, ("proxy.example", 1080)),
        ({"http": "http://proxy.example:3128"}, ("hub.example", 443)),
    ],
)
def test_the_proxy_before_the_hub_is_asked(proxies, address, asked, monkeypatch):
    monkeypatch.setattr(downloads, "getproxies", lambda: proxies)
    unreachable(HUB)
    assert asked == [address]


def test_without_a_network_one_attempt_is_made_and_the_line_says_what_to_do(asked, hub):
    with pytest.raises(UserError) as refusal:
        download("me/mine@v1")
    assert str(refusal.value) == (
        f"cannot download me/mine from the hub: {HUB} cannot be reached (Connection refused), and "
        f"the cache {hub} does not hold it; download its config.json and model.safetensors "
        "elsewhere and give their folder instead"
    )
    assert asked == [("hub.example", 443)]
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_answers_is_asked_and_one_that_is_off_is_not_even_tried(asked, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"offline mode is on \(HF_HUB_OFFLINE\), and the cache"):
        download("me/mine")
    assert asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(downloads, "unreachable", lambda url: "")
    with downloading("me/mine"):
        assert constants.HF_HUB_OFFLINE is False


def test_a_repository_is_in_the_cache_with_its_weights_or_not_at_all(hub):
    assert cached("me/mine") is None
    folder = hub / "models--me--mine" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (hub / "models--me--mine" / "refs").mkdir()
    (hub / "models--me--mine" / "refs" / "main").write_text("abc", encoding="utf-8")
    (folder / "config.json").touch()
    assert cached("me/mine") is None
    (folder / "model.safetensors").touch()
    assert cached("me/mine") == folder
