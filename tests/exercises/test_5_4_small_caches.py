"""Typical wrong answers to the exercises of lesson 5.4, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "5_4_small_caches"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="token_bytes",
        slip="forgets the values",
        source=changed("token_bytes", "* 2 * head_dim", "* head_dim"),
        message="Keys only, or values too?",
    ),
    WrongAnswer(
        exercise="token_bytes",
        slip="counts bits",
        source=changed("token_bytes", "* bits / 8", "* bits"),
        message="are those bits?",
    ),
    WrongAnswer(
        exercise="token_bytes",
        slip="caches the query heads",
        source=changed(
            "token_bytes", "num_layers * num_kv_heads", "num_layers * num_heads"
        ),
        message="who is cached?",
    ),
    WrongAnswer(
        exercise="token_bytes",
        slip="splits dim among the key heads",
        source=changed("token_bytes", "dim // num_heads", "dim // num_kv_heads"),
        message="who is cached?",
    ),
    WrongAnswer(
        exercise="token_bytes",
        slip="takes whole bytes for granted",
        source=changed("token_bytes", "* bits / 8", "* (bits // 8)"),
        message="2 bits, 16 numbers",
    ),
    WrongAnswer(
        exercise="cache_places",
        slip="leaves the sinks where they were",
        source=changed(
            "cache_places",
            "list(range(first, newest + 1))",
            "[first * 0 + t for t in tokens]",
        ),
        message="how far from 9 is token 1",
    ),
    WrongAnswer(
        exercise="cache_places",
        slip="counts places from 0",
        source=changed(
            "cache_places", "list(range(first, newest + 1))", "list(range(len(tokens)))"
        ),
        message="the query stands at 9",
    ),
    WrongAnswer(
        exercise="cache_places",
        slip="does not count the newest",
        source=changed("cache_places", "range(newest + 1) if", "range(newest) if"),
        message="does the newest see itself?",
    ),
    WrongAnswer(
        exercise="cache_places",
        slip="has a window of one more",
        source=changed("cache_places", "t > newest - window", "t >= newest - window"),
        message="2 sinks, a window of 3, newest 9",
    ),
    WrongAnswer(
        exercise="cache_places",
        slip="keeps sinks within the window twice",
        source="""
def cache_places(newest, sinks, window):
    tokens = list(range(min(sinks, newest + 1)))
    tokens += list(range(max(0, newest - window + 1), newest + 1))
    return tokens, list(range(newest - len(tokens) + 1, newest + 1))
""",
        message="A sink twice?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="has one step too many",
        source=changed("round_trip", "(2**bits - 1)", "2**bits"),
        message="how many steps between?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="cuts off",
        source=changed("round_trip", "np.round(", "np.floor("),
        message="do you round, or cut off?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="returns codes",
        source=changed("round_trip", "low + codes * step", "codes"),
        message="codes, or numbers?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="has one group",
        source=changed(
            "round_trip",
            "x.min(axis, keepdims=True), x.max(axis, keepdims=True)",
            "x.min(), x.max()",
        ),
        message="does each row have its own ends?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="groups by the last axis always",
        source=changed(
            "round_trip",
            "x.min(axis, keepdims=True), x.max(axis, keepdims=True)",
            "x.min(-1, keepdims=True), x.max(-1, keepdims=True)",
        ),
        message="along which axis is axis=0?",
    ),
    WrongAnswer(
        exercise="round_trip",
        slip="divides by nothing",
        source=changed("round_trip", "np.where(step > 0, step, 1.0)", "step"),
        message="0 by 0?",
    ),
    WrongAnswer(
        exercise="bits_by_age",
        slip="gives the first number to the first group",
        source=changed("bits_by_age", "// stair + 1", "// stair"),
        message="to whom does B_1 belong?",
    ),
    WrongAnswer(
        exercise="bits_by_age",
        slip="has the oldest first",
        source=changed("bits_by_age", "return found", "return found[::-1]"),
        message="is the newest first?",
    ),
    WrongAnswer(
        exercise="bits_by_age",
        slip="lets a whole stair wait",
        source=changed("bits_by_age", "length % stair", "length % stair or stair"),
        message="who waits?",
    ),
    WrongAnswer(
        exercise="bits_by_age",
        slip="counts groups from the newest",
        source=changed(
            "bits_by_age",
            "0 if age < waiting else (age - waiting) // stair + 1",
            "age // stair + 0 * waiting",
        ),
        message="do you cut groups from the beginning?",
    ),
    WrongAnswer(
        exercise="bits_by_age",
        slip="runs out of stairs",
        source=changed(
            "bits_by_age", "min(number, len(bits) - 1)", "number % len(bits)"
        ),
        message="does the last stair hold all older ones?",
    ),
    WrongAnswer(
        exercise="pack",
        slip="puts the first code on top",
        source=changed("pack", "bits * place", "8 - bits - bits * place"),
        message="which bits has the first code",
    ),
    WrongAnswer(
        exercise="pack",
        slip="drops what does not fill a byte",
        source=changed(
            "pack", "len(codes), share", "len(codes) // share * share, share"
        ),
        message="three codes do not fill a byte",
    ),
    WrongAnswer(
        exercise="pack",
        slip="gives every code a byte",
        source=changed("pack", "8 // bits", "1"),
        message="four codes of 2 bits are 8 bits",
    ),
    WrongAnswer(
        exercise="pack",
        slip="always has two bits",
        source=changed("pack", "code << (bits * place)", "code << (2 * place)"),
        message="15, 1, 7 in 4 bits",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="takes the first head's columns",
        source=changed(
            "slim_head", "slice(head * size, (head + 1) * size)", "slice(0, size)"
        ),
        message="which columns?",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="makes values of its own keys",
        source=changed(
            "slim_head",
            "(weights @ keys) @ w_kv[:, own]",
            "(weights @ keys[:, own]) @ w_kv[own, own]",
        ),
        message="which keys make a head's values",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="takes rows of the matrix",
        source=changed("slim_head", "w_kv[:, own]", "w_kv[own].T"),
        message="which keys make a head's values",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="does not scale",
        source=changed("slim_head", " / math.sqrt(size)", ""),
        message="do you scale the scores?",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="scales by d",
        source=changed("slim_head", "math.sqrt(size)", "math.sqrt(keys.shape[1])"),
        message="by the root of a head's size?",
    ),
    WrongAnswer(
        exercise="slim_head",
        slip="overflows",
        source=changed("slim_head", "scores - scores.max()", "scores"),
        message="Can you shift before you exp?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
