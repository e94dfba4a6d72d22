"""Models as folders: model.json says what they are made of, weights.safetensors has the numbers.

Reading a folder runs no code from it: a layer is made by the class registered under its name, from
arguments that are JSON, and weights are arrays.
"""
