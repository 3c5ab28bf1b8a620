"""Let the CPU judge every prediction: accesses by the million, foretold and tried."""

from lab.machine.exhaustive.trials import Instruction, Outcomes, Setting, Trials

__all__ = ["Trials", "Setting", "Instruction", "Outcomes"]
