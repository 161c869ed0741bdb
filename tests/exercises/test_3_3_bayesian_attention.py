"""Typical wrong answers to the exercises of lesson 3.3, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "3_3_bayesian_attention"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="posterior",
        slip="does not divide",
        source=changed("posterior", "joint / evidence if", "joint if"),
        message="did you divide?",
    ),
    WrongAnswer(
        exercise="posterior",
        slip="forgets the prior",
        source=changed("posterior", "joint = prior * potential", "joint = potential"),
        message="it would fit a uniform prior. Is it one?",
    ),
    WrongAnswer(
        exercise="posterior",
        slip="adds prior and potential",
        source=changed("posterior", "prior * potential", "prior + potential"),
        message="is each weight prior times potential?",
    ),
    WrongAnswer(
        exercise="posterior",
        slip="returns the sum of the potentials",
        source=changed("posterior", "float(evidence)", "float(potential.sum())"),
        message="is it the sum of the products?",
    ),
    WrongAnswer(
        exercise="posterior",
        slip="divides by zero",
        source=changed(
            "posterior",
            "evidence if evidence > 0 else joint",
            "evidence",
        ),
        message="Divided by 0?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="forgets the 2",
        source=changed("gaussian_reader", "(2 * variance)", "variance"),
        message="is there a 2 in a Gaussian?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="takes the dot product alone",
        source=changed(
            "gaussian_reader",
            "-((query - keys) ** 2).sum(axis=1) / (2 * variance)",
            "keys @ query / variance",
        ),
        message="does a longer key pay for its length?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="takes the variance for a deviation",
        source=changed("gaussian_reader", "(2 * variance)", "(2 * variance**2)"),
        message="variance 4, or deviation 4?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="does not square the distance",
        source=changed(
            "gaussian_reader",
            "((query - keys) ** 2).sum(axis=1)",
            "abs(query - keys).sum(axis=1)",
        ),
        message="is that exp(-2) to 1?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="forgets the prior",
        source=changed("gaussian_reader", " + np.log(prior)", ""),
        message="who knows which is more usual?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="divides the prior by the variance, too",
        source=changed("gaussian_reader", "np.log(prior)", "np.log(prior) / variance"),
        message="is the prior scaled by the variance, too?",
    ),
    WrongAnswer(
        exercise="gaussian_reader",
        slip="multiplies densities that are zero",
        source=changed("gaussian_reader", "scores - scores.max()", "scores"),
        message="Can you shift the scores?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="does not normalize",
        source=changed("hidden_prior", "weights / weights.sum()", "weights"),
        message="is it a distribution?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="forgets the bias",
        source=changed("hidden_prior", "bias + (keys", "(keys"),
        message="Where is it?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="takes the bias for a probability",
        source=changed("hidden_prior", "bias + (keys", "np.log(bias + 1) + (keys"),
        message="is the bias a logarithm?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="takes the bias alone",
        source=changed(
            "hidden_prior", "bias + (keys**2).sum(axis=1) / (2 * variance)", "bias"
        ),
        message="does the length of a key make no difference?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="subtracts the length",
        source=changed("hidden_prior", "bias + (keys", "bias - (keys"),
        message="who gains if the length is not paid for?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="forgets the 2",
        source=changed("hidden_prior", "(2 * variance)", "variance"),
        message="is it |k|**2 by 2 variance?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="lets a masked key in",
        source=changed(
            "hidden_prior", "bias + (keys", "np.maximum(bias, -1e-3) + (keys"
        ),
        message="what is the prior of a masked key?",
    ),
    WrongAnswer(
        exercise="hidden_prior",
        slip="overflows",
        source=changed("hidden_prior", "log_prior - log_prior.max()", "log_prior"),
        message="Can you shift before you exp?",
    ),
    WrongAnswer(
        exercise="costs",
        slip="takes the mean without the posterior",
        source=changed(
            "costs", "expected(posterior @ values)", "expected(values.mean(axis=0))"
        ),
        message="Is it the mean by the posterior?",
    ),
    WrongAnswer(
        exercise="costs",
        slip="averages the costs without the posterior",
        source=changed(
            "costs",
            "posterior @ ((output - values) ** 2).sum(axis=1)",
            "((output - values) ** 2).sum(axis=1).mean()",
        ),
        message="Are costs weighted by the posterior?",
    ),
    WrongAnswer(
        exercise="costs",
        slip="takes the least probable value",
        source=changed("costs", "np.argmax", "np.argmin"),
        message="Which key is probable?",
    ),
    WrongAnswer(
        exercise="costs",
        slip="averages the draw before it costs",
        source=changed(
            "costs",
            "sum(p * expected(v) for p, v in zip(posterior, values, strict=True))",
            "expected(sum(p * v for p, v in zip(posterior, values, strict=True)))",
        ),
        message="The draw varies, too",
    ),
    WrongAnswer(
        exercise="costs",
        slip="draws uniformly",
        source=changed(
            "costs",
            "sum(p * expected(v) for p, v in zip(posterior, values, strict=True))",
            "np.mean([expected(v) for v in values])",
        ),
        message="Are draws uniform?",
    ),
    WrongAnswer(
        exercise="costs",
        slip="averages over the numbers of a value",
        source=changed("costs", "** 2).sum(axis=1)", "** 2).mean(axis=1)"),
        message="is a cost the sum over the numbers of a value?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="doubles the softmax",
        source="""
def set_marginals(scores, edges):
    weights = np.exp(scores - scores.max())
    return edges * weights / weights.sum()
""",
        message="is it more than softmax, doubled?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="takes the best keys",
        source="""
def set_marginals(scores, edges):
    if edges == 1:
        return np.exp(scores) / np.exp(scores).sum()
    marginals = np.zeros(len(scores))
    marginals[np.argsort(scores)[-edges:]] = 1
    return marginals
""",
        message="the best set is one of three. The others?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="draws with replacement",
        source="""
def set_marginals(scores, edges):
    weights = np.exp(scores - scores.max())
    return 1 - (1 - weights / weights.sum()) ** edges
""",
        message="may two draws give the same key?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="leaves the key among the others",
        source=changed(
            "set_marginals",
            "left[i][:edges] + right[i + 1][:edges][::-1]",
            "left[-1][edges - 1 : edges]",
        ),
        message="is j one of the others?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="gives up where too few keys are possible",
        source=changed("set_marginals", "marginals[possible] = 1.0", "pass"),
        message="Are both in?",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="lists all sets",
        source="""
def set_marginals(scores, edges):
    keys = [j for j in range(len(scores)) if scores[j] > -math.inf]
    marginals, total = np.zeros(len(scores)), 0.0
    for chosen in itertools.combinations(keys, min(edges, len(keys))):
        weight = math.exp(sum(scores[list(chosen)]))
        marginals[list(chosen)] += weight
        total += weight
    return marginals / total
""",
        message="Your code was stopped",
    ),
    WrongAnswer(
        exercise="set_marginals",
        slip="multiplies potentials that overflow",
        source="""
def set_marginals(scores, edges):
    w, size = np.exp(scores), len(scores)
    if (w > 0).sum() <= edges:
        return (w > 0) * 1.0
    def others(j):
        row = np.zeros(edges)
        row[0] = 1.0
        for l in range(size):
            if l != j:
                row[1:] = row[1:] + row[:-1] * w[l]
        return row[edges - 1]
    joint = np.array([w[j] * others(j) for j in range(size)])
    return edges * joint / joint.sum()
""",
        message="can you work with logarithms?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
