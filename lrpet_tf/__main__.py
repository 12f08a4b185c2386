"""`python -m lrpet_tf analyze model.keras`, as `lrpet analyze model.keras`."""

import sys

from lrpet_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
