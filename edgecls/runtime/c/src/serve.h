/* serve.h: many requests over one pair of pipes. Protocol: docs/formats.md, "Serve protocol, version 1". */
#ifndef EC_SERVE_H
#define EC_SERVE_H

#include "edgecls.h"

/* Answer requests read from `in` on `out` until CLOSE or the end of input (returns 0) or until the other side breaks
 * the protocol or goes away (returns 2). */
int ec_serve(ec_session *session, int in, int out);

#endif
