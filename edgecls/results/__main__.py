"""`python -m edgecls.results > docs/schema.json`: the schema of every output."""

import sys

from edgecls.frozen import encode_json
from edgecls.results import schema

if __name__ == "__main__":
    sys.stdout.buffer.write(encode_json(schema(), indent=True))
