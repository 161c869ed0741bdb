"""Watch a kernel in the interpreter: which program reads and writes which numbers.

The interpreter runs one program after the other and does each load and store by itself,
so they can be written down::

    with trace(x, out) as record:
        kernel[(4,)](x, out, ...)
    record.touched(out, "write")    # {program: which numbers of out it wrote}
    record.races(out)               # {place: programs that get in each other's way}

On a GPU the programs run in no order at all. Two of them **race** if they touch the
same number, one of them at least by a plain write: who comes last decides. The
interpreter gives the right result all the same, every time; the record tells.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor
from triton.runtime.interpreter import interpreter_builder

from minitransformer.kernels.launch import INTERPRETED

Kind = Literal["read", "write", "atomic"]


class Access(NamedTuple):
    """One load or store: which program, which kind, which addresses (in bytes)."""

    program: int
    kind: Kind
    addresses: np.ndarray


class Trace:
    """What the programs of one or several launches did, in order."""

    def __init__(self) -> None:
        """Start with an empty record."""
        self.accesses: list[Access] = []

    def touched(self, x: Tensor, kind: Kind) -> dict[int, np.ndarray]:
        """Return which numbers of ``x`` each program touched.

        Args:
            x: a tensor that the kernel was given.
            kind: "read", "write" or "atomic".

        Returns:
            Number of the program -> bool array of the shape of ``x``. Programs are
            counted as a GPU does, the first axis of the grid fastest.
        """
        places = _addresses(x)
        found: dict[int, np.ndarray] = {}
        for program, what, addresses in self.accesses:
            if what == kind and (here := np.isin(places, addresses)).any():
                found[program] = found.get(program, False) | here
        return dict(sorted(found.items()))

    def count(self, x: Tensor, kind: Kind) -> int:
        """Return how many numbers of ``x`` were touched, each as often as it was.

        Args:
            x: a tensor of any shape that the kernel was given.
            kind: "read", "write" or "atomic".
        """
        places = _addresses(x)
        return sum(
            int(np.isin(addresses, places).sum())
            for _, what, addresses in self.accesses
            if what == kind
        )

    def races(self, x: Tensor | None = None) -> dict[Any, list[int]]:
        """Return where programs get in each other's way.

        Args:
            x: look at the numbers of this tensor, of any shape, only.

        Returns:
            Place in ``x``, or address where no tensor is given -> programs, in order.
        """
        users: dict[int, dict[Kind, set[int]]] = {}
        for program, kind, addresses in self.accesses:
            for address in addresses.tolist():
                users.setdefault(address, {}).setdefault(kind, set()).add(program)
        racing: dict[Any, list[int]] = {}
        for address, kinds in users.items():
            everyone = set().union(*kinds.values())
            mixed = "atomic" in kinds and "read" in kinds
            if ("write" in kinds or mixed) and len(everyone) > 1:
                racing[address] = sorted(everyone)
        if x is None:
            return racing
        places = _addresses(x)
        return {
            place: racing[int(address)]
            for place, address in np.ndenumerate(places)
            if int(address) in racing
        }


def _addresses(x: Tensor) -> np.ndarray:
    """Return the address of each number of ``x``."""
    places = np.zeros(x.shape, dtype=np.int64)
    for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
        steps = np.arange(size, dtype=np.int64) * stride
        places += steps.reshape([-1] + [1] * (x.ndim - axis - 1))
    return x.data_ptr() + places * x.element_size()


@contextmanager
def trace(*tensors: Tensor) -> Iterator[Trace]:
    """Record the kernels that run inside of the ``with`` block.

    Args:
        tensors: if given, all that the kernels may touch, of any shape: a load or store
            elsewhere raises ``IndexError`` before it is done (the interpreter wraps it
            in an ``InterpreterError`` with the same words). Without them nothing is
            refused.

    Raises:
        ValueError: kernels do not run in the interpreter here, or a tensor is not on
            the CPU.
    """
    if not INTERPRETED:
        raise ValueError("kernels are compiled here; a trace needs TRITON_INTERPRET=1")
    for x in tensors:
        if x.device.type != "cpu":
            raise ValueError(f"a tensor is on {x.device}, a trace needs it on the CPU")
    known = [_addresses(x) for x in tensors]
    record, builder = Trace(), interpreter_builder

    def note(kind: Kind, pointers: Any, mask: Any) -> None:
        addresses = np.asarray(pointers.data).astype(np.int64)
        if mask is not None:
            addresses = addresses[np.broadcast_to(mask.data, addresses.shape)]
        addresses = addresses.ravel()
        (x, y, z), (wide, high, _) = builder.grid_idx, builder.grid_dim
        program = x + wide * (y + high * z)
        if known:
            inside = np.any([np.isin(addresses, each) for each in known], axis=0)
            outside = int((~inside).sum())
            if outside > 0:
                verb = {"read": "reads", "write": "writes"}.get(kind, "changes")
                raise IndexError(
                    f"program {program} {verb} {outside} numbers outside of the tensors"
                )
        record.accesses.append(Access(program, kind, addresses))

    load, store = builder.create_masked_load, builder.create_masked_store
    change, swap = builder.create_atomic_rmw, builder.create_atomic_cas

    def noting_load(pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        note("read", pointers, mask)
        return load(pointers, mask, *rest, **named)  # a descriptor's load names some

    def noting_store(
        pointers: Any, value: Any, mask: Any, *rest: Any, **named: Any
    ) -> Any:
        note("write", pointers, mask)
        return store(pointers, value, mask, *rest, **named)

    def noting_change(op: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note("atomic", pointers, mask)
        return change(op, pointers, value, mask, *rest)

    def noting_swap(pointers: Any, *rest: Any) -> Any:
        note("atomic", pointers, None)
        return swap(pointers, *rest)

    noting = {
        "create_masked_load": noting_load,
        "create_masked_store": noting_store,
        "create_atomic_rmw": noting_change,
        "create_atomic_cas": noting_swap,
    }
    vars(builder).update(noting)
    try:
        yield record
    finally:
        for name in noting:
            delattr(builder, name)
