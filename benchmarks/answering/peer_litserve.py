"""LitServe with batching, as its documentation shows it. How to run it is in `answering/peers.py`."""

import sys
from typing import Any

import litserve as ls  # type: ignore[import-not-found]

from answering.peers import Answering, records_of


class Api(ls.LitAPI):  # type: ignore[misc]
    """Records of up to 64 requests go through the pipeline together."""

    def __init__(self, file: str) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.005)
        self.file = file

    def setup(self, _: str) -> None:
        self.answer = Answering(self.file)

    # With an annotation LitServe would look for the request in the query.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return records_of(request)

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[list[dict[str, Any]]]) -> list[Any]:
        answers = iter(self.answer([record for records in inputs for record in records]))
        return [[next(answers) for _ in records] for records in inputs]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: list[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"predictions": output} if len(output) > 1 else output[0]
        return found


if __name__ == "__main__":
    server = ls.LitServer(Api(sys.argv[2]), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
