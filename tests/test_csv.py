"""The csv data set: what it reads, and the sentence for every file it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from optrun.components import registry
from optrun.components.data import Dataset
from optrun.errors import UsageError


class TestCsv:
    def read(self, tmp_path: Path, text: str, **settings: object) -> Dataset:
        (tmp_path / "t.csv").write_text(text)
        return registry.datasets.find("csv").load()(path=str(tmp_path / "t.csv"), **{"target": -1, **settings})

    def test_numbers_and_labels(self, tmp_path: Path) -> None:
        dataset = self.read(tmp_path, "x,y,kind\n1,2.5,b\n3,-4e1,a\n5,6,b\n")
        assert dataset.task == "classification"
        assert dataset.train.inputs.tolist() == [[1, 2.5], [3, -40], [5, 6]]
        assert dataset.train.targets.tolist() == [1, 0, 1]
        assert dataset.num_classes == 2

    @pytest.mark.parametrize(
        ("values", "task"),
        [
            (["1", "2", "10"], "classification"),
            (["1.5", "2", "10"], "regression"),
            ([str(i) for i in range(30)], "regression"),
            (["yes", "no", "yes"], "classification"),
        ],
    )
    def test_auto_task(self, tmp_path: Path, values: list[str], task: str) -> None:
        dataset = self.read(tmp_path, "x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
        assert dataset.task == task

    def test_classes_that_are_numbers_are_ordered_by_value(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "x,y\n0,10\n1,9\n2,10\n").train.targets.tolist() == [1, 0, 1]

    def test_task_asked_for(self, tmp_path: Path) -> None:
        dataset = self.read(tmp_path, "x,y\n0,10\n1,9\n2,10\n", task="regression")
        assert dataset.train.targets.tolist() == [[10], [9], [10]]

    def test_features_target_and_delimiter(self, tmp_path: Path) -> None:
        dataset = self.read(tmp_path, "k;1;2;3\nj;4;5;6\n", target=0, features=[-1, 1], delimiter=";", header=False)
        assert dataset.train.inputs.tolist() == [[3, 1], [6, 4]]
        assert dataset.train.targets.tolist() == [1, 0]

    def test_one_hot(self, tmp_path: Path) -> None:
        dataset = self.read(tmp_path, "c,x,y\nred,1,a\nblue,2,b\nred,3,a\n", one_hot=["c"])
        assert dataset.train.inputs.tolist() == [[0, 1, 1], [1, 0, 2], [0, 1, 3]]

    def test_quotes_blank_lines_and_byte_order_mark(self, tmp_path: Path) -> None:
        dataset = self.read(tmp_path, '\ufeff"x, first",y\n\n1,"a ""b"""\n2,"c\nd"\n', target="y")
        assert dataset.train.inputs.tolist() == [[1], [2]]

    @pytest.mark.parametrize(
        ("text", "settings", "message"),
        [
            ("x,y\n1,a\n,b\n", {}, r"t.csv:3: column 'x' has a missing value \(''\)"),
            ("x,y\n1,a\nNA,b\n", {}, r"t.csv:3: column 'x' has a missing value \('NA'\)"),
            ("x,y\n1,a\n2,\n", {}, r"t.csv:3: column 'y' has a missing value"),
            (
                "x,y\n1,a\nParis,b\n",
                {},
                r"t.csv:3: column 'x': 'Paris' is no finite number; name the column in one_hot",
            ),
            ("x,y\n1,a\ninf,b\n", {}, r"t.csv:3: column 'x': 'inf' is no finite number"),
            ("x,y\n1,a\n1_0,b\n", {}, r"t.csv:3: column 'x': '1_0' is no finite number"),
            ("x,y\n1,a\n2\n", {}, r"t.csv:3: 1 columns where there should be 2"),
            ('x,y\n1,a\n"2,b\n', {}, r"t.csv:\d: unexpected end of data"),
            ("x,y\n1,a\n2,a\n", {}, r"the target 'y' has one class only \(a\)"),
            ("x,y\n1,a\n2,b\n", {"target": "z"}, r"target: there is no column 'z'; the columns are x, y"),
            ("x,y\n1,a\n2,b\n", {"target": 2}, r"target: there is no column 2"),
            ("x,y\n1,a\n2,b\n", {"features": ["y"]}, r"features: 'y' is the target"),
            ("x,y\n1,a\n2,b\n", {"one_hot": ["y"]}, r"one_hot: column 'y' is not among the features"),
            ("x,x,y\n1,2,a\n", {"features": ["x"]}, r"features: 'x' is the name of two columns; give the number"),
            ("y\na\nb\n", {}, r"there is no column beside the target"),
            ("x,y\n", {}, r"there are no rows below the header"),
            ("", {}, r"there are no rows"),
            ("x,y\n1,a\n", {"delimiter": "ab"}, r"delimiter is 'ab'; give one character"),
        ],
    )
    def test_what_cannot_be_read(self, tmp_path: Path, text: str, settings: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            self.read(tmp_path, text, **settings)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"the CSV file cannot be read: .*no.csv: No such file or directory"):
            registry.datasets.find("csv").load()(path=str(tmp_path / "no.csv"), target=0)
