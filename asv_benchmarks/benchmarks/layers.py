"""An Embedding and an LSTM in a model, which fuses them, beside the two layers one by one."""

import ragmask as rm

from .common import embedding_table, lstm_weights, ragged, ratio


class EmbeddingAndLSTM:
    params = ([8, 256], [(16, 32), (64, 128)])
    param_names = ("rows", "features, units")

    def setup(self, rows, shape):
        features, units = shape
        table, lstm = embedding_table(features), lstm_weights(features, units)
        self.ids = ragged(rows)
        self.layers = [rm.layers.Embedding(len(table), features), rm.layers.LSTM(units)]
        self.model = rm.layers.Sequential(self.layers)
        self.model(self.ids)
        self.weights = [table, lstm.kernel, lstm.recurrent_kernel, lstm.bias]
        self.model.set_weights(self.weights)
        self.model(self.ids)
        self.one_by_one()

    def one_by_one(self):
        embedding, lstm = self.layers
        return lstm(embedding(self.ids))

    def time_model(self, rows, shape):
        self.model(self.ids)

    def time_new_weights(self, rows, shape):
        self.model.set_weights(self.weights)
        self.model(self.ids)

    def peakmem_model(self, rows, shape):
        self.model(self.ids)

    def track_one_by_one(self, rows, shape):
        return ratio(lambda: self.model(self.ids), self.one_by_one)

    track_one_by_one.unit = "× the time of its layers one by one"
