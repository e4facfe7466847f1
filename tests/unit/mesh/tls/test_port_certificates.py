"""When a port gets another certificate: only after a change, and between handshakes."""

from pathlib import Path

import pytest

from deploy.local.secrets.certificates import Authority, make_authority, now_utc
from mesh.tls.certificates import Certificates
from mesh.tls.port_certificates import SETTLE_SECONDS, PortCertificates


class Time:
    """A clock that only `sleep` and the test move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Port:
    """A port's certificates, and the files that they come from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority: Authority = make_authority(now_utc())
        self.time = Time()
        self._certificates = Certificates(
            self._authority.issue(folder, "gacha_svc", ["127.0.0.1"], now_utc())
        )
        self.shown = PortCertificates(
            self._certificates, clock=lambda: self.time.now, sleep=self.time.sleep
        )

    def renew(self) -> None:
        self._authority.issue(self._folder, "gacha_svc", ["127.0.0.1"], now_utc())
        self._certificates.look_again()


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return Port(tmp_path)


def test_an_unchanged_certificate_is_not_given_again(port: Port) -> None:
    assert [port.shown.fetch() for _ in range(3)] == [None] * 3
    assert port.time.sleeps == []


def test_each_change_is_given_once(port: Port) -> None:
    for _ in range(2):
        port.renew()
        assert port.shown.fetch() is not None
        assert port.shown.fetch() is None


def test_a_change_waits_for_the_handshake_that_just_started(port: Port) -> None:
    port.time.now += 60
    assert port.shown.fetch() is None
    port.time.now += SETTLE_SECONDS / 4
    port.renew()
    assert port.shown.fetch() is not None
    assert port.time.sleeps == [pytest.approx(SETTLE_SECONDS * 3 / 4)]


def test_the_next_change_waits_for_the_handshake_that_made_the_last(port: Port) -> None:
    port.time.now += 60
    for _ in range(2):
        port.renew()
        assert port.shown.fetch() is not None
    assert port.time.sleeps == [pytest.approx(SETTLE_SECONDS)]


def test_a_change_without_handshakes_does_not_wait(port: Port) -> None:
    assert port.shown.fetch() is None
    port.time.now += SETTLE_SECONDS
    port.renew()
    assert port.shown.fetch() is not None
    assert port.time.sleeps == []
