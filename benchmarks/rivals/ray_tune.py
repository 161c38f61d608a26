"""Ray Tune over a grid on two CPUs, one a trial; workers are used again for the next trial."""

from __future__ import annotations

import logging
from pathlib import Path

import ray  # type: ignore[import-not-found]
from ray import tune  # type: ignore[import-not-found]

from benchmarks.rivals.trial import arguments, train, write_values

if __name__ == "__main__":
    folder, rates = arguments()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tuner = tune.Tuner(
        lambda config: tune.report({"loss": train(folder, config["lr"])}),
        param_space={"lr": tune.grid_search(rates)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(name="sweep", storage_path=str(Path(folder, "ray").resolve()), verbose=0),
    )
    results = tuner.fit()
    ended = [(result.config or {}, result.metrics or {}) for result in results]
    write_values(folder, {config["lr"]: metrics["loss"] for config, metrics in ended})
    ray.shutdown()
