"""account.v1.PaymentEventService: proto to use case and back."""

from account_svc.payment_events.use_cases import PaymentEvents
from mesh.dispatch import Call
from protos.account.v1 import payment_events_pb2


class PaymentEventRpc:
    """account.v1.PaymentEventService."""

    def __init__(self, events: PaymentEvents) -> None:
        self._events = events

    async def receive_payment_event(
        self, request: payment_events_pb2.ReceivePaymentEventRequest, call: Call
    ) -> payment_events_pb2.ReceivePaymentEventResponse:
        await self._events.receive(request.event.data, request.signature)
        return payment_events_pb2.ReceivePaymentEventResponse()
