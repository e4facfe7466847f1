"""A gRPC client program that finds the mesh only by xDS.

gRPC reads its bootstrap at import, so it must be in the environment at the start.
`python xds_client.py TARGET METHOD`: for each number on standard input it makes that many calls
and prints the counts of outcomes as JSON: by the name in the answer, or by the error code.
"""

import json
import sys
from collections import Counter

import grpc

CALL_TIMEOUT_SECONDS = 10.0


def main(target: str, method: str) -> None:
    with grpc.insecure_channel(target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        for line in sys.stdin:
            outcomes: Counter[str] = Counter()
            for _ in range(int(line)):
                try:
                    answer = call(b"", timeout=CALL_TIMEOUT_SECONDS, wait_for_ready=False)
                    outcomes[answer.decode()] += 1
                except grpc.RpcError as error:
                    if not isinstance(error, grpc.Call):
                        raise
                    outcomes[error.code().name] += 1
            sys.stdout.write(json.dumps(outcomes) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
