/* hooks.h: what compiled kernels call while they run. */
#ifndef EC_HOOKS_H
#define EC_HOOKS_H

#include "ec_model.h"

/* The same functions for every model and session: they find theirs through ec_current. */
extern const ec_hooks ec_runtime_hooks;

#endif
