"""What the bench does for each kind of measurement: measures, prints the tables and checks the
invariants. Each returns the exit status: 1 if a request failed or an invariant is broken."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import track

from proof.bench import flood, neighbours
from proof.bench.against.alternation import OURS, Alternation, PairedFigures, in_turn
from proof.bench.against.checkout import checked_out
from proof.bench.figures import Figures
from proof.bench.measure import Meters
from proof.bench.measured_mesh import folder_on_disk, running_mesh, started_mesh
from proof.bench.meters import machine
from proof.bench.meters.counters import CounterReader
from proof.bench.neighbours import NEIGHBOURS
from proof.bench.plan import Plan
from proof.bench.players.token_pool import TokenPool
from proof.bench.run import Run
from proof.bench.start_times import StartSample, measure_start
from proof.bench.tables import against as against_tables
from proof.bench.tables import flood as flood_tables
from proof.bench.tables import neighbours as neighbour_tables
from proof.bench.tables import report
from proof.bench.tables import starts as start_tables
from proof.invariants import broken_invariants
from proof.stack import Mesh

WIDTH_OF_FILES = 160


def new_console() -> Console:
    """Prints to standard output."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)


@dataclass(frozen=True, slots=True)
class _Side:
    """A mesh that is ready to be measured."""

    facts: Mapping[str, str]
    mesh: Mesh
    run: Run

    def figures(self, left_out: Sequence[str], broken: Sequence[str]) -> Figures:
        run = self.run
        return Figures(self.facts, run.speeds, run.series(), run.idle, left_out, broken)


def measure_plan(
    console: Console,
    plan: Plan,
    left_out: Sequence[str],
    mesh_file: Path | None,
    json_file: Path | None,
) -> int:
    """Measures the plan's points. `mesh_file` is that of a running mesh, None for a new one."""
    _say_plan(console, left_out, plan.sample_count, plan)
    with _side(console, plan, _target(console, mesh_file)) as side:
        samples = side.run.samples()
        _report_each(console, samples, plan.sample_count)
        console.print("Checking the invariants over all data.")
        figures = side.figures(left_out, broken_invariants(side.mesh))
    report.show(console, figures)
    if json_file is not None:
        report.write_json(json_file, figures)
    return 1 if figures.has_faults else 0


def measure_against(
    console: Console, plan: Plan, left_out: Sequence[str], revision: str, json_file: Path | None
) -> int:
    """Measures the plan's points on the present code and on a revision of it, in pairs."""
    with (
        folder_on_disk() as folder,
        checked_out(revision, folder / "code", console.print) as other,
    ):
        console.print(f"Compares the present code with {revision}, {other.commit[:12]}.")
        _say_plan(console, left_out, 2 * plan.sample_count, plan)
        with (
            _side(console, plan, started_mesh(checkout=other.checkout)) as theirs,
            _side(console, plan, started_mesh()) as ours,
        ):
            alternation = Alternation(ours.run, theirs.run, revision)
            _report_each(console, alternation.samples(), 2 * plan.sample_count)
            console.print("Checking the invariants over all data of both.")
            figures = PairedFigures(
                revision,
                other.commit,
                ours.figures(left_out, broken_invariants(ours.mesh)),
                theirs.figures(left_out, other.broken_invariants(theirs.mesh)),
            )
    against_tables.show(console, figures)
    if json_file is not None:
        against_tables.write_json(json_file, figures)
    return 1 if figures.has_faults else 0


def measure_starts(
    console: Console, rounds: int, revision: str | None, json_file: Path | None
) -> int:
    """Measures warm starts of the present code, in turn with those of a revision if one is
    given. Nothing is asked of the meshes, so the status is 0."""
    sides: dict[str, list[StartSample]] = {OURS: []}
    with ExitStack() as stack:
        meshes = {OURS: stack.enter_context(started_mesh())}
        if revision is not None:
            folder = stack.enter_context(folder_on_disk())
            other = stack.enter_context(checked_out(revision, folder / "code", console.print))
            sides[revision] = []
            meshes[revision] = stack.enter_context(started_mesh(checkout=other.checkout))
        names = list(meshes)
        turns = [name for number in range(rounds) for name in in_turn(names, number)]
        for name in track(turns, "Starting", console=console):
            sides[name].append(measure_start(meshes[name]))
    start_tables.show(console, sides)
    if json_file is not None:
        start_tables.write_json(json_file, sides)
    return 0


def measure_flood(console: Console, seconds: float, rounds: int, mesh_file: Path | None) -> int:
    """Measures pulls under a flood of logins."""
    target = started_mesh() if mesh_file is None else nullcontext(running_mesh(mesh_file))
    with target as mesh:
        run = flood.FloodRun(mesh, seconds, rounds, flood.TIMES_CAPACITY)
        for figures in track(run.measure(), "Measuring", 1 + rounds, console=console):
            whole = figures
        flood_tables.show(console, whole)
        broken = broken_invariants(mesh)
        console.print(f"Broken invariants: {broken or 'none'}.")
    return 1 if broken or whole.error_count else 0


def measure_neighbours(
    console: Console, seconds: float, rounds: int, mesh_file: Path | None
) -> int:
    """Measures what one busy player does to himself and to others."""
    if mesh_file is not None:
        raise typer.BadParameter(f"{NEIGHBOURS} needs a mesh of its own: leave out --mesh")
    with started_mesh(neighbours.PULL_LIMIT) as mesh:
        run = neighbours.NeighbourRun(mesh, seconds, rounds)
        for figures in track(run.measure(), "Measuring", rounds, console=console):
            whole = figures
        neighbour_tables.show(console, whole)
        broken = broken_invariants(mesh)
        console.print(f"Broken invariants: {broken or 'none'}.")
    return 1 if broken or whole.error_count else 0


def _say_plan(console: Console, left_out: Sequence[str], sample_count: int, plan: Plan) -> None:
    for each in left_out:
        console.print(f"[yellow]Leaves out:[/yellow] {each}", soft_wrap=True)
    seconds = plan.duration_seconds * sample_count / plan.sample_count
    console.print(
        f"Measures {sample_count} windows in {plan.round_count} rounds, which takes about "
        f"{seconds:.0f} s after the start."
    )


def _target(console: Console, mesh_file: Path | None) -> AbstractContextManager[Mesh]:
    if mesh_file is not None:
        return nullcontext(running_mesh(mesh_file))
    console.print("Starting a mesh of its own.")
    return started_mesh()


@contextmanager
def _side(console: Console, plan: Plan, target: AbstractContextManager[Mesh]) -> Iterator[_Side]:
    with target as mesh, closing(CounterReader(mesh.read()["databases"])) as counters:
        facts = machine.facts(mesh, counters, plan.window_seconds, plan.round_count)
        pool = _register_players(console, mesh, plan.player_count)
        yield _Side(facts, mesh, Run(plan, Meters(mesh, counters), pool))


def _register_players(console: Console, mesh: Mesh, count: int) -> TokenPool:
    pool = TokenPool(mesh.gateway, mesh.trust)
    for _ in track(pool.make(count), f"Registering {count} players", count, console=console):
        pass
    return pool


def _report_each(console: Console, samples: Iterator[str], count: int) -> None:
    for what in track(samples, "Measuring", count, console=console):
        console.print(f"[dim]{what}[/dim]")
