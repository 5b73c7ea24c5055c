"""Everything between files or frames and a batch on the device, for any kind of data."""

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
from torte.data.config import (
    Config,
    torte_cfg,
    torte_path,
)
from torte.data.data_block import (
    DataBlock,
)
from torte.data.datasets import (
    Datasets,
    decode_at,
    show_at,
    test_set,
)
from torte.data.downloads import (
    download_data,
    untar_data,
)
from torte.data.extraction import (
    ArchiveError,
    ExtractionLimits,
    extract_archive,
)
from torte.data.getters import (
    AttrGetter,
    ColReader,
    ItemGetter,
)
from torte.data.labellers import (
    RegexLabeller,
    parent_label,
)
from torte.data.numeric import (
    IntToFloatTensor,
    Normalize,
    RegressionSetup,
    ToTensor,
    broadcast_vec,
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
    KFoldSplitter,
    MaskSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
    TrainTestSplitter,
)
from torte.data.tfmd_lists import (
    TfmdLists,
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
    "ArchiveError",
    "AttrGetter",
    "Categorize",
    "CategoryBlock",
    "CategoryMap",
    "ChecksumError",
    "ColReader",
    "ColSplitter",
    "Config",
    "DataBlock",
    "Datasets",
    "DownloadError",
    "EncodedMultiCategorize",
    "EndSplitter",
    "ExtractionLimits",
    "FileGetter",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "ImageGetter",
    "IndexSplitter",
    "IntToFloatTensor",
    "ItemGetter",
    "KFoldSplitter",
    "MaskSplitter",
    "MultiCategorize",
    "MultiCategoryBlock",
    "Normalize",
    "OfflineError",
    "OneHotEncode",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "RegressionBlock",
    "RegressionSetup",
    "TfmdLists",
    "ToTensor",
    "TrainTestSplitter",
    "TransformBlock",
    "URLs",
    "UnknownLabelError",
    "broadcast_vec",
    "decode_at",
    "download_data",
    "extract_archive",
    "get_c",
    "get_files",
    "get_image_files",
    "get_text_files",
    "image_extensions",
    "one_hot",
    "one_hot_decode",
    "parent_label",
    "show_at",
    "test_set",
    "torte_cfg",
    "torte_path",
    "untar_data",
]
