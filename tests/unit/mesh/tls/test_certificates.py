"""Certificates are reloaded when their files change, and never replaced by worse ones."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.local.secrets.certificates import LEAF_LIFE, Authority, make_authority, now_utc
from mesh.tls.certificates import CertificateMetrics, Certificates
from mesh.tls.material import TlsFiles
from tests.unit.registry.running import until


class Place:
    """A directory of certificates, and the object that follows it. `clock` runs ahead by
    `ahead_seconds`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority: Authority = make_authority(now_utc())
        self.files = self.issue()
        self.ahead_seconds = 0.0
        self.expiries: list[float] = []
        self.change_count = 0
        self.followed = Certificates(
            self.files,
            observe_expiry=self.expiries.append,
            clock=lambda: time.time() + self.ahead_seconds,
            look_seconds=0.01,
        )
        self.followed.subscribe(self._count)

    def issue(self, life: timedelta = LEAF_LIFE) -> TlsFiles:
        return self.authority.issue(self.folder, "gacha_svc", ["127.0.0.1"], now_utc(), life)

    def _count(self) -> None:
        self.change_count += 1


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tls")


async def test_a_new_certificate_is_loaded_and_logged(place: Place) -> None:
    before = place.followed.current
    place.followed.start()
    place.issue(life=timedelta(hours=48))
    await until(lambda: place.change_count == 1)
    await place.followed.close()
    assert place.followed.current.certificate != before.certificate
    assert place.expiries == [before.ends_at, place.followed.current.ends_at]


def test_a_key_that_came_before_its_certificate_waits_for_it(place: Place) -> None:
    before = place.followed.current
    old_certificate = place.files.certificate.read_bytes()
    place.issue()
    new_certificate = place.files.certificate.read_bytes()
    place.files.certificate.write_bytes(old_certificate)
    with capture_logs() as logged:
        place.followed.look_again()
        place.followed.look_again()
    assert place.followed.current is before
    assert [each["event"] for each in logged] == ["refuse_certificate"]
    place.files.certificate.write_bytes(new_certificate)
    place.followed.look_again()
    assert place.followed.current.certificate == new_certificate
    assert place.change_count == 1


def test_files_that_go_away_change_nothing(place: Place) -> None:
    before = place.followed.current
    place.files.key.unlink()
    place.followed.look_again()
    assert place.followed.current is before


def test_files_written_anew_with_the_same_content_are_no_change(place: Place) -> None:
    place.files.certificate.write_bytes(place.files.certificate.read_bytes())
    place.followed.look_again()
    assert place.change_count == 0


def test_the_last_third_is_logged_each_hour(place: Place) -> None:
    life_seconds = LEAF_LIFE.total_seconds()
    with capture_logs() as logged:
        place.followed.look_again()
        assert logged == []
        place.ahead_seconds = life_seconds * 0.7
        place.followed.look_again()
        place.followed.look_again()
        assert [each["event"] for each in logged] == ["certificate_expires"]
        place.ahead_seconds += 3601
        place.followed.look_again()
        assert len(logged) == 2
    assert logged[0]["log_level"] == "warning"
    assert logged[0]["left_seconds"] == pytest.approx(life_seconds * 0.3, abs=60)


def test_the_expiry_is_a_metric() -> None:
    registry = CollectorRegistry()
    CertificateMetrics(registry).observer("mesh")(1_800_000_000.0)
    told = registry.get_sample_value("mesh_tls_certificate_expiry_seconds", {"use": "mesh"})
    assert told == 1_800_000_000.0


async def test_closing_is_idempotent(place: Place) -> None:
    place.followed.start()
    await place.followed.close()
    await place.followed.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
