"""`python -m interleave_rt.train.shapes96 shapes ...`: the commands of this world until its trio ships."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
