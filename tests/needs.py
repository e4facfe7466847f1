"""Requirements of tests: without them a test is skipped, and the summary says why."""

import pytest

from deploy.local.errors import LocalRunError
from deploy.local.servers import etcd


def need_etcd() -> None:
    """Skips the test on a machine without etcd, which `make up` does not need either."""
    try:
        etcd.binary()
    except LocalRunError as error:
        pytest.skip(str(error))
