"""Whole runs on a new mesh: of the real protocol, and of its mutants."""

import asyncio
import random
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg2

from proof.faults.campaign import Campaign, FaultDeck, Size, chosen, rounds_of
from proof.faults.findings import Findings
from proof.faults.injection.faults import SHORT_STALLS_SECONDS, STALLS_SECONDS, all_faults
from proof.faults.injection.target import Target
from proof.faults.processes.mutants import MUTANTS, Mutant
from proof.faults.report import Reporter, mutant_table, summary

LONG_RUN_SECONDS = 600.0
MUTANT_SECONDS = 100.0
MUTANT_SIZE = Size(
    player_count=60,
    connection_count=24,
    stalls_seconds=(5.0,),
    settle_seconds=8.0,
    operation_seconds=15.0,
)


def run(folder: Path, seconds: float, seed: int, only: Sequence[str], reporter: Reporter) -> bool:
    """Runs on its own mesh, with the faults whose names contain one of the words `only`. Returns
    True if there are no findings."""
    stalls = STALLS_SECONDS if seconds >= LONG_RUN_SECONDS else SHORT_STALLS_SECONDS
    size = Size(stalls_seconds=stalls)
    faults = chosen(all_faults(), only)
    reporter.say("Starting a mesh.")
    target = Target(folder / "mesh")
    try:
        campaign = Campaign(target, folder, seed, size)
        deck = FaultDeck(faults, random.Random(seed))
        reporter.say(
            f"{size.player_count} players over {size.connection_count} connections; "
            f"rounds out of {len(faults)} faults for {seconds:.0f} s."
        )
        asyncio.run(_harm(campaign, deck, seconds, reporter))
    finally:
        target.stop()
    reporter.show_findings(campaign.findings)
    reporter.show_summary(campaign, seed)
    (folder / "summary.md").write_text(summary(campaign, seed) + "\n")
    is_well = not campaign.findings.count
    if is_well:
        # The databases are only needed to examine findings.
        shutil.rmtree(folder / "mesh" / "postgres", ignore_errors=True)
    return is_well


async def _harm(campaign: Campaign, deck: FaultDeck, seconds: float, reporter: Reporter) -> None:
    async with campaign.running():
        for faults in rounds_of(deck, time.monotonic() + seconds):
            came = await campaign.round(faults)
            for fault in faults:
                if fault not in came:
                    deck.put_back(fault)
            reporter.show_round(campaign, faults, len(came))
        reporter.say("Comparing every answer with what is stored.")
        await campaign.check_all_answers()


def run_mutants(folder: Path, names: Sequence[str], seed: int, reporter: Reporter) -> bool:
    """Runs the mutants. Returns True if each was caught."""
    caught: dict[str, Findings] = {}
    for name in names:
        reporter.say(f"Mutant {name}: {MUTANTS[name].description}.")
        caught[name] = run_mutant(folder / name, name, seed)
        reporter.say(f"{caught[name].count} anomalies.")
    reporter.console.print(mutant_table(caught), soft_wrap=False)
    reporter.show_columns(caught)
    return all(findings.count for findings in caught.values())


def run_mutant(folder: Path, name: str, seed: int) -> Findings:
    """Runs one mutant on its own mesh, until it is caught or its time is over."""
    mutant = MUTANTS[name]
    folder.mkdir()
    target = Target(folder / "mesh", name)
    try:
        _mutate(target, mutant)
        campaign = Campaign(target, folder, seed, MUTANT_SIZE)
        asyncio.run(_expose(campaign, mutant))
    finally:
        target.stop()
    shutil.rmtree(folder / "mesh" / "postgres", ignore_errors=True)
    return campaign.findings


def _mutate(target: Target, mutant: Mutant) -> None:
    for database, statements in mutant.statements.items():
        with closing(psycopg2.connect(target.mesh.superuser_url(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)


async def _expose(campaign: Campaign, mutant: Mutant) -> None:
    faults = all_faults()
    until = time.monotonic() + MUTANT_SECONDS
    async with campaign.running():
        while not campaign.findings.count and time.monotonic() < until:
            await campaign.round([faults[name] for name in mutant.faults])
