"""Writes stats.json, the known answers of the statistics of `agents::outcome`.

    python3 -m venv v && v/bin/pip install numpy scipy statsmodels
    v/bin/python make.py > stats.json

numpy 2.4.6, scipy 1.17.1 and statsmodels 0.15.0 write this very file, byte by byte. The data are drawn once with a fixed seed and
written out, so that the test needs no generator.
"""

import json
import math

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

rng = np.random.default_rng(20261125)


def rounded(values, places=6):
    return [round(float(v), places) for v in values]


def welch(c, t):
    test = stats.ttest_ind(t, c, equal_var=False)
    ends = CompareMeans(DescrStatsW(t), DescrStatsW(c)).tconfint_diff(usevar="unequal")
    interval = test.confidence_interval()
    assert abs(ends[0] - interval.low) < 1e-9 and abs(ends[1] - interval.high) < 1e-9
    return dict(estimate=float(np.mean(t) - np.mean(c)), low=float(ends[0]), high=float(ends[1]),
                p=float(test.pvalue), freedom=float(test.df))


def means():
    out = []
    for nc, nt, spread in [(12, 9, 3.0), (80, 120, 1.0), (400, 100, 0.4)]:
        c, t = rounded(rng.normal(10, 2, nc)), rounded(rng.normal(10.6, 2 * spread, nt))
        out.append(dict(control=c, treatment=t, expect=welch(c, t)))
    return out


def cuped():
    out = []
    for n, slope in [(60, 0.9), (150, 0.3)]:
        arms = []
        for effect in (0.0, 0.5):
            x = rng.normal(20, 3, n)
            arms.append((rounded(5 + slope * x + effect + rng.normal(0, 1.5, n)), rounded(x)))
        (yc, xc), (yt, xt) = [(np.array(y), np.array(x)) for y, x in arms]
        # The within-arm slope is that of the regression on treatment and covariate.
        t = np.r_[np.zeros(n), np.ones(n)]
        fit = sm.OLS(np.r_[yc, yt], sm.add_constant(np.c_[t, np.r_[xc, xt]])).fit()
        theta = float(fit.params[2])
        middle = np.r_[xc, xt].mean()
        adjusted = welch(yc - theta * (xc - middle), yt - theta * (xt - middle))
        assert abs(adjusted["estimate"] - fit.params[1]) < 1e-9
        plain = sm.OLS(np.r_[yc, yt], sm.add_constant(t)).fit()
        out.append(dict(control=list(zip(*arms[0])), treatment=list(zip(*arms[1])), theta=theta,
                        explained=float(1 - fit.ssr / plain.ssr), expect=adjusted))
    return out


def ratios():
    out = []
    for n, share in [(40, 0.7), (300, 0.2)]:
        arms = []
        for effect in (0.0, 0.08):
            below = rng.integers(1, 9, n)
            arms.append((rng.binomial(below, share + effect).astype(float), below.astype(float)))
        linear = []
        for above, below in arms:
            r = above.sum() / below.sum()
            # The delta method's variance, from the covariance matrix.
            v = np.cov(above, below)
            delta = (v[0, 0] - 2 * r * v[0, 1] + r * r * v[1, 1]) / below.mean() ** 2
            values = r + (above - r * below) / below.mean()
            assert abs(values.var(ddof=1) - delta) < 1e-12
            linear.append(values)
        (ac, bc), (at, bt) = arms
        out.append(dict(control=[list(p) for p in zip(ac, bc)], treatment=[list(p) for p in zip(at, bt)],
                        ratios=[float(ac.sum() / bc.sum()), float(at.sum() / bt.sum())],
                        expect=welch(linear[0], linear[1])))
    return out


def heavy():
    c, t = rounded(rng.lognormal(2, 1.2, 90)), rounded(rng.lognormal(2.1, 1.2, 80))
    cap = round(float(np.quantile(np.r_[c, t], 0.95)), 9)
    return dict(control=c, treatment=t, share=0.95, cap=float(np.quantile(np.r_[c, t], 0.95)),
                expect=welch(np.minimum(c, cap), np.minimum(t, cap)))


class Splitmix:
    def __init__(self, seed):
        self.state = seed

    def draw(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)


def bootstrap():
    c, t = rounded(rng.lognormal(0, 1, 30)), rounded(rng.lognormal(0.4, 1, 24))
    chance, times = Splitmix(77), 500

    def redrawn(values):
        return np.mean([values[((chance.draw() >> 32) * len(values)) >> 32] for _ in values])

    drawn = []
    for _ in range(times):
        of_t = redrawn(t)
        drawn.append(of_t - redrawn(c))
    # Expanded for n - 1 and Student's t as the test of two unequal variances has it.
    own = [np.var(c, ddof=1) / len(c), np.var(t, ddof=1) / len(t)]
    short = math.sqrt(sum(own) / (np.var(c) / len(c) + np.var(t) / len(t)))
    freedom = stats.ttest_ind(t, c, equal_var=False).df
    tail = stats.norm.cdf(-short * stats.t.ppf(0.975, freedom))
    low, high = np.quantile(drawn, [tail, 1 - tail], method="weibull")
    below = sum(d < 0 for d in drawn)
    return dict(control=c, treatment=t, times=times, seed=77,
                expect=dict(estimate=float(np.mean(t) - np.mean(c)), low=float(low), high=float(high),
                            p=min(1.0, 2 * max(1, min(below, times - below)) / times), freedom=None))


def ratio_tests():
    out = []
    for c, t, share in [(5000, 5000, 0.5), (821872, 815482, 0.5), (190, 810, 0.8), (4900, 5100, 0.5)]:
        n = c + t
        out.append(dict(control=c, treatment=t, share=share,
                        p=float(stats.chisquare([c, t], [n * (1 - share), n * share]).pvalue)))
    return out


def families():
    out = []
    for p in [[0.01, 0.04, 0.03], [0.2, 0.001, 0.04, 0.04, 0.6], [0.5], [0.9, 0.8]]:
        out.append(dict(p=p, adjusted=multipletests(p, method="holm")[1].tolist()))
    return out


def sequences():
    out = []
    for estimate, error, units, planned in [(0.5, 0.2, 400, 2000), (0.1, 0.05, 5000, 5000), (2, 0.3, 100, 800)]:
        alpha = 0.05
        level = -2 * math.log(alpha)
        rho = math.sqrt((level + math.log(level) + 1) / planned)
        t, sigma = units, error * math.sqrt(units)
        half = sigma * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha))
        # The p-value by bisection on the level at which 0 lies on the edge, with rho held.
        low, high = 1e-300, 1.0

        def covers(a):
            h = sigma * math.sqrt(max(0, 2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / a)))
            return abs(estimate) <= h

        for _ in range(2000):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if covers(middle) else (low, middle)
        out.append(dict(estimate=estimate, error=error, units=units, planned=planned,
                        low=estimate - half, high=estimate + half, p=low))
    return out


def pairs():
    d = rounded(rng.normal(1.2, 3, 21))
    test = stats.ttest_1samp(d, 0)
    ends = test.confidence_interval()
    return dict(differences=d, expect=dict(estimate=float(np.mean(d)), low=float(ends.low), high=float(ends.high),
                                           p=float(test.pvalue), freedom=float(test.df)))


print(json.dumps(dict(means=means(), cuped=cuped(), ratios=ratios(), heavy=heavy(), bootstrap=bootstrap(),
                      ratio_tests=ratio_tests(), families=families(), sequences=sequences(), pairs=pairs())))
