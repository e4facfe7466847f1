"""The payment provider that the settings name."""

from typing import assert_never

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.config import ShopSettings
from account_svc.domain.payments import PaymentProvider


def choose_provider(settings: ShopSettings) -> PaymentProvider:
    """Builds it. Call this inside the running loop, and close the provider there."""
    secret_key = settings.payment_secret_key.get_secret_value()
    webhook_secret = settings.payment_webhook_secret.get_secret_value()
    match settings.payment_provider:
        case "stripe":
            # The library is large, and other providers do not need it.
            from account_svc.adapters.payments.stripe import STRIPE_URL, StripeProvider

            return StripeProvider(
                secret_key=secret_key,
                webhook_secret=webhook_secret,
                url=settings.payment_url or STRIPE_URL,
            )
        case "sandbox":
            url = settings.payment_url
            assert url is not None, "settings of a sandbox without its URL are refused"
            return SandboxProvider(url, secret_key=secret_key, webhook_secret=webhook_secret)
        case other:
            assert_never(other)
