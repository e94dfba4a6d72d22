"""To and from other libraries' own forms of ragged batches, one package for each library.

Each imports its library when it is imported itself, and nothing in ragmask imports them.
"""
