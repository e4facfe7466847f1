"""An endpoint that only has a name."""

from gateway_http.exchange import LimitClass, Request, Response


class Named:
    """An endpoint with a name, to tell routes apart."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, name: str) -> None:
        self.name = name

    async def answer(self, request: Request) -> Response:
        raise AssertionError("never called")
