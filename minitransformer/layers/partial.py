"""A function with some of its arguments bound, as a module.

``functools.partial`` hides a learned tensor from its optimizer and leaves it out of
``state_dict``. ``Partial`` registers what it binds: parameters, buffers and modules.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Partial(nn.Module):
    """Bind arguments by name; call it like the function.

    ``Partial(attention, mask_mod=causal)`` is causal attention, and
    ``Partial(bilinear, weight=nn.Parameter(w))`` owns a weight that trains. Bound
    tensors that are no parameters become buffers, and move with ``.to(device)``.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        """Bind the options.

        Args:
            function: what is called.
            options: arguments of it, by name.

        Raises:
            ValueError: the function takes no argument of a name.
        """
        super().__init__()
        known = inspect.signature(function).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
        for name in options:
            if name not in known and not takes_any:
                wanted = ", ".join(known)
                raise ValueError(f"{_name(function)} takes no {name}, but {wanted}")
        self.function = function
        self.names = tuple(options)
        for name, option in options.items():
            if isinstance(option, Tensor) and not isinstance(option, nn.Parameter):
                self.register_buffer(f"bound_{name}", option)
            else:
                setattr(self, f"bound_{name}", option)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Call the function; arguments given now win over bound ones."""
        bound = {name: getattr(self, f"bound_{name}") for name in self.names}
        return self.function(*inputs, **{**bound, **options})

    def extra_repr(self) -> str:
        """Return the name of the function and what is bound to it."""
        return f"{_name(self.function)}: {', '.join(self.names)}"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
