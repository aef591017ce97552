"""Names of the calls inside one call, which do not depend on what else a process has built."""

import re
from collections import Counter

# Keras has no public access to the names that it makes up.
from keras.src.utils.naming import to_snake_case

SEPARATOR = "/"


class Siblings:
    """Names of the calls inside one call of a layer or model, in the order in which they begin.

    Keras numbers layers without a name of their own through the whole process. Here all layers that
    are named after their class, with a number or without, are numbered among their siblings of that
    class, in the order of Keras, from `dense`, `dense_1`, ... Others keep their names. A second
    call of a name is `name@2`.

    Args:
        operations: the operation of each call.

    Attributes:
        names: the name of each call.
        keras_names: the same with the names of Keras.
    """

    def __init__(self, operations: list):
        distinct = {id(operation): operation for operation in operations}
        made_up = {key: kind for key, op in distinct.items() if (kind := automatic_kind(op))}
        taken = {op.name for key, op in distinct.items() if key not in made_up}
        stable = {key: op.name for key, op in distinct.items()}
        numbers: Counter[str] = Counter()
        for key in sorted(made_up, key=lambda key: automatic_number(distinct[key].name)):
            kind = made_up[key]
            while (name := f"{kind}_{numbers[kind]}" if numbers[kind] else kind) in taken:
                numbers[kind] += 1
            numbers[kind] += 1
            stable[key] = name
        self.names = numbered([stable[id(operation)] for operation in operations])
        self.keras_names = numbered([operation.name for operation in operations])


def numbered(names: list[str]) -> list[str]:
    """Names that occur again as `name@2`, `name@3`, ..."""
    counts: Counter[str] = Counter()
    found = []
    for name in names:
        counts[name] += 1
        found.append(name if counts[name] == 1 else f"{name}@{counts[name]}")
    return found


def automatic_kind(operation) -> str:
    """The beginning of a name of the form that Keras makes up; empty for other names.

    Keras names an object after its class, and numbers those of a class.
    """
    kind = to_snake_case(type(operation).__name__)
    return kind if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", operation.name) else ""


def automatic_number(name: str) -> int:
    """The number at the end of a name; 0 if there is none."""
    found = re.search(r"_(\d+)$", name)
    return int(found.group(1)) if found else 0
