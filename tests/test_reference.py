"""The pages that are written from the code are those that the code would write."""

from reference.__main__ import old_pages


def test_the_reference_is_up_to_date() -> None:
    assert list(old_pages()) == [], "run scripts/reference"
