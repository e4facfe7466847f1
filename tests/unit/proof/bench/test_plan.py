"""The measurements of a plan, and the requests that they send."""

import itertools
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from proof.bench.__main__ import app
from proof.bench.load import ghz
from proof.bench.load.scenarios import ITEMS, PULLS, request_head, requests_of
from proof.bench.options import connection_counts_of, kinds_of, plan_of, without_missing_ghz
from proof.bench.plan import KINDS

ALL = ",".join(KINDS)


def test_connection_counts_keep_their_order_and_count_once() -> None:
    assert connection_counts_of("16, 1,64,16") == [16, 1, 64]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "1,-4", "1.5"])
def test_connection_counts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="whole numbers"):
        connection_counts_of(text)


def test_some_kinds_of_load_come_in_the_order_of_a_round() -> None:
    assert kinds_of("ghz, pulls,commits") == ["commits", "pulls", "ghz"]
    with pytest.raises(typer.BadParameter, match="pulls,purchases"):
        kinds_of("pulls,logins")


def test_every_connection_has_a_player_of_its_own() -> None:
    assert plan_of("1,64", 8, 3, None, "pulls,items").player_count == 64
    assert plan_of("1,64", 8, 3, None, ALL).player_count == 128
    assert plan_of("1,256", 8, 3, None, ALL).player_count == 256
    assert plan_of("1,64", 8, 3, 100, ALL).player_count == 100
    with pytest.raises(typer.BadParameter, match="--players"):
        plan_of("1,64", 8, 3, 63, ALL)


def test_gifts_are_measured_where_every_connection_has_two_players() -> None:
    assert plan_of("1,64,256", 4, 3, None, "gifts").counts_of("gifts") == [1, 64]
    assert plan_of("1,64", 4, 3, 64, "gifts").counts_of("gifts") == [1]


def test_plain_commits_have_the_connections_of_pulls_as_far_as_the_servers_have_room() -> None:
    assert plan_of("1,16,64,256", 4, 3, None, "commits,pulls").counts_of("commits") == [1, 16, 64]


def test_the_mesh_without_load_is_one_long_window_that_needs_few_players() -> None:
    plan = plan_of("1,256", 4, 2, None, "idle")
    assert (plan.points, plan.window_seconds_of("idle")) == ([("idle", 0)], 12)
    assert plan.player_count == 16
    assert plan.duration_seconds == 2 * (12 + 2 + 4 + 5)


def test_a_window_that_outlives_its_tokens_is_refused() -> None:
    refused = CliRunner().invoke(app, ["--seconds", "601"])
    assert refused.exit_code == 2
    assert "--seconds" in refused.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param("--against HEAD --mesh mesh.json", "leave out --mesh", id="one mesh"),
        pytest.param("--against HEAD --only flood", "flood", id="a flood of the other"),
        pytest.param("--against HEAD --only neighbours", "neighbours", id="its neighbours"),
        pytest.param("--only start --mesh mesh.json", "leave out --mesh", id="a start of another"),
    ],
)
def test_options_that_exclude_one_another_are_refused(options: str, reason: str) -> None:
    refused = CliRunner().invoke(app, options.split(), env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert reason in refused.output


def test_a_round_has_each_point_once_and_reads_have_half_the_time() -> None:
    plan = plan_of("1,64", 4, 3, None, "commits,pulls,items")
    assert plan.points == [
        ("commits", 1),
        ("commits", 64),
        ("pulls", 1),
        ("pulls", 64),
        ("items", 1),
        ("items", 64),
    ]
    assert plan.sample_count == 18
    assert plan.duration_seconds == 3 * (4 * (4 + 2) + 2 * (2 + 2))


def test_without_ghz_the_rest_is_measured_and_its_installation_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = ghz.find_ghz(tmp_path)
    plan, left_out = without_missing_ghz(plan_of("1", 4, 1, None, "pulls,ghz"), missing)
    assert plan.kinds == ["pulls"]
    assert "go install github.com/bojand/ghz" in left_out[0]
    assert without_missing_ghz(plan, missing) == (plan, [])


def test_a_pull_is_one_request_with_a_key_of_its_own() -> None:
    heads = [request_head(PULLS, "127.0.0.1:8080", token) for token in ("a.b.c", "d")]
    requests = requests_of([(head, PULLS.body) for head in heads], "key-")
    first, second, third = itertools.islice(requests, 3)
    assert first == (
        b"POST /gacha/pull/standard HTTP/1.1\r\n"
        b"host: 127.0.0.1:8080\r\n"
        b"authorization: Bearer a.b.c\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 11\r\n"
        b"idempotency-key: key-0\r\n"
        b"\r\n"
        b'{"count":1}'
    )
    assert b"Bearer d\r\n" in second
    assert b"idempotency-key: key-1\r\n" in second
    assert third == first.replace(b"key-0", b"key-2")


def test_without_a_key_and_a_body_the_head_just_ends() -> None:
    head = request_head(ITEMS, "a", "t")
    expected = b"GET /items HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\n\r\n"
    assert list(itertools.islice(requests_of([(head, "")], ""), 2)) == [expected] * 2
