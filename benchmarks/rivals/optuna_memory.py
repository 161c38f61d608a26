"""Optuna in one process, the study in memory."""

from __future__ import annotations

import optuna

from benchmarks.rivals.trial import arguments, train, write_values

if __name__ == "__main__":
    folder, rates = arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for rate in rates:  # its GridSampler takes four times as long: for each trial it looks through all others
        study.enqueue_trial({"lr": rate})
    study.optimize(lambda trial: train(folder, trial.suggest_float("lr", 0.0, 1.0)), n_trials=len(rates))
    write_values(folder, {trial.params["lr"]: trial.value for trial in study.trials if trial.value is not None})
