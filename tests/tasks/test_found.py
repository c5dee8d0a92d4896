"""What columns mean: the kind that is found in them, and each line that refuses them."""

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from hubft.base.errors import DataError
from hubft.job import Labels
from hubft.tasks import cells, found, kinds, settle
from hubft.tasks.multilabel import Multilabel
from hubft.tasks.task import Column

NAN, INF = float("nan"), float("inf")
TAGS = ["ant;bee", "ant", "bee;cat", "cat;ant", "bee"]
BINARY = [1, 0, 1, None, 0]


def column(values: Any, name: str = "x", names: tuple[str, ...] = ()) -> Column:
    return Column(name, list(values), names)


def kind(*columns: Any, **said: Any) -> tuple[str, str]:
    named = [column(values, f"c{place}") for place, values in enumerate(columns)]
    return found.kind(named, Labels(**said))


# --- the kind -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        ("classification", ["ant", "bee", "ant"]),
        ("classification", [True, False, None]),
        ("classification", [0, 1, 1, 0]),
        ("classification", ["0", "1", "1", "0"]),
        ("classification", ["NA", "None", "nan", "NA"]),
        ("classification", ["007", "010", "007", "010"]),
        ("classification", ["dark red", "light red", "dark blue", "light blue"]),  # blanks within names
        ("classification", ["crane, hoist", "tench, Tinca tinca", "crane, hoist"] * 3),  # commas within names
        ("classification", ["Paris, France", "Lyon, France", "Rome, Italy", "Milan, Italy"] * 2),
        ("classification", [None, ""]),
        ("multilabel", TAGS),
        ("multilabel", [one.replace(";", "|") for one in TAGS]),
        ("multilabel", [one.replace(";", ", ") for one in TAGS]),
        ("multilabel", ["person car", "person", "car dog", "dog person", "dog"]),
        ("multilabel", [["a"], [], ["b", "a"], None]),
        ("multilabel", ['["a"]', "[]", '["b", "a"]', ""]),
        ("multilabel", ["['a', 'b']", "['b']"]),
        ("regression", [0.5, 2, 3]),
        ("regression", ["0.5", " 2 ", "", "3e2"]),
        ("regression", ["1,5", "2,5", "2,5"]),  # and then it says how to write them
        ("regression", ["1.5", "nan", "2.5"]),  # likewise
        ("regression", range(30)),
        ("regression", [1, 2, 3]),  # of which none recurs
    ],
)
def test_the_kind_of_one_column(wanted: str, values: Any) -> None:
    assert kind(values)[0] == wanted


@pytest.mark.parametrize(
    ("wanted", "columns"),
    [
        ("multilabel", [BINARY, [0, 1, -1, 1, 0]]),
        ("multilabel", [["yes", "no", ""], ["no", "yes", "no"]]),
        ("multilabel", [["0", "1.0"], [True, False]]),
        ("regression", [[0.5, 1.5], ["7", "9.25"]]),
        ("several", [[0.5, 1.5], ["red", "blue"]]),
        ("several", [BINARY, [0, 1, 2, 1, 0]]),
    ],
)
def test_the_kind_of_several_columns(wanted: str, columns: Any) -> None:
    assert kind(*columns)[0] == wanted


def test_a_list_of_names_in_the_data_makes_its_numbers_classes() -> None:
    assert found.kind([column([0, 1, 2], names=("a", "b", "c"))], Labels()) == ("classification", "")
    assert found.kind([column([[0], [1, 2]], names=("a", "b", "c"))], Labels()) == ("multilabel", "")


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([1, 2, 3] * 2,
         "column 'c0' holds whole numbers, taken as 3 classes; --task regression takes them as quantities"),
        ([1, 2, 3],
         "column 'c0' holds whole numbers, taken as quantities; --task classification takes them as classes"),
        (TAGS, "column 'c0' holds labels with a semicolon between them; --task classification takes a cell as one"),
        ([0.5, 1.5], ""),
        (["ant", "bee"], ""),
    ],
)  # fmt: skip
def test_what_may_be_taken_in_two_ways_is_said(values: Any, note: str) -> None:
    assert kind(values)[1] == note


def test_what_was_said_is_taken() -> None:
    assert kind([1, 2, 3], task="classification") == ("classification", "")
    assert kind(["a", "b"], separator=";")[0] == "multilabel"
    assert kind(BINARY, BINARY, task="several")[0] == "several"
    assert settle.fit([column([3, 1, 2, 1], "g")], Labels(task="regression"))[0].kind == "regression"


def test_the_task_of_several_labels_is_read_from_its_cells() -> None:
    made, note = settle.fit([column(TAGS)], Labels())
    assert isinstance(made, Multilabel) and "semicolon" in note
    assert made.classes == ("ant", "bee", "cat") and made.separator == ";" and made.counts == (3, 3, 2)
    assert made.encode(("cat; ant;;",)) == (1.0, 0.0, 1.0) and made.encode(("",)) is None
    with pytest.raises(DataError, match=r"unknown label 'beee'; known are 'ant', 'bee', 'cat'. Did you mean 'bee'\?"):
        made.encode(("ant;beee",))


def test_empty_cells_are_what_the_user_says_and_an_empty_list_is_none() -> None:
    cells_ = column([*TAGS, "", None])
    none, unknown = (settle.fit([cells_], Labels(empty=empty))[0] for empty in ("none", "unlabelled"))
    assert none.encode(("",)) == (0.0, 0.0, 0.0) and unknown.encode((None,)) is None
    lists, _ = settle.fit([column([["a"], [], ["b", "a"], None])], Labels())
    assert lists.encode(([],)) == (0.0, 0.0) and lists.encode((None,)) is None and lists.encode(("[]",)) == (0.0, 0.0)
    assert lists.encode((["b", None],)) == (0.0, 1.0)


def test_a_gap_among_columns_of_0_and_1_is_no_negative() -> None:
    made, _ = settle.fit([column(BINARY, "a"), column(["no", "YES", "", "true", "-1"], "b")], Labels())
    assert made.encode((1, None))[1] != made.encode((1, None))[1], "NaN"
    assert made.encode((0, "1.0")) == (0.0, 1.0) and made.encode((-1, NAN)) is None
    assert isinstance(made, Multilabel) and made.counts == (2, 2) and made.known == (4, 3)


def test_names_of_the_data_itself_keep_their_order_and_no_number_stands_for_one() -> None:
    made, _ = settle.fit([column([["a"], ["b", "c"], []], names=("c", "b", "a"))], Labels())
    assert made.names == ("c", "b", "a") and made.encode((["b"],)) == (0.0, 1.0, 0.0)
    with pytest.raises(DataError, match="unknown label '0'"):
        made.encode(([0],))


def test_minus_one_is_a_class_where_one_is_called_so_and_else_a_gap() -> None:
    moods, _ = settle.fit([column([-1, 0, 1] * 2)], Labels())
    assert moods.names == ("-1", "0", "1") and moods.encode((-1,)) == 0 == moods.encode(("-1",))
    stated, _ = settle.fit([column([-1, 0, 1], names=("a", "b"))], Labels())
    assert stated.encode((-1,)) is None and stated.encode(("b",)) == 1 and stated.encode((" ",)) is None


# --- each line that refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "columns", "said"),
    [
        ("has mixed separators, ';' in 2 and ',' in 1 cells, as in 'a,c': say which one stands between labels, as "
         "--separator ';'",
         [["a;b", "b;a", "a,c"]], {"task": "multilabel"}),
        ("has 2 empty cells: --empty none takes them as without any label, --empty unlabelled leaves them out",
         [[*TAGS, "", None]], {}),
        ("has no '|' in any cell, as the first shows: 'ant;bee'", [TAGS], {"separator": "|"}),
        ("has one label only, 'a'", [["a", "a"]], {"task": "multilabel"}),
        ("has no label in any row", [[None, ""]], {"task": "multilabel"}),
        ("has 9 values, all different", [[f"t{i}" for i in range(9)]], {"task": "multilabel"}),
        ("a label must be a text or a number", [[["a", ["b"]], ["a"]]], {}),
        ("the label 'a\\x1b' holds the control character U+001B", [[["a\x1b"], ["b"]]], {}),
        ("has '2': with several columns of labels each holds 0 or 1", [[0, 1], [1, 2]], {"task": "multilabel"}),
        ("column 'c1' is 0 in every row", [[0, 1], [0, 0]], {}),
        ("column 'c1' says of no row whether it has the label", [[0, 1], [None, -1]], {}),
        ("--empty is for one column with several labels a cell", [[0, 1], [1, 0]], {"empty": "none"}),
        ("--separator is for one column with several labels a cell, and here the task is regression",
         [[0.5, 1]], {"task": "regression", "separator": ","}),
        ("--task classification takes one --target, and 2 columns are named", [[1], [2]], {"task": "classification"}),
        ("--task several takes more than one --target", [[1, 2]], {"task": "several"}),
        ("--separator '|' is in no cell: 2 columns are named", [TAGS, ["x", "y"] * 2 + ["x"]], {"separator": "|"}),
        ("--empty is for a column with several labels a cell, and 'c0', 'c1' are none",
         [["a", "b"], [0.5, 1]], {"empty": "none"}),
        ("has 9 values, all different", [[f"t{i}" for i in range(9)]], {}),
        ("has one class only, 'a'", [["a", "a"]], {}),
        ("has one number only, 0.5", [[0.5, 0.5]], {}),
        ("has no number in any row", [[None, ""]], {"task": "regression"}),
        ("has 'nan', which cannot be learned: leave the cell empty", [[0.5, NAN]], {}),
        ("has '-inf', which cannot be learned", [[0.5, -INF]], {}),
        ("has 'Infinity', which cannot be learned", [["0.5", "Infinity"]], {}),
        ("has '1,5', which is no number: write 1.5, with a point", [["1,5", "2,7"]], {}),
        ("has '1,234.5', which is no number: write 1234.5, without", [["1,234.5", "2"]], {"task": "regression"}),
        ("has 'abc', which is no number", [["abc", "2"]], {"task": "regression"}),
        ("has 'True', which is no number", [[True, False]], {"task": "regression"}),
        ("has '1e+39', which is beyond 1e+30", [[1e39, 1.5]], {}),
        ("which cannot be learned", [[10**400, 1]], {}),
    ],
)  # fmt: skip
def test_bad_columns_are_refused_in_one_line(line: str, columns: Any, said: dict[str, Any]) -> None:
    named = [column(values, f"c{place}") for place, values in enumerate(columns)]
    with pytest.raises(DataError) as caught:
        settle.fit(named, Labels(**said))
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_training_rows_must_have_something_to_learn() -> None:
    numbers, _ = settle.fit([column([1.5, 2.5, 2.5])], Labels())
    with pytest.raises(DataError, match=r"column 'x' is 2\.5 in every row to train on"):
        numbers.settled([(2.5,), (2.5,)])
    with pytest.raises(DataError, match="no number in any row to train on"):
        numbers.settled([])
    with pytest.raises(DataError, match="too near to be told apart in single precision"):
        numbers.settled([(1e9,), (1e9 + 0.5,)])
    tags, _ = settle.fit([column(TAGS)], Labels())
    with pytest.raises(DataError, match="no training row has any of the labels 'ant', 'bee', 'cat'"):
        tags.settled([(0.0, 0.0, 0.0)])
    heads, _ = settle.fit([column(["a", "b", None]), column([None, None, 0.5, 1.5], "y")], Labels())
    with pytest.raises(DataError, match="column 'y' says nothing in any row to train on"):
        heads.settled([(0, None), (1, None)])


# --- hostile cells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[", "[" * 5000, "[1", "['a' 'b']", "['a', b]", "[a, b]"])
def test_a_text_that_only_begins_as_a_list_is_none(text: str) -> None:
    assert cells.as_list(text) is None


@pytest.mark.parametrize("text", ["1_000", "\uff11\uff12", "0x10", "1e", "--1", "infinit", "", " ", "$5", "5%"])
def test_what_python_reads_as_a_number_or_nearly_is_none(text: str) -> None:
    assert cells.number(text) is None


def test_cells_hold_their_pieces_once_and_without_blanks() -> None:
    assert cells.labels(" a ,, b,a ", ",") == ["a", "b", "a"] and cells.labels("a  b\tc", " ") == ["a", "b", "c"]
    made = Multilabel(("3", "a"), separator=",")
    assert made.encode(("3,a,3",)) == (1.0, 1.0) and made.encode((3.0,)) == (1.0, 0.0)
    assert [cells.flag(one) for one in ("Yes", "no", True, 1.0, "0.0", 2, "2", "y", [1])] == [
        1.0, 0.0, 1.0, 1.0, 0.0, None, None, None, None,
    ]  # fmt: skip
    assert all(math.isnan(cells.flag(one) or 0.0) for one in (None, "", -1, "-1", NAN, "NA", " nan "))


def test_many_rows_are_looked_at_in_a_moment() -> None:
    import time

    values = TAGS * 20_000
    start = time.perf_counter()
    settle.fit([column(values)], Labels())
    assert time.perf_counter() - start < 10


def test_no_task_needs_torch_to_read_and_refuse_data() -> None:
    code = (
        "import sys; from hubft.job import Labels; from hubft.tasks import kinds, settle, task\n"
        "one = task.Column('a', ['x;y', 'x', 'y;z', 'z']); two = task.Column('b', [0.5, 1.5, None, 2.5])\n"
        "made, _ = settle.fit([one, two], Labels())\n"
        "for kind in kinds.KINDS: kinds.named(kind)\n"
        "target = made.encode(('x;z', 0.5)); made = made.settled([target, made.encode(('y', 2.5))])\n"
        "list(made.strata(target)), kinds.read(kinds.plain(made)), made.constant(), made.summary()\n"
        "print(made.outputs, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "False", "False"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([["ant", "bee", "ant"]], {}),
        ([[*TAGS, ""]], {"empty": "none"}),
        ([BINARY, [0, 1, -1, 1, 0]], {}),
        ([[0.5, 1.5, None]], {}),
        ([["red", "blue", None], [0.5, 1.5, 2.5], [["a"], [], ["b"]]], {}),
    ],
)
def test_every_kind_comes_back_from_json(columns: Any, said: dict[str, Any]) -> None:
    named = [column(values, f"c{place}") for place, values in enumerate(columns)]
    made, _ = settle.fit(named, Labels(**said))
    targets = [made.encode(row) for row in zip(*columns, strict=True)]
    made = made.settled([one for one in targets if one is not None])
    text = json.dumps(kinds.plain(made), allow_nan=False)
    again = kinds.read(json.loads(text))
    assert again == made and json.dumps(kinds.plain(again)) == text
    assert len(made.names) == made.outputs and made.summary()
