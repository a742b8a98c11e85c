from gateway.core.evidence.confusion import MAX_CLASSES, confusions
from gateway.core.evidence.sums import read


def test_labels_are_rows_and_answers_columns_in_the_order_of_numbers() -> None:
    evidence = {1: {"p|1|c:2:2": 5.0, "p|1|c:2:10": 1.0}, 2: {"p|1|c:10:10": 3.0, "s|3|c:2:2": 9.0}}
    first, second = confusions(read(evidence))
    assert (first.version, first.role) == ("1", "primary")
    assert first.classes == ("2", "10")
    assert first.rows == ((5, 1), (0, 3))
    assert (second.version, second.role, second.rows) == ("3", "shadow", ((9,),))


def test_rare_classes_are_counted_but_left_out() -> None:
    fields = {f"p|1|c:{label}:{label}": 10.0 for label in range(MAX_CLASSES)} | {"p|1|c:999:0": 1.0}
    (matrix,) = confusions(read({1: fields}))
    assert len(matrix.classes) == MAX_CLASSES
    assert matrix.left_out == 1


def test_numbers_have_no_confusion() -> None:
    assert confusions(read({1: {"p|1|ae": 3.0, "p|1|rows": 2.0}})) == ()
