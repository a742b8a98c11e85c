"""Do the intervals of `gateway.core` hold what they promise: simulated evidence, looked at after every value.

`python -m loadtests.statistics_study` writes `loadtests/results/statistics.json` and prints its tables,
which `docs/statistics.md` repeats. `--runs` makes it shorter. Whether a run ever misses is computed for all
looks at once: for counts by thresholds from the functions of `gateway.core` themselves, for other sums by
the same formula on arrays, which is compared with the functions before it is used. Where that would be slow
an upper bound of the evidence is computed for all looks, and the functions decide where it reaches the
limit.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.contract.latency import BOUNDS_US
from gateway.core.evidence.drift import log_evidence, log_marginal
from gateway.core.evidence.means import bounded_mean_interval, bounded_mean_lower
from gateway.core.evidence.rates import STRENGTHS, log_evidence_of_difference, rate_difference, rate_lower
from gateway.core.evidence.statistics import (
    BETS,
    log_martingale_of_rate,
    mean_interval,
    paired_doubt,
    paired_interval,
    rate_interval,
)

RESULT = Path(__file__).parent / "results" / "statistics.json"
ALPHA = 0.05
LOOKS = 10_000
Z = 1.959963984540054
Floats = NDArray[np.float64]
Row = dict[str, Any]


def at_most(misses: int, runs: int) -> float:
    """Clopper-Pearson's 97.5 % upper bound of the probability behind `misses` of `runs`."""
    low, high = misses / runs, 1.0
    for _ in range(50):
        p = (low + high) / 2
        tail = sum(
            math.exp(
                math.lgamma(runs + 1)
                - math.lgamma(k + 1)
                - math.lgamma(runs - k + 1)
                + k * math.log(p)
                + (runs - k) * math.log1p(-p)
            )
            for k in range(misses + 1)
        )
        low, high = (p, high) if tail > 0.025 else (low, p)
    return high if misses < runs else 1.0


@cache
def kept_counts(rate: float, looks: int, limit: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each n the least and the largest number of successes that do not reject `rate`."""
    least, most = np.zeros(looks + 1, np.int64), np.zeros(looks + 1, np.int64)
    for n in range(1, looks + 1):
        a, b = int(least[n - 1]), int(most[n - 1]) + 1
        while log_martingale_of_rate(a, n, rate) >= limit and a < rate * n:
            a += 1
        while log_martingale_of_rate(b, n, rate) >= limit and b > rate * n:
            b -= 1
        least[n], most[n] = a, b
    return least, most


def mixture(up: Floats, logs: Callable[[float], Floats]) -> Floats:
    total = np.zeros_like(up)
    for bet, share in BETS:
        total += share * np.exp(np.minimum(logs(bet), 600.0))
    return np.log(total)


def paired_log(n: Floats, up: Floats, down: Floats, mean: float) -> Floats:
    scale = 1 / (1 + mean)
    return mixture(
        up,
        lambda bet: (
            up * math.log1p(bet * (2 * scale - 1))
            + (n - up - down) * math.log1p(bet * (scale - 1))
            + down * math.log1p(-bet)
        ),
    )


def bounded_log(n: Floats, total: Floats, squares: Floats, mean: float) -> Floats:
    above, apart = (total - n * mean) / mean, (squares - 2 * mean * total + n * mean**2) / mean**2
    return mixture(above, lambda bet: bet * above + (math.log1p(-bet) + bet) * apart)


def counted(name: str, misses: int, runs: int, **more: Any) -> Row:
    bound = at_most(misses, runs)
    return {"what": name, "runs": runs, "misses": misses, "share": misses / runs, "at_most": bound, **more}


def coverage_of_rates(rng: np.random.Generator, runs: int) -> list[Row]:
    rows = []
    for p in (0.01, 0.1, 0.5, 0.84, 0.97):
        least, most = kept_counts(p, LOOKS, -math.log(ALPHA))
        sums = (rng.random((runs, LOOKS)) < p).cumsum(1)
        missed = ((sums < least[1:]) | (sums > most[1:])).any(1).sum()
        interval = rate_interval(round(p * LOOKS), LOOKS, alpha=ALPHA)
        ratio = (interval.high - interval.low) / (2 * Z * math.sqrt(p * (1 - p) / LOOKS))
        rows.append(counted(f"rate {p:g}", int(missed), runs, width=ratio))
    return rows


def coverage_of_means(rng: np.random.Generator, runs: int) -> list[Row]:
    draws: dict[str, tuple[float, Callable[[], Any]]] = {
        "beta(2, 2)": (0.5, lambda: rng.beta(2, 2, LOOKS)),
        "beta(1/2, 1/2)": (0.5, lambda: rng.beta(0.5, 0.5, LOOKS)),
        "beta(2, 20)": (1 / 11, lambda: rng.beta(2, 20, LOOKS)),
        "two points, 10 %": (0.1, lambda: (rng.random(LOOKS) < 0.1) * 1.0),
    }
    n = np.arange(1.0, LOOKS + 1)
    limit = math.log(2 / ALPHA)
    rows = []
    for name, (mean, draw) in draws.items():
        missed, widths, asymptotic = 0, [], 0
        for _ in range(runs):
            values = draw()
            total, squares = values.cumsum(), (values**2).cumsum()
            below = bounded_log(n, total, squares, mean)
            above = bounded_log(n, n - total, n - 2 * total + squares, 1 - mean)
            missed += bool(max(below.max(), above.max()) >= limit)
            sums = (LOOKS, float(total[-1]), float(squares[-1]))
            interval = bounded_mean_interval(*sums, low=0, high=1, alpha=ALPHA)
            widths.append((interval.high - interval.low) / (2 * Z * values.std() / math.sqrt(LOOKS)))
            looks = np.unique(np.geomspace(30, LOOKS, 60).astype(int)) - 1
            asymptotic += any(
                mean_interval(k + 1, float(total[k]), float(squares[k]), alpha=ALPHA).excludes(mean)
                for k in looks
            )
        rows.append(counted(f"bounded mean {name}", missed, runs, width=float(np.mean(widths))))
        rows.append(counted(f"asymptotic mean {name}, 60 looks from 30 on", asymptotic, runs))
    return rows


def paired_values(rng: np.random.Generator, shape: tuple[int, ...], gains: float, losses: float) -> Floats:
    drawn = rng.random(shape)
    return np.asarray((drawn < gains) * 1.0 - (drawn > 1 - losses))


def paired_alarms(values: Floats, mean: float, limit: float) -> tuple[Floats, Floats]:
    """Log capital for "above" and "below" at every look (last axis)."""
    n = np.broadcast_to(np.arange(1.0, values.shape[-1] + 1), values.shape)
    up, down = (values > 0).cumsum(-1) * 1.0, (values < 0).cumsum(-1) * 1.0
    return paired_log(n, up, down, mean) - limit, paired_log(n, down, up, -mean) - limit


def coverage_of_pairs(rng: np.random.Generator, runs: int) -> list[Row]:
    rows = []
    for gains, losses in ((0.01, 0.01), (0.01, 0.04), (0.1, 0.1)):
        missed = 0
        for _ in range(runs):
            above, below = paired_alarms(
                paired_values(rng, (LOOKS,), gains, losses), gains - losses, math.log(2 / ALPHA)
            )
            missed += bool(max(above.max(), below.max()) >= 0)
        interval = paired_interval(LOOKS, gains * LOOKS, losses * LOOKS, alpha=ALPHA)
        deviation = math.sqrt(gains + losses - (gains - losses) ** 2)
        ratio = (interval.high - interval.low) / (2 * Z * deviation / math.sqrt(LOOKS))
        rows.append(counted(f"paired difference +{gains:g} -{losses:g}", missed, runs, width=ratio))
    return rows


def two_arms(
    rng: np.random.Generator, first: float, second: float, shares: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Who answers is drawn by `shares` of the second arm; n and successes of both after every label."""
    is_second, drawn = rng.random(len(shares)) < shares, rng.random(len(shares))
    return (
        (~is_second).cumsum() * 1.0,
        (~is_second & (drawn < first)).cumsum() * 1.0,
        is_second.cumsum() * 1.0,
        (is_second & (drawn < second)).cumsum() * 1.0,
    )


def misses_of_difference(
    rng: np.random.Generator, runs: int, first: float, second: float, shares: Floats
) -> int:
    limit, missed = -math.log(ALPHA), 0
    for _ in range(runs):
        n1, s1, n2, s2 = two_arms(rng, first, second, shares)
        joint = np.logaddexp(
            *(
                math.log(share) + rate_logs(n1, s1, first, strength) + rate_logs(n2, s2, second, strength)
                for strength, share in STRENGTHS
            )
        )
        missed += any(
            log_evidence_of_difference((s1[k], n1[k]), (s2[k], n2[k]), supposed=second - first) >= limit
            for k in np.flatnonzero(joint >= limit)
            if n1[k] and n2[k]
        )
    return missed


@cache
def gamma_table(add: float, size: int) -> Floats:
    return np.array([math.lgamma(k + add) for k in range(size)])


def rate_logs(n: Floats, successes: Floats, rate: float, strength: float) -> Floats:
    """`log_martingale_of_rate` on arrays, by tables of log gamma."""
    a, b, size = strength * rate + 0.5, strength * (1 - rate) + 0.5, 2 * LOOKS + 2
    s, trials = successes.astype(int), n.astype(int)
    logs = gamma_table(a, size)[s] + gamma_table(b, size)[trials - s] - gamma_table(a + b, size)[trials]
    start = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return np.asarray(logs - start - successes * math.log(rate) - (n - successes) * math.log1p(-rate))


RAMP = np.repeat([0.01, 0.1, 0.5], [2000, 3000, 5000])
EVEN = np.full(LOOKS, 0.5)


def coverage_of_differences(rng: np.random.Generator, runs: int) -> list[Row]:
    rows = []
    for first, second, shares, name in (
        (0.96, 0.93, EVEN, "50/50"),
        (0.5, 0.5, EVEN, "50/50"),
        (0.9, 0.8, RAMP, "ramp 1, 10, 50 %"),
    ):
        missed = misses_of_difference(rng, runs, first, second, shares)
        interval = rate_difference((first * LOOKS, LOOKS), (second * LOOKS, LOOKS), alpha=ALPHA)
        fixed = 2 * Z * math.sqrt((first * (1 - first) + second * (1 - second)) / LOOKS)
        ratio = (interval.high - interval.low) / fixed
        rows.append(counted(f"difference {first:g}, {second:g}, {name}", missed, runs, width=ratio))
    return rows


def false_alarms(rng: np.random.Generator, runs: int) -> list[Row]:
    never = np.full(LOOKS, 0.96)
    paired = 0
    for _ in range(runs):
        above, below = paired_alarms(paired_values(rng, never.shape, 0.025, 0.025), 0.0, math.log(2 / ALPHA))
        paired += bool(max(above.max(), below.max()) >= 0)
    return [
        counted("paired accuracy, either side", paired, runs),
        counted("unpaired accuracy, 50/50", misses_of_difference(rng, runs, 0.96, 0.96, EVEN), runs),
        counted("unpaired accuracy, ramp", misses_of_difference(rng, runs, 0.96, 0.96, RAMP), runs),
        counted("error rate above 1 %, one-sided", one_sided_alarms(rng, runs), runs),
        counted("latency p50 of two versions", latency_alarms(rng, runs, 0.5), runs),
        counted("latency p99 of two versions", latency_alarms(rng, runs, 0.99), runs),
        counted("drift, 6 bins, 2,000 in the reference", drift_alarms(rng, runs // 2, 2000), runs // 2),
        counted("slices, 20 of 500 paired labels", slice_alarms(rng, runs // 2), runs // 2),
    ]


def one_sided_alarms(rng: np.random.Generator, runs: int) -> int:
    limits = np.zeros(LOOKS + 1, np.int64)
    count = 1
    for n in range(1, LOOKS + 1):
        while count <= n and rate_lower(count, n, alpha=ALPHA) <= 0.01:
            count += 1
        limits[n] = count
    return int(((rng.random((runs, LOOKS)) < 0.01).cumsum(1) >= limits[1:]).any(1).sum())


def latency_alarms(rng: np.random.Generator, runs: int, share: float) -> int:
    """The two versions have one distribution; an alarm is a ratio of quantiles whose interval excludes 1."""
    least, most = kept_counts(share, LOOKS, math.log(4 / ALPHA))
    bounds = np.array([bound for bound in BOUNDS_US if 200 < bound < 20_000])
    alarms = 0
    for _ in range(runs):
        ends = []
        for _ in range(2):
            buckets = np.searchsorted(bounds, 1000 * rng.lognormal(0, 0.8, LOOKS))
            low, high = np.full(LOOKS, -1), np.full(LOOKS, len(bounds))
            for bound in range(len(bounds)):
                under = (buckets <= bound).cumsum()
                low[under < least[1:]] = bound
                high = np.where((under > most[1:]) & (high == len(bounds)), bound, high)
            ends.append((low, high))
        (low1, high1), (low2, high2) = ends
        alarms += bool(((low2 > high1) | (low1 > high2)).any())
    return alarms


def drift_alarms(rng: np.random.Generator, runs: int, size: int) -> int:
    p = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    limit, alarms = -math.log(ALPHA), 0
    for _ in range(runs):
        reference = rng.multinomial(size, p) * 1.0
        current = (rng.choice(len(p), LOOKS, p=p)[:, None] == np.arange(len(p))).cumsum(0) * 1.0
        n = np.arange(1.0, LOOKS + 1)
        e = np.zeros(LOOKS)
        for k, rate in enumerate(p):
            for strength, share in STRENGTHS:
                before = log_martingale_of_rate(reference[k], size, float(rate), strength=strength)
                after = rate_logs(n, current[:, k], float(rate), strength)
                e += share * np.exp(before + after) / len(p) / 2
        whole = log_marginal(list(reference)) - float(reference @ np.log(p))
        gammas = gamma_table(0.5, LOOKS + 1)
        marginal = (
            math.lgamma(3) - gamma_table(3.0, LOOKS + 1)[n.astype(int)]
            + sum(gammas[current[:, k].astype(int)] - math.lgamma(0.5) for k in range(6))
        )  # fmt: skip
        e += np.exp(whole + marginal - current @ np.log(p)) / 2
        alarms += any(
            log_evidence(list(zip(reference, current[k], strict=True)), (size, float(k + 1))) >= limit
            for k in np.flatnonzero(np.log(e) >= limit)
        )
    return alarms


def slice_alarms(rng: np.random.Generator, runs: int) -> int:
    """A slice is accused wrongly in a run where none is worse; until one is, the shares stay as they are."""
    limits = np.array([math.log(2 / ALPHA * place * (place + 1)) for place in range(1, 21)])[:, None]
    alarms = 0
    for _ in range(runs):
        _, below = paired_alarms(paired_values(rng, (20, 500), 0.025, 0.025), 0.0, 0.0)
        alarms += bool((below >= limits).any())
    return alarms


def detection(rng: np.random.Generator, runs: int) -> list[Row]:
    """Labels until a drop from 96 to 93 % is shown: of pairs 5 % differ; unpaired half and half."""
    paired, unpaired = [], []
    for _ in range(runs):
        above, below = paired_alarms(paired_values(rng, (LOOKS,), 0.01, 0.04), 0.0, math.log(2 / ALPHA))
        hits = np.flatnonzero(np.maximum(above, below) >= 0)
        paired.append(int(hits[0]) + 1 if len(hits) else math.inf)
        unpaired.append(first_unpaired(rng))
    rows = []
    for name, found in (("paired", paired), ("unpaired 50/50", unpaired)):
        curve = {str(n): float(np.mean(np.array(found) <= n)) for n in CURVE}
        mean = float(np.mean(found)) if math.isfinite(max(found)) else None
        rows.append(
            {"what": name, "runs": runs, "median": float(np.median(found)), "mean": mean, "curve": curve}
        )
    return rows


CURVE = (200, 400, 600, 800, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 20_000)
_LGAMMA = np.frompyfunc(math.lgamma, 1, 1)


def first_unpaired(rng: np.random.Generator) -> float:
    """Looked at after every 20 labels. The evidence at the pooled rate is no less than the least one."""
    n = np.arange(10.0, LOOKS + 1, 10)
    s1, s2 = ((rng.random(LOOKS) < p).cumsum()[9::10] * 1.0 for p in (0.96, 0.93))
    pooled = np.clip((s1 + s2) / (2 * n), 1e-9, 1 - 1e-9)
    logs = []
    for strength, share in STRENGTHS:
        log = np.full(n.shape, math.log(share))
        a, b = strength * pooled + 0.5, strength * (1 - pooled) + 0.5
        for s in (s1, s2):
            for sign, x, y in ((1, s + a, n - s + b), (-1, a, b)):
                log += sign * np.asarray(_LGAMMA(x) + _LGAMMA(y) - _LGAMMA(x + y), float)
            log -= s * np.log(pooled) + (n - s) * np.log1p(-pooled)
        logs.append(log)
    for k in np.flatnonzero(np.logaddexp(*logs) >= -math.log(ALPHA)):
        if log_evidence_of_difference((s1[k], n[k]), (s2[k], n[k])) >= -math.log(ALPHA):
            return float(2 * n[k])
    return math.inf


def check_formulas() -> None:
    """The formulas on arrays are those of the functions."""
    one = np.array([700.0])
    doubt = paired_doubt(700, 30, 8, supposed=0.01)
    capital = paired_log(one, np.array([30.0]), np.array([8.0]), 0.01)[0]
    assert math.isclose(2 * math.exp(-capital), doubt)
    end = bounded_mean_lower(700, 300, 200, low=0, high=1, alpha=ALPHA)
    capital = bounded_log(one, np.array([300.0]), np.array([200.0]), end)[0]
    assert math.isclose(capital, -math.log(ALPHA), rel_tol=1e-6)
    for strength in (40.0, 1200.0):
        found = rate_logs(one, np.array([600.0]), 0.84, strength)[0]
        assert math.isclose(found, log_martingale_of_rate(600, 700, 0.84, strength=strength), abs_tol=1e-8)


def study(runs: int) -> dict[str, Any]:
    rng = np.random.default_rng(20_261_125)
    check_formulas()
    started = time.monotonic()
    small = max(10, runs // 4)
    coverage = [
        *coverage_of_rates(rng, runs),
        *coverage_of_means(rng, small),
        *coverage_of_pairs(rng, small),
        *coverage_of_differences(rng, small),
    ]
    print(f"coverage {time.monotonic() - started:.0f} s", flush=True)
    alarms = false_alarms(rng, runs)
    print(f"alarms {time.monotonic() - started:.0f} s", flush=True)
    found = {
        "alpha": ALPHA,
        "looks": LOOKS,
        "coverage": coverage,
        "false_alarms": alarms,
        "detection": detection(rng, small),
    }
    found["seconds"] = round(time.monotonic() - started)
    return found


def tables(found: dict[str, Any]) -> str:
    lines = [
        "| interval at 95 %, a look after every value | runs | ever missed | at most | width |",
        "| --- | --: | --: | --: | --: |",
    ]
    for row in found["coverage"]:
        width = f"{row['width']:.2f}" if "width" in row else ""
        lines.append(
            f"| {row['what']} | {row['runs']} | {row['share']:.2%} | {row['at_most']:.2%} | {width} |"
        )
    lines += [
        "",
        "| gate at 5 %, nothing differs | runs | false alarms | at most |",
        "| --- | --: | --: | --: |",
    ]
    lines += [
        f"| {row['what']} | {row['runs']} | {row['share']:.2%} | {row['at_most']:.2%} |"
        for row in found["false_alarms"]
    ]
    names = [row["what"] for row in found["detection"]]
    lines += ["", f"| labels | {' | '.join(names)} |", "| --- |" + " --: |" * len(names)]
    for n in found["detection"][0]["curve"]:
        lines.append(
            f"| {int(n):,} | " + " | ".join(f"{r['curve'][n]:.0%}" for r in found["detection"]) + " |"
        )
    for what in ("median", "mean"):
        told = [f"{row[what]:,.0f}" if row[what] else "" for row in found["detection"]]
        lines.append(f"| {what} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--tables", action="store_true", help="print the tables of the kept result only")
    asked = parser.parse_args()
    if not asked.tables:
        RESULT.write_text(json.dumps(study(asked.runs), indent=1) + "\n", encoding="utf-8")
    print(tables(json.loads(RESULT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
