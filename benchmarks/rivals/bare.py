"""No tool: a `for` loop over the learning rates. What the other tools take beyond it is their overhead."""

from __future__ import annotations

from benchmarks.rivals.trial import arguments, train, write_values

if __name__ == "__main__":
    folder, rates = arguments()
    write_values(folder, {rate: train(folder, rate) for rate in rates})
