"""`python -m cascade_kv ARGUMENTS`, or `cascade-node ARGUMENTS`: the node and its command line, as the wheel carries them.

The program takes this process's place. It finds its tiers in the `lib` folder beside its own `bin`. `CASCADE_NODE_BINARY`
names another one.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["main", "node_binary"]

OVERRIDE = "CASCADE_NODE_BINARY"


def node_binary() -> Path:
    """Where the node's program lies. `FileNotFoundError` says what to do if there is none."""
    named = os.environ.get(OVERRIDE)
    binary = Path(named) if named else Path(__file__).parent / "_bundle" / "bin" / "cascade-node"
    if os.access(binary, os.X_OK) and binary.is_file():
        return binary
    if named:
        raise FileNotFoundError(f"{OVERRIDE} is {named}, which is no program that can be run")
    raise FileNotFoundError(
        f"this installation of cascade_kv carries no node ({binary} is not there): install the wheel, "
        f"or name a cascade-node in {OVERRIDE}"
    )


def main() -> NoReturn:
    """Becomes the node."""
    try:
        binary = node_binary()
    except FileNotFoundError as error:
        sys.exit(f"cascade-node: {error}")
    # The node takes CASCADE_* for its configuration, and refuses what it does not know.
    environment = {name: value for name, value in os.environ.items() if name != OVERRIDE}
    os.execve(binary, ["cascade-node", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
