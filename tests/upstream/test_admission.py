"""Places at a version: taken, waited for in order, refused in time, given back exactly once."""

from gateway.upstream.admission import Admission


class Caller:
    def __init__(self, *, until: float = 10.0) -> None:
        self.is_over = False
        self.wait_until = until
        self.told: list[str] = []

    def admitted(self) -> None:
        self.told.append("admitted")

    def waited_too_long(self) -> None:
        self.is_over = True
        self.told.append("too long")


def full(limit: int = 2) -> Admission:
    admission = Admission()
    admission.set_most(limit)
    admission.active = limit
    return admission


def test_those_who_wait_are_admitted_in_order_as_places_come_free() -> None:
    admission = full()
    callers = [Caller() for _ in range(3)]
    assert all(admission.wait(caller, most=10, now=0.0) for caller in callers)
    admission.leave()
    assert [caller.told for caller in callers] == [["admitted"], [], []]
    admission.set_most(4)  # a worker more
    assert [caller.told for caller in callers] == [["admitted"], ["admitted"], ["admitted"]]
    assert admission.active == 4


def test_a_full_queue_refuses_at_once() -> None:
    admission = full()
    assert admission.wait(Caller(), most=1, now=0.0)
    assert not admission.wait(Caller(), most=1, now=0.0)


def test_who_could_not_have_its_turn_in_time_is_refused_at_once() -> None:
    admission = full()
    assert all(admission.wait(Caller(until=1.0), most=1000, now=0.0) for _ in range(40))
    for _ in range(20):
        admission.leave()  # 20 turns in the first 0.2 s: 100 a second
    assert not admission.wait(Caller(until=0.35), most=1000, now=0.2)
    assert admission.wait(Caller(until=0.45), most=1000, now=0.2)


def test_a_burst_after_a_calm_is_not_refused_for_the_calm() -> None:
    """What was answered while few asked says nothing about how fast a full version is."""
    admission = full(limit=100)
    for second in range(60):
        admission.look(float(second), answers=1, told_us=2000, workers=1)
    assert all(admission.wait(Caller(until=0.25), most=1000, now=0.0) for _ in range(500))


def test_one_who_went_away_takes_no_place() -> None:
    admission = full()
    gone, stays = Caller(), Caller()
    for caller in (gone, stays):
        admission.wait(caller, most=10, now=0.0)
    gone.is_over = True
    admission.leave()
    assert (gone.told, stays.told) == ([], ["admitted"])
    assert admission.active == 2


def test_those_who_waited_too_long_are_told_once() -> None:
    admission = full()
    early, late = Caller(until=1.0), Caller(until=5.0)
    for caller in (early, late):
        admission.wait(caller, most=10, now=0.0)
    admission.expire(2.0)
    admission.expire(3.0)
    assert (early.told, late.told) == (["too long"], [])
    admission.leave()
    assert late.told == ["admitted"]
    assert not admission.waiting
