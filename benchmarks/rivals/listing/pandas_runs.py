"""Means by group with pandas: every run's config and summary, and with `rows` its metrics.jsonl as well."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd  # type: ignore[import-not-found]
import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def main(directory: str, *what: str) -> None:
    records = []
    for path in sorted(Path(directory).glob("*/config.yaml")):
        config = yaml.load(path.read_bytes(), LOADER)
        summary = json.loads((path.parent / "summary.json").read_bytes())
        record = {"config": config, "summary": summary}
        if what:
            rows = pd.read_json(path.parent / "metrics.jsonl", lines=True)
            record["best"] = rows["val/accuracy"].max()
        records.append(record)
    table = pd.json_normalize(records)
    value = "best" if what else "summary.best.value"
    keys = ["config.optimizer.name", "config.optimizer.lr"]
    print(table.groupby(keys)[value].agg(["mean", "std", "count"]).sort_values("mean", ascending=False).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
