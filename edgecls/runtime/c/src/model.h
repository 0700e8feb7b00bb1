/* model.h: the compiled model's descriptor, checked once, then read through these accessors.
 *
 * A newer minor version may have longer structures: arrays are stepped by the sizes the model states. */
#ifndef EC_MODEL_CHECK_H
#define EC_MODEL_CHECK_H

#include "status.h"

/* EC_ERROR_MODEL naming the first contradiction. Nothing may be read from `model` before this succeeded. */
ec_status ec_model_check(const ec_model *model);

const ec_plan *ec_model_plan(const ec_model *model, uint32_t index);
const ec_kernel *ec_model_kernel(const ec_model *model, uint32_t index);
const ec_image *ec_model_image(const ec_model *model, uint32_t index);
const ec_meaning *ec_model_meaning(const ec_model *model, uint32_t index);
const ec_tensor *ec_model_tensor(const ec_model *model, const ec_tensor *array, uint32_t index);
const ec_call *ec_model_call(const ec_model *model, const ec_plan *plan, uint32_t index);

/* Bytes of arena that a session of this many threads needs for the plan; a multiple of EC_ALIGN. */
uint64_t ec_model_arena(const ec_model *model, const ec_plan *plan, uint32_t threads);

/* Bytes rounded up to EC_ALIGN; callers have bounded them before. */
uint64_t ec_align(uint64_t bytes);

/* Bytes of one element; 0 for an unknown dtype. */
uint32_t ec_dtype_bytes(uint32_t dtype);

#endif
