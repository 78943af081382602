"""`python -m coalm_oumi` is the `coalm` command."""

import sys

from coalm_oumi.cli.app import main

sys.exit(main())
