"""account.v1.SessionService and EndedSessionService: proto to domain and back."""

from datetime import UTC, datetime
from uuid import UUID

from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.sessions import EndedSessionList, Sessions
from mesh.errors import InvalidArgument
from mesh.serving.dispatch import Call
from protos.account.v1 import ended_sessions_pb2, sessions_pb2


class SessionRpc:
    """Refreshes and ends sessions, and changes the password."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions

    async def refresh(
        self, request: sessions_pb2.RefreshRequest, call: Call
    ) -> sessions_pb2.RefreshResponse:
        grant = await self._sessions.refresh(request.refresh_token, request.idempotency_key)
        return sessions_pb2.RefreshResponse(
            token=grant.token,
            refresh_token=grant.refresh_token,
            expires_in=grant.expires_in_seconds,
        )

    async def logout(
        self, request: sessions_pb2.LogoutRequest, call: Call
    ) -> sessions_pb2.LogoutResponse:
        await self._sessions.logout(request.refresh_token)
        return sessions_pb2.LogoutResponse(message="Logged out")

    async def logout_everywhere(
        self, request: sessions_pb2.LogoutEverywhereRequest, call: Call
    ) -> sessions_pb2.LogoutEverywhereResponse:
        await self._sessions.logout_everywhere(call.user_id)
        return sessions_pb2.LogoutEverywhereResponse(message="Logged out everywhere")

    async def change_password(
        self, request: sessions_pb2.ChangePasswordRequest, call: Call
    ) -> sessions_pb2.ChangePasswordResponse:
        grant = await self._accounts.change_password(
            call.user_id,
            request.current_password,
            request.new_password,
            request.idempotency_key,
            call.client_address,
        )
        return sessions_pb2.ChangePasswordResponse(
            message="Password changed",
            token=grant.token,
            refresh_token=grant.refresh_token,
            expires_in=grant.expires_in_seconds,
        )


class EndedSessionRpc:
    """Lists ended sessions for verifiers."""

    def __init__(self, ended: EndedSessionList) -> None:
        self._ended = ended

    async def list_ended_sessions(
        self, request: ended_sessions_pb2.ListEndedSessionsRequest, call: Call
    ) -> ended_sessions_pb2.ListEndedSessionsResponse:
        ended = await self._ended.read(_since(request))
        response = ended_sessions_pb2.ListEndedSessionsResponse(
            session_ids=[UUID(session_id).bytes for session_id in ended.session_ids]
        )
        response.as_of.FromDatetime(ended.as_of)
        return response


def _since(request: ended_sessions_pb2.ListEndedSessionsRequest) -> datetime | None:
    """Raises InvalidArgument naming since."""
    if not request.HasField("since"):
        return None
    try:
        return request.since.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.of_field("since", "must be a time of the years 1 to 9999") from error
