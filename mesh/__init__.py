"""The shared runtime of the mesh; it knows no service.

It lets gRPC read and write in the thread in which grpc.aio waits, and not in threads of its own
(docs/adr/0046-grpc-reads-where-it-waits.md). gRPC reads the variable when it is imported, and
every program imports this package before gRPC. A value that the environment has already stays.
"""

import os

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
