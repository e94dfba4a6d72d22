"""Streams from a real S3 protocol server, through pyarrow's client and through fsspec's."""

import gc
import logging
import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from pyarrow import fs as pafs

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from tests.interpreters import run_python

ROWS = 60
KEYS = {"key": "k", "secret": "s"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets that clients keep open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def through_pyarrow(address):
    return pafs.S3FileSystem(
        access_key="k",
        secret_key="s",
        region="us-east-1",
        endpoint_override=address,
        scheme="http",
        allow_bucket_creation=True,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def through_fsspec(address):
    return s3fs.S3FileSystem(
        **KEYS,
        endpoint_url=f"http://{address}",
        client_kwargs={"region_name": "us-east-1"},
        config_kwargs={"retries": {"max_attempts": 1}},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


CLIENTS = pytest.mark.parametrize("client", [through_pyarrow, through_fsspec])


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "{}:{}".format(*server.get_host_and_port())
    filesystem = through_pyarrow(address)
    filesystem.create_dir("bucket")
    for year in (2023, 2024):
        first = 0 if year == 2023 else ROWS // 2
        numbers = range(first, first + ROWS // 2)
        table = pa.table({"ids": [[n] * (n % 5) for n in numbers], "number": list(numbers)})
        with filesystem.open_output_stream(f"bucket/rows/year={year}/part.parquet") as out:
            pq.write_table(table, out, row_group_size=7)
    with filesystem.open_output_stream("bucket/vowels.parquet") as out:
        out.write(Path(JAPANESE_VOWELS).read_bytes())
    yield address
    server.stop()
    gc.collect()  # clients' sockets, whose warnings are ignored here alone


def rows_of(batches):
    return [row for batch in batches for row in batch["number"].tolist()]


@CLIENTS
@pytest.mark.parametrize(
    "path", ["bucket/rows", "bucket/rows/year=*/*.parquet", "bucket/**/part.*"]
)
def test_folders_and_globs(server, client, path):
    stream = rm.stream(path, filesystem=client(server))
    (batch,) = stream.batch(rows=100)
    assert batch["number"].tolist() == list(range(ROWS))
    assert batch["year"].tolist() == [2023] * 30 + [2024] * 30


@CLIENTS
def test_it_shuffles_filters_shards_and_resumes(server, client):
    def stream(rank=0, world_size=1):
        found = rm.stream("bucket/rows", filter=[("number", ">", 9)], filesystem=client(server))
        return found.shuffle(0, 20).shard(rank, world_size).batch(rows=4)

    rows = [row for rank in range(3) for row in rows_of(stream(rank, 3))]
    assert sorted(rows) == list(range(10, ROWS))
    batches = list(stream())
    again = stream()
    again.load_state_dict(batches[5].state)
    assert [rows_of([batch]) for batch in again] == [rows_of([batch]) for batch in batches[6:]]


@CLIENTS
def test_real_data_is_what_the_local_file_holds(server, client):
    here = rm.stream(JAPANESE_VOWELS).batch(rows=100)
    there = rm.stream("bucket/vowels.parquet", filesystem=client(server)).batch(rows=100)
    for one, other in zip(here, there, strict=True):
        assert one.to_arrow().equals(other.to_arrow())


@pytest.mark.parametrize("rest", ["rows", "rows/*/part.parquet"])
def test_a_uri_names_the_server(server, rest):
    address = server.replace(":", "%3A")
    options = f"endpoint_override={address}&scheme=http&region=us-east-1"
    stream = rm.stream(f"s3://k:s@bucket/{rest}?{options}")
    assert rows_of(stream.batch(rows=7)) == list(range(ROWS))


@pytest.mark.parametrize("keys", ["key:secret", "key:sec/ret", "key:sec+ret/%"])
def test_an_error_does_not_tell_the_keys(server, keys):
    options = f"endpoint_override={server.replace(':', '%3A')}&scheme=http&region=us-east-1"
    with pytest.raises(rm.StreamError) as caught:
        rm.stream(f"s3://{keys}@bucket/none/a b/*?{options}", retries=0)
    assert "key" not in str(caught.value)
    assert "sec" not in str(caught.value)


@CLIENTS
@pytest.mark.parametrize("path", ["nowhere/rows", "bucket/none", "bucket/none*"])
def test_what_is_not_there_is_named(server, client, path):
    with pytest.raises(rm.StreamError, match=r"no such file or folder|no file matches"):
        rm.stream(path, filesystem=client(server))


def test_a_stream_made_before_a_fork_is_read_in_the_child(server):
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
import ragmask as rm, s3fs
from pyarrow import fs as pafs
address = {server!r}
clients = [
    pafs.S3FileSystem(access_key="k", secret_key="s", region="us-east-1", scheme="http",
                      endpoint_override=address),
    s3fs.S3FileSystem(key="k", secret="s", endpoint_url="http://" + address,
                      client_kwargs={{"region_name": "us-east-1"}}),
]
streams = [rm.stream("bucket/rows", filesystem=client).batch(rows=9) for client in clients]
print([sum(batch.num_rows for batch in stream) for stream in streams], flush=True)
if os.fork() == 0:
    streams += [rm.stream("bucket/rows", filesystem=client).batch(rows=9) for client in clients]
    print([sum(batch.num_rows for batch in stream) for stream in streams], flush=True)
    os._exit(0)
os.wait()
"""
    assert run_python(code).split("\n") == ["[60, 60]", "[60, 60, 60, 60]"]


# -- faults between client and server -----------------------------------------------------


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the server; every n-th GET of `what` meets a fault.

    Closing it waits for the requests under way, stalled ones too: none reaches into later tests.
    """

    daemon_threads = False

    def __init__(self, server, fault, every, what=".parquet"):
        super().__init__(("127.0.0.1", 0), _Hand)
        self.target, self.fault, self.every, self.what = server, fault, every, what
        self.gets = self.faults = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that gave up is no news."""

    @property
    def address(self):
        return f"127.0.0.1:{self.server_port}"

    def is_next_a_fault(self):
        with self.lock:
            self.gets += 1
            due = self.gets % self.every == 0
            self.faults += due
            return due


class _Hand(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # for a client that connects and asks nothing

    def hand_on(self):
        proxy = self.server
        wanted = self.command == "GET" and proxy.what in self.path
        fault = proxy.fault if wanted and proxy.is_next_a_fault() else None
        if fault == "stall":
            time.sleep(3)
        if fault in ("403", "500", "503"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with closing(HTTPConnection(proxy.target)) as onward:
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") or len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = hand_on  # noqa: N815

    def end_headers(self):
        self.send_header("Connection", "close")
        super().end_headers()

    def log_message(self, *args):
        pass


@CLIENTS
@pytest.mark.parametrize("fault", ["500", "503", "cut", "stall"])
def test_faults_on_the_way_are_tried_again(server, client, fault):
    with Proxy(server, fault, every=3) as proxy:
        stream = rm.stream("bucket/rows", filesystem=client(proxy.address), retries=8, timeout=0.7)
        assert sorted(rows_of(stream.shuffle(0, 20).batch(rows=7))) == list(range(ROWS))
        assert proxy.faults
        proxy.shutdown()


@CLIENTS
@pytest.mark.parametrize("fault", ["503", "cut", "stall"])
def test_listings_that_fail_are_tried_again(server, client, fault):
    with Proxy(server, fault, every=5, what="list-type") as proxy:
        for _ in range(3):
            client_here = client(proxy.address)
            stream = rm.stream("bucket/rows/*/*", filesystem=client_here, retries=8, timeout=0.7)
            assert len(stream) == ROWS
        assert proxy.faults
        proxy.shutdown()


@CLIENTS
def test_a_server_that_lets_nobody_in_is_named_with_the_file(server, client):
    with Proxy(server, "403", every=1) as proxy:
        with pytest.raises(rm.StreamError, match=r"year=2023/part.parquet cannot be read"):
            rm.stream("bucket/rows", filesystem=client(proxy.address), retries=1)
        proxy.shutdown()


@CLIENTS
def test_a_server_that_always_fails_is_given_up(server, client):
    with Proxy(server, "503", every=1) as proxy:
        begin = time.perf_counter()
        with pytest.raises(
            rm.StreamError, match=r"year=2023/part.parquet cannot be read, after 3 tries"
        ):
            rm.stream("bucket/rows", filesystem=client(proxy.address), retries=2, timeout=5)
        assert time.perf_counter() - begin < 20
        proxy.shutdown()
