"""account.v1.SessionService: proto to domain and back."""

from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.sessions import Sessions
from mesh.serving.dispatch import Call
from protos.account.v1 import sessions_pb2


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
