from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airserve.client.embeddings import embed_request, parse_embeddings
from airserve.client.exchange import HttpResponse
from airserve.core.errors import AirserveError
from airserve.protocols import openai as server


@given(st.lists(st.text(), min_size=1, max_size=5), st.data())
def test_embeddings_arrive_bit_for_bit_and_in_order(texts: list[str], data: st.DataObject) -> None:
    embeddings = data.draw(arrays.arrays(np.float32, (len(texts), 3)))
    request = embed_request("m", texts, "c")
    asked = server.decode_embeddings(server.read_document({}, request.body, max_bytes=1 << 20))
    assert asked.texts == texts
    encoded = server.encode_embeddings(asked, embeddings, 1)
    read = parse_embeddings(HttpResponse(200, {}, bytes(encoded.chunks[0])))
    assert read.dtype == np.float32
    assert read.tobytes() == embeddings.tobytes()


def test_one_text_alone_is_one_row() -> None:
    asked = server.decode_embeddings(server.read_document({}, embed_request("m", "a", "c").body, max_bytes=100))
    encoded = server.encode_embeddings(asked, np.ones((1, 2), np.float32), 1)
    assert parse_embeddings(HttpResponse(200, {}, bytes(encoded.chunks[0]))).shape == (1, 2)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"data": []}', b'{"data": [{"index": 0, "embedding": "AA"}]}', b'{"data": [{}]}', b"[]"]
)
def test_an_answer_without_embeddings_is_said_to_have_none(body: bytes) -> None:
    with pytest.raises(AirserveError, match="is the URL that of an Airserve service"):
        parse_embeddings(HttpResponse(200, {}, body))
