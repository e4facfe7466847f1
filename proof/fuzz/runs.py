"""A whole run, from an empty folder to a verdict."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from proof.fuzz.fuzzed_mesh import FuzzedMesh
from proof.fuzz.grpc_fuzzer import GrpcFuzzer, Judgement, doors_of
from proof.fuzz.messages import Requests
from proof.fuzz.report import Reporter
from proof.fuzz.rest_fuzzer import fuzz_rest

BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent."""

    message_count: int
    rest_seconds: int


def fuzz(folder: Path, size: Size, seed: int, reporter: Reporter) -> bool:
    """Whether a mesh of its own in `folder` went through it unharmed."""
    target = FuzzedMesh(folder)
    try:
        is_well = True
        if size.message_count:
            judgement = asyncio.run(_fuzz_grpc(target, size.message_count, seed, reporter))
            reporter.show_answers(judgement)
            is_well = reporter.show_findings("gRPC", judgement.findings)
        if size.rest_seconds:
            reporter.say(f"REST, for about {size.rest_seconds} s.")
            run = fuzz_rest(
                target.mesh.gateway,
                target.new_token(),
                folder,
                seconds=size.rest_seconds,
                seed=seed,
            )
            reporter.say(f"{run.case_count} REST requests.")
            is_well &= reporter.show_findings("REST", [] if run.is_well else [run.words])
        return reporter.show_findings("afterwards", target.harm()) and is_well
    finally:
        target.stop()


async def _fuzz_grpc(target: FuzzedMesh, count: int, seed: int, reporter: Reporter) -> Judgement:
    doors = await asyncio.to_thread(doors_of, target.servers())
    known = (target.player.user_id, target.player.username, target.other.username)
    randomness = Random(seed)
    fuzzer = GrpcFuzzer(doors, target.tokens(), Requests(randomness, known), randomness)
    reporter.say(f"{count} gRPC requests at {len(doors)} methods of all instances.")
    for batch in _batches(count):
        await fuzzer.knock(batch)
        reporter.say(f"{fuzzer.judgement.count} sent, {len(fuzzer.judgement.findings)} findings.")
    return fuzzer.judgement


def _batches(count: int) -> Iterable[int]:
    for begin in range(0, count, BATCH):
        yield min(BATCH, count - begin)
