"""How long a new process waits."""

from .common import (
    IMPORT,
    IMPORT_ALL,
    IMPORT_PEERS,
    fastest_start,
    first_batch_seconds,
    first_lstm_seconds,
    import_seconds,
)


class Import:
    params = (IMPORT, IMPORT_ALL)
    param_names = ("statement",)

    def track_import(self, statement):
        ours, theirs = fastest_start(
            lambda: import_seconds(statement), lambda: import_seconds(IMPORT_PEERS), rounds=3
        )
        return ours / theirs

    track_import.unit = f"× the time of {IMPORT_PEERS}"


class FirstBatch:
    def setup(self):
        first_batch_seconds()  # fills the compile cache

    def track_first_batch(self):
        (seconds,) = fastest_start(first_batch_seconds, rounds=3)
        return seconds

    track_first_batch.unit = "s"


class FirstLSTM:
    def setup(self):
        first_lstm_seconds()

    def track_first_lstm(self):
        (seconds,) = fastest_start(first_lstm_seconds, rounds=3)
        return seconds

    track_first_lstm.unit = "s"
