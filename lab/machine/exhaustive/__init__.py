"""Let the CPU judge every prediction: accesses by the million, foretold and tried."""

from lab.machine.exhaustive.trials import Batch, Instruction, Outcomes, Setting, Trials

__all__ = ["Trials", "Batch", "Setting", "Instruction", "Outcomes"]
