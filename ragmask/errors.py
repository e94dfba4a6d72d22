"""The errors ragmask raises. Each is also the built-in error a caller would expect."""


class RagmaskError(Exception):
    """Base of every error that ragmask raises on purpose."""


class InvalidInputError(RagmaskError, ValueError):
    """A value that cannot be right: an offset past the end, a mask of another size."""


class UnsupportedTypeError(RagmaskError, TypeError):
    """A type or dtype that ragmask does not take; the message says what it does take."""


class DeviceError(UnsupportedTypeError, RuntimeError):
    """An array on another device than the rest, or no device at all; says which call moves it."""


class MissingAttributeError(RagmaskError, AttributeError):
    """A method that other libraries have and ragmask does not; says what to use instead."""


class RowIndexError(RagmaskError, IndexError):
    """A row number outside the batch."""


class StepIndexError(RagmaskError, IndexError):
    """A step number outside its row."""


class StreamError(RagmaskError, OSError):
    """A file, row group or column that cannot be read or written; the message names it."""


class MissingExtraError(RagmaskError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
