"""``python -m rexnet``, which torchrun starts."""

import sys

from rexnet.cli import main

sys.exit(main())
