"""Typical wrong answers to the exercises of lesson 3.6, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "3_6_adaptive_filter_attention"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="vagueness",
        slip="forgets the noise of the measurement",
        source=changed("vagueness", " + eta2 * np.exp(2 * mu * lag)", ""),
        message="is it the noise of the measurement?",
    ),
    WrongAnswer(
        exercise="vagueness",
        slip="shrinks the variance like a length",
        source=changed("vagueness", "eta2 * np.exp(2 * mu", "eta2 * np.exp(mu"),
        message="a variance shrinks by the square",
    ),
    WrongAnswer(
        exercise="vagueness",
        slip="adds pushes that never shrink",
        source=changed(
            "vagueness",
            "lag if mu == 0 else np.expm1(2 * mu * lag) / (2 * mu)",
            "lag",
        ),
        message="is sigma2 / (-2 mu) = 3 left?",
    ),
    WrongAnswer(
        exercise="vagueness",
        slip="leaves out the pushes where nothing shrinks",
        source=changed("vagueness", "lag if mu == 0", "0.0 if mu == 0"),
        message="do pushes add up to sigma2 lag?",
    ),
    WrongAnswer(
        exercise="vagueness",
        slip="divides by zero where nothing shrinks",
        source="""
def vagueness(lag, mu, sigma2, eta2):
    decay = np.exp(2 * mu * lag)
    return sigma2 * (decay - 1) / (2 * mu) + eta2 * decay
""",
        message="got nan for mu = 0",
    ),
    WrongAnswer(
        exercise="precision_weights",
        slip="does not normalize",
        source=changed("precision_weights", " / precision.sum()", ""),
        message="did you divide by it?",
    ),
    WrongAnswer(
        exercise="precision_weights",
        slip="weighs by the variance",
        source=changed("precision_weights", "1 / variance", "variance"),
        message="does the vaguest weigh most?",
    ),
    WrongAnswer(
        exercise="precision_weights",
        slip="weighs by the typical error",
        source=changed("precision_weights", "1 / variance(", "variance(").replace(
            "eta2)\n    return", "eta2) ** -0.5\n    return"
        ),
        message="twice the variance is half the weight",
    ),
    WrongAnswer(
        exercise="precision_weights",
        slip="takes the softmax of the variances",
        source="""
def precision_weights(ages, mu, sigma2, eta2):
    weights = np.exp(-variance(ages, mu, sigma2, eta2))
    return weights / weights.sum()
""",
        message="twice the variance is half the weight",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="hears of the future",
        source=changed("filter_matrix", "seen / variance", "1 / variance"),
        message="does time 0 hear of the future?",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="turns the other way",
        source=changed("filter_matrix", "mu + 1j * omega", "mu - 1j * omega"),
        message="it turns backward",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="lets the weights take part in the decay",
        source=changed(
            "filter_matrix",
            "seen / variance(age, mu, sigma2, eta2)",
            "seen * np.exp(mu * age) / variance(age, mu, sigma2, eta2)",
        ).replace("np.exp((mu + 1j * omega) * age)", "np.exp(1j * omega * age)"),
        message="weights first, then carry?",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="forgets the decay",
        source=changed("filter_matrix", "(mu + 1j * omega)", "(1j * omega)"),
        message="weights first, then carry?",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="takes a plain mean",
        source=changed(
            "filter_matrix", "seen / variance(age, mu, sigma2, eta2)", "1.0 * seen"
        ),
        message="is it the precision weight of age 1, carried?",
    ),
    WrongAnswer(
        exercise="filter_matrix",
        slip="counts places instead of times",
        source=changed(
            "filter_matrix",
            "lag = times[:, None] - times",
            "lag = np.arange(len(times))[:, None] - np.arange(len(times))",
        ),
        message="Do you use the times?",
    ),
    WrongAnswer(
        exercise="best_weights",
        slip="keeps the diagonal alone",
        source=changed(
            "best_weights", "solve(shared + own", "solve(np.diag(np.diag(shared)) + own"
        ),
        message="What do two ages share?",
    ),
    WrongAnswer(
        exercise="best_weights",
        slip="does not normalize",
        source=changed(
            "best_weights", "return weights / weights.sum()", "return weights"
        ),
        message="whose weight is 1?",
    ),
    WrongAnswer(
        exercise="best_weights",
        slip="leaves the noise of measurements as it was",
        source=changed(
            "best_weights", "eta2 * np.exp(2 * mu * ages)", "eta2 + 0 * ages"
        ),
        message="does noise of a measurement shrink",
    ),
    WrongAnswer(
        exercise="best_weights",
        slip="shares the pushes that only one has missed",
        source=changed(
            "best_weights",
            "np.minimum(ages[:, None], ages)",
            "np.abs(ages[:, None] - ages)",
        ),
        message="what is shared?",
    ),
    WrongAnswer(
        exercise="second_look",
        slip="asks the raw measurement",
        source=changed("second_look", "np.abs(plain[:, None]", "np.abs(z[:, None]"),
        message="whom did it ask, itself?",
    ),
    WrongAnswer(
        exercise="second_look",
        slip="stops after the first look",
        source=changed("second_look", "mean(seen / V / (1 + surprise / nu))", "plain"),
        message="Where is the second look?",
    ),
    WrongAnswer(
        exercise="second_look",
        slip="takes the surprise without its square",
        source=changed("second_look", "carried) ** 2 / V", "carried) / V"),
        message="is a surprise squared",
    ),
    WrongAnswer(
        exercise="second_look",
        slip="forgets the precisions in the second look",
        source=changed(
            "second_look", "mean(seen / V / (1 + surprise", "mean(seen / (1 + surprise"
        ),
        message="do the new weights keep 1 / V?",
    ),
    WrongAnswer(
        exercise="second_look",
        slip="compares before carrying",
        source=changed(
            "second_look",
            "np.abs(plain[:, None] - carried)",
            "np.abs(plain[:, None] - z)",
        ),
        message="is it carried measurements that surprise?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
