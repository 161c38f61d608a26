"""Hydra's multirun with the joblib launcher, two jobs at a time; every job has its directory, as Hydra makes them."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra  # type: ignore[import-not-found]
from hydra.core.config_store import ConfigStore  # type: ignore[import-not-found]
from omegaconf import DictConfig  # type: ignore[import-not-found]

from benchmarks.rivals.trial import arguments, train, write_values

ConfigStore.instance().store("config", {"folder": "", "lr": 0.1})


@hydra.main(version_base=None, config_name="config")
def job(config: DictConfig) -> None:
    directory = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
    value = train(config.folder, config.lr)
    Path(directory, "value.txt").write_text(f"{config.lr!r} {value!r}", encoding="utf-8")


if __name__ == "__main__":
    folder, rates = arguments()
    sys.argv[1:] = [
        "--multirun",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        f"hydra.sweep.dir={folder}/multirun",
        f"folder={folder}",
        f"lr={','.join(map(repr, rates))}",
    ]
    job()
    written = [path.read_text(encoding="utf-8").split() for path in Path(folder, "multirun").glob("*/value.txt")]
    write_values(folder, {float(rate): float(value) for rate, value in written})
