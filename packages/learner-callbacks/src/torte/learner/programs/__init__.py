"""Models of arbitrary code as lists of tensor operations, which load without running any code.

`torte.learner.programs.tracing` makes such a list with `torch.export`;
`torte.learner.programs.program` reads and runs it, and `torte.learner.programs.operators` says
which operations there can be.
"""

__all__: list[str] = []
