"""A rotation by an operator: real keys in a real folder; the test sets the instances' clock."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.adapters.signing_keys.making import KeyFolder, lock_folder, make_signing_key
from account_svc.adapters.signing_keys.views import InstanceViews
from account_svc.domain.signing.key_views import MissingView, View, Views
from account_svc.domain.signing.signing_keys import MAX_SIGNING_KEYS, SETTLE_SECONDS, file_name
from account_svc.use_cases.instance_wait import InstanceWait, RotationFailed
from account_svc.use_cases.key_rotation import LOGGED_OUT, KeyRotation
from mesh.calling.unary import UnaryTransport
from mesh.contract.instances import Instance
from mesh.errors import Unavailable
from mesh.identity.key_files import LOOK_SECONDS
from mesh.identity.keys import key_id, load_private_key

TOKEN_SECONDS = 900
OVERLAP_SECONDS = TOKEN_SECONDS + 60


class World:
    """A folder of keys and two instances that follow it; time passes during waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_800_000_000.0
        self.said: list[str] = []
        self.away: set[str] = set()
        self.first = self.make(self.now - 1e6)
        self.instances = {name: self.start() for name in ("account_svc-1", "account_svc-2")}
        wait = InstanceWait(self.ask, self.said.append, self.clock, sleep=self.let_pass)
        self.rotation = KeyRotation(KeyFolder(folder), wait)

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def make(self, moment: float) -> str:
        path = make_signing_key(self.folder, datetime.fromtimestamp(moment, UTC))
        return key_id(load_private_key(path.read_bytes()).public_key())

    def start(self) -> SigningKeys:
        """Starts an instance."""
        return SigningKeys(
            self.folder,
            token_seconds=TOKEN_SECONDS,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    async def ask(self) -> Views:
        await asyncio.sleep(0)
        if self.away:
            raise MissingView(f"{min(self.away)} does not say which keys it has: see it")
        return {
            name: View(tuple(keys.listed()), keys.faults) for name, keys in self.instances.items()
        }

    async def let_pass(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def signing(self) -> set[str]:
        """The keys with which the instances sign now."""
        tokens = [keys.sign("mira") for keys in self.instances.values()]
        return {jwt.get_unverified_header(token)["kid"] for token in tokens}

    def kids(self) -> list[str]:
        """The ids of the keys in the folder, oldest first."""
        return [
            key_id(load_private_key(path.read_bytes()).public_key())
            for path in sorted(self.folder.glob("*.pem"))
        ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_rotation_ends_when_the_new_key_signs_everywhere(world: World) -> None:
    began_at = world.now
    change = await world.rotation.rotate()
    first, second = world.kids()
    assert (change.made, change.removed) == (second, ())
    assert set(change.kept) == {first, second}
    assert change.kept[second] is None, "it signs"
    assert world.signing() == {second}
    assert began_at + SETTLE_SECONDS <= world.now <= began_at + SETTLE_SECONDS + LOOK_SECONDS
    assert first == world.first
    assert f"Made key {second}" in world.said[0]
    assert any(
        sentence.startswith("10 s: account_svc-1 signs with it in") for sentence in world.said
    )
    assert f"Key {second} signs at all of account_svc-1, account_svc-2." in world.said
    assert f"Key {first}" in world.said[-1]
    assert "stays until" in world.said[-1]
    assert {path.stat().st_mode & 0o777 for path in world.folder.iterdir()} == {0o600}


async def test_a_superseded_key_is_removed_when_its_overlap_is_over_everywhere(
    world: World,
) -> None:
    await world.rotation.rotate()
    second = world.kids()[1]
    ends_at = max(
        key.removable_at or 0.0
        for keys in world.instances.values()
        for key in keys.listed()
        if key.kid == world.first
    )
    world.now = ends_at - 0.5
    await world.rotation.prune()
    assert world.kids() == [world.first, second]
    world.now = ends_at + 0.5
    change = await world.rotation.prune()
    assert (change.made, change.removed, change.kept) == (
        None,
        (world.first,),
        {second: None},
    )
    assert world.kids() == [second]
    assert f"Removed key {world.first}" in world.said[-1]
    assert world.signing() == {second}


async def test_an_instance_that_restarted_keeps_the_old_key_for_another_overlap(
    world: World,
) -> None:
    await world.rotation.rotate()
    world.now += OVERLAP_SECONDS - 100
    world.instances["account_svc-2"] = world.start()
    world.now += 200
    await world.rotation.prune()
    assert world.first in world.kids()
    world.now += OVERLAP_SECONDS
    await world.rotation.prune()
    assert world.first not in world.kids()


async def test_nothing_is_made_or_removed_while_an_instance_does_not_answer(world: World) -> None:
    await world.rotation.rotate()
    kids = world.kids()
    world.now += 1e6
    world.away.add("account_svc-2")
    for act in (world.rotation.rotate, world.rotation.prune):
        with pytest.raises(RotationFailed, match="account_svc-2 does not say"):
            await act()
    assert world.kids() == kids


async def test_an_interrupted_rotation_is_taken_up_again(world: World) -> None:
    made = world.make(world.now)
    world.now += 2
    await world.rotation.rotate()
    assert world.kids() == [world.first, made]
    assert f"Key {made}" in world.said[0]
    assert world.signing() == {made}


async def test_a_key_that_is_dated_ahead_makes_no_caller_wait(world: World) -> None:
    ahead = world.make(world.now + 1e6)
    world.now += 2
    await world.rotation.rotate()
    first, new, last = world.kids()
    assert (first, last) == (world.first, ahead)
    assert world.signing() == {new}


async def test_a_key_that_an_instance_does_not_see_is_reported_after_a_while(world: World) -> None:
    elsewhere = world.folder.parent / "elsewhere"
    elsewhere.mkdir()
    os.link(next(world.folder.glob("*.pem")), elsewhere / next(world.folder.glob("*.pem")).name)
    world.instances["account_svc-2"] = SigningKeys(
        elsewhere, token_seconds=TOKEN_SECONDS, clock=lambda: world.now, monotonic=lambda: world.now
    )
    with pytest.raises(
        RotationFailed, match=r"account_svc-2 has not seen it yet.*no token is refused"
    ):
        await world.rotation.rotate()
    assert world.first in world.signing()


async def test_files_that_are_no_keys_are_reported_and_harm_nothing(world: World) -> None:
    bad = world.folder / file_name(datetime.fromtimestamp(world.now - 5, UTC))
    bad.write_text("not a key")
    world.now += LOOK_SECONDS
    await world.rotation.rotate()
    assert bad.name in world.said[0]
    assert world.signing() == {
        key_id(load_private_key(max(world.folder.glob("*.pem")).read_bytes()).public_key())
    }


async def test_too_many_keys_are_reported_before_another_is_made(world: World) -> None:
    for number in range(MAX_SIGNING_KEYS - 2):
        world.make(world.now - 1e5 + number)
    with pytest.raises(RotationFailed, match="PRUNE=1"):
        await world.rotation.rotate()
    assert len(world.kids()) == MAX_SIGNING_KEYS - 1


async def test_the_only_key_is_revoked_and_another_signs_at_once(world: World) -> None:
    began_at = world.now
    change = await world.rotation.revoke(world.first[:8])
    (new,) = world.kids()
    assert (change.made, change.removed) == (new, (world.first,))
    assert new != world.first
    assert world.signing() == {new}
    assert world.now <= began_at + LOOK_SECONDS
    assert world.said[-1] == LOGGED_OUT
    for keys in world.instances.values():
        assert await keys.find(world.first) is None


async def test_when_the_key_that_signs_is_revoked_the_one_before_signs_until_then(
    world: World,
) -> None:
    await world.rotation.rotate()
    second = world.kids()[1]
    await world.rotation.revoke(second)
    assert world.signing() == {world.first}
    world.now += SETTLE_SECONDS + 1
    assert world.signing() == {world.kids()[1]}
    assert second not in world.kids()


async def test_a_superseded_or_an_unused_key_is_revoked_and_none_is_made(world: World) -> None:
    await world.rotation.rotate()
    second = world.kids()[1]
    await world.rotation.revoke(world.first)
    assert world.kids() == [second]
    world.now += 10
    unused = world.make(world.now)
    world.now += 1
    await world.rotation.revoke(unused)
    assert world.kids() == [second]
    assert "no player is affected" in world.said[-1]


@pytest.mark.parametrize("wanted", ["", "A", "unknown-key", "*"])
async def test_an_unknown_key_id_revokes_no_key(world: World, wanted: str) -> None:
    with pytest.raises(RotationFailed, match=world.first):
        await world.rotation.revoke(wanted)
    with pytest.raises(RotationFailed, match="is not the id of one key"):
        await world.rotation.revoke(world.first[:5])
    assert world.kids() == [world.first]


async def test_fewer_instances_than_expected_stop_a_rotation_before_anything_is_asked() -> None:
    class NobodyAsked(UnaryTransport):
        async def call(self, *arguments: object, **named: object) -> bytes:
            raise AssertionError("an instance was asked")

    listed = (Instance("account_svc-1", "account_svc", "127.0.0.1:1"),)
    transport = NobodyAsked()
    views = InstanceViews(lambda: listed, transport, dict, min_count=2)
    with pytest.raises(MissingView, match="lists 1 instances of account_svc, and 2 are expected"):
        await views.ask()
    await transport.close()


async def test_an_instance_that_does_not_answer_is_named() -> None:
    class Away(UnaryTransport):
        async def call(self, *arguments: object, **named: object) -> bytes:
            raise Unavailable("nobody answers")

    listed = (Instance("account_svc-1", "account_svc", "127.0.0.1:1"),)
    transport = Away()
    with pytest.raises(MissingView, match=r"account_svc-1 does not report .* \(UNAVAILABLE\)"):
        await InstanceViews(lambda: listed, transport, dict).ask()
    await transport.close()


def test_one_process_at_a_time_changes_a_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path) as first, lock_folder(tmp_path) as second:
        assert (first, second) == (True, False)
    with lock_folder(tmp_path) as again:
        assert again
