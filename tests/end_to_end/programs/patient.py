"""`colony run` whose terminals wait so many seconds for a viewer that is slow: for tests of what
comes whole, on machines that now and then stand still for longer than viewers are waited for.

patient.py SECONDS PYTHON -m colony run …
"""

import sys

from colony.__main__ import main
from colony.terminals import hub

if __name__ == "__main__":
    hub.PATIENCE = float(sys.argv[1])  # type: ignore[misc]
    sys.argv[1:5] = []
    main()
