"""What the runner does all along goes on after a failure."""

from deploy.local.run import keep_going


async def test_work_that_fails_is_started_again_and_each_failure_is_said_once() -> None:
    failures = [OSError("full"), ValueError("odd"), ValueError("odd")]
    said: list[str] = []

    async def work() -> None:
        if failures:
            raise failures.pop()

    await keep_going("The work", work, said.append, pause_seconds=0.0)
    assert failures == []
    assert len(said) == 2
    assert "ValueError" in said[0]
    assert "OSError" in said[1]
