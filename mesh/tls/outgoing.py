"""Whom an HTTP client of ours trusts."""

import ssl


def trusted_by_environment() -> ssl.SSLContext:
    """Trusts what `SSL_CERT_FILE` names when this is called, else what the system trusts.

    aiohttp makes its own when it is imported. That may be in a process with another environment,
    from which this one was forked (ADR 49).
    """
    return ssl.create_default_context()
