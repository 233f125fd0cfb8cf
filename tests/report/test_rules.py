"""The verdict, rule by rule: facts in, mark and reason out."""

from __future__ import annotations

import math
import re

import pytest

from ppvae.report import held_out, informed, rules, turned
from ppvae.report.facts import Facts
from ppvae.report.page import render
from ppvae.report.rules import QUESTIONS, RULES, verdict
from ppvae.runs.history import History
from tests.report.folders import GOOD, GPVAE, trained


def curve(values, name="elbo", **others):
    rows = [
        {"epoch": e + 1, name: v, **{k: c[e] for k, c in others.items()}}
        for e, v in enumerate(values)
    ]
    return Facts(history=History(rows))


def rising(n=40):
    return [-100.0 + e for e in range(n)]


def metric(**metrics):
    return Facts(metrics=metrics)


def status(name):
    return Facts(config={"status": name, "epochs": 7}, metrics={"train_seconds": 61.0})


def criticised(nats, term="information_x_z"):
    known = {"information": 5.0, "information_upper": 6.0, "mutual_information": nats}
    return Facts(config={"objective": {"terms": [term]}}, metrics=known)


def stepped(steps, gain=None):
    history = curve(LEVEL, step=[steps * (e + 1) / 40 for e in range(40)]).history
    known = {} if gain is None else {"elbo": -100.0, "null_log_likelihood": -100.0 - gain}
    return Facts(metrics=known, history=history)


NOISE = [(-1) ** e * (1 + e % 3) for e in range(40)]
LEVEL = [-100 - 100 * 0.7**e for e in range(40)]
# From an untrained decoder to the null model at once, and then slowly on.
SLOW = [-900.0, -400.0, *(-120.0 + e / 2 for e in range(38))]
FALLEN = [-100 - 100 * 0.7**e - max(0, e - 15) for e in range(40)]
TEN = {"data": {"columns": {"y": {"classes": 10}}}}

CASES = [
    (rules.ended, status("completed"), "ok", "Completed 7 epochs in 61 s"),
    (rules.ended, status("stopped"), "ok", "Stopped early after 7"),
    (rules.ended, status("interrupted"), "caution", "Interrupted after 7"),
    (rules.ended, status("diverged"), "bad", "Diverged after 7"),
    (rules.ended, status("odd"), "caution", "odd"),
    (rules.level, curve(LEVEL), "ok", "training ELBO is level"),
    (rules.level, curve([v + 2 * n for v, n in zip(LEVEL, NOISE, strict=True)]), "ok", "level"),
    (rules.level, curve(rising()), "caution", "still rose by 8 nats over the last 8 of 40 epochs"),
    (rules.level, curve(FALLEN), "caution", "fallen by .* nats since epoch 16"),
    (rules.level, curve([-100.0] * 10), "ok", "level"),
    (rules.level, curve([-5.0, -9, -9, -8, -7, -6]), "caution", "still rose"),
    (rules.level, curve([*rising(9), math.nan]), "bad", "not finite"),
    (rules.level, curve(rising(5)), "caution", "Too few epochs"),
    (
        rules.level,
        Facts(
            metrics={"elbo": -100.0, "null_log_likelihood": -140.0}, history=curve(SLOW).history
        ),
        "caution",
        "still rose by 4 nats over the last 8 of 40 epochs, 10 % of its gain over a model without",
    ),
    (rules.level, curve(SLOW), "ok", "level: it changed by 4 nats"),
    (rules.level, stepped(30), "caution", "Only 30 optimiser steps, too few to tell"),
    (rules.level, stepped(30, gain=9.0), "caution", "in smaller batches.$"),
    (rules.level, stepped(30, gain=0.4), "bad", "It is not noticeably better"),
    (rules.level, stepped(100, gain=0.4), "ok", "training ELBO is level"),
    (rules.level, Facts(), None, ""),
    (rules.level, curve(LEVEL, val_elbo=FALLEN), "caution", "validation ELBO has fallen"),
    (
        rules.generalises,
        curve(LEVEL, val_elbo=[v - 3 for v in LEVEL]),
        "ok",
        "the model generalises",
    ),
    (
        rules.generalises,
        curve(LEVEL, val_elbo=[v - 30 for v in LEVEL]),
        "caution",
        "not generalise",
    ),
    (
        rules.generalises,
        curve(LEVEL, val_elbo=[v + 30 for v in LEVEL]),
        "unknown",
        "do not say whether",
    ),
    (rules.generalises, curve(LEVEL), None, ""),
    (rules.latents_used, curve([1.0, 12.5], "kl/z"), "ok", "z 12.5"),
    (rules.latents_used, curve([1.0, 0.001], "kl/z"), "bad", "are not used"),
    (
        rules.latents_used,
        curve([1.0, 3.0], "kl/z", **{"kl/y": [1, 0.0]}),
        "caution",
        "of y equals",
    ),
    (
        rules.latents_used,
        Facts(
            {"pair": {"shared": ["W"]}},
            {"n_train": 1000},
            curve([1.0, 0.004], "kl/W", **{"kl/z": [1, 2.0]}).history,
        ),
        "ok",
        r"W 4 \(shared by all data\), z 2",
    ),
    (rules.latents_used, curve(LEVEL), None, ""),
    (informed.informed, metric(information=5.2, information_upper=8.6), "ok", "z 5.2 to 8.6"),
    (
        informed.informed,
        metric(information=6.8, information_upper=20.0, information_limit=6.9),
        "ok",
        "z 6.8 to 20 .*cannot exceed 6.9",
    ),
    (
        informed.informed,
        metric(information=0.0, information_upper=0.01),
        "bad",
        "of z is the same",
    ),
    (
        informed.informed,
        metric(
            **{"information/a": 2.0, "information_upper/a": 2.0},
            **{"information/b": 0.0, "information_upper/b": 0.02},
        ),
        "caution",
        "of b is the same .* at most 0.02 nats",
    ),
    (informed.informed, metric(information=1.0), None, ""),
    (informed.critic_behind, criticised(2.0), "caution", "x and z lags.* 2 nats.*at least 5"),
    (informed.critic_behind, criticised(4.5), None, ""),
    (informed.critic_behind, criticised(2.0, "information_x_w"), None, ""),
    (informed.critic_behind, metric(), None, ""),
    (rules.units, metric(active_units=7.0), "ok", "^7 dimensions"),
    (rules.units, metric(active_units=1.0), "ok", "^1 dimension of the latents varies"),
    (rules.units, metric(active_units=0.0), "bad", "No dimension"),
    (
        rules.units,
        metric(active_units=0.0, **{"information/y": 1.0, "information_upper/y": 1.1}),
        "caution",
        "though y holds some information about each datum",
    ),
    (rules.units, metric(), None, ""),
    (rules.poses, metric(angle_correlation=0.98, shift_r2=0.95), "ok", "0.98 .*; .* 0.95"),
    (rules.poses, metric(angle_correlation=0.98, shift_r2=0.6), "caution", "0.60"),
    (rules.poses, metric(angle_correlation=0.1), "bad", "0.10"),
    (rules.poses, metric(), None, ""),
    (
        rules.pareto,
        metric(untrusted=1.0, mse_nearest_view=0.1),
        "caution",
        "Predictions do not use the encoder.*refined_log_likelihood",
    ),
    (rules.pareto, metric(untrusted=0.01), "ok", "1.0 % of the data"),
    (rules.pareto, metric(untrusted=0.2), "caution", "20.0 %"),
    (rules.pareto, metric(untrusted=0.9), "caution", "90.0 %.*Train longer"),
    (rules.pareto, metric(untrusted=0.9, coverage_90=0.94), "caution", "not the exact posterior"),
    (rules.pareto, metric(untrusted=0.9, coverage_90=0.5), "caution", "uncertain"),
    (rules.pareto, metric(untrusted=math.nan), None, ""),
    (rules.pareto, metric(), None, ""),
    (rules.coverage, metric(coverage_90=0.87), "ok", "87.0 % of the true values: calibrated"),
    (rules.coverage, metric(coverage_90=0.93), "ok", "calibrated"),
    (rules.coverage, metric(coverage_90=0.86), "caution", "too narrow"),
    (rules.coverage, metric(coverage_90=0.96), "caution", "too wide"),
    (rules.coverage, metric(coverage_90=0.5), "bad", "too narrow"),
    (rules.coverage, metric(coverage_90=1.0), "bad", "too wide"),
    (rules.coverage, metric(), None, ""),
    (
        rules.unseen_views,
        metric(**GOOD),
        "ok",
        "0.0184 \u00b1 0.0004 per element.*4.2 times smaller",
    ),
    (
        rules.unseen_views,
        metric(**GOOD | {"test_mse": 0.06}),
        "caution",
        "less than a factor of two",
    ),
    (rules.unseen_views, metric(**GOOD | {"test_mse": 0.0775}), "bad", "no better"),
    (rules.unseen_views, metric(**GOOD | {"test_mse": 0.2}), "bad", "without a model"),
    (rules.unseen_views, metric(test_mse=0.02, mse_train_mean=0.08), "ok", "4.0 times"),
    (
        rules.unseen_views,
        metric(test_mse=0.02, mse_train_mean=0.08, mse_last_visit=0.05),
        "ok",
        "at held-out visits.*0.05 for copying the last visit: 2.5 times smaller",
    ),
    (rules.unseen_views, metric(test_mse=0.02), "unknown", "0.02 per element; .* not made here"),
    (rules.unseen_views, metric(), None, ""),
    (rules.told_apart, Facts(TEN, {"accuracy": 0.95}), "ok", "95.0 % .* chance is 10.0 %"),
    (rules.told_apart, Facts(TEN, {"accuracy": 0.5}), "caution", "50.0 %"),
    (rules.told_apart, Facts(TEN, {"accuracy": 0.12}), "bad", "hardly better"),
    (rules.told_apart, metric(accuracy=0.95), "ok", "95.0 %"),
    (rules.told_apart, metric(), None, ""),
    (turned.turned, metric(**{"rotation_spread/rotation": 0.1}), "caution", "not turned"),
    (turned.turned, metric(**{"rotation_spread/rotation": 120.0}), None, ""),
    (turned.turned, metric(), None, ""),
    (turned.orientations, metric(rotation_error=6.0), "ok", "within 6 degrees"),
    (turned.orientations, metric(rotation_error=87.0), "bad", "Search longer"),
    (turned.orientations, metric(), None, ""),
    (
        held_out.null_model,
        metric(elbo=-90.0, null_log_likelihood=-100.0),
        "ok",
        "independent elements",
    ),
    (
        held_out.null_model,
        metric(elbo=-99.7, null_log_likelihood=-100.0),
        "caution",
        "hardly better than no model",
    ),
    (
        held_out.null_model,
        metric(elbo=-101.0, null_log_likelihood=-100.0, log_likelihood=-99.0),
        "caution",
        "only the log likelihood",
    ),
    (
        held_out.null_model,
        metric(elbo=-120.0, null_log_likelihood=-100.0, log_likelihood=-110.0),
        "bad",
        "worse than no model",
    ),
    (held_out.null_model, metric(elbo=-101.0), None, ""),
    (
        held_out.held_out,
        Facts(metrics={"elbo": -101.0, "n_test": 9}, history=curve(LEVEL).history),
        "ok",
        "per test datum, .*100 per training datum: test data fit as well",
    ),
    (
        held_out.held_out,
        Facts(metrics={"elbo": -140.0, "n_test": 9}, history=curve(LEVEL).history),
        "caution",
        "test data fit worse",
    ),
    (
        held_out.held_out,
        Facts(metrics={"elbo": -101.0, "n_test": 0}, history=curve(LEVEL).history),
        "unknown",
        "per evaluated datum.*not recorded",
    ),
    (
        held_out.held_out,
        Facts(
            {"fit": {"restore_best": True}},
            metrics={"elbo": -140.0, "best_val_elbo": -139, "n_test": 9},
            history=curve(LEVEL).history,
        ),
        "ok",
        "139 per validation datum: test data fit as well",
    ),
    (
        held_out.held_out,
        Facts(
            {"fit": {"restore_best": False}},
            metrics={"elbo": -155.0, "best_val_elbo": -100.0, "n_test": 9},
            history=curve(LEVEL, val_elbo=[-100.0, *[-154.0] * 39]).history,
        ),
        "ok",
        "154 per validation datum: test data fit as well",
    ),
    (
        held_out.held_out,
        Facts(
            metrics={"elbo": -101.0, "n_validation": 9},
            history=curve(LEVEL, val_elbo=LEVEL).history,
        ),
        "ok",
        "per validation datum, .* per training datum",
    ),
    (
        held_out.held_out,
        Facts(
            metrics={"elbo": -101.0, "active_units": 0.0, "n_test": 9},
            history=curve(LEVEL).history,
        ),
        "caution",
        "do not contribute",
    ),
    (rules.cautioned, Facts(config={"cautions": ["rbf(age): 40%"]}), "caution", "rbf.age.: 40%"),
    (rules.cautioned, Facts(), None, ""),
    (held_out.held_out, metric(elbo=-101.0), None, ""),
    (held_out.held_out, Facts(metrics=GOOD, history=curve(LEVEL).history), None, ""),
]


@pytest.mark.parametrize(
    ("rule", "facts", "mark", "words"),
    CASES,
    ids=[f"{rule.__name__}-{mark}-{i}" for i, (rule, _, mark, _) in enumerate(CASES)],
)
def test_rule(rule, facts, mark, words):
    found = rule(facts)
    if mark is None:
        assert found is None
        return
    assert found.mark == mark
    assert re.search(words, found.text), found.text


def test_a_log_likelihood_that_is_not_to_be_trusted_says_so():
    numbers = {"elbo": -90.0, "log_likelihood": -80.0, "untrusted": 0.4, "effective": 1.3}
    finding = held_out.held_out(Facts(metrics=numbers, history=curve(LEVEL).history))
    assert (
        "log likelihood \u221280, not to be trusted: Pareto k above 0.7 for 40 % of the data and "
        "1.3 effective draws)"
    ) in finding.text
    numbers |= {"untrusted": 0.0, "effective": 40.0}
    finding = held_out.held_out(Facts(metrics=numbers, history=curve(LEVEL).history))
    assert "not to be trusted" not in finding.text


def test_every_rule_is_tested_with_every_outcome_it_can_have():
    tested = {rule for rule, *_ in CASES}
    assert tested == {rule for group in RULES.values() for rule in group}
    one_sided = {
        rules.cautioned,
        rules.generalises,
        held_out.held_out,
        rules.pareto,
        turned.turned,
        informed.critic_behind,
    }
    for rule in tested - one_sided:
        assert {"ok", "bad"} <= {mark for r, _, mark, _ in CASES if r is rule}


def test_best_weights_kept_are_no_reason_for_caution():
    facts = Facts(config={"fit": {"restore_best": True}}, history=curve(FALLEN).history)
    found = rules.level(facts)
    assert found.mark == "ok"
    assert "best at epoch 16" in found.text


def test_a_weighted_objective_may_cost_elbo():
    facts = Facts({"objective": {"weights": {"z": 4.0}}}, history=curve(FALLEN).history)
    assert "larger weight of another term" in rules.level(facts).text
    assert "patience" in rules.level(curve(FALLEN)).text


def test_an_answer_is_as_good_as_its_worst_finding():
    config = GPVAE | {"status": "completed", "epochs": 40}
    good = verdict(Facts(config, GOOD, trained()))
    assert [a.mark for a in good] == ["ok", "ok", "ok"]
    bad = verdict(Facts(config, GOOD | {"coverage_90": 0.5}, trained()))
    assert [a.mark for a in bad] == ["ok", "bad", "ok"]
    assert bad[1].short == QUESTIONS["Is the posterior trustworthy?"]["bad"]


def test_a_run_that_is_not_finished_is_not_condemned_for_its_predictions():
    config = GPVAE | {"status": "completed", "epochs": 40}
    early = verdict(Facts(config, GOOD | {"coverage_90": 0.5}, curve(rising()).history))
    assert [a.mark for a in early] == ["caution", "caution", "ok"]
    assert any("train longer first" in finding.text for finding in early[1].findings)


def test_rows_that_may_have_been_trained_on_are_not_called_unseen():
    numbers = {"elbo": -90.0, "null_log_likelihood": -100.0}
    known = verdict(Facts({}, numbers | {"n_test": 10}, trained()))[2]
    assert (known.question, known.short) == ("Does it predict unseen data?", "Yes")
    given = verdict(Facts({}, numbers | {"n_test": 0}, trained()))[2]
    assert (given.question, given.short) == ("Does it predict the evaluated rows?", "Yes")
    config = {"evaluation": {"fitted": True}}
    again = verdict(Facts(config, numbers | {"n_test": 10}, trained()))[2]
    assert (again.question, again.short) == (given.question, given.short)
    assert any("its training data among them" in finding.text for finding in again.findings)
    page = render(Facts(config, {"n_train": 8, "n_test": 10}, trained()))
    assert "8 training data, 10 evaluated" in page
    assert "Evaluated data" in page
    assert "Rows not used before" not in page


def test_what_was_evaluated_is_read_from_the_run():
    assert Facts({"data": {"evaluated": "validation"}}, {"n_test": 4}).part == "validation"
    assert Facts(metrics={"n_test": 4, "n_validation": 3}).part == "test"
    assert Facts(metrics={"n_test": 0, "n_validation": 3}).part == "validation"
    assert Facts().part == "evaluated"


def test_what_was_not_measured_is_said_to_be_unknown():
    answers = verdict(Facts({"status": "completed", "epochs": 1}, {}, History([{"epoch": 1}])))
    assert [a.mark for a in answers] == ["ok", "unknown", "unknown"]
    assert "ppvae evaluate" in answers[1].findings[0].text


def test_each_question_has_words_for_each_mark():
    assert list(QUESTIONS) == list(RULES)
    for words in QUESTIONS.values():
        assert set(words) == {"ok", "caution", "bad", "unknown"}
