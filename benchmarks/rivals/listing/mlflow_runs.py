"""MLflow's listing of runs: `fill` puts settings and the best value of each into a store, `list` searches it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow  # type: ignore[import-not-found]
import yaml
from mlflow.entities import Metric, Param  # type: ignore[import-not-found]


def fill(directory: str) -> None:
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("digits")
    for path in sorted(Path(directory).glob("*/config.yaml")):
        config = yaml.safe_load(path.read_text())
        best = json.loads((path.parent / "summary.json").read_text())["best"]["value"]
        run = client.create_run(experiment)
        params = [Param(key, str(config["optimizer"][key])) for key in ("name", "lr")]
        params.append(Param("seed", str(config["seed"])))
        client.log_batch(run.info.run_id, metrics=[Metric("val_accuracy", best, 0, 0)], params=params)
        client.set_terminated(run.info.run_id)


def listing() -> None:
    found = mlflow.search_runs(experiment_names=["digits"], max_results=50_000)
    by_group = found.groupby(["params.name", "params.lr"])["metrics.val_accuracy"]
    print(by_group.agg(["mean", "std", "count"]).sort_values("mean", ascending=False).to_string())


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    fill(sys.argv[3]) if sys.argv[2] == "fill" else listing()
