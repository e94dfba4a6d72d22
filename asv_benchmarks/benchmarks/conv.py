"""Convolution over time, forward and back, beside copying what it reads and writes."""

import numpy as np

import ragmask as rm
from ragmask.ops.conv import conv_gradient

from .common import copying, log_normal_lengths, ragged_of, ratio


class Depthwise:
    params = ([(256, 256), (256, 16), (4_096, 1)], [4, 31])
    param_names = ("rows, features", "taps")

    def setup(self, shape, taps):
        rows, features = shape
        lengths = log_normal_lengths(rows, np.random.default_rng(0))
        self.x = ragged_of(lengths, (features,))
        self.kernel = np.ones((taps, features), "f4")
        self.gradient = np.ones_like(self.x.values)
        self.copying = copying(2 * self.gradient.nbytes, "cpu")
        self.forward()
        self.back()

    def forward(self):
        rm.temporal_conv(self.x, self.kernel)

    def back(self):
        conv_gradient(self.x._rows, self.kernel, self.gradient, True, 1)

    def time_forward(self, shape, taps):
        self.forward()

    def time_back(self, shape, taps):
        self.back()

    def peakmem_back(self, shape, taps):
        self.back()

    def track_forward(self, shape, taps):
        return ratio(self.forward, self.copying)

    track_forward.unit = "× the time of copying twice as much"


class Conv1D:
    """The layer, whose products are numpy's."""

    params = ([(256, 64, 64), (256, 16, 128)], [3, 9])
    param_names = ("rows, features, filters", "taps")

    def setup(self, shape, taps):
        rows, features, filters = shape
        lengths = log_normal_lengths(rows, np.random.default_rng(0))
        self.x = ragged_of(lengths, (features,))
        self.layer = rm.layers.Conv1D(filters, taps, padding="causal")
        self.layer(self.x)

    def time_forward(self, shape, taps):
        self.layer(self.x)

    def peakmem_forward(self, shape, taps):
        self.layer(self.x)
