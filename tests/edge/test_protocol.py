"""What a client sees: the Open Inference Protocol V2, the raw route, and clear refusals."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import numpy as np
import pytest

from edgefleet.edge.contract import DIGEST_HEADER, LABEL_HEADER, REQUEST_ID_HEADER
from tests.edge.conftest import Shelf
from tests.edge.tiny import BRIGHT, DARK, Reply, Running

INFER = "/v2/models/tiny/infer"


def infer(running: Running, body: object, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return running.public("POST", INFER, content, **{"content_type": "application/json", **headers})


def image(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [0] * 64}
    return {"inputs": [{**tensor, **changes}]}


def test_an_image_gets_its_label_and_says_who_answered(running: Running, shelf: Shelf) -> None:
    reply = running.raw(BRIGHT, "r-17")
    assert reply.status == 200
    assert {name: value for name, value in reply.json.items() if name != "probabilities"} == {
        "label": "dent",
        "index": 2,
        "id": "r-17",
    }
    assert sum(reply.json["probabilities"]) == pytest.approx(1, abs=1e-6)
    assert shelf.old == reply.headers[DIGEST_HEADER]
    assert reply.headers[REQUEST_ID_HEADER] == "r-17"


def test_a_request_without_an_id_gets_one_of_its_own(running: Running) -> None:
    ids = {running.raw().headers[REQUEST_ID_HEADER] for _ in range(3)}
    assert len(ids) == 3


def test_which_labels_are_wanted_depends_on_the_id_alone_and_on_half_of_them(
    running: Running,
) -> None:
    first = [LABEL_HEADER in running.raw(DARK, f"w{i}").headers for i in range(60)]
    again = [LABEL_HEADER in running.raw(BRIGHT, f"w{i}").headers for i in range(60)]
    assert first == again
    assert 15 < sum(first) < 45


@pytest.mark.parametrize("nested", [False, True])
def test_json_tensors_are_answered_flat_or_nested(running: Running, nested: bool) -> None:  # noqa: FBT001 - both ways
    pixels = np.concatenate([np.zeros((1, 1, 8, 8), int), np.full((1, 1, 8, 8), 255)])
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    reply = infer(running, {"id": "j1", **image(shape=[2, 1, 8, 8], data=data)})
    assert reply.status == 200
    answer = reply.json
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1", "j1")
    (output,) = answer["outputs"]
    assert (
        output["name"],
        output["datatype"],
        output["shape"],
    ) == ("probabilities", "FP32", [2, 3])
    assert np.argmax(np.reshape(output["data"], (2, 3)), axis=1).tolist() == [0, 2]


def test_binary_tensors_give_the_same_answer_as_json(running: Running) -> None:
    request = image(parameters={"binary_data_size": 64})
    del request["inputs"][0]["data"]
    request["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps(request).encode()
    reply = infer(
        running,
        head + BRIGHT,
        content_type="application/octet-stream",
        inference_header_content_length=str(len(head)),
    )
    assert reply.status == 200
    length = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 12}
    found = np.frombuffer(reply.body[length:], "<f4")
    plain = infer(running, image(data=[255] * 64)).json["outputs"][0]["data"]
    assert plain == pytest.approx(found.tolist())


def test_the_model_describes_itself(running: Running) -> None:
    assert running.public("GET", "/v2/models/tiny").json == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert running.public("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/health/live"):
        assert running.public("GET", path).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not a V2 inference request"),
        ({"inputs": []}, "expected exactly one, named 'image'"),
        (image(name="picture"), "named 'image'"),
        (image(datatype="FP32"), "has datatype FP32, not UINT8"),
        (image(shape=[1, 8, 8]), "has shape [1, 8, 8], not ['batch', 1, 8, 8]"),
        (image(shape=[0, 1, 8, 8], data=[]), "has shape [0, 1, 8, 8]"),
        (image(shape=[]), "has shape []"),
        (image(shape=[5, 1, 8, 8], data=[0] * 320), "batch of 5: at most 4"),
        (image(data=[0] * 63), "has 63 values for shape [1, 1, 8, 8]"),
        (image(data=[256] * 64), "a uint8 is 0 to 255"),
        (image(data=[-1] * 64), "a uint8 is 0 to 255"),
        (image(data=[0.5] * 64), "values of another kind than uint8"),
        (image(data=["0"] * 64), "values of another kind than uint8"),
        (image(data=[[0], [0, 1]]), "input 'image'"),
        (image(data=None), "neither data nor binary_data_size"),
        (image(parameters={"binary_data_size": 64}), "both data and binary_data_size"),
        ({**image(), "outputs": [{"name": "boxes"}]}, "the model has only 'probabilities'"),
        ({**image(), "id": "x" * 129}, "at most 128"),
    ],
)
def test_a_request_that_does_not_fit_the_card_is_told_why(
    running: Running, body: object, words: str
) -> None:
    reply = infer(running, body)
    assert reply.status == 400
    assert words in reply.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "words"),
    [
        ("POST", "/v2/models/other/infer", b"{}", {}, 404, "this node serves 'tiny'"),
        ("GET", "/v2/models/other", None, {}, 404, "this node serves 'tiny'"),
        ("GET", "/nowhere", None, {}, 404, "no such route"),
        ("GET", INFER, None, {}, 405, "has no GET"),
        ("POST", INFER, b"{}", {"content_type": "text/plain"}, 415, "expected application/json"),
        ("POST", "/v2/models/tiny/raw", b"0" * 63, {}, 400, "63 bytes came, expected 64"),
        ("POST", "/v2/models/tiny/raw", b"0" * 20_001, {}, 413, "more than 20000 bytes"),
        ("POST", "/v2/models/tiny/raw", DARK, {"x_request_id": "x" * 129}, 400, "at most 128"),
        ("POST", INFER, b"{}", {"inference_header_content_length": "x"}, 400, "not a number"),
        ("POST", INFER, b"{}", {"inference_header_content_length": "9"}, 400, "of a body of 2"),
        ("GET", "/metrics/windows?after=x", None, {}, 400, "number of a window"),
        ("GET", "/feedback/wanted?limit=0", None, {}, 400, "expected 1 to 1000"),
        ("POST", "/feedback", b"{}", {}, 400, "missing required field `id`"),
        ("POST", "/feedback", b'{"id":"r","label":"rust"}', {}, 400, "0 ok, 1 scratch, 2 dent"),
        ("POST", "/feedback", b'{"id":"r","label":3}', {}, 400, "0 ok, 1 scratch, 2 dent"),
        ("POST", "/feedback", b'{"id":"r","label":0}', {}, 404, "no answer is kept"),
    ],
)
def test_other_refusals_have_their_status_and_their_reason(
    running: Running,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    words: str,
) -> None:
    reply = running.public(method, path, body, **headers)
    assert (status, True) == (reply.status, words in reply.json["error"]), reply.body


def test_a_connection_goes_on_after_a_body_that_was_too_large(running: Running) -> None:
    connection = running.open()
    for body, status in ((b"0" * 1_000_000, 413), (DARK, 200)):
        connection.request("POST", "/v2/models/tiny/raw", body)
        response = connection.getresponse()
        response.read()
        assert status == response.status


def test_a_slow_body_is_given_up_and_meanwhile_too_many_are_refused(running: Running) -> None:
    host, _, port = running.private("GET", "/health").json["address"].rpartition(":")
    head = b"POST /v2/models/tiny/raw HTTP/1.1\r\nHost: n\r\nContent-Length: 64\r\n\r\n"
    slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(3)]
    for each in slow:
        each.sendall(head + b"0")
    refused = running.raw()
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    assert "4 requests in flight, at most 3" in refused.json["error"]
    for each in slow:
        assert each.recv(4096).startswith(b"HTTP/1.1 408 ")
        each.close()
    assert running.raw().status == 200


def test_labels_that_wait_keep_no_image_out(running: Running) -> None:
    host, _, port = running.private("GET", "/health").json["address"].rpartition(":")
    head = b"POST /feedback HTTP/1.1\r\nHost: n\r\nContent-Length: 64\r\n\r\n{"
    labels = [socket.create_connection((host, int(port)), timeout=10) for _ in range(5)]
    for each in labels:
        each.sendall(head)
    assert running.raw().status == 200
    for each in labels:
        each.close()


def test_metrics_name_the_digest_once_and_count_by_outcome(running: Running, shelf: Shelf) -> None:
    running.raw()
    text = running.public("GET", "/metrics").body.decode()
    named = [line for line in text.splitlines() if not line.startswith("edge_window_")]
    assert "\n".join(named).count(shelf.old) == 1
    counted = dict(re.findall(r'edge_requests_total\{outcome="(\w+)"\} (\S+)', text))
    assert float(counted["ok"]) >= 1
    count = re.search(r"edge_latency_seconds_count (\S+)", text)
    assert count
    assert float(counted["ok"]) == float(count[1])
