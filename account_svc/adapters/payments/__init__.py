"""Outside payment providers, each an `account_svc.domain.payments.PaymentProvider`."""
