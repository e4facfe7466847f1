"""account.v1.PaymentEventService: proto to domain and back."""

from account_svc.use_cases.payment_events import PaymentEvents
from mesh.serving.dispatch import Call
from protos.account.v1 import payment_events_pb2


class PaymentEventRpc:
    """Webhooks of the payment provider."""

    def __init__(self, events: PaymentEvents) -> None:
        self._events = events

    async def receive_payment_event(
        self, request: payment_events_pb2.ReceivePaymentEventRequest, call: Call
    ) -> payment_events_pb2.ReceivePaymentEventResponse:
        await self._events.receive(request.event.data, request.signature)
        return payment_events_pb2.ReceivePaymentEventResponse()
