"""Every kernel that runs over rows, one record each; proofs and benchmarks go through `KERNELS`."""

from ragmask.kernels.kernel import FLOATS, WORDS, Kernel

_PLACE = "starts: ints, lengths: ints"
_MASKED = f"{_PLACE}, mask: mask"
_Q, _K = (f"{x}_starts: ints, {x}_lengths: ints, {x}_mask: mask" for x in "qk")
_COMPUTED = ("float32", "float64")  # gradients are computed in these alone

# Costs are nanoseconds of one core at 3 GHz; bytes are written to memory that is there already.
PAD = Kernel(
    "pad",
    "pad",
    f"values: flat, {_MASKED}, pattern: flat, shape: shape, out_values: flat, out_mask: bools",
    WORDS,
    row_ns=30.0,
    size_ns=0.03,
    size_of="row",
)
COMPACT = Kernel(
    "compact",
    "pad",
    f"values: flat, {_PLACE}, words: int, out_starts: ints, out: flat",
    WORDS,
    row_ns=30.0,
    size_ns=0.06,
    shares="bytes",
)
PACK = Kernel(
    "pack",
    "pad",
    f"values: flat, {_PLACE}, words: int, step_starts: ints, out: flat",
    WORDS,
    row_ns=30.0,
    size_ns=0.06,
    shares="bytes",
)
EMBEDDING = Kernel(
    "embedding",
    "embedding",
    f"ids: ints, {_MASKED}, table: flat, words: int, out_starts: ints, out: flat",
    WORDS,
    step_ns=5.0,
    size_ns=0.2,
    shares="bytes",
)
MASKING = Kernel(
    "masking",
    "masking",
    f"x: items, {_MASKED}, value: number, out_starts: ints, out: items, out_mask: bools",
    FLOATS,
    step_ns=2.0,
    size_ns=1.0,
    shares="features",
)
REPEAT = Kernel(
    "repeat",
    "repeat",
    f"values: flat, {_MASKED}, words: int, out: flat",
    WORDS,
    row_ns=10.0,
    step_ns=1.0,
    size_ns=0.05,
    shares="bytes",
)
COUNT_KEPT = Kernel(
    "count_kept", "masking", "mask: bools, starts: ints, lengths: ints, out: ints", step_ns=0.5
)
POOL = Kernel(
    "pool",
    "pool",
    f"x: items, {_MASKED}, how: int, out: items",
    FLOATS,
    row_ns=20.0,
    step_ns=2.0,
    size_ns=0.2,
    shares="features",
)
ARGMAX = Kernel(
    "argmax",
    "pool",
    f"x: items, {_MASKED}, out: ints",
    FLOATS,
    row_ns=20.0,
    step_ns=2.0,
    size_ns=0.8,
    shares="features",
)
LOGSUMEXP = Kernel(
    "logsumexp",
    "logsumexp",
    f"x: items, {_MASKED}, out: items",
    FLOATS,
    row_ns=100.0,
    step_ns=2.0,
    size_ns=1.5,
    shares="features",
)
STD = Kernel(
    "std",
    "std",
    f"x: items, {_MASKED}, out: items",
    FLOATS,
    row_ns=30.0,
    step_ns=4.0,
    size_ns=0.8,
    shares="features",
)
SOFTMAX = Kernel(
    "softmax",
    "softmax",
    f"x: flat, features: int, {_MASKED}, out_starts: ints, out: flat",
    FLOATS,
    row_ns=100.0,
    step_ns=1.0,
    size_ns=1.5,
    shares="features",
)

CUMSUM = Kernel(
    "cumsum",
    "cumsum",
    f"x: items, {_MASKED}, out_starts: ints, out: items",
    FLOATS,
    step_ns=1.0,
    size_ns=1.0,
    shares="features",
)

CONV = Kernel(
    "conv",
    "conv",
    f"x: flat, {_MASKED}, weights: items, bias: flat, before: int, dilation: int, "
    "out_starts: ints, out: flat",
    _COMPUTED,
    row_ns=20.0,
    step_ns=5.0,
    size_ns=0.15,  # of a tap's feature
    shares="features",
)

TURN = Kernel(
    "turn",
    "turn",
    f"values: flat, {_MASKED}, words: int, shifts: ints, backwards: bool, out_starts: ints, "
    "out: flat",
    WORDS,
    row_ns=30.0,
    step_ns=1.0,
    size_ns=0.06,
    shares="bytes",
)

SORT = Kernel(
    "sort",
    "sort",
    f"x: items, {_MASKED}, descending: bool, has_nat: bool, out_starts: ints, out_lengths: ints, "
    "out: items, out_steps: places",
    ("float32", "float64", "int32", "int64", "uint64"),
    row_ns=50.0,
    step_ns=2.0,
    size_ns=10.0,
    shares="features",
)

SOFTMAX_GRADIENT = Kernel(
    "softmax_gradient",
    "softmax",
    f"soft: flat, features: int, {_MASKED}, gradient: flat, out: flat",
    _COMPUTED,
    row_ns=30.0,
    step_ns=1.0,
    size_ns=0.25,
    shares="features",
)
CUMSUM_GRADIENT = Kernel(
    "cumsum_gradient",
    "cumsum",
    f"gradient: items, {_MASKED}, out: items",
    _COMPUTED,
    step_ns=1.0,
    size_ns=1.0,
    shares="features",
)
POOL_GRADIENT = Kernel(
    "pool_gradient",
    "pool",
    f"x: items, {_MASKED}, how: int, gradient: items, out: items",
    _COMPUTED,
    row_ns=20.0,
    step_ns=4.0,
    size_ns=0.3,
    shares="features",
)
LOGSUMEXP_GRADIENT = Kernel(
    "logsumexp_gradient",
    "logsumexp",
    f"x: items, {_MASKED}, gradient: items, out: items",
    _COMPUTED,
    row_ns=100.0,
    step_ns=2.0,
    size_ns=2.0,
    shares="features",
)
STD_GRADIENT = Kernel(
    "std_gradient",
    "std",
    f"x: items, {_MASKED}, gradient: items, out: items",
    _COMPUTED,
    row_ns=30.0,
    step_ns=5.0,
    size_ns=1.2,
    shares="features",
)
EMBEDDING_GRADIENT = Kernel(
    "embedding_gradient",
    "embedding",
    f"gradient: items, {_PLACE}, order: ints, out: items",
    _COMPUTED,
    row_ns=20.0,
    step_ns=5.0,
    size_ns=0.5,
    shares="features",
)
CONV_WEIGHT_GRADIENT = Kernel(
    "conv_weight_gradient",
    "conv",
    f"x: items, {_MASKED}, gradient: items, before: int, dilation: int, "
    "part_starts: ints, part_lengths: ints, out: items",
    _COMPUTED,
    step_ns=20.0,  # a step is a row of the batch here
    size_ns=0.15,
    shares="features",
)
# A task of attention is a row and a head of its keys, and its length the pairs of its queries and
# keys; the size is that of a score and a value together.
_ATTENDED = f"q: flat, {_Q}, k: flat, v: flat, {_K}, sizes: sizes, window: window, scale: real"
ATTENTION = Kernel(
    "attention",
    "attention",
    f"{_ATTENDED}, out_starts: ints, out: flat, log_sum: flat or None",
    FLOATS,
    row_ns=1_000.0,
    step_ns=1.0,
    size_ns=0.05,
    shares="tiles",
)
ATTENTION_GRADIENT = Kernel(
    "attention_gradient",
    "attention",
    f"{_ATTENDED}, out: flat, log_sum: flat, gradient: flat, "
    "q_gradient: flat, k_gradient: flat, v_gradient: flat",
    _COMPUTED,
    row_ns=2_000.0,
    step_ns=1.0,
    size_ns=0.12,
    shares="tiles",
)

KERNELS = tuple(record for record in list(globals().values()) if isinstance(record, Kernel))
