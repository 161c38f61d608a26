"""Optuna with its journal on disk, in one process or in several that share the study.

`python -m benchmarks.rivals.optuna_journal FOLDER TRIALS [PROCESSES]`
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.rivals.trial import arguments, train, write_values


def work(folder: str, trials: int) -> None:
    """Train `trials` of the trials that wait in the study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(Path(folder, "journal.log"))))
    study = optuna.load_study(study_name="sweep", storage=storage)
    study.optimize(lambda trial: train(folder, trial.suggest_float("lr", 0.0, 1.0)), n_trials=trials)


if __name__ == "__main__":
    folder, rates = arguments()
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(Path(folder, "journal.log"))))
    study = optuna.create_study(storage=storage, study_name="sweep")
    for rate in rates:
        study.enqueue_trial({"lr": rate})
    if processes == 1:
        work(folder, len(rates))
    else:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(folder, len(rates) // processes)) for _ in range(processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    write_values(folder, {trial.params["lr"]: trial.value for trial in study.trials if trial.value is not None})
