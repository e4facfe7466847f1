"""Facts of sagas are read once, and few are kept."""

from mesh.saga.facts import Facts


async def test_a_fact_is_read_once_and_the_oldest_is_forgotten() -> None:
    reads: list[str] = []

    async def read(saga_id: str) -> str:
        reads.append(saga_id)
        return f"fact of {saga_id}"

    facts = Facts(read, max_count=2)
    for saga_id in ("a", "a", "b", "c", "c", "a"):
        assert await facts.of(saga_id) == f"fact of {saga_id}"
    assert reads == ["a", "b", "c", "a"]
