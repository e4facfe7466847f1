"""What a failed attempt means for the instance's breaker and for the call.

    the attempt ended with           for the breaker   an idempotent call
    -------------------------------  ----------------  -------------------------------------
    a response, or an error in the   an answer         ends with it
    request
    UNAVAILABLE sent by the server   a break           same instance again, then the next
    UNAVAILABLE sent by the server   an answer         ends with it: a dependency is down, the
    that says that the instance                        instance is healthy
    serves (DependencyAway)
    OUTCOME_UNKNOWN or               an answer         next instance, which may know more
    IDEMPOTENCY_KEY_IN_USE sent by
    the server
    a broken connection              a break           same instance again, then the next
    DEADLINE_EXCEEDED sent by the    an answer         next instance
    server
    OVERLOADED sent by the server    an answer         next instance; this one is held off
    of the very method                                 for calls of this kind until its hint
                                                       has passed, and any call moves on
    NO_KEYS_YET sent by the server   an answer         next instance, and any call moves on
    of the very method
    its own timeout                  a timeout; an     next instance
                                     answer if signs
                                     of life came
    a lane that is full              given up          next instance; any call moves on
    a request that is not carried    given up          ends with it
    the caller's cancellation        given up          ends

Pure.
"""

from mesh.calling.breaker import AttemptResult
from mesh.calling.transport import ConnectionBroken, NoAnswer, NotCarried
from mesh.contract.idempotency import IdempotencyKeyInUse
from mesh.contract.method_config import MethodConfig
from mesh.errors import DeadlineExceeded, InDoubt, MeshError, NoKeysYet, Overloaded, Unavailable

_REFUSED_UNSTARTED = (Overloaded.REASON, NoKeysYet.REASON)


def was_sent(error: MeshError) -> bool:
    """Whether the request of an attempt with this error may have reached the instance."""
    return not isinstance(error, ConnectionBroken | NoAnswer | NotCarried) or error.was_sent


def is_refused_unstarted(error: MeshError, method: str) -> bool:
    """Whether the instance refused this call itself (not one further behind) before it did
    any work for it."""
    return error.reason in _REFUSED_UNSTARTED and error.metadata.get("method") == method


def is_overloaded(error: MeshError, method: str) -> bool:
    """Whether the instance refused this call because it has no room for calls of its kind."""
    return error.reason == Overloaded.REASON and is_refused_unstarted(error, method)


def may_be_alive(error: MeshError, method: str) -> bool:
    """Whether an attempt with this error may still take effect."""
    return was_sent(error) and not is_refused_unstarted(error, method)


def result_of(error: MeshError) -> AttemptResult:
    """The result for the breaker of an attempt with this error."""
    if isinstance(error, NoAnswer):
        return AttemptResult.TIMED_OUT if error.showed_no_life else AttemptResult.ANSWERED
    if isinstance(error, NotCarried):
        return AttemptResult.GIVEN_UP
    is_break = isinstance(error, Unavailable) and error.is_about_instance
    return AttemptResult.BROKE if is_break else AttemptResult.ANSWERED


def may_go_on(error: MeshError, method: str, config: MethodConfig) -> bool:
    """Whether the call may be sent again after an attempt with this error."""
    if isinstance(error, NotCarried):
        return error.may_fit_elsewhere
    if not may_be_alive(error, method):
        return True
    return config.repeats and (
        isinstance(error, DeadlineExceeded)
        or error.reason in (InDoubt.REASON, IdempotencyKeyInUse.REASON)
        or (isinstance(error, Unavailable) and error.is_about_instance)
    )
