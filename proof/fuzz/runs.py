"""A whole run on a new mesh."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from proof.fuzz.fuzzed_mesh import FuzzedMesh
from proof.fuzz.grpc_fuzzer import GrpcFuzzer, Verdict, endpoints_of
from proof.fuzz.messages import Requests
from proof.fuzz.report import Reporter
from proof.fuzz.rest_fuzzer import fuzz_rest
from proof.fuzz.slow_clients import SlowClients

BATCH = 5_000
PULLING_PLAYERS = 4


@dataclass(frozen=True, slots=True)
class Size:
    """The amount of input."""

    message_count: int
    rest_seconds: int
    slow_connections: int
    slow_seconds: float


def fuzz(folder: Path, size: Size, seed: int, reporter: Reporter) -> bool:
    """Fuzzes its own mesh in `folder`. Returns True if nothing was harmed."""
    reporter.say("Starting a mesh.")
    target = FuzzedMesh(folder)
    try:
        is_well = True
        if size.message_count:
            verdict = asyncio.run(_fuzz_grpc(target, size.message_count, seed, reporter))
            reporter.show_answers(verdict)
            is_well = reporter.show_findings("gRPC", verdict.findings)
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
            findings = [] if run.is_well else [run.output]
            if not run.case_count:
                findings.append(f"{size.rest_seconds} s were too short for any request")
            is_well &= reporter.show_findings("REST", findings)
        if size.slow_connections:
            is_well &= asyncio.run(_play_slow(target, size, reporter))
        return reporter.show_findings("afterwards", target.problems()) and is_well
    finally:
        target.stop()


async def _fuzz_grpc(target: FuzzedMesh, count: int, seed: int, reporter: Reporter) -> Verdict:
    endpoints = await asyncio.to_thread(endpoints_of, target.servers())
    known = (target.player.user_id, target.player.username, target.other.username)
    randomness = Random(seed)
    fuzzer = GrpcFuzzer(endpoints, target.tokens(), Requests(randomness, known), randomness)
    reporter.say(f"{count} gRPC requests at {len(endpoints)} methods of all instances.")
    for batch in _batches(count):
        await fuzzer.send(batch)
        reporter.say(f"{fuzzer.verdict.count} sent, {len(fuzzer.verdict.findings)} findings.")
    return fuzzer.verdict


async def _play_slow(target: FuzzedMesh, size: Size, reporter: Reporter) -> bool:
    reporter.say(f"{size.slow_connections} slow clients of each kind.")
    tokens = [target.new_player().token for _ in range(PULLING_PLAYERS)]
    slow = SlowClients(
        target.mesh.gateway,
        tokens,
        connection_count=size.slow_connections,
        seconds=size.slow_seconds,
    )
    results = [result async for result in slow.run()]
    reporter.show_slow_clients(results)
    findings = [each for result in results for each in result.findings]
    return reporter.show_findings("slow clients", findings)


def _batches(count: int) -> Iterable[int]:
    for begin in range(0, count, BATCH):
        yield min(BATCH, count - begin)
