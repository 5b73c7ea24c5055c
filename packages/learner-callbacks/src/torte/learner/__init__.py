"""A training loop with two-way callbacks, and what belongs to it: begin at `events`, `learner`."""

from torte.learner.batches import (
    call_model,
    to_device,
)
from torte.learner.builders import (
    ModelRecipeError,
    build_model,
    model_builder,
    model_recipe,
)
from torte.learner.callback import (
    Callback,
    ShadowedFieldWarning,
    callback_name,
)
from torte.learner.callback_set import (
    CallbackNameError,
)
from torte.learner.callbacks.csv_logger import (
    CSVLogger,
)
from torte.learner.callbacks.gathering import (
    FetchPredsCallback,
    GatherPredsCallback,
    read_saved,
)
from torte.learner.callbacks.progress import (
    ProgressCallback,
)
from torte.learner.callbacks.scheduling import (
    ParamScheduler,
)
from torte.learner.callbacks.show_graph import (
    ShowGraphCallback,
)
from torte.learner.callbacks.training_mode import (
    CudaCallback,
    SkipToEpoch,
    TrainEvalCallback,
)
from torte.learner.control import (
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from torte.learner.defaults import (
    defaults,
)
from torte.learner.events import (
    Event,
    event,
)
from torte.learner.export import (
    ExportError,
    export_learner,
    load_learner,
)
from torte.learner.learner import (
    Learner,
)
from torte.learner.optimizers import (
    bn_bias_params,
    params,
    trainable_params,
)
from torte.learner.ordering import (
    CallbackCycleError,
)
from torte.learner.packing import (
    FileFormatError,
    StateTypeError,
)
from torte.learner.persistence import (
    load_model,
    save_model,
)
from torte.learner.recorder import (
    Recorder,
    format_time,
)
from torte.learner.schedules import (
    Annealer,
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    Schedule,
    annealer,
    combine_scheds,
    combined_cos,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
)
from torte.learner.search import (
    LRFinder,
    LRSearch,
)
from torte.learner.state import (
    rng_restored,
)
from torte.learner.suggestions import (
    SuggestionMethod,
    minimum,
    slide,
    steep,
    valley,
)

__all__ = [
    "Annealer",
    "CSVLogger",
    "Callback",
    "CallbackCycleError",
    "CallbackNameError",
    "CancelBackwardException",
    "CancelBatchException",
    "CancelEpochException",
    "CancelException",
    "CancelFitException",
    "CancelStepException",
    "CancelTrainException",
    "CancelValidException",
    "CudaCallback",
    "Event",
    "ExportError",
    "FetchPredsCallback",
    "FileFormatError",
    "GatherPredsCallback",
    "LRFinder",
    "LRSearch",
    "Learner",
    "ModelRecipeError",
    "ParamScheduler",
    "ProgressCallback",
    "Recorder",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "Schedule",
    "ShadowedFieldWarning",
    "ShowGraphCallback",
    "SkipToEpoch",
    "StateTypeError",
    "SuggestionMethod",
    "TrainEvalCallback",
    "annealer",
    "bn_bias_params",
    "build_model",
    "call_model",
    "callback_name",
    "combine_scheds",
    "combined_cos",
    "defaults",
    "event",
    "export_learner",
    "format_time",
    "load_learner",
    "load_model",
    "minimum",
    "model_builder",
    "model_recipe",
    "params",
    "read_saved",
    "rng_restored",
    "save_model",
    "sched_cos",
    "sched_exp",
    "sched_lin",
    "sched_no",
    "slide",
    "steep",
    "to_device",
    "trainable_params",
    "valley",
]
