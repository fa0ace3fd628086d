"""A run learns, stops, is killed, and goes on: on two small towers whose pairs can be learned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mmsearch.errors import EncoderError, StorageError, UsageError  # noqa: E402
from mmsearch.training.checkpoints import Checkpoints  # noqa: E402
from mmsearch.training.metrics import Metrics, plot  # noqa: E402
from mmsearch.training.towers import DualEncoder  # noqa: E402
from mmsearch.training.trainer import Batch, Schedule, Trainer, recall_sum  # noqa: E402
from tests.training.small import Pairs, dev_figures, info_nce, small_model  # noqa: E402

pytestmark = pytest.mark.full


def trainer(folder: Path, schedule: Schedule, **options: object) -> Trainer:
    return Trainer(
        small_model(),
        Pairs(),
        info_nce,
        schedule,
        Checkpoints(folder / "checkpoint.pt", "the same"),
        Metrics(folder / "metrics.jsonl"),
        **{"evaluate": dev_figures, **options},  # type: ignore[arg-type]
    )


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in run.model.learned()}


def test_a_run_learns_what_belongs_together(tmp_path: Path) -> None:
    before = dev_figures(small_model())
    outcome = trainer(tmp_path, Schedule(epochs=8, rates={"": 1e-1})).run()
    assert outcome.epochs == 8
    assert outcome.figures is not None
    assert recall_sum(outcome.figures) > recall_sum(before) + 0.2


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = trainer(tmp_path / name, Schedule(epochs=1, seed=seed))
        run.run()
        runs.append(weights(run))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_a_run_that_is_cut_off_in_the_middle_of_an_epoch_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    schedule = Schedule(epochs=3, rates={"": 3e-3}, average=0.9)
    whole = trainer(tmp_path / "whole", schedule)
    whole.run()

    class CutOffError(Exception):
        pass

    def cut_off(progress: object) -> None:
        if progress.done == Pairs().per_epoch + 3:  # type: ignore[attr-defined]
            raise CutOffError

    with pytest.raises(CutOffError):
        trainer(tmp_path / "cut", schedule, progress=cut_off, checkpoint_every_s=0.0).run()
    again = trainer(tmp_path / "cut", schedule)
    outcome = again.run()
    assert outcome.epochs == 3
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())
    lines = [{**line} for line in Metrics(tmp_path / "cut/metrics.jsonl").lines()]
    assert lines == Metrics(tmp_path / "whole/metrics.jsonl").lines()


def test_a_run_that_is_killed_again_and_again_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from tests.training.test_trainer import trainer, weights, Schedule
        import torch
        torch.set_num_threads(1)
        deadly = int(sys.argv[2])
        def count(progress):
            global deadly
            deadly -= 1
            if deadly == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        run = trainer(Path(sys.argv[1]), Schedule(epochs=2, rates={"": 3e-3}), progress=count, checkpoint_every_s=0.0)
        run.run()
        torch.save(weights(run), Path(sys.argv[1]) / "weights.pt")
        """
    )

    def run(folder: Path, deadly: int) -> int:
        command = [sys.executable, "-W", "ignore", "-c", script, str(folder), str(deadly)]
        return subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode

    assert run(tmp_path / "whole", 0) == 0
    assert [run(tmp_path / "killed", 4), run(tmp_path / "killed", 7)] == [-signal.SIGKILL] * 2
    assert run(tmp_path / "killed", 0) == 0
    whole, killed = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = trainer(tmp_path, Schedule(epochs=1))
    first.run()
    steps: list[object] = []
    again = trainer(tmp_path, Schedule(epochs=1), progress=steps.append)
    outcome = again.run()
    assert steps == []
    assert outcome.best_epoch == 1
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


def test_a_run_stops_when_the_dev_set_gets_no_better_and_keeps_the_best_weights(tmp_path: Path) -> None:
    values = iter([0.2, 0.5, 0.4, 0.3, 0.9])

    def figures(model: DualEncoder) -> dict[str, dict[str, float]]:
        share = next(values)
        side = {"recall@1": share, "recall@5": share, "recall@10": share}
        return {"text_to_image": side, "image_to_text": side}

    outcome = trainer(tmp_path, Schedule(epochs=5, patience=2), evaluate=figures).run()
    assert (outcome.epochs, outcome.best_epoch, outcome.stopped_early) == (4, 2, True)
    assert outcome.figures is not None and recall_sum(outcome.figures) == pytest.approx(0.5)


def test_an_averaged_run_is_evaluated_and_kept_with_averaged_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, Schedule(epochs=2, rates={"": 1e-2}, average=0.95))
    outcome = run.run()
    assert all(torch.equal(run.average[name], value) for name, value in weights(run).items())
    assert outcome.figures == dev_figures(run.model)


def test_rates_climb_and_fall_and_belong_to_the_longest_beginning(tmp_path: Path) -> None:
    schedule = Schedule(epochs=1, rates={"": 1e-3, "texts.": 1e-5}, warmup=0.25)
    assert [schedule.factor(step, 8) for step in (0, 1)] == [0.5, 1.0]
    assert schedule.factor(7, 8) < schedule.factor(4, 8) < 1.0
    run = trainer(tmp_path, schedule)
    by_rate = {group["peak"]: {id(parameter) for parameter in group["params"]} for group in run.optimizer.param_groups}
    texts = {id(value) for name, value in run.model.learned() if name.startswith("texts.")}
    assert by_rate[1e-5] <= texts
    assert not by_rate[1e-3] & texts


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    def broken(model: DualEncoder, batch: Batch) -> torch.Tensor:
        return info_nce(model, batch) * torch.nan

    run = trainer(tmp_path, Schedule(epochs=1))
    run.objective = broken
    with pytest.raises(EncoderError, match="step 1 of") as error:
        run.run()
    assert "--rate" in str(error.value.hint)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, Schedule(epochs=1)).run()
    with pytest.raises(UsageError, match="other settings"):
        Checkpoints(tmp_path / "checkpoint.pt", "another").load()


def test_a_damaged_checkpoint_is_told_and_not_overwritten(tmp_path: Path) -> None:
    trainer(tmp_path, Schedule(epochs=1)).run()
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-2000])
    damaged = file.read_bytes()
    with pytest.raises(UsageError, match="cannot be read"):
        trainer(tmp_path, Schedule(epochs=1)).run()
    assert file.read_bytes() == damaged


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoint.pt", "x")
    kept.save({"step": 1})
    (tmp_path / f".checkpoint.pt.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="cannot be written"):
        kept.save({"step": 2, "weights": torch.zeros(100_000)})
    assert kept.load() == {"step": 1}


def test_figures_go_into_lines_and_lines_into_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    trainer(tmp_path, Schedule(epochs=2)).run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "dev" in line] == [1, 2]
    assert len([line for line in lines if "loss" in line]) == 2 * Pairs().per_epoch
    plot(lines, tmp_path / "training.png")
    with Image.open(tmp_path / "training.png") as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 10


def test_a_line_that_a_kill_left_unfinished_is_passed_over(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write({"stage": "a", "step": 1})
    with metrics.file.open("a") as stream:
        stream.write('{"stage": "a", "st')
    assert metrics.lines() == [{"stage": "a", "step": 1}]
    metrics.keep(lambda line: True)
    metrics.write({"stage": "a", "step": 2})
    assert [line["step"] for line in metrics.lines()] == [1, 2]
