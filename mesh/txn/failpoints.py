"""The failpoints of the protocol: every point where an interruption is a separate case.

    <participant>.before_branch       a Prepare has arrived; nothing is done yet
    <participant>.before_prepare      the operations are applied, in an open transaction
    <participant>.after_prepare       the branch is durable; no reply has been sent
    <participant>.before_commit       a Commit has arrived
    <participant>.after_commit        the branch took effect; no reply has been sent
    <participant>.before_abort        an Abort has arrived
    <participant>.before_tombstone    the branch is undone; its Prepare is not refused yet
    <participant>.after_abort         the branch is undone; no reply has been sent
    coordinator.between_prepares      the first branch is durable
    coordinator.before_decision       both branches are durable
    coordinator.after_decision        the second branch took effect: that is the decision
    coordinator.after_commits         both took effect; no caller has an answer
    recovery.before_resolve           an old branch was found
    recovery.after_resolve            its outcome is durable; nothing followed yet
    recovery.before_commit            a decision was found that is not known to be done
    recovery.before_done              both took effect; that is not recorded yet

With failpoints, a participant sends PREPARE in a message of its own, so that the operations are
applied at `before_prepare`. Without, the last statements of the operations go with it.

An exception raised at a failpoint counts as the failure of that step. After a step it stands
for the loss of the step's reply.
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
    "coordinator.after_commits",
)
OF_BRANCH_RECOVERY = ("recovery.before_resolve", "recovery.after_resolve")
OF_DECISION_RECOVERY = (
    "recovery.before_commit",
    "recovery.before_done",
)


def of_participant(name: str) -> tuple[str, ...]:
    """The failpoints of the participant with that name."""
    return tuple(f"{name}.{point}" for point in OF_A_PARTICIPANT)
