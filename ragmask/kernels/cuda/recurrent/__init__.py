"""Recurrent layers on CUDA: the product over their inputs, and the recurrence over its gates.

A layer is a cell (a device function: lstm.py has the LSTM's), for which kernels are made of three
kinds: resident.py, streamed.py and row.py. plan.py chooses among them.
"""
