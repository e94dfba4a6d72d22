"""Keras's layers and arguments that are not here, each with its reason."""

from ragmask.errors import MissingAttributeError

_IMAGES = "is for images and volumes: a batch here has one axis to go along, time"
_RANDOM = "changes images at random, for training: batches here are sequences"
_SOUND = (
    "makes features of sound, each step of many samples: do it in a stream's map, before a model"
)
_OTHERS = "holds a function or model of another library: write a Layer whose call() calls it"
_COLUMNS = "prepares columns before a model: do it in a stream's map"
_WORDS = "makes ids of words, before a model: rm.Vocabulary does, and a saved model may hold one"
_NEIGHBOURS = "is not here yet: its steps are made of several, and masks would have to follow"
_SHAPES = "would fix how many steps a row has, or take steps for features: of arrays use numpy"
_YET = "is not here yet"

_GROUPS = {
    _IMAGES: """
        AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
        AveragePooling2D AveragePooling3D AvgPool2D AvgPool3D CenterCrop
        ContrastLimitedAdaptiveHistogramEqualization Conv2D Conv2DTranspose Conv3D Conv3DTranspose
        ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution2D Convolution2DTranspose Convolution3D
        Convolution3DTranspose Cropping2D Cropping3D DepthwiseConv2D GlobalAveragePooling2D
        GlobalAveragePooling3D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool2D GlobalMaxPool3D
        GlobalMaxPooling2D GlobalMaxPooling3D MaxNumBoundingBoxes MaxPool2D MaxPool3D MaxPooling2D
        MaxPooling3D Resizing SeparableConv2D SeparableConvolution2D SpatialDropout2D
        SpatialDropout3D UpSampling2D UpSampling3D ZeroPadding2D ZeroPadding3D
    """,
    _RANDOM: """
        AugMix AutoContrast CutMix Equalization MixUp RandAugment RandomBrightness
        RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
        RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
        RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
        RandomShear RandomTranslation RandomZoom Solarization
    """,
    _SOUND: "MelSpectrogram STFTSpectrogram",
    _OTHERS: "FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper",
    _COLUMNS: "CategoryEncoding Discretization HashedCrossing Hashing Normalization Pipeline",
    _WORDS: "IntegerLookup StringLookup TextVectorization",
    _NEIGHBOURS: """
        AdaptiveAveragePooling1D AdaptiveMaxPooling1D AveragePooling1D AvgPool1D Conv1DTranspose
        Convolution1DTranspose Cropping1D MaxPool1D MaxPooling1D SeparableConv1D
        SeparableConvolution1D UpSampling1D ZeroPadding1D
    """,
    _SHAPES: "Permute Reshape",
    "holds code that cannot be saved or trusted: write a Layer": "Lambda",
    "would fix how many steps a row has: pool over time, or let to_padded(width) do it": "Flatten",
    "multiplies and adds: write x * scale + offset, of batches and of symbols": "Rescaling",
    "describes what a layer takes: layers here say so in compute_output": "InputSpec",
    "is a class's own: from_config makes a layer of what get_config gave": "deserialize serialize",
    "keeps weights in bounds while they are trained, and layers here run forward only": """
        SpectralNormalization
    """,
    _YET: """
        GroupNormalization
        GroupQueryAttention
        ReversibleEmbedding
    """,
}
ELSEWHERE = {name: reason for reason, names in _GROUPS.items() for name in names.split()}

# of layers that are here
ARGUMENTS = {
    "gptq_unpacked_column_size": "weights are floats",
    "input_tensor": "an input has no values",
    "lora_alpha": "for training",
    "lora_rank": "for training",
    "quantization_config": "weights are floats",
    "ragged": "every input with time takes a Ragged",
    "renorm": "for training",
    "renorm_clipping": "for training",
    "renorm_momentum": "for training",
    "sparse": "batches hold every number",
    "synchronized": "for training",
}


def missing(name: str) -> AttributeError:
    """The error for a name that rm.layers has not."""
    if name not in ELSEWHERE:
        return AttributeError(f"module 'ragmask.layers' has no attribute {name!r}")
    return MissingAttributeError(f"rm.layers has no {name}: it {ELSEWHERE[name]}")
