"""Everything between files or frames and a batch on the device, for any kind of data."""

from torte.data.arrays import (
    ArrayBase,
    ArrayImage,
    ArrayImageBase,
    ArrayImageBW,
    ArrayMask,
)
from torte.data.blocks import (
    CategoryBlock,
    MultiCategoryBlock,
    RegressionBlock,
    TransformBlock,
)
from torte.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    OneHotEncode,
    get_c,
    one_hot,
    one_hot_decode,
)
from torte.data.collation import (
    collate,
    convert,
    fa_collate,
    fa_convert,
)
from torte.data.config import (
    Config,
    torte_cfg,
    torte_path,
)
from torte.data.data_block import (
    DataBlock,
)
from torte.data.data_loaders import (
    AnyLoader,
    DataLoaders,
)
from torte.data.datasets import (
    Datasets,
    decode_at,
    show_at,
    test_set,
)
from torte.data.devices import (
    default_device,
    to_cpu,
    to_device,
)
from torte.data.display import (
    display_df,
    get_empty_df,
    show_batch,
    show_results,
)
from torte.data.downloads import (
    download_data,
    untar_data,
)
from torte.data.errors import (
    CollationError,
    DataError,
    ImageReadError,
    ItemError,
    LoaderError,
    MissingImageError,
    SkipItemException,
    TravelError,
    WorkerError,
)
from torte.data.extraction import (
    ArchiveError,
    ExtractionLimits,
    extract_archive,
)
from torte.data.getters import (
    AttrGetter,
    ColReader,
    FuncGetter,
    ItemGetter,
)
from torte.data.images import (
    PILBase,
    PILImage,
    PILImageBW,
    PILMask,
    image2tensor,
    load_image,
)
from torte.data.labellers import (
    RegexLabeller,
    UsingAttr,
    parent_label,
    using_attr,
)
from torte.data.loader import (
    DataLoader,
    SkippedItemsWarning,
)
from torte.data.numeric import (
    IntToFloatTensor,
    Normalize,
    RegressionSetup,
    ToTensor,
    broadcast_vec,
)
from torte.data.sampling import (
    PartialDL,
    WeightedDL,
    partial_dataloaders,
    weighted_dataloaders,
)
from torte.data.seeding import (
    current_keys,
    current_random,
    drawing,
    drawing_batch,
    mix,
    next_stream,
    sample_key,
    set_seed,
    uniform,
)
from torte.data.sharing import BatchShare
from torte.data.showing import (
    get_grid,
    show_image,
    show_images,
    show_title,
    subplots,
)
from torte.data.sources import (
    FileGetter,
    ImageGetter,
    get_files,
    get_image_files,
    get_text_files,
    image_extensions,
)
from torte.data.splitters import (
    ColSplitter,
    EndSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    MaskSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
)
from torte.data.state import (
    describe_loaders,
    rebuild_loaders,
    undescribable_loaders,
)
from torte.data.stratified_splitters import KFoldSplitter, TrainTestSplitter
from torte.data.tensors import (
    LabeledBBox,
    TensorBase,
    TensorBBox,
    TensorCategory,
    TensorFlowField,
    TensorImage,
    TensorImageBase,
    TensorImageBW,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
    TitledTensorScalar,
    plain,
)
from torte.data.tfmd_lists import (
    TfmdLists,
)
from torte.data.tfmd_loader import (
    TfmdDL,
    batch_to_samples,
)
from torte.data.titles import (
    Category,
    MultiCategory,
    ShowTitle,
    TitledFloat,
    TitledInt,
    TitledStr,
    TitledTuple,
)
from torte.data.transfers import (
    ChecksumError,
    DownloadError,
    OfflineError,
)
from torte.data.urls import (
    URLs,
)
from torte.data.vocabularies import (
    CategoryMap,
    UnknownLabelError,
)

__all__ = [
    "AnyLoader",
    "ArchiveError",
    "ArrayBase",
    "ArrayImage",
    "ArrayImageBW",
    "ArrayImageBase",
    "ArrayMask",
    "AttrGetter",
    "BatchShare",
    "Categorize",
    "Category",
    "CategoryBlock",
    "CategoryMap",
    "ChecksumError",
    "ColReader",
    "ColSplitter",
    "CollationError",
    "Config",
    "DataBlock",
    "DataError",
    "DataLoader",
    "DataLoaders",
    "Datasets",
    "DownloadError",
    "EncodedMultiCategorize",
    "EndSplitter",
    "ExtractionLimits",
    "FileGetter",
    "FileSplitter",
    "FuncGetter",
    "FuncSplitter",
    "GrandparentSplitter",
    "ImageGetter",
    "ImageReadError",
    "IndexSplitter",
    "IntToFloatTensor",
    "ItemError",
    "ItemGetter",
    "KFoldSplitter",
    "LabeledBBox",
    "LoaderError",
    "MaskSplitter",
    "MissingImageError",
    "MultiCategorize",
    "MultiCategory",
    "MultiCategoryBlock",
    "Normalize",
    "OfflineError",
    "OneHotEncode",
    "PILBase",
    "PILImage",
    "PILImageBW",
    "PILMask",
    "PartialDL",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "RegressionBlock",
    "RegressionSetup",
    "ShowTitle",
    "SkipItemException",
    "SkippedItemsWarning",
    "TensorBBox",
    "TensorBase",
    "TensorCategory",
    "TensorFlowField",
    "TensorImage",
    "TensorImageBW",
    "TensorImageBase",
    "TensorMask",
    "TensorMultiCategory",
    "TensorPoint",
    "TensorRegression",
    "TfmdDL",
    "TfmdLists",
    "TitledFloat",
    "TitledInt",
    "TitledStr",
    "TitledTensorScalar",
    "TitledTuple",
    "ToTensor",
    "TrainTestSplitter",
    "TransformBlock",
    "TravelError",
    "URLs",
    "UnknownLabelError",
    "UsingAttr",
    "WeightedDL",
    "WorkerError",
    "batch_to_samples",
    "broadcast_vec",
    "collate",
    "convert",
    "current_keys",
    "current_random",
    "decode_at",
    "default_device",
    "describe_loaders",
    "display_df",
    "download_data",
    "drawing",
    "drawing_batch",
    "extract_archive",
    "fa_collate",
    "fa_convert",
    "get_c",
    "get_empty_df",
    "get_files",
    "get_grid",
    "get_image_files",
    "get_text_files",
    "image2tensor",
    "image_extensions",
    "load_image",
    "mix",
    "next_stream",
    "one_hot",
    "one_hot_decode",
    "parent_label",
    "partial_dataloaders",
    "plain",
    "rebuild_loaders",
    "sample_key",
    "set_seed",
    "show_at",
    "show_batch",
    "show_image",
    "show_images",
    "show_results",
    "show_title",
    "subplots",
    "test_set",
    "to_cpu",
    "to_device",
    "torte_cfg",
    "torte_path",
    "undescribable_loaders",
    "uniform",
    "untar_data",
    "using_attr",
    "weighted_dataloaders",
]
