"""The failpoints of the protocol: every moment whose interruption is a case of its own.

    <participant>.before_branch       a Prepare has arrived, and nothing is done yet
    <participant>.before_prepare      the operations are applied, in an open transaction
    <participant>.after_prepare       the branch is durable, and nobody has been told
    <participant>.before_commit       a Commit has arrived
    <participant>.after_commit        the branch took effect, and nobody has been told
    <participant>.before_abort        an Abort has arrived
    <participant>.before_tombstone    the branch is undone, and its Prepare not yet refused
    <participant>.after_abort         the branch is undone, and nobody has been told
    coordinator.between_prepares      the first branch is durable
    coordinator.before_decision       both branches are durable
    coordinator.after_decision        the decision is durable, and nobody has been told
    coordinator.between_commits       the first branch took effect
    coordinator.after_commits         both took effect, and nobody has been told
    recovery.before_resolve           an old branch was found
    recovery.after_resolve            its outcome stands, and nothing followed yet
    recovery.before_commits           a decision was found that is not known to be done
    recovery.between_commits          the first branch of such a decision took effect
    recovery.before_done              both did, and that is not noted yet

What is raised at one of them counts as the failure of what was just asked or done there:
after a step it is the loss of its reply.
"""

OF_A_PARTICIPANT = (
    "before_branch",
    "before_prepare",
    "after_prepare",
    "before_commit",
    "after_commit",
    "before_abort",
    "before_tombstone",
    "after_abort",
)
OF_A_COORDINATOR = (
    "coordinator.between_prepares",
    "coordinator.before_decision",
    "coordinator.after_decision",
    "coordinator.between_commits",
    "coordinator.after_commits",
)
OF_BRANCH_RECOVERY = ("recovery.before_resolve", "recovery.after_resolve")
OF_DECISION_RECOVERY = (
    "recovery.before_commits",
    "recovery.between_commits",
    "recovery.before_done",
)


def of_participant(name: str) -> tuple[str, ...]:
    """The points that the participant of that name passes."""
    return tuple(f"{name}.{point}" for point in OF_A_PARTICIPANT)
