"""Training in many processes on PyTorch's own engine: DDP and FSDP2 under `torchrun`.

`torte.learner.distributed.context` is the page to read first.
"""

from torte.learner.distributed.context import DistributedContext
from torte.learner.distributed.environment import num_distrib, rank0_first, rank_distrib
from torte.learner.distributed.processes import Processes
from torte.learner.distributed.sharded_tables import ShardedTables
from torte.learner.distributed.strategies import DataParallel, FullyShardedDataParallel, Strategy
from torte.learner.distributed.trainer import DistributedTrainer

__all__ = [
    "DataParallel",
    "DistributedContext",
    "DistributedTrainer",
    "FullyShardedDataParallel",
    "Processes",
    "ShardedTables",
    "Strategy",
    "num_distrib",
    "rank0_first",
    "rank_distrib",
]
