"""The gateway's settings: what they may be, and what they say of a limit."""

from pathlib import Path

import pytest

from deploy.local.layout import Layout
from deploy.local.secrets import credentials
from gateway_http.config import LARGEST_MAX_BODY_BYTES, GatewaySettings
from gateway_http.listening.bounds import Bounds
from mesh.calling.unary import MAX_REQUEST_BYTES
from mesh.settings_loading import load


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """All that a gateway needs."""
    layout = Layout(tmp_path / "mesh")
    layout.make_folders()
    credentials.load_or_make(layout)
    monkeypatch.setenv("MESH_INSTANCE_ID", "gateway_http-1")
    monkeypatch.setenv("MESH_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("MESH_REGISTRIES", "127.0.0.1:1")
    monkeypatch.setenv("MESH_SERVICE_KEY_FILE", str(layout.service_key("gateway_http")))
    monkeypatch.setenv("MESH_SERVICE_KEYS_DIR", str(layout.public_keys))
    return monkeypatch


def test_the_largest_request_fits_into_one_message_of_the_mesh(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("GATEWAY_MAX_BODY_BYTES", str(LARGEST_MAX_BODY_BYTES))
    body_bytes = load(GatewaySettings).max_body_bytes
    assert body_bytes + Bounds().max_head_bytes <= MAX_REQUEST_BYTES


def test_a_larger_body_than_a_message_holds_cannot_be_allowed(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("GATEWAY_MAX_BODY_BYTES", str(LARGEST_MAX_BODY_BYTES + 1))
    with pytest.raises(SystemExit, match="GATEWAY_MAX_BODY_BYTES"):
        load(GatewaySettings)


def test_a_limit_that_is_set_keeps_its_name_and_its_sentence(
    environment: pytest.MonkeyPatch,
) -> None:
    before = load(GatewaySettings).sign_in_limit
    environment.setenv("GATEWAY_LIMIT_SIGN_IN", "7;w=9")
    changed = load(GatewaySettings).sign_in_limit
    assert (changed.quota, changed.window_seconds) == (7, 9)
    assert (changed.name, changed.refusal) == (before.name, before.refusal)


@pytest.mark.parametrize("url", ["https://example.com/issues", "mailto:help@example.com"])
def test_problems_are_reported_at_a_page_or_by_mail(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("GATEWAY_REPORT_URL", url)
    assert load(GatewaySettings).report_url == url


@pytest.mark.parametrize("url", ["", "example.com", "javascript:alert(1)", "https://a b"])
def test_no_other_link_can_be_shown_to_people(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("GATEWAY_REPORT_URL", url)
    with pytest.raises(SystemExit, match="GATEWAY_REPORT_URL"):
        load(GatewaySettings)
