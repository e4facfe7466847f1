"""The listing of transactions, and the settlement of one, without a mesh."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.gachactl.transactions.as_json import listing_json
from deploy.gachactl.transactions.listing import Listing, Seen, State, look, transactions
from deploy.gachactl.transactions.report import Reporter
from deploy.gachactl.transactions.resolution import resolve
from deploy.gachactl.transactions.sides import Services, Side, Sides
from deploy.local.layout import Layout
from mesh.calls import Metadata
from mesh.deadlines import Deadline
from mesh.errors import DataLoss, MeshError, Unavailable
from mesh.txn.clients import RemoteBranches, RemoteCoordinator
from mesh.txn.decisions import Decision
from mesh.txn.model import AlreadyCommitted, Branch, Outcome, RedoRefused
from protos.tx.v1 import coordinator_pb2, participant_pb2

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
GID = "gacha_svc-1:1748779200000:0123456789abcdef"
SERVICES = Services("account_svc", "gacha_svc", "gacha_svc")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def commit(seconds: float, done: bool = False) -> Decision:
    return Decision(GID, Outcome.COMMIT, ago(seconds), is_open=not done)


ABORT = Decision(GID, Outcome.ABORT, ago(1), is_open=False)
PREPARED = [Branch(GID, ago(1))]
OLD = [Branch(GID, ago(4))]


@pytest.mark.parametrize(
    ("first", "second", "decisions", "prepared", "state"),
    [
        pytest.param(PREPARED, [], [], (True, False), State.IN_FLIGHT, id="young and undecided"),
        pytest.param(OLD, PREPARED, [], (True, True), State.IN_DOUBT, id="old on one side"),
        pytest.param(None, OLD, [], (None, True), State.IN_DOUBT, id="one side is away"),
        pytest.param(OLD, OLD, [ABORT], (True, True), State.ABORTING, id="aborted just now"),
        pytest.param(OLD, [], [ABORT], (True, False), State.ABORTING, id="abort stands"),
        pytest.param(OLD, OLD, [commit(4)], (True, True), State.COMMITTING, id="decided just now"),
        pytest.param(OLD, [], [commit(4)], (True, False), State.COMMITTING, id="commit stands"),
        pytest.param([], [], [commit(2)], (False, False), State.COMMITTING, id="not yet noted"),
        pytest.param([], [], [commit(11)], (False, False), State.OVERDUE, id="not done for long"),
        pytest.param(OLD, OLD, None, (True, True), State.UNKNOWN, id="nobody tells decisions"),
    ],
)
def test_a_transaction_is_in_the_state_that_both_sides_and_the_log_tell(
    first: Sequence[Branch] | None,
    second: Sequence[Branch] | None,
    decisions: Sequence[Decision] | None,
    prepared: tuple[bool | None, bool | None],
    state: State,
) -> None:
    (found,) = transactions(Seen((first, second), decisions), NOW)
    assert (found.gid, found.coordinator) == (GID, "gacha_svc-1")
    assert (found.prepared, found.state) == (prepared, state)


def test_a_transaction_that_ends_between_two_reads_is_left_out() -> None:
    assert transactions(Seen((OLD, OLD), [commit(1, done=True)]), NOW) == []


def test_the_oldest_comes_first() -> None:
    gids = [f"gacha_svc-1:1748779200000:{number:016x}" for number in range(3)]
    listed = [Branch(gids[0], ago(1)), Branch(gids[1], ago(9)), Branch(gids[2], ago(5))]
    found = transactions(Seen((listed, []), []), NOW)
    assert [each.gid for each in found] == [gids[1], gids[2], gids[0]]
    assert [each.age_seconds for each in found] == [9, 5, 1]


class Recorder:
    """A `Caller` for all services that records its calls and gives scripted answers."""

    def __init__(self, outcome: Outcome, errors: dict[str, MeshError] | None = None) -> None:
        self.seen: list[str] = []
        self._outcome = outcome
        self._errors = errors or {}

    def of(self, service: str) -> "Recorded":
        return Recorded(self, service)

    def answer(self, asked: str) -> bytes:
        self.seen.append(asked)
        if asked in self._errors:
            raise self._errors[asked]
        if asked == "log Resolve":
            number = coordinator_pb2.Outcome.Value(f"OUTCOME_{self._outcome.name}")
            return coordinator_pb2.ResolveResponse(outcome=number).SerializeToString()
        if asked == "log GetOperations":
            kept = participant_pb2.Operations(operations=[participant_pb2.Operation(id="debit")])
            return coordinator_pb2.GetOperationsResponse(operations=kept).SerializeToString()
        if asked.endswith("ListBranches"):
            response = participant_pb2.ListBranchesResponse()
            response.branches.add(gid=GID).prepared_at.FromDatetime(ago(4))
            response.branches.add(gid="prepared by hand").prepared_at.FromDatetime(ago(5))
            return response.SerializeToString()
        return b""

    @property
    def sides(self) -> Sides:
        first, second = (
            Side(service, RemoteBranches(self.of(service), dict)) for service in ("first", "second")
        )
        return Sides(first, second, RemoteCoordinator(self.of("log"), dict))


class Recorded:
    def __init__(self, recorder: Recorder, service: str) -> None:
        self._recorder = recorder
        self._service = service

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        name = method.rpartition("/")[2]
        if name == "ListDecisions":
            asked = coordinator_pb2.ListDecisionsRequest.FromString(request)
            assert list(asked.gids) in ([GID], []), "only gids may be asked about"
        return self._recorder.answer(f"{self._service} {name}")


AWAY = Unavailable("nobody answers")


async def test_a_decided_transaction_is_committed_on_the_first_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh = Recorder(Outcome.COMMIT)
    (before,) = transactions(Seen((OLD, []), [commit(60)]), NOW)
    resolution = await resolve(mesh.sides, GID)
    assert mesh.seen == ["log Resolve", "first Commit"], "Resolve has ended the second"
    assert resolution.is_complete
    Reporter().show_resolution(resolution, before)
    assert capsys.readouterr().out.splitlines() == [
        "The decision stood before: commit.",
        "second: was committed before",
        "first: committed",
        "The transaction is committed on both sides.",
    ]


async def test_an_undecided_transaction_is_aborted_on_the_first_side_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh = Recorder(Outcome.ABORT)
    (before,) = transactions(Seen((OLD, []), []), NOW)
    resolution = await resolve(mesh.sides, GID)
    assert mesh.seen == ["log Resolve", "first Abort"]
    assert resolution.is_complete
    Reporter().show_resolution(resolution, before)
    assert capsys.readouterr().out.splitlines() == [
        "Nothing was decided, so abort was forced: it stands now, for good.",
        "second: had nothing prepared",
        "first: aborted",
        "The transaction is aborted on both sides.",
    ]


@pytest.mark.parametrize(
    ("outcome", "end"), [(Outcome.COMMIT, "Commit"), (Outcome.ABORT, "Abort")], ids=str
)
async def test_a_first_side_that_is_away_is_left_to_recovery(
    outcome: Outcome, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = Recorder(outcome, {f"first {end}": AWAY})
    resolution = await resolve(mesh.sides, GID)
    assert mesh.seen == ["log Resolve", f"first {end}"]
    assert [(step.service, step.error) for step in resolution.steps] == [
        ("second", None),
        ("first", AWAY),
    ]
    assert not resolution.is_complete
    Reporter().show_resolution(resolution, None)
    told = capsys.readouterr().out
    assert "yet: nobody answers (UNAVAILABLE) The decision stands" in told
    assert "on both sides" not in told


async def test_a_first_side_that_was_committed_against_the_decision_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh = Recorder(Outcome.ABORT, {"first Abort": AlreadyCommitted("It has been committed.")})
    Reporter().show_resolution(await resolve(mesh.sides, GID), None)
    told = capsys.readouterr().out
    assert "first: was committed, against the decision. See docs/operations.md." in told
    assert "on both sides" not in told


async def test_nothing_is_done_when_the_decision_log_is_away() -> None:
    mesh = Recorder(Outcome.COMMIT, {"log Resolve": AWAY})
    with pytest.raises(Unavailable):
        await resolve(mesh.sides, GID)
    assert mesh.seen == ["log Resolve"]


@pytest.mark.parametrize("away", ["first", "second", "log"])
async def test_a_listing_without_one_side_shows_the_rest_and_names_the_missing_side(
    away: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "ListDecisions" if away == "log" else "ListBranches"
    listing = await look(Recorder(Outcome.ABORT, {f"{away} {method}": AWAY}).sides, NOW)
    assert listing.failures == {"decision log" if away == "log" else away: AWAY}
    found = listing.find(GID)
    assert found is not None
    assert found.prepared == (None if away == "first" else True, None if away == "second" else True)
    Reporter().show(listing, SERVICES, Layout(Path("/elsewhere")))
    Reporter().show_failures(listing)
    shown = capsys.readouterr()
    assert GID in shown.out
    assert "does not answer: nobody answers (UNAVAILABLE)" in shown.err


async def test_a_listing_changes_nothing_and_accepts_manually_prepared_transactions() -> None:
    mesh = Recorder(Outcome.ABORT)
    listing = await look(mesh.sides, NOW)
    assert [each.gid for each in listing.transactions] == ["prepared by hand", GID]
    assert sorted(mesh.seen) == ["first ListBranches", "log ListDecisions", "second ListBranches"]


async def test_a_listing_as_json_has_each_side_by_its_service() -> None:
    listing = await look(Recorder(Outcome.ABORT, {"second ListBranches": AWAY}).sides, NOW)
    written = listing_json(listing, SERVICES)
    assert written["failures"] == {"second": "nobody answers (UNAVAILABLE)"}
    assert written["is_cut"] is False
    found = [each for each in listing.transactions if each.gid == GID]
    assert listing_json(Listing(tuple(found), {}, False), SERVICES)["transactions"] == [
        {
            "gid": GID,
            "coordinator": "gacha_svc-1",
            "age_seconds": 4.0,
            "prepared": {"account_svc": True, "gacha_svc": None},
            "decision": None,
            "state": "in doubt",
        }
    ]


LOST = DataLoss("It is neither here nor there.", reason="BRANCH_LOST")


async def test_a_lost_branch_is_redone_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    mesh = Recorder(Outcome.COMMIT, {"first Commit": LOST})
    (before,) = transactions(Seen(([], []), [commit(60)]), NOW)
    resolution = await resolve(mesh.sides, GID)
    assert mesh.seen == ["log Resolve", "first Commit", "log GetOperations", "first Redo"]
    assert resolution.is_complete
    Reporter().show_resolution(resolution, before)
    told = capsys.readouterr().out
    assert "first: was LOST, and has been done again from its decision." in told
    assert "committed on both sides" in told


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            RedoRefused("1 operations cannot be done again: debit USER_NOT_FOUND."),
            "first: LOST, and cannot be done again: nothing was changed. 1 operations cannot be "
            "done again: debit USER_NOT_FOUND. (REDO_REFUSED)",
        ),
        (LOST, "first: LOST. It is neither here nor there. See docs/operations.md."),
    ],
    ids=["refused", "aborted before"],
)
async def test_a_redo_that_cannot_be_done_tells_why(
    error: MeshError, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = Recorder(Outcome.COMMIT, {"first Commit": LOST, "first Redo": error})
    (before,) = transactions(Seen(([], []), [commit(60)]), NOW)
    resolution = await resolve(mesh.sides, GID)
    assert not resolution.is_complete
    Reporter().show_resolution(resolution, before)
    told = capsys.readouterr().out
    assert sentence in told
    assert "on both sides" not in told


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (commit(60, done=True), "was committed; it began at 2025-06-01 11:59:00 UTC."),
        (ABORT, "was aborted at 2025-06-01 11:59:59 UTC."),
        (None, "it was never prepared on the side that decides, or ended more than a day ago."),
    ],
    ids=["committed", "aborted", "unknown"],
)
def test_how_a_transaction_ended_is_told(
    decision: Decision | None, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Reporter().show_ended(GID, decision)
    told = capsys.readouterr().out
    assert sentence in told
    assert "Nothing was done." in told
