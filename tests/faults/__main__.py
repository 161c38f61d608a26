"""`python tests/faults`: put faults into optrun, and print what became of it.

python tests/faults                 a part of each, as in the test suite
python tests/faults --full          the whole counts (about two hours on two busy cores)
python tests/faults --row 1 --count 50
python tests/faults --row 1 --only 17
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)  # a package, and not a folder of modules named like Python's own
    from faults.table import main

    main()
