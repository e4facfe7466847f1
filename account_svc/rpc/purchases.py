"""account.v1.PurchaseService: proto to domain and back."""

from account_svc.domain.prices import PriceList
from account_svc.domain.purchases import PurchaseRecord
from account_svc.use_cases.purchasing.purchases import Purchases
from mesh.contract.identifiers import checked_uuid
from mesh.serving.dispatch import Call
from protos.account.v1 import purchases_pb2


class PurchaseRpc:
    """A player's purchases, which AccountService.BuyCurrency starts, and the price list."""

    def __init__(self, purchases: Purchases, prices: PriceList) -> None:
        self._purchases = purchases
        self._prices = prices

    async def get_purchase(
        self, request: purchases_pb2.GetPurchaseRequest, call: Call
    ) -> purchases_pb2.Purchase:
        purchase_id = checked_uuid("purchase_id", request.purchase_id)
        return _purchase(await self._purchases.find(call.user_id, purchase_id))

    async def list_purchases(
        self, request: purchases_pb2.ListPurchasesRequest, call: Call
    ) -> purchases_pb2.ListPurchasesResponse:
        records, next_page_token = await self._purchases.history(
            call.user_id, request.page_size, request.page_token
        )
        return purchases_pb2.ListPurchasesResponse(
            purchases=[_purchase(record) for record in records], next_page_token=next_page_token
        )

    async def list_prices(
        self, request: purchases_pb2.ListPricesRequest, call: Call
    ) -> purchases_pb2.ListPricesResponse:
        quotes = self._prices.quotes(request.amounts)
        return purchases_pb2.ListPricesResponse(
            prices=[
                purchases_pb2.GemPrice(
                    amount=quote.amount_gems, price_minor=quote.price_minor, price=quote.price
                )
                for quote in quotes
            ],
            currency=self._prices.price.currency,
            payment_methods=self._prices.payment_methods,
        )


def _purchase(record: PurchaseRecord) -> purchases_pb2.Purchase:
    purchase = record.purchase
    written = purchases_pb2.Purchase(
        purchase_id=purchase.purchase_id,
        state=record.state,
        reason=record.reason,
        amount=purchase.amount_gems,
        price_minor=purchase.price_minor,
        currency=purchase.currency,
        payment_method=purchase.payment_method,
        taken_back=record.taken_back_gems,
    )
    written.created_at.FromDatetime(record.created_at)
    if record.ended_at is not None:
        written.ended_at.FromDatetime(record.ended_at)
    return written
