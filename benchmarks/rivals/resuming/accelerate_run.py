"""Accelerate: save_state, load_state and skip_first_batches, as its documentation on checkpoints shows."""

from __future__ import annotations

import torch
from accelerate import Accelerator  # type: ignore[import-not-found]
from accelerate.utils import ProjectConfiguration, set_seed  # type: ignore[import-not-found]
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.rivals.resuming.task import BATCH, EPOCHS, EVERY, STEP_SIZE, data, finished, folder, model

if __name__ == "__main__":
    keeping = ProjectConfiguration(str(folder()), automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=keeping)
    set_seed(0)
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, STEP_SIZE)
    net, optimizer, batches, scheduler = accelerator.prepare(
        net, optimizer, DataLoader(data(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(0)), scheduler
    )
    step = 0
    saved = sorted((folder() / "checkpoints").glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[1]))
    if saved:
        accelerator.load_state(str(saved[-1]))
        number = int(saved[-1].name.split("_")[1])
        accelerator.project_configuration.iteration = number + 1
        step = (number + 1) * EVERY
    print("training", flush=True)
    for _ in range(step // len(batches), EPOCHS):
        skipped = step % len(batches)
        for inputs, targets in accelerator.skip_first_batches(batches, skipped) if skipped else batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs), targets)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % EVERY == 0:
                accelerator.save_state()
        scheduler.step()
    finished(accelerator.unwrap_model(net))
