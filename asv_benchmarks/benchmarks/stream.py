"""From a Parquet file to batches."""

import pyarrow.parquet as pq

import ragmask as rm

from .common import (
    fastest,
    pack_fill,
    padding_buffers,
    parquet_file,
    read_bucketed,
    read_padded,
    read_shuffled,
    read_stream,
    real_share,
    resume_and_decode,
    state_in_the_middle,
    streaming_peak_bytes,
)


class Stream:
    params = (20_000, 100_000)
    param_names = ("rows",)

    def setup(self, rows):
        self.path = parquet_file(rows)
        self.out = padding_buffers()
        next(iter(rm.stream(self.path).batch(rows=32)))["tokens"].to_padded()

    def time_open(self, rows):
        len(rm.stream(self.path).batch())

    def time_first_batch(self, rows):
        next(iter(rm.stream(self.path).batch()))

    def time_ragged(self, rows):
        read_stream(self.path)

    def time_small_batches(self, rows):
        read_stream(self.path, rows=32)

    def time_padded(self, rows):
        read_padded(self.path, self.out)

    def peakmem_padded(self, rows):
        read_padded(self.path, self.out)

    def track_ragged(self, rows):
        return self.to_read_table(lambda: read_stream(self.path))

    track_ragged.unit = "× the time of read_table"

    def track_padded(self, rows):
        return self.to_read_table(lambda: read_padded(self.path, self.out))

    track_padded.unit = "× the time of read_table"

    def time_shuffled(self, rows):
        read_shuffled(self.path, self.out)

    def time_bucketed(self, rows):
        read_bucketed(self.path, self.out)

    def track_shuffled(self, rows):
        return self.to_read_table(lambda: read_shuffled(self.path, self.out))

    track_shuffled.unit = "× the time of read_table"

    def track_bucketed(self, rows):
        return self.to_read_table(lambda: read_bucketed(self.path, self.out))

    track_bucketed.unit = "× the time of read_table"

    def track_padding_left(self, rows):
        return 1 - real_share(self.path)

    track_padding_left.unit = "share of bucketed batches"

    def to_read_table(self, function):
        ours, theirs = fastest(function, lambda: pq.read_table(self.path), rounds=3)
        return ours / theirs


class Resume:
    params = (100_000,)
    param_names = ("rows",)

    def setup(self, rows):
        self.path = parquet_file(rows)
        self.state = state_in_the_middle(self.path)

    def track_resume(self, rows):
        ours, theirs = resume_and_decode(self.path, self.state)
        return ours / theirs

    track_resume.unit = "× the time of decoding one window"


class Pack:
    params = (20_000,)
    param_names = ("rows",)

    def setup(self, rows):
        self.path = parquet_file(rows)
        pack_fill(self.path)

    def time_pack(self, rows):
        pack_fill(self.path)

    def track_unfilled(self, rows):
        return 1 - pack_fill(self.path)

    track_unfilled.unit = "share of packed sequences"


class Memory:
    params = (20_000, 100_000)
    param_names = ("rows",)

    def setup(self, rows):
        self.path, self.longer = parquet_file(rows), parquet_file(4 * rows)

    def track_longer_file(self, rows):
        return streaming_peak_bytes(self.longer) / streaming_peak_bytes(self.path)

    track_longer_file.unit = "× the peak memory of a quarter of the file"
