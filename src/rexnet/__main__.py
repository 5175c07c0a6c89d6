"""``python -m rexnet``, which torchrun starts."""

import sys

from rexnet.cli.main import main

sys.exit(main())
