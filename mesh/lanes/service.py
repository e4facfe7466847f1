"""The lanes of one server: opening them, and draining them when the server leaves.

Only the services that the lane's proto names may open one. Each call is authenticated by its
own metadata, so a call on a lane does not get the rights of the opener. The client address
of a call is the opener's address. If the proto says that the opener speaks for clients, it is
the address that the opener sends with each call.
"""

from collections.abc import Callable
from typing import Any

import grpc
import structlog

from mesh.calls import CLIENT_ADDRESS
from mesh.contract.access import rule_of
from mesh.errors import InvalidArgument, MeshError, ResourceExhausted, Unavailable
from mesh.identity.auth import Service
from mesh.lanes.limits import EXCHANGE, MAX_LANES
from mesh.lanes.served import BrokenRules, ServedLane
from mesh.serving.contexts import abort, metadata_of
from mesh.serving.dispatch import Dispatcher
from protos.mesh.v1 import lane_pb2, options_pb2

_OPTIONS = (
    lane_pb2.DESCRIPTOR.services_by_name["LaneService"].methods_by_name["Exchange"].GetOptions()
)
_EXCHANGE_RULE = rule_of(_OPTIONS)
_SPEAKERS = frozenset(_OPTIONS.Extensions[options_pb2.speaks_for_clients])
log = structlog.get_logger()


class LaneService(grpc.GenericRpcHandler):
    """Accepts lanes and runs their calls through one dispatcher."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        max_lanes: int = MAX_LANES,
        observe_replies: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`observe_replies` gets the number of replies in each message."""
        self._dispatcher = dispatcher
        self._observe_replies = observe_replies
        self._max_lanes = max_lanes
        self._lanes: dict[ServedLane, str] = {}
        self._is_draining = False

    def service(self, details: Any) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if details.method != EXCHANGE:
            return None
        return grpc.stream_stream_rpc_method_handler(self._exchange)

    def peers(self) -> frozenset[str]:
        """The openers of the lanes that are open, as gRPC names them."""
        return frozenset(self._lanes.values())

    def drain(self) -> None:
        """Notifies every client to send no new calls. A lane ends once its calls are answered."""
        self._is_draining = True
        for lane in self._lanes:
            lane.drain()

    async def _exchange(self, _requests: Any, context: Any) -> None:
        try:
            lane = ServedLane(
                context,
                self._dispatcher,
                client_address=await self._admit(context),
                observe_replies=self._observe_replies,
            )
            self._lanes[lane] = context.peer()
            try:
                await lane.serve()
            finally:
                del self._lanes[lane]
        except BrokenRules as error:
            log.error("end_lane", reason=str(error))
            await abort(context, InvalidArgument(str(error), reason="LANE_RULES_BROKEN"), {})
        except MeshError as error:
            await abort(context, error, {})

    async def _admit(self, context: Any) -> str | None:
        """The client address of the lane's calls; None if each call names its own."""
        metadata = metadata_of(context)
        opener = await self._dispatcher.authenticate(metadata, _EXCHANGE_RULE)
        assert isinstance(opener, Service), "lanes are opened by services"
        # Nothing is awaited between these checks and the lane's entry in `_lanes`.
        if self._is_draining:
            raise Unavailable("This server is leaving.", reason="DRAINING")
        if len(self._lanes) >= self._max_lanes:
            raise ResourceExhausted("This server has as many lanes as it can take.")
        return None if opener.name in _SPEAKERS else metadata[CLIENT_ADDRESS]
